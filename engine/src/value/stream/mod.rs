//! Streams: an append-only sequence of entries in the order of their ids, and the consumer groups that
//! read it.
//!
//! ```text
//! StreamValue -> Stream  last id, largest deleted id, entries ever added, shapes
//!                  |- entries: tree by id                          [entry]
//!                  '- Groups (once there was a group)              [group]
//!                       |- groups -> consumers                     names, ids, times
//!                       |- pending: tree by (group, id)            who holds it, since when, how often
//!                       '- owned: tree by (group, consumer, id)    derived from `pending`
//! ```
//!
//! Group state is as durable as entries: it is in edits, in rows and in nodes. The encoding is always
//! "stream". Sources of the behaviour: Redis 7.2's and 8.2's commands, Valkey 9's counters of entries read.
//!
//! | operation | cost |
//! |---|---|
//! | XADD | O(log n), O(1) amortised at the end |
//! | an entry by id, one step of a range | O(log n), O(1) |
//! | XTRIM | O(log n) and the leaves that go |
//! | deliver, acknowledge, claim one entry | O(log n + log pending) |
//! | a group or consumer by name | O(log of their number) |
//!
//! Invariants: entries are in the order of their ids, none above the last id; a pending entry's group and
//! consumer exist; `owned` has one element per pending entry; a group's and a consumer's count of pending
//! entries is that of the tree; numbers of groups and consumers are dense enough to be indexes.
//!
//! Commands plan against `&StreamValue` and write an edit ([`edit`]); [`StreamValue::apply`] makes it,
//! live and in replay. Time is an argument of plans. Rows: [`codec`].

mod add;
pub mod codec;
mod consume;
mod delete;
pub mod edit;
mod entry;
mod group;
mod id;
mod manage;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use super::tree::Tree;
use entry::{ById, Shape};
use group::Groups;

pub use add::{AddError, Added};
pub use consume::{AutoClaim, AutoClaimed, Claim, Claimed, GroupRead, ReadFrom};
pub use delete::{AckDeleted, Deleted, References, Trim, TrimTo};
pub use entry::{Entry, Fields};
pub use id::{IdText, NewId, StreamId};
pub use manage::SetIdError;
pub use read::{ConsumerView, Entries, GroupView, PendingView};

/// How large Redis's nodes are, which decides what approximate trimming leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// `stream-node-max-entries`; 0: no bound.
    pub node_entries: u64,
    /// `stream-node-max-bytes`; 0: no bound.
    pub node_bytes: u64,
}

impl Default for StreamLimits {
    fn default() -> Self {
        StreamLimits { node_entries: 100, node_bytes: 4096 }
    }
}

/// A stream.
#[derive(Clone, Default)]
pub struct StreamValue {
    stream: Box<Stream>,
}

#[derive(Clone)]
struct Stream {
    entries: Tree<ById>,
    /// The id of the newest entry that ever was.
    last_id: StreamId,
    /// The largest id that XDEL removed.
    max_deleted: StreamId,
    /// Entries that were ever added.
    entries_added: u64,
    shapes: Vec<Shape>,
    groups: Option<Box<Groups>>,
    /// What loading is to find.
    expected: Option<Box<codec::Counts>>,
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            entries: Tree::new(),
            last_id: StreamId::MIN,
            max_deleted: StreamId::MIN,
            entries_added: 0,
            shapes: Vec::new(),
            groups: None,
            expected: None,
        }
    }
}

/// Streams are the same when their rows are.
impl PartialEq for StreamValue {
    fn eq(&self, other: &Self) -> bool {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.encode(&mut a);
        other.encode(&mut b);
        a == b
    }
}

impl fmt::Debug for StreamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamValue")
            .field("len", &self.len())
            .field("last_id", &self.stream.last_id)
            .field("max_deleted", &self.stream.max_deleted)
            .field("entries_added", &self.stream.entries_added)
            .field("groups", &self.stream.groups)
            .finish_non_exhaustive()
    }
}

impl StreamValue {
    /// Redis's name of the encoding.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Never: a stream without entries is still a stream.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        false
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.stream.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stream.entries.is_empty()
    }

    /// Heap bytes held; O(1).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let shapes = self.stream.shapes.capacity() * (size_of::<Shape>() + 64);
        let groups = self.stream.groups.as_ref().map_or(0, |groups| groups.heap_bytes());
        size_of::<Stream>() + self.stream.entries.heap_bytes() + shapes + groups
    }
}
