//! MULTI's queue, EXEC and what WATCH watches.
//!
//! EXEC is one transaction of several commands: the shards of all keys in the queue are locked together, what
//! is on disk of them is fetched in one batch before, each command sees those before it, and one record has
//! them all. Until that record is appended nothing has happened, so EXEC is interrupted and run again like
//! any command: the session's fields that its commands set are then put back.
//!
//! A command of the queue that fails leaves its error in the reply and changes nothing; the others go on.
//! Commands that name no keys and look at the keyspace (DBSIZE, KEYS, INFO) have all shards locked.
//!
//! [`Context::call`] runs one command of several in their transaction; scripts use it too.
//!
//! WATCH notes what was seen of a key ([`Sight`]). EXEC looks again under its locks. That costs those who
//! change keys nothing, an eviction changes nothing, and an expiry, a flush or a swap shows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lux_engine::Engine;
use lux_engine::checkpoint::keeper::Pressure;
use lux_engine::ids::DbIndex;
use lux_engine::keyspace::watch::Touch;
use lux_engine::txn::{CommitError, Committed, Interrupt, Mode, Sight, Txn};
use lux_engine::wal::effect::Operation;
use parking_lot::Mutex;

use super::args::{Args, Argv, parse_int};
use super::command_table::Command;
use super::context::{Context, Resume, Wait};
use super::execute::{Buffers, Outcome, note_commit, note_slow, wait_for};
use super::reply::{CommandError, ReplySink};
use super::reply_errors;
use super::spec::{Flags, Group};
use crate::session::{Protocol, Session};
use crate::state::{ServerState, Worker};

/// Bytes of all arguments that one queue may hold.
const BYTES_MAX: usize = 1 << 30;

/// The queue of one client.
#[derive(Default)]
pub struct Multi {
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
    commands: Vec<Queued>,
    /// A command could not be queued: EXEC refuses.
    is_aborted: bool,
}

struct Queued {
    command: &'static Command,
    /// Its first argument's number in the ranges, and the one behind its last.
    first: usize,
    end: usize,
}

impl Multi {
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

