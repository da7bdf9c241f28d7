//! A server for one client, as simple as the protocol allows: its logs are truthful, its manners are not.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use tidewire_core::document::change::{apply_change, check_changes, target, to_op};
use tidewire_core::document::{Document, put_op};
use tidewire_core::wire::{
    Ack, ChangeKind, ClientKind, Cursor, ErrorCode, ErrorFrame, Head, Heartbeat, Hold, Item, Known,
    Lagged, Limits, Mid, Need, Op, OpKind, Patch, Pong, Push, Rejected, Resume, ServerKind,
    SnapshotBegin, SnapshotEnd, SnapshotPart, StaleEpoch, Subscribe, Welcome, server_message,
};

use crate::SameHasher;
use crate::any;
use crate::script::Script;

pub(super) const AUTHOR: [u8; 16] = [1; 16];

/// What a log folds to at one of its entries, and the entry.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) cursor: Cursor,
    pub(super) document: Document,
    /// The client's own mutations: code, 0 = committed.
    pub(super) decided: BTreeMap<u64, u32>,
    ops: Vec<Op>,
    mids: Vec<Mid>,
}

impl State {
    fn last(&self) -> u64 {
        self.decided.last_key_value().map_or(0, |(n, _)| *n)
    }

    fn known(&self) -> Known {
        let rejected = self.decided.iter().filter(|(_, code)| **code != 0);
        Known {
            last: self.last(),
            rejected: rejected
                .map(|(&n, &code)| Rejected {
                    n,
                    code,
                    detail: "no".into(),
                })
                .collect(),
            ..Known::default()
        }
    }
}

#[derive(Debug)]
struct Log {
    /// From the empty log on; the last one is the head.
    line: Vec<State>,
    /// Of every line there ever was.
    seen: HashMap<Cursor, State, SameHasher>,
}

impl Log {
    fn head(&self) -> &State {
        self.line.last().expect("the empty log is a state")
    }

    fn at(&self, cursor: Cursor) -> Option<usize> {
        let seq = usize::try_from(cursor.seq).ok()?;
        (self.line.get(seq)?.cursor == cursor).then_some(seq)
    }
}

#[derive(Debug, Default)]
pub(super) struct Server {
    logs: BTreeMap<String, Log>,
    subscribed: BTreeSet<String>,
    /// Messages on their way to the client.
    pub(super) down: VecDeque<Bytes>,
    /// Own mutations that were refused without an entry.
    pub(super) refused: BTreeSet<(String, u64)>,
    tags: u64,
}

impl Server {
    /// A new link: nobody is subscribed on it.
    pub(super) fn open_link(&mut self) {
        self.subscribed.clear();
        self.down.clear();
    }

    /// What a channel is at a cursor that it once had.
    pub(super) fn state(&self, channel: &str, cursor: Cursor) -> Option<&State> {
        self.logs.get(channel)?.seen.get(&cursor)
    }

    pub(super) fn head(&self, channel: &str) -> Option<&State> {
        self.logs.get(channel).map(Log::head)
    }

    fn send(&mut self, frame: ServerKind) {
        self.down.push_back(server_message(frame));
    }

    pub(super) fn handle(&mut self, frame: ClientKind, now_ms: u64, script: &mut Script<'_>) {
        match frame {
            ClientKind::Hello(_) => self.send(ServerKind::Welcome(Welcome {
                session: Bytes::new(),
                principal: "ana".into(),
                author: Bytes::from_static(&AUTHOR),
                server_ms: now_ms,
                expires_ms: if script.below(8) == 0 {
                    now_ms + 60_000
                } else {
                    0
                },
                limits: Some(Limits::DEFAULT),
                heartbeat_ms: 25_000,
                flags: 0,
                ..Welcome::default()
            })),
            ClientKind::Subscribe(subscribe) => self.handle_subscribe(subscribe, script),
            ClientKind::Unsubscribe(unsubscribe) => {
                self.subscribed.remove(&unsubscribe.channel);
            }
            ClientKind::Fetch(fetch) => {
                let Some(log) = self.logs.get(&fetch.channel) else {
                    return;
                };
                let held = log.head().cursor.epoch == fetch.epoch && script.below(4) != 0;
                let from = usize::try_from(fetch.after).unwrap_or(usize::MAX);
                let to = usize::try_from(fetch.through).unwrap_or(usize::MAX);
                let to = to.min(log.line.len() - 1);
                if held && from < to {
                    self.send_range(&fetch.channel, from, to, script);
                } else {
                    self.send(ServerKind::Lagged(Lagged {
                        channel: fetch.channel,
                    }));
                }
            }
            ClientKind::Push(push) => self.handle_push(push, script),
            ClientKind::Ping(ping) => self.send(ServerKind::Pong(Pong { t: ping.t })),
            _ => {}
        }
    }

