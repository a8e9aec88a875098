//! More data than the memory bound: load, skewed reads, uniform reads, overwrites, uniform reads.
//!
//! Values are 400 bytes, half random text, half repetitive, a function of key and version; every
//! reply of every phase is compared with the bytes acknowledged last. Lux runs under `maxmemory`;
//! the others hold everything in memory and keep no log, which is the ceiling of this generator.

use std::time::Duration;

use super::{Context, Tables, progress};
use crate::Result;
use crate::load::{self, Shape};
use crate::process::{self, MemoryWatch};
use crate::report::{self, Table};
use crate::server::{Durability, Kind, Settings, Spec};
use crate::values::Popularity;
use crate::workload::{Action, Versioned};

const VALUE_BYTES: usize = 400;
const CONNECTIONS: usize = 4;

/// Sizes of the run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of all values together.
    pub data_bytes: u64,
    pub maxmemory: u64,
    /// Bound of each phase after the load; the load may take five times as long.
    pub phase: Duration,
}

const PHASES: [(&str, Action); 5] = [
    ("load", Action::Load),
    ("GET, 80 % on 5 %", Action::Read(Popularity::Skewed)),
    ("GET uniform", Action::Read(Popularity::Uniform)),
    ("overwrite", Action::Overwrite),
    ("GET uniform after it", Action::Read(Popularity::Uniform)),
];

struct Figures {
    server: String,
    /// Rate, p99 and CPU per operation by phase.
    phases: Vec<(f64, Duration, Duration)>,
    peak: process::Memory,
    disk: u64,
}

/// Runs the group.
pub fn run(context: &Context, options: Options) -> Tables {
    let keys = options.data_bytes / VALUE_BYTES as u64;
    let mut all = Vec::new();
    for spec in &context.specs {
        all.push(measure(context, spec, keys, options)?);
    }
    let title = format!(
        "Larger than memory: {} in {keys} values of {VALUE_BYTES} bytes, maxmemory {} (Lux only), {CONNECTIONS} \
         connections, pipeline 64",
        report::bytes(options.data_bytes),
        report::bytes(options.maxmemory)
    );
    let mut speed = Table::new(title, &["phase", "server", "rate", "share", "p99", "CPU/op"]);
    for (phase, (name, _)) in PHASES.iter().enumerate() {
        let rates: Vec<_> = all.iter().map(|f| (f.server.clone(), f.phases[phase].0)).collect();
        for figures in &all {
            let (rate, p99, cpu) = figures.phases[phase];
            speed.row(vec![
                (*name).to_owned(),
                figures.server.clone(),
                report::rate(rate),
                report::ratio(rate, context.baseline_of(&rates)),
                report::duration(p99),
                report::duration(cpu),
            ]);
        }
    }
    speed.note(
        "Every reply was compared with the value acknowledged last. Redis-like servers: no log, no bound.",
    );
    let mut size = Table::new("Larger than memory: peaks", &["server", "RssAnon", "RSS", "disk"]);
    for figures in &all {
        size.row(vec![
            figures.server.clone(),
            report::bytes(figures.peak.anonymous),
            report::bytes(figures.peak.resident),
            report::bytes(figures.disk),
        ]);
    }
    Ok(vec![speed, size])
}

fn measure(context: &Context, spec: &Spec, keys: u64, options: Options) -> Result<Figures> {
    let durability = match spec.kind {
        Kind::Lux => Durability::Everysec,
        Kind::Redis => Durability::None,
    };
    let settings = Settings { durability, maxmemory: Some(options.maxmemory) };
    let (server, folder) = context.start(spec, settings)?;
    let watch = MemoryWatch::start(server.pid());
    let mut data = Versioned::new(keys, VALUE_BYTES, CONNECTIONS, 7);
    let mut phases = Vec::new();
    for (name, action) in PHASES {
        progress(&format!("larger than memory: {name} on {}", spec.name));
        data.set_action(action);
        let is_load = action == Action::Load;
        let shape = Shape {
            connections: CONNECTIONS,
            pipeline: 64,
            warmup: Duration::ZERO,
            // The load has to be complete, so its bound only guards against a stuck server.
            time: if is_load { options.phase * 20 } else { options.phase },
            operations: Some(keys),
        };
        let outcome = load::run(server.port(), shape, vec![&mut data], || server.cpu_time())?.verified()?;
        if is_load && outcome.operations < keys {
            return Err(crate::Failure::new(format!("{} did not finish the load in time", spec.name)));
        }
        phases.push((outcome.rate(), report::quantile(&outcome.latency, 0.99), outcome.cpu_per_operation()));
    }
    Ok(Figures {
        server: spec.name.clone(),
        phases,
        peak: watch.peak(),
        disk: process::disk_bytes(folder.path()),
    })
}
