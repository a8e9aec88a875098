//! The queue of one key: who waits for it, and whose turn it is.
//!
//! A *pass* walks the queue from the oldest waiter on and gives turns. It ends when it is through, or when
//! it is known that nobody further on would find anything. Changes that come during a pass are noted and
//! start the next one, so a pass ends however many there are.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use lux_engine::wal::effect::Operation;

use super::wave::Guard;

/// Waiters are numbered in the order they came.
pub type Ticket = u64;

/// What a waiter waits for. Of the waiters of one lane each takes what the next would have got, so when
/// one finds nothing, the others would not either; [`Lane::Readers`] take nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    List,
    SortedSet,
    /// Entries of streams, for a consumer group.
    Group(Arc<[u8]>),
    /// Entries of streams.
    Readers,
}

impl Lane {
    /// Whether a change of this kind may be of use to the lane.
    fn hears(&self, change: Change) -> bool {
        change == Change::Any || matches!(self, Lane::Group(_))
    }
}

/// What happened to a key, as far as waiters care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The key or a group of it may be gone. Who waits for a group is told of that.
    Gone,
    /// Anything; there may be more in it than before.
    Any,
}

impl Change {
    /// What an operation may mean to waiters. `None`: it only takes away, or does not touch what a key
    /// holds; a key that goes with its last element leaves no group behind.
    pub fn of(operation: Operation) -> Option<Change> {
        use Operation as Op;
        match operation {
            Op::Persist | Op::LPop | Op::RPop | Op::LRem | Op::LTrim | Op::SRem | Op::SPop => None,
            Op::ZRem | Op::ZRemRangeByRank | Op::ZRemRangeByScore | Op::ZRemRangeByLex => None,
            Op::ZPopMin | Op::ZPopMax | Op::HDel | Op::HExpire | Op::HPersist | Op::HExpired => None,
            Op::XTrim | Op::XDel | Op::XGroupCreateConsumer | Op::XGroupDelConsumer => None,
            Op::XReadGroup | Op::XAck | Op::XClaim | Op::XAutoClaim => None,
            Op::Del | Op::Unlink | Op::GetDel | Op::DelIfEq | Op::Expired | Op::Evicted => Some(Change::Gone),
            Op::FlushDb | Op::FlushAll | Op::XGroupDestroy => Some(Change::Gone),
            // With a deadline in the past they delete.
            Op::Expire | Op::PExpire | Op::ExpireAt | Op::PExpireAt | Op::GetEx => Some(Change::Gone),
            _ => Some(Change::Any),
        }
    }
}

/// A change that waits for its pass, and the waves that wait for it.
#[derive(Default)]
pub struct Signal {
    pub change: Option<Change>,
    pub guards: Vec<Guard>,
}

impl Signal {
    pub fn add(&mut self, change: Change, guards: impl IntoIterator<Item = Guard>) {
        self.change = self.change.max(Some(change));
        self.guards.extend(guards);
    }
}

/// A walk along the queue.
pub struct Pass {
    change: Change,
    pub guards: Vec<Guard>,
    /// The last waiter that was looked at.
    at: Ticket,
    /// Who came later has looked by itself.
    last: Ticket,
    /// Lanes that would find nothing.
    exhausted: Vec<Lane>,
}

impl Pass {
    /// The rest of its lane gets no turn.
    pub fn exhaust(&mut self, lane: &Lane) {
        self.exhausted.push(lane.clone());
    }
}

/// Who waits for one key.
#[derive(Default)]
pub struct Queue {
    pub waiters: BTreeSet<Ticket>,
    pub pass: Option<Pass>,
    pub signal: Signal,
}

impl Queue {
    /// Starts the pass that was asked for. Returns whether there is one now.
    pub fn begin(&mut self) -> bool {
        let Signal { change, guards } = std::mem::take(&mut self.signal);
        let (Some(change), Some(last)) = (change, self.waiters.last().copied()) else { return false };
        self.pass = Some(Pass { change, guards, at: 0, last, exhausted: Vec::new() });
        true
    }

    /// The next waiter whose turn it is. `lane` tells the lane of one that may have a turn.
    pub fn next<'l>(&mut self, lane: impl Fn(Ticket) -> Option<&'l Lane>) -> Option<Ticket> {
        let pass = self.pass.as_mut()?;
        for ticket in self.waiters.range((Excluded(pass.at), Included(pass.last))).copied() {
            pass.at = ticket;
            if lane(ticket).is_some_and(|lane| lane.hears(pass.change) && !pass.exhausted.contains(lane)) {
                return Some(ticket);
            }
        }
        None
    }

    /// Whether nobody is in it and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.waiters.is_empty() && self.pass.is_none()
    }
}
