//! Networks that let not everything through: a client reaches its server all the same, soon, and goes back up.

use tidewire_core::{ChannelStatus, ConnectionPhase, Event, MutationStatus, Reason, TransportKind};
use tidewire_sim::faults::Fault;
use tidewire_sim::scene::Scene;
use tidewire_sim::shape::Shape;
use tidewire_sim::walls::{Wall, Walls};

use super::set_note;

const ALL: [TransportKind; 3] = [
    TransportKind::WebSocket,
    TransportKind::Sse,
    TransportKind::LongPoll,
];

fn all_transports() -> Shape {
    Shape {
        nodes: 2,
        transports: ALL.into(),
        ..Shape::calm()
    }
}

fn transport(scene: &Scene) -> Option<TransportKind> {
    scene.session(0)?.connection().transport
}

fn is_live(scene: &Scene) -> bool {
    let Some(session) = scene.session(0) else {
        return false;
    };
    let watch = scene.world.clients[0].watch(0);
    watch.is_some_and(|watch| session.status(watch.id) == Some(&ChannelStatus::Live))
}

/// The first client starts anew behind walls. Says how long it took to be live, from the start.
fn starts_behind(scene: &mut Scene, walls: &Walls) -> u64 {
    scene.world.walls[0] = walls.clone();
    scene.act(|world| {
        world.crash_client(0);
        Ok(())
    });
    while scene.session(0).is_none() {
        scene.pass(10);
    }
    let begun = scene.world.now_ms;
    while !is_live(scene) {
        scene.pass(10);
        let took = scene.world.now_ms - begun;
        assert!(
            took < 60_000,
            "{walls:?}: {:?}",
            scene.session(0).map(|s| s.connection())
        );
    }
    scene.world.now_ms - begun
}

#[test]
fn whatever_a_network_blocks_there_is_data_within_five_seconds() {
    use TransportKind::{LongPoll, Sse, WebSocket};
    use Wall::{Buffers, Open, Refuses, Swallows};
    for (websocket, sse, expected, within_ms) in [
        (Open, Open, WebSocket, 100),
        (Refuses, Open, Sse, 300),
        (Swallows, Open, Sse, 1_500 + 200),
        (Buffers, Open, Sse, 1_500 + 200),
        (Refuses, Refuses, LongPoll, 300),
        (Refuses, Swallows, LongPoll, 1_500 + 300),
        (Refuses, Buffers, LongPoll, 1_500 + 300),
        (Swallows, Refuses, LongPoll, 1_500 + 300),
        (Buffers, Buffers, LongPoll, 3_000 + 200),
        (Swallows, Swallows, LongPoll, 3_000 + 200),
    ] {
        let mut scene = Scene::new(11, all_transports());
        let walls = Walls {
            websocket,
            sse,
            ..Walls::default()
        };
        let took = starts_behind(&mut scene, &walls);
        assert_eq!(transport(&scene), Some(expected), "{walls:?}");
        assert!(took <= within_ms, "{walls:?}: {took} ms");
        scene.add(0, 1);
        scene.rest();
        assert_eq!(scene.count(1), Some(1), "{walls:?}");
    }
}

#[test]
fn what_was_learnt_is_remembered_until_the_network_changes() {
    let mut scene = Scene::new(12, all_transports());
    let walls = Walls {
        websocket: Wall::Swallows,
        sse: Wall::Swallows,
        ..Walls::default()
    };
    starts_behind(&mut scene, &walls);
    // Until then the stream may still come.
    scene.pass(16_000);
    let link = scene.link(0);
    scene.act(|world| {
        world.cut(link, Some(0), Some(0));
        Ok(())
    });
    let begun = scene.world.now_ms;
    while is_live(&scene) {
        scene.pass(1);
    }
    while !is_live(&scene) {
        scene.pass(10);
    }
    // A pause of up to a second, and no stagger.
    let took = scene.world.now_ms - begun;
    assert!(took <= 1_100, "{took} ms");
    assert_eq!(transport(&scene), Some(TransportKind::LongPoll));
}

