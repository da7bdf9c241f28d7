//! A connection by itself: what it asks, and what it says to the answers.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::time::{MonoTime, Now, UnixTime};
use tidewire_core::wire::{
    Call, ClientKind, Codec, Cursor, ErrorCode, ErrorFrame, Fetch, Goaway, Hello, Item,
    PROTOCOL_VERSION, Ping, PresenceSet, Push, Refresh, ServerKind, Subscribe, Unsubscribe,
};

use super::*;
use crate::channel::{Author, Message, Outlet, OutletFull};
use crate::principal::{Action, AuthError, Principal};

/// A channel's task that is none.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeTask {
    head: Rc<Cell<Cursor>>,
    closed: Rc<Cell<bool>>,
}

impl FakeTask {
    pub(super) fn set_head(&self, head: Cursor) {
        self.head.set(head);
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
    }
}

impl ChannelRef for FakeTask {
    fn head(&self) -> Cursor {
        self.head.get()
    }

    fn is_closed(&self) -> bool {
        self.closed.get()
    }

    fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.head, &other.head)
    }
}

struct Nowhere;

impl Outlet for Nowhere {
    fn try_send(&self, _: &Message) -> Result<(), OutletFull> {
        Ok(())
    }
}

impl Outlets for Nowhere {
    fn outlet(self: Arc<Self>, _: &ChannelName) -> Arc<dyn Outlet> {
        self
    }
}

pub(super) fn subscriber() -> Subscriber {
    Subscriber {
        conn: PeerId(1),
        peer: PeerId(1).0,
        principal: "ana".into(),
        author: Author([0; 16]),
        outlet: Arc::new(Nowhere),
        rights: Arc::new(true),
    }
}

/// What the application allows, and what it was asked.
#[derive(Default)]
struct Door {
    read: AtomicBool,
    write: AtomicBool,
    presence: AtomicBool,
    admin: AtomicBool,
    full: AtomicBool,
    /// Questions beside those for rights.
    asked: Mutex<Vec<&'static str>>,
}

impl Access for Door {
    fn may(&self, _: &Principal, _: &ChannelName, action: Action) -> bool {
        let flag = match action {
            Action::Read => &self.read,
            Action::Write => &self.write,
            Action::Presence => &self.presence,
            Action::Publish => return false,
        };
        flag.load(Ordering::SeqCst)
    }

    fn create(&self, namespace: &str) -> Option<Create> {
        self.asked.lock().unwrap().push("create");
        match self.admin.load(Ordering::SeqCst) {
            _ if namespace == "no" => None,
            true => Some(Create::Admin),
            false => Some(Create::OnUse),
        }
    }

    fn has_room(&self, _: &ChannelName) -> bool {
        self.asked.lock().unwrap().push("room");
        !self.full.load(Ordering::SeqCst)
    }
}

/// What a connection wanted, without what was in it.
#[derive(Debug, PartialEq)]
enum Wanted {
    Authenticate(String),
    Welcomed,
    CheckOpen(String),
    Post(&'static str, Hand, &'static str),
    Limit(usize),
    Send(ServerKind),
    Fail(ErrorCode),
}

struct World {
    connection: Connection<FakeTask>,
    door: Arc<Door>,
    now: Now,
    at: Option<MonoTime>,
    reads: bool,
    rights: Option<Subscriber>,
    posted: Option<ChannelInput>,
}

fn put(flag: &AtomicBool, on: bool) {
    flag.store(on, Ordering::SeqCst);
}

impl World {
    fn with(config: ConnectionConfig) -> Self {
        let door = Arc::new(Door::default());
        for flag in [&door.read, &door.write, &door.presence] {
            put(flag, true);
        }
        let now = Now {
            mono: MonoTime(1_000),
            unix: UnixTime(1_000_000),
        };
        let parts = ConnectionParts {
            peer: PeerId(7),
            session: [3; 16],
            codec: Codec::Protobuf,
            config: Arc::new(config),
            access: Arc::clone(&door) as _,
            pace: None,
            outlets: Arc::new(Nowhere),
        };
        Self {
            connection: Connection::new(parts, now),
            door,
            now,
            at: None,
            reads: false,
            rights: None,
            posted: None,
        }
    }

