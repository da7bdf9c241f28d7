//! Decides pushed mutations against the fold: log entries and answers, nothing applied yet.
//!
//! Invariant: an item that fails leaves no trace in the state that the next one meets, except its
//! own row of the table.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tidewire_core::ChannelName;
use tidewire_core::document::change::{apply_change, check_changes, target, to_op};
use tidewire_core::document::{Record, RecordKey, Rejection};
use tidewire_core::wire::{Change, Cursor, ErrorCode, Field, Item, Op, OpKind, ServerKind};

use super::config::ChannelConfig;
use super::encode::{self, entry_bytes};
use super::fold::{Fold, decide, record_cost};
use super::input::Author;
use super::policy::{Policy, View};
use super::push::WaitingPush;
use super::tag;
use crate::broker::{Entry, EntryBody, RunId, TableRow};

/// Most rejections of one author that are listed at or above its `low`. At the limit nothing more is
/// evaluated for it (`hold`) until its pushes say that it has seen some.
const REJECTIONS_MAX: usize = 64;

/// How long an author with too many unseen rejections should wait.
const REJECTIONS_RETRY_MS: u32 = 1000;

type Touched = BTreeMap<RecordKey, Option<Record>>;

/// What stays the same for all pushes of a turn.
pub(super) struct Context<'a> {
    pub(super) channel: &'a ChannelName,
    pub(super) config: &'a ChannelConfig,
    pub(super) policy: &'a dyn Policy,
    pub(super) run: RunId,
    pub(super) ms: u64,
}

/// One turn: what the pushes so far would append.
pub(super) struct Evaluation<'a> {
    context: Context<'a>,
    fold: &'a Fold,
    touched: Touched,
    rows: BTreeMap<Author, TableRow>,
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
            rows: BTreeMap::new(),
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

    /// What to append.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Decides one push of the fold's own epoch. The answers hold once the entries are durable.
    pub(super) fn push(&mut self, waiting: &WaitingPush) -> Vec<ServerKind> {
        let channel = self.context.channel.as_str();
        let author = waiting.subscriber.author;
        let push = &waiting.push;
        let mut row = self.row(author);
        let mut acked = None;
        let mut answers = Vec::new();
        for (n, item) in (push.first_n..).zip(&push.items) {
            if n <= row.last {
                acked = Some((n, acked.map_or(self.fold.head.seq, |(_, seq)| seq)));
                continue;
            }
            if !waiting.writable {
                answers.push(encode::error(
                    channel,
                    ErrorCode::Forbidden,
                    false,
                    Some(n),
                    "no write grant for this channel",
                ));
                continue;
            }
            let wanted = (row.last + 1).max(push.low);
            if n != wanted {
                answers.push(encode::need(channel, wanted, self.fold.head));
                break;
            }
            let listed = row.rejected.iter().filter(|(n, _)| *n >= push.low);
            if listed.count() >= REJECTIONS_MAX {
                answers.push(encode::hold(
                    channel,
                    ErrorCode::RejectionsFull,
                    REJECTIONS_RETRY_MS,
                ));
                break;
            }
            if !item.pre.is_empty() || item.after != 0 {
                answers.push(encode::error(
                    channel,
                    ErrorCode::Unsupported,
                    false,
                    Some(n),
                    "this server does not offer preconditions and dependencies yet",
                ));
                break;
            }
            let outcome = self.evaluate(item, &waiting.subscriber.principal);
            decide(&mut row, n, push.low, &outcome);
            self.log(EntryBody::Mutation {
                author,
                n,
                low: push.low,
                outcome,
            });
            acked = Some((n, self.tip.seq));
        }
        self.rows.insert(author, row);
        answers.extend(acked.map(|(through, seq)| encode::ack(channel, through, seq)));
        answers
    }

    fn row(&self, author: Author) -> TableRow {
        self.rows
            .get(&author)
            .or_else(|| self.fold.table.get(&author))
            .cloned()
            .unwrap_or_default()
    }

    fn log(&mut self, body: EntryBody) {
        let context = &self.context;
        let entry = tag::entry(&self.tip, self.tip.epoch, context.ms, context.run, body);
        self.tip = entry.cursor;
        self.bytes += entry_bytes(&entry);
        self.entries.push(entry);
    }

    /// All changes of an item, or why none.
    fn evaluate(&mut self, item: &Item, principal: &str) -> Result<Vec<Op>, Rejection> {
        if item.noop {
            return if item.changes.is_empty() {
                Ok(Vec::new())
            } else {
                Err(Rejection::new(
                    ErrorCode::Invalid,
                    "a no-op cannot have changes",
                ))
            };
        }
        let limits = &self.context.config.limits;
        check_changes(&item.changes, limits)?;
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
        let mut ops = Vec::with_capacity(item.changes.len());
        let (mut grown, mut shrunk) = (0, 0);
        for change in &item.changes {
            self.validate(&lookup, principal, change)?;
            let Some(kind) = &change.kind else { continue };
            let (collection, id) = target(kind);
            let current = lookup(collection, id);
            let next = apply_change(current.as_ref(), kind, limits)?;
            shrunk += record_cost(collection, id, current.as_ref());
            grown += record_cost(collection, id, next.as_ref());
            ops.push(detached(to_op(kind, next.as_ref())));
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
        self.touched.append(&mut own.into_inner());
        Ok(ops)
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

/// Copies an op's values out of the network message that they point into: the log keeps them for long.
fn detached(mut op: Op) -> Op {
    let fields: &mut [Field] = match &mut op.kind {
        Some(OpKind::Put(put)) => &mut put.fields,
        Some(OpKind::Merge(merge)) => &mut merge.fields,
        Some(OpKind::Del(_) | OpKind::Clear(_)) | None => &mut [],
    };
    for field in fields {
        field.value = bytes::Bytes::copy_from_slice(&field.value);
    }
    op
}
