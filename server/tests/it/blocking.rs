//! Commands that wait for keys, over many sockets: order, loss, cascades, ends of all kinds.
//!
//! What one or two clients show is in the scripts. Here are crowds, races and crashes. What Redis can do as
//! well is tried on Redis first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Reply, encode_command};
use crate::server::{Program, Server};

/// Generous: a machine that is busy otherwise is no failure.
const PATIENCE: Duration = Duration::from_secs(30);

fn both() -> Vec<Program> {
    [Program::Redis, Program::Lux].into_iter().filter(|program| program.path().is_some()).collect()
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

fn pair(key: &str, element: &str) -> Reply {
    Reply::Array(vec![bulk(key), bulk(element)])
}

fn call(client: &mut Client, words: &[&str]) -> Reply {
    client.call(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn texts(reply: &Reply) -> Vec<String> {
    let items = reply.elements().unwrap_or_else(|| panic!("an array: {reply:?}"));
    items.iter().map(|item| String::from_utf8_lossy(item.bytes().expect("a text")).into_owned()).collect()
}

/// Waits until a condition holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn info(client: &mut Client, field: &str) -> u64 {
    let report = call(client, &["INFO", "everything"]);
    let report = String::from_utf8_lossy(report.bytes().expect("a text")).into_owned();
    let line = report.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number {field} in {report}"))
}

/// A server and a connection that watches it.
struct Rig {
    server: Server,
    control: Client,
}

impl Rig {
    fn start(program: Program, flags: &[&str]) -> Rig {
        let server = Server::start(program, flags);
        let control = server.connect().expect("a connection");
        Rig { server, control }
    }

    fn call(&mut self, line: &str) -> Reply {
        call(&mut self.control, &words(line))
    }

    fn connect(&self) -> Client {
        self.server.connect().expect("a connection")
    }

    /// A client whose command waits by now.
    fn block(&mut self, line: &str) -> Client {
        let mut client = self.connect();
        self.block_on(&mut client, line);
        client
    }

    fn block_on(&mut self, client: &mut Client, line: &str) {
        let id = call(client, &["CLIENT", "ID"]).integer().expect("a number");
        client.send(&words(line)).expect("it takes requests");
        eventually(line, || {
            let list = call(&mut self.control, &["CLIENT", "LIST", "ID", &id.to_string()]);
            let list = String::from_utf8_lossy(list.bytes().expect("a text")).into_owned();
            let flags = list.split(' ').find_map(|word| word.strip_prefix("flags="));
            flags.is_some_and(|flags| flags.contains('b'))
        });
    }
}

#[test]
fn the_oldest_waiter_is_served_first() {
    for program in both() {
        let mut rig = Rig::start(program, &[]);
        let mut clients: Vec<Client> = (0..24).map(|_| rig.block("BLPOP k 0")).collect();
        let mut next = 0;
        for count in [1, 5, 2, 9, 7] {
            let elements: Vec<String> = (next..next + count).map(|n| n.to_string()).collect();
            rig.call(&format!("RPUSH k {}", elements.join(" ")));
            next += count;
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.read_reply().expect("a reply"), pair("k", &n.to_string()), "{program:?}");
        }
        assert_eq!(rig.call("EXISTS k"), Reply::Int(0));
    }
}

#[test]
fn the_first_key_with_data_is_taken() {
    for program in both() {
        let mut rig = Rig::start(program, &[]);
        for line in ["RPUSH c 1", "RPUSH b 2", "ZADD z 1 m", "ZADD y 2 n"] {
            rig.call(line);
        }
        assert_eq!(rig.call("BLPOP a b c 0"), pair("b", "2"));
        assert_eq!(rig.call("BRPOP a b c 0"), pair("c", "1"));
        assert_eq!(rig.call("BZPOPMIN x y z 0").elements().expect("an array")[0], bulk("y"));
        let mut waiter = rig.block("BLMPOP 0 3 a b c LEFT COUNT 2");
        rig.call("RPUSH c 3 4 5");
        let reply = waiter.read_reply().expect("a reply");
        assert_eq!(reply.elements().expect("an array")[0], bulk("c"));
        assert_eq!(rig.call("LRANGE c 0 -1"), Reply::Array(vec![bulk("5")]));
    }
}

/// The socket is closed; once the server's host knows, a push is for those who are still there.
#[test]
fn a_client_that_vanished_takes_nothing() {
    let mut rig = Rig::start(Program::Lux, &[]);
    let await_blocked = |rig: &mut Rig, count: u64| {
        eventually("the clients that are left", || info(&mut rig.control, "blocked_clients") == count);
    };
    for round in 0..20 {
        let gone = rig.block("BLPOP k 0");
        let behind = rig.block("BLPOP k 0");
        drop(gone);
        await_blocked(&mut rig, 1);
        rig.call(&format!("RPUSH k {round}"));
        let mut behind = behind;
        assert_eq!(behind.read_reply().expect("a reply"), pair("k", &round.to_string()));
        let gone = [rig.block("BLMOVE k other LEFT LEFT 0"), rig.block("BRPOP k 0")];
        drop(gone);
        await_blocked(&mut rig, 0);
        assert_eq!(rig.call("RPUSH k last"), Reply::Int(1));
        assert_eq!(rig.call("RPOP k"), bulk("last"), "round {round}");
    }
    eventually("no client is left", || info(&mut rig.control, "blocked_clients") == 0);
    assert_eq!(rig.call("EXISTS k other"), Reply::Int(0));
}

fn echoes(count: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    for _ in 0..count {
        encode_command(&mut frame, &["ECHO", &"x".repeat(1000)]);
    }
    frame
}

/// The largest input buffer that CLIENT LIST shows.
fn input_bytes(rig: &mut Rig) -> u64 {
    let list = rig.call("CLIENT LIST");
    let list = String::from_utf8_lossy(list.bytes().expect("a text")).into_owned();
    list.split_whitespace().filter_map(|word| word.strip_prefix("qbuf=")?.parse().ok()).max().unwrap_or(0)
}

#[test]
fn a_client_that_sent_much_ahead_is_noticed_when_it_goes() {
    let mut rig = Rig::start(Program::Lux, &[]);
    let mut client = rig.block("BLPOP k 0");
    client.send_raw(&echoes(500)).expect("the socket takes it");
    eventually("it is read", || input_bytes(&mut rig) > 500_000);
    drop(client);
    eventually("its end is noticed", || info(&mut rig.control, "blocked_clients") == 0);
    rig.call("RPUSH k v");
    assert_eq!(rig.call("LPOP k"), bulk("v"));
}

/// Nor is it read without bounds.
#[test]
fn what_is_sent_ahead_is_bounded_and_kept() {
    const AHEAD: usize = 12_000;
    let mut rig = Rig::start(Program::Lux, &[]);
    let mut client = rig.block("BLPOP k 0");
    let mut sender = client.try_clone().expect("a socket can be cloned");
    thread::scope(|scope| {
        scope.spawn(move || sender.send_raw(&echoes(AHEAD)).expect("the socket takes it in the end"));
        eventually("the bound is reached", || input_bytes(&mut rig) == 1 << 20);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(input_bytes(&mut rig), 1 << 20);
        rig.call("RPUSH k v");
        assert_eq!(client.read_reply().expect("a reply"), pair("k", "v"));
        for _ in 0..AHEAD {
            assert_eq!(client.read_reply().expect("a reply").bytes().map(<[u8]>::len), Some(1000));
        }
    });
}

/// What is sent behind a blocking command comes after it, however much it is.
#[test]
fn commands_sent_ahead_run_afterwards() {
    for program in both() {
        let mut rig = Rig::start(program, &[]);
        let mut client = rig.connect();
        let mut frame = Vec::new();
        encode_command(&mut frame, &["SET", "before", "1"]);
        encode_command(&mut frame, &["BLPOP", "k", "0"]);
        for _ in 0..300 {
            encode_command(&mut frame, &["INCR", "after"]);
            encode_command(&mut frame, &["ECHO", &"x".repeat(1000)]);
        }
        client.send_raw(&frame).expect("the socket takes it");
        assert!(client.read_reply().expect("what is before it is answered at once").is_ok());
        eventually("it waits", || info(&mut rig.control, "blocked_clients") == 1);
        assert_eq!(rig.call("EXISTS after"), Reply::Int(0));
        rig.call("RPUSH k v");
        assert_eq!(client.read_reply().expect("a reply"), pair("k", "v"));
        for n in 1..=300 {
            assert_eq!(client.read_reply().expect("a reply"), Reply::Int(n));
            assert!(client.read_reply().expect("a reply").bytes().is_some());
        }
    }
}

/// Many clients with tiny time-outs: whatever was pushed was received once or is still there.
#[test]
fn time_outs_lose_nothing() {
    const ELEMENTS: u64 = 4000;
    let server = Server::start(Program::Lux, &[]);
    let (is_over, received) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut seen: Vec<Vec<String>> = thread::scope(|scope| {
        let consumers: Vec<_> = (0..12)
            .map(|n| {
                let (server, is_over, received) = (&server, &is_over, &received);
                scope.spawn(move || consume(server, n, is_over, received))
            })
            .collect();
        let mut client = server.connect().expect("a connection");
        for n in 0..ELEMENTS {
            let key = ["a", "b"][(n % 2) as usize];
            assert!(!call(&mut client, &["RPUSH", key, &format!("e{n}")]).is_error());
            if n % 50 == 0 {
                thread::sleep(Duration::from_millis(n % 7));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        consumers.into_iter().map(|consumer| consumer.join().expect("it only reads")).collect()
    });
    let mut client = server.connect().expect("a connection");
    for key in ["a", "b", "moved"] {
        seen.push(texts(&call(&mut client, &["LRANGE", key, "0", "-1"])));
    }
    let all: Vec<String> = seen.into_iter().flatten().collect();
    assert_eq!(all.len() as u64, ELEMENTS, "nothing is lost, nothing is there twice");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len() as u64, ELEMENTS);
    assert!(received.into_inner() > ELEMENTS / 4, "the consumers were hardly served");
    eventually("nobody waits", || info(&mut client, "total_blocking_keys") == 0);
}

/// Takes elements with short time-outs until it is over.
fn consume(server: &Server, n: usize, is_over: &AtomicBool, received: &AtomicU64) -> Vec<String> {
    let mut client = server.connect().expect("a connection");
    let mut seen = Vec::new();
    let timeout = format!("0.00{}", n % 5 + 1);
    while !is_over.load(Ordering::Relaxed) {
        let reply = match n % 4 {
            0 => call(&mut client, &["BLPOP", "a", "b", &timeout]),
            1 => call(&mut client, &["BRPOP", "b", "a", &timeout]),
            2 => call(&mut client, &["BLMPOP", &timeout, "2", "a", "b", "LEFT", "COUNT", "3"]),
            // What it moves is counted where it went.
            _ => match call(&mut client, &["BLMOVE", "a", "moved", "LEFT", "RIGHT", &timeout]) {
                Reply::Bulk(_) => {
                    received.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                other => other,
            },
        };
        let before = seen.len();
        match &reply {
            Reply::NilArray => {}
            Reply::Array(items) if items[1].elements().is_some() => seen.extend(texts(&items[1])),
            reply => seen.extend(texts(reply).into_iter().skip(1)),
        }
        received.fetch_add((seen.len() - before) as u64, Ordering::Relaxed);
    }
    seen
}

/// Consumers without time-outs, on several keys and of several commands, get everything: no wake-up is lost.
#[test]
fn everything_is_received_in_the_end() {
    const PUSHERS: u64 = 3;
    const EACH: u64 = 1500;
    let server = Server::start(Program::Lux, &["--io-threads", "2"]);
    let received = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..10 {
            let (server, received) = (&server, &received);
            scope.spawn(move || {
                let mut client = server.connect().expect("a connection");
                loop {
                    let line = match n % 5 {
                        0 => "BLPOP a b c 0",
                        1 => "BRPOP c b 0",
                        2 => "BLPOP a 0",
                        3 => "BLMPOP 0 2 b a RIGHT COUNT 2",
                        _ => "BLPOP c a 0",
                    };
                    let reply = call(&mut client, &words(line));
                    let taken = &reply.elements().expect("it waits for ever")[1];
                    let elements = taken.elements().map_or(vec![taken.clone()], <[Reply]>::to_vec);
                    let is_end = elements.contains(&bulk("end"));
                    received.fetch_add(elements.len() as u64, Ordering::Relaxed);
                    if is_end {
                        return;
                    }
                }
            });
        }
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|n| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect().expect("a connection");
                    for i in 0..EACH {
                        let key = ["a", "b", "c"][((i + n) % 3) as usize];
                        call(&mut client, &["LPUSH", key, &format!("{n}:{i}")]);
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(|pusher| pusher.join().expect("it only writes"));
        eventually("all is received", || received.load(Ordering::Relaxed) >= PUSHERS * EACH);
        // One each, so that nobody who takes two takes another's.
        let mut client = server.connect().expect("a connection");
        for key in ["a", "b", "c"].into_iter().cycle() {
            if info(&mut client, "blocked_clients") == 0 {
                break;
            }
            call(&mut client, &["DEL", "a", "b", "c"]);
            call(&mut client, &["LPUSH", key, "end"]);
        }
    });
}

/// The one who pushed sees the end of the cascade with its next command.
#[test]
fn linked_moves_are_over_when_the_push_is_answered() {
    const LINKS: usize = 40;
    for program in both() {
        let mut rig = Rig::start(program, &[]);
        let mut clients: Vec<Client> =
            (0..LINKS).map(|n| rig.block(&format!("BLMOVE list{n} list{} LEFT RIGHT 0", n + 1))).collect();
        let mut frame = Vec::new();
        encode_command(&mut frame, &["RPUSH", "list0", "v"]);
        encode_command(&mut frame, &["LRANGE", &format!("list{LINKS}"), "0", "-1"]);
        rig.control.send_raw(&frame).expect("it takes requests");
        assert_eq!(rig.control.read_reply().expect("a reply"), Reply::Int(1));
        assert_eq!(rig.control.read_reply().expect("a reply"), Reply::Array(vec![bulk("v")]), "{program:?}");
        for client in &mut clients {
            assert_eq!(client.read_reply().expect("a reply"), bulk("v"));
        }
        assert_eq!(rig.call("DBSIZE"), Reply::Int(1));
    }
}

#[test]
fn circular_moves_end() {
    for program in both() {
        let mut rig = Rig::start(program, &[]);
        let mut clients: Vec<Client> =
            ["BLMOVE a b LEFT RIGHT 0", "BLMOVE b c LEFT RIGHT 0", "BLMOVE c a LEFT RIGHT 0"]
                .into_iter()
                .map(|line| rig.block(line))
                .collect();
        assert_eq!(rig.call("RPUSH a v"), Reply::Int(1));
        assert_eq!(rig.call("LRANGE a 0 -1"), Reply::Array(vec![bulk("v")]), "{program:?}");
        for client in &mut clients {
            assert_eq!(client.read_reply().expect("a reply"), bulk("v"));
        }
        let mut own = rig.block("BLMOVE self self LEFT RIGHT 0");
        assert_eq!(rig.call("RPUSH self 1 2"), Reply::Int(2));
        assert_eq!(own.read_reply().expect("a reply"), bulk("1"));
    }
}

/// Two clients move back and forth between two lists that others push to: nobody waits for the other for ever.
#[test]
fn opposed_moves_do_not_wait_for_each_other() {
    const ROUNDS: usize = 1500;
    let server = Server::start(Program::Lux, &["--io-threads", "2"]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for n in 0..4 {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let mut client = server.connect().expect("a connection");
                let line = ["BLMOVE a b LEFT RIGHT 0.05", "BLMOVE b a LEFT RIGHT 0.05"][n % 2];
                while !is_over.load(Ordering::Relaxed) {
                    call(&mut client, &words(line));
                }
            });
        }
        let pushers: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|key| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.connect().expect("a connection");
                    for _ in 0..ROUNDS {
                        call(&mut client, &["RPUSH", key, "v"]);
                        call(&mut client, &["DEL", "a", "b"]);
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(|pusher| pusher.join().expect("it only writes"));
        is_over.store(true, Ordering::Relaxed);
    });
}

