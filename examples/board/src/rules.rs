//! What may be on a board. The page shows the same limits but never enforces them: this is the only judge.

use serde_json::Value;
use tidewire_core::document::change::{apply_change, target};
use tidewire_core::document::{Record, Rejection};
use tidewire_core::wire::{Change, ErrorCode, Limits};

/// The longest title of a card, in characters.
pub(crate) const TITLE_CHARS_MAX: usize = 80;

/// The longest name under a card, in characters.
const NAME_CHARS_MAX: usize = 80;

/// Judges one change against the board that it meets; `record` looks a record up.
///
/// Columns are fixed. A card stands in a column that exists and is not locked, before and after, and
/// has a title of 1 to 80 characters.
pub(crate) fn judge(
    record: impl Fn(&str, &str) -> Option<Record>,
    change: &Change,
) -> Result<(), Rejection> {
    let Some(kind) = &change.kind else {
        return Err(Rejection::new(ErrorCode::Invalid, "an empty change"));
    };
    let (collection, id) = target(kind);
    match collection {
        "cards" => {}
        "columns" => return Err(refuse("the columns of this board are fixed")),
        _ => return Err(refuse(format!("a board has no {collection}"))),
    }

    let before = record("cards", id);
    let after = apply_change(before.as_ref(), kind, &Limits::DEFAULT)?;
    for card in [&before, &after].into_iter().flatten() {
        let Some(column) = text(card, "column") else {
            continue;
        };
        match record("columns", &column).map(|found| Column::read(&found)) {
            Some(Column {
                locked: true,
                title,
            }) => {
                return Err(refuse(format!("the column “{title}” is locked")));
            }
            // A card whose column is gone may still be moved or deleted.
            None if after.as_ref() == Some(card) => return Err(refuse("there is no such column")),
            _ => {}
        }
    }
    after.as_ref().map_or(Ok(()), is_card)
}

/// Whether a record has the fields of a card, and no others.
fn is_card(card: &Record) -> Result<(), Rejection> {
    for (name, value) in card.fields() {
        let value: Value = serde_json::from_slice(value).unwrap_or(Value::Null);
        let is_good = match name {
            "title" | "column" => value.is_string(),
            "by" => value
                .as_str()
                .is_some_and(|by| by.chars().count() <= NAME_CHARS_MAX),
            "order" => value.as_f64().is_some_and(f64::is_finite),
            _ => return Err(refuse(format!("a card has no {name}"))),
        };
        if !is_good {
            return Err(refuse(format!("this is no {name} of a card")));
        }
    }
    for name in ["title", "column", "order", "by"] {
        if card.field(name).is_none() {
            return Err(refuse(format!("a card needs its {name}")));
        }
    }
    let title = text(card, "title").unwrap_or_default();
    match title.trim().chars().count() {
        1..=TITLE_CHARS_MAX => Ok(()),
        0 => Err(refuse(format!(
            "a title needs 1 to {TITLE_CHARS_MAX} characters; this one is empty"
        ))),
        count => Err(refuse(format!(
            "a title has at most {TITLE_CHARS_MAX} characters; this one has {count}"
        ))),
    }
}

struct Column {
    title: String,
    locked: bool,
}

impl Column {
    fn read(record: &Record) -> Self {
        let locked = record.field("locked").is_some_and(|value| value == b"true");
        Self {
            title: text(record, "title").unwrap_or_default(),
            locked,
        }
    }
}

/// A field that is a string.
fn text(record: &Record, field: &str) -> Option<String> {
    serde_json::from_slice(record.field(field)?).ok()
}

