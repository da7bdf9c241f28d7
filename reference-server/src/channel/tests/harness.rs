//! A channel over a log, with outlets that tests can read and fill.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::document::{Document, Rejection, put_op};
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{
    Change, ChangeKind, Cursor, ErrorCode, Field, Inc, Item, Op, Ops, Push, Record, RecordRef,
    ServerKind, decode_server,
};

use crate::channel::fold::Fold;
use crate::channel::{
    Author, Channel, ChannelConfig, ChannelInput, ChannelOutput, Message, Outlet, OutletFull,
    PeerId, Policy, Subscriber, View, prove,
};
use crate::epoch_key::EpochKey;
use crate::log::{BrokerReply, BrokerRequest, Log, RunId};

pub(super) const CHANNEL: &str = "board:main";

/// An outlet with room for so many messages.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<(Vec<Bytes>, usize)>,
}

impl Inbox {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new((Vec::new(), usize::MAX)),
        })
    }

    /// From now on it takes `room` more messages.
    pub(super) fn set_room(&self, room: usize) {
        self.state.lock().unwrap().1 = room;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().unwrap().0.is_empty()
    }

    /// Takes the messages as they were handed over.
    pub(super) fn take_messages(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.state.lock().unwrap().0)
    }

    /// Takes all frames.
    pub(super) fn take(&self) -> Vec<ServerKind> {
        self.take_messages()
            .into_iter()
            .flat_map(|message| decode_server(message, usize::MAX).unwrap())
            .collect()
    }
}

impl Outlet for Inbox {
    fn try_send(&self, message: &Message) -> Result<(), OutletFull> {
        let mut state = self.state.lock().unwrap();
        if state.1 == 0 {
            return Err(OutletFull);
        }
        state.1 -= 1;
        state.0.push(message.proto().clone());
        Ok(())
    }
}

/// Starts with one record and refuses the value `"forbidden"`.
pub(super) struct TestPolicy;

impl Policy for TestPolicy {
    fn initial(&self, _: &ChannelName) -> Document {
        let mut document = Document::default();
        document.apply(&put_op(record("initial", &[("a", "1")])));
        document
    }

    fn validate(
        &self,
        _: &ChannelName,
        view: &View<'_>,
        _: &str,
        change: &Change,
    ) -> Result<(), Rejection> {
        match &change.kind {
            Some(ChangeKind::Set(set) | ChangeKind::Put(set))
                if set.fields.iter().any(|f| f.value == "\"forbidden\"") =>
            {
                Err(Rejection::new(ErrorCode::Refused, "not this value"))
            }
            Some(ChangeKind::Del(del)) if view.record("cards", &del.id).is_none() => {
                Err(Rejection::new(ErrorCode::Refused, "nothing to delete"))
            }
            _ => Ok(()),
        }
    }
}

/// One client's side.
pub(super) struct Client {
    pub(super) subscriber: Subscriber,
    pub(super) inbox: Arc<Inbox>,
}

impl Client {
    pub(super) fn new(conn: u64, author: u8) -> Self {
        let inbox = Inbox::new();
        Self {
            subscriber: Subscriber {
                conn: PeerId(conn),
                peer: conn,
                principal: format!("p{author}").into(),
                author: Author([author; 16]),
                outlet: inbox.clone(),
                rights: Arc::new(true),
            },
            inbox,
        }
    }

    /// Takes what the channel sent, presence left out.
    pub(super) fn take(&self) -> Vec<ServerKind> {
        let mut frames = self.inbox.take();
        frames.retain(|frame| !matches!(frame, ServerKind::Presence(_)));
        frames
    }
}

