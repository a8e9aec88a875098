//! Ranges of scores and of members, and their texts.
//!
//! A range is a pair of bounds as ZRANGEBYSCORE and ZRANGEBYLEX take them. What lies in it is always a
//! run of ranks; the values turn one into the other in O(log n).

use std::ops::Range;

use crate::value::string::number::parse_double;

/// Scores from `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The lower bound.
    pub min: f64,
    /// The upper bound.
    pub max: f64,
    /// The lower bound is not in the range.
    pub is_min_excluded: bool,
    /// The upper bound is not in the range.
    pub is_max_excluded: bool,
}

impl ScoreRange {
    /// Reads two bounds: a number, or `(` and a number that is excluded. As in Redis an empty number
    /// is zero, and numbers beyond the doubles are infinite.
    #[must_use]
    pub fn parse(min: &[u8], max: &[u8]) -> Option<ScoreRange> {
        let (min, is_min_excluded) = parse_score_bound(min)?;
        let (max, is_max_excluded) = parse_score_bound(max)?;
        Some(ScoreRange { min, max, is_min_excluded, is_max_excluded })
    }

    /// Whether the score is not below the range.
    #[must_use]
    pub fn begins_before(&self, score: f64) -> bool {
        if self.is_min_excluded { score > self.min } else { score >= self.min }
    }

    /// Whether the score is not above the range.
    #[must_use]
    pub fn ends_after(&self, score: f64) -> bool {
        if self.is_max_excluded { score < self.max } else { score <= self.max }
    }
}

fn parse_score_bound(text: &[u8]) -> Option<(f64, bool)> {
    let (number, is_excluded) = match text {
        [b'(', number @ ..] => (number, true),
        number => (number, false),
    };
    if number.is_empty() {
        return Some((0.0, is_excluded));
    }
    let score = parse_double(number).or_else(|| std::str::from_utf8(number).ok()?.parse().ok())?;
    (!score.is_nan()).then_some((score, is_excluded))
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LexBound<'a> {
    /// `-`: before every member.
    Lowest,
    /// `+`: after every member.
    Highest,
    /// `[member`: this member is in the range.
    Included(&'a [u8]),
    /// `(member`: this member is not.
    Excluded(&'a [u8]),
}

impl<'a> LexBound<'a> {
    fn parse(text: &'a [u8]) -> Option<LexBound<'a>> {
        match text {
            b"-" => Some(LexBound::Lowest),
            b"+" => Some(LexBound::Highest),
            [b'[', member @ ..] => Some(LexBound::Included(member)),
            [b'(', member @ ..] => Some(LexBound::Excluded(member)),
            _ => None,
        }
    }
}

/// Members from `min` to `max`, in the order of their bytes. Meant for values whose scores are all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LexRange<'a> {
    /// The lower bound.
    pub min: LexBound<'a>,
    /// The upper bound.
    pub max: LexBound<'a>,
}

impl<'a> LexRange<'a> {
    /// Reads two bounds: `-`, `+`, `[member` or `(member`.
    #[must_use]
    pub fn parse(min: &'a [u8], max: &'a [u8]) -> Option<LexRange<'a>> {
        Some(LexRange { min: LexBound::parse(min)?, max: LexBound::parse(max)? })
    }

    /// Whether the member is not before the range.
    #[must_use]
    pub fn begins_before(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => true,
            LexBound::Highest => false,
            LexBound::Included(bound) => member >= bound,
            LexBound::Excluded(bound) => member > bound,
        }
    }

    /// Whether the member is not after the range.
    #[must_use]
    pub fn ends_after(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Included(bound) => member <= bound,
            LexBound::Excluded(bound) => member < bound,
        }
    }
}

/// The ranks from `start` to `stop` (included) among `len`, where -1 is the last one.
#[must_use]
pub fn rank_range(len: u64, start: i64, stop: i64) -> Range<u64> {
    let from_end = |index: i64| {
        if index < 0 { len.checked_sub(index.unsigned_abs()) } else { Some(index.unsigned_abs()) }
    };
    let from = from_end(start).unwrap_or(0);
    let to = from_end(stop).map_or(0, |stop| stop.saturating_add(1).min(len));
    if from < to { from..to } else { 0..0 }
}

/// The part of `ranks` that `LIMIT offset count` leaves, counted from its end if reversed. A negative
/// count is no limit, a negative offset leaves nothing.
#[must_use]
pub fn limited(ranks: Range<u64>, is_reversed: bool, offset: i64, count: i64) -> Range<u64> {
    let len = ranks.end.saturating_sub(ranks.start);
    let Ok(offset) = u64::try_from(offset) else { return 0..0 };
    if offset >= len {
        return 0..0;
    }
    let count = u64::try_from(count).unwrap_or(u64::MAX).min(len - offset);
    if is_reversed {
        ranks.end - offset - count..ranks.end - offset
    } else {
        ranks.start + offset..ranks.start + offset + count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of redis-server 7.0.15 and valkey-server 9.1.2.
    #[test]
    fn score_bounds_are_read_as_in_redis() {
        for (text, expected) in [
            ("1.5", Some((1.5, false))),
            ("(1.5", Some((1.5, true))),
            ("-inf", Some((f64::NEG_INFINITY, false))),
            ("+inf", Some((f64::INFINITY, false))),
            ("(+inf", Some((f64::INFINITY, true))),
            ("infinity", Some((f64::INFINITY, false))),
            ("1e400", Some((f64::INFINITY, false))),
            ("-1e400", Some((f64::NEG_INFINITY, false))),
            ("1e-400", Some((0.0, false))),
            ("", Some((0.0, false))),
            ("(", Some((0.0, true))),
            ("nan", None),
            ("-nan", None),
            ("-", None),
            ("((1", None),
            ("1 ", None),
            ("1\0a", None),
            ("[1", None),
        ] {
            assert_eq!(parse_score_bound(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn lex_bounds_need_their_mark() {
        for (text, expected) in [
            ("-", Some(LexBound::Lowest)),
            ("+", Some(LexBound::Highest)),
            ("[", Some(LexBound::Included(b""))),
            ("(", Some(LexBound::Excluded(b""))),
            ("[a", Some(LexBound::Included(b"a"))),
            ("((", Some(LexBound::Excluded(b"("))),
            ("a", None),
            ("", None),
            ("-a", None),
            ("+\0", None),
        ] {
            assert_eq!(LexBound::parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn ranks_count_from_both_ends() {
        for (start, stop, expected) in [
            (0, -1, 0..5),
            (-2, -1, 3..5),
            (1, 2, 1..3),
            (0, 100, 0..5),
            (-100, 0, 0..1),
            (3, 2, 0..0),
            (5, 9, 0..0),
            (0, -6, 0..0),
            (i64::MIN, i64::MAX, 0..5),
        ] {
            assert_eq!(rank_range(5, start, stop), expected, "{start} {stop}");
        }
        assert_eq!(rank_range(0, 0, -1), 0..0);
    }

    #[test]
    fn limits_count_in_reading_order() {
        assert_eq!(limited(2..8, false, 0, -1), 2..8);
        assert_eq!(limited(2..8, false, 1, 2), 3..5);
        assert_eq!(limited(2..8, true, 1, 2), 5..7);
        assert_eq!(limited(2..8, true, 0, 100), 2..8);
        assert_eq!(limited(2..8, false, 6, 1), 0..0);
        assert_eq!(limited(2..8, false, -1, 1), 0..0);
        assert_eq!(limited(2..8, true, 0, 0), 8..8);
    }
}
