//! What all workers share.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use lux_engine::Engine;
use lux_engine::txn::Scratch;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::blocking::Blocking;
use crate::clients::{ClientRegistry, Pause};
use crate::clock;
use crate::config::ConfigStore;
use crate::descriptors::Descriptors;
use crate::dispatch::queue::Watches;
use crate::latency::LatencyMonitor;
use crate::logging::{self, LevelHandle};
use crate::scripting::{Scripts, Slot};
use crate::session::Session;
use crate::slowlog::SlowLog;
use crate::stats::{Stopwatch, WorkerStats};
use crate::storage;

/// The server's shared state.
pub struct ServerState {
    pub engine: Engine,
    pub config: ConfigStore,
    pub descriptors: Descriptors,
    pub log_level: LevelHandle,
    pub clients: ClientRegistry,
    pub pause: Pause,
    /// Who waits for which key.
    pub blocking: Arc<Blocking>,
    /// Who watches which key.
    pub watches: Arc<Watches>,
    pub shutdown: Shutdown,
    pub slowlog: Mutex<SlowLog>,
    pub latency: Mutex<LatencyMonitor>,
    /// DEBUG EVICT-ALWAYS: all keys leave memory after every command.
    pub evict_always: AtomicBool,
    /// Who has it may pin what a command needs though others' pins leave no room. First come, first
    /// served.
    pub pin_turn: Arc<Semaphore>,
    /// One set of counters per worker, and one for commands that run aside.
    pub workers: Vec<Arc<WorkerStats>>,
    /// The last of `workers`.
    pub moved_stats: Arc<WorkerStats>,
    /// The turn to run aside; first come, first served.
    pub moved_turn: Arc<Semaphore>,
    /// Scripts and function libraries.
    pub scripts: Scripts,
    pub rates: Rates,
    pub baseline: Mutex<Baseline>,
    /// Memory in use when the server was ready, bytes.
    pub startup_memory: AtomicU64,
    pub rejected_connections: AtomicU64,
    pub started: Instant,
    pub started_unix_ms: u64,
    /// Forty hexadecimal digits, new with every start.
    pub run_id: String,
    /// The TCP port that is listened on; differs from the configured one if that is 0 in tests.
    pub tcp_port: AtomicU64,
}

impl ServerState {
    /// The state of a server that starts now; `commands` is how many commands are counted.
    #[must_use]
    pub fn new(
        engine: Engine,
        config: ConfigStore,
        descriptors: Descriptors,
        log_level: LevelHandle,
        scripts: Scripts,
        commands: usize,
    ) -> Self {
        let threads = usize::try_from(config.load().io_threads).unwrap_or(1).max(1);
        // One more thread for clients that come while a script is busy, and one for the script.
        let workers: Vec<_> = (0..threads + 2).map(|_| Arc::new(WorkerStats::new(commands))).collect();
        ServerState {
            engine,
            config,
            descriptors,
            log_level,
            clients: ClientRegistry::default(),
            pause: Pause::default(),
            blocking: Arc::default(),
            watches: Arc::default(),
            shutdown: Shutdown::default(),
            slowlog: Mutex::default(),
            latency: Mutex::default(),
            evict_always: AtomicBool::new(false),
            pin_turn: Arc::new(Semaphore::new(1)),
            moved_stats: Arc::clone(&workers[threads + 1]),
            workers,
            moved_turn: Arc::new(Semaphore::new(1)),
            scripts,
            rates: Rates::default(),
            baseline: Mutex::default(),
            startup_memory: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            started: Instant::now(),
            started_unix_ms: clock::unix_ms(),
            run_id: run_id(),
            tcp_port: AtomicU64::new(0),
        }
    }

    /// Gives the session the newest configuration. One load while it did not change.
    pub fn refresh_config(&self, session: &mut Session) {
        let version = self.config.version();
        if session.config_version != version {
            session.config = self.config.load();
            session.config_version = version;
        }
    }

    /// Hands changed parameters to those who keep them.
    pub fn apply_config(&self) {
        let config = self.config.load();
        storage::apply(&self.engine, &config);
        if let Err(error) = self.log_level.modify(|level| *level = logging::level(&config.loglevel)) {
            tracing::warn!(%error, "could not change the log level");
        }
    }

