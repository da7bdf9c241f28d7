//! The broker: conflicts, failures, silence, snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::document::Document;
use tidewire_core::time::UnixTime;
use tidewire_core::wire::{Cursor, ErrorCode, Ops, ServerKind};

use super::harness::*;
use crate::channel::{ChannelConfig, ChannelInput, Lag, Rights};
use crate::log::{Author, BrokerReply, BrokerRequest, EntryBody, Log, LogKind, RunId, tag};

fn failed() -> BrokerReply {
    BrokerReply::Failed {
        detail: "test".into(),
    }
}

#[test]
fn nothing_is_patched_or_acked_before_the_append_is_durable() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.enqueue(&ana, 1, 1, put_items(0..1));
    let append = harness.poll().unwrap();
    assert!(ana.take().is_empty());
    let head = harness.channel.head();
    // What comes meanwhile waits for the next turn.
    harness.enqueue(&ana, 2, 1, put_items(1..2));
    assert!(harness.poll().is_none());
    assert_eq!(harness.channel.head(), head);
    let reply = harness.broker(append);
    harness.input(ChannelInput::Broker(reply));
    assert_eq!(ana.take().len(), 2);
    harness.run();
    assert_eq!(ana.take().len(), 2);
}

#[test]
fn a_conflict_is_caught_up_with_and_the_turn_decided_again() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let mut other = Harness::over(harness.log.clone(), ChannelConfig::default());
    let ben = other.join(7, 7);
    other.push(&ben, 1, 1, vec![item(vec![del("initial")])]);
    harness.log = other.log;
    harness.push(&ana, 1, 1, vec![item(vec![set("initial", "a", "2")])]);
    let frames = ana.take();
    let [
        ServerKind::Patch(theirs),
        ServerKind::Patch(mine),
        ServerKind::Ack(_),
    ] = &frames[..]
    else {
        panic!("{frames:?}");
    };
    assert_eq!(theirs.mids[0].code, 0);
    assert_eq!(mine.mids[0].code, ErrorCode::NotFound as u32);
    assert_eq!(harness.appends(), 3);
}

#[test]
fn an_append_that_happened_although_it_failed_is_found_as_a_duplicate() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.enqueue(&ana, 1, 1, vec![item(vec![inc("initial", "a", 1)])]);
    let append = harness.poll().unwrap();
    assert!(matches!(harness.broker(append), BrokerReply::Appended));
    harness.input(ChannelInput::Broker(failed()));
    harness.run();
    harness.pass(500);
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Patch(_), ServerKind::Ack(ack)] if ack.through == 1),
        "{frames:?}"
    );
    assert_eq!(harness.field("initial", "a").unwrap(), "2");
}

/// The right to write, which tests take away.
struct Revocable(AtomicBool);

impl Rights for Revocable {
    fn may_read(&self, _: &ChannelName) -> bool {
        true
    }

    fn may_write(&self, _: &ChannelName) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn nobody_is_told_forbidden_while_an_append_that_failed_may_yet_be_in_the_log() {
    for reply in [failed(), BrokerReply::ReadBack] {
        let mut harness = Harness::new();
        let mut ana = harness.join(1, 1);
        let rights = Arc::new(Revocable(true.into()));
        ana.subscriber.rights = rights.clone();
        harness.enqueue(&ana, 1, 1, put_items(0..1));
        let late = harness.poll().unwrap();
        harness.input(ChannelInput::Broker(reply));
        rights.0.store(false, Ordering::Relaxed);
        harness.run();
        harness.pass(500);
        assert!(matches!(&ana.take()[..], [ServerKind::Hold(_)]));
        // Now it comes.
        assert!(matches!(harness.broker(late), BrokerReply::Appended));
        harness.input(ChannelInput::Woken);
        harness.push(&ana, 1, 1, put_items(0..1));
        let frames = ana.take();
        assert!(
            matches!(&frames[..], [ServerKind::Patch(_), ServerKind::Ack(ack)] if ack.through == 1),
            "{frames:?}"
        );
    }
}

#[test]
fn forbidden_is_told_once_another_entry_stands_where_the_one_that_failed_might() {
    let mut harness = Harness::new();
    let mut ana = harness.join(1, 1);
    let rights = Arc::new(Revocable(true.into()));
    ana.subscriber.rights = rights.clone();
    harness.enqueue(&ana, 1, 1, put_items(0..1));
    assert!(matches!(harness.poll(), Some(BrokerRequest::Append { .. })));
    harness.input(ChannelInput::Broker(failed()));
    rights.0.store(false, Ordering::Relaxed);
    let mut other = Harness::over(harness.log.clone(), ChannelConfig::default());
    let ben = other.join(7, 7);
    other.push(&ben, 1, 1, put_items(5..6));
    harness.log = other.log;
    harness.run();
    harness.pass(500);
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Patch(_), ServerKind::Error(e)] if e.code == ErrorCode::Forbidden as u32 && e.n == Some(1)),
        "{frames:?}"
    );
}

