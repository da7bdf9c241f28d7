//! Which names a rule is about.

/// `*` stands for any text, everything else for itself.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, matches) in [
            ("board:*", "board:main", true),
            ("board:*", "boards:main", false),
            ("*", "", true),
            ("*:a*c", "x:abcbc", true),
            ("*:a*c", "x:abcb", false),
            ("board:main", "board:main", true),
            ("board:main", "board:mai", false),
        ] {
            assert_eq!(super::matches(pattern, text), matches, "{pattern} {text}");
        }
    }
}
