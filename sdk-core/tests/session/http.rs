//! Links over HTTP: what goes up in which request, and what each answer means.

use tidewire_core::event_stream::StreamEvent;

use crate::support::*;

/// Over this one transport, dialled and not answered.
pub(crate) fn dialled(kind: TransportKind) -> Driver {
    let mut config = Config::default();
    config.transports = vec![kind];
    let mut d = Driver::idle(config);
    d.session.connect(d.now);
    d.drain();
    d.channel = d
        .session
        .subscribe(d.now, CHANNEL.parse().unwrap())
        .unwrap();
    d.drain();
    d.input(Input::Token(Ok("t".into())));
    d
}

impl Driver {
    pub(crate) fn http_welcome(&self) -> ServerKind {
        match self.welcome_frame() {
            ServerKind::Welcome(welcome) => ServerKind::Welcome(Welcome {
                home: 0x0102_0304,
                flags: 1,
                fallback_poll_ms: 3_000,
                ..welcome
            }),
            other => other,
        }
    }

    /// The oldest request that nobody has taken out.
    #[track_caller]
    pub(crate) fn take_request(&mut self) -> Asked {
        assert!(!self.requests.is_empty(), "no request");
        self.requests.remove(0)
    }

    pub(crate) fn event(&mut self, message: &[u8]) {
        let event = stream_event("message", &base64(message));
        let conn = self.conn;
        self.input(Input::Event { conn, event });
    }

    pub(crate) fn respond(&mut self, asked: &Asked, status: u16, body: Bytes) {
        let response = HttpResponse {
            status,
            body,
            ..HttpResponse::default()
        };
        self.respond_with(asked, response);
    }

    pub(crate) fn respond_with(&mut self, asked: &Asked, response: HttpResponse) {
        let (conn, request) = (asked.conn, asked.request);
        self.input(Input::Response {
            conn,
            request,
            response,
        });
    }
}

pub(crate) fn stream_event(kind: &str, data: &str) -> StreamEvent {
    StreamEvent {
        kind: kind.into(),
        data: data.into(),
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at > chunk.len() { '=' } else { digit.into() });
        }
    }
    text
}

pub(crate) fn refusal(code: ErrorCode, retry_ms: Option<u32>) -> Bytes {
    server_message(ServerKind::Error(ErrorFrame {
        code: code as u32,
        fatal: true,
        retry_ms,
        detail: "because".into(),
        ..ErrorFrame::default()
    }))
}

fn put(id: &str) -> ChangeKind {
    ChangeKind::Put(card(id, "x"))
}

fn hello_of(asked: &Asked) -> wire::Hello {
    match &asked.frames[0] {
        ClientKind::Hello(hello) => hello.clone(),
        other => panic!("{other:?}"),
    }
}

fn ack(through: u64) -> Bytes {
    server_message(ServerKind::Ack(Ack {
        channel: CHANNEL.into(),
        through,
        seq: 2,
    }))
}

fn posts(d: &mut Driver) -> Vec<Asked> {
    let (posts, others) = std::mem::take(&mut d.requests)
        .into_iter()
        .partition(|asked| asked.door == Door::Push);
    d.requests = others;
    posts
}

#[track_caller]
fn post(d: &mut Driver) -> Asked {
    let mut posts = posts(d);
    assert_eq!(posts.len(), 1, "{posts:?}");
    posts.remove(0)
}

fn names(asked: &Asked) -> Vec<&'static str> {
    let names = asked.frames.iter().map(|frame| match frame {
        ClientKind::Hello(_) => "hello",
        ClientKind::Subscribe(_) => "subscribe",
        ClientKind::Unsubscribe(_) => "unsubscribe",
        ClientKind::Push(_) => "push",
        ClientKind::Pong(_) => "pong",
        ClientKind::Ping(_) => "ping",
        ClientKind::Refresh(_) => "refresh",
        _ => "other",
    });
    names.collect()
}

