//! The stream that is ingested: patches of one field each, records at random, 20 to a message.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use tidewire_core::document::{Document, put_op};
use tidewire_core::wire::{
    Codec, Cursor, Field, Known, Limits, Merge, Op, OpKind, Patch, Record, ServerKind,
    SnapshotBegin, SnapshotEnd, SnapshotPart, Welcome,
};

/// The channel of every message.
pub const CHANNEL: &str = "board:main";
/// The collection of every record.
pub const COLLECTION: &str = "cards";
/// How many patches share a message, as a server's writer coalesces them.
pub const PATCHES_PER_MESSAGE: usize = 20;

const EPOCH: u64 = 7;
/// The seed of everything that looks random; another one gives the same figures.
const SEED: u64 = 5;

/// Messages as a server sends them, and the patches once more as JSON.
#[derive(Debug)]
pub struct Stream {
    /// The answer to `hello`.
    pub welcome: Bytes,
    /// The answer to `subscribe`: records of some 100 bytes.
    pub snapshot: Vec<Bytes>,
    /// Each holds [`PATCHES_PER_MESSAGE`].
    pub messages: Vec<Bytes>,
    /// The same messages for those who speak JSON: an array of flat objects, as one would design it.
    pub json: Vec<String>,
}

impl Stream {
    /// A document of so many records, and so many messages that change it.
    #[must_use]
    pub fn new(records: usize, messages: usize) -> Self {
        let mut rng = Rng::with_seed(SEED);
        let mut seq = 1;
        let mut stream = Self {
            welcome: message(ServerKind::Welcome(welcome())),
            snapshot: snapshot(records),
            messages: Vec::with_capacity(messages),
            json: Vec::with_capacity(messages),
        };
        for _ in 0..messages {
            let mut frames = BytesMut::new();
            let mut json = String::from("[");
            for at in 0..PATCHES_PER_MESSAGE {
                // The first patch of each message touches the record that selectors watch.
                let record = if at == 0 { 0 } else { rng.usize(..records) };
                let id = id(record);
                let value = format!("\"{:012x} renamed\"", rng.u64(..1 << 48));
                Codec::Protobuf
                    .encode_server(ServerKind::Patch(patch(seq, &id, &value)), &mut frames);
                if at > 0 {
                    json.push(',');
                }
                let to = seq + 1;
                json.push_str(&format!(
                    r#"{{"channel":"{CHANNEL}","epoch":{EPOCH},"from":{seq},"to":{to},"tag":{to},"collection":"{COLLECTION}","id":"{id}","set":{{"title":{value}}}}}"#
                ));
                seq = to;
            }
            json.push(']');
            stream.messages.push(frames.freeze());
            stream.json.push(json);
        }
        stream
    }

    /// How many patches there are.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.messages.len() * PATCHES_PER_MESSAGE
    }

    /// Writes welcome, snapshot, patches, and patches as JSON: each of the four as the number of its
    /// messages, and for each message its length and its bytes. Numbers are u32, little endian.
    ///
    /// Errors: those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        write_all(out, std::slice::from_ref(&self.welcome))?;
        write_all(out, &self.snapshot)?;
        write_all(out, &self.messages)?;
        write_all(out, &self.json)
    }
}

fn write_all(out: &mut impl Write, messages: &[impl AsRef<[u8]>]) -> io::Result<()> {
    let number = |number: usize, out: &mut dyn Write| {
        let number = u32::try_from(number).map_err(io::Error::other)?;
        out.write_all(&number.to_le_bytes())
    };
    number(messages.len(), out)?;
    for message in messages {
        number(message.as_ref().len(), out)?;
        out.write_all(message.as_ref())?;
    }
    Ok(())
}

/// The id of a record.
#[must_use]
pub fn id(record: usize) -> String {
    format!("card-{record}")
}

fn message(kind: ServerKind) -> Bytes {
    let mut message = BytesMut::new();
    Codec::Protobuf.encode_server(kind, &mut message);
    message.freeze()
}

fn welcome() -> Welcome {
    Welcome {
        session: Bytes::from_static(&[1; 16]),
        principal: "ana".into(),
        author: Bytes::from_static(&[2; 16]),
        server_ms: 1_700_000_000_000,
        limits: Some(Limits::DEFAULT),
        heartbeat_ms: 25_000,
        ..Welcome::default()
    }
}

fn snapshot(records: usize) -> Vec<Bytes> {
    let cursor = Some(Cursor::new(EPOCH, 1, 1));
    let mut document = Document::default();
    let mut messages = vec![message(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor,
        known: Some(Known::default()),
        head: cursor,
        ..SnapshotBegin::default()
    }))];
    let all: Vec<Record> = (0..records).map(record).collect();
    for record in &all {
        document.apply(&put_op(record.clone()));
    }
    for records in all.chunks(200) {
        messages.push(message(ServerKind::SnapshotPart(SnapshotPart {
            channel: CHANNEL.into(),
            records: records.to_vec(),
        })));
    }
    messages.push(message(ServerKind::SnapshotEnd(SnapshotEnd {
        channel: CHANNEL.into(),
        records: records as u64,
        digest: document.digest(),
        cursor,
    })));
    messages
}

fn record(record: usize) -> Record {
    let field = |name: &str, value: String| Field {
        name: name.into(),
        value: value.into(),
        ..Field::default()
    };
    Record {
        collection: COLLECTION.into(),
        id: id(record),
        fields: vec![
            field("column", format!("\"column-{}\"", record % 7)),
            field("done", "false".into()),
            field("position", format!("{record}.5")),
            field("title", format!("\"Card number {record} of the board\"")),
        ],
        ..Record::default()
    }
}

fn patch(from: u64, id: &str, value: &str) -> Patch {
    let merge = Merge {
        collection: COLLECTION.into(),
        id: id.into(),
        fields: vec![Field {
            name: "title".into(),
            value: value.to_owned().into(),
            ..Field::default()
        }],
        unset: Vec::new(),
    };
    Patch {
        channel: CHANNEL.into(),
        epoch: EPOCH,
        from,
        from_tag: from,
        to: from + 1,
        to_tag: from + 1,
        ms: 1_700_000_000_000,
        ops: vec![Op {
            kind: Some(OpKind::Merge(merge)),
        }],
        mids: Vec::new(),
    }
}
