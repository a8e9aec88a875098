//! Reads lists, sets, sorted sets and hashes in every encoding that Redis and Valkey have written.
//!
//! Work and memory are bounded by the payload: counts are never trusted, every element takes bytes of
//! it, and of compressed parts one at a time is held unpacked.

use super::listpack::{Entries, Entry, Listpack};
use super::old::{Ziplist, read_intset, read_zipmap};
use super::sink::ObjectSink;
use super::{DumpError, RdbReader, RdbType, decode_stream};
use crate::value::string::number::{IntText, parse_double};

/// Nodes of a quicklist: one element as it is, or a listpack of several.
pub(super) const NODE_PLAIN: u64 = 1;
pub(super) const NODE_PACKED: u64 = 2;

/// The deadline of a field that has none, as Valkey writes it.
pub(super) const NO_DEADLINE: i64 = -1;
/// The latest deadline of a field: 48 bits in Redis, which keeps two values for itself.
const DEADLINE_MAX: u64 = (1 << 48) - 2;

/// Reads a value whose type was read already. The sink may have got elements when an error comes.
pub(super) fn read(
    value_type: RdbType,
    reader: &mut RdbReader<'_>,
    sink: &mut dyn ObjectSink,
) -> Result<(), DumpError> {
    match value_type {
        RdbType::String => Err(DumpError::BadData),
        RdbType::List => repeat(reader, |reader| reader.text(|element| sink.element(element))),
        RdbType::Set => repeat(reader, |reader| reader.text(|member| sink.member(member))),
        RdbType::ZSet => repeat(reader, |reader| scored(reader, RdbReader::double_text, sink)),
        RdbType::ZSet2 => repeat(reader, |reader| scored(reader, RdbReader::double, sink)),
        RdbType::Hash => repeat(reader, |reader| pair(reader, |_| Ok(None), sink)),
        RdbType::Hash2 => repeat(reader, |reader| pair(reader, deadline_behind, sink)),
        RdbType::HashMetadata | RdbType::HashMetadataPreGa => {
            let first = if value_type == RdbType::HashMetadata { Some(deadline_min(reader)?) } else { None };
            repeat(reader, |reader| {
                let deadline = deadline_before(reader, first)?;
                pair(reader, |_| Ok(deadline), sink)
            })
        }
        RdbType::ListQuicklist | RdbType::ListQuicklist2 => {
            repeat(reader, |reader| node(reader, value_type == RdbType::ListQuicklist2, sink))
        }
        RdbType::HashZipmap => {
            read_zipmap(&reader.blob()?, &mut |field, value| sink.field(field, value, None))
        }
        RdbType::SetIntset => {
            read_intset(&reader.blob()?, &mut |value| sink.member(IntText::default().of(value)))
        }
        RdbType::ListZiplist => elements(&mut Ziplist::open(&reader.blob()?)?, sink),
        RdbType::SetListpack => members(&mut Listpack::open(&reader.blob()?)?, sink),
        RdbType::ZSetZiplist => scores(&mut Ziplist::open(&reader.blob()?)?, sink),
        RdbType::ZSetListpack => scores(&mut Listpack::open(&reader.blob()?)?, sink),
        RdbType::HashZiplist => fields(&mut Ziplist::open(&reader.blob()?)?, sink),
        RdbType::HashListpack => fields(&mut Listpack::open(&reader.blob()?)?, sink),
        RdbType::HashListpackEx | RdbType::HashListpackExPreGa => {
            if value_type == RdbType::HashListpackEx {
                reader.time_ms()?;
            }
            fields_until(&mut Listpack::open(&reader.blob()?)?, sink)
        }
        RdbType::Stream | RdbType::Stream2 | RdbType::Stream3 => {
            decode_stream::read(value_type, reader, sink)
        }
    }
}

/// Reads a count and that many things.
pub(super) fn repeat<'a>(
    reader: &mut RdbReader<'a>,
    mut one: impl FnMut(&mut RdbReader<'a>) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    for _ in 0..reader.read_len()? {
        one(reader)?;
    }
    Ok(())
}

fn scored<'a>(
    reader: &mut RdbReader<'a>,
    score: impl FnOnce(&mut RdbReader<'a>) -> Result<f64, DumpError>,
    sink: &mut dyn ObjectSink,
) -> Result<(), DumpError> {
    // The member is read again when its score is known.
    let mut member = *reader;
    reader.string()?;
    let score = number(score(reader)?)?;
    member.text(|member| sink.scored(member, score))
}

