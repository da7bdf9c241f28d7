//! The stores that clients keep their outboxes in. They outlive sessions, and several may share one.
//!
//! Each request is a transaction of its own: whoever dies before it has asked for nothing, whoever dies
//! after it finds what it wrote. A power cut takes back what came after the last strict one.

use std::collections::BTreeMap;

use tidewire_core::{
    ChannelName, ClientId, MemoryOutbox, MutationStatus, OutboxReply, OutboxRequest, OutboxRow,
    Settlement,
};
use tidewire_server::channel::Author;

use crate::node::author_of;
use crate::truth::{Decision, Made, Truth};
use crate::violation::{Checked, Violation, ensure};

/// One store.
#[derive(Debug)]
pub struct Store {
    /// Whose mutations are in it.
    pub author: Author,
    outbox: MemoryOutbox,
    /// What a power cut leaves.
    safe: MemoryOutbox,
    /// How rows ended, and whether anybody was told: by channel and number.
    fates: BTreeMap<(usize, u64), MutationStatus>,
}

impl Store {
    /// An empty store of a principal.
    #[must_use]
    pub fn new(principal: &str, id: ClientId) -> Self {
        Self {
            author: author_of(principal, &id.0),
            outbox: MemoryOutbox::new(id),
            safe: MemoryOutbox::new(id),
            fates: BTreeMap::new(),
        }
    }

    /// How a row ended, as far as any session was told.
    #[must_use]
    pub fn fate(&self, channel: usize, n: u64) -> Option<&MutationStatus> {
        self.fates.get(&(channel, n))
    }

    /// The rows of a channel as they are now.
    #[must_use]
    pub fn rows(&self, name: &ChannelName) -> Vec<OutboxRow> {
        self.outbox.stored(name).rows
    }
}

impl Truth {
    /// A transaction. `made`: what the session's new rows are. Returns the answer and the numbers of the
    /// rows that it wrote or changed.
    pub fn transact(
        &mut self,
        store: usize,
        names: &[ChannelName],
        request: OutboxRequest,
        made: &[Made],
    ) -> Checked<(OutboxReply, Vec<u64>)> {
        let is_strict = request.is_strict();
        let name = request.channel().cloned();
        let wanted = match &request {
            OutboxRequest::Settle { rows, .. } => rows.clone(),
            _ => Vec::new(),
        };
        let at = &mut self.stores[store];
        let before = name.as_ref().map(|name| at.rows(name)).unwrap_or_default();
        let reply = at.outbox.handle(request);
        if is_strict {
            at.safe = at.outbox.clone();
        }
        let Some(name) = name else {
            return Ok((reply, Vec::new()));
        };
        let author = at.author;
        let after = at.rows(&name);
        let channel = index(names, &name)?;
        if let OutboxReply::Appended { numbers, .. } = &reply {
            for (handle, n) in numbers {
                let made = made.iter().find(|made| made.handle == *handle);
                let made = made.ok_or_else(|| {
                    Violation::new("seam", format!("{handle:?} was never handed out"))
                })?;
                // What it comes after has its number by now, or was written along with it.
                let cause = made.after.and_then(|(cause, n)| {
                    let here = numbers.iter().find(|(handle, _)| *handle == cause);
                    here.map(|(_, n)| *n).or(n)
                });
                self.asked(channel, author, *n, made, cause)?;
            }
        }
        let mut touched = Vec::new();
        for row in &after {
            let old = before.iter().find(|old| old.n == row.n);
            if old == Some(row) {
                continue;
            }
            touched.push(row.n);
            let Some(old) = old else {
                if row.ended.is_some() {
                    self.neutralised(channel, author, row.n)?;
                }
                continue;
            };
            if row.ended.is_some() && old.ended.is_none() {
                self.neutralised(channel, author, row.n)?;
            }
            if row.attempts > 0 && old.attempts == 0 {
                let deadline = row.deadline.unwrap_or_default();
                self.marked(channel, author, row.n, deadline)?;
            }
        }
        if let OutboxReply::Settled { rows, .. } = &reply {
            for (ended, wanted) in rows.iter().zip(wanted) {
                self.settled(
                    store,
                    (channel, &name),
                    ended.n,
                    &ended.status,
                    &wanted.status,
                )?;
            }
        }
        if let OutboxReply::Judged { ended, .. } = &reply {
            for end in ended {
                self.judged(store, channel, end)?;
            }
        }
        Ok((reply, touched))
    }

