//! What one client has to show for one channel, step by step: the checkers of S1, S4–S9.
//!
//! The model knows what the application asked for, what the store numbered and what the logs hold
//! ([`Truth`]). From these alone follows how the view has to look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewire_core::document::{Record, RecordKey, change};
use tidewire_core::wire::{
    Change, Cursor, Equals, ErrorCode, Limits, Precondition, PreconditionKind, RecordRef, Unchanged,
};
use tidewire_core::{
    CancelError, ChannelId, ChannelStatus, CommittedRow, MutateOptions, MutationHandle,
    MutationStatus, OutboxRow, Session, Settlement,
};
use tidewire_server::channel::Author;

use crate::app::Demand;
use crate::judge;
use crate::model::State;
use crate::truth::{Decision, FactId, Made, Truth};
use crate::violation::{Checked, Violation, ensure};

/// More subscribes of a channel than this within so much time are spinning (L4).
const SUBSCRIBES_MAX: u64 = 40;
const SUBSCRIBES_PERIOD_MS: u64 = 10_000;

/// How many losses a store remembers at least (`FAILED_MAX` of the one in memory, of which half goes at a time).
const LOSSES_KEPT_MIN: u64 = 1_000;

/// A name for a mutation in here.
type RowId = usize;

/// What has no number stands above all that has one, in call order.
const FRESH: u64 = 1 << 60;

/// One mutation, from the call on, or from when the store said that it is there.
#[derive(Clone, Debug)]
struct Row {
    handle: Option<MutationHandle>,
    changes: Arc<[Change]>,
    options: MutateOptions,
    /// What it comes after.
    after: Option<RowId>,
    n: Option<u64>,
    /// The core asked the store to mark a send.
    attempted: bool,
    /// The application took it back.
    cancelled: bool,
    /// The core asked the store to write it as a no-op: nobody ever sees it otherwise.
    is_written_ended: bool,
    /// The core asked the store to make it a no-op.
    is_noop: bool,
    /// The core asked the store to keep this outcome: the row has left the overlay.
    settling: Option<MutationStatus>,
    /// The store confirmed the outcome.
    settled: bool,
    /// The store refused the row.
    refused: bool,
    told: Vec<MutationStatus>,
}

impl Row {
    const fn new(
        handle: Option<MutationHandle>,
        changes: Arc<[Change]>,
        options: MutateOptions,
        after: Option<RowId>,
    ) -> Self {
        Self {
            handle,
            changes,
            options,
            after,
            attempted: false,
            cancelled: false,
            is_written_ended: false,
            is_noop: false,
            n: None,
            settling: None,
            settled: false,
            refused: false,
            told: Vec::new(),
        }
    }

    /// Where it stands in the overlay.
    fn place(&self, id: RowId) -> u64 {
        self.n.unwrap_or(FRESH + id as u64)
    }

    fn is_committed(&self) -> bool {
        let last = self.settling.as_ref().or(self.told.last());
        last == Some(&MutationStatus::Committed)
    }

    fn has_ended(&self) -> bool {
        self.settling.is_some() || self.told.iter().any(MutationStatus::is_terminal)
    }

    /// Whether it ended, or is ending, otherwise than committed.
    fn has_failed(&self) -> bool {
        let is_taken_back = self.cancelled && self.settling.is_none();
        if self.is_noop || self.is_written_ended || is_taken_back {
            // Only the store's word counts.
            let is_told = self.told.iter().any(MutationStatus::is_terminal);
            return self.settled || self.refused || is_told || self.is_written_ended;
        }
        if let Some(status) = &self.settling
            && !self.settled
            && !follows(self.told.last(), status)
        {
            return false;
        }
        let last = self.settling.as_ref().or(self.told.last());
        let ended = last.is_some_and(MutationStatus::is_terminal);
        self.refused || (ended && last != Some(&MutationStatus::Committed))
    }
}

