//! The keyspace as a whole: all shards, the database map, and the two tiers side by side.
//!
//! Everything that live commands, write-back and recovery share, and nothing that needs the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::entry::flag;
use super::hash::{KeyHash, KeyHasher, SHARDS};
use super::held::{self, ShardGuard};
use super::pins::PinPool;
use super::shard::{Applied, DbShard, Origin, Shard};
use super::side::OpenSnapshots;
use super::stale::StaleHint;
use super::usage::{UsageRules, UsedAt};
use crate::error::Result;
use crate::failpoint::Break;
use crate::ids::{DbId, DbIndex, ExpireAt, Incarnation, Lsn, ShardId};
use crate::tier::ColdStore;
use crate::wal::effect::{Change, Effect};

/// Number of databases a client can select.
pub const DATABASES: usize = 16;

/// A deadline this near is watched in memory from the commit on; later ones come back from the
/// `expires` family, where a checkpoint round has put them long before.
pub const NEAR_MS: u64 = 180_000;

/// Entries that the evictor looks at for one commit or promotion, and when much has to go.
const VISITS: usize = 16;
const VISITS_MANY: usize = 64;

/// Shards, database map and cold tier.
pub struct Store {
    pub hasher: KeyHasher,
    pub cold: Arc<dyn ColdStore>,
    shards: Box<[Mutex<Shard>]>,
    /// What each client-visible database number means. Changed with all shards locked.
    map: [AtomicU32; DATABASES],
    map_versions: [AtomicU64; DATABASES],
    next_db: AtomicU32,
    /// Databases that died, with the LSN of their death, until their rows are dropped.
    pub dead_dbs: Mutex<Vec<(DbId, Lsn)>>,
    /// Tables of dead databases, to be freed outside of any lock. Their shards still count their bytes.
    graveyard: Mutex<Vec<(ShardId, DbShard)>>,
    /// Held by who clears it: when a clearing returns, none is half done elsewhere.
    clearing: Mutex<()>,
    /// Bytes the hot tier may use; re-divided every second.
    pub hot_limit: AtomicUsize,
    /// Bytes the filter of one database in one shard may use.
    pub filter_limit: AtomicUsize,
    /// Set when something was spilled or recovered: not every key need be in memory.
    pub has_cold: AtomicBool,
    /// Set when replay left entries that wait for their base rows.
    pub has_unresolved: AtomicBool,
    /// Set when a shard stayed over its share: the keeper should look.
    wants_relief: AtomicBool,
    /// Transactions under way that may hold their locks for long.
    long: AtomicUsize,
    /// What commands keep in memory while they run.
    pub pins: PinPool,
    /// Whether and how uses are counted.
    pub usage: UsageRules,
    incarnations: AtomicU64,
    /// Highest LSN of any row that went to the cold tier tied to others.
    pub moved_lsn: AtomicU64,
    /// Deadlines up to this may have been loaded from the `expires` family: a hint that is written now
    /// would not be read.
    pub expires_loaded: AtomicU64,
    /// Open snapshots and the bound on what they keep.
    pub snapshots: Arc<OpenSnapshots>,
    pub stats: StoreStats,
    /// At which point the process is to end (DEBUG CRASH-AT).
    pub crash: crate::failpoint::CrashSwitch,
    /// Which failpoints are on; all off unless the feature `failpoints` is compiled in.
    pub failpoints: crate::failpoint::Failpoints,
}

/// A transaction that may hold its locks for long is under way.
pub struct Long<'s>(&'s Store);

impl Drop for Long<'_> {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counters since the store was opened.
#[derive(Default)]
pub struct StoreStats {
    pub promoted: AtomicU64,
    pub evicted: AtomicU64,
    pub written_back: AtomicU64,
    pub expired: AtomicU64,
    pub dropped: AtomicU64,
    pub fetches: AtomicU64,
    pub cached_answers: AtomicU64,
    pub rounds: AtomicU64,
    pub restarts: AtomicU64,
    pub relocated: AtomicU64,
}

