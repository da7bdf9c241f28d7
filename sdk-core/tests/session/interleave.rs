//! During a move two links speak. Each keeps its order, and nothing else is certain: so all orders are tried.

use super::over::{KINDS, resumed};
use crate::support::*;

/// What each link says: patches, and on the next one first the answer to the subscribe.
const EACH: usize = 6;

/// The log's head at the end.
const HEAD: u64 = 7;

/// All ways to merge two lines of messages: `true` = the next link speaks.
fn orders() -> Vec<Vec<bool>> {
    let all = 0u32..1 << (2 * EACH);
    all.filter(|bits| bits.count_ones() as usize == EACH)
        .map(|bits| (0..2 * EACH).map(|at| bits >> at & 1 == 1).collect())
        .collect()
}

fn patch_frame(from: u64) -> ServerKind {
    let op = put_op(&format!("r{from}"), &from.to_string());
    ServerKind::Patch(patch(from, from + 1, vec![op], vec![]))
}

/// Live over one transport, and asking over a link of another one, or of the same.
fn moving(old: TransportKind, next: TransportKind) -> Driver {
    let mut config = Config::default();
    config.transports = if old == next {
        vec![old]
    } else {
        vec![next, old]
    };
    let mut d = Driver::live_with(config, old);
    if old == next {
        let goaway = Goaway {
            by_ms: 45_000,
            window_ms: 2_000,
            ..Goaway::default()
        };
        d.say(old, d.conn, ServerKind::Goaway(goaway));
    }
    // Else the better one is tried again after a while.
    let opens = d.opens;
    while d.opens == opens {
        let fetches = d.token_fetches;
        d.wake();
        d.said();
        if d.token_fetches > fetches {
            d.input(Input::Token(Ok("t".into())));
        }
    }
    d.welcome_over(next, d.next());
    assert_eq!(d.asked_from(), [Some(at(1))], "{old:?} to {next:?}");
    d.events.clear();
    d
}

fn plays(old: TransportKind, next: TransportKind, order: &[bool]) {
    let mut d = moving(old, next);
    let (before, after) = (d.conn, d.next());
    let (mut said_before, mut said_after) = (0, 0);
    let mut from = 1;
    for &is_next in order {
        if is_next {
            let frame = match said_after {
                0 => resumed(at(1), at(3)),
                n => patch_frame(n),
            };
            said_after += 1;
            d.say(next, after, frame);
        } else {
            said_before += 1;
            // Once the channel has moved, the link before may be closed: what comes late says nothing.
            if d.links.contains(&before) {
                d.say(old, before, patch_frame(said_before));
            }
        }
        let now = d.session.cursor(d.channel).unwrap().seq;
        assert!(now >= from, "{old:?} to {next:?}, {order:?}: back to {now}");
        from = now;
    }
    // The next link goes on alone.
    d.say(next, after, patch_frame(EACH as u64));
    d.said();
    assert_eq!(d.links, [after], "{old:?} to {next:?}, {order:?}");
    assert_eq!(d.session.cursor(d.channel), Some(at(HEAD)));
    let shown: Vec<_> = (1..HEAD)
        .filter_map(|n| d.title(&format!("r{n}")))
        .collect();
    let expected: Vec<_> = (1..HEAD).map(|n| format!("\"{n}\"")).collect();
    assert_eq!(shown, expected, "{old:?} to {next:?}, {order:?}");
    let told = d
        .events
        .iter()
        .find(|event| matches!(event, Event::Channel { .. } | Event::HistoryLost { .. }));
    assert_eq!(told, None, "{old:?} to {next:?}, {order:?}");
}

#[test]
fn in_every_order_of_what_two_links_say_nothing_is_missed_and_nothing_comes_twice() {
    let orders = orders();
    assert_eq!(orders.len(), 924);
    for old in KINDS {
        for next in KINDS {
            orders.iter().for_each(|order| plays(old, next, order));
        }
    }
}
