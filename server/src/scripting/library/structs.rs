//! `struct`: packs and unpacks binary records by a format string, as the library of that name does.

use std::rc::Rc;

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::super::host::Host;
use super::super::native::{Fail, NativeArgs, Results, native, number, one, text};

/// The widest integer (`i32` is the format's own word for 32 bytes).
const INTEGER_BYTES_MAX: usize = 32;

/// What `!` without a number means.
const ALIGN_MAX: usize = 8;

/// How many values one call may unpack: what Lua's stack takes.
const RESULTS_MAX: usize = 7_000;

/// A format being read, with its byte order and alignment.
struct Format<'a> {
    bytes: &'a [u8],
    at: usize,
    is_little: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        // As in the original the format ends at its first zero byte.
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Format { bytes: &bytes[..end], at: 0, is_little: true, align: 1 }
    }

    fn option(&mut self) -> Option<u8> {
        let option = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(option)
    }

    fn number_or(&mut self, default: usize) -> Result<usize, Fail> {
        let digits = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let digits = &self.bytes[self.at..self.at + digits];
        self.at += digits.len();
        let value = digits
            .iter()
            .try_fold(0i32, |sum, digit| sum.checked_mul(10)?.checked_add(i32::from(digit - b'0')));
        value.map(|value| value as usize).ok_or_else(|| Fail::from("integral size overflow"))
    }

    /// The bytes that `option` takes; 0 where the data decides or nothing is stored.
    fn size(&mut self, option: u8) -> Result<usize, Fail> {
        match option {
            b'B' | b'b' | b'x' => Ok(1),
            b'H' | b'h' => Ok(2),
            b'f' => Ok(4),
            b'L' | b'l' | b'T' | b'd' => Ok(8),
            b'c' => self.number_or(1),
            b'i' | b'I' => match self.number_or(4)? {
                size if size > INTEGER_BYTES_MAX => Err(Fail::Text(format!(
                    "integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"
                ))),
                size => Ok(size),
            },
            _ => Ok(0),
        }
    }

    /// The padding before `option` at the offset `len`.
    fn padding(&self, len: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        (size - (len & (size - 1))) & (size - 1)
    }

    /// An option that stores nothing but sets how the rest is stored.
    fn control(&mut self, args: &NativeArgs<'_>, option: u8) -> Result<(), Fail> {
        match option {
            b' ' => Ok(()),
            b'>' => {
                self.is_little = false;
                Ok(())
            }
            b'<' => {
                self.is_little = true;
                Ok(())
            }
            b'!' => match self.number_or(ALIGN_MAX)? {
                align if align.is_power_of_two() => {
                    self.align = align;
                    Ok(())
                }
                align => Err(Fail::Text(format!("alignment {align} is not a power of 2"))),
            },
            _ => Err(args.error(0, &format!("invalid format option '{}'", char::from(option)))),
        }
    }

    fn put(&self, out: &mut Vec<u8>, mut bytes: Vec<u8>) {
        if !self.is_little {
            bytes.reverse();
        }
        out.append(&mut bytes);
    }

    fn ordered<const N: usize>(&self, data: &[u8]) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&data[..N]);
        if !self.is_little {
            bytes.reverse();
        }
        bytes
    }
}

/// The integer's low `size` bytes, lowest first; a wider field is filled with zero bytes.
fn integer_bytes(value: f64, size: usize) -> Vec<u8> {
    let value = if value < 0.0 { (value as i64) as u64 } else { value as u64 };
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.resize(size, 0);
    bytes
}

fn integer_of(format: &Format<'_>, data: &[u8], is_signed: bool) -> f64 {
    let mut value = 0u64;
    let mut push = |byte: &u8| value = value << 8 | u64::from(*byte);
    if format.is_little {
        data.iter().rev().for_each(&mut push);
    } else {
        data.iter().for_each(&mut push);
    }
    if !is_signed {
        return value as f64;
    }
    let unused = 64usize.saturating_sub(data.len() * 8).min(63);
    ((value << unused) as i64 >> unused) as f64
}

