//! Write-back: copies of dirty entries on their way to the cold tier.
//!
//! A batch is made in three steps. Under a shard's lock the images of dirty entries are copied,
//! page by page, and the entries marked IN_FLIGHT and COLD. Without locks the log is made
//! durable up to the newest image and RocksDB takes the batch. Under the locks again the marks
//! are cleared: an entry that still has the LSN of its image is clean, a tombstone goes, and one
//! that changed meanwhile stays dirty.
//!
//! One thread makes all batches, so that at most one image of a record is on its way.

use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::failpoint::{Break, CrashPoint};
use crate::ids::{DbId, ExpireAt, Incarnation, Lsn, ShardId};
use crate::keyspace::entry::{Body, BodyRef, Entry, Kind, flag};
use crate::keyspace::hash::KeyHash;
use crate::keyspace::parts::Pages;
use crate::keyspace::shard::Shard;
use crate::keyspace::stale::StaleHint;
use crate::keyspace::store::Store;
use crate::tier::schema::{self, Row, RowBody};
use crate::tier::{ColdBatch, Family};
use crate::value::Value;
use crate::value::collection::{Held, Image as CollectionImage};
use crate::value::stored::StoredAt;
use crate::value::string::{PAGE_BYTES, PAGED_MIN};

/// A batch is sent when its rows have this many bytes.
pub const BATCH_BYTES: usize = 1 << 20;
/// ... or when it has this many rows.
const BATCH_ROWS: usize = 4096;

/// Name of the `meta` row that holds the highest LSN of any row written.
pub const HIGHEST_LSN: &[u8] = b"highest-lsn";
/// Name of the `meta` row that holds the highest LSN of any row that was written together with others because a
/// value moved between their keys.
pub const MOVED_LSN: &[u8] = b"moved-lsn";

/// Prefix of the `meta` rows of dead incarnations: prefix | db id (4) | incarnation (8) -> LSN (8).
pub const DEAD_PREFIX: &[u8] = b"dead/";

/// Prefix of the `meta` rows of incarnations that are being built or were just made: prefix |
/// db id (4) | incarnation (8) -> the key they are for. See [`crate::keyspace::parts`].
pub const BUILDING_PREFIX: &[u8] = b"building/";

/// Which dirty entries to write back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that were not used much and whose LSN is durable already.
    Cool { durable: Lsn },
}

/// Images on their way to the cold tier.
#[derive(Default)]
pub struct SpillBatch {
    pub(super) rows: ColdBatch,
    items: Vec<Item>,
    pub(super) max_lsn: Lsn,
    /// Incarnations that its pages begin.
    pub(super) begun: Vec<(DbId, Incarnation, Lsn)>,
    /// Buffers.
    key: Vec<u8>,
    value: Vec<u8>,
}

struct Item {
    shard: ShardId,
    db: DbId,
    lsn: Lsn,
    bucket: u32,
    key: Box<[u8]>,
}

impl SpillBatch {
    /// Whether it should be sent before more is added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows.bytes() >= BATCH_BYTES || self.items.len() >= BATCH_ROWS
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The log must be durable up to here before the batch may be written.
    #[must_use]
    pub fn max_lsn(&self) -> Lsn {
        self.max_lsn
    }

    /// Bytes of the rows.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }
}

impl Store {
    /// Copies dirty entries of one shard into a batch, from bucket `from` of database `db` on,
    /// until the batch is full. Returns the bucket to go on from; `None` at the end.
    pub fn collect(
        &self,
        id: ShardId,
        db: DbId,
        from: u32,
        which: Which,
        batch: &mut SpillBatch,
    ) -> Option<u32> {
        let mut shard = self.lock(id);
        self.collect_side_rows(&mut shard, batch);
        let shard = &mut *shard;
        let part = shard.db_mut(db)?;
        let mut next = Some(from);
        let mut grown = 0;
        let filter_limit = self.filter_limit.load(Ordering::Relaxed);
        let mut copied = Vec::new();
        for _ in 0..16 {
            let Some(bucket) = next else { break };
            let page = part.table.page_at(bucket);
            let mut is_cut = false;
            if part.table.has_dirty(page) {
                part.table.for_page_mut(page, |entry| {
                    // Entries may be large: the rest of the page goes with the next batch.
                    is_cut |= batch.is_full();
                    if is_cut {
                        return;
                    }
                    let before = entry.heap_bytes() as isize;
                    copied.extend(self.copy_image(id, db, entry, which, batch));
                    grown += entry.heap_bytes() as isize - before;
                });
            }
            // Before the lock goes: from now on these keys may have rows.
            copied.drain(..).for_each(|hash| part.note_row(hash, filter_limit));
            if is_cut {
                break;
            }
            next = part.table.next_start(page);
            if batch.is_full() {
                break;
            }
        }
        for (db, incarnation, lsn) in batch.begun.drain(..) {
            shard.parts.settle(db, incarnation, lsn);
        }
        shard.note_grown(grown);
        next
    }

