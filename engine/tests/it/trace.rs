//! A store beside the states it went through, one per commit: what a crash may leave.
//!
//! After any crash the log's last LSN says which state must be there, exactly; what was
//! acknowledged must not lie behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lux_engine::env::sim::{SimFiles, SimRng};
use lux_engine::ids::{ExpireAt, Lsn};
use lux_engine::tier::memory::{MemoryHooks, MemoryStore};
use lux_engine::txn::{Committed, Interrupt, Mode, Txn, ValueRef};
use lux_engine::value::TypeTag;
use lux_engine::value::collection::Collection;
use lux_engine::value::list::{End, ListLimits, ListValue};
use lux_engine::wal::FsyncPolicy;
use lux_engine::wal::effect::{Operation, StringBody};
use lux_engine::{Engine, Error, Result};
use parking_lot::Mutex;

use crate::rig::{DB, LIST, Rig, body, rename_in, text};

/// Keys with value and deadline.
pub type Map = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// A store and its past.
pub struct Trace {
    pub rig: Rig,
    pub map: Map,
    states: Vec<(Lsn, Map)>,
    acknowledged: Lsn,
    is_quiet: bool,
}

/// Everything but the store: what it must hold after a crash.
pub struct Past {
    states: Vec<(Lsn, Map)>,
    acknowledged: Lsn,
}

impl Trace {
    pub fn new(rig: Rig) -> Trace {
        let last = rig.engine.wal().last_lsn();
        Trace { rig, map: Map::new(), states: vec![(last, Map::new())], acknowledged: last, is_quiet: false }
    }

    /// Keeps only the last state from now on: for long histories that end with a kill.
    pub fn keep_last_state_only(&mut self) {
        self.is_quiet = true;
    }

