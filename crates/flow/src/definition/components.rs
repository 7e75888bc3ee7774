//! What the parser asks about components; the registry of the run-time part answers.

use super::is_secret_name;
use perseat_domain::definition::DataType;

/// Which inputs an action understands. Others are named in a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// Whatever is given.
    Any,
    /// These.
    Named(&'static [&'static str]),
}

/// What an action takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// The inputs that it understands.
    pub inputs: Inputs,
    /// Those that must be given.
    pub required: &'static [&'static str],
    /// Those that are connections. All others are data.
    pub connections: &'static [&'static str],
}

impl Takes {
    /// Data alone, and nothing must be given.
    #[must_use]
    pub const fn data(inputs: Inputs) -> Self {
        Self {
            inputs,
            required: &[],
            connections: &[],
        }
    }
}

/// Which components there are. `None` makes the flow incomplete, not the integration invalid.
pub trait Components {
    /// Whether any action, trigger or connection of this component is known; only words the warning.
    fn component(&self, component: &str) -> bool;
    /// A trigger (`webhook-triggers`, `webhook`).
    fn trigger(&self, component: &str, trigger: &str) -> Option<Inputs>;
    /// An action (`http`, `httpPost`).
    fn action(&self, component: &str, action: &str) -> Option<Takes>;
    /// A kind of connection (`http`, `apiKey`).
    fn connection(&self, component: &str, connection: &str) -> Option<Inputs>;
    /// A data source (`code`, `runCodePicklist`), with the kind of variable that it fills.
    fn data_source(&self, _component: &str, _source: &str) -> Option<(DataType, Inputs)> {
        None
    }
    /// Whether an input of a kind of connection is a secret. Where the kind is not known, the name tells.
    fn is_secret(&self, _component: &str, _connection: &str, input: &str) -> bool {
        is_secret_name(input)
    }
}
