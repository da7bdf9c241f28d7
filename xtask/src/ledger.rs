//! The ledger of long runs, docs/soak.md: a table for each kind of run, one line a run.

use std::fs;

use anyhow::Context;

use crate::place;
use crate::process::{capture, command};

/// Where it is.
const LEDGER: &str = "docs/soak.md";

const TITLE: &str = "# Soak runs\n";

/// One table of the ledger.
pub(crate) struct Table {
    /// What stands above the table: a heading and an explanation.
    pub(crate) intro: &'static str,
    /// The first two lines of the table.
    pub(crate) head: &'static str,
}

impl Table {
    /// The table's rows, oldest first.
    pub(crate) fn rows(&self) -> anyhow::Result<Vec<String>> {
        let text = read()?;
        Ok(self.rows_of(&text).map(str::to_owned).collect())
    }

    /// Adds a row below the others.
    pub(crate) fn add(&self, row: &str) -> anyhow::Result<()> {
        let text = self.with(&read()?, row);
        fs::write(place::root().join(LEDGER), text)
            .with_context(|| format!("cannot write {LEDGER}"))
    }

    fn rows_of<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let below = text.split_once(self.head).map_or("", |(_, below)| below);
        below.lines().take_while(|line| line.starts_with('|'))
    }

    fn with(&self, text: &str, row: &str) -> String {
        match text.split_once(self.head) {
            Some((above, below)) => {
                let rows: usize = self.rows_of(text).map(|line| line.len() + 1).sum();
                let (rows, rest) = below.split_at(rows.min(below.len()));
                format!("{above}{}{rows}{row}\n{rest}", self.head)
            }
            None => format!("{text}\n{}\n{}{row}\n", self.intro, self.head),
        }
    }
}

fn read() -> anyhow::Result<String> {
    let path = place::root().join(LEDGER);
    if path.is_file() {
        fs::read_to_string(path).with_context(|| format!("cannot read {LEDGER}"))
    } else {
        Ok(TITLE.to_owned())
    }
}

/// The commit that was tested; a tree with changes is marked, since nobody else can run it again.
pub(crate) fn commit() -> anyhow::Result<String> {
    let root = place::root();
    let git = || command("git", &root);
    let mut commit = capture(git().args(["rev-parse", "--short=10", "HEAD"]))?
        .trim()
        .to_owned();
    let ledger = format!(":!{LEDGER}");
    let changed = capture(git().args(["status", "--porcelain", "--", ".", &ledger]))?;
    if !changed.trim().is_empty() {
        commit.push_str(" + changes");
    }
    Ok(commit)
}

/// The date in UTC.
pub(crate) fn today() -> anyhow::Result<String> {
    let date = capture(command("date", &place::root()).args(["-u", "+%Y-%m-%d"]))?;
    Ok(date.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHEEP: Table = Table {
        intro: "## Sheep\n",
        head: "| date | sheep |\n|---|---|\n",
    };
    const GOATS: Table = Table {
        intro: "## Goats\n",
        head: "| date | goats |\n|---|---|\n",
    };

    #[test]
    fn each_row_goes_to_the_end_of_its_own_table() {
        let mut text = TITLE.to_owned();
        for (table, row) in [
            (&SHEEP, "| 1 | a |"),
            (&GOATS, "| 1 | b |"),
            (&SHEEP, "| 2 | c |"),
            (&GOATS, "| 2 | d |"),
        ] {
            text = table.with(&text, row);
        }
        let rows = |table: &Table| table.rows_of(&text).collect::<Vec<_>>();
        assert_eq!(rows(&SHEEP), ["| 1 | a |", "| 2 | c |"]);
        assert_eq!(rows(&GOATS), ["| 1 | b |", "| 2 | d |"]);
        assert!(
            text.starts_with("# Soak runs\n\n## Sheep\n\n| date"),
            "{text}"
        );
        assert!(text.contains("| 2 | c |\n\n## Goats\n\n| date"), "{text}");
    }
}
