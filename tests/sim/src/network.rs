//! Links in the world: opening, carrying, cutting, closing.

use bytes::Bytes;
use tidewire_core::wire::{
    ClientKind, CloseCode, ErrorCode, Goaway, ServerKind, decode_client, decode_server,
};
use tidewire_core::{ConnId, Input, LinkClosed, LinkStage, TransportKind};
use tidewire_server::channel::PeerId;
use tidewire_server::connection::Taken;

use crate::draw::Draw as _;
use crate::faults::Fault;
use crate::link::{Arrival, Lane, Link, LinkId, LinkPhase, Way};
use crate::violation::{Checked, Violation, ensure};
use crate::walls::Wall;
use crate::world::{Event, World};

/// Frames that a server sends are at most this large.
const DOWN_BYTES_MAX: usize = 1024 * 1024;

/// So many messages are known to be well formed: one patch goes to many.
const INSPECTED_MAX: usize = 16;

/// A message of a node that was looked into.
#[derive(Clone)]
pub(crate) struct Inspected {
    /// Kept, so that its address names it.
    message: Bytes,
    says: Vec<Fault>,
}

impl Inspected {
    fn new(node: usize, message: &Bytes) -> Checked<Self> {
        let frames = decode_server(message.clone(), DOWN_BYTES_MAX)
            .map_err(|e| Violation::new("wire", format!("node {node} sent nonsense: {e}")))?;
        let says = |frame: &ServerKind| match frame {
            ServerKind::Lagged(_) => Some(Fault::Lagged),
            ServerKind::StaleEpoch(_) => Some(Fault::StaleEpoch),
            ServerKind::Refreshed(_) => Some(Fault::TokenRenewed),
            ServerKind::Error(error)
                if error.code == ErrorCode::TokenExpired as u32
                    && error.detail.starts_with("the") =>
            {
                Some(Fault::TokenExpired)
            }
            ServerKind::Error(error) if error.code == ErrorCode::Expired as u32 => {
                Some(Fault::Outdated)
            }
            _ => None,
        };
        Ok(Self {
            says: frames.iter().filter_map(says).collect(),
            message: message.clone(),
        })
    }

    fn is(&self, message: &Bytes) -> bool {
        self.message.as_ptr() == message.as_ptr() && self.message.len() == message.len()
    }
}

impl World {
    pub(crate) fn open(&mut self, client: usize, conn: ConnId, first: Bytes) {
        let id = self.new_link(client, conn, TransportKind::WebSocket, first);
        let delay_ms = self.shape.link_ms;
        if self.shape.speaks_http() {
            let after = self.between(delay_ms);
            match self.walls[client].websocket {
                Wall::Open => {}
                Wall::Refuses => {
                    self.after(after, Event::OpenFails { link: id });
                    return;
                }
                Wall::Swallows => return,
                Wall::Buffers => {
                    self.after(after, Event::OpensInVain { link: id });
                    return;
                }
            }
        }
        if self.faults.strikes(Fault::OpenHangs, &mut self.rng) {
            return;
        }
        let after = self.between(delay_ms);
        if self.faults.strikes(Fault::OpenRefused, &mut self.rng) {
            self.after(after, Event::OpenFails { link: id });
        } else {
            self.after(after, Event::Opens { link: id });
        }
    }

    /// A link that is being opened.
    pub(crate) fn new_link(
        &mut self,
        client: usize,
        conn: ConnId,
        kind: TransportKind,
        first: Bytes,
    ) -> LinkId {
        let id = LinkId(self.links.len());
        let any = self.rng.index(0..self.nodes.len());
        let node = self.pins.get(&client).copied().unwrap_or(any);
        let delay_ms = self.shape.link_ms;
        self.links.push(Link {
            kind,
            opened_by: None,
            is_ending: false,
            client,
            client_life: self.clients[client].life,
            client_conn: conn,
            node,
            node_life: self.nodes[node].life,
            server_conn: PeerId(id.0 as u64 + 1),
            phase: LinkPhase::Opening,
            client_has_it: true,
            first,
            up: Lane::default(),
            down: Lane::default(),
            delay_ms,
            is_left: false,
            spike: None,
            reads_slowly: None,
        });
        self.clients[client].links.insert(conn, id);
        self.note("open", &[id.0 as u64, client as u64, node as u64], || {
            format!("link {} from client {client} to node {node}", id.0)
        });
        id
    }

