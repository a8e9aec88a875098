//! Side tables: what open snapshots still need of entries that changed or left memory.
//!
//! A snapshot is the state at one LSN, S. It is opened with all shards locked and consists of S,
//! the database map, a read view of the cold tier, and one side table per shard. A key's state at
//! S is read under its shard's lock, in this order:
//!
//! 1. its image in the side table;
//! 2. its entry, if that has an LSN up to S and is not a known absence;
//! 3. its row in the view, or its absence there.
//!
//! Why that is the state at S. Call a key *ahead* if its row in the view is not its state at S.
//!
//! - At the opening only a key with a DIRTY entry can be ahead: a clean entry equals its row, and
//!   a key without an entry is what its row says. (An entry whose write-back is just under way is
//!   DIRTY, whether the view has its row or not.)
//! - While a key that is ahead keeps its entry unchanged, the entry has an LSN up to S and is DIRTY
//!   or HELD: only [`settle`](crate::tier::spill) clears DIRTY, and it sets HELD on every entry
//!   whose LSN is not above the newest snapshot's.
//! - Before an entry with an LSN up to S that is DIRTY or HELD changes or leaves memory, its state
//!   is kept as an image ([`SideTables::keep`]). That covers effects ([`Shard::apply`]), eviction,
//!   a tombstone that goes, and a database that dies.
//!
//! So a key that is ahead is found by 1 or 2. Those two never lie: what has an LSN up to S was
//! changed last at or before S, and nothing else is kept or read. An entry promoted later carries
//! its row's LSN, so this holds for it too; a known absence has no LSN worth the name and is left
//! to 1 and 3. After the first change the entry's LSN is above S for good, so there is one image
//! per key. A HELD mark that outlives its snapshot costs a later one an image equal to its row.
//!
//! Entries that wait for their base row cannot be read or kept; they come from replay alone, and
//! are resolved before the first snapshot is opened.
//!
//! Images count in [`Shard::bytes`], so that eviction makes room for them. All together have a
//! bound: what would pass it makes the oldest snapshot fail, never a writer. An image is moved
//! where its entry goes anyway, and copied where the entry is changed in place: a big string once
//! per snapshot, under its shard's lock, if it fits the bound at all. A snapshot of names takes no
//! bodies. A flush of a database costs the entries that must be kept, with all shards locked. With
//! no snapshot open the cost is one look at an empty vector.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::entry::{Entry, Kind, flag};
use super::hash::KeyHash;
use super::shard::Shard;
use super::store::Store;
use crate::error::{Error, Result};
use crate::ids::{DbId, ExpireAt, Lsn};
use crate::tier::schema;
use crate::value::TypeTag;

/// One part in so many of `maxmemory` may be images.
pub const SIDE_SHARE: u64 = 8;
/// What an image costs besides its key and the entry: its place in the tree.
const IMAGE_BYTES: usize = 96;

/// What a snapshot can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Keys, types and deadlines.
    Names,
    /// Values too.
    Values,
}

/// A key's state at the LSN of a snapshot.
#[derive(Clone, Debug)]
pub enum Image {
    /// The key was not there.
    Absent,
    /// For a snapshot of names.
    Name {
        tag: TypeTag,
        deadline: Option<ExpireAt>,
    },
    Value(Arc<Entry>),
}

/// An entry whose state may have to be kept.
pub enum Leaving<'a> {
    /// It is about to be changed in place.
    Changed(&'a Entry),
    /// It left the table.
    Gone(Entry),
}

/// The images of one snapshot in one shard, by row key.
pub struct Side {
    snapshot: Arc<OpenSnapshot>,
    images: BTreeMap<Box<[u8]>, Image>,
    bytes: usize,
}

/// The side tables of one shard.
#[derive(Default)]
pub struct SideTables {
    /// Oldest first.
    open: Vec<Side>,
    /// Bytes of all images, each counted once per snapshot that has it.
    bytes: usize,
}

/// What the shards know of an open snapshot.
pub struct OpenSnapshot {
    pub lsn: Lsn,
    pub detail: Detail,
    /// What the failpoint of invariant 13 does: nothing is kept.
    is_blind: bool,
    is_failed: AtomicBool,
    /// Bytes charged for its images.
    bytes: AtomicUsize,
    all: Arc<OpenSnapshots>,
}

