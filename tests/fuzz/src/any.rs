//! Any frame, as a script says: well-formed on the wire, and mostly nonsense.

use bytes::Bytes;
use tidewire_core::wire::{
    Ack, Append, CHECK_BYTES, Call, Change, ChangeKind, ChannelMessage, Clear, ClientKind, Close,
    Cursor, Equals, ErrorFrame, Fetch, Field, Goaway, Head, Heartbeat, Hello, History, Hold, Inc,
    Item, Known, Lagged, Limits, Merge, Mid, Need, Op, OpKind, Page, Patch, Peer, Ping, Pong,
    Precondition, PreconditionKind, Presence, PresenceSet, Publish, Push, Record, RecordRef,
    Refresh, Refreshed, Rejected, Reply, Resume, Send, ServerKind, SnapshotBegin, SnapshotEnd,
    SnapshotPart, Splice, StaleEpoch, StreamMessage, Subscribe, TRACE_BYTES, Unchanged, Unset,
    Unsubscribe, Welcome,
};

use crate::script::Script;

/// Longest list that is built.
const LIST_MAX: usize = 4;

/// Channel names that targets use, one that nobody does, and one that is none.
const CHANNELS: [&str; 4] = ["board:a", "board:b", "board:other", "no name"];

/// Values on both sides of every rule.
const VALUES: [&str; 12] = [
    "1",
    "-9223372036854775808",
    "9223372036854775807",
    "1.0",
    "1e400",
    "\"\"",
    "\"\\ud800\"",
    "null",
    "[1,{\"__proto__\":2}]",
    "{\"a\":1,\"a\":2}",
    "nul",
    "",
];

fn list<T>(script: &mut Script<'_>, mut item: impl FnMut(&mut Script<'_>) -> T) -> Vec<T> {
    (0..script.below(LIST_MAX + 1))
        .map(|_| item(script))
        .collect()
}

fn optional<T>(script: &mut Script<'_>, item: impl FnOnce(&mut Script<'_>) -> T) -> Option<T> {
    script.flag().then(|| item(script))
}

pub(crate) fn bytes(script: &mut Script<'_>) -> Bytes {
    Bytes::copy_from_slice(script.bytes(32))
}

pub(crate) fn channel(script: &mut Script<'_>) -> String {
    match script.below(8) {
        7 => script.text(210),
        at => CHANNELS[at % CHANNELS.len()].into(),
    }
}

/// A collection, an id or a field: few of them, so that they meet.
pub(crate) fn name(script: &mut Script<'_>) -> String {
    match script.below(8) {
        7 => script.text(140),
        6 => "__proto__".into(),
        at => ["a", "b", "c"][at % 3].into(),
    }
}

pub(crate) fn value(script: &mut Script<'_>) -> Bytes {
    match script.below(VALUES.len() + 2) {
        at if at < VALUES.len() => Bytes::from_static(VALUES[at].as_bytes()),
        _ => bytes(script),
    }
}

pub(crate) fn cursor(script: &mut Script<'_>) -> Cursor {
    Cursor::new(script.number(), script.number(), script.number())
}

/// What is reserved and mostly absent.
fn seldom<T: Default>(script: &mut Script<'_>, item: impl FnOnce(&mut Script<'_>) -> T) -> T {
    match script.below(8) {
        7 => item(script),
        _ => T::default(),
    }
}

/// So many bytes, or another number of them.
fn sized(script: &mut Script<'_>, bytes_usual: usize) -> Bytes {
    match script.below(4) {
        0 => Bytes::new(),
        1 => bytes(script),
        _ => Bytes::copy_from_slice(&[script.byte(); 26][..bytes_usual.min(26)]),
    }
}

fn field(script: &mut Script<'_>) -> Field {
    Field {
        name: name(script),
        value: value(script),
        fill: seldom(script, |script| script.number32()),
    }
}

pub(crate) fn record(script: &mut Script<'_>) -> Record {
    Record {
        collection: name(script),
        id: name(script),
        fields: list(script, field),
        ttl_ms: seldom(script, |script| script.number()),
        expires_ms: seldom(script, |script| script.number()),
    }
}

fn record_ref(script: &mut Script<'_>) -> RecordRef {
    RecordRef {
        collection: name(script),
        id: name(script),
    }
}

