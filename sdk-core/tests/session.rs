//! The session against a scripted server: one rule a test, in virtual time.

use bytes::{Bytes, BytesMut};
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{
    Ack, Change, ChangeKind, ClientKind, Cursor, ErrorCode, ErrorFrame, Field, Goaway, Head,
    Heartbeat, Known, Lagged, Limits, Merge, Mid, Need, Op, OpKind, Patch, Push, Record, RecordRef,
    Rejected, Resume, ServerKind, SnapshotBegin, SnapshotEnd, SnapshotPart, Subscribe, Welcome,
    decode_client, encode_server, server_message,
};
use tidewire_core::{
    ChannelId, ChannelStatus, ClientId, Config, ConnId, ConnectionPhase, Event, Input, LinkClosed,
    MemoryOutbox, MutateError, MutateOptions, MutationHandle, MutationStatus, NetworkHint, Output,
    Reason, Recovery, Session, TokenError,
};

const CHANNEL: &str = "board:main";
const AUTHOR: [u8; 16] = [7; 16];

/// Drives a session by hand and keeps what it said.
struct Driver {
    session: Session,
    store: MemoryOutbox,
    now: Now,
    conn: ConnId,
    opens: u32,
    messages: u32,
    token_fetches: u32,
    closed: bool,
    events: Vec<Event>,
    frames: Vec<ClientKind>,
    wake_at: Option<MonoTime>,
    channel: ChannelId,
}

impl Driver {
    /// Connected and subscribed, nothing answered yet.
    fn start() -> Self {
        let mut driver = Self::idle(Config::default());
        driver.connect();
        driver.channel = driver
            .session
            .subscribe(driver.now, CHANNEL.parse().unwrap())
            .unwrap();
        driver.drain();
        driver
    }

    fn idle(config: Config) -> Self {
        let now = Now {
            mono: MonoTime(1_000),
            unix: UnixTime(1_700_000_000_000),
        };
        Self {
            session: Session::new(config, ClientId([1; 16]), 42, now),
            store: MemoryOutbox::default(),
            now,
            conn: ConnId(0),
            opens: 0,
            messages: 0,
            token_fetches: 0,
            closed: false,
            events: Vec::new(),
            frames: Vec::new(),
            wake_at: None,
            channel: ChannelId(0),
        }
    }

    /// With a first snapshot of an empty channel at seq 1.
    fn live() -> Self {
        let mut driver = Self::start();
        driver.snapshot(Cursor::new(5, 1, 11), &[], 0, vec![]);
        driver.take_frames();
        driver.events.clear();
        driver
    }

    fn connect(&mut self) {
        self.session.connect(self.now);
        self.drain();
        self.welcome();
    }

    fn welcome(&mut self) {
        self.input(Input::Token(Ok("t".into())));
        self.input(Input::Opened { conn: self.conn });
        self.receive(ServerKind::Welcome(Welcome {
            session: Bytes::from_static(&[9; 16]),
            principal: "ana".into(),
            author: Bytes::from_static(&AUTHOR),
            server_ms: self.now.unix.0,
            expires_ms: 0,
            limits: Some(Limits::DEFAULT),
            heartbeat_ms: 25_000,
            flags: 0,
        }));
    }

    fn reconnect(&mut self) {
        self.input(Input::Closed {
            conn: self.conn,
            reason: LinkClosed::default(),
        });
        self.session.connect(self.now);
        self.drain();
        self.welcome();
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(self.now, input);
        self.drain();
    }

    fn receive(&mut self, frame: ServerKind) {
        let message = server_message(frame);
        let conn = self.conn;
        self.input(Input::Received { conn, message });
    }

    fn advance(&mut self, ms: u64) {
        self.now.mono.0 += ms;
        self.now.unix.0 += ms;
        self.input(Input::Timeout);
    }

    /// Sleeps until the session wants to be woken.
    fn wake(&mut self) {
        let at = self.wake_at.expect("the session waits for a moment");
        let ms = at.0.saturating_sub(self.now.mono.0);
        self.advance(ms);
    }

