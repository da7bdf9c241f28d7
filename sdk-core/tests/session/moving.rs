//! Moving to the next link: the one before goes on until it is done, whatever happens to the next one.

use crate::support::*;

const WINDOW_MS: u32 = 2_000;

fn goaway(d: &mut Driver) {
    d.receive(ServerKind::Goaway(Goaway {
        by_ms: 45_000,
        window_ms: WINDOW_MS,
        reason: "deploy".into(),
        ..Goaway::default()
    }));
}

/// Until the next link is being opened.
fn dial(d: &mut Driver) {
    let opens = d.opens;
    while d.opens == opens {
        let fetches = d.token_fetches;
        d.wake();
        if d.token_fetches > fetches {
            d.input(Input::Token(Ok("t".into())));
        }
    }
}

fn welcome_next(d: &mut Driver) {
    let (next, welcome) = (d.next(), d.welcome_frame());
    d.input(Input::Opened { conn: next });
    d.receive_on(next, welcome);
}

/// Live at seq 5, asked to go, and asking on a next link.
fn asking() -> Driver {
    let mut d = Driver::start();
    d.snapshot(at(5), &[card("a", "5")], 0, vec![]);
    d.advance(20_000);
    goaway(&mut d);
    dial(&mut d);
    welcome_next(&mut d);
    d.events.clear();
    d
}

fn resume_frame(from: Cursor, head: Cursor, last: u64) -> ServerKind {
    ServerKind::Resume(Resume {
        channel: CHANNEL.into(),
        from: Some(from),
        head: Some(head),
        known: Some(Known {
            last,
            rejected: vec![],
            ..Known::default()
        }),
        ..Resume::default()
    })
}

fn begin_frame(cursor: Cursor) -> ServerKind {
    ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(cursor),
        known: Some(Known::default()),
        head: Some(cursor),
        ..SnapshotBegin::default()
    })
}

fn end_frame(cursor: Cursor) -> ServerKind {
    ServerKind::SnapshotEnd(SnapshotEnd {
        channel: CHANNEL.into(),
        records: 0,
        digest: digest(&[]),
        cursor: Some(cursor),
    })
}

fn patch_frame(from: u64, to: u64) -> ServerKind {
    ServerKind::Patch(patch(from, to, vec![put_op("a", &to.to_string())], vec![]))
}

fn subscribes_on(d: &mut Driver, conn: ConnId) -> Vec<Option<Cursor>> {
    let sent = std::mem::take(&mut d.sent);
    sent.into_iter()
        .filter_map(|(on, frame)| match frame {
            ClientKind::Subscribe(subscribe) if on == conn => Some(subscribe.have),
            _ => None,
        })
        .collect()
}

fn pushes_on(d: &mut Driver, conn: ConnId) -> Vec<u64> {
    let sent = std::mem::take(&mut d.sent);
    sent.into_iter()
        .filter_map(|(on, frame)| match frame {
            ClientKind::Push(push) if on == conn => Some(push.first_n),
            _ => None,
        })
        .collect()
}

