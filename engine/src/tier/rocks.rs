//! The RocksDB tier: the only file that names RocksDB.
//!
//! It owns one RocksDB instance with a column family per [`Family`] (RocksDB's own `default` has one
//! row, the number of the last flush), one block cache and one write buffer manager, both shared by all families. RocksDB's
//! log is off, and its flushes are atomic over all families: what a crash leaves is therefore the
//! state after some whole batch, and not before the last [`ColdStore::flush`].
//!
//! It is tuned for a process that may use a few hundred MiB: whatever RocksDB keeps in memory is
//! either charged to the block cache (blocks, indexes, filters, memtables) or bounded by a number
//! of files. The numbers next to the options come from 2.6 million rows of 400 bytes on two cores,
//! read from the page cache with 16 MiB of cache and 8 MiB of memtables.
//!
//! It never retries: a failed write or flush is an error, and so are all later ones until the
//! process restarts. Only a full disk is different: RocksDB resumes when space has returned.
//! Closing does not flush, so that closing after a failure does not write past it.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BottommostLevelCompaction, Cache, ChecksumType, ColumnFamily,
    ColumnFamilyDescriptor, CompactOptions, DB, DBCompressionType, DBRawIterator, ErrorKind, FlushOptions,
    LogLevel, LruCacheOptions, Options, ReadOptions, SnapshotWithThreadMode, WriteBatch, WriteBufferManager,
    WriteOptions, properties,
};

use super::compaction::CompactionControl;
use super::{
    ColdBatch, ColdCursor, ColdMemory, ColdSnapshot, ColdStats, ColdStore, DirectIo, Family, FamilyStats,
    Lookup, ReadTier,
};
use crate::env::lower_priority;
use crate::error::{Error, Result};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// Milliseconds that a write waits for flushes at most.
const MEMTABLE_WAITS: u32 = 2000;

/// RocksDB's own family, and its only row: the number of the last flush, 8 bytes, big endian.
const DEFAULT_FAMILY: &str = "default";
const FLUSH_ROW: &[u8] = b"flush";
/// How often the files are looked at for it, and how many times before the flush is repeated.
const FLUSH_POLL: Duration = Duration::from_millis(1);
const FLUSH_POLLS: u32 = 100;

/// Levels of every family; RocksDB's default, and enough for 10^7 times level 0.
const LEVELS: usize = 7;

/// What a store is opened with. Only `dir`, `create` and the compression of the last level
/// concern the data; the rest may differ at every open.
#[derive(Clone, Debug)]
pub struct RocksConfig {
    /// RocksDB's folder.
    pub dir: PathBuf,
    /// Creates the store if the folder holds none.
    pub create: bool,
    /// Memory for blocks, indexes and filters.
    pub cache_bytes: usize,
    /// Memory for memtables, those being flushed included.
    pub memtable_bytes: usize,
    /// Files RocksDB keeps open; each costs a descriptor and some KiB of heap. A read of any other
    /// file opens it anew.
    pub max_open_files: usize,
    /// Threads for flushes and compactions together.
    pub background_jobs: usize,
    /// What bypasses the page cache, where the file system can.
    pub direct: DirectIo,
    /// Compresses the last level with zstd instead of LZ4: smaller, and slower to read.
    pub zstd_bottom: bool,
}

impl RocksConfig {
    /// The configuration of a store that creates itself and takes about a sixth of a process
    /// budget: an eighth for blocks, a twentieth for memtables.
    #[must_use]
    pub fn for_budget(dir: impl Into<PathBuf>, budget_bytes: u64) -> Self {
        let budget = usize::try_from(budget_bytes).unwrap_or(usize::MAX);
        let (cache_bytes, memtable_bytes) = super::memory_division(budget_bytes);
        RocksConfig {
            dir: dir.into(),
            create: true,
            cache_bytes,
            memtable_bytes,
            max_open_files: max_open_files(budget_bytes),
            background_jobs: if budget < GIB { 2 } else { 4 },
            direct: DirectIo::default(),
            zstd_bottom: false,
        }
    }
}

/// How many files a store of this budget keeps open, with the descriptors that the process may have now.
fn max_open_files(budget_bytes: u64) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = super::open_files_max(budget_bytes, limit.unwrap_or(u64::MAX));
    usize::try_from(files).unwrap_or(usize::MAX)
}

