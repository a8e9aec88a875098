//! Building values that are too large for one record.
//!
//! A [`BuildOrder`] comes from a transaction that was interrupted. Its bytes go into the log as parts
//! and from there into the cold tier, with no lock and no pin held; the command that ordered it runs
//! again afterwards and publishes what was built, if that is still what it wants to store. Whoever
//! builds waits for the keeper whenever more than a few parts are not rows yet, so that parts take
//! no memory to speak of however long the value is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::keeper::{Keeper, Request};
use crate::error::Result;
use crate::failpoint::CrashPoint;
use crate::ids::Lsn;
use crate::keyspace::store::Store;
use crate::tier::spill::{self, SpillBatch};
use crate::tier::{ColdBatch, Family};
use crate::txn::build::{BuildOrder, Built, PartError};

/// Bytes of one part: a few pages, so that its record is small beside any segment.
const PART_BYTES: usize = 1 << 20;
/// Parts may wait for the cold tier up to this many bytes, or one part in 64 of the memory bound.
const QUEUED_MAX: u64 = 4 << 20;
/// How long to wait for log space.
const ROOM_WAIT: Duration = Duration::from_secs(10);

impl Keeper {
    /// Builds a value. When this returns all its pages are rows, and no key has it yet. `None`: the
    /// database is gone meanwhile; run the command again.
    ///
    /// # Errors
    /// The log or the cold tier takes no more; what was built is given up.
    pub fn build(&self, order: BuildOrder) -> Result<Option<Built>> {
        let built = Built::begin(Arc::clone(&self.core.store), &order);
        let part_bytes = PART_BYTES.min(self.core.commit_max.load(Ordering::Relaxed) / 2);
        let queued_max = (self.maxmemory.load(Ordering::Relaxed) / 64).min(QUEUED_MAX) as usize;
        for (at, bytes) in order.parts(part_bytes) {
            loop {
                match self.core.append_part(&built, at, bytes, self.clock.unix_ms()) {
                    Ok(()) => break,
                    Err(PartError::Gone) => return Ok(None),
                    Err(PartError::NoRoom(len)) => self.core.wal.wait_room_blocking(len, ROOM_WAIT)?,
                    Err(PartError::Failed(error)) => return Err(error),
                }
            }
            self.core.store.crash.reach(CrashPoint::Part);
            if self.core.store.part_bytes() > queued_max {
                self.request(Request::Parts).wait()?;
            }
        }
        self.request(Request::Parts).wait()?;
        self.core.store.crash.reach(CrashPoint::BeforePublish);
        Ok(Some(built))
    }

    /// Writes all parts that are logged.
    pub(super) fn write_parts(&self) -> Result<()> {
        self.resend()?;
        let mut batch = SpillBatch::default();
        for id in Store::shard_ids() {
            self.core.store.collect_side(id, &mut batch);
            if batch.is_full() {
                self.send(&mut batch)?;
            }
        }
        self.send(&mut batch)
    }

    /// Removes the building rows of what was published, or died, at or below the redo LSN of the
    /// marker that was just flushed. Lost in a crash, they are looked at once more.
    pub(super) fn drop_building(&self, redo_lsn: Lsn) -> Result<()> {
        let store = &self.core.store;
        let mut batch = ColdBatch::default();
        for id in Store::shard_ids() {
            let settled = store.lock(id).parts.take_settled(redo_lsn);
            for (db, incarnation) in settled {
                batch.delete(Family::Meta, &spill::building_key(db, incarnation));
            }
        }
        if batch.is_empty() { Ok(()) } else { store.cold.write(&batch) }
    }
}
