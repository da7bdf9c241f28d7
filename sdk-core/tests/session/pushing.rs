//! What is pushed when, and how much at a time.

use crate::support::*;

#[test]
fn what_was_sent_is_sent_again_with_the_same_number() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.mutate(ChangeKind::Set(card("a", "y")));
    let first: Vec<_> = d.pushes();
    assert_eq!(first.iter().map(|p| p.first_n).collect::<Vec<_>>(), [1, 2]);
    d.reconnect();
    assert!(d.pushes().is_empty(), "nothing is pushed before the resume");
    d.resume(at(1), at(1), 1);
    let again = d.pushes();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].first_n, again[0].low), (2, 1));
}

#[test]
fn need_is_obeyed_once_and_the_clock_helps_after_that() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.take_frames();
    let need = ServerKind::Need(Need {
        channel: CHANNEL.into(),
        n: 1,
        cursor: None,
    });
    d.receive(need.clone());
    assert_eq!(d.pushes().len(), 1);
    d.receive(need);
    assert!(d.pushes().is_empty());
    d.advance(10_000);
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn the_push_window_is_bounded_and_refills() {
    let mut d = Driver::live();
    for i in 0..600 {
        d.mutate(ChangeKind::Put(card(&format!("c{i}"), "x")));
    }
    let sent: usize = d.pushes().iter().map(|p| p.items.len()).sum();
    assert_eq!(sent, 256);
    d.receive(ServerKind::Ack(Ack {
        channel: CHANNEL.into(),
        through: 200,
        seq: 2,
    }));
    let sent: usize = d.pushes().iter().map(|p| p.items.len()).sum();
    assert_eq!(sent, 200);
}

#[test]
fn need_of_what_was_never_pushed_changes_nothing() {
    let mut d = Driver::live();
    d.receive(ServerKind::Need(Need {
        channel: CHANNEL.into(),
        n: 1_000,
        cursor: None,
    }));
    d.mutate(ChangeKind::Put(card("a", "x")));
    assert_eq!(d.pushes()[0].first_n, 1);
}

#[test]
fn commands_of_one_turn_share_a_message() {
    let mut d = Driver::live();
    d.messages = 0;
    for at in 0..100 {
        let kind = Some(ChangeKind::Put(card(&at.to_string(), "x")));
        d.session
            .mutate(
                d.now,
                d.channel,
                vec![Change { kind }],
                MutateOptions::default(),
            )
            .unwrap();
        while let Some(output) = d.session.poll_ready() {
            match output {
                Output::Outbox(request) => {
                    let reply = d.store.handle(request);
                    d.session.handle_input(d.now, Input::Outbox(reply));
                }
                Output::Event(_) => {}
                other => panic!("not before the end of the turn: {other:?}"),
            }
        }
    }
    d.drain();
    assert_eq!(d.messages, 1);
    let items: usize = d.pushes().iter().map(|push| push.items.len()).sum();
    assert_eq!(items, 100);
}

#[test]
fn an_ack_beyond_what_was_pushed_stalls_nothing() {
    let mut d = Driver::live();
    let one = d.mutate(ChangeKind::Put(card("a", "x")));
    d.take_frames();
    d.receive(ServerKind::Ack(Ack {
        channel: CHANNEL.into(),
        through: 1_000,
        seq: 2,
    }));
    assert_eq!(d.told(one).last(), Some(&"accepted"));
    d.mutate(ChangeKind::Put(card("b", "x")));
    let pushes = d.pushes();
    assert_eq!(pushes.len(), 1);
    assert_eq!((pushes[0].first_n, pushes[0].low), (2, 1));
}

/// A dependent kept `low` below what was decided; then a late `need` left the channel with a place that
/// no row had, and nothing was pushed ever again.
#[test]
fn a_late_need_of_what_is_decided_changes_nothing() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    d.mutate(ChangeKind::Put(card("b", "x")));
    d.take_frames();
    d.receive(ServerKind::Need(Need {
        channel: CHANNEL.into(),
        n: 1,
        cursor: None,
    }));
    assert!(d.pushes().is_empty());
    d.mutate(ChangeKind::Put(card("c", "x")));
    assert_eq!(d.pushes()[0].first_n, 3);
}

/// Found by simulation (seeds 234251 and 235697 of ad577dc): a slow store said `low` before it had heard of the new
/// epoch, the push said it there, and the server took for decided what was lost.
#[test]
fn a_low_that_was_asked_for_in_a_lower_epoch_is_asked_again() {
    let mut d = Driver::live();
    let lost = d.mutate(ChangeKind::Put(card("a", "x")));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.told(lost).last(), Some(&"committed"));
    d.waiting = Some(Vec::new());
    d.mutate(ChangeKind::Put(card("b", "x")));
    let answer_one = |d: &mut Driver| {
        let request = d.waiting.as_mut().expect("it is slow").remove(0);
        let reply = d.store.handle(request);
        d.input(Input::Outbox(reply));
    };
    answer_one(&mut d);
    d.cut();
    d.reconnect();
    d.take_frames();
    d.snapshot(Cursor::new(6, 1, 77), &[], 0, vec![]);
    answer_one(&mut d);
    assert!(d.pushes().is_empty(), "the store has not judged yet");
    d.store_catches_up();
    assert_eq!(d.told(lost).last(), Some(&"lost"));
    let pushes: Vec<_> = d.pushes().iter().map(|p| (p.epoch, p.low)).collect();
    assert_eq!(pushes, [(6, 2)]);
}

/// Found by simulation (seed 258979): the store heard that a row was committed after the log had been lost, and nobody judged.
#[test]
fn what_is_stored_as_committed_after_the_loss_is_judged_as_well() {
    let mut d = Driver::live();
    let row = d.mutate(ChangeKind::Put(card("a", "x")));
    let settle = |d: &mut Driver| {
        d.waiting = Some(Vec::new());
        d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
        d.waiting.take().expect("it is slow")
    };
    let late = settle(&mut d);
    d.cut();
    d.reconnect();
    d.snapshot(Cursor::new(6, 1, 77), &[], 0, vec![]);
    for request in late {
        let reply = d.store.handle(request);
        d.input(Input::Outbox(reply));
    }
    assert_eq!(d.told(row), ["queued", "attempted", "committed", "lost"]);
}