    fn drain(&mut self) {
        loop {
            match self.session.poll_output() {
                Output::Open { conn, .. } => {
                    self.conn = conn;
                    self.opens += 1;
                    self.closed = false;
                }
                Output::Send { conn, message } => {
                    assert_eq!(conn, self.conn);
                    self.messages += 1;
                    let limit = Limits::DEFAULT.frame_up_bytes as usize;
                    self.frames.extend(decode_client(message, limit).unwrap());
                }
                Output::Close { conn, .. } => {
                    assert_eq!(conn, self.conn);
                    self.closed = true;
                }
                Output::FetchToken => self.token_fetches += 1,
                Output::Outbox(request) => {
                    let reply = self.store.handle(request);
                    self.session.handle_input(self.now, Input::Outbox(reply));
                }
                Output::Event(event) => self.events.push(event),
                Output::Wait(at) => {
                    self.wake_at = at;
                    return;
                }
            }
        }
    }

    fn snapshot(&mut self, cursor: Cursor, records: &[Record], last: u64, rejected: Vec<Rejected>) {
        let mut document = tidewire_core::document::Document::default();
        for record in records {
            document.apply(&tidewire_core::document::put_op(record.clone()));
        }
        self.receive(ServerKind::SnapshotBegin(SnapshotBegin {
            channel: CHANNEL.into(),
            cursor: Some(cursor),
            known: Some(Known { last, rejected }),
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
            digest: document.digest(),
        }));
    }

    fn resume(&mut self, from: Cursor, head: Cursor, last: u64) {
        self.receive(ServerKind::Resume(Resume {
            channel: CHANNEL.into(),
            from: Some(from),
            head: Some(head),
            known: Some(Known {
                last,
                rejected: vec![],
            }),
        }));
    }

    fn patch(&mut self, from: u64, to: u64, ops: Vec<Op>, mids: Vec<Mid>) {
        self.receive(ServerKind::Patch(patch(from, to, ops, mids)));
    }

    fn mutate(&mut self, kind: ChangeKind) -> MutationHandle {
        let handle = self
            .session
            .mutate(
                self.now,
                self.channel,
                vec![Change { kind: Some(kind) }],
                MutateOptions::default(),
            )
            .unwrap();
        self.drain();
        handle
    }

    fn take_frames(&mut self) -> Vec<ClientKind> {
        std::mem::take(&mut self.frames)
    }

    fn pushes(&mut self) -> Vec<Push> {
        let frames = self.take_frames().into_iter();
        frames
            .filter_map(|frame| match frame {
                ClientKind::Push(push) => Some(push),
                _ => None,
            })
            .collect()
    }

    fn subscribes(&mut self) -> Vec<Subscribe> {
        let frames = self.take_frames().into_iter();
        frames
            .filter_map(|frame| match frame {
                ClientKind::Subscribe(subscribe) => Some(subscribe),
                _ => None,
            })
            .collect()
    }

    /// Which ranges were asked for: after, through.
    fn fetches(&mut self) -> Vec<(u64, u64)> {
        let frames = self.take_frames().into_iter();
        frames
            .filter_map(|frame| match frame {
                ClientKind::Fetch(fetch) => Some((fetch.after, fetch.through)),
                _ => None,
            })
            .collect()
    }

    fn outcomes(&self, of: MutationHandle) -> Vec<MutationStatus> {
        let events = self.events.iter();
        events
            .filter_map(|event| match event {
                Event::Mutation { handle, status, .. } if *handle == of => Some(status.clone()),
                _ => None,
            })
            .collect()
    }

    fn title(&self, id: &str) -> Option<String> {
        let record = self.session.record(self.channel, "cards", id)?;
        let value = record.field("title")?;
        Some(String::from_utf8(value.to_vec()).unwrap())
    }

    fn status(&self) -> &ChannelStatus {
        self.session.status(self.channel).unwrap()
    }
}

fn card(id: &str, title: &str) -> Record {
    Record {
        collection: "cards".into(),
        id: id.into(),
        fields: vec![Field {
            name: "title".into(),
            value: Bytes::from(format!("\"{title}\"")),
        }],
    }
}

fn put_op(id: &str, title: &str) -> Op {
    Op {
        kind: Some(OpKind::Put(card(id, title))),
    }
}

