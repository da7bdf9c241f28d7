//! Mutations: applied exactly once, in order, or rejected in the log.

use std::sync::Arc;

use tidewire_core::wire::{
    Append, Change, ChangeKind, Close, ErrorCode, Field, Item, Known, Precondition, Record, Send,
    ServerKind,
};

use super::harness::*;
use crate::channel::{ChannelConfig, ChannelInput, Subscriber};
use crate::log::{Author, EntryBody};

#[test]
fn a_push_becomes_an_entry_a_patch_and_an_ack() {
    let mut harness = Harness::new();
    let ana = Client::new(1, 1);
    harness.subscribe(&ana, None, 0);
    let mut replica = Replica::default();
    let frames = ana.take();
    assert!(
        matches!(&frames[0], ServerKind::SnapshotBegin(begin) if begin.known == Some(Known::default()))
    );
    replica.feed(&frames);
    assert_eq!(replica.cursor, harness.log.head());

    harness.push(&ana, 1, 1, vec![item(vec![put("x", "a", "2")])]);
    let frames = ana.take();
    assert!(matches!(&frames[1], ServerKind::Ack(ack) if ack.through == 1 && ack.seq == 2));
    assert!(matches!(&frames[0], ServerKind::Patch(patch) if patch.mids.len() == 1));
    replica.feed(&frames);
    assert_eq!(replica.document, harness.document());
    assert_eq!(replica.cursor, harness.log.head());
}

#[test]
fn a_duplicate_push_is_acked_once_and_logged_once() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let push = vec![item(vec![put("x", "a", "0")]), item(vec![inc("x", "a", 1)])];
    harness.push(&ana, 1, 1, push.clone());
    let head = harness.log.head();
    ana.take();
    harness.push(&ana, 1, 1, push);
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Ack(ack)] if ack.through == 2),
        "{frames:?}"
    );
    assert_eq!(harness.log.head(), head);
    assert_eq!(harness.field("x", "a").unwrap(), "1");
}

#[test]
fn a_push_without_the_grant_is_refused_item_by_item_and_not_logged() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..1));
    let head = harness.log.head();
    ana.take();
    let epoch = head.epoch;
    let mut push = tidewire_core::wire::Push {
        channel: CHANNEL.into(),
        epoch,
        first_n: 1,
        low: 1,
        items: put_items(0..3),
    };
    push.epoch = epoch;
    harness.input(ChannelInput::Push {
        subscriber: Subscriber {
            rights: Arc::new(false),
            ..ana.subscriber.clone()
        },
        push,
    });
    harness.run();
    let frames = ana.take();
    assert_eq!(frames.len(), 3);
    for (frame, n) in frames.iter().zip(2..=3) {
        assert!(
            matches!(frame, ServerKind::Error(e) if e.code == ErrorCode::Forbidden as u32 && e.n == Some(n) && !e.fatal)
        );
    }
    assert!(matches!(&frames[2], ServerKind::Ack(ack) if ack.through == 1));
    assert_eq!(harness.log.head(), head);
}

#[test]
fn a_number_ahead_is_answered_with_what_is_needed() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, put_items(0..1));
    ana.take();
    harness.push(&ana, 4, 1, put_items(0..1));
    let head = harness.log.head();
    assert!(
        matches!(&ana.take()[..], [ServerKind::Need(need)] if need.n == 2 && need.cursor == Some(head))
    );
}

#[test]
fn low_closes_the_gap_that_lost_history_leaves() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    // The log knows nothing of 1 to 6, which the client settled in a history that is gone.
    harness.push(&ana, 8, 7, put_items(0..1));
    assert!(matches!(&ana.take()[..], [ServerKind::Need(need)] if need.n == 7));
    harness.push(&ana, 7, 7, put_items(0..2));
    assert!(
        matches!(&ana.take()[..], [ServerKind::Patch(_), ServerKind::Ack(ack)] if ack.through == 8)
    );
}

