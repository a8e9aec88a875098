//! One client's loop: read, execute, write.
//!
//! All complete requests of a read form a batch: they are decoded at once, executed in order, and
//! their replies leave with one write. The next batch is read only when those are written, so a
//! client that does not read its replies holds no more than one batch of them.
//!
//! A connection that waits for its client owns no buffers: the worker keeps a few workspaces
//! and lends one to whoever has something to do.
//!
//! A command that waits for keys stops the batch ([`blocked`]): what is before it is replied, what is behind it
//! comes later. A command whose commit gave turns to others waits for them before it is replied.

mod blocked;
mod input;
mod moved;
pub mod output;
pub mod stream;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use lux_engine::tier::promote::FetchTicket;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::config::value::BufferLimit;
use crate::dispatch::args::Argv;
use crate::dispatch::context;
use crate::dispatch::execute::{Position, Step, execute};
use crate::dispatch::reply::ReplySink;
use crate::resp::decoder::{Decoder, Limits};
use crate::session::{ClientHandle, Protocol, Session};
use crate::state::{Phase, ServerState, Worker};
use crate::stats::bump;
use blocked::Kept;
use input::Input;
use output::Output;
use stream::Stream;

/// Requests executed before their replies are written.
const BATCH_MAX: usize = 128;
/// Replies are written early when they pass this, bytes.
const FLUSH_BYTES: usize = 256 * 1024;
/// Batches after which other connections of the worker get their turn.
const TURN_BATCHES: u32 = 4;
/// Workspaces a worker keeps for later.
const POOL_MAX: usize = 16;

/// The buffers of a connection that is at work.
#[derive(Default)]
struct Workspace {
    input: Input,
    decoder: Decoder,
    output: Output,
}

impl Workspace {
    /// Whether nothing in it belongs to a client.
    fn is_idle(&self) -> bool {
        self.input.is_empty() && !self.decoder.is_midway() && self.output.is_empty()
    }
}

/// The workspaces of one worker that nobody uses now.
#[derive(Default)]
pub struct Pool {
    #[expect(clippy::vec_box, reason = "a connection takes and gives the box, not what is in it")]
    free: RefCell<Vec<Box<Workspace>>>,
}

impl Pool {
    fn take(&self) -> Box<Workspace> {
        self.free.borrow_mut().pop().unwrap_or_default()
    }

    fn put(&self, mut workspace: Box<Workspace>) {
        workspace.input.shrink();
        let mut free = self.free.borrow_mut();
        if free.len() < POOL_MAX {
            free.push(workspace);
        }
    }
}

/// A client's connection.
pub struct Connection {
    state: Arc<ServerState>,
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    session: Session,
    stream: Stream,
    workspace: Option<Box<Workspace>>,
    /// The request that waits for keys.
    kept: Option<Box<Kept>>,
    shutdown: watch::Receiver<Phase>,
}

/// Why a connection ended.
enum End {
    /// The client left, or asked to.
    Closed,
    Failed(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Failed(error)
    }
}

impl Connection {
    pub fn new(
        state: Arc<ServerState>,
        worker: Rc<Worker>,
        pool: Rc<Pool>,
        session: Session,
        stream: Stream,
    ) -> Self {
        let shutdown = state.shutdown.subscribe();
        Connection { state, worker, pool, session, stream, workspace: None, kept: None, shutdown }
    }

    /// Serves the client until it leaves, is killed, or the server stops.
    pub async fn serve(mut self) {
        let handle = self.session.handle.clone();
        let end = tokio::select! {
            biased;
            end = self.run() => end,
            () = handle.until_killed() => End::Closed,
        };
        if let End::Failed(error) = end {
            tracing::debug!(client = ?handle, %error, "connection failed");
        }
        self.state.clients.remove(handle.id);
    }

