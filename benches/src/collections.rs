//! The workloads of the data types: one command each, with elements whose place follows from their number.
//!
//! Turn `t` goes to key `t % keys` and carries member `scattered(t)`: all members differ, and they come in
//! no order that helps anybody. A score is the member's number modulo a bound; where the bound is the
//! number of elements, scores are a permutation and the answer to a ZRANK is known.

use crate::load::Workload;
use crate::values::{self, KEY_BYTES, Rng};
use crate::wire::{self, Reply};

/// Prefix of collections' keys.
pub const KEY: [u8; 4] = *b"col:";
/// Prefix of members, fields and elements.
const MEMBER: [u8; 4] = *b"mem:";
/// Scores are written as sixteen digits.
const SCORE: [u8; 4] = *b"0000";
/// Elements that one ZRANGE asks for.
const RANGE: u64 = 10;

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Lpush,
    Rpop,
    Sadd,
    Spop,
    Hset,
    Zadd,
    Zpopmin,
    Xadd,
    /// `LRANGE key 0 -1`.
    Lrange,
    Hgetall,
    Smembers,
    Zrank,
    /// Ten elements from a random rank on.
    Zrange,
    /// A ZADD that gives a member that is there another score.
    Zmove,
}

impl Verb {
    /// As tables call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lpush => "LPUSH",
            Self::Rpop => "RPOP",
            Self::Sadd => "SADD",
            Self::Spop => "SPOP",
            Self::Hset => "HSET",
            Self::Zadd => "ZADD",
            Self::Zpopmin => "ZPOPMIN",
            Self::Xadd => "XADD",
            Self::Lrange => "LRANGE",
            Self::Hgetall => "HGETALL",
            Self::Smembers => "SMEMBERS",
            Self::Zrank => "ZRANK",
            Self::Zrange => "ZRANGE of 10",
            Self::Zmove => "ZADD (new score)",
        }
    }

    /// What fills the keys that this command takes from or reads; itself if it writes.
    #[must_use]
    pub const fn filler(self) -> Self {
        match self {
            Self::Rpop | Self::Lrange => Self::Lpush,
            Self::Spop | Self::Smembers => Self::Sadd,
            Self::Hgetall => Self::Hset,
            Self::Zpopmin | Self::Zrank | Self::Zrange | Self::Zmove => Self::Zadd,
            writes => writes,
        }
    }

    /// The command that counts the elements of a key.
    #[must_use]
    pub const fn counter(self) -> &'static str {
        match self.filler() {
            Self::Lpush => "LLEN",
            Self::Sadd => "SCARD",
            Self::Hset => "HLEN",
            Self::Xadd => "XLEN",
            _ => "ZCARD",
        }
    }

    fn template(self) -> Template {
        use Part::{Key, Member, Number, Text};
        let name = Text(self.name().split(' ').next().unwrap_or_default());
        match self {
            Self::Lpush | Self::Sadd | Self::Zrank => Template::new(&[name, Key, Member]),
            Self::Rpop | Self::Spop | Self::Zpopmin | Self::Hgetall | Self::Smembers => {
                Template::new(&[name, Key])
            }
            Self::Hset => Template::new(&[name, Key, Member, Text("value:0123456789")]),
            Self::Zadd | Self::Zmove => Template::new(&[name, Key, Number, Member]),
            Self::Xadd => Template::new(&[name, Key, Text("*"), Text("field"), Member]),
            Self::Lrange => Template::new(&[name, Key, Text("0"), Text("-1")]),
            // Its ranks are no arguments of one length.
            Self::Zrange => Template::new(&[name, Key]),
        }
    }
}

/// An argument of a [`Template`].
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    Text(&'a str),
    Key,
    Member,
    /// Sixteen digits.
    Number,
}

/// A command whose variable arguments, 16 bytes each, are patched in place.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    patches: Vec<(usize, [u8; 4])>,
}

