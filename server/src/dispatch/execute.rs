//! The one path every command takes.
//!
//! Lookup, arity, authentication, pause, pressure; then the transaction begins, the handler plans
//! and replies, the transaction commits. An interrupted command leaves nothing behind and runs
//! again after its [`Wait`]. A handler that panics has changed nothing (changes happen in the
//! commit), so its client gets an error and the server goes on.
//!
//! A command that waits for keys ends with [`Step::Block`]; the connection puts it into the queues and
//! executes it again for every turn it gets. It was admitted when it came: CLIENT PAUSE does not hold its
//! turns, which belong to commits that were made before.
//!
//! MULTI queues between admission and `attempt`: a queued command has been looked up and
//! checked, and EXEC runs the queue inside one attempt ([`super::multi`]).

use std::any::Any;
use std::cell::RefMut;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lux_engine::checkpoint::keeper::Pressure;
use lux_engine::error::Error;
use lux_engine::ids::Lsn;
use lux_engine::txn::{self, CommitError, Committed, Mode, Scratch, Txn};
use lux_engine::wal::FsyncPolicy;

use super::args::{Args, Argv};
use super::command_table::{Command, table};
use super::context::{Context, Resume, Wait};
use super::multi;
use super::queue::looks_around;
use super::reply::{CommandError, CommandResult, Mark, ReplySink};
use super::reply_errors;
use super::spec::{Flags, Keys};
use crate::blocking::{Block, Unblock};
use crate::clock;
use crate::scripting::Kind;
use crate::session::{ReplyMode, Session};
use crate::slowlog;
use crate::state::{ServerState, Worker};

/// What came of one command.
pub enum Step {
    /// The reply is in the sink.
    Done,
    /// Nothing happened yet: await this, then execute the same request again.
    Wait(Wait),
    /// It found nothing. Execute the same request again when it has a turn, or [`give_up`].
    Block(Block),
}

/// Whether more commands of the same batch follow; the last one settles the stopwatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Inside,
    Last,
}

/// Keys whose slices need no allocation.
const KEYS_INLINE: usize = 8;

/// Executes one request.
pub fn execute(
    state: &Arc<ServerState>,
    worker: &Worker,
    session: &mut Session,
    argv: Argv<'_>,
    position: Position,
    reply: &mut dyn ReplySink,
) -> Step {
    state.refresh_config(session);
    let mark = reply.mark();
    let command = match table().resolve(argv) {
        Ok(command) => command,
        Err(error) => {
            session.is_aborted = speaks_http(session, argv);
            return refuse(worker, session, error, mark, reply);
        }
    };
    if let Err(error) = admit(state, worker, session, command, argv) {
        worker.stats.commands.reject(command.id);
        let error = if multi::is_exec(command) { multi::give_up(session, &error) } else { error };
        return refuse(worker, session, error, mark, reply);
    }
    let is_exec = session.multi.is_some() && multi::is_exec(command);
    let flags = if is_exec { multi::flags(session) } else { command.spec.flags };
    if session.waiter.is_none() && state.pause.holds(flags) {
        return Step::Wait(Wait::Unpaused);
    }
    if session.multi.is_some() && !command.spec.flags.has(Flags::UNQUEUED) {
        session.handle.last_command.store(command.id, Relaxed);
        if let Err(error) = multi::enqueue(state, session, command, argv) {
            worker.stats.commands.reject(command.id);
            return refuse(worker, session, error, mark, reply);
        }
        reply.simple("QUEUED");
        finish(session, mark, reply);
        return Step::Done;
    }
    let is_fast = command.spec.flags.has(Flags::FAST);
    worker.stopwatch.before(&worker.stats, command.id, is_fast);
    let rounds = rounds(state, worker, session, command, argv, flags, is_exec, mark, reply);
    let result = match rounds {
        Ok(result) => result,
        Err(wait) => {
            worker.stopwatch.pause();
            return Step::Wait(wait);
        }
    };
    if session.resume.is_some() {
        session.resume = None;
    }
    session.handle.last_command.store(command.id, Relaxed);
    if session.block.is_some()
        && let Some(block) = session.block.take()
    {
        reply.rewind(mark);
        worker.stopwatch.pause();
        return Step::Block(block);
    }
    if let Err(error) = result {
        worker.stats.commands.fail(command.id);
        fail(worker, session, error, mark, reply);
    }
    let is_last = position == Position::Last;
    if let Some(micros) = worker.stopwatch.after(&worker.stats, &session.config, is_fast, is_last) {
        note_slow(state, session, command, argv, micros);
    }
    finish(session, mark, reply);
    Step::Done
}

