//! Base64 as a stream's events carry it: RFC 4648, section 4, with padding and without anything else.

/// What a text stands for; `None` if it is not what an encoder writes.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text
        .iter()
        .rev()
        .take(2)
        .take_while(|byte| **byte == b'=')
        .count();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits = 0_u32;
    for (at, byte) in text[..text.len() - padding].iter().enumerate() {
        bits = bits << 6 | u32::from(digit(*byte)?);
        if at % 4 != 0 {
            // The newest whole byte: behind it are 4, 2 and 0 bits.
            bytes.push((bits >> (6 - at % 4 * 2)) as u8);
        }
    }
    // Bits that no byte has: an encoder leaves them zero.
    let rest = (1 << (padding * 2)) - 1;
    (bits & rest == 0).then_some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_the_standard_are_read() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9vYmE=", b"fooba"),
            ("Zm9vYmFy", b"foobar"),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        for text in [
            "Z", "Zg", "Zg=", "Zm9", "====", "=", "A===", "Zg==Zg==", "Zm=v", "Zm8=\n", "Zm 8",
            "Zh==", "Zm9=", "-_-_", "Zg=g",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
