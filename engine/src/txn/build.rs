//! What a transaction wants built, and what was built for it.
//!
//! A command that plans a value too large for its record is interrupted: the bytes leave as a
//! [`BuildOrder`], are logged as parts and come back as [`Built`]. Then the command runs again, from
//! its first read on, and plans the same bytes again, under its locks. Only if they are the same (by
//! length and a 128-bit hash) does its commit publish what was built; so whatever changed meanwhile,
//! sources, target or conditions, the commit stores what it would have stored without parts.
//!
//! When the bytes changed [`TRIES`] times, the command takes a *hold* on its keys: whoever else
//! wants to change one of them waits, with no locks held, until the command is done. Who has a hold
//! does not wait for others', so two of them cannot wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Core, Scratch};
use crate::error::Error;
use crate::ids::{DbId, Incarnation, ShardId};
use crate::keyspace::shard::Origin;
use crate::keyspace::store::Store;
use crate::value::string::PAGE_BYTES;
use crate::wal::AppendError;
use crate::wal::effect::{Change, Effect, Operation, put_effect, put_head};

/// How often a command builds before it keeps others from changing its keys.
pub(super) const TRIES: u32 = 3;
/// Bytes that are to become the pages of a new incarnation.
pub struct BuildOrder {
    db: DbId,
    key: Box<[u8]>,
    bytes: Vec<u8>,
    hash: u128,
}

/// A value that is built and that no key has yet. Dropped without a commit that publishes it, it dies.
pub struct Built {
    store: Arc<Store>,
    db: DbId,
    key: Box<[u8]>,
    shard: ShardId,
    incarnation: Incarnation,
    len: u64,
    hash: u128,
}

/// Why a part was not logged.
pub enum PartError {
    /// The database died.
    Gone,
    /// The log needs room for so many bytes first.
    NoRoom(usize),
    Failed(Error),
}

/// Keeps others from changing keys while it lives.
pub(super) struct Hold {
    store: Arc<Store>,
    number: u64,
    shards: Vec<ShardId>,
}

/// What a command that stores large values has so far.
#[derive(Default)]
pub(super) struct Builds {
    pub built: Vec<Built>,
    /// Of these, what this round's plan has published: a commit gives an incarnation to one change.
    pub planned: Vec<Incarnation>,
    pub ordered: Option<BuildOrder>,
    pub hold: Option<Hold>,
    /// Somebody else holds one of its keys.
    pub is_held: bool,
    pub failures: u32,
}

impl BuildOrder {
    pub(super) fn new(db: DbId, key: &[u8], bytes: &[u8]) -> BuildOrder {
        BuildOrder { db, key: Box::from(key), bytes: bytes.to_vec(), hash: hash(bytes) }
    }

    /// Length of the value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The parts, each with the number of its first page.
    pub fn parts(&self, bytes_max: usize) -> impl Iterator<Item = (u32, &[u8])> {
        let pages = (bytes_max / PAGE_BYTES).max(1);
        self.bytes.chunks(pages * PAGE_BYTES).enumerate().map(move |(at, part)| ((at * pages) as u32, part))
    }
}

/// Identifies bytes that are planned twice.
fn hash(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

impl Built {
    /// Starts an incarnation.
    #[must_use]
    pub fn begin(store: Arc<Store>, order: &BuildOrder) -> Built {
        let (shard, incarnation) = (store.hasher.hash(&order.key).shard, store.allot_incarnation());
        let (db, key, len, hash) = (order.db, order.key.clone(), order.len() as u64, order.hash);
        Built { store, db, key, shard, incarnation, len, hash }
    }

    /// Its incarnation and length.
    pub(super) fn pages(&self) -> (Incarnation, u64) {
        (self.incarnation, self.len)
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        // Nothing to do if it was published.
        self.store.lock(self.shard).abort(self.db, self.incarnation);
    }
}

impl Core {
    /// Logs a part and queues its pages for the cold tier.
    pub fn append_part(&self, built: &Built, page: u32, bytes: &[u8], now_ms: u64) -> Result<(), PartError> {
        let change = Change::Part { incarnation: built.incarnation, page, bytes };
        let effect = Effect { operation: Operation::Set, db: built.db, key: &built.key, change };
        let mut record = Vec::with_capacity(bytes.len() + built.key.len() + 64);
        put_head(&mut record, now_ms, &[]);
        put_effect(&mut record, &effect);
        let store = &self.store;
        let hash = store.hasher.hash(&built.key);
        let mut shard = store.lock(hash.shard);
        // A part of a dead database would become rows that nobody drops.
        if !store.is_live(built.db) {
            return Err(PartError::Gone);
        }
        let lsn = self.wal.append(&record).map_err(|error| match error {
            AppendError::NoRoom => PartError::NoRoom(record.len()),
            AppendError::Failed(error) => PartError::Failed(error),
        })?;
        let applied = store.apply(&mut shard, hash, &effect, lsn, Origin::Live, now_ms);
        applied.map(|_| ()).map_err(PartError::Failed)
    }
}

impl Builds {
    /// What was built of these very bytes for a key and is not planned yet; without it, whether other
    /// bytes were.
    pub(super) fn find(&self, db: DbId, key: &[u8], bytes: &[u8], is_blind: bool) -> Result<&Built, bool> {
        let is_free = |built: &&Built| !self.planned.contains(&built.incarnation);
        let of_key = self.built.iter().filter(|built| built.db == db && *built.key == *key);
        let mut others = of_key.filter(is_free).peekable();
        if others.peek().is_none() {
            return Err(false);
        }
        let (len, hash) = (bytes.len() as u64, hash(bytes));
        others.find(|built| is_blind || (built.len, built.hash) == (len, hash)).ok_or(true)
    }
}

impl Scratch {
    /// Takes what was ordered: the command runs again and publishes it.
    pub fn give(&mut self, built: Built) {
        self.builds.get_or_insert_default().built.push(built);
    }
}

impl Hold {
    /// A hold on keys; the caller puts it on their shards, which it has locked.
    pub(super) fn new(store: &Arc<Store>, shards: Vec<ShardId>) -> Hold {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        // ORDERING: only has to be unique.
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Hold { store: Arc::clone(store), number, shards }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        for id in &self.shards {
            self.store.lock(*id).holds.retain(|(number, ..)| *number != self.number);
        }
    }
}
