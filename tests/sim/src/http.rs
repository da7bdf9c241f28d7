//! Requests over HTTP in the world: they travel, are lost, copied, late; so are their answers.
//!
//! A link over HTTP is what its requests are. A stream's messages travel on a link as a socket's do; polls and POSTs
//! each go their own way, to any node.

use bytes::Bytes;
use tidewire_core::event_stream::StreamEvent;
use tidewire_core::wire::Hello;
use tidewire_core::{ConnId, Door as ClientDoor, HttpResponse, Input, RequestId, TransportKind};
use tidewire_server::Principal;
use tidewire_server::channel::PeerId;
use tidewire_server::connection::http::{Door, Handle, Post, Refused};

use crate::draw::Draw as _;
use crate::faults::Fault;
use crate::link::{LinkId, LinkPhase};
use crate::node::{Answer, Key, Request, Wish};
use crate::violation::{Checked, Violation, ensure};
use crate::walls::Wall;
use crate::world::{Event, World};

/// How long a home may take to answer, beside what it holds a poll for.
const HOME_MS: u64 = 5_000;

/// The longest hold of a poll.
const HOLD_MS: u64 = 25_000;

/// Where connections that evaluate pushes begin to count.
const POSTS: u64 = 1 << 40;

/// How long the last words of a session wait for a poll.
const LAST_WORDS_MS: u64 = 5_000;

/// A request that a client has made.
#[derive(Clone, Debug)]
pub(crate) struct UnderWay {
    client: usize,
    life: u64,
    pub(crate) conn: ConnId,
    request: RequestId,
    link: LinkId,
    /// Where it came in.
    node: Option<(usize, u64)>,
    is_answered: bool,
    /// Its driver has no place for a request that waits.
    unheld: bool,
}

/// What a request asks of a session that lives elsewhere.
#[derive(Debug)]
pub(crate) struct Letter {
    session: [u8; 16],
    who: Principal,
    poll: Option<u32>,
    post: u32,
    message: Bytes,
    then: Option<Box<(Post, Principal)>>,
    /// A copy is answered to nobody.
    is_copy: bool,
    link: Option<LinkId>,
    hold_ms: u64,
}

impl World {
    /// A client makes a request.
    pub(crate) fn requests(
        &mut self,
        client: usize,
        conn: ConnId,
        request: RequestId,
        door: ClientDoor,
        body: &Bytes,
    ) {
        let known = self.clients[client].links.get(&conn).copied();
        let kind = match door {
            ClientDoor::Stream => TransportKind::Sse,
            _ => TransportKind::LongPoll,
        };
        let link = match known {
            Some(link) => link,
            None => self.new_link(client, conn, kind, Bytes::new()),
        };
        self.last_key += 1;
        let key = self.last_key;
        let life = self.clients[client].life;
        self.under_way.insert(
            key,
            UnderWay {
                client,
                life,
                conn,
                request,
                link,
                node: None,
                is_answered: false,
                // Every fourth client is one of many tabs.
                unheld: door == ClientDoor::Poll && client % 4 == 3,
            },
        );
        self.trace.note(
            self.now_ms,
            "client requests",
            &[link.0 as u64, request.0],
            body,
            || {
                let frames = tidewire_core::wire::decode_client(body.clone(), usize::MAX);
                format!("client {client} on link {}, {door:?}: {frames:?}", link.0)
            },
        );
        self.on_request_made(link);
        let travels = self.travel_ms(link);
        let kind = self.links[link.0].kind;
        if self.walls[client].is_portal {
            // A page that says what to sign.
            self.after(
                travels,
                Event::Responds {
                    key,
                    response: stranger(),
                },
            );
            return;
        }
        match self.walls[client].of(kind) {
            Wall::Open => {}
            Wall::Refuses => {
                self.after(
                    travels,
                    Event::Responds {
                        key,
                        response: broken("reset"),
                    },
                );
                return;
            }
            Wall::Swallows | Wall::Buffers if door != ClientDoor::Push => return,
            Wall::Swallows | Wall::Buffers => {}
        }
        if self.links[link.0].up.is_broken() && self.links[link.0].phase == LinkPhase::Up {
            return;
        }
        if door == ClientDoor::Stream {
            self.links[link.0].first = body.clone();
            self.links[link.0].opened_by = Some(key);
            if !self.faults.strikes(Fault::OpenHangs, &mut self.rng) {
                let event = match self.faults.strikes(Fault::OpenRefused, &mut self.rng) {
                    true => Event::OpenFails { link },
                    false => Event::Opens { link },
                };
                self.after(travels, event);
            }
            return;
        }
        let any = self.rng.index(0..self.nodes.len());
        let node = self.pins.get(&client).copied().unwrap_or(any);
        let arrives = |body: &Bytes, is_copy| Event::RequestArrives {
            key,
            node,
            door,
            body: body.clone(),
            is_copy,
        };
        if self.faults.strikes(Fault::RequestCopied, &mut self.rng) {
            let late = [50, 500, 5_000, 30_000][self.rng.index(0..4)];
            let after = travels + self.rng.u64(0..=late);
            self.after(after, arrives(body, true));
        }
        if self.faults.strikes(Fault::RequestLost, &mut self.rng) {
            if self.rng.bool() {
                let after = travels + self.rng.u64(0..3_000);
                self.after(
                    after,
                    Event::Responds {
                        key,
                        response: broken("lost"),
                    },
                );
            }
            return;
        }
        let late = match self.faults.strikes(Fault::RequestLate, &mut self.rng) {
            true => self.rng.u64(100..20_000),
            false => 0,
        };
        self.after(travels + late, arrives(body, false));
    }

