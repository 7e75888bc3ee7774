//! Customers and users.

use super::{Listed, PageRequest, Reader, contains, is_equal};
use crate::access::Operation;
use crate::fault::Fault;
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::{Customer, Membership, User};
use perseat_store::catalog::Lookup;

/// Which customers; everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct CustomerFilter {
    /// The whole name.
    pub name: Option<String>,
    /// Part of the name.
    pub name_contains: Option<String>,
    /// The whole description.
    pub description: Option<String>,
    /// Part of the description.
    pub description_contains: Option<String>,
    /// The external id.
    pub external_id: Option<String>,
    /// Part of a label.
    pub label_contains: Option<String>,
}

impl CustomerFilter {
    fn fits(&self, customer: &Customer) -> bool {
        let label = self.label_contains.as_ref();
        is_equal(Some(&customer.name), self.name.as_ref())
            && contains(&customer.name, self.name_contains.as_ref())
            && is_equal(Some(&customer.description), self.description.as_ref())
            && contains(&customer.description, self.description_contains.as_ref())
            && is_equal(customer.external_id.as_ref(), self.external_id.as_ref())
            && (label.is_none() || customer.labels.iter().any(|have| contains(have, label)))
    }
}

/// Whose users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsersOf {
    /// Of the organization or one customer.
    Membership(Membership),
    /// Of all that are visible.
    Everybody,
    /// Of all customers that are visible.
    EveryCustomer,
}

/// Which users; everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    /// The whole name.
    pub name: Option<String>,
    /// Part of the name.
    pub name_contains: Option<String>,
    /// The whole e-mail address, whatever its case.
    pub email: Option<String>,
    /// Part of the e-mail address.
    pub email_contains: Option<String>,
    /// The external id.
    pub external_id: Option<String>,
}

impl UserFilter {
    fn fits(&self, user: &User) -> bool {
        let email = user.email.clone().unwrap_or_default();
        is_equal(Some(&user.name), self.name.as_ref())
            && contains(&user.name, self.name_contains.as_ref())
            && self
                .email
                .as_ref()
                .is_none_or(|wanted| wanted.to_lowercase() == email.to_lowercase())
            && contains(&email, self.email_contains.as_ref())
            && is_equal(user.external_id.as_ref(), self.external_id.as_ref())
    }
}

impl Reader<'_> {
    /// A customer.
    ///
    /// # Errors
    /// It is absent, or not visible.
    pub fn customer(&self, id: CustomerId) -> Result<Customer, Fault> {
        let found = match self.actor.may_for(Operation::ViewCustomers, id) {
            true => self.view.get::<Customer>(id)?,
            false => None,
        };
        found.ok_or(Fault::Absent("customer"))
    }

    /// Customers.
    ///
    /// # Errors
    /// A wrong cursor, or the disk fails.
    pub fn customers(&self, filter: &CustomerFilter, request: &PageRequest) -> Result<Listed<Customer>, Fault> {
        if !self.actor.may(Operation::ViewCustomers) {
            return Ok(Listed::none());
        }
        let one = match (self.actor.customer(), &filter.external_id, &filter.name) {
            (Some(own), _, _) => Some(self.view.get::<Customer>(own)?),
            (None, Some(external_id), _) => Some(self.view.customer_by_external_id(external_id)?),
            (None, None, Some(name)) => Some(self.view.customer_by_name(name)?),
            (None, None, None) => None,
        };
        if let Some(one) = one {
            let found = one.into_iter().filter(|customer| filter.fits(customer)).collect();
            return Ok(Listed::of_all(found, request, self.limits));
        }
        self.walk(
            request,
            |after, limit| self.view.page::<Customer>(after, limit),
            |customer| Ok(filter.fits(customer)),
        )
    }

    /// A user: oneself, or one of those who are visible.
    ///
    /// # Errors
    /// They are absent, or not visible.
    pub fn user(&self, id: UserId) -> Result<User, Fault> {
        let user = self.view.get::<User>(id)?;
        user.filter(|user| self.sees(user)).ok_or(Fault::Absent("user"))
    }

    fn sees(&self, user: &User) -> bool {
        if self.actor.user() == Some(user.id) {
            return true;
        }
        match user.membership {
            Membership::Organization => self.actor.may(Operation::ViewOrganization),
            Membership::Customer(customer) => self.actor.may_for(Operation::ViewCustomerUsers, customer),
        }
    }

    /// Users.
    ///
    /// # Errors
    /// A wrong cursor, or the disk fails.
    pub fn users(&self, of: UsersOf, filter: &UserFilter, request: &PageRequest) -> Result<Listed<User>, Fault> {
        let of = match (of, self.actor.customer()) {
            (UsersOf::Everybody | UsersOf::EveryCustomer, Some(own)) => UsersOf::Membership(Membership::Customer(own)),
            (of, _) => of,
        };
        let UsersOf::Membership(membership) = of else {
            let customers_only = of == UsersOf::EveryCustomer;
            return self.walk(
                request,
                |after, limit| self.view.page::<User>(after, limit),
                |user| {
                    let wanted = !customers_only || user.membership != Membership::Organization;
                    Ok(wanted && self.sees(user) && filter.fits(user))
                },
            );
        };
        let visible = match membership {
            Membership::Organization => self.actor.may(Operation::ViewOrganization),
            Membership::Customer(customer) => self.actor.may_for(Operation::ViewCustomerUsers, customer),
        };
        if !visible {
            return Ok(Listed::none());
        }
        let one = match (&filter.external_id, &filter.email) {
            (Some(external_id), _) => Some(self.view.user_by_external_id(membership, external_id)?),
            (None, Some(email)) => Some(self.view.user_by_email(membership, email)?),
            (None, None) => None,
        };
        if let Some(one) = one {
            let found = one.into_iter().filter(|user| filter.fits(user)).collect();
            return Ok(Listed::of_all(found, request, self.limits));
        }
        self.walk(
            request,
            |after, limit| self.view.users_of(membership, after, limit),
            |user| Ok(filter.fits(user)),
        )
    }
}
