//! XREADGROUP, XACK, XCLAIM and XAUTOCLAIM: who gets which entries.
//!
//! Plans return what the reply needs; the entries themselves are read from the unchanged stream. Every
//! one of them that names a consumer creates it when it is missing and notes that it was seen.

use std::collections::BTreeMap;

use super::delete::Once;
use super::edit::StreamEdit;
use super::group::Pending;
use super::read::GroupView;
use super::{StreamId, StreamValue};

/// What XREADGROUP asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// `>`: entries that the group was never given.
    New,
    /// The consumer's own pending entries behind an id.
    History(StreamId),
}

/// What XREADGROUP gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRead {
    /// The entries are those behind this id: of the stream ([`StreamValue::behind`]) or of the consumer's
    /// history ([`StreamValue::history`]).
    pub behind: StreamId,
    /// How many; without new entries a read of new ones is not served (it may wait).
    pub count: u64,
    /// The consumer is new.
    pub is_new_consumer: bool,
}

/// What XCLAIM asks for, apart from the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    /// Entries delivered less than this long ago stay where they are; 0: none do.
    pub min_idle_ms: u64,
    /// The delivery time to note (IDLE and TIME come to the same); none, or one in the future: now.
    pub time_ms: Option<u64>,
    /// The number of deliveries to note; none: one more, unless `is_just_id`.
    pub retry_count: Option<u64>,
    /// FORCE: entries that are not pending become so.
    pub is_forced: bool,
    /// JUSTID: a claim is no delivery.
    pub is_just_id: bool,
    /// LASTID: the group stands at least here.
    pub last_id: Option<StreamId>,
}

/// What XCLAIM gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The entries that the consumer holds now, in the order they were asked for.
    pub ids: Vec<StreamId>,
    /// The consumer is new.
    pub is_new_consumer: bool,
}

/// What XAUTOCLAIM asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoClaim {
    /// Entries delivered less than this long ago stay where they are.
    pub min_idle_ms: u64,
    /// Where to begin.
    pub start: StreamId,
    /// At most so many are claimed or found deleted; ten times as many are looked at.
    pub count: u64,
    /// JUSTID: a claim is no delivery.
    pub is_just_id: bool,
}

/// What XAUTOCLAIM gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoClaimed {
    /// Where to go on; 0-0 at the end.
    pub next: StreamId,
    /// The entries that the consumer holds now.
    pub ids: Vec<StreamId>,
    /// Pending entries that the stream does not have any more; they are forgotten.
    pub deleted: Vec<StreamId>,
    /// The consumer is new.
    pub is_new_consumer: bool,
}

/// How many entries an XAUTOCLAIM looks at for each that it may claim.
const ATTEMPTS_FACTOR: u64 = 10;

/// A consumer in a plan: there already, or created by it.
struct Actor {
    group: u32,
    number: u32,
    is_new: bool,
}

impl Actor {
    /// The consumer with a name; created in the edit when it is missing.
    fn find(view: &GroupView<'_>, name: &[u8], now_ms: u64, edit: &mut Vec<u8>) -> Actor {
        let group = view.number;
        if let Some((number, _)) = view.group.consumers.find(name) {
            return Actor { group, number, is_new: false };
        }
        let number = view.group.consumers.free_number();
        StreamEdit::CreateConsumer { group, consumer: number, name, seen_ms: now_ms }.put(edit);
        Actor { group, number, is_new: true }
    }

    /// Notes that the consumer was seen, and active if it was.
    fn see(&self, now_ms: u64, is_active: bool, edit: &mut Vec<u8>) {
        if is_active || !self.is_new {
            let active_ms = is_active.then_some(now_ms);
            StreamEdit::See { group: self.group, consumer: self.number, seen_ms: now_ms, active_ms }
                .put(edit);
        }
    }

    fn own(&self, id: StreamId, time_ms: u64, deliveries: u64, edit: &mut Vec<u8>) {
        StreamEdit::Own { group: self.group, id, consumer: self.number, time_ms, deliveries }.put(edit);
    }
}

impl GroupView<'_> {
    /// How many entries the group has read once it was given one more.
    fn reads_after(&self, last_id: StreamId, entries_read: Option<u64>, id: StreamId) -> Option<u64> {
        let stream = self.stream;
        match entries_read {
            Some(read) if last_id >= stream.first_id() && !stream.has_tombstones_behind(last_id) => {
                Some(read.saturating_add(1))
            }
            _ => stream.reads_up_to(id),
        }
    }
}

