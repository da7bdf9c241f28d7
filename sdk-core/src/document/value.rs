//! Field values: JSON text, checked once at the edge and never parsed again.

use std::fmt::{self, Write};

use bytes::Bytes;

/// The deepest nesting of arrays and objects in a value.
pub const VALUE_DEPTH_MAX: usize = 64;

/// Whether `text` is one JSON value (RFC 8259) in UTF-8, nested at most [`VALUE_DEPTH_MAX`] deep, with
/// no white space around it.
///
/// White space around a value would be lost where values are embedded in JSON, and two clients would
/// hold different texts.
///
/// Iterative: hostile nesting cannot overflow the stack.
#[must_use]
pub fn is_json(text: &[u8]) -> bool {
    let bare = |end: Option<&u8>| end.is_some_and(|b| !is_space(*b));
    bare(text.first())
        && bare(text.last())
        && std::str::from_utf8(text).is_ok()
        && Scanner { text, at: 0 }.document().is_some()
}

/// The integer that a value is, if it is one and fits in an `i64`. `1.0` and `1e3` are not integers.
#[must_use]
pub fn as_integer(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// An integer as a value.
#[must_use]
pub fn from_integer(integer: i64) -> Bytes {
    Bytes::from(integer.to_string())
}

/// Appends `text` as a JSON string.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &b in text.as_bytes() {
        match b {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 15)]);
            }
            _ => out.push(b),
        }
    }
    out.push(b'"');
}

/// A text of somebody else's in a message to people: between quotes, with control characters escaped.
///
/// Not `{:?}`, which brings tables of Unicode into the browser's module.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                _ if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

const fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn document(mut self) -> Option<()> {
        // One entry per open container: true = object.
        let mut open: [bool; VALUE_DEPTH_MAX] = [false; VALUE_DEPTH_MAX];
        let mut depth = 0;
        loop {
            // A value starts here.
            self.space();
            match self.next()? {
                b'{' => {
                    self.space();
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                    } else {
                        *open.get_mut(depth)? = true;
                        depth += 1;
                        self.key()?;
                        continue;
                    }
                    if depth >= VALUE_DEPTH_MAX {
                        return None;
                    }
                }
                b'[' => {
                    self.space();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                    } else {
                        *open.get_mut(depth)? = false;
                        depth += 1;
                        continue;
                    }
                    if depth >= VALUE_DEPTH_MAX {
                        return None;
                    }
                }
                b'"' => self.string()?,
                b't' => self.literal(b"rue")?,
                b'f' => self.literal(b"alse")?,
                b'n' => self.literal(b"ull")?,
                b @ (b'-' | b'0'..=b'9') => self.number(b)?,
                _ => return None,
            }
            // A value ended here: close what closes, or go on after a comma.
            loop {
                self.space();
                if depth == 0 {
                    return (self.at == self.text.len()).then_some(());
                }
                let object = open[depth - 1];
                match self.next()? {
                    b',' => {
                        if object {
                            self.space();
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if object => depth -= 1,
                    b']' if !object => depth -= 1,
                    _ => return None,
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let b = self.peek()?;
        self.at += 1;
        Some(b)
    }

    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        let end = self.at + rest.len();
        (self.text.get(self.at..end)? == rest).then(|| self.at = end)
    }

    fn key(&mut self) -> Option<()> {
        (self.next()? == b'"').then_some(())?;
        self.string()?;
        self.space();
        (self.next()? == b':').then_some(())
    }

    /// After the opening quote.
    fn string(&mut self) -> Option<()> {
        loop {
            let rest = self.text.get(self.at..)?;
            self.at += rest
                .iter()
                .position(|b| matches!(b, b'"' | b'\\' | 0..0x20))?;
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            self.next()?.is_ascii_hexdigit().then_some(())?;
                        }
                    }
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    fn digits(&mut self) -> Option<()> {
        self.next()?.is_ascii_digit().then_some(())?;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Some(())
    }

    /// After the first character.
    fn number(&mut self, first: u8) -> Option<()> {
        let lead = if first == b'-' { self.next()? } else { first };
        match lead {
            b'0' => {}
            b'1'..=b'9' => {
                while self.peek().is_some_and(|b| b.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_json_and_nothing_else() {
        for good in [
            "1",
            "-0",
            "0.5e-7",
            "1E400",
            "true",
            "null",
            "\"\"",
            "\"\\ud800\"",
            "[]",
            "{}",
            "[[],{}]",
            "{ \"a\" : [1, 2] , \"b\":{\"c\":null} }",
            "\"ü\"",
            "{\"__proto__\":1}",
        ] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            " ",
            " 1",
            "{}\n",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nul",
            "'a'",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[",
            "]",
            "[1,]",
            "[,1]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "NaN",
            "\u{feff}1",
        ] {
            assert!(!is_json(bad.as_bytes()), "{bad}");
        }
        assert!(!is_json(&[b'"', 0xff, b'"']));
    }

    #[test]
    fn depth_is_bounded_whatever_the_shape() {
        let nest = |n: usize, inner: &str| format!("{}{inner}{}", "[".repeat(n), "]".repeat(n));
        assert!(is_json(nest(64, "1").as_bytes()));
        assert!(is_json(nest(63, "[]").as_bytes()));
        assert!(!is_json(nest(64, "{}").as_bytes()));
        assert!(!is_json(nest(65, "1").as_bytes()));
        assert!(!is_json("[".repeat(1_000_000).as_bytes()));
        assert!(!is_json("{\"a\":".repeat(1_000_000).as_bytes()));
    }

    #[test]
    fn integers_are_exact_or_nothing() {
        assert_eq!(as_integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(as_integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(as_integer(b"-0"), Some(0));
        for bad in [
            "9223372036854775808",
            "1.0",
            "1e3",
            "\"1\"",
            "01",
            "",
            "-",
            "+1",
            "null",
        ] {
            assert_eq!(as_integer(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn quoted_texts_have_no_control_characters() {
        let quoted = Quoted("a\"\\\n\u{9f}ü").to_string();
        assert_eq!(quoted, "\"a\\\"\\\\\\u{a}\\u{9f}ü\"");
    }

    #[test]
    fn strings_are_escaped() {
        let mut out = Vec::new();
        write_json_string("a\"\\\u{1}ü", &mut out);
        assert_eq!(out, "\"a\\\"\\\\\\u0001ü\"".as_bytes());
        assert!(is_json(&out));
    }
}
