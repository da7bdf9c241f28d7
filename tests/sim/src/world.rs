//! The world of one run: virtual time, the event queue, and everybody who lives in it.
//!
//! Everything that happens is an event at a moment; events of one moment happen in the order in
//! which they were scheduled. One generator, seeded once, makes every choice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use fastrand::Rng;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::CloseCode;
use tidewire_core::{ChannelName, ClientId, Config, Input, OutboxReply, TokenError};
use tidewire_server::broker::{BrokerReply, BrokerRequest};
use tidewire_server::channel::ConnId as ServerConn;

use crate::app::{self, Act};
use crate::broker::{Broker, failed};
use crate::client::{Client, Wish};
use crate::faults::{Fault, Faults};
use crate::link::{Link, LinkId, Way};
use crate::node::{Effect, Node};
use crate::policy::Rules;
use crate::shape::Shape;
use crate::trace::Trace;
use crate::truth::Truth;
use crate::violation::{Checked, ensure};

/// Something that happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    // Links; see `network.rs`.
    Opens {
        link: LinkId,
    },
    OpenFails {
        link: LinkId,
    },
    Arrives {
        link: LinkId,
        way: Way,
    },
    ClientHears {
        link: LinkId,
        code: Option<CloseCode>,
    },
    NodeHears {
        link: LinkId,
    },
    // Clients.
    ClientStarts {
        client: usize,
        life: u64,
    },
    ClientTimer {
        client: usize,
        life: u64,
        generation: u64,
    },
    ClientThaws {
        client: usize,
        life: u64,
    },
    StoreAnswers {
        client: usize,
        life: u64,
        reply: OutboxReply,
    },
    TokenComes {
        client: usize,
        life: u64,
    },
    Acts {
        client: usize,
    },
    // Nodes.
    NodeStarts {
        node: usize,
        life: u64,
    },
    NodeStops {
        node: usize,
        life: u64,
    },
    Turn {
        node: usize,
        life: u64,
        channel: usize,
    },
    ChannelTimer {
        node: usize,
        life: u64,
        channel: usize,
        generation: u64,
    },
    Tick {
        node: usize,
        life: u64,
        conn: ServerConn,
    },
    Wakes {
        node: usize,
        life: u64,
        channel: usize,
    },
    // The broker.
    BrokerAsked {
        node: usize,
        life: u64,
        channel: usize,
        request: BrokerRequest,
        answer: bool,
    },
    BrokerAnswers {
        node: usize,
        life: u64,
        channel: usize,
        reply: BrokerReply,
    },
    BrokerStarts,
    // Faults; see `havoc.rs`.
    Strikes {
        fault: Fault,
    },
    GrantReturns {
        principal: String,
        channel: usize,
    },
    ReadsWell {
        link: LinkId,
    },
}

/// Everybody and everything.
pub struct World {
    /// Virtual time, in ms since the world began.
    pub now_ms: u64,
    /// The constants of this run.
    pub shape: Shape,
    /// What strikes, and what has struck.
    pub faults: Faults,
    /// What happened.
    pub trace: Trace,
    /// What really is in every log.
    pub truth: Truth,
    /// The clients.
    pub clients: Vec<Client>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The broker.
    pub broker: Broker,
    /// All links that ever were.
    pub links: Vec<Link>,
    /// Which node a client connects to; any one, if none is named.
    pub pins: BTreeMap<usize, usize>,
    pub(crate) rng: Rng,
    pub(crate) denied: BTreeSet<(String, usize)>,
    pub(crate) ever_denied: BTreeSet<(String, usize)>,
    pub(crate) of_conn: BTreeMap<(usize, ServerConn), LinkId>,
    names: Arc<[ChannelName]>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    acting: bool,
    this_second: u64,
}

/// More events than this within one simulated second is spinning (L4).
const EVENTS_PER_SECOND_MAX: u64 = 20_000;

struct Scheduled {
    at_ms: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.order).cmp(&(other.at_ms, other.order))
    }
}