/// Runs the command until it is done or has to wait. Flags are those of all that it will do.
#[inline]
#[expect(clippy::too_many_arguments, reason = "the parts of one call, used nowhere else")]
fn rounds(
    state: &Arc<ServerState>,
    worker: &Worker,
    session: &mut Session,
    command: &'static Command,
    argv: Argv<'_>,
    flags: Flags,
    is_exec: bool,
    mark: Mark,
    reply: &mut dyn ReplySink,
) -> Result<CommandResult, Wait> {
    if state.engine.store().has_long() && heeds_scripts(worker, command) && looks_around(command) {
        return Err(Wait::Script);
    }
    loop {
        let outcome = match slow_down(state, session, flags) {
            Ok(None) if is_exec => multi::attempt(state, worker, session, command, reply),
            Ok(None) => attempt(state, worker, session, command, argv, reply),
            Ok(Some(wait)) => Outcome::Again(Some(wait)),
            Err(error) if is_exec => Outcome::Done(Err(multi::give_up(session, &error))),
            Err(error) => Outcome::Done(Err(error)),
        };
        match outcome {
            Outcome::Done(result) => return Ok(result),
            Outcome::Again(wait) => {
                reply.rewind(mark);
                if let Some(wait) = wait {
                    return Err(wait);
                }
            }
        }
    }
}

/// A command that was not run; MULTI's queue is worth nothing then.
fn refuse(
    worker: &Worker,
    session: &mut Session,
    error: CommandError,
    mark: Mark,
    reply: &mut dyn ReplySink,
) -> Step {
    multi::abort(session);
    fail(worker, session, error, mark, reply);
    finish(session, mark, reply);
    Step::Done
}

/// Ends a command that waits for keys without one.
pub fn give_up(
    worker: &Worker,
    session: &mut Session,
    argv: Argv<'_>,
    why: Unblock,
    reply: &mut dyn ReplySink,
) {
    let mark = reply.mark();
    let Ok(command) = table().resolve(argv) else { return };
    worker.stopwatch.before(&worker.stats, command.id, false);
    match why {
        // Whatever the command replies when it finds nothing, as in Redis.
        Unblock::Timeout => reply.null_array(),
        Unblock::Error => {
            worker.stats.commands.fail(command.id);
            fail(worker, session, reply_errors::UNBLOCKED, mark, reply);
        }
    }
    // The time was spent waiting: nothing for SLOWLOG.
    let _ = worker.stopwatch.after(&worker.stats, &session.config, false, true);
    finish(session, mark, reply);
}

/// What others are told while a script is busy.
fn busy_error(state: &ServerState) -> CommandError {
    match state.scripts.runs.busy_kind() {
        Some(Kind::Function) => reply_errors::BUSY_FUNCTION,
        _ => reply_errors::BUSY_SCRIPT,
    }
}

/// Whether the request is a line of HTTP: a page in somebody's browser tries to reach the server.
fn speaks_http(session: &Session, argv: Argv<'_>) -> bool {
    let name = argv.get(0).unwrap_or_default();
    let is_http = name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:");
    if is_http {
        tracing::warn!(
            client = ?session.handle,
            "possible security attack: the client sent POST or Host: like a browser; connection aborted"
        );
    }
    is_http
}

/// Whether a command is subject to scripts that take long.
fn heeds_scripts(worker: &Worker, command: &Command) -> bool {
    worker.serves_clients && !command.spec.flags.has(Flags::ALLOW_BUSY)
}

