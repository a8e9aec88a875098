//! Expected replies: parsing, matching, and writing real replies in the same notation.
//!
//! A [`Pattern`] is what an indented line of a script means. [`render`] is its inverse for exact replies:
//! `parse(render(reply))` matches `reply` and nothing else, which the tests below hold on to.

use std::collections::HashMap;
use std::fmt::Write;

use crate::client::Reply;

/// Values captured by `let`, by name.
pub type Variables = HashMap<String, Vec<u8>>;

/// Lines longer than this are broken, one element each.
const LINE_WIDTH: usize = 110;

/// What a reply must look like.
#[derive(Clone, Debug)]
pub enum Pattern {
    Exact(Reply),
    Sequence(Kind, Vec<Pattern>),
    Map(Vec<(Pattern, Pattern)>),
    Any,
    AnyInt,
    Range(i64, i64),
    AnyBulk,
    AnyString,
    Prefix(Vec<u8>),
    Contains(Vec<u8>),
    Length(usize),
    Float(f64),
    ErrorCode(Vec<u8>),
    AnyArray,
    AnyMap,
    Unordered(Vec<Pattern>),
    UnorderedPairs(Vec<(Pattern, Pattern)>),
    Includes(Vec<Pattern>),
    OneOf(Vec<Pattern>),
    Variable(String),
    NoReply,
    Blocks,
    Closed,
}

/// The bracket a sequence came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Array,
    Set,
    Push,
}

