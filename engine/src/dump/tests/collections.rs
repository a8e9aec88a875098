//! Payloads of collections: golden ones of real servers, refused ones, damaged ones, our own.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::content::{Bytes, Consumer, Content, Group, Stream};
use super::sealed;
use crate::dump::listpack::ListpackWriter;
use crate::dump::*;

const GOLDEN: &str = include_str!("golden.txt");

/// Name, payload and content of each golden payload.
pub(super) fn golden() -> impl Iterator<Item = (&'static str, Vec<u8>, &'static str)> {
    GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut parts = line.splitn(3, " | ");
        let (name, hex, content) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let pairs = hex.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
        (name, pairs.map(|two| u8::from_str_radix(two, 16).unwrap()).collect(), content)
    })
}

pub(super) fn content(payload: &[u8]) -> Result<Content, DumpError> {
    match open(payload)? {
        Dumped::Collection(collection) => {
            let content = Content::of(&collection);
            assert_eq!(collection.totals().count, content.len() as u64);
            Ok(content)
        }
        Dumped::String(_) => panic!("a string"),
    }
}

/// The content of a value in Redis's or Valkey's newest version.
fn read(value: &[u8]) -> Result<Content, DumpError> {
    content(&sealed(value, RDB_VERSION_MAX))
}

pub(super) fn listpack(entries: &[&str]) -> Vec<u8> {
    let mut writer = ListpackWriter::new();
    entries.iter().for_each(|entry| writer.push(entry.as_bytes()));
    writer.finish()
}

/// A value of type `value_type` that is one packed string.
fn packed(value_type: u8, blob: &[u8]) -> Vec<u8> {
    assert!(blob.len() < 64);
    [&[value_type, blob.len() as u8], blob].concat()
}

#[test]
fn golden_payloads_hold_what_the_servers_said() {
    for (name, payload, expected) in golden() {
        let found = content(&payload).expect(name);
        assert_eq!(found.to_string(), expected, "{name}");
        assert_eq!(content(&found.dump()), Ok(found), "{name}, written again");
    }
}

#[test]
fn damaged_payloads_are_read_or_refused() {
    for (_, payload, _) in golden() {
        let value = &payload[..payload.len() - FOOTER_BYTES];
        let version = u16::from_le_bytes([payload[value.len()], payload[value.len() + 1]]);
        let step = value.len() / 400 + 1;
        for at in (0..value.len()).step_by(step) {
            assert!(content(&sealed(&value[..at], version)).is_err(), "cut short");
            for change in [1, 0x80, 0xff] {
                let mut bad = value.to_vec();
                bad[at] ^= change;
                if bad[0] != 0 {
                    let _ = content(&sealed(&bad, version));
                }
            }
        }
        let longer = [value, &[0]].concat();
        assert!(content(&sealed(&longer, version)).is_err(), "bytes are left");
    }
}

