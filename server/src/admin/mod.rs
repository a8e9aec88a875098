//! What operators look at: INFO, memory, the command reference.

pub mod command_docs;
pub mod help;
pub mod info;
pub mod memory;
