//! Resolves inputs: literals, references into step results, templates, configuration variables, conditions.
//!
//! Pure and bounded: nothing here waits, and no input can make it allocate more than [`Limits`] says. A path that
//! leads nowhere gives null; a step or variable that does not exist is an error.

mod compare;
mod condition;
mod connection;
mod resolve;
mod results;
mod scope;
mod settings;

pub(crate) use condition::operator_words;
pub use condition::{ELSE, branch_on_expression, branch_on_value};
pub use connection::{ChosenAccount, Connection, account_part};
pub(crate) use resolve::json_of;
pub use resolve::{Resolved, resolve, text_of};
pub use results::Results;
pub use scope::{Limits, Scope};
pub use settings::{Level, Setting, Settings};

/// Why an input has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// No result of such a step.
    #[error("there is no result of a step `{0}`")]
    StepNotFound(String),
    /// Not inside the body of such a loop.
    #[error("there is no current item of a loop `{0}`")]
    LoopNotFound(String),
    /// No such configuration variable.
    #[error("there is no configuration variable `{0}`")]
    ConfigVarNotFound(String),
    /// A credential where text or data is wanted.
    #[error("the connection `{0}` cannot be used as text or data")]
    ConnectionAsData(String),
    /// The account of a connection that has none.
    #[error("no account of the connection `{0}` was chosen, or its provider has none")]
    NoAccount(String),
    /// Larger than [`Limits::bytes`].
    #[error("the value is larger than {0} bytes")]
    TooLarge(usize),
    /// Deeper than [`Limits::depth`].
    #[error("the value is nested deeper than {0} levels")]
    TooDeep(usize),
    /// A condition of another shape than `[operator, left, right]`.
    #[error("{0}")]
    Condition(String),
}

#[cfg(test)]
mod tests;
