//! The kinds of values a parameter can have: how each is read, checked and written.
//!
//! Error texts are Redis's, without the sentence around them.

/// What a parameter accepts.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Flag,
    /// A decimal number inside the bounds.
    Int { min: i64, max: i64 },
    /// A number of bytes with an optional unit (`64mb`).
    Memory { min: i64, max: i64 },
    /// An octal number (permissions).
    Octal { max: i64 },
    /// One of these words, any case.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// Any bytes; logs and the reference never show them.
    Secret,
    /// Words separated by spaces.
    Words,
    /// Save points: pairs of numbers, or empty.
    SavePoints,
    /// Quadruples `class hard soft seconds`.
    BufferLimits,
    /// This text and no other, for now.
    Only(&'static str),
}

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Flag(bool),
    Int(i64),
    Text(String),
    Secret(Vec<u8>),
    Words(Vec<String>),
    BufferLimits(BufferLimits),
}

/// When a client that does not read its replies is disconnected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferLimit {
    /// At once above this; 0 is never.
    pub hard_bytes: u64,
    /// When it stays above this for `soft_seconds`; 0 is never.
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

/// The output buffer limits of the client classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferLimits {
    pub normal: BufferLimit,
    pub replica: BufferLimit,
    pub pubsub: BufferLimit,
}

impl Kind {
    /// Reads a value. `old` is the value so far, for kinds that change in part.
    pub fn parse(self, text: &[u8], old: &Value) -> Result<Value, String> {
        if matches!(self, Kind::Secret) {
            return Ok(Value::Secret(text.to_vec()));
        }
        match str::from_utf8(text) {
            Ok(text) => self.parse_text(text, old),
            Err(_) => Err("argument must be valid UTF-8".into()),
        }
    }

    fn parse_text(self, text: &str, old: &Value) -> Result<Value, String> {
        match self {
            Kind::Flag => match text {
                _ if text.eq_ignore_ascii_case("yes") => Ok(Value::Flag(true)),
                _ if text.eq_ignore_ascii_case("no") => Ok(Value::Flag(false)),
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            Kind::Int { min, max } => {
                let number = text.parse().map_err(|_| "argument couldn't be parsed into an integer")?;
                within(number, min, max).map(Value::Int)
            }
            Kind::Memory { min, max } => {
                let number = parse_memory(text).ok_or("argument must be a memory value")?;
                within(number, min, max).map(Value::Int)
            }
            Kind::Octal { max } => {
                let number = i64::from_str_radix(text, 8)
                    .map_err(|_| "argument couldn't be parsed as an octal number")?;
                if (0..=max).contains(&number) {
                    return Ok(Value::Int(number));
                }
                Err(format!("argument must be between 0 and {max:o} inclusive"))
            }
            Kind::Choice(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                Some(word) => Ok(Value::Text((*word).into())),
                None => Err(format!("argument(s) must be one of the following: {}", words.join(", "))),
            },
            Kind::Text => Ok(Value::Text(text.into())),
            Kind::Secret => Ok(Value::Secret(text.into())),
            Kind::Words => Ok(Value::Words(text.split_ascii_whitespace().map(String::from).collect())),
            Kind::SavePoints => parse_save_points(text),
            Kind::BufferLimits => parse_buffer_limits(text, old),
            Kind::Only(only) if text == only => Ok(Value::Text(text.into())),
            Kind::Only("") => Err("not supported yet: only an empty value is accepted".into()),
            Kind::Only(only) => Err(format!("argument must be '{only}'")),
        }
    }

    /// Writes a value as CONFIG GET shows it.
    #[must_use]
    pub fn print(self, value: &Value) -> Vec<u8> {
        let text = match (self, value) {
            (_, Value::Flag(flag)) => if *flag { "yes" } else { "no" }.into(),
            (Kind::Octal { .. }, Value::Int(number)) => format!("{number:o}"),
            (_, Value::Int(number)) => number.to_string(),
            (_, Value::Text(text)) => text.clone(),
            (_, Value::Secret(bytes)) => return bytes.clone(),
            (_, Value::Words(words)) => words.join(" "),
            (_, Value::BufferLimits(limits)) => limits.print(),
        };
        text.into_bytes()
    }

    /// Whether a line of a file may give the value in several words.
    #[must_use]
    pub fn takes_many_words(self) -> bool {
        matches!(self, Kind::Words | Kind::SavePoints | Kind::BufferLimits)
    }

    /// What the reference page says about accepted values.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Kind::Flag => "yes or no".into(),
            Kind::Int { min, max: i64::MAX } => format!("number from {min}"),
            Kind::Int { min, max } => format!("number, {min} to {max}"),
            Kind::Memory { .. } => "bytes, with k, kb, m, mb, g, gb".into(),
            Kind::Octal { .. } => "octal permissions".into(),
            Kind::Choice(words) => words.join(", "),
            Kind::Text => "text".into(),
            Kind::Secret => "any bytes".into(),
            Kind::Words => "words".into(),
            Kind::SavePoints => "pairs of seconds and changes".into(),
            Kind::BufferLimits => "class hard soft seconds ...".into(),
            Kind::Only("") => "only empty".into(),
            Kind::Only(only) => format!("only {only}"),
        }
    }
}

