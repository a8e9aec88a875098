//! Commands that read much at once show one moment, while others write.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::client::{Client, Reply};
use crate::server::{Program, Server};

const PAIRS: usize = 200;

fn call(client: &mut Client, args: &[&str]) -> Reply {
    let reply = client.call(args).expect("a reply");
    assert!(!reply.is_error(), "{args:?}: {reply:?}");
    reply
}

/// Tells the writer to stop, also when the reader panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The number of each pair that has a name in the reply.
fn pairs(reply: &Reply) -> Vec<String> {
    let names = reply.elements().expect("an array").iter().filter_map(Reply::bytes);
    names
        .map(|name| String::from_utf8_lossy(name).split(':').nth(1).unwrap_or_default().to_string())
        .collect()
}

/// Each pair of names has one key, which is renamed to and fro. KEYS has one name of each pair, whether
/// it reads memory or disk.
#[test]
fn keys_shows_no_half_of_a_rename() {
    let server = Server::start(Program::Lux, &[]);
    let mut client = server.connect().expect("a connection");
    for n in 0..PAIRS {
        call(&mut client, &["SET", &format!("pair:{n}:left"), "value"]);
    }
    for n in 0..20_000 {
        client.send(&["SET", &format!("filler:{n}"), "value"]).expect("sends");
    }
    (0..20_000).for_each(|_| assert!(client.read_reply().expect("a reply").is_ok()));
    let (done, renamed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.connect().expect("a connection");
            let mut sides = ["left", "right"];
            while !done.load(Ordering::SeqCst) {
                for n in 0..PAIRS {
                    call(
                        &mut client,
                        &["RENAME", &format!("pair:{n}:{}", sides[0]), &format!("pair:{n}:{}", sides[1])],
                    );
                    renamed.fetch_add(1, Ordering::SeqCst);
                }
                sides.reverse();
            }
        });
        let ends = Ends(&done);
        let mut outcomes = Vec::new();
        for round in 0..40 {
            if round == 20 {
                call(&mut client, &["TIER", "EVICT", "MATCH", "filler:*"]);
            }
            let pairs = pairs(&call(&mut client, &["KEYS", "pair:*"]));
            outcomes.push((pairs.len(), pairs.into_iter().collect::<HashSet<_>>().len()));
        }
        drop(ends);
        assert!(outcomes.iter().all(|counts| *counts == (PAIRS, PAIRS)), "names and pairs: {outcomes:?}");
    });
    assert!(renamed.load(Ordering::SeqCst) > 100, "nothing was renamed meanwhile");
}