impl StreamValue {
    /// Plans to give a consumer at most `count` entries (0: all); `None` without the group.
    ///
    /// With `no_ack` new entries do not become pending.
    pub fn plan_read_group(
        &self,
        (group, consumer): (&[u8], &[u8]),
        from: ReadFrom,
        count: u64,
        no_ack: bool,
        now_ms: u64,
        edit: &mut Vec<u8>,
    ) -> Option<GroupRead> {
        let view = self.group(group)?;
        let count = if count == 0 { u64::MAX } else { count };
        let actor = Actor::find(&view, consumer, now_ms, edit);
        let read = match from {
            ReadFrom::New => self.plan_deliver(&view, &actor, count, no_ack, now_ms, edit),
            ReadFrom::History(behind) => {
                let count = self.plan_redeliver(&view, &actor, behind, count, now_ms, edit);
                actor.see(now_ms, false, edit);
                GroupRead { behind, count, is_new_consumer: actor.is_new }
            }
        };
        Some(read)
    }

    /// Plans to give new entries to a consumer.
    fn plan_deliver(
        &self,
        view: &GroupView<'_>,
        actor: &Actor,
        count: u64,
        no_ack: bool,
        now_ms: u64,
        edit: &mut Vec<u8>,
    ) -> GroupRead {
        let behind = view.last_id();
        let entries = self.behind(behind).limit(count);
        let count = entries.len();
        if count > 0 {
            if !no_ack {
                let (group, consumer) = (view.number, actor.number);
                StreamEdit::Deliver { group, consumer, time_ms: now_ms, count }.put(edit);
            }
            let (mut last_id, mut entries_read) = (behind, view.entries_read());
            for entry in entries {
                entries_read = view.reads_after(last_id, entries_read, entry.id);
                last_id = entry.id;
            }
            StreamEdit::MoveGroup { group: view.number, last_id, entries_read }.put(edit);
        }
        actor.see(now_ms, count > 0 && !no_ack, edit);
        GroupRead { behind, count, is_new_consumer: actor.is_new }
    }

    /// Plans to give a consumer its own pending entries again; returns how many there are, those that
    /// the stream does not have any more among them.
    fn plan_redeliver(
        &self,
        view: &GroupView<'_>,
        actor: &Actor,
        behind: StreamId,
        count: u64,
        now_ms: u64,
        edit: &mut Vec<u8>,
    ) -> u64 {
        let Some(start) = behind.next().filter(|_| !actor.is_new) else { return 0 };
        let ids = view.groups.owned_from(view.number, actor.number, start);
        let ids = ids.take(usize::try_from(count).unwrap_or(usize::MAX));
        let mut found = 0;
        for id in ids {
            found += 1;
            let pending = view.groups.pending(view.number, id);
            if let Some(pending) = pending.filter(|_| self.stream.place(id).is_ok()) {
                actor.own(id, now_ms, pending.deliveries.saturating_add(1), edit);
            }
        }
        found
    }

    /// Plans to acknowledge entries; returns how many were pending. `None` without the group.
    pub fn plan_ack(&self, group: &[u8], ids: &[StreamId], edit: &mut Vec<u8>) -> Option<u64> {
        let view = self.group(group)?;
        let mut once = Once::new(ids);
        let pending =
            ids.iter().filter(|id| once.is_new(**id) && view.groups.pending(view.number, **id).is_some());
        let acknowledged =
            pending.map(|id| StreamEdit::Acknowledge { group: view.number, id: *id }.put(edit));
        Some(acknowledged.count() as u64)
    }

    /// Plans to move pending entries to a consumer; `None` without the group.
    pub fn plan_claim(
        &self,
        (group, consumer): (&[u8], &[u8]),
        ids: &[StreamId],
        claim: &Claim,
        now_ms: u64,
        edit: &mut Vec<u8>,
    ) -> Option<Claimed> {
        let view = self.group(group)?;
        if let Some(last_id) = claim.last_id.filter(|last_id| *last_id > view.last_id()) {
            let entries_read = view.entries_read();
            StreamEdit::MoveGroup { group: view.number, last_id, entries_read }.put(edit);
        }
        let actor = Actor::find(&view, consumer, now_ms, edit);
        let mut claims = Claims { stream: self, view, actor, claim, now_ms, changed: BTreeMap::new() };
        let claimed: Vec<StreamId> = ids.iter().copied().filter(|id| claims.take(*id, edit)).collect();
        claims.actor.see(now_ms, !claimed.is_empty(), edit);
        Some(Claimed { ids: claimed, is_new_consumer: claims.actor.is_new })
    }

