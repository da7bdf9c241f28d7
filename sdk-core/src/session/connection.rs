//! The life of the session's links: token, open, hello, welcome, and why they end.
//!
//! `moving.rs` holds what concerns the next link alone.

use std::time::Duration;

use bytes::BytesMut;

use super::Session;
use super::phase::Phase;
use crate::connect::Backoff;
use crate::connect::Verdict;
use crate::document::value::Quoted;
use crate::io::{
    ConnId, ConnectionPhase, ConnectionState, Event, LinkClosed, NetworkHint, Output, Reason,
    TokenError, TransportKind,
};
use crate::link::http::Http;
use crate::link::{Link, Links, Next, RETRY_AFTER_MAX};
use crate::time::{MonoTime, Now};
use crate::wire::{
    ClientKind, CloseCode, ErrorCode, Hello, Limits, PROTOCOL_VERSION, Ping, Unsubscribe, Welcome,
};

/// The longest token (docs/protocol.md §11).
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// A jump of one clock against the other that suggests sleep.
const CLOCK_JUMP_MS: u64 = 5_000;

impl Session {
    /// Starts connecting, or retries at once if the next attempt was waiting. A session that ended for
    /// a reason other than [`Self::close`] starts anew.
    pub fn connect(&mut self, now: Now) {
        self.observe(now);
        match self.phase {
            Phase::Closed {
                by_application: false,
            } => {
                self.backoff.reset();
                self.fetch_token();
            }
            Phase::Idle | Phase::Waiting { .. } | Phase::Suspended => self.fetch_token(),
            _ => {}
        }
    }

    /// Closes for good. Pending mutations stay undecided.
    pub fn close(&mut self, now: Now) {
        self.observe(now);
        self.end_links(CloseCode::Normal);
        self.set_phase(
            Phase::Closed {
                by_application: true,
            },
            Some(Reason::Application),
        );
    }

    pub(super) fn fetch_token(&mut self) {
        if self.store.is_none() {
            self.set_phase(Phase::OpeningStore, None);
            return;
        }
        self.set_phase(Phase::FetchingToken, None);
        self.ask_for_token();
    }

    /// One token serves everybody who waits for it.
    pub(super) fn handle_token(&mut self, token: Result<String, TokenError>) {
        self.fetching = false;
        let token = token.and_then(|token| match token.len() {
            0..=TOKEN_BYTES_MAX => Ok(token),
            bytes => Err(TokenError {
                retryable: false,
                detail: format!("token of {bytes} bytes is over the limit of {TOKEN_BYTES_MAX}"),
            }),
        });
        match &mut self.phase {
            Phase::Linked(links) => {
                let is_for_next = matches!(links.next, Some(Next::FetchingToken));
                let renewal = links.welcomed_mut().map(|welcomed| &mut welcomed.renewal);
                let is_for_current = renewal.is_some_and(|renewal| renewal.is_fetching());
                if is_for_next {
                    self.handle_next_token(token.clone());
                }
                if is_for_current {
                    self.handle_new_token(token);
                }
            }
            Phase::FetchingToken => match token {
                Ok(token) => {
                    let kind = self.chain.begin(None, self.now);
                    let link = self.dial(kind, token);
                    self.set_phase(Phase::Linked(Box::new(Links::new(link))), None);
                }
                Err(error) => self.retry(error.into(), None),
            },
            // The link that it was for is gone; the next one asks again.
            _ => {}
        }
    }

    /// Has the driver open a link. `hello` goes with it.
    pub(super) fn dial(&mut self, kind: TransportKind, token: String) -> Link {
        self.last_conn = ConnId(self.last_conn.0 + 1);
        let conn = self.last_conn;
        self.chain.token.clone_from(&token);
        let client = self.store.as_ref().map(|store| store.client);
        let client = client.unwrap_or_default();
        let hello = Hello {
            version: PROTOCOL_VERSION,
            token,
            conn: conn.0,
            client: bytes::Bytes::copy_from_slice(&client.0),
            max_frame: Limits::DEFAULT.frame_down_bytes,
            continues: self.first_session.clone(),
            ..Hello::default()
        };
        if kind == TransportKind::WebSocket {
            let mut first = BytesMut::new();
            self.config
                .codec
                .encode_client(ClientKind::Hello(hello), &mut first);
            self.out.push(Output::Open {
                conn,
                first: first.freeze(),
            });
        } else {
            let config = &self.config;
            let backoff = Backoff::new(config.retry_delay_base, config.retry_delay_max);
            self.out.open(Http::new(conn, kind, hello, backoff));
        }
        Link::new(conn, kind, self.now.mono + self.config.connect_timeout)
    }

