//! Which transport: rounds of attempts, verdicts, probes, and the way back up.

use std::time::Duration;

use super::http::{base64, refusal, stream_event};
use crate::support::*;

const ALL: [TransportKind; 3] = [
    TransportKind::WebSocket,
    TransportKind::Sse,
    TransportKind::LongPoll,
];

fn config() -> Config {
    let mut config = Config::default();
    config.transports = ALL.into();
    config
}

/// All three, the best one dialled.
fn dialled() -> Driver {
    dialled_with(config())
}

fn dialled_with(config: Config) -> Driver {
    let mut d = Driver::idle(config);
    d.session.connect(d.now);
    d.drain();
    d.channel = d
        .session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    d.drain();
    d.input(Input::Token(Ok("t".into())));
    d
}

fn transport(d: &Driver) -> Option<TransportKind> {
    d.session.connection().transport
}

fn code(d: &Driver) -> Option<&'static str> {
    d.session.connection().reason.as_ref().map(Reason::code)
}

fn fails(conn: ConnId, d: &mut Driver) {
    d.input(Input::Closed {
        conn,
        reason: LinkClosed::default(),
    });
}

/// A stream that is up and welcomed on this link.
fn stream_is_welcomed(d: &mut Driver, conn: ConnId) {
    let message = server_message(d.http_welcome());
    let event = stream_event("message", &base64(&message));
    d.input(Input::Opened { conn });
    d.input(Input::Event { conn, event });
}

/// Over a stream, since no WebSocket gets through.
fn fallen() -> Driver {
    let mut d = dialled();
    fails(d.conn, &mut d);
    let conn = d.take_request().conn;
    stream_is_welcomed(&mut d, conn);
    d.requests.clear();
    d
}

#[test]
fn what_is_refused_is_followed_by_the_next_transport_at_once() {
    let mut d = dialled();
    fails(d.conn, &mut d);
    let stream = d.take_request();
    assert_eq!(stream.door, Door::Stream);
    assert_eq!(d.token_fetches, 1, "with the same token");
    d.respond(&stream, 302, Bytes::new());
    let poll = d.take_request();
    assert_eq!(poll.door, Door::Poll);
    d.respond(&poll, 0, Bytes::new());
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
    assert!(d.session.verdicts().is_empty(), "the network may be down");
}

#[test]
fn what_shows_nothing_is_joined_by_the_next_and_the_older_of_two_makes_room_for_a_third() {
    let mut d = dialled();
    let socket = d.conn;
    d.input(Input::Opened { conn: socket });
    d.advance(1_499);
    assert!(d.requests.is_empty());
    d.advance(1);
    let stream = d.take_request();
    assert_eq!(
        (stream.door, d.links.clone()),
        (Door::Stream, vec![socket, stream.conn])
    );
    d.advance(1_500);
    let poll = d.take_request();
    assert_eq!(
        (poll.door, d.links.clone()),
        (Door::Poll, vec![stream.conn, poll.conn])
    );
    d.respond(&poll, 200, server_message(d.http_welcome()));
    assert_eq!(transport(&d), Some(TransportKind::LongPoll));
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    let verdicts: Vec<_> = d.session.verdicts().iter().map(|v| v.kind).collect();
    assert_eq!(
        verdicts,
        [TransportKind::WebSocket],
        "the stream may still come"
    );
    assert_eq!(d.links, [stream.conn, poll.conn]);
    d.advance(15_000);
    assert_eq!(d.session.verdicts().len(), 2, "it stayed useless");
}

#[test]
fn a_stream_that_has_begun_is_not_joined() {
    let mut d = dialled();
    fails(d.conn, &mut d);
    let stream = d.take_request();
    d.input(Input::Opened { conn: stream.conn });
    d.advance(5_000);
    assert!(d.requests.is_empty());
}