fn never_left_live(d: &Driver) {
    let left = d
        .events
        .iter()
        .find(|event| matches!(event, Event::Channel { .. }));
    assert_eq!(left, None);
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn a_server_that_drains_is_left_without_a_gap_and_takes_pushes_until_then() {
    let mut d = Driver::live();
    d.advance(20_000);
    goaway(&mut d);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Draining);
    assert_eq!(
        d.session.connection().reason.as_ref().map(Reason::code),
        Some("going_away")
    );
    let (old, from) = (d.conn, d.now.mono.0);
    d.mutate(ChangeKind::Put(card("b", "x")));
    assert_eq!(pushes_on(&mut d, old), [1], "the link goes on");
    d.patch(1, 2, vec![put_op("b", "x")], vec![mid(1)]);
    dial(&mut d);
    let waited = d.now.mono.0 - from;
    assert!(waited <= u64::from(WINDOW_MS) * 7 / 10, "{waited} ms");
    let next = d.next();
    assert_ne!(next, old);
    let hello = |first: &ClientKind| match first {
        ClientKind::Hello(hello) => (hello.conn, hello.continues.to_vec()),
        other => panic!("{other:?}"),
    };
    assert_eq!(hello(&d.firsts[0]), (old.0, vec![]));
    assert_eq!(
        hello(&d.firsts[1]),
        (next.0, vec![9; 16]),
        "one peer to others"
    );
    welcome_next(&mut d);
    assert_eq!(subscribes_on(&mut d, next), [Some(at(2))]);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Draining);
    assert_eq!(d.links, [old, next]);
    d.receive_on(next, resume_frame(at(2), at(2), 1));
    assert_eq!(d.links, [next], "every channel has its answer");
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    assert_eq!(d.session.connection().reason, None);
    d.mutate(ChangeKind::Put(card("c", "x")));
    assert_eq!(pushes_on(&mut d, next), [2]);
    never_left_live(&d);
}

#[test]
fn a_live_channel_moves_once_its_base_is_at_the_head_of_the_answer() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    d.receive_on(next, resume_frame(at(5), at(8), 0));
    assert_eq!(d.links, [old, next], "the base is behind that head");
    d.receive_on(next, patch_frame(5, 7));
    assert_eq!(d.session.cursor(d.channel), Some(at(7)));
    d.receive_on(old, patch_frame(5, 6));
    d.receive_on(old, patch_frame(6, 8));
    assert_eq!(d.session.cursor(d.channel), Some(at(8)), "applies whole");
    assert_eq!(d.links, [next]);
    d.receive_on(next, patch_frame(7, 8));
    d.receive_on(next, patch_frame(8, 9));
    assert_eq!(d.title("a").unwrap(), "\"9\"");
    never_left_live(&d);
}

#[test]
fn what_is_in_flight_on_the_old_link_goes_again_only_after_a_second() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    let handle = d.mutate(ChangeKind::Put(card("b", "x")));
    assert_eq!(pushes_on(&mut d, old), [1]);
    d.receive_on(next, resume_frame(at(5), at(5), 0));
    assert_eq!(d.links, [old, next], "its answer may still come");
    d.receive_on(
        old,
        ServerKind::Patch(patch(5, 6, vec![put_op("b", "x")], vec![mid(1)])),
    );
    assert_eq!(d.outcomes(handle).last(), Some(&MutationStatus::Committed));
    assert_eq!(d.links, [next]);
    assert!(pushes_on(&mut d, next).is_empty());

    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    d.mutate(ChangeKind::Put(card("b", "x")));
    d.receive_on(next, resume_frame(at(5), at(5), 0));
    d.advance(999);
    assert!(pushes_on(&mut d, next).is_empty());
    assert_eq!(d.links, [old, next]);
    d.advance(1);
    assert_eq!(pushes_on(&mut d, next), [1]);
    assert_eq!(d.links, [next]);
}

#[test]
fn a_dial_that_is_refused_is_tried_again_beside_the_link() {
    let mut d = Driver::live();
    d.advance(20_000);
    goaway(&mut d);
    let old = d.conn;
    dial(&mut d);
    for _ in 0..20 {
        let (conn, from) = (d.next(), d.now.mono.0);
        let reason = LinkClosed {
            http_status: Some(503),
            ..LinkClosed::default()
        };
        d.input(Input::Closed { conn, reason });
        assert_eq!(d.session.connection().phase, ConnectionPhase::Draining);
        assert_eq!(d.links, [old]);
        dial(&mut d);
        let waited = d.now.mono.0 - from;
        assert!((250..=1_500).contains(&waited), "{waited} ms");
        d.heartbeat(at(1));
    }
    let retry_after = Some(std::time::Duration::from_secs(5));
    let (conn, from) = (d.next(), d.now.mono.0);
    let reason = LinkClosed {
        retry_after,
        ..LinkClosed::default()
    };
    d.input(Input::Closed { conn, reason });
    dial(&mut d);
    assert!(
        d.now.mono.0 - from >= 5_000,
        "what a server asks for counts"
    );
    never_left_live(&d);
}

