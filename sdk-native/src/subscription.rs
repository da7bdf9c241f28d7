//! Streams of what happened: bounded backlogs between the driver, which never waits, and readers that may be slow.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use tidewire_core::document::RecordKey;

use crate::channel::{ChannelEvent, ChannelHandle};

/// How many channel events wait for a slow reader; the oldest give way and are counted.
const EVENTS_MAX: usize = 256;
/// How many changed records wait for a slow reader; past it, the one answer is "read everything".
const RECORDS_MAX: usize = 1024;

/// Which records of a collection look different now. Pull what you show.
///
/// Records that change again before they are told are told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// These, sorted by id.
    Records(Vec<Arc<str>>),
    /// More than the backlog holds (1024): any record may have changed.
    Lagged,
}

/// What waits for one reader.
trait Backlog: Default {
    /// What the reader gets.
    type Item;

    fn take(&mut self) -> Option<Self::Item>;
}

/// Changed records, merged until they are read.
#[derive(Debug, Default)]
struct ChangesBacklog {
    ids: BTreeSet<Arc<str>>,
    lagged: bool,
}

/// Events in order, the oldest dropped and counted past the limit.
#[derive(Debug, Default)]
struct EventsBacklog {
    events: VecDeque<ChannelEvent>,
    missed: u64,
}

/// Whether anything happened at all.
#[derive(Debug, Default)]
struct SignalBacklog(bool);

impl Backlog for ChangesBacklog {
    type Item = Changes;

    fn take(&mut self) -> Option<Changes> {
        if std::mem::take(&mut self.lagged) {
            return Some(Changes::Lagged);
        }
        if self.ids.is_empty() {
            return None;
        }
        let ids = std::mem::take(&mut self.ids);
        Some(Changes::Records(ids.into_iter().collect()))
    }
}

impl Backlog for EventsBacklog {
    type Item = ChannelEvent;

    fn take(&mut self) -> Option<ChannelEvent> {
        match std::mem::take(&mut self.missed) {
            0 => self.events.pop_front(),
            missed => Some(ChannelEvent::Lagged { missed }),
        }
    }
}

impl Backlog for SignalBacklog {
    type Item = ();

    fn take(&mut self) -> Option<()> {
        std::mem::take(&mut self.0).then_some(())
    }
}

impl ChangesBacklog {
    fn put(&mut self, id: &Arc<str>) {
        if self.lagged {
            return;
        }
        self.ids.insert(id.clone());
        if self.ids.len() > RECORDS_MAX {
            self.ids.clear();
            self.lagged = true;
        }
    }
}

impl EventsBacklog {
    fn put(&mut self, event: ChannelEvent) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.missed += 1;
        }
        self.events.push_back(event);
    }
}

/// A backlog that a driver and a reader share.
#[derive(Debug, Default)]
struct Slot<B>(Mutex<Shared<B>>);

#[derive(Debug, Default)]
struct Shared<B> {
    backlog: B,
    reader: Option<Waker>,
    ended: bool,
}