    /// Starts a batch of commands on a worker: its clock stands still until the next.
    pub fn start_batch(&self, worker: &Worker) {
        worker.stopwatch.start();
        worker.now_ms.set(self.engine.now_ms());
    }

    /// The sum of one counter over the workers.
    pub fn total(&self, counter: impl Fn(&WorkerStats) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| counter(worker).load(Relaxed)).sum()
    }
}

/// The engine's counters as of CONFIG RESETSTAT; what INFO shows is counted from there.
#[derive(Clone, Default)]
pub struct Baseline {
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub dropped: u64,
}

/// Forty hexadecimal digits of the kernel's randomness.
fn run_id() -> String {
    let mut bytes = [0u8; 20];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        // Only its uniqueness matters: clock and process id do as well.
        let seed = clock::unix_us() ^ (u64::from(std::process::id()) << 40);
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What one worker thread has to itself.
pub struct Worker {
    pub stats: Arc<WorkerStats>,
    pub stopwatch: Stopwatch,
    /// Buffers of the command that runs.
    pub scratch: RefCell<Scratch>,
    /// The time of the commands of this batch, Unix milliseconds.
    pub now_ms: Cell<u64>,
    /// Runs scripts; made for the first.
    pub interpreter: RefCell<Option<Slot>>,
    /// Others wait while a command takes its time on this thread.
    pub serves_clients: bool,
}

impl Worker {
    #[must_use]
    pub fn new(stats: Arc<WorkerStats>) -> Self {
        Worker {
            stats,
            stopwatch: Stopwatch::default(),
            scratch: RefCell::default(),
            now_ms: Cell::new(clock::unix_ms()),
            interpreter: RefCell::default(),
            serves_clients: true,
        }
    }

    /// A thread that runs one command and serves no clients.
    #[must_use]
    pub fn aside(stats: Arc<WorkerStats>) -> Self {
        let worker = Worker { serves_clients: false, ..Worker::new(stats) };
        worker.scratch.borrow_mut().take_long();
        worker
    }
}

/// How far the server is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// Connections finish the batch they are in and close.
    Stopping,
    /// Connections close as soon as they wait for anything.
    StoppingNow,
}

impl Phase {
    /// Whether the server is on its way out.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self != Phase::Running
    }
}

/// Asks everything to stop.
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown { phase: watch::Sender::new(Phase::Running) }
    }
}

impl Shutdown {
    /// Starts the shutdown; asking again changes nothing.
    pub fn request(&self) {
        self.phase.send_if_modified(|phase| {
            let is_new = !phase.is_stopping();
            if is_new {
                *phase = Phase::Stopping;
            }
            is_new
        });
    }

    /// Starts the shutdown, or cuts the one that is under way short.
    pub fn request_now(&self) {
        self.phase.send_replace(Phase::StoppingNow);
    }

    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.phase.borrow().is_stopping()
    }

    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

/// Rates over the last 16 samples, taken ten times a second as in Redis.
#[derive(Default)]
pub struct Rates {
    samples: Mutex<RateSamples>,
}

#[derive(Default)]
struct RateSamples {
    last: Option<(Instant, [u64; 3])>,
    /// Per second: commands, bytes in, bytes out.
    ring: [[f64; 3]; 16],
    next: usize,
}

impl Rates {
    /// Notes the totals of commands, bytes in and bytes out.
    pub fn sample(&self, totals: [u64; 3]) {
        let mut samples = self.samples.lock();
        let now = Instant::now();
        if let Some((then, before)) = samples.last.replace((now, totals)) {
            let seconds = now.duration_since(then).as_secs_f64().max(1e-3);
            let slot = samples.next % 16;
            for i in 0..3 {
                samples.ring[slot][i] = totals[i].saturating_sub(before[i]) as f64 / seconds;
            }
            samples.next += 1;
        }
    }

    /// Mean commands, bytes in, bytes out per second.
    #[must_use]
    pub fn per_second(&self) -> [f64; 3] {
        let samples = self.samples.lock();
        let count = samples.next.clamp(1, 16) as f64;
        [0, 1, 2].map(|i| samples.ring.iter().map(|sample| sample[i]).sum::<f64>() / count)
    }
}
