//! Reads a request's body within its limits: size, time, and memory shared by all connections.
//!
//! Memory comes in three parts. A small body claims what it needs from the first once it is whole: until then it is no
//! more than its connection's read buffer holds anyway. One that is seen to be larger claims its first 64 KiB, or less
//! if it announces less, from the second, and all the rest it may need from the third, at once; of each of these two the
//! clients of one network hold half at most. So slow large bodies delay other large ones of their network, and only those of
//! several networks together all large ones, never the small ones that most webhooks are; a body that was announced and does
//! not come holds nothing. What is read and waits for room in admission holds a quarter of each part at most: what one user
//! has too much of leaves the rest to be read.

use super::FrontShared;
use super::address::network_of;
use super::connection::Watch;
use super::memory::{Claim, SharedMemory, never};
use crate::kit::Memory;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use perseat_domain::code::ErrorCode;
use std::net::IpAddr;
use tokio::sync::OwnedSemaphorePermit;

/// Up to this a body is small.
const SMALL: usize = 4 << 10;
/// What a larger body may claim of the second part.
const FIRST_SHARE: usize = 64 << 10;

/// Memory for bodies, a permit a byte.
#[derive(Debug)]
pub struct BodyMemory {
    whole: Memory,
    first_shares: SharedMemory,
    rests: SharedMemory,
    /// What those hold that wait for room, of each of the three.
    waiting: (Memory, SharedMemory, SharedMemory),
}

impl BodyMemory {
    /// An eighth for small bodies, an eighth for first shares, the rest for what large bodies need beyond.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let (whole, first_shares, rests) = (bytes / 8, bytes / 8, bytes - bytes / 4);
        Self {
            whole: Memory::new(whole),
            first_shares: SharedMemory::new(first_shares),
            rests: SharedMemory::new(rests),
            waiting: (
                Memory::new(whole / 4),
                SharedMemory::new(first_shares / 4),
                SharedMemory::new(rests / 4),
            ),
        }
    }

    /// Reads the whole body, of at most `max_body`. It may wait for memory as long as its caller lets it. `client` tells whose it
    /// is: asked for a large one alone.
    ///
    /// # Errors
    /// If it is larger, or does not come whole.
    pub async fn read(&self, client: &impl Fn() -> IpAddr, incoming: &mut Incoming, max_body: usize) -> Result<HeldBody, ErrorCode> {
        let announced = incoming
            .size_hint()
            .exact()
            .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced.is_some_and(|length| length > max_body) {
            return Err(ErrorCode::PayloadTooLarge);
        }
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
            held.cover(self, client, total, may_come_to).await?;
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
            held.whole = Some(self.whole.claim(held.bytes.len()).await.map_err(never)?);
        }
        Ok(held)
    }
}

/// A body and its share of the memory.
#[derive(Debug, Default)]
pub struct HeldBody {
    /// What was sent.
    pub bytes: Bytes,
    whole: Option<OwnedSemaphorePermit>,
    first_share: Option<Claim>,
    rest: Option<Claim>,
}

/// Leave to hold a body's share while there is no room for its event.
#[derive(Debug)]
pub(super) struct Waiting {
    _whole: Option<OwnedSemaphorePermit>,
    _first_share: Option<Claim>,
    _rest: Option<Claim>,
}

/// Reads the whole body of a request, of at most `max_body`, in the time that there is for it.
pub(super) async fn read(
    memory: &BodyMemory,
    watch: &Watch,
    client: &impl Fn() -> IpAddr,
    incoming: &mut Incoming,
    max_body: usize,
) -> Result<HeldBody, ErrorCode> {
    if incoming.is_end_stream() {
        return Ok(HeldBody::default());
    }
    let body = memory.read(client, incoming, max_body);
    watch.in_time(body).await.unwrap_or(Err(ErrorCode::RequestTimeout))
}

impl HeldBody {
    /// Lets the bytes go and keeps their share: for what was made of them.
    pub(super) fn let_go(&mut self) {
        self.bytes = Bytes::new();
    }

    /// Leave to wait with it, for a client of this address; none where what waits holds its part of the memory already.
    pub(super) fn may_wait(&self, memory: &BodyMemory, client: IpAddr) -> Option<Waiting> {
        let (whole, first_shares, rests) = &memory.waiting;
        let claim = |held: &Option<Claim>, memory: &SharedMemory| match held {
            Some(held) => memory.try_claim(network_of(client), held.bytes()).map(Some),
            None => Some(None),
        };
        Some(Waiting {
            _whole: match &self.whole {
                Some(held) => Some(whole.try_claim(held.num_permits())?),
                None => None,
            },
            _first_share: claim(&self.first_share, first_shares)?,
            _rest: claim(&self.rest, rests)?,
        })
    }

    fn claimed(&self) -> usize {
        [&self.first_share, &self.rest].into_iter().flatten().map(Claim::bytes).sum()
    }

    /// Once a body is seen to be more than small, claims all that it may come to.
    async fn cover(&mut self, memory: &BodyMemory, client: &impl Fn() -> IpAddr, seen: usize, at_most: usize) -> Result<(), ErrorCode> {
        if seen > SMALL && self.first_share.is_none() {
            self.first_share = Some(memory.first_shares.claim(network_of(client()), at_most.min(FIRST_SHARE)).await?);
        }
        if seen > FIRST_SHARE && self.rest.is_none() {
            self.rest = Some(memory.rests.claim(network_of(client()), at_most.max(seen) - FIRST_SHARE).await?);
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
