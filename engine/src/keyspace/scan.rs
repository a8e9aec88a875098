//! Walking the keys of a database over both tiers, in bucket order.
//!
//! The cursor is a position in that order and nothing else, so the server keeps no state for it.
//! A step copies a bucket range's hot keys and tombstones shard by shard; while the last shard is
//! still locked it opens the cold tier's cursor, which fixes its view. A key that was there
//! throughout is found: at its shard's copy it was either hot, and is in the copy, or cold, and
//! its row stays until a deletion that would end its being there is written back.
//! A step returns whole buckets, and buckets are fine enough that these are about as many keys as
//! were asked for; of a range that turns out to hold more, the rest is left to the next step. It
//! costs a look at a page of each shard however few keys it returns. A key that waits for its base row since the replay is taken from
//! that row.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::entry::{BodyRef, Entry};
use super::store::Store;
use crate::codec::Reader;
use crate::error::Result;
use crate::failpoint::Break;
use crate::ids::{DbId, DbIndex, ExpireAt};
use crate::tier::schema::{self, Row};
use crate::tier::{ColdCursor, Family};
use crate::value::{TypeTag, Unresolved, Value};
use crate::wal::effect::{Change, Effect, read_effect};

/// So many keys in memory are never too many for one range.
const RANGE_KEYS: u64 = 256;

/// One step of a walk.
#[derive(Debug, Default)]
pub struct ScanStep {
    /// Where the next step starts; `None`: the walk is complete.
    pub next: Option<u32>,
    /// The keys and their types, in no particular order.
    pub keys: Keys,
}

/// Keys and their types.
pub type Keys = Vec<(Vec<u8>, TypeTag)>;

/// One step of a walk over a database of `keys` keys from bucket `from` on, for about `count` of
/// them. `read` returns all keys of a range of buckets and the range's last bucket, which it may
/// bring forward, or `None` if these are far too many; its third argument is how many to aim for.
pub fn step(
    keys: u64,
    from: u32,
    count: u64,
    mut read: impl FnMut(u32, u32, u64) -> Result<Option<(u32, Keys)>>,
) -> Result<ScanStep> {
    if keys == 0 {
        return Ok(ScanStep::default());
    }
    let aim = count.max(1);
    // Half as much again as should do: what is too much is cut off, what is too little is not made up.
    let wanted = aim.saturating_add(aim / 2).saturating_add(2);
    let mut span = ((1u64 << 32) / keys).saturating_mul(wanted).clamp(1, 1 << 32);
    if keys <= aim {
        span = 1 << 32;
    }
    let mut from = u64::from(from);
    loop {
        let to = (from + span - 1).min(u64::from(u32::MAX));
        match read(from as u32, to as u32, aim)? {
            None => span = (span / 8).max(1),
            Some((to, keys)) => {
                let next = u32::try_from(u64::from(to) + 1).ok();
                match next {
                    Some(next) if keys.is_empty() => from = u64::from(next),
                    _ => return Ok(ScanStep { next, keys }),
                }
                // Nothing there: look at a wider range next.
                span = span.saturating_mul(2).min(1 << 32);
            }
        }
    }
}

/// Whether a range has so many keys in memory that a smaller one is better.
#[must_use]
pub fn is_too_many(hot: usize, aim: u64) -> bool {
    hot as u64 > aim.saturating_mul(16).max(RANGE_KEYS)
}