impl Pattern {
    /// Parses the joined lines of an expectation. Patterns are allowed only after a leading `~`.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let text = text.trim();
        match text {
            "" => return Err("a command without an expected reply".to_string()),
            "(no reply)" => return Ok(Pattern::NoReply),
            "(blocks)" => return Ok(Pattern::Blocks),
            "(closed)" => return Ok(Pattern::Closed),
            _ => {}
        }
        if let Some(error) = text.strip_prefix('-')
            && !error.starts_with(|first: char| first == '"' || first.is_ascii_digit())
        {
            return Ok(Pattern::Exact(Reply::Error(error.as_bytes().to_vec())));
        }
        let (body, loose) = text.strip_prefix('~').map_or((text, false), |body| (body, true));
        let mut parser = Parser { text: body.as_bytes(), at: 0, loose };
        let pattern = parser.value()?;
        parser.skip_space();
        if parser.at < parser.text.len() {
            return Err(format!("unexpected text {:?}", &body[parser.at..]));
        }
        Ok(pattern)
    }

    /// True when the expectation holds patterns, so that no server's reply may replace it.
    pub fn is_loose(text: &str) -> bool {
        let text = text.trim();
        text.starts_with('~') || ["(no reply)", "(blocks)", "(closed)"].contains(&text)
    }

    /// True when the expectation is an `<unordered>` still to be filled in from a real server.
    pub fn is_blank_unordered(text: &str) -> bool {
        text.trim().strip_prefix('~').is_some_and(|pattern| pattern.trim() == "<unordered>")
    }

    pub fn matches(&self, reply: &Reply, variables: &Variables) -> bool {
        let all = |patterns: &[Pattern], items: &[Reply]| {
            patterns.len() == items.len()
                && patterns.iter().zip(items).all(|(pattern, item)| pattern.matches(item, variables))
        };
        match self {
            Pattern::Exact(expected) => expected == reply,
            Pattern::Any => true,
            Pattern::AnyInt => matches!(reply, Reply::Int(_)),
            Pattern::Range(low, high) => {
                reply.integer().is_some_and(|number| (*low..=*high).contains(&number))
            }
            Pattern::AnyBulk => matches!(reply, Reply::Bulk(_)),
            Pattern::AnyString => reply.bytes().is_some(),
            Pattern::Prefix(prefix) => text_of(reply).is_some_and(|text| text.starts_with(prefix)),
            Pattern::Contains(part) => text_of(reply).is_some_and(|text| contains(text, part)),
            Pattern::Length(length) => reply.bytes().is_some_and(|text| text.len() == *length),
            Pattern::Float(expected) => {
                let text = match reply {
                    Reply::Double(text) => Some(text.as_slice()),
                    other => other.bytes(),
                };
                text.and_then(|text| std::str::from_utf8(text).ok()?.parse::<f64>().ok())
                    .is_some_and(|number| (number - expected).abs() <= expected.abs() * 1e-9)
            }
            Pattern::ErrorCode(code) => match reply {
                Reply::Error(text) => text.split(|&byte| byte == b' ').next() == Some(code),
                _ => false,
            },
            Pattern::AnyArray => matches!(reply, Reply::Array(_)),
            Pattern::AnyMap => matches!(reply, Reply::Map(_)),
            Pattern::Sequence(kind, patterns) => match (kind, reply) {
                (Kind::Array, Reply::Array(items))
                | (Kind::Set, Reply::Set(items))
                | (Kind::Push, Reply::Push(items)) => all(patterns, items),
                _ => false,
            },
            Pattern::Map(patterns) => match reply {
                Reply::Map(pairs) => {
                    patterns.len() == pairs.len()
                        && patterns.iter().zip(pairs).all(|((key, value), (real_key, real_value))| {
                            key.matches(real_key, variables) && value.matches(real_value, variables)
                        })
                }
                _ => false,
            },
            Pattern::Unordered(patterns) => match reply {
                Reply::Array(items) | Reply::Set(items) => {
                    patterns.len() == items.len() && can_assign(patterns, items, variables)
                }
                _ => false,
            },
            Pattern::UnorderedPairs(patterns) => match reply {
                Reply::Map(pairs) => {
                    let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key, value)).collect();
                    can_assign_pairs(patterns, pairs, variables)
                }
                Reply::Array(items) if items.len() == 2 * patterns.len() => {
                    let pairs: Vec<_> = items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect();
                    can_assign_pairs(patterns, pairs, variables)
                }
                _ => false,
            },
            Pattern::Includes(patterns) => {
                let items: Vec<&Reply> = match reply {
                    Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => items.iter().collect(),
                    Reply::Map(pairs) => pairs.iter().map(|(key, _)| key).collect(),
                    _ => return false,
                };
                patterns.iter().all(|pattern| items.iter().any(|item| pattern.matches(item, variables)))
            }
            Pattern::OneOf(patterns) => patterns.iter().any(|pattern| pattern.matches(reply, variables)),
            Pattern::Variable(name) => {
                let expected = variables.get(name).map(Vec::as_slice);
                match reply {
                    Reply::Int(number) => expected == Some(number.to_string().as_bytes()),
                    other => other.bytes().is_some() && other.bytes() == expected,
                }
            }
            Pattern::NoReply | Pattern::Blocks | Pattern::Closed => false,
        }
    }
}

