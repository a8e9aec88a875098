//! One checkpoint round.
//!
//! 1. The begin LSN is the last appended one, taken with the database map while all shards are
//!    locked: nothing at or below it is still being applied.
//! 2. Every entry that is dirty is written back in whatever image it has when the pass meets it,
//!    shard by shard in bucket order. Entries never change their bucket, so none is skipped.
//! 3. Totals are copied; then the log is synced up to the last LSN applied by
//!    then: whatever was overwritten, renamed, deleted or flushed away meanwhile is durable.
//! 4. The marker is written and all families are flushed atomically.
//! 5. Segments of the log up to the begin LSN go; ranges whose death is at or below it, and below
//!    every open snapshot, are dropped.
//!
//! A crash before the flush of step 4 returned leaves the old marker with the old log, after it
//! the new marker with a log that still starts early enough.

use std::sync::atomic::Ordering;

use super::keeper::Keeper;
use super::marker::{MARKER, Marker};
use crate::error::Result;
use crate::failpoint::{Break, CrashPoint};
use crate::ids::{DbId, Incarnation, Lsn};
use crate::keyspace::store::{DATABASES, Store};
use crate::tier::schema;
use crate::tier::spill::{DEAD_PREFIX, SpillBatch, Which, split_incarnation_key};
use crate::tier::{ColdBatch, Family};
use crate::tier::{filters, warm};
use crate::wal::effect::Total;

/// Time between two savings of the hot set.
const HOT_SET_NS: u64 = 30_000_000_000;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundReport {
    /// Replay starts behind this LSN now.
    pub redo_lsn: Lsn,
    /// Rows written back.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Duration, milliseconds.
    pub millis: u64,
}

/// The database map and the next id to allot.
type MapImage = ([DbId; DATABASES], DbId);

/// Where a round begins: LSN, the log's byte count and the database map at this LSN.
struct Begin {
    lsn: Lsn,
    bytes: u64,
    map: MapImage,
}

impl Keeper {
    /// Runs a round. Everything that was applied when it began survives the loss of the log's
    /// older segments when this returns.
    pub(super) fn round(&self) -> Result<RoundReport> {
        let started = self.clock.monotonic_ns();
        let (store, wal) = (&self.core.store, &self.core.wal);
        let Begin { lsn: begin, bytes: begin_bytes, map } = self.begin_point();
        self.resend()?;
        self.resolve_waiting()?;
        let mut report = RoundReport { redo_lsn: begin, ..RoundReport::default() };
        let marker_first = store.failpoints.breaks(Break::MarkerLast);
        if marker_first {
            self.write_marker(begin, map, 0)?;
            store.cold.flush()?;
            wal.cut_before(begin)?;
        }
        self.write_back_all(&mut report)?;
        let filters = self.save_filters();
        store.crash.reach(CrashPoint::BeforeMarker);
        self.write_marker(begin, map, filters)?;
        store.crash.reach(CrashPoint::BeforeFlush);
        // DURABILITY: a crash before this returns leaves the marker of the round before.
        store.cold.flush()?;
        store.crash.reach(CrashPoint::BeforeCut);
        self.state.lock().redo = (begin, begin_bytes);
        // DURABILITY: only now is the log before `begin` without use.
        wal.cut_before(begin)?;
        store.crash.reach(CrashPoint::AfterCut);
        self.drop_building(begin)?;
        self.drop_dead(begin)?;
        self.save_hot_set();
        store.stats.rounds.fetch_add(1, Ordering::Relaxed);
        self.last_round_ms.store(self.clock.unix_ms(), Ordering::Relaxed);
        report.millis = (self.clock.monotonic_ns() - started) / 1_000_000;
        Ok(report)
    }

    /// Rounds may follow each other by seconds while much is written; walking the whole hot tier
    /// each time would cost more than they do.
    pub(super) fn save_hot_set(&self) {
        let now = self.clock.monotonic_ns();
        let is_recent = |then: u64| now < then + HOT_SET_NS && !self.state.lock().is_stopping;
        if self.hot_set_saved.load(Ordering::Relaxed).checked_sub(1).is_some_and(is_recent) {
            return;
        }
        self.hot_set_saved.store(now + 1, Ordering::Relaxed);
        if let Err(error) = warm::save(&self.core.store, &*self.files, &self.dir) {
            tracing::warn!(%error, "the hot set was not saved; a restart will start colder");
        }
    }

    /// Step 1. With all shards locked no commit is between its append and its application, so the
    /// map is that of exactly this LSN. A newer one would not do: replay applies the later changes
    /// again, one by one, and would meet databases that seem to have died.
    fn begin_point(&self) -> Begin {
        let (store, wal) = (&self.core.store, &self.core.wal);
        let _all: Vec<_> = Store::shard_ids().map(|id| store.lock(id)).collect();
        Begin { lsn: wal.last_lsn(), bytes: wal.bytes_total(), map: store.map_image() }
    }

    /// Step 2.
    fn write_back_all(&self, report: &mut RoundReport) -> Result<()> {
        let store = &self.core.store;
        let mut batch = SpillBatch::default();
        for id in Store::shard_ids() {
            // Also where a shard has no entries.
            store.collect_side(id, &mut batch);
            let dbs: Vec<DbId> = store.lock(id).dbs().iter().map(|part| part.id).collect();
            for db in dbs {
                let mut from = Some(0);
                while let Some(bucket) = from {
                    from = store.collect(id, db, bucket, Which::All, &mut batch);
                    if batch.is_full() {
                        self.count(report, &batch);
                        self.send(&mut batch)?;
                    }
                }
            }
        }
        self.count(report, &batch);
        self.send(&mut batch)?;
        // What moved meanwhile was passed over, wherever it was when the round began.
        self.write_tied()
    }

