//! LATENCY's memory: events that took longer than `latency-monitor-threshold`, and how they are told.

use std::collections::{BTreeMap, VecDeque};

/// Samples kept per event, as in Redis.
const SAMPLES_MAX: usize = 160;

/// The samples of one kind of event.
#[derive(Default)]
pub struct Event {
    /// (Unix seconds, milliseconds), oldest first, one per second.
    samples: VecDeque<(u64, u64)>,
    worst_ms: u64,
}

impl Event {
    /// Oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + DoubleEndedIterator {
        self.samples.iter().copied()
    }

    #[must_use]
    pub fn worst_ms(&self) -> u64 {
        self.worst_ms
    }

    fn add(&mut self, unix_seconds: u64, millis: u64) {
        self.worst_ms = self.worst_ms.max(millis);
        match self.samples.back_mut() {
            Some((second, worst)) if *second == unix_seconds => *worst = millis.max(*worst),
            _ => self.samples.push_back((unix_seconds, millis)),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }
}

/// What DOCTOR says of one kind of event.
struct Summary {
    count: u64,
    mean_ms: u64,
    /// Mean distance of the samples from their mean.
    deviation_ms: u64,
    /// Seconds between two samples on average.
    period_seconds: u64,
}

impl Event {
    fn summary(&self) -> Summary {
        let count = self.samples.len().max(1) as u64;
        let mean_ms = self.samples.iter().map(|(_, millis)| millis).sum::<u64>() / count;
        let distance: u64 = self.samples.iter().map(|(_, millis)| millis.abs_diff(mean_ms)).sum();
        let span = match (self.samples.front(), self.samples.back()) {
            (Some((first, _)), Some((last, _))) => last.saturating_sub(*first),
            _ => 0,
        };
        let period_seconds = span / count.saturating_sub(1).max(1);
        Summary { count, mean_ms, deviation_ms: distance / count, period_seconds }
    }

    /// The samples as a chart of text: a column each, with the age below it.
    #[must_use]
    pub fn graph(&self, name: &str, now_seconds: u64) -> String {
        const ROWS: u64 = 4;
        /// Columns that fit a terminal.
        const COLUMNS: usize = 80;
        let skipped = self.samples.len().saturating_sub(COLUMNS);
        let shown: Vec<(u64, u64)> = self.samples.iter().copied().skip(skipped).collect();
        let high = shown.iter().map(|(_, millis)| *millis).max().unwrap_or(0);
        let low = shown.iter().map(|(_, millis)| *millis).min().unwrap_or(0);
        let mut text =
            format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", self.worst_ms);
        text += &"-".repeat(COLUMNS);
        text.push('\n');
        // Rounded up: the lowest sample still has a mark.
        let heights = shown.iter().map(|(_, millis)| (millis * ROWS).div_ceil(high.max(1)).max(1));
        let heights: Vec<u64> = heights.collect();
        for row in (1..=ROWS).rev() {
            let columns = heights.iter().map(|height| match height {
                height if *height == row => '#',
                height if *height > row => '|',
                _ => ' ',
            });
            text += columns.collect::<String>().trim_end();
            text.push('\n');
        }
        text.push('\n');
        let ages: Vec<String> = shown.iter().map(|(at, _)| age(now_seconds.saturating_sub(*at))).collect();
        for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
            let columns =
                ages.iter().map(|age| age.as_bytes().get(row).map_or(' ', |byte| char::from(*byte)));
            text += columns.collect::<String>().trim_end();
            text.push('\n');
        }
        text
    }
}

/// Seconds in one or two digits and a unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// All events, by name.
#[derive(Default)]
pub struct LatencyMonitor {
    events: BTreeMap<&'static str, Event>,
}

impl LatencyMonitor {
    /// Notes that an event took so long.
    pub fn add(&mut self, event: &'static str, unix_seconds: u64, millis: u64) {
        self.events.entry(event).or_default().add(unix_seconds, millis);
    }

    pub fn events(&self) -> impl Iterator<Item = (&'static str, &Event)> {
        self.events.iter().map(|(name, event)| (*name, event))
    }

    /// What was measured, in words, with what to look at next; `threshold_ms` is the configured one.
    #[must_use]
    pub fn report(&self, threshold_ms: u64) -> String {
        if threshold_ms == 0 && self.events.is_empty() {
            return "Latency monitoring is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on.\n"
                .into();
        }
        if self.events.is_empty() {
            return format!(
                "No event took {threshold_ms} ms or longer since the monitor was turned on or reset.\n"
            );
        }
        let mut text = String::from("Events that took longer than the threshold:\n\n");
        for (name, event) in self.events() {
            let Summary { count, mean_ms, deviation_ms, period_seconds } = event.summary();
            text += &format!(
                "{name}: {count} spikes, {mean_ms} ms on average (mean deviation {deviation_ms} ms, one each \
                 {period_seconds} s). Worst of all: {} ms.\n",
                event.worst_ms()
            );
        }
        text += "\nWhat to look at:\n\n\
                 - SLOWLOG GET names the commands that took long.\n\
                 - INFO tier: misses that rise quickly mean that the data in use does not fit into memory.\n\
                 - INFO wal: fsync_us_max is the longest wait for the disk.\n\
                 - COMPACT STATUS: compactions compete for disk and processor.\n";
        text
    }

    /// Forgets the events that `picks` picks; how many.
    pub fn remove(&mut self, picks: impl Fn(&str) -> bool) -> usize {
        let before = self.events.len();
        self.events.retain(|name, _| !picks(name));
        before - self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_per_second_and_the_worst_is_kept() {
        let mut monitor = LatencyMonitor::default();
        for (second, millis) in [(1, 10), (1, 30), (1, 20), (2, 5)] {
            monitor.add("command", second, millis);
        }
        let (_, event) = monitor.events().next().expect("it was added");
        assert_eq!(event.samples().collect::<Vec<_>>(), [(1, 30), (2, 5)]);
        assert_eq!(event.worst_ms(), 30);
        let graph = event.graph("command", 62);
        assert!(graph.starts_with("command - high 30 ms, low 5 ms (all time high 30 ms)\n---"), "{graph}");
        assert!(graph.ends_with("\n#\n|\n|\n|#\n\n11\nmm\n"), "{graph}");
        let report = monitor.report(5);
        assert!(report.contains("command: 2 spikes, 17 ms on average (mean deviation 12 ms"), "{report}");
        assert_eq!(monitor.remove(|name| name == "command"), 1);
        assert!(monitor.report(0).contains("latency-monitor-threshold"));
        assert!(monitor.report(7).contains("7 ms"));
    }
}
