//! Every frame of a client, and what it is answered.

use std::sync::Arc;
use std::time::Duration;

use tidewire_core::ChannelName;
use tidewire_core::document::value::is_json;
use tidewire_core::planted;
use tidewire_core::wire::{
    ClientKind, ErrorCode, ErrorFrame, Fetch, NUMBER_MAX, Pong, PresenceSet, Push, Reply,
    ServerKind, Subscribe, cut_detail,
};

use super::posting::Asked;
use super::refusal::Refusal;
use super::{ChannelRef, Connection, ConnectionOutput, Create, Fault, Hand, Question, To};
use crate::channel::ChannelInput;
use crate::principal::Action;

/// Who has to wait waits at least so long, for several frames at once.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// What waits for the broker to say whether its channel exists.
pub(super) enum Opening {
    Subscribe(ChannelName, Subscribe),
    Push(ChannelName, Push),
}

impl Opening {
    const fn name(&self) -> &ChannelName {
        match self {
            Self::Subscribe(name, _) | Self::Push(name, _) => name,
        }
    }
}

impl<C: ChannelRef> Connection<C> {
    /// Does what the next frame asks, if it may be looked at now. `Err` ends the connection.
    pub(super) fn handle_next_frame(&mut self) -> Option<Result<(), Fault>> {
        if self.has_ended || self.question.is_some() || self.paused_until.is_some() {
            return None;
        }
        if self.frames.is_empty() {
            return None;
        }
        // Every frame is paid for before it is looked at.
        if !std::mem::take(&mut self.is_paid) {
            let now = self.now.mono;
            let own = self.bucket.as_mut().map(|own| own.take(1, now));
            let shared = self.parts.pace.as_ref().map(|shared| shared.pace(1, now));
            let wait = own.max(shared).unwrap_or_default();
            if !wait.is_zero() {
                self.is_paid = true;
                self.paused_until = Some(self.now.mono + wait.max(PAUSE_MIN));
                return None;
            }
        }
        let frame = self.frames.pop_front()?;
        if self.frames.is_empty() {
            self.frames = Default::default();
            self.heard = self.now.mono;
        }
        Some(self.handle_frame(frame))
    }

    fn handle_frame(&mut self, frame: ClientKind) -> Result<(), Fault> {
        match (frame, &self.identity) {
            (ClientKind::Hello(hello), None) => self.handle_hello(hello),
            (ClientKind::Hello(_), Some(_)) => {
                let detail = "hello came twice";
                Err(Fault::new(ErrorCode::UnexpectedFrame, detail))
            }
            (_, None) => {
                let detail = "the first frame must be hello";
                Err(Fault::new(ErrorCode::UnexpectedFrame, detail))
            }
            (frame, Some(_)) => self.handle_welcomed(frame),
        }
    }

