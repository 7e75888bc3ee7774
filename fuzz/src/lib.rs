//! What is fuzzed: one function for each place where bytes of a stranger are taken apart.
//!
//! Each takes any bytes and panics where something does not hold, which is more than "no panic": two readers of the
//! same bytes must agree, limits must hold, what is read must come back when it is written again. `cargo fuzz` runs
//! them instrumented (`make fuzz`); `tests/fuzz.rs` runs the same functions over the corpus in the ordinary build.

mod body;
mod child;
mod expression;
mod frame;
mod route;
mod yaml;

/// A target, by the name of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("route", route::run),
    ("body", body::run),
    ("yaml", yaml::run),
    ("expression", expression::run),
    ("frame", frame::run),
    ("child", child::run),
];

/// Runs the target of this name.
///
/// # Panics
/// If something does not hold for these bytes, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect("a known target");
    target(data);
}
