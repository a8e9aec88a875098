//! Sets against a `BTreeSet`, edits against replays, rows and nodes against what was written, Redis's
//! encodings, set algebra against its definition, and bytes that nobody wrote.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::codec::DecodeError;
use crate::value::sample::tests::random_from;

/// Small enough that every test meets all forms.
const LIMITS: SetLimits = SetLimits { ints_max: 10, entries_max: 8, value_max: 12 };
/// Everything is large.
const NONE: SetLimits = SetLimits { ints_max: 0, entries_max: 0, value_max: 0 };

fn text(member: Member<'_>) -> Vec<u8> {
    member.text(&mut IntText::default()).to_vec()
}

fn texts(set: &SetValue) -> BTreeSet<Vec<u8>> {
    set.members().map(text).collect()
}

fn add(set: &mut SetValue, members: &[Vec<u8>], limits: &SetLimits) -> u64 {
    let mut edit = Vec::new();
    let added = set.plan_add(members.iter().map(|member| &member[..]), limits, &mut edit);
    set.apply(&edit).unwrap();
    added
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<Vec<u8>>),
    Remove(Vec<Vec<u8>>),
    Pop(u64),
    Reload,
    ReloadNodes,
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (-20i64..20).prop_map(|n| n.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        2 => "[a-c]{0,2}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 10..300),
        1 => Just(b"007".to_vec()),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let members = || prop::collection::vec(member(), 1..6);
    let step = prop_oneof![
        6 => members().prop_map(Step::Add),
        4 => members().prop_map(Step::Remove),
        1 => (0u64..12).prop_map(Step::Pop),
        1 => Just(Step::Reload),
        1 => Just(Step::ReloadNodes),
    ];
    prop::collection::vec(step, 1..60)
}

/// The same set, through its nodes if it is large.
fn reloaded(set: &mut SetValue) -> SetValue {
    if set.encoding() != "hashtable" {
        return set.clone();
    }
    let mut header = Vec::new();
    set.encode_header(&mut header);
    let mut nodes = BTreeMap::new();
    set.all_nodes(&mut |key, body| {
        nodes.insert(key.to_vec(), body.to_vec());
    });
    load(&header, &nodes).unwrap()
}

