//! Time: heartbeats, silence, and tokens that expire.

use tidewire_core::planted;
use tidewire_core::time::{MonoTime, UnixTime};
use tidewire_core::wire::{ErrorCode, Heartbeat, ServerKind};

use super::hello::Identity;
use super::{ChannelRef, Connection, Fault, Question};

impl<C: ChannelRef> Connection<C> {
    /// The next moment at which something is due, or may be.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        if self.has_ended {
            return None;
        }
        let paused = self.paused_until;
        let own = match &self.identity {
            // How long an application may look at a token is its driver's business.
            None => self.awaits_hello().then(|| self.hello_deadline()),
            Some(identity) => {
                let expiry = self.enforced_expiry(identity).map(|at| {
                    let left = at.0.saturating_sub(self.now.unix.0);
                    MonoTime(self.now.mono.0.saturating_add(left))
                });
                let silence = self.reads().then(|| self.silence_deadline());
                [Some(self.heartbeat_at), silence, expiry]
                    .into_iter()
                    .flatten()
                    .min()
            }
        };
        [paused, own].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self) -> Result<(), Fault> {
        let now = self.now;
        let config = &self.parts.config;
        if self.paused_until.is_some_and(|until| until <= now.mono) {
            self.paused_until = None;
        }
        let Some(identity) = &self.identity else {
            if self.awaits_hello() && now.mono >= self.hello_deadline() {
                let seconds = config.hello.as_secs();
                let detail = format!("no hello within {seconds} s");
                return Err(Fault::new(ErrorCode::HelloTimeout, detail));
            }
            return Ok(());
        };
        // Whoever is not read cannot be heard.
        if self.reads() && now.mono >= self.silence_deadline() {
            let seconds = config.silence.as_secs();
            let detail = format!("nothing was heard for {seconds} s");
            return Err(Fault::new(ErrorCode::HeartbeatTimeout, detail));
        }
        let expiry = self.enforced_expiry(identity);
        if expiry.is_some_and(|at| at.0 <= now.unix.0) && !planted!(ExpiryNotEnforced) {
            return Err(Fault::new(ErrorCode::TokenExpired, "the token has expired"));
        }
        if now.mono >= self.heartbeat_at {
            self.heartbeat_at = now.mono + config.heartbeat;
            self.heartbeat();
        }
        Ok(())
    }

    /// When the token ends the connection. One that came in time to follow it is looked at first, however
    /// long the application takes.
    fn enforced_expiry(&self, identity: &Identity) -> Option<UnixTime> {
        match self.question.as_deref() {
            Some(Question::Refresh) => None,
            _ => identity.bearer.expiry(),
        }
    }

    fn awaits_hello(&self) -> bool {
        !matches!(self.question.as_deref(), Some(Question::Hello(_)))
    }

    fn hello_deadline(&self) -> MonoTime {
        self.opened + self.parts.config.hello
    }

    fn silence_deadline(&self) -> MonoTime {
        self.heard + self.parts.config.silence
    }

    fn heartbeat(&mut self) {
        for name in self.subscriptions.gone() {
            self.tell_lagged(&name);
        }
        let config = &self.parts.config;
        let (moved_max, others_max) = (config.heads_moved_max, config.heads_others_max);
        let heads = self.subscriptions.heads(moved_max, others_max);
        self.send(ServerKind::Heartbeat(Heartbeat {
            heads,
            server_ms: self.now.unix.0,
        }));
    }
}
