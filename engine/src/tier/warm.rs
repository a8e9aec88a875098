//! Warm restart: which records were in memory, so that they can be brought back.
//!
//! Every checkpoint writes the file `hotset`: the buckets of the hot entries in three classes,
//! most used first, a byte or two each. After an opening a background reader promotes them class
//! by class in bucket order (so that neighbours share blocks), in small batches with pauses, and
//! stops when the hot tier is nearly full. The file is only a hint: it may be old, damaged or
//! missing, and nothing but the speed of the first minutes depends on it.
//!
//! ```text
//! magic "luxhot1\n" | blocks | CRC32 of all before (4, big endian)
//! block   database index (1) | class (1) | count (varint) | bucket gaps (varints)
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::codec::{Reader, put_varint};
use crate::env::FileSystem;
use crate::error::Result;
use crate::ids::DbIndex;
use crate::keyspace::store::{DATABASES, Store};
use crate::tier::hint_file::{self, HintWriter};
use crate::tier::promote::{Depth, Promoter};
use crate::tier::{Family, schema};

const NAME: &str = "hotset";
const MAGIC: &[u8] = b"luxhot1\n";
/// Parts of the bucket range that are collected one by one, to bound memory and lock times.
const PARTS: u32 = 256;
/// Classes by access counter: at least 4, at least 1, none.
const CLASSES: u8 = 3;
/// Records promoted together.
const BATCH: usize = 64;
/// Pause between batches: some 30,000 records a second at most.
const PAUSE: Duration = Duration::from_millis(2);
/// No file is longer: about 30 million records.
const LEN_MAX: u64 = 64 << 20;

/// Encodes which records are hot now.
fn encode(store: &Store) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut classes: [Vec<u32>; CLASSES as usize] = Default::default();
    let mut blocks: Vec<(u8, u8, Vec<u8>)> = Vec::new();
    for index in (0..DATABASES as u8).map(DbIndex) {
        let db = store.db_id(index);
        for part in 0..PARTS {
            let from = part << 24;
            let to = from | 0x00ff_ffff;
            for id in Store::shard_ids() {
                let shard = store.lock(id);
                let Some(entries) = shard.db(db) else { continue };
                entries.table.for_range(from, to, |bucket, entry| {
                    let class = match entry.freq() {
                        4.. => 0,
                        1..=3 => 1,
                        0 => 2,
                    };
                    if entry.is_value() {
                        classes[class].push(bucket);
                    }
                    to
                });
            }
            for (class, buckets) in classes.iter_mut().enumerate() {
                if buckets.is_empty() {
                    continue;
                }
                buckets.sort_unstable();
                let mut block = Vec::new();
                put_varint(&mut block, buckets.len() as u64);
                let mut last = 0;
                for bucket in buckets.drain(..) {
                    put_varint(&mut block, u64::from(bucket - last));
                    last = bucket;
                }
                blocks.push((class as u8, index.0, block));
            }
        }
    }
    blocks.sort_by_key(|(class, index, _)| (*class, *index));
    for (class, index, block) in blocks {
        if (out.len() + block.len()) as u64 > LEN_MAX {
            break;
        }
        out.extend_from_slice(&[index, class]);
        out.extend_from_slice(&block);
    }
    out
}

/// Writes the hot set of now. A crash leaves the old file or the new one.
pub fn save(store: &Store, files: &dyn FileSystem, dir: &Path) -> Result<()> {
    let mut file = HintWriter::create(files, dir, NAME)?;
    file.write(&encode(store))?;
    file.finish()
}

/// Reads the hot set; `None` if there is none or it is damaged.
fn load(files: &dyn FileSystem, dir: &Path) -> Option<Vec<(DbIndex, Vec<u32>)>> {
    let body = hint_file::read(files, dir, NAME, LEN_MAX + (1 << 20))?;
    let mut reader = Reader::new(body.strip_prefix(MAGIC)?);
    let mut blocks = Vec::new();
    while !reader.is_empty() {
        let index = DbIndex(reader.u8().ok()?);
        let _class = reader.u8().ok()?;
        let count = reader.varint().ok()?;
        let (mut buckets, mut last) = (Vec::new(), 0u32);
        for _ in 0..count {
            last = last.checked_add(reader.varint_u32().ok()?)?;
            buckets.push(last);
        }
        blocks.push((index, buckets));
    }
    Some(blocks)
}

/// Promotes what was hot when the last checkpoint was made. Returns the number of records.
pub fn run(
    store: &Store,
    promoter: &Promoter,
    files: &dyn FileSystem,
    dir: &Path,
    is_stopping: &AtomicBool,
) -> Result<u64> {
    let mut count = 0;
    for (index, buckets) in load(files, dir).unwrap_or_default() {
        if index.0 as usize >= DATABASES {
            continue;
        }
        for batch in buckets.chunks(BATCH) {
            let limit = store.hot_limit.load(Ordering::Relaxed);
            if is_stopping.load(Ordering::Relaxed) || store.hot_bytes().0 > limit / 10 * 9 {
                return Ok(count);
            }
            count += promote(store, promoter, index, batch)?;
            std::thread::sleep(PAUSE);
        }
    }
    Ok(count)
}

fn promote(store: &Store, promoter: &Promoter, index: DbIndex, buckets: &[u32]) -> Result<u64> {
    let db = store.db_id(index);
    let (from, to) = schema::db_range(db);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut cursor = store.cold.cursor(Family::Keys, &from, &to, None)?;
    let mut last = None;
    for bucket in buckets {
        if last.replace(*bucket) == Some(*bucket) {
            continue;
        }
        let mut prefix = Vec::with_capacity(8);
        schema::put_row_key(&mut prefix, db, *bucket, b"");
        cursor.seek(&prefix)?;
        while let Some((row_key, _)) = cursor.row() {
            let (_, found, key) = schema::split_row_key(row_key)
                .map_err(|error| schema::row_error(Family::Keys, row_key, error))?;
            if found != *bucket {
                break;
            }
            keys.push(key.to_vec());
            cursor.advance()?;
        }
    }
    drop(cursor);
    if let Some(ticket) = promoter.fetch(keys.iter().map(|key| (db, &key[..], Depth::Row)), false) {
        ticket.wait()?;
    }
    Ok(keys.len() as u64)
}
