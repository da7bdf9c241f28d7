//! The driver's only timer.
//!
//! It is armed lazily: a deadline that moves back leaves the timer alone, and one that rings too
//! early is armed again for the rest. Most messages only move the heartbeat's deadline, so most
//! messages touch no timer.

use std::cell::RefCell;

use gloo_timers::callback::Timeout;
use tidewire_core::time::MonoTime;

use crate::clock;

/// What `setTimeout` takes; longer waits are done in steps.
const DELAY_MS_MAX: u64 = i32::MAX as u64;

/// At most one pending `setTimeout`.
#[derive(Default)]
pub(crate) struct Timer {
    armed: RefCell<Option<(MonoTime, Timeout)>>,
}

impl Timer {
    /// Makes sure that `ring` is called at `deadline` or before; `None` cancels.
    pub(crate) fn set(&self, deadline: Option<MonoTime>, ring: impl FnOnce() + 'static) {
        let mut armed = self.armed.borrow_mut();
        let Some(deadline) = deadline else {
            *armed = None;
            return;
        };
        if armed.as_ref().is_some_and(|(at, _)| *at <= deadline) {
            return;
        }
        let now = clock::now().mono;
        let delay_ms = deadline.0.saturating_sub(now.0).min(DELAY_MS_MAX);
        let at = MonoTime(now.0 + delay_ms);
        *armed = Some((at, Timeout::new(delay_ms as u32, ring)));
    }

    /// The timer rang: nothing is pending any more.
    pub(crate) fn rang(&self) {
        *self.armed.borrow_mut() = None;
    }
}
