//! A stream against plain maps, by random commands: replies, state, rows, nodes and replay agree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::codec::Reader;
use edit::StreamEdit;

const LIMITS: StreamLimits = StreamLimits { node_entries: 4, node_bytes: 0 };

type Bytes = Vec<u8>;
type Pairs = Vec<(Bytes, Bytes)>;

#[derive(Debug, Clone, Default)]
struct ModelGroup {
    last_id: StreamId,
    /// id -> (consumer, time, deliveries)
    pending: BTreeMap<StreamId, (Bytes, u64, u64)>,
    /// name -> (seen, active)
    consumers: BTreeMap<Bytes, (u64, Option<u64>)>,
}

#[derive(Debug, Clone, Default)]
struct Model {
    entries: BTreeMap<StreamId, Pairs>,
    last_id: StreamId,
    max_deleted: StreamId,
    added: u64,
    groups: BTreeMap<Bytes, ModelGroup>,
}

#[derive(Debug, Clone)]
enum Op {
    Add(NewId, Pairs, Option<Trim>),
    Trim(Trim),
    Delete(Vec<StreamId>),
    DeleteReferenced(Vec<StreamId>, References),
    AckDelete(Bytes, Vec<StreamId>, References),
    CreateGroup(Bytes, StreamId),
    SetGroup(Bytes, StreamId),
    DestroyGroup(Bytes),
    CreateConsumer(Bytes, Bytes),
    DeleteConsumer(Bytes, Bytes),
    Read(Bytes, Bytes, Option<StreamId>, u64, bool),
    Ack(Bytes, Vec<StreamId>),
    Claim(Bytes, Bytes, Vec<StreamId>, Claim),
    AutoClaim(Bytes, Bytes, AutoClaim),
    SetId(StreamId),
    Store,
}

fn id() -> impl Strategy<Value = StreamId> {
    (0u64..12, 0u64..3).prop_map(|(ms, seq)| StreamId::new(ms, seq))
}

fn ids() -> impl Strategy<Value = Vec<StreamId>> {
    prop::collection::vec(id(), 1..6)
}

fn name() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(b"a".to_vec()), Just(b"b".to_vec()), Just(b"cc".to_vec()), Just(Vec::new())]
}

fn references() -> impl Strategy<Value = References> {
    prop_oneof![Just(References::Keep), Just(References::Delete), Just(References::Acked)]
}

fn trim() -> impl Strategy<Value = Trim> {
    let to = prop_oneof![(0u64..12).prop_map(TrimTo::MaxLen), id().prop_map(TrimTo::MinId)];
    let approximate = prop_oneof![3 => Just(None), 1 => prop::option::of(0u64..9).prop_map(Some)];
    (to, approximate, references()).prop_map(|(to, approximate, references)| Trim {
        to,
        is_approximate: approximate.is_some(),
        limit: approximate.flatten(),
        references,
    })
}

fn pairs() -> impl Strategy<Value = Pairs> {
    let value = || prop::collection::vec(any::<u8>(), 0..6);
    prop_oneof![
        4 => value().prop_map(|v| vec![(b"field".to_vec(), v)]),
        2 => (value(), value()).prop_map(|(v, w)| vec![(b"x".to_vec(), v), (b"y".to_vec(), w)]),
        1 => prop::collection::vec((value(), value()), 1..4),
        1 => value().prop_map(|v| vec![(vec![b'n'; 2000], v)]),
    ]
}

fn new_id() -> impl Strategy<Value = NewId> {
    prop_oneof![
        4 => Just(NewId::Auto),
        1 => (0u64..14).prop_map(NewId::AutoSeq),
        1 => id().prop_map(NewId::Explicit),
    ]
}

