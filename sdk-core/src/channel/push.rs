//! What may be pushed now: from which number on, inside which window.

use std::collections::{BTreeSet, VecDeque};

use crate::mutation::queue::MutationQueue;
use crate::time::MonoTime;
use crate::wire::{Item, Limits, Push};

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
    /// `need` was obeyed for these. Policy at the limit: the link's time-out takes over.
    needed: BTreeSet<u64>,
    hold_until: Option<MonoTime>,
    /// When the oldest unanswered push was sent or answered last.
    waiting_since: Option<MonoTime>,
}

const NEEDED_MAX: usize = 64;

impl Pusher {
    /// The link is gone, or the stream starts anew.
    pub(crate) fn close(&mut self) {
        *self = Self::default();
    }

    /// The stream runs again and the server has decided everything up to `last`.
    pub(crate) fn open(&mut self, last: u64) {
        self.open = true;
        self.restart(last + 1);
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// When something must have happened: the end of a hold, or an overdue answer.
    pub(crate) fn deadline(&self, timeout: std::time::Duration) -> Option<MonoTime> {
        let overdue = self.waiting_since.map(|since| since + timeout);
        self.hold_until.into_iter().chain(overdue).min()
    }

    pub(crate) fn is_overdue(&self, now: MonoTime, timeout: std::time::Duration) -> bool {
        self.waiting_since
            .is_some_and(|since| now >= since + timeout)
    }

    /// The server has decided everything up to `last`.
    pub(crate) fn on_decided(&mut self, last: u64, now: MonoTime) {
        while let Some(&(n, bytes)) = self.in_flight.front()
            && n <= last
        {
            self.in_flight.pop_front();
            self.in_flight_bytes -= bytes;
            self.waiting_since = Some(now);
        }
        if self.in_flight.is_empty() {
            self.waiting_since = None;
        }
        self.next = self.next.max(last + 1);
    }

    /// The server misses `n`. Obeyed once per number and link; a second time the time-out decides.
    /// What was not pushed yet nobody can miss.
    pub(crate) fn on_need(&mut self, n: u64) {
        if n < self.next && self.needed.len() < NEEDED_MAX && self.needed.insert(n) {
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
    }

    /// A hold that is over asks for no more wake-ups, whether or not anything may be pushed now.
    pub(crate) fn handle_timeout(&mut self, now: MonoTime) {
        self.hold_until = self.hold_until.filter(|&until| now < until);
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

    /// The next push, if rows wait and the window has room. Numbers in it are contiguous.
    pub(crate) fn poll(
        &mut self,
        now: MonoTime,
        queue: &MutationQueue,
        limits: &Limits,
    ) -> Option<PushPlan> {
        if !self.open || self.hold_until.is_some_and(|until| now < until) {
            return None;
        }
        self.hold_until = None;
        let low = queue.low();
        // Half a message: the whole window always fits into one, with the frame around it.
        let bytes_max = limits.push_bytes.min(limits.frame_up_bytes / 2) as usize;
        let mut plan: Option<PushPlan> = None;
        for (n, row) in queue.from(self.next) {
            let contiguous = match &plan {
                Some(plan) => n == plan.first_n + plan.items.len() as u64,
                // A gap closes by itself once everything below it has left the outbox: then n is `low`.
                None => n == self.next || n == low,
            };
            let room = self.in_flight.len() < limits.push_items as usize
                && (self.in_flight.is_empty() || self.in_flight_bytes + row.bytes <= bytes_max);
            if !contiguous || !room {
                break;
            }
            self.in_flight.push_back((n, row.bytes));
            self.in_flight_bytes += row.bytes;
            self.next = n + 1;
            plan.get_or_insert_with(|| PushPlan {
                first_n: n,
                low,
                items: Vec::new(),
            })
            .items
            .push(Item {
                changes: row.changes.to_vec(),
                pre: row.preconditions.clone(),
                ..Item::default()
            });
        }
        if plan.is_some() && self.waiting_since.is_none() {
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

/// A push without its frame.
#[derive(Debug)]
pub(crate) struct PushPlan {
    pub(crate) first_n: u64,
    low: u64,
    items: Vec<Item>,
}

impl PushPlan {
    /// The numbers it carries.
    pub(crate) fn numbers(&self) -> std::ops::Range<u64> {
        self.first_n..self.first_n + self.items.len() as u64
    }

    pub(crate) fn into_frame(self, channel: String, epoch: u64) -> Push {
        Push {
            channel,
            epoch,
            first_n: self.first_n,
            low: self.low,
            items: self.items,
        }
    }
}