    pub(super) fn handle_opened(&mut self, opened: ConnId) {
        if let Some(link) = self.link_mut(opened) {
            link.on_opened();
        }
        if crate::planted!(ConnectedTooEarly) {
            self.report_phase(None);
        }
    }

    pub(super) fn handle_send_failed(&mut self, conn: ConnId, reason: LinkClosed) {
        self.handle_link_over(conn, Some(CloseCode::Internal), reason.into(), None);
    }

    pub(super) fn handle_closed(&mut self, conn: ConnId, reason: LinkClosed) {
        let retry_after = reason.retry_after;
        self.note_status(conn, reason.http_status.unwrap_or(0));
        self.handle_link_over(conn, None, reason.into(), retry_after);
    }

    /// An attempt was answered with this status of HTTP.
    pub(super) fn note_status(&mut self, conn: ConnId, status: u16) {
        let attempt = self.link_mut(conn).filter(|link| link.welcomed().is_none());
        if let Some(kind) = attempt.map(|link| link.kind) {
            self.chain.answered(kind, status);
        }
    }

    pub(super) fn handle_welcome(
        &mut self,
        conn: ConnId,
        welcome: Welcome,
    ) -> Result<(), ErrorCode> {
        let Some(link) = self.link_mut(conn).filter(|link| link.is_open()) else {
            return Err(ErrorCode::UnexpectedFrame);
        };
        if let Some(welcomed) = link.welcomed() {
            // A copy of the one that we had.
            let is_copy = welcomed.session == welcome.session;
            return is_copy.then_some(()).ok_or(ErrorCode::UnexpectedFrame);
        }
        let limits = welcome.limits.ok_or(ErrorCode::UnexpectedFrame)?;
        if welcome.author.len() != 16 {
            return Err(ErrorCode::UnexpectedFrame);
        }
        if let Some(owner) = &self.principal
            && *owner != welcome.principal
        {
            let detail = format!(
                "the token is for {}, but this client's mutations belong to {}: create a new client",
                Quoted(&welcome.principal),
                Quoted(owner)
            );
            let reason = Reason::Token {
                retryable: false,
                detail,
            };
            self.handle_link_over(conn, Some(CloseCode::Normal), reason, None);
            return Ok(());
        }
        let now = self.now.mono;
        if let Phase::Linked(links) = &mut self.phase
            && let Some(link) = links.get_mut(conn)
        {
            link.on_welcome(&welcome, limits, &self.config, now, &mut self.rng);
        }
        self.out
            .welcome(conn, &welcome, limits.frame_up_bytes as usize);
        // A copy: it must not keep the whole message alive.
        self.author = bytes::Bytes::copy_from_slice(&welcome.author);
        if self.first_session.is_empty() {
            self.first_session = bytes::Bytes::copy_from_slice(&welcome.session);
        }
        self.principal = Some(welcome.principal);
        self.choose(conn);
        if self.is_next(conn) {
            self.handle_next_welcomed(conn);
            return Ok(());
        }
        self.limits = limits;
        let first = !self.server_clock.has_samples();
        let calendar = self.server_clock.now(self.now);
        self.server_clock.start(welcome.server_ms, now);
        if first {
            // What was made before could only be counted from the machine's own calendar.
            let server_now = self.server_clock.now(self.now);
            let off_ms = server_now.0.wrapping_sub(calendar.0).cast_signed();
            self.each_channel(|channel, _| channel.queue.shift_deadlines(off_ms));
        }
        self.report_phase(None);
        self.each_channel(|channel, turn| channel.handle_connected(turn, conn));
        Ok(())
    }

    /// The server refused us: a fatal `error`.
    pub(super) fn handle_refusal(
        &mut self,
        conn: ConnId,
        code: ErrorCode,
        detail: String,
        retry_after: Option<Duration>,
    ) {
        let reason = Reason::Refused { code, detail };
        self.handle_link_over(conn, Some(CloseCode::Normal), reason, retry_after);
    }