/// All open snapshots and the bound on their images.
pub struct OpenSnapshots {
    /// Oldest first, without those that failed.
    open: Mutex<Vec<Arc<OpenSnapshot>>>,
    bytes: AtomicUsize,
    limit: AtomicUsize,
    /// Some snapshot failed whose images are still there.
    has_failed: AtomicBool,
    /// How many failed since the store was opened.
    pub failed: AtomicU64,
}

impl SideTables {
    /// Whether no snapshot is open.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Bytes of all images.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// LSN of the newest open snapshot, 0 if there is none.
    #[inline]
    #[must_use]
    pub fn newest(&self) -> Lsn {
        self.open.last().map_or(Lsn(0), |side| side.snapshot.lsn)
    }

    /// Starts to keep images for a snapshot. All shards are locked.
    pub fn open(&mut self, snapshot: &Arc<OpenSnapshot>) {
        self.open.push(Side { snapshot: Arc::clone(snapshot), images: BTreeMap::new(), bytes: 0 });
    }

    /// The image of a key that a snapshot has.
    #[must_use]
    pub fn image(&self, snapshot: &Arc<OpenSnapshot>, row_key: &[u8]) -> Option<&Image> {
        self.of(snapshot)?.images.get(row_key)
    }

    /// Visits the images that a snapshot has of the row keys in `[lower, upper)`, in order, until `visit`
    /// returns false.
    pub fn for_range(
        &self,
        snapshot: &Arc<OpenSnapshot>,
        lower: &[u8],
        upper: &[u8],
        mut visit: impl FnMut(&[u8], &Image) -> bool,
    ) {
        let Some(side) = self.of(snapshot) else { return };
        let range = (Bound::Included(lower), Bound::Excluded(upper));
        let _ = side.images.range::<[u8], _>(range).all(|(row_key, image)| visit(row_key, image));
    }

    fn of(&self, snapshot: &Arc<OpenSnapshot>) -> Option<&Side> {
        self.open.iter().find(|side| Arc::ptr_eq(&side.snapshot, snapshot))
    }

    /// Keeps the state of an entry for the snapshots that need it. Never fails: where there is no
    /// room, the oldest snapshot goes.
    #[cold]
    pub fn keep(&mut self, db: DbId, bucket: u32, leaving: Leaving<'_>) {
        let entry = leaving.entry();
        let may_be_ahead = entry.lsn() <= self.newest() && entry.flags() & (flag::DIRTY | flag::HELD) != 0;
        if !may_be_ahead || entry.kind() == Kind::Absent {
            return;
        }
        let (lsn, size) = (entry.lsn(), entry.heap_bytes());
        let (tag, deadline) = (entry.type_tag(), entry.deadline());
        let mut row_key = Vec::with_capacity(8 + entry.key().len());
        schema::put_row_key(&mut row_key, db, bucket, entry.key());
        let (mut leaving, mut value) = (Some(leaving), None);
        for side in self.open.iter_mut().filter(|side| side.needs(lsn, &row_key)) {
            let has_body = tag.is_some() && side.snapshot.detail == Detail::Values;
            let bytes = IMAGE_BYTES + row_key.len() + if has_body { size } else { 0 };
            // Asked before a big value is copied.
            if !side.snapshot.charge(bytes) {
                continue;
            }
            if has_body && value.is_none() {
                value = leaving.take().map(|leaving| Arc::new(leaving.into_entry()));
            }
            let image = match (tag, &value) {
                (None, _) => Image::Absent,
                (Some(_), Some(value)) if has_body => Image::Value(Arc::clone(value)),
                (Some(tag), _) => Image::Name { tag, deadline },
            };
            side.images.insert(row_key.as_slice().into(), image);
            side.bytes += bytes;
            self.bytes += bytes;
        }
        drop(self.close(|snapshot| snapshot.is_failed()));
    }

