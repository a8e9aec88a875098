//! Commands that add, change and remove members.

use lux_engine::value::TypeTag;
use lux_engine::value::zset::{AddOptions, Added, LexRange, ScoreRange, ZSetValue, rank_range};
use lux_engine::wal::effect::Operation;

use super::{limits, or_empty, remove, write_element};
use crate::dispatch::args::{Args, Argv, parse_float, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
pub(super) fn zadd(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let mut options = AddOptions::default();
    let mut counts_changed = false;
    while let Some(option) = args.one_of(&["NX", "XX", "CH", "INCR", "GT", "LT"]) {
        match option {
            0 => options.only_new = true,
            1 => options.only_existing = true,
            2 => counts_changed = true,
            3 => options.is_increment = true,
            4 => options.only_greater = true,
            _ => options.only_less = true,
        }
    }
    let count = args.remaining() / 2;
    if args.is_empty() || !args.remaining().is_multiple_of(2) {
        return Err(errors::SYNTAX);
    }
    if options.only_new && options.only_existing {
        return Err(errors::ZADD_NX_AND_XX);
    }
    if options.only_greater && options.only_less
        || options.only_new && (options.only_greater || options.only_less)
    {
        return Err(errors::ZADD_GT_LT_NX);
    }
    if options.is_increment && count > 1 {
        return Err(errors::ZADD_INCR_PAIRS);
    }
    if options.is_increment {
        ctx.set_operation(Operation::ZIncr);
    }
    let added = add(ctx, key, args, options)?;
    if options.is_increment {
        match added.score {
            Some(score) => reply.double(score),
            None => reply.null(),
        }
    } else {
        reply.integer((added.added + if counts_changed { added.changed } else { 0 }) as i64);
    }
    Ok(())
}

/// Adds the pairs that are left of the arguments.
fn add(
    ctx: &mut Context<'_>,
    key: &[u8],
    mut args: Args<'_>,
    options: AddOptions,
) -> Result<Added, CommandError> {
    let mut pairs = Vec::with_capacity(args.remaining() / 2);
    while !args.is_empty() {
        pairs.push((args.float()?, args.bytes()?));
    }
    add_pairs(ctx, key, &pairs, options)
}

/// Adds members with scores.
pub(in crate::commands) fn add_pairs(
    ctx: &mut Context<'_>,
    key: &[u8],
    pairs: &[(f64, &[u8])],
    options: AddOptions,
) -> Result<Added, CommandError> {
    let limits = limits(ctx);
    let empty = ZSetValue::default();
    let mut edit = Vec::new();
    let value = or_empty(ctx.zset(key)?, &empty);
    let added =
        value.plan_add(pairs.iter().copied(), options, &limits, &mut edit).map_err(|_| errors::SCORE_NAN)?;
    if !edit.is_empty() {
        ctx.edit(key, TypeTag::ZSet, &edit)?;
    }
    Ok(added)
}

/// `ZINCRBY key increment member`
pub(super) fn zincrby(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    ctx.set_operation(Operation::ZIncr);
    let options = AddOptions { is_increment: true, ..AddOptions::default() };
    reply.double(add(ctx, key, args, options)?.score.unwrap_or(0.0));
    Ok(())
}

/// `ZREM key member [member ...]`
pub(super) fn zrem(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let (mut edit, mut removed, mut len) = (Vec::new(), 0, 0);
    if let Some(value) = ctx.zset(key)? {
        removed = value.plan_remove(args.rest().iter(), &mut edit);
        len = value.len();
    }
    remove(ctx, key, &edit, removed, len)?;
    reply.integer(removed as i64);
    Ok(())
}

/// `ZREMRANGEBYRANK key start stop`
pub(super) fn zremrangebyrank(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, start, stop) = (args.key()?, args.int()?, args.int()?);
    remove_ranks(ctx, key, reply, |value| rank_range(value.len(), start, stop))
}

/// `ZREMRANGEBYSCORE key min max`
pub(super) fn zremrangebyscore(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let key = args.key()?;
    let range = ScoreRange::parse(args.bytes()?, args.bytes()?).ok_or(errors::SCORE_RANGE)?;
    remove_ranks(ctx, key, reply, |value| value.score_ranks(&range))
}

/// `ZREMRANGEBYLEX key min max`
pub(super) fn zremrangebylex(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let key = args.key()?;
    let range = LexRange::parse(args.bytes()?, args.bytes()?).ok_or(errors::LEX_RANGE)?;
    remove_ranks(ctx, key, reply, |value| value.lex_ranks(&range))
}

