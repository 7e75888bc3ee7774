//! Client certificates: what a connection by mutual TLS shows (RFC 8446, section 4.4.2), and the clients that show it.

use super::client::build;
use super::resolve::GuardedResolver;
use super::{Options, SetupError};
use aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

/// A certificate with its key, and whom it trusts besides the system.
pub struct ClientIdentity {
    /// Chain and key.
    pem: Zeroizing<String>,
    authorities: Option<String>,
    digest: Digest,
}

type Digest = [u8; 32];

/// The longest text of one part, in bytes. No key: a chain of a few certificates has a few KiB.
const MAX_PEM: usize = 64 << 10;

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

/// Why a client certificate cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate, its chain included.
    #[error("`certificate` is no certificate in PEM")]
    Certificate,
    /// The key.
    #[error("`privateKey` is no unencrypted private key in PEM")]
    Key,
    /// One of them.
    #[error("`certificate`, `privateKey` and `caCertificate` have at most {MAX_PEM} bytes each")]
    Size,
    /// Whom it trusts.
    #[error("`caCertificate` is no certificate in PEM")]
    Authority,
    /// They do not belong together.
    #[error("`privateKey` is not the key of `certificate`")]
    Pair,
}

impl ClientIdentity {
    /// Reads certificate (with its chain), key and, where the server's certificate is not one that the system trusts, its
    /// authority. Lines that were lost on the way, as in a field of a form, do not matter.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn read(certificate: &str, key: &str, authority: Option<&str>) -> Result<Self, IdentityError> {
        if [certificate, key, authority.unwrap_or_default()]
            .iter()
            .any(|text| text.len() > MAX_PEM)
        {
            return Err(IdentityError::Size);
        }
        let certificate = in_lines(certificate).ok_or(IdentityError::Certificate)?;
        let key = in_lines(key).ok_or(IdentityError::Key)?;
        let authorities = match authority.filter(|text| !text.trim().is_empty()) {
            Some(text) => {
                let text = in_lines(text).ok_or(IdentityError::Authority)?;
                if reqwest::Certificate::from_pem_bundle(text.as_bytes()).map_or(true, |found| found.is_empty()) {
                    return Err(IdentityError::Authority);
                }
                Some(text.to_string())
            }
            None => None,
        };
        let pem = Zeroizing::new(format!("{}{}", *certificate, *key));
        check_pair(&certificate, &key)?;
        let mut digest = Context::new(&SHA256);
        for part in [pem.as_str(), authorities.as_deref().unwrap_or_default()] {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        let mut bytes = Digest::default();
        bytes.copy_from_slice(digest.finish().as_ref());
        Ok(Self {
            pem,
            authorities,
            digest: bytes,
        })
    }

    /// A client that shows it.
    fn client(&self, options: &Options, resolver: GuardedResolver) -> Result<reqwest::Client, SetupError> {
        let identity = reqwest::Identity::from_pem(self.pem.as_bytes()).map_err(SetupError)?;
        let authorities = match &self.authorities {
            Some(text) => reqwest::Certificate::from_pem_bundle(text.as_bytes()).map_err(SetupError)?,
            None => Vec::new(),
        };
        build(options, resolver, |client| client.identity(identity).tls_certs_merge(authorities))
    }
}

/// Whether they are certificates and a key, and belong together.
fn check_pair(certificate: &str, key: &str) -> Result<(), IdentityError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(IdentityError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| IdentityError::Key)?;
    match CertifiedKey::from_der(chain, key, &provider::default_provider()) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::Pair),
        Err(rustls::Error::InvalidCertificate(_)) => Err(IdentityError::Certificate),
        Err(_) => Err(IdentityError::Key),
    }
}

