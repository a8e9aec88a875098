//! Start, run, stop.
//!
//! Threads: the control thread accepts, watches signals and keeps time; each worker thread runs
//! the connections that were given to it, from their first byte to their last.

use std::fs;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use lux_engine::Engine;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::clock;
use crate::config::sources::Loaded;
use crate::config::{Config, ConfigStore};
use crate::connection::stream::Stream;
use crate::connection::{Connection, Pool};
use crate::descriptors::Descriptors;
use crate::dispatch::command_table::table;
use crate::error::ServerError;
use crate::listener::{Accepted, Inbox, Listeners};
use crate::logging::LevelHandle;
use crate::park;
use crate::scripting::Scripts;
use crate::session::{ClientHandle, Session};
use crate::state::{Phase, ServerState, Worker};
use crate::stats::WorkerStats;
use crate::{allocator, storage};

/// Threads that a worker may use for jobs which block.
const BLOCKING_THREADS_MAX: usize = 4;

/// Runs a server until it is asked to stop. Everything acknowledged is safe when this returns.
pub fn run(mut loaded: Loaded, level: LevelHandle) -> Result<(), ServerError> {
    ignore_hangup();
    warn_of_settings(&loaded);
    let descriptors = Descriptors::share_out(&mut loaded.config)?;
    let config = &loaded.config;
    // The store first: a folder in use says more than a port in use.
    let engine = storage::open(config, &descriptors)?;
    let served = serve(engine.clone(), loaded, descriptors, level);
    // DURABILITY: the log is synced and a checkpoint made. A crash right here loses nothing either:
    // what was acknowledged is in the log.
    let closed = engine.close();
    served?;
    closed?;
    tracing::info!("Lux is now ready to exit, bye bye...");
    Ok(())
}

/// The end of the terminal that the server was started from does not end the server, as in Redis.
fn ignore_hangup() {
    // SAFETY: SIG_IGN is a disposition that every signal but SIGKILL and SIGSTOP takes; no handler runs.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// Names what was set and does nothing.
fn warn_of_settings(loaded: &Loaded) {
    let Loaded { without_effect, unknown_variables, .. } = loaded;
    if !without_effect.is_empty() {
        tracing::warn!("these settings of Redis have no effect here: {}", without_effect.join(", "));
    }
    if !unknown_variables.is_empty() {
        tracing::warn!("these environment variables name no parameter: {}", unknown_variables.join(", "));
    }
}

/// Serves clients until the shutdown is asked for.
fn serve(
    engine: Engine,
    loaded: Loaded,
    descriptors: Descriptors,
    level: LevelHandle,
) -> Result<(), ServerError> {
    let Loaded { config, defaults, file, .. } = loaded;
    let listeners = Listeners::open(&config)?;
    let store = ConfigStore::new(config.clone(), defaults, file);
    let scripts = Scripts::open(Path::new(&config.dir)).map_err(ServerError::Libraries)?;
    let state = Arc::new(ServerState::new(engine, store, descriptors, level, scripts, table().all().len()));
    let blocking = state.blocking.clone();
    state.engine.hook().listen_to_watched(Box::new(move |event| blocking.hear(event)));
    state.tcp_port.store(config.port.unsigned_abs(), Relaxed);
    let pidfile = PidFile::write(&config);
    let (inboxes, workers) = start_workers(&state)?;
    state.startup_memory.store(allocator::numbers()[0], Relaxed);
    banner(&config, &state);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ServerError::Start { what: "the control thread", source })?;
    runtime
        .block_on(control(state.clone(), listeners, inboxes))
        .map_err(|source| ServerError::Start { what: "the control thread", source })?;
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("a worker thread panicked");
        }
    }
    if !config.unixsocket.is_empty()
        && let Err(error) = fs::remove_file(&config.unixsocket)
    {
        tracing::warn!(%error, "could not remove the Unix socket");
    }
    drop(pidfile);
    Ok(())
}

/// Accepts and keeps time until the shutdown is asked for.
async fn control(state: Arc<ServerState>, listeners: Listeners, inboxes: Vec<Inbox>) -> io::Result<()> {
    let mut phase = state.shutdown.subscribe();
    let signals = tokio::spawn(watch_signals(state.clone()));
    tokio::select! {
        accepted = listeners.accept(state.clone(), inboxes) => accepted?,
        () = keep_time(&state) => {}
        _ = phase.wait_for(Phase::is_stopping) => {}
    }
    signals.abort();
    state.moved_turn.close();
    state.scripts.runs.end_all();
    // One that is paused would keep its worker from ending.
    state.engine.store().cold.cancel_compactions();
    Ok(())
}

/// The first SIGTERM or SIGINT stops the server in order, the second at once.
async fn watch_signals(state: Arc<ServerState>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        if state.shutdown.is_requested() {
            tracing::warn!("Received {name} again, exiting at once.");
            std::process::exit(1);
        }
        tracing::info!("Received {name}, shutting down.");
        state.shutdown.request();
    }
}

/// What happens ten times a second.
async fn keep_time(state: &ServerState) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut count = 0u64;
    loop {
        tick.tick().await;
        count += 1;
        let totals = [
            state.total(|worker| &worker.commands_total),
            state.total(|worker| &worker.bytes_in),
            state.total(|worker| &worker.bytes_out),
        ];
        state.rates.sample(totals);
        if count.is_multiple_of(10) {
            close_idle_clients(state);
        }
    }
}

/// Applies the parameter `timeout`.
fn close_idle_clients(state: &ServerState) {
    let timeout_ms = state.config.load().timeout.unsigned_abs() * 1000;
    if timeout_ms == 0 {
        return;
    }
    let now_ms = clock::unix_ms();
    for client in state.clients.all() {
        let idle_ms = now_ms.saturating_sub(client.last_active_unix_ms.load(Relaxed));
        if idle_ms > timeout_ms && !client.is_held() {
            tracing::debug!(?client, "closing idle client");
            client.kill();
        }
    }
}

