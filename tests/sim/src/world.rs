//! The world of one run: virtual time, the event queue, and everybody who lives in it.
//!
//! Everything that happens is an event at a moment; events of one moment happen in the order in
//! which they were scheduled. One generator, seeded once, makes every choice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use tidewire_core::wire::CloseCode;
use tidewire_core::{
    ChannelName, ClientId, Door, HttpResponse, Input, OutboxReply, OutboxRequest, Probed,
};
use tidewire_server::AuthError;
use tidewire_server::broker::{BrokerReply, BrokerRequest};
use tidewire_server::channel::PeerId;

use crate::app::Act;
use crate::broker::Broker;
use crate::client::{Client, Store};
use crate::faults::{Fault, Faults};
use crate::http::{Letter, UnderWay};
use crate::link::{Link, LinkId, Way};
use crate::network::Inspected;
use crate::node::{Grants, Key, Node};
use crate::policy::Rules;
use crate::shape::Shape;
use crate::trace::Trace;
use crate::truth::Truth;
use crate::violation::{Checked, ensure};
use crate::walls::Walls;

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
    /// A message that left the order of its link; see `stray.rs`.
    Strays {
        link: LinkId,
        way: Way,
        message: Bytes,
    },
    Replays {
        client: usize,
        life: u64,
        message: Bytes,
    },
    /// A WebSocket opens, and its frames go nowhere.
    OpensInVain {
        link: LinkId,
    },
    // Requests over HTTP; see `http.rs`.
    RequestArrives {
        key: Key,
        node: usize,
        door: Door,
        body: Bytes,
        is_copy: bool,
    },
    LetterArrives {
        key: Option<Key>,
        home: usize,
        life: u64,
        front: usize,
        letter: Box<Letter>,
    },
    HomeIsSilent {
        key: Key,
    },
    Responds {
        key: Key,
        response: HttpResponse,
    },
    HoldEnds {
        node: usize,
        life: u64,
        conn: PeerId,
        key: Key,
    },
    EvaluationEnds {
        node: usize,
        life: u64,
        conn: PeerId,
    },
    HungUp {
        node: usize,
        life: u64,
        conn: PeerId,
    },
    Probes {
        client: usize,
        life: u64,
        probe: u64,
        found: Probed,
    },
    WallsFall {
        client: usize,
        walls: u64,
    },
    ClientHears {
        link: LinkId,
        code: Option<CloseCode>,
    },
    NodeHears {
        link: LinkId,
    },
    /// A client that was sent away is still there.
    SentAwayEnds {
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
    },
    ClientThaws {
        client: usize,
        life: u64,
    },
    PageThaws {
        client: usize,
        life: u64,
    },
    StoreAsked {
        client: usize,
        life: u64,
        request: OutboxRequest,
    },
    StoreAnswers {
        client: usize,
        life: u64,
        reply: OutboxReply,
    },
    StoreHints {
        client: usize,
        life: u64,
        channel: usize,
        numbers: Vec<u64>,
    },
    /// Whoever comes back to an application sees what its store has.
    LooksAgain {
        client: usize,
    },
    TokenComes {
        client: usize,
        life: u64,
    },
    Acts {
        client: usize,
    },
    WantsAgain {
        client: usize,
        channel: usize,
    },
    LetsGo {
        client: usize,
        channel: usize,
    },
    Retries {
        client: usize,
        life: u64,
        channel: usize,
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
    },
    Tick {
        node: usize,
        life: u64,
        conn: PeerId,
    },
    Authenticates {
        node: usize,
        life: u64,
        conn: PeerId,
        answer: Result<String, AuthError>,
    },
    Wakes {
        node: usize,
        life: u64,
        channel: usize,
    },
    Publishes {
        node: usize,
        life: u64,
        channel: usize,
        message: Bytes,
    },
    // The broker.
    BrokerAsked {
        node: usize,
        life: u64,
        channel: usize,
        asker: u64,
        request: BrokerRequest,
        answer: bool,
    },
    BrokerAnswers {
        node: usize,
        life: u64,
        channel: usize,
        asker: u64,
        reply: BrokerReply,
    },
    BrokerStarts,
    // Faults; see `havoc.rs`.
    Strikes {
        fault: Fault,
    },
    StrikesOnce {
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
    /// What each client's network lets through.
    pub walls: Vec<Walls>,
    /// How often walls went up.
    pub(crate) walls_built: u64,
    /// Requests that were not answered yet.
    pub(crate) under_way: BTreeMap<Key, UnderWay>,
    pub(crate) last_key: Key,
    /// The poll that each session has taken last.
    pub(crate) polls: BTreeMap<[u8; 16], u32>,
    pub(crate) rng: Rng,
    pub(crate) grants: Grants,
    pub(crate) ever_denied: BTreeSet<(String, usize)>,
    pub(crate) of_conn: BTreeMap<(usize, PeerId), LinkId>,
    pub(crate) inspected: VecDeque<Inspected>,
    names: Arc<[ChannelName]>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    /// What is in the queue; a queue that moves whole events about is slow.
    events: Vec<Option<Event>>,
    vacant: Vec<usize>,
    scheduled: u64,
    pub(crate) acting: bool,
    this_second: u64,
}

