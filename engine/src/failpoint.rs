//! Failpoints: switches that break one invariant each, so that a test can show that it would
//! notice. Compiled in with the feature `failpoints` only; otherwise every question is answered
//! with a constant `false`.

#[cfg(feature = "failpoints")]
use std::sync::atomic::{AtomicU32, Ordering};

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