#[test]
fn a_rejection_is_an_entry_without_ops_and_listed_until_low_passes_it() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(&ana, 1, 1, vec![item(vec![set("absent", "a", "1")])]);
    let frames = ana.take();
    let ServerKind::Patch(patch) = &frames[0] else {
        panic!("{frames:?}");
    };
    assert_eq!(patch.mids[0].code, ErrorCode::NotFound as u32);
    assert!(patch.ops.is_empty());
    assert!(matches!(&frames[1], ServerKind::Ack(ack) if ack.through == 1));

    let known = |harness: &mut Harness| {
        harness.subscribe(&ana, Some(harness.log.head()), 0);
        match &ana.take()[..] {
            [ServerKind::Resume(resume)] => resume.known.clone().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(known(&mut harness).rejected.len(), 1);
    harness.push(&ana, 2, 2, put_items(0..1));
    ana.take();
    assert_eq!(
        known(&mut harness),
        Known {
            last: 2,
            low: 2,
            ..Known::default()
        }
    );
}

#[test]
fn a_mutation_is_applied_whole_or_not_at_all() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(
        &ana,
        1,
        1,
        vec![
            item(vec![
                put("x", "a", "1"),
                inc("x", "a", 1),
                set("gone", "a", "1"),
            ]),
            item(vec![set("x", "a", "9")]),
            item(vec![put("x", "a", "1"), inc("x", "a", 1), del("initial")]),
            item(vec![set("x", "b", "true"), set("initial", "a", "0")]),
        ],
    );
    let frames = ana.take();
    let ServerKind::Patch(patch) = &frames[0] else {
        panic!("{frames:?}");
    };
    let codes: Vec<u32> = patch.mids.iter().map(|mid| mid.code).collect();
    let not_found = ErrorCode::NotFound as u32;
    assert_eq!(codes, [not_found, not_found, 0, not_found]);
    assert_eq!(harness.field("x", "a").unwrap(), "2");
    assert_eq!(harness.field("x", "b"), None);
    assert_eq!(harness.field("initial", "a"), None);
}

#[test]
fn inc_counts_from_nothing_and_refuses_what_is_no_integer() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let items = [
        put("x", "t", "\"text\""),
        inc("x", "n", i64::MAX),
        inc("x", "n", 1),
        inc("x", "t", 1),
        inc("x", "n", -1),
    ];
    let items = items.map(|change| item(vec![change])).to_vec();
    harness.push(&ana, 1, 1, items);
    let frames = ana.take();
    let ServerKind::Patch(patch) = &frames[0] else {
        panic!("{frames:?}");
    };
    let invalid = ErrorCode::Invalid as u32;
    let codes: Vec<u32> = patch.mids.iter().map(|mid| mid.code).collect();
    assert_eq!(codes, [0, 0, invalid, invalid, 0]);
    assert_eq!(harness.field("x", "n").unwrap(), (i64::MAX - 1).to_string());
    // Down come absolute results.
    assert!(ops_of(&frames).iter().all(|op| op.kind.is_some()));
}

#[test]
fn what_the_application_refuses_is_logged_with_its_reason() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    harness.push(
        &ana,
        1,
        1,
        vec![
            item(vec![put("x", "a", "\"forbidden\"")]),
            // It sees what the same turn and the same mutation did before.
            item(vec![put("y", "a", "1")]),
            item(vec![del("y"), put("z", "a", "1"), del("z")]),
            item(vec![del("y")]),
        ],
    );
    let frames = ana.take();
    let ServerKind::Patch(patch) = &frames[0] else {
        panic!("{frames:?}");
    };
    let refused = ErrorCode::Refused as u32;
    let codes: Vec<u32> = patch.mids.iter().map(|mid| mid.code).collect();
    assert_eq!(codes, [refused, 0, 0, refused]);
    assert_eq!(patch.mids[0].detail, "not this value");
}

#[test]
fn contents_out_of_the_rules_are_rejected_in_the_log() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let big = "1".repeat(70_000);
    let cases = [
        (item(Vec::new()), ErrorCode::Invalid),
        (item(vec![put("x", "a", "{")]), ErrorCode::Invalid),
        (item(vec![put("", "a", "1")]), ErrorCode::Invalid),
        (item(vec![put("x", "a", &big)]), ErrorCode::TooLarge),
    ];
    for (n, (item, code)) in (1..).zip(cases) {
        harness.push(&ana, n, n, vec![item]);
        let frames = ana.take();
        assert!(
            matches!(&frames[..], [ServerKind::Patch(patch), ServerKind::Ack(_)] if patch.mids[0].code == code as u32),
            "{frames:?}"
        );
    }
    assert!(harness.closed.is_empty());
}

