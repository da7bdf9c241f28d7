//! The outbox's store: it is opened first, and its answers go to the channels that they are about.

use super::Session;
use super::phase::Phase;
use crate::channel::name::ChannelName;
use crate::channel::{Channel, Turn};
use crate::io::Output;
use crate::mutation::{MutationHandle, MutationStatus, Opened, OutboxReply, OutboxRequest};

impl Session {
    pub(super) fn ask_store(&mut self, request: OutboxRequest) {
        self.out.push(Output::Outbox(request));
    }

    pub(super) fn handle_outbox(&mut self, reply: OutboxReply) {
        match reply {
            OutboxReply::Opened(opened) => self.handle_store_opened(opened),
            OutboxReply::Loaded { channel, stored } => {
                self.with_named(&channel, |channel, turn| {
                    if !channel.is_loaded() {
                        channel.handle_loaded(turn, stored);
                    }
                });
                if let Some(&id) = self.names.get(&channel) {
                    self.ask_beside(id);
                }
            }
            OutboxReply::Appended { channel, numbers } => {
                let ended = self.with_named(&channel, |channel, turn| {
                    channel.handle_appended(turn, numbers)
                });
                self.remember(ended);
            }
            OutboxReply::Attempted {
                channel,
                from,
                through,
                low,
                rows,
                ended,
                committed,
                has_unjudged,
            } => {
                self.with_named(&channel, |channel, turn| {
                    channel.handle_attempted(turn, from..=through, low, rows);
                    channel.handle_gone(turn, from..=through, ended, &committed);
                    if has_unjudged {
                        channel.judge_again(turn);
                    }
                });
            }
            OutboxReply::Neutralised {
                channel,
                done,
                too_late,
            } => {
                let ended = self.with_named(&channel, |channel, turn| {
                    channel.handle_neutralised(turn, done, too_late)
                });
                self.remember(ended);
            }
            OutboxReply::Settled {
                channel,
                rows,
                has_unjudged,
            } => {
                let ended = self.with_named(&channel, |channel, turn| {
                    let ended = channel.handle_settled(turn, rows);
                    if has_unjudged {
                        channel.judge_again(turn);
                    }
                    ended
                });
                self.remember(ended);
            }
            OutboxReply::Judged { channel, ended } => {
                let told =
                    self.with_named(&channel, |channel, turn| channel.handle_judged(turn, ended));
                self.remember(told);
            }
            OutboxReply::Kept {
                channel,
                epoch,
                proof,
            } => {
                self.with_named(&channel, |channel, turn| {
                    channel.handle_kept(turn, epoch, proof);
                });
            }
            OutboxReply::Foreign { channel, rows } => {
                self.with_named(&channel, |channel, turn| channel.handle_foreign(turn, rows));
            }
            OutboxReply::Failed { request, detail } => self.handle_store_failed(*request, &detail),
        }
    }

    fn handle_store_opened(&mut self, opened: Opened) {
        if self.store.is_some() {
            return;
        }
        self.principal.clone_from(&opened.principal);
        self.store = Some(opened);
        let names: Vec<ChannelName> = self.names.keys().cloned().collect();
        for channel in names {
            self.ask_store(OutboxRequest::Load { channel });
        }
        if matches!(self.phase, Phase::OpeningStore) {
            self.fetch_token();
        }
    }

    /// New rows end; anything else has to happen, and is asked for again after a pause.
    fn handle_store_failed(&mut self, request: OutboxRequest, detail: &str) {
        if let OutboxRequest::Append { channel, rows } = request {
            for row in rows {
                let ended = self.with_named(&channel, |channel, turn| {
                    channel.handle_append_failed(turn, row.handle, detail)
                });
                self.remember(ended.flatten().map(|status| vec![(row.handle, status)]));
            }
        } else {
            self.store_again.push(request);
            let at = self.now.mono + self.config.store_retry;
            self.store_again_at.get_or_insert(at);
        }
    }

    /// Asks for what the store could not do, once it is time.
    pub(super) fn retry_store(&mut self) {
        if self.store_again_at.is_some_and(|at| self.now.mono >= at) {
            self.store_again_at = None;
            for request in std::mem::take(&mut self.store_again) {
                self.ask_store(request);
            }
        }
    }

    fn with_named<T>(
        &mut self,
        name: &ChannelName,
        act: impl FnOnce(&mut Channel, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let id = *self.names.get(name)?;
        self.with_channel(id, act)
    }

    /// Keeps outcomes that the store has, for whoever asks late.
    fn remember(&mut self, ended: Option<Vec<(MutationHandle, MutationStatus)>>) {
        for (handle, status) in ended.into_iter().flatten() {
            self.ended.insert(handle, status);
        }
    }
}
