//! How many may come in: from one address, and before anybody knows who they are.
//!
//! Policy: whoever is over a limit is refused before anything is kept for it, and told to come back. What
//! is kept per address is bounded by the connections and sockets that are open, and by addresses whose
//! bucket is not full again yet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidewire_core::time::MonoTime;

use crate::address::AddressKey;
use crate::config::{Config, Rate};
use crate::limit::SharedBucket;

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// As many connections of this address are open as may.
    Address,
    /// As many connections are open as may before they have said who they are.
    Unauthenticated,
}

/// Everybody who is in, by address.
#[derive(Debug)]
pub(crate) struct Admission {
    per_address: usize,
    unauthenticated_max: usize,
    rate: Rate,
    unauthenticated: AtomicUsize,
    addresses: Mutex<Addresses>,
}

#[derive(Debug, Default)]
struct Addresses {
    known: HashMap<AddressKey, Address>,
    /// At so many, those that need not be known any more are forgotten.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Address {
    connections: usize,
    sockets: usize,
    bucket: Option<SharedBucket>,
}

const SWEEP_MIN: usize = 256;

impl Admission {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            per_address: config.connections_per_address,
            unauthenticated_max: config.connections_unauthenticated_max,
            rate: config.rates.address,
            unauthenticated: AtomicUsize::new(0),
            addresses: Mutex::default(),
        })
    }

    fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection. Without an address it counts for no address.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        now: MonoTime,
    ) -> Result<Place, NotAdmitted> {
        let key = address.map(AddressKey::new);
        let mut bucket = None;
        if let Some(key) = key {
            let mut addresses = self.addresses();
            let known = addresses.known(key, now);
            if known.connections >= self.per_address {
                return Err(NotAdmitted::Address);
            }
            known.connections += 1;
            if known.bucket.is_none() {
                known.bucket = self.rate.bucket(now).map(SharedBucket::new);
            }
            bucket = known.bucket.clone();
        }
        let place = Place {
            admission: Arc::clone(self),
            key,
            bucket,
            is_unauthenticated: AtomicBool::new(true),
        };
        let before = self.unauthenticated.fetch_add(1, Ordering::Relaxed);
        // Dropping the place takes all of it back.
        if before >= self.unauthenticated_max {
            return Err(NotAdmitted::Unauthenticated);
        }
        Ok(place)
    }

    /// Admits a socket that has not asked for anything yet; `None`: this address has as many as it may.
    pub(crate) fn enter_socket(
        self: &Arc<Self>,
        peer: IpAddr,
        now: MonoTime,
    ) -> Option<SocketPlace> {
        let key = AddressKey::new(peer);
        let mut addresses = self.addresses();
        let known = addresses.known(key, now);
        if known.sockets >= self.per_address {
            return None;
        }
        known.sockets += 1;
        Some(SocketPlace {
            admission: Arc::clone(self),
            key,
        })
    }

    fn leave(&self, key: AddressKey, leave: impl FnOnce(&mut Address)) {
        let mut addresses = self.addresses();
        if let Some(known) = addresses.known.get_mut(&key) {
            leave(known);
            if known.is_idle() && known.bucket.is_none() {
                addresses.known.remove(&key);
            }
        }
    }
}

impl Addresses {
    fn known(&mut self, key: AddressKey, now: MonoTime) -> &mut Address {
        if self.known.len() >= self.sweep_at.max(SWEEP_MIN) {
            // One that leaves and comes back must not find a full bucket for it.
            self.known
                .retain(|_, address| !address.is_idle() || !address.is_rested(now));
            self.sweep_at = 2 * self.known.len();
        }
        self.known.entry(key).or_default()
    }
}

impl Address {
    fn is_idle(&self) -> bool {
        self.connections == 0 && self.sockets == 0
    }

    fn is_rested(&self, now: MonoTime) -> bool {
        self.bucket
            .as_ref()
            .is_none_or(|bucket| bucket.is_full(now))
    }
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    key: Option<AddressKey>,
    bucket: Option<SharedBucket>,
    is_unauthenticated: AtomicBool,
}

