//! Faults that strike by themselves, and how the world heals from all of them.

use tidewire_core::wire::Goaway;
use tidewire_core::{Input, NetworkHint, TransportKind};

use crate::app::Act;
use crate::draw::Draw as _;
use crate::faults::Fault;
use crate::link::{LinkId, LinkPhase, Way};
use crate::node::{Denials, UNIX_START_MS};
use crate::violation::Checked;
use crate::walls::{Wall, Walls};
use crate::world::{Event, World};

/// A link that needs longer than this to deliver what is under way does not survive the healing.
const BACKLOG_MS_MAX: u64 = 5_000;

impl World {
    /// Delivers a fault, if there is something for it to strike.
    pub fn strike(&mut self, fault: Fault) -> Checked {
        self.note("strike", &[fault as u64], || fault.name().into());
        match fault {
            Fault::LinkCut => {
                if let Some(link) = self.pick_link() {
                    self.faults.count(fault);
                    let (client, node) = (self.rng.u64(0..2_000), self.rng.u64(0..20_000));
                    self.cut(link, Some(client), Some(node));
                }
            }
            Fault::HalfOpen => {
                if let Some(link) = self.pick_link() {
                    self.faults.count(fault);
                    self.silence(link, &[Way::Up, Way::Down]);
                }
            }
            Fault::OneWay => {
                if let Some(link) = self.pick_link() {
                    self.faults.count(fault);
                    let way = if self.rng.bool() { Way::Up } else { Way::Down };
                    self.silence(link, &[way]);
                }
            }
            Fault::DelaySpike => {
                if let Some(link) = self.pick_link() {
                    self.faults.count(fault);
                    let (more, lasts) = (self.rng.u64(100..4_000), self.rng.u64(500..8_000));
                    self.links[link.0].spike = Some((self.now_ms + lasts, more));
                }
            }
            Fault::SlowReader => {
                if let Some(link) = self.pick_link() {
                    self.faults.count(fault);
                    let lasts = self.rng.u64(1_000..15_000);
                    self.links[link.0].reads_slowly = Some(self.rng.u64(1..=2));
                    self.after(lasts, Event::ReadsWell { link });
                }
            }
            Fault::ClientCrash => {
                let client = self.rng.index(0..self.clients.len());
                if self.clients[client].is_running() {
                    self.faults.count(fault);
                    self.crash_client(client);
                }
            }
            Fault::PowerCut => {
                let store = self.rng.index(0..self.truth.stores.len());
                self.faults.count(fault);
                self.cut_power(store)?;
            }
            Fault::ClientFrozen => {
                let client = self.rng.index(0..self.clients.len());
                if self.clients[client].is_awake(self.now_ms) {
                    self.faults.count(fault);
                    let lasts = [500, 5_000, 60_000][self.rng.index(0..3)];
                    self.freeze_client(client, lasts);
                }
            }
            Fault::PageFrozen => {
                let client = self.rng.index(0..self.clients.len());
                if self.clients[client].is_awake(self.now_ms) {
                    self.faults.count(fault);
                    self.tell(client, Input::Network(NetworkHint::Frozen))?;
                    let life = self.clients[client].life;
                    let lasts = self.rng.u64(500..20_000);
                    self.after(lasts, Event::PageThaws { client, life });
                }
            }
            Fault::StrayAppend => {
                let channel = self.rng.index(0..self.shape.channels);
                if self
                    .broker
                    .append_astray(self.now_ms, channel, &mut self.truth)?
                {
                    self.faults.count(fault);
                }
            }
            Fault::ClientClock => {
                self.faults.count(fault);
                let client = self.rng.index(0..self.clients.len());
                self.clients[client].clock_ms = self.draw_clock();
            }
            Fault::NetworkHint => {
                self.faults.count(fault);
                let client = self.rng.index(0..self.clients.len());
                let hint = [
                    NetworkHint::Online,
                    NetworkHint::Offline,
                    NetworkHint::Resumed,
                ][self.rng.index(0..3)];
                self.tell(client, Input::Network(hint))?;
            }
            Fault::NodeCrash => {
                let node = self.rng.index(0..self.nodes.len());
                if self.nodes[node].is_up {
                    self.faults.count(fault);
                    self.crash_node(node);
                }
            }
            Fault::NodeDrain => {
                let node = self.rng.index(0..self.nodes.len());
                if self.nodes[node].is_serving() {
                    self.faults.count(fault);
                    self.drain_node(node)?;
                }
            }
            Fault::SentAway => {
                if let Some(link) = self.pick_link() {
                    let by_ms = [2_000, 8_000, 30_000][self.rng.index(0..3)];
                    let window_ms = self.rng.u32(0..2_500);
                    if self.send_away(link, by_ms, window_ms)? {
                        self.faults.count(fault);
                    }
                }
            }
            Fault::NodeClock => {
                self.faults.count(fault);
                let node = self.rng.index(0..self.nodes.len());
                // One that is off evaluates nothing: the next strike sets it right again.
                let right = self.broker.clock_ms;
                self.nodes[node].clock_ms = match self.nodes[node].clock_ms == right {
                    true => right + self.draw_clock(),
                    false => right,
                };
                // Clients take their deadlines from what its welcome says.
                let off = self.nodes[node].clock_ms.abs_diff(right);
                let lies = off > 24 * 3_600_000;
                self.truth.clocks_went_wild |= lies;
                self.truth.clocks_lied |= lies;
            }
            Fault::WriteForbidden => {
                let client = self.rng.index(0..self.clients.len());
                let channel = self.rng.index(0..self.shape.channels);
                self.deny_writing_for_a_while(client, channel);
            }
            Fault::ReadForbidden => {
                let client = self.rng.index(0..self.clients.len());
                let channel = self.rng.index(0..self.shape.channels);
                let principal = self.clients[client].principal.clone();
                self.faults.count(fault);
                self.deny_reading(&principal, channel);
                let lasts = self.rng.u64(200..8_000);
                self.after(lasts, Event::GrantReturns { principal, channel });
            }
            Fault::TaskDied => {
                let node = self.rng.index(0..self.nodes.len());
                let running: Vec<usize> = self.nodes[node].channels().collect();
                if !running.is_empty() {
                    let channel = running[self.rng.index(0..running.len())];
                    self.faults.count(fault);
                    self.kill_task(node, channel)?;
                }
            }
            Fault::ChannelDeleted => {
                let node = self.rng.index(0..self.nodes.len());
                let channel = self.rng.index(0..self.shape.channels);
                let life = self.nodes[node].life;
                if self.nodes[node].is_up {
                    self.faults.count(fault);
                }
                self.delete_channel(node, life, channel)?;
            }
            Fault::BrokerCrashKept => {
                self.faults.count(fault);
                let clean = self.rng.bool();
                self.broker.restart_kept(clean);
                self.broker_is_down();
            }
            Fault::BrokerTailLost => {
                let appends = self.rng.index(1..=6);
                if self.broker.restart_without_tail(appends, &mut self.truth) {
                    self.faults.count(fault);
                }
                self.broker_is_down();
            }
            Fault::ClaimForged => {
                let node = self.rng.index(0..self.nodes.len());
                let channel = self.rng.index(0..self.shape.channels);
                if self.nodes[node].is_up {
                    self.faults.count(fault);
                    let head = self.truth.head_cursor(channel);
                    let (life, now_ms) = (self.nodes[node].life, self.now_ms);
                    let lie = crate::words::claims::Lie::draw(&mut self.rng, head, now_ms);
                    self.on_node(node, life, |node, _, effects| {
                        node.forge(channel, &lie, effects);
                        Ok(())
                    })?;
                }
            }
            Fault::Walled | Fault::Portal => {
                let client = self.rng.index(0..self.clients.len());
                self.faults.count(fault);
                let walls = match fault {
                    Fault::Portal => Walls::portal(),
                    _ => Walls::draw(&mut self.rng),
                };
                let lasts = self.rng.u64(1_000..30_000);
                self.wall(client, walls, lasts);
            }
            Fault::BrokerWiped => {
                if self.broker.restart_wiped(&mut self.truth) {
                    self.faults.count(fault);
                }
                let back = i64::try_from(UNIX_START_MS / 2).unwrap_or(0);
                self.broker.clock_ms = -self.rng.i64(0..back);
                for node in &mut self.nodes {
                    node.clock_ms = self.broker.clock_ms;
                }
                self.truth.clocks_went_wild = true;
                self.broker_is_down();
            }
            // The others strike at occasions, or are consequences.
            _ => {}
        }
        Ok(())
    }

