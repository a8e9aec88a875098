//! LATENCY's memory: events that took longer than `latency-monitor-threshold`.

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
        assert_eq!(monitor.remove(|name| name == "command"), 1);
    }
}