#[test]
fn a_stream_is_opened_by_a_hello_and_each_post_names_its_session() {
    let mut d = dialled(TransportKind::Sse);
    assert_eq!(d.requests[0].door, Door::Stream);
    let hello = hello_of(&d.requests[0]);
    assert_eq!(
        (hello.poll, hello.session.len(), hello.expect_author.len()),
        (0, 0, 0)
    );
    d.requests.clear();
    d.input(Input::Opened { conn: d.conn });
    d.event(&server_message(d.http_welcome()));
    assert_eq!(d.session.connection().transport, Some(TransportKind::Sse));
    let posted = post(&mut d);
    assert_eq!(names(&posted), ["hello", "subscribe"]);
    let hello = hello_of(&posted);
    assert_eq!(hello.session[..4], [1, 2, 3, 4]);
    assert_eq!(hello.session[4..], [9; 16]);
    assert_eq!(hello.expect_author[..], AUTHOR);
    assert_eq!(hello.poll, 1, "POSTs are counted");
}

#[test]
fn polls_are_numbered_and_each_whole_answer_is_followed_by_the_next_one() {
    let mut d = dialled(TransportKind::LongPoll);
    let first = d.take_request();
    assert_eq!((first.door, hello_of(&first).poll), (Door::Poll, 1));
    d.respond(&first, 200, server_message(d.http_welcome()));
    let _ = posts(&mut d);
    let second = d.take_request();
    let hello = hello_of(&second);
    assert_eq!(
        (second.door, hello.poll, hello.session.len()),
        (Door::Poll, 2, 20)
    );
    d.advance(20_000);
    d.respond(&second, 200, Bytes::new());
    assert_eq!(hello_of(&d.take_request()).poll, 3);
}

#[test]
fn a_first_answer_that_says_nothing_is_no_session() {
    let mut d = dialled(TransportKind::LongPoll);
    let opened = d.take_request();
    d.respond(&opened, 200, Bytes::new());
    assert!(d.requests.is_empty(), "{:?}", d.requests);
    let state = d.session.connection();
    assert_eq!(state.phase, ConnectionPhase::Waiting);
    let detail = state.reason.as_ref().unwrap().detail();
    assert!(detail.contains("says nothing"), "{detail}");
}

#[test]
fn a_poll_that_says_nothing_makes_nobody_spin_and_one_that_is_not_held_waits_for_its_pause() {
    let mut d = Driver::live_over(TransportKind::LongPoll);
    let poll = d.take_request();
    d.respond(&poll, 200, Bytes::new());
    assert_eq!(posts(&mut d).len() + d.requests.len(), 0);
    d.advance(1_000);
    let poll = d.take_request();
    d.respond_with(
        &poll,
        HttpResponse {
            status: 200,
            unheld: true,
            ..HttpResponse::default()
        },
    );
    d.advance(2_999);
    assert!(d.requests.is_empty());
    d.advance(1);
    assert_eq!(d.requests.len(), 1);
}

#[test]
fn one_post_is_under_way_and_what_comes_meanwhile_goes_with_the_next() {
    let mut d = Driver::live_over(TransportKind::Sse);
    d.mutate(put("a"));
    let first = post(&mut d);
    assert_eq!(names(&first), ["hello", "push"]);
    d.mutate(put("b"));
    d.mutate(put("c"));
    assert!(posts(&mut d).is_empty());
    d.respond(&first, 200, ack(1));
    let second = post(&mut d);
    assert_eq!(names(&second)[..2], ["hello", "push"]);
    assert_eq!(d.links.len(), 1);
}

#[test]
fn a_post_that_fails_goes_again_after_a_pause_with_what_came_meanwhile() {
    let mut d = Driver::live_over(TransportKind::Sse);
    d.mutate(put("a"));
    let first = post(&mut d);
    d.respond(&first, 0, Bytes::new());
    d.mutate(put("b"));
    assert!(posts(&mut d).is_empty(), "it holds");
    d.advance(1_000);
    let again = post(&mut d);
    assert_eq!(again.frames[1], first.frames[1]);
    d.respond(&first, 200, ack(9));
    assert!(posts(&mut d).is_empty(), "a late answer counts no more");
}

