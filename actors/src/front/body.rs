//! Reads a request's body within its limits: size, time, and memory shared by all connections.
//!
//! Memory is claimed before the first byte is read and as further bytes arrive, never for what was only announced:
//! a client that promises six megabytes and sends none holds a first share and no more.

use super::FrontShared;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use perseat_domain::code::ErrorCode;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is claimed before anything is read.
const FIRST_SHARE: usize = 64 << 10;

/// A body and its share of the memory.
#[derive(Debug, Default)]
pub(super) struct HeldBody {
    pub(super) bytes: Bytes,
    memory: Option<OwnedSemaphorePermit>,
}

/// Reads the whole body.
pub(super) async fn read(front: &FrontShared, incoming: &mut Incoming) -> Result<HeldBody, ErrorCode> {
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
    match tokio::time::timeout(front.options().body_timeout, collect(front, incoming, announced)).await {
        Ok(body) => body,
        Err(_) => Err(ErrorCode::RequestTimeout),
    }
}

async fn collect(front: &FrontShared, incoming: &mut Incoming, announced: Option<usize>) -> Result<HeldBody, ErrorCode> {
    let mut held = HeldBody {
        bytes: Bytes::new(),
        memory: Some(claim(&front.body_memory, announced.unwrap_or(FIRST_SHARE).min(FIRST_SHARE)).await?),
    };
    let mut rest = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(chunk) = frame.map_err(|_| ErrorCode::RequestMalformed)?.into_data() else {
            continue; // trailers
        };
        let total = held.bytes.len() + rest.len() + chunk.len();
        if total > front.options().max_body {
            return Err(ErrorCode::PayloadTooLarge);
        }
        held.cover(&front.body_memory, total).await?;
        // Most bodies come in one piece, which is kept as it is.
        if held.bytes.is_empty() && rest.is_empty() {
            held.bytes = chunk;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(announced.unwrap_or(0).max(total));
            rest.extend_from_slice(&std::mem::take(&mut held.bytes));
        }
        rest.extend_from_slice(&chunk);
    }
    if !rest.is_empty() {
        held.bytes = rest.freeze();
    }
    Ok(held)
}

impl HeldBody {
    /// Claims what `total` bytes need beyond what is held.
    async fn cover(&mut self, memory: &Arc<Semaphore>, total: usize) -> Result<(), ErrorCode> {
        let have = self.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if total > have {
            let more = claim(memory, total - have).await?;
            match &mut self.memory {
                Some(held) => held.merge(more),
                none => *none = Some(more),
            }
        }
        Ok(())
    }
}

async fn claim(memory: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, ErrorCode> {
    let permits = u32::try_from(bytes).map_err(|_| ErrorCode::PayloadTooLarge)?;
    // The semaphore is never closed.
    Arc::clone(memory)
        .acquire_many_owned(permits)
        .await
        .map_err(|_| ErrorCode::Internal)
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
