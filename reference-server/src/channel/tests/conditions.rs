//! Preconditions: all hold, or nothing of the mutation is applied and the log says why.

use std::sync::Arc;

use proptest::prelude::*;
use tidewire_core::ChannelName;
use tidewire_core::document::Document;
use tidewire_core::document::precondition::{holds, subject};
use tidewire_core::wire::{
    Cursor, Equals, ErrorCode, Item, Precondition, PreconditionKind, RecordRef, ServerKind,
    Unchanged,
};

use super::harness::*;
use crate::channel::{Author, ChannelConfig, ChannelInput, Rights};
use crate::log::EntryBody;

fn record_ref(id: &str) -> RecordRef {
    RecordRef {
        collection: "cards".into(),
        id: id.into(),
    }
}

fn exists(id: &str) -> PreconditionKind {
    PreconditionKind::Exists(record_ref(id))
}

fn absent(id: &str) -> PreconditionKind {
    PreconditionKind::Absent(record_ref(id))
}

fn eq(id: &str, field: &str, value: &str) -> PreconditionKind {
    PreconditionKind::Eq(Equals {
        collection: "cards".into(),
        id: id.into(),
        field: field.into(),
        value: value.to_owned().into(),
    })
}

fn unchanged(id: &str, since: Cursor) -> PreconditionKind {
    PreconditionKind::Unchanged(Unchanged {
        collection: "cards".into(),
        id: id.into(),
        since: Some(since),
    })
}

/// Writes `done` into record `x` if the preconditions hold.
fn only_if(pre: Vec<PreconditionKind>, done: &str) -> Item {
    Item {
        pre: pre
            .into_iter()
            .map(|kind| Precondition { kind: Some(kind) })
            .collect(),
        ..item(vec![put("done", "v", done)])
    }
}

/// Who may write and not read.
struct WriteOnly;

impl Rights for WriteOnly {
    fn may_write(&self, _: &ChannelName) -> bool {
        true
    }

    fn may_read(&self, _: &ChannelName) -> bool {
        false
    }
}

#[test]
fn preconditions_are_no_way_to_read_for_who_may_only_write() {
    let mut harness = Harness::new();
    let reader = harness.join(1, 1);
    let mut writer = Client::new(2, 2);
    writer.subscriber.rights = Arc::new(WriteOnly);
    harness.push(&writer, 1, 1, vec![only_if(Vec::new(), "1")]);
    assert_eq!(rejection(&reader), None);
    // Whether it holds or not, and whatever it asks.
    let head = harness.log.head();
    let asked = [
        exists("x"),
        absent("x"),
        exists("none"),
        eq("x", "v", "1"),
        unchanged("x", head),
    ];
    for (n, kind) in (2..).zip(asked) {
        harness.push(&writer, n, n, vec![only_if(vec![kind], "2")]);
        let (code, detail) = rejection(&reader).expect("rejected");
        assert_eq!(code, ErrorCode::Forbidden);
        assert!(detail.contains("right to read"), "{detail}");
    }
    assert!(
        writer
            .take()
            .iter()
            .all(|frame| matches!(frame, ServerKind::Ack(_)))
    );
}

/// How the last mutation ended: `None` when committed.
fn rejection(client: &Client) -> Option<(ErrorCode, String)> {
    let frames = client.take();
    let mid = frames.iter().rev().find_map(|frame| match frame {
        ServerKind::Patch(patch) => patch.mids.last().cloned(),
        _ => None,
    });
    let mid = mid.unwrap_or_else(|| panic!("{frames:?}"));
    ErrorCode::from_number(mid.code).map(|code| (code, mid.detail))
}

#[test]
fn each_kind_holds_or_rejects_with_its_name() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let text = r#"{"a":1,"b":[1.0,"ü"]}"#;
    harness.push(&ana, 1, 1, vec![item(vec![put("x", "f", text)])]);
    ana.take();
    let mut n = 1;
    let mut tried = |pre: Vec<PreconditionKind>| {
        n += 1;
        harness.push(&ana, n, n, vec![only_if(pre, &n.to_string())]);
        let rejection = rejection(&ana);
        let done = harness.field("done", "v").as_deref() == Some(&n.to_string());
        assert_eq!(done, rejection.is_none(), "all or nothing");
        rejection
    };
    assert_eq!(tried(vec![exists("x"), absent("y")]), None);
    let same = r#"{ "b": [1, "\u00fc"], "a": 10e-1 }"#;
    assert_eq!(tried(vec![eq("x", "f", same)]), None);
    for (pre, name) in [
        (
            vec![exists("x"), exists("y")],
            "precondition 2 does not hold: exists cards/y",
        ),
        (
            vec![absent("x")],
            "precondition 1 does not hold: absent cards/x",
        ),
        (
            vec![eq("x", "f", "1")],
            "precondition 1 does not hold: eq cards/x f",
        ),
        (
            vec![eq("x", "g", "null")],
            "precondition 1 does not hold: eq cards/x g",
        ),
        (
            vec![eq("y", "f", "null")],
            "precondition 1 does not hold: eq cards/y f",
        ),
    ] {
        assert_eq!(tried(pre), Some((ErrorCode::Conflict, name.into())));
    }
    assert_eq!(
        tried(vec![eq("x", "f", "no JSON")]).unwrap().0,
        ErrorCode::Invalid
    );
}

