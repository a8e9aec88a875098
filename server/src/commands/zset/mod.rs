//! Sorted set commands: members by score.
//!
//! Every handler reads its arguments to the end before it looks at a key, as Redis does, so errors come
//! in Redis's order. Handlers that change something plan an edit; one that takes the last member deletes
//! the key instead. Those that wait for members are in [`blocking`].

mod algebra;
mod blocking;
mod change;
mod range;
mod read;

pub(in crate::commands) use change::add_pairs;

use lux_engine::value::TypeTag;
use lux_engine::value::zset::{Builder, Element, Limits, ZSetValue};

use crate::dispatch::args::Argv;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
const SHRINK: Flags = Flags::WRITE.with(Flags::RESERVE);
const SHRINK_FAST: Flags = SHRINK.with(Flags::FAST);

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "ZADD",
        since: "1.2.0",
        group: Group::SortedSet,
        summary: "Adds members to a sorted set, or changes the scores of those that are there.",
        complexity: "O(log(N)) for each member, where N is the size of the sorted set.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        flags: WRITE_FAST,
        arguments: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        handler: change::zadd,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZINCRBY",
        since: "1.2.0",
        group: Group::SortedSet,
        summary: "Adds to the score of a member, starting at 0 when absent.",
        complexity: "O(log(N)) where N is the size of the sorted set.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: &["RW", "access", "update"],
        flags: WRITE_FAST,
        arguments: "key increment member",
        handler: change::zincrby,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZREM",
        since: "1.2.0",
        group: Group::SortedSet,
        summary: "Removes members from a sorted set.",
        complexity: "O(M*log(N)) with N being the size of the sorted set and M the number of \
                     members to remove.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        key_access: &["RW", "delete"],
        flags: SHRINK_FAST,
        arguments: "key member [member ...]",
        handler: change::zrem,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZREMRANGEBYRANK",
        since: "2.0.0",
        group: Group::SortedSet,
        summary: "Removes the members of a range of ranks.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members removed.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: &["RW", "delete"],
        flags: SHRINK,
        arguments: "key start stop",
        handler: change::zremrangebyrank,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZREMRANGEBYSCORE",
        since: "1.2.0",
        group: Group::SortedSet,
        summary: "Removes the members of a range of scores.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members removed.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: &["RW", "delete"],
        flags: SHRINK,
        arguments: "key min max",
        handler: change::zremrangebyscore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZREMRANGEBYLEX",
        since: "2.8.9",
        group: Group::SortedSet,
        summary: "Removes the members between two others, where all scores are the same.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members removed.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: &["RW", "delete"],
        flags: SHRINK,
        arguments: "key min max",
        handler: change::zremrangebylex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZPOPMIN",
        since: "5.0.0",
        group: Group::SortedSet,
        summary: "Removes and returns the members with the lowest scores.",
        complexity: "O(log(N)*M) with N being the size of the sorted set and M the number of \
                     members removed.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        key_access: &["RW", "access", "delete"],
        flags: SHRINK_FAST,
        arguments: "key [count]",
        handler: change::zpopmin,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZPOPMAX",
        since: "5.0.0",
        group: Group::SortedSet,
        summary: "Removes and returns the members with the highest scores.",
        complexity: "O(log(N)*M) with N being the size of the sorted set and M the number of \
                     members removed.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        key_access: &["RW", "access", "delete"],
        flags: SHRINK_FAST,
        arguments: "key [count]",
        handler: change::zpopmax,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZMPOP",
        since: "7.0.0",
        group: Group::SortedSet,
        summary: "Removes and returns members with the lowest or highest scores of the first \
                  sorted set that has any.",
        complexity: "O(K) + O(M*log(N)) where K is the number of keys, N the size of the sorted \
                     set and M the number of members removed.",
        arity: Arity::AtLeast(4),
        keys: Keys::Counted { count_at: 1 },
        key_access: &["RW", "access", "delete"],
        flags: SHRINK,
        arguments: "numkeys key [key ...] MIN | MAX [COUNT count]",
        handler: change::zmpop,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "BZPOPMIN",
        since: "5.0.0",
        group: Group::SortedSet,
        summary: "Removes the member with the lowest score of the first sorted set that has any, and \
                  waits for one if none has.",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        arity: Arity::AtLeast(3),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        key_access: &["RW", "access", "delete"],
        flags: SHRINK_FAST.with(Flags::BLOCKING),
        arguments: "key [key ...] timeout",
        handler: blocking::bzpopmin,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "BZPOPMAX",
        since: "5.0.0",
        group: Group::SortedSet,
        summary: "Removes the member with the highest score of the first sorted set that has any, and \
                  waits for one if none has.",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        arity: Arity::AtLeast(3),
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        key_access: &["RW", "access", "delete"],
        flags: SHRINK_FAST.with(Flags::BLOCKING),
        arguments: "key [key ...] timeout",
        handler: blocking::bzpopmax,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "BZMPOP",
        since: "7.0.0",
        group: Group::SortedSet,
        summary: "Removes members with the lowest or highest scores of the first sorted set that has \
                  any, and waits for some if none has.",
        complexity: "O(K) + O(M*log(N)) where K is the number of keys, N the size of the sorted \
                     set and M the number of members removed.",
        arity: Arity::AtLeast(5),
        keys: Keys::Counted { count_at: 2 },
        key_access: &["RW", "access", "delete"],
        flags: SHRINK.with(Flags::BLOCKING),
        arguments: "timeout numkeys key [key ...] MIN | MAX [COUNT count]",
        handler: blocking::bzmpop,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZCARD",
        since: "1.2.0",
        group: Group::SortedSet,
        summary: "Returns the number of members of a sorted set.",
        arity: Arity::Exactly(2),
        keys: Keys::First,
        key_access: &["RO"],
        flags: READ_FAST,
        arguments: "key",
        handler: read::zcard,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZSCORE",
        since: "1.2.0",
        group: Group::SortedSet,
        summary: "Returns the score of a member.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key member",
        handler: read::zscore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZMSCORE",
        since: "6.2.0",
        group: Group::SortedSet,
        summary: "Returns the scores of several members.",
        complexity: "O(N) where N is the number of members asked for.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key member [member ...]",
        handler: read::zmscore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZRANK",
        since: "2.0.0",
        group: Group::SortedSet,
        summary: "Returns how many members are before one, by ascending scores.",
        complexity: "O(log(N)) where N is the size of the sorted set.",
        arity: Arity::Between(3, 4),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key member [WITHSCORE]",
        handler: read::zrank,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZREVRANK",
        since: "2.0.0",
        group: Group::SortedSet,
        summary: "Returns how many members are before one, by descending scores.",
        complexity: "O(log(N)) where N is the size of the sorted set.",
        arity: Arity::Between(3, 4),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key member [WITHSCORE]",
        handler: read::zrevrank,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZCOUNT",
        since: "2.0.0",
        group: Group::SortedSet,
        summary: "Counts the members whose scores are in a range.",
        complexity: "O(log(N)) where N is the size of the sorted set.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key min max",
        handler: read::zcount,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZLEXCOUNT",
        since: "2.8.9",
        group: Group::SortedSet,
        summary: "Counts the members between two others, where all scores are the same.",
        complexity: "O(log(N)) where N is the size of the sorted set.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key min max",
        handler: read::zlexcount,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZRANGE",
        since: "1.2.0",
        group: Group::SortedSet,
        summary: "Returns the members of a range of ranks, scores or members.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members returned.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        handler: range::zrange,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZREVRANGE",
        since: "1.2.0",
        group: Group::SortedSet,
        summary: "Returns the members of a range of ranks by descending scores.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members returned.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key start stop [WITHSCORES]",
        handler: range::zrevrange,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZRANGEBYSCORE",
        since: "1.0.5",
        group: Group::SortedSet,
        summary: "Returns the members whose scores are in a range.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members returned.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key min max [WITHSCORES] [LIMIT offset count]",
        handler: range::zrangebyscore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZREVRANGEBYSCORE",
        since: "2.2.0",
        group: Group::SortedSet,
        summary: "Returns the members whose scores are in a range by descending scores.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members returned.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key max min [WITHSCORES] [LIMIT offset count]",
        handler: range::zrevrangebyscore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZRANGEBYLEX",
        since: "2.8.9",
        group: Group::SortedSet,
        summary: "Returns the members between two others, where all scores are the same.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members returned.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key min max [LIMIT offset count]",
        handler: range::zrangebylex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZREVRANGEBYLEX",
        since: "2.8.9",
        group: Group::SortedSet,
        summary: "Returns the members between two others in reverse, where all scores are the same.",
        complexity: "O(log(N)+M) with N being the size of the sorted set and M the number of \
                     members returned.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key max min [LIMIT offset count]",
        handler: range::zrevrangebylex,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZRANGESTORE",
        since: "6.2.0",
        group: Group::SortedSet,
        summary: "Stores the members of a range as another sorted set.",
        complexity: "O(log(N)+M*log(M)) with N being the size of the sorted set and M the number \
                     of members stored.",
        arity: Arity::AtLeast(5),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        key_access_of: Some(store_access),
        flags: WRITE,
        arguments: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        handler: range::zrangestore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZRANDMEMBER",
        since: "6.2.0",
        group: Group::SortedSet,
        summary: "Returns random members.",
        complexity: "O(N) where N is the number of members returned.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key [count [WITHSCORES]]",
        handler: read::zrandmember,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZSCAN",
        since: "2.8.0",
        group: Group::SortedSet,
        summary: "Returns a part of the members and scores, and where to go on.",
        complexity: "O(1) for every call. O(N) for a complete iteration, where N is the size of \
                     the sorted set.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: READ,
        arguments: "key cursor [MATCH pattern] [COUNT count] [NOSCORES]",
        handler: read::zscan,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZUNION",
        since: "6.2.0",
        group: Group::SortedSet,
        summary: "Returns the members of any of several sorted sets or sets.",
        complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the inputs and M the \
                     number of members returned.",
        arity: Arity::AtLeast(3),
        keys: Keys::Counted { count_at: 1 },
        flags: READ,
        arguments: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | \
                    MAX] [WITHSCORES]",
        handler: algebra::zunion,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZUNIONSTORE",
        since: "2.0.0",
        group: Group::SortedSet,
        summary: "Stores the members of any of several sorted sets or sets.",
        complexity: "O(N)+O(M*log(M)) with N being the sum of the sizes of the inputs and M the \
                     number of members stored.",
        arity: Arity::AtLeast(4),
        keys: Keys::Custom(store_keys),
        key_access_of: Some(store_access),
        flags: WRITE,
        arguments: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE \
                    SUM | MIN | MAX]",
        handler: algebra::zunionstore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZINTER",
        since: "6.2.0",
        group: Group::SortedSet,
        summary: "Returns the members of all of several sorted sets or sets.",
        complexity: "O(N*K)+O(M*log(M)) with N being the size of the smallest input, K the \
                     number of inputs and M the number of members returned.",
        arity: Arity::AtLeast(3),
        keys: Keys::Counted { count_at: 1 },
        flags: READ,
        arguments: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM | MIN | \
                    MAX] [WITHSCORES]",
        handler: algebra::zinter,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZINTERSTORE",
        since: "2.0.0",
        group: Group::SortedSet,
        summary: "Stores the members of all of several sorted sets or sets.",
        complexity: "O(N*K)+O(M*log(M)) with N being the size of the smallest input, K the \
                     number of inputs and M the number of members stored.",
        arity: Arity::AtLeast(4),
        keys: Keys::Custom(store_keys),
        key_access_of: Some(store_access),
        flags: WRITE,
        arguments: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE \
                    SUM | MIN | MAX]",
        handler: algebra::zinterstore,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZINTERCARD",
        since: "7.0.0",
        group: Group::SortedSet,
        summary: "Counts the members of all of several sorted sets or sets.",
        complexity: "O(N*K) with N being the size of the smallest input and K the number of inputs.",
        arity: Arity::AtLeast(3),
        keys: Keys::Counted { count_at: 1 },
        flags: READ,
        arguments: "numkeys key [key ...] [LIMIT limit]",
        handler: algebra::zintercard,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZDIFF",
        since: "6.2.0",
        group: Group::SortedSet,
        summary: "Returns the members of the first of several sorted sets or sets that are in \
                  none of the others.",
        complexity: "O(N*K)+O(M*log(M)) with N being the size of the first input, K the number \
                     of inputs and M the number of members returned.",
        arity: Arity::AtLeast(3),
        keys: Keys::Counted { count_at: 1 },
        flags: READ,
        arguments: "numkeys key [key ...] [WITHSCORES]",
        handler: algebra::zdiff,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "ZDIFFSTORE",
        since: "6.2.0",
        group: Group::SortedSet,
        summary: "Stores the members of the first of several sorted sets or sets that are in \
                  none of the others.",
        complexity: "O(N*K)+O(M*log(M)) with N being the size of the first input, K the number \
                     of inputs and M the number of members stored.",
        arity: Arity::AtLeast(4),
        keys: Keys::Custom(store_keys),
        key_access_of: Some(store_access),
        flags: WRITE,
        arguments: "destination numkeys key [key ...]",
        handler: algebra::zdiffstore,
        ..CommandSpec::BASE
    },
];

