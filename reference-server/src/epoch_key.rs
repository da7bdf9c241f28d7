//! Keys that prove claims of epochs: 32 bytes, the same on every node that serves the same logs.
//!
//! The first of a list signs, all of them verify. A new key is first listed second on every node, then
//! first, so that no node meets a proof that it cannot check.

use std::fmt;
use std::str::FromStr;

/// One key of `epoch_keys`.
#[derive(Clone, PartialEq, Eq)]
pub struct EpochKey([u8; Self::BYTES]);

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an epoch key is 32 bytes as 64 hex digits; make one with `openssl rand -hex 32` and give the \
     same one to every node"
)]
pub struct EpochKeyError;

impl EpochKey {
    /// How long a key is.
    pub const BYTES: usize = 32;

    /// The key with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// What proofs are made with.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// As it stands in a file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FromStr for EpochKey {
    type Err = EpochKeyError;

    fn from_str(text: &str) -> Result<Self, EpochKeyError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * Self::BYTES {
            return Err(EpochKeyError);
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex(pair[0])? << 4 | hex(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn hex(digit: u8) -> Result<u8, EpochKeyError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(EpochKeyError),
    }
}

impl fmt::Debug for EpochKey {
    /// Never the key: what is debugged may be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_hex_digits_are_a_key() {
        let text = "00ff".repeat(16);
        let key: EpochKey = text.parse().unwrap();
        assert_eq!(key.as_bytes()[..4], [0, 255, 0, 255]);
        assert_eq!(key.to_hex(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(key));
        for bad in [
            "",
            "00",
            &"0".repeat(63),
            &"0".repeat(65),
            &"g".repeat(64),
            &"é".repeat(32),
            &format!(" {}", "0".repeat(63)),
        ] {
            assert_eq!(bad.parse::<EpochKey>(), Err(EpochKeyError), "{bad}");
        }
    }

    #[test]
    fn a_key_is_not_in_what_is_debugged() {
        let key = EpochKey::new([0xab; 32]);
        assert!(!format!("{key:?}").contains("ab"), "{key:?}");
    }
}
