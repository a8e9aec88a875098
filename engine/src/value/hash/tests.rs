//! Hashes against a map, edits against replays, rows and nodes against what was written, and bytes that
//! nobody wrote.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::codec::{DecodeError, Reader};
use crate::value::sample::tests::random_from;
use crate::value::string::number::LongDouble;

/// Small enough that every test meets both forms.
const LIMITS: HashLimits = HashLimits { entries_max: 8, value_max: 12 };

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// A hash beside its model, its log and the time.
#[derive(Default)]
struct Rig {
    hash: HashValue,
    model: Model,
    log: Vec<Vec<u8>>,
    now_ms: u64,
}

fn name(n: u8) -> Vec<u8> {
    if n.is_multiple_of(29) { vec![n; 14 + usize::from(n)] } else { format!("f{}", n % 40).into_bytes() }
}

#[derive(Clone, Debug)]
enum Step {
    Set(Vec<(u8, u8)>),
    SetNew(u8),
    Remove(Vec<u8>),
    GetRemove(Vec<u8>),
    Increment(u8, i64),
    Expire(Vec<u8>, u64, u8),
    Persist(Vec<u8>),
    GetExpire(Vec<u8>, u64),
    SetExpire(Vec<(u8, u8)>, u8, u64),
    Reap(u64),
    Pass(u64),
    Reload,
    ReloadNodes,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let names = || prop::collection::vec(any::<u8>(), 1..5);
    let pairs = || prop::collection::vec(any::<(u8, u8)>(), 1..5);
    let step = prop_oneof![
        4 => pairs().prop_map(Step::Set),
        1 => any::<u8>().prop_map(Step::SetNew),
        2 => names().prop_map(Step::Remove),
        1 => names().prop_map(Step::GetRemove),
        1 => (any::<u8>(), -5i64..5).prop_map(|(n, by)| Step::Increment(n, by)),
        3 => (names(), 0u64..300, 0u8..6).prop_map(|(n, at, c)| Step::Expire(n, at, c)),
        1 => names().prop_map(Step::Persist),
        1 => (names(), 0u64..300).prop_map(|(n, at)| Step::GetExpire(n, at)),
        2 => (pairs(), 0u8..3, 0u64..300).prop_map(|(p, c, at)| Step::SetExpire(p, c, at)),
        1 => (0u64..4).prop_map(Step::Reap),
        2 => (0u64..60).prop_map(Step::Pass),
        1 => Just(Step::Reload),
        1 => Just(Step::ReloadNodes),
    ];
    prop::collection::vec(step, 1..60)
}

fn as_pairs(pairs: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    pairs.iter().map(|(name, value)| (&name[..], &value[..]))
}

