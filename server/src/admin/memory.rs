//! What the process's memory is used for, measured.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::state::ServerState;
use crate::{allocator, storage};

/// Highest `used` seen by anybody who measured.
static PEAK: AtomicU64 = AtomicU64::new(0);

/// Memory in bytes, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryNumbers {
    /// What was asked of the allocator and is in use.
    pub used: u64,
    pub peak: u64,
    /// Resident, with mapped files.
    pub rss: u64,
    /// Resident and anonymous: what `maxmemory` bounds.
    pub anonymous: u64,
    /// `used` right after the start.
    pub startup: u64,
    pub allocated: u64,
    pub active: u64,
    pub resident: u64,
    /// Entries of the hot tier.
    pub hot: u64,
    /// Buffers of clients.
    pub clients: u64,
}

impl MemoryNumbers {
    #[must_use]
    pub fn measure(state: &ServerState) -> Self {
        let [allocated, active, resident] = allocator::numbers();
        let clients = state.clients.all();
        MemoryNumbers {
            used: allocated,
            peak: PEAK.fetch_max(allocated, Relaxed).max(allocated),
            rss: storage::resident_bytes(),
            anonymous: storage::anonymous_bytes(),
            startup: state.startup_memory.load(Relaxed),
            allocated,
            active,
            resident,
            hot: state.engine.store().hot_bytes().0 as u64,
            clients: clients
                .iter()
                .map(|client| {
                    client.query_buffer_bytes.load(Relaxed) + client.output_buffer_bytes.load(Relaxed)
                })
                .sum::<usize>() as u64,
        }
    }

    /// What is used for other things than entries.
    #[must_use]
    pub fn overhead(&self) -> u64 {
        self.used.saturating_sub(self.hot)
    }
}

/// A part in percent.
#[must_use]
pub fn percent(part: u64, whole: u64) -> f64 {
    ratio(part, whole) * 100.0
}

/// `a / b`, and 0 of nothing.
#[must_use]
pub fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}
