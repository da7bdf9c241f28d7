//! Links that are dead and do not say so, sleep, hidden and frozen pages: the same numbers over each transport.

use super::over::{KINDS, resumed};
use crate::support::*;

const SECOND: u64 = 1_000;

fn beat() -> ServerKind {
    ServerKind::Heartbeat(Heartbeat::default())
}

/// Time passes, and no timer fires.
fn pass(d: &mut Driver, ms: u64) {
    d.now.mono.0 += ms;
    d.now.unix.0 += ms;
}

#[test]
fn a_link_that_has_gone_silent_is_dead_within_35_seconds_whenever_that_was() {
    for kind in KINDS {
        for silent_from in 0..100 {
            let mut d = Driver::live_over(kind);
            d.advance(silent_from * 250);
            d.say(kind, d.conn, beat());
            let heard = d.now.mono.0;
            while d.phase() == ConnectionPhase::Connected {
                d.said();
                d.wake();
            }
            let after = d.now.mono.0 - heard;
            assert!(after <= 35 * SECOND, "{kind:?}: {after} ms");
            let reason = d.session.connection().reason.clone();
            assert_eq!(reason, Some(Reason::Timeout), "{kind:?}");
        }
    }
}

#[test]
fn a_link_that_outlived_two_minutes_of_sleep_goes_on() {
    for kind in KINDS {
        let mut d = Driver::live_over(kind);
        let opens = d.opens;
        d.advance(120 * SECOND);
        let said = d.said();
        let pings = said
            .iter()
            .any(|frame| matches!(frame, ClientKind::Ping(_)));
        // A poll that is asked again would be a sign of life of its own; the one that is held has to be answered.
        assert!(pings, "{kind:?}: {said:?}");
        d.say(kind, d.conn, beat());
        d.advance(3 * SECOND);
        assert_eq!(d.phase(), ConnectionPhase::Connected, "{kind:?}");
        assert_eq!(d.opens, opens, "{kind:?}");
    }
}

#[test]
fn a_link_that_died_during_sleep_is_left_within_three_seconds_and_the_next_one_goes_on_from_there()
{
    for kind in KINDS {
        let mut d = Driver::live_over(kind);
        d.advance(120 * SECOND);
        d.said();
        let (woken, dead) = (d.now.mono.0, d.conn);
        while d.phase() == ConnectionPhase::Connected {
            d.wake();
        }
        let after = d.now.mono.0 - woken;
        assert!(after <= 3 * SECOND, "{kind:?}: {after} ms");
        d.requests.retain(|asked| asked.conn != dead);
        d.dials_again();
        d.welcome_over(kind, d.conn);
        assert_eq!(d.asked_from(), [Some(at(1))], "{kind:?}");
    }
}

#[test]
fn in_a_hidden_tab_whose_timers_fire_once_a_minute_nothing_is_cut_and_a_dead_link_is_found() {
    for kind in KINDS {
        let mut d = Driver::live_over(kind);
        let opens = d.opens;
        for second in 1..=600 {
            pass(&mut d, SECOND);
            if second % 25 == 0 {
                d.say(kind, d.conn, beat());
            }
            if second % 60 == 0 {
                d.input(Input::Timeout);
            }
            d.said();
            assert_eq!(
                d.phase(),
                ConnectionPhase::Connected,
                "{kind:?} at {second} s"
            );
        }
        assert_eq!(d.opens, opens, "{kind:?}");
        // From here on nobody is there.
        let mut minutes = 0;
        while d.phase() == ConnectionPhase::Connected {
            minutes += 1;
            assert!(minutes <= 4, "{kind:?}");
            d.advance(60 * SECOND);
            d.said();
        }
    }
}

#[test]
fn a_hundred_times_frozen_and_resumed_nothing_is_missed_and_nothing_comes_twice() {
    for kind in KINDS {
        let mut d = Driver::live_over(kind);
        for cycle in 1..=100 {
            let frozen = d.conn;
            d.input(Input::Network(NetworkHint::Frozen));
            assert_eq!(d.phase(), ConnectionPhase::Waiting);
            d.requests.retain(|asked| asked.conn != frozen);
            d.said();
            d.advance(3_600 * SECOND);
            d.input(Input::Network(NetworkHint::Resumed));
            d.input(Input::Token(Ok("t".into())));
            d.welcome_over(kind, d.conn);
            assert_eq!(d.asked_from(), [Some(at(cycle))], "{kind:?}");
            // Somebody else has changed something meanwhile.
            d.say(kind, d.conn, resumed(at(cycle), at(cycle + 1)));
            let title = cycle.to_string();
            let patch = patch(cycle, cycle + 1, vec![put_op("a", &title)], vec![]);
            d.say(kind, d.conn, ServerKind::Patch(patch));
            assert_eq!(d.title("a"), Some(format!("\"{title}\"")), "{kind:?}");
            assert_eq!(d.status(), &ChannelStatus::Live, "{kind:?}");
            d.said();
        }
        assert_eq!(d.opens, 101, "{kind:?}");
    }
}

#[test]
fn a_stream_that_dies_before_its_first_patch_is_resumed_from_the_same_position() {
    for kind in KINDS {
        for (dies_after, name) in ["nothing", "welcome", "resume"].into_iter().enumerate() {
            let mut d = Driver::live_over(kind);
            d.breaks(d.conn);
            d.dials_again();
            if dies_after > 0 {
                d.welcome_over(kind, d.conn);
                assert_eq!(d.asked_from(), [Some(at(1))], "{kind:?}");
            }
            if dies_after > 1 {
                d.say(kind, d.conn, resumed(at(1), at(3)));
            }
            d.breaks(d.conn);
            d.dials_again();
            d.welcome_over(kind, d.conn);
            assert_eq!(d.asked_from(), [Some(at(1))], "{kind:?} after {name}");
            assert_eq!(d.session.cursor(d.channel), Some(at(1)));
        }
    }
}

#[test]
fn only_a_link_that_has_lasted_makes_the_pauses_short_again() {
    for kind in KINDS {
        let pause_after = |lasted: u64| {
            let mut d = Driver::live_over(kind);
            for _ in 0..8 {
                d.breaks(d.conn);
                d.wake();
                d.input(Input::Token(Ok("t".into())));
            }
            d.welcome_over(kind, d.conn);
            for _ in 0..lasted / SECOND {
                d.advance(SECOND);
                d.said();
            }
            d.breaks(d.conn);
            d.wake_at.unwrap().0 - d.now.mono.0
        };
        let (short, long) = (pause_after(30 * SECOND), pause_after(SECOND));
        assert!(short <= 2 * SECOND, "{kind:?}: {short} ms");
        assert!(long > 2 * SECOND, "{kind:?}: {long} ms");
    }
}
