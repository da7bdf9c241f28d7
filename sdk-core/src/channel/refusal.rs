//! A subscribe that the server does not answer for now, and the way out when it never will.
//!
//! Invariant: nothing that a server says here ends anything for good: the channel asks again at the time that
//! it was given, and the view stays, stale and with the reason.

use std::time::Duration;

use super::{Channel, ChannelDelay, ChannelState, Turn};
use crate::config::Config;
use crate::mutation::Settlement;
use crate::time::MonoTime;
use crate::wire::{Cursor, ErrorCode};

/// The server knows no epoch as high as ours: it is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(60 * 60);
/// What a server may ask for, at least and at most.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

impl Channel {
    /// The server has no answer now. Counts in every state: whatever stream there was, it is over.
    pub(crate) fn handle_put_off(
        &mut self,
        turn: &mut Turn<'_>,
        code: ErrorCode,
        detail: String,
        pause: Option<Duration>,
    ) {
        if !self.has_use_for_frames() {
            return;
        }
        if code == ErrorCode::RecoveryRequired {
            self.foreign_since.get_or_insert(turn.now);
        }
        let pause = pause.unwrap_or(ASK_AGAIN).clamp(PAUSE_MIN, PAUSE_MAX);
        // Many were told the same: they do not come back together.
        let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(turn.rng.u64(0..=ms / 4));
        self.close_stream();
        self.state = ChannelState::Backoff;
        self.subscribe_at = Some(turn.now + pause + jitter);
        let delay = Some(ChannelDelay { code, detail });
        let told = std::mem::replace(&mut self.delay, delay);
        self.refresh_status(turn);
        if told != self.delay {
            self.tell_status(turn);
        }
    }

    /// When the way out is taken without being asked for.
    pub(super) fn start_over_at(&self, config: &Config) -> Option<MonoTime> {
        Some(self.foreign_since? + config.start_over_after)
    }

    /// Gives the base up, and with it the epoch that the server does not know: the next answer is the
    /// server's state, whatever it is. What was sent can have been applied in a log that nobody has any
    /// more; what was not sent goes on.
    pub(crate) fn start_over(&mut self, turn: &mut Turn<'_>) {
        if self.state == ChannelState::Failed {
            return;
        }
        let rows = self.queue.from(0).filter(|(_, row)| row.marked);
        let sent: Vec<u64> = rows.map(|(n, _)| n).collect();
        let mut settled = Vec::new();
        for n in sent {
            self.settle_as(Settlement::unknown(n), &mut settled);
        }
        self.drop_settled(turn, settled);
        self.given_up = self.applied.take().or(self.given_up);
        self.head = Cursor::default();
        self.keep_epoch(turn, 0, self.max_epoch);
        self.judged = 0;
        self.base_epoch = 0;
        self.max_epoch = 0;
        self.proof.clear();
        self.foreign_since = None;
        self.known_last = 0;
        self.base_last = 0;
        if turn.linked && self.state != ChannelState::Suspended {
            self.resubscribe(turn);
        }
    }
}
