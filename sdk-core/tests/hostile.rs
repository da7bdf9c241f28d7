//! The session against a server, a network and clocks that do anything, in any order.
//!
//! Whatever comes: nothing panics, one input makes a bounded number of outputs, the session never asks
//! again and again to be woken at once, and it can always be asked for its state.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{
    Ack, Change, ChangeKind, Cursor, ErrorFrame, Field, Goaway, Head, Heartbeat, Hold, Inc, Known,
    Lagged, Limits, Merge, Mid, Need, Op, OpKind, Patch, Peer, Presence, Record, RecordRef,
    Rejected, Resume, ServerKind, SnapshotBegin, SnapshotEnd, SnapshotPart, StaleEpoch, Unset,
    Welcome, encode_server,
};
use tidewire_core::{
    ChannelId, ClientId, Config, ConnId, Input, LinkClosed, MemoryOutbox, MutateOptions,
    NetworkHint, OutboxReply, Output, Session, TokenError,
};

const AUTHOR: &[u8] = &[7; 16];
const CHANNEL: &str = "board:main";

/// Outputs that one input may make, besides what many frames in one message make.
const OUTPUTS_MAX: usize = 400;

#[derive(Clone, Debug)]
enum Step {
    /// Frames in one message, then a byte of it changed or the rest cut off.
    Frames(Vec<ServerKind>, Option<(usize, u8, bool)>),
    Bytes(Vec<u8>),
    /// On the present link or one some numbers before.
    Opened(u64),
    Closed(u64),
    Token(Result<String, bool>),
    Network(NetworkHint),
    Timeout,
    Sleep {
        mono_ms: u64,
        unix: UnixTime,
    },
    /// From now on the store answers at once, or only when it is let.
    Store {
        at_once: bool,
    },
    Reconnect,
    Subscribe(bool),
    Unsubscribe,
    Mutate(Vec<Change>),
    Presence(Option<Bytes>),
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => 0..8u64,
        1 => Just((1 << 53) - 1),
        1 => Just(1 << 53),
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ]
}

fn channel() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => Just(CHANNEL.to_owned()),
        1 => Just("board:other".to_owned()),
        1 => Just("__proto__".to_owned()),
        1 => any::<String>(),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-c]",
        1 => Just("__proto__".to_owned()),
        1 => any::<String>(),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        6 => (-3..3i64).prop_map(|n| Bytes::from(n.to_string())),
        1 => Just(Bytes::from_static(b"\"\\ud800\"")),
        1 => Just(Bytes::from_static(b"1e400")),
        1 => Just(Bytes::from_static(b"9223372036854775807")),
        1 => Just(Bytes::from_static(b"\xff\xfe")),
    ]
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (number(), number(), 0..3u64).prop_map(|(epoch, seq, tag)| Cursor::new(epoch, seq, tag))
}

fn known() -> impl Strategy<Value = Option<Known>> {
    let rejected = (number(), 0..6000u32).prop_map(|(n, code)| Rejected {
        n,
        code,
        detail: "no".into(),
    });
    prop::option::weighted(
        0.95,
        (number(), prop::collection::vec(rejected, 0..4)).prop_map(|(last, rejected)| Known {
            last,
            rejected,
            ..Known::default()
        }),
    )
}

