//! Opens the engine as configured, and hands changed parameters to it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lux_engine::config::{MemoryProbe, MemorySample};
use lux_engine::env::real::{SystemClock, SystemFiles};
use lux_engine::eviction::{CacheConfig, Lfu, Policy};
use lux_engine::keyspace::store::NEAR_MS;
use lux_engine::tier::DirectIo;
use lux_engine::wal::FsyncPolicy;
use lux_engine::{Cold, Engine, EngineConfig, Error, Result};

use crate::allocator::{self, JemallocPages};
use crate::config::Config;
use crate::descriptors::Descriptors;
use crate::machine;

/// With less memory than this for the page cache, compactions would push out of it what is read.
const ROOM_MIN: u64 = 1 << 30;

/// Opens the data folder.
pub fn open(config: &Config, descriptors: &Descriptors) -> Result<Engine> {
    let files = Arc::new(SystemFiles);
    let clock = Arc::new(SystemClock::new());
    let maxmemory = config.maxmemory.unsigned_abs();
    let mut engine = EngineConfig::new(&config.dir, files, clock, cold(), maxmemory);
    engine.memory_probe = Some(memory_probe()?);
    engine.defragmenter = JemallocPages::new().map(|pages| Arc::new(pages) as _);
    engine.cache = cache(config);
    engine.fsync = fsync(config);
    engine.checkpoint_interval_ms = checkpoint_interval_ms(config);
    engine.direct = direct_io(&config.cold_direct_io, machine::memory_bytes().saturating_sub(maxmemory));
    engine.cold_files_max = descriptors.cold_files;
    engine.entropy = entropy()?;
    Engine::open(engine)
}

/// Applies what CONFIG SET may change.
pub fn apply(engine: &Engine, config: &Config) {
    engine.set_fsync(fsync(config));
    engine.set_maxmemory(config.maxmemory.unsigned_abs());
    engine.disk().configure(&cache(config));
    engine.keeper().interval_ms.store(checkpoint_interval_ms(config), Relaxed);
}

fn cache(config: &Config) -> CacheConfig {
    let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    CacheConfig {
        policy: Policy::from_name(&config.maxmemory_policy).unwrap_or_default(),
        maxdisk: config.maxdisk.unsigned_abs(),
        samples: number(config.maxmemory_samples) as usize,
        lfu: Lfu { log_factor: number(config.lfu_log_factor), decay_minutes: number(config.lfu_decay_time) },
    }
}

fn fsync(config: &Config) -> FsyncPolicy {
    match config.appendfsync.as_str() {
        "always" => FsyncPolicy::Always,
        "no" => FsyncPolicy::No,
        _ => FsyncPolicy::EverySec,
    }
}

/// `room` is the memory that is left for the page cache, bytes.
fn direct_io(setting: &str, room: u64) -> DirectIo {
    let writes = match setting {
        "no" => false,
        "auto" => room < ROOM_MIN,
        _ => true,
    };
    DirectIo { reads: setting == "yes", writes }
}

fn checkpoint_interval_ms(config: &Config) -> u64 {
    // A deadline beyond the near window is watched once a round has written its hint.
    (config.checkpoint_interval.unsigned_abs() * 1000).min(NEAR_MS / 2)
}

#[cfg(feature = "rocks")]
fn cold() -> Cold {
    Cold::Rocks
}

/// Without RocksDB the cold tier lives in memory: for working on the server, not for data.
#[cfg(not(feature = "rocks"))]
fn cold() -> Cold {
    Cold::Memory(lux_engine::tier::memory::MemoryStore::new())
}

fn entropy() -> Result<[u64; 2]> {
    let mut bytes = [0u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if let Err(error) = filled {
        return Err(Error::io("read", "random numbers of the system", error.into()));
    }
    let (a, b) = bytes.split_at(8);
    let number = |half: &[u8]| half.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    Ok([number(a), number(b)])
}

/// Measures anonymous memory: what the kernel would have to swap, without page cache and maps.
fn memory_probe() -> Result<MemoryProbe> {
    let path = "/proc/self/statm";
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let page = rustix::param::page_size() as u64;
    Ok(Arc::new(move || {
        let mut text = [0u8; 128];
        let len = file.read_at(&mut text, 0).unwrap_or(0);
        let anonymous = anonymous_pages(&text[..len]).unwrap_or(0) * page;
        MemorySample { anonymous, allocated: allocator::numbers()[0].min(anonymous) }
    }))
}

/// Anonymous memory of this process now, bytes.
#[must_use]
pub fn anonymous_bytes() -> u64 {
    let text = std::fs::read("/proc/self/statm").unwrap_or_default();
    anonymous_pages(&text).unwrap_or(0) * rustix::param::page_size() as u64
}

/// Resident memory of this process now, mapped files included, bytes.
#[must_use]
pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Resident pages without those of files.
fn anonymous_pages(statm: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(statm).ok()?;
    let mut fields = text.split(' ').skip(1).map(str::parse::<u64>);
    let (resident, shared) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(resident.saturating_sub(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_page_cache_is_kept_for_reads() {
        let (little, much) = (256 << 20, 8 << 30);
        assert_eq!(direct_io("auto", little), DirectIo { reads: false, writes: true });
        assert_eq!(direct_io("auto", much), DirectIo { reads: false, writes: false });
        assert_eq!(direct_io("writes", much), DirectIo { reads: false, writes: true });
        assert_eq!(direct_io("yes", much), DirectIo { reads: true, writes: true });
        assert_eq!(direct_io("no", little), DirectIo::default());
    }

    #[test]
    fn anonymous_memory_is_what_is_resident_and_not_shared() {
        assert_eq!(anonymous_pages(b"1000 500 200 10 0 300 0\n"), Some(300));
        assert_eq!(anonymous_pages(b""), None);
        assert!(anonymous_bytes() > 1 << 16);
    }
}
