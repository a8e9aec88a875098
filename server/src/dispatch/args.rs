//! A request's arguments, and the cursor a handler reads them with.
//!
//! Arguments are ranges into the buffer they arrived in: nothing is copied or allocated. All of
//! them are bytes; a number or a keyword is only what a handler asks for at that place.

use std::time::Duration;

use lux_engine::glob::{self, Case};
use lux_engine::value::string::number::LongDouble;
pub use lux_engine::value::string::number::{parse_double as parse_float, parse_int};

use super::reply::CommandError;
use super::reply_errors as errors;

/// The words of one request. Index 0 is the command's name.
#[derive(Clone, Copy)]
pub struct Argv<'a> {
    bytes: &'a [u8],
    /// (start, length) of each argument in `bytes`.
    ranges: &'a [(u32, u32)],
}

impl<'a> Argv<'a> {
    /// Arguments that lie in `bytes`. Every range must lie inside it.
    #[must_use]
    pub fn new(bytes: &'a [u8], ranges: &'a [(u32, u32)]) -> Self {
        Argv { bytes, ranges }
    }

    #[must_use]
    pub fn len(self) -> usize {
        self.ranges.len()
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.ranges.is_empty()
    }

    #[must_use]
    pub fn get(self, index: usize) -> Option<&'a [u8]> {
        let (start, len) = *self.ranges.get(index)?;
        self.bytes.get(start as usize..)?.get(..len as usize)
    }

    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        self.ranges.iter().map(move |&(start, len)| &self.bytes[start as usize..][..len as usize])
    }

    /// The arguments from `first` to `end` (exclusive), renumbered from 0.
    #[must_use]
    pub fn slice(self, first: usize, end: usize) -> Argv<'a> {
        Argv { bytes: self.bytes, ranges: self.ranges.get(first..end).unwrap_or_default() }
    }
}

/// A cursor over the arguments behind the command's words.
///
/// Reading past the end is `ERR syntax error`, as a missing option value is in Redis; the number
/// of mandatory arguments was checked against the spec before the handler runs.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    argv: Argv<'a>,
    next: usize,
}

impl<'a> Args<'a> {
    /// Starts behind the first `skip` words (1, or 2 for a subcommand).
    #[must_use]
    pub fn new(argv: Argv<'a>, skip: usize) -> Self {
        Args { argv, next: skip }
    }