fn claim() -> impl Strategy<Value = Claim> {
    let last_id = prop::option::of(id());
    (0u64..4, prop::option::of(0u64..30), prop::option::of(0u64..3), any::<(bool, bool)>(), last_id).prop_map(
        |(min_idle_ms, time_ms, retry_count, (is_forced, is_just_id), last_id)| Claim {
            min_idle_ms,
            time_ms,
            retry_count,
            is_forced,
            is_just_id,
            last_id,
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let auto = (0u64..4, id(), 1u64..4, any::<bool>()).prop_map(|(min_idle_ms, start, count, is_just_id)| {
        AutoClaim { min_idle_ms, start, count, is_just_id }
    });
    prop_oneof![
        8 => (new_id(), pairs(), prop::option::weighted(0.2, trim())).prop_map(|(i, p, t)| Op::Add(i, p, t)),
        1 => trim().prop_map(Op::Trim),
        1 => ids().prop_map(Op::Delete),
        1 => (ids(), references()).prop_map(|(i, r)| Op::DeleteReferenced(i, r)),
        1 => (name(), ids(), references()).prop_map(|(n, i, r)| Op::AckDelete(n, i, r)),
        2 => (name(), id()).prop_map(|(n, i)| Op::CreateGroup(n, i)),
        1 => (name(), id()).prop_map(|(n, i)| Op::SetGroup(n, i)),
        1 => name().prop_map(Op::DestroyGroup),
        1 => (name(), name()).prop_map(|(n, c)| Op::CreateConsumer(n, c)),
        1 => (name(), name()).prop_map(|(n, c)| Op::DeleteConsumer(n, c)),
        6 => (name(), name(), prop::option::weighted(0.3, id()), 0u64..5, prop::bool::weighted(0.2))
            .prop_map(|(g, c, f, n, a)| Op::Read(g, c, f, n, a)),
        2 => (name(), ids()).prop_map(|(g, i)| Op::Ack(g, i)),
        2 => (name(), name(), ids(), claim()).prop_map(|(g, c, i, o)| Op::Claim(g, c, i, o)),
        2 => (name(), name(), auto).prop_map(|(g, c, o)| Op::AutoClaim(g, c, o)),
        1 => id().prop_map(Op::SetId),
        2 => Just(Op::Store),
    ]
}

impl Model {
    fn references(&self, id: StreamId) -> bool {
        self.groups.values().any(|g| g.last_id < id || g.pending.contains_key(&id))
    }

    fn forget(&mut self, id: StreamId) {
        for group in self.groups.values_mut() {
            group.pending.remove(&id);
        }
    }

    fn delete(&mut self, id: StreamId) -> bool {
        let is_there = self.entries.remove(&id).is_some();
        if is_there {
            self.max_deleted = self.max_deleted.max(id);
        }
        is_there
    }

    fn trim(&mut self, trim: &Trim, len_before_add: u64) -> u64 {
        let len = self.entries.len();
        let wanted = match trim.to {
            TrimTo::MaxLen(max) => len.saturating_sub(max as usize),
            TrimTo::MinId(min) => self.entries.range(..min).count(),
        };
        let mut count = wanted;
        if trim.is_approximate {
            let limit = match trim.limit {
                None => 400,
                Some(0) => usize::MAX,
                Some(limit) => limit as usize,
            };
            if wanted < len || wanted > limit {
                // Nodes of four entries, counted from the first that ever came.
                let first = (self.added as usize).saturating_sub(len);
                let mut ends = (first + 1..=first + wanted.min(limit)).filter(|at| at % 4 == 0);
                count = ends.next_back().map_or(0, |end| end - first);
            }
        }
        let _ = len_before_add;
        let ids: Vec<StreamId> = self.entries.keys().copied().collect();
        let mut removed = 0;
        for id in ids {
            let is_below = match trim.to {
                TrimTo::MaxLen(_) => true,
                TrimTo::MinId(min) => id < min,
            };
            if removed == count || !is_below {
                break;
            }
            if trim.references == References::Acked && self.references(id) {
                continue;
            }
            if trim.references == References::Delete {
                self.forget(id);
            }
            self.entries.remove(&id);
            removed += 1;
        }
        removed as u64
    }

    fn see(&mut self, group: &Bytes, consumer: &Bytes, now: u64, is_active: bool) -> bool {
        let consumers = &mut self.groups.get_mut(group).unwrap().consumers;
        let is_new = !consumers.contains_key(consumer);
        let state = consumers.entry(consumer.clone()).or_default();
        state.0 = now;
        if is_active {
            state.1 = Some(now);
        }
        is_new
    }
}

/// Does what an operation means to the model, plans it, and compares what they answer.
fn step(op: &Op, stream: &StreamValue, model: &mut Model, now: u64, edit: &mut Vec<u8>) {
    match op {
        Op::Add(id, pairs, trim) => add(*id, pairs, trim.as_ref(), stream, model, now, edit),
        Op::Trim(trim) => {
            assert_eq!(stream.plan_trim(trim, LIMITS, edit), model.trim(trim, 0));
        }
        Op::Delete(ids) => {
            let deleted = ids.iter().filter(|id| model.delete(**id)).count();
            assert_eq!(stream.plan_delete(ids, edit), deleted as u64);
        }
        Op::DeleteReferenced(ids, references) => {
            let mut expected = Vec::new();
            for id in ids {
                expected.push(if !model.entries.contains_key(id) {
                    Deleted::Missing
                } else if *references == References::Acked && model.references(*id) {
                    Deleted::Referenced
                } else {
                    if *references == References::Delete {
                        model.forget(*id);
                    }
                    model.delete(*id);
                    Deleted::Deleted
                });
            }
            let got = stream.plan_delete_referenced(ids, *references, edit);
            for (at, id) in ids.iter().enumerate().filter(|(at, id)| !ids[..*at].contains(id)) {
                assert_eq!(got[at], expected[at], "{id}");
            }
        }
        Op::AckDelete(group, ids, references) => {
            let got = stream.plan_ack_delete(group, ids, *references, edit);
            let mut expected = Vec::new();
            for id in ids {
                let Some(state) = model.groups.get_mut(group) else { break };
                expected.push(if state.pending.remove(id).is_none() {
                    AckDeleted::Missing
                } else if *references == References::Acked && model.references(*id) {
                    AckDeleted::Referenced
                } else {
                    if *references == References::Delete {
                        model.forget(*id);
                    }
                    model.delete(*id);
                    AckDeleted::Deleted
                });
            }
            assert_eq!(got, model.groups.contains_key(group).then_some(expected));
        }
        Op::SetId(id) => {
            let top = model.entries.keys().next_back().copied().unwrap_or_default();
            let is_fine = *id >= model.max_deleted && *id >= top;
            assert_eq!(stream.plan_set_id(*id, None, None, edit).is_ok(), is_fine);
            if is_fine {
                model.last_id = *id;
            }
        }
        Op::Store => {}
        _ => step_group(op, stream, model, now, edit),
    }
}

fn add(
    wanted: NewId,
    pairs: &Pairs,
    trim: Option<&Trim>,
    stream: &StreamValue,
    model: &mut Model,
    now: u64,
    edit: &mut Vec<u8>,
) {
    let fields = pairs.iter().map(|(name, value)| (&name[..], &value[..]));
    let added = stream.plan_add(wanted, fields, trim, now, LIMITS, edit);
    let last = model.last_id;
    let id = match wanted {
        NewId::Auto => StreamId::new(now, 0).max(last.next().unwrap()),
        NewId::AutoSeq(ms) if ms == last.ms => last.next().unwrap(),
        NewId::AutoSeq(ms) => StreamId::new(ms, 0),
        NewId::Explicit(id) => id,
    };
    if id <= last {
        let zero = wanted == NewId::Explicit(StreamId::MIN);
        assert_eq!(added, Err(if zero { AddError::Zero } else { AddError::NotGreater }));
        assert!(edit.is_empty());
        return;
    }
    let len = model.entries.len() as u64;
    model.entries.insert(id, pairs.clone());
    (model.last_id, model.added) = (id, model.added + 1);
    let trimmed = trim.map_or(0, |trim| model.trim(trim, len));
    assert_eq!(added, Ok(Added { id, trimmed }));
}

fn step_group(op: &Op, stream: &StreamValue, model: &mut Model, now: u64, edit: &mut Vec<u8>) {
    match op {
        Op::CreateGroup(name, last_id) => {
            let is_new = !model.groups.contains_key(name);
            assert_eq!(stream.plan_create_group(name, *last_id, None, edit), is_new);
            let state = ModelGroup { last_id: *last_id, ..ModelGroup::default() };
            model.groups.entry(name.clone()).or_insert(state);
        }
        Op::SetGroup(name, last_id) => {
            let group = model.groups.get_mut(name);
            assert_eq!(stream.plan_set_group(name, *last_id, Some(3), edit), group.is_some());
            if let Some(group) = group {
                group.last_id = *last_id;
            }
        }
        Op::DestroyGroup(name) => {
            assert_eq!(stream.plan_destroy_group(name, edit), model.groups.remove(name).is_some());
        }
        Op::CreateConsumer(group, name) => {
            let state = model.groups.get_mut(group);
            let is_new = state.map(|state| match state.consumers.contains_key(name) {
                true => false,
                false => state.consumers.insert(name.clone(), (now, None)).is_none(),
            });
            assert_eq!(stream.plan_create_consumer(group, name, now, edit), is_new);
        }
        Op::DeleteConsumer(group, name) => {
            let expected = model.groups.get_mut(group).map(|state| {
                let before = state.pending.len();
                state.consumers.remove(name)?;
                state.pending.retain(|_, (owner, ..)| owner != name);
                Some((before - state.pending.len()) as u64)
            });
            assert_eq!(stream.plan_delete_consumer(group, name, edit), expected);
        }
        Op::Read(group, consumer, from, count, no_ack) => {
            read(group, consumer, *from, *count, *no_ack, stream, model, now, edit);
        }
        Op::Ack(group, ids) => {
            let expected = model.groups.get_mut(group);
            let expected = expected
                .map(|state| ids.iter().filter(|id| state.pending.remove(id).is_some()).count() as u64);
            assert_eq!(stream.plan_ack(group, ids, edit), expected);
        }
        Op::Claim(group, consumer, ids, options) => {
            claim_step(group, consumer, ids, options, stream, model, now, edit);
        }
        Op::AutoClaim(group, consumer, options) => {
            auto_claim(group, consumer, options, stream, model, now, edit);
        }
        _ => unreachable!("no group in {op:?}"),
    }
}

#[expect(clippy::too_many_arguments, reason = "one command with its options")]
fn read(
    group: &Bytes,
    consumer: &Bytes,
    from: Option<StreamId>,
    count: u64,
    no_ack: bool,
    stream: &StreamValue,
    model: &mut Model,
    now: u64,
    edit: &mut Vec<u8>,
) {
    let most = if count == 0 { usize::MAX } else { count as usize };
    let from_new = from.map_or(ReadFrom::New, ReadFrom::History);
    let got = stream.plan_read_group((group, consumer), from_new, count, no_ack, now, edit);
    let entries = model.entries.clone();
    let Some(state) = model.groups.get_mut(group) else {
        assert_eq!(got, None);
        return;
    };
    let got = got.unwrap();
    let mut ids = Vec::new();
    if let Some(from) = from {
        for (id, (owner, time, deliveries)) in &mut state.pending {
            if *id > from && owner == consumer && ids.len() < most {
                ids.push(*id);
                if entries.contains_key(id) {
                    (*time, *deliveries) = (now, *deliveries + 1);
                }
            }
        }
        let history = stream.history((group, consumer), got.behind).take(got.count as usize);
        let history: Vec<_> = history.map(|(id, entry)| (id, entry.is_some())).collect();
        assert_eq!(history, ids.iter().map(|id| (*id, entries.contains_key(id))).collect::<Vec<_>>());
    } else {
        ids = entries.keys().copied().filter(|id| *id > state.last_id).take(most).collect();
        let served = stream.behind(got.behind).limit(got.count);
        assert_eq!(served.map(|entry| entry.id).collect::<Vec<_>>(), ids);
        state.last_id = ids.last().copied().unwrap_or(state.last_id);
        for id in ids.iter().filter(|_| !no_ack) {
            state.pending.insert(*id, (consumer.clone(), now, 1));
        }
    }
    assert_eq!(got.count, ids.len() as u64);
    let is_active = from.is_none() && !no_ack && !ids.is_empty();
    assert_eq!(got.is_new_consumer, model.see(group, consumer, now, is_active));
}

#[expect(clippy::too_many_arguments, reason = "one command with its options")]
fn claim_step(
    group: &Bytes,
    consumer: &Bytes,
    ids: &[StreamId],
    options: &Claim,
    stream: &StreamValue,
    model: &mut Model,
    now: u64,
    edit: &mut Vec<u8>,
) {
    let got = stream.plan_claim((group, consumer), ids, options, now, edit);
    let Some(state) = model.groups.get_mut(group) else {
        assert_eq!(got, None);
        return;
    };
    state.last_id = state.last_id.max(options.last_id.unwrap_or_default());
    let mut claimed = Vec::new();
    for id in ids {
        if !model.entries.contains_key(id) {
            state.pending.remove(id);
            continue;
        }
        let deliveries = match state.pending.get(id) {
            Some((_, time, _)) if now - time < options.min_idle_ms => continue,
            Some((_, _, deliveries)) => *deliveries,
            None if options.is_forced => 1,
            None => continue,
        };
        let deliveries = options.retry_count.unwrap_or(deliveries + u64::from(!options.is_just_id));
        let time = options.time_ms.filter(|time| *time <= now).unwrap_or(now);
        state.pending.insert(*id, (consumer.clone(), time, deliveries));
        claimed.push(*id);
    }
    let is_active = !claimed.is_empty();
    let is_new_consumer = model.see(group, consumer, now, is_active);
    assert_eq!(got, Some(Claimed { ids: claimed, is_new_consumer }));
}

fn auto_claim(
    group: &Bytes,
    consumer: &Bytes,
    options: &AutoClaim,
    stream: &StreamValue,
    model: &mut Model,
    now: u64,
    edit: &mut Vec<u8>,
) {
    let got = stream.plan_auto_claim((group, consumer), options, now, edit);
    let Some(state) = model.groups.get_mut(group) else {
        assert_eq!(got, None);
        return;
    };
    let (mut ids, mut deleted, mut next) = (Vec::new(), Vec::new(), StreamId::MIN);
    let waiting: Vec<StreamId> = state.pending.range(options.start..).map(|(id, _)| *id).collect();
    for (looked, id) in waiting.into_iter().enumerate() {
        if (ids.len() + deleted.len()) as u64 == options.count || looked as u64 == options.count * 10 {
            next = id;
            break;
        }
        let (owner, time, deliveries) = state.pending.get_mut(&id).unwrap();
        if !model.entries.contains_key(&id) {
            state.pending.remove(&id);
            deleted.push(id);
        } else if now - *time >= options.min_idle_ms {
            (*owner, *time) = (consumer.clone(), now);
            *deliveries += u64::from(!options.is_just_id);
            ids.push(id);
        }
    }
    let is_active = !ids.is_empty();
    let is_new_consumer = model.see(group, consumer, now, is_active);
    assert_eq!(got, Some(AutoClaimed { next, ids, deleted, is_new_consumer }));
}

/// The stream holds what the model does, by every way of reading it.
fn check(stream: &StreamValue, model: &Model) {
    assert_eq!(stream.len(), model.entries.len() as u64);
    let state = (stream.last_id(), stream.max_deleted_id(), stream.entries_added());
    assert_eq!(state, (model.last_id, model.max_deleted, model.added));
    assert_eq!(stream.top_id(), model.entries.keys().next_back().copied());
    let all: Vec<(StreamId, Pairs)> = model.entries.clone().into_iter().collect();
    let read = |entries: Entries<'_>| -> Vec<(StreamId, Pairs)> {
        let pairs = |e: &Entry<'_>| e.fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        entries.map(|e| (e.id, pairs(&e))).collect()
    };
    assert_eq!(read(stream.range(StreamId::MIN, StreamId::MAX)), all);
    let (start, end) = (StreamId::new(3, 1), StreamId::new(9, 0));
    let mut part: Vec<_> = model.entries.range(start..=end).map(|(i, p)| (*i, p.clone())).collect();
    assert_eq!(stream.range(start, end).len(), part.len() as u64);
    assert_eq!(read(stream.range(start, end)), part);
    part.reverse();
    assert_eq!(read(stream.range_back(start, end)), part);
    assert_eq!(stream.range(end, start).count(), 0);
    assert_eq!(stream.get(end).is_some(), model.entries.contains_key(&end));
    assert!(stream.groups().map(|g| g.name().to_vec()).eq(model.groups.keys().cloned()));
    assert_eq!(stream.groups_len(), model.groups.len() as u64);
    for (name, expected) in &model.groups {
        check_group(&stream.group(name).unwrap(), expected);
    }
}

fn check_group(group: &GroupView<'_>, expected: &ModelGroup) {
    let every = (StreamId::MIN, StreamId::MAX);
    assert_eq!((group.last_id(), group.pending_len()), (expected.last_id, expected.pending.len() as u64));
    let pending = |iter: &mut dyn Iterator<Item = PendingView<'_>>| -> Vec<_> {
        iter.map(|p| (p.id, (p.consumer.to_vec(), p.time_ms, p.deliveries))).collect()
    };
    let all: Vec<_> = expected.pending.clone().into_iter().collect();
    assert_eq!(pending(&mut group.pending(every.0, every.1)), all);
    let bounds = all.first().map(|first| (first.0, all[all.len() - 1].0));
    assert_eq!(group.pending_bounds(), bounds);
    assert_eq!(group.consumers_len(), expected.consumers.len() as u64);
    assert!(group.consumers().map(|c| c.name().to_vec()).eq(expected.consumers.keys().cloned()));
    for (name, (seen, active)) in &expected.consumers {
        let consumer = group.consumer(name).unwrap();
        assert_eq!((consumer.seen_ms(), consumer.active_ms()), (*seen, *active));
        let held: Vec<_> = all.iter().filter(|(_, (owner, ..))| owner == name).cloned().collect();
        assert_eq!(consumer.pending_len(), held.len() as u64);
        assert_eq!(pending(&mut consumer.pending(every.0, every.1)), held);
    }
}

