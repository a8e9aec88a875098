//! How manual compactions are paused, slowed down and stopped.
//!
//! A compaction works piece by piece; between two pieces it asks [`CompactionControl::may_go_on`]. There
//! is no way to interrupt a piece, so what is asked here acts at the next one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often a compaction that waits looks whether it may go on.
const STEP: Duration = Duration::from_millis(20);

/// What operators asked for. Zeros: nothing.
#[derive(Default)]
pub struct CompactionControl {
    /// Raised to stop the compactions that began before.
    epoch: AtomicU64,
    is_paused: AtomicBool,
    /// Bytes of input a second; 0 for no bound.
    bytes_per_second: AtomicU64,
}

/// A compaction that began: it notices if it is to stop.
#[derive(Clone, Copy)]
pub struct Began(u64);

impl CompactionControl {
    /// Begins a compaction.
    pub fn begin(&self) -> Began {
        // ORDERING: here and below, a wish may be seen one piece late; it publishes no other data.
        Began(self.epoch.load(Ordering::Relaxed))
    }

    /// Stops the compactions that run.
    pub fn cancel(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// Holds compactions between two pieces, or lets them go on.
    pub fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Whether compactions are held.
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Bounds the input of each compaction; 0: no bound.
    pub fn limit(&self, bytes_per_second: u64) {
        self.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// The bound; 0: none.
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second.load(Ordering::Relaxed)
    }

    /// Waits as long as is wished after a piece of `bytes`, without counting the time that it took, so
    /// that the rate stays below the bound. `false`: stop.
    pub fn may_go_on(&self, began: Began, bytes: u64) -> bool {
        let mut waited = Duration::ZERO;
        loop {
            if self.epoch.load(Ordering::Relaxed) != began.0 {
                return false;
            }
            let due = match self.bytes_per_second() {
                0 => Duration::ZERO,
                rate => Duration::from_secs_f64((bytes as f64 / rate as f64).min(1e9)),
            };
            if waited >= due && !self.is_paused() {
                return true;
            }
            std::thread::sleep(STEP);
            waited += STEP;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{RecvTimeoutError, channel};

    use super::*;

    #[test]
    fn a_pause_holds_until_it_ends_and_a_cancel_stops() {
        let control = Arc::new(CompactionControl::default());
        let began = control.begin();
        assert!(control.may_go_on(began, 1 << 40));
        for resumes in [true, false] {
            control.pause(true);
            let (sender, receiver) = channel();
            let held = Arc::clone(&control);
            let thread = std::thread::spawn(move || sender.send(held.may_go_on(began, 0)));
            assert_eq!(receiver.recv_timeout(STEP * 5), Err(RecvTimeoutError::Timeout));
            if resumes {
                control.pause(false)
            } else {
                control.cancel()
            }
            assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok(resumes));
            thread.join().expect("it ended").expect("the receiver is there");
        }
    }

    /// A piece of 10 GiB at 1 GiB a second is not done within five steps; without the limit it is.
    #[test]
    fn a_limit_makes_a_compaction_wait() {
        let control = Arc::new(CompactionControl::default());
        control.limit(1 << 30);
        let (sender, receiver) = channel();
        let limited = Arc::clone(&control);
        let began = control.begin();
        let thread = std::thread::spawn(move || sender.send(limited.may_go_on(began, 10 << 30)));
        assert_eq!(receiver.recv_timeout(STEP * 5), Err(RecvTimeoutError::Timeout));
        control.limit(0);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok(true));
        thread.join().expect("it ended").expect("the receiver is there");
    }
}
