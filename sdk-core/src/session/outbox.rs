//! Answers of the outbox's store.

use super::Session;
use crate::mutation::{OutboxReply, Settlement};

impl Session {
    pub(super) fn handle_outbox(&mut self, reply: OutboxReply) {
        match reply {
            OutboxReply::Appended { handle, n } => {
                if let Some(&id) = self.handles.get(&handle) {
                    self.with_channel(id, |channel, turn| {
                        channel.handle_appended(turn, handle, n);
                    });
                }
            }
            OutboxReply::AppendFailed { handle, detail } => {
                if let Some(id) = self.handles.remove(&handle) {
                    let ended = self.with_channel(id, |channel, turn| {
                        channel.handle_append_failed(turn, handle, detail)
                    });
                    if let Some(status) = ended.flatten() {
                        self.ended.insert(handle, status);
                    }
                }
            }
            OutboxReply::Attempted { channel, rows } => {
                if let Some(&id) = self.names.get(channel.as_str()) {
                    self.with_channel(id, |channel, turn| channel.handle_attempted(turn, &rows));
                }
            }
            OutboxReply::Neutralised { channel, rows } => {
                self.remember(&rows);
                if let Some(&id) = self.names.get(channel.as_str()) {
                    self.with_channel(id, |channel, turn| channel.handle_neutralised(turn, rows));
                }
            }
            OutboxReply::Settled { channel, rows } => {
                self.remember(&rows);
                for row in &rows {
                    self.handles.remove(&row.handle);
                }
                if let Some(&id) = self.names.get(channel.as_str()) {
                    self.with_channel(id, |channel, turn| channel.handle_settled(turn, rows));
                }
            }
        }
    }

    /// Keeps outcomes that the store has, for whoever asks late.
    fn remember(&mut self, rows: &[Settlement]) {
        for row in rows {
            self.ended.insert(row.handle, row.status.clone());
        }
    }
}