fn merge_op(id: &str, title: &str) -> Op {
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

fn mid(n: u64) -> Mid {
    Mid {
        author: Bytes::from_static(&AUTHOR),
        n,
        code: 0,
        detail: String::new(),
    }
}

fn refusal(n: u64) -> Mid {
    Mid {
        code: ErrorCode::Refused as u32,
        detail: "no".into(),
        ..mid(n)
    }
}

/// Tags are `10 + seq` in these tests, the epoch is 5.
fn patch(from: u64, to: u64, ops: Vec<Op>, mids: Vec<Mid>) -> Patch {
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

fn at(seq: u64) -> Cursor {
    Cursor::new(5, seq, 10 + seq)
}

#[test]
fn first_snapshot_makes_the_channel_live() {
    let mut d = Driver::start();
    assert_eq!(d.status(), &ChannelStatus::Loading);
    let subscribe = &d.subscribes()[0];
    assert_eq!((subscribe.have, subscribe.max_epoch), (None, 0));
    d.snapshot(at(1), &[card("a", "x")], 0, vec![]);
    assert_eq!(d.status(), &ChannelStatus::Live);
    assert_eq!(d.title("a").unwrap(), "\"x\"");
    assert!(d.events.contains(&Event::Recovered {
        channel: d.channel,
        recovery: Recovery::Snapshot
    }));
}

#[test]
fn half_a_snapshot_is_invisible() {
    let mut d = Driver::start();
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(at(1)),
        known: Some(Known::default()),
    }));
    d.receive(ServerKind::SnapshotPart(SnapshotPart {
        channel: CHANNEL.into(),
        records: vec![card("a", "x")],
    }));
    assert_eq!(d.title("a"), None);
    assert_eq!(d.status(), &ChannelStatus::Loading);
}

#[test]
fn a_damaged_snapshot_is_asked_for_again() {
    let mut d = Driver::start();
    d.take_frames();
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(at(1)),
        known: Some(Known::default()),
    }));
    d.receive(ServerKind::SnapshotEnd(SnapshotEnd {
        channel: CHANNEL.into(),
        records: 0,
        digest: 1,
    }));
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_snapshot_without_the_table_row_ends_the_link() {
    let mut d = Driver::start();
    d.receive(ServerKind::SnapshotBegin(SnapshotBegin {
        channel: CHANNEL.into(),
        cursor: Some(at(1)),
        known: None,
    }));
    assert!(d.closed);
}

