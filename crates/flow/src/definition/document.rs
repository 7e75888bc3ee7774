//! YAML text → a tree that knows where each node stands, within a budget.
//!
//! The tree is built from parser events with an explicit stack, so depth costs no stack, and shared on aliases,
//! so an alias bomb is counted before anything walks it. Types are decided by the reader: a scalar keeps its text.
//! Manifests are read through the same tree; see [`documents`].

use super::report::{Place, Report, Spot, quoted};
use super::{Code, Diagnostic, Limits};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

/// How often the texts of a definition may hold its length. No key: each is in the text once, and aliases use some again.
const TEXTS: usize = 4;

/// A node of the tree. Cloning shares what is below.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it is used.
    pub at: Place,
    /// Where it is defined, in bytes; elsewhere for aliases.
    pub(super) bytes: Range<usize>,
    /// Where it ends where it is used, in bytes.
    pub(super) end: usize,
    pub(super) content: Rc<Content>,
    weight: Weight,
    height: usize,
}

/// What a node comes to where nothing is shared.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    nodes: usize,
    /// Bytes of texts.
    texts: usize,
}

impl Weight {
    /// Of a list or mapping without what it holds.
    const COLLECTION: Self = Self { nodes: 1, texts: 0 };

    fn with(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            texts: self.texts.saturating_add(other.texts),
        }
    }
}

#[derive(Debug)]
pub(super) enum Content {
    /// `plain` and `block` are notations; text in quotes is neither.
    Scalar {
        text: String,
        plain: bool,
        block: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of a member.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub text: Rc<str>,
    /// Where it stands.
    pub at: Place,
    /// The same, in bytes.
    pub(super) bytes: Range<usize>,
}

impl Node {
    /// `null`, `~` or nothing at all.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&*self.content, Content::Scalar { text, plain: true, .. } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Its text, where it is a scalar.
    #[must_use]
    pub fn scalar(&self) -> Option<&str> {
        match &*self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Its text, where it is a scalar that stands neither in quotes nor as a block.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        match &*self.content {
            Content::Scalar { text, plain: true, .. } => Some(text),
            _ => None,
        }
    }

    /// Its items, where it is a list.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match &*self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    /// Its members in their order, where it is a mapping.
    #[must_use]
    pub fn members(&self) -> Option<&[(Key, Self)]> {
        match &*self.content {
            Content::Map(members) => Some(members),
            _ => None,
        }
    }

    /// The member of a mapping with this key.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.members()?.iter().find(|(key, _)| &*key.text == name).map(|(_, value)| value)
    }

    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &*self.content {
            _ if self.is_null() => "nothing",
            Content::Scalar { .. } => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

/// A collection whose end has not been read.
struct Open {
    at: Place,
    start: usize,
    anchor: usize,
    content: Content,
    /// The key that waits for its value.
    key: Option<Key>,
    seen: HashSet<Rc<str>>,
    weight: Weight,
    height: usize,
}

struct Builder<'r> {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    /// Of all that was read, in collections that have ended or not.
    weight: Weight,
    limits: Limits,
    report: &'r mut Report,
    root: Option<Node>,
    /// Documents before the one of `root`; `None` where there may be one only.
    earlier: Option<Vec<Node>>,
    /// Lines of the text before the part that is read.
    lines: usize,
}

/// Reads one document. `None` where nothing more can be said than what `report` holds by then.
pub(super) fn read(yaml: &str, limits: &Limits, report: &mut Report) -> Option<Node> {
    if yaml.len() > limits.bytes {
        report.problem(
            &Spot::whole(),
            Code::TooLarge,
            format!("the text is longer than {} bytes", limits.bytes),
        );
        return None;
    }
    let mut builder = Builder::new(limits, report);
    builder.run(yaml).ok()?;
    if builder.root.is_none() {
        builder.report.problem(&Spot::whole(), Code::YamlInvalid, "the text is empty");
    }
    builder.root
}

/// A definition that is stored. Limits were held against it when it was imported, and may be lower by now.
#[must_use]
pub fn stored(yaml: &str) -> Option<Node> {
    let limits = Limits {
        bytes: usize::MAX,
        nodes: usize::MAX,
        depth: usize::MAX,
        ..Limits::default()
    };
    read(yaml, &limits, &mut Report::new(1))
}

/// Every document of a text that can be read, and everything that is wrong in the others: after a mistake reading goes on at
/// the next `---`. Nodes are counted document by document; the length of the text is the caller's business.
#[must_use]
pub fn documents(text: &str, limits: &Limits) -> (Vec<Node>, Vec<Diagnostic>) {
    let mut report = Report::new(limits.diagnostics);
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut lines, mut found) = (0, Vec::new());
    loop {
        let mut builder = Builder::new(limits, &mut report);
        builder.earlier = Some(Vec::new());
        builder.lines = lines;
        let end = builder.run(rest);
        let whole = end.is_ok().then_some(builder.root).flatten();
        found.extend(builder.earlier.into_iter().flatten().chain(whole));
        let Err(line) = end else { break };
        let Some((skipped, offset)) = next_document(rest, line) else {
            break;
        };
        lines += skipped;
        rest = &rest[offset..];
    }
    found.retain(|document| !document.is_null());
    (found, report.finish().0)
}

