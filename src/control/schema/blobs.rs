//! Results that are fetched by a signed URL, without a bearer.

use super::trigger;
use crate::control::Desk;
use perseat_admin::query::Sight;
use perseat_domain::id::ExecutionId;
use perseat_domain::model::Media;
use perseat_store::executions::{Part, StoredResult};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::json;

/// Below which path blobs are.
pub(in crate::control) const PATH: &str = "/blobs/";
/// The place of the trigger; steps follow it.
pub(super) const TRIGGER: usize = 0;

/// What a signed URL answers.
pub(in crate::control) struct Blob {
    pub(in crate::control) content_type: &'static str,
    /// The name under which it is saved, where it is a document of somebody's.
    pub(in crate::control) attachment: Option<String>,
    pub(in crate::control) bytes: bytes::Bytes,
}

const STEP: &str = "/blobs/step-result";
const MESSAGE_PACK: &str = "application/x-msgpack";

/// The form that clients read: JSON as text where the content type says so, or else any value.
#[derive(Serialize)]
struct StepResult<T> {
    data: T,
    #[serde(rename = "contentType", skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
}

fn packed(data: impl Serialize, content_type: Option<&'static str>, room: usize) -> Option<Blob> {
    let mut bytes = Vec::with_capacity(room);
    rmp_serde::encode::write_named(&mut bytes, &StepResult { data, content_type }).ok()?;
    Some(Blob {
        content_type: MESSAGE_PACK,
        attachment: None,
        bytes: bytes.into(),
    })
}

/// A result as it was written: as values it would take many times the memory.
fn packed_text(result: Vec<u8>) -> Option<Blob> {
    // Where blanking broke its form it is text.
    let is_json = serde_json::from_slice::<IgnoredAny>(&result).is_ok();
    let text = String::from_utf8(result).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let room = text.len() + AROUND;
    packed(text, is_json.then_some("application/json"), room)
}

/// What a packed result has around its text, at most.
const AROUND: usize = 64;

/// Where a step's result can be fetched for a short time, as far as whoever got the URL may see it.
pub(super) fn step_url(desk: &Desk, execution: ExecutionId, place: usize, sight: Sight) -> String {
    let (execution, place) = (execution.global(), place.to_string());
    let parameters = [("execution", execution.as_str()), ("step", &place), ("sight", word(sight))];
    desk.api_url(&desk.signer().sign(STEP, &parameters, desk.now()))
}

fn word(sight: Sight) -> &'static str {
    match sight {
        Sight::Whole => "whole",
        Sight::WithoutUrls => "without-urls",
        Sight::WithoutPerson => "without-person",
    }
}

/// What a signed URL names, as it is stored.
pub(in crate::control) enum Stored {
    /// What is short enough to be at hand.
    Ready(Blob),
    Result(StoredResult),
    File(Media),
}

impl Stored {
    /// The most bytes that it takes while it is opened. Blocks: it opens what tells.
    pub(in crate::control) fn memory(&self) -> usize {
        match self {
            Self::Ready(blob) => blob.bytes.len(),
            // Sealed, opened and copied.
            Self::Result(result) => result.length().saturating_mul(3),
            Self::File(media) => usize::try_from(media.bytes).unwrap_or(usize::MAX).saturating_mul(3),
        }
    }

    /// Opens it. Blocks on the disk.
    pub(in crate::control) fn open(self, desk: &Desk) -> Option<Blob> {
        match self {
            Self::Ready(blob) => Some(blob),
            Self::Result(result) => match result.open() {
                Part::Readable(result) => packed_text(result),
                Part::Unreadable { .. } => None,
            },
            Self::File(media) => crate::control::media::read(desk, media),
        }
    }
}

/// What a signed URL names. Blocks on the disk.
pub(in crate::control) fn find(desk: &Desk, path: &str, query: &str) -> Option<Stored> {
    if path != STEP {
        return crate::control::media::find(desk, path, query).map(Stored::File);
    }
    let parameters = desk.signer().check(path, query, desk.now())?;
    let parameter = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let execution: ExecutionId = parameter("execution")?.parse().ok()?;
    let place: usize = parameter("step")?.parse().ok()?;
    let sights = [Sight::Whole, Sight::WithoutUrls, Sight::WithoutPerson];
    let given = parameter("sight")?;
    let sight = sights.into_iter().find(|sight| word(*sight) == given)?;
    let ready = |value| packed(value, None, 0).map(Stored::Ready);
    match place.checked_sub(1) {
        // Null alone would be taken for a result.
        _ if sight == Sight::WithoutPerson => ready(json!({ "notShown": "This ran on behalf of a person whom you may not see." })),
        None => match desk.executions().request(execution).ok()?? {
            (summary, Part::Readable(request)) => ready(trigger::result(desk, &summary, &request, sight)),
            (_, Part::Unreadable { .. }) => None,
        },
        Some(place) => desk.executions().result(execution, place).ok()?.map(Stored::Result),
    }
}
