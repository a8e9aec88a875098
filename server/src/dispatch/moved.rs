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

use lux_engine::ids::{DbIndex, Lsn};
use tokio::runtime::Handle;

use super::args::Argv;
use super::execute::{Position, Step, execute};
use super::reply::ReplySink;
use crate::blocking::Claim;
use crate::connection::output::Output;
use crate::session::{Protocol, ReplyMode, Session};
use crate::state::{ServerState, Worker};

/// A command that is to run elsewhere.
pub struct Moved {
    state: Arc<ServerState>,
    session: Session,
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
}

/// What a moved command leaves to its connection.
pub struct Done {
    /// The encoded reply.
    pub reply: Vec<u8>,
    pub claim: Option<Claim>,
    pub gate: Option<Lsn>,
    db: DbIndex,
    protocol: Protocol,
    reply_mode: ReplyMode,
    close_after_reply: bool,
}

impl Done {
    /// Gives the session what the command changed.
    pub fn settle(&mut self, session: &mut Session) {
        (session.db, session.protocol, session.reply_mode) = (self.db, self.protocol, self.reply_mode);
        session.close_after_reply |= self.close_after_reply;
        session.claim = self.claim.take();
    }
}

impl Moved {
    /// Takes the command and its client's transaction out of the session.
    pub(super) fn new(state: &Arc<ServerState>, session: &mut Session, argv: Argv<'_>) -> Box<Moved> {
        let (mut bytes, mut ranges) = (Vec::new(), Vec::with_capacity(argv.len()));
        for arg in argv.iter() {
            ranges.push((bytes.len() as u32, arg.len() as u32));
            bytes.extend_from_slice(arg);
        }
        session.resume = None;
        state.scripts.moved.fetch_add(1, Relaxed);
        Box::new(Moved { state: Arc::clone(state), session: session.stand_in(), bytes, ranges })
    }

    /// Runs the command when it is its turn. `None`: its thread panicked, or the server stops.
    pub(super) async fn run(self: Box<Self>, state: &ServerState) -> Option<Box<Done>> {
        let turn = Arc::clone(&state.moved_turn).acquire_owned().await.ok()?;
        let runtime = Handle::current();
        let job = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            self.run_here(&runtime)
        });
        job.await.ok()
    }

    fn run_here(mut self, runtime: &Handle) -> Box<Done> {
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
        Box::new(Done {
            reply: output.bytes().to_vec(),
            claim: session.claim.take(),
            gate: session.gate.take(),
            db: session.db,
            protocol: session.protocol,
            reply_mode: session.reply_mode,
            close_after_reply: session.close_after_reply,
        })
    }
}