/// The text that `<prefix>` and `<contains>` look at: strings and errors.
fn text_of(reply: &Reply) -> Option<&[u8]> {
    match reply {
        Reply::Error(text) => Some(text),
        other => other.bytes(),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// Whether each pattern can take an item of its own. First fit is enough for the patterns scripts use.
fn can_assign(patterns: &[Pattern], items: &[Reply], variables: &Variables) -> bool {
    let mut free: Vec<&Reply> = items.iter().collect();
    patterns.iter().all(|pattern| {
        let found = free.iter().position(|item| pattern.matches(item, variables));
        found.map(|index| free.swap_remove(index)).is_some()
    })
}

/// The same for the entries of a map.
fn can_assign_pairs(
    patterns: &[(Pattern, Pattern)],
    mut free: Vec<(&Reply, &Reply)>,
    variables: &Variables,
) -> bool {
    patterns.len() == free.len()
        && patterns.iter().all(|(key, value)| {
            let found = free.iter().position(|(real_key, real_value)| {
                key.matches(real_key, variables) && value.matches(real_value, variables)
            });
            found.map(|index| free.swap_remove(index)).is_some()
        })
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    loose: bool,
}

impl Parser<'_> {
    fn value(&mut self) -> Result<Pattern, String> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let first = *rest.first().ok_or("a reply ends early")?;
        match first {
            b'"' => Ok(exact(Reply::Bulk(self.quoted()?))),
            b'[' => Ok(Pattern::Sequence(Kind::Array, self.items(b'[', b']')?)),
            b'{' => self.map(),
            b'>' => {
                self.at += 1;
                Ok(Pattern::Sequence(Kind::Push, self.items(b'[', b']')?))
            }
            b'#' if rest.starts_with(b"#{") => {
                self.at += 1;
                Ok(Pattern::Sequence(Kind::Set, self.items(b'{', b'}')?))
            }
            b'#' => match self.word().as_str() {
                "#t" => Ok(exact(Reply::Bool(true))),
                "#f" => Ok(exact(Reply::Bool(false))),
                other => Err(format!("unknown word {other:?}")),
            },
            b'(' => self.null_or_big_number(),
            b'+' | b'-' if rest.get(1) == Some(&b'"') => {
                self.at += 1;
                let text = self.quoted()?;
                Ok(exact(if first == b'+' { Reply::Simple(text) } else { Reply::Error(text) }))
            }
            b'+' => Ok(exact(Reply::Simple(self.word().as_bytes()[1..].to_vec()))),
            b',' => {
                self.at += 1;
                Ok(exact(Reply::Double(self.word().into_bytes())))
            }
            b'=' => {
                let format = rest.get(1..4).ok_or("a verbatim string without a format")?.to_vec();
                self.at += 5;
                Ok(exact(Reply::Verbatim(format, self.quoted()?)))
            }
            b'<' if self.loose => self.pattern(),
            b'%' if self.loose => {
                let length = rest.iter().position(|&byte| byte == b'}').ok_or("%{ without }")? + 1;
                self.at += length;
                let word = String::from_utf8_lossy(&rest[..length]);
                let text = super::file::expand_repeat(&word)?.ok_or("expected %{count*text}")?;
                Ok(exact(Reply::Bulk(text)))
            }
            b'$' if self.loose => {
                self.at += 1;
                Ok(Pattern::Variable(self.word()))
            }
            _ => {
                let word = self.word();
                let number = word.parse().map_err(|_| format!("cannot read {word:?} as a reply"))?;
                Ok(exact(Reply::Int(number)))
            }
        }
    }

    fn null_or_big_number(&mut self) -> Result<Pattern, String> {
        for (text, reply) in
            [("(nil array)", Reply::NilArray), ("(nil)", Reply::NilBulk), ("(null)", Reply::Null)]
        {
            if self.text[self.at..].starts_with(text.as_bytes()) {
                self.at += text.len();
                return Ok(exact(reply));
            }
        }
        self.at += 1;
        Ok(exact(Reply::BigNumber(self.word().into_bytes())))
    }

    fn pattern(&mut self) -> Result<Pattern, String> {
        self.at += 1;
        let start = self.at;
        while !matches!(self.text.get(self.at), None | Some(b'>' | b' ')) {
            self.at += 1;
        }
        let name = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        let pattern = match name.as_str() {
            "prefix" | "contains" => {
                self.skip_space();
                let text = self.quoted()?;
                if name == "prefix" { Pattern::Prefix(text) } else { Pattern::Contains(text) }
            }
            "length" | "error" | "float" => {
                self.skip_space();
                let start = self.at;
                while !matches!(self.text.get(self.at), None | Some(b'>')) {
                    self.at += 1;
                }
                let argument = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
                match name.as_str() {
                    "error" => Pattern::ErrorCode(argument.into_bytes()),
                    "float" => Pattern::Float(argument.parse().map_err(|_| "a bad <float>")?),
                    _ => Pattern::Length(argument.parse().map_err(|_| "a bad <length>")?),
                }
            }
            "any" => Pattern::Any,
            "int" => Pattern::AnyInt,
            "bulk" => Pattern::AnyBulk,
            "string" => Pattern::AnyString,
            "array" => Pattern::AnyArray,
            "map" => Pattern::AnyMap,
            "unordered" | "includes" | "or" => Pattern::Any,
            range => {
                let (low, high) =
                    range.split_once("..").ok_or_else(|| format!("unknown pattern <{range}>"))?;
                let number = |text: &str| text.parse().map_err(|_| format!("a bad range <{range}>"));
                Pattern::Range(number(low)?, number(high)?)
            }
        };
        self.expect(b'>')?;
        Ok(match name.as_str() {
            "unordered" if self.text.get(self.at) == Some(&b'{') => Pattern::UnorderedPairs(self.pairs()?),
            "unordered" => Pattern::Unordered(self.items(b'[', b']')?),
            "includes" => Pattern::Includes(self.items(b'[', b']')?),
            "or" => Pattern::OneOf(self.items(b'[', b']')?),
            _ => pattern,
        })
    }

    fn items(&mut self, open: u8, close: u8) -> Result<Vec<Pattern>, String> {
        self.expect(open)?;
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.text.get(self.at) == Some(&close) {
                self.at += 1;
                return Ok(items);
            }
            match self.range_of_texts()? {
                Some(texts) => items.extend(texts.into_iter().map(|text| exact(Reply::Bulk(text)))),
                None => items.push(self.value()?),
            }
            self.skip_space();
            if self.text.get(self.at) == Some(&b',') {
                self.at += 1;
            } else if self.text.get(self.at) != Some(&close) {
                return Err(format!("expected ',' or {:?} in a sequence", char::from(close)));
            }
        }
    }

    /// Reads `%{from..to*text}`, which stands for several bulk strings, if that is what comes next.
    fn range_of_texts(&mut self) -> Result<Option<Vec<Vec<u8>>>, String> {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|&byte| byte == b'}');
        let (true, true, Some(end)) = (self.loose, rest.starts_with(b"%{"), end) else { return Ok(None) };
        let texts = super::file::expand_range(&String::from_utf8_lossy(&rest[..=end]))?;
        self.at += if texts.is_some() { end + 1 } else { 0 };
        Ok(texts)
    }

    fn map(&mut self) -> Result<Pattern, String> {
        Ok(Pattern::Map(self.pairs()?))
    }

    fn pairs(&mut self) -> Result<Vec<(Pattern, Pattern)>, String> {
        self.expect(b'{')?;
        let mut pairs = Vec::new();
        loop {
            self.skip_space();
            if self.text.get(self.at) == Some(&b'}') {
                self.at += 1;
                return Ok(pairs);
            }
            let key = self.value()?;
            self.skip_space();
            self.expect(b':')?;
            pairs.push((key, self.value()?));
            self.skip_space();
            if self.text.get(self.at) == Some(&b',') {
                self.at += 1;
            }
        }
    }

    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let (bytes, used) = super::file::read_quoted(&self.text[self.at..])?;
        self.at += used;
        Ok(bytes)
    }

    fn word(&mut self) -> String {
        let start = self.at;
        while self.text.get(self.at).is_some_and(|byte| !matches!(byte, b',' | b']' | b'}' | b' ' | b':'))
            || self.at == start
        {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[start..self.at]).into_owned()
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.text.get(self.at) == Some(&byte) {
            self.at += 1;
            return Ok(());
        }
        Err(format!(
            "expected {:?} at {:?}",
            char::from(byte),
            String::from_utf8_lossy(&self.text[self.at..])
        ))
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }
}

