//! Draws that are the same on every target.

use std::ops::{Bound, RangeBounds};

use fastrand::Rng;

/// What [`Rng::usize`] is for: that one draws other numbers where `usize` is narrower.
pub trait Draw {
    /// A number of the range, which holds at least one.
    fn index(&mut self, range: impl RangeBounds<usize>) -> usize;
}

impl Draw for Rng {
    fn index(&mut self, range: impl RangeBounds<usize>) -> usize {
        let low = match range.start_bound() {
            Bound::Included(&low) => low as u64,
            Bound::Excluded(&low) => low as u64 + 1,
            Bound::Unbounded => 0,
        };
        let drawn = match range.end_bound() {
            Bound::Included(&high) => self.u64(low..=high as u64),
            Bound::Excluded(&end) => self.u64(low..end as u64),
            Bound::Unbounded => self.u64(low..=u64::from(u32::MAX)),
        };
        usize::try_from(drawn).unwrap_or(usize::MAX)
    }
}
