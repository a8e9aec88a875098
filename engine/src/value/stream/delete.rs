//! XTRIM, XDEL, XDELEX and XACKDEL: which entries go, and what becomes of references to them.
//!
//! Approximate trimming removes whole nodes of Redis, which hold `stream-node-max-entries` entries and
//! `stream-node-max-bytes` bytes; our leaves are other ones. So nodes are counted from the first entry,
//! as Redis would have filled them: what stays is what stays there when entries only came in at the end.

use std::collections::BTreeSet;

use super::edit::StreamEdit;
use super::group::Groups;
use super::{Stream, StreamId, StreamLimits, StreamValue};

/// What happens to consumer groups' references to an entry that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum References {
    /// KEEPREF: they stay, the entry goes.
    #[default]
    Keep,
    /// DELREF: they go too.
    Delete,
    /// ACKED: an entry that some group has not read or acknowledged stays.
    Acked,
}

/// How far to trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrimTo {
    /// So many entries stay.
    MaxLen(u64),
    /// Entries from this id on stay.
    MinId(StreamId),
}

/// What XTRIM, or XADD with trimming, asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// How far.
    pub to: TrimTo,
    /// `~`: only whole nodes go.
    pub is_approximate: bool,
    /// At most so many entries go (0: no bound); given with `~` only. Without it 100 nodes.
    pub limit: Option<u64>,
    /// What happens to references.
    pub references: References,
}

/// What XDELEX did with an id; the numbers are its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// There is no such entry.
    Missing = -1,
    /// It goes.
    Deleted = 1,
    /// It stays, because it is referenced.
    Referenced = 2,
}

/// What XACKDEL did with an id; the numbers are its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckDeleted {
    /// It was not pending in the group.
    Missing = -1,
    /// It is acknowledged and goes.
    Deleted = 1,
    /// It is acknowledged and stays, because it is referenced.
    Referenced = 2,
}

/// Tells ids that were not seen before: a command may name one twice.
pub(super) struct Once {
    seen: BTreeSet<StreamId>,
    is_single: bool,
}

impl Once {
    pub(super) fn new(ids: &[StreamId]) -> Self {
        Once { seen: BTreeSet::new(), is_single: ids.len() < 2 }
    }

    pub(super) fn is_new(&mut self, id: StreamId) -> bool {
        self.is_single || self.seen.insert(id)
    }
}

impl StreamLimits {
    /// Entries of one of Redis's nodes.
    fn node(self, stream: &Stream) -> u64 {
        let bytes = stream.entries.data_bytes() as u64 / stream.entries.len().max(1);
        let by_bytes = if self.node_bytes == 0 { u64::MAX } else { (self.node_bytes / bytes.max(1)).max(1) };
        if self.node_entries == 0 { by_bytes } else { by_bytes.min(self.node_entries) }
    }

    /// The most entries that `~` trims at once when the command does not say.
    fn trim_limit(self) -> u64 {
        match self.node_entries.saturating_mul(100) {
            0 => 10_000,
            limit => limit.min(1_000_000),
        }
    }
}

impl Groups {
    /// Plans to forget an entry in every group.
    fn plan_forget(&self, id: StreamId, but: Option<u32>, edit: &mut Vec<u8>) {
        for (group, _) in self.groups.iter().filter(|(group, _)| Some(*group) != but) {
            if self.pending(group, id).is_some() {
                StreamEdit::Acknowledge { group, id }.put(edit);
            }
        }
    }

    /// Whether a group has not read the entry, or one (other than `but`) has not acknowledged it.
    fn is_referenced(&self, id: StreamId, but: Option<u32>) -> bool {
        self.groups.iter().any(|(number, group)| {
            group.last_id < id || (Some(number) != but && self.pending(number, id).is_some())
        })
    }
}

impl Stream {
    fn is_referenced(&self, id: StreamId, but: Option<u32>) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.is_referenced(id, but))
    }

    fn plan_forget(&self, id: StreamId, but: Option<u32>, edit: &mut Vec<u8>) {
        if let Some(groups) = &self.groups {
            groups.plan_forget(id, but, edit);
        }
    }

    /// How many of the first entries a trim asks for, `added` being one more behind the last.
    fn trim_count(&self, trim: &Trim, added: Option<StreamId>, limits: StreamLimits) -> u64 {
        let len = self.entries.len() + u64::from(added.is_some());
        let count = match trim.to {
            TrimTo::MaxLen(max) => len.saturating_sub(max),
            TrimTo::MinId(min) => self.rank(min) + u64::from(added.is_some_and(|added| added < min)),
        };
        if !trim.is_approximate {
            return count;
        }
        let limit = match trim.limit.unwrap_or_else(|| limits.trim_limit()) {
            0 => u64::MAX,
            limit => limit,
        };
        // The last node goes whole however many entries it has.
        if count == len && count <= limit {
            return count;
        }
        // Nodes begin at every so many entries that ever came; the first may have lost some.
        let (node, count) = (limits.node(self), count.min(limit));
        let head = node - self.entries_added.saturating_sub(self.entries.len()) % node;
        if count < head { 0 } else { head + (count - head) / node * node }
    }
}

