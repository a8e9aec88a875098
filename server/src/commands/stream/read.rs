//! What returns entries: XLEN, XRANGE, XREVRANGE, XREAD, XREADGROUP.
//!
//! With BLOCK, XREAD and XREADGROUP wait for entries when there are none. `$` and `+` mean what the stream
//! had when the command came, however often it runs until then.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lux_engine::value::TypeTag;
use lux_engine::value::stream::{Entries, GroupRead, ReadFrom, StreamId, StreamValue};
use lux_engine::wal::effect::Operation;

use super::words;
use crate::blocking::{Block, Lane};
use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// The keys of XREAD and XREADGROUP: the first half of what follows STREAMS.
pub(super) fn stream_keys(argv: Argv<'_>, out: &mut Vec<usize>) {
    let mut at = 1;
    while let Some(word) = argv.get(at) {
        at += 1;
        if word.eq_ignore_ascii_case(b"STREAMS") {
            let keys = argv.len().saturating_sub(at) / 2;
            out.extend(at..at + keys);
            return;
        }
        if word.eq_ignore_ascii_case(b"GROUP") {
            at += 2;
        } else if word.eq_ignore_ascii_case(b"COUNT") || word.eq_ignore_ascii_case(b"BLOCK") {
            at += 1;
        }
    }
}

/// `XLEN key`
pub(super) fn xlen(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let len = ctx.stream(args.key()?)?.map_or(0, StreamValue::len);
    reply.integer(len as i64);
    Ok(())
}

/// `XRANGE key start end [COUNT count]`
pub(super) fn xrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    range(ctx, args, false, reply)
}

/// `XREVRANGE key end start [COUNT count]`
pub(super) fn xrevrange(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    range(ctx, args, true, reply)
}

fn range(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    is_backwards: bool,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, first, second) = (args.key()?, args.bytes()?, args.bytes()?);
    let (start, end) = if is_backwards { (second, first) } else { (first, second) };
    let (start, end) = (words::start(start)?, words::end(end)?);
    let mut count = None;
    while !args.is_empty() {
        if args.remaining() < 2 || !args.keyword("COUNT") {
            return Err(errors::SYNTAX);
        }
        count = Some(u64::try_from(args.int()?).unwrap_or(0));
    }
    let Some(stream) = ctx.stream(key)? else {
        reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        reply.null_array();
        return Ok(());
    }
    let entries = if is_backwards { stream.range_back(start, end) } else { stream.range(start, end) };
    write_all(entries.limit(count.unwrap_or(u64::MAX)), reply);
    Ok(())
}

fn write_all(entries: Entries<'_>, reply: &mut dyn ReplySink) {
    reply.array(entries.len() as usize);
    for entry in entries {
        words::write_entry(&entry, reply);
    }
}

/// The options of XREAD and XREADGROUP.
struct ReadOptions<'a> {
    /// At most so many entries of each stream; 0: all.
    count: u64,
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    /// BLOCK: whether and how long to wait for entries.
    wait: Option<Option<Duration>>,
    keys: Argv<'a>,
    ids: Argv<'a>,
}

impl<'a> ReadOptions<'a> {
    fn take(args: &mut Args<'a>, of_group: bool, now_ms: u64) -> Result<Self, CommandError> {
        let none = args.rest().slice(0, 0);
        let mut options =
            ReadOptions { count: 0, group: None, no_ack: false, wait: None, keys: none, ids: none };
        loop {
            let has_value = args.remaining() > 1;
            if has_value && args.keyword("BLOCK") {
                options.wait = Some(args.timeout_ms(now_ms)?);
            } else if has_value && args.keyword("COUNT") {
                options.count = u64::try_from(args.int()?).unwrap_or(0);
            } else if has_value && args.keyword("STREAMS") {
                break;
            } else if args.remaining() > 2 && args.keyword("GROUP") {
                options.group = Some((args.bytes()?, args.bytes()?));
                if !of_group {
                    return Err(errors::XREAD_GROUP);
                }
            } else if args.keyword("NOACK") {
                options.no_ack = true;
                if !of_group {
                    return Err(errors::XREAD_NOACK);
                }
            } else {
                return Err(errors::SYNTAX);
            }
        }
        let words = args.rest();
        if !words.len().is_multiple_of(2) {
            let (command, symbol) = if of_group { ("xreadgroup", '>') } else { ("xread", '$') };
            return Err(errors::unbalanced_streams(command, symbol));
        }
        if of_group && options.group.is_none() {
            return Err(errors::XREADGROUP_NO_GROUP);
        }
        options.keys = words.slice(0, words.len() / 2);
        options.ids = words.slice(words.len() / 2, words.len());
        Ok(options)
    }

