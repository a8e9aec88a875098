//! The open-loop generator: commands leave at a fixed rate, whether or not the server keeps up.
//!
//! Latency is counted from the moment a command was *due*, so a stall of the server (or of the
//! generator) is charged to every command that would have been sent meanwhile. That is what makes
//! p99.9 honest; a closed loop would simply send less (coordinated omission).
//!
//! Arrivals are evenly spaced and dealt to the connections in turn. Between arrivals the thread
//! sleeps with a timer slack of one nanosecond, so it takes no core for itself. How late the
//! generator itself was is reported beside the result.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::load::{Connection, Workload, describe, new_histogram, watch};
use crate::{Failure, Result};

/// More commands than this in flight mean that the server cannot keep the rate at all.
const IN_FLIGHT_MAX: u64 = 2_000_000;

/// How long the replies to the last commands may take.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Rate and length of a run.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub connections: usize,
    pub rate: f64,
    pub time: Duration,
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub operations: u64,
    pub elapsed: Duration,
    /// Nanoseconds from due to answered.
    pub latency: Histogram<u64>,
    /// Nanoseconds from due to sent: the generator's own share.
    pub lateness: Histogram<u64>,
    pub wrong: u64,
    pub first_wrong: Option<String>,
}

impl Outcome {
    /// Fails if a single reply was wrong.
    pub fn verified(self) -> Result<Self> {
        match &self.first_wrong {
            None => Ok(self),
            Some(first) => Err(Failure::new(format!("{} wrong replies, the first: {first}", self.wrong))),
        }
    }
}

/// Sends `shape.rate` commands per second for `shape.time` and waits for all replies.
pub fn run<W: Workload>(port: u16, shape: Shape, workload: &mut W) -> Result<Outcome> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut lanes = Vec::with_capacity(shape.connections);
    for index in 0..shape.connections {
        let connection = Connection::open(port)?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, &connection.stream, data, epoll::EventFlags::IN)?;
        lanes.push(Lane { connection, waiting: VecDeque::new(), blocked: false, touched: false });
    }
    let outcome = Outcome {
        operations: 0,
        elapsed: Duration::ZERO,
        latency: new_histogram(),
        lateness: new_histogram(),
        wrong: 0,
        first_wrong: None,
    };
    let interval = Duration::from_secs_f64(1.0 / shape.rate);
    let total = (shape.rate * shape.time.as_secs_f64()) as u64;
    let sent = 0;
    Pacer { poll, lanes, workload, outcome, interval, total, sent, touched: Vec::new() }.drive()
}

struct Lane {
    connection: Connection,
    waiting: VecDeque<(u64, Instant)>,
    blocked: bool,
    touched: bool,
}

struct Pacer<'w, W> {
    poll: OwnedFd,
    lanes: Vec<Lane>,
    workload: &'w mut W,
    outcome: Outcome,
    interval: Duration,
    total: u64,
    sent: u64,
    /// Lanes with commands of this turn.
    touched: Vec<usize>,
}

