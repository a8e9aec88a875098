//! String commands: whole values, parts of them, and counters.
//!
//! A string that is the canonical form of an integer is stored as one. Commands that edit in place
//! (APPEND, SETRANGE) plan only the bytes that change, so a big string is never copied.

mod options;

use lux_engine::ids::ExpireAt;
use lux_engine::value::string::lcs::{self, LcsError, LcsMatch};
use lux_engine::value::string::number::{IntText, LongDouble, parse_int};
use lux_engine::value::string::range::{getrange, setrange_len};
use lux_engine::wal::effect::{Operation, StringBody};

use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};
use crate::dispatch::string_ref::StringRef;
use options::{Clock, Condition, Lifetime, SetOptions};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
const SHRINK_FAST: Flags = Flags::WRITE.with(Flags::FAST).with(Flags::RESERVE);

const READ_MODIFY: &[&str] = &["RW", "access", "update"];
const OVERWRITE: &[&str] = &["OW", "update"];
const INSERT: &[&str] = &["OW", "insert"];

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "SET",
        since: "1.0.0",
        group: Group::String,
        summary: "Sets a key to a string, whatever it held before, under a condition and with a lifetime if wanted.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        key_access: &["RW", "access", "update", "variable_flags"],
        key_access_of: Some(set_access),
        flags: WRITE,
        arguments: "key value [NX | XX | IFEQ comparison-value] [GET] [EX seconds | PX milliseconds | \
                    EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        handler: set,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SETNX",
        since: "1.0.0",
        group: Group::String,
        summary: "Sets a key to a string only if the key does not exist.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: INSERT,
        flags: WRITE_FAST,
        arguments: "key value",
        handler: setnx,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SETEX",
        since: "2.0.0",
        group: Group::String,
        summary: "Sets a key to a string that lives for a number of seconds.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: OVERWRITE,
        flags: WRITE,
        arguments: "key seconds value",
        handler: setex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PSETEX",
        since: "2.6.0",
        group: Group::String,
        summary: "Sets a key to a string that lives for a number of milliseconds.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: OVERWRITE,
        flags: WRITE,
        arguments: "key milliseconds value",
        handler: psetex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GET",
        since: "1.0.0",
        group: Group::String,
        summary: "Returns the string of a key.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key",
        handler: get,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GETSET",
        since: "1.0.0",
        group: Group::String,
        summary: "Sets a key to a string and returns the one it held before.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: WRITE_FAST,
        arguments: "key value",
        handler: getset,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GETDEL",
        since: "6.2.0",
        group: Group::String,
        summary: "Returns the string of a key and deletes the key.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RW", "access", "delete"],
        flags: SHRINK_FAST,
        arguments: "key",
        handler: getdel,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GETEX",
        since: "6.2.0",
        group: Group::String,
        summary: "Returns the string of a key and sets or removes its lifetime.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: Flags::WRITE.with(Flags::FAST),
        arguments: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | \
                    PERSIST]",
        handler: getex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "MGET",
        since: "1.0.0",
        group: Group::String,
        summary: "Returns the strings of several keys at one moment.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        flags: READ_FAST,
        arguments: "key [key ...]",
        handler: mget,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "MSET",
        since: "1.0.1",
        group: Group::String,
        summary: "Sets several keys to strings, all at once.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(3),
        keys: Keys::Range { first: 1, last: -1, step: 2 },
        key_access: OVERWRITE,
        flags: WRITE,
        arguments: "key value [key value ...]",
        handler: mset,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "MSETEX",
        since: "8.4.0",
        group: Group::String,
        summary: "Sets several keys to strings, all at once, with a condition and a lifetime for all.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(4),
        keys: Keys::Custom(msetex_keys),
        key_access: OVERWRITE,
        flags: WRITE,
        arguments: "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | \
                    EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        handler: msetex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "MSETNX",
        since: "1.0.1",
        group: Group::String,
        summary: "Sets several keys to strings, all at once, only if none of them exists.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(3),
        keys: Keys::Range { first: 1, last: -1, step: 2 },
        key_access: INSERT,
        flags: WRITE,
        arguments: "key value [key value ...]",
        handler: msetnx,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "APPEND",
        since: "2.0.0",
        group: Group::String,
        summary: "Appends to the string of a key, creating it when absent.",
        complexity: "O(N) where N is the length of what is appended.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: &["RW", "insert"],
        flags: WRITE_FAST,
        arguments: "key value",
        handler: append,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "STRLEN",
        since: "2.2.0",
        group: Group::String,
        summary: "Returns the length of the string of a key.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key",
        handler: strlen,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GETRANGE",
        since: "2.4.0",
        group: Group::String,
        summary: "Returns a part of the string of a key.",
        complexity: "O(N) where N is the length of the part.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key start end",
        handler: getrange_command,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SUBSTR",
        since: "1.0.0",
        group: Group::String,
        summary: "Returns a part of the string of a key; the old name of GETRANGE.",
        complexity: "O(N) where N is the length of the part.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key start end",
        handler: getrange_command,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SETRANGE",
        since: "2.2.0",
        group: Group::String,
        summary: "Overwrites a part of the string of a key, filling a gap before it with zero bytes.",
        complexity: "O(N) where N is the length of what is written.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: &["RW", "update"],
        flags: WRITE,
        arguments: "key offset value",
        handler: setrange,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "INCR",
        since: "1.0.0",
        group: Group::String,
        summary: "Adds one to the integer of a key, starting at 0 when absent.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: WRITE_FAST,
        arguments: "key",
        handler: incr,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "DECR",
        since: "1.0.0",
        group: Group::String,
        summary: "Takes one from the integer of a key, starting at 0 when absent.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: WRITE_FAST,
        arguments: "key",
        handler: decr,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "INCRBY",
        since: "1.0.0",
        group: Group::String,
        summary: "Adds to the integer of a key, starting at 0 when absent.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: WRITE_FAST,
        arguments: "key increment",
        handler: incrby,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "DECRBY",
        since: "1.0.0",
        group: Group::String,
        summary: "Takes from the integer of a key, starting at 0 when absent.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: WRITE_FAST,
        arguments: "key decrement",
        handler: decrby,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "INCRBYFLOAT",
        since: "2.6.0",
        group: Group::String,
        summary: "Adds to the decimal number of a key, starting at 0 when absent.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: WRITE_FAST,
        arguments: "key increment",
        handler: incrbyfloat,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "LCS",
        since: "7.0.0",
        group: Group::String,
        summary: "Returns the longest common subsequence of two strings, its length, or where it matches.",
        complexity: "O(N*M) where N and M are the lengths of the strings.",
        arity: Arity::AtLeast(3),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        flags: READ,
        arguments: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        handler: lcs,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "DELIFEQ",
        since: "9.0.0",
        group: Group::String,
        summary: "Deletes a key if it holds exactly this string.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: &["RW", "access", "delete"],
        flags: SHRINK_FAST,
        arguments: "key value",
        handler: delifeq,
        ..CommandSpec::BASE
    },
];

