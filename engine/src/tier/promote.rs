//! Promotion: bringing cold keys into memory, once per key however many clients wait.
//!
//! A fetch registers a slot in the key's shard *before* it reads; a commit on the key marks the
//! slot stale, and what a stale fetch read is thrown away. Whoever waits holds a
//! [`FetchTicket`]; the entries (or the knowledge that there is none) that a ticket waited for
//! stay pinned until it is dropped, so that the transaction that runs again finds them.
//!
//! A key that the shard's filter excludes is not fetched at all. What a complete filter includes
//! almost certainly has a row, which is rarely in the small block cache: it goes to the disk threads,
//! in batches sorted by row key. While a filter is not complete yet, the caller first asks the cold
//! tier without I/O: its own filters and cached blocks answer most misses of keys that do not exist.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use parking_lot::{Condvar, Mutex};

use crate::codec::DecodeError;
use crate::env::Clock;
use crate::error::{Error, Result};
use crate::failpoint::Break;
use crate::ids::{DbId, Incarnation};
use crate::keyspace::fetched::Fetched;
use crate::keyspace::hash::KeyHash;
use crate::keyspace::shard::{FetchSlot, Shard};
use crate::keyspace::store::Store;
use crate::keyspace::ticket::{TicketState, Waiter};
use crate::tier::schema;
use crate::tier::{ColdSnapshot, Family, Lookup, ReadTier};
use crate::value::TypeTag;
use crate::value::collection::{Collection, Held};
use crate::value::stored::{Loaded, NodeLoader, StoredAt};
use crate::value::string::PAGE_BYTES;

/// Most keys that one disk read serves together while their blocks come from memory: sorted neighbours
/// share what it costs to find them.
const BATCH_CACHED: usize = 16;
/// Most threads that read meanwhile: they need cores, not the device.
const THREADS_CACHED: usize = 4;
/// Most keys while the device is waited for. The blocks of a batch are read one after the other, so a queue
/// is better shared by many threads: with direct I/O, 16 threads got 28k rows per second with batches of 16,
/// 30k to 34k with batches of 2, where the device itself gave 43k to 45k blocks.
const BATCH_DEVICE: usize = 2;
/// Time per row that tells the two apart, ns: a row from memory takes 5 to 15 us, a device 60 or more.
const DEVICE_ROW_NS: u64 = 40_000;
/// Batches that decide which of both is the case.
const VOTES: u32 = 32;

/// A wait for keys on their way into memory. Resolves when all are there or known to be absent.
pub struct FetchTicket {
    state: Arc<TicketState>,
    store: Arc<Store>,
}

impl FetchTicket {
    /// Waits on the calling thread.
    pub fn wait(&self) -> Result<()> {
        self.state.wait()
    }

    /// Whether some of what was fetched could not be pinned: see [`crate::keyspace::pins`].
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.state.is_short()
    }

    /// Whether everything is there already.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.is_ready()
    }
}

impl Future for FetchTicket {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.state.poll(cx)
    }
}

impl Drop for FetchTicket {
    fn drop(&mut self) {
        let (pinned, bytes) = self.state.leave();
        for (db, key) in pinned {
            self.store.unpin(db, &key);
        }
        self.store.pins.give(bytes);
    }
}

/// How much of a key to bring into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What the row says. A published value stays in the cold tier.
    Row,
    /// All bytes of the value.
    Whole,
}

/// One key to read. Dropped without an answer, because its thread panicked, it takes its slot away and
/// so fails whoever waits.
struct Job {
    store: Arc<Store>,
    is_answered: Cell<bool>,
    /// The key's entry is there, without its content: that is here.
    stored: Option<StoredAt>,
    db: DbId,
    hash: KeyHash,
    key: Box<[u8]>,
    row_key: Vec<u8>,
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.is_answered.get() {
            let slot = self.store.lock(self.hash.shard).end_fetch(self.db, &self.key);
            drop(slot);
        }
    }
}