/// A [`ColdStore`] in RocksDB.
pub struct RocksStore {
    db: Arc<OpenDb>,
    cache: Cache,
    memtables: WriteBufferManager,
    memtable_bytes: AtomicUsize,
    /// Of the cache, memtables included.
    capacity_bytes: AtomicUsize,
    read_disk: ReadOptions,
    read_cached: ReadOptions,
    /// Reads what is in files only, no memtable.
    read_files: ReadOptions,
    /// Number of the last flush. Grows over restarts, so that no file has a later one.
    flushes: Mutex<u64>,
    unlogged: WriteOptions,
    compaction: CompactionControl,
}

/// The instance. It closes when the store and its last snapshot are gone.
struct OpenDb(DB);

impl Deref for OpenDb {
    type Target = DB;

    fn deref(&self) -> &DB {
        &self.0
    }
}

impl Drop for OpenDb {
    fn drop(&mut self) {
        // Compactions are abandoned, not awaited to their end; their inputs are still there.
        self.0.cancel_all_background_work(true);
    }
}

impl OpenDb {
    fn family(&self, family: Family) -> &ColumnFamily {
        self.cf_handle(family.name()).expect("open creates every family and none is ever dropped")
    }
}

impl RocksStore {
    /// Opens the store in `config.dir`, or creates it if allowed.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process (or this one) has it open, [`Error::Corruption`] if
    /// its files are damaged, [`Error::Format`] if it has families this version does not know,
    /// [`Error::Io`] of kind `NotFound` if it is not there and may not be created.
    pub fn open(config: RocksConfig) -> Result<RocksStore> {
        if config.create {
            fs::create_dir_all(&config.dir).map_err(|e| Error::io("create", &config.dir, e))?;
        } else if !config.dir.join("CURRENT").exists() {
            return Err(Error::io("open", &config.dir, io::ErrorKind::NotFound.into()));
        }
        let mut cache_options = LruCacheOptions::default();
        // Memtables are charged to the cache, so its capacity is the sum.
        cache_options.set_capacity(config.cache_bytes + config.memtable_bytes);
        // Few shards, or one shard's index and filter blocks can push each other out while
        // another has room.
        cache_options.set_num_shard_bits(2);
        let cache = Cache::new_lru_cache_opts(&cache_options);
        let memtables = WriteBufferManager::new_write_buffer_manager_with_cache(
            config.memtable_bytes,
            // Back-pressure is the engine's; a stall in here would hold whoever writes back.
            false,
            cache.clone(),
        );
        let options = database_options(&config, &memtables)?;
        // RocksDB's `default` must be opened too, and has to share the cache.
        let names = Family::ALL.map(|family| (family.name(), family)).into_iter();
        let families = names
            .chain([(DEFAULT_FAMILY, Family::Meta)])
            .map(|(name, family)| ColumnFamilyDescriptor::new(name, family_options(&config, family, &cache)));
        // RocksDB's threads inherit the priority of the one that opens it. The lowest, which RocksDB
        // itself would give them, starves compactions wherever anything else runs: files pile up in
        // level 0 (25 of them, measured) and every read looks into each.
        let open = || {
            lower_priority();
            DB::open_cf_descriptors(&options, &config.dir, families)
        };
        let opened = std::thread::scope(|scope| scope.spawn(open).join());
        let db = match opened {
            Ok(db) => db.map_err(|error| open_error(&config.dir, error))?,
            Err(panic) => std::panic::resume_unwind(panic),
        };

        // The default fills the cache. Keeping rows out of it (they go to the hot tier) would keep
        // index and filter blocks out too: 15 instead of 11 us per row, 5 instead of 2 if absent.
        let read_disk = ReadOptions::default();
        let mut read_cached = ReadOptions::default();
        read_cached.set_read_tier(rocksdb::ReadTier::BlockCache);
        let mut read_files = ReadOptions::default();
        read_files.set_read_tier(rocksdb::ReadTier::Persisted);
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        let db = Arc::new(OpenDb(db));
        let row = db.get(FLUSH_ROW).map_err(|error| store_error("read", &config.dir, error))?;
        let flushes = row.and_then(|row| decode_flush(&row)).unwrap_or(0);
        Ok(RocksStore {
            db,
            cache,
            memtables,
            memtable_bytes: AtomicUsize::new(config.memtable_bytes),
            capacity_bytes: AtomicUsize::new(config.cache_bytes + config.memtable_bytes),
            read_disk,
            read_cached,
            read_files,
            flushes: Mutex::new(flushes),
            unlogged,
            compaction: CompactionControl::default(),
        })
    }

