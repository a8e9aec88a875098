//! The filters of cold keys across restarts: saved by every round, loaded at the opening, and built
//! from the rows where that cannot be.
//!
//! The file `filters` is written before the marker, after the round's last row, and the marker names
//! its generation: a file of this generation or a later one has every key whose row the marker and
//! the log before it know. Rows that came after the file are of commits behind the redo LSN: replay
//! makes their keys dirty, and their write-back puts them in again. So a loaded filter is complete.
//! The file is not synced: its checksum and its generation tell when it does not fit the marker.
//!
//! Without a fitting file the filters exclude nothing until a background thread has walked all rows.
//! The same walk replaces a filter in which most keys were deleted since. While it runs, write-backs
//! put their keys into the old filter and the new one, and the walk reads a snapshot that was taken
//! after the new one was there: no row is missed.
//!
//! ```text
//! magic "luxflt1\n" | store id (8, big endian) | generation | filters | 0 | CRC32 (4, big endian)
//! filter  1 (1 byte) | database id | shard (1 byte) | count of layers, then each:
//!         keys | count of blocks | blocks (32 bytes each)
//! ```
//!
//! Numbers are varints unless said otherwise; the CRC32 is of all bytes before.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::codec::{DecodeError, Reader, put_varint};
use crate::env::FileSystem;
use crate::error::Result;
use crate::ids::{DbId, DbIndex, ShardId};
use crate::keyspace::entry::flag;
use crate::keyspace::filter::ColdFilter;
use crate::keyspace::hash::{KeyHasher, SHARDS};
use crate::keyspace::shard::DbShard;
use crate::keyspace::store::{DATABASES, Store};
use crate::tier::hint_file::{self, HintWriter};
use crate::tier::{Family, schema};

const NAME: &str = "filters";
const MAGIC: &[u8] = b"luxflt1\n";
/// No file is longer: filters of about a billion keys.
const LEN_MAX: u64 = 2 << 30;
/// Rows that a walk reads between two pauses.
const SLICE: usize = 512;
/// The pause: half a million rows a second at most.
const PAUSE: Duration = Duration::from_millis(1);
/// Time between two looks for filters that have to be built.
const LOOK: Duration = Duration::from_secs(1);
/// A filter this much larger than its keys is built anew; a small one is not worth a walk.
const STALE_MIN: u64 = 4096;

/// Writes all complete filters as the file of a generation. A crash leaves the old file, the new
/// one, or one whose checksum does not fit.
pub fn save(store: &Store, files: &dyn FileSystem, dir: &Path, store_id: u64, generation: u64) -> Result<()> {
    let mut file = HintWriter::create(files, dir, NAME)?;
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&store_id.to_be_bytes());
    put_varint(&mut out, generation);
    for id in Store::shard_ids() {
        for part in store.lock(id).dbs() {
            if part.filter.is_complete() && !part.filter.is_empty() {
                out.push(1);
                put_varint(&mut out, u64::from(part.id.0));
                out.push(id.0);
                part.filter.encode(&mut out);
            }
        }
        file.write(&out)?;
        out.clear();
    }
    file.write(&[0])?;
    file.finish()
}

/// Whether a filter changed since the last call.
pub fn take_changed(store: &Store) -> bool {
    let mut is_changed = false;
    for id in Store::shard_ids() {
        for part in store.lock(id).dbs_mut() {
            is_changed |= part.filter.take_changed();
        }
    }
    is_changed
}

/// Fills the filters of the parts that recovery made, which are not complete; `needed` is the
/// generation that the marker names. Returns the generation of the file, 0 if it was of no use.
pub fn load(store: &Store, files: &dyn FileSystem, dir: &Path, store_id: u64, needed: u64) -> u64 {
    if needed == 0 {
        return 0;
    }
    let Some(bytes) = hint_file::read(files, dir, NAME, LEN_MAX) else { return 0 };
    match decode(store, &bytes, store_id, needed) {
        Ok(generation) => generation,
        Err(error) => {
            tracing::info!(%error, "the file of filters does not fit; they are built from the rows");
            0
        }
    }
}