fn load(header: &[u8], nodes: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<SetValue, DecodeError> {
    let mut set = SetValue::begin_load(header)?;
    for (key, body) in nodes {
        set.push_node(key, body)?;
    }
    set.end_load()?;
    set.take_dirty_nodes(&mut |_, _| panic!("nothing is dirty after loading"));
    Ok(set)
}

proptest! {
    #[test]
    fn a_set_is_a_set(steps in steps(), seed: u64) {
        let (mut set, mut model, mut log) = (SetValue::default(), BTreeSet::new(), Vec::new());
        let mut random = random_from(seed);
        for step in steps {
            let mut edit = Vec::new();
            match step {
                Step::Add(members) => {
                    let added = set.plan_add(members.iter().map(|member| &member[..]), &LIMITS, &mut edit);
                    let before = model.len();
                    model.extend(members);
                    prop_assert_eq!(added as usize, model.len() - before);
                }
                Step::Remove(members) => {
                    let changes = set.plan_remove(members.iter().map(|member| &member[..]), &mut edit);
                    let before = model.len();
                    model.retain(|member| !members.contains(member));
                    prop_assert_eq!(changes.removed as usize, before - model.len());
                    prop_assert_eq!(changes.is_over, model.is_empty() && before > 0);
                }
                Step::Pop(count) => {
                    let mut popped = Vec::new();
                    let changes = set.plan_pop(count, &mut random, &mut edit, &mut |m| popped.push(text(m)));
                    prop_assert_eq!(popped.len() as u64, count.min(model.len() as u64));
                    prop_assert_eq!(changes.removed, popped.len() as u64);
                    prop_assert!(popped.iter().all(|member| model.remove(member)));
                    prop_assert_eq!(changes.is_over, model.is_empty() && changes.removed > 0);
                    if changes.is_over {
                        (set, log) = (SetValue::default(), Vec::new());
                    }
                }
                Step::Reload => {
                    let mut row = Vec::new();
                    set.encode(&mut row);
                    let again = SetValue::decode(&row).unwrap();
                    prop_assert_eq!(&again, &set);
                    set = again;
                }
                Step::ReloadNodes => set = reloaded(&mut set),
            }
            set.apply(&edit).unwrap();
            log.push(edit);
            prop_assert_eq!(&texts(&set), &model);
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.members().count(), model.len());
            prop_assert!(model.iter().all(|member| set.contains(member)));
            prop_assert!(!set.contains(b"never"));
        }
        let mut replayed = SetValue::default();
        for edit in &log {
            replayed.apply(edit).unwrap();
        }
        prop_assert_eq!(&replayed, &set);
        prop_assert_eq!(replayed.encoding(), set.encoding());
    }

    #[test]
    fn nodes_that_are_written_as_they_change_make_the_same_set(
        batches in prop::collection::vec(prop::collection::vec((0u32..4000, any::<bool>()), 1..400), 1..8)
    ) {
        let mut set = SetValue::default();
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        set.turn(FormTag::Large);
        for batch in batches {
            for (n, adds) in batch {
                let member = format!("member:{n}").into_bytes();
                let mut edit = Vec::new();
                if adds {
                    set.plan_add([&member[..]].into_iter(), &LIMITS, &mut edit);
                } else {
                    set.plan_remove([&member[..]].into_iter(), &mut edit);
                }
                set.apply(&edit).unwrap();
            }
            set.take_dirty_nodes(&mut |key, body| match body {
                Some(body) => drop(rows.insert(key.to_vec(), body.to_vec())),
                None => drop(rows.remove(key)),
            });
            let mut header = Vec::new();
            set.encode_header(&mut header);
            prop_assert_eq!(&load(&header, &rows).unwrap(), &set);
        }
    }

    #[test]
    fn algebra_is_what_it_says(
        sets in prop::collection::vec((prop::option::of(prop::collection::vec(member(), 0..40)), 0u8..3), 1..5),
        limit in 0u64..9,
    ) {
        let limits = [SetLimits::default(), LIMITS, NONE];
        let models: Vec<BTreeSet<Vec<u8>>> =
            sets.iter().map(|(members, _)| members.iter().flatten().cloned().collect()).collect();
        let values: Vec<Option<SetValue>> = sets
            .iter()
            .map(|(members, limit)| {
                members.as_ref().map(|members| {
                    let mut set = SetValue::default();
                    add(&mut set, members, &limits[usize::from(*limit)]);
                    set
                })
            })
            .collect();
        let values: Vec<Option<&SetValue>> = values.iter().map(Option::as_ref).collect();
        let collect = |run: &dyn Fn(&mut dyn FnMut(Member<'_>)) -> u64| {
            let mut found = Vec::new();
            let count = run(&mut |member| found.push(text(member)));
            assert_eq!(count, found.len() as u64);
            let unique: BTreeSet<Vec<u8>> = found.iter().cloned().collect();
            assert_eq!(unique.len(), found.len(), "each member once");
            unique
        };
        let fold = |join: fn(&BTreeSet<Vec<u8>>, &BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>>| {
            models[1..].iter().fold(models[0].clone(), |all, next| join(&all, next))
        };
        let common = fold(|a, b| a & b);
        prop_assert_eq!(collect(&|visit| intersection(&values, u64::MAX, visit)), common.clone());
        let some = collect(&|visit| intersection(&values, limit, visit));
        prop_assert_eq!(some.len() as u64, limit.min(common.len() as u64));
        prop_assert!(some.is_subset(&common));
        prop_assert_eq!(collect(&|visit| union(&values, visit)), fold(|a, b| a | b));
        prop_assert_eq!(collect(&|visit| difference(&values, visit)), fold(|a, b| a - b));
    }

    #[test]
    fn hostile_bytes_are_refused_or_make_a_sound_set(mut bytes: Vec<u8>, form in 1u8..4, edit: Vec<u8>) {
        bytes.insert(0, form);
        if let Ok(mut set) = SetValue::decode(&bytes) {
            let mut row = Vec::new();
            set.encode(&mut row);
            prop_assert_eq!(&SetValue::decode(&row).unwrap(), &set);
            prop_assert_eq!(set.len(), set.members().count() as u64);
            let _ = set.apply(&edit);
            let all: Vec<Vec<u8>> = set.members().map(text).collect();
            let mut edit = Vec::new();
            set.plan_remove(all.iter().map(|member| &member[..]), &mut edit);
            set.apply(&edit).unwrap();
            prop_assert!(set.is_vacant());
        }
        let _ = SetValue::default().apply(&edit);
        let _ = SetValue::begin_load(&bytes);
    }
}

#[test]
fn encodings_are_those_of_redis() {
    let limits = SetLimits { ints_max: 4, entries_max: 3, value_max: 5 };
    let encoding = |commands: &[&[&str]]| {
        let mut set = SetValue::default();
        for members in commands {
            add(&mut set, &words(members), &limits);
        }
        set.encoding()
    };
    assert_eq!(encoding(&[&["1", "2"]]), "intset");
    assert_eq!(encoding(&[&["1", "2", "3", "4"]]), "intset");
    assert_eq!(encoding(&[&["1", "2", "3", "4"], &["5"]]), "hashtable");
    assert_eq!(encoding(&[&["1", "2", "3", "4", "5"]]), "hashtable");
    assert_eq!(encoding(&[&["a"]]), "listpack");
    assert_eq!(encoding(&[&["1", "a"]]), "listpack");
    assert_eq!(encoding(&[&["1", "2"], &["a"]]), "listpack");
    assert_eq!(encoding(&[&["1", "2", "3"], &["a"]]), "hashtable");
    assert_eq!(encoding(&[&["123456"], &["a"]]), "hashtable", "an integer too long to be packed");
    assert_eq!(encoding(&[&["abcdef"]]), "hashtable");
    assert_eq!(encoding(&[&["a", "b", "c"]]), "listpack");
    assert_eq!(encoding(&[&["a", "b", "c"], &["d"]]), "hashtable");
    assert_eq!(encoding(&[&["a", "a", "a", "a"]]), "hashtable", "the command brings too many");
    assert_eq!(encoding(&[&["01"]]), "listpack");
}

#[test]
fn packed_members_keep_the_order_in_which_they_came() {
    let mut set = SetValue::default();
    add(&mut set, &words(&["3", "1", "b", "2", "a"]), &SetLimits::default());
    let members: Vec<Vec<u8>> = set.members().map(text).collect();
    assert_eq!(members, words(&["1", "3", "b", "2", "a"]));
}

#[test]
fn small_sets_are_small() {
    let mut set = SetValue::default();
    add(
        &mut set,
        &(0..10).map(|n: i32| n.to_string().into_bytes()).collect::<Vec<_>>(),
        &SetLimits::default(),
    );
    assert_eq!(set.heap_bytes(), 21);
    assert!(size_of::<SetValue>() <= 24);
}

#[test]
fn random_members_are_fair() {
    let members: Vec<Vec<u8>> = (0..10).map(|n: i32| n.to_string().into_bytes()).collect();
    let packed = SetLimits { ints_max: 0, ..SetLimits::default() };
    for limits in [SetLimits::default(), packed, NONE] {
        let mut set = SetValue::default();
        add(&mut set, &members, &limits);
        let mut random = random_from(5);
        let mut counts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for _ in 0..1500 {
            let mut note = |member: Member<'_>| *counts.entry(text(member)).or_default() += 1;
            note(set.random_member(&mut random).unwrap());
            assert_eq!(set.random_members(3, &mut random, &mut note), 3);
            set.random_members_repeated(3, &mut random, &mut note);
            set.plan_pop(1, &mut random, &mut Vec::new(), &mut note);
            set.plan_pop(2, &mut random, &mut Vec::new(), &mut note);
        }
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|count| (1350..1650).contains(count)), "{counts:?}");
    }
}