    fn count(&self, report: &mut RoundReport, batch: &SpillBatch) {
        report.rows += batch.len() as u64;
        report.bytes += batch.bytes() as u64;
    }

    /// Steps 3 and 4 without the flush.
    fn write_marker(&self, redo_lsn: Lsn, (map, next_db): MapImage, filters: u64) -> Result<()> {
        let (store, wal) = (&self.core.store, &self.core.wal);
        let mut totals = Vec::new();
        for shard in Store::shard_ids() {
            let guard = store.lock(shard);
            for part in guard.dbs().iter().filter(|part| part.keys > 0) {
                totals.push(Total { db: part.id, shard, keys: part.keys, expires: part.expires });
            }
        }
        let last = wal.last_lsn();
        wal.request_sync(last);
        // DURABILITY: totals and absent rows reflect commits up to here; none may be lost
        // once the marker can be found.
        wal.wait_durable_blocking(last)?;
        let marker = Marker {
            store_id: self.store_id,
            timeline: wal.status().timeline,
            redo_lsn,
            time_ms: self.clock.unix_ms(),
            next_db,
            map,
            totals,
            filters,
        };
        let mut batch = ColdBatch::default();
        batch.put(Family::Meta, MARKER, &marker.encode());
        store.cold.write(&batch)
    }

    /// Saves the filters of cold keys after the last row and before the marker, if they changed.
    /// Returns the generation of the file; 0 if there is none, which costs a walk after a restart.
    fn save_filters(&self) -> u64 {
        let generation = self.state.lock().filters;
        if !filters::take_changed(&self.core.store) && generation > 0 {
            return generation;
        }
        let next = self.clock.unix_us().max(generation + 1);
        let saved = filters::save(&self.core.store, &*self.files, &self.dir, self.store_id, next);
        let generation = match saved {
            Ok(()) => next,
            Err(error) => {
                tracing::warn!(%error, "the filters were not saved; a restart will have to build them");
                0
            }
        };
        self.state.lock().filters = generation;
        generation
    }

    /// Drops the rows of databases and incarnations whose death is at or below the redo LSN of
    /// the marker that was just flushed, and seen by every open snapshot: a bulk drop takes the
    /// rows from their views too. The others wait for a later round.
    fn drop_dead(&self, redo_lsn: Lsn) -> Result<()> {
        let store = &self.core.store;
        store.clear_graveyard(usize::MAX);
        // A snapshot that is opened from now on is above the redo LSN.
        let upto = store.snapshots.oldest().map_or(redo_lsn, |oldest| oldest.min(redo_lsn));
        let dead: Vec<(DbId, Lsn)> =
            store.dead_dbs.lock().iter().filter(|(_, lsn)| *lsn <= upto).copied().collect();
        for dead in dead {
            let (from, to) = schema::db_range(dead.0);
            for family in Family::ALL {
                if family == Family::Meta || is_range_empty(store, family, &from, &to)? {
                    continue;
                }
                store.cold.drop_range(family, &from, &to)?;
            }
            // Only now: a disk too full for a drop gets its space back by that very drop, in a later round.
            store.dead_dbs.lock().retain(|other| *other != dead);
        }
        self.drop_dead_incarnations(upto)
    }

    fn drop_dead_incarnations(&self, upto: Lsn) -> Result<()> {
        let store = &self.core.store;
        // What the last round dropped is flushed now: its rows of the queue may go.
        let dropped = std::mem::take(&mut self.state.lock().dropped_incarnations);
        let mut batch = ColdBatch::default();
        for key in &dropped {
            batch.delete(Family::Meta, key);
        }
        store.cold.write(&batch)?;
        let mut upper = DEAD_PREFIX.to_vec();
        upper.push(0xff);
        let mut done = Vec::new();
        let mut cursor = store.cold.cursor(Family::Meta, DEAD_PREFIX, &upper, None)?;
        cursor.seek(DEAD_PREFIX)?;
        while let Some((key, lsn)) = cursor.row() {
            if let (Some((db, incarnation)), Some(lsn)) =
                (split_incarnation_key(DEAD_PREFIX, key), lsn_of(lsn))
                && lsn <= upto
            {
                done.push((key.to_vec(), db, incarnation));
            }
            cursor.advance()?;
        }
        drop(cursor);
        for (key, db, incarnation) in done {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            schema::put_page_key(&mut from, db, incarnation, 0);
            schema::put_page_key(&mut to, db, Incarnation(incarnation.0 + 1), 0);
            store.cold.drop_range(Family::Elements, &from, &to)?;
            self.state.lock().dropped_incarnations.push(key);
        }
        Ok(())
    }
}

fn is_range_empty(store: &Store, family: Family, from: &[u8], to: &[u8]) -> Result<bool> {
    let mut cursor = store.cold.cursor(family, from, to, None)?;
    cursor.seek(from)?;
    Ok(cursor.row().is_none())
}

fn lsn_of(row: &[u8]) -> Option<Lsn> {
    Some(Lsn(u64::from_be_bytes(row.try_into().ok()?)))
}
