//! Whether two field values are the same JSON value, although they may be written differently.
//!
//! Invariant: no float is parsed. Numbers are compared as exact decimals, objects regardless of the
//! order of their keys; of a key that comes twice the last value counts, as in every JSON parser.
//!
//! Cost: memory and time grow with the two texts alone (sorting keys included), and nesting is
//! bounded by [`VALUE_DEPTH_MAX`].

use std::borrow::Cow;

use super::value::{VALUE_DEPTH_MAX, is_json};

/// Whether two texts are the same JSON value. Text that is no JSON equals only itself, byte for byte.
///
/// `1`, `1.0` and `10e-1` are equal, and so are `0` and `-0`. An exponent of more than 18 digits is
/// compared as it is written.
#[must_use]
pub fn json_equal(a: &[u8], b: &[u8]) -> bool {
    a == b || matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b)
}

fn parse(text: &[u8]) -> Option<Json<'_>> {
    // What the reader below lets through besides, as `00`, is no JSON and has no value.
    if !is_json(text) {
        return None;
    }
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    (reader.at == text.len()).then_some(value)
}

/// Text is kept as bytes: UTF-8, with a lone surrogate as the three bytes that UTF-8 would give it.
type Text<'a> = Cow<'a, [u8]>;

#[derive(PartialEq, Eq)]
enum Json<'a> {
    Null,
    Bool(bool),
    Number(Decimal<'a>),
    Text(Text<'a>),
    List(Vec<Self>),
    /// Sorted by key, each key once.
    Object(Vec<(Text<'a>, Self)>),
}

/// `± 0.digits × 10^exponent`, without zeros at either end of the digits.
#[derive(PartialEq, Eq)]
struct Decimal<'a> {
    negative: bool,
    digits: Cow<'a, [u8]>,
    exponent: i64,
    /// An exponent too long for `exponent`, which then only has the place of the point.
    written: Option<(bool, &'a [u8])>,
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Json<'a>> {
        self.space();
        Some(match self.next()? {
            b'n' => self.literal(b"ull", Json::Null)?,
            b't' => self.literal(b"rue", Json::Bool(true))?,
            b'f' => self.literal(b"alse", Json::Bool(false))?,
            b'"' => Json::Text(self.text()?),
            b'[' => Json::List(self.list(depth)?),
            b'{' => Json::Object(self.object(depth)?),
            b'-' => Json::Number(self.number(true)?),
            b'0'..=b'9' => {
                self.at -= 1;
                Json::Number(self.number(false)?)
            }
            _ => return None,
        })
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Json<'a>>> {
        let mut values = Vec::new();
        if self.closes(b']', depth)? {
            return Some(values);
        }
        loop {
            values.push(self.value(depth + 1)?);
            if self.ends(b']')? {
                return Some(values);
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<Vec<(Text<'a>, Json<'a>)>> {
        let mut members = Vec::new();
        if self.closes(b'}', depth)? {
            return Some(members);
        }
        loop {
            self.space();
            self.expect(b'"')?;
            let key = self.text()?;
            self.space();
            self.expect(b':')?;
            members.push((key, self.value(depth + 1)?));
            if self.ends(b'}')? {
                break;
            }
        }
        // Stable, so of one key the last stays last; then it takes the first one's place.
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        members.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Some(members)
    }

    /// After an opening bracket: whether it closes at once.
    fn closes(&mut self, bracket: u8, depth: usize) -> Option<bool> {
        if depth >= VALUE_DEPTH_MAX {
            return None;
        }
        self.space();
        let closes = self.peek() == Some(bracket);
        self.at += usize::from(closes);
        Some(closes)
    }

    /// After an element: whether it was the last one.
    fn ends(&mut self, bracket: u8) -> Option<bool> {
        self.space();
        match self.next()? {
            b',' => Some(false),
            b if b == bracket => Some(true),
            _ => None,
        }
    }

    /// After the opening quote.
    fn text(&mut self) -> Option<Text<'a>> {
        let rest = &self.text[self.at..];
        let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
        self.at += plain;
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Some(Cow::Borrowed(&rest[..plain]));
        }
        let mut text = rest[..plain].to_vec();
        loop {
            match self.next()? {
                b'"' => return Some(Cow::Owned(text)),
                b'\\' => self.escape(&mut text)?,
                b => text.push(b),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let byte = match self.next()? {
            b @ (b'"' | b'\\' | b'/') => b,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = self.unit()?;
                // Two surrogates that belong together are one character.
                if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
                    let after_high = self.at;
                    self.at += 2;
                    let low = self.unit()?;
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    } else {
                        self.at = after_high;
                    }
                }
                push_code(code, text);
                return Some(());
            }
            _ => return None,
        };
        text.push(byte);
        Some(())
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let mut code = 0;
        for _ in 0..4 {
            code = code * 16 + char::from(self.next()?).to_digit(16)?;
        }
        Some(code)
    }

    /// After the sign.
    fn number(&mut self, negative: bool) -> Option<Decimal<'a>> {
        let whole = self.digits();
        let mut digits = Cow::Borrowed(whole);
        if self.peek() == Some(b'.') {
            self.at += 1;
            digits.to_mut().extend_from_slice(self.digits());
        }
        let (mut exponent, mut written) = (0, None);
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let down = self.peek() == Some(b'-');
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            let text = without_leading_zeros(self.digits());
            match text.len() {
                0..=18 => {
                    let size = text.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
                    exponent = if down { -size } else { size };
                }
                _ => written = Some((down, text)),
            }
        }
        let leading = digits.iter().take_while(|b| **b == b'0').count();
        if leading == digits.len() {
            return (!digits.is_empty()).then_some(Decimal {
                negative: false,
                digits: Cow::Borrowed(&[]),
                exponent: 0,
                written: None,
            });
        }
        let trailing = digits.iter().rev().take_while(|b| **b == b'0').count();
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        let kept = leading..digits.len() - trailing;
        let digits = match digits {
            Cow::Borrowed(digits) => Cow::Borrowed(&digits[kept]),
            Cow::Owned(digits) => Cow::Owned(digits[kept].to_vec()),
        };
        Some(Decimal {
            negative,
            digits,
            exponent: exponent + point,
            written,
        })
    }

    fn digits(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        &rest[..count]
    }

    fn literal(&mut self, rest: &[u8], value: Json<'a>) -> Option<Json<'a>> {
        let found = self.text[self.at..].starts_with(rest);
        self.at += rest.len();
        found.then_some(value)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }
}

fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|b| **b == b'0').count();
    &digits[zeros..]
}

