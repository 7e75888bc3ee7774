//! How a backup travels from the daemon to whoever writes it: parts, each a kind (1), a length (4, little-endian) and so many bytes.

use bytes::{Buf as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;

/// One part, in the order in which they come: a plan; of each file its head, its bytes and its end; the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// How much there will be.
    Plan(Plan),
    /// A file begins.
    File(FileHead),
    /// Bytes of it.
    Data(Bytes),
    /// It is whole, and has this SHA-256, in hexadecimal digits.
    End(String),
    /// Everything was sent.
    Manifest(Box<Manifest>),
    /// There will be nothing more.
    Refused(Refusal),
}

/// See [`Part::Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Bytes of all files.
    pub bytes: u64,
    /// Files.
    pub files: usize,
}

/// See [`Part::File`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// Its path below the backup's directory, with slashes.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// See [`Part::Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub error: String,
}

/// A part is longer than any can be, or of an unknown kind.
#[derive(Debug, thiserror::Error)]
#[error("the daemon's answer is none that this version understands")]
pub struct Garbled;

const HEAD: usize = 5;
/// A manifest names every segment; so many there cannot be.
const LONGEST: usize = 64 << 20;

impl Part {
    /// The bytes that are sent.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Plan(plan) => json(1, plan),
            Self::File(head) => json(2, head),
            Self::Data(bytes) => frame(3, bytes),
            Self::End(hash) => frame(4, hash.as_bytes()),
            Self::Manifest(manifest) => json(5, manifest),
            Self::Refused(refusal) => json(6, refusal),
        }
    }

    fn decode(kind: u8, body: Bytes) -> Result<Self, Garbled> {
        fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Garbled> {
            serde_json::from_slice(body).map_err(|_| Garbled)
        }
        Ok(match kind {
            1 => Self::Plan(read(&body)?),
            2 => Self::File(read(&body)?),
            3 => Self::Data(body),
            4 => Self::End(String::from_utf8(body.into()).map_err(|_| Garbled)?),
            5 => Self::Manifest(read(&body)?),
            6 => Self::Refused(read(&body)?),
            _ => return Err(Garbled),
        })
    }
}

fn json(kind: u8, value: &impl Serialize) -> Bytes {
    // Structs of texts and numbers have no failing case.
    frame(kind, &serde_json::to_vec(value).unwrap_or_default())
}

fn frame(kind: u8, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(&[kind]);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.freeze()
}

/// Puts parts together from pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder(BytesMut);

impl Decoder {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }

    /// The next part, once all of it is there.
    ///
    /// # Errors
    /// If it is none.
    pub fn part(&mut self) -> Result<Option<Part>, Garbled> {
        let Some((&[kind, ref length @ ..], _)) = self.0.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > LONGEST {
            return Err(Garbled);
        }
        if self.0.len() < HEAD + length {
            return Ok(None);
        }
        self.0.advance(HEAD);
        Part::decode(kind, self.0.split_to(length).freeze()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_out_of_any_pieces_as_they_went_in() {
        let parts = [
            Part::Plan(Plan { bytes: 7, files: 1 }),
            Part::File(FileHead {
                name: "state.redb".into(),
                bytes: 7,
            }),
            Part::Data(Bytes::from_static(b"seven b")),
            Part::Data(Bytes::new()),
            Part::End("ab".into()),
            Part::Refused(Refusal {
                code: "backup_overtaken".into(),
                error: "Too slow.".into(),
            }),
        ];
        let sent: Vec<u8> = parts.iter().flat_map(|part| part.encode().to_vec()).collect();
        for size in [1, 3, 1_000] {
            let (mut decoder, mut found) = (Decoder::default(), Vec::new());
            for piece in sent.chunks(size) {
                decoder.push(piece);
                while let Some(part) = decoder.part().unwrap() {
                    found.push(part);
                }
            }
            assert_eq!(found, parts);
        }
        let mut decoder = Decoder::default();
        decoder.push(&[9, 0, 0, 0, 0]);
        assert!(decoder.part().is_err());
    }
}
