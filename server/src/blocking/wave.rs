//! What a commit sets going among the waiters, and when that is over.
//!
//! A commit that changes keys with waiters makes a [`Wave`]. Every turn that the commit causes holds a
//! [`Guard`] of it; the wave is over when the last guard is gone, in whatever way: a turn that ends, a
//! waiter that vanishes and a task that panics drop theirs alike. A turn that commits makes a wave of its
//! own, and hands the guards it holds to it ([`Claim::carry`]): the first wave is over when the nested ones
//! are. A guard only ever goes to a wave of a later commit, so no two waves wait for each other.
//!
//! Nobody waits for a wave but the connection whose command made it.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What one commit caused. Alive as long as its guards.
pub struct Wave {
    /// Guards of earlier waves: the turn that made this one was part of them.
    earlier: Mutex<Vec<Guard>>,
    /// Dropped with the wave, which is how [`Claim::over`] learns of its end.
    _over: oneshot::Sender<()>,
}

/// Holds a wave back from being over.
pub type Guard = Arc<Wave>;

impl Drop for Wave {
    fn drop(&mut self) {
        // One after the other: a chain of moves may be as long as there are clients.
        let mut guards = std::mem::take(self.earlier.get_mut());
        while let Some(guard) = guards.pop() {
            if let Some(mut wave) = Arc::into_inner(guard) {
                guards.append(wave.earlier.get_mut());
            }
        }
    }
}

/// The wave as seen by the command that made it.
pub struct Claim {
    wave: Weak<Wave>,
    over: oneshot::Receiver<()>,
}

impl Claim {
    /// A new wave.
    pub(super) fn new() -> (Guard, Claim) {
        let (sender, over) = oneshot::channel();
        let wave = Arc::new(Wave { earlier: Mutex::default(), _over: sender });
        let claim = Claim { wave: Arc::downgrade(&wave), over };
        (wave, claim)
    }

    /// One more guard, unless the wave is over.
    pub(super) fn guard(&self) -> Option<Guard> {
        self.wave.upgrade()
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.wave.strong_count() == 0
    }

    /// Has the waves of `guards` last as long as this one.
    pub fn carry(&self, guards: Vec<Guard>) {
        if let Some(wave) = self.guard() {
            wave.earlier.lock().extend(guards);
        }
    }

    /// Returns when the wave and those it set going are over.
    pub async fn over(self) {
        // An error is the sender's end, which is what is waited for.
        let _ = self.over.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(claim: &mut Claim) -> bool {
        claim.over.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn a_wave_lasts_as_long_as_what_it_set_going() {
        let (first, mut claim) = Claim::new();
        let (second, mut nested) = Claim::new();
        nested.carry(vec![first]);
        assert!(!is_over(&mut claim) && !is_over(&mut nested));
        let another = nested.guard();
        drop(second);
        assert!(!is_over(&mut claim));
        drop(another);
        assert!(is_over(&mut claim) && is_over(&mut nested) && nested.is_over());
        let (late, mut claim) = Claim::new();
        nested.carry(vec![late]);
        assert!(is_over(&mut claim), "there is nothing left that could hold it back");
    }

    #[test]
    fn a_long_chain_ends_without_a_deep_stack() {
        let (mut guard, mut first) = Claim::new();
        for _ in 0..1_000_000 {
            let (next, claim) = Claim::new();
            claim.carry(vec![guard]);
            guard = next;
        }
        assert!(!is_over(&mut first));
        drop(guard);
        assert!(is_over(&mut first));
    }
}
