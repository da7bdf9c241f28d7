//! How fast one session may post, without one its principal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidewire_core::time::MonoTime;

use crate::config::Rate;
use crate::limit::TokenBucket;

/// So many that post at a time are known, at least. Policy: those that have rested are forgotten; if nobody has,
/// a further one has the rate of its address alone.
const KNOWN_MAX: usize = 10_000;

/// Who posts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Poster {
    Session([u8; 16]),
    Principal(Arc<str>),
}

/// The buckets of all who post here.
#[derive(Debug)]
pub(crate) struct PostRates {
    rate: Rate,
    known: Mutex<HashMap<Poster, TokenBucket>>,
}

impl PostRates {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            known: Mutex::default(),
        }
    }

    /// Pays for frames. `Err`: not before this has passed, and nothing was paid.
    pub(crate) fn pay(&self, poster: Poster, frames: usize, now: MonoTime) -> Result<(), Duration> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX && !known.contains_key(&poster) {
            known.retain(|_, bucket| !bucket.is_full(now));
            if known.len() >= KNOWN_MAX {
                return Ok(());
            }
        }
        let Some(new) = self.rate.bucket(now) else {
            return Ok(());
        };
        let bucket = known.entry(poster).or_insert(new);
        let owed = bucket.take(0, now);
        if !owed.is_zero() {
            return Err(owed);
        }
        bucket.take(frames, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(n: u64) -> Poster {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        Poster::Session(id)
    }

    #[test]
    fn who_posts_too_fast_waits_and_others_do_not() {
        let rates = PostRates::new(Rate::new(10, 5));
        let ana = || Poster::Principal("ana".into());
        assert_eq!(rates.pay(ana(), 6, MonoTime(0)), Ok(()));
        assert_eq!(
            rates.pay(ana(), 1, MonoTime(0)),
            Err(Duration::from_millis(100))
        );
        assert_eq!(rates.pay(session(1), 1, MonoTime(0)), Ok(()));
        assert_eq!(rates.pay(ana(), 1, MonoTime(100)), Ok(()));
        let free = PostRates::new(Rate::new(0, 1));
        assert_eq!(free.pay(ana(), 1_000_000, MonoTime(0)), Ok(()));
        assert_eq!(free.pay(ana(), 1, MonoTime(0)), Ok(()));
    }

    #[test]
    fn those_that_have_rested_are_forgotten() {
        let rates = PostRates::new(Rate::new(10, 5));
        for n in 0..KNOWN_MAX as u64 + 10 {
            assert_eq!(rates.pay(session(n), 1, MonoTime(0)), Ok(()));
        }
        assert_eq!(rates.known.lock().unwrap().len(), KNOWN_MAX);
        assert_eq!(rates.pay(session(u64::MAX), 1, MonoTime(10_000)), Ok(()));
        assert_eq!(rates.known.lock().unwrap().len(), 1);
    }
}
