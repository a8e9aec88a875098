//! ZRANGE and its older kin: one query, made of a range, a direction and a limit.

use lux_engine::value::zset::{Builder, Elements, LexRange, ScoreRange, ZSetValue, limited, rank_range};

use super::{store, write_elements};
use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// What the two bounds are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rank,
    Score,
    Lex,
}

/// The bounds, read.
enum Bounds<'a> {
    Ranks(i64, i64),
    Scores(ScoreRange),
    Members(LexRange<'a>),
}

/// What is asked for.
struct Query<'a> {
    bounds: Bounds<'a>,
    is_reversed: bool,
    with_scores: bool,
    offset: i64,
    count: i64,
}

/// What a command's name says already; ZRANGE says nothing.
#[derive(Clone, Copy)]
struct Fixed {
    kind: Option<Kind>,
    is_reversed: Option<bool>,
    is_store: bool,
}

impl<'a> Query<'a> {
    /// Reads bounds and options.
    fn parse(mut args: Args<'a>, fixed: Fixed) -> Result<Query<'a>, CommandError> {
        let (first, second) = (args.bytes()?, args.bytes()?);
        let (mut kind, mut is_reversed) = (fixed.kind, fixed.is_reversed);
        let (mut with_scores, mut offset, mut count) = (false, 0, -1);
        while !args.is_empty() {
            if !fixed.is_store && args.keyword("WITHSCORES") {
                with_scores = true;
            } else if args.remaining() > 2 && args.keyword("LIMIT") {
                (offset, count) = (args.int()?, args.int()?);
            } else if fixed.is_reversed.is_none() && is_reversed.is_none() && args.keyword("REV") {
                is_reversed = Some(true);
            } else if kind.is_none() && args.keyword("BYLEX") {
                kind = Some(Kind::Lex);
            } else if kind.is_none() && args.keyword("BYSCORE") {
                kind = Some(Kind::Score);
            } else {
                return Err(errors::SYNTAX);
            }
        }
        let (kind, is_reversed) = (kind.unwrap_or(Kind::Rank), is_reversed.unwrap_or(false));
        if count != -1 && kind == Kind::Rank {
            return Err(errors::LIMIT_OF_RANKS);
        }
        if with_scores && kind == Kind::Lex {
            return Err(errors::SCORES_OF_LEX);
        }
        let (min, max) = if is_reversed { (second, first) } else { (first, second) };
        let int = |text| crate::dispatch::args::parse_int(text).ok_or(errors::NOT_AN_INTEGER);
        let bounds = match kind {
            Kind::Rank => Bounds::Ranks(int(first)?, int(second)?),
            Kind::Score => Bounds::Scores(ScoreRange::parse(min, max).ok_or(errors::SCORE_RANGE)?),
            Kind::Lex => Bounds::Members(LexRange::parse(min, max).ok_or(errors::LEX_RANGE)?),
        };
        Ok(Query { bounds, is_reversed, with_scores, offset, count })
    }

    /// The elements, in ascending order.
    fn elements<'v>(&self, value: &'v ZSetValue) -> Elements<'v> {
        let len = value.len();
        let ranks = match &self.bounds {
            Bounds::Ranks(start, stop) => {
                let ranks = rank_range(len, *start, *stop);
                if self.is_reversed { len - ranks.end..len - ranks.start } else { ranks }
            }
            Bounds::Scores(range) => {
                limited(value.score_ranks(range), self.is_reversed, self.offset, self.count)
            }
            Bounds::Members(range) => {
                limited(value.lex_ranks(range), self.is_reversed, self.offset, self.count)
            }
        };
        value.range(ranks)
    }
}

fn answer(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    kind: Option<Kind>,
    is_reversed: Option<bool>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let key = args.key()?;
    let query = Query::parse(args, Fixed { kind, is_reversed, is_store: false })?;
    match ctx.zset(key)?.map(|value| query.elements(value)) {
        None => reply.array(0),
        Some(elements) if query.is_reversed => write_elements(elements.rev(), query.with_scores, reply),
        Some(elements) => write_elements(elements, query.with_scores, reply),
    }
    Ok(())
}

/// `ZRANGE key start stop [options]`
pub(super) fn zrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer(ctx, args, None, None, reply)
}

/// `ZREVRANGE key start stop [WITHSCORES]`
pub(super) fn zrevrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer(ctx, args, Some(Kind::Rank), Some(true), reply)
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
pub(super) fn zrangebyscore(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    answer(ctx, args, Some(Kind::Score), Some(false), reply)
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
pub(super) fn zrevrangebyscore(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    answer(ctx, args, Some(Kind::Score), Some(true), reply)
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
pub(super) fn zrangebylex(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    answer(ctx, args, Some(Kind::Lex), Some(false), reply)
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
pub(super) fn zrevrangebylex(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    answer(ctx, args, Some(Kind::Lex), Some(true), reply)
}

/// `ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
pub(super) fn zrangestore(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (target, source) = (args.key()?, args.key()?);
    let query = Query::parse(args, Fixed { kind: None, is_reversed: None, is_store: true })?;
    let mut built = Builder::new();
    if let Some(value) = ctx.zset(source)? {
        query.elements(value).for_each(|element| built.push(element.member, element.score));
    }
    store(ctx, target, built, reply)
}
