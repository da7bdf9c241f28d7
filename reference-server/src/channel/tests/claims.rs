//! Claims of epochs, places that the log does not have, and what opens an epoch.

use std::time::Duration;

use bytes::Bytes;
use tidewire_core::wire::{Cursor, ErrorCode, NUMBER_MAX, ServerKind};

use super::harness::*;
use crate::channel::{ChannelConfig, prove};
use crate::epoch_key::EpochKey;
use crate::log::{BrokerReply, Log};

const HOUR: u64 = 60 * 60 * 1000;

/// What the client is told instead of an answer, and when to ask again.
fn put_off(client: &Client) -> (ErrorCode, Option<u32>) {
    let frames = client.take();
    match &frames[..] {
        [ServerKind::Error(error)] => {
            assert!(!error.fatal && error.n.is_none() && error.channel.is_some());
            (ErrorCode::from_number(error.code).unwrap(), error.retry_ms)
        }
        _ => panic!("{frames:?}"),
    }
}

fn is_snapshot(client: &Client) -> bool {
    matches!(&client.take()[0], ServerKind::SnapshotBegin(_))
}

fn failed() -> BrokerReply {
    BrokerReply::Failed {
        detail: "injected".into(),
    }
}

fn nobody() -> Bytes {
    Bytes::new()
}

#[test]
fn a_store_that_saw_a_higher_epoch_makes_the_node_open_one() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let claim = harness.log.head().epoch + 1_000_000;
    let ben = Client::new(2, 2);
    harness.subscribe(&ben, None, claim);
    let opened = harness.log.head().epoch;
    assert!(opened > claim);
    assert!(
        matches!(&ben.take()[0], ServerKind::SnapshotBegin(begin) if begin.cursor.unwrap().epoch == opened)
    );
    // The others see the opening as a patch of a higher epoch.
    assert!(matches!(&ana.take()[..], [ServerKind::Patch(patch)] if patch.epoch == opened));
}

#[test]
fn claims_open_an_epoch_at_most_once_in_ten_seconds() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let first = harness.log.head().epoch + 10;
    harness.subscribe(&ana, None, first);
    let opened = harness.log.head();
    ana.take();
    harness.subscribe(&ana, None, first + 1_000_000_000);
    assert!(ana.take().is_empty());
    assert_eq!(harness.log.head(), opened);
    let wait = harness.wait.unwrap().since(harness.now.mono);
    assert!(wait <= Duration::from_secs(10));
    // Someone without a claim does not wait.
    let ben = harness.join(2, 2);
    harness.push(&ben, 1, 1, put_items(0..1));
    assert_eq!(ben.take().len(), 2);
    harness.pass(10_000);
    assert!(harness.log.head().epoch > first + 1_000_000_000);
    assert!(matches!(&ana.take()[0], ServerKind::SnapshotBegin(_)));
}

#[test]
fn every_answer_proves_its_epoch() {
    let mut harness = Harness::new();
    let ana = Client::new(1, 1);
    harness.subscribe(&ana, None, 0);
    let epoch = harness.log.head().epoch;
    let right = prove(&harness.config.epoch_keys, CHANNEL, epoch);
    assert!(matches!(&ana.take()[0], ServerKind::SnapshotBegin(begin) if begin.proof == right));
    harness.subscribe(&ana, Some(harness.log.head()), epoch);
    assert!(matches!(&ana.take()[0], ServerKind::Resume(resume) if resume.proof == right));
}

#[test]
fn an_unproven_claim_waits_until_the_last_opening_is_an_hour_old() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let before = harness.log.head();
    let claim = before.epoch + 1_000_000;
    let foreign = prove(&[EpochKey::new([9; 32])], CHANNEL, claim);
    let forger = Client::new(2, 2);
    for proof in [nobody(), foreign.slice(..16), foreign] {
        harness.subscribe_with(&forger, None, claim, proof);
        let (code, retry_ms) = put_off(&forger);
        assert_eq!(code, ErrorCode::Overloaded);
        assert!(retry_ms.unwrap() > 59 * 60 * 1000);
    }
    assert_eq!(harness.log.head(), before);
    // Nobody else notices.
    harness.push(&ana, 1, 1, put_items(0..1));
    assert_eq!(ana.take().len(), 2);
    harness.pass(HOUR);
    let ben = Client::new(3, 3);
    harness.subscribe_with(&ben, None, claim, nobody());
    assert!(is_snapshot(&ben));
    assert!(harness.log.head().epoch > claim);
    // The next one waits an hour again.
    harness.subscribe_with(&ben, None, harness.log.head().epoch + 1, nobody());
    assert_eq!(put_off(&ben).0, ErrorCode::Overloaded);
}

