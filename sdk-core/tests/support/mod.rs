//! A session and the server that a test plays for it.

pub(crate) use bytes::{Bytes, BytesMut};
pub(crate) use tidewire_core::time::{MonoTime, Now, UnixTime};
pub(crate) use tidewire_core::wire::{
    self, Ack, Change, ChangeKind, ClientKind, Cursor, ErrorCode, ErrorFrame, Field, Goaway, Head,
    Heartbeat, Known, Lagged, Limits, Merge, Mid, Need, Op, OpKind, Patch, Push, Record, RecordRef,
    Rejected, Resume, ServerKind, SnapshotBegin, SnapshotEnd, SnapshotPart, Subscribe, Welcome,
    decode_client, encode_server, server_message,
};
pub(crate) use tidewire_core::{
    After, CancelError, ChannelId, ChannelState, ChannelStatus, ClientId, Config, ConnId,
    ConnectionPhase, Door, Durability, Event, HttpResponse, Input, LinkClosed, MemoryOutbox,
    MutateError, MutateOptions, MutationHandle, MutationStatus, NetworkHint, NewRow, Opened,
    OutboxReply, OutboxRequest, Output, Probed, Reason, Recovery, RequestId, Session, Settlement,
    TokenError, TransportKind,
};

pub(crate) const CHANNEL: &str = "board:main";
pub(crate) const AUTHOR: [u8; 16] = [7; 16];

/// One request over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) conn: ConnId,
    pub(crate) request: RequestId,
    pub(crate) door: Door,
    pub(crate) frames: Vec<ClientKind>,
    pub(crate) last: bool,
}

/// Drives a session by hand and keeps what it said.
pub(crate) struct Driver {
    pub(crate) session: Session,
    pub(crate) store: MemoryOutbox,
    /// Requests that the store has not got to yet, while it is slow.
    pub(crate) waiting: Option<Vec<OutboxRequest>>,
    pub(crate) now: Now,
    /// The link that tests mean: the only one, or during a move the one before.
    pub(crate) conn: ConnId,
    /// What is open or being opened: never more than two.
    pub(crate) links: Vec<ConnId>,
    /// What links were opened with.
    pub(crate) firsts: Vec<ClientKind>,
    /// Frames with their links, those of `frames` and no others.
    pub(crate) sent: Vec<(ConnId, ClientKind)>,
    pub(crate) opens: u32,
    /// Requests that nobody has taken out.
    pub(crate) requests: Vec<Asked>,
    pub(crate) aborted: Vec<RequestId>,
    pub(crate) over_http: Vec<ConnId>,
    pub(crate) probes: Vec<u64>,
    pub(crate) messages: u32,
    pub(crate) token_fetches: u32,
    /// How long a token lasts; `None`: for ever.
    pub(crate) token_life_ms: Option<u64>,
    pub(crate) closed: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) frames: Vec<ClientKind>,
    pub(crate) wake_at: Option<MonoTime>,
    pub(crate) channel: ChannelId,
}

impl Driver {
    /// Connected and subscribed, nothing answered yet.
    pub(crate) fn start() -> Self {
        let mut driver = Self::idle(Config::default());
        driver.connect();
        driver.channel = driver
            .session
            .subscribe(driver.now, CHANNEL.parse().unwrap())
            .unwrap();
        driver.drain();
        driver
    }

    pub(crate) fn idle(config: Config) -> Self {
        let now = Now {
            mono: MonoTime(1_000),
            unix: UnixTime(1_700_000_000_000),
        };
        Self {
            session: Session::new(config, 42, now),
            store: MemoryOutbox::new(ClientId([1; 16])),
            waiting: None,
            now,
            conn: ConnId(0),
            links: Vec::new(),
            firsts: Vec::new(),
            sent: Vec::new(),
            opens: 0,
            requests: Vec::new(),
            aborted: Vec::new(),
            over_http: Vec::new(),
            probes: Vec::new(),
            messages: 0,
            token_fetches: 0,
            token_life_ms: None,
            closed: false,
            events: Vec::new(),
            frames: Vec::new(),
            wake_at: None,
            channel: ChannelId(0),
        }
    }

