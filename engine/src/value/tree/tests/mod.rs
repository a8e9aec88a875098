//! The tree beside plain vectors and maps.

mod measure;

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Elements ordered by their bytes.
struct Bytes;

impl Layout for Bytes {
    fn prefix(element: &[u8]) -> u64 {
        let mut first = [0; 8];
        let len = element.len().min(8);
        first[..len].copy_from_slice(&element[..len]);
        u64::from_be_bytes(first)
    }

    fn compare(a: &[u8], b: &[u8]) -> Ordering {
        a.cmp(b)
    }
}

/// Elements in the order they were put.
struct Position;

impl Layout for Position {
    const IS_POSITIONAL: bool = true;

    fn prefix(_: &[u8]) -> u64 {
        0
    }

    fn compare(_: &[u8], _: &[u8]) -> Ordering {
        Ordering::Equal
    }
}

/// Rows as a store would hold them.
type Stored = BTreeMap<u64, Vec<u8>>;

fn find(tree: &Tree<Bytes>, element: &[u8]) -> Result<Place, Place> {
    let prefix = Bytes::prefix(element);
    tree.find(prefix, |other| Bytes::prefix(other).cmp(&prefix).then_with(|| other.cmp(element)))
}

/// Writes the dirty leaves back; returns how many rows were put.
fn write_back<L: Layout>(tree: &mut Tree<L>, rows: &mut Stored) -> usize {
    let (mut count, mut is_putting) = (0, false);
    tree.take_dirty(&mut |label, body| match body {
        Some(body) => {
            (is_putting, count) = (true, count + 1);
            rows.insert(label, body.to_vec());
        }
        None => {
            assert!(!is_putting, "deleted rows come first");
            assert!(rows.remove(&label).is_some(), "only written rows are deleted");
        }
    });
    assert!(!tree.is_dirty());
    count
}

fn load<L: Layout>(rows: &Stored) -> Tree<L> {
    let mut tree = Tree::new();
    for (label, body) in rows {
        tree.push_leaf(*label, body).unwrap();
    }
    tree
}

/// Everything that can be read agrees with the model.
fn check<L: Layout>(tree: &Tree<L>, model: &[Vec<u8>]) {
    tree.check();
    assert_eq!(tree.len(), model.len() as u64);
    assert_eq!(tree.data_bytes(), model.iter().map(Vec::len).sum::<usize>());
    assert!(tree.iter().eq(model.iter().map(Vec::as_slice)));
    assert!(tree.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
    assert_eq!(tree.first(), model.first().map(Vec::as_slice));
    assert_eq!(tree.last(), model.last().map(Vec::as_slice));
    for rank in (0..model.len()).step_by(1 + model.len() / 37) {
        let place = tree.place_at(rank as u64).unwrap();
        assert_eq!(tree.rank(place), rank as u64);
        assert_eq!(tree.get(place), Some(&model[rank][..]));
        assert!(tree.iter_from(place).take(9).eq(model[rank..].iter().take(9).map(Vec::as_slice)));
        assert!(tree.iter_back_from(place).take(9).eq(model[..rank].iter().rev().take(9).map(Vec::as_slice)));
        assert_eq!(tree.get(tree.next(place)), model.get(rank + 1).map(Vec::as_slice));
        let previous = tree.previous(place).and_then(|place| tree.get(place));
        assert_eq!(previous, rank.checked_sub(1).map(|rank| &model[rank][..]));
        let to = (rank * 2 + 5).min(model.len());
        assert!(
            tree.range(rank as u64, rank as u64 * 2 + 5)
                .rev()
                .eq(model[rank..to].iter().rev().map(Vec::as_slice))
        );
    }
    assert!(tree.place_at(model.len() as u64).is_none());
    assert!(tree.get(tree.end()).is_none());
    assert_eq!(tree.rank(tree.end()), tree.len());
}

/// A little generator, so that long runs need no stored choices.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Mostly short, sometimes as large as a leaf or larger.
    fn element(&mut self) -> Vec<u8> {
        let len = match self.below(100) {
            0 => self.below(9_000),
            1..4 => self.below(3_000),
            4..10 => self.below(3),
            _ => 8 + self.below(30),
        };
        let fill = self.next().to_le_bytes();
        (0..len).map(|at| fill[at % 8] ^ (at / 8) as u8).collect()
    }
}