#[test]
fn what_has_to_be_read_back_is_answered_once_it_was_read_and_is_no_conflict() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    // More than there may be conflicts in a row.
    for n in 1..=10 {
        harness.enqueue(&ana, n, 1, put_items(n..n + 1));
        let append = harness.poll().unwrap();
        assert!(matches!(harness.broker(append), BrokerReply::Appended));
        harness.input(ChannelInput::Broker(BrokerReply::ReadBack));
        assert!(ana.take().is_empty());
        harness.run();
        let frames = ana.take();
        assert!(
            matches!(&frames[..], [ServerKind::Patch(_), ServerKind::Ack(ack)] if ack.through == n),
            "{frames:?}"
        );
    }
}

#[test]
fn what_takes_several_reads_to_be_read_back_is_no_conflict_either() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    for n in (1..=40).step_by(4) {
        harness.enqueue(&ana, n, 1, put_items(n..n + 4));
        let append = harness.poll().unwrap();
        assert!(matches!(harness.broker(append), BrokerReply::Appended));
        harness.input(ChannelInput::Broker(BrokerReply::ReadBack));
        // Of its four entries two come with the first read.
        let read = harness.poll().unwrap();
        let BrokerReply::Entries {
            mut entries,
            run,
            clock,
            ..
        } = harness.broker(read)
        else {
            panic!("the log has them");
        };
        entries.truncate(2);
        harness.input(ChannelInput::Broker(BrokerReply::Entries {
            entries,
            more: true,
            run,
            clock,
        }));
        harness.run();
        let frames = ana.take();
        assert!(
            matches!(&frames[..], [ServerKind::Patch(_), ServerKind::Patch(_), ServerKind::Ack(ack)] if ack.through == n + 3),
            "{n}: {frames:?}"
        );
    }
}

#[test]
fn what_was_written_and_does_not_fit_is_evaluated_again() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.enqueue(&ana, 1, 1, put_items(0..1));
    assert!(matches!(harness.poll(), Some(BrokerRequest::Append { .. })));
    // Nobody finds it in the log.
    harness.input(ChannelInput::Broker(BrokerReply::ReadBack));
    harness.run();
    assert_eq!(ana.take().len(), 2);
}

#[test]
fn endless_conflicts_end_in_a_hold() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.requests.clear();
    harness.enqueue(&ana, 1, 1, put_items(0..1));
    while let Some(request) = harness.poll() {
        let reply = match request {
            BrokerRequest::Append { .. } => BrokerReply::Conflict,
            other => harness.broker(other),
        };
        harness.input(ChannelInput::Broker(reply));
    }
    assert!(
        matches!(&ana.take()[..], [ServerKind::Hold(hold)] if hold.code == ErrorCode::Overloaded as u32)
    );
    assert_eq!(harness.appends(), 5);
    // Nothing is wrong with the next one.
    harness.pass(5_000);
    harness.push(&ana, 1, 1, put_items(0..1));
    assert_eq!(ana.take().len(), 2);
}

