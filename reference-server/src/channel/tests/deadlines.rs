//! Deadlines, dependencies, and the life of table rows.

use std::time::Duration;

use tidewire_core::wire::{ErrorCode, Item, ServerKind};

use super::harness::*;
use crate::channel::{Author, ChannelConfig};
use crate::log::EntryBody;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn until(deadline_ms: u64) -> Item {
    Item {
        deadline_ms,
        ..item(vec![put("x", "v", "1")])
    }
}

fn after(n: u64) -> Item {
    Item {
        after: n,
        ..item(vec![put("y", "v", "1")])
    }
}

/// Codes of the mutations in all patches, 0 = committed.
fn codes(frames: &[ServerKind]) -> Vec<u32> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            ServerKind::Patch(patch) => Some(patch.mids.iter().map(|mid| mid.code)),
            _ => None,
        })
        .flatten()
        .collect()
}

fn refused(frames: &[ServerKind]) -> Vec<(u32, Option<u64>)> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            ServerKind::Error(error) => Some((error.code, error.n)),
            _ => None,
        })
        .collect()
}

fn deadline_of_head(harness: &Harness) -> u64 {
    match harness.log.entries().last().unwrap().body {
        EntryBody::Mutation { deadline_ms, .. } => deadline_ms,
        _ => panic!("not a mutation"),
    }
}

fn rows(harness: &Harness) -> Vec<Author> {
    harness
        .fold()
        .seen()
        .table
        .into_iter()
        .map(|(author, _)| author)
        .collect()
}

#[test]
fn a_mutation_is_judged_by_its_deadline_at_evaluation() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let now = harness.now.unix.0;
    harness.push(&ana, 1, 1, vec![until(now - 1), until(now), until(now + 1)]);
    assert_eq!(codes(&ana.take()), [ErrorCode::Expired as u32, 0, 0]);
    harness.pass(2);
    harness.push(&ana, 4, 4, vec![until(now + 1)]);
    let frames = ana.take();
    assert_eq!(codes(&frames), [ErrorCode::Expired as u32]);
    assert!(ops_of(&frames).is_empty());
    // An entry's deadline is what it was judged by.
    assert_eq!(deadline_of_head(&harness), now + 1);
}

#[test]
fn log_time_judges_also_when_this_nodes_clock_is_behind_it() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..1));
    let log_time = harness.now.unix.0;
    let mut next = Harness::over(harness.log.clone(), ChannelConfig::default());
    next.now.unix.0 -= 4_000;
    let ben = next.join(2, 2);
    next.push(&ben, 1, 1, vec![until(log_time - 1), until(log_time)]);
    assert_eq!(codes(&ben.take()), [ErrorCode::Expired as u32, 0]);
    assert!(next.log.entries().all(|entry| entry.ms <= log_time));
}

#[test]
fn a_far_deadline_is_cut_and_a_missing_one_is_the_longest() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let now = harness.now.unix.0;
    for (n, asked) in [(1, 0), (2, u64::MAX), (3, now + 8 * DAY_MS)] {
        harness.push(&ana, n, 1, vec![until(asked)]);
        assert_eq!(deadline_of_head(&harness), now + 7 * DAY_MS);
    }
    harness.push(&ana, 4, 1, vec![until(now + 6 * DAY_MS)]);
    assert_eq!(deadline_of_head(&harness), now + 6 * DAY_MS);
}

#[test]
fn a_no_op_has_no_deadline_and_depends_on_nothing() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let noop = Item {
        noop: true,
        deadline_ms: harness.now.unix.0 - 1,
        ..Item::default()
    };
    harness.push(&ana, 1, 1, vec![item(vec![set("absent", "v", "1")])]);
    harness.push(&ana, 2, 1, vec![Item { after: 1, ..noop }]);
    assert_eq!(codes(&ana.take()), [ErrorCode::NotFound as u32, 0]);
}

#[test]
fn a_mutation_fails_with_the_one_that_it_depends_on() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let items = vec![
        item(vec![set("absent", "v", "1")]),
        after(1),
        after(2),
        item(vec![put("x", "v", "1")]),
        after(4),
        after(6),
        after(u64::MAX),
    ];
    harness.push(&ana, 1, 1, items);
    let failed = ErrorCode::DepFailed as u32;
    let invalid = ErrorCode::Invalid as u32;
    let not_found = ErrorCode::NotFound as u32;
    assert_eq!(
        codes(&ana.take()),
        [not_found, failed, failed, 0, 0, invalid, invalid]
    );
    // Another author's numbers mean nothing.
    let ben = harness.join(2, 2);
    harness.push(&ben, 1, 1, put_items(0..1));
    harness.push(&ben, 2, 1, vec![after(1)]);
    assert_eq!(codes(&ben.take()), [0, 0]);
}

