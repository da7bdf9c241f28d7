//! The server's channel logic: two nodes on one log whose answers come late, fail and conflict; readers
//! with little room; pushes that are repeated, out of order and senseless.
//!
//! What must hold: nothing panics, nothing spins; entries are contiguous and are what their items could
//! become there; nothing well-behaved is in the log twice; every replica is the fold of the log; and in
//! the end all of them are at its head.

mod reader;
mod truth;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::document::{Document, Rejection, put_op};
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{Change, ChangeKind, ErrorCode, Item, Push};
use tidewire_server::EpochKey;
use tidewire_server::broker::{BrokerReply, BrokerRequest, Log, RunId};
use tidewire_server::channel::{
    Channel, ChannelConfig, ChannelInput, ChannelOutput, Lag, PeerId, Policy, Subscriber, View,
    prove,
};

use self::reader::Reader;
use self::truth::Truth;
use crate::any;
use crate::script::Script;

const STEPS_MAX: usize = 300;
/// Outputs of one input: what all readers and requests can give.
const OUTPUTS_MAX: usize = 200;
/// Pushes nonsense; the others keep to the protocol.
const HOSTILE: usize = 3;
const CHANNEL: &str = "board:a";
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut world = World::new(&mut script);
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        world.step(&mut script);
    }
    world.calm_down();
}

/// A log begins with one record, and only what is there may be deleted.
struct Rules;

impl Policy for Rules {
    fn initial(&self, _: &ChannelName) -> Document {
        let mut document = Document::default();
        document.apply(&put_op(any::record_named("c", "a")));
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
            Some(ChangeKind::Del(del)) if view.record(&del.collection, &del.id).is_none() => {
                Err(Rejection::new(ErrorCode::Refused, "nothing to delete"))
            }
            _ => Ok(()),
        }
    }
}

/// What claims are proven with.
fn keys() -> Arc<[EpochKey]> {
    [EpochKey::new([1; 32])].into()
}

struct Node {
    channel: Channel,
    /// What it asked the broker, who has not answered.
    request: Option<BrokerRequest>,
    wait: Option<MonoTime>,
}

struct World {
    now: Now,
    log: Log,
    /// The log as it once was: what a broker that loses its tail falls back to.
    earlier: Log,
    runs: u64,
    truth: Truth,
    nodes: [Node; 2],
    readers: Vec<Reader>,
}

