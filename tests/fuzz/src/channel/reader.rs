//! A client as simple as the protocol allows, over an outlet with little room.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tidewire_core::document::{Document, put_op};
use tidewire_core::wire::{Cursor, Item, ServerKind, decode_server};
use tidewire_server::channel::{Author, Message, Outlet, OutletFull, PeerId, Subscriber};

use super::truth::Truth;

/// A queue of messages with room for some more.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<(Vec<Bytes>, usize)>,
}

impl Inbox {
    pub(super) fn set_room(&self, room: usize) {
        self.state.lock().expect("no holder panics").1 = room;
    }

    fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.state.lock().expect("no holder panics").0)
    }
}

impl Outlet for Inbox {
    fn try_send(&self, message: &Message) -> Result<(), OutletFull> {
        let mut state = self.state.lock().expect("no holder panics");
        state.1 = state.1.checked_sub(1).ok_or(OutletFull)?;
        state.0.push(message.proto().clone());
        Ok(())
    }
}

pub(super) struct Reader {
    pub(super) subscriber: Subscriber,
    pub(super) inbox: Arc<Inbox>,
    /// Where it is subscribed, if it is.
    pub(super) node: usize,
    pub(super) document: Document,
    pub(super) cursor: Cursor,
    pub(super) max_epoch: u64,
    /// What its stream has announced; patches of a higher epoch mean that it has to ask again.
    pub(super) announced: u64,
    /// It asked and has no answer: what comes before belongs to an older stream.
    pub(super) asked: bool,
    /// It has to subscribe again.
    pub(super) lost: bool,
    /// Own mutations that it knows to be decided.
    pub(super) known: u64,
    /// All it ever made; the first one has the number 1.
    pub(super) made: Vec<Item>,
    parts: Option<(Cursor, Document)>,
}

impl Reader {
    pub(super) fn new(author: u8) -> Self {
        let inbox = Arc::new(Inbox::default());
        inbox.set_room(4);
        Self {
            subscriber: Subscriber {
                conn: PeerId(author.into()),
                peer: PeerId(author.into()).0,
                principal: format!("p{author}").into(),
                author: Author([author; 16]),
                outlet: inbox.clone(),
                rights: Arc::new(true),
            },
            inbox,
            node: 0,
            document: Document::default(),
            cursor: Cursor::default(),
            max_epoch: 0,
            announced: 0,
            asked: false,
            lost: true,
            known: 0,
            made: Vec::new(),
            parts: None,
        }
    }

    /// A new stream, on this node.
    pub(super) fn ask(&mut self, node: usize) {
        self.node = node;
        self.asked = true;
        self.lost = false;
        self.parts = None;
    }

    pub(super) fn read(&mut self, truth: &Truth) {
        for message in self.inbox.take() {
            let frames = decode_server(message, usize::MAX).expect("the server encodes frames");
            for frame in frames {
                self.take(frame, truth);
            }
        }
    }

    fn take(&mut self, frame: ServerKind, truth: &Truth) {
        match frame {
            ServerKind::Resume(resume) => {
                let (from, head) = (resume.from.expect("from"), resume.head.expect("head"));
                assert!(from.order() <= head.order());
                if head.epoch < self.max_epoch || from != self.cursor {
                    self.lost = true;
                    return;
                }
                self.answered(head.epoch, resume.known.expect("known").last);
            }
            ServerKind::SnapshotBegin(begin) => {
                let cursor = begin.cursor.expect("cursor");
                // Whatever it says, what comes now are no parts of an earlier snapshot.
                self.parts = None;
                if cursor.epoch < self.max_epoch || cursor.order() < self.cursor.order() {
                    self.lost = true;
                    return;
                }
                self.answered(cursor.epoch, begin.known.expect("known").last);
                self.parts = Some((cursor, Document::default()));
            }
            ServerKind::SnapshotPart(part) => {
                if let Some((_, document)) = &mut self.parts {
                    for record in part.records {
                        document.apply(&put_op(record));
                    }
                }
            }
            ServerKind::SnapshotEnd(end) => {
                if let Some((cursor, document)) = self.parts.take() {
                    assert_eq!(end.records, document.len() as u64);
                    assert_eq!(end.digest, document.digest());
                    self.cursor = cursor;
                    self.document = document;
                    self.compare(truth);
                }
            }
            ServerKind::Patch(patch) => {
                if self.asked || self.lost || self.parts.is_some() {
                    return;
                }
                // A fetched range may have run ahead of the stream, on a line that was lost since.
                let other_tag = patch.to == self.cursor.seq && patch.to_tag != self.cursor.tag;
                if patch.epoch > self.announced || (other_tag && patch.epoch >= self.cursor.epoch) {
                    self.lost = true;
                    return;
                }
                if patch.to <= self.cursor.seq {
                    return;
                }
                // On a living link nothing is dropped, so a patch begins where the last one ended; one
                // that was fetched may lie further back.
                assert!(patch.from <= self.cursor.seq, "a hole in a living stream");
                if patch.from == self.cursor.seq {
                    assert_eq!(
                        patch.from_tag, self.cursor.tag,
                        "another line without a word"
                    );
                }
                for op in &patch.ops {
                    self.document.apply(op);
                }
                for mid in &patch.mids {
                    if mid.author[..] == self.subscriber.author.0 {
                        self.known = self.known.max(mid.n);
                    }
                }
                self.cursor = Cursor::new(patch.epoch, patch.to, patch.to_tag);
                self.compare(truth);
            }
            ServerKind::Ack(ack) => {
                assert!(truth.is_decided(self.subscriber.author, ack.through));
                self.known = self.known.max(ack.through);
            }
            ServerKind::Lagged(_) | ServerKind::StaleEpoch(_) => self.lost = true,
            // No answer now: it asks again.
            ServerKind::Error(error) if error.n.is_none() && !error.fatal => self.lost = true,
            _ => {}
        }
    }

    fn answered(&mut self, epoch: u64, last: u64) {
        self.asked = false;
        self.parts = None;
        self.announced = epoch;
        self.max_epoch = epoch;
        self.known = last;
    }

    fn compare(&self, truth: &Truth) {
        let state = truth.state(self.cursor);
        assert_eq!(
            state,
            Some(&self.document),
            "a replica is not what the log was at {:?}",
            self.cursor
        );
    }
}
