//! One message of every kind, with every part that it may hold.

use bytes::Bytes;
use tidewire_core::wire::{
    Ack, Call, Change, ChangeKind, ChannelMessage, Clear, ClientKind, Cursor, Equals, ErrorFrame,
    Fetch, Field, Goaway, Head, Heartbeat, Hello, Hold, Inc, Item, Known, Lagged, Limits, Merge,
    Mid, Need, Op, OpKind, Patch, Peer, Ping, Pong, Precondition, PreconditionKind, Presence,
    PresenceSet, Publish, Push, Record, RecordRef, Refresh, Refreshed, Rejected, Reply, Resume,
    ServerKind, SnapshotBegin, SnapshotEnd, SnapshotPart, StaleEpoch, Subscribe, Unchanged, Unset,
    Unsubscribe, Welcome,
};

const CHANNEL: &str = "board:main";
const CURSOR: Cursor = Cursor::new(3_612_730_982_400_123, 17, 9_007_199_254_740_991);

fn id(first: u8) -> Bytes {
    (first..=first + 15).collect::<Vec<_>>().into()
}

fn reference(id: &str) -> RecordRef {
    RecordRef {
        collection: "cards".into(),
        id: id.into(),
    }
}

fn field(name: &str, value: &'static str) -> Field {
    Field {
        name: name.into(),
        value: Bytes::from_static(value.as_bytes()),
    }
}