/// The checks that need no data, in Redis's order.
fn admit(
    state: &ServerState,
    worker: &Worker,
    session: &Session,
    command: &Command,
    argv: Argv<'_>,
) -> Result<(), CommandError> {
    if !command.spec.arity.accepts(argv.len()) {
        return Err(reply_errors::wrong_arity(&command.full_name));
    }
    if session.needs_auth() && !command.spec.flags.has(Flags::NO_AUTH) {
        return Err(reply_errors::NO_AUTH);
    }
    if session.multi.is_some() && command.spec.flags.has(Flags::NO_MULTI) {
        return Err(reply_errors::not_in_multi(&command.full_name));
    }
    if state.scripts.runs.is_busy() && heeds_scripts(worker, command) {
        return Err(busy_error(state));
    }
    Ok(())
}

/// Slows writers down while write-back is behind. Nothing is held meanwhile.
fn slow_down(state: &ServerState, session: &mut Session, flags: Flags) -> Result<Option<Wait>, CommandError> {
    if !flags.has(Flags::DENY_OOM) {
        // A change that needs no memory needs room in the log and a row, unless it only removes.
        let needs_disk = flags.has(Flags::WRITE) && !flags.has(Flags::RESERVE);
        let is_refused = needs_disk && state.engine.disk().is_full();
        if is_refused {
            return Err(reply_errors::DISK_FULL);
        }
        if !flags.has(Flags::CALLS) {
            return Ok(None);
        }
    }
    match state.engine.pressure() {
        Pressure::None => Ok(None),
        // Its commands are refused one by one: it may be there to read.
        Pressure::Refuse | Pressure::DiskFull if flags.has(Flags::CALLS) => Ok(None),
        Pressure::Refuse => Err(reply_errors::OOM),
        Pressure::DiskFull => Err(reply_errors::DISK_FULL),
        Pressure::Hold => Ok(Some(Wait::Held)),
        Pressure::Delay(delay) => {
            if session.resume.as_ref().is_some_and(|resume| resume.has_paid) {
                return Ok(None);
            }
            // Timers are coarse: short delays add up until they are worth one.
            session.delay_debt += delay;
            if session.delay_debt < super::context::DELAY_MIN {
                return Ok(None);
            }
            Ok(Some(Wait::Slow(std::mem::take(&mut session.delay_debt))))
        }
    }
}

/// How one round of a command ended.
pub(super) enum Outcome {
    Done(CommandResult),
    /// It left nothing behind; run it again, after the wait if there is one.
    Again(Option<Wait>),
}

/// The buffers of one round: the worker's, or those an interrupted command took along.
pub(super) enum Buffers<'w> {
    Shared(RefMut<'w, Scratch>),
    Own(Box<Resume>),
}

impl<'w> Buffers<'w> {
    /// Those of the rounds before, or the worker's.
    pub(super) fn new(worker: &'w Worker, session: &mut Session) -> Buffers<'w> {
        match session.resume.take() {
            Some(mut resume) => {
                // What a wait made has no buffers of a round before.
                if !worker.serves_clients {
                    resume.scratch.take_long();
                }
                Buffers::Own(resume)
            }
            None => {
                let mut scratch = worker.scratch.borrow_mut();
                scratch.reset();
                Buffers::Shared(scratch)
            }
        }
    }

    pub(super) fn scratch(&mut self) -> &mut Scratch {
        match self {
            Buffers::Shared(scratch) => scratch,
            Buffers::Own(resume) => &mut resume.scratch,
        }
    }

    /// What the next round starts with.
    pub(super) fn keep(self) -> Box<Resume> {
        match self {
            Buffers::Shared(mut scratch) => {
                Box::new(Resume { scratch: std::mem::take(&mut scratch), ..Resume::default() })
            }
            Buffers::Own(resume) => resume,
        }
    }
}

/// Runs the command once.
fn attempt(
    state: &Arc<ServerState>,
    worker: &Worker,
    session: &mut Session,
    command: &'static Command,
    argv: Argv<'_>,
    reply: &mut dyn ReplySink,
) -> Outcome {
    let mut buffers = Buffers::new(worker, session);
    let mut job_result = None;
    if let Buffers::Own(resume) = &mut buffers {
        if let Some(error) = resume.failure.take() {
            return Outcome::Done(Err(reply_errors::engine(&error)));
        }
        job_result = resume.job_result.take();
    }
    let mut inline: [&[u8]; KEYS_INLINE] = [b""; KEYS_INLINE];
    let mut many = Vec::new();
    let keys = collect_keys(command.spec.keys, argv, &mut inline, &mut many);
    // Those that it calls reply at once.
    session.denies_blocking = command.spec.flags.has(Flags::CALLS);
    let end = round(state, worker, session, command, argv, keys, buffers.scratch(), job_result, reply);
    session.denies_blocking = false;
    match end {
        End::Done(result, committed) => {
            note_commit(state, session, committed);
            Outcome::Done(result)
        }
        End::Again(wait) => {
            session.resume = Some(buffers.keep());
            Outcome::Again(wait)
        }
    }
}

/// Begins the transaction, runs the handler, and commits or abandons.
#[expect(clippy::too_many_arguments, reason = "the parts of one call, used nowhere else")]
fn round<'r>(
    state: &'r Arc<ServerState>,
    worker: &'r Worker,
    session: &'r mut Session,
    command: &'static Command,
    argv: Argv<'_>,
    keys: &'r [&'r [u8]],
    scratch: &'r mut Scratch,
    job_result: Option<Box<dyn Any + Send>>,
    reply: &mut dyn ReplySink,
) -> End {
    let txn = match begin(state, worker, session, command, keys, scratch) {
        Ok(txn) => txn,
        Err(HeldByScript) => return End::Again(Some(Wait::Script)),
    };
    let mut context = Context::new(state, worker, session, command, txn, job_result);
    let args = Args::new(argv, command.words());
    // A handler that unwinds leaves its half-planned transaction, which is dropped, and half a
    // reply, which is taken back; the session fields it sets are set last.
    let result = catch_unwind(AssertUnwindSafe(|| (command.spec.handler)(&mut context, args, reply)));
    let (txn, wait, observed) = context.into_parts();
    match result {
        Ok(result) => conclude(result, txn, wait, observed),
        Err(_) => {
            tracing::error!(command = command.full_name, "a command panicked while it was planned");
            End::Done(Err(reply_errors::internal(&command.full_name)), Committed::default())
        }
    }
}