/// Appends a code point as UTF-8 would, also a surrogate.
fn push_code(code: u32, text: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(c) => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            for (shift, mark) in [(12, 0xe0), (6, 0x80), (0, 0x80)] {
                let mask = if shift == 12 { 0x0f } else { 0x3f };
                // Six bits and a mark always fit a byte.
                text.push(u8::try_from((code >> shift) & mask).unwrap_or_default() | mark);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn equal(a: &str, b: &str) -> bool {
        assert_eq!(
            json_equal(a.as_bytes(), b.as_bytes()),
            json_equal(b.as_bytes(), a.as_bytes())
        );
        json_equal(a.as_bytes(), b.as_bytes())
    }

    #[test]
    fn numbers_are_compared_as_exact_decimals() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "10e-1"),
            ("100", "1E+2"),
            ("0.5", "5e-1"),
            ("0", "-0"),
            ("0", "0.000e99"),
            ("-120", "-1.20e2"),
            ("1e400", "10e399"),
            ("0.1", "0.10000"),
            ("9007199254740993", "9007199254740993.0"),
            ("1e0000000000000000000000002", "100"),
            ("1e9999999999999999999", "1e+9999999999999999999"),
        ] {
            assert!(equal(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.1000000000000000055511151231257827"),
            ("1", "-1"),
            ("1e400", "1e401"),
            ("1e-400", "0"),
            ("12", "1.2"),
            ("1e9999999999999999999", "1e-9999999999999999999"),
            ("1", "\"1\""),
        ] {
            assert!(!equal(a, b), "{a} {b}");
        }
    }

    #[test]
    fn objects_are_equal_in_any_order_of_keys_and_lists_are_not() {
        assert!(equal(
            r#"{"a":1,"b":[2,{}]}"#,
            r#"{ "b" : [ 2.0 , { } ] , "a" : 1 }"#
        ));
        assert!(equal(r#"{"a":1,"a":2}"#, r#"{"a":2}"#));
        assert!(equal(
            r#"{"__proto__":{"x":1}}"#,
            r#"{"\u005f_proto__":{"x":1}}"#
        ));
        assert!(!equal(r#"{"a":1}"#, r#"{"a":1,"b":null}"#));
        assert!(!equal(r#"{"a":1,"a":2}"#, r#"{"a":1}"#));
        assert!(!equal("[1,2]", "[2,1]"));
        assert!(!equal("[]", "{}"));
        assert!(!equal("null", "false"));
    }

    #[test]
    fn text_is_compared_by_what_it_says() {
        assert!(equal(r#""a\/b""#, r#""a/b""#));
        assert!(equal(r#""\u00fc""#, "\"ü\""));
        assert!(equal(r#""\ud83d\ude00""#, "\"😀\""));
        assert!(equal(r#""\uD800""#, r#""\ud800""#));
        assert!(equal(r#""\ud800\u0041""#, r#""\ud800A""#));
        assert!(!equal(r#""\ud800""#, r#""\ud801""#));
        assert!(!equal(r#""\ud800\ud800""#, r#""\ud800""#));
        assert!(!equal("\"a\"", "\"A\""));
    }

    /// Found by fuzzing: the reader takes whatever digits come.
    #[test]
    fn what_is_no_json_equals_only_itself() {
        for (a, b) in [
            ("00", "0"),
            ("-", "0"),
            ("1.", "1"),
            ("1e", "1"),
            (" 1", "1"),
        ] {
            assert!(!equal(a, b), "{a:?} {b:?}");
            assert!(equal(a, a) && equal(b, b));
        }
    }

    #[test]
    fn depth_beyond_the_limit_is_no_value() {
        let nest = |space: &str| format!("{}1{space}{}", "[".repeat(65), "]".repeat(65));
        assert!(!equal(&nest(""), &nest(" ")));
        let nest = |space: &str| format!("{}1{space}{}", "[".repeat(64), "]".repeat(64));
        assert!(equal(&nest(""), &nest(" ")));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(a in proptest::collection::vec(any::<u8>(), 0..60), b in ".{0,60}") {
            let _ = json_equal(&a, b.as_bytes());
        }

        /// A decimal written in two ways is equal to itself, and to nothing one digit away.
        #[test]
        fn a_decimal_is_equal_however_its_point_stands(
            digits in "[1-9][0-9]{0,30}[1-9]", point in 0usize..40, zeros in 0usize..5, shift in -40i64..40,
        ) {
            let plain = format!("{digits}{}e{shift}", "0".repeat(zeros));
            let exponent = shift + zeros as i64;
            let moved = if point < digits.len() && point > 0 {
                let (whole, rest) = digits.split_at(point);
                format!("{whole}.{rest}{}E{:+}", "0".repeat(zeros), exponent + rest.len() as i64)
            } else {
                format!("0.{}{digits}e{}", "0".repeat(point), exponent + (digits.len() + point) as i64)
            };
            prop_assert!(equal(&plain, &moved), "{} {}", plain, moved);
            let other = format!("{digits}1{}e{shift}", "0".repeat(zeros));
            prop_assert!(!equal(&plain, &other));
        }
    }
}