/// More events than this within one simulated second is spinning (L4).
const EVENTS_PER_SECOND_MAX: u64 = 20_000;

#[derive(Clone, Copy)]
struct Scheduled {
    at_ms: u64,
    order: u64,
    event: usize,
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
        let grants = Grants::default();
        let nodes = (0..shape.nodes)
            .map(|_| {
                let names = Arc::clone(&names);
                Node::new(rng.u64(..), names, &shape, grants.clone())
            })
            .collect();
        let mut truth = Truth::new(rules);
        let mut clients: Vec<Client> = Vec::new();
        for i in 0..shape.clients {
            // Some share a principal: their mutations must not mix. Some share a store too, as tabs do.
            let tab_of = clients.last().filter(|_| shape.tabs && rng.bool());
            let (principal, store) = match tab_of {
                Some(other) => (other.principal.clone(), other.store),
                None => {
                    let principal = format!("p{}", if rng.u8(0..4) == 0 { 0 } else { i });
                    let id = ClientId(rng.u128(..).to_be_bytes());
                    truth.stores.push(Store::new(&principal, id));
                    (principal, truth.stores.len() - 1)
                }
            };
            clients.push(Client::new(principal, store, Arc::clone(&names), &shape));
        }
        let mut world = Self {
            now_ms: 0,
            faults,
            trace: Trace::new(keep_text),
            truth,
            clients,
            nodes,
            broker: Broker::new(),
            links: Vec::new(),
            pins: BTreeMap::new(),
            walls: vec![Walls::default(); shape.clients],
            walls_built: 0,
            under_way: BTreeMap::new(),
            last_key: 0,
            polls: BTreeMap::new(),
            rng,
            grants,
            ever_denied: BTreeSet::new(),
            of_conn: BTreeMap::new(),
            inspected: VecDeque::new(),
            names,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            vacant: Vec::new(),
            scheduled: 0,
            acting: false,
            this_second: 0,
            shape,
        };
        world.broker.is_read_back = world.shape.broker_is_read_back;
        for client in 0..world.clients.len() {
            let after = world.rng.u64(0..50);
            world.after(after, Event::ClientStarts { client, life: 0 });
        }
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        world.truth.table_bytes_max = world.shape.channel.table_bytes_max;
        world.truth.ttl_ms_max = millis(world.shape.channel.ttl_max);
        world.truth.claim_period_ms = millis(world.shape.channel.claim_period);
        world.truth.retention_ms = millis(world.shape.channel.retention);
        world.truth.history = world.shape.channel.history as u64;
        world.truth.clocks_went_wild = world.shape.lifetime_ms.is_some();
        world.truth.pushes_are_copied = world.faults.is_on(Fault::PushReplayed)
            || world.faults.is_on(Fault::RequestCopied)
            || world.faults.is_on(Fault::RequestLost)
            || world.faults.is_on(Fault::RequestLate)
            || world.faults.is_on(Fault::AnswerLost)
            || (world.faults.is_on(Fault::MessageCopied) && !world.shape.links_keep_order);
        // Copying every log before every append is dear, so only where it is used.
        let calm = world.faults.timed().is_empty();
        world.broker.remembers = calm || world.faults.is_on(Fault::BrokerTailLost);
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
            let next = *next;
            self.queue.pop();
            let Some(event) = self.events[next.event].take() else {
                continue;
            };
            self.vacant.push(next.event);
            if self.now_ms / 1000 != next.at_ms / 1000 {
                self.this_second = 0;
            }
            self.this_second += 1;
            ensure(self.this_second < EVENTS_PER_SECOND_MAX, "L4", || {
                format!("{EVENTS_PER_SECOND_MAX} events within a second, now {event:?}")
            })?;
            self.now_ms = next.at_ms;
            self.happen(event)?;
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
            Act::Subscribe(c) | Act::Unsubscribe(c) | Act::Cancel(c, _) => c,
            Act::Pause(c) | Act::Resume(c) => c,
        };
        self.on_act(client, &act);
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
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(event);
        self.queue.push(Reverse(Scheduled {
            at_ms: at_ms.max(self.now_ms),
            order: self.scheduled,
            event: slot,
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
            Event::OpensInVain { link } => self.opens_in_vain(link),
            Event::RequestArrives {
                key,
                node,
                door,
                body,
                is_copy,
            } => self.request_arrives(key, node, door, body, is_copy),
            Event::LetterArrives {
                key,
                home,
                life,
                front,
                letter,
            } => self.take_at_home(key, home, life, front, *letter),
            Event::HomeIsSilent { key } => {
                self.home_is_silent(key);
                Ok(())
            }
            Event::Responds { key, response } => self.responds(key, response),
            Event::HoldEnds {
                node,
                life,
                conn,
                key,
            } => self.on_node(node, life, |node, _, effects| {
                node.hold_ends(conn, key, effects);
                Ok(())
            }),
            Event::EvaluationEnds { node, life, conn } => {
                self.on_node(node, life, |node, now, effects| {
                    node.forget(now, conn, false, effects)
                })
            }
            Event::HungUp { node, life, conn } => match self.of_conn.get(&(node, conn)).copied() {
                Some(link) if self.nodes[node].life == life => self.node_hears(link),
                _ => Ok(()),
            },
            Event::Probes {
                client,
                life,
                probe,
                found,
            } => match self.clients[client].life == life {
                true => self.tell(client, Input::Probed { probe, found }),
                false => Ok(()),
            },
            Event::WallsFall { client, walls } => {
                if self.walls_built == walls || self.rng.bool() {
                    self.walls[client] = Walls::default();
                }
                Ok(())
            }
            Event::Arrives { link, way } => self.arrives(link, way),
            Event::Strays { link, way, message } => self.strays(link, way, message),
            Event::Replays {
                client,
                life,
                message,
            } => self.replays(client, life, &message),
            Event::ClientHears { link, code } => self.client_hears(link, code),
            Event::NodeHears { link } => self.node_hears(link),
            Event::SentAwayEnds { link } => self.sent_away_ends(link),
            Event::ClientStarts { client, life } => self.client_starts(client, life),
            Event::ClientTimer { client, life } => self.client_timer(client, life),
            Event::ClientThaws { client, life } => self.client_thaws(client, life),
            Event::StoreAsked {
                client,
                life,
                request,
            } => self.store_asked(client, life, request),
            Event::StoreHints {
                client,
                life,
                channel,
                numbers,
            } => {
                if self.clients[client].life == life {
                    self.store_hints(client, channel, &numbers)?;
                }
                Ok(())
            }
            Event::LooksAgain { client } => self.looks_again(client),
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
            Event::Retries {
                client,
                life,
                channel,
            } => {
                if self.clients[client].life == life {
                    self.retries(client, channel)?;
                }
                Ok(())
            }
            Event::NodeStarts { node, life } => {
                // The healing starts whoever is down, who may be about to start already.
                if self.nodes[node].life == life && !self.nodes[node].is_up {
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
            } => self.on_node(node, life, |node, now, effects| {
                node.timeout(now, channel, effects);
                Ok(())
            }),
            Event::Tick { node, life, conn } => self.on_node(node, life, |node, now, effects| {
                node.tick(now, conn, effects)
            }),
            Event::Authenticates {
                node,
                life,
                conn,
                answer,
            } => self.authenticates(node, life, conn, answer),
            Event::PageThaws { client, life } => {
                if self.clients[client].life == life {
                    let hint = tidewire_core::NetworkHint::Resumed;
                    self.tell(client, Input::Network(hint))?;
                }
                Ok(())
            }
            Event::Wakes {
                node,
                life,
                channel,
            } => self.on_node(node, life, |node, _, effects| {
                node.wake(channel, effects);
                Ok(())
            }),
            Event::Publishes {
                node,
                life,
                channel,
                message,
            } => self.on_node(node, life, |node, _, effects| {
                node.hear(channel, message, effects);
                Ok(())
            }),
            Event::BrokerAsked {
                node,
                life,
                channel,
                asker,
                request,
                answer,
            } => self.broker_asked((node, life, channel, asker), request, answer),
            Event::BrokerAnswers {
                node,
                life,
                channel,
                asker,
                reply,
            } => self.broker_answers((node, life, channel, asker), reply),
            Event::BrokerStarts => self.broker_starts(),
            Event::Strikes { fault } => {
                if !self.faults.is_frozen() {
                    self.strike(fault)?;
                    self.plan(fault);
                }
                Ok(())
            }
            Event::WantsAgain { client, channel } => {
                self.act(client, Act::Subscribe(channel))?;
                self.act(client, Act::Resume(channel))
            }
            Event::LetsGo { client, channel } => self.act(client, Act::Pause(channel)),
            Event::StrikesOnce { .. } if self.faults.is_frozen() => Ok(()),
            Event::StrikesOnce { fault } => self.strike(fault),
            Event::GrantReturns { principal, channel } => {
                self.allow(&principal, channel);
                Ok(())
            }
            Event::ReadsWell { link } => {
                self.links[link.0].reads_slowly = None;
                Ok(())
            }
        }
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
