//! What an idle server costs: time to the first PONG, memory when empty, size of the binary.

use std::process::Command;
use std::time::Duration;

use super::{Context, Tables, progress};
use crate::Result;
use crate::process;
use crate::report::{self, Table};
use crate::server::{Durability, Server, Settings, Spec, in_path};

/// Runs the group.
pub fn run(context: &Context) -> Tables {
    let starts = if context.quick { 3 } else { 9 };
    let title = format!("Idle: empty folder, everysec, median of {starts} starts");
    let mut table =
        Table::new(title, &["server", "exec to PONG", "RssAnon", "RSS", "CPU idle", "stripped binary"]);
    for spec in &context.specs {
        progress(&format!("idle: {}", spec.name));
        let settings = Settings::durable(Durability::Everysec);
        let mut times = Vec::new();
        for _ in 0..starts {
            let folder = context.folder()?;
            let server = Server::spawn(spec, settings, folder.path())?;
            times.push(server.wait_for_pong(Duration::from_secs(30))?.as_secs_f64());
        }
        let (server, _folder) = context.start(spec, settings)?;
        std::thread::sleep(Duration::from_secs(2));
        let (memory, cpu_before) = (process::memory(server.pid())?, server.cpu_time());
        let window = context.seconds(8.0);
        std::thread::sleep(window);
        let cpu = server.cpu_time().saturating_sub(cpu_before);
        table.row(vec![
            spec.name.clone(),
            report::duration(Duration::from_secs_f64(report::median(times))),
            report::bytes(memory.anonymous),
            report::bytes(memory.resident),
            format!("{:.1} %", 100.0 * cpu.as_secs_f64() / window.as_secs_f64()),
            stripped_bytes(context, spec)?,
        ]);
    }
    Ok(vec![table])
}

/// Size of the binary after `strip`, on a copy; of the file as it is where `strip` is missing.
fn stripped_bytes(context: &Context, spec: &Spec) -> Result<String> {
    let whole = std::fs::metadata(&spec.binary)?.len();
    if in_path("strip").is_none() {
        return Ok(format!("{} (not stripped)", report::bytes(whole)));
    }
    let folder = context.folder()?;
    let copy = folder.path().join("stripped");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(&spec.binary).status()?;
    let size = if status.success() { std::fs::metadata(&copy)?.len() } else { whole };
    Ok(report::bytes(size))
}
