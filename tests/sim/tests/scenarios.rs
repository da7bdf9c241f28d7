//! One disturbance each, in a calm world, under all checkers.

#[path = "scenarios/moves.rs"]
mod moves;
#[path = "scenarios/networks.rs"]
mod networks;

use std::time::Duration;

use tidewire_core::wire::{ChangeKind, ErrorCode, Field, Record, RecordRef};
use tidewire_core::{ConnectionPhase, Event, MutationStatus, Recovery};
use tidewire_server::channel::Lag;
use tidewire_sim::faults::Fault;
use tidewire_sim::link::Way;
use tidewire_sim::scene::Scene;
use tidewire_sim::shape::Shape;

fn set_note(id: &str, note: &str) -> ChangeKind {
    ChangeKind::Set(Record {
        collection: "cards".into(),
        id: id.into(),
        fields: vec![Field {
            name: "note".into(),
            value: format!("\"{note}\"").into(),
            ..Field::default()
        }],
        ..Record::default()
    })
}

fn recoveries(events: &[Event]) -> Vec<Recovery> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Recovered { recovery, .. } => Some(*recovery),
            _ => None,
        })
        .collect()
}

fn is_history_lost(events: &[Event]) -> bool {
    events
        .iter()
        .any(|e| matches!(e, Event::HistoryLost { .. }))
}

#[test]
fn a_link_cut_at_any_moment_of_a_push_applies_it_once() {
    for seed in 0..40 {
        let mut scene = Scene::new(seed, Shape::calm());
        let before = scene.log_len();
        scene.add(0, 1);
        scene.add(0, 1);
        scene.pass(seed);
        let link = scene.link(0);
        scene.world.cut(link, Some(0), Some(3_000));
        scene.rest();
        assert_eq!((scene.count(0), scene.count(1)), (Some(2), Some(2)));
        assert_eq!(scene.log_len(), before + 2);
        assert_eq!(
            scene.ends(0),
            [MutationStatus::Committed, MutationStatus::Committed]
        );
    }
}

#[test]
fn a_restart_that_keeps_the_log_is_only_a_pause() {
    let mut scene = Scene::new(1, Shape::calm());
    scene.add(0, 3);
    scene.rest();
    let epoch = scene.epoch();
    let _ = (scene.told(0), scene.told(1));
    scene.world.crash_node(0);
    scene.world.broker.restart_kept(true);
    scene.add(1, 1);
    assert_eq!(
        scene.count(1),
        Some(4),
        "one's own edit shows at once, connected or not"
    );
    scene.rest();
    assert_eq!((scene.count(0), scene.count(1)), (Some(4), Some(4)));
    assert_eq!(scene.epoch(), epoch);
    let told = scene.told(0);
    assert!(!is_history_lost(&told));
    assert!(!recoveries(&told).contains(&Recovery::Snapshot), "{told:?}");
}

#[test]
fn another_life_of_the_broker_with_everything_kept_opens_an_epoch_and_loses_nothing() {
    let mut scene = Scene::new(2, Shape::calm());
    scene.add(0, 3);
    scene.rest();
    let epoch = scene.epoch();
    scene.world.crash_node(0);
    scene.world.broker.restart_kept(false);
    scene.add(0, 1);
    scene.rest();
    assert!(scene.epoch() > epoch);
    assert_eq!(scene.count(1), Some(4));
    let told = scene.told(1);
    assert!(!is_history_lost(&told), "{told:?}");
}

#[test]
fn a_lost_tail_is_told_and_what_was_not_settled_is_applied_again() {
    let mut scene = Scene::new(3, Shape::calm());
    scene.add(0, 1);
    scene.rest();
    scene.add(0, 2);
    scene.rest();
    let _ = (scene.ends(0), scene.told(1));
    // The last append never happened.
    let lost = {
        let world = &mut scene.world;
        world.broker.restart_without_tail(1, &mut world.truth)
    };
    assert!(lost);
    scene.world.crash_node(0);
    scene.add(1, 4);
    scene.rest();
    assert_eq!((scene.count(0), scene.count(1)), (Some(5), Some(5)));
    assert_eq!(scene.ends(0), [MutationStatus::Lost]);
    assert!(is_history_lost(&scene.told(1)));
}

