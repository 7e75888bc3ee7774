//! Files in and out: `PUT` to a signed URL, `GET /media/ID` with a bearer for a signed URL to read from.

use super::Desk;
use super::schema::blobs::Blob;
use crate::boot::http::{Answer, json};
use bytes::Bytes;
use http::StatusCode;
use perseat_admin::actor::Actor;
use perseat_admin::fault::Fault;
use perseat_admin::media::{MediaLimits, PATH, owner_id, owner_of};
use perseat_admin::picture;
use perseat_domain::id::{CustomerId, MediaId};
use perseat_domain::model::{Media, MediaKind};
use perseat_store::StoreError;
use perseat_store::catalog::Lookup as _;
use perseat_store::media::MediaError;
use serde_json::json;

/// Where uploads go.
pub(super) const UPLOAD: &str = "/blobs/upload";
/// Where files are read from.
const DOWNLOAD: &str = "/blobs/media";

/// What may be uploaded once.
#[derive(Clone, Debug)]
pub(super) struct Permit {
    /// The record, without its size.
    pub(super) media: Media,
    /// The customer whose file it is, or whose user's: for whom its room counts.
    pub(super) customer: Option<CustomerId>,
}

/// Where a file that may be uploaded is sent to, for a short time and once.
pub(super) fn upload_url(desk: &Desk, permit: &Permit) -> String {
    let media = &permit.media;
    let (id, owner) = (media.id.global(), owner_id(media.owner));
    let customer = permit.customer.map(|id| id.global()).unwrap_or_default();
    let parameters = [
        ("customer", customer.as_str()),
        ("media", id.as_str()),
        ("owner", &owner),
        ("kind", word(media.kind)),
        ("name", &media.name),
    ];
    desk.api_url(&desk.signer().sign(UPLOAD, &parameters, desk.now()))
}

fn word(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Avatar => "avatar",
        MediaKind::Attachment => "attachment",
    }
}

/// What a signed URL permits to upload.
pub(super) fn permitted(desk: &Desk, query: &str) -> Option<Permit> {
    let parameters = desk.signer().check(UPLOAD, query, desk.now())?;
    let parameter = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let media = Media {
        id: parameter("media")?.parse().ok()?,
        owner: owner_of(parameter("owner")?)?,
        kind: match parameter("kind")? {
            "avatar" => MediaKind::Avatar,
            _ => MediaKind::Attachment,
        },
        name: parameter("name")?.to_owned(),
        bytes: 0,
    };
    let customer = match parameter("customer")? {
        "" => None,
        id => Some(id.parse().ok()?),
    };
    Some(Permit { media, customer })
}

/// The refusal of a body that is too large for what it is to be.
pub(super) fn too_large(media: &Media, body: &Bytes, limits: &MediaLimits) -> Option<Answer> {
    let limit = match media.kind {
        MediaKind::Avatar => limits.picture_bytes,
        MediaKind::Attachment => limits.attachment_bytes,
    };
    let message = format!("At most {limit} bytes.");
    (body.len() > limit).then(|| refusal(StatusCode::PAYLOAD_TOO_LARGE, "media_too_large", &message))
}

/// Takes an upload: a picture becomes an avatar first. Blocks, and takes a processor for up to a second.
pub(super) fn take(desk: &Desk, permit: &Permit, body: &Bytes) -> Answer {
    let avatar = match permit.media.kind {
        MediaKind::Attachment => None,
        MediaKind::Avatar => match picture::avatar(body, desk.options().media.picture_pixels) {
            Ok(avatar) => Some(avatar),
            Err(error) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, "picture_unreadable", &error.to_string()),
        },
    };
    match desk.keep(permit, avatar.as_deref().unwrap_or(body)) {
        Ok(()) => json(StatusCode::OK, &json!({})),
        Err(MediaError::Exists) => refusal(StatusCode::CONFLICT, "media_exists", "This URL was used already."),
        Err(MediaError::Budget | MediaError::Store(StoreError::Full(_))) => {
            refusal(StatusCode::INSUFFICIENT_STORAGE, "storage_full", "There is no room for the file.")
        }
        Err(MediaError::CustomerBudget) => refusal(
            StatusCode::INSUFFICIENT_STORAGE,
            "media_customer_full",
            "The files of this customer have no more room: remove some first.",
        ),
        Err(MediaError::Untaken) => refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "media_untaken",
            "Too many earlier uploads for this wait to be taken up: name them in a change, or wait until they are deleted.",
        ),
        Err(MediaError::Store(StoreError::NoKey { .. })) => gone(),
        Err(MediaError::Store(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "an upload could not be kept");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error.")
        }
    }
}

/// Where a file can be read for a short time, for somebody who sees it. Blocks on the disk.
pub(super) fn locate(desk: &Desk, actor: &Actor, path: &str) -> Answer {
    let id = path.strip_prefix(PATH).and_then(|id| id.parse::<MediaId>().ok());
    let found = match id {
        Some(id) => desk.read(actor, |reader| reader.media(id)),
        None => return gone(),
    };
    match found {
        Ok(media) => {
            let url = desk.api_url(&signed_path(desk, media.id));
            json(StatusCode::OK, &json!({ "url": url, "name": media.name }))
        }
        Err(Fault::Denied(operation)) => {
            let message = format!("Your role does not allow to {operation}.");
            refusal(StatusCode::FORBIDDEN, "forbidden", &message)
        }
        Err(Fault::Store(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a file could not be looked up");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error.")
        }
        Err(_) => gone(),
    }
}

/// Where a file can be read for a short time.
pub(super) fn signed_path(desk: &Desk, id: MediaId) -> String {
    desk.signer().sign(DOWNLOAD, &[("media", &id.global())], desk.now())
}

/// The file that a signed URL names, as long as a record names it, too. Blocks on the disk.
pub(super) fn find(desk: &Desk, path: &str, query: &str) -> Option<Media> {
    if path != DOWNLOAD {
        return None;
    }
    let parameters = desk.signer().check(path, query, desk.now())?;
    let id: MediaId = parameters.iter().find(|(name, _)| name == "media")?.1.parse().ok()?;
    desk.catalog().get::<Media>(id).ok()?
}

/// The content of a file. Blocks on the disk.
pub(super) fn read(desk: &Desk, media: Media) -> Option<Blob> {
    let mut content = match desk.content(&media) {
        Ok(content) => content?,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, id = %media.id, "a file could not be read");
            return None;
        }
    };
    Some(Blob {
        content_type: match media.kind {
            MediaKind::Avatar => "image/png",
            // Whatever it is, no browser is told to open it.
            MediaKind::Attachment => "application/octet-stream",
        },
        attachment: (media.kind == MediaKind::Attachment).then_some(media.name),
        bytes: std::mem::take(&mut *content).into(),
    })
}

fn gone() -> Answer {
    refusal(StatusCode::NOT_FOUND, "media_not_found", "There is no such file.")
}

pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    json(status, &json!({ "error": message, "code": code }))
}

/// A name as the parameter of a header: RFC 8187.
pub(super) fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_header_is_plain_ascii() {
        assert_eq!(encoded("a b\"\r\n.pdf"), "a%20b%22%0D%0A.pdf");
        assert_eq!(encoded("Größe.pdf"), "Gr%C3%B6%C3%9Fe.pdf");
    }
}