    /// A client's network keeps something out for a while. What goes through already may die of it.
    pub fn wall(&mut self, client: usize, walls: Walls, lasts_ms: u64) {
        self.note("walls", &[client as u64], || {
            format!("client {client}: {walls:?} for {lasts_ms} ms")
        });
        self.walls_built += 1;
        let number = self.walls_built;
        let links: Vec<LinkId> = self.clients[client].links.values().copied().collect();
        for link in links {
            let kind = self.links[link.0].kind;
            let is_hit = walls.is_portal || walls.of(kind) != Wall::Open;
            if is_hit && self.rng.bool() {
                self.cut(link, Some(0), None);
            }
        }
        self.walls[client] = walls;
        let fall = Event::WallsFall {
            client,
            walls: number,
        };
        self.after(lasts_ms, fall);
    }

    /// The admin door of a node deletes a channel.
    pub fn delete_channel(&mut self, node: usize, life: u64, channel: usize) -> Checked {
        self.on_node(node, life, |node, _, effects| {
            node.delete(channel, effects);
            Ok(())
        })
    }

    /// A channel's task dies on a node, as a panic would end it.
    pub fn kill_task(&mut self, node: usize, channel: usize) -> Checked {
        self.note("task dies", &[node as u64, channel as u64], || {
            format!("node {node} channel {channel}")
        });
        let life = self.nodes[node].life;
        self.on_node(node, life, |node, now, effects| {
            node.abandon(now, channel, effects).map(drop)
        })
    }

