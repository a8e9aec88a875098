//! What a wait for cold keys and the fetches that it waits for share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::ids::DbId;

/// Counts the fetches of one ticket down and keeps what they pinned.
pub struct TicketState {
    remaining: AtomicUsize,
    inner: Mutex<Inner>,
    done: Condvar,
}

#[derive(Default)]
struct Inner {
    waker: Option<Waker>,
    error: Option<Error>,
    pinned: Vec<(DbId, Box<[u8]>)>,
    /// The ticket was dropped: nobody would ever undo a further pin.
    is_gone: bool,
}

impl Default for TicketState {
    /// A ticket that waits for one thing: its maker's [`TicketState::complete_one`], so that no
    /// fetch completes it before all have begun.
    fn default() -> Self {
        TicketState { remaining: AtomicUsize::new(1), inner: Mutex::default(), done: Condvar::new() }
    }
}

/// One fetch's duty to a ticket that waits for it. Dropped undone, because the reading thread
/// panicked, it fails the ticket: nobody waits for ever.
pub struct Waiter(Option<Arc<TicketState>>);

impl Waiter {
    /// The duty of a fetch that was added to the ticket.
    #[must_use]
    pub fn new(ticket: &Arc<TicketState>) -> Waiter {
        Waiter(Some(Arc::clone(ticket)))
    }

    /// See [`TicketState::complete_one`].
    #[must_use]
    pub fn complete(mut self, pinned: Option<(DbId, &[u8])>, error: Option<Error>) -> bool {
        self.0.take().is_some_and(|ticket| ticket.complete_one(pinned, error))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            let cause = "a thread that reads the cold tier panicked".into();
            let _ = ticket.complete_one(None, Some(Error::Latched { cause }));
        }
    }
}

impl TicketState {
    /// Adds a fetch to wait for.
    pub fn add_one(&self) {
        self.remaining.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nothing is waited for any more.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.remaining.load(Ordering::Acquire) == 0
    }

    /// Counts one as done. `false`: the ticket is gone and the pin is the caller's to undo.
    #[must_use]
    pub fn complete_one(&self, pinned: Option<(DbId, &[u8])>, error: Option<Error>) -> bool {
        let mut inner = self.inner.lock();
        let is_kept = pinned.is_none() || !inner.is_gone;
        if let (Some((db, key)), true) = (pinned, is_kept) {
            inner.pinned.push((db, Box::from(key)));
        }
        inner.error = inner.error.take().or(error);
        // ORDERING: the mutex orders this with the waiter's check.
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waker = inner.waker.take();
            drop(inner);
            self.done.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        is_kept
    }

    /// Waits on the calling thread.
    pub fn wait(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        while !self.is_ready() {
            self.done.wait(&mut inner);
        }
        inner.error.take().map_or(Ok(()), Err)
    }

    /// For a future: the outcome, or wakes the task later.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = self.inner.lock();
        if self.is_ready() {
            return Poll::Ready(inner.error.take().map_or(Ok(()), Err));
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The ticket is dropped: takes its pins and refuses further ones.
    #[must_use]
    pub fn leave(&self) -> Vec<(DbId, Box<[u8]>)> {
        let mut inner = self.inner.lock();
        inner.is_gone = true;
        std::mem::take(&mut inner.pinned)
    }
}
