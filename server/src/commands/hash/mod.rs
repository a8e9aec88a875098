//! Hash commands: fields and their values. Lifetimes of fields are in `lifetimes`.
//!
//! A handler plans on the hash of its key, or on an empty one if there is none, and emits the edit. A
//! hash that loses its last field is deleted instead.

mod lifetimes;

use lux_engine::value::TypeTag;
use lux_engine::value::hash::{Changes, Field, HashLimits, HashValue};
use lux_engine::value::string::number::{IntText, LongDouble};
use lux_engine::wal::effect::Operation;

use crate::dispatch::args::{Args, Argv, ScanOptions, Scanned};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink, repetitions_fit};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::DENY_OOM).with(Flags::FAST);
const SHRINK_FAST: Flags = Flags::WRITE.with(Flags::FAST).with(Flags::RESERVE);

const READ_MODIFY: &[&str] = &["RW", "access", "update"];

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "HSET",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Sets fields of a hash, creating it when absent.",
        complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs \
                    when the command is called with multiple field/value pairs.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        key_access: &["RW", "update"],
        flags: WRITE_FAST,
        arguments: "key field value [field value ...]",
        handler: hset,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HSETNX",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Sets a field of a hash only if the field does not exist.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: &["RW", "insert"],
        flags: WRITE_FAST,
        arguments: "key field value",
        handler: hsetnx,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HMSET",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Sets fields of a hash, creating it when absent; the old name of HSET.",
        complexity: "O(N) where N is the number of fields being set.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        key_access: &["RW", "update"],
        flags: WRITE_FAST,
        arguments: "key field value [field value ...]",
        handler: hmset,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HGET",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Returns the value of a field of a hash.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key field",
        handler: hget,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HMGET",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Returns the values of fields of a hash.",
        complexity: "O(N) where N is the number of fields being requested.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key field [field ...]",
        handler: hmget,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HDEL",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Deletes fields of a hash, and the hash with the last one.",
        complexity: "O(N) where N is the number of fields to be removed.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        key_access: &["RW", "delete"],
        flags: SHRINK_FAST,
        arguments: "key field [field ...]",
        handler: hdel,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HEXISTS",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Tells whether a field of a hash exists.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key field",
        handler: hexists,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HLEN",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Returns the number of fields of a hash.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key",
        handler: hlen,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HSTRLEN",
        since: "3.2.0",
        group: Group::Hash,
        summary: "Returns the length of the value of a field of a hash.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key field",
        handler: hstrlen,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HKEYS",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Returns the names of all fields of a hash.",
        complexity: "O(N) where N is the size of the hash.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key",
        handler: hkeys,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HVALS",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Returns the values of all fields of a hash.",
        complexity: "O(N) where N is the size of the hash.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key",
        handler: hvals,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HGETALL",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Returns all fields of a hash with their values.",
        complexity: "O(N) where N is the size of the hash.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key",
        handler: hgetall,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HINCRBY",
        since: "2.0.0",
        group: Group::Hash,
        summary: "Adds to the integer of a field of a hash, starting at 0 when absent.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: WRITE_FAST,
        arguments: "key field increment",
        handler: hincrby,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HINCRBYFLOAT",
        since: "2.6.0",
        group: Group::Hash,
        summary: "Adds to the decimal number of a field of a hash, starting at 0 when absent.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: WRITE_FAST,
        arguments: "key field increment",
        handler: hincrbyfloat,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HRANDFIELD",
        since: "6.2.0",
        group: Group::Hash,
        summary: "Returns random fields of a hash.",
        complexity: "O(N) where N is the number of fields returned.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key [count [WITHVALUES]]",
        handler: hrandfield,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HSCAN",
        since: "2.8.0",
        group: Group::Hash,
        summary: "Walks the fields of a hash step by step.",
        complexity: "O(1) for every call, O(N) for a complete walk, where N is the number of fields.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: READ,
        arguments: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        handler: hscan,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HEXPIRE",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Lets fields of a hash live for a number of seconds.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(6),
        keys: Keys::First,
        key_access: &["RW", "update"],
        flags: Flags::WRITE.with(Flags::FAST),
        arguments: "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        handler: lifetimes::hexpire,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HPEXPIRE",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Lets fields of a hash live for a number of milliseconds.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(6),
        keys: Keys::First,
        key_access: &["RW", "update"],
        flags: Flags::WRITE.with(Flags::FAST),
        arguments: "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        handler: lifetimes::hpexpire,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HEXPIREAT",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Lets fields of a hash live until a Unix time in seconds.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(6),
        keys: Keys::First,
        key_access: &["RW", "update"],
        flags: Flags::WRITE.with(Flags::FAST),
        arguments: "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        handler: lifetimes::hexpireat,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HPEXPIREAT",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Lets fields of a hash live until a Unix time in milliseconds.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(6),
        keys: Keys::First,
        key_access: &["RW", "update"],
        flags: Flags::WRITE.with(Flags::FAST),
        arguments: "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        handler: lifetimes::hpexpireat,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HPERSIST",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Lets fields of a hash live for ever.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        key_access: &["RW", "update"],
        flags: Flags::WRITE.with(Flags::FAST),
        arguments: "key FIELDS numfields field [field ...]",
        handler: lifetimes::hpersist,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HTTL",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Returns how many seconds fields of a hash still live.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key FIELDS numfields field [field ...]",
        handler: lifetimes::httl,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HPTTL",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Returns how many milliseconds fields of a hash still live.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key FIELDS numfields field [field ...]",
        handler: lifetimes::hpttl,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HEXPIRETIME",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Returns the Unix times in seconds at which fields of a hash go.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key FIELDS numfields field [field ...]",
        handler: lifetimes::hexpiretime,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HPEXPIRETIME",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Returns the Unix times in milliseconds at which fields of a hash go.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key FIELDS numfields field [field ...]",
        handler: lifetimes::hpexpiretime,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HGETEX",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Returns the values of fields of a hash and sets or removes their lifetimes.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        key_access: READ_MODIFY,
        flags: Flags::WRITE.with(Flags::FAST),
        arguments: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT \
                    unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
        handler: lifetimes::hgetex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HSETEX",
        since: "9.0.0",
        group: Group::Hash,
        summary: "Sets fields of a hash with a lifetime, under conditions if wanted.",
        complexity: "O(N) where N is the number of specified fields.",
        arity: Arity::AtLeast(6),
        keys: Keys::First,
        key_access: &["RW", "insert"],
        flags: WRITE_FAST,
        arguments: "key [NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT \
                    unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS \
                    numfields field value [field value ...]",
        handler: lifetimes::hsetex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "HGETDEL",
        since: "9.1.0",
        group: Group::Hash,
        summary: "Returns the values of fields of a hash and deletes the fields.",
        complexity: "O(N) where N is the number of fields to be retrieved and deleted.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        key_access: &["RW", "access", "delete"],
        flags: SHRINK_FAST,
        arguments: "key FIELDS numfields field [field ...]",
        handler: lifetimes::hgetdel,
        ..CommandSpec::BASE
    },
];

