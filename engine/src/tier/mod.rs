//! The cold tier: ordered families of rows on disk behind the trait [`ColdStore`].
//!
//! `rocks` is RocksDB (the only file that names it), `memory` its in-memory twin for model and
//! crash tests. A write is visible at once and durable after the next [`ColdStore::flush`]; a
//! crash keeps a prefix of the batches that is no shorter than the last flush. The store has no
//! log of its own: the engine's WAL makes writes durable.

pub mod compaction;
pub mod filters;
mod hint_file;
pub mod memory;
pub mod promote;
#[cfg(feature = "rocks")]
pub mod rocks;
pub mod schema;
pub mod spill;
#[cfg(test)]
mod tests;
mod tied;
pub mod warm;

use crate::error::Result;

/// A family of rows. The order is part of the on-disk format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// One row per key: header and, if small, the body.
    Keys = 0,
    /// Elements (or pages, nodes) of large collections.
    Elements = 1,
    /// Sealed time-series chunks.
    Chunks = 2,
    /// Table rows.
    Rows = 3,
    /// Secondary index entries.
    Index = 4,
    /// Full-precision vectors.
    Vectors = 5,
    /// Deadlines in order: hints for the reaper.
    Expires = 6,
    /// Marker, catalogs, counters.
    Meta = 7,
}

impl Family {
    /// All families in their on-disk order.
    pub const ALL: [Family; 8] = [
        Family::Keys,
        Family::Elements,
        Family::Chunks,
        Family::Rows,
        Family::Index,
        Family::Vectors,
        Family::Expires,
        Family::Meta,
    ];

    /// The family's name on disk and in INFO.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Keys => "keys",
            Family::Elements => "elements",
            Family::Chunks => "chunks",
            Family::Rows => "rows",
            Family::Index => "index",
            Family::Vectors => "vectors",
            Family::Expires => "expires",
            Family::Meta => "meta",
        }
    }
}

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTier {
    /// Memtables and block cache only; what is not there is [`Lookup::NotCached`].
    Cached,
    /// Reads the disk where it must.
    Disk,
}

/// What a point read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    Found(&'a [u8]),
    Absent,
    /// Only with [`ReadTier::Cached`]: the answer needs the disk.
    NotCached,
}

/// Writes that reach the store together, in order.
#[derive(Default, Debug, Clone)]
pub struct ColdBatch {
    ops: Vec<ColdOp>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct ColdOp {
    family: Family,
    key: (u32, u32),
    value: Option<(u32, u32)>,
}

impl ColdBatch {
    /// Adds a row, replacing one of the same key.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        let key = self.push_bytes(key);
        let value = Some(self.push_bytes(value));
        self.ops.push(ColdOp { family, key, value });
    }

    /// Removes a row; nothing happens if there is none.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        let key = self.push_bytes(key);
        self.ops.push(ColdOp { family, key, value: None });
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.bytes.clear();
    }

    /// Number of operations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether the batch has no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The operations in order: family, key, and the value or `None` for a removal.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &[u8], Option<&[u8]>)> {
        self.ops.iter().map(|op| (op.family, self.slice(op.key), op.value.map(|v| self.slice(v))))
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> (u32, u32) {
        let start = u32::try_from(self.bytes.len()).expect("a batch is cut long before 4 GiB");
        self.bytes.extend_from_slice(bytes);
        (start, u32::try_from(bytes.len()).expect("a row is at most about 1 MiB"))
    }

    fn slice(&self, (start, len): (u32, u32)) -> &[u8] {
        &self.bytes[start as usize..][..len as usize]
    }
}

/// A read view fixed at one moment. Dropping it releases it.
pub trait ColdSnapshot: Send + Sync {
    /// For the store's own downcast.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// A cursor over one family in key order.
pub trait ColdCursor: Send {
    /// The row under the cursor; `None` past the upper bound.
    fn row(&self) -> Option<(&[u8], &[u8])>;
    /// Moves to the next row.
    fn advance(&mut self) -> Result<()>;
    /// Moves to the first row at or after `key`, inside the bounds.
    fn seek(&mut self, key: &[u8]) -> Result<()>;
}

/// Sizes and rates of a store, for INFO and the memory budget. Bytes unless named otherwise.
#[derive(Clone, Debug, Default)]
pub struct ColdStats {
    pub memtable_bytes: u64,
    pub block_cache_bytes: u64,
    pub block_cache_capacity_bytes: u64,
    pub table_reader_bytes: u64,
    pub disk_bytes: u64,
    pub live_data_bytes: u64,
    pub pending_compaction_bytes: u64,
    pub running_compactions: u64,
    pub running_flushes: u64,
    pub level0_files: u64,
    pub is_write_stopped: bool,
    pub is_compaction_paused: bool,
    /// Bound on manual compactions, bytes a second; 0 for none.
    pub compaction_bytes_per_second: u64,
    /// Per family: name, estimated rows, SST bytes, files per level.
    pub families: Vec<FamilyStats>,
}

/// Memory of a store, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColdMemory {
    /// Block cache and memtables, as of now.
    pub used_bytes: u64,
    /// What they may grow to.
    pub capacity_bytes: u64,
}

