//! Takes requests apart, in place.
//!
//! A request is a RESP array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or an inline line
//! (`GET k\r\n`). [`Decoder::decode`] looks at the bytes read so far and notes where each
//! argument of each complete request lies; nothing is copied but inline words, whose quotes are
//! resolved. What is incomplete is remembered, so that no byte is looked at twice however the
//! bytes arrive.
//!
//! Hostile input: every length is checked against a limit before it is believed, nothing is
//! allocated for announced but absent data, and the error texts are Redis's. As in Redis, the two
//! bytes behind a bulk string are skipped unseen.

use memchr::{memchr, memchr_iter};

use super::words;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one argument.
    pub bulk_max: usize,
    /// A client that has not yet authenticated may send 10 arguments of 16 KiB.
    pub is_authenticated: bool,
}

/// Arguments of one request.
pub const ARGUMENTS_MAX: i64 = 1024 * 1024;
/// Bytes of an inline request and of a length line.
pub const INLINE_MAX: usize = 64 * 1024;
const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16 * 1024;

/// The client broke the protocol. Its text is the error reply; the connection closes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub String);

fn violation<T>(text: &str) -> Result<T, ProtocolError> {
    Err(ProtocolError(format!("ERR Protocol error: {text}")))
}

/// One decoded request: the bytes its arguments lie in, and where.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub bytes: &'a [u8],
    /// (start, length) of each argument in `bytes`.
    pub ranges: &'a [(u32, u32)],
}

/// Where a complete request is.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Offset of its bytes in the input, or in `inline_words`.
    start: usize,
    first_range: usize,
    range_count: usize,
    is_inline: bool,
}

/// Decodes the requests of one connection. See the module's text.
#[derive(Debug, Default)]
pub struct Decoder {
    requests: Vec<Span>,
    ranges: Vec<(u32, u32)>,
    /// The words of inline requests, with quotes resolved.
    inline_words: Vec<u8>,
    /// Where the incomplete request starts in the input; what lies before it is done.
    start: usize,
    /// The next byte to look at.
    at: usize,
    /// Bytes from `at` on that are known to hold no line end.
    scanned: usize,
    /// The incomplete request's first entry in `ranges`.
    first_range: usize,
    /// Arguments that are still to come; `None` outside of an array.
    arguments_left: Option<usize>,
    /// Length of the argument whose bytes come next.
    bulk_len: Option<usize>,
}

impl Decoder {
    /// Decodes what is complete in `input`, up to `requests_max` requests in this batch.
    ///
    /// `input` must begin with the bytes it had before, minus what [`Decoder::finish_batch`]
    /// said to drop. On an error the requests before it are complete and valid.
    pub fn decode(
        &mut self,
        input: &[u8],
        limits: &Limits,
        requests_max: usize,
    ) -> Result<(), ProtocolError> {
        while self.requests.len() < requests_max && self.at < input.len() {
            let is_complete = match self.arguments_left {
                None if input[self.at] != b'*' => self.inline(input)?,
                None => self.array_header(input, limits)?,
                Some(_) => self.arguments(input, limits)?,
            };
            if !is_complete {
                break;
            }
        }
        Ok(())
    }

    /// Complete requests in this batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// A complete request of this batch.
    #[must_use]
    pub fn request<'a>(&'a self, index: usize, input: &'a [u8]) -> Option<Request<'a>> {
        let span = self.requests.get(index)?;
        let source = if span.is_inline { &self.inline_words[..] } else { input };
        Some(Request {
            bytes: source.get(span.start..)?,
            ranges: self.ranges.get(span.first_range..span.first_range + span.range_count)?,
        })
    }

    /// Forgets the batch; returns how many bytes at the start of the input are done with and must
    /// be dropped before the next call.
    pub fn finish_batch(&mut self) -> usize {
        let done = std::mem::take(&mut self.start);
        self.at -= done;
        self.requests.clear();
        self.inline_words.clear();
        self.ranges.drain(..std::mem::take(&mut self.first_range));
        if self.ranges.is_empty() && self.ranges.capacity() > 4096 {
            self.ranges = Vec::new();
        }
        done
    }

