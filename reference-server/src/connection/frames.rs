//! Every frame of a client, and what it is answered.

use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::document::value::is_json;
use tidewire_core::wire::{
    ClientKind, ErrorCode, ErrorFrame, Fetch, Heartbeat, Hello, Hold, Lagged, PROTOCOL_VERSION,
    Pong, PresenceSet, Push, Refreshed, Reply, ServerKind, Subscribe, Welcome, cut_detail,
};

use super::{Connection, Fault, Identity};
use crate::app::BrokerDown;
use crate::auth::{Action, AuthError};
use crate::channel::{ChannelInput, Subscriber};
use crate::clock;
use crate::inbox::Refused;
use crate::queue::ChannelOutlet;
use crate::routing::{ChannelHandle, TooManyChannels};

/// When a client that meets a full queue may come again.
const RETRY_MS: u32 = 500;

/// The smallest `max_frame` of a hello; smaller ones could not even take a welcome.
const FRAME_BYTES_MIN: u32 = 1024;

/// The longest token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

fn check_token(token: &str) -> Result<(), Fault> {
    match token.len() {
        0..=TOKEN_BYTES_MAX => Ok(()),
        bytes => Err(Fault::new(
            ErrorCode::UnexpectedFrame,
            format!("a token of {bytes} bytes is over {TOKEN_BYTES_MAX}"),
        )),
    }
}

/// A refusal that concerns one channel and leaves the connection alone.
struct Refusal {
    code: ErrorCode,
    detail: String,
}

impl Refusal {
    fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

impl From<TooManyChannels> for Refusal {
    fn from(_: TooManyChannels) -> Self {
        Self::new(
            ErrorCode::Overloaded,
            "this server runs as many channels as it can",
        )
    }
}

impl From<BrokerDown> for Refusal {
    fn from(_: BrokerDown) -> Self {
        Self::new(ErrorCode::Overloaded, "the broker does not answer just now")
    }
}

impl Connection {
    /// Does what one frame asks. `Err` ends the connection.
    pub(super) async fn handle_frame(&mut self, frame: ClientKind) -> Result<(), Fault> {
        let hello = match (frame, &self.identity) {
            (ClientKind::Hello(hello), None) => hello,
            (ClientKind::Hello(_), Some(_)) => {
                return Err(Fault::new(ErrorCode::UnexpectedFrame, "hello came twice"));
            }
            (_, None) => {
                return Err(Fault::new(
                    ErrorCode::UnexpectedFrame,
                    "the first frame must be hello",
                ));
            }
            (frame, Some(_)) => return self.handle_welcomed(frame).await,
        };
        self.handle_hello(hello).await
    }

    async fn handle_welcomed(&mut self, frame: ClientKind) -> Result<(), Fault> {
        match frame {
            ClientKind::Subscribe(subscribe) => {
                let text = subscribe.channel.clone();
                if let Err(refusal) = self.handle_subscribe(subscribe).await {
                    self.refuse(text, refusal);
                }
            }
            ClientKind::Unsubscribe(unsubscribe) => {
                // Not subscribed is what it wants to be: no answer is needed.
                if let Ok(name) = unsubscribe.channel.parse() {
                    self.unsubscribe(&name);
                }
            }
            ClientKind::Push(push) => {
                self.check_push(&push)?;
                let text = push.channel.clone();
                match self.handle_push(push).await {
                    Ok(()) => {}
                    // Its rows are as good as before: the client pushes them again.
                    Err(refusal) if refusal.code == ErrorCode::Overloaded => self.hold(text),
                    Err(refusal) => self.refuse(text, refusal),
                }
            }
            ClientKind::PresenceSet(set) => {
                let text = set.channel.clone();
                if let Err(refusal) = self.handle_presence(set) {
                    self.refuse_beside(text, refusal);
                }
            }
            ClientKind::Refresh(refresh) => self.handle_refresh(refresh.token).await?,
            ClientKind::Ping(ping) => self.queue.send(ServerKind::Pong(Pong { t: ping.t })),
            // That it was heard is all that matters.
            ClientKind::Pong(_) => {}
            ClientKind::Call(call) => self.queue.send(ServerKind::Reply(Reply {
                id: call.id,
                code: ErrorCode::InvalidRoute as u32,
                detail: cut_detail(format!("no route {:?}", call.route)),
                ..Reply::default()
            })),
            ClientKind::History(history) => self.queue.send(ServerKind::Error(ErrorFrame {
                code: ErrorCode::Unsupported as u32,
                id: Some(history.id),
                detail: "this server has no channel with pages of history".into(),
                ..ErrorFrame::default()
            })),
            ClientKind::Publish(publish) => self.refuse_beside(
                publish.channel,
                Refusal::new(
                    ErrorCode::WrongKind,
                    "a state channel takes mutations, not messages",
                ),
            ),
            ClientKind::Fetch(fetch) => {
                let text = fetch.channel.clone();
                if let Err(refusal) = self.handle_fetch(fetch) {
                    self.refuse_beside(text, refusal);
                }
            }
            ClientKind::Hello(_) => {}
        }
        Ok(())
    }

