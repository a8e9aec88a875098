//! Lua values to JSON text.

use mlua::{Table, Value};

use super::super::super::host::Host;
use super::super::super::native::{Fail, NativeArgs, Results, text, type_name};
use super::super::{entries, shape};
use super::settings::{Invalid, Settings};

/// `cjson.encode(value)`
pub(super) fn encode(host: &Host, settings: &Settings, args: &NativeArgs<'_>) -> Results {
    let mut encoder = Encoder { host, settings, out: Vec::new() };
    encoder.value(args.value(0), 0)?;
    text(args.lua, &encoder.out)
}

struct Encoder<'a> {
    host: &'a Host,
    settings: &'a Settings,
    out: Vec<u8>,
}

fn refused(kind: &str, reason: &str) -> Fail {
    Fail::Text(format!("Cannot serialise {kind}: {reason}"))
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: i32) -> Result<(), Fail> {
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Boolean(flag) => self.out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Value::Integer(integer) => self.number(*integer as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::String(string) => self.string(&string.as_bytes())?,
            Value::Table(table) => self.table(table, depth + 1)?,
            other => return Err(refused(type_name(other), "type not supported")),
        }
        self.host.check_size(self.out.len())
    }

    fn table(&mut self, table: &Table, depth: i32) -> Result<(), Fail> {
        if depth > self.settings.encode_depth.min(super::DEPTH_MAX) {
            return Err(Fail::Text(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len(table)? {
            Some(len) if len > 0 => self.array(table, len, depth),
            _ => self.object(table, depth),
        }
    }

    /// The largest index of a table whose keys are all positive integers. A sparse one is an object
    /// or an error.
    fn array_len(&self, table: &Table) -> Result<Option<usize>, Fail> {
        let index = |key: &Value| match key {
            Value::Integer(index) if *index >= 1 => Some(*index as usize),
            Value::Number(index) if *index >= 1.0 && index.fract() == 0.0 => Some(*index as usize),
            _ => None,
        };
        let (count, Some(max)) = shape(self.host, table, index)? else { return Ok(None) };
        let ratio = self.settings.sparse_ratio as usize;
        let is_sparse =
            ratio > 0 && max > count.saturating_mul(ratio) && max > self.settings.sparse_safe as usize;
        match (is_sparse, self.settings.sparse_convert) {
            (false, _) => Ok(Some(max)),
            (true, true) => Ok(None),
            (true, false) => Err(refused("table", "excessively sparse array")),
        }
    }

    fn array(&mut self, table: &Table, len: usize, depth: i32) -> Result<(), Fail> {
        self.out.push(b'[');
        for index in 1..=len {
            if index > 1 {
                self.out.push(b',');
            }
            if index % 1024 == 0 {
                self.host.check_stop()?;
            }
            let value: Value = table.raw_get(index)?;
            self.value(&value, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, table: &Table, depth: i32) -> Result<(), Fail> {
        self.out.push(b'{');
        for (position, entry) in entries(table).enumerate() {
            let (key, value) = entry?;
            if position > 0 {
                self.out.push(b',');
            }
            match &key {
                Value::String(key) => self.string(&key.as_bytes())?,
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.value(&key, depth)?;
                    self.out.push(b'"');
                }
                other => return Err(refused(type_name(other), "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), Fail> {
        self.host.check_size(self.out.len() + bytes.len())?;
        self.out.push(b'"');
        for byte in bytes {
            let escape = match byte {
                b'"' => b'"',
                b'\\' => b'\\',
                b'/' => b'/',
                0x08 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                0x0c => b'f',
                b'\r' => b'r',
                0..=0x1f | 0x7f => {
                    self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                    continue;
                }
                plain => {
                    self.out.push(*plain);
                    continue;
                }
            };
            self.out.extend_from_slice(&[b'\\', escape]);
        }
        self.out.push(b'"');
        Ok(())
    }

    fn number(&mut self, number: f64) -> Result<(), Fail> {
        if number.is_finite() {
            self.out.extend_from_slice(general(number, self.settings.precision as usize).as_bytes());
            return Ok(());
        }
        let text: &[u8] = match (self.settings.encode_invalid, number) {
            (Invalid::Refuse, _) => return Err(refused("number", "must not be NaN or Inf")),
            (Invalid::Null, _) => b"null",
            (Invalid::Allow, number) if number.is_nan() => b"nan",
            (Invalid::Allow, number) if number > 0.0 => b"inf",
            (Invalid::Allow, _) => b"-inf",
        };
        self.out.extend_from_slice(text);
        Ok(())
    }
}

/// A finite number as C's `%.{precision}g` prints it.
pub(super) fn general(number: f64, precision: usize) -> String {
    if number == 0.0 {
        return if number.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let scientific = format!("{:.*e}", precision - 1, number);
    let (mantissa, exponent) = scientific.split_once('e').expect("this format has an exponent");
    let exponent: i32 = exponent.parse().expect("written as a number");
    let trim = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    };
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{:.*}", (precision as i32 - 1 - exponent) as usize, number))
}