    /// A client's principal may not write to a channel, and may again some seconds later.
    pub(crate) fn deny_writing_for_a_while(&mut self, client: usize, channel: usize) {
        let principal = self.clients[client].principal.clone();
        self.faults.count(Fault::WriteForbidden);
        self.deny_writing(&principal, channel);
        let lasts = self.rng.u64(200..8_000);
        self.after(lasts, Event::GrantReturns { principal, channel });
    }

    /// A principal may not write to a channel from now on.
    pub fn deny_writing(&mut self, principal: &str, channel: usize) {
        let key = (principal.to_owned(), channel);
        self.grants.denied().write.insert(key);
        self.expect_forbidden(principal, channel);
    }

    /// A principal may not subscribe to a channel from now on. Running streams go on until a refresh.
    pub fn deny_reading(&mut self, principal: &str, channel: usize) {
        let key = (principal.to_owned(), channel);
        self.grants.denied().read.insert(key);
        self.truth.reading_was_denied.insert(channel);
        self.expect_forbidden(principal, channel);
    }

    fn expect_forbidden(&mut self, principal: &str, channel: usize) {
        self.ever_denied.insert((principal.to_owned(), channel));
        for client in &mut self.clients {
            if client.principal == principal {
                client.deny(channel);
            }
        }
    }

    /// The principal may do everything again.
    pub fn allow(&mut self, principal: &str, channel: usize) {
        let key = (principal.to_owned(), channel);
        let mut denied = self.grants.denied();
        denied.write.remove(&key);
        denied.read.remove(&key);
    }