    /// Copies what a shard has besides entries: hints, deaths, parts.
    pub fn collect_side(&self, id: ShardId, batch: &mut SpillBatch) {
        self.collect_side_rows(&mut self.lock(id), batch);
    }

    /// Hints that are no longer right, parts, and incarnations that died: their rows go first.
    pub(super) fn collect_side_rows(&self, shard: &mut Shard, batch: &mut SpillBatch) {
        for hint in shard.stale_hints.take() {
            batch.key.clear();
            let bucket = self.hasher.hash(&hint.key).bucket;
            let put_key =
                if hint.is_of_elements { schema::put_element_hint_key } else { schema::put_expires_key };
            put_key(&mut batch.key, hint.db, hint.at, bucket, &hint.key);
            batch.rows.delete(Family::Expires, &batch.key);
            batch.max_lsn = batch.max_lsn.max(hint.lsn);
        }
        for (db, at, key) in std::mem::take(&mut shard.new_hints) {
            let hash = self.hasher.hash(&key);
            let entry = shard.db(db).and_then(|part| part.table.find(hash, &key));
            // It changed meanwhile, and has or gets a hint by itself.
            if entry.is_some_and(|entry| entry.element_deadline() != Some(at)) {
                continue;
            }
            batch.key.clear();
            schema::put_element_hint_key(&mut batch.key, db, at, hash.bucket, &key);
            batch.rows.put(Family::Expires, &batch.key, schema::ELEMENT_HINT);
            // The reaper may have read past its place; it also removes the hint of a key that is gone.
            if at.0 <= self.expires_loaded.load(Ordering::SeqCst) {
                shard.watch(at, db, hash.bucket);
            }
        }
        for pages in shard.take_parts() {
            put_pages(batch, &pages);
        }
        for (db, incarnation) in shard.revived_pages.drain(..) {
            batch.rows.delete(Family::Meta, &dead_key(db, incarnation));
        }
        for (db, incarnation, lsn) in shard.dead_pages.drain(..) {
            batch.rows.put(Family::Meta, &dead_key(db, incarnation), &lsn.0.to_be_bytes());
            // Not before the death is in the queue: a crash would lose sight of the pages.
            batch.rows.delete(Family::Meta, &building_key(db, incarnation));
            batch.max_lsn = batch.max_lsn.max(lsn);
        }
    }