/// The row alone: a later client goes on with what this server knows.
#[test]
fn what_a_later_version_asks_for_is_rejected_in_the_log_and_nothing_else() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let change = |kind| Change { kind };
    let filled = Record {
        fields: vec![Field {
            name: "at".into(),
            fill: 1,
            ..Field::default()
        }],
        ..record("x", &[])
    };
    let of_a_day = Record {
        ttl_ms: 86_400_000,
        ..record("x", &[("a", "1")])
    };
    let unknown = vec![
        change(None),
        change(Some(ChangeKind::Append(Append {
            collection: "cards".into(),
            id: "x".into(),
            field: "a".into(),
            text: "y".into(),
        }))),
        change(Some(ChangeKind::Send(Send { data: "1".into() }))),
        change(Some(ChangeKind::Close(Close {}))),
        change(Some(ChangeKind::Put(filled.clone()))),
        change(Some(ChangeKind::Set(filled))),
        change(Some(ChangeKind::Put(of_a_day))),
    ];
    let mut items: Vec<Item> = unknown
        .into_iter()
        .map(|change| {
            let mut item = item(vec![put("y", "a", "1")]);
            item.changes.push(change);
            item
        })
        .collect();
    items.push(Item {
        pre: vec![Precondition::default()],
        ..item(vec![put("y", "a", "1")])
    });
    for (n, item) in (1..).zip(items) {
        harness.push(&ana, n, n, vec![item]);
        let frames = ana.take();
        let rejected = ErrorCode::Unsupported as u32;
        assert!(
            matches!(&frames[..], [ServerKind::Patch(patch), ServerKind::Ack(_)]
                if patch.mids[0].code == rejected && patch.ops.is_empty()),
            "{frames:?}"
        );
    }
    let known = Item {
        trace: [7; 26].to_vec().into(),
        check: [8; 8].to_vec().into(),
        schema: 3,
        ..item(vec![put("x", "a", "1")])
    };
    harness.push(&ana, 9, 9, vec![known.clone()]);
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Patch(patch), ServerKind::Ack(_)]
            if (patch.mids[0].code, &patch.mids[0].trace, &patch.mids[0].check)
                == (0, &known.trace, &known.check)),
        "{frames:?}"
    );
    let stored = harness.log.entries().last().unwrap().body.clone();
    assert!(
        matches!(&stored, EntryBody::Mutation { schema: 3, .. }),
        "{stored:?}"
    );
    // Also in the table row, which comes with each answer to a subscribe.
    harness.subscribe(&ana, Some(harness.log.head()), 0);
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Resume(resume)]
            if resume.known.as_ref().unwrap().check == known.check),
        "{frames:?}"
    );
    // What has another size is left out, and refuses nothing.
    let odd = Item {
        trace: vec![7; 25].into(),
        check: vec![8; 9].into(),
        ..known
    };
    harness.push(&ana, 10, 9, vec![odd]);
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Patch(patch), ServerKind::Ack(_)]
            if patch.mids[0].trace.is_empty() && patch.mids[0].check.is_empty()),
        "{frames:?}"
    );
    assert!(harness.closed.is_empty());
}

#[test]
fn a_no_op_moves_the_table_and_nothing_else() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let before = harness.document();
    // Whatever else it says.
    let changes = [Vec::new(), vec![put("x", "a", "1")], vec![put("", "", "{")]];
    for (n, changes) in (1..).zip(changes) {
        let mut noop = item(changes);
        noop.noop = true;
        harness.push(&ana, n, n, vec![noop]);
        assert!(
            matches!(&ana.take()[..], [ServerKind::Patch(patch), ServerKind::Ack(_)] if patch.mids[0].code == 0)
        );
    }
    assert_eq!(harness.document(), before);
}

