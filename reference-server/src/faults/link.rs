//! One connection's link with faults: a decorator that frames pass on their way in and out.
//!
//! Without a plan a message passes whole, for two loads of a flag. With one it is taken apart, and every
//! frame is struck, held back or let through.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidewire_core::wire::{ClientKind, Codec, ErrorCode, Hold, ServerKind};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Faults;
use super::effect::Effect;
use super::frame::{Direction, Seen};
use super::lane::{Lane, Passage, Sort};
use super::running::{Asking, hash, mix};
use crate::channel::PeerId;
use crate::connection::Ending;
use crate::driver::{Link, Received};
use crate::principal::Principal;
use crate::transport::Transport;

/// A link that a fault plan may strike.
pub(crate) struct Faulted<L> {
    inner: L,
    state: Arc<LinkState>,
}

/// What actions reach of a link.
pub(super) struct LinkState {
    faults: Faults,
    /// Its number among the links of these faults.
    number: u64,
    conn: PeerId,
    codec: Codec,
    who: OnceLock<Arc<str>>,
    /// Half-open: nothing passes any more, ever.
    silent: AtomicBool,
    /// Broken, without a word.
    cut: AtomicBool,
    /// Something waits in a lane.
    waiting: AtomicBool,
    /// The way up, or the way down, should be looked at again.
    up_changed: Notify,
    down_changed: Notify,
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    /// Which plan this belongs to.
    plan: u64,
    nth: Option<u32>,
    counts: Vec<u64>,
    /// Frames of a message that came, one looked at after the other.
    heard: VecDeque<ClientKind>,
    up: Lane<ClientKind>,
    /// What has come through.
    up_done: VecDeque<ClientKind>,
    down: Lane<Bytes>,
    down_done: VecDeque<Bytes>,
}

/// What becomes of a link when a frame wants to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    /// It goes on.
    On,
    /// It breaks.
    Cut,
    /// It goes silent.
    Silent,
}

impl LinkState {
    pub(super) fn is_of(&self, principal: Option<&str>) -> bool {
        principal.is_none_or(|wanted| self.who.get().is_some_and(|who| **who == *wanted))
    }

