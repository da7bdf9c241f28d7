//! The store that lives as long as its owner keeps it.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    AHEAD_MAX, After, CommittedRow, Judgement, Low, NewRow, Opened, OutboxReply, OutboxRequest,
    OutboxRow, OutboxStore, Settlement, StoredChannel,
};
use crate::channel::name::ChannelName;
use crate::mutation::{ClientId, Durability, MutationHandle, MutationStatus};
use crate::planted;
use crate::sorted::SortedMap;
use crate::time::UnixTime;

/// How many commits a channel remembers. Policy at the limit: the older half is forgotten; its loss is then
/// told by `history_lost` alone.
const COMMITTED_MAX: usize = 8192;

/// How many other outcomes a channel remembers. Policy at the limit: the older half is forgotten, and of their
/// numbers, and of those below, nobody says committed any more.
const FAILED_MAX: usize = 2000;

/// An outbox in memory. Cloned, it is a copy of its present state.
#[derive(Clone, Debug)]
pub struct MemoryOutbox {
    client: ClientId,
    principal: Option<String>,
    channels: SortedMap<ChannelName, Stored>,
}

#[derive(Clone, Debug, Default)]
struct Stored {
    last_n: u64,
    /// By number. Those that carry a mark stand before those that do not.
    rows: VecDeque<OutboxRow>,
    /// The highest number of a row that was written to come after another one.
    last_dependent: u64,
    max_epoch: u64,
    proof: Bytes,
    /// The epoch that was given up last.
    given_up: u64,
    committed: Vec<CommittedRow>,
    /// None of these is of a lower epoch.
    committed_since: u64,
    /// The highest epoch that these were judged by, and the numbers of those that came later, of lower ones.
    judged: u64,
    late: Vec<u64>,
    failed: Vec<Settlement>,
    /// The highest number of which it was forgotten how it failed.
    forgotten: u64,
}

impl MemoryOutbox {
    /// An empty outbox. `client`: 128 random bits.
    #[must_use]
    pub fn new(client: ClientId) -> Self {
        Self {
            client,
            principal: None,
            channels: SortedMap::default(),
        }
    }

    /// Carries out a request at once.
    pub fn handle(&mut self, request: OutboxRequest) -> OutboxReply {
        match request {
            OutboxRequest::Open { principal } => {
                self.principal = self.principal.take().or(principal);
                OutboxReply::Opened(Opened {
                    client: self.client,
                    principal: self.principal.clone(),
                    durability: Durability::Memory,
                    reason: None,
                })
            }
            OutboxRequest::Load { channel } => {
                let stored = self.channel(&channel).load();
                OutboxReply::Loaded { channel, stored }
            }
            OutboxRequest::Append { channel, rows } => {
                let numbers = self.channel(&channel).append(rows);
                OutboxReply::Appended { channel, numbers }
            }
            OutboxRequest::Attempt {
                channel,
                from,
                through,
                epoch,
                latest,
                deadlines,
            } => {
                let stored = self.channel(&channel);
                let cause = stored.mark(from, through, epoch, latest, &deadlines);
                let mut rows = stored.rows(from, through);
                let (mut ended, mut committed) = (Vec::new(), Vec::new());
                if (rows.len() as u64) <= through.saturating_sub(from) {
                    // Some are gone.
                    let is_gone = |n: u64| from <= n && n <= through && stored.row(n).is_none();
                    ended.extend(stored.failed.iter().filter(|end| is_gone(end.n)).cloned());
                    let all = stored.committed.iter().map(|row| row.n);
                    committed.extend(all.filter(|&n| is_gone(n)));
                }
                if let Some(cause) = cause.filter(|&n| n < from) {
                    rows.splice(..0, stored.rows(cause, cause));
                }
                OutboxReply::Attempted {
                    from,
                    through,
                    low: stored.low(epoch),
                    rows,
                    ended,
                    committed,
                    has_unjudged: stored.first_unjudged(epoch).is_some(),
                    channel,
                }
            }
            OutboxRequest::Neutralise { channel, rows } => {
                let (done, too_late) = self.channel(&channel).neutralise(rows);
                OutboxReply::Neutralised {
                    channel,
                    done,
                    too_late,
                }
            }
            OutboxRequest::Settle {
                channel,
                epoch,
                proof,
                rows,
            } => {
                let stored = self.channel(&channel);
                stored.saw(epoch, proof);
                let rows = rows.into_iter().map(|row| stored.settle(row, epoch));
                let rows = rows.collect();
                OutboxReply::Settled {
                    channel,
                    rows,
                    has_unjudged: stored.first_unjudged(epoch).is_some(),
                }
            }
            OutboxRequest::Judge {
                channel,
                judgement,
                proof,
            } => {
                let stored = self.channel(&channel);
                stored.saw(judgement.epoch, proof);
                stored.judge(&judgement);
                let is_lost = |end: &&Settlement| {
                    let unsure = end.status == MutationStatus::Indeterminate;
                    unsure || end.status == MutationStatus::Lost
                };
                let ended = stored.failed.iter().filter(is_lost).cloned().collect();
                OutboxReply::Judged { channel, ended }
            }
            OutboxRequest::KeepEpoch {
                channel,
                epoch,
                proof,
                given_up,
            } => {
                let stored = self.channel(&channel);
                if given_up > 0 {
                    // The log that they were seen in is another one than what comes.
                    stored.given_up = given_up;
                    stored.committed.iter_mut().for_each(|row| row.epoch = 0);
                    stored.rows.iter_mut().for_each(|row| row.epoch = 0);
                    stored.committed_since = 0;
                    stored.judged = 0;
                    stored.late.clear();
                }
                if epoch >= stored.max_epoch || given_up == stored.max_epoch {
                    stored.max_epoch = epoch;
                    stored.proof = proof;
                }
                OutboxReply::Kept {
                    channel,
                    epoch: stored.max_epoch,
                    proof: stored.proof.clone(),
                }
            }
        }
    }

