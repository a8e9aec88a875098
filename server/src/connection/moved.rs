//! Commands that go on in a thread of their own: scripts that take long, and EXECs with such scripts.
//!
//! Nothing of such a command has happened yet when it is moved. It begins anew with a stand-in of its client's
//! session, on a thread that serves nobody and so may wait for locks and hold them for as long as it takes
//! ([`lux_engine::keyspace::store::Store::begin_long`]). Its reply and what it changed of the session come back
//! to the connection. One such command runs at a time; the others wait with nothing held.
//!
//! A client that goes away meanwhile takes nothing back: the command commits.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::Handle;

use super::output::Output;
use super::{Connection, End};
use crate::dispatch::args::Argv;
use crate::dispatch::execute::{Position, Step, execute};
use crate::dispatch::reply::ReplySink;
use crate::session::{MovedReply, Protocol, Session};
use crate::state::{ServerState, Worker};

impl Connection {
    /// Has a request run aside, with the client's transaction. Its reply is in the session then.
    pub(super) async fn move_on(&mut self, index: usize) -> Result<(), End> {
        let Some(workspace) = &self.workspace else { return Ok(()) };
        let request = workspace.decoder.request(index, workspace.input.filled());
        let Some(request) = request else { return Ok(()) };
        let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
        for arg in Argv::new(request.bytes, request.ranges).iter() {
            ranges.push((bytes.len() as u32, arg.len() as u32));
            bytes.extend_from_slice(arg);
        }
        self.session.resume = None;
        self.state.scripts.moved.fetch_add(1, Relaxed);
        let moved = Moved { state: Arc::clone(&self.state), session: self.session.stand_in(), bytes, ranges };
        let handle = self.session.handle.clone();
        handle.is_waiting.store(true, Relaxed);
        // Without an answer its thread panicked, or the server stops.
        self.session.moved = Some(moved.run().await.ok_or(End::Closed)?);
        handle.is_waiting.store(false, Relaxed);
        self.state.start_batch(&self.worker);
        handle.touch(self.worker.now_ms.get());
        Ok(())
    }
}

/// A command that is to run elsewhere.
struct Moved {
    state: Arc<ServerState>,
    session: Session,
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

impl Moved {
    /// Runs the command when it is its turn. `None`: its thread panicked, or the server stops.
    async fn run(self) -> Option<Box<MovedReply>> {
        let turn = Arc::clone(&self.state.moved_turn).acquire_owned().await.ok()?;
        let runtime = Handle::current();
        let job = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            self.run_here(&runtime)
        });
        job.await.ok()
    }

    fn run_here(mut self, runtime: &Handle) -> Box<MovedReply> {
        let Moved { state, session, bytes, ranges } = &mut self;
        let worker = Worker::aside(Arc::clone(&state.moved_stats));
        let mut output = Output::default();
        output.set_resp3(session.protocol == Protocol::Resp3);
        let argv = Argv::new(bytes, ranges);
        loop {
            state.start_batch(&worker);
            let step = {
                let _long = state.engine.store().begin_long();
                execute(state, &worker, session, argv, Position::Last, &mut output)
            };
            match step {
                Step::Wait(wait) => runtime.block_on(wait.ready(state, session)),
                // No command of a transaction waits for keys.
                Step::Done | Step::Block(_) => break,
            }
        }
        MovedReply::new(output.bytes().to_vec(), session)
    }
}
