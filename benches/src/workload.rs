//! The workloads: short strings for throughput, versioned values for stores larger than memory.

use crate::load::Workload;
use crate::values::{self, KEY_BYTES, Popularity, Rng};
use crate::wire::{self, Reply};

/// What [`Strings`] does with its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Set,
    Get,
    Incr,
    /// SET and GET alternate.
    SetAndGet,
}

/// Which keys and which values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// 0, 1, 2, ...: loads every key once.
    Ascending,
    Random,
}

/// Options a SET carries and the shape of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Bytes whose first 16 are the key.
    Text(usize),
    /// The key's number as decimal digits.
    Number,
    /// [`Payload::Text`] with a deadline of some hours.
    Expiring(usize),
}

/// Prefix of keys that hold text.
pub const TEXT: [u8; 4] = *b"key:";
/// Prefix of keys that hold counters.
pub const COUNTER: [u8; 4] = *b"ctr:";

/// SET, GET and INCR on short strings.
#[derive(Clone, Debug)]
pub struct Strings {
    verb: Verb,
    order: Order,
    keys: u64,
    rng: Rng,
    next: u64,
    payload: Payload,
    set: Template,
    get: Template,
    incr: Template,
}

/// A command whose key (and the key at the head of its value) is patched in place.
#[derive(Clone, Debug)]
struct Template {
    bytes: Vec<u8>,
    key_at: usize,
    value_at: Option<usize>,
    prefix: [u8; 4],
}

impl Template {
    fn new(name: &str, prefix: [u8; 4], value: Option<&[u8]>, options: &[&[u8]]) -> Self {
        let key = values::key(prefix, 0);
        let mut args: Vec<&[u8]> = vec![name.as_bytes(), &key];
        args.extend(value);
        args.extend(options);
        let mut bytes = Vec::new();
        wire::append_command(&mut bytes, &args);
        let find = |from: usize| bytes[from..].windows(KEY_BYTES).position(|part| part == key);
        let key_at = find(0).expect("the command holds its key");
        let value_at = find(key_at + KEY_BYTES).map(|at| key_at + KEY_BYTES + at);
        Self { bytes, key_at, value_at, prefix }
    }

    fn append(&self, out: &mut Vec<u8>, id: u64) {
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        let key_at = begin + self.key_at;
        values::write_key(&mut out[key_at..key_at + KEY_BYTES], self.prefix, id);
        if let Some(value_at) = self.value_at {
            out.copy_within(key_at..key_at + KEY_BYTES, begin + value_at);
        }
    }
}

impl Strings {
    /// A workload over `keys` keys; equal seeds give equal sequences.
    #[must_use]
    pub fn new(verb: Verb, order: Order, keys: u64, payload: Payload, seed: u64) -> Self {
        let text = |bytes: usize| {
            let mut value = values::key(TEXT, 0).to_vec();
            value.resize(bytes.max(KEY_BYTES), b'v');
            value
        };
        let set = match payload {
            Payload::Text(bytes) => Template::new("SET", TEXT, Some(&text(bytes)), &[]),
            Payload::Expiring(bytes) => Template::new("SET", TEXT, Some(&text(bytes)), &[b"EX", b"36000"]),
            Payload::Number => Template::new("SET", TEXT, Some(b"0"), &[]),
        };
        Self {
            verb,
            order,
            keys,
            rng: Rng::new(seed),
            next: 0,
            payload,
            set,
            get: Template::new("GET", TEXT, None, &[]),
            incr: Template::new("INCR", COUNTER, None, &[]),
        }
    }

    fn draw(&mut self) -> u64 {
        let turn = self.next;
        self.next += 1;
        match self.order {
            Order::Ascending => turn % self.keys,
            Order::Random => self.rng.below(self.keys),
        }
    }

    fn is_value_of(&self, id: u64, value: &[u8]) -> bool {
        match self.payload {
            Payload::Number => value == id.to_string().as_bytes(),
            Payload::Text(bytes) | Payload::Expiring(bytes) => {
                value.len() == bytes.max(KEY_BYTES)
                    && value[..KEY_BYTES] == values::key(TEXT, id)
                    && value[KEY_BYTES..].iter().all(|byte| *byte == b'v')
            }
        }
    }
}

/// Marks the token of a GET in a mixed workload.
const IS_GET: u64 = 1 << 63;

impl Workload for Strings {
    fn encode(&mut self, _connection: usize, out: &mut Vec<u8>) -> u64 {
        let id = self.draw();
        match self.verb {
            Verb::Set if self.payload == Payload::Number => {
                let key = values::key(TEXT, id);
                wire::append_command(out, &[b"SET", &key, id.to_string().as_bytes()]);
            }
            Verb::Set => self.set.append(out, id),
            Verb::Incr => self.incr.append(out, id),
            Verb::SetAndGet if self.next.is_multiple_of(2) => self.set.append(out, id),
            Verb::Get | Verb::SetAndGet => {
                self.get.append(out, id);
                return id | IS_GET;
            }
        }
        id
    }

    fn check(&mut self, _connection: usize, token: u64, reply: Reply<'_>) -> bool {
        match reply {
            Reply::Bulk(value) if token & IS_GET != 0 => self.is_value_of(token & !IS_GET, value),
            Reply::Integer(number) => self.verb == Verb::Incr && number > 0,
            Reply::Status(text) => matches!(self.verb, Verb::Set | Verb::SetAndGet) && text == b"OK",
            _ => false,
        }
    }
}