    fn travel_ms(&mut self, link: LinkId) -> u64 {
        let delay_ms = self.links[link.0].delay_ms;
        let travels = self.between(delay_ms);
        match self.links[link.0].spike {
            Some((until, more)) if self.now_ms < until => travels + more,
            _ => travels,
        }
    }

    /// A request reaches a node.
    pub(crate) fn request_arrives(
        &mut self,
        key: Key,
        node: usize,
        door: ClientDoor,
        body: Bytes,
        is_copy: bool,
    ) -> Checked {
        let Some(under_way) = self.under_way.get_mut(&key) else {
            // Its client has given it up; it arrives all the same.
            return match is_copy || door == ClientDoor::Push {
                true => self.handle_request(None, node, door, body),
                false => Ok(()),
            };
        };
        if is_copy {
            return self.handle_request(None, node, door, body);
        }
        if !self.nodes[node].is_up {
            self.answer(key, Answer::Broken);
            return Ok(());
        }
        under_way.node = Some((node, self.nodes[node].life));
        self.handle_request(Some(key), node, door, body)
    }

    fn handle_request(
        &mut self,
        key: Option<Key>,
        node: usize,
        door: ClientDoor,
        body: Bytes,
    ) -> Checked {
        if !self.nodes[node].is_up {
            return Ok(());
        }
        let door = match door {
            ClientDoor::Stream => Door::Stream,
            ClientDoor::Poll => Door::Poll,
            ClientDoor::Push => Door::Push,
        };
        let looks = self.look_at_tokens();
        let token_ms = self.shape.token_ms;
        let now = self.nodes[node].now(self.now_ms);
        let read = self.nodes[node].read_request(door, body, |hello: &Hello| {
            looks?;
            let name = hello.token.strip_prefix("dev:").unwrap_or_default();
            let principal = Principal::new(name);
            Ok(match token_ms {
                Some(life) => principal.expires(tidewire_core::time::UnixTime(now.unix.0 + life)),
                None => principal,
            })
        })?;
        let request = match read {
            Ok(request) => request,
            Err(refused) => {
                self.answer_to(key, Answer::Refused(refused));
                return Ok(());
            }
        };
        match request {
            Request::Open(message) => self.open_polls(key, node, message),
            Request::Pushes(pushes) => self.evaluate(key, node, pushes),
            Request::Session {
                handle,
                who,
                poll,
                post,
                message,
                then,
            } => {
                let one = key.and_then(|key| self.under_way.get(&key));
                let link = one.map(|one| one.link);
                let hold_ms = match one.is_some_and(|one| one.unheld) {
                    true => 0,
                    false => self.shape.heartbeat_ms.min(HOLD_MS),
                };
                let letter = Letter {
                    session: handle.session,
                    who,
                    poll,
                    post,
                    message,
                    then,
                    is_copy: key.is_none(),
                    link,
                    hold_ms,
                };
                self.deliver(key, node, handle, letter)
            }
        }
    }

