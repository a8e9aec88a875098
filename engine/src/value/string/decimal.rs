//! From the text of a number to correctly rounded binary, for any format up to 64 bits of mantissa.
//!
//! [`scan`] accepts what C's `strtod` accepts, as a whole and without leading space. Decimal digits
//! become an exact quotient of integers, cut to 128 bits with a note of what was cut (*sticky*), and
//! [`Format::round`] rounds that once, half to even.

/// A scanned number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number<'a> {
    /// All digits are zeros.
    Zero { negative: bool },
    /// `inf` or `infinity`.
    Infinite { negative: bool },
    /// A nonzero decimal number.
    Decimal(Decimal<'a>),
    /// A nonzero hexadecimal number: `bits * 2^exponent`, and a little more if `sticky`.
    Binary { negative: bool, bits: u128, sticky: bool, exponent: i64 },
}

/// A nonzero decimal number: the digits of both parts in a row, times `10^exponent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Decimal<'a> {
    pub negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// Exponents beyond this are all alike: far outside every format, for any text that fits in memory.
const EXPONENT_MAX: i64 = 1 << 40;

/// Reads the whole of `text` as a number; NaN is none.
pub(super) fn scan(text: &[u8]) -> Option<Number<'_>> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
        return Some(Number::Infinite { negative });
    }
    match rest {
        [b'0', b'x' | b'X', hex @ ..] => scan_hex(negative, hex),
        _ => scan_decimal(negative, rest),
    }
}

fn scan_decimal(negative: bool, text: &[u8]) -> Option<Number<'_>> {
    let (whole, fraction, rest) = split_point(text, u8::is_ascii_digit)?;
    let exponent = scan_exponent(rest, b'e')?;
    let whole = &whole[whole.iter().take_while(|b| **b == b'0').count()..];
    let fraction = &fraction[..fraction.len() - fraction.iter().rev().take_while(|b| **b == b'0').count()];
    if whole.is_empty() && fraction.is_empty() {
        return Some(Number::Zero { negative });
    }
    let exponent = exponent - fraction.len() as i64;
    Some(Number::Decimal(Decimal { negative, whole, fraction, exponent }))
}

fn scan_hex(negative: bool, text: &[u8]) -> Option<Number<'static>> {
    let (whole, fraction, rest) = split_point(text, u8::is_ascii_hexdigit)?;
    let mut exponent = scan_exponent(rest, b'p')? - 4 * fraction.len() as i64;
    let (mut bits, mut sticky) = (0u128, false);
    for byte in whole.iter().chain(fraction) {
        let digit = char::from(*byte).to_digit(16).expect("the scanner took hexadecimal digits only");
        if bits >> 124 == 0 {
            bits = bits << 4 | u128::from(digit);
        } else {
            sticky |= digit != 0;
            exponent += 4;
        }
    }
    Some(match bits {
        0 => Number::Zero { negative },
        _ => Number::Binary { negative, bits, sticky, exponent },
    })
}

/// Splits `digits[.digits]` off; there must be at least one digit.
fn split_point(text: &[u8], is_digit: fn(&u8) -> bool) -> Option<(&[u8], &[u8], &[u8])> {
    let (whole, rest) = split_while(text, is_digit);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => split_while(rest, is_digit),
        rest => (&[][..], rest),
    };
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction, rest))
}

fn split_while(text: &[u8], is_digit: fn(&u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|b| is_digit(b)).count())
}

/// Reads nothing (0) or an exponent up to the end of the text.
fn scan_exponent(text: &[u8], letter: u8) -> Option<i64> {
    let [first, rest @ ..] = text else {
        return Some(0);
    };
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let is_exponent = first.eq_ignore_ascii_case(&letter) && !digits.is_empty();
    if !is_exponent || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude =
        digits.iter().fold(0, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX));
    Some(if negative { -magnitude } else { magnitude })
}

/// A binary floating point format.
pub(super) struct Format {
    /// Bits of the mantissa, the leading one included.
    mantissa_bits: u32,
    /// Exponent of the mantissa's last bit in the smallest numbers.
    exponent_min: i64,
    /// The same in the largest numbers.
    exponent_max: i64,
}

/// The 80-bit format of the x87, C's `long double` on x86-64.
pub(super) const EXTENDED: Format = Format { mantissa_bits: 64, exponent_min: -16_445, exponent_max: 16_320 };

/// `mantissa * 2^exponent`, rounded; 0 if the number vanished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rounded {
    pub mantissa: u64,
    pub exponent: i32,
}