    fn new() -> Self {
        Self::with(ConnectionConfig::default())
    }

    /// Somebody who was let in.
    fn welcomed() -> Self {
        let mut world = Self::new();
        world.greet();
        world
    }

    fn greet(&mut self) {
        self.say([hello()]);
        let got = self.tell(ConnectionInput::Authenticated(Ok(Principal::new("ana"))));
        assert!(matches!(got[1], Wanted::Send(ServerKind::Welcome(_))));
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono.0 += ms;
        self.now.unix.0 += ms;
    }

    fn tell(&mut self, input: ConnectionInput<FakeTask>) -> Vec<Wanted> {
        self.connection.handle_input(self.now, input);
        let mut wanted = Vec::new();
        loop {
            wanted.push(match self.connection.poll_output() {
                ConnectionOutput::Authenticate { token } => Wanted::Authenticate(token),
                ConnectionOutput::Welcomed(_) => Wanted::Welcomed,
                ConnectionOutput::CheckOpen(name) => Wanted::CheckOpen(name.to_string()),
                ConnectionOutput::Post { to, hand, input } => {
                    let to = match to {
                        To::Start { .. } => "start",
                        To::Running(_) => "running",
                        To::Task(_) => "task",
                    };
                    let what = match &input {
                        ChannelInput::Subscribe { subscriber, .. } => {
                            self.rights = Some(subscriber.clone());
                            "subscribe"
                        }
                        ChannelInput::Push { subscriber, .. } => {
                            self.rights = Some(subscriber.clone());
                            "push"
                        }
                        ChannelInput::Unsubscribe { .. } => "unsubscribe",
                        ChannelInput::Fetch { .. } => "fetch",
                        ChannelInput::SetPresence { .. } => "presence",
                        _ => "other",
                    };
                    self.posted = Some(input);
                    Wanted::Post(to, hand, what)
                }
                ConnectionOutput::MessageBytesMax(bytes) => Wanted::Limit(bytes),
                ConnectionOutput::Send(frame) => Wanted::Send(frame),
                ConnectionOutput::Fail(fault) => Wanted::Fail(fault.code),
                ConnectionOutput::Wait { at, reads } => {
                    (self.at, self.reads) = (at, reads);
                    return wanted;
                }
            });
        }
    }

    fn say(&mut self, frames: impl IntoIterator<Item = ClientKind>) -> Vec<Wanted> {
        let mut message = bytes::BytesMut::new();
        for frame in frames {
            Codec::Protobuf.encode_client(frame, &mut message);
        }
        self.tell(ConnectionInput::Message(message.freeze()))
    }

    fn subscribe(&mut self, name: &str) -> FakeTask {
        let task = FakeTask::default();
        assert_eq!(
            self.say([subscribe(name)]),
            [Wanted::Post("start", Hand::Waiting, "subscribe")]
        );
        assert!(!self.reads);
        assert_eq!(self.posted(Posted::Taken(task.clone())), []);
        task
    }

    fn posted(&mut self, posted: Posted<FakeTask>) -> Vec<Wanted> {
        self.tell(ConnectionInput::Posted(posted))
    }

    /// What was posted last comes back.
    fn closed(&mut self) -> Vec<Wanted> {
        let input = self.posted.take().expect("something was posted");
        self.posted(Posted::Closed(input))
    }

    fn may_write(&self) -> bool {
        let subscriber = self.rights.as_ref().unwrap();
        subscriber.rights.may_write(&"board:a".parse().unwrap())
    }
}

