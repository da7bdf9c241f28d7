//! Waiting for conditions, with a deadline.

use std::future::Future;
use std::time::Duration;

/// How long anything may take that a test waits for. Generous: the machine may be busy, and what is lost
/// last is repaired with a heartbeat, every 25 s.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// How long what should be immediate may take, also on a busy machine. Shorter than any repair: a subscription without
/// progress is asked for again after 10 s, and a heartbeat comes every 25 s, so that a wake-up that was lost does not
/// pass for one that came.
pub const SOON: Duration = Duration::from_secs(8);
/// How often a condition is looked at that nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for a future.
///
/// # Panics
/// When it takes longer than [`DEADLINE`]; `what` says what was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    at_most(DEADLINE, what, future).await
}

/// Waits for a future that nothing has to repair: links are up, and only a message is on its way.
///
/// # Panics
/// When it takes longer than [`SOON`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    at_most(SOON, what, future).await
}

async fn at_most<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("within {limit:?} this did not happen: {what}"),
    }
}

/// Waits for a condition that nothing announces, by looking again and again.
///
/// # Panics
/// When it takes longer than [`DEADLINE`].
pub async fn until(what: &str, holds: impl FnMut() -> bool) {
    within(what, look(holds)).await;
}

/// The same for what nothing has to repair.
///
/// # Panics
/// When it takes longer than [`SOON`].
pub async fn soon_until(what: &str, holds: impl FnMut() -> bool) {
    soon(what, look(holds)).await;
}

async fn look(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
