//! Wildcards, as policies, listener rules and EC2's filters use them: `*` stands for any run of characters,
//! also none, `?` for exactly one.

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Run,
    One,
    Literal(char),
}

impl Token {
    fn of(character: char) -> Self {
        match character {
            '*' => Self::Run,
            '?' => Self::One,
            other => Self::Literal(other),
        }
    }
}

/// Whether a text is like a pattern.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let tokens: Vec<Token> = pattern.chars().map(Token::of).collect();
    is_like(&tokens, text)
}

/// The same where a backslash takes the next character literally.
pub(crate) fn matches_escaped(pattern: &str, text: &str) -> bool {
    let mut tokens = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '\\' => Token::Literal(characters.next().unwrap_or('\\')),
            other => Token::of(other),
        });
    }
    is_like(&tokens, text)
}

fn is_like(pattern: &[Token], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut from) = (0, 0);
    // Where the last run was, and how much of the text it has taken so far.
    let mut run: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(Token::Run) => {
                run = Some((at, from));
                at += 1;
            }
            Some(token) if *token == Token::One || *token == Token::Literal(text[from]) => {
                at += 1;
                from += 1;
            }
            _ => match run {
                Some((position, taken)) => {
                    run = Some((position, taken + 1));
                    at = position + 1;
                    from = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == Token::Run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("*", "", true),
            ("**", "anything", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXcYYb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "a\u{e4}c", true),
            ("a", "A", false),
            ("/api/*", "/api/v4/users", true),
            ("/api/*", "/API/v4", false),
            ("*.example.com", "chat.example.com", true),
            ("*.example.com", "example.com", false),
            ("mattermost-*-10.?", "mattermost-debian-10.5", true),
        ] {
            for matches in [matches, matches_escaped] {
                assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
            }
        }
    }

    #[test]
    fn a_backslash_takes_the_next_literally_where_it_may() {
        for (pattern, text, escaped, plain) in [
            (r"a\*", "a*", true, false),
            (r"a\*", "ab", false, false),
            (r"a\*", r"a\b", false, true),
            (r"a\\*", r"a\b", true, false),
            (r"a\", r"a\", true, true),
        ] {
            assert_eq!(
                matches_escaped(pattern, text),
                escaped,
                "{pattern} on {text}"
            );
            assert_eq!(matches(pattern, text), plain, "{pattern} on {text}");
        }
    }
}
