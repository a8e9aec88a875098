//! The hot tier: shards of entries in memory.
//!
//! `hash` derives shard, bucket and table hash from a key; `entry` is one key in one
//! allocation; `table` keeps the entries of a database in bucket order; `shard` applies effects
//! to them, live and in replay alike; `filter` knows which keys may have rows; `side` keeps what
//! open snapshots still need of entries.

pub mod entry;
pub mod fetched;
pub mod filter;
pub mod hash;
pub mod scan;
pub mod shard;
pub mod side;
pub mod store;
pub mod table;
pub mod ticket;