    /// Runs a command; when it commits, the map changes too.
    pub fn command<R>(
        &mut self,
        keys: &[&[u8]],
        mode: Mode,
        command: impl FnMut(&mut Txn<'_>) -> Result<R, Interrupt>,
        change: impl FnOnce(&mut Map),
    ) -> Result<R> {
        let now = self.rig.now_ms();
        self.map.retain(|_, (_, at)| at.is_none_or(|at| at > now));
        let before = self.rig.engine.wal().last_lsn();
        let outcome = self.rig.run(DB, keys, mode, command);
        if self.rig.engine.wal().last_lsn() > before {
            // Appended, whatever becomes of the acknowledgement.
            change(&mut self.map);
            if !self.is_quiet {
                self.states.push((self.rig.engine.wal().last_lsn(), self.map.clone()));
            }
        }
        let (result, committed) = outcome?;
        self.acknowledge(committed)?;
        Ok(result)
    }

    fn acknowledge(&mut self, committed: Committed) -> Result<()> {
        if self.rig.options.fsync == FsyncPolicy::Always {
            self.rig.engine.wal().wait_durable_blocking(committed.observed)?;
            self.acknowledged = self.acknowledged.max(committed.observed);
        }
        Ok(())
    }

    pub fn set(&mut self, key: &[u8], value: &[u8], deadline: Option<u64>) -> Result<()> {
        self.command(
            &[key],
            Mode::Keys,
            |txn| {
                txn.set_operation(Operation::Set);
                txn.put_string(key, body(value), deadline.map(ExpireAt), false)
            },
            |map| drop(map.insert(key.to_vec(), (value.to_vec(), deadline))),
        )
    }

    pub fn del(&mut self, key: &[u8]) -> Result<bool> {
        self.command(
            &[key],
            Mode::Reserve,
            |txn| {
                txn.set_operation(Operation::Del);
                txn.delete(key)
            },
            |map| drop(map.remove(key)),
        )
    }

    pub fn append(&mut self, key: &[u8], bytes: &[u8]) -> Result<()> {
        self.command(
            &[key],
            Mode::Keys,
            |txn| match txn.lookup(key)?.map(|found| found.value) {
                Some(ValueRef::Collection(_)) => Ok(()),
                Some(_) => txn.append(key, bytes),
                None => txn.put_string(key, StringBody::Bytes(bytes), None, false),
            },
            |map| map.entry(key.to_vec()).or_default().0.extend_from_slice(bytes),
        )
    }

    /// RPUSH; of a key that holds a string, nothing.
    pub fn push(&mut self, key: &[u8], element: &[u8]) -> Result<()> {
        self.command(
            &[key],
            Mode::Keys,
            |txn| {
                let empty = ListValue::default();
                let list = match txn.lookup(key)?.map(|found| found.value) {
                    None => &empty,
                    Some(ValueRef::Collection(Collection::List(list))) => list,
                    Some(_) => return Ok(()),
                };
                let mut edit = Vec::new();
                list.plan_push(End::Back, std::iter::once(element), ListLimits::default(), &mut edit);
                txn.edit_collection(key, TypeTag::List, &edit)
            },
            |map| {
                let (text, _) = map.entry(key.to_vec()).or_insert_with(|| (vec![LIST], None));
                text.extend_from_slice(element);
            },
        )
    }

    /// SETRANGE of a key that exists.
    pub fn set_range(&mut self, key: &[u8], offset: usize, bytes: &[u8]) -> Result<()> {
        self.command(
            &[key],
            Mode::Keys,
            |txn| match txn.lookup(key)?.map(|found| found.value) {
                Some(ValueRef::Collection(_)) | None => Ok(()),
                Some(_) => txn.set_range(key, offset, bytes),
            },
            |map| {
                if let Some((value, _)) = map.get_mut(key) {
                    value.resize(value.len().max(offset + bytes.len()), 0);
                    value[offset..offset + bytes.len()].copy_from_slice(bytes);
                }
            },
        )
    }

    pub fn expire_at(&mut self, key: &[u8], deadline: Option<u64>) -> Result<()> {
        self.command(
            &[key],
            Mode::Keys,
            |txn| match txn.lookup(key)? {
                Some(_) => txn.set_deadline(key, deadline.map(ExpireAt)),
                None => Ok(()),
            },
            |map| {
                if let Some((_, at)) = map.get_mut(key) {
                    *at = deadline;
                }
            },
        )
    }

    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<()> {
        self.command(
            &[from, to],
            Mode::Keys,
            |txn| {
                txn.set_operation(Operation::Rename);
                rename_in(txn, from, to).map(|_| ())
            },
            |map| {
                if let Some(value) = map.remove(from) {
                    map.insert(to.to_vec(), value);
                }
            },
        )
    }

    pub fn mset(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        let keys: Vec<&[u8]> = pairs.iter().map(|(key, _)| *key).collect();
        self.command(
            &keys,
            Mode::Keys,
            |txn| pairs.iter().try_for_each(|(key, value)| txn.put_string(key, body(value), None, false)),
            |map| map.extend(pairs.iter().map(|(key, value)| (key.to_vec(), (value.to_vec(), None)))),
        )
    }

    pub fn flush_db(&mut self) -> Result<()> {
        self.command(
            &[],
            Mode::All,
            |txn| {
                txn.set_operation(Operation::FlushDb);
                txn.flush(&[DB]);
                Ok(())
            },
            |map| map.clear(),
        )
    }

    pub fn checkpoint(&self) -> Result<()> {
        self.rig.engine.checkpoint().map(|_| ())
    }

    pub fn evict(&self) -> Result<()> {
        self.rig.engine.evict(DB, Box::new(|_| true)).map(|_| ())
    }

    /// Makes everything durable and counts it as acknowledged.
    pub fn sync(&mut self) -> Result<()> {
        let last = self.rig.engine.wal().last_lsn();
        self.rig.engine.wal().wait_durable_blocking(last)?;
        self.acknowledged = last;
        Ok(())
    }

    /// One random operation.
    pub fn step(&mut self, rng: &mut SimRng) -> Result<()> {
        let key = format!("key:{}", rng.below(12)).into_bytes();
        let now = self.rig.now_ms();
        let value = match rng.below(8) {
            0 => vec![b'a' + rng.below(20) as u8; 600 + rng.below(2000) as usize],
            1 => rng.below(1 << 40).to_string().into_bytes(),
            _ => format!("value {}", rng.next_u64()).into_bytes(),
        };
        match rng.below(100) {
            0..=34 => {
                let deadline = (rng.below(4) == 0).then(|| now + 1 + rng.below(400_000));
                self.set(&key, &value, deadline)
            }
            35..=44 => self.del(&key).map(|_| ()),
            45..=54 => self.append(&key, &value),
            55..=60 => self.set_range(&key, rng.below(900) as usize, &value),
            61..=68 => self.expire_at(&key, (rng.below(3) > 0).then(|| now + 1 + rng.below(400_000))),
            69..=75 => self.rename(&key, format!("key:{}", rng.below(12)).as_bytes()),
            76..=80 => {
                let other = format!("key:{}", rng.below(12)).into_bytes();
                self.mset(&[(&key, &value), (&other, b"both")])
            }
            81..=82 => self.flush_db(),
            83..=88 => self.checkpoint(),
            89..=94 => self.evict(),
            95..=96 => {
                self.rig.advance(1 + rng.below(60_000));
                self.rig.engine.reaper().tick().map(|_| ())
            }
            _ => self.sync(),
        }
    }

    /// Notes a commit that was made without this trace, the last one so far.
    pub fn note(&mut self, change: impl FnOnce(&mut Map)) {
        change(&mut self.map);
        self.states.push((self.rig.engine.wal().last_lsn(), self.map.clone()));
    }

    /// Opens and checks what a kill and power cuts now would leave: every prefix of the cold
    /// tier's unflushed writes, each with several subsets of the files' unsynced sectors.
    pub fn check_crashes(&self, seed: u64) -> Result<(), String> {
        let rig = &self.rig;
        let mut past =
            Past { states: self.states.clone(), acknowledged: self.states[self.states.len() - 1].0 };
        let pending = rig.cold.pending_batches();
        past.check_image(rig, rig.files.kill(), rig.cold.crash(pending))
            .map_err(|error| format!("after a kill: {error}"))?;
        past.acknowledged = rig.engine.wal().durable_lsn();
        let mut rng = SimRng::new(seed);
        for keep in 0..=pending {
            for _ in 0..3 {
                past.check_image(rig, rig.files.crash(&mut rng), rig.cold.crash(keep))
                    .map_err(|error| format!("power cut, {keep} of {pending} writes stay: {error}"))?;
            }
        }
        Ok(())
    }

    /// Takes the store away: it is about to crash.
    pub fn split(mut self) -> (Rig, Past) {
        if self.is_quiet {
            self.states = vec![(self.rig.engine.wal().last_lsn(), self.map)];
        }
        (self.rig, Past { states: self.states, acknowledged: self.acknowledged })
    }

    /// Kills the store, opens it and checks it; everything committed must be there.
    pub fn kill_and_check(self) -> Result<Trace, String> {
        let (rig, mut past) = self.split();
        past.acknowledged = past.last();
        let rig = rig.try_kill().map_err(|error| format!("does not open: {error}"))?;
        past.check(rig)
    }

    /// Cuts the power, opens the store and checks it.
    pub fn power_cut_and_check(self, rng: &mut SimRng) -> Result<Trace, String> {
        let (rig, past) = self.split();
        let rig = rig.power_cut(rng).map_err(|error| format!("does not open: {error}"))?;
        past.check(rig)
    }
}

impl Past {
    /// LSN of the last commit.
    pub fn last(&self) -> Lsn {
        self.states.last().expect("the first state is there").0
    }