/// Starts one thread per worker.
fn start_workers(state: &Arc<ServerState>) -> Result<(Vec<Inbox>, Vec<JoinHandle<()>>), ServerError> {
    let mut inboxes = Vec::new();
    let mut threads = Vec::new();
    // The last counters belong to no thread of its own.
    for (index, stats) in state.workers.iter().take(state.workers.len() - 1).enumerate() {
        let failed = |source| ServerError::Start { what: "a worker thread", source };
        let (sender, receiver) = unbounded_channel();
        let load = Arc::new(AtomicUsize::new(0));
        inboxes.push(Inbox { sender, load: load.clone() });
        let (state, stats) = (state.clone(), stats.clone());
        let thread =
            std::thread::Builder::new().name(format!("lux-worker-{index}")).spawn(
                move || match worker_runtime() {
                    Ok(runtime) => runtime.block_on(work(state, stats, receiver, load)),
                    Err(error) => {
                        tracing::error!(%error, "a worker could not start");
                        state.shutdown.request();
                    }
                },
            );
        threads.push(thread.map_err(failed)?);
    }
    Ok((inboxes, threads))
}

/// The event loop of one worker.
fn worker_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(Duration::from_secs(5))
        .on_thread_park(park::before)
        .build_local(LocalOptions::default())
}

/// A worker's life: takes connections until the shutdown, then waits for those it has.
async fn work(
    state: Arc<ServerState>,
    stats: Arc<WorkerStats>,
    mut inbox: UnboundedReceiver<Accepted>,
    load: Arc<AtomicUsize>,
) {
    let worker = Rc::new(Worker::new(stats));
    let pool = Rc::new(Pool::default());
    let mut phase = state.shutdown.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = inbox.recv() => {
                let Some(accepted) = accepted else { break };
                match adopt(&state, &worker, &pool, accepted) {
                    Ok(connection) => {
                        let load = load.clone();
                        connections.spawn_local(async move {
                            connection.serve().await;
                            load.fetch_sub(1, Relaxed);
                        });
                    }
                    Err(error) => {
                        load.fetch_sub(1, Relaxed);
                        tracing::warn!(%error, "lost a connection");
                    }
                }
            }
            Some(_) = connections.join_next() => {}
            _ = phase.wait_for(Phase::is_stopping) => break,
        }
    }
    let patience = Duration::from_secs(state.config.load().shutdown_timeout.unsigned_abs());
    let all_done = async { while connections.join_next().await.is_some() {} };
    // Whoever is left is cut off: nothing that was not acknowledged is promised.
    tokio::select! {
        () = all_done => {}
        () = tokio::time::sleep(patience) => {
            tracing::warn!("some clients did not finish or read within shutdown-timeout");
        }
        _ = phase.wait_for(|phase| *phase == Phase::StoppingNow) => {}
    }
}

/// Binds an accepted connection to this worker's runtime.
fn adopt(
    state: &Arc<ServerState>,
    worker: &Rc<Worker>,
    pool: &Rc<Pool>,
    accepted: Accepted,
) -> io::Result<Connection> {
    let (stream, origin) = match accepted {
        Accepted::Tcp(stream, origin) => (Stream::Tcp(TcpStream::from_std(stream)?), origin),
        Accepted::Unix(stream, origin) => (Stream::Unix(UnixStream::from_std(stream)?), origin),
    };
    let handle = Arc::new(ClientHandle::new(state.clients.next_id(), origin, clock::unix_ms()));
    state.clients.insert(handle.clone());
    worker.stats.connections.fetch_add(1, Relaxed);
    let session = Session::new(handle, state.config.load());
    Ok(Connection::new(state.clone(), worker.clone(), pool.clone(), session, stream))
}

/// What the operator sees first.
fn banner(config: &Config, state: &ServerState) {
    let budget_mb = config.maxmemory >> 20;
    tracing::info!("Lux {} starting, pid {}", crate::VERSION, std::process::id());
    tracing::info!(
        "port {}, data folder {}, budget {budget_mb} MB, appendfsync {}, {} worker(s)",
        config.port,
        config.dir,
        config.appendfsync,
        config.io_threads,
    );
    let report = state.engine.open_report();
    tracing::info!(
        "store opened in {} ms: {} log records replayed, last LSN {}",
        report.millis,
        report.wal.records,
        report.wal.last_lsn,
    );
    if let Some(cut) = &report.wal.cut {
        tracing::warn!(
            "the log ended in the middle of a write: {} bytes cut from {} at offset {}",
            cut.bytes,
            cut.file,
            cut.offset,
        );
    }
    if config.requirepass.is_empty() {
        let reach = match config.protected_mode {
            true => "only clients on this host are served (protected mode)",
            false => "EVERYONE who reaches this port may read and change all data",
        };
        tracing::warn!("no password is set: {reach}");
    }
    tracing::info!("Ready to accept connections");
}

/// The file with the process id; removed when this is dropped.
struct PidFile<'c>(Option<&'c Path>);

impl<'c> PidFile<'c> {
    /// Without the file the server runs all the same, as Redis does.
    fn write(config: &'c Config) -> Self {
        if config.pidfile.is_empty() {
            return PidFile(None);
        }
        let path = Path::new(&config.pidfile);
        match fs::write(path, format!("{}\n", std::process::id())) {
            Ok(()) => PidFile(Some(path)),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "could not write the pid file");
                PidFile(None)
            }
        }
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(%error, "could not remove the pid file");
        }
    }
}