fn hello() -> ClientKind {
    ClientKind::Hello(Hello {
        version: PROTOCOL_VERSION,
        token: "t".into(),
        client: vec![1; 16].into(),
        ..Hello::default()
    })
}

fn subscribe(name: &str) -> ClientKind {
    ClientKind::Subscribe(Subscribe {
        channel: name.into(),
        ..Subscribe::default()
    })
}

fn push(name: &str) -> ClientKind {
    ClientKind::Push(Push {
        channel: name.into(),
        first_n: 1,
        low: 1,
        items: vec![Item::default()],
        ..Push::default()
    })
}

fn ping(t: u64) -> ClientKind {
    ClientKind::Ping(Ping { t })
}

fn refresh() -> ClientKind {
    ClientKind::Refresh(Refresh { token: "u".into() })
}

fn refused(wanted: &[Wanted]) -> Option<(ErrorCode, Option<&str>)> {
    wanted.iter().find_map(|wanted| match wanted {
        Wanted::Send(ServerKind::Error(ErrorFrame { code, channel, .. })) => {
            let code = ErrorCode::ALL.iter().find(|known| **known as u32 == *code);
            Some((*code?, channel.as_deref()))
        }
        _ => None,
    })
}

fn is_lagged(wanted: &[Wanted]) -> bool {
    matches!(wanted, [Wanted::Send(ServerKind::Lagged(_))])
}

fn is_held(wanted: &[Wanted]) -> bool {
    matches!(wanted, [Wanted::Send(ServerKind::Hold(_))])
}

#[test]
fn frames_behind_hello_wait_for_the_welcome_and_nothing_more_is_read() {
    let mut world = World::new();
    let wanted = world.say([hello(), ping(1), ping(2)]);
    assert_eq!(wanted, [Wanted::Authenticate("t".into())]);
    assert!(!world.reads);
    assert_eq!(world.at, None, "the driver bounds authenticate");
    let wanted = world.tell(ConnectionInput::Authenticated(Ok(Principal::new("ana"))));
    let pong = |t| Wanted::Send(ServerKind::Pong(tidewire_core::wire::Pong { t }));
    // Its session can be found before it is told of it.
    assert_eq!(wanted[0], Wanted::Welcomed);
    assert!(matches!(&wanted[1], Wanted::Send(ServerKind::Welcome(w)) if w.principal == "ana"));
    assert_eq!(wanted[2..], [pong(1), pong(2)]);
    assert!(world.reads);
}

#[test]
fn a_token_of_another_author_than_the_stores_gets_nobody_in() {
    let ana = Principal::new("ana").author(&[7; 16]);
    for (expected, is_welcome) in [(&ana.0[..], true), (&[1; 16], false), (&[1], false)] {
        let mut world = World::new();
        let hello = ClientKind::Hello(Hello {
            version: PROTOCOL_VERSION,
            token: "t".into(),
            client: Bytes::from_static(&[7; 16]),
            expect_author: Bytes::copy_from_slice(expected),
            ..Hello::default()
        });
        world.say([hello, ping(1)]);
        let wanted = world.tell(ConnectionInput::Authenticated(Ok(Principal::new("ana"))));
        match is_welcome {
            true => assert_eq!(wanted[0], Wanted::Welcomed),
            false => assert_eq!(wanted, [Wanted::Fail(ErrorCode::WrongPrincipal)]),
        }
    }
}

#[test]
fn a_slow_authenticate_is_no_silence_and_heartbeats_begin_after_it() {
    let mut world = World::new();
    world.say([hello()]);
    world.pass(80_000);
    assert_eq!(world.tell(ConnectionInput::Timeout), []);
    world.tell(ConnectionInput::Authenticated(Ok(Principal::new("ana"))));
    assert!(world.connection.is_welcomed());
    let wanted = world.tell(ConnectionInput::Timeout);
    assert!(matches!(
        wanted[..],
        [Wanted::Send(ServerKind::Heartbeat(_))]
    ));
}

