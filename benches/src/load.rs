//! The closed-loop load generator: connections that send a batch, wait for its replies, send the next.
//!
//! Each thread drives its share of the connections through one epoll and one [`Workload`]. Commands
//! are patched copies of a template and replies are parsed in place, so one core drives several
//! million operations per second at a pipeline of 64 and the server stays the bottleneck.
//!
//! A batch's latency runs from the moment before its write to the moment its replies were read; that
//! is what a client with this pipeline sees. It is a closed loop: a slow server is asked less often,
//! so tail latency under a given rate is [`crate::open_loop`]'s business.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::Timespec;
use rustix::event::epoll;

use crate::wire::{self, Reply};
use crate::{Failure, Result};

/// What is sent and what must come back. One value per generator thread.
pub trait Workload: Send {
    /// Appends the next command of `connection` and returns a token that identifies it.
    fn encode(&mut self, connection: usize, out: &mut Vec<u8>) -> u64;

    /// True if `reply` is the right answer to the command with this token.
    fn check(&mut self, connection: usize, token: u64, reply: Reply<'_>) -> bool;
}

impl<W: Workload + ?Sized> Workload for &mut W {
    fn encode(&mut self, connection: usize, out: &mut Vec<u8>) -> u64 {
        (**self).encode(connection, out)
    }

    fn check(&mut self, connection: usize, token: u64, reply: Reply<'_>) -> bool {
        (**self).check(connection, token, reply)
    }
}

/// Size and length of a run.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub connections: usize,
    pub pipeline: usize,
    /// Replies in this first part are checked but not counted.
    pub warmup: Duration,
    /// No batch starts later than this after the warm-up.
    pub time: Duration,
    /// At most this many commands (per thread), if given.
    pub operations: Option<u64>,
}

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub operations: u64,
    /// All replies that were right, those of the warm-up and after the end included.
    pub answered: u64,
    pub elapsed: Duration,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
    pub wrong: u64,
    pub first_wrong: Option<String>,
    /// CPU time of the server within the counted window.
    pub cpu: Duration,
}

impl Outcome {
    /// Operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Server CPU per operation.
    #[must_use]
    pub fn cpu_per_operation(&self) -> Duration {
        Duration::from_secs_f64(self.cpu.as_secs_f64() / (self.operations.max(1)) as f64)
    }

    /// Fails if a single reply was wrong.
    pub fn verified(self) -> Result<Self> {
        match &self.first_wrong {
            None => Ok(self),
            Some(first) => Err(Failure::new(format!("{} wrong replies, the first: {first}", self.wrong))),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.operations += other.operations;
        self.answered += other.answered;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
        self.wrong += other.wrong;
        self.first_wrong = self.first_wrong.take().or_else(|| other.first_wrong.clone());
    }
}

/// A histogram from 100 ns to 100 s with three digits.
#[must_use]
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 100_000_000_000, 3).expect("the bounds are constant and valid")
}

/// Runs one workload per thread against `port`, the connections shared out evenly, and checks every
/// reply. `cpu_time` reads the server's CPU clock at both ends of the counted window.
pub fn run<W: Workload>(
    port: u16,
    shape: Shape,
    mut workloads: Vec<W>,
    cpu_time: impl Fn() -> Duration + Sync,
) -> Result<Outcome> {
    let threads = workloads.len();
    let outcomes: Vec<Result<Outcome>> = std::thread::scope(|scope| {
        let running: Vec<_> = workloads
            .iter_mut()
            .enumerate()
            .map(|(thread, workload)| {
                let share = (shape.connections + thread) / threads;
                let cpu_time = &cpu_time;
                scope.spawn(move || Driver::new(port, shape, share, workload)?.drive(cpu_time))
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Failure::new("a generator thread panicked"))))
            .collect()
    });
    let mut outcomes = outcomes.into_iter();
    let mut total = outcomes.next().ok_or_else(|| Failure::new("no generator thread"))??;
    for outcome in outcomes {
        total.merge(&outcome?);
    }
    Ok(total)
}

