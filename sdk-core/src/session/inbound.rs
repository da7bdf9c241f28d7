//! Messages of a link: which part of the session each frame concerns.

use std::time::Duration;

use bytes::Bytes;

use super::Session;
use super::phase::Phase;
use crate::channel::{Channel, ChannelId, Role, Turn, Violation};
use crate::event_stream::StreamEvent;
use crate::io::{ConnId, Event, HttpResponse, RequestId, TransportKind};
use crate::link::http::{self, Heard};
use crate::link::{Link, contract};
use crate::wire::{
    self, ClientKind, CloseCode, ErrorCode, ErrorFrame, Limits, Pong, Received, ServerKind,
};

impl Session {
    /// An event of a stream: one message.
    pub(super) fn handle_event(&mut self, conn: ConnId, event: StreamEvent) {
        match event.into_message(self.config.codec) {
            Ok(Some(message)) => self.handle_message(conn, message),
            // Of a later version.
            Ok(None) => {}
            Err(error) => self.handle_violation(conn, error.code()),
        }
    }

    pub(super) fn handle_response(
        &mut self,
        conn: ConnId,
        request: RequestId,
        response: HttpResponse,
    ) {
        self.note_status(conn, response.status);
        let now = self.now.mono;
        let heard = self
            .out
            .on_response(conn, request, response, now, &mut self.rng);
        self.handle_heard(conn, heard);
    }

