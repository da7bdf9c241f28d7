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