#[test]
fn a_socket_that_opens_later_takes_over_by_a_move() {
    let mut d = dialled();
    let socket = d.conn;
    d.advance(1_500);
    let stream = d.take_request();
    stream_is_welcomed(&mut d, stream.conn);
    assert_eq!(transport(&d), Some(TransportKind::Sse));
    d.requests.clear();
    d.sent.clear();
    d.input(Input::Opened { conn: socket });
    d.receive_on(socket, d.welcome_frame());
    assert_eq!(d.subscribes().len(), 1, "the channel asks there");
    let at = Cursor::new(5, 1, 11);
    let begin = SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(at),
        known: Some(Known::default()),
        head: Some(at),
        ..SnapshotBegin::default()
    };
    d.receive_on(socket, ServerKind::SnapshotBegin(begin));
    let end = SnapshotEnd {
        channel: CHANNEL.into(),
        records: 0,
        digest: digest(&[]),
        cursor: Some(at),
    };
    d.receive_on(socket, ServerKind::SnapshotEnd(end));
    assert_eq!(transport(&d), Some(TransportKind::WebSocket));
    assert_eq!(d.links, [socket]);
    assert!(d.session.verdicts().is_empty());
}

#[test]
fn a_worse_transport_that_was_begun_is_given_up_when_the_better_one_is_welcomed() {
    let mut d = dialled();
    let socket = d.conn;
    d.advance(1_500);
    assert_eq!(d.links.len(), 2);
    d.input(Input::Opened { conn: socket });
    d.receive_on(socket, d.welcome_frame());
    assert_eq!(d.links, [socket]);
    assert_eq!(transport(&d), Some(TransportKind::WebSocket));
}

#[test]
fn a_verdict_is_for_an_hour_and_a_network_change_voids_it() {
    let mut d = fallen();
    let stream = d.conn;
    assert_eq!(d.session.verdicts().len(), 1);
    fails(stream, &mut d);
    d.wake();
    d.input(Input::Token(Ok("t".into())));
    let again = d.take_request();
    assert_eq!(again.door, Door::Stream, "remembered");
    // An hour later, by the calendar.
    let mut config = config();
    config.verdicts = d.session.verdicts();
    let mut later = Driver::idle(config.clone());
    later.now.unix = UnixTime(d.now.unix.0 + 3_700_000);
    later.session = Session::new(config.clone(), 1, later.now);
    later.session.connect(later.now);
    later.drain();
    later.input(Input::Token(Ok("t".into())));
    assert!(
        later.requests.is_empty() && later.opens == 1,
        "WebSocket again"
    );
    // A network change.
    let mut d = dialled_with(config);
    assert_eq!(d.take_request().door, Door::Stream);
    d.input(Input::Network(NetworkHint::Online));
    assert!(d.session.verdicts().is_empty());
}

#[test]
fn from_a_fallback_the_best_one_is_tried_at_growing_intervals_and_nothing_happens_to_the_session() {
    let mut d = fallen();
    let stream = d.conn;
    let mut tries = Vec::new();
    let begun = d.now.mono.0;
    while tries.len() < 4 {
        let (opens, fetches) = (d.opens, d.token_fetches);
        d.wake();
        if d.token_fetches > fetches {
            d.input(Input::Token(Ok("t".into())));
        }
        for asked in std::mem::take(&mut d.requests) {
            d.respond(&asked, 200, Bytes::new());
        }
        if d.now.mono.0.is_multiple_of(5) || d.opens > opens {
            let beat = server_message(ServerKind::Heartbeat(Heartbeat::default()));
            d.event(&beat);
        }
        if d.opens > opens {
            tries.push(d.now.mono.0 - begun);
            fails(d.next(), &mut d);
            assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
        }
        let beat = server_message(ServerKind::Heartbeat(Heartbeat::default()));
        if d.wake_at.is_some_and(|at| at.0 > d.now.mono.0 + 20_000) {
            d.advance(10_000);
            d.event(&beat);
        }
    }
    assert_eq!(d.conn, stream);
    let gaps: Vec<u64> = std::iter::once(tries[0])
        .chain(tries.windows(2).map(|pair| pair[1] - pair[0]))
        .collect();
    for (gap, least) in gaps.iter().zip([15_000, 30_000, 60_000, 120_000]) {
        assert!((least..=least * 5 / 4 + 10).contains(gap), "{gaps:?}");
    }
}

