//! A node starts on a log that comes in parts.

use bytes::Bytes;
use tidewire_core::wire::ServerKind;

use super::harness::*;
use crate::channel::{ChannelConfig, ChannelInput};
use crate::log::{BrokerReply, BrokerRequest, Log, RunId};

fn config() -> ChannelConfig {
    ChannelConfig {
        history: 20,
        snapshot_entries: 10,
        ..ChannelConfig::default()
    }
}

/// A log of 45 entries, trimmed, whose answers have at most 4 of them.
fn log() -> Log {
    let mut harness = Harness::with(config());
    let ana = harness.join(1, 1);
    for n in 1..45 {
        harness.push(&ana, n, n, put_items(n % 9..n % 9 + 1));
    }
    assert!(harness.log.snapshot().is_some());
    assert!(harness.log.entries().len() > 20);
    harness.log.set_part_entries_max(4);
    harness.log
}

#[test]
fn a_log_in_parts_is_what_it_is_in_one() {
    let mut whole = log();
    whole.set_part_entries_max(usize::MAX);
    let mut whole = Harness::over(whole, config());
    whole.join(1, 1);
    let mut parts = Harness::over(log(), config());
    let ana = Client::new(1, 1);
    parts.subscribe(&ana, None, 0);
    let reads = parts
        .requests
        .iter()
        .filter(|request| matches!(request, BrokerRequest::Read { .. }))
        .count();
    assert!(reads >= 5, "{reads}");
    let mut replica = Replica::default();
    replica.feed(&ana.take());
    assert_eq!(replica.cursor, parts.log.head());
    assert_eq!(parts.fold().seen(), whole.fold().seen());
    // It resumes where one that read everything at once would.
    for entry in parts.log.clone().entries() {
        let resumes = |harness: &mut Harness| {
            let ben = Client::new(entry.cursor.seq + 9, 2);
            harness.subscribe(&ben, Some(entry.cursor), 0);
            matches!(ben.take()[0], ServerKind::Resume(_))
        };
        assert_eq!(
            resumes(&mut parts),
            resumes(&mut whole),
            "{:?}",
            entry.cursor
        );
    }
}

#[test]
fn catching_up_comes_in_parts_too() {
    let mut harness = Harness::over(log(), config());
    let ana = Client::new(1, 1);
    harness.subscribe(&ana, None, 0);
    let mut replica = Replica::default();
    replica.feed(&ana.take());
    let mut other = Harness::over(harness.log.clone(), config());
    let ben = other.join(2, 2);
    other.push(&ben, 1, 1, put_items(0..9));
    harness.log = other.log.clone();
    harness.input(ChannelInput::Woken);
    harness.run();
    replica.feed(&ana.take());
    assert_eq!(replica.cursor, harness.log.head());
    assert_eq!(replica.document, *other.fold().seen().document);
}

#[test]
fn a_broker_that_fails_or_changes_its_life_between_parts_is_loaded_from_anew() {
    for case in 0..4 {
        let mut harness = Harness::over(log(), config());
        let ana = Client::new(1, 1);
        harness.input(ChannelInput::Subscribe {
            subscriber: ana.subscriber.clone(),
            have: None,
            max_epoch: 0,
            proof: Bytes::new(),
        });
        for _ in 0..2 {
            let request = harness.poll().unwrap();
            let reply = harness.broker(request);
            harness.input(ChannelInput::Broker(reply));
        }
        let request = harness.poll().unwrap();
        assert!(matches!(request, BrokerRequest::Read { .. }));
        let reply = match case {
            0 => BrokerReply::Trimmed,
            1 => BrokerReply::Failed {
                detail: "test".into(),
            },
            2 => {
                harness.log.set_run(RunId(9));
                harness.broker(request)
            }
            _ => BrokerReply::Appended,
        };
        harness.input(ChannelInput::Broker(reply));
        harness.run();
        harness.pass(4_000);
        let mut replica = Replica::default();
        replica.feed(&ana.take());
        assert_eq!(replica.cursor, harness.log.head(), "case {case}");
        assert_eq!(
            replica.document,
            *harness.fold().seen().document,
            "case {case}"
        );
    }
}
