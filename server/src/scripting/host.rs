//! What the native functions of one interpreter share: the script's caller, its limits, and whether
//! it shall end.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlua::Function;

use super::Caller;
use super::native::Fail;
use super::reply::Recorded;
use super::run::{Kind, Run};

/// How many looks at the stop flag pass between two looks at the clock.
const CHECKS_BETWEEN_POLLS: u32 = 1 << 10;

/// The seed of Redis's generator: scripts draw the same numbers every time.
const RANDOM_START: u64 = 0x1234_abcd_330e;

/// A function that a library registered while it loaded.
pub(super) struct Registered {
    pub name: String,
    pub description: Option<String>,
    pub flags: super::shebang::ScriptFlags,
    pub callback: Function,
}

/// Why a script must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Killed,
    /// A command cannot run now.
    Interrupted,
    /// It has to go on elsewhere.
    TooLong,
    /// A library loads for too long.
    LoadTimeout,
}

/// See the module's documentation.
pub(super) struct Host {
    caller: Cell<Option<NonNull<dyn Caller>>>,
    pub run: Arc<Run>,
    pub memory_max: Cell<usize>,
    pub busy_after: Cell<Option<Duration>>,
    pub here_max: Cell<Option<Duration>>,
    /// The script's kind and name; none while a library loads.
    pub current: RefCell<Option<(Kind, Arc<str>)>>,
    pub started_at: Cell<Instant>,
    pub load_deadline: Cell<Option<Instant>>,
    stop: Cell<Option<Stop>>,
    pub stopped_at: RefCell<Option<(String, usize)>>,
    checks: Cell<u32>,
    pub is_resp3: Cell<bool>,
    random: Cell<u64>,
    pub reply: RefCell<Recorded>,
    pub registered: RefCell<Option<Vec<Registered>>>,
}

impl Host {
    pub fn new(run: Arc<Run>, memory_max: usize) -> Self {
        Host {
            caller: Cell::new(None),
            run,
            memory_max: Cell::new(memory_max),
            busy_after: Cell::new(None),
            here_max: Cell::new(None),
            current: RefCell::new(None),
            started_at: Cell::new(Instant::now()),
            load_deadline: Cell::new(None),
            stop: Cell::new(None),
            stopped_at: RefCell::new(None),
            checks: Cell::new(0),
            is_resp3: Cell::new(false),
            random: Cell::new(RANDOM_START),
            reply: RefCell::new(Recorded::default()),
            registered: RefCell::new(None),
        }
    }

    /// Prepares for the next script.
    pub fn reset(&self) {
        self.stop.set(None);
        self.started_at.set(Instant::now());
        *self.stopped_at.borrow_mut() = None;
        self.is_resp3.set(false);
        self.random.set(RANDOM_START);
    }

    /// Runs `body` with `caller` behind `redis.call`.
    pub fn with_caller<R>(&self, caller: &mut dyn Caller, body: impl FnOnce() -> R) -> R {
        /// Takes the pointer away however `body` ends.
        struct Guard<'a>(&'a Host);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.caller.set(None);
            }
        }
        let caller: NonNull<dyn Caller + '_> = NonNull::from(caller);
        // SAFETY: only the lifetime changes. The pointer is gone (the guard's drop) before the
        // borrow it came from ends.
        let caller: NonNull<dyn Caller> = unsafe { std::mem::transmute(caller) };
        let _guard = Guard(self);
        self.caller.set(Some(caller));
        body()
    }

    /// Lends the script's caller; `None` outside a script, and inside a call.
    pub fn lend<R>(&self, body: impl FnOnce(&mut dyn Caller) -> R) -> Option<R> {
        let mut pointer = self.caller.take()?;
        // SAFETY: `with_caller` keeps the borrow alive while the pointer is set, and taking it out
        // of the cell makes this the only use until it is put back.
        let result = body(unsafe { pointer.as_mut() });
        self.caller.set(Some(pointer));
        Some(result)
    }

    /// An error when `bytes` is more than an interpreter may hold.
    pub fn check_size(&self, bytes: usize) -> Result<(), Fail> {
        if bytes > self.memory_max.get() { Err(Fail::from("not enough memory")) } else { self.check_stop() }
    }

    /// An error when the script shall end. Cheap: for loops.
    pub fn check_stop(&self) -> Result<(), Fail> {
        let checks = self.checks.get().wrapping_add(1);
        self.checks.set(checks);
        if checks.is_multiple_of(CHECKS_BETWEEN_POLLS) && self.wants_stop() {
            return Err(Fail::Lua(mlua::Error::runtime("script killed")));
        }
        Ok(())
    }

    /// Looks at the clock and at what others want; true when the script must end.
    pub fn wants_stop(&self) -> bool {
        if self.stop.get().is_some() {
            return true;
        }
        if let Some((kind, name)) = self.current.borrow().as_ref()
            && !self.run.is_published()
        {
            let command = self.lend(|caller| caller.command()).unwrap_or_default();
            self.run.publish(*kind, name, command, self.started_at.get());
        }
        let is_past =
            |limit: Option<Duration>| limit.is_some_and(|limit| self.started_at.get().elapsed() >= limit);
        if is_past(self.busy_after.get()) {
            let is_new = self.run.mark_slow();
            self.lend(|caller| caller.slow(is_new));
        }
        if self.current.borrow().is_some() && is_past(self.here_max.get()) {
            self.stop.set(Some(Stop::TooLong));
        } else if self.run.is_killed() {
            self.stop.set(Some(Stop::Killed));
        } else if self.load_deadline.get().is_some_and(|deadline| Instant::now() >= deadline) {
            self.stop.set(Some(Stop::LoadTimeout));
        }
        self.stop.get().is_some()
    }

    pub fn stop(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// A command cannot run now: the script ends.
    pub fn interrupt(&self) {
        self.stop.set(Some(Stop::Interrupted));
    }

    /// Whether the script was killed; cheaper than [`Host::wants_stop`].
    pub fn is_killed(&self) -> bool {
        if self.run.is_killed() {
            self.stop.set(Some(Stop::Killed));
        }
        self.stop.get().is_some()
    }

    pub fn seed(&self, seed: i32) {
        self.random.set((seed as u32 as u64) << 16 | 0x330e);
    }

    /// The next number of `lrand48`: 31 bits.
    pub fn next_random(&self) -> u32 {
        let next = self.random.get().wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
        self.random.set(next);
        (next >> 17) as u32
    }
}