#[test]
fn a_next_link_that_dies_costs_nothing_but_what_had_moved_there() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    let other = d
        .session
        .subscribe(d.now, "board:other".parse().unwrap())
        .unwrap();
    d.drain();
    d.receive_on(next, resume_frame(at(5), at(5), 0));
    assert_eq!(d.links, [old, next], "another channel has no answer yet");
    d.take_frames();
    d.sent.clear();
    d.input(Input::Closed {
        conn: next,
        reason: LinkClosed::default(),
    });
    assert_eq!(d.session.connection().phase, ConnectionPhase::Draining);
    assert_eq!(subscribes_on(&mut d, old), [Some(at(5))], "it comes back");
    assert_eq!(d.session.state(other), Some(ChannelState::Subscribing));
    d.resume(at(5), at(5), 0);
    assert_eq!(d.status(), &ChannelStatus::Live);
    dial(&mut d);
    welcome_next(&mut d);
    let next = d.next();
    assert_eq!(subscribes_on(&mut d, next).len(), 2);
}

#[test]
fn the_end_of_the_old_link_makes_the_next_one_current_and_its_asks_stand() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    // The base moves on after the ask: its answer starts at a place that the base has left.
    d.patch(5, 7, vec![put_op("a", "7")], vec![]);
    d.input(Input::Closed {
        conn: old,
        reason: LinkClosed::default(),
    });
    assert_eq!(d.links, [next]);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    assert_eq!(d.session.state(d.channel), Some(ChannelState::Subscribing));
    assert_eq!(d.status(), &ChannelStatus::Stale);
    assert_eq!(subscribes_on(&mut d, next).len(), 1, "it asked before");
    d.receive_on(next, resume_frame(at(5), at(8), 0));
    assert_eq!(d.session.state(d.channel), Some(ChannelState::CatchingUp));
    d.receive_on(next, patch_frame(5, 8));
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn a_next_link_that_is_not_up_yet_is_the_way_back_when_the_old_one_ends() {
    let mut d = Driver::live();
    d.advance(20_000);
    goaway(&mut d);
    dial(&mut d);
    let (old, next) = (d.conn, d.next());
    d.input(Input::Closed {
        conn: old,
        reason: LinkClosed::default(),
    });
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connecting);
    assert_eq!(d.links, [next]);
    let welcome = d.welcome_frame();
    d.input(Input::Opened { conn: next });
    d.receive(welcome);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    d.resume(at(1), at(1), 0);
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn an_answer_of_another_epoch_counts_only_from_where_the_base_stands() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    d.patch(5, 7, vec![put_op("a", "7")], vec![]);
    d.take_frames();
    d.sent.clear();
    let later = Cursor::new(6, 8, 99);
    d.receive_on(next, resume_frame(at(5), later, 0));
    assert_eq!(
        d.links,
        [old, next],
        "what the base holds may be lost there"
    );
    assert_eq!(subscribes_on(&mut d, next), [Some(at(7))]);
    d.receive_on(next, resume_frame(at(7), later, 0));
    assert_eq!(d.links, [next]);
    assert_eq!(d.session.state(d.channel), Some(ChannelState::CatchingUp));
    assert_eq!(d.status(), &ChannelStatus::Stale);
}

#[test]
fn an_answer_below_what_is_known_is_asked_for_again_and_not_without_end() {
    let mut d = asking();
    let next = d.next();
    d.sent.clear();
    let older = Cursor::new(4, 9, 19);
    for _ in 0..20 {
        d.receive_on(next, begin_frame(older));
        d.receive_on(next, resume_frame(Cursor::new(4, 5, 15), older, 0));
    }
    assert_eq!(subscribes_on(&mut d, next).len(), 1, "at once");
    d.advance(20_000);
    assert_eq!(d.links, [next], "in the end the server that stays is taken");
}