    /// A WebSocket opens somewhere on the way, and nothing of it gets further.
    pub(crate) fn opens_in_vain(&mut self, id: LinkId) -> Checked {
        let link = &mut self.links[id.0];
        if link.phase != LinkPhase::Opening || !link.client_has_it {
            return Ok(());
        }
        link.up.break_after(0, 0);
        link.down.break_after(0, 0);
        let (client, conn, life) = (link.client, link.client_conn, link.client_life);
        if self.clients[client].life == life {
            return self.tell(client, Input::Opened { conn });
        }
        Ok(())
    }

    pub(crate) fn opens(&mut self, id: LinkId) -> Checked {
        let link = &mut self.links[id.0];
        if link.phase != LinkPhase::Opening {
            return Ok(());
        }
        let node = &self.nodes[link.node];
        if !node.is_serving() {
            return self.open_fails(id);
        }
        link.phase = LinkPhase::Up;
        link.node_life = node.life;
        let (at, conn, life) = (link.node, link.server_conn, link.node_life);
        self.of_conn.insert((at, conn), id);
        if link.kind == TransportKind::Sse {
            return self.stream_opens(id);
        }
        self.on_node(at, life, |node, now, effects| {
            node.accept(now, conn, id, effects)
        })?;
        let link = &self.links[id.0];
        let (client, conn) = (link.client, link.client_conn);
        if link.client_has_it && self.clients[client].life == link.client_life {
            self.note("opened", &[id.0 as u64], || format!("link {}", id.0));
            let first = self.links[id.0].first.clone();
            self.client_sends(client, conn, first);
            return self.tell(client, Input::Opened { conn });
        }
        Ok(())
    }

    /// A stream is answered: its first bytes say that nobody holds it back.
    fn stream_opens(&mut self, id: LinkId) -> Checked {
        let link = &self.links[id.0];
        let (at, server_conn, life) = (link.node, link.server_conn, link.node_life);
        let (client, conn) = (link.client, link.client_conn);
        let is_wanted = link.client_has_it && self.clients[client].life == link.client_life;
        let (key, first) = (link.opened_by, link.first.clone());
        self.on_node(at, life, |node, now, effects| {
            node.open_session(now, server_conn, id, None, first, effects)
        })?;
        if let Some(key) = key {
            self.under_way.remove(&key);
        }
        match is_wanted {
            true => self.tell(client, Input::Opened { conn }),
            false => Ok(()),
        }
    }

    pub(crate) fn open_fails(&mut self, id: LinkId) -> Checked {
        if self.links[id.0].kind == TransportKind::Sse {
            return self.stream_fails(id, 503);
        }
        let link = &mut self.links[id.0];
        link.phase = LinkPhase::Dead;
        let had_it = std::mem::replace(&mut link.client_has_it, false);
        let (client, conn, life) = (link.client, link.client_conn, link.client_life);
        if !had_it || self.clients[client].life != life {
            return Ok(());
        }
        self.note("refused", &[id.0 as u64], || format!("link {}", id.0));
        let reason = LinkClosed {
            http_status: Some(503),
            ..LinkClosed::default()
        };
        self.tell(client, Input::Closed { conn, reason })
    }

    pub(crate) fn client_sends(&mut self, client: usize, conn: ConnId, message: Bytes) {
        if let Some(&id) = self.clients[client].links.get(&conn) {
            self.trace.note(
                self.now_ms,
                "client sends",
                &[id.0 as u64],
                &message,
                || {
                    let frames = decode_client(message.clone(), usize::MAX);
                    format!("client {client} on link {}: {frames:?}", id.0)
                },
            );
            self.send(id, Way::Up, message);
        }
    }