/// The keys of one call as slices.
fn collect_keys<'k, 'a: 'k>(
    keys: Keys,
    argv: Argv<'a>,
    inline: &'k mut [&'a [u8]; KEYS_INLINE],
    many: &'k mut Vec<&'a [u8]>,
) -> &'k [&'a [u8]] {
    match keys {
        Keys::None => &[],
        Keys::First => {
            inline[0] = argv.get(1).unwrap_or_default();
            &inline[..1]
        }
        keys => {
            let mut indexes = Vec::new();
            keys.find(argv, &mut indexes);
            many.extend(indexes.iter().filter_map(|index| argv.get(*index)));
            many
        }
    }
}

/// A script that takes long holds a lock.
struct HeldByScript;

/// Starts the transaction of a command that needs one.
fn begin<'t>(
    state: &'t ServerState,
    worker: &Worker,
    session: &Session,
    command: &Command,
    keys: &'t [&'t [u8]],
    scratch: &'t mut Scratch,
) -> Result<Option<Txn<'t>>, HeldByScript> {
    let (flags, engine) = (command.spec.flags, &state.engine);
    let mode = if flags.has(Flags::ALL_SHARDS) {
        Mode::All
    } else if command.spec.keys.is_none() && !flags.has(Flags::CALLS) {
        return Ok(None);
    } else if flags.has(Flags::RESERVE) {
        Mode::Reserve
    } else {
        Mode::Keys
    };
    let now_ms = worker.now_ms.get();
    let txn = match flags.has(Flags::CALLS) {
        true => engine.try_begin_multi(scratch, session.db, keys, mode, now_ms),
        false => engine.try_begin(scratch, session.db, keys, mode, now_ms),
    };
    let mut txn = txn.ok_or(HeldByScript)?;
    if let Some(operation) = command.operation {
        txn.set_operation(operation);
    }
    Ok(Some(txn))
}

/// How a handler's round ends with its transaction.
enum End {
    Done(CommandResult, Committed),
    Again(Option<Wait>),
}

