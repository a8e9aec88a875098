//! Prints what the tree costs beside a hash map and a B-tree of boxed elements:
//! `cargo test --release -p lux-engine --no-default-features --lib value::tree::tests::measure -- --ignored --nocapture`.
//! `LUX_TREE_SIZES` overrides the sizes (numbers of elements, by commas).

use super::{Bytes, Tree, find};
use std::collections::{BTreeSet, HashSet};
use std::hint::black_box;
use std::time::Instant;

/// Operations timed together; the best and the median of many such runs are printed, for machines that do other work.
const BATCH: u64 = 2_000;

fn mix(at: u64) -> u64 {
    let z = (at ^ (at >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 8 bytes of hash and 12 of field.
fn element(at: u64) -> [u8; 20] {
    let mut element = [b'x'; 20];
    element[..8].copy_from_slice(&mix(at + 1).to_be_bytes());
    element[8..16].copy_from_slice(&at.to_le_bytes());
    element
}

fn allocated() -> usize {
    // SAFETY: it only reads the allocator's counters.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Runs `work(0..count)` in batches; prints nanoseconds per operation.
fn timed(name: &str, count: u64, mut work: impl FnMut(u64)) {
    let mut batches = Vec::new();
    let mut at = 0;
    while at < count {
        let (begin, end) = (Instant::now(), (at + BATCH).min(count));
        (at..end).for_each(&mut work);
        batches.push(begin.elapsed().as_nanos() as u64 / (end - at));
        at = end;
    }
    // The last quarter: a structure that grows has its size then.
    let mut last = batches.split_off(batches.len() * 3 / 4);
    last.sort_unstable();
    println!("  {name:<28} best {:>6} ns   median {:>6} ns", last[0], last[last.len() / 2]);
}

fn measure_tree(size: u64) {
    let reads = 200_000;
    let before = allocated();
    let mut tree = Tree::<Bytes>::new();
    timed("tree: find and insert", size, |at| {
        let element = element(at);
        let place = find(&tree, &element).unwrap_err();
        tree.insert(place, &element);
    });
    let (held, per) = (allocated() - before, |bytes: usize| bytes as f64 / size as f64);
    println!(
        "  tree: {:.1} B/element by the allocator, {:.1} by heap_bytes, {:.1} data",
        per(held),
        per(tree.heap_bytes()),
        per(tree.data_bytes())
    );
    timed("tree: find", reads, |at| _ = black_box(find(&tree, &element(mix(at) % size)).is_ok()));
    timed("tree: find and rank", reads, |at| {
        _ = black_box(tree.rank(find(&tree, &element(mix(at) % size)).unwrap()))
    });
    timed("tree: place_at and get", reads, |at| {
        _ = black_box(tree.get(tree.place_at(mix(at) % size).unwrap()))
    });
    let mut elements = tree.iter();
    timed("tree: iterate", size, |_| _ = black_box(elements.next().unwrap()[3]));
    let mut elements = tree.iter();
    timed("tree: iterate back", size, |_| _ = black_box(elements.next_back().unwrap()[3]));
    timed("tree: remove and insert", reads, |at| {
        let old = element(mix(at) % size);
        let place = find(&tree, &old).unwrap();
        tree.remove(place);
        tree.insert(find(&tree, &old).unwrap_err(), &old);
    });
    let written = Instant::now();
    let mut bytes = 0;
    tree.take_dirty(&mut |_, body| bytes += body.map_or(0, <[u8]>::len));
    println!(
        "  tree: take_dirty of all: {:.1} ns/element, {:.1} B",
        written.elapsed().as_nanos() as f64 / size as f64,
        per(bytes)
    );
    timed("tree: pop front, push back", reads, |_| {
        let first = tree.first().unwrap().to_vec();
        tree.remove(tree.start());
        tree.push_back(&first);
    });
}

fn measure_others(size: u64) {
    let reads = 200_000;
    let before = allocated();
    let mut set = HashSet::<Box<[u8]>>::new();
    timed("HashSet: insert", size, |at| _ = set.insert(element(at).into()));
    println!("  HashSet: {:.1} B/element", (allocated() - before) as f64 / size as f64);
    timed("HashSet: find", reads, |at| _ = black_box(set.contains(&element(mix(at) % size)[..])));
    drop(set);
    let before = allocated();
    let mut set = BTreeSet::<Box<[u8]>>::new();
    timed("BTreeSet: insert", size, |at| _ = set.insert(element(at).into()));
    println!("  BTreeSet: {:.1} B/element", (allocated() - before) as f64 / size as f64);
    timed("BTreeSet: find", reads, |at| _ = black_box(set.contains(&element(mix(at) % size)[..])));
    let mut elements = set.iter();
    timed("BTreeSet: iterate", size, |_| _ = black_box(elements.next().unwrap()[3]));
}

#[test]
#[ignore = "prints measurements"]
fn print_costs() {
    let sizes = std::env::var("LUX_TREE_SIZES").unwrap_or("1000,100000,1000000,10000000".to_owned());
    let only_tree = std::env::var("LUX_TREE_ONLY").is_ok();
    for size in sizes.split(',').map(|size| size.parse().unwrap()) {
        println!("{size} elements of 20 bytes");
        measure_tree(size);
        if !only_tree {
            measure_others(size);
        }
    }
}
