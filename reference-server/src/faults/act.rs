//! Actions: what happens to connections and channels at a time, rather than to a frame.

use std::sync::Arc;

use tidewire_core::wire::{Goaway, ServerKind};
use tidewire_core::{ChannelName, ChannelNameError};
use tokio::time::sleep_until;

use super::Faults;
use super::effect::Action;
use super::plan::TimedAction;
use crate::app::App;
use crate::queue::SendQueue;

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActError {
    /// The channel's name.
    #[error("{0}")]
    Channel(#[from] ChannelNameError),
    /// The namespace, the broker, or another epoch that was opened just before.
    #[error("no epoch could be opened for {0}: is it configured, and does its broker answer?")]
    NoEpoch(ChannelName),
    /// No server runs with these faults.
    #[error("no server is running")]
    NoServer,
}

impl Faults {
    /// Does something at once; while a plan is set, it is noted in it.
    ///
    /// Returns how many connections were concerned, or 1 for a new epoch.
    ///
    /// Errors: only for [`Action::NewEpoch`], which may take up to 10 s after the last one.
    pub async fn act(&self, action: Action) -> Result<usize, ActError> {
        self.perform(&action, false).await
    }

    async fn perform(&self, action: &Action, planned: bool) -> Result<usize, ActError> {
        let now = tokio::time::Instant::now();
        self.with_running(|_, running| running.note(now, action, planned));
        self.count(action.kind());
        Ok(match action {
            Action::Cut { principal } => {
                let cut = self.queues(principal.as_deref());
                cut.iter().for_each(|queue| queue.sever());
                cut.len()
            }
            Action::HalfOpen { principal } => {
                let silenced = self.queues(principal.as_deref());
                silenced.iter().for_each(|queue| queue.silence());
                silenced.len()
            }
            Action::GoAway {
                principal,
                window_ms,
            } => {
                let asked = self.queues(principal.as_deref());
                for queue in asked.iter().filter(|queue| queue.is_welcomed()) {
                    queue.send(ServerKind::Goaway(Goaway {
                        by_ms: *window_ms,
                        window_ms: *window_ms,
                        reason: "a fault plan says so".into(),
                        ..Goaway::default()
                    }));
                }
                asked.len()
            }
            Action::NewEpoch { channel } => {
                let name: ChannelName = channel.parse()?;
                // One log, whichever node it is asked on.
                let app = self.apps().pop().ok_or(ActError::NoServer)?;
                crate::http::open_epoch(&app, &name)
                    .await
                    .ok_or(ActError::NoEpoch(name))?;
                1
            }
        })
    }

    fn queues(&self, principal: Option<&str>) -> Vec<Arc<SendQueue>> {
        let of = |app: Arc<App>| app.connections.all();
        let mut queues: Vec<_> = self.apps().into_iter().flat_map(of).collect();
        queues.retain(|queue| queue.link().is_of(principal));
        queues
    }
}

/// Does a plan's actions at their times, while it is the plan.
pub(super) async fn run_timed(faults: Faults, plan: u64, mut timed: Vec<TimedAction>) {
    timed.sort_by_key(|timed| timed.at_ms);
    for TimedAction { at_ms, action } in timed {
        let Some(at) = faults.with_running(|_, running| running.instant(at_ms)) else {
            return;
        };
        if !faults.is_current(plan) {
            return;
        }
        sleep_until(at).await;
        if !faults.is_current(plan) {
            return;
        }
        if let Err(error) = faults.perform(&action, true).await {
            tracing::warn!(%error, "an action of the fault plan was not done");
        }
    }
}
