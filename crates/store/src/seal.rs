//! Seals plaintext under one owner's data key, so that it opens only as the record it was sealed as.
//!
//! AES-256-GCM-SIV with a random nonce. The associated data names the record (kind, id) and the key's version, so
//! bytes moved to another record, another owner or another format do not open. Text above [`COMPRESS_ABOVE`] is
//! compressed first, except connection values: a credential never shares a compression frame with other text.
//!
//! Nonces come from the thread's generator (ChaCha, seeded anew by the system every 64 KiB): the library's own asks the
//! processor each time, which takes as long as sealing a kilobyte.
//!
//! Stored form: `format (1) ‖ key version (4, little-endian) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`.

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use perseat_domain::model::{KeyDigest, Sealed};
use std::cell::RefCell;
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// Plaintext up to this size is not compressed.
pub const COMPRESS_ABOVE: usize = 4 * 1024;

/// The largest plaintext that is compressed, and so the largest that a compressed record may grow to.
pub const MAX_COMPRESSED_PLAINTEXT: usize = 64 * 1024 * 1024;

/// Bytes that sealing adds to a plaintext that is not compressed.
pub const OVERHEAD: usize = HEADER + TAG;

/// Bytes in a key.
pub const KEY_LEN: usize = 32;

const FORMAT_PLAIN: u8 = 1;
const FORMAT_COMPRESSED: u8 = 2;
const HEADER: usize = 1 + 4 + NONCE_LEN;
const TAG: usize = 16;
/// Little-endian length of the plaintext, before a compressed body.
const LENGTH: usize = 4;
const LEVEL: i32 = 1;

/// What sealed bytes are; part of the associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A request as it arrived; id: execution.
    Request = 1,
    /// A step's results; id: execution ‖ step path.
    StepOutput = 2,
    /// A connection's fields and token; id: instance, user configuration or integration ‖ stable key. Never compressed.
    Connection = 3,
    /// A flush of log lines; id: execution.
    Logs = 4,
    /// What a synchronous caller gets; id: execution.
    Response = 5,
    /// An error message; id: execution.
    Message = 6,
    /// State that a flow keeps between executions.
    FlowState = 7,
    /// Details of an audit entry.
    AuditDetail = 8,
    /// An API key's text; id: instance or integration ‖ digest. Never compressed.
    ApiKey = 9,
    /// An uploaded file's content; id: file.
    Media = 10,
    /// What an uploaded file is; id: file.
    MediaRecord = 11,
    /// A grant's token; id: instance or user configuration ‖ stable key. Never compressed.
    Grant = 12,
    /// What proves an access token; id: session. Never kept.
    AccessToken = 13,
    /// A token that is to be given back to its provider; id: its own. Never compressed.
    Owed = 14,
    /// A row of the catalog that belongs to one user, in a backup; id: table ‖ 0 ‖ key.
    CatalogRow = 15,
    /// A customer on the way to another daemon; id: customer.
    Bundle = 64,
    /// Another owner's key, in the keyring. Never compressed.
    WrappedKey = 255,
}

impl RecordKind {
    fn compresses(self) -> bool {
        !matches!(self, Self::Connection | Self::ApiKey | Self::Grant | Self::Owed | Self::WrappedKey)
    }
}

/// The digest by which an API key is kept and compared: SHA-256 of its text.
#[must_use]
pub fn key_digest(key: &str) -> KeyDigest {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes()).as_ref());
    KeyDigest(digest)
}

/// The version of the key that sealed bytes say they were sealed with.
#[must_use]
pub fn version_of(sealed: &Sealed) -> Option<u32> {
    let version = sealed.0.get(1..)?.first_chunk()?;
    Some(u32::from_le_bytes(*version))
}

/// Why sealed bytes do not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Too short, or of a format that is not known.
    #[error("not sealed bytes of a known format")]
    Malformed,
    /// Sealed under another version of the key.
    #[error("sealed under key version {found}, opened with {expected}")]
    KeyVersion {
        /// The version of the key at hand.
        expected: u32,
        /// The version in the bytes.
        found: u32,
    },
    /// Changed, moved from another record, or another owner's.
    #[error("sealed bytes do not belong to this record")]
    Refused,
    /// The plaintext is larger than a compressed record may be.
    #[error("sealed bytes do not decompress within their limit")]
    TooLarge,
}

