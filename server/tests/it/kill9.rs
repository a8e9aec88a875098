//! `kill -9` under load: nothing acknowledged is lost, nothing is half applied.
//!
//! Four writers pipeline random commands over keys of their own and keep two models: what the replies they got
//! promise, and the list of commands sent since. The server is killed at a random moment and started again (now
//! and then killed once more while it recovers). Then, for each writer, there must be a number of commands, at
//! least all acknowledged and at most all sent ones, whose effects are exactly what the server holds: a *prefix*.
//! A lost write, a half applied RENAME or MSET, or a gap in the order leaves no such number.
//!
//! Besides, all writers overwrite the same groups of keys with MSET; after each crash a group is of one write.
//! Values grow to several times `maxmemory`, so most of what is checked was evicted, and that is asserted.
//! `kill -9` must lose nothing with `everysec` either: the log lives in the page cache, which survives the process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, Reply, encode_command, is_disconnect};
use crate::server::{Program, Server};

const WRITERS: usize = 4;
const ROUNDS_MIN: usize = 6;
/// After this no new round starts for the number of rounds,
const TIME_MAX: Duration = Duration::from_secs(28);
/// and after this not for the volume either. A machine that is busy otherwise writes slowly.
const VOLUME_TIME_MAX: Duration = Duration::from_secs(300);
const MAXMEMORY: &str = "32mb";
/// Bytes that must have been written at the end for the run to say something about eviction.
const VOLUME_MIN: u64 = 2 * 32 * 1024 * 1024;

const PLAIN_KEYS: u64 = 12_000;
const COUNTER_KEYS: u64 = 200;
const SHORT_KEYS: u64 = 300;
const GROUPS: u64 = 40;
const GROUP_KEYS: u64 = 6;
const PIPELINE_MAX: u64 = 48;
/// APPEND starts over beyond this length.
const APPEND_MAX: usize = 20_000;

#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn nothing_acknowledged_is_lost_with_always() {
    run("always", 0x5eed_0001);
}

#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn nothing_acknowledged_is_lost_with_everysec() {
    run("everysec", 0x5eed_0002);
}

fn run(appendfsync: &str, default_seed: u64) {
    let seed = std::env::var("LUX_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default_seed);
    eprintln!("LUX_SEED={seed} appendfsync={appendfsync}");
    let started = Instant::now();
    let mut random = Random(seed);
    let mut server = Server::start(Program::Lux, &["--maxmemory", MAXMEMORY, "--appendfsync", appendfsync]);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|index| Writer::new(index, random.next())).collect();
    let mut cold_seen = 0;
    let written = |writers: &[Writer]| writers.iter().map(|writer| writer.bytes_written).sum::<u64>();
    let mut round = 0;
    while (round < ROUNDS_MIN && started.elapsed() < TIME_MAX)
        || (written(&writers) < VOLUME_MIN && started.elapsed() < VOLUME_TIME_MAX)
    {
        let run_for = Duration::from_millis(300 + random.below(1500));
        cold_seen += write_until_killed(&mut server, &mut writers, run_for);
        server.launch();
        if random.below(3) == 0 {
            // A second crash, somewhere in recovery.
            thread::sleep(Duration::from_millis(random.below(120)));
            server.kill9();
            server.launch();
        }
        server.await_ready();
        let mut client = server.connect().expect("a connection after the restart");
        verify(&mut client, &mut writers, &mut random, false)
            .unwrap_or_else(|problem| panic!("round {round}: {problem}\n{}", server.log_tail()));
        let size = client.call(&["DBSIZE"]).expect("DBSIZE answers");
        let recount = client.call(&["DEBUG", "RECOUNT"]).expect("DEBUG RECOUNT answers");
        // Per database: its number; keys found and counted; deadlines found and counted.
        let Reply::Array(databases) = &recount else { panic!("an array: {recount:?}") };
        let [Reply::Array(numbers)] = &databases[..] else { panic!("one database: {recount:?}") };
        assert_eq!(
            numbers[..3],
            [Reply::Int(0), size.clone(), size],
            "round {round}: DBSIZE and a recount differ"
        );
        assert_eq!(numbers[3], numbers[4], "round {round}: the counter of deadlines and a recount differ");
        round += 1;
    }
    let mut client = server.connect().expect("a connection");
    verify(&mut client, &mut writers, &mut random, true)
        .unwrap_or_else(|problem| panic!("at the end: {problem}\n{}", server.log_tail()));
    let volume = written(&writers);
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged_total).sum();
    eprintln!(
        "{round} crashes, {acknowledged} acknowledged commands, {volume} bytes, {cold_seen} sampled keys were cold"
    );
    assert!(volume >= VOLUME_MIN, "only {volume} bytes written: the data never exceeded the budget");
    assert!(cold_seen > 0, "no sampled key was ever cold: nothing was evicted");
}

