//! Recovery: from the marker and the log's tail to the state of the last logged commit.
//!
//! Opening costs the cold tier's open and a bounded tail, not the size of the data. Replay
//! applies the same effects through the same [`Shard::apply`](crate::keyspace::shard::Shard) as
//! the live path and runs under the memory budget: when the hot tier is full it writes back and evicts
//! as it goes. It reads no rows, but for changes that wait for theirs when these fill memory (`relief`).
//!
//! The LSN guard decides once per record and commit: a record whose LSN before the commit's
//! first effect is at or above the commit's already holds all of them.

mod moves;
mod relief;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use crate::checkpoint::marker::{self, MARKER, Marker};
use crate::codec::DecodeError;
use crate::error::{Error, Result};
use crate::failpoint::Break;
use crate::ids::{DbId, DbIndex, ExpireAt, Incarnation, Lsn};
use crate::keyspace::hash::SHARDS;
use crate::keyspace::shard::{Origin, Shard};
use crate::keyspace::store::{DATABASES, Store};
use crate::tier::spill::{BUILDING_PREFIX, HIGHEST_LSN, MOVED_LSN, SpillBatch, split_incarnation_key};
use crate::tier::{ColdStore, Family, Lookup, ReadTier};
use crate::value::Value;
use crate::wal::RecordView;
use crate::wal::effect::{Change, RecordBody};

/// Parts are written when they have so many bytes.
const PART_BYTES_MAX: usize = 2 << 20;

/// What the cold tier knows at opening.
#[derive(Debug, Default)]
pub struct ColdState {
    pub marker: Option<Marker>,
    /// Highest LSN of any row: the log must reach it.
    pub highest: Lsn,
    /// Highest LSN of any row that was written tied to others.
    pub moved: Lsn,
}

/// Reads the marker and the highest LSN.
pub fn read_cold_state(cold: &dyn ColdStore) -> Result<ColdState> {
    let mut row = Vec::new();
    let marker = match cold.get(Family::Meta, MARKER, ReadTier::Disk, &mut row)? {
        Lookup::Found(bytes) => {
            if let Some(version) = Marker::other_version(bytes) {
                let row = "family meta row marker";
                return Err(Error::newer(row, "marker version", version, u32::from(marker::VERSION)));
            }
            Some(Marker::decode(bytes).map_err(|error| meta_error("marker", error))?)
        }
        _ => None,
    };
    Ok(ColdState { marker, highest: read_lsn(cold, HIGHEST_LSN)?, moved: read_lsn(cold, MOVED_LSN)? })
}

fn read_lsn(cold: &dyn ColdStore, name: &[u8]) -> Result<Lsn> {
    let mut row = Vec::new();
    let Lookup::Found(bytes) = cold.get(Family::Meta, name, ReadTier::Disk, &mut row)? else {
        return Ok(Lsn(0));
    };
    let bytes = bytes.try_into().map_err(|_| {
        let error = DecodeError { what: "row is not 8 bytes", at: bytes.len() };
        meta_error(&String::from_utf8_lossy(name), error)
    })?;
    Ok(Lsn(u64::from_be_bytes(bytes)))
}

fn meta_error(row: &str, error: DecodeError) -> Error {
    Error::corruption(format!("family meta row {row}"), error.at as u64, error.what)
}

/// Sets counters and database map as of the marker.
pub fn load_marker(store: &Store, marker: &Marker) {
    store.set_map(marker.map, marker.next_db);
    for total in &marker.totals {
        if (total.shard.0 as usize) < SHARDS && store.is_live(total.db) {
            let mut shard = store.lock(total.shard);
            let part = shard.db_or_new(total.db);
            (part.keys, part.expires) = (total.keys, total.expires);
            // It has rows, and nobody knows yet whose.
            part.filter.set_complete(total.keys == 0);
        }
    }
}

