//! A program that shows a card: `watching-client URL TRANSPORT` is present and says the card's title whenever that changes.
//! A process of its own, since the system stops whole processes.

use anyhow::{Context, bail};
use tidewire::{Client, TransportKind};
use tidewire_e2e::Card;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (url, transport) = args.next().zip(args.next()).context("URL TRANSPORT")?;
    let kinds = [
        TransportKind::WebSocket,
        TransportKind::Sse,
        TransportKind::LongPoll,
    ];
    let Some(kind) = kinds.into_iter().find(|kind| kind.name() == transport) else {
        bail!("no transport {transport}");
    };
    let client = Client::builder(url).token("dev:ben").transports([kind]);
    let board = client.build()?.channel("board:main")?;
    board.presence().set("watches")?;
    let cards = board.collection::<Card>("cards");
    let mut changes = cards.changes();
    let mut shown = None;
    loop {
        let title = cards.get("a")?.map(|card| card.title.clone());
        if title != shown {
            println!("{}", title.as_deref().unwrap_or_default());
            shown = title;
        }
        changes.next().await.context("the client has ended")?;
    }
}
