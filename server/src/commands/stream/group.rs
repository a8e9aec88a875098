//! Consumer groups: XGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM.

use lux_engine::value::TypeTag;
use lux_engine::value::stream::{AutoClaim, Claim, PendingView, StreamId, StreamValue};
use lux_engine::wal::effect::Operation;

use super::words;
use crate::dispatch::args::{Args, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// Takes the options of XGROUP CREATE and SETID: ENTRIESREAD, and MKSTREAM if it may be there.
fn take_options(
    args: &mut Args<'_>,
    subcommand: &str,
    mut mkstream: Option<&mut bool>,
) -> Result<Option<u64>, CommandError> {
    let mut entries_read = None;
    while !args.is_empty() {
        if let Some(mkstream) = mkstream.as_deref_mut()
            && args.keyword("MKSTREAM")
        {
            *mkstream = true;
        } else if args.remaining() > 1 && args.keyword("ENTRIESREAD") {
            entries_read = match args.int()? {
                -1 => None,
                read => Some(u64::try_from(read).map_err(|_| errors::XGROUP_READ)?),
            };
        } else {
            let word = args.argv().get(1).unwrap_or(subcommand.as_bytes());
            return Err(errors::subcommand_syntax("XGROUP", word));
        }
    }
    Ok(entries_read)
}

/// `XGROUP CREATE key group id | $ [MKSTREAM] [ENTRIESREAD entries-read]`
pub(super) fn create(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name, word) = (args.key()?, args.bytes()?, args.bytes()?);
    let mut mkstream = false;
    let entries_read = take_options(&mut args, "CREATE", Some(&mut mkstream))?;
    let mut edit = Vec::new();
    let mut plan = |stream: &StreamValue| {
        let last_id = if word == b"$" { stream.last_id() } else { words::id(word, 0)? };
        let is_new = stream.plan_create_group(name, last_id, entries_read, &mut edit);
        if is_new { Ok(()) } else { Err(errors::BUSYGROUP) }
    };
    match ctx.stream(key)? {
        Some(stream) => plan(stream)?,
        None if mkstream => plan(&StreamValue::default())?,
        None => return Err(errors::XGROUP_NO_KEY),
    }
    ctx.set_operation(Operation::XGroupCreate);
    ctx.edit(key, TypeTag::Stream, &edit)?;
    reply.ok();
    Ok(())
}

/// `XGROUP SETID key group id | $ [ENTRIESREAD entries-read]`
pub(super) fn set_id(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name, word) = (args.key()?, args.bytes()?, args.bytes()?);
    let entries_read = take_options(&mut args, "SETID", None)?;
    let stream = ctx.stream(key)?.ok_or(errors::XGROUP_NO_KEY)?;
    if stream.group(name).is_none() {
        return Err(errors::no_group(key, name));
    }
    let last_id = match word {
        b"$" => stream.last_id(),
        b"-" => StreamId::MIN,
        b"+" => StreamId::MAX,
        _ => words::id(word, 0)?,
    };
    let mut edit = Vec::new();
    stream.plan_set_group(name, last_id, entries_read, &mut edit);
    ctx.set_operation(Operation::XGroupSetId);
    ctx.edit(key, TypeTag::Stream, &edit)?;
    reply.ok();
    Ok(())
}

/// `XGROUP DESTROY key group`
pub(super) fn destroy(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, name) = (args.key()?, args.bytes()?);
    let mut edit = Vec::new();
    let is_there = ctx.stream(key)?.ok_or(errors::XGROUP_NO_KEY)?.plan_destroy_group(name, &mut edit);
    if is_there {
        ctx.set_operation(Operation::XGroupDestroy);
        ctx.edit(key, TypeTag::Stream, &edit)?;
    }
    reply.integer(i64::from(is_there));
    Ok(())
}

