//! What ends before it is sent becomes a no-op: cancel, coalescing, `after`, limits that shrink.

use crate::support::*;

fn after(handle: MutationHandle) -> MutateOptions {
    MutateOptions {
        after: Some(handle),
        ..MutateOptions::default()
    }
}

fn key(key: &str) -> MutateOptions {
    MutateOptions {
        coalesce_key: Some(key.into()),
        ..MutateOptions::default()
    }
}

fn put(id: &str, title: &str) -> ChangeKind {
    ChangeKind::Put(card(id, title))
}

/// Numbers of a push with what each item is.
fn items(pushes: &[Push]) -> Vec<(u64, &'static str)> {
    let items = pushes
        .iter()
        .flat_map(|push| (push.first_n..).zip(&push.items));
    items
        .map(|(n, item)| (n, if item.noop { "noop" } else { "changes" }))
        .collect()
}

#[test]
fn a_cancelled_mutation_shows_no_longer_and_its_number_is_pushed_as_a_no_op() {
    let mut d = Driver::live();
    d.cut();
    let one = d.mutate(put("a", "x"));
    let two = d.mutate(put("b", "x"));
    assert_eq!(d.cancel(one), Ok(()));
    assert_eq!(d.told(one), ["queued", "cancelled"]);
    assert_eq!(d.title("a"), None);
    assert_eq!(d.session.pending(d.channel), 1);
    assert_eq!(d.cancel(one), Err(CancelError::Ended));
    d.reconnect();
    d.resume(at(1), at(1), 0);
    let pushes = d.pushes();
    assert_eq!(items(&pushes), [(1, "noop"), (2, "changes")]);
    assert!(pushes[0].items[0].changes.is_empty());
    d.patch(1, 2, vec![], vec![mid(1)]);
    d.patch(2, 3, vec![put_op("b", "x")], vec![mid(2)]);
    assert_eq!(d.told(one), ["queued", "cancelled"], "told once");
    assert_eq!(d.told(two).last(), Some(&"committed"));
    d.mutate(put("c", "x"));
    assert_eq!(d.pushes()[0].low, 3);
}

#[test]
fn a_no_op_that_the_server_refuses_stays_what_it_was() {
    let mut d = Driver::live();
    d.cut();
    let one = d.mutate(put("a", "x"));
    d.cancel(one).unwrap();
    d.reconnect();
    d.resume(at(1), at(1), 0);
    d.row_error(1, ErrorCode::Forbidden);
    assert_eq!(d.told(one), ["queued", "cancelled"]);
    assert_eq!(
        d.session.mutation_status(one),
        Some(&MutationStatus::Cancelled)
    );
}

#[test]
fn what_was_sent_is_not_taken_back() {
    let mut d = Driver::live();
    let one = d.mutate(put("a", "x"));
    assert_eq!(d.cancel(one), Err(CancelError::Sent));
    assert_eq!(d.title("a").as_deref(), Some("\"x\""));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.cancel(one), Err(CancelError::Ended));
    let never = MutationHandle(99);
    assert_eq!(d.cancel(never), Err(CancelError::NoSuchMutation));
}

#[test]
fn once_the_store_is_asked_for_the_mark_it_is_too_late() {
    let mut d = Driver::live();
    d.cut();
    let one = d.mutate(put("a", "x"));
    d.reconnect();
    d.waiting = Some(Vec::new());
    d.resume(at(1), at(1), 0);
    assert!(matches!(
        d.waiting.as_deref(),
        Some([OutboxRequest::Attempt {
            from: 1,
            through: 1,
            ..
        }])
    ));
    assert!(d.pushes().is_empty(), "nothing is sent before the mark");
    assert_eq!(d.cancel(one), Err(CancelError::Sent));
    assert_eq!(d.told(one), ["queued"]);
    d.store_catches_up();
    assert_eq!(items(&d.pushes()), [(1, "changes")]);
    assert_eq!(d.told(one), ["queued", "attempted"]);
}

#[test]
fn an_outcome_is_told_once_the_store_has_it_and_nothing_is_sent_before() {
    let mut d = Driver::live();
    d.cut();
    let one = d.mutate(put("a", "x"));
    d.waiting = Some(Vec::new());
    d.cancel(one).unwrap();
    assert_eq!(d.title("a"), None);
    assert_eq!(d.told(one), ["queued"]);
    d.reconnect();
    d.resume(at(1), at(1), 0);
    assert!(d.pushes().is_empty());
    d.store_catches_up();
    assert_eq!(d.told(one), ["queued", "cancelled"]);
    assert_eq!(items(&d.pushes()), [(1, "noop")]);
}