    /// A machine loses its power: every session on its store dies, and what was not strict is gone.
    pub fn cut_power(&mut self, store: usize) -> Checked {
        for client in 0..self.clients.len() {
            if self.clients[client].store == store && self.clients[client].is_running() {
                self.crash_client(client);
            }
        }
        let names = self.names().to_vec();
        self.truth.cut_power(store, &names)
    }

    /// A client process dies; its links may stay half-open. It comes back on the same store.
    pub fn crash_client(&mut self, client: usize) {
        self.note("client crashes", &[client as u64], || {
            format!("client {client}")
        });
        let links: Vec<LinkId> = self.clients[client].links.values().copied().collect();
        self.clients[client].crash();
        for link in links {
            let hears = (self.rng.u8(0..4) > 0).then(|| self.rng.u64(0..5_000));
            self.cut(link, None, hears);
        }
        let life = self.clients[client].life;
        let after = self.rng.u64(10..5_000);
        self.after(after, Event::ClientStarts { client, life });
    }

    /// A client process is stopped for a while.
    pub fn freeze_client(&mut self, client: usize, lasts_ms: u64) {
        self.note("client frozen", &[client as u64], || {
            format!("client {client} for {lasts_ms} ms")
        });
        self.clients[client].frozen_until_ms = self.now_ms + lasts_ms;
        if self.rng.bool() {
            self.clients[client]
                .inbox
                .push_back(Input::Network(NetworkHint::Resumed));
        }
        let life = self.clients[client].life;
        self.after(lasts_ms, Event::ClientThaws { client, life });
    }

    /// A node process dies; what was under way to it is lost, what it sent may still arrive.
    pub fn crash_node(&mut self, node: usize) {
        self.note("node crashes", &[node as u64], || format!("node {node}"));
        self.requests_of_node_break(node);
        let links: Vec<LinkId> = self.nodes[node]
            .connections()
            .map(|(_, link)| link)
            .collect();
        self.nodes[node].crash();
        for link in links {
            // Some machines vanish without a word.
            let hears = (self.rng.u8(0..4) > 0).then(|| self.rng.u64(0..2_000));
            self.cut(link, hears, None);
        }
        let life = self.nodes[node].life;
        let after = self.rng.u64(10..5_000);
        self.after(after, Event::NodeStarts { node, life });
    }

    /// A node says goaway, and is gone some time later.
    pub fn drain_node(&mut self, node: usize) -> Checked {
        let by_ms = [6_000, 30_000][self.rng.index(0..2)];
        let (by_ms, window_ms) = (self.rng.u32(500..by_ms), self.rng.u32(0..3_000));
        self.drain_node_within(node, by_ms, window_ms)
    }

    /// A node says goaway with these times.
    pub fn drain_node_within(&mut self, node: usize, by_ms: u32, window_ms: u32) -> Checked {
        self.note("node drains", &[node as u64], || format!("node {node}"));
        let life = self.nodes[node].life;
        let alone = self.nodes.iter().filter(|other| other.is_serving()).count() <= 1;
        let goaway = Goaway {
            by_ms,
            window_ms,
            reason: "the node restarts".into(),
            alone,
        };
        self.on_node(node, life, |node, now, effects| {
            node.drain(now, &goaway, effects)
        })?;
        self.after(u64::from(by_ms), Event::NodeStops { node, life });
        Ok(())
    }

    pub(crate) fn stop_node(&mut self, node: usize) {
        self.requests_of_node_break(node);
        let links: Vec<LinkId> = self.nodes[node]
            .connections()
            .map(|(_, link)| link)
            .collect();
        self.nodes[node].crash();
        for link in links {
            let hears = self.between(self.shape.link_ms);
            self.cut(link, Some(hears), None);
        }
        let life = self.nodes[node].life;
        let after = self.rng.u64(10..3_000);
        self.after(after, Event::NodeStarts { node, life });
    }

