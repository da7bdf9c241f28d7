//! Patches and parts of snapshots, read where they stand in their message: nearly all that a client gets.
//!
//! Invariant: a message is read as a whole before anything of it is used, so a damaged one changes nothing.
//! After that nothing in it is malformed: whoever goes through a part of it again finds what was found before.

use super::reading::{Malformed, Read, Reader, Value};
use super::server::{ServerFrame, ServerKind};
use crate::document::value::is_json;

/// One frame of a server's message.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// Points into the message.
    Patch(PatchInPlace<'a>),
    /// Points into the message.
    Part(PartInPlace<'a>),
    /// Of any other kind.
    Frame(Box<ServerKind>),
}

/// What a [`super::Patch`] says, without copies of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PatchInPlace<'a> {
    body: &'a [u8],
    pub(crate) channel: &'a str,
    pub(crate) epoch: u64,
    pub(crate) from: u64,
    pub(crate) from_tag: u64,
    pub(crate) to: u64,
    pub(crate) to_tag: u64,
    /// Nearly always all of them.
    first_op: Option<OpInPlace<'a>>,
    /// From the second op on, if there is one.
    more_ops: &'a [u8],
    /// From the first mutation on, if there is one.
    mids: &'a [u8],
    /// The highest number of a mutation that it names.
    pub(crate) mid_max: u64,
    /// It holds an op of a later version.
    pub(crate) has_unknown_op: bool,
    /// It holds a value that is not JSON.
    pub(crate) has_unsound_value: bool,
}

/// What a [`super::SnapshotPart`] says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartInPlace<'a> {
    body: &'a [u8],
    pub(crate) channel: &'a str,
    /// It holds a value that is not JSON.
    pub(crate) has_unsound_value: bool,
}

/// What an [`super::Op`] says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OpInPlace<'a> {
    Put(RecordInPlace<'a>),
    Merge(RecordInPlace<'a>),
    Del(RecordInPlace<'a>),
    Clear,
    Unknown,
}

/// Names a record, and holds what becomes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordInPlace<'a> {
    pub(crate) collection: &'a str,
    pub(crate) id: &'a str,
    /// From the first field on, if there is one.
    fields: &'a [u8],
    /// From the first name to unset on, if there is one.
    unset: &'a [u8],
    has_unsound_value: bool,
}

/// What a [`super::Mid`] says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MidInPlace<'a> {
    pub(crate) author: &'a [u8],
    pub(crate) n: u64,
    pub(crate) code: u32,
    pub(crate) detail: &'a str,
    /// Of the row, 8 bytes; empty: it has none.
    pub(crate) check: &'a [u8],
}

/// A server's writer puts some tens of patches into a message when much is going on.
const FRAMES_USUAL: usize = 24;

/// Fields of a frame in `proto/tidewire.proto`.
pub(super) const SNAPSHOT_PART: u32 = 35;
pub(super) const PATCH: u32 = 37;

/// Reads a whole message. `None`: it holds a frame of the other direction or of a later version.
pub(super) fn read_message(message: &[u8]) -> Result<Option<Vec<Received<'_>>>, Malformed> {
    let mut frames = Vec::with_capacity(FRAMES_USUAL);
    let mut is_known = true;
    for field in Reader::new(message) {
        if let (1, value) = field? {
            match read_frame(value.slice()?)? {
                Some(frame) => frames.push(frame),
                None => is_known = false,
            }
        }
    }
    Ok(is_known.then_some(frames))
}

fn read_frame(body: &[u8]) -> Result<Option<Received<'_>>, Malformed> {
    let mut last = None;
    for field in Reader::new(body) {
        let (number, value) = field?;
        match number {
            PATCH => last = Some(Received::Patch(PatchInPlace::read(value.slice()?)?)),
            SNAPSHOT_PART => last = Some(Received::Part(PartInPlace::read(value.slice()?)?)),
            _ => {
                let mut frame = ServerFrame::default();
                frame.read(number, value)?;
                let other = frame.kind.map(|kind| Received::Frame(Box::new(kind)));
                last = other.or(last);
            }
        }
    }
    Ok(last)
}