#[test]
fn patches_apply_only_where_the_base_stands() {
    let mut d = Driver::live();
    d.patch(1, 2, vec![put_op("a", "1")], vec![]);
    d.patch(1, 2, vec![put_op("a", "dup")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"1\"");
    assert!(d.subscribes().is_empty());
    d.patch(3, 4, vec![put_op("a", "hole")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"1\"");
    assert_eq!(d.fetches(), [(2, 3)]);
    d.patch(2, 3, vec![put_op("a", "2")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"hole\"");
}

#[test]
fn another_tag_at_the_same_seq_resubscribes() {
    let mut d = Driver::live();
    let mut other = patch(1, 2, vec![put_op("a", "1")], vec![]);
    other.from_tag = 99;
    d.receive(ServerKind::Patch(other));
    assert_eq!(d.title("a"), None);
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn patches_that_come_before_the_answer_wait_for_it() {
    let mut d = Driver::live();
    d.receive(ServerKind::Lagged(Lagged {
        channel: CHANNEL.into(),
    }));
    d.patch(2, 3, vec![put_op("a", "3")], vec![]);
    assert_eq!(d.title("a"), None);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    d.resume(at(1), at(3), 0);
    assert_eq!(d.title("a"), None);
    d.patch(1, 2, vec![put_op("a", "2")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"3\"");
    assert_eq!(d.status(), &ChannelStatus::Live);
    assert!(d.events.contains(&Event::Recovered {
        channel: d.channel,
        recovery: Recovery::Replayed { entries: 2 }
    }));
}

#[test]
fn an_edit_shows_at_once_and_leaves_the_overlay_with_its_patch() {
    let mut d = Driver::live();
    let handle = d.mutate(ChangeKind::Put(card("a", "mine")));
    assert_eq!(d.title("a").unwrap(), "\"mine\"");
    let push = d.pushes().remove(0);
    assert_eq!((push.first_n, push.low, push.epoch), (1, 1, 5));
    d.receive(ServerKind::Ack(Ack {
        channel: CHANNEL.into(),
        through: 1,
        seq: 2,
    }));
    assert!(d.session.is_pending(d.channel, "cards", "a"));
    d.events.clear();
    d.patch(1, 2, vec![put_op("a", "mine")], vec![mid(1)]);
    assert!(!d.session.is_pending(d.channel, "cards", "a"));
    assert_eq!(d.outcomes(handle), [MutationStatus::Committed]);
    let changed = d.events.iter().any(|e| matches!(e, Event::Changed { .. }));
    assert!(!changed, "one's own edit coming back must not flicker");
}

#[test]
fn others_edits_slide_under_pending_ones() {
    let mut d = Driver::live();
    d.patch(1, 2, vec![put_op("a", "base")], vec![]);
    d.mutate(ChangeKind::Set(card("a", "mine")));
    d.patch(2, 3, vec![merge_op("a", "theirs")], vec![]);
    assert_eq!(d.title("a").unwrap(), "\"mine\"");
    d.patch(3, 4, vec![], vec![refusal(1)]);
    assert_eq!(d.title("a").unwrap(), "\"theirs\"");
}

#[test]
fn a_rejection_rolls_back_with_its_reason() {
    let mut d = Driver::live();
    let handle = d.mutate(ChangeKind::Put(card("a", "x")));
    d.patch(1, 2, vec![], vec![refusal(1)]);
    assert_eq!(d.title("a"), None);
    assert_eq!(
        d.outcomes(handle).last(),
        Some(&MutationStatus::Rejected {
            code: ErrorCode::Refused,
            detail: "no".into()
        })
    );
}

#[test]
fn what_was_sent_is_sent_again_with_the_same_number() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.mutate(ChangeKind::Set(card("a", "y")));
    let first: Vec<_> = d.pushes();
    assert_eq!(first.iter().map(|p| p.first_n).collect::<Vec<_>>(), [1, 2]);
    d.reconnect();
    assert!(d.pushes().is_empty(), "nothing is pushed before the resume");
    d.resume(at(1), at(1), 1);
    let again = d.pushes();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].first_n, again[0].low), (2, 1));
}

#[test]
fn a_snapshot_decides_what_its_table_row_covers() {
    let mut d = Driver::live();
    let good = d.mutate(ChangeKind::Put(card("a", "x")));
    let bad = d.mutate(ChangeKind::Put(card("b", "x")));
    let open = d.mutate(ChangeKind::Put(card("c", "x")));
    d.reconnect();
    d.take_frames();
    let refused = Rejected {
        n: 2,
        code: ErrorCode::Refused as u32,
        detail: "no".into(),
    };
    d.snapshot(at(9), &[card("a", "x")], 2, vec![refused]);
    assert_eq!(d.outcomes(good).last(), Some(&MutationStatus::Committed));
    assert_eq!(d.outcomes(bad).last().unwrap().name(), "rejected");
    assert_eq!(d.title("b"), None);
    assert!(!d.outcomes(open).last().unwrap().is_terminal());
    assert_eq!(d.pushes()[0].first_n, 3);
}

#[test]
fn need_is_obeyed_once_and_the_clock_helps_after_that() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.take_frames();
    let need = ServerKind::Need(Need {
        channel: CHANNEL.into(),
        n: 1,
        cursor: None,
    });
    d.receive(need.clone());
    assert_eq!(d.pushes().len(), 1);
    d.receive(need);
    assert!(d.pushes().is_empty());
    d.advance(10_000);
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn a_vanished_log_is_told_and_its_commits_are_lost() {
    let mut d = Driver::live();
    let kept = d.mutate(ChangeKind::Put(card("a", "x")));
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    let pending = d.mutate(ChangeKind::Put(card("b", "x")));
    d.reconnect();
    assert_eq!(d.subscribes()[0].max_epoch, 5);
    d.snapshot(Cursor::new(6, 1, 77), &[], 0, vec![]);
    assert_eq!(d.outcomes(kept).last(), Some(&MutationStatus::Lost));
    assert_eq!(d.title("a"), None);
    assert_eq!(d.title("b").unwrap(), "\"x\"");
    assert!(d.events.contains(&Event::HistoryLost {
        channel: d.channel,
        from: at(2),
        to: Cursor::new(6, 1, 77)
    }));
    let push = d.pushes().remove(0);
    assert_eq!((push.first_n, push.low, push.epoch), (2, 2, 6));
    assert!(!d.outcomes(pending).last().unwrap().is_terminal());
}

#[test]
fn an_answer_below_the_highest_epoch_is_asked_for_again_but_not_at_once() {
    let mut d = Driver::live();
    d.reconnect();
    d.take_frames();
    for _ in 0..50 {
        d.resume(Cursor::new(4, 1, 11), Cursor::new(4, 1, 11), 0);
    }
    assert!(d.subscribes().len() <= 1);
    assert_eq!(d.status(), &ChannelStatus::Stale);
    let mut asked = 0;
    for _ in 0..20 {
        d.wake();
        asked += d.subscribes().len();
        d.resume(Cursor::new(4, 1, 11), Cursor::new(4, 1, 11), 0);
    }
    assert!(asked > 1);
}

#[test]
fn late_frames_of_a_dead_link_are_ignored() {
    let mut d = Driver::live();
    let old = d.conn;
    d.reconnect();
    let message = server_message(ServerKind::Patch(patch(
        1,
        2,
        vec![put_op("a", "x")],
        vec![],
    )));
    d.input(Input::Received { conn: old, message });
    assert_eq!(d.title("a"), None);
    d.input(Input::Closed {
        conn: old,
        reason: LinkClosed::default(),
    });
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
}

#[test]
fn garbage_ends_the_link_and_only_the_link() {
    let mut d = Driver::live();
    let conn = d.conn;
    let message = Bytes::from_static(b"\xff\xff\xff");
    d.input(Input::Received { conn, message });
    assert!(d.closed);
    assert_eq!(
        d.session.connection().reason,
        Some(Reason::Violated {
            code: ErrorCode::Malformed
        })
    );
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
}

#[test]
fn several_frames_in_one_message_are_one_turn() {
    let mut d = Driver::live();
    let mut message = BytesMut::new();
    for seq in 1..=20 {
        let frame = patch(seq, seq + 1, vec![put_op("a", &seq.to_string())], vec![]);
        encode_server(ServerKind::Patch(frame), &mut message);
    }
    let conn = d.conn;
    d.input(Input::Received {
        conn,
        message: message.freeze(),
    });
    let changed = d
        .events
        .iter()
        .filter(|e| matches!(e, Event::Changed { .. }));
    assert_eq!(changed.count(), 1);
    assert_eq!(d.title("a").unwrap(), "\"20\"");
}

#[test]
fn a_forbidden_push_ends_its_row_alone() {
    let mut d = Driver::live();
    let one = d.mutate(ChangeKind::Put(card("a", "x")));
    let two = d.mutate(ChangeKind::Put(card("b", "x")));
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::Forbidden as u32,
        channel: Some(CHANNEL.into()),
        n: Some(1),
        ..ErrorFrame::default()
    }));
    assert_eq!(d.outcomes(one).last().unwrap().name(), "rejected");
    assert!(!d.outcomes(two).last().unwrap().is_terminal());
    assert_eq!(d.title("a"), None);
}

