//! File descriptors: who gets how many, so that clients can never take the log's.
//!
//! The process has three kinds of users: the cold tier, which keeps as many files open as its budget
//! allows ([`lux_engine::tier::open_files_max`]); the log, the event loops and everything else, which get a
//! fixed reserve; and clients, one each. The system's soft limit is raised as far as they all need and the
//! hard limit allows. Where that is not enough the cold tier gets fewer, then clients get what
//! is left, and `maxclients` says so.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use lux_engine::tier::open_files_max;

use crate::config::Config;
use crate::error::ServerError;

/// For the log, its threads, what a checkpoint and a compaction write, `/proc`, and the listening sockets.
const RESERVE: u64 = 96;
/// What the event loop of a worker takes, and the connection that is about to be refused.
const PER_WORKER: u64 = 4;

/// How the descriptors of this process are shared out.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors {
    /// For everybody but clients; fixed when the store is opened.
    others: u64,
    /// Files that the cold tier may keep open.
    pub cold_files: u64,
}

impl Descriptors {
    /// Raises the limit as far as needed, and lowers `maxclients` where that is not enough. To be called
    /// before the store is opened, which takes its part by the limit that it finds.
    ///
    /// # Errors
    /// The limit leaves nothing for clients.
    pub fn share_out(config: &mut Config) -> Result<Descriptors, ServerError> {
        let budget_bytes = config.maxmemory.unsigned_abs();
        let reserve = RESERVE + PER_WORKER * config.io_threads.unsigned_abs();
        let asked = config.maxclients.unsigned_abs();
        let files = open_files_max(budget_bytes, u64::MAX);
        // The cold tier takes at most half, so it gets all of its files only with twice as many.
        let limit = raise((asked + reserve + files).max(2 * files));
        let files = open_files_max(budget_bytes, limit);
        // For the clients that were asked for it makes do with 512, or a quarter if that is less.
        let cold_files = files.min(limit.saturating_sub(reserve + asked).max(open_files_max(0, limit / 2)));
        let others = reserve + cold_files;
        let left = limit.saturating_sub(others);
        if left == 0 {
            return Err(ServerError::TooFewDescriptors { limit, needed: others + 1 });
        }
        if left < asked {
            tracing::warn!(
                "You requested maxclients of {asked} requiring at least {} max file descriptors.",
                asked + others
            );
            tracing::warn!(
                "Current maximum open files is {limit}. maxclients has been reduced to {left} to compensate \
                 for low ulimit. If you need higher maxclients increase 'ulimit -n'."
            );
            config.maxclients = i64::try_from(left).unwrap_or(i64::MAX);
        }
        Ok(Descriptors { others, cold_files })
    }

    /// Makes room for a new `maxclients`.
    ///
    /// # Errors
    /// The largest number that the system allows, if that is less.
    pub fn make_room(&self, clients: i64) -> Result<(), u64> {
        let asked = clients.unsigned_abs();
        let left = raise(asked + self.others).saturating_sub(self.others);
        if left < asked { Err(left) } else { Ok(()) }
    }
}

/// Raises the soft limit to `wanted`, or as far as it goes; returns the limit that is in force then.
fn raise(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return current;
    }
    let target = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum: limit.maximum }) {
        Ok(()) => target,
        Err(error) => {
            let error = io::Error::from(error);
            tracing::warn!("Server can't set maximum open files to {target} because of OS error: {error}.");
            current
        }
    }
}
