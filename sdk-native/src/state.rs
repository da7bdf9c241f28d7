//! The session behind its lock, with what the handles and the driver share around it.
//!
//! Invariant: the lock is never held across an await nor while the application's code runs. Every
//! command and every input ends in [`State::settle`], so a view read under the lock is settled and
//! what was decoded from it is current.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tidewire_core::time::{MonoTime, Now};
use tidewire_core::wire::{Change, ErrorCode};
use tidewire_core::{
    ChannelId, ChannelName, ConnectionPhase, ConnectionState, Event, Input, MutateError,
    MutateOptions, MutationHandle, MutationId, MutationStatus, Output, Reason, Session,
};
use tokio::sync::{Notify, watch};

use crate::channel::ChannelEvent;
use crate::clock::Clock;
use crate::decoded::Decoded;
use crate::delivery::{Delivery, News};
use crate::store::{AnyStore, Store};
use crate::subscription::Hub;

/// How long a channel outlives its last handle: long enough to leave one screen and enter the next.
const LINGER: Duration = Duration::from_secs(5);

/// What the driver and every handle share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Tells the driver that a command left something to do.
    pub(crate) wake: Arc<Notify>,
    pub(crate) connection: watch::Sender<ConnectionState>,
    /// Whether the driver has ended.
    pub(crate) ended: watch::Sender<bool>,
    clock: Clock,
}

/// The session and its surroundings.
pub(crate) struct State {
    session: Session,
    store: Store,
    channels: HashMap<ChannelId, Open>,
    mutations: HashMap<MutationHandle, Tracked>,
    /// Channels without a handle, by the moment at which they are let go.
    lingering: BTreeSet<(MonoTime, ChannelId)>,
    work: Work,
    stopping: bool,
}

/// One open channel.
struct Open {
    name: ChannelName,
    handles: usize,
    linger_until: Option<MonoTime>,
    decoded: Decoded,
    news: Arc<News>,
}

/// A mutation somebody may still ask about: undecided, or committed and held by the application.
/// Bounded by the outbox and by what the application holds.
struct Tracked {
    channel: ChannelId,
    /// Whether the store has marked it as sent. The status is told later, by the driver.
    sent: bool,
    decided: bool,
    /// Whether the application still holds it.
    held: bool,
    /// Its name for ever, once the store has the row.
    id: Arc<OnceLock<MutationId>>,
    status: watch::Sender<MutationStatus>,
}

/// What a mutation's handle is made of.
pub(crate) struct Made {
    pub(crate) handle: MutationHandle,
    pub(crate) id: Arc<OnceLock<MutationId>>,
    pub(crate) status: watch::Receiver<MutationStatus>,
}

/// What is left for the driver. Bounded by what the core allows itself: its outbox, its push
/// window, one link.
#[derive(Default)]
pub(crate) struct Work {
    /// `Open`, `Send`, `Close` and `FetchToken`, in order.
    pub(crate) orders: Vec<Output>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) deadline: Option<MonoTime>,
    /// Perform this work, then end.
    pub(crate) stop: bool,
}

impl Shared {
    pub(crate) fn new(session: Session, store: Box<AnyStore>, clock: Clock) -> Self {
        let wake = Arc::new(Notify::new());
        Self {
            connection: watch::Sender::new(session.connection().clone()),
            state: Mutex::new(State {
                session,
                store: Store::new(store, wake.clone()),
                channels: HashMap::new(),
                mutations: HashMap::new(),
                lingering: BTreeSet::new(),
                work: Work::default(),
                stopping: false,
            }),
            wake,
            ended: watch::Sender::new(false),
            clock,
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("only the core runs under this lock, and it does not panic")
    }

    /// Runs a command of the application, settles what follows from it and wakes the driver.
    pub(crate) fn command<R>(&self, command: impl FnOnce(&mut State, Now) -> R) -> R {
        self.run(self.lock(), command)
    }

    /// The same for a `drop`, which must not panic: after a panic of the core it does nothing.
    pub(crate) fn command_on_drop(&self, command: impl FnOnce(&mut State, Now)) {
        if let Ok(state) = self.state.lock() {
            self.run(state, command);
        }
    }

    fn run<R>(
        &self,
        mut state: MutexGuard<'_, State>,
        command: impl FnOnce(&mut State, Now) -> R,
    ) -> R {
        // Read under the lock: the core's time must not run backwards between two threads.
        let now = self.clock.now();
        let result = command(&mut state, now);
        state.settle_command(now);
        drop(state);
        self.wake.notify_one();
        result
    }

    /// Feeds one input of the world, and takes what is to be done.
    pub(crate) fn turn(&self, input: Option<Input>) -> Work {
        let mut state = self.lock();
        let now = self.clock.now();
        if let Some(input) = input {
            state.session.handle_input(now, input);
        }
        state.settle(now);
        state.let_go_due(now);
        state.take_work()
    }

    /// A mutation's last handle is gone.
    pub(crate) fn forget_mutation(&self, handle: MutationHandle) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        let Some(tracked) = state.mutations.get_mut(&handle) else {
            return;
        };
        tracked.held = false;
        if tracked.decided {
            state.mutations.remove(&handle);
        }
    }

