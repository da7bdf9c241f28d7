//! Tokens: fetched, refused, renewed.

use crate::support::*;

#[test]
fn a_wrong_token_is_terminal_and_an_expired_one_is_not() {
    for (code, phase) in [
        (ErrorCode::Unauthenticated, ConnectionPhase::Closed),
        (ErrorCode::TokenExpired, ConnectionPhase::Waiting),
    ] {
        let mut d = Driver::live();
        d.receive(ServerKind::Error(ErrorFrame {
            code: code as u32,
            fatal: true,
            detail: "token".into(),
            ..ErrorFrame::default()
        }));
        assert_eq!(d.session.connection().phase, phase);
        assert!(d.closed);
    }
}

#[test]
fn a_token_is_fetched_once_per_attempt_and_its_refusal_is_obeyed() {
    let mut d = Driver::idle(Config::default());
    d.session.connect(d.now);
    d.session.connect(d.now);
    d.drain();
    assert_eq!(d.token_fetches, 1);
    d.input(Input::Token(Err(TokenError {
        retryable: true,
        detail: "offline".into(),
    })));
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
    d.wake();
    assert_eq!(d.token_fetches, 2);
    d.input(Input::Token(Err(TokenError {
        retryable: false,
        detail: "signed out".into(),
    })));
    assert_eq!(d.session.connection().phase, ConnectionPhase::Closed);
    assert_eq!(d.opens, 0);
}

#[test]
fn a_token_over_its_limit_is_not_sent() {
    let mut d = Driver::idle(Config::default());
    d.session.connect(d.now);
    d.drain();
    d.input(Input::Token(Ok("x".repeat(16 * 1024 + 1))));
    assert_eq!(d.opens, 0);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Closed);
}

/// Connected with a token that lasts `life_ms`.
fn with_token(life_ms: u64) -> Driver {
    let mut d = Driver::idle(Config::default());
    d.token_life_ms = Some(life_ms);
    d.connect();
    d.channel = d
        .session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    d.drain();
    d.snapshot(at(1), &[], 0, vec![]);
    d.take_frames();
    d
}

fn refreshes(d: &mut Driver) -> Vec<String> {
    let frames = d.take_frames().into_iter();
    frames
        .filter_map(|frame| match frame {
            ClientKind::Refresh(refresh) => Some(refresh.token),
            _ => None,
        })
        .collect()
}

/// Lets time pass, with heartbeats, until the application is asked for a token.
fn until_asked(d: &mut Driver) {
    let asked = d.token_fetches;
    for _ in 0..1_000 {
        if d.token_fetches > asked {
            return;
        }
        d.advance(1_000);
        d.heartbeat(at(1));
    }
    panic!("no token was asked for");
}

#[test]
fn a_new_token_is_sent_in_band_late_in_the_life_of_the_old_one() {
    let mut d = with_token(600_000);
    let from = d.now.mono.0;
    until_asked(&mut d);
    let after = d.now.mono.0 - from;
    assert!((450_000..=571_000).contains(&after), "after {after} ms");
    d.advance(5_000);
    assert_eq!(d.token_fetches, 2, "single flight: at the start, and now");
    d.input(Input::Token(Ok("second".into())));
    assert_eq!(refreshes(&mut d), ["second"]);
    d.refreshed(600_000);
    until_asked(&mut d);
    assert_eq!((d.opens, d.closed), (1, false), "the link was never left");
}

#[test]
fn a_copy_of_refreshed_plans_nothing() {
    let mut d = with_token(600_000);
    until_asked(&mut d);
    d.input(Input::Token(Ok("second".into())));
    d.refreshed(600_000);
    let planned = d.wake_at;
    d.refreshed(1_000);
    assert_eq!(d.wake_at, planned);
}

#[test]
fn a_calendar_that_jumps_hides_no_renewal() {
    let mut d = with_token(600_000);
    until_asked(&mut d);
    // Somebody sets the calendar, and until the next heartbeat that looks like sleep.
    d.now.unix.0 += 86_400_000;
    d.input(Input::Token(Ok("second".into())));
    d.now.unix.0 -= 86_400_000;
    d.refreshed(600_000);
    until_asked(&mut d);
    assert!(!d.closed, "it was renewed before it ended");
}

