//! Every page there is, by keyboard alone, on three widths and in both themes: a page that the walk forgets is named here.

use crate::browser::Walk;
use crate::house::House;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Which fragments there are.
const ROUTES: &str = include_str!("../../src/console/route.rs");

/// The fragments with a `*` for every id, as their paths are written.
fn fragments() -> BTreeSet<String> {
    let paths = ROUTES.lines().filter(|line| line.trim_start().starts_with("Self::"));
    let patterns = paths.filter_map(|line| line.split("format!(\"{VIEW}").nth(1)?.split('"').next());
    let fragments: BTreeSet<String> = patterns.map(|path| path.replace("{id}", "*").replace("{}", "*")).collect();
    assert!(fragments.len() >= 15 && fragments.contains("instance/*/mine"), "{fragments:?}");
    fragments
}

/// The templates that are pages: those with a heading, or with a page around them.
fn pages() -> BTreeSet<String> {
    let mut pages = BTreeSet::new();
    for folder in ["embedded", "oauth", "sign-in"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("web").join(folder);
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let is_page = text.contains("<h1") || text.starts_with("{% extends");
            // The frame of the pages of sign-in is on all of them.
            if name.ends_with(".html") && is_page && name != "page.html" {
                pages.insert(format!("{folder}/{name}"));
            }
        }
    }
    assert!(pages.len() >= 15, "{pages:?}");
    pages
}

fn seen(told: &Value, what: &str) -> BTreeSet<String> {
    let seen = told[what]
        .as_array()
        .unwrap_or_else(|| panic!("the walk says nothing of {what}: {told}"));
    seen.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_fit_for_keyboards_screen_readers_narrow_screens_and_both_themes() {
    let (walk, addresses) = Walk::start("everywhere.mjs");
    let text = |name: &str| addresses[name].as_str().unwrap();
    let house = House::shown_by(text("host"), text("provider")).await;
    let given = house.given();
    let told = tokio::task::spawn_blocking(move || walk.tells(&given)).await.unwrap();
    for (what, there) in [("fragments", fragments()), ("pages", pages())] {
        let forgotten: Vec<String> = there.difference(&seen(&told, what)).cloned().collect();
        assert!(forgotten.is_empty(), "the walk looked at none of these {what}: {forgotten:?}");
    }
    assert!(
        !house.office.world.daemon.log().contains("canary-of-the-client"),
        "a secret is in the log"
    );
}
