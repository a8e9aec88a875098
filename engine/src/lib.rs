//! Lux's storage engine.

pub mod codec;
pub mod dump;
pub mod env;
pub mod error;
pub mod failpoint;
pub mod glob;
pub mod ids;
pub mod keyspace;
pub mod tier;
pub mod value;
pub mod wait;
pub mod wal;