#[test]
fn without_hello_it_ends_in_time_and_a_second_hello_ends_it_too() {
    let mut world = World::new();
    world.tell(ConnectionInput::Heard);
    assert_eq!(world.at, Some(MonoTime(6_000)));
    world.pass(5_000);
    let wanted = world.tell(ConnectionInput::Timeout);
    assert_eq!(wanted, [Wanted::Fail(ErrorCode::HelloTimeout)]);
    assert_eq!((world.at, world.reads), (None, false));
    let mut world = World::welcomed();
    let wanted = world.say([hello()]);
    assert_eq!(wanted, [Wanted::Fail(ErrorCode::UnexpectedFrame)]);
}

#[test]
fn silence_ends_it_and_being_heard_puts_that_off() {
    let mut world = World::welcomed();
    for _ in 0..2 {
        world.pass(74_999);
        assert!(matches!(
            world.tell(ConnectionInput::Timeout)[..],
            [Wanted::Send(_)]
        ));
        world.tell(ConnectionInput::Heard);
    }
    world.pass(75_000);
    let wanted = world.tell(ConnectionInput::Timeout);
    assert_eq!(wanted, [Wanted::Fail(ErrorCode::HeartbeatTimeout)]);
}

#[test]
fn a_token_ends_with_its_time_unless_it_was_renewed() {
    let mut world = World::new();
    world.say([hello()]);
    let until = |at| Ok(Principal::new("ana").expires(UnixTime(at)));
    world.tell(ConnectionInput::Authenticated(until(1_010_000)));
    assert_eq!(world.at, Some(MonoTime(11_000)));
    world.pass(6_000);
    assert_eq!(world.say([refresh()]), [Wanted::Authenticate("u".into())]);
    let wanted = world.tell(ConnectionInput::Authenticated(until(1_020_000)));
    assert!(
        matches!(wanted[..], [Wanted::Send(ServerKind::Refreshed(r))] if r.expires_ms == 1_020_000)
    );
    world.pass(13_999);
    assert_eq!(world.tell(ConnectionInput::Timeout), []);
    world.pass(1);
    let wanted = world.tell(ConnectionInput::Timeout);
    assert_eq!(wanted, [Wanted::Fail(ErrorCode::TokenExpired)]);
}

#[test]
fn a_token_that_came_in_time_is_looked_at_before_the_old_one_ends_the_connection() {
    let mut world = World::new();
    world.say([hello()]);
    let until = |at| Ok(Principal::new("ana").expires(UnixTime(at)));
    world.tell(ConnectionInput::Authenticated(until(1_010_000)));
    world.pass(9_999);
    world.say([refresh()]);
    world.pass(5_000);
    assert_eq!(world.tell(ConnectionInput::Timeout), []);
    let down = ConnectionInput::Authenticated(Err(AuthError::retryable("down")));
    assert_eq!(world.tell(down).len(), 1);
    let wanted = world.tell(ConnectionInput::Timeout);
    assert_eq!(wanted, [Wanted::Fail(ErrorCode::TokenExpired)]);
}

#[test]
fn another_principal_ends_it_and_a_check_that_failed_leaves_the_old_token() {
    let mut world = World::welcomed();
    world.say([refresh()]);
    let down = AuthError::retryable("down");
    let wanted = world.tell(ConnectionInput::Authenticated(Err(down)));
    assert_eq!(refused(&wanted), Some((ErrorCode::AuthUnavailable, None)));
    world.pass(5_000);
    world.say([refresh()]);
    let wanted = world.tell(ConnectionInput::Authenticated(Ok(Principal::new("eve"))));
    assert_eq!(wanted, [Wanted::Fail(ErrorCode::Unauthenticated)]);
}

