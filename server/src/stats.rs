//! Counters. Each worker writes its own, INFO adds them up.
//!
//! A counter has one writer, so it is bumped with a load and a store, never a locked instruction.
//! The clock is read once per run of equal fast commands of a batch, not once per command: the
//! time of such a run is shared out evenly.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Config;

/// Adds to a counter that only this thread writes.
pub fn bump(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// What one worker counts.
pub struct WorkerStats {
    pub commands: CommandStats,
    pub commands_total: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub connections: AtomicU64,
    pub errors_total: AtomicU64,
    /// Error replies by code.
    errors: Mutex<HashMap<String, u64>>,
}

/// Codes kept per worker; what comes after is counted in the total only, as in Redis.
const ERROR_CODES_MAX: usize = 128;

impl WorkerStats {
    #[must_use]
    pub fn new(commands: usize) -> Self {
        WorkerStats {
            commands: CommandStats::new(commands),
            commands_total: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            errors_total: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }

    /// Counts an error reply by its code, the text's first word.
    pub fn count_error(&self, text: &str) {
        bump(&self.errors_total, 1);
        let code = text.split(' ').next().unwrap_or_default();
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_CODES_MAX {
            errors.insert(code.into(), 1);
        }
    }

    /// Adds the counts by code to `into`.
    pub fn collect_errors(&self, into: &mut std::collections::BTreeMap<String, u64>) {
        for (code, count) in &*self.errors.lock() {
            *into.entry(code.clone()).or_default() += count;
        }
    }

    /// CONFIG RESETSTAT. A bump that races it may survive; that is one event off.
    pub fn reset(&self) {
        let totals = [
            &self.commands_total,
            &self.bytes_in,
            &self.bytes_out,
            &self.reads,
            &self.writes,
            &self.connections,
            &self.errors_total,
        ];
        for counter in totals {
            counter.store(0, Relaxed);
        }
        self.errors.lock().clear();
        self.commands.reset();
    }
}

/// Counters of every command, by number.
pub struct CommandStats {
    commands: Box<[CommandCounters]>,
}

/// Counters of one command.
#[derive(Default)]
pub struct CommandCounters {
    pub calls: AtomicU64,
    pub nanos: AtomicU64,
    pub rejected: AtomicU64,
    pub failed: AtomicU64,
    latency: OnceLock<Box<Histogram>>,
}

/// One command's counters, added up over the workers.
#[derive(Clone, Default)]
pub struct CommandTotals {
    pub calls: u64,
    pub nanos: u64,
    pub rejected: u64,
    pub failed: u64,
    /// Calls per bucket of [`Histogram`]; empty when latency was not tracked.
    pub latency: Vec<u64>,
}

impl CommandStats {
    fn new(commands: usize) -> Self {
        CommandStats { commands: (0..commands).map(|_| CommandCounters::default()).collect() }
    }

    pub fn reject(&self, id: usize) {
        bump(&self.commands[id].rejected, 1);
    }

    pub fn fail(&self, id: usize) {
        bump(&self.commands[id].failed, 1);
    }

    /// Counts runs of one command that took this long together.
    pub fn add_calls(&self, id: usize, calls: u64, elapsed: Duration, track_latency: bool) {
        let counters = &self.commands[id];
        let nanos = elapsed.as_nanos() as u64;
        bump(&counters.calls, calls);
        bump(&counters.nanos, nanos);
        if track_latency {
            counters.latency.get_or_init(Box::default).record(nanos / calls.max(1), calls);
        }
    }

    /// Adds one command's counters to `into`.
    pub fn collect(&self, id: usize, into: &mut CommandTotals) {
        let counters = &self.commands[id];
        into.calls += counters.calls.load(Relaxed);
        into.nanos += counters.nanos.load(Relaxed);
        into.rejected += counters.rejected.load(Relaxed);
        into.failed += counters.failed.load(Relaxed);
        if let Some(histogram) = counters.latency.get() {
            into.latency.resize(Histogram::BUCKETS, 0);
            for (sum, bucket) in into.latency.iter_mut().zip(&histogram.buckets) {
                *sum += bucket.load(Relaxed);
            }
        }
    }

    /// Forgets the latencies of one command.
    pub fn reset_latency(&self, id: usize) {
        if let Some(histogram) = self.commands[id].latency.get() {
            histogram.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        }
    }

    fn reset(&self) {
        for (id, counters) in self.commands.iter().enumerate() {
            for counter in [&counters.calls, &counters.nanos, &counters.rejected, &counters.failed] {
                counter.store(0, Relaxed);
            }
            self.reset_latency(id);
        }
    }
}

/// Counts durations in buckets of about 6 % width: sixteen per power of two of nanoseconds.
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; Histogram::BUCKETS] }
    }
}