#[test]
fn a_push_out_of_its_contract_ends_that_connection_alone() {
    let cases: [(u64, u64, usize); 6] = [
        (1, 1, 0),
        (0, 0, 1),
        (3, 4, 1),
        (1, 1, 257),
        (u64::MAX, 1, 1),
        (u64::MAX, 1, 2),
    ];
    for (first_n, low, items) in cases {
        let mut harness = Harness::new();
        let ana = harness.join(1, 1);
        let ben = harness.join(2, 2);
        let head = harness.log.head();
        harness.push(&ana, first_n, low, put_items(0..items as u64));
        assert!(
            matches!(&ana.take()[..], [ServerKind::Error(e)] if e.fatal && e.code == ErrorCode::UnexpectedFrame as u32)
        );
        let closed = std::mem::take(&mut harness.closed);
        assert_eq!(closed, [(ana.subscriber.conn, ErrorCode::UnexpectedFrame)]);
        assert_eq!(harness.log.head(), head);
        harness.push(&ben, 1, 1, put_items(0..1));
        assert_eq!(ben.take().len(), 2);
    }
}

#[test]
fn too_many_unseen_rejections_hold_the_author_and_nobody_else() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let bad = || vec![item(vec![set("absent", "a", "1")]); 64];
    harness.push(&ana, 1, 1, bad());
    ana.take();
    harness.push(&ana, 65, 1, put_items(0..1));
    assert!(
        matches!(&ana.take()[..], [ServerKind::Hold(hold)] if hold.code == ErrorCode::RejectionsFull as u32)
    );
    let ben = harness.join(2, 2);
    harness.push(&ben, 1, 1, put_items(0..1));
    assert_eq!(ben.take().len(), 2);
    ana.take();
    harness.push(&ana, 65, 2, put_items(0..1));
    assert!(matches!(
        &ana.take()[..],
        [ServerKind::Patch(_), ServerKind::Ack(_)]
    ));
}

#[test]
fn everything_pushed_before_a_poll_is_one_append_and_one_patch() {
    let mut harness = Harness::new();
    let clients: Vec<Client> = (1..=3).map(|n| harness.join(n, n as u8)).collect();
    let onlooker = harness.join(9, 9);
    harness.requests.clear();
    for client in &clients {
        harness.enqueue(client, 1, 1, put_items(0..2));
        harness.enqueue(client, 3, 1, put_items(2..4));
    }
    harness.run();
    assert_eq!(harness.appends(), 1);
    let frames = onlooker.inbox.take_messages();
    assert_eq!(frames.len(), 1);
    for client in &clients {
        let messages = client.inbox.take_messages();
        // The very same bytes, not equal ones.
        assert_eq!(messages[0].as_ptr(), frames[0].as_ptr());
    }
    let frames = tidewire_core::wire::decode_server(frames[0].clone(), usize::MAX).unwrap();
    assert!(
        matches!(&frames[..], [ServerKind::Patch(patch)] if patch.mids.len() == 12 && patch.ops.len() == 12)
    );
}

#[test]
fn a_large_turn_is_cut_so_that_its_patch_fits_a_frame() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let big = format!("\"{}\"", "x".repeat(60_000));
    for n in 1..=40 {
        harness.enqueue(
            &ana,
            n,
            1,
            vec![item(vec![put(&format!("r{n}"), "a", &big)])],
        );
    }
    harness.requests.clear();
    harness.run();
    assert!((2..20).contains(&harness.appends()));
    let limit = tidewire_core::wire::Limits::DEFAULT.frame_down_bytes as usize;
    let messages = ana.inbox.take_messages();
    assert!(messages.iter().all(|message| message.len() < limit / 2));
    assert_eq!(harness.document().len(), 41);
}

#[test]
fn waiting_pushes_are_bounded_and_the_rest_is_held() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let mut held = 0;
    for n in 1..=2000 {
        harness.enqueue(&ana, n, 1, put_items(0..1));
        held += ana
            .take()
            .iter()
            .filter(|frame| matches!(frame, ServerKind::Hold(hold) if hold.code == ErrorCode::Overloaded as u32))
            .count();
    }
    assert_eq!(held, 2000 - 1024);
    harness.run();
    assert_eq!(harness.log.head().seq, 1025);
}

#[test]
fn a_push_of_another_epoch_is_told_so_after_the_node_has_caught_up() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let epoch = harness.log.head().epoch;
    harness.requests.clear();
    harness.enqueue_at(&ana, epoch - 1, 1, 1, put_items(0..1));
    harness.run();
    assert!(matches!(&ana.take()[..], [ServerKind::StaleEpoch(stale)] if stale.epoch == epoch));
    assert!(matches!(
        harness.requests[..],
        [crate::log::BrokerRequest::Read { .. }]
    ));
    assert_eq!(harness.appends(), 0);
}