pub(crate) fn op(script: &mut Script<'_>) -> Op {
    let kind = match script.below(18) {
        0..6 => OpKind::Put(record(script)),
        6..12 => OpKind::Merge(Merge {
            collection: name(script),
            id: name(script),
            fields: list(script, field),
            unset: list(script, name),
        }),
        12 | 13 => OpKind::Del(record_ref(script)),
        14 => OpKind::Clear(Clear {}),
        15 => OpKind::Splice(Splice {
            collection: name(script),
            id: name(script),
            field: name(script),
            at: script.number(),
            text: script.text(20),
        }),
        16 => OpKind::Message(stream_message(script)),
        _ => return Op { kind: None },
    };
    Op { kind: Some(kind) }
}

pub(crate) fn change(script: &mut Script<'_>) -> Change {
    let kind = match script.below(19) {
        0..4 => ChangeKind::Set(record(script)),
        4..8 => ChangeKind::Put(record(script)),
        8 | 9 => ChangeKind::Unset(Unset {
            collection: name(script),
            id: name(script),
            fields: list(script, name),
        }),
        10 | 11 => ChangeKind::Del(record_ref(script)),
        12..15 => ChangeKind::Inc(Inc {
            collection: name(script),
            id: name(script),
            field: name(script),
            by: script.number().cast_signed(),
        }),
        15 => ChangeKind::Append(Append {
            collection: name(script),
            id: name(script),
            field: name(script),
            text: script.text(20),
        }),
        16 => ChangeKind::Send(Send {
            data: value(script),
        }),
        17 => ChangeKind::Close(Close {}),
        _ => return Change { kind: None },
    };
    Change { kind: Some(kind) }
}

pub(crate) fn precondition(script: &mut Script<'_>) -> Precondition {
    let kind = match script.below(9) {
        0 | 1 => PreconditionKind::Exists(record_ref(script)),
        2 | 3 => PreconditionKind::Absent(record_ref(script)),
        4 | 5 => PreconditionKind::Eq(Equals {
            collection: name(script),
            id: name(script),
            field: name(script),
            value: value(script),
        }),
        6 | 7 => PreconditionKind::Unchanged(Unchanged {
            collection: name(script),
            id: name(script),
            since: optional(script, cursor),
        }),
        _ => return Precondition { kind: None },
    };
    Precondition { kind: Some(kind) }
}

pub(crate) fn item(script: &mut Script<'_>) -> Item {
    Item {
        changes: list(script, change),
        noop: script.flag(),
        pre: list(script, precondition),
        deadline_ms: script.number(),
        after: script.number(),
        trace: sized(script, TRACE_BYTES),
        check: sized(script, CHECK_BYTES),
        schema: seldom(script, |script| script.number32()),
    }
}

pub(crate) fn push(script: &mut Script<'_>) -> Push {
    Push {
        channel: channel(script),
        epoch: script.number(),
        first_n: script.number(),
        low: script.number(),
        items: list(script, item),
    }
}

fn known(script: &mut Script<'_>) -> Known {
    Known {
        last: script.number(),
        rejected: list(script, |script| Rejected {
            n: script.number(),
            code: script.number32(),
            detail: script.text(220),
        }),
        check: sized(script, CHECK_BYTES),
        low: seldom(script, |script| script.number()),
    }
}

fn stream_message(script: &mut Script<'_>) -> StreamMessage {
    StreamMessage {
        seq: script.number(),
        ms: script.number(),
        principal: script.text(20),
        author: bytes(script),
        n: script.number(),
        data: value(script),
    }
}

fn mid(script: &mut Script<'_>) -> Mid {
    Mid {
        author: Bytes::copy_from_slice(&[script.below(3) as u8; 16]),
        n: script.number(),
        code: script.number32(),
        detail: script.text(220),
        trace: sized(script, TRACE_BYTES),
        check: sized(script, CHECK_BYTES),
    }
}

fn limits(script: &mut Script<'_>) -> Limits {
    match script.flag() {
        true => Limits::DEFAULT,
        false => Limits {
            frame_up_bytes: script.number32(),
            frame_down_bytes: script.number32(),
            mutation_bytes: script.number32(),
            push_items: script.number32(),
            push_bytes: script.number32(),
            subscriptions: script.number32(),
            presence_bytes: script.number32(),
            record_bytes: script.number32(),
        },
    }
}

