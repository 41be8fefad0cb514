//! Patterns of policies: `*` is any text, `?` one character, `${key}` what the request says of a key.

use super::condition::{Facts, Known};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Just(char),
    /// A variable: its key in lower case, and what stands for it where the request says nothing.
    Variable(String, Option<String>),
}

/// A pattern in which every variable has its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expanded(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Just(char),
}

impl Pattern {
    /// `None` when a variable does not end.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(inner) = rest.strip_prefix("${") {
                let (name, after) = inner.split_once('}')?;
                parts.push(variable(name)?);
                rest = after;
                continue;
            }
            parts.push(match c {
                '*' => Part::Any,
                '?' => Part::One,
                c => Part::Just(c),
            });
            rest = &rest[c.len_utf8()..];
        }
        Some(Self { parts })
    }

    /// Puts values in. What a value contains is only text.
    pub(super) fn expand(&self, facts: &Facts) -> Known<Option<Expanded>> {
        let mut tokens = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Any => tokens.push(Token::Any),
                Part::One => tokens.push(Token::One),
                Part::Just(c) => tokens.push(Token::Just(*c)),
                Part::Variable(key, default) => {
                    let value = match facts.get(key) {
                        Known::Not => return Known::Not,
                        Known::Is(Some([value])) => Some(value.as_str()),
                        Known::Is(_) => default.as_deref(),
                    };
                    let Some(value) = value else { return Known::Is(None) };
                    tokens.extend(value.chars().map(Token::Just));
                }
            }
        }
        Known::Is(Some(Expanded(tokens)))
    }

    /// The pattern as plain text, without any meaning of its characters but that of variables.
    pub(super) fn literal(&self, facts: &Facts) -> Known<Option<String>> {
        match self.expand(facts) {
            Known::Not => Known::Not,
            Known::Is(expanded) => Known::Is(expanded.map(|e| e.text())),
        }
    }
}

fn variable(name: &str) -> Option<Part> {
    // These three stand for the characters themselves.
    if let "*" | "?" | "$" = name {
        return name.chars().next().map(Part::Just);
    }
    let (key, default) = match name.split_once(',') {
        None => (name, None),
        Some((key, default)) => {
            (key, Some(default.trim().strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))
        }
    };
    let key = key.trim().to_ascii_lowercase();
    (!key.is_empty()).then_some(Part::Variable(key, default))
}

impl Expanded {
    pub(super) fn text(&self) -> String {
        let letter = |token: &Token| match token {
            Token::Any => '*',
            Token::One => '?',
            Token::Just(c) => *c,
        };
        self.0.iter().map(letter).collect()
    }

    pub(super) fn covers(&self, text: &str) -> bool {
        covers(&self.0, text)
    }

    pub(super) fn covers_caseless(&self, text: &str) -> bool {
        let lower = |token: &Token| match token {
            Token::Just(c) => Token::Just(c.to_ascii_lowercase()),
            other => *other,
        };
        let tokens: Vec<Token> = self.0.iter().map(lower).collect();
        covers(&tokens, &text.to_ascii_lowercase())
    }

    /// An ARN is compared part by part: no star reaches over a colon, but one that is all there is.
    pub(super) fn covers_arn(&self, arn: &str) -> bool {
        if self.0.as_slice() == [Token::Any] {
            return true;
        }
        let own: Vec<&[Token]> = self.0.splitn(6, |token| *token == Token::Just(':')).collect();
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        own.len() == parts.len() && own.iter().zip(&parts).all(|(pattern, part)| covers(pattern, part))
    }

    /// Whether every ARN that the other pattern (of `*` alone) means is covered.
    pub(super) fn includes_arn(&self, other: &str) -> bool {
        if self.0.as_slice() == [Token::Any] {
            return true;
        }
        let own: Vec<&[Token]> = self.0.splitn(6, |token| *token == Token::Just(':')).collect();
        let parts: Vec<&str> = other.splitn(6, ':').collect();
        own.len() == parts.len() && own.iter().zip(&parts).all(|(a, b)| includes(a, &plain(b)))
    }

    /// Whether there is an ARN that both this and the other pattern (of `*` alone) mean.
    pub(super) fn meets_arn(&self, other: &str) -> bool {
        if self.0.as_slice() == [Token::Any] || other == "*" {
            return true;
        }
        let own: Vec<&[Token]> = self.0.splitn(6, |token| *token == Token::Just(':')).collect();
        let parts: Vec<&str> = other.splitn(6, ':').collect();
        own.len() == parts.len() && own.iter().zip(&parts).all(|(a, b)| meets(a, &plain(b)))
    }
}