/// A push with a waiter is never seen: by the time it is answered, the element is gone.
#[test]
fn a_push_is_answered_after_the_pop_it_causes() {
    let mut rig = Rig::start(Program::Lux, &["--io-threads", "2"]);
    let mut consumer = rig.connect();
    for n in 0..300 {
        rig.block_on(&mut consumer, "BLPOP k 0");
        let mut frame = Vec::new();
        encode_command(&mut frame, &["RPUSH", "k", &n.to_string()]);
        encode_command(&mut frame, &["EXISTS", "k"]);
        rig.control.send_raw(&frame).expect("it takes requests");
        assert_eq!(rig.control.read_reply().expect("a reply"), Reply::Int(1));
        assert_eq!(rig.control.read_reply().expect("a reply"), Reply::Int(0), "round {n}");
        assert_eq!(consumer.read_reply().expect("a reply"), pair("k", &n.to_string()));
    }
}

/// Everything is on disk when the waiters' turns come.
#[test]
fn cold_keys_are_served() {
    let mut rig = Rig::start(Program::Lux, &[]);
    for n in 0..50 {
        rig.call(&format!("RPUSH source{n} {n}"));
        rig.call(&format!("ZADD scores{n} {n} m"));
    }
    rig.call("XADD s 1-1 f v");
    rig.call("XGROUP CREATE s g $");
    assert!(rig.call("DEBUG EVICT-ALWAYS yes").is_ok());
    let mut group = rig.block("XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
    for n in 0..50 {
        let mut list = rig.block(&format!("BLPOP other{n} list{n} 0"));
        let mut moved = rig.block(&format!("BLMOVE from{n} to LEFT RIGHT 0"));
        let mut zset = rig.block(&format!("BZPOPMAX zset{n} 0"));
        for line in [
            format!("RENAME source{n} list{n}"),
            format!("COPY list{n} from{n}"),
            format!("RENAME scores{n} zset{n}"),
        ] {
            assert!(!rig.call(&line).is_error(), "{line}");
        }
        assert_eq!(list.read_reply().expect("a reply"), pair(&format!("list{n}"), &n.to_string()));
        assert_eq!(rig.call(&format!("RPUSH from{n} {n}")), Reply::Int(1));
        assert_eq!(moved.read_reply().expect("a reply"), bulk(&n.to_string()));
        assert_eq!(texts(&zset.read_reply().expect("a reply"))[1], "m");
    }
    assert_eq!(rig.call("LLEN to"), Reply::Int(50));
    assert_eq!(rig.call("TIER OF to"), Reply::Array(vec![bulk("cold")]), "nothing of this was in memory");
    rig.call("XADD s 1-2 f w");
    assert!(group.read_reply().expect("a reply").elements().is_some());
}

/// kill -9 in the middle of it: what was acknowledged is received or there, and nothing is both.
#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn a_crash_neither_loses_nor_repeats() {
    for appendfsync in ["always", "everysec"] {
        let mut server = Server::start(Program::Lux, &["--appendfsync", appendfsync]);
        let (mut pushed, mut tried, mut received) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for round in 0..4 {
            let address = server.address();
            let results = thread::scope(|scope| {
                let consumers: Vec<_> =
                    (0..3).map(|_| scope.spawn(move || pop_until_crash(address))).collect();
                let pusher = scope.spawn(move || push_until_crash(address, round));
                thread::sleep(Duration::from_millis(400));
                server.kill9();
                let popped: Vec<String> = consumers
                    .into_iter()
                    .flat_map(|consumer| consumer.join().expect("it only reads"))
                    .collect();
                (pusher.join().expect("it only writes"), popped)
            });
            let ((acknowledged, sent), popped) = results;
            pushed.extend(acknowledged);
            tried.extend(sent);
            popped.into_iter().for_each(|element| *received.entry(element).or_insert(0) += 1);
            server.restart();
        }
        let mut client = server.connect().expect("a connection");
        let left = texts(&call(&mut client, &["LRANGE", "k", "0", "-1"]));
        assert!(received.len() > 20, "{appendfsync}: only {} were received", received.len());
        for element in &left {
            *received.entry(element.clone()).or_insert(0) += 1;
        }
        assert!(received.values().all(|times| *times == 1), "{appendfsync}: an element came twice");
        assert!(received.keys().all(|element| tried.contains(element)));
        // A pop whose reply the crash cut off: at most one for each consumer and round.
        let lost = pushed.iter().filter(|element| !received.contains_key(*element)).count();
        assert!(lost <= 3 * 4, "{appendfsync}: {lost} of {} are gone", pushed.len());
    }
}