    /// Copies one entry's image if it is wanted, and says then which key it was. The entry may
    /// change its size a little.
    pub(super) fn copy_image(
        &self,
        shard: ShardId,
        db: DbId,
        entry: &mut Entry,
        which: Which,
        batch: &mut SpillBatch,
    ) -> Option<KeyHash> {
        if !entry.has(flag::DIRTY) || entry.has(flag::IN_FLIGHT) || entry.is_tied() || waits(entry) {
            return None;
        }
        if let Which::Cool { durable } = which {
            if entry.lsn() > durable {
                return None;
            }
            // A hot entry is likely to change again; its turn comes when it has cooled down.
            if entry.freq() > 2 {
                entry.set_freq(entry.freq() - 1);
                return None;
            }
        }
        let hash = self.hasher.hash(entry.key());
        let bucket = hash.bucket;
        batch.key.clear();
        schema::put_row_key(&mut batch.key, db, bucket, entry.key());
        let deadline = entry.deadline();
        if let Some(hint) = entry.hint().filter(|hint| Some(*hint) != deadline) {
            let mut hint_key = Vec::with_capacity(16 + entry.key().len());
            schema::put_expires_key(&mut hint_key, db, hint, bucket, entry.key());
            batch.rows.delete(Family::Expires, &hint_key);
        }
        match entry.kind() {
            Kind::Tombstone => batch.rows.delete(Family::Keys, &batch.key),
            Kind::Absent => return None,
            _ => self.copy_value(db, entry, batch),
        }
        if let Some(at) = deadline {
            let mut hint_key = Vec::with_capacity(16 + entry.key().len());
            schema::put_expires_key(&mut hint_key, db, at, bucket, entry.key());
            batch.rows.put(Family::Expires, &hint_key, b"");
        }
        if let Some(at) = entry.element_hint() {
            let mut hint_key = Vec::with_capacity(16 + entry.key().len());
            schema::put_element_hint_key(&mut hint_key, db, at, bucket, entry.key());
            batch.rows.put(Family::Expires, &hint_key, schema::ELEMENT_HINT);
        }
        batch.max_lsn = batch.max_lsn.max(entry.lsn());
        batch.items.push(Item { shard, db, lsn: entry.lsn(), bucket, key: Box::from(entry.key()) });
        drop_noted_hint(entry);
        entry.set(flag::IN_FLIGHT | flag::COLD);
        Some(hash)
    }

    fn copy_value(&self, db: DbId, entry: &mut Entry, batch: &mut SpillBatch) {
        let (lsn, deadline, is_raw) = (entry.lsn(), entry.deadline(), entry.has(flag::RAW));
        if let Some(Value::String(string)) = entry.boxed_mut()
            && (string.len() > PAGED_MIN || string.paged().is_some())
        {
            let is_new = string.paged().is_none();
            let fresh = self.allot_incarnation();
            let (incarnation, pages) = string.take_dirty_pages(fresh);
            let begun = is_new.then_some(incarnation);
            let mut page_key = Vec::with_capacity(16);
            for page in pages {
                page_key.clear();
                schema::put_page_key(&mut page_key, db, incarnation, page);
                batch.rows.put(Family::Elements, &page_key, string.page(page));
            }
            let body = RowBody::Paged { incarnation, len: string.len() as u64 };
            if let Some(incarnation) = begun {
                batch.rows.put(Family::Meta, &building_key(db, incarnation), entry.key());
                batch.begun.push((db, incarnation, lsn));
            }
            return put_row(batch, &Row { lsn, deadline, is_raw, body });
        }
        if let Some(Value::Collection(held)) = entry.boxed_mut() {
            let image = held.plan_image(|| self.allot_incarnation());
            if let CollectionImage::Pages { incarnation, len } = image {
                let body = RowBody::PagedCollection { tag: held.value.type_tag(), incarnation, len };
                return put_row(batch, &Row { lsn, deadline, is_raw, body });
            }
            if let CollectionImage::Nodes { incarnation, is_new } = image {
                let header = copy_nodes(db, held, incarnation, is_new, batch);
                if is_new {
                    batch.rows.put(Family::Meta, &building_key(db, incarnation), entry.key());
                    batch.begun.push((db, incarnation, lsn));
                }
                let Some(tag) = entry.type_tag() else { return };
                let body = RowBody::Nodes { tag, incarnation, header: &header };
                return put_row(batch, &Row { lsn, deadline, is_raw, body });
            }
        }
        let mut encoded = Vec::new();
        let body = match entry.body() {
            BodyRef::Int(value) => RowBody::Int(value),
            BodyRef::Bytes(bytes) => RowBody::Bytes(bytes),
            BodyRef::Boxed(Value::String(string)) => RowBody::Bytes(string.as_bytes()),
            BodyRef::Boxed(Value::Stored(stored)) => {
                RowBody::Paged { incarnation: stored.incarnation, len: stored.len }
            }
            BodyRef::Boxed(Value::Collection(held)) => {
                held.value.encode(&mut encoded);
                RowBody::Collection { tag: held.value.type_tag(), bytes: &encoded }
            }
            BodyRef::Boxed(Value::StoredCollection(stored)) => match &stored.at {
                StoredAt::Pages { tag, incarnation, len } => {
                    RowBody::PagedCollection { tag: *tag, incarnation: *incarnation, len: *len }
                }
                StoredAt::Nodes { tag, incarnation, header } => {
                    RowBody::Nodes { tag: *tag, incarnation: *incarnation, header }
                }
                StoredAt::String { .. } => return,
            },
            _ => return,
        };
        put_row(batch, &Row { lsn, deadline, is_raw, body });
    }