#[test]
fn tokens_that_come_too_soon_are_not_looked_at() {
    let mut world = World::welcomed();
    for _ in 0..4 {
        assert_eq!(world.say([refresh()]), [Wanted::Authenticate("u".into())]);
        world.tell(ConnectionInput::Authenticated(Ok(Principal::new("ana"))));
    }
    world.pass(4_000);
    let wanted = world.say(std::iter::repeat_n(refresh(), 100));
    assert_eq!(wanted.len(), 100);
    let told = |wanted: &Wanted| matches!(wanted, Wanted::Send(ServerKind::Error(e)) if e.retry_ms == Some(1_000) && !e.fatal);
    assert!(wanted.iter().all(told), "{wanted:?}");
    world.pass(1_000);
    assert_eq!(world.say([refresh()]), [Wanted::Authenticate("u".into())]);
}

#[test]
fn a_token_that_grants_less_ends_what_it_no_longer_grants() {
    let mut world = World::welcomed();
    world.subscribe("a:b");
    put(&world.door.presence, false);
    world.say([refresh()]);
    let again = || ConnectionInput::Authenticated(Ok(Principal::new("ana")));
    let wanted = world.tell(again());
    assert_eq!(
        wanted[1..],
        [Wanted::Post("task", Hand::Always, "presence")]
    );
    put(&world.door.read, false);
    world.pass(5_000);
    world.say([refresh()]);
    let wanted = world.tell(again());
    assert_eq!(wanted[1], Wanted::Post("task", Hand::Always, "unsubscribe"));
    assert_eq!(refused(&wanted), Some((ErrorCode::Forbidden, Some("a:b"))));
    assert_eq!(world.connection.subscriptions(), 0);
}

#[test]
fn who_may_do_nothing_starts_nothing_and_learns_nothing() {
    let mut world = World::welcomed();
    put(&world.door.read, false);
    put(&world.door.write, false);
    put(&world.door.admin, true);
    put(&world.door.full, true);
    for name in ["a:b", "no:b"] {
        for frame in [subscribe(name), push(name)] {
            let wanted = world.say([frame]);
            assert_eq!(wanted.len(), 1, "{wanted:?}");
            assert_eq!(refused(&wanted), Some((ErrorCode::Forbidden, Some(name))));
        }
    }
    assert!(world.door.asked.lock().unwrap().is_empty());
}

#[test]
fn who_may_only_read_reaches_channels_that_run_but_starts_none_with_a_push() {
    let mut world = World::welcomed();
    put(&world.door.write, false);
    let posted = [Wanted::Post("running", Hand::Trying, "push")];
    assert_eq!(world.say([push("a:b")]), posted);
    assert!(!world.may_write());
    assert_eq!(world.posted(Posted::Taken(FakeTask::default())), []);
    assert_eq!(world.say([push("a:b")]), posted);
    assert!(is_lagged(&world.closed()), "it may read, which starts it");
    // Subscribed, it runs for this reader anyway: what was logged before is acked.
    world.subscribe("a:b");
    let wanted = world.say([push("a:b")]);
    assert_eq!(wanted, [Wanted::Post("start", Hand::Trying, "push")]);
}

#[test]
fn the_right_to_write_is_that_of_the_moment_when_it_is_asked() {
    let mut world = World::welcomed();
    world.say([push("a:b")]);
    assert!(world.may_write());
    put(&world.door.write, false);
    assert!(!world.may_write(), "the push waits in the channel");
}

#[test]
fn what_becomes_of_a_full_inbox_depends_on_what_was_for_it() {
    let mut world = World::welcomed();
    world.say([push("a:b")]);
    assert!(is_held(&world.posted(Posted::Full)));
    world.say([push("a:b")]);
    assert!(is_held(&world.posted(Posted::TooMany)));
    world.say([subscribe("a:b")]);
    let wanted = world.posted(Posted::TooMany);
    assert_eq!(refused(&wanted), Some((ErrorCode::Overloaded, Some("a:b"))));
    world.subscribe("a:b");
    let fetch = ClientKind::Fetch(Fetch {
        channel: "a:b".into(),
        ..Fetch::default()
    });
    let presence = ClientKind::PresenceSet(PresenceSet {
        channel: "a:b".into(),
        data: Some(Bytes::from_static(b"1")),
    });
    let wanted = world.say([fetch]);
    assert_eq!(wanted, [Wanted::Post("task", Hand::Trying, "fetch")]);
    let wanted = world.posted(Posted::Full);
    assert_eq!(refused(&wanted), Some((ErrorCode::Overloaded, Some("a:b"))));
    // A client says its presence once: refused for want of room it would stay unseen.
    let wanted = world.say([presence]);
    assert_eq!(wanted, [Wanted::Post("task", Hand::Waiting, "presence")]);
}

