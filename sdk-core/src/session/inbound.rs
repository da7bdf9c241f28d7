//! Messages of a link: which part of the session each frame concerns.

use std::time::Duration;

use bytes::Bytes;

use super::Session;
use super::phase::Phase;
use crate::channel::{Channel, ChannelId, Role, Turn, Violation};
use crate::io::{ConnId, Event};
use crate::link::{Link, contract};
use crate::wire::{self, ClientKind, ErrorCode, ErrorFrame, Limits, Pong, Received, ServerKind};

impl Session {
    pub(super) fn handle_message(&mut self, conn: ConnId, message: Bytes) {
        let mut conn = conn;
        if self.link_mut(conn).is_none() {
            match &self.phase {
                Phase::Linked(links) if crate::planted!(OldLinkHeard) => conn = links.current.conn,
                _ => return,
            }
        }
        let now = self.now.mono;
        if let Some(welcomed) = self.link_mut(conn).and_then(Link::welcomed_mut) {
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
                self.out.frame_on(conn, ClientKind::Pong(Pong { t }));
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
                self.with_channel(id, |channel, turn| {
                    channel.handle_row_error(turn, n, code, &detail);
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
