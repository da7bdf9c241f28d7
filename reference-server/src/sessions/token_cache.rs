//! What `authenticate` said of tokens, for a while: every request over HTTP carries one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tidewire_core::time::{MonoTime, UnixTime};

use crate::principal::Principal;

/// How long an answer is good. Whoever was let in and may not come any more is kept out after that, at the latest.
const GOOD_FOR: Duration = Duration::from_secs(60);

/// So many answers. Policy: the oldest go.
const ANSWERS_MAX: usize = 10_000;

type Key = [u8; 32];

/// Answers, by a digest of token and address: an application may tell addresses apart.
#[derive(Debug, Default)]
pub(crate) struct TokenCache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, (Principal, MonoTime)>,
    /// Oldest first. A key that was put in again stands in it twice, and counts where it stands last.
    order: VecDeque<(Key, MonoTime)>,
}

fn key(token: &str, address: Option<IpAddr>) -> Key {
    let mut hash = Sha256::new();
    hash.update(token);
    hash.update([0]);
    hash.update(
        address
            .map(|address| address.to_string())
            .unwrap_or_default(),
    );
    hash.finalize().into()
}

impl TokenCache {
    /// Who bears a token, if that was asked a short while ago.
    pub(crate) fn get(
        &self,
        token: &str,
        address: Option<IpAddr>,
        now: MonoTime,
        unix: UnixTime,
    ) -> Option<Principal> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.expire(now);
        let (principal, _) = kept.answers.get(&key(token, address))?;
        let is_over = principal.expiry().is_some_and(|at| at <= unix);
        (!is_over).then(|| principal.clone())
    }

    /// Remembers an answer.
    pub(crate) fn put(
        &self,
        token: &str,
        address: Option<IpAddr>,
        principal: &Principal,
        now: MonoTime,
    ) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.expire(now);
        let key = key(token, address);
        kept.answers.insert(key, (principal.clone(), now));
        kept.order.push_back((key, now));
        while kept.order.len() > ANSWERS_MAX {
            kept.forget_oldest();
        }
    }
}

impl Kept {
    fn expire(&mut self, now: MonoTime) {
        while self
            .order
            .front()
            .is_some_and(|(_, at)| *at + GOOD_FOR <= now)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((key, at)) = self.order.pop_front()
            && self.answers.get(&key).is_some_and(|(_, put)| *put == at)
        {
            self.answers.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: UnixTime = UnixTime(1_000_000);

    #[test]
    fn an_answer_is_good_for_a_while_for_its_token_and_address() {
        let cache = TokenCache::default();
        let here = Some([127, 0, 0, 1].into());
        cache.put("t", here, &Principal::new("ana"), MonoTime(0));
        let get = |token, address, at| {
            let found = cache.get(token, address, MonoTime(at), UNIX);
            found.map(|principal| principal.name().to_owned())
        };
        assert_eq!(get("t", here, 59_999).as_deref(), Some("ana"));
        assert_eq!(get("t", None, 1), None);
        assert_eq!(get("u", here, 1), None);
        cache.put("t", here, &Principal::new("ana"), MonoTime(59_999));
        assert_eq!(get("t", here, 60_000).as_deref(), Some("ana"));
        assert_eq!(get("t", here, 119_999), None);
    }

    #[test]
    fn an_answer_does_not_outlive_its_token() {
        let cache = TokenCache::default();
        let principal = Principal::new("ana").expires(UnixTime(UNIX.0 + 1));
        cache.put("t", None, &principal, MonoTime(0));
        assert!(cache.get("t", None, MonoTime(0), UNIX).is_some());
        assert!(
            cache
                .get("t", None, MonoTime(0), UnixTime(UNIX.0 + 1))
                .is_none()
        );
    }

    #[test]
    fn the_oldest_answers_go() {
        let cache = TokenCache::default();
        for n in 0..=ANSWERS_MAX {
            cache.put(&n.to_string(), None, &Principal::new("ana"), MonoTime(0));
        }
        assert!(cache.get("0", None, MonoTime(0), UNIX).is_none());
        assert!(cache.get("1", None, MonoTime(0), UNIX).is_some());
        let kept = cache.0.lock().unwrap();
        assert_eq!(
            (kept.answers.len(), kept.order.len()),
            (ANSWERS_MAX, ANSWERS_MAX)
        );
    }
}
