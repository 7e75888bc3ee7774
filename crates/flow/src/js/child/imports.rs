//! What a script may import: nothing.
//!
//! Scripts of several users are modules of one realm, which knows each by its name. The engine asks here for the name of whatever is
//! imported before it looks among those that it has.

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::{Declared, Module};
use rquickjs::{Ctx, Exception, Result};

/// Refuses every import.
#[derive(Debug)]
pub(super) struct NoImports;

impl NoImports {
    fn refuse<T>(ctx: &Ctx<'_>) -> Result<T> {
        Err(Exception::throw_type(ctx, "import is not available in code steps"))
    }
}

impl Resolver for NoImports {
    fn resolve<'js>(&mut self, ctx: &Ctx<'js>, _base: &str, _name: &str, _attributes: Option<ImportAttributes<'js>>) -> Result<String> {
        Self::refuse(ctx)
    }
}

impl Loader for NoImports {
    fn load<'js>(&mut self, ctx: &Ctx<'js>, _name: &str, _attributes: Option<ImportAttributes<'js>>) -> Result<Module<'js, Declared>> {
        Self::refuse(ctx)
    }
}
