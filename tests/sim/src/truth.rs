//! What really is in every log: the checkers' own model, which trusts nobody.
//!
//! Every append that the broker takes is recorded here with the document and table it leads to,
//! and judged at once (S1, S2, S3, S13). A broker that loses entries starts a new branch, so it
//! stays known which entries lie on which line of history.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tidewire_core::time::UnixTime;
use tidewire_core::wire::{Change, Cursor, ErrorCode, NUMBER_MAX};
use tidewire_core::{MutateOptions, MutationHandle, OutboxRow};
use tidewire_server::broker::{Entry, EntryBody, RunId, Snapshot, TableRow};
use tidewire_server::channel::{Author, ChannelConfig};

use crate::client::Store;
use crate::judge::{Asked, Verdict};
use crate::model::State;
use crate::policy::Rules;
use crate::violation::{Checked, Violation, ensure};

/// Most rejections that may be listed in a table row.
const REJECTIONS_MAX: usize = 64;

/// An entry that some log once held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactId(usize);

/// One entry with what it leads to.
#[derive(Clone, Debug)]
pub struct Fact {
    branch: usize,
    /// The entry as it was appended.
    pub entry: Arc<Entry>,
    /// The fold of the log up to and with it.
    pub state: Arc<State>,
    /// The table there.
    pub table: Arc<BTreeMap<Author, Arc<TableRow>>>,
    deleted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    /// The last entry that it shares with an older branch.
    fork: Option<(usize, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Line {
    head: Option<FactId>,
    branch: usize,
    /// The facts of the surviving log; the first one has seq 1.
    facts: Vec<FactId>,
}

/// How a mutation was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its changes are in the log.
    Committed,
    /// Its rejection is in the log.
    Rejected(ErrorCode),
    /// Its number is in the log, and nothing else: it was a no-op.
    Nothing,
}

/// A mutation that an application made, on its way to the store.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its name in its session.
    pub handle: MutationHandle,
    /// What it wants.
    pub changes: Arc<[Change]>,
    /// What it asks for besides.
    pub options: MutateOptions,
    /// What it comes after, unless that was committed before.
    pub after: Option<(MutationHandle, Option<u64>)>,
}

/// All logs and all outboxes' stores, of all times.
#[derive(Debug, Default)]
pub struct Truth {
    /// The stores.
    pub stores: Vec<Store>,
    /// Whether the network delivers copies of pushes: then nobody knows that a refused one was the last.
    pub pushes_are_copied: bool,
    /// Channels that somebody could not read for a while.
    pub reading_was_denied: BTreeSet<usize>,
    facts: Vec<Fact>,
    branches: Vec<Branch>,
    lines: BTreeMap<usize, Line>,
    registry: HashMap<(usize, u64, u64, u64), FactId>,
    /// Per channel and author what was asked for, `n` = 1 first.
    asked: BTreeMap<(usize, Author), Vec<Asked>>,
    initial: Arc<State>,
    /// Server clocks have moved by years, or nothing lives long here: what is young by one clock may be
    /// outdated by another.
    pub clocks_went_wild: bool,
    /// A node told a time that was off by days: clients end what is young, and cannot know better.
    pub clocks_lied: bool,
    /// The longest time to live of a mutation, and how much longer table rows live.
    pub ttl_ms_max: u64,
    /// See `ttl_ms_max`.
    pub retention_ms: u64,
    /// What a table may cost.
    pub table_bytes_max: usize,
    /// Entries that every node remembers.
    pub history: u64,
    /// Table rows that were evicted.
    pub evicted: u64,
    /// Mutations that were rejected for their deadline.
    pub expired: u64,
    /// Virtual time, as the broker told it last.
    pub now_ms: u64,
    /// How far openings that nothing in the log demands are apart.
    pub claim_period_ms: u64,
    /// When the epoch of each channel was opened.
    opened: BTreeMap<usize, u64>,
    /// The channels whose log has lost something once.
    lossy: BTreeSet<usize>,
    /// The highest epoch that each channel has had, and the channels whose log began again below that: what comes late of
    /// the lost one looks newer than what there is, and nobody can tell.
    highest: BTreeMap<usize, u64>,
    pub(crate) began_lower: BTreeSet<usize>,
}