    /// The folder of the store.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.db.path()
    }

    fn error(&self, op: &'static str, error: rocksdb::Error) -> Error {
        store_error(op, self.dir(), error)
    }

    fn get_with<'a>(
        &self,
        family: &ColumnFamily,
        key: &[u8],
        options: &ReadOptions,
        out: &'a mut Vec<u8>,
    ) -> Result<Lookup<'a>> {
        out.clear();
        match self.db.get_pinned_cf_opt(family, key, options) {
            Ok(Some(value)) => {
                out.extend_from_slice(&value);
                Ok(Lookup::Found(out))
            }
            Ok(None) => Ok(Lookup::Absent),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Lookup::NotCached),
            Err(error) => Err(self.error("read", error)),
        }
    }

    /// Memtables that are being flushed keep their memory: a writer faster than the disk would take
    /// it all. Only write-back comes here, and it can wait.
    fn wait_for_memtables(&self) {
        for _ in 0..MEMTABLE_WAITS {
            // ORDERING: a bound; one read late is as good.
            let limit = self.memtable_bytes.load(Ordering::Relaxed);
            if self.memtables.get_usage() <= limit + limit / 2 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn flush_families(&self) -> Result<()> {
        let default = self.db.cf_handle(DEFAULT_FAMILY).expect("open creates it");
        let mut families = vec![default];
        families.extend(Family::ALL.map(|family| self.db.family(family)));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        // DURABILITY: RocksDB syncs the new files and then one MANIFEST record that names those
        // of all families. A crash before that record leaves the state of the flush before, with
        // orphaned files that the next open deletes.
        self.db.flush_cfs_opt(&families, &options).map_err(|error| self.error("flush", error))
    }

    /// Whether the files hold what was written before the flush of this number.
    ///
    /// RocksDB does not always wait for that: `DBImpl::AtomicFlushMemTables` (11.8.1) hands each family
    /// the id of a memtable to wait for in the order of a hash map, which is not that of the families.
    /// While another flush is under way, because memory ran short, it may therefore return when that one
    /// is done and its own is not; a crash then loses what its caller has begun to rely on.
    fn is_flushed(&self, number: u64) -> Result<bool> {
        let row = self.db.get_opt(FLUSH_ROW, &self.read_files).map_err(|error| self.error("read", error))?;
        Ok(row.and_then(|row| decode_flush(&row)) == Some(number))
    }

    /// A row as the files have it, whatever the memtables say.
    #[cfg(test)]
    pub(super) fn in_files(&self, family: Family, key: &[u8]) -> Option<Vec<u8>> {
        self.db.get_cf_opt(self.db.family(family), key, &self.read_files).expect("a readable row")
    }

    /// A number RocksDB keeps, of one family or of the database; 0 if it does not know it.
    fn number(&self, family: Family, name: &properties::PropName) -> u64 {
        self.db.property_int_value_cf(self.db.family(family), name).ok().flatten().unwrap_or(0)
    }

    fn family_stats(&self, family: Family) -> FamilyStats {
        let files_at = |level| {
            self.db
                .property_value_cf(self.db.family(family), properties::num_files_at_level(level))
                .ok()
                .flatten()
                .and_then(|count| count.parse().ok())
                .unwrap_or(0)
        };
        FamilyStats {
            name: family.name(),
            rows_estimate: self.number(family, properties::ESTIMATE_NUM_KEYS),
            sst_bytes: self.number(family, properties::LIVE_SST_FILES_SIZE),
            files_per_level: (0..LEVELS).map(files_at).collect(),
        }
    }

    /// The pieces of a family's key range that a manual compaction takes one by one, and about how many
    /// bytes each reads.
    ///
    /// The crate has no way to stop or slow down one that runs, so [`ColdStore::cancel_compactions`]
    /// and its like act between pieces. Their bounds follow the files of the deepest level, so that
    /// none of these is rewritten twice. With a limit they are small, for a steadier pace.
    fn compaction_pieces(
        &self,
        family: Family,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
    ) -> Result<(Vec<Piece>, u64)> {
        let mut files = self.db.live_files().map_err(|error| self.error("list files", error))?;
        files.retain(|file| {
            file.column_family_name == family.name()
                && upper.is_none_or(|upper| file.start_key.as_deref().is_some_and(|key| key < upper))
                && lower.is_none_or(|lower| file.end_key.as_deref().is_some_and(|key| key >= lower))
        });
        let bytes: usize = files.iter().map(|file| file.size).sum();
        let deepest = files.iter().map(|file| file.level).max().unwrap_or(0);
        // Files of level 0 overlap: they go in one piece.
        files.retain(|file| file.level == deepest && file.level > 0);
        let mut ends: Vec<&[u8]> = files.iter().filter_map(|file| file.end_key.as_deref()).collect();
        ends.sort_unstable();
        let step = if self.compaction.bytes_per_second() > 0 { 1 } else { FILES_PER_PIECE };
        let pieces = compaction_pieces(&ends, step, lower, upper);
        let bytes_each = (bytes / pieces.len().max(1)) as u64;
        Ok((pieces, bytes_each))
    }
}

fn decode_flush(row: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(row.try_into().ok()?))
}

