//! The state table of docs/protocol.md §5: every state met with everything that can happen, by name.
//!
//! In every state the base stands at seq 5 of epoch 5, except in Idle, which has none.

#![expect(
    non_snake_case,
    reason = "a cell is named state__event__outcome, and the three parts have names of several words"
)]

mod table;

use std::collections::BTreeSet;

use self::Step::*;
use crate::support::*;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    ResumeAtHead,
    ResumeBehindHead,
    ResumeFromOlder,
    ResumeFromElsewhere,
    AnswerBelowMaxEpoch,
    PatchNext,
    PatchFilling,
    PatchToHead,
    PatchBehind,
    PatchAbove,
    PatchOtherTag,
    PatchHigherEpoch,
    PatchLowerEpoch,
    SnapshotBegins,
    SnapshotBelowBegins,
    RestOfSnapshot,
    DamagedEndOfSnapshot,
    HeadAheadFor2s,
    Lagged,
    StaleEpoch,
    FetchRefused,
    SilenceFor2s,
    SilenceFor10s,
    Disconnect,
    Connected,
    Pause,
    EndOfPause,
    Forbidden,
    SubscribeAgain,
    Unsubscribe,
}

const STEPS: [Step; 30] = [
    ResumeAtHead,
    ResumeBehindHead,
    ResumeFromOlder,
    ResumeFromElsewhere,
    AnswerBelowMaxEpoch,
    PatchNext,
    PatchFilling,
    PatchToHead,
    PatchBehind,
    PatchAbove,
    PatchOtherTag,
    PatchHigherEpoch,
    PatchLowerEpoch,
    SnapshotBegins,
    SnapshotBelowBegins,
    RestOfSnapshot,
    DamagedEndOfSnapshot,
    HeadAheadFor2s,
    Lagged,
    StaleEpoch,
    FetchRefused,
    SilenceFor2s,
    SilenceFor10s,
    Disconnect,
    Connected,
    Pause,
    EndOfPause,
    Forbidden,
    SubscribeAgain,
    Unsubscribe,
];

/// What the client sent about its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Subscribe,
    Fetch,
    Unsubscribe,
}

/// `then`: the state afterwards, `None` when the channel is gone. `base`: where the base stands, 0 = none.
fn check(state: ChannelState, step: Step, then: Option<ChannelState>, sent: &[Sent], base: u64) {
    let mut d = driver_in(state);
    assert_eq!(d.session.state(d.channel), Some(state), "not in that state");
    d.take_frames();
    act(&mut d, step);
    assert_eq!(d.session.state(d.channel), then, "state");
    assert_eq!(sent_by(&mut d), sent, "frames");
    let seq = d.session.cursor(d.channel).map_or(0, |cursor| cursor.seq);
    assert_eq!(seq, base, "base");
    let ended = step == Disconnect || state == ChannelState::Idle && step != Connected;
    let linked = d.session.connection().phase == ConnectionPhase::Connected;
    assert_ne!(ended, linked, "no step but the end of the link ends it");
}

fn driver_in(state: ChannelState) -> Driver {
    let name = CHANNEL.parse().unwrap();
    if state == ChannelState::Idle {
        let mut d = Driver::idle(Config::default());
        d.channel = d.session.subscribe(d.now, name).unwrap();
        return d;
    }
    let mut d = Driver::start();
    d.snapshot(at(5), &[card("a", "5")], 0, vec![]);
    // Subscribes long ago do not slow the next one down.
    d.advance(20_000);
    d.reconnect();
    let below = Cursor::new(4, 5, 15);
    match state {
        ChannelState::Idle | ChannelState::Subscribing => {}
        ChannelState::CatchingUp => d.resume(at(5), at(9), 0),
        ChannelState::Live => d.resume(at(5), at(5), 0),
        ChannelState::Gap => {
            d.resume(at(5), at(5), 0);
            d.patch(7, 8, vec![put_op("a", "8")], vec![]);
        }
        ChannelState::Snapshotting => {
            begin(&mut d, at(9));
            part(&mut d, "a");
        }
        ChannelState::Backoff => {
            // The first is asked for again at once, the second after a pause.
            d.resume(below, below, 0);
            d.resume(below, below, 0);
        }
        ChannelState::Suspended => {
            d.resume(at(5), at(5), 0);
            d.session.pause(d.now, d.channel);
            d.drain();
        }
        ChannelState::Failed => act(&mut d, Forbidden),
    }
    d
}

