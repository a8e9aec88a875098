//! The commands of the data types: pushes and pops on one hot key and over 10,000 keys, and whole reads.
//!
//! A cell is a fixed number of commands, so that both servers end with the same collections. Keys of
//! pops are filled before with exactly as many elements as are popped. After each cell the elements that
//! the server counts are those that were acknowledged, or the run fails.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, Tables, progress};
use crate::client::Value;
use crate::collections::{Collections, KEY, Verb};
use crate::load::{self, Outcome, Shape};
use crate::report::{self, Table};
use crate::server::{Durability, Server, Settings, Spec};
use crate::{Failure, Result, values};

const CLIENTS: usize = 50;
const MANY_KEYS: u64 = 10_000;
/// Scores of zsets: some are equal.
const SCORES: u64 = 1_000_000;
/// Keys that whole reads are spread over.
const RANGE_KEYS: u64 = 1_000;

const VERBS: [Verb; 8] =
    [Verb::Lpush, Verb::Rpop, Verb::Sadd, Verb::Hset, Verb::Zadd, Verb::Xadd, Verb::Spop, Verb::Zpopmin];

/// Command, elements read.
const READS: [(Verb, u64); 3] = [(Verb::Lrange, 100), (Verb::Hgetall, 50), (Verb::Smembers, 100)];

/// What one round measured of one cell.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rate: f64,
    p99: Duration,
    cpu: Duration,
}

impl Sample {
    fn of(outcome: &Outcome) -> Self {
        Self {
            rate: outcome.rate(),
            p99: report::quantile(&outcome.latency, 0.99),
            cpu: outcome.cpu_per_operation(),
        }
    }
}

/// Row of the table, pipeline, keys.
type Cell = (usize, usize, u64);
/// Cells and servers' places in the list.
type Cells = BTreeMap<(Cell, usize), Vec<Sample>>;

/// Runs the writes and pops.
pub fn run(context: &Context) -> Tables {
    let mut samples = Cells::new();
    for round in 0..context.rounds {
        for (row, verb) in VERBS.into_iter().enumerate() {
            for (place, spec) in context.specs.iter().enumerate() {
                let name = verb.name();
                progress(&format!(
                    "types: {name} on {} (round {} of {})",
                    spec.name,
                    round + 1,
                    context.rounds
                ));
                measure(context, spec, verb, |pipeline, keys, sample| {
                    samples.entry(((row, pipeline, keys), place)).or_default().push(sample);
                })?;
            }
        }
    }
    let title = format!("Data types: {CLIENTS} clients, 16-byte elements, everysec");
    let mut table =
        Table::new(title, &["command", "keys", "pipeline", "server", "rate", "ratio", "p99", "CPU/op"]);
    rows(context, &mut table, &samples, &VERBS.map(Verb::name));
    means(context, &mut table, &samples);
    table.note(format!(
        "Median of {} round(s); every reply and every final size was checked.",
        context.rounds
    ));
    Ok(vec![table])
}

/// Runs the whole reads.
pub fn run_ranges(context: &Context) -> Tables {
    let mut samples = Cells::new();
    for round in 0..context.rounds {
        for (row, (verb, elements)) in READS.into_iter().enumerate() {
            for (place, spec) in context.specs.iter().enumerate() {
                let name = verb.name();
                progress(&format!(
                    "ranges: {name} on {} (round {} of {})",
                    spec.name,
                    round + 1,
                    context.rounds
                ));
                let (server, _folder) = context.start(spec, Settings::durable(Durability::Everysec))?;
                let total = RANGE_KEYS * elements;
                fill(&server, verb, RANGE_KEYS, total)?;
                for pipeline in [1, 16] {
                    let operations = if pipeline == 1 { 60_000 } else { 120_000 };
                    let operations = if context.quick { operations / 4 } else { operations };
                    let workload = Collections::new(verb, RANGE_KEYS, total, SCORES);
                    let outcome = drive(&server, CLIENTS, pipeline, operations, workload)?;
                    samples
                        .entry(((row, pipeline, RANGE_KEYS), place))
                        .or_default()
                        .push(Sample::of(&outcome));
                }
            }
        }
    }
    let title = format!("Whole reads: {CLIENTS} clients, 16-byte elements, everysec");
    let mut table =
        Table::new(title, &["command", "keys", "pipeline", "server", "rate", "ratio", "p99", "CPU/op"]);
    rows(context, &mut table, &samples, &["LRANGE of 100", "HGETALL of 50", "SMEMBERS of 100"]);
    table.note(format!("Median of {} round(s); every reply was checked.", context.rounds));
    Ok(vec![table])
}