    /// Everything committed was acknowledged: after a kill.
    pub fn acknowledge_all(mut self) -> Past {
        self.acknowledged = self.last();
        self
    }

    /// Whether a reopened store holds the state of its log's last LSN, which must not be before
    /// what was acknowledged; goes on from there.
    pub fn check(mut self, rig: Rig) -> Result<Trace, String> {
        self.check_only(&rig)?;
        let last = rig.engine.wal().last_lsn();
        self.states.retain(|(lsn, _)| *lsn <= last);
        let map = self.states.last().expect("checked").1.clone();
        self.states.push((last, map.clone()));
        Ok(Trace { rig, map, states: self.states, acknowledged: last, is_quiet: false })
    }

    fn check_image(&self, from: &Rig, files: SimFiles, cold: MemoryStore) -> Result<(), String> {
        let rig = Rig::open(files, Arc::clone(&from.clock), cold, from.options)
            .map_err(|error| format!("does not open: {error}"))?;
        self.check_only(&rig)?;
        // What this run makes of it must be as good: a round, then another crash.
        rig.engine.checkpoint().map_err(|error| format!("no round: {error}"))?;
        let again = rig.try_kill().map_err(|error| format!("does not open after a round: {error}"))?;
        self.check_only(&again).map_err(|error| format!("after a round: {error}"))
    }

