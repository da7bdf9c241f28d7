//! The whole state in parts, and what it decides.

use crate::support::*;

#[test]
fn first_snapshot_makes_the_channel_live() {
    let mut d = Driver::start();
    assert_eq!(d.status(), &ChannelStatus::Loading);
    let subscribe = &d.subscribes()[0];
    assert_eq!((subscribe.have, subscribe.max_epoch), (None, 0));
    d.snapshot(at(1), &[card("a", "x")], 0, vec![]);
    assert_eq!(d.status(), &ChannelStatus::Live);
    assert_eq!(d.title("a").unwrap(), "\"x\"");
    assert!(d.events.contains(&Event::Recovered {
        channel: d.channel,
        recovery: Recovery::Snapshot
    }));
}

#[test]
fn half_a_snapshot_is_invisible() {
    let mut d = Driver::start();
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(at(1)),
        known: Some(Known::default()),
        head: Some(at(1)),
        ..SnapshotBegin::default()
    }));
    d.receive(ServerKind::SnapshotPart(SnapshotPart {
        channel: CHANNEL.into(),
        records: vec![card("a", "x")],
    }));
    assert_eq!(d.title("a"), None);
    assert_eq!(d.status(), &ChannelStatus::Loading);
}

#[test]
fn two_answers_with_one_snapshot_make_live_wait_for_the_higher_head() {
    for heads in [[1, 3, 1], [3, 1, 1], [1, 1, 3]] {
        let mut d = Driver::start();
        d.take_frames();
        for head in heads {
            d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
                channel: CHANNEL.into(),
                cursor: Some(at(1)),
                known: Some(Known::default()),
                head: Some(at(head)),
                ..SnapshotBegin::default()
            }));
        }
        d.receive(ServerKind::SnapshotEnd(SnapshotEnd {
            channel: CHANNEL.into(),
            records: 0,
            digest: digest(&[]),
            cursor: Some(at(1)),
        }));
        assert_eq!(d.status(), &ChannelStatus::Loading, "{heads:?}");
        d.patch(1, 3, vec![put_op("a", "3")], vec![]);
        assert_eq!(d.status(), &ChannelStatus::Live, "{heads:?}");
        assert!(d.subscribes().is_empty(), "{heads:?}");
    }
}

#[test]
fn a_damaged_snapshot_is_asked_for_again() {
    let mut d = Driver::start();
    d.take_frames();
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(at(1)),
        known: Some(Known::default()),
        head: Some(at(1)),
        ..SnapshotBegin::default()
    }));
    d.receive(ServerKind::SnapshotEnd(SnapshotEnd {
        channel: CHANNEL.into(),
        records: 0,
        digest: 1,
        cursor: None,
    }));
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_snapshot_without_the_table_row_ends_the_link() {
    let mut d = Driver::start();
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(at(1)),
        known: None,
        head: Some(at(1)),
        ..SnapshotBegin::default()
    }));
    assert!(d.closed);
}

#[test]
fn a_snapshot_decides_what_its_table_row_covers() {
    let mut d = Driver::live();
    let good = d.mutate(ChangeKind::Put(card("a", "x")));
    let bad = d.mutate(ChangeKind::Put(card("b", "x")));
    let open = d.mutate(ChangeKind::Put(card("c", "x")));
    d.reconnect();
    d.take_frames();
    let refused = Rejected {
        n: 2,
        code: ErrorCode::Refused as u32,
        detail: "no".into(),
    };
    d.snapshot(at(9), &[card("a", "x")], 2, vec![refused]);
    assert_eq!(d.outcomes(good).last(), Some(&MutationStatus::Committed));
    assert_eq!(d.outcomes(bad).last().unwrap().name(), "rejected");
    assert_eq!(d.title("b"), None);
    assert!(!d.outcomes(open).last().unwrap().is_terminal());
    assert_eq!(d.pushes()[0].first_n, 3);
}

#[test]
fn of_what_a_table_row_has_forgotten_nobody_knows_how_it_ended() {
    let mut d = Driver::live();
    let refused = d.mutate(ChangeKind::Put(card("a", "x")));
    let forgotten = d.mutate(ChangeKind::Put(card("b", "x")));
    let options = MutateOptions {
        after: Some(forgotten),
        ..MutateOptions::default()
    };
    let good = d.mutate(ChangeKind::Put(card("c", "x")));
    d.cut();
    let dependent = d.mutate_with(ChangeKind::Put(card("d", "x")), options);
    d.reconnect();
    let known = Known {
        last: 3,
        low: 3,
        rejected: vec![Rejected {
            n: 1,
            code: ErrorCode::Refused as u32,
            detail: "no".into(),
        }],
        ..Known::default()
    };
    d.snapshot_with(at(9), &[card("c", "x")], known);
    assert_eq!(d.outcomes(refused).last().unwrap().name(), "rejected");
    assert_eq!(
        d.outcomes(forgotten).last(),
        Some(&MutationStatus::Indeterminate)
    );
    assert_eq!(d.title("b"), None);
    assert_eq!(d.outcomes(good).last(), Some(&MutationStatus::Committed));
    assert_eq!(d.told(dependent).last(), Some(&"rejected"));
}

