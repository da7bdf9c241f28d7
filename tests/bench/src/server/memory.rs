//! `memory`: what the server keeps resident for an idle connection, after hello, one subscription and a snapshot
//! of 2 KiB; and for a channel with one record that nobody is subscribed to any more.

use std::ops::Range;
use std::time::Duration;

use tidewire_core::wire::{ClientKind, Unsubscribe, client_message};

use super::arrival::{Measure, compare};
use super::link::{Introduction, Link, Over};
use super::program::Program;
use super::{bare, load};
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
    let idle = Row::new("memory/idle", "KiB", ours, bare, "<= 12 KiB");
    let [ours, bare] = load::run(channels(scale))?;
    let channel = Row::new("memory/channel", "KiB", ours, bare, "<= 3 KiB");
    Ok(vec![idle, channel])
}

/// KiB for each channel with one record, of the server and of a table of names and bytes.
async fn channels(scale: Scale) -> anyhow::Result<[f64; 2]> {
    let count = scale.pick(10_000, 3);
    let program = Program::ours(&["--document", "128"])?;
    // What the first channel makes the program do and keep is not counted.
    visit(&program, 0, 0..1).await?;
    let before = program.memory()?;
    let visitors = (0..VISITORS).map(|at| {
        let share = |at: usize| 1 + at * count / VISITORS;
        visit(&program, at, share(at)..share(at + 1))
    });
    futures_util::future::try_join_all(visitors).await?;
    // Once nobody has been there for 10 s, the server keeps of a channel what its log is.
    tokio::time::sleep(scale.pick(Duration::from_secs(13), Duration::ZERO)).await;
    let ours = program.memory()?.saturating_sub(before);
    drop(program);
    let of_nothing = Program::keeping(0)?.memory()?;
    let bare = Program::keeping(count)?
        .memory()?
        .saturating_sub(of_nothing);
    let each = |bytes: u64| (bytes as f64).max(4096.0) / 1024.0 / count as f64;
    Ok([each(ours), each(bare)])
}

/// So many open channels at a time: each opens them one after the other, and leaves again.
const VISITORS: usize = 8;

async fn visit(program: &Program, visitor: usize, channels: Range<usize>) -> anyhow::Result<()> {
    let client = (visitor as u128).to_be_bytes();
    let mut link = None;
    for channel in channels.map(bare::channel) {
        let link = match &mut link {
            None => {
                let it = Introduction {
                    channel: &channel,
                    client,
                    have: None,
                };
                let opened = Link::subscribe(Over::WebSocket, program.address(), &it).await?;
                &mut link.insert(opened).0
            }
            Some((link, _)) => {
                link.subscribe_also(&channel).await?;
                link
            }
        };
        let unsubscribe = ClientKind::Unsubscribe(Unsubscribe { channel });
        link.send(client_message(unsubscribe)).await?;
    }
    Ok(())
}