/// Commits, abandons or drops the transaction, as the handler's result asks.
fn conclude(result: CommandResult, txn: Option<Txn<'_>>, wait: Option<Wait>, observed: Lsn) -> End {
    match (result, txn) {
        // A wait of the handler's own; what its transaction planned is dropped.
        (Err(CommandError::Interrupted), _) if wait.is_some() => End::Again(wait),
        (Err(CommandError::Interrupted), Some(mut txn)) => match txn.take_failure() {
            Some(error) => failed(&error),
            None => End::Again(wait_for(txn.abandon())),
        },
        (Err(CommandError::Interrupted), None) => {
            End::Done(Err(reply_errors::OFFLOADED_JOB_LOST), Committed::default())
        }
        // What those that it called did stays.
        (result, Some(txn)) if result.is_ok() || txn.is_multi() => match txn.commit() {
            Ok(committed) => End::Done(result, committed),
            Err(CommitError::Interrupted(wait)) => End::Again(wait_for(wait)),
            Err(CommitError::Failed(error)) => failed(&error),
        },
        (result, txn) => {
            let observed = txn.map_or(observed, |txn| txn.observed().max(observed));
            End::Done(result, Committed { observed, ..Committed::default() })
        }
    }
}

fn failed(error: &Error) -> End {
    End::Done(Err(reply_errors::engine(error)), Committed::default())
}

pub(super) fn wait_for(wait: txn::Wait) -> Option<Wait> {
    match wait {
        txn::Wait::Retry => None,
        txn::Wait::Fetch(ticket) => Some(Wait::Fetch(ticket)),
        txn::Wait::Room(bytes) => Some(Wait::Room(bytes)),
        txn::Wait::Build(order) => Some(Wait::Build(order)),
        txn::Wait::Held => Some(Wait::Held),
    }
}

/// The reply waits for the turns that the commit gave and, with `appendfsync always`, for what the command
/// wrote or saw.
pub(super) fn note_commit(state: &ServerState, session: &mut Session, committed: Committed) {
    if let Some(lsn) = committed.lsn.filter(|_| committed.is_told) {
        session.claim = state.blocking.claim(lsn);
    }
    let wal = state.engine.wal();
    if wal.fsync() != FsyncPolicy::Always {
        return;
    }
    let lsn = committed.lsn.map_or(committed.observed, |lsn| lsn.max(committed.observed));
    if lsn > wal.durable_lsn() {
        session.gate = Some(lsn);
    }
}

/// Puts a command into the slow log and the latency monitor if it is slow enough.
pub(super) fn note_slow(
    state: &ServerState,
    session: &Session,
    command: &Command,
    argv: Argv<'_>,
    micros: u64,
) {
    let latency_ms = session.config.latency_monitor_threshold.unsigned_abs();
    if latency_ms > 0 && micros / 1000 >= latency_ms {
        let event = if command.spec.flags.has(Flags::FAST) { "fast-command" } else { "command" };
        state.latency.lock().add(event, clock::unix_ms() / 1000, micros / 1000);
    }
    let Ok(threshold) = u64::try_from(session.config.slowlog_log_slower_than) else { return };
    if micros < threshold || command.spec.flags.has(Flags::SKIP_SLOWLOG) {
        return;
    }
    let entry = slowlog::Entry {
        id: 0,
        unix_seconds: clock::unix_ms() / 1000,
        micros,
        args: slowlog::trim(argv.iter()),
        peer: session.handle.peer.clone(),
        client_name: session.handle.labels.lock().name.clone(),
    };
    let len_max = usize::try_from(session.config.slowlog_max_len).unwrap_or(usize::MAX);
    state.slowlog.lock().push(entry, len_max);
}

/// Replaces what was written since `mark` by the error.
fn fail(worker: &Worker, session: &mut Session, error: CommandError, mark: Mark, reply: &mut dyn ReplySink) {
    reply.rewind(mark);
    match error {
        CommandError::Reply(text) => {
            worker.stats.count_error(&text);
            reply.error(&text);
        }
        CommandError::Hangup => session.close_after_reply = true,
        CommandError::Interrupted => {}
    }
}

/// Takes the reply back if CLIENT REPLY asked for silence.
fn finish(session: &mut Session, mark: Mark, reply: &mut dyn ReplySink) {
    session.reply_mode = match session.reply_mode {
        ReplyMode::On => return,
        ReplyMode::Off => ReplyMode::Off,
        ReplyMode::SkipNext => ReplyMode::Skip,
        ReplyMode::Skip => ReplyMode::On,
    };
    reply.rewind(mark);
}