#[test]
fn a_vanished_log_is_told_and_its_commits_are_lost() {
    let mut d = Driver::live();
    let kept = d.mutate(ChangeKind::Put(card("a", "x")));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    let pending = d.mutate(ChangeKind::Put(card("b", "x")));
    d.reconnect();
    assert_eq!(d.subscribes()[0].max_epoch, 5);
    d.snapshot(Cursor::new(6, 1, 77), &[], 0, vec![]);
    assert_eq!(d.outcomes(kept).last(), Some(&MutationStatus::Lost));
    assert_eq!(d.title("a"), None);
    assert_eq!(d.title("b").unwrap(), "\"x\"");
    assert!(d.events.contains(&Event::HistoryLost {
        channel: d.channel,
        from: at(2),
        to: Cursor::new(6, 1, 77)
    }));
    let push = d.pushes().remove(0);
    assert_eq!((push.first_n, push.low, push.epoch), (2, 2, 6));
    assert!(!d.outcomes(pending).last().unwrap().is_terminal());
}

fn begin(cursor: Cursor) -> ServerKind {
    ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(cursor),
        known: Some(Known::default()),
        head: Some(cursor),
        ..SnapshotBegin::default()
    })
}

fn part(id: &str) -> ServerKind {
    ServerKind::SnapshotPart(SnapshotPart {
        channel: CHANNEL.into(),
        records: vec![card(id, "x")],
    })
}

fn end(cursor: Cursor, ids: &[&str]) -> ServerKind {
    let records: Vec<Record> = ids.iter().map(|id| card(id, "x")).collect();
    ServerKind::SnapshotEnd(SnapshotEnd {
        channel: CHANNEL.into(),
        records: records.len() as u64,
        digest: digest(&records),
        cursor: Some(cursor),
    })
}

/// A server may hand out a snapshot that it made a while ago: the patches after it are part of the answer.
#[test]
fn a_snapshot_below_its_head_is_no_view_until_the_patches_are_there() {
    let mut d = Driver::start();
    let ServerKind::SnapshotBegin(older) = begin(at(1)) else {
        unreachable!()
    };
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        head: Some(at(3)),
        ..older
    }));
    d.receive(part("a"));
    d.receive(end(at(1), &["a"]));
    d.patch(1, 2, vec![put_op("b", "x")], vec![]);
    assert_eq!(d.session.state(d.channel), Some(ChannelState::CatchingUp));
    assert_eq!(d.status(), &ChannelStatus::Loading);
    let came = |d: &Driver| {
        d.events
            .iter()
            .any(|e| matches!(e, Event::Recovered { .. }))
    };
    assert!(!came(&d));
    d.patch(2, 3, vec![put_op("c", "x")], vec![]);
    assert_eq!(d.status(), &ChannelStatus::Live);
    assert!(came(&d));
}

/// Once there was a view it stays to be shown, as an old one.
#[test]
fn a_snapshot_below_its_head_makes_a_view_stale_and_its_patches_may_be_lost() {
    let mut d = Driver::live();
    d.lagged();
    let ServerKind::SnapshotBegin(older) = begin(at(4)) else {
        unreachable!()
    };
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        head: Some(at(6)),
        ..older
    }));
    d.receive(part("a"));
    d.receive(end(at(4), &["a"]));
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.take_frames();
    d.advance(10_000);
    assert_eq!(
        d.subscribes()[0].have,
        Some(at(4)),
        "asked for what is missing"
    );
    d.resume(at(4), at(6), 0);
    d.patch(4, 6, vec![put_op("b", "x")], vec![]);
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn copies_and_disorder_inside_a_snapshot_do_no_harm() {
    let mut d = Driver::start();
    for frame in [
        begin(at(1)),
        part("a"),
        begin(at(1)),
        end(at(1), &["a", "b"]),
        part("a"),
        part("b"),
        end(at(1), &["a", "b"]),
        begin(at(1)),
    ] {
        d.receive(frame);
    }
    assert_eq!(d.status(), &ChannelStatus::Live);
    assert_eq!(d.session.ids(d.channel, "cards").len(), 2);
}