/// With the option GET the key is read too.
fn set_access(argv: Argv<'_>, _: usize) -> &'static [&'static str] {
    let reads = argv.iter().skip(3).any(|arg| arg.eq_ignore_ascii_case(b"GET"));
    if reads { READ_MODIFY } else { OVERWRITE }
}

/// `SET key value [options]`
fn set(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, value) = (args.key()?, args.bytes()?);
    if args.is_empty() {
        store(ctx, key, value, None)?;
        reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(args)?;
    let mut deadline = match options.lifetime {
        Lifetime::Until(clock, text) => Some(clock.deadline(text, ctx.now_ms(), "set")?),
        _ => None,
    };
    let old = if options.returns_old || matches!(options.condition, Condition::IfEqual(_)) {
        let old = ctx.string(key)?;
        if options.returns_old {
            write_or_null(old.as_ref(), reply);
        }
        old.map(|old| {
            (old.deadline, matches!(options.condition, Condition::IfEqual(wanted) if old.equals(wanted)))
        })
    } else if options.condition == Condition::Always && options.lifetime != Lifetime::Keep {
        None
    } else {
        ctx.header(key)?.map(|found| (found.deadline, false))
    };
    let passes = match options.condition {
        Condition::Always => true,
        Condition::IfAbsent => old.is_none(),
        Condition::IfPresent => old.is_some(),
        Condition::IfEqual(_) => old.is_some_and(|(_, equal)| equal),
    };
    if !passes {
        if !options.returns_old {
            reply.null();
        }
        return Ok(());
    }
    if options.lifetime == Lifetime::Keep {
        deadline = old.and_then(|(deadline, _)| deadline);
    }
    if deadline.is_some_and(|at| at.is_past(ctx.now_ms())) {
        // It would be gone before anybody could read it.
        ctx.set_operation(Operation::Del);
        ctx.delete(key)?;
    } else {
        store(ctx, key, value, deadline)?;
    }
    if !options.returns_old {
        reply.ok();
    }
    Ok(())
}

/// Stores a string, as an integer if it is one.
fn store(ctx: &mut Context<'_>, key: &[u8], value: &[u8], deadline: Option<ExpireAt>) -> CommandResult {
    let body = match parse_int(value) {
        Some(value) => StringBody::Int(value),
        None => StringBody::Bytes(value),
    };
    ctx.put_string(key, body, deadline, false)
}

fn write_or_null(string: Option<&StringRef<'_>>, reply: &mut dyn ReplySink) {
    match string {
        Some(string) => string.write(reply),
        None => reply.null(),
    }
}

/// `SETNX key value`
fn setnx(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, value) = (args.key()?, args.bytes()?);
    let is_new = !ctx.exists(key)?;
    if is_new {
        store(ctx, key, value, None)?;
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

/// `SETEX key seconds value`
fn setex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    set_for(Clock::Seconds, "setex", ctx, args, reply)
}

/// `PSETEX key milliseconds value`
fn psetex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    set_for(Clock::Milliseconds, "psetex", ctx, args, reply)
}

