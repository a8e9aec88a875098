//! List commands: pushes and pops at both ends, and what goes by index.
//!
//! Every handler reads the list, plans an edit and writes its reply, then hands the edit over; when the
//! last element goes, the key is deleted instead. Those that wait for elements are in [`blocking`].

mod blocking;

use lux_engine::value::TypeTag;
use lux_engine::value::list::{End, ListLimits, ListValue, SetOutcome};
use lux_engine::wal::effect::Operation;

use crate::dispatch::args::{Args, Argv, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const GROW: Flags = Flags::WRITE.with(Flags::DENY_OOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);
const SHRINK_FAST: Flags = Flags::WRITE.with(Flags::FAST).with(Flags::RESERVE);

const WAIT: Flags = Flags::WRITE.with(Flags::RESERVE).with(Flags::BLOCKING);

const INSERT: &[&str] = &["RW", "insert"];
const TAKE: &[&str] = &["RW", "access", "delete"];

const BASE: CommandSpec = CommandSpec { group: Group::List, keys: Keys::First, ..CommandSpec::BASE };

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "LPUSH",
        since: "1.0.0",
        summary: "Puts elements before the first one of a list, creating it when absent.",
        complexity: "O(1) for each element added.",
        arity: Arity::AtLeast(3),
        key_access: INSERT,
        flags: GROW_FAST,
        arguments: "key element [element ...]",
        handler: lpush,
        ..BASE
    },
    CommandSpec {
        name: "RPUSH",
        since: "1.0.0",
        summary: "Puts elements behind the last one of a list, creating it when absent.",
        complexity: "O(1) for each element added.",
        arity: Arity::AtLeast(3),
        key_access: INSERT,
        flags: GROW_FAST,
        arguments: "key element [element ...]",
        handler: rpush,
        ..BASE
    },
    CommandSpec {
        name: "LPUSHX",
        since: "2.2.0",
        summary: "Puts elements before the first one of a list that exists.",
        complexity: "O(1) for each element added.",
        arity: Arity::AtLeast(3),
        key_access: INSERT,
        flags: GROW_FAST,
        arguments: "key element [element ...]",
        handler: lpushx,
        ..BASE
    },
    CommandSpec {
        name: "RPUSHX",
        since: "2.2.0",
        summary: "Puts elements behind the last one of a list that exists.",
        complexity: "O(1) for each element added.",
        arity: Arity::AtLeast(3),
        key_access: INSERT,
        flags: GROW_FAST,
        arguments: "key element [element ...]",
        handler: rpushx,
        ..BASE
    },
    CommandSpec {
        name: "LPOP",
        since: "1.0.0",
        summary: "Removes the first elements of a list and returns them; the key goes with the last one.",
        complexity: "O(N) where N is the number of elements returned.",
        arity: Arity::Between(2, 3),
        key_access: TAKE,
        flags: SHRINK_FAST,
        arguments: "key [count]",
        handler: lpop,
        ..BASE
    },
    CommandSpec {
        name: "RPOP",
        since: "1.0.0",
        summary: "Removes the last elements of a list and returns them; the key goes with the last one.",
        complexity: "O(N) where N is the number of elements returned.",
        arity: Arity::Between(2, 3),
        key_access: TAKE,
        flags: SHRINK_FAST,
        arguments: "key [count]",
        handler: rpop,
        ..BASE
    },
    CommandSpec {
        name: "LMPOP",
        since: "7.0.0",
        summary: "Removes elements from the first list that has any and returns them with its name.",
        complexity: "O(N+M) where N is the number of keys and M the number of elements returned.",
        arity: Arity::AtLeast(4),
        keys: Keys::Counted { count_at: 1 },
        key_access: TAKE,
        flags: Flags::WRITE.with(Flags::RESERVE),
        arguments: "numkeys key [key ...] LEFT | RIGHT [COUNT count]",
        handler: lmpop,
        ..BASE
    },
    CommandSpec {
        name: "LLEN",
        since: "1.0.0",
        summary: "Returns the length of a list.",
        arity: Arity::Exactly(2),
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key",
        handler: llen,
        ..BASE
    },
    CommandSpec {
        name: "LINDEX",
        since: "1.0.0",
        summary: "Returns the element of a list with an index.",
        complexity: "O(log N), O(1) at both ends.",
        arity: Arity::Exactly(3),
        flags: Flags::READONLY,
        arguments: "key index",
        handler: lindex,
        ..BASE
    },
    CommandSpec {
        name: "LRANGE",
        since: "1.0.0",
        summary: "Returns the elements of a list between two indexes.",
        complexity: "O(log N + M) where M is the number of elements returned.",
        arity: Arity::Exactly(4),
        flags: Flags::READONLY,
        arguments: "key start stop",
        handler: lrange,
        ..BASE
    },
    CommandSpec {
        name: "LSET",
        since: "1.0.0",
        summary: "Sets the element of a list with an index.",
        complexity: "O(log N), O(1) at both ends.",
        arity: Arity::Exactly(4),
        key_access: &["RW", "update"],
        flags: GROW,
        arguments: "key index element",
        handler: lset,
        ..BASE
    },
    CommandSpec {
        name: "LINSERT",
        since: "2.2.0",
        summary: "Inserts an element before or behind another one of a list.",
        complexity: "O(N) where N is the number of elements before the pivot.",
        arity: Arity::Exactly(5),
        key_access: INSERT,
        flags: GROW,
        arguments: "key BEFORE | AFTER pivot element",
        handler: linsert,
        ..BASE
    },
    CommandSpec {
        name: "LREM",
        since: "1.0.0",
        summary: "Removes elements that equal a given one from a list; the key goes with the last one.",
        complexity: "O(N)",
        arity: Arity::Exactly(4),
        key_access: &["RW", "delete"],
        flags: Flags::WRITE.with(Flags::RESERVE),
        arguments: "key count element",
        handler: lrem,
        ..BASE
    },
    CommandSpec {
        name: "LTRIM",
        since: "1.0.0",
        summary: "Removes the elements of a list outside of two indexes; the key goes with the last one.",
        complexity: "O(log N) and the memory that is freed.",
        arity: Arity::Exactly(4),
        key_access: &["RW", "delete"],
        flags: Flags::WRITE.with(Flags::RESERVE),
        arguments: "key start stop",
        handler: ltrim,
        ..BASE
    },
    CommandSpec {
        name: "LPOS",
        since: "6.0.6",
        summary: "Returns the index of an element in a list, or the indexes of several.",
        complexity: "O(N)",
        arity: Arity::AtLeast(3),
        flags: Flags::READONLY,
        arguments: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        handler: lpos,
        ..BASE
    },
    CommandSpec {
        name: "LMOVE",
        since: "6.2.0",
        summary: "Moves an element from an end of one list to an end of another and returns it.",
        arity: Arity::Exactly(5),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        key_access_of: Some(move_access),
        flags: GROW,
        arguments: "source destination LEFT | RIGHT LEFT | RIGHT",
        handler: lmove,
        ..BASE
    },
    CommandSpec {
        name: "RPOPLPUSH",
        since: "1.2.0",
        summary: "Moves the last element of one list before the first of another and returns it.",
        arity: Arity::Exactly(3),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        key_access_of: Some(move_access),
        flags: GROW,
        arguments: "source destination",
        handler: rpoplpush,
        ..BASE
    },
    CommandSpec {
        name: "BLPOP",
        since: "2.0.0",
        summary: "Removes the first element of the first list that has any, and waits for one if none has.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(3),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        key_access: TAKE,
        flags: WAIT,
        arguments: "key [key ...] timeout",
        handler: blocking::blpop,
        ..BASE
    },
    CommandSpec {
        name: "BRPOP",
        since: "2.0.0",
        summary: "Removes the last element of the first list that has any, and waits for one if none has.",
        complexity: "O(N) where N is the number of keys.",
        arity: Arity::AtLeast(3),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        key_access: TAKE,
        flags: WAIT,
        arguments: "key [key ...] timeout",
        handler: blocking::brpop,
        ..BASE
    },
    CommandSpec {
        name: "BLMPOP",
        since: "7.0.0",
        summary: "Removes elements from the first list that has any, and waits for some if none has.",
        complexity: "O(N+M) where N is the number of keys and M the number of elements returned.",
        arity: Arity::AtLeast(5),
        keys: Keys::Counted { count_at: 2 },
        key_access: TAKE,
        flags: WAIT,
        arguments: "timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]",
        handler: blocking::blmpop,
        ..BASE
    },
    CommandSpec {
        name: "BLMOVE",
        since: "6.2.0",
        summary: "Moves an element from an end of one list to an end of another, and waits for one if there is none.",
        arity: Arity::Exactly(6),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        key_access_of: Some(move_access),
        flags: GROW.with(Flags::BLOCKING),
        arguments: "source destination LEFT | RIGHT LEFT | RIGHT timeout",
        handler: blocking::blmove,
        ..BASE
    },
    CommandSpec {
        name: "BRPOPLPUSH",
        since: "2.2.0",
        summary: "Moves the last element of one list before the first of another, and waits for one if there is none.",
        arity: Arity::Exactly(4),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        key_access_of: Some(move_access),
        flags: GROW.with(Flags::BLOCKING),
        arguments: "source destination timeout",
        handler: blocking::brpoplpush,
        ..BASE
    },
];