/// The checker itself, on a server with a log that is known to be right: it accepts what survives, and notices a
/// single lost, changed or resurrected key.
#[test]
fn the_checker_is_right_about_redis() {
    if Program::Redis.path().is_none() {
        eprintln!("skipped: no redis-server on this machine");
        return;
    }
    let mut random = Random(0x5eed_0003);
    // Not everysec: while an fsync is slow Redis then holds writes of its log back for up to two seconds and
    // acknowledges them meanwhile, so that kill -9 loses them. On a busy disk this test noticed.
    let flags = ["--appendonly", "yes", "--appendfsync", "no"];
    let mut server = Server::start(Program::Redis, &flags);
    let mut writers: Vec<Writer> = (0..WRITERS).map(|index| Writer::new(index, random.next())).collect();
    for _ in 0..2 {
        write_until_killed(&mut server, &mut writers, Duration::from_millis(400));
        server.restart();
        let mut client = server.connect().expect("a connection");
        verify(&mut client, &mut writers, &mut random, true).unwrap_or_else(|problem| panic!("{problem}"));
    }
    let mut client = server.connect().expect("a connection");
    let key = writers[1].model.keys().find(|key| key.starts_with(b"w1:key:")).cloned().expect("a key");
    let kept = client.call(&[b"DUMP".as_slice(), &key]).expect("DUMP answers");
    let kept = kept.bytes().expect("the key is there").to_vec();
    let mut damage = |args: &[&[u8]]| {
        client.call(args).expect("a reply");
        let problem = verify(&mut client, &mut writers, &mut random, true);
        client.call(&[b"RESTORE".as_slice(), &key, b"0", &kept, b"REPLACE"]).expect("RESTORE answers");
        problem.expect_err("the damage must be noticed")
    };
    assert!(damage(&[b"DEL", &key]).contains("is gone"));
    assert!(damage(&[b"APPEND", &key, b"x"]).contains("other contents"));
    assert!(damage(&[b"PEXPIRE", &key, b"99999999"]).contains("the deadline"));
    assert!(damage(&[b"SET", b"stranger", b"x"]).contains("DBSIZE"));
    client.call(&["DEL", "stranger"]).expect("a reply");
    verify(&mut client, &mut writers, &mut random, true).unwrap_or_else(|problem| panic!("{problem}"));
    client.call(&["SET", "group:0:1", "a part of another write"]).expect("a reply");
    let problem =
        verify(&mut client, &mut writers, &mut random, true).expect_err("the damage must be noticed");
    assert!(problem.contains("parts of several writes"), "{problem}");
}

