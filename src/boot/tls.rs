//! TLS for the listeners: loaded from PEM files, and loaded again on SIGHUP.
//!
//! Open connections keep what they shook hands with; new ones get the new certificate. A reload that fails changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{path}: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The file holds no certificate.
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    /// Certificate and key do not fit.
    #[error("{cert} and {key} cannot be used together: {source}")]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// Makes aws-lc-rs the process's cryptography. Call it first thing in `main`.
///
/// # Errors
/// Another provider was installed before.
pub fn install_provider() -> io::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| io::Error::other("another TLS provider is installed already"))
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificate {
    current: ArcSwap<ServerConfig>,
}

impl Certificate {
    /// Loads a certificate chain and its key.
    ///
    /// # Errors
    /// Files that cannot be read, or do not fit together.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            current: ArcSwap::new(Arc::new(read(cert, key)?)),
        })
    }

    /// Loads again; on an error the old certificate stays.
    ///
    /// # Errors
    /// Files that cannot be read, or do not fit together.
    pub fn reload(&self, cert: &Path, key: &Path) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(cert, key)?));
        Ok(())
    }

    /// What the next connection shakes hands with.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

fn read(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { path, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(pem(cert))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(cert.to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|source| TlsError::Pair {
            cert: cert.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    #[test]
    fn a_reload_that_fails_keeps_the_certificate_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let ((cert, key), (other, _)) = (pair(dir.path(), "a"), pair(dir.path(), "b"));
        let certificate = Certificate::load(&cert, &key).unwrap();
        let before = certificate.current.load_full();
        assert!(matches!(certificate.reload(&other, &key), Err(TlsError::Pair { .. })));
        assert!(matches!(
            certificate.reload(&dir.path().join("none"), &key),
            Err(TlsError::Pem { .. })
        ));
        assert!(matches!(certificate.reload(&key, &key), Err(TlsError::NoCertificate(_))));
        assert!(Arc::ptr_eq(&before, &certificate.current.load_full()));
        certificate.reload(&cert, &key).unwrap();
        assert!(!Arc::ptr_eq(&before, &certificate.current.load_full()));
    }
}