/// A key range for a manual compaction, both ends included; `None` is the end of the family.
pub(super) struct Piece {
    pub(super) from: Option<Vec<u8>>,
    pub(super) to: Option<Vec<u8>>,
}

/// Files of the deepest level that a manual compaction rewrites together.
const FILES_PER_PIECE: usize = 8;

/// Cuts a key range after every `step` of the files that end at `ends`, in order.
pub(super) fn compaction_pieces(
    ends: &[&[u8]],
    step: usize,
    lower: Option<&[u8]>,
    upper: Option<&[u8]>,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut from = lower.map(<[u8]>::to_vec);
    // The last file belongs to the last piece, which reaches to `upper`.
    let inner = &ends[..ends.len().saturating_sub(1)];
    for files in inner.chunks_exact(step) {
        let cut = files[step - 1];
        pieces.push(Piece { from: from.take(), to: Some(cut.to_vec()) });
        // The first key after `cut`.
        from = Some([cut, &[0]].concat());
    }
    pieces.push(Piece { from, to: upper.map(<[u8]>::to_vec) });
    pieces
}

impl ColdStore for RocksStore {
    fn get<'a>(
        &self,
        family: Family,
        key: &[u8],
        tier: ReadTier,
        out: &'a mut Vec<u8>,
    ) -> Result<Lookup<'a>> {
        let options = match tier {
            ReadTier::Cached => &self.read_cached,
            ReadTier::Disk => &self.read_disk,
        };
        self.get_with(self.db.family(family), key, options, out)
    }

    fn multi_get(
        &self,
        family: Family,
        keys: &[&[u8]],
        tier: ReadTier,
        each: &mut dyn FnMut(usize, Lookup<'_>),
    ) -> Result<()> {
        debug_assert!(keys.is_sorted(), "the keys of a batched read are sorted");
        let family = self.db.family(family);
        if tier == ReadTier::Cached {
            // One by one: with the index in the cache, RocksDB's MultiGet reads data blocks from
            // the disk whatever the tier. Its Get answers Incomplete.
            let mut out = Vec::new();
            for (index, key) in keys.iter().enumerate() {
                each(index, self.get_with(family, key, &self.read_cached, &mut out)?);
            }
            return Ok(());
        }
        let rows = self.db.batched_multi_get_cf_opt(family, keys.iter().copied(), true, &self.read_disk);
        for (index, row) in rows.into_iter().enumerate() {
            match row {
                Ok(Some(value)) => each(index, Lookup::Found(&value)),
                Ok(None) => each(index, Lookup::Absent),
                Err(error) => return Err(self.error("read", error)),
            }
        }
        Ok(())
    }

    fn write(&self, batch: &ColdBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.wait_for_memtables();
        // Per row: its bytes and at most 16 of header.
        let mut rocks = WriteBatch::with_capacity_bytes(batch.bytes() + 16 * batch.len() + 16);
        let families = Family::ALL.map(|family| self.db.family(family));
        for (family, key, value) in batch.iter() {
            let family = families[family as usize];
            match value {
                Some(value) => rocks.put_cf(family, key, value),
                None => rocks.delete_cf(family, key),
            }
        }
        self.db.write_opt(rocks, &self.unlogged).map_err(|error| self.error("write", error))
    }

    fn flush(&self) -> Result<()> {
        // One at a time: each looks for its own number.
        let mut number = self.flushes.lock();
        *number += 1;
        self.db
            .put_opt(FLUSH_ROW, number.to_be_bytes(), &self.unlogged)
            .map_err(|error| self.error("write", error))?;
        self.flush_families()?;
        let mut polls = 0;
        while !self.is_flushed(*number)? {
            std::thread::sleep(FLUSH_POLL);
            polls += 1;
            if polls % FLUSH_POLLS == 0 {
                // A failure in the background is reported here only.
                self.flush_families()?;
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn ColdSnapshot> {
        Box::new(RocksSnapshot::new(&self.db))
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
        snapshot: Option<&'a dyn ColdSnapshot>,
    ) -> Result<Box<dyn ColdCursor + 'a>> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(lower);
        // Without a bound the iterator would read on through all tombstones behind the range.
        options.set_iterate_upper_bound(upper);
        // Files that a compaction replaced meanwhile are deleted by its thread, not by ours.
        options.set_background_purge_on_iterator_cleanup(true);
        if let Some(snapshot) = snapshot {
            let snapshot = snapshot
                .as_any()
                .downcast_ref::<RocksSnapshot>()
                .filter(|snapshot| Arc::ptr_eq(&snapshot.db, &self.db))
                .expect("a snapshot is read through the store that made it");
            options.set_snapshot(&snapshot.inner);
            // Long reads pass each block once.
            options.fill_cache(false);
        }
        let is_empty = lower >= upper;
        let iterator = self.db.raw_iterator_cf_opt(self.db.family(family), options);
        Ok(Box::new(RocksCursor { store: self, iterator, is_empty, is_positioned: false }))
    }

    fn drop_range(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<()> {
        if lower >= upper {
            return Ok(());
        }
        let handle = self.db.family(family);
        // Files first: they cost one MANIFEST record, and what goes with them needs no tombstone.
        let last = last_before(upper);
        if lower <= last.as_slice() {
            self.db
                .delete_file_in_range_cf(handle, lower, &last)
                .map_err(|error| self.error("delete files", error))?;
        }
        // Memtables, level 0 and files across a bound keep rows of the range.
        self.db
            .delete_range_cf_opt(handle, lower, upper, &self.unlogged)
            .map_err(|error| self.error("delete a range", error))
    }

    fn compact(
        &self,
        family: Family,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
        bottom: bool,
    ) -> Result<bool> {
        let began = self.compaction.begin();
        let mut options = CompactOptions::default();
        // Automatic compactions go on meanwhile.
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(if bottom {
            BottommostLevelCompaction::ForceOptimized
        } else {
            BottommostLevelCompaction::Skip
        });
        let (pieces, bytes_each) = self.compaction_pieces(family, lower, upper)?;
        let mut done = 0;
        for piece in pieces {
            if !self.compaction.may_go_on(began, done) {
                return Ok(false);
            }
            self.db.compact_range_cf_opt(self.db.family(family), piece.from, piece.to, &options);
            done = bytes_each;
        }
        Ok(true)
    }

    fn cancel_compactions(&self) {
        self.compaction.cancel();
    }

    fn pause_compactions(&self, is_paused: bool) -> Result<()> {
        // With it, RocksDB no longer stops writes for the number of files in level 0 either. It is not
        // kept: the next open has automatic compactions.
        let value = if is_paused { "true" } else { "false" };
        for family in Family::ALL {
            self.db
                .set_options_cf(self.db.family(family), &[("disable_auto_compactions", value)])
                .map_err(|error| self.error("configure", error))?;
        }
        self.compaction.pause(is_paused);
        Ok(())
    }

    fn limit_compactions(&self, bytes_per_second: u64) {
        self.compaction.limit(bytes_per_second);
    }

    fn stats(&self) -> ColdStats {
        let total = |name: &properties::PropName| {
            Family::ALL.into_iter().map(|family| self.number(family, name)).sum()
        };
        // Numbers of the whole database come with any family.
        let database = |name: &properties::PropName| self.number(Family::Keys, name);
        let memtable_bytes = self.memtables.get_usage();
        let families: Vec<_> = Family::ALL.into_iter().map(|family| self.family_stats(family)).collect();
        ColdStats {
            memtable_bytes: memtable_bytes as u64,
            block_cache_bytes: self.cache.get_usage().saturating_sub(memtable_bytes) as u64,
            block_cache_capacity_bytes: database(properties::BLOCK_CACHE_CAPACITY)
                // ORDERING: a statistic.
                .saturating_sub(self.memtable_bytes.load(Ordering::Relaxed) as u64),
            table_reader_bytes: total(properties::ESTIMATE_TABLE_READERS_MEM),
            disk_bytes: total(properties::TOTAL_SST_FILES_SIZE),
            live_data_bytes: total(properties::ESTIMATE_LIVE_DATA_SIZE),
            pending_compaction_bytes: total(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            running_compactions: database(properties::NUM_RUNNING_COMPACTIONS),
            running_flushes: database(properties::NUM_RUNNING_FLUSHES),
            level0_files: families
                .iter()
                .map(|family| family.files_per_level.first().copied().unwrap_or(0))
                .sum(),
            is_write_stopped: database(properties::IS_WRITE_STOPPED) != 0,
            is_compaction_paused: self.compaction.is_paused(),
            compaction_bytes_per_second: self.compaction.bytes_per_second(),
            families,
        }
    }

    fn memory(&self) -> ColdMemory {
        // Memtables are charged to the cache.
        let used_bytes = self.cache.get_usage() as u64;
        // ORDERING: a statistic.
        ColdMemory { used_bytes, capacity_bytes: self.capacity_bytes.load(Ordering::Relaxed) as u64 }
    }

    fn set_memory(&self, cache_bytes: usize, memtable_bytes: usize) {
        // The crate asks for `&mut`; a clone is a handle to the same cache.
        self.cache.clone().set_capacity(cache_bytes + memtable_bytes);
        self.memtables.set_buffer_size(memtable_bytes);
        // ORDERING: statistics.
        self.memtable_bytes.store(memtable_bytes, Ordering::Relaxed);
        self.capacity_bytes.store(cache_bytes + memtable_bytes, Ordering::Relaxed);
    }
}

struct RocksSnapshot {
    /// Borrows from `db`, whatever its lifetime says: declared first, so dropped first.
    inner: SnapshotWithThreadMode<'static, DB>,
    db: Arc<OpenDb>,
}

impl RocksSnapshot {
    fn new(db: &Arc<OpenDb>) -> Self {
        let inner = db.0.snapshot();
        // SAFETY: only the lifetime changes. The snapshot refers to the `DB` inside the `Arc`,
        // which does not move and lives as long as `self.db` does; `inner` is never moved out of
        // `self` and is dropped before `self.db`, because fields drop in their order.
        let inner = unsafe {
            std::mem::transmute::<SnapshotWithThreadMode<'_, DB>, SnapshotWithThreadMode<'static, DB>>(inner)
        };
        RocksSnapshot { inner, db: Arc::clone(db) }
    }
}

impl ColdSnapshot for RocksSnapshot {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct RocksCursor<'a> {
    store: &'a RocksStore,
    iterator: DBRawIterator<'a>,
    /// The bounds cross; RocksDB wants them in order.
    is_empty: bool,
    is_positioned: bool,
}

impl RocksCursor<'_> {
    /// Tells the end of the range from a failed read.
    fn check(&mut self) -> Result<()> {
        self.is_positioned = self.iterator.valid();
        if self.is_positioned {
            return Ok(());
        }
        self.iterator.status().map_err(|error| self.store.error("read", error))
    }
}

impl ColdCursor for RocksCursor<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        if self.is_positioned { self.iterator.item() } else { None }
    }

    fn advance(&mut self) -> Result<()> {
        if !self.is_positioned {
            return Ok(());
        }
        self.iterator.next();
        self.check()
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        if self.is_empty {
            return Ok(());
        }
        // A key below the lower bound lands on the bound, one at or above the upper on nothing.
        self.iterator.seek(key);
        self.check()
    }
}

fn database_options(config: &RocksConfig, memtables: &WriteBufferManager) -> Result<Options> {
    // Options without a setter in the crate:
    // - avoid_flush_during_shutdown: see the module's promise about closing.
    // - max_bgerror_resume_count=0: no retry of a failed flush or compaction.
    let mut options = Options::default()
        .get_options_from_string("avoid_flush_during_shutdown=true;max_bgerror_resume_count=0")
        .map_err(|error| store_error("configure", &config.dir, error))?;
    options.create_if_missing(config.create);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_write_buffer_manager(memtables);
    options.set_max_background_jobs(int(config.background_jobs));

    // Finite, or every table's reader stays in memory and open reads them all.
    options.set_max_open_files(int(config.max_open_files));
    options.set_table_cache_num_shard_bits(2);
    options.set_skip_stats_update_on_db_open(true);
    // Open replays the MANIFEST.
    options.set_max_manifest_file_size(8 * MIB);
    options.set_avoid_unnecessary_blocking_io(true);

    let direct = config.direct;
    let is_direct = (direct.reads || direct.writes) && supports_direct_io(&config.dir);
    options.set_use_direct_io_for_flush_and_compaction(is_direct && direct.writes);
    options.set_use_direct_reads(is_direct && direct.reads);
    // Per input file of a compaction.
    options.set_compaction_readahead_size(128 * KIB);
    options.set_writable_file_max_buffer_size(512 * KIB as u64);
    options.set_bytes_per_sync(MIB as u64);

    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(MIB);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    Ok(options)
}

fn family_options(config: &RocksConfig, family: Family, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_block_based_table_factory(&table_options(family, cache));

    // The write buffer manager decides when memtables are flushed, all families together; no
    // single one is to do so earlier, or an atomic flush would write many small files.
    options.set_write_buffer_size(config.memtable_bytes.max(MIB) * 2);
    options.set_max_write_buffer_number(6);
    // Eight families hold a partly filled block each.
    options.set_arena_block_size(64 * KIB);

    // Larger files are fewer open files; smaller ones are smaller steps for a compaction.
    let file_bytes = config.memtable_bytes.next_power_of_two().clamp(16 * MIB, 64 * MIB);
    options.set_target_file_size_base(file_bytes as u64);
    options.set_max_bytes_for_level_base(4 * file_bytes as u64);
    options.set_level_compaction_dynamic_level_bytes(true);
    // Only write-back writes, and it meters itself by the bytes that wait; a stall in one family
    // holds all of them. So these limits are a last resort.
    options.set_level_zero_slowdown_writes_trigger(40);
    options.set_level_zero_stop_writes_trigger(60);
    options.set_soft_pending_compaction_bytes_limit(64 << 30);
    options.set_hard_pending_compaction_bytes_limit(256 << 30);

    // Level 0 is read once, by the next compaction: leaving it alone saves a tenth of a load's
    // CPU time. Below, LZ4 halves the files at the same read time; zstd costs 4 us more per row.
    let mut levels = [DBCompressionType::Lz4; LEVELS];
    levels[0] = DBCompressionType::None;
    options.set_compression_per_level(&levels);
    if config.zstd_bottom {
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
    }

    match family {
        Family::Keys | Family::Expires => {
            // A queue leaves runs of tombstones that a seek has to cross.
            options.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
            // Absent keys stop at the engine's own filter, so almost every read here finds its row, and
            // most of them in the last level, which has nine tenths of all filters.
            options.set_optimize_filters_for_hits(true);
            options.set_memtable_whole_key_filtering(true);
            // Of twice what memtables may take: some ten bits for each row of 300 bytes. It is all
            // touched when a memtable begins, so it must not be large when the budget is.
            options.set_memtable_prefix_bloom_ratio(0.003);
        }
        Family::Elements | Family::Chunks | Family::Rows => {
            // Read after a hit in `keys` or an index: almost never for an absent row, and the
            // last level has nine tenths of all filters.
            options.set_optimize_filters_for_hits(true);
        }
        Family::Index | Family::Vectors | Family::Meta => {}
    }
    options
}

fn table_options(family: Family, cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    // A table without a cache would silently get one of 32 MiB for itself.
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // CRC32c is 8 us per row slower: the crate compiles it without the processor's instruction.
    table.set_checksum_type(ChecksumType::XXH3);
    table.set_whole_key_filtering(true);
    // In parts of a block each. As long as all of them fit into the cache, whole indexes and
    // filters cost the same; once they do not, a row costs 34 instead of 14 us.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(4 * KIB);
    table.set_pin_top_level_index_and_filter(true);
    // Not in the last level where reads find what they look for: a tenth of all keys, so the faster
    // Bloom instead of the smaller ribbon.
    table.set_bloom_filter(10.0, false);
    // 2 and 8 KiB read a row in the same time, but 2 doubles the index. A hash index in the
    // blocks and shorter restart intervals gain nothing either, so both stay off.
    table.set_block_size(match family {
        // Large rows, mostly read in runs.
        Family::Chunks => 16 * KIB,
        _ => 4 * KIB,
    });
    table
}

fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A key just before `upper`: every key up to it is below `upper`, and few are between.
///
/// RocksDB deletes the files up to and including its limit, and a file may end exactly at
/// `upper`, which is the first key to stay.
pub(super) fn last_before(upper: &[u8]) -> Vec<u8> {
    let mut key = upper.to_vec();
    match key.pop() {
        // `x00` follows directly on `x`.
        None | Some(0) => {}
        Some(byte) => {
            key.push(byte - 1);
            key.extend_from_slice(&[0xff; 32]);
        }
    }
    key
}

/// Whether files in `dir` can be written past the page cache: tmpfs and some overlays refuse it
/// at open or at the first write.
fn supports_direct_io(dir: &Path) -> bool {
    let path = dir.join("direct-io.probe");
    let is_supported = write_direct(&path).is_ok();
    // Gone already if it could not be created.
    let _ = fs::remove_file(&path);
    is_supported
}

fn write_direct(path: &Path) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};

    #[repr(align(4096))]
    struct Page([u8; 4096]);

    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
    let mut page = Page([1; 4096]);
    rustix::io::pwrite(&file, &page.0, 0)?;
    rustix::io::pread(&file, &mut page.0, 0)?;
    Ok(())
}