impl Store {
    /// A store over a cold tier. `epoch` numbers this opening (never repeated).
    pub fn new(seed: u64, epoch: u64, cold: Arc<dyn ColdStore>, hot_limit: usize) -> Store {
        let hasher = KeyHasher::new(seed);
        Store {
            hasher,
            cold,
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(hasher))).collect(),
            map: std::array::from_fn(|i| AtomicU32::new(i as u32)),
            map_versions: Default::default(),
            next_db: AtomicU32::new(DATABASES as u32),
            dead_dbs: Mutex::new(Vec::new()),
            graveyard: Mutex::new(Vec::new()),
            clearing: Mutex::new(()),
            hot_limit: AtomicUsize::new(hot_limit),
            filter_limit: AtomicUsize::new(usize::MAX),
            has_cold: AtomicBool::new(false),
            has_unresolved: AtomicBool::new(false),
            wants_relief: AtomicBool::new(false),
            long: AtomicUsize::new(0),
            pins: PinPool::default(),
            usage: UsageRules::default(),
            incarnations: AtomicU64::new(epoch << 40),
            moved_lsn: AtomicU64::new(0),
            expires_loaded: AtomicU64::new(0),
            snapshots: Arc::default(),
            stats: StoreStats::default(),
            crash: crate::failpoint::CrashSwitch::default(),
            failpoints: crate::failpoint::Failpoints::default(),
        }
    }

    /// Says that a transaction begins which may hold its locks for long, until the answer is dropped. Those who
    /// serve clients do not wait for it on their threads ([`crate::txn::Core::try_begin`]).
    pub fn begin_long(&self) -> Long<'_> {
        // ORDERING: before the first lock of the transaction; who then meets a lock of it sees this.
        self.long.fetch_add(1, Ordering::SeqCst);
        Long(self)
    }

    /// Whether such a transaction is under way.
    #[inline]
    #[must_use]
    pub fn has_long(&self) -> bool {
        self.long.load(Ordering::SeqCst) > 0
    }

    /// Notes when the store was opened: whatever is cold was used then at the latest.
    pub fn note_opening(&self, now: UsedAt) {
        Store::shard_ids().for_each(|id| self.lock(id).cold_used_at = now);
    }

    /// The shard's lock.
    #[inline]
    pub fn shard(&self, id: ShardId) -> &Mutex<Shard> {
        &self.shards[id.0 as usize]
    }

    /// Locks one shard, unless the calling thread has locked all for a transaction: what runs inside one
    /// then looks at the shard under its lock. The guard is for the scope it is made in.
    #[inline]
    pub(crate) fn lock(&self, id: ShardId) -> ShardGuard<'_> {
        held::lock(self, &self.shards[id.0 as usize])
    }

    /// All shards in lock order.
    pub fn shard_ids() -> impl Iterator<Item = ShardId> {
        (0..SHARDS as u8).map(ShardId)
    }

    /// What a database number means now. Stable while any shard is locked.
    #[inline]
    pub fn db_id(&self, index: DbIndex) -> DbId {
        // ORDERING: changed only with all shards locked; the shard's lock orders it.
        DbId(self.map[index.0 as usize].load(Ordering::Relaxed))
    }

    /// How often a database got another content as a whole since the store was opened. Stable while any
    /// shard is locked.
    #[must_use]
    pub fn map_version(&self, index: DbIndex) -> u64 {
        // ORDERING: as in `db_id`.
        self.map_versions[index.0 as usize].load(Ordering::Relaxed)
    }

    /// The number under which clients know a database; `None` if it is dead.
    pub fn db_index(&self, id: DbId) -> Option<DbIndex> {
        (0..DATABASES as u8).map(DbIndex).find(|index| self.db_id(*index) == id)
    }

    /// The whole database map and the next id to allot.
    pub fn map_image(&self) -> ([DbId; DATABASES], DbId) {
        let map = std::array::from_fn(|i| DbId(self.map[i].load(Ordering::Relaxed)));
        (map, DbId(self.next_db.load(Ordering::Relaxed)))
    }

    /// Sets the whole database map (recovery).
    pub fn set_map(&self, map: [DbId; DATABASES], next: DbId) {
        for (slot, id) in self.map.iter().zip(map) {
            slot.store(id.0, Ordering::Relaxed);
        }
        self.next_db.store(next.0, Ordering::Relaxed);
    }

    /// Allots a database id that was never used.
    pub fn allot_db(&self) -> DbId {
        DbId(self.next_db.fetch_add(1, Ordering::Relaxed))
    }

    /// Allots an incarnation that was never used.
    pub fn allot_incarnation(&self) -> Incarnation {
        Incarnation(self.incarnations.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Applies the database map changes of one commit. All shards are given, locked.
    pub fn remap(&self, changes: &[(DbIndex, DbId)], lsn: Lsn, shards: &mut [&mut Shard]) {
        let (mut map, mut next) = self.map_image();
        let before = map;
        for (index, id) in changes {
            if let Some(slot) = map.get_mut(index.0 as usize) {
                *slot = *id;
                self.map_versions[index.0 as usize].fetch_add(1, Ordering::Relaxed);
            }
            next = next.max(DbId(id.0 + 1));
        }
        self.set_map(map, next);
        for id in before.into_iter().filter(|id| !map.contains(id)) {
            for (shard_id, shard) in Store::shard_ids().zip(shards.iter_mut()) {
                if let Some(part) = shard.remove_db(id) {
                    self.graveyard.lock().push((shard_id, part));
                }
                shard.gone_lsn = shard.gone_lsn.max(lsn);
            }
            self.dead_dbs.lock().push((id, lsn));
            self.wants_relief.store(true, Ordering::Relaxed);
        }
    }

    /// Frees tables of dead databases, with no lock held, until about so many entries are gone. Until then
    /// they count as used, as they are; to walk them with all shards locked would stop everybody.
    pub fn clear_graveyard(&self, entries_max: usize) {
        let _alone = self.clearing.lock();
        let mut entries = 0;
        while entries < entries_max {
            let Some((id, part)) = self.graveyard.lock().pop() else { return };
            entries += part.table.len();
            let (mut bytes, mut dirty_bytes) = (0, 0);
            part.table.for_each(|entry| {
                bytes += entry.heap_bytes();
                dirty_bytes += if entry.has(flag::DIRTY) { entry.heap_bytes() } else { 0 };
            });
            drop(part);
            let mut shard = self.lock(id);
            shard.bytes -= bytes;
            shard.dirty_bytes -= dirty_bytes;
        }
    }

    /// Whether a client's view includes this database.
    pub fn is_live(&self, id: DbId) -> bool {
        self.db_index(id).is_some()
    }

    /// Applies one keyed effect to a locked shard, and arms the reaper.
    #[inline]
    pub fn apply(
        &self,
        shard: &mut Shard,
        hash: KeyHash,
        effect: &Effect<'_>,
        lsn: Lsn,
        origin: Origin,
        now_ms: u64,
    ) -> Result<Applied> {
        debug_assert!(!matches!(effect.change, Change::MapDb { .. }));
        shard.now = UsedAt::new(now_ms);
        shard.near_until = ExpireAt(now_ms + NEAR_MS);
        let applied = shard.apply(hash, effect, lsn, origin)?;
        if self.failpoints.breaks(Break::DeletionsAreEntries)
            && matches!(effect.change, Change::Delete { .. })
        {
            shard.drop_tombstone(effect.db, hash, effect.key);
        }
        if let Some(at) = applied.deadline
            && self.is_near(at, now_ms)
        {
            shard.arm(hash, effect.db, effect.key, at, applied.deadline_before);
            shard.thin_out_near(ExpireAt(self.expires_loaded.load(Ordering::Relaxed)));
        }
        if let Some(at) = applied.element_deadline.filter(|at| self.is_near(*at, now_ms)) {
            shard.watch(at, effect.db, hash.bucket);
            shard.thin_out_near(ExpireAt(self.expires_loaded.load(Ordering::Relaxed)));
        }
        if let Some(at) = applied.stale_hint {
            let (db, key) = (effect.db, Box::from(effect.key));
            shard.stale_hints.push(StaleHint { db, at, key, is_of_elements: false, lsn });
        }
        if let Some(at) = applied.stale_element_hint {
            shard.stale_hints.note_elements(effect.db, hash, effect.key, at, lsn);
        }
        Ok(applied)
    }

    /// Whether a deadline must be watched in memory: the reaper will not read, or has already
    /// read past, its place in the `expires` family.
    #[inline]
    pub fn is_near(&self, at: ExpireAt, now_ms: u64) -> bool {
        at.0 <= now_ms + NEAR_MS || at.0 <= self.expires_loaded.load(Ordering::Relaxed)
    }

    /// Frees a little memory of a shard that is over its share: clean entries that were not used
    /// lately, after a few visits of the clock, so that it costs a microsecond or two.
    #[inline]
    pub fn relieve(&self, shard: &mut Shard) {
        let share = self.hot_limit.load(Ordering::Relaxed) / SHARDS;
        if shard.bytes > share {
            self.relieve_over(shard, share);
        }
    }

    fn relieve_over(&self, shard: &mut Shard, share: usize) {
        if self.failpoints.breaks(Break::OneBudget) {
            return;
        }
        let excess = shard.bytes - share;
        // Among dirty entries the hand would turn in vain; the keeper has to clean some first.
        if shard.bytes - shard.dirty_bytes > share / 8 {
            let visits = if excess > share / 32 { VISITS_MANY } else { VISITS };
            let (_, evicted) = shard.evict_clean(excess, visits);
            if evicted > 0 {
                self.stats.evicted.fetch_add(evicted, Ordering::Relaxed);
            }
        }
        if shard.bytes > share {
            self.wants_relief.store(true, Ordering::Relaxed);
        }
    }

    /// What the failpoint of the expiry invariant does: keys vanish from memory without a record.
    pub fn drop_unlogged(&self, db: DbId, keys: &[Box<[u8]>]) -> Result<()> {
        for key in keys {
            let hash = self.hasher.hash(key);
            let mut shard = self.lock(hash.shard);
            if let Some(part) = shard.db_mut(db)
                && part.table.remove(hash, key).is_some()
            {
                part.keys -= 1;
                part.hot -= 1;
            }
        }
        Ok(())
    }

    /// Whether a shard stayed over its share since the keeper last looked.
    pub fn wants_relief(&self) -> bool {
        self.wants_relief.load(Ordering::Relaxed)
    }

    /// The keeper is looking.
    pub fn clear_relief(&self) {
        self.wants_relief.store(false, Ordering::Relaxed);
    }

    /// Bytes of all entries, and of the dirty ones.
    pub fn hot_bytes(&self) -> (usize, usize) {
        Store::shard_ids().fold((0, 0), |(bytes, dirty), id| {
            let shard = self.lock(id);
            (bytes + shard.bytes, dirty + shard.dirty_bytes)
        })
    }

    /// Reads that found their key, and that did not.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        Store::shard_ids().fold((0, 0), |(hits, misses), id| {
            let shard = self.lock(id);
            (hits + shard.hits, misses + shard.misses)
        })
    }

    /// Keys in memory, of all databases.
    #[must_use]
    pub fn hot_keys(&self) -> u64 {
        Store::shard_ids().map(|id| self.lock(id).dbs().iter().map(|part| part.hot).sum::<u64>()).sum()
    }

    /// Keys and keys with a deadline of one database.
    pub fn totals(&self, db: DbId) -> (u64, u64) {
        Store::shard_ids().fold((0, 0), |(keys, expires), id| {
            let shard = self.lock(id);
            shard.db(db).map_or((keys, expires), |part| (keys + part.keys, expires + part.expires))
        })
    }
}
