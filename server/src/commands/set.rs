//! Set commands: members, random ones, and what several sets have in common.
//!
//! A handler plans on the set of its key, or on an empty one if there is none, and emits the edit. A set
//! that loses its last member is deleted instead. Results of several sets are walked in place and, where
//! they are stored, built as a new set.

use lux_engine::txn::ValueRef;
use lux_engine::value::TypeTag;
use lux_engine::value::collection::Collection;
use lux_engine::value::set::{self, Member, SetBuilder, SetLimits, SetValue};
use lux_engine::value::string::number::{IntText, parse_int};
use lux_engine::wal::effect::Operation;

use crate::dispatch::args::{Args, Argv, ScanOptions, Scanned};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink, repetitions_fit};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
const SHRINK_FAST: Flags = Flags::WRITE.with(Flags::FAST).with(Flags::RESERVE);

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "SADD",
        since: "1.0.0",
        group: Group::Set,
        summary: "Adds members to a set, creating it when absent.",
        complexity: "O(1) for each element added, so O(N) to add N elements when the command \
                    is called with multiple arguments.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        key_access: &["RW", "insert"],
        flags: WRITE_FAST,
        arguments: "key member [member ...]",
        handler: sadd,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SREM",
        since: "1.0.0",
        group: Group::Set,
        summary: "Removes members from a set, and the set with the last one.",
        complexity: "O(N) where N is the number of members to be removed.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        key_access: &["RW", "delete"],
        flags: SHRINK_FAST,
        arguments: "key member [member ...]",
        handler: srem,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SISMEMBER",
        since: "1.0.0",
        group: Group::Set,
        summary: "Tells whether something is a member of a set.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key member",
        handler: sismember,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SMISMEMBER",
        since: "6.2.0",
        group: Group::Set,
        summary: "Tells of several things whether they are members of a set.",
        complexity: "O(N) where N is the number of elements being checked for membership.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key member [member ...]",
        handler: smismember,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SCARD",
        since: "1.0.0",
        group: Group::Set,
        summary: "Returns the number of members of a set.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key",
        handler: scard,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SMEMBERS",
        since: "1.0.0",
        group: Group::Set,
        summary: "Returns all members of a set.",
        complexity: "O(N) where N is the set cardinality.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key",
        handler: smembers,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SPOP",
        since: "1.0.0",
        group: Group::Set,
        summary: "Removes and returns random members of a set.",
        complexity: "Without the count argument O(1), otherwise O(N) where N is the value of \
                    the passed count.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        key_access: &["RW", "access", "delete"],
        flags: SHRINK_FAST,
        arguments: "key [count]",
        handler: spop,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SRANDMEMBER",
        since: "1.0.0",
        group: Group::Set,
        summary: "Returns random members of a set.",
        complexity: "Without the count argument O(1), otherwise O(N) where N is the absolute \
                    value of the passed count.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key [count]",
        handler: srandmember,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SMOVE",
        since: "1.0.0",
        group: Group::Set,
        summary: "Moves a member from one set to another.",
        arity: Arity::Exactly(4),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        key_access: &["RW", "access", "delete"],
        key_access_of: Some(move_access),
        flags: Flags::WRITE.with(Flags::FAST),
        arguments: "source destination member",
        handler: smove,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SSCAN",
        since: "2.8.0",
        group: Group::Set,
        summary: "Walks the members of a set step by step.",
        complexity: "O(1) for every call, O(N) for a complete walk, where N is the number of members.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: READ,
        arguments: "key cursor [MATCH pattern] [COUNT count]",
        handler: sscan,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SINTER",
        since: "1.0.0",
        group: Group::Set,
        summary: "Returns what several sets have in common.",
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M \
                    is the number of sets.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        flags: READ,
        arguments: "key [key ...]",
        handler: sinter,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SINTERCARD",
        since: "7.0.0",
        group: Group::Set,
        summary: "Returns how many members several sets have in common.",
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M \
                    is the number of sets.",
        arity: Arity::AtLeast(3),
        keys: Keys::Counted { count_at: 1 },
        flags: READ,
        arguments: "numkeys key [key ...] [LIMIT limit]",
        handler: sintercard,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SINTERSTORE",
        since: "1.0.0",
        group: Group::Set,
        summary: "Stores what several sets have in common.",
        complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M \
                    is the number of sets.",
        arity: Arity::AtLeast(3),
        keys: Keys::ALL,
        key_access: &["OW", "update"],
        key_access_of: Some(store_access),
        flags: WRITE,
        arguments: "destination key [key ...]",
        handler: sinterstore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SUNION",
        since: "1.0.0",
        group: Group::Set,
        summary: "Returns the members of several sets.",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        flags: READ,
        arguments: "key [key ...]",
        handler: sunion,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SUNIONSTORE",
        since: "1.0.0",
        group: Group::Set,
        summary: "Stores the members of several sets.",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        arity: Arity::AtLeast(3),
        keys: Keys::ALL,
        key_access: &["OW", "update"],
        key_access_of: Some(store_access),
        flags: WRITE,
        arguments: "destination key [key ...]",
        handler: sunionstore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SDIFF",
        since: "1.0.0",
        group: Group::Set,
        summary: "Returns the members of the first set that the others do not have.",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        arity: Arity::AtLeast(2),
        keys: Keys::ALL,
        flags: READ,
        arguments: "key [key ...]",
        handler: sdiff,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SDIFFSTORE",
        since: "1.0.0",
        group: Group::Set,
        summary: "Stores the members of the first set that the others do not have.",
        complexity: "O(N) where N is the total number of elements in all given sets.",
        arity: Arity::AtLeast(3),
        keys: Keys::ALL,
        key_access: &["OW", "update"],
        key_access_of: Some(store_access),
        flags: WRITE,
        arguments: "destination key [key ...]",
        handler: sdiffstore,
        ..CommandSpec::BASE
    },
];