#[test]
fn a_task_that_was_replaced_is_told_as_lagged_until_the_client_subscribes_again() {
    let mut world = World::welcomed();
    world.subscribe("a:b");
    world.say([push("a:b")]);
    assert!(is_lagged(&world.posted(Posted::Taken(FakeTask::default()))));
    // Found out by a frame that needs it, and by the heartbeat.
    world.subscribe("a:b");
    world.say([ClientKind::Fetch(Fetch {
        channel: "a:b".into(),
        ..Fetch::default()
    })]);
    assert!(is_lagged(&world.closed()));
    let task = world.subscribe("a:b");
    task.close();
    world.pass(25_000);
    for _ in 0..2 {
        // The first one may have been lost on its way.
        let wanted = world.tell(ConnectionInput::Timeout);
        assert!(is_lagged(&wanted[..1]) && wanted.len() == 2, "{wanted:?}");
        world.pass(25_000);
    }
    world.tell(ConnectionInput::Heard);
    world.subscribe("a:b");
    let wanted = world.tell(ConnectionInput::Timeout);
    assert!(matches!(
        wanted[..],
        [Wanted::Send(ServerKind::Heartbeat(_))]
    ));
}

#[test]
fn what_an_ended_task_gives_back_starts_the_next_one() {
    let mut world = World::welcomed();
    world.subscribe("a:b");
    world.say([push("a:b")]);
    assert_eq!(
        world.closed(),
        [Wanted::Post("start", Hand::Trying, "push")]
    );
    assert!(is_lagged(&world.posted(Posted::Taken(FakeTask::default()))));
    world.say([subscribe("a:b")]);
    let again = [Wanted::Post("start", Hand::Waiting, "subscribe")];
    assert_eq!(world.closed(), again);
    assert_eq!(world.posted(Posted::Taken(FakeTask::default())), []);
    assert_eq!(world.connection.subscriptions(), 1);
}

#[test]
fn a_right_that_was_lost_meanwhile_starts_no_next_task() {
    let mut world = World::welcomed();
    world.subscribe("a:b");
    world.say([push("a:b")]);
    put(&world.door.write, false);
    assert!(is_lagged(&world.closed()), "a subscription may start it");
    world.say([push("a:b")]);
    put(&world.door.read, false);
    let forbidden = Some((ErrorCode::Forbidden, Some("a:b")));
    assert_eq!(refused(&world.closed()), forbidden);
    put(&world.door.read, true);
    world.say([subscribe("a:b")]);
    put(&world.door.read, false);
    assert_eq!(refused(&world.closed()), forbidden);
}

#[test]
fn channels_that_an_operator_creates_are_asked_for_first() {
    let mut world = World::welcomed();
    put(&world.door.admin, true);
    for (answer, code) in [
        (Some(false), Some(ErrorCode::UnknownChannel)),
        (None, Some(ErrorCode::Overloaded)),
        (Some(true), None),
    ] {
        let wanted = world.say([subscribe("a:b")]);
        assert_eq!(wanted, [Wanted::CheckOpen("a:b".into())]);
        let wanted = world.tell(ConnectionInput::Opened(answer));
        assert_eq!(refused(&wanted).map(|(code, _)| code), code);
        if code.is_none() {
            assert_eq!(wanted, [Wanted::Post("start", Hand::Waiting, "subscribe")]);
        }
    }
}