impl World {
    fn new(script: &mut Script<'_>) -> Self {
        let setting = script.byte();
        let config = ChannelConfig {
            history: 8,
            snapshot_entries: 6,
            lag: [Lag::Resync, Lag::Conflate][usize::from(setting & 1)],
            ttl_max: Duration::from_secs(600),
            retention: Duration::from_secs(3600),
            epoch_keys: keys(),
            ..ChannelConfig::default()
        };
        let node = |seed| Node {
            channel: Channel::new(
                CHANNEL.parse().expect("a legal name"),
                config.clone(),
                Arc::new(Rules),
                seed,
            ),
            request: None,
            wait: None,
        };
        let mut log = Log::new(RunId(1));
        if setting & 2 == 2 {
            log.set_part_entries_max(3);
        }
        Self {
            now: Now {
                mono: MonoTime(1000),
                unix: UnixTime(1_800_000_000_000),
            },
            earlier: log.clone(),
            log,
            runs: 1,
            truth: Truth::default(),
            nodes: [node(1), node(2)],
            readers: (1..=4).map(Reader::new).collect(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let who = script.below(4);
        match script.below(32) {
            0..5 => self.push(who % HOSTILE, script),
            5 => {
                let push = Push {
                    channel: CHANNEL.into(),
                    ..any::push(script)
                };
                self.hand_in(HOSTILE, push, script.below(8) != 7);
            }
            6 => {
                let epoch = self.readers[HOSTILE].announced;
                let push = Push {
                    channel: CHANNEL.into(),
                    epoch,
                    ..any::push(script)
                };
                self.hand_in(HOSTILE, push, true);
            }
            7 | 8 => self.subscribe(who, script.below(2)),
            9 => {
                let max_epoch = match script.flag() {
                    true => self.log.head().epoch + u64::from(script.byte()),
                    false => script.number(),
                };
                // What it has read, or what it makes up.
                let proof = match script.flag() {
                    true => prove(&keys(), CHANNEL, self.log.head().epoch),
                    false => Bytes::copy_from_slice(script.bytes(17)),
                };
                let subscriber = self.readers[HOSTILE].subscriber.clone();
                if self.readers[HOSTILE].node != 0 {
                    self.unsubscribe(HOSTILE);
                }
                self.readers[HOSTILE].ask(0);
                let have = script.flag().then(|| any::cursor(script));
                self.input(
                    0,
                    ChannelInput::Subscribe {
                        subscriber,
                        have,
                        max_epoch,
                        proof,
                    },
                );
            }
            10 => self.unsubscribe(who),
            11..14 => {
                let reader = &self.readers[who];
                reader.inbox.set_room(script.below(6));
                let (node, conn) = (reader.node, reader.subscriber.conn);
                self.input(node, ChannelInput::Drained { conn });
            }
            14 => {
                let (node, conn) = (self.readers[who].node, self.readers[who].subscriber.conn);
                let data = script.flag().then(|| any::value(script));
                self.input(node, ChannelInput::SetPresence { conn, data });
            }
            15 => {
                let reader = &self.readers[who];
                let fetch = ChannelInput::Fetch {
                    conn: reader.subscriber.conn,
                    epoch: reader.announced,
                    after: reader.cursor.seq.saturating_sub(script.byte().into()),
                    through: self.log.head().seq + u64::from(script.byte() / 64),
                };
                self.input(reader.node, fetch);
            }
            16..24 => self.answer(script.below(2), script.byte() / 16),
            24 => self.input(script.below(2), ChannelInput::Woken),
            25..28 => {
                let ms = match script.below(8) {
                    7 => u64::from(script.byte()) * 60_000,
                    _ => u64::from(script.byte()) * 50,
                };
                self.pass(ms);
            }
            28 => {
                self.runs += 1;
                self.log.set_run(RunId(self.runs));
            }
            29 => {
                self.runs += 1;
                self.log = self.earlier.clone();
                self.log.set_run(RunId(self.runs));
                self.truth.shrink(&self.log);
            }
            30 => self.earlier = self.log.clone(),
            _ if script.byte() > 200 => self.input(0, ChannelInput::Delete),
            _ => {}
        }
        self.read();
        for who in 0..self.readers.len() {
            if self.readers[who].lost && script.flag() {
                let node = self.readers[who].node;
                self.subscribe(who, node);
            }
        }
    }

    fn subscribe(&mut self, who: usize, node: usize) {
        if self.readers[who].node != node {
            self.unsubscribe(who);
        }
        let reader = &mut self.readers[who];
        reader.ask(node);
        let input = ChannelInput::Subscribe {
            subscriber: reader.subscriber.clone(),
            have: (reader.cursor.seq > 0).then_some(reader.cursor),
            max_epoch: reader.max_epoch,
            proof: prove(&keys(), CHANNEL, reader.max_epoch),
        };
        self.input(node, input);
    }

    fn unsubscribe(&mut self, who: usize) {
        let reader = &mut self.readers[who];
        reader.lost = true;
        let (node, conn) = (reader.node, reader.subscriber.conn);
        self.input(
            node,
            ChannelInput::Unsubscribe {
                conn,
                cleanly: true,
            },
        );
        // What is on its way belongs to a stream that is over.
        self.readers[who].read(&self.truth);
    }

    /// Some that were pushed before, some that were not, contiguous from a number at or above `low`.
    fn push(&mut self, who: usize, script: &mut Script<'_>) {
        let now = self.now.unix.0;
        let reader = &mut self.readers[who];
        if reader.announced == 0 {
            return;
        }
        for _ in 0..script.below(3) {
            let n = reader.made.len() as u64 + 1;
            let mut item = Item {
                changes: (0..=script.below(2))
                    .map(|_| any::small_change(script))
                    .collect(),
                deadline_ms: now + 1 + u64::from(script.byte()) * 2_000,
                ..Item::default()
            };
            match script.below(8) {
                0 => item
                    .pre
                    .push(any::small_precondition(script, reader.cursor)),
                1 => item.after = u64::from(script.byte()) % n,
                2 => {
                    item.noop = true;
                    item.changes.clear();
                }
                _ => {}
            }
            let author = reader.subscriber.author;
            self.truth.asked.insert((author, n), item.clone());
            reader.made.push(item);
        }
        let low = (reader.known + 1).min(reader.made.len() as u64 + 1);
        let first = low.saturating_sub(1) + script.below(2) as u64;
        let first = usize::try_from(first).expect("few");
        let items: Vec<Item> = reader.made.iter().skip(first).cloned().collect();
        let first_n = first as u64 + 1;
        let push = Push {
            channel: CHANNEL.into(),
            epoch: reader.announced,
            first_n,
            low: low.min(first_n),
            items,
        };
        self.hand_in(who, push, script.below(16) != 15);
    }

    fn hand_in(&mut self, who: usize, push: Push, writable: bool) {
        let reader = &self.readers[who];
        let input = ChannelInput::Push {
            subscriber: Subscriber {
                rights: Arc::new(writable),
                ..reader.subscriber.clone()
            },
            push,
        };
        self.input(reader.node, input);
    }

    /// The broker answers a node, more or less well.
    fn answer(&mut self, node: usize, mood: u8) {
        let Some(request) = self.nodes[node].request.take() else {
            return;
        };
        let failed = BrokerReply::Failed {
            detail: "it is tired".into(),
        };
        let reply = match mood {
            0 => failed,
            1 => {
                let _ = self.do_it(request);
                failed
            }
            2 if matches!(request, BrokerRequest::Append { .. }) => BrokerReply::Conflict,
            3 if matches!(request, BrokerRequest::Read { .. }) => BrokerReply::Trimmed,
            4 if !matches!(request, BrokerRequest::PutSnapshot { .. }) => {
                BrokerReply::SnapshotStored
            }
            _ => self.do_it(request),
        };
        self.input(node, ChannelInput::Broker(reply));
    }

    /// The broker answers both nodes, whatever they ask.
    fn answer_all(&mut self) {
        for node in 0..self.nodes.len() {
            for _ in 0..40 {
                self.answer(node, u8::MAX);
            }
        }
    }

    fn do_it(&mut self, request: BrokerRequest) -> BrokerReply {
        let reply = self.log.handle(request, self.now.unix);
        self.truth.grow(&self.log);
        reply
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono.0 += ms;
        self.now.unix.0 += ms;
        for node in 0..self.nodes.len() {
            self.input(node, ChannelInput::Timeout);
        }
    }

    fn input(&mut self, node: usize, input: ChannelInput) {
        let (now, node) = (self.now, &mut self.nodes[node]);
        node.channel.handle_input(now, input);
        for _ in 0..OUTPUTS_MAX {
            match node.channel.poll_output() {
                ChannelOutput::Broker(request) => {
                    assert!(
                        node.request.replace(request).is_none(),
                        "two requests at a time"
                    );
                }
                ChannelOutput::Publish(_) => panic!("it shares its broker with nobody"),
                ChannelOutput::Close { conn, .. } => {
                    let reader = self.readers.iter_mut().find(|r| r.subscriber.conn == conn);
                    reader.expect("a known connection").lost = true;
                    node.channel.handle_input(
                        now,
                        ChannelInput::Unsubscribe {
                            conn,
                            cleanly: true,
                        },
                    );
                }
                ChannelOutput::Wait(until) => {
                    assert!(
                        until.is_none_or(|at| at > now.mono),
                        "it waits for the past"
                    );
                    node.wait = until;
                    return;
                }
            }
        }
        panic!("more than {OUTPUTS_MAX} outputs for one input");
    }

    fn read(&mut self) {
        for reader in &mut self.readers {
            reader.read(&self.truth);
        }
    }

    /// Nothing fails any more, and everybody reads: all have to come to the head.
    fn calm_down(&mut self) {
        // From now on it claims no more than it has seen.
        let hostile = &mut self.readers[HOSTILE];
        hostile.max_epoch = hostile.cursor.epoch;
        for round in 0..60 {
            for node in 0..self.nodes.len() {
                self.input(node, ChannelInput::Woken);
            }
            self.answer_all();
            for who in 0..self.readers.len() {
                let reader = &self.readers[who];
                reader.inbox.set_room(usize::MAX);
                let (node, conn) = (reader.node, reader.subscriber.conn);
                if reader.lost || (reader.asked && round == 30) {
                    self.subscribe(who, node);
                } else {
                    self.input(node, ChannelInput::Drained { conn });
                }
            }
            // Before time passes: who is not answered within 5 s is told to ask again.
            self.answer_all();
            self.read();
            self.pass(11_000);
        }
        let head = self.log.head();
        for reader in &self.readers {
            assert!(
                reader.cursor == head && !reader.lost,
                "{:?} stays at {:?}, the head is {head:?}",
                PeerId(reader.subscriber.conn.0),
                reader.cursor
            );
        }
    }
}
