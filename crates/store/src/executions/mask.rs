//! Blanks secrets on their way out: recorded ranges of step outputs, what is named like a credential.

use serde_json::Value;

/// What stands where a secret stood. Its length says nothing.
pub(super) const BLANK: &str = "********";

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

/// JSON with the ranges blanked, as text.
pub(super) fn blanked(plaintext: &[u8], masks: &[(u32, u32)]) -> Vec<u8> {
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

/// The same as JSON where that is no longer than `most`; where it is, or blanking breaks its form, the beginning of the text.
pub(super) fn json(plaintext: &[u8], masks: &[(u32, u32)], most: usize) -> Value {
    let blanked = blanked(plaintext, masks);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match blanked.get(..most) {
        Some(beginning) if most < blanked.len() => format!("{}… ({} bytes in all)", text(beginning), blanked.len()).into(),
        _ => serde_json::from_slice(&blanked).unwrap_or_else(|_| text(&blanked).into()),
    }
}

/// What stood in the ranges.
pub(super) fn secrets<'p>(plaintext: &'p [u8], masks: &[(u32, u32)]) -> impl Iterator<Item = &'p [u8]> {
    let ranges = merged(plaintext.len(), masks).into_iter();
    ranges.filter_map(|(start, end)| plaintext.get(start..end))
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
            json(plaintext, &[(10, 16), (14, 20)], 100),
            serde_json::json!({ "token": BLANK, "n": 1 })
        );
    }

    #[test]
    fn a_range_over_more_than_a_string_gives_text_without_the_secret() {
        let Value::String(text) = json(br#"{"pin":1234567890}"#, &[(7, 17)], 100) else {
            panic!("not text")
        };
        assert_eq!(text, format!("{{\"pin\":{BLANK}}}"));
    }

    #[test]
    fn ranges_beyond_the_text_are_cut() {
        assert_eq!(
            json(br#""abc""#, &[(900, 1000), (1, 900)], 100),
            Value::String(format!("\"{BLANK}"))
        );
    }

    #[test]
    fn of_a_long_text_the_beginning_is_shown_once_its_secrets_are_blanked() {
        let long = json(br#"{"pin":"1234567890"}"#, &[(8, 18)], 12);
        assert_eq!(long, Value::String("{\"pin\":\"****… (18 bytes in all)".to_owned()));
        assert_eq!(json(b"[1,2]", &[], 5), serde_json::json!([1, 2]));
    }

    #[test]
    fn parameters_that_name_credentials_are_blanked() {
        assert_eq!(query("a=1&access_token=x&flag"), format!("a=1&access_token={BLANK}&flag"));
    }
}
