//! How much of everything there may be: `[limits]` of the file, one number each.
//!
//! Each of them is the bound of one place, which says what happens at it. What all places together may
//! take is `memory_bytes_max`. Limits that both sides of the wire have to know are the protocol's
//! ([`tidewire_core::wire::Limits`]) and no settings.

use toml::Value;

use super::key::{Key, Shape};
use super::values::number;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bounds of single places.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bounds {
    /// Bytes of all records of a channel; what would grow them is rejected `too_large`.
    pub document_bytes: usize,
    /// Bytes of a channel's entries in memory, for resume; the oldest go.
    pub log_bytes: usize,
    /// Ops of them.
    pub log_ops: usize,
    /// Bytes of a channel's table of authors. The same on every node, for the whole life of a log.
    pub table_bytes: usize,
    /// Pushes of a channel that wait for an append; more are told `hold`.
    pub pushes: usize,
    /// Their bytes.
    pub pushes_bytes: usize,
    /// Inputs that wait for a channel; pushes are told `hold`, subscribes wait.
    pub inputs: usize,
    /// Channels that nobody uses any more and that stay in memory for a while; a further one goes at once.
    pub idle_channels: usize,
    /// Peers present on a channel; newcomers are told `presence_full`.
    pub peers: usize,
    /// Bytes of all of them.
    pub peers_bytes: usize,
    /// Messages of channels that wait for one client; then it is slow, and the namespace's `lag` counts.
    pub queue_messages: usize,
    /// Their bytes.
    pub queue_bytes: usize,
    /// Bytes of a token; a longer one ends the connection.
    pub token_bytes: usize,
    /// Tokens that `authenticate` looks at at a time; others wait as long as it may take, then come again.
    pub token_checks: usize,
    /// New tokens that one connection may send at once; one of more is not looked at.
    pub refreshes: usize,
    /// Milliseconds after which it may send one more.
    pub refresh_ms: usize,
    /// Writes that wait for the disk; one of more fails, and its channel tries again.
    pub disk_writes: usize,
    /// Bytes of the database's pages that are kept in memory; the oldest are read again.
    pub disk_cache_bytes: usize,
    /// Frames of one message of a client; one of more ends its connection.
    pub frames_per_message: usize,
    /// Bytes of a request's line and headers; more are refused.
    pub header_bytes: usize,
    /// Headers of a request; more are refused.
    pub headers: usize,
    /// Bytes of a request to the admin door; more are refused.
    pub admin_body_bytes: usize,
    /// Requests of sessions over HTTP that are looked at at a time, held polls and open streams aside; one of
    /// more is answered 503.
    pub requests: usize,
}

/// One of them in the file.
struct Bound {
    path: &'static [&'static str],
    default: usize,
    range: (usize, usize),
    field: fn(&mut Bounds) -> &mut usize,
}

/// Most of anything: a bound beyond it bounds nothing on any machine.
const MOST: usize = 1 << 40;

