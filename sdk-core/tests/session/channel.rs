//! A channel's life: refused, let go, paused.

use crate::support::*;

#[test]
fn a_refused_channel_fails_and_gives_its_mutations_up() {
    let mut d = Driver::start();
    let handle = d.mutate(ChangeKind::Put(card("a", "x")));
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::Forbidden as u32,
        channel: Some(CHANNEL.into()),
        detail: "not yours".into(),
        ..ErrorFrame::default()
    }));
    assert_eq!(d.status().name(), "failed");
    assert_eq!(d.outcomes(handle).last().unwrap().name(), "rejected");
    assert!(matches!(
        d.session.mutate(
            d.now,
            d.channel,
            vec![Change {
                kind: Some(ChangeKind::Put(card("a", "x")))
            }],
            MutateOptions::default(),
        ),
        Err(MutateError::ChannelFailed(ErrorCode::Forbidden))
    ));
    d.session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    d.drain();
    assert_eq!(d.status(), &ChannelStatus::Loading);
}

#[test]
fn a_paused_channel_keeps_its_view_and_its_edits_and_comes_back_to_the_head() {
    let mut d = Driver::live();
    d.session.pause(d.now, d.channel);
    d.drain();
    assert_eq!(d.status(), &ChannelStatus::Stale);
    let frames = d.take_frames();
    assert!(matches!(frames[..], [ClientKind::Unsubscribe(_)]));
    let handle = d.mutate(ChangeKind::Put(card("a", "mine")));
    assert_eq!(d.title("a").unwrap(), "\"mine\"");
    assert!(d.pushes().is_empty());
    d.patch(1, 2, vec![put_op("b", "late")], vec![]);
    assert_eq!(d.title("b"), None, "nothing moves a paused channel");
    d.reconnect();
    assert!(d.subscribes().is_empty(), "a pause lasts over reconnects");
    d.session.resume(d.now, d.channel);
    d.drain();
    assert_eq!(d.subscribes()[0].have, Some(at(1)));
    d.resume(at(1), at(2), 0);
    assert_eq!(d.pushes().len(), 1);
    d.patch(1, 2, vec![put_op("b", "x")], vec![]);
    d.patch(2, 3, vec![put_op("a", "mine")], vec![mid(1)]);
    assert_eq!(d.outcomes(handle).last(), Some(&MutationStatus::Committed));
    assert_eq!(d.status(), &ChannelStatus::Live);
}

#[test]
fn an_application_that_pauses_and_resumes_all_the_time_does_not_make_the_client_spin() {
    let mut d = Driver::live();
    for _ in 0..100 {
        d.session.pause(d.now, d.channel);
        d.session.resume(d.now, d.channel);
        d.drain();
    }
    assert!(d.subscribes().len() <= 1);
    d.wake();
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_paused_channel_that_is_let_go_still_brings_its_edits_to_their_outcome() {
    let mut d = Driver::live();
    d.session.pause(d.now, d.channel);
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.session.unsubscribe(d.now, d.channel);
    d.drain();
    d.resume(at(1), at(1), 0);
    assert_eq!(d.pushes().len(), 1);
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.session.status(d.channel), None);
}
