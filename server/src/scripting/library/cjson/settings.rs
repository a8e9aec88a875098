//! What a script may set about JSON, and the functions that set it.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::super::super::native::{Fail, NativeArgs, Results, native, one};

/// What becomes of infinities and not-a-number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalid {
    Refuse,
    Allow,
    Null,
}

/// The settings of one module.
pub(super) struct Settings {
    pub sparse_convert: bool,
    pub sparse_ratio: i32,
    pub sparse_safe: i32,
    pub encode_depth: i32,
    pub decode_depth: i32,
    pub precision: i32,
    pub keep_buffer: bool,
    pub encode_invalid: Invalid,
    pub decode_invalid: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: super::DEPTH_MAX,
            decode_depth: super::DEPTH_MAX,
            precision: 14,
            keep_buffer: true,
            encode_invalid: Invalid::Refuse,
            decode_invalid: true,
        }
    }
}

fn at_most(args: &NativeArgs<'_>, count: usize) -> Result<(), Fail> {
    if args.len() > count { Err(args.error(count, "found too many arguments")) } else { Ok(()) }
}

fn integer(args: &NativeArgs<'_>, index: usize, now: i32, min: i32, max: i32) -> Result<i32, Fail> {
    if args.value(index).is_nil() {
        return Ok(now);
    }
    let value = args.integer(index)?;
    let value = i32::try_from(value).ok().filter(|value| (min..=max).contains(value));
    value.ok_or_else(|| args.error(0, &format!("expected integer between {min} and {max}")))
}

fn flag(args: &NativeArgs<'_>, index: usize, now: bool) -> Result<bool, Fail> {
    match args.value(index) {
        Value::Nil => Ok(now),
        Value::Boolean(value) => Ok(*value),
        _ => match &*args.string(index)?.as_bytes() {
            b"on" => Ok(true),
            b"off" => Ok(false),
            other => Err(invalid_option(args, index, other)),
        },
    }
}

fn invalid_option(args: &NativeArgs<'_>, index: usize, option: &[u8]) -> Fail {
    args.error(index, &format!("invalid option '{}'", String::from_utf8_lossy(option)))
}

fn sparse_array(settings: &mut Settings, args: &NativeArgs<'_>) -> Results {
    at_most(args, 3)?;
    settings.sparse_convert = flag(args, 0, settings.sparse_convert)?;
    settings.sparse_ratio = integer(args, 1, settings.sparse_ratio, 0, i32::MAX)?;
    settings.sparse_safe = integer(args, 2, settings.sparse_safe, 0, i32::MAX)?;
    Ok(MultiValue::from_vec(vec![
        Value::Boolean(settings.sparse_convert),
        Value::Integer(settings.sparse_ratio.into()),
        Value::Integer(settings.sparse_safe.into()),
    ]))
}

fn encode_invalid_numbers(settings: &mut Settings, args: &NativeArgs<'_>) -> Results {
    at_most(args, 1)?;
    let option = match args.value(0) {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        _ => None,
    };
    settings.encode_invalid = match (option.as_deref(), settings.encode_invalid) {
        (Some(b"null"), _) => Invalid::Null,
        (None, now) if args.value(0).is_nil() => now,
        (_, now) if flag(args, 0, now == Invalid::Allow)? => Invalid::Allow,
        _ => Invalid::Refuse,
    };
    Ok(one(match settings.encode_invalid {
        Invalid::Null => Value::String(args.lua.create_string("null")?),
        invalid => Value::Boolean(invalid == Invalid::Allow),
    }))
}

/// Adds the functions that set and tell each setting.
pub(super) fn register(lua: &Lua, module: &Table, settings: &Rc<RefCell<Settings>>) -> mlua::Result<()> {
    let add = |name: &'static str, apply: fn(&mut Settings, &NativeArgs<'_>) -> Results| {
        let settings = Rc::clone(settings);
        module.raw_set(name, native(lua, name, move |args| apply(&mut settings.borrow_mut(), &args))?)
    };
    add("encode_sparse_array", sparse_array)?;
    add("encode_max_depth", |settings, args| {
        at_most(args, 1)?;
        settings.encode_depth = integer(args, 0, settings.encode_depth, 1, i32::MAX)?;
        Ok(one(Value::Integer(settings.encode_depth.into())))
    })?;
    add("decode_max_depth", |settings, args| {
        at_most(args, 1)?;
        settings.decode_depth = integer(args, 0, settings.decode_depth, 1, i32::MAX)?;
        Ok(one(Value::Integer(settings.decode_depth.into())))
    })?;
    add("encode_number_precision", |settings, args| {
        at_most(args, 1)?;
        settings.precision = integer(args, 0, settings.precision, 1, 14)?;
        Ok(one(Value::Integer(settings.precision.into())))
    })?;
    add("encode_keep_buffer", |settings, args| {
        at_most(args, 1)?;
        settings.keep_buffer = flag(args, 0, settings.keep_buffer)?;
        Ok(one(Value::Boolean(settings.keep_buffer)))
    })?;
    add("encode_invalid_numbers", encode_invalid_numbers)?;
    add("decode_invalid_numbers", |settings, args| {
        at_most(args, 1)?;
        settings.decode_invalid = flag(args, 0, settings.decode_invalid)?;
        Ok(one(Value::Boolean(settings.decode_invalid)))
    })
}
