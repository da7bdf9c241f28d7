//! One seed from beginning to end: faults first, then healing, then calm.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fastrand::Rng;

use crate::client::Client;
use crate::faults::{Fault, Faults};
use crate::shape::Shape;
use crate::violation::{Checked, Violation, ensure};
use crate::watch::Watch;
use crate::world::World;

/// How long after the last fault everything must have come to rest (L1, L2).
pub const CONVERGE_MS_MAX: u64 = 60_000;

/// So many rows at least are decided where many are open in the time of the slowest way over a link and to the
/// broker: half a round trip, or part of an append that is read back in parts of 40 entries.
const ROWS_A_WAY_MIN: u64 = 16;

/// `fallback_poll_interval_ms`.
const POLL_PAUSE_MS_MAX: u64 = 3_000;

/// A drain takes 30 s at most, and its node starts 3 s later.
const DRAIN_MS_MAX: u64 = 34_000;

/// Longer than any store takes.
const STORES_MS: u64 = 1_000;

/// How long the calm is watched: longer than it takes to notice a dead connection.
const CALM_MS: u64 = 100_000;

/// How much longer the way back to the best transport may take.
const CLIMB_MS: u64 = 60_000;

/// A run that cannot reach its number of mutations gives up waiting here.
const FAULTY_MS_MAX: u64 = 600_000;

/// What came out of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which one.
    pub seed: u64,
    /// What was broken, and when, in virtual ms.
    pub violation: Option<(u64, Violation)>,
    /// Mutations that applications made.
    pub mutations: u64,
    /// Delivered faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// How much virtual time went by.
    pub simulated_ms: u64,
    /// How long after the last fault everything had come to rest.
    pub converged_ms: Option<u64>,
    /// The hash of everything that happened.
    pub trace_hash: u64,
    /// The timeline, when asked for.
    pub text: String,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, keep_text: bool) -> Report {
    let mut rng = Rng::with_seed(seed);
    let mut shape = Shape::draw(&mut rng);
    // Not drawn: seeds that once failed keep their worlds, and none of them is one of these.
    shape.is_awkward = seed % 16 == 8;
    let mut faults = Faults::draw(&mut rng);
    if shape.speaks_http() {
        faults.draw_http(&mut Rng::with_seed(!seed));
    }
    if shape.lifetime_ms.is_some() {
        // A wrong clock outlives what lives half a minute: see docs/testing.md.
        faults.switch_off(Fault::NodeClock);
        faults.switch_off(Fault::BrokerWiped);
    }
    let mut world = World::new(rng, shape, faults, keep_text);
    let mut converged_ms = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| live(&mut world, &mut converged_ms)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without a text");
        Err(Violation::new("panic", text))
    });
    let full = world.nodes.iter().map(|node| node.full).sum();
    world.faults.count_many(Fault::InboxFull, full);
    let fetches = world.nodes.iter().map(|node| node.fetches).sum();
    world.faults.count_many(Fault::Evicted, world.truth.evicted);
    world.faults.count_many(Fault::Expired, world.truth.expired);
    world.faults.count_many(Fault::HoleFetched, fetches);
    Report {
        seed,
        violation: outcome.err().map(|violation| (world.now_ms, violation)),
        mutations: world.mutations(),
        faults: world.faults.delivered().clone(),
        simulated_ms: world.now_ms,
        converged_ms,
        trace_hash: world.trace.hash(),
        text: world.trace.text().to_owned(),
    }
}

fn live(world: &mut World, converged_ms: &mut Option<u64>) -> Checked {
    world.start_acting();
    let faulty_ms = world.shape.faulty_ms;
    world.run_until(faulty_ms)?;
    while world.mutations() < world.shape.mutations_min && world.now_ms < FAULTY_MS_MAX {
        world.run_for(1_000)?;
    }
    world.stop_acting();
    world.run_for(world.shape.quiet_ms)?;
    world.heal()?;
    *converged_ms = Some(converge(world)?);
    // What stores were asked last may end hundreds of rows.
    world.run_for(STORES_MS)?;
    let calm_from = world.trace.events();
    world.run_for(CALM_MS)?;
    check_calm(world, world.trace.events() - calm_from)?;
    // Whoever lost a link late has its tries still before it, one for each better transport.
    for _ in 1..world.shape.transports.len() {
        if check_transports(world).is_err() {
            world.run_for(CLIMB_MS)?;
        }
    }
    check_transports(world)?;
    match lag(world) {
        None => Ok(()),
        Some(lag) => Err(Violation::new("L2", format!("calm did not last: {lag}"))),
    }
}

