//! Messages of a link: which part of the session each frame concerns.

use std::time::Duration;

use bytes::Bytes;

use super::phase::Phase;
use super::{ConnId, Event, Session, contract};
use crate::channel::{Channel, ChannelId, Turn, Violation};
use crate::wire::{self, ClientKind, ErrorCode, ErrorFrame, Limits, Pong, Received, ServerKind};

impl Session {
    pub(super) fn handle_message(&mut self, conn: ConnId, message: Bytes) {
        if self.phase.conn() != Some(conn) && !crate::planted!(OldLinkHeard) {
            return;
        }
        if let Phase::Connected(connected) = &mut self.phase {
            connected.liveness.on_frame(self.now.mono);
        }
        // What `hello` said, whatever the server says of itself.
        let bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
        let message = self.config.codec.into_protobuf(message, bytes_max);
        let frames = match &message {
            Ok(message) => wire::read_in_place(message),
            Err(error) => return self.handle_violation(error.code()),
        };
        let frames = match frames {
            Ok(frames) => frames,
            Err(error) => return self.handle_violation(error.code()),
        };
        for frame in frames {
            let done = match frame {
                Received::Patch(patch) => contract::check_patch(&patch).and_then(|()| {
                    self.route(self.names.get(patch.channel).copied(), |channel, turn| {
                        channel.handle_patch(turn, &patch)
                    })
                }),
                Received::Part(part) => contract::check_part(&part).and_then(|()| {
                    self.route(self.names.get(part.channel).copied(), |channel, turn| {
                        channel.handle_part(turn, &part)
                    })
                }),
                Received::Frame(frame) => {
                    contract::check(&frame).and_then(|()| self.handle_frame(*frame))
                }
            };
            if let Err(code) = done {
                return self.handle_violation(code);
            }
            // A frame may have ended the link; what followed it is void.
            if self.phase.conn() != Some(conn) {
                return;
            }
        }
    }

    /// Gives a frame to the channel that it names. `None`: there is none, or it was let go while the frame
    /// was on its way.
    fn route(
        &mut self,
        channel: Option<ChannelId>,
        handle: impl FnOnce(&mut Channel, &mut Turn<'_>) -> Result<(), Violation>,
    ) -> Result<(), ErrorCode> {
        if !matches!(self.phase, Phase::Connected(_)) {
            return Err(ErrorCode::UnexpectedFrame);
        }
        let done = channel.and_then(|id| self.with_channel(id, handle));
        done.unwrap_or(Ok(())).map_err(|violation| violation.0)
    }

    fn handle_frame(&mut self, frame: ServerKind) -> Result<(), ErrorCode> {
        match frame {
            ServerKind::Welcome(welcome) => return self.handle_welcome(welcome),
            ServerKind::Error(error) => {
                self.handle_error(error);
                return Ok(());
            }
            _ if !matches!(self.phase, Phase::Connected(_)) => {
                return Err(ErrorCode::UnexpectedFrame);
            }
            ServerKind::Heartbeat(heartbeat) => {
                self.server_clock.sample(heartbeat.server_ms, self.now.mono);
                self.out.frame(ClientKind::Pong(Pong {
                    t: heartbeat.server_ms,
                }));
                for head in heartbeat.heads {
                    if let (Some(&id), Some(cursor)) =
                        (self.names.get(head.channel.as_str()), head.cursor)
                    {
                        self.with_channel(id, |channel, turn| channel.handle_head(turn, cursor));
                    }
                }
                return Ok(());
            }
            ServerKind::Refreshed(refreshed) => {
                self.handle_refreshed(refreshed);
                return Ok(());
            }
            ServerKind::Goaway(goaway) => {
                self.handle_goaway(goaway);
                return Ok(());
            }
            _ => {}
        }
        let id = frame.channel().and_then(|name| self.names.get(name));
        self.route(id.copied(), |channel, turn| {
            channel.handle_frame(turn, frame)
        })
    }

    fn handle_error(&mut self, error: ErrorFrame) {
        // A number from a later version is still a refusal.
        let code = ErrorCode::from_number(error.code).unwrap_or(ErrorCode::Refused);
        let detail = wire::cut_detail(error.detail);
        let retry_after = error
            .retry_ms
            .map(|ms| Duration::from_millis(u64::from(ms)));
        if error.fatal {
            return self.handle_refusal(code, detail, retry_after);
        }
        if error.channel.is_none() && error.id.is_none() {
            self.handle_refresh_error(code, retry_after);
        }
        let channel = error
            .channel
            .and_then(|name| self.names.get(name.as_str()).copied());
        match (channel, error.n) {
            (Some(id), Some(n)) => {
                self.with_channel(id, |channel, turn| {
                    channel.handle_row_error(turn, n, code, &detail);
                });
            }
            (Some(id), None) if code.ends_channel() => {
                self.with_channel(id, |channel, turn| channel.fail(turn, code, detail));
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
}
