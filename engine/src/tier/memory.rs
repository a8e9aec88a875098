//! The in-memory twin of the RocksDB tier, for model tests, crash tests and fuzzing.
//!
//! It owns two images of all families: what readers see, and what the disk would hold. Between
//! them lies the list of writes since the last flush, oldest first. A write changes what readers
//! see and joins the list; a flush applies the list to the disk's image and empties it. Maps are
//! shared with snapshots and cursors and copied only when written while shared.
//!
//! It promises what RocksDB promises, and where RocksDB leaves a choice it can be told to take
//! the worse one:
//!
//! - [`MemoryStore::crash`] keeps any prefix of the writes not shorter than the last flush, whole
//!   batches across all families, as atomic flushes that RocksDB starts by itself do.
//! - [`ColdStore::drop_range`] takes rows from the disk's image, from what readers see and from
//!   live snapshots at once, since deleting files ignores all three; a bulk drop that comes too
//!   early is therefore seen by any crash or snapshot test. With
//!   [`MemoryStore::set_drop_deletes_files`] off the rows stay on disk instead until the next
//!   flush, as rows in level 0 or in files that reach beyond the range do; a death that is
//!   forgotten before that flush then comes back after a crash.
//! - A [`ReadTier::Cached`] read answers [`Lookup::NotCached`], for rows that exist and for rows
//!   that do not, so that tests take the disk's path; [`MemoryStore::set_cached`] changes it.
//!
//! It does not model compaction, sizes on disk or speed; of compactions it knows what was asked for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use super::compaction::CompactionControl;
use super::{
    ColdBatch, ColdCursor, ColdMemory, ColdSnapshot, ColdStats, ColdStore, Family, FamilyStats, Lookup,
    ReadTier,
};
use crate::error::{Error, Result};

/// An in-memory [`ColdStore`]. Clones are handles to the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// Called with no lock held, on the thread that made the call.
pub type Hook = Arc<dyn Fn() + Send + Sync>;

/// What runs before an operation starts, so that a test can hold it at this point.
#[derive(Clone, Default)]
pub struct MemoryHooks {
    /// Before a batch is applied.
    pub before_write: Option<Hook>,
    /// Before rows are read by `get` and `multi_get` from the disk's tier.
    pub before_get: Option<Hook>,
    /// After `multi_get` has read rows from the disk's tier, before the caller sees them.
    pub after_get: Option<Hook>,
    /// Before a cursor is opened.
    pub before_cursor: Option<Hook>,
    /// Before the writes so far become durable.
    pub before_flush: Option<Hook>,
}

/// An operation that can be told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `get` and `multi_get` from the disk's tier, and a cursor's `seek`.
    Read,
    /// `write` and `drop_range`; nothing is applied.
    Write,
    /// `flush`; nothing becomes durable.
    Flush,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    hooks: Mutex<MemoryHooks>,
    is_cached: AtomicBool,
    compaction: CompactionControl,
}

struct State {
    /// What readers see.
    visible: Image,
    /// What the disk holds: the state at the last flush, less the files dropped since.
    durable: Image,
    /// Writes since the last flush, oldest first.
    pending: Vec<Pending>,
    /// Images of snapshots still in use: dropped files vanish from them too.
    snapshots: Vec<Weak<Mutex<Image>>>,
    drop_deletes_files: bool,
    fail_read: Option<Error>,
    fail_write: Option<Error>,
    fail_flush: Option<Error>,
    cache_bytes: usize,
}

impl Default for State {
    fn default() -> Self {
        State {
            visible: Image::default(),
            durable: Image::default(),
            pending: Vec::new(),
            snapshots: Vec::new(),
            drop_deletes_files: true,
            fail_read: None,
            fail_write: None,
            fail_flush: None,
            cache_bytes: 0,
        }
    }
}

impl State {
    fn failure(&mut self, operation: Operation) -> &mut Option<Error> {
        match operation {
            Operation::Read => &mut self.fail_read,
            Operation::Write => &mut self.fail_write,
            Operation::Flush => &mut self.fail_flush,
        }
    }

    /// Takes the failure that a test ordered for this operation.
    fn check(&mut self, operation: Operation) -> Result<()> {
        self.failure(operation).take().map_or(Ok(()), Err)
    }
}

/// One write that waits for a flush.
#[derive(Clone)]
enum Pending {
    Batch(ColdBatch),
    /// The range delete of a bulk drop.
    Range(Family, Vec<u8>, Vec<u8>),
}

type Rows = BTreeMap<Arc<[u8]>, Arc<[u8]>>;

