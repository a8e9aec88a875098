//! Markdown tables and the head of a report: machine, versions, command.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::server::{Kind, Spec};

/// A table that prints itself as markdown.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        let header = header.iter().map(|name| (*name).to_owned()).collect();
        Self { title: title.into(), header, rows: Vec::new(), notes: Vec::new() }
    }

    /// Appends a row; it has as many cells as the header.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.header.len(), "a row has as many cells as the header");
        self.rows.push(cells);
    }

    /// Appends a sentence below the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The table as markdown; the first column is left-aligned, the others right.
    #[must_use]
    pub fn markdown(&self) -> String {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&self.header]).map(|row| row[column].chars().count());
                cells.max().unwrap_or(0).max(3)
            })
            .collect();
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            format!("| {} |\n", padded.join(" | "))
        };
        let rule: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(column, width)| if column == 0 { "-".repeat(*width) } else { "-".repeat(width - 1) + ":" })
            .collect();
        let mut out = format!("### {}\n\n{}{}", self.title, line(&self.header), line(&rule));
        for row in &self.rows {
            out += &line(row);
        }
        for note in &self.notes {
            out += &format!("\n{note}\n");
        }
        out
    }
}

/// `812k/s`, `1.59M/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second >= 1e6 {
        format!("{:.2}M/s", per_second / 1e6)
    } else if per_second >= 1e4 {
        format!("{:.0}k/s", per_second / 1e3)
    } else {
        format!("{per_second:.0}/s")
    }
}

/// `0.35x`, or `-` without anything to compare with.
#[must_use]
pub fn ratio(figure: f64, baseline: Option<f64>) -> String {
    match baseline {
        Some(base) if base > 0.0 => format!("{:.2}x", figure / base),
        _ => "-".to_owned(),
    }
}

/// `210 ns`, `12.3 us`, `4.56 ms`, `1.20 s`.
#[must_use]
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1e-6 {
        format!("{:.0} ns", seconds * 1e9)
    } else if seconds < 1e-3 {
        format!("{:.1} us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

/// A quantile of a histogram of nanoseconds.
#[must_use]
pub fn quantile(histogram: &hdrhistogram::Histogram<u64>, q: f64) -> Duration {
    Duration::from_nanos(histogram.value_at_quantile(q))
}

/// `128 MiB`, `1.50 GiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mib = count as f64 / (1024.0 * 1024.0);
    match mib {
        mib if mib >= 1024.0 => format!("{:.2} GiB", mib / 1024.0),
        mib if mib >= 100.0 => format!("{mib:.0} MiB"),
        mib => format!("{mib:.1} MiB"),
    }
}

/// The middle of some figures (the lower one of two).
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Head of a report: command, machine, disk, server versions.
#[must_use]
pub fn head(specs: &[Spec], base: &Path) -> String {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()))
        .unwrap_or(0)
        * 1024;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut out = format!(
        "Command: `compare {}`\n\nMachine: {cores} cores of {model}, {}, Linux {}, data on {}\n\n",
        command.join(" "),
        bytes(memory),
        kernel.trim(),
        file_system(base)
    );
    for spec in specs {
        out += &format!("- {}: {}\n", spec.name, version(spec));
    }
    out
}

fn version(spec: &Spec) -> String {
    let output = Command::new(&spec.binary).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let name = match spec.kind {
        Kind::Lux => "Lux options",
        Kind::Redis => "Redis options",
    };
    format!("{} ({name})", text.unwrap_or_default().lines().next().unwrap_or("unknown version"))
}

/// Device and type of the file system that holds `folder`.
fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
            folder.starts_with(point).then(|| (point.len(), format!("{device} ({kind})")))
        })
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "an unknown file system".to_owned(), |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_markdown() {
        let mut table = Table::new("Speed", &["server", "rate"]);
        table.row(vec!["lux".into(), rate(1_590_000.0)]);
        table.note("A note.");
        assert_eq!(
            table.markdown(),
            "### Speed\n\n| server |    rate |\n| ------ | ------: |\n| lux    | 1.59M/s |\n\nA note.\n"
        );
    }

    #[test]
    fn figures_carry_their_units() {
        assert_eq!(rate(81_900.0), "82k/s");
        assert_eq!(rate(950.0), "950/s");
        assert_eq!(ratio(3.0, Some(2.0)), "1.50x");
        assert_eq!(ratio(3.0, None), "-");
        assert_eq!(duration(Duration::from_nanos(210)), "210 ns");
        assert_eq!(duration(Duration::from_micros(12)), "12.0 us");
        assert_eq!(duration(Duration::from_millis(1_200)), "1.20 s");
        assert_eq!(bytes(128 << 20), "128 MiB");
        assert_eq!(bytes(3 << 29), "1.50 GiB");
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