/// Random edits in sorted order, written back and reloaded now and then.
fn run_sorted(seed: u64, steps: usize, growth: usize) {
    let mut random = Random(seed);
    let (mut tree, mut model, mut rows) = (Tree::<Bytes>::new(), Vec::<Vec<u8>>::new(), Stored::new());
    for step in 0..steps {
        match random.below(100) {
            0 => {
                write_back(&mut tree, &mut rows);
                tree = load(&rows);
                check(&tree, &model);
            }
            1 => {
                let from = random.below(model.len() + 1);
                let to = (from + random.below(30) * random.below(30)).min(model.len());
                tree.remove_range(from as u64, to as u64);
                model.drain(from..to);
            }
            choice if choice < growth => {
                let element = random.element();
                match (find(&tree, &element), model.binary_search(&element)) {
                    (Ok(place), Ok(at)) => {
                        assert_eq!(tree.rank(place), at as u64);
                        tree.replace(place, &element);
                    }
                    (Err(place), Err(at)) => {
                        assert_eq!(tree.rank(place), at as u64);
                        assert_eq!(tree.get(place), model.get(at).map(Vec::as_slice));
                        tree.insert(place, &element);
                        model.insert(at, element);
                    }
                    _ => panic!("found only once"),
                }
            }
            _ if !model.is_empty() => {
                let at = random.below(model.len());
                let place = find(&tree, &model[at]).expect("it is there");
                tree.remove(place);
                model.remove(at);
            }
            _ => {}
        }
        if step % 512 == 0 {
            check(&tree, &model);
        }
    }
    check(&tree, &model);
    write_back(&mut tree, &mut rows);
    check(&load::<Bytes>(&rows), &model);
}

/// Random edits by position: pushes, pops, inserts, replacements of other lengths.
fn run_positional(seed: u64, steps: usize) {
    let mut random = Random(seed);
    let (mut tree, mut model, mut rows) = (Tree::<Position>::new(), Vec::<Vec<u8>>::new(), Stored::new());
    for step in 0..steps {
        let (element, at) = (random.element(), random.below(model.len() + 1));
        match random.below(24) {
            0..5 => {
                tree.push_back(&element);
                model.push(element);
            }
            5..10 => {
                tree.push_front(&element);
                model.insert(0, element);
            }
            10..13 => {
                tree.insert(tree.place_at(at as u64).unwrap_or(tree.end()), &element);
                model.insert(at, element);
            }
            13..16 if at < model.len() => {
                tree.replace(tree.place_at(at as u64).unwrap(), &element);
                model[at] = element;
            }
            16..18 if !model.is_empty() => {
                tree.remove(tree.start());
                model.remove(0);
            }
            18..20 if !model.is_empty() => {
                tree.remove(tree.previous(tree.end()).unwrap());
                model.pop();
            }
            20 => {
                let to = (at + random.below(60)).min(model.len());
                tree.remove_range(at as u64, to as u64);
                model.drain(at..to);
            }
            21 if step % 8 == 0 => {
                write_back(&mut tree, &mut rows);
                tree = load(&rows);
            }
            _ => {}
        }
        if step % 256 == 0 {
            check(&tree, &model);
        }
    }
    check(&tree, &model);
}

#[test]
fn random_edits_match_a_vector() {
    for seed in 0..6 {
        run_sorted(seed, 6_000, [95, 70, 50][seed as usize % 3]);
        run_positional(seed, 6_000);
    }
}

#[test]
fn trees_of_many_blocks_match_a_vector() {
    let mut model: Vec<Vec<u8>> = (0..400_000u64).map(|at| (at * 2).to_be_bytes().to_vec()).collect();
    let mut tree = Tree::<Bytes>::from_sorted(model.iter());
    check(&tree, &model);
    let mut random = Random(7);
    // New elements spread over all leaves: each splits.
    for _ in 0..200_000 {
        let element = (random.next() % 800_000).to_be_bytes();
        if let Err(place) = find(&tree, &element) {
            tree.insert(place, &element);
            model.push(element.to_vec());
        }
    }
    model.sort_unstable();
    check(&tree, &model);
    for (from, to) in [(100, 150_000), (3, 4), (0, 77), (300_000, 310_000)] {
        tree.remove_range(from as u64, to as u64);
        model.drain(from..to);
        check(&tree, &model);
    }
    while tree.len() > 1000 {
        let rank = random.next() % tree.len();
        tree.remove(tree.place_at(rank).unwrap());
    }
    tree.check();
    tree.remove_range(0, u64::MAX);
    check(&tree, &[]);
    assert!(tree.heap_bytes() < 4096, "{} bytes of nothing", tree.heap_bytes());
}

