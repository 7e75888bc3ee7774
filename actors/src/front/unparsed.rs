//! Heads that hyper cannot parse, answered as all other refusals are.
//!
//! hyper answers them by itself, with a bare status and no body, before anybody is asked. So the stream holds that one
//! answer back, and when hyper is done with the connection the refusal is written in its place. What the client still
//! sends is then read and dropped within the limits of any refused body, so that it gets to read the answer.

use super::FrontShared;
use super::error::status;
use super::reply::Refusal;
use perseat_domain::code::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// An answer of hyper's own that was held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldBack {
    code: ErrorCode,
    date: String,
}

/// Whether these bytes, written at once, are hyper's own answer. Every answer of ours names its content type or its
/// execution, so none is mistaken for one.
pub(super) fn held_back(bytes: &[u8]) -> Option<HeldBack> {
    let head = bytes.strip_suffix(b"\r\n\r\n")?;
    let (line, fields) = std::str::from_utf8(head).ok()?.split_once("\r\n")?;
    let code = match line.split(' ').nth(1)? {
        "400" => ErrorCode::RequestMalformed,
        "414" | "431" => ErrorCode::HeadersTooLarge,
        _ => return None,
    };
    let mut date = String::new();
    for field in fields.split("\r\n") {
        match field.split_once(": ")? {
            ("connection", "close") | ("content-length", "0") => {}
            ("date", value) => value.clone_into(&mut date),
            _ => return None,
        }
    }
    (line.starts_with("HTTP/1.") && !date.is_empty()).then_some(HeldBack { code, date })
}

impl HeldBack {
    /// Answers in hyper's place and closes.
    pub(super) async fn answer(self, front: &FrontShared, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        front.metrics.refused(self.code);
        let sent = async {
            stream.write_all(self.text().as_bytes()).await?;
            stream.shutdown().await?;
            let mut left = front.options().drain_bytes;
            let mut dropped = vec![0; 4096];
            while left > 0 {
                match stream.read(&mut dropped).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            std::io::Result::Ok(())
        };
        // A client that is gone, or goes on for too long, has had its answer.
        let _ = timeout(front.options().drain_timeout, sent).await;
    }

    fn text(&self) -> String {
        let (status, body) = (status(self.code), Refusal::from(self.code).body());
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\ndate: {}\r\n\r\n{body}",
            body.len(),
            self.date
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Wed, 25 Nov 2026 12:00:00 GMT";

    #[test]
    fn only_a_bare_refusal_is_held_back() {
        let bare = |line: &str, code| {
            let bytes = format!("{line}\r\nconnection: close\r\ncontent-length: 0\r\ndate: {DATE}\r\n\r\n");
            let date = DATE.to_owned();
            assert_eq!(held_back(bytes.as_bytes()), Some(HeldBack { code, date }), "{line}");
        };
        bare("HTTP/1.1 400 Bad Request", ErrorCode::RequestMalformed);
        bare("HTTP/1.0 414 URI Too Long", ErrorCode::HeadersTooLarge);
        bare("HTTP/1.1 431 Request Header Fields Too Large", ErrorCode::HeadersTooLarge);
        for ours in [
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\ndate: {DATE}\r\n\r\n"),
            format!("HTTP/1.1 400 Bad Request\r\nprismatic-executionid: x\r\ncontent-length: 0\r\ndate: {DATE}\r\n\r\n"),
            format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\ndate: {DATE}\r\n\r\n"),
            format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: {DATE}\r\n\r\n{{}}"),
            "\r\n\r\n".to_owned(),
        ] {
            assert_eq!(held_back(ours.as_bytes()), None, "{ours}");
        }
    }

    #[test]
    fn what_takes_its_place_is_a_whole_answer() {
        let held = HeldBack {
            code: ErrorCode::HeadersTooLarge,
            date: DATE.to_owned(),
        };
        let text = held.text();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(body).unwrap()["code"],
            "headers_too_large"
        );
    }
}