impl World {
    /// A world at its beginning: nodes and broker are up, clients start in the first moments.
    #[must_use]
    pub fn new(mut rng: Rng, shape: Shape, faults: Faults, keep_text: bool) -> Self {
        let names: Arc<[ChannelName]> = (0..shape.channels)
            .map(|i| {
                format!("sim:{i}")
                    .parse()
                    .expect("the name follows the rules")
            })
            .collect();
        let rules = Rules {
            bulk_bytes: shape.bulk_bytes,
        };
        let nodes = (0..shape.nodes)
            .map(|_| Node::new(rng.u64(..), Arc::clone(&names), &shape))
            .collect();
        let clients = (0..shape.clients)
            .map(|i| {
                // Some share a principal: their mutations must not mix.
                let principal = format!("p{}", if rng.u8(0..4) == 0 { 0 } else { i });
                Client::new(principal, Arc::clone(&names), shape.store_ms.is_none())
            })
            .collect();
        let mut world = Self {
            now_ms: 0,
            faults,
            trace: Trace::new(keep_text),
            truth: Truth::new(rules),
            clients,
            nodes,
            broker: Broker::new(),
            links: Vec::new(),
            pins: BTreeMap::new(),
            rng,
            denied: BTreeSet::new(),
            ever_denied: BTreeSet::new(),
            of_conn: BTreeMap::new(),
            names,
            queue: BinaryHeap::new(),
            scheduled: 0,
            acting: false,
            this_second: 0,
            shape,
        };
        for client in 0..world.clients.len() {
            let after = world.rng.u64(0..50);
            world.after(after, Event::ClientStarts { client, life: 0 });
        }
        for fault in world.faults.timed() {
            world.plan(fault);
        }
        world
    }

    /// From now on applications act by themselves.
    pub fn start_acting(&mut self) {
        self.acting = true;
        for client in 0..self.clients.len() {
            let after = self.rng.u64(0..=self.shape.act_ms);
            self.after(after, Event::Acts { client });
        }
    }

    /// From now on applications only watch.
    pub const fn stop_acting(&mut self) {
        self.acting = false;
    }