    /// The driver is gone, whatever ended it: nobody may wait for it any more.
    pub(crate) fn end(&self) {
        let (mut state, sound) = match self.state.lock() {
            Ok(state) => (state, true),
            // The core panicked: it is not asked any more, but whoever waits is let go.
            Err(poisoned) => (poisoned.into_inner(), false),
        };
        state.stopping = true;
        if sound {
            let now = self.clock.now();
            state.session.close(now);
            state.settle(now);
            state.end_undecided();
        } else {
            self.connection.send_modify(|connection| {
                connection.phase = ConnectionPhase::Closed;
                connection.reason = Some(Reason::Refused {
                    code: ErrorCode::Internal,
                    detail: "the client panicked: its output says where".into(),
                });
            });
        }
        let work = state.take_work();
        let undecided = std::mem::take(&mut state.mutations);
        if !sound {
            for tracked in undecided.values().filter(|tracked| !tracked.decided) {
                tracked.status.send_replace(MutationStatus::Indeterminate);
            }
        }
        let news: Vec<_> = state.channels.values().map(|c| c.news.clone()).collect();
        drop(state);
        work.deliveries.into_iter().for_each(|d| d.deliver(self));
        drop(undecided);
        news.iter().for_each(|news| news.hub.end());
        self.ended.send_replace(true);
    }
}