impl Job {
    /// Takes the slot of the fetch, once.
    fn end(&self, shard: &mut Shard) -> Option<FetchSlot> {
        self.is_answered.set(true);
        shard.end_fetch(self.db, &self.key)
    }

    /// What the key's entry takes besides its value, about.
    fn weight(&self) -> usize {
        64 + self.key.len()
    }
}

/// The queue between workers and disk threads.
pub struct Promoter {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
    /// Threads that read a batch now.
    reading: usize,
    /// How many of the last batches waited for the device, up to [`VOTES`]. A vote and no mean: one batch
    /// whose thread lost its core for some milliseconds says nothing.
    device_votes: u32,
}

impl Queue {
    /// How many keys one read serves, and how many threads read at once.
    fn pace(&self) -> (usize, usize) {
        if self.device_votes > VOTES / 2 {
            (BATCH_DEVICE, usize::MAX)
        } else {
            (BATCH_CACHED, THREADS_CACHED)
        }
    }

    /// Notes a batch whose rows took this long each.
    fn vote(&mut self, row_ns: u64) {
        self.device_votes = if row_ns >= DEVICE_ROW_NS {
            (self.device_votes + 1).min(VOTES)
        } else {
            self.device_votes.saturating_sub(1)
        };
    }
}

/// A thread that reads a batch. Ends with the batch, also by a panic.
struct Reading<'a> {
    promoter: &'a Promoter,
    rows: u64,
    started_ns: u64,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let took = self.promoter.clock.monotonic_ns().saturating_sub(self.started_ns);
        let mut queue = self.promoter.queue.lock();
        queue.reading -= 1;
        queue.vote(took / self.rows.max(1));
    }
}