#[test]
fn what_comes_after_a_rejection_that_low_has_passed_is_not_applied() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, vec![item(vec![set("absent", "v", "1")])]);
    // Whoever has lost a number closes the gap by `low`, past what a later row may come after.
    harness.push(&ana, 2, 2, put_items(0..1));
    harness.push(&ana, 3, 2, vec![after(1), after(2)]);
    let codes = codes(&ana.take());
    assert_eq!(codes[2..], [ErrorCode::DepFailed as u32, 0]);
}

#[test]
fn a_row_is_evicted_by_log_time_and_then_too_old_pushes_are_refused() {
    let mut harness = Harness::new();
    let (ana, ben) = (harness.join(1, 1), harness.join(2, 2));
    let start = harness.now.unix.0;
    harness.push(&ana, 1, 1, vec![until(start + DAY_MS)]);
    harness.push(&ben, 1, 1, put_items(0..1));
    assert_eq!(rows(&harness).len(), 2);

    // 31 days later to the millisecond: still there. Time alone evicts nothing, an entry does.
    harness.pass(31 * DAY_MS);
    harness.push(&ben, 2, 2, put_items(1..2));
    assert_eq!(rows(&harness).len(), 2);
    harness.pass(1);
    assert_eq!(rows(&harness).len(), 2);
    ana.take();
    harness.push(&ana, 1, 1, vec![until(start + DAY_MS)]);
    assert!(matches!(&ana.take()[..], [ServerKind::Ack(ack)] if ack.through == 1));
    harness.push(&ben, 3, 3, put_items(2..3));
    assert_eq!(rows(&harness), [ben.subscriber.author]);

    // The same push again: nobody knows the number any more, so it is never appended.
    ana.take();
    let head = harness.log.head();
    let items = vec![until(start + DAY_MS), until(start + 2 * DAY_MS)];
    harness.push(&ana, 1, 1, items);
    let frames = ana.take();
    assert_eq!(refused(&frames), [(ErrorCode::Expired as u32, Some(1))]);
    assert!(matches!(frames.last(), Some(ServerKind::Need(need)) if need.n == 1));
    assert_eq!(harness.log.head(), head);
    // With `low` past it the stream goes on: that one is only expired.
    harness.push(&ana, 2, 2, vec![until(start + 2 * DAY_MS)]);
    assert_eq!(codes(&ana.take()), [ErrorCode::Expired as u32]);
}

#[test]
fn a_row_that_the_turn_itself_evicts_is_gone_for_the_rest_of_the_turn() {
    let config = || ChannelConfig {
        ttl_max: Duration::from_millis(100),
        retention: Duration::from_millis(1_000),
        ..ChannelConfig::default()
    };
    let mut harness = Harness::with(config());
    let (ana, ben) = (harness.join(1, 1), harness.join(2, 2));
    harness.push(&ana, 1, 1, put_items(0..5));
    harness.push(&ben, 1, 1, put_items(0..1));
    harness.pass(1_101);
    ana.take();
    harness.enqueue(&ben, 2, 2, put_items(0..1));
    harness.enqueue(&ana, 6, 4, put_items(0..1));
    harness.run();
    // Ben's entry moved log time past Ana's retention: her numbers are counted anew from `low`.
    let frames = ana.take();
    assert!(
        frames
            .iter()
            .any(|frame| matches!(frame, ServerKind::Need(need) if need.n == 4)),
        "{frames:?}"
    );
    harness.push(&ana, 4, 4, put_items(0..3));
    // Another node that folds the log has the same table.
    let mut next = Harness::over(harness.log.clone(), config());
    next.join(9, 9);
    assert_eq!(next.fold().seen().table, harness.fold().seen().table);
}

#[test]
fn openings_and_deletions_move_log_time_too() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..1));
    harness.pass(40 * DAY_MS);
    harness.log.set_run(crate::log::RunId(2));
    harness.join(2, 2);
    assert_eq!(rows(&harness), []);
}
