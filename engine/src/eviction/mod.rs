//! Disk bounds, and cache mode: dropping keys for good.
//!
//! With the policy `noeviction` (tiered, the default) nothing is ever dropped: at `maxdisk`, or
//! when the file system is nearly full, writes are refused and deletions go on. The other
//! policies, by Redis's names, make the store a cache: at `maxdisk` keys are dropped by ordinary
//! commits (operation `evicted`), chosen by sampling as in Redis: of a few keys that lie together in
//! bucket order, which is an order by chance, the least valuable one goes. The LRU policies value a
//! key by its idle time, the LFU policies by its access counter. A key that is not in memory counts
//! as used least; among those the choice is random.

pub mod defrag;
pub mod policy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
pub use policy::{CacheConfig, Lfu, Policy};

use crate::env::{Clock, FileSystem};
use crate::error::Result;
use crate::ids::{DbIndex, ShardId};
use crate::keyspace::hash::SHARDS;
use crate::keyspace::store::{DATABASES, Store};
use crate::keyspace::usage::UsedAt;
use crate::txn::{CommitError, Core, Mode, Scratch, Wait};
use crate::wal::effect::Operation;

/// Most keys that are looked at to find those that compete: with a `volatile` policy few may.
const LOOKED_AT_MAX: usize = 512;
/// Most keys that one call drops.
const SLICE: usize = 64;
/// Free bytes of the file system below which writes are refused, so that deletions, the log and
/// compaction have room to bring space back.
const FREE_MIN: u64 = 64 << 20;

/// Free bytes from which writes are accepted again: compaction takes and gives some MiB all the time.
const FREE_AGAIN: u64 = FREE_MIN + FREE_MIN / 4;

/// Watches the disk and drops keys in cache mode.
pub struct DiskGuard {
    core: Arc<Core>,
    clock: Arc<dyn Clock>,
    files: Arc<dyn FileSystem>,
    dir: std::path::PathBuf,
    config: Mutex<CacheConfig>,
    /// Writes that need space are refused.
    is_full: AtomicBool,
    /// Bytes of rows and log, as of the last look.
    pub used_bytes: AtomicU64,
    pub free_bytes: AtomicU64,
    random: AtomicU64,
}

/// A key that may be dropped, with how much it is worth keeping.
struct Candidate {
    db: DbIndex,
    key: Vec<u8>,
    worth: u64,
}

impl DiskGuard {
    /// A guard; call [`DiskGuard::look`] several times a second.
    pub fn new(
        core: Arc<Core>,
        clock: Arc<dyn Clock>,
        files: Arc<dyn FileSystem>,
        dir: std::path::PathBuf,
    ) -> Arc<Self> {
        let random = AtomicU64::new(clock.unix_us() | 1);
        Arc::new(DiskGuard {
            core,
            clock,
            files,
            dir,
            config: Mutex::default(),
            is_full: AtomicBool::new(false),
            used_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            random,
        })
    }

