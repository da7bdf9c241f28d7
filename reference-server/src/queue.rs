//! The bounded way out to one client.
//!
//! Channels put ready-made messages in and never wait; the connection takes everything that is ready
//! and writes it at once. Policy: a message of a channel that finds no room is refused, and the
//! channel is told when the queue is half empty; the server's own small answers have a reserve, and a
//! client that exhausts even that is closed with `backpressure_overflow`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use tidewire_core::wire::{CloseCode, Codec, ErrorCode, ErrorFrame, ServerKind, cut_detail};
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::channel::{Message, Outlet, OutletFull, PeerId};
use crate::faults::{Carried, FaultLink, Faults};
use crate::routing::ChannelHandle;
use crate::telemetry::{CloseLabel, Metrics};

/// Messages that may wait for one client.
const MESSAGES_MAX: usize = 4096;
/// Bytes that may wait: one largest frame and some room for patches behind a snapshot.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// An empty queue keeps room for so many; what a burst needed beyond that is given back.
const MESSAGES_KEPT: usize = 256;
/// What the server's own answers may use beyond those limits.
const RESERVE_BYTES: usize = 64 * 1024;
const RESERVE_MESSAGES: usize = 4096;
/// Frames are joined into one WebSocket message up to this size. More would save no system call
/// worth naming, and over a slow line a client that gets nothing whole for too long takes the link
/// for dead.
const JOIN_BYTES_MAX: usize = 64 * 1024;

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) label: CloseLabel,
    /// `None`: the link is broken, there is nobody to tell.
    pub(crate) close: Option<CloseCode>,
}

impl Ending {
    pub(crate) const BROKEN: Self = Self {
        label: CloseLabel::Broken,
        close: None,
    };
    pub(crate) const CLIENT: Self = Self {
        label: CloseLabel::Client,
        close: Some(CloseCode::Normal),
    };

    /// Text where binary was agreed, or the other way round.
    pub(crate) const WRONG_CODEC: Self = Self {
        label: CloseLabel::Code(ErrorCode::Malformed),
        close: Some(CloseCode::UnsupportedData),
    };
    pub(crate) const GOING_AWAY: Self = Self::of(ErrorCode::GoingAway);

    pub(crate) const fn of(code: ErrorCode) -> Self {
        Self {
            label: CloseLabel::Code(code),
            close: Some(CloseCode::of(code)),
        }
    }
}

/// What the connection writes next.
#[derive(Debug)]
pub(crate) enum Batch {
    /// One WebSocket message.
    Message(Bytes),
    /// Nothing more comes.
    End(Ending),
}

pub(crate) struct SendQueue {
    conn: PeerId,
    codec: Codec,
    link: FaultLink,
    state: Mutex<State>,
    ready: Notify,
    /// Whether the client was let in; before that it is told nothing of its own accord.
    welcomed: AtomicBool,
    /// What the client takes in one message.
    message_bytes_max: AtomicUsize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// Whom to tell when there is room again.
    refused: Vec<Arc<ChannelHandle>>,
    ending: Option<Ending>,
}

impl SendQueue {
    pub(crate) fn new(conn: PeerId, codec: Codec, metrics: Arc<Metrics>, faults: Faults) -> Self {
        Self {
            conn,
            codec,
            link: FaultLink::new(faults, conn, codec),
            state: Mutex::default(),
            ready: Notify::new(),
            welcomed: AtomicBool::new(false),
            message_bytes_max: AtomicUsize::new(usize::MAX),
            metrics,
        }
    }

