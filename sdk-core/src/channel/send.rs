//! How mutations are sent: written, marked and read in the store, pushed, acknowledged.
//!
//! Invariant: nothing is sent before the store has the mark and the frozen deadline, and what is sent is
//! what the store has.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::{Channel, Turn};
use crate::io::Output;
use crate::mutation::queue::{Row, Stage};
use crate::mutation::{After, Low, MutationStatus, NewRow, OutboxRequest, OutboxRow, Settlement};
use crate::planted;
use crate::wire::Ack;

impl Channel {
    /// Has the store write what is new, all of it at once. At the end of a turn, before pushes.
    pub(crate) fn store_fresh(&mut self, turn: &mut Turn<'_>) {
        if !self.loaded {
            return;
        }
        let mut rows: Vec<NewRow> = Vec::new();
        while let Some(row) = self.queue.fresh() {
            let (handle, after) = (row.handle, row.after);
            let cause = after.and_then(|after| self.queue.row(after));
            let after = match cause {
                None => After::Nothing,
                Some(cause) => match (cause.n, rows.iter().rposition(|r| r.handle == cause.handle))
                {
                    (Some(n), _) => After::Row(n),
                    (None, Some(at)) => After::Back(rows.len() - at),
                    // Its number is not known yet, and all that follows is written after it.
                    (None, None) => break,
                },
            };
            let Some(row) = self.queue.by_handle(handle) else {
                break;
            };
            row.asked = true;
            // What ended before that, nobody else ever sees.
            let ended = row.noop.then(|| row.status.clone());
            row.ending = false;
            rows.push(NewRow {
                handle,
                item: if row.noop {
                    Bytes::new()
                } else {
                    row.item.clone()
                },
                deadline: row.deadline,
                ended,
                after: if planted!(DependencyNotSent) {
                    After::Nothing
                } else {
                    after
                },
            });
        }
        if !rows.is_empty() {
            turn.out.push(Output::Outbox(OutboxRequest::Append {
                channel: self.name.clone(),
                rows,
            }));
        }
    }

    /// Pushes what may go, and has the store mark what comes next. Once at the end of a turn, so that
    /// one push carries all that the turn brought.
    pub(crate) fn send_pushes(&mut self, turn: &mut Turn<'_>) {
        if !turn.linked || !self.state.is_streaming() {
            return;
        }
        self.expire_unsent(turn);
        let low = if planted!(LowFromMemory) {
            let first = self.queue.from(0).next().map_or(1, |(n, _)| n);
            Low {
                first,
                after: None,
                epoch: self.max_epoch,
            }
        } else {
            self.low
        };
        let plan = self.pusher.plan(turn.now, &self.queue, low, &turn.limits);
        // What another session has brought to its end: the store says how, if that was not in the log.
        let is_gone = |row: &Row| !row.gone && !row.ending && row.stage != Stage::Storing;
        let gone = self.queue.from(0).take_while(|&(n, _)| n < low.first);
        let gone: Vec<u64> = gone
            .filter(|(_, row)| is_gone(row))
            .map(|(n, _)| n)
            .collect();
        let gone = gone.first().copied().zip(gone.last().copied());
        let asked = (plan.through > 0).then_some((plan.from, plan.through));
        for (from, through) in gone.into_iter().chain(asked) {
            let asked = self.queue.from(from).map(|(n, _)| n);
            let asked: Vec<u64> = asked.take_while(|&n| n <= through).collect();
            let mut deadlines = Vec::new();
            for n in asked {
                self.queue.freeze(n);
                let row = self.queue.by_number(n).filter(|row| !row.marked);
                deadlines.extend(row.and_then(|row| row.deadline).map(|at| (n, at)));
            }
            turn.out.push(Output::Outbox(OutboxRequest::Attempt {
                channel: self.name.clone(),
                from,
                through,
                epoch: self.max_epoch,
                // By what the server's clock shows at least: a later deadline the server would cut, and
                // evict our row of its table by the one that it cut, while we still took the mutation
                // for young.
                latest: turn.server_now_min + turn.config.ttl_max,
                deadlines,
            }));
        }
        let numbers = plan.numbers();
        if numbers.is_empty() {
            return;
        }
        for n in numbers {
            if let Some(row) = self.queue.by_number(n) {
                row.copies = row.copies.saturating_add(1);
            }
        }
        let mut push = plan.push;
        push.channel = self.name.to_string();
        push.epoch = self.max_epoch;
        turn.out.push_frame(push);
    }

    /// The store has the marks: from now on only the server decides these rows, and they may be sent as
    /// the store has them.
    pub(crate) fn handle_attempted(
        &mut self,
        turn: &mut Turn<'_>,
        range: RangeInclusive<u64>,
        low: Low,
        rows: Vec<OutboxRow>,
    ) {
        // An answer that failed and was asked for again may come behind a newer one.
        let is_newer = low.epoch >= self.low.epoch || self.low.epoch > self.max_epoch;
        if is_newer {
            self.low = low;
        }
        let from = *range.start();
        for (n, row) in self.queue.range_mut(range) {
            if row.stage == Stage::Storing {
                // Those that are there follow.
                let is_there = rows.binary_search_by_key(&n, |there| there.n).is_ok();
                row.gone = !is_there && !row.ending;
            }
        }
        self.take_stored(turn, rows, from);
    }

    /// Rows that are in the store no more: another session has brought them to their end. What is in the
    /// log our own stream will say.
    pub(crate) fn handle_gone(
        &mut self,
        turn: &mut Turn<'_>,
        range: RangeInclusive<u64>,
        ended: Vec<Settlement>,
        committed: &[u64],
    ) {
        let mut gone = Vec::new();
        let is_open = |row: &Row| row.gone && row.stage != Stage::Settling;
        let rows = self.queue.range_mut(range);
        for (n, row) in rows.filter(|(_, row)| is_open(row)) {
            row.stage = Stage::Unsent;
            row.marked = true;
            row.seen_committed = committed.contains(&n);
            gone.push(n);
        }
        let mut settled = Vec::new();
        for end in ended.into_iter().filter(|end| gone.contains(&end.n)) {
            self.settle_as(Settlement::of(end.n, end.status), &mut settled);
        }
        self.drop_settled(turn, settled);
        self.end_untold(turn);
    }

    /// `ack` only saves latency: it opens the window and is shown as a hint.
    pub(super) fn handle_ack(&mut self, turn: &mut Turn<'_>, ack: &Ack) {
        let through = self.pusher.on_ack(ack.through, turn.now);
        if planted!(OverlayDroppedOnAck) {
            let mut settled = Vec::new();
            let rows: Vec<u64> = self.queue.from(0).map(|(n, _)| n).collect();
            for n in rows.into_iter().take_while(|&n| n <= through) {
                self.settle_as(Settlement::of(n, MutationStatus::Committed), &mut settled);
            }
            self.drop_settled(turn, settled);
        }
        let mut told = Vec::new();
        for (n, row) in self.queue.from(0) {
            if n > through {
                break;
            }
            if row.status == MutationStatus::Attempted {
                told.push((n, row.handle));
            }
        }
        for (n, handle) in told {
            let status = MutationStatus::Accepted { seq: ack.seq };
            if let Some(row) = self.queue.by_handle(handle) {
                row.status = status.clone();
            }
            self.tell(turn, handle, n, status);
        }
    }
}