/// The broker's data are an older copy of themselves: its run id came back with them, and so did the epoch.
#[test]
fn a_backup_that_is_put_back_is_found_out_and_told_as_a_loss() {
    for node_lives_on in [true, false] {
        let mut shape = Shape::calm();
        shape.channel.claim_period = Duration::from_secs(20);
        let mut scene = Scene::new(16, shape);
        scene.add(0, 1);
        scene.rest();
        scene.add(0, 2);
        scene.rest();
        let epoch = scene.epoch();
        let _ = (scene.ends(0), scene.told(1));
        let lost = {
            let world = &mut scene.world;
            world.broker.put_backup_back(1, &mut world.truth)
        };
        assert!(lost);
        if !node_lives_on {
            scene.world.crash_node(0);
        }
        scene.add(1, 4);
        scene.rest();
        assert!(scene.epoch() > epoch);
        assert_eq!((scene.count(0), scene.count(1)), (Some(5), Some(5)));
        assert_eq!(scene.ends(0), [MutationStatus::Lost]);
        assert!(is_history_lost(&scene.told(1)));
    }
}

#[test]
fn a_broker_that_does_not_answer_is_said_after_five_seconds_and_nothing_is_live() {
    let mut scene = Scene::new(17, Shape::calm());
    scene.add(0, 1);
    scene.rest();
    scene.world.broker.is_up = false;
    // Its end of the link is heard at once.
    let link = scene.link(0);
    scene.world.cut(link, Some(0), None);
    scene.world.crash_node(0);
    let seen = |scene: &Scene| {
        let client = &scene.world.clients[0];
        let (session, id) = (client.session().unwrap(), client.watch(0).unwrap().id);
        let code = session.delay(id).map(|delay| delay.code);
        (session.status(id).unwrap().name(), code)
    };
    let mut waited = 0;
    while seen(&scene).1.is_none() {
        scene.pass(250);
        waited += 250;
        assert_ne!(seen(&scene).0, "live", "after {waited} ms");
        assert!(waited < 30_000, "nobody says why");
    }
    assert_eq!(seen(&scene), ("stale", Some(ErrorCode::Overloaded)));
    scene.world.broker.is_up = true;
    scene.rest();
    assert_eq!(seen(&scene), ("live", None));
}

#[test]
fn a_wiped_broker_whose_clock_went_back_still_opens_a_higher_epoch() {
    let mut scene = Scene::new(4, Shape::calm());
    scene.add(0, 5);
    scene.rest();
    let epoch = scene.epoch();
    let _ = (scene.ends(0), scene.told(1));
    {
        let world = &mut scene.world;
        world.broker.restart_wiped(&mut world.truth);
        world.crash_node(0);
        world.nodes[0].clock_ms = -1_000_000_000_000;
        world.broker.clock_ms = -1_000_000_000_000;
    }
    scene.add(1, 1);
    scene.rest();
    assert!(scene.epoch() > epoch);
    assert_eq!((scene.count(0), scene.count(1)), (Some(1), Some(1)));
    assert_eq!(scene.ends(0), [MutationStatus::Lost]);
    assert!(is_history_lost(&scene.told(1)));
}

#[test]
fn frames_of_a_dead_link_that_arrive_after_the_next_one_is_up_do_no_harm() {
    let mut late = 0;
    for seed in 0..60 {
        let mut scene = Scene::new(seed, Shape::calm());
        for _ in 0..6 {
            scene.add(0, 1);
            scene.add(1, 1);
            scene.pass(2);
        }
        let link = scene.link(0);
        scene.world.cut(link, Some(0), None);
        scene.rest();
        // The last of the late ones.
        scene.pass(8_000);
        scene.rest();
        assert_eq!((scene.count(0), scene.count(1)), (Some(12), Some(12)));
        late += scene
            .world
            .faults
            .delivered()
            .get(&Fault::LateFrame)
            .copied()
            .unwrap_or(0);
    }
    assert!(late > 20, "only {late} frames were late");
}