    /// Plans to move entries that are pending for long to a consumer; `None` without the group.
    pub fn plan_auto_claim(
        &self,
        (group, consumer): (&[u8], &[u8]),
        claim: &AutoClaim,
        now_ms: u64,
        edit: &mut Vec<u8>,
    ) -> Option<AutoClaimed> {
        let view = self.group(group)?;
        let actor = Actor::find(&view, consumer, now_ms, edit);
        let (mut ids, mut deleted) = (Vec::new(), Vec::new());
        let mut entries = view.groups.pending_from(view.number, claim.start);
        let (mut count, mut attempts) = (claim.count, claim.count.saturating_mul(ATTEMPTS_FACTOR));
        while count > 0 && attempts > 0 {
            let Some(pending) = entries.next() else { break };
            attempts -= 1;
            let id = pending.id;
            if self.stream.place(id).is_err() {
                StreamEdit::Acknowledge { group: view.number, id }.put(edit);
                deleted.push(id);
            } else if now_ms.saturating_sub(pending.time_ms) >= claim.min_idle_ms {
                let deliveries = pending.deliveries.saturating_add(u64::from(!claim.is_just_id));
                actor.own(id, now_ms, deliveries, edit);
                ids.push(id);
            } else {
                continue;
            }
            count -= 1;
        }
        let next = entries.next().map_or(StreamId::MIN, |pending| pending.id);
        actor.see(now_ms, !ids.is_empty(), edit);
        Some(AutoClaimed { next, ids, deleted, is_new_consumer: actor.is_new })
    }

    /// What a consumer holds behind an id, with the entries as far as the stream still has them. Nothing
    /// without the group or the consumer.
    pub fn history<'a>(
        &'a self,
        (group, consumer): (&[u8], &[u8]),
        behind: StreamId,
    ) -> impl Iterator<Item = (StreamId, Option<super::Entry<'a>>)> + use<'a> {
        let consumer = self.group(group).and_then(|view| view.consumer(consumer));
        let held =
            consumer.zip(behind.next()).map(|(consumer, start)| consumer.pending(start, StreamId::MAX));
        held.into_iter().flatten().map(|pending| (pending.id, self.get(pending.id)))
    }
}

/// The claims of one XCLAIM, which may name an id twice.
struct Claims<'a> {
    stream: &'a StreamValue,
    view: GroupView<'a>,
    actor: Actor,
    claim: &'a Claim,
    now_ms: u64,
    /// What became of the ids so far: pending so, or not pending.
    changed: BTreeMap<StreamId, Option<Pending>>,
}

impl Claims<'_> {
    /// Plans to claim one entry; whether the consumer holds it then.
    fn take(&mut self, id: StreamId, edit: &mut Vec<u8>) -> bool {
        let group = self.view.number;
        let now = self.changed.get(&id).copied();
        let pending = now.unwrap_or_else(|| self.view.groups.pending(group, id));
        if self.stream.stream.place(id).is_err() {
            if pending.is_some() {
                StreamEdit::Acknowledge { group, id }.put(edit);
                self.changed.insert(id, None);
            }
            return false;
        }
        let deliveries = match pending {
            Some(pending) if self.idle(&pending) < self.claim.min_idle_ms => return false,
            Some(pending) => pending.deliveries,
            // As in Redis, a forced claim starts from one delivery.
            None if self.claim.is_forced => 1,
            None => return false,
        };
        let more = u64::from(!self.claim.is_just_id);
        let deliveries = self.claim.retry_count.unwrap_or(deliveries.saturating_add(more));
        let time_ms = self.claim.time_ms.filter(|time| *time <= self.now_ms).unwrap_or(self.now_ms);
        self.actor.own(id, time_ms, deliveries, edit);
        let consumer = self.actor.number;
        self.changed.insert(id, Some(Pending { id, consumer, time_ms, deliveries }));
        true
    }

    fn idle(&self, pending: &Pending) -> u64 {
        self.now_ms.saturating_sub(pending.time_ms)
    }
}
