//! A list against a `VecDeque`, by random commands: replies, elements, rows, nodes and replay agree.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::edit::ListEdit;
use super::*;
use crate::codec::Reader;

const SMALL: ListLimits = ListLimits { listpack_size: 6 };

#[derive(Debug, Clone)]
enum Op {
    Push(End, Vec<Vec<u8>>),
    Pop(End, u64),
    Rotate(End, End),
    Set(i64, Vec<u8>),
    Insert(Vec<u8>, bool, Vec<u8>),
    Remove(Vec<u8>, i64),
    Trim(i64, i64),
    Store,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Front), Just(End::Back)]
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(b'a'..b'd', 0..3),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (end(), prop::collection::vec(element(), 1..8)).prop_map(|(e, v)| Op::Push(e, v)),
        3 => (end(), 1u64..6).prop_map(|(e, n)| Op::Pop(e, n)),
        1 => (end(), end()).prop_map(|(a, b)| Op::Rotate(a, b)),
        1 => (-40i64..40, element()).prop_map(|(i, v)| Op::Set(i, v)),
        2 => (element(), any::<bool>(), element()).prop_map(|(p, a, v)| Op::Insert(p, a, v)),
        1 => (element(), -3i64..4).prop_map(|(v, n)| Op::Remove(v, n)),
        1 => (-60i64..60, -60i64..60).prop_map(|(a, b)| Op::Trim(a, b)),
        1 => Just(Op::Store),
    ]
}

/// A list as nodes on a disk.
#[derive(Default)]
struct Nodes(BTreeMap<Vec<u8>, Vec<u8>>);

impl Nodes {
    fn write(&mut self, list: &mut ListValue) -> Vec<u8> {
        list.take_dirty_nodes(&mut |key, body| {
            match body {
                Some(body) => self.0.insert(key.to_vec(), body.to_vec()),
                None => self.0.remove(key),
            };
        });
        let mut header = Vec::new();
        list.encode_header(&mut header);
        header
    }

    fn load(&self, header: &[u8]) -> ListValue {
        let mut list = ListValue::begin_load(header).unwrap();
        for (key, body) in &self.0 {
            list.push_node(key, body).unwrap();
        }
        list.end_load().unwrap();
        list
    }
}

fn place(index: i64, len: usize) -> Option<usize> {
    let at = if index < 0 { index + len as i64 } else { index };
    usize::try_from(at).ok().filter(|at| *at < len)
}

/// Does what the operation means to the model and plans it; the replies agree.
fn step(op: &Op, list: &ListValue, model: &mut VecDeque<Vec<u8>>, edit: &mut Vec<u8>) {
    match op {
        Op::Push(end, elements) => {
            let len = list.plan_push(*end, elements.iter().map(Vec::as_slice), SMALL, edit);
            for e in elements {
                match end {
                    End::Front => model.push_front(e.clone()),
                    End::Back => model.push_back(e.clone()),
                }
            }
            assert_eq!(len, model.len() as u64);
        }
        Op::Pop(end, count) => {
            let popped: Vec<_> = list.from_end(*end).take(*count as usize).map(<[u8]>::to_vec).collect();
            assert_eq!(list.plan_pop(*end, *count, SMALL, edit), popped.len() as u64);
            for e in popped {
                let expected = if *end == End::Front { model.pop_front() } else { model.pop_back() };
                assert_eq!(Some(e), expected);
            }
        }
        Op::Rotate(from, to) => {
            let moved = list.plan_rotate(*from, *to, edit).map(<[u8]>::to_vec);
            let e = if *from == End::Front { model.pop_front() } else { model.pop_back() };
            assert_eq!(moved, e);
            match (e, to) {
                (Some(e), End::Front) => model.push_front(e),
                (Some(e), End::Back) => model.push_back(e),
                (None, _) => {}
            }
        }
        Op::Set(index, e) => match (list.plan_set(*index, e, SMALL, edit), place(*index, model.len())) {
            (SetOutcome::Set, Some(at)) => model[at] = e.clone(),
            (SetOutcome::OutOfRange, None) => {}
            other => panic!("{other:?}"),
        },
        Op::Insert(pivot, is_after, e) => {
            let at = model.iter().position(|m| m == pivot);
            if let Some(at) = at {
                model.insert(at + usize::from(*is_after), e.clone());
            }
            let len = list.plan_insert(pivot, *is_after, e, SMALL, edit);
            assert_eq!(len, at.map(|_| model.len() as u64));
        }
        Op::Remove(e, count) => {
            let before = model.len();
            let most = if *count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
            let mut left = most;
            let mut keep = |m: &Vec<u8>| {
                let goes = m == e && left > 0;
                left -= usize::from(goes);
                !goes
            };
            if *count < 0 {
                let mut kept: VecDeque<_> = model.iter().rev().filter(|m| keep(m)).cloned().collect();
                kept.make_contiguous().reverse();
                *model = kept;
            } else {
                model.retain(keep);
            }
            assert_eq!(list.plan_remove(e, *count, SMALL, edit), (before - model.len()) as u64);
        }
        Op::Trim(start, stop) => {
            let kept: VecDeque<_> = list.range(*start, *stop).map(<[u8]>::to_vec).collect();
            let removed = list.plan_trim(*start, *stop, SMALL, edit);
            assert_eq!(removed, (model.len() - kept.len()) as u64);
            *model = kept;
        }
        Op::Store => {}
    }
}