/// The rows of all families.
#[derive(Clone, Default)]
struct Image {
    families: [Arc<Rows>; Family::ALL.len()],
}

impl Image {
    fn rows(&self, family: Family) -> &Arc<Rows> {
        &self.families[family as usize]
    }

    fn apply(&mut self, pending: &Pending) {
        match pending {
            Pending::Batch(batch) => self.apply_batch(batch),
            Pending::Range(family, lower, upper) => self.remove_range(*family, lower, upper),
        }
    }

    fn apply_batch(&mut self, batch: &ColdBatch) {
        for (family, key, value) in batch.iter() {
            let rows = Arc::make_mut(&mut self.families[family as usize]);
            match value {
                Some(value) => {
                    rows.insert(Arc::from(key), Arc::from(value));
                }
                None => {
                    rows.remove(key);
                }
            }
        }
    }

    fn remove_range(&mut self, family: Family, lower: &[u8], upper: &[u8]) {
        if lower >= upper {
            return;
        }
        let shared = &mut self.families[family as usize];
        let range = (Bound::Included(lower), Bound::Excluded(upper));
        let doomed: Vec<_> = shared.range::<[u8], _>(range).map(|(key, _)| Arc::clone(key)).collect();
        if doomed.is_empty() {
            return;
        }
        let rows = Arc::make_mut(shared);
        for key in doomed {
            rows.remove(&key);
        }
    }

