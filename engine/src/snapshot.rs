//! Snapshots: long reads of the whole store at one moment.
//!
//! [`Snapshot::open`] locks all shards for microseconds and takes the LSN of the last commit, the
//! database map, the number of keys, and a read view of the cold tier. From then on writers keep
//! what the view lacks in side tables ([`crate::keyspace::side`], which says why that is enough),
//! and every read here is answered as of that LSN: a commit is seen whole or not at all.
//!
//! Keys past their deadline at the opening are not there; keys whose deadline came later are.
//! Nothing is promoted and no access is counted. Reads lock one shard at a time, to look at memory;
//! no lock is held while the disk is read, nor between two calls.
//!
//! A snapshot does not last for ever: when the images that writers keep pass their bound, the
//! oldest snapshot fails, and its reads return [`Error::SnapshotLost`](crate::Error::SnapshotLost).
//! Writers neither wait nor fail. What it keeps goes when it is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::failpoint::Break;
use crate::ids::{DbId, DbIndex, Lsn};
use crate::keyspace::entry::{Entry, Kind};
use crate::keyspace::fetched::Fetched;
use crate::keyspace::hash::KeyHash;
use crate::keyspace::range::RangeCopy;
use crate::keyspace::scan::{self, Keys, ScanStep, live_tag, row_bounds};
pub use crate::keyspace::side::Detail;
use crate::keyspace::side::{Image, OpenSnapshot};
use crate::keyspace::store::{DATABASES, Store};
use crate::tier::promote::read_stored;
use crate::tier::schema;
use crate::tier::{ColdSnapshot, Family};
use crate::txn::Core;
use crate::value::TypeTag;

/// A view of the whole store at one moment.
pub struct Snapshot {
    store: Arc<Store>,
    shared: Arc<OpenSnapshot>,
    cold: Box<dyn ColdSnapshot>,
    /// Nothing was ever written to the cold tier when the view was taken.
    is_all_hot: bool,
    map: [DbId; DATABASES],
    keys: [u64; DATABASES],
    now_ms: u64,
}

/// What memory says about a key at the snapshot's LSN.
enum Hot {
    Is(Option<Arc<Entry>>),
    /// The view of the cold tier has it.
    AsInView,
}

impl Snapshot {
    /// Takes the state as of now; deadlines are judged by `now_ms`. No key may wait for its row
    /// since the replay.
    pub(crate) fn open(core: &Core, detail: Detail, now_ms: u64) -> Snapshot {
        let store = &core.store;
        let is_blind = store.failpoints.breaks(Break::Snapshots);
        // With all shards locked no commit is between its append and its application.
        let mut shards: Vec<_> = Store::shard_ids().map(|id| store.lock(id)).collect();
        let shared = store.snapshots.register(core.wal.last_lsn(), detail, is_blind);
        let cold = store.cold.snapshot();
        // ORDERING: set before the first row is written, and read after the view was taken.
        let is_all_hot = !store.has_cold.load(Ordering::SeqCst);
        let (map, _) = store.map_image();
        let mut keys = [0; DATABASES];
        for shard in &mut shards {
            shard.sides.open(&shared);
            for (count, id) in keys.iter_mut().zip(map) {
                *count += shard.db(id).map_or(0, |part| part.keys);
            }
        }
        drop(shards);
        Snapshot { store: Arc::clone(store), shared, cold, is_all_hot, map, keys, now_ms }
    }

