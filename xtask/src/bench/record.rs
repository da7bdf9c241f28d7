//! The table of docs/benchmarks.md: rows that were measured again replace their old ones.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, ensure};

use super::facts;
use super::row::{self, Row};
use crate::ledger;
use crate::place;

const FILE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- figures: begin -->\n";
const END: &str = "<!-- figures: end -->";
const HEAD: &str = "| row | ours | baseline | ratio | goal | |\n|---|---|---|---|---|---|\n";

/// Writes the rows, the machine and the date between the markers.
pub(super) fn write(rows: &[Row]) -> anyhow::Result<()> {
    let path = place::root().join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    let about = format!(
        "Last run: {}, commit {}. {}",
        ledger::today()?,
        ledger::commit()?,
        facts::machine()
    );
    fs::write(&path, replaced(&text, &about, rows)?).with_context(|| format!("cannot write {FILE}"))
}

fn replaced(text: &str, about: &str, rows: &[Row]) -> anyhow::Result<String> {
    let parts = text
        .split_once(BEGIN)
        .and_then(|(above, rest)| Some((above, rest.split_once(END)?)));
    ensure!(
        parts.is_some(),
        "{FILE} has lost its markers: put {BEGIN} and {END} back"
    );
    let (above, (old, below)) = parts.unwrap_or_default();
    let mut lines: BTreeMap<String, String> = old
        .lines()
        .filter_map(|line| Some((line.strip_prefix("| `")?.split_once('`')?.0, line)))
        .map(|(name, line)| (name.to_owned(), line.to_owned()))
        .collect();
    for row in rows {
        lines.insert(row.name.clone(), row::to_markdown(row));
    }
    let table: String = lines.values().map(|line| format!("{line}\n")).collect();
    Ok(format!(
        "{above}{BEGIN}{about}\n\n{HEAD}{table}{END}{below}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, value: f64) -> Row {
        Row {
            name: name.into(),
            value,
            unit: "ns".into(),
            baseline: 1.0,
            ratio: value,
            goal: "<= 3".into(),
        }
    }

    #[test]
    fn rows_replace_their_old_ones_and_leave_the_others() {
        let text = format!("# A\n{BEGIN}{END}\n\n## B\n");
        let first = replaced(&text, "one", &[row("b", 1.0), row("a", 2.0)]).expect("markers");
        let second = replaced(&first, "two", &[row("b", 9.0)]).expect("markers");
        assert_eq!(
            second,
            format!(
                "# A\n{BEGIN}two\n\n{HEAD}| `a` | 2 ns | 1 | **2** | <= 3 | reached |\n| `b` | 9 ns | 1 | **9** | <= 3 | missed |\n{END}\n\n## B\n"
            )
        );
        assert!(replaced("# A", "one", &[]).is_err());
    }
}