#[test]
fn a_broker_that_fails_for_ever_is_asked_ever_more_rarely() {
    let mut harness = Harness::new();
    let ana = Client::new(1, 1);
    let subscribe = |harness: &mut Harness| {
        harness.input(ChannelInput::Subscribe {
            subscriber: ana.subscriber.clone(),
            have: None,
            max_epoch: 0,
            proof: Bytes::new(),
        });
    };
    subscribe(&mut harness);
    let end = harness.now.mono.0 + 600_000;
    while harness.now.mono.0 < end {
        while harness.poll().is_some() {
            harness.input(ChannelInput::Broker(failed()));
        }
        // Every request is followed by a wait that ends.
        let until = harness.wait.unwrap();
        harness.now.mono = until;
        harness.input(ChannelInput::Timeout);
        // Who is told to wait asks again, sooner than it should.
        if !ana.take().is_empty() {
            subscribe(&mut harness);
        }
    }
    let requests = harness.requests.len();
    assert!((60..600).contains(&requests), "{requests} in ten minutes");
    // Once it answers, the subscriber is served; once nobody waits, nothing is asked.
    subscribe(&mut harness);
    harness.pass(60_000);
    assert!(matches!(&ana.take()[0], ServerKind::SnapshotBegin(_)));
    assert_eq!(harness.wait, None);
}

#[test]
fn a_broker_that_contradicts_itself_is_asked_ever_more_rarely() {
    for reply in [
        BrokerReply::Trimmed,
        BrokerReply::Entries {
            more: false,
            clock: UnixTime(1_795_000_000_000),
            entries: Vec::new(),
            run: RunId(77),
        },
    ] {
        let mut harness = Harness::new();
        harness.join(1, 1);
        harness.requests.clear();
        let ana = Client::new(2, 2);
        harness.input(ChannelInput::Subscribe {
            subscriber: ana.subscriber.clone(),
            have: None,
            max_epoch: 0,
            proof: Bytes::new(),
        });
        let end = harness.now.mono.0 + 60_000;
        while harness.now.mono.0 < end {
            harness.input(ChannelInput::Woken);
            while let Some(request) = harness.poll() {
                let reply = match request {
                    BrokerRequest::Read { .. } => reply.clone(),
                    other => harness.broker(other),
                };
                harness.input(ChannelInput::Broker(reply));
            }
            harness.now.mono = harness
                .wait
                .unwrap_or(harness.now.mono + Duration::from_secs(1));
            harness.input(ChannelInput::Timeout);
        }
        let requests = harness.requests.len();
        assert!(requests < 250, "{requests} in a minute");
    }
}

#[test]
fn nobody_waiting_means_nothing_is_retried() {
    let mut harness = Harness::new();
    let ana = Client::new(1, 1);
    harness.replies = vec![failed()];
    harness.subscribe(&ana, None, 0);
    let conn = ana.subscriber.conn;
    harness.input(ChannelInput::Unsubscribe {
        conn,
        cleanly: true,
    });
    harness.run();
    harness.pass(60_000);
    assert_eq!(harness.requests.len(), 1);
    assert!(harness.channel.is_idle());
}

#[test]
fn pushes_of_one_turn_are_held_each_in_its_time_and_once() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let ben = harness.join(2, 2);
    harness.enqueue(&ana, 1, 1, put_items(0..1));
    harness.now.mono = harness.now.mono + Duration::from_secs(1);
    harness.enqueue(&ben, 1, 1, put_items(1..2));
    assert!(matches!(
        harness.poll(),
        Some(BrokerRequest::Append { entries, .. }) if entries.len() == 2
    ));
    assert!(harness.poll().is_none());
    harness.pass(4_000);
    assert!(matches!(&ana.take()[..], [ServerKind::Hold(_)]));
    assert_eq!(ben.take(), []);
    for _ in 0..3 {
        harness.input(ChannelInput::Woken);
        assert!(harness.poll().is_none());
    }
    assert_eq!(harness.wait.unwrap().since(harness.now.mono).as_secs(), 1);
    harness.pass(1_000);
    assert_eq!(ana.take(), []);
    assert!(matches!(&ben.take()[..], [ServerKind::Hold(_)]));
    assert_eq!(harness.wait, None);
}

