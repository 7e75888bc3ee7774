//! A client that sends the bytes it is told to.

use crate::harness::PATIENCE;
use serde_json::Value;
use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a slow client rests between two bytes.
const REST: Duration = Duration::from_millis(10);

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and code of an execution that failed.
    pub(crate) fn failure(&self) -> (u16, String) {
        let body = self.json();
        assert!(body["executionId"].is_string(), "{body}");
        (self.status, body["code"].as_str().unwrap().to_owned())
    }

    /// Status and code of a refusal, whose body is of two texts.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body = self.json();
        let body = body.as_object().unwrap();
        assert_eq!(body.keys().collect::<Vec<_>>(), ["error", "code"]);
        assert!(body["error"].as_str().is_some_and(|sentence| sentence.ends_with('.')), "{body:?}");
        (self.status, body["code"].as_str().unwrap().to_owned())
    }

    /// Of its body, as it says.
    pub(crate) fn length(&self) -> usize {
        self.headers.get("content-length").map_or(0, |length| length.parse().unwrap())
    }

    pub(crate) fn closes(&self) -> bool {
        self.headers.get("connection").is_some_and(|value| value == "close")
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// The same from another address of this machine.
    pub(crate) fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((source, 0))).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        Self::new(socket.into())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Writes as much as the server takes: it may have closed already.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Writes as much as the server takes now; how much that was.
    pub(crate) fn write_until_full(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count @ 1..) = self.stream.write(&bytes[written..]) {
            written += count;
        }
        self.stream.set_nonblocking(false).unwrap();
        written
    }

    /// Writes `bytes` one by one, resting between them, again and again until the server answers or closes.
    pub(crate) fn drip(&mut self, bytes: &[u8]) {
        self.stream.set_read_timeout(Some(REST)).unwrap();
        for byte in bytes.iter().cycle() {
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(read) => {
                    self.unread.extend_from_slice(&chunk[..read]);
                    break;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
            if self.stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Says that nothing more will come.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether the server closes without saying more.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            let is_open = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!is_open, "still open");
        }
        self.unread.is_empty() && rest.is_empty()
    }

    /// The next answer.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer, not a closed connection")
    }

    /// The next answer, unless the connection is closed before a byte of it.
    #[track_caller]
    pub(crate) fn try_answer(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        let length = answer.length();
        while self.unread.len() < length {
            assert!(self.more(), "half an answer");
        }
        answer.body = self.unread.drain(..length).collect();
        Some(answer)
    }

    /// The next answer without its body, of which no more is taken than came along.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !self.more() {
                assert!(self.unread.is_empty(), "half an answer: {}", self.unread.escape_ascii());
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..head_end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Answer {
            status,
            headers,
            body: Vec::new(),
        })
    }

    fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(read) => {
                self.unread.extend_from_slice(&chunk[..read]);
                read > 0
            }
            Err(error) => {
                let is_open = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!is_open, "no answer within the test's patience");
                false
            }
        }
    }
}