fn act(d: &mut Driver, step: Step) {
    let below = Cursor::new(4, 5, 15);
    let channel = || CHANNEL.to_owned();
    let put = |title| vec![put_op("a", title)];
    match step {
        ResumeAtHead => d.resume(at(5), at(5), 0),
        ResumeBehindHead => d.resume(at(5), at(9), 0),
        ResumeFromOlder => d.resume(at(4), at(9), 0),
        ResumeFromElsewhere => d.resume(at(6), at(9), 0),
        AnswerBelowMaxEpoch => d.resume(below, below, 0),
        PatchNext => d.patch(5, 6, put("6"), vec![]),
        PatchFilling => d.patch(5, 7, put("7"), vec![]),
        PatchToHead => d.patch(5, 9, put("9"), vec![]),
        PatchBehind => d.patch(4, 5, put("5"), vec![]),
        PatchAbove => d.patch(8, 9, put("9"), vec![]),
        PatchOtherTag => d.receive(ServerKind::Patch(Patch {
            from_tag: 99,
            ..patch(5, 6, put("x"), vec![])
        })),
        PatchHigherEpoch => d.receive(ServerKind::Patch(Patch {
            epoch: 6,
            ..patch(5, 6, put("x"), vec![])
        })),
        PatchLowerEpoch => d.receive(ServerKind::Patch(Patch {
            epoch: 4,
            ..patch(5, 6, put("x"), vec![])
        })),
        SnapshotBegins => begin(d, at(12)),
        SnapshotBelowBegins => begin(d, at(4)),
        RestOfSnapshot => {
            part(d, "b");
            let whole = [card("a", "9"), card("b", "9")];
            end(d, 2, digest(&whole));
        }
        DamagedEndOfSnapshot => end(d, 1, 0),
        HeadAheadFor2s => {
            d.heartbeat(at(8));
            d.advance(2_000);
        }
        Lagged => d.lagged(),
        StaleEpoch => d.receive(ServerKind::StaleEpoch(wire::StaleEpoch {
            channel: channel(),
            epoch: 5,
        })),
        FetchRefused => d.receive(ServerKind::Error(ErrorFrame {
            code: ErrorCode::Unsupported as u32,
            channel: Some(channel()),
            ..ErrorFrame::default()
        })),
        SilenceFor2s => d.advance(2_000),
        SilenceFor10s => d.advance(10_000),
        Disconnect => d.input(Input::Closed {
            conn: d.conn,
            reason: LinkClosed::default(),
        }),
        Connected => d.reconnect(),
        Pause => d.session.pause(d.now, d.channel),
        EndOfPause => d.session.resume(d.now, d.channel),
        Forbidden => d.receive(ServerKind::Error(ErrorFrame {
            code: ErrorCode::Forbidden as u32,
            channel: Some(channel()),
            ..ErrorFrame::default()
        })),
        SubscribeAgain => {
            let again = d.session.subscribe(d.now, CHANNEL.parse().unwrap());
            assert_eq!(again, Ok(d.channel));
        }
        Unsubscribe => d.session.unsubscribe(d.now, d.channel),
    }
    d.drain();
}

fn sent_by(d: &mut Driver) -> Vec<Sent> {
    let frames = d.take_frames().into_iter();
    frames
        .filter_map(|frame| match frame {
            ClientKind::Subscribe(_) => Some(Sent::Subscribe),
            ClientKind::Fetch(_) => Some(Sent::Fetch),
            ClientKind::Unsubscribe(_) => Some(Sent::Unsubscribe),
            _ => None,
        })
        .collect()
}

fn begin(d: &mut Driver, cursor: Cursor) {
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(cursor),
        known: Some(Known::default()),
        head: Some(cursor),
        ..SnapshotBegin::default()
    }));
}

fn part(d: &mut Driver, id: &str) {
    d.receive(ServerKind::SnapshotPart(SnapshotPart {
        channel: CHANNEL.into(),
        records: vec![card(id, "9")],
    }));
}

fn end(d: &mut Driver, records: u64, digest: u64) {
    d.receive(ServerKind::SnapshotEnd(SnapshotEnd {
        channel: CHANNEL.into(),
        records,
        digest,
        cursor: None,
    }));
}

#[test]
fn every_cell_has_exactly_one_test() {
    let tested: BTreeSet<_> = table::CELLS.iter().copied().collect();
    assert_eq!(
        tested.len(),
        table::CELLS.len(),
        "a cell stands there twice"
    );
    for state in ChannelState::ALL {
        for step in STEPS {
            assert!(tested.contains(&(state, step)), "{state:?} × {step:?}");
        }
    }
}
