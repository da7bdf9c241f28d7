//! Subscriptions: resume, snapshot, epochs.

use bytes::Bytes;
use tidewire_core::wire::{Cursor, ErrorCode, ServerKind};

use super::harness::*;
use crate::channel::{ChannelConfig, ChannelInput};
use crate::log::{BrokerRequest, EntryBody, Log, RunId};

#[test]
fn a_new_channel_starts_with_an_opening_that_carries_the_initial_records() {
    let mut harness = Harness::new();
    let ana = Client::new(1, 1);
    harness.subscribe(&ana, None, 0);
    let first = harness.log.entries().next().unwrap();
    assert!(matches!(&first.body, EntryBody::Opening { ops, .. } if ops.count() == 1));
    assert!(first.cursor.epoch >= (harness.now.unix.0 - 1_577_836_800_000) << 11);
    let mut replica = Replica::default();
    replica.feed(&ana.take());
    assert_eq!(replica.document, harness.document());
}

#[test]
fn a_subscriber_resumes_where_it_stood() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..2));
    let mut replica = Replica {
        cursor: harness.log.head(),
        document: harness.document(),
        ..Replica::default()
    };
    harness.push(&ana, 3, 1, put_items(2..5));
    let again = Client::new(2, 1);
    harness.subscribe(&again, Some(replica.cursor), 0);
    let frames = again.take();
    let ServerKind::Resume(resume) = &frames[0] else {
        panic!("{frames:?}");
    };
    assert_eq!(resume.from, Some(replica.cursor));
    assert_eq!(resume.head, Some(harness.log.head()));
    assert_eq!(resume.known.as_ref().unwrap().last, 5);
    replica.feed(&frames);
    assert_eq!(replica.document, harness.document());
    assert_eq!(replica.cursor, harness.log.head());
}

#[test]
fn a_subscriber_at_the_head_gets_a_resume_and_nothing_else() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.subscribe(&ana, Some(harness.log.head()), harness.log.head().epoch);
    assert!(matches!(&ana.take()[..], [ServerKind::Resume(_)]));
}

/// What was encoded for one newcomer serves the next ones; what came since then follows as patches.
#[test]
fn a_snapshot_that_was_made_earlier_names_the_head_of_now() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let encoded = harness.log.head();
    harness.push(&ana, 1, 1, put_items(0..3));
    let ben = Client::new(2, 2);
    harness.subscribe(&ben, None, 0);
    let frames = ben.take();
    let ServerKind::SnapshotBegin(begin) = &frames[0] else {
        panic!("{frames:?}")
    };
    assert_eq!(begin.cursor, Some(encoded));
    assert_eq!(begin.head, Some(harness.log.head()));
    let mut replica = Replica::default();
    replica.feed(&frames);
    assert_eq!(replica.cursor, harness.log.head());
    assert_eq!(replica.document, harness.document());
}

#[test]
fn a_snapshot_is_of_the_epoch_of_its_head() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..3));
    harness.log.set_run(RunId(77));
    let ben = Client::new(2, 2);
    harness.subscribe(&ben, None, 0);
    let frames = ben.take();
    let ServerKind::SnapshotBegin(begin) = &frames[0] else {
        panic!("{frames:?}")
    };
    assert_eq!(begin.cursor, Some(harness.log.head()));
    assert_eq!(begin.head, Some(harness.log.head()));
}

#[test]
fn a_place_on_another_line_gets_a_snapshot() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..3));
    let head = harness.log.head();
    for off in [
        Cursor::new(head.epoch, 2, 1),
        Cursor::new(head.epoch - 1, head.seq, head.tag),
        Cursor::new(head.epoch, head.seq + 7, head.tag),
        Cursor::new(head.epoch, 0, 0),
    ] {
        ana.take();
        harness.subscribe(&ana, Some(off), 0);
        assert!(
            matches!(&ana.take()[0], ServerKind::SnapshotBegin(_)),
            "{off:?}"
        );
    }
}

