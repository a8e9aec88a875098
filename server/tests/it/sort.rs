//! SORT of keys on disk: what BY and GET name comes in batches.

use crate::client::Client;
use crate::server::{Program, Server};

const ELEMENTS: u64 = 1500;

fn call(client: &mut Client, line: &str) -> Vec<String> {
    let args: Vec<&str> = line.split(' ').collect();
    let reply = client.call(&args).expect("a reply");
    assert!(!reply.is_error(), "{line}: {reply:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match reply.elements() {
        Some(items) => items.iter().map(|item| item.bytes().map_or("nil".to_owned(), text)).collect(),
        None => vec![reply.bytes().map_or(String::new(), text)],
    }
}

/// How often commands had to begin anew because something was not in memory.
fn restarts(client: &mut Client) -> u64 {
    let info = call(client, "INFO everything").remove(0);
    let line = info.lines().find_map(|line| line.strip_prefix("tier_restarts:"));
    line.and_then(|count| count.trim().parse().ok()).expect("INFO counts restarts")
}

#[test]
fn keys_of_patterns_are_fetched_in_batches() {
    let server = Server::start(Program::Lux, &[]);
    let mut client = server.connect().expect("a connection");
    for element in 0..ELEMENTS {
        call(&mut client, &format!("RPUSH list {element}"));
        call(&mut client, &format!("SET weight:{element} {}", (element * 7919) % ELEMENTS));
        call(&mut client, &format!("HSET hash:{element} name n{element} other x"));
    }
    let mut expected: Vec<u64> = (0..ELEMENTS).collect();
    expected.sort_by_key(|element| (element * 7919) % ELEMENTS);
    let named: Vec<String> = expected.iter().map(|element| format!("n{element}")).collect();
    // The rounds: the list, the weights, with LIMIT the hashes; then all is there.
    for (options, wanted, rounds) in
        [("", &named[..], 2), (" LIMIT 100 20", &named[100..120], 3), (" LIMIT 0 3 STORE target", &[][..], 3)]
    {
        call(&mut client, "DEBUG EVICT-ALL");
        let before = restarts(&mut client);
        let found = call(&mut client, &format!("SORT list BY weight:* GET hash:*->name{options}"));
        let taken = restarts(&mut client) - before;
        assert!((1..=rounds).contains(&taken), "SORT{options} began {taken} times anew");
        if !wanted.is_empty() {
            assert_eq!(found, wanted, "SORT{options}");
        }
    }
    assert_eq!(call(&mut client, "LRANGE target 0 -1"), named[..3]);
}