impl Format {
    /// Rounds `bits * 2^exponent` (a little more if `sticky`) half to even; `None` on overflow.
    ///
    /// With `sticky`, at least two bits more than the mantissa takes must be there.
    pub(super) fn round(&self, bits: u128, sticky: bool, exponent: i64) -> Option<Rounded> {
        assert!(bits != 0, "zeros are not rounded");
        debug_assert!(!sticky || bits.ilog2() > self.mantissa_bits);
        let normalized = bits << bits.leading_zeros();
        let exponent = exponent - i64::from(bits.leading_zeros());
        let drop = i64::from(128 - self.mantissa_bits).max(self.exponent_min - exponent);
        if drop > 128 {
            return Some(Rounded { mantissa: 0, exponent: 0 });
        }
        let drop = u32::try_from(drop).expect("checked to be at most 128");
        let kept = normalized.checked_shr(drop).unwrap_or(0) as u64;
        let rest = normalized << (128 - drop);
        let half = 1u128 << 127;
        let up = rest > half || rest == half && (sticky || kept & 1 == 1);
        let mut mantissa = u128::from(kept) + u128::from(up);
        let mut exponent = exponent + i64::from(drop);
        if mantissa >> self.mantissa_bits != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
        (exponent <= self.exponent_max).then(|| Rounded {
            mantissa: u64::try_from(mantissa).expect("no format has more than 64 bits"),
            exponent: i32::try_from(exponent).expect("exponents of all formats fit"),
        })
    }
}

impl Decimal<'_> {
    /// Rounds to `format`; `None` on overflow.
    pub(super) fn round(&self, format: &Format) -> Option<Rounded> {
        let digit_count = (self.whole.len() + self.fraction.len()) as i64;
        // Decimal position of the first digit, at most: cheap answers for what is far out of range.
        let top = digit_count.saturating_add(self.exponent);
        if self.whole.first().is_some_and(|b| *b != b'0') && top > 5_000 {
            return None;
        }
        if top < -5_000 {
            return Some(Rounded { mantissa: 0, exponent: 0 });
        }
        if digit_count <= 19 && (-18..=19).contains(&self.exponent) {
            return self.round_small(format);
        }
        self.round_large(format)
    }

    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole.iter().chain(self.fraction).map(|b| b - b'0')
    }

    /// Nineteen digits and a power of ten within one word: no allocation.
    fn round_small(&self, format: &Format) -> Option<Rounded> {
        let digits = self.digits().fold(0u64, |sum, digit| sum * 10 + u64::from(digit));
        let power = 10u64.pow(self.exponent.unsigned_abs() as u32);
        if self.exponent >= 0 {
            return format.round(u128::from(digits) * u128::from(power), false, 0);
        }
        // Moved to the top of the word, so that the quotient has at least 67 bits.
        let shift = u128::from(digits).leading_zeros();
        let numerator = u128::from(digits) << shift;
        let (quotient, remainder) = (numerator / u128::from(power), numerator % u128::from(power));
        format.round(quotient, remainder != 0, -i64::from(shift))
    }

    fn round_large(&self, format: &Format) -> Option<Rounded> {
        let mut numerator = Natural::from_digits(self.digits());
        let mut denominator = Natural::from_digits([1].into_iter());
        let power = self.exponent.unsigned_abs();
        if self.exponent >= 0 { &mut numerator } else { &mut denominator }.multiply_by_power_of_ten(power);
        // Scaled so that the quotient has 127 or 128 bits.
        let shift = denominator.bit_len() as i64 + 127 - numerator.bit_len() as i64;
        if shift >= 0 { &mut numerator } else { &mut denominator }.shift_left(shift.unsigned_abs());
        let (quotient, exact) = numerator.divide(denominator);
        format.round(quotient, !exact, -shift)
    }
}

/// An unsigned integer of any size, lowest word first, without zero words on top.
struct Natural {
    words: Vec<u64>,
}

impl Natural {
    fn from_digits(digits: impl Iterator<Item = u8>) -> Self {
        let mut number = Natural { words: Vec::new() };
        let (mut chunk, mut scale) = (0, 1);
        for digit in digits {
            (chunk, scale) = (chunk * 10 + u64::from(digit), scale * 10);
            if scale == 10u64.pow(19) {
                number.multiply_add(scale, chunk);
                (chunk, scale) = (0, 1);
            }
        }
        number.multiply_add(scale, chunk);
        number
    }

    fn multiply_add(&mut self, factor: u64, summand: u64) {
        let mut carry = u128::from(summand);
        for word in &mut self.words {
            carry += u128::from(*word) * u128::from(factor);
            *word = carry as u64;
            carry >>= 64;
        }
        if carry != 0 {
            self.words.push(carry as u64);
        }
    }

