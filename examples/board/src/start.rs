//! What a new board starts with: its columns, and cards that show a visitor around.

use serde_json::{Value, json};
use tidewire_core::document::{Document, Record};
use tidewire_core::wire;

/// Id and title, from left to right.
const COLUMNS: [(&str, &str); 5] = [
    ("todo", "To do"),
    ("doing", "Doing"),
    ("review", "Review"),
    ("done", "Done"),
    (LOCKED, "Shipped"),
];

/// The column whose cards stay as they are.
const LOCKED: &str = "shipped";

/// Id, column and title, from top to bottom.
const CARDS: [(&str, &str, &str); 10] = [
    (
        "welcome",
        "todo",
        "Open this page in a second window and watch both",
    ),
    (
        "drag",
        "todo",
        "Drag me: by mouse, by finger, or with Space and the arrow keys",
    ),
    (
        "terminal",
        "todo",
        "Join from a terminal too: the example quickstart-native does it",
    ),
    (
        "edit",
        "doing",
        "Click a title to edit it; Enter saves, Escape cancels",
    ),
    (
        "restart",
        "doing",
        "Stop the server, go on editing, start it again",
    ),
    (
        "long",
        "review",
        "Give me a title of more than 80 characters and see it come back",
    ),
    (
        "offline",
        "review",
        "A ring marks what the server has not confirmed yet",
    ),
    (
        "log",
        "done",
        "One ordered log per channel; everyone applies the same entries",
    ),
    (
        "locked",
        LOCKED,
        "Try to move, edit or delete me: this column is locked",
    ),
    (
        "epoch",
        LOCKED,
        "Wipe the server's disk: the page says that history was lost",
    ),
];

/// A new board.
pub(crate) fn document() -> Document {
    let mut document = Document::default();
    let mut put = |record: wire::Record| {
        let fields = Record::from_fields(&record.fields);
        document.replace(&record.collection, &record.id, Some(fields));
    };
    for (order, (id, title)) in (1..).zip(COLUMNS) {
        let mut fields = json!({ "title": title, "order": order });
        if id == LOCKED {
            fields["locked"] = json!(true);
        }
        put(record("columns", id, fields));
    }
    for (order, (id, column, title)) in (1..).zip(CARDS) {
        let fields = json!({ "title": title, "column": column, "order": order, "by": "tidewire" });
        put(record("cards", id, fields));
    }
    document
}

/// A record as it travels: each field's value is JSON text of its own.
pub(crate) fn record(collection: &str, id: &str, fields: Value) -> wire::Record {
    let fields = fields.as_object().into_iter().flatten();
    wire::Record {
        collection: collection.into(),
        id: id.into(),
        fields: fields
            .map(|(name, value)| wire::Field {
                name: name.clone(),
                value: value.to_string().into(),
                ..wire::Field::default()
            })
            .collect(),
        ..wire::Record::default()
    }
}
