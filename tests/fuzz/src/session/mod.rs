//! The client's session: a script of commands, inputs and a server whose frames are lost, repeated,
//! reordered, late and damaged.
//!
//! What must hold: nothing panics, nothing spins, what is kept and what comes out is bounded. As long as
//! every frame was truthful: the view is the base that the log had at the client's cursor with the
//! undecided mutations on top (S5–S8), and what was told is what the log says (S9).

mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use tidewire_core::document::Document;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{Change, ClientKind, Limits, decode_client, server_message};
use tidewire_core::{
    ChannelId, ClientId, Config, ConnId, Event, Input, LinkClosed, MemoryOutbox, MutateOptions,
    MutationHandle, MutationStatus, NetworkHint, OutboxReply, OutboxRequest, Output, Session,
    TokenError,
};

use self::server::Server;
use crate::any;
use crate::script::Script;

const STEPS_MAX: usize = 400;
const ROWS_MAX: usize = 24;
const CHANNELS_MAX: usize = 3;
/// Outputs of one input: what all rows, channels and frames of one message can give.
const OUTPUTS_MAX: usize = 500;
const NAMES: [&str; 2] = ["board:a", "board:b"];

pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let setting = script.byte();
    let mut world = World::new(setting & 1 == 1);
    if setting & 2 == 0 {
        world.begin();
    }
    for _ in 0..STEPS_MAX {
        if script.is_over() {
            break;
        }
        world.step(&mut script);
        world.check();
    }
}

/// One mutation, as the application knows it.
struct Row {
    channel: ChannelId,
    name: &'static str,
    changes: Vec<Change>,
    n: Option<u64>,
    /// The store knows that it is being sent.
    attempted: bool,
    /// It was sent with its changes.
    sent: bool,
    /// The last status that was told.
    told: Option<MutationStatus>,
}

struct World {
    session: Session,
    now: Now,
    store: MemoryOutbox,
    /// What the store has done and not said yet.
    replies: VecDeque<OutboxReply>,
    server: Server,
    /// Frames on their way to the server, each with its link.
    up: VecDeque<(ConnId, ClientKind)>,
    conn: Option<ConnId>,
    opened: bool,
    /// Beside the link: it is refused, sooner or later.
    next: Option<ConnId>,
    /// What the newest link was opened with.
    first: Bytes,
    token_due: bool,
    wait: Option<MonoTime>,
    rows: BTreeMap<MutationHandle, Row>,
    channels: BTreeMap<ChannelId, &'static str>,
    /// Mutations that were seen in the base.
    committed: BTreeSet<MutationHandle>,
    /// Every frame so far was one that a server may send.
    truthful: bool,
    /// Whether the server may send what no server sends.
    lies: bool,
}

impl World {
    fn new(lies: bool) -> Self {
        let now = Now {
            mono: MonoTime(1),
            unix: UnixTime(1_800_000_000_000),
        };
        let mut config = Config::default();
        config.outbox_rows_max = ROWS_MAX;
        config.channels_max = CHANNELS_MAX;
        config.snapshot_bytes_max = 64 * 1024;
        Self {
            session: Session::new(config, 1, now),
            now,
            store: MemoryOutbox::new(ClientId([7; 16])),
            replies: VecDeque::new(),
            server: Server::default(),
            up: VecDeque::new(),
            conn: None,
            opened: false,
            next: None,
            first: Bytes::new(),
            token_due: false,
            wait: None,
            rows: BTreeMap::new(),
            channels: BTreeMap::new(),
            committed: BTreeSet::new(),
            truthful: true,
            lies,
        }
    }

