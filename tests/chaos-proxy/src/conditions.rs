//! What one direction of a network is like.

use std::time::Duration;

/// The longest delay that may be asked for: a day. Longer is a black hole.
const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);

/// What bytes meet on their way in one direction. [`Conditions::default`] is a network without faults.
///
/// The words are those of Toxiproxy where it has one: latency, jitter, bandwidth, slicing, limits, slow close, toxicity.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "program",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Conditions {
    /// How long every byte is held back at least. What is held stays in order.
    #[cfg_attr(feature = "program", serde(rename = "latency_ms", with = "in_ms"))]
    pub latency: Duration,
    /// Up to how much longer, drawn for each piece as it comes.
    #[cfg_attr(feature = "program", serde(rename = "jitter_ms", with = "in_ms"))]
    pub jitter: Duration,
    /// Bytes a second at most.
    #[cfg_attr(feature = "program", serde(rename = "bandwidth_bytes_per_s"))]
    pub bandwidth: Option<u64>,
    /// Cut into small writes.
    pub slicer: Option<Slicer>,
    /// Nothing comes through, an end neither, and no socket is closed. What was sent comes when this is over.
    pub black_hole: bool,
    /// What happens once a connection has carried so many bytes in this direction.
    pub limit: Option<Limit>,
    /// How long the end of a stream is held back.
    #[cfg_attr(feature = "program", serde(rename = "slow_close_ms", with = "in_ms"))]
    pub slow_close: Duration,
    /// Which share of connections meets all this, from 0 to 1. Each connection draws once.
    pub toxicity: f64,
}

/// Into which pieces a stream is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "program",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub struct Slicer {
    /// The fewest bytes of a piece, from 1.
    pub min_bytes: u64,
    /// The most bytes of a piece.
    pub max_bytes: u64,
    /// How long nothing follows a piece.
    #[cfg_attr(
        feature = "program",
        serde(rename = "pause_ms", with = "in_ms", default)
    )]
    pub pause: Duration,
}

/// A number of bytes, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "program",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub struct Limit {
    /// Counted from a connection's first byte in this direction. 0: at once.
    pub bytes: u64,
    /// What happens to the connection.
    pub then: Ending,
}

/// How a connection ends, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "program",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Ending {
    /// Both sides are told the end (FIN).
    Close,
    /// Both sides are reset (RST); what is on its way is lost.
    Reset,
    /// The receiver of this direction is told the end; the other direction goes on.
    HalfClose,
    /// Nothing more comes through in this direction, and both sockets stay open.
    BlackHole,
}

/// Why conditions cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConditionsError {
    /// A bandwidth of 0.
    #[error("bandwidth is 0; use black_hole to let nothing through")]
    Bandwidth,
    /// A slicer without pieces.
    #[error("slicer needs 1 <= min_bytes <= max_bytes")]
    Slicer,
    /// A share that is none.
    #[error("toxicity must be from 0 to 1")]
    Toxicity,
    /// A delay of more than a day.
    #[error("no delay may be longer than a day; use black_hole for what never comes")]
    Delay,
}

impl ConditionsError {
    /// A stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Bandwidth => "bad_bandwidth",
            Self::Slicer => "bad_slicer",
            Self::Toxicity => "bad_toxicity",
            Self::Delay => "bad_delay",
        }
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            slicer: None,
            black_hole: false,
            limit: None,
            slow_close: Duration::ZERO,
            toxicity: 1.0,
        }
    }
}

impl Conditions {
    /// Everything comes later.
    #[must_use]
    pub const fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Some comes later still.
    #[must_use]
    pub const fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// No more than so many bytes a second.
    #[must_use]
    pub const fn bandwidth(mut self, bytes_per_s: u64) -> Self {
        self.bandwidth = Some(bytes_per_s);
        self
    }

