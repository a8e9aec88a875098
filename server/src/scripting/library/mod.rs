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

/// The number of a table's entries, and their largest key if `index` takes every key for an index.
fn shape(
    host: &Host,
    table: &Table,
    index: impl Fn(&Value) -> Option<usize>,
) -> Result<(usize, Option<usize>), Fail> {
    host.check_stop()?;
    let (mut count, mut largest) = (0, Some(0));
    table.for_each(|key: Value, _: Value| {
        count += 1;
        largest = largest.and_then(|largest: usize| Some(index(&key)?.max(largest)));
        Ok(())
    })?;
    Ok((count, largest))
}

/// The entries of a table, one at a time: an interpreter holds few values for Rust at once. The iteration keeps no
/// C frame of the interpreter (there may be only 200), so it may recurse.
fn entries(table: &Table) -> impl Iterator<Item = Result<(Value, Value), Fail>> {
    table.pairs::<Value, Value>().map(|pair| pair.map_err(Fail::from))
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