    /// What most sessions begin with.
    fn begin(&mut self) {
        self.session.connect(self.now);
        for name in NAMES {
            let parsed = name.parse().expect("a legal name");
            let id = self.session.subscribe(self.now, parsed).expect("room");
            self.channels.insert(id, name);
        }
        self.drain();
        for _ in 0..4 {
            self.turn_around(&mut Script::new(&[]));
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(64) {
            0..9 => self.mutate(script),
            9..13 => self.command(script),
            13..24 => self.serve(script),
            24..36 => self.deliver(script, 0),
            36..38 => {
                let at = script.below(self.server.down.len());
                self.deliver(script, at);
            }
            38 => {
                self.server.down.pop_front();
            }
            39 => {
                if let Some(message) = self.server.down.front().cloned() {
                    self.server.down.push_back(message);
                }
            }
            40..43 => self.server.foreign(NAMES[script.below(2)], script),
            43 => self
                .server
                .open_epoch(NAMES[script.below(2)], 0, script.below(6)),
            44 => self.server.heartbeat(),
            45..48 => self.open_link(script),
            48 => {
                if let Some(conn) = self.conn.take() {
                    let reason = LinkClosed {
                        code: script.flag().then_some(1013),
                        ..LinkClosed::default()
                    };
                    self.opened = false;
                    self.conn = self.next.take();
                    self.input(Input::Closed { conn, reason });
                }
            }
            49..53 => self.store_replies(),
            53..59 => self.pass(script),
            59 => {
                let hint = [
                    NetworkHint::Online,
                    NetworkHint::Offline,
                    NetworkHint::Resumed,
                ];
                self.input(Input::Network(hint[script.below(3)]));
            }
            60 if self.lies => self.damaged(script),
            61 if self.lies => {
                let frame = any::server_frame(script);
                self.truthful = false;
                self.receive(server_message(frame));
            }
            _ => self.turn_around(script),
        }
    }

    /// Everything that is due goes one round.
    fn turn_around(&mut self, script: &mut Script<'_>) {
        self.open_link(script);
        self.store_replies();
        for _ in 0..self.up.len() {
            self.serve(script);
        }
        for _ in 0..self.server.down.len() {
            self.deliver(script, 0);
            self.check();
        }
    }

    fn mutate(&mut self, script: &mut Script<'_>) {
        let Some((&channel, &name)) = self.channels.iter().nth(script.below(self.channels.len()))
        else {
            return;
        };
        let changes: Vec<Change> = (0..=script.below(2))
            .map(|_| any::small_change(script))
            .collect();
        let options = match script.below(8) {
            0 => MutateOptions {
                ttl: Some(std::time::Duration::from_secs(script.byte().into())),
                ..MutateOptions::default()
            },
            1 => MutateOptions {
                after: Some(MutationHandle(script.byte().into())),
                ..MutateOptions::default()
            },
            2 => MutateOptions {
                coalesce_key: Some("key".into()),
                ..MutateOptions::default()
            },
            3 => MutateOptions {
                preconditions: vec![any::precondition(script)],
                ..MutateOptions::default()
            },
            _ => MutateOptions::default(),
        };
        if let Ok(handle) = self
            .session
            .mutate(self.now, channel, changes.clone(), options)
        {
            let row = Row {
                channel,
                name,
                changes,
                n: None,
                attempted: false,
                sent: false,
                told: None,
            };
            assert!(self.rows.insert(handle, row).is_none());
        }
        self.drain();
    }

    fn command(&mut self, script: &mut Script<'_>) {
        let channel = self.channels.keys().nth(script.below(self.channels.len()));
        let channel = channel.copied().unwrap_or(ChannelId(1));
        match script.below(16) {
            0..8 => {
                let name = NAMES[script.below(2)];
                let parsed = name.parse().expect("a legal name");
                if let Ok(id) = self.session.subscribe(self.now, parsed) {
                    self.channels.insert(id, name);
                }
            }
            8 => self.session.unsubscribe(self.now, channel),
            9 => self.session.pause(self.now, channel),
            10 => self.session.resume(self.now, channel),
            11 | 12 => {
                let handle = self.rows.keys().nth_back(script.below(4)).copied();
                let _ = handle.map(|handle| self.session.cancel(self.now, handle));
            }
            13 => {
                let data = script.flag().then(|| any::value(script));
                let _ = self.session.set_presence(self.now, channel, data);
            }
            14 if script.byte() == 255 => self.session.close(self.now),
            _ => self.session.connect(self.now),
        }
        self.drain();
    }

    /// Whatever the connection waits for happens.
    fn open_link(&mut self, script: &mut Script<'_>) {
        if self.token_due {
            self.token_due = false;
            let token = match script.below(16) {
                15 => Err(TokenError {
                    retryable: script.flag(),
                    detail: "none".into(),
                }),
                _ => Ok("dev:ana".into()),
            };
            self.input(Input::Token(token));
        } else if let Some(conn) = self.conn.filter(|_| !self.opened) {
            self.opened = true;
            self.server.open_link();
            let first = std::mem::take(&mut self.first);
            self.sent(conn, first);
            self.input(Input::Opened { conn });
        } else if let Some(conn) = self.next.take() {
            let reason = LinkClosed::default();
            self.input(Input::Closed { conn, reason });
        } else if self.conn.is_none() {
            self.session.connect(self.now);
            self.drain();
        }
    }

    fn serve(&mut self, script: &mut Script<'_>) {
        // Of a link that is gone, pushes may still arrive, at any time.
        if let Some((conn, frame)) = self.up.pop_front()
            && (self.conn == Some(conn) || matches!(frame, ClientKind::Push(_)))
        {
            self.server.handle(frame, self.now.unix.0, script);
        }
    }

    fn deliver(&mut self, script: &mut Script<'_>, at: usize) {
        if let Some(message) = self.server.down.remove(at) {
            // Sometimes one of a link that is gone.
            let late = script.below(32) == 31;
            match self.conn {
                Some(conn) if late => self.input(Input::Received {
                    conn: ConnId(conn.0.saturating_sub(1)),
                    message,
                }),
                _ => self.receive(message),
            }
        }
    }

    fn receive(&mut self, message: Bytes) {
        if let Some(conn) = self.conn.filter(|_| self.opened) {
            self.input(Input::Received { conn, message });
        }
    }

    fn damaged(&mut self, script: &mut Script<'_>) {
        if let Some(message) = self.server.down.pop_front() {
            let mut bytes = message.to_vec();
            for _ in 0..=script.below(3) {
                let len = bytes.len();
                if let Some(byte) = bytes.get_mut(usize::from(script.byte()) % len.max(1)) {
                    *byte ^= script.byte();
                }
            }
            self.truthful = false;
            self.receive(bytes.into());
        }
    }

    fn store_replies(&mut self) {
        while let Some(reply) = self.replies.pop_front() {
            match &reply {
                OutboxReply::Appended { numbers, .. } => {
                    for (handle, n) in numbers {
                        if let Some(row) = self.rows.get_mut(handle) {
                            row.n = Some(*n);
                        }
                    }
                }
                OutboxReply::Attempted { channel, rows, .. } => {
                    for stored in rows {
                        let mut rows = self.rows.values_mut();
                        let is_it = |row: &&mut Row| {
                            row.name == channel.as_str() && row.n == Some(stored.n)
                        };
                        if let Some(row) = rows.find(is_it) {
                            row.attempted = true;
                        }
                    }
                }
                _ => {}
            }
            self.input(Input::Outbox(reply));
        }
    }

    fn pass(&mut self, script: &mut Script<'_>) {
        let ms = match script.below(8) {
            0..3 => u64::from(script.byte()),
            3..6 => u64::from(script.byte()) * 100,
            6 => self
                .wait
                .map_or(0, |at| at.0.saturating_sub(self.now.mono.0)),
            _ => script.number() % (400 * 24 * 3600 * 1000),
        };
        self.now.mono.0 += ms;
        self.now.unix.0 += ms;
        if script.below(32) == 31 {
            self.now.unix.0 = 1_800_000_000_000 + script.number() % (1 << 40);
        }
        self.input(Input::Timeout);
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(self.now, input);
        self.drain();
        let mut rounds = 0;
        while self.wait.is_some_and(|at| at <= self.now.mono) {
            rounds += 1;
            assert!(
                rounds < 8,
                "the session spins: it waits for {:?}",
                self.wait
            );
            self.session.handle_input(self.now, Input::Timeout);
            self.drain();
        }
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            match self.session.poll_output() {
                Output::Wait(at) => {
                    self.wait = at;
                    return;
                }
                Output::Open { conn, first, .. } => {
                    assert!(self.conn.is_none_or(|old| old < conn));
                    assert_eq!(self.next, None, "more than two links");
                    self.first = first;
                    if self.conn.is_some() {
                        self.next = Some(conn);
                    } else {
                        self.conn = Some(conn);
                        self.opened = false;
                    }
                }
                Output::Send { conn, message } => self.sent(conn, message),
                Output::Close { conn, .. } => {
                    if self.conn == Some(conn) {
                        self.conn = self.next.take();
                        self.opened = false;
                    } else if self.next == Some(conn) {
                        self.next = None;
                    }
                }
                Output::Request { .. } | Output::Abort { .. } | Output::Probe { .. } => {
                    unreachable!("WebSocket alone is offered")
                }
                Output::FetchToken => {
                    assert!(!self.token_due, "two tokens are asked for at a time");
                    self.token_due = true;
                }
                Output::Outbox(request) => self.stored(request),
                Output::Event(event) => self.told(event),
            }
        }
        panic!("more than {OUTPUTS_MAX} outputs for one input");
    }

