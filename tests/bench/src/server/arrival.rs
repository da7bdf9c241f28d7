//! Clients that arrive: each connects, says hello and subscribes in one message, and reads until it has
//! all that it is answered.
//!
//! The bare program hears the same and answers with as many bytes, without a look at either.

use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use tidewire_core::wire::{Codec, Cursor, ServerKind};

use super::link::{Introduction, Link, Over};
use super::program::Program;
use crate::Best;

/// The channel that everybody subscribes to.
pub(super) const CHANNEL: &str = "bench:arrivals";

/// What the channel's document holds from the start.
const DOCUMENT_BYTES: usize = 2048;

/// So many arrive at a time.
const ARRIVING_MAX: usize = 64;

/// What is compared: how much of it a program has used so far, and the least that can be seen.
#[derive(Clone, Copy)]
pub(super) struct Measure {
    pub(super) used: fn(&Program) -> anyhow::Result<f64>,
    pub(super) least: f64,
}

impl Measure {
    /// Microseconds of processor time.
    pub(super) const CPU: Self = Self {
        used: |program| Ok(program.cpu()?.as_secs_f64() * 1e6),
        least: 1e4,
    };
    /// KiB of memory.
    pub(super) const MEMORY: Self = Self {
        used: |program| Ok(program.memory()? as f64 / 1024.0),
        least: 4.0,
    };
}

/// A client that has all that it was answered.
pub(super) struct Arrival {
    pub(super) link: Link,
    /// Where the channel stood.
    pub(super) head: Cursor,
    /// The bytes of each message.
    answers: Vec<usize>,
}

/// What each of `count` arrivals costs the server and the bare program, the best of some rounds.
///
/// `prepare` gets the first client of each round and says what the others have when they come.
///
/// Errors: a program fails, or answers with something else.
pub(super) async fn compare(
    measure: Measure,
    rounds: usize,
    count: usize,
    prepare: impl AsyncFn(Arrival) -> anyhow::Result<Option<Cursor>>,
) -> anyhow::Result<[f64; 2]> {
    let mut best = Best::<2>::lowest();
    for _ in 0..rounds {
        let answers = {
            let program = ours()?;
            let have = prepare(arrive(Over::WebSocket, &program, 0, None).await?).await?;
            // What the first arrivals make the program do and keep is not counted.
            let answers = arrive(Over::WebSocket, &program, 1, have).await?.answers;
            let cost = cost(measure, count, &program, async |n| {
                arrive(Over::WebSocket, &program, n + 2, have).await
            });
            best.note(0, cost.await?);
            answers
        };
        let program = Program::answering(&answers)?;
        arrive_bare(&program, 1, &answers).await?;
        let cost = cost(measure, count, &program, async |n| {
            arrive_bare(&program, n + 2, &answers).await
        });
        best.note(1, cost.await?);
    }
    Ok(best.figures())
}

/// The server, with a document for those who arrive.
pub(super) fn ours() -> anyhow::Result<Program> {
    Program::ours(&["--document", &DOCUMENT_BYTES.to_string()])
}

/// What one arrival costs, while all of them are there.
pub(super) async fn cost<T>(
    measure: Measure,
    count: usize,
    program: &Program,
    arrive: impl AsyncFn(usize) -> anyhow::Result<T>,
) -> anyhow::Result<f64> {
    let before = (measure.used)(program)?;
    let arrived: Vec<T> = stream::iter(0..count)
        .map(|n| arrive(n))
        .buffer_unordered(ARRIVING_MAX)
        .try_collect()
        .await?;
    let used = (measure.used)(program)? - before;
    drop(arrived);
    Ok(used.max(measure.least) / count as f64)
}

/// Comes to the server with `have`, as the client of this number.
pub(super) async fn arrive(
    over: Over,
    program: &Program,
    client: usize,
    have: Option<Cursor>,
) -> anyhow::Result<Arrival> {
    let mut link = Link::introduce(over, program.address(), &introduction(client, have)).await?;
    let mut head = Cursor::default();
    let mut reached = 0;
    let mut answers = Vec::new();
    loop {
        let message = link.next().await?;
        answers.push(message.len());
        for frame in link.decode(message)? {
            match frame {
                ServerKind::SnapshotEnd(end) => {
                    head = end.cursor.unwrap_or_default();
                    reached = head.seq;
                }
                ServerKind::Resume(resume) => {
                    head = resume.head.unwrap_or_default();
                    reached = resume.from.unwrap_or_default().seq;
                }
                ServerKind::Patch(patch) => reached = patch.to,
                // Who is there comes last.
                ServerKind::Presence(_) => {
                    ensure!(reached == head.seq, "told who is there before all was sent");
                    return Ok(Arrival {
                        link,
                        head,
                        answers,
                    });
                }
                ServerKind::Welcome(_)
                | ServerKind::SnapshotBegin(_)
                | ServerKind::SnapshotPart(_) => {}
                other => anyhow::bail!("the server answered with {other:?}"),
            }
        }
    }
}

/// Comes to the bare program, which answers whatever it hears.
async fn arrive_bare(program: &Program, client: usize, answers: &[usize]) -> anyhow::Result<Link> {
    let mut link = Link::open(program.address(), "/").await?;
    let introduction = introduction(client, None).message(Codec::Protobuf, 0);
    link.send(introduction).await?;
    for bytes in answers {
        ensure!(
            link.next().await?.len() == *bytes,
            "not the answer it was given"
        );
    }
    Ok(link)
}

/// What the client of this number says first.
fn introduction(client: usize, have: Option<Cursor>) -> Introduction<'static> {
    Introduction {
        channel: CHANNEL,
        client: (client as u128).to_be_bytes(),
        have,
    }
}