/// One client's view of one channel.
#[derive(Debug)]
pub struct Watch {
    /// The core's number for the channel.
    pub id: ChannelId,
    /// Which channel of the world.
    pub channel: usize,
    /// The application let go.
    pub is_released: bool,
    /// The application wants nothing for a while.
    pub is_paused: bool,
    /// The store has said what it has.
    pub is_loaded: bool,
    /// Presence data that the application set last.
    pub presence: Option<bytes::Bytes>,
    /// The application was told since that it may not show it. Only a new stream says it again.
    pub was_hidden: bool,
    author: Author,
    /// Whether this client's principal was ever denied to write here.
    pub was_denied: bool,
    rows: BTreeMap<RowId, Row>,
    by_handle: BTreeMap<MutationHandle, RowId>,
    by_number: BTreeMap<u64, RowId>,
    /// Rows that may still be in the overlay, by number and then in call order.
    active: BTreeSet<(u64, RowId)>,
    /// What this session's application made, in call order.
    made: Vec<MutationHandle>,
    open_rows: usize,
    /// Where the base stands, and which entry that is.
    cursor: Option<Cursor>,
    base: Option<FactId>,
    before: Option<FactId>,
    /// Where the core's base stands in the middle of a turn.
    reached: Option<FactId>,
    /// What the core says of its base.
    decided_through: u64,
    /// A place that the base has left.
    left: Option<Cursor>,
    /// The newest mutation of each key.
    keyed: BTreeMap<Arc<str>, RowId>,
    /// The base with the pending mutations replayed over it: what the view has to be.
    expected: State,
    /// The records that pending mutations touch.
    touched: BTreeSet<RecordKey>,
    /// Every record that this view ever had to do with.
    keys: BTreeSet<RecordKey>,
    /// What an application that pulls only what `Changed` names would show.
    cache: State,
    history_lost: Option<(Cursor, Cursor)>,
    /// The base or what is pending is another one: `expected` is to be worked out again.
    moved: bool,
    /// Something reached the core that may have changed the view: it is to be compared.
    suspect: bool,
    messages: u32,
    /// Mutations that others were said to fail with.
    blamed: Vec<RowId>,
    /// When subscribes are counted from, and how many there had been.
    pace: (u64, u64),
    /// How often its application asked for it since then.
    pub asked: u64,
}

impl Watch {
    /// A fresh subscription.
    #[must_use]
    pub fn new(id: ChannelId, channel: usize, author: Author) -> Self {
        Self {
            id,
            channel,
            is_released: false,
            is_paused: false,
            is_loaded: false,
            presence: None,
            was_hidden: false,
            author,
            was_denied: false,
            rows: BTreeMap::new(),
            by_handle: BTreeMap::new(),
            by_number: BTreeMap::new(),
            active: BTreeSet::new(),
            made: Vec::new(),
            open_rows: 0,
            cursor: None,
            base: None,
            before: None,
            reached: None,
            decided_through: 0,
            left: None,
            keyed: BTreeMap::new(),
            expected: State::default(),
            touched: BTreeSet::new(),
            keys: BTreeSet::new(),
            cache: State::default(),
            history_lost: None,
            moved: false,
            suspect: true,
            messages: 0,
            blamed: Vec::new(),
            pace: (0, 0),
            asked: 0,
        }
    }

    /// Whether a mutation is of this channel.
    #[must_use]
    pub fn has(&self, handle: MutationHandle) -> bool {
        self.by_handle.contains_key(&handle)
    }

    /// The entry that the base stands at.
    #[must_use]
    pub const fn base(&self) -> Option<FactId> {
        self.base
    }

    /// How many mutations have not ended.
    #[must_use]
    pub const fn open_rows(&self) -> usize {
        self.open_rows
    }

    /// A store that answers within the turn answers after the base has moved.
    pub fn see(&mut self, session: &Session, truth: &Truth) {
        let cursor = session.cursor(self.id);
        let reached = cursor.and_then(|cursor| truth.at(self.channel, cursor));
        self.reached = reached.or(self.reached);
        self.decided_through = session.decided_through(self.id).unwrap_or_default();
    }

    /// The application made a mutation.
    pub fn on_mutate(
        &mut self,
        handle: MutationHandle,
        changes: Arc<[Change]>,
        options: MutateOptions,
    ) {
        let cause = options.after.and_then(|after| self.by_handle.get(&after));
        let cause = cause.map(|id| (*id, &self.rows[id]));
        let comes_after_failure = cause.is_some_and(|(_, cause)| cause.has_failed());
        let after = cause.filter(|(_, cause)| !cause.is_committed());
        let after = after.map(|(id, _)| id);
        let key = options.coalesce_key.clone();
        overlay(&changes, &mut self.expected, &mut self.touched);
        let id = self.add(Row::new(Some(handle), changes, options, after));
        self.made.push(handle);
        let superfluous = key.and_then(|key| self.keyed.insert(key, id));
        if let Some(older) = superfluous {
            self.take_back(older);
        }
        if comes_after_failure {
            self.take_back(id);
        }
    }

    fn add(&mut self, row: Row) -> RowId {
        let id = self.rows.len();
        self.open_rows += 1;
        self.active.insert((row.place(id), id));
        self.suspect = true;
        if let Some(handle) = row.handle {
            self.by_handle.insert(handle, id);
        }
        if let Some(n) = row.n {
            self.by_number.insert(n, id);
        }
        self.rows.insert(id, row);
        id
    }

    /// What a session's new rows are, for the store that writes them.
    #[must_use]
    pub fn made(&self, handle: MutationHandle) -> Option<Made> {
        let row = &self.rows[self.by_handle.get(&handle)?];
        let after = row.after.map(|after| &self.rows[&after]);
        Some(Made {
            handle,
            changes: Arc::clone(&row.changes),
            options: row.options.clone(),
            after: after.and_then(|after| Some((after.handle?, after.n))),
        })
    }

