//! The comparison harness: the same workloads over the wire against any list of RESP servers.
//!
//! Every server is started fresh in an empty folder on loopback, driven by one load generator,
//! watched through `/proc`, and killed by its process id. Servers take turns inside one run, so
//! that a noisy machine is noisy for all of them. Nothing here links the engine: a peer is measured
//! through exactly the same door as Lux.
//!
//! Promises: inputs derive from fixed seeds; every reply is checked, and a run that met a single
//! wrong reply reports no figures; every phase is bounded in time.
//!
//! Reading order: [`wire`] (bytes of the protocol), [`load`] (closed loop), [`open_loop`] (latency
//! at a fixed rate), [`server`] and [`process`] (start, watch, kill), [`values`], [`workload`] and
//! [`collections`] (what is sent, what must come back), [`report`] (tables), [`groups`] (one file per question).

pub mod client;
pub mod collections;
pub mod failure;
pub mod groups;
pub mod load;
pub mod open_loop;
pub mod process;
pub mod report;
pub mod server;
pub mod values;
pub mod wire;
pub mod workload;

pub use failure::{Failure, Result};