fn plain(text: &str) -> Vec<Token> {
    text.chars().map(|c| if c == '*' { Token::Any } else { Token::Just(c) }).collect()
}

fn covers(pattern: &[Token], text: &str) -> bool {
    let text: Vec<Token> = text.chars().map(Token::Just).collect();
    includes(pattern, &text)
}

/// Whether a pattern covers every text that another one means. Only a star stands for a star: what is longer than a `?`
/// may be meant by it. Takes no longer than the product of both lengths.
fn includes(pattern: &[Token], text: &[Token]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(Token::One) if text[t] != Token::Any => (p, t) = (p + 1, t + 1),
            Some(Token::Just(c)) if text[t] == Token::Just(*c) => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Any)
}

/// Whether two patterns have a text in common.
fn meets(a: &[Token], b: &[Token]) -> bool {
    // reached[j]: the first i of `a` and the first j of `b` have a text in common.
    let mut reached = vec![false; b.len() + 1];
    reached[0] = true;
    for j in 1..=b.len() {
        reached[j] = reached[j - 1] && b[j - 1] == Token::Any;
    }
    for token in a {
        let mut next = vec![false; b.len() + 1];
        next[0] = reached[0] && *token == Token::Any;
        for j in 1..=b.len() {
            next[j] = match (token, b[j - 1]) {
                (Token::Any, _) | (_, Token::Any) => reached[j] || next[j - 1],
                (Token::Just(x), Token::Just(y)) => reached[j - 1] && *x == y,
                _ => reached[j - 1],
            };
        }
        reached = next;
    }
    reached[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expanded(text: &str) -> Expanded {
        match Pattern::read(text).expect(text).expand(&Facts::default()) {
            Known::Is(Some(expanded)) => expanded,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arns_are_compared_part_by_part() {
        for (pattern, arn, expected) in [
            ("*", "arn:aws:ec2:r:1:instance/i-1", true),
            ("arn:aws:ec2:*:*:instance/*", "arn:aws:ec2:r:1:instance/i-1", true),
            ("arn:aws:ec2:*:instance/*", "arn:aws:ec2:r:1:instance/i-1", false),
            ("arn:aws:ec2:r:1:instance/i-?", "arn:aws:ec2:r:1:instance/i-1", true),
            ("arn:aws:ec2:r:1:instance/i-${*}", "arn:aws:ec2:r:1:instance/i-1", false),
            ("arn:aws:ec2:r:1:*", "arn:aws:ec2:r:2:instance/i-1", false),
        ] {
            assert_eq!(expanded(pattern).covers_arn(arn), expected, "{pattern} {arn}");
        }
        assert!(expanded("arn:aws:ec2:r:1:instance/i-1").meets_arn("arn:aws:ec2:r:1:instance/*"));
        assert!(expanded("arn:aws:ec2:*:1:instance/*").includes_arn("arn:aws:ec2:r:1:instance/i-*"));
        assert!(!expanded("arn:aws:ec2:r:1:instance/?").includes_arn("arn:aws:ec2:r:1:instance/*"));
        assert!(!expanded("arn:aws:ec2:r:1:volume/v-1").meets_arn("arn:aws:ec2:r:1:instance/*"));
    }

    #[test]
    fn a_value_is_only_text() {
        let mut facts = Facts::default();
        facts.set("aws:username", "a*b");
        let pattern = Pattern::read("x-${aws:username}-${no:such, 'none'}").expect("a pattern");
        facts.knows("no:such");
        let Known::Is(Some(expanded)) = pattern.expand(&facts) else { panic!("it has a value") };
        assert!(expanded.covers("x-a*b-none") && !expanded.covers("x-axxb-none"));
        assert_eq!(Pattern::read("${aws:x"), None);
    }

    proptest! {
        /// What is covered is met; and covering agrees with the definition, written down naively.
        #[test]
        fn covering_is_as_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn naive(p: &[char], t: &[char]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some(('*', rest)) => (0..=t.len()).any(|i| naive(rest, &t[i..])),
                    Some(('?', rest)) => !t.is_empty() && naive(rest, &t[1..]),
                    Some((c, rest)) => t.first() == Some(c) && naive(rest, &t[1..]),
                }
            }
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            let own = expanded(&pattern);
            prop_assert_eq!(own.covers(&text), naive(&p, &t));
            prop_assert_eq!(meets(&own.0, &plain(&text)), naive(&p, &t));
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            if let Some(pattern) = Pattern::read(&text) {
                let _ = pattern.literal(&Facts::default());
            }
        }
    }
}
