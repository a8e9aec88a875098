//! Failpoints: switches that break one invariant each, so that a test can show that it would
//! notice. Compiled in with the feature `failpoints` only; otherwise every question is answered
//! with a constant `false`.
//!
//! Crash points are there always: places at which the process can be told to end, for DEBUG CRASH-AT.

#[cfg(feature = "failpoints")]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::{AtomicU8, Ordering};

/// The invariant that a failpoint breaks, by its number in `docs/architecture.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "named after the invariants")]
pub enum Break {
    LogBeforeData = 1,
    OneCommitOneRecord = 2,
    ResolvedEffects = 3,
    LsnGuard = 4,
    AcknowledgedMeansLogged = 5,
    Prefix = 6,
    MarkerLast = 7,
    FetchNeverOverwrites = 8,
    DeletionsAreEntries = 9,
    ExpiryIsLogged = 10,
    ExactCounters = 11,
    ScanPromise = 12,
    Snapshots = 13,
    AtomicCommands = 14,
    NoLockAcrossWait = 15,
    OneBudget = 16,
    NoWaitInColdStore = 17,
    LatchOnFailure = 18,
}

/// The set of failpoints that are on.
#[derive(Default)]
pub struct Failpoints {
    #[cfg(feature = "failpoints")]
    bits: AtomicU32,
}

impl Failpoints {
    /// Whether an invariant is to be broken.
    #[inline]
    #[must_use]
    pub fn breaks(&self, which: Break) -> bool {
        #[cfg(feature = "failpoints")]
        return self.bits.load(Ordering::Relaxed) & (1 << which as u8) != 0;
        #[cfg(not(feature = "failpoints"))]
        {
            let _ = which;
            false
        }
    }

    /// Sets all switches: bit n breaks invariant n.
    #[cfg(feature = "failpoints")]
    pub fn set(&self, bits: u32) {
        self.bits.store(bits, Ordering::Relaxed);
    }

    /// Turns a failpoint on.
    #[cfg(feature = "failpoints")]
    pub fn enable(&self, which: Break) {
        self.bits.fetch_or(1 << which as u8, Ordering::Relaxed);
    }
}

/// A place at which the process can be told to end at once, as if it were killed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CrashPoint {
    /// A commit is in the log, memory is not changed and nothing is acknowledged.
    Append = 1,
    /// The images of a batch are durable in the log and not yet rows.
    BeforeWriteBack = 2,
    /// They are rows in the cold tier's memory.
    AfterWriteBack = 3,
    /// A round has written back everything; there is no new marker.
    BeforeMarker = 4,
    /// The marker is written and not flushed.
    BeforeFlush = 5,
    /// The marker is durable; the log is not cut.
    BeforeCut = 6,
    /// The log is cut; what died is not dropped.
    AfterCut = 7,
    /// A part of a large value is in the log.
    Part = 8,
    /// All of a large value is in the cold tier; no key has it.
    BeforePublish = 9,
}

impl CrashPoint {
    /// All points, with the names DEBUG CRASH-AT knows.
    pub const ALL: &'static [(CrashPoint, &'static str)] = &[
        (CrashPoint::Append, "append"),
        (CrashPoint::BeforeWriteBack, "before-write-back"),
        (CrashPoint::AfterWriteBack, "after-write-back"),
        (CrashPoint::BeforeMarker, "before-marker"),
        (CrashPoint::BeforeFlush, "before-flush"),
        (CrashPoint::BeforeCut, "before-cut"),
        (CrashPoint::AfterCut, "after-cut"),
        (CrashPoint::Part, "part"),
        (CrashPoint::BeforePublish, "before-publish"),
    ];
}

/// At which point the process is to end; none unless told.
#[derive(Default)]
pub struct CrashSwitch(AtomicU8);

impl CrashSwitch {
    /// Has the process end at this point.
    pub fn arm(&self, point: CrashPoint) {
        self.0.store(point as u8, Ordering::Relaxed);
    }

    /// The process is at this point.
    #[inline]
    pub fn reach(&self, point: CrashPoint) {
        if self.0.load(Ordering::Relaxed) == point as u8 {
            tracing::error!(?point, "DEBUG CRASH-AT: the process ends here");
            std::process::abort();
        }
    }
}
