//! A calm world that a test disturbs by hand: everybody is connected and live, nothing strikes by itself.
//!
//! All checkers are at work here as in a run of a seed; every step panics with what they found.

use fastrand::Rng;
use tidewire_core::document::Record;
use tidewire_core::document::value::as_integer;
use tidewire_core::wire::{Change, ChangeKind, Inc};
use tidewire_core::{Event, MutationStatus, Session};

use crate::app::Act;
use crate::faults::Faults;
use crate::link::LinkId;
use crate::run::{check_outcomes, converge};
use crate::shape::Shape;
use crate::violation::Checked;
use crate::world::World;

/// A world and shorthands for what tests do in it.
pub struct Scene {
    /// The world.
    pub world: World,
}

impl Scene {
    /// Client `i` talks to node `i`, as far as there are nodes.
    #[must_use]
    pub fn new(seed: u64, shape: Shape) -> Self {
        let nodes = shape.nodes;
        let mut world = World::new(Rng::with_seed(seed), shape, Faults::none(), false);
        for client in 0..world.clients.len() {
            world.pins.insert(client, client % nodes);
            world.clients[client].told = Some(Vec::new());
        }
        let mut scene = Self { world };
        scene.pass(1_000);
        scene.rest();
        scene
    }

    /// Does something that the checkers watch.
    ///
    /// # Panics
    /// With what they found.
    #[track_caller]
    pub fn act<T>(&mut self, act: impl FnOnce(&mut World) -> Checked<T>) -> T {
        match act(&mut self.world) {
            Ok(value) => value,
            Err(violation) => panic!("{} violated: {}", violation.rule, violation.detail),
        }
    }

    /// Lets time pass.
    #[track_caller]
    pub fn pass(&mut self, ms: u64) {
        self.act(|world| world.run_for(ms));
    }

    /// Lets everything come to rest, and compares all outcomes with the log.
    #[track_caller]
    pub fn rest(&mut self) {
        self.act(converge);
        self.act(|world| check_outcomes(world));
    }

    /// A client adds to the shared counter.
    #[track_caller]
    pub fn add(&mut self, client: usize, by: i64) {
        self.change(
            client,
            ChangeKind::Inc(Inc {
                collection: "cards".into(),
                id: "a".into(),
                field: "count".into(),
                by,
            }),
        );
    }

    /// A client makes a mutation of one change.
    #[track_caller]
    pub fn change(&mut self, client: usize, kind: ChangeKind) {
        let changes = vec![Change { kind: Some(kind) }];
        self.act(|world| world.act(client, Act::Mutate(0, changes.into())));
    }

    /// What a client shows as the shared counter.
    #[must_use]
    pub fn count(&self, client: usize) -> Option<i64> {
        as_integer(self.record(client, "a")?.field("count")?)
    }

    /// What a client shows as a card.
    #[must_use]
    pub fn record(&self, client: usize, id: &str) -> Option<&Record> {
        let watch = self.world.clients[client].watch(0)?;
        self.session(client)?.record(watch.id, "cards", id)
    }

    /// A client's session.
    #[must_use]
    pub fn session(&self, client: usize) -> Option<&Session> {
        self.world.clients[client].session()
    }

    /// A client's link.
    ///
    /// # Panics
    /// If it never had one.
    #[must_use]
    pub fn link(&self, client: usize) -> LinkId {
        self.world
            .link_of(client)
            .expect("the client has connected")
    }

    /// What a client's application was told since the last call.
    pub fn told(&mut self, client: usize) -> Vec<Event> {
        self.world.clients[client]
            .told
            .replace(Vec::new())
            .unwrap_or_default()
    }

    /// How mutations ended, as told since the last call, in the order of telling.
    pub fn ends(&mut self, client: usize) -> Vec<MutationStatus> {
        self.told(client)
            .into_iter()
            .filter_map(|event| match event {
                Event::Mutation { status, .. } if status.is_terminal() => Some(status),
                _ => None,
            })
            .collect()
    }

    /// How many entries the surviving log has.
    #[must_use]
    pub fn log_len(&self) -> u64 {
        self.world.truth.head_cursor(0).seq
    }

    /// The epoch of the surviving log.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.world.truth.head_cursor(0).epoch
    }
}
