//! Glob patterns as Redis matches them: `*`, `?`, `[...]` and `\`. Runs without recursion and without
//! allocation, in at most pattern length times text length steps, whatever the pattern.

/// More stars than this never match: clients rely on such patterns being refused cheaply.
const STARS_MAX: usize = 1000;

/// Whether letters match their other case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Insensitive,
}

/// Whether all of `text` matches `pattern`. An empty text is matched by the empty pattern only, not even by `*`.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    let mut rest = pattern;
    let mut at = 0;
    let mut stars_seen = 0;
    // Where to go on when the pieces behind the last star do not fit: a later start is all that can help, and
    // no earlier star can do what this one cannot.
    let mut retry: Option<(&[u8], usize)> = None;

    if text.is_empty() {
        return pattern.is_empty();
    }
    loop {
        if at == text.len() {
            if rest.iter().all(|&byte| byte == b'*') {
                return true;
            }
        } else if let [b'*', ..] = rest {
            let stars = rest.iter().take_while(|&&byte| byte == b'*').count();
            rest = &rest[stars..];
            if rest.is_empty() {
                return true;
            }
            stars_seen += 1;
            if STARS_MAX < stars_seen {
                return false;
            }
            retry = Some((rest, at));
            continue;
        } else if let Some(after) = match_one(rest, text[at], case) {
            rest = after;
            at += 1;
            continue;
        }
        let Some((behind_star, start)) = retry else { return false };
        if start + 1 == text.len() {
            return false;
        }
        retry = Some((behind_star, start + 1));
        (rest, at) = (behind_star, start + 1);
    }
}

/// Matches the first piece of `pattern`, which is no star, with `byte`; returns the pattern behind it.
#[inline]
fn match_one(pattern: &[u8], byte: u8, case: Case) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', after @ ..] => Some(after),
        [b'[', class @ ..] => match_class(class, byte, case),
        [b'\\', literal, after @ ..] | [literal, after @ ..] => {
            equal(*literal, byte, case).then_some(after)
        }
    }
}

/// Matches `byte` with the class that starts behind its bracket. A class that is never closed ends with
/// the pattern.
fn match_class(class: &[u8], byte: u8, case: Case) -> Option<&[u8]> {
    let (mut rest, negated) = match class {
        [b'^', rest @ ..] => (rest, true),
        _ => (class, false),
    };
    let mut found = false;
    let after = loop {
        rest = match rest {
            [] => break rest,
            [b'\\', literal, after @ ..] => {
                found |= *literal == byte;
                after
            }
            [b']', after @ ..] => break after,
            [first, b'-', last, after @ ..] => {
                found |= in_range(*first, *last, byte, case);
                after
            }
            [literal, after @ ..] => {
                found |= equal(*literal, byte, case);
                after
            }
        };
    };
    (found != negated).then_some(after)
}

fn in_range(first: u8, last: u8, byte: u8, case: Case) -> bool {
    // Bytes are compared as C's signed characters, which is what a pattern of a real client meets there.
    let (low, high) = if first as i8 <= last as i8 { (first, last) } else { (last, first) };
    let [low, high, byte] = [low, high, byte].map(|byte| folded(byte, case) as i8);
    low <= byte && byte <= high
}

#[inline]
fn equal(a: u8, b: u8, case: Case) -> bool {
    folded(a, case) == folded(b, case)
}

#[inline]
fn folded(byte: u8, case: Case) -> u8 {
    match case {
        Case::Sensitive => byte,
        Case::Insensitive => byte.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Case, matches};

    fn check(pattern: &str, text: &str, expected: bool) {
        let matched = matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive);
        assert_eq!(matched, expected, "{pattern} {text}");
    }

    #[test]
    fn pieces() {
        check("", "", true);
        check("*", "", false);
        check("", "a", false);
        check("*", "a", true);
        check("a*", "a", true);
        check("a**", "a", true);
        check("a*b*c", "axxbyyc", true);
        check("a*b*c", "axxbyy", false);
        check("h?llo", "hello", true);
        check("h?llo", "hllo", false);
        check("h[ae]llo", "hallo", true);
        check("h[^e]llo", "hello", false);
        check("h[^e]llo", "hallo", true);
        check("h[a-c]llo", "hbllo", true);
        check("h[c-a]llo", "hbllo", true);
        check("h[a-c]llo", "hdllo", false);
        check("[]", "]", false);
        check("[^]x", "ax", true);
        check("[abc", "b", true);
        check("[a-]]", "[", false);
        check("[\\]]", "]", true);
        check("[a", "a", true);
        check("\\*", "*", true);
        check("\\*", "a", false);
        check("\\", "\\", true);
        check("a\\", "a\\", true);
        check("[", "[", false);
        check("*a*a*b", "aaaaaab", true);
        check("x*x", "x", false);
    }

    #[test]
    fn case_is_ignored_on_demand() {
        let matches = |pattern: &str| matches(pattern.as_bytes(), b"HeLLo", Case::Insensitive);
        assert!(matches("hello"));
        assert!(matches("h[A-F]ll[^x]"));
        assert!(!matches("[\\h]ello"), "an escaped byte in a class keeps its case");
    }

    #[test]
    fn bytes_in_a_range_are_signed() {
        assert!(matches(b"[\x80-\xff]", b"\x90", Case::Sensitive));
        assert!(matches(b"[\xff-a]", b"0", Case::Sensitive));
        assert!(!matches(b"[\xff-a]", b"\x80", Case::Sensitive));
    }

    #[test]
    fn abusive_patterns_are_cheap() {
        let text = vec![b'a'; 50_000];
        assert!(!matches(&b"*?".repeat(50_000), &text, Case::Sensitive));
        assert!(!matches(
            &b"a*".repeat(500).into_iter().chain(*b"b").collect::<Vec<u8>>(),
            &text,
            Case::Sensitive
        ));
    }

    /// What the pattern means, spelled out with full backtracking.
    fn matches_slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => {
                (0..=text.len()).any(|start| matches_slowly(rest, &text[start..]))
            }
            (_, []) => false,
            (_, [byte, text @ ..]) => super::match_one(pattern, *byte, Case::Sensitive)
                .is_some_and(|rest| matches_slowly(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn one_star_remembered_is_enough(pattern in "[ab*?\\[\\]^\\\\-]{0,9}", text in "[ab\\]*-]{1,9}") {
            let [pattern, text] = [pattern.as_bytes(), text.as_bytes()];
            prop_assert_eq!(matches(pattern, text, Case::Sensitive), matches_slowly(pattern, text));
        }

        #[test]
        fn garbage_never_panics(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text, Case::Insensitive);
        }
    }
}