    /// Whether a request has begun and is not complete.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.at > self.start || self.arguments_left.is_some()
    }

    /// How many bytes the input needs, from its start, until the argument that is on its way is
    /// complete. 0 when that is not known.
    #[must_use]
    pub fn bytes_wanted(&self) -> usize {
        self.bulk_len.map_or(0, |len| self.at + len + 2)
    }

    /// An argument count. `true`: something was consumed.
    fn array_header(&mut self, input: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let count = match self.length_line(input) {
            Line::Incomplete if input.len() - self.at > INLINE_MAX => {
                return violation("too big mbulk count string");
            }
            Line::Incomplete => return Ok(false),
            Line::Invalid => return violation("invalid multibulk length"),
            Line::Length(count) if count > ARGUMENTS_MAX => return violation("invalid multibulk length"),
            Line::Length(count) => count,
        };
        if count > UNAUTHENTICATED_ARGUMENTS_MAX && !limits.is_authenticated {
            return violation("unauthenticated multibulk length");
        }
        match usize::try_from(count) {
            Ok(count) if count > 0 => self.arguments_left = Some(count),
            // An empty array asks for nothing and gets no answer.
            _ => self.skip_request(),
        }
        Ok(true)
    }

    /// The arguments of an array. `true`: the request is complete.
    fn arguments(&mut self, input: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let mut left = self.arguments_left.unwrap_or(0);
        while left > 0 {
            let len = match self.bulk_len {
                Some(len) => len,
                None => match self.bulk_header(input, limits)? {
                    Some(len) => len,
                    None => {
                        self.arguments_left = Some(left);
                        return Ok(false);
                    }
                },
            };
            if input.len() - self.at < len + 2 {
                self.bulk_len = Some(len);
                self.arguments_left = Some(left);
                return Ok(false);
            }
            self.bulk_len = None;
            self.ranges.push(range(self.at - self.start, len)?);
            self.at += len + 2;
            left -= 1;
        }
        self.arguments_left = None;
        self.requests.push(Span {
            start: self.start,
            first_range: self.first_range,
            range_count: self.ranges.len() - self.first_range,
            is_inline: false,
        });
        self.next_request();
        Ok(true)
    }

    /// `$len\r\n`; `None` if it is not complete.
    fn bulk_header(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let Some(&first) = input.get(self.at) else { return Ok(None) };
        if first != b'$' {
            // Redis looks at the line only once it is there.
            if memchr(b'\r', &input[self.at..]).is_none() {
                let is_too_long = input.len() - self.at > INLINE_MAX;
                return if is_too_long { violation("too big bulk count string") } else { Ok(None) };
            }
            let shown = char::from(first);
            let shown = if shown.is_ascii_control() { ' ' } else { shown };
            return violation(&format!("expected '$', got '{shown}'"));
        }
        let len = match self.length_line(input) {
            Line::Incomplete if input.len() - self.at > INLINE_MAX => {
                return violation("too big bulk count string");
            }
            Line::Incomplete => return Ok(None),
            Line::Invalid => return violation("invalid bulk length"),
            Line::Length(len) => len,
        };
        let Some(bytes) = usize::try_from(len).ok().filter(|bytes| *bytes <= limits.bulk_max) else {
            return violation("invalid bulk length");
        };
        if len > UNAUTHENTICATED_BULK_MAX && !limits.is_authenticated {
            return violation("unauthenticated bulk length");
        }
        Ok(Some(bytes))
    }

    /// Reads the number behind the type byte at `at`, up to and with its line end.
    fn length_line(&mut self, input: &[u8]) -> Line {
        let digits = &input[self.at + 1..];
        // Nearly always a few digits and their line end.
        let mut value = 0i64;
        for (count, byte) in digits.iter().enumerate().take(11) {
            match byte {
                b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
                b'\r' if count > 0 && (digits[0] != b'0' || count == 1) => {
                    if digits.len() < count + 2 {
                        return Line::Incomplete;
                    }
                    self.at += count + 3;
                    self.scanned = 0;
                    return Line::Length(value);
                }
                _ => break,
            }
        }
        self.odd_length_line(input)
    }

    /// A length line that is incomplete, negative, very long or no number.
    fn odd_length_line(&mut self, input: &[u8]) -> Line {
        let line = &input[self.at + 1..];
        let from = self.scanned.min(line.len());
        let Some(end) = memchr(b'\r', &line[from..]).map(|at| at + from) else {
            self.scanned = line.len();
            return Line::Incomplete;
        };
        if line.len() < end + 2 {
            return Line::Incomplete;
        }
        self.scanned = 0;
        let text = &line[..end];
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let is_canonical = matches!(digits, [b'1'..=b'9', ..]) || text == b"0";
        let number = std::str::from_utf8(text).ok().filter(|_| is_canonical);
        match number.and_then(|text| text.parse().ok()) {
            Some(number) => {
                self.at += end + 3;
                Line::Length(number)
            }
            None => Line::Invalid,
        }
    }

    /// A line of words. `true`: something was consumed.
    fn inline(&mut self, input: &[u8]) -> Result<bool, ProtocolError> {
        let line = &input[self.at..];
        let from = self.scanned.min(line.len());
        let Some(end) = memchr_iter(b'\n', &line[from..]).next().map(|at| at + from) else {
            if line.len() > INLINE_MAX {
                return violation("too big inline request");
            }
            self.scanned = line.len();
            return Ok(false);
        };
        self.scanned = 0;
        self.at += end + 1;
        let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
        let Some(words) = words::split(line) else {
            return violation("unbalanced quotes in request");
        };
        if words.is_empty() {
            self.skip_request();
            return Ok(true);
        }
        let start = self.inline_words.len();
        for word in &words {
            self.ranges.push(range(self.inline_words.len() - start, word.len())?);
            self.inline_words.extend_from_slice(word);
        }
        self.requests.push(Span {
            start,
            first_range: self.first_range,
            range_count: words.len(),
            is_inline: true,
        });
        self.next_request();
        Ok(true)
    }

    /// What was read so far is no request.
    fn skip_request(&mut self) {
        self.ranges.truncate(self.first_range);
        self.next_request();
    }

    fn next_request(&mut self) {
        self.start = self.at;
        self.first_range = self.ranges.len();
    }
}

