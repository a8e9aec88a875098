//! Lua 5.1's string patterns, with bounded recursion and a way to stop.
//!
//! The matcher of the C library cannot be interrupted, takes exponential time on some patterns and
//! recurses once per pattern item, so one script could hang the server or overflow its stack. This
//! one asks `interrupt` every [`STEPS_BETWEEN_CHECKS`] steps and gives up beyond [`DEPTH_MAX`].

/// How many captures a pattern may have.
const CAPTURES_MAX: usize = 32;

/// How deep the matcher may recurse.
const DEPTH_MAX: usize = 200;

/// How many steps pass between two looks at whether the script shall end.
const STEPS_BETWEEN_CHECKS: u32 = 1 << 16;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum PatternError {
    /// The pattern is wrong; the text is Lua's.
    Malformed(String),
    /// `interrupt` said to stop.
    Stopped,
}

fn malformed<T>(text: &str) -> Result<T, PatternError> {
    Err(PatternError::Malformed(text.to_owned()))
}

/// What a capture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// `(`...`)`: the bytes from `.0` to `.1`.
    Text(usize, usize),
    /// `()`: the position, from 1.
    Position(usize),
}

#[derive(Clone, Copy)]
enum Group {
    Open(usize),
    Closed(usize, usize),
    Position(usize),
}

/// A pattern being matched against a text.
pub struct Matcher<'a> {
    text: &'a [u8],
    pattern: &'a [u8],
    groups: [Group; CAPTURES_MAX],
    level: usize,
    depth: usize,
    steps: u32,
    interrupt: &'a dyn Fn() -> bool,
}

type Found = Result<Option<usize>, PatternError>;

impl<'a> Matcher<'a> {
    /// As in Lua 5.1 a pattern ends at its first zero byte.
    pub fn new(text: &'a [u8], pattern: &'a [u8], interrupt: &'a dyn Fn() -> bool) -> Self {
        let end = pattern.iter().position(|byte| *byte == 0).unwrap_or(pattern.len());
        let pattern = pattern.get(..end).unwrap_or_default();
        Matcher {
            text,
            pattern,
            groups: [Group::Open(0); CAPTURES_MAX],
            level: 0,
            depth: 0,
            steps: 0,
            interrupt,
        }
    }