    fn log(&mut self, channel: &str) -> &mut Log {
        self.logs.entry(channel.into()).or_insert_with(|| Log {
            line: vec![State::default()],
            seen: HashMap::default(),
        })
    }

    fn append(&mut self, channel: &str, epoch: u64, ops: Vec<Op>, own: Option<(u64, u32)>) {
        self.tags += 1;
        let tag = self.tags * 7919 % (1 << 53);
        let log = self.log(channel);
        let head = log.head();
        let mut next = State {
            cursor: Cursor::new(epoch, head.cursor.seq + 1, tag),
            mids: Vec::new(),
            ..head.clone()
        };
        for op in &ops {
            next.document.apply(op);
        }
        if let Some((n, code)) = own {
            next.decided.insert(n, code);
            next.mids.push(Mid {
                author: Bytes::from_static(&AUTHOR),
                n,
                code,
                detail: "no".into(),
                ..Mid::default()
            });
        }
        next.ops = ops;
        log.seen.insert(next.cursor, next.clone());
        log.line.push(next);
        if self.subscribed.contains(channel) {
            let head = self.log(channel).line.len() - 1;
            self.send_patch(channel, head - 1, head);
        }
    }

    /// Somebody else changes something.
    pub(super) fn foreign(&mut self, channel: &str, script: &mut Script<'_>) {
        let Some(log) = self.logs.get(channel) else {
            return;
        };
        let epoch = log.head().cursor.epoch;
        if epoch > 0 {
            let op = any::small_op(script);
            self.append(channel, epoch, vec![op], None);
        }
    }

    /// An epoch begins, perhaps after entries were lost.
    pub(super) fn open_epoch(&mut self, channel: &str, above: u64, lost: usize) {
        let log = self.log(channel);
        let epoch = log.head().cursor.epoch.max(above) + 1;
        let kept = log.line.len().saturating_sub(lost).max(1);
        log.line.truncate(kept);
        self.append(channel, epoch, Vec::new(), None);
    }

    fn handle_subscribe(&mut self, subscribe: Subscribe, script: &mut Script<'_>) {
        let channel = subscribe.channel;
        if script.below(32) == 31 {
            self.subscribed.remove(&channel);
            return self.send(ServerKind::Error(ErrorFrame {
                code: ErrorCode::Forbidden as u32,
                channel: Some(channel),
                ..ErrorFrame::default()
            }));
        }
        self.subscribed.remove(&channel);
        let epoch = self.log(&channel).head().cursor.epoch;
        if epoch == 0 || epoch < subscribe.max_epoch {
            self.open_epoch(&channel, subscribe.max_epoch, 0);
        }
        let log = self.log(&channel);
        let head = log.line.len() - 1;
        let at = subscribe.have.and_then(|have| log.at(have));
        let (head_state, floor) = (log.head().clone(), subscribe.have);
        if let (Some(at), false) = (at, script.below(8) == 7) {
            let from = log.line[at].cursor;
            self.send(ServerKind::Resume(Resume {
                channel: channel.clone(),
                from: Some(from),
                head: Some(head_state.cursor),
                known: Some(head_state.known()),
                ..Resume::default()
            }));
            if at < head {
                self.send_range(&channel, at, head, script);
            }
        } else {
            // A snapshot may be older than the head, but not than what the client has.
            let older = &log.line[head.saturating_sub(script.below(3)).max(1)];
            let fits = older.cursor.epoch == head_state.cursor.epoch
                && floor.is_none_or(|have| have.order() <= older.cursor.order());
            let state = if fits { older.clone() } else { head_state };
            let at = usize::try_from(state.cursor.seq).expect("a seq of this log");
            self.send_snapshot(&channel, &state);
            if at < head {
                self.send_range(&channel, at, head, script);
            }
        }
        self.subscribed.insert(channel);
    }

    fn send_snapshot(&mut self, channel: &str, state: &State) {
        self.send(ServerKind::SnapshotBegin(SnapshotBegin {
            channel: channel.into(),
            cursor: Some(state.cursor),
            known: Some(state.known()),
            head: Some(state.cursor),
            ..SnapshotBegin::default()
        }));
        for (collection, id, record) in state.document.records() {
            self.send(ServerKind::SnapshotPart(SnapshotPart {
                channel: channel.into(),
                records: vec![record.to_wire(collection, id)],
            }));
        }
        self.send(ServerKind::SnapshotEnd(SnapshotEnd {
            channel: channel.into(),
            cursor: Some(state.cursor),
            records: state.document.len() as u64,
            digest: state.document.digest(),
        }));
    }

