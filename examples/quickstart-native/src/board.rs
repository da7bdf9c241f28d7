//! The board's data model, what it looks like as text, and what changed between two looks.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidewire::{Channel, Collection, DecodeError, Mutation};

/// A column of the board.
#[derive(Debug, Deserialize)]
pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) order: f64,
    #[serde(default)]
    pub(crate) locked: bool,
}

/// A card of the board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) title: String,
    pub(crate) column: String,
    pub(crate) order: f64,
    pub(crate) by: String,
}

/// What a peer says about itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Who {
    pub(crate) name: String,
}

/// The board that this terminal has joined.
pub(crate) struct Board {
    pub(crate) channel: Channel,
    pub(crate) columns: Collection<Column>,
    pub(crate) cards: Collection<Card>,
    pub(crate) name: String,
    /// Edits that the server may not have decided yet.
    undecided: Mutex<Vec<Mutation>>,
}

/// The cards at one moment.
pub(crate) type Cards = BTreeMap<Arc<str>, Arc<Card>>;

/// Columns with their ids.
type Columns = Vec<(Arc<str>, Arc<Column>)>;

impl Board {
    pub(crate) fn new(channel: Channel, name: &str) -> Self {
        Self {
            columns: channel.collection("columns"),
            cards: channel.collection("cards"),
            channel,
            name: name.to_owned(),
            undecided: Mutex::default(),
        }
    }

    /// Columns from left to right.
    pub(crate) fn columns(&self) -> Result<Columns, DecodeError> {
        let columns = self.columns.all().into_iter();
        let mut columns = columns
            .map(|(id, column)| Ok((id, column?)))
            .collect::<Result<Columns, _>>()?;
        columns.sort_by(|(_, a), (_, b)| a.order.total_cmp(&b.order));
        Ok(columns)
    }

    pub(crate) fn cards(&self) -> Result<Cards, DecodeError> {
        let cards = self.cards.all().into_iter();
        cards.map(|(id, card)| Ok((id, card?))).collect()
    }

    /// The board as text.
    pub(crate) fn text(&self) -> Result<String, DecodeError> {
        let cards = self.cards()?;
        let mut text = String::new();
        for (column_id, column) in self.columns()? {
            let lock = if column.locked { "  locked" } else { "" };
            let _ = writeln!(text, "{} [{column_id}]{lock}", column.title);
            let mut here: Vec<_> = cards
                .iter()
                .filter(|(_, card)| *card.column == *column_id)
                .collect();
            here.sort_by(|(_, a), (_, b)| a.order.total_cmp(&b.order));
            for (id, card) in here {
                let pending = if self.cards.is_pending(id) {
                    "  ..."
                } else {
                    ""
                };
                let _ = writeln!(text, "  {id}  {}  ({}){pending}", card.title, card.by);
            }
        }
        Ok(text)
    }

    /// The title of a column, or its id when there is no such column.
    fn column_title(&self, id: &str) -> String {
        match self.columns.get(id) {
            Ok(Some(column)) => column.title.clone(),
            _ => id.to_owned(),
        }
    }

    /// What happened between two looks, a line each.
    pub(crate) fn differences(&self, old: &Cards, new: &Cards) -> Vec<String> {
        let mut lines = Vec::new();
        for (id, card) in new {
            let place = self.column_title(&card.column);
            match old.get(id) {
                None => lines.push(format!("+ \"{}\" in {place}  [{id}]", card.title)),
                Some(before) => {
                    if before.title != card.title {
                        lines.push(format!("~ \"{}\" is \"{}\" now", before.title, card.title));
                    }
                    if before.column != card.column {
                        lines.push(format!("> \"{}\" is in {place} now", card.title));
                    } else if before.order != card.order {
                        lines.push(format!("> \"{}\" has another place in {place}", card.title));
                    }
                }
            }
        }
        for (id, card) in old {
            if !new.contains_key(id) {
                lines.push(format!("- \"{}\" is gone", card.title));
            }
        }
        lines
    }

    /// Remembers an edit for [`Self::settled`].
    pub(crate) fn watch(&self, mutation: Mutation) {
        let mut undecided = self
            .undecided
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        undecided.retain(|mutation| !mutation.status().is_terminal());
        undecided.push(mutation);
    }

    /// Waits until every edit is decided; refusals were shown when they came.
    pub(crate) async fn settled(&self) {
        let undecided = std::mem::take(
            &mut *self
                .undecided
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for mutation in undecided {
            let _ = mutation.committed().await;
        }
    }
}

/// A colour that stays the same for a name.
pub(crate) fn color(name: &str) -> &'static str {
    const COLORS: [&str; 6] = [
        "#e5484d", "#f76b15", "#30a46c", "#0090ff", "#8e4ec6", "#d6409f",
    ];
    let sum: usize = name.bytes().map(usize::from).sum();
    COLORS[sum % COLORS.len()]
}
