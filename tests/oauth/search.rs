//! Canaries, and a search for them in every form that a secret may take on its way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Bytes of a form by which it is looked up.
const HEAD: usize = 8;

/// Texts that are looked for, by what they are.
#[derive(Debug, Default)]
pub(crate) struct Canaries(BTreeMap<String, String>);

impl Canaries {
    /// A text that is different in every encoding.
    pub(crate) fn text(name: &str) -> String {
        format!("canary/of \"{name}\" + {}", name.len())
    }

    pub(crate) fn add(&mut self, name: &str, text: &str) {
        assert!(text.len() >= HEAD, "{name}: {text:?} is too short to be looked for");
        assert_eq!(self.0.insert(name.to_owned(), text.to_owned()), None, "{name} is there twice");
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finder(&self) -> Finder {
        let mut finder = Finder::default();
        for (name, text) in &self.0 {
            for form in forms(text) {
                let head = form[..HEAD].try_into().unwrap();
                finder.heads.entry(head).or_default().push((form, name.clone()));
            }
        }
        finder
    }
}

/// URL-encoded, but for letters, digits and what `keeps` has.
fn escaped(text: &str, keeps: &str) -> String {
    let bytes = text.bytes().map(|byte| match char::from(byte) {
        letter if letter.is_ascii_alphanumeric() || keeps.contains(letter) => letter.to_string(),
        _ => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// The text raw, escaped as in JSON and HTML, URL-encoded, and within something that is base64-encoded.
fn forms(text: &str) -> BTreeSet<Vec<u8>> {
    let json = serde_json::Value::from(text).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let html = text.replace('&', "&amp;").replace('"', "&quot;");
    let percent = escaped(text, "");
    let component = escaped(text, "-_.~");
    let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let texts = [
        text.to_owned(),
        json.replace('\\', "\\\\").replace('"', "\\\""),
        json.replace('/', "\\/"),
        json,
        html.replace('/', "&#x2f;"),
        html,
        percent,
        component.to_lowercase(),
        component,
        form,
    ];
    let mut forms: BTreeSet<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    for shift in 0..3 {
        let padded = [&vec![0; shift][..], text.as_bytes()].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&padded);
            // What the text alone decides.
            forms.insert(encoded.as_bytes()[(shift * 8).div_ceil(6)..padded.len() * 8 / 6].to_vec());
        }
    }
    forms.into_iter().filter(|form| form.len() >= HEAD).collect()
}

/// See [`Canaries::finder`].
#[derive(Debug, Default)]
pub(crate) struct Finder {
    heads: HashMap<[u8; HEAD], Vec<(Vec<u8>, String)>>,
}

impl Finder {
    /// What stands in these bytes.
    pub(crate) fn find(&self, bytes: &[u8]) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, head) in bytes.windows(HEAD).enumerate() {
            if head == [0; HEAD] {
                continue;
            }
            let head: [u8; HEAD] = head.try_into().unwrap();
            let candidates = self.heads.get(&head).into_iter().flatten();
            let here = candidates.filter(|(form, _)| bytes[at..].starts_with(form));
            found.extend(here.map(|(_, name)| name.clone()));
        }
        found
    }

    /// What stands in the files at or below a path, and how many bytes were looked at.
    pub(crate) fn find_below(&self, path: &Path, found: &mut Vec<String>) -> usize {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            return entries.map(|path| self.find_below(&path, found)).sum();
        }
        if !path.is_file() {
            return 0;
        }
        let bytes = std::fs::read(path).unwrap();
        found.extend(self.find(&bytes).into_iter().map(|name| format!("{name} in {}", path.display())));
        bytes.len()
    }
}

#[test]
fn every_form_of_a_canary_is_found_wherever_it_stands() {
    let mut canaries = Canaries::default();
    let text = Canaries::text("the test");
    canaries.add("test", &text);
    let finder = canaries.finder();
    let encoded = url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let in_json = serde_json::json!({ "a": text }).to_string();
    let mut places = vec![
        text.clone(),
        encoded,
        in_json.clone(),
        serde_json::json!({ "b": in_json }).to_string(),
    ];
    places.extend(["", "a", "ab", "user:"].map(|before| STANDARD_NO_PAD.encode(format!("{before}{text}x"))));
    for place in places {
        for around in [place.clone(), format!("\0\0\0\0\0\0\0\0{place}..")] {
            assert_eq!(finder.find(around.as_bytes()).len(), 1, "{around}");
        }
    }
    assert!(finder.find(b"canary/of nothing").is_empty());
}
