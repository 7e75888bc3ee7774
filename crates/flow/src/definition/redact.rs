//! Takes secrets out of the YAML before it is stored; everything else stays byte for byte.

use super::document::{self, Content, Node};
use super::report::Report;
use super::rewrite::{Parts, replaced};
use super::secrets::secret_texts;
use super::{Components, Limits};
use std::ops::Range;

/// What stands in a secret's place.
pub const REDACTED: &str = "removed";

/// Whether a text is what stands in a secret's place; a block keeps the ends of the lines around it.
#[must_use]
pub fn is_redacted(text: &str) -> bool {
    text.trim() == REDACTED
}

/// `yaml` with every key in every flow's `organizationApiKeys`, and the text of every secret input of a connection,
/// replaced by `"removed"`. Text that cannot be read as YAML within `limits` gives nothing at all: where a secret may stand
/// unseen, nothing is kept.
#[must_use]
pub fn redact(yaml: &str, components: &dyn Components, limits: &Limits) -> String {
    let mut report = Report::new(1);
    let Some(root) = document::read(yaml, limits, &mut report) else {
        return String::new();
    };
    let mut keys = Parts::new();
    for flow in root.member("flows").and_then(Node::items).unwrap_or_default() {
        // A key that stands twice is invalid, but must not hide a secret.
        for (_, member) in flow
            .members()
            .unwrap_or_default()
            .iter()
            .filter(|(key, _)| &*key.text == "organizationApiKeys")
        {
            collect(member, &mut keys);
        }
    }
    for text in secret_texts(&root, components) {
        collect(text, &mut keys);
    }
    for (start, (end, _)) in &mut keys {
        // A block reaches to the next token; the white space between belongs to the layout.
        *end = start + yaml[*start..*end].trim_end().len();
    }
    replaced(yaml, &keys)
}

/// The places of all scalars below `node`, by start, with what replaces them.
fn collect(node: &Node, keys: &mut Parts<&'static str>) {
    match &*node.content {
        Content::Scalar { .. } if node.bytes.is_empty() => {}
        Content::Scalar { block, .. } => {
            let Range { start, end } = node.bytes;
            keys.insert(start, (end, if *block { "removed" } else { "\"removed\"" }));
        }
        Content::List(items) => items.iter().for_each(|item| collect(item, keys)),
        Content::Map(members) => members.iter().for_each(|(_, member)| collect(member, keys)),
    }
}
