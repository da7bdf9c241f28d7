//! Edits from the call to their outcome.

use crate::support::*;

#[test]
fn an_edit_shows_at_once_and_leaves_the_overlay_with_its_patch() {
    let mut d = Driver::live();
    let handle = d.mutate(ChangeKind::Put(card("a", "mine")));
    assert_eq!(d.title("a").unwrap(), "\"mine\"");
    let push = d.pushes().remove(0);
    assert_eq!((push.first_n, push.low, push.epoch), (1, 1, 5));
    d.receive(ServerKind::Ack(Ack {
        channel: CHANNEL.into(),
        through: 1,
        seq: 2,
    }));
    assert!(d.session.is_pending(d.channel, "cards", "a"));
    d.events.clear();
    d.patch(1, 2, vec![put_op("a", "mine")], vec![mid(1)]);
    assert!(!d.session.is_pending(d.channel, "cards", "a"));
    assert_eq!(d.outcomes(handle), [MutationStatus::Committed]);
    let changed = d.events.iter().any(|e| matches!(e, Event::Changed { .. }));
    assert!(!changed, "one's own edit coming back must not flicker");
}

#[test]
fn others_edits_slide_under_pending_ones() {
    let mut d = Driver::live();
    d.patch(1, 2, vec![put_op("a", "base")], vec![]);
    d.mutate(ChangeKind::Set(card("a", "mine")));
    d.patch(2, 3, vec![merge_op("a", "theirs")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"mine\"");
    d.patch(3, 4, vec![], vec![refusal(1)]);
    assert_eq!(d.title("a").unwrap(), "\"theirs\"");
}

#[test]
fn a_rejection_rolls_back_with_its_reason() {
    let mut d = Driver::live();
    let handle = d.mutate(ChangeKind::Put(card("a", "x")));
    d.patch(1, 2, vec![], vec![refusal(1)]);
    assert_eq!(d.title("a"), None);
    assert_eq!(
        d.outcomes(handle).last(),
        Some(&MutationStatus::Rejected {
            code: ErrorCode::Refused,
            detail: "no".into(),
            current: None,
        })
    );
}

#[test]
fn a_forbidden_push_ends_its_row_alone() {
    let mut d = Driver::live();
    let one = d.mutate(ChangeKind::Put(card("a", "x")));
    let two = d.mutate(ChangeKind::Put(card("b", "x")));
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::Forbidden as u32,
        channel: Some(CHANNEL.into()),
        n: Some(1),
        ..ErrorFrame::default()
    }));
    assert_eq!(d.outcomes(one).last().unwrap().name(), "rejected");
    assert!(!d.outcomes(two).last().unwrap().is_terminal());
    assert_eq!(d.title("a"), None);
}

#[test]
fn letting_a_channel_go_waits_for_its_mutations() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.session.unsubscribe(d.now, d.channel);
    d.drain();
    assert_eq!(d.session.pending(d.channel), 1);
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.session.status(d.channel), None);
    let gone = d.take_frames();
    assert!(gone.iter().any(|f| matches!(f, ClientKind::Unsubscribe(_))));
}

#[test]
fn a_full_outbox_refuses_and_evicts_nothing() {
    let mut config = Config::default();
    config.outbox_rows_max = 2;
    let mut d = Driver::idle(config);
    d.channel = d
        .session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.mutate(ChangeKind::Put(card("b", "x")));
    let change = Change {
        kind: Some(ChangeKind::Put(card("c", "x"))),
    };
    let refused = d
        .session
        .mutate(d.now, d.channel, vec![change], MutateOptions::default());
    assert_eq!(refused, Err(MutateError::QueueFull { rows: 2 }));
    assert_eq!(d.session.ids(d.channel, "cards").len(), 2);
}

#[test]
fn a_mutation_that_fits_no_message_is_refused_in_the_call() {
    let mut d = Driver::live();
    let del = |id: &str| Change {
        kind: Some(ChangeKind::Del(RecordRef {
            collection: "c".into(),
            id: id.into(),
        })),
    };
    // Names and values stay below 64 KiB; with the framing around each it is over 128 KiB.
    let many = vec![del("a"); 20_000];
    let refused = d
        .session
        .mutate(d.now, d.channel, many, MutateOptions::default());
    assert!(
        matches!(refused, Err(MutateError::Invalid(r)) if r.code == ErrorCode::TooLarge),
        "queued, it would end every link it is sent on"
    );
    let fits = vec![del("a"); 10_000];
    d.session
        .mutate(d.now, d.channel, fits, MutateOptions::default())
        .unwrap();
    let fits = vec![del("a"); 10_000];
    d.session
        .mutate(d.now, d.channel, fits, MutateOptions::default())
        .unwrap();
    d.drain();
    // The driver checks that every message keeps to the limit.
    assert_eq!(
        d.pushes().len(),
        1,
        "the window counts what goes out, so the second one waits"
    );
}

#[test]
fn what_must_outlive_the_process_is_refused_by_an_outbox_in_memory() {
    let durable = || MutateOptions {
        require_durable: true,
        ..MutateOptions::default()
    };
    let change = || Change {
        kind: Some(ChangeKind::Put(card("a", "x"))),
    };
    let mut d = Driver::live();
    assert_eq!(d.session.durability(), Durability::Memory);
    let refused = d
        .session
        .mutate(d.now, d.channel, vec![change()], durable());
    assert_eq!(refused, Err(MutateError::NotDurable));
    assert_eq!(d.title("a"), None);
    let mut d = Driver::idle(Config::default());
    let _ = d.session.poll_output();
    d.input(Input::Outbox(OutboxReply::Opened(Opened {
        client: ClientId([1; 16]),
        principal: None,
        durability: Durability::Disk,
        reason: None,
    })));
    d.channel = d
        .session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    d.mutate_with(ChangeKind::Put(card("a", "x")), durable());
}
