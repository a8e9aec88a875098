//! Redis's glob patterns, as KEYS, SCAN, PSUBSCRIBE and CONFIG GET use them.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any run of bytes, also an empty one |
//! | `?` | exactly one byte |
//! | `[abc]` `[a-z]` `[^a]` | one byte of (outside) a class; a class may lack its `]` at the end of the pattern |
//! | `\x` | the byte `x` itself |
//!
//! Every token but `*` consumes exactly one byte, so after a mismatch only the latest `*` has to be
//! tried one byte later: an earlier star could only give the rest of the pattern less text. The cost
//! is at most pattern length times text length, whatever the pattern, with no recursion and no
//! allocation.
//!
//! Kept from Redis on purpose: an empty text matches only the empty pattern (callers treat the lone
//! `*` as "everything" before they come here), a reversed range is turned round, ranges compare
//! bytes as signed, an escaped byte inside a class is compared with its case, and a pattern that needs more
//! than [`STARS_MAX`] stars to match matches nothing.

/// Whether ASCII letters are told apart by case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `a` and `A` differ.
    Sensitive,
    /// `a` and `A` are the same.
    Insensitive,
}

/// As deep as Redis's matcher recurses.
const STARS_MAX: usize = 1000;

/// Tells whether `text` as a whole matches `pattern`.
#[must_use]
pub fn is_match(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the latest star, and the text position it covers up to.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    loop {
        if pattern.get(p) == Some(&b'*') {
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            continue;
        }
        let Some(&byte) = text.get(t) else {
            // Retrying a star would leave the rest of the pattern even less text.
            return p == pattern.len();
        };
        let step = if p < pattern.len() { match_one(pattern, p, byte, case) } else { None };
        if let Some(next) = step {
            p = next;
            t += 1;
            continue;
        }
        let Some((after_star, covered)) = retry else {
            return false;
        };
        retry = Some((after_star, covered + 1));
        p = after_star;
        t = covered + 1;
    }
}

/// Whether the pattern has no special byte, so that only the text equal to it matches.
#[must_use]
pub fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
}

/// Matches one byte against the token at `p`; returns where the next token starts.
fn match_one(pattern: &[u8], p: usize, byte: u8, case: Case) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => match_class(pattern, p + 1, byte, case),
        b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], byte, case).then_some(p + 2),
        literal => same(literal, byte, case).then_some(p + 1),
    }
}