/// When the last block split, the first half of it kept the sum of both.
#[test]
fn sums_are_right_after_each_split_of_a_block() {
    let mut random = Random(3);
    let mut tree = Tree::<Bytes>::new();
    for step in 0..60_000 {
        let element = [&random.next().to_be_bytes()[..], &[0; 192]].concat();
        tree.insert(find(&tree, &element).unwrap_err(), &element);
        if step % 512 == 0 {
            tree.check();
        }
    }
}

#[test]
fn elements_of_one_prefix_spread_over_leaves() {
    let mut model: Vec<Vec<u8>> =
        (0..50_000u32).map(|at| [&[5; 8][..], &at.to_be_bytes()].concat()).collect();
    model.push(vec![6; 9]);
    let tree = Tree::<Bytes>::from_sorted(model.iter());
    for (rank, element) in model.iter().enumerate() {
        assert_eq!(tree.rank(find(&tree, element).unwrap()), rank as u64);
    }
    let boundary = |prefix: u64, before: Ordering| {
        tree.find(prefix, |other| {
            if Bytes::prefix(other) == prefix { before } else { Bytes::prefix(other).cmp(&prefix) }
        })
    };
    let five = u64::from_be_bytes([5; 8]);
    assert_eq!(tree.rank(boundary(five, Ordering::Greater).unwrap_err()), 0);
    assert_eq!(tree.rank(boundary(five, Ordering::Less).unwrap_err()), 50_000);
}

#[test]
fn runs_of_pushes_fill_leaves() {
    for front in [false, true] {
        let mut tree = Tree::<Position>::new();
        for at in 0..100_000u64 {
            let element = [at.to_be_bytes(), at.to_le_bytes()].concat();
            if front { tree.push_front(&element) } else { tree.push_back(&element) }
        }
        assert!(tree.heap_bytes() < 100_000 * 19, "{} bytes", tree.heap_bytes());
    }
}

#[test]
fn only_changed_leaves_are_written() {
    let mut tree = Tree::<Bytes>::from_sorted((0..100_000u64).map(|at| at.to_be_bytes()));
    let mut rows = Stored::new();
    let all = write_back(&mut tree, &mut rows);
    assert!(all > 200);
    assert_eq!(write_back(&mut tree, &mut rows), 0);
    for at in [5u64, 50_000, 99_999] {
        tree.remove(find(&tree, &at.to_be_bytes()).unwrap());
    }
    assert_eq!(write_back(&mut tree, &mut rows), 3);
    // An insertion into a full leaf splits it: two rows.
    tree.insert(
        find(&tree, &[0, 0, 0, 0, 0, 0, 0x77, 0x77, 1]).unwrap_err(),
        &[0, 0, 0, 0, 0, 0, 0x77, 0x77, 1],
    );
    assert!(write_back(&mut tree, &mut rows) <= 2);
    let model: Vec<Vec<u8>> = tree.iter().map(<[u8]>::to_vec).collect();
    check(&load::<Bytes>(&rows), &model);
    // All leaves, and a copy without rows.
    let mut all_rows = Stored::new();
    tree.all_leaves(&mut |label, body| _ = all_rows.insert(label, body.to_vec()));
    assert_eq!(all_rows, rows);
    let mut copy = tree.clone();
    copy.forget_rows();
    copy.remove_range(0, 5_000);
    let mut copied = Stored::new();
    write_back(&mut copy, &mut copied);
    check(&load::<Bytes>(&copied), &model[5_000..]);
    assert_eq!(write_back(&mut tree, &mut rows), 0);
}

#[test]
fn leaves_that_were_never_written_leave_nothing() {
    let mut tree = Tree::<Position>::new();
    for at in 0..200_000u64 {
        tree.push_back(&at.to_be_bytes());
        if at >= 1000 {
            tree.remove(tree.start());
        }
    }
    assert!(
        tree.heap_bytes() < 40_000,
        "a queue that is never written back stays small: {}",
        tree.heap_bytes()
    );
    tree.remove_range(0, u64::MAX);
    tree.take_dirty(&mut |_, _| panic!("nothing was written"));
}