/// One connection's buffers.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    pub(crate) fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, out: Vec::new(), written: 0, input: vec![0; 65_536], start: 0, end: 0 })
    }

    /// Writes what is waiting; true when nothing is left.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }

    /// Reads once; false when nothing was there.
    pub(crate) fn fill(&mut self) -> Result<bool> {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.input.len() {
            self.input.resize(self.input.len() * 2, 0);
        }
        loop {
            return match self.stream.read(&mut self.input[self.end..]) {
                Ok(0) => Err(Failure::new("the server closed a connection")),
                Ok(count) => {
                    self.end += count;
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Takes the next whole reply, arrays with their elements, if one is there.
    pub(crate) fn next_reply(&mut self) -> Result<Option<Reply<'_>>> {
        match wire::parse_whole(&self.input[self.start..self.end])? {
            None => Ok(None),
            Some((reply, taken)) => {
                self.start += taken;
                Ok(Some(reply))
            }
        }
    }
}

/// Registers a connection for reading, or for reading and writing.
pub(crate) fn watch(poll: &OwnedFd, connection: &Connection, index: usize, writing: bool) -> Result<()> {
    let mut flags = epoll::EventFlags::IN;
    flags.set(epoll::EventFlags::OUT, writing);
    epoll::modify(poll, &connection.stream, epoll::EventData::new_u64(index as u64), flags)?;
    Ok(())
}

/// A connection of the closed loop: one batch in flight.
struct Lane {
    connection: Connection,
    tokens: Vec<u64>,
    answered: usize,
    sent_at: Instant,
    blocked: bool,
}

/// One generator thread.
struct Driver<'w, W> {
    shape: Shape,
    workload: &'w mut W,
    poll: OwnedFd,
    lanes: Vec<Lane>,
    issued: u64,
    idle: usize,
    counting: bool,
    outcome: Outcome,
}

impl<'w, W: Workload> Driver<'w, W> {
    fn new(port: u16, shape: Shape, connections: usize, workload: &'w mut W) -> Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lanes = Vec::with_capacity(connections);
        for index in 0..connections {
            let connection = Connection::open(port)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&poll, &connection.stream, data, epoll::EventFlags::IN)?;
            lanes.push(Lane {
                connection,
                tokens: Vec::with_capacity(shape.pipeline),
                answered: 0,
                sent_at: Instant::now(),
                blocked: false,
            });
        }
        let outcome = Outcome {
            operations: 0,
            answered: 0,
            elapsed: Duration::ZERO,
            latency: new_histogram(),
            wrong: 0,
            first_wrong: None,
            cpu: Duration::ZERO,
        };
        Ok(Self { shape, workload, poll, lanes, issued: 0, idle: 0, counting: false, outcome })
    }

    fn drive(mut self, cpu_time: &impl Fn() -> Duration) -> Result<Outcome> {
        let begin = Instant::now();
        let (mut window, mut cpu_before) = (begin, cpu_time());
        self.counting = self.shape.warmup.is_zero();
        for index in 0..self.lanes.len() {
            self.send_batch(index)?;
        }
        let mut events = Vec::with_capacity(self.lanes.len().max(1));
        let mut closed_at = None;
        let mut last_event = begin;
        while self.idle < self.lanes.len() {
            events.clear();
            let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
            let now = Instant::now();
            if !events.is_empty() {
                last_event = now;
            } else if now - last_event > Duration::from_secs(60) {
                return Err(Failure::new("the server did not answer for 60 seconds"));
            }
            if !self.counting && closed_at.is_none() && now - begin >= self.shape.warmup {
                self.counting = true;
                (window, cpu_before) = (now, cpu_time());
            }
            let is_over = now - begin >= self.shape.warmup + self.shape.time;
            if self.counting && is_over {
                self.close_window(now - window, cpu_time().saturating_sub(cpu_before));
                closed_at = Some(now);
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).expect("lane numbers are small");
                self.handle(index, event.flags, is_over)?;
            }
        }
        if self.counting {
            self.close_window(window.elapsed(), cpu_time().saturating_sub(cpu_before));
        }
        Ok(self.outcome)
    }

    fn close_window(&mut self, elapsed: Duration, cpu: Duration) {
        self.counting = false;
        self.outcome.elapsed = elapsed;
        self.outcome.cpu = cpu;
    }

    fn handle(&mut self, index: usize, flags: epoll::EventFlags, is_over: bool) -> Result<()> {
        let lane = &mut self.lanes[index];
        if lane.blocked && flags.contains(epoll::EventFlags::OUT) && lane.connection.flush()? {
            lane.blocked = false;
            watch(&self.poll, &lane.connection, index, false)?;
        }
        if flags.contains(epoll::EventFlags::OUT) && !flags.intersects(epoll::EventFlags::IN) {
            return Ok(());
        }
        if !lane.connection.fill()? {
            return Ok(());
        }
        let latency = u64::try_from(lane.sent_at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let before = lane.answered;
        self.take_replies(index)?;
        let lane = &self.lanes[index];
        let count = (lane.answered - before) as u64;
        if self.counting && count > 0 {
            self.outcome.operations += count;
            self.outcome.latency.saturating_record_n(latency, count);
        }
        if lane.answered == lane.tokens.len() {
            if is_over || self.shape.operations.is_some_and(|limit| self.issued >= limit) {
                self.lanes[index].tokens.clear();
                self.lanes[index].answered = 0;
                self.idle += 1;
            } else {
                self.send_batch(index)?;
            }
        }
        Ok(())
    }

    fn take_replies(&mut self, index: usize) -> Result<()> {
        let lane = &mut self.lanes[index];
        while lane.answered < lane.tokens.len() {
            let Some(reply) = lane.connection.next_reply()? else { break };
            let token = lane.tokens[lane.answered];
            lane.answered += 1;
            self.outcome.answered += 1;
            if !self.workload.check(index, token, reply) {
                self.outcome.wrong += 1;
                if self.outcome.first_wrong.is_none() {
                    self.outcome.first_wrong = Some(describe(token, reply));
                }
            }
        }
        Ok(())
    }

    fn send_batch(&mut self, index: usize) -> Result<()> {
        let lane = &mut self.lanes[index];
        lane.tokens.clear();
        lane.answered = 0;
        let left = self.shape.operations.map_or(u64::MAX, |limit| limit.saturating_sub(self.issued));
        for _ in 0..left.min(self.shape.pipeline as u64) {
            lane.tokens.push(self.workload.encode(index, &mut lane.connection.out));
        }
        self.issued += lane.tokens.len() as u64;
        if lane.tokens.is_empty() {
            self.idle += 1;
            return Ok(());
        }
        lane.sent_at = Instant::now();
        if !lane.connection.flush()? && !lane.blocked {
            lane.blocked = true;
            watch(&self.poll, &lane.connection, index, true)?;
        }
        Ok(())
    }
}