impl Histogram {
    /// Up to 2^34 ns, about 17 s; what is longer lands in the last bucket.
    pub const BUCKETS: usize = 31 * 16;

    fn record(&self, nanos: u64, count: u64) {
        bump(&self.buckets[Self::bucket_of(nanos)], count);
    }

    fn bucket_of(nanos: u64) -> usize {
        let nanos = nanos.max(16);
        let exponent = nanos.ilog2();
        let index = (exponent as usize - 4) * 16 + ((nanos >> (exponent - 4)) & 15) as usize;
        index.min(Self::BUCKETS - 1)
    }

    /// The largest duration that falls into a bucket, nanoseconds.
    #[must_use]
    pub fn upper_bound_ns(bucket: usize) -> u64 {
        let exponent = bucket / 16;
        (((bucket % 16 + 17) as u64) << exponent) - 1
    }

    /// The duration below which `share` (0 to 1) of the calls stayed, nanoseconds.
    #[must_use]
    pub fn quantile_ns(buckets: &[u64], share: f64) -> u64 {
        let total: u64 = buckets.iter().sum();
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        let bucket = buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(0, Self::upper_bound_ns)
    }
}

/// Shares the time of a batch out to its commands.
pub struct Stopwatch {
    last: Cell<Instant>,
    /// The run of equal fast commands that was not accounted for yet.
    run_command: Cell<usize>,
    run_calls: Cell<u64>,
    track_latency: Cell<bool>,
}

/// Longest run that is timed as one.
const RUN_MAX: u64 = 16;

/// Below this threshold of SLOWLOG every command is timed by itself, microseconds.
const EXACT_BELOW_US: i64 = 1000;

impl Default for Stopwatch {
    fn default() -> Self {
        Stopwatch {
            last: Cell::new(Instant::now()),
            run_command: Cell::new(0),
            run_calls: Cell::new(0),
            track_latency: Cell::new(true),
        }
    }
}

impl Stopwatch {
    /// Starts a batch, or goes on after a wait.
    pub fn start(&self) {
        self.last.set(Instant::now());
    }

    /// The command with this number begins.
    pub fn before(&self, stats: &WorkerStats, command: usize, is_fast: bool) {
        let is_other = self.run_command.get() != command;
        if self.run_calls.get() > 0 && (is_other || !is_fast) {
            self.settle(stats);
        }
        self.run_command.set(command);
    }

    /// It ended. Microseconds of the run if it is accounted for now, as the last one of a batch
    /// always is.
    pub fn after(&self, stats: &WorkerStats, config: &Config, is_fast: bool, is_last: bool) -> Option<u64> {
        self.run_calls.set(self.run_calls.get() + 1);
        self.track_latency.set(config.latency_tracking);
        let is_due = is_last
            || !is_fast
            || self.run_calls.get() >= RUN_MAX
            || (0..EXACT_BELOW_US).contains(&config.slowlog_log_slower_than);
        is_due.then(|| self.settle(stats).as_micros() as u64)
    }

    /// A command waits: what it did so far counts, the wait does not.
    pub fn pause(&self) {
        // The run before it keeps its share: it is settled with the next command's start.
        if self.run_calls.get() == 0 {
            self.start();
        }
    }

    fn settle(&self, stats: &WorkerStats) -> Duration {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.last.replace(now));
        let calls = self.run_calls.replace(0);
        bump(&stats.commands_total, calls);
        stats.commands.add_calls(self.run_command.get(), calls, elapsed, self.track_latency.get());
        elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        for nanos in [0, 16, 17, 31, 32, 33, 1000, 4015, 1_000_000, 16_000_000_000] {
            let bucket = Histogram::bucket_of(nanos);
            let upper = Histogram::upper_bound_ns(bucket);
            assert!(nanos <= upper && (upper as f64) <= nanos.max(16) as f64 * 1.07, "{nanos} in {upper}");
        }
        assert_eq!(Histogram::bucket_of(u64::MAX), Histogram::BUCKETS - 1);
    }

    #[test]
    fn quantiles_come_from_the_right_bucket() {
        let histogram = Histogram::default();
        histogram.record(1000, 99);
        histogram.record(1_000_000, 1);
        let counts: Vec<u64> = histogram.buckets.iter().map(|b| b.load(Relaxed)).collect();
        assert!((1000..1070).contains(&Histogram::quantile_ns(&counts, 0.5)));
        assert!((1000..1070).contains(&Histogram::quantile_ns(&counts, 0.99)));
        assert!(Histogram::quantile_ns(&counts, 0.999) >= 1_000_000);
    }
}
