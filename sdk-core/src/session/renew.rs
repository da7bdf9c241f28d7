//! A new token on a living link: asked for, sent, answered (docs/protocol.md §6).

use std::time::Duration;

use super::Session;
use super::phase::Phase;
use crate::connect::RenewalDue;
use crate::io::{Output, Reason, TokenError};
use crate::wire::{ClientKind, ErrorCode, Refresh, Refreshed};

impl Session {
    /// Does what is due for the token of the present link.
    pub(super) fn renew(&mut self) {
        let now = self.now.mono;
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        let Some(welcomed) = links.welcomed_mut() else {
            return;
        };
        match welcomed.renewal.poll(now) {
            RenewalDue::Nothing => {}
            RenewalDue::Token => self.ask_for_token(),
            RenewalDue::Unanswered => self.reconnect(Reason::Timeout),
        }
    }

    /// Asks the application, unless it is looking already.
    pub(super) fn ask_for_token(&mut self) {
        if !self.fetching {
            self.fetching = true;
            self.out.push(Output::FetchToken);
        }
    }

    /// The application's answer, for a link that has a token still.
    pub(super) fn handle_new_token(&mut self, token: Result<String, TokenError>) {
        let now = self.now.mono;
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        let Some(welcomed) = links.welcomed_mut() else {
            return;
        };
        match token {
            Ok(token) => {
                welcomed.renewal.on_sent(now);
                let conn = links.current.conn;
                self.out
                    .frame_on(conn, ClientKind::Refresh(Refresh { token }));
            }
            Err(error) if error.retryable => welcomed.renewal.on_failed(None, now, &mut self.rng),
            Err(error) => self.end(error.into()),
        }
    }

    /// The server took the token. One that nobody waits for is a copy.
    pub(super) fn handle_refreshed(&mut self, refreshed: Refreshed) {
        let guess = self.server_clock.now(self.now);
        // It has just said that the token is good: a guess about sleep that contradicts it was wrong.
        let server_now = if guess.0 < refreshed.expires_ms {
            guess
        } else {
            self.server_clock.at_least(self.now)
        };
        if let Phase::Linked(links) = &mut self.phase
            && let Some(welcomed) = links.welcomed_mut()
            && welcomed.renewal.is_sent()
        {
            let life_ms = refreshed.expires_ms.saturating_sub(server_now.0);
            let life = (refreshed.expires_ms > 0).then(|| Duration::from_millis(life_ms));
            welcomed.renewal.plan(life, self.now.mono, &mut self.rng);
        }
    }

    /// The server said something that concerns no channel, perhaps about the token. A refusal for good
    /// is fatal, and ends the link.
    pub(super) fn handle_refresh_error(&mut self, code: ErrorCode, retry_after: Option<Duration>) {
        let now = self.now.mono;
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        let Some(welcomed) = links.welcomed_mut() else {
            return;
        };
        if !welcomed.renewal.is_sent() {
            return;
        }
        match code {
            // The old token is still good.
            ErrorCode::AuthUnavailable | ErrorCode::Overloaded => {
                welcomed.renewal.on_failed(retry_after, now, &mut self.rng);
            }
            ErrorCode::Unsupported => self.reconnect(Reason::Refused {
                code,
                detail: "the server takes a new token on a new link only".into(),
            }),
            _ => {}
        }
    }
}
