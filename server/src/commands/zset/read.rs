//! Commands that look members up, count them, and walk over them.

use lux_engine::value::string::number::push_double;
use lux_engine::value::zset::{Element, LexRange, ScoreRange};

use super::{write_element, write_elements};
use crate::dispatch::args::{Args, ScanOptions, Scanned};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandResult, ReplySink, repetitions_fit};
use crate::dispatch::reply_errors as errors;

/// `ZCARD key`
pub(super) fn zcard(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let len = ctx.zset(args.key()?)?.map_or(0, |value| value.len());
    reply.integer(len as i64);
    Ok(())
}

fn write_score(score: Option<f64>, reply: &mut dyn ReplySink) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// `ZSCORE key member`
pub(super) fn zscore(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, member) = (args.key()?, args.bytes()?);
    write_score(ctx.zset(key)?.and_then(|value| value.score(member)), reply);
    Ok(())
}

/// `ZMSCORE key member [member ...]`
pub(super) fn zmscore(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let value = ctx.zset(args.key()?)?;
    reply.array(args.remaining());
    for member in args {
        write_score(value.and_then(|value| value.score(member)), reply);
    }
    Ok(())
}

/// `ZRANK key member [WITHSCORE]`
pub(super) fn zrank(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    rank(ctx, args, false, reply)
}

/// `ZREVRANK key member [WITHSCORE]`
pub(super) fn zrevrank(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    rank(ctx, args, true, reply)
}

fn rank(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    is_reversed: bool,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, member) = (args.key()?, args.bytes()?);
    let with_score = args.keyword("WITHSCORE");
    args.finish()?;
    let value = ctx.zset(key)?;
    let found = value.and_then(|value| {
        let (rank, score) = value.rank(member)?;
        Some((if is_reversed { value.len() - 1 - rank } else { rank }, score))
    });
    match found {
        Some((rank, score)) => {
            if with_score {
                reply.array(2);
            }
            reply.integer(rank as i64);
            if with_score {
                reply.double(score);
            }
        }
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}

/// `ZCOUNT key min max`
pub(super) fn zcount(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let range = ScoreRange::parse(args.bytes()?, args.bytes()?).ok_or(errors::SCORE_RANGE)?;
    let ranks = ctx.zset(key)?.map_or(0..0, |value| value.score_ranks(&range));
    reply.integer((ranks.end - ranks.start) as i64);
    Ok(())
}

/// `ZLEXCOUNT key min max`
pub(super) fn zlexcount(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let key = args.key()?;
    let range = LexRange::parse(args.bytes()?, args.bytes()?).ok_or(errors::LEX_RANGE)?;
    let ranks = ctx.zset(key)?.map_or(0..0, |value| value.lex_ranks(&range));
    reply.integer((ranks.end - ranks.start) as i64);
    Ok(())
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`
pub(super) fn zrandmember(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let key = args.key()?;
    let mut random = ctx.random();
    if args.is_empty() {
        let element = ctx.zset(key)?.and_then(|value| value.random_element(&mut random));
        reply.bulk_or_null(element.map(|element| element.member));
        return Ok(());
    }
    let count = args.symmetric_int()?;
    let with_scores = args.keyword("WITHSCORES");
    args.finish()?;
    if with_scores && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(errors::OUT_OF_RANGE);
    }
    let reply_max = ctx.reply_max();
    let Some(value) = ctx.zset(key)? else {
        reply.array(0);
        return Ok(());
    };
    if count < 0 {
        repetitions_fit(reply_max, count.unsigned_abs(), value.heap_bytes(), value.len())?;
    }
    if count >= 0 && count.unsigned_abs() >= value.len() {
        write_elements(value.iter(), with_scores, reply);
        return Ok(());
    }
    let is_nested = with_scores && reply.is_resp3();
    let words = if with_scores && !is_nested { 2 } else { 1 };
    let wanted = count.unsigned_abs();
    reply.array(usize::try_from(wanted).unwrap_or(usize::MAX).saturating_mul(words));
    let mut put = |element: Element<'_>| write_element(element, with_scores, is_nested, reply);
    if count >= 0 {
        value.random_subset(wanted, &mut random, &mut put);
    } else {
        value.random_elements(wanted, &mut random, &mut put);
    }
    Ok(())
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count] [NOSCORES]`
pub(super) fn zscan(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, cursor) = (args.key()?, args.cursor()?);
    reply.array(2);
    let Some(value) = ctx.zset(key)? else {
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, Scanned::SortedSet)?;
    // Texts of members and scores, in the order of the reply; they are counted before they are written.
    let (mut texts, mut ends) = (Vec::new(), Vec::new());
    let next = value.scan(cursor, options.count, &mut |element| {
        if !options.shows(element.member) {
            return;
        }
        texts.extend_from_slice(element.member);
        ends.push(texts.len());
        if !options.names_only {
            push_double(&mut texts, element.score);
            ends.push(texts.len());
        }
    });
    reply.bulk(next.to_string().as_bytes());
    reply.array(ends.len());
    let mut start = 0;
    for end in ends {
        reply.bulk(texts.get(start..end).unwrap_or_default());
        start = end;
    }
    Ok(())
}