    /// Sets what is dropped, and when. Uses are counted from now on if the policy is one of LFU.
    pub fn configure(&self, config: &CacheConfig) {
        self.core.store.usage.set(config.policy.is_lfu(), config.lfu);
        *self.config.lock() = *config;
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> CacheConfig {
        *self.config.lock()
    }

    /// Whether writes that need space are refused now.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Measures the disk; in cache mode drops keys while the bound is passed.
    pub fn look(&self) -> Result<u64> {
        let store = &self.core.store;
        let cold = store.cold.stats();
        let log = self.core.wal.status().bytes_on_disk;
        let free = self.files.free_bytes(&self.dir).unwrap_or(u64::MAX);
        let config = self.config();
        let CacheConfig { policy, maxdisk, .. } = config;
        // What compaction has yet to remove does not count against a cache.
        let rows = if policy == Policy::NoEviction { cold.disk_bytes } else { cold.live_data_bytes };
        let used = rows + log;
        self.used_bytes.store(used, Ordering::Relaxed);
        self.free_bytes.store(free, Ordering::Relaxed);
        let is_over = maxdisk > 0 && used > maxdisk;
        let free_min = if self.is_full() { FREE_AGAIN } else { FREE_MIN };
        let refuses = free < free_min || (is_over && policy == Policy::NoEviction);
        if refuses != self.is_full.swap(refuses, Ordering::Relaxed) {
            if refuses {
                tracing::warn!(
                    used,
                    free,
                    maxdisk,
                    "no disk space left: writes are refused, deletions go on"
                );
            } else {
                tracing::info!(used, free, "disk space is back: writes are accepted again");
            }
        }
        if !is_over || policy == Policy::NoEviction {
            return Ok(0);
        }
        let mut excess = used - maxdisk;
        let mut dropped = 0;
        // A bounded share per look: the estimate follows only after compaction.
        for _ in 0..64 {
            let (count, bytes) = self.drop_some(&config)?;
            dropped += count;
            excess = excess.saturating_sub(bytes);
            if count == 0 || excess == 0 {
                break;
            }
        }
        Ok(dropped)
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Drops up to [`SLICE`] keys; returns how many and about how many bytes.
    fn drop_some(&self, config: &CacheConfig) -> Result<(u64, u64)> {
        let (mut count, mut bytes) = (0, 0);
        for _ in 0..SLICE {
            let Some(victim) = self.choose(config)? else { break };
            if let Some(size) = self.drop_key(&victim)? {
                count += 1;
                bytes += size;
            }
        }
        Ok((count, bytes))
    }

    /// The least valuable of a sample from each database.
    fn choose(&self, config: &CacheConfig) -> Result<Option<Candidate>> {
        let store = &self.core.store;
        let mut best: Option<Candidate> = None;
        for db in (0..DATABASES as u8).map(DbIndex) {
            if store.totals(store.db_id(db)).0 > 0 {
                self.choose_in(db, config, &mut best)?;
            }
        }
        Ok(best)
    }

    /// Looks at keys of a database from a place by chance on, until enough of them competed.
    fn choose_in(&self, db: DbIndex, config: &CacheConfig, best: &mut Option<Candidate>) -> Result<()> {
        let store = &self.core.store;
        let start = self.start_in(db);
        let (mut from, mut has_wrapped) = (start, false);
        let (mut looked_at, mut competed) = (0, 0);
        while looked_at < LOOKED_AT_MAX {
            let step = store.scan(store.db_id(db), from, config.samples as u64, 0)?;
            for (key, _) in step.keys {
                looked_at += 1;
                let Some(worth) = self.worth(config, db, &key) else { continue };
                if best.as_ref().is_none_or(|best| worth < best.worth) {
                    *best = Some(Candidate { db, key, worth });
                }
                competed += 1;
                if competed == config.samples {
                    return Ok(());
                }
            }
            match step.next {
                Some(next) if has_wrapped && next >= start => break,
                Some(next) => from = next,
                None if has_wrapped => break,
                None => (from, has_wrapped) = (0, true),
            }
        }
        Ok(())
    }

    /// A bucket by chance: every other time one that has a key in memory, since keys of a few hash
    /// tags lie in a few narrow ranges which a number by chance hardly ever meets.
    fn start_in(&self, db: DbIndex) -> u32 {
        let random = self.random();
        let store = &self.core.store;
        let shard = store.lock(ShardId((random >> 1) as u8 % SHARDS as u8));
        let part = shard.db(store.db_id(db)).filter(|_| random & 1 == 0);
        let sample = part.and_then(|part| part.table.sample(random.rotate_left(32)));
        sample.map_or(random as u32, |entry| store.hasher.hash(entry.key()).bucket)
    }

    /// How much a key is worth keeping; `None` if the policy does not drop it.
    fn worth(&self, config: &CacheConfig, db: DbIndex, key: &[u8]) -> Option<u64> {
        let store = &self.core.store;
        let hash = store.hasher.hash(key);
        let id = store.db_id(db);
        let hot = {
            let shard = store.lock(hash.shard);
            let entry = shard.db(id).and_then(|part| part.table.find(hash, key));
            entry.map(|entry| (entry.usage(), entry.deadline()))
        };
        // The row is read with no lock held.
        let (usage, deadline) = match hot {
            Some((usage, deadline)) => (Some(usage), deadline),
            None if config.policy.is_volatile() => (None, cold_deadline(store, id, hash.bucket, key)),
            None => (None, None),
        };
        if config.policy.is_volatile() && deadline.is_none() {
            return None;
        }
        let now = UsedAt::new(self.clock.unix_ms());
        Some(match config.policy {
            Policy::NoEviction => return None,
            Policy::AllKeysRandom | Policy::VolatileRandom => self.random(),
            Policy::VolatileTtl => deadline.map_or(u64::MAX, |at| at.0),
            Policy::AllKeysLru | Policy::VolatileLru => {
                usage.map_or(0, |usage| u64::from(u32::MAX - usage.at.idle_seconds(now)))
            }
            Policy::AllKeysLfu | Policy::VolatileLfu => {
                usage.map_or(0, |usage| 1 + u64::from(usage.frequency(now, config.lfu)))
            }
        })
    }

    /// Deletes one key by a commit of its own; its size if it was there.
    fn drop_key(&self, victim: &Candidate) -> Result<Option<u64>> {
        let keys = [&victim.key[..]];
        let mut scratch = Scratch::default();
        let mut pins = Vec::new();
        loop {
            let now_ms = self.clock.unix_ms();
            let mut txn = self.core.begin(&mut scratch, victim.db, &keys, Mode::Reserve, now_ms);
            txn.set_operation(Operation::Evicted);
            let size = txn.header(&victim.key, false).map(|found| found.map(|found| found.heap_bytes as u64));
            let planned = size.and_then(|size| txn.delete(&victim.key).map(|_| size));
            let wait = match planned {
                Err(_) => match txn.take_failure() {
                    Some(error) => return Err(error),
                    None => txn.abandon(),
                },
                Ok(size) => match txn.commit() {
                    Ok(_) => return Ok(size),
                    Err(CommitError::Failed(error)) => return Err(error),
                    Err(CommitError::Interrupted(wait)) => wait,
                },
            };
            match &wait {
                Wait::Retry => {}
                Wait::Fetch(ticket) => ticket.wait()?,
                Wait::Room(len) => self.core.wal.wait_room_blocking(*len, Duration::from_secs(1))?,
                Wait::Held => std::thread::sleep(Duration::from_millis(1)),
                Wait::Build(_) => unreachable!("a deletion stores no value"),
            }
            pins.push(wait);
        }
    }
}

fn cold_deadline(
    store: &Store,
    db: crate::ids::DbId,
    bucket: u32,
    key: &[u8],
) -> Option<crate::ids::ExpireAt> {
    use crate::tier::{Family, Lookup, ReadTier, schema};
    let (mut row_key, mut row) = (Vec::new(), Vec::new());
    schema::put_row_key(&mut row_key, db, bucket, key);
    match store.cold.get(Family::Keys, &row_key, ReadTier::Disk, &mut row) {
        Ok(Lookup::Found(row)) => schema::read_row(row).ok()?.deadline,
        _ => None,
    }
}