#[test]
fn a_place_that_was_trimmed_gets_a_snapshot() {
    let mut harness = Harness::with(ChannelConfig {
        history: 5,
        snapshot_entries: 10,
        ..ChannelConfig::default()
    });
    let ana = harness.join(1, 1);
    let old = harness.log.head();
    for n in 1..=40 {
        harness.push(&ana, n, n, put_items(n..n + 1));
    }
    ana.take();
    assert!(harness.log.entries().len() <= 16);
    harness.subscribe(&ana, Some(old), 0);
    let mut replica = Replica::default();
    let frames = ana.take();
    assert!(matches!(&frames[0], ServerKind::SnapshotBegin(_)));
    replica.feed(&frames);
    assert_eq!(replica.document.len(), 41);
}

#[test]
fn a_node_that_starts_on_a_trimmed_log_resumes_and_snapshots_alike() {
    let config = ChannelConfig {
        history: 5,
        snapshot_entries: 10,
        ..ChannelConfig::default()
    };
    let mut harness = Harness::with(config.clone());
    let ana = harness.join(1, 1);
    let mut places = vec![harness.log.head()];
    for n in 1..=47 {
        harness.push(&ana, n, n, put_items(n..n + 1));
        places.push(harness.log.head());
    }
    let mut state = Replica::default();
    ana.take();
    harness.subscribe(&ana, None, 0);
    state.feed(&ana.take());
    let mut next = Harness::over(harness.log.clone(), config);
    for (conn, place) in (10..).zip(places) {
        let client = Client::new(conn, 1);
        next.subscribe(&client, Some(place), 0);
        let frames = client.take();
        match &frames[0] {
            ServerKind::Resume(resume) => {
                assert_eq!(resume.known.as_ref().unwrap().last, 47);
                let patched: u64 = frames
                    .iter()
                    .map(|frame| match frame {
                        ServerKind::Patch(patch) => patch.to - patch.from,
                        _ => 0,
                    })
                    .sum();
                assert_eq!(patched, next.log.head().seq - place.seq);
            }
            ServerKind::SnapshotBegin(begin) => {
                assert_eq!(begin.known.as_ref().unwrap().last, 47);
                let mut replica = Replica::default();
                replica.feed(&frames);
                assert_eq!(replica.document, state.document);
                assert!(place.seq < next.log.head().seq - 5);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn another_life_of_the_broker_opens_an_epoch_and_the_line_goes_on() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..3));
    let before = harness.log.head();
    let mut log = harness.log.clone();
    log.set_run(RunId(2));
    let mut next = Harness::over(log, ChannelConfig::default());
    let again = Client::new(2, 1);
    next.subscribe(&again, Some(before), before.epoch);
    let frames = again.take();
    let ServerKind::Resume(resume) = &frames[0] else {
        panic!("{frames:?}");
    };
    let head = next.log.head();
    assert_eq!(resume.head, Some(head));
    assert_eq!(head.seq, before.seq + 1);
    assert!(head.epoch > before.epoch);
    assert!(
        matches!(&frames[1], ServerKind::Patch(patch) if patch.epoch == head.epoch && patch.from_tag == before.tag && patch.ops.is_empty())
    );
    assert_eq!(resume.known.as_ref().unwrap().last, 3);
}

#[test]
fn a_resume_replays_across_epochs_without_mixing_them_in_a_patch() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let start = harness.log.head();
    harness.push(&ana, 1, 1, put_items(0..2));
    for (n, run) in [(3, 2), (5, 3)] {
        harness.log.set_run(RunId(run));
        harness.subscribe(&ana, None, 0);
        harness.push(&ana, n, n, put_items(n..n + 2));
    }
    let late = Client::new(2, 2);
    harness.subscribe(&late, Some(start), 0);
    let frames = late.take();
    let mut replica = Replica {
        cursor: start,
        ..Replica::default()
    };
    replica
        .document
        .apply(&tidewire_core::document::put_op(record(
            "initial",
            &[("a", "1")],
        )));
    replica.feed(&frames);
    assert_eq!(replica.document, harness.document());
    let epochs: Vec<u64> = frames
        .iter()
        .filter_map(|frame| match frame {
            ServerKind::Patch(patch) => Some(patch.epoch),
            _ => None,
        })
        .collect();
    assert_eq!(epochs.len(), 3);
    assert!(epochs.is_sorted_by(|a, b| a < b));
    assert_eq!(epochs[0], start.epoch);
}

