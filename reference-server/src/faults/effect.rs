//! What can be done wrong: to a frame that is struck, or at a time.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidewire_core::wire::{ErrorCode, cut_detail};

/// What happens to a frame that is struck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// It is lost, and its connection breaks without a word.
    Cut,
    /// It is lost, and so is everything after it, both ways: the socket stays open and silent.
    HalfOpen,
    /// It is lost.
    Drop,
    /// It comes twice.
    Duplicate,
    /// It comes later, and what is behind it in its direction waits too, as on a slow link.
    Delay {
        /// How much.
        ms: u32,
    },
    /// The next frame of its kind and channel overtakes it.
    Reorder {
        /// It comes by then if none does.
        within_ms: u32,
    },
    /// Pushes only: it is not looked at and answered `hold`.
    Hold {
        /// When the client may come again.
        retry_ms: u32,
    },
    /// Its mutations are rejected as if the application had: an entry of the log without changes.
    Reject {
        /// One of the codes that end a mutation: `refused`, `invalid`, `not_found`, `conflict`,
        /// `too_large`, `expired`, `dep_failed`.
        #[serde(serialize_with = "code_name", deserialize_with = "code_of_mutation")]
        code: ErrorCode,
        /// What the author reads.
        #[serde(default)]
        detail: String,
    },
}

/// The kinds of effects, as labels of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented at Effect and Action")]
pub enum EffectKind {
    Cut,
    HalfOpen,
    Drop,
    Duplicate,
    Delay,
    Reorder,
    Hold,
    Reject,
    GoAway,
    NewEpoch,
}

impl EffectKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::HalfOpen => "half_open",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Delay => "delay",
            Self::Reorder => "reorder",
            Self::Hold => "hold",
            Self::Reject => "reject",
            Self::GoAway => "go_away",
            Self::NewEpoch => "new_epoch",
        }
    }
}

impl Effect {
    pub(super) const fn kind(&self) -> EffectKind {
        match self {
            Self::Cut => EffectKind::Cut,
            Self::HalfOpen => EffectKind::HalfOpen,
            Self::Drop => EffectKind::Drop,
            Self::Duplicate => EffectKind::Duplicate,
            Self::Delay { .. } => EffectKind::Delay,
            Self::Reorder { .. } => EffectKind::Reorder,
            Self::Hold { .. } => EffectKind::Hold,
            Self::Reject { .. } => EffectKind::Reject,
        }
    }
}

/// What happens at once, or at a time, rather than to a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Connections break without a word.
    Cut {
        /// Whose; `None`: everybody's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<String>,
    },
    /// Connections stay open and go silent, both ways.
    HalfOpen {
        /// Whose; `None`: everybody's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<String>,
    },
    /// Clients are asked to leave and come back, as by a server that drains.
    GoAway {
        /// Who; `None`: everybody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        principal: Option<String>,
        /// They leave within this time.
        #[serde(default)]
        window_ms: u32,
    },
    /// The channel's log goes on in a new epoch: everybody subscribes again. At most once in 10 s.
    NewEpoch {
        /// Which.
        channel: String,
    },
}

impl Action {
    pub(super) const fn kind(&self) -> EffectKind {
        match self {
            Self::Cut { .. } => EffectKind::Cut,
            Self::HalfOpen { .. } => EffectKind::HalfOpen,
            Self::GoAway { .. } => EffectKind::GoAway,
            Self::NewEpoch { .. } => EffectKind::NewEpoch,
        }
    }
}

fn code_name<S: Serializer>(code: &ErrorCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.name())
}

/// The codes that may stand in a log entry: those of the 3000s.
fn code_of_mutation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ErrorCode, D::Error> {
    let name = String::deserialize(deserializer)?;
    ErrorCode::ALL
        .iter()
        .copied()
        .find(|code| code.name() == name && (3000..4000).contains(&(*code as u32)))
        .ok_or_else(|| {
            let name = cut_detail(name);
            de::Error::custom(format!(
                "{name:?} ends no mutation; take refused, for instance"
            ))
        })
}
