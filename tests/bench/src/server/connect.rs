//! `connect`: processor time from a TCP connection to a subscription with its snapshot, of many who come
//! at a time.

use super::arrival::{Measure, compare};
use super::load;
use crate::{Row, Scale};

/// Measures the row.
///
/// Errors: a program fails.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let count = scale.pick(5000, 3);
    let nothing = async |_| Ok(None);
    let compared = compare(Measure::CPU, scale.pick(5, 1), count, nothing);
    let [ours, bare] = load::run(compared)?;
    let name = format!("connect/{count}");
    Ok(vec![Row::new(name, "cpu-us", ours, bare, "<= 1.5")])
}
