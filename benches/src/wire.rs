//! RESP2 as the load generator needs it: commands out, replies in, no allocation on the way.
//!
//! The parser borrows from the connection's buffer and answers `None` while a reply is incomplete.
//! It knows the five RESP2 types; an array is handed out as a count, with the elements to follow as
//! replies, or whole.

use crate::{Failure, Result};

/// One reply, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    Status(&'a [u8]),
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Nil,
    /// The header of an array; its elements are the next replies.
    Array(usize),
    /// An array with its elements' bytes; only [`parse_whole`] gives it.
    Whole {
        count: usize,
        elements: &'a [u8],
    },
}

/// Appends `args` as a RESP array of bulk strings.
pub fn append_command(out: &mut Vec<u8>, args: &[&[u8]]) {
    append_header(out, b'*', args.len());
    for arg in args {
        append_header(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn append_header(out: &mut Vec<u8>, mark: u8, number: usize) {
    out.push(mark);
    out.extend_from_slice(number.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Parses one reply and returns it with the bytes it took, `None` while more bytes are needed.
///
/// # Errors
/// The bytes are not RESP2.
pub fn parse(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>> {
    let Some(line_end) = find_line_end(input) else { return Ok(None) };
    let line = &input[1..line_end];
    let next = line_end + 2;
    let reply = match input[0] {
        b'+' => Reply::Status(line),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(parse_integer(line)?),
        b'*' => match parse_integer(line)? {
            -1 => Reply::Nil,
            count => Reply::Array(to_length(count)?),
        },
        b'$' => match parse_integer(line)? {
            -1 => Reply::Nil,
            length => {
                let length = to_length(length)?;
                let end = next + length;
                if input.len() < end + 2 {
                    return Ok(None);
                }
                return Ok(Some((Reply::Bulk(&input[next..end]), end + 2)));
            }
        },
        other => return Err(Failure::new(format!("not a RESP2 reply: it starts with byte {other}"))),
    };
    Ok(Some((reply, next)))
}

/// Parses one reply, an array together with its elements; `None` while more bytes are needed.
///
/// # Errors
/// The bytes are not RESP2.
pub fn parse_whole(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>> {
    let Some((reply, begin)) = parse(input)? else { return Ok(None) };
    let Reply::Array(count) = reply else { return Ok(Some((reply, begin))) };
    let (mut end, mut left) = (begin, count);
    while left > 0 {
        let Some((element, taken)) = parse(&input[end..])? else { return Ok(None) };
        end += taken;
        left -= 1;
        if let Reply::Array(nested) = element {
            left += nested;
        }
    }
    Ok(Some((Reply::Whole { count, elements: &input[begin..end] }, end)))
}

/// Position of the `\r` that ends the first line. Lines are a few bytes long, so a plain loop wins.
fn find_line_end(input: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at + 1 < input.len() {
        if input[at] == b'\r' && input[at + 1] == b'\n' {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn parse_integer(digits: &[u8]) -> Result<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, digits),
    };
    let mut number = 0_i64;
    for digit in digits {
        let value = i64::from(digit.wrapping_sub(b'0'));
        if value > 9 {
            return Err(Failure::new("a RESP length or integer is not a number"));
        }
        number = number.wrapping_mul(10).wrapping_add(value);
    }
    if digits.is_empty() {
        return Err(Failure::new("a RESP length or integer is empty"));
    }
    Ok(if negative { -number } else { number })
}

fn to_length(number: i64) -> Result<usize> {
    usize::try_from(number).map_err(|_| Failure::new("a RESP length is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_an_array_of_bulks() {
        let mut out = Vec::new();
        append_command(&mut out, &[b"GET", b"key\r\n"]);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$5\r\nkey\r\n\r\n");
    }

    #[test]
    fn every_type_is_parsed_and_says_its_length() {
        let cases: [(&[u8], Reply<'_>, usize); 7] = [
            (b"+OK\r\n+", Reply::Status(b"OK"), 5),
            (b"-ERR no\r\n", Reply::Error(b"ERR no"), 9),
            (b":-12\r\n", Reply::Integer(-12), 6),
            (b"$3\r\na\r\n\r\n", Reply::Bulk(b"a\r\n"), 9),
            (b"$-1\r\n", Reply::Nil, 5),
            (b"*-1\r\n", Reply::Nil, 5),
            (b"*2\r\n:1\r\n", Reply::Array(2), 4),
        ];
        for (input, reply, taken) in cases {
            if input.starts_with(b"$3") {
                assert_eq!(parse(b"$3\r\na\r\n\r\n").unwrap(), Some((reply, taken)));
            } else {
                assert_eq!(parse(input).unwrap(), Some((reply, taken)));
            }
        }
    }

    #[test]
    fn every_cut_of_a_reply_is_incomplete() {
        let whole = b"$5\r\nhello\r\n";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_whole_array_holds_nested_ones_and_every_cut_of_it_is_incomplete() {
        let input = b"*2\r\n*2\r\n:1\r\n$1\r\na\r\n:3\r\n";
        let whole = Reply::Whole { count: 2, elements: &input[4..] };
        assert_eq!(parse_whole(input).unwrap(), Some((whole, input.len())));
        for cut in 0..input.len() {
            assert_eq!(parse_whole(&input[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn noise_is_an_error() {
        assert!(parse(b"hello\r\n").is_err());
        assert!(parse(b"$x\r\n").is_err());
        assert!(parse(b"$-7\r\n").is_err());
        assert!(parse(b":\r\n").is_err());
    }
}