    /// We refuse what the server sent.
    pub(super) fn handle_violation(&mut self, conn: ConnId, code: ErrorCode) {
        let reason = Reason::Violated { code };
        self.handle_link_over(conn, Some(CloseCode::of(code)), reason, None);
    }

    pub(super) fn handle_hint(&mut self, hint: NetworkHint) {
        if matches!(hint, NetworkHint::Online | NetworkHint::Resumed) {
            self.chain.forget_all();
            self.climb_now();
        }
        match (hint, &self.phase) {
            (_, Phase::Idle | Phase::Closed { .. }) => {}
            (NetworkHint::Frozen, _) => self.suspend(),
            (NetworkHint::Resumed, Phase::Suspended) => self.fetch_token(),
            (NetworkHint::Online | NetworkHint::Resumed, Phase::Waiting { .. }) => {
                self.fetch_token();
            }
            (_, Phase::Linked(_)) => self.probe(),
            _ => {}
        }
    }

    /// A frozen program answers nothing: it leaves cleanly, so that nobody waits for it.
    fn suspend(&mut self) {
        if !matches!(self.phase, Phase::Suspended) {
            self.reset_backoff_if_stable();
            self.end_links(CloseCode::Normal);
            self.set_phase(Phase::Suspended, Some(Reason::Suspended));
        }
    }

    /// Asks the links for a sign of life.
    pub(super) fn probe(&mut self) {
        let now = self.now.mono;
        if let Phase::Linked(links) = &mut self.phase {
            for link in links.each_mut() {
                let conn = link.conn;
                if let Some(welcomed) = link.welcomed_mut()
                    && welcomed.liveness.suspect(now) == Verdict::Probe
                {
                    self.out.frame_on(conn, ClientKind::Ping(Ping { t: now.0 }));
                }
            }
        }
    }

    pub(super) fn handle_link_timeout(&mut self) {
        let now = self.now.mono;
        match &mut self.phase {
            Phase::Waiting { until } if now >= *until => self.fetch_token(),
            Phase::Linked(links) => {
                let mut over = Vec::new();
                for link in links.each_mut() {
                    let (conn, overdue) = (link.conn, link.is_overdue(now));
                    let verdict = match link.welcomed_mut() {
                        Some(welcomed) => welcomed.liveness.check(now),
                        None if overdue => Verdict::Dead,
                        None => Verdict::Alive,
                    };
                    match verdict {
                        Verdict::Alive => {}
                        Verdict::Probe => {
                            self.out.frame_on(conn, ClientKind::Ping(Ping { t: now.0 }));
                        }
                        Verdict::Dead => over.push(conn),
                    }
                }
                for conn in over {
                    let close = Some(CloseCode::Normal);
                    self.handle_link_over(conn, close, Reason::Timeout, None);
                }
                for (conn, heard) in self.out.check(now, &mut self.rng) {
                    self.handle_heard(conn, heard);
                }
                self.join();
                self.handle_next_timeout();
                self.renew();
            }
            _ => {}
        }
    }

    /// Reads the clocks. A jump of one against the other means sleep or a set clock: probe.
    pub(super) fn observe(&mut self, now: Now) {
        debug_assert!(now.mono >= self.now.mono, "monotonic time went backwards");
        let mono = now.mono.max(self.now.mono);
        let mono_passed = mono.0 - self.now.mono.0;
        let unix_passed = now.unix.0.saturating_sub(self.now.unix.0);
        let went_back = self.now.unix.0.saturating_sub(now.unix.0);
        self.now = Now {
            mono,
            unix: now.unix,
        };
        if unix_passed > mono_passed.saturating_add(CLOCK_JUMP_MS) {
            self.server_clock.on_slept(unix_passed - mono_passed);
        }
        if went_back > CLOCK_JUMP_MS || unix_passed.abs_diff(mono_passed) > CLOCK_JUMP_MS {
            self.probe();
        }
    }

    /// A link is over. `close`: we end it, with this code; else it ended by itself.
    ///
    /// The end of the next one is no matter of the session's; the end of the current one is none if
    /// the next one can take over.
    pub(super) fn handle_link_over(
        &mut self,
        conn: ConnId,
        close: Option<CloseCode>,
        reason: Reason,
        retry_after: Option<Duration>,
    ) {
        if self.link_mut(conn).is_none() {
            return;
        }
        match close {
            Some(code) => self.out.close(conn, code),
            None => self.out.detach(conn),
        }
        if self.is_next(conn) {
            self.handle_next_over(reason, retry_after);
        } else {
            self.handle_current_over(reason, retry_after);
        }
    }