#[test]
fn a_refused_channel_fails_and_gives_its_mutations_up() {
    let mut d = Driver::start();
    let handle = d.mutate(ChangeKind::Put(card("a", "x")));
    d.receive(ServerKind::Error(ErrorFrame {
        code: ErrorCode::Forbidden as u32,
        channel: Some(CHANNEL.into()),
        detail: "not yours".into(),
        ..ErrorFrame::default()
    }));
    assert_eq!(d.status().name(), "failed");
    assert_eq!(d.outcomes(handle).last().unwrap().name(), "rejected");
    assert!(matches!(
        d.session.mutate(
            d.now,
            d.channel,
            vec![Change {
                kind: Some(ChangeKind::Put(card("a", "x")))
            }],
            MutateOptions::default(),
        ),
        Err(MutateError::ChannelFailed(ErrorCode::Forbidden))
    ));
    d.session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    d.drain();
    assert_eq!(d.status(), &ChannelStatus::Loading);
}

#[test]
fn a_wrong_token_is_terminal_and_an_expired_one_is_not() {
    for (code, phase) in [
        (ErrorCode::Unauthenticated, ConnectionPhase::Closed),
        (ErrorCode::TokenExpired, ConnectionPhase::Waiting),
    ] {
        let mut d = Driver::live();
        d.receive(ServerKind::Error(ErrorFrame {
            code: code as u32,
            fatal: true,
            detail: "token".into(),
            ..ErrorFrame::default()
        }));
        assert_eq!(d.session.connection().phase, phase);
        assert!(d.closed);
    }
}