fn decode(store: &Store, bytes: &[u8], store_id: u64, needed: u64) -> Result<u64, DecodeError> {
    let wrong = |what| DecodeError { what, at: 0 };
    let mut reader = Reader::new(bytes.strip_prefix(MAGIC).ok_or(wrong("unknown format"))?);
    if reader.u64_be()? != store_id {
        return Err(wrong("of another store"));
    }
    let generation = reader.varint()?;
    if generation < needed {
        return Err(wrong("older than the marker"));
    }
    while reader.u8()? == 1 {
        let db = DbId(reader.varint_u32()?);
        let shard = ShardId(reader.u8()?);
        let filter = ColdFilter::decode(&mut reader)?;
        if (shard.0 as usize) < SHARDS
            && let Some(part) = store.lock(shard).db_mut(db)
        {
            part.filter = filter;
        }
    }
    Ok(generation)
}

/// Builds filters where that is needed, until the store stops; the body of a thread.
pub fn run(store: &Store, is_stopping: &AtomicBool) -> Result<()> {
    while !is_stopping.load(Ordering::Relaxed) {
        for index in (0..DATABASES as u8).map(DbIndex) {
            build(store, store.db_id(index), is_stopping)?;
        }
        std::thread::park_timeout(LOOK);
    }
    Ok(())
}

fn wants_build(part: &DbShard) -> bool {
    let (len, keys) = (part.filter.len(), part.keys);
    !part.filter.is_complete() || (len > STALE_MIN && len / 2 > keys)
}

/// Walks the rows of a database for the filters of it that are incomplete or stale.
pub fn build(store: &Store, db: DbId, is_stopping: &AtomicBool) -> Result<()> {
    let limit = store.filter_limit.load(Ordering::Relaxed);
    let mut is_wanted = false;
    for id in Store::shard_ids() {
        if let Some(part) = store.lock(id).db_mut(db)
            && wants_build(part)
        {
            let mut next = ColdFilter::default();
            next.reserve(part.keys, limit);
            insert_in_flight(part, &store.hasher, &mut next, limit);
            part.next_filter = Some(Box::new(next));
            is_wanted = true;
        }
    }
    if !is_wanted {
        return Ok(());
    }
    let outcome = walk(store, db, limit, is_stopping);
    let is_whole = matches!(outcome, Ok(true));
    for id in Store::shard_ids() {
        let mut shard = store.lock(id);
        let Some(part) = shard.db_mut(db) else { continue };
        if let Some(mut next) = part.next_filter.take().filter(|_| is_whole) {
            next.set_complete(true);
            part.filter = *next;
        }
    }
    outcome.map(|_| ())
}

/// Puts in the keys whose rows are being written: they may come too late for the walk's snapshot, and
/// their images were copied before there was this filter. None is evicted before its write returned.
fn insert_in_flight(part: &mut DbShard, hasher: &KeyHasher, next: &mut ColdFilter, limit: usize) {
    let mut bucket = Some(0);
    while let Some(from) = bucket {
        let page = part.table.page_at(from);
        if part.table.has_dirty(page) {
            part.table.for_page_mut(page, |entry| {
                if entry.has(flag::IN_FLIGHT) {
                    next.insert(hasher.hash(entry.key()), limit);
                }
            });
        }
        bucket = part.table.next_start(page);
    }
}

/// Puts the keys of all rows into the filters being built; `false` if it was stopped.
fn walk(store: &Store, db: DbId, limit: usize, is_stopping: &AtomicBool) -> Result<bool> {
    // Taken after the filters were made: rows whose images are copied later come with their keys, and
    // those of images copied earlier are in the snapshot or were put in at the start.
    let snapshot = store.cold.snapshot();
    let (from, to) = schema::db_range(db);
    let mut cursor = store.cold.cursor(Family::Keys, &from, &to, Some(&*snapshot))?;
    cursor.seek(&from)?;
    let mut count = 0;
    while let Some((row_key, _)) = cursor.row() {
        let (_, _, key) = schema::split_row_key(row_key)
            .map_err(|error| schema::row_error(Family::Keys, row_key, error))?;
        let hash = store.hasher.hash(key);
        if let Some(part) = store.lock(hash.shard).db_mut(db)
            && let Some(next) = &mut part.next_filter
        {
            next.insert(hash, limit);
        }
        count += 1;
        if count % SLICE == 0 {
            if is_stopping.load(Ordering::Relaxed) || !store.is_live(db) {
                return Ok(false);
            }
            std::thread::sleep(PAUSE);
        }
        cursor.advance()?;
    }
    Ok(true)
}
