//! Who waits for which key.
//!
//! A client whose blocking command finds nothing becomes a [`Waiter`]: it stands in the [`queue`] of every
//! key it named, oldest first. It serves itself. When a commit changes one of the keys, whatever the
//! command was, the waiter gets a *turn*: its connection runs the command again, as any other. So a cold key is
//! fetched, a reply is encoded and a commit is made durable as ever, and a client that vanished or timed out
//! takes nothing: it does not run again, and its turn goes to the next.
//!
//! The engine's commit hook tells of changes ([`Blocking::hear`]), after the locks of the keyspace are
//! gone. It is asked for the keys of waiters only, so with nobody waiting a commit pays one load.
//!
//! Promises:
//!
//! - Nothing is missed. A waiter enters the queues and then looks once more ([`Blocking::enter`]); a
//!   commit behind that look finds it in the queues.
//! - First come, first served, per key and [`Lane`]: turns go from the oldest on, and who comes later leaves
//!   what it finds to those before it ([`Blocking::is_behind`]). A turn that finds nothing costs no place.
//! - No herd: of those who would take what the next ones want, one at a time has a turn, until one finds
//!   nothing.
//! - Whoever committed waits for the turns that the commit caused, nested ones included ([`wave`]); a turn
//!   is one transaction and waits for no client's socket.
//!
//! One lock guards everything. It is taken below the locks of the keyspace and never the other way round.

mod queue;
mod wave;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lux_engine::hook::Event;
use lux_engine::ids::{DbIndex, Lsn};
use lux_engine::{DATABASE_COUNT, Engine};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use queue::Lane;
use queue::{Change, Queue, Ticket};
pub use wave::Claim;
use wave::Guard;

type Key = Arc<[u8]>;

/// What a command that found nothing waits for.
pub struct Block {
    pub lane: Lane,
    pub keys: Vec<Key>,
    /// For ever without one.
    pub timeout: Option<Duration>,
    /// What the command resolved when it came and keeps while it waits.
    pub memo: Option<Box<dyn Any + Send>>,
}

/// How CLIENT UNBLOCK ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    /// As if its time had passed.
    Timeout,
    Error,
}

/// What a waiter is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Run the command again.
    Turn,
    /// Stop waiting.
    Unblocked(Unblock),
}

/// All waiters.
pub struct Blocking {
    registry: Mutex<Registry>,
}

impl Default for Blocking {
    fn default() -> Self {
        Blocking { registry: Mutex::new(Registry::new()) }
    }
}

struct Registry {
    last_ticket: Ticket,
    entries: HashMap<Ticket, Entry>,
    /// Waiters by their clients' ids.
    clients: HashMap<u64, Ticket>,
    /// By database. A queue without waiters goes.
    queues: Vec<HashMap<Key, Queue>>,
    /// Waves that the command which made them did not ask for yet.
    claims: HashMap<Lsn, Claim>,
}

/// One waiter.
struct Entry {
    client: u64,
    db: DbIndex,
    lane: Lane,
    keys: Vec<Key>,
    has_timeout: bool,
    /// It found nothing since it entered its queues: what comes from now on is heard.
    has_looked: bool,
    /// Turns that wait for its task.
    turns: VecDeque<Turn>,
    /// The key of the turn that its task has.
    current: Option<Key>,
    unblocked: Option<Unblock>,
    wake: Arc<Notify>,
}

/// A turn because of a change of `key`.
struct Turn {
    key: Key,
    guards: Vec<Guard>,
}

/// Numbers for INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Keys that somebody waits for.
    pub keys: usize,
    /// Of these, keys whose deletion somebody is told of.
    pub keys_on_nokey: usize,
    /// Waiters with a time-out.
    pub with_timeout: usize,
}

impl Blocking {
    /// Puts a client into the queues. It must run its command once more: what was committed before this
    /// call nobody tells it.
    pub fn enter(self: &Arc<Self>, engine: &Engine, client: u64, db: DbIndex, block: Block) -> Waiter {
        let Block { lane, mut keys, timeout, memo } = block;
        keys.sort_unstable();
        keys.dedup();
        keys.iter().for_each(|key| engine.watch(key));
        let wake = Arc::new(Notify::new());
        let entry = Entry {
            client,
            db,
            lane,
            keys,
            has_timeout: timeout.is_some(),
            has_looked: false,
            turns: VecDeque::new(),
            current: None,
            unblocked: None,
            wake: wake.clone(),
        };
        let ticket = self.registry.lock().enter(entry);
        Waiter { blocking: self.clone(), engine: engine.clone(), ticket, wake, memo, turn: None }
    }

    /// Whether somebody who waits longer than `waiter` for what is in a key is to take it first. Without a
    /// waiter: than a command that just came.
    #[must_use]
    pub fn is_behind(&self, waiter: Option<&Waiter>, db: DbIndex, key: &[u8], lane: &Lane) -> bool {
        let own = waiter.map_or(Ticket::MAX, |waiter| waiter.ticket);
        self.registry.lock().is_behind(own, db, key, lane)
    }

