//! A script's text as a function that can be called again and again without remembering anything.
//!
//! The text becomes the body of an arrow function in a module: strict, without HTML comments, and its own variables
//! are the function's. The text must first parse as a module of its own, so that it cannot close the function's brace
//! and run outside it.

/// What asks for a realm of its own, with changeable globals, thrown away after the run.
const FRESH_CONTEXT: [&str; 2] = ["\"use fresh context\"", "'use fresh context'"];

/// Whether the first statement is the directive `"use fresh context"`.
pub(super) fn wants_fresh_context(text: &str) -> bool {
    let start = text.trim_start();
    FRESH_CONTEXT.iter().any(|directive| start.starts_with(directive))
}

/// `export default` at the start of a line as an assignment, so that modules of that one form work too.
pub(super) fn as_common_js(text: &str) -> String {
    let mut lines = Vec::new();
    let mut found = false;
    for line in text.split('\n') {
        match line.strip_prefix("export default ") {
            Some(rest) if !found => {
                found = true;
                lines.push(format!("module.exports.default = {rest}"));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// The module whose default export is the function. The object that a module's code can reach outside the function,
/// `import.meta`, is frozen.
pub(super) fn wrap(text: &str) -> String {
    format!(
        "Object.freeze(import.meta);export default Object.freeze((module, exports, require, console, fetch, setTimeout, clearTimeout) => {{{text}\n}});\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_default_export_becomes_an_assignment() {
        let text = "const a = 1;\nexport default async () => a;\n// export default is a phrase\n";
        assert_eq!(
            as_common_js(text),
            "const a = 1;\nmodule.exports.default = async () => a;\n// export default is a phrase\n"
        );
    }

    #[test]
    fn only_a_leading_directive_asks_for_a_fresh_context() {
        assert!(wants_fresh_context("\n 'use fresh context';\nmodule.exports = 1"));
        assert!(!wants_fresh_context("x = 'use fresh context'"));
    }
}