fn refuse(reason: impl Into<String>) -> Rejection {
    Rejection::new(ErrorCode::Refused, reason)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidewire_core::wire::{self, ChangeKind, RecordRef};

    use super::*;
    use crate::start;

    /// Judges a change of a board as it starts.
    fn judge_on_new_board(kind: ChangeKind) -> Result<(), String> {
        let board = start::document();
        let lookup = |collection: &str, id: &str| board.record(collection, id).cloned();
        judge(lookup, &Change { kind: Some(kind) }).map_err(|rejection| rejection.detail)
    }

    fn record(collection: &str, id: &str, fields: Value) -> wire::Record {
        start::record(collection, id, fields)
    }

    fn set(id: &str, fields: Value) -> Result<(), String> {
        judge_on_new_board(ChangeKind::Set(record("cards", id, fields)))
    }

    fn put(fields: Value) -> Result<(), String> {
        judge_on_new_board(ChangeKind::Put(record("cards", "new", fields)))
    }

    fn delete(id: &str) -> Result<(), String> {
        let (collection, id) = ("cards".into(), id.into());
        judge_on_new_board(ChangeKind::Del(RecordRef { collection, id }))
    }

    fn card(title: &str, column: &str) -> Value {
        json!({ "title": title, "column": column, "order": 1.5, "by": "ana" })
    }

    #[test]
    fn cards_outside_the_locked_column_are_free() {
        assert_eq!(put(card("x", "todo")), Ok(()));
        assert_eq!(set("welcome", json!({ "title": "y" })), Ok(()));
        assert_eq!(
            set("welcome", json!({ "column": "done", "order": -3 })),
            Ok(())
        );
        assert_eq!(delete("welcome"), Ok(()));
    }

    #[test]
    fn nothing_goes_into_out_of_or_on_in_the_locked_column() {
        let locked = Err("the column “Shipped” is locked".into());
        assert_eq!(put(card("x", "shipped")), locked);
        assert_eq!(set("welcome", json!({ "column": "shipped" })), locked);
        assert_eq!(set("locked", json!({ "column": "todo" })), locked);
        assert_eq!(set("locked", json!({ "title": "y" })), locked);
        assert_eq!(set("locked", json!({ "order": 9 })), locked);
        assert_eq!(delete("locked"), locked);
    }

    #[test]
    fn titles_have_1_to_80_characters_whatever_their_bytes() {
        assert_eq!(put(card(&"ü".repeat(80), "todo")), Ok(()));
        let long = put(card(&"x".repeat(81), "todo")).unwrap_err();
        assert_eq!(long, "a title has at most 80 characters; this one has 81");
        for empty in ["", "  "] {
            let empty = set("welcome", json!({ "title": empty })).unwrap_err();
            assert_eq!(empty, "a title needs 1 to 80 characters; this one is empty");
        }
    }

    #[test]
    fn columns_and_other_collections_are_not_editable() {
        let column = record("columns", "todo", json!({ "locked": true }));
        assert_eq!(
            judge_on_new_board(ChangeKind::Set(column)),
            Err("the columns of this board are fixed".into())
        );
        let note = record("notes", "n", json!({}));
        assert_eq!(
            judge_on_new_board(ChangeKind::Put(note)),
            Err("a board has no notes".into())
        );
    }

    #[test]
    fn a_card_is_whole_and_has_nothing_else() {
        assert_eq!(
            put(json!({ "title": "x" })),
            Err("a card needs its column".into())
        );
        assert_eq!(
            put(card("x", "nowhere")),
            Err("there is no such column".into())
        );
        for (field, value) in [
            ("title", json!(7)),
            ("column", json!(null)),
            ("order", json!("first")),
            ("by", json!("x".repeat(81))),
        ] {
            assert!(set("welcome", json!({ field: value })).is_err(), "{field}");
        }
        assert_eq!(
            set("welcome", json!({ "hue": 1 })),
            Err("a card has no hue".into())
        );
    }

    #[test]
    fn a_missing_card_is_the_protocols_own_rejection() {
        assert_eq!(
            set("gone", json!({ "title": "x" })),
            Err("no record cards/gone".into())
        );
    }

    #[test]
    fn the_board_starts_within_its_own_rules() {
        let board = start::document();
        for id in board.ids("cards") {
            let card = board.record("cards", id).unwrap();
            assert_eq!(is_card(card), Ok(()), "{id}");
            assert!(
                board
                    .record("columns", &text(card, "column").unwrap())
                    .is_some(),
                "{id}"
            );
        }
    }
}
