//! DUMP and RESTORE between Lux and the servers whose payloads it speaks.
//!
//! Values of every type and encoding are made by the same commands on either side and go over as payloads,
//! there and back, with Lux's copy in memory and on disk. They are compared by what commands reply. The
//! numbers are random but the same in every run.

use crate::client::{Client, Reply};
use crate::server::{Program, Server};

type Command = Vec<Vec<u8>>;

/// A key that is made by commands.
struct Sample {
    name: String,
    commands: Vec<Command>,
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

    /// A text of one kind, or of any.
    fn text(&mut self, kind: Kind) -> Vec<u8> {
        match kind {
            Kind::Small => (self.below(20_000) as i64 - 10_000).to_string().into_bytes(),
            Kind::Wide => (self.below(u64::MAX) as i64).to_string().into_bytes(),
            Kind::Word => format!("word:{}", self.below(1_000_000)).into_bytes(),
            Kind::Long => {
                let (letter, len) = (b'a' + self.below(26) as u8, 65 + self.below(300) as usize);
                [vec![letter; len], self.below(u64::MAX).to_string().into_bytes()].concat()
            }
            Kind::Huge => {
                let words: Vec<u8> = (0..1000).flat_map(|_| self.below(u64::MAX).to_le_bytes()).collect();
                words[self.below(4000) as usize..].to_vec()
            }
            Kind::Binary => (0..self.below(40)).map(|_| self.below(256) as u8).collect(),
            Kind::Any => {
                const KINDS: [Kind; 5] = [Kind::Small, Kind::Wide, Kind::Word, Kind::Long, Kind::Binary];
                let kind = KINDS[self.below(KINDS.len() as u64) as usize];
                self.text(kind)
            }
        }
    }

