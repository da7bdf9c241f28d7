//! What every broker has to do, as checks that anybody can run against a broker of one's own.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use tidewire_server::broker::{Broker, MemoryBroker, RunId, conformance};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! conformance::check(async || Arc::new(MemoryBroker::new(RunId(1))) as Arc<dyn Broker>).await;
//! # }
//! ```

mod fixture;
#[cfg(test)]
mod lies;
mod logs;
mod tidings;
mod whole;

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use self::fixture::Subject;
use super::Broker;

/// How long a check waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A rule that a broker breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule.
    pub rule: &'static str,
    /// What was seen instead.
    pub seen: String,
}

type Check = fn(Subject) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Names of checks and the checks themselves.
macro_rules! checks {
    ($($module:ident: $($name:ident),+;)+) => {
        const CHECKS: &[(&str, Check)] = &[
            $($((stringify!($name), |on| Box::pin(async move { $module::$name(&on).await }))),+),+
        ];
    };
}

checks! {
    logs:
        an_unused_channel_is_empty,
        what_was_appended_is_read_in_order,
        a_long_log_comes_in_parts_that_follow_each_other,
        answers_carry_the_brokers_clock,
        channels_do_not_see_each_other,
        reading_past_the_head_says_load_again,
        an_append_to_another_head_is_a_conflict,
        an_append_is_whole_or_nothing,
        only_the_present_run_appends_and_an_empty_log_starts_with_an_opening,
        a_snapshot_trims_the_log_and_is_loaded_with_the_rest,
        a_snapshot_never_trims_what_it_does_not_cover,
        snapshots_only_go_forward_on_the_same_line,
        parts_count_for_nothing_until_the_snapshot_is_put,
        a_snapshot_that_somebody_else_has_begun_takes_the_place_of_one_that_was_not_put,
        a_fully_trimmed_log_still_has_its_head,
        many_writers_of_many_channels_all_get_their_answer;
    tidings:
        a_watch_tells_of_what_others_append,
        everybody_who_watches_hears_of_an_append,
        a_pattern_hears_of_the_channels_that_it_matches,
        what_is_published_comes_once_to_everybody_in_order,
        what_was_published_before_a_watch_is_not_kept,
        letters_come_in_order_to_the_node_that_they_are_for,
        a_letter_to_a_node_that_never_was_is_not_kept,
        what_was_not_handled_comes_again_once_the_inbox_is_opened_anew,
        what_has_expired_is_not_delivered;
    whole:
        channels_are_listed_in_order_and_by_parts,
        a_broker_that_works_says_so,
        what_was_asked_before_the_end_is_answered_and_nothing_after_it;
}

/// Runs every check, each against a broker of its own: `open` gives one that is empty and that nothing else uses.
/// Needs a tokio runtime with its clock.
///
/// Returns the rules that it breaks.
pub async fn failures(open: impl AsyncFn() -> Arc<dyn Broker>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for &(rule, check) in CHECKS {
        let broker = open().await;
        // In a task of its own a panic is a result.
        let checked = tokio::spawn(async move { check(Subject::new(broker).await).await });
        if let Err(error) = checked.await {
            let seen = error.into_panic();
            let seen = said(seen.as_ref());
            failures.push(Failure { rule, seen });
        }
    }
    failures
}

/// The same, for a test.
///
/// Panics: with all rules that it breaks.
pub async fn check(open: impl AsyncFn() -> Arc<dyn Broker>) {
    let failures = failures(open).await;
    let lines = failures.iter().map(|failure| {
        let rule = failure.rule.replace('_', " ");
        format!("- {rule}: {}", failure.seen)
    });
    let lines: Vec<String> = lines.collect();
    assert!(
        lines.is_empty(),
        "this broker breaks {} of {} rules:\n{}",
        lines.len(),
        CHECKS.len(),
        lines.join("\n")
    );
}

/// The text of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a text").to_owned()
}

/// What has to happen, and is waited for.
async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, happens).await {
        Ok(happened) => happened,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{DiskBroker, MemoryBroker, RunId};

    #[tokio::test]
    async fn the_memory_broker_keeps_the_rules() {
        check(async || Arc::new(MemoryBroker::new(RunId(1))) as Arc<dyn Broker>).await;
    }

    #[tokio::test]
    async fn the_disk_broker_keeps_the_rules() {
        let directory = tempfile::tempdir().unwrap();
        let opened = std::cell::Cell::new(0);
        check(async || {
            opened.set(opened.get() + 1);
            let own = directory.path().join(opened.get().to_string());
            Arc::new(DiskBroker::open(&own, RunId(1)).unwrap()) as Arc<dyn Broker>
        })
        .await;
    }
}