impl SealError {
    /// Whether that is what bytes say that another key sealed: the owner's former one, where the owner was deleted and came again. Bytes
    /// that were changed say the same.
    #[must_use]
    pub fn is_another_key(&self) -> bool {
        matches!(self, Self::Refused | Self::KeyVersion { .. })
    }
}

/// One version of an owner's key.
#[derive(Clone)]
struct Version {
    key: Arc<LessSafeKey>,
    number: u32,
}

impl Version {
    fn new(bytes: &[u8; KEY_LEN], number: u32) -> Self {
        match UnboundKey::new(&AES_256_GCM_SIV, bytes) {
            Ok(key) => Self {
                key: Arc::new(LessSafeKey::new(key)),
                number,
            },
            Err(_) => unreachable!("the array has the length of the algorithm's key"),
        }
    }
}

/// What seals, and what opens besides.
#[derive(Clone)]
struct Versions {
    newest: Version,
    older: Vec<Version>,
}

/// One owner's key, ready for use: its newest version seals, older ones that are still there open. Sealing costs microseconds
/// and takes no lock. Whoever holds it seals with the next version as soon as there is one.
pub struct DataKey {
    versions: ArcSwap<Versions>,
    /// Pseudonyms are made with a key of its own that comes of these bytes.
    bytes: Zeroizing<[u8; KEY_LEN]>,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl DataKey {
    /// Makes a key ready. The caller wipes `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8; KEY_LEN], version: u32) -> Self {
        Self {
            versions: ArcSwap::from_pointee(Versions {
                newest: Version::new(bytes, version),
                older: Vec::new(),
            }),
            bytes: Zeroizing::new(*bytes),
        }
    }

