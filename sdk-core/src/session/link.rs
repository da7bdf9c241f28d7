//! The life of a link: token, open, hello, welcome, and why it ends.

use std::time::Duration;

use super::input::{ConnId, LinkClosed, NetworkHint, TokenError, TransportKind};
use super::output::{ConnectionState, Event, Output, Reason};
use super::phase::{Connected, Leave, Phase};
use super::{ConnectionPhase, Session};
use crate::connect::{Backoff, Liveness, Renewal, Verdict};
use crate::document::value::Quoted;
use crate::time::Now;
use crate::wire::{
    self, ClientKind, CloseCode, ErrorCode, Goaway, Hello, Limits, PROTOCOL_VERSION, Ping, Welcome,
};

/// The longest pause that a server's word makes us keep.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
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
        self.end_link(CloseCode::Normal);
        self.set_phase(
            Phase::Closed {
                by_application: true,
            },
            Some(Reason::Application),
        );
    }

    fn fetch_token(&mut self) {
        self.set_phase(Phase::FetchingToken, None);
        self.ask_for_token();
    }

    pub(super) fn handle_token(&mut self, token: Result<String, TokenError>) {
        self.fetching = false;
        let token = token.and_then(|token| match token.len() {
            0..=TOKEN_BYTES_MAX => Ok(token),
            bytes => Err(TokenError {
                retryable: false,
                detail: format!("token of {bytes} bytes is over the limit of {TOKEN_BYTES_MAX}"),
            }),
        });
        match &self.phase {
            Phase::Connected(connected) if connected.renewal.is_fetching() => {
                self.handle_new_token(token);
            }
            Phase::FetchingToken => match token {
                Ok(token) => self.open(token),
                Err(error) => self.retry(error.into(), None),
            },
            // The link that it was for is gone; the next one asks again.
            _ => {}
        }
    }

    fn open(&mut self, token: String) {
        self.token = token;
        self.last_conn = ConnId(self.last_conn.0 + 1);
        let conn = self.last_conn;
        let by = self.now.mono + self.config.connect_timeout;
        self.set_phase(Phase::Opening { conn, by }, None);
        self.out.push(Output::Open {
            conn,
            kind: TransportKind::WebSocket,
        });
    }

    pub(super) fn handle_opened(&mut self, opened: ConnId) {
        let Phase::Opening { conn, by } = self.phase else {
            return;
        };
        if opened != conn {
            return;
        }
        self.set_phase(Phase::Handshaking { conn, by }, None);
        self.out.attach(conn, self.limits.frame_up_bytes as usize);
        self.out.frame(ClientKind::Hello(Hello {
            version: PROTOCOL_VERSION,
            token: std::mem::take(&mut self.token),
            conn: conn.0,
            client: bytes::Bytes::copy_from_slice(&self.client.0),
            max_frame: Limits::DEFAULT.frame_down_bytes,
        }));
    }

    pub(super) fn handle_closed(&mut self, closed: ConnId, reason: LinkClosed) {
        if self.phase.conn() != Some(closed) {
            return;
        }
        self.out.detach();
        let detail = match (reason.code, reason.detail.is_empty()) {
            (Some(code), true) => format!("the link was closed with code {code}"),
            (None, true) => "the link broke or could not be opened".into(),
            (_, false) => reason.detail,
        };
        self.retry(Reason::Network { detail }, reason.retry_after);
    }

    pub(super) fn handle_welcome(&mut self, welcome: Welcome) -> Result<(), ErrorCode> {
        let conn = match &self.phase {
            Phase::Handshaking { conn, .. } => *conn,
            // A copy of the one that we had.
            Phase::Connected(connected) if connected.session == welcome.session => return Ok(()),
            _ => return Err(ErrorCode::UnexpectedFrame),
        };
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
            self.end(Reason::Token {
                retryable: false,
                detail,
            });
            return Ok(());
        }
        self.principal = Some(welcome.principal);
        // A copy: it must not keep the whole message alive.
        self.author = bytes::Bytes::copy_from_slice(&welcome.author);
        self.limits = limits;
        self.out.attach(conn, limits.frame_up_bytes as usize);
        let now = self.now.mono;
        let first = !self.server_clock.has_samples();
        let calendar = self.server_clock.now(self.now);
        self.server_clock.start(welcome.server_ms, now);
        if first {
            // What was made before could only be counted from the machine's own calendar.
            let server_now = self.server_clock.now(self.now);
            let off_ms = server_now.0.wrapping_sub(calendar.0).cast_signed();
            self.each_channel(|channel, _| channel.queue.shift_deadlines(off_ms));
        }
        let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms.max(100)));
        let life = welcome
            .expires_ms
            .checked_sub(welcome.server_ms)
            .filter(|_| welcome.expires_ms > 0)
            .map(Duration::from_millis);
        let backoff = Backoff::new(self.config.retry_delay_base, self.config.retry_delay_max);
        let mut renewal = Renewal::new(backoff, self.config.progress_timeout);
        renewal.plan(life, now, &mut self.rng);
        let connected = Box::new(Connected {
            conn,
            since: now,
            liveness: Liveness::new(
                heartbeat + self.config.heartbeat_grace,
                self.config.probe_timeout,
                now,
            ),
            renewal,
            session: bytes::Bytes::copy_from_slice(&welcome.session),
            leave: None,
        });
        self.set_phase(Phase::Connected(connected), None);
        self.each_channel(|channel, turn| channel.handle_connected(turn));
        Ok(())
    }

    pub(super) fn handle_goaway(&mut self, goaway: Goaway) {
        let now = self.now.mono;
        let window_ms = u64::from(goaway.window_ms.min(600_000));
        let by_ms = u64::from(goaway.by_ms.min(600_000));
        let after_ms = self.rng.u64(0..=window_ms);
        let Phase::Connected(connected) = &mut self.phase else {
            return;
        };
        if connected.leave.is_some() {
            return;
        }
        let leave = Leave {
            at: now + Duration::from_millis(after_ms),
            by: now + Duration::from_millis(by_ms.max(after_ms)),
            detail: wire::cut_detail(goaway.reason),
        };
        let reason = Reason::Goaway {
            detail: leave.detail.clone(),
        };
        connected.leave = Some(leave);
        self.report_phase(Some(reason));
    }

    /// The server refused us: a fatal `error`.
    pub(super) fn handle_refusal(
        &mut self,
        code: ErrorCode,
        detail: String,
        retry_after: Option<Duration>,
    ) {
        self.end_link(CloseCode::Normal);
        self.retry(Reason::Refused { code, detail }, retry_after);
    }

    /// We refuse what the server sent.
    pub(super) fn handle_violation(&mut self, code: ErrorCode) {
        self.end_link(CloseCode::of(code));
        self.retry(Reason::Violated { code }, None);
    }

    pub(super) fn handle_hint(&mut self, hint: NetworkHint) {
        match (hint, &self.phase) {
            (_, Phase::Idle | Phase::Closed { .. }) => {}
            (NetworkHint::Frozen, _) => self.suspend(),
            (NetworkHint::Resumed, Phase::Suspended) => self.fetch_token(),
            (NetworkHint::Online | NetworkHint::Resumed, Phase::Waiting { .. }) => {
                self.fetch_token();
            }
            (_, Phase::Connected(_)) => self.probe(),
            _ => {}
        }
    }

    /// A frozen program answers nothing: it leaves cleanly, so that nobody waits for it.
    fn suspend(&mut self) {
        if !matches!(self.phase, Phase::Suspended) {
            self.reset_backoff_if_stable();
            self.end_link(CloseCode::Normal);
            self.set_phase(Phase::Suspended, Some(Reason::Suspended));
        }
    }

    /// Asks the link for a sign of life.
    pub(super) fn probe(&mut self) {
        let t = self.now.mono.0;
        if let Phase::Connected(connected) = &mut self.phase
            && connected.liveness.suspect(self.now.mono) == Verdict::Probe
        {
            self.out.frame(ClientKind::Ping(Ping { t }));
        }
    }

    pub(super) fn handle_link_timeout(&mut self) {
        let now = self.now.mono;
        let in_flight = self.channels.values().any(|c| c.is_pushing());
        match &mut self.phase {
            Phase::Opening { by, .. } | Phase::Handshaking { by, .. } if now >= *by => {
                self.end_link(CloseCode::Normal);
                self.retry(Reason::Timeout, None);
            }
            Phase::Waiting { until } if now >= *until => self.fetch_token(),
            Phase::Connected(connected) => {
                match connected.liveness.check(now) {
                    Verdict::Alive => {}
                    Verdict::Probe => self.out.frame(ClientKind::Ping(Ping { t: now.0 })),
                    Verdict::Dead => {
                        self.end_link(CloseCode::Normal);
                        self.retry(Reason::Timeout, None);
                        return;
                    }
                }
                let Phase::Connected(connected) = &self.phase else {
                    return;
                };
                let leave = connected
                    .leave
                    .clone()
                    .filter(|leave| now >= if in_flight { leave.by } else { leave.at });
                if let Some(leave) = leave {
                    self.move_on(Reason::Goaway {
                        detail: leave.detail,
                    });
                } else {
                    self.renew();
                }
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

    /// Goes where the server sends us: at once, unless the last link of several did not last. A server
    /// that sends away whoever comes makes nobody spin.
    fn move_on(&mut self, reason: Reason) {
        self.reset_backoff_if_stable();
        if self.backoff.attempts() == 0 {
            self.reconnect(reason);
            // Counts this one, so that the next in a row waits.
            let _ = self.backoff.next_delay(None, &mut self.rng);
        } else {
            self.end_link(CloseCode::Normal);
            self.retry(reason, None);
        }
    }

    /// Leaves a healthy link and opens the next one at once.
    pub(super) fn reconnect(&mut self, reason: Reason) {
        self.end_link(CloseCode::Normal);
        self.backoff.reset();
        self.report(ConnectionPhase::Connecting, Some(reason));
        self.fetch_token();
    }

    /// The link is gone: wait and try again, or end, as `reason` says.
    fn retry(&mut self, reason: Reason, retry_after: Option<Duration>) {
        self.reset_backoff_if_stable();
        self.each_channel(|channel, turn| channel.handle_disconnected(turn));
        if !reason.is_retryable() {
            self.end(reason);
            return;
        }
        if let Some(max) = self.config.retries_max
            && self.backoff.attempts() >= max
        {
            self.end(Reason::GaveUp);
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

    fn reset_backoff_if_stable(&mut self) {
        if let Phase::Connected(connected) = &self.phase
            && self.now.mono.since(connected.since) >= self.config.stable_after
        {
            self.backoff.reset();
        }
    }

    pub(super) fn end(&mut self, reason: Reason) {
        self.end_link(CloseCode::Normal);
        self.set_phase(
            Phase::Closed {
                by_application: false,
            },
            Some(reason),
        );
    }

    /// Closes the link from our side, if there is one.
    fn end_link(&mut self, code: CloseCode) {
        if let Phase::Opening { conn, .. } = self.phase {
            self.out.push(Output::Close { conn, code });
        } else if self.phase.conn().is_some() {
            self.out.close(code);
            self.each_channel(|channel, turn| channel.handle_disconnected(turn));
        }
    }

    pub(super) fn set_phase(&mut self, phase: Phase, reason: Option<Reason>) {
        self.phase = phase;
        self.report_phase(reason);
    }

    fn report_phase(&mut self, reason: Option<Reason>) {
        self.report(self.phase.public(), reason);
    }

    /// Tells the application, unless nothing changed for it. While connecting, the reason of the last
    /// failure stays visible.
    fn report(&mut self, phase: ConnectionPhase, reason: Option<Reason>) {
        let reason = match phase {
            ConnectionPhase::Connecting => reason.or_else(|| self.state.reason.clone()),
            _ => reason,
        };
        if self.state.phase == phase && self.state.reason == reason {
            return;
        }
        self.state = ConnectionState {
            phase,
            transport: matches!(
                phase,
                ConnectionPhase::Connecting
                    | ConnectionPhase::Connected
                    | ConnectionPhase::Draining
            )
            .then_some(TransportKind::WebSocket),
            since: self.now.unix,
            reason,
        };
        self.out.event(Event::Connection(self.state.clone()));
    }
}
