//! What a session keeps of a transaction: MULTI's queue and the keys that WATCH watches.
//!
//! WATCH notes what was seen of a key ([`Sight`]). EXEC looks again under its locks. That costs those who
//! change keys nothing, an eviction changes nothing, and an expiry, a flush or a swap shows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use lux_engine::ids::DbIndex;
use lux_engine::keyspace::watch::Touch;
use lux_engine::txn::{Interrupt, Mode, Sight, Txn};
use parking_lot::Mutex;

use super::args::{Argv, parse_int};
use super::command_table::Command;
use super::reply::CommandError;
use super::reply_errors;
use super::spec::{Flags, Group};

/// Most bytes of the arguments in one queue: places are 32 bits.
const BYTES_MAX: usize = 1 << 30;

/// The queue of one client.
#[derive(Default)]
pub struct Multi {
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
    pub(super) commands: Vec<Queued>,
    /// A command could not be queued: EXEC refuses.
    pub(super) is_aborted: bool,
}

pub(super) struct Queued {
    pub(super) command: &'static Command,
    /// Its first argument's number in the ranges, and the one behind its last.
    first: usize,
    end: usize,
}

impl Multi {
    /// A queue that EXEC will refuse.
    pub(super) fn aborted() -> Multi {
        Multi { is_aborted: true, ..Multi::default() }
    }

    /// Number of commands.
    #[must_use]
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there are no commands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Queues a command; the arguments of all are at most `bytes_max`.
    pub(super) fn push(
        &mut self,
        command: &'static Command,
        argv: Argv<'_>,
        bytes_max: usize,
    ) -> Result<(), CommandError> {
        let len: usize = argv.iter().map(<[u8]>::len).sum();
        if self.bytes.len() + len > bytes_max.min(BYTES_MAX) {
            return Err(reply_errors::MULTI_TOO_LARGE);
        }
        let first = self.ranges.len();
        for arg in argv.iter() {
            self.ranges.push((self.bytes.len() as u32, arg.len() as u32));
            self.bytes.extend_from_slice(arg);
        }
        self.commands.push(Queued { command, first, end: self.ranges.len() });
        Ok(())
    }

    pub(super) fn argv(&self, queued: &Queued) -> Argv<'_> {
        Argv::new(&self.bytes, &self.ranges).slice(queued.first, queued.end)
    }

    /// The flags that decide whether EXEC may run now: what any command needs.
    pub(super) fn flags(&self) -> Flags {
        let mut flags = Flags::NONE;
        for flag in [Flags::DENY_OOM, Flags::WRITE, Flags::MAY_REPLICATE] {
            if self.commands.iter().any(|queued| queued.command.spec.flags.has(flag)) {
                flags = flags.with(flag);
            }
        }
        let mut writes = self.commands.iter().map(|q| q.command.spec.flags).filter(|f| f.has(Flags::WRITE));
        let only_removes = flags.has(Flags::WRITE) && writes.all(|flags| flags.has(Flags::RESERVE));
        if only_removes { flags.with(Flags::RESERVE) } else { flags }
    }

    /// Which shards are locked.
    pub(super) fn mode(&self) -> Mode {
        match () {
            () if self.commands.iter().any(|queued| looks_around(queued.command)) => Mode::All,
            () if self.flags().has(Flags::RESERVE) => Mode::Reserve,
            () => Mode::Keys,
        }
    }

    /// All keys of the queue and their databases, as far as they can be told.
    pub(super) fn keys(&self, mut db: DbIndex) -> Vec<(DbIndex, &[u8])> {
        let (mut keys, mut indexes) = (Vec::new(), Vec::new());
        for queued in &self.commands {
            let (argv, spec) = (self.argv(queued), queued.command.spec);
            if spec.name == "SELECT"
                && let Some(index) = argv.get(1).and_then(parse_int).and_then(|n| u8::try_from(n).ok())
            {
                db = DbIndex(index.min(lux_engine::DATABASE_COUNT as u8 - 1));
            }
            indexes.clear();
            spec.keys.find(argv, &mut indexes);
            keys.extend(indexes.iter().filter_map(|index| argv.get(*index)).map(|key| (db, key)));
        }
        keys
    }
}

/// Whether a command looks at the keyspace otherwise than by its keys, or may.
pub(super) fn looks_around(command: &Command) -> bool {
    let spec = command.spec;
    let is_aside =
        matches!(spec.group, Group::Connection | Group::Scripting | Group::PubSub | Group::Transactions);
    spec.keys.is_none() && !is_aside || spec.flags.has(Flags::ALL_SHARDS)
}

/// How one of several commands went.
pub struct Ran {
    pub time: Duration,
    /// The error that is its reply.
    pub error: Option<Cow<'static, str>>,
}

/// How many keys are watched, by whom.
#[derive(Default)]
pub struct Watches {
    counts: Mutex<WatchCounts>,
}

#[derive(Default)]
struct WatchCounts {
    clients: usize,
    keys: HashMap<(DbIndex, Arc<[u8]>), usize>,
}

impl Watches {
    /// Clients that watch, and keys that are watched.
    #[must_use]
    pub fn totals(&self) -> (usize, usize) {
        let counts = self.counts.lock();
        (counts.clients, counts.keys.len())
    }
}

/// The keys that one client watches.
#[derive(Default)]
pub struct WatchList {
    pub(super) entries: HashMap<(DbIndex, Arc<[u8]>), Sight>,
    /// Somebody made a key that was missing.
    touch: Arc<Touch>,
    shared: Option<Arc<Watches>>,
}

impl WatchList {
    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Who makes a missing key that is watched touches this.
    #[must_use]
    pub fn touch(&self) -> &Arc<Touch> {
        &self.touch
    }

    /// Watches a key of which this was seen, unless it is watched already.
    pub fn add(&mut self, watches: &Arc<Watches>, db: DbIndex, key: &[u8], sight: Sight) {
        let is_first = self.entries.is_empty();
        let Entry::Vacant(entry) = self.entries.entry((db, Arc::from(key))) else { return };
        let mut counts = watches.counts.lock();
        counts.clients += usize::from(is_first);
        *counts.keys.entry(entry.key().clone()).or_default() += 1;
        drop(counts);
        self.shared.get_or_insert_with(|| Arc::clone(watches));
        entry.insert(sight);
    }

    /// Watches nothing any more.
    pub fn clear(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        self.touch = Arc::default();
        let mut counts = shared.counts.lock();
        counts.clients -= 1;
        for (place, _) in self.entries.drain() {
            if let Some(count) = counts.keys.get_mut(&place) {
                *count -= 1;
                if *count == 0 {
                    counts.keys.remove(&place);
                }
            }
        }
    }

    /// Whether all keys are as they were; the transaction has their locks.
    pub(super) fn are_unchanged(&self, txn: &mut Txn<'_>) -> Result<bool, Interrupt> {
        if self.touch.is_touched() {
            return Ok(false);
        }
        for ((db, key), sight) in &self.entries {
            if !txn.is_unchanged(*db, key, *sight)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for WatchList {
    fn drop(&mut self) {
        self.clear();
    }
}