impl StreamValue {
    /// Plans to trim; returns how many entries go.
    pub fn plan_trim(&self, trim: &Trim, limits: StreamLimits, edit: &mut Vec<u8>) -> u64 {
        self.plan_trim_behind(trim, None, limits, edit)
    }

    /// As [`StreamValue::plan_trim`], when `added` comes in before.
    pub(super) fn plan_trim_behind(
        &self,
        trim: &Trim,
        added: Option<StreamId>,
        limits: StreamLimits,
        edit: &mut Vec<u8>,
    ) -> u64 {
        let stream = &*self.stream;
        let count = stream.trim_count(trim, added, limits);
        if count == 0 {
            return 0;
        }
        let ids = || self.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).chain(added);
        let first = usize::try_from(count).unwrap_or(usize::MAX);
        match trim.references {
            References::Acked => {
                let below = |id: &StreamId| match trim.to {
                    TrimTo::MaxLen(_) => true,
                    TrimTo::MinId(min) => *id < min,
                };
                let unread = ids().take_while(below).filter(|id| !stream.is_referenced(*id, None));
                unread.take(first).map(|id| StreamEdit::Drop(id).put(edit)).count() as u64
            }
            References::Delete => {
                StreamEdit::Trim(count).put(edit);
                ids().take(first).for_each(|id| stream.plan_forget(id, None, edit));
                count
            }
            References::Keep => {
                StreamEdit::Trim(count).put(edit);
                count
            }
        }
    }

    /// Plans to delete entries (XDEL); returns how many there are.
    pub fn plan_delete(&self, ids: &[StreamId], edit: &mut Vec<u8>) -> u64 {
        let mut once = Once::new(ids);
        let found = ids.iter().filter(|id| once.is_new(**id) && self.stream.place(**id).is_ok());
        found.map(|id| StreamEdit::Delete(*id).put(edit)).count() as u64
    }

    /// Plans to delete entries as their references allow (XDELEX); says so of each.
    pub fn plan_delete_referenced(
        &self,
        ids: &[StreamId],
        references: References,
        edit: &mut Vec<u8>,
    ) -> Vec<Deleted> {
        let mut once = Once::new(ids);
        let mut delete = |id: StreamId| {
            if !once.is_new(id) || self.stream.place(id).is_err() {
                return Deleted::Missing;
            }
            if references == References::Acked && self.stream.is_referenced(id, None) {
                return Deleted::Referenced;
            }
            StreamEdit::Delete(id).put(edit);
            if references == References::Delete {
                self.stream.plan_forget(id, None, edit);
            }
            Deleted::Deleted
        };
        ids.iter().map(|id| delete(*id)).collect()
    }

    /// Plans to acknowledge entries in a group and to delete them as other references allow (XACKDEL);
    /// says so of each. `None` without the group.
    pub fn plan_ack_delete(
        &self,
        group: &[u8],
        ids: &[StreamId],
        references: References,
        edit: &mut Vec<u8>,
    ) -> Option<Vec<AckDeleted>> {
        let view = self.group(group)?;
        let mut once = Once::new(ids);
        let mut acknowledge = |id: StreamId| {
            if !once.is_new(id) || view.groups.pending(view.number, id).is_none() {
                return AckDeleted::Missing;
            }
            StreamEdit::Acknowledge { group: view.number, id }.put(edit);
            if references == References::Acked && self.stream.is_referenced(id, Some(view.number)) {
                return AckDeleted::Referenced;
            }
            if references == References::Delete {
                self.stream.plan_forget(id, Some(view.number), edit);
            }
            if self.stream.place(id).is_ok() {
                StreamEdit::Delete(id).put(edit);
            }
            AckDeleted::Deleted
        };
        Some(ids.iter().map(|id| acknowledge(*id)).collect())
    }
}
