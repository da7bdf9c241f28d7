//! Ops as one run of bytes: the `ops` fields of a patch, one after the other, as they were first encoded.
//!
//! A log stores the run, hashes it and puts it into patches as it is. Invariant: a run was encoded here or
//! read as a whole once, so that going through it again finds no damage.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::decode_error::DecodeError;
use super::in_place::{OpInPlace, PATCH};
use super::parts::{Mid, Op};
use super::reading::Reader;
use super::server::Patch;

/// The number of `Patch.ops`, and of the mutations beside them.
const OPS: u32 = 8;
const MIDS: u32 = 9;

/// The ops of one log entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ops {
    bytes: Bytes,
    count: u32,
}

impl Ops {
    /// Encodes ops.
    #[must_use]
    pub fn new<'a>(ops: impl IntoIterator<Item = &'a Op>) -> Self {
        let mut writer = OpsWriter::default();
        for op in ops {
            writer.push(op);
        }
        writer.finish()
    }

    /// Reads a run that was encoded elsewhere. An op of a later version is kept; whoever applies it refuses.
    pub fn read(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut count = 0;
        for field in Reader::new(&bytes) {
            let (OPS, value) = field? else {
                return Err(DecodeError::Malformed("something else than ops".into()));
            };
            OpInPlace::read(value.slice()?)?;
            count += 1;
        }
        Ok(Self { bytes, count })
    }

    /// The run.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records that they name, in order; a clearing names none.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.in_place().filter_map(|op| op.target())
    }

    /// Whether one is of a later version.
    #[must_use]
    pub fn has_unknown(&self) -> bool {
        self.in_place().any(|op| matches!(op, OpInPlace::Unknown))
    }

    /// The ops one by one, for whoever takes them apart.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Op> {
        let patch = Patch::decode(self.bytes.clone());
        patch.map(|patch| patch.ops).unwrap_or_default()
    }

    /// Where they stand.
    pub(crate) fn in_place(&self) -> impl Iterator<Item = OpInPlace<'_>> {
        Reader::new(&self.bytes)
            .map_while(|field| OpInPlace::read(field.ok()?.1.slice().ok()?).ok())
    }
}

/// Encodes ops one after the other.
#[derive(Debug, Default)]
pub struct OpsWriter {
    bytes: BytesMut,
    count: u32,
}

impl OpsWriter {
    /// Appends an op.
    pub fn push(&mut self, op: &Op) {
        message(OPS, op, &mut self.bytes);
        self.count += 1;
    }

    /// The run, in memory of its own.
    #[must_use]
    pub fn finish(self) -> Ops {
        Ops {
            bytes: Bytes::from(self.bytes.to_vec()),
            count: self.count,
        }
    }
}

/// A message that holds one patch, whose ops are the runs of the entries in it; those of `header` are left out.
#[must_use]
pub fn patch_message<'a>(
    header: &Patch,
    runs: impl Iterator<Item = &'a Ops> + Clone,
    mids: &[Mid],
) -> Bytes {
    let mids_bytes: usize = mids.iter().map(|mid| message_len(MIDS, mid)).sum();
    let ops_bytes: usize = runs.clone().map(|ops| ops.bytes.len()).sum();
    let body = header.encoded_len() + ops_bytes + mids_bytes;
    let frame = key_len(PATCH) + encoded_len_varint(body as u64) + body;
    let mut bytes = BytesMut::with_capacity(8 + frame);
    for (number, len) in [(1, frame), (PATCH, body)] {
        encode_key(number, WireType::LengthDelimited, &mut bytes);
        encode_varint(len as u64, &mut bytes);
    }
    header.encode_raw(&mut bytes);
    for ops in runs {
        bytes.put_slice(&ops.bytes);
    }
    for mid in mids {
        message(MIDS, mid, &mut bytes);
    }
    bytes.freeze()
}

fn message(number: u32, message: &impl Message, bytes: &mut BytesMut) {
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(message.encoded_len() as u64, bytes);
    message.encode_raw(bytes);
}

fn message_len(number: u32, message: &impl Message) -> usize {
    let len = message.encoded_len();
    key_len(number) + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, put_op};
    use crate::wire::{Clear, Field, OpKind, Record, ServerKind, server_message};

    fn put(id: &str) -> Op {
        put_op(Record {
            collection: "c".into(),
            id: id.into(),
            fields: vec![Field {
                name: "f".into(),
                value: "1".into(),
                ..Field::default()
            }],
            ..Record::default()
        })
    }

    fn clear() -> Op {
        Op {
            kind: Some(OpKind::Clear(Clear {})),
        }
    }

    #[test]
    fn a_run_says_what_its_ops_say() {
        let ops = [put("x"), clear(), put("y")];
        let run = Ops::new(&ops);
        assert_eq!(run.to_vec(), ops);
        assert_eq!(run.count(), 3);
        assert_eq!(Ops::read(run.bytes().clone()), Ok(run.clone()));
        assert_eq!(run.targets().collect::<Vec<_>>(), [("c", "x"), ("c", "y")]);
        let (mut one_by_one, mut at_once) = (Document::default(), Document::default());
        for op in &ops {
            one_by_one.apply(op);
        }
        assert!(at_once.apply_run(&run, |_, _, _| {}));
        assert_eq!(one_by_one, at_once);
    }

    #[test]
    fn a_patch_of_runs_is_the_patch_of_their_ops() {
        let mid = Mid {
            author: vec![1; 16].into(),
            n: 300,
            ..Mid::default()
        };
        let whole = Patch {
            channel: "a:b".into(),
            epoch: 7,
            from: 1,
            from_tag: 2,
            to: 3,
            to_tag: 4,
            ms: 5,
            ops: vec![put("x"), clear(), put(&"y".repeat(120))],
            mids: vec![mid.clone(), mid],
        };
        let runs = [Ops::new(&whole.ops[..2]), Ops::new(&whole.ops[2..])];
        let header = Patch {
            ops: Vec::new(),
            mids: Vec::new(),
            ..whole.clone()
        };
        assert_eq!(
            patch_message(&header, runs.iter(), &whole.mids),
            server_message(ServerKind::Patch(whole))
        );
    }

    #[test]
    fn damaged_runs_are_refused_and_later_ops_are_found() {
        assert!(Ops::read(Bytes::from_static(b"\x42\x05abc")).is_err());
        assert!(
            Ops::read(Bytes::from_static(b"\x4a\x00")).is_err(),
            "a mutation"
        );
        let later = Ops::read(Bytes::from_static(b"\x42\x03\x7a\x01x")).unwrap();
        assert!(later.has_unknown());
        assert!(!Document::default().apply_run(&later, |_, _, _| {}));
    }
}