/// What a length line holds.
enum Line {
    Incomplete,
    Invalid,
    Length(i64),
}

fn range(start: usize, len: usize) -> Result<(u32, u32), ProtocolError> {
    match (u32::try_from(start), u32::try_from(len)) {
        (Ok(start), Ok(len)) => Ok((start, len)),
        _ => violation("request longer than 4 GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { bulk_max: 512 << 20, is_authenticated: true };

    type Requests = Vec<Vec<Vec<u8>>>;

    /// Feeds the input in pieces that end at the given offsets.
    fn decode_in_pieces(input: &[u8], cuts: &[usize], limits: &Limits) -> (Requests, Option<String>) {
        let mut decoder = Decoder::default();
        let (mut buffer, mut out) = (Vec::new(), Vec::new());
        let mut from = 0;
        for cut in cuts.iter().copied().chain([input.len()]) {
            buffer.extend_from_slice(&input[from..cut]);
            from = cut;
            loop {
                let result = decoder.decode(&buffer, limits, 3);
                let count = decoder.len();
                for index in 0..count {
                    let request = decoder.request(index, &buffer).expect("it is complete");
                    let arg =
                        |&(start, len): &(u32, u32)| request.bytes[start as usize..][..len as usize].to_vec();
                    out.push(request.ranges.iter().map(arg).collect());
                }
                buffer.drain(..decoder.finish_batch());
                if let Err(ProtocolError(text)) = result {
                    return (out, Some(text));
                }
                if count < 3 {
                    break;
                }
            }
        }
        (out, None)
    }

    fn decode(input: &[u8]) -> (Requests, Option<String>) {
        decode_in_pieces(input, &[], &LIMITS)
    }

    fn words(list: &[&[&str]]) -> Requests {
        list.iter().map(|args| args.iter().map(|arg| arg.as_bytes().to_vec()).collect()).collect()
    }

    const MIXED: &[u8] =
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nb\x00\r\nPING \"a b\" 'c'\r\n*0\r\n\r\n\n*-1\r\n\
        *1\r\n$0\r\n\r\nGET k\n*2\r\n$4\r\nECHO\r\n$12\r\nhello\r\nworld\r\n";

    fn mixed() -> Requests {
        words(&[
            &["SET", "k", "a\r\nb\0"],
            &["PING", "a b", "c"],
            &[""],
            &["GET", "k"],
            &["ECHO", "hello\r\nworld"],
        ])
    }

    #[test]
    fn requests_come_out_whole_however_the_bytes_arrive() {
        assert_eq!(decode(MIXED), (mixed(), None));
        for cut in 0..=MIXED.len() {
            assert_eq!(decode_in_pieces(MIXED, &[cut], &LIMITS), (mixed(), None), "cut at {cut}");
        }
        let every_byte: Vec<usize> = (1..MIXED.len()).collect();
        assert_eq!(decode_in_pieces(MIXED, &every_byte, &LIMITS), (mixed(), None));
    }

    #[test]
    fn violations_have_the_words_of_redis() {
        let long = |start: &str| [start.as_bytes(), &vec![b'1'; 70_000]].concat();
        for (input, text) in [
            (&b"*3a\r\n"[..], "invalid multibulk length"),
            (b"*\r\n", "invalid multibulk length"),
            (b"*03\r\n", "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*99999999999999999999\r\n", "invalid multibulk length"),
            (b"*1\r\n!3\r\n", "expected '$', got '!'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$x\r\n", "invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "invalid bulk length"),
            (b"*1\r\n$9223372036854775808\r\n", "invalid bulk length"),
            (b"GET \"k\r\n", "unbalanced quotes in request"),
            (&long("*"), "too big mbulk count string"),
            (&long("*1\r\n$"), "too big bulk count string"),
            (&long("x"), "too big inline request"),
        ] {
            let expected = format!("ERR Protocol error: {text}");
            assert_eq!(
                decode(input).1,
                Some(expected.clone()),
                "{}",
                input[..20.min(input.len())].escape_ascii()
            );
            let before = [b"*1\r\n$4\r\nPING\r\n", input].concat();
            assert_eq!(decode(&before), (words(&[&["PING"]]), Some(expected)));
        }
    }

    #[test]
    fn strangers_may_send_little() {
        let limits = Limits { is_authenticated: false, ..LIMITS };
        let decode = |input: &[u8]| decode_in_pieces(input, &[], &limits).1;
        assert_eq!(decode(b"*11\r\n"), Some("ERR Protocol error: unauthenticated multibulk length".into()));
        assert_eq!(
            decode(b"*1\r\n$16385\r\n"),
            Some("ERR Protocol error: unauthenticated bulk length".into())
        );
        assert_eq!(decode(b"*10\r\n$16384\r\n"), None);
    }

    #[test]
    fn an_announced_argument_is_waited_for_without_allocating() {
        let mut decoder = Decoder::default();
        let input = b"*1000000\r\n$500000000\r\nabc";
        decoder.decode(input, &LIMITS, 8).expect("no violation");
        assert!(decoder.is_empty() && decoder.is_midway());
        assert_eq!(decoder.bytes_wanted(), input.len() - 3 + 500_000_000 + 2);
        assert!(decoder.ranges.capacity() < 16);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_alike_in_any_pieces(
            input in proptest::collection::vec(
                prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'2'), Just(b'"'), any::<u8>()],
                0..200,
            ),
            cuts in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut <= input.len()).collect();
            cuts.sort_unstable();
            prop_assert_eq!(decode_in_pieces(&input, &cuts, &LIMITS), decode(&input));
        }
    }
}
