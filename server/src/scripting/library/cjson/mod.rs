//! `cjson`: JSON as lua-cjson reads and writes it.
//!
//! Differences from strict JSON that scripts rely on: an empty table is an object, `/` is escaped,
//! strings are bytes, numbers have 14 digits, `Infinity`, `NaN` and hexadecimal numbers are read,
//! `null` is the light userdata `cjson.null`. Unlike the original, no setting raises the nesting
//! above [`DEPTH_MAX`], and settings last until the script ends.

mod decode;
mod encode;
mod settings;

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::super::host::Host;
use super::super::native::{native, one};
use settings::Settings;

/// Deeper values are refused in both directions.
const DEPTH_MAX: i32 = 1000;

/// A new module: the native functions, the constants and settings of its own.
pub(in super::super) fn register(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let settings = Rc::new(RefCell::new(Settings::default()));
    let (h, s) = (Rc::clone(host), Rc::clone(&settings));
    let encode = native(lua, "encode", move |args| {
        if args.len() != 1 {
            return Err(args.error(0, "expected 1 argument"));
        }
        encode::encode(&h, &s.borrow(), &args)
    })?;
    module.raw_set("encode", encode)?;
    let (h, s) = (Rc::clone(host), Rc::clone(&settings));
    let decode = native(lua, "decode", move |args| {
        if args.len() != 1 {
            return Err(args.error(0, "expected 1 argument"));
        }
        decode::decode(&h, &s.borrow(), &args)
    })?;
    module.raw_set("decode", decode)?;
    settings::register(lua, &module, &settings)?;
    let h = Rc::clone(host);
    let new = native(lua, "new", move |args| Ok(one(Value::Table(register(args.lua, &h)?))))?;
    module.raw_set("new", new)?;
    let reset = native(lua, "reset", move |_| {
        *settings.borrow_mut() = Settings::default();
        Ok(mlua::MultiValue::new())
    })?;
    module.raw_set("reset", reset)?;
    module.raw_set("null", Value::NULL)?;
    module.raw_set("_NAME", "cjson")?;
    module.raw_set("_VERSION", "2.1.0")?;
    Ok(module)
}