#[test]
fn a_scan_finds_what_is_there_throughout() {
    let mut set = SetValue::default();
    add(&mut set, &(0..500).map(|n| format!("stays{n}").into_bytes()).collect::<Vec<_>>(), &LIMITS);
    let (mut cursor, mut round, mut seen) = (0, 0, BTreeSet::new());
    loop {
        let mut handed_out = 0;
        cursor = set.scan(cursor, 10, &mut |member| {
            handed_out += 1;
            seen.insert(text(member));
        });
        assert!(handed_out <= 13, "COUNT bounds the work");
        if cursor == 0 {
            break;
        }
        add(
            &mut set,
            &(0..20).map(|n| format!("comes{round}:{n}").into_bytes()).collect::<Vec<_>>(),
            &LIMITS,
        );
        let gone: Vec<String> = (0..10).map(|n| format!("comes{round}:{n}")).collect();
        let mut edit = Vec::new();
        set.plan_remove(gone.iter().map(String::as_bytes), &mut edit);
        set.apply(&edit).unwrap();
        round += 1;
    }
    assert!(round > 30);
    assert_eq!(seen.iter().filter(|member| member.starts_with(b"stays")).count(), 500);
}

#[test]
fn built_sets_have_the_form_that_their_members_ask_for() {
    let build = |members: &[Member<'_>]| {
        let mut builder = SetBuilder::new(&LIMITS);
        for member in members {
            builder.add(*member);
        }
        builder.finish()
    };
    assert_eq!(build(&[Member::Int(3), Member::Bytes(b"1"), Member::Bytes(b"3")]).encoding(), "intset");
    assert_eq!(build(&[Member::Int(3), Member::Bytes(b"a")]).encoding(), "listpack");
    let many: Vec<Member<'_>> = (0..11).map(Member::Int).collect();
    assert_eq!((build(&many).encoding(), build(&many).len()), ("hashtable", 11));
}