    /// With a first snapshot of an empty channel at seq 1.
    pub(crate) fn live() -> Self {
        let mut driver = Self::start();
        driver.snapshot(Cursor::new(5, 1, 11), &[], 0, vec![]);
        driver.take_frames();
        driver.events.clear();
        driver
    }

    pub(crate) fn connect(&mut self) {
        self.session.connect(self.now);
        self.drain();
        self.welcome();
    }

    pub(crate) fn welcome(&mut self) {
        self.input(Input::Token(Ok("t".into())));
        self.input(Input::Opened { conn: self.conn });
        self.receive(self.welcome_frame());
    }

    pub(crate) fn welcome_frame(&self) -> ServerKind {
        ServerKind::Welcome(Welcome {
            session: Bytes::from_static(&[9; 16]),
            principal: "ana".into(),
            author: Bytes::from_static(&AUTHOR),
            server_ms: self.now.unix.0,
            expires_ms: self.token_life_ms.map_or(0, |ms| self.now.unix.0 + ms),
            limits: Some(Limits::DEFAULT),
            heartbeat_ms: 25_000,
            flags: 0,
            ..Welcome::default()
        })
    }

    pub(crate) fn refreshed(&mut self, life_ms: u64) {
        self.receive(ServerKind::Refreshed(wire::Refreshed {
            expires_ms: self.now.unix.0 + life_ms,
        }));
    }

    pub(crate) fn reconnect(&mut self) {
        self.input(Input::Closed {
            conn: self.conn,
            reason: LinkClosed::default(),
        });
        self.session.connect(self.now);
        self.drain();
        self.welcome();
    }

    fn forget(&mut self, conn: ConnId) {
        self.links.retain(|open| *open != conn);
        self.conn = self.links.first().copied().unwrap_or(self.conn);
    }

    /// The link that the session moves to.
    pub(crate) fn next(&self) -> ConnId {
        self.links[1]
    }

    pub(crate) fn input(&mut self, input: Input) {
        if let Input::Closed { conn, .. } = input {
            self.forget(conn);
        }
        self.session.handle_input(self.now, input);
        self.drain();
    }

    pub(crate) fn receive(&mut self, frame: ServerKind) {
        self.receive_on(self.conn, frame);
    }

    pub(crate) fn receive_on(&mut self, conn: ConnId, frame: ServerKind) {
        let message = server_message(frame);
        self.input(Input::Received { conn, message });
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.now.mono.0 += ms;
        self.now.unix.0 += ms;
        self.input(Input::Timeout);
    }

    /// Sleeps until the session wants to be woken.
    pub(crate) fn wake(&mut self) {
        let at = self.wake_at.expect("the session waits for a moment");
        let ms = at.0.saturating_sub(self.now.mono.0);
        self.advance(ms);
    }

    pub(crate) fn drain(&mut self) {
        loop {
            match self.session.poll_output() {
                Output::Open { conn, first, .. } => {
                    self.links.push(conn);
                    assert!(self.links.len() <= 2, "open: {:?}", self.links);
                    self.conn = self.links[0];
                    let limit = Limits::DEFAULT.frame_up_bytes as usize;
                    self.firsts.extend(decode_client(first, limit).unwrap());
                    self.opens += 1;
                    self.closed = false;
                }
                Output::Send { conn, message } => {
                    assert!(self.links.contains(&conn), "{conn:?} of {:?}", self.links);
                    self.messages += 1;
                    let limit = Limits::DEFAULT.frame_up_bytes as usize;
                    let frames = decode_client(message, limit).unwrap();
                    let tagged = frames.iter().map(|frame| (conn, frame.clone()));
                    self.sent.extend(tagged);
                    self.frames.extend(frames);
                }
                Output::Close { conn, .. } => {
                    // A stream that has ended may have other requests.
                    let is_open = self.links.contains(&conn) || self.over_http.contains(&conn);
                    assert!(is_open, "{conn:?} of {:?}", self.links);
                    self.forget(conn);
                    self.closed = true;
                }
                Output::Request {
                    conn,
                    request,
                    door,
                    body,
                    last,
                } => {
                    if !last && !self.links.contains(&conn) {
                        self.links.push(conn);
                        self.over_http.push(conn);
                        assert!(self.links.len() <= 2, "open: {:?}", self.links);
                        self.conn = self.links[0];
                        self.opens += 1;
                    }
                    let limit = Limits::DEFAULT.frame_up_bytes as usize;
                    let frames = decode_client(body, limit).unwrap();
                    self.requests.push(Asked {
                        conn,
                        request,
                        door,
                        frames,
                        last,
                    });
                }
                Output::Abort { request, .. } => self.aborted.push(request),
                Output::Probe { probe } => self.probes.push(probe),
                Output::FetchToken => self.token_fetches += 1,
                Output::Outbox(request) => match &mut self.waiting {
                    Some(waiting) => waiting.push(request),
                    None => {
                        let reply = self.store.handle(request);
                        self.session.handle_input(self.now, Input::Outbox(reply));
                    }
                },
                Output::Event(event) => self.events.push(event),
                Output::Wait(at) => {
                    self.wake_at = at;
                    return;
                }
            }
        }
    }

