//! Uploaded files.

use super::Reader;
use crate::access::Operation;
use crate::fault::Fault;
use crate::media::{Access, check, check_kind, check_name, draft};
use perseat_domain::id::{CustomerId, MediaId, VersionId};
use perseat_domain::model::{Media, MediaKind, MediaOwner};
use perseat_store::catalog::Lookup;
use perseat_store::media::customer_of;

impl Reader<'_> {
    /// A file that whoever asks may upload: what is kept is this record with the size of what comes.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn upload(&self, id: MediaId, owner: MediaOwner, kind: MediaKind, name: &str) -> Result<Media, Fault> {
        check(&self.view, self.actor, owner, kind, Access::Write)?;
        check_kind(owner, kind)?;
        check_name(name)?;
        Ok(draft(id, owner, kind, name))
    }

    /// The customer whose file of this owner it is, or whose user's.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub fn customer_of_file(&self, owner: MediaOwner) -> Result<Option<CustomerId>, Fault> {
        Ok(customer_of(&self.view, owner)?)
    }

    /// A file that a record names.
    ///
    /// # Errors
    /// It is absent, or not visible.
    pub fn media(&self, id: MediaId) -> Result<Media, Fault> {
        let absent = Fault::Absent("file");
        let Some(file) = self.view.get::<Media>(id)? else {
            return Err(absent);
        };
        let visible = match file.owner {
            MediaOwner::Integration(integration) => {
                let newest = VersionId {
                    integration,
                    version: None,
                };
                self.integration(newest).map(|_| ())
            }
            MediaOwner::User(user) => self.user(user).map(|_| ()),
            owner => check(&self.view, self.actor, owner, file.kind, Access::Read),
        };
        match visible {
            Ok(()) => Ok(file),
            Err(Fault::Absent(_)) => Err(absent),
            Err(fault) => Err(fault),
        }
    }

    /// The avatar of an owner that was read here.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn avatar(&self, owner: MediaOwner) -> Result<Option<MediaId>, Fault> {
        Ok(self.view.avatar_of(owner)?.map(|file| file.id))
    }

    /// The documents of a customer, by name; none for those who may not see them.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn attachments(&self, customer: CustomerId) -> Result<Vec<Media>, Fault> {
        if !self.actor.may_for(Operation::ViewAttachments, customer) {
            return Ok(Vec::new());
        }
        let owner = MediaOwner::Customer(customer);
        let mut files = crate::edit::every(|after| self.view.media_of(owner, after, self.limits.page))?;
        files.retain(|file| file.kind == MediaKind::Attachment);
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }
}
