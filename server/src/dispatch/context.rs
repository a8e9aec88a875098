//! What a handler works on, and how a command meets the engine.
//!
//! A handler runs to its end without waiting. A read of a record that is not in memory interrupts
//! it, and so does a job that takes time ([`Context::offload`]): nothing has happened then, the
//! connection awaits the [`Wait`] with nothing held, and the command runs again. What the rounds
//! before learnt (shards, pins, results of jobs) is kept in [`Resume`] until it is done.
//!
//! A handler that finds nothing and would wait for keys ([`Context::block`]) is no such case: it writes the
//! reply of one that may not wait, and what it planned is committed. It runs again when there may be something.

use std::any::Any;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use lux_engine::error::Error;
use lux_engine::ids::{DbIndex, Lsn};
use lux_engine::tier::promote::FetchTicket;
use lux_engine::txn::build::BuildOrder;
use lux_engine::txn::{Interrupt, Scratch, Txn};
use lux_engine::value::TypeTag;
use lux_engine::{DATABASE_COUNT, Engine};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::args::Argv;
use super::command_table::table;
pub use super::command_table::{Command, CommandTable};
use super::reply::CommandError;
use super::reply_errors;
use crate::blocking::{Block, Lane};
use crate::config::Config;
use crate::session::Session;
use crate::state::{ServerState, Worker};

/// How often a command that is held looks whether it may go on.
const HOLD_STEP: Duration = Duration::from_millis(2);

/// Delays of writers below this are saved up.
pub(super) const DELAY_MIN: Duration = Duration::from_millis(1);

/// The state one run of one command works on.
pub struct Context<'c> {
    pub state: &'c Arc<ServerState>,
    pub worker: &'c Worker,
    pub session: &'c mut Session,
    pub command: &'static Command,
    /// There for commands that name keys or lock all shards.
    txn: Option<Txn<'c>>,
    wait: Option<Wait>,
    job_result: Option<Box<dyn Any + Send>>,
    /// Highest LSN that the command saw outside of its transaction.
    observed: Lsn,
}

/// What an interrupted command waits for.
pub enum Wait {
    /// Records on their way into memory.
    Fetch(FetchTicket),
    /// Room in the log for so many bytes.
    Room(usize),
    /// A large value to be built.
    Build(BuildOrder),
    /// A job on a blocking thread.
    Job(JoinHandle<Box<dyn Any + Send>>),
    /// Time to pass, for the command's sake.
    Sleep(Duration),
    /// Time to pass, because writers are slowed down.
    Slow(Duration),
    /// Write-back to catch up.
    Held,
    /// The end of CLIENT PAUSE.
    Unpaused,
}

/// What an interrupted command keeps until it is done.
#[derive(Default)]
pub struct Resume {
    pub(super) scratch: Scratch,
    pub(super) job_result: Option<Box<dyn Any + Send>>,
    /// The wait failed: so does the command.
    pub(super) failure: Option<Error>,
    /// Records stay in memory for as long as their ticket is there.
    pub(super) pins: Vec<FetchTicket>,
    /// The turn to pin more than there is room for; see [`ServerState::pin_turn`].
    pub(super) turn: Option<OwnedSemaphorePermit>,
    /// The writer was slowed down for this command already.
    pub(super) has_paid: bool,
}

/// Stands for the result of a job that panicked or was cancelled.
struct LostJob;

/// Stands for the result of a sleep.
struct Slept;

impl Resume {
    /// Whether the command waited for its turn to pin what it needs.
    #[must_use]
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }
}

impl Wait {
    /// Whether it is for the disk.
    #[must_use]
    pub fn is_fetch(&self) -> bool {
        matches!(self, Wait::Fetch(_))
    }

    /// Whether it is for the end of CLIENT PAUSE.
    #[must_use]
    pub fn is_pause(&self) -> bool {
        matches!(self, Wait::Unpaused)
    }