#[test]
fn the_head_is_read_before_a_subscribe_is_answered() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    // Another node appends, and no wake-up comes.
    let mut other = Harness::over(harness.log.clone(), ChannelConfig::default());
    let ben = other.join(7, 7);
    other.push(&ben, 1, 1, put_items(0..1));
    harness.log = other.log;
    harness.requests.clear();
    let cleo = Client::new(3, 3);
    harness.subscribe(&cleo, None, 0);
    assert!(matches!(
        harness.requests[..],
        [BrokerRequest::Read { after: 1 }]
    ));
    let mut replica = Replica::default();
    replica.feed(&cleo.take());
    assert_eq!(replica.cursor, harness.log.head());
    // The one who was there gets what it had missed.
    assert!(matches!(&ana.take()[..], [ServerKind::Patch(_)]));
}

#[test]
fn many_joiners_share_one_read_and_one_encoding() {
    let mut harness = Harness::new();
    harness.join(1, 1);
    harness.requests.clear();
    let joiners: Vec<Client> = (10..20).map(|n| Client::new(n, n as u8)).collect();
    for joiner in &joiners {
        harness.input(ChannelInput::Subscribe {
            subscriber: joiner.subscriber.clone(),
            have: None,
            max_epoch: 0,
            proof: Bytes::new(),
        });
    }
    harness.run();
    assert_eq!(harness.requests.len(), 1);
    let parts: Vec<_> = joiners
        .iter()
        .map(|joiner| joiner.inbox.take_messages()[1].as_ptr())
        .collect();
    assert!(parts.iter().all(|part| *part == parts[0]));
}

#[test]
fn a_large_document_comes_in_parts_that_are_checked_by_count_and_digest() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let text = format!("\"{}\"", "x".repeat(3_000));
    for n in 0..100 {
        harness.push(
            &ana,
            n + 1,
            n + 1,
            vec![item(vec![put(&format!("r{n}"), "t", &text)])],
        );
    }
    ana.take();
    let ben = Client::new(2, 2);
    harness.subscribe(&ben, None, 0);
    let messages = ben.inbox.take_messages();
    assert!(messages.len() > 5);
    assert!(messages.iter().all(|message| message.len() < 80 * 1024));
    let mut replica = Replica::default();
    for message in messages {
        replica.feed(&tidewire_core::wire::decode_server(message, usize::MAX).unwrap());
    }
    assert_eq!(replica.document.len(), 101);
}

#[test]
fn a_snapshot_is_stamped_with_the_row_of_its_own_cursor() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..1));
    let ben = Client::new(2, 1);
    harness.subscribe(&ben, None, 0);
    ben.take();
    harness.push(&ana, 2, 2, put_items(1..2));
    ben.take();
    let cleo = Client::new(3, 1);
    harness.subscribe(&cleo, None, 0);
    let frames = cleo.take();
    let ServerKind::SnapshotBegin(begin) = &frames[0] else {
        panic!("{frames:?}");
    };
    // An older encoding may be shared; then the row is the older one too, and a patch brings the rest.
    let last = begin.known.as_ref().unwrap().last;
    assert_eq!(begin.cursor.unwrap().seq, last + 1);
    let mut replica = Replica::default();
    replica.feed(&frames);
    assert_eq!(replica.cursor, harness.log.head());
    assert_eq!(replica.document, harness.document());
}