    /// How many mutations applications made.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.clients.iter().map(|c| c.mutations).sum()
    }

    /// Lets everything happen that happens before `until_ms`.
    pub fn run_until(&mut self, until_ms: u64) -> Checked {
        while let Some(Reverse(next)) = self.queue.peek() {
            if next.at_ms >= until_ms {
                break;
            }
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            if self.now_ms / 1000 != next.at_ms / 1000 {
                self.this_second = 0;
            }
            self.this_second += 1;
            ensure(self.this_second < EVENTS_PER_SECOND_MAX, "L4", || {
                format!(
                    "{EVENTS_PER_SECOND_MAX} events within a second, now {:?}",
                    next.event
                )
            })?;
            self.now_ms = next.at_ms;
            self.happen(next.event)?;
        }
        self.now_ms = until_ms;
        Ok(())
    }

    /// Lets everything happen within the next `ms`.
    pub fn run_for(&mut self, ms: u64) -> Checked {
        self.run_until(self.now_ms + ms)
    }

    /// An application acts now.
    pub fn act(&mut self, client: usize, act: Act) -> Checked {
        if !self.clients[client].is_awake(self.now_ms) {
            return Ok(());
        }
        let ids = [client as u64];
        self.trace.note(self.now_ms, "act", &ids, &[], || {
            format!("client {client}: {act:?}")
        });
        let channel = match act {
            Act::Mutate(c, _) | Act::Burst(c, _) | Act::Presence(c, _) => c,
            Act::Subscribe(c) | Act::Unsubscribe(c) => c,
        };
        let denied = self
            .ever_denied
            .contains(&(self.clients[client].principal.clone(), channel));
        let wishes =
            self.clients[client].act(self.now_ms, act, denied, &mut self.rng, &mut self.truth)?;
        self.grant(client, wishes)
    }

    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now_ms + ms, event);
    }

    pub(crate) fn at(&mut self, at_ms: u64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled {
            at_ms: at_ms.max(self.now_ms),
            order: self.scheduled,
            event,
        }));
    }

    pub(crate) fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        self.rng.u64(low..=high)
    }

    pub(crate) fn plan(&mut self, fault: Fault) {
        if let Some(ms) = self.faults.next_ms(fault, &mut self.rng) {
            self.after(ms, Event::Strikes { fault });
        }
    }

    pub(crate) fn note(
        &mut self,
        kind: &'static str,
        ids: &[u64],
        describe: impl FnOnce() -> String,
    ) {
        self.trace.note(self.now_ms, kind, ids, &[], describe);
    }

    fn happen(&mut self, event: Event) -> Checked {
        match event {
            Event::Opens { link } => self.opens(link),
            Event::OpenFails { link } => self.open_fails(link),
            Event::Arrives { link, way } => self.arrives(link, way),
            Event::ClientHears { link, code } => self.client_hears(link, code),
            Event::NodeHears { link } => self.node_hears(link),
            Event::ClientStarts { client, life } => self.client_starts(client, life),
            Event::ClientTimer {
                client,
                life,
                generation,
            } => self.client_timer(client, life, generation),
            Event::ClientThaws { client, life } => self.client_thaws(client, life),
            Event::StoreAnswers {
                client,
                life,
                reply,
            } if self.clients[client].life == life => self.tell(client, Input::Outbox(reply)),
            Event::TokenComes { client, life } if self.clients[client].life == life => {
                self.token_comes(client)
            }
            Event::StoreAnswers { .. } | Event::TokenComes { .. } => Ok(()),
            Event::Acts { client } => self.acts(client),
            Event::NodeStarts { node, life } => {
                if self.nodes[node].life == life {
                    self.note("node starts", &[node as u64], || format!("node {node}"));
                    self.nodes[node].start(self.now_ms);
                }
                Ok(())
            }
            Event::NodeStops { node, life } => {
                if self.nodes[node].life == life {
                    self.stop_node(node);
                }
                Ok(())
            }
            Event::Turn {
                node,
                life,
                channel,
            } => self.on_node(node, life, |node, now, effects| {
                node.turn(now, channel, effects)
            }),
            Event::ChannelTimer {
                node,
                life,
                channel,
                generation,
            } => self.on_node(node, life, |node, _, effects| {
                node.timeout(channel, generation, effects);
                Ok(())
            }),
            Event::Tick { node, life, conn } => self.on_node(node, life, |node, now, effects| {
                node.tick(now, conn, effects);
                Ok(())
            }),
            Event::Wakes {
                node,
                life,
                channel,
            } => self.on_node(node, life, |node, _, effects| {
                node.wake(channel, effects);
                Ok(())
            }),
            Event::BrokerAsked {
                node,
                life,
                channel,
                request,
                answer,
            } => self.broker_asked(node, life, channel, request, answer),
            Event::BrokerAnswers {
                node,
                life,
                channel,
                reply,
            } => {
                self.trace.note(
                    self.now_ms,
                    "broker answers",
                    &[node as u64, channel as u64],
                    &[],
                    || format!("node {node} channel {channel}: {}", brief(&reply)),
                );
                self.on_node(node, life, |node, _, effects| {
                    node.reply(channel, reply, effects);
                    Ok(())
                })
            }
            Event::BrokerStarts => self.broker_starts(),
            Event::Strikes { fault } => {
                if !self.faults.is_frozen() {
                    self.strike(fault)?;
                    self.plan(fault);
                }
                Ok(())
            }
            Event::GrantReturns { principal, channel } => {
                self.denied.remove(&(principal, channel));
                Ok(())
            }
            Event::ReadsWell { link } => {
                self.links[link.0].reads_slowly = None;
                Ok(())
            }
        }
    }

    // ---------------------------------------------------------------- clients

    fn client_starts(&mut self, client: usize, life: u64) -> Checked {
        if self.clients[client].life != life {
            return Ok(());
        }
        let id = ClientId(self.rng.u128(..).to_be_bytes());
        let seed = self.rng.u64(..);
        let mut config = Config::default();
        config.outbox_rows_max = self.shape.outbox_rows;
        self.note("client starts", &[client as u64], || {
            format!("client {client} is {id}")
        });
        let wishes = self.clients[client].start(self.now_ms, id, seed, config, &mut self.truth)?;
        self.grant(client, wishes)?;
        for channel in 0..self.shape.channels {
            if channel == 0 || self.rng.u8(0..4) > 0 {
                self.act(client, Act::Subscribe(channel))?;
            }
        }
        Ok(())
    }

    fn client_timer(&mut self, client: usize, life: u64, generation: u64) -> Checked {
        if self.clients[client].life != life {
            return Ok(());
        }
        if !self.clients[client].is_awake(self.now_ms) {
            let thaw = self.clients[client].frozen_until_ms;
            self.at(
                thaw,
                Event::ClientTimer {
                    client,
                    life,
                    generation,
                },
            );
            return Ok(());
        }
        let wishes = self.clients[client].timeout(self.now_ms, generation, &mut self.truth)?;
        self.grant(client, wishes)
    }

    fn client_thaws(&mut self, client: usize, life: u64) -> Checked {
        if self.clients[client].life != life {
            return Ok(());
        }
        while self.clients[client].is_awake(self.now_ms) {
            let Some(input) = self.clients[client].inbox.pop_front() else {
                break;
            };
            self.tell_now(client, input)?;
        }
        Ok(())
    }

    fn token_comes(&mut self, client: usize) -> Checked {
        let token = if self.faults.strikes(Fault::TokenFailed, &mut self.rng) {
            Err(TokenError {
                retryable: true,
                detail: "injected".into(),
            })
        } else {
            Ok(format!("dev:{}", self.clients[client].principal))
        };
        self.tell(client, Input::Token(token))
    }

    fn acts(&mut self, client: usize) -> Checked {
        if !self.acting {
            return Ok(());
        }
        let name = format!("c{client}");
        let act = app::draw(
            &mut self.rng,
            self.shape.channels,
            self.shape.has_bursts,
            &name,
        );
        self.act(client, act)?;
        let after = self.rng.u64(1..=self.shape.act_ms);
        self.after(after, Event::Acts { client });
        Ok(())
    }

    /// An input reaches a client; it waits while the process is stopped.
    pub(crate) fn tell(&mut self, client: usize, input: Input) -> Checked {
        if !self.clients[client].is_running() {
            return Ok(());
        }
        if !self.clients[client].is_awake(self.now_ms) || !self.clients[client].inbox.is_empty() {
            self.clients[client].inbox.push_back(input);
            return Ok(());
        }
        self.tell_now(client, input)
    }

    fn tell_now(&mut self, client: usize, input: Input) -> Checked {
        let wishes = self.clients[client].handle(self.now_ms, input, &mut self.truth)?;
        self.grant(client, wishes)
    }

    fn grant(&mut self, client: usize, wishes: Vec<Wish>) -> Checked {
        let life = self.clients[client].life;
        for wish in wishes {
            match wish {
                Wish::Open(conn) => self.open(client, conn),
                Wish::Send(conn, message) => self.client_sends(client, conn, message),
                Wish::Close(conn, code) => self.client_closes(client, conn, code),
                Wish::Token => {
                    let after = self.rng.u64(0..50);
                    self.after(after, Event::TokenComes { client, life });
                }
                Wish::Store(request) => {
                    let fails = self.faults.strikes(Fault::StoreFailed, &mut self.rng);
                    let slow = self.faults.strikes(Fault::StoreSlow, &mut self.rng);
                    let most = self.shape.store_ms.unwrap_or(0);
                    let takes = self.rng.u64(0..=most) + if slow { 3_000 } else { 0 };
                    let reply = self.clients[client].store(request, fails, &mut self.truth)?;
                    let at = (self.now_ms + takes).max(self.clients[client].store_busy_until_ms);
                    self.clients[client].store_busy_until_ms = at;
                    if let Some(reply) = reply {
                        self.at(
                            at,
                            Event::StoreAnswers {
                                client,
                                life,
                                reply,
                            },
                        );
                    }
                }
                Wish::Wake(generation, at) => {
                    let at = self.clients[client].world_ms(at);
                    self.at(
                        at,
                        Event::ClientTimer {
                            client,
                            life,
                            generation,
                        },
                    );
                }
                Wish::Note(text) => {
                    self.trace.note(
                        self.now_ms,
                        "event",
                        &[client as u64],
                        text.as_bytes(),
                        || format!("client {client}: {text}"),
                    );
                }
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------------ nodes

    /// Lets a node do something, unless it died meanwhile, and does what it wants.
    pub(crate) fn on_node(
        &mut self,
        at: usize,
        life: u64,
        act: impl FnOnce(&mut Node, u64, &mut Vec<Effect>) -> Checked,
    ) -> Checked {
        if !self.nodes[at].is_up || self.nodes[at].life != life {
            return Ok(());
        }
        let mut effects = Vec::new();
        act(&mut self.nodes[at], self.now_ms, &mut effects)?;
        self.perform(at, effects)
    }

    pub(crate) fn perform(&mut self, node: usize, effects: Vec<Effect>) -> Checked {
        let life = self.nodes[node].life;
        for effect in effects {
            match effect {
                Effect::Turn(channel) => {
                    let after = self.rng.u64(0..=self.shape.turn_ms);
                    self.after(
                        after,
                        Event::Turn {
                            node,
                            life,
                            channel,
                        },
                    );
                }
                Effect::Broker(channel, request) => self.ask_broker(node, channel, request),
                Effect::Timer(channel, generation, at) => {
                    let at = self.node_ms(node, at);
                    self.at(
                        at,
                        Event::ChannelTimer {
                            node,
                            life,
                            channel,
                            generation,
                        },
                    );
                }
                Effect::Tick(conn, after) => self.after(after, Event::Tick { node, life, conn }),
                Effect::Flush(conn) => self.flush(node, conn)?,
                Effect::Hangup(conn, code) => self.node_hangs_up(node, conn, code)?,
            }
        }
        Ok(())
    }

    fn node_ms(&self, node: usize, at: MonoTime) -> u64 {
        self.nodes[node].world_ms(at)
    }

    // ----------------------------------------------------------------- broker

    fn ask_broker(&mut self, node: usize, channel: usize, request: BrokerRequest) {
        let life = self.nodes[node].life;
        let mut takes = self.between(self.shape.broker_ms);
        let mut answer = true;
        if self.faults.strikes(Fault::BrokerSlow, &mut self.rng) {
            takes += self.rng.u64(500..8_000);
        } else if self
            .faults
            .strikes(Fault::BrokerFailedBefore, &mut self.rng)
        {
            self.after(
                takes,
                Event::BrokerAnswers {
                    node,
                    life,
                    channel,
                    reply: failed(),
                },
            );
            return;
        } else if self.faults.strikes(Fault::BrokerLate, &mut self.rng) {
            // The node gives up waiting; the broker still does what was asked.
            self.after(
                takes,
                Event::BrokerAnswers {
                    node,
                    life,
                    channel,
                    reply: failed(),
                },
            );
            takes += self.rng.u64(1..5_000);
            answer = false;
        }
        self.after(
            takes,
            Event::BrokerAsked {
                node,
                life,
                channel,
                request,
                answer,
            },
        );
    }

    fn broker_asked(
        &mut self,
        node: usize,
        life: u64,
        channel: usize,
        request: BrokerRequest,
        answer: bool,
    ) -> Checked {
        let ids = [node as u64, channel as u64];
        self.trace.note(self.now_ms, "broker asked", &ids, &[], || {
            format!("node {node} channel {channel}: {request:?}")
        });
        let is_append = matches!(request, BrokerRequest::Append { .. });
        let (mut reply, appended) = self.broker.handle(channel, request, &mut self.truth)?;
        if matches!(reply, BrokerReply::Conflict) {
            self.faults.count(Fault::AppendConflict);
        }
        if appended {
            self.wake_all(channel);
        }
        if is_append && self.faults.strikes(Fault::BrokerFailedAfter, &mut self.rng) {
            reply = failed();
        }
        if answer {
            let takes = self.between(self.shape.broker_ms);
            self.after(
                takes,
                Event::BrokerAnswers {
                    node,
                    life,
                    channel,
                    reply,
                },
            );
        }
        Ok(())
    }

    pub(crate) fn wake_all(&mut self, channel: usize) {
        for node in 0..self.nodes.len() {
            let mut after = self.between(self.shape.broker_ms);
            if self.faults.strikes(Fault::WakeLate, &mut self.rng) {
                after += self.rng.u64(100..5_000);
            }
            let life = self.nodes[node].life;
            self.after(
                after,
                Event::Wakes {
                    node,
                    life,
                    channel,
                },
            );
        }
    }

    fn broker_starts(&mut self) -> Checked {
        self.note("broker starts", &[], String::new);
        self.broker.is_up = true;
        for channel in 0..self.shape.channels {
            self.wake_all(channel);
        }
        Ok(())
    }

    /// A client's newest link.
    #[must_use]
    pub fn link_of(&self, client: usize) -> Option<LinkId> {
        self.clients[client].links.values().next_back().copied()
    }

    /// The node that a client is connected to.
    #[must_use]
    pub fn node_of(&self, client: usize) -> Option<usize> {
        Some(self.links[self.link_of(client)?.0].node)
    }

    /// The channels' names.
    #[must_use]
    pub fn names(&self) -> &[ChannelName] {
        &self.names
    }
}

fn brief(reply: &BrokerReply) -> String {
    match reply {
        BrokerReply::Loaded {
            entries,
            snapshot,
            run,
        } => format!(
            "Loaded, {} entries from {:?}, snapshot {:?}, {run:?}",
            entries.len(),
            entries.first().map(|e| e.cursor),
            snapshot.as_ref().map(|s| s.cursor)
        ),
        BrokerReply::Entries { entries, run } => {
            format!(
                "Entries, {} to {:?}, {run:?}",
                entries.len(),
                entries.last().map(|e| e.cursor)
            )
        }
        other => format!("{other:?}"),
    }
}
