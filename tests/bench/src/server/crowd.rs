//! The load: the members of some channels, and what they publish to each other.
//!
//! Invariant: everything that is published reaches every member once and in order, or the run fails.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tidewire_core::wire::Codec;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep_until;

use super::lane::Lane;
use super::link::{Introduction, Link, Over, Receiver};
use super::patches::Patch;
use super::program::Program;
use super::publisher::Publisher;

/// So many connect at a time.
const CONNECTING_MAX: usize = 64;

/// So many members of a channel publish, in turn; a server lets one send 1,000 frames a second.
pub(super) const PUBLISHERS_MAX: usize = 8;

/// Timers fire within a millisecond; what is left until a moment is waited for awake.
const AWAKE: Duration = Duration::from_millis(2);

/// Nothing may take longer than this without a sign of progress.
const PATIENCE: Duration = Duration::from_secs(30);

/// A new channel's log begins with its opening.
const OPENING: u64 = 1;

/// When the next one is published.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As soon as fewer than so many entries of its channel are on their way.
    Window(usize),
    /// At fixed moments so far apart, whatever is on its way.
    Every(Duration),
}

/// What the first member of each channel got.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    channels: Vec<Vec<Patch>>,
}

impl Recording {
    /// How many entries were published.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.channels.iter().flatten().map(Patch::entries).sum()
    }

    /// One of them.
    #[must_use]
    pub fn first(&self) -> Option<&Patch> {
        self.channels.iter().flatten().next()
    }
}

/// What is published.
enum Source<'a> {
    /// Mutations, until then.
    Mutations { until: Instant },
    /// What was recorded, message by message; how many of each channel are out.
    Recorded(&'a Recording, Vec<usize>),
}

/// Members of channels, connected to one program.
#[derive(Debug)]
pub struct Crowd {
    publishers: Vec<Vec<Publisher>>,
    shared: Rc<Shared>,
    _listening: JoinSet<()>,
}

/// What members tell.
#[derive(Debug)]
struct Shared {
    lanes: RefCell<Vec<Lane>>,
    /// Channels in which something has reached everybody.
    moved: RefCell<Vec<usize>>,
    on_the_way: Cell<usize>,
    recording: RefCell<Recording>,
    /// Whether entries are published at fixed moments.
    timed: Cell<bool>,
    /// From the moment at which an entry was due until a member had it.
    latencies: RefCell<Vec<Duration>>,
    /// Messages with entries that members got.
    messages: Cell<usize>,
    failure: RefCell<Option<anyhow::Error>>,
    told: Notify,
}

impl Crowd {
    /// Subscribes to so many new channels of the server, with so many members each.
    ///
    /// Errors: a member is not let in.
    pub async fn subscribe(
        server: &Program,
        channels: usize,
        members: usize,
    ) -> anyhow::Result<Self> {
        Self::subscribe_over(Over::WebSocket, server, channels, members).await
    }

    /// The same, where those that do not publish listen over a transport.
    ///
    /// Errors: a member is not let in.
    pub async fn subscribe_over(
        over: Over,
        server: &Program,
        channels: usize,
        members: usize,
    ) -> anyhow::Result<Self> {
        let address = server.address();
        Self::gather(channels, members, |channel, member| async move {
            let name = format!("bench:{channel}");
            let over = match member < PUBLISHERS_MAX {
                true => Over::WebSocket,
                false => over,
            };
            let it = Introduction {
                channel: &name,
                client: ((channel * members + member) as u128).to_be_bytes(),
                have: None,
            };
            let (link, cursor) = Link::subscribe(over, address, &it).await?;
            Ok((link, name, cursor.epoch))
        })
        .await
    }

    /// Enters so many groups of the bare program, with so many members each.
    ///
    /// Errors: a member is not let in.
    pub async fn enter(bare: &Program, groups: usize, members: usize) -> anyhow::Result<Self> {
        let address = bare.address();
        Self::gather(groups, members, |group, _| async move {
            let link = Link::open(address, &format!("/{group}")).await?;
            Ok((link, String::new(), 0))
        })
        .await
    }