#[test]
fn a_deletion_is_seen_and_the_next_use_starts_from_initial() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let mut replica = Replica::default();
    harness.subscribe(&ana, None, 0);
    replica.feed(&ana.take());
    harness.push(&ana, 1, 1, put_items(0..3));
    replica.feed(&ana.take());
    harness.input(ChannelInput::Delete);
    harness.run();
    replica.feed(&ana.take());
    assert!(replica.document.is_empty());
    let deleted = harness.log.head();
    assert!(matches!(
        harness.log.entries().last().unwrap().body,
        EntryBody::Deletion
    ));
    // Deleting what is deleted does nothing.
    harness.input(ChannelInput::Delete);
    harness.run();
    assert_eq!(harness.log.head(), deleted);

    // A push of the old epoch opens the next one, and is told to subscribe again.
    harness.push(&ana, 4, 4, put_items(3..4));
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Patch(opening), ServerKind::StaleEpoch(_)] if opening.epoch > deleted.epoch),
        "{frames:?}"
    );
    replica.feed(&frames);
    assert_eq!(replica.document, harness.document());
    assert_eq!(replica.document.len(), 1);
    // Seq and table go on.
    harness.subscribe(&ana, Some(replica.cursor), replica.cursor.epoch);
    assert!(
        matches!(&ana.take()[..], [ServerKind::Resume(resume)] if resume.known.as_ref().unwrap().last == 3)
    );
}

/// So many initial records of 200 KB each.
struct Large(usize);

impl crate::channel::Policy for Large {
    fn initial(&self, _: &tidewire_core::ChannelName) -> tidewire_core::document::Document {
        let mut document = tidewire_core::document::Document::default();
        let text = format!("\"{}\"", "x".repeat(200_000));
        for n in 0..self.0 {
            let put = record(&format!("r{n}"), &[("t", &text)]);
            document.apply(&tidewire_core::document::put_op(put));
        }
        document
    }

    fn validate(
        &self,
        _: &tidewire_core::ChannelName,
        _: &crate::channel::View<'_>,
        _: &str,
        _: &tidewire_core::wire::Change,
    ) -> Result<(), tidewire_core::document::Rejection> {
        Ok(())
    }
}

fn with_initial(records: usize) -> Harness {
    let mut harness = Harness::new();
    harness.channel = crate::channel::Channel::new(
        CHANNEL.parse().unwrap(),
        ChannelConfig::default(),
        std::sync::Arc::new(Large(records)),
        1,
    );
    harness
}

#[test]
fn initial_records_that_fit_no_entry_are_refused_with_their_size() {
    let mut harness = with_initial(5);
    let ana = Client::new(1, 1);
    harness.subscribe(&ana, None, 0);
    let frames = ana.take();
    let [ServerKind::Error(error)] = &frames[..] else {
        panic!("{frames:?}");
    };
    assert_eq!(
        (error.code, error.fatal),
        (ErrorCode::TooLarge as u32, false)
    );
    assert!(
        error.detail.contains("bytes, over 983040"),
        "{}",
        error.detail
    );
    let trouble = harness.channel.take_trouble().unwrap();
    assert!(trouble.contains("initial records"), "{trouble}");
    harness.push(&ana, 1, 1, put_items(0..1));
    assert!(matches!(&ana.take()[..], [ServerKind::Hold(_)]));
    assert_eq!(harness.appends(), 0);
    assert!(
        harness.channel.is_idle(),
        "nothing is tried again by itself"
    );
}

#[test]
fn an_initial_document_too_large_for_a_patch_reaches_everyone_by_snapshot() {
    let mut harness = with_initial(4);
    let ana = Client::new(1, 1);
    harness.subscribe(&ana, None, 0);
    let mut replica = Replica::default();
    replica.feed(&ana.take());
    assert_eq!(replica.document.len(), 4);
    harness.input(ChannelInput::Delete);
    harness.run();
    replica.feed(&ana.take());
    let ben = Client::new(2, 2);
    harness.subscribe(&ben, None, 0);
    assert!(matches!(&ana.take()[..], [ServerKind::Lagged(_)]));
    harness.subscribe(&ana, Some(replica.cursor), replica.cursor.epoch);
    let frames = ana.take();
    assert!(matches!(&frames[0], ServerKind::SnapshotBegin(_)));
    replica.feed(&frames);
    assert_eq!(replica.document.len(), 4);
}

#[test]
fn an_empty_log_is_not_read_for_nobody() {
    let mut harness = Harness::over(Log::new(RunId(1)), ChannelConfig::default());
    harness.input(ChannelInput::Woken);
    harness.run();
    assert!(harness.requests.is_empty());
    assert!(harness.channel.is_idle());
    assert_eq!(harness.wait, None);
}