#[test]
fn a_precondition_meets_what_was_decided_before_it_in_the_same_push() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    let items = vec![
        only_if(vec![absent("done")], "1"),
        only_if(vec![absent("done")], "2"),
        only_if(vec![eq("done", "v", "1")], "3"),
        item(vec![del("done")]),
        only_if(vec![exists("done")], "5"),
    ];
    harness.push(&ana, 1, 1, items);
    let frames = ana.take();
    let ServerKind::Patch(patch) = &frames[0] else {
        panic!("{frames:?}");
    };
    let codes: Vec<bool> = patch.mids.iter().map(|mid| mid.code == 0).collect();
    assert_eq!(codes, [true, false, true, true, false]);
}

#[test]
fn unchanged_looks_at_others_only() {
    let mut harness = Harness::new();
    let (ana, ben) = (harness.join(1, 1), harness.join(2, 2));
    harness.push(&ben, 1, 1, vec![item(vec![put("x", "f", "1")])]);
    let since = harness.log.head();
    // One's own change, and one of another record, do not count.
    harness.push(&ana, 1, 1, vec![item(vec![set("x", "f", "2")])]);
    harness.push(&ben, 2, 1, vec![item(vec![put("y", "f", "2")])]);
    harness.push(&ana, 2, 1, vec![only_if(vec![unchanged("x", since)], "1")]);
    assert_eq!(rejection(&ana), None);
    // In one turn: Ben's change is not in the log yet, and counts.
    harness.enqueue(&ben, 3, 1, vec![item(vec![set("x", "f", "3")])]);
    harness.enqueue(&ana, 3, 1, vec![only_if(vec![unchanged("x", since)], "2")]);
    harness.run();
    let (code, detail) = rejection(&ana).unwrap();
    assert_eq!(code, ErrorCode::Conflict);
    assert_eq!(detail, "precondition 1 does not hold: unchanged cards/x");
    let now = harness.log.head();
    harness.push(&ana, 4, 1, vec![only_if(vec![unchanged("x", now)], "3")]);
    assert_eq!(rejection(&ana), None);
    // Removed and made again is changed.
    let now = harness.log.head();
    harness.push(&ben, 4, 1, vec![item(vec![del("x"), put("x", "f", "3")])]);
    harness.push(&ana, 5, 1, vec![only_if(vec![unchanged("x", now)], "4")]);
    assert_eq!(rejection(&ana).unwrap().0, ErrorCode::Conflict);
}

#[test]
fn unchanged_since_what_nobody_remembers_is_a_conflict() {
    let config = || ChannelConfig {
        history: 4,
        snapshot_entries: 4,
        ..ChannelConfig::default()
    };
    let mut harness = Harness::with(config());
    let ana = harness.join(1, 1);
    let early = harness.log.head();
    harness.push(&ana, 1, 1, put_items(0..1));
    let off_the_line = Cursor {
        tag: harness.log.head().tag + 1,
        ..harness.log.head()
    };
    let ahead = Cursor {
        seq: harness.log.head().seq + 9,
        ..harness.log.head()
    };
    for (n, since) in [(2, off_the_line), (3, ahead)] {
        harness.push(&ana, n, 1, vec![only_if(vec![unchanged("r0", since)], "1")]);
        assert_eq!(rejection(&ana).unwrap().0, ErrorCode::Conflict);
    }
    for n in 4..20 {
        harness.push(&ana, n, n, put_items(n..n + 1));
    }
    harness.push(
        &ana,
        20,
        20,
        vec![only_if(vec![unchanged("r0", early)], "1")],
    );
    assert_eq!(rejection(&ana).unwrap().0, ErrorCode::Conflict);
    // A node that starts knows what the entries below the snapshot say.
    let since = harness.log.entries().nth(2).unwrap().cursor;
    let mut next = Harness::over(harness.log.clone(), config());
    let ben = next.join(2, 2);
    let last = format!("r{}", 19);
    let items = vec![
        only_if(vec![unchanged("r0", since)], "1"),
        only_if(vec![unchanged(&last, since)], "2"),
    ];
    next.push(&ben, 1, 1, items);
    let ServerKind::Patch(patch) = &ben.take()[0] else {
        panic!("no patch");
    };
    let codes: Vec<u32> = patch.mids.iter().map(|mid| mid.code).collect();
    assert_eq!(codes, [0, ErrorCode::Conflict as u32]);
}