    /// The version that seals; part of everything it seals.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.versions.load().newest.number
    }

    /// Opens what this version sealed, too. The caller wipes `bytes`, and sees to it that nobody else changes the versions meanwhile.
    pub(crate) fn also_opens(&self, bytes: &[u8; KEY_LEN], version: u32) {
        let mut versions = Versions::clone(&self.versions.load());
        versions.older.push(Version::new(bytes, version));
        self.versions.store(Arc::new(versions));
    }

    /// Seals with this version from now on, wherever the key is held; the one before still opens. The caller as of
    /// [`DataKey::also_opens`].
    pub(crate) fn advance(&self, bytes: &[u8; KEY_LEN], version: u32) {
        let Versions { newest, mut older } = Versions::clone(&self.versions.load());
        older.push(newest);
        let newest = Version::new(bytes, version);
        self.versions.store(Arc::new(Versions { newest, older }));
    }

    /// Opens nothing more that this older version sealed. The caller as of [`DataKey::also_opens`].
    pub(crate) fn forget(&self, version: u32) {
        let mut versions = Versions::clone(&self.versions.load());
        versions.older.retain(|older| older.number != version);
        self.versions.store(Arc::new(versions));
    }

    /// Seals with the newest version what an older one sealed as the record (`kind`, `id`); `None` where the newest did.
    ///
    /// # Errors
    /// As [`DataKey::unseal`].
    pub fn reseal(&self, kind: RecordKind, id: &[u8], sealed: &Sealed) -> Result<Option<Sealed>, SealError> {
        if version_of(sealed) == Some(self.version()) {
            return Ok(None);
        }
        let plain = self.unseal(kind, id, sealed)?;
        Ok(Some(self.seal(kind, id, &plain)))
    }

    /// What stands for `of` where it must not be read: always the same under a key that has one version, and nothing that says what it stands for to
    /// whoever has not the key. 16 hexadecimal digits.
    #[must_use]
    pub fn pseudonym(&self, of: &[u8]) -> String {
        let names = Zeroizing::new(mac(&self.bytes, b"perseat pseudonyms"));
        let digits = mac(&names, of);
        digits[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Seals `plaintext` as the record (`kind`, `id`).
    #[must_use]
    pub fn seal(&self, kind: RecordKind, id: &[u8], plaintext: &[u8]) -> Sealed {
        #[cfg(feature = "faults")]
        watch(plaintext.len());
        let compressible = kind.compresses() && plaintext.len() > COMPRESS_ABOVE && plaintext.len() <= MAX_COMPRESSED_PLAINTEXT;
        if compressible && let Some(mut packed) = compress(plaintext) {
            let sealed = self.seal_body(FORMAT_COMPRESSED, kind, id, &packed);
            wipe(&mut packed);
            return sealed;
        }
        self.seal_body(FORMAT_PLAIN, kind, id, plaintext)
    }

    fn seal_body(&self, format: u8, kind: RecordKind, id: &[u8], body: &[u8]) -> Sealed {
        let versions = self.versions.load();
        let Version { key, number } = &versions.newest;
        let mut out = Vec::with_capacity(OVERHEAD + body.len());
        out.push(format);
        out.extend_from_slice(&number.to_le_bytes());
        let nonce: [u8; NONCE_LEN] = rand::random();
        out.extend_from_slice(&nonce);
        out.extend_from_slice(body);
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), associated_data(format, kind, *number, id));
        // It fails only above 64 GiB: memory ends first.
        let Ok(tag) = key.seal_in_place_separate_tag(nonce, Aad::from(&aad), &mut out[HEADER..]) else {
            unreachable!("sealing within memory has no failing case")
        };
        out.extend_from_slice(tag.as_ref());
        Sealed(out)
    }

    /// Opens what [`DataKey::seal`] sealed as the same record under the same key.
    ///
    /// # Errors
    /// If the bytes were changed, moved, or sealed under another key.
    pub fn unseal(&self, kind: RecordKind, id: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (body, is_compressed) = self.unseal_body(kind, id, sealed)?;
        if is_compressed { decompress(&body) } else { Ok(body) }
    }

    /// The same where the plaintext has no more than `most` bytes, with work for no more than these; `None` where it has.
    ///
    /// # Errors
    /// As [`DataKey::unseal`].
    pub fn unseal_up_to(&self, most: usize, kind: RecordKind, id: &[u8], sealed: &Sealed) -> Result<Option<Zeroizing<Vec<u8>>>, SealError> {
        // What was compressed is smaller than it was.
        if sealed.0.len() > most.saturating_add(OVERHEAD) {
            return Ok(None);
        }
        let (body, is_compressed) = self.unseal_body(kind, id, sealed)?;
        match is_compressed {
            true if length_of(&body)?.0 > most => Ok(None),
            true => decompress(&body).map(Some),
            false => Ok(Some(body)),
        }
    }

    /// How long the plaintext is.
    ///
    /// # Errors
    /// As [`DataKey::unseal`].
    pub fn length(&self, kind: RecordKind, id: &[u8], sealed: &Sealed) -> Result<usize, SealError> {
        match sealed.0.first() {
            Some(&FORMAT_COMPRESSED) => Ok(length_of(&self.unseal_body(kind, id, sealed)?.0)?.0),
            _ => Ok(sealed.0.len().saturating_sub(OVERHEAD)),
        }
    }

    /// The body, and whether it is compressed.
    fn unseal_body(&self, kind: RecordKind, id: &[u8], sealed: &Sealed) -> Result<(Zeroizing<Vec<u8>>, bool), SealError> {
        let bytes = sealed.0.as_slice();
        if bytes.len() < OVERHEAD || !matches!(bytes[0], FORMAT_PLAIN | FORMAT_COMPRESSED) {
            return Err(SealError::Malformed);
        }
        let (format, found) = (bytes[0], u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]));
        let versions = self.versions.load();
        let mut all = std::iter::once(&versions.newest).chain(&versions.older);
        let Some(version) = all.find(|version| version.number == found) else {
            return Err(SealError::KeyVersion {
                expected: versions.newest.number,
                found,
            });
        };
        let nonce = Nonce::try_assume_unique_for_key(&bytes[5..HEADER]).map_err(|_| SealError::Malformed)?;
        let aad = associated_data(format, kind, found, id);
        #[cfg(feature = "faults")]
        watch(bytes.len());
        let mut body = Zeroizing::new(bytes[HEADER..].to_vec());
        let opened = version.key.open_in_place(nonce, Aad::from(&aad), &mut body);
        let length = opened.map_err(|_| SealError::Refused)?.len();
        body.truncate(length);
        Ok((body, format == FORMAT_COMPRESSED))
    }
}

/// Says so in the log where an arbiter's thread, on which everybody else there waits, does so much at once.
#[cfg(feature = "faults")]
fn watch(bytes: usize) {
    const MUCH: usize = 128 * 1024;
    let thread = std::thread::current();
    let is_arbiter = |name: &str| name.starts_with("owner-") || name.starts_with("front-");
    if bytes > MUCH && thread.name().is_some_and(is_arbiter) {
        tracing::error!(bytes, "sealed or opened on an arbiter");
    }
}

