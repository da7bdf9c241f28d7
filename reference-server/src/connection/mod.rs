//! One client's connection: what it says, in the order it says it.
//!
//! Reading and writing are two futures of one task: a client that reads slowly blocks only its own
//! writer, and a channel that takes its time only its own reader. Whatever breaks the contract ends
//! this connection alone, with a code.

mod frames;
mod subscriptions;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tidewire_core::wire::{ClientKind, ErrorCode};
use tokio::time::{Instant, sleep_until, timeout};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message};

use crate::app::App;
use crate::auth::{KeptRequest, Principal};
use crate::channel::Author;
use crate::clock;
use crate::connections::Registered;
use crate::faults::Carried;
use crate::limit::TokenBucket;
use crate::queue::{Batch, Ending, SendQueue};
use crate::socket::Socket;
use crate::telemetry::{CloseLabel, Reason};
use subscriptions::Subscriptions;

/// A client that takes less than this is stuck.
const BYTES_PER_SECOND_MIN: u64 = 2048;

/// How long an ended connection may take to write its last words, and the client to hang up.
const LAST_WORDS: Duration = Duration::from_secs(5);
const HANG_UP: Duration = Duration::from_secs(1);

/// Why a connection ends, by its own doing.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

/// Who is at the other end, once `hello` was accepted.
pub(crate) struct Identity {
    pub(crate) principal: Principal,
    pub(crate) author: Author,
}

pub(crate) struct Connection {
    pub(crate) app: Arc<App>,
    pub(crate) request: KeptRequest,
    pub(crate) queue: Arc<SendQueue>,
    pub(crate) identity: Option<Identity>,
    pub(crate) subscriptions: Subscriptions,
    /// `None`: as fast as it likes.
    bucket: Option<TokenBucket>,
    opened: Instant,
    last_heard: Instant,
    heartbeat_at: Instant,
    /// A hello or a refresh set a deadline that may come before the one the timer knows.
    pub(crate) deadline_moved: bool,
}

type ClientSocket = Socket<TokioIo<Upgraded>>;

