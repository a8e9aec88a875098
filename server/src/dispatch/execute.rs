//! The one path every command takes.
//!
//! Lookup, arity, authentication, pause, then the handler; its reply or its error goes into the
//! sink. An interrupted command leaves nothing behind and is run again after its [`Wait`]. A
//! handler that panics has changed nothing (changes happen in the commit), so its client gets an
//! error and the server goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::args::{Args, Argv};
use super::command_table::{Command, table};
use super::context::{Context, Wait};
use super::reply::{CommandError, CommandResult, Mark, ReplySink};
use super::reply_errors;
use super::spec::Flags;
use crate::session::{ReplyMode, Session};
use crate::state::{ServerState, Worker};

/// What came of one command.
pub enum Step {
    /// The reply is in the sink.
    Done,
    /// Nothing happened yet: await this, then execute the same request again.
    Wait(Wait),
}

/// Whether more commands of the same batch follow; the last one settles the stopwatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Inside,
    Last,
}

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
            fail(worker, session, error, mark, reply);
            finish(session, mark, reply);
            return Step::Done;
        }
    };
    if let Err(error) = admit(session, command, argv) {
        worker.stats.commands.reject(command.id);
        fail(worker, session, error, mark, reply);
        finish(session, mark, reply);
        return Step::Done;
    }
    if state.pause.holds(command.spec.flags) {
        return Step::Wait(Wait::Unpaused);
    }
    worker.stopwatch.before(&worker.stats, command);
    let (result, wait) = run(state, worker, session, command, argv, reply);
    if let Some(wait) = wait {
        reply.rewind(mark);
        worker.stopwatch.pause();
        return Step::Wait(wait);
    }
    if let Err(error) = result {
        worker.stats.commands.fail(command.id);
        fail(worker, session, error, mark, reply);
    }
    if let Some(micros) = worker.stopwatch.after(&worker.stats, command, &session.config, position) {
        state.note_slow(session, command, argv, micros);
    }
    session.handle.last_command.store(command.id, std::sync::atomic::Ordering::Relaxed);
    finish(session, mark, reply);
    Step::Done
}

/// The checks that need no data, in Redis's order.
fn admit(session: &Session, command: &Command, argv: Argv<'_>) -> Result<(), CommandError> {
    if !command.spec.arity.accepts(argv.len()) {
        return Err(reply_errors::wrong_arity(&command.full_name));
    }
    if session.needs_auth() && !command.spec.flags.has(Flags::NO_AUTH) {
        return Err(reply_errors::NO_AUTH);
    }
    Ok(())
}

/// Runs the handler once: its result, and what to wait for if it was interrupted.
fn run(
    state: &Arc<ServerState>,
    worker: &Worker,
    session: &mut Session,
    command: &'static Command,
    argv: Argv<'_>,
    reply: &mut dyn ReplySink,
) -> (CommandResult, Option<Wait>) {
    let mut context = Context::new(state, worker, session, command);
    let args = Args::new(argv, command.words());
    // A handler that unwinds leaves its half-planned transaction, which is dropped, and half a
    // reply, which is taken back; the session fields it sets are set last.
    let result = catch_unwind(AssertUnwindSafe(|| (command.spec.handler)(&mut context, args, reply)));
    match result {
        Ok(Err(CommandError::Interrupted)) => (Ok(()), Some(context.take_wait())),
        Ok(result) => (result, None),
        Err(_) => {
            tracing::error!(command = command.full_name, "a command panicked while it was planned");
            (Err(reply_errors::internal(&command.full_name)), None)
        }
    }
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