#[test]
fn a_silent_broker_holds_the_pushers_in_time() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let ben = harness.join(2, 2);
    harness.enqueue(&ana, 1, 1, put_items(0..1));
    let append = harness.poll().unwrap();
    harness.enqueue(&ben, 1, 1, put_items(1..2));
    assert!(harness.poll().is_none());
    assert_eq!(harness.wait.unwrap().since(harness.now.mono).as_secs(), 5);
    harness.pass(5_000);
    for client in [&ana, &ben] {
        assert!(
            matches!(&client.take()[..], [ServerKind::Hold(hold)] if hold.code == ErrorCode::Overloaded as u32)
        );
    }
    assert_eq!(harness.wait, None);
    // The answer comes after all.
    let reply = harness.broker(append);
    harness.input(ChannelInput::Broker(reply));
    harness.run();
    assert!(matches!(
        &ana.take()[..],
        [ServerKind::Patch(_), ServerKind::Ack(_)]
    ));
    harness.push(&ben, 1, 1, put_items(1..2));
    assert!(matches!(
        &ben.take()[..],
        [
            ServerKind::Patch(_),
            ServerKind::Patch(_),
            ServerKind::Ack(_)
        ]
    ));
}

#[test]
fn a_lost_tail_under_a_new_run_makes_readers_resubscribe_and_writers_write_again() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..1));
    let mut earlier = harness.log.clone();
    let place = earlier.head();
    harness.push(&ana, 2, 1, put_items(1..2));
    ana.take();
    earlier.set_run(RunId(2));
    harness.log = earlier;
    harness.push(&ana, 3, 1, put_items(2..3));
    let frames = ana.take();
    assert!(
        matches!(
            &frames[..],
            [ServerKind::Lagged(_), ServerKind::StaleEpoch(_)]
        ),
        "{frames:?}"
    );
    assert!(harness.log.head().epoch > place.epoch);
    harness.subscribe(&ana, Some(place), 0);
    assert!(
        matches!(&ana.take()[0], ServerKind::Resume(resume) if resume.known.as_ref().unwrap().last == 1)
    );
    harness.push(&ana, 2, 1, put_items(1..3));
    assert!(matches!(&ana.take()[1], ServerKind::Ack(ack) if ack.through == 3));
}

#[test]
fn readers_whose_place_survives_another_life_go_on_without_a_word() {
    let mut harness = Harness::with(ChannelConfig {
        lag: Lag::Close,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    let ben = harness.join(2, 2);
    harness.push(&ana, 1, 1, put_items(0..1));
    ben.take();
    harness.log.set_run(RunId(9));
    harness.push(&ana, 2, 1, put_items(1..2));
    let frames = ben.take();
    assert!(
        matches!(&frames[..], [ServerKind::Patch(opening)] if opening.mids.is_empty()),
        "{frames:?}"
    );
    assert!(harness.closed.is_empty());
}

#[test]
fn a_wake_up_brings_what_another_node_appended() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let mut other = Harness::over(harness.log.clone(), ChannelConfig::default());
    let ben = other.join(7, 7);
    other.push(&ben, 1, 1, put_items(0..3));
    harness.log = other.log;
    harness.input(ChannelInput::Woken);
    harness.run();
    assert!(matches!(&ana.take()[..], [ServerKind::Patch(patch)] if patch.mids.len() == 3));
}

#[test]
fn snapshots_are_cut_and_the_log_keeps_its_history_below_them() {
    let mut harness = Harness::with(ChannelConfig {
        history: 7,
        snapshot_entries: 20,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    for n in 1..=100 {
        harness.push(&ana, n, n, put_items(n..n + 1));
        let snapshot = harness.log.snapshot().map_or(0, |s| s.name.cursor.seq);
        let first = harness.log.entries().next().unwrap().cursor.seq;
        assert!(snapshot < 7 || snapshot - first >= 6);
        assert!(harness.log.entries().len() <= 27);
    }
    let cut = harness
        .requests
        .iter()
        .filter(|request| matches!(request, BrokerRequest::PutSnapshot { .. }))
        .count();
    assert_eq!(cut, 5);
}

#[test]
fn what_was_deleted_leaves_the_broker_at_once() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..50));
    assert!(harness.log.snapshot().is_none());
    harness.input(ChannelInput::Delete);
    harness.run();
    let snapshot = harness.log.snapshot().unwrap();
    assert_eq!(snapshot.name.cursor, harness.log.head());
    assert!(snapshot.read().unwrap().document.is_empty());
    // The head's entry stays: it names the run id.
    assert_eq!(harness.log.entries().len(), 1);
    // Once: nothing more is saved while nothing happens.
    let saved = harness.requests.len();
    harness.input(ChannelInput::Timeout);
    harness.run();
    assert_eq!(harness.requests.len(), saved);
}

