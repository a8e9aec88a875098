//! What changes the entries of a stream: XADD, XTRIM, XDEL, XDELEX, XACKDEL, XSETID.

use lux_engine::value::TypeTag;
use lux_engine::value::stream::{AddError, NewId, SetIdError, StreamId, StreamValue};
use lux_engine::wal::effect::Operation;

use super::words::{self, TrimOptions};
use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;

/// The pairs of some words, an even number.
fn pairs<'a>(words: Argv<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
    (0..words.len() / 2).filter_map(move |at| Some((words.get(2 * at)?, words.get(2 * at + 1)?)))
}

/// `XADD key [NOMKSTREAM] [trimming] * | id field value [field value ...]`
pub(super) fn xadd(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let (mut options, mut must_exist) = (TrimOptions::default(), false);
    let id = loop {
        if args.peek() != Some(b"*") && options.take(&mut args)? {
            continue;
        }
        if args.keyword("NOMKSTREAM") {
            must_exist = true;
            continue;
        }
        let Some(word) = args.next() else { return Err(errors::wrong_arity("xadd")) };
        break NewId::parse(word).ok_or(errors::STREAM_ID)?;
    };
    let trim = options.finish()?;
    let fields = args.rest();
    if fields.len() < 2 || !fields.len().is_multiple_of(2) {
        return Err(errors::wrong_arity("xadd"));
    }
    if id == NewId::Explicit(StreamId::MIN) {
        return Err(errors::STREAM_ID_ZERO);
    }
    let (limits, now_ms) = (words::limits(ctx), ctx.now_ms());
    let mut edit = Vec::new();
    let mut plan =
        |stream: &StreamValue| stream.plan_add(id, pairs(fields), trim.as_ref(), now_ms, limits, &mut edit);
    let added = match ctx.stream(key)? {
        Some(stream) => plan(stream),
        None if must_exist => {
            reply.null();
            return Ok(());
        }
        None => plan(&StreamValue::default()),
    };
    let added = added.map_err(|error| match error {
        AddError::Zero => errors::STREAM_ID_ZERO,
        AddError::Exhausted => errors::STREAM_EXHAUSTED,
        AddError::NotGreater => errors::STREAM_ID_SMALL,
    })?;
    ctx.edit(key, TypeTag::Stream, &edit)?;
    words::write_id(added.id, reply);
    Ok(())
}

/// `XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT count]`
pub(super) fn xtrim(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let mut options = TrimOptions::default();
    while !args.is_empty() {
        if !options.take(&mut args)? {
            return Err(errors::SYNTAX);
        }
    }
    let trim = options.finish()?.ok_or(errors::TRIM_MISSING)?;
    let limits = words::limits(ctx);
    let mut edit = Vec::new();
    let trimmed = ctx.stream(key)?.map_or(0, |stream| stream.plan_trim(&trim, limits, &mut edit));
    if trimmed > 0 {
        ctx.edit(key, TypeTag::Stream, &edit)?;
    }
    reply.integer(trimmed as i64);
    Ok(())
}

/// `XDEL key id [id ...]`
pub(super) fn xdel(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let Some(stream) = ctx.stream(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let ids = words::rest_ids(&args)?;
    let mut edit = Vec::new();
    let deleted = stream.plan_delete(&ids, &mut edit);
    if deleted > 0 {
        ctx.edit(key, TypeTag::Stream, &edit)?;
    }
    reply.integer(deleted as i64);
    Ok(())
}

/// Replies one number per id, and hands over the edit if there is one.
fn finish(
    ctx: &mut Context<'_>,
    key: &[u8],
    codes: &[i64],
    edit: &[u8],
    reply: &mut dyn ReplySink,
) -> CommandResult {
    reply.array(codes.len());
    codes.iter().for_each(|code| reply.integer(*code));
    if !edit.is_empty() {
        ctx.set_operation(Operation::XDel);
        ctx.edit(key, TypeTag::Stream, edit)?;
    }
    Ok(())
}

/// `XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
pub(super) fn xdelex(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let (references, ids) = words::take_ids(&mut args)?;
    let mut edit = Vec::new();
    let deleted = ctx.stream(key)?.map(|stream| stream.plan_delete_referenced(&ids, references, &mut edit));
    let codes = match deleted {
        Some(deleted) => deleted.iter().map(|code| *code as i64).collect(),
        None => vec![-1; ids.len()],
    };
    finish(ctx, key, &codes, &edit, reply)
}

/// `XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
pub(super) fn xackdel(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, group) = (args.key()?, args.bytes()?);
    let (references, ids) = words::take_ids(&mut args)?;
    let mut edit = Vec::new();
    let stream = ctx.stream(key)?;
    let deleted = stream.and_then(|stream| stream.plan_ack_delete(group, &ids, references, &mut edit));
    let codes = match deleted {
        Some(deleted) => deleted.iter().map(|code| *code as i64).collect(),
        None => vec![-1; ids.len()],
    };
    finish(ctx, key, &codes, &edit, reply)
}

/// `XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]`
pub(super) fn xsetid(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let last_id = words::id(args.bytes()?, 0)?;
    let (mut entries_added, mut max_deleted) = (None, None);
    while !args.is_empty() {
        let word = if args.remaining() > 1 { args.one_of(&["ENTRIESADDED", "MAXDELETEDID"]) } else { None };
        match word {
            Some(0) => entries_added = Some(u64::try_from(args.int()?).map_err(|_| errors::XSETID_ADDED)?),
            Some(_) => {
                let id = words::id(args.bytes()?, 0)?;
                if last_id < id {
                    return Err(errors::XSETID_GIVEN_DELETED);
                }
                max_deleted = Some(id);
            }
            None => return Err(errors::SYNTAX),
        }
    }
    let stream = ctx.stream(key)?.ok_or(errors::NO_SUCH_KEY)?;
    let mut edit = Vec::new();
    stream.plan_set_id(last_id, entries_added, max_deleted, &mut edit).map_err(|error| match error {
        SetIdError::BelowMaxDeleted => errors::XSETID_DELETED,
        SetIdError::BelowTopEntry => errors::XSETID_TOP,
        SetIdError::AddedBelowLen => errors::XSETID_LEN,
    })?;
    ctx.edit(key, TypeTag::Stream, &edit)?;
    reply.ok();
    Ok(())
}
