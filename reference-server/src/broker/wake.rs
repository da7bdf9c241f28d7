//! How a broker wakes those who follow a channel: a queue per follower, bounded, that loses details and never the
//! fact that there are some.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidewire_core::ChannelName;
use tokio::sync::Notify;

/// Tidings that wait for one follower. Policy at the limit: all of them are dropped, and it hears
/// [`Heard::Missed`] in their place.
const QUEUE_MAX: usize = 1024;

/// Published bytes that wait for one follower, with the same policy.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// What a follower hears of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The log of a channel has grown. A hint: what counts is what is read then.
    Grown {
        /// Which.
        channel: ChannelName,
        /// The head before. Older hints that nobody has taken yet are part of this one.
        after: u64,
        /// The head now.
        seq: u64,
    },
    /// Somebody has published something, perhaps this node. Nobody keeps it.
    Published {
        /// Where.
        channel: ChannelName,
        /// What.
        message: Bytes,
    },
    /// Something was dropped, here or on the way: the log has to be read, what was published is lost.
    Missed,
}

/// The broker's end: wakes one [`Watch`]. Copies wake the same one.
#[derive(Clone, Debug)]
pub struct Wake(Arc<Shared>);

/// The follower's end.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    seen: u64,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// One permit: the follower looks at the whole queue.
    heard: Notify,
    is_unwatched: AtomicBool,
    unwatched: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    tidings: VecDeque<Heard>,
    /// Of what was published.
    bytes: usize,
}

impl Shared {
    /// What is done under the lock does not panic half-way: a poisoned one guards something whole.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake {
    /// Both ends.
    #[must_use]
    pub fn pair() -> (Self, Watch) {
        let shared = Arc::<Shared>::default();
        let watch = Watch {
            shared: Arc::clone(&shared),
            seen: 0,
        };
        (Self(shared), watch)
    }

    /// A log has grown from `after` to `seq`.
    pub fn grown(&self, channel: &ChannelName, after: u64, seq: u64) {
        let mut queue = self.0.queue();
        if let Some(Heard::Grown {
            channel: last,
            seq: known,
            ..
        }) = queue.tidings.back_mut()
            && last == channel
        {
            *known = seq.max(*known);
        } else {
            let channel = channel.clone();
            queue.push(Heard::Grown {
                channel,
                after,
                seq,
            });
        }
        drop(queue);
        self.0.heard.notify_one();
    }

    /// Somebody has published something.
    pub fn published(&self, channel: &ChannelName, message: Bytes) {
        let channel = channel.clone();
        self.0.queue().push(Heard::Published { channel, message });
        self.0.heard.notify_one();
    }

    /// The broker may have missed something itself, for instance while it was not connected.
    pub fn missed(&self) {
        self.0.queue().miss();
        self.0.heard.notify_one();
    }

    /// Whether the follower is still there.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        !self.0.is_unwatched.load(Ordering::Acquire)
    }

    /// Resolves once the follower is gone: whoever has subscribed somewhere for it may unsubscribe.
    pub async fn unwatched(&self) {
        if self.is_watched() {
            self.0.unwatched.notified().await;
        }
        // For the next one who waits.
        self.0.unwatched.notify_one();
    }
}

impl Queue {
    fn push(&mut self, heard: Heard) {
        if let Heard::Published { message, .. } = &heard {
            self.bytes += message.len();
        }
        self.tidings.push_back(heard);
        if self.tidings.len() > QUEUE_MAX || self.bytes > QUEUE_BYTES_MAX {
            self.miss();
        }
    }

    fn miss(&mut self) {
        self.tidings.clear();
        self.bytes = 0;
        self.tidings.push_back(Heard::Missed);
    }

    fn pop(&mut self) -> Option<Heard> {
        let heard = self.tidings.pop_front()?;
        if let Heard::Published { message, .. } = &heard {
            self.bytes -= message.len();
        }
        Some(heard)
    }
}

impl Watch {
    /// The next thing that is worth to know. Cancel-safe.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.take() {
                return heard;
            }
            self.shared.heard.notified().await;
        }
    }

    fn take(&self) -> Option<Heard> {
        let mut queue = self.shared.queue();
        loop {
            match queue.pop()? {
                Heard::Grown { seq, .. } if seq <= self.seen => {}
                heard => return Some(heard),
            }
        }
    }

    /// Entries up to `seq` are known already, as one's own appends are. For the follower of one channel.
    pub fn seen(&mut self, seq: u64) {
        self.seen = self.seen.max(seq);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.is_unwatched.store(true, Ordering::Release);
        self.shared.unwatched.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn channel(name: &str) -> ChannelName {
        name.parse().unwrap()
    }

    fn grown(name: &str, after: u64, seq: u64) -> Heard {
        let channel = channel(name);
        Heard::Grown {
            channel,
            after,
            seq,
        }
    }

    #[test]
    fn hints_of_one_channel_are_one_and_what_is_known_is_not_told() {
        let (wake, mut watch) = Wake::pair();
        for seq in 1..=3 {
            wake.grown(&channel("board:a"), seq - 1, seq);
        }
        wake.grown(&channel("board:b"), 0, 1);
        assert_eq!(watch.next().now_or_never(), Some(grown("board:a", 0, 3)));
        assert_eq!(watch.next().now_or_never(), Some(grown("board:b", 0, 1)));
        watch.seen(5);
        wake.grown(&channel("board:a"), 3, 5);
        assert_eq!(watch.next().now_or_never(), None);
        wake.grown(&channel("board:a"), 5, 6);
        assert_eq!(watch.next().now_or_never(), Some(grown("board:a", 5, 6)));
    }

    #[test]
    fn whoever_sleeps_hears_in_the_end_that_it_missed_something_and_goes_on() {
        let (wake, mut watch) = Wake::pair();
        for n in 0..=QUEUE_MAX {
            wake.grown(&channel(&format!("board:{n}")), 0, 1);
        }
        let large = Bytes::from(vec![0; QUEUE_BYTES_MAX]);
        for _ in 0..2 {
            wake.published(&channel("board:a"), large.clone());
        }
        wake.published(&channel("board:a"), Bytes::from_static(b"small"));
        assert_eq!(watch.next().now_or_never(), Some(Heard::Missed));
        let small = Heard::Published {
            channel: channel("board:a"),
            message: Bytes::from_static(b"small"),
        };
        assert_eq!(watch.next().now_or_never(), Some(small));
        assert_eq!(watch.next().now_or_never(), None);
        assert_eq!(watch.shared.queue().bytes, 0);
    }

    #[test]
    fn a_broker_learns_that_nobody_follows_any_more() {
        let (wake, watch) = Wake::pair();
        assert!(wake.is_watched() && wake.unwatched().now_or_never().is_none());
        drop(watch);
        assert!(!wake.is_watched());
        for _ in 0..2 {
            assert!(wake.unwatched().now_or_never().is_some());
        }
    }
}
