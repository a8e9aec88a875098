//! Where log lines go and which are written.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{Registry, fmt, prelude::*, reload};

use crate::config::Config;
use crate::error::ServerError;

/// Changes the level while the server runs.
pub type LevelHandle = reload::Handle<LevelFilter, Registry>;

/// Starts logging as configured.
pub fn start(config: &Config) -> Result<LevelHandle, ServerError> {
    let (filter, handle) = reload::Layer::new(level(&config.loglevel));
    let registry = tracing_subscriber::registry().with(filter);
    if config.logfile.is_empty() {
        let is_terminal = io::IsTerminal::is_terminal(&io::stdout());
        registry.with(fmt::layer().with_target(false).with_ansi(is_terminal)).init();
        return Ok(handle);
    }
    let path = PathBuf::from(&config.logfile);
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|source| ServerError::File { what: "the log file", path, source })?;
    registry.with(fmt::layer().with_target(false).with_ansi(false).with_writer(Mutex::new(file))).init();
    Ok(handle)
}

/// Redis's level names.
#[must_use]
pub fn level(name: &str) -> LevelFilter {
    match name {
        "debug" => LevelFilter::from_level(Level::TRACE),
        "verbose" => LevelFilter::from_level(Level::DEBUG),
        "warning" => LevelFilter::from_level(Level::WARN),
        "nothing" => LevelFilter::OFF,
        _ => LevelFilter::from_level(Level::INFO),
    }
}