    /// The store has told the core of a row as it stands there. `read`: it is to be sent by that.
    pub fn on_stored(&mut self, stored: &OutboxRow, truth: &Truth) -> Checked {
        let id = match self.by_number.get(&stored.n) {
            Some(&id) => id,
            None => {
                let asked = truth.row(self.channel, self.author, stored.n);
                let asked = asked
                    .ok_or_else(|| Violation::new("S11", format!("nobody asked for {stored:?}")))?;
                let after = self.by_number.get(&stored.after).copied();
                let options = MutateOptions {
                    coalesce_key: None,
                    ..asked.options.clone()
                };
                let mut row = Row::new(None, Arc::clone(&asked.changes), options, after);
                row.n = Some(stored.n);
                let is_decided = self.is_decided(&row, truth);
                let id = self.add(row);
                if is_decided {
                    self.leave(id);
                }
                self.moved = true;
                id
            }
        };
        let after = self.by_number.get(&stored.after).copied();
        let Some(row) = self.rows.get_mut(&id) else {
            return Ok(());
        };
        // What it comes after may have become known only now.
        row.after = row.after.or(after);
        row.attempted |= stored.attempts > 0;
        if let Some(status) = &stored.ended
            && !row.has_ended()
            && !row.is_noop
        {
            row.is_noop = true;
            row.cancelled = true;
            row.settling = Some(status.clone());
            row.settled = true;
            self.leave(id);
            self.fail_dependents(id);
        }
        Ok(())
    }

    /// The store has told the core what was committed before.
    pub fn on_committed_before(&mut self, committed: &CommittedRow, truth: &Truth) -> Checked {
        let asked = truth.row(self.channel, self.author, committed.n);
        let asked = asked
            .ok_or_else(|| Violation::new("S11", format!("nobody asked for {committed:?}")))?;
        let options = asked.options.clone();
        let mut row = Row::new(None, Arc::clone(&asked.changes), options, None);
        row.n = Some(committed.n);
        row.attempted = true;
        row.settling = Some(MutationStatus::Committed);
        row.settled = true;
        row.told.push(MutationStatus::Committed);
        let id = self.add(row);
        self.open_rows -= 1;
        self.leave(id);
        Ok(())
    }

    /// A mutation that was made lately: 0 is the latest.
    #[must_use]
    pub fn handle_back(&self, back: usize) -> Option<MutationHandle> {
        self.made.iter().rev().nth(back).copied()
    }

    /// The application wanted a mutation back.
    pub fn on_cancel(&mut self, handle: MutationHandle, done: Result<(), CancelError>) -> Checked {
        let id = self.id_of(handle)?;
        let row = &self.rows[&id];
        if done.is_ok() {
            ensure(!row.attempted && !row.has_ended(), "S10", || {
                format!("what was being sent or had ended was taken back: {row:?}")
            })?;
            self.take_back(id);
        }
        Ok(())
    }

    /// A mutation that was not sent ends here, unless the store knows better.
    fn take_back(&mut self, id: RowId) {
        if let Some(row) = self.rows.get_mut(&id)
            && !row.attempted
            && !row.has_ended()
        {
            row.cancelled = true;
            self.leave(id);
        }
    }

    /// A mutation failed: what comes directly after it and was not sent ends with it.
    fn fail_dependents(&mut self, cause: RowId) {
        let later = self.rows.range(cause..);
        let dependents = later.filter(|(_, row)| row.after == Some(cause));
        let dependents: Vec<RowId> = dependents.map(|(id, _)| *id).collect();
        for dependent in dependents {
            self.take_back(dependent);
        }
    }

    /// The core wants a send marked: from now on only the log decides these.
    pub fn on_attempt(&mut self, from: u64, through: u64) {
        for id in self.by_number.range(from..=through).map(|(_, id)| id) {
            if let Some(row) = self.rows.get_mut(id) {
                row.attempted = true;
            }
        }
    }

    /// The store has left a row without the mark that it was asked for.
    pub fn on_unmarked(&mut self, n: u64) {
        let id = self.by_number.get(&n);
        if let Some(row) = id.and_then(|id| self.rows.get_mut(id)) {
            row.attempted = false;
        }
    }

