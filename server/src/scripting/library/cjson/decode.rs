//! JSON text to Lua values, with lua-cjson's words for what is wrong and where.

use mlua::{Lua, Value};

use super::super::super::host::Host;
use super::super::super::native::{Fail, NativeArgs, Results, number, one};
use super::settings::Settings;

/// `cjson.decode(text)`
pub(super) fn decode(host: &Host, settings: &Settings, args: &NativeArgs<'_>) -> Results {
    let source = args.string(0)?;
    let bytes = source.as_bytes();
    if bytes.len() >= 2 && bytes[..2].contains(&0) {
        return Err("JSON parser does not support UTF-16 or UTF-32".into());
    }
    let mut decoder = Decoder { lua: args.lua, host, settings, bytes: &bytes, at: 0, depth: 0 };
    let first = decoder.next();
    let value = decoder.value(first)?;
    match decoder.next() {
        Lexeme { token: Token::End, .. } => Ok(one(value)),
        other => Err(unexpected("the end", &other)),
    }
}

enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Colon,
    Comma,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    End,
    Bad(&'static str),
}

struct Lexeme {
    token: Token,
    at: usize,
}

/// The error of a token that may not stand where it does, in the original's names of tokens.
fn unexpected(expected: &str, found: &Lexeme) -> Fail {
    let name = match &found.token {
        Token::ObjectBegin => "T_OBJ_BEGIN",
        Token::ObjectEnd => "T_OBJ_END",
        Token::ArrayBegin => "T_ARR_BEGIN",
        Token::ArrayEnd => "T_ARR_END",
        Token::Colon => "T_COLON",
        Token::Comma => "T_COMMA",
        Token::String(_) => "T_STRING",
        Token::Number(_) => "T_NUMBER",
        Token::Boolean(_) => "T_BOOLEAN",
        Token::Null => "T_NULL",
        Token::End => "T_END",
        Token::Bad(what) => what,
    };
    Fail::Text(format!("Expected {expected} but found {name} at character {}", found.at + 1))
}

struct Decoder<'a> {
    lua: &'a Lua,
    host: &'a Host,
    settings: &'a Settings,
    bytes: &'a [u8],
    at: usize,
    depth: i32,
}

