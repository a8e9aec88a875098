//! `string.find`, `match`, `gmatch`, `gsub` and `rep`: the functions whose C versions one call could
//! keep busy for hours. The prelude holds the loops that call back into Lua.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::super::host::Host;
use super::super::native::{Fail, NativeArgs, Results, native, one, text};
use super::pattern::{Capture, Matcher, PatternError};

/// The characters that make a string a pattern.
const SPECIALS: &[u8] = b"^$*+?.([%-";

fn fail(error: PatternError) -> Fail {
    match error {
        PatternError::Malformed(text) => Fail::Text(text),
        PatternError::Stopped => Fail::Lua(mlua::Error::runtime("script killed")),
    }
}

/// The functions the prelude builds the string library on.
pub(in super::super) fn register(lua: &Lua, host: &Rc<Host>, natives: &Table) -> mlua::Result<()> {
    let of = |host: &Rc<Host>| Rc::clone(host);
    let h = of(host);
    natives.raw_set("find", native(lua, "find", move |args| find(&h, &args, true))?)?;
    let h = of(host);
    natives.raw_set("match", native(lua, "match", move |args| find(&h, &args, false))?)?;
    let h = of(host);
    natives.raw_set("gmatch", native(lua, "gmatch", move |args| step(&h, &args, false))?)?;
    let h = of(host);
    natives.raw_set("gsub_step", native(lua, "gsub", move |args| step(&h, &args, true))?)?;
    let h = of(host);
    natives.raw_set("gsub", native(lua, "gsub", move |args| substitute(&h, &args))?)?;
    let h = of(host);
    natives.raw_set("rep", native(lua, "rep", move |args| repeat(&h, &args))?)
}

fn capture_value(lua: &Lua, source: &[u8], capture: Capture) -> mlua::Result<Value> {
    Ok(match capture {
        Capture::Text(start, end) => Value::String(lua.create_string(&source[start..end])?),
        Capture::Position(at) => Value::Integer(at as i64),
    })
}

fn push_captures(
    lua: &Lua,
    source: &[u8],
    matcher: &Matcher<'_>,
    whole: (usize, usize),
    count: usize,
    out: &mut MultiValue,
) -> Result<(), Fail> {
    for index in 0..count {
        let capture = matcher.capture(index, whole).map_err(fail)?;
        out.push_back(capture_value(lua, source, capture)?);
    }
    Ok(())
}

/// `string.find(s, pattern [, init [, plain]])` and `string.match(s, pattern [, init])`
fn find(host: &Host, args: &NativeArgs<'_>, wants_place: bool) -> Results {
    let (source, pattern) = (args.string(0)?, args.string(1)?);
    let (source, pattern) = (source.as_bytes(), pattern.as_bytes());
    let init = args.integer_or(2, 1)?;
    let from =
        if init < 0 { source.len().saturating_sub(init.unsigned_abs() as usize) } else { init as usize };
    let from = from.saturating_sub(usize::from(init > 0)).min(source.len());
    let is_plain = !matches!(args.value(3), Value::Nil | Value::Boolean(false));
    if wants_place && (is_plain || !pattern.iter().any(|byte| SPECIALS.contains(byte))) {
        let Some(at) = memchr::memmem::find(&source[from..], &pattern) else { return Ok(one(Value::Nil)) };
        let start = from + at;
        let (first, last) = (start as i64 + 1, (start + pattern.len()) as i64);
        return Ok(MultiValue::from_vec(vec![Value::Integer(first), Value::Integer(last)]));
    }
    let stop = || host.wants_stop();
    let (anchored, pattern) = strip_anchor(&pattern);
    let mut matcher = Matcher::new(&source, pattern, &stop);
    let Some(whole) = matcher.search(from, anchored).map_err(fail)? else { return Ok(one(Value::Nil)) };
    let mut results = MultiValue::new();
    let mut count = matcher.captures();
    if wants_place {
        results.push_back(Value::Integer(whole.0 as i64 + 1));
        results.push_back(Value::Integer(whole.1 as i64));
    } else {
        count = count.max(1);
    }
    push_captures(args.lua, &source, &matcher, whole, count, &mut results)?;
    Ok(results)
}