    /// The core wants rows to become no-ops: none of them may have been sent, and there is a reason.
    pub fn on_neutralise(&mut self, rows: &[Settlement]) -> Checked {
        for settlement in rows {
            let Some(&id) = self.by_number.get(&settlement.n) else {
                continue;
            };
            let row = &self.rows[&id];
            if row.is_noop && row.settling.as_ref() == Some(&settlement.status) {
                // A store that failed is asked once more.
                continue;
            }
            let cause = row.after.map(|after| &self.rows[&after]);
            let just = match &settlement.status {
                MutationStatus::Cancelled => row.cancelled,
                MutationStatus::Expired => row.options.ttl.is_some(),
                // Its cause ends in the same turn.
                MutationStatus::Rejected { code, .. } => {
                    *code == ErrorCode::DepFailed && cause.is_some()
                }
                _ => false,
            };
            ensure(just && !row.attempted && !row.is_noop, "S10", || {
                format!("{settlement:?} becomes a no-op: {row:?}, after {cause:?}")
            })?;
            if matches!(settlement.status, MutationStatus::Rejected { .. }) {
                self.blamed.extend(row.after);
            }
            self.take_back(id);
            let row = self.row(id)?;
            row.is_noop = true;
            row.settling = Some(settlement.status.clone());
            row.settled = false;
        }
        Ok(())
    }

    /// The store's answer reaches the core: which rows are no-ops, and which others were sending.
    pub fn on_neutralised(
        &mut self,
        done: &[Settlement],
        too_late: &[u64],
        truth: &Truth,
    ) -> Checked {
        for settlement in done {
            let id = self.id_of_number(settlement.n)?;
            let row = self.row(id)?;
            row.settling = Some(settlement.status.clone());
            row.settled = true;
            self.fail_dependents(id);
        }
        for &n in too_late {
            let id = self.id_of_number(n)?;
            let row = self.row(id)?;
            row.is_noop = false;
            row.cancelled = false;
            row.settling = None;
            row.attempted = true;
            if !self.is_decided(&self.rows[&id], truth) {
                self.active.insert((n, id));
                self.moved = true;
            }
        }
        Ok(())
    }

    /// What a precondition becomes by what the view shows now.
    #[must_use]
    pub fn precondition(&self, session: &Session, demand: &Demand) -> Precondition {
        let kind = match demand.clone() {
            Demand::Presence(collection, id, there) => {
                let record = RecordRef { collection, id };
                if there {
                    PreconditionKind::Exists(record)
                } else {
                    PreconditionKind::Absent(record)
                }
            }
            Demand::Value(collection, id, field, value) => {
                let shown = session
                    .record(self.id, &collection, &id)
                    .and_then(|record| record.field(&field))
                    .map(respell);
                PreconditionKind::Eq(Equals {
                    collection,
                    id,
                    field,
                    value: value.or(shown).unwrap_or_else(|| "0".into()).into(),
                })
            }
            Demand::Unchanged(collection, id, recent) => {
                let since = if recent { self.cursor } else { self.left };
                PreconditionKind::Unchanged(Unchanged {
                    collection,
                    id,
                    since: since.or(Some(Cursor::new(1, 1, 1))),
                })
            }
        };
        Precondition { kind: Some(kind) }
    }

    /// The core asks the store to write a row that has ended already.
    pub fn on_written_ended(&mut self, handle: MutationHandle) -> Checked {
        let id = self.id_of(handle)?;
        self.row(id)?.is_written_ended = true;
        Ok(())
    }

    /// The store wrote a row and gave it a number.
    pub fn on_numbered(&mut self, handle: MutationHandle, n: u64, truth: &Truth) -> Checked {
        let id = self.id_of(handle)?;
        let was_active = self.active.remove(&(self.rows[&id].place(id), id));
        self.row(id)?.n = Some(n);
        self.by_number.insert(n, id);
        if was_active {
            self.moved = true;
            // Another session may have sent it before the answer came.
            if !self.is_decided(&self.rows[&id], truth) {
                self.active.insert((n, id));
            }
        }
        if self.rows[&id].is_written_ended && !self.rows[&id].is_noop {
            // It had ended before, and was written so.
            let row = self.row(id)?;
            let is_right = row.cancelled || row.options.ttl.is_some();
            ensure(is_right, "S10", || {
                format!("written as a no-op without a reason: {row:?}")
            })?;
            row.is_noop = true;
            row.settled = true;
            self.leave(id);
            self.fail_dependents(id);
        }
        Ok(())
    }

    /// The store's answer reaches the core: it could not write the row.
    pub fn on_refused(&mut self, handle: MutationHandle) -> Checked {
        let id = self.id_of(handle)?;
        self.leave(id);
        self.row(id)?.refused = true;
        self.fail_dependents(id);
        Ok(())
    }

