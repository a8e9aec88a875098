//! Lux's server: RESP over TCP and Unix sockets, in front of the engine.
//!
//! The life of a request: [`resp`] takes it apart, [`connection`] reads, executes and writes in
//! batches, [`dispatch`] finds the command and runs it, [`commands`] holds the handlers, the
//! engine commits. Imports run in that direction only.

pub mod admin;
pub mod allocator;
pub mod blocking;
pub mod clients;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connection;
pub mod descriptors;
pub mod dispatch;
pub mod error;
pub mod latency;
pub mod listener;
pub mod logging;
pub mod machine;
mod park;
pub mod resp;
pub mod server;
pub mod session;
pub mod slowlog;
pub mod state;
pub mod stats;
pub mod storage;

/// The version of this server.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Redis whose commands and replies this server follows; some clients ask.
pub const REDIS_VERSION: &str = "7.2.4";
