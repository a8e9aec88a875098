//! SORT without keys and replies: patterns, weights, the order, LIMIT.
//!
//! Elements are ordered by a *weight* each: a number or a text, which is the element itself or what a
//! BY pattern names for it. Equal numbers are ordered by their elements. What still ties - elements
//! that are equal, or texts of BY patterns that are - keeps the order it came in, with DESC too; Redis
//! does so with up to six elements and leaves it open for more.
//!
//! Ordering n elements to take k of them from rank r costs O(n + (k + r) log (k + r)) comparisons, or
//! O(n log n) for all. Texts are compared byte by byte, and up to the first zero byte unless the result
//! is stored, as in Redis under the "C" locale.

use std::cmp::Ordering;
use std::ops::Range;

use super::string::number::parse_double;

/// A BY or GET pattern.
///
/// Redis looks at patterns as C strings: a star or an arrow behind a zero byte is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern<'a> {
    /// `#`: the element itself. Only GET means it so; for BY it is one without a star.
    Element,
    /// A pattern without a star. GET finds nothing; BY means that nothing is to be sorted.
    Constant,
    /// The key that comes of putting the element in place of the star.
    Key {
        /// What stands before the star.
        prefix: &'a [u8],
        /// What stands behind it, up to the arrow if there is one.
        suffix: &'a [u8],
        /// The field of the hash at that key, behind the arrow; otherwise the key holds a string.
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    /// Reads a pattern.
    #[must_use]
    pub fn parse(pattern: &'a [u8]) -> Self {
        let text = c_string(pattern);
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text.iter().position(|byte| *byte == b'*') else { return Pattern::Constant };
        let (prefix, behind) = (&pattern[..star], &pattern[star + 1..]);
        let arrow = c_string(behind).windows(2).position(|two| two == b"->");
        // An arrow at the end belongs to the key.
        let arrow = arrow.filter(|at| behind.get(at + 2).is_some_and(|byte| *byte != 0));
        let (suffix, field) = match arrow {
            Some(at) => (&behind[..at], Some(&behind[at + 2..])),
            None => (behind, None),
        };
        Pattern::Key { prefix, suffix, field }
    }

    /// Whether a BY pattern says that nothing is to be sorted.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        !matches!(self, Pattern::Key { .. })
    }

    /// Writes the key for an element into `key`; `false` for a pattern that names none.
    pub fn put_key(&self, element: &[u8], key: &mut Vec<u8>) -> bool {
        key.clear();
        let Pattern::Key { prefix, suffix, .. } = self else { return false };
        for part in [prefix, element, suffix] {
            key.extend_from_slice(part);
        }
        true
    }
}

/// The bytes before the first zero.
fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads a weight that must be a number, as Valkey does: a decimal number or an infinity, ended by a zero
/// byte. No text, space before it, hexadecimal digits, NaN, and what is too large or too small for a
/// double are refused. (Redis takes the first three.)
#[must_use]
pub fn parse_weight(text: &[u8]) -> Option<f64> {
    parse_double(c_string(text))
}

/// The elements of LIMIT: a part of `len` of them. A negative start is the first, a negative count all.
#[must_use]
pub fn limit(len: usize, start: i64, count: i64) -> Range<usize> {
    let start = usize::try_from(start.max(0)).unwrap_or(len).min(len);
    let count = usize::try_from(count).unwrap_or(len).min(len - start);
    start..start + count
}

/// What elements are ordered by.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// The elements themselves, as texts.
    Elements,
    /// A number each; one that is missing counts as 0.
    Numbers(&'a [f64]),
    /// A text each; those without come first.
    Texts(&'a [Option<&'a [u8]>]),
}

/// How weights are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// The greatest come first.
    pub is_descending: bool,
    /// Texts do not end at a zero byte.
    pub is_binary: bool,
}