/// One command on one server: pipelines 1, 16, 64 on one key and on many.
fn measure(
    context: &Context,
    spec: &Spec,
    verb: Verb,
    mut note: impl FnMut(usize, u64, Sample),
) -> Result<()> {
    let (server, _folder) = context.start(spec, Settings::durable(Durability::Everysec))?;
    for keys in [1, MANY_KEYS] {
        for (pipeline, operations) in [(1, 60_000), (16, 400_000), (64, 800_000)] {
            let operations = if context.quick { operations / 4 } else { operations };
            server.client()?.run("FLUSHALL")?;
            if verb.filler() != verb {
                fill(&server, verb, keys, operations)?;
            }
            let workload = Collections::new(verb, keys, operations, SCORES);
            let outcome = drive(&server, CLIENTS, pipeline, operations, workload)?;
            let left = if verb.filler() == verb { operations } else { 0 };
            check_sizes(&server, verb, keys, left)?;
            note(pipeline, keys, Sample::of(&outcome));
        }
    }
    Ok(())
}

/// Puts `elements` elements into `keys` keys of the type that `verb` works on.
pub(super) fn fill(server: &Server, verb: Verb, keys: u64, elements: u64) -> Result<Outcome> {
    drive(server, 4, 64, elements, Collections::new(verb.filler(), keys, elements, SCORES))
}

/// Runs so many commands and fails if one was answered wrongly.
pub(super) fn drive<W: load::Workload>(
    server: &Server,
    connections: usize,
    pipeline: usize,
    operations: u64,
    workload: W,
) -> Result<Outcome> {
    let time = Duration::from_secs(600);
    let shape = Shape { connections, pipeline, warmup: Duration::ZERO, time, operations: Some(operations) };
    let outcome = load::run(server.port(), shape, vec![workload], || server.cpu_time())?.verified()?;
    if outcome.answered == operations {
        Ok(outcome)
    } else {
        Err(Failure::new(format!("{operations} commands were sent, {} answered", outcome.answered)))
    }
}

/// The keys together have as many elements as they should.
pub(super) fn check_sizes(server: &Server, verb: Verb, keys: u64, elements: u64) -> Result<()> {
    let mut client = server.client()?;
    let mut sum = 0;
    for id in 0..keys {
        let Value::Integer(count) = client.call(&[verb.counter().as_bytes(), &values::key(KEY, id)])? else {
            return Err(Failure::new(format!("{} did not answer with a number", verb.counter())));
        };
        sum += count;
    }
    if u64::try_from(sum) == Ok(elements) {
        Ok(())
    } else {
        Err(Failure::new(format!("{}: {sum} elements are there, {elements} should be", verb.name())))
    }
}

fn rate(samples: &Cells, cell: Cell, place: usize) -> f64 {
    middle(samples, cell, place, |sample| sample.rate)
}

fn middle(samples: &Cells, cell: Cell, place: usize, pick: impl Fn(&Sample) -> f64) -> f64 {
    let figures = samples.get(&(cell, place)).map_or_else(Vec::new, |all| all.iter().map(pick).collect());
    report::median(figures)
}

/// The cells, each once, in the order of the table.
fn cells(samples: &Cells) -> Vec<Cell> {
    let mut cells: Vec<Cell> = samples.keys().map(|(cell, _)| *cell).collect();
    cells.sort_by_key(|(row, pipeline, keys)| (*row, *keys, *pipeline));
    cells.dedup();
    cells
}

fn rates(context: &Context, samples: &Cells, cell: Cell) -> Vec<(String, f64)> {
    let specs = context.specs.iter().enumerate();
    specs.map(|(place, spec)| (spec.name.clone(), rate(samples, cell, place))).collect()
}

fn rows(context: &Context, table: &mut Table, samples: &Cells, names: &[&str]) {
    for cell in cells(samples) {
        let (row, pipeline, keys) = cell;
        let all = rates(context, samples, cell);
        let baseline = context.baseline_of(&all);
        for (place, (server, rate)) in all.iter().enumerate() {
            let time = |pick: fn(&Sample) -> Duration| {
                let seconds = middle(samples, cell, place, |sample| pick(sample).as_secs_f64());
                report::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
            };
            table.row(vec![
                names[row].to_owned(),
                keys.to_string(),
                format!("P{pipeline}"),
                server.clone(),
                report::rate(*rate),
                report::ratio(*rate, baseline),
                time(|sample| sample.p99),
                time(|sample| sample.cpu),
            ]);
        }
    }
}

/// The geometric mean of the ratios, per pipeline.
fn means(context: &Context, table: &mut Table, samples: &Cells) {
    for (place, spec) in context.specs.iter().enumerate() {
        let mut parts = Vec::new();
        for wanted in [1, 16, 64] {
            let ratios: Vec<f64> = cells(samples)
                .into_iter()
                .filter(|(_, pipeline, _)| *pipeline == wanted)
                .filter_map(|cell| {
                    let baseline = context.baseline_of(&rates(context, samples, cell))?;
                    Some(rate(samples, cell, place) / baseline)
                })
                .collect();
            if !ratios.is_empty() {
                let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
                parts.push(format!("P{wanted} {mean:.2}x"));
            }
        }
        if spec.name != context.baseline && !parts.is_empty() {
            table.note(format!("Geometric mean of {}'s ratios: {}.", spec.name, parts.join(", ")));
        }
    }
}
