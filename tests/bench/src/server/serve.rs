//! What the processes under test run.

use std::convert::Infallible;
use std::future::pending;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use tidewire_core::document::{Document, put_op};
use tidewire_core::wire::{Field, Record};
use tidewire_server::config::BrokerKind;
use tidewire_server::{Config, Principal, Server};
use tokio::net::TcpListener;

use super::bare;

/// The load never speaks of its own accord, and nobody is to be let go for it.
const QUIET: Duration = Duration::from_secs(24 * 60 * 60);

/// What a record of a document holds.
const RECORD_BYTES: usize = 128;

/// A program to be put under load. It prints `listening ADDRESS` and ends when its input does.
#[derive(Clone, Debug, Subcommand)]
pub enum Serve {
    /// The server
    #[command(hide = true)]
    Serve {
        /// Keep logs in this directory instead of in memory
        #[arg(long)]
        disk: Option<PathBuf>,
        /// Bytes of the document that channels start with
        #[arg(long, default_value_t = 0)]
        document: usize,
    },
    /// The bare program that it is compared with
    #[command(hide = true)]
    ServeBare {
        /// Bytes of a message to answer with, instead of handing on what comes in
        #[arg(long)]
        answer: Vec<usize>,
        /// Keep so many names, each with one entry, and do nothing with them
        #[arg(long, default_value_t = 0)]
        keep: usize,
    },
}

/// Runs one until standard input ends.
///
/// Errors: it cannot start.
pub fn serve(what: Serve) -> anyhow::Result<Infallible> {
    thread::spawn(|| {
        // Whoever started this process is done with it, or gone.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("listening {}", listener.local_addr()?);
        match what {
            Serve::Serve { disk, document } => ours(listener, disk, document).await,
            Serve::ServeBare { answer, keep } => {
                let kept = bare::keep(keep);
                let ended = bare::run(listener, &answer).await;
                drop(kept);
                ended
            }
        }
    })
}

async fn ours(
    listener: TcpListener,
    disk: Option<PathBuf>,
    document_bytes: usize,
) -> anyhow::Result<Infallible> {
    let mut config = Config::default();
    config.connections_max = 20_000;
    config.connections_per_address = 20_000;
    config.connections_unauthenticated_max = 20_000;
    config.timeouts.heartbeat = QUIET;
    config.timeouts.silence = QUIET;
    if let Some(dir) = disk {
        config.broker = BrokerKind::Disk;
        config.data_dir = dir;
    }
    Server::builder(config)
        .authenticate(|token, _request| async move { Ok(Principal::new(token)) })
        .initial("*", move |_channel| document(document_bytes))
        .build()?
        .run(listener, pending())
        .await?;
    anyhow::bail!("the server ended by itself")
}

/// Records of 128 bytes, as many as make up a document of this size.
fn document(bytes: usize) -> Document {
    let mut document = Document::default();
    for n in 0..bytes / RECORD_BYTES {
        let name = "title".to_owned();
        let value = format!("\"{n:0>width$}\"", width = RECORD_BYTES - 2);
        document.apply(&put_op(Record {
            collection: "cards".into(),
            id: format!("card-{n}"),
            fields: vec![Field {
                name,
                value: value.into(),
                ..Field::default()
            }],
            ..Record::default()
        }));
    }
    document
}
