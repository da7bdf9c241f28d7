//! `channels`: many channels with few subscribers each, and one mutation of each on its way.

use super::load;
use super::throughput::{Audience, compare};
use crate::{Row, Scale};

/// Measures the row.
///
/// Errors: a program fails, or loses something.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let (channels, members) = scale.pick((2000, 5), (3, 2));
    let audience = Audience { channels, members };
    let figures = load::run(compare(scale, audience, &[1]))?;
    let name = format!("channels/{channels}x{members}");
    let row = |[ours, bare]: [f64; 2]| Row::new(&name, "deliveries/cpu-s", ours, bare, ">= 0.8");
    Ok(figures.into_iter().map(row).collect())
}