    /// Takes the side tables of snapshots out.
    fn close(&mut self, is_done: impl Fn(&OpenSnapshot) -> bool) -> Vec<Side> {
        let done: Vec<Side> = self.open.extract_if(.., |side| is_done(&side.snapshot)).collect();
        self.bytes -= done.iter().map(|side| side.bytes).sum::<usize>();
        done
    }
}

impl Side {
    fn needs(&self, lsn: Lsn, row_key: &[u8]) -> bool {
        lsn <= self.snapshot.lsn && !self.snapshot.is_blind && !self.images.contains_key(row_key)
    }
}

impl Leaving<'_> {
    fn entry(&self) -> &Entry {
        match self {
            Leaving::Changed(entry) => entry,
            Leaving::Gone(entry) => entry,
        }
    }

    fn into_entry(self) -> Entry {
        match self {
            Leaving::Changed(entry) => entry.copy(),
            Leaving::Gone(entry) => entry,
        }
    }
}

impl Shard {
    /// Keeps what an effect on a key is about to change in place. A value that it replaces as a
    /// whole is kept when it comes out of the table, without a copy.
    #[cold]
    pub(super) fn keep_before(&mut self, db: DbId, hash: KeyHash, key: &[u8], replaces: bool) {
        let part = self.dbs.iter().find(|part| part.id == db);
        let Some(entry) = part.and_then(|part| part.table.find(hash, key)) else { return };
        if replaces && entry.kind() == Kind::Boxed {
            return;
        }
        let before = self.sides.bytes;
        self.sides.keep(db, hash.bucket, Leaving::Changed(entry));
        self.bytes = self.bytes - before + self.sides.bytes;
    }

    /// Keeps what left the table.
    #[cold]
    pub(super) fn keep_gone(&mut self, db: DbId, bucket: u32, entry: Entry) {
        let before = self.sides.bytes;
        self.sides.keep(db, bucket, Leaving::Gone(entry));
        self.bytes = self.bytes - before + self.sides.bytes;
    }

    /// Keeps what was evicted and is newer than its row in a snapshot's view; returns how many
    /// bytes that takes.
    pub(super) fn keep_evicted(&mut self, held: Vec<(DbId, Entry)>) -> usize {
        let before = self.sides.bytes;
        for (db, entry) in held {
            let bucket = self.hasher.hash(entry.key()).bucket;
            self.keep_gone(db, bucket, entry);
        }
        self.sides.bytes.saturating_sub(before)
    }

    /// Keeps what open snapshots need of a database that dies: its table loses these entries.
    #[cold]
    pub(super) fn keep_db(&mut self, db: DbId) {
        let (before, newest, hasher) = (self.sides.bytes, self.sides.newest(), self.hasher);
        let Some(part) = self.dbs.iter_mut().find(|part| part.id == db) else { return };
        let sides = &mut self.sides;
        let (mut bytes, mut dirty_bytes, mut bucket) = (0, 0, Some(0));
        while let Some(from) = bucket {
            let page = part.table.page_at(from);
            bucket = part.table.next_start(page);
            let is_wanted =
                |entry: &mut Entry| entry.lsn() <= newest && entry.flags() & (flag::DIRTY | flag::HELD) != 0;
            part.table.extract(page, is_wanted, |entry| {
                bytes += entry.heap_bytes();
                dirty_bytes += if entry.has(flag::DIRTY) { entry.heap_bytes() } else { 0 };
                sides.keep(db, hasher.hash(entry.key()).bucket, Leaving::Gone(entry));
            });
        }
        self.dirty_bytes -= dirty_bytes;
        self.bytes = self.bytes - bytes - before + self.sides.bytes;
    }

    /// Takes the side tables of snapshots out, to be freed without the lock.
    fn close_sides(&mut self, is_done: impl Fn(&OpenSnapshot) -> bool) -> Vec<Side> {
        let before = self.sides.bytes;
        let done = self.sides.close(is_done);
        self.bytes = self.bytes - before + self.sides.bytes;
        done
    }
}