    fn bytes(&self, family: Family) -> u64 {
        self.rows(family).iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

impl MemoryStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Returns the store that a process would find after a crash now: the state of the last
    /// flush and the first `keep` writes after it. This store goes on as if nothing happened.
    /// Hooks, ordered failures and the choice of [`MemoryStore::set_cached`] stay behind.
    ///
    /// # Panics
    /// If `keep` is more than [`MemoryStore::pending_batches`].
    #[must_use]
    pub fn crash(&self, keep: usize) -> MemoryStore {
        let state = self.shared.state.lock();
        let mut survived = state.durable.clone();
        for pending in &state.pending[..keep] {
            survived.apply(pending);
        }
        let reopened = State {
            visible: survived.clone(),
            durable: survived,
            drop_deletes_files: state.drop_deletes_files,
            cache_bytes: state.cache_bytes,
            ..State::default()
        };
        MemoryStore { shared: Arc::new(Shared { state: Mutex::new(reopened), ..Shared::default() }) }
    }

    /// Number of writes since the last flush: batches, and the range deletes of bulk drops.
    #[must_use]
    pub fn pending_batches(&self) -> usize {
        self.shared.state.lock().pending.len()
    }

    /// Number of rows that readers see in a family.
    #[must_use]
    pub fn row_count(&self, family: Family) -> usize {
        self.shared.state.lock().visible.rows(family).len()
    }

    /// Sets whether a cached read finds everything (`true`) or nothing (`false`, the default).
    pub fn set_cached(&self, is_cached: bool) {
        // ORDERING: a test's switch; it publishes no other data.
        self.shared.is_cached.store(is_cached, Ordering::Relaxed);
    }

    /// Sets whether a bulk drop deletes files at once (`true`, the default) or leaves all rows
    /// on disk until the next flush. RocksDB does either, depending on where the rows are.
    pub fn set_drop_deletes_files(&self, deletes_files: bool) {
        self.shared.state.lock().drop_deletes_files = deletes_files;
    }

    /// Replaces the hooks.
    pub fn set_hooks(&self, hooks: MemoryHooks) {
        *self.shared.hooks.lock() = hooks;
    }

    /// Makes the next such operation return `error`; the one after it works again.
    pub fn fail_next(&self, operation: Operation, error: Error) {
        *self.shared.state.lock().failure(operation) = Some(error);
    }

    fn run_hook(&self, choose: impl Fn(&MemoryHooks) -> &Option<Hook>) {
        let hook = choose(&self.shared.hooks.lock()).clone();
        if let Some(hook) = hook {
            hook();
        }
    }

    /// The rows a point read may use, or `None` if they would come from the disk.
    fn rows_for_read(&self, family: Family, tier: ReadTier) -> Result<Option<Arc<Rows>>> {
        match tier {
            // ORDERING: see `set_cached`.
            ReadTier::Cached if !self.shared.is_cached.load(Ordering::Relaxed) => Ok(None),
            ReadTier::Cached => Ok(Some(Arc::clone(self.shared.state.lock().visible.rows(family)))),
            ReadTier::Disk => {
                self.run_hook(|hooks| &hooks.before_get);
                let mut state = self.shared.state.lock();
                state.check(Operation::Read)?;
                Ok(Some(Arc::clone(state.visible.rows(family))))
            }
        }
    }
}

impl ColdStore for MemoryStore {
    fn get<'a>(
        &self,
        family: Family,
        key: &[u8],
        tier: ReadTier,
        out: &'a mut Vec<u8>,
    ) -> Result<Lookup<'a>> {
        out.clear();
        let Some(rows) = self.rows_for_read(family, tier)? else {
            return Ok(Lookup::NotCached);
        };
        match rows.get(key) {
            Some(value) => {
                out.extend_from_slice(value);
                Ok(Lookup::Found(out))
            }
            None => Ok(Lookup::Absent),
        }
    }

    fn multi_get(
        &self,
        family: Family,
        keys: &[&[u8]],
        tier: ReadTier,
        each: &mut dyn FnMut(usize, Lookup<'_>),
    ) -> Result<()> {
        assert!(keys.is_sorted(), "the keys of a batched read are sorted");
        let rows = self.rows_for_read(family, tier)?;
        if tier == ReadTier::Disk {
            self.run_hook(|hooks| &hooks.after_get);
        }
        for (index, key) in keys.iter().enumerate() {
            each(
                index,
                match &rows {
                    None => Lookup::NotCached,
                    Some(rows) => match rows.get(*key) {
                        Some(value) => Lookup::Found(value),
                        None => Lookup::Absent,
                    },
                },
            );
        }
        Ok(())
    }

    fn write(&self, batch: &ColdBatch) -> Result<()> {
        self.run_hook(|hooks| &hooks.before_write);
        let mut state = self.shared.state.lock();
        state.check(Operation::Write)?;
        if !batch.is_empty() {
            state.visible.apply_batch(batch);
            state.pending.push(Pending::Batch(batch.clone()));
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.run_hook(|hooks| &hooks.before_flush);
        let mut state = self.shared.state.lock();
        state.check(Operation::Flush)?;
        let pending = std::mem::take(&mut state.pending);
        for pending in &pending {
            state.durable.apply(pending);
        }
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn ColdSnapshot> {
        let mut state = self.shared.state.lock();
        let image = Arc::new(Mutex::new(state.visible.clone()));
        state.snapshots.retain(|snapshot| snapshot.strong_count() > 0);
        state.snapshots.push(Arc::downgrade(&image));
        Box::new(MemorySnapshot { image, store: Arc::downgrade(&self.shared) })
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        lower: &[u8],
        upper: &[u8],
        snapshot: Option<&'a dyn ColdSnapshot>,
    ) -> Result<Box<dyn ColdCursor + 'a>> {
        self.run_hook(|hooks| &hooks.before_cursor);
        let rows = match snapshot {
            None => Arc::clone(self.shared.state.lock().visible.rows(family)),
            Some(snapshot) => {
                let snapshot = snapshot
                    .as_any()
                    .downcast_ref::<MemorySnapshot>()
                    .expect("a snapshot is read through the store that made it");
                assert!(
                    std::ptr::eq(snapshot.store.as_ptr(), Arc::as_ptr(&self.shared)),
                    "a snapshot is read through the store that made it"
                );
                Arc::clone(snapshot.image.lock().rows(family))
            }
        };
        let (lower, upper) = (lower.to_vec(), upper.to_vec());
        Ok(Box::new(MemoryCursor { store: self, rows, lower, upper, at: None }))
    }

    fn drop_range(&self, family: Family, lower: &[u8], upper: &[u8]) -> Result<()> {
        if lower >= upper {
            return Ok(());
        }
        let mut state = self.shared.state.lock();
        state.check(Operation::Write)?;
        state.visible.remove_range(family, lower, upper);
        if state.drop_deletes_files {
            state.durable.remove_range(family, lower, upper);
            for snapshot in state.snapshots.iter().filter_map(Weak::upgrade) {
                snapshot.lock().remove_range(family, lower, upper);
            }
        }
        state.pending.push(Pending::Range(family, lower.to_vec(), upper.to_vec()));
        Ok(())
    }

    fn compact(
        &self,
        _family: Family,
        _lower: Option<&[u8]>,
        _upper: Option<&[u8]>,
        _bottom: bool,
    ) -> Result<bool> {
        Ok(self.shared.compaction.may_go_on(self.shared.compaction.begin(), 0))
    }

    fn cancel_compactions(&self) {
        self.shared.compaction.cancel();
    }

    fn pause_compactions(&self, is_paused: bool) -> Result<()> {
        self.shared.compaction.pause(is_paused);
        Ok(())
    }

    fn limit_compactions(&self, bytes_per_second: u64) {
        self.shared.compaction.limit(bytes_per_second);
    }

    fn stats(&self) -> ColdStats {
        let state = self.shared.state.lock();
        let pending_bytes: usize = state
            .pending
            .iter()
            .map(|pending| match pending {
                Pending::Batch(batch) => batch.bytes(),
                Pending::Range(_, lower, upper) => lower.len() + upper.len(),
            })
            .sum();
        let families: Vec<_> = Family::ALL
            .into_iter()
            .map(|family| FamilyStats {
                name: family.name(),
                rows_estimate: state.visible.rows(family).len() as u64,
                sst_bytes: state.durable.bytes(family),
                files_per_level: Vec::new(),
            })
            .collect();
        let disk_bytes = families.iter().map(|family| family.sst_bytes).sum();
        ColdStats {
            memtable_bytes: pending_bytes as u64,
            block_cache_capacity_bytes: state.cache_bytes as u64,
            disk_bytes,
            live_data_bytes: disk_bytes,
            is_compaction_paused: self.shared.compaction.is_paused(),
            compaction_bytes_per_second: self.shared.compaction.bytes_per_second(),
            families,
            ..ColdStats::default()
        }
    }

    fn memory(&self) -> ColdMemory {
        ColdMemory::default()
    }

    fn set_memory(&self, cache_bytes: usize, _memtable_bytes: usize) {
        self.shared.state.lock().cache_bytes = cache_bytes;
    }
}

struct MemorySnapshot {
    image: Arc<Mutex<Image>>,
    /// Which store made it; weak, so that a forgotten snapshot does not keep a store.
    store: Weak<Shared>,
}

impl ColdSnapshot for MemorySnapshot {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

struct MemoryCursor<'a> {
    store: &'a MemoryStore,
    rows: Arc<Rows>,
    lower: Vec<u8>,
    upper: Vec<u8>,
    at: Option<(Arc<[u8]>, Arc<[u8]>)>,
}

impl MemoryCursor<'_> {
    fn first_from(&self, from: Bound<&[u8]>) -> Option<(Arc<[u8]>, Arc<[u8]>)> {
        let (Bound::Included(start) | Bound::Excluded(start)) = from else {
            return None;
        };
        // A map's range must not start at or after its end.
        if start >= self.upper.as_slice() {
            return None;
        }
        let range = (from, Bound::Excluded(self.upper.as_slice()));
        let (key, value) = self.rows.range::<[u8], _>(range).next()?;
        Some((Arc::clone(key), Arc::clone(value)))
    }
}

