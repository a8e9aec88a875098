//! Waiting for a number to reach a value: for tasks through wakers, for threads on a condition.
//!
//! [`Waiters`] holds one number that only grows (the durable LSN, a generation). Tasks await
//! [`Waiters::at_least`], threads block in [`Waiters::wait_blocking`]; [`Waiters::advance`] wakes
//! exactly those whose value is reached, [`Waiters::close`] everybody else with [`Closed`].
//!
//! No wake-up is lost: the number is raised and waiters are registered under one lock, and a
//! waiter checks the number under that lock before it registers. A dropped future takes its
//! registration along. Wakers run outside the lock. Needs no async runtime.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The number will not grow any more: whoever raised it has failed or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// How a blocking wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The value was reached.
    Reached,
    /// The time passed first.
    TimedOut,
    /// The number was closed below the value.
    Closed,
}

/// One growing number and those who wait for it.
#[derive(Debug, Default)]
pub struct Waiters {
    value: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    ticket: u64,
    threads: usize,
    /// Keyed by the awaited value, then by a ticket that tells equal values apart.
    wakers: BTreeMap<(u64, u64), Waker>,
}

impl Waiters {
    /// A number that starts at `value`.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Waiters { value: AtomicU64::new(value), ..Self::default() }
    }

    /// The number now.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        // ORDERING: pairs with the release in `advance`: who sees the number sees what led to it.
        self.value.load(Ordering::Acquire)
    }

    /// Raises the number to `value` (never lowers it) and wakes those who waited for it.
    pub fn advance(&self, value: u64) {
        let mut state = self.state.lock();
        if value <= self.value.load(Ordering::Relaxed) {
            return;
        }
        self.value.store(value, Ordering::Release);
        let later = state.wakers.split_off(&(value.saturating_add(1), 0));
        let reached = std::mem::replace(&mut state.wakers, later);
        self.wake(state, reached);
    }

    /// Raises the number by one.
    pub fn bump(&self) {
        let mut state = self.state.lock();
        let value = self.value.load(Ordering::Relaxed) + 1;
        self.value.store(value, Ordering::Release);
        let later = state.wakers.split_off(&(value + 1, 0));
        let reached = std::mem::replace(&mut state.wakers, later);
        self.wake(state, reached);
    }

    /// Ends all waits that are not satisfied, present and future, with [`Closed`].
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let all = std::mem::take(&mut state.wakers);
        self.wake(state, all);
    }

    fn wake(&self, state: parking_lot::MutexGuard<'_, State>, wakers: BTreeMap<(u64, u64), Waker>) {
        if state.threads > 0 {
            self.changed.notify_all();
        }
        drop(state);
        for waker in wakers.into_values() {
            waker.wake();
        }
    }

    /// A future that resolves once the number is at least `value`.
    pub fn at_least(self: &Arc<Self>, value: u64) -> AtLeast {
        AtLeast { waiters: Arc::clone(self), value, ticket: None }
    }

    /// Blocks the thread until the number is at least `value`; forever without a timeout.
    pub fn wait_blocking(&self, value: u64, timeout: Option<Duration>) -> Waited {
        if self.value() >= value {
            return Waited::Reached;
        }
        // A deadline far beyond any process's life stands for an overflow of the clock.
        let deadline = timeout.and_then(deadline_after);
        let mut state = self.state.lock();
        state.threads += 1;
        let outcome = loop {
            if self.value() >= value {
                break Waited::Reached;
            }
            if state.closed {
                break Waited::Closed;
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(at) => {
                    if self.changed.wait_until(&mut state, at).timed_out() {
                        break if self.value() >= value { Waited::Reached } else { Waited::TimedOut };
                    }
                }
            }
        };
        state.threads -= 1;
        outcome
    }
}

/// The real clock is right here in every environment: it bounds how long a thread sleeps and
/// decides nothing that is stored.
fn deadline_after(timeout: Duration) -> Option<std::time::Instant> {
    std::time::Instant::now().checked_add(timeout)
}

/// Future of [`Waiters::at_least`]. Dropping it withdraws the wait.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct AtLeast {
    waiters: Arc<Waiters>,
    value: u64,
    ticket: Option<u64>,
}

impl Future for AtLeast {
    type Output = Result<(), Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.waiters.value() >= this.value {
            return Poll::Ready(Ok(()));
        }
        let mut state = this.waiters.state.lock();
        if this.waiters.value() >= this.value {
            return Poll::Ready(Ok(()));
        }
        if state.closed {
            return Poll::Ready(Err(Closed));
        }
        let ticket = *this.ticket.get_or_insert_with(|| {
            state.ticket += 1;
            state.ticket
        });
        match state.wakers.get_mut(&(this.value, ticket)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                state.wakers.insert((this.value, ticket), cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

impl Drop for AtLeast {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.waiters.state.lock().wakers.remove(&(self.value, ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use std::thread;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(future: &mut AtLeast, count: &Arc<Count>) -> Poll<Result<(), Closed>> {
        let waker = Waker::from(Arc::clone(count));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_task_is_woken_once_its_value_is_reached() {
        let waiters = Arc::new(Waiters::new(3));
        let (near, far) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (mut a, mut b) = (waiters.at_least(5), waiters.at_least(9));
        assert!(poll(&mut a, &near).is_pending());
        assert!(poll(&mut a, &near).is_pending());
        assert!(poll(&mut b, &far).is_pending());
        waiters.advance(4);
        assert_eq!(near.0.load(Ordering::SeqCst), 0);
        waiters.advance(7);
        assert_eq!((near.0.load(Ordering::SeqCst), far.0.load(Ordering::SeqCst)), (1, 0));
        assert_eq!(poll(&mut a, &near), Poll::Ready(Ok(())));
        waiters.advance(2);
        assert_eq!(waiters.value(), 7);
        waiters.close();
        assert_eq!(poll(&mut b, &far), Poll::Ready(Err(Closed)));
        assert_eq!(poll(&mut waiters.at_least(7), &far), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_dropped_future_leaves_nothing_behind() {
        let waiters = Arc::new(Waiters::new(0));
        let count = Arc::new(Count::default());
        let mut future = waiters.at_least(1);
        assert!(poll(&mut future, &count).is_pending());
        drop(future);
        assert!(waiters.state.lock().wakers.is_empty());
        waiters.advance(1);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn threads_wait_time_out_and_are_closed() {
        let waiters = Arc::new(Waiters::new(0));
        assert_eq!(waiters.wait_blocking(1, Some(Duration::from_millis(5))), Waited::TimedOut);
        let threads: Vec<_> = (1..=4)
            .map(|n| {
                let waiters = Arc::clone(&waiters);
                thread::spawn(move || waiters.wait_blocking(n, None))
            })
            .collect();
        for _ in 0..3 {
            waiters.bump();
        }
        waiters.close();
        let outcomes: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(outcomes, [Waited::Reached, Waited::Reached, Waited::Reached, Waited::Closed]);
    }

    #[test]
    fn no_wake_up_is_lost_under_contention() {
        let waiters = Arc::new(Waiters::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let waiters = Arc::clone(&waiters);
                thread::spawn(move || {
                    for n in 1..=2000 {
                        assert_eq!(waiters.wait_blocking(n, None), Waited::Reached);
                    }
                })
            })
            .collect();
        for n in 1..=2000 {
            waiters.advance(n);
        }
        threads.into_iter().for_each(|t| t.join().unwrap());
    }
}