#[test]
fn an_ended_mutation_is_pending_until_that_is_told_and_never_again() {
    let mut d = Driver::live();
    d.cut();
    let one = d.mutate(put("a", "x"));
    d.waiting = Some(Vec::new());
    d.cancel(one).unwrap();
    assert_eq!(d.session.pending(d.channel), 1);
    d.store_catches_up();
    assert_eq!(d.told(one), ["queued", "cancelled"]);
    assert_eq!(d.session.pending(d.channel), 0);
    d.reconnect();
    d.waiting = Some(Vec::new());
    d.resume(at(1), at(1), 0);
    assert_eq!(
        d.session.pending(d.channel),
        0,
        "its number is being marked"
    );
    d.store_catches_up();
    assert_eq!(items(&d.pushes()), [(1, "noop")]);
    assert_eq!(d.session.pending(d.channel), 0);
}

#[test]
fn an_end_that_was_not_told_yet_stays_pending_when_the_channel_is_refused() {
    let mut d = Driver::live();
    d.cut();
    let one = d.mutate(put("a", "x"));
    d.reconnect();
    d.waiting = Some(Vec::new());
    d.cancel(one).unwrap();
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::Forbidden as u32,
        channel: Some(CHANNEL.into()),
        ..ErrorFrame::default()
    }));
    assert_eq!(d.told(one), ["queued"]);
    assert_eq!(d.session.pending(d.channel), 1);
    d.store_catches_up();
    assert_eq!(d.told(one), ["queued", "cancelled"]);
    assert_eq!(d.session.pending(d.channel), 0);
}

#[test]
fn a_mutation_without_a_number_can_be_taken_back() {
    let mut d = Driver::live();
    d.cut();
    d.waiting = Some(Vec::new());
    let one = d.mutate(put("a", "x"));
    assert_eq!(d.cancel(one), Ok(()));
    assert_eq!(d.told(one), [""; 0]);
    d.store_catches_up();
    assert_eq!(d.told(one), ["cancelled"]);
}

#[test]
fn of_one_key_only_the_latest_unsent_mutation_is_sent() {
    let mut d = Driver::live();
    d.cut();
    let handles = [1, 2, 3].map(|i| d.mutate_with(put("a", &i.to_string()), key("drag")));
    let other = d.mutate_with(put("b", "x"), key("other"));
    assert_eq!(d.told(handles[0]), ["queued", "cancelled"]);
    assert_eq!(d.told(handles[1]), ["queued", "cancelled"]);
    assert_eq!(d.title("a").as_deref(), Some("\"3\""));
    d.reconnect();
    d.resume(at(1), at(1), 0);
    let expected = [(1, "noop"), (2, "noop"), (3, "changes"), (4, "changes")];
    assert_eq!(items(&d.pushes()), expected);
    let last = d.mutate_with(put("a", "4"), key("drag"));
    assert_eq!(d.told(handles[2]), ["queued", "attempted"], "it is sent");
    assert_eq!(d.told(last), ["queued", "attempted"]);
    assert_eq!(d.told(other), ["queued", "attempted"]);
}

#[test]
fn a_burst_of_one_turn_is_one_push() {
    let mut d = Driver::live();
    for i in 0..50 {
        d.command(put(&format!("c{i}"), "x"), MutateOptions::default());
        while let Some(output) = d.session.poll_ready() {
            if let Output::Outbox(request) = output {
                let reply = d.store.handle(request);
                d.session.handle_input(d.now, Input::Outbox(reply));
            }
        }
    }
    d.drain();
    let pushes = d.pushes();
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].items.len(), 50);
}

#[test]
fn what_comes_after_says_so_and_is_sent_in_the_same_push() {
    let mut d = Driver::live();
    d.cut();
    let one = d.mutate(put("a", "x"));
    d.mutate(put("b", "x"));
    d.mutate_with(put("c", "x"), after(one));
    d.reconnect();
    d.resume(at(1), at(1), 0);
    let push = &d.pushes()[0];
    let after: Vec<u64> = push.items.iter().map(|item| item.after).collect();
    assert_eq!(after, [0, 0, 1]);
    // The refusal must stay at the server until the third is decided.
    d.patch(1, 2, vec![], vec![refusal(1)]);
    d.patch(2, 3, vec![put_op("b", "x")], vec![mid(2)]);
    d.reconnect();
    d.resume(at(3), at(3), 2);
    let push = &d.pushes()[0];
    assert_eq!((push.first_n, push.low, push.items[0].after), (3, 1, 1));
}

#[test]
fn what_comes_long_after_an_undecided_one_waits_for_it() {
    for ops in [vec![put_op("a", "x")], vec![]] {
        let mut d = Driver::live();
        d.cut();
        let one = d.mutate(put("a", "x"));
        for i in 2..=33 {
            d.mutate(put(&format!("c{i}"), "x"));
        }
        let late = d.mutate_with(put("b", "x"), after(one));
        d.reconnect();
        d.resume(at(1), at(1), 0);
        assert_eq!(items(&d.pushes()).len(), 33);
        assert_eq!(d.told(late), ["queued"]);
        let committed = !ops.is_empty();
        let decision = if committed { mid(1) } else { refusal(1) };
        d.patch(1, 2, ops, vec![decision]);
        let what = if committed { "changes" } else { "noop" };
        assert_eq!(items(&d.pushes()), [(34, what)]);
    }
}

