//! Decides pushed mutations against the fold: log entries and answers, nothing applied yet.
//!
//! Invariant: an item that fails leaves no trace in the state that the next one meets, except its
//! own row of the table.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tidewire_core::ChannelName;
use tidewire_core::document::change::{apply_change, changes_bytes, check_changes, target, to_op};
use tidewire_core::document::precondition::check_preconditions;
use tidewire_core::document::{Record, RecordKey, Rejection};
use tidewire_core::planted;
use tidewire_core::wire::{Change, Cursor, ErrorCode, Item, Ops, OpsWriter, ServerKind};

use super::changes::{LastChange, keys};
use super::condition::Conditions;
use super::config::ChannelConfig;
use super::encode;
use super::fold::{Fold, Results, record_cost};
use super::input::Rights;
use super::lifetime::Lifetime;
use super::policy::{Policy, View};
use super::push::WaitingPush;
use super::table::Decision;
use crate::log::{Author, Entry, EntryBody, RunId, TableRow, tag};

/// Most rejections of one author that are listed at or above its `low`. At the limit nothing more is
/// evaluated for it (`hold`) until its pushes say that it has seen some.
const REJECTIONS_MAX: usize = 64;

/// How long an author with too many unseen rejections should wait.
const REJECTIONS_RETRY_MS: u32 = 1000;

/// How long an author should wait whose mutation may be in the log yet although it may not write any more.
const UNDECIDED_RETRY_MS: u32 = 1000;

/// How long an author should wait who finds no room in the table: rows go when their retention is over.
const TABLE_FULL_RETRY_MS: u32 = 60_000;

/// The `eq` preconditions of one mutation compare at most as many bytes as so many largest records.
const COMPARED_RECORDS_MAX: usize = 4;

type Touched = BTreeMap<RecordKey, Option<Record>>;

/// What stays the same for all pushes of a turn.
pub(super) struct Context<'a> {
    pub(super) channel: &'a ChannelName,
    pub(super) config: &'a ChannelConfig,
    pub(super) policy: &'a dyn Policy,
    pub(super) run: RunId,
    pub(super) lifetime: Lifetime,
    /// Log time of the entries of this turn.
    pub(super) ms: u64,
}

/// Who asks for a mutation.
struct Asker<'a> {
    author: Author,
    principal: &'a str,
    rights: &'a dyn Rights,
}