    /// The slow store catches up, and is quick from now on.
    pub(crate) fn store_catches_up(&mut self) {
        for request in self.waiting.take().into_iter().flatten() {
            let reply = self.store.handle(request);
            self.session.handle_input(self.now, Input::Outbox(reply));
        }
        self.drain();
    }

    pub(crate) fn snapshot(
        &mut self,
        cursor: Cursor,
        records: &[Record],
        last: u64,
        rejected: Vec<Rejected>,
    ) {
        let known = Known {
            last,
            rejected,
            ..Known::default()
        };
        self.snapshot_with(cursor, records, known);
    }

    pub(crate) fn snapshot_with(&mut self, cursor: Cursor, records: &[Record], known: Known) {
        self.receive(ServerKind::SnapshotBegin(SnapshotBegin {
            channel: CHANNEL.into(),
            cursor: Some(cursor),
            known: Some(known),
            head: Some(cursor),
            ..SnapshotBegin::default()
        }));
        for record in records {
            self.receive(ServerKind::SnapshotPart(SnapshotPart {
                channel: CHANNEL.into(),
                records: vec![record.clone()],
            }));
        }
        self.receive(ServerKind::SnapshotEnd(SnapshotEnd {
            channel: CHANNEL.into(),
            records: records.len() as u64,
            digest: digest(records),
            cursor: Some(cursor),
        }));
    }

    pub(crate) fn resume(&mut self, from: Cursor, head: Cursor, last: u64) {
        self.receive(ServerKind::Resume(Resume {
            channel: CHANNEL.into(),
            from: Some(from),
            head: Some(head),
            known: Some(Known {
                last,
                rejected: vec![],
                ..Known::default()
            }),
            ..Resume::default()
        }));
    }

    pub(crate) fn heartbeat(&mut self, head: Cursor) {
        self.receive(ServerKind::Heartbeat(Heartbeat {
            heads: vec![Head {
                channel: CHANNEL.into(),
                cursor: Some(head),
            }],
            server_ms: self.now.unix.0,
        }));
    }

    pub(crate) fn lagged(&mut self) {
        self.receive(ServerKind::Lagged(Lagged {
            channel: CHANNEL.into(),
        }));
    }

    pub(crate) fn patch(&mut self, from: u64, to: u64, ops: Vec<Op>, mids: Vec<Mid>) {
        self.receive(ServerKind::Patch(patch(from, to, ops, mids)));
    }

    pub(crate) fn mutate(&mut self, kind: ChangeKind) -> MutationHandle {
        self.mutate_with(kind, MutateOptions::default())
    }

    pub(crate) fn mutate_with(
        &mut self,
        kind: ChangeKind,
        options: MutateOptions,
    ) -> MutationHandle {
        let handle = self.command(kind, options);
        self.drain();
        handle
    }

    /// A command whose outputs wait, as in a driver that gets several in one turn.
    pub(crate) fn command(&mut self, kind: ChangeKind, options: MutateOptions) -> MutationHandle {
        let changes = vec![Change { kind: Some(kind) }];
        self.session
            .mutate(self.now, self.channel, changes, options)
            .unwrap()
    }

    pub(crate) fn cancel(&mut self, handle: MutationHandle) -> Result<(), CancelError> {
        let done = self.session.cancel(self.now, handle);
        self.drain();
        done
    }

