//! How a mutation has to be decided: the checkers' own judgement, which shares no code with the server's.

use std::sync::Arc;

use serde_json::Value;
use tidewire_core::MutateOptions;
use tidewire_core::document::Record;
use tidewire_core::time::UnixTime;
use tidewire_core::wire::{Change, Cursor, ErrorCode, Op, OpKind, Precondition, PreconditionKind};
use tidewire_server::broker::{EntryBody, TableRow};
use tidewire_server::channel::Author;

use crate::model::State;
use crate::policy::Rules;
use crate::truth::{Decision, Fact, FactId, Truth};
use crate::violation::{Checked, Violation, ensure};

/// A numbered mutation.
#[derive(Debug)]
pub struct Asked {
    /// What it wants.
    pub changes: Arc<[Change]>,
    /// What it asks for besides.
    pub options: MutateOptions,
    /// The number of the mutation that it comes after.
    pub after: Option<u64>,
    /// Its store made it a no-op.
    pub is_noop: bool,
    /// Its deadline, once its store knows that it is being sent.
    pub marked: Option<UnixTime>,
    /// The entries that decide it, on different branches.
    pub decided: Vec<FactId>,
}

/// How the log has to decide.
#[derive(Debug)]
pub enum Verdict {
    /// It applies, and leads there.
    Applies(State),
    /// It is rejected.
    Refused(ErrorCode),
    /// Whether it applies depends on how much history the node has in memory.
    AppliesOrConflicts(State),
}

/// What a precondition comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// A node that has forgotten the place has to say no.
    IfRemembered,
}

impl Truth {
    /// Whether it comes after one of which the table says that nobody knows how it ended: `dep_failed`, unless
    /// that was decided in the same turn, when it was known yet.
    pub(crate) fn comes_after_forgotten(
        &self,
        channel: usize,
        author: Author,
        n: u64,
        row: Option<&TableRow>,
    ) -> bool {
        let asked = self.row(channel, author, n);
        let cause = asked.and_then(|asked| asked.after);
        cause.is_some_and(|cause| row.is_some_and(|row| cause <= row.forgotten))
    }

    /// Judges the mutation that an entry is about, where `parent` is the entry before it.
    pub(crate) fn judge(
        &self,
        channel: usize,
        author: Author,
        n: u64,
        (ms, deadline_ms): (u64, u64),
        parent: &Fact,
        parent_id: FactId,
    ) -> Checked<Verdict> {
        let asked = self
            .row(channel, author, n)
            .ok_or_else(|| Violation::new("S13", format!("nobody asked for {author:?} {n}")))?;
        let Some(marked) = asked.marked else {
            return Err(Violation::new(
                "S12",
                format!("sent before its store had marked it: {asked:?}"),
            ));
        };
        let latest = ms.saturating_add(self.ttl_ms_max);
        ensure(deadline_ms == marked.0.min(latest), "S10", || {
            format!("decided by the deadline {deadline_ms}, not by {marked:?} of {asked:?}")
        })?;
        if asked.is_noop {
            return Ok(Verdict::Applies((*parent.state).clone()));
        }
        if deadline_ms < ms {
            return Ok(Verdict::Refused(ErrorCode::Expired));
        }
        if let Some(n) = asked.after {
            let cause = self.row(channel, author, n).map(|cause| (n, cause));
            let ended_unsent = cause.is_none_or(|(_, cause)| cause.is_noop);
            ensure(!ended_unsent, "dep_failed", || {
                format!("comes after a mutation that ended before it was sent: {asked:?}")
            })?;
            let decision = cause.and_then(|(n, _)| self.decision(channel, author, n, parent_id));
            if matches!(decision, Some(Decision::Rejected(_))) {
                let row = parent.table.get(&author).map(|row| &**row);
                let is_forgotten = self.comes_after_forgotten(channel, author, n, row);
                let is_listed = cause.is_some_and(|(cause, _)| {
                    row.is_some_and(|row| row.rejected.iter().any(|(at, _)| *at == cause))
                });
                // A row that was evicted took its rejections along.
                if is_listed || is_forgotten || self.evicted == 0 {
                    return Ok(Verdict::Refused(ErrorCode::DepFailed));
                }
            }
        }
        let mut remembered = true;
        for pre in &asked.options.preconditions {
            match self.holds(channel, author, pre, parent, parent_id) {
                Holds::Yes => {}
                Holds::No => return Ok(Verdict::Refused(ErrorCode::Conflict)),
                Holds::IfRemembered => remembered = false,
            }
        }
        Ok(match Rules::evaluate(&parent.state, &asked.changes) {
            Err(rejection) if remembered => Verdict::Refused(rejection.code),
            Err(_) => Verdict::AppliesOrConflicts((*parent.state).clone()),
            Ok(next) if remembered => Verdict::Applies(next),
            Ok(next) => Verdict::AppliesOrConflicts(next),
        })
    }