#[test]
fn a_hint_hurries_the_next_try_but_hints_make_nobody_spin() {
    let mut d = fallen();
    let opens = d.opens;
    for _ in 0..200 {
        d.input(Input::Network(NetworkHint::Online));
        let fetches = d.token_fetches;
        d.advance(10);
        if d.token_fetches > fetches {
            d.input(Input::Token(Ok("t".into())));
        }
        if d.links.len() == 2 {
            fails(d.next(), &mut d);
        }
    }
    assert!((1..=2).contains(&(d.opens - opens)), "{}", d.opens - opens);
}

#[test]
fn the_servers_own_word_ends_the_round() {
    for (code, phase) in [
        (ErrorCode::Unauthenticated, ConnectionPhase::Closed),
        (ErrorCode::Overloaded, ConnectionPhase::Waiting),
    ] {
        let mut d = dialled();
        let socket = d.conn;
        d.advance(1_500);
        d.input(Input::Opened { conn: socket });
        let message = refusal(code, Some(5_000));
        d.input(Input::Received {
            conn: socket,
            message,
        });
        assert_eq!(d.session.connection().phase, phase, "{code:?}");
        assert!(d.links.is_empty(), "{:?}", d.links);
    }
}

#[test]
fn a_pause_that_is_asked_for_is_kept_over_all_transports() {
    let mut d = dialled();
    let reason = LinkClosed {
        http_status: Some(503),
        retry_after: Some(Duration::from_secs(20)),
        ..LinkClosed::default()
    };
    d.input(Input::Closed {
        conn: d.conn,
        reason,
    });
    assert!(d.requests.is_empty());
    assert!(d.wake_at >= Some(d.now.mono + Duration::from_secs(20)));
}

#[test]
fn a_network_that_answers_in_the_servers_place_is_blocked_until_the_server_answers() {
    let mut d = dialled();
    fails(d.conn, &mut d);
    let probe = d.probes[0];
    let stream = d.take_request();
    d.respond(&stream, 302, Bytes::new());
    let poll = d.take_request();
    d.input(Input::Probed {
        probe,
        found: Probed::Stranger,
    });
    d.respond(&poll, 302, Bytes::new());
    let state = d.session.connection();
    assert_eq!(state.phase, ConnectionPhase::Waiting);
    assert_eq!(code(&d), Some("blocked"));
    let detail = d.session.connection().reason.as_ref().unwrap().detail();
    assert!(detail.ends_with("HTTP 302"), "{detail}");
    assert_eq!(d.probes.len(), 1, "one probe tells");
    let begun = d.now.mono.0;
    while d.probes.len() == 1 {
        let fetches = d.token_fetches;
        d.wake();
        if d.token_fetches > fetches {
            d.input(Input::Token(Err(TokenError {
                retryable: true,
                detail: String::new(),
            })));
        }
    }
    assert!((2_999..=3_001).contains(&(d.now.mono.0 - begun)));
    let (probe, fetches) = (d.probes[1], d.token_fetches);
    d.input(Input::Probed {
        probe,
        found: Probed::Live,
    });
    assert_eq!(d.token_fetches, fetches + 1, "at once");
}

#[test]
fn in_a_network_that_swallows_everything_blocked_is_told_within_five_seconds() {
    let mut d = dialled();
    let begun = d.now.mono.0;
    while code(&d) != Some("blocked") {
        d.wake();
        while let Some(probe) = d.probes.pop() {
            d.input(Input::Probed {
                probe,
                found: Probed::Stranger,
            });
        }
        assert!(d.now.mono.0 - begun <= 5_000);
    }
    assert!(d.links.is_empty());
}

#[test]
fn a_probe_that_nobody_answers_says_nothing_of_a_stranger() {
    let mut d = dialled();
    fails(d.conn, &mut d);
    d.requests.clear();
    d.advance(3_000);
    let late = d.probes[0];
    d.input(Input::Probed {
        probe: late,
        found: Probed::Stranger,
    });
    assert_ne!(code(&d), Some("blocked"));
    assert_eq!(d.probes.len(), 1);
}

#[test]
fn with_one_transport_there_is_no_round_and_no_probe() {
    let mut d = Driver::idle(Config::default());
    d.session.connect(d.now);
    d.drain();
    d.input(Input::Token(Ok("t".into())));
    d.advance(14_999);
    assert_eq!((d.opens, d.probes.len(), d.links.len()), (1, 0, 1));
    d.advance(1);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
    assert!(d.session.verdicts().is_empty());
}