/// How large a hash may be before it becomes a tree.
pub(super) fn limits(ctx: &Context<'_>) -> HashLimits {
    let config = ctx.config();
    HashLimits {
        entries_max: config.hash_max_listpack_entries.unsigned_abs(),
        value_max: config.hash_max_listpack_value.unsigned_abs(),
    }
}

/// Plans on the hash of a key, an empty one if there is none, and returns the plan's result and its edit.
fn plan<T>(
    ctx: &mut Context<'_>,
    key: &[u8],
    plan: impl FnOnce(&HashValue, &mut Vec<u8>) -> T,
) -> Result<(T, Vec<u8>), CommandError> {
    let mut edit = Vec::new();
    let planned = match ctx.hash(key)? {
        Some(hash) => plan(hash, &mut edit),
        None => plan(&HashValue::default(), &mut edit),
    };
    Ok((planned, edit))
}

/// Emits a plan that may take fields away.
fn settle(ctx: &mut Context<'_>, key: &[u8], changes: Changes, edit: &[u8]) -> CommandResult {
    if changes.is_over {
        ctx.delete(key)?;
    } else if !edit.is_empty() {
        ctx.edit(key, TypeTag::Hash, edit)?;
    }
    Ok(())
}

/// Pairs of arguments.
fn pairs(args: Argv<'_>) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    args.iter().step_by(2).zip(args.iter().skip(1).step_by(2))
}