    /// The core wants outcomes stored: each must be what the log says, or be justified otherwise.
    pub fn on_settle(
        &mut self,
        rows: &[Settlement],
        epoch: u64,
        cursor: Option<Cursor>,
        truth: &Truth,
    ) -> Checked {
        let now = cursor.and_then(|cursor| truth.at(self.channel, cursor));
        let was = self.base;
        for settlement in rows {
            let (channel, author, denied) = (self.channel, self.author, self.was_denied);
            let mut known: Vec<_> = [now, self.base, self.before]
                .into_iter()
                .flatten()
                .filter_map(|base| truth.decision(channel, author, settlement.n, base))
                .collect();
            if known.is_empty() {
                // One answer may bring the outcome, and behind it the loss of the log that it was in.
                known = truth.decisions_in(channel, author, settlement.n, epoch);
            }
            let id = self.id_of_number(settlement.n)?;
            let fate = truth.fate(author, channel, settlement.n);
            let asked = truth.row(channel, author, settlement.n);
            let is_noop = asked.is_some_and(|asked| asked.is_noop);
            let is_failed = fate
                .as_ref()
                .is_some_and(|fate| *fate != MutationStatus::Committed);
            let is_known_elsewhere = is_noop || is_failed;
            let row = self.row(id)?;
            if !row.settled && row.settling.as_ref() == Some(&settlement.status) {
                // A store that failed is asked once more.
                continue;
            }
            let just = match &settlement.status {
                status if row.is_noop => row.settling.as_ref() == Some(status),
                // Another session on the store has seen it: what the store says counts.
                _ if is_known_elsewhere => true,
                _ if settlement.attempts_max == 0 && fate.is_some() => true,
                MutationStatus::Committed => known.contains(&Decision::Committed),
                // That has a name of its own.
                MutationStatus::Rejected { code, .. } if *code == ErrorCode::Expired => false,
                MutationStatus::Rejected { code, current, .. } => {
                    let pre = &row.options.preconditions;
                    let is_right = |at: &FactId| {
                        judge::may_show(pre, &truth.fact(*at).state, current.as_ref())
                    };
                    let is_shown = pre.is_empty() && current.is_none()
                        || truth.between(channel, was, now).iter().any(is_right);
                    (known.contains(&Decision::Rejected(*code)) && is_shown)
                        || (*code == ErrorCode::Forbidden && denied)
                }
                // Rejected in a log, or known to be in none and too old for any. The deadline may be one of
                // a calendar that was off, which a former session froze and nobody can mend any more.
                MutationStatus::Expired => {
                    let marked = asked.and_then(|asked| asked.marked);
                    let is_outdated = now
                        .zip(marked)
                        .is_some_and(|(now, marked)| truth.is_outdated(marked, now));
                    known.contains(&Decision::Rejected(ErrorCode::Expired))
                        || known.is_empty() && (truth.clocks_went_wild || is_outdated)
                }
                // Forbidden now, but an earlier copy may still arrive while it is not.
                MutationStatus::Indeterminate => {
                    let table = now.map(|now| &truth.fact(now).table);
                    let row_of_table = table.and_then(|table| table.get(&author));
                    // Nor where it has forgotten which of its numbers were rejected.
                    let is_forgotten =
                        row_of_table.is_some_and(|known| settlement.n <= known.forgotten);
                    // The server may say so before the entries come that it knows it by.
                    let marked = asked.and_then(|asked| asked.marked);
                    let is_outdated = truth
                        .head(channel)
                        .zip(marked)
                        .is_some_and(|(head, marked)| truth.is_outdated(marked, head));
                    (denied || truth.clocks_went_wild || is_forgotten || is_outdated)
                        && marked.is_some()
                }
                _ => false,
            };
            ensure(just, "S9", || {
                format!("{settlement:?}, but the log says {known:?} of {row:?}")
            })?;
            let again = row.settling.is_some() && !row.is_noop;
            ensure(!again, "S1", || {
                format!("{settlement:?} ends a second time: {row:?}")
            })?;
            row.settling = Some(settlement.status.clone());
            row.settled = false;
            self.leave(id);
        }
        Ok(())
    }

    /// The store has the outcomes.
    pub fn on_settled(&mut self, rows: &[Settlement]) -> Checked {
        for settlement in rows {
            let Some(&id) = self.by_number.get(&settlement.n) else {
                continue;
            };
            let row = self.row(id)?;
            row.settled = true;
            row.settling = Some(settlement.status.clone());
            // What is lost later was committed when they were made.
            let was_committed = row.told.contains(&MutationStatus::Committed);
            if settlement.status != MutationStatus::Committed && !was_committed {
                self.fail_dependents(id);
            }
        }
        Ok(())
    }

    /// The store has judged: what was committed is so no more.
    pub fn on_judged(&mut self, ended: &[Settlement]) {
        for end in ended {
            let id = self.by_number.get(&end.n);
            if let Some(row) = id.and_then(|id| self.rows.get_mut(id))
                && row.settled
                && row.settling == Some(MutationStatus::Committed)
            {
                row.settling = Some(end.status.clone());
            }
        }
    }

