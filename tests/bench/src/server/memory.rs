//! `memory`: what an idle connection keeps resident, after hello, one subscription and a snapshot of 2 KiB.

use super::arrival::{Measure, compare};
use super::load;
use crate::{Row, Scale};

/// Measures the row. Its goal is for the value: the ratio says how many times as much as one of the bare
/// program's connections it is.
///
/// Errors: a program fails, or files are too few.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let count = scale.pick(10_000, 3);
    let nothing = async |_| Ok(None);
    let compared = compare(Measure::MEMORY, scale.pick(2, 1), count, nothing);
    let [ours, bare] = load::run(compared)?;
    Ok(vec![Row::new(
        "memory/idle",
        "KiB",
        ours,
        bare,
        "<= 12 KiB",
    )])
}
