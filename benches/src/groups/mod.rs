//! One file per question that the harness answers.

pub mod always;
pub mod ceiling;
pub mod device;
pub mod idle;
pub mod key_memory;
pub mod large_zset;
pub mod larger_than_memory;
pub mod restart;
pub mod stalls;
pub mod throughput;
pub mod type_memory;
pub mod types;

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::load::{self, Outcome, Shape};
use crate::report::Table;
use crate::server::{Server, Settings, Spec};
use crate::workload::{Order, Payload, Strings, Verb};

/// What every group needs to know.
#[derive(Clone, Debug)]
pub struct Context {
    pub specs: Vec<Spec>,
    /// Ratios are taken against this server.
    pub baseline: String,
    /// Server folders are made below this one.
    pub base: PathBuf,
    pub quick: bool,
    /// Generator threads.
    pub threads: usize,
    /// Rounds; a figure is the median over them.
    pub rounds: usize,
}

impl Context {
    /// A fresh folder that goes when the value is dropped.
    pub fn folder(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("lux-compare-").tempdir_in(&self.base)?)
    }

    /// `full`, or less of it for a quick run.
    #[must_use]
    pub fn seconds(&self, full: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { full / 4.0 } else { full })
    }

    /// Starts a server in a fresh folder.
    pub fn start(&self, spec: &Spec, settings: Settings) -> Result<(Server, tempfile::TempDir)> {
        let folder = self.folder()?;
        let server = Server::start(spec, settings, folder.path())?;
        Ok((server, folder))
    }

    /// The baseline's figure among `(name, figure)` pairs.
    #[must_use]
    pub fn baseline_of(&self, figures: &[(String, f64)]) -> Option<f64> {
        figures.iter().find(|(name, _)| *name == self.baseline).map(|(_, figure)| *figure)
    }
}

/// Answer of a group.
pub type Tables = Result<Vec<Table>>;

/// Writes each of `keys` keys once.
pub(crate) fn load_strings(server: &Server, keys: u64, payload: Payload) -> Result<Outcome> {
    let workload = Strings::new(Verb::Set, Order::Ascending, keys, payload, 1);
    let shape = Shape {
        connections: 4,
        pipeline: 64,
        warmup: Duration::ZERO,
        time: Duration::from_secs(600),
        operations: Some(keys),
    };
    load::run(server.port(), shape, vec![workload], || server.cpu_time())?.verified()
}

/// Progress for the person who waits, on standard error so that the report stays clean.
pub(crate) fn progress(text: &str) {
    eprintln!("# {text}");
}