    /// What the application says of the token of a request. Most answers are remembered.
    fn look_at_tokens(&mut self) -> Result<(), Refused> {
        use tidewire_core::wire::ErrorCode;
        if self.rng.u8(0..8) > 0 {
            return Ok(());
        }
        if self.faults.strikes(Fault::TokenRefused, &mut self.rng) {
            self.faults.count(Fault::RequestRefused);
            return Err(Refused::new(ErrorCode::TokenExpired, "injected"));
        }
        if self.faults.strikes(Fault::AuthDown, &mut self.rng) {
            return Err(Refused::new(ErrorCode::AuthUnavailable, "injected").after_ms(1_000));
        }
        Ok(())
    }

    /// Poll 1 opens a session where it came in. A copy opens one too, which nobody uses and nobody here has.
    fn open_polls(&mut self, key: Option<Key>, node: usize, message: Bytes) -> Checked {
        if !self.nodes[node].is_serving() {
            let code = tidewire_core::wire::ErrorCode::GoingAway;
            let refused = Refused::new(code, "this node drains").after_ms(1_000);
            self.answer_to(key, Answer::Refused(refused));
            return Ok(());
        }
        let link = match key.and_then(|key| self.under_way.get(&key)) {
            Some(under_way) => under_way.link,
            None => return Ok(()),
        };
        let Some(key) = key else { return Ok(()) };
        let life = self.nodes[node].life;
        self.links[link.0].phase = LinkPhase::Up;
        self.links[link.0].node = node;
        self.links[link.0].node_life = life;
        let conn = self.links[link.0].server_conn;
        self.of_conn.insert((node, conn), link);
        self.on_node(node, life, |node, now, effects| {
            node.open_session(now, conn, link, Some(key), message, effects)
        })
    }

    /// What is for a session goes to its home, through the broker's inbox, and nowhere else.
    fn deliver(
        &mut self,
        key: Option<Key>,
        node: usize,
        handle: Handle,
        letter: Letter,
    ) -> Checked {
        let home = self
            .nodes
            .iter()
            .position(|node| node.is_up && node.home() == handle.home);
        let Some(home) = home else {
            self.answer_to(key, Answer::Refused(Refused::moved()));
            return Ok(());
        };
        if home == node {
            return self.take_at_home(key, home, self.nodes[home].life, node, letter);
        }
        self.faults.count(Fault::Forwarded);
        if let Some(key) = key {
            let hold_ms = letter.poll.map_or(0, |_| letter.hold_ms);
            self.after(hold_ms + HOME_MS, Event::HomeIsSilent { key });
        }
        let mut takes = self.between(self.shape.broker_ms);
        if self.faults.strikes(Fault::LetterLate, &mut self.rng) {
            takes += self.rng.u64(500..8_000);
        }
        let life = self.nodes[home].life;
        self.after(
            takes,
            Event::LetterArrives {
                key,
                home,
                life,
                front: node,
                letter: Box::new(letter),
            },
        );
        Ok(())
    }

    /// A session's home takes what a request brings.
    pub(crate) fn take_at_home(
        &mut self,
        key: Option<Key>,
        home: usize,
        life: u64,
        front: usize,
        letter: Letter,
    ) -> Checked {
        if !self.nodes[home].is_up || self.nodes[home].life != life {
            // Nobody answers, until the asker gives up.
            return Ok(());
        }
        let link = self.nodes[home].link_of_session(letter.session);
        ensure(
            letter.is_copy || letter.link.is_none() || link.is_none() || link == letter.link,
            "wire",
            || {
                format!(
                    "a request of {:?} names the session of {link:?}",
                    letter.link
                )
            },
        )?;
        // A copy of a poll that counts is a poll: it may take an answer away, which then is lost.
        let poll = letter
            .poll
            .map(|number| (number, key.unwrap_or(0), letter.hold_ms));
        let message = letter.message.clone();
        let wish = Wish {
            session: letter.session,
            who: letter.who,
            poll,
            post: letter.post,
            message: letter.message,
        };
        let mut taken = None;
        self.on_node(home, life, |node, now, effects| {
            taken = Some(node.take_here(now, wish, effects)?);
            Ok(())
        })?;
        let Some(taken) = taken else { return Ok(()) };
        if taken.is_ok()
            && let Some(link) = link
        {
            self.note_subscribes(link, &message);
        }
        if let (Ok(true), Some(number)) = (&taken, letter.poll) {
            // Poll 1 has opened the session.
            let before = self.polls.insert(letter.session, number).unwrap_or(1);
            ensure(number == before + 1, "polls", || {
                format!("poll {number} was taken after {before}")
            })?;
        }
        match taken {
            Err(refused) => self.answer_to(key, Answer::Refused(refused)),
            Ok(true) => {}
            Ok(false) => match letter.then {
                Some(pushes) => return self.evaluate(key, front, pushes),
                None => self.answer_to(key, Answer::Body(Bytes::new())),
            },
        }
        Ok(())
    }

