//! The commit hook: who wants to know what changed hears it here, in commit order per key.
//!
//! A commit tells of each key and operation once, however many effects it took: a bit set behind the
//! end of a string is two. Under the shard locks an event is only queued; [`Hook::drain`] hands the queue to the
//! listener after they are released. With nobody listening a commit pays one atomic load.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::ids::{DbIndex, Lsn};
use crate::wal::effect::Operation;

/// One changed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub lsn: Lsn,
    pub db: DbIndex,
    /// Empty for changes of a whole database.
    pub key: Box<[u8]>,
    pub operation: Operation,
}

type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// The queue of events and the listener.
#[derive(Default)]
pub struct Hook {
    is_active: AtomicBool,
    queue: Mutex<Vec<Event>>,
    /// Held while a batch is delivered, so that batches do not overtake each other.
    listener: RwLock<Option<Listener>>,
    delivery: Mutex<()>,
}

impl Hook {
    /// Whether anybody listens.
    #[inline]
    #[must_use]
    pub fn is_active(&self) -> bool {
        // ORDERING: a listener misses at most what commits while it is being set.
        self.is_active.load(Ordering::Relaxed)
    }

    /// Sets or removes the listener. It runs on the committing thread, without locks of the
    /// keyspace, and must be quick.
    pub fn listen(&self, listener: Option<Listener>) {
        let is_active = listener.is_some();
        *self.listener.write() = listener;
        self.is_active.store(is_active, Ordering::Relaxed);
    }

    /// Queues an event; the caller holds the key's shard lock.
    pub(crate) fn push(&self, lsn: Lsn, db: DbIndex, key: &[u8], operation: Operation) {
        self.queue.lock().push(Event { lsn, db, key: Box::from(key), operation });
    }

    /// Delivers what is queued; the caller holds no lock of the keyspace.
    pub(crate) fn drain(&self) {
        if !self.is_active() {
            return;
        }
        let _order = self.delivery.lock();
        let events = std::mem::take(&mut *self.queue.lock());
        if let Some(listener) = &*self.listener.read() {
            events.iter().for_each(listener);
        }
    }
}
