//! One connection as the fault plan sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidewire_core::wire::{ClientKind, Codec};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Faults;
use super::effect::Effect;
use super::frame::{Direction, Seen};
use super::lane::{Lane, Passage, Sort};
use super::running::{Asking, hash, mix};
use crate::channel::PeerId;

/// What becomes of a connection when a frame wants to pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// It goes on with the frames that came out.
    On,
    /// It breaks.
    Cut,
    /// It goes silent.
    Silent,
    /// The push was not let through: it is answered `hold`.
    Held { channel: String, retry_ms: u32 },
}

/// A connection's part in the faults. Without a plan it is two loads of a flag per frame.
pub(crate) struct FaultLink {
    faults: Faults,
    conn: PeerId,
    codec: Codec,
    who: OnceLock<Arc<str>>,
    /// Half-open: nothing passes any more, ever.
    silent: AtomicBool,
    /// Something waits in a lane.
    waiting: AtomicBool,
    /// The reader should look at its lane: the plan is over.
    healed: Notify,
    lanes: Mutex<Option<Box<Lanes>>>,
}

#[derive(Default)]
struct Lanes {
    /// Which plan this belongs to.
    plan: u64,
    nth: Option<u32>,
    counts: Vec<u64>,
    down: Lane<Bytes>,
    up: Lane<ClientKind>,
}

impl FaultLink {
    pub(crate) fn new(faults: Faults, conn: PeerId, codec: Codec) -> Self {
        Self {
            faults,
            conn,
            codec,
            who: OnceLock::new(),
            silent: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            healed: Notify::new(),
            lanes: Mutex::default(),
        }
    }

    /// Whose it is, once that is known.
    pub(crate) fn set_who(&self, who: Arc<str>) {
        // A connection's principal never changes.
        let _ = self.who.set(who);
    }

    pub(crate) fn is_of(&self, principal: Option<&str>) -> bool {
        principal.is_none_or(|wanted| self.who.get().is_some_and(|who| **who == *wanted))
    }

    /// Whether frames must pass through here.
    pub(crate) fn is_engaged(&self) -> bool {
        self.faults.is_active() || self.waiting.load(Ordering::Relaxed) || self.is_silent()
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    pub(crate) fn set_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// The reader's lane may have become due.
    pub(crate) async fn healed(&self) {
        self.healed.notified().await;
    }

    /// The plan is over.
    pub(crate) fn heal(&self) {
        self.healed.notify_one();
    }

    fn lanes(&self) -> MutexGuard<'_, Option<Box<Lanes>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message to the client in; what passes now is appended to `out`.
    pub(crate) fn carry_down(&self, message: Bytes, out: &mut Vec<Bytes>) -> Carried {
        if self.is_silent() {
            return Carried::Silent;
        }
        let bytes = message.len();
        let Ok(frames) = self.codec.decode_server(message.clone(), bytes) else {
            // Our own encoding decodes; were it not so, it would still have to arrive.
            out.push(message);
            return Carried::On;
        };
        let alone = frames.len() == 1;
        let mut lanes = self.lanes();
        let lanes = lanes.get_or_insert_default();
        for frame in frames {
            let (sort, effect) = self.ask(lanes, Direction::Down, &Seen::server(&frame));
            let message = match alone {
                true => message.clone(),
                false => {
                    let mut alone = BytesMut::new();
                    self.codec.encode_server(frame, &mut alone);
                    alone.freeze()
                }
            };
            let carried = carry(&mut lanes.down, sort, message, effect, out);
            if carried != Carried::On {
                return carried;
            }
        }
        self.note_waiting(lanes);
        Carried::On
    }

    /// Takes a frame of the client in; what passes now is appended to `out`.
    pub(crate) fn carry_up(&self, frame: ClientKind, out: &mut Vec<ClientKind>) -> Carried {
        if self.is_silent() {
            return Carried::Silent;
        }
        let mut lanes = self.lanes();
        let lanes = lanes.get_or_insert_default();
        let (sort, effect) = self.ask(lanes, Direction::Up, &Seen::client(&frame));
        if let (Some(Effect::Hold { retry_ms }), ClientKind::Push(push)) = (&effect, &frame) {
            return Carried::Held {
                channel: push.channel.clone(),
                retry_ms: *retry_ms,
            };
        }
        let carried = carry(&mut lanes.up, sort, frame, effect, out);
        self.note_waiting(lanes);
        carried
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
        let waiting = !lanes.down.is_empty() || !lanes.up.is_empty();
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// What is due to the client; everything, once the plan that held it back is over.
    pub(crate) fn take_due_down(&self, out: &mut Vec<Bytes>) {
        self.take_due(|lanes| &mut lanes.down, out);
    }

    /// What is due from the client, likewise.
    pub(crate) fn take_due_up(&self, out: &mut Vec<ClientKind>) {
        self.take_due(|lanes| &mut lanes.up, out);
    }

    fn take_due<T: Clone>(&self, lane: impl Fn(&mut Lanes) -> &mut Lane<T>, out: &mut Vec<T>) {
        let mut lanes = self.lanes();
        let Some(lanes) = lanes.as_deref_mut() else {
            return;
        };
        match self.faults.is_current(lanes.plan) {
            true => lane(lanes).take_due(Instant::now(), out),
            false => lane(lanes).take_all(out),
        }
        self.note_waiting(lanes);
    }

    /// Everything to the client, whatever its time: the connection ends.
    pub(crate) fn take_all_down(&self, out: &mut Vec<Bytes>) {
        if let Some(lanes) = self.lanes().as_deref_mut() {
            lanes.down.take_all(out);
        }
    }

    pub(crate) fn next_due_down(&self) -> Option<Instant> {
        self.lanes().as_deref()?.down.next_due()
    }

    pub(crate) fn next_due_up(&self) -> Option<Instant> {
        self.lanes().as_deref()?.up.next_due()
    }
}

fn carry<T: Clone>(
    lane: &mut Lane<T>,
    sort: Sort,
    frame: T,
    effect: Option<Effect>,
    out: &mut Vec<T>,
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
