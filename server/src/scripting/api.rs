//! What the prelude builds `redis.*` on.

use std::fmt::Write as _;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{BorrowedBytes, Lua, LuaString, MultiValue, Table, Value};
use sha1::{Digest, Sha1};

use super::Called;
use super::functions;
use super::host::{Host, Stop};
use super::library;
use super::native::{NativeArgs, Raised, Results, native, one, place, raise, take_raised};
use super::reply::{command_error, error_table};
use crate::resp::double;

/// The SHA1 of `bytes` in hexadecimal: the name of a script.
#[must_use]
pub fn sha1_hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().fold(String::with_capacity(40), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}

/// One argument of a command.
enum Argument {
    Text(BorrowedBytes),
    Number(String),
}

impl Argument {
    fn bytes(&self) -> &[u8] {
        match self {
            Argument::Text(bytes) => bytes,
            Argument::Number(text) => text.as_bytes(),
        }
    }
}

/// Numbers are written so that they read back the same, integers without point or exponent.
fn argument(value: &Value) -> Option<Argument> {
    match value {
        Value::String(text) => Some(Argument::Text(text.as_bytes())),
        Value::Integer(integer) => Some(Argument::Number(integer.to_string())),
        Value::Number(number) if *number as i64 as f64 == *number && number.abs() < 9.2e18 => {
            Some(Argument::Number((*number as i64).to_string()))
        }
        Value::Number(number) => Some(Argument::Number(double::format(*number).as_str().to_owned())),
        _ => None,
    }
}

/// Whether it succeeded, and the value or what to raise.
type Outcome = (bool, Value);

fn raised(lua: &Lua, (is_ok, value): Outcome) -> mlua::Result<Value> {
    if is_ok { Ok(value) } else { Err(raise(lua, value)) }
}

fn failure(lua: &Lua, message: &str) -> mlua::Result<Outcome> {
    let table = lua.create_table()?;
    table.raw_set("err", format!("ERR {message}"))?;
    Ok((false, Value::Table(table)))
}

fn arguments(lua: &Lua, values: &MultiValue) -> mlua::Result<Result<Vec<Argument>, Outcome>> {
    if values.is_empty() {
        return Ok(Err(failure(lua, "Please specify at least one argument for this call")?));
    }
    match values.iter().map(argument).collect() {
        Some(arguments) => Ok(Ok(arguments)),
        None => Ok(Err(failure(lua, "Command arguments must be strings or integers")?)),
    }
}

/// `redis.call(...)`
fn call(lua: &Lua, host: &Host, values: &MultiValue) -> mlua::Result<Outcome> {
    let arguments = match arguments(lua, values)? {
        Ok(arguments) => arguments,
        Err(raised) => return Ok(raised),
    };
    if host.is_killed() {
        return Err(mlua::Error::runtime("script killed"));
    }
    let argv: Vec<&[u8]> = arguments.iter().map(Argument::bytes).collect();
    let Ok(mut reply) = host.reply.try_borrow_mut() else {
        return failure(lua, "recursive call of a command");
    };
    reply.reset(host.is_resp3.get());
    let gate = host.run.gate();
    match host.lend(|caller| caller.call(&argv, &gate, &mut *reply)) {
        None => return failure(lua, "server.call can only be used inside a script invocation"),
        Some(Called::Replied) => {}
        Some(Called::Interrupted) => host.interrupt(),
    }
    if host.is_killed() {
        return Err(mlua::Error::runtime("script killed"));
    }
    match reply.error() {
        Some(text) => Ok((false, Value::Table(command_error(lua, text)?))),
        None => Ok((true, reply.to_lua(lua)?)),
    }
}

fn acl_check_cmd(lua: &Lua, host: &Host, values: &MultiValue) -> mlua::Result<Outcome> {
    let arguments = match arguments(lua, values)? {
        Ok(arguments) => arguments,
        Err(raised) => return Ok(raised),
    };
    let argv: Vec<&[u8]> = arguments.iter().map(Argument::bytes).collect();
    match host.lend(|caller| caller.may_run(&argv)).flatten() {
        Some(is_allowed) => Ok((true, Value::Boolean(is_allowed))),
        None => failure(lua, "Invalid command passed to server.acl_check_cmd()"),
    }
}

/// `(text, name, environment)`: the compiled function. Text only: Lua 5.1 does not verify bytecode.
fn load(lua: &Lua, (text, name, environment): (Value, Value, Table)) -> mlua::Result<Outcome> {
    let Some(text) = lua.coerce_string(text)? else {
        return Ok((
            false,
            Value::String(lua.create_string("bad argument #1 to 'loadstring' (string expected)")?),
        ));
    };
    let name = lua.coerce_string(name)?.map_or_else(|| text.to_string_lossy(), |name| name.to_string_lossy());
    let name = name.split('\0').next().unwrap_or_default().to_owned();
    let code = text.as_bytes();
    let chunk = lua.load(&*code).set_name(name).set_mode(ChunkMode::Text);
    match chunk.set_environment(environment).into_function() {
        Ok(function) => Ok((true, Value::Function(function))),
        Err(mlua::Error::SyntaxError { message, .. }) => {
            Ok((false, Value::String(lua.create_string(message)?)))
        }
        Err(error) => Err(error),
    }
}