impl OpenSnapshot {
    /// Whether its images are no longer complete.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        // ORDERING: set before anything is left out of a side table or dropped from the cold tier.
        // Who meets the consequence has synchronised with its cause, by a shard's lock or inside
        // the cold tier, and so sees the flag.
        self.is_failed.load(Ordering::SeqCst)
    }

    /// An error if its images are no longer complete: then what was read before may be wrong.
    pub fn check(&self) -> Result<()> {
        match self.is_failed() {
            // ORDERING: a number for the message.
            true => Err(Error::SnapshotLost { limit: self.all.limit.load(Ordering::Relaxed) as u64 }),
            false => Ok(()),
        }
    }

    /// Makes room for an image; whether this snapshot is still to have it.
    fn charge(&self, bytes: usize) -> bool {
        self.all.make_room(bytes);
        if self.is_failed() {
            return false;
        }
        // ORDERING: sums. The total goes first, so that it is never below the sum of the parts that
        // `discharge` takes off.
        self.all.bytes.fetch_add(bytes, Ordering::SeqCst);
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
        true
    }

    fn discharge(&self) {
        // ORDERING: see `charge`.
        let bytes = self.bytes.swap(0, Ordering::SeqCst);
        self.all.bytes.fetch_sub(bytes, Ordering::SeqCst);
    }
}

impl Default for OpenSnapshots {
    fn default() -> Self {
        OpenSnapshots {
            open: Mutex::default(),
            bytes: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            has_failed: AtomicBool::new(false),
            failed: AtomicU64::new(0),
        }
    }
}

impl OpenSnapshots {
    /// Sets the bound on all images from the bound on the memory of the process.
    pub fn set_maxmemory(&self, bytes: u64) {
        let limit = usize::try_from(bytes / SIDE_SHARE).unwrap_or(usize::MAX);
        // ORDERING: a bound that may be seen late.
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes charged for images.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // ORDERING: a statistic.
        self.bytes.load(Ordering::Relaxed)
    }

    /// Number of open snapshots.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// LSN of the oldest snapshot in use: what died later must not be dropped in bulk.
    #[must_use]
    pub fn oldest(&self) -> Option<Lsn> {
        self.open.lock().first().map(|snapshot| snapshot.lsn)
    }

    /// Registers a snapshot. All shards are locked, so that the list is in the order of LSNs.
    pub fn register(self: &Arc<Self>, lsn: Lsn, detail: Detail, is_blind: bool) -> Arc<OpenSnapshot> {
        let snapshot = Arc::new(OpenSnapshot {
            lsn,
            detail,
            is_blind,
            is_failed: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            all: Arc::clone(self),
        });
        self.open.lock().push(Arc::clone(&snapshot));
        snapshot
    }

    /// Has the oldest snapshots fail until so many bytes more are within the bound.
    fn make_room(&self, bytes: usize) {
        // ORDERING: writers of several shards may pass the bound together by an image each.
        while self.bytes.load(Ordering::SeqCst).saturating_add(bytes) > self.limit.load(Ordering::Relaxed) {
            let mut open = self.open.lock();
            if open.is_empty() {
                return;
            }
            let oldest = open.remove(0);
            // ORDERING: see `is_failed`; the flag is up before the list says that it is out of use.
            oldest.is_failed.store(true, Ordering::SeqCst);
            drop(open);
            oldest.discharge();
            self.has_failed.store(true, Ordering::SeqCst);
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Store {
    /// Ends a snapshot: frees its images and lets what died meanwhile be dropped.
    pub fn close_snapshot(&self, snapshot: &Arc<OpenSnapshot>) {
        for id in Store::shard_ids() {
            let closed = self.lock(id).close_sides(|other| std::ptr::eq(other, &**snapshot));
            drop(closed);
        }
        self.snapshots.open.lock().retain(|other| !Arc::ptr_eq(other, snapshot));
        snapshot.discharge();
    }

    /// Frees the images of snapshots that failed and are not yet closed.
    pub fn free_failed_snapshots(&self) {
        // ORDERING: a snapshot that fails while this runs raises the flag again.
        if !self.snapshots.has_failed.swap(false, Ordering::SeqCst) {
            return;
        }
        for id in Store::shard_ids() {
            let closed = self.lock(id).close_sides(OpenSnapshot::is_failed);
            drop(closed);
        }
    }
}