    /// All words of the request.
    #[must_use]
    pub fn argv(&self) -> Argv<'a> {
        self.argv
    }

    /// Index in [`Args::argv`] of the next argument.
    #[must_use]
    pub fn position(&self) -> usize {
        self.next
    }

    /// How many arguments are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.argv.len().saturating_sub(self.next)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The next argument, without taking it.
    #[must_use]
    pub fn peek(&self) -> Option<&'a [u8]> {
        self.argv.get(self.next)
    }

    /// Takes the next argument as a key.
    pub fn key(&mut self) -> Result<&'a [u8], CommandError> {
        self.bytes()
    }

    /// Takes the next argument.
    pub fn bytes(&mut self) -> Result<&'a [u8], CommandError> {
        self.next().ok_or(errors::SYNTAX)
    }

    /// Takes the next argument as a signed 64-bit integer.
    pub fn int(&mut self) -> Result<i64, CommandError> {
        parse_int(self.bytes()?).ok_or(errors::NOT_AN_INTEGER)
    }

    /// Takes the next argument as an integer of 32 bits.
    pub fn small_int(&mut self) -> Result<i64, CommandError> {
        self.int().and_then(|n| if i32::try_from(n).is_ok() { Ok(n) } else { Err(errors::BEYOND_32_BITS) })
    }

    /// Takes the next argument as an integer inside `[low, high]`; outside it the error is the
    /// same as for no integer at all.
    pub fn int_within(&mut self, low: i64, high: i64) -> Result<i64, CommandError> {
        self.int().and_then(|n| if (low..=high).contains(&n) { Ok(n) } else { Err(errors::NOT_AN_INTEGER) })
    }

    /// Takes the next argument as a floating-point number (infinities are numbers, NaN is not).
    pub fn float(&mut self) -> Result<f64, CommandError> {
        parse_float(self.bytes()?).ok_or(errors::NOT_A_FLOAT)
    }

    /// Takes the next argument as a time-out in seconds with decimals. `None`: for ever.
    pub fn timeout(&mut self, now_ms: u64) -> Result<Option<Duration>, CommandError> {
        let text = self.bytes()?;
        let seconds = LongDouble::parse(text).ok_or(errors::TIMEOUT_NOT_A_FLOAT)?.magnitude();
        let sign = if text.starts_with(b"-") { -1.0 } else { 1.0 };
        let millis = (seconds * 1000.0 * sign).ceil();
        if millis > i64::MAX as f64 {
            return Err(errors::TIMEOUT_OUT_OF_RANGE);
        }
        timeout_of(millis as i64, now_ms)
    }

    /// Takes the next argument as a time-out in milliseconds. `None`: for ever.
    pub fn timeout_ms(&mut self, now_ms: u64) -> Result<Option<Duration>, CommandError> {
        timeout_of(parse_int(self.bytes()?).ok_or(errors::TIMEOUT_NOT_AN_INTEGER)?, now_ms)
    }

    /// Takes the next argument as a cursor of a scan.
    pub fn cursor(&mut self) -> Result<u64, CommandError> {
        parse_cursor(self.bytes()?).ok_or(errors::INVALID_CURSOR)
    }

    /// Takes the next argument as an integer whose negation is one too.
    pub fn symmetric_int(&mut self) -> Result<i64, CommandError> {
        self.int().and_then(|n| if n == i64::MIN { Err(errors::BELOW_LONG_MAX) } else { Ok(n) })
    }

    /// Takes the next argument if it is this keyword in any case. `word` is in upper case.
    pub fn keyword(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        self.next += usize::from(found);
        found
    }

    /// Takes the next argument if it is one of these keywords in any case; its index in `words`.
    pub fn one_of(&mut self, words: &[&str]) -> Option<usize> {
        words.iter().position(|word| self.keyword(word))
    }

    /// The arguments that are left, as a request of their own.
    #[must_use]
    pub fn rest(&self) -> Argv<'a> {
        self.argv.slice(self.next.min(self.argv.len()), self.argv.len())
    }

    /// `ERR syntax error` unless everything was taken.
    pub fn finish(&self) -> Result<(), CommandError> {
        if self.is_empty() { Ok(()) } else { Err(errors::SYNTAX) }
    }
}

/// Takes the arguments in order.
impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let arg = self.argv.get(self.next)?;
        self.next += 1;
        Some(arg)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining(), Some(self.remaining()))
    }
}

/// Its end must be a point in time as well.
fn timeout_of(millis: i64, now_ms: u64) -> Result<Option<Duration>, CommandError> {
    let millis = u64::try_from(millis).map_err(|_| errors::TIMEOUT_NEGATIVE)?;
    if millis > (i64::MAX as u64).saturating_sub(now_ms) {
        return Err(errors::TIMEOUT_OUT_OF_RANGE);
    }
    Ok((millis > 0).then(|| Duration::from_millis(millis)))
}

/// Reads a cursor as leniently as C's `strtoul` does: a sign is fine, no digits at all are 0.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_prefix('-').unwrap_or(text) {
        "" => text.is_empty().then_some(0),
        digits => {
            let magnitude: u64 = digits.parse().ok()?;
            Some(if text.starts_with('-') { magnitude.wrapping_neg() } else { magnitude })
        }
    }
}

/// How many elements a step of a scan is to look at, if nothing is said.
const SCAN_COUNT: u64 = 10;

/// The options of HSCAN, SSCAN and ZSCAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    /// How many elements to look at; at least 1.
    pub count: u64,
    /// NOVALUES or NOSCORES: only what is scanned by.
    pub names_only: bool,
}

/// What a scan walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    Hash,
    Set,
    SortedSet,
}

