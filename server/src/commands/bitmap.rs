//! Bitmap commands: strings as arrays of bits.
//!
//! Writers plan only the bytes that change, so setting one bit of a big bitmap costs one byte in the
//! log and copies nothing.

use lux_engine::value::string::STRING_MAX;
use lux_engine::value::string::bits::{
    self, BitOp, BitOpResult, Bounds, FieldEdits, FieldType, Overflow, Unit,
};
use lux_engine::value::string::number::{IntText, parse_int};
use lux_engine::wal::effect::StringBody;

use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "SETBIT",
        since: "2.2.0",
        group: Group::Bitmap,
        summary: "Sets one bit of a string, lengthening it with zeros, and returns what the bit was.",
        arity: Arity::Exactly(4),
        keys: Keys::First,
        key_access: &["RW", "access", "update"],
        flags: WRITE,
        arguments: "key offset value",
        handler: setbit,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GETBIT",
        since: "2.2.0",
        group: Group::Bitmap,
        summary: "Returns one bit of a string.",
        arity: Arity::Exactly(3),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key offset",
        handler: getbit,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "BITCOUNT",
        since: "2.6.0",
        group: Group::Bitmap,
        summary: "Counts the one bits of a string or a part of it.",
        complexity: "O(N) where N is the length of the part.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key [start [end [BYTE | BIT]]]",
        handler: bitcount,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "BITPOS",
        since: "2.8.7",
        group: Group::Bitmap,
        summary: "Finds the first bit of a string that is one or zero.",
        complexity: "O(N) where N is the length of the part that is searched.",
        arity: Arity::AtLeast(3),
        keys: Keys::First,
        flags: READ,
        arguments: "key bit [start [end [BYTE | BIT]]]",
        handler: bitpos,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "BITOP",
        since: "2.6.0",
        group: Group::Bitmap,
        summary: "Combines strings bit by bit and stores the result.",
        complexity: "O(N) where N is the length of all strings together.",
        arity: Arity::AtLeast(4),
        keys: Keys::Range { first: 2, last: -1, step: 1 },
        key_access: &["OW", "update"],
        key_access_of: Some(bitop_access),
        flags: WRITE,
        arguments: "AND | OR | XOR | NOT destkey key [key ...]",
        handler: bitop,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "BITFIELD",
        since: "3.2.0",
        group: Group::Bitmap,
        summary: "Reads and changes integers of any width at any bit offset of a string.",
        complexity: "O(1) for each subcommand.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        key_access: &["RW", "access", "update", "variable_flags"],
        key_access_of: Some(bitfield_access),
        flags: WRITE,
        arguments: "key [GET encoding offset | [OVERFLOW WRAP | SAT | FAIL] SET encoding offset value | \
                    INCRBY encoding offset increment [...]]",
        handler: bitfield,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "BITFIELD_RO",
        since: "6.0.0",
        group: Group::Bitmap,
        summary: "Reads integers of any width at any bit offset of a string.",
        complexity: "O(1) for each subcommand.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        flags: READ_FAST,
        arguments: "key [GET encoding offset [GET encoding offset ...]]",
        handler: bitfield_ro,
        ..CommandSpec::BASE
    },
];

/// Reads a bit offset; with a field type, `#n` means the n-th field of that type.
fn bit_offset(ctx: &Context<'_>, text: &[u8], field: Option<FieldType>) -> Result<u64, CommandError> {
    let offset = match (text, field) {
        ([b'#', index @ ..], Some(field)) => {
            parse_int(index).and_then(|index| index.checked_mul(i64::from(field.bits())))
        }
        _ => parse_int(text),
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok());
    let bytes_max = ctx.config().bulk_max().min(STRING_MAX) as u64;
    offset.filter(|offset| offset / 8 < bytes_max).ok_or(errors::BIT_OFFSET)
}

/// `SETBIT key offset value`
fn setbit(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let offset = bit_offset(ctx, args.bytes()?, None)?;
    let on = match args.bytes()? {
        b"0" => false,
        b"1" => true,
        _ => return Err(errors::BIT_VALUE),
    };
    let mut digits = IntText::default();
    let found = ctx.string(key)?;
    let text = found.as_ref().map(|string| string.text(&mut digits));
    let bytes = text.unwrap_or_default();
    let was_on = bits::getbit(bytes, offset);
    let byte = bits::byte_with_bit(bytes, offset, on);
    let is_longer = bytes.len() as u64 <= offset / 8;
    let is_new = found.is_none();
    if is_new {
        write_runs(ctx, key, true, &[(offset / 8, vec![byte])])?;
    } else if was_on != on || is_longer {
        ctx.set_range(key, (offset / 8) as usize, &[byte])?;
    }
    reply.integer(i64::from(was_on));
    Ok(())
}