    pub(crate) fn conn(&self) -> PeerId {
        self.conn
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// What a fault plan does to this connection.
    pub(crate) fn link(&self) -> &FaultLink {
        &self.link
    }

    pub(crate) fn set_welcomed(&self) {
        self.welcomed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_welcomed(&self) -> bool {
        self.welcomed.load(Ordering::SeqCst)
    }

    pub(crate) fn set_message_bytes_max(&self, bytes: usize) {
        self.message_bytes_max.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn encode(&self, kind: ServerKind) -> Bytes {
        let mut message = BytesMut::new();
        self.codec.encode_server(kind, &mut message);
        message.freeze()
    }

    fn push(&self, state: &mut State, message: Bytes) {
        match self.link.is_engaged() {
            true => self.push_through_faults(state, message),
            false => self.enqueue(state, message),
        }
    }

    fn push_through_faults(&self, state: &mut State, message: Bytes) {
        let mut passed = Vec::new();
        let carried = self.link.carry_down(message, &mut passed);
        for message in passed {
            self.enqueue(state, message);
        }
        match carried {
            Carried::On | Carried::Held { .. } => {}
            Carried::Cut => self.break_off(state),
            Carried::Silent => {
                self.link.set_silent();
                self.discard(state);
            }
        }
    }

    fn enqueue(&self, state: &mut State, message: Bytes) {
        state.bytes += message.len();
        self.metrics.queue_bytes.inc_by(len(&message));
        state.messages.push_back(message);
    }

    /// Queues an answer of the server itself; ends the connection when even the reserve is used up.
    pub(crate) fn send(&self, kind: ServerKind) {
        let message = self.encode(kind);
        {
            let mut state = self.state();
            if state.ending.is_some() {
                return;
            }
            let over = state.bytes + message.len() > BYTES_MAX + RESERVE_BYTES
                || state.messages.len() >= MESSAGES_MAX + RESERVE_MESSAGES;
            if over && !state.messages.is_empty() {
                state.ending = Some(Ending::of(ErrorCode::BackpressureOverflow));
            } else {
                self.push(&mut state, message);
            }
        }
        self.ready.notify_one();
    }

    /// Queues a fatal error and ends the connection behind it.
    pub(crate) fn fail(&self, code: ErrorCode, detail: impl Into<String>) {
        self.fail_with(Ending::of(code), code, detail);
    }

    /// Like [`Self::fail`], where the close code is not the one that goes with the error's.
    pub(crate) fn fail_with(&self, ending: Ending, code: ErrorCode, detail: impl Into<String>) {
        let frame = ErrorFrame {
            code: code as u32,
            fatal: true,
            detail: cut_detail(detail.into()),
            ..ErrorFrame::default()
        };
        {
            let mut state = self.state();
            if state.ending.is_none() {
                self.push(&mut state, self.encode(ServerKind::Error(frame)));
                state.ending = Some(ending);
            }
        }
        self.ready.notify_one();
    }

    /// Ends the connection behind what is queued. The first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        self.state().ending.get_or_insert(ending);
        self.ready.notify_one();
    }

    /// Breaks the connection without a word, as a cut cable would.
    pub(crate) fn sever(&self) {
        self.break_off(&mut self.state());
        self.ready.notify_one();
    }

    /// Nothing goes in or out any more, and the socket stays.
    pub(crate) fn silence(&self) {
        self.link.set_silent();
        self.discard(&mut self.state());
    }

    /// Lets go what a fault plan that is over held back.
    pub(crate) fn heal(&self) {
        self.link.heal();
        self.ready.notify_one();
    }

    fn break_off(&self, state: &mut State) {
        self.link.set_silent();
        self.discard(state);
        state.ending = Some(Ending::BROKEN);
    }

    fn discard(&self, state: &mut State) {
        state.messages.clear();
        self.metrics.queue_bytes.dec_by(state.bytes as i64);
        state.bytes = 0;
    }

    /// What a fault plan held back and is due, or all of it, if this is the end.
    fn take_held(&self, state: &mut State) {
        let mut due = Vec::new();
        match state.ending.is_some() {
            true => self.link.take_all_down(&mut due),
            false => self.link.take_due_down(&mut due),
        }
        if !self.link.is_silent() {
            for message in due {
                self.enqueue(state, message);
            }
        }
    }

    /// Waits for something to write, and takes as much as one message may carry.
    pub(crate) async fn next_batch(&self) -> Batch {
        loop {
            let join_bytes_max = self.message_bytes_max().min(JOIN_BYTES_MAX);
            if let Some(batch) = self.try_next(join_bytes_max) {
                return batch;
            }
            match self.link.next_due_down() {
                None => self.ready.notified().await,
                // Whichever comes first: the loop looks at both.
                Some(at) => drop(timeout_at(at, self.ready.notified()).await),
            }
        }
    }

    fn try_next(&self, join_bytes_max: usize) -> Option<Batch> {
        let mut state = self.state();
        if self.link.is_engaged() {
            self.take_held(&mut state);
        }
        let Some(first) = state.messages.pop_front() else {
            let silent = self.link.is_silent();
            return state.ending.map(|ending| {
                // Whoever went silent has no last words.
                let close = ending.close.filter(|_| !silent);
                Batch::End(Ending { close, ..ending })
            });
        };
        let mut count = 1;
        let mut bytes = first.len();
        while let Some(next) = state.messages.get(count - 1) {
            if bytes + next.len() > join_bytes_max {
                break;
            }
            bytes += next.len();
            count += 1;
        }
        let message = if count == 1 {
            first
        } else {
            let mut joined = BytesMut::with_capacity(bytes);
            joined.extend_from_slice(&first);
            for next in state.messages.drain(..count - 1) {
                self.codec.append(&next, &mut joined);
            }
            joined.freeze()
        };
        state.bytes -= bytes;
        if state.messages.is_empty() {
            state.messages.shrink_to(MESSAGES_KEPT);
        }
        drop(state);
        self.metrics.queue_bytes.dec_by(bytes as i64);
        self.metrics.frames_out.inc_by(count as u64);
        Some(Batch::Message(message))
    }

    /// Whom to tell that there is room, once the queue is half empty.
    pub(crate) fn take_drained(&self) -> Vec<Arc<ChannelHandle>> {
        let mut state = self.state();
        if state.refused.is_empty()
            || state.bytes > BYTES_MAX / 2
            || state.messages.len() > MESSAGES_MAX / 2
        {
            return Vec::new();
        }
        std::mem::take(&mut state.refused)
    }

    fn offer(&self, message: &Bytes, from: &Arc<ChannelHandle>) -> Result<(), OutletFull> {
        let was_empty = {
            let mut state = self.state();
            if state.ending.is_some() {
                // Whatever comes now would not arrive; the channel hears of the end soon.
                return Ok(());
            }
            let was_empty = state.messages.is_empty();
            let fits =
                state.messages.len() < MESSAGES_MAX && state.bytes + message.len() <= BYTES_MAX;
            // A message of any size fits an empty queue: otherwise it could never be sent.
            if !fits && !was_empty {
                if !state.refused.iter().any(|known| Arc::ptr_eq(known, from)) {
                    state.refused.push(Arc::clone(from));
                }
                self.metrics.queue_refusals.inc();
                return Err(OutletFull);
            }
            self.push(&mut state, message.clone());
            was_empty
        };
        if was_empty {
            self.ready.notify_one();
        }
        Ok(())
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        let bytes = self.state().bytes;
        self.metrics.queue_bytes.dec_by(bytes as i64);
    }
}

fn len(message: &Bytes) -> i64 {
    message.len() as i64
}

/// One channel's view of the queue.
pub(crate) struct ChannelOutlet {
    pub(crate) queue: Arc<SendQueue>,
    pub(crate) channel: Arc<ChannelHandle>,
}

impl Outlet for ChannelOutlet {
    fn try_send(&self, message: &Message) -> Result<(), OutletFull> {
        let message = message.encoded(self.queue.codec);
        self.queue.offer(message, &self.channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (SendQueue, Arc<ChannelHandle>) {
        let name = "a:b".parse().unwrap();
        let queue = SendQueue::new(PeerId(1), Codec::Protobuf, Metrics::new(), Faults::new());
        (queue, Arc::new(ChannelHandle::new(name)))
    }

    fn message(batch: Option<Batch>) -> Bytes {
        match batch {
            Some(Batch::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_ready_goes_out_in_one_message() {
        let (queue, channel) = queue();
        for text in ["a", "b", "c"] {
            queue.offer(&Bytes::from(text), &channel).unwrap();
        }
        assert_eq!(message(queue.try_next(100)), "abc");
        assert!(queue.try_next(100).is_none());
        assert_eq!(queue.metrics.queue_bytes.get(), 0);
    }

    #[test]
    fn a_message_alone_is_not_copied() {
        let (queue, channel) = queue();
        let bytes = Bytes::from(vec![1; 100]);
        queue.offer(&bytes, &channel).unwrap();
        assert_eq!(message(queue.try_next(10)).as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn joined_messages_stay_within_what_the_client_takes() {
        let (queue, channel) = queue();
        for _ in 0..5 {
            queue.offer(&Bytes::from_static(b"four"), &channel).unwrap();
        }
        assert_eq!(message(queue.try_next(10)).len(), 8);
        assert_eq!(message(queue.try_next(10)).len(), 8);
        assert_eq!(message(queue.try_next(10)).len(), 4);
    }

    #[test]
    fn a_full_queue_refuses_whole_messages_and_names_the_channel_when_half_empty() {
        let (queue, channel) = queue();
        let quarter = Bytes::from(vec![0; BYTES_MAX / 4]);
        for _ in 0..4 {
            queue.offer(&quarter, &channel).unwrap();
        }
        assert_eq!(queue.offer(&quarter, &channel), Err(OutletFull));
        assert_eq!(queue.offer(&quarter, &channel), Err(OutletFull));
        message(queue.try_next(1));
        assert!(queue.take_drained().is_empty());
        message(queue.try_next(1));
        assert_eq!(queue.take_drained().len(), 1);
        assert!(queue.take_drained().is_empty());
        assert_eq!(queue.metrics.queue_refusals.get(), 2);
    }

    #[test]
    fn an_empty_queue_gives_back_what_a_burst_needed() {
        let (queue, channel) = queue();
        for _ in 0..MESSAGES_MAX {
            queue.offer(&Bytes::from_static(b"x"), &channel).unwrap();
        }
        message(queue.try_next(MESSAGES_MAX));
        assert!(queue.state().messages.capacity() < 2 * MESSAGES_KEPT);
    }

    #[test]
    fn an_empty_queue_takes_a_message_of_any_size() {
        let (queue, channel) = queue();
        let large = Bytes::from(vec![0; BYTES_MAX + 1]);
        queue.offer(&large, &channel).unwrap();
        assert_eq!(
            queue.offer(&Bytes::from_static(b"x"), &channel),
            Err(OutletFull)
        );
    }

    #[test]
    fn the_end_comes_behind_what_was_queued_and_the_first_end_counts() {
        let (queue, channel) = queue();
        queue.offer(&Bytes::from_static(b"x"), &channel).unwrap();
        queue.fail(ErrorCode::Malformed, "why");
        queue.end(Ending::CLIENT);
        queue.offer(&Bytes::from_static(b"late"), &channel).unwrap();
        assert!(!message(queue.try_next(1000)).ends_with(b"late"));
        assert!(matches!(
            queue.try_next(1000),
            Some(Batch::End(Ending {
                close: Some(CloseCode::ProtocolError),
                ..
            }))
        ));
    }

    #[test]
    fn small_answers_are_bounded_in_number_too() {
        let (queue, _) = queue();
        for _ in 0..=MESSAGES_MAX + RESERVE_MESSAGES {
            queue.send(ServerKind::Pong(tidewire_core::wire::Pong { t: 0 }));
        }
        assert!(queue.state().ending.is_some());
        assert_eq!(
            queue.state().messages.len(),
            MESSAGES_MAX + RESERVE_MESSAGES
        );
    }

    #[test]
    fn a_client_that_exhausts_the_reserve_is_closed() {
        let (queue, channel) = queue();
        queue
            .offer(&Bytes::from(vec![0; BYTES_MAX]), &channel)
            .unwrap();
        let pong = || ServerKind::Pong(tidewire_core::wire::Pong { t: u64::MAX });
        for _ in 0..RESERVE_BYTES {
            queue.send(pong());
        }
        assert!(queue.state().ending.is_some());
        assert!(queue.state().bytes <= BYTES_MAX + RESERVE_BYTES);
    }
}