/// Keys of LMOVE, RPOPLPUSH and those of them that wait: the one loses an element, the other gets it.
fn move_access(_: Argv<'_>, key: usize) -> &'static [&'static str] {
    if key == 0 { TAKE } else { INSERT }
}

/// The limit of packed lists, as configured.
pub(super) fn limits(ctx: &Context<'_>) -> ListLimits {
    ListLimits { listpack_size: ctx.config().list_max_listpack_size }
}

/// Takes LEFT or RIGHT.
fn take_end(args: &mut Args<'_>) -> Result<End, CommandError> {
    match args.one_of(&["LEFT", "RIGHT"]) {
        Some(0) => Ok(End::Front),
        Some(_) => Ok(End::Back),
        None => Err(errors::SYNTAX),
    }
}

/// What events of a push or a pop at an end are called.
fn push_operation(end: End) -> Operation {
    match end {
        End::Front => Operation::LPush,
        End::Back => Operation::RPush,
    }
}

fn pop_operation(end: End) -> Operation {
    match end {
        End::Front => Operation::LPop,
        End::Back => Operation::RPop,
    }
}

/// Hands over the edit of a list, or deletes the key when nothing would be left.
fn change(ctx: &mut Context<'_>, key: &[u8], edit: &[u8], is_left: bool) -> CommandResult {
    if is_left { ctx.edit(key, TypeTag::List, edit) } else { ctx.delete(key).map(drop) }
}

/// `LPUSH key element [element ...]`
fn lpush(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    push(ctx, args, End::Front, false, reply)
}

/// `RPUSH key element [element ...]`
fn rpush(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    push(ctx, args, End::Back, false, reply)
}

/// `LPUSHX key element [element ...]`
fn lpushx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    push(ctx, args, End::Front, true, reply)
}

