//! Brokers that break one rule each: the checks must see it.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::time::UnixTime;

use super::failures;
use crate::broker::{
    Answer, Broker, BrokerReply, BrokerRequest, Inbox, Letter, LetterId, Listed, Listeners,
    MemoryBroker, NodeId, RunId, Sent, Unavailable, Watch,
};
use crate::channel_pattern::ChannelPattern;

/// What it does wrong, and the check that has to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    TakesEverything,
    ReadsFromTheBeginning,
    TrimsWhatIsNotCovered,
    ForgetsSnapshots,
    LivesIn1970,
    IsDeaf,
    HearsNoPatterns,
    PublishesTwice,
    TakesLettersForHandled,
    KnowsEveryNode,
    DeliversWhatHasExpired,
    IgnoresLimits,
    ListsBackwards,
    IsAlwaysSick,
    NeverCloses,
}

const LIES: &[(Lie, &str)] = &[
    (
        Lie::TakesEverything,
        "an_append_to_another_head_is_a_conflict",
    ),
    (
        Lie::ReadsFromTheBeginning,
        "what_was_appended_is_read_in_order",
    ),
    (
        Lie::TrimsWhatIsNotCovered,
        "a_snapshot_trims_the_log_and_is_loaded_with_the_rest",
    ),
    (
        Lie::ForgetsSnapshots,
        "a_snapshot_never_trims_what_it_does_not_cover",
    ),
    (Lie::LivesIn1970, "answers_carry_the_brokers_clock"),
    (Lie::IsDeaf, "everybody_who_watches_hears_of_an_append"),
    (
        Lie::HearsNoPatterns,
        "a_pattern_hears_of_the_channels_that_it_matches",
    ),
    (
        Lie::PublishesTwice,
        "what_is_published_comes_once_to_everybody_in_order",
    ),
    (
        Lie::TakesLettersForHandled,
        "what_was_not_handled_comes_again_once_the_inbox_is_opened_anew",
    ),
    (
        Lie::KnowsEveryNode,
        "a_letter_to_a_node_that_never_was_is_not_kept",
    ),
    (
        Lie::DeliversWhatHasExpired,
        "what_has_expired_is_not_delivered",
    ),
    (
        Lie::IgnoresLimits,
        "channels_are_listed_in_order_and_by_parts",
    ),
    (
        Lie::ListsBackwards,
        "channels_are_listed_in_order_and_by_parts",
    ),
    (Lie::IsAlwaysSick, "a_broker_that_works_says_so"),
    (
        Lie::NeverCloses,
        "what_was_asked_before_the_end_is_answered_and_nothing_after_it",
    ),
];

struct Lying {
    lie: Lie,
    truth: MemoryBroker,
    /// Nobody tells these anything.
    deaf: Listeners,
}

impl Broker for Lying {
    fn request(&self, channel: &ChannelName, request: BrokerRequest) -> Answer<BrokerReply> {
        let mut request = request;
        match (&mut request, self.lie) {
            (BrokerRequest::Read { after }, Lie::ReadsFromTheBeginning) => *after = 0,
            (BrokerRequest::PutSnapshot { trim_through, .. }, Lie::TrimsWhatIsNotCovered) => {
                *trim_through = u64::MAX;
            }
            (BrokerRequest::PutSnapshot { .. }, Lie::ForgetsSnapshots) => {
                return Answer::Ready(BrokerReply::SnapshotStored);
            }
            _ => {}
        }
        let Answer::Ready(mut reply) = self.truth.request(channel, request) else {
            unreachable!("memory answers at once");
        };
        match (&mut reply, self.lie) {
            (BrokerReply::Conflict, Lie::TakesEverything) => reply = BrokerReply::Appended,
            (
                BrokerReply::Loaded { clock, .. } | BrokerReply::Entries { clock, .. },
                Lie::LivesIn1970,
            ) => *clock = UnixTime(1),
            _ => {}
        }
        Answer::Ready(reply)
    }

    fn watch(&self, channels: &ChannelPattern) -> Watch {
        let is_pattern = !matches!(channels, ChannelPattern::Name(_));
        match self.lie {
            Lie::IsDeaf => self.deaf.watch(channels),
            Lie::HearsNoPatterns if is_pattern => self.deaf.watch(channels),
            _ => self.truth.watch(channels),
        }
    }

    fn publish(&self, channel: &ChannelName, message: Bytes) -> Answer<Result<(), Unavailable>> {
        if self.lie == Lie::PublishesTwice {
            drop(self.truth.publish(channel, message.clone()));
        }
        self.truth.publish(channel, message)
    }

    fn inbox(&self, node: NodeId) -> Answer<Result<Box<dyn Inbox>, Unavailable>> {
        let Answer::Ready(inbox) = self.truth.inbox(node) else {
            unreachable!("memory answers at once");
        };
        Answer::Ready(inbox.map(|inbox| match self.lie {
            Lie::TakesLettersForHandled => Box::new(Hasty(inbox)) as Box<dyn Inbox>,
            _ => inbox,
        }))
    }

    fn send(&self, node: NodeId, mut letter: Letter) -> Answer<Result<Sent, Unavailable>> {
        match self.lie {
            Lie::KnowsEveryNode => drop(self.truth.inbox(node)),
            Lie::DeliversWhatHasExpired => letter.expires = UnixTime(u64::MAX),
            _ => {}
        }
        self.truth.send(node, letter)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Answer<Result<Listed, Unavailable>> {
        let limit = if self.lie == Lie::IgnoresLimits {
            usize::MAX - 1
        } else {
            limit
        };
        let Answer::Ready(mut listed) = self.truth.list(prefix, after, limit) else {
            unreachable!("memory answers at once");
        };
        if let (Ok(listed), Lie::ListsBackwards) = (&mut listed, self.lie) {
            listed.channels.reverse();
        }
        Answer::Ready(listed)
    }

    fn health(&self) -> Answer<Result<(), Unavailable>> {
        if self.lie == Lie::IsAlwaysSick {
            let detail = "as always".into();
            return Answer::Ready(Err(Unavailable { detail }));
        }
        self.truth.health()
    }

    fn close(&self) -> Answer<()> {
        if self.lie == Lie::NeverCloses {
            return Answer::Ready(());
        }
        self.truth.close()
    }
}

/// Handles every letter before anybody has read it.
struct Hasty(Box<dyn Inbox>);

impl Inbox for Hasty {
    fn next(&mut self) -> std::pin::Pin<Box<dyn Future<Output = Option<Letter>> + Send + '_>> {
        Box::pin(async {
            let letter = self.0.next().await?;
            self.0.done(letter.id);
            Some(letter)
        })
    }

    fn done(&mut self, _: LetterId) {}
}

#[tokio::test(start_paused = true)]
async fn every_lie_is_found() {
    for &(lie, rule) in LIES {
        let found = failures(async || {
            Arc::new(Lying {
                lie,
                truth: MemoryBroker::new(RunId(1)),
                deaf: Listeners::default(),
            }) as Arc<dyn Broker>
        })
        .await;
        let found: Vec<&str> = found.iter().map(|failure| failure.rule).collect();
        assert!(found.contains(&rule), "{lie:?} breaks {found:?}");
    }
}