    /// The link breaks, and the next one waits for its time.
    pub(crate) fn cut(&mut self) {
        self.input(Input::Closed {
            conn: self.conn,
            reason: LinkClosed::default(),
        });
        self.take_frames();
    }

    pub(crate) fn row_error(&mut self, n: u64, code: ErrorCode) {
        self.receive(ServerKind::Error(ErrorFrame {
            code: code as u32,
            channel: Some(CHANNEL.into()),
            n: Some(n),
            ..ErrorFrame::default()
        }));
    }

    /// The names of what a mutation was told, in order.
    pub(crate) fn told(&self, of: MutationHandle) -> Vec<&'static str> {
        self.outcomes(of).iter().map(MutationStatus::name).collect()
    }

    pub(crate) fn take_frames(&mut self) -> Vec<ClientKind> {
        std::mem::take(&mut self.frames)
    }

    pub(crate) fn pushes(&mut self) -> Vec<Push> {
        let frames = self.take_frames().into_iter();
        frames
            .filter_map(|frame| match frame {
                ClientKind::Push(push) => Some(push),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn subscribes(&mut self) -> Vec<Subscribe> {
        let frames = self.take_frames().into_iter();
        frames
            .filter_map(|frame| match frame {
                ClientKind::Subscribe(subscribe) => Some(subscribe),
                _ => None,
            })
            .collect()
    }

    /// Which ranges were asked for: after, through.
    pub(crate) fn fetches(&mut self) -> Vec<(u64, u64)> {
        let frames = self.take_frames().into_iter();
        frames
            .filter_map(|frame| match frame {
                ClientKind::Fetch(fetch) => Some((fetch.after, fetch.through)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn outcomes(&self, of: MutationHandle) -> Vec<MutationStatus> {
        let events = self.events.iter();
        events
            .filter_map(|event| match event {
                Event::Mutation { handle, status, .. } if *handle == of => Some(status.clone()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn title(&self, id: &str) -> Option<String> {
        let record = self.session.record(self.channel, "cards", id)?;
        let value = record.field("title")?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    pub(crate) fn status(&self) -> &ChannelStatus {
        self.session.status(self.channel).unwrap()
    }
}

pub(crate) fn card(id: &str, title: &str) -> Record {
    Record {
        collection: "cards".into(),
        id: id.into(),
        fields: vec![Field {
            name: "title".into(),
            value: Bytes::from(format!("\"{title}\"")),
            ..Field::default()
        }],
        ..Record::default()
    }
}

/// What the end of a snapshot of these records says.
pub(crate) fn digest(records: &[Record]) -> u64 {
    let mut document = tidewire_core::document::Document::default();
    for record in records {
        document.apply(&tidewire_core::document::put_op(record.clone()));
    }
    document.digest()
}

pub(crate) fn put_op(id: &str, title: &str) -> Op {
    Op {
        kind: Some(OpKind::Put(card(id, title))),
    }
}

pub(crate) fn merge_op(id: &str, title: &str) -> Op {
    let record = card(id, title);
    Op {
        kind: Some(OpKind::Merge(Merge {
            collection: record.collection,
            id: record.id,
            fields: record.fields,
            unset: vec![],
        })),
    }
}

pub(crate) fn mid(n: u64) -> Mid {
    Mid {
        author: Bytes::from_static(&AUTHOR),
        n,
        code: 0,
        detail: String::new(),
        ..Mid::default()
    }
}

pub(crate) fn refusal(n: u64) -> Mid {
    Mid {
        code: ErrorCode::Refused as u32,
        detail: "no".into(),
        ..mid(n)
    }
}

/// Tags are `10 + seq` in these tests, the epoch is 5.
pub(crate) fn patch(from: u64, to: u64, ops: Vec<Op>, mids: Vec<Mid>) -> Patch {
    Patch {
        channel: CHANNEL.into(),
        epoch: 5,
        from,
        from_tag: 10 + from,
        to,
        to_tag: 10 + to,
        ms: 1,
        ops,
        mids,
    }
}

pub(crate) fn at(seq: u64) -> Cursor {
    Cursor::new(5, seq, 10 + seq)
}