    /// Pushes are evaluated where they came in.
    fn evaluate(
        &mut self,
        key: Option<Key>,
        node: usize,
        pushes: Box<(Post, Principal)>,
    ) -> Checked {
        self.last_key += 1;
        let conn = PeerId(POSTS + self.last_key);
        let (post, principal) = *pushes;
        let life = self.nodes[node].life;
        self.on_node(node, life, |node, now, effects| {
            node.evaluate(now, conn, key.unwrap_or(0), post, principal, effects)
        })
    }

    /// The node that a request came to has waited for its session's home for long enough.
    pub(crate) fn home_is_silent(&mut self, key: Key) {
        self.answer(key, Answer::Refused(Refused::moved()));
    }

    fn answer_to(&mut self, key: Option<Key>, answer: Answer) {
        if let Some(key) = key {
            self.answer(key, answer);
        }
    }

    /// A node answers a request: once, and perhaps the answer is lost.
    pub(crate) fn answer(&mut self, key: Key, answer: Answer) {
        let Some(under_way) = self.under_way.get_mut(&key) else {
            return;
        };
        if std::mem::replace(&mut under_way.is_answered, true) {
            return;
        }
        let link = under_way.link;
        let after = self.travel_ms(link);
        let lost = self.faults.strikes(Fault::AnswerLost, &mut self.rng)
            || (self.links[link.0].down.is_broken() && self.links[link.0].phase == LinkPhase::Up);
        let response = match answer {
            Answer::Broken => broken("it broke off"),
            _ if lost => {
                if self.rng.bool() || self.links[link.0].down.is_broken() {
                    return;
                }
                broken("the answer was lost")
            }
            Answer::Body(body) => HttpResponse {
                status: 200,
                body,
                ..HttpResponse::default()
            },
            Answer::Refused(refused) => HttpResponse {
                status: refused.status,
                body: refused.body(tidewire_core::wire::Codec::Protobuf),
                ..HttpResponse::default()
            },
        };
        self.after(after, Event::Responds { key, response });
    }

    /// The answer reaches the client, unless that has given up.
    pub(crate) fn responds(&mut self, key: Key, response: HttpResponse) -> Checked {
        let Some(under_way) = self.under_way.remove(&key) else {
            return Ok(());
        };
        let UnderWay {
            client,
            life,
            conn,
            request,
            link,
            unheld,
            ..
        } = under_way;
        let response = HttpResponse { unheld, ..response };
        if self.clients[client].life != life || !self.links[link.0].client_has_it {
            return Ok(());
        }
        self.trace.note(
            self.now_ms,
            "client is answered",
            &[link.0 as u64, request.0, response.status.into()],
            &response.body,
            || {
                let frames = tidewire_core::wire::decode_server(response.body.clone(), usize::MAX);
                format!(
                    "client {client} on link {}: {} {frames:?}",
                    link.0, response.status
                )
            },
        );
        let input = Input::Response {
            conn,
            request,
            response,
        };
        self.tell(client, input)
    }

    /// The client gives a request up, or all of a link.
    pub(crate) fn gives_up(&mut self, client: usize, conn: ConnId, request: Option<RequestId>) {
        let life = self.clients[client].life;
        self.under_way.retain(|_, one| {
            let is_its = one.client == client && one.life == life && one.conn == conn;
            !(is_its && request.is_none_or(|request| one.request == request))
        });
    }