    async fn gather<F>(
        channels: usize,
        members: usize,
        connect: impl Fn(usize, usize) -> F,
    ) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<(Link, String, u64)>>,
    {
        let lane = |_| Lane::new(members, OPENING);
        let shared = Rc::new(Shared {
            lanes: RefCell::new((0..channels).map(lane).collect()),
            moved: RefCell::default(),
            on_the_way: Cell::new(0),
            recording: RefCell::default(),
            timed: Cell::new(false),
            latencies: RefCell::default(),
            messages: Cell::new(0),
            failure: RefCell::default(),
            told: Notify::new(),
        });
        let everyone = (0..channels).flat_map(|c| (0..members).map(move |m| (c, m)));
        let mut links = stream::iter(everyone)
            .map(async |(c, m)| Ok::<_, anyhow::Error>((c, m, connect(c, m).await?)))
            .buffered(CONNECTING_MAX);
        let mut publishers: Vec<Vec<Publisher>> = (0..channels).map(|_| Vec::new()).collect();
        let mut listening = JoinSet::new();
        while let Some((channel, member, (link, name, epoch))) = links.try_next().await? {
            let (sender, receiver) = link.split();
            let shared = Rc::clone(&shared);
            listening.spawn_local(async move { shared.listen(channel, member, receiver).await });
            if member < PUBLISHERS_MAX {
                publishers[channel].push(Publisher::new(sender, name, epoch));
            }
        }
        drop(links);
        Ok(Self {
            publishers,
            shared,
            _listening: listening,
        })
    }

    /// Publishes mutations for a while, until all have got all.
    ///
    /// Errors: a member missed something, or a link broke.
    pub async fn publish(&mut self, pace: Pace, time: Duration) -> anyhow::Result<Recording> {
        let channels = vec![Vec::new(); self.publishers.len()];
        *self.shared.recording.borrow_mut() = Recording { channels };
        let until = Instant::now() + time;
        self.exchange(pace, Source::Mutations { until }).await?;
        Ok(self.shared.recording.take())
    }

    /// Publishes what was recorded at the same pace, until all have got all.
    ///
    /// Errors: as [`Crowd::publish`].
    pub async fn replay(&mut self, pace: Pace, recording: &Recording) -> anyhow::Result<()> {
        let out = vec![0; recording.channels.len()];
        self.exchange(pace, Source::Recorded(recording, out)).await
    }

    /// How late every member got every entry that was published at fixed moments; forgotten thereby.
    #[must_use]
    pub fn take_latencies(&self) -> Vec<Duration> {
        self.shared.latencies.take()
    }

    /// How many messages with entries members got; forgotten thereby.
    #[must_use]
    pub fn take_messages(&self) -> usize {
        self.shared.messages.take()
    }

    async fn exchange(&mut self, pace: Pace, mut source: Source<'_>) -> anyhow::Result<()> {
        let everywhere = 0..self.publishers.len();
        self.shared.timed.set(matches!(pace, Pace::Every(_)));
        match pace {
            Pace::Window(window) => {
                let mut moved: Vec<usize> = everywhere.collect();
                loop {
                    for channel in moved {
                        self.fill(channel, window, &mut source).await?;
                    }
                    if self.shared.on_the_way.get() == 0 {
                        return Ok(());
                    }
                    moved = self.shared.wait().await?;
                }
            }
            Pace::Every(interval) => {
                let mut due = Instant::now() + interval;
                while source.has_more(due) {
                    wait_until(due).await;
                    for channel in everywhere.clone() {
                        let one = source.one();
                        self.send_one(channel, one, due, &mut source).await?;
                    }
                    due += interval;
                }
                while self.shared.on_the_way.get() > 0 {
                    self.shared.wait().await?;
                }
                Ok(())
            }
        }
    }