    /// Returns when the command can be run again, with what it needs for that in the session.
    pub async fn ready(self, state: &ServerState, session: &mut Session) {
        let resume = session.resume.get_or_insert_default();
        match self {
            Wait::Fetch(mut ticket) => match (&mut ticket).await {
                Ok(()) if ticket.is_short() => {
                    // It waits with no pins, first come first served.
                    drop(ticket);
                    resume.pins.clear();
                    resume.turn = Arc::clone(&state.pin_turn).acquire_owned().await.ok();
                    resume.scratch.take_turn();
                }
                Ok(()) => resume.pins.push(ticket),
                Err(error) => resume.failure = Some(error),
            },
            Wait::Room(bytes) => resume.failure = state.engine.wal().room(bytes).await.err(),
            Wait::Build(order) => build(state, resume, order).await,
            Wait::Job(job) => resume.job_result = Some(job.await.unwrap_or_else(|_| Box::new(LostJob))),
            Wait::Sleep(duration) => {
                tokio::time::sleep(duration).await;
                resume.job_result = Some(Box::new(Slept));
            }
            Wait::Slow(duration) => {
                tokio::time::sleep(duration).await;
                resume.has_paid = true;
            }
            Wait::Held => tokio::time::sleep(HOLD_STEP).await,
            Wait::Unpaused => state.pause.until_over().await,
        }
    }
}

/// Has a large value built on a blocking thread, and gives it to the command.
async fn build(state: &ServerState, resume: &mut Resume, order: BuildOrder) {
    // What the command read may leave memory meanwhile; it is read again.
    resume.pins.clear();
    let engine = state.engine.clone();
    match tokio::task::spawn_blocking(move || engine.build(order)).await {
        Ok(Ok(built)) => built.into_iter().for_each(|built| resume.scratch.give(built)),
        Ok(Err(error)) => resume.failure = Some(error),
        Err(_) => resume.failure = Some(Error::Closed),
    }
}

/// Begins to bring what the requests will read into memory, in one batched read. `None`: nothing
/// to wait for. The records stay in memory while the ticket is kept.
pub fn prefetch<'r>(
    engine: &Engine,
    db: DbIndex,
    requests: impl Iterator<Item = Argv<'r>>,
) -> Option<FetchTicket> {
    if engine.is_all_resident() {
        return None;
    }
    let mut keys = Vec::new();
    let mut indexes = Vec::new();
    for argv in requests {
        let Ok(command) = table().resolve(argv) else { continue };
        if command.spec.keys.is_none() || !command.spec.arity.accepts(argv.len()) {
            continue;
        }
        indexes.clear();
        command.spec.keys.find(argv, &mut indexes);
        keys.extend(indexes.iter().filter_map(|index| argv.get(*index)));
    }
    engine.prefetch(db, keys.into_iter())
}

/// Moves every key of every database out of memory, after write-back; how many left.
pub fn evict_everything(engine: &Engine) -> Result<u64, Error> {
    (0..DATABASE_COUNT as u8).map(|index| engine.evict(DbIndex(index), Box::new(|_| true))).sum()
}

/// Returns when `lsn` is durable; else the highest durable LSN and the error for the client.
pub async fn until_durable(state: &ServerState, lsn: Lsn) -> Result<(), (Lsn, String)> {
    let wal = state.engine.wal();
    match wal.durable(lsn).await {
        Ok(()) => Ok(()),
        Err(error) => Err((wal.durable_lsn(), reply_errors::engine(&error).to_string())),
    }
}

/// A read met a record that is not in memory.
impl From<Interrupt> for CommandError {
    fn from(Interrupt: Interrupt) -> Self {
        CommandError::Interrupted
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        reply_errors::engine(&error)
    }
}

impl<'c> Context<'c> {
    pub(super) fn new(
        state: &'c Arc<ServerState>,
        worker: &'c Worker,
        session: &'c mut Session,
        command: &'static Command,
        txn: Option<Txn<'c>>,
        job_result: Option<Box<dyn Any + Send>>,
    ) -> Self {
        Context { state, worker, session, command, txn, wait: None, job_result, observed: Lsn(0) }
    }

    /// The transaction of this command, what a handler's own interruption waits for, and the
    /// highest LSN that it saw outside of the transaction.
    pub(super) fn into_parts(self) -> (Option<Txn<'c>>, Option<Wait>, Lsn) {
        (self.txn, self.wait, self.observed)
    }

    /// The reply shows the commits up to `lsn`.
    pub(super) fn observe(&mut self, lsn: Lsn) {
        self.observed = self.observed.max(lsn);
    }