/// Strings up to this length are created in one piece.
const CREATED_WHOLE_MAX: u64 = 4096;

/// Writes runs of bytes into a string, creating it if it is new.
fn write_runs(ctx: &mut Context<'_>, key: &[u8], is_new: bool, runs: &[(u64, Vec<u8>)]) -> CommandResult {
    if is_new {
        match runs {
            [(start, bytes)] if *start + bytes.len() as u64 <= CREATED_WHOLE_MAX => {
                let whole = [&vec![0; *start as usize][..], bytes].concat();
                return ctx.put_string(key, StringBody::Bytes(&whole), None, true);
            }
            [] => return Ok(()),
            _ => ctx.put_string(key, StringBody::Bytes(b""), None, true)?,
        }
    }
    for (start, bytes) in runs {
        ctx.set_range(key, *start as usize, bytes)?;
    }
    Ok(())
}

/// `GETBIT key offset`
fn getbit(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let offset = bit_offset(ctx, args.bytes()?, None)?;
    let is_on =
        ctx.string(key)?.is_some_and(|string| bits::getbit(string.text(&mut IntText::default()), offset));
    reply.integer(i64::from(is_on));
    Ok(())
}

fn unit(args: &mut Args<'_>) -> Result<Unit, CommandError> {
    let unit = match args.one_of(&["BIT", "BYTE"]) {
        Some(0) => Unit::Bit,
        Some(_) => Unit::Byte,
        None if args.peek().is_none() => Unit::Byte,
        None => return Err(errors::SYNTAX),
    };
    args.finish()?;
    Ok(unit)
}

/// `BITCOUNT key [start [end [BYTE | BIT]]]`
fn bitcount(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let bounds = match args.remaining() {
        0 => None,
        1..=3 => {
            let start = args.int()?;
            let end = args.next();
            let unit = unit(&mut args)?;
            let end = end.map(|end| parse_int(end).ok_or(errors::NOT_AN_INTEGER)).transpose()?;
            Some(Bounds { start, end, unit })
        }
        _ => return Err(errors::SYNTAX),
    };
    let count = match ctx.string(key)? {
        Some(string) => bits::bitcount(string.text(&mut IntText::default()), bounds),
        None => 0,
    };
    reply.integer(count.cast_signed());
    Ok(())
}

/// `BITPOS key bit [start [end [BYTE | BIT]]]`
fn bitpos(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let bit = match args.int()? {
        0 => false,
        1 => true,
        _ => return Err(errors::BIT_ARGUMENT),
    };
    let bounds = match args.remaining() {
        0 => None,
        1..=3 => {
            let start = args.int()?;
            let text_after_end = args.argv().get(args.position() + 1);
            let unit_word = text_after_end.is_some();
            let end = if args.is_empty() { None } else { Some(args.bytes()?) };
            let unit = if unit_word { unit(&mut args)? } else { Unit::Byte };
            let end = end.map(|end| parse_int(end).ok_or(errors::NOT_AN_INTEGER)).transpose()?;
            Some(Bounds { start, end, unit })
        }
        _ => return Err(errors::SYNTAX),
    };
    let position = match ctx.string(key)? {
        Some(string) => bits::bitpos(string.text(&mut IntText::default()), bit, bounds),
        // An absent key is an endless row of zeros.
        None => -i64::from(bit),
    };
    reply.integer(position);
    Ok(())
}

/// Without SET and INCRBY the key is only read.
fn bitfield_access(argv: Argv<'_>, _: usize) -> &'static [&'static str] {
    let is_change = |arg: &[u8]| arg.eq_ignore_ascii_case(b"SET") || arg.eq_ignore_ascii_case(b"INCRBY");
    if argv.iter().skip(2).any(is_change) { &["RW", "access", "update"] } else { &["RO", "access"] }
}

/// The first key is the target, the others are read.
fn bitop_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["OW", "update"] } else { &["RO", "access"] }
}