    fn sent(&mut self, conn: ConnId, message: Bytes) {
        assert_eq!(self.conn, Some(conn), "sent on a link that is gone");
        let bytes = message.len();
        let frames = decode_client(message, usize::MAX).expect("the client encodes frames");
        if self.truthful {
            assert!(frames.len() == 1 || bytes <= Limits::DEFAULT.frame_up_bytes as usize);
        }
        for frame in frames {
            if let ClientKind::Push(push) = &frame {
                assert!(!push.items.is_empty() && push.low <= push.first_n);
                for (n, item) in (push.first_n..).zip(&push.items) {
                    let known = self
                        .rows
                        .values_mut()
                        .find(|row| row.name == push.channel && row.n == Some(n))
                        .expect("what is pushed has a number");
                    assert!(item.noop || known.attempted, "sent before the store knew");
                    assert!(item.noop || item.changes == known.changes);
                    assert!(item.deadline_ms > 0 || item.noop);
                    known.sent |= !item.noop;
                }
            }
            self.up.push_back((conn, frame));
        }
        while self.up.len() > 64 {
            self.up.pop_front();
        }
    }

    fn stored(&mut self, request: OutboxRequest) {
        let reply = self.store.handle(request);
        self.replies.push_back(reply);
    }

    fn told(&mut self, event: Event) {
        let Event::Mutation {
            handle, status, n, ..
        } = event
        else {
            return;
        };
        let Some(row) = self.rows.get_mut(&handle) else {
            return;
        };
        assert!(n.is_none() || n == row.n);
        if let Some(before) = &row.told {
            let lost = matches!(status, MutationStatus::Lost | MutationStatus::Indeterminate);
            let follows = !before.is_terminal() || (*before == MutationStatus::Committed && lost);
            assert!(follows, "{before:?}, then {status:?}");
        }
        row.told = Some(status);
    }

