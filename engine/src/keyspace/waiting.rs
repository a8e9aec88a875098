//! Keys that wait for their row since the replay: which they are, and how they get their base.
//!
//! Replay reads no rows, so a delta whose base is not in memory is queued on its key, as an entry that
//! is dirty and present. It can be neither written back nor evicted. Whoever resolves many of them
//! does so a part at a time, and writes back and evicts between, or memory would have to hold the
//! rows of the whole tail.

use super::entry::{BodyRef, Entry, flag};
use super::fetched::Fetched;
use super::hash::KeyHash;
use super::shard::{Origin, Shard};
use crate::codec::Reader;
use crate::error::Result;
use crate::ids::{DbId, Lsn};
use crate::value::{Delta, Unresolved, Value};
use crate::wal::effect::{Change, Effect, put_effect, read_effect};

/// Keys of one step of a walk, at least; a step ends with a page.
const STEP_KEYS: usize = 64;
/// Pages of one step, at most.
const STEP_PAGES: usize = 16;

/// Queues a delta. A change of the deadline takes the place of one just before it: a key whose
/// deadline is pushed ahead with each use costs no more for that.
pub(super) fn queue(waiting: &mut Unresolved, effect: &Effect<'_>, lsn: Lsn, base: Lsn) {
    let mut encoded = Vec::new();
    put_effect(&mut encoded, effect);
    let mut delta = Delta { lsn, base, is_merged: false, effect: encoded.into_boxed_slice() };
    let is_deadline = |change: &Change<'_>| matches!(change, Change::SetDeadline { .. });
    if let Some(last) = waiting.deltas().last()
        && is_deadline(&effect.change)
        && is_deadline(&read_effect(&mut Reader::new(&last.effect)).expect("encoded here").change)
    {
        (delta.base, delta.is_merged) = (last.base, true);
        waiting.pop();
    }
    waiting.push(delta);
}

/// Whether a key's logged changes wait for its row or its pages, and may still get them.
fn is_waiting(entry: &Entry, with_baseless: bool) -> bool {
    match entry.body() {
        BodyRef::Boxed(Value::Unresolved(waiting)) => with_baseless || !waiting.is_baseless,
        BodyRef::Boxed(Value::Stored(stored)) => stored.has_edits(),
        BodyRef::Boxed(Value::StoredCollection(stored)) => stored.has_edits(),
        _ => false,
    }
}

impl Shard {
    /// One step of a walk over the keys of a database that wait, from bucket `from` on; also those that
    /// are known to have no row, if wanted. Returns the bucket to go on from; `None` at the end.
    #[must_use]
    pub fn waiting(&self, db: DbId, from: u32, with_baseless: bool) -> (Vec<Box<[u8]>>, Option<u32>) {
        let (mut keys, mut next) = (Vec::new(), Some(from));
        let Some(part) = self.db(db) else { return (keys, None) };
        for _ in 0..STEP_PAGES {
            let Some(bucket) = next.filter(|_| keys.len() < STEP_KEYS) else { break };
            let page = part.table.page_at(bucket);
            next = part.table.next_start(page);
            if part.table.has_dirty(page) {
                part.table.for_page(page, |entry| {
                    if is_waiting(entry, with_baseless) {
                        keys.push(Box::from(entry.key()));
                    }
                });
            }
        }
        (keys, next)
    }

    /// Whether a key's logged changes wait for its row or its pages.
    #[must_use]
    pub fn is_waiting(&self, db: DbId, hash: KeyHash, key: &[u8]) -> bool {
        let entry = self.db(db).and_then(|part| part.table.find(hash, key));
        entry.is_some_and(|entry| is_waiting(entry, true))
    }

    /// Applies the deltas that wait on an entry to its row. `false`: the row is not one that they
    /// apply to, and the entry is marked as one without a base.
    ///
    /// # Errors
    /// The deltas do not follow one another: corruption.
    pub fn resolve(
        &mut self,
        hash: KeyHash,
        db: DbId,
        key: &[u8],
        row: &mut Option<Fetched<'_>>,
    ) -> Result<bool> {
        let part = self.db_mut(db).expect("the caller found it");
        let entry = part.table.find_mut(hash, key).expect("the caller found it");
        let (pins, usage, size) = (entry.pins(), entry.usage(), entry.heap_bytes());
        let Some(Value::Unresolved(waiting)) = entry.boxed_mut() else { return Ok(true) };
        let row_lsn = row.as_ref().map_or(Lsn(0), |row| row.row.lsn);
        let first = waiting.deltas().iter().position(|delta| delta.lsn > row_lsn);
        let fits = |delta: &Delta| delta.base == row_lsn || delta.is_merged && delta.base < row_lsn;
        // Without any it is what a move left of a value that the log leads elsewhere.
        let is_base =
            !waiting.deltas().is_empty() && first.is_none_or(|first| fits(&waiting.deltas()[first]));
        let Some(row) = row.take_if(|_| is_base) else {
            waiting.is_baseless = true;
            return Ok(false);
        };
        let deltas = waiting.take();
        let mut base = row.into_entry(key);
        // Dirty even if the row holds all the deltas: replay took its hint for outdated, so that
        // the hint must be written again with it.
        base.set(flag::COLD | flag::DIRTY);
        base.set_usage(usage);
        for _ in 0..pins {
            let _ = base.pin();
        }
        let base_hint = base.element_deadline();
        self.bytes = self.bytes - size + base.heap_bytes();
        self.dirty_bytes = self.dirty_bytes - size + base.heap_bytes();
        let part = self.db_mut(db).expect("the caller found it");
        part.table.insert(hash, base);
        let mut at = row_lsn;
        for delta in &deltas[first.unwrap_or(deltas.len())..] {
            let mut effect = read_effect(&mut Reader::new(&delta.effect)).expect("encoded by `queue`");
            if let (Change::SetDeadline { base, .. }, true) = (&mut effect.change, delta.is_merged) {
                *base = at;
            }
            // The second effect of one commit meets the first's LSN, as in the live path.
            debug_assert!(delta.lsn >= at);
            at = delta.lsn;
            self.delta(hash, &effect, delta.lsn, Origin::Live)?;
        }
        // Its time may have come while it was not known. A later deadline is watched when it is
        // written back, like any other.
        let entry = self.db(db).and_then(|part| part.table.find(hash, key));
        let deadline = entry.and_then(Entry::deadline);
        let elements = entry.and_then(Entry::element_deadline);
        if let Some(stale) = base_hint.filter(|_| elements != base_hint) {
            self.stale_hints.note_elements(db, hash, key, stale, at);
        }
        let near_until = self.near_until;
        for at in [deadline, elements].into_iter().flatten().filter(|at| *at <= near_until) {
            self.watch(at, db, hash.bucket);
        }
        Ok(true)
    }
}