impl<'a> PatchInPlace<'a> {
    /// Reads the body of a patch, all of it.
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut patch = Self {
            body,
            ..Self::default()
        };
        let mut fields = Reader::new(body);
        loop {
            let rest = fields.rest();
            let Some(field) = fields.next() else {
                return Ok(patch);
            };
            let (number, value) = field?;
            match number {
                1 => patch.channel = value.text()?,
                2 => value.uint64(&mut patch.epoch)?,
                3 => value.uint64(&mut patch.from)?,
                4 => value.uint64(&mut patch.from_tag)?,
                5 => value.uint64(&mut patch.to)?,
                6 => value.uint64(&mut patch.to_tag)?,
                7 => value.uint64(&mut 0)?,
                8 => {
                    let op = OpInPlace::read(value.slice()?)?;
                    match op {
                        OpInPlace::Put(record) | OpInPlace::Merge(record) => {
                            patch.has_unsound_value |= record.has_unsound_value;
                        }
                        OpInPlace::Del(_) | OpInPlace::Clear => {}
                        OpInPlace::Unknown => patch.has_unknown_op = true,
                    }
                    if patch.first_op.is_none() {
                        patch.first_op = Some(op);
                    } else {
                        begin(&mut patch.more_ops, rest);
                    }
                }
                9 => {
                    patch.mid_max = patch.mid_max.max(MidInPlace::read(value.slice()?)?.n);
                    begin(&mut patch.mids, rest);
                }
                _ => {}
            }
        }
    }

    /// Its bytes, for whoever keeps them; [`Self::again`] reads them.
    pub(crate) const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Reads what was read before and kept.
    pub(crate) fn again(body: &'a [u8]) -> Self {
        Self::read(body).expect("it was read once")
    }

    /// What it changes, in order.
    pub(crate) fn ops(&self) -> impl Iterator<Item = OpInPlace<'a>> + use<'a> {
        let more = parts(self.more_ops, 8);
        let more = more.map_while(|value| OpInPlace::read(value.slice().ok()?).ok());
        self.first_op.into_iter().chain(more)
    }

    /// The mutations that are in it.
    pub(crate) fn mids(&self) -> impl Iterator<Item = MidInPlace<'a>> + use<'a> {
        parts(self.mids, 9).map_while(|value| MidInPlace::read(value.slice().ok()?).ok())
    }
}

impl<'a> PartInPlace<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut part = Self {
            body,
            ..Self::default()
        };
        for field in Reader::new(body) {
            match field? {
                (1, value) => part.channel = value.text()?,
                (2, value) => {
                    let record = RecordInPlace::read(value.slice()?, RECORD)?;
                    part.has_unsound_value |= record.has_unsound_value;
                }
                _ => {}
            }
        }
        Ok(part)
    }

    /// Reads what was read before and kept.
    #[cfg(test)]
    pub(crate) fn again(body: &'a [u8]) -> Self {
        Self::read(body).expect("it was read once")
    }

    /// Whole records.
    pub(crate) fn records(&self) -> impl Iterator<Item = RecordInPlace<'a>> + use<'a> {
        parts(self.body, 2).map_while(|value| RecordInPlace::read(value.slice().ok()?, RECORD).ok())
    }
}

impl<'a> OpInPlace<'a> {
    /// The record that it is about, if it is about one.
    pub(crate) const fn target(&self) -> Option<(&'a str, &'a str)> {
        match self {
            Self::Put(record) | Self::Merge(record) | Self::Del(record) => {
                Some((record.collection, record.id))
            }
            Self::Clear | Self::Unknown => None,
        }
    }

    pub(super) fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut op = Self::Unknown;
        for field in Reader::new(body) {
            let (number, value) = field?;
            op = match number {
                1 => Self::Put(RecordInPlace::read(value.slice()?, RECORD)?),
                2 => Self::Merge(RecordInPlace::read(value.slice()?, MERGE)?),
                3 => Self::Del(RecordInPlace::read(value.slice()?, RECORD_REF)?),
                4 => {
                    Reader::new(value.slice()?).try_for_each(|field| field.map(drop))?;
                    Self::Clear
                }
                // Reserved: nobody looks into what is refused.
                5 | 6 => Self::Unknown,
                _ => continue,
            };
        }
        Ok(op)
    }
}

/// The last field of each message that names a record. Collection, id, fields and names to unset have the
/// same numbers in all of them.
const RECORD_REF: u32 = 2;
const RECORD: u32 = 3;
const MERGE: u32 = 4;

impl<'a> RecordInPlace<'a> {
    fn read(body: &'a [u8], last: u32) -> Result<Self, Malformed> {
        let mut record = Self::default();
        let mut fields = Reader::new(body);
        loop {
            let rest = fields.rest();
            let Some(field) = fields.next() else {
                return Ok(record);
            };
            match field? {
                (1, value) => record.collection = value.text()?,
                (2, value) => record.id = value.text()?,
                (3, value) if last >= RECORD => {
                    let (_, value) = read_field(value)?;
                    record.has_unsound_value |= !is_json(value);
                    begin(&mut record.fields, rest);
                }
                // For how long, or until when: reserved.
                (4 | 5, value) if last == RECORD => value.uint64(&mut 0)?,
                (4, value) if last >= MERGE => {
                    value.text()?;
                    begin(&mut record.unset, rest);
                }
                _ => {}
            }
        }
    }

