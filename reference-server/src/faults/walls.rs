//! Transports that nothing gets through, as where something stands between clients and the server.
//!
//! Walls stand beside the plan: they strike no frame, they decide over openings. A link that is open stays.

use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use tidewire_core::TransportKind;

use super::Faults;

/// What whoever opens a link over a transport meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wall {
    /// 403, with a text that is none of ours, as from a proxy.
    Refuses,
    /// A stream opens, and what it says is collected on its way: nothing comes. For other transports the same as
    /// [`Wall::Refuses`].
    Collects,
}

/// A wall for each transport that has one.
pub(super) type Walls = Vec<(TransportKind, Wall)>;

impl Faults {
    /// Puts a wall before a transport, or takes it away. It concerns whoever opens a link from now on; the plan and its
    /// record know nothing of it, and neither [`Faults::set`] nor [`Faults::clear`] changes it.
    pub fn wall(&self, transport: TransportKind, wall: Option<Wall>) {
        let mut walls = self.walls();
        walls.retain(|(known, _)| *known != transport);
        walls.extend(wall.map(|wall| (transport, wall)));
    }

    /// The wall before a transport, if there is one.
    #[must_use]
    pub fn wall_before(&self, transport: TransportKind) -> Option<Wall> {
        let walls = self.walls();
        let found = walls.iter().find(|(known, _)| *known == transport);
        found.map(|(_, wall)| *wall)
    }

    fn walls(&self) -> std::sync::MutexGuard<'_, Walls> {
        let walls = self.shared.walls.lock();
        walls.unwrap_or_else(PoisonError::into_inner)
    }
}