    /// The current link is gone.
    pub(super) fn handle_current_over(&mut self, reason: Reason, retry_after: Option<Duration>) {
        self.reset_backoff_if_stable();
        let Phase::Linked(links) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        let current = &links.current;
        let was_attempt = current.welcomed().is_none();
        // The server's own word ends a round of attempts; so does a pause that anybody asks for.
        let is_word = matches!(reason, Reason::Refused { .. } | Reason::Token { .. });
        let ends_round = was_attempt && (is_word || retry_after.is_some());
        if was_attempt && !ends_round {
            self.chain.failed(current.kind);
        }
        match links.next {
            Some(Next::Link { link, .. }) if link.welcomed().is_some() => self.take_over(link),
            Some(Next::Link { link, .. }) if ends_round => {
                self.out.close(link.conn, CloseCode::GoingAway);
                self.retry(reason, retry_after);
            }
            // What was begun beside the link is the way to the next one now.
            Some(Next::Link { link, .. }) if reason.is_retryable() => {
                self.each_channel(|channel, turn| channel.handle_disconnected(turn));
                if !was_attempt {
                    self.chain.begin(Some(link.kind), self.now);
                }
                self.set_phase(Phase::Linked(Box::new(Links::new(link))), Some(reason));
            }
            Some(Next::FetchingToken) if reason.is_retryable() => {
                self.each_channel(|channel, turn| channel.handle_disconnected(turn));
                self.set_phase(Phase::FetchingToken, Some(reason));
            }
            next => {
                if let Some(Next::Link { link, .. }) = next {
                    self.out.close(link.conn, CloseCode::Normal);
                }
                if was_attempt
                    && !ends_round
                    && let Some(kind) = self.chain.next(self.now)
                {
                    let link = self.dial(kind, self.chain.token.clone());
                    self.set_phase(Phase::Linked(Box::new(Links::new(link))), Some(reason));
                    return;
                }
                self.retry(reason, retry_after);
            }
        }
    }

    /// Leaves a healthy link and opens the next one at once, or goes where the next one leads.
    pub(super) fn reconnect(&mut self, reason: Reason) {
        if let Phase::Linked(links) = &self.phase
            && links.next.is_some()
        {
            let conn = links.current.conn;
            self.handle_link_over(conn, Some(CloseCode::Normal), reason, None);
            return;
        }
        self.end_links(CloseCode::Normal);
        self.backoff.reset();
        self.report(ConnectionPhase::Connecting, None, Some(reason));
        self.fetch_token();
    }

    /// There is no link: wait and try again, or end, as `reason` says.
    pub(super) fn retry(&mut self, reason: Reason, retry_after: Option<Duration>) {
        self.chain.end_round();
        self.each_channel(|channel, turn| channel.handle_disconnected(turn));
        let reason = match reason {
            Reason::Network { detail } if self.chain.is_blocked() => Reason::Blocked { detail },
            Reason::Timeout | Reason::Violated { .. } if self.chain.is_blocked() => {
                let detail = String::new();
                Reason::Blocked { detail }
            }
            reason => reason,
        };
        if !reason.is_retryable() {
            self.end(reason);
            return;
        }
        if let Some(max) = self.config.retries_max
            && self.backoff.attempts() >= max
        {
            self.end(Reason::GaveUp {
                cause: Box::new(reason),
            });
            return;
        }
        let floor = retry_after.map(|after| after.min(RETRY_AFTER_MAX));
        let mut delay = self.backoff.next_delay(floor, &mut self.rng);
        if crate::planted!(BackoffWithoutPause) {
            delay = Duration::ZERO;
        }
        let until = self.now.mono + delay;
        self.set_phase(Phase::Waiting { until }, Some(reason));
    }

    pub(super) fn reset_backoff_if_stable(&mut self) {
        if let Phase::Linked(links) = &self.phase
            && let Some(welcomed) = links.current.welcomed()
            && self.now.mono.since(welcomed.since) >= self.config.stable_after
        {
            self.backoff.reset();
            if self.chain.rank(links.current.kind) == 0 {
                self.chain.climbed();
            }
        }
    }