    pub fn check_only(&self, rig: &Rig) -> Result<(), String> {
        let last = rig.engine.wal().last_lsn();
        if last < self.acknowledged {
            return Err(format!("acknowledged up to {}, but the log ends at {last}", self.acknowledged));
        }
        let (lsn, expected) =
            self.states.iter().rev().find(|(lsn, _)| *lsn <= last).ok_or("a log before the first state")?;
        let now = rig.now_ms();
        let live: Map = expected
            .iter()
            .filter(|(_, (_, at))| at.is_none_or(|at| at > now))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let found = contents(rig).map_err(|error| format!("cannot be read: {error}"))?;
        if found != live {
            return Err(format!("not the state of LSN {lsn} ({last}): {}", difference(&found, &live)));
        }
        rig.engine.reaper().tick().map_err(|error| format!("cannot reap: {error}"))?;
        rig.try_counters()
    }
}

/// All keys of a store, by SCAN and reads.
pub fn contents(rig: &Rig) -> Result<Map> {
    let (mut map, mut from) = (Map::new(), Some(0));
    while let Some(cursor) = from {
        let step = rig.engine.scan(DB, cursor, 10)?;
        for (key, _) in step.keys {
            let (found, _) = rig.run(DB, &[&key], Mode::Keys, |txn| {
                Ok(txn.lookup(&key)?.map(|found| (text(found.value), found.deadline.map(|at| at.0))))
            })?;
            let found = found.ok_or(Error::corruption("scan", 0, "a scanned key cannot be read"))?;
            map.insert(key, found);
        }
        from = step.next;
    }
    Ok(map)
}

fn difference(found: &Map, expected: &Map) -> String {
    let show = |value: Option<&(Vec<u8>, Option<u64>)>| match value {
        Some((value, at)) => {
            format!("{} ({} bytes) until {at:?}", value[..value.len().min(24)].escape_ascii(), value.len())
        }
        None => "nothing".to_string(),
    };
    let keys: BTreeSet<&Vec<u8>> = found.keys().chain(expected.keys()).collect();
    let wrong = keys.into_iter().filter(|key| found.get(*key) != expected.get(*key)).take(4);
    let lines: Vec<String> = wrong
        .map(|key| {
            let (found, expected) = (show(found.get(key)), show(expected.get(key)));
            format!("{} is {found}, not {expected}", key.escape_ascii())
        })
        .collect();
    lines.join("; ")
}

/// Files, rows, and the LSN that the log must reach.
type Image = (SimFiles, MemoryStore, Lsn);

/// Images of files and cold tier, taken at each step of the cold tier's work: what a crash at
/// that moment would leave.
#[derive(Clone, Default)]
pub struct Images {
    taken: Arc<Mutex<Vec<Image>>>,
}

impl Images {
    /// Takes an image of a kill and one of a power cut before every write and flush from now on.
    pub fn watch(rig: &Rig, seed: u64) -> Images {
        Images::watch_and(rig, seed, |_, _| {})
    }

    /// Also runs an action before write number 0, 1, ... : on the thread that writes, with no
    /// lock held.
    pub fn watch_and(
        rig: &Rig,
        seed: u64,
        action: impl Fn(usize, &Engine) + Send + Sync + 'static,
    ) -> Images {
        let images = Images::default();
        let (taken, files, cold) = (Arc::clone(&images.taken), rig.files.clone(), rig.cold.clone());
        let rng = Mutex::new(SimRng::new(seed));
        let wal = Arc::clone(rig.engine.wal());
        let take = Arc::new(move || {
            let rng = &mut *rng.lock();
            let pending = cold.pending_batches();
            let keep = rng.below(pending as u64 + 1) as usize;
            let (last, durable) = (wal.last_lsn(), wal.durable_lsn());
            taken.lock().push((files.kill(), cold.crash(pending), last));
            taken.lock().push((files.crash(rng), cold.crash(keep), durable));
        });
        let (engine, writes, before) = (rig.engine.clone(), AtomicUsize::new(0), Arc::clone(&take));
        let before_write = move || {
            action(writes.fetch_add(1, Ordering::SeqCst), &engine);
            before();
        };
        rig.cold.set_hooks(MemoryHooks {
            before_write: Some(Arc::new(before_write)),
            before_flush: Some(take),
            ..MemoryHooks::default()
        });
        images
    }

    /// Opens and checks every image; the store is left alone.
    pub fn check(&self, trace: &Trace) -> Result<usize, String> {
        trace.rig.cold.set_hooks(MemoryHooks::default());
        let taken = std::mem::take(&mut *self.taken.lock());
        let count = taken.len();
        let mut past = Past { states: trace.states.clone(), acknowledged: Lsn(0) };
        for (at, (files, cold, acknowledged)) in taken.into_iter().enumerate() {
            past.acknowledged = acknowledged;
            past.check_image(&trace.rig, files, cold).map_err(|error| format!("image {at}: {error}"))?;
        }
        Ok(count)
    }
}