impl<'a> ScanOptions<'a> {
    /// Reads all arguments that are left.
    pub fn parse(mut args: Args<'a>, scanned: Scanned) -> Result<Self, CommandError> {
        let mut options = ScanOptions { pattern: None, count: SCAN_COUNT, names_only: false };
        while !args.is_empty() {
            match args.one_of(&["COUNT", "MATCH", "NOVALUES", "NOSCORES"]) {
                Some(0) => {
                    let count = args.int()?;
                    options.count = u64::try_from(count).ok().filter(|n| *n > 0).ok_or(errors::SYNTAX)?;
                }
                Some(1) => options.pattern = Some(args.bytes()?),
                Some(2) if scanned != Scanned::Hash => return Err(errors::SCAN_NOVALUES),
                Some(3) if scanned != Scanned::SortedSet => return Err(errors::SCAN_NOSCORES),
                Some(_) => options.names_only = true,
                None => return Err(errors::SYNTAX),
            }
        }
        Ok(options)
    }

    /// Whether an element of that name is shown.
    #[must_use]
    pub fn shows(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| pattern == b"*" || glob::is_match(pattern, name, Case::Sensitive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_args<T>(words: &[&str], run: impl FnOnce(Args<'_>) -> T) -> T {
        let bytes = words.concat().into_bytes();
        let mut start = 0;
        let ranges: Vec<(u32, u32)> = words
            .iter()
            .map(|word| {
                let range = (start, word.len() as u32);
                start += word.len() as u32;
                range
            })
            .collect();
        run(Args::new(Argv::new(&bytes, &ranges), 1))
    }

    #[test]
    fn keywords_match_in_any_case_and_only_when_asked_for() {
        with_args(&["SET", "k", "ex", "Ex", "10"], |mut args| {
            assert_eq!(args.key().ok(), Some(&b"k"[..]));
            assert_eq!(args.bytes().ok(), Some(&b"ex"[..]), "a value that is a keyword is a value");
            assert!(!args.keyword("PX"));
            assert_eq!(args.one_of(&["NX", "EX"]), Some(1));
            assert_eq!(args.int().ok(), Some(10));
            assert!(args.finish().is_ok());
            assert!(args.bytes().is_err());
        });
    }

    #[test]
    fn time_outs_are_rounded_up_and_bounded() {
        let read = |text| with_args(&["BLPOP", text], |mut args| args.timeout(1_700_000_000_000));
        let millis = |text| read(text).expect(text).map(|timeout| timeout.as_millis());
        assert_eq!(millis("0"), None);
        assert_eq!(millis("-0.0001"), None, "less than a millisecond below zero is zero");
        assert_eq!(millis("1e-400"), Some(1));
        assert_eq!(millis("0.0001"), Some(1));
        assert_eq!(millis("0.001"), Some(1));
        assert_eq!(millis("1.5"), Some(1500));
        assert_eq!(millis("0x10"), Some(16_000));
        for (text, error) in [
            ("x", errors::TIMEOUT_NOT_A_FLOAT),
            ("nan", errors::TIMEOUT_NOT_A_FLOAT),
            ("-1", errors::TIMEOUT_NEGATIVE),
            ("-inf", errors::TIMEOUT_NEGATIVE),
            ("inf", errors::TIMEOUT_OUT_OF_RANGE),
            ("1e400", errors::TIMEOUT_OUT_OF_RANGE),
            ("0x7FFFFFFFFFFFFF", errors::TIMEOUT_OUT_OF_RANGE),
            ("9223372036854775.8", errors::TIMEOUT_OUT_OF_RANGE),
        ] {
            assert_eq!(read(text).map_err(|error| error.to_string()), Err(error.to_string()), "{text}");
        }
    }

    #[test]
    fn leftovers_are_a_syntax_error() {
        with_args(&["GET", "k", "extra"], |mut args| {
            let _ = args.key();
            assert_eq!(args.remaining(), 1);
            assert!(args.finish().is_err());
            assert_eq!(args.rest().iter().collect::<Vec<_>>(), [b"extra"]);
        });
    }
}