#[test]
fn a_snapshot_counts_whole_and_only_if_the_base_has_not_passed_it() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    d.receive_on(next, begin_frame(at(6)));
    d.patch(5, 7, vec![put_op("a", "7")], vec![]);
    d.sent.clear();
    d.receive_on(next, end_frame(at(6)));
    assert_eq!(d.session.cursor(d.channel), Some(at(7)), "never back");
    assert_eq!(subscribes_on(&mut d, next), [Some(at(7))]);
    d.receive_on(next, begin_frame(at(9)));
    assert_eq!(
        d.title("a").unwrap(),
        "\"7\"",
        "invisible until it is whole"
    );
    assert_eq!(d.links, [old, next]);
    d.receive_on(next, end_frame(at(9)));
    assert_eq!(d.session.cursor(d.channel), Some(at(9)));
    assert_eq!(d.title("a"), None);
    assert_eq!(d.links, [next]);
}

#[test]
fn a_snapshot_counts_only_if_no_later_epoch_is_known() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    d.lagged();
    d.receive(resume_frame(at(5), Cursor::new(6, 8, 99), 0));
    d.sent.clear();
    d.receive_on(next, begin_frame(at(9)));
    d.receive_on(next, end_frame(at(9)));
    assert_eq!(
        d.session.cursor(d.channel),
        Some(at(5)),
        "the log may have lost what is between"
    );
    assert_eq!(subscribes_on(&mut d, next), [Some(at(5))]);
    assert_eq!(d.links, [old, next]);
}

#[test]
fn a_second_answer_with_the_same_snapshot_raises_the_head_that_live_waits_for() {
    let mut d = asking();
    let next = d.next();
    for head in [9, 11] {
        d.receive_on(
            next,
            ServerKind::SnapshotBegin(SnapshotBegin {
                channel: CHANNEL.into(),
                cursor: Some(at(9)),
                known: Some(Known::default()),
                head: Some(at(head)),
                ..SnapshotBegin::default()
            }),
        );
    }
    d.receive_on(next, end_frame(at(9)));
    assert_eq!(d.session.cursor(d.channel), Some(at(9)));
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.receive_on(next, patch_frame(9, 11));
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn after_ten_seconds_a_link_that_is_to_be_left_is_left() {
    let mut d = asking();
    let next = d.next();
    for _ in 0..4 {
        d.advance(2_500);
    }
    assert_eq!(d.links, [next]);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    assert_eq!(d.session.state(d.channel), Some(ChannelState::Subscribing));
    d.receive_on(next, resume_frame(at(5), at(5), 0));
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn a_server_that_is_alone_is_left_at_the_end_of_the_window() {
    let mut d = Driver::live();
    d.advance(20_000);
    d.receive(ServerKind::Goaway(Goaway {
        by_ms: 45_000,
        window_ms: WINDOW_MS,
        reason: "restart".into(),
        alone: true,
    }));
    let opens = d.opens;
    d.advance(u64::from(WINDOW_MS) - 1);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Draining);
    assert_eq!(d.status(), &ChannelStatus::Live);
    d.advance(1);
    assert!(d.closed);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
    assert_eq!(d.opens, opens, "nobody would have taken us");
}

#[test]
fn a_refusal_for_good_on_the_next_link_is_one() {
    let mut d = asking();
    let next = d.next();
    let refusal = |code: ErrorCode, retry_ms| {
        ServerKind::Error(ErrorFrame {
            code: code as u32,
            channel: Some(CHANNEL.into()),
            retry_ms,
            ..ErrorFrame::default()
        })
    };
    d.sent.clear();
    d.receive_on(next, refusal(ErrorCode::Overloaded, Some(500)));
    assert_eq!(d.status(), &ChannelStatus::Live);
    d.advance(499);
    assert!(subscribes_on(&mut d, next).is_empty());
    d.advance(5_000);
    assert_eq!(subscribes_on(&mut d, next).len(), 1, "asked once more");
    d.receive_on(next, refusal(ErrorCode::Forbidden, None));
    assert_eq!(d.status().name(), "failed");
    assert_eq!(d.links, [next], "nothing else had to move");
}

#[test]
fn what_the_old_link_says_of_a_channel_that_has_moved_no_longer_concerns_it() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    d.session
        .subscribe(d.now, "board:other".parse().unwrap())
        .unwrap();
    d.drain();
    d.receive_on(next, resume_frame(at(5), at(5), 0));
    d.take_frames();
    d.lagged();
    d.resume(at(5), at(9), 0);
    d.heartbeat(Cursor::new(4, 1, 11));
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::Forbidden as u32,
        channel: Some(CHANNEL.into()),
        ..ErrorFrame::default()
    }));
    assert!(d.subscribes().is_empty());
    d.patch(5, 6, vec![put_op("a", "6")], vec![]);
    d.patch(8, 9, vec![put_op("a", "9")], vec![]);
    assert_eq!(d.session.cursor(d.channel), Some(at(6)), "only what fits");
    never_left_live(&d);
    assert_eq!(d.links, [old, next]);
}