#[test]
fn a_lost_ack_does_not_apply_a_mutation_twice() {
    let mut scene = Scene::new(6, Shape::calm());
    let before = scene.log_len();
    let link = scene.link(0);
    scene.world.silence(link, &[Way::Down]);
    scene.add(0, 2);
    scene.pass(1_000);
    assert_eq!(scene.log_len(), before + 1, "the push arrived");
    assert_eq!(scene.ends(0), [], "and nobody knows");
    scene.rest();
    assert_eq!(scene.log_len(), before + 1);
    assert_eq!((scene.count(0), scene.count(1)), (Some(2), Some(2)));
    assert_eq!(scene.ends(0), [MutationStatus::Committed]);
}

#[test]
fn two_nodes_that_append_at_the_same_time_conflict_and_agree() {
    let mut scene = Scene::new(
        7,
        Shape {
            nodes: 2,
            clients: 4,
            broker_ms: (5, 30),
            ..Shape::calm()
        },
    );
    for _ in 0..3 {
        for client in 0..4 {
            scene.add(client, 1);
        }
        scene.pass(20);
    }
    scene.rest();
    for client in 0..4 {
        assert_eq!(scene.count(client), Some(12));
    }
    assert!(scene.world.faults.delivered()[&Fault::AppendConflict] > 0);
}

#[test]
fn a_push_of_an_epoch_that_the_log_has_left_is_not_appended_but_sent_again() {
    let mut scene = Scene::new(
        8,
        Shape {
            nodes: 2,
            ..Shape::calm()
        },
    );
    scene.add(0, 1);
    scene.rest();
    // Both nodes live on; whoever pushes first makes its node open the next epoch.
    scene.world.broker.restart_kept(false);
    scene.add(0, 1);
    scene.add(1, 1);
    scene.rest();
    assert!(scene.world.faults.delivered()[&Fault::StaleEpoch] > 0);
    assert_eq!((scene.count(0), scene.count(1)), (Some(3), Some(3)));
}

#[test]
fn without_the_grant_nothing_is_logged_and_the_gap_closes_by_itself() {
    let mut scene = Scene::new(9, Shape::calm());
    let before = scene.log_len();
    let principal = scene.world.clients[0].principal.clone();
    scene.world.deny_writing(&principal, 0);
    for _ in 0..3 {
        scene.add(0, 1);
        scene.pass(200);
    }
    assert_eq!(scene.log_len(), before);
    assert_eq!(scene.count(0), Some(0), "a refused edit rolls back");
    let ends = scene.ends(0);
    assert_eq!(ends.len(), 3);
    for end in ends {
        let MutationStatus::Rejected { code, .. } = end else {
            panic!("{end:?}")
        };
        assert_eq!(code, ErrorCode::Forbidden);
    }
    scene.world.allow(&principal, 0);
    scene.add(0, 1);
    scene.rest();
    assert_eq!(scene.ends(0), [MutationStatus::Committed]);
    assert_eq!(scene.log_len(), before + 1);
}

#[test]
fn a_refused_change_rolls_back_with_its_reason_and_takes_its_whole_batch_along() {
    let mut scene = Scene::new(10, Shape::calm());
    scene.change(0, set_note("locked", "mine"));
    assert!(
        scene
            .record(0, "locked")
            .is_some_and(|r| r.field("note").is_some())
    );
    scene.rest();
    assert!(
        scene
            .record(0, "locked")
            .is_some_and(|r| r.field("note").is_none())
    );
    let ends = scene.ends(0);
    let [MutationStatus::Rejected { code, detail, .. }] = &ends[..] else {
        panic!("{ends:?}")
    };
    assert_eq!(
        (*code, detail.as_str()),
        (ErrorCode::Refused, "this record is locked")
    );
}

#[test]
fn a_rejection_that_the_server_had_no_room_to_remember_is_not_taken_for_a_commit() {
    let mut shape = Shape::calm();
    shape.channel.history = 3;
    shape.channel.snapshot_entries = 4;
    // Two authors' rows, and the code of one rejection.
    shape.channel.table_bytes_max = 2 * 160 + 60;
    let mut scene = Scene::new(18, shape);
    let link = scene.link(0);
    scene.world.silence(link, &[Way::Down]);
    scene.change(0, set_note("locked", "mine"));
    scene.pass(1_000);
    for _ in 0..8 {
        scene.change(1, set_note("locked", "mine"));
        scene.pass(50);
    }
    scene.rest();
    assert_eq!(scene.ends(0), [MutationStatus::Indeterminate]);
}

