//! What clients and nodes want from the world, and what reaches them: the sim's drivers.

use tidewire_core::time::{MonoTime, UnixTime};
use tidewire_core::{ClientId, Config, Input, OutboxReply, OutboxRequest, TokenError};
use tidewire_server::channel::PeerId;
use tidewire_server::{AuthError, Principal};

use crate::app::{self, Act};
use crate::client::{Store, Wish};
use crate::faults::Fault;
use crate::node::{Effect, Node};
use crate::trace::mix;
use crate::violation::{Checked, Violation};
use crate::world::{Event, World};

/// A node waits no longer for its application to look at a token.
const AUTHENTICATE_MS: u64 = 10_000;

impl World {
    pub(crate) fn client_starts(&mut self, client: usize, life: u64) -> Checked {
        // The healing starts whoever is down, who may be about to start already.
        if self.clients[client].life != life || self.clients[client].is_running() {
            return Ok(());
        }
        // Now and then somebody has deleted what the browser kept.
        let store = self.clients[client].store;
        let is_shared = self.clients.iter().filter(|c| c.store == store).count() > 1;
        let may_go = self.shape.stores_deleted && !is_shared && !self.faults.is_frozen();
        if life > 0 && may_go && self.rng.u8(0..4) == 0 {
            let id = ClientId(self.rng.u128(..).to_be_bytes());
            let fresh = Store::new(&self.clients[client].principal, id);
            self.truth.stores.push(fresh);
            self.clients[client].store = self.truth.stores.len() - 1;
        }
        let seed = self.rng.u64(..);
        let mut config = Config::default();
        config.transports.clone_from(&self.shape.transports);
        config.outbox_rows_max = self.shape.outbox_rows;
        config.ttl_max = self.shape.channel.ttl_max;
        config.retention = self.shape.channel.retention;
        self.note("client starts", &[client as u64], || {
            format!("client {client}")
        });
        let wishes = self.clients[client].start(self.now_ms, seed, config, &mut self.truth)?;
        self.grant(client, wishes)?;
        for channel in 0..self.shape.channels {
            if channel == 0 || self.rng.u8(0..4) > 0 {
                self.act(client, Act::Subscribe(channel))?;
            }
        }
        Ok(())
    }

    pub(crate) fn client_timer(&mut self, client: usize, life: u64) -> Checked {
        if self.clients[client].life != life {
            return Ok(());
        }
        if !self.clients[client].is_awake(self.now_ms) {
            // A timer that is due while the process is stopped fires when it goes on.
            return Ok(());
        }
        let wishes = self.clients[client].timeout(self.now_ms, &mut self.truth)?;
        self.grant(client, wishes)
    }

    pub(crate) fn client_thaws(&mut self, client: usize, life: u64) -> Checked {
        if self.clients[client].life != life {
            return Ok(());
        }
        while self.clients[client].is_awake(self.now_ms) {
            let Some(input) = self.clients[client].inbox.pop_front() else {
                break;
            };
            self.tell_now(client, input)?;
        }
        if self.clients[client].is_awake(self.now_ms) {
            self.tell_now(client, Input::Timeout)?;
        }
        Ok(())
    }

