//! How large the document of a query is: told from its text before it is parsed, and from the parsed one before anything
//! follows its fragments.

use super::ControlOptions;
use async_graphql::Positioned;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use std::collections::HashMap;

/// What clients tell by that a document is too large.
pub(super) const TOO_LARGE: &str = "QUERY_TOO_LARGE";

/// Brackets of any kind within one another, and fragments that spread one another. No key: the parser's stack bounds it, which
/// takes no more of fields itself; `api.max-depth` is below it.
const NESTING: usize = 64;

/// Why a document is not looked at any further.
pub(super) fn refused(document: &ExecutableDocument, options: &ControlOptions) -> Option<&'static str> {
    if selections(document) > options.max_selections {
        return Some("The query has too many selections.");
    }
    (aliases(document) > options.max_aliases).then_some("The query has too many aliases.")
}

/// The fields of an operation itself, those of its fragments among them: what a mutation does. For a document that is not refused.
pub(super) fn fields(document: &ExecutableDocument, selection: &SelectionSet) -> usize {
    let of_fragment = |name| document.fragments.get(name).map(|fragment| &fragment.node.selection_set);
    let items = selection.items.iter().map(|item| match &item.node {
        Selection::Field(_) => 1,
        Selection::InlineFragment(fragment) => fields(document, &fragment.node.selection_set.node),
        Selection::FragmentSpread(spread) => {
            of_fragment(&spread.node.fragment_name.node).map_or(0, |within| fields(document, &within.node))
        }
    });
    items.sum()
}

/// What a query's text costs to parse.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// Those of strings count as one each, which is one token however long.
    bytes: usize,
    /// Brackets of any kind within one another.
    nesting: usize,
}

impl Shape {
    /// `None` where a string does not end.
    pub(super) fn of(query: &str) -> Option<Self> {
        let (mut shape, mut open, mut rest) = (Self::default(), 0_usize, query.as_bytes());
        while let [first, ..] = rest {
            let length = match first {
                b'"' => {
                    rest = &rest[string(rest)?..];
                    shape.bytes += 1;
                    continue;
                }
                b'#' => rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len()),
                b'{' | b'(' | b'[' => {
                    open += 1;
                    shape.nesting = shape.nesting.max(open);
                    1
                }
                b'}' | b')' | b']' => {
                    open = open.saturating_sub(1);
                    1
                }
                _ => 1,
            };
            shape.bytes += length;
            rest = &rest[length..];
        }
        Some(shape)
    }

    /// Why it is not parsed.
    pub(super) fn refused(&self, options: &ControlOptions) -> Option<&'static str> {
        if self.bytes > options.max_query {
            return Some("The query is too long.");
        }
        (self.nesting > NESTING).then_some("The query is nested too deep.")
    }
}

/// The length of the string at the beginning, with its quotes; `None` where it does not end.
fn string(text: &[u8]) -> Option<usize> {
    const BLOCK: &[u8] = br#"""""#;
    let is_block = text.starts_with(BLOCK);
    let mut at = if is_block { BLOCK.len() } else { 1 };
    loop {
        let rest = text.get(at..)?;
        at += match (is_block, *rest.first()?) {
            (true, b'"') if rest.starts_with(BLOCK) => return Some(at + BLOCK.len()),
            (true, b'\\') if rest[1..].starts_with(BLOCK) => 1 + BLOCK.len(),
            (false, b'"') => return Some(at + 1),
            (false, b'\n' | b'\r') => return None,
            (false, b'\\') => 2,
            _ => 1,
        };
    }
}

/// The selections of a document, those of a fragment as often as it is spread. Whatever spreads itself has no end of them.
fn selections(document: &ExecutableDocument) -> usize {
    let mut counted = Counted {
        document,
        fragments: HashMap::new(),
    };
    let operations = document.operations.iter().fold(0_usize, |sum, (_, operation)| {
        sum.saturating_add(counted.selection(&operation.node.selection_set, NESTING))
    });
    // One that nothing spreads is looked at all the same.
    let fragments = document.fragments.keys().map(|name| counted.fragment(name, NESTING));
    fragments.fold(operations, usize::max)
}

struct Counted<'d> {
    document: &'d ExecutableDocument,
    /// Those that are being counted have no end yet.
    fragments: HashMap<&'d str, usize>,
}

