//! The hot tier: shards of entries in memory.
//!
//! `hash` derives shard, bucket and table hash from a key; `entry` is one key in one
//! allocation; `table` keeps the entries of a database in bucket order; `shard` applies effects
//! to them, live and in replay alike, and `evict` takes them out; `filter` knows which keys may have
//! rows, `usage` when and how often an entry was used; `side` keeps what open snapshots still need of
//! entries and `stale` which hints are wrong; `near` forgets deadlines that mean nothing; `scan` walks all keys
//! and `range` is what a step of it copies; `random` picks one; `elements` edits collections; `parts` is what is
//! being built and no key names yet; `waiting` is what replay left without a base; `pins` bounds what commands keep
//! in memory; `moves` takes a value from one key to another; `held` lets a transaction that has all locks look
//! around; `watch` knows who watches missing keys.

mod elements;
pub mod entry;
mod evict;
pub mod fetched;
pub mod filter;
pub mod hash;
pub mod held;
pub mod moves;
mod near;
pub mod parts;
pub mod pins;
mod random;
pub mod range;
pub mod scan;
pub mod shard;
pub mod side;
pub mod stale;
pub mod store;
pub mod table;
pub mod ticket;
pub mod usage;
mod waiting;
pub mod watch;
