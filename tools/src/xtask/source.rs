//! A Rust source file as the tidy rules see it: text, code without comments and strings, test regions.
//!
//! This is a lexer for four things only (comments, strings, character literals, braces). It does not
//! parse Rust; the rules ask questions that words and braces can answer.

use std::ops::Range;

/// One file of the repository.
pub struct Source {
    /// Path from the repository's root, with forward slashes.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// The same length as `text`, comments and the insides of strings blanked out.
    pub code: String,
    tests: Vec<Range<usize>>,
}

/// A function with a body.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
    /// Byte position of the word `fn`.
    pub at: usize,
}

impl Source {
    /// Reads a file's text.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let code = blank_comments_and_strings(&text);
        let tests = test_regions(&code);
        Self { path, text, code, tests }
    }

    /// The whole file is test code.
    pub fn is_test_file(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs") || self.path.starts_with("fuzz/")
    }

    /// The byte belongs to test code.
    pub fn is_test(&self, at: usize) -> bool {
        self.is_test_file() || self.tests.iter().any(|region| region.contains(&at))
    }

    /// Line number, from 1, of a byte.
    pub fn line_of(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Positions of `word` in code, where it stands as a whole word (or begins and ends with signs).
    pub fn find_word<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        find_word(&self.code, word)
    }

    /// All functions that have a body.
    pub fn functions(&self) -> Vec<Function> {
        let found = find_word(&self.code, "fn").filter_map(|at| {
            let name = identifier(self.code[at + 2..].trim_start());
            let open = body_start(&self.code, at)?;
            let close = matching_brace(&self.code, open)?;
            let (line, last) = (self.line_of(at), self.line_of(close));
            (!name.is_empty()).then(|| Function { name: name.to_owned(), line, lines: last - line + 1, at })
        });
        found.collect()
    }
}

/// The identifier that `text` begins with; empty if it begins with something else.
pub fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn find_word<'s>(code: &'s str, word: &'s str) -> impl Iterator<Item = usize> + 's {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = code.as_bytes();
    let starts_as_word = is_part(word.as_bytes().first());
    let ends_as_word = is_part(word.as_bytes().last());
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|place| bytes.get(place));
        let after = bytes.get(at + word.len());
        !(starts_as_word && is_part(before) || ends_as_word && is_part(after))
    })
}

/// Position of the brace that opens the body of the function at `at`; `None` for a bare signature.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' if depth == 0 => return Some(at + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Position of the brace that closes the one at `open`.
pub fn matching_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (offset, byte) in code[open..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(open + offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// What follows `#[cfg(test)]` or `#[test]`, up to its closing brace.
fn test_regions(code: &str) -> Vec<Range<usize>> {
    let marks = ["#[cfg(test)]", "#[cfg(all(test", "#[test]"];
    let starts = marks.iter().flat_map(|mark| code.match_indices(mark));
    starts
        .filter_map(|(at, _)| {
            let open = code[at..].find('{').map(|offset| at + offset)?;
            let is_declaration = code[at..open].contains(';');
            (!is_declaration).then(|| matching_brace(code, open).map(|close| at..close + 1))?
        })
        .collect()
}

/// Replaces comments and the insides of strings and character literals by blanks.
fn blank_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match skipped(bytes, at) {
            Some(end) => end.min(bytes.len()),
            None => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    // Whole characters were replaced byte by byte, so the rest is valid UTF-8.
    String::from_utf8(out).expect("only whole literals and comments were blanked")
}

/// End of the comment or literal that begins at `at`, if one does.
fn skipped(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let is_inside_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => Some(at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment_end(bytes, at)),
        [b'"', ..] => Some(string_end(bytes, at + 1)),
        [b'r', b'"' | b'#', ..] if !is_inside_word => raw_string_end(bytes, at + 1),
        [b'b', b'r', b'"' | b'#', ..] if !is_inside_word => raw_string_end(bytes, at + 2),
        [b'\'', ..] => character_end(bytes, at),
        _ => None,
    }
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut place) = (0_usize, at);
    while place < bytes.len() {
        match &bytes[place..] {
            [b'/', b'*', ..] => (depth, place) = (depth + 1, place + 2),
            [b'*', b'/', ..] => {
                (depth, place) = (depth - 1, place + 2);
                if depth == 0 {
                    return place;
                }
            }
            _ => place += 1,
        }
    }
    place
}

fn string_end(bytes: &[u8], mut place: usize) -> usize {
    while place < bytes.len() {
        match bytes[place] {
            b'\\' => place += 2,
            b'"' => return place + 1,
            _ => place += 1,
        }
    }
    place
}

/// End of a raw string whose hashes (or quote) begin at `at`; `None` for a raw identifier.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let body = at + hashes + 1;
    let found = bytes[body..].windows(close.len()).position(|part| part == close);
    Some(found.map_or(bytes.len(), |offset| body + offset + close.len()))
}

/// End of a character literal; `None` for a lifetime.
fn character_end(bytes: &[u8], at: usize) -> Option<usize> {
    match &bytes[at + 1..] {
        [b'\\', _, rest @ ..] => Some(at + 3 + rest.iter().position(|byte| *byte == b'\'')? + 1),
        [first, rest @ ..] => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            (rest.get(width - 1) == Some(&b'\'')).then_some(at + 1 + width + 1)
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lengths_stay() {
        let text = "let a = \"x // {\"; // unwrap()\n/* a /* b */ { */ let c = '{'; let d = r#\"}\"#; 'é'";
        let source = Source::new("a.rs", text);
        assert_eq!(source.code.len(), text.len());
        for gone in ['x', '{', '}', 'é'] {
            assert!(!source.code.contains(gone), "{gone} in {}", source.code);
        }
        assert!(source.code.contains("let c =") && source.code.contains("let d ="));
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let source = Source::new("a.rs", "fn a<'a>(b: &'a str) -> &'a str { b }");
        assert_eq!(source.code, source.text);
    }

    #[test]
    fn escaped_characters_end_where_they_end() {
        let source = Source::new("a.rs", r"let a = ['\'', '\\', '\n', '\u{41}']; unwrap");
        assert!(source.code.ends_with("]; unwrap"), "{}", source.code);
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let source = Source::new(
            "a.rs",
            "trait T {\n    fn bare(a: [u8; 4]);\n    fn full() {\n        x();\n    }\n}\n",
        );
        let functions = source.functions();
        assert_eq!(functions.len(), 1);
        assert_eq!((functions[0].name.as_str(), functions[0].line, functions[0].lines), ("full", 3, 3));
    }

    #[test]
    fn test_modules_are_regions() {
        let source = Source::new("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n");
        let is_test = |name: &str| source.is_test(source.text.find(name).unwrap());
        assert!(!is_test("fn a") && is_test("fn b") && !is_test("fn c"));
        let declared = Source::new("a.rs", "#[cfg(test)]\nmod tests;\nfn c() {}\n");
        assert!(!declared.is_test(declared.text.find("fn c").unwrap()));
    }
}
