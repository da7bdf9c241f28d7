//! A session that is connected to nobody: its benchmark answers for the server.

use bytes::Bytes;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::{
    ChannelId, ChannelState, ClientId, Config, ConnId, Event, Input, MemoryOutbox, Output, Session,
};

use super::stream::{CHANNEL, Stream};

/// A session with one live channel.
#[derive(Debug)]
pub struct Opened {
    session: Session,
    store: MemoryOutbox,
    channel: ChannelId,
    conn: ConnId,
    now: Now,
}

impl Opened {
    /// Connects and takes the snapshot of a stream.
    #[must_use]
    pub fn new(stream: &Stream) -> Self {
        let now = Now {
            mono: MonoTime(1),
            unix: UnixTime(1_700_000_000_000),
        };
        let mut session = Session::new(Config::default(), 42, now);
        let name = CHANNEL.parse().expect("a channel's name");
        let channel = session.subscribe(now, name).expect("room for a channel");
        session.connect(now);
        let mut opened = Self {
            session,
            store: MemoryOutbox::new(ClientId([7; 16])),
            channel,
            conn: ConnId(0),
            now,
        };
        opened.drain();
        opened.receive(stream.welcome.clone());
        for message in &stream.snapshot {
            opened.receive(message.clone());
        }
        let state = opened.session.state(channel);
        assert_eq!(state, Some(ChannelState::Live), "the snapshot is whole");
        opened
    }

    /// Takes one message and does all that follows, as a driver does; returns how many records changed.
    pub fn receive(&mut self, message: Bytes) -> usize {
        let conn = self.conn;
        self.session
            .handle_input(self.now, Input::Received { conn, message });
        self.drain()
    }

    /// The session itself, the time, and its channel, for commands.
    pub const fn parts(&mut self) -> (&mut Session, Now, ChannelId) {
        (&mut self.session, self.now, self.channel)
    }

    /// The driver's loop; returns how many records changed.
    pub fn drain(&mut self) -> usize {
        let mut changed = 0;
        loop {
            match self.session.poll_output() {
                Output::Request { .. } | Output::Abort { .. } | Output::Probe { .. } => {
                    unreachable!("WebSocket alone is offered")
                }
                Output::FetchToken => self
                    .session
                    .handle_input(self.now, Input::Token(Ok("dev:ana".into()))),
                Output::Open { conn, .. } => {
                    self.conn = conn;
                    self.session.handle_input(self.now, Input::Opened { conn });
                }
                Output::Outbox(request) => {
                    let reply = self.store.handle(request);
                    self.session.handle_input(self.now, Input::Outbox(reply));
                }
                Output::Event(Event::Changed { records, .. }) => changed += records.len(),
                Output::Close { code, .. } => unreachable!("closed the link with {code:?}"),
                Output::Send { .. } | Output::Event(_) => {}
                Output::Wait(_) => return changed,
            }
        }
    }
}
