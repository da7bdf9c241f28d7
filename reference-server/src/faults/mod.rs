//! Faults on purpose: a plan that cuts, delays, drops, duplicates, reorders and rejects, from a seed.
//!
//! For tests of applications, and for the curious. There is no plan until somebody sets one: over
//! the admin door (`PUT /faults`), or through the [`Faults`] that a server was built with. It works
//! where frames enter and leave a connection; what a client is told is always something that a real
//! network or a real server could have done. JSON and examples: docs/faults.md.
//!
//! Invariant: a fault costs time, never data. Whatever a plan does, nothing is committed twice, and
//! nothing that was acknowledged is lost.

mod act;
mod effect;
mod frame;
mod lane;
mod link;
mod pattern;
mod plan;
mod policy;
mod running;
mod target;
mod walls;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tidewire_core::document::Rejection;
use tokio::time::Instant;

pub use act::ActError;
pub use effect::{Action, Effect, EffectKind};
pub use frame::{Direction, FrameKind};
pub(crate) use link::Faulted;
use link::LinkState;
pub use plan::{ACTIONS_MAX, DELAY_MS_MAX, Plan, PlanError, RULES_MAX, Rule, TimedAction};
pub(crate) use policy::FaultedPolicy;
use running::Running;
pub use running::{Progress, RECORD_MAX, Replay, Strike, Tally};
pub(crate) use target::{Done, Target};
pub use walls::Wall;
use walls::Walls;

/// The fault plan of one or more servers. Clones are the same one; it outlives a server's restart.
#[derive(Clone, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    active: AtomicBool,
    /// Counts plans, so that a connection knows whether its lanes belong to the present one.
    plan: AtomicU64,
    running: Mutex<Option<Running>>,
    servers: Mutex<Vec<Arc<dyn Target>>>,
    links: Mutex<Links>,
    walls: Mutex<Walls>,
    counts: FaultCounts,
}

/// The links that are open, by numbers that are never used again.
#[derive(Default)]
struct Links {
    open: HashMap<u64, Arc<LinkState>>,
    next: u64,
}

/// How often each effect was done.
pub(crate) type FaultCounts = Family<EffectLabel, Counter>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EffectLabel {
    effect: EffectKind,
}

impl EncodeLabelValue for EffectKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

impl Faults {
    /// Without a plan.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a plan in place of the present one, whose held frames come at once. Its timed actions
    /// run on the tokio runtime that this is called on.
    ///
    /// Errors: a rule that means nothing; then the present plan stays.
    pub fn set(&self, plan: Plan) -> Result<(), PlanError> {
        plan.check()?;
        let timed = plan.actions.clone();
        let number = {
            let mut running = self.running();
            *running = Some(Running::new(plan, Instant::now()));
            self.shared.active.store(true, Ordering::Relaxed);
            self.shared.plan.fetch_add(1, Ordering::Relaxed) + 1
        };
        self.heal();
        if !timed.is_empty() {
            tokio::spawn(act::run_timed(self.clone(), number, timed));
        }
        Ok(())
    }

    /// Ends the plan: held frames come at once, and from now on nothing is struck. Connections that
    /// went silent stay so.
    pub fn clear(&self) {
        {
            let mut running = self.running();
            *running = None;
            self.shared.active.store(false, Ordering::Relaxed);
            self.shared.plan.fetch_add(1, Ordering::Relaxed);
        }
        self.heal();
    }

    /// Adds a rule to the plan; its times count from now.
    ///
    /// Errors: no plan, a full one, a name that is taken, or a rule that means nothing.
    pub fn add(&self, rule: Rule) -> Result<(), PlanError> {
        let now = Instant::now();
        let mut running = self.running();
        running.as_mut().ok_or(PlanError::NoPlan)?.add(now, rule)
    }

    /// Ends a rule by its name; the record keeps it.
    ///
    /// Errors: no plan, or no such rule that is still on.
    pub fn end(&self, rule: &str) -> Result<(), PlanError> {
        let now = Instant::now();
        let mut running = self.running();
        running.as_mut().ok_or(PlanError::NoPlan)?.end(now, rule)
    }

    /// The plan as it became, and what it has done so far: a file that does the same again.
    #[must_use]
    pub fn replay(&self) -> Option<Replay> {
        let running = self.running();
        running
            .as_ref()
            .map(|running| running.replay(Instant::now()))
    }

    /// What was done since the record had `after` strikes; cheap to ask again and again.
    #[must_use]
    pub fn progress(&self, after: usize) -> Option<Progress> {
        let running = self.running();
        let running = running.as_ref()?;
        Some(running.progress(Instant::now(), after))
    }

    /// How often an effect was done, over all plans.
    #[must_use]
    pub fn count_of(&self, effect: EffectKind) -> u64 {
        let label = EffectLabel { effect };
        self.shared.counts.get_or_create(&label).get()
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        let running = self.shared.running.lock();
        running.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.shared.active.load(Ordering::Relaxed)
    }

    fn is_current(&self, plan: u64) -> bool {
        self.is_active() && self.shared.plan.load(Ordering::Relaxed) == plan
    }

    fn with_running<T>(&self, use_it: impl FnOnce(u64, &mut Running) -> T) -> Option<T> {
        let mut running = self.running();
        let plan = self.shared.plan.load(Ordering::Relaxed);
        running.as_mut().map(|running| use_it(plan, running))
    }

    fn count(&self, effect: EffectKind) {
        self.shared
            .counts
            .get_or_create(&EffectLabel { effect })
            .inc();
    }

    pub(crate) fn counts(&self) -> FaultCounts {
        self.shared.counts.clone()
    }

    /// Why a change is rejected, if it is.
    pub(crate) fn rejection(&self, channel: &str, who: &str) -> Option<Rejection> {
        if !self.is_active() {
            return None;
        }
        let struck = self.with_running(|_, running| running.reject(Instant::now(), channel, who));
        let Some(Some(Effect::Reject { code, detail })) = struck else {
            return None;
        };
        self.count(EffectKind::Reject);
        Some(Rejection::new(code, detail))
    }

    /// A server that it works on.
    pub(crate) fn attach(&self, server: impl Target + 'static) {
        let mut servers = self.servers();
        servers.retain(|server| server.is_there());
        servers.push(Arc::new(server));
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Arc<dyn Target>>> {
        let servers = self.shared.servers.lock();
        servers.unwrap_or_else(PoisonError::into_inner)
    }

    fn open_links(&self) -> MutexGuard<'_, Links> {
        let links = self.shared.links.lock();
        links.unwrap_or_else(PoisonError::into_inner)
    }

    /// A link is open until it leaves.
    fn enter(&self, make: impl FnOnce(u64) -> LinkState) -> Arc<LinkState> {
        let mut links = self.open_links();
        let number = links.next;
        links.next += 1;
        let link = Arc::new(make(number));
        links.open.insert(number, Arc::clone(&link));
        link
    }

    fn leave(&self, number: u64) {
        self.open_links().open.remove(&number);
    }

    /// The open links of a principal, or all.
    fn links(&self, principal: Option<&str>) -> Vec<Arc<LinkState>> {
        let links = self.open_links();
        let of = links.open.values().filter(|link| link.is_of(principal));
        of.cloned().collect()
    }

    /// Lets go what the last plan held back.
    fn heal(&self) {
        for link in self.links(None) {
            link.look_again();
        }
    }
}