/// `RPUSHX key element [element ...]`
fn rpushx(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    push(ctx, args, End::Back, true, reply)
}

fn push(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    end: End,
    must_exist: bool,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, limits) = (args.key()?, limits(ctx));
    let mut edit = Vec::new();
    let elements = args.rest().iter();
    let len = match ctx.list(key)? {
        Some(list) => list.plan_push(end, elements, limits, &mut edit),
        None if must_exist => {
            reply.integer(0);
            return Ok(());
        }
        None => ListValue::default().plan_push(end, elements, limits, &mut edit),
    };
    ctx.set_operation(push_operation(end));
    ctx.edit(key, TypeTag::List, &edit)?;
    reply.integer(len as i64);
    Ok(())
}

/// `LPOP key [count]`
fn lpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    pop(ctx, args, End::Front, reply)
}

/// `RPOP key [count]`
fn rpop(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    pop(ctx, args, End::Back, reply)
}

/// How many elements to pop. All that is wrong with it gets one text.
fn pop_count(text: &[u8]) -> Result<u64, CommandError> {
    parse_int(text).and_then(|n| u64::try_from(n).ok()).ok_or(errors::MUST_BE_POSITIVE)
}

fn pop(ctx: &mut Context<'_>, mut args: Args<'_>, end: End, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, limits) = (args.key()?, limits(ctx));
    let count = match args.is_empty() {
        true => None,
        false => Some(pop_count(args.bytes()?)?),
    };
    let Some(list) = ctx.list(key)? else {
        if count.is_some() {
            reply.null_array();
        } else {
            reply.null();
        }
        return Ok(());
    };
    let mut edit = Vec::new();
    let popped = list.plan_pop(end, count.unwrap_or(1), limits, &mut edit);
    if count.is_some() {
        reply.array(popped as usize);
    }
    for element in list.from_end(end).take(popped as usize) {
        reply.bulk(element);
    }
    let is_left = list.len() > popped;
    if popped > 0 {
        change(ctx, key, &edit, is_left)?;
    }
    Ok(())
}