#[test]
fn whoever_ends_is_subscribed_nowhere_also_what_still_waits_for_room() {
    let mut world = World::welcomed();
    world.subscribe("a:b");
    world.subscribe("a:c");
    world.say([subscribe("a:c")]);
    let wanted = world.tell(ConnectionInput::Gone { cleanly: true });
    let gone = |to| Wanted::Post(to, Hand::Always, "unsubscribe");
    assert_eq!(wanted, [gone("task"), gone("running")]);
    assert_eq!((world.at, world.reads), (None, false));
    assert_eq!(world.posted(Posted::Taken(FakeTask::default())), []);
}

#[test]
fn frames_are_paid_for_one_by_one() {
    let mut world = World::with(ConnectionConfig {
        frames_burst: 10,
        frames_per_second: 100,
        ..ConnectionConfig::default()
    });
    world.greet();
    let wanted = world.say((0..30).map(ping));
    assert_eq!(wanted.len(), 9, "hello was one");
    assert!(!world.reads);
    let mut answered = wanted.len();
    for _ in 0..20 {
        if world.reads {
            break;
        }
        let at = world.at.expect("it goes on by itself");
        world.pass(at.since(world.now.mono).as_millis() as u64);
        answered += world.tell(ConnectionInput::Timeout).len();
    }
    assert_eq!(answered, 30);
    assert_eq!(
        world.now.mono.since(MonoTime(1_000)),
        Duration::from_millis(220)
    );
    assert!(world.reads);
}

#[test]
fn frames_of_one_message_are_bounded() {
    let mut world = World::welcomed();
    assert_eq!(world.say((0..3_999).map(ping)).len(), 3_999);
    let wanted = world.say((0..4_097).map(ping));
    assert_eq!(wanted, [Wanted::Fail(ErrorCode::UnexpectedFrame)]);
}

#[test]
fn names_of_routes_are_cut_before_they_are_escaped() {
    let mut world = World::welcomed();
    let route = "\u{7f}".repeat(100 * 1024);
    let wanted = world.say([ClientKind::Call(Call {
        route,
        ..Call::default()
    })]);
    let [Wanted::Send(ServerKind::Reply(reply))] = &wanted[..] else {
        panic!("{wanted:?}");
    };
    assert!(reply.detail.len() < 1024 && reply.detail.starts_with("no route"));
}

#[test]
fn who_is_not_let_in_yet_is_asked_to_leave_after_the_welcome() {
    let goaway = Goaway {
        by_ms: 5,
        ..Goaway::default()
    };
    let mut world = World::new();
    assert_eq!(world.tell(ConnectionInput::Drain(goaway.clone())), []);
    world.say([hello()]);
    let wanted = world.tell(ConnectionInput::Authenticated(Ok(Principal::new("ana"))));
    assert_eq!(wanted[2], Wanted::Send(ServerKind::Goaway(goaway.clone())));
    let wanted = world.tell(ConnectionInput::Drain(goaway.clone()));
    assert_eq!(wanted, [Wanted::Send(ServerKind::Goaway(goaway))]);
}

#[test]
fn after_unsubscribe_the_channel_is_let_go_and_the_limit_counts_what_is_open() {
    let mut config = ConnectionConfig::default();
    config.limits.subscriptions = 1;
    let mut world = World::with(config);
    world.greet();
    world.subscribe("a:b");
    let wanted = world.say([subscribe("a:c")]);
    let code = ErrorCode::TooManySubscriptions;
    assert_eq!(refused(&wanted), Some((code, Some("a:c"))));
    let wanted = world.say([ClientKind::Unsubscribe(Unsubscribe {
        channel: "a:b".into(),
    })]);
    assert_eq!(wanted, [Wanted::Post("task", Hand::Always, "unsubscribe")]);
    world.subscribe("a:c");
}
