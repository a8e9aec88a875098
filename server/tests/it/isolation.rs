//! EXEC on several threads: nobody ever sees a part of one, in memory, while everything is evicted over and
//! over, and after `kill -9`.
//!
//! Writers move amounts between accounts, each a key of its own and a field of one hash, in two ways: with
//! deltas, and by WATCH, read and write. So at every moment the keys add up to the same total and each field
//! equals its key. Readers look at all of it by MGET, by EXEC of one MGET and by EXEC of many GETs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::{Client, Reply, encode_command, is_disconnect};
use crate::server::{Program, Server};

/// More than a small hash holds.
const ACCOUNTS: u64 = 200;
const START: i64 = 1000;
const TOTAL: i64 = START * ACCOUNTS as i64;
const WRITERS: u64 = 4;
const READERS: u64 = 2;
const LEDGER: &str = "ledger";

fn account(number: u64) -> String {
    format!("account:{number}")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Sends MULTI, the commands and EXEC at once; the reply of EXEC.
fn exec(client: &mut Client, commands: &[Vec<String>]) -> std::io::Result<Reply> {
    let mut bytes = Vec::new();
    encode_command(&mut bytes, &["MULTI"]);
    commands.iter().for_each(|command| encode_command(&mut bytes, command));
    encode_command(&mut bytes, &["EXEC"]);
    client.send_raw(&bytes)?;
    assert!(client.read_reply()?.is_ok());
    for command in commands {
        assert_eq!(client.read_reply()?, Reply::Simple(b"QUEUED".to_vec()), "{command:?}");
    }
    let reply = client.read_reply()?;
    assert!(!reply.is_error(), "{reply:?}");
    Ok(reply)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn number(reply: &Reply) -> i64 {
    let text = std::str::from_utf8(reply.bytes().expect("a value")).expect("digits");
    text.parse().expect("a number")
}

fn set_up(client: &mut Client) {
    for n in 0..ACCOUNTS {
        assert!(client.call(&["SET", &account(n), &START.to_string()]).expect("a reply").is_ok());
        client.call(&["HSET", LEDGER, &account(n), &START.to_string()]).expect("a reply");
    }
}

/// One transfer. Whether it happened: one that watches may be refused.
fn transfer(client: &mut Client, writer: u64, random: &mut Random) -> std::io::Result<bool> {
    let from = random.below(ACCOUNTS);
    let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
    let (from, to, amount) = (account(from), account(to), 1 + random.below(9) as i64);
    let done = words(&["INCR", &format!("done:{writer}")]);
    if random.below(2) == 0 {
        let (plus, minus) = (amount.to_string(), (-amount).to_string());
        let commands = [
            words(&["DECRBY", &from, &plus]),
            words(&["HINCRBY", LEDGER, &from, &minus]),
            words(&["INCRBY", &to, &plus]),
            words(&["HINCRBY", LEDGER, &to, &plus]),
            done,
        ];
        return Ok(exec(client, &commands)?.elements().is_some());
    }
    assert!(client.call(&["WATCH", &from, &to])?.is_ok());
    let left = (number(&client.call(&["GET", &from])?) - amount).to_string();
    let right = (number(&client.call(&["GET", &to])?) + amount).to_string();
    let commands = [
        words(&["MSET", &from, &left, &to, &right]),
        words(&["HSET", LEDGER, &from, &left, &to, &right]),
        done,
    ];
    Ok(exec(client, &commands)?.elements().is_some())
}

/// Looks at all accounts and complains about what is not as it must be.
fn check(client: &mut Client, way: u64) -> std::io::Result<()> {
    let names: Vec<String> = (0..ACCOUNTS).map(account).collect();
    let with_all = |first: &[&str]| [words(first), names.clone()].concat();
    let sum = |values: &[Reply]| values.iter().map(number).sum::<i64>();
    match way {
        0 => {
            let values = client.call(&with_all(&["MGET"]))?;
            assert_eq!(sum(values.elements().expect("values")), TOTAL, "MGET");
        }
        1 => {
            let commands = [with_all(&["MGET"]), with_all(&["HMGET", LEDGER])];
            let replies = exec(client, &commands)?;
            let [keys, fields] = replies.elements().expect("replies") else { panic!("{replies:?}") };
            assert_eq!(sum(keys.elements().expect("values")), TOTAL, "EXEC of MGET");
            assert_eq!(keys, fields, "the hash says what the keys say");
        }
        _ => {
            let gets: Vec<Vec<String>> = names.iter().map(|name| words(&["GET", name])).collect();
            let replies = exec(client, &gets)?;
            assert_eq!(sum(replies.elements().expect("replies")), TOTAL, "EXEC of GETs");
        }
    }
    Ok(())
}

/// Tells the others to stop, also when the thread panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn transfers_and_readers(is_cold: bool) {
    let transfers = if is_cold { 300 } else { 1500 };
    let server = Server::start(Program::Lux, &["--io-threads", "4"]);
    set_up(&mut server.connect().expect("a connection"));
    let (ended, evicted, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (server, refused) = (&server, &refused);
                scope.spawn(move || {
                    let mut client = server.connect().expect("a connection");
                    let mut random = Random(writer + 1);
                    for _ in 0..transfers {
                        if !transfer(&mut client, writer, &mut random).expect("a reply") {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        for reader in 0..READERS {
            let (server, ended) = (&server, &ended);
            scope.spawn(move || {
                let _ends = Ends(ended);
                let mut client = server.connect().expect("a connection");
                for way in reader.. {
                    check(&mut client, way % 3).expect("a reply");
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        if is_cold {
            scope.spawn(|| {
                let mut client = server.connect().expect("a connection");
                while !ended.load(Ordering::SeqCst) {
                    let reply = client.call(&["TIER", "EVICT", "ALL"]).expect("a reply");
                    evicted.fetch_add(reply.integer().expect("a count") as u64, Ordering::Relaxed);
                }
            });
        }
        let _ends = Ends(&ended);
        writers.into_iter().for_each(|writer| writer.join().expect("no writer fails"));
    });
    let mut client = server.connect().expect("a connection");
    (0..3).for_each(|way| check(&mut client, way).expect("a reply"));
    let done: i64 =
        (0..WRITERS).map(|n| number(&client.call(&["GET", &format!("done:{n}")]).expect("a reply"))).sum();
    assert_eq!(done as u64 + refused.into_inner(), WRITERS * transfers, "each happened once or was refused");
    assert!(!is_cold || evicted.into_inner() > ACCOUNTS, "hardly anything was ever cold");
}

#[test]
fn nobody_sees_half_a_transfer() {
    transfers_and_readers(false);
}

#[test]
fn nobody_sees_half_a_transfer_while_all_is_evicted() {
    transfers_and_readers(true);
}

/// Moves money until the server is killed; how many transfers were sent, and how many acknowledged.
fn until_killed(address: SocketAddr, writer: u64, random: &mut Random) -> (i64, i64) {
    let (mut sent, mut acknowledged) = (0, 0);
    let Ok(mut client) = Client::connect(address) else { return (0, 0) };
    loop {
        sent += 1;
        match transfer(&mut client, writer, random) {
            Ok(happened) => acknowledged += i64::from(happened),
            Err(error) if is_disconnect(&error) => return (sent, acknowledged),
            Err(error) => panic!("{error}"),
        }
    }
}

/// After each crash every transfer is there as a whole or not at all, and all that were acknowledged are.
#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn a_crash_leaves_whole_transfers() {
    let mut server = Server::start(Program::Lux, &["--io-threads", "4"]);
    set_up(&mut server.connect().expect("a connection"));
    let mut random = Random(0x5eed);
    let mut happened = [0_i64; WRITERS as usize];
    for round in 0..5 {
        let counts: Vec<(i64, i64)> = thread::scope(|scope| {
            let address = server.address();
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let mut random = Random(random.below(u64::MAX));
                    scope.spawn(move || until_killed(address, writer, &mut random))
                })
                .collect();
            if round % 2 == 1 {
                // With rows to apply the log to.
                let mut client = server.connect().expect("a connection");
                client.call(&["TIER", "EVICT", "ALL"]).expect("a reply");
            }
            thread::sleep(Duration::from_millis(200 + random.below(500)));
            server.kill9();
            writers.into_iter().map(|writer| writer.join().expect("no writer fails")).collect()
        });
        server.restart();
        let mut client = server.connect().expect("a connection");
        (0..3).for_each(|way| check(&mut client, way).expect("a reply"));
        for (writer, (sent, acknowledged)) in counts.into_iter().enumerate() {
            let reply = client.call(&["GET", &format!("done:{writer}")]).expect("a reply");
            let now = reply.bytes().map_or(0, |_| number(&reply));
            let made = now - happened[writer];
            assert!(
                (acknowledged..=sent).contains(&made),
                "round {round}, writer {writer}: {made} transfers, {acknowledged} acknowledged, {sent} sent"
            );
            happened[writer] = now;
        }
    }
    assert!(happened.iter().sum::<i64>() > 100, "hardly anything happened: {happened:?}");
}
