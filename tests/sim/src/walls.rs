//! Networks that do not let everything through: a transport is refused, swallowed or held back, or somebody else
//! answers in the server's place.

use fastrand::Rng;
use tidewire_core::TransportKind;

use crate::draw::Draw as _;

/// What a network does to one transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wall {
    /// Lets it through.
    #[default]
    Open,
    /// Refuses it at once.
    Refuses,
    /// Takes what it is given, and nothing comes back.
    Swallows,
    /// A socket opens, and its frames go nowhere; a stream is collected until it ends.
    Buffers,
}

/// What one client's network does.
#[derive(Clone, Debug, Default)]
pub struct Walls {
    /// To WebSockets.
    pub websocket: Wall,
    /// To streams.
    pub sse: Wall,
    /// To polls.
    pub polls: Wall,
    /// Somebody else answers everything.
    pub is_portal: bool,
}

impl Walls {
    /// What it does to a transport.
    #[must_use]
    pub const fn of(&self, kind: TransportKind) -> Wall {
        match kind {
            TransportKind::WebSocket => self.websocket,
            TransportKind::Sse => self.sse,
            _ => self.polls,
        }
    }

    /// One that keeps something out.
    pub fn draw(rng: &mut Rng) -> Self {
        let wall = |rng: &mut Rng| {
            [Wall::Open, Wall::Refuses, Wall::Swallows, Wall::Buffers][rng.index(0..4)]
        };
        Self {
            websocket: [Wall::Refuses, Wall::Swallows, Wall::Buffers][rng.index(0..3)],
            sse: wall(rng),
            polls: Wall::Open,
            is_portal: false,
        }
    }

    /// A sign-in page in place of everything.
    #[must_use]
    pub fn portal() -> Self {
        Self {
            is_portal: true,
            websocket: Wall::Refuses,
            ..Self::default()
        }
    }
}
