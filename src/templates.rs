//! HTML templates that are part of the binary.

use minijinja::{Environment, UndefinedBehavior};

/// Templates by name. A name that a page does not give is an error, not nothing.
pub(crate) fn read(templates: &[(&'static str, &'static str)]) -> Environment<'static> {
    let mut read = Environment::new();
    read.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, source) in templates {
        if let Err(error) = read.add_template(name, source) {
            // Each is rendered by a test.
            tracing::error!(%error, name, "a template cannot be read");
        }
    }
    read
}
