//! What operators look at: INFO, the slow log, the command reference.

pub mod command_docs;
pub mod help;
pub mod info;
pub mod latency;
pub mod memory;
pub mod slowlog;