/// Serves a connection until it ends.
pub(crate) async fn serve(
    app: Arc<App>,
    request: KeptRequest,
    registered: Registered,
    stream: Upgraded,
) {
    let socket = Socket::new(
        TokioIo::new(stream),
        app.config.limits.frame_up_bytes as usize,
    );
    let queue = &registered.queue;
    queue.set_message_bytes_max(app.config.limits.frame_down_bytes as usize);
    let now = Instant::now();
    let mut writer = pin!(write(&app, queue, &socket));
    let mut connection = Connection {
        bucket: app.config.rates.connection.bucket(app.clock.mono()),
        subscriptions: Subscriptions::new(Arc::clone(&app.metrics)),
        request,
        queue: Arc::clone(queue),
        identity: None,
        opened: now,
        last_heard: now,
        heartbeat_at: now + app.config.timeouts.heartbeat,
        deadline_moved: false,
        app: Arc::clone(&app),
    };
    let ended = tokio::select! {
        () = connection.read(&socket) => None,
        ending = &mut writer => Some(ending),
    };
    // Channels let go at once; what they already queued still goes out.
    drop(connection);
    let ending = match ended {
        Some(ending) => ending,
        None => timeout(LAST_WORDS, writer).await.unwrap_or(Ending::BROKEN),
    };
    if ending.close.is_some() {
        // A socket that is dropped with unread input is reset, and the last words with it.
        let _ = timeout(HANG_UP, async {
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
    }
    let reason = ending.label;
    app.metrics.closes.get_or_create(&Reason { reason }).inc();
    let conn = queue.conn().0;
    match reason {
        CloseLabel::Code(ErrorCode::Internal) => tracing::error!(conn, "a fault of the server"),
        _ => tracing::debug!(conn, ?reason, "connection ended"),
    }
}

/// Writes what is ready until the end; returns how it ended.
async fn write(app: &App, queue: &SendQueue, socket: &ClientSocket) -> Ending {
    let base = app.config.timeouts.write;
    let is_text = queue.codec().is_text();
    loop {
        match queue.next_batch().await {
            Batch::Message(message) if message.len() > queue.message_bytes_max() => {
                queue.fail(
                    ErrorCode::FrameTooLarge,
                    "a frame for this client is larger than the max_frame of its hello",
                );
            }
            Batch::Message(message) => {
                app.metrics.messages_out.inc();
                app.metrics.bytes_out.inc_by(message.len() as u64);
                // Slow but moving is no failure.
                let limit = base + Duration::from_secs(message.len() as u64 / BYTES_PER_SECOND_MIN);
                match timeout(limit, socket.send(is_text, message)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Ending::BROKEN,
                    // Nothing can be told to a peer that does not read.
                    Err(_) => {
                        return Ending {
                            label: CloseLabel::Code(ErrorCode::SlowConsumer),
                            close: None,
                        };
                    }
                }
                for channel in queue.take_drained() {
                    let conn = queue.conn();
                    // A channel that has ended in the meantime has nobody waiting for room.
                    let _ = channel
                        .inbox
                        .push_always(crate::channel::ChannelInput::Drained { conn });
                }
            }
            Batch::End(ending) => {
                if let Some(code) = ending.close {
                    let frame = CloseFrame {
                        code: (code as u16).into(),
                        reason: match ending.label {
                            CloseLabel::Code(code) => code.name().into(),
                            _ => "".into(),
                        },
                    };
                    let _ = timeout(base, socket.close(frame)).await;
                }
                return ending;
            }
        }
    }
}

impl Drop for Connection {
    /// Also when the application's code panicked: no channel may keep a seat for nobody.
    fn drop(&mut self) {
        self.leave();
    }
}

impl Connection {
    /// Reads until the client or the server is done; the queue then has the ending.
    async fn read(&mut self, socket: &ClientSocket) {
        let codec = self.queue.codec();
        let mut timer = pin!(sleep_until(self.deadline()));
        loop {
            let link = self.queue.link();
            let message = tokio::select! {
                message = socket.next(), if !link.is_silent() => message,
                () = link.healed(), if link.is_engaged() => {
                    if let Err(fault) = Box::pin(self.handle_due()).await {
                        return self.queue.fail(fault.code, fault.detail);
                    }
                    continue;
                }
                () = timer.as_mut() => {
                    let mut handled = self.handle_timer();
                    if handled.is_ok() && self.queue.link().is_engaged() {
                        handled = Box::pin(self.handle_due()).await;
                    }
                    if let Err(fault) = handled {
                        return self.queue.fail(fault.code, fault.detail);
                    }
                    timer.as_mut().reset(self.deadline());
                    continue;
                }
            };
            if self.queue.link().is_silent() {
                continue;
            }
            self.last_heard = Instant::now();
            let taken = match message {
                None | Some(Ok(Message::Close(_))) => return self.queue.end(Ending::CLIENT),
                Some(Err(error)) => {
                    match socket_fault(&error, self.app.config.limits.frame_up_bytes) {
                        Some(fault) => Err(fault),
                        None => return self.queue.end(Ending::BROKEN),
                    }
                }
                // Boxed, since most of the time nobody says anything, and it is the largest part.
                Some(Ok(Message::Binary(message))) if !codec.is_text() => {
                    Box::pin(self.handle_message(message)).await
                }
                Some(Ok(Message::Text(message))) if codec.is_text() => {
                    Box::pin(self.handle_message(message.into())).await
                }
                // Answered by the WebSocket layer, which hands out no single frames.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Binary(_) | Message::Text(_))) => {
                    let agreed = codec.subprotocol();
                    let detail = match codec.is_text() {
                        true => format!("{agreed} travels in text messages, not in binary ones"),
                        false => format!("{agreed} travels in binary messages, not in text ones"),
                    };
                    return self
                        .queue
                        .fail_with(Ending::WRONG_CODEC, ErrorCode::Malformed, detail);
                }
            };
            if let Err(fault) = taken {
                return self.queue.fail(fault.code, fault.detail);
            }
            // Being heard only moves the deadline back, which the timer finds out when it fires.
            if std::mem::take(&mut self.deadline_moved) {
                timer.as_mut().reset(self.deadline());
            }
        }
    }

    async fn handle_message(&mut self, message: Bytes) -> Result<(), Fault> {
        let metrics = &self.app.metrics;
        metrics.bytes_in.inc_by(message.len() as u64);
        let bytes_max = self.app.config.limits.frame_up_bytes as usize;
        let codec = self.queue.codec();
        let frames = codec
            .decode_client(message, bytes_max)
            .map_err(|error| Fault::new(error.code(), error.to_string()))?;
        metrics.frames_in.inc_by(frames.len() as u64);
        let now = self.app.clock.mono();
        let own = self.bucket.as_mut().map(|own| own.take(frames.len(), now));
        let shared = self.request.pace(frames.len(), now);
        let wait = own.unwrap_or_default().max(shared);
        for frame in frames {
            match self.queue.link().is_engaged() {
                true => self.handle_through_faults(frame).await?,
                false => self.handle_frame(frame).await?,
            }
            // A message holds tens of thousands of small frames: the writer and others have turns too.
            tokio::task::consume_budget().await;
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// A frame that a fault plan may strike.
    async fn handle_through_faults(&mut self, frame: ClientKind) -> Result<(), Fault> {
        let mut passed = Vec::new();
        let carried = self.queue.link().carry_up(frame, &mut passed);
        for frame in passed {
            self.handle_frame(frame).await?;
        }
        match carried {
            Carried::On => {}
            Carried::Cut => self.queue.sever(),
            Carried::Silent => self.queue.silence(),
            Carried::Held { channel, retry_ms } => self.hold_for(channel, retry_ms),
        }
        // The timer does not know of a frame that waits now.
        self.deadline_moved = true;
        Ok(())
    }

    /// Frames that a fault plan held back and that are due.
    async fn handle_due(&mut self) -> Result<(), Fault> {
        let mut due = Vec::new();
        self.queue.link().take_due_up(&mut due);
        for frame in due {
            self.handle_frame(frame).await?;
        }
        Ok(())
    }

    /// The next moment at which something is due, or may be.
    fn deadline(&self) -> Instant {
        let own = self.own_deadline();
        let link = self.queue.link();
        let held = link.is_engaged().then(|| link.next_due_up()).flatten();
        held.map_or(own, |held| held.min(own))
    }

    fn own_deadline(&self) -> Instant {
        let timeouts = &self.app.config.timeouts;
        let Some(identity) = &self.identity else {
            return self.opened + timeouts.hello;
        };
        let due = self.heartbeat_at.min(self.last_heard + timeouts.silence);
        match identity.principal.expiry() {
            Some(at) => {
                let left = at.0.saturating_sub(clock::unix().0);
                due.min(Instant::now() + Duration::from_millis(left))
            }
            None => due,
        }
    }

    fn handle_timer(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        let timeouts = &self.app.config.timeouts;
        let Some(identity) = &self.identity else {
            return match now >= self.opened + timeouts.hello {
                true => Err(Fault::new(
                    ErrorCode::HelloTimeout,
                    format!("no hello within {} s", timeouts.hello.as_secs()),
                )),
                false => Ok(()),
            };
        };
        if now >= self.last_heard + timeouts.silence {
            return Err(Fault::new(
                ErrorCode::HeartbeatTimeout,
                format!("nothing was heard for {} s", timeouts.silence.as_secs()),
            ));
        }
        if identity
            .principal
            .expiry()
            .is_some_and(|at| at.0 <= clock::unix().0)
        {
            return Err(Fault::new(ErrorCode::TokenExpired, "the token has expired"));
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at = now + timeouts.heartbeat;
            self.heartbeat();
        }
        Ok(())
    }
}

/// What an error of the WebSocket layer says about the peer; `None`: the link is just gone.
fn socket_fault(error: &Error, bytes_max: u32) -> Option<Fault> {
    match error {
        Error::Capacity(_) => Some(Fault::new(
            ErrorCode::FrameTooLarge,
            format!("message over {bytes_max} bytes"),
        )),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) | Error::Utf8(_) => {
            Some(Fault::new(ErrorCode::Malformed, error.to_string()))
        }
        _ => None,
    }
}
