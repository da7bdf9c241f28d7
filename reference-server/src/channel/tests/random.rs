//! Random schedules: whatever happens, every replica is the fold of the log.

use proptest::prelude::*;
use tidewire_core::wire::{Cursor, ErrorCode, Item, Known, ServerKind};

use super::harness::*;
use crate::channel::{ChannelConfig, ChannelInput, Lag, prove};
use crate::log::{BrokerReply, BrokerRequest, EntryBody, RunId};

#[derive(Clone, Debug)]
enum Step {
    Push {
        who: usize,
        items: u8,
    },
    /// A push whose deadline is so many minutes ahead, or behind.
    PushUntil {
        who: usize,
        minutes: i64,
    },
    /// Asks again for the newest so many entries that it has.
    Fetch {
        who: usize,
        back: u64,
    },
    /// The node's clock goes wrong by so many minutes, or right.
    Clock {
        minutes: i64,
    },
    Days {
        days: u64,
    },
    Room {
        who: usize,
        room: usize,
    },
    Resubscribe {
        who: usize,
    },
    Pass,
    NewRun,
    LoseTail,
    Fail {
        append_happens: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..3usize;
    prop_oneof![
        6 => (who.clone(), 1..4u8).prop_map(|(who, items)| Step::Push { who, items }),
        4 => (who.clone(), 0..4usize).prop_map(|(who, room)| Step::Room { who, room }),
        1 => who.clone().prop_map(|who| Step::Resubscribe { who }),
        2 => (who.clone(), -100_000..100_000i64)
            .prop_map(|(who, minutes)| Step::PushUntil { who, minutes }),
        2 => (who, 0..9u64).prop_map(|(who, back)| Step::Fetch { who, back }),
        1 => prop_oneof![Just(0i64), -600_000..600_000i64]
            .prop_map(|minutes| Step::Clock { minutes }),
        1 => (1..25u64).prop_map(|days| Step::Days { days }),
        1 => Just(Step::Pass),
        1 => Just(Step::NewRun),
        1 => Just(Step::LoseTail),
        1 => any::<bool>().prop_map(|append_happens| Step::Fail { append_happens }),
    ]
}

/// A client that does what the protocol says, as simply as possible.
struct Reader {
    client: Client,
    replica: Replica,
    max_epoch: u64,
    announced: u64,
    /// It asked and has no answer yet: patches of the older stream are dropped.
    asked: bool,
    last: u64,
}

impl Reader {
    fn subscribe(&mut self, harness: &mut Harness) {
        self.asked = true;
        let have = (self.replica.cursor.seq > 0).then_some(self.replica.cursor);
        harness.input(ChannelInput::Subscribe {
            subscriber: self.client.subscriber.clone(),
            have,
            max_epoch: self.max_epoch,
            proof: prove(&harness.config.epoch_keys, CHANNEL, self.max_epoch),
        });
    }

    /// Whether it has to subscribe again.
    fn read(&mut self) -> bool {
        for frame in self.client.take() {
            match &frame {
                ServerKind::Resume(resume)
                    if self.takes(resume.head.unwrap().epoch, resume.known.as_ref()) =>
                {
                    assert_eq!(resume.from, Some(self.replica.cursor));
                }
                ServerKind::SnapshotBegin(begin)
                    if self.takes(begin.cursor.unwrap().epoch, begin.known.as_ref()) => {}
                ServerKind::Resume(_) | ServerKind::SnapshotBegin(_) => return true,
                ServerKind::Patch(_) if self.asked => continue,
                ServerKind::Patch(patch) if patch.epoch > self.announced => return true,
                // A range that was fetched again: what is there already is dropped or applied once more.
                ServerKind::Patch(patch) if patch.to <= self.replica.cursor.seq => continue,
                ServerKind::Patch(patch) if patch.from < self.replica.cursor.seq => {
                    self.replica.cursor = Cursor::new(patch.epoch, patch.from, patch.from_tag);
                }
                ServerKind::Ack(ack) => self.last = self.last.max(ack.through),
                ServerKind::Lagged(_) | ServerKind::StaleEpoch(_) => return true,
                // No answer for now.
                ServerKind::Error(error) if !error.fatal && error.n.is_none() => return true,
                _ => {}
            }
            self.replica.feed(&[frame]);
        }
        false
    }