#[test]
fn a_token_is_fetched_once_per_attempt_and_its_refusal_is_obeyed() {
    let mut d = Driver::idle(Config::default());
    d.session.connect(d.now);
    d.session.connect(d.now);
    d.drain();
    assert_eq!(d.token_fetches, 1);
    d.input(Input::Token(Err(TokenError {
        retryable: true,
        detail: "offline".into(),
    })));
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
    d.wake();
    assert_eq!(d.token_fetches, 2);
    d.input(Input::Token(Err(TokenError {
        retryable: false,
        detail: "signed out".into(),
    })));
    assert_eq!(d.session.connection().phase, ConnectionPhase::Closed);
    assert_eq!(d.opens, 0);
}

#[test]
fn attempts_are_bounded_when_asked() {
    let mut config = Config::default();
    config.retries_max = Some(3);
    let mut d = Driver::idle(config);
    d.session.connect(d.now);
    d.drain();
    for _ in 0..4 {
        d.input(Input::Token(Ok("t".into())));
        d.input(Input::Closed {
            conn: d.conn,
            reason: LinkClosed::default(),
        });
        if d.session.connection().phase == ConnectionPhase::Waiting {
            d.wake();
        }
    }
    assert_eq!(d.session.connection().reason, Some(Reason::GaveUp));
    assert_eq!(d.opens, 4);
}

#[test]
fn a_silent_link_is_dead_after_heartbeat_and_grace() {
    let mut d = Driver::live();
    d.advance(34_000);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    d.advance(1_000);
    assert_eq!(d.session.connection().reason, Some(Reason::Timeout));
}

#[test]
fn after_sleep_queued_frames_are_heard_before_the_verdict() {
    let mut d = Driver::live();
    d.advance(120_000);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    assert!(matches!(d.take_frames().last(), Some(ClientKind::Ping(_))));
    d.patch(1, 2, vec![put_op("a", "x")], vec![]);
    d.advance(3_000);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
}

#[test]
fn a_hint_probes_and_silence_after_it_is_death() {
    let mut d = Driver::live();
    d.input(Input::Network(NetworkHint::Resumed));
    assert!(matches!(d.take_frames().last(), Some(ClientKind::Ping(_))));
    d.wake();
    assert_eq!(d.session.connection().reason, Some(Reason::Timeout));
}

#[test]
fn heartbeats_are_answered_and_a_hole_they_show_is_mended() {
    let mut d = Driver::live();
    d.receive(ServerKind::Heartbeat(Heartbeat {
        heads: vec![Head {
            channel: CHANNEL.into(),
            cursor: Some(at(3)),
        }],
        server_ms: 8,
    }));
    assert!(matches!(d.take_frames()[0], ClientKind::Pong(_)));
    assert_eq!(d.status(), &ChannelStatus::Live);
    d.wake();
    assert_eq!(d.fetches(), [(1, 3)]);
    d.wake();
    assert_eq!(d.subscribes().len(), 1);
}

#[test]
fn goaway_moves_within_the_window_after_what_is_in_flight() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.take_frames();
    d.receive(ServerKind::Goaway(Goaway {
        by_ms: 45_000,
        window_ms: 2_000,
        reason: "deploy".into(),
    }));
    assert_eq!(d.session.connection().phase, ConnectionPhase::Draining);
    d.mutate(ChangeKind::Put(card("b", "x")));
    assert!(
        d.pushes().is_empty(),
        "nothing new is pushed to a server that leaves"
    );
    d.advance(2_000);
    assert!(!d.closed, "a push is in flight");
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    d.wake();
    assert!(d.closed);
    d.welcome();
    assert_eq!(d.session.connection().phase, ConnectionPhase::Connected);
    d.resume(at(2), at(2), 1);
    assert_eq!(d.pushes()[0].first_n, 2);
}