impl Template {
    /// A command of these arguments.
    #[must_use]
    pub fn new(parts: &[Part<'_>]) -> Self {
        let (mut args, mut patches) = (Vec::new(), Vec::new());
        for part in parts {
            let prefix = match part {
                Part::Text(text) => {
                    args.push(text.as_bytes().to_vec());
                    continue;
                }
                Part::Key => KEY,
                Part::Member => MEMBER,
                Part::Number => SCORE,
            };
            patches.push((args.len(), prefix));
            args.push(values::key(prefix, 0).to_vec());
        }
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        wire::append_command(&mut bytes, &args);
        for (at, _) in &mut patches {
            // What follows an argument is as long whatever stands before it.
            let mut rest = Vec::new();
            wire::append_command(&mut rest, &args[*at..]);
            let header = format!("*{}\r\n${KEY_BYTES}\r\n", args.len() - *at).len();
            *at = bytes.len() - (rest.len() - header);
        }
        Self { bytes, patches }
    }

    /// Appends the command with these numbers in its variable arguments, in their order.
    pub fn append<const N: usize>(&self, out: &mut Vec<u8>, numbers: [u64; N]) {
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        for ((at, prefix), number) in self.patches.iter().zip(numbers) {
            let at = begin + at;
            values::write_key(&mut out[at..at + KEY_BYTES], *prefix, number);
        }
    }
}

/// The number of the member of a turn; different below a million million turns.
fn scattered(turn: u64) -> u64 {
    // Neither two nor five divides the factor, so no two turns meet.
    turn * 618_033_988_749 % 1_000_000_000_000
}

/// One command over some keys.
#[derive(Clone, Debug)]
pub struct Collections {
    verb: Verb,
    keys: u64,
    /// Elements that are there or will be, over all keys.
    elements: u64,
    /// Scores are below this.
    scores: u64,
    template: Template,
    turn: u64,
    rng: Rng,
}

impl Collections {
    /// `elements` elements over `keys` keys; scores are a permutation of all numbers below `scores` if
    /// there are as many elements and the number is a power of ten.
    #[must_use]
    pub fn new(verb: Verb, keys: u64, elements: u64, scores: u64) -> Self {
        Self { verb, keys, elements, scores, template: verb.template(), turn: 0, rng: Rng::new(7) }
    }

    /// The score of a member.
    fn score(&self, member: u64) -> u64 {
        member % self.scores
    }

    /// Whether a reply holds the `count` elements of 16 bytes that were put under key `token`.
    fn is_collection(&self, token: u64, count: usize, elements: &[u8]) -> bool {
        let per_key = self.elements / self.keys;
        let parts = if self.verb == Verb::Hgetall { 2 } else { 1 };
        let element_bytes = "$16\r\n".len() + KEY_BYTES + "\r\n".len();
        if count as u64 != per_key * parts || elements.len() != count * element_bytes {
            return false;
        }
        let Some(first) = elements.get(5..5 + KEY_BYTES) else { return false };
        // LPUSH: what came last is first. The other types order as they like.
        let newest = token + (per_key - 1) * self.keys;
        if self.verb == Verb::Lrange {
            first == values::key(MEMBER, scattered(newest))
        } else {
            first.starts_with(&MEMBER)
        }
    }

    /// Whether a reply holds the members of ten ranks from `token` on.
    fn is_range(&self, token: u64, mut elements: &[u8]) -> bool {
        for rank in token..token + RANGE {
            let Ok(Some((Reply::Bulk(member), taken))) = wire::parse(elements) else { return false };
            let number = std::str::from_utf8(member.get(4..).unwrap_or_default()).map(str::parse::<u64>);
            if !matches!(number, Ok(Ok(number)) if self.score(number) == rank) {
                return false;
            }
            elements = &elements[taken..];
        }
        elements.is_empty()
    }
}

impl Workload for Collections {
    fn encode(&mut self, _connection: usize, out: &mut Vec<u8>) -> u64 {
        let turn = self.turn;
        self.turn += 1;
        let (key, member) = (turn % self.keys, scattered(turn));
        match self.verb {
            Verb::Lpush | Verb::Sadd | Verb::Hset | Verb::Xadd => self.template.append(out, [key, member]),
            Verb::Zadd => self.template.append(out, [key, self.score(member), member]),
            Verb::Rpop | Verb::Spop | Verb::Zpopmin => self.template.append(out, [key]),
            Verb::Lrange | Verb::Hgetall | Verb::Smembers => {
                let key = self.rng.below(self.keys);
                self.template.append(out, [key]);
                return key;
            }
            Verb::Zrank => {
                let member = scattered(self.rng.below(self.elements));
                self.template.append(out, [key, member]);
                return self.score(member);
            }
            Verb::Zrange => {
                let rank = self.rng.below(self.elements - RANGE);
                // Ranks must not begin with zeros.
                let (from, to) = (rank.to_string(), (rank + RANGE - 1).to_string());
                wire::append_command(
                    out,
                    &[b"ZRANGE", &values::key(KEY, key), from.as_bytes(), to.as_bytes()],
                );
                return rank;
            }
            Verb::Zmove => {
                let member = scattered(self.rng.below(self.elements));
                let score = self.rng.below(self.scores);
                self.template.append(out, [key, score, member]);
            }
        }
        key
    }

