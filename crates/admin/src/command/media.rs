//! Avatars and attachments: an upload is taken up by what it was uploaded for, and by nothing else.

use crate::edit::{Edit, every};
use crate::fault::Fault;
use crate::media::{Access, MediaLimits, check, check_kind, check_name, key_of, referred};
use perseat_domain::id::CustomerId;
use perseat_domain::model::{Media, MediaKind, MediaOwner};
use perseat_store::catalog::Lookup;
use perseat_store::error::StoreError;

impl Edit<'_, '_> {
    /// Takes an upload as the avatar of its owner; an empty reference takes the avatar away.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn set_avatar(&mut self, owner: MediaOwner, url: &str) -> Result<(), Fault> {
        check(&*self.mutation, self.actor, owner, MediaKind::Avatar, Access::Write)?;
        let before = self.mutation.avatar_of(owner)?;
        let upload = match url.trim() {
            "" => None,
            url if before.as_ref().is_some_and(|before| referred(url) == Some(before.id)) => return Ok(()),
            url => Some(self.upload("avatarUrl", owner, MediaKind::Avatar, url)?),
        };
        if let Some(before) = before {
            self.mutation.delete_media(before.id)?;
        }
        if let Some(upload) = upload {
            self.mutation.put(&upload)?;
        }
        Ok(())
    }

    /// Takes an upload as a document of a customer.
    ///
    /// # Errors
    /// A refusal; see [`Fault`]. The name is taken, or there are too many.
    pub fn add_attachment(&mut self, customer: CustomerId, name: &str, url: &str, limits: &MediaLimits) -> Result<(), Fault> {
        let owner = self.owner_to_attach(customer)?;
        check_name(name)?;
        let upload = self.upload("addAttachment", owner, MediaKind::Attachment, url)?;
        let files = every(|after| self.mutation.media_of(owner, after, 1_000))?;
        let count = files.iter().filter(|file| file.kind == MediaKind::Attachment).count();
        if count >= limits.attachments {
            let message = format!("At most {} attachments; remove one first.", limits.attachments);
            return Err(Fault::field("addAttachment", message));
        }
        self.mutation.put(&Media {
            name: name.to_owned(),
            ..upload
        })?;
        Ok(())
    }

    /// Gives a document another name.
    ///
    /// # Errors
    /// A refusal; see [`Fault`]. The name is taken.
    pub fn rename_attachment(&mut self, customer: CustomerId, name: &str, new_name: &str) -> Result<(), Fault> {
        let owner = self.owner_to_attach(customer)?;
        check_name(new_name)?;
        let file = self.attachment(owner, name)?;
        self.mutation.put(&Media {
            name: new_name.to_owned(),
            ..file
        })?;
        Ok(())
    }

    /// Removes a document.
    ///
    /// # Errors
    /// A refusal; see [`Fault`].
    pub fn remove_attachment(&mut self, customer: CustomerId, name: &str) -> Result<(), Fault> {
        let owner = self.owner_to_attach(customer)?;
        let file = self.attachment(owner, name)?;
        self.mutation.delete_media(file.id)?;
        Ok(())
    }

    /// The customer as an owner of documents, for whoever may change them.
    pub(super) fn owner_to_attach(&self, customer: CustomerId) -> Result<MediaOwner, Fault> {
        let owner = MediaOwner::Customer(customer);
        check(&*self.mutation, self.actor, owner, MediaKind::Attachment, Access::Write)?;
        Ok(owner)
    }

    fn attachment(&self, owner: MediaOwner, name: &str) -> Result<Media, Fault> {
        let found = self.mutation.attachment_by_name(owner, name)?;
        found.ok_or(Fault::Absent("attachment"))
    }

    /// What was uploaded for this owner and purpose and is not taken up yet.
    fn upload(&self, field: &str, owner: MediaOwner, kind: MediaKind, url: &str) -> Result<Media, Fault> {
        check_kind(owner, kind)?;
        let wrong = || Fault::field(field, "Upload the file first: uploadMedia says where.");
        let id = referred(url).ok_or_else(wrong)?;
        if self.mutation.get::<Media>(id)?.is_some() {
            return Err(wrong());
        }
        let media = self.media.ok_or_else(wrong)?;
        let key = self.keyring.data_key(key_of(owner))?;
        let record = match media.record(id, &key) {
            Ok(record) => record,
            // Another owner's: as if there were none.
            Err(StoreError::Sealed(_)) => None,
            Err(error) => return Err(error.into()),
        };
        record
            .filter(|record| record.id == id && record.owner == owner && record.kind == kind)
            .ok_or_else(wrong)
    }
}
