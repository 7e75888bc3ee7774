//! Blanks secrets on their way out: recorded ranges of step outputs, the same text elsewhere, credential-like names.

use serde_json::Value;
use zeroize::Zeroizing;

/// What stands where a secret stood. Its length says nothing.
pub(super) const BLANK: &str = "********";

/// A text shorter than this is not looked for elsewhere: it would match by chance.
const MIN_SECRET: usize = 8;

/// Parts of header and parameter names whose values are not shown.
const CREDENTIAL_NAMES: [&str; 10] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "api-key",
    "api_key",
    "apikey",
    "signature",
    "credential",
];

/// JSON with the ranges blanked; where blanking breaks its form, the text.
pub(super) fn json(plaintext: &[u8], masks: &[(u32, u32)]) -> Value {
    let blanked = ranges(plaintext, masks);
    serde_json::from_slice(&blanked).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&blanked).into_owned()))
}

/// What stood in the ranges.
pub(super) fn secrets(plaintext: &[u8], masks: &[(u32, u32)]) -> Vec<Zeroizing<Vec<u8>>> {
    merged(plaintext.len(), masks)
        .into_iter()
        .filter_map(|(start, end)| plaintext.get(start..end))
        .filter(|secret| secret.len() >= MIN_SECRET)
        .map(|secret| Zeroizing::new(secret.to_vec()))
        .collect()
}

/// `bytes` with every occurrence of a secret blanked.
pub(super) fn texts(bytes: &[u8], secrets: &[Zeroizing<Vec<u8>>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        match secrets
            .iter()
            .filter(|secret| rest.starts_with(secret))
            .map(|secret| secret.len())
            .max()
        {
            Some(length) => {
                out.extend_from_slice(BLANK.as_bytes());
                rest = &rest[length..];
            }
            None => {
                out.push(*first);
                rest = &rest[1..];
            }
        }
    }
    out
}

/// Whether a header or parameter of this name is likely to carry a credential.
pub(super) fn names_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIAL_NAMES.iter().any(|part| name.contains(part))
}

/// A raw query with the values of credential-like parameters blanked.
pub(super) fn query(raw: &str) -> String {
    let blanked = raw.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if names_credential(name) => format!("{name}={BLANK}"),
        _ => pair.to_owned(),
    });
    blanked.collect::<Vec<_>>().join("&")
}

fn ranges(plaintext: &[u8], masks: &[(u32, u32)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plaintext.len());
    let mut done = 0;
    for (start, end) in merged(plaintext.len(), masks) {
        out.extend_from_slice(&plaintext[done..start]);
        out.extend_from_slice(BLANK.as_bytes());
        done = end;
    }
    out.extend_from_slice(&plaintext[done..]);
    out
}

/// The ranges in order, within the text, where they touch or overlap as one.
fn merged(length: usize, masks: &[(u32, u32)]) -> Vec<(usize, usize)> {
    let mut sorted: Vec<(usize, usize)> = masks
        .iter()
        .map(|(start, end)| (*start as usize, (*end as usize).min(length)))
        .collect();
    sorted.retain(|(start, end)| start < end);
    sorted.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::with_capacity(sorted.len());
    for (start, end) in sorted {
        match merged.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => merged.push((start, end)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_ranges_do_not_leave_and_the_json_stays_json() {
        let plaintext = br#"{"token":"abcdefghij","n":1}"#;
        assert_eq!(
            json(plaintext, &[(10, 16), (14, 20)]),
            serde_json::json!({ "token": BLANK, "n": 1 })
        );
    }

    #[test]
    fn a_range_over_more_than_a_string_gives_text_without_the_secret() {
        let Value::String(text) = json(br#"{"pin":1234567890}"#, &[(7, 17)]) else {
            panic!("not text")
        };
        assert_eq!(text, format!("{{\"pin\":{BLANK}}}"));
    }

    #[test]
    fn ranges_beyond_the_text_are_cut() {
        assert_eq!(json(br#""abc""#, &[(900, 1000), (1, 900)]), Value::String(format!("\"{BLANK}")));
    }

    #[test]
    fn a_secret_is_blanked_wherever_else_it_stands() {
        let secrets = secrets(b"xx0123456789xx", &[(2, 12)]);
        assert_eq!(texts(b"Bearer 0123456789!", &secrets), format!("Bearer {BLANK}!").into_bytes());
    }

    #[test]
    fn parameters_that_name_credentials_are_blanked() {
        assert_eq!(query("a=1&access_token=x&flag"), format!("a=1&access_token={BLANK}&flag"));
    }
}