    /// Takes an answer, unless it is below what an answer said before: that one is asked for again.
    fn takes(&mut self, epoch: u64, known: Option<&Known>) -> bool {
        if epoch < self.max_epoch {
            return false;
        }
        self.announced = epoch;
        self.max_epoch = epoch;
        self.last = known.unwrap().last;
        self.asked = false;
        true
    }
}

fn run(lag: Lag, steps: Vec<Step>) {
    let config = ChannelConfig {
        lag,
        history: 8,
        snapshot_entries: 6,
        ..ChannelConfig::default()
    };
    let mut harness = Harness::with(config);
    let mut readers: Vec<Reader> = (0..3u8)
        .map(|n| Reader {
            client: Client::new(u64::from(n) + 1, n + 1),
            replica: Replica::default(),
            max_epoch: 0,
            announced: 0,
            asked: false,
            last: 0,
        })
        .collect();
    for reader in &mut readers {
        reader.subscribe(&mut harness);
    }
    harness.run();
    let mut runs = 1;
    let mut earlier = harness.log.clone();
    let settle = |harness: &mut Harness, readers: &mut Vec<Reader>, reading: bool| {
        for _ in 0..30 {
            harness.run();
            for reader in readers.iter_mut() {
                if reading {
                    reader.client.inbox.set_room(usize::MAX);
                    harness.input(ChannelInput::Drained {
                        conn: reader.client.subscriber.conn,
                    });
                }
                if reader.read() {
                    reader.client.take();
                    reader.subscribe(harness);
                }
            }
            if reading {
                harness.pass(11_000);
            }
        }
    };
    for step in steps {
        match step {
            Step::Push { who, items } => {
                let reader = &readers[who];
                let n = reader.last + 1;
                let items = (0..items)
                    .map(|i| {
                        let id = format!("r{}", (n + u64::from(i)) % 5);
                        match (n + u64::from(i)) % 4 {
                            0 => item(vec![del(&id)]),
                            1 => item(vec![set(&id, "a", &n.to_string())]),
                            2 => item(vec![inc("initial", "a", 1), put(&id, "b", "1")]),
                            _ => item(vec![put(&id, "a", &n.to_string())]),
                        }
                    })
                    .collect();
                harness.enqueue_at(&reader.client, reader.announced, n, n, items);
            }
            Step::Room { who, room } => {
                readers[who].client.inbox.set_room(room);
                harness.input(ChannelInput::Drained {
                    conn: readers[who].client.subscriber.conn,
                });
            }
            Step::Resubscribe { who } => {
                readers[who].client.take();
                readers[who].subscribe(&mut harness);
            }
            Step::PushUntil { who, minutes } => {
                let reader = &readers[who];
                let n = reader.last + 1;
                let item = Item {
                    deadline_ms: harness.clock().0.saturating_add_signed(minutes * 60_000),
                    ..item(vec![inc("initial", "a", 1)])
                };
                harness.enqueue_at(&reader.client, reader.announced, n, n, vec![item]);
            }
            Step::Fetch { who, back } => {
                let reader = &readers[who];
                harness.input(ChannelInput::Fetch {
                    conn: reader.client.subscriber.conn,
                    epoch: reader.announced,
                    after: reader.replica.cursor.seq.saturating_sub(back),
                    through: reader.replica.cursor.seq + 3,
                });
            }
            Step::Clock { minutes } => {
                let right = harness.clock();
                harness.broker_ahead_ms = -minutes * 60_000;
                harness.now.unix.0 = right.0.saturating_add_signed(minutes * 60_000);
            }
            Step::Days { days } => harness.pass(days * 24 * 3_600_000),
            Step::Pass => harness.pass(6_000),
            Step::NewRun => {
                runs += 1;
                harness.log.set_run(RunId(runs));
            }
            Step::LoseTail => {
                runs += 1;
                harness.log = earlier.clone();
                harness.log.set_run(RunId(runs));
            }
            Step::Fail { append_happens } => {
                if let Some(request) = harness.poll() {
                    let append = matches!(request, BrokerRequest::Append { .. });
                    if append && append_happens {
                        harness.broker(request);
                    }
                    harness.input(ChannelInput::Broker(BrokerReply::Failed {
                        detail: "random".into(),
                    }));
                }
            }
        }
        if harness.log.head().seq.is_multiple_of(5) {
            earlier = harness.log.clone();
        }
        settle(&mut harness, &mut readers, false);
        check_times(&harness);
    }
    harness.now.unix = harness.clock();
    harness.broker_ahead_ms = 0;
    // Whoever joins may open an epoch; a wake-up tells the rest of what was lost.
    let truth = Client::new(99, 99);
    harness.subscribe(&truth, None, 0);
    harness.input(ChannelInput::Woken);
    settle(&mut harness, &mut readers, true);
    let mut state = Replica::default();
    state.feed(&truth.take());
    assert_eq!(state.cursor, harness.log.head());
    for reader in &readers {
        assert_eq!(reader.replica.cursor, state.cursor);
        assert_eq!(reader.replica.document, state.document);
    }
    // A node that starts now has the same state, table and log time.
    let mut next = Harness::over(harness.log.clone(), harness.config.clone());
    next.now = harness.now;
    next.join(98, 98);
    assert_eq!(next.fold().seen(), harness.fold().seen());
}

/// Log time follows the broker's clock, never a node's that is off, and judges every deadline.
fn check_times(harness: &Harness) {
    let mut before = 0;
    for entry in harness.log.entries() {
        assert!(before <= entry.ms && entry.ms <= harness.clock().0 + 5_000);
        before = entry.ms;
        let EntryBody::Mutation {
            deadline_ms,
            outcome,
            ..
        } = &entry.body
        else {
            continue;
        };
        let is_expired = matches!(outcome, Err(r) if r.code == ErrorCode::Expired);
        assert_eq!(is_expired, *deadline_ms < entry.ms);
        assert!(*deadline_ms <= entry.ms + 7 * 24 * 3_600_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn replicas_converge_under_resync(steps in proptest::collection::vec(step(), 0..40)) {
        run(Lag::Resync, steps);
    }

    #[test]
    fn replicas_converge_under_conflate(steps in proptest::collection::vec(step(), 0..40)) {
        run(Lag::Conflate, steps);
    }
}
