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
