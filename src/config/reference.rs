//! The written reference: `config/perseat.toml` and `docs/configuration.md`, both from the declared keys.

use std::fmt::Write as _;

use super::settings::{Key, Section, sections};
use super::source::variable_of;

/// The annotated file: every key with its reason, each commented out at its default.
#[must_use]
pub fn file() -> String {
    let mut text = String::from(
        "# Perseat's configuration: every key, at its default.\n\
         #\n\
         # A line that begins with \"#\" and no blank is a key: remove the \"#\" to set it. A key that has no default shows an\n\
         # example, marked \"unset\". Environment variables override the file: PERSEAT_FRONT__MAX_BODY is front.max-body.\n\
         # `perseat check-config --config FILE` reports everything that is wrong; SIGHUP applies the keys marked \"reloads\".\n",
    );
    for section in sections() {
        text.push('\n');
        for line in &section.doc {
            let _ = writeln!(text, "# {line}");
        }
        if !section.name.is_empty() {
            let _ = writeln!(text, "[{}]", section.name);
        }
        for key in &section.keys {
            text.push('\n');
            for line in &key.doc {
                let _ = writeln!(text, "# {line}");
            }
            let marks: Vec<&str> = [(key.unset, "unset"), (key.reloads, "reloads")]
                .into_iter()
                .filter(|mark| mark.0)
                .map(|mark| mark.1)
                .collect();
            if !marks.is_empty() {
                let _ = writeln!(text, "# ({})", marks.join(", "));
            }
            let _ = writeln!(text, "#{} = {}", name(&section, key), key.shown);
        }
    }
    text
}

/// The same as a page, with types and environment variables.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Written from `src/config/settings.rs`; a test keeps it equal.\n\n\
         `perseat serve --config FILE` reads a TOML file; without `--config` (or `PERSEAT_CONFIG`) every key has its default.\n\
         Environment variables override the file, `--set KEY=VALUE` overrides both. In a variable `__` stands for the dot and `_`\n\
         for the hyphen; lists are separated by commas. All problems are reported at once; an unknown key is one of them.\n\
         `perseat check-config` does the same and starts nothing. SIGHUP reads everything again, applies the keys marked\n\
         *reloads*, and logs every key that changed and whether it needs a restart.\n",
    );
    for section in sections() {
        let title = if section.name.is_empty() {
            "Above the first section".to_owned()
        } else {
            format!("`[{}]`", section.name)
        };
        let _ = write!(text, "\n## {title}\n\n{}\n", section.doc.join(" "));
        for key in &section.keys {
            let default = if key.unset {
                "unset".to_owned()
            } else {
                format!("`{}`", key.shown)
            };
            let reloads = if key.reloads { " · reloads" } else { "" };
            let _ = write!(text, "\n### `{}`\n\n{}\n\n", key.path, key.doc.join(" "));
            let _ = writeln!(text, "Default {default} · {} · `{}`{reloads}", key.kind, variable_of(&key.path));
        }
    }
    text
}

fn name<'a>(section: &Section, key: &'a Key) -> &'a str {
    key.path
        .strip_prefix(section.name)
        .map_or(&key.path, |rest| rest.trim_start_matches('.'))
}