/// The result of set algebra replaces its destination.
fn store_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["OW", "update"] } else { &["RO", "access"] }
}

/// SMOVE takes from its first key and adds to its second.
fn move_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["RW", "access", "delete"] } else { &["RW", "insert"] }
}

/// Which form a set takes.
pub(super) fn limits(ctx: &Context<'_>) -> SetLimits {
    let config = ctx.config();
    SetLimits {
        ints_max: config.set_max_intset_entries.unsigned_abs(),
        entries_max: config.set_max_listpack_entries.unsigned_abs(),
        value_max: config.set_max_listpack_value.unsigned_abs(),
    }
}

fn write(member: Member<'_>, reply: &mut dyn ReplySink) {
    reply.bulk(member.text(&mut IntText::default()));
}

/// `SADD key member [member ...]`
fn sadd(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, limits) = (args.key()?, limits(ctx));
    let added = add(ctx, key, args.rest(), &limits)?;
    reply.integer(added.cast_signed());
    Ok(())
}

/// Adds members to a set; how many were new.
fn add(
    ctx: &mut Context<'_>,
    key: &[u8],
    members: Argv<'_>,
    limits: &SetLimits,
) -> Result<u64, CommandError> {
    let mut edit = Vec::new();
    let added = match ctx.set(key)? {
        Some(set) => set.plan_add(members.iter(), limits, &mut edit),
        None => SetValue::default().plan_add(members.iter(), limits, &mut edit),
    };
    if added > 0 {
        ctx.edit(key, TypeTag::Set, &edit)?;
    }
    Ok(added)
}

/// `SREM key member [member ...]`
fn srem(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let removed = remove(ctx, args.key()?, args.rest())?;
    reply.integer(removed.cast_signed());
    Ok(())
}

/// Removes members from a set; how many were there.
fn remove(ctx: &mut Context<'_>, key: &[u8], members: Argv<'_>) -> Result<u64, CommandError> {
    let Some(set) = ctx.set(key)? else { return Ok(0) };
    let mut edit = Vec::new();
    let changes = set.plan_remove(members.iter(), &mut edit);
    if changes.is_over {
        ctx.delete(key)?;
    } else if changes.removed > 0 {
        ctx.edit(key, TypeTag::Set, &edit)?;
    }
    Ok(changes.removed)
}

