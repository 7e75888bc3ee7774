//! Finds known secrets in bytes, in the forms in which they turn up: raw, JSON-escaped, URL-encoded, base64.
//!
//! A step's output is stored whole and the ranges beside it, so that resume reads what the step gave and every exit
//! blanks what must not be seen. It finds copies, not transformations: a script that reverses a secret hides it.

mod escape;
mod finder;

use crate::expression::Connection;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use finder::{Finder, HEAD, Wanted};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// Connection inputs that are not secret: blanking them would blank addresses and names all over a result.
const PUBLIC_FIELDS: &[&str] = &[
    "authorizeUrl",
    "tokenUrl",
    "refreshUrl",
    "revokeUrl",
    "pkceMethod",
    "clientAuthentication",
    "scopeSeparator",
    "tokenPath",
    "defaultExpiresIn",
    "refreshReuse",
    "terminalErrors",
    "accountsUrl",
    "accountsPath",
    "accountIdField",
    "accountNameField",
    "accountBaseUrlField",
    "accountDefaultField",
    "accountChoice",
    "scopes",
    "clientId",
    "headerName",
    "queryParam",
    "prefix",
    "registration",
    "certificate",
    "caCertificate",
    "username",
    "host",
    "port",
    "baseUrl",
    "url",
    "endpoint",
    "domain",
    "region",
];
/// Parts of a token answer that are not secret.
const PUBLIC_TOKEN_PARTS: &[&str] = &[
    "token_type",
    "scope",
    "expires_in",
    "expires_at",
    "issued_at",
    "instance_url",
    "api_domain",
];

/// `encodeURIComponent` leaves these as they are.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
/// RFC 3986 leaves these as they are.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// JSON within text of JSON is looked into so deep: an answer that holds an event's raw body, in which a member is JSON.
const JSON_DEPTH: usize = 3;

/// Finds and blanks secrets of at least [`Masker::MIN_SECRET`] bytes. Cheap to clone, and holds none of them.
#[derive(Clone, Default)]
pub struct Masker {
    finders: Vec<Finder>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forms: usize = self.finders.iter().map(Finder::len).sum();
        f.debug_struct("Masker").field("forms", &forms).finish()
    }
}

/// The longest text that was masked in a result and is looked for again, and all of them together: no key, tokens are some kilobytes long.
const LONGEST_FOUND: usize = 64 << 10;
const ALL_FOUND: usize = 256 << 10;

impl Masker {
    /// Shorter secrets are not looked for: they would blank ordinary text.
    pub const MIN_SECRET: usize = HEAD;