fn set_for(
    clock: Clock,
    command: &str,
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, lifetime, value) = (args.key()?, args.bytes()?, args.bytes()?);
    let deadline = clock.deadline(lifetime, ctx.now_ms(), command)?;
    store(ctx, key, value, Some(deadline))?;
    reply.ok();
    Ok(())
}

/// `GET key`
fn get(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    write_or_null(ctx.string(args.key()?)?.as_ref(), reply);
    Ok(())
}

/// `GETSET key value`
fn getset(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, value) = (args.key()?, args.bytes()?);
    write_or_null(ctx.string(key)?.as_ref(), reply);
    store(ctx, key, value, None)
}

/// `GETDEL key`
fn getdel(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    match ctx.string(key)? {
        Some(string) => string.write(reply),
        None => {
            reply.null();
            return Ok(());
        }
    }
    ctx.delete(key)?;
    Ok(())
}

/// `GETEX key [lifetime]`
fn getex(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let mut lifetime = Lifetime::Unsaid;
    while !args.is_empty() {
        if !lifetime.take_word(&mut args, "PERSIST", Lifetime::Persist)? && !lifetime.take(&mut args)? {
            return Err(errors::SYNTAX);
        }
    }
    let now_ms = ctx.now_ms();
    let Some(string) = ctx.string(key)? else {
        reply.null();
        return Ok(());
    };
    string.write(reply);
    let has_deadline = string.deadline.is_some();
    match lifetime {
        Lifetime::Until(clock, text) => {
            let deadline = clock.deadline(text, now_ms, "getex")?;
            if deadline.is_past(now_ms) {
                ctx.set_operation(Operation::Del);
                ctx.delete(key)?;
            } else {
                ctx.set_deadline(key, Some(deadline))?;
            }
        }
        Lifetime::Persist if has_deadline => ctx.set_deadline(key, None)?,
        Lifetime::Persist | Lifetime::Keep | Lifetime::Unsaid => {}
    }
    Ok(())
}

/// `MGET key [key ...]`: what is no string counts as absent.
fn mget(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply.array(args.remaining());
    for key in args {
        let found = ctx.lookup(key)?;
        write_or_null(found.as_ref().and_then(StringRef::of).as_ref(), reply);
    }
    Ok(())
}

/// `MSET key value [key value ...]`
fn mset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    store_pairs(ctx, args, "mset")?;
    reply.ok();
    Ok(())
}

/// Every other argument behind the number, as many as it says.
fn msetex_keys(argv: Argv<'_>, out: &mut Vec<usize>) {
    let count = argv.get(1).and_then(parse_int).and_then(|count| usize::try_from(count).ok());
    let pairs_max = argv.len().saturating_sub(2) / 2;
    if let Some(count) = count.filter(|count| *count <= pairs_max) {
        out.extend((0..count).map(|nth| 2 + 2 * nth));
    }
}