    pub(crate) fn send(&mut self, id: LinkId, way: Way, message: Bytes) {
        let Some(message) = self.stray(id, way, message) else {
            return;
        };
        let now_ms = self.now_ms;
        let mut delay = self.between(self.links[id.0].delay_ms);
        let link = &mut self.links[id.0];
        if let Some((until, more)) = link.spike
            && now_ms < until
        {
            delay += more;
        }
        let drain = match (way, link.reads_slowly) {
            (Way::Down, Some(bytes_per_ms)) => message.len() as u64 / bytes_per_ms,
            _ => 0,
        };
        let at = link.lane(way).send(now_ms, delay, drain, message);
        self.at(at, Event::Arrives { link: id, way });
    }

    pub(crate) fn arrives(&mut self, id: LinkId, way: Way) -> Checked {
        match self.links[id.0].lane(way).arrive(self.now_ms) {
            None => Ok(()),
            Some(Arrival::Later(at)) => {
                self.at(at, Event::Arrives { link: id, way });
                Ok(())
            }
            Some(Arrival::Lost) => {
                self.faults.count(Fault::FrameLost);
                self.note("lost", &[id.0 as u64], || format!("link {} {way:?}", id.0));
                Ok(())
            }
            Some(Arrival::Delivered(message)) => match way {
                Way::Up => self.arrives_at_node(id, &message),
                Way::Down => self.arrives_at_client(id, message),
            },
        }
    }

    pub(crate) fn arrives_at_node(&mut self, id: LinkId, message: &Bytes) -> Checked {
        let link = &self.links[id.0];
        let (at, conn, life) = (link.node, link.server_conn, link.node_life);
        if self.nodes[at].life != life || self.nodes[at].queue(conn).is_none() {
            return Ok(());
        }
        if link.phase == LinkPhase::Dead && self.has_newer(id) {
            self.faults.count(Fault::LateFrame);
        }
        self.note_subscribes(id, message);
        self.on_node(at, life, |node, now, effects| {
            node.handle_message(now, conn, message, effects)
        })
    }

    /// What the logs hold when a node receives a `subscribe`: until there `live` has to reach.
    pub(crate) fn note_subscribes(&mut self, id: LinkId, message: &Bytes) {
        let link = &self.links[id.0];
        let (client, conn) = (link.client, link.client_conn);
        if self.clients[client].life != link.client_life {
            return;
        }
        for frame in decode_client(message.clone(), usize::MAX).unwrap_or_default() {
            let ClientKind::Subscribe(subscribe) = frame else {
                continue;
            };
            let mut names = self.names().iter();
            if let Some(at) = names.position(|name| name.as_str() == subscribe.channel) {
                let head = self.truth.head(at);
                self.clients[client].on_subscribe_received(conn, at, head);
            }
        }
    }

    pub(crate) fn arrives_at_client(&mut self, id: LinkId, message: Bytes) -> Checked {
        let link = &self.links[id.0];
        let (client, conn, node, server_conn) =
            (link.client, link.client_conn, link.node, link.server_conn);
        if self.clients[client].life == link.client_life {
            if self.has_newer(id) {
                self.faults.count(Fault::LateFrame);
            }
            self.trace
                .note(self.now_ms, "client gets", &[id.0 as u64], &message, || {
                    let frames = decode_server(message.clone(), usize::MAX);
                    format!("client {client} on link {}: {frames:?}", id.0)
                });
            let input = match self.links[id.0].kind {
                TransportKind::Sse => crate::http::event_of(conn, &message),
                _ => Input::Received { conn, message },
            };
            self.tell(client, input)?;
        }
        if self.links[id.0].phase == LinkPhase::Up {
            return self.flush(node, server_conn);
        }
        Ok(())
    }

    fn has_newer(&self, id: LinkId) -> bool {
        let link = &self.links[id.0];
        let client = &self.clients[link.client];
        client.life == link.client_life
            && !link.client_has_it
            && client.links.keys().next_back() > Some(&link.client_conn)
    }