/// Returns how many of some sampled keys were cold just before the kill: evicted, since nothing was reopened yet.
fn write_until_killed(server: &mut Server, writers: &mut [Writer], run_for: Duration) -> usize {
    let address = server.address();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let handles: Vec<_> = writers
            .iter_mut()
            .map(|writer| {
                let stop = &stop;
                scope.spawn(move || {
                    let result = Client::connect(address).and_then(|mut client| writer.write(&mut client));
                    // ORDERING: the flag says that a broken connection is our doing; it was set before the kill.
                    match result {
                        Err(error) if stop.load(Ordering::SeqCst) && is_disconnect(&error) => {}
                        Err(error) => panic!("the server broke a connection by itself: {error}"),
                        Ok(()) => unreachable!("a writer stops only when its connection breaks"),
                    }
                })
            })
            .collect();
        thread::sleep(run_for);
        let cold = count_cold(server);
        stop.store(true, Ordering::SeqCst);
        server.kill9();
        for handle in handles {
            if let Err(panic) = handle.join() {
                std::panic::resume_unwind(panic);
            }
        }
        cold
    })
}

/// Checks every key of every writer that may have changed (and some or all others), the groups, and DBSIZE.
fn verify(
    client: &mut Client,
    writers: &mut [Writer],
    random: &mut Random,
    everything: bool,
) -> Result<(), String> {
    // Short deadlines must lie in the past, or a key could vanish between two reads.
    let latest = writers.iter().map(|writer| writer.latest_short_deadline).max().unwrap_or(0);
    thread::sleep(Duration::from_millis(latest.saturating_add(150).saturating_sub(now_ms())));
    for writer in writers.iter_mut() {
        writer
            .verify(client, random, everything)
            .map_err(|problem| format!("writer {}: {problem}", writer.index))?;
    }
    let groups = verify_groups(client, writers)?;
    let expected: usize = writers.iter().map(|writer| writer.model.len()).sum::<usize>() + groups;
    let expected = i64::try_from(expected).expect("a small count");
    // Deadlines that passed while the server was down may still be drained.
    let patience = Instant::now() + Duration::from_secs(3);
    loop {
        match client.call(&["DBSIZE"]).map_err(|error| error.to_string())? {
            Reply::Int(size) if size == expected => return Ok(()),
            Reply::Int(_) if Instant::now() < patience => thread::sleep(Duration::from_millis(20)),
            other => return Err(format!("DBSIZE answers {other:?}, there are {expected} keys")),
        }
    }
}

fn count_cold(server: &Server) -> usize {
    let mut question = vec!["TIER".to_string(), "OF".to_string()];
    question.extend((0..200).map(|step| format!("w0:key:{}", step * PLAIN_KEYS / 200)));
    let answer = server.connect().and_then(|mut client| client.call(&question)).expect("TIER OF answers");
    answer.elements().unwrap_or_default().iter().filter(|state| state.bytes() == Some(b"cold")).count()
}

/// Every group holds the values of one MSET. Returns the number of existing keys.
fn verify_groups(client: &mut Client, writers: &[Writer]) -> Result<usize, String> {
    let mut existing = 0;
    for group in 0..GROUPS {
        let mut question = vec![b"MGET".to_vec()];
        question.extend((0..GROUP_KEYS).map(|member| group_key(group, member)));
        let reply = client.call(&question).map_err(|error| error.to_string())?;
        let values = reply.elements().ok_or("MGET gives no array")?;
        if values.iter().any(|value| value != &values[0]) {
            return Err(format!("group {group} holds parts of several writes: {values:?}"));
        }
        match values[0].bytes() {
            None if writers.iter().any(|writer| writer.groups_acknowledged.contains(&group)) => {
                return Err(format!("group {group} was acknowledged and is gone"));
            }
            None => {}
            Some(tag) if writers.iter().any(|writer| writer.group_tags_sent.contains(tag)) => {
                existing += values.len();
            }
            Some(tag) => {
                let tag = String::from_utf8_lossy(tag);
                return Err(format!("group {group} holds {tag:?}, which nobody wrote"));
            }
        }
    }
    Ok(existing)
}

fn group_key(group: u64, member: u64) -> Vec<u8> {
    format!("group:{group}:{member}").into_bytes()
}

/// The contents of a key. Random bytes are kept as what generates them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(i64),
    Pieces(Vec<Piece>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    seed: u64,
    length: usize,
}

