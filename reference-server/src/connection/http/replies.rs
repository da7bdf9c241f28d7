//! What the response of a POST carries: the answers to its pushes.

use std::collections::{BTreeMap, VecDeque};

use tidewire_core::wire::{ErrorCode, Hold, Push, ServerKind};

use super::super::refusal::RETRY_MS;

/// Answers to the pushes of one POST, as they come.
#[derive(Debug, Default)]
pub struct Replies {
    /// The last number of each push that waits, by channel, in their order.
    waiting: BTreeMap<String, VecDeque<u64>>,
    replies: Vec<ServerKind>,
    has_failed: bool,
}

impl Replies {
    /// For these pushes.
    pub fn new<'a>(pushes: impl IntoIterator<Item = &'a Push>) -> Self {
        let mut waiting: BTreeMap<String, VecDeque<u64>> = BTreeMap::new();
        for push in pushes {
            // One without items breaks the contract and is told so.
            let items = (push.items.len() as u64).max(1);
            let last = push.first_n.saturating_add(items - 1);
            let of_channel = waiting.entry(push.channel.clone()).or_default();
            of_channel.push_back(last);
        }
        Self {
            waiting,
            ..Self::default()
        }
    }

    /// Takes a frame of the connection that evaluates them. What is no answer is left out.
    pub fn take(&mut self, frame: ServerKind) {
        match frame {
            ServerKind::Ack(ack) => {
                self.answered(&ack.channel, ack.through);
                self.replies.push(ServerKind::Ack(ack));
            }
            ServerKind::Error(error) if error.fatal => {
                self.waiting.clear();
                self.has_failed = true;
                self.replies.push(ServerKind::Error(error));
            }
            ServerKind::Error(error) => {
                match (&error.channel, error.n) {
                    (Some(channel), Some(n)) => self.answered(channel, n),
                    (Some(channel), None) => drop(self.waiting.remove(channel)),
                    (None, _) => {}
                }
                self.replies.push(ServerKind::Error(error));
            }
            // Whatever comes behind it in this channel comes again as well.
            ServerKind::Need(_) | ServerKind::Hold(_) | ServerKind::StaleEpoch(_) => {
                if let Some(channel) = frame.channel() {
                    self.waiting.remove(channel);
                }
                self.replies.push(frame);
            }
            // Its channel ended under it. Nobody here has a subscription that could be asked for anew.
            ServerKind::Lagged(lagged) => {
                if let Some((channel, _)) = self.waiting.remove_entry(&lagged.channel) {
                    self.replies.push(hold(channel));
                }
            }
            _ => {}
        }
    }

    /// All that wait up to a number have their answer.
    fn answered(&mut self, channel: &str, through: u64) {
        if let Some(waiting) = self.waiting.get_mut(channel) {
            while waiting.front().is_some_and(|last| *last <= through) {
                waiting.pop_front();
            }
            if waiting.is_empty() {
                self.waiting.remove(channel);
            }
        }
    }

    /// Whether nothing more has to come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the link that they came on would have ended.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// All answers. Pushes that have none come again later.
    #[must_use]
    pub fn finish(mut self) -> Vec<ServerKind> {
        self.replies.extend(self.waiting.into_keys().map(hold));
        self.replies
    }
}

fn hold(channel: String) -> ServerKind {
    ServerKind::Hold(Hold {
        channel,
        code: ErrorCode::Overloaded as u32,
        retry_ms: RETRY_MS,
    })
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::{Ack, ErrorFrame, Item, Lagged, Need, Patch};

    use super::*;

    fn push(channel: &str, first_n: u64, items: usize) -> Push {
        Push {
            channel: channel.into(),
            first_n,
            items: vec![Item::default(); items],
            ..Push::default()
        }
    }

    fn ack(channel: &str, through: u64) -> ServerKind {
        ServerKind::Ack(Ack {
            channel: channel.into(),
            through,
            ..Ack::default()
        })
    }

    fn error(n: Option<u64>) -> ServerKind {
        ServerKind::Error(ErrorFrame {
            channel: Some("a:1".into()),
            n,
            ..ErrorFrame::default()
        })
    }

    #[test]
    fn a_post_is_done_when_each_push_has_its_answer() {
        let pushes = [push("a:1", 1, 2), push("a:2", 7, 1), push("a:1", 3, 1)];
        let mut replies = Replies::new(&pushes);
        for (frame, is_done) in [
            (ack("a:1", 1), false),
            (ServerKind::Patch(Patch::default()), false),
            (ack("a:2", 7), false),
            (ack("a:1", 2), false),
            (error(Some(3)), true),
        ] {
            replies.take(frame);
            assert_eq!(replies.is_done(), is_done);
        }
        // The patch is none of its business.
        assert_eq!(replies.finish().len(), 4);
    }

    #[test]
    fn what_comes_behind_a_push_that_has_to_come_again_is_not_waited_for() {
        let need = ServerKind::Need(Need {
            channel: "a:1".into(),
            ..Need::default()
        });
        for answer in [need, error(None), hold("a:1".into())] {
            let mut replies = Replies::new(&[push("a:1", 5, 1), push("a:1", 6, 1)]);
            replies.take(answer.clone());
            assert!(replies.is_done());
            assert_eq!(replies.finish(), [answer]);
        }
    }

    #[test]
    fn a_push_that_nobody_answers_is_held() {
        let mut replies = Replies::new(&[push("a:1", 1, 1), push("a:2", 1, 1)]);
        replies.take(ServerKind::Lagged(Lagged {
            channel: "a:1".into(),
        }));
        assert!(!replies.is_done());
        let held = [hold("a:1".into()), hold("a:2".into())];
        assert_eq!(replies.finish(), held);
    }

    #[test]
    fn a_fatal_error_is_the_last_word() {
        let mut replies = Replies::new(&[push("a:1", 1, 1)]);
        replies.take(ServerKind::Error(ErrorFrame {
            fatal: true,
            ..ErrorFrame::default()
        }));
        assert!(replies.is_done() && replies.has_failed());
        assert_eq!(replies.finish().len(), 1);
    }
}