    /// What is there of a channel.
    #[must_use]
    pub fn stored(&self, channel: &ChannelName) -> StoredChannel {
        let stored = self.channels.get(channel).cloned();
        stored.unwrap_or_default().load()
    }

    fn channel(&mut self, channel: &ChannelName) -> &mut Stored {
        if self.channels.get(channel).is_none() {
            self.channels.insert(channel.clone(), Stored::default());
        }
        self.channels.get_mut(channel).expect("it was put there")
    }
}

impl<D: FnOnce(OutboxReply)> OutboxStore<D> for RefCell<MemoryOutbox> {
    fn request(&self, request: OutboxRequest, done: D) {
        let reply = self.borrow_mut().handle(request);
        done(reply);
    }
}

impl Stored {
    fn load(&self) -> StoredChannel {
        StoredChannel {
            last_n: self.last_n,
            rows: self.rows(0, u64::MAX),
            low: self.low(0),
            max_epoch: self.max_epoch,
            proof: self.proof.clone(),
            judged: self.judged,
            committed: self.committed.clone(),
            failed: self.failed.clone(),
        }
    }

    #[inline(never)]
    fn rows(&self, from: u64, through: u64) -> Vec<OutboxRow> {
        let start = self.rows.partition_point(|row| row.n < from);
        let rows = self.rows.range(start..);
        rows.take_while(|row| row.n <= through).cloned().collect()
    }

    fn low(&self, epoch: u64) -> Low {
        let is_sent = |row: &&OutboxRow| row.attempts > 0 && row.n <= self.last_dependent;
        let sent = self.rows.iter().take_while(is_sent);
        let after = sent.map(|row| row.sent_after).filter(|&after| after > 0);
        let first = self.rows.front().map_or(self.last_n + 1, |row| row.n);
        let unjudged = self.first_unjudged(epoch);
        let unjudged = unjudged.filter(|_| !planted!(LowPassesUnjudged));
        Low {
            first: unjudged.map_or(first, |n| n.min(first)),
            after: after.min(),
            epoch: self.max_epoch.max(epoch),
        }
    }

    /// The lowest number that was seen committed in a lower epoch than the highest one known of, and was not
    /// judged by it. `epoch`: what whoever asks knows of.
    fn first_unjudged(&self, epoch: u64) -> Option<u64> {
        let highest = self.max_epoch.max(epoch);
        if highest <= self.judged {
            return self.late.iter().min().copied();
        }
        if highest <= self.committed_since {
            return None;
        }
        let unjudged = self.committed.iter().filter(|row| row.epoch < highest);
        unjudged.map(|row| row.n).min()
    }

    /// An outcome is of this epoch.
    fn saw(&mut self, epoch: u64, proof: Bytes) {
        if epoch > self.max_epoch && epoch != self.given_up && !proof.is_empty() {
            self.max_epoch = epoch;
            self.proof = proof;
        }
    }