/// `BITOP operation destkey key [key ...]`
fn bitop(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let op = match args.one_of(&["AND", "OR", "XOR", "NOT"]) {
        Some(0) => BitOp::And,
        Some(1) => BitOp::Or,
        Some(2) => BitOp::Xor,
        Some(_) => BitOp::Not,
        None => return Err(errors::SYNTAX),
    };
    let target = args.key()?;
    if op == BitOp::Not && args.remaining() != 1 {
        return Err(errors::BITOP_NOT);
    }
    let mut result = BitOpResult::new(op);
    for key in args {
        match ctx.string(key)? {
            Some(string) => result.add(string.text(&mut IntText::default())),
            None => result.add(b""),
        }
    }
    let result = result.finish();
    if result.is_empty() {
        ctx.delete(target)?;
    } else {
        ctx.put_string(target, StringBody::Bytes(&result), None, true)?;
    }
    reply.integer(result.len() as i64);
    Ok(())
}

/// One operation of BITFIELD.
struct FieldOp {
    field: FieldType,
    offset: u64,
    action: FieldAction,
    overflow: Overflow,
}

enum FieldAction {
    Get,
    Set(i64),
    Add(i64),
}

impl FieldOp {
    fn parse_all(ctx: &Context<'_>, mut args: Args<'_>) -> Result<Vec<Self>, CommandError> {
        let mut ops = Vec::new();
        let mut overflow = Overflow::Wrap;
        while !args.is_empty() {
            // A subcommand without its arguments is a syntax error before any of them is looked at.
            let (word, needed) = match args.one_of(&["GET", "SET", "INCRBY", "OVERFLOW"]) {
                Some(word) => (word, [2, 3, 3, 1][word]),
                None => return Err(errors::SYNTAX),
            };
            if args.remaining() < needed {
                return Err(errors::SYNTAX);
            }
            if word == 3 {
                overflow = match args.one_of(&["WRAP", "SAT", "FAIL"]) {
                    Some(0) => Overflow::Wrap,
                    Some(1) => Overflow::Saturate,
                    Some(_) => Overflow::Fail,
                    None => return Err(errors::BITFIELD_OVERFLOW),
                };
                continue;
            }
            let field = FieldType::parse(args.bytes()?).ok_or(errors::BITFIELD_TYPE)?;
            let offset = bit_offset(ctx, args.bytes()?, Some(field))?;
            let action = match word {
                0 => FieldAction::Get,
                1 => FieldAction::Set(args.int()?),
                _ => FieldAction::Add(args.int()?),
            };
            ops.push(FieldOp { field, offset, action, overflow });
        }
        Ok(ops)
    }

    fn is_write(&self) -> bool {
        !matches!(self.action, FieldAction::Get)
    }

    /// The reply; `None` when the result does not fit and must not be stored.
    fn run(&self, edits: &mut FieldEdits<'_>) -> Option<i64> {
        let old = edits.get(self.field, self.offset);
        match self.action {
            FieldAction::Get => Some(old),
            FieldAction::Set(value) => {
                edits.set(self.field, self.offset, self.field.fit(value, self.overflow)?);
                Some(old)
            }
            FieldAction::Add(increment) => {
                let sum = self.field.add(old, increment, self.overflow)?;
                edits.set(self.field, self.offset, sum);
                Some(sum)
            }
        }
    }
}

/// `BITFIELD key [subcommand ...]`
fn bitfield(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let ops = FieldOp::parse_all(ctx, args)?;
    run_fields(ctx, key, &ops, reply)
}

/// `BITFIELD_RO key [GET encoding offset ...]`
fn bitfield_ro(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let ops = FieldOp::parse_all(ctx, args)?;
    if ops.iter().any(FieldOp::is_write) {
        return Err(errors::BITFIELD_RO);
    }
    run_fields(ctx, key, &ops, reply)
}

fn run_fields(
    ctx: &mut Context<'_>,
    key: &[u8],
    ops: &[FieldOp],
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let mut digits = IntText::default();
    let found = ctx.string(key)?;
    let is_new = found.is_none();
    let bytes = found.as_ref().map(|string| string.text(&mut digits)).unwrap_or_default();
    let mut edits = FieldEdits::new(bytes);
    reply.array(ops.len());
    for op in ops {
        match op.run(&mut edits) {
            Some(value) => reply.integer(value),
            None => reply.null(),
        }
    }
    // As in Redis the string covers every field that was to be written, even if none was.
    let end = ops.iter().filter(|op| op.is_write()).map(|op| op.offset + u64::from(op.field.bits())).max();
    edits.extend_to(end.unwrap_or(0).div_ceil(8));
    let runs = edits.runs();
    write_runs(ctx, key, is_new, &runs)
}
