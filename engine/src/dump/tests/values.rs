//! Payloads and the values that keys hold: what goes into one comes out of the other.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::collections::{bytes, content, golden, id_bytes, listpack, stream};
use super::content::{Bytes, Content};
use super::sealed;
use crate::dump::*;
use crate::value::collection::Collection;
use crate::value::hash::HashLimits;

/// The value of a payload, as of the beginning of time.
fn load(payload: &[u8], limits: &Limits) -> Result<Collection, DumpError> {
    match open(payload)? {
        Dumped::Collection(collection) => load_collection(&collection, limits, 0),
        Dumped::String(_) => panic!("a string"),
    }
}

/// Its payload, read again, says the same.
fn check(expected: &Content, limits: &Limits) {
    let value = load(&expected.dump(), limits).expect("it was dumped");
    let mut row = Vec::new();
    value.encode(&mut row);
    assert_eq!(Collection::decode(value.type_tag(), &row).expect("encoded above"), value);
    assert_eq!(content(&dump_collection(&value)).as_ref(), Ok(expected));
}

/// Limits under which nothing stays small.
fn none_is_small() -> Limits {
    let mut limits = Limits::default();
    limits.hash.entries_max = 0;
    limits.list.listpack_size = 1;
    (limits.set.ints_max, limits.set.entries_max, limits.zset.entries) = (0, 0, 0);
    limits
}

#[test]
fn golden_payloads_become_values() {
    for (name, payload, expected) in golden() {
        for limits in [Limits::default(), none_is_small()] {
            let value = load(&payload, &limits).unwrap_or_else(|error| panic!("{name}: {error}"));
            let again = content(&dump_collection(&value)).expect(name);
            assert_eq!(again.to_string(), expected, "{name}");
        }
    }
}

#[test]
fn fields_that_have_run_out_are_not_loaded() {
    let fields = [(&b"a"[..], &b"1"[..], Some(5)), (b"b", b"2", Some(6)), (b"c", b"3", None)];
    let load = |count: usize, now_ms| {
        let payload = dump_hash(fields.into_iter().take(count));
        let Ok(Dumped::Collection(dumped)) = open(&payload) else { panic!("a hash") };
        match load_collection(&dumped, &Limits::default(), now_ms) {
            Ok(Collection::Hash(hash)) => hash.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([load(3, 4), load(3, 5), load(3, 6), load(2, 6)], [3, 2, 1, 0]);
}

// Few bytes an entry, each of which would repeat a long name.
#[test]
fn a_stream_that_would_swell_is_refused() {
    let swollen = |entries: u64| {
        let (count, name) = (entries.to_string(), "n".repeat(60_000));
        let mut node = vec![count.as_str(), "0", "1", &name, "0"];
        let seqs: Vec<String> = (0..entries).map(|seq| seq.to_string()).collect();
        seqs.iter().for_each(|seq| node.extend(["2", "0", seq, "v", "4"]));
        let mut value = vec![15, 1, 16];
        value.extend_from_slice(&id_bytes(1));
        let node = listpack(&node);
        value.push(0x80);
        value.extend_from_slice(&(node.len() as u32).to_be_bytes());
        value.extend_from_slice(&node);
        value.extend_from_slice(&len_14_bits(entries));
        value.push(1);
        value.extend_from_slice(&len_14_bits(entries - 1));
        value.push(0);
        sealed(&value, RDB_VERSION)
    };
    assert!(load(&swollen(100), &Limits::default()).is_ok());
    let payload = swollen(16_000);
    assert!(payload.len() < 400_000 && open(&payload).is_ok());
    assert_eq!(load(&payload, &Limits::default()).err(), Some(DumpError::BadData));
}

fn len_14_bits(len: u64) -> [u8; 2] {
    (1 << 14 | len as u16).to_be_bytes()
}

#[test]
fn limits_decide_what_stays_small() {
    let hash = |count: u32| {
        let names: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let payload = dump_hash(names.iter().map(|name| (name.as_bytes(), &b"v"[..], None)));
        let limits = Limits { hash: HashLimits { entries_max: 4, value_max: 64 }, ..Limits::default() };
        load(&payload, &limits).expect("a hash").encoding()
    };
    assert_eq!([hash(4), hash(5)], ["listpack", "hashtable"]);
}

fn limits() -> impl Strategy<Value = Limits> {
    any::<bool>().prop_map(|is_large| if is_large { none_is_small() } else { Limits::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn lists_become_values(elements in vec(bytes(), 1..300), limits in limits()) {
        check(&Content::List(elements), &limits);
    }

    #[test]
    fn sets_become_values(members in btree_set(bytes(), 1..300), numbers in btree_set(any::<i64>(), 1..600), limits in limits()) {
        check(&Content::Set(members), &limits);
        let numbers = numbers.into_iter().map(|number| number.to_string().into_bytes());
        check(&Content::Set(numbers.collect()), &limits);
    }

    #[test]
    fn sorted_sets_become_values(members in btree_map(bytes(), any::<u64>(), 1..200), limits in limits()) {
        let scores = members.into_iter().map(|(member, bits)| (member, f64::from_bits(bits)));
        let scores: BTreeMap<Bytes, f64> = scores.filter(|(_, score)| !score.is_nan()).collect();
        prop_assume!(!scores.is_empty());
        check(&Content::ZSet(scores), &limits);
    }

    #[test]
    fn hashes_become_values(
        fields in btree_map(bytes(), (bytes(), proptest::option::of(1u64..1 << 47)), 1..600),
        limits in limits(),
    ) {
        check(&Content::Hash(fields), &limits);
    }

    #[test]
    fn streams_become_values(stream in stream(), limits in limits()) {
        // No command makes an entry 0-0.
        prop_assume!(stream.entries.first().is_none_or(|(id, _)| *id > EntryId::default()));
        check(&Content::Stream(stream), &limits);
    }

    #[test]
    fn hostile_values_are_loaded_or_refused(value: Vec<u8>, value_type in 1u8..27, version in prop_oneof![Just(12u16), Just(80)]) {
        let payload = sealed(&[&[value_type], &value[..]].concat(), version);
        if open(&payload).is_ok() {
            let _ = load(&payload, &Limits::default());
        }
    }
}