    /// A link over HTTP dies: what is under way breaks off.
    pub(crate) fn requests_break(&mut self, link: LinkId) {
        let keys: Vec<Key> = self
            .under_way
            .iter()
            .filter(|(_, one)| one.link == link)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.after(
                0,
                Event::Responds {
                    key,
                    response: broken("the link broke"),
                },
            );
        }
    }

    /// A node is gone, and with it what it would have answered. Some clients never hear of it.
    pub(crate) fn requests_of_node_break(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let keys: Vec<Key> = self
            .under_way
            .iter()
            .filter(|(_, one)| one.node == Some((node, life)) && !one.is_answered)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if self.rng.u8(0..4) > 0 {
                let after = self.rng.u64(0..2_000);
                self.after(
                    after,
                    Event::Responds {
                        key,
                        response: broken("the node is gone"),
                    },
                );
            }
        }
    }

    /// Whatever was swallowed breaks off.
    pub(crate) fn all_requests_break(&mut self) {
        let keys: Vec<Key> = self.under_way.keys().copied().collect();
        for key in keys {
            if !self.under_way[&key].is_held() {
                self.after(
                    100,
                    Event::Responds {
                        key,
                        response: broken("healed"),
                    },
                );
            }
        }
    }

    /// Answers of a session that polls, and of pushes.
    pub(crate) fn flush_answers(&mut self, at: usize, conn: PeerId) -> Checked {
        let life = self.nodes[at].life;
        let mut ending = None;
        self.on_node(at, life, |node, now, effects| {
            ending = node.answer(now, conn, effects)?;
            Ok(())
        })?;
        if let Some(ending) = ending {
            let code = ending
                .close
                .unwrap_or(tidewire_core::wire::CloseCode::Normal);
            return match self.of_conn.contains_key(&(at, conn)) {
                true => self.node_hangs_up(at, conn, code),
                false => self.on_node(at, life, |node, now, effects| {
                    node.forget(now, conn, false, effects)
                }),
            };
        }
        if self.nodes[at].is_over(conn)
            && let Some(&link) = self.of_conn.get(&(at, conn))
            && !std::mem::replace(&mut self.links[link.0].is_ending, true)
        {
            self.after(LAST_WORDS_MS, Event::NodeHears { link });
        }
        Ok(())
    }

    /// A stream that never came up, or a refusal of it.
    pub(crate) fn stream_fails(&mut self, id: LinkId, status: u16) -> Checked {
        let Some(key) = self.links[id.0].opened_by.take() else {
            return Ok(());
        };
        let response = HttpResponse {
            status,
            ..HttpResponse::default()
        };
        self.responds(key, response)
    }

    /// Somebody asks who answers in its network.
    pub(crate) fn probes(&mut self, client: usize, probe: u64) {
        use tidewire_core::Probed;
        let life = self.clients[client].life;
        let walls = &self.walls[client];
        let found = match (walls.is_portal, self.nodes.iter().any(|node| node.is_up)) {
            (true, _) => Probed::Stranger,
            (false, true) => Probed::Live,
            (false, false) => Probed::Nobody,
        };
        let found = match self.faults.strikes(Fault::RequestLost, &mut self.rng) {
            true => Probed::Nobody,
            false => found,
        };
        let after = self.between(self.shape.link_ms) * 2;
        self.after(
            after,
            Event::Probes {
                client,
                life,
                probe,
                found,
            },
        );
    }

    fn on_request_made(&mut self, link: LinkId) {
        let kind = self.links[link.0].kind;
        if kind != TransportKind::WebSocket {
            self.faults.count(Fault::Fallback);
        }
    }
}

impl UnderWay {
    /// A node has it, and answers in its time.
    const fn is_held(&self) -> bool {
        self.node.is_some() && !self.is_answered
    }
}

/// What comes of a request that nobody answers.
pub(crate) fn broken(why: &str) -> HttpResponse {
    HttpResponse {
        detail: why.into(),
        ..HttpResponse::default()
    }
}

/// What somebody else says in the server's place.
fn stranger() -> HttpResponse {
    HttpResponse {
        status: 302,
        body: Bytes::from_static(b"<html>sign in</html>"),
        ..HttpResponse::default()
    }
}

/// What a stream brings, as its driver hands it over.
pub(crate) fn event_of(conn: ConnId, message: &Bytes) -> Input {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(message);
    let event = StreamEvent {
        kind: "message".into(),
        data: data.into(),
    };
    Input::Event { conn, event }
}

/// The message that an input brings, whichever way it came; `None`: none, or answers to pushes alone.
pub(crate) fn carried(input: &Input) -> Checked<Option<(ConnId, Bytes)>> {
    Ok(match input {
        Input::Received { conn, message } => Some((*conn, message.clone())),
        Input::Event { conn, event } => {
            let message = event
                .clone()
                .into_message(tidewire_core::wire::Codec::Protobuf);
            let message = message
                .map_err(|e| Violation::new("wire", format!("an event is no message: {e}")))?;
            message.map(|message| (*conn, message))
        }
        Input::Response { conn, response, .. } if response.status == 200 => {
            Some((*conn, response.body.clone()))
        }
        _ => None,
    })
}