    /// Hears what a commit changed. Runs on the committing thread.
    pub fn hear(&self, event: &Event) {
        let Some(change) = Change::of(event.operation) else { return };
        let mut registry = self.registry.lock();
        if event.key.is_empty() {
            // A whole database.
            let keys: Vec<Key> = registry.queues[usize::from(event.db.0)].keys().cloned().collect();
            for key in keys {
                registry.tell(event.lsn, event.db, &key, change);
            }
        }
        registry.tell(event.lsn, event.db, &event.key, change);
    }

    /// What the commit with this LSN caused; `None` if nobody waits for what it changed.
    #[must_use]
    pub fn claim(&self, lsn: Lsn) -> Option<Claim> {
        self.registry.lock().claims.remove(&lsn).filter(|claim| !claim.is_over())
    }

    /// Ends the wait of a client; whether it waited.
    pub fn unblock(&self, client: u64, how: Unblock) -> bool {
        let mut registry = self.registry.lock();
        let Some(ticket) = registry.clients.get(&client).copied() else { return false };
        let Some(entry) = registry.entries.get_mut(&ticket) else { return false };
        if entry.unblocked.is_some() {
            return false;
        }
        entry.unblocked = Some(how);
        entry.wake.notify_one();
        true
    }

    /// Numbers for INFO.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let registry = self.registry.lock();
        let is_group = |ticket: &Ticket| {
            registry.entries.get(ticket).is_some_and(|entry| matches!(entry.lane, Lane::Group(_)))
        };
        let queues = || registry.queues.iter().flat_map(HashMap::values);
        Totals {
            keys: queues().filter(|queue| !queue.waiters.is_empty()).count(),
            keys_on_nokey: queues().filter(|queue| queue.waiters.iter().any(is_group)).count(),
            with_timeout: registry.entries.values().filter(|entry| entry.has_timeout).count(),
        }
    }
}

impl Registry {
    fn new() -> Self {
        Registry {
            last_ticket: 0,
            entries: HashMap::new(),
            clients: HashMap::new(),
            queues: (0..DATABASE_COUNT).map(|_| HashMap::new()).collect(),
            claims: HashMap::new(),
        }
    }

    fn enter(&mut self, entry: Entry) -> Ticket {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        for key in &entry.keys {
            let queue = self.queues[usize::from(entry.db.0)].entry(key.clone()).or_default();
            queue.waiters.insert(ticket);
            if queue.pass.is_some() {
                // It ends before the new one, who leaves what there is to those of the pass.
                queue.signal.add(Change::Any, None);
            }
        }
        self.clients.insert(entry.client, ticket);
        self.entries.insert(ticket, entry);
        ticket
    }

    /// The next turn that a waiter has.
    fn take_turn(&mut self, ticket: Ticket) -> Option<Turn> {
        let entry = self.entries.get_mut(&ticket)?;
        let turn = entry.turns.pop_front()?;
        entry.current = Some(turn.key.clone());
        Some(turn)
    }

    fn is_behind(&self, own: Ticket, db: DbIndex, key: &[u8], lane: &Lane) -> bool {
        let Some(queue) = self.queues[usize::from(db.0)].get(key) else { return false };
        queue.waiters.range(..own).any(|ticket| {
            self.entries.get(ticket).is_some_and(|entry| entry.lane == *lane && entry.unblocked.is_none())
        })
    }

    /// A commit changed a key: if somebody waits for it, turns are given and the commit has a wave.
    fn tell(&mut self, lsn: Lsn, db: DbIndex, key: &[u8], change: Change) {
        let Some((key, _)) = self.queues[usize::from(db.0)].get_key_value(key) else { return };
        let key = key.clone();
        let guard = match self.claims.get(&lsn).and_then(Claim::guard) {
            Some(guard) => guard,
            None => {
                // What the engine commits by itself nobody claims.
                self.claims.retain(|_, claim| !claim.is_over());
                let (guard, claim) = Claim::new();
                self.claims.insert(lsn, claim);
                guard
            }
        };
        self.signal(db, &key, change, Some(guard));
    }

    /// Asks for a pass along the queue of a key.
    fn signal(&mut self, db: DbIndex, key: &Key, change: Change, guard: Option<Guard>) {
        if let Some(queue) = self.queues[usize::from(db.0)].get_mut(key) {
            queue.signal.add(change, guard);
            if queue.pass.is_none() {
                self.advance(db, key);
            }
        }
    }