/// `XGROUP CREATECONSUMER key group consumer`
pub(super) fn create_consumer(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, group, name, now_ms) = (args.key()?, args.bytes()?, args.bytes()?, ctx.now_ms());
    let stream = ctx.stream(key)?.ok_or(errors::XGROUP_NO_KEY)?;
    let mut edit = Vec::new();
    let is_new = stream.plan_create_consumer(group, name, now_ms, &mut edit);
    let is_new = is_new.ok_or_else(|| errors::no_group(key, group))?;
    if is_new {
        ctx.set_operation(Operation::XGroupCreateConsumer);
        ctx.edit(key, TypeTag::Stream, &edit)?;
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

/// `XGROUP DELCONSUMER key group consumer`
pub(super) fn delete_consumer(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, group, name) = (args.key()?, args.bytes()?, args.bytes()?);
    let stream = ctx.stream(key)?.ok_or(errors::XGROUP_NO_KEY)?;
    let mut edit = Vec::new();
    let pending = stream.plan_delete_consumer(group, name, &mut edit);
    let pending = pending.ok_or_else(|| errors::no_group(key, group))?;
    if pending.is_some() {
        ctx.set_operation(Operation::XGroupDelConsumer);
        ctx.edit(key, TypeTag::Stream, &edit)?;
    }
    reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

/// `XACK key group id [id ...]`
pub(super) fn xack(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, group) = (args.key()?, args.bytes()?);
    let Some(stream) = ctx.stream(key)?.filter(|stream| stream.group(group).is_some()) else {
        reply.integer(0);
        return Ok(());
    };
    let ids = words::rest_ids(&args)?;
    let mut edit = Vec::new();
    let acknowledged = stream.plan_ack(group, &ids, &mut edit).unwrap_or(0);
    if acknowledged > 0 {
        ctx.edit(key, TypeTag::Stream, &edit)?;
    }
    reply.integer(acknowledged as i64);
    Ok(())
}

/// What the long form of XPENDING asks for.
struct PendingQuery<'a> {
    min_idle_ms: u64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> PendingQuery<'a> {
    /// Takes `[[IDLE min-idle-time] start end count [consumer]]`.
    fn take(args: &mut Args<'a>) -> Result<Option<Self>, CommandError> {
        if args.is_empty() {
            return Ok(None);
        }
        if !(3..=6).contains(&args.remaining()) {
            return Err(errors::SYNTAX);
        }
        let mut min_idle_ms = 0;
        if args.keyword("IDLE") {
            min_idle_ms = u64::try_from(args.int()?).unwrap_or(0);
            if args.remaining() < 3 {
                return Err(errors::SYNTAX);
            }
        }
        let (start, end) = (args.bytes()?, args.bytes()?);
        let count = usize::try_from(args.int()?).unwrap_or(0);
        let (start, end) = (words::start(start)?, words::end(end)?);
        Ok(Some(PendingQuery { min_idle_ms, start, end, count, consumer: args.next() }))
    }
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
pub(super) fn xpending(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, name) = (args.key()?, args.bytes()?);
    let query = PendingQuery::take(&mut args)?;
    let now_ms = ctx.now_ms();
    let group = ctx.stream(key)?.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| errors::no_group_or_key(key, name, ""))?;
    let Some(query) = query else {
        reply.array(4);
        reply.integer(group.pending_len() as i64);
        let Some((first, last)) = group.pending_bounds() else {
            reply.null();
            reply.null();
            reply.null_array();
            return Ok(());
        };
        words::write_id(first, reply);
        words::write_id(last, reply);
        let holders = || group.consumers().filter(|consumer| consumer.pending_len() > 0);
        reply.array(holders().count());
        for consumer in holders() {
            reply.array(2);
            reply.bulk(consumer.name());
            reply.bulk(consumer.pending_len().to_string().as_bytes());
        }
        return Ok(());
    };
    let is_idle = |pending: &PendingView<'_>| now_ms.saturating_sub(pending.time_ms) >= query.min_idle_ms;
    let found: Vec<PendingView<'_>> = match query.consumer {
        None => group.pending(query.start, query.end).filter(is_idle).take(query.count).collect(),
        Some(consumer) => {
            let consumer = group.consumer(consumer);
            let held = consumer.map(|consumer| consumer.pending(query.start, query.end));
            held.into_iter().flatten().filter(is_idle).take(query.count).collect()
        }
    };
    reply.array(found.len());
    for pending in found {
        reply.array(4);
        words::write_id(pending.id, reply);
        reply.bulk(pending.consumer);
        reply.integer(now_ms.saturating_sub(pending.time_ms) as i64);
        reply.integer(pending.deliveries as i64);
    }
    Ok(())
}

