//! How stream commands spell ids, intervals, trimming and references; how entries are replied.

use lux_engine::value::stream::{
    Entry, IdText, References, StreamId, StreamLimits, StreamValue, Trim, TrimTo,
};

use crate::dispatch::args::{Args, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, ReplySink};
use crate::dispatch::reply_errors as errors;

/// The limits of Redis's nodes, as configured.
pub(super) fn limits(ctx: &Context<'_>) -> StreamLimits {
    let config = ctx.config();
    StreamLimits {
        node_entries: u64::try_from(config.stream_node_max_entries).unwrap_or_default(),
        node_bytes: u64::try_from(config.stream_node_max_bytes).unwrap_or_default(),
    }
}

/// An id, `ms-seq` or `ms`; `-` and `+` are none.
pub(super) fn id(word: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    StreamId::parse(word, missing_seq).ok_or(errors::STREAM_ID)
}

/// Takes all arguments that are left as ids.
pub(super) fn rest_ids(args: &Args<'_>) -> Result<Vec<StreamId>, CommandError> {
    args.rest().iter().map(|word| id(word, 0)).collect()
}

/// An id that `-` and `+` may be, too.
fn end_id(word: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match word {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => id(word, missing_seq),
    }
}

/// The first id of an interval; `(` leaves the named one out.
pub(super) fn start(word: &[u8]) -> Result<StreamId, CommandError> {
    match word.strip_prefix(b"(").filter(|word| !word.is_empty()) {
        Some(word) => id(word, 0)?.next().ok_or(errors::STREAM_START),
        None => end_id(word, 0),
    }
}

/// The last id of an interval; `(` leaves the named one out.
pub(super) fn end(word: &[u8]) -> Result<StreamId, CommandError> {
    match word.strip_prefix(b"(").filter(|word| !word.is_empty()) {
        Some(word) => id(word, u64::MAX)?.previous().ok_or(errors::STREAM_END),
        None => end_id(word, u64::MAX),
    }
}

/// Takes KEEPREF, DELREF or ACKED.
pub(super) fn take_references(args: &mut Args<'_>) -> Option<References> {
    let word = args.one_of(&["KEEPREF", "DELREF", "ACKED"])?;
    Some([References::Keep, References::Delete, References::Acked][word])
}

/// Takes `[KEEPREF | DELREF | ACKED] IDS numids id [id ...]`.
pub(super) fn take_ids(args: &mut Args<'_>) -> Result<(References, Vec<StreamId>), CommandError> {
    let mut references = None;
    while !args.keyword("IDS") {
        if references.is_some() {
            return Err(errors::SYNTAX);
        }
        references = Some(take_references(args).ok_or(errors::SYNTAX)?);
    }
    let count = parse_int(args.bytes()?).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    if count.ok_or(errors::IDS_COUNT)? != args.remaining() {
        return Err(errors::IDS_DIFFER);
    }
    Ok((references.unwrap_or_default(), rest_ids(args)?))
}

/// The options that XADD and XTRIM share, as far as they were read.
#[derive(Default)]
pub(super) struct TrimOptions {
    to: Option<TrimTo>,
    is_approximate: bool,
    limit: Option<i64>,
    references: Option<References>,
}

impl TrimOptions {
    /// Takes one of the options; whether there was one.
    pub(super) fn take(&mut self, args: &mut Args<'_>) -> Result<bool, CommandError> {
        let has_value = args.remaining() > 1;
        if has_value && args.keyword("MAXLEN") {
            self.take_mark(args)?;
            let max = args.int()?;
            let max = u64::try_from(max).map_err(|_| errors::TRIM_MAXLEN)?;
            self.to = Some(TrimTo::MaxLen(max));
        } else if has_value && args.keyword("MINID") {
            self.take_mark(args)?;
            self.to = Some(TrimTo::MinId(id(args.bytes()?, 0)?));
        } else if has_value && args.keyword("LIMIT") {
            let limit = args.int()?;
            if limit < 0 {
                return Err(errors::TRIM_LIMIT);
            }
            self.limit = Some(limit);
        } else if let Some(references) = take_references(args) {
            if self.references.replace(references).is_some() {
                return Err(errors::SYNTAX);
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes `=` or `~` before a threshold.
    fn take_mark(&mut self, args: &mut Args<'_>) -> Result<(), CommandError> {
        if self.to.is_some() {
            return Err(errors::TRIM_TWICE);
        }
        let is_marked = args.remaining() > 1;
        self.is_approximate = is_marked && args.keyword("~");
        if is_marked && !self.is_approximate {
            args.keyword("=");
        }
        Ok(())
    }

    /// What the options ask for together.
    pub(super) fn finish(self) -> Result<Option<Trim>, CommandError> {
        let limit = self.limit.and_then(|limit| u64::try_from(limit).ok());
        let Some(to) = self.to else {
            // As in Redis, LIMIT 0 alone is nothing.
            return if limit.is_some_and(|limit| limit > 0) {
                Err(errors::TRIM_LIMIT_ALONE)
            } else {
                Ok(None)
            };
        };
        if limit.is_some() && !self.is_approximate {
            return Err(errors::TRIM_LIMIT_EXACT);
        }
        let references = self.references.unwrap_or_default();
        Ok(Some(Trim { to, is_approximate: self.is_approximate, limit, references }))
    }
}

/// Replies an id.
pub(super) fn write_id(id: StreamId, reply: &mut dyn ReplySink) {
    reply.bulk(IdText::new(id).as_bytes());
}

/// Replies an entry: its id, and its fields and values in one list.
pub(super) fn write_entry(entry: &Entry<'_>, reply: &mut dyn ReplySink) {
    let fields = entry.fields();
    reply.array(2);
    write_id(entry.id, reply);
    reply.array(2 * fields.len());
    for (name, value) in fields {
        reply.bulk(name);
        reply.bulk(value);
    }
}

/// Replies the entries with these ids; they exist.
pub(super) fn write_entries(stream: &StreamValue, ids: &[StreamId], reply: &mut dyn ReplySink) {
    reply.array(ids.len());
    for id in ids {
        match stream.get(*id) {
            Some(entry) => write_entry(&entry, reply),
            None => reply.null(),
        }
    }
}

/// Replies ids.
pub(super) fn write_ids(ids: &[StreamId], reply: &mut dyn ReplySink) {
    reply.array(ids.len());
    ids.iter().for_each(|id| write_id(*id, reply));
}