/// What was acknowledged, and all that was sent.
fn push_until_crash(address: std::net::SocketAddr, round: usize) -> (Vec<String>, Vec<String>) {
    let (mut acknowledged, mut sent) = (Vec::new(), Vec::new());
    let Ok(mut client) = Client::connect(address) else { return (acknowledged, sent) };
    for n in 0.. {
        let element = format!("{round}:{n}");
        sent.push(element.clone());
        match client.call(&["RPUSH", "k", &element]) {
            Ok(Reply::Int(_)) => acknowledged.push(element),
            _ => break,
        }
    }
    (acknowledged, sent)
}

fn pop_until_crash(address: std::net::SocketAddr) -> Vec<String> {
    let mut popped = Vec::new();
    let Ok(mut client) = Client::connect(address) else { return popped };
    while let Ok(reply) = client.call(&["BLPOP", "k", "0"]) {
        popped.extend(texts(&reply).into_iter().skip(1));
    }
    popped
}

#[test]
fn all_readers_of_a_stream_are_served() {
    for program in both() {
        let mut rig = Rig::start(program, &[]);
        let mut readers: Vec<Client> = (0..60).map(|_| rig.block("XREAD BLOCK 0 STREAMS s $")).collect();
        rig.call("XADD s 1-1 f v");
        for reader in &mut readers {
            let reply = reader.read_reply().expect("a reply");
            let stream = &reply.elements().expect("an array")[0];
            assert_eq!(stream.elements().expect("a pair")[0], bulk("s"));
        }
        rig.call("XGROUP CREATE s g $");
        let mut members: Vec<Client> = (0..12)
            .map(|n| rig.block(&format!("XREADGROUP GROUP g c{n} COUNT 1 BLOCK 0 STREAMS s >")))
            .collect();
        assert_eq!(info(&mut rig.control, "blocked_clients"), 12);
        for n in 2..8 {
            rig.call(&format!("XADD s 1-{n} f v"));
        }
        for member in &mut members[..6] {
            assert!(member.read_reply().expect("a reply").elements().is_some());
        }
        assert_eq!(info(&mut rig.control, "blocked_clients"), 6);
        rig.call("XGROUP DESTROY s g");
        for member in &mut members[6..] {
            match member.read_reply().expect("a reply") {
                Reply::Error(text) => assert!(text.starts_with(b"NOGROUP "), "{text:?}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn the_numbers_of_info_are_right() {
    let programs = [Program::Valkey, Program::Lux].into_iter().filter(|program| program.path().is_some());
    for program in programs {
        let mut rig = Rig::start(program, &[]);
        rig.call("XGROUP CREATE s g $ MKSTREAM");
        let clients = [
            rig.block("BLPOP a b 0"),
            rig.block("BLPOP b c 100"),
            rig.block("BZPOPMIN z 0"),
            rig.block("XREADGROUP GROUP g c BLOCK 0 STREAMS s >"),
            rig.block("XREAD BLOCK 100000 STREAMS s $"),
        ];
        let numbers = |rig: &mut Rig| {
            let fields = [
                "blocked_clients",
                "clients_in_timeout_table",
                "total_blocking_keys",
                "total_blocking_keys_on_nokey",
            ];
            fields.map(|field| info(&mut rig.control, field))
        };
        assert_eq!(numbers(&mut rig), [5, 2, 5, 1], "{program:?}");
        drop(clients);
        eventually("nobody waits", || numbers(&mut rig) == [0; 4]);
    }
}

#[test]
fn waiting_is_no_idleness_and_does_not_hold_a_shutdown() {
    for program in both() {
        let mut rig = Rig::start(program, &["--timeout", "1"]);
        let mut waiter = rig.block("BLPOP k 4");
        assert_eq!(waiter.read_reply().expect("it was not closed"), Reply::NilArray, "{program:?}");
        let mut rig = Rig::start(program, &[]);
        let mut waiter = rig.block("BLPOP k 0");
        let began = Instant::now();
        assert!(rig.server.terminate().expect("it ran").success());
        assert!(began.elapsed() < Duration::from_secs(8), "{program:?}: {:?}", began.elapsed());
        assert!(waiter.read_reply().is_err());
    }
}

#[test]
fn a_pause_holds_pushes_and_no_time_outs() {
    let mut rig = Rig::start(Program::Lux, &[]);
    let mut waiter = rig.block("BLPOP k 0");
    let mut brief = rig.block("BLPOP k 0.1");
    assert!(rig.call("CLIENT PAUSE 60000 WRITE").is_ok());
    let mut pusher = rig.connect();
    pusher.send(&["RPUSH", "k", "v"]).expect("it takes requests");
    let mut late = rig.connect();
    late.send(&["BLPOP", "k", "0.01"]).expect("it takes requests");
    assert_eq!(brief.read_reply().expect("a reply"), Reply::NilArray);
    assert_eq!(rig.call("EXISTS k"), Reply::Int(0));
    assert!(rig.call("CLIENT UNPAUSE").is_ok());
    assert_eq!(pusher.read_reply().expect("a reply"), Reply::Int(1));
    assert_eq!(waiter.read_reply().expect("a reply"), pair("k", "v"));
    assert_eq!(late.read_reply().expect("a reply"), Reply::NilArray);
}

/// A turn is a transaction: the pusher does not wait for a client that does not read.
#[test]
fn a_waiter_that_does_not_read_holds_nobody() {
    let mut rig = Rig::start(Program::Lux, &["--maxmemory", "1gb"]);
    let last = ((48 << 20) - 1).to_string();
    call(&mut rig.control, &["SETRANGE", "big", &last, "x"]);
    let mut silent = rig.connect();
    let mut frame = Vec::new();
    encode_command(&mut frame, &["BLPOP", "k", "0"]);
    encode_command(&mut frame, &["GET", "big"]);
    encode_command(&mut frame, &["GET", "big"]);
    silent.send_raw(&frame).expect("it takes requests");
    eventually("it waits", || info(&mut rig.control, "blocked_clients") == 1);
    assert_eq!(rig.call("RPUSH k v"), Reply::Int(1));
    assert_eq!(rig.call("RPUSH k w"), Reply::Int(1), "the first one was taken");
    // Its replies are not read, so it does not get as far as to wait; who comes behind it does.
    let mut next = rig.connect();
    assert_eq!(call(&mut next, &["BLPOP", "k", "0"]), pair("k", "w"));
}