/// `struct.pack(format, ...)`
fn pack(host: &Host, args: &NativeArgs<'_>) -> Results {
    let format = args.string(0)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let (mut out, mut index) = (Vec::new(), 1);
    while let Some(option) = format.option() {
        let size = format.size(option)?;
        let padding = format.padding(out.len(), option, size);
        out.resize(out.len() + padding, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let bytes = integer_bytes(args.number(index)?, size);
                format.put(&mut out, bytes);
                index += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let bytes = (args.number(index)? as f32).to_le_bytes().to_vec();
                format.put(&mut out, bytes);
                index += 1;
            }
            b'd' => {
                let bytes = args.number(index)?.to_le_bytes().to_vec();
                format.put(&mut out, bytes);
                index += 1;
            }
            b'c' | b's' => {
                let value = args.string(index)?;
                let value = value.as_bytes();
                index += 1;
                let size = if size == 0 { value.len() } else { size };
                let Some(kept) = value.get(..size) else { return Err(args.error(index, "string too short")) };
                out.extend_from_slice(kept);
                if option == b's' {
                    out.push(0);
                }
            }
            _ => format.control(args, option)?,
        }
        host.check_size(out.len())?;
    }
    text(args.lua, &out)
}

/// `struct.unpack(format, data [, position])`
fn unpack(args: &NativeArgs<'_>) -> Results {
    let (format, data) = (args.string(0)?, args.string(1)?);
    let (format, data) = (format.as_bytes(), data.as_bytes());
    let position = args.integer_or(2, 1)?;
    if position <= 0 {
        return Err(args.error(2, "offset must be 1 or greater"));
    }
    let mut format = Format::new(&format);
    let mut at = position as usize - 1;
    let mut results = Vec::new();
    while let Some(option) = format.option() {
        let size = format.size(option)?;
        at = at.saturating_add(format.padding(at, option, size));
        let field = at.checked_add(size).and_then(|end| data.get(at..end));
        let Some(field) = field else { return Err(args.error(1, "data string too short")) };
        if results.len() >= RESULTS_MAX {
            return Err(Fail::from("stack overflow (too many results)"));
        }
        at += size;
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                results.push(number(integer_of(&format, field, option.is_ascii_lowercase())));
            }
            b'x' => {}
            b'f' => results.push(number(f64::from(f32::from_le_bytes(format.ordered(field))))),
            b'd' => results.push(number(f64::from_le_bytes(format.ordered(field)))),
            b'c' if size == 0 => at += counted(args, &data, at, &mut results)?,
            b'c' => results.push(Value::String(args.lua.create_string(field)?)),
            b's' => {
                let rest = &data[at..];
                let Some(len) = memchr::memchr(0, rest) else {
                    return Err("unfinished string in data".into());
                };
                results.push(Value::String(args.lua.create_string(&rest[..len])?));
                at += len + 1;
            }
            _ => format.control(args, option)?,
        }
    }
    results.push(Value::Integer(at as i64 + 1));
    Ok(MultiValue::from_vec(results))
}

/// `c0`: a string as long as the number before it says. Returns that length.
fn counted(args: &NativeArgs<'_>, data: &[u8], at: usize, results: &mut Vec<Value>) -> Result<usize, Fail> {
    let size: f64 = match results.pop() {
        Some(Value::Number(size)) => size,
        Some(Value::Integer(size)) => size as f64,
        _ => return Err("format 'c0' needs a previous size".into()),
    };
    let field = at.checked_add(size as usize).and_then(|end| data.get(at..end));
    let Some(field) = field.filter(|_| size >= 0.0) else {
        return Err(args.error(1, "data string too short"));
    };
    let field: LuaString = args.lua.create_string(field)?;
    results.push(Value::String(field));
    Ok(size as usize)
}

/// `struct.size(format)`
fn size_of(args: &NativeArgs<'_>) -> Results {
    let format = args.string(0)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let mut at = 0usize;
    while let Some(option) = format.option() {
        let size = format.size(option)?;
        at = at.saturating_add(format.padding(at, option, size));
        match option {
            b's' => return Err(args.error(0, "option 's' has no fixed size")),
            b'c' if size == 0 => return Err(args.error(0, "option 'c0' has no fixed size")),
            _ if !option.is_ascii_alphanumeric() => format.control(args, option)?,
            _ => {}
        }
        at = at.saturating_add(size);
    }
    Ok(one(Value::Integer(at as i64)))
}

/// The functions of `struct`.
pub(in super::super) fn register(lua: &Lua, host: &Rc<Host>, module: &Table) -> mlua::Result<()> {
    let host = Rc::clone(host);
    module.raw_set("pack", native(lua, "pack", move |args| pack(&host, &args))?)?;
    module.raw_set("unpack", native(lua, "unpack", |args| unpack(&args))?)?;
    module.raw_set("size", native(lua, "size", |args| size_of(&args))?)
}