    /// Writes a batch whose newest image is durable in the log, and clears the marks.
    /// Visible in the cold tier when this returns, durable there after its next flush.
    pub fn write_batch(&self, batch: &mut SpillBatch, highest: &mut Lsn) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        // DURABILITY: the same RocksDB batch raises the highest LSN; after a crash a log that
        // ends below it is refused instead of silently losing what the rows already show.
        *highest = (*highest).max(batch.max_lsn);
        batch.rows.put(Family::Meta, HIGHEST_LSN, &highest.0.to_be_bytes());
        self.has_cold.store(true, Ordering::Relaxed);
        self.crash.reach(CrashPoint::BeforeWriteBack);
        self.cold.write(&batch.rows)?;
        self.crash.reach(CrashPoint::AfterWriteBack);
        self.stats.written_back.fetch_add(batch.items.len() as u64, Ordering::Relaxed);
        let mut items = batch.items.drain(..).peekable();
        while let Some(first) = items.next() {
            let mut shard = self.lock(first.shard);
            let id = first.shard;
            self.settle(&mut shard, &first);
            while let Some(item) = items.next_if(|item| item.shard == id) {
                self.settle(&mut shard, &item);
            }
        }
        drop(items);
        batch.rows.clear();
        batch.max_lsn = Lsn(0);
        Ok(())
    }

    /// Clears the marks of one entry whose image was written.
    fn settle(&self, shard: &mut Shard, item: &Item) {
        let hash = self.hasher.hash(&item.key);
        debug_assert_eq!(hash.bucket, item.bucket);
        // These must still be read, or kept, for a snapshot whose view is older than the row.
        let newest = shard.sides.newest();
        let Some(part) = shard.db_mut(item.db) else { return };
        let (mut is_gone, mut deadlines) = (false, [None, None]);
        let cleaned = part.table.update(hash, &item.key, |entry| {
            entry.clear(flag::IN_FLIGHT);
            if entry.lsn() != item.lsn {
                return 0;
            }
            entry.clear(flag::DIRTY | flag::HELD);
            if entry.lsn() <= newest {
                entry.set(flag::HELD);
            }
            is_gone = entry.kind() == Kind::Tombstone;
            deadlines = [entry.deadline(), entry.element_hint()];
            entry.heap_bytes()
        });
        let Some(bytes) = cleaned else { return };
        shard.dirty_bytes -= bytes;
        // The reaper may have read past the place of the hint that was written. Also if the entry is
        // ARMED: it may leave memory before its time, with a deadline that was pushed ahead.
        let loaded = self.expires_loaded.load(Ordering::SeqCst);
        for at in deadlines.into_iter().flatten().filter(|at| at.0 <= loaded) {
            shard.watch(at, item.db, item.bucket);
        }
        if is_gone {
            shard.drop_tombstone(item.db, hash, &item.key);
        }
    }

    /// Whether a failpoint says that a batch may go before its log.
    #[must_use]
    pub fn skips_log_before_data(&self) -> bool {
        self.failpoints.breaks(Break::LogBeforeData)
    }
}

/// Copies the nodes of a collection that are to be written; returns its header.
fn copy_nodes(
    db: DbId,
    held: &mut Held,
    incarnation: Incarnation,
    is_new: bool,
    batch: &mut SpillBatch,
) -> Vec<u8> {
    let (mut header, mut node_key) = (Vec::new(), Vec::with_capacity(32));
    held.value.encode_header(&mut header);
    let mut put = |key: &[u8], body: Option<&[u8]>| {
        node_key.clear();
        schema::put_node_key(&mut node_key, db, incarnation, key);
        match body {
            Some(body) => batch.rows.put(Family::Elements, &node_key, body),
            None => batch.rows.delete(Family::Elements, &node_key),
        }
    };
    match is_new {
        true => held.value.all_nodes(&mut |key, body| put(key, Some(body))),
        false => held.value.take_dirty_nodes(&mut put),
    }
    header
}