    /// Names and values, in any order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        parts(self.fields, 3).map_while(|value| read_field(value).ok())
    }

    /// The names of a merge that are to go.
    pub(crate) fn unset(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        parts(self.unset, 4).map_while(|value| value.text().ok())
    }
}

impl<'a> MidInPlace<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut mid = Self::default();
        for field in Reader::new(body) {
            let (number, value) = field?;
            match number {
                1 => mid.author = value.slice()?,
                2 => value.uint64(&mut mid.n)?,
                3 => value.uint32(&mut mid.code)?,
                4 => mid.detail = value.text()?,
                5 => drop(value.slice()?),
                6 => mid.check = value.slice()?,
                _ => {}
            }
        }
        Ok(mid)
    }
}

fn read_field<'a>(value: Value<'a>) -> Result<(&'a str, &'a [u8]), Malformed> {
    let mut parts: (&str, &[u8]) = Default::default();
    for field in Reader::new(value.slice()?) {
        match field? {
            (1, value) => parts.0 = value.text()?,
            (2, value) => parts.1 = value.slice()?,
            (3, value) => value.uint64(&mut 0)?,
            _ => {}
        }
    }
    Ok(parts)
}

/// Notes where something begins, unless it has begun already.
const fn begin<'a>(run: &mut &'a [u8], rest: &'a [u8]) {
    if run.is_empty() {
        *run = rest;
    }
}

