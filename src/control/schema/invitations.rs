//! People who are to sign in: the answer of making them, and another invitation.

use super::answer::{FieldErrors, change, desk, field_errors, required};
use super::people::User;
use crate::control::Desk;
use async_graphql::{Context, ID, InputObject, Object, Result};
use perseat_admin::edit::Edit;
use perseat_admin::fault::Fault;
use perseat_admin::identity::letters::Delivery;
use perseat_domain::model;

/// A user, and the link by which they set a password where it was not mailed.
pub(super) type Invited = (model::User, Option<String>);

macro_rules! payloads {
    ($($name:ident)*) => {$(
        #[derive(Debug, async_graphql::SimpleObject)]
        pub(super) struct $name {
            user: Option<User>,
            /// Where they set their password, once and for a time. Pass it on: it is shown here and nowhere else. Null where it is
            /// mailed, and for users who never sign in.
            invitation_url: Option<String>,
            errors: Vec<FieldErrors>,
        }

        impl $name {
            pub(super) fn of(outcome: Result<Invited, Fault>) -> async_graphql::Result<Self> {
                Ok(match outcome {
                    Ok((user, invitation_url)) => Self {
                        user: Some(User::Person(user)),
                        invitation_url,
                        errors: Vec::new(),
                    },
                    Err(fault) => Self {
                        user: None,
                        invitation_url: None,
                        errors: field_errors(fault)?,
                    },
                })
            }
        }
    )*};
}

payloads! {
    CreateCustomerUserPayload
    CreateOrganizationUserPayload
    InviteUserPayload
}

/// Invites a new user; those who come with the host product's token need no invitation.
pub(super) fn invited(desk: &Desk, edit: &mut Edit<'_, '_>, user: model::User) -> Result<Invited, Fault> {
    if user.role.is_embedded() {
        return Ok((user, None));
    }
    // Whose address had its letters is made all the same: then the link is for whoever made them.
    let delivery = match desk.delivery() {
        Delivery::Mail { .. } if !may_write_to(desk, &user) => desk.shown(),
        delivery => delivery,
    };
    let secret = edit.invite_user(user.id, delivery)?;
    Ok((user, secret.map(|secret| desk.password_url(&secret))))
}

fn may_write_to(desk: &Desk, user: &model::User) -> bool {
    desk.take_invitation(user.email.as_deref().unwrap_or_default())
}

#[derive(Debug, InputObject)]
struct InviteUserInput {
    id: Option<ID>,
    /// Whether the link is for whoever asks to pass on, although there is a mail server. Not for users who have a password or
    /// have signed in.
    show_link: Option<bool>,
}

/// Inviting people.
#[derive(Debug, Default)]
pub(super) struct InvitationMutation;

#[Object]
impl InvitationMutation {
    /// Invites a user again, who lost the first invitation or let it expire. Earlier ones still work until one is used. Whoever
    /// has a password or has signed in gets a letter by which they set another one.
    async fn invite_user(&self, ctx: &Context<'_>, input: InviteUserInput) -> Result<InviteUserPayload> {
        let desk = desk(ctx)?;
        let shows = input.show_link == Some(true);
        let (action, delivery) = if shows {
            ("showInvitation", desk.shown())
        } else {
            ("inviteUser", desk.delivery())
        };
        let made = change(ctx, action, |edit| {
            let id = required(input.id.as_ref(), "user")?;
            let secret = edit.invite_user(id, delivery)?;
            let user = edit.user(id)?;
            if secret.is_none() && !may_write_to(desk, &user) {
                let sentence = "This address got many letters lately. Wait, or ask for the link with `showLink`.";
                return Err(Fault::field("id", sentence));
            }
            Ok((user, secret.map(|secret| desk.password_url(&secret))))
        })?;
        desk.wake_mail();
        InviteUserPayload::of(made)
    }
}
