//! HTML that a definition puts between its variables, reduced to text and a few harmless elements.
//!
//! Nothing of the source is copied but text, the names of allowed elements and addresses of the web or of mail, so that what
//! comes out cannot run, load or send anything, whatever goes in.

use url::Url;

/// Elements that stay. None has attributes but `a`.
const KEPT: [&str; 26] = [
    "a",
    "b",
    "blockquote",
    "br",
    "code",
    "div",
    "em",
    "h2",
    "h3",
    "h4",
    "hr",
    "i",
    "li",
    "ol",
    "p",
    "pre",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tr",
    "ul",
];
/// Elements without content.
const VOID: [&str; 2] = ["br", "hr"];
/// Elements whose content goes with them.
const DROPPED: [&str; 10] = [
    "script", "style", "template", "iframe", "object", "svg", "math", "noscript", "textarea", "title",
];
/// Elements within one another. No key of the configuration: browsers show no page that is deeper, and what is deeper is cut, not refused.
const DEEPEST: usize = 32;

/// See the module.
pub(super) fn harmless(source: &str) -> String {
    let mut clean = String::with_capacity(source.len());
    let mut open: Vec<&'static str> = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find('<') {
        escape(&rest[..at], &mut clean);
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let Some((tag, after)) = rest.split_once('>') else {
            // No element, a sign.
            clean.push_str("&lt;");
            continue;
        };
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        if name.is_empty() && !tag.starts_with('!') {
            clean.push_str("&lt;");
            continue;
        }
        rest = after;
        if tag.starts_with('/') {
            close(&name, &mut open, &mut clean);
        } else if DROPPED.contains(&name.as_str()) {
            rest = behind(rest, &name);
        } else if let Some(kept) = KEPT.iter().find(|kept| **kept == name) {
            let is_void = VOID.contains(kept);
            if !is_void && open.len() == DEEPEST {
                continue;
            }
            clean.push('<');
            clean.push_str(kept);
            if *kept == "a" {
                link(tag, &mut clean);
            }
            clean.push('>');
            if !is_void {
                open.push(kept);
            }
        }
    }
    escape(rest, &mut clean);
    while let Some(name) = open.pop() {
        clean.push_str(&format!("</{name}>"));
    }
    clean
}

/// Closes an element with all that is still open within it.
fn close(name: &str, open: &mut Vec<&'static str>, clean: &mut String) {
    let Some(place) = open.iter().rposition(|opened| *opened == name) else {
        return;
    };
    for inner in open.drain(place..).rev() {
        clean.push_str(&format!("</{inner}>"));
    }
}

/// What follows the end of an element; nothing where it does not end.
fn behind<'s>(rest: &'s str, name: &str) -> &'s str {
    let lower = rest.to_ascii_lowercase();
    let end = lower.find(&format!("</{name}")).unwrap_or(rest.len());
    rest[end..].split_once('>').map_or("", |(_, after)| after)
}

/// The address of a link, if it leads to the web or to a mailbox.
fn link(tag: &str, clean: &mut String) {
    let lower = tag.to_ascii_lowercase();
    let value = lower.find("href=").map(|at| &tag[at + "href=".len()..]);
    let value = value.map(|value| match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split_ascii_whitespace().next().unwrap_or_default(),
    });
    let url = value.and_then(|value| Url::parse(&value.replace("&amp;", "&")).ok());
    if let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https" | "mailto")) {
        clean.push_str(" href=\"");
        escape(&url.as_str().replace('&', "&amp;"), clean);
        clean.push_str("\" target=\"_blank\" rel=\"noopener noreferrer\"");
    }
}

/// Text as text: entities stay what they are.
fn escape(text: &str, clean: &mut String) {
    for letter in text.chars() {
        match letter {
            '<' => clean.push_str("&lt;"),
            '>' => clean.push_str("&gt;"),
            '"' => clean.push_str("&quot;"),
            '\'' => clean.push_str("&#x27;"),
            letter => clean.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_plain_elements_stay() {
        assert_eq!(
            harmless("<p>Enter <b>your</b> key &amp; save</p>"),
            "<p>Enter <b>your</b> key &amp; save</p>"
        );
        assert_eq!(harmless("one<BR/>two<hr class=x>"), "one<br>two<hr>");
        let link = harmless("<a class=x href='https://a.example/?b=c&amp;d=\"e' onclick=\"x()\">help</a>");
        assert_eq!(
            link,
            "<a href=\"https://a.example/?b=c&amp;d=%22e\" target=\"_blank\" rel=\"noopener noreferrer\">help</a>"
        );
        assert_eq!(harmless("a < b > c"), "a &lt; b &gt; c");
    }

    #[test]
    fn what_runs_loads_or_sends_goes() {
        for (evil, rest) in [
            ("<script>alert(1)</script>x", "x"),
            ("<ScRiPt src=//e.example></sCrIpT >x", "x"),
            ("<img src=x onerror=alert(1)>x", "x"),
            ("<svg><a href='https://a.example'>in</a></svg>x", "x"),
            ("<p onclick=alert(1) style=color:red>x</p>", "<p>x</p>"),
            ("<a href=\"javascript:alert(1)\">x</a>", "<a>x</a>"),
            ("<a href=\" java\tscript:alert(1)\">x</a>", "<a>x</a>"),
            ("<a href=data:text/html,x>x</a>", "<a>x</a>"),
            ("<form action=//e.example><input name=a>x</form>", "x"),
            ("<style>*{}</style><title>t</title>x", "x"),
            ("<!-- <b> -->x<!doctype html>", "x"),
            ("<script>never ends", ""),
            ("x</p></div>", "x"),
            ("<div><b>x</div>y", "<div><b>x</b></div>y"),
            (
                "<a href='https://a.example/\"onclick=\"x'>x",
                "<a href=\"https://a.example/%22onclick=%22x\" target=\"_blank\" rel=\"noopener noreferrer\">x</a>",
            ),
        ] {
            assert_eq!(harmless(evil), rest, "{evil}");
        }
    }

    #[test]
    fn elements_do_not_nest_without_end() {
        let deep = harmless(&"<div>".repeat(1_000));
        assert_eq!(deep.matches("<div>").count(), DEEPEST);
        assert_eq!(deep.matches("</div>").count(), DEEPEST);
    }
}