#[test]
fn when_the_wall_falls_a_client_goes_back_up_and_no_view_leaves_live() {
    for (seed, sse) in [
        (0, Wall::Open),
        (1, Wall::Refuses),
        (2, Wall::Open),
        (3, Wall::Refuses),
    ] {
        let mut scene = Scene::new(seed, all_transports());
        let walls = Walls {
            websocket: Wall::Refuses,
            sse,
            ..Walls::default()
        };
        starts_behind(&mut scene, &walls);
        scene.world.walls[0] = Walls::default();
        let _ = scene.told(0);
        let mut told = Vec::new();
        for round in 0..120 {
            scene.change(0, set_note("a", &format!("{round}")));
            scene.pass(500);
            told.extend(scene.told(0));
        }
        scene.rest();
        told.extend(scene.told(0));
        assert_eq!(
            transport(&scene),
            Some(TransportKind::WebSocket),
            "seed {seed}"
        );
        let left_live = told.iter().any(
            |event| matches!(event, Event::Channel { status, .. } if *status != ChannelStatus::Live),
        );
        assert!(!left_live, "seed {seed}: {told:?}");
        let committed = told.iter().filter(|event| {
            matches!(event, Event::Mutation { status, .. } if *status == MutationStatus::Committed)
        });
        assert_eq!(committed.count(), 120, "seed {seed}");
        assert!(scene.world.faults.delivered().contains_key(&Fault::Climbed));
    }
}

#[test]
fn a_captive_portal_is_told_of_and_its_end_is_noticed() {
    let mut scene = Scene::new(14, all_transports());
    scene.world.walls[0] = Walls::portal();
    scene.act(|world| {
        world.crash_client(0);
        Ok(())
    });
    while scene.session(0).is_none() {
        scene.pass(10);
    }
    scene.pass(5_000);
    let state = scene.session(0).unwrap().connection().clone();
    assert_eq!(
        state.reason.as_ref().map(Reason::code),
        Some("blocked"),
        "{state:?}"
    );
    // Long after: rounds of attempts are far apart by now.
    scene.pass(200_000);
    let state = scene.session(0).unwrap().connection().clone();
    assert_eq!(
        state.reason.as_ref().map(Reason::code),
        Some("blocked"),
        "{state:?}"
    );
    scene.world.walls[0] = Walls::default();
    scene.pass(5_000);
    assert!(is_live(&scene));
    assert_eq!(transport(&scene), Some(TransportKind::WebSocket));
}

#[test]
fn a_network_that_is_down_is_not_called_blocked() {
    let mut scene = Scene::new(15, all_transports());
    let walls = Walls {
        websocket: Wall::Refuses,
        sse: Wall::Refuses,
        polls: Wall::Refuses,
        is_portal: false,
    };
    scene.world.walls[0] = walls;
    let link = scene.link(0);
    scene.act(|world| {
        world.cut(link, Some(0), Some(0));
        Ok(())
    });
    scene.pass(60_000);
    let state = scene.session(0).unwrap().connection().clone();
    assert_ne!(state.phase, ConnectionPhase::Connected);
    assert_eq!(state.reason.map(|reason| reason.code()), Some("network"));
    assert!(scene.session(0).unwrap().verdicts().is_empty());
    scene.world.walls[0] = Walls::default();
    scene.pass(31_000);
    assert!(is_live(&scene));
}

#[test]
fn a_session_over_polls_lives_on_another_node_than_its_requests_come_to() {
    let shape = Shape {
        transports: vec![TransportKind::LongPoll],
        ..all_transports()
    };
    let mut scene = Scene::new(16, shape);
    scene.world.pins.clear();
    for _ in 0..50 {
        scene.add(0, -1);
        scene.add(1, -1);
        scene.pass(100);
    }
    scene.rest();
    assert_eq!((scene.count(0), scene.count(1)), (Some(-100), Some(-100)));
    assert!(scene.world.faults.delivered()[&Fault::Forwarded] > 20);
}

#[test]
fn lost_and_copied_requests_and_answers_lose_and_double_nothing() {
    for (seed, kind) in (0..12)
        .flat_map(|seed| [TransportKind::Sse, TransportKind::LongPoll].map(|kind| (seed, kind)))
    {
        let shape = Shape {
            transports: vec![kind],
            ..all_transports()
        };
        let mut scene = Scene::new(40 + seed, shape);
        scene.world.pins.clear();
        for fault in [
            Fault::RequestLost,
            Fault::RequestCopied,
            Fault::RequestLate,
            Fault::AnswerLost,
        ] {
            scene.world.faults.set_per_mille(fault, 150);
        }
        scene.world.truth.pushes_are_copied = true;
        for _ in 0..100 {
            scene.add(0, -1);
            scene.add(1, -1);
            scene.pass(200);
        }
        scene.act(|world| world.heal());
        scene.rest();
        scene.pass(40_000);
        scene.rest();
        assert_eq!(
            (scene.count(0), scene.count(1)),
            (Some(-200), Some(-200)),
            "{kind:?} {seed}"
        );
    }
}
