//! What a wait for cold keys and the fetches that it waits for share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::{Condvar, Mutex};

use super::pins::PinPool;
use crate::error::{Error, Result};
use crate::ids::DbId;

/// Counts the fetches of one ticket down and keeps what they pinned.
pub struct TicketState {
    remaining: AtomicUsize,
    inner: Mutex<Inner>,
    done: Condvar,
    /// It is its command's turn: it gets its pins whether there is room or not.
    has_turn: bool,
}

#[derive(Default)]
struct Inner {
    waker: Option<Waker>,
    error: Option<Error>,
    pinned: Vec<(DbId, Box<[u8]>)>,
    /// Room of the pool that it has.
    bytes: usize,
    /// There was no room for a pin.
    is_short: bool,
    /// The ticket was dropped: nobody would ever undo a further pin.
    is_gone: bool,
}

/// A command may pin so many times what all share, when it is its turn: half of the budget.
const TURN_SHARES: usize = 4;

/// One fetch's duty to a ticket that waits for it. Dropped undone, because the reading thread
/// panicked, it fails the ticket: nobody waits for ever.
pub struct Waiter(Option<Arc<TicketState>>);

impl Waiter {
    /// The duty of a fetch that was added to the ticket.
    #[must_use]
    pub fn new(ticket: &Arc<TicketState>) -> Waiter {
        Waiter(Some(Arc::clone(ticket)))
    }

    /// See [`TicketState::grant`].
    pub fn grant(&self, pool: &PinPool, bytes: usize) -> Result<bool> {
        self.0.as_ref().map_or(Ok(false), |ticket| ticket.grant(pool, bytes))
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
    /// A ticket that waits for one thing: its maker's [`TicketState::complete_one`], so that no
    /// fetch completes it before all have begun.
    #[must_use]
    pub fn new(has_turn: bool) -> Self {
        let remaining = AtomicUsize::new(1);
        TicketState { remaining, inner: Mutex::default(), done: Condvar::new(), has_turn }
    }

    /// Asks for room for a pin. `false`: there is none, and the ticket is short.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if one command wants half of the budget for several keys.
    fn grant(&self, pool: &PinPool, bytes: usize) -> Result<bool> {
        let mut inner = self.inner.lock();
        if inner.is_gone {
            return Ok(false);
        }
        if self.has_turn {
            let (wanted, limit) = (inner.bytes.saturating_add(bytes), pool.limit() * TURN_SHARES);
            if inner.bytes > 0 && wanted > limit {
                let what = "sum of the values of one command";
                return Err(Error::TooLarge { what, bytes: wanted as u64, limit: limit as u64 });
            }
            pool.take_anyway(bytes);
        } else if !pool.take(bytes) {
            inner.is_short = true;
            return Ok(false);
        }
        inner.bytes += bytes;
        Ok(true)
    }

    /// Whether there was no room for a pin.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.inner.lock().is_short
    }

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

    /// The ticket is dropped: takes its pins and the room for them, and refuses further ones.
    #[must_use]
    pub fn leave(&self) -> (Vec<(DbId, Box<[u8]>)>, usize) {
        let mut inner = self.inner.lock();
        inner.is_gone = true;
        (std::mem::take(&mut inner.pinned), std::mem::take(&mut inner.bytes))
    }
}
