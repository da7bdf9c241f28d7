//! What a server may not send.

use crate::support::*;

#[test]
fn garbage_ends_the_link_and_only_the_link() {
    let mut d = Driver::live();
    let conn = d.conn;
    let message = Bytes::from_static(b"\xff\xff\xff");
    d.input(Input::Received { conn, message });
    assert!(d.closed);
    assert_eq!(
        d.session.connection().reason,
        Some(Reason::Violated {
            code: ErrorCode::Malformed
        })
    );
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
}

#[test]
fn an_unknown_op_ends_the_link_before_anything_of_its_patch_is_applied() {
    let mut d = Driver::live();
    d.receive(ServerKind::Patch(patch(
        1,
        2,
        vec![put_op("a", "x"), Op { kind: None }],
        vec![],
    )));
    assert!(d.closed);
    assert_eq!(d.session.record(d.channel, "cards", "a"), None);
    assert_eq!(
        d.session.cursor(d.channel),
        Some(at(1)),
        "a resume from behind the patch would leave its hole for ever"
    );
}

#[test]
fn values_that_are_not_json_end_the_link() {
    for value in [&b"{"[..], b"", b"\xff\"", b"1 2"] {
        let mut d = Driver::live();
        let mut record = card("a", "x");
        record.fields[0].value = Bytes::from_static(value);
        d.receive(ServerKind::Patch(patch(
            1,
            2,
            vec![Op {
                kind: Some(OpKind::Put(record)),
            }],
            vec![],
        )));
        assert!(d.closed);
        assert_eq!(d.session.record(d.channel, "cards", "a"), None);
    }
}

#[test]
fn numbers_out_of_range_end_the_link() {
    let huge = Cursor::new(5, u64::MAX, 0);
    let frames = [
        ServerKind::Ack(Ack {
            channel: CHANNEL.into(),
            through: u64::MAX,
            seq: 1,
        }),
        ServerKind::Need(Need {
            channel: CHANNEL.into(),
            n: u64::MAX,
            cursor: None,
        }),
        ServerKind::Patch(patch(1, 1 << 53, vec![], vec![])),
        ServerKind::Patch(patch(1, 2, vec![], vec![mid(u64::MAX)])),
        ServerKind::Heartbeat(Heartbeat {
            heads: vec![Head {
                channel: CHANNEL.into(),
                cursor: Some(huge),
            }],
            server_ms: 0,
        }),
        ServerKind::SnapshotBegin(SnapshotBegin {
            channel: CHANNEL.into(),
            cursor: Some(Cursor::new(1 << 53, 1, 1)),
            known: Some(Known {
                last: 0,
                rejected: vec![],
                ..Known::default()
            }),
            head: Some(Cursor::new(1 << 53, 1, 1)),
            ..SnapshotBegin::default()
        }),
    ];
    for frame in frames {
        let mut d = Driver::live();
        d.receive(frame.clone());
        assert!(d.closed, "{frame:?}");
        let reason = d.session.connection().reason.clone();
        let code = ErrorCode::UnexpectedFrame;
        assert_eq!(reason, Some(Reason::Violated { code }), "{frame:?}");
    }
}

#[test]
fn a_head_with_a_lower_seq_ends_the_link() {
    let mut d = Driver::live();
    d.reconnect();
    d.resume(at(1), Cursor::new(6, 0, 1), 0);
    assert!(d.closed, "seq goes on when an epoch opens");
}
