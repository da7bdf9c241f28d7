//! A node whose clock is off evaluates nothing.

use tidewire_core::wire::{ErrorCode, ServerKind};

use super::harness::*;
use crate::log::{BrokerRequest, RunId};

fn is_held(frames: &[ServerKind]) -> bool {
    matches!(frames, [ServerKind::Hold(hold)]
        if hold.code == ErrorCode::Overloaded as u32 && hold.retry_ms > 0)
}

#[test]
fn a_clock_that_is_off_either_way_holds_pushes_until_it_is_right() {
    for off in [-6_000_i64, 6_000, 400 * 24 * 3_600_000] {
        let mut harness = Harness::new();
        let ana = harness.join(1, 1);
        harness.push(&ana, 1, 1, put_items(0..1));
        ana.take();
        let head = harness.log.head();
        let right = harness.now.unix.0;
        harness.now.unix.0 = right.saturating_add_signed(off);
        harness.broker_ahead_ms = -off;
        harness.push(&ana, 2, 1, put_items(0..1));
        assert!(is_held(&ana.take()), "{off}");
        assert_eq!(harness.log.head(), head);
        let trouble = harness.channel.take_trouble();
        assert!(trouble.unwrap().contains("clock"));
        // Set right, without a restart.
        harness.now.unix.0 = right;
        harness.broker_ahead_ms = 0;
        harness.push(&ana, 2, 1, put_items(0..1));
        assert!(matches!(
            ana.take()[..],
            [ServerKind::Patch(_), ServerKind::Ack(_)]
        ));
    }
}

#[test]
fn the_brokers_clock_is_asked_once_more_before_a_push_is_held() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    // Both moved: the node's clock agrees with the broker's, only not with what that said before.
    harness.now.unix.0 += 3_600_000;
    harness.requests.clear();
    harness.push(&ana, 1, 1, put_items(0..1));
    assert!(matches!(
        harness.requests[..],
        [BrokerRequest::Read { .. }, BrokerRequest::Append { .. }]
    ));
    assert!(matches!(
        ana.take()[..],
        [ServerKind::Patch(_), ServerKind::Ack(_)]
    ));
}

#[test]
fn a_reading_of_the_brokers_clock_is_renewed_when_it_is_old() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.requests.clear();
    harness.push(&ana, 1, 1, put_items(0..1));
    assert_eq!(harness.requests.len(), 1);
    harness.pass(61_000);
    harness.broker_ahead_ms = 9_000;
    harness.requests.clear();
    ana.take();
    harness.push(&ana, 2, 1, put_items(0..1));
    assert!(matches!(harness.requests[..], [BrokerRequest::Read { .. }]));
    assert!(is_held(&ana.take()));
}

#[test]
fn one_nodes_clock_does_not_move_log_time_with_an_opening() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..1));
    let right = harness.now.unix.0;
    let off = 400 * 24 * 3_600_000;
    harness.now.unix.0 = right + off;
    harness.broker_ahead_ms = -(off as i64);
    harness.log.set_run(RunId(2));
    let ben = Client::new(2, 2);
    harness.subscribe(&ben, None, 0);
    assert!(
        matches!(ben.take()[0], ServerKind::SnapshotBegin(_)),
        "reading goes on"
    );
    assert_eq!(harness.log.entries().len(), 3);
    assert!(harness.log.entries().all(|entry| entry.ms == right));
    assert!(harness.log.head().epoch < (right + off - 1_577_836_800_000) << 11);
}
