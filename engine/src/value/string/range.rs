//! The index rules of GETRANGE and SETRANGE.

use std::ops::Range;

use super::STRING_MAX;

/// Turns GETRANGE's inclusive, possibly negative bounds into a range of a string of `len` bytes.
///
/// Negative bounds count from the end. A bound before the string counts as its first byte, an end
/// behind it as its last byte; two negative bounds in the wrong order are empty before that clamping.
#[must_use]
pub fn getrange(len: u64, start: i64, end: i64) -> Range<u64> {
    if is_reversed(start, end) {
        return 0..0;
    }
    clamp_inclusive(len, start, end).unwrap_or(0..0)
}

/// Whether both bounds count from the end, in the wrong order: nothing is meant, even if clamping
/// would make a range of them.
pub(super) fn is_reversed(start: i64, end: i64) -> bool {
    start < 0 && end < 0 && start > end
}

/// Resolves inclusive bounds over `len` units (bytes or bits); `None` when nothing is left.
pub(super) fn clamp_inclusive(len: u64, start: i64, end: i64) -> Option<Range<u64>> {
    let first = from_either_end(len, start);
    let last = from_either_end(len, end).min(len.checked_sub(1)?);
    (first <= last).then(|| first..last + 1)
}

/// Resolves an index that counts from the end when negative; before the start it is 0.
pub(super) fn from_either_end(len: u64, index: i64) -> u64 {
    if index < 0 { len.saturating_sub(index.unsigned_abs()) } else { index.unsigned_abs() }
}

/// The length a string of `len` bytes has after `patch_len` bytes were written at `offset`.
///
/// `None` when that is more than [`STRING_MAX`]. An empty patch never lengthens the string.
#[must_use]
pub fn setrange_len(len: u64, offset: u64, patch_len: u64) -> Option<u64> {
    if patch_len == 0 {
        return Some(len);
    }
    let end = offset.checked_add(patch_len)?;
    (end <= STRING_MAX as u64).then_some(len.max(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(text: &str, start: i64, end: i64) -> &str {
        let range = getrange(text.len() as u64, start, end);
        &text[range.start as usize..range.end as usize]
    }

    #[test]
    fn getrange_follows_redis() {
        let text = "This is a string";
        for (start, end, expected) in [
            (0, 3, "This"),
            (-3, -1, "ing"),
            (0, -1, text),
            (10, 100, "string"),
            (5, 3, ""),
            (-1, -5, ""),
            (-1, -100, ""),
            (0, -100, "T"),
            (-100, -100, "T"),
            (-100, 3, "This"),
            (100, 200, ""),
            (i64::MIN, i64::MAX, text),
            (i64::MAX, i64::MIN, ""),
            (0, i64::MIN, "T"),
        ] {
            assert_eq!(slice(text, start, end), expected, "{start} {end}");
        }
        assert_eq!(slice("", 0, -1), "");
        assert_eq!(slice("", -5, 5), "");
    }

    #[test]
    fn setrange_lengthens_and_is_bounded() {
        assert_eq!(setrange_len(5, 2, 2), Some(5));
        assert_eq!(setrange_len(5, 4, 3), Some(7));
        assert_eq!(setrange_len(0, 10, 1), Some(11));
        assert_eq!(setrange_len(5, 1000, 0), Some(5));
        assert_eq!(setrange_len(0, STRING_MAX as u64 - 1, 1), Some(STRING_MAX as u64));
        assert_eq!(setrange_len(0, STRING_MAX as u64, 1), None);
        assert_eq!(setrange_len(0, u64::MAX, 2), None);
    }
}