    /// Moves what a node has queued for a connection onto its link, as far as the socket takes it.
    pub(crate) fn flush(&mut self, at: usize, conn: PeerId) -> Checked {
        if self.nodes[at].queue(conn).is_some() && !self.nodes[at].is_on_link(conn) {
            return self.flush_answers(at, conn);
        }
        let Some(&id) = self.of_conn.get(&(at, conn)) else {
            return Ok(());
        };
        loop {
            let Some(queue) = self.nodes[at].queue(conn) else {
                return Ok(());
            };
            let bound =
                self.shape.outlet_bytes.max(DOWN_BYTES_MAX) + self.shape.queue().reserve_bytes;
            let bytes = queue.bytes();
            ensure(bytes <= bound, "S14", || {
                format!("a queue holds {bytes} bytes, its bound is {bound}")
            })?;
            if self.links[id.0].down.bytes_under_way() >= self.shape.socket_bytes {
                return Ok(());
            }
            match queue.take() {
                None => return Ok(()),
                Some(Taken::Message {
                    message, drained, ..
                }) => {
                    self.inspect(at, &message)?;
                    if self.links[id.0].phase == LinkPhase::Up {
                        self.send(id, Way::Down, message);
                    }
                    if !drained.is_empty() {
                        let life = self.nodes[at].life;
                        self.on_node(at, life, |node, _, effects| {
                            node.drained(conn, &drained, effects);
                            Ok(())
                        })?;
                    }
                }
                Some(Taken::End(ending)) => {
                    let code = ending.close.unwrap_or(CloseCode::Normal);
                    return self.node_hangs_up(at, conn, code);
                }
            }
        }
    }

    /// What a node says is well formed; some of it is counted.
    fn inspect(&mut self, at: usize, message: &Bytes) -> Checked {
        let seen = self.inspected.iter().find(|seen| seen.is(message));
        let seen = if let Some(seen) = seen {
            seen.clone()
        } else {
            let seen = Inspected::new(at, message)?;
            if self.inspected.len() >= INSPECTED_MAX {
                self.inspected.pop_front();
            }
            self.inspected.push_back(seen.clone());
            seen
        };
        for fault in seen.says {
            self.faults.count(fault);
        }
        ensure(message.len() <= DOWN_BYTES_MAX, "S14", || {
            format!("a message of {} bytes went down", message.len())
        })
    }

    /// The link dies: some of what is under way is lost, and each end hears of it after its time, or
    /// never (`None`).
    pub fn cut(&mut self, id: LinkId, client_hears: Option<u64>, node_hears: Option<u64>) {
        if self.links[id.0].phase == LinkPhase::Dead {
            return;
        }
        let late = if self.rng.bool() {
            self.rng.u64(0..6_000)
        } else {
            0
        };
        let not_before = self.now_ms + late;
        for way in [Way::Up, Way::Down] {
            let under_way = self.links[id.0].lane(way).under_way();
            let keep = self.rng.u64(0..=under_way);
            self.links[id.0].lane(way).break_after(keep, not_before);
        }
        self.links[id.0].phase = LinkPhase::Dead;
        self.note("cut", &[id.0 as u64], || {
            format!(
                "link {}: client hears {client_hears:?}, node {node_hears:?}",
                id.0
            )
        });
        if let Some(after) = client_hears {
            self.after(
                after,
                Event::ClientHears {
                    link: id,
                    code: None,
                },
            );
        }
        if let Some(after) = node_hears {
            self.after(after, Event::NodeHears { link: id });
        }
    }

    pub(crate) fn client_hears(&mut self, id: LinkId, code: Option<CloseCode>) -> Checked {
        let link = &mut self.links[id.0];
        link.phase = LinkPhase::Dead;
        let had_it = std::mem::replace(&mut link.client_has_it, false);
        let (client, conn, life) = (link.client, link.client_conn, link.client_life);
        let kind = link.kind;
        if !had_it || self.clients[client].life != life {
            return Ok(());
        }
        if kind == TransportKind::LongPoll {
            // Its requests tell.
            self.links[id.0].client_has_it = true;
            self.requests_break(id);
            return Ok(());
        }
        self.note("client hears", &[id.0 as u64], || {
            format!("link {} is gone, {code:?}", id.0)
        });
        let reason = LinkClosed {
            stage: LinkStage::Opened,
            code: code.map(|code| code as u16),
            ..LinkClosed::default()
        };
        self.tell(client, Input::Closed { conn, reason })
    }

    pub(crate) fn node_hears(&mut self, id: LinkId) -> Checked {
        let link = &self.links[id.0];
        let (at, conn, life) = (link.node, link.server_conn, link.node_life);
        let cleanly = link.is_left;
        self.on_node(at, life, |node, now, effects| {
            node.forget(now, conn, cleanly, effects)
        })
    }

