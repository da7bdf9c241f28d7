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
