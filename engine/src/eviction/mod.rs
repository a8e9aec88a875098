//! Disk bounds, and cache mode: dropping keys for good.
//!
//! With the policy `noeviction` (tiered, the default) nothing is ever dropped: at `maxdisk`, or
//! when the file system is nearly full, writes are refused and deletions go on. The other
//! policies, by Redis's names, make the store a cache: at `maxdisk` keys are dropped by ordinary
//! commits (operation `evicted`), chosen by sampling as in Redis. A key that is not in memory
//! counts as used least; among those the choice is random.

pub mod defrag;
pub mod policy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

pub use policy::Policy;

use crate::env::{Clock, FileSystem};
use crate::error::Result;
use crate::ids::DbIndex;
use crate::keyspace::store::{DATABASES, Store};
use crate::txn::{CommitError, Core, Mode, Scratch, Wait};
use crate::wal::effect::Operation;

/// Keys that compete to be dropped.
const SAMPLE: usize = 8;
/// Most keys that one call drops.
const SLICE: usize = 64;
/// Free bytes of the file system below which writes are refused, so that deletions, the log and
/// compaction have room to bring space back.
const FREE_MIN: u64 = 64 << 20;

/// Watches the disk and drops keys in cache mode.
pub struct DiskGuard {
    core: Arc<Core>,
    clock: Arc<dyn Clock>,
    files: Arc<dyn FileSystem>,
    dir: std::path::PathBuf,
    policy: AtomicU8,
    maxdisk: AtomicU64,
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
            policy: AtomicU8::new(0),
            maxdisk: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            used_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            random,
        })
    }

    /// Sets the policy and the bound in bytes (0: none).
    pub fn configure(&self, policy: Policy, maxdisk: u64) {
        self.policy.store(policy as u8, Ordering::Relaxed);
        self.maxdisk.store(maxdisk, Ordering::Relaxed);
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy::from_code(self.policy.load(Ordering::Relaxed))
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
        let policy = self.policy();
        // What compaction has yet to remove does not count against a cache.
        let rows = if policy == Policy::NoEviction { cold.disk_bytes } else { cold.live_data_bytes };
        let used = rows + log;
        self.used_bytes.store(used, Ordering::Relaxed);
        self.free_bytes.store(free, Ordering::Relaxed);
        let maxdisk = self.maxdisk.load(Ordering::Relaxed);
        let is_over = maxdisk > 0 && used > maxdisk;
        let refuses = free < FREE_MIN || (is_over && policy == Policy::NoEviction);
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
            let (count, bytes) = self.drop_some(policy)?;
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
    fn drop_some(&self, policy: Policy) -> Result<(u64, u64)> {
        let (mut count, mut bytes) = (0, 0);
        for _ in 0..SLICE {
            let Some(victim) = self.choose(policy)? else { break };
            if let Some(size) = self.drop_key(&victim)? {
                count += 1;
                bytes += size;
            }
        }
        Ok((count, bytes))
    }

    /// The least valuable of a sample.
    fn choose(&self, policy: Policy) -> Result<Option<Candidate>> {
        let store = &self.core.store;
        let mut best: Option<Candidate> = None;
        for db in (0..DATABASES as u8).map(DbIndex) {
            if store.totals(store.db_id(db)).0 == 0 {
                continue;
            }
            let step = store.scan(db, self.random() as u32, SAMPLE as u64, 0)?;
            for (key, _) in step.keys.into_iter().take(SAMPLE * 4) {
                let Some(worth) = self.worth(policy, db, &key) else { continue };
                if best.as_ref().is_none_or(|best| worth < best.worth) {
                    best = Some(Candidate { db, key, worth });
                }
            }
        }
        Ok(best)
    }

    /// How much a key is worth keeping; `None` if the policy does not drop it.
    fn worth(&self, policy: Policy, db: DbIndex, key: &[u8]) -> Option<u64> {
        let store = &self.core.store;
        let hash = store.hasher.hash(key);
        let id = store.db_id(db);
        let hot = {
            let shard = store.lock(hash.shard);
            let entry = shard.db(id).and_then(|part| part.table.find(hash, key));
            entry.map(|entry| (entry.freq(), entry.deadline()))
        };
        // The row is read with no lock held.
        let (freq, deadline) = match hot {
            Some((freq, deadline)) => (Some(freq), deadline),
            None => (None, cold_deadline(store, id, hash.bucket, key)),
        };
        if policy.is_volatile() && deadline.is_none() {
            return None;
        }
        Some(match policy {
            Policy::NoEviction => return None,
            Policy::AllKeysRandom | Policy::VolatileRandom => self.random(),
            Policy::VolatileTtl => deadline.map_or(u64::MAX, |at| at.0),
            // The counter falls with every lap of the clock and rises with use: it is both.
            _ => freq.map_or(0, |freq| 1 + u64::from(freq)),
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
            let size = txn.peek(&victim.key).map(|found| found.map(|found| found.heap_bytes as u64));
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