/// The values of one field of a message that was read before.
fn parts(body: &[u8], wanted: u32) -> impl Iterator<Item = Value<'_>> {
    Reader::new(body)
        .map_while(Result::ok)
        .filter_map(move |(number, value)| (number == wanted).then_some(value))
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{
        Clear, Field, Merge, Mid, Op, OpKind, Patch, Record, RecordRef, SnapshotPart,
        decode_server, encode_server, read_in_place,
    };

    fn record() -> impl Strategy<Value = Record> {
        let field = ("[a-c]{0,2}", "[0-9\"]{0,3}").prop_map(|(name, value)| Field {
            name,
            value: value.into(),
            ..Field::default()
        });
        let fields = prop::collection::vec(field, 0..3);
        ("[a-c]{0,2}", "[a-cü]{0,2}", fields).prop_map(|(collection, id, fields)| Record {
            collection,
            id,
            fields,
            ..Record::default()
        })
    }

    fn op() -> impl Strategy<Value = Op> {
        let unset = prop::collection::vec("[a-c]{0,2}", 0..3);
        (0..5u8, record(), unset).prop_map(|(kind, record, unset)| {
            let Record {
                collection,
                id,
                fields,
                ..
            } = record.clone();
            let kind = match kind {
                0 => OpKind::Put(record),
                1 | 2 => OpKind::Merge(Merge {
                    collection,
                    id,
                    fields,
                    unset,
                }),
                3 => OpKind::Del(RecordRef { collection, id }),
                _ => OpKind::Clear(Clear {}),
            };
            Op { kind: Some(kind) }
        })
    }

    fn frame() -> impl Strategy<Value = ServerKind> {
        let mid = (0..300u64, "[a-c]{0,2}").prop_map(|(n, detail)| Mid {
            author: Bytes::from_static(b"author"),
            n,
            code: n as u32,
            detail,
            ..Mid::default()
        });
        let mids = prop::collection::vec(mid, 0..3);
        let patch =
            (0..300u64, prop::collection::vec(op(), 0..4), mids).prop_map(|(from, ops, mids)| {
                ServerKind::Patch(Patch {
                    channel: "a:b".into(),
                    epoch: 7,
                    from,
                    from_tag: 1 << 40,
                    to: from + 1,
                    to_tag: 3,
                    ms: 0,
                    ops,
                    mids,
                })
            });
        let part = prop::collection::vec(record(), 0..4).prop_map(|records| {
            ServerKind::SnapshotPart(SnapshotPart {
                channel: "a:b".into(),
                records,
            })
        });
        prop_oneof![3 => patch, 1 => part]
    }

    fn owned_fields(record: &RecordInPlace<'_>) -> Vec<Field> {
        let field = |(name, value): (&str, &[u8])| Field {
            name: name.into(),
            value: value.to_vec().into(),
            ..Field::default()
        };
        record.fields().map(field).collect()
    }

    fn owned_record(record: &RecordInPlace<'_>) -> Record {
        Record {
            collection: record.collection.into(),
            id: record.id.into(),
            fields: owned_fields(record),
            ..Record::default()
        }
    }

    fn owned_op(op: OpInPlace<'_>) -> Op {
        let kind = match op {
            OpInPlace::Put(record) => OpKind::Put(owned_record(&record)),
            OpInPlace::Merge(record) => OpKind::Merge(Merge {
                collection: record.collection.into(),
                id: record.id.into(),
                fields: owned_fields(&record),
                unset: record.unset().map(str::to_owned).collect(),
            }),
            OpInPlace::Del(record) => OpKind::Del(RecordRef {
                collection: record.collection.into(),
                id: record.id.into(),
            }),
            OpInPlace::Clear => OpKind::Clear(Clear {}),
            OpInPlace::Unknown => return Op { kind: None },
        };
        Op { kind: Some(kind) }
    }

    fn owned(frame: Received<'_>) -> ServerKind {
        match frame {
            Received::Patch(patch) => {
                let mids: Vec<Mid> = patch
                    .mids()
                    .map(|mid| Mid {
                        author: mid.author.to_vec().into(),
                        n: mid.n,
                        code: mid.code,
                        detail: mid.detail.into(),
                        check: mid.check.to_vec().into(),
                        ..Mid::default()
                    })
                    .collect();
                assert_eq!(
                    mids.iter().map(|mid| mid.n).max().unwrap_or(0),
                    patch.mid_max
                );
                let ops: Vec<Op> = patch.ops().map(owned_op).collect();
                assert_eq!(ops.iter().any(|op| op.kind.is_none()), patch.has_unknown_op);
                let values = ops.iter().filter_map(|op| match op.kind.as_ref()? {
                    OpKind::Put(put) => Some(&put.fields),
                    OpKind::Merge(merge) => Some(&merge.fields),
                    _ => None,
                });
                let is_unsound = |field: &Field| !is_json(&field.value);
                assert_eq!(values.flatten().any(is_unsound), patch.has_unsound_value);
                ServerKind::Patch(Patch {
                    channel: patch.channel.into(),
                    epoch: patch.epoch,
                    from: patch.from,
                    from_tag: patch.from_tag,
                    to: patch.to,
                    to_tag: patch.to_tag,
                    ms: 0,
                    ops,
                    mids,
                })
            }
            Received::Part(part) => ServerKind::SnapshotPart(SnapshotPart {
                channel: part.channel.into(),
                records: part.records().map(|record| owned_record(&record)).collect(),
            }),
            Received::Frame(frame) => *frame,
        }
    }

    /// What a client has no use for.
    fn without_the_unused(mut frame: ServerKind) -> ServerKind {
        fn fields(fields: &mut [Field]) {
            fields.iter_mut().for_each(|field| field.fill = 0);
        }
        fn record(record: &mut Record) {
            (record.ttl_ms, record.expires_ms) = (0, 0);
            fields(&mut record.fields);
        }
        match &mut frame {
            ServerKind::Patch(patch) => {
                patch.ms = 0;
                patch.mids.iter_mut().for_each(|mid| mid.trace.clear());
                for op in &mut patch.ops {
                    match &mut op.kind {
                        Some(OpKind::Put(put)) => record(put),
                        Some(OpKind::Merge(merge)) => fields(&mut merge.fields),
                        Some(OpKind::Splice(_) | OpKind::Message(_)) => op.kind = None,
                        Some(OpKind::Del(_) | OpKind::Clear(_)) | None => {}
                    }
                }
            }
            ServerKind::SnapshotPart(part) => part.records.iter_mut().for_each(record),
            _ => {}
        }
        frame
    }

    /// Whether a patch holds an op that is refused without a look into it.
    fn is_refused(frames: &[ServerKind]) -> bool {
        frames.iter().any(|frame| match frame {
            ServerKind::Patch(patch) => patch.ops.iter().any(|op| op.kind.is_none()),
            _ => false,
        })
    }

    proptest! {
        /// Whole messages and damaged ones.
        #[test]
        fn what_is_read_in_place_is_what_the_other_reader_takes_out(
            frames in prop::collection::vec(frame(), 1..4),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut message = BytesMut::new();
            for frame in frames {
                encode_server(frame, &mut message);
            }
            for (at, byte) in damage {
                let at = at.index(message.len());
                message[at] = byte;
            }
            let message = message.freeze();
            let in_place = read_in_place(&message);
            let in_place = in_place.map(|frames| frames.into_iter().map(owned).collect::<Vec<_>>());
            let taken_out = decode_server(message.clone(), usize::MAX);
            let taken_out = taken_out.map(|frames| frames.into_iter().map(without_the_unused).collect::<Vec<_>>());
            let is_alike = in_place == taken_out
                || taken_out.is_err() && in_place.as_ref().is_ok_and(|frames| is_refused(frames));
            prop_assert!(is_alike, "{:?} in place, {:?} taken out", in_place, taken_out);
        }
    }
}
