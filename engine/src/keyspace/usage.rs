//! When and how often an entry was used: what OBJECT IDLETIME and FREQ show, and what the LRU and LFU
//! policies of cache mode choose by.
//!
//! The time is 24 bits of Unix seconds, as in Redis: exact to a second. Idle times up to
//! [`IDLE_SECONDS_MAX`] can be told; after that a key seems used again. The last part of the range
//! stands for times ahead of the clock, which a clock that was set back leaves behind.
//!
//! The counter is Redis's: it grows by chance, the less likely the higher it is, and loses one for
//! each `lfu-decay-time` minutes without a use. It only counts while an LFU policy is selected, so
//! that nobody else pays for it.
//!
//! Neither is stored: what comes from the cold tier has no usage. Such a key counts as used when the
//! last key left the memory of its shard, which it was at the latest (see `Shard::cold_used_at`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::eviction::policy::Lfu;

const MASK: u32 = (1 << 24) - 1;
/// So far ahead of the clock a time may be and still count as now: about twelve days.
const AHEAD_SECONDS_MAX: u32 = 1 << 20;
/// The longest idle time that can be told, about 182 days.
pub const IDLE_SECONDS_MAX: u32 = MASK - AHEAD_SECONDS_MAX;
/// Where the counter of a new key starts, so that it is not the first to go.
const USES_NEW: u8 = 5;

/// A moment at which an entry was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsedAt(u32);

impl UsedAt {
    /// The moment, in Unix milliseconds.
    #[inline]
    #[must_use]
    pub fn new(unix_ms: u64) -> Self {
        UsedAt((unix_ms / 1000) as u32 & MASK)
    }

    /// The moment that was so many seconds before; as far back as can be told.
    #[must_use]
    pub fn before(self, seconds: u64) -> Self {
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).min(IDLE_SECONDS_MAX);
        UsedAt(self.0.wrapping_sub(seconds) & MASK)
    }

    /// Seconds from this moment until `now`.
    #[must_use]
    pub fn idle_seconds(self, now: UsedAt) -> u32 {
        let passed = now.0.wrapping_sub(self.0) & MASK;
        if passed > IDLE_SECONDS_MAX { 0 } else { passed }
    }

    /// The later one of two moments.
    #[must_use]
    pub fn later(self, other: UsedAt) -> UsedAt {
        if other.0.wrapping_sub(self.0) & MASK <= MASK / 2 { other } else { self }
    }

    #[inline]
    pub(super) fn from_le_bytes([a, b, c]: [u8; 3]) -> Self {
        UsedAt(u32::from_le_bytes([a, b, c, 0]))
    }

    #[inline]
    pub(super) fn to_le_bytes(self) -> [u8; 3] {
        let [a, b, c, _] = self.0.to_le_bytes();
        [a, b, c]
    }
}

impl std::fmt::Display for UsedAt {
    /// Unix seconds, the last 24 bits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// When and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub at: UsedAt,
    /// LFU's counter as of `at`.
    pub uses: u8,
}

impl Usage {
    /// The usage of a key that is new.
    #[inline]
    #[must_use]
    pub fn new(at: UsedAt) -> Self {
        Usage { at, uses: USES_NEW }
    }

    /// LFU's counter as of `now`.
    #[must_use]
    pub fn frequency(self, now: UsedAt, rules: Lfu) -> u8 {
        // Whole minutes of the clock, as in Redis: what is used twice a minute decays too.
        let minutes = (self.at.idle_seconds(now) + self.at.0 % 60) / 60;
        let periods = minutes.checked_div(rules.decay_minutes).unwrap_or(0);
        self.uses.saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX))
    }

    /// The usage after one more use; `random` are uniform bits.
    #[must_use]
    pub fn counted(self, now: UsedAt, rules: Lfu, random: u32) -> Usage {
        let uses = self.frequency(now, rules);
        let above = f64::from(uses.saturating_sub(USES_NEW));
        let chance = 1.0 / (above * f64::from(rules.log_factor) + 1.0);
        let counts = f64::from(random) < chance * f64::from(u32::MAX);
        Usage { at: now, uses: if counts { uses.saturating_add(1) } else { uses } }
    }
}

/// The rules in force, for many readers.
pub struct UsageRules {
    bits: AtomicU64,
    random: AtomicU64,
}

/// The bit that says that uses are counted.
const COUNTS: u64 = 1 << 63;

impl Default for UsageRules {
    fn default() -> Self {
        let rules = UsageRules { bits: AtomicU64::new(0), random: AtomicU64::new(1) };
        rules.set(false, Lfu::default());
        rules
    }
}

