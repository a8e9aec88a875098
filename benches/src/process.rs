//! What the kernel knows about a server: CPU time, resident memory, bytes on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Failure, Result};

/// Resident memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Everything resident, mapped files included (`VmRSS`).
    pub resident: u64,
    /// Anonymous pages only (`RssAnon`): what swap or the OOM killer would have to deal with.
    pub anonymous: u64,
}

/// CPU time, user and system, of all threads of `pid` since it started.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the fields are counted behind it.
    let (_, fields) = stat.rsplit_once(')').ok_or_else(|| Failure::new("unreadable /proc/pid/stat"))?;
    let field = |index: usize| -> Result<u64> {
        fields
            .split_whitespace()
            .nth(index)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Failure::new("unreadable /proc/pid/stat"))
    };
    let ticks = field(11)? + field(12)?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Resident memory of `pid` now.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> u64 {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim_start_matches(':').split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    Ok(Memory { resident: field("VmRSS"), anonymous: field("RssAnon") })
}

/// Bytes of disk that the files below `folder` occupy (blocks, not lengths).
#[must_use]
pub fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
            Ok(data) => data.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Samples a process's memory every 20 ms and keeps the peaks.
pub struct MemoryWatch {
    peaks: Arc<Peaks>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Peaks {
    stop: AtomicBool,
    resident: AtomicU64,
    anonymous: AtomicU64,
}

impl MemoryWatch {
    /// Starts watching `pid`.
    #[must_use]
    pub fn start(pid: u32) -> Self {
        let peaks = Arc::new(Peaks::default());
        let shared = Arc::clone(&peaks);
        let thread = std::thread::spawn(move || {
            // ORDERING: independent counters and a flag that only ends the loop; no data hangs on them.
            while !shared.stop.load(Ordering::Relaxed) {
                if let Ok(memory) = memory(pid) {
                    shared.resident.fetch_max(memory.resident, Ordering::Relaxed);
                    shared.anonymous.fetch_max(memory.anonymous, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { peaks, thread: Some(thread) }
    }

    /// The highest figures seen so far.
    #[must_use]
    pub fn peak(&self) -> Memory {
        // ORDERING: each figure stands for itself.
        Memory {
            resident: self.peaks.resident.load(Ordering::Relaxed),
            anonymous: self.peaks.anonymous.load(Ordering::Relaxed),
        }
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        // ORDERING: only ends the loop; the join below orders everything else.
        self.peaks.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the sampler only loses figures that nobody will read any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_cpu() {
        let pid = std::process::id();
        let memory = memory(pid).unwrap();
        assert!(memory.anonymous > 0 && memory.resident >= memory.anonymous);
        let before = cpu_time(pid).unwrap();
        let started = std::time::Instant::now();
        let mut number = 0_u64;
        while started.elapsed() < Duration::from_millis(60) {
            number = std::hint::black_box(number.wrapping_add(1));
        }
        assert!(cpu_time(pid).unwrap() > before);
    }

    #[test]
    fn disk_bytes_counts_nested_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![1; 100_000]).unwrap();
        assert!(disk_bytes(folder.path()) >= 100_000);
    }
}
