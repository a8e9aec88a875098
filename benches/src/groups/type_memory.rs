//! Resident bytes of collections: per key of small ones, per element of one with a million.

use super::key_memory::settled;
use super::types::{check_sizes, drive, fill};
use super::{Context, Tables, progress};
use crate::client::Value;
use crate::collections::{Part, Repeated, Verb};
use crate::report::{self, Table};
use crate::server::{Durability, Server, Settings};
use crate::{Failure, Result};

/// A small collection: what it is called, its command, its elements.
struct Small {
    name: &'static str,
    command: &'static str,
    elements: Vec<String>,
    answer: i64,
}

fn smalls() -> Vec<Small> {
    let small = |name, command, answer, element: &dyn Fn(u32) -> Vec<String>| {
        let count = u32::try_from(answer).unwrap_or_default();
        Small { name, command, answer, elements: (0..count).flat_map(element).collect() }
    };
    vec![
        small("hash of 5 fields", "HSET", 5, &|at| vec![format!("field{at}"), format!("value:{at:06}")]),
        small("set of 10 integers", "SADD", 10, &|at| vec![(1_000 + 7 * at).to_string()]),
        small("zset of 10", "ZADD", 10, &|at| vec![(100 * at).to_string(), format!("member{at:06}")]),
        small("list of 10", "RPUSH", 10, &|at| vec![format!("value{at:04}")]),
    ]
}

const LARGE: [(&str, Verb); 5] = [
    ("zset", Verb::Zadd),
    ("hash", Verb::Hset),
    ("set", Verb::Sadd),
    ("list", Verb::Lpush),
    ("stream", Verb::Xadd),
];

/// Runs the group.
pub fn run(context: &Context) -> Tables {
    let keys: u64 = if context.quick { 100_000 } else { 500_000 };
    let title = format!("Memory of small collections: {keys} keys of 16 bytes, everysec");
    let mut small = Table::new(title, &["collection", "server", "RSS/key", "ratio", "MEMORY USAGE"]);
    for shape in smalls() {
        let name = shape.name;
        compare(context, &mut small, name, keys, |server| {
            let mut parts = vec![Part::Text(shape.command), Part::Key];
            parts.extend(shape.elements.iter().map(|element| Part::Text(element)));
            drive(server, 4, 64, keys, Repeated::new(&parts, shape.answer))?;
            Ok(())
        })?;
    }
    let elements: u64 = if context.quick { 250_000 } else { 1_000_000 };
    let title = format!("Memory of one collection of {elements} elements of 16 bytes, everysec");
    let mut large = Table::new(title, &["collection", "server", "RSS/element", "ratio", "MEMORY USAGE"]);
    for (name, verb) in LARGE {
        compare(context, &mut large, name, elements, |server| {
            fill(server, verb, 1, elements)?;
            check_sizes(server, verb, 1, elements)
        })?;
    }
    large.note("Values of the hash have 16 bytes, scores are integers below a million.");
    Ok(vec![small, large])
}

/// A row per server: its memory after `load`, less that before it, over `count`.
fn compare(
    context: &Context,
    table: &mut Table,
    name: &str,
    count: u64,
    load: impl Fn(&Server) -> Result<()>,
) -> Result<()> {
    let mut figures = Vec::new();
    let mut usages = Vec::new();
    for spec in &context.specs {
        progress(&format!("type-memory: {name} on {}", spec.name));
        let (server, _folder) = context.start(spec, Settings::durable(Durability::Everysec))?;
        let empty = settled(&server)?;
        load(&server)?;
        let full = settled(&server)?;
        let bytes = full.resident.saturating_sub(empty.resident);
        figures.push((spec.name.clone(), bytes as f64 / count as f64));
        match server.client()?.run("MEMORY USAGE col:000000000000 SAMPLES 0")? {
            Value::Integer(bytes) => usages.push(bytes),
            other => return Err(Failure::new(format!("MEMORY USAGE answered {other:?}"))),
        }
    }
    let baseline = context.baseline_of(&figures);
    for ((server, figure), usage) in figures.iter().zip(usages) {
        let ratio = report::ratio(*figure, baseline);
        table.row(vec![name.to_owned(), server.clone(), format!("{figure:.0} B"), ratio, usage.to_string()]);
    }
    Ok(())
}
