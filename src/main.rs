//! Perseat.
fn main() {}
