//! Mutations: applied exactly once, in order, or rejected in the log.

use tidewire_core::wire::{ErrorCode, Known, ServerKind};

use super::harness::*;
use crate::channel::ChannelInput;

#[test]
fn a_push_becomes_an_entry_a_patch_and_an_ack() {
    let mut harness = Harness::new();
    let ana = Client::new(1, 1);
    harness.subscribe(&ana, None, 0);
    let mut replica = Replica::default();
    let frames = ana.take();
    assert!(
        matches!(&frames[0], ServerKind::SnapshotBegin(begin) if begin.known == Some(Known::default()))
    );
    replica.feed(&frames);
    assert_eq!(replica.cursor, harness.log.head());

    harness.push(&ana, 1, 1, vec![item(vec![put("x", "a", "2")])]);
    let frames = ana.take();
    assert!(matches!(&frames[1], ServerKind::Ack(ack) if ack.through == 1 && ack.seq == 2));
    assert!(matches!(&frames[0], ServerKind::Patch(patch) if patch.mids.len() == 1));
    replica.feed(&frames);
    assert_eq!(replica.document, harness.document());
    assert_eq!(replica.cursor, harness.log.head());
}

#[test]
fn a_duplicate_push_is_acked_once_and_logged_once() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let push = vec![item(vec![put("x", "a", "0")]), item(vec![inc("x", "a", 1)])];
    harness.push(&ana, 1, 1, push.clone());
    let head = harness.log.head();
    ana.take();
    harness.push(&ana, 1, 1, push);
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Ack(ack)] if ack.through == 2),
        "{frames:?}"
    );
    assert_eq!(harness.log.head(), head);
    assert_eq!(harness.field("x", "a").unwrap(), "1");
}

#[test]
fn a_push_without_the_grant_is_refused_item_by_item_and_not_logged() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..1));
    let head = harness.log.head();
    ana.take();
    let epoch = head.epoch;
    let mut push = tidewire_core::wire::Push {
        channel: CHANNEL.into(),
        epoch,
        first_n: 1,
        low: 1,
        items: put_items(0..3),
    };
    push.epoch = epoch;
    harness.input(ChannelInput::Push {
        subscriber: ana.subscriber.clone(),
        writable: false,
        push,
    });
    harness.run();
    let frames = ana.take();
    assert_eq!(frames.len(), 3);
    for (frame, n) in frames.iter().zip(2..=3) {
        assert!(
            matches!(frame, ServerKind::Error(e) if e.code == ErrorCode::Forbidden as u32 && e.n == Some(n) && !e.fatal)
        );
    }
    assert!(matches!(&frames[2], ServerKind::Ack(ack) if ack.through == 1));
    assert_eq!(harness.log.head(), head);
}