#[test]
fn a_lost_part_is_missed_soon_after_the_end() {
    let mut d = Driver::start();
    d.take_frames();
    d.receive(begin(at(1)));
    d.receive(part("a"));
    d.receive(end(at(1), &["a", "b"]));
    assert!(d.subscribes().is_empty());
    d.advance(2_000);
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_lost_end_is_missed_after_a_while_and_copies_are_no_progress() {
    let mut d = Driver::start();
    d.take_frames();
    d.receive(begin(at(1)));
    d.receive(part("a"));
    for _ in 0..9 {
        d.advance(1_000);
        d.receive(part("a"));
    }
    d.advance(1_000);
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_newer_snapshot_takes_the_place_of_one_that_arrives() {
    let mut d = Driver::start();
    d.receive(begin(at(1)));
    d.receive(part("a"));
    d.receive(begin(at(5)));
    d.receive(begin(at(1)));
    d.receive(part("b"));
    d.receive(end(at(1), &["b"]));
    assert_eq!(d.status(), &ChannelStatus::Loading, "the end of another");
    d.receive(end(at(5), &["b"]));
    assert_eq!(d.session.cursor(d.channel), Some(at(5)));
    assert_eq!(d.session.ids(d.channel, "cards").len(), 1);
}

#[test]
fn patches_that_arrive_inside_a_snapshot_are_applied_after_it() {
    let mut d = Driver::start();
    d.receive(begin(at(5)));
    d.patch(5, 6, vec![put_op("c", "new")], vec![]);
    d.patch(4, 5, vec![put_op("a", "old")], vec![]);
    d.receive(part("a"));
    d.receive(end(at(5), &["a"]));
    assert_eq!(d.session.cursor(d.channel), Some(at(6)));
    assert_eq!(d.title("a").unwrap(), "\"x\"");
    assert_eq!(d.title("c").unwrap(), "\"new\"");
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn three_snapshots_that_do_not_arrive_are_told_and_slowed_down() {
    let mut d = Driver::start();
    d.take_frames();
    let mut asked = 0;
    for seq in 1..=8 {
        d.receive(begin(at(seq)));
        d.receive(ServerKind::SnapshotEnd(SnapshotEnd {
            channel: CHANNEL.into(),
            records: 0,
            digest: 1,
            cursor: None,
        }));
        if d.session.state(d.channel) == Some(ChannelState::Backoff) {
            d.wake();
        }
        asked += d.subscribes().len();
    }
    assert!(asked <= 9);
    let told = d.events.iter().filter(|event| {
        matches!(
            event,
            Event::Warning {
                code: ErrorCode::RecoveryRequired,
                ..
            }
        )
    });
    assert_eq!(told.count(), 2);
}

#[test]
fn a_channel_let_go_stays_until_the_store_has_every_outcome() {
    let mut d = Driver::live();
    let kept = d.mutate(ChangeKind::Put(card("a", "x")));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    d.reconnect();
    d.waiting = Some(Vec::new());
    d.snapshot(Cursor::new(6, 1, 77), &[], 0, vec![]);
    assert_eq!(d.outcomes(kept).last(), Some(&MutationStatus::Committed));
    d.session.unsubscribe(d.now, d.channel);
    d.drain();
    // The same name again: had the channel closed, the outcome would reach one that never had it.
    let again = d.session.subscribe(d.now, CHANNEL.parse().unwrap());
    assert_eq!(again, Ok(d.channel));
    d.session.unsubscribe(d.now, d.channel);
    d.store_catches_up();
    assert_eq!(d.outcomes(kept).last(), Some(&MutationStatus::Lost));
    assert!(d.session.status(d.channel).is_none());
    assert!(matches!(
        d.take_frames()[..],
        [.., ClientKind::Unsubscribe(_)]
    ));
}

/// As long as the store has not judged, nobody knows that it is lost.
#[test]
fn what_comes_after_a_mutation_that_is_lost_only_later_goes_on() {
    let mut d = Driver::live();
    let kept = d.mutate(ChangeKind::Put(card("a", "x")));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    d.reconnect();
    d.waiting = Some(Vec::new());
    d.snapshot(Cursor::new(6, 1, 77), &[], 0, vec![]);
    assert_eq!(d.told(kept).last(), Some(&"committed"), "not stored yet");
    let after = MutateOptions {
        after: Some(kept),
        ..MutateOptions::default()
    };
    let dependent = d.mutate_with(ChangeKind::Put(card("b", "x")), after);
    d.store_catches_up();
    assert_eq!(d.told(kept).last(), Some(&"lost"));
    assert_eq!(d.title("b").unwrap(), "\"x\"");
    assert_eq!(d.told(dependent).last(), Some(&"attempted"));
}
