//! Tests of sorted sets against a plain map, and of their bytes.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use proptest::prelude::*;

use super::score::order_key;
use super::*;
use crate::value::sample::tests::random_from;

const ALWAYS_LARGE: Limits = Limits { entries: 0, member_bytes: 64 };
const OFTEN_LARGE: Limits = Limits { entries: 6, member_bytes: 12 };

/// Members and their scores.
type Model = BTreeMap<Vec<u8>, f64>;

/// The elements of a model in order.
fn sorted(model: &Model) -> Vec<(Vec<u8>, f64)> {
    let mut elements: Vec<_> = model.iter().map(|(member, score)| (member.clone(), *score)).collect();
    elements.sort_by(|a, b| order_key(a.1).cmp(&order_key(b.1)).then_with(|| a.0.cmp(&b.0)));
    elements
}

fn collected<'a>(elements: impl Iterator<Item = Element<'a>>) -> Vec<(Vec<u8>, f64)> {
    elements.map(|element| (element.member.to_vec(), element.score)).collect()
}

fn encoded(value: &ZSetValue) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

/// Adds pairs, live.
fn add(value: &mut ZSetValue, pairs: &[(f64, &str)], limits: &Limits) -> Added {
    let mut edit = Vec::new();
    let pairs = pairs.iter().map(|(score, member)| (*score, member.as_bytes()));
    let added = value.plan_add(pairs, AddOptions::default(), limits, &mut edit).unwrap();
    value.apply(&edit).unwrap();
    added
}

fn of(pairs: &[(f64, &str)], limits: &Limits) -> ZSetValue {
    let mut value = ZSetValue::default();
    add(&mut value, pairs, limits);
    value
}

/// One random change.
#[derive(Clone, Debug)]
enum Step {
    Add(Vec<(f64, Vec<u8>)>, AddOptions),
    Remove(Vec<Vec<u8>>),
    RemoveRanks(u64, u64),
    RemoveScores(f64, f64),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-5i32..5).prop_map(f64::from),
        1 => proptest::num::f64::NORMAL,
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0), Just(0.1)],
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u8..30).prop_map(|index| format!("m{index}").into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => (0u8..4).prop_map(|byte| vec![byte; 300]),
    ]
}

