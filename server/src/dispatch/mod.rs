//! From a request to its reply: the command table and the one path every command takes.
//!
//! Reading order: [`spec`] (what a command declares), [`command_table`] (all of them, and the
//! lookup), [`args`] and [`reply`] (what a handler reads and writes), [`context`] (the state it
//! works on) with [`keyspace`] (its methods that read and change keys) and [`string_ref`] (what they
//! find), [`execute`] (the path itself). Only these call the engine's transactions.

pub mod args;
pub mod command_table;
pub mod compatibility;
pub mod context;
pub mod execute;
pub mod keyspace;
pub mod reply;
pub mod reply_errors;
pub mod spec;
pub mod string_ref;