    /// Breaks it without a word, as a cut cable would.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
        self.look_again();
    }

    /// Nothing goes in or out any more, and the socket stays.
    pub(super) fn silence(&self) {
        self.silent.store(true, Ordering::Relaxed);
        self.look_again();
    }

    /// What was held back may have become due.
    pub(super) fn look_again(&self) {
        self.up_changed.notify_one();
        self.down_changed.notify_one();
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Whether frames must be looked at.
    fn is_engaged(&self) -> bool {
        self.faults.is_active() || self.waiting.load(Ordering::Relaxed)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self, carried: Carried) {
        match carried {
            Carried::On => {}
            Carried::Cut => self.cut(),
            Carried::Silent => self.silence(),
        }
    }

    /// Takes a message to the client in.
    fn carry_down(&self, message: Bytes) {
        let bytes = message.len();
        let mut lanes = self.lanes();
        let Ok(frames) = self.codec.decode_server(message.clone(), bytes) else {
            // Our own encoding decodes; were it not so, it would still have to arrive.
            lanes.down_done.push_back(message);
            return;
        };
        for frame in frames {
            let carried = self.carry_frame_down(&mut lanes, frame);
            if carried != Carried::On {
                lanes.down_done.clear();
                return self.strike(carried);
            }
        }
        self.note_waiting(&lanes);
    }

    fn carry_frame_down(&self, lanes: &mut Lanes, frame: ServerKind) -> Carried {
        let (sort, effect) = self.ask(lanes, Direction::Down, &Seen::server(&frame));
        let mut alone = BytesMut::new();
        self.codec.encode_server(frame, &mut alone);
        let Lanes {
            down, down_done, ..
        } = lanes;
        carry(down, sort, alone.freeze(), effect, down_done)
    }

    /// Takes the next frame that was heard in.
    fn carry_up(&self, lanes: &mut Lanes, frame: ClientKind) {
        let (sort, effect) = self.ask(lanes, Direction::Up, &Seen::client(&frame));
        if let (Some(Effect::Hold { retry_ms }), ClientKind::Push(push)) = (&effect, &frame) {
            let hold = ServerKind::Hold(Hold {
                channel: push.channel.clone(),
                code: ErrorCode::Overloaded as u32,
                retry_ms: *retry_ms,
            });
            let carried = self.carry_frame_down(lanes, hold);
            self.strike(carried);
            self.down_changed.notify_one();
            return;
        }
        let Lanes { up, up_done, .. } = lanes;
        let carried = carry(up, sort, frame, effect, up_done);
        self.strike(carried);
    }

    fn ask(
        &self,
        lanes: &mut Lanes,
        direction: Direction,
        seen: &Seen<'_>,
    ) -> (Sort, Option<Effect>) {
        let sort = mix(hash(seen.channel.unwrap_or_default()), seen.kind as u64);
        let who = self.who.get();
        let effect = self.faults.with_running(|plan, running| {
            if lanes.plan != plan {
                lanes.plan = plan;
                lanes.nth = None;
                lanes.counts.clear();
            }
            if lanes.nth.is_none() {
                lanes.nth = who.map(|who| running.number(who));
            }
            let asking = Asking {
                conn: self.conn.0,
                who,
                nth: lanes.nth.unwrap_or_default(),
                direction,
            };
            running.strike(Instant::now(), &asking, seen, &mut lanes.counts)
        });
        if let Some(Some(effect)) = &effect {
            self.faults.count(effect.kind());
        }
        (sort, effect.flatten())
    }

    fn note_waiting(&self, lanes: &Lanes) {
        let waits = !lanes.down.is_empty()
            || !lanes.down_done.is_empty()
            || !lanes.up.is_empty()
            || !lanes.up_done.is_empty()
            || !lanes.heard.is_empty();
        self.waiting.store(waits, Ordering::Relaxed);
    }

    /// The next frame of the client that has come through, or when one will.
    fn next_up(&self) -> Result<Bytes, Option<Instant>> {
        let mut lanes = self.lanes();
        let lanes = &mut *lanes;
        loop {
            match self.faults.is_current(lanes.plan) {
                true => lanes.up.take_due(Instant::now(), &mut lanes.up_done),
                // The plan that held it back is over.
                false => lanes.up.take_all(&mut lanes.up_done),
            }
            if let Some(frame) = lanes.up_done.pop_front() {
                self.note_waiting(lanes);
                let mut message = BytesMut::new();
                self.codec.encode_client(frame, &mut message);
                return Ok(message.freeze());
            }
            let Some(frame) = lanes.heard.pop_front() else {
                self.note_waiting(lanes);
                return Err(lanes.up.next_due());
            };
            self.carry_up(lanes, frame);
            if self.is_cut() || self.is_silent() {
                return Err(None);
            }
        }
    }

    /// What has come through to the client.
    fn next_down(&self) -> Option<Bytes> {
        let mut lanes = self.lanes();
        let lanes = &mut *lanes;
        if lanes.down_done.is_empty() {
            match self.faults.is_current(lanes.plan) {
                true => lanes.down.take_due(Instant::now(), &mut lanes.down_done),
                false => lanes.down.take_all(&mut lanes.down_done),
            }
        }
        let next = lanes.down_done.pop_front();
        self.note_waiting(lanes);
        next
    }

    fn next_down_due(&self) -> Option<Instant> {
        let lanes = self.lanes();
        if !lanes.down_done.is_empty() || !self.faults.is_current(lanes.plan) {
            return (!lanes.down_done.is_empty() || !lanes.down.is_empty()).then(Instant::now);
        }
        lanes.down.next_due()
    }

    /// Everything to the client, whatever its time: the connection ends.
    fn release_down(&self) {
        let mut lanes = self.lanes();
        let lanes = &mut *lanes;
        lanes.down.take_all(&mut lanes.down_done);
    }
}

impl<L> Faulted<L> {
    pub(crate) fn new(inner: L, faults: &Faults, conn: PeerId, codec: Codec) -> Self {
        let state = faults.enter(|number| LinkState {
            faults: faults.clone(),
            number,
            conn,
            codec,
            who: OnceLock::new(),
            silent: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            up_changed: Notify::new(),
            down_changed: Notify::new(),
            lanes: Mutex::default(),
        });
        Self { inner, state }
    }
}

