//! One link to a server, as a value: how far it has come, and whether it lives.
//!
//! A session decides when to open one and what its end means; it holds no link's state of its own.

pub(crate) mod contract;
pub(crate) mod http;
pub(crate) mod outbound;
mod pair;

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

pub(crate) use self::pair::{Links, Next, REDIAL_MIN};
use crate::config::Config;
use crate::connect::{Backoff, Liveness, Renewal};
use crate::io::{ConnId, TransportKind};
use crate::time::MonoTime;
use crate::wire::{Limits, Welcome};

/// The longest pause that a server's word makes us keep.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// One link, from the moment at which the driver is asked to open it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    pub(crate) kind: TransportKind,
    stage: Stage,
}

/// How far a link has come; each stage carries what only it needs.
#[derive(Debug)]
enum Stage {
    /// The driver opens it, or it is up and `hello` waits for its answer.
    Greeting { opened: bool, by: MonoTime },
    /// `welcome` came.
    Welcomed(Box<Welcomed>),
}

/// What a welcomed link is known by.
#[derive(Debug)]
pub(crate) struct Welcomed {
    pub(crate) since: MonoTime,
    pub(crate) liveness: Liveness,
    pub(crate) renewal: Renewal,
    pub(crate) limits: Limits,
    /// What time the server had then.
    pub(crate) server_ms: u64,
    /// Names the welcome, so that a copy of it is known.
    pub(crate) session: Bytes,
    /// The server asked us to go.
    pub(crate) leave: Option<Leave>,
}

/// What a `goaway` said.
#[derive(Clone, Debug)]
pub(crate) struct Leave {
    /// When to open the next link; `None`: no other server takes us.
    pub(crate) dial_at: Option<MonoTime>,
    /// When to leave, if no other server takes us.
    pub(crate) leave_at: MonoTime,
    pub(crate) detail: String,
}

impl Link {
    /// A link that must be welcomed `by` then.
    pub(crate) const fn new(conn: ConnId, kind: TransportKind, by: MonoTime) -> Self {
        let stage = Stage::Greeting { opened: false, by };
        Self { conn, kind, stage }
    }

    /// The driver has it up, and has sent what it was opened with.
    pub(crate) const fn on_opened(&mut self) {
        if let Stage::Greeting { opened, .. } = &mut self.stage {
            *opened = true;
        }
    }

    /// Whether the driver said that it is up: before that nothing can have come on it.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Greeting { opened: false, .. })
    }

    /// The server took us.
    pub(crate) fn on_welcome(
        &mut self,
        welcome: &Welcome,
        limits: Limits,
        config: &Config,
        now: MonoTime,
        rng: &mut Rng,
    ) {
        let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms.max(100)));
        let silence_max = heartbeat + config.heartbeat_grace;
        let backoff = Backoff::new(config.retry_delay_base, config.retry_delay_max);
        let mut renewal = Renewal::new(backoff, config.progress_timeout);
        let life = welcome.expires_ms.checked_sub(welcome.server_ms);
        let life = life.filter(|_| welcome.expires_ms > 0);
        renewal.plan(life.map(Duration::from_millis), now, rng);
        self.stage = Stage::Welcomed(Box::new(Welcomed {
            since: now,
            liveness: Liveness::new(silence_max, config.probe_timeout, now),
            renewal,
            limits,
            server_ms: welcome.server_ms,
            // A copy: it must not keep the whole message alive.
            session: Bytes::copy_from_slice(&welcome.session),
            leave: None,
        }));
    }

    pub(crate) fn welcomed(&self) -> Option<&Welcomed> {
        match &self.stage {
            Stage::Welcomed(welcomed) => Some(welcomed),
            Stage::Greeting { .. } => None,
        }
    }

    pub(crate) fn welcomed_mut(&mut self) -> Option<&mut Welcomed> {
        match &mut self.stage {
            Stage::Welcomed(welcomed) => Some(welcomed),
            Stage::Greeting { .. } => None,
        }
    }

    /// Whether it should have been welcomed by now.
    pub(crate) fn is_overdue(&self, now: MonoTime) -> bool {
        matches!(self.stage, Stage::Greeting { by, .. } if now >= by)
    }

    /// Whether the server asked us to go.
    pub(crate) fn leave(&self) -> Option<&Leave> {
        self.welcomed()?.leave.as_ref()
    }

    /// When something is due for it, but for its token and for leaving: those concern the current link alone.
    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let welcomed = match &self.stage {
            Stage::Greeting { by, .. } => return Some(*by),
            Stage::Welcomed(welcomed) => welcomed,
        };
        Some(welcomed.liveness.deadline())
    }
}