fn within(number: i64, min: i64, max: i64) -> Result<i64, String> {
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(format!("argument must be between {min} and {max} inclusive"))
}

/// Reads `64mb`: k, m, g are powers of 1000, kb, mb, gb of 1024, as in Redis.
#[must_use]
pub fn parse_memory(text: &str) -> Option<i64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-').len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        "t" => 1_000_000_000_000,
        "tb" => 1 << 40,
        _ => return None,
    };
    number.parse::<i64>().ok().filter(|n| *n >= 0)?.checked_mul(factor)
}

fn parse_save_points(text: &str) -> Result<Value, String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let are_numbers = words.chunks(2).all(|pair| match pair {
        [seconds, changes] => {
            seconds.parse::<i64>().is_ok_and(|n| n >= 1) && changes.parse::<i64>().is_ok_and(|n| n >= 0)
        }
        _ => false,
    });
    if are_numbers { Ok(Value::Text(words.join(" "))) } else { Err("Invalid save parameters".into()) }
}

fn parse_buffer_limits(text: &str, old: &Value) -> Result<Value, String> {
    let Value::BufferLimits(mut limits) = *old else {
        return Err("argument must be buffer limits".into());
    };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for words in words.chunks_exact(4) {
        let slot = match words[0].to_ascii_lowercase().as_str() {
            "normal" => &mut limits.normal,
            "slave" | "replica" => &mut limits.replica,
            "pubsub" => &mut limits.pubsub,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let bytes = |text: &str| parse_memory(text).and_then(|n| u64::try_from(n).ok());
        let limit = (bytes(words[1]), bytes(words[2]), words[3].parse().ok());
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) = limit else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into());
        };
        *slot = BufferLimit { hard_bytes, soft_bytes, soft_seconds };
    }
    Ok(Value::BufferLimits(limits))
}

impl BufferLimits {
    /// The classes with the names CONFIG GET shows.
    #[must_use]
    pub fn classes(&self) -> [(&'static str, BufferLimit); 3] {
        [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)]
    }

    fn print(&self) -> String {
        let classes = self.classes().map(|(name, limit)| {
            format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        });
        classes.join(" ")
    }
}

/// A field of the configuration that holds one kind of [`Value`].
pub(super) trait Setting {
    fn to_value(&self) -> Value;
    /// Takes a value that [`Kind::parse`] made for this field.
    fn assign(&mut self, value: Value);
}

macro_rules! setting {
    ($type:ty, $variant:ident) => {
        impl Setting for $type {
            fn to_value(&self) -> Value {
                Value::$variant(self.clone())
            }

            fn assign(&mut self, value: Value) {
                match value {
                    Value::$variant(value) => *self = value,
                    other => unreachable!("the parameter's kind does not make {other:?}"),
                }
            }
        }
    };
}

setting!(bool, Flag);
setting!(i64, Int);
setting!(String, Text);
setting!(Vec<u8>, Secret);
setting!(Vec<String>, Words);
setting!(BufferLimits, BufferLimits);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_units_are_those_of_redis() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("100", Some(100)),
            ("1k", Some(1000)),
            ("1KB", Some(1024)),
            ("64mb", Some(64 << 20)),
            ("2g", Some(2_000_000_000)),
            ("1gb", Some(1 << 30)),
            ("mb", None),
            ("1.5gb", None),
            ("-1", None),
            ("1 gb", None),
            ("99999999999gb", None),
            ("", None),
        ] {
            assert_eq!(parse_memory(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn buffer_limits_change_in_part() {
        let old = Value::BufferLimits(BufferLimits::default());
        let new = Kind::BufferLimits.parse(b"pubsub 32mb 8mb 60", &old).expect("valid");
        assert_eq!(Kind::BufferLimits.print(&new), b"normal 0 0 0 slave 0 0 0 pubsub 33554432 8388608 60");
        assert!(Kind::BufferLimits.parse(b"pubsub 1 2", &old).is_err());
        assert!(Kind::BufferLimits.parse(b"other 1 2 3", &old).is_err());
    }
}