fn texts(pairs: &[(u8, u8)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let value = |v: u8| if v == 7 { vec![b'v'; 300] } else { v.to_string().into_bytes() };
    pairs.iter().map(|(n, v)| (name(*n), value(*v))).collect()
}

fn names(names: &[u8]) -> Vec<Vec<u8>> {
    names.iter().map(|n| name(*n)).collect()
}

impl Rig {
    /// Logs and applies an edit.
    fn commit(&mut self, edit: Vec<u8>) {
        self.hash.apply(&edit).unwrap();
        self.log.push(edit);
    }

    fn live(&self, name: &[u8]) -> Option<(Vec<u8>, Option<u64>)> {
        self.model.get(name).filter(|(_, at)| at.is_none_or(|at| at > self.now_ms)).cloned()
    }

    /// Forgets what is not visible: it is the same as not being there.
    fn clean(&mut self) {
        let now_ms = self.now_ms;
        self.model.retain(|_, (_, at)| at.is_none_or(|at| at > now_ms));
    }

    fn live_len(&self) -> u64 {
        self.model.values().filter(|(_, at)| at.is_none_or(|at| at > self.now_ms)).count() as u64
    }

    fn step(&mut self, step: &Step) {
        let mut out = Vec::new();
        let now_ms = self.now_ms;
        self.clean();
        match step {
            Step::Set(pairs) => {
                let pairs = texts(pairs);
                let added = self.hash.plan_set(as_pairs(&pairs), &LIMITS, now_ms, &mut out);
                let before = self.live_len();
                for (name, value) in pairs {
                    self.model.insert(name, (value, None));
                }
                assert_eq!(added, self.live_len() - before);
            }
            Step::SetNew(n) => {
                let is_new = self.hash.plan_set_new(&name(*n), b"new", &LIMITS, now_ms, &mut out);
                assert_eq!(is_new, self.live(&name(*n)).is_none());
                if is_new {
                    self.model.insert(name(*n), (b"new".to_vec(), None));
                }
            }
            Step::Remove(given) => {
                let given = names(given);
                let changes = self.hash.plan_remove(given.iter().map(|n| &n[..]), now_ms, &mut out);
                let before = self.live_len();
                given.iter().for_each(|name| drop(self.model.remove(name)));
                assert_eq!(changes.removed, before - self.live_len());
                assert_eq!(changes.is_over, changes.removed > 0 && self.live_len() == 0);
            }
            Step::GetRemove(given) => {
                let given = names(given);
                let mut found = Vec::new();
                let visit = &mut |value: Option<&[u8]>| found.push(value.map(<[u8]>::to_vec));
                self.hash.plan_get_remove(given.iter().map(|n| &n[..]), now_ms, &mut out, visit);
                let expected: Vec<_> =
                    given.iter().map(|name| self.model.remove(name).map(|(value, _)| value)).collect();
                assert_eq!(found, expected);
            }
            Step::Increment(n, by) => {
                let old = self.live(&name(*n));
                let number = old.as_ref().map_or(Some(0), |(value, _)| {
                    std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok())
                });
                let sum = self.hash.plan_increment(&name(*n), *by, &LIMITS, now_ms, &mut out);
                assert_eq!(sum.ok(), number.map(|number| number + by));
                if let Ok(sum) = sum {
                    self.model.insert(name(*n), (sum.to_string().into_bytes(), old.and_then(|old| old.1)));
                }
            }
            _ => self.deadline_step(step, &mut out),
        }
        self.commit(out);
    }

    fn deadline_step(&mut self, step: &Step, out: &mut Vec<u8>) {
        let now_ms = self.now_ms;
        match step {
            Step::Expire(given, at, condition) => {
                let (given, at) = (names(given), at + 1);
                let condition = [
                    Condition::Always,
                    Condition::IfNone,
                    Condition::IfAny,
                    Condition::IfLater,
                    Condition::IfEarlier,
                    Condition::IfAnyAndEarlier,
                ][usize::from(*condition)];
                let mut codes = Vec::new();
                let visit = &mut |outcome: FieldExpiry| codes.push(outcome.code());
                let borrowed = given.iter().map(|n| &n[..]);
                self.hash.plan_expire(borrowed, ExpireAt(at), condition, now_ms, out, visit);
                let expected: Vec<i64> = given.iter().map(|name| self.expire(name, at, condition)).collect();
                assert_eq!(codes, expected);
            }
            Step::Persist(given) => {
                let given = names(given);
                let mut codes = Vec::new();
                let visit = &mut |outcome: FieldExpiry| codes.push(outcome.code());
                self.hash.plan_persist(given.iter().map(|n| &n[..]), now_ms, out, visit);
                let persist = |name: &Vec<u8>| match self.model.get_mut(name) {
                    None => -2,
                    Some((_, at)) => at.take().map_or(-1, |_| 1),
                };
                assert_eq!(codes, given.iter().map(persist).collect::<Vec<i64>>());
            }
            Step::GetExpire(given, at) => {
                let given = names(given);
                let lifetime = match at {
                    0..20 => Lifetime::Clear,
                    20..40 => Lifetime::Keep,
                    at => Lifetime::Until(ExpireAt(*at)),
                };
                let mut found = Vec::new();
                let visit = &mut |value: Option<&[u8]>| found.push(value.map(<[u8]>::to_vec));
                let borrowed = given.iter().map(|n| &n[..]);
                self.hash.plan_get_expire(borrowed, lifetime, now_ms, out, visit);
                let expected: Vec<_> = given.iter().map(|name| self.get_expire(name, lifetime)).collect();
                assert_eq!(found, expected);
            }
            Step::SetExpire(pairs, presence, at) => self.set_expire(&texts(pairs), *presence, *at, out),
            Step::Reap(max) => {
                let before = self.hash.len();
                let changes = self.hash.plan_reap(now_ms, *max, out);
                let dead = before - self.hash.live_len(now_ms);
                assert_eq!(changes.removed, dead.min(*max));
            }
            Step::Pass(ms) => self.now_ms += ms,
            Step::Reload => {
                let mut row = Vec::new();
                self.hash.encode(&mut row);
                let again = HashValue::decode(&row).unwrap();
                assert_eq!(again, self.hash);
                assert_eq!(again.encoding(), self.hash.encoding());
                self.hash = again;
            }
            _ => self.hash = reloaded(&mut self.hash),
        }
    }

    fn expire(&mut self, name: &[u8], at: u64, condition: Condition) -> i64 {
        let now_ms = self.now_ms;
        let Some((_, old)) = self.model.get_mut(name) else { return -2 };
        let allowed = match (condition, *old) {
            (Condition::Always, _) | (Condition::IfNone | Condition::IfEarlier, None) => true,
            (Condition::IfAny, old) => old.is_some(),
            (Condition::IfNone, Some(_)) | (Condition::IfLater | Condition::IfAnyAndEarlier, None) => false,
            (Condition::IfLater, Some(old)) => at > old,
            (Condition::IfEarlier | Condition::IfAnyAndEarlier, Some(old)) => at < old,
        };
        if !allowed {
            return 0;
        }
        *old = Some(at);
        if at <= now_ms {
            self.model.remove(name);
            return 2;
        }
        1
    }

    fn get_expire(&mut self, name: &[u8], lifetime: Lifetime) -> Option<Vec<u8>> {
        let (value, at) = self.model.get_mut(name)?;
        let value = value.clone();
        match lifetime {
            Lifetime::Keep => {}
            Lifetime::Clear => *at = None,
            Lifetime::Until(until) if until.is_past(self.now_ms) => drop(self.model.remove(name)),
            Lifetime::Until(until) => *at = Some(until.0),
        }
        Some(value)
    }

    fn set_expire(&mut self, pairs: &[(Vec<u8>, Vec<u8>)], presence: u8, at: u64, out: &mut Vec<u8>) {
        let now_ms = self.now_ms;
        let presence = [Presence::Any, Presence::None, Presence::All][usize::from(presence)];
        let lifetime = match at {
            0..20 => Lifetime::Clear,
            20..40 => Lifetime::Keep,
            at => Lifetime::Until(ExpireAt(at)),
        };
        let there = pairs.iter().filter(|(name, _)| self.model.contains_key(name)).count();
        let holds = match presence {
            Presence::Any => true,
            Presence::None => there == 0,
            Presence::All => there == pairs.len(),
        };
        let changes = self.hash.plan_set_expire(as_pairs(pairs), presence, lifetime, &LIMITS, now_ms, out);
        assert_eq!(changes.is_some(), holds);
        for (name, value) in pairs.iter().filter(|_| holds) {
            let old = self.model.get(name).and_then(|(_, at)| *at);
            match lifetime {
                Lifetime::Until(at) if at.is_past(now_ms) => drop(self.model.remove(name)),
                Lifetime::Until(at) => drop(self.model.insert(name.clone(), (value.clone(), Some(at.0)))),
                Lifetime::Clear => drop(self.model.insert(name.clone(), (value.clone(), None))),
                Lifetime::Keep => drop(self.model.insert(name.clone(), (value.clone(), old))),
            }
        }
    }

    /// Everything that can be asked, against the model.
    fn check(&mut self) {
        self.clean();
        let now_ms = self.now_ms;
        let found: Model = self
            .hash
            .fields(now_ms)
            .map(|field| (field.name.to_vec(), (field.value.to_vec(), field.deadline.map(|at| at.0))))
            .collect();
        assert_eq!(found, self.model);
        assert_eq!(self.hash.live_len(now_ms), self.model.len() as u64);
        assert_eq!(self.hash.fields(now_ms).count(), self.model.len());
        assert_eq!(self.hash.is_vacant(), self.hash.is_empty());
        let earliest = self.hash.fields(0).filter_map(|field| field.deadline).min();
        assert_eq!(self.hash.next_deadline(), earliest);
        for n in 0..=u8::MAX {
            let field = self.hash.get(&name(n), now_ms);
            let field = field.map(|field| (field.value.to_vec(), field.deadline.map(|at| at.0)));
            assert_eq!(field, self.model.get(&name(n)).cloned());
        }
        let mut cursor = 0;
        let mut seen = BTreeSet::new();
        loop {
            cursor = self.hash.scan(cursor, 2, now_ms, &mut |field| {
                seen.insert(field.name.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert!(seen.iter().eq(self.model.keys()));
    }
}

/// The same hash, through its nodes if it is large.
fn reloaded(hash: &mut HashValue) -> HashValue {
    if hash.encoding() != "hashtable" {
        return hash.clone();
    }
    let mut header = Vec::new();
    hash.encode_header(&mut header);
    let mut nodes = BTreeMap::new();
    hash.all_nodes(&mut |key, body| {
        nodes.insert(key.to_vec(), body.to_vec());
    });
    load(&header, &nodes).unwrap()
}

fn load(header: &[u8], nodes: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<HashValue, DecodeError> {
    let mut hash = HashValue::begin_load(header)?;
    for (key, body) in nodes {
        hash.push_node(key, body)?;
    }
    hash.end_load()?;
    hash.take_dirty_nodes(&mut |_, _| panic!("nothing is dirty after loading"));
    Ok(hash)
}

proptest! {
    #[test]
    fn a_hash_is_a_map_with_deadlines(steps in steps()) {
        let mut rig = Rig { now_ms: 1, ..Rig::default() };
        for step in &steps {
            rig.step(step);
            rig.check();
        }
        let mut replayed = HashValue::default();
        for edit in &rig.log {
            replayed.apply(edit).unwrap();
        }
        prop_assert_eq!(&replayed, &rig.hash);
        prop_assert_eq!(replayed.encoding(), rig.hash.encoding());
        prop_assert_eq!(replayed.next_deadline(), rig.hash.next_deadline());
    }

    #[test]
    fn nodes_that_are_written_as_they_change_make_the_same_hash(
        batches in prop::collection::vec(prop::collection::vec((0u32..4000, 0u8..6, 0u64..3), 1..400), 1..8)
    ) {
        let mut hash = HashValue::default();
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for batch in batches {
            let mut edit = Vec::new();
            HashEdit::Grow.put(&mut edit);
            hash.apply(&edit).unwrap();
            for (n, kind, at) in batch {
                let field = format!("field:{n}").into_bytes();
                let mut edit = Vec::new();
                if kind == 0 {
                    hash.plan_remove([&field[..]].into_iter(), 1, &mut edit);
                } else {
                    let value = vec![kind; usize::from(kind) * 9];
                    let deadline = (at > 0).then_some(ExpireAt(at * 1000));
                    HashEdit::Set(Field { name: &field, value: &value, deadline }).put(&mut edit);
                }
                hash.apply(&edit).unwrap();
            }
            hash.take_dirty_nodes(&mut |key, body| match body {
                Some(body) => drop(rows.insert(key.to_vec(), body.to_vec())),
                None => drop(rows.remove(key)),
            });
            let mut header = Vec::new();
            hash.encode_header(&mut header);
            let loaded = load(&header, &rows).unwrap();
            prop_assert_eq!(&loaded, &hash);
            prop_assert_eq!(loaded.next_deadline(), hash.next_deadline());
            prop_assert_eq!(loaded.live_len(1500), hash.live_len(1500));
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_make_a_sound_hash(mut bytes: Vec<u8>, form in 1u8..3, edit: Vec<u8>) {
        bytes.insert(0, form);
        if let Ok(mut hash) = HashValue::decode(&bytes) {
            let again = {
                let mut row = Vec::new();
                hash.encode(&mut row);
                HashValue::decode(&row).unwrap()
            };
            prop_assert_eq!(again, hash.clone());
            prop_assert_eq!(hash.len(), hash.fields(0).count() as u64);
            let _ = hash.apply(&edit);
        }
        let _ = HashValue::default().apply(&edit);
        let _ = HashValue::begin_load(&bytes);
        let mut reader = Reader::new(&edit);
        while !reader.is_empty() && HashEdit::read(&mut reader).is_ok() {}
    }

    #[test]
    fn damaged_rows_are_refused_or_make_a_sound_hash(
        fields in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..6), 0u64..3, 1..12),
        is_large: bool, at: prop::sample::Index, byte: u8,
    ) {
        let mut builder = HashBuilder::new(HashLimits { entries_max: if is_large { 0 } else { 99 }, value_max: 99 });
        for (name, at) in &fields {
            builder.add(Field { name, value: b"v", deadline: (*at > 0).then_some(ExpireAt(*at)) });
        }
        let mut row = Vec::new();
        builder.finish().encode(&mut row);
        let at = at.index(row.len());
        row[at] = byte;
        if let Ok(mut hash) = HashValue::decode(&row) {
            prop_assert_eq!(hash.len(), hash.fields(0).count() as u64);
            let names: Vec<Vec<u8>> = hash.fields(0).map(|field| field.name.to_vec()).collect();
            let mut edit = Vec::new();
            hash.plan_remove(names.iter().map(|name| &name[..]), 0, &mut edit);
            hash.apply(&edit).unwrap();
            prop_assert!(hash.is_vacant());
            prop_assert_eq!(hash.next_deadline(), None);
        }
    }
}

fn hash_of(pairs: &[(&str, &str)], limits: &HashLimits) -> HashValue {
    let mut hash = HashValue::default();
    for (name, value) in pairs {
        let mut edit = Vec::new();
        hash.plan_set(std::iter::once((name.as_bytes(), value.as_bytes())), limits, 1, &mut edit);
        hash.apply(&edit).unwrap();
    }
    hash
}

#[test]
fn packed_fields_keep_the_order_in_which_they_came() {
    let mut hash = hash_of(&[("b", "1"), ("a", "2"), ("c", "3"), ("b", "longer")], &HashLimits::default());
    let names: Vec<&[u8]> = hash.fields(0).map(|field| field.name).collect();
    assert_eq!(names, [b"b", b"a", b"c"]);
    let mut edit = Vec::new();
    hash.plan_expire([&b"a"[..]].into_iter(), ExpireAt(9), Condition::Always, 1, &mut edit, &mut |_| {});
    hash.apply(&edit).unwrap();
    assert_eq!(hash.encoding(), "listpackex");
    let names: Vec<&[u8]> = hash.fields(0).map(|field| field.name).collect();
    assert_eq!(names, [b"b", b"a", b"c"]);
}

#[test]
fn a_hash_gets_large_where_redis_says() {
    let limits = HashLimits { entries_max: 2, value_max: 5 };
    let encoding = |pairs: &[(&str, &str)]| hash_of(pairs, &limits).encoding();
    assert_eq!(encoding(&[("a", "1"), ("b", "2")]), "listpack");
    assert_eq!(encoding(&[("a", "1"), ("b", "2"), ("a", "3")]), "listpack");
    assert_eq!(encoding(&[("a", "1"), ("b", "2"), ("c", "3")]), "hashtable");
    assert_eq!(encoding(&[("a", "12345")]), "listpack");
    assert_eq!(encoding(&[("a", "123456")]), "hashtable");
    assert_eq!(encoding(&[("abcdef", "1")]), "hashtable");
    assert_eq!(encoding(&[("a", "123456"), ("a", "1")]), "hashtable", "and stays so");
}

#[test]
fn small_hashes_are_small() {
    let fields =
        [("field:1", "value:1"), ("field:2", "value:2"), ("field:3", "value:3"), ("field:4", "value:4")];
    let hash = hash_of(&fields, &HashLimits::default());
    assert_eq!(hash.heap_bytes(), 1 + 4 * (7 + 7 + 2));
    assert!(size_of::<HashValue>() <= 24);
}

#[test]
fn sums_are_redis_s_and_errors_too() {
    let hash = hash_of(&[("n", "10"), ("f", "10.5"), ("s", "abc"), ("max", "9223372036854775807")], &LIMITS);
    let mut out = Vec::new();
    let int = |name: &str, by: i64| hash.plan_increment(name.as_bytes(), by, &LIMITS, 1, &mut Vec::new());
    assert_eq!(int("n", -3), Ok(7));
    assert_eq!(int("missing", -3), Ok(-3));
    assert_eq!(int("s", 1), Err(HashError::NotAnInteger));
    assert_eq!(int("f", 1), Err(HashError::NotAnInteger));
    assert_eq!(int("max", 1), Err(HashError::Overflow));
    let mut float = |name: &str, by: &str| {
        let by = LongDouble::parse(by.as_bytes()).unwrap();
        hash.plan_increment_float(name.as_bytes(), by, &LIMITS, 1, &mut out)
            .map(|text| String::from_utf8(text).unwrap())
    };
    assert_eq!(float("f", "0.1").unwrap(), "10.6");
    assert_eq!(float("n", "2.5e2").unwrap(), "260");
    assert_eq!(float("s", "1"), Err(HashError::NotAFloat));
    assert_eq!(float("n", "inf"), Err(HashError::NotFinite));
}

/// A hash whose every third field is past its deadline at time 10.
fn half_dead(len: u32, limits: HashLimits) -> HashValue {
    let mut builder = HashBuilder::new(limits);
    for n in 0..len {
        let deadline = n.is_multiple_of(3).then_some(ExpireAt(5 + u64::from(n % 2)));
        assert!(builder.add(Field { name: n.to_string().as_bytes(), value: b"v", deadline }));
    }
    builder.finish()
}

#[test]
fn random_fields_are_fair_and_visible() {
    for limits in [HashLimits::default(), HashLimits { entries_max: 0, value_max: 0 }] {
        let hash = half_dead(15, limits);
        let mut random = random_from(3);
        let mut counts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for _ in 0..2000 {
            let mut add = |field: Field<'_>| *counts.entry(field.name.to_vec()).or_default() += 1;
            add(hash.random_field(10, &mut random).unwrap());
            assert_eq!(hash.random_fields(4, 10, &mut random, &mut add), 4);
            hash.random_fields_repeated(5, 10, &mut random, &mut add);
        }
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|count| (1800..2200).contains(count)), "{counts:?}");
        let mut count = 0;
        assert_eq!(hash.random_fields(99, 10, &mut random, &mut |_| count += 1), 10);
        assert_eq!(count, 10);
    }
    assert!(HashValue::default().random_field(0, &mut |_| 0).is_none());
}

#[test]
fn reaping_takes_what_is_due_and_no_more() {
    for limits in [HashLimits::default(), HashLimits { entries_max: 0, value_max: 0 }] {
        let mut hash = half_dead(30, limits);
        assert_eq!((hash.len(), hash.live_len(5), hash.live_len(6)), (30, 25, 20));
        assert_eq!(hash.next_deadline(), Some(ExpireAt(5)));
        let mut reap = |now_ms, max| {
            let mut edit = Vec::new();
            let changes = hash.plan_reap(now_ms, max, &mut edit);
            hash.apply(&edit).unwrap();
            (changes.removed, hash.len(), hash.next_deadline())
        };
        assert_eq!(reap(4, 9), (0, 30, Some(ExpireAt(5))));
        assert_eq!(reap(5, 3), (3, 27, Some(ExpireAt(5))));
        assert_eq!(reap(5, 3), (2, 25, Some(ExpireAt(6))));
        assert_eq!(reap(10, 99), (5, 20, None));
    }
}

/// Fields that stay while others come and go between the steps of a scan are all found.
#[test]
fn a_scan_finds_what_is_there_throughout() {
    let mut hash = hash_of(&[], &LIMITS);
    let set = |hash: &mut HashValue, name: String| {
        let mut edit = Vec::new();
        hash.plan_set(std::iter::once((name.as_bytes(), &b"v"[..])), &LIMITS, 1, &mut edit);
        hash.apply(&edit).unwrap();
    };
    (0..500).for_each(|n| set(&mut hash, format!("stays{n}")));
    let (mut cursor, mut round, mut seen) = (0, 0, BTreeSet::new());
    loop {
        let mut handed_out = 0;
        cursor = hash.scan(cursor, 10, 1, &mut |field| {
            handed_out += 1;
            seen.insert(field.name.to_vec());
        });
        assert!(handed_out <= 13, "COUNT bounds the work");
        if cursor == 0 {
            break;
        }
        (0..20).for_each(|n| set(&mut hash, format!("comes{round}:{n}")));
        let mut edit = Vec::new();
        let gone: Vec<String> = (0..10).map(|n| format!("comes{round}:{n}")).collect();
        hash.plan_remove(gone.iter().map(String::as_bytes), 1, &mut edit);
        hash.apply(&edit).unwrap();
        round += 1;
    }
    assert!(round > 30);
    assert_eq!(seen.iter().filter(|name| name.starts_with(b"stays")).count(), 500);
}