#[test]
fn a_push_is_judged_by_the_epoch_that_another_node_opened() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    // Another node opens an epoch; the client learns of it there and pushes here.
    let mut other = Harness::over(
        harness.log.clone(),
        crate::channel::ChannelConfig::default(),
    );
    let ben = Client::new(7, 7);
    other.subscribe(&ben, None, harness.log.head().epoch + 5);
    harness.log = other.log;
    harness.enqueue_at(&ana, harness.log.head().epoch, 1, 1, put_items(0..1));
    harness.run();
    let frames = ana.take();
    assert!(
        matches!(&frames[..], [ServerKind::Patch(opening), ServerKind::Patch(_), ServerKind::Ack(ack)]
            if opening.mids.is_empty() && ack.through == 1),
        "{frames:?}"
    );
}

#[test]
fn a_push_without_a_subscription_is_answered_all_the_same() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let stranger = Client::new(5, 5);
    harness.push(&stranger, 1, 1, put_items(0..1));
    assert!(matches!(&stranger.take()[..], [ServerKind::Ack(ack)] if ack.through == 1));
    assert!(matches!(&ana.take()[..], [ServerKind::Patch(_)]));
}

#[test]
fn a_document_is_bounded_and_can_always_shrink() {
    let config = || ChannelConfig {
        document_bytes_max: 300,
        ..ChannelConfig::default()
    };
    let mut harness = Harness::with(config());
    let ana = harness.join(1, 1);
    let long = format!("{:?}", "x".repeat(100));
    for n in 1..=3 {
        let change = put(&format!("r{n}"), "t", &long);
        harness.push(&ana, n, 1, vec![item(vec![change])]);
    }
    assert!(harness.document().record("cards", "r3").is_none());
    let rejected = ana.take().into_iter().find_map(|frame| match frame {
        ServerKind::Patch(patch) => patch.mids.into_iter().find(|mid| mid.n == 3),
        _ => None,
    });
    assert_eq!(rejected.unwrap().code, ErrorCode::TooLarge as u32);
    // What is counted is the same after a restart.
    let mut next = Harness::over(harness.log.clone(), config());
    let ben = next.join(2, 2);
    let swap = vec![del("r1"), put("r3", "t", &long)];
    next.push(&ben, 1, 1, vec![item(vec![put("r4", "t", &long)])]);
    next.push(&ben, 2, 1, vec![item(swap)]);
    next.push(&ben, 3, 1, vec![item(vec![set("r2", "t", "1")])]);
    next.push(&ben, 4, 1, vec![item(vec![put("r5", "t", "1")])]);
    let document = next.document();
    let ids = document.records().map(|(_, id, _)| &**id);
    let ids: Vec<_> = ids.filter(|id| id.starts_with('r')).collect();
    assert_eq!(ids, ["r2", "r3", "r5"]);
}

/// Whoever has a token may have as many client ids as it likes.
#[test]
fn rejections_of_very_many_clients_stay_in_the_channels_budget() {
    let bytes_max = 256 * 1024;
    let mut harness = Harness::with(ChannelConfig {
        table_bytes_max: bytes_max,
        ..ChannelConfig::default()
    });
    let mut client = harness.join(1, 1);
    let (mut rejected, mut held) = (0, 0);
    for id in 0..5_000u128 {
        client.subscriber.author = Author((id << 8).to_be_bytes());
        // Rejected one after the other, with a reason: there is no such record.
        let items = (0..8)
            .map(|_| item(vec![set("nothing", "a", "1")]))
            .collect();
        harness.push(&client, 1, 1, items);
        for frame in client.take() {
            match frame {
                ServerKind::Patch(patch) => rejected += patch.mids.len(),
                ServerKind::Hold(hold) => {
                    assert_eq!(hold.code, ErrorCode::Overloaded as u32);
                    held += 1;
                }
                _ => {}
            }
        }
        assert!(harness.channel.held().table <= bytes_max);
    }
    // A row counts 160 bytes.
    assert!(rejected >= 8 * 1_000 && held >= 3_000, "{rejected} {held}");
    // Who is known goes on.
    client.subscriber.author = Author((7u128 << 8).to_be_bytes());
    harness.push(&client, 9, 9, put_items(0..1));
    assert!(matches!(client.take().last(), Some(ServerKind::Ack(_))));
}