/// One turn: what the pushes so far would append.
pub(super) struct Evaluation<'a> {
    context: Context<'a>,
    fold: &'a Fold,
    touched: Touched,
    /// The newest changes of the records that this turn changed.
    changes: BTreeMap<RecordKey, LastChange>,
    rows: BTreeMap<Author, TableRow>,
    /// How many of them the table does not have yet.
    authors_new: usize,
    tip: Cursor,
    entries: Vec<Entry>,
    bytes: usize,
    /// What the document would cost after the entries so far.
    document_bytes: usize,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(context: Context<'a>, fold: &'a Fold) -> Self {
        Self {
            context,
            fold,
            touched: Touched::new(),
            changes: BTreeMap::new(),
            rows: BTreeMap::new(),
            authors_new: 0,
            tip: fold.head,
            entries: Vec::new(),
            bytes: 0,
            document_bytes: fold.document_bytes,
        }
    }

    /// Entries so far.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What to append, and what it makes of the records.
    pub(super) fn into_parts(self) -> (Vec<Entry>, Results) {
        let results = Results {
            records: self.touched,
            document_bytes: self.document_bytes,
        };
        (self.entries, results)
    }

    /// Decides one push of the fold's own epoch. The answers hold once the entries are durable.
    pub(super) fn push(&mut self, waiting: &WaitingPush) -> Vec<ServerKind> {
        let channel = self.context.channel.as_str();
        let author = waiting.subscriber.author;
        let asker = Asker {
            author,
            principal: &waiting.subscriber.principal,
            rights: &*waiting.subscriber.rights,
        };
        let push = &waiting.push;
        if !self.has_room_for(author) {
            let hold = encode::hold(channel, ErrorCode::Overloaded, TABLE_FULL_RETRY_MS);
            return vec![hold];
        }
        // Not before: what the grant said when the push came may be over.
        let writable = waiting.may_write(self.context.channel);
        let mut row = self.row(author);
        let mut acked = None;
        let mut answers = Vec::new();
        for (n, item) in (push.first_n..).zip(&push.items) {
            let decide_again = n <= row.last && planted!(DuplicateDecidedAgain);
            if n <= row.last && !decide_again {
                acked = Some((n, acked.map_or(self.tip.seq, |(_, seq)| seq)));
                continue;
            }
            if !writable && waiting.tried_at == Some(self.tip) {
                // It may be in the log yet, from when it was allowed: once another entry is, it cannot.
                answers.push(encode::hold(
                    channel,
                    ErrorCode::Overloaded,
                    UNDECIDED_RETRY_MS,
                ));
                break;
            }
            if !writable {
                answers.push(encode::error(
                    channel,
                    ErrorCode::Forbidden,
                    false,
                    Some(n),
                    "no write grant for this channel",
                ));
                continue;
            }
            if self
                .context
                .lifetime
                .is_too_old(item.deadline_ms, self.context.ms)
            {
                answers.push(encode::error(
                    channel,
                    ErrorCode::Expired,
                    false,
                    Some(n),
                    "so long after its deadline nobody knows whether it was decided before",
                ));
                continue;
            }
            let wanted = (row.last + 1).max(push.low);
            if n != wanted && !decide_again && !planted!(GapAccepted) {
                answers.push(encode::need(channel, wanted, self.fold.head));
                break;
            }
            let listed = row.rejected.iter().filter(|(n, _)| *n >= push.low);
            if listed.count() >= REJECTIONS_MAX && !planted!(RejectionsUnbounded) {
                answers.push(encode::hold(
                    channel,
                    ErrorCode::RejectionsFull,
                    REJECTIONS_RETRY_MS,
                ));
                break;
            }
            let deadline_ms = self
                .context
                .lifetime
                .effective_deadline(item.deadline_ms, self.context.ms);
            let outcome = self
                .check_when(item, n, deadline_ms, &row)
                .and_then(|()| self.evaluate(item, &asker));
            let check = sized(&item.check);
            let decision = Decision {
                n,
                low: push.low,
                deadline_ms,
                check,
                outcome: &outcome,
            };
            decision.write(&mut row);
            self.log(EntryBody::Mutation {
                author,
                n,
                low: push.low,
                deadline_ms,
                schema: item.schema,
                check,
                trace: sized(&item.trace).map(Box::new),
                outcome,
            });
            acked = Some((n, self.tip.seq));
        }
        if self.rows.insert(author, row).is_none() && !self.is_in_table(author) {
            self.authors_new += 1;
        }
        answers.extend(acked.map(|(through, seq)| encode::ack(channel, through, seq)));
        answers
    }

    fn is_in_table(&self, author: Author) -> bool {
        self.fold.table.get(&author).is_some()
    }

    /// Whether the table takes this author: always one that it knows.
    fn has_room_for(&self, author: Author) -> bool {
        let is_known = self.is_in_table(author) || self.rows.contains_key(&author);
        is_known || self.fold.table.has_room_for(self.authors_new + 1)
    }

    /// A row as the next entry will find it: the first entry of this turn moves log time, and what that
    /// evicts is gone.
    fn row(&self, author: Author) -> TableRow {
        let evicts = !self.entries.is_empty();
        let is_there =
            |row: &&TableRow| !evicts || !self.context.lifetime.is_evicted(row, self.context.ms);
        self.rows
            .get(&author)
            .or_else(|| self.fold.table.get(&author).filter(is_there))
            .cloned()
            .unwrap_or_default()
    }

    fn log(&mut self, body: EntryBody) {
        let context = &self.context;
        let entry = tag::entry(&self.tip, self.tip.epoch, context.ms, context.run, body);
        self.tip = entry.cursor;
        self.bytes += entry.bytes();
        let known = self.fold.ring.changes();
        for key in keys(&entry) {
            self.changes
                .entry(key)
                .or_insert_with_key(|key| known.of(key))
                .note(entry.body.author().copied(), entry.cursor.seq);
        }
        self.entries.push(entry);
    }

    /// What is judged before the contents: whether it came in time, and what it depends on.
    fn check_when(
        &self,
        item: &Item,
        n: u64,
        deadline_ms: u64,
        row: &TableRow,
    ) -> Result<(), Rejection> {
        // A no-op does nothing: it only keeps the numbers without a gap.
        if item.noop {
            return Ok(());
        }
        if planted!(DeadlineNotJudged) {
            return Ok(());
        }
        if self
            .context
            .lifetime
            .is_expired(deadline_ms, self.context.ms)
        {
            return Err(Rejection::new(
                ErrorCode::Expired,
                "its deadline passed before it came",
            ));
        }
        if item.after >= n {
            return Err(Rejection::new(
                ErrorCode::Invalid,
                format!(
                    "it cannot depend on {}, which does not come before it",
                    item.after
                ),
            ));
        }
        if item.after > 0 && item.after <= row.forgotten {
            return Err(Rejection::new(
                ErrorCode::DepFailed,
                format!(
                    "it depends on {}, and how that ended is not known any more",
                    item.after
                ),
            ));
        }
        let after_failed = row.rejected.iter().any(|(n, _)| *n == item.after);
        if after_failed && !planted!(DependencyNotJudged) {
            return Err(Rejection::new(
                ErrorCode::DepFailed,
                format!("it depends on {}, which was rejected", item.after),
            ));
        }
        Ok(())
    }

    /// All changes of an item, or why none.
    fn evaluate(&mut self, item: &Item, asker: &Asker<'_>) -> Result<Ops, Rejection> {
        // It only keeps the numbers without a gap: whatever else it says is not looked at.
        if item.noop {
            return Ok(Ops::default());
        }
        let limits = &self.context.config.limits;
        check_changes(&item.changes, limits)?;
        check_preconditions(&item.pre, changes_bytes(&item.changes), limits)?;
        // Whether it holds tells what a record says.
        if !item.pre.is_empty() && !asker.rights.may_read(self.context.channel) {
            return Err(Rejection::new(
                ErrorCode::Forbidden,
                "preconditions need the right to read this channel",
            ));
        }
        let own = RefCell::new(Touched::new());
        let lookup = |collection: &str, id: &str| {
            let key = RecordKey::new(collection, id);
            if let Some(record) = own.borrow().get(&key) {
                return record.clone();
            }
            match self.touched.get(&key) {
                Some(record) => record.clone(),
                None => self.fold.document.record(collection, id).cloned(),
            }
        };
        let conditions = Conditions {
            lookup: &lookup,
            last_change: &|key| match self.changes.get(key) {
                Some(last) => *last,
                None => self.fold.ring.changes().of(key),
            },
            ring: &self.fold.ring,
            author: asker.author,
            compared_bytes_max: COMPARED_RECORDS_MAX * limits.record_bytes as usize,
        };
        if !planted!(PreconditionsNotJudged) {
            conditions.check(&item.pre)?;
        }
        let mut ops = OpsWriter::default();
        let (mut grown, mut shrunk) = (0, 0);
        for change in &item.changes {
            self.validate(&lookup, asker.principal, change)?;
            let Some(kind) = &change.kind else { continue };
            let (collection, id) = target(kind);
            let current = lookup(collection, id);
            let next = apply_change(current.as_ref(), kind, limits)?;
            shrunk += record_cost(collection, id, current.as_ref());
            grown += record_cost(collection, id, next.as_ref());
            ops.push(&to_op(kind, next.as_ref()));
            own.borrow_mut()
                .insert(RecordKey::new(collection, id), next);
        }
        let bytes = self.document_bytes + grown - shrunk;
        let bytes_max = self.context.config.document_bytes_max;
        if grown > shrunk && bytes > bytes_max {
            return Err(Rejection::new(
                ErrorCode::TooLarge,
                format!("the channel's records together would be over {bytes_max} bytes"),
            ));
        }
        self.document_bytes = bytes;
        // Not `append`, which builds the whole map anew for every mutation.
        self.touched.extend(own.into_inner());
        Ok(ops.finish())
    }

    fn validate(
        &self,
        lookup: &dyn Fn(&str, &str) -> Option<Record>,
        principal: &str,
        change: &Change,
    ) -> Result<(), Rejection> {
        let Context {
            channel, policy, ..
        } = &self.context;
        policy
            .validate(channel, &View::new(lookup), principal, change)
            // The application may build its rejection by hand: keep the wire's limit.
            .map_err(|rejection| Rejection::new(rejection.code, rejection.detail))
    }
}

/// A field that has a size, and counts as absent with another one: what is only carried refuses nothing.
fn sized<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}
