//! Tests that turn the writer and the keeper by hand.

mod cases;
mod limit;
mod ghosts;
mod rig;
mod workload;
