//! Functions of the interpreter that are written in Rust, and how they fail.
//!
//! An error that Rust raises through mlua is an opaque object in Lua, but scripts expect text with
//! their own position in front, or a table. So what is raised is kept aside ([`raise`]), and whatever
//! catches errors - all of it is in the prelude - takes it from there in place of the object. The
//! functions are called by the script itself: a Lua function around each would hide the script's
//! position wherever the script ends in `return f(...)`.

use std::cell::RefCell;

use mlua::{Function, Lua, LuaString, MultiValue, Value};

/// Why a native function gives up.
pub(super) enum Fail {
    /// Raised as a string, the script's position in front.
    Text(String),
    /// Out of memory, or the script was killed on the way: goes through as it is.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Fail {
    fn from(error: mlua::Error) -> Self {
        Fail::Lua(error)
    }
}

impl From<String> for Fail {
    fn from(text: String) -> Self {
        Fail::Text(text)
    }
}

impl From<&str> for Fail {
    fn from(text: &str) -> Self {
        Fail::Text(text.to_owned())
    }
}

/// What a native function returns to its wrapper.
pub(super) type Results = Result<MultiValue, Fail>;

/// The arguments of one call.
pub(super) struct NativeArgs<'a> {
    pub lua: &'a Lua,
    name: &'static str,
    values: MultiValue,
}

impl NativeArgs<'_> {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The argument at `index` (from 0); nil past the end.
    pub fn value(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::Nil)
    }

    /// All arguments from `index` on.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// The error of an argument, worded as the standard library words it.
    pub fn error(&self, index: usize, detail: &str) -> Fail {
        Fail::Text(format!("bad argument #{} to '{}' ({detail})", index + 1, self.name))
    }

    fn wrong_type(&self, index: usize, expected: &str) -> Fail {
        let got = if index < self.len() { type_name(self.value(index)) } else { "no value" };
        self.error(index, &format!("{expected} expected, got {got}"))
    }

    /// A string, or a number as its text.
    pub fn string(&self, index: usize) -> Result<LuaString, Fail> {
        match self.value(index) {
            Value::String(text) => Ok(text.clone()),
            value @ (Value::Integer(_) | Value::Number(_)) => {
                let text = self.lua.coerce_string(value.clone())?;
                text.ok_or_else(|| self.wrong_type(index, "string"))
            }
            _ => Err(self.wrong_type(index, "string")),
        }
    }

    /// A number, or a string that reads as one.
    pub fn number(&self, index: usize) -> Result<f64, Fail> {
        match self.value(index) {
            Value::Number(number) => Ok(*number),
            Value::Integer(number) => Ok(*number as f64),
            value @ Value::String(_) => {
                let number = self.lua.coerce_number(value.clone())?;
                number.ok_or_else(|| self.wrong_type(index, "number"))
            }
            _ => Err(self.wrong_type(index, "number")),
        }
    }

    /// A number without its fraction; what no 64-bit integer holds becomes the nearest one.
    pub fn integer(&self, index: usize) -> Result<i64, Fail> {
        Ok(self.number(index)? as i64)
    }

    /// [`NativeArgs::integer`], or `default` when absent or nil.
    pub fn integer_or(&self, index: usize, default: i64) -> Result<i64, Fail> {
        if self.value(index).is_nil() { Ok(default) } else { self.integer(index) }
    }
}

/// The name Lua gives to a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// A number as a Lua value.
pub(super) fn number(value: f64) -> Value {
    Value::Number(value)
}

/// One result.
pub(super) fn one(value: Value) -> MultiValue {
    MultiValue::from_vec(vec![value])
}

/// A string as the only result.
pub(super) fn text(lua: &Lua, bytes: &[u8]) -> Results {
    Ok(one(Value::String(lua.create_string(bytes)?)))
}

/// What was raised and nobody has caught yet.
#[derive(Default)]
pub(super) struct Raised(RefCell<Option<Value>>);

/// The error that raises `value`.
pub(super) fn raise(lua: &Lua, value: Value) -> mlua::Error {
    if let Some(raised) = lua.app_data_ref::<Raised>() {
        *raised.0.borrow_mut() = Some(value);
    }
    mlua::Error::runtime("raised")
}

/// Takes what was raised.
pub(super) fn take_raised(lua: &Lua) -> Value {
    let raised = lua.app_data_ref::<Raised>();
    raised.and_then(|raised| raised.0.borrow_mut().take()).unwrap_or(Value::Nil)
}

/// Makes `body` callable; `name` is what its argument errors call it.
pub(super) fn native(
    lua: &Lua,
    name: &'static str,
    body: impl Fn(NativeArgs<'_>) -> Results + 'static,
) -> mlua::Result<Function> {
    lua.create_function(move |lua, values: MultiValue| {
        body(NativeArgs { lua, name, values }).or_else(|fail| match fail {
            Fail::Text(message) => {
                let message = match caller(lua) {
                    Some((source, line)) => format!("{}:{line}: {message}", source.trim_start_matches('@')),
                    None => message,
                };
                Err(raise(lua, Value::String(lua.create_string(message)?)))
            }
            Fail::Lua(error) => Err(error),
        })
    })
}

/// How far up the stack the place of an error may be.
const LEVELS_MAX: usize = 32;

enum Frame {
    Script(String, usize),
    Prelude,
    Native,
}

fn frame(lua: &Lua, level: usize) -> Option<Frame> {
    lua.inspect_stack(level, |debug| {
        let source = debug.source();
        match (source.what == "C", source.source, debug.current_line()) {
            (false, Some(source), _) if source == "=prelude" => Frame::Prelude,
            (false, source, Some(line)) => Frame::Script(source.unwrap_or_default().into_owned(), line),
            _ => Frame::Native,
        }
    })
}

/// Where the script is: its innermost frame.
pub(super) fn place(lua: &Lua) -> Option<(String, usize)> {
    (0..LEVELS_MAX).map_while(|level| frame(lua, level)).find_map(|frame| match frame {
        Frame::Script(source, line) => Some((source, line)),
        _ => None,
    })
}

/// Where a native function was called from, if a script called it.
fn caller(lua: &Lua) -> Option<(String, usize)> {
    let mut frames = (1..LEVELS_MAX).map_while(|level| frame(lua, level));
    match frames.find(|frame| !matches!(frame, Frame::Prelude)) {
        Some(Frame::Script(source, line)) => Some((source, line)),
        _ => None,
    }
}
