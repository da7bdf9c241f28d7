//! Requests to the broker on their way through the world: delays, failures, wake-ups.

use bytes::Bytes;
use tidewire_server::broker::{BrokerReply, BrokerRequest};

use crate::broker::failed;
use crate::faults::Fault;
use crate::violation::Checked;
use crate::world::{Event, World};

/// Who asked: a node in one of its lives, for a channel, by one of its tasks.
pub(crate) type Asker = (usize, u64, usize, u64);

impl World {
    pub(crate) fn ask_broker(
        &mut self,
        node: usize,
        channel: usize,
        asker: u64,
        request: BrokerRequest,
    ) {
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
                    asker,
                    reply: failed(),
                },
            );
            return;
        } else if self.faults.strikes(Fault::BrokerLate, &mut self.rng) {
            // The node gives up waiting; the broker still does what was asked.
            if matches!(request, BrokerRequest::Append { .. }) {
                self.on_late_append(channel);
            }
            self.after(
                takes,
                Event::BrokerAnswers {
                    node,
                    life,
                    channel,
                    asker,
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
                asker,
                request,
                answer,
            },
        );
    }

    pub(crate) fn broker_asked(
        &mut self,
        (node, life, channel, asker): Asker,
        request: BrokerRequest,
        answer: bool,
    ) -> Checked {
        let ids = [node as u64, channel as u64];
        self.trace.note(self.now_ms, "broker asked", &ids, &[], || {
            format!("node {node} channel {channel}: {request:?}")
        });
        let is_append = matches!(request, BrokerRequest::Append { .. });
        let (mut reply, appended) =
            self.broker
                .handle(self.now_ms, channel, request, &mut self.truth)?;
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
                    asker,
                    reply,
                },
            );
        }
        Ok(())
    }

    pub(crate) fn broker_answers(
        &mut self,
        (node, life, channel, asker): Asker,
        reply: BrokerReply,
    ) -> Checked {
        self.note("broker answers", &[node as u64, channel as u64], || {
            format!("node {node} channel {channel}: {}", brief(&reply))
        });
        self.on_node(node, life, |node, _, effects| {
            node.reply(channel, asker, reply, effects)
        })
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

    /// Everybody hears it, soon, late or never.
    pub(crate) fn publish(&mut self, channel: usize, message: &Bytes) {
        if !self.broker.is_up {
            return;
        }
        for node in 0..self.nodes.len() {
            let mut after = self.between(self.shape.broker_ms);
            if self.faults.strikes(Fault::WakeLate, &mut self.rng) {
                if self.rng.bool() {
                    continue;
                }
                after += self.rng.u64(100..5_000);
            }
            let life = self.nodes[node].life;
            let message = message.clone();
            self.after(
                after,
                Event::Publishes {
                    node,
                    life,
                    channel,
                    message,
                },
            );
        }
    }

    pub(crate) fn broker_starts(&mut self) -> Checked {
        self.note("broker starts", &[], String::new);
        self.broker.is_up = true;
        for channel in 0..self.shape.channels {
            self.wake_all(channel);
        }
        Ok(())
    }
}

fn brief(reply: &BrokerReply) -> String {
    match reply {
        BrokerReply::Loaded {
            entries,
            snapshot,
            run,
            ..
        } => format!(
            "Loaded, {} entries from {:?}, snapshot {:?}, {run:?}",
            entries.len(),
            entries.first().map(|e| e.cursor),
            snapshot.as_ref().map(|s| s.name.cursor)
        ),
        BrokerReply::Entries { entries, run, .. } => {
            format!(
                "Entries, {} to {:?}, {run:?}",
                entries.len(),
                entries.last().map(|e| e.cursor)
            )
        }
        other => format!("{other:?}"),
    }
}