/// Values and names that a careless codec would change.
fn record(id: &str) -> Record {
    Record {
        collection: "cards".into(),
        id: id.into(),
        fields: vec![
            field("title", r#""Grüße, \"Welt\" \ud83c\udf0a \ud800""#),
            field("count", "9007199254740993"),
            field("far", "-1E+400"),
            field("zero", "-0"),
            field("tree", r#"{"b":[1, {}],"a":null,"b":2}"#),
            field("__proto__", r#"{"__proto__":{"polluted":true}}"#),
            field("a \"quoted\\ name 🌊", "false"),
        ],
    }
}

fn changes() -> Vec<Change> {
    let kinds = [
        ChangeKind::Set(record("c1")),
        ChangeKind::Unset(Unset {
            collection: "cards".into(),
            id: "c1".into(),
            fields: vec!["title".into(), "count".into()],
        }),
        ChangeKind::Put(record("constructor")),
        ChangeKind::Del(reference("c2")),
        ChangeKind::Inc(Inc {
            collection: "cards".into(),
            id: "c1".into(),
            field: "count".into(),
            by: i64::MIN,
        }),
    ];
    let changes = kinds.into_iter().map(|kind| Change { kind: Some(kind) });
    changes.collect()
}

fn preconditions() -> Vec<Precondition> {
    let unchanged = |since| {
        PreconditionKind::Unchanged(Unchanged {
            collection: "cards".into(),
            id: "c1".into(),
            since,
        })
    };
    let kinds = [
        PreconditionKind::Exists(reference("c1")),
        PreconditionKind::Absent(reference("c2")),
        PreconditionKind::Eq(Equals {
            collection: "cards".into(),
            id: "c1".into(),
            field: "count".into(),
            value: Bytes::from_static(b"1e400"),
        }),
        unchanged(Some(CURSOR)),
        unchanged(None),
    ];
    let all = kinds
        .into_iter()
        .map(|kind| Precondition { kind: Some(kind) });
    all.collect()
}

fn ops() -> Vec<Op> {
    let kinds = [
        OpKind::Clear(Clear {}),
        OpKind::Put(record("c1")),
        OpKind::Merge(Merge {
            collection: "cards".into(),
            id: "c1".into(),
            fields: vec![field("title", "\"\"")],
            unset: vec!["far".into()],
        }),
        OpKind::Del(reference("c2")),
    ];
    kinds
        .into_iter()
        .map(|kind| Op { kind: Some(kind) })
        .collect()
}

fn known() -> Known {
    Known {
        last: 9,
        rejected: vec![Rejected {
            n: 7,
            code: 3002,
            detail: "no record cards/c9".into(),
        }],
    }
}

/// Name and frames of every message that a client may send.
pub(crate) fn client() -> Vec<(&'static str, Vec<ClientKind>)> {
    let channel = || CHANNEL.to_owned();
    vec![
        (
            "hello",
            vec![ClientKind::Hello(Hello {
                version: 1,
                token: "dev:ana".into(),
                conn: 1,
                client: id(0xf0),
                max_frame: 1_048_576,
            })],
        ),
        (
            "subscribe without a base",
            vec![ClientKind::Subscribe(Subscribe {
                channel: channel(),
                have: None,
                max_epoch: 0,
            })],
        ),
        (
            "subscribe with a base",
            vec![ClientKind::Subscribe(Subscribe {
                channel: channel(),
                have: Some(CURSOR),
                max_epoch: CURSOR.epoch,
            })],
        ),
        (
            "unsubscribe",
            vec![ClientKind::Unsubscribe(Unsubscribe { channel: channel() })],
        ),
        (
            "fetch",
            vec![ClientKind::Fetch(Fetch {
                channel: channel(),
                epoch: CURSOR.epoch,
                after: 17,
                through: 40,
            })],
        ),
        (
            "push with every change and precondition",
            vec![ClientKind::Push(Push {
                channel: channel(),
                epoch: CURSOR.epoch,
                first_n: 4,
                low: 3,
                items: vec![
                    Item {
                        changes: changes(),
                        noop: false,
                        pre: preconditions(),
                        deadline_ms: 1_764_633_600_000,
                        after: 3,
                    },
                    Item {
                        noop: true,
                        ..Item::default()
                    },
                ],
            })],
        ),
        (
            "call",
            vec![ClientKind::Call(Call {
                id: 5,
                route: "cards.archive".into(),
                args: Bytes::from_static(br#"{"older_than":1e2}"#),
            })],
        ),
        (
            "publish",
            vec![ClientKind::Publish(Publish {
                channel: channel(),
                data: Bytes::from_static(b"[1,2]"),
            })],
        ),
        (
            "presence_set with data",
            vec![ClientKind::PresenceSet(PresenceSet {
                channel: channel(),
                data: Some(Bytes::from_static(br#"{"cursor":{"x":0.50}}"#)),
            })],
        ),
        (
            "presence_set with the value null",
            vec![ClientKind::PresenceSet(PresenceSet {
                channel: channel(),
                data: Some(Bytes::from_static(b"null")),
            })],
        ),
        (
            "presence_set without data",
            vec![ClientKind::PresenceSet(PresenceSet {
                channel: channel(),
                data: None,
            })],
        ),
        (
            "refresh",
            vec![ClientKind::Refresh(Refresh {
                token: "dev:ana".into(),
            })],
        ),
        (
            "two frames in one message",
            vec![
                ClientKind::Ping(Ping {
                    t: 9_007_199_254_740_991,
                }),
                ClientKind::Pong(Pong { t: 0 }),
            ],
        ),
        ("a push of zeros", vec![ClientKind::Push(Push::default())]),
    ]
}

/// Name and frames of every message that a server may send.
pub(crate) fn server() -> Vec<(&'static str, Vec<ServerKind>)> {
    let channel = || CHANNEL.to_owned();
    vec![
        (
            "welcome",
            vec![ServerKind::Welcome(Welcome {
                session: id(0),
                principal: "ana".into(),
                author: id(0xa0),
                server_ms: 1_764_028_800_000,
                expires_ms: 0,
                limits: Some(Limits::DEFAULT),
                heartbeat_ms: 25_000,
                flags: 0,
            })],
        ),
        (
            "resume",
            vec![ServerKind::Resume(Resume {
                channel: channel(),
                from: Some(CURSOR),
                head: Some(Cursor {
                    seq: 20,
                    tag: 4410,
                    ..CURSOR
                }),
                known: Some(known()),
            })],
        ),
        (
            "a snapshot",
            vec![
                ServerKind::SnapshotBegin(SnapshotBegin {
                    channel: channel(),
                    cursor: Some(CURSOR),
                    known: Some(Known::default()),
                    ..SnapshotBegin::default()
                }),
                ServerKind::SnapshotPart(SnapshotPart {
                    channel: channel(),
                    records: vec![record("c1"), record("toString")],
                }),
                ServerKind::SnapshotEnd(SnapshotEnd {
                    channel: channel(),
                    records: 2,
                    digest: 0x0123_4567_89ab_cdef,
                    cursor: None,
                }),
            ],
        ),
        (
            "end of a named snapshot",
            vec![ServerKind::SnapshotEnd(SnapshotEnd {
                channel: channel(),
                records: 1,
                digest: u64::MAX,
                cursor: Some(CURSOR),
            })],
        ),
        (
            "patch with every op",
            vec![ServerKind::Patch(Patch {
                channel: channel(),
                epoch: CURSOR.epoch,
                from: 17,
                from_tag: CURSOR.tag,
                to: 19,
                to_tag: 0,
                ms: 1_764_028_801_000,
                ops: ops(),
                mids: vec![
                    Mid {
                        author: id(0xa0),
                        n: 8,
                        code: 0,
                        detail: String::new(),
                    },
                    Mid {
                        author: id(0xa0),
                        n: 9,
                        code: 3007,
                        detail: "a title\nof \"two\" lines".into(),
                    },
                ],
            })],
        ),
        (
            "answers to pushes",
            vec![
                ServerKind::Ack(Ack {
                    channel: channel(),
                    through: 9,
                    seq: 19,
                }),
                ServerKind::Need(Need {
                    channel: channel(),
                    n: 8,
                    cursor: Some(CURSOR),
                }),
                ServerKind::Need(Need {
                    channel: channel(),
                    n: 8,
                    cursor: None,
                }),
                ServerKind::Hold(Hold {
                    channel: channel(),
                    code: 4001,
                    retry_ms: 500,
                }),
                ServerKind::StaleEpoch(StaleEpoch {
                    channel: channel(),
                    epoch: CURSOR.epoch,
                }),
            ],
        ),
        (
            "lagged",
            vec![ServerKind::Lagged(Lagged { channel: channel() })],
        ),
        (
            "replies",
            vec![
                ServerKind::Reply(Reply {
                    id: 5,
                    data: Bytes::from_static(b"true"),
                    ..Reply::default()
                }),
                ServerKind::Reply(Reply {
                    id: 6,
                    code: 5001,
                    detail: "no route \"x\"".into(),
                    ..Reply::default()
                }),
            ],
        ),
        (
            "messages",
            vec![
                ServerKind::Message(ChannelMessage {
                    channel: channel(),
                    data: Bytes::from_static(br#"{"n":1}"#),
                    principal: "bo".into(),
                    cursor: Some(CURSOR),
                }),
                ServerKind::Message(ChannelMessage {
                    channel: channel(),
                    data: Bytes::from_static(b"\"hi\""),
                    principal: "bo".into(),
                    cursor: None,
                }),
            ],
        ),
        (
            "presence",
            vec![ServerKind::Presence(Presence {
                channel: channel(),
                full: true,
                peers: vec![
                    Peer {
                        peer: 3,
                        principal: "bo".into(),
                        data: Some(Bytes::from_static(br#"{"__proto__":1}"#)),
                    },
                    Peer {
                        peer: 4,
                        principal: "cy".into(),
                        data: None,
                    },
                ],
            })],
        ),
        (
            "goaway",
            vec![ServerKind::Goaway(Goaway {
                by_ms: 10_000,
                window_ms: 5_000,
                reason: "a new version".into(),
            })],
        ),
        (
            "heartbeat",
            vec![ServerKind::Heartbeat(Heartbeat {
                heads: vec![
                    Head {
                        channel: channel(),
                        cursor: Some(CURSOR),
                    },
                    Head {
                        channel: "board:other".into(),
                        cursor: None,
                    },
                ],
                server_ms: 1_764_028_825_000,
            })],
        ),
        (
            "refreshed and pong",
            vec![
                ServerKind::Refreshed(Refreshed {
                    expires_ms: 1_764_032_400_000,
                }),
                ServerKind::Pong(Pong { t: 1 }),
            ],
        ),
        (
            "error about nothing in particular",
            vec![ServerKind::Error(ErrorFrame {
                code: 1001,
                fatal: true,
                detail: "malformed frame".into(),
                ..ErrorFrame::default()
            })],
        ),
        (
            "error about everything",
            vec![ServerKind::Error(ErrorFrame {
                code: 2004,
                fatal: false,
                channel: Some(channel()),
                id: Some(0),
                n: Some(4),
                retry_ms: Some(0),
                detail: String::new(),
            })],
        ),
        (
            "a patch of zeros",
            vec![ServerKind::Patch(Patch::default())],
        ),
    ]
}