impl Truth {
    /// No log holds anything.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        use tidewire_server::channel::Policy as _;
        let name = "any:channel"
            .parse()
            .expect("a constant that is a channel name");
        let config = ChannelConfig::default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            ttl_ms_max: millis(config.ttl_max),
            retention_ms: millis(config.retention),
            table_bytes_max: config.table_bytes_max,
            history: config.history as u64,
            initial: Arc::new(State::from(&rules.initial(&name))),
            ..Self::default()
        }
    }

    /// A store gave `n` to a mutation of this author: from now on the log may decide it.
    pub fn asked(
        &mut self,
        channel: usize,
        author: Author,
        n: u64,
        made: &Made,
        after: Option<u64>,
    ) -> Checked {
        let rows = self.asked.entry((channel, author)).or_default();
        ensure(n == rows.len() as u64 + 1, "S11", || {
            format!("number {n} was given after {}", rows.len())
        })?;
        rows.push(Asked {
            changes: Arc::clone(&made.changes),
            options: made.options.clone(),
            after,
            is_noop: false,
            marked: None,
            decided: Vec::new(),
        });
        Ok(())
    }

    /// The store has the mark and the deadline of a send.
    pub fn marked(
        &mut self,
        channel: usize,
        author: Author,
        n: u64,
        deadline: UnixTime,
    ) -> Checked {
        let row = self.row_mut(channel, author, n)?;
        ensure(row.marked.is_none(), "S10", || {
            format!("{n} is marked a second time: {row:?}")
        })?;
        row.marked = Some(deadline);
        Ok(())
    }

    /// A store has lost the rows after a number: none of them may have been sent, nor may a mark be gone.
    pub fn forget_after(
        &mut self,
        channel: usize,
        author: Author,
        last: u64,
        there: &[OutboxRow],
    ) -> Checked {
        let Some(asked) = self.asked.get_mut(&(channel, author)) else {
            return Ok(());
        };
        for (n, row) in (1..).zip(asked.iter()) {
            let here = there.iter().find(|here| here.n == n);
            let is_kept = n <= last && here.is_none_or(|here| here.attempts > 0);
            ensure(row.marked.is_none() || is_kept, "S12", || {
                format!("a power cut took the mark of {n}: {row:?}")
            })?;
        }
        asked.truncate(usize::try_from(last).unwrap_or(usize::MAX));
        Ok(())
    }

    /// How many numbers a store has given.
    #[must_use]
    pub fn numbers(&self, channel: usize, author: Author) -> u64 {
        self.asked
            .get(&(channel, author))
            .map_or(0, |rows| rows.len() as u64)
    }

    /// The store made a row a no-op.
    pub fn neutralised(&mut self, channel: usize, author: Author, n: u64) -> Checked {
        let row = self.row_mut(channel, author, n)?;
        ensure(row.marked.is_none(), "S10", || {
            format!("a row that was being sent became a no-op: {row:?}")
        })?;
        row.is_noop = true;
        Ok(())
    }

    fn row_mut(&mut self, channel: usize, author: Author, n: u64) -> Checked<&mut Asked> {
        usize::try_from(n.wrapping_sub(1))
            .ok()
            .and_then(|at| self.asked.get_mut(&(channel, author))?.get_mut(at))
            .ok_or_else(|| Violation::new("S13", format!("nobody asked for {author:?} {n}")))
    }

    pub(crate) fn row(&self, channel: usize, author: Author, n: u64) -> Option<&Asked> {
        let at = usize::try_from(n.checked_sub(1)?).ok()?;
        self.asked.get(&(channel, author))?.get(at)
    }

    /// The head of the surviving log.
    #[must_use]
    pub fn head(&self, channel: usize) -> Option<FactId> {
        self.lines.get(&channel)?.head
    }

    /// The head's cursor, zero when the log is empty.
    #[must_use]
    pub fn head_cursor(&self, channel: usize) -> Cursor {
        self.head(channel)
            .map(|id| self.fact(id).entry.cursor)
            .unwrap_or_default()
    }

    /// A fact.
    #[must_use]
    pub fn fact(&self, id: FactId) -> &Fact {
        &self.facts[id.0]
    }

    /// How many entries any log ever took.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether no log ever took an entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The entry that a cursor names (S3), whether or not it survived.
    #[must_use]
    pub fn at(&self, channel: usize, cursor: Cursor) -> Option<FactId> {
        self.registry
            .get(&(channel, cursor.epoch, cursor.seq, cursor.tag))
            .copied()
    }

    /// Whether `fact` lies on the line of history that ends in `end`.
    #[must_use]
    pub fn is_on_line(&self, fact: FactId, end: FactId) -> bool {
        let fact = self.fact(fact);
        let (mut branch, mut seq) = (self.fact(end).branch, self.fact(end).entry.cursor.seq);
        loop {
            if fact.branch == branch {
                return fact.entry.cursor.seq <= seq;
            }
            let Some((parent, fork)) = self.branches[branch].fork else {
                return false;
            };
            branch = parent;
            seq = seq.min(fork);
        }
    }

    /// How a mutation was decided on the line that ends in `end`.
    #[must_use]
    pub fn decision(
        &self,
        channel: usize,
        author: Author,
        n: u64,
        end: FactId,
    ) -> Option<Decision> {
        let row = self.row(channel, author, n)?;
        let id = row.decided.iter().find(|&&id| self.is_on_line(id, end))?;
        self.decision_at(*id, row)
    }

    /// How a mutation was decided as the log stood in an epoch, which may be lost meanwhile.
    #[must_use]
    pub fn decisions_in(
        &self,
        channel: usize,
        author: Author,
        n: u64,
        epoch: u64,
    ) -> Vec<Decision> {
        let is_of_epoch = |id: &FactId| {
            let cursor = self.fact(*id).entry.cursor;
            cursor.epoch == epoch && self.at(channel, cursor) == Some(*id)
        };
        let mut found = Vec::new();
        for end in (0..self.facts.len()).map(FactId).filter(is_of_epoch) {
            let decision = self.decision(channel, author, n, end);
            found.extend(decision.filter(|decision| !found.contains(decision)));
        }
        found
    }

    fn decision_at(&self, id: FactId, row: &Asked) -> Option<Decision> {
        match &self.fact(id).entry.body {
            EntryBody::Mutation { outcome: Ok(_), .. } if row.is_noop => Some(Decision::Nothing),
            EntryBody::Mutation { outcome: Ok(_), .. } => Some(Decision::Committed),
            EntryBody::Mutation {
                outcome: Err(rejection),
                ..
            } => Some(Decision::Rejected(rejection.code)),
            _ => None,
        }
    }

    /// Whether a mutation was ever logged at or below this seq.
    #[must_use]
    pub fn was_decided_by(&self, channel: usize, author: Author, n: u64, seq: u64) -> bool {
        self.row(channel, author, n).is_some_and(|row| {
            row.decided
                .iter()
                .any(|&id| self.fact(id).entry.cursor.seq <= seq)
        })
    }

    /// Whether a compare-and-append has to succeed.
    #[must_use]
    pub fn admits(
        &self,
        channel: usize,
        expected: Cursor,
        entries: &[Arc<Entry>],
        run: RunId,
    ) -> bool {
        let head = self.head(channel).map(|id| self.fact(id));
        let opens = matches!(
            entries.first().map(|e| &e.body),
            Some(EntryBody::Opening { .. })
        );
        self.head_cursor(channel) == expected
            && entries.iter().all(|entry| entry.run == run)
            && (opens || head.is_some_and(|h| h.entry.run == run))
    }

    /// Records entries that the broker took, and judges each of them.
    pub fn append(&mut self, channel: usize, entries: &[Arc<Entry>], run: RunId) -> Checked {
        for entry in entries {
            ensure(entry.run == run, "log", || {
                format!("entry of run {:?} appended in run {run:?}", entry.run)
            })?;
            self.append_one(channel, entry).map_err(|v| {
                Violation::new(v.rule, format!("{}, appending {entry:?}", v.detail))
            })?;
        }
        Ok(())
    }

    /// Readers make a log grow as they like: nothing but a claim or a place can have opened this epoch, and
    /// where nothing was ever lost, no honest reader has either. Clocks of nodes may differ by 5 s each way.
    fn check_opening(&mut self, channel: usize, demanded: bool) -> Checked {
        let now_ms = self.now_ms;
        let before = self.opened.insert(channel, now_ms).unwrap_or(0);
        let is_due = now_ms + 10_000 >= before + self.claim_period_ms;
        ensure(
            demanded || is_due || self.lossy.contains(&channel),
            "claims",
            || {
                format!(
                    "an epoch was opened at {before} and again at {now_ms}, on no honest reader's word"
                )
            },
        )
    }

    fn append_one(&mut self, channel: usize, entry: &Arc<Entry>) -> Checked {
        let cursor = entry.cursor;
        let parent = self.head(channel).map(|id| self.fact(id).clone());
        let before = parent.as_ref().map(|p| p.entry.cursor).unwrap_or_default();
        ensure(cursor.seq == before.seq + 1, "log", || {
            format!("seq {} follows {}", cursor.seq, before.seq)
        })?;
        ensure(
            cursor.epoch.max(cursor.seq).max(cursor.tag) <= NUMBER_MAX,
            "log",
            || format!("{cursor:?} is beyond 2^53"),
        )?;
        let named = crate::tag::tag(before.tag, entry);
        ensure(
            (entry.previous_tag, cursor.tag) == (before.tag, named),
            "log",
            || format!("the tags say {before:?} and {named}"),
        )?;
        ensure(
            parent.as_ref().is_none_or(|p| p.entry.ms <= entry.ms),
            "log",
            || "log time fell".into(),
        )?;
        let opens = matches!(entry.body, EntryBody::Opening { .. });
        let epoch_moves_as_it_must = if opens {
            cursor.epoch > before.epoch
        } else {
            cursor.epoch == before.epoch
        };
        ensure(epoch_moves_as_it_must, "log", || {
            format!("epoch {} follows {}", cursor.epoch, before.epoch)
        })?;
        let highest = self.highest.entry(channel).or_default();
        if cursor.epoch < *highest {
            self.began_lower.insert(channel);
        }
        *highest = (*highest).max(cursor.epoch);
        ensure(
            opens
                || parent
                    .as_ref()
                    .is_some_and(|p| p.entry.run == entry.run && !p.deleted),
            "log",
            || "only an opening may follow an empty log, a deletion or another run".into(),
        )?;

        let mut state = parent
            .as_ref()
            .map(|p| Arc::clone(&p.state))
            .unwrap_or_default();
        let mut table = parent
            .as_ref()
            .map(|p| Arc::clone(&p.table))
            .unwrap_or_default();
        let mut deleted = false;
        match &entry.body {
            EntryBody::Opening { ops, .. } => {
                for op in ops.to_vec() {
                    Arc::make_mut(&mut state).apply(&op);
                }
                let starts = parent.as_ref().is_none_or(|p| p.deleted);
                let demanded = starts || parent.as_ref().is_some_and(|p| p.entry.run != entry.run);
                self.check_opening(channel, demanded)?;
                ensure(starts || ops.is_empty(), "log", || {
                    "an opening in the middle of a log changes records".into()
                })?;
                if starts {
                    ensure(state == self.initial, "log", || {
                        "a new log does not start with the initial records".into()
                    })?;
                }
            }
            EntryBody::Deletion => {
                state = Arc::default();
                deleted = true;
            }
            EntryBody::Mutation {
                author,
                n,
                low,
                deadline_ms,
                check,
                outcome,
                schema: _,
                trace: _,
            } => {
                let (Some(parent), Some(parent_id)) = (&parent, self.head(channel)) else {
                    return Err(Violation::new("log", "a mutation before any opening"));
                };
                let times = (entry.ms, *deadline_ms);
                let verdict = self.judge(channel, *author, *n, times, parent, parent_id)?;
                let row = parent.table.get(author).map(|row| &**row);
                let is_after_forgotten = self.comes_after_forgotten(channel, *author, *n, row);
                // Also where its table row is gone.
                let before = self.decision(channel, *author, *n, parent_id);
                ensure(before.is_none(), "S1", || {
                    format!("{author:?} {n} is decided a second time, {before:?} before")
                })?;
                let row = Arc::make_mut(&mut table).entry(*author).or_default();
                let row = Arc::make_mut(row);
                ensure(*n > row.last, "S1", || {
                    format!(
                        "{author:?} {n} is decided a second time, last is {}",
                        row.last
                    )
                })?;
                ensure(*n == (row.last + 1).max(*low), "S2", || {
                    format!("{author:?} {n} skips, last is {}, low {low}", row.last)
                })?;
                if *n > row.last + 1 {
                    row.forgotten = *n - 1;
                }
                row.last = *n;
                row.deadline_max = row.deadline_max.max(*deadline_ms);
                row.low = row.low.max(*low);
                row.check = *check;
                let passed = row.rejected.iter().map(|(at, _)| *at);
                row.forgotten = passed.filter(|at| at < low).fold(row.forgotten, u64::max);
                row.rejected.retain(|(at, _)| at >= low);
                let has_preconditions = self
                    .row(channel, *author, *n)
                    .is_some_and(|asked| !asked.options.preconditions.is_empty());
                // The log does not say when a right was lost, only that it may have been.
                let may_be_unread = has_preconditions && self.reading_was_denied.contains(&channel);
                let was_judged_before = matches!(
                    verdict,
                    Verdict::Refused(ErrorCode::Expired | ErrorCode::DepFailed)
                );
                match (verdict, outcome) {
                    (verdict, Err(got))
                        if got.code == ErrorCode::DepFailed
                            && is_after_forgotten
                            && !matches!(verdict, Verdict::Refused(ErrorCode::Expired)) =>
                    {
                        row.rejected.push((*n, got.clone()));
                    }
                    (_, Err(got))
                        if got.code == ErrorCode::Forbidden
                            && may_be_unread
                            && !was_judged_before =>
                    {
                        row.rejected.push((*n, got.clone()));
                    }
                    (
                        Verdict::Applies(expected) | Verdict::AppliesOrConflicts(expected),
                        Ok(ops),
                    ) => {
                        let next = Arc::make_mut(&mut state);
                        for op in ops.to_vec() {
                            next.apply(&op);
                        }
                        ensure(*next == expected, "S1", || {
                            "ops are not what was asked for".into()
                        })?;
                    }
                    (Verdict::Refused(expected), Err(got)) => {
                        ensure(expected == got.code, "S9", || {
                            format!("rejected as {got}, not as {expected:?}")
                        })?;
                        row.rejected.push((*n, got.clone()));
                        self.expired += u64::from(expected == ErrorCode::Expired);
                    }
                    (Verdict::AppliesOrConflicts(_), Err(got)) => {
                        row.rejected.push((*n, got.clone()));
                    }
                    (expected, got) => {
                        return Err(Violation::new(
                            "S9",
                            format!("decided as {got:?}, not as {expected:?}"),
                        ));
                    }
                }
                ensure(row.rejected.len() <= REJECTIONS_MAX, "S14", || {
                    format!("{} rejections are listed", row.rejected.len())
                })?;
            }
            EntryBody::Keyed { .. } | EntryBody::Expiry { .. } | EntryBody::Close => {
                return Err(Violation::new("log", "this version writes no such entry"));
            }
        }

        let retention_ms = self.retention_ms;
        let is_kept = |row: &TableRow| row.deadline_max.saturating_add(retention_ms) >= entry.ms;
        if !table.values().all(|row| is_kept(row)) {
            let before = table.len();
            Arc::make_mut(&mut table).retain(|_, row| is_kept(row));
            self.evicted += (before - table.len()) as u64;
        }

        self.forget_rejections(Arc::make_mut(&mut table));

        let id = FactId(self.facts.len());
        let key = (channel, cursor.epoch, cursor.seq, cursor.tag);
        if let Some(&known) = self.registry.get(&key) {
            ensure(self.fact(known).entry == *entry, "S3", || {
                format!("{cursor:?} already names {:?}", self.fact(known).entry)
            })?;
        }
        self.registry.insert(key, id);
        if let EntryBody::Mutation { author, n, .. } = &entry.body {
            let at = usize::try_from(*n - 1).unwrap_or(usize::MAX);
            if let Some(row) = self
                .asked
                .get_mut(&(channel, *author))
                .and_then(|rows| rows.get_mut(at))
            {
                row.decided.push(id);
            }
        }
        if !self.lines.contains_key(&channel) {
            let branch = self.branch(None);
            self.lines.insert(
                channel,
                Line {
                    branch,
                    ..Line::default()
                },
            );
        }
        let line = self.lines.entry(channel).or_default();
        line.head = Some(id);
        line.facts.push(id);
        let branch = line.branch;
        self.facts.push(Fact {
            branch,
            entry: Arc::clone(entry),
            state,
            table,
            deleted,
        });
        Ok(())
    }

    /// The entries of the surviving log after a seq.
    pub(crate) fn after(&self, channel: usize, seq: u64) -> impl Iterator<Item = &Fact> {
        let skip = usize::try_from(seq).unwrap_or(usize::MAX);
        let facts = self.lines.get(&channel).map(|line| line.facts.iter());
        facts
            .into_iter()
            .flatten()
            .skip(skip)
            .map(|&id| self.fact(id))
    }

    /// Where a base may have stood on its way, both ends included.
    pub(crate) fn between(
        &self,
        channel: usize,
        from: Option<FactId>,
        to: Option<FactId>,
    ) -> Vec<FactId> {
        let seq = |id: FactId| self.fact(id).entry.cursor.seq;
        let last = to.map_or(0, seq);
        let is_passed = |id: &FactId| {
            let cursor = self.fact(*id).entry.cursor;
            cursor.seq <= last && self.at(channel, cursor) == Some(*id)
        };
        // Also of logs that were lost meanwhile.
        let passed = (0..self.facts.len()).map(FactId).filter(is_passed);
        from.into_iter().chain(to).chain(passed).collect()
    }

    /// Whether a deadline lies so far behind log time that no node appends what has it.
    pub(crate) fn is_outdated(&self, deadline: UnixTime, at: FactId) -> bool {
        deadline.0.saturating_add(self.retention_ms) < self.fact(at).entry.ms
    }

    /// The broker lost everything after `seq` (0 = everything).
    pub fn lose_after(&mut self, channel: usize, seq: u64) {
        let Some(line) = self.lines.get_mut(&channel) else {
            return;
        };
        let keep = usize::try_from(seq).unwrap_or(usize::MAX);
        if keep >= line.facts.len() {
            return;
        }
        self.lossy.insert(channel);
        line.facts.truncate(keep);
        line.head = line.facts.last().copied();
        let head = line.head;
        let fork = head.map(|id| {
            let fact = self.fact(id);
            (fact.branch, fact.entry.cursor.seq)
        });
        let branch = self.branch(fork);
        self.lines.entry(channel).or_default().branch = branch;
    }

    /// Whether a snapshot says what the log says at its cursor.
    pub fn check_snapshot(&self, channel: usize, snapshot: &Snapshot) -> Checked {
        let id = self.at(channel, snapshot.cursor).ok_or_else(|| {
            Violation::new("S3", format!("snapshot at unknown {:?}", snapshot.cursor))
        })?;
        let fact = self.fact(id);
        ensure(fact.state.is_in(&snapshot.document), "S5", || {
            format!(
                "snapshot at {:?} is not the fold of the log",
                snapshot.cursor
            )
        })?;
        ensure(snapshot.deleted == fact.deleted, "S5", || {
            format!("snapshot at {:?} has deleted wrong", snapshot.cursor)
        })?;
        let same =
            snapshot.table.len() == fact.table.len()
                && snapshot.table.iter().zip(&*fact.table).all(
                    |((author, row), (known, expected))| author == known && *row == **expected,
                );
        ensure(same, "S1", || {
            format!(
                "snapshot table {:?}, log says {:?}",
                snapshot.table, fact.table
            )
        })
    }

    /// What the table has no room for, found by looking at every row.
    fn forget_rejections(&self, table: &mut BTreeMap<Author, Arc<TableRow>>) {
        loop {
            let rejections = table.values().flat_map(|row| &row.rejected);
            let listed: usize = rejections.map(|(_, why)| 48 + why.detail.len()).sum();
            if table.len() * 160 + listed <= self.table_bytes_max {
                return;
            }
            let explains = |row: &TableRow| row.rejected.iter().any(|(_, r)| !r.detail.is_empty());
            let explained = table.values().any(|row| explains(row));
            let mut rows: Vec<_> = table
                .iter_mut()
                .filter(|(_, row)| explains(row) || (!explained && !row.rejected.is_empty()))
                .collect();
            rows.sort_by_key(|(author, row)| (row.deadline_max, **author));
            let Some((_, row)) = rows.into_iter().next() else {
                return;
            };
            let row = Arc::make_mut(row);
            if explained {
                row.rejected
                    .iter_mut()
                    .for_each(|(_, why)| why.detail.clear());
            } else {
                row.rejected.clear();
                row.forgotten = row.last;
            }
        }
    }

    fn branch(&mut self, fork: Option<(usize, u64)>) -> usize {
        self.branches.push(Branch { fork });
        self.branches.len() - 1
    }
}