    /// Faults stop, and what they broke works again. Time and retries do the rest.
    pub fn heal(&mut self) -> Checked {
        self.note("heal", &[], String::new);
        self.faults.freeze();
        self.stop_acting();
        *self.grants.denied() = Denials::default();
        for client in 0..self.clients.len() {
            self.clients[client].clock_ms = 0;
            self.clients[client].frozen_until_ms = 0;
            let life = self.clients[client].life;
            self.after(0, Event::ClientThaws { client, life });
            self.after(0, Event::PageThaws { client, life });
            for channel in 0..self.shape.channels {
                self.act(client, Act::Resume(channel))?;
            }
            if !self.clients[client].is_running() {
                self.after(0, Event::ClientStarts { client, life });
            }
            self.after(1_000, Event::LooksAgain { client });
        }
        if !self.broker.is_up {
            self.after(0, Event::BrokerStarts);
        }
        self.walls.fill(Walls::default());
        self.all_requests_break();
        for node in 0..self.nodes.len() {
            self.nodes[node].clock_ms = self.broker.clock_ms;
            let life = self.nodes[node].life;
            self.on_node(node, life, |node, _, effects| {
                node.stop_lying(effects);
                Ok(())
            })?;
            if !self.nodes[node].is_up {
                self.after(0, Event::NodeStarts { node, life });
            }
        }
        // Whoever hears heartbeats often finds a silent link by itself in time.
        let notices_soon = self.shape.heartbeat_ms <= 5_000;
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            link.spike = None;
            link.reads_slowly = None;
            let is_silent = link.up.is_broken() || link.down.is_broken();
            // What a slow reader has before it may take longer than anybody waits.
            let is_stuffed = link.down.last_arrival_ms() > self.now_ms + BACKLOG_MS_MAX;
            // A network that works again tells both ends that a silent link is dead; or it never does.
            let is_noticed = is_silent && (!notices_soon || self.rng.bool());
            if link.phase == LinkPhase::Up && (is_noticed || is_stuffed) {
                self.cut(LinkId(at), Some(0), Some(0));
            } else if link.kind == TransportKind::LongPoll {
                // Its requests break.
            } else if link.phase == LinkPhase::Opening && is_silent {
                self.after(0, Event::OpenFails { link: LinkId(at) });
            } else if link.phase == LinkPhase::Opening {
                self.after(0, Event::Opens { link: LinkId(at) });
            } else if link.phase == LinkPhase::Dead {
                self.after(
                    0,
                    Event::ClientHears {
                        link: LinkId(at),
                        code: None,
                    },
                );
                self.after(0, Event::NodeHears { link: LinkId(at) });
            }
        }
        Ok(())
    }

    /// A link goes silent in some directions; nobody is told.
    pub fn silence(&mut self, link: LinkId, ways: &[Way]) {
        for &way in ways {
            let under_way = self.links[link.0].lane(way).under_way();
            let keep = self.rng.u64(0..=under_way);
            self.links[link.0].lane(way).break_after(keep, 0);
        }
    }

    /// The broker does not answer for a while.
    pub fn broker_is_down(&mut self) {
        self.broker.is_up = false;
        let lasts = self.rng.u64(1..6_000);
        self.after(lasts, Event::BrokerStarts);
    }

    fn pick_link(&mut self) -> Option<LinkId> {
        let up: Vec<usize> = (0..self.links.len())
            .filter(|&at| self.links[at].phase == LinkPhase::Up)
            .collect();
        (!up.is_empty()).then(|| LinkId(up[self.rng.index(0..up.len())]))
    }

    fn draw_clock(&mut self) -> i64 {
        const HOUR: i64 = 3_600_000;
        let most = [3_000, HOUR, 400 * 24 * HOUR][self.rng.index(0..3)];
        self.rng.i64(-most..=most)
    }
}