    pub(super) fn end(&mut self, reason: Reason) {
        self.end_links(CloseCode::Normal);
        self.set_phase(
            Phase::Closed {
                by_application: false,
            },
            Some(reason),
        );
    }

    /// Closes the links from our side, if there are any.
    fn end_links(&mut self, code: CloseCode) {
        let Phase::Linked(links) = &self.phase else {
            return;
        };
        for link in links.each() {
            if link.kind != TransportKind::WebSocket && link.welcomed().is_some() {
                // There is no close code that says that we do not come back.
                for name in self.names.keys() {
                    let channel = name.to_string();
                    let unsubscribe = ClientKind::Unsubscribe(Unsubscribe { channel });
                    self.out.frame_on(link.conn, unsubscribe);
                }
            }
            self.out.close(link.conn, code);
        }
        self.phase = Phase::Idle;
        self.chain.end_round();
        self.each_channel(|channel, turn| channel.handle_disconnected(turn));
    }

    pub(super) fn set_phase(&mut self, phase: Phase, reason: Option<Reason>) {
        self.phase = phase;
        self.report_phase(reason);
    }

    pub(super) fn report_phase(&mut self, reason: Option<Reason>) {
        let (phase, transport) = match &self.phase {
            Phase::Idle => (ConnectionPhase::Idle, None),
            Phase::OpeningStore | Phase::FetchingToken => (ConnectionPhase::Connecting, None),
            Phase::Linked(links) => {
                let link = &links.current;
                let phase = match (link.welcomed(), link.leave()) {
                    (None, _) if crate::planted!(ConnectedTooEarly) && link.is_open() => {
                        ConnectionPhase::Connected
                    }
                    (None, _) => ConnectionPhase::Connecting,
                    (_, None) => ConnectionPhase::Connected,
                    (_, Some(_)) => ConnectionPhase::Draining,
                };
                (phase, Some(link.kind))
            }
            Phase::Waiting { .. } | Phase::Suspended => (ConnectionPhase::Waiting, None),
            Phase::Closed { .. } => (ConnectionPhase::Closed, None),
        };
        self.report(phase, transport, reason);
    }

    /// Tells the application, unless nothing changed for it. While connecting, the reason of the last
    /// failure stays visible.
    fn report(
        &mut self,
        phase: ConnectionPhase,
        transport: Option<TransportKind>,
        reason: Option<Reason>,
    ) {
        let (reason, transport) = match phase {
            ConnectionPhase::Connecting => (
                reason.or_else(|| self.state.reason.clone()),
                Some(transport.unwrap_or_else(|| self.chain.best(self.now.unix))),
            ),
            _ => (reason, transport),
        };
        if self.state.phase == phase
            && self.state.reason == reason
            && self.state.transport == transport
        {
            return;
        }
        self.state = ConnectionState {
            phase,
            transport,
            since: self.now.unix,
            reason,
        };
        self.out.event(Event::Connection(self.state.clone()));
    }

    pub(super) fn link_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Linked(links) => links.get_mut(conn),
            _ => None,
        }
    }

    pub(super) fn is_next(&self, conn: ConnId) -> bool {
        matches!(&self.phase, Phase::Linked(links) if links.is_next(conn))
    }

    /// The next moment at which something is due for the links.
    pub(super) fn link_deadline(&self) -> Option<MonoTime> {
        match &self.phase {
            Phase::Linked(links) => {
                let others = [links.deadline(), self.out.deadline(), self.chain.deadline()];
                others.into_iter().flatten().min()
            }
            Phase::Waiting { until } => {
                Some(self.chain.deadline().map_or(*until, |at| at.min(*until)))
            }
            Phase::Idle
            | Phase::OpeningStore
            | Phase::FetchingToken
            | Phase::Suspended
            | Phase::Closed { .. } => None,
        }
    }
}

impl From<LinkClosed> for Reason {
    fn from(closed: LinkClosed) -> Self {
        let detail = match (closed.code, closed.http_status, closed.detail.is_empty()) {
            (_, _, false) => closed.detail,
            (Some(code), _, true) => format!("the link was closed with code {code}"),
            (None, Some(status), true) => format!("the link was refused with HTTP {status}"),
            (None, None, true) => "the link broke or could not be opened".into(),
        };
        Self::Network { detail }
    }
}
