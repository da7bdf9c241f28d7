//! One client on a living link that drops, repeats and reorders what the server sends.
//!
//! The server here is a few lines: a log that now and then loses its tail, and answers as
//! docs/protocol.md says. At every moment the client's view is the state of the log at its cursor; once
//! the link behaves, it comes to the head.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use proptest::prelude::*;

use crate::support::*;

/// Entries that the server keeps for resume and fetch.
const HISTORY: usize = 12;

struct Server {
    epoch: u64,
    /// Each entry: cursor after it, and the record that it puts.
    log: Vec<(Cursor, Record)>,
    /// What every cursor that ever was stands for.
    states: BTreeMap<(u64, u64), BTreeMap<String, String>>,
    subscribed: bool,
}

fn tag(epoch: u64, seq: u64) -> u64 {
    epoch * 1_000 + seq
}

impl Server {
    fn new() -> Self {
        let mut server = Self {
            epoch: 5,
            log: Vec::new(),
            states: BTreeMap::new(),
            subscribed: false,
        };
        server.append();
        server
    }

    fn head(&self) -> Cursor {
        self.log.last().unwrap().0
    }

    fn append(&mut self) -> ServerKind {
        let seq = self.log.last().map_or(1, |(cursor, _)| cursor.seq + 1);
        let before = self.log.last().map(|(cursor, _)| cursor.order());
        let mut state = before.map_or_else(BTreeMap::new, |at| self.states[&at].clone());
        let record = card(&format!("r{}", seq % 5), &format!("{}.{seq}", self.epoch));
        let title = String::from_utf8(record.fields[0].value.to_vec()).unwrap();
        state.insert(record.id.clone(), title);
        self.states.insert((self.epoch, seq), state);
        let cursor = Cursor::new(self.epoch, seq, tag(self.epoch, seq));
        self.log.push((cursor, record));
        self.patch_at(self.log.len() - 1)
    }

    fn patch_at(&self, index: usize) -> ServerKind {
        let from = index
            .checked_sub(1)
            .map_or_else(Cursor::default, |before| self.log[before].0);
        let (to, record) = &self.log[index];
        ServerKind::Patch(Patch {
            epoch: to.epoch,
            from: from.seq,
            from_tag: from.tag,
            to: to.seq,
            to_tag: to.tag,
            ops: vec![Op {
                kind: Some(OpKind::Put(record.clone())),
            }],
            ..patch(0, 0, vec![], vec![])
        })
    }

    /// A failover that loses the last entries: the next epoch opens where they were.
    fn lose_tail(&mut self, entries: usize) {
        let kept = self.log.len().saturating_sub(entries).max(1);
        self.log.truncate(kept);
        self.epoch += 1;
        self.append();
    }

    fn index_of(&self, have: Cursor) -> Option<usize> {
        let index = self.log.iter().position(|(cursor, _)| *cursor == have)?;
        (index + HISTORY >= self.log.len()).then_some(index)
    }

    fn answer(&mut self, frame: ClientKind) -> Vec<ServerKind> {
        match frame {
            ClientKind::Subscribe(ask) => {
                self.subscribed = true;
                while ask.max_epoch > self.epoch {
                    self.lose_tail(0);
                }
                match ask.have.and_then(|have| self.index_of(have)) {
                    Some(at) => self.resumed(at),
                    None => self.snapshot(),
                }
            }
            ClientKind::Unsubscribe(_) => {
                self.subscribed = false;
                vec![]
            }
            ClientKind::Fetch(fetch) => {
                let first = self
                    .log
                    .iter()
                    .position(|(at, _)| at.seq == fetch.after + 1);
                match first
                    .filter(|first| fetch.epoch == self.epoch && first + HISTORY >= self.log.len())
                {
                    Some(first) => (first..self.log.len())
                        .filter(|&at| self.log[at].0.seq <= fetch.through)
                        .map(|at| self.patch_at(at))
                        .collect(),
                    None => vec![ServerKind::Lagged(Lagged {
                        channel: CHANNEL.into(),
                    })],
                }
            }
            _ => vec![],
        }
    }

    fn resumed(&self, at: usize) -> Vec<ServerKind> {
        let resume = ServerKind::Resume(Resume {
            channel: CHANNEL.into(),
            from: Some(self.log[at].0),
            head: Some(self.head()),
            known: Some(Known::default()),
        });
        let patches = (at + 1..self.log.len()).map(|at| self.patch_at(at));
        std::iter::once(resume).chain(patches).collect()
    }

    fn snapshot(&self) -> Vec<ServerKind> {
        let state = &self.states[&self.head().order()];
        let records: Vec<Record> = state
            .iter()
            .map(|(id, title)| card(id, title.trim_matches('"')))
            .collect();
        let mut frames = vec![ServerKind::SnapshotBegin(SnapshotBegin {
            channel: CHANNEL.into(),
            cursor: Some(self.head()),
            known: Some(Known::default()),
        })];
        frames.extend(records.iter().map(|record| {
            ServerKind::SnapshotPart(SnapshotPart {
                channel: CHANNEL.into(),
                records: vec![record.clone()],
            })
        }));
        frames.push(ServerKind::SnapshotEnd(SnapshotEnd {
            channel: CHANNEL.into(),
            records: records.len() as u64,
            digest: digest(&records),
            cursor: Some(self.head()),
        }));
        frames
    }