    fn push(&mut self, command: &'static Command, argv: Argv<'_>) -> Result<(), CommandError> {
        let len: usize = argv.iter().map(<[u8]>::len).sum();
        if self.bytes.len() + len > BYTES_MAX {
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

    fn argv(&self, queued: &Queued) -> Argv<'_> {
        Argv::new(&self.bytes, &self.ranges).slice(queued.first, queued.end)
    }

    /// The flags that decide whether EXEC may run now: what any command needs.
    fn flags(&self) -> Flags {
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
    fn mode(&self) -> Mode {
        match () {
            () if self.commands.iter().any(|queued| looks_around(queued.command)) => Mode::All,
            () if self.flags().has(Flags::RESERVE) => Mode::Reserve,
            () => Mode::Keys,
        }
    }

    /// All keys of the queue and their databases, as far as they can be told.
    fn keys(&self, mut db: DbIndex) -> Vec<(DbIndex, &[u8])> {
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

/// Whether the command is EXEC.
pub(super) fn is_exec(command: &Command) -> bool {
    command.spec.flags.has(Flags::UNQUEUED) && command.spec.name == "EXEC"
}

/// What EXEC is going to do, as flags; nothing if it will refuse.
pub(super) fn flags(session: &Session) -> Flags {
    let multi = session.multi.as_ref().filter(|multi| !multi.is_aborted);
    multi.map_or(Flags::NONE, |multi| multi.flags())
}

/// Notes that a command could not be queued.
pub(super) fn abort(session: &mut Session) {
    if let Some(multi) = &mut session.multi {
        **multi = Multi { is_aborted: true, ..Multi::default() };
    }
}

/// Queues a command that was checked.
pub(super) fn enqueue(
    state: &ServerState,
    session: &mut Session,
    command: &'static Command,
    argv: Argv<'_>,
) -> Result<(), CommandError> {
    // A queue takes memory, whatever is in it.
    let queued = match state.engine.pressure() {
        Pressure::Refuse => Err(reply_errors::OOM),
        _ => match &mut session.multi {
            Some(multi) if !multi.is_aborted => multi.push(command, argv),
            _ => Ok(()),
        },
    };
    if queued.is_err() {
        abort(session);
    }
    queued
}

/// EXEC cannot run: the transaction is over.
pub(super) fn give_up(session: &mut Session, why: &CommandError) -> CommandError {
    session.multi = None;
    session.watched.clear();
    reply_errors::exec_abort(why)
}

/// Runs the queue once.
pub(super) fn attempt(
    state: &Arc<ServerState>,
    worker: &Worker,
    session: &mut Session,
    exec: &'static Command,
    reply: &mut dyn ReplySink,
) -> Outcome {
    let Some(multi) = session.multi.take() else {
        return Outcome::Done(Err(reply_errors::EXEC_WITHOUT_MULTI));
    };
    let mut watched = std::mem::take(&mut session.watched);
    if multi.is_aborted {
        watched.clear();
        return Outcome::Done(Err(reply_errors::EXECABORT));
    }
    let keys = multi.keys(session.db);
    if session.resume.is_none()
        && let Some(wait) = prepare(&state.engine, session, &keys)
    {
        (session.multi, session.watched) = (Some(multi), watched);
        return Outcome::Again(Some(wait));
    }
    let mut buffers = Buffers::new(worker, session);
    if let Buffers::Own(resume) = &mut buffers
        && let Some(error) = resume.take_failure()
    {
        return Outcome::Done(Err(reply_errors::exec_abort(&reply_errors::engine(&error))));
    }
    let before = (session.db, session.protocol, session.is_authenticated);
    session.denies_blocking = true;
    let end = {
        let keys: Vec<&[u8]> = keys
            .into_iter()
            .map(|(_, key)| key)
            .chain(watched.entries.keys().map(|(_, key)| &**key))
            .collect();
        let now_ms = worker.now_ms.get();
        let txn = state.engine.try_begin_multi(buffers.scratch(), session.db, &keys, multi.mode(), now_ms);
        match txn {
            Some(txn) => run(state, worker, session, exec, txn, &multi, &watched, reply),
            None => End::Again(Some(Wait::Script)),
        }
    };
    session.denies_blocking = false;
    match end {
        End::Done(result, committed, ran) => {
            watched.clear();
            note_commit(state, session, committed);
            count(state, worker, session, &multi, ran);
            Outcome::Done(result)
        }
        End::Again(wait) => {
            (session.db, session.protocol, session.is_authenticated) = before;
            reply.set_resp3(session.protocol == Protocol::Resp3);
            (session.multi, session.watched) = (Some(multi), watched);
            session.resume = Some(buffers.keep());
            Outcome::Again(wait)
        }
    }
}

/// What to wait for before the first round: all named keys in memory, fetched in one batch.
fn prepare(engine: &Engine, session: &mut Session, keys: &[(DbIndex, &[u8])]) -> Option<Wait> {
    if engine.is_all_resident() {
        return None;
    }
    let mut dbs: Vec<DbIndex> = keys.iter().map(|(db, _)| *db).collect();
    dbs.sort_unstable();
    dbs.dedup();
    let of = |db| keys.iter().filter(move |(other, _)| *other == db).map(|(_, key)| *key);
    let mut tickets = dbs.into_iter().filter_map(|db| engine.prefetch(db, of(db)));
    let first = tickets.next()?;
    let mut resume = Box::new(Resume::default());
    tickets.for_each(|ticket| resume.keep_ticket(ticket));
    session.resume = Some(resume);
    Some(Wait::Fetch(first))
}

/// How a round of EXEC ended.
enum End {
    Done(Result<(), CommandError>, Committed, Vec<Ran>),
    /// It left nothing behind; run it again, after the wait if there is one.
    Again(Option<Wait>),
}

/// How one of several commands went.
pub struct Ran {
    pub time: Duration,
    /// The error that is its reply.
    pub error: Option<Cow<'static, str>>,
}

#[expect(clippy::too_many_arguments, reason = "the parts of one call, used nowhere else")]
fn run<'r>(
    state: &'r Arc<ServerState>,
    worker: &'r Worker,
    session: &'r mut Session,
    exec: &'static Command,
    mut txn: Txn<'r>,
    multi: &Multi,
    watched: &WatchList,
    reply: &mut dyn ReplySink,
) -> End {
    match watched.are_unchanged(&mut txn) {
        Ok(true) => {}
        Ok(false) => {
            let observed = txn.observed();
            reply.null_array();
            return End::Done(Ok(()), Committed { observed, ..Committed::default() }, Vec::new());
        }
        Err(_) => return interrupted(txn),
    }
    let mut context = Context::new(state, worker, session, exec, Some(txn), None);
    reply.array(multi.len());
    let mut ran = Vec::with_capacity(multi.len());
    for queued in &multi.commands {
        match context.call(queued.command, multi.argv(queued), reply) {
            Ok(one) => ran.push(one),
            Err(_) => {
                let (txn, wait, _) = context.into_parts();
                return match (txn, wait) {
                    (_, Some(wait)) => End::Again(Some(wait)),
                    (Some(txn), None) => interrupted(txn),
                    (None, None) => End::Again(None),
                };
            }
        }
    }
    let (txn, _, observed) = context.into_parts();
    let Some(txn) = txn else { return End::Again(None) };
    match txn.commit() {
        Ok(mut committed) => {
            committed.observed = committed.observed.max(observed);
            End::Done(Ok(()), committed, ran)
        }
        Err(CommitError::Interrupted(wait)) => End::Again(wait_for(wait)),
        Err(CommitError::Failed(error)) => aborted(&error),
    }
}

fn interrupted(mut txn: Txn<'_>) -> End {
    match txn.take_failure() {
        Some(error) => aborted(&error),
        None => End::Again(wait_for(txn.abandon())),
    }
}

fn aborted(error: &lux_engine::error::Error) -> End {
    let error = reply_errors::exec_abort(&reply_errors::engine(error));
    End::Done(Err(error), Committed::default(), Vec::new())
}

impl Context<'_> {
    /// Runs another command in this one's transaction, after those before it, and writes its reply. If it
    /// fails, the error is its reply and what it planned is taken back. It does not wait.
    ///
    /// # Errors
    /// [`CommandError::Interrupted`] only: the whole transaction is. The caller returns it and runs again.
    pub fn call(
        &mut self,
        command: &'static Command,
        argv: Argv<'_>,
        reply: &mut dyn ReplySink,
    ) -> Result<Ran, CommandError> {
        let started = Instant::now();
        let mark = reply.mark();
        let caller = std::mem::replace(&mut self.command, command);
        let result = self.plan_called(argv, reply);
        self.command = caller;
        let error = match result {
            Ok(()) => None,
            Err(CommandError::Interrupted) => return Err(CommandError::Interrupted),
            Err(error) => {
                reply.rewind(mark);
                let text = match error {
                    CommandError::Reply(text) => text,
                    other => Cow::Owned(format!("ERR {other}")),
                };
                reply.error(&text);
                Some(text)
            }
        };
        Ok(Ran { time: started.elapsed(), error })
    }

    fn plan_called(&mut self, argv: Argv<'_>, reply: &mut dyn ReplySink) -> Result<(), CommandError> {
        let (command, db) = (self.command, self.session.db);
        self.txn().begin_command(db, command.operation.unwrap_or(Operation::Set));
        if looks_around(command) {
            self.txn().look_around()?;
        }
        let args = Args::new(argv, command.words());
        // As in `execute`: what a handler that unwinds has planned is dropped.
        let handler = command.spec.handler;
        let result = match catch_unwind(AssertUnwindSafe(|| handler(self, args, reply))) {
            Ok(result) => result,
            Err(_) => {
                tracing::error!(command = command.full_name, "a command panicked while it was planned");
                Err(reply_errors::internal(&command.full_name))
            }
        };
        match result {
            // What those that it called did stays.
            result if command.spec.flags.has(Flags::CALLS) => result,
            Ok(()) => self.txn().end_command().map_err(|error| reply_errors::engine(&error)),
            Err(CommandError::Interrupted) => Err(CommandError::Interrupted),
            Err(error) => {
                self.txn().undo_command();
                Err(error)
            }
        }
    }
}

/// Counts what ran, for INFO and SLOWLOG.
fn count(state: &ServerState, worker: &Worker, session: &Session, multi: &Multi, ran: Vec<Ran>) {
    for (queued, ran) in multi.commands.iter().zip(ran) {
        count_one(worker, session, queued.command, &ran);
        note_slow(state, session, queued.command, multi.argv(queued), ran.time.as_micros() as u64);
    }
}

/// Counts one command for INFO.
pub(super) fn count_one(worker: &Worker, session: &Session, command: &Command, ran: &Ran) {
    let stats = &worker.stats;
    crate::stats::bump(&stats.commands_total, 1);
    stats.commands.add_calls(command.id, 1, ran.time, session.config.latency_tracking);
    if let Some(text) = &ran.error {
        stats.commands.fail(command.id);
        stats.count_error(text);
    }
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
    entries: HashMap<(DbIndex, Arc<[u8]>), Sight>,
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
    fn are_unchanged(&self, txn: &mut Txn<'_>) -> Result<bool, Interrupt> {
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