/// Where a document begins at a line (from 1) or behind it, the first line apart: the lines and the bytes before it.
fn next_document(text: &str, line: usize) -> Option<(usize, usize)> {
    let mut offset = 0;
    for (index, one) in text.split_inclusive('\n').enumerate() {
        let is_start = one
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_start && index > 0 && index + 1 >= line {
            return Some((index, offset));
        }
        offset += one.len();
    }
    None
}

fn place(line: usize, column: usize) -> Place {
    Place {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column.saturating_add(1)).unwrap_or(u32::MAX),
    }
}

impl<'r> Builder<'r> {
    fn new(limits: &Limits, report: &'r mut Report) -> Self {
        Self {
            open: Vec::new(),
            anchors: HashMap::new(),
            weight: Weight::default(),
            limits: *limits,
            report,
            root: None,
            earlier: None,
            lines: 0,
        }
    }

    /// Reads to the end, or to the first mistake: then the line of `text` where that is.
    fn run(&mut self, text: &str) -> Result<(), usize> {
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => {
                    let line = span.start.line();
                    self.event(event, span).ok_or(line)?;
                }
                Err(error) => {
                    let marker = error.marker();
                    let spot = Spot::at(place(marker.line() + self.lines, marker.col()));
                    self.report.problem(&spot, Code::YamlInvalid, error.info());
                    return Err(marker.line());
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = place(span.start.line() + self.lines, span.start.col());
        let bytes = span.byte_range().unwrap_or_default();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let weight = Weight {
                    nodes: 1,
                    texts: text.len(),
                };
                let node = Node {
                    at,
                    end: bytes.end,
                    bytes,
                    content: Rc::new(Content::Scalar {
                        text: text.into_owned(),
                        plain: style == ScalarStyle::Plain && tag.is_none(),
                        block: matches!(style, ScalarStyle::Literal | ScalarStyle::Folded),
                    }),
                    weight,
                    height: 0,
                };
                self.place_node(node, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, bytes.start, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.begin(at, bytes.start, anchor, Content::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => self.end(bytes.end),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(target) => {
                    let node = Node {
                        at,
                        end: bytes.end,
                        ..target.clone()
                    };
                    self.place_node(node, 0)
                }
                None => self.fail(at, Code::YamlInvalid, "the alias stands inside what it names".to_owned()),
            },
            Event::DocumentStart(..) => {
                let Some(root) = self.root.take() else { return Some(()) };
                let Some(earlier) = &mut self.earlier else {
                    return self.fail(at, Code::YamlInvalid, "the text holds more than one document".to_owned());
                };
                earlier.push(root);
                self.anchors.clear();
                self.weight = Weight::default();
                Some(())
            }
            _ => Some(()),
        }
    }

    fn fail(&mut self, at: Place, code: Code, message: String) -> Option<()> {
        self.report.problem(&Spot::at(at), code, message);
        None
    }

    fn begin(&mut self, at: Place, start: usize, anchor: usize, content: Content) -> Option<()> {
        if self.open.len() >= self.limits.depth {
            return self.too_deep(at);
        }
        self.open.push(Open {
            at,
            start,
            anchor,
            content,
            key: None,
            seen: HashSet::new(),
            weight: Weight::COLLECTION,
            height: 0,
        });
        Some(())
    }

    fn end(&mut self, end: usize) -> Option<()> {
        let open = self.open.pop()?;
        let node = Node {
            at: open.at,
            bytes: open.start..end,
            end,
            content: Rc::new(open.content),
            weight: open.weight,
            height: open.height + 1,
        };
        // What it holds was weighed piece by piece.
        self.weight = self.weight.with(Weight::COLLECTION);
        self.put(node, open.anchor)
    }

    fn too_deep(&mut self, at: Place) -> Option<()> {
        self.fail(at, Code::TooLarge, format!("nested deeper than {} levels", self.limits.depth))
    }

    fn place_node(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.weight = self.weight.with(node.weight);
        self.put(node, anchor)
    }

    /// Puts what was weighed where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Option<()> {
        if self.weight.nodes > self.limits.nodes {
            let message = format!("more than {} values, aliases counted each time", self.limits.nodes);
            return self.fail(node.at, Code::TooLarge, message);
        }
        let most = self.limits.bytes.saturating_mul(TEXTS);
        if self.weight.texts > most {
            let message = format!("the texts are longer than {most} bytes, aliases counted each time");
            return self.fail(node.at, Code::TooLarge, message);
        }
        if self.open.len() + node.height > self.limits.depth {
            return self.too_deep(node.at);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        parent.weight = parent.weight.with(node.weight);
        parent.height = parent.height.max(node.height);
        match &mut parent.content {
            Content::List(items) => items.push(node),
            Content::Map(members) => match parent.key.take() {
                Some(key) => {
                    if parent.seen.insert(Rc::clone(&key.text)) {
                        members.push((key, node));
                    } else {
                        let message = format!("the key {} stands twice in this mapping", quoted(&key.text));
                        self.report.problem(&Spot::at(key.at), Code::KeyDuplicate, message);
                    }
                }
                None => match &*node.content {
                    Content::Scalar { text, .. } => {
                        parent.key = Some(Key {
                            text: Rc::from(text.as_str()),
                            at: node.at,
                            bytes: node.bytes,
                        });
                    }
                    _ => return self.fail(node.at, Code::YamlInvalid, "a key is text".to_owned()),
                },
            },
            Content::Scalar { .. } => {}
        }
        Some(())
    }
}