/// A target, a number, and as many keys.
fn store_keys(argv: Argv<'_>, out: &mut Vec<usize>) {
    let start = out.len();
    out.push(1);
    Keys::Counted { count_at: 2 }.find(argv, out);
    if out.len() == start + 1 {
        // A malformed number of keys: the handler refuses it.
        out.truncate(start);
    }
}

/// STORE commands overwrite their first key and read the others.
pub(super) fn store_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["OW", "update"] } else { &["RO", "access"] }
}

/// Up to where a sorted set stays packed.
pub(super) fn limits(ctx: &Context<'_>) -> Limits {
    let config = ctx.config();
    Limits {
        entries: config.zset_max_listpack_entries.unsigned_abs(),
        member_bytes: usize::try_from(config.zset_max_listpack_value).unwrap_or(usize::MAX),
    }
}

/// Writes members, with their scores if wanted: a flat list under RESP2, pairs under RESP3.
fn write_elements<'a>(
    elements: impl ExactSizeIterator<Item = Element<'a>>,
    with_scores: bool,
    reply: &mut dyn ReplySink,
) {
    let is_nested = with_scores && reply.is_resp3();
    let words = if with_scores && !is_nested { 2 } else { 1 };
    reply.array(elements.len() * words);
    elements.for_each(|element| write_element(element, with_scores, is_nested, reply));
}