#[test]
fn a_deleted_channel_has_changed_every_record() {
    let mut harness = Harness::new();
    let (ana, ben) = (harness.join(1, 1), harness.join(2, 2));
    harness.push(&ana, 1, 1, put_items(0..1));
    let since = harness.log.head();
    harness.input(ChannelInput::Delete);
    harness.run();
    harness.subscribe(&ben, None, 0);
    ana.take();
    let epoch = harness.channel.head().epoch;
    harness.enqueue_at(
        &ana,
        epoch,
        2,
        2,
        vec![only_if(vec![unchanged("r0", since)], "1")],
    );
    harness.run();
    assert_eq!(rejection(&ana).unwrap().0, ErrorCode::Conflict);
}

#[test]
fn what_preconditions_compare_is_bounded() {
    let mut harness = Harness::new();
    let ana = harness.join(1, 1);
    // The same value as `1`, at great length.
    let long = format!("1.{}", "0".repeat(60_000));
    harness.push(&ana, 1, 1, vec![item(vec![put("x", "f", &long)])]);
    assert_eq!(rejection(&ana), None);
    let compare = |count| vec![only_if(vec![eq("x", "f", "1"); count], "1")];
    harness.push(&ana, 2, 2, compare(17));
    assert_eq!(rejection(&ana), None);
    harness.push(&ana, 3, 3, compare(18));
    assert_eq!(rejection(&ana).unwrap().0, ErrorCode::TooLarge);
    let cheap = |count| vec![only_if(vec![exists("x"); count], "1")];
    harness.push(&ana, 4, 4, cheap(64));
    assert_eq!(rejection(&ana), None);
    harness.push(&ana, 5, 5, cheap(65));
    assert_eq!(rejection(&ana).unwrap().0, ErrorCode::TooLarge);
}

/// One push of the differential test: its conditions are drawn from what may or may not hold.
#[derive(Clone, Debug)]
struct Draw {
    who: usize,
    record: usize,
    condition: u8,
    back: usize,
    change: u8,
    polls: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    (
        0..2usize,
        0..3usize,
        0..5u8,
        0..6usize,
        0..3u8,
        any::<bool>(),
    )
        .prop_map(|(who, record, condition, back, change, polls)| Draw {
            who,
            record,
            condition,
            back,
            change,
            polls,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// What the channel decides, in turns of several pushes, is what a plain look at the whole log says.
    #[test]
    fn preconditions_are_judged_as_a_plain_look_at_the_log_would(
        draws in proptest::collection::vec(draw(), 1..40),
    ) {
        let mut harness = Harness::new();
        let clients = [harness.join(1, 1), harness.join(2, 2)];
        let mut asked: Vec<Vec<Item>> = vec![Vec::new(); 2];
        for draw in &draws {
            let id = format!("r{}", draw.record);
            let entries = harness.log.entries().len();
            let since = harness
                .log
                .entries()
                .nth(entries.saturating_sub(draw.back + 1))
                .unwrap()
                .cursor;
            let value = (draw.back % 3).to_string();
            let condition = match draw.condition {
                0 => exists(&id),
                1 => absent(&id),
                2 => eq(&id, "f", &format!("{value}.0")),
                _ => unchanged(&id, since),
            };
            let change = match draw.change {
                0 => put(&id, "f", &value),
                1 => del(&id),
                _ => put("other", "f", &value),
            };
            let item = Item {
                pre: vec![Precondition {
                    kind: Some(condition),
                }],
                ..item(vec![change])
            };
            let n = asked[draw.who].len() as u64 + 1;
            asked[draw.who].push(item.clone());
            harness.enqueue(&clients[draw.who], n, n, vec![item]);
            if draw.polls {
                harness.run();
            }
        }
        harness.run();
        let mut document = Document::default();
        let mut changed: Vec<(u64, Option<Author>, String)> = Vec::new();
        let mut decided = 0;
        for entry in harness.log.entries() {
            let (author, ops) = match &entry.body {
                EntryBody::Opening { ops, .. } => (None, ops.clone()),
                EntryBody::Mutation { author, n, outcome, .. } => {
                    let item = &asked[usize::from(author.0[0]) - 1][*n as usize - 1];
                    let kind = item.pre[0].kind.as_ref().unwrap();
                    let (collection, id) = subject(kind);
                    let expected = match kind {
                        PreconditionKind::Unchanged(unchanged) => !changed.iter().any(|(seq, by, of)| {
                            *seq > unchanged.since.unwrap().seq && *by != Some(*author) && of == id
                        }),
                        kind => holds(kind, document.record(collection, id)).unwrap(),
                    };
                    let refused_alone = matches!(outcome, Err(r) if r.code == ErrorCode::Refused);
                    prop_assert_eq!(outcome.is_ok() || refused_alone, expected, "{:?}", entry);
                    decided += 1;
                    (Some(*author), outcome.clone().unwrap_or_default())
                }
                _ => unreachable!(),
            };
            document.apply_run(&ops, |_, _, _| {});
            for (_, id) in ops.targets() {
                changed.push((entry.cursor.seq, author, id.to_owned()));
            }
        }
        prop_assert_eq!(decided, draws.len());
    }
}