/// `SISMEMBER key member`
fn sismember(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, member) = (args.key()?, args.bytes()?);
    let is_member = ctx.set(key)?.is_some_and(|set| set.contains(member));
    reply.integer(i64::from(is_member));
    Ok(())
}

/// `SMISMEMBER key member [member ...]`
fn smismember(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let set = ctx.set(args.key()?)?;
    reply.array(args.remaining());
    args.for_each(|member| reply.integer(i64::from(set.is_some_and(|set| set.contains(member)))));
    Ok(())
}

/// `SCARD key`
fn scard(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let len = ctx.set(args.key()?)?.map_or(0, SetValue::len);
    reply.integer(len.cast_signed());
    Ok(())
}

/// `SMEMBERS key`
fn smembers(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let Some(set) = ctx.set(args.key()?)? else {
        reply.set(0);
        return Ok(());
    };
    reply.set(set.len() as usize);
    set.members().for_each(|member| write(member, reply));
    Ok(())
}

/// `SPOP key [count]`
fn spop(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, mut random) = (args.key()?, ctx.random());
    let count = match args.next() {
        None => None,
        Some(_) if !args.is_empty() => return Err(errors::SYNTAX),
        Some(text) => {
            let count = parse_int(text).and_then(|n| u64::try_from(n).ok());
            Some(count.ok_or(errors::MUST_BE_POSITIVE)?)
        }
    };
    let Some(set) = ctx.set(key)? else {
        match count {
            None => reply.null(),
            Some(_) => reply.set(0),
        }
        return Ok(());
    };
    if let Some(count) = count {
        reply.set(count.min(set.len()) as usize);
    }
    let mut edit = Vec::new();
    let changes =
        set.plan_pop(count.unwrap_or(1), &mut random, &mut edit, &mut |member| write(member, reply));
    if changes.is_over {
        ctx.delete(key)?;
    } else if changes.removed > 0 {
        ctx.edit(key, TypeTag::Set, &edit)?;
    }
    Ok(())
}

/// `SRANDMEMBER key [count]`
fn srandmember(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, mut random) = (args.key()?, ctx.random());
    if args.is_empty() {
        match ctx.set(key)?.and_then(|set| set.random_member(&mut random)) {
            Some(member) => write(member, reply),
            None => reply.null(),
        }
        return Ok(());
    }
    if args.remaining() > 1 {
        return Err(errors::SYNTAX);
    }
    let (count, reply_max) = (args.symmetric_int()?, ctx.reply_max());
    let Some(set) = ctx.set(key)? else {
        reply.array(0);
        return Ok(());
    };
    let wanted = count.unsigned_abs();
    if count < 0 {
        repetitions_fit(reply_max, wanted, set.heap_bytes(), set.len())?;
        reply.array(wanted as usize);
        set.random_members_repeated(wanted, &mut random, &mut |member| write(member, reply));
    } else {
        reply.array(wanted.min(set.len()) as usize);
        set.random_members(wanted, &mut random, &mut |member| write(member, reply));
    }
    Ok(())
}

/// `SMOVE source destination member`
fn smove(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (from, to) = (args.key()?, args.key()?);
    let (member, limits) = (args.rest(), limits(ctx));
    let text = args.bytes()?;
    let Some(source) = ctx.set(from)? else {
        reply.integer(0);
        return Ok(());
    };
    let is_member = source.contains(text);
    ctx.set(to)?;
    if is_member && from != to {
        let mut edit = Vec::new();
        let added = match ctx.set(to)? {
            Some(set) => set.plan_add(member.iter(), &limits, &mut edit),
            None => SetValue::default().plan_add(member.iter(), &limits, &mut edit),
        };
        ctx.set_operation(Operation::SRem);
        remove(ctx, from, member)?;
        if added > 0 {
            ctx.set_operation(Operation::SAdd);
            ctx.edit(to, TypeTag::Set, &edit)?;
        }
    }
    reply.integer(i64::from(is_member));
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
fn sscan(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, cursor) = (args.key()?, args.cursor()?);
    reply.array(2);
    let Some(set) = ctx.set(key)? else {
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, Scanned::Set)?;
    let mut shown = Vec::new();
    let next = set.scan(cursor, options.count, &mut |member| {
        if options.shows(member.text(&mut IntText::default())) {
            shown.push(member);
        }
    });
    reply.bulk(IntText::default().of(next.cast_signed()));
    reply.array(shown.len());
    shown.into_iter().for_each(|member| write(member, reply));
    Ok(())
}