const BOUNDS: [Bound; 23] = [
    Bound {
        path: &["limits", "document_bytes"],
        default: 128 * MIB,
        range: (KIB, MOST),
        field: |b| &mut b.document_bytes,
    },
    Bound {
        path: &["limits", "log_bytes"],
        default: 8 * MIB,
        // One largest entry has to fit.
        range: (MIB, MOST),
        field: |b| &mut b.log_bytes,
    },
    Bound {
        path: &["limits", "log_ops"],
        default: 64 * KIB,
        range: (1024, MOST),
        field: |b| &mut b.log_ops,
    },
    Bound {
        path: &["limits", "table_bytes"],
        default: 16 * MIB,
        // Some thousand authors.
        range: (MIB, MOST),
        field: |b| &mut b.table_bytes,
    },
    Bound {
        path: &["limits", "pushes"],
        default: 1024,
        range: (1, MOST),
        field: |b| &mut b.pushes,
    },
    Bound {
        path: &["limits", "pushes_bytes"],
        default: 4 * MIB,
        // One largest push has to fit.
        range: (128 * KIB, MOST),
        field: |b| &mut b.pushes_bytes,
    },
    Bound {
        path: &["limits", "inputs"],
        default: 1024,
        range: (1, MOST),
        field: |b| &mut b.inputs,
    },
    Bound {
        path: &["limits", "idle_channels"],
        default: 1000,
        range: (0, MOST),
        field: |b| &mut b.idle_channels,
    },
    Bound {
        path: &["limits", "peers"],
        default: 1000,
        range: (1, 10_000),
        field: |b| &mut b.peers,
    },
    Bound {
        path: &["limits", "peers_bytes"],
        default: 256 * KIB,
        // The list of all of them is one frame.
        range: (4 * KIB, 512 * KIB),
        field: |b| &mut b.peers_bytes,
    },
    Bound {
        path: &["limits", "queue_messages"],
        default: 4096,
        range: (16, MOST),
        field: |b| &mut b.queue_messages,
    },
    Bound {
        path: &["limits", "queue_bytes"],
        default: 2 * MIB,
        // One largest frame has to fit.
        range: (MIB, MOST),
        field: |b| &mut b.queue_bytes,
    },
    Bound {
        path: &["limits", "token_bytes"],
        default: 16 * KIB,
        // It travels in a hello of 32 KiB at least.
        range: (256, 16 * KIB),
        field: |b| &mut b.token_bytes,
    },
    Bound {
        path: &["limits", "token_checks"],
        default: 4000,
        range: (1, 1_000_000),
        field: |b| &mut b.token_checks,
    },
    Bound {
        path: &["limits", "refreshes"],
        default: 4,
        range: (1, 1000),
        field: |b| &mut b.refreshes,
    },
    Bound {
        path: &["limits", "refresh_ms"],
        default: 5000,
        range: (100, 60_000),
        field: |b| &mut b.refresh_ms,
    },
    Bound {
        path: &["limits", "disk_writes"],
        default: 512,
        range: (1, 1_000_000),
        field: |b| &mut b.disk_writes,
    },
    Bound {
        path: &["limits", "disk_cache_bytes"],
        default: 32 * MIB,
        range: (MIB, MOST),
        field: |b| &mut b.disk_cache_bytes,
    },
    Bound {
        path: &["limits", "frames_per_message"],
        default: 4096,
        // A client that comes back subscribes to all its channels in one message.
        range: (1001, MOST),
        field: |b| &mut b.frames_per_message,
    },
    Bound {
        path: &["limits", "header_bytes"],
        default: 16 * KIB,
        // What the HTTP library takes at least; a handshake has about one KiB.
        range: (8 * KIB, MIB),
        field: |b| &mut b.header_bytes,
    },
    Bound {
        path: &["limits", "headers"],
        default: 64,
        range: (16, 1024),
        field: |b| &mut b.headers,
    },
    Bound {
        path: &["limits", "admin_body_bytes"],
        default: 4 * MIB,
        range: (KIB, 256 * MIB),
        field: |b| &mut b.admin_body_bytes,
    },
    Bound {
        path: &["limits", "requests"],
        default: 4096,
        range: (1, MOST),
        field: |b| &mut b.requests,
    },
];

impl Default for Bounds {
    fn default() -> Self {
        let mut bounds = Self {
            document_bytes: 0,
            log_bytes: 0,
            log_ops: 0,
            table_bytes: 0,
            pushes: 0,
            pushes_bytes: 0,
            inputs: 0,
            idle_channels: 0,
            peers: 0,
            peers_bytes: 0,
            queue_messages: 0,
            queue_bytes: 0,
            token_bytes: 0,
            token_checks: 0,
            refreshes: 0,
            refresh_ms: 0,
            disk_writes: 0,
            disk_cache_bytes: 0,
            frames_per_message: 0,
            header_bytes: 0,
            headers: 0,
            admin_body_bytes: 0,
            requests: 0,
        };
        for bound in &BOUNDS {
            *(bound.field)(&mut bounds) = bound.default;
        }
        bounds
    }
}

impl Bounds {
    /// Takes a value of `[limits]`. `None`: there is no such key.
    pub(super) fn take(&mut self, path: &[&str], value: &Value) -> Option<Result<(), String>> {
        let bound = BOUNDS.iter().find(|bound| bound.path == path)?;
        let (min, max) = bound.range;
        let number = number(value, min as u64, max as u64);
        Some(number.map(|number| *(bound.field)(self) = number as usize))
    }
}

pub(super) fn keys() -> impl Iterator<Item = Key> {
    BOUNDS.iter().map(|bound| Key {
        path: bound.path,
        shape: Shape::Integer,
        default: Value::Integer(bound.default as i64),
        alias: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_has_its_own_place_and_a_default_that_may_be_set() {
        let mut bounds = Bounds::default();
        for (at, bound) in BOUNDS.iter().enumerate() {
            assert!(
                (bound.range.0..=bound.range.1).contains(&bound.default),
                "{:?}",
                bound.path
            );
            *(bound.field)(&mut bounds) = at;
        }
        for (at, bound) in BOUNDS.iter().enumerate() {
            assert_eq!(*(bound.field)(&mut bounds), at, "{:?}", bound.path);
        }
    }
}