/// Sizes of one family.
#[derive(Clone, Debug, Default)]
pub struct FamilyStats {
    pub name: &'static str,
    pub rows_estimate: u64,
    pub sst_bytes: u64,
    pub files_per_level: Vec<u64>,
}

/// What of the cold tier's I/O bypasses the page cache.
///
/// Where there is room for it, the page cache is a second, larger block cache: a read from it takes a
/// tenth of the time of one from a disk. Where there is little, the files that compactions write would
/// push out what is read; and where it is counted against the process, reads should not fill it either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectIo {
    /// Reads of rows.
    pub reads: bool,
    /// Flushes and compactions.
    pub writes: bool,
}

/// Bytes of block cache and of memtables for a memory bound on the process.
#[must_use]
pub fn memory_division(budget_bytes: u64) -> (usize, usize) {
    let budget = usize::try_from(budget_bytes).unwrap_or(usize::MAX);
    ((budget / 8).max(4 << 20), (budget / 20).clamp(4 << 20, 256 << 20))
}

/// Files that a store keeps open for a memory bound on the process, where the system grants the process
/// `descriptors` files in all.
///
/// Enough for all of them if it can be: a row in a file that is not open costs 45 us more, for
/// its reader is made anew. A reader takes some KiB: four for each MiB of budget are about 1 %.
/// Half of the descriptors are left for clients and the log.
#[must_use]
pub fn open_files_max(budget_bytes: u64, descriptors: u64) -> u64 {
    let affordable = (budget_bytes >> 20).saturating_mul(4).clamp(512, 1 << 16);
    affordable.min(descriptors / 2).max(64)
}

/// An ordered store of rows in families.
pub trait ColdStore: Send + Sync {
    /// Reads one row; the bytes live in `out`, which is cleared first.
    fn get<'a>(&self, family: Family, key: &[u8], tier: ReadTier, out: &'a mut Vec<u8>)
    -> Result<Lookup<'a>>;

    /// Reads many rows of one family. `keys` are sorted; `each` is called once per key with its index.
    fn multi_get(
        &self,
        family: Family,
        keys: &[&[u8]],
        tier: ReadTier,
        each: &mut dyn FnMut(usize, Lookup<'_>),
    ) -> Result<()>;

    /// Applies a batch at once. Visible when this returns, durable after [`ColdStore::flush`].
    fn write(&self, batch: &ColdBatch) -> Result<()>;

    /// Flushes all families atomically: everything written before the call is durable when this returns.
    fn flush(&self) -> Result<()>;

    /// Fixes a read view.
    fn snapshot(&self) -> Box<dyn ColdSnapshot>;

    /// Opens a cursor over `[lower, upper)`, as of the snapshot or of now. It is not yet
    /// positioned: the first `seek` reads. Opening does not read the disk.
    fn cursor<'a>(
        &'a self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
        snapshot: Option<&'a dyn ColdSnapshot>,
    ) -> Result<Box<dyn ColdCursor + 'a>>;

    /// Removes `[lower, upper)` in bulk: whole files first, then one range delete. Ignores
    /// snapshots, so the caller makes sure that none still needs the rows.
    fn drop_range(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<()>;

    /// Compacts a key range (whole family when both are `None`); `bottom` rewrites the last level too.
    /// `false`: it was asked to stop before it was done.
    fn compact(
        &self,
        family: Family,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
        bottom: bool,
    ) -> Result<bool>;

    /// Asks running manual compactions to stop.
    fn cancel_compactions(&self);

    /// Starts no automatic compactions and holds manual ones between two pieces, until told otherwise or
    /// until the store is opened again. Flushes go on, so that the files of level 0 become more.
    fn pause_compactions(&self, is_paused: bool) -> Result<()>;

    /// Bounds what each manual compaction reads, bytes a second; 0: no bound. It waits between two
    /// pieces; automatic compactions are not slowed down.
    fn limit_compactions(&self, bytes_per_second: u64);

    /// Sizes for INFO and the budget. Cheap enough for once a second.
    fn stats(&self) -> ColdStats;

    /// The memory of block cache and memtables. Costs next to nothing.
    fn memory(&self) -> ColdMemory;

    /// Sets the memory the store may use, bytes: block cache and memtables.
    fn set_memory(&self, cache_bytes: usize, memtable_bytes: usize);
}