#[test]
fn letting_a_channel_go_waits_for_its_mutations() {
    let mut d = Driver::live();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.session.unsubscribe(d.now, d.channel);
    d.drain();
    assert_eq!(d.session.pending(d.channel), 1);
    d.patch(1, 2, vec![put_op("a", "x")], vec![mid(1)]);
    assert_eq!(d.session.status(d.channel), None);
    let gone = d.take_frames();
    assert!(gone.iter().any(|f| matches!(f, ClientKind::Unsubscribe(_))));
}

#[test]
fn a_full_outbox_refuses_and_evicts_nothing() {
    let mut config = Config::default();
    config.outbox_rows_max = 2;
    let mut d = Driver::idle(config);
    d.channel = d
        .session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    d.mutate(ChangeKind::Put(card("a", "x")));
    d.mutate(ChangeKind::Put(card("b", "x")));
    let change = Change {
        kind: Some(ChangeKind::Put(card("c", "x"))),
    };
    let refused = d
        .session
        .mutate(d.now, d.channel, vec![change], MutateOptions::default());
    assert_eq!(refused, Err(MutateError::QueueFull { rows: 2 }));
    assert_eq!(d.session.ids(d.channel, "cards").len(), 2);
}

#[test]
fn the_push_window_is_bounded_and_refills() {
    let mut d = Driver::live();
    for i in 0..600 {
        d.mutate(ChangeKind::Put(card(&format!("c{i}"), "x")));
    }
    let sent: usize = d.pushes().iter().map(|p| p.items.len()).sum();
    assert_eq!(sent, 256);
    d.receive(ServerKind::Ack(Ack {
        channel: CHANNEL.into(),
        through: 200,
        seq: 2,
    }));
    let sent: usize = d.pushes().iter().map(|p| p.items.len()).sum();
    assert_eq!(sent, 200);
}

#[test]
fn same_seed_and_inputs_give_the_same_outputs() {
    let run = || {
        let mut d = Driver::live();
        d.reconnect();
        for _ in 0..5 {
            d.input(Input::Closed {
                conn: d.conn,
                reason: LinkClosed::default(),
            });
            d.wake();
            d.welcome();
        }
        (d.now.mono, format!("{:?}", d.events))
    };
    assert_eq!(run(), run());
}

#[test]
fn a_mutation_that_fits_no_message_is_refused_in_the_call() {
    let mut d = Driver::live();
    let del = |id: &str| Change {
        kind: Some(ChangeKind::Del(RecordRef {
            collection: "c".into(),
            id: id.into(),
        })),
    };
    // Names and values stay below 64 KiB; with the framing around each it is over 128 KiB.
    let many = vec![del("a"); 20_000];
    let refused = d
        .session
        .mutate(d.now, d.channel, many, MutateOptions::default());
    assert!(
        matches!(refused, Err(MutateError::Invalid(r)) if r.code == ErrorCode::TooLarge),
        "queued, it would end every link it is sent on"
    );
    let fits = vec![del("a"); 10_000];
    d.session
        .mutate(d.now, d.channel, fits, MutateOptions::default())
        .unwrap();
    let fits = vec![del("a"); 10_000];
    d.session
        .mutate(d.now, d.channel, fits, MutateOptions::default())
        .unwrap();
    d.drain();
    // The driver checks that every message keeps to the limit.
    assert_eq!(
        d.pushes().len(),
        1,
        "the window counts what goes out, so the second one waits"
    );
}

#[test]
fn an_unknown_op_ends_the_link_before_anything_of_its_patch_is_applied() {
    let mut d = Driver::live();
    d.receive(ServerKind::Patch(patch(
        1,
        2,
        vec![put_op("a", "x"), Op { kind: None }],
        vec![],
    )));
    assert!(d.closed);
    assert_eq!(d.session.record(d.channel, "cards", "a"), None);
    assert_eq!(
        d.session.cursor(d.channel),
        Some(at(1)),
        "a resume from behind the patch would leave its hole for ever"
    );
}

#[test]
fn values_that_are_not_json_end_the_link() {
    for value in [&b"{"[..], b"", b"\xff\"", b"1 2"] {
        let mut d = Driver::live();
        let mut record = card("a", "x");
        record.fields[0].value = Bytes::from_static(value);
        d.receive(ServerKind::Patch(patch(
            1,
            2,
            vec![Op {
                kind: Some(OpKind::Put(record)),
            }],
            vec![],
        )));
        assert!(d.closed);
        assert_eq!(d.session.record(d.channel, "cards", "a"), None);
    }
}