/// Whether logged changes wait for what they apply to.
fn waits(entry: &Entry) -> bool {
    match entry.body() {
        BodyRef::Boxed(Value::Unresolved(_)) => true,
        BodyRef::Boxed(Value::Stored(stored)) => stored.has_edits(),
        BodyRef::Boxed(Value::StoredCollection(stored)) => stored.has_edits(),
        _ => false,
    }
}

/// Copies queued parts; the same batch says that the incarnation is being built.
fn put_pages(batch: &mut SpillBatch, pages: &Pages) {
    batch.rows.put(Family::Meta, &building_key(pages.db, pages.incarnation), &pages.key);
    for (page, bytes) in (pages.page..).zip(pages.bytes.chunks(PAGE_BYTES)) {
        batch.key.clear();
        schema::put_page_key(&mut batch.key, pages.db, pages.incarnation, page);
        batch.rows.put(Family::Elements, &batch.key, bytes);
    }
    batch.max_lsn = batch.max_lsn.max(pages.lsn);
}

fn put_row(batch: &mut SpillBatch, row: &Row<'_>) {
    batch.value.clear();
    schema::put_row(&mut batch.value, row);
    batch.rows.put(Family::Keys, &batch.key, &batch.value);
}

/// Drops the noted hint of an entry: the batch removes its row.
fn drop_noted_hint(entry: &mut Entry) {
    if !entry.has(flag::HINT) {
        return;
    }
    let boxed = entry.take_boxed();
    let was_boxed = boxed.is_some();
    let mut copy = {
        let body = match (boxed, entry.body()) {
            (Some(value), _) => Body::Boxed(value),
            (None, BodyRef::Int(value)) => Body::Int(value),
            (None, BodyRef::Bytes(bytes)) => Body::Bytes(bytes),
            (None, _) => Body::Tombstone,
        };
        Entry::new(entry.key(), entry.deadline(), None, body)
    };
    debug_assert_eq!(copy.kind() == Kind::Boxed, was_boxed);
    copy.inherit(entry, flag::DIRTY | flag::COLD | flag::IN_FLIGHT | flag::RAW | flag::ARMED);
    *entry = copy;
}

/// Key of the `meta` row of a dead incarnation.
#[must_use]
pub fn dead_key(db: DbId, incarnation: Incarnation) -> Vec<u8> {
    incarnation_key(DEAD_PREFIX, db, incarnation)
}

/// Key of the `meta` row of an incarnation that is being built.
#[must_use]
pub fn building_key(db: DbId, incarnation: Incarnation) -> Vec<u8> {
    incarnation_key(BUILDING_PREFIX, db, incarnation)
}

/// Reads the key of a `meta` row that names an incarnation.
#[must_use]
pub fn split_incarnation_key(prefix: &[u8], key: &[u8]) -> Option<(DbId, Incarnation)> {
    let (db, incarnation) = key.strip_prefix(prefix)?.split_first_chunk::<4>()?;
    let incarnation = Incarnation(u64::from_be_bytes(incarnation.try_into().ok()?));
    Some((DbId(u32::from_be_bytes(*db)), incarnation))
}

fn incarnation_key(prefix: &[u8], db: DbId, incarnation: Incarnation) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.extend_from_slice(&db.0.to_be_bytes());
    key.extend_from_slice(&incarnation.0.to_be_bytes());
    key
}

/// A hint that turned out wrong: to be removed with the next batch of its shard.
pub fn drop_hint(shard: &mut Shard, db: DbId, hash: KeyHash, at: ExpireAt, key: &[u8], is_of_elements: bool) {
    let entry = shard.db(db).and_then(|part| part.table.find(hash, key));
    // Without an entry it was a deletion that left none.
    let lsn = entry.map_or(Lsn(0), Entry::lsn).max(shard.gone_lsn);
    shard.stale_hints.push(StaleHint { db, at, key: Box::from(key), is_of_elements, lsn });
}