impl Value {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Value::Number(number) => number.to_string().into_bytes(),
            Value::Pieces(pieces) => pieces.iter().flat_map(Piece::bytes).collect(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Value::Number(_) => self.bytes().len(),
            Value::Pieces(pieces) => pieces.iter().map(|piece| piece.length).sum(),
        }
    }
}

impl Piece {
    /// Half compressible, like real values: hexadecimal digits.
    fn bytes(&self) -> Vec<u8> {
        let mut random = Random(self.seed);
        let mut out = Vec::with_capacity(self.length + 16);
        while out.len() < self.length {
            out.extend_from_slice(format!("{:016x}", random.next()).as_bytes());
        }
        out.truncate(self.length);
        out
    }
}

/// A key of the model: its value and its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    value: Value,
    deadline: Option<u64>,
}

type Model = BTreeMap<Vec<u8>, Entry>;

/// A command with an effect that can be computed.
#[derive(Clone, Debug)]
enum Operation {
    Set(Vec<u8>, Piece),
    SetShort(Vec<u8>, Piece, u64),
    MultiSet(Vec<(Vec<u8>, Piece)>),
    Append(Vec<u8>, Piece),
    Increment(Vec<u8>, i64),
    Delete(Vec<u8>),
    DeleteTwo(Vec<u8>, Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    ExpireAt(Vec<u8>, u64),
    Persist(Vec<u8>),
    Group(u64, Vec<u8>),
}

impl Operation {
    fn args(&self) -> Vec<Vec<u8>> {
        let word = |text: &str| text.as_bytes().to_vec();
        let number = |number: u64| number.to_string().into_bytes();
        match self {
            Operation::Set(key, piece) => vec![word("SET"), key.clone(), piece.bytes()],
            Operation::SetShort(key, piece, deadline) => {
                vec![word("SET"), key.clone(), piece.bytes(), word("PXAT"), number(*deadline)]
            }
            Operation::MultiSet(pairs) => {
                let mut args = vec![word("MSET")];
                for (key, piece) in pairs {
                    args.push(key.clone());
                    args.push(piece.bytes());
                }
                args
            }
            Operation::Append(key, piece) => vec![word("APPEND"), key.clone(), piece.bytes()],
            Operation::Increment(key, by) => vec![word("INCRBY"), key.clone(), by.to_string().into_bytes()],
            Operation::Delete(key) => vec![word("DEL"), key.clone()],
            Operation::DeleteTwo(first, second) => vec![word("UNLINK"), first.clone(), second.clone()],
            Operation::Rename(from, to) => vec![word("RENAME"), from.clone(), to.clone()],
            Operation::ExpireAt(key, deadline) => vec![word("PEXPIREAT"), key.clone(), number(*deadline)],
            Operation::Persist(key) => vec![word("PERSIST"), key.clone()],
            Operation::Group(group, tag) => {
                let mut args = vec![word("MSET")];
                for member in 0..GROUP_KEYS {
                    args.push(group_key(*group, member));
                    args.push(tag.clone());
                }
                args
            }
        }
    }

    /// The keys whose state it may change, those of groups apart.
    fn keys(&self) -> Vec<Vec<u8>> {
        match self {
            Operation::Set(key, _)
            | Operation::SetShort(key, ..)
            | Operation::Append(key, _)
            | Operation::Increment(key, _)
            | Operation::Delete(key)
            | Operation::ExpireAt(key, _)
            | Operation::Persist(key) => vec![key.clone()],
            Operation::MultiSet(pairs) => pairs.iter().map(|(key, _)| key.clone()).collect(),
            Operation::DeleteTwo(first, second) | Operation::Rename(first, second) => {
                vec![first.clone(), second.clone()]
            }
            Operation::Group(..) => Vec::new(),
        }
    }

