//! Which scripts run now, and how another connection ends one.
//!
//! Every interpreter has one [`Run`]; [`Runs`] knows them all. The running script looks at its own
//! from the instruction hook; SCRIPT KILL, FUNCTION STATS and the BUSY check look from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What kind of script it is; decides between SCRIPT KILL and FUNCTION KILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Eval,
    Function,
}

/// A script that runs, as FUNCTION STATS tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub kind: Kind,
    /// The SHA1 of the script, or the name of the function.
    pub name: String,
    /// The command that started it.
    pub command: Vec<Vec<u8>>,
    pub duration: Duration,
}

/// Why a script was not killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillError {
    /// Nothing runs.
    NotBusy,
    /// It has written; ending it halfway would break its atomicity.
    HasWritten,
    /// What runs is of the other kind.
    OtherKind,
}

struct Started {
    kind: Kind,
    name: String,
    command: Vec<Vec<u8>>,
    at: Instant,
}

const IDLE: u8 = 0;
const PURE: u8 = 1;
const WROTE: u8 = 2;
const KILLED: u8 = 3;

/// Asks before a script's first write; see [`WriteGate::open`].
pub struct WriteGate<'a>(&'a Run);

impl WriteGate<'_> {
    /// Must be called before a command of the script changes anything. False when the script was
    /// killed: the command must not run.
    #[must_use]
    pub fn open(&self) -> bool {
        self.0.may_write()
    }
}

/// The state of one interpreter's script.
pub struct Run {
    /// IDLE, PURE (has not written), WROTE or KILLED. One word, so that a kill and a first write
    /// cannot both win.
    state: AtomicU8,
    is_slow: AtomicBool,
    is_published: AtomicBool,
    /// Bytes the interpreter held after its last script.
    memory: AtomicUsize,
    started: Mutex<Option<Started>>,
    runs: Arc<RunsShared>,
}

#[derive(Default)]
struct RunsShared {
    slow: AtomicUsize,
    /// The server stops: no script runs any more.
    is_over: AtomicBool,
}

/// All interpreters' runs.
#[derive(Default)]
pub struct Runs {
    all: Mutex<Vec<Arc<Run>>>,
    shared: Arc<RunsShared>,
}

impl Runs {
    /// A place for one more interpreter.
    pub(super) fn register(&self) -> Arc<Run> {
        let run = Arc::new(Run {
            state: AtomicU8::new(IDLE),
            is_slow: AtomicBool::new(false),
            is_published: AtomicBool::new(false),
            memory: AtomicUsize::new(0),
            started: Mutex::new(None),
            runs: Arc::clone(&self.shared),
        });
        self.all.lock().push(Arc::clone(&run));
        run
    }

    /// Forgets the interpreter of `run`.
    pub(super) fn forget(&self, run: &Arc<Run>) {
        self.all.lock().retain(|other| !Arc::ptr_eq(other, run));
    }

    /// Bytes that all interpreters held after their last scripts.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.all.lock().iter().map(|run| run.memory.load(Ordering::Relaxed)).sum()
    }

    /// Whether a script has run longer than `busy-reply-threshold`. Costs one load.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        // ORDERING: a hint; a command that just misses it waits for the script's locks instead.
        self.shared.slow.load(Ordering::Relaxed) > 0
    }

    /// The kind of a script that is slow.
    #[must_use]
    pub fn busy_kind(&self) -> Option<Kind> {
        let all = self.all.lock();
        let slow = all.iter().find(|run| run.is_slow.load(Ordering::Relaxed));
        slow.and_then(|run| run.started.lock().as_ref().map(|started| started.kind))
    }

    /// The script that has run longest.
    #[must_use]
    pub fn running(&self) -> Option<Running> {
        let all = self.all.lock();
        let mut oldest: Option<(Instant, Running)> = None;
        for run in all.iter() {
            let started = run.started.lock();
            let Some(started) = started.as_ref() else { continue };
            if oldest.as_ref().is_none_or(|(at, _)| started.at < *at) {
                let running = Running {
                    kind: started.kind,
                    name: started.name.clone(),
                    command: started.command.clone(),
                    duration: started.at.elapsed(),
                };
                oldest = Some((started.at, running));
            }
        }
        oldest.map(|(_, running)| running)
    }

    /// Ends all scripts, whether they have written or not, and those that begin later. The server stops, and
    /// what they wrote is in transactions that are not committed.
    pub fn end_all(&self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.all.lock().iter().for_each(|run| run.state.store(KILLED, Ordering::SeqCst));
    }

    /// Ends the scripts of `kind` that have not written.
    ///
    /// # Errors
    /// When there is none to end.
    pub fn kill(&self, kind: Kind) -> Result<(), KillError> {
        let mut result = Err(KillError::NotBusy);
        for run in self.all.lock().iter() {
            let started = run.started.lock();
            match started.as_ref() {
                None => {}
                Some(started) if started.kind != kind => result = result.or(Err(KillError::OtherKind)),
                Some(_) if run.try_kill() => result = Ok(()),
                Some(_) => result = result.or(Err(KillError::HasWritten)),
            }
        }
        result
    }
}

impl Run {
    pub(super) fn gate(&self) -> WriteGate<'_> {
        WriteGate(self)
    }

    pub(super) fn begin(&self) {
        self.state.store(PURE, Ordering::SeqCst);
        if self.runs.is_over.load(Ordering::SeqCst) {
            self.state.store(KILLED, Ordering::SeqCst);
        }
    }

    /// Shows the script to others. Most scripts end before anyone could ask for them, so it happens
    /// at the first look at the clock.
    pub(super) fn publish(&self, kind: Kind, name: &str, command: Vec<Vec<u8>>, at: Instant) {
        self.is_published.store(true, Ordering::Relaxed);
        *self.started.lock() = Some(Started { kind, name: name.to_owned(), command, at });
    }

    pub(super) fn is_published(&self) -> bool {
        self.is_published.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self, memory_used: usize) {
        self.memory.store(memory_used, Ordering::Relaxed);
        if self.is_published.swap(false, Ordering::Relaxed) {
            *self.started.lock() = None;
        }
        self.state.store(IDLE, Ordering::Release);
        if self.is_slow.swap(false, Ordering::Relaxed) {
            self.runs.slow.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn mark_slow(&self) -> bool {
        let is_new = !self.is_slow.swap(true, Ordering::Relaxed);
        if is_new {
            self.runs.slow.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// Notes that the script is about to change data; false when it was killed before.
    pub(super) fn may_write(&self) -> bool {
        // ORDERING: the exchange decides between this write and a kill.
        match self.state.compare_exchange(PURE, WROTE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state != KILLED,
        }
    }

    fn try_kill(&self) -> bool {
        match self.state.compare_exchange(PURE, KILLED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == KILLED,
        }
    }

    pub(super) fn is_killed(&self) -> bool {
        self.state.load(Ordering::Acquire) == KILLED
    }
}
