//! The client's side: reads replies and writes requests. For tests and tools.

/// One reply, or one value inside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`.
    Null,
    Array(Vec<Frame>),
    Map(Vec<(Frame, Frame)>),
    Set(Vec<Frame>),
    Push(Vec<Frame>),
    Double(f64),
    Boolean(bool),
    BigNumber(Vec<u8>),
    /// The three-letter format and the text.
    Verbatim(Vec<u8>, Vec<u8>),
    /// Metadata and the value it belongs to.
    Attribute(Vec<(Frame, Frame)>, Box<Frame>),
}

/// The bytes are no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub offset: usize,
    pub reason: &'static str,
}

/// How deep containers may nest.
const DEPTH_MAX: usize = 32;

/// Reads one reply from the start of `input`: the reply and its length, or `None` if it is not
/// complete yet.
pub fn parse(input: &[u8]) -> Result<Option<(Frame, usize)>, Malformed> {
    let mut parser = Parser { input, at: 0 };
    match parser.frame(0) {
        Ok(frame) => Ok(Some((frame, parser.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed(reason)) => Err(Malformed { offset: parser.at, reason }),
    }
}

/// Writes a request.
pub fn write_request(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

enum Stop {
    Incomplete,
    Malformed(&'static str),
}

struct Parser<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn frame(&mut self, depth: usize) -> Result<Frame, Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::Malformed("nested too deeply"));
        }
        let line = self.line()?;
        let Some((kind, text)) = line.split_first() else { return Err(Stop::Malformed("empty line")) };
        match kind {
            b'+' => Ok(Frame::Simple(text.to_vec())),
            b'-' => Ok(Frame::Error(text.to_vec())),
            b':' => number(text).map(Frame::Integer),
            b'_' => Ok(Frame::Null),
            b'#' => match text {
                b"t" => Ok(Frame::Boolean(true)),
                b"f" => Ok(Frame::Boolean(false)),
                _ => Err(Stop::Malformed("no boolean")),
            },
            b',' => double(text).map(Frame::Double),
            b'(' => Ok(Frame::BigNumber(text.to_vec())),
            b'$' | b'!' | b'=' => self.text(*kind, text),
            b'*' | b'~' | b'>' | b'%' | b'|' => self.container(*kind, text, depth),
            _ => Err(Stop::Malformed("unknown type")),
        }
    }

    fn text(&mut self, kind: u8, len: &[u8]) -> Result<Frame, Stop> {
        let Ok(len) = usize::try_from(number(len)?) else { return Ok(Frame::Null) };
        let end = self.at.checked_add(len).ok_or(Stop::Malformed("too long"))?;
        let bytes = self.input.get(self.at..end).ok_or(Stop::Incomplete)?;
        match self.input.get(end..end + 2) {
            None => return Err(Stop::Incomplete),
            Some(b"\r\n") => self.at = end + 2,
            Some(_) => return Err(Stop::Malformed("no line end behind a string")),
        }
        match (kind, bytes) {
            (b'$', bytes) => Ok(Frame::Bulk(bytes.to_vec())),
            (b'!', bytes) => Ok(Frame::Error(bytes.to_vec())),
            (_, [a, b, c, b':', text @ ..]) => Ok(Frame::Verbatim(vec![*a, *b, *c], text.to_vec())),
            _ => Err(Stop::Malformed("no format in a verbatim string")),
        }
    }

    fn container(&mut self, kind: u8, len: &[u8], depth: usize) -> Result<Frame, Stop> {
        let Ok(len) = usize::try_from(number(len)?) else { return Ok(Frame::Null) };
        match kind {
            b'%' => self.pairs(len, depth).map(Frame::Map),
            b'|' => {
                let metadata = self.pairs(len, depth)?;
                Ok(Frame::Attribute(metadata, Box::new(self.frame(depth + 1)?)))
            }
            _ => {
                let items = (0..len).map(|_| self.frame(depth + 1)).collect::<Result<_, _>>()?;
                Ok(match kind {
                    b'*' => Frame::Array(items),
                    b'~' => Frame::Set(items),
                    _ => Frame::Push(items),
                })
            }
        }
    }

    fn pairs(&mut self, len: usize, depth: usize) -> Result<Vec<(Frame, Frame)>, Stop> {
        (0..len).map(|_| Ok((self.frame(depth + 1)?, self.frame(depth + 1)?))).collect()
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let end = memchr::memchr(b'\n', rest).ok_or(Stop::Incomplete)?;
        let line = rest[..end].strip_suffix(b"\r").ok_or(Stop::Malformed("a line ends without CR"))?;
        self.at += end + 1;
        Ok(line)
    }
}

fn number(text: &[u8]) -> Result<i64, Stop> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Stop::Malformed("no number"))
}

fn double(text: &[u8]) -> Result<f64, Stop> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Stop::Malformed("no double"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encoder::Encoder;

    #[test]
    fn what_the_encoder_writes_is_read_back() {
        let mut encoder = Encoder::default();
        encoder.set_resp3(true);
        encoder.array(10);
        encoder.integer(-7);
        encoder.bulk(b"a\r\nb");
        encoder.null();
        encoder.map(1);
        encoder.simple("k");
        encoder.double(0.5);
        encoder.set(1);
        encoder.boolean(false);
        encoder.push(0);
        encoder.big_number("123");
        encoder.verbatim("mkd", b"*x*");
        encoder.error("ERR no");
        encoder.attribute(1);
        encoder.simple("ttl");
        encoder.integer(1);
        encoder.bulk(b"");
        let bytes = encoder.bytes();
        let (frame, len) = parse(bytes).expect("well formed").expect("complete");
        assert_eq!(len, bytes.len());
        let Frame::Array(items) = frame else { panic!("an array was written") };
        assert_eq!(items[1], Frame::Bulk(b"a\r\nb".to_vec()));
        assert_eq!(items[3], Frame::Map(vec![(Frame::Simple(b"k".to_vec()), Frame::Double(0.5))]));
        assert_eq!(items[7], Frame::Verbatim(b"mkd".to_vec(), b"*x*".to_vec()));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn hostile_replies_are_errors() {
        for bytes in ["?\r\n", ":x\r\n", "\r\n", "$1\r\nabc\r\n", "=1\r\nx\r\n", &"*1\r\n".repeat(100)] {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
        assert_eq!(parse(b"*1000000000\r\n"), Ok(None));
    }
}
