//! Words and quotes, as in inline commands and configuration files.

/// Splits a line into words; `None` when a quote is not closed or runs into the next word.
///
/// `"..."` takes `\n \r \t \b \a \xHH` and a backslash before any other byte; `'...'` takes `\'`.
#[must_use]
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, behind) = take_word(rest)?;
        words.push(word);
        rest = behind.trim_ascii_start();
    }
    Some(words)
}

/// The first word and what follows it. A quote may open inside a word, but ends it.
fn take_word(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = line;
    loop {
        match *rest {
            [] => return Some((word, rest)),
            [byte, ..] if byte.is_ascii_whitespace() || byte == 0 => return Some((word, &rest[1..])),
            [quote @ (b'"' | b'\''), ref behind @ ..] => {
                let behind = take_quoted(quote, behind, &mut word)?;
                let is_closed = behind.first().is_none_or(u8::is_ascii_whitespace);
                return is_closed.then_some((word, behind));
            }
            [byte, ref behind @ ..] => {
                word.push(byte);
                rest = behind;
            }
        }
    }
}

/// Appends what is inside a quote; returns what is behind the closing one.
fn take_quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match *rest {
            [] => return None,
            [byte, ref behind @ ..] if byte == quote => return Some(behind),
            [b'\\', b'\'', ref behind @ ..] if quote == b'\'' => {
                word.push(b'\'');
                rest = behind;
            }
            [b'\\', b'x', high, low, ref behind @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(high) << 4 | hex(low));
                rest = behind;
            }
            [b'\\', escaped, ref behind @ ..] if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                rest = behind;
            }
            [byte, ref behind @ ..] => {
                word.push(byte);
                rest = behind;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes() {
        let words = |line: &str| {
            split(line.as_bytes()).map(|words| words.iter().map(|w| w.escape_ascii().to_string()).collect())
        };
        let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(words("  SET a\tb "), list(&["SET", "a", "b"]));
        assert_eq!(words(r#"a "b c" 'd e'"#), list(&["a", "b c", "d e"]));
        assert_eq!(words(r#""\x41\n\q\"" '\'\n'"#), list(&["A\\nq\\\"", "\\'\\\\n"]));
        assert_eq!(words(r#"foo"bar""#), list(&["foobar"]));
        assert_eq!(words(r#""" ''"#), list(&["", ""]));
        for unbalanced in [r#""a"#, "'a", r#""a"b"#, r#""\"#, "'a'b"] {
            assert_eq!(split(unbalanced.as_bytes()), None, "{unbalanced}");
        }
    }
}
