//! The engine's integration tests: one binary.
//!
//! `rig` is a store on simulated files with the in-memory cold tier, `trace` a store beside the
//! states it went through. `model` compares a store with a map through spills, checkpoints and
//! crashes; `invariants` has a test for each invariant of the design.

mod rig;
mod trace;

mod invariants;
mod model;
mod schedules;