    async fn handle_hello(&mut self, hello: Hello) -> Result<(), Fault> {
        if hello.version != PROTOCOL_VERSION {
            return Err(Fault::new(
                ErrorCode::UnsupportedVersion,
                format!(
                    "version {} is not spoken here, {PROTOCOL_VERSION} is",
                    hello.version
                ),
            ));
        }
        check_token(&hello.token)?;
        if hello.client.len() != 16 {
            return Err(Fault::new(
                ErrorCode::UnexpectedFrame,
                format!("hello.client has {} bytes, not 16", hello.client.len()),
            ));
        }
        let down = self.app.config.limits.frame_down_bytes;
        if hello.max_frame != 0 {
            if hello.max_frame < FRAME_BYTES_MIN {
                return Err(Fault::new(
                    ErrorCode::UnexpectedFrame,
                    format!("hello.max_frame must be 0 or at least {FRAME_BYTES_MIN}"),
                ));
            }
            let bytes_max = hello.max_frame.min(down) as usize;
            self.queue.set_message_bytes_max(bytes_max);
        }
        let principal = self
            .app
            .authenticate(hello.token, &self.request)
            .await
            .map_err(|error| Fault::new(error.code(), error.to_string()))?;
        let mut session = vec![0; 16];
        getrandom::fill(&mut session)
            .map_err(|_| Fault::new(ErrorCode::Internal, "no randomness for a session"))?;
        let author = principal.author(&hello.client);
        self.queue.send(ServerKind::Welcome(Welcome {
            session: session.into(),
            principal: principal.name().into(),
            author: author.0.to_vec().into(),
            server_ms: clock::unix().0,
            expires_ms: principal.expiry().map_or(0, |at| at.0),
            limits: Some(self.app.config.limits),
            heartbeat_ms: u32::try_from(self.app.config.timeouts.heartbeat.as_millis())
                .unwrap_or(u32::MAX),
            flags: 0,
            ..Welcome::default()
        }));
        self.queue.link().set_who(principal.shared_name());
        self.app.connections.welcome(&self.queue);
        self.identity = Some(Identity { principal, author });
        self.deadline_moved = true;
        self.app.metrics.connects.inc();
        Ok(())
    }

    async fn handle_refresh(&mut self, token: String) -> Result<(), Fault> {
        check_token(&token)?;
        match self.app.authenticate(token, &self.request).await {
            Ok(principal) => {
                let Some(identity) = &mut self.identity else {
                    return Ok(());
                };
                if principal.name() != identity.principal.name() {
                    return Err(Fault::new(
                        ErrorCode::Unauthenticated,
                        "the new token names another principal; connect again with it",
                    ));
                }
                let expires_ms = principal.expiry().map_or(0, |at| at.0);
                identity.principal = principal;
                self.deadline_moved = true;
                self.queue
                    .send(ServerKind::Refreshed(Refreshed { expires_ms }));
                self.recheck_grants();
                Ok(())
            }
            // The old token is still good: the client tries again before it expires.
            Err(error @ AuthError::Unavailable(_)) => {
                self.queue.send(ServerKind::Error(ErrorFrame {
                    code: error.code() as u32,
                    retry_ms: Some(RETRY_MS),
                    detail: cut_detail(error.to_string()),
                    ..ErrorFrame::default()
                }));
                Ok(())
            }
            Err(error) => Err(Fault::new(error.code(), error.to_string())),
        }
    }

    /// A new token may say less than the old one: what it no longer grants ends now, not with the
    /// next frame. The right to write is checked with every push.
    fn recheck_grants(&mut self) {
        for name in self.subscriptions.names() {
            if let Err(refusal) = self.authorise(&name, Action::Read) {
                self.refuse(name.as_str().into(), refusal);
            } else if !self.may(&name, Action::Presence)
                && let Some(channel) = self.subscriptions.channel(&name)
            {
                let conn = self.queue.conn();
                // A channel that has ended shows nobody.
                let _ = channel
                    .inbox
                    .push_always(ChannelInput::SetPresence { conn, data: None });
            }
        }
    }