    /// What must hold between two inputs.
    fn check(&mut self) {
        for (id, name) in self.channels.clone() {
            let Some(view) = self.session.document(id) else {
                continue;
            };
            assert!(self.session.pending(id) <= ROWS_MAX);
            for collection in self.session.collections(id) {
                for record in self.session.ids(id, &collection) {
                    let shown = self.session.record(id, &collection, &record);
                    assert!(shown.is_some() && shown == view.record(&collection, &record));
                }
            }
            if self.truthful {
                self.check_view(id, name, &view);
            }
        }
    }

    fn check_view(&mut self, id: ChannelId, name: &str, view: &Document) {
        let nothing = server::State::default();
        let base = match self.session.cursor(id) {
            Some(cursor) => self
                .server
                .state(name, cursor)
                .expect("the client stands where the log once was"),
            None => &nothing,
        };
        let mut expected = base.document.clone();
        for (&handle, row) in self.rows.iter().filter(|(_, row)| row.channel == id) {
            let status = self.session.mutation_status(handle);
            let decided = row.n.and_then(|n| base.decided.get(&n));
            match status {
                Some(status) if !status.is_terminal() => {
                    assert!(decided.is_none(), "{handle:?} is in the base and pending");
                    for kind in row.changes.iter().filter_map(|c| c.kind.as_ref()) {
                        let _ = server::apply(&mut expected, kind);
                    }
                }
                Some(MutationStatus::Committed) => {
                    let seen = self.committed.contains(&handle) || decided == Some(&0);
                    assert!(seen, "told as committed, and the base never had it");
                    self.committed.insert(handle);
                }
                Some(MutationStatus::Cancelled) => self.never_logged(name, row),
                Some(MutationStatus::Rejected { .. } | MutationStatus::Expired) => {
                    self.never_logged(name, row);
                }
                _ => {}
            }
        }
        assert_eq!(
            *view, expected,
            "the view is not base and pending mutations"
        );
    }

    /// What ended without being applied is in no log with its changes.
    fn never_logged(&self, name: &str, row: &Row) {
        let head = self.server.head(name);
        let code = row.n.and_then(|n| head?.decided.get(&n));
        // A no-op's number is committed, without changes.
        assert!(
            !row.sent || code != Some(&0),
            "{:?}, and the log has it as committed: {:?}",
            row.told,
            row.n
        );
    }
}