    /// What was committed once is so no more.
    fn judged(&mut self, store: usize, channel: usize, end: &Settlement) -> Checked {
        let fates = &mut self.stores[store].fates;
        let before = fates.insert((channel, end.n), end.status.clone());
        if before.as_ref() == Some(&end.status) {
            return Ok(());
        }
        let author = self.stores[store].author;
        let head = self.head(channel);
        let is_there = head.and_then(|head| self.decision(channel, author, end.n, head));
        // A late copy may have been refused in the new log: lost it is all the same.
        let is_gone = is_there != Some(Decision::Committed);
        let is_right = match end.status {
            // Of an evicted row of the table nobody can tell.
            MutationStatus::Indeterminate => {
                is_gone || self.evicted > 0 || self.began_lower.contains(&channel)
            }
            _ => is_gone || self.clocks_lied || self.began_lower.contains(&channel),
        };
        ensure(is_right, "S9", || {
            format!("{end:?} after {before:?}, but the log says {is_there:?}")
        })
    }

    /// A row has ended for good. What a store says once, it says to every session.
    fn settled(
        &mut self,
        store: usize,
        (channel, name): (usize, &ChannelName),
        n: u64,
        status: &MutationStatus,
        wanted: &MutationStatus,
    ) -> Checked {
        let known = self.stores[store].fates.get(&(channel, n));
        let is_new = match known {
            None => status == wanted || is_unsure(status) || self.is_noop(store, channel, n),
            Some(MutationStatus::Lost | MutationStatus::Indeterminate) => {
                matches!(status, MutationStatus::Lost | MutationStatus::Indeterminate)
            }
            // What it has forgotten meanwhile, it says so.
            Some(known) => {
                known.name() == status.name() || is_unsure(status) && !self.keeps(store, name, n)
            }
        };
        ensure(is_new, "S9", || {
            format!("row {n} ended as {known:?}, now as {status:?}, asked for {wanted:?}")
        })?;
        let fates = &mut self.stores[store].fates;
        fates.insert((channel, n), status.clone());
        Ok(())
    }

    /// Whether a store still knows how a row failed.
    fn keeps(&self, store: usize, name: &ChannelName, n: u64) -> bool {
        let stored = self.stores[store].outbox.stored(name);
        stored.failed.iter().any(|failed| failed.n == n)
    }

    fn is_noop(&self, store: usize, channel: usize, n: u64) -> bool {
        let row = self.row(channel, self.stores[store].author, n);
        row.is_some_and(|row| row.is_noop)
    }

    /// The machine of a store loses its power: what came after the last strict transaction is gone.
    pub fn cut_power(&mut self, store: usize, names: &[ChannelName]) -> Checked {
        let at = &mut self.stores[store];
        at.outbox = at.safe.clone();
        let author = at.author;
        for (channel, name) in names.iter().enumerate() {
            let stored = self.stores[store].outbox.stored(name);
            let last = stored.last_n;
            self.forget_after(channel, author, last, &stored.rows)?;
            // Who was told of an outcome may be told once more.
            let fates = &mut self.stores[store].fates;
            fates.retain(|(of, n), _| {
                *of != channel || *n <= last && stored.rows.iter().all(|row| row.n != *n)
            });
        }
        Ok(())
    }

    /// How a row of a store ended.
    #[must_use]
    pub fn fate(&self, author: Author, channel: usize, n: u64) -> Option<MutationStatus> {
        let store = self.stores.iter().find(|store| store.author == author)?;
        store.fate(channel, n).cloned()
    }

    /// What is still undecided in a store.
    #[must_use]
    pub fn open_rows(&self, store: usize, names: &[ChannelName]) -> Option<String> {
        names.iter().find_map(|name| {
            let row = self.stores[store].rows(name).into_iter().next()?;
            Some(format!("L3: {row:?} of {name} is still in store {store}"))
        })
    }

    /// Nothing that was written is in no store and in nobody's ears.
    pub fn check_fates(&self, store: usize, names: &[ChannelName]) -> Checked {
        let at = &self.stores[store];
        for (channel, name) in names.iter().enumerate() {
            let rows = at.rows(name);
            for n in 1..=self.numbers(channel, at.author) {
                let is_there = rows.iter().any(|row| row.n == n);
                ensure(is_there || at.fate(channel, n).is_some(), "S12", || {
                    format!("row {n} of {name} left store {store} without an outcome")
                })?;
            }
        }
        Ok(())
    }
}

fn is_unsure(status: &MutationStatus) -> bool {
    *status == MutationStatus::Indeterminate
}

/// Which channel of the world a name is.
pub fn index(names: &[ChannelName], channel: &ChannelName) -> Checked<usize> {
    names
        .iter()
        .position(|name| name == channel)
        .ok_or_else(|| Violation::new("seam", format!("unknown channel {channel}")))
}