    /// Patches from one place of the line to another, each of one epoch.
    fn send_range(&mut self, channel: &str, from: usize, to: usize, script: &mut Script<'_>) {
        let mut at = from;
        while at < to {
            let line = &self.log(channel).line;
            let epoch = line[at + 1].cursor.epoch;
            let mut end = (at + 1 + script.below(3)).min(to);
            while line[end].cursor.epoch != epoch {
                end -= 1;
            }
            self.send_patch(channel, at, end);
            at = end;
        }
    }

    fn send_patch(&mut self, channel: &str, from: usize, to: usize) {
        let line = &self.log(channel).line;
        let (start, end) = (line[from].cursor, line[to].cursor);
        let entries = &line[from + 1..=to];
        let patch = Patch {
            channel: channel.into(),
            epoch: end.epoch,
            from: start.seq,
            from_tag: start.tag,
            to: end.seq,
            to_tag: end.tag,
            ms: 1,
            ops: entries.iter().flat_map(|e| e.ops.clone()).collect(),
            mids: entries.iter().flat_map(|e| e.mids.clone()).collect(),
        };
        self.send(ServerKind::Patch(patch));
    }

    fn handle_push(&mut self, push: Push, script: &mut Script<'_>) {
        let channel = push.channel;
        let head = self.log(&channel).head();
        let epoch = head.cursor.epoch;
        if push.epoch != epoch {
            return self.send(ServerKind::StaleEpoch(StaleEpoch { channel, epoch }));
        }
        let mood = script.below(16);
        if mood == 15 {
            return self.send(ServerKind::Hold(Hold {
                channel,
                code: ErrorCode::Overloaded as u32,
                retry_ms: 500,
            }));
        }
        let mut acked = None;
        for (n, item) in (push.first_n..).zip(push.items) {
            let last = self.log(&channel).head().last();
            if n <= last {
                acked = Some(n);
                continue;
            }
            if mood == 14 {
                self.refused.insert((channel.clone(), n));
                self.send(ServerKind::Error(ErrorFrame {
                    code: ErrorCode::Forbidden as u32,
                    channel: Some(channel.clone()),
                    n: Some(n),
                    ..ErrorFrame::default()
                }));
                continue;
            }
            let wanted = (last + 1).max(push.low);
            if n != wanted {
                let cursor = Some(self.log(&channel).head().cursor);
                self.send(ServerKind::Need(Need {
                    channel: channel.clone(),
                    n: wanted,
                    cursor,
                }));
                break;
            }
            let (ops, code) = self.decide(&channel, &item, mood == 13);
            self.append(&channel, epoch, ops, Some((n, code)));
            acked = Some(n);
        }
        if let Some(through) = acked {
            let seq = self.log(&channel).head().cursor.seq;
            self.send(ServerKind::Ack(Ack {
                channel,
                through,
                seq,
            }));
        }
    }

    fn decide(&mut self, channel: &str, item: &Item, refuse: bool) -> (Vec<Op>, u32) {
        if item.noop {
            return (Vec::new(), 0);
        }
        if refuse {
            return (Vec::new(), ErrorCode::Conflict as u32);
        }
        check_changes(&item.changes, &Limits::DEFAULT).expect("the client checks its changes");
        let mut document = self.log(channel).head().document.clone();
        let mut ops = Vec::new();
        for kind in item
            .changes
            .iter()
            .filter_map(|change| change.kind.as_ref())
        {
            match apply(&mut document, kind) {
                Ok(op) => ops.push(op),
                Err(code) => return (Vec::new(), code as u32),
            }
        }
        (ops, 0)
    }

    /// Heads of all channels.
    pub(super) fn heartbeat(&mut self) {
        let heads = self.logs.iter().map(|(channel, log)| Head {
            channel: channel.clone(),
            cursor: Some(log.head().cursor),
        });
        let heads = heads.collect();
        self.send(ServerKind::Heartbeat(Heartbeat {
            heads,
            server_ms: 1,
        }));
    }
}

/// Does one change to a document; the op that says so.
pub(super) fn apply(document: &mut Document, kind: &ChangeKind) -> Result<Op, ErrorCode> {
    let (collection, id) = target(kind);
    let next = apply_change(document.record(collection, id), kind, &Limits::DEFAULT)
        .map_err(|rejection| rejection.code)?;
    document.replace(collection, id, next.clone());
    // Whole records: another way to the same result than the real server's.
    Ok(match next {
        Some(record) => put_op(record.to_wire(collection, id)),
        None => match to_op(kind, None) {
            op @ Op {
                kind: Some(OpKind::Del(_)),
            } => op,
            _ => unreachable!("only a del leaves no record"),
        },
    })
}