    /// The application is told where a mutation stands.
    pub fn on_status(
        &mut self,
        handle: MutationHandle,
        n: Option<u64>,
        status: &MutationStatus,
        truth: &Truth,
    ) -> Checked {
        let (channel, author) = (self.channel, self.author);
        if let Some(id) = n.and_then(|n| self.by_number.get(&n)).copied() {
            self.by_handle.entry(handle).or_insert(id);
        }
        let id = self.id_of(handle)?;
        let row = self.row(id)?;
        let last = row.told.last();
        let ended = row.told.iter().any(MutationStatus::is_terminal);
        let in_order = match status {
            MutationStatus::Queued => last.is_none(),
            MutationStatus::Attempted | MutationStatus::Accepted { .. } => !ended,
            // Another session may have been told that it was committed.
            MutationStatus::Lost => follows(last, status) || !ended,
            _ => !ended || follows(last, status),
        };
        ensure(in_order, "S9", || {
            format!("{status:?} was told after {:?}", row.told)
        })?;
        ensure(n.is_none() || n == row.n, "S11", || {
            format!("told {n:?} of {row:?}")
        })?;
        if let MutationStatus::Accepted { seq } = status {
            let n = row.n.unwrap_or_default();
            // `seq` is where the log stood when everything up to n was decided: a hint, but never a lie.
            // Unless another session has given it up meanwhile.
            let is_given_up = truth
                .fate(author, channel, n)
                .is_some_and(|fate| fate != MutationStatus::Committed);
            let is_true = truth.was_decided_by(channel, author, n, *seq) || is_given_up;
            ensure(is_true, "S9", || {
                format!("accepted at {seq}, but never logged: {row:?}")
            })?;
        }
        if status.is_terminal() {
            if row.is_noop && row.settled && row.settling.is_none() {
                row.settling = Some(status.clone());
            }
            let is_stored = row.settling.as_ref() == Some(status);
            // Told one after the other, after the store has said both.
            let is_judged = row
                .settling
                .as_ref()
                .is_some_and(|judged| follows(Some(status), judged));
            let stored = row.settled && (is_stored || is_judged);
            ensure(stored || row.refused, "S12", || {
                format!("{status:?} was told before it was stored: {row:?}")
            })?;
        }
        row.told.push(status.clone());
        if status.is_terminal() && !ended {
            self.open_rows -= 1;
            self.leave(id);
        }
        Ok(())
    }

    /// The application pulls the records that changed.
    pub fn on_changed(&mut self, session: &Session, records: &[RecordKey]) {
        self.suspect = true;
        for key in records {
            let record = session.record(self.id, &key.collection, &key.id);
            self.cache.set(&key.collection, &key.id, record.cloned());
            if !self.keys.contains(key) {
                self.keys.insert(key.clone());
            }
        }
    }

    /// A message reached the core: it may change any view, but hardly without a word. So the view is
    /// compared after some of them, whatever they were.
    pub const fn on_message(&mut self) {
        self.messages = self.messages.wrapping_add(1);
        self.suspect |= self.messages.is_multiple_of(8);
    }

    /// A mutation is not in the overlay any more.
    fn leave(&mut self, id: RowId) {
        let place = self.rows[&id].place(id);
        self.moved |= self.active.remove(&(place, id));
    }

    /// The application is told that history was lost.
    pub fn on_history_lost(&mut self, from: Cursor, to: Cursor) {
        // One answer may carry several, one after the other.
        let first = self.history_lost.map_or(from, |(first, _)| first);
        self.history_lost = Some((first, to));
    }

    /// After every turn of the core: base, view and cache are what they have to be.
    ///
    /// A view is compared when something happened that may have changed it. What changed without a
    /// cause stays wrong until then.
    pub fn check(&mut self, session: &Session, truth: &Truth) -> Checked {
        let cursor = session.cursor(self.id);
        if session.status(self.id).is_none() {
            return Ok(());
        }
        if cursor != self.cursor {
            self.see(session, truth);
            self.check_move(cursor, truth)?;
            self.moved = true;
        }
        self.history_lost = None;
        for cause in std::mem::take(&mut self.blamed) {
            let row = self.row(cause)?;
            ensure(row.has_failed(), "dep_failed", || {
                format!("others failed with {row:?}, which has not failed")
            })?;
        }
        if std::mem::take(&mut self.moved) {
            self.work_out(truth);
            self.suspect = true;
        }
        // What expires before it has a number leaves without a word.
        let is_vague = |row: &Row| row.n.is_none() && row.options.ttl.is_some();
        let is_vague = self.active.iter().any(|(_, id)| is_vague(&self.rows[id]));
        if self.suspect && !is_vague {
            self.suspect = false;
            self.compare(session)?;
        }
        Ok(())
    }