/// Removes a run of ranks and replies how many members went.
fn remove_ranks(
    ctx: &mut Context<'_>,
    key: &[u8],
    reply: &mut dyn ReplySink,
    ranks: impl FnOnce(&ZSetValue) -> std::ops::Range<u64>,
) -> CommandResult {
    let (mut edit, mut removed, mut len) = (Vec::new(), 0, 0);
    if let Some(value) = ctx.zset(key)? {
        removed = value.plan_remove_ranks(ranks(value), &mut edit);
        len = value.len();
    }
    remove(ctx, key, &edit, removed, len)?;
    reply.integer(removed as i64);
    Ok(())
}

/// `ZPOPMIN key [count]`
pub(super) fn zpopmin(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    pop(ctx, args, false, reply)
}

/// `ZPOPMAX key [count]`
pub(super) fn zpopmax(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    pop(ctx, args, true, reply)
}

fn pop(ctx: &mut Context<'_>, mut args: Args<'_>, is_max: bool, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    if args.remaining() > 1 {
        return Err(errors::SYNTAX);
    }
    let count = args.next().map(|text| {
        let count = parse_int(text).and_then(|count| u64::try_from(count).ok());
        count.ok_or(errors::MUST_BE_POSITIVE)
    });
    let count = count.transpose()?;
    let is_nested = count.is_some() && reply.is_resp3();
    let Some(popped) = ctx.zset(key)?.map(|value| value.end_ranks(is_max, count.unwrap_or(1))) else {
        reply.array(0);
        return Ok(());
    };
    let len = popped.end - popped.start;
    reply.array(len as usize * if is_nested { 1 } else { 2 });
    pop_elements(ctx, key, is_max, len, is_nested, reply)
}

/// Removes the `count` lowest or highest members of a key that has them, and writes them.
pub(super) fn pop_elements(
    ctx: &mut Context<'_>,
    key: &[u8],
    is_max: bool,
    count: u64,
    is_nested: bool,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (mut edit, mut removed, mut len) = (Vec::new(), 0, 0);
    if let Some(value) = ctx.zset(key)? {
        let ranks = value.end_ranks(is_max, count);
        let elements = value.range(ranks.clone());
        if is_max {
            elements.rev().for_each(|element| write_element(element, true, is_nested, reply));
        } else {
            elements.for_each(|element| write_element(element, true, is_nested, reply));
        }
        removed = value.plan_remove_ranks(ranks, &mut edit);
        len = value.len();
    }
    remove(ctx, key, &edit, removed, len)
}

/// `ZMPOP numkeys key [key ...] MIN | MAX [COUNT count]`
pub(super) fn zmpop(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let wanted = ManyPop::take(&mut args)?;
    for key in wanted.keys.iter() {
        if pop_many(ctx, key, &wanted, reply)? {
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

/// What ZMPOP and BZMPOP are asked for.
pub(super) struct ManyPop<'a> {
    pub keys: Argv<'a>,
    pub is_max: bool,
    pub count: u64,
}

impl<'a> ManyPop<'a> {
    pub(super) fn take(args: &mut Args<'a>) -> Result<Self, CommandError> {
        let Some(count) = args.next().and_then(parse_int).filter(|count| *count > 0) else {
            return Err(errors::NUMKEYS_NOT_POSITIVE);
        };
        let keys = args.rest();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count >= keys.len() {
            return Err(errors::SYNTAX);
        }
        let keys = keys.slice(0, count);
        args.by_ref().take(count).for_each(drop);
        let is_max = args.one_of(&["MIN", "MAX"]).ok_or(errors::SYNTAX)? == 1;
        let mut wanted = None;
        while !args.is_empty() {
            if wanted.is_some() || !args.keyword("COUNT") || args.is_empty() {
                return Err(errors::SYNTAX);
            }
            let count = args.next().and_then(parse_int).filter(|count| *count > 0);
            wanted = Some(count.ok_or(errors::COUNT_POSITIVE)?.unsigned_abs());
        }
        Ok(ManyPop { keys, is_max, count: wanted.unwrap_or(1) })
    }
}

/// Replies a key and the members that it loses; whether it has any.
pub(super) fn pop_many(
    ctx: &mut Context<'_>,
    key: &[u8],
    wanted: &ManyPop<'_>,
    reply: &mut dyn ReplySink,
) -> Result<bool, CommandError> {
    let Some(len) = ctx.zset(key)?.map(ZSetValue::len) else { return Ok(false) };
    let count = wanted.count.min(len);
    ctx.set_operation(pop_operation(wanted.is_max));
    reply.array(2);
    reply.bulk(key);
    reply.array(count as usize);
    pop_elements(ctx, key, wanted.is_max, count, true, reply)?;
    Ok(true)
}

/// What events of pops are called.
pub(super) fn pop_operation(is_max: bool) -> Operation {
    if is_max { Operation::ZPopMax } else { Operation::ZPopMin }
}

/// A weight.
pub(super) fn weight(text: &[u8]) -> Result<f64, CommandError> {
    parse_float(text).ok_or(errors::WEIGHT)
}