    /// A masker for these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = Vec::new();
        for secret in secrets {
            if secret.len() >= Self::MIN_SECRET {
                add_forms(secret, &mut forms);
            }
        }
        Self {
            finders: Finder::new(forms).into_iter().collect(),
        }
    }

    /// Looks for the secrets of `other`, too. Each finder takes a pass of its own: one that finds nothing more is left out.
    pub fn add(&mut self, other: &Self) {
        for finder in &other.finders {
            if finder.wanted().any(|text| !self.finders.iter().any(|known| known.finds(text))) {
                self.finders.push(finder.clone());
            }
        }
    }

    /// A masker for the secret fields and token parts of these connections.
    #[must_use]
    pub fn of_connections<'a>(connections: impl IntoIterator<Item = &'a Connection>) -> Self {
        let mut secrets = Vec::new();
        for connection in connections {
            let fields = connection.value.fields.iter();
            secrets.extend(
                fields
                    .filter(|(name, _)| !PUBLIC_FIELDS.contains(&name.as_str()))
                    .map(|(_, value)| value.as_str()),
            );
            if let Some(token) = &connection.value.token {
                token_secrets(token, &mut secrets);
            }
        }
        Self::new(secrets)
    }

    /// A masker for what stands in these ranges of JSON, but for what `known` finds. What is longer than a secret is, is none: all behind
    /// more of them than can be named. Each takes some twenty times its length, so that all together have a bound, too.
    #[must_use]
    pub fn of_ranges(ranges: &[(u32, u32)], json: &[u8], known: &Self) -> Self {
        let text = |(start, end): &(u32, u32)| std::str::from_utf8(json.get(*start as usize..*end as usize)?).ok();
        let texts = ranges.iter().filter_map(text).filter(|text| text.len() <= LONGEST_FOUND);
        let mut found: BTreeSet<&str> = texts.collect();
        found.retain(|text| known.ranges(text.as_bytes()) != [(0, narrow(text.len()))]);
        let mut room = ALL_FOUND;
        found.retain(|text| {
            let fits = text.len() <= room;
            room -= if fits { text.len() } else { 0 };
            fits
        });
        // It may be part of a string, and then stands there as one writes it in JSON.
        let strings = found.iter().filter_map(|text| serde_json::from_str(&format!("\"{text}\"")).ok());
        let strings: Vec<String> = strings.collect();
        Self::new(found.into_iter().chain(strings.iter().map(String::as_str)))
    }

    /// Where secrets stand: (start, end) in bytes, ordered, merged where they touch.
    #[must_use]
    pub fn ranges(&self, bytes: &[u8]) -> Vec<(u32, u32)> {
        let found = self.find(bytes, JSON_DEPTH).into_iter();
        found.map(|(start, end)| (narrow(start), narrow(end))).collect()
    }

    /// The same, also behind escapes by number, so many of them within one another.
    fn find(&self, bytes: &[u8], depth: usize) -> Vec<(usize, usize)> {
        let mut found: Vec<_> = self.finders.iter().flat_map(|finder| finder.find(bytes)).collect();
        if depth > 0
            && !self.finders.is_empty()
            && let Some(undone) = escape::undone(bytes)
        {
            found.extend(escape::origins(bytes, &self.find(&undone, depth - 1)));
        }
        found.sort_unstable();
        let mut merged = Vec::with_capacity(found.len());
        for (start, end) in found {
            finder::add(&mut merged, start, end);
        }
        merged
    }

    /// The text with secrets replaced by `***`.
    #[must_use]
    pub fn mask_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.mask_beginning(text, text.len())
    }

    /// The same of its first `most` bytes. A secret that ends behind them is found, too: half of one would not be.
    #[must_use]
    pub fn mask_beginning<'t>(&self, text: &'t str, most: usize) -> Cow<'t, str> {
        let most = text.floor_char_boundary(most);
        let mut ranges = self.ranges(text.as_bytes());
        ranges.retain(|(start, _)| (*start as usize) < most);
        if ranges.is_empty() {
            return Cow::Borrowed(text.get(..most).unwrap_or_default());
        }
        let mut out = String::with_capacity(most);
        let mut from = 0;
        for (start, end) in ranges {
            // What is looked for are whole strings, so finds lie on character boundaries.
            out.push_str(text.get(from..start as usize).unwrap_or_default());
            out.push_str("***");
            from = end as usize;
        }
        out.push_str(text.get(from..most).unwrap_or_default());
        Cow::Owned(out)
    }
}

