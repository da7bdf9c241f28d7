//! One line of a stream.

/// Name and value. A comment's name is empty.
pub(super) fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b':') {
        None => (line, b""),
        Some(at) => {
            let value = &line[at + 1..];
            (&line[..at], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_parts_and_one_space_goes() {
        for (line, name, value) in [
            (&b"data"[..], &b"data"[..], &b""[..]),
            (b"data:", b"data", b""),
            (b"data:a", b"data", b"a"),
            (b"data: a", b"data", b"a"),
            (b"data:  a ", b"data", b" a "),
            (b"data:a:b", b"data", b"a:b"),
            (b"data :a", b"data ", b"a"),
            (b": a", b"", b"a"),
        ] {
            assert_eq!(field(line), (name, value));
        }
    }
}
