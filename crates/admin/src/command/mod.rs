//! What people and programs do to the catalog, each act checked against the table of roles and audited by its name.
//!
//! Every command is a method of [`Edit`](crate::edit::Edit) that begins with its check. What belongs to another customer is
//! absent, not denied: nobody learns from a refusal what exists elsewhere.

mod customers;
mod instances;
mod integrations;
mod media;
mod organization;
mod registrations;
mod sharing;
mod user_configs;
mod users;

pub use customers::{CreateCustomer, UpdateCustomer};
pub use instances::{ApiKeys, ConfigVariable, CreateInstance, UpdateInstance, flow_of};
pub use integrations::{ImportIntegration, UpdateIntegration, validate_definition, with_latest_components};
pub(crate) use organization::MAX_SIGNING_KEYS;
pub use organization::UpdateOrganization;
pub use registrations::SaveRegistration;
pub(crate) use registrations::check_registration;
pub(crate) use users::managing;
pub use users::{CreateUser, UpdateUser};

use crate::fault::{Fault, FieldError};

// No keys of the configuration: what one daemon took, every other must take that it is exported, imported or restored to; and
// names are parts of index rows, which have to stay short.
/// The longest name, external id or label, in characters.
const MAX_NAME: usize = 256;
/// The longest description.
const MAX_TEXT: usize = 16_384;
/// The most labels of one record.
const MAX_LABELS: usize = 64;

/// Labels as they are stored: in lower case, in order, each once.
pub(crate) fn labels(given: &[String]) -> Vec<String> {
    let mut labels: Vec<String> = given.iter().map(|label| label.trim().to_lowercase()).collect();
    labels.retain(|label| !label.is_empty());
    labels.sort();
    labels.dedup();
    labels
}

/// The problems of an input, collected.
#[derive(Default)]
pub(crate) struct Checked(Vec<FieldError>);

impl Checked {
    pub(crate) fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(FieldError {
            field: field.to_owned(),
            message: message.into(),
            code: None,
        });
    }

    pub(crate) fn name(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        if value.trim().is_empty() {
            self.add(field, "This field may not be blank.");
        }
        self.short(field, Some(value));
    }

    fn short(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        if value.chars().count() > MAX_NAME {
            self.add(field, format!("At most {MAX_NAME} characters."));
        }
        if value.chars().any(char::is_control) {
            self.add(field, "No control characters.");
        }
    }

    pub(crate) fn text(&mut self, field: &str, value: Option<&str>) {
        if value.is_some_and(|value| value.chars().count() > MAX_TEXT) {
            self.add(field, format!("At most {MAX_TEXT} characters."));
        }
    }

    pub(crate) fn labels(&mut self, given: Option<&[String]>) {
        let Some(given) = given else { return };
        if given.len() > MAX_LABELS {
            self.add("labels", format!("At most {MAX_LABELS} labels."));
        }
        for label in given {
            self.short("labels", Some(label));
        }
    }

    pub(crate) fn email(&mut self, value: Option<&str>) {
        let Some(value) = value else { return };
        let parts = value.split_once('@');
        let is_address = parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
        if !is_address || value.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            self.add("email", "Enter a valid email address.");
        }
        self.short("email", Some(value));
    }

    fn done(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::Wrong(self.0)) }
    }

    /// As [`Checked::done`], for those who see the messages alone: each names its field.
    pub(crate) fn done_by_name(mut self) -> Result<(), Fault> {
        for error in &mut self.0 {
            error.message = format!("`{}`: {}", error.field, error.message);
        }
        self.done()
    }
}

/// `None` keeps what was there, an empty text takes it away.
fn changed(given: Option<&String>, before: Option<String>) -> Option<String> {
    match given {
        None => before,
        Some(text) if text.trim().is_empty() => None,
        Some(text) => Some(text.clone()),
    }
}
