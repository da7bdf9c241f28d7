//! Whose mutations.

/// First 16 bytes of SHA-256(principal ‖ 0 ‖ client): whose mutations these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author(pub [u8; 16]);
