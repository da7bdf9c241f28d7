//! Clients on a board, as the tests need them.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewire::{Channel, Client, Codec, Collection, Config, TokenProvider};

use crate::over;
use crate::wait::{until, within};

/// A card, as far as the tests look at it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// What it says.
    pub title: String,
    /// How often it was counted.
    #[serde(default)]
    pub count: i64,
}

/// One client that has joined `board:main`.
#[derive(Clone, Debug)]
pub struct Board {
    /// The client.
    pub client: Client,
    /// The channel.
    pub channel: Channel,
    /// The cards.
    pub cards: Collection<Card>,
}

/// Settings with short back-offs, so that tests of outages are quick.
#[must_use]
pub fn quick() -> Config {
    let mut config = Config::default();
    config.retry_delay_base = Duration::from_millis(20);
    config.retry_delay_max = Duration::from_millis(200);
    config
}

/// A client of a server with `--dev-auth`.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn client(url: &str, name: &str) -> Client {
    client_with(url, format!("dev:{name}"))
}

/// A client that speaks JSON.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn json_client(url: &str, name: &str) -> Client {
    over::builder(url)
        .token(format!("dev:{name}"))
        .codec(Codec::Json)
        .config(quick())
        .build()
        .expect("the url is good and there is a runtime")
}

/// A client with a token provider of its own.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn client_with(url: &str, provider: impl TokenProvider) -> Client {
    over::builder(url)
        .token(provider)
        .config(quick())
        .build()
        .expect("the url is good and there is a runtime")
}

impl Board {
    /// Opens the board without waiting for anything.
    ///
    /// # Panics
    /// When the client is closed.
    #[must_use]
    pub fn open(client: Client) -> Self {
        let channel = client.channel("board:main").expect("the client is open");
        let cards = channel.collection("cards");
        Self {
            client,
            channel,
            cards,
        }
    }

    /// Joins the board and waits for its first view.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn join(url: &str, name: &str) -> Self {
        Self::join_as(client(url, name)).await
    }

    /// Joins the board with a client and waits for its first view.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn join_as(client: Client) -> Self {
        let board = Self::open(client);
        within("the first view", board.channel.ready())
            .await
            .expect("the board can be read");
        over::assert_over(&board.client);
        board
    }

    /// A card that must be there.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn card(&self, id: &str) -> Card {
        let card = self.cards.get(id).expect("cards fit their type");
        (*card.unwrap_or_else(|| panic!("there is no card {id}"))).clone()
    }

    /// Every record in its canonical bytes.
    #[must_use]
    pub fn picture(&self) -> String {
        let mut picture = String::new();
        for name in self.channel.collections() {
            let records = self.channel.collection::<()>(&name);
            for id in records.ids() {
                if let Some(json) = records.json(&id) {
                    let _ = writeln!(picture, "{name}/{id} {json}");
                }
            }
        }
        picture
    }

    /// Whether no mutation of a card waits for the server.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let ids = self.cards.ids();
        !ids.iter().any(|id| self.cards.is_pending(id))
    }

    /// Waits until two boards have come equally far in the log and show the same bytes.
    ///
    /// # Panics
    /// When they do not converge in time.
    pub async fn converges_with(&self, other: &Self) {
        until(
            "both boards stand at the same place and look the same",
            || {
                self.channel.cursor().is_some()
                    && self.channel.cursor() == other.channel.cursor()
                    && self.is_settled()
                    && other.is_settled()
                    && self.picture() == other.picture()
            },
        )
        .await;
    }
}
