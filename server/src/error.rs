//! Why the server could not start or had to stop.

use std::io;
use std::path::PathBuf;

use crate::config::file::ConfigError;

/// A failed start. Its text is what the operator sees; `main` turns it into exit code 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("Could not create server TCP listening socket {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("Could not create the Unix socket {path}: {source}")]
    UnixSocket { path: PathBuf, source: io::Error },
    #[error("Configured to not listen anywhere, exiting.")]
    NowhereToListen,
    #[error(
        "Your current 'ulimit -n' of {limit} is not enough for the server to start. Please increase your open \
         file limit to at least {needed}. Exiting."
    )]
    TooFewDescriptors { limit: u64, needed: u64 },
    #[error("Could not write {what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("Could not start {what}: {source}")]
    Start { what: &'static str, source: io::Error },
    #[error("{0}")]
    Libraries(String),
    #[error("{0}")]
    Engine(#[from] lux_engine::error::Error),
}
