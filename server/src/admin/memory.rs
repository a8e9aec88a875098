//! What the process's memory is used for, measured.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::state::ServerState;
use crate::storage;

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
        let [allocated, active, resident] = storage::allocator();
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

/// The allocator's own report.
#[must_use]
pub fn allocator_report() -> String {
    let mut report = Vec::new();
    match tikv_jemalloc_ctl::stats_print::stats_print(
        &mut report,
        tikv_jemalloc_ctl::stats_print::Options::default(),
    ) {
        Ok(()) => String::from_utf8_lossy(&report).into_owned(),
        Err(error) => format!("the allocator gave no report: {error}"),
    }
}

// SAFETY: the declaration is that of jemalloc's manual, and this binary links jemalloc.
unsafe extern "C" {
    /// jemalloc's control function; part of the allocator this process links.
    fn mallctl(
        name: *const std::ffi::c_char,
        old: *mut std::ffi::c_void,
        old_len: *mut usize,
        new: *mut std::ffi::c_void,
        new_len: usize,
    ) -> std::ffi::c_int;
}

/// Gives unused pages back to the system now.
pub fn purge() {
    // 4096 stands for all arenas.
    let name = c"arena.4096.purge";
    // SAFETY: this control takes no value in or out; the name is a C string.
    let status = unsafe {
        mallctl(name.as_ptr(), std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut(), 0)
    };
    if status != 0 {
        tracing::warn!(status, "the allocator did not purge");
    }
}