#[test]
fn a_token_that_does_not_come_just_now_is_asked_for_again_with_growing_pauses() {
    let mut d = with_token(600_000);
    until_asked(&mut d);
    let from = d.now.mono.0;
    for _ in 0..10 {
        d.input(Input::Token(Err(TokenError {
            retryable: true,
            detail: "offline".into(),
        })));
        until_asked(&mut d);
    }
    assert!(d.now.mono.0 - from > 30_000, "ten tries at once");
    assert!(!d.closed);
}

#[test]
fn a_token_that_never_comes_again_ends_the_session() {
    let mut d = with_token(600_000);
    until_asked(&mut d);
    d.input(Input::Token(Err(TokenError {
        retryable: false,
        detail: "signed out".into(),
    })));
    assert!(d.closed);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Closed);
    assert_eq!(
        d.session.connection().reason,
        Some(Reason::Token {
            retryable: false,
            detail: "signed out".into()
        })
    );
}

#[test]
fn a_refresh_without_an_answer_moves_to_a_new_link() {
    let mut d = with_token(600_000);
    until_asked(&mut d);
    d.input(Input::Token(Ok("second".into())));
    d.advance(10_000);
    assert!(d.closed);
    assert_eq!(d.session.connection().reason, Some(Reason::Timeout));
    d.welcome();
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
}

#[test]
fn a_server_that_cannot_check_the_token_just_now_is_asked_again_and_the_link_stays() {
    let mut d = with_token(600_000);
    until_asked(&mut d);
    d.input(Input::Token(Ok("second".into())));
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::AuthUnavailable as u32,
        retry_ms: Some(500),
        ..ErrorFrame::default()
    }));
    until_asked(&mut d);
    d.input(Input::Token(Ok("third".into())));
    assert_eq!(refreshes(&mut d).last().unwrap(), "third");
    assert!(!d.closed);
}

#[test]
fn a_server_that_takes_no_refresh_gets_a_new_link() {
    let mut d = with_token(600_000);
    until_asked(&mut d);
    d.input(Input::Token(Ok("second".into())));
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::Unsupported as u32,
        ..ErrorFrame::default()
    }));
    assert!(d.closed);
    d.welcome();
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
}

#[test]
fn a_refused_refresh_ends_as_any_refused_token() {
    for (code, phase) in [
        (ErrorCode::Unauthenticated, ConnectionPhase::Closed),
        (ErrorCode::TokenExpired, ConnectionPhase::Waiting),
    ] {
        let mut d = with_token(600_000);
        until_asked(&mut d);
        d.input(Input::Token(Ok("second".into())));
        d.receive(ServerKind::Error(ErrorFrame {
            code: code as u32,
            fatal: true,
            ..ErrorFrame::default()
        }));
        assert_eq!(d.session.connection().phase, phase);
    }
}

#[test]
fn a_link_that_dies_while_a_token_is_looked_for_uses_it_for_the_next() {
    let mut d = with_token(600_000);
    until_asked(&mut d);
    let asked = d.token_fetches;
    d.input(Input::Closed {
        conn: d.conn,
        reason: LinkClosed::default(),
    });
    d.session.connect(d.now);
    d.drain();
    assert_eq!(d.token_fetches, asked, "single flight");
    d.welcome();
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
}

#[test]
fn a_second_copy_of_welcome_changes_nothing_and_another_welcome_ends_the_link() {
    let mut d = Driver::live();
    d.receive(d.welcome_frame());
    assert!(!d.closed);
    assert!(d.subscribes().is_empty());
    let ServerKind::Welcome(welcome) = d.welcome_frame() else {
        unreachable!("a welcome frame is one");
    };
    d.receive(ServerKind::Welcome(wire::Welcome {
        session: Bytes::from_static(&[8; 16]),
        ..welcome
    }));
    assert!(d.closed);
}