    async fn run(&mut self) -> End {
        let mut turn = 0;
        loop {
            let ended = match self.decode() {
                Decoded::Nothing => {
                    turn = 0;
                    self.fill().await
                }
                Decoded::Batch(violation) => {
                    turn += 1;
                    self.run_batch(violation).await
                }
            };
            if let Err(end) = ended {
                return end;
            }
            if turn == TURN_BATCHES {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes apart what was read so far.
    fn decode(&mut self) -> Decoded {
        let Some(workspace) = &mut self.workspace else { return Decoded::Nothing };
        if workspace.input.is_empty() {
            return Decoded::Nothing;
        }
        self.state.refresh_config(&mut self.session);
        let config = &self.session.config;
        let is_authenticated = !self.session.needs_auth();
        let limits = Limits { bulk_max: config.bulk_max(), is_authenticated };
        // What a client may send changes with AUTH, so nothing behind it is looked at before.
        let requests_max = if is_authenticated { BATCH_MAX } else { 1 };
        match workspace.decoder.decode(workspace.input.filled(), &limits, requests_max) {
            Err(violation) => Decoded::Batch(Some(violation.0)),
            Ok(()) if workspace.decoder.is_empty() => {
                // A request that takes long to arrive is no idleness.
                self.session.handle.touch(clock::unix_ms());
                // Bytes that were no request (empty lines) are done with.
                let done = workspace.decoder.finish_batch();
                workspace.input.consume(done);
                Decoded::Nothing
            }
            Ok(()) => Decoded::Batch(None),
        }
    }

    /// Waits for bytes from the client. A connection without a started request waits without
    /// buffers.
    async fn fill(&mut self) -> Result<(), End> {
        let Connection { stream, workspace, pool, shutdown, .. } = self;
        let read = read_input(stream, workspace, pool, |at_work| at_work.decoder.bytes_wanted());
        let count = tokio::select! {
            biased;
            count = read => count?,
            _ = shutdown.wait_for(Phase::is_stopping) => return Err(End::Closed),
        };
        if count == 0 {
            return Err(End::Closed);
        }
        let limit = self.session.config.client_query_buffer_limit.unsigned_abs();
        note_read(&self.worker, &self.session.handle, self.workspace.as_deref(), count, limit)
    }

    /// Executes the decoded requests and writes their replies; then reports a violation that
    /// followed them and closes.
    async fn run_batch(&mut self, violation: Option<String>) -> Result<(), End> {
        let Some(workspace) = &mut self.workspace else { return Ok(()) };
        let count = workspace.decoder.len();
        // The workspace served another client before.
        workspace.output.set_resp3(self.session.protocol == Protocol::Resp3);
        self.state.start_batch(&self.worker);
        self.session.handle.touch(self.worker.now_ms.get());
        // Keeps what the batch reads in memory until it is done.
        let mut prefetched = None;
        for index in 0..count {
            let position = if index + 1 == count { Position::Last } else { Position::Inside };
            loop {
                match self.execute_one(index, position) {
                    Step::Done => break,
                    Step::Wait(context::Wait::MoveOn) => self.move_on(index).await?,
                    Step::Wait(wait) => {
                        if wait.is_fetch() && prefetched.is_none() {
                            prefetched = self.prefetch(index + 1..count);
                        }
                        self.wait(wait, &mut prefetched).await?;
                    }
                    Step::Block(block) => {
                        prefetched = None;
                        if !self.stay_blocked(index, block).await? {
                            break;
                        }
                    }
                }
            }
            if self.session.claim.is_some() || self.session.waiter.is_some() {
                self.settle().await;
            }
            if self.state.evict_always.load(Relaxed) {
                self.evict_everything().await;
            }
            if self.session.is_aborted {
                return Err(End::Closed);
            }
            if self.session.close_after_reply {
                break;
            }
            if self.workspace.as_ref().is_some_and(|workspace| workspace.output.len() >= FLUSH_BYTES) {
                self.flush().await?;
            }
        }
        if let Some(workspace) = &mut self.workspace {
            let done = workspace.decoder.finish_batch();
            workspace.input.consume(done);
            if let Some(text) = &violation {
                self.worker.stats.count_error(text);
                workspace.output.error(text);
            }
        }
        self.publish(count);
        self.flush().await?;
        if violation.is_some() || self.session.close_after_reply {
            // The client sees the reply before the end of the stream.
            self.stream.shutdown().await?;
            return Err(End::Closed);
        }
        if self.state.shutdown.is_requested() {
            return Err(End::Closed);
        }
        Ok(())
    }

    /// Waits until an interrupted command can run again.
    async fn wait(&mut self, wait: context::Wait, prefetched: &mut Option<FetchTicket>) -> Result<(), End> {
        let handle = self.session.handle.clone();
        let is_paused = wait.is_pause();
        let flag = if is_paused { &handle.is_blocked } else { &handle.is_waiting };
        flag.store(true, Relaxed);
        let is_over = tokio::select! {
            biased;
            () = wait.ready(&self.state, &mut self.session) => false,
            _ = self.shutdown.wait_for(Phase::is_stopping), if is_paused => true,
        };
        if is_over {
            // The paused command has not begun and never will; those before it have their replies.
            self.flush().await?;
            return Err(End::Closed);
        }
        if self.session.resume.as_ref().is_some_and(|resume| resume.has_turn()) {
            *prefetched = None;
        }
        if let Some(ticket) = prefetched.as_mut().filter(|ticket| !ticket.is_ready()) {
            // A failure shows again when the command that needs the record runs.
            let _ = ticket.await;
        }
        flag.store(false, Relaxed);
        self.state.start_batch(&self.worker);
        handle.touch(self.worker.now_ms.get());
        Ok(())
    }

    /// The command is done: its place in the queues is free, and those who got a turn by its commit take it
    /// before anything else happens here.
    async fn settle(&mut self) {
        let claim = self.session.claim.take();
        if let Some(waiter) = self.session.waiter.take() {
            self.kept = None;
            self.session.handle.is_blocked.store(false, Relaxed);
            self.session.handle.touch(self.worker.now_ms.get());
            waiter.finish(claim.as_ref());
        }
        if let Some(claim) = claim {
            claim.over().await;
            self.state.start_batch(&self.worker);
        }
    }

    /// DEBUG EVICT-ALWAYS: the next command meets a cold store.
    async fn evict_everything(&self) {
        let engine = self.state.engine.clone();
        match tokio::task::spawn_blocking(move || context::evict_everything(&engine)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "DEBUG EVICT-ALWAYS could not evict"),
            Err(error) => tracing::warn!(%error, "DEBUG EVICT-ALWAYS could not evict"),
        }
    }

    /// A command met a cold record: the rest of the batch is read along with it.
    fn prefetch(&self, rest: Range<usize>) -> Option<FetchTicket> {
        let Workspace { input, decoder, .. } = &**self.workspace.as_ref()?;
        let requests = rest.filter_map(|index| decoder.request(index, input.filled()));
        let requests = requests.map(|request| Argv::new(request.bytes, request.ranges));
        context::prefetch(&self.state.engine, self.session.db, requests)
    }

    /// Runs one request of the batch.
    fn execute_one(&mut self, index: usize, position: Position) -> Step {
        let Some(workspace) = &mut self.workspace else { return Step::Done };
        let Workspace { input, decoder, output } = &mut **workspace;
        let argv = match &self.kept {
            Some(kept) => kept.argv(),
            None => match decoder.request(index, input.filled()) {
                Some(request) => Argv::new(request.bytes, request.ranges),
                None => return Step::Done,
            },
        };
        let mark = output.mark();
        if let Some(mut done) = self.session.moved.take() {
            output.append(&done.reply);
            done.settle(&mut self.session);
            if let Some(lsn) = done.gate {
                output.gate(mark, lsn);
            }
            return Step::Done;
        }
        let step = execute(&self.state, &self.worker, &mut self.session, argv, position, output);
        if let (Step::Done, Some(lsn)) = (&step, self.session.gate) {
            output.gate(mark, lsn);
            self.session.gate = None;
        }
        step
    }

    /// Tells CLIENT LIST what happened.
    fn publish(&self, commands: usize) {
        let handle = &self.session.handle;
        bump(&handle.commands, commands as u64);
        handle.db.store(u32::from(self.session.db.0), Relaxed);
        handle.protocol.store(self.session.protocol as u32, Relaxed);
        self.session.publish_multi();
        if let Some(workspace) = &self.workspace {
            handle.output_buffer_bytes.store(workspace.output.len(), Relaxed);
            handle.query_buffer_bytes.store(workspace.input.filled().len(), Relaxed);
        }
    }

    /// Writes the replies, when what they depend on is durable.
    async fn flush(&mut self) -> Result<(), End> {
        let Some(workspace) = &mut self.workspace else { return Ok(()) };
        let output = &mut workspace.output;
        if output.is_empty() {
            return Ok(());
        }
        if let Some(lsn) = output.highest_gate()
            && let Err((durable, error)) = context::until_durable(&self.state, lsn).await
        {
            output.revoke_above(durable, &error);
        }
        let limit = self.session.config.client_output_buffer_limit.normal;
        let len = output.len();
        // What CLIENT LIST shows while the client does not read.
        self.session.handle.output_buffer_bytes.store(len, Relaxed);
        if limit.hard_bytes > 0 && len as u64 > limit.hard_bytes {
            tracing::warn!(client = ?self.session.handle, len, "closed: hard output buffer limit reached");
            return Err(End::Closed);
        }
        if !write_all(&mut self.stream, output.bytes(), limit, &self.session.handle).await? {
            tracing::warn!(client = ?self.session.handle, len, "closed: soft output buffer limit reached");
            return Err(End::Closed);
        }
        output.clear();
        bump(&self.worker.stats.writes, 1);
        bump(&self.worker.stats.bytes_out, len as u64);
        bump(&self.session.handle.bytes_out, len as u64);
        self.session.handle.output_buffer_bytes.store(0, Relaxed);
        Ok(())
    }
}

/// Counts bytes that came from a client. An error: it sent more than it may.
fn note_read(
    worker: &Worker,
    handle: &ClientHandle,
    workspace: Option<&Workspace>,
    count: usize,
    limit: u64,
) -> Result<(), End> {
    bump(&worker.stats.reads, 1);
    bump(&worker.stats.bytes_in, count as u64);
    bump(&handle.bytes_in, count as u64);
    let Some(workspace) = workspace else { return Ok(()) };
    let used = workspace.input.filled().len();
    handle.query_buffer_bytes.store(used, Relaxed);
    handle.query_buffer_free_bytes.store(workspace.input.free_bytes(), Relaxed);
    if used as u64 > limit {
        tracing::warn!(client = ?handle, used, "closed: client-query-buffer-limit reached");
        return Err(End::Closed);
    }
    Ok(())
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The next user must not find anything of this client.
        if let Some(workspace) = self.workspace.take().filter(|workspace| workspace.is_idle()) {
            self.pool.put(workspace);
        }
    }
}

/// What [`Connection::decode`] found.
enum Decoded {
    /// No complete request: more bytes are needed.
    Nothing,
    /// Requests to execute, and the violation of the protocol that follows them.
    Batch(Option<String>),
}

/// Writes everything. `false`: it stayed above the soft limit for too long.
///
/// A client that takes its replies slowly is at work: each part that it took counts for `timeout`.
async fn write_all(
    stream: &mut Stream,
    bytes: &[u8],
    limit: BufferLimit,
    client: &ClientHandle,
) -> io::Result<bool> {
    let mut rest = bytes;
    if limit.soft_bytes > 0 && rest.len() as u64 > limit.soft_bytes {
        // Redis looks once a second: no seconds at all are up to one.
        let deadline = Instant::now() + Duration::from_secs(limit.soft_seconds.max(1));
        while rest.len() as u64 > limit.soft_bytes {
            match tokio::time::timeout_at(deadline, stream.write(rest)).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written?..],
                Err(_) => return Ok(false),
            }
            client.touch(clock::unix_ms());
        }
    }
    while !rest.is_empty() {
        let written = stream.write(rest).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        // What fits into the socket at once was noted when its batch began.
        if written < rest.len() || rest.len() < bytes.len() {
            client.touch(clock::unix_ms());
        }
        rest = &rest[written..];
    }
    Ok(true)
}

/// Reads what there is from the client, at least into the room that `wanted` asks for; 0 when the client is
/// gone. Gives an idle workspace back while there is nothing.
async fn read_input(
    stream: &mut Stream,
    workspace: &mut Option<Box<Workspace>>,
    pool: &Pool,
    wanted: impl Fn(&Workspace) -> usize,
) -> io::Result<usize> {
    poll_fn(|cx| {
        let at_work = workspace.get_or_insert_with(|| pool.take());
        let wanted = wanted(at_work);
        let mut room = ReadBuf::new(at_work.input.room(wanted));
        let polled = Pin::new(&mut *stream).poll_read(cx, &mut room);
        let count = room.filled().len();
        match polled {
            Poll::Ready(Ok(())) => {
                at_work.input.advance(count);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if at_work.is_idle()
                    && let Some(idle) = workspace.take()
                {
                    pool.put(idle);
                }
                Poll::Pending
            }
        }
    })
    .await
}