/// `MSETEX numkeys key value [key value ...] [options]`
fn msetex(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let count = args.int_within(1, i64::from(i32::MAX)).map_err(|_| errors::NUMKEYS)?;
    let words = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(2);
    if args.remaining() < words {
        return Err(errors::SYNTAX);
    }
    let pairs = args;
    args.by_ref().take(words).for_each(drop);
    let options = SetOptions::parse(args)?;
    if options.returns_old || matches!(options.condition, Condition::IfEqual(_)) {
        return Err(errors::SYNTAX);
    }
    let deadline = match options.lifetime {
        Lifetime::Until(clock, text) => Some(clock.deadline(text, ctx.now_ms(), "msetex")?),
        _ => None,
    };
    let mut kept = Vec::new();
    for key in pairs.take(words).step_by(2) {
        // All are read before any is changed: a key may be named twice.
        if options.lifetime == Lifetime::Keep {
            kept.push(ctx.lookup(key)?.and_then(|found| found.deadline));
        }
        let is_refused = match options.condition {
            Condition::IfAbsent => ctx.exists(key)?,
            Condition::IfPresent => !ctx.exists(key)?,
            _ => false,
        };
        if is_refused {
            reply.integer(0);
            return Ok(());
        }
    }
    let is_past = deadline.is_some_and(|at| at.is_past(ctx.now_ms()));
    if is_past {
        ctx.set_operation(Operation::Del);
    }
    let (mut pairs, mut kept) = (pairs, kept.into_iter());
    for _ in 0..count {
        let (key, value) = (pairs.key()?, pairs.bytes()?);
        if is_past {
            ctx.delete(key)?;
        } else {
            store(ctx, key, value, kept.next().unwrap_or(deadline))?;
        }
    }
    reply.integer(1);
    Ok(())
}

/// `MSETNX key value [key value ...]`
fn msetnx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    if !args.remaining().is_multiple_of(2) {
        return Err(errors::wrong_arity("msetnx"));
    }
    for key in args.step_by(2) {
        if ctx.exists(key)? {
            reply.integer(0);
            return Ok(());
        }
    }
    store_pairs(ctx, args, "msetnx")?;
    reply.integer(1);
    Ok(())
}

fn store_pairs(ctx: &mut Context<'_>, mut args: Args<'_>, command: &str) -> CommandResult {
    if !args.remaining().is_multiple_of(2) {
        return Err(errors::wrong_arity(command));
    }
    while !args.is_empty() {
        let (key, value) = (args.key()?, args.bytes()?);
        store(ctx, key, value, None)?;
    }
    Ok(())
}

/// The length of a string of `len` bytes with `bytes` written at `offset`, if strings may be so long.
fn edited_len(ctx: &Context<'_>, len: u64, offset: u64, bytes: &[u8]) -> Result<u64, CommandError> {
    let new_len = setrange_len(len, offset, bytes.len() as u64);
    new_len.filter(|len| *len <= ctx.config().bulk_max() as u64).ok_or(errors::STRING_TOO_LONG)
}

/// `APPEND key value`
fn append(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, suffix) = (args.key()?, args.bytes()?);
    let Some(len) = ctx.string(key)?.map(|string| string.len()) else {
        store(ctx, key, suffix, None)?;
        reply.integer(suffix.len() as i64);
        return Ok(());
    };
    let new_len = edited_len(ctx, len as u64, len as u64, suffix)?;
    if !suffix.is_empty() {
        ctx.append(key, suffix)?;
    }
    reply.integer(new_len.cast_signed());
    Ok(())
}

/// `STRLEN key`
fn strlen(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let len = ctx.string(args.key()?)?.map_or(0, |string| string.len());
    reply.integer(len as i64);
    Ok(())
}

/// `GETRANGE key start end`
fn getrange_command(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, start, end) = (args.key()?, args.int()?, args.int()?);
    let Some(string) = ctx.string(key)? else {
        reply.bulk(b"");
        return Ok(());
    };
    let mut digits = IntText::default();
    let text = string.text(&mut digits);
    let range = getrange(text.len() as u64, start, end);
    reply.bulk(&text[range.start as usize..range.end as usize]);
    Ok(())
}

/// A new string is put in one piece if more than so many bytes are written: it may have to be built.
const CREATED_WHOLE_MIN: usize = 64 << 10;

/// `SETRANGE key offset value`
fn setrange(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, offset, patch) = (args.key()?, args.int()?, args.bytes()?);
    let offset = u64::try_from(offset).map_err(|_| errors::OFFSET_OUT_OF_RANGE)?;
    let len = ctx.string(key)?.map(|string| string.len() as u64);
    let new_len = edited_len(ctx, len.unwrap_or(0), offset, patch)?;
    if !patch.is_empty() {
        if len.is_none() && patch.len() > CREATED_WHOLE_MIN {
            let mut whole = vec![0; offset as usize];
            whole.extend_from_slice(patch);
            ctx.put_string(key, StringBody::Bytes(&whole), None, true)?;
        } else {
            if len.is_none() {
                ctx.put_string(key, StringBody::Bytes(b""), None, true)?;
            }
            ctx.set_range(key, offset as usize, patch)?;
        }
    }
    reply.integer(new_len.cast_signed());
    Ok(())
}

/// `INCR key`
fn incr(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    add(ctx, args.key()?, 1, reply)
}