fn mac(key: &[u8; KEY_LEN], text: &[u8]) -> [u8; KEY_LEN] {
    let mut out = [0; KEY_LEN];
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref());
    out
}

fn associated_data(format: u8, kind: RecordKind, version: u32, id: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(6 + id.len());
    aad.extend_from_slice(&[format, kind as u8]);
    aad.extend_from_slice(&version.to_le_bytes());
    aad.extend_from_slice(id);
    aad
}

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The length and the compressed text; `None` where that is not smaller.
fn compress(plaintext: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(plaintext.len()).ok()?;
    let mut packed = vec![0; plaintext.len()];
    packed[..LENGTH].copy_from_slice(&length.to_le_bytes());
    let written = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        // Too little room means that it is not smaller.
        slot.as_mut()?.compress_to_buffer(plaintext, &mut packed[LENGTH..]).ok()
    });
    let Some(written) = written else {
        wipe(&mut packed);
        return None;
    };
    packed.truncate(LENGTH + written);
    Some(packed)
}

/// Zeroes all its memory in one go: what is in a `Vec` as such goes byte by byte, the room behind it does not.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.spare_capacity_mut().zeroize();
}

/// The length of the plaintext, and what follows it.
fn length_of(packed: &[u8]) -> Result<(usize, &[u8]), SealError> {
    let (length, frame) = packed.split_first_chunk::<LENGTH>().ok_or(SealError::Malformed)?;
    Ok((u32::from_le_bytes(*length) as usize, frame))
}