pub(super) struct Harness {
    pub(super) channel: Channel,
    pub(super) config: ChannelConfig,
    pub(super) log: Log,
    pub(super) now: Now,
    /// What the broker was asked.
    pub(super) requests: Vec<BrokerRequest>,
    /// Answers to give instead of the log's, first come first served.
    pub(super) replies: Vec<BrokerReply>,
    pub(super) closed: Vec<(PeerId, ErrorCode)>,
    /// What other nodes hear.
    pub(super) published: Vec<bytes::Bytes>,
    pub(super) wait: Option<MonoTime>,
    /// How far the broker's clock is ahead of the node's.
    pub(super) broker_ahead_ms: i64,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with(ChannelConfig::default())
    }

    pub(super) fn with(config: ChannelConfig) -> Self {
        Self::over(Log::new(RunId(1)), config)
    }

    /// A node that starts on an existing log.
    pub(super) fn over(log: Log, mut config: ChannelConfig) -> Self {
        if config.epoch_keys.is_empty() {
            config.epoch_keys = [EpochKey::new([1; 32])].into();
        }
        let name = CHANNEL.parse().unwrap();
        Self {
            channel: Channel::new(name, config.clone(), Arc::new(TestPolicy), 7),
            config,
            log,
            now: Now {
                mono: MonoTime(1000),
                unix: UnixTime(1_795_000_000_000),
            },
            requests: Vec::new(),
            replies: Vec::new(),
            closed: Vec::new(),
            published: Vec::new(),
            wait: None,
            broker_ahead_ms: 0,
        }
    }

    pub(super) fn input(&mut self, input: ChannelInput) {
        self.channel.handle_input(self.now, input);
    }

    /// Answers broker requests until the channel waits.
    pub(super) fn run(&mut self) {
        while let Some(request) = self.poll() {
            let reply = if self.replies.is_empty() {
                self.broker(request)
            } else {
                self.replies.remove(0)
            };
            self.input(ChannelInput::Broker(reply));
        }
    }

    /// What the node has folded.
    pub(super) fn fold(&self) -> &Fold {
        self.channel.fold.as_ref().unwrap()
    }

    /// The log's answer to a request.
    pub(super) fn broker(&mut self, request: BrokerRequest) -> BrokerReply {
        self.log.handle(request, self.clock())
    }

    /// The broker's clock.
    pub(super) fn clock(&self) -> UnixTime {
        UnixTime(self.now.unix.0.saturating_add_signed(self.broker_ahead_ms))
    }

    /// Polls until the channel asks the broker (the answer is then due) or waits.
    pub(super) fn poll(&mut self) -> Option<BrokerRequest> {
        loop {
            match self.channel.poll_output() {
                ChannelOutput::Broker(request) => {
                    self.requests.push(request.clone());
                    assert!(self.requests.len() < 10_000, "the channel spins");
                    return Some(request);
                }
                ChannelOutput::Publish(message) => self.published.push(message),
                ChannelOutput::Close { conn, code } => self.closed.push((conn, code)),
                ChannelOutput::Wait(until) => {
                    assert!(
                        until.is_none_or(|at| at > self.now.mono),
                        "a wait in the past"
                    );
                    self.wait = until;
                    return None;
                }
            }
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, millis: u64) {
        self.now.mono.0 += millis;
        self.now.unix.0 += millis;
        self.input(ChannelInput::Timeout);
        self.run();
    }

    /// With the proof that a node gave out with this epoch.
    pub(super) fn subscribe(&mut self, client: &Client, have: Option<Cursor>, max_epoch: u64) {
        let proof = prove(&self.config.epoch_keys, CHANNEL, max_epoch);
        self.subscribe_with(client, have, max_epoch, proof);
    }

    pub(super) fn subscribe_with(
        &mut self,
        client: &Client,
        have: Option<Cursor>,
        max_epoch: u64,
        proof: Bytes,
    ) {
        self.input(ChannelInput::Subscribe {
            subscriber: client.subscriber.clone(),
            have,
            max_epoch,
            proof,
        });
        self.run();
    }

    /// A client that has subscribed and read its answer.
    pub(super) fn join(&mut self, conn: u64, author: u8) -> Client {
        let client = Client::new(conn, author);
        self.subscribe(&client, None, 0);
        client.inbox.take();
        client
    }

    /// Hands in a push without polling.
    pub(super) fn enqueue(&mut self, client: &Client, first_n: u64, low: u64, items: Vec<Item>) {
        let epoch = self.channel.head().epoch;
        self.enqueue_at(client, epoch, first_n, low, items);
    }

    pub(super) fn enqueue_at(
        &mut self,
        client: &Client,
        epoch: u64,
        first_n: u64,
        low: u64,
        items: Vec<Item>,
    ) {
        self.input(ChannelInput::Push {
            subscriber: client.subscriber.clone(),
            push: Push {
                channel: CHANNEL.into(),
                epoch,
                first_n,
                low,
                items,
            },
        });
    }

    pub(super) fn push(&mut self, client: &Client, first_n: u64, low: u64, items: Vec<Item>) {
        self.enqueue(client, first_n, low, items);
        self.run();
    }

    pub(super) fn appends(&self) -> usize {
        self.requests
            .iter()
            .filter(|request| matches!(request, BrokerRequest::Append { .. }))
            .count()
    }

    /// The document, from the log alone.
    pub(super) fn document(&self) -> Document {
        let mut document = Document::default();
        for entry in self.log.entries() {
            match &entry.body {
                crate::log::EntryBody::Deletion => document = Document::default(),
                body => body.ops().into_iter().flat_map(Ops::to_vec).for_each(|op| {
                    document.apply(&op);
                }),
            }
        }
        document
    }

    pub(super) fn field(&self, id: &str, name: &str) -> Option<String> {
        let document = self.document();
        let value = document.record("cards", id)?.field(name)?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }
}