fn record() -> impl Strategy<Value = Record> {
    let field = (name(), value()).prop_map(|(name, value)| Field {
        name,
        value,
        ..Field::default()
    });
    (name(), name(), prop::collection::vec(field, 0..4)).prop_map(|(collection, id, fields)| {
        Record {
            collection,
            id,
            fields,
            ..Record::default()
        }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        4 => record().prop_map(OpKind::Put),
        4 => (record(), prop::collection::vec(name(), 0..3)).prop_map(|(r, unset)| {
            OpKind::Merge(Merge {
                collection: r.collection,
                id: r.id,
                fields: r.fields,
                unset,
            })
        }),
        2 => (name(), name()).prop_map(|(collection, id)| {
            OpKind::Del(RecordRef { collection, id })
        }),
        1 => Just(OpKind::Clear(tidewire_core::wire::Clear {})),
    ];
    prop::option::weighted(0.97, kind).prop_map(|kind| Op { kind })
}

fn mid() -> impl Strategy<Value = Mid> {
    (any::<bool>(), number(), prop_oneof![Just(0), 0..6000u32]).prop_map(|(own, n, code)| Mid {
        author: Bytes::from_static(if own { AUTHOR } else { b"somebody else" }),
        n,
        code,
        detail: "no".into(),
        ..Mid::default()
    })
}

fn welcome() -> impl Strategy<Value = ServerKind> {
    let limits = prop_oneof![
        6 => Just(Limits::DEFAULT),
        1 => any::<[u32; 8]>().prop_map(|l| Limits {
            frame_up_bytes: l[0] % 2000,
            frame_down_bytes: l[1],
            mutation_bytes: l[2],
            push_items: l[3] % 3,
            push_bytes: l[4],
            subscriptions: l[5],
            presence_bytes: l[6],
            record_bytes: l[7],
        }),
    ];
    let principal = prop_oneof![20 => Just("ana"), 1 => Just("eve")];
    (limits, principal, any::<u64>(), number(), any::<u32>()).prop_map(
        |(limits, principal, server_ms, expires, heartbeat_ms)| {
            ServerKind::Welcome(Welcome {
                session: Bytes::from_static(&[9; 16]),
                principal: principal.into(),
                author: Bytes::from_static(AUTHOR),
                server_ms,
                expires_ms: server_ms.saturating_add(expires),
                limits: Some(limits),
                heartbeat_ms,
                flags: 0,
                ..Welcome::default()
            })
        },
    )
}

fn frame() -> impl Strategy<Value = ServerKind> {
    let patch = (
        (channel(), number(), number(), 0..3u64, number(), 0..3u64),
        prop::collection::vec(op(), 0..4),
        prop::collection::vec(mid(), 0..3),
    )
        .prop_map(
            |((channel, epoch, from, from_tag, to, to_tag), ops, mids)| {
                ServerKind::Patch(Patch {
                    channel,
                    epoch,
                    from,
                    from_tag,
                    to,
                    to_tag,
                    ms: 0,
                    ops,
                    mids,
                })
            },
        );
    let peer = (number(), prop::option::of(value())).prop_map(|(peer, data)| Peer {
        peer,
        principal: "bob".into(),
        data,
    });
    prop_oneof![
        3 => welcome(),
        6 => patch,
        4 => (channel(), prop::option::of(cursor()), prop::option::of(cursor()), known()).prop_map(
            |(channel, from, head, known)| ServerKind::Resume(Resume {
                channel, from, head, known, ..Resume::default()
            })
        ),
        4 => (channel(), prop::option::of(cursor()), known(), prop::option::of(cursor())).prop_map(
            |(channel, cursor, known, head)| {
                // Mostly a head that fits, so that some are taken up.
                let head = head.filter(|head| head.seq % 4 == 0).or(cursor);
                ServerKind::SnapshotBegin(SnapshotBegin {
                    channel, cursor, known, head, ..SnapshotBegin::default()
                })
            }
        ),
        3 => (channel(), prop::collection::vec(record(), 0..3)).prop_map(|(channel, records)| {
            ServerKind::SnapshotPart(SnapshotPart { channel, records })
        }),
        // The digest of a document without records, so that some snapshots are whole.
        3 => (channel(), 0..3u64).prop_map(|(channel, records)| {
            ServerKind::SnapshotEnd(SnapshotEnd { channel, records, digest: 0xcbf2_9ce4_8422_2325, cursor: None })
        }),
        2 => (channel(), number(), number()).prop_map(|(channel, through, seq)| {
            ServerKind::Ack(Ack { channel, through, seq })
        }),
        2 => (channel(), number(), prop::option::of(cursor())).prop_map(|(channel, n, cursor)| {
            ServerKind::Need(Need { channel, n, cursor })
        }),
        2 => (channel(), 0..6000u32, any::<u32>()).prop_map(|(channel, code, retry_ms)| {
            ServerKind::Hold(Hold { channel, code, retry_ms })
        }),
        1 => (channel(), number()).prop_map(|(channel, epoch)| {
            ServerKind::StaleEpoch(StaleEpoch { channel, epoch })
        }),
        1 => channel().prop_map(|channel| ServerKind::Lagged(Lagged { channel })),
        2 => (channel(), any::<bool>(), prop::collection::vec(peer, 0..4)).prop_map(
            |(channel, full, peers)| ServerKind::Presence(Presence { channel, full, peers })
        ),
        1 => (any::<u32>(), any::<u32>(), any::<String>()).prop_map(|(by_ms, window_ms, reason)| {
            ServerKind::Goaway(Goaway { by_ms, window_ms, reason, ..Goaway::default() })
        }),
        2 => (prop::collection::vec((channel(), prop::option::of(cursor())), 0..4), any::<u64>()).prop_map(
            |(heads, server_ms)| ServerKind::Heartbeat(Heartbeat {
                heads: heads
                    .into_iter()
                    .map(|(channel, cursor)| Head { channel, cursor })
                    .collect(),
                server_ms,
            })
        ),
        2 => (
            (0..6100u32, any::<bool>(), prop::option::of(channel())),
            prop::option::of(number()),
            prop::option::of(any::<u32>()),
        )
            .prop_map(|((code, fatal, channel), n, retry_ms)| ServerKind::Error(ErrorFrame {
                code,
                fatal,
                channel,
                id: None,
                n,
                retry_ms,
                detail: "no".repeat(300),
            })),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let kind = (0..5u8, record(), -9..9i64).prop_map(|(kind, r, by)| match kind {
        0 => ChangeKind::Set(r),
        1 => ChangeKind::Put(r),
        2 => ChangeKind::Unset(Unset {
            collection: r.collection,
            id: r.id,
            fields: vec!["a".into()],
        }),
        3 => ChangeKind::Del(RecordRef {
            collection: r.collection,
            id: r.id,
        }),
        _ => ChangeKind::Inc(Inc {
            collection: r.collection,
            id: r.id,
            field: "a".into(),
            by,
        }),
    });
    kind.prop_map(|kind| Change { kind: Some(kind) })
}

fn step() -> impl Strategy<Value = Step> {
    let damage = prop::option::weighted(0.1, (any::<usize>(), any::<u8>(), any::<bool>()));
    let passes = prop_oneof![Just(0), Just(1), 0..500u64, Just(60_000), 0..10_000_000u64];
    prop_oneof![
        12 => (prop::collection::vec(frame(), 1..4), damage)
            .prop_map(|(frames, damage)| Step::Frames(frames, damage)),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Bytes),
        1 => (0..3u64).prop_map(Step::Opened),
        1 => (0..3u64).prop_map(Step::Closed),
        1 => prop_oneof![Just(Ok("t".to_owned())), any::<bool>().prop_map(Err)].prop_map(Step::Token),
        1 => prop_oneof![
            Just(NetworkHint::Online),
            Just(NetworkHint::Offline),
            Just(NetworkHint::Resumed)
        ]
        .prop_map(Step::Network),
        2 => Just(Step::Timeout),
        4 => (passes, any::<u64>()).prop_map(|(mono_ms, unix)| Step::Sleep {
            mono_ms,
            unix: UnixTime(unix),
        }),
        1 => any::<bool>().prop_map(|at_once| Step::Store { at_once }),
        4 => Just(Step::Reconnect),
        1 => any::<bool>().prop_map(Step::Subscribe),
        1 => Just(Step::Unsubscribe),
        4 => prop::collection::vec(change(), 1..3).prop_map(Step::Mutate),
        1 => prop::option::of(value()).prop_map(Step::Presence),
    ]
}

struct World {
    session: Session,
    store: MemoryOutbox,
    store_at_once: bool,
    replies: Vec<OutboxReply>,
    now: Now,
    /// The newest link.
    conn: ConnId,
    /// What is open or being opened.
    links: Vec<ConnId>,
    messages: usize,
    wants_token: bool,
    channel: ChannelId,
    wake_at: Option<MonoTime>,
}

impl World {
    fn new() -> Self {
        let now = Now {
            mono: MonoTime(5),
            unix: UnixTime(1_700_000_000_000),
        };
        let mut session = Session::new(Config::default(), 7, now);
        let channel = session.subscribe(now, CHANNEL.parse().unwrap()).unwrap();
        let mut world = Self {
            session,
            store: MemoryOutbox::new(ClientId([1; 16])),
            store_at_once: true,
            replies: Vec::new(),
            now,
            conn: ConnId(0),
            links: Vec::new(),
            messages: 0,
            wants_token: false,
            channel,
            wake_at: None,
        };
        world.reconnect();
        world
    }

    /// As far as a good server lets a client come.
    fn reconnect(&mut self) {
        self.session.connect(self.now);
        self.drain(0);
        if self.wants_token {
            self.wants_token = false;
            self.input(Input::Token(Ok("t".into())), 0);
            self.input(Input::Opened { conn: self.conn }, 0);
            let welcome = Welcome {
                session: Bytes::from_static(&[9; 16]),
                principal: "ana".into(),
                author: Bytes::from_static(AUTHOR),
                limits: Some(Limits::DEFAULT),
                heartbeat_ms: 25_000,
                ..Welcome::default()
            };
            self.frames(vec![ServerKind::Welcome(welcome)], None);
        }
    }

    fn frames(&mut self, frames: Vec<ServerKind>, damage: Option<(usize, u8, bool)>) {
        let mut message = BytesMut::new();
        for frame in frames {
            encode_server(frame, &mut message);
        }
        if let Some((at, byte, cut)) = damage
            && !message.is_empty()
        {
            let at = at % message.len();
            message[at] = byte;
            if cut {
                message.truncate(at);
            }
        }
        self.receive(message.freeze());
    }

    fn receive(&mut self, message: Bytes) {
        // While there are two links, in turn.
        self.messages += 1;
        let conn = match self.links.len() {
            0 => self.conn,
            len => self.links[self.messages % len],
        };
        let more = message.len();
        self.input(Input::Received { conn, message }, more);
    }

    fn input(&mut self, input: Input, more: usize) {
        if let Input::Closed { conn, .. } = input {
            self.links.retain(|open| *open != conn);
        }
        self.session.handle_input(self.now, input);
        self.drain(more);
    }

    fn drain(&mut self, more: usize) {
        let mut outputs = 0;
        loop {
            outputs += 1;
            assert!(outputs < OUTPUTS_MAX + more, "one input, endless outputs");
            match self.session.poll_output() {
                Output::Open { conn, .. } => {
                    assert!(conn > self.conn);
                    self.conn = conn;
                    self.links.push(conn);
                    assert!(self.links.len() <= 2, "open: {:?}", self.links);
                }
                Output::Send { conn, .. } => {
                    assert!(self.links.contains(&conn), "{conn:?} of {:?}", self.links);
                }
                Output::Close { conn, .. } => {
                    assert!(self.links.contains(&conn), "{conn:?} of {:?}", self.links);
                    self.links.retain(|open| *open != conn);
                }
                Output::Request { .. } | Output::Abort { .. } | Output::Probe { .. } => {
                    unreachable!("WebSocket alone is offered")
                }
                Output::FetchToken => {
                    assert!(!self.wants_token, "never two at a time");
                    self.wants_token = true;
                }
                Output::Outbox(request) => {
                    self.replies.push(self.store.handle(request));
                    if self.store_at_once {
                        self.answer_from_store();
                    }
                }
                Output::Event(_) => {}
                Output::Wait(at) => {
                    self.wake_at = at;
                    return;
                }
            }
        }
    }

    fn answer_from_store(&mut self) {
        for reply in std::mem::take(&mut self.replies) {
            self.session.handle_input(self.now, Input::Outbox(reply));
        }
    }

    fn step(&mut self, step: Step) {
        let link = |world: &Self, before| ConnId(world.conn.0.saturating_sub(before));
        match step {
            Step::Frames(frames, damage) => self.frames(frames, damage),
            Step::Bytes(bytes) => self.receive(bytes.into()),
            Step::Opened(before) => {
                let conn = link(self, before);
                self.input(Input::Opened { conn }, 0);
            }
            Step::Closed(before) => {
                let conn = link(self, before);
                let reason = LinkClosed::default();
                self.input(Input::Closed { conn, reason }, 0);
            }
            Step::Token(token) => {
                self.wants_token = false;
                let token = token.map_err(|retryable| TokenError {
                    retryable,
                    detail: "none".into(),
                });
                self.input(Input::Token(token), 0);
            }
            Step::Network(hint) => self.input(Input::Network(hint), 0),
            Step::Timeout => self.input(Input::Timeout, 0),
            Step::Sleep { mono_ms, unix } => {
                self.now.mono.0 += mono_ms;
                self.now.unix = unix;
            }
            Step::Store { at_once } => {
                self.store_at_once = at_once;
                self.answer_from_store();
                self.drain(0);
            }
            Step::Reconnect => self.reconnect(),
            Step::Subscribe(other) => {
                let name = if other { "board:other" } else { CHANNEL };
                let subscribed = self.session.subscribe(self.now, name.parse().unwrap());
                if let (Ok(id), false) = (subscribed, other) {
                    self.channel = id;
                }
                self.drain(0);
            }
            Step::Unsubscribe => {
                self.session.unsubscribe(self.now, self.channel);
                self.drain(0);
            }
            Step::Mutate(changes) => {
                let _ =
                    self.session
                        .mutate(self.now, self.channel, changes, MutateOptions::default());
                self.drain(0);
            }
            Step::Presence(data) => {
                let _ = self.session.set_presence(self.now, self.channel, data);
                self.drain(0);
            }
        }
        self.rings_at_most_a_few_times_at_once();
        self.answers_every_question();
    }

    fn rings_at_most_a_few_times_at_once(&mut self) {
        for _ in 0..8 {
            if self.wake_at.is_none_or(|at| at > self.now.mono) {
                return;
            }
            self.input(Input::Timeout, 0);
        }
        panic!("the session asks again and again to be woken at once");
    }

    fn answers_every_question(&self) {
        let session = &self.session;
        let document = session.document(self.channel);
        for collection in session.collections(self.channel) {
            for id in session.ids(self.channel, &collection) {
                let record = session.record(self.channel, &collection, &id).unwrap();
                let kept = document.as_ref().unwrap().record(&collection, &id);
                assert_eq!(kept, Some(record));
                for (_, value) in record.fields() {
                    assert!(tidewire_core::document::value::is_json(value));
                }
                let _ = session.is_pending(self.channel, &collection, &id);
                let _ = record.to_json();
            }
        }
        let _ = session.connection();
        let _ = (session.status(self.channel), session.pending(self.channel));
        let _ = (session.cursor(self.channel), session.principal());
        for peer in session.peers(self.channel) {
            assert!(peer.data.is_some());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_server_network_or_clock_makes_a_session_panic_or_spin(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
    }

    #[test]
    fn no_bytes_make_a_session_panic(messages in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..60),
        1..10,
    )) {
        let mut world = World::new();
        for message in messages {
            world.receive(message.into());
            world.reconnect();
            world.answers_every_question();
        }
    }
}