/// `DECR key`
fn decr(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    add(ctx, args.key()?, -1, reply)
}

/// `INCRBY key increment`
fn incrby(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, increment) = (args.key()?, args.int()?);
    add(ctx, key, increment, reply)
}

/// `DECRBY key decrement`
fn decrby(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, decrement) = (args.key()?, args.int()?);
    let increment = decrement.checked_neg().ok_or(errors::DECREMENT_OVERFLOW)?;
    add(ctx, key, increment, reply)
}

fn add(ctx: &mut Context<'_>, key: &[u8], increment: i64, reply: &mut dyn ReplySink) -> CommandResult {
    let (value, deadline) = match ctx.string(key)? {
        Some(string) => (string.int().ok_or(errors::NOT_AN_INTEGER)?, string.deadline),
        None => (0, None),
    };
    let sum = value.checked_add(increment).ok_or(errors::INCREMENT_OVERFLOW)?;
    ctx.put_string(key, StringBody::Int(sum), deadline, false)?;
    reply.integer(sum);
    Ok(())
}

/// `INCRBYFLOAT key increment`
fn incrbyfloat(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, increment) = (args.key()?, args.bytes()?);
    let (value, deadline) = match ctx.string(key)? {
        Some(string) => (string.long_double().ok_or(errors::NOT_A_FLOAT)?, string.deadline),
        None => (LongDouble::from(0), None),
    };
    let increment = LongDouble::parse(increment).ok_or(errors::NOT_A_FLOAT)?;
    let sum = value.plus(increment);
    if !sum.is_finite() {
        return Err(errors::INCREMENT_NAN);
    }
    let mut text = Vec::with_capacity(32);
    sum.push_to(&mut text);
    ctx.put_string(key, StringBody::Bytes(&text), deadline, false)?;
    reply.bulk(&text);
    Ok(())
}

/// What LCS answers.
#[derive(Default)]
struct LcsOptions {
    wants_len: bool,
    wants_matches: bool,
    with_match_len: bool,
    match_len_min: usize,
}

impl LcsOptions {
    fn parse(mut args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = LcsOptions::default();
        while !args.is_empty() {
            match args.one_of(&["IDX", "LEN", "WITHMATCHLEN", "MINMATCHLEN"]) {
                Some(0) => options.wants_matches = true,
                Some(1) => options.wants_len = true,
                Some(2) => options.with_match_len = true,
                Some(3) if !args.is_empty() => {
                    options.match_len_min = usize::try_from(args.int()?).unwrap_or(0);
                }
                _ => return Err(errors::SYNTAX),
            }
        }
        if options.wants_len && options.wants_matches {
            return Err(errors::LCS_LEN_AND_IDX);
        }
        Ok(options)
    }
}

/// `LCS key1 key2 [options]`
fn lcs(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let keys = [args.key()?, args.key()?];
    // Both, before the options are read: a wrong type is the first thing Redis complains about.
    let mut texts = [Vec::new(), Vec::new()];
    for (key, text) in keys.into_iter().zip(&mut texts) {
        let Some(found) = ctx.lookup(key)? else { continue };
        let string = StringRef::of(&found).ok_or(errors::LCS_NOT_STRINGS)?;
        text.extend_from_slice(string.text(&mut IntText::default()));
    }
    let options = LcsOptions::parse(args)?;
    let [a, b] = &texts;
    if options.wants_matches {
        let matches = lcs::lcs_matches(a, b).map_err(lcs_refused)?;
        write_matches(&matches, &options, reply);
    } else if options.wants_len {
        reply.integer(lcs::lcs_len(a, b).map_err(lcs_refused)? as i64);
    } else {
        reply.bulk(&lcs::lcs(a, b).map_err(lcs_refused)?);
    }
    Ok(())
}

fn lcs_refused(error: LcsError) -> CommandError {
    CommandError::composed(format!("ERR {error}"))
}

fn write_matches(matches: &[LcsMatch], options: &LcsOptions, reply: &mut dyn ReplySink) {
    let shown = || matches.iter().filter(|run| run.len >= options.match_len_min);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(shown().count());
    for run in shown() {
        reply.array(2 + usize::from(options.with_match_len));
        for start in [run.a_start, run.b_start] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            reply.integer(run.len as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(matches.iter().map(|run| run.len as i64).sum());
}

/// `DELIFEQ key value`
fn delifeq(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, wanted) = (args.key()?, args.bytes()?);
    let is_equal = ctx.string(key)?.is_some_and(|string| string.equals(wanted));
    if is_equal {
        ctx.delete(key)?;
    }
    reply.integer(i64::from(is_equal));
    Ok(())
}