fn exact(reply: Reply) -> Pattern {
    Pattern::Exact(reply)
}

/// Writes a reply as the lines of an expectation, without indentation.
pub fn render(reply: &Reply) -> Vec<String> {
    if let Reply::Error(text) = reply
        && is_plain_line(text)
    {
        return vec![format!("-{}", String::from_utf8_lossy(text))];
    }
    let line = inline(reply);
    if line.len() <= LINE_WIDTH {
        return vec![line];
    }
    let (open, close, items) = match reply {
        Reply::Array(items) => ("[", "]", items.iter().map(inline).collect()),
        Reply::Set(items) => ("#{", "}", items.iter().map(inline).collect()),
        Reply::Push(items) => (">[", "]", items.iter().map(inline).collect()),
        Reply::Map(pairs) => {
            let pair = |(key, value): &(Reply, Reply)| format!("{}: {}", inline(key), inline(value));
            ("{", "}", pairs.iter().map(pair).collect::<Vec<_>>())
        }
        _ => return vec![line],
    };
    let mut lines = vec![open.to_string()];
    lines.extend(items.into_iter().map(|item| format!("  {item},")));
    lines.push(close.to_string());
    lines
}

/// Writes a reply whose order says nothing as an `<unordered>` pattern, in sorted order.
///
/// A RESP2 array stays a list of elements even where it stands for pairs.
pub fn render_unordered(reply: &Reply) -> Vec<String> {
    let (mut items, open, close): (Vec<String>, _, _) = match reply {
        Reply::Array(items) | Reply::Set(items) => (items.iter().map(inline).collect(), '[', ']'),
        Reply::Map(pairs) => {
            let pair = |(key, value): &(Reply, Reply)| format!("{}: {}", inline(key), inline(value));
            (pairs.iter().map(pair).collect(), '{', '}')
        }
        _ => return render(reply),
    };
    items.sort();
    let line = format!("~ <unordered>{open}{}{close}", items.join(", "));
    if line.len() <= LINE_WIDTH {
        return vec![line];
    }
    let mut lines = vec![format!("~ <unordered>{open}")];
    lines.extend(items.into_iter().map(|item| format!("  {item},")));
    lines.push(close.to_string());
    lines
}