/// Matches one byte against the class whose first byte after `[` is at `p`.
fn match_class(pattern: &[u8], mut p: usize, byte: u8, case: Case) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut found = false;
    loop {
        match &pattern[p..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= in_range(*first, *last, byte, case);
                p += 3;
            }
            [literal, ..] => {
                found |= same(*literal, byte, case);
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

fn in_range(first: u8, last: u8, byte: u8, case: Case) -> bool {
    let (low, high) =
        (first.cast_signed().min(last.cast_signed()), first.cast_signed().max(last.cast_signed()));
    let fold = |b: i8| match case {
        Case::Sensitive => b,
        Case::Insensitive => b.cast_unsigned().to_ascii_lowercase().cast_signed(),
    };
    (fold(low)..=fold(high)).contains(&fold(byte.cast_signed()))
}

fn same(a: u8, b: u8, case: Case) -> bool {
    match case {
        Case::Sensitive => a == b,
        Case::Insensitive => a.eq_ignore_ascii_case(&b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        is_match(pattern.as_bytes(), text.as_bytes(), Case::Sensitive)
    }

    #[test]
    fn a_pattern_has_as_many_stars_as_redis_takes() {
        let text = "a".repeat(5000);
        assert!(matches(&"*a".repeat(STARS_MAX), &text));
        assert!(!matches(&"*a".repeat(STARS_MAX + 1), &text));
        assert!(matches(&"*".repeat(5000), &text), "a run of stars is one");
    }

    #[test]
    fn literals_and_wildcards() {
        for (pattern, text, expected) in [
            ("hello", "hello", true),
            ("hello", "hell", false),
            ("hell", "hello", false),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h*llo", "hllo", true),
            ("*", "x", true),
            ("**", "x", true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXcYYb", false),
            ("*foo*", "xxfooyy", true),
            ("a**", "a", true),
            ("*a", "ba", true),
            ("*a*", "a", true),
            ("*?", "a", true),
            ("*??", "a", false),
            ("?", "", false),
            ("", "", true),
            ("*", "", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn classes() {
        for (pattern, text, expected) in [
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hbllo", true),
            ("h[a-b]llo", "hcllo", false),
            ("[]", "x", false),
            ("[^]", "x", true),
            ("[", "[", false),
            ("[^", "x", true),
            ("[ab", "b", true),
            (r"[\]]", "]", true),
            (r"[\]", "]", true),
            (r"[\", r"\", true),
            ("[a-]", "^", true),
            ("[a-]", "-", false),
            ("[-a]", "-", true),
            ("[*]", "*", true),
            ("[*]", "x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn escapes() {
        assert!(matches(r"h\*llo", "h*llo"));
        assert!(!matches(r"h\*llo", "hello"));
        assert!(matches(r"h\\llo", r"h\llo"));
        assert!(matches(r"a\", r"a\"));
    }

    #[test]
    fn case_is_ignored_except_for_an_escaped_byte_in_a_class() {
        let matches = |pattern: &[u8], text: &[u8]| is_match(pattern, text, Case::Insensitive);
        assert!(matches(b"HeLLo", b"hEllO"));
        assert!(matches(b"[A-C]x", b"bX"));
        assert!(matches(b"[X]", b"x"));
        assert!(!matches(br"[\X]", b"x"));
    }

    #[test]
    fn ranges_compare_signed_bytes() {
        assert!(is_match(b"[\x80-\xff]", b"\x90", Case::Sensitive));
        assert!(is_match(b"[a-\xff]", b"A", Case::Sensitive));
        assert!(!is_match(b"[a-\xff]", b"b", Case::Sensitive));
    }

    // A backtracking matcher needs 2^n steps for these; the test would not end.
    #[test]
    fn pathological_patterns_end_at_once() {
        let text = vec![b'a'; 20_000];
        let pattern = [b"a*".repeat(500), b"b".to_vec()].concat();
        assert!(!is_match(&pattern, &text, Case::Sensitive));
        let pattern = [b"*a".repeat(500), b"*".to_vec()].concat();
        assert!(is_match(&pattern, &text, Case::Sensitive));
        let pattern = b"*?".repeat(500);
        assert!(is_match(&pattern, &text, Case::Insensitive));
    }

    /// The textbook definition, by recursion over both sides.
    fn oracle(pattern: &[u8], text: &[u8], case: Case) -> bool {
        match (pattern.first(), text.first()) {
            (None, _) => text.is_empty(),
            (Some(b'*'), _) => {
                oracle(&pattern[1..], text, case) || (!text.is_empty() && oracle(pattern, &text[1..], case))
            }
            (Some(_), None) => false,
            (Some(_), Some(&byte)) => match_one(pattern, 0, byte, case)
                .is_some_and(|next| oracle(&pattern[next..], &text[1..], case)),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            pattern in proptest::collection::vec(prop::sample::select(b"aAb*?[]^-\\\x90".to_vec()), 0..10),
            text in proptest::collection::vec(prop::sample::select(b"aAb*]\\-\x90".to_vec()), 1..8),
            folded: bool,
        ) {
            let case = if folded { Case::Insensitive } else { Case::Sensitive };
            prop_assert_eq!(is_match(&pattern, &text, case), oracle(&pattern, &text, case));
        }

        #[test]
        fn never_panics(pattern: Vec<u8>, text: Vec<u8>) {
            let _ = is_match(&pattern, &text, Case::Insensitive);
        }

        #[test]
        fn a_literal_pattern_matches_itself_alone(pattern: Vec<u8>, text: Vec<u8>) {
            prop_assume!(is_literal(&pattern));
            prop_assert!(is_match(&pattern, &pattern, Case::Sensitive));
            prop_assert_eq!(is_match(&pattern, &text, Case::Sensitive), pattern == text);
        }
    }
}