    /// A channel that subscribes over and over, though nobody asks for it, is spinning (L4), whatever it meets.
    pub fn check_pace(&mut self, now_ms: u64, session: &Session) -> Checked {
        let Some(counts) = session.stream_counts(self.id) else {
            return Ok(());
        };
        let (from_ms, before) = self.pace;
        if now_ms >= from_ms + SUBSCRIBES_PERIOD_MS || counts.subscribes < before {
            self.pace = (now_ms, counts.subscribes);
            self.asked = 0;
            return Ok(());
        }
        let most = SUBSCRIBES_MAX + self.asked;
        ensure(counts.subscribes - before <= most, "L4", || {
            format!("{most} subscribes within {SUBSCRIBES_PERIOD_MS} ms")
        })
    }

    /// Works out from the logs alone how the view has to look.
    fn work_out(&mut self, truth: &Truth) {
        self.expected = self
            .base
            .map(|base| (*truth.fact(base).state).clone())
            .unwrap_or_default();
        for (key, _) in self.expected.records() {
            if !self.keys.contains(key) {
                self.keys.insert(key.clone());
            }
        }
        self.touched.clear();
        for row in self.active.iter().map(|(_, id)| &self.rows[id]) {
            if !self.is_decided(row, truth) {
                overlay(&row.changes, &mut self.expected, &mut self.touched);
            }
        }
    }

    /// Compares view, marks and cache with what they have to be.
    pub fn compare(&self, session: &Session) -> Checked {
        if session.status(self.id).is_none() {
            return Ok(());
        }
        let mut seen = 0;
        for key in self.keys.union(&self.touched) {
            let (collection, id) = (&*key.collection, &*key.id);
            let expected = self.expected.record(collection, id);
            seen += usize::from(expected.is_some());
            let view = session.record(self.id, collection, id);
            ensure(view == expected, "S6", || {
                format!(
                    "the view is not base plus pending at {:?}: {key:?} is {} and should be {}; pending: {:?}",
                    self.cursor,
                    show(view),
                    show(expected),
                    self.active
                        .iter()
                        .map(|(_, id)| &self.rows[id])
                        .collect::<Vec<_>>(),
                )
            })?;
            let cached = self.cache.record(collection, id);
            ensure(cached == expected, "S6", || {
                format!(
                    "a change was not announced: {key:?} was {} and is {}",
                    show(cached),
                    show(expected),
                )
            })?;
            let pending = self.touched.contains(key);
            let told = session.is_pending(self.id, collection, id);
            ensure(told == pending, "S7", || {
                format!("{key:?} is pending: {pending}, the core disagrees")
            })?;
        }
        let visible: usize = session
            .collections(self.id)
            .iter()
            .map(|collection| session.ids(self.id, collection).len())
            .sum();
        ensure(seen == self.expected.len() && visible == seen, "S6", || {
            format!(
                "{visible} records are visible, {} should be",
                self.expected.len()
            )
        })
    }

    fn check_move(&mut self, cursor: Option<Cursor>, truth: &Truth) -> Checked {
        let Some(to) = cursor else {
            return Err(Violation::new(
                "S4",
                format!("the base is gone after {:?}", self.cursor),
            ));
        };
        let fact = truth
            .at(self.channel, to)
            .ok_or_else(|| Violation::new("S3", format!("the base claims unknown {to:?}")))?;
        if let (Some(from), Some(base)) = (self.cursor, self.base) {
            ensure(to.order() > from.order(), "S4", || {
                format!("the base went from {from:?} to {to:?}")
            })?;
            if !truth.is_on_line(base, fact) {
                // G7: loss is never silent.
                let told = self.history_lost.is_some_and(|(lost, now)| {
                    let [lost, now] = [lost, now].map(|at| truth.at(self.channel, at));
                    // One turn may go on first, and then hear of the loss.
                    lost.is_some_and(|lost| truth.is_on_line(base, lost))
                        && now.is_some_and(|now| truth.is_on_line(now, fact))
                });
                ensure(told, "G7", || {
                    format!(
                        "history was lost from {from:?} to {to:?}, told {:?}",
                        self.history_lost
                    )
                })?;
            }
        }
        self.before = self.base;
        if self.left.is_none() || to.seq.is_multiple_of(16) {
            self.left = self.cursor;
        }
        self.cursor = Some(to);
        self.base = Some(fact);
        self.check_decided_leave(truth)
    }

    /// What the base decides must be on its way to its outcome.
    fn check_decided_leave(&self, truth: &Truth) -> Checked {
        for row in self.active.iter().map(|(_, id)| &self.rows[id]) {
            ensure(!self.is_decided(row, truth), "S7", || {
                format!("the base decides {row:?}, but it stays pending")
            })?;
        }
        Ok(())
    }