    pub(crate) fn token_comes(&mut self, client: usize) -> Checked {
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

    pub(crate) fn acts(&mut self, client: usize) -> Checked {
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

    /// An application tries a channel that has failed once more, as soon as the process can.
    pub(crate) fn retries(&mut self, client: usize, channel: usize) -> Checked {
        if self.clients[client].is_awake(self.now_ms) {
            return self.act(client, Act::Subscribe(channel));
        }
        let life = self.clients[client].life;
        // Or sooner: nobody is frozen any more once faults have ended.
        let thaw = self.clients[client].frozen_until_ms;
        let thaw = thaw.clamp(self.now_ms + 1, self.now_ms + 1_000);
        self.at(
            thaw,
            Event::Retries {
                client,
                life,
                channel,
            },
        );
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

    pub(crate) fn grant(&mut self, client: usize, wishes: Vec<Wish>) -> Checked {
        let life = self.clients[client].life;
        for wish in wishes {
            match wish {
                Wish::Moved => self.faults.count(Fault::Moved),
                Wish::Climbed => self.faults.count(Fault::Climbed),
                Wish::Asks => self.on_ask(),
                Wish::Open(conn, first) => self.open(client, conn, first),
                Wish::Send(conn, message) => self.client_sends(client, conn, message),
                Wish::Request(conn, request, door, body) => {
                    self.requests(client, conn, request, door, &body);
                }
                Wish::Abort(conn, request) => self.gives_up(client, conn, Some(request)),
                Wish::Probe(probe) => self.probes(client, probe),
                Wish::Close(conn, code) => {
                    self.gives_up(client, conn, None);
                    self.client_closes(client, conn, code);
                }
                Wish::Token => {
                    let after = self.rng.u64(0..50);
                    self.after(after, Event::TokenComes { client, life });
                }
                Wish::Store(request) => {
                    let slow = self.faults.strikes(Fault::StoreSlow, &mut self.rng);
                    let most = self.shape.store_ms.unwrap_or(0);
                    let takes = self.rng.u64(0..=most) + if slow { 3_000 } else { 0 };
                    let busy = &mut self.clients[client].store_busy_until_ms.0;
                    *busy = (self.now_ms + takes).max(*busy);
                    let at = *busy;
                    self.at(
                        at,
                        Event::StoreAsked {
                            client,
                            life,
                            request,
                        },
                    );
                }
                Wish::Wake(at) => {
                    let at = self.clients[client].world_ms(at);
                    self.at(at, Event::ClientTimer { client, life });
                }
                Wish::Retry(channel) => {
                    let after = self.rng.u64(200..3_000);
                    self.after(
                        after,
                        Event::Retries {
                            client,
                            life,
                            channel,
                        },
                    );
                }
                Wish::Note(event) => {
                    let seen = fingerprint(&event);
                    let ids = [client as u64, seen];
                    self.trace.note(self.now_ms, "event", &ids, &[], || {
                        format!("client {client}: {event:?}")
                    });
                }
            }
        }
        self.hint_others(client);
        Ok(())
    }

    /// A transaction happens, between the request and its answer.
    pub(crate) fn store_asked(
        &mut self,
        client: usize,
        life: u64,
        request: OutboxRequest,
    ) -> Checked {
        if self.clients[client].life != life {
            return Ok(());
        }
        let fails = self.faults.strikes(Fault::StoreFailed, &mut self.rng);
        let reply = self.clients[client].store(request, fails, &mut self.truth)?;
        if let Some(reply) = reply {
            self.store_answers(client, reply);
        }
        self.hint_others(client);
        Ok(())
    }

    /// Answers keep the order of the transactions.
    fn store_answers(&mut self, client: usize, reply: OutboxReply) {
        let takes = self.rng.u64(0..=self.shape.store_ms.unwrap_or(0) / 2);
        let life = self.clients[client].life;
        let busy = &mut self.clients[client].store_busy_until_ms.1;
        *busy = (self.now_ms + takes).max(*busy);
        let at = *busy;
        self.at(
            at,
            Event::StoreAnswers {
                client,
                life,
                reply,
            },
        );
    }

    /// Other sessions on the store hear of what one has written, most of the time.
    pub(crate) fn hint_others(&mut self, client: usize) {
        let hints = std::mem::take(&mut self.clients[client].hints);
        let store = self.clients[client].store;
        for other in 0..self.clients.len() {
            if other == client || self.clients[other].store != store {
                continue;
            }
            for (channel, numbers) in &hints {
                if self.faults.strikes(Fault::HintLost, &mut self.rng) {
                    continue;
                }
                let (life, numbers) = (self.clients[other].life, numbers.clone());
                let after = self.rng.u64(0..=200);
                self.after(
                    after,
                    Event::StoreHints {
                        client: other,
                        life,
                        channel: *channel,
                        numbers,
                    },
                );
            }
        }
    }

    /// Somebody opens an application again: what its store has is shown and sent.
    pub(crate) fn looks_again(&mut self, client: usize) -> Checked {
        for channel in 0..self.shape.channels {
            let store = self.clients[client].store;
            let rows = self.truth.stores[store].rows(&self.names()[channel]);
            if !rows.is_empty() {
                self.act(client, Act::Subscribe(channel))?;
                let numbers: Vec<u64> = rows.iter().map(|row| row.n).collect();
                self.store_hints(client, channel, &numbers)?;
            }
        }
        Ok(())
    }

    /// A session is told of rows as they are now.
    pub(crate) fn store_hints(
        &mut self,
        client: usize,
        channel: usize,
        numbers: &[u64],
    ) -> Checked {
        let name = self.names()[channel].clone();
        let mut rows = self.truth.stores[self.clients[client].store].rows(&name);
        rows.retain(|row| numbers.contains(&row.n));
        if !self.clients[client].is_running() || rows.is_empty() {
            return Ok(());
        }
        let foreign = OutboxReply::Foreign {
            channel: name,
            rows,
        };
        if self.shape.store_ms.is_some() {
            self.store_answers(client, foreign);
        } else if self.clients[client].is_awake(self.now_ms) {
            // Its store answers at once, so nothing may come between.
            self.tell_now(client, Input::Outbox(foreign))?;
        }
        Ok(())
    }

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
                Effect::Broker {
                    channel,
                    asker,
                    request,
                } => self.ask_broker(node, channel, asker, request),
                Effect::Publish(channel, message) => self.publish(channel, &message),
                Effect::Timer(channel, at) => {
                    let at = self.node_ms(node, at);
                    self.at(
                        at,
                        Event::ChannelTimer {
                            node,
                            life,
                            channel,
                        },
                    );
                }
                Effect::Tick(conn, at) => {
                    let at = self.node_ms(node, at);
                    self.at(at, Event::Tick { node, life, conn });
                }
                Effect::Authenticate(conn, token) => self.authenticate(node, conn, token),
                Effect::Flush(conn) => self.flush(node, conn)?,
                Effect::Answer(key, answer) => self.answer(key, answer),
                Effect::Hold(conn, key, ms) => {
                    self.after(
                        ms,
                        Event::HoldEnds {
                            node,
                            life,
                            conn,
                            key,
                        },
                    );
                }
                Effect::Evaluate(conn, ms) => {
                    self.after(ms, Event::EvaluationEnds { node, life, conn });
                }
                Effect::HungUp(conn) => self.after(0, Event::HungUp { node, life, conn }),
            }
        }
        Ok(())
    }

