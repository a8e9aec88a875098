//! The storage engine of Lux: Redis values in memory, durable and larger than memory.
//!
//! A store is a folder. Keys live in a bounded hot tier of in-memory entries and spill to a cold
//! tier of RocksDB column families; a write-ahead log of resolved effects makes every commit
//! durable. There are no sockets, no protocol and no scripting here.
//!
//! Reading order: `keyspace` (entries, shards, how effects apply), `txn` (how a command runs),
//! `wal` (how it becomes durable), `tier` (promotion and write-back), `checkpoint`, `recovery`,
//! `expiry`, `snapshot` (long reads); `engine` wires them.

pub mod checkpoint;
pub mod codec;
pub mod config;
pub mod dump;
mod engine;
pub mod env;
pub mod error;
pub mod eviction;
pub mod expiry;
pub mod failpoint;
pub mod glob;
pub mod hook;
mod identity;
pub mod ids;
pub mod keyspace;
mod recovery;
pub mod snapshot;
pub mod tier;
pub mod txn;
pub mod value;
pub mod wait;
pub mod wal;

pub use config::{Cold, EngineConfig};
pub use engine::{DATABASE_COUNT, Engine, OpenReport};
pub use error::{Error, Result};
pub use identity::Identity;
