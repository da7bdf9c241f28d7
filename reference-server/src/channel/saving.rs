//! A snapshot on its way to the broker, part by part, between the turns of its channel.
//!
//! Invariant: what is saved is the fold at one cursor, however far the channel has gone since.

use crate::log::{BrokerRequest, Encoding, Snapshot};

use super::fold::Unsaved;

/// What is being saved.
#[derive(Debug)]
pub(super) struct Saving {
    encoding: Encoding,
    /// What it saves.
    pub(super) saved: Unsaved,
    trim_through: u64,
    /// A part was put just now: pushes that wait come first.
    yields: bool,
}

impl Saving {
    pub(super) fn new(
        snapshot: Snapshot,
        part_bytes: usize,
        saved: Unsaved,
        trim_through: u64,
    ) -> Self {
        Self {
            encoding: Encoding::new(snapshot, part_bytes),
            saved,
            trim_through,
            yields: false,
        }
    }

    /// Whether pushes go before the next part; asked again, they have gone.
    pub(super) fn yields(&mut self) -> bool {
        std::mem::take(&mut self.yields)
    }

    /// The next part, or what makes them count.
    pub(super) fn next_request(&mut self) -> BrokerRequest {
        self.yields = true;
        let part = self.encoding.parts();
        match self.encoding.next_part() {
            Some(bytes) => BrokerRequest::PutPart {
                cursor: self.encoding.cursor(),
                part,
                bytes,
            },
            None => BrokerRequest::PutSnapshot {
                snapshot: self.encoding.name(),
                trim_through: self.trim_through,
            },
        }
    }
}