/// The list holds what the model does, by every way of reading it.
fn check(list: &ListValue, model: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), model.len() as u64);
    assert!(list.iter().eq(model.iter().map(Vec::as_slice)));
    assert!(list.iter().rev().eq(model.iter().rev().map(Vec::as_slice)));
    for index in -(model.len() as i64) - 1..=model.len() as i64 {
        assert_eq!(list.get(index), place(index, model.len()).map(|at| &model[at][..]));
    }
    let mut row = Vec::new();
    list.encode(&mut row);
    assert!(list.encoded_len().abs_diff(row.len()) <= 16 + 2 * model.len());
    assert_eq!(&ListValue::decode(&row).unwrap(), list);
}

proptest! {
    #[test]
    fn a_list_behaves_as_its_model(ops in prop::collection::vec(op(), 1..60)) {
        let (mut list, mut model) = (ListValue::default(), VecDeque::new());
        let mut nodes = Nodes::default();
        for op in &ops {
            let mut base = Vec::new();
            list.encode(&mut base);
            let mut edit = Vec::new();
            step(op, &list, &mut model, &mut edit);
            list.apply(&edit).unwrap();
            check(&list, &model);
            let mut replayed = ListValue::decode(&base).unwrap();
            replayed.apply(&edit).unwrap();
            prop_assert_eq!(&replayed, &list);
            let mut operations = Reader::new(&edit);
            let mut again = Vec::new();
            while !operations.is_empty() {
                ListEdit::read(&mut operations).unwrap().put(&mut again);
            }
            prop_assert_eq!(&again, &edit);
            if matches!(op, Op::Store) {
                if nodes.0.is_empty() {
                    list.all_nodes(&mut |key, body| assert!(nodes.0.insert(key.to_vec(), body.to_vec()).is_none()));
                }
                let header = nodes.write(&mut list);
                let loaded = nodes.load(&header);
                prop_assert_eq!(&loaded, &list);
                list = if list.len() % 2 == 0 { loaded } else { list };
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_make_a_list(bytes: Vec<u8>, edit: Vec<u8>, kind in 1u8..3) {
        let mut row = vec![kind];
        row.extend_from_slice(&bytes);
        for bytes in [&bytes, &row] {
            if let Ok(mut list) = ListValue::decode(bytes) {
                let _ = list.apply(&edit);
                let _ = list.iter().count();
            }
            if let Ok(mut list) = ListValue::begin_load(bytes) {
                let _ = list.push_node(&[0; 8], &edit);
                let _ = list.end_load();
            }
        }
    }

    #[test]
    fn hostile_edits_are_refused_or_made(ops in prop::collection::vec((1u8..11, 0u8..9, 0u8..9), 0..30)) {
        let mut list = ListValue::default();
        list.apply(&[2, 1, b'x', 2, 1, b'y', 2, 1, b'z']).unwrap();
        for (tag, a, b) in ops {
            let _ = list.apply(&[tag, a, b, b, b, b, b, b, b, b]);
            prop_assert_eq!(list.iter().count() as u64, list.len());
        }
    }
}

fn list_of(texts: &[&str]) -> ListValue {
    let mut list = ListValue::default();
    let mut edit = Vec::new();
    list.plan_push(End::Back, texts.iter().map(|t| t.as_bytes()), ListLimits::default(), &mut edit);
    list.apply(&edit).unwrap();
    list
}

#[test]
fn positions_follow_lpos() {
    let list = list_of(&["a", "b", "c", "1", "2", "3", "c", "c"]);
    let at = |from, skip, max_len| list.positions(b"c", from, skip, max_len).collect::<Vec<_>>();
    assert_eq!(at(End::Front, 0, 0), [2, 6, 7]);
    assert_eq!(at(End::Front, 1, 0), [6, 7]);
    assert_eq!(at(End::Back, 0, 0), [7, 6, 2]);
    assert_eq!(at(End::Back, 1, 0), [6, 2]);
    assert_eq!(at(End::Back, 0, 1), [7]);
    assert_eq!(at(End::Front, 0, 2), []);
    assert_eq!(at(End::Front, 9, 0), []);
}

#[test]
fn ranges_follow_lrange() {
    let list = list_of(&["0", "1", "2", "3", "4"]);
    for (start, stop, expected) in [
        (0, -1, "01234"),
        (1, 3, "123"),
        (-2, -1, "34"),
        (-100, 1, "01"),
        (3, 100, "34"),
        (4, 2, ""),
        (5, 10, ""),
        (-3, -4, ""),
        (0, -6, ""),
        (i64::MIN, i64::MAX, "01234"),
        (i64::MAX, i64::MIN, ""),
    ] {
        assert_eq!(
            list.range(start, stop).collect::<Vec<_>>().concat(),
            expected.as_bytes(),
            "{start} {stop}"
        );
        assert_eq!(list.range(start, stop).len(), expected.len() as u64);
    }
}

/// As Redis 7.2 does: past the limit a list is a quicklist, under half of it a listpack again.
#[test]
fn the_encoding_follows_the_limit() {
    let limits = ListLimits { listpack_size: 4 };
    let mut list = ListValue::default();
    let mut run = |plan: &mut dyn FnMut(&ListValue, &mut Vec<u8>)| {
        let mut edit = Vec::new();
        plan(&list, &mut edit);
        list.apply(&edit).unwrap();
        list.encoding()
    };
    let push = |n: usize| {
        move |list: &ListValue, edit: &mut Vec<u8>| {
            list.plan_push(End::Back, std::iter::repeat_n(&b"x"[..], n), limits, edit);
        }
    };
    assert_eq!(run(&mut push(4)), "listpack");
    assert_eq!(run(&mut push(1)), "quicklist");
    assert_eq!(run(&mut |l, e| _ = l.plan_pop(End::Front, 2, limits, e)), "quicklist");
    assert_eq!(run(&mut |l, e| _ = l.plan_pop(End::Back, 1, limits, e)), "listpack");
    let big = vec![b'x'; 9000];
    let defaults = ListLimits::default();
    assert_eq!(run(&mut |l, e| _ = l.plan_set(0, &big, defaults, e)), "quicklist");
    assert_eq!(run(&mut |l, e| _ = l.plan_set(0, b"y", defaults, e)), "listpack");
    assert_eq!(run(&mut |l, e| _ = l.plan_insert(b"y", false, &big, defaults, e)), "quicklist");
    assert_eq!(run(&mut |l, e| _ = l.plan_remove(&big, 0, defaults, e)), "listpack");
}

#[test]
fn a_small_list_is_small() {
    let texts: Vec<String> = (0..10).map(|i| format!("value:{i}")).collect();
    let list = list_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(list.heap_bytes() <= 115, "{}", list.heap_bytes());
    assert!(size_of::<ListValue>() <= 24);
}