/// `LMPOP numkeys key [key ...] LEFT | RIGHT [COUNT count]`
fn lmpop(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let wanted = ManyPop::take(&mut args)?;
    for key in wanted.keys.iter() {
        if pop_many(ctx, key, &wanted, reply)? {
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

/// What LMPOP and BLMPOP are asked for.
struct ManyPop<'a> {
    keys: Argv<'a>,
    end: End,
    count: u64,
}

impl<'a> ManyPop<'a> {
    fn take(args: &mut Args<'a>) -> Result<Self, CommandError> {
        let numkeys = parse_int(args.bytes()?).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let numkeys = numkeys.ok_or(errors::NUMKEYS_NOT_POSITIVE)?;
        if args.remaining() <= numkeys {
            return Err(errors::SYNTAX);
        }
        let keys = args.rest().slice(0, numkeys);
        args.nth(numkeys - 1);
        let end = take_end(args)?;
        let mut count = None;
        while !args.is_empty() {
            if count.is_some() || args.remaining() < 2 || !args.keyword("COUNT") {
                return Err(errors::SYNTAX);
            }
            let given = parse_int(args.bytes()?).and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
            count = Some(given.ok_or(errors::COUNT_POSITIVE)?);
        }
        Ok(ManyPop { keys, end, count: count.unwrap_or(1) })
    }
}

/// Replies a key and the elements that it loses; whether it has any.
fn pop_many(
    ctx: &mut Context<'_>,
    key: &[u8],
    wanted: &ManyPop<'_>,
    reply: &mut dyn ReplySink,
) -> Result<bool, CommandError> {
    let (limits, end) = (limits(ctx), wanted.end);
    let Some(list) = ctx.list(key)? else { return Ok(false) };
    let mut edit = Vec::new();
    let popped = list.plan_pop(end, wanted.count, limits, &mut edit);
    reply.array(2);
    reply.bulk(key);
    reply.array(popped as usize);
    for element in list.from_end(end).take(popped as usize) {
        reply.bulk(element);
    }
    let is_left = list.len() > popped;
    ctx.set_operation(pop_operation(end));
    change(ctx, key, &edit, is_left)?;
    Ok(true)
}

/// `LLEN key`
fn llen(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let len = ctx.list(args.key()?)?.map_or(0, ListValue::len);
    reply.integer(len as i64);
    Ok(())
}

/// `LINDEX key index`
fn lindex(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    match ctx.list(args.key()?)? {
        Some(list) => reply.bulk_or_null(list.get(args.int()?)),
        None => reply.null(),
    }
    Ok(())
}

/// `LRANGE key start stop`
fn lrange(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, start, stop) = (args.key()?, args.int()?, args.int()?);
    let Some(list) = ctx.list(key)? else {
        reply.array(0);
        return Ok(());
    };
    let elements = list.range(start, stop);
    reply.array(elements.len() as usize);
    for element in elements {
        reply.bulk(element);
    }
    Ok(())
}

/// `LSET key index element`
fn lset(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, limits) = (args.key()?, limits(ctx));
    let list = ctx.list(key)?.ok_or(errors::NO_SUCH_KEY)?;
    let (index, element) = (args.int()?, args.bytes()?);
    let mut edit = Vec::new();
    match list.plan_set(index, element, limits, &mut edit) {
        SetOutcome::Set => ctx.edit(key, TypeTag::List, &edit)?,
        SetOutcome::OutOfRange => return Err(errors::INDEX_OUT_OF_RANGE),
    }
    reply.ok();
    Ok(())
}

/// `LINSERT key BEFORE | AFTER pivot element`
fn linsert(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, limits) = (args.key()?, limits(ctx));
    let is_after = args.one_of(&["BEFORE", "AFTER"]).ok_or(errors::SYNTAX)? == 1;
    let (pivot, element) = (args.bytes()?, args.bytes()?);
    let Some(list) = ctx.list(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let mut edit = Vec::new();
    match list.plan_insert(pivot, is_after, element, limits, &mut edit) {
        Some(len) => {
            ctx.edit(key, TypeTag::List, &edit)?;
            reply.integer(len as i64);
        }
        None => reply.integer(-1),
    }
    Ok(())
}

