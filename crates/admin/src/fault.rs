//! Why a command or a query is refused.

use crate::access::Operation;
use perseat_store::catalog::Spent;
use perseat_store::error::StoreError;

/// What is wrong with one field of an input; `field` is empty where it is the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as the API names it.
    pub field: String,
    /// A sentence.
    pub message: String,
    /// A stable word for it, where there is one.
    pub code: Option<&'static str>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The input is wrong: every problem.
    #[error("{}", messages(.0))]
    Wrong(Vec<FieldError>),
    /// There is none of this id, or it is not visible to whoever asks; the two cannot be told apart.
    #[error("there is no such {0}")]
    Absent(&'static str),
    /// Whoever asks may not do this to what they see.
    #[error("your role does not allow to {0}")]
    Denied(Operation),
    /// Somebody else changed the record since it was read.
    #[error("it was changed meanwhile; read it again")]
    Stale,
    /// One request would read more, or take longer, than one may.
    #[error(transparent)]
    Spent(Spent),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

fn messages(errors: &[FieldError]) -> String {
    errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("\n")
}

impl Fault {
    /// The whole input is wrong.
    pub fn wrong(message: impl Into<String>) -> Self {
        Self::field("", message)
    }

    /// One field is wrong in a way that has a stable word.
    pub fn coded(code: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Wrong(vec![FieldError {
            field: field.into(),
            message: message.into(),
            code: Some(code),
        }])
    }

    /// The stable word for all that is wrong; none where there is none, or more than one.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Wrong(errors) => {
                let code = errors.first()?.code?;
                errors.iter().all(|error| error.code == Some(code)).then_some(code)
            }
            _ => None,
        }
    }

    /// The same of another field: where what is wrong was given under another name.
    pub(crate) fn in_field(self, field: &str) -> Self {
        match self {
            Self::Wrong(errors) => Self::Wrong(
                errors
                    .into_iter()
                    .map(|error| FieldError {
                        field: field.to_owned(),
                        ..error
                    })
                    .collect(),
            ),
            other => other,
        }
    }

    /// One field is wrong.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Wrong(vec![FieldError {
            field: field.into(),
            message: message.into(),
            code: None,
        }])
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let field = match &error {
            StoreError::Conflict { field, .. } => match *field {
                "external id" => "externalId",
                field => field,
            },
            StoreError::Fixed { field, .. } => field,
            StoreError::Spent(spent) => return Self::Spent(*spent),
            StoreError::InUse { .. } | StoreError::NotFound { .. } => "",
            _ => return Self::Store(error),
        };
        Self::field(field, error.to_string())
    }
}