/// `HSET key field value [field value ...]`
fn hset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let added = set_pairs(ctx, args)?;
    reply.integer(added.cast_signed());
    Ok(())
}

/// `HMSET key field value [field value ...]`
fn hmset(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    set_pairs(ctx, args)?;
    reply.ok();
    Ok(())
}

fn set_pairs(ctx: &mut Context<'_>, mut args: Args<'_>) -> Result<u64, CommandError> {
    let key = args.key()?;
    if !args.remaining().is_multiple_of(2) {
        return Err(errors::wrong_arity(&ctx.command.full_name));
    }
    let (limits, now_ms) = (limits(ctx), ctx.now_ms());
    let (added, edit) =
        plan(ctx, key, |hash, edit| hash.plan_set(pairs(args.rest()), &limits, now_ms, edit))?;
    ctx.set_operation(Operation::HSet);
    ctx.edit(key, TypeTag::Hash, &edit)?;
    Ok(added)
}

/// `HSETNX key field value`
fn hsetnx(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name, value) = (args.key()?, args.bytes()?, args.bytes()?);
    let (limits, now_ms) = (limits(ctx), ctx.now_ms());
    let (is_new, edit) = plan(ctx, key, |hash, edit| hash.plan_set_new(name, value, &limits, now_ms, edit))?;
    if is_new {
        ctx.set_operation(Operation::HSet);
        ctx.edit(key, TypeTag::Hash, &edit)?;
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

/// `HGET key field`
fn hget(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name, now_ms) = (args.key()?, args.bytes()?, ctx.now_ms());
    let field = ctx.hash(key)?.and_then(|hash| hash.get(name, now_ms));
    reply.bulk_or_null(field.map(|field| field.value));
    Ok(())
}

/// `HMGET key field [field ...]`
fn hmget(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let hash = ctx.hash(key)?;
    reply.array(args.remaining());
    for name in args {
        let field = hash.and_then(|hash| hash.get(name, now_ms));
        reply.bulk_or_null(field.map(|field| field.value));
    }
    Ok(())
}

/// `HDEL key field [field ...]`
fn hdel(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let (changes, edit) = plan(ctx, key, |hash, edit| hash.plan_remove(args, now_ms, edit))?;
    settle(ctx, key, changes, &edit)?;
    reply.integer(changes.removed.cast_signed());
    Ok(())
}

/// `HEXISTS key field`
fn hexists(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name, now_ms) = (args.key()?, args.bytes()?, ctx.now_ms());
    let exists = ctx.hash(key)?.is_some_and(|hash| hash.get(name, now_ms).is_some());
    reply.integer(i64::from(exists));
    Ok(())
}

/// `HLEN key`
fn hlen(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let len = ctx.hash(key)?.map_or(0, |hash| hash.live_len(now_ms));
    reply.integer(len.cast_signed());
    Ok(())
}

/// `HSTRLEN key field`
fn hstrlen(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name, now_ms) = (args.key()?, args.bytes()?, ctx.now_ms());
    let field = ctx.hash(key)?.and_then(|hash| hash.get(name, now_ms));
    reply.integer(field.map_or(0, |field| field.value.len() as i64));
    Ok(())
}

/// `HKEYS key`
fn hkeys(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    write_parts(ctx, args, reply, |field| field.name)
}

/// `HVALS key`
fn hvals(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    write_parts(ctx, args, reply, |field| field.value)
}

fn write_parts(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
    part: impl for<'f> Fn(Field<'f>) -> &'f [u8],
) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let Some(hash) = ctx.hash(key)? else {
        reply.array(0);
        return Ok(());
    };
    reply.array(hash.live_len(now_ms) as usize);
    hash.fields(now_ms).for_each(|field| reply.bulk(part(field)));
    Ok(())
}

