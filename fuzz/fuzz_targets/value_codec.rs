//! Values as they are stored: rows, headers and nodes of collections, edits from the log, sketches, and pages
//! of long strings. Any bytes are a value or an error, never a panic, and take no more memory than a multiple
//! of their length; what was read is the same after it was written and read again, as a row, as nodes and
//! as a payload; and edits leave a value that is.
//!
//! The first byte of an input says what it is, the second how it is to be read.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use lux_engine::dump::{Dumped, dump_collection, open};
use lux_engine::ids::Incarnation;
use lux_engine::value::TypeTag;
use lux_engine::value::collection::{Collection, Held};
use lux_engine::value::stored::NodeLoader;
use lux_engine::value::string::hyperloglog::{self as sketch, Change, Union};
use lux_engine::value::string::{BigString, PAGE_BYTES, StoredString};

#[path = "shared/counting.rs"]
mod counting;

use counting::within;

const TAGS: [TypeTag; 5] = [TypeTag::List, TypeTag::Set, TypeTag::ZSet, TypeTag::Hash, TypeTag::Stream];

/// Most memory that a value may take while it is read: so much, and so many times its length.
const READ_MAX: (usize, usize) = (64 << 10, 512);

fuzz_target!(|data: &[u8]| {
    let Some(([what, way], rest)) = data.split_first_chunk::<2>() else { return };
    match (TAGS.get(usize::from(*what % 8)), what % 8) {
        (Some(tag), _) => match way % 3 {
            0 => row(*tag, rest),
            1 => load(*tag, pieces(rest)),
            _ => edits(*tag, rest),
        },
        (None, 5) => hyperloglog(usize::from(*way) * 16, rest),
        _ => pages(rest),
    }
});

/// Cuts bytes into pieces, each behind its length in two bytes.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let (piece, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
        bytes = rest;
        Some(piece)
    })
}

fn row(tag: TypeTag, bytes: &[u8]) {
    if let Ok(value) = within(READ_MAX, bytes.len(), || Collection::decode(tag, bytes)) {
        assert_eq!(value.type_tag(), tag);
        check(&value);
    }
}

/// A header, then keys and bodies of nodes.
fn load<'a>(tag: TypeTag, parts: impl Iterator<Item = &'a [u8]> + Clone) {
    let len = parts.clone().map(<[u8]>::len).sum();
    let mut parts = parts;
    let header = parts.next().unwrap_or_default();
    let loaded = within(READ_MAX, len, || {
        let mut loader = NodeLoader::new(tag, Incarnation(1), header).ok()?;
        while let (Some(key), Some(body)) = (parts.next(), parts.next()) {
            loader.push(key, body).ok()?;
        }
        loader.finish().ok()
    });
    if let Some(Held { value, .. }) = loaded {
        check(&value);
    }
}

/// A row, or else nothing, and edits of it. One that does not fit may be made in part; it says how the row and
/// the nodes of the value are damaged then.
fn edits(tag: TypeTag, bytes: &[u8]) {
    let mut parts = pieces(bytes);
    let row = parts.next().unwrap_or_default();
    let empty = || Collection::new(tag).expect("the type of a collection");
    let mut value = Collection::decode(tag, row).unwrap_or_else(|_| empty());
    for edit in parts {
        let before = value.heap_bytes();
        let is_made = within((READ_MAX.0 + 8 * before, READ_MAX.1), edit.len(), || value.apply(edit)).is_ok();
        check(&value);
        if !is_made {
            return damage(value, edit);
        }
    }
}

/// What a value was stored as, with some bytes changed: each change is a place in two bytes and what is
/// changed there.
fn damage(mut value: Collection, changes: &[u8]) {
    let (mut bytes, mut header, tag) = (Vec::new(), Vec::new(), value.type_tag());
    let change = |bytes: &mut [u8]| {
        for [high, low, change] in changes.as_chunks::<3>().0 {
            let place = usize::from(u16::from_be_bytes([*high, *low])).checked_rem(bytes.len());
            if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                *byte ^= change;
            }
        }
    };
    value.encode(&mut bytes);
    change(&mut bytes);
    row(tag, &bytes);
    value.encode_header(&mut header);
    let mut rows = BTreeMap::new();
    value.all_nodes(&mut |key, body| drop(rows.insert(key.to_vec(), body.to_vec())));
    rows.values_mut().for_each(|body| change(body));
    let rows: Vec<&[u8]> = rows.iter().flat_map(|(key, body)| [&key[..], &body[..]]).collect();
    load(tag, std::iter::once(&header[..]).chain(rows));
}