fn write_element(element: Element<'_>, with_score: bool, is_nested: bool, reply: &mut dyn ReplySink) {
    if is_nested {
        reply.array(2);
    }
    reply.bulk(element.member);
    if with_score {
        reply.double(element.score);
    }
}

/// Stores what was built, or deletes the target if that is nothing; replies how many members it has.
pub(super) fn store(
    ctx: &mut Context<'_>,
    target: &[u8],
    built: Builder,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let len = built.len();
    if built.is_empty() {
        ctx.delete(target)?;
    } else {
        let mut encoded = Vec::new();
        built.finish(&limits(ctx)).encode(&mut encoded);
        ctx.put_collection(target, TypeTag::ZSet, &encoded, None)?;
    }
    reply.integer(len as i64);
    Ok(())
}

/// Makes an edit happen that takes `removed` of `len` members: without any left the key goes.
fn remove(
    ctx: &mut Context<'_>,
    key: &[u8],
    edit: &[u8],
    removed: u64,
    len: u64,
) -> Result<(), CommandError> {
    match removed {
        0 => Ok(()),
        _ if removed == len => ctx.delete(key).map(drop),
        _ => ctx.edit(key, TypeTag::ZSet, edit),
    }
}

/// What a missing key holds.
fn or_empty<'v>(value: Option<&'v ZSetValue>, empty: &'v ZSetValue) -> &'v ZSetValue {
    value.unwrap_or(empty)
}