#[test]
fn what_comes_after_a_cancelled_one_fails_with_it() {
    let mut d = Driver::live();
    d.cut();
    let one = d.mutate(put("a", "x"));
    let two = d.mutate_with(put("b", "x"), after(one));
    let three = d.mutate_with(put("c", "x"), after(two));
    let free = d.mutate(put("d", "x"));
    d.cancel(one).unwrap();
    for failed in [two, three] {
        assert!(matches!(
            d.outcomes(failed).last(),
            Some(MutationStatus::Rejected {
                code: ErrorCode::DepFailed,
                ..
            })
        ));
    }
    assert_eq!(d.told(free), ["queued"]);
    assert_eq!(d.session.ids(d.channel, "cards").len(), 1);
    let late = d.mutate_with(put("e", "x"), after(one));
    assert_eq!(d.told(late), ["rejected"], "it never was in the queue");
    d.reconnect();
    d.resume(at(1), at(1), 0);
    let noops = items(&d.pushes());
    assert_eq!(noops.iter().filter(|(_, what)| *what == "noop").count(), 4);
}

#[test]
fn what_comes_after_a_refused_one_is_a_no_op_if_it_was_not_sent() {
    let mut d = Driver::live();
    let one = d.mutate(put("a", "x"));
    d.receive(ServerKind::Hold(wire::Hold {
        channel: CHANNEL.into(),
        code: ErrorCode::Overloaded as u32,
        retry_ms: 1_000,
    }));
    let two = d.mutate_with(put("b", "x"), after(one));
    d.patch(1, 2, vec![], vec![refusal(1)]);
    assert_eq!(d.told(two), ["queued", "rejected"]);
    assert_eq!(d.title("b"), None);
}

#[test]
fn what_comes_after_a_committed_one_is_free() {
    let mut d = Driver::live();
    let one = d.mutate(put("a", "x"));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    d.take_frames();
    let two = d.mutate_with(put("b", "x"), after(one));
    assert_eq!(d.pushes()[0].items[0].after, 0);
    assert_eq!(d.told(two), ["queued", "attempted"]);
}

#[test]
fn a_dependency_that_nobody_knows_is_refused_in_the_call() {
    let mut d = Driver::live();
    let elsewhere = d.session.subscribe(d.now, "board:other".parse().unwrap());
    let changes = || {
        vec![Change {
            kind: Some(put("a", "x")),
        }]
    };
    let one = d.mutate(put("a", "x"));
    for (channel, handle) in [(d.channel, MutationHandle(99)), (elsewhere.unwrap(), one)] {
        let refused = d.session.mutate(d.now, channel, changes(), after(handle));
        assert_eq!(refused, Err(MutateError::UnknownDependency));
    }
}

#[test]
fn outcomes_are_there_for_who_asks_late() {
    let mut d = Driver::live();
    let one = d.mutate(put("a", "x"));
    assert_eq!(
        d.session.mutation_status(one),
        Some(&MutationStatus::Attempted)
    );
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(
        d.session.mutation_status(one),
        Some(&MutationStatus::Committed)
    );
    assert_eq!(d.session.mutation_status(MutationHandle(99)), None);
}

#[test]
fn a_server_that_takes_less_ends_what_no_longer_fits() {
    let mut d = Driver::live();
    let large = "x".repeat(30_000);
    let sent = d.mutate(put("a", &large));
    d.cut();
    let unsent = d.mutate(put("b", &large));
    let small = d.mutate(put("c", "x"));
    d.session.connect(d.now);
    d.drain();
    d.input(Input::Token(Ok("t".into())));
    d.input(Input::Opened { conn: d.conn });
    let ServerKind::Welcome(mut welcome) = d.welcome_frame() else {
        unreachable!("it is one");
    };
    welcome.limits = Some(Limits {
        frame_up_bytes: 16 * 1024,
        ..Limits::DEFAULT
    });
    d.receive(ServerKind::Welcome(welcome));
    assert_eq!(d.told(sent).last(), Some(&"indeterminate"));
    assert!(matches!(
        d.outcomes(unsent).last(),
        Some(MutationStatus::Rejected {
            code: ErrorCode::TooLarge,
            ..
        })
    ));
    d.resume(at(1), at(1), 0);
    let pushes = d.pushes();
    assert_eq!(items(&pushes), [(2, "noop"), (3, "changes")]);
    assert_eq!(pushes[0].low, 2);
    assert_eq!(d.told(small), ["queued", "attempted"]);
}