impl Promoter {
    /// A promoter without threads; give it some with [`Promoter::run`].
    #[must_use]
    pub fn new(store: Arc<Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Promoter { store, clock, queue: Mutex::new(Queue::default()), work: Condvar::new() })
    }

    /// Brings keys into memory. `None`: all are resident or known to be absent. `has_turn`: it is the
    /// turn of the command that asks.
    pub fn fetch<'k>(
        &self,
        keys: impl Iterator<Item = (DbId, &'k [u8], Depth)>,
        has_turn: bool,
    ) -> Option<FetchTicket> {
        let state = Arc::new(TicketState::new(has_turn));
        let mut waits = 0;
        let (mut jobs, mut rest): (Vec<Job>, Vec<Job>) = (Vec::new(), Vec::new());
        for (db, key, depth) in keys {
            let hash = self.store.hasher.hash(key);
            let mut shard = self.store.lock(hash.shard);
            let stored = if depth == Depth::Whole { shard.stored_at(db, hash, key) } else { None };
            if stored.is_none() && !shard.needs_fetch(db, hash, key) {
                continue;
            }
            waits += 1;
            state.add_one();
            if shard.begin_fetch(db, key, &state) {
                let is_expected =
                    stored.is_some() || shard.db(db).is_some_and(|part| part.filter.is_complete());
                drop(shard);
                let mut row_key = Vec::with_capacity(8 + key.len());
                schema::put_row_key(&mut row_key, db, hash.bucket, key);
                let (store, key) = (Arc::clone(&self.store), Box::from(key));
                let job = Job { store, is_answered: Cell::new(false), stored, db, hash, key, row_key };
                if is_expected { rest.push(job) } else { jobs.push(job) }
            }
        }
        if waits == 0 {
            return None;
        }
        jobs.sort_unstable_by(|a, b| a.row_key.cmp(&b.row_key));
        rest.extend(self.read(jobs, ReadTier::Cached));
        if !rest.is_empty() {
            let mut queue = self.queue.lock();
            if queue.is_closed {
                drop(queue);
                for job in rest {
                    self.complete(&job, Err(Error::Closed));
                }
            } else {
                queue.jobs.extend(rest);
                drop(queue);
                self.work.notify_one();
            }
        }
        let _ = state.complete_one(None, None);
        Some(FetchTicket { state, store: Arc::clone(&self.store) })
    }

    /// Serves the queue until [`Promoter::close`]; the body of a disk thread.
    pub fn run(&self) {
        while let Some(mut batch) = self.take_batch() {
            let _reading =
                Reading { promoter: self, rows: batch.len() as u64, started_ns: self.clock.monotonic_ns() };
            batch.sort_unstable_by(|a, b| a.row_key.cmp(&b.row_key));
            self.read(batch, ReadTier::Disk);
        }
    }

    /// Waits for jobs that this thread should read; `None` to stop.
    fn take_batch(&self) -> Option<Vec<Job>> {
        let mut queue = self.queue.lock();
        loop {
            let (keys, threads) = queue.pace();
            if !queue.jobs.is_empty() && (queue.reading < threads || queue.is_closed) {
                let count = queue.jobs.len().min(keys);
                let batch = queue.jobs.drain(..count).collect();
                queue.reading += 1;
                if !queue.jobs.is_empty() && queue.reading < threads {
                    self.work.notify_one();
                }
                return Some(batch);
            }
            if queue.jobs.is_empty() && queue.is_closed {
                return None;
            }
            self.work.wait(&mut queue);
        }
    }

    /// Lets the disk threads finish what is queued and stop.
    pub fn close(&self) {
        self.queue.lock().is_closed = true;
        self.work.notify_all();
    }

    /// Reads sorted jobs and completes all that got an answer; returns the others.
    fn read(&self, jobs: Vec<Job>, tier: ReadTier) -> Vec<Job> {
        let (jobs, loads): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.stored.is_none());
        for job in loads {
            self.load(&job);
        }
        if jobs.is_empty() {
            return jobs;
        }
        self.store.stats.fetches.fetch_add(jobs.len() as u64, Ordering::Relaxed);
        let keys: Vec<&[u8]> = jobs.iter().map(|job| &job.row_key[..]).collect();
        let mut answered = vec![false; jobs.len()];
        let outcome = self.store.cold.multi_get(Family::Keys, &keys, tier, &mut |i, lookup| {
            let (Some(job), Some(done)) = (jobs.get(i), answered.get_mut(i)) else { return };
            *done = match lookup {
                Lookup::NotCached => false,
                Lookup::Absent => {
                    self.complete(job, Ok(None));
                    true
                }
                Lookup::Found(row) => {
                    self.complete(job, Ok(Some(row)));
                    true
                }
            };
        });
        if tier == ReadTier::Cached {
            let count = answered.iter().filter(|done| **done).count();
            self.store.stats.cached_answers.fetch_add(count as u64, Ordering::Relaxed);
        }
        let mut rest = Vec::new();
        for (job, done) in jobs.into_iter().zip(answered) {
            match (&outcome, done) {
                (_, true) => {}
                (Err(error), false) => self.complete(&job, Err(error.clone())),
                (Ok(()), false) if tier == ReadTier::Cached => rest.push(job),
                (Ok(()), false) => {
                    let detail = "the cold tier gave no answer";
                    self.complete(&job, Err(Error::corruption("family keys", 0, detail)));
                }
            }
        }
        rest
    }

    /// Reads the pages of an entry that has no bytes in memory.
    fn load(&self, job: &Job) {
        let (Some(at), store) = (&job.stored, &self.store) else { return };
        let content = read_stored(store, None, job.db, at, &job.key);
        let bytes = content.as_ref().map_or(0, Loaded::bytes) + job.weight();
        let mut shard = store.lock(job.hash.shard);
        let Some(slot) = job.end(&mut shard) else { return };
        // The pages of a value that was replaced or flushed away meanwhile may be gone already.
        let outcome = if slot.is_stale || shard.db(job.db).is_none() {
            Ok(())
        } else {
            store.stats.promoted.fetch_add(1, Ordering::Relaxed);
            content.and_then(|content| shard.load(job.hash, job.db, &job.key, at.incarnation(), content))
        };
        let pin = |shard: &mut Shard, waiter: &Waiter| -> Result<bool> {
            outcome.clone()?;
            Ok(waiter.grant(&store.pins, bytes)? && shard.pin(job.db, job.hash, &job.key))
        };
        let waiters: Vec<_> =
            slot.waiters.into_iter().map(|waiter| (pin(&mut shard, &waiter), waiter)).collect();
        store.relieve(&mut shard);
        drop(shard);
        self.wake(job, waiters);
    }

    /// Ends the fetch of one key: installs what was read and wakes who waits.
    fn complete(&self, job: &Job, row: Result<Option<&[u8]>>) {
        let row_bytes = row.as_ref().ok().and_then(|row| *row).map_or(0, <[u8]>::len);
        let decoded = row.and_then(|row| row.map(|row| decode(&job.key, row)).transpose());
        let mut shard = self.store.lock(job.hash.shard);
        let Some(slot) = job.end(&mut shard) else { return };
        // Of a record that was changed or flushed away meanwhile, the pages may be gone already.
        let is_outdated = slot.is_stale || shard.db(job.db).is_none();
        if let (Err(error), false) = (&decoded, is_outdated) {
            drop(shard);
            for waiter in slot.waiters {
                let _ = waiter.complete(None, Some(error.clone()));
            }
            return;
        }
        let mut found = decoded.unwrap_or_default();
        let is_found = found.is_some();
        let is_stale = slot.is_stale && !self.store.failpoints.breaks(Break::FetchNeverOverwrites);
        let bytes = row_bytes + job.weight();
        let mut install = |waiter: &Waiter| -> Result<bool> {
            if is_stale {
                return Ok(false);
            }
            let granted = waiter.grant(&self.store.pins, bytes);
            let pin = matches!(granted, Ok(true));
            let is_pinned = shard.install(job.hash, job.db, &job.key, &mut found, pin)?;
            granted.map(|_| is_pinned)
        };
        let waiters: Vec<_> = slot.waiters.into_iter().map(|waiter| (install(&waiter), waiter)).collect();
        if !is_stale && is_found {
            self.store.stats.promoted.fetch_add(1, Ordering::Relaxed);
        }
        self.store.relieve(&mut shard);
        drop(shard);
        self.wake(job, waiters);
    }

    /// Tells who waited whether the key is pinned for them now.
    fn wake(&self, job: &Job, waiters: Vec<(Result<bool>, Waiter)>) {
        for (outcome, waiter) in waiters {
            match outcome {
                Ok(pinned) => {
                    if !waiter.complete(pinned.then_some((job.db, &job.key)), None) {
                        self.store.unpin(job.db, &job.key);
                    }
                }
                Err(error) => {
                    let _ = waiter.complete(None, Some(error));
                }
            }
        }
    }
}

