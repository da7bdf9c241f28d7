//! What a channel is to the sums that its session keeps.

/// What a channel adds to the sums over all channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Rows of its outbox.
    pub(crate) rows: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
    /// Whether it keeps the current link from being left: 0 or 1.
    pub(crate) unmoved: usize,
}