    /// The application of a node looks at a token.
    fn authenticate(&mut self, node: usize, conn: PeerId, token: String) {
        let life = self.nodes[node].life;
        let mut takes = self.between(self.shape.auth_ms);
        let answer = if self.faults.strikes(Fault::TokenRefused, &mut self.rng) {
            Err(AuthError::Expired("injected".into()))
        } else if self.faults.strikes(Fault::AuthHangs, &mut self.rng) {
            takes = AUTHENTICATE_MS;
            Err(AuthError::retryable("the token check took too long"))
        } else if self.faults.strikes(Fault::AuthDown, &mut self.rng) {
            Err(AuthError::retryable("injected"))
        } else {
            Ok(token)
        };
        self.after(
            takes,
            Event::Authenticates {
                node,
                life,
                conn,
                answer,
            },
        );
    }

    /// It has said who bears it.
    pub(crate) fn authenticates(
        &mut self,
        node: usize,
        life: u64,
        conn: PeerId,
        answer: Result<String, AuthError>,
    ) -> Checked {
        let token_ms = self.shape.token_ms;
        self.on_node(node, life, |node, now, effects| {
            let answer = match answer {
                Ok(token) => {
                    let name = token
                        .strip_prefix("dev:")
                        .ok_or_else(|| Violation::new("wire", format!("token {token:?}")))?;
                    let until = token_ms.map(|life| UnixTime(node.now(now).unix.0 + life));
                    let principal = Principal::new(name);
                    Ok(match until {
                        Some(until) => principal.expires(until),
                        None => principal,
                    })
                }
                Err(error) => Err(error),
            };
            node.authenticated(now, conn, answer, effects)
        })
    }

    fn node_ms(&self, node: usize, at: MonoTime) -> u64 {
        self.nodes[node].world_ms(at)
    }
}

/// An event as one number, for the trace. The frequent ones are not written out as text for that.
fn fingerprint(event: &tidewire_core::Event) -> u64 {
    use tidewire_core::Event;
    let bytes = |hash, bytes: &[u8]| bytes.iter().fold(hash, |hash, &b| mix(hash, b.into()));
    match event {
        Event::Changed { channel, records } => {
            records.iter().fold(u64::from(channel.0), |hash, key| {
                let hash = bytes(mix(hash, 1), key.collection.as_bytes());
                bytes(mix(hash, 2), key.id.as_bytes())
            })
        }
        Event::Mutation {
            channel,
            handle,
            n,
            status,
        } => {
            let hash = mix(mix(u64::from(channel.0), handle.0), n.unwrap_or(0));
            bytes(hash, status.name().as_bytes())
        }
        other => bytes(0, format!("{other:?}").as_bytes()),
    }
}
