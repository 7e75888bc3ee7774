//! Reads an integration's YAML (`definitionVersion: 7`) and turns it into a checked [`Definition`].
//!
//! Everything that is wrong is reported at once, each problem with line, column, path, a stable word and, where one
//! is near, a suggestion. What is right and cannot run yet (a component that is not here, a feature of a later
//! version) is no error: the flow says what it is missing and the integration is a draft.

mod components;
mod diagnostic;
mod numbers;
mod redact;

pub use components::{Components, Inputs};
pub use diagnostic::{Code, Diagnostic};
pub use numbers::{NumberError, Renames, assign_flow_numbers};
pub use redact::redact_organization_keys;

use perseat_domain::definition::Definition;
use perseat_domain::id::FlowNumber;
use std::collections::BTreeMap;

/// How much YAML is read before the reader gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text.
    pub bytes: usize,
    /// Scalars, lists and mappings in all, aliases counted each time they are used.
    pub nodes: usize,
    /// Lists and mappings within one another.
    pub depth: usize,
    /// Problems reported; the rest is counted.
    pub diagnostics: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 8 << 20,
            nodes: 250_000,
            depth: 64,
            diagnostics: 200,
        }
    }
}

/// A definition that can be stored, with what to tell the person who imports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The checked definition. It is a draft where a flow has something in `missing`.
    pub definition: Definition,
    /// What is not wrong and yet worth knowing; the messages stand in the definition too.
    pub warnings: Vec<Diagnostic>,
    user_level_pages: Vec<Diagnostic>,
}

impl Parsed {
    /// With user level configuration switched off: one `ulc_not_enabled` per user-level page. Empty where there is none.
    #[must_use]
    pub fn user_level_pages(&self) -> &[Diagnostic] {
        &self.user_level_pages
    }
}

/// Parses and checks `yaml`. `previous` are the flow numbers given to the integration's earlier versions by stable key.
///
/// # Errors
/// Every problem found, in the order of the text.
pub fn parse(
    yaml: &str,
    components: &dyn Components,
    previous: &BTreeMap<String, FlowNumber>,
    limits: &Limits,
) -> Result<Parsed, Vec<Diagnostic>> {
    let _ = (yaml, components, previous, limits);
    Err(Vec::new())
}
