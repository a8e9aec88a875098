//! XINFO: what is known of a stream, its groups and their consumers.

use lux_engine::value::stream::{ConsumerView, Entry, GroupView, StreamId, StreamValue};

use super::words;
use crate::dispatch::args::Args;
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// Entries of one of Redis's nodes: what stands for its radix tree in XINFO STREAM.
const NODE_ENTRIES: u64 = 100;

/// Replies a name and a number.
fn number(name: &str, value: u64, reply: &mut dyn ReplySink) {
    reply.bulk(name.as_bytes());
    reply.integer(value as i64);
}

/// Replies a name and an id.
fn id(name: &str, value: StreamId, reply: &mut dyn ReplySink) {
    reply.bulk(name.as_bytes());
    words::write_id(value, reply);
}

/// `XINFO CONSUMERS key group`
pub(super) fn consumers(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, name, now_ms) = (args.key()?, args.bytes()?, ctx.now_ms());
    let stream = ctx.stream(key)?.ok_or(errors::NO_SUCH_KEY)?;
    let group = stream.group(name).ok_or_else(|| errors::no_group(key, name))?;
    reply.array(group.consumers_len() as usize);
    for consumer in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        number("pending", consumer.pending_len(), reply);
        number("idle", now_ms.saturating_sub(consumer.seen_ms()), reply);
        reply.bulk(b"inactive");
        reply.integer(consumer.active_ms().map_or(-1, |active| now_ms.saturating_sub(active) as i64));
    }
    Ok(())
}

/// Replies what a group has read and has yet to read.
fn progress(group: &GroupView<'_>, reply: &mut dyn ReplySink) {
    reply.bulk(b"entries-read");
    match group.entries_read() {
        Some(read) => reply.integer(read as i64),
        None => reply.null(),
    }
    reply.bulk(b"lag");
    match group.lag() {
        Some(lag) => reply.integer(lag),
        None => reply.null(),
    }
}

/// `XINFO GROUPS key`
pub(super) fn groups(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let stream = ctx.stream(args.key()?)?.ok_or(errors::NO_SUCH_KEY)?;
    reply.array(stream.groups_len() as usize);
    for group in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(group.name());
        number("consumers", group.consumers_len(), reply);
        number("pending", group.pending_len(), reply);
        id("last-delivered-id", group.last_id(), reply);
        progress(&group, reply);
    }
    Ok(())
}

/// `XINFO STREAM key [FULL [COUNT count]]`
pub(super) fn stream(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let stream = ctx.stream(args.key()?)?.ok_or(errors::NO_SUCH_KEY)?;
    let count = take_full(&mut args)?;
    reply.map(if count.is_some() { 9 } else { 10 });
    number("length", stream.len(), reply);
    number("radix-tree-keys", stream.len().div_ceil(NODE_ENTRIES), reply);
    number("radix-tree-nodes", 1 + stream.len().div_ceil(NODE_ENTRIES), reply);
    id("last-generated-id", stream.last_id(), reply);
    id("max-deleted-entry-id", stream.max_deleted_id(), reply);
    number("entries-added", stream.entries_added(), reply);
    id("recorded-first-entry-id", stream.first_id(), reply);
    if let Some(count) = count {
        full(stream, count, reply);
        return Ok(());
    }
    number("groups", stream.groups_len(), reply);
    let mut entry = |name: &str, entry: Option<Entry<'_>>| {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => words::write_entry(&entry, reply),
            None => reply.null(),
        }
    };
    entry("first-entry", stream.get(stream.first_id()));
    entry("last-entry", stream.top_id().and_then(|id| stream.get(id)));
    Ok(())
}

/// Takes `[FULL [COUNT count]]`: how many of everything; 0: all.
fn take_full(args: &mut Args<'_>) -> Result<Option<u64>, CommandError> {
    if args.is_empty() {
        return Ok(None);
    }
    let wrong = errors::subcommand_syntax("XINFO", args.argv().get(1).unwrap_or_default());
    if ![1, 3].contains(&args.remaining()) || !args.keyword("FULL") {
        return Err(wrong);
    }
    if args.is_empty() {
        return Ok(Some(10));
    }
    if !args.keyword("COUNT") {
        return Err(wrong);
    }
    Ok(Some(u64::try_from(args.int()?).unwrap_or(10)))
}

/// Replies the entries and the groups of XINFO STREAM FULL.
fn full(stream: &StreamValue, count: u64, reply: &mut dyn ReplySink) {
    let most = if count == 0 { u64::MAX } else { count };
    reply.bulk(b"entries");
    let entries = stream.range(StreamId::MIN, StreamId::MAX).limit(most);
    reply.array(entries.len() as usize);
    for entry in entries {
        words::write_entry(&entry, reply);
    }
    reply.bulk(b"groups");
    reply.array(stream.groups_len() as usize);
    for group in stream.groups() {
        full_group(&group, most, reply);
    }
}

fn full_group(group: &GroupView<'_>, most: u64, reply: &mut dyn ReplySink) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(group.name());
    id("last-delivered-id", group.last_id(), reply);
    progress(group, reply);
    number("pel-count", group.pending_len(), reply);
    reply.bulk(b"pending");
    let count = group.pending_len().min(most) as usize;
    reply.array(count);
    for pending in group.pending(StreamId::MIN, StreamId::MAX).take(count) {
        reply.array(4);
        words::write_id(pending.id, reply);
        reply.bulk(pending.consumer);
        reply.integer(pending.time_ms as i64);
        reply.integer(pending.deliveries as i64);
    }
    reply.bulk(b"consumers");
    reply.array(group.consumers_len() as usize);
    for consumer in group.consumers() {
        full_consumer(&consumer, most, reply);
    }
}

fn full_consumer(consumer: &ConsumerView<'_>, most: u64, reply: &mut dyn ReplySink) {
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(consumer.name());
    number("seen-time", consumer.seen_ms(), reply);
    reply.bulk(b"active-time");
    reply.integer(consumer.active_ms().map_or(-1, |active| active as i64));
    number("pel-count", consumer.pending_len(), reply);
    reply.bulk(b"pending");
    let count = consumer.pending_len().min(most) as usize;
    reply.array(count);
    for pending in consumer.pending(StreamId::MIN, StreamId::MAX).take(count) {
        reply.array(3);
        words::write_id(pending.id, reply);
        reply.integer(pending.time_ms as i64);
        reply.integer(pending.deliveries as i64);
    }
}
