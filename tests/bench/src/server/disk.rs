//! `disk`: appends through the disk broker, against redb's own write loop with the same durability, the
//! same bytes and as many entries in a transaction.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redb::{Database, Durability, TableDefinition};
use tidewire_core::ChannelName;
use tidewire_core::wire::{Cursor, Field, Merge, Op, OpKind, Ops};
use tidewire_server::broker::{
    Broker, BrokerReply, BrokerRequest, DiskBroker, Entry, EntryBody, RunId,
};
use tidewire_server::channel::Author;
use tidewire_server::log::codec::encode_entry;
use tokio::runtime::Runtime;

use crate::{Best, Row, Scale};

const RUN: RunId = RunId(7);
/// What each entry writes into one field, as much as other rows do.
const VALUE_BYTES: usize = 128;
/// The baseline's table has the broker's keys, and is kept in as much memory.
const ENTRIES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("entries");
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// One channel and what is appended to it, one entry at a time, as its task does.
struct Log {
    channel: ChannelName,
    entries: Vec<Arc<Entry>>,
    /// The same entries, for the baseline, which encodes nothing.
    encoded: Vec<Vec<u8>>,
}

/// Entries of each channel that one of the contenders appends before it is the other one's turn: few, since
/// how long a sync takes depends on what others write.
const PART: usize = 10;

/// Measures the row.
///
/// Errors: the directory of this program cannot be written, or an append fails.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let (channels, parts) = scale.pick((64, 50), (3, 2));
    let logs: Vec<Arc<Log>> = (0..channels)
        .map(|number| Arc::new(Log::new(number, parts * PART)))
        .collect();
    let appends = channels * PART;
    let dir = tempfile::tempdir_in(place()?)?;
    let broker = Arc::new(DiskBroker::open(&dir.path().join("ours"), RUN)?);
    let database = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create(dir.path().join("baseline.redb"))?;
    let runtime = Runtime::new()?;
    let mut best = Best::<2>::highest();
    for part in 0..parts {
        let part = part * PART..(part + 1) * PART;
        let before = broker.transactions();
        let time = runtime.block_on(ours(&broker, &logs, &part))?;
        best.note(0, appends as f64 / time.as_secs_f64());
        let transactions = usize::try_from(broker.transactions() - before)?;
        let time = engine(&database, &logs, part, appends.div_ceil(transactions))?;
        best.note(1, appends as f64 / time.as_secs_f64());
    }
    let [ours, engine] = best.figures();
    let row = Row::new("disk/append", "appends/s", ours, engine, ">= 0.8");
    Ok(vec![row])
}

/// Beside this program: where temporary files go is often memory, which needs no sync.
fn place() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program.parent().context("a program is in a directory")?;
    Ok(dir.to_owned())
}

/// Every channel appends as fast as it is answered.
async fn ours(
    broker: &Arc<DiskBroker>,
    logs: &[Arc<Log>],
    part: &Range<usize>,
) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let appending: Vec<_> = logs
        .iter()
        .map(|log| tokio::spawn(append(Arc::clone(broker), Arc::clone(log), part.clone())))
        .collect();
    for appended in appending {
        appended.await??;
    }
    Ok(start.elapsed())
}

async fn append(broker: Arc<DiskBroker>, log: Arc<Log>, part: Range<usize>) -> anyhow::Result<()> {
    let last = part.start.checked_sub(1);
    let mut expected = last.map_or_else(Cursor::default, |at| log.entries[at].cursor);
    for entry in &log.entries[part] {
        let request = BrokerRequest::Append {
            expected,
            entries: vec![Arc::clone(entry)],
        };
        let reply = broker.request(&log.channel, request).await;
        ensure!(matches!(reply, BrokerReply::Appended), "{reply:?}");
        expected = entry.cursor;
    }
    Ok(())
}

/// The same entries in the same order, `batch` of them in a transaction.
fn engine(
    database: &Database,
    logs: &[Arc<Log>],
    part: Range<usize>,
    batch: usize,
) -> anyhow::Result<Duration> {
    let entries: Vec<_> = part
        .flat_map(|at| logs.iter().map(move |log| (log, at)))
        .collect();
    let start = Instant::now();
    for entries in entries.chunks(batch) {
        commit(database, entries)?;
    }
    Ok(start.elapsed())
}

fn commit(database: &Database, entries: &[(&Arc<Log>, usize)]) -> anyhow::Result<()> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut table = transaction.open_table(ENTRIES)?;
        for (log, at) in entries {
            let key = (log.channel.as_str(), log.entries[*at].cursor.seq);
            table.insert(key, log.encoded[*at].as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}

impl Log {
    fn new(number: usize, entries: usize) -> Self {
        let name = format!("board:{number}");
        let entries: Vec<_> = (1..=entries as u64)
            .map(|seq| Arc::new(entry(seq)))
            .collect();
        Self {
            channel: name.parse().expect("a channel's name"),
            encoded: entries.iter().map(|entry| encode_entry(entry)).collect(),
            entries,
        }
    }
}

fn entry(seq: u64) -> Entry {
    let merge = Merge {
        collection: "cards".into(),
        id: format!("card-{}", seq % 100),
        fields: vec![Field {
            name: "title".into(),
            value: format!("\"{:0width$}\"", seq, width = VALUE_BYTES - 2).into(),
            ..Field::default()
        }],
        unset: Vec::new(),
    };
    let body = match seq {
        1 => EntryBody::opening(Ops::default()),
        _ => {
            let op = Op {
                kind: Some(OpKind::Merge(merge)),
            };
            let outcome = Ok(Ops::new([&op]));
            EntryBody::mutation((Author([3; 16]), seq), 1, 1_800_000_000_000, outcome)
        }
    };
    Entry {
        cursor: Cursor::new(9, seq, seq * 7),
        previous_tag: (seq - 1) * 7,
        ms: 1_700_000_000_000 + seq,
        run: RUN,
        body,
    }
}
