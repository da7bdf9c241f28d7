//! What a log does: read, append by comparison, snapshots in parts.

use std::sync::Arc;

use tidewire_core::wire::Cursor;

use super::fixture::*;
use crate::broker::{BrokerReply, BrokerRequest, EntryBody, RunId};
use crate::log::{Entry, PART_ENTRIES_MAX, SnapshotName, StoredSnapshot};

pub(super) async fn an_unused_channel_is_empty(on: &Subject) {
    assert_eq!(load(on).await, (None, Vec::new(), on.run));
    assert_eq!(read(on, 0).await, Some(Vec::new()));
}

pub(super) async fn what_was_appended_is_read_in_order(on: &Subject) {
    let entries = three(on).await;
    assert_eq!(load(on).await.1, entries);
    assert_eq!(read(on, 1).await.unwrap(), entries[1..]);
    assert_eq!(read(on, 3).await, Some(Vec::new()));
}

pub(super) async fn a_long_log_comes_in_parts_that_follow_each_other(on: &Subject) {
    let count = 2 * PART_ENTRIES_MAX as u64 + 5;
    let mut entries = vec![on.opening(7, 1)];
    entries.extend((2..=count).map(|seq| on.mutation(7, seq)));
    assert!(append(on, Cursor::default(), &entries).await);
    let mut reply = on.broker.request(&channel(), BrokerRequest::Load).await;
    let mut read: Vec<Arc<Entry>> = Vec::new();
    let mut parts = 0;
    loop {
        let (BrokerReply::Loaded { entries, more, .. }
        | BrokerReply::Entries { entries, more, .. }) = reply
        else {
            panic!("{reply:?}");
        };
        parts += 1;
        assert!(entries.len() <= PART_ENTRIES_MAX && !entries.is_empty());
        let first = entries[0].cursor.seq;
        assert_eq!(first, read.len() as u64 + 1, "it goes on where it ended");
        read.extend(entries);
        if !more {
            break;
        }
        let after = read.last().unwrap().cursor.seq;
        reply = on
            .broker
            .request(&channel(), BrokerRequest::Read { after })
            .await;
    }
    assert!(parts >= 3, "{parts} parts");
    assert_eq!(read, entries);
}

pub(super) async fn answers_carry_the_brokers_clock(on: &Subject) {
    for request in [BrokerRequest::Load, BrokerRequest::Read { after: 0 }] {
        let reply = on.broker.request(&channel(), request).await;
        let (BrokerReply::Loaded { clock, .. } | BrokerReply::Entries { clock, .. }) = reply else {
            panic!("{reply:?}");
        };
        let off = clock.0.abs_diff(crate::clock::unix().0);
        assert!(off < 60_000, "off by {off} ms");
    }
}

pub(super) async fn channels_do_not_see_each_other(on: &Subject) {
    three(on).await;
    for other in ["board:mai", "board:main2", "board:main:x", "aoard:main"] {
        let reply = on
            .broker
            .request(&other.parse().unwrap(), BrokerRequest::Load)
            .await;
        assert!(matches!(reply, BrokerReply::Loaded { entries, .. } if entries.is_empty()));
    }
}

pub(super) async fn reading_past_the_head_says_load_again(on: &Subject) {
    three(on).await;
    assert_eq!(read(on, 4).await, None);
    assert_eq!(read(on, u64::MAX).await, None);
}

pub(super) async fn an_append_to_another_head_is_a_conflict(on: &Subject) {
    let entries = three(on).await;
    let head = entries[2].cursor;
    let next = [on.mutation(7, 4)];
    for wrong in [
        Cursor::default(),
        entries[1].cursor,
        Cursor::new(6, head.seq, head.tag),
        Cursor::new(head.epoch, head.seq, head.tag + 1),
    ] {
        assert!(!append(on, wrong, &next).await, "{wrong:?}");
    }
    assert_eq!(load(on).await.1, entries);
    assert!(append(on, head, &next).await);
    assert!(!append(on, head, &next).await);
}

pub(super) async fn an_append_is_whole_or_nothing(on: &Subject) {
    let entries = three(on).await;
    let gap = [on.mutation(7, 4), on.mutation(7, 6)];
    assert!(!append(on, entries[2].cursor, &gap).await);
    assert!(!append(on, entries[2].cursor, &[]).await);
    assert_eq!(load(on).await.1, entries);
}

pub(super) async fn only_the_present_run_appends_and_an_empty_log_starts_with_an_opening(
    on: &Subject,
) {
    assert!(!append(on, Cursor::default(), &[on.mutation(7, 1)]).await);
    let entries = three(on).await;
    let foreign = entry(7, 4, RunId(!on.run.0), EntryBody::Deletion);
    assert!(!append(on, entries[2].cursor, &[foreign]).await);
}