/// `HGETALL key`
fn hgetall(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, now_ms) = (args.key()?, ctx.now_ms());
    let Some(hash) = ctx.hash(key)? else {
        reply.map(0);
        return Ok(());
    };
    reply.map(hash.live_len(now_ms) as usize);
    for field in hash.fields(now_ms) {
        reply.bulk(field.name);
        reply.bulk(field.value);
    }
    Ok(())
}

/// `HINCRBY key field increment`
fn hincrby(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name, increment) = (args.key()?, args.bytes()?, args.int()?);
    let (limits, now_ms) = (limits(ctx), ctx.now_ms());
    let (sum, edit) =
        plan(ctx, key, |hash, edit| hash.plan_increment(name, increment, &limits, now_ms, edit))?;
    let sum = sum.map_err(|error| CommandError::composed(format!("ERR {error}")))?;
    ctx.edit(key, TypeTag::Hash, &edit)?;
    reply.integer(sum);
    Ok(())
}

/// `HINCRBYFLOAT key field increment`
fn hincrbyfloat(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name, increment) = (args.key()?, args.bytes()?, args.bytes()?);
    let increment = LongDouble::parse(increment).ok_or(errors::NOT_A_FLOAT)?;
    if !increment.is_finite() {
        return Err(errors::NAN_OR_INFINITY);
    }
    let (limits, now_ms) = (limits(ctx), ctx.now_ms());
    let (sum, edit) =
        plan(ctx, key, |hash, edit| hash.plan_increment_float(name, increment, &limits, now_ms, edit))?;
    let sum = sum.map_err(|error| CommandError::composed(format!("ERR {error}")))?;
    ctx.edit(key, TypeTag::Hash, &edit)?;
    reply.bulk(&sum);
    Ok(())
}

/// `HRANDFIELD key [count [WITHVALUES]]`
fn hrandfield(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, now_ms, mut random) = (args.key()?, ctx.now_ms(), ctx.random());
    if args.is_empty() {
        let field = ctx.hash(key)?.and_then(|hash| hash.random_field(now_ms, &mut random));
        reply.bulk_or_null(field.map(|field| field.name));
        return Ok(());
    }
    let count = args.symmetric_int()?;
    let with_values = !args.is_empty();
    if with_values && !(args.keyword("WITHVALUES") && args.is_empty()) {
        return Err(errors::SYNTAX);
    }
    if with_values && count.unsigned_abs() > (i64::MAX / 2).unsigned_abs() {
        return Err(errors::OUT_OF_RANGE);
    }
    let (is_nested, reply_max) = (with_values && reply.is_resp3(), ctx.reply_max());
    let per_field = if with_values && !is_nested { 2 } else { 1 };
    let hash = ctx.hash(key)?.map(|hash| (hash, hash.live_len(now_ms))).filter(|(_, len)| *len > 0);
    let Some((hash, len)) = hash else {
        reply.array(0);
        return Ok(());
    };
    if count < 0 {
        repetitions_fit(reply_max, count.unsigned_abs(), hash.heap_bytes(), len)?;
    }
    let returned = if count < 0 { count.unsigned_abs() } else { len.min(count.unsigned_abs()) };
    reply.array(returned as usize * per_field);
    let mut write = |field: Field<'_>| {
        if is_nested {
            reply.array(2);
        }
        reply.bulk(field.name);
        if with_values {
            reply.bulk(field.value);
        }
    };
    if count < 0 {
        hash.random_fields_repeated(returned, now_ms, &mut random, &mut write);
    } else {
        hash.random_fields(returned, now_ms, &mut random, &mut write);
    }
    Ok(())
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]`
fn hscan(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, cursor, now_ms) = (args.key()?, args.cursor()?, ctx.now_ms());
    reply.array(2);
    let Some(hash) = ctx.hash(key)? else {
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, Scanned::Hash)?;
    let mut shown = Vec::new();
    let next = hash.scan(cursor, options.count, now_ms, &mut |field| {
        if options.shows(field.name) {
            shown.push(field);
        }
    });
    reply.bulk(IntText::default().of(next.cast_signed()));
    reply.array(shown.len() * if options.names_only { 1 } else { 2 });
    for field in shown {
        reply.bulk(field.name);
        if !options.names_only {
            reply.bulk(field.value);
        }
    }
    Ok(())
}