fn random(host: &Host, args: &NativeArgs<'_>) -> Results {
    let fraction = f64::from(host.next_random() % i32::MAX as u32) / f64::from(i32::MAX);
    let bound = |index: usize| Ok::<_, super::native::Fail>(f64::from(args.integer(index)? as i32));
    let value = match args.len() {
        0 => fraction,
        1 => {
            let high = bound(0)?;
            if high < 1.0 {
                return Err(args.error(0, "interval is empty"));
            }
            (fraction * high).floor() + 1.0
        }
        2 => {
            let (low, high) = (bound(0)?, bound(1)?);
            if low > high {
                return Err(args.error(1, "interval is empty"));
            }
            (fraction * (high - low + 1.0)).floor() + low
        }
        _ => return Err("wrong number of arguments".into()),
    };
    Ok(one(Value::Number(value)))
}

fn log(level: i64, text: &LuaString) {
    let text = text.to_string_lossy();
    match level {
        0 => tracing::trace!(target: "script", "{text}"),
        1 => tracing::debug!(target: "script", "{text}"),
        2 => tracing::info!(target: "script", "{text}"),
        _ => tracing::warn!(target: "script", "{text}"),
    }
}

/// All native functions.
pub(super) fn natives(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    lua.set_app_data(Raised::default());
    let natives = lua.create_table()?;
    library::register(lua, host, &natives)?;
    let h = Rc::clone(host);
    let raising = move |lua: &Lua, values: MultiValue| raised(lua, call(lua, &h, &values)?);
    natives.raw_set("call", lua.create_function(raising)?)?;
    let h = Rc::clone(host);
    // An error is a reply like any other.
    let catching = move |lua: &Lua, values: MultiValue| Ok(call(lua, &h, &values)?.1);
    natives.raw_set("pcall", lua.create_function(catching)?)?;
    let h = Rc::clone(host);
    let check = move |lua: &Lua, values: MultiValue| raised(lua, acl_check_cmd(lua, &h, &values)?);
    let check = lua.create_function(check)?;
    natives.raw_set("take_raised", lua.create_function(|lua, ()| Ok(take_raised(lua)))?)?;
    natives.raw_set("acl_check_cmd", check)?;
    let h = Rc::clone(host);
    let register = move |lua: &Lua, values: MultiValue| match functions::register(&h, &values) {
        Ok(()) => Ok((true, Value::Nil)),
        Err(message) => failure(lua, &message),
    };
    natives.raw_set("register_function", lua.create_function(register)?)?;
    let sha1hex = lua.create_function(|lua, value: Value| {
        let text = lua.coerce_string(value)?;
        Ok(text.map_or_else(|| sha1_hex(b""), |text| sha1_hex(&text.as_bytes())))
    })?;
    natives.raw_set("sha1hex", sha1hex)?;
    let table = lua.create_function(|lua, text: LuaString| error_table(lua, &text.as_bytes()))?;
    natives.raw_set("error_table", table)?;
    let h = Rc::clone(host);
    let set_resp3 = lua.create_function(move |_, is_resp3: bool| {
        h.is_resp3.set(is_resp3);
        Ok(())
    })?;
    natives.raw_set("set_resp3", set_resp3)?;
    let h = Rc::clone(host);
    natives.raw_set("is_stopped", lua.create_function(move |_, ()| Ok(h.stop().is_some()))?)?;
    let h = Rc::clone(host);
    let place = lua.create_function(move |lua, ()| {
        let known = h.stopped_at.borrow().clone();
        Ok(known.or_else(|| place(lua)).map_or((None, None), |(source, line)| (Some(source), Some(line))))
    })?;
    natives.raw_set("where", place)?;
    natives.raw_set("load", lua.create_function(load)?)?;
    natives.raw_set(
        "log",
        lua.create_function(|_, (level, text): (i64, LuaString)| {
            log(level, &text);
            Ok(())
        })?,
    )?;
    let h = Rc::clone(host);
    natives.raw_set("random", native(lua, "random", move |args| random(&h, &args))?)?;
    let h = Rc::clone(host);
    let seed = native(lua, "randomseed", move |args| {
        h.seed(args.integer(0)? as i32);
        Ok(MultiValue::new())
    })?;
    natives.raw_set("randomseed", seed)?;
    Ok(natives)
}

/// The error of a script that was stopped.
pub(super) fn stop_text(stop: Stop, is_eval: bool) -> &'static str {
    match (stop, is_eval) {
        (Stop::Killed, true) => "ERR Script killed by user with SCRIPT KILL.",
        (Stop::Killed, false) => "ERR Script killed by user with FUNCTION KILL.",
        (Stop::LoadTimeout, _) => "ERR FUNCTION LOAD timeout",
        // Nobody sees these: the script runs again.
        (Stop::Interrupted, _) => "ERR Script interrupted",
        (Stop::TooLong, _) => "ERR Script runs for too long here",
    }
}

/// The constants of the `redis` table.
pub(super) fn constants(lua: &Lua) -> mlua::Result<Table> {
    let constants = lua.create_table()?;
    let version = |text: &str| {
        let mut parts = text.split('.').map(|part| part.parse::<i64>().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        next() << 16 | next() << 8 | next()
    };
    for (level, name) in ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"].iter().enumerate() {
        constants.raw_set(*name, level)?;
    }
    constants.raw_set("REDIS_VERSION", crate::REDIS_VERSION)?;
    constants.raw_set("REDIS_VERSION_NUM", version(crate::REDIS_VERSION))?;
    constants.raw_set("SERVER_NAME", "lux")?;
    constants.raw_set("LUX_VERSION", crate::VERSION)?;
    constants.raw_set("LUX_VERSION_NUM", version(crate::VERSION))?;
    Ok(constants)
}
