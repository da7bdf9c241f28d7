//! Who else serves from the same broker: a node that drains says whether its clients will find another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The nodes that serve from one broker.
#[derive(Clone, Debug, Default)]
pub struct Nodes(Arc<AtomicUsize>);

impl Nodes {
    /// One more serves, until it leaves or its place is dropped.
    #[must_use]
    pub fn join(&self) -> Serving {
        self.0.fetch_add(1, Ordering::AcqRel);
        Serving {
            nodes: self.clone(),
            left: AtomicBool::new(false),
        }
    }
}

/// A node's place among those that serve.
#[derive(Debug)]
pub struct Serving {
    nodes: Nodes,
    left: AtomicBool,
}

impl Serving {
    /// The node takes no more clients. Returns whether no other one does.
    pub fn leave(&self) -> bool {
        if !self.left.swap(true, Ordering::AcqRel) {
            self.nodes.0.fetch_sub(1, Ordering::AcqRel);
        }
        self.nodes.0.load(Ordering::Acquire) == 0
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_last_is_alone_and_nobody_leaves_twice() {
        let nodes = Nodes::default();
        let (first, second) = (nodes.join(), nodes.join());
        assert!(!first.leave());
        assert!(!first.leave());
        drop(first);
        assert!(second.leave());
        let third = nodes.join();
        drop(second);
        assert!(third.leave());
    }
}
