use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;

const SPARSE_MAX: usize = 3000;

fn changed(old: Option<&[u8]>, change: Change) -> Vec<u8> {
    let mut bytes = old.unwrap_or_default().to_vec();
    match change {
        Change::None => {}
        Change::Set(new) => bytes = new,
        Change::Patch(patches) => {
            assert!(!patches.is_empty());
            assert!(patches.windows(2).all(|two| two[0].offset + two[0].bytes.len() <= two[1].offset));
            for Patch { offset, bytes: new } in patches {
                bytes[offset..offset + new.len()].copy_from_slice(&new);
            }
        }
    }
    bytes
}

fn added(old: Option<&[u8]>, elements: &[Vec<u8>]) -> Vec<u8> {
    changed(old, add(old, elements.iter().map(Vec::as_slice), SPARSE_MAX).unwrap())
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    numbers.map(|number| format!("element {number}").into_bytes()).collect()
}

fn sketch_of(elements: &[Vec<u8>]) -> Vec<u8> {
    added(None, elements)
}

fn union(sketches: &[&[u8]]) -> Union {
    let mut union = Union::default();
    sketches.iter().for_each(|sketch| union.merge(sketch).unwrap());
    union
}

/// Says which bytes were right, without holding 12 KiB of them: FNV-1a.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Elements added, and then: length, fingerprint and count of the sketch.
const GROWING: [(u32, usize, u64, u64); 11] = [
    (1, 21, 0xe38f_5885_342b_0435, 1),
    (2, 24, 0x5877_1a7b_9465_60a7, 2),
    (10, 48, 0xec47_c03e_f8d5_8473, 10),
    (100, 287, 0x8548_a09b_d92a_32e5, 100),
    (1_000, 1_910, 0x0a12_f5f6_57ac_8423, 1_003),
    (1_500, 2_709, 0x0da4_d911_0ccc_976c, 1_499),
    (1_700, 12_304, 0x4acd_49e9_a015_46e8, 1_700),
    (2_000, 12_304, 0xea62_7623_2a8b_4743, 1_988),
    (5_000, 12_304, 0xa662_aa8a_0f4a_bb65, 4_980),
    (20_000, 12_304, 0x1a15_597e_7498_5b60, 19_988),
    (100_000, 12_304, 0x7d57_a3f7_2481_57dc, 99_652),
];

/// The same of the union of 0 to 499 with 400 to 899.
const MERGED: (usize, u64, u64) = (1_750, 0xba4a_9a27_5e92_e9b5, 902);

// What redis-server 7.0.15 and valkey-server 9.1.2 had after the same commands.
#[test]
fn small_sketches_are_redis_bytes() {
    let head = b"HYLL\x01\0\0\0";
    let outdated = b"\0\0\0\0\0\0\0\x80";
    assert_eq!(sketch_of(&[]), [&head[..], outdated, b"\x7f\xff"].concat());
    let letters: Vec<Vec<u8>> = (b'a'..=b'g').map(|letter| vec![letter]).collect();
    let runs = b"\x46\x6d\x80\x56\x0c\x80\x44\x3c\x84\x38\x80\x50\xb1\x84\x49\x8c\x80\x42\x6d\x80\x42\x5a";
    let sketch = sketch_of(&letters);
    assert_eq!(sketch, [&head[..], outdated, runs].concat());
    let shown =
        "Z:1646 v:1,1 Z:5645 v:1,1 Z:1085 v:2,1 z:57 v:1,1 Z:4274 v:2,1 Z:2445 v:1,1 Z:622 v:1,1 Z:603";
    assert_eq!(describe(&sketch), Ok(Some(shown.to_owned())));
    let counted = count(&sketch).unwrap();
    assert_eq!(counted.elements, 7);
    let cached = changed(Some(&sketch), Change::Patch(vec![counted.cache.unwrap()]));
    assert_eq!(cached, [&head[..], b"\x07\0\0\0\0\0\0\0", runs].concat());
    assert_eq!(count(&cached), Ok(Count { elements: 7, cache: None }));
    assert_eq!(add(Some(&cached), letters.iter().map(Vec::as_slice), SPARSE_MAX), Ok(Change::None));
}

#[test]
fn growing_sketches_are_redis_bytes() {
    let (mut sketch, mut done) = (None, 0);
    for (elements, len, expected, counted) in GROWING {
        while done < elements {
            let next = elements.min(done + 1000);
            sketch = Some(added(sketch.as_deref(), &numbered(done..next)));
            done = next;
        }
        let bytes = sketch.as_deref().unwrap();
        assert_eq!((bytes.len(), fingerprint(bytes)), (len, expected), "{elements} elements");
        let found = count(bytes).unwrap();
        assert_eq!(found.elements, counted);
        sketch = Some(changed(Some(bytes), Change::Patch(vec![found.cache.unwrap()])));
    }
}

