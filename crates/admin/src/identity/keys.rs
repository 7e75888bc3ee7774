//! The RSA keys that the host product signs embedded users' tokens with.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::DecodingKey;
use std::fmt;
use zeroize::Zeroizing;

/// Characters of a private key that are kept, for people to tell keys apart.
const PREVIEW: usize = 8;
/// The longest public key in PEM.
const MAX_PEM: usize = 8_192;

/// A new pair of keys.
pub struct SigningPair {
    /// The public half, in PEM.
    pub public_key: String,
    /// The private half, in PEM.
    pub private_key: Zeroizing<String>,
}

impl fmt::Debug for SigningPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningPair(redacted)")
    }
}

impl SigningPair {
    /// Makes a pair of 4096 bits. Takes a second or more: never on a thread that others wait for.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        Self::of_size(KeySize::Rsa4096)
    }

    pub(super) fn of_size(size: KeySize) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let pair = KeyPair::generate(size)?;
        let private: Pkcs8V1Der<'_> = pair.as_der()?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        Ok(Self {
            public_key: pem("PUBLIC KEY", public.as_ref()).to_string(),
            private_key: pem("PRIVATE KEY", private.as_ref()),
        })
    }

    /// The last characters of the private key's own text.
    #[must_use]
    pub fn preview(&self) -> String {
        let text: String = self.private_key.lines().filter(|line| !line.starts_with("-----")).collect();
        text[text.len().saturating_sub(PREVIEW)..].to_owned()
    }
}

fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// The key in the form that it is kept in.
///
/// # Errors
/// A sentence, if it is no RSA public key in PEM.
pub fn checked_public_key(given: &str) -> Result<String, &'static str> {
    const WRONG: &str = "Expected an RSA public key in PEM (-----BEGIN PUBLIC KEY-----).";
    if given.len() > MAX_PEM || given.contains("PRIVATE KEY") {
        return Err(WRONG);
    }
    DecodingKey::from_rsa_pem(given.as_bytes()).map_err(|_| WRONG)?;
    Ok(format!("{}\n", given.trim()))
}
