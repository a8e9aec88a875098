//! Values that are being built: incarnations whose pages come as parts, before any key names them.
//!
//! ```text
//! part, part, part    pages logged, queued here, written to `elements` by the keeper
//! publish             one commit gives the incarnation to its key
//! abort               the incarnation dies; its pages go like those of a deleted key
//! ```
//!
//! The first batch with pages of an incarnation also has its *building* row in `meta`, which names
//! the key. It stays until a round's marker lies at or above the publication, or goes in one
//! batch with the entry of a death. Recovery looks at all
//! building rows when the log is replayed: what its key does not refer to is dead. That covers a
//! build that the crash cut off, and a paged string that write-back made before the crash and whose
//! logged value was replayed, to be paged anew.
//!
//! Everything here is guarded by the shard of the key. Bytes of queued pages count in `Shard::bytes`.

use super::entry::BodyRef;
use super::hash::KeyHash;
use super::shard::Shard;
use super::store::Store;
use crate::error::Result;
use crate::ids::{DbId, Incarnation, Lsn};
use crate::tier::schema;
use crate::tier::{Family, Lookup, ReadTier};
use crate::value::Value;
use crate::value::stored::{Loaded, StoredAt};

/// Pages that are logged and not yet rows.
pub struct Pages {
    pub db: DbId,
    pub incarnation: Incarnation,
    /// Number of the first page.
    pub page: u32,
    pub bytes: Box<[u8]>,
    pub lsn: Lsn,
    pub key: Box<[u8]>,
}

/// A value that is being built.
struct Building {
    db: DbId,
    incarnation: Incarnation,
    /// LSN of its last part.
    lsn: Lsn,
}

/// What one shard knows of values that are being built.
#[derive(Default)]
pub struct Parts {
    building: Vec<Building>,
    queued: Vec<Pages>,
    /// Live incarnations whose building row may go when a marker is at or above the LSN.
    settled: Vec<(DbId, Incarnation, Lsn)>,
    bytes: usize,
}

impl Parts {
    /// Bytes of the queued pages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of values that are being built.
    #[must_use]
    pub fn building(&self) -> usize {
        self.building.len()
    }

    /// Notes that the building row of an incarnation may go when a marker is at or above `lsn`.
    pub fn settle(&mut self, db: DbId, incarnation: Incarnation, lsn: Lsn) {
        self.settled.push((db, incarnation, lsn));
    }

    /// Takes the incarnations whose building rows may go.
    pub fn take_settled(&mut self, upto: Lsn) -> Vec<(DbId, Incarnation)> {
        self.settled.extract_if(.., |(.., lsn)| *lsn <= upto).map(|(db, id, _)| (db, id)).collect()
    }

    fn forget(&mut self, db: DbId, incarnation: Incarnation) -> Option<Lsn> {
        let at = self.building.iter().position(|b| (b.db, b.incarnation) == (db, incarnation))?;
        Some(self.building.swap_remove(at).lsn)
    }

    /// Drops queued pages; returns how many bytes.
    fn drop_queued(&mut self, is_dead: impl Fn(&Pages) -> bool) -> usize {
        let before = self.bytes;
        self.queued.retain(|pages| !is_dead(pages));
        self.bytes = self.queued.iter().map(|pages| pages.bytes.len()).sum();
        before - self.bytes
    }
}

impl Shard {
    /// Queues pages of a value that is being built.
    pub(super) fn add_part(&mut self, pages: Pages) {
        let known = (pages.db, pages.incarnation);
        match self.parts.building.iter_mut().find(|b| (b.db, b.incarnation) == known) {
            Some(building) => building.lsn = pages.lsn,
            None => {
                let (db, incarnation, lsn) = (pages.db, pages.incarnation, pages.lsn);
                self.parts.building.push(Building { db, incarnation, lsn });
            }
        }
        self.parts.bytes += pages.bytes.len();
        self.bytes += pages.bytes.len();
        self.dirty_bytes += pages.bytes.len();
        self.parts.queued.push(pages);
    }

    /// Takes the queued pages: they are on their way to the cold tier.
    pub fn take_parts(&mut self) -> Vec<Pages> {
        let bytes = std::mem::take(&mut self.parts.bytes);
        self.bytes -= bytes;
        self.dirty_bytes -= bytes;
        std::mem::take(&mut self.parts.queued)
    }

    /// A commit gave the incarnation to its key.
    pub(super) fn publish(&mut self, db: DbId, incarnation: Incarnation, lsn: Lsn) {
        self.parts.forget(db, incarnation);
        self.parts.settle(db, incarnation, lsn);
    }

    /// Gives up what is being built, unless it was published.
    pub fn abort(&mut self, db: DbId, incarnation: Incarnation) {
        let Some(lsn) = self.parts.forget(db, incarnation) else { return };
        self.drop_parts(|pages| (pages.db, pages.incarnation) == (db, incarnation));
        // No part may be replayed after its rows were dropped: the death is that of the last one.
        self.dead_pages.push((db, incarnation, lsn));
    }

