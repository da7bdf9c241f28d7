//! A session over any one transport: what a test's server says goes down the way that it has there.

use super::http::{base64, stream_event};
use crate::support::*;

/// All of them.
pub(crate) const KINDS: [TransportKind; 3] = [
    TransportKind::WebSocket,
    TransportKind::Sse,
    TransportKind::LongPoll,
];

impl Driver {
    /// Live at seq 1 of an empty channel, over this transport alone.
    pub(crate) fn live_over(kind: TransportKind) -> Self {
        let mut config = Config::default();
        config.transports = vec![kind];
        Self::live_with(config, kind)
    }

    /// The same, where others are tried before: none of them opens.
    pub(crate) fn live_with(config: Config, kind: TransportKind) -> Self {
        let mut d = Self::idle(config);
        d.session.connect(d.now);
        d.drain();
        d.channel = d
            .session
            .subscribe(d.now, CHANNEL.parse().unwrap())
            .unwrap();
        d.drain();
        d.input(Input::Token(Ok("t".into())));
        while d.session.connection().transport != Some(kind) {
            let conn = d.conn;
            d.input(Input::Closed {
                conn,
                reason: LinkClosed::default(),
            });
        }
        d.welcome_over(kind, d.conn);
        let at = Cursor::new(5, 1, 11);
        let begin = ServerKind::SnapshotBegin(SnapshotBegin {
            channel: CHANNEL.into(),
            cursor: Some(at),
            known: Some(Known::default()),
            head: Some(at),
            ..SnapshotBegin::default()
        });
        let end = ServerKind::SnapshotEnd(SnapshotEnd {
            channel: CHANNEL.into(),
            records: 0,
            digest: digest(&[]),
            cursor: Some(at),
        });
        d.say(kind, d.conn, begin);
        d.say(kind, d.conn, end);
        assert_eq!(d.status(), &ChannelStatus::Live, "over {kind:?}");
        d.said();
        d.events.clear();
        d
    }

    /// The link that was dialled last is up.
    pub(crate) fn welcome_over(&mut self, kind: TransportKind, conn: ConnId) {
        let welcome = match kind {
            TransportKind::WebSocket => self.welcome_frame(),
            _ => self.http_welcome(),
        };
        if kind != TransportKind::LongPoll {
            self.input(Input::Opened { conn });
        }
        self.say(kind, conn, welcome);
    }

    /// The server says something on a link.
    #[track_caller]
    pub(crate) fn say(&mut self, kind: TransportKind, conn: ConnId, frame: ServerKind) {
        let message = server_message(frame);
        match kind {
            TransportKind::WebSocket => self.input(Input::Received { conn, message }),
            TransportKind::Sse => self.input(Input::Event {
                conn,
                event: stream_event("message", &base64(&message)),
            }),
            _ => {
                if !self.is_polling(conn) {
                    // After a poll that said nothing the next one waits for its time.
                    self.advance(1_000);
                }
                let poll = |asked: &Asked| asked.conn == conn && asked.door == Door::Poll;
                let at = self.requests.iter().position(poll).expect("a poll is held");
                let poll = self.requests.remove(at);
                self.respond(&poll, 200, message);
            }
        }
    }

    fn is_polling(&self, conn: ConnId) -> bool {
        let mut requests = self.requests.iter();
        requests.any(|asked| asked.conn == conn && asked.door == Door::Poll)
    }

    /// What the client has said since the last call, whichever way; the server answers each POST at once.
    pub(crate) fn said(&mut self) -> Vec<ClientKind> {
        let mut said = self.take_frames();
        while let Some(at) = self.requests.iter().position(|a| a.door == Door::Push) {
            let post = self.requests.remove(at);
            self.respond(&post, 200, Bytes::new());
            said.extend(post.frames);
        }
        said
    }

    /// The positions that subscribes have named since the last call.
    pub(crate) fn asked_from(&mut self) -> Vec<Option<Cursor>> {
        let said = self.said().into_iter();
        said.filter_map(|frame| match frame {
            ClientKind::Subscribe(subscribe) => Some(subscribe.have),
            _ => None,
        })
        .collect()
    }

    /// The link breaks.
    pub(crate) fn breaks(&mut self, conn: ConnId) {
        self.requests.retain(|asked| asked.conn != conn);
        self.input(Input::Closed {
            conn,
            reason: LinkClosed::default(),
        });
    }

    /// From the pause after a broken link until the next one is dialled.
    pub(crate) fn dials_again(&mut self) {
        self.session.connect(self.now);
        self.drain();
        self.input(Input::Token(Ok("t".into())));
    }

    pub(crate) fn phase(&self) -> ConnectionPhase {
        self.session.connection().phase
    }
}

/// A `resume` from one position to a head.
pub(crate) fn resumed(from: Cursor, head: Cursor) -> ServerKind {
    ServerKind::Resume(Resume {
        channel: CHANNEL.into(),
        from: Some(from),
        head: Some(head),
        known: Some(Known::default()),
        ..Resume::default()
    })
}
