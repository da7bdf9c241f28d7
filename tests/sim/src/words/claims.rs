//! Claims: no reader opens epochs as it likes, and whatever opens next opens above the claims that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fastrand::Rng;
use tidewire_core::wire::{Cursor, ErrorCode, NUMBER_MAX, ServerKind, decode_server};
use tidewire_server::EpochKey;
use tidewire_server::channel::{
    Author, ChannelInput, Message, Outlet, OutletFull, PeerId, Subscriber, prove,
};

use crate::node::UNIX_START_MS;
use crate::violation::{Checked, ensure};

/// What all nodes sign and verify with.
#[must_use]
pub fn keys() -> Arc<[EpochKey]> {
    [EpochKey::new([7; 32]), EpochKey::new([8; 32])].into()
}

/// Epochs follow the clock from here on, so many a millisecond.
const ZERO_MS: u64 = 1_577_836_800_000;
const PER_MS: u64 = 1 << 11;

/// What a reader makes up.
#[derive(Clone, Debug)]
pub struct Lie {
    have: Option<Cursor>,
    max_epoch: u64,
    /// It has the proof that every reader of this epoch has.
    is_reader: bool,
}

impl Lie {
    /// A claim a little above the log, of tomorrow, or beyond any clock; or a place after the head.
    pub fn draw(rng: &mut Rng, head: Cursor, now_ms: u64) -> Self {
        let clock = |ahead_ms: u64| (UNIX_START_MS + now_ms + ahead_ms - ZERO_MS) * PER_MS;
        let max_epoch = match rng.u8(0..4) {
            0 => head.epoch + rng.u64(1..1_000_000),
            1 => clock(rng.u64(0..86_400_000)),
            2 => clock(0) + rng.u64(0..NUMBER_MAX - clock(0)),
            _ => head.epoch,
        };
        let is_reader = max_epoch == head.epoch;
        let have = Cursor::new(head.epoch, head.seq + rng.u64(0..5), rng.u64(0..1 << 53));
        Self {
            have: is_reader.then_some(have),
            max_epoch,
            is_reader,
        }
    }
}

/// The liars of one channel on one node.
#[derive(Debug, Default)]
pub struct Liars {
    /// The latest.
    conn: Option<PeerId>,
    /// The highest claim that was told to wait.
    waiting: Arc<AtomicU64>,
}

/// Hears only whether it has to wait.
#[derive(Debug)]
struct Deaf {
    claim: u64,
    waiting: Arc<AtomicU64>,
}

impl Outlet for Deaf {
    fn try_send(&self, message: &Message) -> Result<(), OutletFull> {
        let frames = decode_server(message.proto().clone(), usize::MAX).unwrap_or_default();
        for frame in frames {
            if let ServerKind::Error(error) = frame
                && error.code == ErrorCode::Overloaded as u32
                && !error.detail.contains("broker")
            {
                self.waiting.fetch_max(self.claim, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

impl Liars {
    /// A reader comes and lies; the one before it is gone.
    pub fn lie(&mut self, channel: &str, lie: &Lie) -> Vec<ChannelInput> {
        let number = self.conn.map_or(u64::MAX, |last| last.0 - 1);
        let proof = if lie.is_reader {
            prove(&keys(), channel, lie.max_epoch)
        } else {
            Bytes::from_static(&[1; 17])
        };
        let outlet = Deaf {
            claim: lie.max_epoch,
            waiting: Arc::clone(&self.waiting),
        };
        let conn = PeerId(number);
        let gone = self.conn.replace(conn);
        let gone = gone.map(|conn| ChannelInput::Unsubscribe {
            conn,
            cleanly: true,
        });
        let comes = ChannelInput::Subscribe {
            subscriber: Subscriber {
                conn,
                peer: conn.0,
                principal: "liar".into(),
                author: Author([0; 16]),
                outlet: Arc::new(outlet),
                rights: Arc::new(true),
            },
            have: lie.have,
            max_epoch: lie.max_epoch,
            proof,
        };
        gone.into_iter().chain([comes]).collect()
    }

    /// Whoever lied last is gone.
    pub fn leave(&mut self) -> Option<ChannelInput> {
        let conn = self.conn?;
        Some(ChannelInput::Unsubscribe {
            conn,
            cleanly: true,
        })
    }

    /// The node opens an epoch: above what it told somebody to wait for.
    pub fn check_opening(&self, epoch: u64) -> Checked {
        let waiting = self.waiting.load(Ordering::Relaxed);
        ensure(epoch > waiting, "claims", || {
            format!("epoch {epoch} is opened, and a claim of {waiting} waits")
        })
    }
}