/// What the failpoint of invariant 3 does: deadlines count from the replay on.
fn rebased(change: Change<'_>, then_ms: u64, now_ms: u64) -> Change<'_> {
    let moved = |at: ExpireAt| ExpireAt(at.0 - then_ms + now_ms);
    match change {
        Change::Put { body, deadline, old, is_raw } => {
            Change::Put { body, deadline: deadline.map(moved), old, is_raw }
        }
        Change::SetDeadline { base, deadline, old_hint } => {
            Change::SetDeadline { base, deadline: deadline.map(moved), old_hint }
        }
        Change::Arrive { from, deadline, old, is_raw } => {
            Change::Arrive { from, deadline: deadline.map(moved), old, is_raw }
        }
        other => other,
    }
}

/// Applies the log's tail, record by record.
pub struct Replay<'s> {
    store: &'s Store,
    now_ms: u64,
    highest: Lsn,
    /// Records and bytes of the log since the last look at memory.
    since_look: (u64, usize),
    /// Bytes of parts that are not rows yet, at most.
    part_bytes: usize,
    batch: SpillBatch,
    has_deltas: bool,
    decided: HashMap<(DbId, Box<[u8]>), bool>,
    /// Where incarnations are now that moved, for their building rows may name the key before.
    moved: HashMap<(DbId, Incarnation), Box<[u8]>>,
    /// Rows up to this LSN may hold what moved into them.
    moved_upto: Lsn,
    /// The record's value between two keys.
    moving: Option<Value>,
}

impl<'s> Replay<'s> {
    /// A replay into a store whose marker was loaded.
    #[must_use]
    pub fn new(store: &'s Store, now_ms: u64, ColdState { highest, moved, .. }: &ColdState) -> Self {
        let (highest, moved) = (*highest, *moved);
        store.moved_lsn.store(moved.0, Ordering::Relaxed);
        Replay {
            store,
            now_ms,
            highest,
            since_look: (0, 0),
            part_bytes: 0,
            batch: SpillBatch::default(),
            has_deltas: false,
            decided: HashMap::new(),
            moved: HashMap::new(),
            moved_upto: moved,
            moving: None,
        }
    }

    /// Applies one record.
    pub fn record(&mut self, record: &RecordView<'_>) -> Result<()> {
        let damaged = |error: DecodeError| {
            let file = format!("log segment {:016x}", record.segment);
            Error::corruption(file, record.offset + error.at as u64, error.what)
        };
        self.remap(record).map_err(damaged)?;
        let mut body = RecordBody::decode(record.body).map_err(damaged)?;
        if !self.store.failpoints.breaks(Break::ExactCounters) {
            self.set_totals(&body);
        }
        self.decided.clear();
        let mut effects = 0;
        let decides_anew = self.store.failpoints.breaks(Break::LsnGuard);
        let rebases = self.store.failpoints.breaks(Break::ResolvedEffects);
        while let Some(mut effect) = body.next_effect().map_err(damaged)? {
            if rebases {
                effect.change = rebased(effect.change, body.time_ms, self.now_ms);
            }
            if matches!(effect.change, Change::MapDb { .. }) || !self.store.is_live(effect.db) {
                continue;
            }
            let hash = self.store.hasher.hash(effect.key);
            let mut shard = self.store.lock(hash.shard);
            if let Change::Part { incarnation, bytes, .. } = effect.change {
                if self.is_changed_part(effect.db, incarnation, record.lsn)? {
                    continue;
                }
                // Rows of an incarnation of its own: they say the same however often they are written.
                self.part_bytes += bytes.len();
                self.store.apply(&mut shard, hash, &effect, record.lsn, Origin::Replay, self.now_ms)?;
                continue;
            }
            effects += 1;
            let is_later = effects > 1 && !decides_anew;
            if let Change::Leave { to, .. } = effect.change {
                drop(shard);
                self.prepare_move(&effect, to, record.lsn)?;
                shard = self.store.lock(hash.shard);
            }
            let applies = match self.decided.get(&(effect.db, Box::from(effect.key))).filter(|_| is_later) {
                Some(applies) => *applies,
                None => self.applies(&shard, effect.db, hash, effect.key, record.lsn),
            };
            self.decided.insert((effect.db, Box::from(effect.key)), applies);
            self.has_deltas |= effect.change.base().is_some();
            if applies {
                let shard: &mut Shard = &mut shard;
                shard.moving = self.moving.take();
                self.store.apply(shard, hash, &effect, record.lsn, Origin::Replay, self.now_ms)?;
                self.moving = shard.moving.take();
            }
            self.end_move(&shard, hash, &effect, applies);
        }
        if self.part_bytes > PART_BYTES_MAX {
            self.write_parts()?;
        }
        self.look_at_memory(record.body.len())
    }

