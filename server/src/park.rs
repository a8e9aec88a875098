//! What a worker does before it sleeps: under load it lets others run first.
//!
//! A worker with no ready connection sleeps in the kernel until the next request. On a machine where
//! clients share the cores, the first request that a client sends then wakes the worker, which preempts
//! the client before it could send its second: each request costs two context switches. So a busy worker
//! yields once before it sleeps. Whoever is waiting for this core runs, and what it sent meanwhile is
//! one batch. With nobody waiting a yield returns at once.
//!
//! Who yields gives up being woken in the middle of another's time slice, some milliseconds long. A worker
//! that slept seldom lately does not yield, so one request to a quiet server never waits for a slice.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Sleeps after which a worker looks at the clock.
const PARKS: u32 = 64;
/// A worker that slept [`PARKS`] times within this is busy: 2,000 times a second.
const BUSY: Duration = Duration::from_millis(32);

/// How often one worker slept lately.
struct Pace {
    parks: Cell<u32>,
    since: Cell<Option<Instant>>,
    is_busy: Cell<bool>,
}

thread_local! {
    static PACE: Pace = const { Pace::new() };
}

impl Pace {
    const fn new() -> Pace {
        Pace { parks: Cell::new(0), since: Cell::new(None), is_busy: Cell::new(false) }
    }

    /// Counts a sleep; `now` is asked for only once in a while. Returns whether the worker is busy.
    fn count(&self, now: impl FnOnce() -> Instant) -> bool {
        let parks = self.parks.get() + 1;
        if parks < PARKS {
            self.parks.set(parks);
            return self.is_busy.get();
        }
        let now = now();
        let is_busy = self.since.get().is_some_and(|since| now.duration_since(since) < BUSY);
        self.parks.set(0);
        self.since.set(Some(now));
        self.is_busy.set(is_busy);
        is_busy
    }
}

/// Called by a worker that is about to sleep.
pub fn before() {
    if PACE.with(|pace| pace.count(Instant::now)) {
        rustix::thread::sched_yield();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_frequent_sleeps_are_busy() {
        let (pace, start) = (Pace::new(), Instant::now());
        let mut now = start;
        let mut sleep = |pause: Duration, times: u32| {
            let mut is_busy = false;
            for _ in 0..times {
                now += pause;
                is_busy = pace.count(|| now);
            }
            is_busy
        };
        assert!(!sleep(Duration::from_micros(50), PARKS), "the first look has nothing to compare with");
        assert!(sleep(Duration::from_micros(50), PARKS));
        assert!(!sleep(Duration::from_millis(1), PARKS));
        assert!(!sleep(Duration::from_secs(60), 10 * PARKS));
    }
}