    async fn handle_subscribe(&mut self, subscribe: Subscribe) -> Result<(), Refusal> {
        let name = self.channel_name(&subscribe.channel)?;
        self.authorise(&name, Action::Read)?;
        let limit = self.app.config.limits.subscriptions as usize;
        if self.subscriptions.len() >= limit && self.subscriptions.channel(&name).is_none() {
            return Err(Refusal::new(
                ErrorCode::TooManySubscriptions,
                format!("{limit} subscriptions are open on this connection"),
            ));
        }
        self.check_open(&name).await?;
        loop {
            let channel = self.app.router.route(&name)?;
            let input = ChannelInput::Subscribe {
                subscriber: self.subscriber(&channel),
                have: subscribe.have,
                max_epoch: subscribe.max_epoch,
            };
            // A channel that ended just now is looked up again.
            if channel.inbox.push_waiting(input).await.is_ok() {
                self.subscriptions.insert(channel);
                return Ok(());
            }
        }
    }

    async fn handle_push(&mut self, push: Push) -> Result<(), Refusal> {
        let name = self.channel_name(&push.channel)?;
        let writable = self.may(&name, Action::Write);
        self.check_open(&name).await?;
        let mut push = Some(push);
        loop {
            let channel = self.app.router.route(&name)?;
            if self
                .subscriptions
                .channel(&name)
                .is_some_and(|known| !Arc::ptr_eq(known, &channel))
            {
                self.lose(&name);
            }
            let Some(pushed) = push.take() else {
                return Ok(());
            };
            let input = ChannelInput::Push {
                subscriber: self.subscriber(&channel),
                writable,
                push: pushed,
            };
            match channel.inbox.try_push(input) {
                Ok(()) => return Ok(()),
                Err(Refused::Full(_)) => {
                    self.hold(name.as_str().into());
                    return Ok(());
                }
                Err(Refused::Closed(ChannelInput::Push { push: back, .. })) => push = Some(back),
                Err(Refused::Closed(_)) => return Ok(()),
            }
        }
    }

    fn handle_fetch(&mut self, fetch: Fetch) -> Result<(), Refusal> {
        let name = self.channel_name(&fetch.channel)?;
        let Some(channel) = self.subscriptions.channel(&name) else {
            return Err(Refusal::new(
                ErrorCode::UnexpectedFrame,
                "a range is fetched for a subscription; subscribe first",
            ));
        };
        let input = ChannelInput::Fetch {
            conn: self.queue.conn(),
            epoch: fetch.epoch,
            after: fetch.after,
            through: fetch.through,
        };
        match channel.inbox.try_push(input) {
            Ok(()) => Ok(()),
            // Whoever gets no range subscribes again after a while.
            Err(Refused::Full(_)) => {
                Err(Refusal::new(ErrorCode::Overloaded, "the channel is busy"))
            }
            Err(Refused::Closed(_)) => {
                self.lose(&name);
                Ok(())
            }
        }
    }

    fn handle_presence(&mut self, set: PresenceSet) -> Result<(), Refusal> {
        let name = self.channel_name(&set.channel)?;
        if let Some(data) = &set.data {
            self.authorise(&name, Action::Presence)?;
            let limit = self.app.config.limits.presence_bytes as usize;
            if data.len() > limit {
                return Err(Refusal::new(
                    ErrorCode::TooLarge,
                    format!("presence of {} bytes is over {limit}", data.len()),
                ));
            }
            if !is_json(data) {
                return Err(Refusal::new(ErrorCode::Invalid, "presence is not JSON"));
            }
        }
        let Some(channel) = self.subscriptions.channel(&name) else {
            return Err(Refusal::new(
                ErrorCode::UnexpectedFrame,
                "presence needs a subscription to the channel",
            ));
        };
        let input = ChannelInput::SetPresence {
            conn: self.queue.conn(),
            data: set.data,
        };
        match channel.inbox.try_push(input) {
            Ok(()) => Ok(()),
            // The latest one wins anyway: the client's next one will say it all.
            Err(Refused::Full(_)) => {
                Err(Refusal::new(ErrorCode::Overloaded, "the channel is busy"))
            }
            Err(Refused::Closed(_)) => {
                self.lose(&name);
                Ok(())
            }
        }
    }

    fn unsubscribe(&mut self, name: &ChannelName) {
        if let Some(channel) = self.subscriptions.remove(name) {
            self.let_go(&channel);
        }
    }

    fn let_go(&self, channel: &ChannelHandle) {
        let conn = self.queue.conn();
        // A channel that is gone has nobody subscribed.
        let _ = channel
            .inbox
            .push_always(ChannelInput::Unsubscribe { conn });
    }

    /// Unsubscribes from everything: the connection ends.
    pub(super) fn leave(&mut self) {
        for channel in self.subscriptions.take() {
            self.let_go(&channel);
        }
    }