impl State {
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) const fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Closes for good; the driver ends once that is done.
    ///
    /// What commands before it left to be sent still goes.
    pub(crate) fn stop(&mut self, now: Now) {
        self.settle(now);
        self.stopping = true;
        self.session.close(now);
    }

    /// One more handle of a channel that the session has subscribed.
    pub(crate) fn add_handle(&mut self, channel: ChannelId, name: ChannelName) -> Arc<News> {
        let open = self.channels.entry(channel).or_insert_with(|| Open {
            name,
            handles: 0,
            linger_until: None,
            decoded: Decoded::default(),
            news: Arc::new(News {
                status: watch::Sender::new(()),
                hub: Hub::default(),
            }),
        });
        open.handles += 1;
        if let Some(until) = open.linger_until.take() {
            self.lingering.remove(&(until, channel));
        }
        open.news.clone()
    }

    /// A handle is gone. The last one starts the linger.
    pub(crate) fn drop_handle(&mut self, channel: ChannelId, now: Now) {
        let Some(open) = self.channels.get_mut(&channel) else {
            return;
        };
        open.handles = open.handles.saturating_sub(1);
        if open.handles == 0 {
            let until = now.mono + LINGER;
            open.linger_until = Some(until);
            self.lingering.insert((until, channel));
        }
    }

    pub(crate) fn mutate(
        &mut self,
        now: Now,
        channel: ChannelId,
        changes: Vec<Change>,
        options: MutateOptions,
    ) -> Result<Made, MutateError> {
        let handle = self.session.mutate(now, channel, changes, options)?;
        let (status, receiver) = watch::channel(MutationStatus::Queued);
        let id = Arc::default();
        self.mutations.insert(
            handle,
            Tracked {
                channel,
                sent: false,
                decided: false,
                held: true,
                id: Arc::clone(&id),
                status,
            },
        );
        Ok(Made {
            handle,
            id,
            status: receiver,
        })
    }

    pub(crate) fn decoded(&mut self, channel: ChannelId) -> Option<&mut Decoded> {
        Some(&mut self.channels.get_mut(&channel)?.decoded)
    }

    /// Does what follows from a command. Frames wait for the driver's turn, so that commands given
    /// before it share messages.
    pub(crate) fn settle_command(&mut self, now: Now) {
        self.hear_store(now);
        while let Some(output) = self.session.poll_ready() {
            self.settle_output(now, output);
        }
    }

    /// Feeds what the store has answered.
    fn hear_store(&mut self, now: Now) {
        while let Some(reply) = self.store.answer() {
            self.session.handle_input(now, Input::Outbox(reply));
        }
    }

    /// Drains the core: what only concerns this side happens here, the rest becomes [`Work`].
    pub(crate) fn settle(&mut self, now: Now) {
        loop {
            self.hear_store(now);
            match self.session.poll_output() {
                Output::Wait(deadline) => {
                    self.work.deadline = deadline;
                    return;
                }
                output => self.settle_output(now, output),
            }
        }
    }

    fn settle_output(&mut self, now: Now, output: Output) {
        match output {
            // Said by `poll_output` alone, and kept there.
            Output::Wait(_) => {}
            Output::Outbox(request) => {
                self.store.ask(request);
                self.hear_store(now);
            }
            Output::Event(event) => self.address(event),
            order @ (Output::Open { .. }
            | Output::Send { .. }
            | Output::Request { .. }
            | Output::Abort { .. }
            | Output::Probe { .. }
            | Output::Close { .. }
            | Output::FetchToken) => self.work.orders.push(order),
        }
    }

    fn take_work(&mut self) -> Work {
        let lingering = self.lingering.first().map(|(until, _)| *until);
        let deadline = self.work.deadline;
        let mut work = std::mem::take(&mut self.work);
        self.work.deadline = deadline;
        work.deadline = deadline.into_iter().chain(lingering).min();
        work.stop = self.stopping;
        work
    }

    /// Finds out whom an event concerns.
    fn address(&mut self, event: Event) {
        match event {
            Event::Connection(state) => {
                tracing::debug!(phase = state.phase.name(), reason = ?state.reason, "connection");
                self.work.deliveries.push(Delivery::Connection(state));
            }
            Event::Channel {
                channel, status, ..
            } => {
                tracing::debug!(?channel, status = status.name(), "channel");
                if let Some(news) = self.news(channel) {
                    self.work.deliveries.push(Delivery::Status(news));
                    self.tell(channel, ChannelEvent::Status(status));
                }
            }
            Event::Changed { channel, records } => {
                if let Some(open) = self.channels.get_mut(&channel) {
                    let mut stale = Vec::new();
                    for record in &records {
                        open.decoded.forget(record, &mut stale);
                    }
                    let delivery = Delivery::Changed(open.news.clone(), records, stale);
                    self.work.deliveries.push(delivery);
                }
            }
            Event::Recovered { channel, recovery } => {
                tracing::debug!(?channel, ?recovery, "recovered");
                self.tell(channel, ChannelEvent::Recovered(recovery));
            }
            Event::HistoryLost { channel, from, to } => {
                tracing::warn!(?channel, ?from, ?to, "the server's history was lost");
                self.tell(channel, ChannelEvent::HistoryLost { from, to });
            }
            Event::Mutation {
                channel,
                handle,
                n,
                status,
            } => self.address_mutation(channel, handle, n, status),
            Event::Presence { channel } => {
                if let Some(news) = self.news(channel) {
                    self.work.deliveries.push(Delivery::Presence(news));
                }
            }
            Event::Warning {
                channel,
                code,
                detail,
            } => {
                tracing::warn!(?channel, %code, detail, "warning from the server");
                if let Some(channel) = channel {
                    self.tell(channel, ChannelEvent::Warning { code, detail });
                }
            }
            other => tracing::debug!(?other, "an event of a later core"),
        }
    }

    fn address_mutation(
        &mut self,
        channel: ChannelId,
        handle: MutationHandle,
        n: Option<u64>,
        status: MutationStatus,
    ) {
        let client = self.session.store().map(|store| store.client);
        let id = n.zip(client).zip(self.channels.get(&channel));
        let id = id.map(|((n, client), open)| MutationId {
            client,
            channel: open.name.clone(),
            n,
        });
        if let Some(tracked) = self.mutations.get_mut(&handle) {
            tracked.sent |= status != MutationStatus::Queued;
            if let Some(id) = &id {
                // Said with each event; it never changes.
                let _ = tracked.id.set(id.clone());
            }
            tracked.decided |= status.is_terminal();
            self.work
                .deliveries
                .push(Delivery::Mutation(tracked.status.clone(), status.clone()));
            // `lost` may follow `committed`: as long as somebody looks, it is tracked.
            if status.is_terminal() && (status != MutationStatus::Committed || !tracked.held) {
                self.mutations.remove(&handle);
            }
        }
        match status {
            MutationStatus::Rejected { code, detail, .. } => {
                self.tell(channel, ChannelEvent::Rejected { id, code, detail });
            }
            MutationStatus::Expired => self.tell(channel, ChannelEvent::Expired { id }),
            MutationStatus::Cancelled => self.tell(channel, ChannelEvent::Cancelled { id }),
            MutationStatus::Indeterminate => self.tell(channel, ChannelEvent::Indeterminate { id }),
            MutationStatus::Lost => self.tell(channel, ChannelEvent::Lost { id }),
            _ => {}
        }
    }

    /// Nobody will say how these end: what was not sent is over, what was sent may have been applied or not.
    fn end_undecided(&mut self) {
        let undecided: Vec<_> = self
            .mutations
            .iter()
            .filter(|(_, tracked)| !tracked.decided)
            .map(|(&handle, tracked)| (handle, tracked.channel, tracked.sent))
            .collect();
        for (handle, channel, sent) in undecided {
            let tracked = self.mutations.get(&handle);
            let n = tracked.and_then(|tracked| tracked.id.get()).map(|id| id.n);
            let status = if sent {
                MutationStatus::Indeterminate
            } else {
                MutationStatus::Cancelled
            };
            self.address_mutation(channel, handle, n, status);
        }
    }

    /// Lets go of channels whose linger is over. Mutations under way are still brought to their outcome.
    fn let_go_due(&mut self, now: Now) {
        while let Some(&(until, channel)) = self.lingering.first()
            && until <= now.mono
        {
            self.lingering.pop_first();
            self.session.unsubscribe(now, channel);
            if let Some(open) = self.channels.remove(&channel) {
                let delivery = Delivery::LetGo(open.news, open.decoded);
                self.work.deliveries.push(delivery);
            }
            self.settle(now);
        }
    }

    fn news(&self, channel: ChannelId) -> Option<Arc<News>> {
        self.channels.get(&channel).map(|open| open.news.clone())
    }

    fn tell(&mut self, channel: ChannelId, event: ChannelEvent) {
        if let Some(news) = self.news(channel) {
            self.work.deliveries.push(Delivery::Event(news, event));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tidewire_core::{ClientId, Config, MemoryOutbox};

    use super::*;

    #[tokio::test]
    async fn after_a_panic_of_the_core_nobody_waits_for_ever() {
        let clock = Clock::start();
        let session = Session::new(Config::default(), 1, clock.now());
        let store = RefCell::new(MemoryOutbox::new(ClientId([1; 16])));
        let shared = Arc::new(Shared::new(session, Box::new(store), clock));
        let name: ChannelName = "board:main".parse().expect("a good name");
        let mut status = shared.command(|state, now| {
            let session = state.session_mut();
            let channel = session.subscribe(now, name.clone()).expect("there is room");
            state.add_handle(channel, name);
            let (status, receiver) = watch::channel(MutationStatus::Queued);
            let tracked = Tracked {
                channel,
                sent: false,
                decided: false,
                held: true,
                id: Arc::default(),
                status,
            };
            state.mutations.insert(MutationHandle(1), tracked);
            receiver
        });
        let poisoner = shared.clone();
        std::thread::spawn(move || {
            let _state = poisoner.lock();
            panic!("as if the core had a bug (this panic belongs to the test)");
        })
        .join()
        .expect_err("it panics");

        shared.end();
        let known = status.wait_for(MutationStatus::is_terminal).await;
        assert_eq!(*known.expect("it is told"), MutationStatus::Indeterminate);
        let connection = shared.connection.borrow().clone();
        assert_eq!(connection.phase, ConnectionPhase::Closed);
        assert_eq!(
            connection.reason.map(|reason| reason.code()),
            Some("internal")
        );
        assert!(*shared.ended.borrow());
        // What a drop calls does not panic on top.
        shared.command_on_drop(|_, _| unreachable!("the state is not touched"));
        shared.forget_mutation(MutationHandle(1));
    }

    #[tokio::test]
    async fn a_channel_that_is_opened_again_within_its_linger_stays_open() {
        let clock = Clock::start();
        let session = Session::new(Config::default(), 1, clock.now());
        let store = RefCell::new(MemoryOutbox::new(ClientId([1; 16])));
        let shared = Shared::new(session, Box::new(store), clock);
        let name: ChannelName = "board:main".parse().expect("a good name");
        let channel = shared.command(|state, now| {
            let channel = state.session_mut().subscribe(now, name.clone());
            let channel = channel.expect("there is room");
            state.add_handle(channel, name.clone());
            state.drop_handle(channel, now);
            channel
        });
        let later = |ms| {
            let mut now = clock.now();
            now.mono = now.mono + Duration::from_millis(ms);
            now
        };
        // Just in time, and let go again: the five seconds begin anew.
        shared.command(|state, _| {
            state.let_go_due(later(4_000));
            state.add_handle(channel, name.clone());
            state.let_go_due(later(60_000));
            assert!(state.session().status(channel).is_some(), "it is in use");
            state.drop_handle(channel, later(60_000));
            state.let_go_due(later(64_000));
            assert!(state.session().status(channel).is_some(), "it lingers");
            assert_eq!(state.lingering.len(), 1);
            state.let_go_due(later(66_000));
            assert!(state.session().status(channel).is_none(), "it is let go");
            assert!(state.lingering.is_empty() && state.channels.is_empty());
        });
    }
}
