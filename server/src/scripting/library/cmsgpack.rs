//! `cmsgpack`: MessagePack, in the dialect of lua-cmsgpack (no binary and no extension types).

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::super::host::Host;
use super::super::native::{Fail, NativeArgs, Results, native, number, text};
use super::{entries, shape};

/// Deeper tables are packed as nil, which also ends circular ones.
const PACK_DEPTH_MAX: usize = 16;

/// Deeper input is refused.
const UNPACK_DEPTH_MAX: usize = 1000;

/// How many values one call may unpack: what Lua's stack takes.
const RESULTS_MAX: usize = 7_000;

fn pack_value(host: &Host, out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), Fail> {
    host.check_size(out.len())?;
    match value {
        Value::Boolean(flag) => out.push(if *flag { 0xc3 } else { 0xc2 }),
        Value::Integer(integer) => pack_integer(out, *integer),
        Value::Number(value) if *value as i64 as f64 == *value && value.abs() < 9.2e18 => {
            pack_integer(out, *value as i64);
        }
        Value::Number(value) => pack_double(out, *value),
        Value::String(value) => {
            let bytes = value.as_bytes();
            pack_header(out, bytes.len(), (0xa0, 32), [Some(0xd9), Some(0xda), Some(0xdb)]);
            out.extend_from_slice(&bytes);
        }
        Value::Table(table) if depth < PACK_DEPTH_MAX => pack_table(host, out, table, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

/// A header whose low bits hold a length below `small.1`, or one of the wider forms (8, 16, 32 bits).
fn pack_header(out: &mut Vec<u8>, len: usize, small: (u8, usize), wide: [Option<u8>; 3]) {
    if len < small.1 {
        out.push(small.0 | len as u8);
    } else if let (Some(tag), Ok(len)) = (wide[0], u8::try_from(len)) {
        out.extend_from_slice(&[tag, len]);
    } else if let (Some(tag), Ok(len)) = (wide[1], u16::try_from(len)) {
        out.push(tag);
        out.extend_from_slice(&len.to_be_bytes());
    } else if let Some(tag) = wide[2] {
        out.push(tag);
        // Four bytes: the interpreter's memory limit keeps every length below that.
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }
}

fn pack_integer(out: &mut Vec<u8>, value: i64) {
    let (tag, width): (u8, usize) = match value {
        -32..=127 => {
            out.push(value as u8);
            return;
        }
        128..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -128..=-33 => (0xd0, 1),
        -0x8000..=-129 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(tag);
    out.extend_from_slice(&value.to_be_bytes()[8 - width..]);
}

/// As a 32-bit float where nothing is lost.
fn pack_double(out: &mut Vec<u8>, value: f64) {
    let narrow = value as f32;
    if f64::from(narrow) == value {
        out.push(0xca);
        out.extend_from_slice(&narrow.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn pack_table(host: &Host, out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<(), Fail> {
    let index = |key: &Value| match key {
        Value::Integer(index) if *index > 0 => Some(*index as usize),
        _ => None,
    };
    // Distinct positive keys whose largest is their number are exactly 1, 2, ... n.
    let (len, largest) = shape(host, table, index)?;
    if largest == Some(len) {
        pack_header(out, len, (0x90, 16), [None, Some(0xdc), Some(0xdd)]);
        for position in 1..=len {
            let value: Value = table.raw_get(position)?;
            pack_value(host, out, &value, depth + 1)?;
        }
        return Ok(());
    }
    pack_header(out, len, (0x80, 16), [None, Some(0xde), Some(0xdf)]);
    for entry in entries(table) {
        let (key, value) = entry?;
        pack_value(host, out, &key, depth + 1)?;
        pack_value(host, out, &value, depth + 1)?;
    }
    Ok(())
}

/// `cmsgpack.pack(...)`
fn pack(host: &Host, args: &NativeArgs<'_>) -> Results {
    if args.len() == 0 {
        return Err("bad argument #0 to 'pack' (MessagePack pack needs input.)".into());
    }
    let mut out = Vec::new();
    for value in args.iter() {
        pack_value(host, &mut out, value, 0)?;
    }
    text(args.lua, &out)
}

const TOO_SHORT: &str = "Missing bytes in input.";
const BAD_FORMAT: &str = "Bad data format in input.";

struct Input<'a> {
    lua: &'a Lua,
    host: &'a Host,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fail> {
        let end = self.at.checked_add(len);
        let bytes = end.and_then(|end| self.bytes.get(self.at..end)).ok_or(Fail::from(TOO_SHORT))?;
        self.at += len;
        Ok(bytes)
    }

    fn unsigned(&mut self, width: usize) -> Result<u64, Fail> {
        Ok(self.take(width)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, width: usize) -> Result<Value, Fail> {
        let unused = 64 - 8 * width;
        Ok(number(((self.unsigned(width)? << unused) as i64 >> unused) as f64))
    }

    fn string(&mut self, len: u64) -> Result<Value, Fail> {
        let bytes = self.take(len as usize)?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fail> {
        if depth > UNPACK_DEPTH_MAX {
            return Err(BAD_FORMAT.into());
        }
        let tag = self.take(1)?[0];
        let width = 1usize << (tag & 3);
        match tag {
            0x00..=0x7f => Ok(number(f64::from(tag))),
            0xe0..=0xff => Ok(number(f64::from(tag as i8))),
            0x80..=0x8f => self.map(u64::from(tag & 0x0f), depth),
            0x90..=0x9f => self.array(u64::from(tag & 0x0f), depth),
            0xa0..=0xbf => self.string(u64::from(tag & 0x1f)),
            0xc0 => Ok(Value::Nil),
            0xc2 => Ok(Value::Boolean(false)),
            0xc3 => Ok(Value::Boolean(true)),
            0xca => Ok(number(f64::from(f32::from_bits(self.unsigned(4)? as u32)))),
            0xcb => Ok(number(f64::from_bits(self.unsigned(8)?))),
            0xcc..=0xcf => Ok(number(self.unsigned(width)? as f64)),
            0xd0..=0xd3 => self.signed(width),
            0xd9 => self.unsigned(1).and_then(|len| self.string(len)),
            0xda => self.unsigned(2).and_then(|len| self.string(len)),
            0xdb => self.unsigned(4).and_then(|len| self.string(len)),
            0xdc => self.unsigned(2).and_then(|len| self.array(len, depth)),
            0xdd => self.unsigned(4).and_then(|len| self.array(len, depth)),
            0xde => self.unsigned(2).and_then(|len| self.map(len, depth)),
            0xdf => self.unsigned(4).and_then(|len| self.map(len, depth)),
            _ => Err(BAD_FORMAT.into()),
        }
    }

    fn array(&mut self, len: u64, depth: usize) -> Result<Value, Fail> {
        let table = self.lua.create_table()?;
        for index in 1..=len {
            self.host.check_stop()?;
            let value = self.value(depth + 1)?;
            table.raw_set(index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: u64, depth: usize) -> Result<Value, Fail> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            self.host.check_stop()?;
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match key {
                Value::Nil => return Err("table index is nil".into()),
                Value::Number(key) if key.is_nan() => return Err("table index is NaN".into()),
                key => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}

/// Unpacks up to `limit` values from `offset`; both 0 unpack everything.
fn unpack_from(host: &Host, args: &NativeArgs<'_>, limit: i64, offset: i64) -> Results {
    let source = args.string(0)?;
    let bytes = source.as_bytes();
    if offset < 0 || limit < 0 {
        let len = bytes.len();
        return Err(Fail::Text(format!(
            "Invalid request to unpack with offset of {offset} and limit of {len}."
        )));
    }
    let Some(rest) = bytes.get(offset as usize..) else {
        let len = bytes.len();
        return Err(Fail::Text(format!("Start offset {offset} greater than input length {len}.")));
    };
    let decode_all = limit == 0 && offset == 0;
    let mut input = Input { lua: args.lua, host, bytes: rest, at: 0 };
    let mut results = Vec::new();
    while input.at < rest.len() && (decode_all || (results.len() as i64) < limit) {
        if results.len() >= RESULTS_MAX {
            return Err(
                "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)"
                    .into(),
            );
        }
        results.push(input.value(0)?);
    }
    if !decode_all {
        let next = if input.at == rest.len() { -1 } else { offset + input.at as i64 };
        results.insert(0, Value::Integer(next));
    }
    Ok(MultiValue::from_vec(results))
}

/// The functions and constants of `cmsgpack`.
pub(in super::super) fn register(lua: &Lua, host: &Rc<Host>, module: &Table) -> mlua::Result<()> {
    let h = Rc::clone(host);
    module.raw_set("pack", native(lua, "pack", move |args| pack(&h, &args))?)?;
    let h = Rc::clone(host);
    module.raw_set("unpack", native(lua, "unpack", move |args| unpack_from(&h, &args, 0, 0))?)?;
    let h = Rc::clone(host);
    let unpack_one = move |args: NativeArgs<'_>| unpack_from(&h, &args, 1, args.integer_or(1, 0)?);
    module.raw_set("unpack_one", native(lua, "unpack_one", unpack_one)?)?;
    let h = Rc::clone(host);
    let unpack_limit =
        move |args: NativeArgs<'_>| unpack_from(&h, &args, args.integer(1)?, args.integer_or(2, 0)?);
    module.raw_set("unpack_limit", native(lua, "unpack_limit", unpack_limit)?)?;
    module.raw_set("_NAME", "cmsgpack")?;
    module.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    module.raw_set("_COPYRIGHT", "Copyright (C) 2012, Redis Ltd.")?;
    module.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")
}
