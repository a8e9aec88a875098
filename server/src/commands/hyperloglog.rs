//! HyperLogLog commands: sketches that count distinct elements, as strings that are Redis's byte for
//! byte.
//!
//! What is to be written comes from the engine's sketches; here it becomes the smallest change that is
//! logged: patches of the string, or the string anew when those would take more.
//!
//! PFCOUNT of one key reads, and still changes: the count that it made goes into the sketch, where GET
//! and DUMP show it as in Redis. It is logged like any change of a string (of eight bytes), so that a
//! restart shows the same string, and has no event. While nothing may be written - the log failed, the
//! disk is full - the count is only the reply.

use lux_engine::value::string::hyperloglog::{self as sketch, Change, HllError, Patch, Union};
use lux_engine::value::string::number::IntText;
use lux_engine::wal::effect::{Operation, StringBody};

use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);

/// PFMERGE changes its first key and reads the others.
fn merge_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["RW", "access", "insert"] } else { &["RO", "access"] }
}

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "PFADD",
        since: "2.8.9",
        group: Group::HyperLogLog,
        summary: "Adds elements to a HyperLogLog, creating it if the key does not exist.",
        complexity: "O(1) for each element.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        key_access: &["RW", "insert"],
        flags: WRITE.with(Flags::FAST),
        arguments: "key [element [element ...]]",
        handler: pfadd,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PFCOUNT",
        since: "2.8.9",
        group: Group::HyperLogLog,
        summary: "Returns about how many distinct elements were added to HyperLogLogs.",
        complexity: "O(1) for one key; O(N) for N keys, each of which is read as a whole.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        key_access: &["RW", "access"],
        flags: Flags::READONLY.with(Flags::MAY_REPLICATE),
        arguments: "key [key ...]",
        handler: pfcount,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PFMERGE",
        since: "2.8.9",
        group: Group::HyperLogLog,
        summary: "Adds all that HyperLogLogs hold to one, creating it if the key does not exist.",
        complexity: "O(N) for N keys, each of which is read as a whole.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        key_access: &["RW", "access", "insert"],
        key_access_of: Some(merge_access),
        flags: WRITE,
        arguments: "destkey [sourcekey [sourcekey ...]]",
        handler: pfmerge,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PFDEBUG",
        since: "2.8.9",
        group: Group::HyperLogLog,
        summary: "Shows the registers, the runs or the encoding of a HyperLogLog, or makes it dense.",
        complexity: "O(N) where N is the length of the string.",
        arity: Arity::Exactly(3),
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        key_access: &["RW", "access"],
        flags: WRITE.with(Flags::ADMIN),
        arguments: "GETREG | DECODE | ENCODING | TODENSE key",
        handler: pfdebug,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "PFSELFTEST",
        since: "2.8.9",
        group: Group::HyperLogLog,
        summary: "Tests registers and estimates of HyperLogLogs, which takes a second.",
        arity: Arity::Exactly(1),
        flags: Flags::ADMIN,
        handler: pfselftest,
        ..CommandSpec::BASE
    },
];

fn refused(error: HllError) -> CommandError {
    CommandError::composed(error.to_string())
}

/// Longest sparse string.
fn sparse_max(ctx: &Context<'_>) -> usize {
    usize::try_from(ctx.config().hll_sparse_max_bytes).unwrap_or(usize::MAX)
}

/// What logging a patch takes besides its bytes and the key, about.
const PATCH_OVERHEAD: usize = 24;

/// Whether patches take more of the log than the whole string.
fn is_shorter_whole(key: &[u8], patches: &[Patch], len: usize) -> bool {
    patches.iter().map(|patch| patch.bytes.len() + key.len() + PATCH_OVERHEAD).sum::<usize>() > len
}

/// Writes a change of the sketch that a key holds, if it holds one.
fn write(ctx: &mut Context<'_>, key: &[u8], change: Change) -> CommandResult {
    let patches = match change {
        Change::None => return Ok(()),
        Change::Set(bytes) => {
            let deadline = ctx.string(key)?.and_then(|string| string.deadline);
            return ctx.put_string(key, StringBody::Bytes(&bytes), deadline, true);
        }
        Change::Patch(patches) => patches,
    };
    if let Some(string) = ctx.string(key)?
        && is_shorter_whole(key, &patches, string.len())
    {
        let (mut whole, deadline) = (string.text(&mut IntText::default()).to_vec(), string.deadline);
        for Patch { offset, bytes } in &patches {
            whole.get_mut(*offset..offset + bytes.len()).ok_or_else(corrupted)?.copy_from_slice(bytes);
        }
        return ctx.put_string(key, StringBody::Bytes(&whole), deadline, true);
    }
    patches.iter().try_for_each(|patch| ctx.set_range(key, patch.offset, &patch.bytes))
}

