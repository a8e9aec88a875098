//! MULTI and what belongs to it. The queue is `dispatch::queue`, EXEC `dispatch::multi`.

use std::sync::Arc;

use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::queue::Multi;
use crate::dispatch::reply::{CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const ANYTIME: Flags = Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE);
const FAST: Flags = ANYTIME.with(Flags::FAST);
const BASE: CommandSpec = CommandSpec { group: Group::Transactions, ..CommandSpec::BASE };

pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "DISCARD",
        since: "2.0.0",
        summary: "Discards a transaction.",
        complexity: "O(N), when N is the number of queued commands",
        arity: Arity::Exactly(1),
        flags: FAST.with(Flags::UNQUEUED).with(Flags::ALLOW_BUSY),
        handler: discard,
        ..BASE
    },
    CommandSpec {
        name: "EXEC",
        since: "1.2.0",
        summary: "Executes all commands in a transaction.",
        complexity: "Depends on commands in the transaction",
        arity: Arity::Exactly(1),
        flags: ANYTIME.with(Flags::SKIP_SLOWLOG).with(Flags::UNQUEUED),
        handler: exec,
        ..BASE
    },
    CommandSpec {
        name: "MULTI",
        since: "1.2.0",
        summary: "Starts a transaction.",
        arity: Arity::Exactly(1),
        flags: FAST.with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY),
        handler: multi,
        ..BASE
    },
    CommandSpec {
        name: "UNWATCH",
        since: "2.2.0",
        summary: "Forgets about watched keys of a transaction.",
        arity: Arity::Exactly(1),
        flags: FAST.with(Flags::ALLOW_BUSY),
        handler: unwatch,
        ..BASE
    },
    CommandSpec {
        name: "WATCH",
        since: "2.2.0",
        summary: "Monitors changes to keys to determine the execution of a transaction.",
        complexity: "O(1) for every key.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        key_access: &["RO"],
        flags: FAST.with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY),
        arguments: "key [key ...]",
        handler: watch,
        ..BASE
    },
];

/// `MULTI`
fn multi(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.session.multi = Some(Box::new(Multi::default()));
    reply.ok();
    Ok(())
}

/// `EXEC`, without MULTI: with it, `execute` runs the queue.
fn exec(_: &mut Context<'_>, _: Args<'_>, _: &mut dyn ReplySink) -> CommandResult {
    Err(errors::EXEC_WITHOUT_MULTI)
}

/// `DISCARD`
fn discard(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    if ctx.session.multi.take().is_none() {
        return Err(errors::DISCARD_WITHOUT_MULTI);
    }
    ctx.session.watched.clear();
    reply.ok();
    Ok(())
}

/// `WATCH key [key ...]`
fn watch(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let touch = Arc::clone(ctx.session.watched.touch());
    let (db, sights) = (ctx.db(), ctx.txn().watch(args, &touch)?);
    for (key, sight) in sights {
        ctx.session.watched.add(&ctx.state.watches, db, key, sight);
    }
    reply.ok();
    Ok(())
}

/// `UNWATCH`
fn unwatch(ctx: &mut Context<'_>, _: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    ctx.session.watched.clear();
    reply.ok();
    Ok(())
}