#[test]
fn a_snapshot_that_crosses_an_epoch_says_so_and_keeps_what_is_pending() {
    let mut shape = Shape::calm();
    shape.channel.history = 3;
    shape.channel.snapshot_entries = 4;
    let mut scene = Scene::new(11, shape);
    let _ = scene.told(0);
    scene.world.freeze_client(0, 200_000);
    scene.world.broker.restart_kept(false);
    for _ in 0..20 {
        scene.change(1, set_note("b", "theirs"));
        scene.pass(100);
    }
    scene.pass(200_000);
    scene.add(0, 1);
    assert_eq!(scene.count(0), Some(1));
    scene.rest();
    let told = scene.told(0);
    assert!(recoveries(&told).contains(&Recovery::Snapshot), "{told:?}");
    assert!(is_history_lost(&told), "{told:?}");
    assert_eq!((scene.count(0), scene.count(1)), (Some(1), Some(1)));
}

#[test]
fn a_slow_reader_is_told_that_it_lags_and_comes_back() {
    let mut shape = Shape::calm();
    shape.outlet_bytes = 600;
    shape.socket_bytes = 300;
    shape.channel.lag = Lag::Resync;
    // Whoever falls this far behind cannot be served from what the node keeps.
    shape.channel.history = 3;
    shape.channel.snapshot_entries = 4;
    let mut scene = Scene::new(12, shape);
    let link = scene.link(0);
    scene.world.links[link.0].reads_slowly = Some(1);
    for i in 0..60 {
        scene.change(1, set_note("b", &format!("n{i}")));
        scene.pass(30);
    }
    scene.world.links[link.0].reads_slowly = None;
    scene.rest();
    assert!(scene.world.faults.delivered()[&Fault::Lagged] > 0);
    let shown = |scene: &Scene, client| scene.record(client, "b").map(|r| r.to_json());
    assert_eq!(shown(&scene, 0), shown(&scene, 1));
}

#[test]
fn a_slow_reader_that_conflates_skips_to_the_latest_state() {
    let mut shape = Shape::calm();
    shape.outlet_bytes = 600;
    shape.socket_bytes = 300;
    shape.channel.lag = Lag::Conflate;
    let mut scene = Scene::new(13, shape);
    let link = scene.link(0);
    scene.world.links[link.0].reads_slowly = Some(1);
    for i in 0..60 {
        scene.change(1, set_note("b", &format!("n{i}")));
        scene.pass(30);
    }
    scene.world.links[link.0].reads_slowly = None;
    scene.rest();
    assert_eq!(scene.world.faults.delivered().get(&Fault::Lagged), None);
}

#[test]
fn goaway_moves_clients_to_another_node_without_losing_an_edit() {
    let mut scene = Scene::new(
        14,
        Shape {
            nodes: 2,
            ..Shape::calm()
        },
    );
    let _ = scene.told(0);
    scene.world.pins.insert(0, 1);
    for _ in 0..5 {
        scene.add(0, 1);
    }
    scene.act(|world| world.drain_node(0));
    scene.add(0, 1);
    // It moves at some moment of the window.
    scene.pass(5_000);
    scene.rest();
    let told = scene.told(0);
    let drained = told
        .iter()
        .any(|e| matches!(e, Event::Connection(s) if s.phase == ConnectionPhase::Draining));
    assert!(drained, "{told:?}");
    assert_eq!(scene.world.node_of(0), Some(1));
    assert_eq!((scene.count(0), scene.count(1)), (Some(6), Some(6)));
}

#[test]
fn a_deleted_channel_is_empty_until_someone_uses_it() {
    let mut scene = Scene::new(15, Shape::calm());
    scene.add(0, 2);
    scene.rest();
    scene.act(|world| {
        let life = world.nodes[0].life;
        world.delete_channel(0, life, 0)
    });
    scene.rest();
    assert!(scene.record(0, "a").is_none() && scene.record(1, "a").is_none());
    scene.change(
        1,
        ChangeKind::Del(RecordRef {
            collection: "cards".into(),
            id: "b".into(),
        }),
    );
    scene.rest();
    assert_eq!(
        (scene.count(0), scene.count(1)),
        (Some(0), Some(0)),
        "it starts anew"
    );
    assert!(scene.record(0, "b").is_none());
}
