//! Slow readers: what each policy does, and that nobody else notices.

use tidewire_core::wire::{ErrorCode, ServerKind};

use super::harness::*;
use crate::channel::{ChannelConfig, ChannelInput, Lag};

fn with(lag: Lag) -> (Harness, Client, Client, Replica) {
    let mut harness = Harness::with(ChannelConfig {
        lag,
        history: 30,
        snapshot_entries: 10,
        ..ChannelConfig::default()
    });
    let fast = harness.join(1, 1);
    let slow = Client::new(2, 2);
    harness.subscribe(&slow, None, 0);
    let mut replica = Replica::default();
    replica.feed(&slow.take());
    slow.inbox.set_room(0);
    (harness, fast, slow, replica)
}

fn drain(harness: &mut Harness, client: &Client, room: usize) {
    client.inbox.set_room(room);
    harness.input(ChannelInput::Drained {
        conn: client.subscriber.conn,
    });
    harness.run();
}

#[test]
fn a_full_queue_alone_is_no_lag_under_any_policy() {
    for lag in [Lag::Resync, Lag::Conflate, Lag::Close] {
        let (mut harness, fast, slow, mut replica) = with(lag);
        for n in 1..=30 {
            harness.push(&fast, n, n, put_items(n..n + 1));
        }
        drain(&mut harness, &slow, usize::MAX);
        replica.feed(&slow.take());
        assert_eq!(replica.document, harness.document());
        harness.push(&fast, 31, 31, put_items(31..32));
        replica.feed(&slow.take());
        assert_eq!(replica.cursor, harness.log.head());
        assert!(harness.closed.is_empty());
    }
}

#[test]
fn resync_says_lagged_once_and_is_silent_until_the_next_subscribe() {
    let (mut harness, fast, slow, mut replica) = with(Lag::Resync);
    for n in 1..=50 {
        harness.push(&fast, n, n, put_items(n..n + 1));
    }
    assert_eq!(fast.take().len(), 100);
    drain(&mut harness, &slow, usize::MAX);
    assert!(matches!(&slow.take()[..], [ServerKind::Lagged(_)]));
    harness.push(&fast, 51, 51, put_items(51..52));
    assert!(slow.take().is_empty());
    harness.subscribe(&slow, Some(replica.cursor), 0);
    let frames = slow.take();
    assert!(matches!(&frames[0], ServerKind::SnapshotBegin(_)));
    replica.feed(&frames);
    harness.push(&fast, 52, 52, put_items(52..53));
    replica.feed(&slow.take());
    assert_eq!(replica.cursor, harness.log.head());
    assert_eq!(replica.document.len(), 53);
}

#[test]
fn one_turn_larger_than_the_history_in_memory_reaches_every_live_reader() {
    let mut harness = Harness::with(ChannelConfig {
        lag: Lag::Close,
        history: 3,
        snapshot_entries: 4,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    let ben = harness.join(2, 2);
    harness.push(&ana, 1, 1, put_items(0..100));
    assert!(matches!(&ben.take()[..], [ServerKind::Patch(patch)] if patch.mids.len() == 100));
    assert!(harness.closed.is_empty());
}

#[test]
fn conflate_catches_up_in_one_squashed_patch() {
    let (mut harness, fast, slow, mut replica) = with(Lag::Conflate);
    for n in 1..=20 {
        harness.push(&fast, n, n, vec![item(vec![put("x", "v", &n.to_string())])]);
    }
    drain(&mut harness, &slow, usize::MAX);
    let frames = slow.take();
    let [ServerKind::Patch(patch)] = &frames[..] else {
        panic!("{frames:?}");
    };
    assert_eq!((patch.ops.len(), patch.mids.len()), (1, 20));
    replica.feed(&frames);
    assert_eq!(
        replica
            .document
            .record("cards", "x")
            .unwrap()
            .field("v")
            .unwrap(),
        b"20"
    );
    assert_eq!(replica.cursor, harness.log.head());
}

#[test]
fn conflate_says_lagged_when_the_log_in_memory_moved_on() {
    let (mut harness, fast, slow, _) = with(Lag::Conflate);
    for n in 1..=60 {
        harness.push(&fast, n, n, put_items(n..n + 1));
    }
    drain(&mut harness, &slow, usize::MAX);
    assert!(matches!(&slow.take()[..], [ServerKind::Lagged(_)]));
}

#[test]
fn close_ends_the_slow_connection_and_no_other() {
    let (mut harness, fast, slow, _) = with(Lag::Close);
    for n in 1..=60 {
        harness.push(&fast, n, n, put_items(n..n + 1));
    }
    let code = ErrorCode::SlowConsumer;
    assert_eq!(harness.closed, [(slow.subscriber.conn, code)]);
    assert_eq!(fast.take().len(), 120);
}

#[test]
fn a_slow_snapshot_reader_is_not_lagging_and_gets_what_came_meanwhile() {
    let mut harness = Harness::new();
    let fast = harness.join(1, 1);
    let text = format!("\"{}\"", "x".repeat(30_000));
    for n in 1..=10 {
        harness.push(
            &fast,
            n,
            n,
            vec![item(vec![put(&format!("r{n}"), "t", &text)])],
        );
    }
    let slow = Client::new(2, 2);
    slow.inbox.set_room(2);
    harness.subscribe(&slow, None, 0);
    let mut replica = Replica::default();
    for n in 11..=14 {
        harness.push(
            &fast,
            n,
            n,
            vec![item(vec![put("late", "n", &n.to_string())])],
        );
        replica.feed(&slow.take());
        drain(&mut harness, &slow, 1);
    }
    drain(&mut harness, &slow, usize::MAX);
    replica.feed(&slow.take());
    assert_eq!(replica.document, harness.document());
    assert_eq!(replica.cursor, harness.log.head());
    assert!(harness.closed.is_empty());
}

#[test]
fn a_long_replay_comes_in_pieces_as_there_is_room() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let mut replica = Replica::default();
    harness.subscribe(&ana, None, 0);
    replica.feed(&ana.take());
    let text = format!("\"{}\"", "x".repeat(20_000));
    for n in 1..=30 {
        harness.push(
            &ana,
            n,
            n,
            vec![item(vec![put(&format!("r{n}"), "t", &text)])],
        );
    }
    let slow = Client::new(2, 2);
    slow.inbox.set_room(1);
    harness.subscribe(&slow, Some(replica.cursor), 0);
    let mut pieces = 0;
    for _ in 0..100 {
        let frames = slow.take();
        pieces += frames.len();
        replica.feed(&frames);
        drain(&mut harness, &slow, 1);
    }
    assert!((8..=20).contains(&pieces), "{pieces}");
    assert_eq!(replica.document, harness.document());
}

#[test]
fn answers_wait_for_room_in_order_and_pile_up_to_a_limit() {
    let (mut harness, _, slow, _) = with(Lag::Resync);
    harness.push(&slow, 5, 1, put_items(0..1));
    harness.push(&slow, 5, 3, put_items(0..1));
    drain(&mut harness, &slow, usize::MAX);
    let frames = slow.take();
    assert!(
        matches!(&frames[..], [ServerKind::Need(a), ServerKind::Need(b)] if a.n == 1 && b.n == 3),
        "{frames:?}"
    );
    slow.inbox.set_room(0);
    for _ in 0..3_000 {
        harness.push(&slow, 5, 3, put_items(0..1));
    }
    let code = ErrorCode::BackpressureOverflow;
    assert_eq!(harness.closed.first(), Some(&(slow.subscriber.conn, code)));
}
