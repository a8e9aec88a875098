//! What operators look at: INFO, the slow log, the command reference.

pub mod help;
pub mod slowlog;
