//! Replies on their way into Lua and out of it.
//!
//! A command that a script calls writes into a [`Recorded`] reply, which becomes a Lua value by the
//! rules of the protocol the script chose with `setresp`. What the script returns goes the other way
//! into the client's sink.

use mlua::{Lua, LuaString, Table, Value};

use crate::dispatch::reply::{Mark, ReplySink};
use crate::resp::double;

/// Deeper replies end in an error, as do circular tables.
const DEPTH_MAX: usize = 1000;

/// What an element too deep is replaced with.
const TOO_DEEP: &str = "ERR reached lua stack limit";

#[derive(Debug)]
enum Event {
    Integer(i64),
    Bulk(usize),
    Simple(usize),
    Error(usize),
    Null,
    Array(usize),
    Map(usize),
    Set(usize),
    Attribute(usize),
    Double(f64),
    Number(usize),
    Boolean(bool),
    BigNumber(usize),
    /// The text and its format after it.
    Verbatim(usize, usize),
}

/// A reply kept as the list of what was written.
#[derive(Default)]
pub struct Recorded {
    events: Vec<Event>,
    /// The bytes of all events, in their order.
    bytes: Vec<u8>,
    is_resp3: bool,
}

impl Recorded {
    /// Forgets the reply; the next follows the protocol of the script.
    pub fn reset(&mut self, is_resp3: bool) {
        self.events.clear();
        self.bytes.clear();
        // One large reply is not worth its memory for all later scripts.
        self.bytes.shrink_to(1 << 16);
        self.events.shrink_to(1 << 12);
        self.is_resp3 = is_resp3;
    }

    fn keep(&mut self, bytes: &[u8]) -> usize {
        self.bytes.extend_from_slice(bytes);
        bytes.len()
    }

    /// The error, when the whole reply is one.
    pub fn error(&self) -> Option<&[u8]> {
        match self.events.first() {
            Some(Event::Error(len)) => self.bytes.get(..*len),
            _ => None,
        }
    }

    /// The reply as a Lua value. A command that wrote none replies nil.
    pub fn to_lua(&self, lua: &Lua) -> mlua::Result<Value> {
        Cursor { lua, reply: self, event: 0, byte: 0 }.value(0)
    }
}

impl ReplySink for Recorded {
    fn integer(&mut self, value: i64) {
        self.events.push(Event::Integer(value));
    }
    fn bulk(&mut self, bytes: &[u8]) {
        let len = self.keep(bytes);
        self.events.push(Event::Bulk(len));
    }
    fn simple(&mut self, text: &str) {
        let len = self.keep(text.as_bytes());
        self.events.push(Event::Simple(len));
    }
    fn error(&mut self, text: &str) {
        let len = self.keep(text.as_bytes());
        self.events.push(Event::Error(len));
    }
    fn null(&mut self) {
        self.events.push(Event::Null);
    }
    fn null_array(&mut self) {
        self.events.push(Event::Null);
    }
    fn array(&mut self, len: usize) {
        self.events.push(Event::Array(len));
    }
    fn map(&mut self, len: usize) {
        self.events.push(Event::Map(len));
    }
    fn set(&mut self, len: usize) {
        self.events.push(Event::Set(len));
    }
    fn push(&mut self, len: usize) {
        self.events.push(Event::Array(len));
    }
    fn attribute(&mut self, len: usize) {
        self.events.push(Event::Attribute(len));
    }
    fn double(&mut self, value: f64) {
        self.events.push(Event::Double(value));
    }
    fn number(&mut self, text: &str) {
        let len = self.keep(text.as_bytes());
        self.events.push(Event::Number(len));
    }
    fn boolean(&mut self, value: bool) {
        self.events.push(Event::Boolean(value));
    }
    fn big_number(&mut self, digits: &str) {
        let len = self.keep(digits.as_bytes());
        self.events.push(Event::BigNumber(len));
    }
    fn verbatim(&mut self, format: &str, text: &[u8]) {
        let (text, format) = (self.keep(text), self.keep(format.as_bytes()));
        self.events.push(Event::Verbatim(text, format));
    }
    fn is_resp3(&self) -> bool {
        self.is_resp3
    }
    fn set_resp3(&mut self, is_resp3: bool) {
        self.is_resp3 = is_resp3;
    }
    fn mark(&self) -> Mark {
        Mark(self.events.len())
    }
    fn rewind(&mut self, mark: Mark) {
        // The bytes stay behind the ones still named: the cursor walks both from the front, so they
        // must go as well.
        let dropped: usize =
            self.events.drain(mark.0.min(self.events.len())..).map(|event| event.bytes()).sum();
        self.bytes.truncate(self.bytes.len() - dropped);
    }
}

