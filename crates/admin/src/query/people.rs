//! Customers and users.

use super::order::{CustomerField, Indexed, Key, Order, UserField, by_id, only};
use super::{Listed, PageRequest, Reader, Times, contains, is_equal, starts};
use crate::access::Operation;
use crate::fault::Fault;
use perseat_domain::id::{CustomerId, UserId};
use perseat_domain::model::{Customer, Membership, User};
use perseat_store::catalog::{Lookup, Sorted};

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
    /// What the name begins with, whatever its case.
    pub name_starts: Option<String>,
    /// When it was made and changed.
    pub times: Times,
    /// In which order; by id where it is empty.
    pub order: Vec<Order<CustomerField>>,
}

impl CustomerFilter {
    fn fits(&self, customer: &Customer) -> bool {
        let label = self.label_contains.as_ref();
        is_equal(Some(&customer.name), self.name.as_ref())
            && contains(&customer.name, self.name_contains.as_ref())
            && starts(&customer.name, self.name_starts.as_ref())
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
    /// What the name begins with, whatever its case.
    pub name_starts: Option<String>,
    /// What the e-mail address begins with, whatever its case.
    pub email_starts: Option<String>,
    /// In which order; by id where it is empty.
    pub order: Vec<Order<UserField>>,
}

impl UserFilter {
    fn fits(&self, user: &User) -> bool {
        let email = user.email.clone().unwrap_or_default();
        is_equal(Some(&user.name), self.name.as_ref())
            && contains(&user.name, self.name_contains.as_ref())
            && starts(&user.name, self.name_starts.as_ref())
            && starts(&email, self.email_starts.as_ref())
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
        let keep = |customer: &Customer| Ok(filter.fits(customer) && self.in_times::<Customer>(customer.id, filter.times)?);
        if let Some(one) = one {
            let found = match one {
                Some(customer) if keep(&customer)? => vec![customer],
                _ => Vec::new(),
            };
            return Listed::of_all(found, request, self.limits);
        }
        let by_name = only(&filter.order).filter(|order| order.field == CustomerField::Name);
        let indexed = Indexed {
            by: Sorted::customers_by_name(),
            starts_with: filter.name_starts.as_deref().unwrap_or_default(),
            whole: false,
            descending: by_name.is_some_and(|order| order.descending),
        };
        let from_index = by_name.is_some() || filter.name_starts.is_some();
        let fetch = |after: Option<&[u8]>, limit| match from_index {
            true => Ok(self.view.sorted(indexed.by, &indexed.reading(after, limit))?),
            false => by_id(after, |after| self.view.page::<Customer>(after, limit)),
        };
        if filter.order.is_empty() || by_name.is_some() {
            return self.walk(request, fetch, keep);
        }
        self.arranged(request, &filter.order, fetch, keep, |field, customer| {
            Ok(match field {
                CustomerField::Name => Key::text(&customer.name),
                CustomerField::Description => Key::text(&customer.description),
                CustomerField::CreatedAt => Key::Number(self.stamp::<Customer>(customer.id)?.created_at.0),
                CustomerField::UpdatedAt => Key::Number(self.stamp::<Customer>(customer.id)?.changed_at.0),
            })
        })
    }

    /// A user: oneself, or one of those who are visible.
    ///
    /// # Errors
    /// They are absent, or not visible.
    pub fn user(&self, id: UserId) -> Result<User, Fault> {
        let user = self.view.get::<User>(id)?;
        user.filter(|user| self.sees(user)).ok_or(Fault::Absent("user"))
    }

    pub(super) fn sees(&self, user: &User) -> bool {
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
        let membership = match of {
            UsersOf::Membership(membership) => Some(membership),
            UsersOf::Everybody | UsersOf::EveryCustomer => None,
        };
        let visible = match membership {
            Some(Membership::Organization) => self.actor.may(Operation::ViewOrganization),
            Some(Membership::Customer(customer)) => self.actor.may_for(Operation::ViewCustomerUsers, customer),
            None => true,
        };
        if !visible {
            return Ok(Listed::none());
        }
        let one = match (membership, &filter.external_id, &filter.email) {
            (Some(membership), Some(external_id), _) => Some(self.view.user_by_external_id(membership, external_id)?),
            (Some(membership), None, Some(email)) => Some(self.view.user_by_email(membership, email)?),
            _ => None,
        };
        if let Some(one) = one {
            let found = one.into_iter().filter(|user| filter.fits(user)).collect();
            return Listed::of_all(found, request, self.limits);
        }
        self.many_users(membership, of == UsersOf::EveryCustomer, filter, request)
    }

    fn many_users(
        &self,
        membership: Option<Membership>,
        customers_only: bool,
        filter: &UserFilter,
        request: &PageRequest,
    ) -> Result<Listed<User>, Fault> {
        let keep = |user: &User| {
            let wanted = !customers_only || user.membership != Membership::Organization;
            Ok(wanted && self.sees(user) && filter.fits(user))
        };
        let order = only(&filter.order);
        let by_name = || Sorted::users_by_name(membership);
        let by_email = || Sorted::users_by_email(membership);
        // An index that has the order, or else one that has what is looked for.
        let (by, starts_with, whole) = match order.map(|order| order.field) {
            Some(UserField::Name) => (Some(by_name()), filter.name_starts.as_deref(), false),
            Some(UserField::Email) => (Some(by_email()), filter.email_starts.as_deref(), false),
            _ => match (&filter.email, &filter.name, &filter.email_starts, &filter.name_starts) {
                (Some(email), ..) => (Some(by_email()), Some(email.as_str()), true),
                (_, Some(name), ..) => (Some(by_name()), Some(name.as_str()), true),
                (_, _, Some(start), _) => (Some(by_email()), Some(start.as_str()), false),
                (_, _, _, Some(start)) => (Some(by_name()), Some(start.as_str()), false),
                _ => (None, None, false),
            },
        };
        let has_order = order.is_some_and(|order| matches!(order.field, UserField::Name | UserField::Email));
        let descending = has_order && order.is_some_and(|order| order.descending);
        let fetch = |after: Option<&[u8]>, limit| match (by, membership) {
            (Some(by), _) => {
                let starts_with = starts_with.unwrap_or_default();
                let indexed = Indexed {
                    by,
                    starts_with,
                    whole,
                    descending,
                };
                Ok(self.view.sorted(by, &indexed.reading(after, limit))?)
            }
            (None, Some(membership)) => by_id(after, |after| self.view.users_of(membership, after, limit)),
            (None, None) => by_id(after, |after| self.view.page::<User>(after, limit)),
        };
        if filter.order.is_empty() || has_order {
            return self.walk(request, fetch, keep);
        }
        self.arranged(request, &filter.order, fetch, keep, |field, user| {
            Ok(match field {
                UserField::Name => Key::text(&user.name),
                UserField::Email => Key::text(user.email.as_deref().unwrap_or_default()),
                UserField::Role => Key::Number(user.role as u64),
                UserField::Customer => Key::text(&match user.membership {
                    Membership::Organization => String::new(),
                    Membership::Customer(id) => self.view.require::<Customer>(id)?.name,
                }),
                UserField::CreatedAt => Key::Number(self.stamp::<User>(user.id)?.created_at.0),
                UserField::UpdatedAt => Key::Number(self.stamp::<User>(user.id)?.changed_at.0),
            })
        })
    }
}
