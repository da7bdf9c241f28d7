//! `fetch`: a range of the log beside the stream.

use tidewire_core::wire::{Patch, ServerKind};

use super::harness::*;
use crate::channel::{ChannelConfig, ChannelInput};
use crate::log::RunId;

fn fetch(harness: &mut Harness, client: &Client, epoch: u64, after: u64, through: u64) {
    harness.input(ChannelInput::Fetch {
        conn: client.subscriber.conn,
        epoch,
        after,
        through,
    });
    harness.run();
}

fn patches(client: &Client) -> Vec<Patch> {
    let frames = client.take();
    let patches = frames.into_iter().map(|frame| match frame {
        ServerKind::Patch(patch) => patch,
        other => panic!("{other:?}"),
    });
    patches.collect()
}

#[test]
fn a_range_is_answered_with_patches_that_lead_through_it() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    for n in 1..=9 {
        harness.push(&ana, n, n, put_items(n..n + 1));
    }
    ana.take();
    let epoch = harness.log.head().epoch;
    let tag = |seq: u64| {
        harness
            .log
            .entries()
            .nth(seq as usize - 1)
            .unwrap()
            .cursor
            .tag
    };
    let (from_tag, to_tag) = (tag(4), tag(7));
    fetch(&mut harness, &ana, epoch, 4, 7);
    let got = patches(&ana);
    let [patch] = &got[..] else {
        panic!("{got:?}");
    };
    assert_eq!((patch.epoch, patch.from, patch.to), (epoch, 4, 7));
    assert_eq!((patch.from_tag, patch.to_tag), (from_tag, to_tag));
    assert_eq!((patch.ops.len(), patch.mids.len()), (3, 3));
    // Beyond the head there is nothing more to say.
    fetch(&mut harness, &ana, epoch, 8, u64::MAX);
    assert_eq!(patches(&ana).last().unwrap().to, 10);
    fetch(&mut harness, &ana, epoch, 10, u64::MAX);
    fetch(&mut harness, &ana, epoch, 7, 3);
    assert_eq!(patches(&ana), []);
}

#[test]
fn a_range_beyond_the_head_leaves_the_stream_alone() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(1..2));
    ana.take();
    let head = harness.log.head();
    for after in [head.seq, head.seq + 1, u64::MAX] {
        fetch(&mut harness, &ana, head.epoch, after, u64::MAX);
    }
    assert_eq!(patches(&ana), []);
    harness.push(&ana, 2, 2, put_items(2..3));
    assert!(matches!(
        &ana.take()[..],
        [ServerKind::Patch(_), ServerKind::Ack(_)]
    ));
}

#[test]
fn a_range_that_is_not_in_memory_or_of_another_epoch_is_lagged() {
    let mut harness = Harness::with(ChannelConfig {
        history: 3,
        snapshot_entries: 3,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    for n in 1..=20 {
        harness.push(&ana, n, n, put_items(n..n + 1));
    }
    let epoch = harness.log.head().epoch;
    for (epoch, after) in [(epoch, 2), (epoch - 1, 19), (epoch + 1, 19)] {
        ana.take();
        fetch(&mut harness, &ana, epoch, after, 21);
        assert!(matches!(&ana.take()[..], [ServerKind::Lagged(_)]));
        // The stream is over until it subscribes again; another fetch says nothing.
        fetch(&mut harness, &ana, epoch, after, 21);
        assert_eq!(ana.take(), []);
        harness.subscribe(&ana, Some(harness.log.head()), 0);
    }
}

#[test]
fn a_long_range_comes_in_parts_as_there_is_room_and_beside_the_stream() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let large = format!("\"{}\"", "x".repeat(40_000));
    for n in 1..=6 {
        let change = put(&format!("r{n}"), "v", &large);
        harness.push(&ana, n, n, vec![item(vec![change])]);
    }
    ana.take();
    let epoch = harness.log.head().epoch;
    ana.inbox.set_room(2);
    fetch(&mut harness, &ana, epoch, 1, 7);
    assert_eq!(patches(&ana).len(), 2);
    harness.push(&ana, 7, 7, put_items(0..1));
    ana.inbox.set_room(usize::MAX);
    let conn = ana.subscriber.conn;
    harness.input(ChannelInput::Drained { conn });
    harness.run();
    let frames = ana.take();
    let reached: Vec<u64> = frames
        .iter()
        .filter_map(|frame| match frame {
            ServerKind::Patch(patch) => Some(patch.to),
            _ => None,
        })
        .collect();
    assert_eq!(
        reached.iter().filter(|to| **to == 7).count(),
        1,
        "{reached:?}"
    );
    assert_eq!(
        reached.iter().filter(|to| **to == 8).count(),
        1,
        "{reached:?}"
    );
}

#[test]
fn one_fetch_is_bounded_in_bytes() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let large = format!("\"{}\"", "x".repeat(50_000));
    for n in 1..=40 {
        let change = put(&format!("r{}", n % 3), "v", &large);
        harness.push(&ana, n, n, vec![item(vec![change])]);
    }
    ana.take();
    let epoch = harness.log.head().epoch;
    fetch(&mut harness, &ana, epoch, 1, u64::MAX);
    let reached = patches(&ana).last().unwrap().to;
    assert!((15..30).contains(&reached), "{reached}");
    fetch(&mut harness, &ana, epoch, reached, u64::MAX);
    assert_eq!(patches(&ana).last().unwrap().to, 41);
}

#[test]
fn a_range_of_a_log_that_was_lost_is_never_continued_with_another_log() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..3));
    ana.take();
    ana.inbox.set_room(0);
    // From the beginning, which every line shares.
    let epoch = harness.log.head().epoch;
    fetch(&mut harness, &ana, epoch, 0, u64::MAX);
    harness.pass(1000);
    let mut other = Harness::new();
    other.now = harness.now;
    other.join(2, 2);
    harness.log = other.log;
    harness.log.set_run(RunId(2));
    harness.input(ChannelInput::Woken);
    harness.run();
    ana.inbox.set_room(usize::MAX);
    let conn = ana.subscriber.conn;
    harness.input(ChannelInput::Drained { conn });
    harness.run();
    assert!(matches!(&ana.take()[..], [ServerKind::Lagged(_)]));
}

#[test]
fn who_has_not_subscribed_gets_no_range() {
    let mut harness = Harness::new();
    harness.join(1, 1);
    let ben = Client::new(2, 2);
    let epoch = harness.log.head().epoch;
    fetch(&mut harness, &ben, epoch, 1, 2);
    assert_eq!(ben.take(), []);
}
