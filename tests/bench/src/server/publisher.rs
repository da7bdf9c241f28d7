//! A member that publishes: its mutations in the server's frames, or whatever it is given.

use bytes::Bytes;
use tidewire_core::wire::{
    Change, ChangeKind, ClientKind, Field, Item, Push, Record, client_message,
};

use super::link::Sender;

/// Records of a channel that are changed in turn.
const RECORDS: u64 = 1000;

/// The value of that field, as JSON.
const VALUE_BYTES: usize = 128;

#[derive(Debug)]
pub(super) struct Publisher {
    sender: Sender,
    channel: String,
    epoch: u64,
    next_n: u64,
}

impl Publisher {
    pub(super) fn new(sender: Sender, channel: String, epoch: u64) -> Self {
        Self {
            sender,
            channel,
            epoch,
            next_n: 1,
        }
    }

    /// A push of so many mutations, each of which puts a record of one field.
    pub(super) fn push(&mut self, mutations: usize) -> Bytes {
        let first_n = self.next_n;
        self.next_n += mutations as u64;
        client_message(ClientKind::Push(Push {
            channel: self.channel.clone(),
            epoch: self.epoch,
            first_n,
            low: first_n,
            items: (first_n..self.next_n).map(item).collect(),
        }))
    }

    pub(super) async fn send(&mut self, message: Bytes) -> anyhow::Result<()> {
        self.sender.send(message).await
    }
}

fn item(n: u64) -> Item {
    let value = format!("\"{n:0>width$}\"", width = VALUE_BYTES - 2);
    let kind = ChangeKind::Put(Record {
        collection: "cards".into(),
        id: format!("card-{}", n % RECORDS),
        fields: vec![Field {
            name: "title".into(),
            value: value.into(),
            ..Field::default()
        }],
        ..Record::default()
    });
    Item {
        changes: vec![Change { kind: Some(kind) }],
        ..Item::default()
    }
}