/// Splits at one spot halve the gap between labels each time: without spreading only the leaves around, a large tree
/// would be written whole every few thousand insertions.
#[test]
fn insertions_at_one_spot_relabel_few_leaves() {
    for descending in [false, true] {
        let mut tree = Tree::<Bytes>::from_sorted((0..200_000u64).map(|at| (at << 32).to_be_bytes()));
        let mut rows = Stored::new();
        write_back(&mut tree, &mut rows);
        let mut written = 0;
        let inserted = 100_000u64;
        for at in 0..inserted {
            let low = if descending { inserted - at } else { at + 1 };
            let element = ((100_000u64 << 32) + low).to_be_bytes();
            tree.insert(find(&tree, &element).unwrap_err(), &element);
            if at % 400 == 0 {
                written += write_back(&mut tree, &mut rows);
            }
        }
        write_back(&mut tree, &mut rows);
        let model: Vec<Vec<u8>> = tree.iter().map(<[u8]>::to_vec).collect();
        check(&load::<Bytes>(&rows), &model);
        assert!(written < 10_000, "{written} rows for 100,000 insertions");
    }
}

#[test]
fn loading_refuses_what_is_out_of_order() {
    let row = |elements: &[&[u8]]| {
        let mut row = Vec::new();
        elements.iter().for_each(|element| crate::codec::put_bytes(&mut row, element));
        row
    };
    let mut tree = Tree::<Bytes>::new();
    tree.push_leaf(20, &row(&[b"b", b"c"])).unwrap();
    for (label, bad) in [
        (20, row(&[b"d"])),
        (24, row(&[b"c"])),
        (24, row(&[b"a"])),
        (25, row(&[b"d"])),
        (24, row(&[b"e", b"d"])),
        (24, row(&[b"e", b"e"])),
        (24, vec![]),
        (24, vec![9, 1]),
        (24, vec![0xff; 9]),
        (24, row(&[&[7; 3000], &[8; 3000]])),
        (24, vec![0; 5000]),
    ] {
        assert!(tree.push_leaf(label, &bad).is_err(), "{label} {bad:?}");
    }
    tree.push_leaf(24, &row(&[&[b'd'; 100_000]])).unwrap();
    check(&tree, &[b"b".to_vec(), b"c".to_vec(), vec![b'd'; 100_000]]);
    let mut list = Tree::<Position>::new();
    list.push_leaf(4, &row(&[b"b", b"b", b"a"])).unwrap();
    assert_eq!(list.len(), 3);
}

#[test]
fn empty_elements_fill_leaves_too() {
    let mut tree = Tree::<Position>::new();
    let mut model = Vec::new();
    for at in 0..10_000 {
        let element = if at % 3000 == 2999 { vec![b'x'] } else { vec![] };
        tree.push_back(&element);
        model.push(element);
    }
    check(&tree, &model);
    for at in [9_000, 4_000, 2_047, 1, 0] {
        tree.insert(tree.place_at(at).unwrap(), b"");
        model.insert(at as usize, vec![]);
    }
    check(&tree, &model);
    let mut rows = Stored::new();
    write_back(&mut tree, &mut rows);
    check(&load::<Position>(&rows), &model);
}

#[test]
fn labels_at_the_ends_of_their_range_make_way() {
    for (label, front) in [(!3, false), (!3, true), (0, false), (0, true)] {
        let mut rows = Stored::from([(label, b"\x01b".to_vec())]);
        let mut tree = load::<Position>(&rows);
        let mut model = vec![b"b".to_vec()];
        for at in 0..300u64 {
            let element = [&at.to_be_bytes()[..], &[0; 2500]].concat();
            let at = if front { 0 } else { model.len() };
            tree.insert(tree.place_at(at as u64).unwrap_or(tree.end()), &element);
            model.insert(at, element);
        }
        check(&tree, &model);
        write_back(&mut tree, &mut rows);
        check(&load::<Position>(&rows), &model);
    }
}

proptest! {
    #[test]
    fn hostile_rows_never_panic(rows: Vec<(u64, Vec<u8>)>) {
        let mut tree = Tree::<Bytes>::new();
        for (label, bytes) in rows {
            let _ = tree.push_leaf(label, &bytes);
        }
        tree.check();
    }
}

/// A copy counted the spare room of the original's arrays as its own, also when nothing was left in it.
#[test]
fn a_copy_counts_only_memory_that_it_has() {
    let mut tree = Tree::<Bytes>::new();
    for n in 0..5_000u32 {
        let element = n.to_be_bytes().repeat(20);
        let place = find(&tree, &element).unwrap_err();
        tree.insert(place, &element);
    }
    let mut copy = tree.clone();
    copy.check();
    assert_eq!(copy.data_bytes(), tree.data_bytes());
    assert!(copy.heap_bytes() < tree.heap_bytes(), "there was spare room");
    while !copy.is_empty() {
        copy.remove(copy.start());
    }
    copy.check();
    assert!(copy.heap_bytes() < 100_000, "{}", copy.heap_bytes());
}
