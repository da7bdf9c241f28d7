//! The move from the current link to the next one: when it is opened, and when it takes over
//! (docs/protocol.md §6).
//!
//! Invariant: what happens to the next link never ends or pauses the session.

use std::time::Duration;

use super::Session;
use super::phase::Phase;
use crate::channel::ChannelId;
use crate::io::{ConnId, Reason, TokenError};
use crate::link::{Leave, Link, Links, Next, REDIAL_MIN, RETRY_AFTER_MAX};
use crate::planted;
use crate::wire::{self, CloseCode, Goaway};

/// The longest window that a server's word makes us keep, in ms.
const WINDOW_MS_MAX: u32 = 600_000;

impl Session {
    /// The server asks us to go. The link goes on, in everything, until the next one has taken over.
    pub(super) fn handle_goaway(&mut self, conn: ConnId, goaway: Goaway) {
        let now = self.now.mono;
        let window_ms = u64::from(goaway.window_ms.min(WINDOW_MS_MAX));
        // The last part of the window is for the move itself.
        let dial_ms = self.rng.u64(0..=window_ms * 7 / 10);
        let leave = Leave {
            dial_at: (!goaway.alone).then(|| now + Duration::from_millis(dial_ms)),
            leave_at: now + Duration::from_millis(window_ms),
            detail: wire::cut_detail(goaway.reason),
        };
        let Some(welcomed) = self.link_mut(conn).and_then(Link::welcomed_mut) else {
            return;
        };
        if welcomed.leave.is_none() {
            welcomed.leave = Some(leave);
            self.follow_goaway();
        }
    }

    /// Plans the next link, if the current one is to be left. The first move is made when the server
    /// says, later ones wait as failed attempts do: whoever sends away everybody who comes makes
    /// nobody spin.
    fn follow_goaway(&mut self) {
        self.reset_backoff_if_stable();
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        let Some(leave) = links.current.leave() else {
            return;
        };
        let reason = Reason::Goaway {
            detail: leave.detail.clone(),
        };
        // A better transport can wait.
        let is_free = matches!(links.next, None | Some(Next::Planned { .. }));
        if let Some(dial_at) = leave.dial_at
            && is_free
        {
            let is_first = self.backoff.attempts() == 0;
            let delay = self.backoff.next_delay(None, &mut self.rng);
            let at = match is_first {
                true => dial_at,
                false => dial_at.max(self.now.mono + delay),
            };
            links.next = Some(Next::Planned { at });
        }
        self.report_phase(Some(reason));
    }

    /// What is due for the next link, or for leaving without one.
    pub(super) fn handle_next_timeout(&mut self) {
        let now = self.now.mono;
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        if let Some(leave) = links.current.leave()
            && leave.dial_at.is_none()
            && now >= leave.leave_at
        {
            let reason = Reason::Goaway {
                detail: leave.detail.clone(),
            };
            let conn = links.current.conn;
            self.handle_link_over(conn, Some(CloseCode::Normal), reason, None);
            return;
        }
        match &links.next {
            Some(Next::Planned { at }) if now >= *at => {
                links.next = Some(Next::FetchingToken);
                self.ask_for_token();
            }
            Some(Next::Link { link, by: Some(by) })
                if now >= *by && !planted!(AllChannelsMustAnswer) =>
            {
                // A current link that is silent beyond its heartbeat is over by now.
                if links.current.leave().is_some() {
                    self.move_over();
                } else {
                    let conn = link.conn;
                    self.handle_link_over(conn, Some(CloseCode::Normal), Reason::Timeout, None);
                }
            }
            _ => {}
        }
    }

    /// The application's answer, for the next link.
    pub(super) fn handle_next_token(&mut self, token: Result<String, TokenError>) {
        match token {
            Ok(token) => {
                let kind = self.next_kind();
                let link = self.dial(kind, token);
                if let Phase::Linked(links) = &mut self.phase {
                    links.next = Some(Next::Link { link, by: None });
                }
            }
            Err(error) => self.handle_next_over(error.into(), None),
        }
    }

    /// The next link can be asked on: every channel does.
    pub(super) fn handle_next_welcomed(&mut self, conn: ConnId) {
        if let Phase::Linked(links) = &mut self.phase
            && let Some(Next::Link { by, .. }) = &mut links.next
        {
            *by = Some(self.now.mono + self.config.progress_timeout);
        }
        self.each_channel(|channel, turn| channel.ask_on(turn, conn));
    }

    /// A channel that wants a stream only now asks on the next link too, if there is one.
    pub(super) fn ask_beside(&mut self, id: ChannelId) {
        if let Phase::Linked(links) = &self.phase
            && let Some(conn) = links.next_welcomed()
        {
            self.with_channel(id, |channel, turn| channel.ask_on(turn, conn));
        }
    }

    /// The next link failed, or there is no token for it. It is tried again for as long as the current
    /// one is to be left; what a retry cannot mend the session hears when it has no link any more.
    pub(super) fn handle_next_over(&mut self, reason: Reason, retry_after: Option<Duration>) {
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        let (current, next) = (links.current.conn, links.next.take());
        if links.current.welcomed().is_none() {
            self.handle_joined_over(next, reason, retry_after);
            return;
        }
        let ends_all = planted!(NextFailureEndsSession);
        if ends_all || planted!(RefusedDialClosesCurrent) && links.current.leave().is_some() {
            self.out.close(current, CloseCode::Normal);
            self.handle_current_over(reason, retry_after);
            return;
        }
        if reason.is_retryable() && links.current.leave().is_some() {
            let floor = retry_after
                .unwrap_or_default()
                .clamp(REDIAL_MIN, RETRY_AFTER_MAX);
            let delay = links.redial.next_delay(Some(floor), &mut self.rng);
            let at = self.now.mono + delay;
            links.next = Some(Next::Planned { at });
        }
        self.plan_climb(next.as_ref(), &reason);
        if let Some(Next::Link { link, .. }) = next {
            let gone = link.conn;
            self.each_channel(|channel, turn| channel.handle_next_gone(turn, gone, current));
        }
    }

    /// The next link takes over once every channel has its answer or its refusal there, and pushes on
    /// the current one are answered or have had a second.
    pub(super) fn finish_move(&mut self) {
        if let Phase::Linked(links) = &self.phase
            && links.next_welcomed().is_some()
            && self.attention.load.unmoved == 0
        {
            self.move_over();
        }
    }

    /// Closes the current link; the next one takes over.
    fn move_over(&mut self) {
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        if let Some(Next::Link { link, .. }) = links.next.take() {
            let old = links.current.conn;
            self.reset_backoff_if_stable();
            // Not 1000: whoever says that leaves, with its presence.
            self.out.close(old, CloseCode::GoingAway);
            self.take_over(link);
        }
    }

    /// The next link is the current one from now on. What still asks there waits as without a stream.
    pub(super) fn take_over(&mut self, link: Link) {
        let conn = link.conn;
        if let Some(welcomed) = link.welcomed() {
            self.limits = welcomed.limits;
            self.server_clock.start(welcomed.server_ms, welcomed.since);
        }
        self.phase = Phase::Linked(Box::new(Links::new(link)));
        self.each_channel(|channel, turn| channel.handle_moved(turn, conn));
        self.report_phase(None);
        self.follow_goaway();
        self.plan_climb(None, &Reason::Timeout);
    }
}
