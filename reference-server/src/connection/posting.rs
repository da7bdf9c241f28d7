//! Inputs for channels, and what became of them.

use std::sync::Arc;

use tidewire_core::ChannelName;
use tidewire_core::planted;
use tidewire_core::wire::{Lagged, ServerKind};

use super::refusal::Refusal;
use super::{ChannelRef, Connection, ConnectionOutput, Hand, Posted, Question, To};
use crate::channel::{ChannelInput, Outlet};
use crate::principal::Action;

/// What was handed to a channel.
pub(super) enum Asked {
    /// With the outlet that the channel was given.
    Subscribe(ChannelName, Arc<dyn Outlet>),
    /// `starts`: the channel, if it does not run.
    Push { name: ChannelName, starts: bool },
    /// What needs a subscription and is refused beside it.
    Beside(ChannelName),
}

impl<C: ChannelRef> Connection<C> {
    pub(super) fn post(&mut self, to: To<C>, hand: Hand, input: ChannelInput, asked: Asked) {
        self.question = Some(Box::new(Question::Post(asked)));
        self.outputs
            .push_back(ConnectionOutput::Post { to, hand, input });
    }

    pub(super) fn handle_posted(&mut self, posted: Posted<C>) {
        let asked = match self.question.take().map(|question| *question) {
            Some(Question::Post(asked)) => asked,
            other => {
                // Nobody asked.
                self.question = other.map(Box::new);
                return;
            }
        };
        // Whatever it said meanwhile was not read.
        self.heard = self.now.mono;
        match (posted, asked) {
            (Posted::Taken(task), Asked::Subscribe(name, outlet)) => {
                self.subscriptions.insert(name, task, outlet);
            }
            (Posted::Taken(task), Asked::Push { name, .. }) => {
                let known = self.subscriptions.task(&name);
                if !planted!(ReplacementUntold) && known.is_some_and(|known| !known.is(&task)) {
                    self.tell_lagged(&name);
                }
            }
            (Posted::Taken(_), Asked::Beside(_)) => {}
            (Posted::Full | Posted::TooMany, Asked::Push { name, .. }) => {
                self.hold(name.as_str().into());
            }
            // The task ended just now: the next one is started, if the principal still may start it.
            (Posted::Closed(input), Asked::Push { name, starts: true })
                if self.may(&name, Action::Write) =>
            {
                if planted!(PushToEndedDropped) {
                    return;
                }
                let asked = Asked::Push {
                    name: name.clone(),
                    starts: true,
                };
                self.post(To::start(&name), Hand::Trying, input, asked);
            }
            // Only a subscription starts a channel for one who may not write; its push comes again.
            (Posted::Closed(_), Asked::Push { name, .. }) => {
                match self.authorise(&name, Action::Read) {
                    Ok(()) => self.tell_lagged(&name),
                    Err(refusal) => self.refuse(name.as_str().into(), refusal),
                }
            }
            (Posted::Closed(input), Asked::Subscribe(name, outlet)) => {
                match self.authorise(&name, Action::Read) {
                    Ok(()) => {
                        let asked = Asked::Subscribe(name.clone(), outlet);
                        self.post(To::start(&name), Hand::Waiting, input, asked);
                    }
                    Err(refusal) => self.refuse(name.as_str().into(), refusal),
                }
            }
            (Posted::TooMany, Asked::Subscribe(name, _)) => {
                self.refuse(name.as_str().into(), Refusal::too_many_channels());
            }
            (Posted::Full, Asked::Subscribe(name, _)) => {
                self.refuse(name.as_str().into(), Refusal::busy());
            }
            // Whoever gets no range subscribes again after a while.
            (Posted::Full, Asked::Beside(name)) => {
                self.refuse_beside(name.as_str().into(), Refusal::busy());
            }
            (Posted::Closed(_) | Posted::TooMany, Asked::Beside(name)) => self.tell_lagged(&name),
        }
    }

    /// The channel's task died under this subscription, if there is one: the client asks again. It is told
    /// with every heartbeat until it does.
    pub(super) fn tell_lagged(&mut self, name: &ChannelName) {
        self.send(ServerKind::Lagged(Lagged {
            channel: name.as_str().into(),
        }));
    }
}
