//! `appendfsync always` with 50 clients: rate, latency in units of one fsync, writes per fsync.
//!
//! Writes per fsync come from the server's own counter (`wal_fsyncs` in INFO). Redis and Valkey count
//! no fsyncs; there the event loop's cycles stand in, an upper bound of the fsyncs, since each cycle
//! with writes syncs once. The cost of one fsync is measured in the same folder, just before.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Context, Tables, progress};
use crate::Result;
use crate::load::{self, Shape};
use crate::report::{self, Table};
use crate::server::{Durability, Server, Settings};
use crate::workload::{Order, Payload, Strings, Verb};

const CLIENTS: usize = 50;

/// INFO fields that count fsyncs of the log, or bound them from above.
const FSYNC_FIELDS: [&str; 2] = ["wal_fsyncs", "eventloop_cycles"];

/// Runs the group.
pub fn run(context: &Context) -> Tables {
    let title = format!("appendfsync always: {CLIENTS} clients, SET of 64-byte values, no pipeline");
    let header = ["server", "rate", "ratio", "p50", "p99", "one fsync", "p99 / fsync", "writes/fsync"];
    let mut table = Table::new(title, &header);
    let (mut rates, mut rows) = (Vec::new(), Vec::new());
    for spec in &context.specs {
        progress(&format!("always: {}", spec.name));
        let (server, folder) = context.start(spec, Settings::durable(Durability::Always))?;
        let fsync = fsync_time(folder.path())?;
        let before = fsyncs(&server)?;
        let shape = Shape {
            connections: CLIENTS,
            pipeline: 1,
            warmup: Duration::ZERO,
            time: context.seconds(10.0),
            operations: None,
        };
        let workload = Strings::new(Verb::Set, Order::Random, 100_000, Payload::Text(64), 5);
        let outcome = load::run(server.port(), shape, vec![workload], || server.cpu_time())?.verified()?;
        let after = fsyncs(&server)?;
        let p99 = report::quantile(&outcome.latency, 0.99);
        rates.push((spec.name.clone(), outcome.rate()));
        rows.push([
            report::duration(report::quantile(&outcome.latency, 0.5)),
            report::duration(p99),
            report::duration(fsync),
            format!("{:.1}", p99.as_secs_f64() / fsync.as_secs_f64()),
            writes_per_fsync(outcome.answered, before, after),
        ]);
    }
    let baseline = context.baseline_of(&rates);
    for ((server, rate), row) in rates.iter().zip(rows) {
        let mut cells = vec![server.clone(), report::rate(*rate), report::ratio(*rate, baseline)];
        cells.extend(row);
        table.row(cells);
    }
    table.note("`>=`: the server counts event-loop cycles, not fsyncs.");
    Ok(vec![table])
}

/// The counter's name and its value.
fn fsyncs(server: &Server) -> Result<Option<(&'static str, u64)>> {
    let info = server.client()?.info()?;
    Ok(FSYNC_FIELDS.into_iter().find_map(|name| Some((name, info.get(name)?.parse().ok()?))))
}

type Counter = Option<(&'static str, u64)>;

fn writes_per_fsync(writes: u64, before: Counter, after: Counter) -> String {
    match (before, after) {
        (Some((name, before)), Some((_, after))) if after > before => {
            let mark = if name == FSYNC_FIELDS[0] { "" } else { ">= " };
            format!("{mark}{:.1}", writes as f64 / (after - before) as f64)
        }
        _ => "-".to_owned(),
    }
}

/// Median time of an append of 4 KiB and its `fdatasync`.
fn fsync_time(folder: &Path) -> Result<Duration> {
    let path = folder.join("harness-fsync-probe");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[7; 4096])?;
        let begin = Instant::now();
        // DURABILITY: nothing depends on this file; the call is what is being measured.
        file.sync_data()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    std::fs::remove_file(&path)?;
    Ok(Duration::from_secs_f64(report::median(times)))
}
