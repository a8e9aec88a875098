//! EXEC, and whatever runs several commands in one transaction.
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

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use lux_engine::Engine;
use lux_engine::checkpoint::keeper::Pressure;
use lux_engine::ids::DbIndex;
use lux_engine::txn::{CommitError, Committed, Txn};
use lux_engine::wal::effect::Operation;

use super::args::{Args, Argv};
use super::command_table::Command;
use super::context::{Context, Resume, Wait};
use super::execute::{Buffers, Outcome, note_commit, note_slow, wait_for};
use super::queue::{Multi, Ran, WatchList, looks_around};
use super::reply::{CommandError, ReplySink};
use super::reply_errors;
use super::spec::Flags;
use crate::session::{Protocol, Session};
use crate::state::{ServerState, Worker};

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
        **multi = Multi::aborted();
    }
}

/// Queues a command that was checked.
pub(super) fn enqueue(
    state: &ServerState,
    session: &mut Session,
    command: &'static Command,
    argv: Argv<'_>,
) -> Result<(), CommandError> {
    // A queue takes memory, whatever is in it; more than this no commit could hold either.
    let bytes_max = usize::try_from(state.engine.keeper().maxmemory.load(Relaxed) / 4).unwrap_or(usize::MAX);
    let queued = match state.engine.pressure() {
        Pressure::Refuse => Err(reply_errors::OOM),
        _ => match &mut session.multi {
            Some(multi) if !multi.is_aborted => multi.push(command, argv, bytes_max),
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

    /// Counts a command that was called, for INFO. A script that runs again counts them again.
    pub fn count(&self, command: &Command, ran: &Ran) {
        count_one(self.worker, self.session, command, ran);
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

fn count_one(worker: &Worker, session: &Session, command: &Command, ran: &Ran) {
    let stats = &worker.stats;
    crate::stats::bump(&stats.commands_total, 1);
    stats.commands.add_calls(command.id, 1, ran.time, session.config.latency_tracking);
    if let Some(text) = &ran.error {
        stats.commands.fail(command.id);
        stats.count_error(text);
    }
}