    /// Replies that there is nothing, and waits if that is wanted.
    fn nothing(
        &self,
        ctx: &mut Context<'_>,
        lane: Lane,
        memo: Option<Box<dyn Any + Send>>,
        reply: &mut dyn ReplySink,
    ) {
        reply.null_array();
        if let Some(timeout) = self.wait {
            ctx.block(Block { lane, keys: self.keys.iter().map(Arc::from).collect(), timeout, memo });
        }
    }
}

/// Begins the reply of so many streams.
fn write_streams(count: usize, reply: &mut dyn ReplySink) {
    if reply.is_resp3() { reply.map(count) } else { reply.array(count) }
}

/// Begins the reply of one of them.
fn write_stream(key: &[u8], reply: &mut dyn ReplySink) {
    if !reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(key);
}

/// `XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]`
pub(super) fn xread(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let options = ReadOptions::take(&mut args, false, ctx.now_ms())?;
    if ctx.is_called_in_vain(TypeTag::Stream)? {
        options.nothing(ctx, Lane::Readers, None, reply);
        return Ok(());
    }
    let behind = read_behind(ctx, &options)?;
    let mut served = Vec::new();
    for (key, id) in options.keys.iter().zip(&behind) {
        if ctx.stream(key)?.is_some_and(|stream| stream.top_id().is_some_and(|top| top > *id)) {
            served.push((key, *id));
        }
    }
    if served.is_empty() {
        options.nothing(ctx, Lane::Readers, Some(Box::new(behind)), reply);
        return Ok(());
    }
    write_streams(served.len(), reply);
    let count = if options.count == 0 { u64::MAX } else { options.count };
    for (key, id) in served {
        write_stream(key, reply);
        match ctx.stream(key)? {
            Some(stream) => write_all(stream.behind(id).limit(count), reply),
            None => reply.array(0),
        }
    }
    Ok(())
}

/// The ids behind which XREAD reads: those that it found when it came, if it waits since.
fn read_behind(ctx: &mut Context<'_>, options: &ReadOptions<'_>) -> Result<Vec<StreamId>, CommandError> {
    ctx.gather(options.keys.iter())?;
    let kept = ctx.memo::<Vec<StreamId>>().cloned();
    let mut behind = Vec::with_capacity(options.keys.len());
    for (key, word) in options.keys.iter().zip(options.ids.iter()) {
        let stream = ctx.stream(key)?;
        let last_id = stream.map_or(StreamId::MIN, StreamValue::last_id);
        behind.push(match word {
            b"$" => last_id,
            b"+" => last_id.previous().unwrap_or_default(),
            b">" => return Err(errors::XREAD_NEW),
            _ => words::id(word, 0)?,
        });
    }
    Ok(kept.unwrap_or(behind))
}

/// What XREADGROUP does with one stream.
struct Served<'a> {
    key: &'a [u8],
    from: ReadFrom,
    /// What is replied; for a history the ids that are.
    read: GroupRead,
    history: Vec<StreamId>,
    edit: Vec<u8>,
}

impl Served<'_> {
    /// New entries are replied when there are some, a history always.
    fn is_replied(&self) -> bool {
        self.from != ReadFrom::New || self.read.count > 0
    }
}

/// `XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id ...`
pub(super) fn xreadgroup(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let options = ReadOptions::take(&mut args, true, ctx.now_ms())?;
    let names = options.group.ok_or(errors::XREADGROUP_NO_GROUP)?;
    let from = read_from(ctx, &options, names.0)?;
    let mut all = plan_reads(ctx, &options, names, &from)?;
    let count = all.iter().filter(|served| served.is_replied()).count();
    if count == 0 {
        options.nothing(ctx, Lane::Group(Arc::from(names.0)), None, reply);
        // Each look of one that waits would be logged for nothing but when its consumer was last seen.
        all.retain(|served| served.read.is_new_consumer || !ctx.is_waiter());
    } else {
        write_streams(count, reply);
    }
    for served in all.iter().filter(|served| served.is_replied()) {
        write_stream(served.key, reply);
        let Some(stream) = ctx.stream(served.key)? else { continue };
        if served.from == ReadFrom::New {
            write_all(stream.behind(served.read.behind).limit(served.read.count), reply);
            continue;
        }
        reply.array(served.history.len());
        for id in &served.history {
            match stream.get(*id) {
                Some(entry) => words::write_entry(&entry, reply),
                None => {
                    reply.array(2);
                    words::write_id(*id, reply);
                    reply.null_array();
                }
            }
        }
    }
    // One edit for each key, however often it is named.
    let mut edits: Vec<(&[u8], bool, Vec<u8>)> = Vec::with_capacity(all.len());
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    for served in all {
        let place = *places.entry(served.key).or_insert(edits.len());
        match edits.get_mut(place) {
            Some((_, _, edit)) => edit.extend_from_slice(&served.edit),
            None => edits.push((served.key, served.read.is_new_consumer, served.edit)),
        }
    }
    for (key, is_created, edit) in edits {
        ctx.set_operation(if is_created { Operation::XGroupCreateConsumer } else { Operation::XReadGroup });
        ctx.edit(key, TypeTag::Stream, &edit)?;
    }
    Ok(())
}

