//! Deadlines: frozen before the first send, in the server's time; and what is too old for any answer.

use std::time::Duration;

use crate::support::*;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn ttl(ms: u64) -> MutateOptions {
    MutateOptions {
        ttl: Some(Duration::from_millis(ms)),
        ..MutateOptions::default()
    }
}

fn put(id: &str) -> ChangeKind {
    ChangeKind::Put(card(id, "x"))
}

fn deadlines(pushes: &[Push]) -> Vec<u64> {
    let items = pushes.iter().flat_map(|push| &push.items);
    items.map(|item| item.deadline_ms).collect()
}

#[test]
fn every_item_has_a_deadline_that_stays_the_same() {
    let mut d = Driver::live();
    let start = d.now.unix.0;
    d.mutate(put("a"));
    d.mutate_with(put("b"), ttl(60_000));
    d.mutate_with(put("c"), ttl(90 * DAY_MS));
    let first = deadlines(&d.pushes());
    assert_eq!(
        first,
        [start + 7 * DAY_MS, start + 60_000, start + 7 * DAY_MS]
    );
    d.advance(5_000);
    d.reconnect();
    d.resume(at(1), at(1), 0);
    assert_eq!(deadlines(&d.pushes()), first);
}

#[test]
fn waiting_before_the_first_send_costs_nothing_without_a_ttl() {
    let mut d = Driver::live();
    d.cut();
    d.mutate(put("a"));
    d.advance(40 * DAY_MS);
    d.reconnect();
    d.resume(at(1), at(1), 0);
    assert_eq!(deadlines(&d.pushes()), [d.now.unix.0 + 7 * DAY_MS]);
}

#[test]
fn an_unsent_mutation_expires_by_itself_and_wakes_the_driver_for_that() {
    let mut d = Driver::idle(Config::default());
    d.channel = d
        .session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    let late = d.mutate_with(put("a"), ttl(60_000));
    let kept = d.mutate(put("b"));
    assert_eq!(d.wake_at, Some(MonoTime(d.now.mono.0 + 60_001)));
    d.advance(60_000);
    assert_eq!(d.told(late), ["queued"], "at its deadline it is good");
    d.wake();
    assert_eq!(d.told(late), ["queued", "expired"]);
    assert_eq!(d.title("a"), None);
    assert_eq!(d.told(kept), ["queued"]);
    assert_eq!(d.wake_at, None);
    assert_eq!(d.cancel(late), Err(CancelError::Ended));
}

#[test]
fn a_sent_mutation_is_expired_by_the_server_alone() {
    let mut d = Driver::live();
    let sent = d.mutate_with(put("a"), ttl(1_000));
    d.advance(2_000);
    assert_eq!(d.told(sent), ["queued", "attempted"]);
    assert_eq!(d.title("a").as_deref(), Some("\"x\""));
    let expired = Mid {
        code: ErrorCode::Expired as u32,
        ..mid(1)
    };
    d.patch(1, 2, vec![], vec![expired]);
    assert_eq!(d.told(sent).last(), Some(&"expired"));
    assert_eq!(d.title("a"), None);
}

#[test]
fn a_clock_that_is_wrong_before_the_first_welcome_expires_nothing() {
    let mut d = Driver::idle(Config::default());
    d.channel = d
        .session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    let made = d.mutate_with(put("a"), ttl(60_000));
    // The machine is two minutes behind the server.
    d.session.connect(d.now);
    d.drain();
    d.input(Input::Token(Ok("t".into())));
    d.input(Input::Opened { conn: d.conn });
    let ServerKind::Welcome(mut welcome) = d.welcome_frame() else {
        unreachable!("it is one");
    };
    welcome.server_ms += 120_000;
    let server_ms = welcome.server_ms;
    d.receive(ServerKind::Welcome(welcome));
    d.snapshot(at(1), &[], 0, vec![]);
    assert_eq!(deadlines(&d.pushes()), [server_ms + 60_000]);
    assert_eq!(d.told(made), ["queued", "attempted"]);
}

