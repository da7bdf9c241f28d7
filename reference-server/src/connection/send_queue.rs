//! The bounded way out to one client, sans-IO.
//!
//! Channels put ready-made messages in and never wait; a driver takes everything that is ready as one
//! message. Policy: a message of a channel that finds no room is refused, and the channel is told
//! when the queue is half empty; the server's own small answers have a reserve, and a client that
//! exhausts even that is closed with `backpressure_overflow`.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tidewire_core::ChannelName;
use tidewire_core::wire::{Codec, ErrorCode, ErrorFrame, ServerKind, cut_detail};

use super::ending::{Ending, Fault};
use crate::channel::OutletFull;

/// An empty queue keeps room for so many; what a burst needed beyond that is given back.
const MESSAGES_KEPT: usize = 256;

/// How much may wait for one client.
#[derive(Clone, Debug)]
pub struct QueueLimits {
    /// Messages of channels.
    pub messages_max: usize,
    /// Their bytes: one largest frame and some room for patches behind a snapshot.
    pub bytes_max: usize,
    /// Messages of the server itself, beyond the former.
    pub reserve_messages: usize,
    /// Their bytes.
    pub reserve_bytes: usize,
    /// Frames are joined into one message up to this size. More would save no system call worth
    /// naming, and over a slow line a client that gets nothing whole for too long takes the link for dead.
    pub join_bytes_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages_max: 4096,
            bytes_max: 2 * 1024 * 1024,
            reserve_messages: 4096,
            reserve_bytes: 64 * 1024,
            join_bytes_max: 64 * 1024,
        }
    }
}

/// What went through a queue since somebody last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// What was put in and taken out again.
    pub frames: u64,
    /// As so many messages.
    pub messages: u64,
    /// Of so many bytes.
    pub bytes: u64,
    /// Messages of channels that found no room.
    pub refusals: u64,
}

/// What the link has to do next.
#[derive(Debug)]
pub enum Taken {
    /// Send one message.
    Message {
        /// Whole.
        message: Bytes,
        /// Channels that wait for room, if there is room again.
        drained: Vec<ChannelName>,
        /// Nothing more is in: whoever puts something in next finds the queue empty, and says so.
        was_all: bool,
    },
    /// Nothing more comes.
    End(Ending),
}

/// What waits for one client.
#[derive(Debug)]
pub struct SendQueue {
    codec: Codec,
    limits: Arc<QueueLimits>,
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// What the client takes in one message.
    message_bytes_max: usize,
    /// Whom to tell when there is room again.
    refused: Vec<ChannelName>,
    ending: Option<Ending>,
    counts: QueueCounts,
}

impl SendQueue {
    /// An empty one.
    #[must_use]
    pub const fn new(codec: Codec, limits: Arc<QueueLimits>) -> Self {
        Self {
            codec,
            limits,
            messages: VecDeque::new(),
            bytes: 0,
            message_bytes_max: usize::MAX,
            refused: Vec::new(),
            ending: None,
            counts: QueueCounts {
                frames: 0,
                messages: 0,
                bytes: 0,
                refusals: 0,
            },
        }
    }