    fn judge(&mut self, judgement: &Judgement) {
        let mut ended = Vec::new();
        self.committed.retain_mut(|row| {
            let fate = judgement.fate(row);
            row.epoch = row.epoch.max(judgement.epoch);
            ended.extend(fate.map(|status| Settlement::of(row.n, status)));
            ended.last().is_none_or(|end| end.n != row.n)
        });
        for end in ended {
            self.fail(end);
        }
        let epochs = self.committed.iter().map(|row| row.epoch);
        self.committed_since = epochs.min().unwrap_or_default();
        self.judged = self.judged.max(judgement.epoch);
        let late = self.committed.iter().filter(|row| row.epoch < self.judged);
        self.late = late.map(|row| row.n).collect();
    }

    fn fail(&mut self, end: Settlement) {
        if self.failed.len() == FAILED_MAX {
            let forgotten = self.failed.drain(..FAILED_MAX / 2).map(|failed| failed.n);
            self.forgotten = forgotten.fold(self.forgotten, u64::max);
        }
        self.failed.push(end);
    }

    fn append(&mut self, rows: Vec<NewRow>) -> Vec<(MutationHandle, u64)> {
        let mut numbers: Vec<(MutationHandle, u64)> = Vec::with_capacity(rows.len());
        for row in rows {
            self.last_n += 1;
            let after = match row.after {
                // What has ended depends on nothing.
                _ if row.ended.is_some() => 0,
                After::Nothing => 0,
                After::Row(n) => n,
                // Numbers of one request follow each other.
                After::Back(places) => self.last_n.saturating_sub(places as u64),
            };
            if after > 0 {
                self.last_dependent = self.last_n;
            }
            numbers.push((row.handle, self.last_n));
            self.rows.push_back(OutboxRow {
                n: self.last_n,
                item: row.item,
                deadline: row.deadline,
                after,
                sent_after: 0,
                attempts: 0,
                epoch: 0,
                ended: row.ended,
            });
        }
        numbers
    }

    fn place(&self, n: u64) -> Option<usize> {
        self.rows.binary_search_by_key(&n, |row| row.n).ok()
    }

    fn row(&self, n: u64) -> Option<&OutboxRow> {
        self.place(n).map(|at| &self.rows[at])
    }

    /// How a row ended otherwise than committed.
    fn failure(&self, n: u64) -> Option<&MutationStatus> {
        let here = self.row(n).and_then(|row| row.ended.as_ref());
        let gone = || self.failed.iter().rev().find(|failed| failed.n == n);
        here.or_else(|| gone().map(|failed| &failed.status))
    }

    /// Whether nobody knows any more how a row that is gone has ended.
    fn is_unknown(&self, n: u64) -> bool {
        n <= self.forgotten && self.committed.iter().all(|row| row.n != n)
    }

    /// Sets marks up to a row, and counts whoever is about to send those from `from` on. What fails with
    /// what it comes after is a no-op from now on. Returns what a row below has to wait for.
    fn mark(
        &mut self,
        from: u64,
        through: u64,
        epoch: u64,
        latest: UnixTime,
        deadlines: &[(u64, UnixTime)],
    ) -> Option<u64> {
        let first = self.rows.front().map_or(0, |row| row.n);
        let start = match first <= self.last_dependent {
            true => 0,
            // What is marked and lies below stays as it is.
            false => (self.rows).partition_point(|row| row.n < from && row.attempts > 0),
        };
        for at in start..self.rows.len() {
            let row = &self.rows[at];
            if row.n > through {
                break;
            }
            let is_marked = row.attempts > 0;
            let has_cause = row.ended.is_none() && row.after > 0;
            let is_decided = has_cause && self.row(row.after).is_none();
            let fails = has_cause && self.failure(row.after).is_some()
                || is_decided && self.is_unknown(row.after);
            let is_far = row.n - row.after > AHEAD_MAX;
            if has_cause && !is_marked && !is_decided && !fails && is_far {
                return Some(row.after);
            }
            let row = &mut self.rows[at];
            if row.n >= from {
                row.epoch = row.epoch.max(epoch);
            }
            if fails && !is_marked {
                row.end(MutationStatus::dep_failed());
            } else if is_decided && !fails {
                // It was committed: nothing depends on how any more.
                row.after = 0;
            }
            if is_marked {
                row.attempts += u32::from(row.n >= from);
                continue;
            }
            row.attempts = 1;
            row.sent_after = row.after;
            let known = deadlines.iter().find(|(n, _)| *n == row.n);
            let deadline = known.map(|(_, at)| *at).or(row.deadline);
            // Nothing of a no-op can be late, and one that the server takes no more would leave a gap.
            let deadline = deadline.filter(|_| row.ended.is_none());
            row.deadline = Some(deadline.map_or(latest, |at| at.min(latest)));
        }
        None
    }