/// Orders elements, and returns which ones come at the ranks in `range`, by their index.
///
/// There is a weight for each element, and the range lies within them.
#[must_use]
pub fn order<E: AsRef<[u8]>>(
    elements: &[E],
    weights: Weights<'_>,
    direction: Direction,
    range: Range<usize>,
) -> Vec<usize> {
    let has_zero = |text: &[u8]| text.contains(&0);
    let is_whole = direction.is_binary
        || match weights {
            Weights::Elements => !elements.iter().any(|element| has_zero(element.as_ref())),
            Weights::Numbers(_) => true,
            Weights::Texts(texts) => !texts.iter().flatten().any(|text| has_zero(text)),
        };
    let text = |text| if is_whole { text } else { c_string(text) };
    let ascending = |a: usize, b: usize| {
        let (first, second) = (elements[a].as_ref(), elements[b].as_ref());
        match weights {
            Weights::Elements => text(first).cmp(text(second)),
            // Numbers are not NaN, and -0 is 0.
            Weights::Numbers(numbers) => {
                numbers[a].partial_cmp(&numbers[b]).unwrap_or(Ordering::Equal).then_with(|| first.cmp(second))
            }
            Weights::Texts(texts) => texts[a].map(text).cmp(&texts[b].map(text)),
        }
    };
    let compare = |a: &usize, b: &usize| {
        let order = ascending(*a, *b);
        let order = if direction.is_descending { order.reverse() } else { order };
        order.then(a.cmp(b))
    };
    let mut indices: Vec<usize> = (0..elements.len()).collect();
    if range.is_empty() {
        return Vec::new();
    }
    if range.end < indices.len() {
        indices.select_nth_unstable_by(range.end - 1, compare);
        indices.truncate(range.end);
    }
    indices.sort_unstable_by(compare);
    indices.drain(..range.start);
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(pattern: &str, element: &str) -> Option<(String, Option<String>)> {
        let pattern = Pattern::parse(pattern.as_bytes());
        let mut key = b"left over".to_vec();
        let Pattern::Key { field, .. } = pattern else {
            assert!(!pattern.put_key(element.as_bytes(), &mut key));
            return None;
        };
        assert!(pattern.put_key(element.as_bytes(), &mut key));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Some((text(&key), field.map(text)))
    }

    #[test]
    fn patterns_name_keys_and_fields() {
        let of = |key: &str, field: Option<&str>| Some((key.to_owned(), field.map(str::to_owned)));
        for (pattern, expected) in [
            ("#", None),
            ("nosort", None),
            ("", None),
            ("*", of("7", None)),
            ("weight_*", of("weight_7", None)),
            ("a*b*c", of("a7b*c", None)),
            ("##*", of("##7", None)),
            ("h_*->f", of("h_7", Some("f"))),
            ("h_*:x->f->g", of("h_7:x", Some("f->g"))),
            ("h_*->", of("h_7->", None)),
            ("a->b*", of("a->b7", None)),
            ("a->b*->c", of("a->b7", Some("c"))),
            ("a\0*", None),
            ("#\0*", None),
            ("a*\0->b", of("a7\0->b", None)),
            ("a*->\0b", of("a7->\0b", None)),
        ] {
            assert_eq!(key(pattern, "7"), expected, "{pattern:?}");
        }
        assert!(Pattern::parse(b"#").is_constant());
        assert!(Pattern::parse(b"x").is_constant());
        assert!(!Pattern::parse(b"x*").is_constant());
    }

    // What SORT of valkey-server 9.1.2 made of a list with each.
    #[test]
    fn weights_are_read_as_valkey_does() {
        for (text, expected) in [
            ("", None),
            (" 1", None),
            ("+5", Some(5.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1E+5", Some(100_000.0)),
            ("0x10", None),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("1e-320", Some(1e-320)),
            ("infinity", Some(f64::INFINITY)),
            ("3\0x", Some(3.0)),
            ("  ", None),
            ("1 ", None),
            ("nan", None),
            ("1e400", None),
            ("1e-400", None),
            ("one", None),
        ] {
            assert_eq!(parse_weight(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn limit_stays_inside() {
        for (start, count, expected) in [
            (0, -1, 0..5),
            (1, 2, 1..3),
            (-3, 2, 0..2),
            (4, 10, 4..5),
            (5, 1, 5..5),
            (i64::MAX, i64::MAX, 5..5),
            (i64::MIN, i64::MIN, 0..5),
            (2, 0, 2..2),
            (2, -7, 2..5),
        ] {
            assert_eq!(limit(5, start, count), expected, "{start} {count}");
        }
        assert_eq!(limit(0, 0, -1), 0..0);
        assert_eq!(limit(0, 3, 3), 0..0);
    }

    #[test]
    fn ties_and_missing_weights_follow_redis() {
        let elements = ["b", "a", "c", "a"];
        let all = 0..4;
        let (up, down) = (Direction::default(), Direction { is_descending: true, is_binary: false });
        assert_eq!(order(&elements, Weights::Elements, up, all.clone()), [1, 3, 0, 2]);
        let numbers = [1.0, 1.0, -5.0, 1.0];
        assert_eq!(order(&elements, Weights::Numbers(&numbers), up, all.clone()), [2, 1, 3, 0]);
        assert_eq!(order(&elements, Weights::Numbers(&numbers), down, all.clone()), [0, 1, 3, 2]);
        let texts = [Some(&b"x"[..]), None, Some(b""), None];
        assert_eq!(order(&elements, Weights::Texts(&texts), up, all.clone()), [1, 3, 2, 0]);
        assert_eq!(order(&elements, Weights::Texts(&texts), down, all), [0, 2, 1, 3]);
    }

    #[test]
    fn texts_end_at_a_zero_byte_unless_they_are_stored() {
        let elements = ["a\0z", "a\0b", "", "\0"];
        let texts = elements.map(|element| Some(element.as_bytes()));
        let up = Direction::default();
        for weights in [Weights::Elements, Weights::Texts(&texts)] {
            assert_eq!(order(&elements, weights, up, 0..4), [2, 3, 0, 1]);
            assert_eq!(order(&elements, weights, Direction { is_binary: true, ..up }, 0..4), [2, 3, 1, 0]);
            assert_eq!(
                order(&elements, weights, Direction { is_descending: true, ..up }, 0..4),
                [0, 1, 2, 3]
            );
        }
    }

    proptest! {
        #[test]
        fn a_part_is_a_part_of_the_whole(
            rows in proptest::collection::vec(("[ab]{0,3}", -3i8..3), 0..80),
            start in 0i64..90,
            count in -1i64..90,
            is_descending: bool,
            is_binary: bool,
        ) {
            let direction = Direction { is_descending, is_binary };
            let elements: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
            let numbers: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
            let range = limit(rows.len(), start, count);
            for weights in [Weights::Elements, Weights::Numbers(&numbers)] {
                let whole = order(&elements, weights, direction, 0..rows.len());
                let part = order(&elements, weights, direction, range.clone());
                prop_assert_eq!(&whole[range.clone()], &part[..]);
            }
            let mut expected = rows.clone();
            expected.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
            if is_descending {
                expected.reverse();
            }
            let found = order(&elements, Weights::Numbers(&numbers), direction, 0..rows.len());
            let found: Vec<_> = found.into_iter().map(|index| rows[index].clone()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