/// Writes a reply on one line.
pub fn inline(reply: &Reply) -> String {
    let list = |items: &[Reply]| items.iter().map(inline).collect::<Vec<_>>().join(", ");
    match reply {
        Reply::Simple(text) if is_word(text) => format!("+{}", String::from_utf8_lossy(text)),
        Reply::Simple(text) => format!("+{}", quote(text)),
        Reply::Error(text) => format!("-{}", quote(text)),
        Reply::Int(number) => number.to_string(),
        Reply::Bulk(bytes) => quote(bytes),
        Reply::NilBulk => "(nil)".to_string(),
        Reply::NilArray => "(nil array)".to_string(),
        Reply::Null => "(null)".to_string(),
        Reply::Array(items) => format!("[{}]", list(items)),
        Reply::Set(items) => format!("#{{{}}}", list(items)),
        Reply::Push(items) => format!(">[{}]", list(items)),
        Reply::Map(pairs) => {
            let pairs: Vec<_> =
                pairs.iter().map(|(key, value)| format!("{}: {}", inline(key), inline(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Reply::Double(text) => format!(",{}", String::from_utf8_lossy(text)),
        Reply::Bool(true) => "#t".to_string(),
        Reply::Bool(false) => "#f".to_string(),
        Reply::BigNumber(text) => format!("({}", String::from_utf8_lossy(text)),
        Reply::Verbatim(format, text) => format!("={}:{}", String::from_utf8_lossy(format), quote(text)),
    }
}

/// Quotes bytes so that only printable ASCII remains.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for &byte in bytes {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

/// An error text that can stand on its line as it is.
fn is_plain_line(text: &[u8]) -> bool {
    text.iter().all(|byte| (0x20..=0x7e).contains(byte))
        && text.first().is_some_and(|&byte| byte != b'"' && byte != b' ')
        && text.last() != Some(&b' ')
}

fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_reply_matches_itself() {
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let replies = [
            Reply::Simple(b"OK".to_vec()),
            Reply::Simple(b"Background saving started".to_vec()),
            Reply::Error(b"ERR syntax error, near ']'".to_vec()),
            Reply::Int(i64::MIN),
            Reply::Bulk(vec![0, 255, b'"', b'\\', b'\r', b'\n', b' ']),
            Reply::NilBulk,
            Reply::NilArray,
            Reply::Null,
            Reply::Array(vec![]),
            Reply::Array(vec![
                bulk("a, ]"),
                Reply::Array(vec![Reply::Int(-1), Reply::NilBulk]),
                Reply::Error(b"ERR x".to_vec()),
            ]),
            Reply::Map(vec![(bulk("k: v"), Reply::Double(b"1.5".to_vec())), (bulk("t"), Reply::Bool(true))]),
            Reply::Set(vec![Reply::BigNumber(b"123".to_vec()), Reply::Bool(false)]),
            Reply::Push(vec![bulk("invalidate"), Reply::Null]),
            Reply::Verbatim(b"txt".to_vec(), b"some\ntext".to_vec()),
            Reply::Array((0..60).map(|number| bulk(&format!("element {number}"))).collect()),
        ];
        let variables = Variables::new();
        for (index, reply) in replies.iter().enumerate() {
            let text = render(reply).join("\n");
            let pattern = Pattern::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            for (other_index, other) in replies.iter().enumerate() {
                assert_eq!(pattern.matches(other, &variables), index == other_index, "{text} and {other:?}");
            }
        }
    }

    #[test]
    fn a_blank_unordered_is_filled_in_with_a_pattern_for_any_order() {
        assert!(Pattern::is_blank_unordered("  ~ <unordered>"));
        assert!(!Pattern::is_blank_unordered("  ~ <unordered>[1]"));
        let long = |number: i64| Reply::Bulk(format!("element {number}").into_bytes());
        let map = |range: std::ops::Range<i64>| {
            Reply::Map(range.map(|number| (long(number), Reply::Int(number))).collect())
        };
        for reply in
            [Reply::Array((0..60).map(long).collect()), Reply::Set(vec![long(2), long(1)]), map(0..30)]
        {
            let text = render_unordered(&reply).join("\n");
            let pattern = Pattern::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let mut turned = reply.clone();
            match &mut turned {
                Reply::Array(items) | Reply::Set(items) => items.reverse(),
                Reply::Map(pairs) => pairs.reverse(),
                _ => {}
            }
            assert!(pattern.matches(&turned, &Variables::new()), "{text}");
        }
    }

    #[test]
    fn patterns_match_what_they_say() {
        let variables = Variables::from([("id".to_string(), b"7".to_vec())]);
        let yes = |text: &str, reply: &Reply| {
            let pattern = Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            pattern.matches(reply, &variables)
        };
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        assert!(yes("~ <9..10>", &Reply::Int(10)));
        assert!(!yes("~ <9..10>", &Reply::Int(11)));
        assert!(yes("~ <-2..-1>", &Reply::Int(-1)));
        assert!(yes("~ <prefix \"ab\">", &bulk("abc")));
        assert!(!yes("~ <contains \"x\">", &bulk("abc")));
        assert!(yes("~ <unordered>[\"b\", \"a\"]", &Reply::Array(vec![bulk("a"), bulk("b")])));
        assert!(!yes("~ <unordered>[\"b\", \"b\"]", &Reply::Array(vec![bulk("a"), bulk("b")])));
        let flat = Reply::Array(vec![bulk("k"), Reply::Int(1), bulk("l"), Reply::Int(2)]);
        let map = Reply::Map(vec![(bulk("k"), Reply::Int(1)), (bulk("l"), Reply::Int(2))]);
        for reply in [&flat, &map] {
            assert!(yes("~ <unordered>{\"l\": <1..2>, \"k\": 1}", reply));
            assert!(!yes("~ <unordered>{\"l\": 1, \"k\": 2}", reply));
            assert!(!yes("~ <unordered>{\"k\": 1}", reply));
        }
        assert!(yes("~ [%{1..2*k#}, \"l\"]", &Reply::Array(vec![bulk("k1"), bulk("k2"), bulk("l")])));
        assert!(yes("~ <includes>[\"b\"]", &Reply::Array(vec![bulk("a"), bulk("b")])));
        assert!(yes("~ [<int>, $id]", &Reply::Array(vec![Reply::Int(3), Reply::Int(7)])));
        assert!(yes("~ <error WRONGTYPE>", &Reply::Error(b"WRONGTYPE Operation".to_vec())));
        assert!(yes("~ %{3*ab}", &bulk("ababab")));
        assert!(yes("~ <or>[1, (nil)]", &Reply::NilBulk));
        assert!(Pattern::parse("<int>").is_err(), "patterns need the ~");
    }
}
