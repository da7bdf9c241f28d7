//! Knows nothing but the published crates: a server, two clients, and a change that goes from one to the other.

use std::error::Error;

use serde::Deserialize;
use serde_json::json;
use tidewire::Client;
use tidewire_server::TestServer;

#[derive(Deserialize)]
struct Card {
    title: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = TestServer::start().await;
    let (ana, bo) = (join(&server, "dev:ana")?, join(&server, "dev:bo")?);
    let [ours, theirs] = [&ana, &bo].map(|client| client.channel("board:main"));
    let (ours, theirs) = (ours?, theirs?);
    ours.ready().await?;
    theirs.ready().await?;

    let cards = ours.collection::<Card>("cards");
    let mut changes = theirs.collection::<Card>("cards").changes();
    cards.put("c1", json!({"title": "Buy milk"}))?.committed().await?;
    changes.next().await.ok_or("the other client's channel ended")?;
    let card = theirs.collection::<Card>("cards").get("c1")?.ok_or("the other client sees no card")?;
    println!("committed and seen: {}", card.title);
    Ok(())
}

fn join(server: &TestServer, token: &'static str) -> Result<Client, Box<dyn Error>> {
    Ok(Client::builder(server.url()).token(token).build()?)
}