    /// Changes the model and returns the reply, or `None` where it depends on the moment.
    fn apply(&self, model: &mut Model) -> Option<Reply> {
        let ok = Some(Reply::Simple(b"OK".to_vec()));
        let count = |count: usize| Some(Reply::Int(i64::try_from(count).expect("a small count")));
        match self {
            Operation::Set(key, piece) => {
                model.insert(key.clone(), Entry { value: Value::Pieces(vec![*piece]), deadline: None });
                ok
            }
            Operation::SetShort(key, piece, deadline) => {
                let value = Value::Pieces(vec![*piece]);
                model.insert(key.clone(), Entry { value, deadline: Some(*deadline) });
                ok
            }
            Operation::MultiSet(pairs) => {
                for (key, piece) in pairs {
                    model.insert(key.clone(), Entry { value: Value::Pieces(vec![*piece]), deadline: None });
                }
                ok
            }
            Operation::Append(key, piece) => {
                let entry = model
                    .entry(key.clone())
                    .or_insert_with(|| Entry { value: Value::Pieces(Vec::new()), deadline: None });
                match &mut entry.value {
                    Value::Pieces(pieces) => pieces.push(*piece),
                    Value::Number(_) => unreachable!("counters have keys of their own"),
                }
                count(entry.value.len())
            }
            Operation::Increment(key, by) => {
                let entry = model
                    .entry(key.clone())
                    .or_insert_with(|| Entry { value: Value::Number(0), deadline: None });
                match &mut entry.value {
                    Value::Number(number) => {
                        *number += by;
                        Some(Reply::Int(*number))
                    }
                    Value::Pieces(_) => unreachable!("counters have keys of their own"),
                }
            }
            Operation::Delete(key) => {
                let removed = model.remove(key);
                let short = removed.as_ref().is_some_and(|entry| is_short(entry.deadline));
                if short { None } else { count(usize::from(removed.is_some())) }
            }
            Operation::DeleteTwo(first, second) => {
                let removed = [model.remove(first), model.remove(second)];
                count(removed.iter().flatten().count())
            }
            Operation::Rename(from, to) => match model.remove(from) {
                Some(entry) => {
                    model.insert(to.clone(), entry);
                    ok
                }
                None => Some(Reply::Error(b"ERR no such key".to_vec())),
            },
            Operation::ExpireAt(key, deadline) => match model.get_mut(key) {
                Some(entry) => {
                    entry.deadline = Some(*deadline);
                    count(1)
                }
                None => count(0),
            },
            Operation::Persist(key) => match model.get_mut(key) {
                Some(entry) => count(usize::from(entry.deadline.take().is_some())),
                None => count(0),
            },
            Operation::Group(..) => ok,
        }
    }
}

/// Long deadlines lie in the far future; all others pass within the test.
const FAR: u64 = 4_000_000_000_000;

fn is_short(deadline: Option<u64>) -> bool {
    deadline.is_some_and(|deadline| deadline < FAR)
}

/// One connection's worth of load, and what it knows.
struct Writer {
    index: usize,
    random: Random,
    /// What the acknowledged commands made of this writer's keys.
    model: Model,
    /// Sent, not acknowledged, in order.
    pending: Vec<Operation>,
    /// Keys changed since the last check.
    touched: BTreeSet<Vec<u8>>,
    groups_acknowledged: BTreeSet<u64>,
    group_tags_sent: BTreeSet<Vec<u8>>,
    latest_short_deadline: u64,
    acknowledged_total: u64,
    bytes_written: u64,
}

impl Writer {
    fn new(index: usize, seed: u64) -> Writer {
        Writer {
            index,
            random: Random(seed),
            model: Model::new(),
            pending: Vec::new(),
            touched: BTreeSet::new(),
            groups_acknowledged: BTreeSet::new(),
            group_tags_sent: BTreeSet::new(),
            latest_short_deadline: 0,
            acknowledged_total: 0,
            bytes_written: 0,
        }
    }

