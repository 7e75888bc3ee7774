//! Tests that turn the writer and the keeper by hand.

mod cases;
mod rig;
mod workload;