    fn check(&mut self, _connection: usize, token: u64, reply: Reply<'_>) -> bool {
        match (self.verb, reply) {
            (Verb::Lpush, Reply::Integer(length)) => length > 0,
            (Verb::Sadd | Verb::Hset | Verb::Zadd, Reply::Integer(added)) => added == 1,
            (Verb::Zmove, Reply::Integer(added)) => added == 0,
            (Verb::Rpop | Verb::Spop, Reply::Bulk(element)) => {
                element.len() == KEY_BYTES && element.starts_with(&MEMBER)
            }
            (Verb::Xadd, Reply::Bulk(id)) => id.contains(&b'-'),
            (Verb::Zpopmin, Reply::Whole { count, elements }) => {
                count == 2 && elements.get(5..).is_some_and(|element| element.starts_with(&MEMBER))
            }
            (Verb::Lrange | Verb::Hgetall | Verb::Smembers, Reply::Whole { count, elements }) => {
                self.is_collection(token, count, elements)
            }
            (Verb::Zrank, Reply::Integer(rank)) => u64::try_from(rank) == Ok(token),
            (Verb::Zrange, Reply::Whole { elements, .. }) => self.is_range(token, elements),
            _ => false,
        }
    }
}

/// The same command for one key after the other, answered with the same number.
#[derive(Clone, Debug)]
pub struct Repeated {
    template: Template,
    answer: i64,
    turn: u64,
}

impl Repeated {
    /// `parts` has one key; each reply is `answer`.
    #[must_use]
    pub fn new(parts: &[Part<'_>], answer: i64) -> Self {
        Self { template: Template::new(parts), answer, turn: 0 }
    }
}

impl Workload for Repeated {
    fn encode(&mut self, _connection: usize, out: &mut Vec<u8>) -> u64 {
        self.template.append(out, [self.turn]);
        self.turn += 1;
        self.turn - 1
    }

    fn check(&mut self, _connection: usize, _token: u64, reply: Reply<'_>) -> bool {
        reply == Reply::Integer(self.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_template_is_the_command_with_its_numbers() {
        let mut out = Vec::new();
        Verb::Zadd.template().append(&mut out, [1, 2, 3]);
        let mut expected = Vec::new();
        wire::append_command(
            &mut expected,
            &[b"ZADD", b"col:000000000001", b"0000000000000002", b"mem:000000000003"],
        );
        assert_eq!(String::from_utf8(out), String::from_utf8(expected));
    }

    #[test]
    fn members_differ_and_their_scores_are_a_permutation() {
        let members: BTreeSet<u64> = (0..1_000).map(scattered).collect();
        assert_eq!(members.len(), 1_000);
        let scores: BTreeSet<u64> = members.iter().map(|member| member % 1_000).collect();
        assert!(scores.into_iter().eq(0..1_000));
    }

    #[test]
    fn a_pop_from_an_empty_key_is_wrong() {
        for verb in [Verb::Rpop, Verb::Spop, Verb::Zpopmin] {
            let mut pops = Collections::new(verb, 1, 1, 1);
            assert!(!pops.check(0, 0, Reply::Nil));
            assert!(!pops.check(0, 0, Reply::Whole { count: 0, elements: b"" }));
            assert!(!pops.check(0, 0, Reply::Error(b"WRONGTYPE")));
        }
    }

    #[test]
    fn a_range_of_other_ranks_is_wrong() {
        let reply: Vec<u8> =
            (0..RANGE).flat_map(|rank| format!("$16\r\nmem:{rank:012}\r\n").into_bytes()).collect();
        let mut range = Collections::new(Verb::Zrange, 1, 100, 100);
        let whole = Reply::Whole { count: 10, elements: &reply };
        assert!(range.check(0, 0, whole));
        assert!(!range.check(0, 1, whole));
    }

    #[test]
    fn a_list_must_begin_with_its_newest_element() {
        let mut read = Collections::new(Verb::Lrange, 2, 4, 1);
        let reply = |turns: [u64; 2]| -> Vec<u8> {
            turns
                .iter()
                .flat_map(|turn| format!("$16\r\nmem:{:012}\r\n", scattered(*turn)).into_bytes())
                .collect()
        };
        assert!(read.check(0, 1, Reply::Whole { count: 2, elements: &reply([3, 1]) }));
        assert!(!read.check(0, 1, Reply::Whole { count: 2, elements: &reply([2, 0]) }));
        assert!(!read.check(0, 1, Reply::Whole { count: 1, elements: &reply([3, 1])[..23] }));
    }
}
