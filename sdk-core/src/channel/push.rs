//! What may be pushed now: from which number on, inside which window.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::mutation::Low;
use crate::mutation::queue::{MutationQueue, Row, Stage};
use crate::planted;
use crate::time::MonoTime;
use crate::wire::{EncodedItem, EncodedPush, Limits};

/// The push side of one channel on one link.
#[derive(Debug, Default)]
pub(crate) struct Pusher {
    /// Nothing is pushed before the channel's `resume` or swapped snapshot.
    open: bool,
    /// The next number to push.
    next: u64,
    /// Pushed and not answered: number and bytes.
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
    /// `low` may have risen since the store said it: it is asked before the next push.
    is_low_old: bool,
    /// A number that it misses and that has left the store; until it has decided what comes behind.
    lacks: Option<u64>,
    /// `need` was obeyed for these. Policy at the limit: the link's time-out takes over.
    needed: Vec<u64>,
    hold_until: Option<MonoTime>,
    /// When the oldest unanswered push was sent or answered last.
    waiting_since: Option<MonoTime>,
    /// The highest number in flight on the link before this one, while [`Self::hold_until`] waits for it.
    elsewhere: Option<u64>,
    /// The store was asked for rows that are missing here; when it may be asked again.
    ask_again_at: Option<MonoTime>,
}

/// How long a hole in the numbers waits before the store is asked for it again: other sessions settle
/// rows without a word.
const HOLE_PAUSE: Duration = Duration::from_secs(2);

const NEEDED_MAX: usize = 64;

impl Pusher {
    /// The link is gone, or the stream starts anew.
    pub(crate) fn close(&mut self) {
        *self = Self::default();
    }

    /// The stream runs again and the server has decided everything up to `last`.
    pub(crate) fn open(&mut self, last: u64) {
        self.open = true;
        self.settle_elsewhere(last);
        self.restart(last + 1);
    }

    /// The stream goes on over another link. What is in flight gets a moment to be decided before it goes
    /// again: of a row that went twice nobody can say that a refusal is its end.
    pub(crate) fn change_link(&mut self, until: MonoTime) {
        let elsewhere = self.in_flight.back().map(|&(n, _)| n);
        self.close();
        self.elsewhere = elsewhere;
        self.hold_until = elsewhere.map(|_| until);
    }

