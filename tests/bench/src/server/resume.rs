//! `resume`: processor time of many who come back to the same place and get what they missed.

use anyhow::ensure;
use tidewire_core::wire::Cursor;

use super::arrival::{Arrival, CHANNEL, Measure, compare};
use super::load;
use super::patches::Patch;
use super::publisher::Publisher;
use crate::{Row, Scale};

/// Measures the row.
///
/// Errors: a program fails.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let (count, missed) = scale.pick((2000, 50), (3, 2));
    let publish = async |first| publish(first, missed).await.map(Some);
    let compared = compare(Measure::CPU, scale.rounds(), count, publish);
    let [ours, bare] = load::run(compared)?;
    let name = format!("resume/{count}x{missed}");
    Ok(vec![Row::new(name, "cpu-us", ours, bare, "<= 1.5")])
}

/// Publishes what the others will have missed, one patch each; returns where they stand.
async fn publish(first: Arrival, missed: usize) -> anyhow::Result<Cursor> {
    let Arrival { link, head, .. } = first;
    let (sender, mut receiver) = link.split();
    let mut publisher = Publisher::new(sender, CHANNEL.into(), head.epoch);
    for seq in head.seq..head.seq + missed as u64 {
        let push = publisher.push(1);
        publisher.send(push).await?;
        let mut through = seq;
        while through == seq {
            for patch in Patch::read(receiver.codec(), receiver.next().await?)? {
                ensure!(patch.after == seq, "a patch is missing");
                through = patch.through;
            }
        }
    }
    Ok(head)
}