    /// What requests of a link have come to.
    pub(super) fn handle_heard(&mut self, conn: ConnId, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::Message(message) => {
                self.handle_opened(conn);
                self.handle_message(conn, message);
            }
            Heard::Answers(message) => self.handle_frames(conn, message, true),
            Heard::Refused(error) => self.handle_error(conn, error),
            Heard::Token => self.renew_now(conn),
            Heard::Over(reason, retry_after) => {
                self.handle_link_over(conn, Some(CloseCode::GoingAway), reason, retry_after);
            }
        }
    }

    pub(super) fn handle_message(&mut self, conn: ConnId, message: Bytes) {
        self.handle_frames(conn, message, false);
    }

    /// `answers`: what came in the response of a POST. Only answers count of it.
    fn handle_frames(&mut self, conn: ConnId, message: Bytes, answers: bool) {
        let mut conn = conn;
        if self.link_mut(conn).is_none() {
            match &self.phase {
                Phase::Linked(links) if crate::planted!(OldLinkHeard) => conn = links.current.conn,
                _ => return,
            }
        }
        let now = self.now.mono;
        // That POSTs are answered says nothing of the stream.
        if !answers && let Some(welcomed) = self.link_mut(conn).and_then(Link::welcomed_mut) {
            welcomed.liveness.on_frame(now);
        }
        // What `hello` said, whatever the server says of itself.
        let bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
        let message = self.config.codec.into_protobuf(message, bytes_max);
        let frames = match &message {
            Ok(message) => wire::read_in_place(message),
            Err(error) => return self.handle_violation(conn, error.code()),
        };
        let frames = match frames {
            Ok(frames) => frames,
            Err(error) => return self.handle_violation(conn, error.code()),
        };
        for frame in frames {
            let done = match frame {
                Received::Patch(_) | Received::Part(_) if answers => Ok(()),
                Received::Frame(frame) if answers && !http::is_answer(&frame) => Ok(()),
                Received::Patch(patch) => contract::check_patch(&patch).and_then(|()| {
                    let id = self.names.get(patch.channel).copied();
                    self.route(conn, id, |channel, turn| match channel.role(conn) {
                        Role::Stream => channel.handle_patch(turn, &patch),
                        Role::Asked | Role::Other => channel.handle_patch_beside(turn, &patch),
                    })
                }),
                Received::Part(part) => contract::check_part(&part).and_then(|()| {
                    let id = self.names.get(part.channel).copied();
                    self.route(conn, id, |channel, turn| match channel.role(conn) {
                        Role::Stream => channel.handle_part(turn, &part),
                        Role::Asked => channel.handle_part_beside(turn, &part),
                        Role::Other => Ok(()),
                    })
                }),
                Received::Frame(frame) => {
                    contract::check(&frame).and_then(|()| self.handle_frame(conn, *frame))
                }
            };
            if let Err(code) = done {
                return self.handle_violation(conn, code);
            }
            // A frame may have ended the link; what followed it is void.
            if self.link_mut(conn).is_none() {
                return;
            }
        }
    }

    /// Gives a frame of a link to the channel that it names. `None`: there is none, or it was let go while
    /// the frame was on its way.
    fn route(
        &mut self,
        conn: ConnId,
        channel: Option<ChannelId>,
        handle: impl FnOnce(&mut Channel, &mut Turn<'_>) -> Result<(), Violation>,
    ) -> Result<(), ErrorCode> {
        if !self.is_welcomed(conn) {
            return Err(ErrorCode::UnexpectedFrame);
        }
        let done = channel.and_then(|id| {
            self.with_channel(id, |channel, turn| {
                handle(channel, turn)?;
                channel.finish_ask(turn)
            })
        });
        done.unwrap_or(Ok(())).map_err(|violation| violation.0)
    }

    fn handle_frame(&mut self, conn: ConnId, frame: ServerKind) -> Result<(), ErrorCode> {
        match frame {
            ServerKind::Welcome(welcome) => return self.handle_welcome(conn, welcome),
            ServerKind::Error(error) => {
                self.handle_error(conn, error);
                return Ok(());
            }
            _ if !self.is_welcomed(conn) => {
                return Err(ErrorCode::UnexpectedFrame);
            }
            ServerKind::Heartbeat(heartbeat) => {
                let t = heartbeat.server_ms;
                if self.is_current(conn) {
                    self.server_clock.sample(t, self.now.mono);
                }
                if self.out.wants_pong(conn) {
                    self.out.frame_on(conn, ClientKind::Pong(Pong { t }));
                }
                for head in heartbeat.heads {
                    if let (Some(&id), Some(cursor)) =
                        (self.names.get(head.channel.as_str()), head.cursor)
                    {
                        self.with_channel(id, |channel, turn| {
                            if channel.role(conn) == Role::Stream {
                                channel.handle_head(turn, cursor);
                            }
                        });
                    }
                }
                return Ok(());
            }
            ServerKind::Refreshed(refreshed) => {
                self.handle_refreshed(refreshed);
                return Ok(());
            }
            ServerKind::Goaway(goaway) => {
                self.handle_goaway(conn, goaway);
                return Ok(());
            }
            _ => {}
        }
        let id = frame.channel().and_then(|name| self.names.get(name));
        self.route(conn, id.copied(), |channel, turn| {
            match channel.role(conn) {
                Role::Stream => channel.handle_frame(turn, frame),
                Role::Asked => channel.handle_frame_beside(turn, frame),
                Role::Other => Ok(()),
            }
        })
    }

    fn handle_error(&mut self, conn: ConnId, error: ErrorFrame) {
        // A number from a later version is still a refusal.
        let code = ErrorCode::from_number(error.code).unwrap_or(ErrorCode::Refused);
        let detail = wire::cut_detail(error.detail);
        let retry_after = error
            .retry_ms
            .map(|ms| Duration::from_millis(u64::from(ms)));
        if error.fatal {
            return self.handle_refusal(conn, code, detail, retry_after);
        }
        if error.channel.is_none() && error.id.is_none() && self.is_current(conn) {
            self.handle_refresh_error(code, retry_after);
        }
        let channel = error
            .channel
            .and_then(|name| self.names.get(name.as_str()).copied());
        let role = channel.and_then(|id| Some(self.channels.get(&id)?.role(conn)));
        match (channel, error.n) {
            // The channel has moved: what this link says of it no longer concerns it.
            (Some(_), _) if role == Some(Role::Other) => {}
            (Some(id), None)
                if role == Some(Role::Asked)
                    && !code.ends_channel()
                    && !self.asks_alone(id, conn) =>
            {
                self.with_channel(id, |channel, turn| {
                    channel.handle_ask_refused(turn, retry_after);
                });
            }
            (Some(id), Some(n)) => {
                // Over HTTP it does not come behind the patches that it knew of.
                let link = self.link_mut(conn);
                let in_order = link.is_some_and(|link| link.kind == TransportKind::WebSocket);
                self.with_channel(id, |channel, turn| {
                    channel.handle_row_error(turn, n, code, &detail, in_order);
                });
            }
            (Some(id), None) if code.ends_channel() => {
                self.with_channel(id, |channel, turn| channel.fail(turn, code, detail));
            }
            (Some(id), None) if is_put_off(code, retry_after) => {
                self.with_channel(id, |channel, turn| {
                    channel.handle_put_off(turn, code, detail, retry_after);
                });
            }
            (channel, _) => {
                self.out.event(Event::Warning {
                    channel,
                    code,
                    detail,
                });
                if let Some(id) = channel.filter(|_| code == ErrorCode::Unsupported) {
                    self.with_channel(id, |channel, turn| channel.handle_fetch_refused(turn));
                }
            }
        }
    }

    fn asks_alone(&self, id: ChannelId, conn: ConnId) -> bool {
        let channel = self.channels.get(&id);
        channel.is_some_and(|channel| channel.asks_alone(conn))
    }

    fn is_welcomed(&self, conn: ConnId) -> bool {
        matches!(&self.phase, Phase::Linked(links)
            if links.get(conn).and_then(Link::welcomed).is_some())
    }

    fn is_current(&self, conn: ConnId) -> bool {
        matches!(&self.phase, Phase::Linked(links) if links.current.conn == conn)
    }
}

/// Whether the server has no answer to a subscribe for now.
const fn is_put_off(code: ErrorCode, retry_after: Option<Duration>) -> bool {
    match code {
        ErrorCode::Overloaded => retry_after.is_some(),
        code => matches!(code, ErrorCode::RecoveryRequired),
    }
}
