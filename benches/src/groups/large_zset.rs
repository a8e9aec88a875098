//! One zset of ten million elements: filling it, ranks, ranges, and changes of scores.
//!
//! All scores differ, so the rank of each member is known and every reply is checked for it.

use super::types::{check_sizes, drive};
use super::{Context, Tables, progress};
use crate::Result;
use crate::collections::{Collections, Verb};
use crate::report::{self, Table};
use crate::server::{Durability, Settings, Spec};

const CLIENTS: usize = 50;

/// Command, pipeline; the first one fills.
const CELLS: [(Verb, usize); 7] = [
    (Verb::Zadd, 64),
    (Verb::Zrank, 1),
    (Verb::Zrank, 16),
    (Verb::Zrange, 1),
    (Verb::Zrange, 16),
    (Verb::Zmove, 1),
    (Verb::Zmove, 16),
];

/// Runs the group.
pub fn run(context: &Context) -> Tables {
    let elements: u64 = if context.quick { 1_000_000 } else { 10_000_000 };
    let all: Vec<Vec<Cell>> =
        context.specs.iter().map(|spec| measure(context, spec, elements)).collect::<Result<_>>()?;
    let title = format!("One zset of {elements} elements of 16 bytes: {CLIENTS} clients, everysec");
    let mut table = Table::new(title, &["command", "pipeline", "server", "rate", "ratio", "CPU/op"]);
    for (row, (verb, pipeline)) in CELLS.into_iter().enumerate() {
        let names = context.specs.iter().map(|spec| spec.name.clone());
        let rates: Vec<(String, f64)> = names.zip(all.iter().map(|cells| cells[row].rate)).collect();
        let baseline = context.baseline_of(&rates);
        for ((server, rate), cells) in rates.iter().zip(&all) {
            table.row(vec![
                verb.name().to_owned(),
                format!("P{pipeline}"),
                server.clone(),
                report::rate(*rate),
                report::ratio(*rate, baseline),
                report::duration(cells[row].cpu),
            ]);
        }
    }
    table.note("One round; every rank and every member of a range was checked.");
    Ok(vec![table])
}

struct Cell {
    rate: f64,
    cpu: std::time::Duration,
}

fn measure(context: &Context, spec: &Spec, elements: u64) -> Result<Vec<Cell>> {
    let (server, _folder) = context.start(spec, Settings::durable(Durability::Everysec))?;
    let mut cells = Vec::new();
    for (verb, pipeline) in CELLS {
        progress(&format!("large-zset: {} P{pipeline} on {}", verb.name(), spec.name));
        let operations = match (verb, pipeline) {
            (Verb::Zadd, _) => elements,
            (_, 1) => 100_000,
            _ => 500_000,
        };
        let operations = if context.quick && verb != Verb::Zadd { operations / 4 } else { operations };
        let workload = Collections::new(verb, 1, elements, elements);
        let outcome = drive(&server, CLIENTS, pipeline, operations, workload)?;
        cells.push(Cell { rate: outcome.rate(), cpu: outcome.cpu_per_operation() });
    }
    check_sizes(&server, Verb::Zadd, 1, elements)?;
    Ok(cells)
}
