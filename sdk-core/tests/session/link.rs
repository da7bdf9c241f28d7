//! Links that die, drain, sleep and come back.

use crate::support::*;

#[test]
fn late_frames_of_a_dead_link_are_ignored() {
    let mut d = Driver::live();
    let old = d.conn;
    d.reconnect();
    let message = server_message(ServerKind::Patch(patch(
        1,
        2,
        vec![put_op("a", "x")],
        vec![],
    )));
    d.input(Input::Received { conn: old, message });
    assert_eq!(d.title("a"), None);
    d.input(Input::Closed {
        conn: old,
        reason: LinkClosed::default(),
    });
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
}

#[test]
fn attempts_are_bounded_when_asked() {
    let mut config = Config::default();
    config.retries_max = Some(3);
    let mut d = Driver::idle(config);
    d.session.connect(d.now);
    d.drain();
    for _ in 0..4 {
        d.input(Input::Token(Ok("t".into())));
        d.input(Input::Closed {
            conn: d.conn,
            reason: LinkClosed::default(),
        });
        if d.session.connection().phase == ConnectionPhase::Waiting {
            d.wake();
        }
    }
    let reason = d.session.connection().reason.clone();
    let cause = Box::new(Reason::from(LinkClosed::default()));
    assert_eq!(reason, Some(Reason::GaveUp { cause }));
    let detail = reason.unwrap().detail();
    assert!(
        detail.ends_with(&Reason::from(LinkClosed::default()).detail()),
        "{detail}"
    );
    assert!(!d.session.connection().is_online());
    assert_eq!(d.opens, 4);
}

#[test]
fn a_silent_link_is_dead_after_heartbeat_and_grace() {
    let mut d = Driver::live();
    d.advance(34_000);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    d.advance(1_000);
    assert_eq!(d.session.connection().reason, Some(Reason::Timeout));
}

#[test]
fn after_sleep_queued_frames_are_heard_before_the_verdict() {
    let mut d = Driver::live();
    d.advance(120_000);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    assert!(matches!(d.take_frames().last(), Some(ClientKind::Ping(_))));
    d.patch(1, 2, vec![put_op("a", "x")], vec![]);
    d.advance(3_000);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
}

#[test]
fn a_hint_probes_and_silence_after_it_is_death() {
    let mut d = Driver::live();
    d.input(Input::Network(NetworkHint::Resumed));
    assert!(matches!(d.take_frames().last(), Some(ClientKind::Ping(_))));
    d.wake();
    assert_eq!(d.session.connection().reason, Some(Reason::Timeout));
}

#[test]
fn same_seed_and_inputs_give_the_same_outputs() {
    let run = || {
        let mut d = Driver::live();
        d.reconnect();
        for _ in 0..5 {
            d.input(Input::Closed {
                conn: d.conn,
                reason: LinkClosed::default(),
            });
            d.wake();
            d.welcome();
        }
        (d.now.mono, format!("{:?}", d.events))
    };
    assert_eq!(run(), run());
}

#[test]
fn a_frozen_program_leaves_cleanly_tries_nothing_and_comes_back_at_once() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.input(Input::Network(NetworkHint::Frozen));
    assert!(d.closed);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
    assert_eq!(d.session.connection().reason, Some(Reason::Suspended));
    assert_eq!(d.wake_at, None, "nothing is due while frozen");
    let asked = d.token_fetches;
    d.advance(3_600_000);
    d.input(Input::Network(NetworkHint::Online));
    assert_eq!(d.token_fetches, asked);
    d.input(Input::Network(NetworkHint::Resumed));
    assert_eq!(d.token_fetches, asked + 1);
    d.welcome();
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    d.take_frames();
    d.resume(at(1), at(1), 0);
    assert_eq!(d.pushes().len(), 1, "what was in flight goes again");
}

#[test]
fn freezing_ends_whatever_the_client_was_about_to_do() {
    // The application is asked for a token.
    let mut d = Driver::idle(Config::default());
    d.session.connect(d.now);
    d.drain();
    d.input(Input::Network(NetworkHint::Frozen));
    d.input(Input::Token(Ok("t".into())));
    assert_eq!(d.opens, 0);
    // A link is being opened.
    d.input(Input::Network(NetworkHint::Resumed));
    d.input(Input::Token(Ok("t".into())));
    assert_eq!(d.opens, 1);
    d.input(Input::Network(NetworkHint::Frozen));
    assert!(d.closed);
    d.input(Input::Opened { conn: d.conn });
    assert!(d.take_frames().is_empty());
    // The application asks by itself.
    d.session.connect(d.now);
    d.drain();
    d.welcome();
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
}

#[test]
fn a_hint_starts_nothing_that_nobody_asked_for() {
    let mut d = Driver::idle(Config::default());
    for hint in [
        NetworkHint::Frozen,
        NetworkHint::Resumed,
        NetworkHint::Online,
    ] {
        d.input(Input::Network(hint));
    }
    assert_eq!(d.token_fetches, 0);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Idle);
}

/// The calendar went on by two months, the link lives: somebody set a clock. Rows that were sent are not
/// too old by that.
#[test]
fn a_calendar_that_is_set_forward_ends_no_row() {
    let mut d = Driver::live();
    let handle = d.mutate(ChangeKind::Put(card("a", "x")));
    d.now.unix.0 += 60 * 24 * 3_600_000;
    d.advance(1_000);
    d.lagged();
    d.resume(at(1), at(1), 0);
    assert!(!d.outcomes(handle).last().unwrap().is_terminal());
    assert_eq!(d.title("a").unwrap(), "\"x\"");
}
