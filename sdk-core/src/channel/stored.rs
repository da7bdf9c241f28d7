//! Rows as the store has them: what a former session has left, and what other sessions write.
//!
//! Invariant: what the store says of a row counts, not what was remembered of it. Whoever made a row, it
//! is shown, sent and brought to its end here as well.

use super::{Channel, Turn};
use crate::mutation::queue::Stage;
use crate::mutation::{MutationHandle, MutationStatus, OutboxRow, Settlement, StoredChannel};
use crate::planted;
use crate::wire::{self, ErrorCode};

/// Above all numbers: of none of these rows a push may be made.
const NOT_READ: u64 = u64::MAX;

impl Channel {
    /// The store has said what it has of this channel. Only now is anything asked of it or of a server.
    pub(crate) fn handle_loaded(&mut self, turn: &mut Turn<'_>, stored: StoredChannel) {
        self.loaded = true;
        self.low = stored.low;
        self.kept_epoch = stored.max_epoch;
        self.judged = stored.judged;
        if stored.max_epoch > self.max_epoch {
            self.max_epoch = stored.max_epoch;
            self.proof = stored.proof;
        }
        for committed in stored.committed {
            let handle = turn.new_handle();
            self.marks.insert(committed.n, handle);
        }
        if !planted!(LoadedRowsForgotten) {
            self.take_stored(turn, stored.rows, NOT_READ);
        }
        if let Some(conn) = self.link {
            self.handle_connected(turn, conn);
        }
    }

    /// Other sessions wrote rows.
    pub(crate) fn handle_foreign(&mut self, turn: &mut Turn<'_>, rows: Vec<OutboxRow>) {
        if self.loaded && !self.released {
            self.take_stored(turn, rows, NOT_READ);
        }
    }

    /// Takes rows as they stand in the store. Those from `read_from` on were read for a push.
    pub(super) fn take_stored(
        &mut self,
        turn: &mut Turn<'_>,
        stored: Vec<OutboxRow>,
        read_from: u64,
    ) {
        let mut ended = Vec::new();
        for row in stored {
            let sendable = row.n >= read_from;
            ended.extend(self.take_row(turn, row, sendable));
        }
        // Once all are known: the store may have ended those that come after them as well.
        for (handle, status) in ended {
            self.fail_dependents(turn, handle, &status);
        }
    }

    /// Returns how the row has ended, if that is new.
    fn take_row(
        &mut self,
        turn: &mut Turn<'_>,
        stored: OutboxRow,
        sendable: bool,
    ) -> Option<(MutationHandle, MutationStatus)> {
        let (n, marked) = (stored.n, stored.attempts > 0);
        if self.queue.by_number(n).is_none() {
            self.add_stored(turn, &stored);
        }
        let row = self.queue.by_number(n)?;
        if row.stage == Stage::Settling {
            return None;
        }
        row.marked |= marked;
        row.deadline = stored.deadline;
        self.queue.comes_after(n, stored.after);
        let row = self.queue.by_number(n)?;
        if row.ending {
            return None;
        }
        if sendable {
            // The answer may have been under way since before the present epoch.
            let is_of_epoch = stored.epoch >= self.max_epoch || planted!(SentByOldReading);
            row.stage = if marked && is_of_epoch {
                Stage::Attempted
            } else {
                Stage::Unsent
            };
        }
        let handle = row.handle;
        if let Some(status) = stored.ended
            && !planted!(ItemFromMemory)
        {
            if !row.noop {
                row.noop = true;
                row.status = status.clone();
                self.queue.empty(handle);
                self.view
                    .drop_mutations(&[handle], &turn.limits, &mut self.dirty);
                self.tell(turn, handle, n, status.clone());
                return Some((handle, status));
            }
            return None;
        }
        if !planted!(ItemFromMemory) {
            row.item = stored.item;
        }
        if marked && row.status == MutationStatus::Queued {
            row.status = MutationStatus::Attempted;
            self.tell(turn, handle, n, MutationStatus::Attempted);
        }
        None
    }

    /// A row that is not known here yet.
    fn add_stored(&mut self, turn: &mut Turn<'_>, stored: &OutboxRow) {
        let n = stored.n;
        let handle = turn.new_handle();
        let item = wire::decode_item(&stored.item);
        let bytes = item.as_ref().map_or(0, |item| {
            let codec = turn.config.codec;
            codec.item_bytes_of(&stored.item, (&item.changes, &item.pre))
        });
        let row = self.queue.push_stored(handle, n, stored.after, bytes);
        row.item = stored.item.clone();
        if let Some(status) = &stored.ended {
            row.noop = true;
            row.status = status.clone();
            self.tell(turn, handle, n, status.clone());
            return;
        }
        self.tell(turn, handle, n, MutationStatus::Queued);
        if self.is_decided(n) {
            self.ask_how_decided(turn);
        } else if item.is_some() {
            self.show_stored(turn, handle, n, &stored.item);
        } else if stored.attempts == 0 {
            let detail = "the stored mutation cannot be read".to_owned();
            let status = MutationStatus::rejected(ErrorCode::Internal, detail);
            self.neutralise(turn, handle, status);
        } else {
            let mut settled = Vec::new();
            self.settle_as(Settlement::unknown(n), &mut settled);
            self.drop_settled(turn, settled);
        }
    }

    /// Whether the base holds the outcome of a number already.
    pub(super) const fn is_decided(&self, n: u64) -> bool {
        n <= self.base_last
    }

    /// A row became known only after the base had passed it: the answer to a subscribe says how it ended.
    pub(super) fn ask_how_decided(&mut self, turn: &mut Turn<'_>) {
        if self.state.is_streaming() {
            self.resubscribe(turn);
        }
    }

    /// Shows a row that is in the overlay by its number.
    pub(super) fn show_stored(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        n: u64,
        item: &[u8],
    ) {
        let changes = wire::decode_item(item).unwrap_or_default().changes;
        self.view
            .push(handle, n, changes.into(), &turn.limits, &mut self.dirty);
    }
}
