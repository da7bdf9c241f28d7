//! Which node somebody speaks of.

/// A node among those that share a broker: 64 random bits, used for one life of the node and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub u64);
