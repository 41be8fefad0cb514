//! Reads Rust source just far enough to judge it: what is code, and where functions begin and end.
//! Not a parser; it knows comments, literals and brackets.

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// From the line with `fn` to the line with the closing brace.
    pub(crate) lines: usize,
}

/// The source with the contents of comments and literals blanked out, byte for byte and line for line.
pub(crate) fn mask(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        match end {
            Some(end) => {
                blank(&mut out[at..end]);
                at = end;
            }
            None => at += 1,
        }
    }
    // Whole literals and comments were blanked, so no character is cut in half.
    String::from_utf8_lossy(&out).into_owned()
}

/// All functions with bodies, in order. `masked` comes from [`mask`].
pub(crate) fn functions(masked: &str) -> Vec<Function> {
    let bytes = masked.as_bytes();
    let mut found = Vec::new();
    for (at, _) in masked.match_indices("fn ") {
        if at > 0 && is_word(bytes[at - 1]) {
            continue;
        }
        let name: String =
            masked[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // `fn(` and `Fn(` types have no name.
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_start(bytes, at).and_then(|open| body_end(bytes, open)) {
            let lines = 1 + masked[at..end].matches('\n').count();
            found.push(Function { name, lines });
        }
    }
    found
}

/// Where the comment or literal that begins at `at` ends, if one begins there.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => Some(at + until(rest, |b| b == b'\n')),
        [b'/', b'*', ..] => Some(at + block_comment(rest)),
        [b'"', ..] => Some(at + string(rest)),
        [b'r', b'"' | b'#', ..] if !after_word => raw_string(&rest[1..]).map(|n| at + 1 + n),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => raw_string(&rest[2..]).map(|n| at + 2 + n),
        [b'\'', ..] => char_literal(rest).map(|n| at + n),
        _ => None,
    }
}

fn until(bytes: &[u8], stop: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| stop(*b)).unwrap_or(bytes.len())
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Length of `#..#"..."#..#`; `None` for a raw identifier.
fn raw_string(bytes: &[u8]) -> Option<usize> {
    let hashes = until(bytes, |b| b != b'#');
    if bytes.get(hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &bytes[hashes + 1..];
    let end = body.windows(close.len()).position(|w| w == close).unwrap_or(body.len());
    Some((hashes + 1 + end + close.len()).min(bytes.len()))
}

/// Length of `'x'` or `'\n'`; `None` for a lifetime.
fn char_literal(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [_, b'\\', _, rest @ ..] => Some((4 + until(rest, |b| b == b'\'')).min(bytes.len())),
        // The longest UTF-8 character has four bytes.
        [_, first, rest @ ..] if *first != b'\'' => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            (rest.get(width - 1) == Some(&b'\'')).then_some(width + 2)
        }
        _ => None,
    }
}

fn blank(bytes: &mut [u8]) {
    for b in bytes.iter_mut().filter(|b| **b != b'\n') {
        *b = b' ';
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// The `{` of the body of the function whose `fn` stands at `at`; `None` for a declaration.
fn body_start(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (i, b) in bytes.iter().enumerate().skip(at) {
        match b {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(i),
            _ => {}
        }
    }
    None
}

fn body_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (i, b) in bytes.iter().enumerate().skip(open) {
        match b {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(i),
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_comments_and_literals_and_nothing_else() {
        let check = |source: &str, expected: &str| assert_eq!(mask(source), expected, "{source}");
        check("let a = 1; // unsafe", "let a = 1;          ");
        check("a /* x /* y */ z */ b", "a                   b");
        check(r#"f("a\"}{", b)"#, "f(       , b)");
        check(r##"f(r#"a"}"#, b)"##, "f(r       , b)".replace("r ", "  ").as_str());
        check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        check("match c { '{' => 1, '\\'' => 2 }", "match c {     => 1,      => 2 }");
        check("r#type", "r#type");
        check("'é'", "    ");
    }

    #[test]
    fn masking_keeps_every_line_break() {
        let source = "a \"x\ny\" /* \n */ b\n";
        assert_eq!(mask(source).matches('\n').count(), source.matches('\n').count());
        assert_eq!(mask(source).len(), source.len());
    }

    #[test]
    fn measures_functions_with_bodies_only() {
        let source = "trait T {\n    fn a(x: [u8; 4]);\n}\nfn b(f: fn(u8) -> u8) -> u8 {\n    f(1)\n}\nimpl X { fn c() { } }\n";
        let found: Vec<(String, usize)> =
            functions(&mask(source)).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("b".to_owned(), 3), ("c".to_owned(), 1)]);
    }
}
