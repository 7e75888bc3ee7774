//! A third party that flows call: it remembers every request and answers as its path says.
//!
//! `/echo…` answers at once, `/hang…` only after [`Provider::release`], `/flaky/N…` fails N times and then answers,
//! `/fail…` always fails.

use serde_json::json;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A request that the provider saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
}

impl Seen {
    pub(crate) fn token(&self) -> &str {
        self.headers
            .get("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default()
    }

    pub(crate) fn idempotency_key(&self) -> &str {
        self.headers.get("idempotency-key").map_or("", String::as_str)
    }
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    is_released: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The third party.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Provider {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::default(),
        };
        let shared = provider.shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || serve(&shared, &stream));
            }
        });
        provider
    }

    /// Lets every hanging request end, and those that come.
    pub(crate) fn release(&self) {
        self.shared.state.lock().unwrap().is_released = true;
        self.shared.changed.notify_all();
    }

    /// Every request whose path starts so.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let state = self.shared.state.lock().unwrap();
        state.seen.iter().filter(|seen| seen.path.starts_with(path)).cloned().collect()
    }

    /// Waits until so many requests to such a path came, and returns them.
    pub(crate) fn wait_for(&self, path: &str, count: usize) -> Vec<Seen> {
        let state = self.shared.state.lock().unwrap();
        let matching = |state: &State| state.seen.iter().filter(|seen| seen.path.starts_with(path)).count();
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, super::http::PATIENCE, |state| matching(state) < count)
            .unwrap();
        assert!(
            !waited.timed_out(),
            "the provider saw {} of {count} requests to {path}",
            matching(&state)
        );
        drop(state);
        self.seen(path)
    }
}

fn serve(shared: &Shared, stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read(&mut reader) {
        let path = seen.path.clone();
        let mut state = shared.state.lock().unwrap();
        let before = state.seen.iter().filter(|seen| seen.path == path).count();
        let token = seen.token().to_owned();
        state.seen.push(seen);
        shared.changed.notify_all();
        let failures = path.strip_prefix("/flaky/").and_then(|rest| rest.chars().next()?.to_digit(10));
        let is_ok = !path.starts_with("/fail") && failures.is_none_or(|failures| before >= failures as usize);
        if path.starts_with("/hang") {
            drop(shared.changed.wait_while(state, |state| !state.is_released).unwrap());
        } else {
            drop(state);
        }
        let body = json!({ "token": token, "times": before + 1 }).to_string();
        let status = if is_ok { "200 OK" } else { "500 Internal Server Error" };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut writer = stream;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length: &String| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { path, headers })
}
