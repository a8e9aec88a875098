//! Deadlines: the EXPIRE family, TTL and its kin, PERSIST.

use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Keys};
use lux_engine::ids::ExpireAt;
use lux_engine::value::string::number::parse_int;
use lux_engine::wal::effect::Operation;

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE;

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "EXPIRE",
        since: "1.0.0",
        summary: "Lets a key live for a number of seconds.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: WRITE.with(Flags::FAST),
        acl: &["keyspace"],
        arguments: "key seconds [NX | XX | GT | LT]",
        handler: expire,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PEXPIRE",
        since: "2.6.0",
        summary: "Lets a key live for a number of milliseconds.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: WRITE.with(Flags::FAST),
        acl: &["keyspace"],
        arguments: "key milliseconds [NX | XX | GT | LT]",
        handler: pexpire,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "EXPIREAT",
        since: "1.2.0",
        summary: "Lets a key live until a Unix time in seconds.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: WRITE.with(Flags::FAST),
        acl: &["keyspace"],
        arguments: "key unix-time-seconds [NX | XX | GT | LT]",
        handler: expireat,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PEXPIREAT",
        since: "2.6.0",
        summary: "Lets a key live until a Unix time in milliseconds.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: WRITE.with(Flags::FAST),
        acl: &["keyspace"],
        arguments: "key unix-time-milliseconds [NX | XX | GT | LT]",
        handler: pexpireat,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "TTL",
        since: "1.0.0",
        summary: "Returns how many seconds a key has left.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO", "access"],
        flags: READ_FAST.with(Flags::NO_TOUCH),
        acl: &["keyspace"],
        arguments: "key",
        handler: ttl,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PTTL",
        since: "2.6.0",
        summary: "Returns how many milliseconds a key has left.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO", "access"],
        flags: READ_FAST.with(Flags::NO_TOUCH),
        acl: &["keyspace"],
        arguments: "key",
        handler: pttl,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "EXPIRETIME",
        since: "7.0.0",
        summary: "Returns the Unix time in seconds at which a key goes.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO", "access"],
        flags: READ_FAST.with(Flags::NO_TOUCH),
        acl: &["keyspace"],
        arguments: "key",
        handler: expiretime,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PEXPIRETIME",
        since: "7.0.0",
        summary: "Returns the Unix time in milliseconds at which a key goes.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO", "access"],
        flags: READ_FAST.with(Flags::NO_TOUCH),
        acl: &["keyspace"],
        arguments: "key",
        handler: pexpiretime,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PERSIST",
        since: "2.2.0",
        summary: "Lets a key live for ever.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        flags: WRITE.with(Flags::FAST),
        acl: &["keyspace"],
        arguments: "key",
        handler: persist,
        ..CommandSpec::BASE
    },
];

/// When EXPIRE may change a lifetime.
#[derive(Default)]
struct ExpireOptions {
    only_without: bool,
    only_with: bool,
    only_later: bool,
    only_earlier: bool,
}

impl ExpireOptions {
    fn parse(mut args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = ExpireOptions::default();
        while !args.is_empty() {
            match args.one_of(&["NX", "XX", "GT", "LT"]) {
                Some(0) => options.only_without = true,
                Some(1) => options.only_with = true,
                Some(2) => options.only_later = true,
                Some(_) => options.only_earlier = true,
                None => {
                    let word = String::from_utf8_lossy(args.bytes()?).into_owned();
                    return Err(CommandError::composed(format!("ERR Unsupported option {word}")));
                }
            }
        }
        if options.only_without && (options.only_with || options.only_later || options.only_earlier) {
            return Err(errors::EXPIRE_NX_AND_OTHERS);
        }
        if options.only_later && options.only_earlier {
            return Err(errors::EXPIRE_GT_AND_LT);
        }
        Ok(options)
    }

    /// Whether a key that goes at `old` (or never) may be told to go at `new_ms`.
    fn allow(&self, old: Option<ExpireAt>, new_ms: i64) -> bool {
        // No deadline counts as one infinitely far away.
        let old_ms = old.map_or(i128::MAX, |at| i128::from(at.0));
        let new_ms = i128::from(new_ms);
        !(self.only_without && old.is_some()
            || self.only_with && old.is_none()
            || self.only_later && new_ms <= old_ms
            || self.only_earlier && new_ms >= old_ms)
    }
}

/// `EXPIRE key seconds [options]`
fn expire(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let base = ctx.now_ms().cast_signed();
    expire_key(ctx, args, reply, 1000, base)
}

/// `PEXPIRE key milliseconds [options]`
fn pexpire(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let base = ctx.now_ms().cast_signed();
    expire_key(ctx, args, reply, 1, base)
}

/// `EXPIREAT key unix-time-seconds [options]`
fn expireat(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    expire_key(ctx, args, reply, 1000, 0)
}

/// `PEXPIREAT key unix-time-milliseconds [options]`
fn pexpireat(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    expire_key(ctx, args, reply, 1, 0)
}

fn expire_key(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
    scale: i64,
    base_ms: i64,
) -> CommandResult {
    let (key, amount) = (args.key()?, args.bytes()?);
    let options = ExpireOptions::parse(args)?;
    let amount = parse_int(amount).ok_or(errors::NOT_AN_INTEGER)?;
    let deadline_ms = amount
        .checked_mul(scale)
        .and_then(|ms| ms.checked_add(base_ms))
        .ok_or_else(|| errors::invalid_expire(&ctx.command.full_name))?;
    let is_set = match ctx.header(key)? {
        Some(found) => options.allow(found.deadline, deadline_ms),
        None => false,
    };
    if is_set {
        // A deadline before 1970 is past as well.
        let deadline = ExpireAt(u64::try_from(deadline_ms).unwrap_or(0));
        if deadline.is_past(ctx.now_ms()) {
            ctx.set_operation(Operation::Del);
            ctx.delete(key)?;
        } else {
            ctx.set_deadline(key, Some(deadline))?;
        }
    }
    reply.integer(i64::from(is_set));
    Ok(())
}

/// `PERSIST key`
fn persist(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let has_deadline = ctx.header(key)?.is_some_and(|found| found.deadline.is_some());
    if has_deadline {
        ctx.set_deadline(key, None)?;
    }
    reply.integer(i64::from(has_deadline));
    Ok(())
}

/// `TTL key`
fn ttl(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let now_ms = ctx.now_ms();
    write_deadline(ctx, args, reply, |at| at.0.saturating_sub(now_ms).saturating_add(500) / 1000)
}

/// `PTTL key`
fn pttl(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let now_ms = ctx.now_ms();
    write_deadline(ctx, args, reply, |at| at.0.saturating_sub(now_ms))
}

/// `EXPIRETIME key`
fn expiretime(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    write_deadline(ctx, args, reply, |at| at.0.saturating_add(500) / 1000)
}

/// `PEXPIRETIME key`
fn pexpiretime(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    write_deadline(ctx, args, reply, |at| at.0)
}

/// Writes a deadline as `show` turns it; -2 without the key, -1 without a deadline.
fn write_deadline(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
    show: impl FnOnce(ExpireAt) -> u64,
) -> CommandResult {
    reply.integer(match ctx.peek(args.key()?)? {
        None => -2,
        Some(found) => found.deadline.map_or(-1, |at| show(at).cast_signed()),
    });
    Ok(())
}
