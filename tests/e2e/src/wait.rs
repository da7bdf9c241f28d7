//! Waiting for conditions, with a deadline.

use std::future::Future;
use std::time::Duration;

/// How long anything may take that a test waits for. Generous: the machine may be busy, and what is lost
/// last is repaired with a heartbeat, every 25 s.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// How often a condition is looked at that nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for a future.
///
/// # Panics
/// When it takes longer than [`DEADLINE`]; `what` says what was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("within {DEADLINE:?} this did not happen: {what}"),
    }
}

/// Waits for a condition that nothing announces, by looking again and again.
///
/// # Panics
/// When it takes longer than [`DEADLINE`].
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await;
}