    fn heartbeat(&self) -> ServerKind {
        ServerKind::Heartbeat(Heartbeat {
            heads: vec![Head {
                channel: CHANNEL.into(),
                cursor: Some(self.head()),
            }],
            server_ms: 1,
        })
    }
}

/// What is on its way to the client.
struct Wire {
    frames: VecDeque<ServerKind>,
    /// Parts in a hundred that are dropped, repeated, taken out of turn.
    dropped: u32,
    repeated: u32,
    reordered: u32,
}

impl Wire {
    fn next(&mut self, rng: &mut Rng) -> Option<ServerKind> {
        let hit = |rng: &mut Rng, parts: u32| rng.u32(0..100) < parts;
        while !self.frames.is_empty() {
            let far = if hit(rng, self.reordered) { 12 } else { 1 };
            let at = rng.usize(0..self.frames.len().min(far));
            let frame = self.frames.remove(at)?;
            if hit(rng, self.dropped) {
                continue;
            }
            if hit(rng, self.repeated) {
                let later = rng.usize(0..=self.frames.len());
                self.frames.insert(later, frame.clone());
            }
            return Some(frame);
        }
        None
    }
}

fn pump(d: &mut Driver, server: &mut Server, wire: &mut Wire) {
    for frame in d.take_frames() {
        wire.frames.extend(server.answer(frame));
    }
}

fn check(d: &Driver, server: &Server) {
    let Some(cursor) = d.session.cursor(d.channel) else {
        return;
    };
    assert_eq!(cursor.tag, tag(cursor.epoch, cursor.seq));
    let view: BTreeMap<String, String> = d
        .session
        .ids(d.channel, "cards")
        .into_iter()
        .map(|id| (id.to_string(), d.title(&id).unwrap()))
        .collect();
    assert_eq!(view, server.states[&cursor.order()], "view at {cursor:?}");
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut d = Driver::start();
    let mut server = Server::new();
    let mut wire = Wire {
        frames: VecDeque::new(),
        dropped: rng.u32(0..30),
        repeated: rng.u32(0..30),
        reordered: rng.u32(0..60),
    };
    let mut last = (0, 0);
    for turn in 0..400 {
        pump(&mut d, &mut server, &mut wire);
        match rng.u32(0..100) {
            0..30 => {
                let patch = server.append();
                wire.frames.extend(server.subscribed.then_some(patch));
            }
            30..32 => server.lose_tail(rng.usize(0..6)),
            32..33 => d.session.pause(d.now, d.channel),
            33..36 => d.session.resume(d.now, d.channel),
            36..40 => d.advance(rng.u64(1..3_000)),
            _ => {
                if let Some(frame) = wire.next(&mut rng) {
                    d.receive(frame);
                }
            }
        }
        d.drain();
        // As the real one does, so that the link lives.
        if turn % 10 == 0 {
            wire.frames.push_back(server.heartbeat());
        }
        assert!(!d.closed, "seed {seed}: the client ended the link");
        check(&d, &server);
        let at = d.session.cursor(d.channel).map_or((0, 0), |at| at.order());
        assert!(at >= last, "seed {seed}: the cursor fell");
        last = at;
    }
    d.session.resume(d.now, d.channel);
    d.drain();
    (wire.dropped, wire.repeated, wire.reordered) = (0, 0, 0);
    let calm_from = d.session.stream_counts(d.channel).unwrap().subscribes;
    for _ in 0..60 {
        for _ in 0..3 {
            pump(&mut d, &mut server, &mut wire);
            while let Some(frame) = wire.next(&mut rng) {
                d.receive(frame);
            }
            check(&d, &server);
        }
        d.advance(1_000);
        wire.frames.push_back(server.heartbeat());
    }
    let state = d.session.state(d.channel);
    assert_eq!(state, Some(ChannelState::Live), "seed {seed}");
    assert_eq!(
        d.session.cursor(d.channel),
        Some(server.head()),
        "seed {seed}"
    );
    let asked = d.session.stream_counts(d.channel).unwrap().subscribes - calm_from;
    assert!(
        asked <= 8,
        "seed {seed}: {asked} subscribes in a calm minute"
    );
}

/// Parts and end of an older snapshot came between the begin of a newer one and its parts: whole, and
/// taken for the newer. Since then the end names its snapshot.
#[test]
fn an_older_snapshot_that_arrives_inside_a_newer_one_is_not_taken_for_it() {
    run(1_363_533_419_366_866_365);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn drops_copies_and_disorder_on_a_living_link_converge(seed in any::<u64>()) {
        run(seed);
    }
}
