//! One task per active channel: feeds what is ready, does what is asked, sleeps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidewire_core::time::{MonoTime, Now};
use tokio::time::{Instant, sleep_until};

use crate::broker::{Answer, Broker, BrokerReply, BrokerRequest, Heard, NodeId, Room, Watch};
use crate::budget::{Account, Kind};
use crate::channel::{Channel, ChannelInput, ChannelOutput, Policy};
use crate::channel_pattern::ChannelPattern;
use crate::clock::Clock;
use crate::config::Config;
use crate::connection::Ending;
use crate::connections::Connections;
use crate::limit::LogLimit;
use crate::pressure::Pressure;
use crate::registry::{IdlePlace, Mailbox, Registry};
use crate::telemetry::Metrics;

/// What every channel's task shares.
#[derive(Clone)]
pub(crate) struct DriverParts {
    pub(crate) config: Arc<Config>,
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) broker: Arc<dyn Broker>,
    /// Which node this is, if there can be others.
    pub(crate) node: Option<NodeId>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) log_limit: Arc<LogLimit>,
    pub(crate) pressure: Arc<Pressure>,
    /// The broker counts its entries in the budget.
    pub(crate) is_log_in_memory: bool,
}

/// So many answers that are there at once are handled before others have their turn on this thread.
const READY_MAX: usize = 4;

/// A broker request under way.
struct Asked {
    reply: Answer<BrokerReply>,
    append: bool,
    since: Instant,
}

/// The task of one channel.
pub(crate) struct Driver {
    registry: Arc<Registry>,
    handle: Arc<Mailbox>,
    channel: Channel,
    parts: DriverParts,
    watch: Watch,
    asked: Option<Asked>,
    wake_at: Option<MonoTime>,
    /// Since when nobody has used the channel, and what lets it stay all the same.
    idle: Option<(MonoTime, IdlePlace)>,
    /// What the channel holds.
    account: Account,
}

/// What happened while the task slept.
enum Woken {
    Inputs,
    Reply(BrokerReply),
    Heard(Heard),
    Time,
}

impl Driver {
    pub(crate) fn new(registry: Arc<Registry>, handle: Arc<Mailbox>, parts: &DriverParts) -> Self {
        let name = handle.name.clone();
        let namespace = parts
            .config
            .namespace(name.namespace())
            .cloned()
            .unwrap_or_default();
        let mut config = parts.config.channel(&namespace);
        config.node = parts.node;
        let channel = Channel::new(
            name.clone(),
            config,
            Arc::clone(&parts.policy),
            crate::clock::random_u64(),
        );
        Self {
            registry,
            handle,
            channel,
            watch: parts.broker.watch(&ChannelPattern::Name(name)),
            account: parts.pressure.account(),
            parts: parts.clone(),
            asked: None,
            wake_at: None,
            idle: None,
        }
    }

    /// Runs until nobody has used the channel for a while. In a box, since a future keeps what it is called with
    /// twice.
    pub(crate) async fn run(mut self: Box<Self>) {
        let _abandon = Abandon {
            registry: Arc::clone(&self.registry),
            handle: Arc::clone(&self.handle),
        };
        let mut inputs = VecDeque::new();
        loop {
            let deadline = self.deadline();
            let woken = tokio::select! {
                biased;
                reply = reply(&mut self.asked) => Woken::Reply(reply),
                () = self.handle.inbox.take(&mut inputs) => Woken::Inputs,
                heard = self.watch.next() => Woken::Heard(heard),
                () = sleep_until_some(deadline) => Woken::Time,
            };
            // Whatever else is ready belongs to the same turn: one append, one patch.
            self.handle.inbox.try_take(&mut inputs);
            let now = self.parts.clock.now();
            match woken {
                Woken::Inputs => {}
                Woken::Reply(reply) => {
                    let asked = self.asked.take().filter(|asked| asked.append);
                    self.answered(now, reply, asked.map(|asked| asked.since));
                }
                Woken::Heard(Heard::Grown { .. } | Heard::Missed) => {
                    self.channel.handle_input(now, ChannelInput::Woken);
                }
                Woken::Heard(Heard::Published { message, .. }) => {
                    self.channel
                        .handle_input(now, ChannelInput::Published(message));
                }
                Woken::Time => {
                    if self.wake_at.is_some_and(|at| at <= now.mono) {
                        self.channel.handle_input(now, ChannelInput::Timeout);
                    }
                }
            }
            if !inputs.is_empty() {
                let is_full = self.parts.pressure.is_full();
                let has_room = self.parts.broker.room() == Room::Free;
                self.channel.set_overloaded(is_full || !has_room);
            }
            for input in inputs.drain(..) {
                self.channel.handle_input(now, input);
            }
            self.poll();
            self.count();
            if self.is_over(now.mono) && self.registry.retire(&self.handle) {
                return;
            }
            // A busy channel must not keep its thread from everyone else.
            tokio::task::consume_budget().await;
        }
    }