fn open_error(dir: &Path, error: rocksdb::Error) -> Error {
    let text: &str = error.as_ref();
    if error.kind() == ErrorKind::IOError && text.contains("/LOCK:") {
        return Error::InUse { path: dir.to_path_buf() };
    }
    if error.kind() == ErrorKind::InvalidArgument && text.contains("olumn famil") {
        return Error::Format { path: dir.to_path_buf(), detail: text.to_owned() };
    }
    store_error("open", dir, error)
}

/// Sorts RocksDB's errors, which the crate hands on as text, by what to do next.
fn store_error(op: &'static str, dir: &Path, error: rocksdb::Error) -> Error {
    let kind = error.kind();
    let text = error.into_string();
    if text.contains("No space left on device") || text.contains("Space limit reached") {
        return Error::NoSpace { what: "the cold tier" };
    }
    if kind == ErrorKind::Corruption {
        let (file, offset) = damaged_place(&text);
        let file = file.map_or_else(|| dir.display().to_string(), str::to_owned);
        return Error::corruption(file, offset, text);
    }
    Error::io(op, dir, io::Error::other(text))
}

/// Finds the file and the offset in an error text such as `Corruption: block checksum mismatch:
/// ...  in /data/000012.sst offset 4096 size 4011`.
fn damaged_place(text: &str) -> (Option<&str>, u64) {
    let words = || text.split([' ', ',', ';', '"', '\'']).map(|word| word.trim_end_matches([':', '.']));
    let is_file = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        name.ends_with(".sst") || name.starts_with("MANIFEST-") || name == "CURRENT"
    };
    let offset = words()
        .skip_while(|word| *word != "offset")
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    (words().find(is_file), offset)
}
