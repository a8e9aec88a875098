//! Resident bytes per key: a million keys of 16 bytes with a 64-byte value, an integer, a deadline.

use std::time::{Duration, Instant};

use super::{Context, Tables, load_strings, progress};
use crate::Result;
use crate::process::{self, Memory};
use crate::report::{self, Table};
use crate::server::{Durability, Server, Settings};
use crate::workload::Payload;

const SHAPES: [(&str, Payload); 3] = [
    ("64-byte value", Payload::Text(64)),
    ("integer value", Payload::Number),
    ("64-byte value, TTL", Payload::Expiring(64)),
];

/// Runs the group.
pub fn run(context: &Context) -> Tables {
    let keys: u64 = if context.quick { 250_000 } else { 1_000_000 };
    let title = format!("Memory per key: {keys} keys of 16 bytes, everysec");
    let header = ["payload", "server", "RSS/key", "ratio", "RssAnon/key", "empty RSS"];
    let mut table = Table::new(title, &header);
    for (name, payload) in SHAPES {
        let mut figures = Vec::new();
        let mut rows = Vec::new();
        for spec in &context.specs {
            progress(&format!("memory: {name} on {}", spec.name));
            let (server, _folder) = context.start(spec, Settings::durable(Durability::Everysec))?;
            let empty = settled(&server)?;
            load_strings(&server, keys, payload)?;
            let full = settled(&server)?;
            let per_key = |after: u64, before: u64| after.saturating_sub(before) as f64 / keys as f64;
            figures.push((spec.name.clone(), per_key(full.resident, empty.resident)));
            rows.push((per_key(full.anonymous, empty.anonymous), empty.resident));
        }
        let baseline = context.baseline_of(&figures);
        for ((server, resident), (anonymous, empty)) in figures.iter().zip(rows) {
            table.row(vec![
                name.to_owned(),
                server.clone(),
                format!("{resident:.0} B"),
                report::ratio(*resident, baseline),
                format!("{anonymous:.0} B"),
                report::bytes(empty),
            ]);
        }
    }
    Ok(vec![table])
}

/// Memory once it has not moved by more than 1 % for two seconds (at most fifteen).
pub(super) fn settled(server: &Server) -> Result<Memory> {
    let begin = Instant::now();
    let mut steady = process::memory(server.pid())?;
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) && begin.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(100));
        let now = process::memory(server.pid())?;
        if now.resident.abs_diff(steady.resident) > steady.resident / 100 {
            (steady, since) = (now, Instant::now());
        }
    }
    process::memory(server.pid())
}