fn strip_anchor(pattern: &[u8]) -> (bool, &[u8]) {
    match pattern.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    }
}

/// `(s, pattern, from)`: the next match at the offset `from` or later as its start, its end and its
/// captures; nil when there is none. `^` anchors in `gsub` and is literal in `gmatch`.
fn step(host: &Host, args: &NativeArgs<'_>, has_anchor: bool) -> Results {
    let (source, pattern) = (args.string(0)?, args.string(1)?);
    let (source, pattern) = (source.as_bytes(), pattern.as_bytes());
    let from = args.integer_or(2, 0)?.max(0) as usize;
    if from > source.len() {
        return Ok(one(Value::Nil));
    }
    let stop = || host.wants_stop();
    let (anchored, pattern) = if has_anchor { strip_anchor(&pattern) } else { (false, &*pattern) };
    if anchored && from > 0 {
        return Ok(one(Value::Nil));
    }
    let mut matcher = Matcher::new(&source, pattern, &stop);
    let Some(whole) = matcher.search(from, anchored).map_err(fail)? else { return Ok(one(Value::Nil)) };
    let mut results = MultiValue::new();
    results.push_back(Value::Integer(whole.0 as i64));
    results.push_back(Value::Integer(whole.1 as i64));
    push_captures(args.lua, &source, &matcher, whole, matcher.captures().max(1), &mut results)?;
    Ok(results)
}

/// `string.gsub` with a replacement string: `(s, pattern, replacement, max)`.
fn substitute(host: &Host, args: &NativeArgs<'_>) -> Results {
    let (source, pattern, with) = (args.string(0)?, args.string(1)?, args.string(2)?);
    let (source, pattern, with) = (source.as_bytes(), pattern.as_bytes(), with.as_bytes());
    let max = args.integer_or(3, i64::MAX)?;
    let stop = || host.wants_stop();
    let (anchored, pattern) = strip_anchor(&pattern);
    let mut matcher = Matcher::new(&source, pattern, &stop);
    let (mut out, mut from, mut count) = (Vec::with_capacity(source.len()), 0, 0);
    while count < max && from <= source.len() {
        let Some(whole) = matcher.search(from, anchored).map_err(fail)? else { break };
        count += 1;
        out.extend_from_slice(&source[from..whole.0]);
        expand(&mut out, &source, &with, &matcher, whole)?;
        host.check_size(out.len())?;
        from = whole.1;
        if whole.1 == whole.0 {
            out.extend(source.get(from));
            from += 1;
        }
        if anchored {
            break;
        }
    }
    out.extend_from_slice(source.get(from..).unwrap_or_default());
    host.check_size(out.len())?;
    let mut results = text(args.lua, &out)?;
    results.push_back(Value::Integer(count));
    Ok(results)
}

fn expand(
    out: &mut Vec<u8>,
    source: &[u8],
    with: &[u8],
    matcher: &Matcher<'_>,
    whole: (usize, usize),
) -> Result<(), Fail> {
    let mut bytes = with.iter();
    while let Some(byte) = bytes.next() {
        match (byte, if *byte == b'%' { bytes.next() } else { None }) {
            (b'%', Some(b'0')) => out.extend_from_slice(&source[whole.0..whole.1]),
            (b'%', Some(digit @ b'1'..=b'9')) => {
                match matcher.capture(usize::from(digit - b'1'), whole).map_err(fail)? {
                    Capture::Text(start, end) => out.extend_from_slice(&source[start..end]),
                    Capture::Position(at) => out.extend_from_slice(at.to_string().as_bytes()),
                }
            }
            (b'%', Some(literal)) => out.push(*literal),
            (b'%', None) => out.push(0),
            (literal, _) => out.push(*literal),
        }
    }
    Ok(())
}

/// `string.rep(s, n)`
fn repeat(host: &Host, args: &NativeArgs<'_>) -> Results {
    let source = args.string(0)?;
    let count = args.integer(1)?.max(0) as usize;
    let source = source.as_bytes();
    if source.is_empty() || count == 0 {
        return text(args.lua, b"");
    }
    host.check_size(source.len().saturating_mul(count))?;
    text(args.lua, &source.repeat(count))
}
