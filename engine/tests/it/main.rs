//! The engine's integration tests: one binary.
//!
//! `rig` is a store on simulated files with the in-memory cold tier, `trace` a store beside the
//! states it went through. `model` compares a store with a map through spills, checkpoints and
//! crashes; `invariants` has a test for each invariant of the design; `schedules` pins the
//! interleavings that break naive versions; `crash` cuts the power at every sync point; `faults`
//! has disks that fail or are full, `panics` threads that do; `collections`, `defrag`, `expiry`, `concurrency`, `events`,
//! `filters`, `formats`, `moves`, `multi`, `pins`, `pressure`, `scan`, `snapshots`, `tails` and `usage` say what they
//! are.

mod rig;
mod trace;
mod usage;

mod collections;
mod concurrency;
mod crash;
mod defrag;
mod elements;
mod events;
mod expiry;
mod faults;
mod filters;
mod formats;
mod invariants;
mod model;
mod moves;
mod multi;
mod panics;
mod parts;
mod pins;
mod pressure;
mod scan;
mod schedules;
mod snapshots;
mod tails;