impl<W: Workload> Pacer<'_, W> {
    fn drive(mut self) -> Result<Outcome> {
        let begin = Instant::now();
        let mut events = Vec::with_capacity(self.lanes.len().max(1));
        let mut last_sent = begin;
        while self.outcome.operations < self.total {
            let now = Instant::now();
            let next_due = self.send_due(begin, now)?;
            if self.sent == self.total {
                if now - last_sent > DRAIN_MAX {
                    return Err(Failure::new("replies are missing 30 s after the last command"));
                }
            } else {
                last_sent = now;
            }
            if self.sent - self.outcome.operations > IN_FLIGHT_MAX {
                return Err(Failure::new("the server cannot keep this rate: two million commands wait"));
            }
            events.clear();
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&at_once))?;
            if events.is_empty() {
                self.sleep_until(next_due)?;
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).expect("lane numbers are small");
                self.handle(index, event.flags)?;
            }
        }
        self.outcome.elapsed = begin.elapsed();
        Ok(self.outcome)
    }

    /// Sends everything that is due at `now`; returns when the next command is due.
    fn send_due(&mut self, begin: Instant, now: Instant) -> Result<Instant> {
        let mut due = self.due(begin);
        while due <= now && self.sent < self.total {
            let index = usize::try_from(self.sent % self.lanes.len() as u64).expect("lane numbers are small");
            let lane = &mut self.lanes[index];
            let token = self.workload.encode(index, &mut lane.connection.out);
            lane.waiting.push_back((token, due));
            if !lane.touched {
                lane.touched = true;
                self.touched.push(index);
            }
            self.outcome.lateness.saturating_record(nanoseconds(now - due));
            self.sent += 1;
            due = self.due(begin);
        }
        for index in self.touched.drain(..) {
            let lane = &mut self.lanes[index];
            lane.touched = false;
            if !lane.connection.flush()? && !lane.blocked {
                lane.blocked = true;
                watch(&self.poll, &lane.connection, index, true)?;
            }
        }
        Ok(if self.sent == self.total { now + Duration::from_millis(100) } else { due })
    }

    fn due(&self, begin: Instant) -> Instant {
        begin + Duration::from_secs_f64(self.interval.as_secs_f64() * self.sent as f64)
    }

    /// Sleeps until something can be read or the next command is due. (`epoll_wait` itself counts
    /// in milliseconds on older kernels; `ppoll` on the epoll descriptor counts in nanoseconds.)
    fn sleep_until(&self, due: Instant) -> Result<()> {
        let wait = due.saturating_duration_since(Instant::now());
        let seconds = i64::try_from(wait.as_secs()).expect("waits are short");
        let timeout = Timespec { tv_sec: seconds, tv_nsec: i64::from(wait.subsec_nanos()) };
        poll(&mut [PollFd::new(&self.poll, PollFlags::IN)], Some(&timeout))?;
        Ok(())
    }

    fn handle(&mut self, index: usize, flags: epoll::EventFlags) -> Result<()> {
        let lane = &mut self.lanes[index];
        if lane.blocked && flags.contains(epoll::EventFlags::OUT) && lane.connection.flush()? {
            lane.blocked = false;
            watch(&self.poll, &lane.connection, index, false)?;
        }
        if !flags.intersects(epoll::EventFlags::IN) || !lane.connection.fill()? {
            return Ok(());
        }
        let now = Instant::now();
        while let Some(reply) = lane.connection.next_reply()? {
            let Some((token, due)) = lane.waiting.pop_front() else {
                return Err(Failure::new("a reply came that nobody had asked for"));
            };
            self.outcome.operations += 1;
            self.outcome.latency.saturating_record(nanoseconds(now - due));
            if !self.workload.check(index, token, reply) {
                self.outcome.wrong += 1;
                if self.outcome.first_wrong.is_none() {
                    self.outcome.first_wrong = Some(describe(token, reply));
                }
            }
        }
        Ok(())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::stub;
    use crate::workload::{Order, Payload, Strings, Verb};

    #[test]
    fn a_stall_is_charged_to_every_command_that_was_due_meanwhile() {
        let mut workload = Strings::new(Verb::Set, Order::Random, 100, Payload::Text(64), 1);
        let mut first = Vec::new();
        workload.encode(0, &mut first);
        // One command meets the stall of 300 ms; at 1,000/s some 300 were due while it lasted.
        let port = stub::serve(first.len(), b"+OK\r\n", 200, Duration::from_millis(300));
        let shape = Shape { connections: 1, rate: 1_000.0, time: Duration::from_secs(1) };
        let outcome = run(port, shape, &mut workload).unwrap().verified().unwrap();
        assert_eq!(outcome.operations, 1_000);
        let slow = outcome.latency.count_between(50_000_000, 100_000_000_000);
        assert!(slow >= 200, "only {slow} commands were charged");
    }
}
