use super::pattern::{Capture, Matcher, PatternError};

fn search(text: &str, pattern: &str) -> Option<(usize, usize)> {
    let never = || false;
    Matcher::new(text.as_bytes(), pattern.as_bytes(), &never).search(0, false).unwrap()
}

#[test]
fn patterns_find_what_lua_finds() {
    assert_eq!(search("hello world", "o w"), Some((4, 7)));
    assert_eq!(search("hello", "l+"), Some((2, 4)));
    assert_eq!(search("hello", "l-o"), Some((2, 5)));
    assert_eq!(search("hello", "x*"), Some((0, 0)));
    assert_eq!(search("key = value", "(%w+)%s*=%s*(%w+)"), Some((0, 11)));
    assert_eq!(search("f(a(b)c)d", "%b()"), Some((1, 8)));
    assert_eq!(search("THE (quick) fox", "%f[%a]%a+%f[%A]"), Some((0, 3)));
    assert_eq!(search("abcabc", "(abc)%1"), Some((0, 6)));
    assert_eq!(search("a]b", "[]]"), Some((1, 2)));
    assert_eq!(search("a^b", "[%^]"), Some((1, 2)));
    assert_eq!(search("a-z", "[a%-]+"), Some((0, 2)));
    assert_eq!(search("x1", "[^%d]"), Some((0, 1)));
    assert_eq!(search("ab$", "b$"), None);
    assert_eq!(search("colour", "colou?r"), Some((0, 6)));
    assert_eq!(search("color", "colou?r"), Some((0, 5)));
}

#[test]
fn malformed_patterns_have_luas_words() {
    let never = || false;
    for (pattern, text) in [
        ("%", "malformed pattern (ends with '%')"),
        ("[a", "malformed pattern (missing ']')"),
        ("[]", "malformed pattern (missing ']')"),
        ("[a%", "malformed pattern (missing ']')"),
        ("(a", "unfinished capture"),
        ("a)", "invalid pattern capture"),
        ("%b", "unbalanced pattern"),
        ("%f", "missing '[' after '%f' in pattern"),
        ("%1", "invalid capture index"),
        ("%0", "invalid capture index"),
    ] {
        let mut matcher = Matcher::new(b"aaa", pattern.as_bytes(), &never);
        let result = matcher.search(0, false).and_then(|whole| {
            let whole = whole.unwrap_or_default();
            (0..matcher.captures()).try_for_each(|index| matcher.capture(index, whole).map(|_| ()))
        });
        assert_eq!(result, Err(PatternError::Malformed(text.to_owned())), "{pattern}");
    }
}

#[test]
fn positions_are_captured() {
    let never = || false;
    let mut matcher = Matcher::new(b"hello", b"()ll()", &never);
    let whole = matcher.search(0, false).unwrap().unwrap();
    assert_eq!(matcher.capture(0, whole).unwrap(), Capture::Position(3));
    assert_eq!(matcher.capture(1, whole).unwrap(), Capture::Position(5));
}

/// The C matcher recurses once per item and overflows the stack here.
#[test]
fn a_pattern_of_a_million_items_is_refused() {
    let never = || false;
    let (text, pattern) = (vec![b'a'; 1_000], b"a?".repeat(1_000_000));
    let result = Matcher::new(&text, &pattern, &never).search(0, false);
    assert_eq!(result, Err(PatternError::Malformed("pattern too complex".to_owned())));
}

#[test]
fn an_exponential_pattern_can_be_stopped() {
    let stop = || true;
    let text = vec![b'a'; 10_000];
    let pattern = [b".-".repeat(30), b"b".to_vec()].concat();
    assert_eq!(Matcher::new(&text, &pattern, &stop).search(0, false), Err(PatternError::Stopped));
}