impl<B> Slot<B> {
    // No foreign code runs under this lock, so poison cannot mean broken contents.
    fn lock(&self) -> MutexGuard<'_, Shared<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Shared<B>)) {
        let mut shared = self.lock();
        change(&mut shared);
        let reader = shared.reader.take();
        drop(shared);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// The reading end. It keeps the channel open.
#[derive(Debug)]
struct Reader<B> {
    slot: Arc<Slot<B>>,
    _channel: Arc<ChannelHandle>,
}

impl<B: Backlog> Reader<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<B::Item>> {
        let mut shared = self.slot.lock();
        match shared.backlog.take() {
            Some(item) => Poll::Ready(Some(item)),
            None if shared.ended => Poll::Ready(None),
            None => {
                shared.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

macro_rules! streams {
    ($($(#[doc = $doc:literal])* $name:ident: $backlog:ty => $item:ty;)*) => {$(
        $(#[doc = $doc])*
        ///
        /// It keeps the channel open, never holds the client up, and ends when the client is closed.
        #[derive(Debug)]
        #[must_use = "streams do nothing unless polled"]
        pub struct $name(Reader<$backlog>);

        impl $name {
            /// The next item; `None` once the client is closed. Dropping the future loses nothing.
            pub async fn next(&mut self) -> Option<$item> {
                std::future::poll_fn(|cx| self.0.poll(cx)).await
            }
        }

        impl Stream for $name {
            type Item = $item;

            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$item>> {
                self.0.poll(cx)
            }
        }
    )*};
}

streams! {
    /// A stream of what changed in a collection; a slow reader gets merged or [`Changes::Lagged`] items.
    ChangeStream: ChangesBacklog => Changes;
    /// A stream of a channel's events; a slow reader gets [`ChannelEvent::Lagged`] with a count.
    EventStream: EventsBacklog => ChannelEvent;
    /// A stream that says: look again at who is present. Any number of changes before a read are one item.
    PresenceStream: SignalBacklog => ();
}

/// Every reader of one channel's news.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<Readers>);

#[derive(Debug, Default)]
struct Readers {
    changes: Vec<(Arc<str>, Weak<Slot<ChangesBacklog>>)>,
    events: Vec<Weak<Slot<EventsBacklog>>>,
    presence: Vec<Weak<Slot<SignalBacklog>>>,
    ended: bool,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Readers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changes(
        &self,
        collection: Arc<str>,
        channel: Arc<ChannelHandle>,
    ) -> ChangeStream {
        ChangeStream(self.subscribe(channel, |readers, slot| {
            readers.changes.retain(|(_, slot)| slot.strong_count() > 0);
            readers.changes.push((collection, slot));
        }))
    }

    pub(crate) fn events(&self, channel: Arc<ChannelHandle>) -> EventStream {
        EventStream(self.subscribe(channel, |readers, slot| {
            readers.events.retain(|slot| slot.strong_count() > 0);
            readers.events.push(slot);
        }))
    }

    pub(crate) fn presence(&self, channel: Arc<ChannelHandle>) -> PresenceStream {
        PresenceStream(self.subscribe(channel, |readers, slot| {
            readers.presence.retain(|slot| slot.strong_count() > 0);
            readers.presence.push(slot);
        }))
    }

    fn subscribe<B: Backlog>(
        &self,
        channel: Arc<ChannelHandle>,
        register: impl FnOnce(&mut Readers, Weak<Slot<B>>),
    ) -> Reader<B> {
        let slot = Arc::new(Slot::default());
        let mut readers = self.lock();
        slot.lock().ended = readers.ended;
        register(&mut readers, Arc::downgrade(&slot));
        Reader {
            slot,
            _channel: channel,
        }
    }

    pub(crate) fn publish_changes(&self, records: &[RecordKey]) {
        let readers: Vec<_> = {
            let readers = self.lock();
            readers
                .changes
                .iter()
                .filter_map(|(of, slot)| Some((of.clone(), slot.upgrade()?)))
                .collect()
        };
        for (collection, slot) in readers {
            let mut ids = records
                .iter()
                .filter(|key| key.collection == collection)
                .map(|key| &key.id)
                .peekable();
            if ids.peek().is_some() {
                slot.update(|shared| ids.for_each(|id| shared.backlog.put(id)));
            }
        }
    }

    pub(crate) fn publish_event(&self, event: &ChannelEvent) {
        let readers: Vec<_> = self
            .lock()
            .events
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for slot in readers {
            slot.update(|shared| shared.backlog.put(event.clone()));
        }
    }

    pub(crate) fn publish_presence(&self) {
        let readers: Vec<_> = self
            .lock()
            .presence
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for slot in readers {
            slot.update(|shared| shared.backlog.0 = true);
        }
    }

    /// Ends every stream once its backlog is read.
    pub(crate) fn end(&self) {
        let (changes, events, presence) = {
            let mut readers = self.lock();
            readers.ended = true;
            (
                std::mem::take(&mut readers.changes),
                std::mem::take(&mut readers.events),
                std::mem::take(&mut readers.presence),
            )
        };
        changes.iter().for_each(|(_, slot)| end(slot));
        events.iter().for_each(end);
        presence.iter().for_each(end);
    }
}

fn end<B>(slot: &Weak<Slot<B>>) {
    if let Some(slot) = slot.upgrade() {
        slot.update(|shared| shared.ended = true);
    }
}
