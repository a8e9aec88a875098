//! Scripts that take long: others go on, hear `BUSY`, and end them; a crash or a stop leaves none half done. Scripts
//! over keys on disk, and libraries across crashes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, Reply};
use crate::server::{Program, Server};

const ENDLESS: &str = "while true do redis.call('GET', KEYS[1]) end";

fn call(client: &mut Client, words: &[&str]) -> Reply {
    client.call(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn error_of(reply: &Reply) -> String {
    match reply {
        Reply::Error(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("an error: {other:?}"),
    }
}

/// Starts a script on a connection of its own, and returns when the server calls it busy.
fn start_busy(server: &Server, control: &mut Client, command: &[&str]) -> Client {
    let mut client = server.connect().expect("a connection");
    client.send(command).expect("sent");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !matches!(call(control, &["PING"]), Reply::Error(_)) {
        assert!(Instant::now() < deadline, "the script was never busy");
        thread::sleep(Duration::from_millis(5));
    }
    client
}

fn server(threads: &str) -> Server {
    Server::start(Program::Lux, &["--io-threads", threads, "--busy-reply-threshold", "50"])
}

#[test]
fn others_hear_that_a_script_is_busy_and_can_end_it() {
    for threads in ["1", "2"] {
        let server = server(threads);
        let mut control = server.connect().expect("a connection");
        let mut second = server.connect().expect("a connection");
        call(&mut control, &["SET", "k", "1"]);
        let mut script = start_busy(&server, &mut control, &["EVAL", ENDLESS, "1", "k"]);
        for words in
            [&["GET", "k"][..], &["GET", "other"], &["DBSIZE"], &["INFO"], &["EVAL", "return 1", "0"]]
        {
            let text = error_of(&call(&mut second, words));
            assert!(text.starts_with("BUSY "), "{words:?}: {text}");
        }
        assert!(error_of(&call(&mut second, &["FUNCTION", "KILL"])).starts_with("BUSY "));
        // One that comes now is served as well.
        let mut late = server.connect().expect("a connection");
        assert_eq!(call(&mut late, &["SCRIPT", "KILL"]), Reply::Simple(b"OK".to_vec()));
        let text = error_of(&script.read_reply().expect("a reply"));
        assert!(text.contains("killed by user with SCRIPT KILL"), "{text}");
        assert_eq!(call(&mut second, &["GET", "k"]), Reply::Bulk(b"1".to_vec()));
        assert_eq!(call(&mut script, &["GET", "k"]), Reply::Bulk(b"1".to_vec()));
    }
}

#[test]
fn a_busy_script_in_exec_can_be_ended() {
    let server = server("1");
    let mut control = server.connect().expect("a connection");
    let mut client = server.connect().expect("a connection");
    call(&mut client, &["MULTI"]);
    call(&mut client, &["SET", "before", "1"]);
    call(&mut client, &["EVAL", ENDLESS, "1", "k"]);
    call(&mut client, &["SET", "behind", "1"]);
    client.send(&["EXEC"]).expect("sent");
    let deadline = Instant::now() + Duration::from_secs(30);
    while call(&mut control, &["SCRIPT", "KILL"]) != Reply::Simple(b"OK".to_vec()) {
        assert!(Instant::now() < deadline, "the script never ran");
        thread::sleep(Duration::from_millis(5));
    }
    let reply = client.read_reply().expect("a reply");
    let replies = reply.elements().expect("the replies of EXEC");
    assert_eq!(replies.len(), 3, "{replies:?}");
    assert!(error_of(&replies[1]).contains("killed"), "{replies:?}");
    assert_eq!(call(&mut control, &["EXISTS", "before", "behind"]), Reply::Int(2));
    assert_eq!(call(&mut client, &["PING"]), Reply::Simple(b"PONG".to_vec()));
}

#[test]
fn a_script_that_has_written_is_ended_by_the_server_s_stop_and_leaves_nothing() {
    let mut server = server("1");
    let mut control = server.connect().expect("a connection");
    call(&mut control, &["SET", "k", "before"]);
    let endless = "while true do redis.call('SET', KEYS[1], 'half') end";
    let _script = start_busy(&server, &mut control, &["EVAL", endless, "1", "k"]);
    let text = error_of(&call(&mut control, &["SCRIPT", "KILL"]));
    assert!(text.starts_with("UNKILLABLE "), "{text}");
    let _ = control.call(&["SHUTDOWN", "NOSAVE"]);
    assert!(server.await_exit().is_some_and(|status| status.success()), "{}", server.log_tail());
    server.launch();
    server.await_ready();
    let mut control = server.connect().expect("a connection");
    assert_eq!(call(&mut control, &["GET", "k"]), Reply::Bulk(b"before".to_vec()));
}

/// Scripts that run for longer than a thread that serves clients may be kept waiting, with writers beside.
#[test]
fn slow_scripts_are_isolated_and_whole() {
    const ACCOUNTS: u64 = 8;
    let transfer = "for i = 1, tonumber(ARGV[1]) do local x = i * i end
        redis.call('DECRBY', KEYS[1], 1) for i = 1, tonumber(ARGV[1]) do local x = i * i end
        redis.call('INCRBY', KEYS[2], 1) return 1";
    let server = Server::start(Program::Lux, &["--io-threads", "2"]);
    let mut control = server.connect().expect("a connection");
    for account in 0..ACCOUNTS {
        call(&mut control, &["SET", &format!("account:{account}"), "1000"]);
    }
    let is_over = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    let keys: Vec<String> = (0..ACCOUNTS).map(|account| format!("account:{account}")).collect();
    thread::scope(|scope| {
        for worker in 0..4u64 {
            let (server, keys, is_over) = (&server, &keys, &is_over);
            scope.spawn(move || {
                let mut client = server.connect().expect("a connection");
                for round in 0..30 {
                    let from = &keys[((worker + round) % ACCOUNTS) as usize];
                    let to = &keys[((worker * 3 + round * 5 + 1) % ACCOUNTS) as usize];
                    // Every third is slow: about 10 ms and more.
                    let work = if round % 3 == 0 { "1000000" } else { "10" };
                    assert_eq!(call(&mut client, &["EVAL", transfer, "2", from, to, work]), Reply::Int(1));
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
        let (server, is_over_too) = (&server, &is_over);
        scope.spawn(move || {
            let mut client = server.connect().expect("a connection");
            while !is_over_too.load(Ordering::Relaxed) {
                call(&mut client, &["TIER", "EVICT", "ALL"]);
            }
        });
        for _ in 0..2 {
            let (keys, is_over, looks) = (&keys, &is_over, &looks);
            scope.spawn(move || {
                let mut client = server.connect().expect("a connection");
                let mut words = vec!["MGET"];
                words.extend(keys.iter().map(String::as_str));
                while !is_over.load(Ordering::Relaxed) {
                    let reply = call(&mut client, &words);
                    let balance = |reply: &Reply| {
                        let text = String::from_utf8_lossy(reply.bytes().expect("a text")).into_owned();
                        text.parse::<i64>().expect("a number")
                    };
                    let total: i64 = reply.elements().expect("an array").iter().map(balance).sum();
                    assert_eq!(total, 1000 * ACCOUNTS as i64);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(looks.load(Ordering::Relaxed) > 0);
    let info = call(&mut control, &["INFO", "stats"]);
    let info = String::from_utf8_lossy(info.bytes().expect("a text")).into_owned();
    let moved = info.lines().find_map(|line| line.strip_prefix("scripts_moved_aside:")).expect("the counter");
    assert!(moved.parse::<u64>().expect("a number") > 0, "no script was slow");
}

#[test]
fn keys_on_disk_that_nobody_declared_are_found() {
    let server = Server::start(Program::Lux, &[]);
    let mut client = server.connect().expect("a connection");
    for number in 0..100 {
        call(&mut client, &["SET", &format!("n:{number}"), &number.to_string()]);
        call(&mut client, &["RPUSH", &format!("l:{number}"), "a", "b"]);
    }
    call(&mut client, &["TIER", "EVICT", "ALL"]);
    let script = "local sum = 0 for i = 0, 99 do
        sum = sum + redis.call('GET', 'n:' .. i) + redis.call('LLEN', 'l:' .. i) redis.call('RPUSH', 'l:' .. i, 'c')
        end return sum";
    for round in 0..3 {
        call(&mut client, &["TIER", "EVICT", "ALL"]);
        let of = call(&mut client, &["TIER", "OF", "n:7", "l:7"]);
        assert_eq!(of, Reply::Array(vec![Reply::Bulk(b"cold".to_vec()), Reply::Bulk(b"cold".to_vec())]));
        let sum = 99 * 100 / 2 + 100 * (2 + round);
        assert_eq!(call(&mut client, &["EVAL", script, "0"]), Reply::Int(sum));
    }
    assert_eq!(call(&mut client, &["LLEN", "l:99"]), Reply::Int(5));
}

#[test]
fn libraries_survive_a_crash_and_a_damaged_file_is_refused() {
    let code = "#!lua name=one\nredis.register_function('get', function(keys) return redis.call('GET', keys[1]) end)";
    let mut server = Server::start(Program::Lux, &[]);
    let mut client = server.connect().expect("a connection");
    assert_eq!(call(&mut client, &["FUNCTION", "LOAD", code]), Reply::Bulk(b"one".to_vec()));
    call(&mut client, &["SET", "k", "v"]);
    for _ in 0..2 {
        server.kill9();
        server.launch();
        server.await_ready();
        let mut client = server.connect().expect("a connection");
        assert_eq!(call(&mut client, &["FCALL", "get", "1", "k"]), Reply::Bulk(b"v".to_vec()));
        call(&mut client, &["FLUSHALL"]);
        call(&mut client, &["SET", "k", "v"]);
    }
    let mut client = server.connect().expect("a connection");
    call(&mut client, &["FUNCTION", "FLUSH"]);
    server.kill9();
    server.launch();
    server.await_ready();
    let mut client = server.connect().expect("a connection");
    assert!(error_of(&call(&mut client, &["FCALL", "get", "1", "k"])).contains("Function not found"));
    server.kill9();
    let file = server.data_folder().join("functions.dump");
    let mut bytes = std::fs::read(&file).expect("the libraries");
    bytes[0] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    server.launch();
    assert!(server.await_exit().is_some_and(|status| !status.success()));
    assert!(server.log_tail().contains("functions.dump"), "{}", server.log_tail());
}

/// What a script did is there whole after a crash, or not at all.
#[test]
fn a_crash_leaves_no_half_of_a_script() {
    let script = "local n = redis.call('INCR', KEYS[1]) for i = 1, 3 do redis.call('RPUSH', KEYS[2], n) end
        redis.call('HSET', KEYS[3], n, n) return n";
    let mut server = Server::start(Program::Lux, &["--appendfsync", "always"]);
    for _ in 0..3 {
        let acknowledged = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                let mut client = server.connect().expect("a connection");
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    while let Ok(Reply::Int(n)) = client.call(&["EVAL", script, "3", "n", "list", "hash"]) {
                        acknowledged.fetch_max(n as u64, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(Duration::from_millis(300));
            server.kill9();
        });
        server.launch();
        server.await_ready();
        let mut client = server.connect().expect("a connection");
        let count = call(&mut client, &["GET", "n"]);
        let count: i64 = String::from_utf8_lossy(count.bytes().expect("a text")).parse().expect("a number");
        assert!(count as u64 >= acknowledged.load(Ordering::Relaxed));
        assert_eq!(call(&mut client, &["LLEN", "list"]), Reply::Int(3 * count));
        assert_eq!(call(&mut client, &["HLEN", "hash"]), Reply::Int(count));
    }
}
