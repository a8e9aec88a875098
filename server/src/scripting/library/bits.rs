//! `bit`: operations on 32-bit integers, as in Lua BitOp.

use mlua::{Lua, MultiValue, Table, Value};

use super::super::native::{Fail, NativeArgs, Results, native, one, text};

/// An argument as 32 bits: what lies beyond wraps around, fractions round to the nearest even.
fn bits(args: &NativeArgs<'_>, index: usize) -> Result<u32, Fail> {
    // Adding 2^52 + 2^51 leaves the integer in the low bits of the sum: the rule of the original,
    // also for numbers too large to be exact.
    Ok((args.number(index)? + 6_755_399_441_055_744.0).to_bits() as u32)
}

fn signed(value: u32) -> MultiValue {
    one(Value::Integer(i64::from(value as i32)))
}

fn fold(args: &NativeArgs<'_>, join: fn(u32, u32) -> u32) -> Results {
    let mut value = bits(args, 0)?;
    for index in 1..args.len() {
        value = join(value, bits(args, index)?);
    }
    Ok(signed(value))
}

fn shift(args: &NativeArgs<'_>, apply: fn(u32, u32) -> u32) -> Results {
    Ok(signed(apply(bits(args, 0)?, bits(args, 1)? & 31)))
}

fn to_hex(args: &NativeArgs<'_>) -> Results {
    let value = bits(args, 0)?;
    let digits = if args.len() > 1 { bits(args, 1)? as i32 } else { 8 };
    let width = digits.unsigned_abs().min(8) as usize;
    let all = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    text(args.lua, &all.as_bytes()[8 - width..])
}

/// The functions of `bit`.
pub(in super::super) fn register(lua: &Lua, module: &Table) -> mlua::Result<()> {
    module.raw_set("tobit", native(lua, "tobit", |args| Ok(signed(bits(&args, 0)?)))?)?;
    module.raw_set("bnot", native(lua, "bnot", |args| Ok(signed(!bits(&args, 0)?)))?)?;
    module.raw_set("bswap", native(lua, "bswap", |args| Ok(signed(bits(&args, 0)?.swap_bytes())))?)?;
    module.raw_set("tohex", native(lua, "tohex", |args| to_hex(&args))?)?;
    module.raw_set("band", native(lua, "band", |args| fold(&args, |a, b| a & b))?)?;
    module.raw_set("bor", native(lua, "bor", |args| fold(&args, |a, b| a | b))?)?;
    module.raw_set("bxor", native(lua, "bxor", |args| fold(&args, |a, b| a ^ b))?)?;
    module.raw_set("lshift", native(lua, "lshift", |args| shift(&args, |a, n| a << n))?)?;
    module.raw_set("rshift", native(lua, "rshift", |args| shift(&args, |a, n| a >> n))?)?;
    module.raw_set("arshift", native(lua, "arshift", |args| shift(&args, |a, n| (a as i32 >> n) as u32))?)?;
    module.raw_set("rol", native(lua, "rol", |args| shift(&args, u32::rotate_left))?)?;
    module.raw_set("ror", native(lua, "ror", |args| shift(&args, u32::rotate_right))?)
}