    /// Whether the link before may still bring the answers of pushes.
    pub(crate) const fn waits_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// When something must have happened: the end of a hold, or an overdue answer.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<MonoTime> {
        let overdue = self.waiting_since.map(|since| since + timeout);
        let moments = [self.hold_until, self.ask_again_at, overdue];
        moments.into_iter().flatten().min()
    }

    pub(crate) fn is_overdue(&self, now: MonoTime, timeout: Duration) -> bool {
        self.waiting_since
            .is_some_and(|since| now >= since + timeout)
    }

    /// The server has decided everything up to `last`.
    pub(crate) fn on_decided(&mut self, last: u64, now: MonoTime) {
        self.settle_elsewhere(last);
        self.lacks = self.lacks.filter(|&n| n > last);
        while let Some(&(n, bytes)) = self.in_flight.front()
            && n <= last
        {
            self.in_flight.pop_front();
            self.in_flight_bytes -= bytes;
            self.waiting_since = Some(now).filter(|_| !planted!(PushNotRepeated));
        }
        if self.in_flight.is_empty() {
            self.waiting_since = None;
        }
        self.next = self.next.max(last + 1);
    }

    /// The server acknowledges everything up to `through`. What was not pushed on this stream it cannot
    /// have seen: it is asked all the same, or a lie would stall it. Returns what the answer covers.
    pub(crate) fn on_ack(&mut self, through: u64, now: MonoTime) -> u64 {
        let through = through.min(self.next.saturating_sub(1));
        self.on_decided(through, now);
        through
    }

    /// The server misses `n`. Obeyed once per number and link; a second time the time-out decides.
    /// What was not pushed yet nobody can miss; of what is `decided` already this is a late copy.
    pub(crate) fn on_need(&mut self, n: u64, low: Low, decided: u64) {
        let obeyed = self.needed.contains(&n) || self.needed.len() >= NEEDED_MAX;
        if n > decided && n < self.next && !obeyed {
            self.needed.push(n);
            self.lacks = Some(n).filter(|&n| n < low.first);
            self.restart(n);
        }
    }

    /// The server wants a pause; then everything undecided is pushed again.
    ///
    /// A late one, of the stream before, says nothing about a channel that is subscribing.
    pub(crate) fn on_hold(&mut self, until: MonoTime, decided: u64) {
        if !self.open {
            return;
        }
        self.restart(decided + 1);
        self.hold_until = Some(until);
        // Perhaps because rejections pile up that have left the store.
        self.is_low_old = true;
        self.open = !planted!(HoldWithoutEnd);
    }

    /// Rows have left the store: `low` may have risen to a hole.
    pub(crate) const fn on_settled(&mut self) {
        self.ask_again_at = None;
    }

    /// A hold that is over asks for no more wake-ups, whether or not anything may be pushed now.
    pub(crate) fn handle_timeout(&mut self, now: MonoTime) {
        self.hold_until = self.hold_until.filter(|&until| now < until);
        self.elsewhere = self.elsewhere.filter(|_| self.hold_until.is_some());
        self.ask_again_at = self.ask_again_at.filter(|&at| now < at);
    }

    /// Everything up to `last` is decided: what was in flight on another link may be.
    fn settle_elsewhere(&mut self, last: u64) {
        if self.elsewhere.is_some_and(|n| n <= last) {
            self.elsewhere = None;
            self.hold_until = None;
        }
    }

    /// One number will not be answered.
    pub(crate) fn forget(&mut self, n: u64) {
        if let Some(at) = self.in_flight.iter().position(|&(m, _)| m == n) {
            if let Some((_, bytes)) = self.in_flight.remove(at) {
                self.in_flight_bytes -= bytes;
            }
            if self.in_flight.is_empty() {
                self.waiting_since = None;
            }
        }
    }

    /// What goes next: the rows inside the window that may be sent, as one push, and those behind them
    /// that the store has to mark first. Numbers are contiguous.
    pub(crate) fn plan(
        &mut self,
        now: MonoTime,
        queue: &MutationQueue,
        low: Low,
        limits: &Limits,
    ) -> Plan {
        let mut plan = Plan::default();
        if !self.open || self.hold_until.is_some_and(|until| now < until) {
            return plan;
        }
        self.hold_until = None;
        plan.push.low = low.of(self.lacks.is_some());
        if planted!(LowNotRaised) {
            plan.push.low = 1;
        }
        // Half a message: the whole window always fits into one, with the frame around it.
        let bytes_max = limits.push_bytes.min(limits.frame_up_bytes / 2) as usize;
        let (mut count, mut bytes) = (self.in_flight.len(), self.in_flight_bytes);
        let mut expected = None;
        for (n, row) in queue.from(self.next) {
            if n < low.first {
                // Another session has brought it to its end.
                continue;
            }
            let contiguous = match expected {
                Some(expected) => n == expected,
                // A gap closes by itself once everything below it has left the outbox: then n is `low`.
                None => n == self.next || n == plan.push.low || n == low.first,
            };
            let room = planted!(WindowIgnored)
                || count < limits.push_items as usize
                    && (count == 0 || bytes + row.bytes <= bytes_max);
            if contiguous && self.is_low_old && !row.ending && row.stage != Stage::Storing {
                self.is_low_old = false;
                (plan.from, plan.through) = (n, n);
                break;
            }
            if !contiguous && expected.is_none() && self.ask_again_at.is_none() && !row.ending {
                // What is missing here may be in the store all the same, or `low` may have risen.
                self.ask_again_at = Some(now + HOLE_PAUSE);
                plan.from = self.next;
                plan.through = n;
            }
            if !contiguous || !room {
                break;
            }
            expected = Some(n + 1);
            count += 1;
            bytes += row.bytes;
            let is_sent = match row.stage {
                Stage::Attempted => true,
                Stage::Unsent => planted!(SentBeforeMarked),
                _ => false,
            };
            if is_sent && plan.through == 0 {
                if plan.push.items.is_empty() {
                    plan.push.first_n = n;
                }
                plan.push.items.push(to_item(row));
                if row.stage == Stage::Attempted {
                    self.in_flight.push_back((n, row.bytes));
                    self.in_flight_bytes += row.bytes;
                }
                self.next = n + 1;
            } else if row.stage == Stage::Unsent && !row.gone && !queue.waits(n, row) {
                if plan.through == 0 {
                    plan.from = n;
                }
                plan.through = n;
            } else {
                // Its store is writing, or it waits for another one; what follows waits for it.
                break;
            }
        }
        if !plan.push.items.is_empty() && self.waiting_since.is_none() && !planted!(PushNotRepeated)
        {
            self.waiting_since = Some(now);
        }
        plan
    }

    fn restart(&mut self, next: u64) {
        self.next = next;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.waiting_since = None;
    }
}

/// A push, and what has to be stored before more can follow.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Inside the window, and the store knows nothing of a send here: the first and the last number; 0:
    /// none.
    pub(crate) from: u64,
    pub(crate) through: u64,
    /// Without channel and epoch.
    pub(crate) push: EncodedPush,
}

impl Plan {
    /// The numbers that its push carries.
    pub(crate) fn numbers(&self) -> std::ops::Range<u64> {
        self.push.first_n..self.push.first_n + self.push.items.len() as u64
    }
}

fn to_item(row: &Row) -> EncodedItem {
    let noop = row.noop;
    EncodedItem {
        item: if noop { Bytes::new() } else { row.item.clone() },
        deadline_ms: row.deadline.unwrap_or_default().0,
        after: if noop { 0 } else { row.after_n },
    }
}
