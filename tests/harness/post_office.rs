//! A real mail server (`aiosmtpd`, as PyPI has it), and what arrives there.

use super::PATIENCE;
use super::daemon::Setup;
use super::python;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

pub(crate) const PASSWORD: &str = "canary-password-of-the-mail-server";

/// The server; killed when dropped.
pub(crate) struct PostOffice {
    process: Child,
    said: Receiver<Value>,
    port: u16,
    folder: tempfile::TempDir,
    /// Words of its command line, to start it again.
    words: Vec<String>,
}

impl PostOffice {
    /// `security` is `tls` or `starttls`; `more` are words of `tests/clients/smtp/server.py`.
    pub(crate) fn open(security: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let words = [security, cert.to_str().unwrap(), key.to_str().unwrap()];
        let words: Vec<String> = words.iter().chain(more).map(|word| (*word).to_owned()).collect();
        let (process, said) = spawn(&words);
        let port = said.recv_timeout(PATIENCE).unwrap()["port"].as_u64().unwrap();
        Self {
            process,
            said,
            port: u16::try_from(port).unwrap(),
            folder,
            words,
        }
    }

    pub(crate) fn certificate(&self) -> String {
        self.folder.path().join("cert.pem").display().to_string()
    }

    /// A file with a password.
    pub(crate) fn password(&self, password: &str) -> String {
        let path = self.folder.path().join("password");
        std::fs::write(&path, format!("{password}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// The keys of a daemon that sends through it.
    pub(crate) fn keys(&self) -> [(&'static str, toml::Value); 5] {
        [
            ("mail.host", "127.0.0.1".into()),
            ("mail.port", i64::from(self.port).into()),
            ("mail.security", self.words[0].as_str().into()),
            ("mail.certificates", self.certificate().into()),
            ("mail.from", "Perseat <perseat@acme.example>".into()),
        ]
    }

    /// The same with what else a daemon needs.
    pub(crate) fn setup(&self, setup: Setup) -> Setup {
        self.keys().into_iter().fold(setup, |setup, (key, value)| setup.set(key, value))
    }

    /// Ends it; [`PostOffice::back`] starts it again in the same place.
    pub(crate) fn away(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn back(&mut self) {
        let words = [&self.words[..3], &["--port".to_owned(), self.port.to_string()]].concat();
        (self.process, self.said) = spawn(&words);
        assert_eq!(self.next()["port"], self.port);
    }

    /// The next thing that it says.
    #[track_caller]
    pub(crate) fn next(&self) -> Value {
        self.said.recv_timeout(PATIENCE).expect("the mail server got a letter")
    }

    /// Whether it has said nothing since.
    pub(crate) fn is_silent(&self) -> bool {
        self.said.try_recv().is_err()
    }
}

impl Drop for PostOffice {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(words: &[String]) -> (Child, Receiver<Value>) {
    let mut process = Command::new(python::programs("smtp").join("python"))
        .arg(super::client("smtp").join("server.py"))
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (send, said) = channel();
    std::thread::spawn(move || {
        for line in lines {
            let _ = send.send(serde_json::from_str(&line).unwrap());
        }
    });
    (process, said)
}

/// The link in a letter.
#[track_caller]
pub(crate) fn link(letter: &Value) -> String {
    let body = letter["body"].as_str().unwrap();
    let link = body.lines().find(|line| line.starts_with("http"));
    link.unwrap_or_else(|| panic!("no link in {body}")).to_owned()
}