#[test]
fn a_snapshot_that_cannot_be_stored_does_not_stop_the_log() {
    let mut harness = Harness::with(ChannelConfig {
        snapshot_entries: 3,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    let mut tries = 0;
    for n in 1..=20 {
        harness.enqueue(&ana, n, n, put_items(n..n + 1));
        while let Some(request) = harness.poll() {
            let reply = match request {
                BrokerRequest::PutSnapshot { .. } => {
                    tries += 1;
                    failed()
                }
                other => harness.broker(other),
            };
            harness.input(ChannelInput::Broker(reply));
        }
        assert!(
            ana.take()
                .iter()
                .any(|frame| matches!(frame, ServerKind::Ack(_)))
        );
    }
    assert_eq!(tries, 1);
    harness.pass(10_000);
    assert!(harness.log.snapshot().is_some());
}

#[test]
fn parts_of_a_snapshot_and_turns_take_their_turns() {
    let mut harness = Harness::with(ChannelConfig {
        snapshot_entries: 30,
        snapshot_part_bytes: 100,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..20));
    ana.take();
    let document = harness.document();
    let head = harness.log.head();
    let mut order = String::new();
    let mut n = 21;
    harness.enqueue(&ana, n, n, put_items(20..29));
    while let Some(request) = harness.poll() {
        order.push(match &request {
            BrokerRequest::Append { .. } => 'a',
            BrokerRequest::PutPart { .. } => 'p',
            BrokerRequest::PutSnapshot { .. } => 'c',
            _ => 'r',
        });
        // Somebody always waits.
        if n < 40 {
            n = if n == 21 { 30 } else { n + 1 };
            harness.enqueue(&ana, n, n, put_items(n..n + 1));
        }
        let reply = harness.broker(request);
        harness.input(ChannelInput::Broker(reply));
    }
    assert!(
        order.starts_with("apapapapap") && order.ends_with('c'),
        "{order}"
    );
    let stored = harness.log.snapshot().unwrap();
    assert!(stored.parts.len() > 5);
    assert!(stored.name.cursor.seq > head.seq, "{head:?}");
    let snapshot = stored.read().unwrap();
    assert!(snapshot.document.len() > document.len());
    // It is of its own cursor, though the log went on meanwhile.
    let mut folded = Document::default();
    for entry in harness.log.entries() {
        if entry.cursor.seq <= snapshot.cursor.seq {
            folded.apply_run(entry.body.ops().unwrap(), |_, _, _| {});
        }
    }
    assert_eq!(*snapshot.document, folded);
    assert!(harness.log.head().seq > snapshot.cursor.seq);
}

#[test]
fn parts_that_somebody_else_has_replaced_are_put_again_later() {
    let mut harness = Harness::with(ChannelConfig {
        snapshot_entries: 3,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    harness.enqueue(&ana, 1, 1, put_items(1..6));
    while let Some(request) = harness.poll() {
        let other = matches!(request, BrokerRequest::PutPart { .. });
        let reply = harness.broker(request);
        if other {
            harness.broker(BrokerRequest::PutPart {
                cursor: Cursor::new(1, 1, 1),
                part: 0,
                bytes: "another's".into(),
            });
        }
        harness.input(ChannelInput::Broker(reply));
    }
    assert_eq!(harness.log.snapshot(), None);
    harness.pass(10_000);
    assert!(harness.log.snapshot().unwrap().read().is_ok());
}

#[test]
fn a_log_of_a_later_version_is_not_folded_and_says_why() {
    let opening = |body| tag::entry(&Cursor::default(), 7, 1, RunId(1), body);
    let of_stream = opening(EntryBody::Opening {
        kind: LogKind::Stream,
        ops: Ops::default(),
    });
    let first = opening(EntryBody::opening(Ops::default()));
    let next = |body| tag::entry(&first.cursor, 7, 1, RunId(1), body);
    let later_op = Ops::read(Bytes::from_static(b"\x42\x03\x7a\x01x")).unwrap();
    let expiry = |ops| next(EntryBody::Expiry { ops });
    let close = next(EntryBody::Close);
    let mutation = EntryBody::mutation((Author([1; 16]), 1), 1, u64::MAX, Ok(later_op.clone()));
    for (entries, why) in [
        (vec![of_stream], "kind Stream"),
        (vec![first.clone(), close], "later version"),
        (vec![first.clone(), expiry(Ops::default())], "later version"),
        (vec![first.clone(), next(mutation)], "later version"),
    ] {
        let mut log = Log::new(RunId(1));
        let entries = entries.into_iter().map(Arc::new).collect();
        let expected = Cursor::default();
        let append = BrokerRequest::Append { expected, entries };
        let reply = log.handle(append, UnixTime(1));
        assert!(matches!(reply, BrokerReply::Appended));
        let head = log.head();
        let mut harness = Harness::over(log, ChannelConfig::default());
        let ana = Client::new(1, 1);
        harness.subscribe(&ana, None, 0);
        let trouble = harness.channel.take_trouble().unwrap();
        assert!(trouble.contains(why), "{trouble}");
        assert_eq!(harness.log.head(), head, "nothing is appended");
        let of_another_kind = |frame: &ServerKind| matches!(frame, ServerKind::Error(error) if error.code == ErrorCode::WrongKind as u32);
        let told = ana.take();
        assert_eq!(
            told.iter().any(of_another_kind),
            why == "kind Stream",
            "{told:?}"
        );
    }
}

#[test]
fn an_answer_of_the_wrong_kind_is_a_failure_and_no_more() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.replies = vec![BrokerReply::SnapshotStored];
    harness.push(&ana, 1, 1, put_items(0..1));
    harness.pass(500);
    assert!(matches!(
        &ana.take()[..],
        [ServerKind::Patch(_), ServerKind::Ack(_)]
    ));
    // An answer that nobody asked for.
    harness.input(ChannelInput::Broker(BrokerReply::Conflict));
    harness.run();
    assert!(ana.take().is_empty());
}

#[test]
fn a_log_whose_entries_do_not_follow_each_other_is_not_served() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..3));
    let mut entries: Vec<_> = harness.log.entries().cloned().collect();
    let broken = std::sync::Arc::make_mut(&mut entries[2]);
    broken.ms += 1;
    let mut next = Harness::over(harness.log.clone(), ChannelConfig::default());
    next.replies = vec![BrokerReply::Loaded {
        more: false,
        clock: UnixTime(1_795_000_000_000),
        snapshot: None,
        entries,
        run: RunId(1),
    }];
    let ben = Client::new(2, 2);
    next.subscribe(&ben, None, 0);
    assert!(ben.take().is_empty());
    assert!(next.wait.is_some());
    let trouble = next.channel.take_trouble().unwrap();
    assert!(trouble.contains("does not follow"), "{trouble}");
    assert_eq!(next.channel.take_trouble(), None);
}