    /// Sends pipelines until the connection breaks.
    fn write(&mut self, client: &mut Client) -> io::Result<()> {
        // The planning model runs ahead of the acknowledged one by the pipeline in flight.
        let mut ahead = self.model.clone();
        loop {
            let mut frame = Vec::new();
            let mut expected = Vec::new();
            for _ in 0..=self.random.below(PIPELINE_MAX) {
                let operation = self.plan(&ahead);
                expected.push(operation.apply(&mut ahead));
                let args = operation.args();
                self.bytes_written +=
                    u64::try_from(args.iter().map(Vec::len).sum::<usize>()).expect("a length");
                encode_command(&mut frame, &args);
                self.touched.extend(operation.keys());
                self.pending.push(operation);
            }
            client.send_raw(&frame)?;
            for expected in expected {
                let reply = client.read_reply()?;
                let operation = self.pending.remove(0);
                if let Some(expected) = expected {
                    assert_eq!(reply, expected, "writer {}: {}", self.index, show(&operation));
                } else {
                    assert!(!reply.is_error(), "writer {}: {}: {reply:?}", self.index, show(&operation));
                }
                operation.apply(&mut self.model);
                if let Operation::Group(group, _) = operation {
                    self.groups_acknowledged.insert(group);
                }
                self.acknowledged_total += 1;
            }
        }
    }

    fn plan(&mut self, ahead: &Model) -> Operation {
        match self.random.below(100) {
            0..40 => Operation::Set(self.plain_key(), self.piece(4000)),
            40..52 => {
                let count = 2 + self.random.below(6);
                let pairs = (0..count).map(|_| (self.plain_key(), self.piece(1500))).collect();
                Operation::MultiSet(pairs)
            }
            52..62 => {
                let key = self.plain_key();
                let length = ahead.get(&key).map_or(0, |entry| entry.value.len());
                let piece = self.piece(800);
                if length > APPEND_MAX { Operation::Set(key, piece) } else { Operation::Append(key, piece) }
            }
            62..74 => {
                let key = format!("w{}:counter:{}", self.index, self.random.below(COUNTER_KEYS));
                let by = i64::try_from(self.random.below(200)).expect("below 200") - 50;
                Operation::Increment(key.into_bytes(), by)
            }
            74..79 => Operation::Delete(self.plain_key()),
            79..81 => {
                let first = self.plain_key();
                let second = self.plain_key();
                if first == second { Operation::Delete(first) } else { Operation::DeleteTwo(first, second) }
            }
            81..87 => {
                let from = self.existing_key(ahead);
                Operation::Rename(from, self.plain_key())
            }
            87..90 => Operation::ExpireAt(self.existing_key(ahead), FAR + self.random.below(1_000_000_000)),
            90..91 => Operation::Persist(self.existing_key(ahead)),
            91..96 => {
                let key = format!("w{}:short:{}", self.index, self.random.below(SHORT_KEYS)).into_bytes();
                if self.random.below(5) == 0 {
                    return Operation::Delete(key);
                }
                let deadline = now_ms() + 20 + self.random.below(600);
                self.latest_short_deadline = self.latest_short_deadline.max(deadline);
                Operation::SetShort(key, self.piece(300), deadline)
            }
            _ => {
                let group = self.random.below(GROUPS);
                let tag = format!("{}-{}-{:x}", self.index, group, self.random.next()).into_bytes();
                self.group_tags_sent.insert(tag.clone());
                Operation::Group(group, tag)
            }
        }
    }

    fn plain_key(&mut self) -> Vec<u8> {
        format!("w{}:key:{}", self.index, self.random.below(PLAIN_KEYS)).into_bytes()
    }

    /// A plain key that probably exists.
    fn existing_key(&mut self, ahead: &Model) -> Vec<u8> {
        let key = self.plain_key();
        let prefix = format!("w{}:key:", self.index).into_bytes();
        ahead
            .range(key.clone()..)
            .next()
            .map(|(found, _)| found)
            .filter(|found| found.starts_with(&prefix))
            .cloned()
            .unwrap_or(key)
    }

    fn piece(&mut self, length_max: u64) -> Piece {
        let length = usize::try_from(1 + self.random.below(length_max)).expect("a small length");
        Piece { seed: self.random.next(), length }
    }

