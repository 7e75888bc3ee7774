//! The mail server: how it is reached, and one letter handed to it.

use super::letter::{Words, line};
use crate::boot::secret_file::{self, SecretFileError};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use perseat_admin::identity::letters::Room;
use perseat_domain::time::Timestamp;
use secrecy::ExposeSecret as _;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// How the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte.
    Tls,
    /// TLS after a word in the clear; without it nothing is sent.
    StartTls,
    /// None at all.
    None,
}

/// The mail server, and how often it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailOptions {
    /// Its name; without one there is no mail.
    pub host: Option<String>,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// As whom to sign in.
    pub user: Option<String>,
    /// The file with the password.
    pub password: Option<PathBuf>,
    /// A file with certificates that are believed beside the system's.
    pub certificates: Option<PathBuf>,
    /// Who letters are from.
    pub from: Option<String>,
    /// How long one letter may take.
    pub timeout: Duration,
    /// Letters that may wait.
    pub room: Room,
    /// Invitations to one address within [`Self::invitations_window`].
    pub invitations: u32,
    /// The span in which they are counted.
    pub invitations_window: Duration,
    /// How long a letter is tried again.
    pub keep_trying: Duration,
    /// The wait after the first attempt; it doubles with each.
    pub back_off: Duration,
    /// The longest wait.
    pub back_off_max: Duration,
}

impl Default for MailOptions {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            host: None,
            port: 587,
            security: Security::StartTls,
            user: None,
            password: None,
            certificates: None,
            from: None,
            timeout: Duration::from_secs(30),
            room: Room {
                all: 10_000,
                of_customer: 1_000,
            },
            invitations: 5,
            invitations_window: MINUTE * 60,
            keep_trying: MINUTE * 60 * 24 * 3,
            back_off: MINUTE,
            back_off_max: MINUTE * 60,
        }
    }
}

/// Why there is no mail.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The password cannot be read.
    #[error(transparent)]
    Password(#[from] SecretFileError),
    /// The certificates cannot be read.
    #[error("mail.certificates {path}: {source}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The sender is no address.
    #[error("mail.from: {0}")]
    From(lettre::address::AddressError),
    /// The certificates are none, or TLS cannot be set up.
    #[error("mail: {0}")]
    Tls(lettre::transport::smtp::Error),
}

/// Why a letter did not go out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSent {
    /// There is no such address.
    #[error("the letter cannot be addressed: {0}")]
    Address(#[from] lettre::address::AddressError),
    /// The letter cannot be written.
    #[error("the letter cannot be written: {0}")]
    Unwritable(#[from] lettre::error::Error),
    /// The server did not take it.
    #[error("the mail server did not take the letter: {0}")]
    Refused(#[from] lettre::transport::smtp::Error),
    /// The server did not take it in time.
    #[error("the mail server did not take the letter within {0:?} (mail.timeout)")]
    Slow(Duration),
}

/// What a refusal means for what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// This letter will never be taken.
    Never,
    /// This letter may be taken later.
    Later,
    /// No letter is taken now: the server does not answer, or not to us.
    Away,
}

impl NotSent {
    pub(crate) fn meaning(&self) -> Meaning {
        match self {
            Self::Address(_) | Self::Unwritable(_) => Meaning::Never,
            Self::Slow(_) => Meaning::Away,
            // What it cannot do, such as an address that is not ASCII, may concern this letter alone.
            Self::Refused(error) if error.is_client() => Meaning::Later,
            Self::Refused(error) => error.status().map_or(Meaning::Away, |code| meaning(code.into())),
        }
    }
}

/// What a reply of the server means. Those about the sign-in are the operator's to mend, and cost nobody their letter.
fn meaning(code: u16) -> Meaning {
    match code {
        421 | 454 | 530 | 534 | 535 | 538 => Meaning::Away,
        500..=599 => Meaning::Never,
        _ => Meaning::Later,
    }
}

/// The way to the mail server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Post {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Post {
    /// Gets ready to send; `None` where no server is configured. Reads files, and connects to nothing.
    ///
    /// # Errors
    /// A file that cannot be read, or a sender that is none.
    pub(crate) fn open(options: &MailOptions) -> Result<Option<Self>, MailError> {
        let (Some(host), Some(from)) = (&options.host, &options.from) else {
            return Ok(None);
        };
        let from: Mailbox = from.parse().map_err(MailError::From)?;
        let security = match options.security {
            Security::Tls => Tls::Wrapper(tls(host, options)?),
            Security::StartTls => Tls::Required(tls(host, options)?),
            Security::None => Tls::None,
        };
        // "dangerous" because it has no TLS by itself; it is given right here.
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.clone())
            .port(options.port)
            .tls(security)
            .timeout(Some(options.timeout));
        if let (Some(user), Some(path)) = (&options.user, &options.password) {
            let password = secret_file::read("mail.password", path)?;
            transport = transport.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
        }
        Ok(Some(Self {
            transport: transport.build(),
            from,
            timeout: options.timeout,
        }))
    }

    /// Hands one letter to the server.
    pub(crate) async fn send(&self, name: &str, address: &str, words: Words, at: Timestamp) -> Result<(), NotSent> {
        let message = letter(&self.from, name, address, words, at)?;
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(taken) => Ok(taken.map(|_| ())?),
            Err(_) => Err(NotSent::Slow(self.timeout)),
        }
    }
}