    /// The command's transaction: reads, and the plan of its changes.
    ///
    /// # Panics
    /// For a command whose spec names no keys and does not lock all shards.
    #[inline]
    pub fn txn(&mut self) -> &mut Txn<'c> {
        self.txn.as_mut().expect("the spec has keys or ALL_SHARDS")
    }

    /// All commands, for those that describe them.
    #[must_use]
    pub fn commands(&self) -> &'static CommandTable {
        table()
    }

    /// The store, for what needs no transaction.
    #[must_use]
    pub fn engine(&self) -> &'c Engine {
        &self.state.engine
    }

    /// The database the client selected.
    #[must_use]
    pub fn db(&self) -> DbIndex {
        self.session.db
    }

    /// The time of this command, Unix milliseconds; the same in all of its rounds' reads.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.txn.as_ref().map_or_else(|| self.worker.now_ms.get(), Txn::now_ms)
    }

    /// The configuration as of this command.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.session.config
    }

    /// The bytes that a reply may take which is longer than what it shows: half of `maxmemory`.
    #[must_use]
    pub fn reply_max(&self) -> u64 {
        self.config().maxmemory.unsigned_abs() / 2
    }

    /// Random numbers for this run of the command: each call returns one below its argument, which is at
    /// least 1.
    pub fn random(&self) -> impl FnMut(u64) -> u64 + use<> {
        // SplitMix64 from a seed that SipHash makes of the thread's random keys and a count of its uses.
        let mut state = RandomState::new().build_hasher().finish();
        move |below| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((u128::from(z ^ (z >> 31)) * u128::from(below)) >> 64) as u64
        }
    }

    /// Runs `work` on a blocking thread and returns its result.
    ///
    /// The first call starts it and interrupts the command; the handler is run again when it is
    /// done, and then the call returns. A handler offloads at most one job, and does nothing
    /// that must not happen twice before it.
    pub fn offload<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CommandError> {
        match self.job_result.take() {
            Some(result) => {
                result.downcast::<T>().map(|value| *value).map_err(|_| reply_errors::OFFLOADED_JOB_LOST)
            }
            None => {
                let job = tokio::task::spawn_blocking(move || Box::new(work()) as Box<dyn Any + Send>);
                Err(self.interrupt(Wait::Job(job)))
            }
        }
    }

    /// Interrupts the command for a while; the second call returns. Counts as its one job.
    pub fn sleep(&mut self, duration: Duration) -> Result<(), CommandError> {
        match self.job_result.take() {
            Some(_) => Ok(()),
            None => Err(self.interrupt(Wait::Sleep(duration))),
        }
    }

    /// Brings keys of the selected database into memory; interrupts the command until they are.
    /// Counts as its one job.
    pub fn promote<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>) -> Result<(), CommandError> {
        match self.engine().prefetch(self.db(), keys) {
            Some(ticket) => Err(self.interrupt(Wait::Fetch(ticket))),
            None => Ok(()),
        }
    }

    /// Ends a run that found nothing: the client waits for the keys of `block`. What the handler wrote is the
    /// reply where commands must not wait.
    pub fn block(&mut self, block: Block) {
        if !self.session.denies_blocking {
            self.session.block = Some(block);
        }
    }

    /// Whether others wait longer for what is in this key, so that this command leaves it to them. Not so
    /// for the key whose turn it is.
    #[must_use]
    pub fn is_behind(&self, key: &[u8], lane: &Lane) -> bool {
        let waiter = self.session.waiter.as_deref();
        let has_turn = waiter.and_then(|waiter| waiter.turn_key()).is_some_and(|turn| **turn == *key);
        !has_turn
            && !self.session.denies_blocking
            && self.engine().hook().is_active()
            && self.state.blocking.is_behind(waiter, self.db(), key, lane)
    }

    /// Whether the key whose turn it is holds something else than the command wants, which is no error then.
    pub fn is_called_in_vain(&mut self, tag: TypeTag) -> Result<bool, CommandError> {
        let key = self.session.waiter.as_ref().and_then(|waiter| waiter.turn_key().cloned());
        let Some(key) = key else { return Ok(false) };
        Ok(self.peek(&key)?.is_none_or(|header| header.type_tag != tag))
    }

    /// Whether the command waits for keys already.
    #[must_use]
    pub fn is_waiter(&self) -> bool {
        self.session.waiter.is_some()
    }

    /// What the command resolved when it came, if it waits for keys since.
    #[must_use]
    pub fn memo<T: 'static>(&self) -> Option<&T> {
        self.session.waiter.as_ref()?.memo()
    }

    fn interrupt(&mut self, wait: Wait) -> CommandError {
        self.wait = Some(wait);
        CommandError::Interrupted
    }
}
