//! Which channels somebody speaks of: NAME, PREFIX`:*`, or `*`.

use std::fmt;
use std::str::FromStr;

use tidewire_core::ChannelName;

/// A set of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelPattern {
    /// Every channel.
    All,
    /// Those whose first segments are these; the text ends with a colon.
    Prefix(String),
    /// This one.
    Name(ChannelName),
}

/// A text that is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pattern of channels; write NAME, PREFIX:* or *, as in \"board:*\"")]
pub struct ChannelPatternError;

impl ChannelPattern {
    /// Whether a channel is one of them.
    #[must_use]
    pub fn matches(&self, channel: &ChannelName) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => channel.as_str().starts_with(prefix.as_str()),
            Self::Name(name) => name == channel,
        }
    }
}

impl FromStr for ChannelPattern {
    type Err = ChannelPatternError;

    fn from_str(text: &str) -> Result<Self, ChannelPatternError> {
        if text == "*" {
            return Ok(Self::All);
        }
        let name = |text: &str| text.parse::<ChannelName>().map_err(|_| ChannelPatternError);
        match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with(':') => {
                // Whatever may stand before one more segment.
                name(&format!("{prefix}x"))?;
                Ok(Self::Prefix(prefix.into()))
            }
            Some(_) => Err(ChannelPatternError),
            None => Ok(Self::Name(name(text)?)),
        }
    }
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Name(name) => f.write_str(name.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_a_prefix_of_whole_segments_or_everything() {
        for (pattern, channel, matches) in [
            ("*", "board:main", true),
            ("board:*", "board:main", true),
            ("board:*", "board:a:b", true),
            ("board:*", "boards:main", false),
            ("board:a:*", "board:b", false),
            ("board:main", "board:main", true),
            ("board:main", "board:main:x", false),
        ] {
            let pattern: ChannelPattern = pattern.parse().unwrap();
            assert_eq!(
                pattern.matches(&channel.parse().unwrap()),
                matches,
                "{pattern} {channel}"
            );
        }
        for bad in [
            "",
            "board*",
            "board:",
            "*:main",
            "board:*:x",
            "**",
            "a b:*",
            ":*",
        ] {
            assert_eq!(
                bad.parse::<ChannelPattern>(),
                Err(ChannelPatternError),
                "{bad}"
            );
        }
    }
}