#[test]
fn merged_sketches_are_redis_bytes() {
    let texts = |range: std::ops::Range<u32>| range.map(|n| n.to_string().into_bytes()).collect::<Vec<_>>();
    let (x, y) = (sketch_of(&texts(0..500)), sketch_of(&texts(400..900)));
    let both = union(&[&x, &y]);
    assert_eq!(both.count(), MERGED.2);
    let merged = changed(None, both.store(None, SPARSE_MAX).unwrap());
    assert_eq!((merged.len(), fingerprint(&merged)), (MERGED.0, MERGED.1));
    // A dense source makes the target dense.
    let dense = to_dense(&y).unwrap().unwrap();
    let into_x = changed(Some(&x), union(&[&x, &dense]).store(Some(&x), SPARSE_MAX).unwrap());
    assert_eq!(encoding(&into_x), Ok(Encoding::Dense));
    assert_eq!(union(&[&into_x]).registers(), both.registers());
}

#[test]
fn other_strings_are_refused() {
    let sketch = sketch_of(&numbered(0..10));
    let mut dense = to_dense(&sketch).unwrap().unwrap();
    assert_eq!(to_dense(&dense), Ok(None));
    assert_eq!(describe(&dense), Ok(None));
    assert_eq!(count(&dense).unwrap().elements, 10);
    dense.push(0);
    for bytes in [&b""[..], b"hello", &sketch[..15], &[b"HYLX", &sketch[4..]].concat(), &dense] {
        assert_eq!(count(bytes), Err(HllError::NotASketch));
        assert_eq!(add(Some(bytes), [].into_iter(), SPARSE_MAX), Err(HllError::NotASketch));
        assert_eq!(Union::default().merge(bytes), Err(HllError::NotASketch));
    }
    let mut unknown = sketch.clone();
    unknown[4] = 2;
    assert_eq!(encoding(&unknown), Err(HllError::NotASketch));
    for runs in [&b""[..], b"\x7f", b"\x7f\xfe", b"\x7f\xff\x00", b"\x7f\xfe\x81"] {
        let bytes = [&sketch[..16], runs].concat();
        assert_eq!(count(&bytes), Err(HllError::Corrupted), "{runs:?}");
        assert_eq!(to_dense(&bytes), Err(HllError::Corrupted));
        assert_eq!(Union::default().merge(&bytes), Err(HllError::Corrupted));
    }
    let cut = [&sketch[..16], b"\x00"].concat();
    let outcome = add(Some(&cut), numbered(0..10).iter().map(Vec::as_slice), SPARSE_MAX);
    assert_eq!(outcome, Err(HllError::Corrupted));
}

#[test]
fn full_registers_do_not_end_the_world() {
    let mut dense = to_dense(&sketch_of(&[])).unwrap().unwrap();
    for value in [50, 51, 63] {
        (0..REGISTERS).for_each(|index| set_register(&mut dense, index, value));
        assert!(count(&dense).unwrap().elements > 1 << 60);
    }
}

#[test]
fn the_self_test_passes() {
    let mut state = 1u64;
    let mut random = || {
        state += 1;
        xxh3_64(&state.to_le_bytes())
    };
    assert_eq!(self_test(&mut random, 5, 100_000, SPARSE_MAX), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn encodings_agree(elements in proptest::collection::vec(0u32..5000, 0..400), max in 0usize..2000, cut: prop::sample::Index) {
        let elements: Vec<Vec<u8>> = elements.into_iter().map(|n| n.to_string().into_bytes()).collect();
        let all = elements.iter().map(Vec::as_slice);
        let dense = to_dense(&sketch_of(&[])).unwrap().unwrap();
        let dense = changed(Some(&dense), add(Some(&dense), all.clone(), max).unwrap());
        let sparse = changed(None, add(None, all.clone(), max).unwrap());
        prop_assert!(encoding(&sparse) == Ok(Encoding::Dense) || sparse.len() <= max.max(18));
        let registers = union(&[&sparse]).registers().to_vec();
        let separate = union(&[&dense]);
        prop_assert_eq!(&registers, separate.registers());
        for (index, value) in registers.iter().enumerate() {
            prop_assert_eq!(register(&dense, index), *value);
        }
        // In two steps or by a merge it is the same sketch.
        let (a, b) = elements.split_at(cut.index(elements.len() + 1));
        let steps = changed(None, add(None, a.iter().map(Vec::as_slice), max).unwrap());
        let steps = changed(Some(&steps), add(Some(&steps), b.iter().map(Vec::as_slice), max).unwrap());
        prop_assert_eq!(&steps, &sparse);
        let halves = union(&[&sketch_of(a), &sketch_of(b)]);
        prop_assert_eq!(halves.registers(), &registers[..]);
        prop_assert_eq!(halves.count(), separate.count());
    }

    #[test]
    fn hostile_runs_are_read_or_refused(runs: Vec<u8>, elements: Vec<Vec<u8>>) {
        let bytes = [&b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80"[..], &runs].concat();
        let _ = (count(&bytes), describe(&bytes), to_dense(&bytes));
        let _ = add(Some(&bytes), elements.iter().map(Vec::as_slice), SPARSE_MAX);
        let mut union = Union::default();
        if union.merge(&bytes).is_ok() {
            prop_assert!(union.store(Some(&bytes), SPARSE_MAX).is_ok());
        }
    }
}