#[test]
fn the_hour_counts_by_the_log_whatever_node_is_asked() {
    let mut harness = Harness::new();
    harness.join(1, 1);
    harness.pass(HOUR);
    let ana = Client::new(2, 2);
    harness.subscribe_with(&ana, None, harness.log.head().epoch + 1, nobody());
    assert!(is_snapshot(&ana));
    let mut other = Harness::over(harness.log.clone(), ChannelConfig::default());
    other.now = harness.now;
    let forger = Client::new(3, 3);
    other.subscribe_with(&forger, None, other.log.head().epoch + 1, nobody());
    assert_eq!(put_off(&forger).0, ErrorCode::Overloaded);
}

/// Also where the opening is no longer in memory: then it counts from the oldest entry that is.
#[test]
fn a_node_that_does_not_remember_the_opening_waits_an_hour_at_most() {
    let config = ChannelConfig {
        history: 5,
        snapshot_entries: 10,
        ..ChannelConfig::default()
    };
    let mut harness = Harness::with(config.clone());
    let ana = harness.join(1, 1);
    for n in 1..=40 {
        harness.push(&ana, n, n, put_items(n..n + 1));
    }
    let mut next = Harness::over(harness.log.clone(), config);
    next.now = harness.now;
    let claim = next.log.head().epoch + 1;
    let ben = Client::new(2, 2);
    next.subscribe_with(&ben, None, claim, nobody());
    assert_eq!(put_off(&ben).0, ErrorCode::Overloaded);
    next.pass(HOUR);
    next.subscribe_with(&ben, None, claim, nobody());
    assert!(is_snapshot(&ben));
}

#[test]
fn whatever_opens_next_opens_above_a_claim_that_waits() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let claim = harness.log.head().epoch + 1_000_000_000;
    harness.subscribe_with(&ana, None, claim, nobody());
    assert_eq!(put_off(&ana).0, ErrorCode::Overloaded);
    harness.subscribe(&ana, None, harness.log.head().epoch + 1);
    assert!(is_snapshot(&ana));
    assert!(harness.log.head().epoch > claim);
}

/// N19: such a claim once opened an epoch so high that everybody who saw it was refused for good.
#[test]
fn a_claim_beyond_the_clock_locks_nobody_out() {
    let day = 24 * HOUR;
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let before = harness.log.head();
    let clock = (harness.now.unix.0 - 1_577_836_800_000) << 11;
    let forger = Client::new(2, 2);
    for claim in [
        clock + ((day + 1) << 11),
        NUMBER_MAX - (1 << 33) - 1,
        NUMBER_MAX,
    ] {
        harness.subscribe_with(&forger, None, claim, nobody());
        assert_eq!(put_off(&forger), (ErrorCode::RecoveryRequired, None));
        // Nor does a proof of an epoch after which there is none.
        if claim == NUMBER_MAX {
            harness.subscribe(&forger, None, claim);
            assert_eq!(put_off(&forger), (ErrorCode::RecoveryRequired, None));
        }
    }
    assert!(
        harness
            .channel
            .take_trouble()
            .unwrap()
            .contains("claims epoch")
    );
    assert!(harness.closed.is_empty());
    harness.pass(HOUR);
    assert_eq!(harness.log.head(), before);
    harness.subscribe(&ana, Some(before), before.epoch);
    assert!(matches!(&ana.take()[0], ServerKind::Resume(_)));
}