    /// Publishes to a channel as much as its window takes.
    async fn fill(
        &mut self,
        channel: usize,
        window: usize,
        source: &mut Source<'_>,
    ) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            let on_the_way = self.shared.lanes.borrow()[channel].on_the_way();
            let room = window.saturating_sub(on_the_way);
            if room == 0 || !self.send_one(channel, room, now, source).await? {
                return Ok(());
            }
        }
    }

    /// Publishes one message of at most so many entries; tells whether there was one.
    async fn send_one(
        &mut self,
        channel: usize,
        room: usize,
        due: Instant,
        source: &mut Source<'_>,
    ) -> anyhow::Result<bool> {
        let publishers = &mut self.publishers[channel];
        // The server's log gives mutations an order; what is recorded has one, which only one link keeps.
        if matches!(source, Source::Mutations { .. }) {
            publishers.rotate_left(1);
        }
        let publisher = &mut publishers[0];
        let Some((message, entries)) = source.next(channel, room, publisher) else {
            return Ok(false);
        };
        self.shared.lanes.borrow_mut()[channel].publish(entries, due);
        let on_the_way = &self.shared.on_the_way;
        on_the_way.set(on_the_way.get() + entries);
        publisher.send(message).await?;
        Ok(true)
    }
}

impl Source<'_> {
    fn has_more(&self, now: Instant) -> bool {
        match self {
            Self::Mutations { until } => now < *until,
            Self::Recorded(recording, out) => {
                let mut channels = recording.channels.iter().zip(out);
                channels.any(|(patches, out)| *out < patches.len())
            }
        }
    }

    /// The entries that one message may have where there is no window: a turn of a busy moment is recorded
    /// as one patch of several.
    const fn one(&self) -> usize {
        match self {
            Self::Mutations { .. } => 1,
            Self::Recorded(..) => usize::MAX,
        }
    }

    /// The next message to a channel, and how many entries it will become.
    fn next(
        &mut self,
        channel: usize,
        room: usize,
        publisher: &mut Publisher,
    ) -> Option<(Bytes, usize)> {
        match self {
            Self::Mutations { until } if Instant::now() < *until => {
                Some((publisher.push(room), room))
            }
            Self::Mutations { .. } => None,
            Self::Recorded(recording, out) => {
                let patch = recording.channels[channel].get(out[channel])?;
                if patch.entries() > room {
                    return None;
                }
                out[channel] += 1;
                Some((patch.to_message(), patch.entries()))
            }
        }
    }
}

impl Shared {
    /// Takes what one member gets, until its link ends.
    async fn listen(&self, channel: usize, member: usize, mut receiver: Receiver) {
        loop {
            let heard = match receiver.next().await {
                Ok(message) => self.hear(channel, member, receiver.codec(), message),
                Err(error) => Err(error),
            };
            if let Err(error) = heard {
                self.failure.borrow_mut().get_or_insert(error);
                self.told.notify_one();
                return;
            }
        }
    }

    fn hear(
        &self,
        channel: usize,
        member: usize,
        codec: Codec,
        message: Bytes,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        let mut latencies = self.latencies.borrow_mut();
        let patches = Patch::read(codec, message)?;
        if !patches.is_empty() {
            self.messages.set(self.messages.get() + 1);
        }
        for patch in patches {
            let lane = &mut self.lanes.borrow_mut()[channel];
            let complete = lane
                .deliver(member, patch.after, patch.through, |due| {
                    if self.timed.get() {
                        latencies.push(now - due);
                    }
                })
                .with_context(|| format!("channel {channel}"))?;
            if complete > 0 {
                self.on_the_way.set(self.on_the_way.get() - complete);
                self.moved.borrow_mut().push(channel);
                self.told.notify_one();
            }
            if member == 0
                && let Some(patches) = self.recording.borrow_mut().channels.get_mut(channel)
            {
                patches.push(patch);
            }
        }
        Ok(())
    }

    /// Waits until something has reached everybody in some channels; which ones.
    async fn wait(&self) -> anyhow::Result<Vec<usize>> {
        let told = tokio::time::timeout(PATIENCE, self.told.notified()).await;
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        told.map_err(|_| anyhow!("nothing arrived for {} s", PATIENCE.as_secs()))?;
        Ok(self.moved.take())
    }
}

/// Timers are too coarse for what is measured in fractions of a millisecond.
async fn wait_until(due: Instant) {
    if let Some(early) = due.checked_sub(AWAKE) {
        sleep_until(early.into()).await;
    }
    while Instant::now() < due {
        yield_now().await;
    }
}
