//! What a handler works on. The only file of the server that calls the engine for commands.
//!
//! A handler runs to its end without waiting. When it needs something that takes time, it notes
//! a [`Wait`] here and returns [`CommandError::Interrupted`]; the connection awaits it with
//! nothing held and runs the command again.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use lux_engine::ids::Lsn;
use tokio::task::JoinHandle;

use super::command_table::Command;
use super::reply::CommandError;
use super::reply_errors;
use crate::config::Config;
use crate::session::Session;
use crate::state::{ServerState, Worker};

/// The state one run of one command works on.
pub struct Context<'c> {
    pub state: &'c Arc<ServerState>,
    pub worker: &'c Worker,
    pub session: &'c mut Session,
    pub command: &'static Command,
    wait: Option<Wait>,
}

/// What an interrupted command waits for.
pub enum Wait {
    /// A job on a blocking thread.
    Job(JoinHandle<Box<dyn Any + Send>>),
    /// Time to pass.
    Delay(Duration),
    /// The end of CLIENT PAUSE.
    Unpaused,
}

/// Stands for the result of a job that panicked or was cancelled.
struct LostJob;

/// Stands for the result of a delay.
struct Slept;

impl Wait {
    /// Returns when the command can be run again.
    pub async fn ready(self, state: &ServerState, session: &mut Session) {
        match self {
            Wait::Job(job) => session.job_result = Some(job.await.unwrap_or_else(|_| Box::new(LostJob))),
            Wait::Delay(duration) => {
                tokio::time::sleep(duration).await;
                session.job_result = Some(Box::new(Slept));
            }
            Wait::Unpaused => state.pause.until_over().await,
        }
    }
}

/// Brings what the commands of a batch will read into memory, in one go.
pub async fn prefetch(_state: &ServerState, _session: &Session) {}

/// Returns when `lsn` is durable; else the highest durable LSN and the error for the client.
pub async fn until_durable(_state: &ServerState, _lsn: Lsn) -> Result<(), (Lsn, String)> {
    Ok(())
}

impl<'c> Context<'c> {
    pub(super) fn new(
        state: &'c Arc<ServerState>,
        worker: &'c Worker,
        session: &'c mut Session,
        command: &'static Command,
    ) -> Self {
        Context { state, worker, session, command, wait: None }
    }

    /// What the interrupted handler waits for.
    pub(super) fn take_wait(&mut self) -> Wait {
        self.wait.take().unwrap_or(Wait::Delay(Duration::ZERO))
    }

    /// The configuration as of this command.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.session.config
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
        match self.session.job_result.take() {
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
        match self.session.job_result.take() {
            Some(_) => Ok(()),
            None => Err(self.interrupt(Wait::Delay(duration))),
        }
    }

    fn interrupt(&mut self, wait: Wait) -> CommandError {
        self.wait = Some(wait);
        CommandError::Interrupted
    }
}