impl ColdCursor for MemoryCursor<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.at.as_ref().map(|(key, value)| (&**key, &**value))
    }

    fn advance(&mut self) -> Result<()> {
        if let Some((key, _)) = self.at.take() {
            self.at = self.first_from(Bound::Excluded(&key));
        }
        Ok(())
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        self.at = None;
        self.store.shared.state.lock().check(Operation::Read)?;
        let start = key.max(self.lower.as_slice());
        self.at = self.first_from(Bound::Included(start));
        Ok(())
    }
}

/// A point at which threads are held until a test lets them go.
///
/// [`Gate::hook`] goes into [`MemoryHooks`]; every call that meets it while it is closed waits.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<(Mutex<GateState>, Condvar)>,
}

struct GateState {
    is_open: bool,
    waiting: usize,
}

impl Gate {
    /// Creates a gate that holds whoever comes.
    #[must_use]
    pub fn closed() -> Self {
        let state = GateState { is_open: false, waiting: 0 };
        Gate { inner: Arc::new((Mutex::new(state), Condvar::new())) }
    }

    /// Lets all go who wait and all who come later.
    pub fn open(&self) {
        let (state, changed) = &*self.inner;
        state.lock().is_open = true;
        changed.notify_all();
    }

    /// Holds whoever comes from now on.
    pub fn close(&self) {
        self.inner.0.lock().is_open = false;
    }

    /// Returns once `threads` threads wait at the gate.
    pub fn wait_for_arrivals(&self, threads: usize) {
        let (state, changed) = &*self.inner;
        let mut state = state.lock();
        while state.waiting < threads {
            changed.wait(&mut state);
        }
    }

    /// The hook that waits at this gate.
    #[must_use]
    pub fn hook(&self) -> Hook {
        let gate = self.clone();
        Arc::new(move || gate.pass())
    }

    fn pass(&self) {
        let (state, changed) = &*self.inner;
        let mut state = state.lock();
        state.waiting += 1;
        changed.notify_all();
        while !state.is_open {
            changed.wait(&mut state);
        }
        state.waiting -= 1;
    }
}