    /// Pieces of `min_bytes` to `max_bytes`, with a pause after each.
    #[must_use]
    pub const fn slicer(mut self, min_bytes: u64, max_bytes: u64, pause: Duration) -> Self {
        self.slicer = Some(Slicer {
            min_bytes,
            max_bytes,
            pause,
        });
        self
    }

    /// Nothing comes through.
    #[must_use]
    pub const fn black_hole(mut self) -> Self {
        self.black_hole = true;
        self
    }

    /// So many bytes, and then an end.
    #[must_use]
    pub const fn limit(mut self, bytes: u64, then: Ending) -> Self {
        self.limit = Some(Limit { bytes, then });
        self
    }

    /// Ends are told late.
    #[must_use]
    pub const fn slow_close(mut self, delay: Duration) -> Self {
        self.slow_close = delay;
        self
    }

    /// Only this share of connections is concerned.
    #[must_use]
    pub const fn toxicity(mut self, share: f64) -> Self {
        self.toxicity = share;
        self
    }

    /// Whether there is such a network.
    ///
    /// # Errors
    ///
    /// The first value that cannot be.
    pub fn check(&self) -> Result<(), ConditionsError> {
        let pause = self.slicer.map_or(Duration::ZERO, |slicer| slicer.pause);
        let delays = [self.latency, self.jitter, self.slow_close, pause];
        if self.bandwidth == Some(0) {
            Err(ConditionsError::Bandwidth)
        } else if self
            .slicer
            .is_some_and(|it| it.min_bytes == 0 || it.max_bytes < it.min_bytes)
        {
            Err(ConditionsError::Slicer)
        } else if !(0.0..=1.0).contains(&self.toxicity) {
            Err(ConditionsError::Toxicity)
        } else if delays.iter().any(|delay| *delay > DELAY_MAX) {
            Err(ConditionsError::Delay)
        } else {
            Ok(())
        }
    }
}

/// Durations as whole milliseconds.
#[cfg(feature = "program")]
mod in_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        it: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(it: D) -> Result<Duration, D::Error> {
        u64::deserialize(it).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let second = Duration::from_secs(1);
        let good = Conditions::default();
        for (conditions, expected) in [
            (good.clone(), None),
            (good.clone().bandwidth(1), None),
            (good.clone().slicer(1, 1, second), None),
            (good.clone().toxicity(0.0), None),
            (good.clone().bandwidth(0), Some("bad_bandwidth")),
            (good.clone().slicer(0, 4, second), Some("bad_slicer")),
            (good.clone().slicer(5, 4, second), Some("bad_slicer")),
            (good.clone().toxicity(1.1), Some("bad_toxicity")),
            (good.clone().toxicity(f64::NAN), Some("bad_toxicity")),
            (good.clone().latency(2 * DELAY_MAX), Some("bad_delay")),
            (good.clone().jitter(Duration::MAX), Some("bad_delay")),
            (good.slicer(1, 4, Duration::MAX), Some("bad_delay")),
        ] {
            let found = conditions.check().err().map(ConditionsError::code);
            assert_eq!(found, expected, "{conditions:?}");
        }
    }

    #[cfg(feature = "program")]
    #[test]
    fn conditions_are_written_as_they_are_read() {
        let written = r#"{"latency_ms":80,"limit":{"bytes":9,"then":"half_close"},"slicer":{"min_bytes":1,"max_bytes":3}}"#;
        let read: Conditions = serde_json::from_str(written).unwrap();
        let expected = Conditions::default()
            .latency(Duration::from_millis(80))
            .slicer(1, 3, Duration::ZERO)
            .limit(9, Ending::HalfClose);
        assert_eq!(read, expected);
        let again = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Conditions>(&again).unwrap(), read);
        for wrong in [
            r#"{"latency":80}"#,
            r#"{"latency_ms":-1}"#,
            r#"{"limit":{"bytes":1,"then":"x"}}"#,
        ] {
            assert!(
                serde_json::from_str::<Conditions>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
