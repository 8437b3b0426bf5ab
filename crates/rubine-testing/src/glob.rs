//! The pattern of `@match` and of test filters: `*` and `?`, nothing else. Brackets stay literal, since replies are full of them.

/// Whether the whole of `text` matches `pattern`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut pattern_idx, mut text_idx) = (0, 0);
    // Where to resume when a literal after the last star does not fit: (after the star, text taken so far).
    let mut retry: Option<(usize, usize)> = None;
    while text_idx < text.len() {
        match pattern.get(pattern_idx) {
            Some(b'*') => {
                retry = Some((pattern_idx + 1, text_idx));
                pattern_idx += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[text_idx] => {
                pattern_idx += 1;
                text_idx += 1;
            }
            _ => {
                let Some((after_star, taken)) = retry else { return false };
                retry = Some((after_star, taken + 1));
                pattern_idx = after_star;
                text_idx = taken + 1;
            }
        }
    }
    pattern[pattern_idx..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbb", false),
            ("*b*b?", "abxbx", true),
            ("?", "", false),
            ("[x]", "[x]", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        }
    }
}
