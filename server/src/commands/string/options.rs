//! The options of commands that set strings: conditions and lifetimes.

use lux_engine::ids::ExpireAt;
use lux_engine::value::string::number::parse_int;

use crate::dispatch::args::Args;
use crate::dispatch::reply::CommandError;
use crate::dispatch::reply_errors as errors;

/// What a lifetime option counts, and from when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

impl Clock {
    const WORDS: [(&'static str, Clock); 4] = [
        ("EX", Clock::Seconds),
        ("PX", Clock::Milliseconds),
        ("EXAT", Clock::UnixSeconds),
        ("PXAT", Clock::UnixMilliseconds),
    ];

    /// The deadline that `text` means at `now_ms`.
    pub(super) fn deadline(self, text: &[u8], now_ms: u64, command: &str) -> Result<ExpireAt, CommandError> {
        let amount = parse_int(text).ok_or(errors::NOT_AN_INTEGER)?;
        let scale = if matches!(self, Clock::Seconds | Clock::UnixSeconds) { 1000 } else { 1 };
        let base =
            if matches!(self, Clock::Seconds | Clock::Milliseconds) { now_ms.cast_signed() } else { 0 };
        let deadline = Some(amount).filter(|n| *n > 0).and_then(|n| n.checked_mul(scale)?.checked_add(base));
        deadline.map(|ms| ExpireAt(ms.unsigned_abs())).ok_or_else(|| errors::invalid_expire(command))
    }
}

/// What becomes of a key's lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime<'a> {
    /// Whatever is the command's default.
    Unsaid,
    Keep,
    Persist,
    Until(Clock, &'a [u8]),
}

impl<'a> Lifetime<'a> {
    /// Takes a lifetime option if the next argument is one. A second one may only repeat the first
    /// with another value.
    pub(super) fn take(&mut self, args: &mut Args<'a>) -> Result<bool, CommandError> {
        let Some((_, clock)) = Clock::WORDS.iter().find(|(word, _)| args.keyword(word)) else {
            return Ok(false);
        };
        let repeats = matches!(self, Lifetime::Until(before, _) if before == clock);
        if *self != Lifetime::Unsaid && !repeats {
            return Err(errors::SYNTAX);
        }
        *self = Lifetime::Until(*clock, args.bytes()?);
        Ok(true)
    }

    /// Takes a lifetime option without a value.
    pub(super) fn take_word(
        &mut self,
        args: &mut Args<'a>,
        word: &str,
        meaning: Lifetime<'a>,
    ) -> Result<bool, CommandError> {
        if !args.keyword(word) {
            return Ok(false);
        }
        if *self != Lifetime::Unsaid && *self != meaning {
            return Err(errors::SYNTAX);
        }
        *self = meaning;
        Ok(true)
    }
}

/// When SET stores its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition<'a> {
    Always,
    IfAbsent,
    IfPresent,
    IfEqual(&'a [u8]),
}

pub(super) struct SetOptions<'a> {
    pub(super) condition: Condition<'a>,
    pub(super) returns_old: bool,
    pub(super) lifetime: Lifetime<'a>,
}

impl<'a> SetOptions<'a> {
    pub(super) fn parse(mut args: Args<'a>) -> Result<Self, CommandError> {
        let mut options =
            SetOptions { condition: Condition::Always, returns_old: false, lifetime: Lifetime::Unsaid };
        while !args.is_empty() {
            let taken = options.take_condition(&mut args)?
                || options.take_get(&mut args)
                || options.lifetime.take_word(&mut args, "KEEPTTL", Lifetime::Keep)?
                || options.lifetime.take(&mut args)?;
            if !taken {
                return Err(errors::SYNTAX);
            }
        }
        Ok(options)
    }

    fn take_get(&mut self, args: &mut Args<'a>) -> bool {
        let found = args.keyword("GET");
        self.returns_old |= found;
        found
    }

    fn take_condition(&mut self, args: &mut Args<'a>) -> Result<bool, CommandError> {
        let condition = match args.one_of(&["NX", "XX", "IFEQ"]) {
            None => return Ok(false),
            Some(0) => Condition::IfAbsent,
            Some(1) => Condition::IfPresent,
            Some(_) => Condition::IfEqual(args.bytes()?),
        };
        let repeats = self.condition == condition && !matches!(condition, Condition::IfEqual(_));
        if self.condition != Condition::Always && !repeats {
            return Err(errors::SYNTAX);
        }
        self.condition = condition;
        Ok(true)
    }
}
