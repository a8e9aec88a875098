//! The libraries scripts find beside Lua's own: `cjson`, `cmsgpack`, `struct` and `bit`, and the
//! parts of `string` that had to be made interruptible.
//!
//! Each behaves as the C library of the same name that Redis ships. Recursion is bounded, no input
//! makes one of them reserve more than the interpreter's memory limit, and each long loop looks
//! whether the script shall end.

mod bits;
mod cjson;
mod cmsgpack;
mod pattern;
mod strings;
mod structs;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::host::Host;
use super::native::Fail;

/// All entries of a table. They are taken out before anything recurses: iterating keeps a C frame
/// of the interpreter, and there may be only 200.
fn entries(host: &Host, table: &Table) -> Result<Vec<(Value, Value)>, Fail> {
    host.check_stop()?;
    let mut entries = Vec::new();
    table.for_each(|key: Value, value: Value| {
        entries.push((key, value));
        Ok(())
    })?;
    Ok(entries)
}

/// Adds every library's native functions to `natives`.
pub(super) fn register(lua: &Lua, host: &Rc<Host>, natives: &Table) -> mlua::Result<()> {
    let strings = lua.create_table()?;
    strings::register(lua, host, &strings)?;
    natives.raw_set("string", strings)?;
    let module = lua.create_table()?;
    bits::register(lua, &module)?;
    natives.raw_set("bit", module)?;
    let module = lua.create_table()?;
    structs::register(lua, host, &module)?;
    natives.raw_set("struct", module)?;
    let module = lua.create_table()?;
    cmsgpack::register(lua, host, &module)?;
    natives.raw_set("cmsgpack", module)?;
    natives.raw_set("cjson", cjson::register(lua, host)?)
}
