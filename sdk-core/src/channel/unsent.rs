//! Mutations that end before they are sent: taken back, superfluous, too late, without what they come
//! after, or too large for the server.
//!
//! Invariant: only a row of which the store knows no send ends here. It becomes a no-op that keeps its
//! number and is pushed without changes, so what ended here never stands in the log with ops. The
//! outcome is stored first and told once.

use std::time::Duration;

use super::{Channel, Turn};
use crate::mutation::queue::Stage;
use crate::mutation::{CancelError, MutationHandle, MutationStatus, OutboxRequest, Settlement};
use crate::planted;
use crate::session::Output;
use crate::time::{MonoTime, UnixTime};
use crate::wire::{ErrorCode, Limits};

/// What a push says besides its items, at most: the channel's name and four numbers.
const PUSH_HEADER_BYTES: usize = 512;

impl Channel {
    /// The application takes a mutation back.
    pub(crate) fn cancel(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
    ) -> Result<(), CancelError> {
        match self.queue.row(handle) {
            None => return Err(CancelError::NoSuchMutation),
            Some(row) if row.status.is_terminal() => return Err(CancelError::Ended),
            Some(row) if row.stage != Stage::Unsent && !planted!(SentRowTakenBack) => {
                return Err(CancelError::Sent);
            }
            Some(_) => {}
        }
        self.neutralise(turn, handle, MutationStatus::Cancelled);
        Ok(())
    }

    /// Makes an unsent row a no-op, and with it those that come after it.
    pub(crate) fn neutralise(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        status: MutationStatus,
    ) {
        let mut ending = vec![(handle, status)];
        let mut ended = Vec::new();
        while let Some((handle, status)) = ending.pop() {
            if !self.queue.neutralise(handle, status.clone()) {
                continue;
            }
            let after = self.queue.unsent_after(handle).into_iter();
            ending.extend(after.map(|handle| (handle, MutationStatus::dep_failed())));
            ended.push(handle);
        }
        self.view
            .drop_mutations(&ended, &turn.limits, &mut self.dirty);
        self.store_noops(turn, &ended);
    }

    /// What comes after a mutation that was not committed, and was not sent yet, fails with it.
    pub(super) fn fail_dependents(&mut self, turn: &mut Turn<'_>, ended: &[Settlement]) {
        for row in ended {
            if row.status != MutationStatus::Committed && !planted!(DependentsOutliveTheirCause) {
                for handle in self.queue.unsent_after(row.handle) {
                    self.neutralise(turn, handle, MutationStatus::dep_failed());
                }
            }
        }
    }

    /// Asks the store to keep outcomes of no-ops. One without a number waits for it.
    pub(super) fn store_noops(&self, turn: &mut Turn<'_>, handles: &[MutationHandle]) {
        let rows = handles.iter().filter_map(|&handle| self.queue.row(handle));
        let rows: Vec<Settlement> = rows
            .filter_map(|row| {
                Some(Settlement {
                    handle: row.handle,
                    n: row.n?,
                    status: row.status.clone(),
                })
            })
            .collect();
        if !rows.is_empty() {
            turn.out.push(Output::Outbox(OutboxRequest::Neutralise {
                channel: self.name.clone(),
                rows,
            }));
        }
    }

    /// The store has the outcomes of no-ops: tell, and let their numbers go on.
    pub(crate) fn handle_neutralised(&mut self, turn: &mut Turn<'_>, rows: Vec<Settlement>) {
        for Settlement { handle, n, status } in rows {
            if let Some(row) = self.queue.by_handle(handle) {
                row.told = true;
                if row.stage == Stage::Storing {
                    row.stage = Stage::Unsent;
                }
            }
            self.tell(turn, handle, n, status);
        }
    }

    /// Ends unsent rows whose time is over.
    pub(super) fn expire_unsent(&mut self, turn: &mut Turn<'_>) {
        while let Some(handle) = self.queue.take_expired(turn.server_now_min) {
            self.neutralise(turn, handle, MutationStatus::Expired);
        }
    }

    /// When the next unsent row is too late.
    pub(super) fn expiry(&self, now: MonoTime, server_now: UnixTime) -> Option<MonoTime> {
        let at = self.queue.next_expiry()?;
        let ms = at.0.saturating_add(1).saturating_sub(server_now.0);
        Some(now + Duration::from_millis(ms))
    }

    /// Ends the rows that the server said it takes no more, since they were made.
    pub(super) fn drop_oversized(&mut self, turn: &mut Turn<'_>) {
        let oversized: Vec<_> = self
            .queue
            .from(0)
            .filter(|(_, row)| is_oversized(row.bytes, &turn.limits))
            .map(|(n, row)| (n, row.handle, row.stage))
            .collect();
        let mut settled = Vec::new();
        for (n, handle, stage) in oversized {
            if stage == Stage::Unsent {
                let detail = "the server takes only smaller messages now".to_owned();
                let status = MutationStatus::rejected(ErrorCode::TooLarge, detail);
                self.neutralise(turn, handle, status);
            } else {
                // Perhaps it was applied when it was sent; it cannot be asked for any more.
                self.settle_as(n, MutationStatus::Indeterminate, &mut settled);
            }
        }
        self.drop_settled(turn, settled);
    }
}

/// Whether a mutation of so many encoded bytes fits into no message: queued, it would end every link
/// that it is sent on.
pub(crate) const fn is_oversized(encoded: usize, limits: &Limits) -> bool {
    encoded + PUSH_HEADER_BYTES > limits.frame_up_bytes as usize
}