impl<'d> Counted<'d> {
    /// `left` is how much deeper it may go.
    fn selection(&mut self, selection: &'d Positioned<SelectionSet>, left: usize) -> usize {
        let mut sum = 0_usize;
        for item in &selection.node.items {
            let Some(left) = left.checked_sub(1) else {
                return usize::MAX;
            };
            let within = match &item.node {
                Selection::Field(field) => self.selection(&field.node.selection_set, left),
                Selection::InlineFragment(fragment) => self.selection(&fragment.node.selection_set, left),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, left),
            };
            sum = sum.saturating_add(1).saturating_add(within);
        }
        sum
    }

    fn fragment(&mut self, name: &str, left: usize) -> usize {
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            return 0;
        };
        if let Some(known) = self.fragments.get(name.as_str()) {
            return *known;
        }
        self.fragments.insert(name, usize::MAX);
        let count = self.selection(&fragment.node.selection_set, left);
        self.fragments.insert(name, count);
        count
    }
}

/// The number of aliases in a document.
fn aliases(document: &ExecutableDocument) -> usize {
    fn count(selection: &Positioned<SelectionSet>) -> usize {
        let of = |item: &Positioned<Selection>| match &item.node {
            Selection::Field(field) => usize::from(field.node.alias.is_some()) + count(&field.node.selection_set),
            Selection::InlineFragment(fragment) => count(&fragment.node.selection_set),
            Selection::FragmentSpread(_) => 0,
        };
        selection.node.items.iter().map(of).sum()
    }
    let operations: usize = document
        .operations
        .iter()
        .map(|(_, operation)| count(&operation.node.selection_set))
        .sum();
    let fragments: usize = document
        .fragments
        .values()
        .map(|fragment| count(&fragment.node.selection_set))
        .sum();
    operations + fragments
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;
    use std::fmt::Write as _;

    fn counted(query: &str) -> usize {
        selections(&parse_query(query).unwrap())
    }

    /// Fragments of which each spreads the next `times` times.
    fn chain(length: usize, times: usize) -> String {
        let mut query = "{ ...F0 }".to_owned();
        for n in 0..length {
            write!(query, " fragment F{n} on Query {{ {} }}", format!("...F{} ", n + 1).repeat(times)).unwrap();
        }
        query + &format!(" fragment F{length} on Query {{ __typename }}")
    }

    #[test]
    fn selections_are_counted_as_often_as_they_are_spread() {
        assert_eq!(counted("{ a b { c ... on T { d } } }"), 5);
        assert_eq!(counted("query A { a } query B { a ...F ...F } fragment F on T { b c { d } }"), 10);
        assert_eq!(counted("{ a ...Nothing } fragment F on T { b c d }"), 3, "one that nothing spreads");
        assert_eq!(counted(&chain(3, 2)), 1 + 2 * (1 + 2 * (1 + 2 * (1 + 1))));
        assert_eq!(counted(&chain(32, 2)), (3 << 32) - 1);
        assert_eq!(counted(&chain(NESTING - 2, 1)), NESTING);
    }

    #[test]
    fn what_has_no_end_is_more_than_any_limit() {
        assert_eq!(
            counted("{ ...F } fragment F on T { a ...G } fragment G on T { b { ...F } }"),
            usize::MAX
        );
        assert_eq!(counted("{ a } fragment F on T { ...F }"), usize::MAX, "one that nothing spreads");
        assert_eq!(counted(&chain(10_000, 1)), usize::MAX, "no stack holds all its levels");
        assert_eq!(counted(&chain(NESTING - 2, 3)), usize::MAX, "a number that has no room");
    }

    #[test]
    fn of_a_text_counts_each_string_as_one_byte_and_how_deep_its_brackets_stand() {
        let text = |query: &str| Shape::of(query).map(|shape| (shape.bytes, shape.nesting));
        assert_eq!(text("{a(b:[{c:1}])}"), Some((14, 4)));
        assert_eq!(text("{a}{b}"), Some((6, 1)));
        assert_eq!(text("}}{"), Some((3, 1)), "what closes nothing leaves no room for more");
        // Brackets in strings and comments are text; strings end where the parser ends them.
        assert_eq!(text(r#"{a(b:"]})\"]})",c:"\\")}"#), Some((12, 2)));
        assert_eq!(text("{a(b:\"\"\"]} \\\"\"\" \" ]}\"\"\",c:[\"\"])}"), Some((14, 3)));
        assert_eq!(text("{a(b:[\"x\"\"y\"])}"), Some((11, 3)), "each string is a token");
        assert_eq!(text("{#}}}\n{#}}}\r{"), Some((13, 3)));
        for unended in ["{a(b:\"x)}", "{a(b:\"x\n\")}", "{a(b:\"\"\"x\")}", "\"\\", "\"\"\"\\\"\"\""] {
            assert_eq!(text(unended), None, "{unended}");
        }
    }

    #[test]
    fn aliases_are_counted_wherever_they_stand() {
        let query = "{ a: x { b: y ... on T { c: z } ...F } } fragment F on T { d: e }";
        assert_eq!(aliases(&parse_query(query).unwrap()), 4);
    }
}
