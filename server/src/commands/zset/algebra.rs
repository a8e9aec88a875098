//! Unions, intersections and differences of sorted sets and sets.

use lux_engine::txn::ValueRef;
use lux_engine::value::collection::Collection;
use lux_engine::value::zset::{
    Aggregate, Builder, Input, WeightedInput, difference, intersection, intersection_len, union,
};

use super::change::weight;
use super::{limits, store, write_elements};
use crate::dispatch::args::{Args, Argv, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// Which operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Union,
    Intersection,
    Difference,
}

/// Reads the number of keys and the keys.
fn parse_keys<'a>(ctx: &Context<'_>, args: &mut Args<'a>) -> Result<Argv<'a>, CommandError> {
    let count = args.int()?;
    if count < 1 {
        return Err(errors::no_input_key(&ctx.command.full_name));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > args.remaining() {
        return Err(errors::SYNTAX);
    }
    let keys = args.rest().slice(0, count);
    args.by_ref().take(count).for_each(drop);
    Ok(keys)
}

/// The inputs at the keys, each with the weight 1. Redis refuses wrong types before wrong options.
fn inputs<'t>(ctx: &'t mut Context<'_>, keys: Argv<'_>) -> Result<Vec<WeightedInput<'t>>, CommandError> {
    let values = ctx.lookup_all(keys.iter())?;
    let input = |value: Option<ValueRef<'t>>| -> Result<WeightedInput<'t>, CommandError> {
        let input: Option<&'t dyn Input> = match value {
            None => None,
            Some(ValueRef::Collection(Collection::ZSet(value))) => Some(value),
            Some(ValueRef::Collection(Collection::Set(value))) => Some(value),
            Some(_) => return Err(errors::WRONG_TYPE),
        };
        Ok(WeightedInput { input, weight: 1.0 })
    };
    values.into_iter().map(input).collect()
}

/// Reads the options, and does the operation.
fn operate(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    operator: Operator,
    is_store: bool,
) -> Result<(Builder, bool), CommandError> {
    let keys = parse_keys(ctx, &mut args)?;
    let mut inputs = inputs(ctx, keys)?;
    let (mut aggregate, mut with_scores) = (Aggregate::Sum, false);
    let is_weighted = operator != Operator::Difference;
    while !args.is_empty() {
        if is_weighted && args.remaining() > inputs.len() && args.keyword("WEIGHTS") {
            for input in &mut inputs {
                input.weight = weight(args.bytes()?)?;
            }
        } else if is_weighted && args.remaining() > 1 && args.keyword("AGGREGATE") {
            aggregate = match args.one_of(&["SUM", "MIN", "MAX"]) {
                Some(0) => Aggregate::Sum,
                Some(1) => Aggregate::Min,
                Some(_) => Aggregate::Max,
                None => return Err(errors::SYNTAX),
            };
        } else if !is_store && args.keyword("WITHSCORES") {
            with_scores = true;
        } else {
            return Err(errors::SYNTAX);
        }
    }
    let built = match operator {
        Operator::Union => union(&inputs, aggregate),
        Operator::Intersection => intersection(&inputs, aggregate),
        Operator::Difference => difference(&inputs.iter().map(|input| input.input).collect::<Vec<_>>()),
    };
    Ok((built, with_scores))
}

fn answer(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    operator: Operator,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (built, with_scores) = operate(ctx, args, operator, false)?;
    write_elements(built.finish(&limits(ctx)).iter(), with_scores, reply);
    Ok(())
}

fn answer_store(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    operator: Operator,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let target = args.key()?;
    let (built, _) = operate(ctx, args, operator, true)?;
    store(ctx, target, built, reply)
}

/// `ZUNION numkeys key [key ...] [options]`
pub(super) fn zunion(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer(ctx, args, Operator::Union, reply)
}

/// `ZUNIONSTORE destination numkeys key [key ...] [options]`
pub(super) fn zunionstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer_store(ctx, args, Operator::Union, reply)
}

/// `ZINTER numkeys key [key ...] [options]`
pub(super) fn zinter(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer(ctx, args, Operator::Intersection, reply)
}

/// `ZINTERSTORE destination numkeys key [key ...] [options]`
pub(super) fn zinterstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer_store(ctx, args, Operator::Intersection, reply)
}

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
pub(super) fn zdiff(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer(ctx, args, Operator::Difference, reply)
}

/// `ZDIFFSTORE destination numkeys key [key ...]`
pub(super) fn zdiffstore(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer_store(ctx, args, Operator::Difference, reply)
}

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
pub(super) fn zintercard(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let keys = parse_keys(ctx, &mut args)?;
    let inputs = inputs(ctx, keys)?;
    let mut limit = 0;
    while !args.is_empty() {
        if args.remaining() < 2 || !args.keyword("LIMIT") {
            return Err(errors::SYNTAX);
        }
        let number = args.next().and_then(parse_int).and_then(|number| u64::try_from(number).ok());
        limit = number.ok_or(errors::LIMIT_NEGATIVE)?;
    }
    reply.integer(intersection_len(&inputs, limit) as i64);
    Ok(())
}
