//! Channel names, parsed once at the edge.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::document::value::Quoted;

/// A channel's name: `namespace ":" segment (":" segment)*`.
///
/// Shape: segments of 1–64 of `A–Z a–z 0–9 _ . -`, at most 200 bytes in all.
/// Source: docs/protocol.md §1. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

/// Why a text is not a channel's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelNameError {
    /// Over 200 bytes.
    #[error("channel name of {bytes} bytes is over the limit of {max}", max = ChannelName::BYTES_MAX)]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// No colon.
    #[error("channel name needs a namespace and a segment, as in \"board:main\"")]
    NoNamespace,
    /// A segment is empty, longer than 64 bytes or has a character outside the set.
    #[error(
        "segment {} of a channel name must be 1-64 of A-Z a-z 0-9 _ . -",
        Quoted(segment)
    )]
    BadSegment {
        /// The offender, cut to 64 characters.
        segment: String,
    },
}

impl ChannelName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 200;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first colon.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }
}

/// Whether `text` is 1–64 of `A–Z a–z 0–9 _ . -`: a segment, a collection, a namespace.
pub(crate) fn is_segment(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChannelName {
    type Err = ChannelNameError;

    fn from_str(text: &str) -> Result<Self, ChannelNameError> {
        if text.len() > Self::BYTES_MAX {
            return Err(ChannelNameError::TooLong { bytes: text.len() });
        }
        if !text.contains(':') {
            return Err(ChannelNameError::NoNamespace);
        }
        match text.split(':').find(|segment| !is_segment(segment)) {
            Some(segment) => Err(ChannelNameError::BadSegment {
                segment: segment.chars().take(64).collect(),
            }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_once_and_strictly() {
        assert_eq!(
            "board:main".parse::<ChannelName>().unwrap().namespace(),
            "board"
        );
        assert!("a:b:c.d-e_F9".parse::<ChannelName>().is_ok());
        for bad in ["", "board", ":", "a:", ":a", "a::b", "a:b c", "a:ü", "a:*"] {
            assert!(bad.parse::<ChannelName>().is_err(), "{bad}");
        }
        let long = format!("a:{}", "b:".repeat(120) + "c");
        assert!(matches!(
            long.parse::<ChannelName>(),
            Err(ChannelNameError::TooLong { .. })
        ));
        assert!(
            format!("a:{}", "b".repeat(65))
                .parse::<ChannelName>()
                .is_err()
        );
    }
}
