//! The edits, as commands of the shell and as lines of the prompt.

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use serde_json::json;
use tidewire::Mutation;

use crate::board::{Board, Card, Column};

/// One edit of the board.
#[derive(Debug, PartialEq, Subcommand)]
pub(crate) enum Action {
    /// Adds a card to the first column that is not locked.
    Add {
        /// Its title.
        #[arg(required = true, num_args = 1..)]
        title: Vec<String>,
    },
    /// Moves a card to the end of a column.
    Move {
        /// The card's id, or the beginning of it.
        id: String,
        /// The column's id or title, or the beginning of it.
        #[arg(required = true, num_args = 1..)]
        column: Vec<String>,
    },
    /// Renames a card.
    Rename {
        /// The card's id, or the beginning of it.
        id: String,
        /// Its new title.
        #[arg(required = true, num_args = 1..)]
        title: Vec<String>,
    },
    /// Deletes a card.
    Delete {
        /// The card's id, or the beginning of it.
        id: String,
    },
}

/// An edit that shows already and that the server has yet to decide.
pub(crate) struct Edit {
    pub(crate) text: String,
    pub(crate) mutation: Mutation,
}

#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(subcommand)]
    action: Action,
}

impl Action {
    /// Reads a line of the prompt.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        Line::try_parse_from(line.split_whitespace())
            .map(|line| line.action)
            .map_err(|error| error.to_string())
    }

    /// Makes the edit. It shows at once.
    pub(crate) fn apply(&self, board: &Board) -> anyhow::Result<Edit> {
        let cards = &board.cards;
        let (text, mutation) = match self {
            Self::Add { title } => {
                let (column, _) = board
                    .columns()?
                    .into_iter()
                    .find(|(_, column)| !column.locked)
                    .context("the board has no column that takes cards")?;
                let card = Card {
                    title: title.join(" "),
                    order: end_of(board, &column)?,
                    column: (*column).to_owned(),
                    by: board.name.clone(),
                };
                let id = format!("{:016x}", getrandom::u64()?);
                let text = format!("added \"{}\" [{id}]", card.title);
                (text, cards.put(&id, &card)?)
            }
            Self::Move { id, column } => {
                let id = find_card(board, id)?;
                let (column_id, column) = find_column(board, &column.join(" "))?;
                let order = end_of(board, &column_id)?;
                let text = format!("moved [{id}] to {}", column.title);
                let change = json!({"column": &*column_id, "order": order});
                (text, cards.set(&id, change)?)
            }
            Self::Rename { id, title } => {
                let id = find_card(board, id)?;
                let title = title.join(" ");
                let text = format!("renamed [{id}] to \"{title}\"");
                (text, cards.set(&id, json!({"title": title}))?)
            }
            Self::Delete { id } => {
                let id = find_card(board, id)?;
                (format!("deleted [{id}]"), cards.delete(&id)?)
            }
        };
        board.watch(mutation.clone());
        Ok(Edit { text, mutation })
    }
}

/// An order behind every card of a column.
fn end_of(board: &Board, column: &str) -> anyhow::Result<f64> {
    let cards = board.cards()?;
    let orders = cards
        .values()
        .filter(|card| card.column == column)
        .map(|card| card.order);
    Ok(orders.fold(0.0, f64::max) + 1.0)
}

fn find_card(board: &Board, prefix: &str) -> anyhow::Result<Arc<str>> {
    let ids = board.cards.ids();
    if let Some(exact) = ids.iter().find(|id| &***id == prefix) {
        return Ok(exact.clone());
    }
    let mut found = ids.into_iter().filter(|id| id.starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => bail!("more than one card begins with \"{prefix}\""),
        _ => bail!("no card begins with \"{prefix}\""),
    }
}

fn find_column(board: &Board, wanted: &str) -> anyhow::Result<(Arc<str>, Arc<Column>)> {
    let wanted = wanted.to_lowercase();
    let columns = board.columns()?;
    let begins = |text: &str| text.to_lowercase().starts_with(&wanted);
    columns
        .iter()
        .find(|(id, _)| **id == *wanted)
        .or_else(|| {
            columns
                .iter()
                .find(|(id, column)| begins(id) || begins(&column.title))
        })
        .cloned()
        .with_context(|| format!("no column begins with \"{wanted}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_prompt_is_read_like_the_command_line() {
        assert_eq!(
            Action::parse("add  Buy oat   milk"),
            Ok(Action::Add {
                title: vec!["Buy".into(), "oat".into(), "milk".into()]
            })
        );
        assert_eq!(
            Action::parse("delete 3f"),
            Ok(Action::Delete { id: "3f".into() })
        );
        assert!(Action::parse("add").is_err());
        assert!(Action::parse("shout hello").is_err());
    }
}