/// A value is what its row, its nodes and its payload say.
fn check(value: &Collection) {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    let again = Collection::decode(value.type_tag(), &bytes);
    assert!(again.as_ref() == Ok(value), "{value:?} changed in its own row: {again:?}");
    assert_eq!(again.map(|again| again.is_vacant()), Ok(value.is_vacant()));
    // Which one is written goes by it.
    assert!(bytes.len() <= 2 * value.encoded_len() + 64, "{} of {}", value.encoded_len(), bytes.len());

    let (mut copy, mut header, mut rows) = (value.clone(), Vec::new(), BTreeMap::new());
    copy.encode_header(&mut header);
    copy.all_nodes(&mut |key, body| drop(rows.insert(key.to_vec(), body.to_vec())));
    let mut loader = NodeLoader::new(value.type_tag(), Incarnation(1), &header).expect("its own header");
    rows.iter().try_for_each(|(key, body)| loader.push(key, body)).expect("its own nodes");
    let mut held = loader.finish().expect("all of its nodes");
    assert!(held.value == copy, "{value:?} changed in its own nodes");
    held.value.take_dirty_nodes(&mut |key, _| panic!("node {key:?} is dirty"));
    assert_eq!(held.value.type_tag(), value.type_tag());

    let payload = dump_collection(value);
    if !value.is_vacant() {
        assert!(matches!(open(&payload), Ok(Dumped::Collection(_))), "{value:?} does not restore");
    }
    assert!(value.heap_bytes() <= 64 << 20 && !value.encoding().is_empty());
}

/// A string that may be a sketch, and elements to add.
fn hyperloglog(sparse_max: usize, bytes: &[u8]) {
    let mut parts = pieces(bytes);
    let old = parts.next().unwrap_or_default();
    let _ = (sketch::encoding(old), sketch::describe(old));
    let _ = within((256 << 10, 64), old.len(), || sketch::count(old));
    let mut union = Union::default();
    let is_whole = union.merge(old).is_ok();
    if is_whole {
        if let Ok(Some(dense)) = sketch::to_dense(old) {
            assert_eq!(registers(&dense), union.registers(), "the dense form counts something else");
        }
        if let Ok(change) = union.store(None, sparse_max) {
            let stored = changed(&[], change).expect("a new sketch");
            assert_eq!(registers(&stored), union.registers(), "a union changed when it was stored");
        }
    }
    let Ok(change) = sketch::add(Some(old), parts, sparse_max) else { return };
    let Some(new) = changed(old, change) else { return };
    assert!(sketch::encoding(&new).is_ok());
    if is_whole {
        let after = registers(&new);
        assert!(after.iter().zip(union.registers()).all(|(after, before)| after >= before));
    }
}

fn registers(bytes: &[u8]) -> Vec<u8> {
    let mut union = Union::default();
    union.merge(bytes).expect("a sketch that was just written");
    union.registers().to_vec()
}

/// The string after a change; `None` if it stays.
fn changed(old: &[u8], change: Change) -> Option<Vec<u8>> {
    match change {
        Change::None => None,
        Change::Set(bytes) => Some(bytes),
        Change::Patch(patches) => {
            let mut new = old.to_vec();
            for patch in patches {
                let place = new.get_mut(patch.offset..patch.offset + patch.bytes.len());
                place.expect("patches stay within").copy_from_slice(&patch.bytes);
            }
            Some(new)
        }
    }
}

/// Edits of a long string beside those of a plain one: in memory, waiting for its pages, and page by page.
fn pages(bytes: &[u8]) {
    let mut parts = pieces(bytes);
    let start = parts.next().unwrap_or_default().repeat(700);
    let mut stored = StoredString::new(Incarnation(1), start.len() as u64);
    let mut string = BigString::from_pages(start.clone(), Incarnation(1));
    let (mut plain, mut rows) = (start.clone(), BTreeMap::new());
    rows.extend(start.chunks(PAGE_BYTES).map(<[u8]>::to_vec).enumerate());
    for part in parts {
        match part.split_first_chunk::<3>() {
            Some(([kind, offset @ ..], bytes)) if kind % 3 > 0 => {
                let offset = usize::from(u16::from_be_bytes(*offset)) * 7;
                let end = offset + bytes.len();
                plain.resize(plain.len().max(end), 0);
                plain[offset..end].copy_from_slice(bytes);
                string.set_range(offset, bytes);
                stored.edit(offset, bytes);
            }
            Some((_, bytes)) => {
                plain.extend_from_slice(bytes);
                string.append(bytes);
                stored.edit(usize::MAX, bytes);
            }
            None => {
                let (_, dirty) = string.take_dirty_pages(Incarnation(2));
                for page in dirty {
                    rows.insert(page as usize, string.page(page).to_vec());
                }
                assert!(rows.values().flatten().eq(&plain), "the pages are not the string");
            }
        }
        assert_eq!(string.as_bytes(), plain);
    }
    assert_eq!(stored.load(start).as_bytes(), plain);
}