/// Overwrites ranges with `*`, keeping the length; ranges beyond the end are cut.
pub fn blank(bytes: &mut [u8], ranges: &[(u32, u32)]) {
    for (start, end) in ranges {
        let end = (*end as usize).min(bytes.len());
        if let Some(range) = bytes.get_mut(*start as usize..end) {
            range.fill(b'*');
        }
    }
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn token_secrets<'a>(token: &'a Value, secrets: &mut Vec<&'a str>) {
    match token {
        Value::String(text) => secrets.push(text),
        Value::Array(items) => items.iter().for_each(|item| token_secrets(item, secrets)),
        Value::Object(members) => {
            let secret = members.iter().filter(|(name, _)| !PUBLIC_TOKEN_PARTS.contains(&name.as_str()));
            secret.for_each(|(_, value)| token_secrets(value, secrets));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn add_forms(secret: &str, forms: &mut Vec<Wanted>) {
    forms.extend(Wanted::of(secret.as_bytes()));
    let mut text = secret.to_owned();
    for _ in 0..JSON_DEPTH {
        let json = Value::from(text).to_string();
        text = json[1..json.len() - 1].to_owned();
        forms.extend(Wanted::of(text.as_bytes()));
    }
    for set in [COMPONENT, UNRESERVED] {
        let encoded = utf8_percent_encode(secret, set).to_string();
        forms.extend(Wanted::of(lower_hex(&encoded).as_bytes()));
        forms.extend(Wanted::of(encoded.as_bytes()));
    }
    let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    forms.extend(Wanted::of(encoded.as_bytes()));
    for shift in 0..3 {
        base64_forms(secret.as_bytes(), shift, forms);
    }
}

/// Percent escapes in lower case, all else as it is.
fn lower_hex(encoded: &str) -> String {
    let mut escape = 0;
    let lower = |c: char| {
        escape = if c == '%' { 3 } else { escape };
        let out = if escape > 0 { c.to_ascii_lowercase() } else { c };
        escape = u8::saturating_sub(escape, 1);
        out
    };
    encoded.chars().map(lower).collect()
}

/// The characters that a secret alone decides when it is encoded `shift` bytes into a longer text.
fn base64_forms(secret: &[u8], shift: usize, forms: &mut Vec<Wanted>) {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(secret);
    // A character holds 6 bits; the first `shift` bytes decide ⌈8·shift/6⌉ of them in part or whole, and the last
    // character is decided alone only if the length is a multiple of three.
    let from = (shift * 8).div_ceil(6);
    let to = padded.len() * 8 / 6;
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        let encoded = engine.encode(&padded);
        forms.extend(encoded.as_bytes().get(from..to).and_then(Wanted::of));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    const SECRET: &str = "s3cr\"t/ü+key?>";

    fn masked(text: &str) -> String {
        let masker = Masker::new([SECRET]);
        let out = masker.mask_text(text).into_owned();
        let mut bytes = text.as_bytes().to_vec();
        blank(&mut bytes, &masker.ranges(text.as_bytes()));
        assert_eq!(bytes.len(), text.len(), "blanking keeps offsets");
        out
    }

    #[test]
    fn a_secret_is_found_in_every_form_it_is_sent_in() {
        assert_eq!(masked(&format!("a {SECRET} b")), "a *** b");
        assert_eq!(masked(&serde_json::json!({ "k": SECRET }).to_string()), "{\"k\":\"***\"}");
        let encoded = utf8_percent_encode(SECRET, COMPONENT).to_string();
        assert_eq!(masked(&encoded), "***");
        assert_eq!(masked(&lower_hex(&encoded)), "***");
        let query: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        assert_eq!(masked(&query), "***");
    }

    /// The secret as JSON, with these characters by number.
    fn by_number(is_meant: impl Fn(char) -> bool, is_upper: bool) -> String {
        let written = |c: char| match (is_meant(c), is_upper) {
            (true, true) => format!("\\u{:04X}", u32::from(c)),
            (true, false) => format!("\\u{:04x}", u32::from(c)),
            (false, _) => {
                let json = Value::from(c.to_string()).to_string();
                json[1..json.len() - 1].to_owned()
            }
        };
        SECRET.chars().map(written).collect()
    }

    #[test]
    fn a_secret_is_found_whichever_of_its_characters_are_written_by_number() {
        for is_upper in [true, false] {
            let mut forms = vec![by_number(|_| true, is_upper), by_number(|c| !c.is_ascii_alphanumeric(), is_upper)];
            forms.extend(SECRET.chars().map(|one| by_number(|c| c == one, is_upper)));
            for form in forms {
                let mut text = format!(r#"{{"\u00e9":"\u0026\"","k":"{form}","n":1}}"#);
                let mut expected = text.replace(&form, "***");
                for depth in 1..=JSON_DEPTH {
                    assert_eq!(masked(&text), expected, "{depth}");
                    text = Value::from(text).to_string();
                    expected = Value::from(expected).to_string();
                }
            }
        }
        let masker = Masker::new(["the key \u{1f511} of ann"]);
        assert_eq!(
            masker.mask_text(r"a \ud83d\udd11 and the key \uD83D\uDD11 of ann"),
            r"a \ud83d\udd11 and ***"
        );
        for other in [r"\ud83d the key \ud83dof ann \u", r"C:\users\u00zz", r"\"] {
            assert_eq!(masker.mask_text(other), other);
        }
    }

    #[test]
    fn a_secret_in_json_that_is_text_in_json_is_found() {
        let slashes = Value::from(SECRET).to_string().replace('/', "\\/");
        for mut text in [Value::from(SECRET).to_string(), slashes] {
            for depth in 1..=JSON_DEPTH {
                assert!(masked(&text).contains("***"), "{depth}: {text}");
                text = Value::from(text).to_string();
            }
        }
    }

    #[test]
    fn a_secret_inside_base64_of_a_longer_text_is_found_at_every_offset() {
        for before in ["", "x", "xy", "xyz", "user:"] {
            for after in ["", "1", "12"] {
                let plain = format!("{before}{SECRET}{after}");
                for text in [STANDARD.encode(&plain), URL_SAFE.encode(&plain)] {
                    assert!(masked(&text).contains("***"), "{plain:?}");
                    let json = format!("{{\"k\":\"{}\"}}", text.replace('/', "\\/"));
                    assert!(masked(&json).contains("***"), "{json}");
                }
            }
        }
    }

    #[test]
    fn short_secrets_and_other_text_stay() {
        let masker = Masker::new(["short", "long enough"]);
        assert_eq!(masker.mask_text("short text"), "short text");
        assert_eq!(Masker::default().ranges(b"anything"), Vec::new());
    }

    #[test]
    fn touching_and_overlapping_finds_are_one_range() {
        let masker = Masker::new(["abcdefgh", "efghijkl"]);
        assert_eq!(masker.ranges(b"..abcdefghijkl.."), vec![(2, 14)]);
    }

    #[test]
    fn it_takes_as_little_memory_for_a_long_secret_as_for_a_short_one() {
        let token = "aZ9_-".repeat(400);
        let quotes = "\"/".repeat(128 << 10);
        for (secret, forms) in [(token.as_str(), 7), (&quotes, 30)] {
            let masker = Masker::new([secret]);
            assert_eq!(masker.mask_text(&format!("a {secret} b")), "a *** b");
            let [finder] = &masker.finders[..] else { panic!("{masker:?}") };
            assert!(
                finder.len() <= forms && finder.bytes() <= forms * 48,
                "{} bytes, {masker:?}",
                finder.bytes()
            );
        }
    }

    #[test]
    fn what_was_masked_is_looked_for_where_it_is_not_known_any_more() {
        let json = serde_json::json!({ "k": SECRET, "other": "another secret", "n": 1 }).to_string();
        let known = Masker::new(["another secret"]);
        let ranges = Masker::new([SECRET, "another secret"]).ranges(json.as_bytes());
        let masker = Masker::of_ranges(&ranges, json.as_bytes(), &known);
        let text = format!("{json} {SECRET}");
        assert_eq!(masker.mask_text(&text), "{\"k\":\"***\",\"other\":\"another secret\",\"n\":1} ***");
        let far = [(1, 9_000), (9_000, 9_001)];
        assert!(Masker::of_ranges(&far, json.as_bytes(), &known).finders.is_empty());
        // All behind more of them than can be named.
        let (long, end) = ("x".repeat(LONGEST_FOUND + 1), narrow(LONGEST_FOUND + 1));
        assert!(Masker::of_ranges(&[(0, end)], long.as_bytes(), &known).finders.is_empty());
        let text = |n: u32| (0..u32::from(u16::MAX) / 8 + 1).map(move |place| format!("{:08x}", place.wrapping_mul(2_654_435_761) ^ n));
        let all: String = (0..5).flat_map(text).collect();
        let ranges: Vec<(u32, u32)> = (0..5).map(|n| (n * (end - 1), (n + 1) * (end - 1))).collect();
        let masker = Masker::of_ranges(&ranges, all.as_bytes(), &known);
        assert_eq!(masker.ranges(all.as_bytes()), [(0, 4 * (end - 1))], "and no more together");
    }

    #[test]
    fn of_a_text_that_is_cut_no_half_of_a_secret_is_left() {
        let masker = Masker::new(["secret of ann"]);
        // What is masked makes no room for the end of the text, which may be half of one.
        let text = format!("{}secret of", "secret of ann, ".repeat(100));
        assert_eq!(masker.mask_beginning(&text, 25), "***, ***");
        assert_eq!(masker.mask_beginning(&text, 30), "***, ***, ");
        assert_eq!(masker.mask_beginning("grüße", 3), "gr");
    }

    #[test]
    fn what_is_looked_for_already_takes_no_further_pass() {
        let of = |secrets: &[&str]| Masker::new(secrets.iter().copied());
        let mut masker = of(&["of the instance"]);
        masker.add(&of(&["of the user"]));
        for secrets in [["of the instance", "of the user"], ["of the user", "of the instance"]] {
            masker.add(&of(&secrets));
        }
        assert_eq!(masker.finders.len(), 2);
        masker.add(&of(&["of the user", "of the user today"]));
        assert_eq!(masker.finders.len(), 3);
        assert_eq!(masker.mask_text("of the user today, of the instance"), "***, ***");
    }

    #[test]
    fn blanking_past_the_end_is_cut() {
        let mut bytes = *b"abc";
        blank(&mut bytes, &[(1, 9), (7, 8)]);
        assert_eq!(&bytes, b"a**");
    }

    #[test]
    fn connections_give_their_secrets_and_keep_their_addresses() {
        let value = serde_json::from_value(serde_json::json!({
            "fields": { "tokenUrl": "https://login.example", "clientSecret": "client-secret-1" },
            "token": { "access_token": "access-token-1", "token_type": "bearer-type", "more": [{ "refresh_token": "refresh-token-1" }] },
        }))
        .unwrap();
        let connection = Connection {
            account: Vec::new(),
            variable: "v".into(),
            kind: perseat_domain::definition::ActionRef {
                component: "http".into(),
                action: "oauth2".into(),
            },
            version: 1,
            registration: None,
            chosen: None,
            obstacle: None,
            value,
        };
        let masker = Masker::of_connections([&connection]);
        let text = "https://login.example client-secret-1 access-token-1 bearer-type refresh-token-1";
        assert_eq!(masker.mask_text(text), "https://login.example *** *** bearer-type ***");
    }
}