/// Checks the groups and reads the ids of XREADGROUP.
fn read_from(
    ctx: &mut Context<'_>,
    options: &ReadOptions<'_>,
    group: &[u8],
) -> Result<Vec<ReadFrom>, CommandError> {
    ctx.gather(options.keys.iter())?;
    let mut from = Vec::with_capacity(options.keys.len());
    for (key, word) in options.keys.iter().zip(options.ids.iter()) {
        if ctx.stream(key)?.is_none_or(|stream| stream.group(group).is_none()) {
            return Err(errors::no_group_or_key(key, group, " in XREADGROUP with GROUP option"));
        }
        from.push(match word {
            b"$" => return Err(errors::XREADGROUP_LAST),
            b"+" => return Err(errors::XREADGROUP_TOP),
            b">" => ReadFrom::New,
            _ => ReadFrom::History(words::id(word, 0)?),
        });
    }
    Ok(from)
}

/// Plans the read of every stream. One that is named again is read in the state that the reads before
/// leave: those are made on one copy, each once.
fn plan_reads<'a>(
    ctx: &mut Context<'_>,
    options: &ReadOptions<'a>,
    names: (&[u8], &[u8]),
    from: &[ReadFrom],
) -> Result<Vec<Served<'a>>, CommandError> {
    let mut places: HashMap<&'a [u8], usize> = HashMap::new();
    let mut mentions: Vec<(&'a [u8], Vec<usize>)> = Vec::new();
    for (nth, key) in options.keys.iter().enumerate() {
        let place = *places.entry(key).or_insert(mentions.len());
        match mentions.get_mut(place) {
            Some((_, of_key)) => of_key.push(nth),
            None => mentions.push((key, vec![nth])),
        }
    }
    let mut all: Vec<(usize, Served<'a>)> = Vec::with_capacity(from.len());
    for (key, of_key) in mentions {
        let (mut copy, mut last): (Option<StreamValue>, Option<Vec<u8>>) = (None, None);
        for nth in of_key {
            let Some(from) = from.get(nth).copied() else { continue };
            if let Some(edit) = last.take() {
                let Some(stream) = ctx.stream(key)? else { continue };
                let copy = copy.get_or_insert_with(|| stream.clone());
                copy.apply(&edit).map_err(|_| errors::NO_SUCH_KEY)?;
            }
            if let Some(served) = plan_read(ctx, options, names, key, from, copy.as_ref())? {
                last = Some(served.edit.clone());
                all.push((nth, served));
            }
        }
    }
    all.sort_unstable_by_key(|(nth, _)| *nth);
    Ok(all.into_iter().map(|(_, served)| served).collect())
}

/// Plans the read of one stream, or of a copy in the state that it has then.
fn plan_read<'a>(
    ctx: &mut Context<'_>,
    options: &ReadOptions<'a>,
    names: (&[u8], &[u8]),
    key: &'a [u8],
    from: ReadFrom,
    copy: Option<&StreamValue>,
) -> Result<Option<Served<'a>>, CommandError> {
    let now_ms = ctx.now_ms();
    let Some(stream) = ctx.stream(key)? else { return Ok(None) };
    let stream = copy.unwrap_or(stream);
    let mut edit = Vec::new();
    let read = stream.plan_read_group(names, from, options.count, options.no_ack, now_ms, &mut edit);
    let Some(read) = read else { return Ok(None) };
    let history = match from {
        ReadFrom::New => Vec::new(),
        ReadFrom::History(behind) => {
            let held = stream.history(names, behind);
            held.take(usize::try_from(read.count).unwrap_or(usize::MAX)).map(|(id, _)| id).collect()
        }
    };
    if from == ReadFrom::New && read.count > 0 && options.wait.is_some() {
        let lane = Lane::Group(Arc::from(names.0));
        if ctx.is_behind(key, &lane) {
            return Ok(None);
        }
    }
    Ok(Some(Served { key, from, read, history, edit }))
}
