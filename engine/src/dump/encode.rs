//! Writes lists, sets, sorted sets and hashes.
//!
//! Each goes in the encoding that the most servers read, so that a payload restores into Redis 7.0 as
//! well as into any newer Redis and Valkey: small values packed, large ones as a row of strings. Only
//! fields with deadlines need a newer form. They go in Valkey 9's, which stores each deadline as it
//! is: Redis 7.4's form is refused by every Valkey because of its version, and Valkey's by Redis, so
//! one of them must be chosen; both are read.
//!
//! Values are walked twice: once to choose the encoding, once to write it.

use super::decode::{NO_DEADLINE, NODE_PACKED};
use super::listpack::ListpackWriter;
use super::old::intset;
use super::{RDB_VERSION, RDB_VERSION_VALKEY, RdbType, RdbWriter};
use crate::value::string::number::{parse_int, push_double};

/// Longest member, field or value of a small collection.
const SMALL_BYTES: usize = 64;
/// Most members of a small collection, by type; Redis's own limits.
const SMALL_HASH: usize = 512;
const SMALL_INTSET: usize = 512;
const SMALL_ZSET: usize = 128;
/// Bytes of a list's node, unless one element is longer.
const NODE_BYTES: usize = 8192;
/// Bytes that one element adds to a node beside its own, at most.
const NODE_OVERHEAD: usize = 10;

/// The payload of a list.
#[must_use]
pub fn dump_list<'a>(elements: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut writer = RdbWriter::new(RdbType::ListQuicklist2);
    let start = writer.position();
    let (mut nodes, mut node) = (0, ListpackWriter::new());
    let mut end_node = |writer: &mut RdbWriter, node: ListpackWriter| {
        writer.put_len(NODE_PACKED);
        writer.string(&node.finish());
        nodes += 1;
    };
    for element in elements {
        if !node.is_empty() && node.bytes() + element.len() + NODE_OVERHEAD > NODE_BYTES {
            end_node(&mut writer, std::mem::replace(&mut node, ListpackWriter::new()));
        }
        node.push(element);
    }
    if !node.is_empty() {
        end_node(&mut writer, node);
    }
    writer.insert_len(start, nodes);
    writer.finish(RDB_VERSION)
}

/// The payload of a set.
#[must_use]
pub fn dump_set(members: impl Iterator<Item = impl AsRef<[u8]>> + Clone) -> Vec<u8> {
    let first = members.clone().take(SMALL_INTSET + 1);
    let numbers: Option<Vec<i64>> = first.map(|member| parse_int(member.as_ref())).collect();
    if let Some(mut numbers) = numbers
        && numbers.len() <= SMALL_INTSET
    {
        numbers.sort_unstable();
        let mut writer = RdbWriter::new(RdbType::SetIntset);
        writer.string(&intset(&numbers));
        return writer.finish(RDB_VERSION);
    }
    let mut writer = RdbWriter::new(RdbType::Set);
    writer.put_len(members.clone().count() as u64);
    members.for_each(|member| writer.string(member.as_ref()));
    writer.finish(RDB_VERSION)
}

/// The payload of a sorted set, whose members come by score, then by name.
#[must_use]
pub fn dump_zset<'a>(members: impl Iterator<Item = (&'a [u8], f64)> + Clone) -> Vec<u8> {
    let (mut count, mut is_small) = (0, true);
    for (member, _) in members.clone() {
        count += 1;
        is_small = is_small && count <= SMALL_ZSET && member.len() <= SMALL_BYTES;
    }
    if is_small {
        let mut writer = RdbWriter::new(RdbType::ZSetListpack);
        let (mut packed, mut score_text) = (ListpackWriter::new(), Vec::new());
        for (member, score) in members {
            score_text.clear();
            push_double(&mut score_text, score);
            packed.push(member);
            packed.push(&score_text);
        }
        writer.string(&packed.finish());
        return writer.finish(RDB_VERSION);
    }
    let mut writer = RdbWriter::new(RdbType::ZSet2);
    writer.put_len(count as u64);
    for (member, score) in members {
        writer.string(member);
        writer.raw(&score.to_le_bytes());
    }
    writer.finish(RDB_VERSION)
}

/// The payload of a hash: fields, values, and deadlines in milliseconds since 1970.
#[must_use]
pub fn dump_hash<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8], Option<u64>)> + Clone) -> Vec<u8> {
    let (mut count, mut is_small, mut has_deadlines) = (0, true, false);
    for (field, value, deadline) in fields.clone() {
        count += 1;
        is_small = is_small && count <= SMALL_HASH && field.len().max(value.len()) <= SMALL_BYTES;
        has_deadlines |= deadline.is_some();
    }
    if has_deadlines {
        let mut writer = RdbWriter::new(RdbType::Hash2);
        writer.put_len(count as u64);
        for (field, value, deadline) in fields {
            writer.string(field);
            writer.string(value);
            let at = deadline.map_or(NO_DEADLINE, |at| i64::try_from(at).unwrap_or(i64::MAX));
            writer.raw(&at.to_le_bytes());
        }
        return writer.finish(RDB_VERSION_VALKEY);
    }
    let mut writer = RdbWriter::new(if is_small { RdbType::HashListpack } else { RdbType::Hash });
    if is_small {
        let mut packed = ListpackWriter::new();
        for (field, value, _) in fields {
            packed.push(field);
            packed.push(value);
        }
        writer.string(&packed.finish());
    } else {
        writer.put_len(count as u64);
        for (field, value, _) in fields {
            writer.string(field);
            writer.string(value);
        }
    }
    writer.finish(RDB_VERSION)
}