/// Any frame of a client.
pub(crate) fn client_frame(script: &mut Script<'_>) -> ClientKind {
    match script.below(12) {
        0 => ClientKind::Hello(Hello {
            version: script.number32(),
            token: script.text(40),
            conn: script.number(),
            client: bytes(script),
            max_frame: script.number32(),
            session: sized(script, 20),
            continues: sized(script, 16),
            poll: seldom(script, |script| script.number32()),
            expect_author: sized(script, 16),
            schema: seldom(script, |script| script.number32()),
        }),
        1 => ClientKind::Subscribe(Subscribe {
            channel: channel(script),
            have: optional(script, cursor),
            max_epoch: script.number(),
            proof: sized(script, 17),
            tail: seldom(script, |script| Some(script.number32())),
        }),
        2 => ClientKind::Unsubscribe(Unsubscribe {
            channel: channel(script),
        }),
        3 => ClientKind::Fetch(Fetch {
            channel: channel(script),
            epoch: script.number(),
            after: script.number(),
            through: script.number(),
        }),
        4 => ClientKind::Push(push(script)),
        5 => ClientKind::Call(Call {
            id: script.number(),
            route: script.text(20),
            args: value(script),
            timeout_ms: script.number32(),
        }),
        6 => ClientKind::Publish(Publish {
            channel: channel(script),
            data: value(script),
            to: script.number(),
        }),
        7 => ClientKind::PresenceSet(PresenceSet {
            channel: channel(script),
            data: optional(script, value),
        }),
        8 => ClientKind::Refresh(Refresh {
            token: script.text(40),
        }),
        9 => ClientKind::Ping(Ping { t: script.number() }),
        10 => ClientKind::History(History {
            id: script.number(),
            channel: channel(script),
            before: optional(script, cursor),
            limit: script.number32(),
        }),
        _ => ClientKind::Pong(Pong { t: script.number() }),
    }
}

/// Any frame of a server.
pub(crate) fn server_frame(script: &mut Script<'_>) -> ServerKind {
    match script.below(21) {
        0 => ServerKind::Welcome(Welcome {
            session: bytes(script),
            principal: script.text(20),
            author: match script.below(4) {
                3 => bytes(script),
                author => Bytes::copy_from_slice(&[author as u8; 16]),
            },
            server_ms: script.number(),
            expires_ms: script.number(),
            limits: optional(script, limits),
            heartbeat_ms: script.number32(),
            flags: script.number(),
            home: seldom(script, |script| script.number32()),
            fallback_poll_ms: seldom(script, |script| script.number32()),
            tenant: seldom(script, |script| script.text(20)),
        }),
        1 => ServerKind::Resume(Resume {
            channel: channel(script),
            from: optional(script, cursor),
            head: optional(script, cursor),
            known: optional(script, known),
            proof: sized(script, 17),
        }),
        2 => ServerKind::SnapshotBegin(SnapshotBegin {
            channel: channel(script),
            cursor: optional(script, cursor),
            known: optional(script, known),
            proof: sized(script, 17),
            head: optional(script, cursor),
        }),
        3 => ServerKind::SnapshotPart(SnapshotPart {
            channel: channel(script),
            records: list(script, record),
        }),
        4 => ServerKind::SnapshotEnd(SnapshotEnd {
            channel: channel(script),
            cursor: optional(script, cursor),
            records: script.number(),
            digest: script.number(),
        }),
        5 | 6 => ServerKind::Patch(Patch {
            channel: channel(script),
            epoch: script.number(),
            from: script.number(),
            from_tag: script.number(),
            to: script.number(),
            to_tag: script.number(),
            ms: script.number(),
            ops: list(script, op),
            mids: list(script, mid),
        }),
        7 => ServerKind::Ack(Ack {
            channel: channel(script),
            through: script.number(),
            seq: script.number(),
        }),
        8 => ServerKind::Need(Need {
            channel: channel(script),
            n: script.number(),
            cursor: optional(script, cursor),
        }),
        9 => ServerKind::Hold(Hold {
            channel: channel(script),
            code: script.number32(),
            retry_ms: script.number32(),
        }),
        10 => ServerKind::StaleEpoch(StaleEpoch {
            channel: channel(script),
            epoch: script.number(),
        }),
        11 => ServerKind::Lagged(Lagged {
            channel: channel(script),
        }),
        12 => ServerKind::Reply(Reply {
            id: script.number(),
            data: value(script),
            code: script.number32(),
            detail: script.text(220),
            server_ms: script.number(),
        }),
        13 => ServerKind::Message(ChannelMessage {
            channel: channel(script),
            data: value(script),
            principal: script.text(20),
            cursor: optional(script, cursor),
        }),
        14 => ServerKind::Presence(Presence {
            channel: channel(script),
            full: script.flag(),
            peers: list(script, |script| Peer {
                peer: script.number(),
                principal: script.text(20),
                data: optional(script, value),
            }),
        }),
        15 => ServerKind::Goaway(Goaway {
            by_ms: script.number32(),
            window_ms: script.number32(),
            reason: script.text(220),
            alone: script.flag(),
        }),
        16 => ServerKind::Heartbeat(Heartbeat {
            heads: list(script, |script| Head {
                channel: channel(script),
                cursor: optional(script, cursor),
            }),
            server_ms: script.number(),
        }),
        17 => ServerKind::Refreshed(Refreshed {
            expires_ms: script.number(),
        }),
        18 => ServerKind::Error(ErrorFrame {
            code: script.number32(),
            fatal: script.below(4) == 0,
            channel: optional(script, channel),
            id: optional(script, |script| script.number()),
            n: optional(script, |script| script.number()),
            retry_ms: optional(script, |script| script.number32()),
            detail: script.text(220),
        }),
        19 => ServerKind::Page(Page {
            id: script.number(),
            channel: channel(script),
            messages: list(script, stream_message),
            next: optional(script, cursor),
            first: optional(script, cursor),
            code: script.number32(),
            detail: script.text(220),
        }),
        _ => ServerKind::Pong(Pong { t: script.number() }),
    }
}