/// PEM with its line breaks: at the armour (`-----BEGIN …-----`) and every 64 characters. `None` if it is no PEM.
fn in_lines(text: &str) -> Option<Zeroizing<String>> {
    const DASHES: &str = "-----";
    const LINE: usize = 64;
    let mut lines = Zeroizing::new(String::with_capacity(text.len() + text.len() / LINE + 64));
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let (label, after) = begun.split_once(DASHES)?;
        let (body, ended) = after.split_once("-----END ")?;
        let (end, next) = ended.split_once(DASHES)?;
        if end != label {
            return None;
        }
        lines.push_str(&format!("-----BEGIN {label}-----\n"));
        let mut width = 0;
        for letter in body.chars().filter(|letter| !letter.is_whitespace()) {
            lines.push(letter);
            width += 1;
            if width % LINE == 0 {
                lines.push('\n');
            }
        }
        if width % LINE != 0 {
            lines.push('\n');
        }
        lines.push_str(&format!("-----END {label}-----\n"));
        rest = next;
    }
    (!lines.is_empty()).then_some(lines)
}

/// Clients by the certificate that they show, by the port that their resolver knows and by how many connections they keep; the least
/// recently used go. A client of its own for each certificate keeps every request of others off its connections.
#[derive(Debug, Default)]
pub(super) struct Identified {
    state: Mutex<State>,
}

/// Certificate, port and kept connections.
type Which = (Digest, Option<u16>, usize);

/// A client and when it was used last.
type Kept = (u64, Arc<OnceCell<reqwest::Client>>);

#[derive(Debug, Default)]
struct State {
    clients: HashMap<Which, Kept>,
    uses: u64,
}

impl Identified {
    /// The client that shows this certificate. Making one reads the system's roots, so that is done beside the thread's work, and
    /// once for all who want it.
    pub(super) async fn client(
        &self,
        identity: &Arc<ClientIdentity>,
        options: &Options,
        resolver: GuardedResolver,
    ) -> Result<reqwest::Client, SetupError> {
        let which = (identity.digest, resolver.port, options.idle_per_host);
        let place = self.place(which, options.client_certificates);
        let made = place.get_or_try_init(|| {
            let (identity, limits) = (identity.clone(), options.clone());
            async move {
                match tokio::task::spawn_blocking(move || identity.client(&limits, resolver)).await {
                    Ok(made) => made,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => std::future::pending().await,
                    },
                }
            }
        });
        made.await.cloned()
    }

    /// Where the client of this certificate is, or comes to be.
    fn place(&self, key: Which, most: usize) -> Arc<OnceCell<reqwest::Client>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.uses += 1;
        let now = state.uses;
        if let Some((used, place)) = state.clients.get_mut(&key) {
            *used = now;
            return Arc::clone(place);
        }
        while state.clients.len() >= most.max(1) {
            let Some(oldest) = state.clients.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key) else {
                break;
            };
            state.clients.remove(&oldest);
        }
        let place = Arc::new(OnceCell::new());
        state.clients.insert(key, (now, Arc::clone(&place)));
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["ann".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn lines_that_were_lost_do_not_matter() {
        let (certificate, key) = made();
        let joined = |text: &str| text.lines().collect::<String>();
        let spaced = |text: &str| text.lines().collect::<Vec<_>>().join(" ");
        let whole = ClientIdentity::read(&certificate, &key, None).unwrap();
        for (certificate, key) in [
            (joined(&certificate), joined(&key)),
            (spaced(&certificate), format!("\n\n{}", spaced(&key))),
        ] {
            assert_eq!(ClientIdentity::read(&certificate, &key, Some(" ")).unwrap().digest, whole.digest);
        }
        let trusting = ClientIdentity::read(&certificate, &key, Some(&certificate)).unwrap();
        assert_ne!(trusting.digest, whole.digest);
        assert_eq!(format!("{trusting:?}"), "ClientIdentity { .. }");
    }

    #[test]
    fn what_is_not_pem_is_named() {
        let (certificate, key) = made();
        for (certificate, key, authority, error) in [
            ("", key.as_str(), None, IdentityError::Certificate),
            (key.as_str(), key.as_str(), None, IdentityError::Certificate),
            (&certificate, "-----BEGIN PRIVATE KEY-----", None, IdentityError::Key),
            (&certificate, &certificate, None, IdentityError::Key),
            (&certificate, &key, Some("none"), IdentityError::Authority),
            (&certificate, &made().1, None, IdentityError::Pair),
            (&certificate, &key, Some(&"x".repeat(MAX_PEM + 1)), IdentityError::Size),
        ] {
            assert_eq!(ClientIdentity::read(certificate, key, authority).unwrap_err(), error);
        }
    }
}
