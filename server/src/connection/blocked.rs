//! A connection whose command waits for keys.
//!
//! The request is copied, so that the connection owns no buffers while it waits, unless the client sent
//! more behind it. Every turn runs the copy. What the client sends meanwhile is kept, up to
//! [`AHEAD_BYTES_MAX`]; beyond that it stays in the socket, and whether the client is still there is asked for
//! now and then.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::stream::Stream;
use super::{Connection, End, Pool, Workspace, note_read};
use crate::blocking::{Block, Call, Unblock};
use crate::dispatch::args::Argv;
use crate::dispatch::execute::give_up;
use crate::dispatch::reply::ReplySink;
use crate::session::Protocol;
use crate::state::Phase;

/// What is read ahead of a command that waits. The end of a connection comes behind its last byte, so what is
/// read less is noticed less.
const AHEAD_BYTES_MAX: usize = 1 << 20;
/// How often a client that sent much ahead is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A request that outlives the bytes it came in.
pub(super) struct Kept {
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
    deadline: Option<Instant>,
}

impl Kept {
    fn new(argv: Argv<'_>, timeout: Option<Duration>) -> Self {
        let (mut bytes, mut ranges) = (Vec::new(), Vec::with_capacity(argv.len()));
        for arg in argv.iter() {
            ranges.push((bytes.len() as u32, arg.len() as u32));
            bytes.extend_from_slice(arg);
        }
        // What no clock can reach is for ever.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Kept { bytes, ranges, deadline }
    }

    pub(super) fn argv(&self) -> Argv<'_> {
        Argv::new(&self.bytes, &self.ranges)
    }
}

/// What the wait ended with.
enum Woken {
    Called(Call),
    TimedOut,
}

impl Connection {
    /// The request found nothing: enters the queues, or waits in them. Returns whether it is to run
    /// again; else it has its reply.
    pub(super) async fn stay_blocked(&mut self, index: usize, block: Block) -> Result<bool, End> {
        if self.session.waiter.is_none() {
            self.keep_request(index, block.timeout);
            // Before it enters: nobody's turn waits for this client's socket.
            self.flush().await?;
            let (handle, db) = (&self.session.handle, self.session.db);
            handle.db.store(u32::from(db.0), Relaxed);
            handle.protocol.store(self.session.protocol as u32, Relaxed);
            let waiter = self.state.blocking.enter(&self.state.engine, handle.id, db, block);
            self.session.waiter = Some(Box::new(waiter));
            self.start_again();
            return Ok(true);
        }
        if let Some(waiter) = &mut self.session.waiter {
            waiter.found_nothing();
        }
        self.session.handle.is_blocked.store(true, Relaxed);
        let why = match self.until_woken().await? {
            Woken::Called(Call::Turn) => {
                // Who left a moment ago must not take anything along.
                if self.stream.is_hung_up() {
                    return Err(End::Closed);
                }
                self.start_again();
                return Ok(true);
            }
            Woken::Called(Call::Unblocked(why)) => why,
            Woken::TimedOut => Unblock::Timeout,
        };
        self.start_again();
        let Connection { worker, session, workspace: Some(workspace), kept: Some(kept), .. } = self else {
            return Ok(false);
        };
        let mark = workspace.output.mark();
        give_up(worker, session, kept.argv(), why, &mut workspace.output);
        if let Some(lsn) = session.gate.take() {
            workspace.output.gate(mark, lsn);
        }
        Ok(false)
    }

    /// Copies the request; the last one of what the client sent leaves no bytes behind.
    fn keep_request(&mut self, index: usize, timeout: Option<Duration>) {
        let Some(workspace) = &mut self.workspace else { return };
        let Some(request) = workspace.decoder.request(index, workspace.input.filled()) else { return };
        self.kept = Some(Box::new(Kept::new(Argv::new(request.bytes, request.ranges), timeout)));
        if index + 1 == workspace.decoder.len() {
            let done = workspace.decoder.finish_batch();
            workspace.input.consume(done);
        }
    }

    /// Takes a workspace if there is none, and the time of a new run.
    fn start_again(&mut self) {
        let workspace = self.workspace.get_or_insert_with(|| self.pool.take());
        workspace.output.set_resp3(self.session.protocol == Protocol::Resp3);
        self.state.start_batch(&self.worker);
    }

    /// The wait itself.
    async fn until_woken(&mut self) -> Result<Woken, End> {
        let deadline = self.kept.as_ref().and_then(|kept| kept.deadline);
        let Connection { session, stream, workspace, pool, shutdown, worker, .. } = self;
        let limit = session.config.client_query_buffer_limit.unsigned_abs();
        let (handle, Some(waiter)) = (&session.handle, &mut session.waiter) else {
            return Ok(Woken::TimedOut);
        };
        let peer = async {
            loop {
                let count = read_ahead(stream, workspace, pool).await?;
                if count == 0 {
                    return Err::<(), End>(End::Closed);
                }
                note_read(worker, handle, workspace.as_deref(), count, limit)?;
            }
        };
        let time = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            call = waiter.called() => Ok(Woken::Called(call)),
            () = time => Ok(Woken::TimedOut),
            end = peer => Err(end.err().unwrap_or(End::Closed)),
            _ = shutdown.wait_for(Phase::is_stopping) => Err(End::Closed),
        }
    }
}

/// Reads what the client sends while there is room for it; 0 when the client is gone.
async fn read_ahead(
    stream: &mut Stream,
    workspace: &mut Option<Box<Workspace>>,
    pool: &Pool,
) -> io::Result<usize> {
    while workspace.as_ref().is_some_and(|workspace| workspace.input.filled().len() >= AHEAD_BYTES_MAX) {
        tokio::time::sleep(LOOK_EVERY).await;
        if stream.is_hung_up() {
            return Ok(0);
        }
    }
    super::read_input(stream, workspace, pool, |_| 0).await
}