impl<L> Drop for Faulted<L> {
    fn drop(&mut self) {
        self.state.faults.leave(self.state.number);
    }
}

impl<L: Link> Link for Faulted<L> {
    const TRANSPORT: Option<Transport> = L::TRANSPORT;
    const WAITS: bool = L::WAITS;

    async fn recv(&self) -> Received {
        let state = &*self.state;
        loop {
            if state.is_cut() {
                return Received::Gone(Ending::BROKEN);
            }
            if state.is_silent() {
                state.up_changed.notified().await;
                continue;
            }
            let due = match state.is_engaged() {
                true => match state.next_up() {
                    Ok(message) => return Received::Message(message),
                    Err(due) => due,
                },
                false => None,
            };
            if state.is_cut() || state.is_silent() {
                continue;
            }
            let message = tokio::select! {
                received = self.inner.recv() => match received {
                    Received::Message(message) => message,
                    other => return other,
                },
                () = state.up_changed.notified() => continue,
                () = until(due) => continue,
            };
            if state.is_cut() || state.is_silent() {
                continue;
            }
            let bytes = message.len();
            match state.is_engaged() {
                true => match state.codec.decode_client(message.clone(), bytes) {
                    Ok(frames) => state.lanes().heard.extend(frames),
                    Err(_) => return Received::Message(message),
                },
                false => return Received::Message(message),
            }
        }
    }

    async fn ready(&self) {
        let state = &*self.state;
        // What is sent then is not heard by anybody.
        while !state.is_cut() && !state.is_silent() {
            tokio::select! {
                () = self.inner.ready() => return,
                () = state.down_changed.notified() => {}
            }
        }
    }

    async fn send(&self, message: Bytes) -> io::Result<()> {
        let state = &*self.state;
        if !state.is_engaged() && !state.is_cut() && !state.is_silent() {
            return self.inner.send(message).await;
        }
        if !state.is_silent() {
            state.carry_down(message);
        }
        self.flush().await
    }

    async fn due(&self) {
        let state = &*self.state;
        loop {
            if state.is_cut() {
                return;
            }
            let due = match state.is_silent() || !state.is_engaged() {
                true => None,
                false => state.next_down_due(),
            };
            let is_due = due.is_some_and(|due| due <= Instant::now());
            tokio::select! {
                biased;
                () = self.inner.ready(), if is_due => return,
                () = state.down_changed.notified() => {}
                () = until(due), if !is_due => {}
                () = self.inner.due(), if !state.is_silent() => return,
            }
        }
    }

    async fn flush(&self) -> io::Result<()> {
        let state = &*self.state;
        loop {
            if state.is_cut() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            if state.is_silent() {
                return Ok(());
            }
            match state.next_down() {
                Some(message) => self.inner.send(message).await?,
                None => return self.inner.flush().await,
            }
            if L::WAITS {
                // The rest goes out when something can be sent again.
                return Ok(());
            }
        }
    }

    fn let_in(&self, principal: &Principal, session: [u8; 16]) {
        // A connection's principal never changes.
        let _ = self.state.who.set(principal.shared_name());
        self.inner.let_in(principal, session);
    }

    async fn close(&self, ending: Ending) {
        self.state.release_down();
        let flushed = self.flush().await.is_ok();
        // Whoever went silent has no last words.
        if flushed && !self.state.is_silent() {
            self.inner.close(ending).await;
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

fn carry<T: Clone>(
    lane: &mut Lane<T>,
    sort: Sort,
    frame: T,
    effect: Option<Effect>,
    out: &mut VecDeque<T>,
) -> Carried {
    let ms = |ms| Duration::from_millis(u64::from(ms));
    let passage = match effect {
        None | Some(Effect::Hold { .. } | Effect::Reject { .. }) => Passage::Through,
        Some(Effect::Cut) => return Carried::Cut,
        Some(Effect::HalfOpen) => return Carried::Silent,
        Some(Effect::Drop) => return Carried::On,
        Some(Effect::Duplicate) => Passage::Twice,
        Some(Effect::Delay { ms: delay }) => Passage::Later(ms(delay)),
        Some(Effect::Reorder { within_ms }) => Passage::Overtaken(ms(within_ms)),
    };
    lane.pass(Instant::now(), sort, frame, passage, out);
    Carried::On
}