    fn multiply_by_power_of_ten(&mut self, mut power: u64) {
        while power > 0 {
            let step = power.min(19);
            self.multiply_add(10u64.pow(step as u32), 0);
            power -= step;
        }
    }

    fn bit_len(&self) -> usize {
        self.words.last().map_or(0, |top| self.words.len() * 64 - top.leading_zeros() as usize)
    }

    fn shift_left(&mut self, bits: u64) {
        self.multiply_add(1 << (bits % 64), 0);
        let whole_words = usize::try_from(bits / 64).expect("shifts are as long as a number in memory");
        self.words.splice(0..0, std::iter::repeat_n(0, whole_words));
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for word in self.words.iter_mut().rev() {
            let low = *word & 1;
            *word = *word >> 1 | carry << 63;
            carry = low;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    fn is_at_least(&self, other: &Natural) -> bool {
        let by_size = self.words.len().cmp(&other.words.len());
        by_size.then_with(|| self.words.iter().rev().cmp(other.words.iter().rev())).is_ge()
    }

    /// Subtracts a number that is not larger.
    fn subtract(&mut self, other: &Natural) {
        let mut borrow = false;
        let subtrahends = other.words.iter().copied().chain(std::iter::repeat(0));
        for (word, subtrahend) in self.words.iter_mut().zip(subtrahends) {
            let (partial, under) = word.overflowing_sub(subtrahend);
            let (result, under_again) = partial.overflowing_sub(u64::from(borrow));
            *word = result;
            borrow = under || under_again;
        }
        self.trim();
    }

    /// The quotient, which must be below 2^128, and whether nothing is left over.
    fn divide(mut self, mut divisor: Natural) -> (u128, bool) {
        divisor.shift_left(127);
        let mut quotient = 0u128;
        for _ in 0..128 {
            quotient <<= 1;
            if self.is_at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            divisor.halve();
        }
        (quotient, self.words.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The 64-bit format of IEEE 754, for which the standard library knows the answers.
    const DOUBLE: Format = Format { mantissa_bits: 53, exponent_min: -1074, exponent_max: 971 };

    fn as_double(text: &str) -> Option<(u64, i32)> {
        let Some(Number::Decimal(decimal)) = scan(text.as_bytes()) else {
            panic!("{text:?} is a nonzero decimal number");
        };
        decimal.round(&DOUBLE).map(|rounded| (rounded.mantissa, rounded.exponent))
    }

    /// What the standard library makes of the same text, which is known to be rounded correctly.
    fn expected_double(text: &str) -> Option<(u64, i32)> {
        let value: f64 = text.parse().unwrap();
        if value == 0.0 {
            return Some((0, 0));
        }
        let fraction = value.to_bits() & ((1 << 52) - 1);
        let biased = (value.to_bits() >> 52 & 0x7ff) as i32;
        value.is_finite().then(|| match biased {
            0 => (fraction, -1074),
            _ => (fraction | 1 << 52, biased - 1075),
        })
    }

    fn agree(text: &str) {
        let (ours, theirs) = (as_double(text), expected_double(text));
        let vanished = ours.is_some_and(|(mantissa, _)| mantissa == 0);
        assert!(ours == theirs || vanished && theirs == Some((0, 0)), "{text}: {ours:?}, not {theirs:?}");
    }

    #[test]
    fn hard_decimals_round_correctly() {
        for text in [
            "9007199254740993",
            "9007199254740993.00000000000000000000000000000000000001",
            "9007199254740992.99999999999999999999999999999999999999",
            "2.2250738585072011e-308",
            "2.4703282292062327208e-324",
            "2.4703282292062328e-324",
            "4.9e-324",
            "1e-400",
            "1.7976931348623158e308",
            "1.7976931348623159e308",
            "1e309",
            "0.000000000000000000000000000000000000000000001e45",
            "123456789012345678901234567890e-25",
        ] {
            agree(text);
        }
        agree(&format!("{}e-5000", "9".repeat(5000)));
        agree(&format!("0.{}1e5000", "0".repeat(4999)));
        assert_eq!(as_double("1e999999999999999999999999"), None);
        assert_eq!(as_double("1e-999999999999999999999999"), Some((0, 0)));
    }

    proptest! {
        #[test]
        fn rounding_agrees_with_the_standard_library(text in "[0-9]{0,25}[1-9]\\.[0-9]{0,25}(e-?[0-9]{1,2})?") {
            agree(&text);
        }

        #[test]
        fn extreme_exponents_agree_too(digits in "[1-9][0-9]{0,40}", exponent in -380i32..320) {
            agree(&format!("{digits}e{exponent}"));
        }

        #[test]
        fn any_bytes_are_scanned_or_refused(text: Vec<u8>) {
            let _ = scan(&text);
        }
    }
}