    fn score(&mut self) -> Vec<u8> {
        let number = self.below(2_000_000) as f64 - 1_000_000.0;
        match self.below(12) {
            0 => b"inf".to_vec(),
            1 => b"-inf".to_vec(),
            2..6 => number.to_string().into_bytes(),
            6..9 => (number / 977.0).to_string().into_bytes(),
            _ => (number * 1e13).to_string().into_bytes(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Small,
    Wide,
    Word,
    Long,
    /// Some kilobytes that do not compress.
    Huge,
    Binary,
    Any,
}

/// How many elements of which kind: packed, large, and beyond a megabyte.
const SIZES: &[(Kind, usize)] = &[
    (Kind::Small, 1),
    (Kind::Small, 100),
    (Kind::Small, 3000),
    (Kind::Wide, 100),
    (Kind::Wide, 3000),
    (Kind::Word, 20),
    (Kind::Word, 3000),
    (Kind::Long, 10),
    (Kind::Long, 600),
    (Kind::Binary, 60),
    (Kind::Any, 40),
    (Kind::Any, 1000),
    (Kind::Huge, 300),
];

fn words(parts: &[&str]) -> Command {
    parts.iter().map(|part| part.as_bytes().to_vec()).collect()
}

/// A command on a key with the elements of one chunk behind.
fn on_key(command: &str, key: &str, rest: impl Iterator<Item = Vec<u8>>) -> Command {
    words(&[command, key]).into_iter().chain(rest).collect()
}

/// Few enough arguments for one command.
const CHUNK: usize = 500;

fn elements(random: &mut Random, command: &str, key: &str, kind: Kind, count: usize) -> Vec<Command> {
    let mut one = || -> Vec<Vec<u8>> {
        match command {
            "ZADD" => vec![random.score(), random.text(kind)],
            "HSET" => vec![random.text(kind), random.text(kind)],
            _ => vec![random.text(kind)],
        }
    };
    let mut commands = Vec::new();
    for from in (0..count).step_by(CHUNK) {
        let chunk: Vec<Vec<u8>> = (from..count.min(from + CHUNK)).flat_map(|_| one()).collect();
        commands.push(on_key(command, key, chunk.into_iter()));
    }
    commands
}

/// A stream with gaps, several shapes of entries, and groups whose consumers hold some of them.
fn stream(random: &mut Random, key: &str, count: u64, has_idle_consumers: bool) -> Vec<Command> {
    let mut commands = Vec::new();
    for at in 1..=count {
        let (id, shape) = (format!("{}-{}", 1_000_000 + at * 7, random.below(3)), random.below(4));
        let fields: Vec<Vec<u8>> = (0..=shape)
            .flat_map(|field| [format!("field-{shape}-{field}").into_bytes(), random.text(Kind::Any)])
            .collect();
        commands.push([words(&["XADD", key, &id]), fields].concat());
        if at % 9 == 0 {
            commands.push(words(&["XDEL", key, &id]));
        }
    }
    for group in ["first", "second", "\u{e9}mpty"] {
        commands.push(words(&["XGROUP", "CREATE", key, group, "0"]));
    }
    for (consumer, count) in [("anna", "7"), ("bert", "30"), ("carl", "1")] {
        commands.push(words(&[
            "XREADGROUP",
            "GROUP",
            "first",
            consumer,
            "COUNT",
            count,
            "STREAMS",
            key,
            ">",
        ]));
    }
    commands.push(words(&["XREADGROUP", "GROUP", "second", "dora", "COUNT", "5", "STREAMS", key, ">"]));
    commands.push(words(&["XACK", key, "first", "1000007-0", "1000007-1", "1000007-2"]));
    commands.push(words(&["XTRIM", key, "MAXLEN", &(count * 2 / 3).to_string()]));
    commands.push(words(&["XSETID", key, "9000000-5", "ENTRIESADDED", "5000", "MAXDELETEDID", "8999999-0"]));
    if has_idle_consumers {
        commands.push(words(&["XGROUP", "CREATECONSUMER", key, "second", "idle"]));
    }
    commands
}

fn samples(peer: Program) -> Vec<Sample> {
    let (mut random, mut samples) = (Random(7), Vec::new());
    let mut add = |name: String, commands: Vec<Command>| samples.push(Sample { name, commands });
    for (command, kind_name) in [("RPUSH", "list"), ("SADD", "set"), ("ZADD", "zset"), ("HSET", "hash")] {
        for (kind, count) in SIZES {
            let name = format!("{kind_name}:{kind:?}:{count}");
            let commands = elements(&mut random, command, &name, *kind, *count);
            add(name, commands);
        }
    }
    for kind in [Kind::Small, Kind::Wide, Kind::Word, Kind::Long, Kind::Huge, Kind::Binary] {
        let name = format!("string:{kind:?}");
        let value = random.text(kind);
        add(name.clone(), vec![on_key("SET", &name, [value].into_iter())]);
    }
    for count in [3, 5000] {
        let name = format!("sketch:{count}");
        let commands = elements(&mut random, "PFADD", &name, Kind::Word, count);
        add(name, commands);
    }
    let is_valkey = peer == Program::Valkey;
    // Redis 7.0 has no payload that says of a consumer when it was last given an entry, if it was heard of
    // later: each gets some and asks for no more.
    for count in if is_valkey { [4, 90, 1500] } else { [60, 90, 1500] } {
        let name = format!("stream:{count}");
        let commands = stream(&mut random, &name, count, is_valkey);
        add(name, commands);
    }
    for count in [10, 700].into_iter().filter(|_| is_valkey) {
        let name = format!("hash:deadlines:{count}");
        let pairs = (0..count).flat_map(|at| [format!("f{at}").into_bytes(), b"v".to_vec()]);
        let mut commands = vec![on_key("HSET", &name, pairs)];
        for at in (0..count).step_by(3) {
            let (deadline, field) = ((4_000_000_000_000u64 + at).to_string(), format!("f{at}"));
            commands.push(words(&["HPEXPIREAT", &name, &deadline, "FIELDS", "1", &field]));
        }
        add(name, commands);
    }
    samples
}

fn call(client: &mut Client, args: &[&[u8]]) -> Reply {
    let reply = client.call(args).expect("a reply");
    if let Reply::Error(text) = &reply {
        let command: Vec<String> =
            args.iter().take(3).map(|arg| arg[..arg.len().min(40)].escape_ascii().to_string()).collect();
        panic!("{}: {}", command.join(" "), text.escape_ascii());
    }
    reply
}

fn make(client: &mut Client, sample: &Sample) {
    for command in &sample.commands {
        let args: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        call(client, &args);
    }
}

/// What servers of different versions do not all say, or say of how they store a stream.
const UNEQUAL: [&[u8]; 4] = [b"radix-tree-keys", b"radix-tree-nodes", b"active-time", b"lag"];

/// A reply without the pairs that differ from server to server.
fn equal_part(reply: Reply) -> Reply {
    let Reply::Array(items) = reply else { return reply };
    let (mut kept, mut items) = (Vec::new(), items.into_iter());
    while let Some(item) = items.next() {
        if item.bytes().is_some_and(|bytes| UNEQUAL.contains(&bytes)) {
            items.next();
        } else {
            kept.push(equal_part(item));
        }
    }
    Reply::Array(kept)
}

/// Pairs or elements in the order of their bytes.
fn sorted(reply: &Reply, width: usize) -> Vec<Vec<u8>> {
    let items = reply.elements().expect("an array");
    let bytes = |item: &Reply| item.bytes().expect("a bulk string").to_vec();
    let mut rows: Vec<Vec<Vec<u8>>> =
        items.chunks(width).map(|row| row.iter().map(bytes).collect()).collect();
    rows.sort();
    rows.concat()
}

/// Members and scores; servers of different versions write large scores differently.
fn scores(reply: &Reply) -> String {
    let mut text = String::new();
    for pair in reply.elements().expect("an array").chunks(2) {
        let [member, score] = pair else { panic!("a member without a score") };
        let score = String::from_utf8_lossy(score.bytes().expect("a score"));
        let score: f64 = score.parse().expect("a score is a number");
        text += &format!("{member:?} {:x} ", score.to_bits());
    }
    text
}

/// Everything that commands tell of a key.
fn content(client: &mut Client, key: &[u8], peer: Program) -> String {
    let kind = call(client, &[b"TYPE", key]).bytes().expect("a type").to_vec();
    let text = match &kind[..] {
        b"string" => format!("{:?}", call(client, &[b"GET", key])),
        b"list" => format!("{:?}", call(client, &[b"LRANGE", key, b"0", b"-1"])),
        b"set" => format!("{:?}", sorted(&call(client, &[b"SMEMBERS", key]), 1)),
        b"zset" => scores(&call(client, &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])),
        b"hash" => {
            let pairs = sorted(&call(client, &[b"HGETALL", key]), 2);
            let mut text = format!("{pairs:?}");
            if peer == Program::Valkey {
                for name in pairs.chunks(2).map(|pair| &pair[0][..]) {
                    let at = call(client, &[b"HPEXPIRETIME", key, b"FIELDS", b"1", name]);
                    text += &format!(" {at:?}");
                }
            }
            text
        }
        b"stream" => {
            let entries = call(client, &[b"XRANGE", key, b"-", b"+"]);
            let full = call(client, &[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"100000"]);
            format!("{entries:?} {:?}", equal_part(full))
        }
        other => panic!("{}: {}", key.escape_ascii(), other.escape_ascii()),
    };
    format!("{}: {text}", kind.escape_ascii())
}

/// The payload of a key goes to another server under another name.
fn carry(from: &mut Client, key: &[u8], to: &mut Client, target: &[u8]) {
    let payload = call(from, &[b"DUMP", key]);
    let payload = payload.bytes().unwrap_or_else(|| panic!("{} exists", key.escape_ascii())).to_vec();
    call(to, &[b"RESTORE", target, b"0", &payload]);
}

fn assert_same(expected: &str, found: &str, what: &str) {
    if expected != found {
        let at = expected.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
        let around = |text: &str| {
            let from = text.as_bytes()[at.saturating_sub(200)..].to_vec();
            String::from_utf8_lossy(&from).chars().take(600).collect::<String>()
        };
        panic!("{what}\n expected ... {}\n found ... {}", around(expected), around(found));
    }
}

/// Both servers make every value; each copy goes over and back.
fn exchange(program: Program, is_cold: bool) {
    if program.path().is_none() {
        eprintln!("no {} here: nothing to exchange payloads with", program.name());
        return;
    }
    let (lux, peer) = (Server::start(Program::Lux, &[]), Server::start(program, &[]));
    let (mut lux, mut peer) = (lux.connect().expect("Lux"), peer.connect().expect("a peer"));
    let evict = |lux: &mut Client, key: &[u8]| {
        if is_cold {
            call(lux, &[b"DEBUG", b"EVICT-ALL"]);
            let tier = call(lux, &[b"TIER", b"OF", key]);
            let tier = tier.elements().map_or(&tier, |tiers| &tiers[0]);
            assert_eq!(tier.bytes(), Some(&b"cold"[..]), "{}", key.escape_ascii());
        }
    };
    for sample in samples(program) {
        let (name, key) = (&sample.name, sample.name.as_bytes());
        // Lux makes it, the peer reads it and gives it back.
        make(&mut lux, &sample);
        let made = content(&mut lux, key, program);
        evict(&mut lux, key);
        carry(&mut lux, key, &mut peer, b"there");
        assert_same(&made, &content(&mut peer, b"there", program), &format!("{name}, from Lux"));
        carry(&mut peer, b"there", &mut lux, b"back");
        evict(&mut lux, b"back");
        assert_same(&made, &content(&mut lux, b"back", program), &format!("{name}, from Lux and back"));
        call(&mut lux, &[b"COPY", b"back", b"copy"]);
        evict(&mut lux, b"copy");
        assert_same(&made, &content(&mut lux, b"copy", program), &format!("{name}, copied"));
        call(&mut lux, &[b"FLUSHALL"]);
        call(&mut peer, &[b"FLUSHALL"]);
        // The same the other way round.
        make(&mut peer, &sample);
        let made = content(&mut peer, key, program);
        carry(&mut peer, key, &mut lux, b"there");
        evict(&mut lux, b"there");
        assert_same(&made, &content(&mut lux, b"there", program), &format!("{name}, into Lux"));
        evict(&mut lux, b"there");
        carry(&mut lux, b"there", &mut peer, b"back");
        assert_same(&made, &content(&mut peer, b"back", program), &format!("{name}, into Lux and back"));
        call(&mut lux, &[b"FLUSHALL"]);
        call(&mut peer, &[b"FLUSHALL"]);
    }
}

#[test]
fn redis_and_lux_exchange_hot_values() {
    exchange(Program::Redis, false);
}

#[test]
fn redis_and_lux_exchange_cold_values() {
    exchange(Program::Redis, true);
}

#[test]
fn valkey_and_lux_exchange_hot_values() {
    exchange(Program::Valkey, false);
}

#[test]
fn valkey_and_lux_exchange_cold_values() {
    exchange(Program::Valkey, true);
}

/// A payload that is refused leaves the key that it was to replace.
#[test]
fn a_refused_payload_changes_nothing() {
    let server = Server::start(Program::Lux, &[]);
    let mut client = server.connect().expect("a connection");
    call(&mut client, &[b"RPUSH", b"list", b"a", b"b"]);
    call(&mut client, &[b"SET", b"other", b"text"]);
    let payload = call(&mut client, &[b"DUMP", b"list"]).bytes().expect("a payload").to_vec();
    for at in 0..payload.len() {
        let mut damaged = payload.clone();
        damaged[at] ^= 0x41;
        let reply = client.call(&[&b"RESTORE"[..], b"other", b"0", &damaged, b"REPLACE"]).expect("a reply");
        assert!(reply.is_error(), "byte {at}: {reply:?}");
    }
    assert_eq!(call(&mut client, &[b"GET", b"other"]).bytes(), Some(&b"text"[..]));
    call(&mut client, &[b"RESTORE", b"other", b"0", &payload, b"REPLACE"]);
    assert_eq!(call(&mut client, &[b"LLEN", b"other"]).integer(), Some(2));
}

/// A list of more bytes than a record may hold, in little memory: its payload comes back, and a crash changes
/// nothing.
#[test]
#[cfg_attr(not(feature = "rocks"), ignore = "the in-memory cold tier dies with its process")]
fn large_collections_are_restored_and_copied() {
    const ELEMENTS: u64 = 20_000;
    let mut server = Server::start(Program::Lux, &["--maxmemory", "64mb", "--appendfsync", "everysec"]);
    let mut client = server.connect().expect("a connection");
    let mut random = Random(11);
    for from in (0..ELEMENTS).step_by(CHUNK) {
        let chunk: Vec<Vec<u8>> = (from..from + CHUNK as u64)
            .map(|_| (0..128).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect())
            .collect();
        let args: Vec<&[u8]> =
            [&b"RPUSH"[..], b"list"].into_iter().chain(chunk.iter().map(Vec::as_slice)).collect();
        call(&mut client, &args);
    }
    let payload = call(&mut client, &[b"DUMP", b"list"]).bytes().expect("a payload").to_vec();
    assert!(payload.len() > 16 << 20);
    call(&mut client, &[b"RESTORE", b"restored", b"0", &payload]);
    call(&mut client, &[b"COPY", b"list", b"copied"]);
    server.kill9();
    server.restart();
    let mut client = server.connect().expect("a connection");
    for key in [&b"list"[..], b"restored", b"copied"] {
        let again = call(&mut client, &[b"DUMP", key]);
        assert!(again.bytes() == Some(&payload[..]), "the value of {}", key.escape_ascii());
    }
}