fn corrupted() -> CommandError {
    refused(HllError::Corrupted)
}

/// `PFADD key [element ...]`
fn pfadd(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, sparse_max) = (args.key()?, sparse_max(ctx));
    let change = match ctx.string(key)? {
        Some(string) => sketch::add(Some(string.text(&mut IntText::default())), args, sparse_max),
        None => sketch::add(None, args, sparse_max),
    };
    let change = change.map_err(refused)?;
    let is_changed = change != Change::None;
    write(ctx, key, change)?;
    reply.integer(i64::from(is_changed));
    Ok(())
}

/// `PFCOUNT key [key ...]`
fn pfcount(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let elements = if args.remaining() == 1 { count_one(ctx, args.key()?)? } else { count_all(ctx, args)? };
    reply.integer(elements.cast_signed());
    Ok(())
}

/// Counts one sketch, and notes the count in it.
fn count_one(ctx: &mut Context<'_>, key: &[u8]) -> Result<u64, CommandError> {
    let engine = ctx.engine();
    let Some(string) = ctx.string(key)? else { return Ok(0) };
    let count = sketch::count(string.text(&mut IntText::default())).map_err(refused)?;
    if let Some(Patch { offset, bytes }) = count.cache
        && engine.wal().latched().is_none()
        && !engine.disk().is_full()
    {
        ctx.set_range(key, offset, &bytes)?;
    }
    Ok(count.elements)
}

/// Counts what several sketches hold together.
fn count_all(ctx: &mut Context<'_>, keys: Args<'_>) -> Result<u64, CommandError> {
    ctx.gather(keys)?;
    let mut union = Union::default();
    for key in keys {
        if let Some(string) = ctx.string(key)? {
            union.merge(string.text(&mut IntText::default())).map_err(refused)?;
        }
    }
    Ok(union.count())
}

/// `PFMERGE destkey [sourcekey ...]`
fn pfmerge(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let sparse_max = sparse_max(ctx);
    ctx.gather(args)?;
    let mut union = Union::default();
    for key in args {
        if let Some(string) = ctx.string(key)? {
            union.merge(string.text(&mut IntText::default())).map_err(refused)?;
        }
    }
    let target = args.key()?;
    let change = match ctx.string(target)? {
        Some(string) => union.store(Some(string.text(&mut IntText::default())), sparse_max),
        None => union.store(None, sparse_max),
    };
    ctx.set_operation(Operation::PfAdd);
    write(ctx, target, change.map_err(refused)?)?;
    reply.ok();
    Ok(())
}

/// `PFDEBUG GETREG | DECODE | ENCODING | TODENSE key`
fn pfdebug(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let word = args.bytes()?;
    let mut digits = IntText::default();
    let key = args.key()?;
    let string = ctx.string(key)?.ok_or(errors::PFDEBUG_NO_KEY)?;
    let bytes = string.text(&mut digits);
    let encoding = sketch::encoding(bytes).map_err(refused)?;
    let is_word = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    if is_word("ENCODING") {
        reply.simple(encoding.name());
    } else if is_word("DECODE") {
        let runs = sketch::describe(bytes).map_err(refused)?.ok_or(errors::PFDEBUG_NOT_SPARSE)?;
        reply.bulk(runs.as_bytes());
    } else if is_word("GETREG") {
        let mut union = Union::default();
        union.merge(bytes).map_err(refused)?;
        reply.array(union.registers().len());
        union.registers().iter().for_each(|value| reply.integer(i64::from(*value)));
        // As in Redis: the registers are looked up in the dense form, which stays.
        let dense = sketch::to_dense(bytes).map_err(refused)?;
        write(ctx, key, dense.map_or(Change::None, Change::Set))?;
    } else if is_word("TODENSE") {
        let dense = sketch::to_dense(bytes).map_err(refused)?;
        reply.integer(i64::from(dense.is_some()));
        write(ctx, key, dense.map_or(Change::None, Change::Set))?;
    } else {
        return Err(errors::unknown_pfdebug(word));
    }
    Ok(())
}

/// Rounds and elements of the self test; Redis's own.
const TEST_ROUNDS: u32 = 1000;
const TEST_ELEMENTS: u64 = 10_000_000;

/// `PFSELFTEST`
fn pfselftest(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    args.finish()?;
    let (sparse_max, mut random) = (sparse_max(ctx), ctx.random());
    let tested = ctx.offload(move || {
        let mut any = || random(u64::MAX);
        sketch::self_test(&mut any, TEST_ROUNDS, TEST_ELEMENTS, sparse_max)
    })?;
    tested.map_err(CommandError::composed)?;
    reply.ok();
    Ok(())
}