    fn applies(
        &self,
        shard: &Shard,
        db: DbId,
        hash: crate::keyspace::hash::KeyHash,
        key: &[u8],
        lsn: Lsn,
    ) -> bool {
        let entry = shard.db(db).and_then(|part| part.table.find(hash, key));
        entry.is_none_or(|entry| entry.lsn() < lsn)
    }

    fn set_totals(&self, body: &RecordBody<'_>) {
        for total in &body.totals {
            if (total.shard.0 as usize) < SHARDS && self.store.is_live(total.db) {
                let mut shard = self.store.lock(total.shard);
                let part = shard.db_or_new(total.db);
                (part.keys, part.expires) = (total.keys, total.expires);
            }
        }
    }

    /// Applies a record's changes of the database map, before its other effects: what it did
    /// to a database that it also emptied is gone either way.
    fn remap(&self, record: &RecordView<'_>) -> Result<(), DecodeError> {
        let mut body = RecordBody::decode(record.body)?;
        let mut changes: Vec<(DbIndex, DbId)> = Vec::new();
        // Records with keyed effects only are the common case: look at the first effect.
        while let Some(effect) = body.next_effect()? {
            match effect.change {
                Change::MapDb { index } if (index.0 as usize) < DATABASES => changes.push((index, effect.db)),
                _ => {}
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let mut guards: Vec<_> = Store::shard_ids().map(|id| self.store.lock(id)).collect();
        let mut shards: Vec<&mut Shard> = guards.iter_mut().map(|guard| &mut **guard).collect();
        self.store.remap(&changes, record.lsn, &mut shards);
        drop(guards);
        self.store.clear_graveyard(usize::MAX);
        Ok(())
    }

    /// Writes the parts that were replayed.
    fn write_parts(&mut self) -> Result<()> {
        self.part_bytes = 0;
        for id in Store::shard_ids() {
            self.store.collect_side(id, &mut self.batch);
            if self.batch.is_full() {
                self.store.write_batch(&mut self.batch, &mut self.highest)?;
            }
        }
        self.store.write_batch(&mut self.batch, &mut self.highest)
    }

    /// Ends the replay, whose last record is `last`; returns the highest LSN of any row written.
    pub fn finish(mut self, last: Lsn) -> Result<Lsn> {
        self.write_parts()?;
        self.relieve()?;
        self.settle_building(last)?;
        self.store.has_unresolved.store(self.has_deltas, Ordering::Relaxed);
        Ok(self.highest)
    }

    /// Queues the death of every incarnation that was being built, or just made, and that its key
    /// does not refer to now.
    fn settle_building(&self, last: Lsn) -> Result<()> {
        let store = self.store;
        let mut upper = BUILDING_PREFIX.to_vec();
        upper.push(0xff);
        let mut found = Vec::new();
        let mut cursor = store.cold.cursor(Family::Meta, BUILDING_PREFIX, &upper, None)?;
        cursor.seek(BUILDING_PREFIX)?;
        while let Some((row_key, key)) = cursor.row() {
            let (db, incarnation) = split_incarnation_key(BUILDING_PREFIX, row_key)
                .ok_or_else(|| meta_error("building/", DecodeError { what: "not an incarnation", at: 0 }))?;
            found.push((db, incarnation, key.to_vec()));
            cursor.advance()?;
        }
        drop(cursor);
        for (db, incarnation, key) in found {
            let is_live = store.is_live(db)
                && (store.refers_to(db, &key, incarnation)?
                    || match self.moved.get(&(db, incarnation)) {
                        Some(key) => store.refers_to(db, key, incarnation)?,
                        None => false,
                    });
            let mut shard = store.lock(store.hasher.hash(&key).shard);
            shard.end_build(db, incarnation, last, is_live);
        }
        Ok(())
    }
}
