//! What names may look like.

use tidewire_core::ChannelName;

/// Whether a text can be a segment of a channel's name: 1–64 of A–Z a–z 0–9 _ . -
pub(crate) fn is_segment(text: &str) -> bool {
    !text.contains(':') && format!("{text}:x").parse::<ChannelName>().is_ok()
}