/// Headers are written by the library, which encodes what it is given: nothing in a name or an address adds one.
fn letter(from: &Mailbox, name: &str, address: &str, words: Words, at: Timestamp) -> Result<Message, NotSent> {
    let address: Address = address.parse()?;
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(Some(line(name)), address))
        .date(SystemTime::UNIX_EPOCH + Duration::from_millis(at.0))
        .message_id(Some(format!("<{}@{}>", words.id, from.email.domain())))
        .subject(words.subject)
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN)
        .body(words.body)?;
    Ok(message)
}

fn tls(host: &str, options: &MailOptions) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &options.certificates {
        let pem = std::fs::read(path).map_err(|source| MailError::Certificates {
            path: path.clone(),
            source,
        })?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(MailError::Tls)?);
    }
    builder.build().map_err(MailError::Tls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn written(name: &str, address: &str, subject: &str) -> Result<String, NotSent> {
        let from = "Perseat <perseat@acme.example>".parse().unwrap();
        let words = Words {
            id: Uuid::new_v4(),
            subject: subject.to_owned(),
            body: "Hello,\n\nhttps://perseat.example/auth/password?token=abc_-\n".to_owned(),
        };
        let message = letter(&from, name, address, words, Timestamp(1_800_000_000_000))?;
        Ok(String::from_utf8(message.formatted()).unwrap())
    }

    #[test]
    fn nothing_in_a_name_an_address_or_a_subject_adds_a_header() {
        let evil = "Ann\r\nBcc: eve@evil.example\r\n\r\nhttps://evil.example";
        let letter = written(evil, "ann@acme.example", evil).unwrap();
        let head = letter.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.to_lowercase().starts_with("bcc")), "{head}");
        assert!(letter.ends_with("token=abc_-\r\n"), "the body is where it was: {letter}");
        for address in [
            "ann@acme.example\r\nBcc: eve@evil.example",
            "ann@acme.example, eve@evil.example",
            "<ann@acme.example>\r\nDATA",
            "ann",
        ] {
            assert!(matches!(written("Ann", address, "x"), Err(NotSent::Address(_))), "{address}");
        }
    }

    #[test]
    fn a_letter_says_that_no_person_wrote_it_and_has_a_name_of_its_own() {
        let letter = written("Ann Ä.", "ann@acme.example", "Grüße").unwrap();
        assert!(letter.contains("Auto-Submitted: auto-generated\r\n"), "{letter}");
        let id = letter.lines().find(|line| line.starts_with("Message-ID: <")).unwrap();
        assert!(id.ends_with("@acme.example>"), "{id}");
        assert!(letter.is_ascii(), "{letter}");
    }

    #[test]
    fn a_letter_is_given_up_for_its_own_sake_alone() {
        assert_eq!([550, 553, 554].map(meaning), [Meaning::Never; 3]);
        assert_eq!([450, 451, 452].map(meaning), [Meaning::Later; 3]);
        assert_eq!([421, 454, 530, 534, 535].map(meaning), [Meaning::Away; 5]);
    }
}