impl Decoder<'_> {
    /// The byte at an offset; 0 past the end, which like a zero byte in the text ends it.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Lexeme {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.byte(at) {
            b'{' => Some(Token::ObjectBegin),
            b'}' => Some(Token::ObjectEnd),
            b'[' => Some(Token::ArrayBegin),
            b']' => Some(Token::ArrayEnd),
            b':' => Some(Token::Colon),
            b',' => Some(Token::Comma),
            _ => None,
        };
        if let Some(token) = single {
            self.at += 1;
            return Lexeme { token, at };
        }
        let token = match self.byte(at) {
            0 => Token::End,
            b'"' => return self.string_lexeme(at),
            b'-' | b'0'..=b'9' if !self.settings.decode_invalid && self.is_invalid_number() => {
                Token::Bad("invalid number")
            }
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        };
        Lexeme { token, at }
    }

    fn word(&mut self) -> Token {
        let rest = &self.bytes[self.at..];
        let words = [("true", Token::Boolean(true)), ("false", Token::Boolean(false)), ("null", Token::Null)];
        for (word, token) in words {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return token;
            }
        }
        let may_be_number = matches!(self.byte(self.at), b'+' | b'i' | b'I' | b'n' | b'N');
        if may_be_number && self.settings.decode_invalid && self.is_invalid_number() {
            return self.number();
        }
        Token::Bad("invalid token")
    }

    /// Whether what follows is a number only to C: signed with `+`, hexadecimal, with leading zeros,
    /// infinite or not a number.
    fn is_invalid_number(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let rest = match rest {
            [b'+', ..] => return true,
            [b'-', rest @ ..] => rest,
            rest => rest,
        };
        match rest {
            [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
            rest => {
                let start = rest.get(..3).unwrap_or_default();
                start.eq_ignore_ascii_case(b"inf") || start.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Token {
        match parse_number(&self.bytes[self.at..]) {
            Some((value, len)) => {
                self.at += len;
                Token::Number(value)
            }
            None => Token::Bad("invalid number"),
        }
    }

    fn string_lexeme(&mut self, start: usize) -> Lexeme {
        let mut out = Vec::new();
        self.at += 1;
        loop {
            match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return Lexeme { token: Token::String(out), at: start };
                }
                0 => return Lexeme { token: Token::Bad("unexpected end of string"), at: self.at },
                b'\\' => {
                    if let Err(what) = self.escape(&mut out) {
                        return Lexeme { token: Token::Bad(what), at: self.at };
                    }
                }
                plain => {
                    out.push(plain);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let byte = match self.byte(self.at + 1) {
            plain @ (b'"' | b'\\' | b'/') => plain,
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            b'u' => {
                let (code, len) = self.code_point().ok_or("invalid unicode escape code")?;
                out.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
                self.at += len;
                return Ok(());
            }
            _ => return Err("invalid escape code"),
        };
        out.push(byte);
        self.at += 2;
        Ok(())
    }

    /// The character of the escape by four hexadecimal digits, or of the pair of them, that starts here, and its
    /// length.
    fn code_point(&self) -> Option<(char, usize)> {
        let high = self.hex4(self.at + 2)?;
        if high & 0xf800 != 0xd800 {
            return Some((char::from_u32(high)?, 6));
        }
        if high & 0xfc00 != 0xd800 || self.byte(self.at + 6) != b'\\' || self.byte(self.at + 7) != b'u' {
            return None;
        }
        let low = self.hex4(self.at + 8)?;
        if low & 0xfc00 != 0xdc00 {
            return None;
        }
        Some((char::from_u32(0x10000 + ((high & 0x3ff) << 10 | low & 0x3ff))?, 12))
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        (at..at + 4).try_fold(0, |sum, at| Some(sum << 4 | char::from(self.byte(at)).to_digit(16)?))
    }

    fn value(&mut self, lexeme: Lexeme) -> Result<Value, Fail> {
        match lexeme.token {
            Token::String(bytes) => Ok(Value::String(self.lua.create_string(bytes)?)),
            Token::Number(value) => Ok(number(value)),
            Token::Boolean(value) => Ok(Value::Boolean(value)),
            Token::Null => Ok(Value::NULL),
            Token::ObjectBegin => self.nested(Self::object),
            Token::ArrayBegin => self.nested(Self::array),
            _ => Err(unexpected("value", &lexeme)),
        }
    }

    fn nested(&mut self, body: fn(&mut Self) -> Result<Value, Fail>) -> Result<Value, Fail> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth.min(super::DEPTH_MAX) {
            let (depth, at) = (self.depth, self.at);
            return Err(Fail::Text(format!(
                "Found too many nested data structures ({depth}) at character {at}"
            )));
        }
        self.host.check_stop()?;
        let value = body(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, Fail> {
        let table = self.lua.create_table()?;
        let mut lexeme = self.next();
        if matches!(lexeme.token, Token::ObjectEnd) {
            return Ok(Value::Table(table));
        }
        loop {
            let Token::String(key) = lexeme.token else {
                return Err(unexpected("object key string", &lexeme));
            };
            let colon = self.next();
            if !matches!(colon.token, Token::Colon) {
                return Err(unexpected("colon", &colon));
            }
            let first = self.next();
            let value = self.value(first)?;
            table.raw_set(self.lua.create_string(key)?, value)?;
            lexeme = self.next();
            match lexeme.token {
                Token::ObjectEnd => return Ok(Value::Table(table)),
                Token::Comma => lexeme = self.next(),
                _ => return Err(unexpected("comma or object end", &lexeme)),
            }
        }
    }

    fn array(&mut self) -> Result<Value, Fail> {
        let table = self.lua.create_table()?;
        let mut lexeme = self.next();
        if matches!(lexeme.token, Token::ArrayEnd) {
            return Ok(Value::Table(table));
        }
        for index in 1.. {
            let value = self.value(lexeme)?;
            table.raw_set(index, value)?;
            lexeme = self.next();
            match lexeme.token {
                Token::ArrayEnd => break,
                Token::Comma => lexeme = self.next(),
                _ => return Err(unexpected("comma or array end", &lexeme)),
            }
        }
        Ok(Value::Table(table))
    }
}

/// The number at the start of `bytes` as C's `strtod` reads it, and how many bytes it took.
fn parse_number(bytes: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let factor = if bytes.first() == Some(&b'-') { -1.0 } else { 1.0 };
    let rest = &bytes[sign..];
    let word =
        |word: &str| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    for (name, value) in [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if word(name) {
            return Some((factor * value, sign + name.len()));
        }
    }
    if word("0x") {
        let digits = rest[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 0 {
            let value = rest[2..2 + digits]
                .iter()
                .fold(0.0, |sum, byte| sum * 16.0 + f64::from(char::from(*byte).to_digit(16).unwrap_or(0)));
            return Some((factor * value, sign + 2 + digits));
        }
    }
    let len = decimal_len(rest)?;
    let text = std::str::from_utf8(&rest[..len]).ok()?;
    Some((factor * text.parse::<f64>().ok()?, sign + len))
}

fn decimal_len(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        bytes.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let whole = digits(0);
    let mut len = whole;
    if bytes.get(len) == Some(&b'.') {
        let fraction = digits(len + 1);
        if whole + fraction == 0 {
            return None;
        }
        len += 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    Some(len)
}
