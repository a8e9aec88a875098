//! The commit hook: who wants to know what changed hears it here, in commit order per key.
//!
//! A commit tells of each key and operation once, however many effects it took: a bit set behind the
//! end of a string is two. Under the shard locks an event is only queued; [`Hook::drain`] hands the queue
//! to the listener after they are released. When a commit returns, the listener has heard all of it,
//! whichever thread delivered it.
//!
//! With nobody interested a commit pays one atomic load. A listener that wants a few keys only says
//! which ([`Hook::watch`]): what it would not want costs a commit one more load per key and no event. The
//! keys are told apart by some bits of their bucket, so it hears of a few others as well.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

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

/// Counters of watched keys; a power of two.
const WATCH_SLOTS: usize = 1024;

/// The queue of events and the listener.
pub struct Hook {
    /// Watched keys; one more while the listener wants all.
    interests: AtomicU32,
    wants_all: AtomicBool,
    /// Watched keys by bucket.
    watched: Box<[AtomicU32; WATCH_SLOTS]>,
    queue: Mutex<Vec<Event>>,
    /// Held while a batch is delivered, so that batches do not overtake each other.
    listener: RwLock<Option<Listener>>,
    delivery: Mutex<()>,
}

impl Default for Hook {
    fn default() -> Self {
        Hook {
            interests: AtomicU32::new(0),
            wants_all: AtomicBool::new(false),
            watched: Box::new([const { AtomicU32::new(0) }; WATCH_SLOTS]),
            queue: Mutex::default(),
            listener: RwLock::default(),
            delivery: Mutex::default(),
        }
    }
}

impl Hook {
    /// Whether anybody is interested in anything.
    #[inline]
    #[must_use]
    pub fn is_active(&self) -> bool {
        // ORDERING: a listener misses at most what commits while it is being set. Who watches a key and
        // then reads it in a transaction misses nothing: a commit behind that read got the key's shard lock
        // from it, so it sees the counters raised.
        self.interests.load(Ordering::Relaxed) != 0
    }

    /// Whether an event of a key in this bucket is wanted.
    #[inline]
    pub(crate) fn wants(&self, bucket: u32) -> bool {
        // ORDERING: as above.
        self.slot(bucket).load(Ordering::Relaxed) != 0 || self.wants_all.load(Ordering::Relaxed)
    }

    fn slot(&self, bucket: u32) -> &AtomicU32 {
        &self.watched[bucket as usize % WATCH_SLOTS]
    }

    /// Sets the listener, which hears of every change, or removes it. It runs on the committing thread,
    /// without locks of the keyspace, and must be quick.
    pub fn listen(&self, listener: Option<Listener>) {
        let wants_all = listener.is_some();
        *self.listener.write() = listener;
        if self.wants_all.swap(wants_all, Ordering::Relaxed) != wants_all {
            let step = if wants_all { 1 } else { u32::MAX };
            self.interests.fetch_add(step, Ordering::Relaxed);
        }
    }

    /// Sets the listener, which hears of changes of watched keys and of whole databases while any key is
    /// watched.
    pub fn listen_to_watched(&self, listener: Listener) {
        self.listen(None);
        *self.listener.write() = Some(listener);
    }

    /// Watches the keys of a bucket, in all databases. Watches add up.
    pub(crate) fn watch(&self, bucket: u32) {
        // ORDERING: see `is_active`.
        self.slot(bucket).fetch_add(1, Ordering::Relaxed);
        self.interests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back one [`Hook::watch`].
    pub(crate) fn unwatch(&self, bucket: u32) {
        // ORDERING: an event too many does no harm.
        self.slot(bucket).fetch_sub(1, Ordering::Relaxed);
        self.interests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Queues an event; the caller holds the key's shard lock, and calls [`Hook::drain`] after it.
    pub(crate) fn push(&self, lsn: Lsn, db: DbIndex, key: &[u8], operation: Operation) {
        self.queue.lock().push(Event { lsn, db, key: Box::from(key), operation });
    }

    /// Delivers what is queued; the caller holds no lock of the keyspace.
    pub(crate) fn drain(&self) {
        let _order = self.delivery.lock();
        let events = std::mem::take(&mut *self.queue.lock());
        if let Some(listener) = &*self.listener.read() {
            events.iter().for_each(listener);
        }
    }
}
