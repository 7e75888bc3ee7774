//! Reads a request's body within its limits: size, time, and memory shared by all connections.
//!
//! Memory comes in three parts. A small body claims what it needs from the first once it is whole: until then it is no
//! more than its connection's read buffer holds anyway. One that is seen to be larger claims its first 64 KiB, or less
//! if it announces less, from the second, and all the rest it may need from the third, at once. So nobody waits for more
//! while holding what others wait for, and slow large bodies delay other large ones, never the small ones that most
//! webhooks are; a body that was announced and does not come holds nothing.

use super::FrontShared;
use super::connection::Watch;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use perseat_domain::code::ErrorCode;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Up to this a body is small.
const SMALL: usize = 4 << 10;
/// What a larger body may claim of the second part.
const FIRST_SHARE: usize = 64 << 10;

/// Memory for bodies: `front.body-memory`, a permit a byte.
#[derive(Debug)]
pub(super) struct BodyMemory {
    whole: Part,
    first_shares: Part,
    rests: Part,
}

#[derive(Debug)]
struct Part {
    bytes: usize,
    free: Arc<Semaphore>,
}

impl BodyMemory {
    /// An eighth for small bodies, an eighth for first shares, the rest for what large bodies need beyond.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            whole: Part::new(bytes / 8),
            first_shares: Part::new(bytes / 8),
            rests: Part::new(bytes - bytes / 4),
        }
    }
}

impl Part {
    fn new(bytes: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self {
            bytes,
            free: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Claims `bytes`, or the whole part if that is less.
    async fn claim(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ErrorCode> {
        let permits = bytes.min(self.bytes) as u32;
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        // Boxed: a request that does not wait should not carry the room for it. The semaphore is never closed.
        let waiting = Box::pin(Arc::clone(&self.free).acquire_many_owned(permits));
        waiting.await.map_err(|_| ErrorCode::Internal)
    }
}

/// A body and its share of the memory.
#[derive(Debug, Default)]
pub(super) struct HeldBody {
    pub(super) bytes: Bytes,
    first_share: Option<OwnedSemaphorePermit>,
    rest: Option<OwnedSemaphorePermit>,
}

/// Reads the whole body.
pub(super) async fn read(front: &FrontShared, watch: &Watch, incoming: &mut Incoming) -> Result<HeldBody, ErrorCode> {
    if incoming.is_end_stream() {
        return Ok(HeldBody::default());
    }
    let announced = incoming
        .size_hint()
        .exact()
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > front.options().max_body) {
        return Err(ErrorCode::PayloadTooLarge);
    }
    let body = watch.in_time(collect(front, incoming, announced)).await;
    body.unwrap_or(Err(ErrorCode::RequestTimeout))
}

async fn collect(front: &FrontShared, incoming: &mut Incoming, announced: Option<usize>) -> Result<HeldBody, ErrorCode> {
    let (memory, max_body) = (&front.body_memory, front.options().max_body);
    let mut held = HeldBody::default();
    let may_come_to = announced.unwrap_or(max_body);
    let mut pieces = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(chunk) = frame.map_err(|_| ErrorCode::RequestMalformed)?.into_data() else {
            continue; // trailers
        };
        let total = held.bytes.len() + pieces.len() + chunk.len();
        if total > max_body {
            return Err(ErrorCode::PayloadTooLarge);
        }
        held.cover(memory, total, may_come_to).await?;
        // Most bodies come in one piece, which is kept as it is.
        if held.bytes.is_empty() && pieces.is_empty() {
            held.bytes = chunk;
            continue;
        }
        // Not for all that was announced: a part of it may never be claimed.
        let room = announced.unwrap_or(0).min(held.claimed()).max(total);
        pieces.reserve(room - pieces.len());
        pieces.extend_from_slice(&std::mem::take(&mut held.bytes));
        pieces.extend_from_slice(&chunk);
    }
    if !pieces.is_empty() {
        held.bytes = pieces.freeze();
    }
    if held.first_share.is_none() {
        held.first_share = Some(memory.whole.claim(held.bytes.len()).await?);
    }
    Ok(held)
}

impl HeldBody {
    /// Lets the bytes go and keeps their share: for what was made of them.
    pub(super) fn let_go(&mut self) {
        self.bytes = Bytes::new();
    }

    fn claimed(&self) -> usize {
        [&self.first_share, &self.rest]
            .into_iter()
            .flatten()
            .map(OwnedSemaphorePermit::num_permits)
            .sum()
    }

    /// Once a body is seen to be more than small, claims all that it may come to.
    async fn cover(&mut self, memory: &BodyMemory, seen: usize, at_most: usize) -> Result<(), ErrorCode> {
        if seen > SMALL && self.first_share.is_none() {
            self.first_share = Some(memory.first_shares.claim(at_most.min(FIRST_SHARE)).await?);
        }
        if seen > FIRST_SHARE && self.rest.is_none() {
            self.rest = Some(memory.rests.claim(at_most.max(seen) - FIRST_SHARE).await?);
        }
        Ok(())
    }
}

/// Reads and drops what is left of a body that was refused, so that its sender gets to read the answer instead of a
/// reset. Whether all of it is gone and the connection can be used again.
pub(super) async fn drain(front: &FrontShared, mut incoming: Incoming) -> bool {
    let mut left = front.options().drain_bytes;
    if incoming.size_hint().lower() > left as u64 {
        return false;
    }
    let drained = async {
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return false };
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length > left {
                return false;
            }
            left -= length;
        }
        true
    };
    tokio::time::timeout(front.options().drain_timeout, drained).await.unwrap_or(false)
}
