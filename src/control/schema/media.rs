//! Avatars and attachments.

use super::answer::{desk, error, read};
use crate::boot::plane::random;
use crate::control::media::{self, Permit};
use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use perseat_admin::fault::Fault;
use perseat_admin::media::{owner_of, reference};
use perseat_domain::id::{CustomerId, MediaId};
use perseat_domain::model::{MediaKind, MediaOwner};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum MediaType {
    Attachment,
    Avatar,
}

/// Where a file goes, and how to name it afterwards.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct UploadMedia {
    /// Where to `PUT` the file, for a short time and once. It needs no bearer.
    upload_url: Option<String>,
    /// What to give as `avatarUrl`, or as the `url` of an attachment, once the file is there.
    object_url: Option<String>,
    error: Option<String>,
}

/// A document of a customer.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct Attachment {
    name: String,
    /// A path of the API. `GET` with a bearer answers `{"url": …}`, where the document can be read for a short time.
    url: String,
}

#[derive(Debug, InputObject)]
pub(super) struct AttachmentInput {
    pub(super) name: String,
    pub(super) url: String,
}

#[derive(Debug, InputObject)]
pub(super) struct AttachmentRenameInput {
    pub(super) old_name: String,
    pub(super) new_name: String,
    pub(super) url: Option<String>,
}

/// The path of an owner's avatar; the owner was read before.
pub(super) fn avatar_url(ctx: &Context<'_>, owner: MediaOwner) -> Result<Option<String>> {
    Ok(read(ctx, |reader| reader.avatar(owner))?.map(reference))
}

/// The documents of a customer that was read before.
pub(super) fn attachments(ctx: &Context<'_>, customer: CustomerId) -> Result<Vec<Attachment>> {
    let files = read(ctx, |reader| reader.attachments(customer))?;
    let shown = files.into_iter().map(|file| Attachment {
        url: reference(file.id),
        name: file.name,
    });
    Ok(shown.collect())
}

/// Asking where to upload.
#[derive(Debug, Default)]
pub(super) struct MediaQuery;

#[Object]
impl MediaQuery {
    /// Permits to upload a file for an organization, customer, user or integration. Nothing shows it before a mutation takes it up.
    async fn upload_media(&self, ctx: &Context<'_>, object_id: ID, file_name: String, media_type: MediaType) -> Result<UploadMedia> {
        let owner = owner_of(&object_id).ok_or_else(|| error(Fault::Absent("object")))?;
        let kind = match media_type {
            MediaType::Attachment => MediaKind::Attachment,
            MediaType::Avatar => MediaKind::Avatar,
        };
        // Clients may send the path that they read from.
        let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        let id = MediaId(uuid::Builder::from_random_bytes(random().to_be_bytes()).into_uuid());
        let (media, customer) = read(ctx, |reader| {
            Ok((reader.upload(id, owner, kind, name)?, reader.customer_of_file(owner)?))
        })?;
        Ok(UploadMedia {
            upload_url: Some(media::upload_url(desk(ctx)?, &Permit { media, customer })),
            object_url: Some(reference(id)),
            error: None,
        })
    }
}
