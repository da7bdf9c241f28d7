//! A client goes over to its next link: nothing is lost, nothing stands still, whatever dies on the way.

use tidewire_core::{ChannelStatus, ConnectionPhase, Event, MutationStatus};
use tidewire_sim::faults::Fault;
use tidewire_sim::link::{LinkId, LinkPhase};
use tidewire_sim::scene::Scene;
use tidewire_sim::shape::Shape;

use super::set_note;

fn two_nodes() -> Shape {
    Shape {
        nodes: 2,
        ..Shape::calm()
    }
}

fn phases(events: &[Event]) -> Vec<ConnectionPhase> {
    let states = events.iter().filter_map(|event| match event {
        Event::Connection(state) => Some(state.phase),
        _ => None,
    });
    states.collect()
}

fn committed(events: &[Event]) -> usize {
    let is_one = |event: &&Event| matches!(event, Event::Mutation { status, .. } if *status == MutationStatus::Committed);
    events.iter().filter(is_one).count()
}

fn left_live(events: &[Event]) -> bool {
    events.iter().any(
        |event| matches!(event, Event::Channel { status, .. } if *status != ChannelStatus::Live),
    )
}

#[test]
fn when_one_of_two_nodes_drains_no_view_leaves_live_and_no_write_waits() {
    for seed in 0..20 {
        let shape = Shape {
            clients: 6,
            ..two_nodes()
        };
        let mut scene = Scene::new(seed, shape);
        let mut told: Vec<Vec<Event>> = (0..6).map(|client| scene.told(client)).collect();
        for (client, told) in told.iter_mut().enumerate() {
            told.clear();
            scene.world.pins.insert(client, 1);
        }
        scene.act(|world| world.drain_node_within(0, 20_000, 2_000));
        for round in 0..40 {
            for client in 0..6 {
                let note = format!("{client} in {round}");
                scene.change(client, set_note("a", &note));
            }
            // As long as a write takes when nobody moves, and what a move may cost it.
            scene.pass(60);
            let mut waited = false;
            for (client, told) in told.iter_mut().enumerate() {
                told.extend(scene.told(client));
                if committed(told) <= round && !std::mem::replace(&mut waited, true) {
                    scene.pass(1_000);
                    told.extend(scene.told(client));
                }
                let written = committed(told);
                assert!(written > round, "seed {seed}, client {client}: {written}");
            }
        }
        // A quiet end, so that the last of them has moved.
        scene.pass(3_000);
        scene.rest();
        for (client, told) in told.iter_mut().enumerate() {
            told.extend(scene.told(client));
            assert_eq!(committed(told), 40, "seed {seed}, client {client}");
            assert!(!left_live(told), "seed {seed}, client {client}: {told:?}");
            let expected: &[ConnectionPhase] = match client % 2 {
                0 => &[ConnectionPhase::Draining, ConnectionPhase::Connected],
                _ => &[],
            };
            assert_eq!(phases(told), expected, "seed {seed}, client {client}");
            assert_eq!(scene.world.node_of(client), Some(1));
        }
    }
}

#[test]
fn a_node_that_is_alone_is_empty_soon_after_its_window() {
    let shape = Shape {
        clients: 200,
        ..Shape::calm()
    };
    let mut scene = Scene::new(3, shape);
    let window_ms = 2_000;
    scene.act(|world| world.drain_node_within(0, 45_000, window_ms));
    scene.pass(u64::from(window_ms) - 100);
    assert_eq!(scene.world.nodes[0].connections().count(), 200);
    scene.pass(3_100);
    assert_eq!(scene.world.nodes[0].connections().count(), 0);
    // It comes back once the machine is up again.
    scene.pass(120_000);
    scene.rest();
    assert_eq!(scene.world.nodes[0].connections().count(), 200);
}

/// The link that is newer than the one that the client had.
fn next_of(scene: &Scene, old: LinkId) -> Option<LinkId> {
    let newest = scene.link(0);
    (newest != old && scene.world.links[newest.0].phase != LinkPhase::Dead).then_some(newest)
}

#[test]
fn a_next_link_that_dies_at_any_step_of_a_move_ends_and_loses_nothing() {
    // Travel takes 5 ms: every step of dialling, greeting, asking and answering is met.
    for step in 0..60 {
        let mut scene = Scene::new(100 + step, two_nodes());
        let _ = scene.told(0);
        scene.world.pins.insert(0, 1);
        let old = scene.link(0);
        scene.act(|world| world.drain_node_within(0, 30_000, 0));
        while next_of(&scene, old).is_none() {
            scene.pass(1);
        }
        scene.add(0, 1);
        scene.add(1, 1);
        scene.pass(step);
        if let Some(next) = next_of(&scene, old) {
            let known = scene.world.links[next.0].phase == LinkPhase::Up;
            scene.world.cut(next, Some(0), known.then_some(0));
        }
        scene.add(0, 1);
        scene.pass(500);
        let told = scene.told(0);
        let phases = phases(&told);
        let allowed = [ConnectionPhase::Draining, ConnectionPhase::Connected];
        let moved = scene.world.faults.delivered().get(&Fault::Moved).copied();
        assert!(
            moved.is_some() || phases.iter().all(|phase| allowed.contains(phase)),
            "step {step}: {phases:?}"
        );
        scene.rest();
        assert_eq!(scene.count(0), Some(3), "step {step}");
        scene.pass(40_000);
        scene.rest();
        assert_eq!(scene.world.node_of(0), Some(1), "step {step}");
    }
}

#[test]
fn an_old_link_that_dies_at_any_step_of_a_move_loses_nothing() {
    for step in 0..60 {
        let mut scene = Scene::new(200 + step, two_nodes());
        scene.world.pins.insert(0, 1);
        let old = scene.link(0);
        scene.act(|world| world.drain_node_within(0, 30_000, 0));
        while next_of(&scene, old).is_none() {
            scene.pass(1);
        }
        scene.add(0, 1);
        scene.add(1, 1);
        scene.pass(step);
        scene.world.cut(old, Some(0), Some(0));
        scene.add(0, 1);
        scene.rest();
        assert_eq!(scene.count(0), Some(3), "step {step}");
        assert_eq!(scene.world.node_of(0), Some(1), "step {step}");
    }
}

#[test]
fn while_every_dial_is_refused_the_old_link_serves_and_is_the_last_to_go() {
    let mut scene = Scene::new(7, two_nodes());
    let _ = scene.told(0);
    // The balancer sends every dial back to the node that drains.
    scene.act(|world| world.drain_node_within(0, 10_000, 1_000));
    for _ in 0..9 {
        scene.add(0, 1);
        scene.pass(1_000);
        assert_eq!(scene.world.node_of(1), Some(1));
    }
    assert_eq!(scene.count(1), Some(9), "written while it drained");
    let told = scene.told(0);
    assert_eq!(phases(&told), [ConnectionPhase::Draining]);
    assert!(!left_live(&told));
    let dials = scene.world.links.iter().filter(|link| link.client == 0);
    let dials = dials.count() - 1;
    assert!((5..=36).contains(&dials), "{dials} dials in 9 s");
    scene.pass(10_000);
    scene.rest();
    assert_eq!(scene.count(0), Some(9));
}