    fn handle_welcomed(&mut self, frame: ClientKind) -> Result<(), Fault> {
        match frame {
            ClientKind::Subscribe(subscribe) => {
                let text = subscribe.channel.clone();
                if let Err(refusal) = self.handle_subscribe(subscribe) {
                    self.refuse(text, refusal);
                }
            }
            ClientKind::Unsubscribe(unsubscribe) => {
                // Not subscribed is what it wants to be: no answer is needed.
                if let Ok(name) = unsubscribe.channel.parse()
                    && let Some(task) = self.subscriptions.remove(&name)
                {
                    self.let_go(To::Task(task), true);
                }
            }
            ClientKind::Push(push) => {
                self.check_push(&push)?;
                let text = push.channel.clone();
                if let Err(refusal) = self.handle_push(push) {
                    self.refuse_push(text, refusal);
                }
            }
            ClientKind::PresenceSet(set) => {
                let text = set.channel.clone();
                if let Err(refusal) = self.handle_presence(set) {
                    self.refuse_beside(text, refusal);
                }
            }
            ClientKind::Refresh(refresh) => self.handle_refresh(refresh.token)?,
            ClientKind::Ping(ping) if ping.t > NUMBER_MAX => {
                let detail = "ping.t is not below 2^53";
                return Err(Fault::new(ErrorCode::UnexpectedFrame, detail));
            }
            ClientKind::Ping(ping) => self.send(ServerKind::Pong(Pong { t: ping.t })),
            // That it was heard is all that matters.
            ClientKind::Pong(_) => {}
            ClientKind::Call(call) => self.send(ServerKind::Reply(Reply {
                id: call.id,
                code: ErrorCode::InvalidRoute as u32,
                // Cut first: escaping would make the longest name several times as long.
                detail: cut_detail(format!("no route {:?}", cut_detail(call.route))),
                ..Reply::default()
            })),
            ClientKind::History(history) => self.send(ServerKind::Error(ErrorFrame {
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
            // Looked at before.
            ClientKind::Hello(_) => {}
        }
        Ok(())
    }

    fn handle_subscribe(&mut self, subscribe: Subscribe) -> Result<(), Refusal> {
        let name = parse(&subscribe.channel)?;
        self.authorise(&name, Action::Read)?;
        let create = self.configured(&name)?;
        let limit = self.parts.config.limits.subscriptions as usize;
        if self.subscriptions.len() >= limit && !self.subscriptions.contains(&name) {
            return Err(Refusal::new(
                ErrorCode::TooManySubscriptions,
                format!("{limit} subscriptions are open on this connection"),
            ));
        }
        self.open(create, Opening::Subscribe(name, subscribe))
    }

    /// Whether the principal may write is asked when the push is evaluated. What is asked here keeps
    /// those who may neither read nor write from starting a channel or learning that there is one.
    fn handle_push(&mut self, push: Push) -> Result<(), Refusal> {
        let name = parse(&push.channel)?;
        let is_known = self.subscriptions.contains(&name) || planted!(PushNeedsNoGrant);
        if !is_known && !self.may(&name, Action::Write) {
            self.authorise(&name, Action::Read)?;
            self.configured(&name)?;
            // Nothing of it will be logged. What was logged before is acked, if that costs nothing.
            self.post_push(To::Running(name.clone()), name, false, push);
            return Ok(());
        }
        let create = self.configured(&name)?;
        self.open(create, Opening::Push(name, push))
    }

    fn refuse_push(&mut self, channel: String, refusal: Refusal) {
        match refusal.code {
            // Its rows are as good as before: the client pushes them again.
            ErrorCode::Overloaded => self.hold(channel),
            _ => self.refuse(channel, refusal),
        }
    }

    /// Goes on with what may open a channel, once it is known that it may be used.
    fn open(&mut self, create: Create, opening: Opening) -> Result<(), Refusal> {
        let name = opening.name();
        if !self.subscriptions.contains(name) && !self.parts.access.has_room(name) {
            return Err(Refusal::new(
                ErrorCode::Overloaded,
                "this server keeps as many channels as it can",
            ));
        }
        match create {
            Create::OnUse => self.post_opening(opening),
            Create::Admin => {
                let name = name.clone();
                self.question = Some(Box::new(Question::Open(opening)));
                self.outputs.push_back(ConnectionOutput::CheckOpen(name));
            }
        }
        Ok(())
    }

    /// The broker has said whether a channel exists.
    pub(super) fn handle_opened(&mut self, answer: Option<bool>) {
        let opening = match self.question.take().map(|question| *question) {
            Some(Question::Open(opening)) => opening,
            other => {
                // Nobody asked.
                self.question = other.map(Box::new);
                return;
            }
        };
        let refusal = match answer {
            Some(true) => return self.post_opening(opening),
            Some(false) => Refusal::new(
                ErrorCode::UnknownChannel,
                "the channel does not exist; an operator creates it",
            ),
            None => Refusal::new(ErrorCode::Overloaded, "the broker does not answer just now"),
        };
        match opening {
            Opening::Subscribe(name, _) => self.refuse(name.as_str().into(), refusal),
            Opening::Push(name, _) => self.refuse_push(name.as_str().into(), refusal),
        }
    }

    fn post_opening(&mut self, opening: Opening) {
        let to = To::Start {
            name: opening.name().clone(),
            last: self.subscriptions.task(opening.name()).cloned(),
        };
        match opening {
            Opening::Subscribe(name, subscribe) => {
                let Some(subscriber) = self.subscriber(&name) else {
                    return;
                };
                let outlet = Arc::clone(&subscriber.outlet);
                let input = ChannelInput::Subscribe {
                    subscriber,
                    have: subscribe.have,
                    max_epoch: subscribe.max_epoch,
                    proof: subscribe.proof,
                };
                self.post(to, Hand::Waiting, input, Asked::Subscribe(name, outlet));
            }
            Opening::Push(name, push) => self.post_push(to, name, true, push),
        }
    }

    fn post_push(&mut self, to: To<C>, name: ChannelName, starts: bool, push: Push) {
        if let Some(subscriber) = self.subscriber(&name) {
            let input = ChannelInput::Push { subscriber, push };
            self.post(to, Hand::Trying, input, Asked::Push { name, starts });
        }
    }

    fn handle_fetch(&mut self, fetch: Fetch) -> Result<(), Refusal> {
        let name = parse(&fetch.channel)?;
        let input = ChannelInput::Fetch {
            conn: self.parts.peer,
            epoch: fetch.epoch,
            after: fetch.after,
            through: fetch.through,
        };
        let detail = "a range is fetched for a subscription; subscribe first";
        self.post_beside(name, Hand::Trying, input, detail)
    }

    fn handle_presence(&mut self, set: PresenceSet) -> Result<(), Refusal> {
        let name = parse(&set.channel)?;
        if let Some(data) = &set.data {
            self.authorise(&name, Action::Presence)?;
            let limit = self.parts.config.limits.presence_bytes as usize;
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
        let input = ChannelInput::SetPresence {
            conn: self.parts.peer,
            data: set.data,
        };
        let detail = "presence needs a subscription to the channel";
        // Nobody says it again: it waits for room.
        self.post_beside(name, Hand::Waiting, input, detail)
    }

    fn post_beside(
        &mut self,
        name: ChannelName,
        hand: Hand,
        input: ChannelInput,
        unsubscribed: &str,
    ) -> Result<(), Refusal> {
        let Some(task) = self.subscriptions.task(&name) else {
            return Err(Refusal::new(ErrorCode::UnexpectedFrame, unsubscribed));
        };
        let to = To::Task(task.clone());
        self.post(to, hand, input, Asked::Beside(name));
        Ok(())
    }

    fn check_push(&self, push: &Push) -> Result<(), Fault> {
        let limit = self.parts.config.limits.push_items as usize;
        let problem = if push.items.len() > limit {
            format!("a push of {} items is over {limit}", push.items.len())
        } else if push.first_n == 0 {
            "push.first_n counts from 1".into()
        } else if push.low == 0 {
            "push.low counts from 1".into()
        } else if push.epoch > NUMBER_MAX {
            "push.epoch is not below 2^53".into()
        } else {
            return Ok(());
        };
        Err(Fault::new(ErrorCode::UnexpectedFrame, problem))
    }

    fn configured(&self, name: &ChannelName) -> Result<Create, Refusal> {
        self.parts.access.create(name.namespace()).ok_or_else(|| {
            Refusal::new(
                ErrorCode::InvalidChannel,
                format!("namespace {:?} is not configured here", name.namespace()),
            )
        })
    }
}

fn parse(text: &str) -> Result<ChannelName, Refusal> {
    text.parse()
        .map_err(|error: tidewire_core::ChannelNameError| {
            Refusal::new(ErrorCode::InvalidChannel, error.to_string())
        })
}