fn number(score: f64) -> Result<f64, DumpError> {
    if score.is_nan() { Err(DumpError::BadData) } else { Ok(score) }
}

fn pair<'a>(
    reader: &mut RdbReader<'a>,
    deadline: impl FnOnce(&mut RdbReader<'a>) -> Result<Option<u64>, DumpError>,
    sink: &mut dyn ObjectSink,
) -> Result<(), DumpError> {
    let mut both = *reader;
    reader.string()?;
    reader.string()?;
    let deadline = deadline(reader)?;
    let value = &mut both.clone();
    value.string()?;
    both.text(|field| value.text(|value| sink.field(field, value, deadline)))?
}

/// The deadline behind a field in Valkey's hashes.
fn deadline_behind(reader: &mut RdbReader<'_>) -> Result<Option<u64>, DumpError> {
    match reader.time_ms()? {
        NO_DEADLINE => Ok(None),
        at => u64::try_from(at).map(Some).map_err(|_| DumpError::BadData),
    }
}

/// The earliest deadline, from which Redis's hashes count the others.
fn deadline_min(reader: &mut RdbReader<'_>) -> Result<u64, DumpError> {
    u64::try_from(reader.time_ms()?).map_err(|_| DumpError::BadData)
}

/// The deadline before a field in Redis's hashes: 0 is none, and 1 is the earliest if that is given.
fn deadline_before(reader: &mut RdbReader<'_>, first: Option<u64>) -> Result<Option<u64>, DumpError> {
    let stored = reader.read_len()?;
    if stored == 0 {
        return Ok(None);
    }
    let at = match first {
        Some(first) => first.checked_add(stored - 1).ok_or(DumpError::BadData)?,
        None => stored,
    };
    if at > DEADLINE_MAX { Err(DumpError::BadData) } else { Ok(Some(at)) }
}

/// Reads a node of a quicklist. A packed one may be empty.
fn node(reader: &mut RdbReader<'_>, is_marked: bool, sink: &mut dyn ObjectSink) -> Result<(), DumpError> {
    let container = if is_marked { reader.read_len()? } else { NODE_PACKED };
    match container {
        NODE_PLAIN => reader.text(|element| {
            if element.is_empty() {
                return Err(DumpError::BadData);
            }
            sink.element(element);
            Ok(())
        })?,
        NODE_PACKED if is_marked => elements(&mut Listpack::open(&reader.blob()?)?, sink),
        NODE_PACKED => elements(&mut Ziplist::open(&reader.blob()?)?, sink),
        _ => Err(DumpError::BadData),
    }
}

fn elements<'a>(entries: &mut impl Entries<'a>, sink: &mut dyn ObjectSink) -> Result<(), DumpError> {
    while let Some(entry) = entries.next_entry()? {
        sink.element(entry.text().as_ref());
    }
    Ok(())
}

fn members<'a>(entries: &mut impl Entries<'a>, sink: &mut dyn ObjectSink) -> Result<(), DumpError> {
    while let Some(entry) = entries.next_entry()? {
        sink.member(entry.text().as_ref());
    }
    Ok(())
}

fn scores<'a>(entries: &mut impl Entries<'a>, sink: &mut dyn ObjectSink) -> Result<(), DumpError> {
    while let Some(member) = entries.next_entry()? {
        let score = match entries.more()? {
            Entry::Int(value) => value as f64,
            Entry::Bytes(text) => number(parse_double(text).ok_or(DumpError::BadData)?)?,
        };
        sink.scored(member.text().as_ref(), score);
    }
    Ok(())
}

fn fields<'a>(entries: &mut impl Entries<'a>, sink: &mut dyn ObjectSink) -> Result<(), DumpError> {
    while let Some(field) = entries.next_entry()? {
        let value = entries.more()?;
        sink.field(field.text().as_ref(), value.text().as_ref(), None);
    }
    Ok(())
}

/// Fields with values and deadlines.
fn fields_until(entries: &mut Listpack<'_>, sink: &mut dyn ObjectSink) -> Result<(), DumpError> {
    while let Some(field) = entries.next_entry()? {
        let value = entries.more()?;
        let deadline = match entries.count()? {
            0 => None,
            at @ 1..=DEADLINE_MAX => Some(at),
            _ => return Err(DumpError::BadData),
        };
        sink.field(field.text().as_ref(), value.text().as_ref(), deadline);
    }
    Ok(())
}
