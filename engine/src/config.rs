//! What an engine is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::env::{Clock, Defragmenter, FileSystem};
use crate::eviction::policy::CacheConfig;
use crate::tier::DirectIo;
use crate::tier::memory::MemoryStore;
use crate::wal::FsyncPolicy;

/// Which cold tier to use.
#[derive(Clone)]
pub enum Cold {
    /// RocksDB in the data folder.
    #[cfg(feature = "rocks")]
    Rocks,
    /// The in-memory twin: for tests.
    Memory(MemoryStore),
}

/// Memory of the process at one moment, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySample {
    /// Resident and not backed by files: what `maxmemory` bounds.
    pub anonymous: u64,
    /// In use, as the allocator counts.
    pub allocated: u64,
}

/// Measures the memory of the process.
pub type MemoryProbe = Arc<dyn Fn() -> MemorySample + Send + Sync>;

/// Settings of [`Engine::open`](crate::Engine::open).
#[derive(Clone)]
pub struct EngineConfig {
    /// The data folder; made if it does not exist.
    pub dir: PathBuf,
    pub files: Arc<dyn FileSystem>,
    pub clock: Arc<dyn Clock>,
    pub cold: Cold,
    /// Bound on the memory of the process, bytes.
    pub maxmemory: u64,
    /// How to measure it. Without one the hot tier gets a fixed share.
    pub memory_probe: Option<MemoryProbe>,
    /// Moves entries together when much memory lies idle; needs a probe.
    pub defragmenter: Option<Arc<dyn Defragmenter>>,
    /// What happens at a bound on the disk space.
    pub cache: CacheConfig,
    pub fsync: FsyncPolicy,
    /// Size of a segment of the log, bytes; 0: a share of `maxmemory`.
    pub segment_bytes: u64,
    /// Time between checkpoint rounds, milliseconds.
    pub checkpoint_interval_ms: u64,
    /// Threads that read the cold tier.
    pub read_threads: usize,
    /// Whether keeper and reaper run as threads; tests may step them instead.
    pub is_background: bool,
    /// What of the cold tier's I/O bypasses the page cache.
    pub direct: DirectIo,
    /// Files that the cold tier keeps open at most, whatever budget and system allow.
    pub cold_files_max: u64,
    /// Randomness for a new store's id and hash seed.
    pub entropy: [u64; 2],
    /// Invariants to break, one bit each; needs the feature `failpoints`.
    pub failpoints: u32,
}

impl EngineConfig {
    /// Settings for a folder, with `maxmemory` bytes for the process and defaults for the rest.
    #[must_use]
    pub fn new(
        dir: impl Into<PathBuf>,
        files: Arc<dyn FileSystem>,
        clock: Arc<dyn Clock>,
        cold: Cold,
        maxmemory: u64,
    ) -> Self {
        EngineConfig {
            dir: dir.into(),
            files,
            clock,
            cold,
            maxmemory,
            memory_probe: None,
            defragmenter: None,
            cache: CacheConfig::default(),
            fsync: FsyncPolicy::EverySec,
            segment_bytes: 0,
            checkpoint_interval_ms: 60_000,
            read_threads: 16,
            is_background: true,
            direct: DirectIo::default(),
            cold_files_max: u64::MAX,
            entropy: [0x6c75_785f_7374_6f72, 0x6861_7368_5f73_6565],
            failpoints: 0,
        }
    }
}