/// Found by simulation (seeds 220049 and 223290 of ad577dc): a node's clock was ahead by weeks, and a row that was in the
/// log was told expired. Log time decides, and only the server knows it.
#[test]
fn an_outdated_row_is_left_to_the_server() {
    let mut d = Driver::live();
    let row = d.mutate(put("a"));
    d.cut();
    d.advance(38 * DAY_MS);
    d.reconnect();
    d.take_frames();
    d.resume(at(1), at(1), 0);
    assert_eq!(d.told(row).last(), Some(&"attempted"));
    assert_eq!(d.pushes().len(), 1);
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.told(row).last(), Some(&"committed"));
}

/// Found by simulation (seed 58608 of 008b01d): the row was logged while the answer was under way to a
/// frozen page, and was told expired.
#[test]
fn an_answer_that_was_long_under_way_ends_no_row_that_was_young_when_it_was_asked_for() {
    let mut d = Driver::live();
    let row = d.mutate(put("a"));
    d.reconnect();
    d.now.mono.0 += 38 * DAY_MS;
    d.now.unix.0 += 38 * DAY_MS;
    d.resume(at(1), at(2), 0);
    assert_eq!(d.told(row).last(), Some(&"attempted"));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.told(row).last(), Some(&"committed"));
}

/// Found by fuzzing: the row stood in the log between the snapshot and the head, and was told expired.
#[test]
fn a_snapshot_leaves_an_outdated_row_to_the_server_since_entries_after_it_may_hold_it() {
    let mut d = Driver::live();
    let row = d.mutate(put("a"));
    d.cut();
    d.advance(38 * DAY_MS);
    d.reconnect();
    d.take_frames();
    d.snapshot(at(2), &[], 0, vec![]);
    assert_eq!(d.told(row).last(), Some(&"attempted"));
    assert_eq!(d.pushes().len(), 1);
    d.patch(2, 3, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.told(row).last(), Some(&"committed"));
}

#[test]
fn what_the_server_finds_too_old_is_expired_where_it_knows_us_else_indeterminate() {
    for (last, end) in [(3, "expired"), (0, "indeterminate")] {
        let mut d = Driver::start();
        d.snapshot(at(1), &[], last, vec![]);
        for used in 1..=last {
            // Numbers that an older life of the channel has used.
            d.store.handle(OutboxRequest::Append {
                channel: CHANNEL.parse().unwrap(),
                rows: vec![NewRow {
                    handle: MutationHandle(0),
                    item: Bytes::new(),
                    deadline: None,
                    after: After::Nothing,
                    ended: None,
                }],
            });
            d.store.handle(OutboxRequest::Settle {
                channel: CHANNEL.parse().unwrap(),
                epoch: 5,
                proof: Bytes::new(),
                rows: vec![Settlement::of(used, MutationStatus::Committed)],
            });
        }
        let row = d.mutate(put("a"));
        d.row_error(last + 1, ErrorCode::Expired);
        assert_eq!(d.told(row).last(), Some(&end));
    }
}

#[test]
fn without_a_row_at_the_server_the_young_are_lost_and_the_old_indeterminate() {
    let mut d = Driver::live();
    let old = d.mutate_with(put("a"), ttl(1_000));
    let young = d.mutate(put("b"));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    d.patch(2, 3, vec![put_op("b", "x")], vec![mid(2)]);
    d.advance(31 * DAY_MS);
    d.reconnect();
    d.snapshot(Cursor::new(6, 1, 77), &[], 0, vec![]);
    assert_eq!(d.told(old).last(), Some(&"indeterminate"));
    assert_eq!(d.told(young).last(), Some(&"lost"));
    assert_eq!(
        d.session.mutation_status(young),
        Some(&MutationStatus::Lost)
    );
}

#[test]
fn a_resume_in_a_higher_epoch_loses_nothing_even_without_a_row_at_the_server() {
    let mut d = Driver::live();
    let kept = d.mutate(put("a"));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    d.reconnect();
    d.resume(at(2), Cursor::new(6, 3, 99), 0);
    assert_eq!(d.told(kept).last(), Some(&"committed"));
}