    /// Finds the prefix of the pending commands that the server holds and adopts it.
    fn verify(&mut self, client: &mut Client, random: &mut Random, everything: bool) -> Result<(), String> {
        let now = now_ms();
        let mut wanted: BTreeSet<Vec<u8>> = std::mem::take(&mut self.touched);
        wanted.extend(self.model.keys().filter(|_| everything || random.below(10) == 0).cloned());
        let actual = read_all(client, &wanted).map_err(|error| error.to_string())?;

        // Only the keys of pending commands can differ between the candidates.
        let open: BTreeSet<Vec<u8>> = self.pending.iter().flat_map(Operation::keys).collect();
        for (key, found) in &actual {
            if !open.contains(key) {
                compare(key, self.model.get(key), found, now)?;
            }
        }
        let acknowledged = self.model.clone();
        let fits =
            |model: &Model| open.iter().try_for_each(|key| compare(key, model.get(key), &actual[key], now));
        let pending = std::mem::take(&mut self.pending);
        let mut applied = 0;
        while let Err(problem) = fits(&self.model) {
            let Some(operation) = pending.get(applied) else {
                let lost = fits(&acknowledged).err().unwrap_or_default();
                return Err(format!(
                    "no prefix of the {} unacknowledged commands explains what is there\n  without them: {lost}\n  \
                     with all: {problem}",
                    pending.len()
                ));
            };
            operation.apply(&mut self.model);
            applied += 1;
        }
        self.model.retain(|_, entry| entry.deadline.is_none_or(|deadline| deadline > now));
        Ok(())
    }
}

/// What the server says about a key: value and deadline.
type Found = (Option<Vec<u8>>, Reply);

fn read_all(client: &mut Client, keys: &BTreeSet<Vec<u8>>) -> io::Result<BTreeMap<Vec<u8>, Found>> {
    let keys: Vec<&Vec<u8>> = keys.iter().collect();
    let mut found = BTreeMap::new();
    for batch in keys.chunks(100) {
        let mut frame = Vec::new();
        for key in batch {
            encode_command(&mut frame, &[b"GET".as_slice(), key]);
            encode_command(&mut frame, &[b"PEXPIRETIME".as_slice(), key]);
        }
        client.send_raw(&frame)?;
        for key in batch {
            let value = client.read_reply()?;
            let deadline = client.read_reply()?;
            if value.is_error() {
                return Err(io::Error::other(format!("GET {}: {value:?}", String::from_utf8_lossy(key))));
            }
            found.insert((*key).clone(), (value.bytes().map(<[u8]>::to_vec), deadline));
        }
    }
    Ok(found)
}

fn compare(key: &[u8], expected: Option<&Entry>, found: &Found, now: u64) -> Result<(), String> {
    let expected = expected.filter(|entry| entry.deadline.is_none_or(|deadline| deadline > now));
    let (value, deadline) = found;
    let name = String::from_utf8_lossy(key);
    match (expected, value) {
        (None, None) => Ok(()),
        (None, Some(value)) => Err(format!("{name} should be gone and holds {} bytes", value.len())),
        (Some(_), None) => Err(format!("{name} is gone")),
        (Some(entry), Some(value)) => {
            if *value != entry.value.bytes() {
                return Err(format!(
                    "{name} has other contents: {} bytes, not {}",
                    value.len(),
                    entry.value.len()
                ));
            }
            let wanted = entry.deadline.map_or(-1, |deadline| i64::try_from(deadline).expect("a date"));
            if *deadline != Reply::Int(wanted) {
                return Err(format!("{name} has the deadline {deadline:?}, not {wanted}"));
            }
            Ok(())
        }
    }
}

fn show(operation: &Operation) -> String {
    let args = operation.args();
    let words: Vec<_> =
        args.iter().map(|arg| String::from_utf8_lossy(&arg[..arg.len().min(40)]).into_owned()).collect();
    words.join(" ")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit for ages")
}

/// SplitMix64: small, seeded, good enough to choose keys and moments.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