#[test]
fn nothing_and_promises_are_refused() {
    for value_type in [1, 2, 3, 4, 5, 14, 18, 22] {
        assert_eq!(read(&[value_type, 0]).err(), Some(DumpError::BadData), "empty {value_type}");
        let endless = [value_type, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(read(&endless).err(), Some(DumpError::BadData), "endless {value_type}");
        assert_eq!(read(&[&endless[..], &[1, b'x']].concat()).err(), Some(DumpError::BadData));
    }
    for value_type in [16, 17, 20, 23] {
        assert_eq!(read(&packed(value_type, &listpack(&[]))).err(), Some(DumpError::BadData));
    }
    assert_eq!(read(b"\x12\x01\x01\x00").err(), Some(DumpError::BadData), "a plain node that is empty");
    assert_eq!(read(b"\x12\x01\x03\x01x").err(), Some(DumpError::BadData), "no such node");
    assert_eq!(
        read(&[&[0x12, 1, 2][..], &packed(7, &listpack(&[]))[1..]].concat()).err(),
        Some(DumpError::BadData)
    );
    for value_type in [6, 7, 8, 26, 255] {
        assert_eq!(read(&[value_type, 1, 1, b'x']).err(), Some(DumpError::BadData), "type {value_type}");
    }
    assert_eq!(read(&packed(17, &listpack(&["a", "1", "b"]))).err(), Some(DumpError::BadData), "odd");
    assert_eq!(read(&packed(16, &listpack(&["a", "1", "b"]))).err(), Some(DumpError::BadData), "odd");
    for score in ["nan", "one", "", " 1"] {
        assert_eq!(read(&packed(17, &listpack(&["a", score]))).err(), Some(DumpError::BadData), "{score:?}");
    }
    assert_eq!(read(b"\x03\x01\x01a\xfd").err(), Some(DumpError::BadData), "NaN as a mark");
    let nan = [&b"\x05\x01\x01a"[..], &f64::NAN.to_le_bytes()].concat();
    assert_eq!(read(&nan).err(), Some(DumpError::BadData), "NaN in binary");
}

#[test]
fn duplicates_are_refused() {
    for value in [
        &b"\x02\x02\x01a\x01a"[..],
        b"\x02\x02\x015\xc0\x05",
        b"\x03\x02\x01a\xfe\x01a\xff",
        b"\x04\x02\x01a\x01b\x01a\x01c",
        &packed(9, b"\x02\x01a\x01\x00x\x01a\x01\x00y\xff"),
        &packed(11, b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0"),
        &packed(16, &listpack(&["a", "1", "a", "2"])),
        &packed(17, &listpack(&["a", "1", "a", "2"])),
        &packed(20, &listpack(&["a", "a"])),
        &packed(23, &listpack(&["a", "1", "0", "a", "2", "0"])),
    ] {
        assert_eq!(read(value).err(), Some(DumpError::BadData), "{value:?}");
    }
    let mut large = vec![2, 0x80, 0, 0, 0x4e, 0x21];
    for member in (0..20_000).chain([777]) {
        let text = format!("member {member}");
        large.push(text.len() as u8);
        large.extend_from_slice(text.as_bytes());
    }
    assert_eq!(read(&large).err(), Some(DumpError::BadData));
    // Without the repeated one it is fine.
    large.truncate(large.len() - "member 777".len() - 1);
    large[5] -= 1;
    assert_eq!(read(&large).map(|content| content.len()), Ok(20_000));
}

#[test]
fn disorder_is_refused() {
    assert!(read(&packed(11, b"\x02\0\0\0\x02\0\0\0\x06\0\x05\0")).is_err(), "members fall");
    assert!(read(&packed(11, b"\x03\0\0\0\x01\0\0\0\x06\0\x05")).is_err(), "no such width");
    assert!(read(&packed(11, b"\x02\0\0\0\xff\xff\xff\xff\x06\0\x05\0")).is_err(), "too many");
    assert!(read(&packed(23, &listpack(&["a", "1", "x"]))).is_err(), "a deadline that is no number");
    assert!(read(&packed(23, &listpack(&["a", "1", "-5"]))).is_err(), "a deadline before 1970");
    assert!(read(&packed(23, &listpack(&["a", "1", "281474976710655"]))).is_err(), "a deadline too far");
    let late = [&[24][..], &i64::MAX.to_le_bytes(), &[1, 2, 1, b'a', 1, b'b']].concat();
    assert!(read(&late).is_err(), "a deadline too far");
    let valkey =
        |at: i64| sealed(&[&b"\x16\x01\x01a\x01b"[..], &at.to_le_bytes()].concat(), RDB_VERSION_VALKEY);
    assert_eq!(content(&valkey(-1)).unwrap().to_string(), r#"hash "a"="b""#);
    assert_eq!(content(&valkey(5)).unwrap().to_string(), r#"hash "a"="b"@5"#);
    assert!(content(&valkey(-2)).is_err());
}

/// The body of a stream with entries 1-0 and 2-0, up to its groups.
fn stream_with(last_ms: u8, len: u8) -> Vec<u8> {
    let node = listpack(&["2", "0", "1", "f", "0", "2", "0", "0", "v", "4", "2", "1", "0", "w", "4"]);
    let mut value = vec![15, 1, 16];
    value.extend_from_slice(&EntryId { ms: 1, seq: 0 }.to_bytes());
    value.extend_from_slice(&packed(0, &node)[1..]);
    value.extend_from_slice(&[len, last_ms, 0]);
    value
}

pub(super) fn id_bytes(ms: u64) -> [u8; 16] {
    EntryId { ms, seq: 0 }.to_bytes()
}

#[test]
fn streams_that_contradict_themselves_are_refused() {
    let time = [7u8, 0, 0, 0, 0, 0, 0, 0];
    let good = stream_with(2, 2);
    let expected = r#"stream 1-0 "f"="v" 2-0 "f"="w" state 2-0 1-0 0-0 2"#;
    assert_eq!(read(&[&good[..], &[0]].concat()).unwrap().to_string(), expected);
    assert!(read(&[&stream_with(1, 2)[..], &[0]].concat()).is_err(), "an entry behind the last");
    assert!(read(&[&stream_with(2, 3)[..], &[0]].concat()).is_err(), "a wrong length");
    let group = |pending: &[u64], consumers: &[(u8, &[u64])]| {
        let mut value = vec![1, b'g', 2, 0, pending.len() as u8];
        for id in pending {
            value.extend_from_slice(&[&id_bytes(*id)[..], &time, &[1]].concat());
        }
        value.push(consumers.len() as u8);
        for (name, ids) in consumers {
            value.extend_from_slice(&[&[1, *name][..], &time, &[ids.len() as u8]].concat());
            ids.iter().for_each(|id| value.extend_from_slice(&id_bytes(*id)));
        }
        value
    };
    let with = |groups: &[Vec<u8>]| read(&[&good[..], &[groups.len() as u8], &groups.concat()].concat());
    let found = with(&[group(&[1, 2], &[(b'a', &[2]), (b'b', &[1])])]).unwrap().to_string();
    assert!(
        found.ends_with(r#" group "g" 2-0 2 consumer "a" 7 7 2-0@7*1 consumer "b" 7 7 1-0@7*1"#),
        "{found}"
    );
    for (groups, why) in [
        (vec![group(&[1], &[])], "nobody's"),
        (vec![group(&[1, 1], &[(b'a', &[1])])], "pending twice"),
        (vec![group(&[1], &[(b'a', &[1]), (b'b', &[1])])], "two consumers'"),
        (vec![group(&[1], &[(b'a', &[1, 1])])], "twice one consumer's"),
        (vec![group(&[1], &[(b'a', &[1, 2])])], "not the group's"),
        (vec![group(&[], &[(b'a', &[]), (b'a', &[])])], "two consumers of one name"),
        (vec![group(&[], &[]), group(&[], &[])], "two groups of one name"),
    ] {
        assert_eq!(with(&groups).err(), Some(DumpError::BadData), "{why}");
    }
}

#[test]
fn payloads_have_the_lowest_version_that_knows_them() {
    let version = |payload: &[u8]| (payload[0], payload[payload.len() - FOOTER_BYTES]);
    let long = [b'x'; 65];
    assert_eq!(version(&dump_list([&b"a"[..]].into_iter())), (18, 10));
    assert_eq!(version(&dump_set([&b"1"[..]].into_iter())), (11, 10));
    assert_eq!(version(&dump_set([&b"a"[..]].into_iter())), (2, 10));
    assert_eq!(version(&dump_zset([(&b"a"[..], 1.0)].into_iter())), (17, 10));
    assert_eq!(version(&dump_zset([(&long[..], 1.0)].into_iter())), (5, 10));
    assert_eq!(version(&dump_hash([(&b"a"[..], &b"b"[..], None)].into_iter())), (16, 10));
    assert_eq!(version(&dump_hash([(&b"a"[..], &long[..], None)].into_iter())), (4, 10));
    assert_eq!(version(&dump_hash([(&b"a"[..], &b"b"[..], Some(5))].into_iter())), (22, 80));
    let stream = |active_ms: Option<u64>| {
        let mut groups = StreamWriter::new().state(StreamState::default(), 1);
        let group = GroupState { name: b"g", last_id: EntryId::default(), entries_read: None };
        groups.group(group, [].into_iter(), 1);
        groups.consumer(ConsumerState { name: b"c", seen_ms: 5, active_ms }, [].into_iter());
        groups.finish()
    };
    assert_eq!(version(&stream(Some(5))), (19, 10));
    assert_eq!(version(&stream(Some(4))), (21, 11));
    assert_eq!(version(&stream(None)), (21, 11));
}

pub(super) fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..80),
        any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        (-200i16..200).prop_map(|value| value.to_string().into_bytes()),
        (0usize..6000).prop_map(|len| vec![b'a'; len]),
    ]
}

pub(super) fn stream() -> impl Strategy<Value = Stream> {
    let id = (0u64..40, prop_oneof![0u64..4, Just(u64::MAX)]).prop_map(|(ms, seq)| EntryId { ms, seq });
    let entries = btree_map(id.clone(), vec((bytes(), bytes()), 1..4), 0..250);
    let consumer = (btree_set(0u64..1000, 0..4), any::<[u8; 2]>(), proptest::option::of(0u64..9));
    let group = (btree_map(bytes(), consumer, 0..4), proptest::option::of(0u64..999), id.clone());
    let groups = btree_map(bytes(), group, 0..4);
    (entries, groups, id, any::<u64>()).prop_map(|(entries, groups, max_deleted_id, entries_added)| {
        let first_id = entries.keys().next().copied().unwrap_or_default();
        let last_id = entries.keys().last().copied().unwrap_or(max_deleted_id);
        let state = StreamState { last_id, first_id, max_deleted_id, entries_added };
        let groups = groups.into_iter().map(|(name, (consumers, entries_read, last_id))| {
            let mut taken = BTreeSet::new();
            let consumers = consumers.into_iter().map(|(name, (ids, [seen, count], active_ms))| {
                let ids = ids.into_iter().filter(|ms| taken.insert(*ms)).map(|ms| PendingEntry {
                    id: EntryId { ms, seq: 1 },
                    delivered_ms: ms + 5,
                    deliveries: u64::from(count),
                });
                Consumer { name, seen_ms: u64::from(seen), pending: ids.collect(), active_ms }
            });
            Group { name, last_id, entries_read, consumers: consumers.collect() }
        });
        Stream { entries: entries.into_iter().collect(), state, groups: groups.collect() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lists_round_trip(elements in vec(bytes(), 1..300)) {
        let list = Content::List(elements);
        prop_assert_eq!(content(&list.dump()), Ok(list));
    }

    #[test]
    fn sets_round_trip(members in btree_set(bytes(), 1..300), numbers in btree_set(any::<i64>(), 1..600)) {
        let set = Content::Set(members);
        prop_assert_eq!(content(&set.dump()), Ok(set));
        let numbers = Content::Set(numbers.into_iter().map(|number| number.to_string().into_bytes()).collect());
        prop_assert_eq!(content(&numbers.dump()), Ok(numbers));
    }

    #[test]
    fn sorted_sets_round_trip(members in btree_map(bytes(), any::<u64>(), 1..200)) {
        let rows = members.into_iter().map(|(member, bits)| (member, f64::from_bits(bits)));
        let rows: BTreeMap<_, _> = rows.filter(|(_, score)| !score.is_nan()).collect();
        prop_assume!(!rows.is_empty());
        let zset = Content::ZSet(rows);
        prop_assert_eq!(content(&zset.dump()), Ok(zset));
    }

    #[test]
    fn hashes_round_trip(fields in btree_map(bytes(), (bytes(), proptest::option::of(0u64..1 << 48)), 1..600), plain: bool) {
        let fields = fields.into_iter().map(|(field, (value, at))| (field, (value, at.filter(|_| !plain))));
        let hash = Content::Hash(fields.collect());
        prop_assert_eq!(content(&hash.dump()), Ok(hash));
    }

    #[test]
    fn streams_round_trip(stream in stream()) {
        let stream = Content::Stream(stream);
        prop_assert_eq!(content(&stream.dump()), Ok(stream));
    }

    #[test]
    fn hostile_values_are_read_or_refused(value: Vec<u8>, value_type in 1u8..27, version in prop_oneof![Just(12u16), Just(80)]) {
        let _ = content(&sealed(&[&[value_type], &value[..]].concat(), version));
    }
}
