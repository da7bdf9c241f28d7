//! The live view: a line for whatever happens, and a prompt if wanted.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use tidewire::{
    ChannelEvent, ChannelStatus, Client, ConnectionPhase, ConnectionState, Reason, Recovery,
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::action::Action;
use crate::board::{Board, Cards, Who};

const HELP: &str =
    "commands: add TITLE | move ID COLUMN | rename ID TITLE | delete ID | show | quit";

/// Runs until the connection is over for good, the input ends, or Ctrl-C.
pub(crate) async fn run(client: &Client, board: &Board, prompt: bool) -> anyhow::Result<()> {
    let mut screen = Screen {
        board,
        prompt,
        cards: Cards::new(),
        peers: BTreeMap::new(),
        shown: false,
    };
    let mut connection = client.connection();
    let mut events = board.channel.events();
    let mut card_changes = board.cards.changes();
    let mut column_changes = board.columns.changes();
    let mut peer_changes = board.channel.presence().changes();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    if connection.borrow().phase != ConnectionPhase::Idle {
        connection.mark_changed();
    }
    // It may have come before the events were listened to.
    if board.channel.status() == ChannelStatus::Live {
        screen.show()?;
    }
    loop {
        tokio::select! {
            changed = connection.changed() => {
                changed?;
                let state = connection.borrow_and_update().clone();
                screen.say(&connection_line(&state, client.principal().as_deref()));
                if state.phase == ConnectionPhase::Closed {
                    anyhow::bail!("the connection is over");
                }
            }
            Some(event) = events.next() => screen.event(&event)?,
            Some(_) = card_changes.next() => screen.look()?,
            Some(_) = column_changes.next() => screen.look()?,
            Some(()) = peer_changes.next() => screen.look_at_peers(),
            line = lines.next_line(), if prompt => match line? {
                Some(line) if matches!(line.trim(), "quit" | "exit") => return Ok(()),
                Some(line) => screen.command(line.trim())?,
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

struct Screen<'a> {
    board: &'a Board,
    prompt: bool,
    cards: Cards,
    peers: BTreeMap<u64, String>,
    /// Whether the whole board was shown; before that, changes are not news.
    shown: bool,
}

impl Screen<'_> {
    fn say(&self, line: &str) {
        if self.prompt && std::io::stdout().is_terminal() {
            // Over the prompt, then the prompt again.
            println!("\r{line}");
            print!("> ");
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }

    fn show(&mut self) -> anyhow::Result<()> {
        self.shown = true;
        self.cards = self.board.cards()?;
        self.say(&format!("\n{}", self.board.text()?));
        Ok(())
    }

    fn look(&mut self) -> anyhow::Result<()> {
        if self.shown {
            let cards = self.board.cards()?;
            for line in self.board.differences(&self.cards, &cards) {
                self.say(&line);
            }
            self.cards = cards;
        }
        Ok(())
    }

    fn look_at_peers(&mut self) {
        let name_of = |peer: &tidewire::Peer| match peer.read::<Who>() {
            Ok(who) => who.name,
            Err(_) => peer.principal.clone(),
        };
        let peers: BTreeMap<u64, String> = self
            .board
            .channel
            .presence()
            .peers()
            .iter()
            .map(|peer| (peer.number, name_of(peer)))
            .collect();
        for (number, name) in &peers {
            if !self.peers.contains_key(number) {
                self.say(&format!("* {name} is here"));
            }
        }
        for (number, name) in &self.peers {
            if !peers.contains_key(number) {
                self.say(&format!("* {name} has left"));
            }
        }
        self.peers = peers;
    }

    fn event(&mut self, event: &ChannelEvent) -> anyhow::Result<()> {
        match event {
            ChannelEvent::Status(ChannelStatus::Failed { code, detail }) => {
                anyhow::bail!("the board is closed to us: {code}: {detail}");
            }
            ChannelEvent::Status(ChannelStatus::Live) if !self.shown => self.show()?,
            ChannelEvent::Status(_) | ChannelEvent::Recovered(Recovery::Resumed) => {}
            ChannelEvent::Recovered(Recovery::Replayed { entries }) => {
                self.say(&format!("~ caught up with {entries} changes"));
            }
            ChannelEvent::Recovered(Recovery::Snapshot) => self.say("~ the whole board was sent"),
            ChannelEvent::HistoryLost { from, to } => self.say(&format!(
                "! history_lost: the server no longer has epoch {} up to {}, it is at epoch {} now",
                from.epoch, from.seq, to.epoch
            )),
            ChannelEvent::Rejected { code, detail, .. } => {
                self.say(&format!("! rejected: {code}: {detail}"));
            }
            ChannelEvent::Lost { id } => {
                let id = id.as_ref().map(ToString::to_string);
                self.say(&format!("! lost: {}", id.unwrap_or_default()));
            }
            ChannelEvent::Lagged { missed } => self.say(&format!("! missed {missed} events")),
            other => self.say(&format!("! {other:?}")),
        }
        Ok(())
    }

    fn command(&mut self, line: &str) -> anyhow::Result<()> {
        match line {
            "" | "show" => return self.show(),
            "help" | "?" => self.say(HELP),
            line => match Action::parse(line) {
                // It shows at once; a refusal is said when it comes.
                Ok(action) => match action.apply(self.board) {
                    Ok(_) => self.look()?,
                    Err(error) => self.say(&format!("! {error:#}")),
                },
                Err(_) => self.say(HELP),
            },
        }
        Ok(())
    }
}

fn connection_line(state: &ConnectionState, principal: Option<&str>) -> String {
    let reason = state
        .reason
        .as_ref()
        .map(|reason| format!(" ({}: {})", reason.code(), Reason::detail(reason)));
    let who = principal
        .filter(|_| state.phase == ConnectionPhase::Connected)
        .map(|principal| format!(" as {principal}"));
    format!(
        "~ {}{}{}",
        state.phase.name(),
        who.unwrap_or_default(),
        reason
            .filter(|_| state.phase != ConnectionPhase::Connected)
            .unwrap_or_default()
    )
}