    /// Whether the base contains the mutation or its rejection, and tells so: where the author's row of
    /// the table was evicted, nobody can know before the server says that it is too late.
    fn is_decided(&self, row: &Row, truth: &Truth) -> bool {
        row.n.zip(self.reached).is_some_and(|(n, base)| {
            // Where the server has forgotten us, only what patches have said is known.
            let is_known =
                truth.fact(base).table.contains_key(&self.author) || n <= self.decided_through;
            is_known && truth.decision(self.channel, self.author, n, base).is_some()
        })
    }

    /// Whether everything ended and the base is the head of the surviving log (L1, L2).
    pub fn lag(&self, session: &Session, truth: &Truth) -> Option<String> {
        if self.open_rows > 0 {
            let open = self
                .rows
                .iter()
                .find(|(_, row)| !row.told.iter().any(MutationStatus::is_terminal));
            return Some(format!(
                "L1: {} mutations are open, {open:?}",
                self.open_rows
            ));
        }
        if self.is_released || self.is_paused {
            return None;
        }
        let head = truth.head_cursor(self.channel);
        if session.cursor(self.id) != Some(head) {
            return Some(format!(
                "L2: base {:?}, head {head:?}",
                session.cursor(self.id)
            ));
        }
        match session.status(self.id) {
            Some(ChannelStatus::Live) => None,
            other => Some(format!("L2: channel is {other:?}")),
        }
    }

    /// Once all is calm: what was told is what the surviving log says (S1).
    pub fn check_outcomes(&self, session: &Session, truth: &Truth) -> Checked {
        let Some(head) = truth.head(self.channel) else {
            return Ok(());
        };
        let is_followed = session.status(self.id).is_some() && !self.is_released;
        let newest = self.rows.values().filter_map(|row| row.n).max();
        let newest = newest.unwrap_or_default();
        for row in self.rows.values() {
            let Some(n) = row.n else { continue };
            let decision = truth.decision(self.channel, self.author, n, head);
            let fits = match row.told.last() {
                // Who let go of a channel does not hear of losses any more.
                Some(MutationStatus::Committed) => {
                    let began_lower = truth.began_lower.contains(&self.channel);
                    // A store remembers the newest thousand losses at least: whoever comes later hears of no others.
                    let is_forgotten = n + LOSSES_KEPT_MIN < newest;
                    let is_untold = !is_followed || began_lower || is_forgotten;
                    decision == Some(Decision::Committed) || is_untold && decision.is_none()
                }
                Some(MutationStatus::Rejected { code, .. }) => {
                    decision != Some(Decision::Committed)
                        || (*code == ErrorCode::Forbidden && truth.pushes_are_copied)
                }
                Some(MutationStatus::Lost) if truth.began_lower.contains(&self.channel) => true,
                Some(
                    MutationStatus::Expired | MutationStatus::Cancelled | MutationStatus::Lost,
                ) => decision != Some(Decision::Committed) || truth.clocks_lied,
                Some(MutationStatus::Indeterminate) => true,
                _ => false,
            };
            ensure(fits, "S1", || {
                format!("the surviving log says {decision:?} of {row:?}")
            })?;
        }
        Ok(())
    }

    fn row(&mut self, id: RowId) -> Checked<&mut Row> {
        let row = self.rows.get_mut(&id);
        row.ok_or_else(|| Violation::new("seam", "a row that is not there"))
    }

    fn id_of(&self, handle: MutationHandle) -> Checked<RowId> {
        let id = self.by_handle.get(&handle).copied();
        id.ok_or_else(|| Violation::new("seam", format!("{handle:?} was never handed out")))
    }

    fn id_of_number(&self, n: u64) -> Checked<RowId> {
        let id = self.by_number.get(&n).copied();
        id.ok_or_else(|| Violation::new("S11", format!("nobody told this session of row {n}")))
    }
}

/// Replays a mutation over a state: a change that cannot apply shows nothing.
fn overlay(changes: &[Change], state: &mut State, touched: &mut BTreeSet<RecordKey>) {
    for kind in changes.iter().filter_map(|change| change.kind.as_ref()) {
        let (collection, id) = change::target(kind);
        touched.insert(RecordKey::new(collection, id));
        let before = state.record(collection, id);
        if let Ok(next) = change::apply_change(before, kind, &Limits::DEFAULT) {
            state.set(collection, id, next);
        }
    }
}

/// The same JSON value, spelled otherwise where that is easy.
fn respell(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value).into_owned();
    match text.parse::<i32>() {
        Ok(number) if number % 2 == 0 => format!("{number}.0"),
        Ok(number) => format!("{number}0e-1"),
        Err(_) => text,
    }
}

fn show(record: Option<&Record>) -> String {
    record.map_or_else(|| "nothing".into(), Record::to_json)
}

/// What may follow `committed`, once history was lost.
fn follows(last: Option<&MutationStatus>, status: &MutationStatus) -> bool {
    last == Some(&MutationStatus::Committed)
        && matches!(status, MutationStatus::Lost | MutationStatus::Indeterminate)
}
