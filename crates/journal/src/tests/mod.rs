//! Tests that turn the writer and the keeper by hand.

mod cases;
mod ghosts;
mod inspection;
mod limit;
mod rig;
mod workload;
