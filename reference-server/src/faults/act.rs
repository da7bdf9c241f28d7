//! Actions: what happens to connections and channels at a time, rather than to a frame.

use tidewire_core::wire::Goaway;
use tidewire_core::{ChannelName, ChannelNameError};
use tokio::time::sleep_until;

use super::Faults;
use super::effect::Action;
use super::plan::TimedAction;

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
                let cut = self.links(principal.as_deref());
                cut.iter().for_each(|link| link.cut());
                cut.len()
            }
            Action::HalfOpen { principal } => {
                let silenced = self.links(principal.as_deref());
                silenced.iter().for_each(|link| link.silence());
                silenced.len()
            }
            Action::GoAway {
                principal,
                window_ms,
            } => {
                let goaway = Goaway {
                    by_ms: *window_ms,
                    window_ms: *window_ms,
                    reason: "a fault plan says so".into(),
                    ..Goaway::default()
                };
                let servers = self.servers().clone();
                let asked = servers
                    .iter()
                    .map(|server| server.ask_to_leave(principal.as_deref(), &goaway));
                asked.sum()
            }
            Action::NewEpoch { channel } => {
                let name: ChannelName = channel.parse()?;
                // One log, whichever node it is asked on.
                let server = self
                    .servers()
                    .iter()
                    .rfind(|server| server.is_there())
                    .cloned();
                let server = server.ok_or(ActError::NoServer)?;
                server
                    .open_epoch(&name)
                    .await
                    .ok_or(ActError::NoEpoch(name))?;
                1
            }
        })
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