    /// The last commit that this snapshot shows.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.shared.lsn
    }

    /// Number of keys of a database, with those past their deadline.
    #[must_use]
    pub fn key_count(&self, db: DbIndex) -> u64 {
        self.keys.get(usize::from(db.0)).copied().unwrap_or(0)
    }

    /// One step of a walk over the keys of a database: all keys of a range of buckets that starts
    /// at `from` and holds about `count` keys.
    ///
    /// # Errors
    /// [`Error::SnapshotLost`](crate::Error::SnapshotLost): what earlier steps returned stays right.
    pub fn keys(&self, db: DbIndex, from: u32, count: u64) -> Result<ScanStep> {
        let id = self.db_id(db);
        let step =
            scan::step(self.key_count(db), from, count, |from, to, aim| self.range(id, from, to, aim))?;
        self.shared.check()?;
        Ok(step)
    }

    /// Reads a key; `None` if it was not there. A big value is copied, or read from its pages.
    ///
    /// # Errors
    /// [`Error::SnapshotLost`](crate::Error::SnapshotLost).
    ///
    /// # Panics
    /// If the snapshot is one of names.
    pub fn get(&self, db: DbIndex, key: &[u8]) -> Result<Option<Arc<Entry>>> {
        assert_eq!(self.shared.detail, Detail::Values, "a snapshot of names keeps no values");
        let (db, hash) = (self.db_id(db), self.store.hasher.hash(key));
        let mut row_key = Vec::with_capacity(8 + key.len());
        schema::put_row_key(&mut row_key, db, hash.bucket, key);
        let outcome = self.read(db, hash, key, &row_key);
        // First, for the rows of a snapshot that failed may be gone.
        self.shared.check()?;
        outcome
    }

    fn read(&self, db: DbId, hash: KeyHash, key: &[u8], row_key: &[u8]) -> Result<Option<Arc<Entry>>> {
        let found = match self.look(db, hash, key, row_key) {
            Hot::Is(entry) => entry,
            Hot::AsInView => self.read_row(key, row_key)?.map(Arc::new),
        };
        match found.filter(|entry| live_tag(entry, self.now_ms).is_some()) {
            Some(entry) => self.with_bytes(db, entry).map(Some),
            None => Ok(None),
        }
    }

    /// An entry whose bytes are pages gets them. They were rows before its key had them, so the view has
    /// them, as they were then.
    fn with_bytes(&self, db: DbId, entry: Arc<Entry>) -> Result<Arc<Entry>> {
        let Some(at) = entry.stored_at() else { return Ok(entry) };
        let (view, key) = (&*self.cold, entry.key());
        let content = read_stored(&self.store, Some(view), db, &at, key)?;
        let mut copy = entry.copy();
        if let Some(value) = copy.boxed_mut() {
            let given = value.give(content);
            given.map_err(|error| schema::row_error(Family::Elements, key, error))?;
        }
        Ok(Arc::new(copy))
    }

    fn db_id(&self, db: DbIndex) -> DbId {
        self.map.get(usize::from(db.0)).copied().expect("a database number is below 16")
    }

    /// Steps 1 and 2 of the rule in `side`.
    fn look(&self, db: DbId, hash: KeyHash, key: &[u8], row_key: &[u8]) -> Hot {
        let shard = self.store.lock(hash.shard);
        match shard.sides.image(&self.shared, row_key) {
            Some(Image::Value(entry)) => return Hot::Is(Some(Arc::clone(entry))),
            Some(Image::Absent | Image::Name { .. }) => return Hot::Is(None),
            None => {}
        }
        let entry = shard.db(db).and_then(|part| part.table.find(hash, key));
        match entry.filter(|entry| self.shows(entry)) {
            Some(entry) => Hot::Is(entry.is_value().then(|| Arc::new(entry.copy()))),
            None => Hot::AsInView,
        }
    }

    /// Whether an entry without an image is in its state at the snapshot's LSN.
    fn shows(&self, entry: &Entry) -> bool {
        entry.lsn() <= self.shared.lsn && entry.kind() != Kind::Absent
    }

    /// Step 3: the row in the view.
    fn read_row(&self, key: &[u8], row_key: &[u8]) -> Result<Option<Entry>> {
        if self.is_all_hot {
            return Ok(None);
        }
        // No key lies between a key and the same with a zero byte behind it.
        let upper = [row_key, b"\0"].concat();
        let mut cursor = self.store.cold.cursor(Family::Keys, row_key, &upper, Some(&*self.cold))?;
        cursor.seek(row_key)?;
        let Some((_, row)) = cursor.row() else { return Ok(None) };
        let row = schema::read_row(row).map_err(|error| schema::row_error(Family::Keys, key, error))?;
        let fetched = Fetched::new(row).map_err(|error| schema::row_error(Family::Keys, key, error))?;
        Ok(Some(fetched.into_entry(key)))
    }

    /// All keys of buckets `from..=to`; `to` may come back smaller.
    fn range(&self, db: DbId, from: u32, to: u32, aim: u64) -> Result<(u32, Keys)> {
        let hot = self.look_at_range(db, from, to, aim);
        let (mut end, mut keys): (u32, Keys) = (hot.end(), Vec::new());
        if !self.is_all_hot {
            let (lower, upper) = row_bounds(db, from, end);
            let mut cursor = self.store.cold.cursor(Family::Keys, &lower, &upper, Some(&*self.cold))?;
            end = scan::walk_rows(&mut *cursor, &lower, end, aim, |_, key, row| {
                if hot.get(key).is_none() && !row.deadline.is_some_and(|at| at.is_past(self.now_ms)) {
                    keys.push((key.to_vec(), row.body.type_tag()));
                }
                keys.len() as u64
            })?;
        }
        keys.extend(hot.into_keys().filter_map(|(bucket, key, tag)| (bucket <= end).then_some((key, tag?))));
        Ok((end, keys))
    }

    /// What memory says about a range of buckets: its keys' types, `None` for those that were not
    /// there or past their deadline. A key that is missing is what the view says.
    fn look_at_range(&self, db: DbId, from: u32, to: u32, aim: u64) -> RangeCopy<Option<TypeTag>> {
        let mut hot = RangeCopy::new(to, aim);
        for id in Store::shard_ids() {
            let (lower, upper) = row_bounds(db, from, hot.end());
            let shard = self.store.lock(id);
            shard.sides.for_range(&self.shared, &lower, &upper, |row_key, image| {
                let Ok((_, bucket, key)) = schema::split_row_key(row_key) else { return true };
                bucket <= hot.add(bucket, key, self.tag_of(image))
            });
            let Some(part) = shard.db(db) else { continue };
            part.table.for_range(from, hot.end(), |bucket, entry| match self.shows(entry) {
                // An image is of the snapshot's time, the entry may be newer: the image was first.
                true => hot.add(bucket, entry.key(), live_tag(entry, self.now_ms)),
                false => hot.end(),
            });
        }
        hot
    }

    fn tag_of(&self, image: &Image) -> Option<TypeTag> {
        match image {
            Image::Absent => None,
            Image::Name { tag, deadline } => {
                (!deadline.is_some_and(|at| at.is_past(self.now_ms))).then_some(*tag)
            }
            Image::Value(entry) => live_tag(entry, self.now_ms),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.store.close_snapshot(&self.shared);
    }
}
