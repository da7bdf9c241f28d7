//! One connection, as everybody else on this node reaches it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidewire_core::ChannelName;
use tidewire_core::wire::{Codec, Goaway, ServerKind};
use tokio::sync::Notify;

use crate::channel::{Message, Outlet, OutletFull, PeerId};
use crate::connection::{Ending, Fault, Outlets, QueueCounts, QueueLimits, SendQueue, Taken};

/// The send queue of a connection, and what others want of it.
pub(crate) struct Peer {
    id: PeerId,
    codec: Codec,
    queue: Mutex<SendQueue>,
    /// One permit: something is in the queue.
    filled: Notify,
    /// Who is at the other end, once it was let in.
    who: OnceLock<Arc<str>>,
    /// The newest; in a box, because few are ever asked.
    goaway: Mutex<Option<Box<Goaway>>>,
    /// One permit: it is asked to leave.
    asked: Notify,
}

impl Peer {
    pub(crate) fn new(id: PeerId, codec: Codec, limits: Arc<QueueLimits>) -> Arc<Self> {
        Arc::new(Self {
            id,
            codec,
            queue: Mutex::new(SendQueue::new(codec, limits)),
            filled: Notify::new(),
            who: OnceLock::new(),
            goaway: Mutex::default(),
            asked: Notify::new(),
        })
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    fn queue(&self) -> MutexGuard<'_, SendQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose it is. That never changes.
    pub(crate) fn set_who(&self, who: Arc<str>) {
        let _ = self.who.set(who);
    }

    pub(crate) fn is_of(&self, principal: Option<&str>) -> bool {
        principal.is_none_or(|wanted| self.who.get().is_some_and(|who| **who == *wanted))
    }

    pub(crate) fn set_message_bytes_max(&self, bytes: usize) {
        self.queue().set_message_bytes_max(bytes);
    }

    /// Queues a frame of the server itself.
    pub(crate) fn send(&self, frame: ServerKind) {
        self.queue().send(frame);
        self.filled.notify_one();
    }

    /// Queues a fatal error and ends the connection behind it.
    pub(crate) fn fail(&self, fault: Fault) {
        self.queue().fail(fault);
        self.filled.notify_one();
    }

    /// Ends the connection behind what is queued. The first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        self.queue().end(ending);
        self.filled.notify_one();
    }

    /// Asks the client to leave.
    pub(crate) fn ask_to_leave(&self, goaway: Goaway) {
        let mut newest = self.goaway.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(Box::new(goaway));
        drop(newest);
        self.asked.notify_one();
    }

    /// The next wish that it may leave. Cancel-safe.
    pub(super) async fn asked_to_leave(&self) -> Goaway {
        loop {
            let newest = self
                .goaway
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(goaway) = newest {
                return *goaway;
            }
            self.asked.notified().await;
        }
    }

    /// Waits until there is somebody to send to, or nothing more to send. What it waits with is not looked at
    /// again by [`Peer::next`], which must not take the queue for empty. Cancel-safe.
    pub(super) async fn sendable(&self, ready: impl Future<Output = ()>) {
        let mut ready = std::pin::pin!(ready);
        loop {
            if self.queue().has_ending() {
                return;
            }
            tokio::select! {
                biased;
                () = ready.as_mut() => return,
                () = self.filled.notified() => {}
            }
        }
    }

    /// Waits for something to write. Cancel-safe. `is_empty`: what the last call has seen, to be handed
    /// to the next one; whoever fills an empty queue notifies.
    pub(super) async fn next(&self, is_empty: &mut bool) -> Taken {
        loop {
            if !*is_empty && let Some(taken) = self.queue().take() {
                if let Taken::Message { was_all, .. } = &taken {
                    *is_empty = *was_all;
                }
                return taken;
            }
            *is_empty = false;
            self.filled.notified().await;
        }
    }

    /// Bytes that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue().bytes()
    }

    pub(crate) fn take_counts(&self) -> QueueCounts {
        self.queue().take_counts()
    }

    fn offer(&self, message: &Message, from: &ChannelName) -> Result<(), OutletFull> {
        let message = message.encoded(self.codec);
        if self.queue().offer(message, from)? {
            self.filled.notify_one();
        }
        Ok(())
    }
}

/// One channel's way into the queue.
struct ChannelOutlet {
    peer: Arc<Peer>,
    channel: ChannelName,
}

impl Outlet for ChannelOutlet {
    fn try_send(&self, message: &Message) -> Result<(), OutletFull> {
        self.peer.offer(message, &self.channel)
    }
}

impl Outlets for Peer {
    fn outlet(self: Arc<Self>, channel: &ChannelName) -> Arc<dyn Outlet> {
        Arc::new(ChannelOutlet {
            peer: self,
            channel: channel.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::{Lagged, Pong};

    use super::*;

    #[tokio::test]
    async fn whatever_is_put_in_at_any_moment_comes_out() {
        let peer = Peer::new(PeerId(1), Codec::Protobuf, Arc::default());
        let outlet = Arc::clone(&peer).outlet(&"a:b".parse().unwrap());
        let lagged = || Message::from(ServerKind::Lagged(Lagged::default()));
        let mut is_empty = false;
        for round in 0..100 {
            match round % 3 {
                0 => outlet.try_send(&lagged()).unwrap(),
                1 => peer.send(ServerKind::Pong(Pong { t: 1 })),
                _ => {
                    peer.send(ServerKind::Pong(Pong { t: 1 }));
                    outlet.try_send(&lagged()).unwrap();
                }
            }
            let taken = peer.next(&mut is_empty).await;
            assert!(matches!(taken, Taken::Message { was_all: true, .. }));
            assert!(is_empty);
        }
        peer.end(Ending::CLIENT);
        assert!(matches!(peer.next(&mut is_empty).await, Taken::End(_)));
    }
}