impl Event {
    fn bytes(&self) -> usize {
        match self {
            Event::Bulk(len) | Event::Simple(len) | Event::Error(len) => *len,
            Event::Number(len) | Event::BigNumber(len) => *len,
            Event::Verbatim(text, format) => text + format,
            _ => 0,
        }
    }
}

/// Walks a recorded reply.
struct Cursor<'a> {
    lua: &'a Lua,
    reply: &'a Recorded,
    event: usize,
    byte: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let bytes = self.reply.bytes.get(self.byte..self.byte + len).unwrap_or_default();
        self.byte += len;
        bytes
    }

    fn string(&mut self, len: usize) -> mlua::Result<Value> {
        let bytes = self.take(len);
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    /// A table whose one field tells what kind of reply it is.
    fn tagged(&self, tag: &str, value: Value) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set(tag, value)?;
        Ok(Value::Table(table))
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        let Some(event) = self.reply.events.get(self.event) else { return Ok(Value::Nil) };
        self.event += 1;
        if depth > DEPTH_MAX {
            return Err(mlua::Error::runtime("reply is nested too deep"));
        }
        let is_resp3 = self.reply.is_resp3;
        match *event {
            Event::Integer(value) => Ok(Value::Number(value as f64)),
            Event::Bulk(len) => self.string(len),
            Event::Simple(len) => {
                let text = self.string(len)?;
                self.tagged("ok", text)
            }
            Event::Error(len) => Ok(Value::Table(command_error(self.lua, self.take(len))?)),
            Event::Null if is_resp3 => Ok(Value::Nil),
            Event::Null => Ok(Value::Boolean(false)),
            Event::Array(len) => self.array(len, depth),
            Event::Map(len) if is_resp3 => self.map(len, depth),
            Event::Map(len) => self.array(len.saturating_mul(2), depth),
            Event::Set(len) if is_resp3 => self.set(len, depth),
            Event::Set(len) => self.array(len, depth),
            Event::Attribute(len) => {
                for _ in 0..len.saturating_mul(2) {
                    self.value(depth + 1)?;
                }
                self.value(depth + 1)
            }
            Event::Double(value) if is_resp3 => self.tagged("double", Value::Number(value)),
            Event::Double(value) => {
                Ok(Value::String(self.lua.create_string(double::format(value).as_str())?))
            }
            Event::Number(len) if is_resp3 => {
                let text = std::str::from_utf8(self.take(len)).unwrap_or_default();
                self.tagged("double", Value::Number(text.parse().unwrap_or(f64::NAN)))
            }
            Event::Boolean(value) if is_resp3 => Ok(Value::Boolean(value)),
            Event::Boolean(value) => Ok(Value::Number(f64::from(u8::from(value)))),
            Event::BigNumber(len) if is_resp3 => {
                let digits = self.string(len)?;
                self.tagged("big_number", digits)
            }
            Event::Number(len) | Event::BigNumber(len) => self.string(len),
            Event::Verbatim(text, format) => self.verbatim(text, format),
        }
    }

    fn verbatim(&mut self, text: usize, format: usize) -> mlua::Result<Value> {
        let (text, format) = (self.string(text)?, self.string(format)?);
        if !self.reply.is_resp3 {
            return Ok(text);
        }
        let inner = self.lua.create_table_with_capacity(0, 2)?;
        inner.raw_set("string", text)?;
        inner.raw_set("format", format)?;
        self.tagged("verbatim_string", Value::Table(inner))
    }

    /// How much to reserve: no more than what was really written.
    fn room(&self, len: usize) -> usize {
        len.min(self.reply.events.len() - self.event)
    }

    fn array(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(self.room(len), 0)?;
        for index in 1..=len {
            let value = self.value(depth + 1)?;
            table.raw_set(index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, self.room(len))?;
        for _ in 0..len {
            let (key, value) = (self.value(depth + 1)?, self.value(depth + 1)?);
            if !key.is_nil() {
                table.raw_set(key, value)?;
            }
        }
        self.tagged("map", Value::Table(table))
    }

    fn set(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, self.room(len))?;
        for _ in 0..len {
            let member = self.value(depth + 1)?;
            if !member.is_nil() {
                table.raw_set(member, true)?;
            }
        }
        self.tagged("set", Value::Table(table))
    }
}

/// The table of an error: `err` is a code and a message, without a leading `-`. Text without a space
/// has no code of its own and gets `ERR`.
pub(super) fn error_table(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (code, message) = match memchr::memchr(b' ', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (&b"ERR"[..], text),
    };
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = message.iter().take_while(|byte| is_line_end(byte)).count();
    let end = message.len() - message[start..].iter().rev().take_while(|byte| is_line_end(byte)).count();
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("err", lua.create_string([code, b" ", &message[start..end]].concat())?)?;
    Ok(table)
}

