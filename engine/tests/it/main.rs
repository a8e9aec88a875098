//! The engine's integration tests: one binary.
//!
//! `rig` is a store on simulated files with the in-memory cold tier; `model` compares it with a
//! map through spills, checkpoints and crashes; `invariants` has a test for each invariant of
//! the design; `schedules` pins the interleavings that break naive versions.

mod rig;

mod model;
