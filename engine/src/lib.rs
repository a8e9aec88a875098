//! Lux's storage engine.

pub mod dump;
pub mod env;
pub mod error;
pub mod glob;
pub mod ids;
pub mod tier;
pub mod value;
pub mod wal;