/// `LREM key count element`
fn lrem(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, limits) = (args.key()?, limits(ctx));
    let (count, element) = (args.symmetric_int()?, args.bytes()?);
    let Some(list) = ctx.list(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let mut edit = Vec::new();
    let removed = list.plan_remove(element, count, limits, &mut edit);
    let is_left = list.len() > removed;
    if removed > 0 {
        change(ctx, key, &edit, is_left)?;
    }
    reply.integer(removed as i64);
    Ok(())
}

/// `LTRIM key start stop`
fn ltrim(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, start, stop, limits) = (args.key()?, args.int()?, args.int()?, limits(ctx));
    if let Some(list) = ctx.list(key)? {
        let mut edit = Vec::new();
        let removed = list.plan_trim(start, stop, limits, &mut edit);
        let is_left = list.len() > removed;
        if removed > 0 {
            change(ctx, key, &edit, is_left)?;
        }
    }
    reply.ok();
    Ok(())
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
fn lpos(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, element) = (args.key()?, args.bytes()?);
    let (mut rank, mut count, mut max_len) = (1, None, 0);
    let positive = |args: &mut Args<'_>, error| {
        parse_int(args.bytes()?).and_then(|n| u64::try_from(n).ok()).ok_or(error)
    };
    while !args.is_empty() {
        let word = if args.remaining() > 1 { args.one_of(&["RANK", "COUNT", "MAXLEN"]) } else { None };
        match word {
            Some(0) => rank = args.symmetric_int()?,
            Some(1) => count = Some(positive(&mut args, errors::LPOS_COUNT)?),
            Some(_) => max_len = positive(&mut args, errors::LPOS_MAXLEN)?,
            None => return Err(errors::SYNTAX),
        }
        if rank == 0 {
            return Err(errors::LPOS_RANK);
        }
    }
    let from = if rank < 0 { End::Back } else { End::Front };
    let skip = rank.unsigned_abs() - 1;
    let positions = ctx.list(key)?.map(|list| list.positions(element, from, skip, max_len));
    let mut positions = positions.into_iter().flatten();
    let Some(count) = count else {
        match positions.next() {
            Some(place) => reply.integer(place as i64),
            None => reply.null(),
        }
        return Ok(());
    };
    let most = if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) };
    let found: Vec<u64> = positions.take(most).collect();
    reply.array(found.len());
    found.iter().for_each(|place| reply.integer(*place as i64));
    Ok(())
}

/// `LMOVE source destination LEFT | RIGHT LEFT | RIGHT`
fn lmove(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (source, destination) = (args.key()?, args.key()?);
    let (from, to) = (take_end(&mut args)?, take_end(&mut args)?);
    move_element(ctx, (source, from), (destination, to), reply)
}

/// `RPOPLPUSH source destination`
fn rpoplpush(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (source, destination) = (args.key()?, args.key()?);
    move_element(ctx, (source, End::Back), (destination, End::Front), reply)
}

fn move_element(
    ctx: &mut Context<'_>,
    (source, from): (&[u8], End),
    (destination, to): (&[u8], End),
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let limits = limits(ctx);
    let (mut edit, mut pushed) = (Vec::new(), Vec::new());
    let Some(list) = ctx.list(source)? else {
        reply.null();
        return Ok(());
    };
    if source == destination {
        reply.bulk_or_null(list.plan_rotate(from, to, &mut edit));
        ctx.set_operation(push_operation(to));
        return ctx.edit(source, TypeTag::List, &edit);
    }
    let popped = list.plan_pop(from, 1, limits, &mut edit);
    let is_left = list.len() > popped;
    let element = list.from_end(from).next().map(<[u8]>::to_vec).unwrap_or_default();
    let elements = std::iter::once(&element[..]);
    match ctx.list(destination)? {
        Some(list) => list.plan_push(to, elements, limits, &mut pushed),
        None => ListValue::default().plan_push(to, elements, limits, &mut pushed),
    };
    ctx.set_operation(push_operation(to));
    ctx.edit(destination, TypeTag::List, &pushed)?;
    ctx.set_operation(pop_operation(from));
    change(ctx, source, &edit, is_left)?;
    reply.bulk(&element);
    Ok(())
}