fn options() -> impl Strategy<Value = AddOptions> {
    (0u8..6).prop_map(|choice| AddOptions {
        only_new: choice == 1,
        only_existing: choice == 2,
        only_greater: choice == 3,
        only_less: choice == 4,
        is_increment: false,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let pairs = proptest::collection::vec((score(), member()), 1..12);
    prop_oneof![
        8 => (pairs, options()).prop_map(|(pairs, options)| Step::Add(pairs, options)),
        2 => proptest::collection::vec((score(), member()), 1)
            .prop_map(|pairs| Step::Add(pairs, AddOptions { is_increment: true, ..Default::default() })),
        3 => proptest::collection::vec(member(), 1..12).prop_map(Step::Remove),
        1 => (0u64..40, 0u64..5).prop_map(|(from, count)| Step::RemoveRanks(from, from + count)),
        1 => (score(), score()).prop_map(|(min, max)| Step::RemoveScores(min, max)),
    ]
}

/// What ZADD of one pair does to a model.
fn model_add(model: &mut Model, member: &[u8], number: f64, options: AddOptions) -> Result<(), ()> {
    let old = model.get(member).copied();
    let new = match old {
        None if options.only_existing => return Ok(()),
        None => number,
        Some(_) if options.only_new => return Ok(()),
        Some(old) if options.is_increment => old + number,
        Some(old) if options.only_greater && number <= old || options.only_less && number >= old => {
            return Ok(());
        }
        Some(_) => number,
    };
    if new.is_nan() {
        return Err(());
    }
    model.insert(member.to_vec(), new + 0.0);
    Ok(())
}

/// Plans a step and does it to the model; the edit.
fn plan(value: &ZSetValue, model: &mut Model, step: &Step, limits: &Limits) -> Vec<u8> {
    let mut edit = Vec::new();
    match step {
        Step::Add(pairs, options) => {
            let before = model.clone();
            let planned = value.plan_add(
                pairs.iter().map(|(score, member)| (*score, &member[..])),
                *options,
                limits,
                &mut edit,
            );
            let done =
                pairs.iter().try_for_each(|(score, member)| model_add(model, member, *score, *options));
            assert_eq!(planned.is_err(), done.is_err());
            match planned {
                Ok(planned) => assert_eq!(planned.added, (model.len() - before.len()) as u64),
                Err(NotANumber) => assert!(edit.is_empty()),
            }
        }
        Step::Remove(members) => {
            let before = model.len();
            let removed = value.plan_remove(members.iter().map(|member| &member[..]), &mut edit);
            members.iter().for_each(|member| _ = model.remove(member));
            assert_eq!(removed, (before - model.len()) as u64);
        }
        Step::RemoveRanks(from, to) => remove_ranks(value, model, *from..*to, &mut edit),
        Step::RemoveScores(min, max) => {
            let range = ScoreRange { min: *min, max: *max, is_min_excluded: false, is_max_excluded: true };
            remove_ranks(value, model, value.score_ranks(&range), &mut edit);
        }
    }
    edit
}

fn remove_ranks(value: &ZSetValue, model: &mut Model, ranks: Range<u64>, edit: &mut Vec<u8>) {
    let gone = sorted(model);
    let gone = gone.get(ranks.start as usize..(ranks.end as usize).min(gone.len())).unwrap_or_default();
    assert_eq!(value.plan_remove_ranks(ranks, edit), gone.len() as u64);
    gone.iter().for_each(|(member, _)| _ = model.remove(member));
}

/// Everything a value answers, against a model.
fn check(value: &ZSetValue, model: &Model) {
    let expected = sorted(model);
    assert_eq!(value.len(), expected.len() as u64);
    assert_eq!(collected(value.iter()), expected);
    let mut reversed = collected(value.iter().rev());
    reversed.reverse();
    assert_eq!(reversed, expected);
    for (rank, (member, score)) in expected.iter().enumerate() {
        assert_eq!(value.score(member), Some(*score));
        assert_eq!(value.rank(member), Some((rank as u64, *score)));
        let from = rank as u64;
        assert_eq!(collected(value.range(from..from + 3)), expected[rank..(rank + 3).min(expected.len())]);
    }
    assert_eq!(value.score(b"nobody"), None);
    assert_eq!(value.rank(b"nobody"), None);
    for (min, max) in [(-1.0, 1.0), (0.0, 0.0), (f64::NEG_INFINITY, f64::INFINITY), (2.0, -2.0)] {
        for (is_min_excluded, is_max_excluded) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let range = ScoreRange { min, max, is_min_excluded, is_max_excluded };
            let found = collected(value.range(value.score_ranks(&range)));
            let inside = |score: f64| range.begins_before(score) && range.ends_after(score);
            let expected: Vec<_> = expected.iter().filter(|element| inside(element.1)).cloned().collect();
            assert_eq!(found, expected, "{range:?}");
        }
    }
    assert_eq!(scanned(value, 3), *model);
}

/// All that a scan in steps gives; nothing may come twice while nothing changes.
fn scanned(value: &ZSetValue, count: u64) -> Model {
    let (mut found, mut cursor) = (Model::new(), 0);
    loop {
        cursor = value.scan(cursor, count, &mut |element| {
            assert!(found.insert(element.member.to_vec(), element.score).is_none());
        });
        if cursor == 0 {
            return found;
        }
    }
}

/// Writes a value as nodes and loads it.
fn reloaded(value: &mut ZSetValue) -> ZSetValue {
    let mut nodes: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    value.all_nodes(&mut |key, body| _ = nodes.insert(key.to_vec(), body.to_vec()));
    loaded(value, &nodes)
}

fn loaded(value: &ZSetValue, nodes: &BTreeMap<Vec<u8>, Vec<u8>>) -> ZSetValue {
    let mut header = Vec::new();
    value.encode_header(&mut header);
    let mut loaded = ZSetValue::begin_load(&header).unwrap();
    nodes.iter().for_each(|(key, body)| loaded.push_node(key, body).unwrap());
    loaded.end_load().unwrap();
    loaded
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn edits_do_what_a_map_does(
        steps in proptest::collection::vec(step(), 1..40),
        limits in prop_oneof![Just(Limits::default()), Just(OFTEN_LARGE), Just(ALWAYS_LARGE)],
    ) {
        let (mut value, mut model) = (ZSetValue::default(), Model::new());
        for step in &steps {
            let edit = plan(&value, &mut model, step, &limits);
            let mut replayed = ZSetValue::decode(&encoded(&value)).unwrap();
            prop_assert_eq!(&replayed, &value);
            value.apply(&edit).unwrap();
            replayed.apply(&edit).unwrap();
            prop_assert_eq!(encoded(&replayed), encoded(&value));
            if let Form::Large(large) = &mut value.form {
                large.declared = large.len();
                large.check().unwrap();
            }
        }
        check(&value, &model);
        prop_assert!(encoded(&value).len() <= value.encoded_len() + 8);
        if value.encoding() == "skiplist" {
            let copy = reloaded(&mut value);
            prop_assert_eq!(&copy, &value);
            check(&copy, &model);
        }
    }

    #[test]
    fn dirty_nodes_are_enough(steps in proptest::collection::vec((0u32..4000, score(), any::<bool>()), 1..300)) {
        let limits = ALWAYS_LARGE;
        let mut value = ZSetValue::default();
        for index in 0..2000u32 {
            add(&mut value, &[(f64::from(index), &format!("member:{index:020}"))], &limits);
        }
        let mut rows = BTreeMap::new();
        value.all_nodes(&mut |key, body| _ = rows.insert(key.to_vec(), body.to_vec()));
        value.take_dirty_nodes(&mut |_, _| panic!("all are clean"));
        for (round, (index, score, is_removed)) in steps.into_iter().enumerate() {
            let name = format!("member:{index:020}");
            if is_removed {
                let mut edit = Vec::new();
                value.plan_remove([name.as_bytes()].into_iter(), &mut edit);
                value.apply(&edit).unwrap();
            } else {
                add(&mut value, &[(score, &name)], &limits);
            }
            if round % 7 == 0 {
                value.take_dirty_nodes(&mut |key, body| {
                    match body {
                        Some(body) => _ = rows.insert(key.to_vec(), body.to_vec()),
                        None => _ = rows.remove(key),
                    }
                });
                prop_assert_eq!(&loaded(&value, &rows), &value);
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_read(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        form in 0u8..4,
        at in any::<prop::sample::Index>(),
        byte: u8,
        limits in prop_oneof![Just(Limits::default()), Just(ALWAYS_LARGE)],
    ) {
        let mut row = bytes.clone();
        row.insert(0, form);
        let value = of(&[(1.0, "one"), (2.0, "two"), (2.5, "three"), (1e9, "four")], &limits);
        let mut changed = encoded(&value);
        let index = at.index(changed.len());
        changed[index] = byte;
        for row in [row, changed] {
            if let Ok(read) = ZSetValue::decode(&row) {
                let model = read.iter().map(|element| (element.member.to_vec(), element.score)).collect();
                check(&read, &model);
            }
        }
        let mut target = value.clone();
        let _ = target.apply(&bytes);
        let mut edit = vec![form + 1];
        edit.extend_from_slice(&bytes);
        let _ = target.apply(&edit);
        if let Ok(mut loading) = ZSetValue::begin_load(&[3, 2]) {
            let _ = loading.push_node(&[1, 0, 0, 0, 0, 0, 0, 0, byte], &bytes);
            let _ = loading.push_node(&[2, 0, 0, 0, 0, 0, 0, 0, byte], &bytes);
            let _ = loading.end_load();
        }
    }

    #[test]
    fn members_are_ranges_where_scores_agree(
        members in proptest::collection::btree_set(proptest::collection::vec(0u8..4, 0..4), 0..40),
        min in proptest::collection::vec(0u8..4, 0..4),
        max in proptest::collection::vec(0u8..4, 0..4),
        limits in prop_oneof![Just(Limits::default()), Just(ALWAYS_LARGE)],
    ) {
        let mut builder = Builder::new();
        members.iter().for_each(|member| builder.push(member, 0.0));
        let value = builder.finish(&limits);
        for min in [LexBound::Lowest, LexBound::Included(&min), LexBound::Excluded(&min), LexBound::Highest] {
            for max in [LexBound::Lowest, LexBound::Included(&max), LexBound::Excluded(&max), LexBound::Highest] {
                let range = LexRange { min, max };
                let found: Vec<_> = value.range(value.lex_ranks(&range)).map(|e| e.member.to_vec()).collect();
                let inside = |member: &&Vec<u8>| range.begins_before(member) && range.ends_after(member);
                prop_assert_eq!(found, members.iter().filter(inside).cloned().collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_value_grows_once() {
    let limits = Limits::default();
    let mut value = ZSetValue::default();
    for index in 0..128 {
        add(&mut value, &[(1.0, &format!("m{index}"))], &limits);
    }
    assert_eq!(value.encoding(), "listpack");
    add(&mut value, &[(2.0, "m7")], &limits);
    assert_eq!(value.encoding(), "listpack");
    add(&mut value, &[(1.0, "one more")], &limits);
    assert_eq!(value.encoding(), "skiplist");
    let mut edit = Vec::new();
    assert_eq!(value.plan_remove_ranks(1..129, &mut edit), 128);
    value.apply(&edit).unwrap();
    assert_eq!((value.len(), value.encoding()), (1, "skiplist"));
    assert_eq!(of(&[(1.0, &"x".repeat(64))], &limits).encoding(), "listpack");
    assert_eq!(of(&[(1.0, &"x".repeat(65))], &limits).encoding(), "skiplist");
    let wide = Limits { entries: u64::MAX, member_bytes: usize::MAX };
    let mut value = of(&[(1.0, &"x".repeat(PACKED_BYTES_MAX - 100))], &wide);
    assert_eq!(value.encoding(), "listpack");
    add(&mut value, &[(1.0, &"y".repeat(200))], &wide);
    assert_eq!(value.encoding(), "skiplist");
}

/// As in Redis, a member that a command names twice is added once and then changed.
#[test]
fn a_command_sees_its_own_changes() {
    let mut value = ZSetValue::default();
    let added = add(&mut value, &[(1.0, "a"), (2.0, "a"), (2.0, "a"), (3.0, "b")], &Limits::default());
    assert_eq!((added.added, added.changed, added.score), (2, 1, Some(3.0)));
    let mut edit = Vec::new();
    assert_eq!(value.plan_remove([&b"a"[..], b"a", b"c"].into_iter(), &mut edit), 1);
    value.apply(&edit).unwrap();
    assert_eq!(collected(value.iter()), [(b"b".to_vec(), 3.0)]);
}

#[test]
fn conditions_hold_members_back() {
    let value = of(&[(5.0, "a")], &Limits::default());
    let plan = |number: f64, member: &str, options: AddOptions| {
        let mut edit = Vec::new();
        let pairs = [(number, member.as_bytes())].into_iter();
        let added = value.plan_add(pairs, options, &Limits::default(), &mut edit);
        added.map(|added| (added.added, added.changed, added.score))
    };
    let base = AddOptions { is_increment: true, ..Default::default() };
    assert_eq!(plan(1.0, "a", base), Ok((0, 1, Some(6.0))));
    assert_eq!(plan(0.0, "a", base), Ok((0, 0, Some(5.0))));
    assert_eq!(plan(1.0, "b", base), Ok((1, 0, Some(1.0))));
    assert_eq!(plan(1.0, "a", AddOptions { only_new: true, ..base }), Ok((0, 0, None)));
    assert_eq!(plan(1.0, "b", AddOptions { only_existing: true, ..base }), Ok((0, 0, None)));
    assert_eq!(plan(-1.0, "a", AddOptions { only_greater: true, ..base }), Ok((0, 0, None)));
    assert_eq!(plan(-1.0, "a", AddOptions { only_less: true, ..base }), Ok((0, 1, Some(4.0))));
    assert_eq!(plan(5.0, "a", AddOptions { only_less: true, ..Default::default() }), Ok((0, 0, None)));
    let value = of(&[(f64::INFINITY, "a")], &Limits::default());
    let mut edit = b"before".to_vec();
    let pairs = [(f64::NEG_INFINITY, &b"a"[..])].into_iter();
    assert_eq!(value.plan_add(pairs, base, &Limits::default(), &mut edit), Err(NotANumber));
    assert_eq!(edit, b"before");
}

#[test]
fn edits_for_another_value_are_refused() {
    for limits in [Limits::default(), ALWAYS_LARGE] {
        let value = of(&[(1.0, "a"), (2.0, "b")], &limits);
        for operation in [
            Operation::Add { member: b"a", score: 1.0 },
            Operation::Change { member: b"a", from: 2.0, to: 3.0 },
            Operation::Change { member: b"c", from: 2.0, to: 3.0 },
            Operation::Remove { member: b"a", score: 2.0 },
            Operation::RemoveRanks { from: 1, count: 2 },
            Operation::RemoveRanks { from: u64::MAX, count: 2 },
        ] {
            let mut edit = Vec::new();
            operation.put(&mut edit);
            assert!(value.clone().apply(&edit).is_err(), "{operation:?}");
            edit.truncate(edit.len() - 1);
            assert!(value.clone().apply(&edit).is_err());
        }
        assert!(value.clone().apply(&[9]).is_err());
    }
    let mut grown = of(&[(1.0, "a")], &ALWAYS_LARGE);
    assert!(grown.apply(&[1]).is_err());
}

#[test]
fn nodes_that_do_not_belong_together_are_refused() {
    let mut value = of(&[(1.0, "a"), (2.0, "b")], &ALWAYS_LARGE);
    let mut other = of(&[(1.0, "a"), (3.0, "b")], &ALWAYS_LARGE);
    let nodes = |value: &mut ZSetValue| {
        let mut nodes = Vec::new();
        value.all_nodes(&mut |key, body| nodes.push((key.to_vec(), body.to_vec())));
        nodes
    };
    let (nodes, others) = (nodes(&mut value), nodes(&mut other));
    let load = |header: &[u8], nodes: &[&(Vec<u8>, Vec<u8>)]| {
        let mut loading = ZSetValue::begin_load(header)?;
        nodes.iter().try_for_each(|(key, body)| loading.push_node(key, body))?;
        loading.end_load().map(|()| loading)
    };
    let header = [3, 2];
    assert_eq!(load(&header, &[&nodes[0], &nodes[1]]), Ok(value));
    assert!(load(&header, &[&nodes[0], &others[1]]).is_err());
    assert!(load(&header, &[&nodes[0]]).is_err());
    assert!(load(&header, &[&nodes[1], &nodes[0]]).is_err());
    assert!(load(&[3, 3], &[&nodes[0], &nodes[1]]).is_err());
    assert!(load(&[3, 2, 0], &[]).is_err());
    assert!(load(&[1, 2], &[]).is_err());
}

/// A member whose score changes in every step is still found, however the scores go.
#[test]
fn a_scan_finds_what_moves() {
    let mut value = ZSetValue::default();
    for index in 0..500 {
        add(&mut value, &[(f64::from(index), &format!("m{index}"))], &ALWAYS_LARGE);
    }
    let (mut found, mut cursor, mut round) = (std::collections::BTreeSet::new(), 0, 0);
    loop {
        cursor = value.scan(cursor, 10, &mut |element| _ = found.insert(element.member.to_vec()));
        if cursor == 0 {
            break;
        }
        round += 1;
        for index in (0..500).step_by(3) {
            add(
                &mut value,
                &[(f64::from((index * 7 + round * 31) % 500), &format!("m{index}"))],
                &ALWAYS_LARGE,
            );
        }
        add(&mut value, &[(0.5, &format!("new{round}"))], &ALWAYS_LARGE);
    }
    assert!((0..500).all(|index| found.contains(format!("m{index}").as_bytes())));
    assert_eq!(value.scan(u64::MAX, 10, &mut |_| panic!("beyond all hashes")), 0);
}

#[test]
fn random_members_are_fair() {
    let names: Vec<String> = (0..100).map(|index| format!("m{index}")).collect();
    let pairs: Vec<(f64, &str)> = names.iter().map(|name| (1.0, &name[..])).collect();
    for limits in [Limits::default(), ALWAYS_LARGE] {
        let value = of(&pairs, &limits);
        let mut random = random_from(1);
        // Subsets small, large and in between, and single elements: each is drawn equally often.
        for count in [0, 1, 7, 40, 99] {
            let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
            let rounds = 100_000 / (count as u32 + 1);
            for round in 0..rounds {
                let mut drawn = 0;
                let mut put = |element: Element<'_>| {
                    drawn += 1;
                    *seen.entry(element.member.to_vec()).or_default() += 1;
                };
                match count {
                    0 => put(value.random_element(&mut random).unwrap()),
                    1 if round % 2 == 0 => value.random_elements(1, &mut random, &mut put),
                    _ => value.random_subset(count, &mut random, &mut put),
                }
                assert_eq!(drawn, count.max(1));
            }
            let expected = f64::from(rounds) * count.max(1) as f64 / 100.0;
            assert_eq!(seen.len(), 100);
            assert!(seen.values().all(|times| (f64::from(*times) - expected).abs() < expected.sqrt() * 6.0));
        }
        let mut all = 0;
        value.random_subset(1000, &mut random, &mut |_| all += 1);
        value.random_elements(1000, &mut random, &mut |_| all += 1);
        assert_eq!(all, 1100);
    }
    let empty = ZSetValue::default();
    assert_eq!(empty.random_element(&mut random_from(1)), None);
    empty.random_elements(5, &mut random_from(1), &mut |_| panic!("there is none"));
    empty.random_subset(5, &mut random_from(1), &mut |_| panic!("there is none"));
}

/// A set as it takes part in unions.
struct Set(&'static [&'static str]);

impl Input for Set {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        self.0.iter().any(|own| own.as_bytes() == member).then_some(1.0)
    }

    fn each(&self, see: &mut dyn FnMut(&[u8], f64) -> ControlFlow<()>) {
        let _ = self.0.iter().try_for_each(|member| see(member.as_bytes(), 1.0));
    }
}

fn text(builder: Builder) -> String {
    let value = builder.finish(&Limits::default());
    let parts: Vec<String> = value
        .iter()
        .map(|element| format!("{}={}", String::from_utf8_lossy(element.member), element.score))
        .collect();
    parts.join(" ")
}

#[test]
fn unions_intersections_and_differences() {
    let a = of(&[(1.0, "x"), (2.0, "y"), (3.0, "z")], &Limits::default());
    let b = of(&[(10.0, "y"), (-20.0, "z"), (30.0, "w"), (5.0, "v")], &ALWAYS_LARGE);
    let set = Set(&["z", "s"]);
    let inputs = |weights: [f64; 3]| {
        [(&a as &dyn Input, weights[0]), (&b, weights[1]), (&set, weights[2])]
            .map(|(input, weight)| WeightedInput { input: Some(input), weight })
    };
    let plain = inputs([1.0; 3]);
    assert_eq!(text(union(&plain, Aggregate::Sum)), "z=-16 s=1 x=1 v=5 y=12 w=30");
    assert_eq!(text(union(&plain, Aggregate::Min)), "z=-20 s=1 x=1 y=2 v=5 w=30");
    assert_eq!(text(union(&inputs([2.0, 1.0, 0.0]), Aggregate::Max)), "s=0 x=2 v=5 z=6 y=10 w=30");
    assert_eq!(text(intersection(&plain, Aggregate::Sum)), "z=-16");
    assert_eq!(text(intersection(&plain[..2], Aggregate::Max)), "z=3 y=10");
    assert_eq!(text(intersection(&[plain[0], plain[0]], Aggregate::Sum)), "x=2 y=4 z=6");
    assert_eq!(intersection_len(&plain[..2], 0), 2);
    assert_eq!(intersection_len(&plain[..2], 1), 1);
    let missing = WeightedInput { input: None, weight: 1.0 };
    assert_eq!(intersection_len(&[plain[0], missing], 0), 0);
    assert_eq!(text(union(&[missing, plain[2]], Aggregate::Sum)), "s=1 z=1");
    assert_eq!(text(difference(&[Some(&a), Some(&set), None])), "x=1 y=2");
    assert_eq!(text(difference(&[Some(&a), Some(&b), Some(&set)])), "x=1");
    assert_eq!(text(difference(&[Some(&a), Some(&a)])), "");
    assert_eq!(text(difference(&[None, Some(&a)])), "");
}

#[test]
fn what_is_no_number_becomes_zero() {
    let up = of(&[(f64::INFINITY, "a")], &Limits::default());
    let down = of(&[(f64::NEG_INFINITY, "a")], &Limits::default());
    let input = |value, weight| WeightedInput { input: Some(value as &dyn Input), weight };
    assert_eq!(text(union(&[input(&up, 1.0), input(&down, 1.0)], Aggregate::Sum)), "a=0");
    assert_eq!(text(union(&[input(&up, 0.0)], Aggregate::Sum)), "a=0");
    assert_eq!(text(intersection(&[input(&up, 0.0), input(&down, 1.0)], Aggregate::Max)), "a=0");
}

/// The bars that this encoding must keep: bytes beside the entry and the box of the key.
#[test]
fn elements_take_few_bytes() {
    let mut value = ZSetValue::default();
    for index in 0..10 {
        add(&mut value, &[(f64::from(index * 100), &format!("member:{index:03}"))], &Limits::default());
    }
    assert!(value.heap_bytes() <= 170, "{} bytes for 10 members", value.heap_bytes());
    assert!(size_of::<ZSetValue>() <= 24);
    let mut large = ZSetValue::default();
    let mut random = random_from(7);
    for index in 0..100_000u64 {
        let score = random(1 << 53) as f64 / 1024.0;
        add(&mut large, &[(score, &format!("member:{index:09}"))], &Limits::default());
    }
    let bytes = large.heap_bytes() as u64 / large.len();
    assert!(bytes <= 87, "{bytes} bytes per element");
}

/// Found by fuzzing: an edit that was not planned for this value put a member there twice, with two scores, and the
/// row of such a value is refused.
#[test]
fn no_edit_adds_a_member_that_is_there() {
    for grows in [false, true] {
        let mut value = ZSetValue::default();
        let mut edit = Vec::new();
        Operation::Add { member: b"m", score: 1.0 }.put(&mut edit);
        if grows {
            Operation::Grow.put(&mut edit);
        }
        value.apply(&edit).unwrap();
        edit.clear();
        Operation::Add { member: b"m", score: 2.0 }.put(&mut edit);
        assert!(value.apply(&edit).is_err());
        assert_eq!((value.len(), value.score(b"m")), (1, Some(1.0)));
    }
}