/// What [`Versioned`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes every key once, in ascending order.
    Load,
    /// Reads keys drawn this way.
    Read(Popularity),
    /// Writes a new version of keys drawn uniformly.
    Overwrite,
}

/// Large values that are a function of (key, version). One byte per key remembers the version, so
/// every GET can be checked against the exact bytes that were acknowledged last.
#[derive(Debug)]
pub struct Versioned {
    action: Action,
    value_bytes: usize,
    connections: u64,
    versions: Vec<u8>,
    rng: Rng,
    next: u64,
    expected: Vec<u8>,
}

impl Versioned {
    /// `keys` keys at version 0, not yet written.
    #[must_use]
    pub fn new(keys: u64, value_bytes: usize, connections: usize, seed: u64) -> Self {
        let keys = usize::try_from(keys).expect("one byte per key fits in memory");
        Self {
            action: Action::Load,
            value_bytes,
            connections: connections as u64,
            versions: vec![0; keys],
            rng: Rng::new(seed),
            next: 0,
            expected: vec![0; value_bytes],
        }
    }

    /// Chooses what the next run does.
    pub fn set_action(&mut self, action: Action) {
        self.action = action;
        self.next = 0;
    }

    /// Number of keys.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.versions.len() as u64
    }

    /// The value of `id` that was written last.
    #[must_use]
    pub fn value(&self, id: u64) -> Vec<u8> {
        let mut value = vec![0; self.value_bytes];
        values::fill_half_compressible(&mut value, id, self.version(id));
        value
    }

    fn version(&self, id: u64) -> u8 {
        self.versions[usize::try_from(id).expect("ids are below the number of keys")]
    }

    fn append_set(&self, out: &mut Vec<u8>, id: u64) {
        out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\n");
        out.extend_from_slice(&values::key(TEXT, id));
        out.extend_from_slice(format!("\r\n${}\r\n", self.value_bytes).as_bytes());
        let begin = out.len();
        out.resize(begin + self.value_bytes, 0);
        values::fill_half_compressible(&mut out[begin..], id, self.version(id));
        out.extend_from_slice(b"\r\n");
    }

    /// A key of this connection's own: overwrites of one key then arrive in one order.
    fn draw_own(&mut self, connection: usize) -> u64 {
        let keys = self.keys();
        let id = self.rng.below(keys) / self.connections * self.connections + connection as u64;
        if id < keys { id } else { connection as u64 % keys }
    }
}

impl Workload for Versioned {
    fn encode(&mut self, connection: usize, out: &mut Vec<u8>) -> u64 {
        let id = match self.action {
            Action::Load => {
                self.next += 1;
                (self.next - 1) % self.keys()
            }
            Action::Read(popularity) => popularity.draw(&mut self.rng, self.versions.len() as u64),
            Action::Overwrite => self.draw_own(connection),
        };
        if let Action::Read(_) = self.action {
            out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$16\r\n");
            out.extend_from_slice(&values::key(TEXT, id));
            out.extend_from_slice(b"\r\n");
            return id;
        }
        if self.action == Action::Overwrite {
            let place = usize::try_from(id).expect("ids are below the number of keys");
            self.versions[place] = self.versions[place].wrapping_add(1);
        }
        self.append_set(out, id);
        id
    }

    fn check(&mut self, _connection: usize, token: u64, reply: Reply<'_>) -> bool {
        match (self.action, reply) {
            (Action::Read(_), Reply::Bulk(value)) => {
                let version = self.version(token);
                values::fill_half_compressible(&mut self.expected, token, version);
                value == self.expected
            }
            (Action::Load | Action::Overwrite, Reply::Status(text)) => text == b"OK",
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(workload: &mut impl Workload) -> (u64, String) {
        let mut out = Vec::new();
        let token = workload.encode(0, &mut out);
        (token, String::from_utf8(out).unwrap())
    }

    #[test]
    fn set_carries_its_key_in_its_value() {
        let mut set = Strings::new(Verb::Set, Order::Ascending, 10, Payload::Text(20), 1);
        encode(&mut set);
        let (token, command) = encode(&mut set);
        assert_eq!(token, 1);
        assert_eq!(command, "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$20\r\nkey:000000000001vvvv\r\n");
    }

    #[test]
    fn get_refuses_the_value_of_another_key() {
        let mut get = Strings::new(Verb::Get, Order::Ascending, 10, Payload::Text(20), 1);
        let (token, _) = encode(&mut get);
        assert!(get.check(0, token, Reply::Bulk(b"key:000000000000vvvv")));
        assert!(!get.check(0, token, Reply::Bulk(b"key:000000000001vvvv")));
        assert!(!get.check(0, token, Reply::Bulk(b"key:000000000000vvvw")));
        assert!(!get.check(0, token, Reply::Nil));
        assert!(!get.check(0, token, Reply::Error(b"LOADING")));
    }

    #[test]
    fn a_read_of_an_older_version_is_wrong() {
        let mut data = Versioned::new(1, 64, 1, 1);
        let old = data.value(0);
        data.set_action(Action::Overwrite);
        encode(&mut data);
        data.set_action(Action::Read(Popularity::Uniform));
        let new = data.value(0);
        assert!(data.check(0, 0, Reply::Bulk(&new)));
        assert!(!data.check(0, 0, Reply::Bulk(&old)));
    }

    #[test]
    fn overwrites_of_a_connection_stay_with_its_own_keys() {
        let mut data = Versioned::new(10, 64, 4, 1);
        for _ in 0..1_000 {
            let own = data.draw_own(3);
            assert!(own == 3 || own == 7, "{own}");
        }
    }
}
