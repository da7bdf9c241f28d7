//! A subscribe that the server does not answer for now, and the way out when it never will.

use crate::support::*;

fn put_off(d: &mut Driver, code: ErrorCode, retry_ms: Option<u32>) {
    d.receive(ServerKind::Error(ErrorFrame {
        code: code as u32,
        channel: Some(CHANNEL.into()),
        retry_ms,
        detail: "why".into(),
        ..ErrorFrame::default()
    }));
}

fn delay(d: &Driver) -> Option<ErrorCode> {
    d.session.delay(d.channel).map(|delay| delay.code)
}

#[test]
fn it_is_sent_again_after_the_pause_and_the_reason_is_told() {
    let mut d = Driver::start();
    d.take_frames();
    put_off(&mut d, ErrorCode::Overloaded, Some(5_000));
    assert_eq!(d.status(), &ChannelStatus::Loading);
    assert_eq!(delay(&d), Some(ErrorCode::Overloaded));
    let told =
        |e: &Event| matches!(e, Event::Channel { delay: Some(delay), .. } if delay.detail == "why");
    assert!(d.events.iter().any(told));
    d.advance(4_999);
    assert!(d.subscribes().is_empty());
    d.advance(1_300);
    assert_eq!(d.subscribes().len(), 1);
    d.snapshot(at(1), &[], 0, vec![]);
    assert_eq!(
        (d.status(), delay(&d)),
        (&ChannelStatus::Live, None),
        "an answer ends it"
    );
}

#[test]
fn a_stream_that_runs_ends_with_it() {
    let mut d = Driver::live();
    put_off(&mut d, ErrorCode::Overloaded, Some(1_000));
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.advance(1_250);
    assert_eq!(d.subscribes()[0].have, Some(at(1)));
}

#[test]
fn an_overload_without_a_pause_is_about_something_else() {
    let mut d = Driver::live();
    put_off(&mut d, ErrorCode::Overloaded, None);
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn the_proof_of_an_answer_goes_back_with_its_epoch() {
    let mut d = Driver::start();
    let proof = Bytes::from_static(&[3; 17]);
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(at(1)),
        known: Some(Known::default()),
        head: Some(at(1)),
        proof: proof.clone(),
    }));
    d.receive(ServerKind::SnapshotEnd(SnapshotEnd {
        channel: CHANNEL.into(),
        records: 0,
        digest: digest(&[]),
        cursor: Some(at(1)),
    }));
    d.take_frames();
    d.lagged();
    let subscribe = d.subscribes().remove(0);
    assert_eq!((subscribe.max_epoch, subscribe.proof), (5, proof.clone()));
    // One without a proof changes nothing of the same epoch.
    d.resume(at(1), at(1), 0);
    d.advance(6_000);
    d.lagged();
    assert_eq!(d.subscribes().remove(0).proof, proof);
}

/// Half an hour of heartbeats.
fn half_an_hour(d: &mut Driver) {
    for _ in 0..90 {
        d.advance(20_000);
        d.heartbeat(at(1));
    }
}

#[test]
fn a_server_that_does_not_know_the_epoch_is_given_up_after_half_an_hour() {
    let mut d = Driver::live();
    let sent = d.mutate(ChangeKind::Put(card("a", "x")));
    d.take_frames();
    put_off(&mut d, ErrorCode::RecoveryRequired, None);
    let unsent = d.mutate(ChangeKind::Put(card("b", "x")));
    assert_eq!(d.status(), &ChannelStatus::Stale);
    assert_eq!(delay(&d), Some(ErrorCode::RecoveryRequired));
    d.advance(20_000);
    d.heartbeat(at(1));
    assert!(d.subscribes().is_empty(), "it is not asked again and again");
    half_an_hour(&mut d);
    let subscribe = d.subscribes().remove(0);
    assert_eq!((subscribe.have, subscribe.max_epoch), (None, 0));
    assert!(subscribe.proof.is_empty());
    assert_eq!(
        d.outcomes(sent).last(),
        Some(&MutationStatus::Indeterminate)
    );
    assert!(!d.outcomes(unsent).last().unwrap().is_terminal());
    // Whatever the server has is the state, of a lower epoch too.
    let lower = Cursor::new(3, 7, 70);
    d.snapshot(lower, &[], 0, vec![]);
    assert_eq!(d.status(), &ChannelStatus::Live);
    assert!(d.events.contains(&Event::HistoryLost {
        channel: d.channel,
        from: at(1),
        to: lower
    }));
    let push = d.pushes().remove(0);
    assert_eq!((push.first_n, push.low, push.epoch), (2, 2, 3));
}

#[test]
fn an_application_starts_over_without_waiting() {
    let mut d = Driver::live();
    put_off(&mut d, ErrorCode::RecoveryRequired, None);
    d.advance(6_000);
    d.take_frames();
    d.session.start_over(d.now, d.channel);
    d.drain();
    assert_eq!(d.subscribes().remove(0).max_epoch, 0);
}

#[test]
fn an_answer_in_time_ends_the_half_hour() {
    let mut d = Driver::live();
    put_off(&mut d, ErrorCode::RecoveryRequired, None);
    d.reconnect();
    d.resume(at(1), at(1), 0);
    assert_eq!((d.status(), delay(&d)), (&ChannelStatus::Live, None));
    d.take_frames();
    half_an_hour(&mut d);
    assert!(d.subscribes().is_empty());
    assert_eq!(d.session.cursor(d.channel), Some(at(1)));
}