/// Decodes a row. The bytes of a paged string stay in the cold tier until somebody reads them.
pub fn decode<'a>(key: &[u8], row: &'a [u8]) -> Result<Fetched<'a>> {
    let fetched = schema::read_row(row).and_then(Fetched::new);
    fetched.map_err(|error| schema::row_error(Family::Keys, key, error))
}

/// Reads the content of a stored value, as of a view or of now.
pub fn read_stored(
    store: &Store,
    view: Option<&dyn ColdSnapshot>,
    db: DbId,
    at: &StoredAt,
    key: &[u8],
) -> Result<Loaded> {
    let mut bytes = Vec::new();
    match at {
        StoredAt::String { incarnation, len } => {
            read_pages(store, view, db, *incarnation, *len, key, &mut bytes)?;
            Ok(Loaded::String(bytes))
        }
        StoredAt::Pages { tag, incarnation, len } => {
            read_pages(store, view, db, *incarnation, *len, key, &mut bytes)?;
            let value = Collection::decode(*tag, &bytes);
            let value = value.map_err(|error| schema::row_error(Family::Elements, key, error))?;
            Ok(Loaded::Collection(Held::of_pages(value, *incarnation, *len)))
        }
        StoredAt::Nodes { tag, incarnation, header } => {
            let nodes = read_nodes(store, view, db, (*tag, *incarnation), header);
            let held = nodes?.map_err(|error| schema::row_error(Family::Elements, key, error))?;
            Ok(Loaded::Collection(held))
        }
    }
}