    /// The first match that starts at `from` or later, or only at `from` when `anchored`: where it
    /// starts and ends.
    pub fn search(&mut self, from: usize, anchored: bool) -> Result<Option<(usize, usize)>, PatternError> {
        let last = if anchored { from } else { self.text.len() };
        for start in from..=last {
            self.level = 0;
            self.depth = 0;
            if let Some(end) = self.run(start, 0)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    /// How many captures the last match has.
    pub fn captures(&self) -> usize {
        self.level
    }

    /// The capture `index` of the last match, which started and ended at `whole`. Without captures
    /// the first is the whole match.
    pub fn capture(&self, index: usize, whole: (usize, usize)) -> Result<Capture, PatternError> {
        if index >= self.level {
            if index == 0 {
                return Ok(Capture::Text(whole.0, whole.1));
            }
            return malformed("invalid capture index");
        }
        match self.groups.get(index) {
            Some(Group::Closed(start, end)) => Ok(Capture::Text(*start, *end)),
            Some(Group::Position(at)) => Ok(Capture::Position(at + 1)),
            _ => malformed("unfinished capture"),
        }
    }

    fn at(&self, p: usize) -> Option<u8> {
        self.pattern.get(p).copied()
    }

    fn step(&mut self) -> Result<(), PatternError> {
        self.steps += 1;
        if self.steps < STEPS_BETWEEN_CHECKS {
            return Ok(());
        }
        self.steps = 0;
        if (self.interrupt)() { Err(PatternError::Stopped) } else { Ok(()) }
    }

    /// Matches the pattern from `p` at `s`; returns where the match ends.
    fn run(&mut self, s: usize, p: usize) -> Found {
        if self.depth >= DEPTH_MAX {
            return malformed("pattern too complex");
        }
        self.depth += 1;
        let found = self.items(s, p);
        self.depth -= 1;
        found
    }

    fn items(&mut self, mut s: usize, mut p: usize) -> Found {
        loop {
            self.step()?;
            let Some(item) = self.at(p) else { return Ok(Some(s)) };
            match (item, self.at(p + 1)) {
                (b'(', Some(b')')) => return self.open(s, p + 2, Group::Position(s)),
                (b'(', _) => return self.open(s, p + 1, Group::Open(s)),
                (b')', _) => return self.close(s, p + 1),
                (b'$', None) => return Ok((s == self.text.len()).then_some(s)),
                (b'%', Some(b'b')) => match self.balanced(s, p + 2)? {
                    Some(end) => (s, p) = (end, p + 4),
                    None => return Ok(None),
                },
                (b'%', Some(b'f')) => match self.frontier(s, p + 2)? {
                    Some(next) => p = next,
                    None => return Ok(None),
                },
                (b'%', Some(digit @ b'0'..=b'9')) => match self.back_reference(s, digit)? {
                    Some(end) => (s, p) = (end, p + 2),
                    None => return Ok(None),
                },
                _ => {
                    let next = self.class_end(p)?;
                    let fits = self.single(s, p, next);
                    match self.at(next) {
                        Some(b'?') => {
                            if fits && let Some(end) = self.run(s + 1, next + 1)? {
                                return Ok(Some(end));
                            }
                            p = next + 1;
                        }
                        Some(b'*') => return self.longest(s, p, next),
                        Some(b'+') => return if fits { self.longest(s + 1, p, next) } else { Ok(None) },
                        Some(b'-') => return self.shortest(s, p, next),
                        _ if fits => (s, p) = (s + 1, next),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    fn open(&mut self, s: usize, p: usize, group: Group) -> Found {
        let Some(slot) = self.groups.get_mut(self.level) else { return malformed("too many captures") };
        *slot = group;
        self.level += 1;
        let found = self.run(s, p)?;
        if found.is_none() {
            self.level -= 1;
        }
        Ok(found)
    }

    fn close(&mut self, s: usize, p: usize) -> Found {
        let last = (0..self.level).rev().find(|level| matches!(self.groups[*level], Group::Open(_)));
        let Some(level) = last else { return malformed("invalid pattern capture") };
        let Group::Open(start) = self.groups[level] else { return malformed("invalid pattern capture") };
        self.groups[level] = Group::Closed(start, s);
        let found = self.run(s, p)?;
        if found.is_none() {
            self.groups[level] = Group::Open(start);
        }
        Ok(found)
    }

    fn balanced(&mut self, s: usize, p: usize) -> Found {
        let (Some(open), Some(close)) = (self.at(p), self.at(p + 1)) else {
            return malformed("unbalanced pattern");
        };
        if self.text.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut nested = 1;
        for at in s + 1..self.text.len() {
            self.step()?;
            if self.text[at] == close {
                nested -= 1;
                if nested == 0 {
                    return Ok(Some(at + 1));
                }
            } else if self.text[at] == open {
                nested += 1;
            }
        }
        Ok(None)
    }

    fn frontier(&mut self, s: usize, p: usize) -> Found {
        if self.at(p) != Some(b'[') {
            return malformed("missing '[' after '%f' in pattern");
        }
        let next = self.class_end(p)?;
        let before = if s == 0 { 0 } else { self.text[s - 1] };
        let here = self.text.get(s).copied().unwrap_or(0);
        let is_frontier = !self.set(before, p, next - 1) && self.set(here, p, next - 1);
        Ok(is_frontier.then_some(next))
    }

    fn back_reference(&mut self, s: usize, digit: u8) -> Found {
        let index = usize::from(digit.wrapping_sub(b'1'));
        let Some(Group::Closed(start, end)) = self.groups.get(index).filter(|_| index < self.level).copied()
        else {
            return malformed("invalid capture index");
        };
        let found = self.text[s..].starts_with(&self.text[start..end]);
        Ok(found.then_some(s + end - start))
    }

    /// Where the single-character class that starts at `p` ends.
    fn class_end(&self, p: usize) -> Result<usize, PatternError> {
        match self.at(p) {
            Some(b'%') if self.at(p + 1).is_none() => malformed("malformed pattern (ends with '%')"),
            Some(b'%') => Ok(p + 2),
            Some(b'[') => {
                let mut p = p + 1;
                if self.at(p) == Some(b'^') {
                    p += 1;
                }
                loop {
                    // The first character of a set is never its end.
                    let Some(byte) = self.at(p) else { return malformed("malformed pattern (missing ']')") };
                    p += 1;
                    if byte == b'%' && self.at(p).is_some() {
                        p += 1;
                    }
                    if self.at(p) == Some(b']') {
                        return Ok(p + 1);
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    fn single(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(byte) = self.text.get(s).copied() else { return false };
        match self.at(p) {
            Some(b'.') => true,
            Some(b'%') => self.at(p + 1).is_some_and(|class| is_in_class(byte, class)),
            Some(b'[') => self.set(byte, p, end - 1),
            Some(literal) => literal == byte,
            None => false,
        }
    }

    /// Whether `byte` is in the set between the `[` at `p` and the `]` at `end`.
    fn set(&self, byte: u8, mut p: usize, end: usize) -> bool {
        let is_negated = self.at(p + 1) == Some(b'^');
        if is_negated {
            p += 1;
        }
        p += 1;
        while p < end {
            match (self.at(p), self.at(p + 1)) {
                (Some(b'%'), Some(class)) => {
                    if is_in_class(byte, class) {
                        return !is_negated;
                    }
                    p += 2;
                }
                (Some(low), Some(b'-')) if p + 2 < end => {
                    if self.at(p + 2).is_some_and(|high| low <= byte && byte <= high) {
                        return !is_negated;
                    }
                    p += 3;
                }
                (Some(literal), _) => {
                    if literal == byte {
                        return !is_negated;
                    }
                    p += 1;
                }
                (None, _) => break,
            }
        }
        is_negated
    }

    fn longest(&mut self, s: usize, p: usize, next: usize) -> Found {
        let mut end = s;
        while self.single(end, p, next) {
            self.step()?;
            end += 1;
        }
        loop {
            if let Some(found) = self.run(end, next + 1)? {
                return Ok(Some(found));
            }
            if end == s {
                return Ok(None);
            }
            end -= 1;
        }
    }

    fn shortest(&mut self, mut s: usize, p: usize, next: usize) -> Found {
        loop {
            if let Some(found) = self.run(s, next + 1)? {
                return Ok(Some(found));
            }
            if !self.single(s, p, next) {
                return Ok(None);
            }
            s += 1;
        }
    }
}

/// Whether `byte` belongs to the class `%class`; an upper-case letter is its complement.
fn is_in_class(byte: u8, class: u8) -> bool {
    let is_member = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_member != class.is_ascii_uppercase()
}