    /// The channel's task died under this subscription: the client asks again.
    fn lose(&mut self, name: &ChannelName) {
        self.subscriptions.remove(name);
        self.queue.send(ServerKind::Lagged(Lagged {
            channel: name.as_str().into(),
        }));
    }

    pub(super) fn heartbeat(&mut self) {
        for name in self.subscriptions.take_lost() {
            self.lose(&name);
        }
        self.queue.send(ServerKind::Heartbeat(Heartbeat {
            heads: self.subscriptions.heads(),
            server_ms: clock::unix().0,
        }));
    }

    fn check_push(&self, push: &Push) -> Result<(), Fault> {
        let limit = self.app.config.limits.push_items as usize;
        let problem = if push.items.len() > limit {
            format!("a push of {} items is over {limit}", push.items.len())
        } else if push.first_n == 0 {
            "push.first_n counts from 1".into()
        } else if push.low == 0 {
            "push.low counts from 1".into()
        } else {
            return Ok(());
        };
        Err(Fault::new(ErrorCode::UnexpectedFrame, problem))
    }

    fn channel_name(&self, text: &str) -> Result<ChannelName, Refusal> {
        let name: ChannelName =
            text.parse()
                .map_err(|error: tidewire_core::ChannelNameError| {
                    Refusal::new(ErrorCode::InvalidChannel, error.to_string())
                })?;
        match self.app.config.namespace(name.namespace()) {
            Some(_) => Ok(name),
            None => Err(Refusal::new(
                ErrorCode::InvalidChannel,
                format!("namespace {:?} is not configured here", name.namespace()),
            )),
        }
    }

    async fn check_open(&self, name: &ChannelName) -> Result<(), Refusal> {
        if !self.app.broker.has_room(name) {
            return Err(Refusal::new(
                ErrorCode::Overloaded,
                "this server keeps as many channels as it can",
            ));
        }
        match self.app.is_open(name).await? {
            true => Ok(()),
            false => Err(Refusal::new(
                ErrorCode::UnknownChannel,
                "the channel does not exist; an operator creates it",
            )),
        }
    }

    fn may(&self, name: &ChannelName, action: Action) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| self.app.may(&identity.principal, name, action))
    }

    fn authorise(&self, name: &ChannelName, action: Action) -> Result<(), Refusal> {
        match self.may(name, action) {
            true => Ok(()),
            false => Err(Refusal::new(
                ErrorCode::Forbidden,
                format!("this principal may not {action} this channel"),
            )),
        }
    }

    fn subscriber(&self, channel: &Arc<ChannelHandle>) -> Subscriber {
        let identity = self
            .identity
            .as_ref()
            .expect("frames are handled after hello");
        Subscriber {
            conn: self.queue.conn(),
            principal: identity.principal.shared_name(),
            author: identity.author,
            outlet: Arc::new(ChannelOutlet {
                queue: Arc::clone(&self.queue),
                channel: Arc::clone(channel),
            }),
        }
    }

    fn hold(&self, channel: String) {
        self.hold_for(channel, RETRY_MS);
    }

    pub(super) fn hold_for(&self, channel: String, retry_ms: u32) {
        self.queue.send(ServerKind::Hold(Hold {
            channel,
            code: ErrorCode::Overloaded as u32,
            retry_ms,
        }));
    }

    /// Refuses a subscribe or a push. What ends the subscription for the client ends it here too:
    /// whoever lost the right to read gets nothing more.
    fn refuse(&mut self, channel: String, refusal: Refusal) {
        if refusal.code.ends_channel()
            && let Ok(name) = channel.parse()
        {
            self.unsubscribe(&name);
        }
        self.send_refusal(Some(channel), refusal);
    }

    /// Refuses what goes on beside the subscription, which stays: a code that would end it travels
    /// without the channel's name as a field.
    fn refuse_beside(&self, channel: String, refusal: Refusal) {
        match refusal.code.ends_channel() {
            true => {
                let detail = format!("{channel}: {}", refusal.detail);
                self.send_refusal(None, Refusal::new(refusal.code, detail));
            }
            false => self.send_refusal(Some(channel), refusal),
        }
    }

    fn send_refusal(&self, channel: Option<String>, refusal: Refusal) {
        let retryable = refusal.code.is_retryable();
        self.queue.send(ServerKind::Error(ErrorFrame {
            code: refusal.code as u32,
            channel: channel.map(cut_detail),
            retry_ms: retryable.then_some(RETRY_MS),
            detail: cut_detail(refusal.detail),
            ..ErrorFrame::default()
        }));
    }
}