    fn neutralise(&mut self, rows: Vec<Settlement>) -> (Vec<Settlement>, Vec<u64>) {
        let (mut done, mut too_late) = (Vec::new(), Vec::new());
        for mut row in rows {
            let place = self.place(row.n);
            match place.map(|at| &mut self.rows[at]) {
                // It was made one already: it keeps its outcome.
                Some(OutboxRow {
                    ended: Some(status),
                    ..
                }) => {
                    row.status = status.clone();
                    done.push(row);
                }
                Some(stored) if stored.attempts == 0 => {
                    stored.end(row.status.clone());
                    done.push(row);
                }
                _ => too_late.push(row.n),
            }
        }
        (done, too_late)
    }

    fn settle(&mut self, mut settled: Settlement, epoch: u64) -> Settlement {
        let n = settled.n;
        if let Some(row) = self.place(n).and_then(|at| self.rows.remove(at)) {
            if let Some(status) = row.ended {
                settled.status = status;
            } else if row.attempts > settled.attempts_max || row.epoch > epoch {
                settled.status = MutationStatus::Indeterminate;
            }
            if settled.status == MutationStatus::Committed {
                let deadline = row.deadline.unwrap_or_default();
                if self.committed.len() == COMMITTED_MAX {
                    self.committed.drain(..COMMITTED_MAX / 2);
                    let is_known = |n: &u64| self.committed.iter().any(|row| row.n == *n);
                    self.late.retain(is_known);
                }
                let epoch = if epoch == self.given_up { 0 } else { epoch };
                if epoch < self.judged {
                    self.late.push(n);
                }
                if self.committed.is_empty() || epoch < self.committed_since {
                    self.committed_since = epoch;
                }
                self.committed.push(CommittedRow { n, deadline, epoch });
                return settled;
            }
        } else if let Some(status) = self.failure(n) {
            // Another session has ended it.
            settled.status = status.clone();
            return settled;
        } else {
            // Another session has seen it committed.
            settled.status = match self.is_unknown(n) {
                true => MutationStatus::Indeterminate,
                false => MutationStatus::Committed,
            };
            return settled;
        }
        self.fail(settled.clone());
        settled
    }
}

impl OutboxRow {
    /// Nothing of it is sent any more but its number.
    fn end(&mut self, status: MutationStatus) {
        self.ended = Some(status);
        self.item = Bytes::new();
        self.after = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_row_whose_failure_was_forgotten_nobody_says_committed() {
        let mut stored = Stored::default();
        let row = |after| NewRow {
            handle: MutationHandle(0),
            item: Bytes::new(),
            deadline: None,
            after,
            ended: None,
        };
        let rows = FAILED_MAX as u64 + 2;
        stored.append((0..rows).map(|_| row(After::Nothing)).collect());
        // The second one is committed, all others fail; with the last one the older half is forgotten.
        for n in 1..=rows {
            let status = match n {
                2 => MutationStatus::Committed,
                _ => MutationStatus::Expired,
            };
            stored.settle(Settlement::of(n, status), 1);
        }
        let told = |stored: &mut Stored, n| stored.settle(Settlement::unknown(n), 1).status;
        assert_eq!(told(&mut stored, 1), MutationStatus::Indeterminate);
        assert_eq!(told(&mut stored, 2), MutationStatus::Committed);
        assert_eq!(told(&mut stored, rows), MutationStatus::Expired);
        // What comes after it does not happen without it.
        let numbers = stored.append(vec![row(After::Row(1)), row(After::Row(2))]);
        stored.mark(numbers[0].1, numbers[1].1, 1, UnixTime(9), &[]);
        let ended = |n| stored.row(n).and_then(|row| row.ended.clone());
        assert_eq!(ended(numbers[0].1), Some(MutationStatus::dep_failed()));
        assert_eq!(ended(numbers[1].1), None);
    }
}
