//! Saying no to a frame without ending the connection.

use tidewire_core::wire::{ErrorCode, ErrorFrame, Hold, ServerKind, cut_detail};

use super::{ChannelRef, Connection, To};
use crate::principal::Action;

/// When a client may come again after most refusals.
pub(super) const RETRY_MS: u32 = 500;

/// A refusal that concerns one channel and leaves the connection alone.
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    detail: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }

    pub(super) fn forbidden(action: Action) -> Self {
        Self::new(
            ErrorCode::Forbidden,
            format!("this principal may not {action} this channel"),
        )
    }

    pub(super) fn too_many_channels() -> Self {
        Self::new(
            ErrorCode::Overloaded,
            "this server runs as many channels as it can",
        )
    }

    pub(super) fn busy() -> Self {
        Self::new(ErrorCode::Overloaded, "the channel is busy")
    }
}

impl<C: ChannelRef> Connection<C> {
    /// A push has to come again later: its rows are as good as before.
    pub(super) fn hold(&mut self, channel: String) {
        self.send(ServerKind::Hold(Hold {
            channel,
            code: ErrorCode::Overloaded as u32,
            retry_ms: RETRY_MS,
        }));
    }

    /// Refuses a subscribe or a push. What ends the subscription for the client ends it here too:
    /// whoever lost the right to read gets nothing more.
    pub(super) fn refuse(&mut self, channel: String, refusal: Refusal) {
        if refusal.code.ends_channel()
            && let Ok(name) = channel.parse()
            && let Some(task) = self.subscriptions.remove(&name)
        {
            self.let_go(To::Task(task), true);
        }
        self.send_refusal(Some(channel), refusal);
    }

    /// Refuses what goes on beside the subscription, which stays: a code that would end it travels
    /// without the channel's name as a field.
    pub(super) fn refuse_beside(&mut self, channel: String, refusal: Refusal) {
        match refusal.code.ends_channel() {
            true => {
                let detail = format!("{}: {}", cut_detail(channel), refusal.detail);
                self.send_refusal(None, Refusal::new(refusal.code, detail));
            }
            false => self.send_refusal(Some(channel), refusal),
        }
    }

    fn send_refusal(&mut self, channel: Option<String>, refusal: Refusal) {
        let retryable = refusal.code.is_retryable();
        self.send(ServerKind::Error(ErrorFrame {
            code: refusal.code as u32,
            channel: channel.map(cut_detail),
            retry_ms: retryable.then_some(RETRY_MS),
            detail: cut_detail(refusal.detail),
            ..ErrorFrame::default()
        }));
    }
}
