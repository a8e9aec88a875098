//! All connected clients, and CLIENT PAUSE.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock;
use crate::dispatch::spec::Flags;
use crate::session::ClientHandle;

/// The clients by id, in the order they came.
#[derive(Default)]
pub struct ClientRegistry {
    clients: Mutex<BTreeMap<u64, Arc<ClientHandle>>>,
    last_id: AtomicU64,
}

impl ClientRegistry {
    /// A new id; never given twice.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    pub fn insert(&self, client: Arc<ClientHandle>) {
        self.clients.lock().insert(client.id, client);
    }

    pub fn remove(&self, id: u64) {
        self.clients.lock().remove(&id);
    }

    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<ClientHandle>> {
        self.clients.lock().get(&id).cloned()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.lock().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The clients of this moment, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ClientHandle>> {
        self.clients.lock().values().cloned().collect()
    }
}

/// CLIENT PAUSE: until when which commands are held.
#[derive(Default)]
pub struct Pause {
    /// Unix milliseconds; 0 when nothing is paused.
    until_ms: AtomicU64,
    /// 1: writes only.
    only_writes: AtomicU64,
    changed: Notify,
}

impl Pause {
    /// Holds commands for `duration_ms`. A pause that is already there is only made longer or
    /// stricter, as in Redis.
    pub fn start(&self, duration_ms: u64, only_writes: bool) {
        let until_ms = clock::unix_ms().saturating_add(duration_ms);
        let is_active = self.is_active();
        let was_all = is_active && self.only_writes.load(Relaxed) == 0;
        self.only_writes.store(u64::from(only_writes && !was_all), Relaxed);
        self.until_ms
            .store(if is_active { until_ms.max(self.until_ms.load(Relaxed)) } else { until_ms }, Relaxed);
    }

    pub fn stop(&self) {
        self.until_ms.store(0, Relaxed);
        self.changed.notify_waiters();
    }

    /// Whether a command with these flags has to wait. One load while nothing is paused.
    #[must_use]
    pub fn holds(&self, flags: Flags) -> bool {
        if self.until_ms.load(Relaxed) == 0 || !self.is_active() {
            return false;
        }
        let is_write = flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        // The commands that end a pause or the server are never held.
        !flags.has(Flags::ADMIN) && (is_write || self.only_writes.load(Relaxed) == 0)
    }

    fn is_active(&self) -> bool {
        self.until_ms.load(Relaxed) > clock::unix_ms()
    }

    /// Returns when the pause ended, one way or the other.
    pub async fn until_over(&self) {
        let changed = self.changed.notified();
        let left_ms = self.until_ms.load(Relaxed).saturating_sub(clock::unix_ms());
        // Ended by UNPAUSE or by time: both are the same to the caller.
        let _ = tokio::time::timeout(Duration::from_millis(left_ms), changed).await;
    }
}