/// Takes the options of XCLAIM behind its ids.
fn take_claim(args: &mut Args<'_>, now_ms: u64, claim: &mut Claim) -> Result<(), CommandError> {
    let number = |args: &mut Args<'_>, error| parse_int(args.bytes()?).ok_or(error);
    while !args.is_empty() {
        let has_value = args.remaining() > 1;
        if args.keyword("FORCE") {
            claim.is_forced = true;
        } else if args.keyword("JUSTID") {
            claim.is_just_id = true;
        } else if has_value && args.keyword("IDLE") {
            // An impossible idle time is taken for none, as an impossible time below.
            let idle = u64::try_from(number(args, errors::XCLAIM_IDLE)?).ok();
            claim.time_ms = idle.and_then(|idle| now_ms.checked_sub(idle));
        } else if has_value && args.keyword("TIME") {
            claim.time_ms = u64::try_from(number(args, errors::XCLAIM_TIME)?).ok();
        } else if has_value && args.keyword("RETRYCOUNT") {
            claim.retry_count = u64::try_from(number(args, errors::XCLAIM_RETRYCOUNT)?).ok();
        } else if has_value && args.keyword("LASTID") {
            claim.last_id = Some(words::id(args.bytes()?, 0)?);
        } else {
            return Err(errors::xclaim_option(args.peek().unwrap_or_default()));
        }
    }
    Ok(())
}

/// Names the change of a command that may have created its consumer.
fn set_operation(ctx: &mut Context<'_>, is_new_consumer: bool, operation: Operation) {
    ctx.set_operation(if is_new_consumer { Operation::XGroupCreateConsumer } else { operation });
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [option ...]`
pub(super) fn xclaim(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, group, consumer) = (args.key()?, args.bytes()?, args.bytes()?);
    let now_ms = ctx.now_ms();
    let stream = ctx.stream(key)?.filter(|stream| stream.group(group).is_some());
    let stream = stream.ok_or_else(|| errors::no_group_or_key(key, group, ""))?;
    let min_idle = parse_int(args.bytes()?).ok_or(errors::XCLAIM_MIN_IDLE)?;
    let mut claim = Claim { min_idle_ms: u64::try_from(min_idle).unwrap_or(0), ..Claim::default() };
    let mut ids = Vec::new();
    while let Some(id) = args.peek().and_then(|word| StreamId::parse(word, 0)) {
        ids.push(id);
        args.next();
    }
    take_claim(&mut args, now_ms, &mut claim)?;
    let mut edit = Vec::new();
    let claimed = stream.plan_claim((group, consumer), &ids, &claim, now_ms, &mut edit);
    let claimed = claimed.ok_or_else(|| errors::no_group_or_key(key, group, ""))?;
    if claim.is_just_id {
        words::write_ids(&claimed.ids, reply);
    } else {
        words::write_entries(stream, &claimed.ids, reply);
    }
    set_operation(ctx, claimed.is_new_consumer, Operation::XClaim);
    ctx.edit(key, TypeTag::Stream, &edit)
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
pub(super) fn xautoclaim(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, group, consumer) = (args.key()?, args.bytes()?, args.bytes()?);
    let min_idle = parse_int(args.bytes()?).ok_or(errors::XAUTOCLAIM_MIN_IDLE)?;
    let start = words::start(args.bytes()?)?;
    let min_idle_ms = u64::try_from(min_idle).unwrap_or(0);
    let mut claim = AutoClaim { min_idle_ms, start, count: 100, is_just_id: false };
    while !args.is_empty() {
        if args.remaining() > 1 && args.keyword("COUNT") {
            let count = parse_int(args.bytes()?).filter(|count| (1..=i64::MAX / 16).contains(count));
            claim.count = count.ok_or(errors::XAUTOCLAIM_COUNT)?.unsigned_abs();
        } else if args.keyword("JUSTID") {
            claim.is_just_id = true;
        } else {
            return Err(errors::SYNTAX);
        }
    }
    let now_ms = ctx.now_ms();
    let stream = ctx.stream(key)?.ok_or_else(|| errors::no_group_or_key(key, group, ""))?;
    let mut edit = Vec::new();
    let claimed = stream.plan_auto_claim((group, consumer), &claim, now_ms, &mut edit);
    let claimed = claimed.ok_or_else(|| errors::no_group_or_key(key, group, ""))?;
    reply.array(3);
    words::write_id(claimed.next, reply);
    if claim.is_just_id {
        words::write_ids(&claimed.ids, reply);
    } else {
        words::write_entries(stream, &claimed.ids, reply);
    }
    words::write_ids(&claimed.deleted, reply);
    set_operation(ctx, claimed.is_new_consumer, Operation::XAutoClaim);
    ctx.edit(key, TypeTag::Stream, &edit)
}
