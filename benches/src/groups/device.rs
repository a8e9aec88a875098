//! What the disk itself gives: random 4 KiB reads with direct I/O, by 1, 4 and 16 threads.
//!
//! The larger-than-memory reads with direct I/O are to be held against these figures.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Context, Tables, progress};
use crate::report::{self, Table};
use crate::values::Rng;
use crate::{Failure, Result};

const BLOCK: usize = 4096;

/// Runs the group on a file of `bytes` bytes.
pub fn run(context: &Context, bytes: u64) -> Tables {
    progress("device: writing the file");
    let folder = context.folder()?;
    let path = folder.path().join("blocks");
    write_file(&path, bytes)?;
    let title = format!("Device: random 4 KiB reads, direct I/O, a file of {}", report::bytes(bytes));
    let mut table = Table::new(title, &["threads", "rate", "time per read"]);
    for threads in [1, 4, 16] {
        let time = context.seconds(4.0);
        let reads = read_randomly(&path, bytes, threads, time)?;
        let rate = reads as f64 / time.as_secs_f64();
        let each = Duration::from_secs_f64(f64::from(threads) / rate);
        table.row(vec![threads.to_string(), report::rate(rate), report::duration(each)]);
    }
    Ok(vec![table])
}

fn write_file(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut rng = Rng::new(17);
    let mut block = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        for word in block.chunks_mut(8) {
            word.copy_from_slice(&rng.next_u64().to_le_bytes());
        }
        file.write_all(&block)?;
    }
    // DURABILITY: so that no write-back runs beside the reads that are measured.
    file.sync_all()?;
    Ok(())
}

fn read_randomly(path: &Path, bytes: u64, threads: u32, time: Duration) -> Result<u64> {
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("open flags fit an int");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(direct)
        .open(path)
        .map_err(|error| Failure::new(format!("this file system has no direct I/O: {error}")))?;
    let (reads, file) = (AtomicU64::new(0), &file);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let reads = &reads;
                scope.spawn(move || -> Result<()> {
                    let mut rng = Rng::new(u64::from(thread));
                    // Direct I/O wants an aligned buffer: twice the room, begun at a boundary.
                    let mut room = vec![0_u8; BLOCK * 2];
                    let skip = room.as_ptr().align_offset(BLOCK);
                    let begin = Instant::now();
                    while begin.elapsed() < time {
                        let block = rng.below(bytes / BLOCK as u64);
                        file.read_exact_at(&mut room[skip..skip + BLOCK], block * BLOCK as u64)?;
                        // ORDERING: a count, read after the join.
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        running
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| Failure::new("a reader panicked"))?)
    })?;
    Ok(reads.into_inner())
}
