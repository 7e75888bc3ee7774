//! People: of the organization and of customers.

use super::{Checked, changed, labels};
use crate::access::{Operation, may_grant};
use crate::actor::side;
use crate::edit::Edit;
use crate::fault::Fault;
use perseat_domain::id::UserId;
use perseat_domain::model::{Customer, MediaOwner, Membership, Profile, Role, User};
use perseat_store::catalog::Lookup;

/// A new person.
#[derive(Clone, Debug)]
pub struct CreateUser {
    /// To whom they belong.
    pub membership: Membership,
    /// The e-mail address.
    pub email: String,
    /// The display name; the address where there is none.
    pub name: Option<String>,
    /// The host product's id.
    pub external_id: Option<String>,
    /// Their telephone number.
    pub phone: Option<String>,
    /// What they may do.
    pub role: Role,
    /// What they are sorted by.
    pub labels: Vec<String>,
}

/// What changes about a person; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateUser {
    /// The display name.
    pub name: Option<String>,
    /// Their telephone number.
    pub phone: Option<String>,
    /// The host product's id; empty takes it away.
    pub external_id: Option<String>,
    /// Whether pages are dark.
    pub dark_mode: Option<bool>,
    /// Whether pages are dark when the rest of their screen is.
    pub dark_mode_os_sync: Option<bool>,
    /// What they may do.
    pub role: Option<Role>,
    /// What they are sorted by.
    pub labels: Option<Vec<String>>,
    /// An upload; empty takes the avatar away.
    pub avatar_url: Option<String>,
    /// The revision that the change is based on.
    pub revision: Option<u64>,
}

/// What managing the users of a membership is.
pub(crate) fn managing(membership: Membership) -> (Operation, Operation) {
    match membership {
        Membership::Organization => (Operation::ViewOrganization, Operation::ManageOrganizationUsers),
        Membership::Customer(_) => (Operation::ViewCustomerUsers, Operation::ManageCustomerUsers),
    }
}

impl Edit<'_, '_> {
    /// Creates a person. Marketplace roles are for those who come with the host product's token, and may be given by hand to
    /// prepare for them.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn create_user(&mut self, input: &CreateUser) -> Result<User, Fault> {
        if let Membership::Customer(id) = input.membership {
            if !self.actor.may_for(Operation::ViewCustomers, id) {
                return Err(Fault::Absent("customer"));
            }
            self.existing::<Customer>(id)?;
        }
        self.actor.check(managing(input.membership).1)?;
        self.check_grant(input.membership, input.role)?;
        let mut checked = Checked::default();
        checked.email(Some(&input.email));
        checked.short("name", input.name.as_deref());
        checked.short("externalId", input.external_id.as_deref());
        checked.short("phone", input.phone.as_deref());
        checked.labels(Some(&input.labels));
        checked.done()?;
        let name = input.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let record = User {
            id: UserId(self.random_id()),
            membership: input.membership,
            email: Some(input.email.clone()),
            name: name.unwrap_or(&input.email).to_owned(),
            external_id: changed(input.external_id.as_ref(), None),
            subject: None,
            subject_seen_at: None,
            role: input.role,
            profile: Profile {
                phone: input.phone.clone().unwrap_or_default(),
                ..Profile::default()
            },
            labels: labels(&input.labels),
        };
        self.put_user(&record)?;
        Ok(record)
    }

    /// Changes a person: everybody their own profile; roles, external ids and labels whoever manages them.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn update_user(&mut self, id: UserId, input: &UpdateUser) -> Result<User, Fault> {
        let is_own = self.actor.user() == Some(id);
        let before = if is_own {
            self.existing::<User>(id)?
        } else {
            self.user_to_manage(id)?
        };
        self.check_revision::<User>(id, input.revision)?;
        let is_new_role = input.role.is_some_and(|role| role != before.role);
        if is_new_role || input.external_id.is_some() || input.labels.is_some() {
            self.actor.check(managing(before.membership).1)?;
        }
        if let Some(role) = input.role.filter(|_| is_new_role) {
            self.check_grant(before.membership, role)?;
            self.check_grant(before.membership, before.role)?;
            self.check_owner_left(&before)?;
        }
        let mut checked = Checked::default();
        checked.name("name", input.name.as_deref());
        checked.short("externalId", input.external_id.as_deref());
        checked.short("phone", input.phone.as_deref());
        checked.labels(input.labels.as_deref());
        checked.done()?;
        let record = User {
            labels: input.labels.as_deref().map_or(before.labels, labels),
            name: input.name.clone().unwrap_or(before.name),
            external_id: changed(input.external_id.as_ref(), before.external_id),
            role: input.role.unwrap_or(before.role),
            profile: Profile {
                phone: input.phone.clone().unwrap_or(before.profile.phone),
                dark_mode: input.dark_mode.unwrap_or(before.profile.dark_mode),
                dark_mode_os_sync: input.dark_mode_os_sync.unwrap_or(before.profile.dark_mode_os_sync),
            },
            ..before
        };
        self.put_user(&record)?;
        if let Some(url) = &input.avatar_url {
            self.set_avatar(MediaOwner::User(id), url)?;
        }
        Ok(record)
    }

    /// Deletes a person with their configurations, credentials and keys.
    ///
    /// # Errors
    /// A refusal; see [`Fault`]. With `confirmed`, also where that is not the person's name exactly.
    pub fn remove_user(&mut self, id: UserId, confirmed: Option<&str>) -> Result<User, Fault> {
        let user = self.user_to_manage(id)?;
        if confirmed.is_some_and(|name| name != user.name) {
            return Err(Fault::field("confirmName", "This is not the user's name."));
        }
        self.check_grant(user.membership, user.role)?;
        self.check_owner_left(&user)?;
        self.delete_user(&user)?;
        Ok(user)
    }

    /// Refuses to take its last owner from the organization.
    fn check_owner_left(&self, user: &User) -> Result<(), Fault> {
        if user.membership != Membership::Organization || user.role != Role::Owner {
            return Ok(());
        }
        let others = crate::edit::every(|after| self.mutation.users_of(Membership::Organization, after, 1_000))?;
        if others.iter().any(|other| other.id != user.id && other.role == Role::Owner) {
            return Ok(());
        }
        Err(Fault::field("role", "The organization needs an owner; make another one first."))
    }

    pub(crate) fn user_to_manage(&self, id: UserId) -> Result<User, Fault> {
        let user = self.existing::<User>(id)?;
        let (view, manage) = managing(user.membership);
        let sees = match user.membership {
            Membership::Organization => self.actor.may(view),
            Membership::Customer(customer) => self.actor.may_for(view, customer),
        };
        if !sees {
            return Err(Fault::Absent("user"));
        }
        self.actor.check(manage)?;
        Ok(user)
    }

    /// Whether the role belongs to the side, and whether whoever acts may give or take it.
    pub(crate) fn check_grant(&self, membership: Membership, role: Role) -> Result<(), Fault> {
        let granted = (side(membership), role);
        if !crate::access::ROLES.contains(&granted) {
            return Err(Fault::field("role", "This role belongs to the other side."));
        }
        if !may_grant((side(self.actor.membership), self.actor.role), granted) {
            return Err(Fault::field("role", "You may not give or take this role."));
        }
        Ok(())
    }
}