    /// The client closes: what it sent still arrives; of what is on its way to it, some comes late.
    pub(crate) fn client_closes(&mut self, client: usize, conn: ConnId, code: CloseCode) {
        let Some(&id) = self.clients[client].links.get(&conn) else {
            return;
        };
        self.note("client closes", &[id.0 as u64], || {
            format!("link {} with {code:?}", id.0)
        });
        self.links[id.0].client_has_it = false;
        if self.links[id.0].kind == TransportKind::LongPoll {
            // A node notices if a poll is held, most of the time.
            if self.links[id.0].phase == LinkPhase::Up && self.rng.u8(0..4) > 0 {
                let after = self.between(self.links[id.0].delay_ms);
                self.after(after, Event::NodeHears { link: id });
            }
            self.links[id.0].phase = LinkPhase::Dead;
            return;
        }
        let under_way = self.links[id.0].down.under_way();
        let keep = self.rng.u64(0..=under_way);
        self.links[id.0].down.break_after(keep, 0);
        if self.links[id.0].phase == LinkPhase::Up && !self.links[id.0].up.is_broken() {
            let is_socket = self.links[id.0].kind == TransportKind::WebSocket;
            self.links[id.0].is_left = is_socket && code == CloseCode::Normal;
            let all = self.links[id.0].up.under_way();
            self.links[id.0].up.break_after(all, 0);
            let after = self.between(self.links[id.0].delay_ms);
            let at = self.links[id.0].up.last_arrival_ms().max(self.now_ms) + after;
            self.at(at, Event::NodeHears { link: id });
        }
        self.links[id.0].phase = LinkPhase::Dead;
    }

    /// A node asks one client to go, and ends its link when that time is over. Returns whether there was
    /// somebody to be asked.
    pub fn send_away(&mut self, id: LinkId, by_ms: u32, window_ms: u32) -> Checked<bool> {
        let (at, conn) = (self.links[id.0].node, self.links[id.0].server_conn);
        let is_known = self.links[id.0].phase == LinkPhase::Up && self.nodes[at].knows(conn);
        if !is_known {
            return Ok(false);
        }
        let life = self.nodes[at].life;
        let goaway = Goaway {
            by_ms,
            window_ms,
            reason: "somebody else has room".into(),
            ..Goaway::default()
        };
        self.on_node(at, life, |node, now, effects| {
            node.ask_to_leave(now, conn, goaway, effects)
        })?;
        self.note("sent away", &[id.0 as u64], || format!("link {}", id.0));
        self.after(u64::from(by_ms), Event::SentAwayEnds { link: id });
        Ok(true)
    }

    pub(crate) fn sent_away_ends(&mut self, id: LinkId) -> Checked {
        let link = &self.links[id.0];
        let is_there = link.phase == LinkPhase::Up && self.nodes[link.node].life == link.node_life;
        if is_there {
            return self.node_hangs_up(link.node, link.server_conn, CloseCode::GoingAway);
        }
        Ok(())
    }

    /// The node closes: what it queued still arrives, then the client hears of it.
    pub(crate) fn node_hangs_up(&mut self, at: usize, conn: PeerId, code: CloseCode) -> Checked {
        let Some(&id) = self.of_conn.get(&(at, conn)) else {
            return Ok(());
        };
        self.note("node closes", &[id.0 as u64], || {
            format!("link {} with {code:?}", id.0)
        });
        let silent = self.links[id.0].down.is_broken();
        if self.links[id.0].phase == LinkPhase::Up {
            let all = self.links[id.0].down.under_way();
            self.links[id.0].down.break_after(all, 0);
            self.links[id.0].up.break_after(0, 0);
            self.links[id.0].phase = LinkPhase::Dead;
            if !silent {
                let after = self.between(self.links[id.0].delay_ms);
                let at = self.links[id.0].down.last_arrival_ms().max(self.now_ms) + after;
                self.at(
                    at,
                    Event::ClientHears {
                        link: id,
                        code: Some(code),
                    },
                );
            }
        }
        let life = self.nodes[at].life;
        self.on_node(at, life, |node, now, effects| {
            node.forget(now, conn, false, effects)
        })
    }
}
