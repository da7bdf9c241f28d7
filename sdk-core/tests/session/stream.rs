//! Patches in whatever order they come, holes, and answers to subscribes.

use crate::support::*;

#[test]
fn patches_apply_only_where_the_base_stands() {
    let mut d = Driver::live();
    d.patch(1, 2, vec![put_op("a", "1")], vec![]);
    d.patch(1, 2, vec![put_op("a", "dup")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"1\"");
    assert!(d.subscribes().is_empty());
    d.patch(3, 4, vec![put_op("a", "hole")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"1\"");
    assert_eq!(d.fetches(), [(2, 3)]);
    d.patch(2, 3, vec![put_op("a", "2")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"hole\"");
}

#[test]
fn another_tag_at_the_same_seq_resubscribes() {
    let mut d = Driver::live();
    let mut other = patch(1, 2, vec![put_op("a", "1")], vec![]);
    other.from_tag = 99;
    d.receive(ServerKind::Patch(other));
    assert_eq!(d.title("a"), None);
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn patches_that_come_before_the_answer_wait_for_it() {
    let mut d = Driver::live();
    d.receive(ServerKind::Lagged(Lagged {
        channel: CHANNEL.into(),
    }));
    d.patch(2, 3, vec![put_op("a", "3")], vec![]);
    assert_eq!(d.title("a"), None);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.resume(at(1), at(3), 0);
    assert_eq!(d.title("a"), None);
    d.patch(1, 2, vec![put_op("a", "2")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"3\"");
    assert_eq!(d.status(), &ChannelStatus::Live);
    assert!(d.events.contains(&Event::Recovered {
        channel: d.channel,
        recovery: Recovery::Replayed { entries: 2 }
    }));
}

#[test]
fn an_answer_below_the_highest_epoch_is_asked_for_again_but_not_at_once() {
    let mut d = Driver::live();
    d.reconnect();
    d.take_frames();
    for _ in 0..50 {
        d.resume(Cursor::new(4, 1, 11), Cursor::new(4, 1, 11), 0);
    }
    assert!(d.subscribes().len() <= 1);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    let mut asked = 0;
    for _ in 0..20 {
        d.wake();
        asked += d.subscribes().len();
        d.resume(Cursor::new(4, 1, 11), Cursor::new(4, 1, 11), 0);
    }
    assert!(asked > 1);
}

#[test]
fn several_frames_in_one_message_are_one_turn() {
    let mut d = Driver::live();
    let mut message = BytesMut::new();
    for seq in 1..=20 {
        let frame = patch(seq, seq + 1, vec![put_op("a", &seq.to_string())], vec![]);
        encode_server(ServerKind::Patch(frame), &mut message);
    }
    let conn = d.conn;
    d.input(Input::Received {
        conn,
        message: message.freeze(),
    });
    let changed = d
        .events
        .iter()
        .filter(|e| matches!(e, Event::Changed { .. }));
    assert_eq!(changed.count(), 1);
    assert_eq!(d.title("a").unwrap(), "\"20\"");
}

#[test]
fn heartbeats_are_answered_and_a_hole_they_show_is_mended() {
    let mut d = Driver::live();
    d.receive(ServerKind::Heartbeat(Heartbeat {
        heads: vec![Head {
            channel: CHANNEL.into(),
            cursor: Some(at(3)),
        }],
        server_ms: 8,
    }));
    assert!(matches!(d.take_frames()[0], ClientKind::Pong(_)));
    assert_eq!(d.status(), &ChannelStatus::Live);
    d.wake();
    assert_eq!(d.fetches(), [(1, 3)]);
    d.wake();
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_lost_resume_is_asked_for_again_whatever_else_arrives() {
    let mut d = Driver::live();
    d.reconnect();
    assert_eq!(d.subscribes().len(), 1);
    for _ in 0..9 {
        d.advance(1_000);
        d.receive(ServerKind::Presence(wire::Presence {
            channel: CHANNEL.into(),
            ..wire::Presence::default()
        }));
    }
    d.advance(1_000);
    assert_eq!(d.subscribes().len(), 1, "presence is no progress");
}

#[test]
fn live_waits_for_the_head_of_each_answer_whichever_subscribe_it_answers() {
    let mut d = Driver::live();
    d.reconnect();
    d.advance(10_000);
    assert_eq!(d.subscribes().len(), 2, "the first one's answer is late");
    d.resume(at(1), at(1), 0);
    assert_eq!(d.status(), &ChannelStatus::Live);
    d.resume(at(1), at(3), 0);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.resume(at(1), at(1), 0);
    d.patch(1, 2, vec![put_op("a", "2")], vec![]);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.patch(2, 3, vec![put_op("a", "3")], vec![]);
    assert_eq!(d.status(), &ChannelStatus::Live);
    assert!(d.subscribes().is_empty());
    // The log was lost between the two.
    d.resume(at(1), Cursor::new(9, 4, 99), 0);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.wake();
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_second_answer_ends_live_below_its_head_although_a_heartbeat_named_that_head_before() {
    let mut d = Driver::live();
    d.reconnect();
    d.advance(10_000);
    assert_eq!(d.subscribes().len(), 2, "the first one's answer is late");
    d.resume(at(1), at(1), 0);
    d.heartbeat(at(3));
    assert_eq!(d.status(), &ChannelStatus::Live);
    d.resume(at(1), at(3), 0);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.patch(1, 3, vec![put_op("a", "3")], vec![]);
    assert_eq!(d.status(), &ChannelStatus::Live);
    // A copy of what was answered and reached.
    d.heartbeat(at(5));
    d.resume(at(1), at(3), 0);
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn a_hole_that_stays_is_asked_for_once_and_then_the_stream_anew() {
    let mut d = Driver::live();
    for from in 3..8 {
        d.patch(from, from + 1, vec![], vec![]);
    }
    assert_eq!(d.fetches(), [(1, 3)]);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.advance(2_000);
    assert_eq!(d.subscribes()[0].have, Some(at(1)));
}

#[test]
fn a_hole_that_shrinks_is_not_given_up() {
    let mut d = Driver::live();
    d.patch(6, 7, vec![], vec![]);
    for from in 1..6 {
        d.advance(1_900);
        d.patch(from, from + 1, vec![], vec![]);
    }
    assert_eq!(d.session.cursor(d.channel), Some(at(7)));
    assert!(d.subscribes().is_empty());
}

#[test]
fn one_hole_after_another_does_not_make_fetches_spin() {
    let mut d = Driver::live();
    let mut fetches = 0;
    for seq in (1..200).step_by(2) {
        d.patch(seq + 1, seq + 2, vec![], vec![]);
        fetches += d.fetches().len();
        d.patch(seq, seq + 1, vec![], vec![]);
    }
    assert_eq!(fetches, 1, "all within one moment");
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn a_server_that_serves_no_ranges_is_asked_for_the_stream() {
    let mut d = Driver::live();
    d.patch(3, 4, vec![], vec![]);
    d.take_frames();
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::Unsupported as u32,
        channel: Some(CHANNEL.into()),
        ..ErrorFrame::default()
    }));
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn more_patches_than_the_buffer_holds_ask_for_the_stream() {
    let mut d = Driver::live();
    for from in 2..300 {
        d.patch(from, from + 1, vec![], vec![]);
    }
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_heads_hole_is_patient_while_patches_come() {
    let mut d = Driver::live();
    d.heartbeat(at(4));
    for from in 1..3 {
        d.advance(1_500);
        d.patch(from, from + 1, vec![], vec![]);
    }
    assert!(d.fetches().is_empty());
    d.advance(2_000);
    assert_eq!(d.fetches(), [(3, 4)]);
    assert_eq!(d.session.state(d.channel), Some(ChannelState::Gap));
}

#[test]
fn a_head_of_an_epoch_that_no_answer_announced_is_asked_for_by_a_subscribe() {
    let mut d = Driver::live();
    d.heartbeat(Cursor::new(6, 4, 99));
    d.advance(2_000);
    let frames = d.take_frames();
    assert!(
        frames.iter().any(|f| matches!(f, ClientKind::Subscribe(_))),
        "{frames:?}"
    );
}

/// A patch of a lost tail is applied after the answer that announced the new epoch, in which the mutation is
/// pushed again: nobody can say yet what becomes of it there.
#[test]
fn a_late_patch_of_a_lost_log_decides_nothing_that_goes_in_the_new_one() {
    let mut d = Driver::live();
    let handle = d.mutate(ChangeKind::Put(card("a", "x")));
    d.reconnect();
    d.resume(at(1), Cursor::new(6, 2, 62), 0);
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.told(handle), ["queued", "attempted", "indeterminate"]);
    d.take_frames();
    d.receive(ServerKind::Patch(Patch {
        epoch: 6,
        to_tag: 62,
        ..patch(1, 2, vec![], vec![])
    }));
    assert_eq!(d.subscribes().len(), 1);
    d.snapshot(Cursor::new(6, 2, 62), &[], 0, vec![]);
    assert_eq!(d.told(handle), ["queued", "attempted", "indeterminate"]);
}

#[test]
fn a_slow_link_is_given_more_time_each_time() {
    let mut d = Driver::start();
    d.take_frames();
    let mut asked_after = Vec::new();
    let mut last = d.now.mono;
    while asked_after.len() < 4 {
        d.wake();
        if !d.subscribes().is_empty() {
            asked_after.push(d.now.mono.since(last).as_secs());
            last = d.now.mono;
        }
        // The link lives, but what it is busy with is not here yet.
        d.receive(ServerKind::Heartbeat(Heartbeat {
            heads: vec![],
            server_ms: d.now.unix.0,
        }));
    }
    assert_eq!(asked_after, [10, 20, 40, 40]);
    d.snapshot(at(1), &[], 0, vec![]);
    d.receive(ServerKind::Lagged(Lagged {
        channel: CHANNEL.into(),
    }));
    while d.subscribes().is_empty() {
        d.wake();
    }
    let asked_at = d.now.mono;
    d.wake();
    assert_eq!(d.subscribes().len(), 1);
    assert_eq!(d.now.mono.since(asked_at).as_secs(), 10);
}

/// The `lagged` after a failover was dropped, and the surviving log had a lower epoch: heartbeats were
/// ignored, and the client stayed on the lost line for ever.
#[test]
fn a_heartbeat_of_a_lower_epoch_makes_a_live_channel_subscribe_again() {
    let mut d = Driver::live();
    d.take_frames();
    d.heartbeat(Cursor::new(at(1).epoch - 1, 99, 7));
    assert_eq!(d.subscribes().len(), 1);
}

/// As above, where the log that lost its tail has opened no epoch since: its head stays below the base.
#[test]
fn a_head_that_stays_below_the_base_makes_a_live_channel_subscribe_again() {
    let mut d = Driver::live();
    d.patch(1, 3, vec![put_op("a", "1")], vec![]);
    d.take_frames();
    d.heartbeat(at(2));
    d.patch(3, 4, vec![put_op("a", "2")], vec![]);
    d.heartbeat(at(2));
    assert!(d.subscribes().is_empty(), "it may be older than the patch");
    d.heartbeat(at(2));
    assert_eq!(d.subscribes().len(), 1);
}