fn read_nodes(
    store: &Store,
    view: Option<&dyn ColdSnapshot>,
    db: DbId,
    (tag, incarnation): (TypeTag, Incarnation),
    header: &[u8],
) -> Result<std::result::Result<Held, DecodeError>> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    schema::put_node_key(&mut from, db, incarnation, b"");
    schema::put_node_key(&mut to, db, Incarnation(incarnation.0 + 1), b"");
    let mut cursor = store.cold.cursor(Family::Elements, &from, &to, view)?;
    cursor.seek(&from)?;
    let mut loader = match NodeLoader::new(tag, incarnation, header) {
        Ok(loader) => loader,
        Err(error) => return Ok(Err(error)),
    };
    while let Some((row_key, body)) = cursor.row() {
        if let Err(error) = loader.push(&row_key[from.len()..], body) {
            return Ok(Err(error));
        }
        cursor.advance()?;
    }
    Ok(loader.finish())
}

/// Reads all pages of a paged value, as of a view or of now.
fn read_pages(
    store: &Store,
    view: Option<&dyn ColdSnapshot>,
    db: DbId,
    incarnation: Incarnation,
    len: u64,
    key: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let (mut from, mut to) = (Vec::new(), Vec::new());
    schema::put_page_key(&mut from, db, incarnation, 0);
    schema::put_page_key(&mut to, db, Incarnation(incarnation.0 + 1), 0);
    let mut cursor = store.cold.cursor(Family::Elements, &from, &to, view)?;
    cursor.seek(&from)?;
    let damaged = || {
        let what = format!("family elements, pages of {}", key.escape_ascii());
        Error::corruption(what, 0, "a page is missing or has the wrong length")
    };
    while out.len() < len {
        let expected = (len - out.len()).min(PAGE_BYTES);
        let mut page_key = Vec::new();
        schema::put_page_key(&mut page_key, db, incarnation, (out.len() / PAGE_BYTES) as u32);
        match cursor.row() {
            // The last page may be longer: replay starts from a state that the rows have left behind.
            Some((key, page)) if key == page_key && page.len() >= expected => {
                out.extend_from_slice(&page[..expected]);
            }
            _ => return Err(damaged()),
        }
        cursor.advance()?;
    }
    Ok(())
}

impl Store {
    /// Takes a pin away, and forgets an absence that nobody pins any more.
    pub fn unpin(&self, db: DbId, key: &[u8]) {
        let hash = self.hasher.hash(key);
        self.lock(hash.shard).unpin(db, hash, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_small_while_the_device_is_waited_for() {
        let mut queue = Queue::default();
        assert_eq!(queue.pace(), (BATCH_CACHED, THREADS_CACHED));
        // One of four batches loses its core: the rows still come from memory.
        for round in 0..1000 {
            queue.vote(if round % 4 == 0 { 4_000_000 } else { 9_000 });
            assert_eq!(queue.pace().0, BATCH_CACHED);
        }
        (0..VOTES).for_each(|_| queue.vote(90_000));
        assert_eq!(queue.pace(), (BATCH_DEVICE, usize::MAX));
        (0..VOTES).for_each(|_| queue.vote(9_000));
        assert_eq!((queue.device_votes, queue.pace().0), (0, BATCH_CACHED));
    }
}