impl UsageRules {
    /// Sets whether uses are counted, and how.
    pub fn set(&self, counts: bool, lfu: Lfu) {
        let log_factor = u64::from(lfu.log_factor.min(i32::MAX as u32));
        let bits = log_factor << 32 | u64::from(lfu.decay_minutes) | if counts { COUNTS } else { 0 };
        self.bits.store(bits, Ordering::Relaxed);
    }

    /// Uniform bits, for the chance in LFU's counter.
    #[must_use]
    pub fn random(&self) -> u32 {
        // A linear congruential generator (Knuth, MMIX); its high bits are the good ones. Two threads may
        // draw the same number, which does no harm.
        let last = self.random.load(Ordering::Relaxed);
        let next = last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random.store(next, Ordering::Relaxed);
        (next >> 32) as u32
    }

    /// How uses are counted; `None`: they are not.
    #[inline]
    #[must_use]
    pub fn counting(&self) -> Option<Lfu> {
        let bits = self.bits.load(Ordering::Relaxed);
        if bits & COUNTS != 0 { Some(self.lfu()) } else { None }
    }

    /// How LFU's counter grows and falls.
    #[must_use]
    pub fn lfu(&self) -> Lfu {
        let bits = self.bits.load(Ordering::Relaxed);
        Lfu { log_factor: (bits >> 32) as u32 & i32::MAX as u32, decay_minutes: bits as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;
    const NOW_MS: u64 = 1_700_000_000_000;

    #[test]
    fn idle_time_is_exact_up_to_its_ceiling() {
        let at = UsedAt::new(NOW_MS);
        for (passed_ms, idle) in [(0, 0), (999, 0), (1000, 1), (180 * DAY_MS, 180 * 86_400)] {
            assert_eq!(at.idle_seconds(UsedAt::new(NOW_MS + passed_ms)), idle, "{passed_ms} ms");
        }
        // The clock was set back.
        assert_eq!(at.idle_seconds(UsedAt::new(NOW_MS - 10 * DAY_MS)), 0);
        assert_eq!(at.before(77).idle_seconds(at), 77);
        assert_eq!(at.before(u64::MAX).idle_seconds(at), IDLE_SECONDS_MAX);
    }

    #[test]
    fn the_later_moment_is_told_across_the_wrap() {
        let wrap_ms = (1u64 << 24) * 1000;
        let (before, after) = (UsedAt::new(wrap_ms - 1), UsedAt::new(wrap_ms));
        assert_eq!((before.later(after), after.later(before)), (after, after));
        assert_eq!(before.idle_seconds(after), 1);
    }

    #[test]
    fn the_counter_falls_with_time_and_never_below_zero() {
        let at = UsedAt::new(NOW_MS);
        let usage = Usage { at, uses: 7 };
        let every_2 = Lfu { decay_minutes: 2, ..Lfu::default() };
        for (minutes, left) in [(0, 7), (1, 7), (2, 6), (13, 1), (14, 0), (100_000, 0)] {
            let now = UsedAt::new(NOW_MS + minutes * 60_000);
            assert_eq!(usage.frequency(now, every_2), left, "after {minutes} minutes");
            assert_eq!(usage.frequency(now, Lfu { decay_minutes: 0, ..every_2 }), 7);
        }
    }

    #[test]
    fn the_counter_grows_slower_the_higher_the_factor() {
        let at = UsedAt::new(NOW_MS);
        let after_uses = |log_factor: u32, uses: u32| {
            let (mut usage, mut random) = (Usage::new(at), 1u64);
            for _ in 0..uses {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let rules = Lfu { log_factor, decay_minutes: 1 };
                usage = usage.counted(at, rules, (random >> 32) as u32);
            }
            usage.uses
        };
        // Redis's own table for factors and hits, with room for chance.
        assert!((95..=115).contains(&after_uses(0, 100)), "{}", after_uses(0, 100));
        assert!((7..=14).contains(&after_uses(10, 100)), "{}", after_uses(10, 100));
        assert!((120..=165).contains(&after_uses(10, 100_000)), "{}", after_uses(10, 100_000));
        assert!((5..=9).contains(&after_uses(100, 100)), "{}", after_uses(100, 100));
        assert_eq!(after_uses(0, 100_000), 255);
    }

    #[test]
    fn rules_come_back_as_they_were_set() {
        let rules = UsageRules::default();
        assert_eq!((rules.counting(), rules.lfu()), (None, Lfu::default()));
        let lfu = Lfu { log_factor: i32::MAX as u32, decay_minutes: i32::MAX as u32 };
        rules.set(true, lfu);
        assert_eq!(rules.counting(), Some(lfu));
    }
}
