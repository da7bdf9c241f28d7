//! A new token on a living link: asked for, sent, answered (docs/protocol.md §6).

use std::time::Duration;

use super::Session;
use super::phase::Phase;
use crate::connect::RenewalDue;
use crate::io::{ConnId, Output, Reason, TokenError};
use crate::time::UnixTime;
use crate::wire::{ClientKind, CloseCode, ErrorCode, Refresh, Refreshed};

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

    /// A request was refused for its token: another one is asked for at once, for the current link. The next one
    /// was dialled with a new token just now.
    pub(super) fn renew_now(&mut self, conn: ConnId) {
        let renewal = match &mut self.phase {
            Phase::Linked(links) if links.current.conn == conn => {
                links.welcomed_mut().map(|welcomed| &mut welcomed.renewal)
            }
            _ => None,
        };
        if let Some(renewal) = renewal {
            renewal.fetch();
            self.ask_for_token();
        } else {
            let reason = Reason::Refused {
                code: ErrorCode::TokenExpired,
                detail: "the token was refused".into(),
            };
            self.handle_link_over(conn, Some(CloseCode::GoingAway), reason, None);
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
                self.out.set_token(conn, &token, now);
                self.out
                    .frame_on(conn, ClientKind::Refresh(Refresh { token }));
            }
            Err(error) if error.retryable => welcomed.renewal.on_failed(None, now, &mut self.rng),
            Err(error) => self.end(error.into()),
        }
    }

    /// The server took the token. One that nobody waits for is a copy.
    pub(super) fn handle_refreshed(&mut self, refreshed: Refreshed) {
        // It has just said that the token is good.
        let end = UnixTime(refreshed.expires_ms);
        let server_now = self.server_clock.before(end, self.now);
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