/// Legal, and about few records, so that they meet.
fn small_record(script: &mut Script<'_>) -> Record {
    let byte = script.byte();
    Record {
        collection: "c".into(),
        id: ["a", "b", "c"][usize::from(byte) % 3].into(),
        fields: vec![Field {
            name: ["x", "y"][usize::from(byte / 3) % 2].into(),
            value: Bytes::from((byte / 6).to_string()),
            ..Field::default()
        }],
        ..Record::default()
    }
}

/// An op that a server may send.
pub(crate) fn small_op(script: &mut Script<'_>) -> Op {
    let kind = script.below(8);
    let Record {
        collection,
        id,
        fields,
        ..
    } = small_record(script);
    let kind = match kind {
        0..3 => OpKind::Put(Record {
            collection,
            id,
            fields,
            ..Record::default()
        }),
        3..5 => OpKind::Merge(Merge {
            collection,
            id,
            fields,
            unset: Vec::new(),
        }),
        5 => OpKind::Merge(Merge {
            collection,
            id,
            fields: Vec::new(),
            unset: vec!["x".into()],
        }),
        6 => OpKind::Del(RecordRef { collection, id }),
        _ => OpKind::Clear(Clear {}),
    };
    Op { kind: Some(kind) }
}

/// A change that a client may ask for.
pub(crate) fn small_change(script: &mut Script<'_>) -> Change {
    let kind = script.below(8);
    let record = small_record(script);
    let kind = match kind {
        0 | 1 => ChangeKind::Set(record),
        2 | 3 => ChangeKind::Put(record),
        4 => ChangeKind::Unset(Unset {
            collection: record.collection,
            id: record.id,
            fields: vec!["x".into()],
        }),
        5 => ChangeKind::Del(RecordRef {
            collection: record.collection,
            id: record.id,
        }),
        _ => ChangeKind::Inc(Inc {
            collection: record.collection,
            id: record.id,
            field: "x".into(),
            by: 1,
        }),
    };
    Change { kind: Some(kind) }
}

/// A record of this name with one field.
pub(crate) fn record_named(collection: &str, id: &str) -> Record {
    Record {
        collection: collection.into(),
        id: id.into(),
        fields: vec![Field {
            name: "x".into(),
            value: Bytes::from_static(b"1"),
            ..Field::default()
        }],
        ..Record::default()
    }
}

/// A precondition that a client may ask for, `since` what it has.
pub(crate) fn small_precondition(script: &mut Script<'_>, since: Cursor) -> Precondition {
    let kind = script.below(4);
    let record = small_record(script);
    let named = RecordRef {
        collection: record.collection,
        id: record.id,
    };
    let kind = match kind {
        0 => PreconditionKind::Exists(named),
        1 => PreconditionKind::Absent(named),
        2 => PreconditionKind::Eq(Equals {
            collection: named.collection,
            id: named.id,
            field: "x".into(),
            value: Bytes::from((script.byte() / 64).to_string()),
        }),
        _ => PreconditionKind::Unchanged(Unchanged {
            collection: named.collection,
            id: named.id,
            since: Some(since),
        }),
    };
    Precondition { kind: Some(kind) }
}