fn decompress(packed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (length, frame) = length_of(packed)?;
    if length > MAX_COMPRESSED_PLAINTEXT {
        return Err(SealError::TooLarge);
    }
    #[cfg(feature = "faults")]
    watch(length);
    let mut plaintext = Zeroizing::new(vec![0; length]);
    let written = DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = zstd::bulk::Decompressor::new().ok();
        }
        slot.as_mut()?.decompress_to_buffer(frame, plaintext.as_mut_slice()).ok()
    });
    if written != Some(length) {
        return Err(SealError::TooLarge);
    }
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> DataKey {
        DataKey::new(&[3; KEY_LEN], 1)
    }

    /// Text that compresses.
    fn prose(length: usize) -> Vec<u8> {
        b"the quick brown fox ".iter().copied().cycle().take(length).collect()
    }

    #[test]
    fn a_pseudonym_is_the_same_under_one_key_alone() {
        let (one, other) = (key(), DataKey::new(&[4; KEY_LEN], 1));
        assert_eq!(one.pseudonym(b"account"), key().pseudonym(b"account"));
        assert_eq!(one.pseudonym(b"account").len(), 16);
        assert_ne!(one.pseudonym(b"account"), one.pseudonym(b"accounts"));
        assert_ne!(one.pseudonym(b"account"), other.pseudonym(b"account"));
    }

    #[test]
    fn the_stored_form_has_the_documented_size() {
        let sealed = key().seal(RecordKind::Request, b"id", b"hello");
        assert_eq!(sealed.0.len(), 5 + OVERHEAD);
        assert_eq!(sealed.0[..5], [1, 1, 0, 0, 0]);
    }

    #[test]
    fn sealing_twice_gives_different_bytes() {
        assert_ne!(
            key().seal(RecordKind::Request, b"id", b"hello"),
            key().seal(RecordKind::Request, b"id", b"hello")
        );
    }

    #[test]
    fn long_text_is_compressed_unless_it_is_a_credential() {
        let text = prose(64 * 1024);
        assert!(key().seal(RecordKind::Request, b"id", &text).0.len() < 2_000);
        assert_eq!(key().seal(RecordKind::Connection, b"id", &text).0.len(), text.len() + OVERHEAD);
        assert_eq!(
            key().seal(RecordKind::Request, b"id", &text[..COMPRESS_ABOVE]).0.len(),
            COMPRESS_ABOVE + OVERHEAD
        );
    }

    #[test]
    fn another_version_of_the_key_is_named_in_the_refusal() {
        let sealed = key().seal(RecordKind::Request, b"id", b"hello");
        let refused = DataKey::new(&[3; KEY_LEN], 2).unseal(RecordKind::Request, b"id", &sealed);
        assert_eq!(refused, Err(SealError::KeyVersion { expected: 2, found: 1 }));
    }

    #[test]
    fn the_next_version_seals_and_those_before_open_until_they_are_forgotten() {
        let key = key();
        let sealed = key.seal(RecordKind::Connection, b"id", b"hello");
        assert_eq!(key.reseal(RecordKind::Connection, b"id", &sealed), Ok(None));
        key.advance(&[4; KEY_LEN], 2);
        let again = key.reseal(RecordKind::Connection, b"id", &sealed).unwrap().unwrap();
        assert_eq!((version_of(&sealed), version_of(&again)), (Some(1), Some(2)));
        let opens = |sealed| key.unseal(RecordKind::Connection, b"id", sealed).map(|plain| plain.to_vec());
        assert_eq!((opens(&sealed), opens(&again)), (Ok(b"hello".to_vec()), Ok(b"hello".to_vec())));
        key.forget(1);
        assert_eq!(opens(&sealed), Err(SealError::KeyVersion { expected: 2, found: 1 }));
        assert_eq!(opens(&again), Ok(b"hello".to_vec()));
    }

    #[test]
    fn what_is_longer_than_wanted_is_not_opened() {
        for text in [prose(COMPRESS_ABOVE), prose(64 * 1024), random_bytes(64 * 1024)] {
            let sealed = key().seal(RecordKind::Request, b"id", &text);
            let opened = |most| key().unseal_up_to(most, RecordKind::Request, b"id", &sealed).unwrap();
            assert_eq!(opened(text.len()).as_deref(), Some(&text));
            assert_eq!(opened(text.len() - 1), None);
            let moved = key().unseal_up_to(text.len(), RecordKind::Request, b"ie", &sealed);
            assert_eq!(moved, Err(SealError::Refused));
        }
    }

    fn random_bytes(length: usize) -> Vec<u8> {
        std::iter::repeat_with(rand::random).take(length).collect()
    }

    #[test]
    fn a_frame_larger_than_it_says_does_not_open() {
        let mut packed = compress(&prose(100_000)).unwrap();
        packed[..LENGTH].copy_from_slice(&50_000u32.to_le_bytes());
        let sealed = key().seal_body(FORMAT_COMPRESSED, RecordKind::Request, b"id", &packed);
        assert_eq!(key().unseal(RecordKind::Request, b"id", &sealed), Err(SealError::TooLarge));
        packed[..LENGTH].copy_from_slice(&u32::MAX.to_le_bytes());
        let sealed = key().seal_body(FORMAT_COMPRESSED, RecordKind::Request, b"id", &packed);
        assert_eq!(key().unseal(RecordKind::Request, b"id", &sealed), Err(SealError::TooLarge));
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(format!("{:?}", key()), "DataKey { version: 1, .. }");
    }

    fn plaintext() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![prop::collection::vec(any::<u8>(), 0..10_000), (0..100_000usize).prop_map(prose)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_sealed_opens_as_itself(text in plaintext(), id in prop::collection::vec(any::<u8>(), 0..40)) {
            for kind in [RecordKind::StepOutput, RecordKind::Connection] {
                let sealed = key().seal(kind, &id, &text);
                let opened = key().unseal(kind, &id, &sealed).unwrap();
                prop_assert_eq!(opened.as_slice(), text.as_slice());
            }
        }

        #[test]
        fn what_was_moved_or_changed_does_not_open(text in plaintext(), flip in any::<prop::sample::Index>(), bit in 0..8u8) {
            let sealed = key().seal(RecordKind::StepOutput, b"id", &text);
            prop_assert!(key().unseal(RecordKind::Request, b"id", &sealed).is_err(), "as another kind");
            prop_assert!(key().unseal(RecordKind::StepOutput, b"ie", &sealed).is_err(), "as another record");
            prop_assert!(DataKey::new(&[4; KEY_LEN], 1).unseal(RecordKind::StepOutput, b"id", &sealed).is_err(), "by another owner");
            let mut changed = sealed;
            let at = flip.index(changed.0.len());
            changed.0[at] ^= 1 << bit;
            prop_assert!(key().unseal(RecordKind::StepOutput, b"id", &changed).is_err(), "with a bit changed");
            changed.0.truncate(at);
            prop_assert!(key().unseal(RecordKind::StepOutput, b"id", &changed).is_err(), "cut short");
        }
    }
}