    /// Goes on with the pass of a queue, and begins the next one when it is through.
    fn advance(&mut self, db: DbIndex, key: &Key) {
        let Registry { queues, entries, .. } = self;
        let queues = &mut queues[usize::from(db.0)];
        let Some(queue) = queues.get_mut(key) else { return };
        while queue.pass.is_some() || queue.begin() {
            let lane = |ticket| {
                let entry: Option<&Entry> = entries.get(&ticket);
                entry.filter(|entry| entry.unblocked.is_none()).map(|entry| &entry.lane)
            };
            let ticket = queue.next(lane);
            let guards = queue.pass.as_ref().map(|pass| pass.guards.clone()).unwrap_or_default();
            let Some(entry) = ticket.and_then(|ticket| entries.get_mut(&ticket)) else {
                queue.pass = None;
                continue;
            };
            entry.give(key, guards);
            if entry.lane != Lane::Readers {
                return;
            }
        }
        if queue.is_idle() {
            queues.remove(key);
        }
    }

    /// A waiter looked, at first or in its turn, and stays.
    fn found_nothing(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            entry.has_looked = true;
        }
        self.end_turn(ticket, true);
    }

    /// The turn of a waiter is over. It `found_nothing`: nor would the rest of its lane.
    fn end_turn(&mut self, ticket: Ticket, found_nothing: bool) {
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        let Some(key) = entry.current.take() else { return };
        let (db, lane) = (entry.db, entry.lane.clone());
        if lane == Lane::Readers {
            // The pass did not wait for it.
            return;
        }
        let queue = self.queues[usize::from(db.0)].get_mut(&key);
        if let Some(pass) = queue.and_then(|queue| queue.pass.as_mut()).filter(|_| found_nothing) {
            pass.exhaust(&lane);
        }
        self.advance(db, &key);
    }

    /// Takes a waiter out of its queues; the turns it has and had go on to the next.
    fn leave(&mut self, ticket: Ticket) -> Vec<Key> {
        self.end_turn(ticket, false);
        let Some(entry) = self.entries.remove(&ticket) else { return Vec::new() };
        if self.clients.get(&entry.client) == Some(&ticket) {
            self.clients.remove(&entry.client);
        }
        for key in &entry.keys {
            let Some(queue) = self.queues[usize::from(entry.db.0)].get_mut(key) else { continue };
            queue.waiters.remove(&ticket);
            if !entry.has_looked {
                // Those behind it left to it what they found.
                queue.signal.add(Change::Any, None);
            }
            let had_turn = entry.turns.iter().any(|turn| turn.key == *key);
            if queue.pass.is_none() || (had_turn && entry.lane != Lane::Readers) {
                self.advance(entry.db, key);
            }
        }
        entry.keys
    }
}

impl Entry {
    /// Gives it a turn, or adds to one that it has not begun.
    fn give(&mut self, key: &Key, guards: Vec<Guard>) {
        match self.turns.iter_mut().find(|turn| turn.key == *key) {
            Some(turn) => turn.guards.extend(guards),
            None => self.turns.push_back(Turn { key: key.clone(), guards }),
        }
        self.wake.notify_one();
    }
}

/// A client's place in the queues; it leaves them when this is dropped.
pub struct Waiter {
    blocking: Arc<Blocking>,
    engine: Engine,
    ticket: Ticket,
    wake: Arc<Notify>,
    memo: Option<Box<dyn Any + Send>>,
    turn: Option<Turn>,
}

impl Waiter {
    /// Returns when there is a turn to take, or the wait is ended from outside.
    pub async fn called(&mut self) -> Call {
        loop {
            if let Some(call) = self.next_call() {
                return call;
            }
            self.wake.notified().await;
        }
    }

    fn next_call(&mut self) -> Option<Call> {
        let mut registry = self.blocking.registry.lock();
        if let Some(how) = registry.entries.get(&self.ticket)?.unblocked {
            return Some(Call::Unblocked(how));
        }
        self.turn = Some(registry.take_turn(self.ticket)?);
        Some(Call::Turn)
    }

    /// The command ran and found nothing: its first look since it entered, or its turn.
    pub fn found_nothing(&mut self) {
        self.blocking.registry.lock().found_nothing(self.ticket);
        self.turn = None;
    }

    /// The command is done. What its commit caused becomes part of what the turn belongs to.
    pub fn finish(mut self, claim: Option<&Claim>) {
        let Some(claim) = claim else { return };
        let mut guards = self.turn.take().map(|turn| turn.guards).unwrap_or_default();
        let mut registry = self.blocking.registry.lock();
        if let Some(entry) = registry.entries.get_mut(&self.ticket) {
            // What the turns were for that it did not get round to it may have taken.
            entry.turns.iter_mut().for_each(|turn| guards.append(&mut turn.guards));
        }
        drop(registry);
        claim.carry(guards);
    }

    /// The key whose change gave it this turn.
    #[must_use]
    pub fn turn_key(&self) -> Option<&Key> {
        self.turn.as_ref().map(|turn| &turn.key)
    }

    /// What the command kept, if it is of this type.
    #[must_use]
    pub fn memo<T: 'static>(&self) -> Option<&T> {
        self.memo.as_ref()?.downcast_ref()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let keys = self.blocking.registry.lock().leave(self.ticket);
        keys.iter().for_each(|key| self.engine.unwatch(key));
    }
}

#[cfg(test)]
mod tests;