    /// The codec of everything that is put in.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Bytes that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is anything to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.ending.is_none()
    }

    /// Whether nothing more may be put in.
    #[must_use]
    pub const fn has_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether a channel waits for room.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// What the client takes in one message.
    pub const fn set_message_bytes_max(&mut self, bytes: usize) {
        self.message_bytes_max = bytes;
    }

    /// What went through since the last call.
    pub fn take_counts(&mut self) -> QueueCounts {
        std::mem::take(&mut self.counts)
    }

    fn encode(&self, kind: ServerKind) -> Bytes {
        let mut message = BytesMut::new();
        self.codec.encode_server(kind, &mut message);
        message.freeze()
    }

    fn enqueue(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// Takes a message of a channel, or refuses it whole. Says whether the queue was empty.
    pub fn offer(&mut self, message: &Bytes, from: &ChannelName) -> Result<bool, OutletFull> {
        if self.ending.is_some() {
            // Whatever comes now would not arrive; the channel hears of the end soon.
            return Ok(false);
        }
        let was_empty = self.messages.is_empty();
        let fits = self.messages.len() < self.limits.messages_max
            && self.bytes + message.len() <= self.limits.bytes_max;
        // A message of any size fits an empty queue: otherwise it could never be sent.
        if !fits && !was_empty {
            if !self.refused.contains(from) {
                self.refused.push(from.clone());
            }
            self.counts.refusals += 1;
            return Err(OutletFull);
        }
        self.enqueue(message.clone());
        Ok(was_empty)
    }

    /// Queues an answer of the server itself; ends the connection when even the reserve is used up. A heartbeat
    /// for which there is no room is left out: what waits is a sign of life, and the next one says more.
    pub fn send(&mut self, kind: ServerKind) {
        if self.ending.is_some() {
            return;
        }
        let can_wait = matches!(kind, ServerKind::Heartbeat(_));
        let message = self.encode(kind);
        let limits = &self.limits;
        let over = self.bytes + message.len() > limits.bytes_max + limits.reserve_bytes
            || self.messages.len() >= limits.messages_max + limits.reserve_messages;
        let over = over && !self.messages.is_empty();
        if over && can_wait {
            self.counts.refusals += 1;
        } else if over {
            self.ending = Some(Ending::of(ErrorCode::BackpressureOverflow));
        } else {
            self.enqueue(message);
        }
    }

    /// Queues a fatal error and ends the connection behind it. The first ending counts.
    pub fn fail(&mut self, fault: Fault) {
        if self.ending.is_some() {
            return;
        }
        let frame = ErrorFrame {
            code: fault.code as u32,
            fatal: true,
            detail: cut_detail(fault.detail),
            ..ErrorFrame::default()
        };
        let message = self.encode(ServerKind::Error(frame));
        self.enqueue(message);
        self.ending = Some(fault.ending);
    }

    /// Ends the connection behind what is queued. The first ending counts.
    pub fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// Takes as much as one message may carry. `None`: there is nothing to do.
    pub fn take(&mut self) -> Option<Taken> {
        let first = loop {
            match self.messages.pop_front() {
                Some(first) if first.len() <= self.message_bytes_max => break first,
                Some(first) => {
                    self.bytes -= first.len();
                    self.fail(Fault::new(
                        ErrorCode::FrameTooLarge,
                        "a frame for this client is larger than the max_frame of its hello",
                    ));
                    // A client of the smallest max_frame takes that.
                }
                None => return self.ending.map(Taken::End),
            }
        };
        let join_bytes_max = self.limits.join_bytes_max.min(self.message_bytes_max);
        let mut count = 1;
        let mut bytes = first.len();
        while let Some(next) = self.messages.get(count - 1) {
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
            for next in self.messages.drain(..count - 1) {
                self.codec.append(&next, &mut joined);
            }
            joined.freeze()
        };
        self.bytes -= bytes;
        if self.messages.is_empty() {
            self.messages.shrink_to(MESSAGES_KEPT);
        }
        self.counts.frames += count as u64;
        self.counts.messages += 1;
        self.counts.bytes += message.len() as u64;
        Some(Taken::Message {
            message,
            drained: self.take_drained(),
            was_all: self.messages.is_empty() && self.ending.is_none(),
        })
    }

    /// Whom to tell that there is room, once the queue is half empty.
    fn take_drained(&mut self) -> Vec<ChannelName> {
        let is_half_empty = self.bytes <= self.limits.bytes_max / 2
            && self.messages.len() <= self.limits.messages_max / 2;
        match is_half_empty {
            true => std::mem::take(&mut self.refused),
            false => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::{CloseCode, Heartbeat, Pong};

    use super::*;

    fn queue() -> (SendQueue, ChannelName) {
        let limits = Arc::new(QueueLimits::default());
        let queue = SendQueue::new(Codec::Protobuf, limits);
        (queue, "a:b".parse().unwrap())
    }

    fn joining(bytes: usize) -> (SendQueue, ChannelName) {
        let limits = QueueLimits {
            join_bytes_max: bytes,
            ..QueueLimits::default()
        };
        (
            SendQueue::new(Codec::Protobuf, Arc::new(limits)),
            "a:b".parse().unwrap(),
        )
    }

    fn message(queue: &mut SendQueue) -> Bytes {
        match queue.take() {
            Some(Taken::Message { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    fn drained(queue: &mut SendQueue) -> usize {
        match queue.take() {
            Some(Taken::Message { drained, .. }) => drained.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_ready_goes_out_in_one_message() {
        let (mut queue, channel) = queue();
        for (text, was_empty) in [("a", true), ("b", false), ("c", false)] {
            assert_eq!(queue.offer(&Bytes::from(text), &channel), Ok(was_empty));
        }
        let Some(Taken::Message { was_all: true, .. }) = queue.take() else {
            panic!("all of it");
        };
        assert!(queue.take().is_none());
        assert_eq!(queue.bytes(), 0);
        let counts = queue.take_counts();
        assert_eq!((counts.frames, counts.messages, counts.bytes), (3, 1, 3));
        assert_eq!(queue.take_counts(), QueueCounts::default());
    }

    #[test]
    fn a_message_alone_is_not_copied() {
        let (mut queue, channel) = joining(10);
        let bytes = Bytes::from(vec![1; 100]);
        queue.offer(&bytes, &channel).unwrap();
        assert_eq!(message(&mut queue).as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn joined_messages_stay_within_what_the_client_takes() {
        let (mut queue, channel) = queue();
        queue.set_message_bytes_max(10);
        for _ in 0..5 {
            queue.offer(&Bytes::from_static(b"four"), &channel).unwrap();
        }
        assert_eq!(message(&mut queue).len(), 8);
        assert_eq!(message(&mut queue).len(), 8);
        assert_eq!(message(&mut queue).len(), 4);
    }

    #[test]
    fn a_frame_that_the_client_does_not_take_ends_the_connection_behind_what_it_does() {
        let (mut queue, channel) = joining(1);
        queue.set_message_bytes_max(1024);
        queue.offer(&Bytes::from(vec![1; 1000]), &channel).unwrap();
        queue.offer(&Bytes::from(vec![1; 1025]), &channel).unwrap();
        assert_eq!(message(&mut queue).len(), 1000);
        assert!(message(&mut queue).len() < 1000, "why");
        let end = Ending::of(ErrorCode::FrameTooLarge);
        assert!(matches!(queue.take(), Some(Taken::End(ending)) if ending == end));
    }

    #[test]
    fn a_full_queue_refuses_whole_messages_and_names_the_channel_when_half_empty() {
        let (mut queue, channel) = joining(1);
        let bytes_max = QueueLimits::default().bytes_max;
        let quarter = Bytes::from(vec![0; bytes_max / 4]);
        for _ in 0..4 {
            queue.offer(&quarter, &channel).unwrap();
        }
        assert_eq!(queue.offer(&quarter, &channel), Err(OutletFull));
        assert_eq!(queue.offer(&quarter, &channel), Err(OutletFull));
        assert_eq!(drained(&mut queue), 0);
        assert_eq!(drained(&mut queue), 1);
        assert_eq!(drained(&mut queue), 0);
        assert_eq!(queue.take_counts().refusals, 2);
    }

    #[test]
    fn an_empty_queue_gives_back_what_a_burst_needed() {
        let (mut queue, channel) = queue();
        for _ in 0..QueueLimits::default().messages_max {
            queue.offer(&Bytes::from_static(b"x"), &channel).unwrap();
        }
        message(&mut queue);
        assert!(queue.messages.capacity() < 2 * MESSAGES_KEPT);
    }

    #[test]
    fn an_empty_queue_takes_a_message_of_any_size() {
        let (mut queue, channel) = queue();
        let large = Bytes::from(vec![0; QueueLimits::default().bytes_max + 1]);
        queue.offer(&large, &channel).unwrap();
        let small = Bytes::from_static(b"x");
        assert_eq!(queue.offer(&small, &channel), Err(OutletFull));
    }

    #[test]
    fn the_end_comes_behind_what_was_queued_and_the_first_end_counts() {
        let (mut queue, channel) = queue();
        queue.offer(&Bytes::from_static(b"x"), &channel).unwrap();
        queue.fail(Fault::new(ErrorCode::Malformed, "why"));
        queue.end(Ending::CLIENT);
        queue.offer(&Bytes::from_static(b"late"), &channel).unwrap();
        assert!(!message(&mut queue).ends_with(b"late"));
        assert!(matches!(
            queue.take(),
            Some(Taken::End(Ending {
                close: Some(CloseCode::ProtocolError),
                ..
            }))
        ));
    }

    #[test]
    fn small_answers_are_bounded_in_number_too() {
        let (mut queue, _) = queue();
        let limits = QueueLimits::default();
        for _ in 0..=limits.messages_max + limits.reserve_messages {
            queue.send(ServerKind::Pong(Pong { t: 0 }));
        }
        assert!(queue.ending.is_some());
        assert_eq!(
            queue.messages.len(),
            limits.messages_max + limits.reserve_messages
        );
    }

    /// Found by simulation (seed 247868): every session over polls whose record was large ended with its first heartbeat.
    #[test]
    fn a_heartbeat_for_which_there_is_no_room_is_left_out() {
        let (mut queue, channel) = queue();
        let limits = QueueLimits::default();
        let large = limits.bytes_max + limits.reserve_bytes;
        queue.offer(&Bytes::from(vec![0; large]), &channel).unwrap();
        queue.send(ServerKind::Heartbeat(Heartbeat::default()));
        assert!(queue.ending.is_none());
        assert_eq!((queue.messages.len(), queue.take_counts().refusals), (1, 1));
    }

    #[test]
    fn a_client_that_exhausts_the_reserve_is_closed() {
        let (mut queue, channel) = queue();
        let limits = QueueLimits::default();
        queue
            .offer(&Bytes::from(vec![0; limits.bytes_max]), &channel)
            .unwrap();
        for _ in 0..limits.reserve_bytes {
            queue.send(ServerKind::Pong(Pong { t: u64::MAX }));
        }
        assert!(queue.ending.is_some());
        assert!(queue.bytes <= limits.bytes_max + limits.reserve_bytes);
    }
}