/// N20: a backup was put back. Nobody's commit is kept from its author: an epoch is opened before anybody
/// is served, so that `history_lost` and `lost` are told.
#[test]
fn a_place_beyond_the_head_shows_that_the_log_has_lost_its_tail() {
    for other_tag in [false, true] {
        let mut harness = Harness::new();
        let ana = harness.join(1, 1);
        let backup = harness.log.clone();
        harness.push(&ana, 1, 1, put_items(0..3));
        let seen = harness.log.head();
        let mut restored = Harness::over(backup, ChannelConfig::default());
        restored.now = harness.now;
        if other_tag {
            let ben = restored.join(5, 5);
            restored.push(&ben, 1, 1, put_items(7..10));
            assert_eq!(restored.log.head().seq, seen.seq);
        }
        // Just restored, and just opened: it waits, as nothing proves seq and tag.
        let ana = Client::new(1, 1);
        restored.subscribe(&ana, Some(seen), seen.epoch);
        let (code, retry_ms) = put_off(&ana);
        assert_eq!(code, ErrorCode::Overloaded);
        restored.pass(u64::from(retry_ms.unwrap()));
        let newcomer = Client::new(2, 2);
        restored.subscribe(&ana, Some(seen), seen.epoch);
        restored.subscribe(&newcomer, None, 0);
        assert!(is_snapshot(&ana) && is_snapshot(&newcomer));
        assert!(restored.log.head().epoch > seen.epoch);
    }
}

/// A store that lies about its place, with a proof that is good, costs the channel an entry an hour and nobody else anything.
#[test]
fn a_place_that_is_a_lie_opens_an_epoch_an_hour_however_often_it_is_told() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let (liar, reader) = (Client::new(2, 2), Client::new(3, 3));
    let mut opened = 0;
    // Every ten minutes of a day.
    for told in 0..24 * 6 {
        let head = harness.log.head();
        let lie = match told % 2 {
            0 => Cursor::new(head.epoch, head.seq + 5, head.tag),
            _ => Cursor::new(head.epoch, head.seq, head.tag ^ 1),
        };
        let proof = prove(&harness.config.epoch_keys, CHANNEL, head.epoch);
        harness.subscribe_with(&liar, Some(lie), head.epoch, proof);
        liar.take();
        opened += u32::from(harness.log.head().epoch > head.epoch);
        // Nobody else waits, to read or to write.
        let head = harness.log.head();
        reader.take();
        harness.subscribe(&reader, Some(head), head.epoch);
        assert!(matches!(&reader.take()[0], ServerKind::Resume(_)));
        ana.take();
        harness.push(&ana, told + 1, told + 1, put_items(0..1));
        assert!(!ana.take().is_empty());
        harness.pass(HOUR / 6);
    }
    assert!((1..=24).contains(&opened), "{opened} openings");
}

#[test]
fn a_place_without_a_proof_or_before_the_memory_shows_nothing() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..3));
    harness.pass(HOUR);
    let head = harness.log.head();
    let beyond = Cursor::new(head.epoch, head.seq + 5, 77);
    let before = Cursor::new(head.epoch - 1, head.seq + 5, 77);
    for (have, proof) in [
        (beyond, nobody()),
        (
            before,
            prove(&harness.config.epoch_keys, CHANNEL, head.epoch),
        ),
    ] {
        harness.subscribe_with(&ana, Some(have), head.epoch, proof);
        assert_eq!(harness.log.head(), head);
        ana.take();
    }
}

/// Its own fold needs no proof.
#[test]
fn a_node_whose_own_fold_is_off_the_line_opens_at_once() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let backup: Log = harness.log.clone();
    harness.push(&ana, 1, 1, put_items(0..3));
    let seen = harness.log.head();
    harness.log = backup;
    harness.subscribe(&ana, Some(seen), seen.epoch);
    assert!(harness.log.head().epoch > seen.epoch);
    harness.pass(1_000);
    assert!(
        ana.take()
            .iter()
            .any(|frame| matches!(frame, ServerKind::SnapshotBegin(_)))
    );
}

#[test]
fn who_is_kept_waiting_by_the_broker_is_told_after_five_seconds() {
    let mut harness = Harness::new();
    let ana = Client::new(1, 1);
    harness.replies = vec![failed(); 50];
    harness.subscribe(&ana, None, 0);
    let mut waited = 0;
    while ana.inbox.is_empty() {
        let until = harness.wait.unwrap().since(harness.now.mono);
        waited += u64::try_from(until.as_millis()).unwrap();
        harness.pass(u64::try_from(until.as_millis()).unwrap());
        assert!(waited <= 5_000);
    }
    let (code, retry_ms) = put_off(&ana);
    assert_eq!(code, ErrorCode::Overloaded);
    assert!((1_000..=3_000).contains(&retry_ms.unwrap()));
    harness.replies.clear();
    harness.pass(u64::from(retry_ms.unwrap()));
    harness.subscribe(&ana, None, 0);
    assert!(is_snapshot(&ana));
}