/// Visits the rows of buckets up to `end`. Once `visit` has counted the aim, the bucket is finished
/// and the walk ends; returns the last bucket that was visited as a whole.
pub fn walk_rows(
    cursor: &mut dyn ColdCursor,
    lower: &[u8],
    mut end: u32,
    aim: u64,
    mut visit: impl FnMut(u32, &[u8], &Row<'_>) -> u64,
) -> Result<u32> {
    let mut count = 0;
    cursor.seek(lower)?;
    while let Some((row_key, row)) = cursor.row() {
        let (_, bucket, key) = schema::split_row_key(row_key)
            .map_err(|error| schema::row_error(Family::Keys, row_key, error))?;
        if bucket > end {
            break;
        }
        if count >= aim {
            end = end.min(bucket);
        }
        let row = schema::read_row(row).map_err(|error| schema::row_error(Family::Keys, key, error))?;
        count = visit(bucket, key, &row);
        cursor.advance()?;
    }
    Ok(end)
}

/// The type of an entry's value; `None` for a tombstone or a dead key.
pub fn live_tag(entry: &Entry, now_ms: u64) -> Option<TypeTag> {
    entry.type_tag().filter(|_| !entry.deadline().is_some_and(|at| at.is_past(now_ms)))
}

/// What an entry that waits for its base row since the replay will become of it.
fn waiting_deltas(entry: &Entry) -> Option<&Unresolved> {
    match entry.body() {
        BodyRef::Boxed(Value::Unresolved(deltas)) => Some(deltas),
        _ => None,
    }
}

/// The row keys of buckets `from..=to`.
#[must_use]
pub fn row_bounds(db: DbId, from: u32, to: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    schema::put_row_key(&mut lower, db, from, b"");
    match to.checked_add(1) {
        Some(end) => schema::put_row_key(&mut upper, db, end, b""),
        None => upper.extend_from_slice(&schema::db_range(db).1),
    }
    (lower, upper)
}

impl Store {
    /// Returns the keys of a bucket range that starts at `from` and holds about `count` keys.
    /// Keys past their deadline at `now_ms` are left out.
    pub fn scan(&self, index: DbIndex, from: u32, count: u64, now_ms: u64) -> Result<ScanStep> {
        let db = self.db_id(index);
        let (keys, _) = self.totals(db);
        step(keys, from, count, |from, to, aim| self.scan_range(db, from, to, aim, now_ms))
    }

    /// All keys of buckets `from..=to`; `to` comes back smaller if `aim` keys were there before it.
    /// `None`: far too many, try a smaller range.
    fn scan_range(&self, db: DbId, from: u32, to: u32, aim: u64, now_ms: u64) -> Result<Option<(u32, Keys)>> {
        // A key in memory overrides its row; `None` is a tombstone or a dead key.
        let mut hot: HashMap<Vec<u8>, (u32, Option<TypeTag>)> = HashMap::new();
        // Keys that wait for their base row since the replay, with their new deadline if that is
        // what changed.
        let mut waiting: HashMap<Vec<u8>, Option<Option<ExpireAt>>> = HashMap::new();
        let has_cold = self.has_cold.load(Ordering::Relaxed);
        let (lower, upper) = row_bounds(db, from, to);
        let skips_hot = self.failpoints.breaks(Break::ScanPromise);
        let mut cold = None;
        let last = Store::shard_ids().last();
        for id in Store::shard_ids() {
            let shard = self.lock(id);
            if let Some(part) = shard.db(db).filter(|_| !skips_hot) {
                part.table.for_range(from, to, |bucket, entry| {
                    if let Some(deltas) = waiting_deltas(entry) {
                        waiting.insert(entry.key().to_vec(), new_deadline(deltas));
                        return;
                    }
                    hot.insert(entry.key().to_vec(), (bucket, live_tag(entry, now_ms)));
                });
            }
            if is_too_many(hot.len(), aim) && from < to {
                return Ok(None);
            }
            if has_cold && Some(id) == last {
                cold = Some(self.cold.cursor(Family::Keys, &lower, &upper, None)?);
            }
        }
        let (mut end, mut rows) = (to, Vec::new());
        if let Some(cursor) = &mut cold {
            end = walk_rows(&mut **cursor, &lower, end, aim, |bucket, key, row| {
                let deadline = waiting.get(key).copied().flatten().unwrap_or(row.deadline);
                if !hot.contains_key(key) && !deadline.is_some_and(|at| at.is_past(now_ms)) {
                    rows.push((bucket, key.to_vec(), row.body.type_tag()));
                }
                rows.len() as u64
            })?;
        }
        rows.extend(hot.into_iter().filter_map(|(key, (bucket, tag))| Some((bucket, key, tag?))));
        let end = cut(&mut rows, aim, end);
        Ok(Some((end, rows.into_iter().map(|(_, key, tag)| (key, tag)).collect())))
    }

    /// Counts keys and keys with deadlines from the entries and rows themselves, with all
    /// shards locked; for tests and DEBUG RECOUNT.
    pub fn recount(&self, db: DbId) -> Result<(u64, u64)> {
        let guards: Vec<_> = Store::shard_ids().map(|id| self.lock(id)).collect();
        let (mut keys, mut expires) = (0, 0);
        for part in guards.iter().filter_map(|shard| shard.db(db)) {
            part.table.for_each(|entry| {
                // What waits for its base row is counted with that row.
                if entry.is_value() && waiting_deltas(entry).is_none() {
                    keys += 1;
                    expires += u64::from(entry.deadline().is_some());
                }
            });
        }
        let (from, to) = schema::db_range(db);
        let mut cursor = self.cold.cursor(Family::Keys, &from, &to, None)?;
        cursor.seek(&from)?;
        while let Some((row_key, row)) = cursor.row() {
            let (_, _, key) = schema::split_row_key(row_key)
                .map_err(|error| schema::row_error(Family::Keys, row_key, error))?;
            let hash = self.hasher.hash(key);
            let part = guards.get(hash.shard.0 as usize).and_then(|shard| shard.db(db));
            let entry = part.and_then(|part| part.table.find(hash, key));
            let waiting = entry.and_then(waiting_deltas);
            if entry.is_none() || waiting.is_some() {
                let row =
                    schema::read_row(row).map_err(|error| schema::row_error(Family::Keys, key, error))?;
                let deadline = waiting.and_then(new_deadline).unwrap_or(row.deadline);
                keys += 1;
                expires += u64::from(deadline.is_some());
            }
            cursor.advance()?;
        }
        Ok((keys, expires))
    }
}

/// Keeps the whole buckets that hold the first `aim` keys, none behind `end`; returns the last bucket.
fn cut(keys: &mut Vec<(u32, Vec<u8>, TypeTag)>, aim: u64, end: u32) -> u32 {
    keys.retain(|(bucket, ..)| *bucket <= end);
    if keys.len() as u64 <= aim {
        return end;
    }
    let last = usize::try_from(aim - 1).expect("fewer than there are keys");
    let (_, (end, ..), _) = keys.select_nth_unstable_by_key(last, |(bucket, ..)| *bucket);
    let end = *end;
    keys.retain(|(bucket, ..)| *bucket <= end);
    end
}

/// The deadline that queued deltas lead to; `None` if they leave it alone.
fn new_deadline(waiting: &Unresolved) -> Option<Option<ExpireAt>> {
    waiting.deltas().iter().rev().find_map(|delta| match read_effect(&mut Reader::new(&delta.effect)) {
        Ok(Effect { change: Change::SetDeadline { deadline, .. }, .. }) => Some(deadline),
        _ => None,
    })
}