    /// Recovery: what was being built or just made is known to be live or dead as of `last`.
    pub fn end_build(&mut self, db: DbId, incarnation: Incarnation, last: Lsn, is_live: bool) {
        self.parts.forget(db, incarnation);
        match is_live {
            true => self.parts.settle(db, incarnation, last),
            false => self.dead_pages.push((db, incarnation, last)),
        }
    }

    /// A database died: what is being built for it does too. Its rows go with the database.
    pub(super) fn forget_parts(&mut self, db: DbId) {
        self.drop_parts(|pages| pages.db == db);
        let dead: Vec<_> = self.parts.building.extract_if(.., |building| building.db == db).collect();
        for building in dead {
            self.dead_pages.push((db, building.incarnation, building.lsn));
        }
    }

    fn drop_parts(&mut self, is_dead: impl Fn(&Pages) -> bool) {
        let bytes = self.parts.drop_queued(is_dead);
        self.bytes -= bytes;
        self.dirty_bytes -= bytes;
    }

    /// Pins an entry if there is one.
    pub fn pin(&mut self, db: DbId, hash: KeyHash, key: &[u8]) -> bool {
        let part = self.db_mut(db);
        part.and_then(|part| part.table.find_mut(hash, key)).is_some_and(super::entry::Entry::pin)
    }

    /// Where the bytes of an entry are that is not in memory as a whole.
    #[must_use]
    pub fn stored_at(&self, db: DbId, hash: KeyHash, key: &[u8]) -> Option<StoredAt> {
        self.db(db)?.table.find(hash, key)?.stored_at()
    }

    /// Whether the entry is there without its content.
    #[must_use]
    pub fn is_stored(&self, db: DbId, hash: KeyHash, key: &[u8]) -> bool {
        let entry = self.db(db).and_then(|part| part.table.find(hash, key));
        matches!(
            entry.map(|entry| entry.body()),
            Some(BodyRef::Boxed(Value::Stored(_) | Value::StoredCollection(_)))
        )
    }

    /// Gives an entry its content, unless memory knows better.
    ///
    /// # Errors
    /// Edits that waited for the content do not fit it: corruption.
    pub fn load(
        &mut self,
        hash: KeyHash,
        db: DbId,
        key: &[u8],
        incarnation: Incarnation,
        content: Loaded,
    ) -> Result<()> {
        if self.stored_at(db, hash, key).is_none_or(|at| at.incarnation() != incarnation) {
            return Ok(());
        }
        let (mut outcome, mut element_deadline) = (Ok(()), None);
        let grown = self.db_mut(db).and_then(|part| {
            part.table.update(hash, key, |entry| {
                let before = entry.heap_bytes() as isize;
                if let Some(value) = entry.boxed_mut() {
                    outcome = value.give(content);
                }
                element_deadline = entry.element_deadline();
                (entry.heap_bytes() as isize - before, entry.has(super::entry::flag::DIRTY))
            })
        });
        let Some((grown, is_dirty)) = grown else { return Ok(()) };
        // It was not known while the content was not there.
        if let Some(at) = element_deadline.filter(|at| *at <= self.near_until) {
            self.watch(at, db, hash.bucket);
        }
        // Edits that waited may have weighed more than the string.
        let after = |bytes: usize| bytes.checked_add_signed(grown).expect("an entry loses what it has");
        self.bytes = after(self.bytes);
        self.dirty_bytes = if is_dirty { after(self.dirty_bytes) } else { self.dirty_bytes };
        outcome.map_err(|error| schema::row_error(Family::Elements, key, error))
    }
}

impl Store {
    /// Whether a key's state, in memory or in the cold tier, refers to an incarnation.
    pub fn refers_to(&self, db: DbId, key: &[u8], incarnation: Incarnation) -> Result<bool> {
        let hash = self.hasher.hash(key);
        let shard = self.lock(hash.shard);
        match shard.db(db).and_then(|part| part.table.find(hash, key)).map(|entry| entry.body()) {
            // What waits for its row is what the row says.
            None | Some(BodyRef::Boxed(Value::Unresolved(_))) => {}
            Some(BodyRef::Boxed(Value::Stored(stored))) => return Ok(stored.incarnation == incarnation),
            Some(BodyRef::Boxed(Value::String(string))) => {
                return Ok(string.paged().is_some_and(|paged| paged.incarnation == incarnation));
            }
            Some(BodyRef::Boxed(Value::Collection(held))) => {
                return Ok(held.incarnation() == Some(incarnation));
            }
            Some(BodyRef::Boxed(Value::StoredCollection(stored))) => {
                return Ok(stored.at.incarnation() == incarnation);
            }
            Some(_) => return Ok(false),
        }
        drop(shard);
        let (mut row_key, mut row) = (Vec::new(), Vec::new());
        schema::put_row_key(&mut row_key, db, hash.bucket, key);
        let Lookup::Found(row) = self.cold.get(Family::Keys, &row_key, ReadTier::Disk, &mut row)? else {
            return Ok(false);
        };
        let row = schema::read_row(row).map_err(|error| schema::row_error(Family::Keys, key, error))?;
        Ok(row.body.incarnation() == Some(incarnation))
    }

    /// Bytes of parts that are logged and not yet rows.
    #[must_use]
    pub fn part_bytes(&self) -> usize {
        Store::shard_ids().map(|id| self.lock(id).parts.bytes()).sum()
    }
}