#[test]
fn retry_after_is_a_floor_for_the_next_post() {
    for (status, body, retry_after) in [
        (503, Bytes::new(), Some(7)),
        (429, refusal(ErrorCode::RateLimited, Some(7_000)), None),
    ] {
        let mut d = Driver::live_over(TransportKind::Sse);
        d.mutate(put("a"));
        let first = post(&mut d);
        d.respond_with(
            &first,
            HttpResponse {
                status,
                body,
                retry_after: retry_after.map(std::time::Duration::from_secs),
                ..HttpResponse::default()
            },
        );
        d.advance(6_999);
        assert!(posts(&mut d).is_empty(), "{status}");
        d.advance(1_001);
        assert_eq!(posts(&mut d).len(), 1, "{status}");
    }
}

#[test]
fn three_posts_that_fail_in_a_row_end_the_link_but_the_servers_own_word_does_not() {
    for (body, ends) in [
        (Bytes::new(), true),
        (Bytes::from_static(b"<html>"), true),
        (refusal(ErrorCode::Overloaded, Some(10)), false),
    ] {
        let mut d = Driver::live_over(TransportKind::Sse);
        d.mutate(put("a"));
        for _ in 0..3 {
            let posted = post(&mut d);
            d.respond(&posted, 503, body.clone());
            if !d.closed {
                d.advance(4_100);
            }
        }
        assert_eq!(d.closed, ends, "{body:?}");
    }
}

#[test]
fn a_post_without_an_answer_is_given_up_after_fifteen_seconds() {
    let mut d = Driver::live_over(TransportKind::LongPoll);
    d.mutate(put("a"));
    let first = post(&mut d);
    d.advance(14_999);
    assert!(d.aborted.is_empty());
    d.advance(1);
    assert_eq!(d.aborted, [first.request]);
}

#[test]
fn a_token_that_is_refused_is_fetched_once_sent_and_the_post_repeated() {
    let mut d = Driver::live_over(TransportKind::Sse);
    d.mutate(put("a"));
    let first = post(&mut d);
    let fetches = d.token_fetches;
    d.respond(&first, 401, refusal(ErrorCode::TokenExpired, None));
    assert_eq!(d.token_fetches, fetches + 1);
    d.advance(2_000);
    assert!(posts(&mut d).is_empty(), "not with the old token");
    d.input(Input::Token(Ok("new".into())));
    let again = post(&mut d);
    assert_eq!(hello_of(&again).token, "new");
    assert_eq!(again.frames[1], first.frames[1]);
    assert!(names(&again).contains(&"refresh"));
    d.respond(&again, 401, refusal(ErrorCode::TokenExpired, None));
    assert!(d.closed, "once");
    assert_eq!(d.session.connection().phase, ConnectionPhase::Waiting);
}

