//! Preconditions: sent with the item, shown whatever they say, refused with what there is.

use tidewire_core::wire::{Equals, Precondition, PreconditionKind, Unchanged};

use crate::support::*;

fn require(kinds: impl IntoIterator<Item = PreconditionKind>) -> MutateOptions {
    let preconditions = kinds
        .into_iter()
        .map(|kind| Precondition { kind: Some(kind) });
    MutateOptions {
        preconditions: preconditions.collect(),
        ..MutateOptions::default()
    }
}

fn place(id: &str) -> RecordRef {
    RecordRef {
        collection: "cards".into(),
        id: id.into(),
    }
}

fn title_is(id: &str, title: &str) -> PreconditionKind {
    PreconditionKind::Eq(Equals {
        collection: "cards".into(),
        id: id.into(),
        field: "title".into(),
        value: Bytes::from(format!("\"{title}\"")),
    })
}

fn conflict(n: u64) -> Mid {
    Mid {
        code: ErrorCode::Conflict as u32,
        ..mid(n)
    }
}

/// The title of the record that the refusal names, after a conflict that the log holds with `ops`.
fn current_after(options: MutateOptions, ops: Vec<Op>) -> Option<String> {
    let mut d = Driver::start();
    d.snapshot(at(1), &[card("a", "one"), card("b", "two")], 0, vec![]);
    let handle = d.mutate_with(ChangeKind::Put(card("a", "mine")), options);
    d.patch(1, 2, ops, vec![]);
    d.patch(2, 3, vec![], vec![conflict(1)]);
    let Some(MutationStatus::Rejected { code, current, .. }) = d.outcomes(handle).pop() else {
        panic!("{:?}", d.outcomes(handle));
    };
    assert_eq!(code, ErrorCode::Conflict);
    let value = current?.field("title")?.to_vec();
    Some(String::from_utf8(value).unwrap())
}

#[test]
fn they_travel_with_the_item_and_hide_nothing() {
    let mut d = Driver::live();
    let options = require([
        PreconditionKind::Exists(place("a")),
        title_is("a", "never"),
        PreconditionKind::Unchanged(Unchanged {
            collection: "cards".into(),
            id: "a".into(),
            since: Some(at(1)),
        }),
    ]);
    d.mutate_with(ChangeKind::Put(card("a", "mine")), options.clone());
    assert_eq!(d.title("a").as_deref(), Some("\"mine\""));
    assert_eq!(d.pushes()[0].items[0].pre, options.preconditions);
}

#[test]
fn a_conflict_names_the_record_of_the_first_precondition_that_does_not_hold() {
    let options = require([PreconditionKind::Exists(place("b")), title_is("a", "one")]);
    let current = current_after(options, vec![put_op("a", "theirs")]);
    assert_eq!(current.as_deref(), Some("\"theirs\""), "and not one's own");
}

#[test]
fn a_conflict_that_cannot_be_seen_names_the_first_record() {
    let unchanged = PreconditionKind::Unchanged(Unchanged {
        collection: "cards".into(),
        id: "b".into(),
        since: Some(at(1)),
    });
    let options = require([unchanged, title_is("a", "one")]);
    assert_eq!(current_after(options, vec![]).as_deref(), Some("\"two\""));
}

#[test]
fn what_is_absent_has_no_current_value() {
    let options = require([PreconditionKind::Exists(place("c")), title_is("a", "one")]);
    assert_eq!(current_after(options, vec![]), None);
    assert_eq!(current_after(MutateOptions::default(), vec![]), None);
}

#[test]
fn a_conflict_in_a_snapshots_table_row_names_the_record_too() {
    let mut d = Driver::live();
    let options = require([title_is("a", "one")]);
    let handle = d.mutate_with(ChangeKind::Put(card("a", "mine")), options);
    d.reconnect();
    let rejected = vec![Rejected {
        n: 1,
        code: ErrorCode::Conflict as u32,
        detail: String::new(),
    }];
    d.snapshot(at(9), &[card("a", "theirs")], 1, rejected);
    let Some(MutationStatus::Rejected { current, .. }) = d.outcomes(handle).pop() else {
        panic!("{:?}", d.outcomes(handle));
    };
    assert!(current.is_some());
    assert_eq!(d.title("a").as_deref(), Some("\"theirs\""));
}

#[test]
fn what_no_server_could_judge_is_refused_in_the_call() {
    let mut d = Driver::live();
    let unchanged = PreconditionKind::Unchanged(Unchanged {
        collection: "cards".into(),
        id: "a".into(),
        since: None,
    });
    let change = Change {
        kind: Some(ChangeKind::Put(card("a", "x"))),
    };
    let refused = d
        .session
        .mutate(d.now, d.channel, vec![change], require([unchanged]));
    assert!(matches!(refused, Err(MutateError::Invalid(r)) if r.code == ErrorCode::Invalid));
    assert_eq!(d.title("a"), None);
}