    fn holds(
        &self,
        channel: usize,
        author: Author,
        pre: &Precondition,
        parent: &Fact,
        parent_id: FactId,
    ) -> Holds {
        let Some(PreconditionKind::Unchanged(unchanged)) = &pre.kind else {
            return holds_here(pre, &parent.state);
        };
        let since = unchanged.since.unwrap_or_default();
        let on_line = self
            .at(channel, since)
            .is_some_and(|fact| self.is_on_line(fact, parent_id));
        let touched = self.touched_since(channel, since, &unchanged.collection, &unchanged.id);
        if !on_line || touched.into_iter().any(|by| by != Some(author)) {
            return Holds::No;
        }
        let behind = parent.entry.cursor.seq.saturating_sub(since.seq);
        if behind < self.history {
            Holds::Yes
        } else {
            Holds::IfRemembered
        }
    }

    /// Who touched a record after a place of the surviving log; `None` = no mutation's author.
    fn touched_since(
        &self,
        channel: usize,
        since: Cursor,
        collection: &str,
        id: &str,
    ) -> Vec<Option<Author>> {
        let names = |op: &Op| match &op.kind {
            Some(OpKind::Put(record)) => record.collection == collection && record.id == id,
            Some(OpKind::Merge(merge)) => merge.collection == collection && merge.id == id,
            Some(OpKind::Del(record)) => record.collection == collection && record.id == id,
            _ => false,
        };
        self.after(channel, since.seq)
            .filter_map(|fact| match &fact.entry.body {
                EntryBody::Deletion => Some(None),
                EntryBody::Opening { ops, .. } => ops.to_vec().iter().any(names).then_some(None),
                EntryBody::Mutation {
                    author, outcome, ..
                } => {
                    let ops = outcome.as_ref().ok()?;
                    ops.to_vec().iter().any(names).then_some(Some(*author))
                }
                EntryBody::Keyed { .. } | EntryBody::Expiry { .. } | EntryBody::Close => None,
            })
            .collect()
    }
}

/// What a precondition about the present state comes to; `unchanged` is not one.
#[must_use]
pub fn holds_here(pre: &Precondition, state: &State) -> Holds {
    let is_there = |collection: &str, id: &str| state.record(collection, id).is_some();
    let holds = match &pre.kind {
        Some(PreconditionKind::Exists(record)) => is_there(&record.collection, &record.id),
        Some(PreconditionKind::Absent(record)) => !is_there(&record.collection, &record.id),
        Some(PreconditionKind::Eq(eq)) => state
            .record(&eq.collection, &eq.id)
            .and_then(|record| record.field(&eq.field))
            .is_some_and(|value| is_equal(value, &eq.value)),
        _ => true,
    };
    if holds { Holds::Yes } else { Holds::No }
}

/// Whether a rejection may show this as the current value: the record of one of its preconditions. Which
/// one, a client cannot always tell: it compares values as they are spelled.
#[must_use]
pub fn may_show(preconditions: &[Precondition], state: &State, shown: Option<&Record>) -> bool {
    let kinds = preconditions.iter().filter_map(|pre| pre.kind.as_ref());
    let mut records = kinds.map(|kind| match kind {
        PreconditionKind::Exists(record) | PreconditionKind::Absent(record) => {
            state.record(&record.collection, &record.id)
        }
        PreconditionKind::Eq(eq) => state.record(&eq.collection, &eq.id),
        PreconditionKind::Unchanged(unchanged) => {
            state.record(&unchanged.collection, &unchanged.id)
        }
    });
    records.any(|record| record == shown)
}

/// Equality of the small values that applications write: numbers by value, the rest as it is.
fn is_equal(one: &[u8], two: &[u8]) -> bool {
    let parse = |text| serde_json::from_slice::<Value>(text).ok();
    match (parse(one), parse(two)) {
        (Some(Value::Number(one)), Some(Value::Number(two))) => {
            match (one.as_i64(), two.as_i64()) {
                (Some(one), Some(two)) => one == two,
                _ => one.as_f64() == two.as_f64(),
            }
        }
        (Some(one), Some(two)) => one == two,
        _ => false,
    }
}