#[test]
fn numbers_out_of_range_end_the_link() {
    let huge = Cursor::new(5, u64::MAX, 0);
    let frames = [
        ServerKind::Ack(Ack {
            channel: CHANNEL.into(),
            through: u64::MAX,
            seq: 1,
        }),
        ServerKind::Need(Need {
            channel: CHANNEL.into(),
            n: u64::MAX,
            cursor: None,
        }),
        ServerKind::Patch(patch(1, 1 << 53, vec![], vec![])),
        ServerKind::Patch(patch(1, 2, vec![], vec![mid(u64::MAX)])),
        ServerKind::Heartbeat(Heartbeat {
            heads: vec![Head {
                channel: CHANNEL.into(),
                cursor: Some(huge),
            }],
            server_ms: 0,
        }),
        ServerKind::SnapshotBegin(SnapshotBegin {
            channel: CHANNEL.into(),
            // Servers refuse to be told of an epoch so high: it could never be resumed.
            cursor: Some(Cursor::new((1 << 53) - 1, 1, 1)),
            known: Some(Known {
                last: 0,
                rejected: vec![],
            }),
        }),
    ];
    for frame in frames {
        let mut d = Driver::live();
        d.receive(frame.clone());
        assert!(d.closed, "{frame:?}");
        let reason = d.session.connection().reason.clone();
        let code = ErrorCode::UnexpectedFrame;
        assert_eq!(reason, Some(Reason::Violated { code }), "{frame:?}");
    }
}

#[test]
fn a_head_with_a_lower_seq_ends_the_link() {
    let mut d = Driver::live();
    d.reconnect();
    d.resume(at(1), Cursor::new(6, 0, 1), 0);
    assert!(d.closed, "seq goes on when an epoch opens");
}

#[test]
fn a_server_that_sends_everybody_away_makes_nobody_spin() {
    let mut d = Driver::live();
    d.advance(60_000);
    let goaway = ServerKind::Goaway(Goaway {
        by_ms: 0,
        window_ms: 0,
        reason: "drain".into(),
    });
    let (opens, from) = (d.opens, d.now.mono.0);
    for _ in 0..12 {
        d.receive(goaway.clone());
        while !d.closed {
            d.wake();
        }
        while d.session.connection().phase == ConnectionPhase::Waiting {
            d.wake();
        }
        d.welcome();
        if d.opens == opens + 1 {
            assert_eq!(d.now.mono.0, from, "the first move is at once");
        }
    }
    let passed = d.now.mono.0 - from;
    assert!(passed > 20_000, "twelve moves within {passed} ms");
}

#[test]
fn need_of_what_was_never_pushed_changes_nothing() {
    let mut d = Driver::live();
    d.receive(ServerKind::Need(Need {
        channel: CHANNEL.into(),
        n: 1_000,
        cursor: None,
    }));
    d.mutate(ChangeKind::Put(card("a", "x")));
    assert_eq!(d.pushes()[0].first_n, 1);
}

#[test]
fn commands_of_one_turn_share_a_message() {
    let mut d = Driver::live();
    d.messages = 0;
    for at in 0..100 {
        let kind = Some(ChangeKind::Put(card(&at.to_string(), "x")));
        d.session
            .mutate(
                d.now,
                d.channel,
                vec![Change { kind }],
                MutateOptions::default(),
            )
            .unwrap();
        while let Some(output) = d.session.poll_ready() {
            match output {
                Output::Outbox(request) => {
                    let reply = d.store.handle(request);
                    d.session.handle_input(d.now, Input::Outbox(reply));
                }
                Output::Event(_) => {}
                other => panic!("not before the end of the turn: {other:?}"),
            }
        }
    }
    d.drain();
    assert_eq!(d.messages, 1);
    let items: usize = d.pushes().iter().map(|push| push.items.len()).sum();
    assert_eq!(items, 100);
}

#[test]
fn a_token_over_its_limit_is_not_sent() {
    let mut d = Driver::idle(Config::default());
    d.session.connect(d.now);
    d.drain();
    d.input(Input::Token(Ok("x".repeat(16 * 1024 + 1))));
    assert_eq!(d.opens, 0);
    assert_eq!(d.session.connection().phase, ConnectionPhase::Closed);
}
