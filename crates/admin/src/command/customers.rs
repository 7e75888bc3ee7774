//! Customers.

use super::{Checked, changed, labels};
use crate::access::Operation;
use crate::edit::Edit;
use crate::fault::Fault;
use crate::media::MediaLimits;
use perseat_domain::id::CustomerId;
use perseat_domain::model::{Customer, MediaOwner};

/// A new customer.
#[derive(Clone, Debug, Default)]
pub struct CreateCustomer {
    /// Unique.
    pub name: String,
    /// Plain text.
    pub description: Option<String>,
    /// The organization's own id for it, unique.
    pub external_id: Option<String>,
    /// Labels.
    pub labels: Option<Vec<String>>,
}

/// What changes about a customer; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateCustomer {
    /// Unique.
    pub name: Option<String>,
    /// Plain text.
    pub description: Option<String>,
    /// Empty takes it away.
    pub external_id: Option<String>,
    /// All of them.
    pub labels: Option<Vec<String>>,
    /// An upload; empty takes the avatar away.
    pub avatar_url: Option<String>,
    /// A document to attach: its name and the upload.
    pub add_attachment: Option<(String, String)>,
    /// A document to rename: its name and the new one.
    pub rename_attachment: Option<(String, String)>,
    /// A document to remove, by name.
    pub remove_attachment: Option<String>,
    /// The revision that the change is based on.
    pub revision: Option<u64>,
}

impl UpdateCustomer {
    fn attaches(&self) -> bool {
        self.add_attachment.is_some() || self.rename_attachment.is_some() || self.remove_attachment.is_some()
    }

    fn changes_record(&self) -> bool {
        let texts = [&self.name, &self.description, &self.external_id, &self.avatar_url];
        texts.into_iter().any(Option::is_some) || self.labels.is_some()
    }
}

impl Edit<'_, '_> {
    /// Creates a customer.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn create_customer(&mut self, input: &CreateCustomer) -> Result<Customer, Fault> {
        self.actor.check(Operation::ManageCustomers)?;
        check(
            Some(&input.name),
            input.description.as_ref(),
            input.external_id.as_ref(),
            input.labels.as_deref(),
        )?;
        let record = Customer {
            id: CustomerId(self.random_id()),
            name: input.name.clone(),
            external_id: changed(input.external_id.as_ref(), None),
            description: input.description.clone().unwrap_or_default(),
            labels: labels(input.labels.as_deref().unwrap_or_default()),
        };
        self.put_customer(&record)?;
        Ok(record)
    }

    /// Changes a customer.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn update_customer(&mut self, id: CustomerId, input: &UpdateCustomer, limits: &MediaLimits) -> Result<Customer, Fault> {
        // Whoever manages nothing but documents may change these alone; each of these commands checks that.
        if input.attaches() {
            self.owner_to_attach(id)?;
            self.check_revision::<Customer>(id, input.revision)?;
            if let Some(name) = &input.remove_attachment {
                self.remove_attachment(id, name)?;
            }
            if let Some((name, new_name)) = &input.rename_attachment {
                self.rename_attachment(id, name, new_name)?;
            }
            if let Some((name, url)) = &input.add_attachment {
                self.add_attachment(id, name, url, limits)?;
            }
            if !input.changes_record() {
                return self.existing::<Customer>(id);
            }
        }
        let before = self.customer_to_manage(id)?;
        self.check_revision::<Customer>(id, input.revision)?;
        check(
            input.name.as_ref(),
            input.description.as_ref(),
            input.external_id.as_ref(),
            input.labels.as_deref(),
        )?;
        let record = Customer {
            id,
            name: input.name.clone().unwrap_or(before.name),
            external_id: changed(input.external_id.as_ref(), before.external_id),
            description: input.description.clone().unwrap_or(before.description),
            labels: input.labels.as_deref().map_or(before.labels, labels),
        };
        self.put_customer(&record)?;
        if let Some(url) = &input.avatar_url {
            self.set_avatar(MediaOwner::Customer(id), url)?;
        }
        Ok(record)
    }

    /// Deletes a customer with its users, instances, configurations and keys.
    ///
    /// # Errors
    /// A refusal; see [`Fault`]. With `confirmed`, also where that is not the customer's name exactly.
    pub fn remove_customer(&mut self, id: CustomerId, confirmed: Option<&str>) -> Result<Customer, Fault> {
        let customer = self.customer_to_manage(id)?;
        if confirmed.is_some_and(|name| name != customer.name) {
            return Err(Fault::field("confirmName", "This is not the customer's name."));
        }
        self.delete_customer(&customer)?;
        Ok(customer)
    }

    fn customer_to_manage(&self, id: CustomerId) -> Result<Customer, Fault> {
        if !self.actor.may_for(Operation::ViewCustomers, id) {
            return Err(Fault::Absent("customer"));
        }
        let customer = self.existing::<Customer>(id)?;
        self.actor.check(Operation::ManageCustomers)?;
        Ok(customer)
    }
}

fn check(
    name: Option<&String>,
    description: Option<&String>,
    external_id: Option<&String>,
    labels: Option<&[String]>,
) -> Result<(), Fault> {
    let mut checked = Checked::default();
    checked.name("name", name.map(String::as_str));
    checked.text("description", description.map(String::as_str));
    checked.short("externalId", external_id.map(String::as_str));
    checked.labels(labels);
    checked.done()
}