/// The error of a command: it was counted where it happened.
pub(super) fn command_error(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let table = error_table(lua, text)?;
    table.raw_set("ignore_error_stats_update", true)?;
    Ok(table)
}

/// The names of the fields that make a table a special reply, made once.
pub(super) struct Fields {
    err: LuaString,
    ok: LuaString,
    double: LuaString,
    big_number: LuaString,
    verbatim: LuaString,
    map: LuaString,
    set: LuaString,
}

impl Fields {
    pub fn new(lua: &Lua) -> mlua::Result<Self> {
        Ok(Fields {
            err: lua.create_string("err")?,
            ok: lua.create_string("ok")?,
            double: lua.create_string("double")?,
            big_number: lua.create_string("big_number")?,
            verbatim: lua.create_string("verbatim_string")?,
            map: lua.create_string("map")?,
            set: lua.create_string("set")?,
        })
    }

    /// Writes what a script returned. `is_resp3` is the script's protocol, not the client's.
    pub fn write(&self, value: &Value, is_resp3: bool, sink: &mut dyn ReplySink) -> mlua::Result<()> {
        self.write_at(value, is_resp3, sink, 0)
    }

    fn write_at(
        &self,
        value: &Value,
        is_resp3: bool,
        sink: &mut dyn ReplySink,
        depth: usize,
    ) -> mlua::Result<()> {
        if depth > DEPTH_MAX {
            sink.error(TOO_DEEP);
            return Ok(());
        }
        match value {
            Value::String(text) => sink.bulk(&text.as_bytes()),
            Value::Integer(integer) => sink.integer(*integer),
            Value::Number(number) => sink.integer(truncated(*number)),
            Value::Boolean(flag) if is_resp3 => sink.boolean(*flag),
            Value::Boolean(true) => sink.integer(1),
            Value::Table(table) => return self.write_table(table, is_resp3, sink, depth),
            _ => sink.null(),
        }
        Ok(())
    }

    fn write_table(
        &self,
        table: &Table,
        is_resp3: bool,
        sink: &mut dyn ReplySink,
        depth: usize,
    ) -> mlua::Result<()> {
        if let Value::String(text) = table.raw_get(&self.err)? {
            let text = text.to_string_lossy();
            sink.error(text.strip_prefix('-').unwrap_or(&text));
            return Ok(());
        }
        if let Value::String(text) = table.raw_get(&self.ok)? {
            sink.simple(&text.to_string_lossy().replace(['\r', '\n'], " "));
            return Ok(());
        }
        match table.raw_get(&self.double)? {
            Value::Number(number) => {
                sink.double(number);
                return Ok(());
            }
            Value::Integer(number) => {
                sink.double(number as f64);
                return Ok(());
            }
            _ => {}
        }
        if let Value::String(digits) = table.raw_get(&self.big_number)? {
            sink.big_number(&digits.to_string_lossy().replace(['\r', '\n'], " "));
            return Ok(());
        }
        if let Value::Table(inner) = table.raw_get(&self.verbatim)?
            && let (Value::String(format), Value::String(text)) =
                (inner.raw_get("format")?, inner.raw_get("string")?)
        {
            sink.verbatim(&format.to_string_lossy(), &text.as_bytes());
            return Ok(());
        }
        if let Value::Table(map) = table.raw_get(&self.map)? {
            let pairs = pairs(&map)?;
            sink.map(pairs.len());
            for (key, value) in &pairs {
                self.write_at(key, is_resp3, sink, depth + 1)?;
                self.write_at(value, is_resp3, sink, depth + 1)?;
            }
            return Ok(());
        }
        if let Value::Table(set) = table.raw_get(&self.set)? {
            let members = pairs(&set)?;
            sink.set(members.len());
            for (member, _) in &members {
                self.write_at(member, is_resp3, sink, depth + 1)?;
            }
            return Ok(());
        }
        self.write_array(table, is_resp3, sink, depth)
    }

    /// The elements up to the first nil.
    fn write_array(
        &self,
        table: &Table,
        is_resp3: bool,
        sink: &mut dyn ReplySink,
        depth: usize,
    ) -> mlua::Result<()> {
        let mut elements = Vec::new();
        loop {
            match table.raw_get(elements.len() + 1)? {
                Value::Nil => break,
                element => elements.push(element),
            }
        }
        sink.array(elements.len());
        for element in &elements {
            self.write_at(element, is_resp3, sink, depth + 1)?;
        }
        Ok(())
    }
}

/// A number without its fraction. What no 64-bit integer holds becomes the smallest one, as C's cast
/// does on the machines Redis runs on.
fn truncated(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

fn pairs(table: &Table) -> mlua::Result<Vec<(Value, Value)>> {
    let mut pairs = Vec::new();
    table.for_each(|key: Value, value: Value| {
        pairs.push((key, value));
        Ok(())
    })?;
    Ok(pairs)
}