impl Place {
    /// It is known who this is.
    pub(crate) fn authenticated(&self) {
        if self.is_unauthenticated.swap(false, Ordering::Relaxed) {
            self.admission
                .unauthenticated
                .fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes frames from the bucket that all connections of the address share; how long to wait before
    /// more are read.
    pub(crate) fn pace(&self, frames: usize, now: MonoTime) -> Duration {
        let shared = self.bucket.as_ref().map(|bucket| bucket.take(frames, now));
        shared.unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.authenticated();
        if let Some(key) = self.key {
            self.admission
                .leave(key, |address| address.connections -= 1);
        }
    }
}

/// The place of a socket.
#[derive(Debug)]
pub(crate) struct SocketPlace {
    admission: Arc<Admission>,
    key: AddressKey,
}

impl Drop for SocketPlace {
    fn drop(&mut self) {
        self.admission
            .leave(self.key, |address| address.sockets -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rates;

    const NOW: MonoTime = MonoTime(0);

    fn admission(per_address: usize, unauthenticated: usize, rate: Rate) -> Arc<Admission> {
        let config = Config {
            connections_per_address: per_address,
            connections_unauthenticated_max: unauthenticated,
            rates: Rates {
                address: rate,
                ..Rates::default()
            },
            ..Config::default()
        };
        Admission::new(&config)
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn an_address_has_so_many_places_and_others_have_theirs() {
        let admission = admission(2, 10, Rate::new(0, 1));
        let first = admission.enter(address(1), NOW).unwrap();
        let _second = admission.enter(address(1), NOW).unwrap();
        let refused = admission.enter(address(1), NOW);
        assert_eq!(refused.err(), Some(NotAdmitted::Address));
        let _other = admission.enter(address(2), NOW).unwrap();
        drop(first);
        let _again = admission.enter(address(1), NOW).unwrap();
        let unknown = (0..5).map(|_| admission.enter(None, NOW).unwrap());
        assert_eq!(unknown.collect::<Vec<_>>().len(), 5);
    }

    #[test]
    fn those_that_nobody_knows_yet_have_a_quota_of_their_own() {
        let admission = admission(100, 2, Rate::new(0, 1));
        let first = admission.enter(address(1), NOW).unwrap();
        let _second = admission.enter(address(2), NOW).unwrap();
        for _ in 0..5 {
            let refused = admission.enter(address(3), NOW);
            assert_eq!(refused.err(), Some(NotAdmitted::Unauthenticated));
        }
        first.authenticated();
        first.authenticated();
        let third = admission.enter(address(3), NOW).unwrap();
        drop((first, third));
        let _fourth = admission.enter(address(3), NOW).unwrap();
        let refused = admission.enter(address(3), NOW);
        assert_eq!(refused.err(), Some(NotAdmitted::Unauthenticated));
    }

    #[test]
    fn nothing_is_left_of_addresses_that_have_gone() {
        let admission = admission(2, 10_000, Rate::new(0, 1));
        for last in 0..=255 {
            drop(admission.enter(address(last), NOW).unwrap());
            drop(admission.enter_socket(address(last).unwrap(), NOW));
        }
        assert_eq!(admission.addresses().known.len(), 0);
    }

    #[test]
    fn a_new_connection_does_not_make_an_address_faster() {
        let admission = admission(2, 10, Rate::new(10, 5));
        let place = admission.enter(address(1), NOW).unwrap();
        assert_eq!(place.pace(6, NOW), Duration::from_millis(100));
        drop(place);
        let place = admission.enter(address(1), NOW).unwrap();
        assert_eq!(place.pace(1, NOW), Duration::from_millis(200));
        drop(place);
        // It is forgotten once it would be full again.
        let later = MonoTime(10_000);
        let many = (0..2 * SWEEP_MIN as u32).map(|n| IpAddr::from(n.to_be_bytes()));
        for one in many {
            drop(admission.enter(Some(one), later).unwrap());
        }
        let known = &admission.addresses().known;
        assert!(!known.contains_key(&AddressKey::new(address(1).unwrap())));
        assert!(known.len() <= SWEEP_MIN + 1, "{}", known.len());
    }

    #[test]
    fn sockets_that_ask_for_nothing_are_bounded_by_address() {
        let admission = admission(2, 10, Rate::new(0, 1));
        let peer = address(1).unwrap();
        let first = admission.enter_socket(peer, NOW).unwrap();
        let _second = admission.enter_socket(peer, NOW).unwrap();
        assert!(admission.enter_socket(peer, NOW).is_none());
        assert!(admission.enter_socket(address(2).unwrap(), NOW).is_some());
        drop(first);
        assert!(admission.enter_socket(peer, NOW).is_some());
    }
}
