//! Uploaded files: who may put and take them, and what an upload may be.
//!
//! An upload begins with a question ([`Reader::upload`](crate::query::Reader::upload)) that names its owner; the answer
//! permits one file, which is then kept, named by nothing. A command takes it up; what no command takes up is swept.

use crate::access::Operation;
use crate::actor::Actor;
use crate::command::managing;
use crate::fault::Fault;
use perseat_domain::id::{CustomerId, MediaId, OrganizationId, UserId, VersionId, split_global};
use perseat_domain::model::{Customer, Integration, Media, MediaKind, MediaOwner, Membership, Organization, User};
use perseat_store::catalog::Lookup;
pub use perseat_store::media::key_of;

/// What uploads may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaLimits {
    /// Bytes of one attachment (`media.max-attachment`).
    pub attachment_bytes: usize,
    /// Attachments of one customer (`media.attachments`).
    pub attachments: usize,
    /// Bytes of a picture as it is uploaded (`media.max-picture`).
    pub picture_bytes: usize,
    /// Pixels of a picture as it is uploaded (`media.max-pixels`).
    pub picture_pixels: u64,
}

impl Default for MediaLimits {
    fn default() -> Self {
        Self {
            attachment_bytes: 10 << 20,
            attachments: 200,
            picture_bytes: 10 << 20,
            picture_pixels: 25_000_000,
        }
    }
}

/// The owner that a client names by a global id; of an integration, whichever version.
#[must_use]
pub fn owner_of(text: &str) -> Option<MediaOwner> {
    let kind = split_global(text)?.0;
    match kind.as_str() {
        OrganizationId::KIND => text.parse().ok().map(MediaOwner::Organization),
        CustomerId::KIND => text.parse().ok().map(MediaOwner::Customer),
        UserId::KIND => text.parse().ok().map(MediaOwner::User),
        _ => {
            let version: VersionId = text.parse().ok()?;
            Some(MediaOwner::Integration(version.integration))
        }
    }
}

/// The global id of an owner.
#[must_use]
pub fn owner_id(owner: MediaOwner) -> String {
    match owner {
        MediaOwner::Organization(id) => id.global(),
        MediaOwner::Customer(id) => id.global(),
        MediaOwner::User(id) => id.global(),
        MediaOwner::Integration(id) => id.global(),
    }
}

/// The form by which clients name a file: a path of the API.
#[must_use]
pub fn reference(id: MediaId) -> String {
    format!("{PATH}{}", id.global())
}

/// Below which path files are.
pub const PATH: &str = "/media/";

/// The file that a reference names; a whole URL of it will do.
#[must_use]
pub fn referred(text: &str) -> Option<MediaId> {
    let (_, id) = text.rsplit_once(PATH)?;
    id.parse().ok()
}

/// What somebody wants with the files of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Refuses what the actor may not do with an owner's files of a kind. Who does not see the owner learns nothing of it; for
/// reading, the caller has shown that the owner of an avatar is visible.
pub(crate) fn check(at: &impl Lookup, actor: &Actor, owner: MediaOwner, kind: MediaKind, access: Access) -> Result<(), Fault> {
    let absent = |is_there: bool, what: &'static str| if is_there { Ok(()) } else { Err(Fault::Absent(what)) };
    let operation = match owner {
        MediaOwner::Organization(id) => {
            absent(actor.customer().is_none() && at.get::<Organization>(id)?.is_some(), "organization")?;
            Operation::ManageOrganization
        }
        MediaOwner::Customer(id) => {
            let sees = actor.may_for(Operation::ViewCustomers, id) && at.get::<Customer>(id)?.is_some();
            absent(sees, "customer")?;
            match (kind, access) {
                (MediaKind::Attachment, Access::Read) => return actor.check(Operation::ViewAttachments),
                (MediaKind::Attachment, Access::Write) => Operation::ManageAttachments,
                (MediaKind::Avatar, _) => Operation::ManageCustomers,
            }
        }
        MediaOwner::User(id) => {
            let user = at.get::<User>(id)?.ok_or(Fault::Absent("user"))?;
            if actor.user() == Some(id) {
                return Ok(());
            }
            let (view, manage) = managing(user.membership);
            let sees = match user.membership {
                Membership::Organization => actor.may(view),
                Membership::Customer(customer) => actor.may_for(view, customer),
            };
            absent(sees, "user")?;
            manage
        }
        MediaOwner::Integration(id) => {
            let sees = actor.may(Operation::ViewIntegrations) && at.get::<Integration>(id)?.is_some();
            absent(sees, "integration")?;
            Operation::ManageIntegrations
        }
    };
    match access {
        Access::Read => Ok(()),
        Access::Write => actor.check(operation),
    }
}

/// Refuses a name that no file may have.
pub(crate) fn check_name(name: &str) -> Result<(), Fault> {
    let is_long = name.chars().count() > 255;
    let has_path = name.contains(['/', '\\']) || matches!(name, "." | "..");
    if name.trim().is_empty() || is_long || has_path || name.chars().any(char::is_control) {
        return Err(Fault::field(
            "name",
            "The name of a file has 1 to 255 characters, no slash and no control character.",
        ));
    }
    Ok(())
}

/// Only customers have attachments.
pub(crate) fn check_kind(owner: MediaOwner, kind: MediaKind) -> Result<(), Fault> {
    match (owner, kind) {
        (MediaOwner::Customer(_), _) | (_, MediaKind::Avatar) => Ok(()),
        (_, MediaKind::Attachment) => Err(Fault::field("mediaType", "Only customers have attachments.")),
    }
}

/// The record of a file that may be uploaded, before its size is known.
pub(crate) fn draft(id: MediaId, owner: MediaOwner, kind: MediaKind, name: &str) -> Media {
    Media {
        id,
        owner,
        kind,
        name: name.to_owned(),
        bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_reference_is_a_path_and_a_whole_url_of_it_will_do() {
        let id = MediaId(Uuid::from_u128(7));
        assert_eq!(referred(&reference(id)), Some(id));
        assert_eq!(referred(&format!("https://perseat.example{}", reference(id))), Some(id));
        for none in ["", "/media/", "https://elsewhere.example/logo.png", "/media/VXNlcjox"] {
            assert_eq!(referred(none), None, "{none}");
        }
    }

    #[test]
    fn a_name_is_no_path_and_can_be_read() {
        for good in ["contract.pdf", "Größe 2.txt", ".hidden"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "..", "a/b", "a\\b", "a\nb", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