/// Waits until every outbox is empty and every view is at its head; says how long that took.
pub fn converge(world: &mut World) -> Checked<u64> {
    let from = world.now_ms;
    // Bursts leave many rows behind, and each round trip decides but a run without a hole.
    let open = world.clients.iter().flat_map(Client::watches);
    let rows = open.map(Watch::open_rows).sum::<usize>() as u64;
    let mut way_ms = world.shape.link_ms.1 + world.shape.broker_ms.1;
    if world.shape.speaks_http() {
        // Between polls that may not wait is a pause, and only they bring the outcome of what is under way.
        way_ms += POLL_PAUSE_MS_MAX;
    }
    let most_ms = CONVERGE_MS_MAX + rows * way_ms / ROWS_A_WAY_MIN;
    // A drain that began before ends first: until then its node takes nobody.
    let mut drained_ms = from;
    loop {
        world.run_for(250)?;
        let Some(lag) = lag(world) else {
            return Ok(world.now_ms - from);
        };
        if world.nodes.iter().any(|node| !node.is_serving()) {
            drained_ms = world.now_ms;
            ensure(drained_ms - from < DRAIN_MS_MAX, "L1", || {
                format!("a node does not come back: {lag}")
            })?;
        }
        ensure(world.now_ms - drained_ms < most_ms, "L1", || {
            format!("not at rest {most_ms} ms after the last fault: {lag}")
        })?;
    }
}

/// What is not yet as it must become.
#[must_use]
pub fn lag(world: &World) -> Option<String> {
    world.clients.iter().enumerate().find_map(|(at, client)| {
        let Some(session) = client.session() else {
            return Some(format!("client {at} does not run"));
        };
        let lag = client.watches().find_map(|w| w.lag(session, &world.truth));
        let lag = lag.or_else(|| world.truth.open_rows(client.store, world.names()));
        lag.map(|lag| format!("client {at}, {:?}: {lag}", session.connection()))
    })
}

/// Once all is calm: what every application was told is what the surviving log says.
pub fn check_outcomes(world: &World) -> Checked {
    for client in &world.clients {
        world.truth.check_fates(client.store, world.names())?;
    }
    for (at, client) in world.clients.iter().enumerate() {
        let Some(session) = client.session() else {
            continue;
        };
        for watch in client.watches() {
            watch
                .compare(session)
                .and_then(|()| watch.check_outcomes(session, &world.truth))
                .map_err(|v| Violation::new(v.rule, format!("client {at}, {}", v.detail)))?;
        }
    }
    Ok(())
}

/// Once all is calm: outcomes, presence, silence.
fn check_calm(world: &World, events: u64) -> Checked {
    check_outcomes(world)?;
    check_presence(world)?;
    // Heartbeats, pongs and their flushes are all that is left to do.
    let beats = (CALM_MS / world.shape.heartbeat_ms + 2) * world.clients.len() as u64;
    let renewals = world.shape.token_ms.map_or(0, |life| CALM_MS / life + 2);
    let beats = beats + renewals * 3 * world.clients.len() as u64;
    // Where there are several nodes, each says now and then who is there.
    let nodes = world.shape.nodes as u64;
    let lists = (CALM_MS / 10_000 + 2) * world.shape.channels as u64 * (nodes - 1) * nodes;
    let lists = lists * (2 + 2 * nodes);
    // A poll is some events of its own, and so is a POST.
    let beats = if world.shape.speaks_http() {
        beats * 3 + CALM_MS / 3_000 * world.clients.len() as u64 * 3
    } else {
        beats
    };
    ensure(events <= beats * 6 + lists + 400, "L4", || {
        format!("{events} events in {CALM_MS} ms of calm, {beats} heartbeats")
    })
}

/// Once nothing is in the way any more, everybody is back on the best transport.
fn check_transports(world: &World) -> Checked {
    for (at, client) in world.clients.iter().enumerate() {
        let transport = client.session().and_then(|s| s.connection().transport);
        let best = world.shape.transports.first().copied();
        ensure(transport == best, "climb", || {
            format!("client {at} is still on {transport:?}, not on {best:?}")
        })?;
    }
    Ok(())
}

/// Everybody sees everybody else who said something, whichever nodes they are on.
fn check_presence(world: &World) -> Checked {
    for channel in 0..world.shape.channels {
        for (at, client) in world.clients.iter().enumerate() {
            let (Some(session), Some(watch)) = (client.session(), client.watch(channel)) else {
                continue;
            };
            let node = world.node_of(at);
            let shown = |was_hidden: bool| -> Vec<Bytes> {
                let others = world.clients.iter().enumerate();
                let mut shown: Vec<_> = others
                    .filter(|&(other, _)| other != at)
                    .filter_map(|(_, other)| other.watch(channel))
                    .filter(|other| other.was_hidden == was_hidden)
                    .filter_map(|other| other.presence.clone())
                    .collect();
                shown.sort();
                shown
            };
            // Whoever was told `forbidden` is seen only once a new stream has said it again.
            let (expected, maybe) = (shown(false), shown(true));
            let mut seen: Vec<_> = session
                .peers(watch.id)
                .into_iter()
                .filter_map(|peer| peer.data.clone())
                .filter(|data| !maybe.contains(data))
                .collect();
            seen.sort();
            // Where a newcomer was refused for want of room, some stay unseen.
            let holds = if world.shape.channel.peers_max <= world.clients.len() {
                seen.iter().all(|data| expected.contains(data))
            } else {
                seen == expected
            };
            ensure(holds, "presence", || {
                format!(
                    "client {at} on node {node:?} sees {seen:?} on channel {channel}, not {expected:?}"
                )
            })?;
        }
    }
    Ok(())
}