    fn poll(&mut self) {
        let mut ready = 0;
        loop {
            match self.channel.poll_output() {
                ChannelOutput::Broker(request) => {
                    let append = match &request {
                        BrokerRequest::Append { entries, .. } => {
                            self.parts.metrics.appends.inc();
                            self.parts
                                .metrics
                                .append_entries
                                .inc_by(entries.len() as u64);
                            true
                        }
                        _ => false,
                    };
                    let since = Instant::now();
                    match self.parts.broker.request(&self.handle.name, request) {
                        Answer::Ready(reply) if ready < READY_MAX => {
                            ready += 1;
                            self.answered(self.parts.clock.now(), reply, append.then_some(since));
                        }
                        reply => {
                            self.asked = Some(Asked {
                                reply,
                                append,
                                since,
                            });
                        }
                    }
                }
                ChannelOutput::Publish(message) => {
                    // What gets lost is said again.
                    drop(self.parts.broker.publish(&self.handle.name, message));
                }
                ChannelOutput::Close { conn, code } => {
                    self.parts.connections.end(conn, Ending::of(code));
                }
                ChannelOutput::Wait(at) => {
                    self.wake_at = at;
                    break;
                }
            }
        }
        // Subscribers' queues hold every patch up to here: only now may heartbeats name the head.
        let head = self.channel.head();
        self.watch.seen(head.seq);
        let exists = self.channel.exists();
        self.handle.exists.store(exists, Ordering::Release);
        self.handle.head.send_if_modified(|told| {
            let moved = *told != head;
            *told = head;
            moved
        });
    }

    /// Hands an answer to the channel; `appending_since`: if it is one to an append.
    fn answered(&mut self, now: Now, reply: BrokerReply, appending_since: Option<Instant>) {
        self.observe(&reply, appending_since);
        self.channel.handle_input(now, ChannelInput::Broker(reply));
        if let Some(trouble) = self.channel.take_trouble() {
            self.warn(&trouble);
        }
    }

    fn observe(&self, reply: &BrokerReply, appending_since: Option<Instant>) {
        let metrics = &self.parts.metrics;
        match reply {
            BrokerReply::Conflict => {
                metrics.conflicts.inc();
            }
            BrokerReply::Failed { detail } => {
                metrics.broker_failures.inc();
                self.warn(detail);
            }
            _ => {}
        }
        let answers = !matches!(reply, BrokerReply::Failed { .. });
        self.parts.connections.health.note(answers);
        if let Some(since) = appending_since {
            metrics
                .append_seconds
                .observe(since.elapsed().as_secs_f64());
        }
    }

    /// Says what the channel holds.
    fn count(&mut self) {
        let held = self.channel.held();
        // Entries that the broker has in this memory are the same ones, and it counts them.
        if !self.parts.is_log_in_memory {
            self.account.set(Kind::Log, held.log);
        }
        self.account.set(Kind::Document, held.document);
        self.account.set(Kind::Table, held.table);
        self.account.set(Kind::Push, held.pushes);
    }

    /// Every channel of a broken broker has the same to say, again and again: a few lines suffice.
    fn warn(&self, detail: &str) {
        if let Some(unsaid) = self.parts.log_limit.take(self.parts.clock.mono()) {
            let channel = &self.handle.name;
            tracing::warn!(%channel, detail, unsaid, "the channel's log cannot be used just now");
        }
    }

    fn is_over(&mut self, now: MonoTime) -> bool {
        if self.asked.is_some() || !self.channel.is_idle() {
            self.idle = None;
            return false;
        }
        if self.idle.is_none() {
            self.idle = self.registry.idle_place().map(|place| (now, place));
        }
        let linger = self.parts.config.timeouts.linger;
        let stays = self
            .idle
            .as_ref()
            .is_some_and(|(since, _)| now < *since + linger);
        !stays || self.registry.is_stopping()
    }

    fn deadline(&self) -> Option<Instant> {
        let linger = self
            .idle
            .as_ref()
            .map(|(since, _)| *since + self.parts.config.timeouts.linger);
        let at = match (self.wake_at, linger) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        at.map(|at| self.parts.clock.instant(at))
    }
}

/// Ends the channel's handle also when its task panics: subscribers are told by their connections.
struct Abandon {
    registry: Arc<Registry>,
    handle: Arc<Mailbox>,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        self.registry.abandon(&self.handle);
    }
}

async fn reply(asked: &mut Option<Asked>) -> BrokerReply {
    match asked {
        Some(asked) => (&mut asked.reply).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