/// The sets of several keys, all at once; `None` for a key that is not there.
fn sets<'x>(ctx: &'x mut Context<'_>, keys: Argv<'_>) -> Result<Vec<Option<&'x SetValue>>, CommandError> {
    let set = |value: Option<ValueRef<'x>>| match value {
        None => Ok(None),
        Some(ValueRef::Collection(Collection::Set(set))) => Ok(Some(set)),
        Some(_) => Err(errors::WRONG_TYPE),
    };
    ctx.lookup_all(keys.iter())?.into_iter().map(set).collect()
}

/// An operation on several sets that hands out its members one by one.
type Algebra = for<'a> fn(&[Option<&'a SetValue>], &mut dyn FnMut(Member<'a>)) -> u64;

fn intersection<'a>(sets: &[Option<&'a SetValue>], visit: &mut dyn FnMut(Member<'a>)) -> u64 {
    set::intersection(sets, u64::MAX, visit)
}

/// `SINTER key [key ...]`
fn sinter(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply_with(ctx, args, reply, intersection)
}

/// `SUNION key [key ...]`
fn sunion(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply_with(ctx, args, reply, set::union)
}

/// `SDIFF key [key ...]`
fn sdiff(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    reply_with(ctx, args, reply, set::difference)
}

fn reply_with(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut dyn ReplySink,
    algebra: Algebra,
) -> CommandResult {
    let sets = sets(ctx, args.rest())?;
    let mut members = Vec::new();
    algebra(&sets, &mut |member| members.push(member));
    reply.set(members.len());
    members.into_iter().for_each(|member| write(member, reply));
    Ok(())
}

/// `SINTERSTORE destination key [key ...]`
fn sinterstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    store_with(ctx, args, reply, intersection)
}

/// `SUNIONSTORE destination key [key ...]`
fn sunionstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    store_with(ctx, args, reply, set::union)
}

/// `SDIFFSTORE destination key [key ...]`
fn sdiffstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    store_with(ctx, args, reply, set::difference)
}

fn store_with(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
    algebra: Algebra,
) -> CommandResult {
    let (destination, limits) = (args.key()?, limits(ctx));
    let sets = sets(ctx, args.rest())?;
    let mut builder = SetBuilder::new(&limits);
    algebra(&sets, &mut |member| {
        builder.add(member);
    });
    let result = builder.finish();
    if result.is_vacant() {
        ctx.set_operation(Operation::Del);
        ctx.delete(destination)?;
    } else {
        let mut encoded = Vec::with_capacity(result.encoded_len());
        result.encode(&mut encoded);
        ctx.put_collection(destination, TypeTag::Set, &encoded, None)?;
    }
    reply.integer(result.len().cast_signed());
    Ok(())
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
fn sintercard(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let count = parse_int(args.bytes()?).filter(|n| *n > 0).ok_or(errors::NUMKEYS_NOT_POSITIVE)?;
    let count = usize::try_from(count).ok().filter(|n| *n <= args.remaining());
    let count = count.ok_or(errors::NUMKEYS_TOO_LARGE)?;
    let keys = args.rest().slice(0, count);
    let mut options = Args::new(args.rest(), count);
    let mut limit = 0;
    while !options.is_empty() {
        if !options.keyword("LIMIT") {
            return Err(errors::SYNTAX);
        }
        let given = parse_int(options.bytes()?).and_then(|n| u64::try_from(n).ok());
        limit = given.ok_or(errors::LIMIT_NEGATIVE)?;
    }
    let limit = if limit == 0 { u64::MAX } else { limit };
    let sets = sets(ctx, keys)?;
    reply.integer(set::intersection(&sets, limit, &mut |_| {}).cast_signed());
    Ok(())
}
