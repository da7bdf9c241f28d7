//! One message of every kind, with every part that it may hold.

use bytes::Bytes;
use tidewire_core::wire::{
    Ack, Append, Call, Change, ChangeKind, ChannelMessage, Clear, ClientKind, Close, Cursor,
    Equals, ErrorFrame, Fetch, Field, Goaway, Head, Heartbeat, Hello, History, Hold, Inc, Item,
    Known, Lagged, Limits, Merge, Mid, Need, Op, OpKind, Page, Patch, Peer, Ping, Pong,
    Precondition, PreconditionKind, Presence, PresenceSet, Publish, Push, Record, RecordRef,
    Refresh, Refreshed, Rejected, Reply, Resume, Send, ServerKind, SnapshotBegin, SnapshotEnd,
    SnapshotPart, Splice, StaleEpoch, StreamMessage, Subscribe, Unchanged, Unset, Unsubscribe,
    Welcome,
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
        ..Field::default()
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
        ..Record::default()
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
        ..Known::default()
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
                ..Hello::default()
            })],
        ),
        (
            "subscribe without a base",
            vec![ClientKind::Subscribe(Subscribe {
                channel: channel(),
                have: None,
                max_epoch: 0,
                ..Subscribe::default()
            })],
        ),
        (
            "subscribe with a base",
            vec![ClientKind::Subscribe(Subscribe {
                channel: channel(),
                have: Some(CURSOR),
                max_epoch: CURSOR.epoch,
                ..Subscribe::default()
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
                        ..Item::default()
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
                ..Call::default()
            })],
        ),
        (
            "publish",
            vec![ClientKind::Publish(Publish {
                channel: channel(),
                data: Bytes::from_static(b"[1,2]"),
                ..Publish::default()
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
        (
            "hello with all that is reserved",
            vec![ClientKind::Hello(Hello {
                version: 1,
                token: "dev:ana".into(),
                conn: 3,
                client: id(0xf0),
                max_frame: 65_536,
                session: (0..20).collect::<Vec<_>>().into(),
                continues: id(4),
                poll: 7,
                expect_author: id(0xa0),
                schema: 3,
            })],
        ),
        (
            "subscribe with a proof, and to the end of a stream",
            vec![
                ClientKind::Subscribe(Subscribe {
                    channel: channel(),
                    have: Some(CURSOR),
                    max_epoch: CURSOR.epoch,
                    proof: proof(),
                    tail: None,
                }),
                ClientKind::Subscribe(Subscribe {
                    channel: channel(),
                    tail: Some(0),
                    ..Subscribe::default()
                }),
            ],
        ),
        (
            "push with trace, check, schema, and changes of later versions",
            vec![ClientKind::Push(Push {
                channel: channel(),
                epoch: CURSOR.epoch,
                first_n: 4,
                low: 4,
                items: vec![Item {
                    changes: later_changes(),
                    trace: (1..=26).collect::<Vec<_>>().into(),
                    check: id(0)[..8].to_vec().into(),
                    schema: 3,
                    ..Item::default()
                }],
            })],
        ),
        (
            "call with a time limit, publish to one peer",
            vec![
                ClientKind::Call(Call {
                    id: 5,
                    route: "cards/archive".into(),
                    args: Bytes::from_static(b"null"),
                    timeout_ms: 5_000,
                }),
                ClientKind::Publish(Publish {
                    channel: channel(),
                    data: Bytes::from_static(b"null"),
                    to: 9_007_199_254_740_991,
                }),
            ],
        ),
        (
            "history",
            vec![
                ClientKind::History(History {
                    id: 6,
                    channel: channel(),
                    before: Some(CURSOR),
                    limit: 500,
                }),
                ClientKind::History(History {
                    id: 7,
                    channel: channel(),
                    before: None,
                    limit: 1,
                }),
            ],
        ),
    ]
}

fn proof() -> Bytes {
    (0xe0..0xf1).collect::<Vec<_>>().into()
}

/// What has its numbers and is rejected until a version uses it.
fn later_changes() -> Vec<Change> {
    let mut of_a_day = record("c3");
    of_a_day.ttl_ms = 86_400_000;
    of_a_day.fields.truncate(1);
    of_a_day.fields[0].fill = 1;
    let kinds = [
        ChangeKind::Put(of_a_day),
        ChangeKind::Append(Append {
            collection: "cards".into(),
            id: "c1".into(),
            field: "title".into(),
            text: "\\n\\\"more\\\" 🌊".into(),
        }),
        ChangeKind::Send(Send {
            data: Bytes::from_static(br#"{"text":"hi"}"#),
        }),
        ChangeKind::Close(Close {}),
    ];
    let changes = kinds.into_iter().map(|kind| Change { kind: Some(kind) });
    changes.collect()
}

fn stream_message() -> StreamMessage {
    StreamMessage {
        seq: 18,
        ms: 1_764_028_801_000,
        principal: "ana".into(),
        author: id(0xa0),
        n: 4,
        data: Bytes::from_static(br#"{"text":"hi"}"#),
    }
}

fn later_ops() -> Vec<Op> {
    let mut ending = record("c3");
    ending.expires_ms = 1_764_115_201_000;
    ending.fields.truncate(1);
    let kinds = [
        OpKind::Put(ending),
        OpKind::Splice(Splice {
            collection: "cards".into(),
            id: "c1".into(),
            field: "title".into(),
            at: 12,
            text: "\\n\\\"more\\\" 🌊".into(),
        }),
        OpKind::Message(stream_message()),
    ];
    let ops = kinds.into_iter().map(|kind| Op { kind: Some(kind) });
    ops.collect()
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
                ..Welcome::default()
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
                ..Resume::default()
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
                        ..Mid::default()
                    },
                    Mid {
                        author: id(0xa0),
                        n: 9,
                        code: 3007,
                        detail: "a title\nof \"two\" lines".into(),
                        ..Mid::default()
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
                ..Goaway::default()
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
        (
            "welcome with all that is reserved",
            vec![ServerKind::Welcome(Welcome {
                session: id(0),
                principal: "ana".into(),
                author: id(0xa0),
                server_ms: 1_764_028_800_000,
                limits: Some(Limits::DEFAULT),
                heartbeat_ms: 25_000,
                flags: 1,
                home: 0xdead_beef,
                fallback_poll_ms: 3_000,
                tenant: "acme".into(),
                ..Welcome::default()
            })],
        ),
        (
            "answers with proofs, a snapshot that names the head",
            vec![
                ServerKind::Resume(Resume {
                    channel: channel(),
                    from: Some(CURSOR),
                    head: Some(CURSOR),
                    known: Some(Known {
                        check: id(0)[..8].to_vec().into(),
                        low: 8,
                        ..known()
                    }),
                    proof: proof(),
                }),
                ServerKind::SnapshotBegin(SnapshotBegin {
                    channel: channel(),
                    cursor: Some(CURSOR),
                    known: Some(Known::default()),
                    proof: proof(),
                    head: Some(Cursor {
                        seq: 20,
                        tag: 4410,
                        ..CURSOR
                    }),
                }),
                ServerKind::SnapshotPart(SnapshotPart {
                    channel: channel(),
                    records: vec![Record {
                        expires_ms: 1_764_115_201_000,
                        ..Record::default()
                    }],
                }),
            ],
        ),
        (
            "patch with trace, check, and ops of later versions",
            vec![ServerKind::Patch(Patch {
                channel: channel(),
                epoch: CURSOR.epoch,
                from: 17,
                from_tag: CURSOR.tag,
                to: 18,
                to_tag: 4410,
                ms: 1_764_028_801_000,
                ops: later_ops(),
                mids: vec![Mid {
                    author: id(0xa0),
                    n: 4,
                    trace: (1..=26).collect::<Vec<_>>().into(),
                    check: id(0)[..8].to_vec().into(),
                    ..Mid::default()
                }],
            })],
        ),
        (
            "reply with the server's time, goaway of a server that is alone",
            vec![
                ServerKind::Reply(Reply {
                    id: 5,
                    data: Bytes::from_static(b"true"),
                    server_ms: 1_764_028_801_000,
                    ..Reply::default()
                }),
                ServerKind::Goaway(Goaway {
                    by_ms: 10_000,
                    window_ms: 5_000,
                    reason: "a new version".into(),
                    alone: true,
                }),
            ],
        ),
        (
            "pages",
            vec![
                ServerKind::Page(Page {
                    id: 6,
                    channel: channel(),
                    messages: vec![stream_message()],
                    next: Some(CURSOR),
                    ..Page::default()
                }),
                ServerKind::Page(Page {
                    id: 7,
                    channel: channel(),
                    first: Some(CURSOR),
                    code: 6005,
                    detail: "the oldest message that is kept is 17".into(),
                    ..Page::default()
                }),
            ],
        ),
    ]
}
