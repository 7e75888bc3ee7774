//! Changes places of a definition's text; everything else stays byte for byte, so that nothing else is read differently.

use super::document::{self, Content, Key, Node};
use super::report::{Report, Spot, quoted};
use super::{Code, Diagnostic, Limits};
use std::collections::BTreeMap;
use std::ops::Range;

/// What stands in the places of parts of a text, by where they start, with where they end.
pub(super) type Parts<T> = BTreeMap<usize, (usize, T)>;

/// `yaml` with these parts replaced.
pub(super) fn replaced<T: AsRef<str>>(yaml: &str, parts: &Parts<T>) -> String {
    let mut made = String::with_capacity(yaml.len());
    let mut kept = 0;
    for (start, (end, text)) in parts {
        made.push_str(&yaml[kept..*start]);
        made.push_str(text.as_ref());
        kept = (*end).max(*start);
    }
    made.push_str(&yaml[kept..]);
    made
}

/// `yaml` with other texts under these keys at its top.
///
/// # Errors
/// It is no YAML, or such that one of them cannot be changed alone.
pub fn with_texts(yaml: &str, texts: &[(&str, &str)], limits: &Limits) -> Result<String, Vec<Diagnostic>> {
    let before = read(yaml, limits)?;
    let mut made = yaml.to_owned();
    for (name, text) in texts {
        let root = read(&made, limits)?;
        made = with_text(&made, &root, name, text);
    }
    match read(&made, limits) {
        Ok(after) if is_changed_alone(&before, &after, texts) => Ok(made),
        _ => {
            let names: Vec<String> = texts.iter().map(|(name, _)| quoted(name)).collect();
            let message = format!(
                "{} cannot be changed without the rest: change the definition itself",
                names.join(", ")
            );
            let mut report = Report::new(1);
            report.problem(&Spot::at(before.at), Code::YamlInvalid, message);
            Err(report.finish().0)
        }
    }
}

/// `yaml` with every component in its latest version. What inputs hold is the author's, whatever it looks like.
///
/// # Errors
/// It is no YAML.
pub fn with_latest_components(yaml: &str, limits: &Limits) -> Result<String, Vec<Diagnostic>> {
    let mut parts = Parts::new();
    collect_components(&read(yaml, limits)?, yaml, &mut parts);
    Ok(replaced(yaml, &parts))
}

fn read(yaml: &str, limits: &Limits) -> Result<Node, Vec<Diagnostic>> {
    let mut report = Report::new(limits.diagnostics);
    let root = document::read(yaml, limits, &mut report);
    let (problems, _) = report.finish();
    root.filter(|_| problems.is_empty()).ok_or(problems)
}

fn with_text(yaml: &str, root: &Node, name: &str, text: &str) -> String {
    let members = root.members().unwrap_or_default();
    let written = format!("{name}: {}", in_quotes(text));
    let (range, written) = match members.iter().find(|(key, _)| &*key.text == name) {
        Some((key, node)) => (key.bytes.start..end_of(yaml, key, node), written),
        None if yaml[root.bytes.start..].starts_with('{') => {
            let inside = root.bytes.start + 1;
            (inside..inside, written + ", ")
        }
        None => {
            let start = root.bytes.start;
            let indent = yaml[..start].len() - yaml[..start].trim_end_matches(' ').len();
            (start..start, format!("{written}\n{}", " ".repeat(indent)))
        }
    };
    let Range { start, end } = range;
    replaced(yaml, &Parts::from([(start, (end, written))]))
}

/// Where a member ends.
fn end_of(yaml: &str, key: &Key, node: &Node) -> usize {
    if node.end > key.bytes.end {
        // A block reaches to the next token; the white space between belongs to the layout.
        return yaml[..node.end].trim_end().len();
    }
    let colon = yaml[key.bytes.end..].find(':');
    key.bytes.end + colon.map_or(0, |colon| colon + 1)
}

fn is_changed_alone(before: &Node, after: &Node, texts: &[(&str, &str)]) -> bool {
    let others = |root: &Node| -> Vec<(Key, Node)> {
        let is_other = |(key, _): &&(Key, Node)| texts.iter().all(|(name, _)| *name != &*key.text);
        root.members().unwrap_or_default().iter().filter(is_other).cloned().collect()
    };
    is_same_mapping(&others(before), &others(after))
        && texts
            .iter()
            .all(|(name, text)| after.member(name).is_some_and(|node| node.scalar() == Some(*text)))
}

fn is_same_mapping(left: &[(Key, Node)], right: &[(Key, Node)]) -> bool {
    let is_same_member =
        |((left_key, left), (right_key, right)): (&(Key, Node), &(Key, Node))| left_key.text == right_key.text && is_same(left, right);
    left.len() == right.len() && left.iter().zip(right).all(is_same_member)
}

fn is_same(left: &Node, right: &Node) -> bool {
    match (&*left.content, &*right.content) {
        (
            Content::Scalar {
                text: left,
                plain: is_plain,
                ..
            },
            Content::Scalar { text: right, plain, .. },
        ) => (left, is_plain) == (right, plain),
        (Content::List(left), Content::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Content::Map(left), Content::Map(right)) => is_same_mapping(left, right),
        _ => false,
    }
}

fn collect_components(node: &Node, yaml: &str, parts: &mut Parts<String>) {
    match &*node.content {
        Content::Scalar { .. } => {}
        Content::List(items) => items.iter().for_each(|item| collect_components(item, yaml, parts)),
        Content::Map(members) => {
            for (key, member) in members.iter().filter(|(key, _)| &*key.text != "inputs") {
                match component(member).filter(|_| &*key.text == "component") {
                    Some(component) => {
                        let Range { start, end } = member.bytes;
                        let is_block = !yaml[start..].starts_with('{');
                        let last = component.last().filter(|_| is_block);
                        parts.insert(start, (last.map_or(end, |(key, node)| end_of(yaml, key, node)), latest(component)));
                    }
                    None => collect_components(member, yaml, parts),
                }
            }
        }
    }
}

/// The members of a component: texts, one of them its key.
fn component(node: &Node) -> Option<&[(Key, Node)]> {
    let is_component = |members: &&[(Key, Node)]| members.iter().all(|(_, node)| node.scalar().is_some()) && node.member("key").is_some();
    node.members().filter(is_component)
}

fn latest(component: &[(Key, Node)]) -> String {
    let kept = component.iter().filter(|(key, _)| !matches!(&*key.text, "version" | "signature"));
    let members: String = kept
        .map(|(key, node)| {
            let text = match (node.plain(), node.scalar().unwrap_or_default()) {
                (Some(word), _) if is_word(word) => word.to_owned(),
                (Some(_), _) if node.is_null() => "null".to_owned(),
                (_, text) => in_quotes(text),
            };
            let name = if is_word(&key.text) {
                key.text.to_string()
            } else {
                in_quotes(&key.text)
            };
            format!("{name}: {text}, ")
        })
        .collect();
    format!("{{{members}version: LATEST}}")
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn in_quotes(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