#[test]
fn anything_but_a_whole_200_to_a_poll_opens_another_session_with_the_cursors() {
    for (status, body) in [
        (0, Bytes::new()),
        (409, refusal(ErrorCode::UnexpectedFrame, None)),
        (410, refusal(ErrorCode::Moved, None)),
        (502, Bytes::from_static(b"<html>")),
        (204, Bytes::new()),
    ] {
        let mut d = Driver::live_over(TransportKind::LongPoll);
        let poll = d.take_request();
        d.respond(&poll, status, body);
        assert!(d.closed, "{status}");
        let state = d.session.connection();
        assert_eq!(state.phase, ConnectionPhase::Waiting, "{status}");
        d.wake();
        d.input(Input::Token(Ok("t".into())));
        let opened = d.take_request();
        let hello = hello_of(&opened);
        assert_eq!((hello.poll, hello.session.len()), (1, 0), "{status}");
        assert_eq!(hello.continues[..], [9; 16]);
        d.respond(&opened, 200, server_message(d.http_welcome()));
        let subscribe = post(&mut d);
        match &subscribe.frames[1] {
            ClientKind::Subscribe(subscribe) => {
                assert_eq!(subscribe.have, Some(Cursor::new(5, 1, 11)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn of_a_posts_answer_only_answers_count() {
    let mut d = Driver::live_over(TransportKind::Sse);
    let handle = d.mutate(put("a"));
    let posted = post(&mut d);
    let mut body = BytesMut::new();
    encode_server(ServerKind::Patch(patch(1, 2, vec![], vec![])), &mut body);
    encode_server(
        ServerKind::Lagged(Lagged {
            channel: CHANNEL.into(),
        }),
        &mut body,
    );
    body.extend_from_slice(&ack(1));
    d.respond(&posted, 200, body.freeze());
    assert_eq!(d.session.cursor(d.channel), Some(Cursor::new(5, 1, 11)));
    assert!(posts(&mut d).is_empty(), "nothing is subscribed anew");
    assert!(matches!(
        d.session.mutation_status(handle),
        Some(MutationStatus::Accepted { .. })
    ));
}

#[test]
fn every_second_heartbeat_of_a_stream_is_answered_unless_something_was_posted() {
    let mut d = Driver::live_over(TransportKind::Sse);
    let beat = server_message(ServerKind::Heartbeat(Heartbeat::default()));
    d.event(&beat);
    assert!(posts(&mut d).is_empty());
    d.event(&beat);
    let posted = post(&mut d);
    assert_eq!(names(&posted), ["hello", "pong"]);
    d.respond(&posted, 200, Bytes::new());
    d.event(&beat);
    d.mutate(put("a"));
    let posted = post(&mut d);
    d.respond(&posted, 200, ack(1));
    d.event(&beat);
    assert!(posts(&mut d).is_empty(), "it heard of us since");

    let mut d = Driver::live_over(TransportKind::LongPoll);
    for _ in 0..4 {
        let poll = d.take_request();
        d.respond(&poll, 200, beat.clone());
    }
    assert!(posts(&mut d).is_empty(), "polls are the sign of life");
}

#[test]
fn answers_to_posts_are_no_sign_of_life_of_the_stream() {
    let mut d = Driver::live_over(TransportKind::Sse);
    for _ in 0..4 {
        d.advance(9_000);
        if d.closed {
            break;
        }
        d.mutate(put("a"));
        for posted in posts(&mut d) {
            let through = posted.frames.iter().find_map(|frame| match frame {
                ClientKind::Push(push) => Some(push.first_n + push.items.len() as u64 - 1),
                _ => None,
            });
            d.respond(&posted, 200, through.map_or(Bytes::new(), ack));
        }
    }
    assert!(d.closed, "silent for 36 s");
}

#[test]
fn whoever_leaves_says_so_with_the_last_post() {
    let mut d = Driver::live_over(TransportKind::LongPoll);
    d.requests.clear();
    d.session.close(d.now);
    d.drain();
    let last = post(&mut d);
    assert!(last.last);
    assert_eq!(names(&last), ["hello", "unsubscribe"]);
    assert!(d.closed);
}

#[test]
fn what_stands_in_an_event_and_is_no_message_ends_the_link() {
    for (kind, data, ends) in [
        ("message", "no base64", true),
        ("b64", "AAA", true),
        ("message", "/////w==", true),
        ("message", "", false),
        ("of a later version", "!", false),
    ] {
        let mut d = Driver::live_over(TransportKind::Sse);
        let (conn, event) = (d.conn, stream_event(kind, data));
        d.input(Input::Event { conn, event });
        assert_eq!(d.closed, ends, "{kind:?} {data:?}");
    }
}

#[test]
fn a_stream_that_is_refused_or_is_none_is_no_link() {
    for (status, body, ends) in [
        (200, Bytes::from_static(b"<html>"), false),
        (302, Bytes::new(), false),
        (404, refusal(ErrorCode::Unsupported, None), false),
        (403, refusal(ErrorCode::Forbidden, None), true),
        (503, refusal(ErrorCode::GoingAway, Some(1_000)), false),
    ] {
        let mut d = dialled(TransportKind::Sse);
        let opened = d.take_request();
        d.respond(&opened, status, body);
        let expected = match ends {
            true => ConnectionPhase::Closed,
            false => ConnectionPhase::Waiting,
        };
        assert_eq!(d.session.connection().phase, expected, "{status}");
    }
}
