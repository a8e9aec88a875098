//! Redis's glob patterns: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
//!
//! Matching takes time proportional to pattern times text at worst, never exponential: only the
//! last `*` is ever gone back to.

/// Whether all of `text` matches `pattern`.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to resume: behind the last star, and one byte further in the text each time.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            retry = Some((p, t));
            continue;
        }
        match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(_), Some(&byte)) => {
                let (matched, width) = match_one(&pattern[p..], byte, ignore_case);
                if matched {
                    p += width;
                    t += 1;
                    continue;
                }
            }
            _ => {}
        }
        match retry {
            Some((star, start)) if start < text.len() => {
                (p, t) = (star, start + 1);
                retry = Some((star, start + 1));
            }
            _ => return false,
        }
    }
}

/// Whether one byte matches the element at the start of `pattern`, and that element's width.
fn match_one(pattern: &[u8], byte: u8, ignore_case: bool) -> (bool, usize) {
    let fold = |b: u8| if ignore_case { b.to_ascii_lowercase() } else { b };
    match pattern {
        [b'?', ..] => (true, 1),
        [b'[', class @ ..] => {
            let (matched, width) = match_class(class, byte, ignore_case);
            (matched, width + 1)
        }
        [b'\\', escaped, ..] => (fold(*escaped) == fold(byte), 2),
        [literal, ..] => (fold(*literal) == fold(byte), 1),
        [] => (false, 0),
    }
}

/// A class behind its `[`: whether it has the byte, and its width with the `]`. A class that is
/// not closed reaches to the pattern's end, as in Redis.
fn match_class(class: &[u8], byte: u8, ignore_case: bool) -> (bool, usize) {
    let fold = |b: u8| if ignore_case { b.to_ascii_lowercase() } else { b };
    let is_negated = class.first() == Some(&b'^');
    let mut at = usize::from(is_negated);
    let mut found = false;
    loop {
        match &class[at.min(class.len())..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low), fold(*high));
                found |= (low.min(high)..=low.max(high)).contains(&fold(byte));
                at += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == fold(byte);
                at += 1;
            }
        }
    }
    (found != is_negated, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[\\]]", "]", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("a[", "a[", false),
            ("user:*:name", "user:1:2:name", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), expected, "{pattern} {text}");
        }
        assert!(matches(b"MAX*", b"maxmemory", true));
        assert!(!matches(b"MAX*", b"maxmemory", false));
    }

    #[test]
    fn many_stars_stay_fast() {
        let pattern = b"a*".repeat(200);
        let text = vec![b'a'; 20_000];
        let with_tail = [&pattern[..], b"b"].concat();
        assert!(matches(&pattern, &text, false));
        assert!(!matches(&with_tail, &text, false));
    }
}