#[test]
fn what_a_retry_cannot_mend_is_heard_when_there_is_no_link_any_more() {
    let mut d = Driver::live();
    d.advance(20_000);
    goaway(&mut d);
    let old = d.conn;
    dial(&mut d);
    let (conn, welcome) = (d.next(), d.welcome_frame());
    d.input(Input::Opened { conn });
    let ServerKind::Welcome(welcome) = welcome else {
        unreachable!("it is one");
    };
    d.receive_on(
        conn,
        ServerKind::Welcome(Welcome {
            principal: "bob".into(),
            ..welcome
        }),
    );
    assert_eq!(d.links, [old]);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Draining);
    let opens = d.opens;
    d.advance(20_000);
    assert_eq!(d.opens, opens, "not tried again");
    never_left_live(&d);
}

#[test]
fn a_channel_that_is_paused_or_let_go_during_a_move_holds_nothing_up() {
    let mut d = asking();
    let (old, next) = (d.conn, d.next());
    d.sent.clear();
    d.session.pause(d.now, d.channel);
    d.drain();
    let told: Vec<ConnId> = d
        .sent
        .iter()
        .filter(|(_, frame)| matches!(frame, ClientKind::Unsubscribe(_)))
        .map(|(conn, _)| *conn)
        .collect();
    assert_eq!(told, [old, next]);
    assert_eq!(d.links, [next]);
    d.session.resume(d.now, d.channel);
    d.drain();
    assert_eq!(subscribes_on(&mut d, next), [Some(at(5))]);
}

#[test]
fn a_server_that_sends_everybody_away_makes_nobody_spin() {
    let mut d = Driver::live();
    d.advance(60_000);
    let goaway = ServerKind::Goaway(Goaway {
        by_ms: 0,
        window_ms: 0,
        reason: "drain".into(),
        ..Goaway::default()
    });
    let (opens, from) = (d.opens, d.now.mono.0);
    for _ in 0..12 {
        d.receive(goaway.clone());
        dial(&mut d);
        if d.opens == opens + 1 {
            assert_eq!(d.now.mono.0, from, "the first move is at once");
        }
        welcome_next(&mut d);
        let next = d.next();
        d.receive_on(next, resume_frame(at(1), at(1), 0));
    }
    let passed = d.now.mono.0 - from;
    assert!(passed > 20_000, "twelve moves within {passed} ms");
    never_left_live(&d);
}