pub(super) async fn a_snapshot_trims_the_log_and_is_loaded_with_the_rest(on: &Subject) {
    let entries = three(on).await;
    let second = snapshot(entries[1].cursor);
    put_snapshot(on, second.clone(), 1).await;
    assert_eq!(
        load(on).await,
        (Some(second), entries[1..].to_vec(), on.run)
    );
    assert_eq!(read(on, 0).await, None);
    assert_eq!(read(on, 1).await.unwrap(), entries[1..]);
    assert!(append(on, entries[2].cursor, &[on.mutation(7, 4)]).await);
}

pub(super) async fn a_snapshot_never_trims_what_it_does_not_cover(on: &Subject) {
    let entries = three(on).await;
    put_snapshot(on, snapshot(entries[1].cursor), u64::MAX).await;
    assert_eq!(load(on).await.1, entries[2..]);
    assert_eq!(read(on, 2).await.unwrap(), entries[2..]);
}

pub(super) async fn snapshots_only_go_forward_on_the_same_line(on: &Subject) {
    let entries = three(on).await;
    let off_the_line = Cursor::new(7, 2, 1);
    put_snapshot(on, snapshot(off_the_line), 2).await;
    put_snapshot(on, snapshot(Cursor::new(7, 9, 1)), 2).await;
    assert_eq!(load(on).await.0, None);
    let third = snapshot(entries[2].cursor);
    put_snapshot(on, third.clone(), 0).await;
    put_snapshot(on, snapshot(entries[1].cursor), 2).await;
    assert_eq!(load(on).await, (Some(third), entries, on.run));
}

pub(super) async fn parts_count_for_nothing_until_the_snapshot_is_put(on: &Subject) {
    let entries = three(on).await;
    let second = snapshot(entries[1].cursor);
    put_snapshot(on, second.clone(), 0).await;
    let third = StoredSnapshot::encode(snapshot(entries[2].cursor), 1);
    assert!(third.parts.len() > 1);
    put_parts(on, &third).await;
    assert_eq!(load(on).await.0, Some(second.clone()));
    // One more or less than there are: not these parts.
    for parts in [third.name.parts - 1, third.name.parts + 1] {
        let name = SnapshotName {
            parts,
            ..third.name
        };
        let reply = commit(on, name, 3).await;
        assert!(matches!(reply, BrokerReply::Conflict), "{reply:?}");
        assert_eq!(
            load(on).await,
            (Some(second.clone()), entries.clone(), on.run)
        );
    }
    let reply = commit(on, third.name, 3).await;
    assert!(matches!(reply, BrokerReply::SnapshotStored), "{reply:?}");
    assert_eq!(
        load(on).await,
        (Some(snapshot(entries[2].cursor)), Vec::new(), on.run)
    );
}

pub(super) async fn a_snapshot_that_somebody_else_has_begun_takes_the_place_of_one_that_was_not_put(
    on: &Subject,
) {
    let entries = three(on).await;
    let second = StoredSnapshot::encode(snapshot(entries[1].cursor), 1);
    let third = StoredSnapshot::encode(snapshot(entries[2].cursor), 1);
    put_parts(on, &second).await;
    put_parts(on, &third).await;
    let reply = commit(on, second.name, 2).await;
    assert!(matches!(reply, BrokerReply::Conflict), "{reply:?}");
    let reply = commit(on, third.name, 0).await;
    assert!(matches!(reply, BrokerReply::SnapshotStored), "{reply:?}");
    assert_eq!(load(on).await.1, entries);
}

pub(super) async fn a_fully_trimmed_log_still_has_its_head(on: &Subject) {
    let entries = three(on).await;
    let head = entries[2].cursor;
    put_snapshot(on, snapshot(head), 3).await;
    assert_eq!(read(on, 3).await, Some(Vec::new()));
    assert_eq!(read(on, 2).await, None);
    assert!(append(on, head, &[on.mutation(7, 4)]).await);
}

pub(super) async fn many_writers_of_many_channels_all_get_their_answer(on: &Subject) {
    let calls = (0..200).map(|n| {
        let request = BrokerRequest::Append {
            expected: Cursor::default(),
            entries: vec![on.opening(7, 1)],
        };
        let channel = name(&format!("board:c{}", n % 100));
        on.broker.request(&channel, request)
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        let reply = call.await;
        let is_an_answer = matches!(
            reply,
            BrokerReply::Appended | BrokerReply::Conflict | BrokerReply::ReadBack
        );
        assert!(is_an_answer, "{reply:?}");
    }
    for n in 0..100 {
        let channel = name(&format!("board:c{n}"));
        let reply = on.broker.request(&channel, BrokerRequest::Load).await;
        assert!(matches!(&reply, BrokerReply::Loaded { entries, .. } if entries.len() == 1));
    }
}
