//! Which transport the session's links use: rounds of attempts, and the way back up from a fallback
//! (docs/protocol/connection.md).
//!
//! Invariant: at most two links live. A try of a better transport never touches a link that works.

use std::time::Duration;

use super::Session;
use super::phase::Phase;
use crate::io::{ConnId, Output, Probed, Reason, TransportKind};
use crate::link::{Links, Next};
use crate::wire::CloseCode;

impl Session {
    /// A link was welcomed. The first one of a round is the session's; of the others only a better one goes on.
    pub(super) fn choose(&mut self, conn: ConnId) {
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        let Some(kind) = links.get(conn).map(|link| link.kind) else {
            return;
        };
        self.chain.proved(kind, self.now.unix);
        if links.is_next(conn) {
            if links.current.welcomed().is_some() {
                return;
            }
            if let Some(Next::Link { link, .. }) = links.next.take() {
                let link = std::mem::replace(&mut links.current, link);
                links.next = Some(Next::Link { link, by: None });
            }
        }
        let beside = links.next_link().map(|next| (next.conn, next.kind));
        if let Some((beside, other)) = beside
            && self.chain.rank(other) > self.chain.rank(kind)
        {
            links.next = None;
            self.out.close(beside, CloseCode::GoingAway);
        }
        self.plan_climb(None, &Reason::Timeout);
    }

    /// What a round has tried has shown nothing for a moment: the next transport joins.
    pub(super) fn join(&mut self) {
        let now = self.now.mono;
        if !self.chain.is_join_due(now) {
            return;
        }
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        let newest = links.next_link().unwrap_or(&links.current);
        // A stream that has begun is not held back on its way: the server is about to answer.
        let shows = newest.kind == TransportKind::Sse && newest.is_open();
        if links.current.welcomed().is_some() || shows {
            return;
        }
        self.chain.doubt();
        let Some(kind) = self.chain.next(self.now) else {
            if self.chain.is_blocked() {
                self.give_up_round();
            }
            return;
        };
        let next = links.next.take();
        if let Some(Next::Link { link, .. }) = next {
            // The older of two that have shown nothing goes.
            let old = std::mem::replace(links, Box::new(Links::new(link)));
            if !crate::planted!(ThirdLinkOpened) {
                self.out.close(old.current.conn, CloseCode::GoingAway);
            }
            self.chain.failed(old.current.kind);
        }
        let link = self.dial(kind, self.chain.token.clone());
        if let Phase::Linked(links) = &mut self.phase {
            links.next = Some(Next::Link { link, by: None });
        }
        self.report_phase(None);
    }

    /// Nothing of a round was of use, and somebody else answers in the server's place.
    fn give_up_round(&mut self) {
        let Phase::Linked(links) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        for link in links.each() {
            self.out.close(link.conn, CloseCode::GoingAway);
        }
        self.retry(Reason::Timeout, None);
    }

    /// An attempt that had joined another one is over.
    pub(super) fn handle_joined_over(
        &mut self,
        joined: Option<Next>,
        reason: Reason,
        retry_after: Option<Duration>,
    ) {
        let is_word = matches!(reason, Reason::Refused { .. } | Reason::Token { .. });
        if is_word || retry_after.is_some() {
            if let Phase::Linked(links) = std::mem::replace(&mut self.phase, Phase::Idle) {
                self.out.close(links.current.conn, CloseCode::GoingAway);
            }
            self.retry(reason, retry_after);
            return;
        }
        if let Some(Next::Link { link, .. }) = &joined {
            self.chain.failed(link.kind);
        }
        if let Some(kind) = self.chain.next(self.now) {
            let link = self.dial(kind, self.chain.token.clone());
            if let Phase::Linked(links) = &mut self.phase {
                links.next = Some(Next::Link { link, by: None });
            }
        }
    }

    /// Over which transport the next link goes: the one that works, or a better one.
    pub(super) fn next_kind(&mut self) -> TransportKind {
        match &self.phase {
            Phase::Linked(links) if links.current.leave().is_some() => links.current.kind,
            Phase::Linked(links) => self.chain.climb_to(links.current.kind, self.now.mono),
            _ => self.chain.best(self.now.unix),
        }
    }

    /// Plans the next try of a better transport, unless something else is under way. `failed`: the one before.
    pub(super) fn plan_climb(&mut self, failed: Option<&Next>, reason: &Reason) {
        let Phase::Linked(links) = &mut self.phase else {
            return;
        };
        let current = &links.current;
        if current.welcomed().is_none() || current.leave().is_some() || links.next.is_some() {
            return;
        }
        let is_word = matches!(reason, Reason::Refused { .. } | Reason::Token { .. });
        if let Some(Next::Link { link, .. }) = failed
            && !is_word
            && link.welcomed().is_none()
        {
            self.chain.climb_failed(link.kind, self.now.unix);
        }
        let planned = self
            .chain
            .plan_climb(current.kind, self.now.mono, &mut self.rng);
        links.next = planned.map(|at| Next::Planned { at });
    }

    /// The network may be another one: a better transport is tried now.
    pub(super) fn climb_now(&mut self) {
        let soon = self.chain.climb_at(self.now.mono);
        if let Phase::Linked(links) = &mut self.phase
            && links.current.leave().is_none()
            && let Some(Next::Planned { at }) = &mut links.next
        {
            *at = soon.min(*at);
        }
    }

    /// Asks who answers in this network, if that is in doubt.
    pub(super) fn probe_network(&mut self) {
        if matches!(self.phase, Phase::Linked(_) | Phase::Waiting { .. })
            && let Some(probe) = self.chain.probe_if_due(self.now.mono)
        {
            self.out.push(Output::Probe { probe });
        }
    }

    /// Somebody has answered, or nobody. Once the server does again, nothing keeps us waiting.
    pub(super) fn handle_probed(&mut self, probe: u64, found: Probed) {
        let is_back = self.chain.found(probe, found, self.now.mono);
        if !matches!(self.phase, Phase::Waiting { .. }) {
            return;
        }
        if is_back {
            self.fetch_token();
        } else if self.chain.is_blocked() {
            let detail = match &self.state.reason {
                Some(Reason::Network { detail }) => detail.clone(),
                _ => String::new(),
            };
            self.report_phase(Some(Reason::Blocked { detail }));
        }
    }
}