pub(super) fn record(id: &str, fields: &[(&str, &str)]) -> Record {
    Record {
        collection: "cards".into(),
        id: id.into(),
        fields: fields
            .iter()
            .map(|(name, value)| Field {
                name: (*name).into(),
                value: Bytes::copy_from_slice(value.as_bytes()),
                ..Field::default()
            })
            .collect(),
        ..Record::default()
    }
}

pub(super) fn item(changes: Vec<ChangeKind>) -> Item {
    Item {
        changes: changes
            .into_iter()
            .map(|kind| Change { kind: Some(kind) })
            .collect(),
        ..Item::default()
    }
}

pub(super) fn put(id: &str, field: &str, value: &str) -> ChangeKind {
    ChangeKind::Put(record(id, &[(field, value)]))
}

pub(super) fn set(id: &str, field: &str, value: &str) -> ChangeKind {
    ChangeKind::Set(record(id, &[(field, value)]))
}

pub(super) fn inc(id: &str, field: &str, by: i64) -> ChangeKind {
    ChangeKind::Inc(Inc {
        collection: "cards".into(),
        id: id.into(),
        field: field.into(),
        by,
    })
}

pub(super) fn del(id: &str) -> ChangeKind {
    ChangeKind::Del(RecordRef {
        collection: "cards".into(),
        id: id.into(),
    })
}

pub(super) fn put_items(range: std::ops::Range<u64>) -> Vec<Item> {
    range
        .map(|n| item(vec![put(&format!("r{n}"), "v", &n.to_string())]))
        .collect()
}

/// What a client's document is after these frames. Panics where a client would lose its place.
#[derive(Default)]
pub(super) struct Replica {
    pub(super) document: Document,
    pub(super) cursor: Cursor,
    pub(super) parts: Document,
    pub(super) coming: Option<Cursor>,
}

impl Replica {
    pub(super) fn feed(&mut self, frames: &[ServerKind]) {
        for frame in frames {
            match frame {
                ServerKind::SnapshotBegin(begin) => {
                    self.parts = Document::default();
                    self.coming = begin.cursor;
                }
                ServerKind::SnapshotPart(part) => {
                    for record in &part.records {
                        self.parts.apply(&put_op(record.clone()));
                    }
                }
                ServerKind::SnapshotEnd(end) => {
                    self.document = std::mem::take(&mut self.parts);
                    self.cursor = self.coming.take().unwrap();
                    assert_eq!(end.records, self.document.len() as u64);
                    assert_eq!(end.digest, self.document.digest());
                }
                ServerKind::Patch(patch) => {
                    assert_eq!(
                        (patch.from, patch.from_tag),
                        (self.cursor.seq, self.cursor.tag)
                    );
                    self.cursor = Cursor::new(patch.epoch, patch.to, patch.to_tag);
                    for op in &patch.ops {
                        self.document.apply(op);
                    }
                }
                _ => {}
            }
        }
    }
}

pub(super) fn ops_of(frames: &[ServerKind]) -> Vec<Op> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            ServerKind::Patch(patch) => Some(patch.ops.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}
