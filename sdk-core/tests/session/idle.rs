//! What an input costs: by the channels that it concerns, not by those that are open.

use crate::support::*;

const CHANNELS: u64 = 1_000;

/// Most looks at a channel that one input or command about one channel may take, with the turn's end.
const LOOKS_MAX: u64 = 12;

fn name(at: u64) -> String {
    format!("board:{at}")
}

/// Connected, with every channel live at seq 1.
fn crowded() -> (Driver, Vec<ChannelId>) {
    let mut d = Driver::idle(Config::default());
    d.connect();
    let mut ids = Vec::new();
    for at in 0..CHANNELS {
        ids.push(
            d.session
                .subscribe(d.now, name(at).parse().unwrap())
                .unwrap(),
        );
    }
    d.channel = ids[7];
    d.drain();
    for at in 0..CHANNELS {
        d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
            channel: name(at),
            cursor: Some(Cursor::new(5, 1, 11)),
            known: Some(Known::default()),
            head: Some(Cursor::new(5, 1, 11)),
            ..SnapshotBegin::default()
        }));
        d.receive(ServerKind::SnapshotEnd(SnapshotEnd {
            channel: name(at),
            records: 0,
            digest: digest(&[]),
            cursor: Some(Cursor::new(5, 1, 11)),
        }));
    }
    (d, ids)
}

/// How many looks at channels something takes.
fn looks(d: &mut Driver, act: impl FnOnce(&mut Driver)) -> u64 {
    let before = d.session.channel_visits();
    act(d);
    d.session.channel_visits() - before
}

#[test]
fn what_concerns_one_channel_of_a_thousand_looks_at_one() {
    let (mut d, ids) = crowded();
    assert!(
        ids.iter()
            .all(|id| d.session.status(*id) == Some(&ChannelStatus::Live))
    );
    let one_patch = |from, to, mids| {
        ServerKind::Patch(Patch {
            channel: name(7),
            ..patch(from, to, vec![put_op("a", "x")], mids)
        })
    };
    let count = looks(&mut d, |d| d.receive(one_patch(1, 2, vec![])));
    assert!(count <= LOOKS_MAX, "a patch: {count}");
    assert_eq!(d.title("a").unwrap(), "\"x\"");
    let count = looks(&mut d, |d| {
        d.mutate(ChangeKind::Put(card("b", "x")));
    });
    assert!(
        count <= LOOKS_MAX,
        "a mutation, its store and its push: {count}"
    );
    assert_eq!(d.pushes().len(), 1);
    let count = looks(&mut d, |d| d.receive(one_patch(2, 3, vec![mid(1)])));
    assert!(count <= LOOKS_MAX, "its patch: {count}");
    let count = looks(&mut d, |d| {
        d.receive(ServerKind::Heartbeat(Heartbeat {
            heads: vec![Head {
                channel: name(3),
                cursor: Some(Cursor::new(5, 1, 11)),
            }],
            server_ms: d.now.unix.0,
        }));
    });
    assert!(count <= LOOKS_MAX, "a heartbeat about one: {count}");
    let count = looks(&mut d, |d| d.advance(1));
    assert_eq!(count, 0, "a timer that is nobody's");
    let count = looks(&mut d, |d| {
        d.session.unsubscribe(d.now, ids[9]);
        d.drain();
    });
    assert!(count <= LOOKS_MAX, "one that is let go: {count}");
    assert_eq!(d.session.status(ids[9]), None);
}

#[test]
fn each_channel_is_still_woken_at_its_own_time() {
    let (mut d, ids) = crowded();
    for (late_ms, at) in [(0, 3_usize), (400, 5), (300, 4)] {
        d.advance(late_ms);
        d.receive(ServerKind::Heartbeat(Heartbeat {
            heads: vec![Head {
                channel: name(at as u64),
                cursor: Some(Cursor::new(5, 2, 12)),
            }],
            server_ms: d.now.unix.0,
        }));
    }
    d.take_frames();
    // A head ahead is a hole after two seconds.
    for (after_ms, at) in [(1_300, 3), (400, 5), (300, 4)] {
        let count = looks(&mut d, |d| d.advance(after_ms));
        assert!(count <= LOOKS_MAX, "{count}");
        assert_eq!(d.session.state(ids[at]), Some(ChannelState::Gap));
        assert_eq!(d.fetches().len(), 1);
    }
}

#[test]
fn the_bounds_of_the_outbox_count_over_all_channels() {
    let mut config = Config::default();
    config.outbox_rows_max = 3;
    let mut d = Driver::idle(config);
    let ids: Vec<ChannelId> = (0..4)
        .map(|at| {
            d.session
                .subscribe(d.now, name(at).parse().unwrap())
                .unwrap()
        })
        .collect();
    let mut made = Vec::new();
    for id in &ids {
        d.channel = *id;
        let change = Change {
            kind: Some(ChangeKind::Put(card("a", "x"))),
        };
        let result = d
            .session
            .mutate(d.now, *id, vec![change], MutateOptions::default());
        d.drain();
        made.push(result);
    }
    assert!(matches!(made[3], Err(MutateError::QueueFull { rows: 3 })));
    let first = *made[0].as_ref().unwrap();
    d.connect();
    d.channel = ids[0];
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: name(0),
        cursor: Some(Cursor::new(5, 1, 11)),
        known: Some(Known {
            last: 1,
            rejected: vec![],
            ..Known::default()
        }),
        head: Some(Cursor::new(5, 1, 11)),
        ..SnapshotBegin::default()
    }));
    d.receive(ServerKind::SnapshotEnd(SnapshotEnd {
        channel: name(0),
        records: 0,
        digest: digest(&[]),
        cursor: Some(Cursor::new(5, 1, 11)),
    }));
    assert_eq!(d.outcomes(first).last(), Some(&MutationStatus::Committed));
    d.channel = ids[3];
    d.mutate(ChangeKind::Put(card("a", "x")));
}