/// A stream as nodes on a disk.
#[derive(Default)]
struct Nodes(BTreeMap<Vec<u8>, Vec<u8>>);

impl Nodes {
    fn write_and_load(&mut self, stream: &mut StreamValue) -> StreamValue {
        stream.take_dirty_nodes(&mut |key, body| {
            match body {
                Some(body) => self.0.insert(key.to_vec(), body.to_vec()),
                None => self.0.remove(key),
            };
        });
        let mut header = Vec::new();
        stream.encode_header(&mut header);
        let mut loaded = StreamValue::begin_load(&header).unwrap();
        for (key, body) in &self.0 {
            loaded.push_node(key, body).unwrap();
        }
        loaded.end_load().unwrap();
        loaded
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_stream_behaves_as_its_model(ops in prop::collection::vec((op(), 0u64..2), 1..70)) {
        let (mut stream, mut model) = (StreamValue::default(), Model::default());
        let (mut nodes, mut now) = (Nodes::default(), 1);
        for (op, passed) in &ops {
            now += passed;
            let mut base = Vec::new();
            stream.encode(&mut base);
            let mut edit = Vec::new();
            step(op, &stream, &mut model, now, &mut edit);
            stream.apply(&edit).unwrap();
            check(&stream, &model);
            let mut replayed = StreamValue::decode(&base).unwrap();
            replayed.apply(&edit).unwrap();
            prop_assert_eq!(&replayed, &stream);
            check(&replayed, &model);
            let (mut operations, mut again) = (Reader::new(&edit), Vec::new());
            while !operations.is_empty() {
                StreamEdit::read(&mut operations).unwrap().put(&mut again);
            }
            prop_assert_eq!(&again, &edit);
            if matches!(op, Op::Store) {
                if now % 7 == 0 {
                    nodes.0.clear();
                    stream.all_nodes(&mut |key, body| assert!(nodes.0.insert(key.to_vec(), body.to_vec()).is_none()));
                }
                let loaded = nodes.write_and_load(&mut stream);
                prop_assert_eq!(&loaded, &stream);
                check(&loaded, &model);
                stream = if now % 2 == 0 { loaded } else { stream };
            }
        }
    }

    #[test]
    fn hostile_rows_are_refused_or_make_a_stream(
        ops in prop::collection::vec(op(), 1..30),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        edit in prop::collection::vec(0u8..16, 0..40),
    ) {
        let (mut stream, mut model) = (StreamValue::default(), Model::default());
        for op in &ops {
            let mut edit = Vec::new();
            step(op, &stream, &mut model, 5, &mut edit);
            stream.apply(&edit).unwrap();
        }
        let mut row = Vec::new();
        stream.encode(&mut row);
        for (at, byte) in flips {
            let at = at.index(row.len());
            row[at] = byte;
            let _ = StreamValue::decode(&row[..at]);
        }
        for bytes in [&row, &edit] {
            if let Ok(mut stream) = StreamValue::decode(bytes) {
                let _ = stream.apply(&edit);
                let _ = stream.range(StreamId::MIN, StreamId::MAX).map(|e| e.fields().count()).sum::<usize>();
                let mut out = Vec::new();
                stream.encode(&mut out);
                prop_assert!(StreamValue::decode(&out).is_ok());
            }
            if let Ok(mut loading) = StreamValue::begin_load(bytes) {
                let _ = loading.push_node(&[1, 0, 0, 0, 0, 0, 0, 0, 1], &edit);
                let _ = loading.push_node(&[2, 0, 0, 0, 1], &edit);
                let _ = loading.push_node(&[3, 0, 0, 0, 0, 0, 0, 0, 1], &edit);
                let _ = loading.end_load();
            }
        }
        let _ = stream.apply(&edit);
    }
}

fn added(ids: std::ops::RangeInclusive<u64>) -> StreamValue {
    let mut stream = StreamValue::default();
    for ms in ids {
        let mut edit = Vec::new();
        let id = NewId::Explicit(StreamId::new(ms, 0));
        let fields = [(&b"item"[..], &b"value"[..])].into_iter();
        stream.plan_add(id, fields, None, 0, StreamLimits::default(), &mut edit).unwrap();
        stream.apply(&edit).unwrap();
    }
    stream
}

fn run<T>(stream: &mut StreamValue, plan: impl FnOnce(&StreamValue, &mut Vec<u8>) -> T) -> T {
    let mut edit = Vec::new();
    let answer = plan(stream, &mut edit);
    stream.apply(&edit).unwrap();
    answer
}

/// Valkey's tests "XADD with MAXLEN option and the '~' argument" and "XADD with LIMIT consecutive calls".
#[test]
fn approximate_trimming_leaves_what_redis_leaves() {
    let trim = |max, limit| Trim {
        to: TrimTo::MaxLen(max),
        is_approximate: true,
        limit,
        references: References::Keep,
    };
    let fields = || [(&b"item"[..], &b"x"[..])].into_iter();
    let mut stream = StreamValue::default();
    for ms in 1..=1000 {
        let id = NewId::Explicit(StreamId::new(ms, 0));
        run(&mut stream, |s, e| {
            s.plan_add(id, fields(), Some(&trim(555, None)), 0, StreamLimits::default(), e)
        })
        .unwrap();
    }
    assert_eq!(stream.len(), 600);
    let limits = StreamLimits { node_entries: 10, node_bytes: 4096 };
    let mut stream = added(1..=100);
    for expected in [71, 62, 63] {
        run(&mut stream, |s, e| s.plan_add(NewId::Auto, fields(), Some(&trim(55, Some(30))), 0, limits, e))
            .unwrap();
        assert_eq!(stream.len(), expected);
    }
}

/// Nodes begin where they began when the entries came, whatever an exact trim took since.
#[test]
fn approximate_trimming_knows_where_nodes_begin() {
    let mut stream = added(1..=1000);
    for (is_approximate, max, expected) in
        [(false, 666, 666), (false, 555, 555), (true, 444, 500), (true, 400, 400), (true, 399, 400)]
    {
        let to = TrimTo::MaxLen(max);
        let trim = Trim { to, is_approximate, limit: None, references: References::Keep };
        run(&mut stream, |s, e| s.plan_trim(&trim, StreamLimits::default(), e));
        assert_eq!(stream.len(), expected);
    }
}

/// The counters that Valkey 9.1 answers in the same situations.
#[test]
fn lag_follows_valkey() {
    let lag = |stream: &StreamValue| {
        let group = stream.group(b"g").unwrap();
        (group.entries_read(), group.lag())
    };
    let read = |stream: &mut StreamValue| {
        run(stream, |s, e| s.plan_read_group((b"g", b"c"), ReadFrom::New, 1, false, 0, e)).unwrap();
    };
    let mut stream = added(1..=5);
    run(&mut stream, |s, e| s.plan_create_group(b"g", StreamId::MIN, None, e));
    assert_eq!(lag(&stream), (None, Some(5)));
    read(&mut stream);
    assert_eq!(lag(&stream), (Some(1), Some(4)));
    let trim =
        Trim { to: TrimTo::MaxLen(1), is_approximate: false, limit: None, references: References::Keep };
    run(&mut stream, |s, e| s.plan_trim(&trim, LIMITS, e));
    read(&mut stream);
    assert_eq!(lag(&stream), (Some(5), Some(0)));
    let mut stream = added(1..=5);
    run(&mut stream, |s, e| s.plan_create_group(b"g", StreamId::new(2, 0), None, e));
    assert_eq!(lag(&stream), (None, None));
    run(&mut stream, |s, e| s.plan_delete(&[StreamId::new(3, 0)], e));
    run(&mut stream, |s, e| s.plan_trim(&Trim { to: TrimTo::MinId(StreamId::new(4, 0)), ..trim }, LIMITS, e));
    assert_eq!(lag(&stream), (None, None));
    read(&mut stream);
    assert_eq!(lag(&stream), (Some(4), Some(1)));
    run(&mut stream, |s, e| s.plan_set_group(b"g", StreamId::MIN, Some(9), e));
    assert_eq!(lag(&stream), (Some(9), Some(4)).min((Some(9), lag(&stream).1)));
}

#[test]
fn ids_run_out() {
    let mut stream = StreamValue::default();
    let fields = || [(&b"f"[..], &b"v"[..])].into_iter();
    let mut add =
        |id| run(&mut stream, |s, e| s.plan_add(id, fields(), None, 5, LIMITS, e).map(|added| added.id));
    assert_eq!(add(NewId::Explicit(StreamId::MIN)), Err(AddError::Zero));
    assert_eq!(add(NewId::AutoSeq(0)), Ok(StreamId::new(0, 1)));
    let top = StreamId::new(7, u64::MAX);
    assert_eq!(add(NewId::Explicit(top)), Ok(top));
    assert_eq!(add(NewId::AutoSeq(7)), Err(AddError::NotGreater));
    assert_eq!(add(NewId::Auto), Ok(StreamId::new(8, 0)));
    assert_eq!(add(NewId::Explicit(StreamId::MAX)), Ok(StreamId::MAX));
    assert_eq!(add(NewId::Auto), Err(AddError::Exhausted));
    assert_eq!(add(NewId::Explicit(top)), Err(AddError::Exhausted));
}

#[test]
fn shared_field_names_are_stored_once() {
    let stream = added(1..=1000);
    assert!(stream.stream.shapes.len() == 1);
    assert!(stream.heap_bytes() < 1000 * 16, "{}", stream.heap_bytes());
    let names: BTreeSet<&[u8]> =
        stream.range(StreamId::MIN, StreamId::MAX).flat_map(|e| e.fields()).map(|(name, _)| name).collect();
    assert_eq!(names, BTreeSet::from([&b"item"[..]]));
}

/// A destroyed group's number is used again: its old node is overwritten, nothing pending is left.
#[test]
fn numbers_of_destroyed_groups_are_used_again() {
    let (mut stream, mut nodes) = (added(1..=9), Nodes::default());
    for name in [&b"a"[..], b"b", b"c"] {
        run(&mut stream, |s, e| s.plan_create_group(name, StreamId::MIN, None, e));
        run(&mut stream, |s, e| s.plan_read_group((name, b"x"), ReadFrom::New, 0, false, 1, e));
    }
    nodes.write_and_load(&mut stream);
    assert!(run(&mut stream, |s, e| s.plan_destroy_group(b"b", e)));
    assert!(run(&mut stream, |s, e| s.plan_create_group(b"d", StreamId::MIN, None, e)));
    let loaded = nodes.write_and_load(&mut stream);
    assert_eq!(
        (loaded.group(b"d").unwrap().pending_len(), loaded.group(b"c").unwrap().pending_len()),
        (0, 9)
    );
    assert_eq!(nodes.0.keys().filter(|key| key[0] == 2).count(), 3);
    assert!(run(&mut stream, |s, e| s.plan_destroy_group(b"a", e)));
    nodes.write_and_load(&mut stream);
    assert_eq!(nodes.0.keys().filter(|key| key[0] == 2).count(), 2);
}

/// A group with its consumers was one node, which each read of each consumer had written anew: megabytes where
/// many connections come and go.
#[test]
fn a_consumer_is_a_node_of_its_own() {
    let (mut stream, mut nodes) = (added(1..=2000), Nodes::default());
    run(&mut stream, |s, e| s.plan_create_group(b"g", StreamId::MIN, None, e));
    for n in 0..500u32 {
        let name = format!("consumer {n}").into_bytes();
        run(&mut stream, |s, e| s.plan_read_group((b"g", &name), ReadFrom::New, 1, false, 1, e));
    }
    let count = |nodes: &Nodes| nodes.0.keys().filter(|key| key[0] == 4).count();
    assert_eq!(nodes.write_and_load(&mut stream), stream);
    assert_eq!(count(&nodes), 500);
    run(&mut stream, |s, e| s.plan_read_group((b"g", b"consumer 7"), ReadFrom::New, 1, false, 2, e));
    let (mut written, mut longest) = (Vec::new(), 0);
    stream.take_dirty_nodes(&mut |key, body| {
        longest = longest.max(body.map_or(0, |body| if key[0] % 2 == 0 { body.len() } else { 0 }));
        written.push(key[0]);
        match body {
            Some(body) => nodes.0.insert(key.to_vec(), body.to_vec()),
            None => nodes.0.remove(key),
        };
    });
    written.sort_unstable();
    assert_eq!((written, longest < 64), (vec![2, 3, 4], true));
    assert!(run(&mut stream, |s, e| s.plan_delete_consumer(b"g", b"consumer 9", e)).is_some());
    assert_eq!(nodes.write_and_load(&mut stream), stream);
    assert_eq!(count(&nodes), 499);
    nodes.0.remove(&[4, 0, 0, 0, 0, 0, 0, 0, 3][..]);
    let mut header = Vec::new();
    stream.encode_header(&mut header);
    let mut broken = StreamValue::begin_load(&header).unwrap();
    nodes.0.iter().for_each(|(key, body)| broken.push_node(key, body).unwrap());
    assert!(broken.end_load().is_err(), "a consumer is missing");
}

/// A node of a group that still has its consumers in it: they get nodes with the next write-back.
#[test]
fn groups_with_their_consumers_inside_are_read() {
    let mut stream = added(1..=9);
    run(&mut stream, |s, e| s.plan_create_group(b"g", StreamId::MIN, None, e));
    for name in [&b"a"[..], b"b"] {
        run(&mut stream, |s, e| s.plan_read_group((b"g", name), ReadFrom::New, 2, false, 1, e));
    }
    let (mut nodes, mut row, mut header) = (Nodes::default(), Vec::new(), Vec::new());
    stream.encode(&mut row);
    stream.encode_header(&mut header);
    stream.all_nodes(&mut |key, body| drop(nodes.0.insert(key.to_vec(), body.to_vec())));
    nodes.0.retain(|key, _| key[0] != 4);
    let mut reader = Reader::new(&row[header.len()..]);
    (0..9).for_each(|_| assert!(!reader.bytes().unwrap().is_empty()));
    nodes.0.insert(vec![2, 0, 0, 0, 0], reader.bytes().unwrap().to_vec());
    let mut loaded = StreamValue::begin_load(&header).unwrap();
    nodes.0.iter().for_each(|(key, body)| loaded.push_node(key, body).unwrap());
    loaded.end_load().unwrap();
    assert_eq!(loaded, stream);
    assert_eq!(nodes.write_and_load(&mut loaded), stream);
    assert_eq!(nodes.0.keys().filter(|key| key[0] == 4).count(), 2);
}