/// Says in one line which reply was wrong.
pub(crate) fn describe(token: u64, reply: Reply<'_>) -> String {
    let text = match reply {
        Reply::Bulk(bytes) | Reply::Status(bytes) | Reply::Error(bytes) => {
            String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned()
        }
        Reply::Whole { count, elements } => {
            format!("{count} elements: {}", String::from_utf8_lossy(&elements[..elements.len().min(120)]))
        }
        other => format!("{other:?}"),
    };
    format!("command on key {token} was answered with '{text}'")
}

/// Servers that misbehave in one known way, for the tests of both generators.
#[cfg(test)]
pub(crate) mod stub {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    /// Answers each command of `command_bytes` bytes with `reply`; sleeps once, after the first
    /// `before_stall` commands. Serves one connection on a thread of its own and returns the port.
    pub(crate) fn serve(
        command_bytes: usize,
        reply: &'static [u8],
        before_stall: usize,
        stall: Duration,
    ) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut input, mut pending, mut answered) = (vec![0; 65_536], 0, 0);
            while let Ok(count @ 1..) = stream.read(&mut input) {
                pending += count;
                let commands = pending / command_bytes;
                pending %= command_bytes;
                if answered <= before_stall && before_stall < answered + commands {
                    std::thread::sleep(stall);
                }
                answered += commands;
                if stream.write_all(&reply.repeat(commands)).is_err() {
                    return;
                }
            }
        });
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Order, Payload, Strings, Verb};

    fn drive(verb: Verb, reply: &'static [u8], operations: u64) -> Outcome {
        let mut workload = Strings::new(verb, Order::Random, 100, Payload::Text(64), 1);
        let mut first = Vec::new();
        workload.encode(0, &mut first);
        let port = stub::serve(first.len(), reply, usize::MAX, Duration::ZERO);
        let shape = Shape {
            connections: 1,
            pipeline: 7,
            warmup: Duration::ZERO,
            time: Duration::from_secs(20),
            operations: Some(operations),
        };
        run(port, shape, vec![workload], || Duration::ZERO).unwrap()
    }

    #[test]
    fn every_command_is_answered_and_counted_once() {
        let outcome = drive(Verb::Set, b"+OK\r\n", 1_000).verified().unwrap();
        assert_eq!((outcome.operations, outcome.answered, outcome.latency.len()), (1_000, 1_000, 1_000));
    }

    #[test]
    fn wrong_replies_are_counted_and_refused() {
        for reply in [b"$-1\r\n".as_slice(), b"-ERR no\r\n", b"$5\r\nhello\r\n"] {
            let outcome = drive(Verb::Get, reply, 100);
            assert_eq!(outcome.wrong, 100);
            assert!(outcome.verified().is_err());
        }
    }
}
