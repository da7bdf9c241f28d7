//! A link over HTTP: what goes up in which request, and what a response means (docs/protocol/http.md).
//!
//! Invariant: one POST is under way at a time, and what it said is kept until it is answered: it goes again, in its
//! order. Each poll has its number, and whatever answers one but a whole 200 ends the link, since a message may be
//! lost.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;

use crate::connect::Backoff;
use crate::io::{ConnId, Door, HttpResponse, Output, Reason, RequestId, TransportKind};
use crate::planted;
use crate::time::MonoTime;
use crate::wire::{
    self, ClientKind, Codec, ErrorFrame, Hello, Limits, Received, ServerKind, Welcome,
};

/// A POST that is not answered for so long has failed: the server answers within 8 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// So many POSTs that fail in a row show that the link is of no use.
const FAILURES_MAX: u32 = 3;

/// Between a poll and the next one, if it said nothing: whoever does not hold polls makes nobody spin.
const EMPTY_POLL_MIN: Duration = Duration::from_secs(1);

/// What waits for the POST under way. Policy: past this the server does not answer, and the link is given up.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One link over HTTP, from its first request on.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) conn: ConnId,
    kind: TransportKind,
    /// The first frame of every body.
    hello: Hello,
    /// Bytes of a body; `None`: nothing is posted before `welcome`.
    body_bytes_max: Option<usize>,
    /// The stream, or the poll that is under way, and since when.
    down: Option<(RequestId, MonoTime)>,
    /// Not before this.
    poll_at: MonoTime,
    /// After a poll that was not held and said nothing.
    poll_pause: Duration,
    post: Option<Post>,
    /// Counts POSTs, so that one that comes late changes nothing.
    posts: u32,
    /// Frames that go with the next POST.
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    failures: u32,
    /// The last answer was 401.
    refused_once: bool,
    backoff: Backoff,
    /// Heartbeats since something was posted.
    beats: u32,
}

/// What was posted and not answered.
#[derive(Debug)]
struct Post {
    /// `None`: it failed, and goes again.
    request: Option<RequestId>,
    frames: Bytes,
    /// When it counts as failed, or goes again; `None`: once there is a token.
    at: Option<MonoTime>,
}

/// What a response is to a session.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Nothing that it has to know.
    Nothing,
    /// A message of the link.
    Message(Bytes),
    /// Answers to pushes, and nothing else of it counts.
    Answers(Bytes),
    /// The server refuses us.
    Refused(ErrorFrame),
    /// The server wants a new token, once.
    Token,
    /// The link is over, or of no use.
    Over(Reason, Option<Duration>),
}

impl Http {
    /// `hello`: without what only `welcome` says.
    pub(crate) const fn new(
        conn: ConnId,
        kind: TransportKind,
        hello: Hello,
        backoff: Backoff,
    ) -> Self {
        Self {
            conn,
            kind,
            hello,
            body_bytes_max: None,
            down: None,
            poll_at: MonoTime(0),
            poll_pause: EMPTY_POLL_MIN,
            post: None,
            posts: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            failures: 0,
            refused_once: false,
            backoff,
            beats: 0,
        }
    }

    /// The server took us.
    pub(crate) fn on_welcome(&mut self, welcome: &Welcome, bytes_max: usize) {
        let mut handle = BytesMut::from(&welcome.home.to_be_bytes()[..]);
        handle.extend_from_slice(&welcome.session);
        self.hello.session = handle.freeze();
        self.hello.expect_author = Bytes::copy_from_slice(&welcome.author);
        self.body_bytes_max = Some(bytes_max);
        self.poll_pause =
            Duration::from_millis(welcome.fallback_poll_ms.into()).max(EMPTY_POLL_MIN);
    }

    /// From now on requests carry this token.
    pub(crate) fn set_token(&mut self, token: String, now: MonoTime) {
        self.hello.token = token;
        if let Some(post) = &mut self.post {
            post.at.get_or_insert(now);
        }
    }

    /// Frames for the server.
    pub(crate) fn send(&mut self, frames: Bytes) {
        self.waiting_bytes += frames.len();
        self.waiting.push(frames);
    }

    /// A heartbeat came. Says whether to answer it: the server hears of us by what is posted, and by polls.
    pub(crate) fn wants_pong(&mut self) -> bool {
        self.beats += 1;
        self.kind == TransportKind::Sse
            && self.beats.is_multiple_of(2)
            && !planted!(StreamUnanswered)
    }

    /// Starts what is due.
    pub(crate) fn work(
        &mut self,
        codec: Codec,
        now: MonoTime,
        last: &mut RequestId,
        queue: &mut VecDeque<Output>,
    ) {
        let Some(bytes_max) = self.body_bytes_max else {
            // The request that opens the link.
            if self.down.is_none() {
                self.ask(codec, now, last, queue);
            }
            return;
        };
        if self.kind == TransportKind::LongPoll && self.down.is_none() && now >= self.poll_at {
            self.ask(codec, now, last, queue);
        }
        let frames = match &self.post {
            None if self.waiting.is_empty() => return,
            None => Bytes::new(),
            Some(post) if post.request.is_none() && post.at.is_some_and(|at| now >= at) => {
                post.frames.clone()
            }
            Some(_) if !planted!(PostsOverlap) || self.waiting.is_empty() => return,
            Some(_) => Bytes::new(),
        };
        let mut body = self.next_post(codec);
        let hello_bytes = body.len();
        let mut posted = BytesMut::from(&frames[..]);
        if !frames.is_empty() {
            codec.append(&frames, &mut body);
        }
        let mut taken = 0;
        for next in &self.waiting {
            if body.len() > hello_bytes && body.len() + next.len() > bytes_max {
                break;
            }
            codec.append(next, &mut body);
            match posted.is_empty() {
                true => posted.extend_from_slice(next),
                false => codec.append(next, &mut posted),
            }
            self.waiting_bytes -= next.len();
            taken += 1;
        }
        self.waiting.drain(..taken);
        self.beats = 0;
        self.post = Some(Post {
            request: Some(next_id(last)),
            frames: posted.freeze(),
            at: Some(now + ANSWER_TIMEOUT),
        });
        queue.push_back(self.request(*last, Door::Push, body, false));
    }

    /// The stream, or the next poll.
    fn ask(
        &mut self,
        codec: Codec,
        now: MonoTime,
        last: &mut RequestId,
        queue: &mut VecDeque<Output>,
    ) {
        let door = match self.kind {
            TransportKind::Sse => Door::Stream,
            _ => Door::Poll,
        };
        if door == Door::Poll {
            self.hello.poll = self.hello.poll.saturating_add(1);
        }
        self.down = Some((next_id(last), now));
        let body = self.hello(codec, self.hello.poll);
        queue.push_back(self.request(*last, door, body, false));
    }

    fn next_post(&mut self, codec: Codec) -> BytesMut {
        self.posts = self.posts.saturating_add(1);
        self.hello(codec, self.posts)
    }

    fn hello(&self, codec: Codec, poll: u32) -> BytesMut {
        let hello = Hello {
            poll,
            ..self.hello.clone()
        };
        let mut body = BytesMut::new();
        codec.encode_client(ClientKind::Hello(hello), &mut body);
        body
    }

    fn request(&self, request: RequestId, door: Door, body: BytesMut, last: bool) -> Output {
        Output::Request {
            conn: self.conn,
            request,
            door,
            body: body.freeze(),
            last,
        }
    }

    /// The link is closed: what was not answered goes up once more, as much as fits.
    pub(crate) fn close(
        mut self,
        codec: Codec,
        last: &mut RequestId,
        queue: &mut VecDeque<Output>,
    ) {
        let Some(bytes_max) = self.body_bytes_max else {
            return;
        };
        let mut body = self.next_post(codec);
        let hello_bytes = body.len();
        self.waiting
            .extend(self.post.take().map(|post| post.frames));
        for frames in self.waiting.iter().rev() {
            if body.len() + frames.len() <= bytes_max {
                codec.append(frames, &mut body);
            }
        }
        if body.len() > hello_bytes {
            let request = next_id(last);
            queue.push_back(self.request(request, Door::Push, body, true));
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        self.body_bytes_max?;
        let polls = self.kind == TransportKind::LongPoll && self.down.is_none();
        let poll_at = polls.then_some(self.poll_at);
        let post_at = self.post.as_ref().and_then(|post| post.at);
        poll_at.into_iter().chain(post_at).min()
    }

    /// A POST that has no answer for too long is given up.
    pub(crate) fn check(
        &mut self,
        now: MonoTime,
        rng: &mut Rng,
        queue: &mut VecDeque<Output>,
    ) -> Heard {
        if self.waiting_bytes > WAITING_BYTES_MAX {
            let detail = "the server does not answer, and too much waits for it".into();
            return Heard::Over(Reason::Network { detail }, None);
        }
        match &self.post {
            Some(Post {
                request: Some(request),
                at: Some(at),
                ..
            }) if now >= *at => {
                queue.push_back(Output::Abort {
                    conn: self.conn,
                    request: *request,
                });
                self.fail(now, rng, None, &HttpResponse::default())
            }
            _ => Heard::Nothing,
        }
    }

    /// What a response says.
    pub(crate) fn on_response(
        &mut self,
        codec: Codec,
        request: RequestId,
        response: HttpResponse,
        now: MonoTime,
        rng: &mut Rng,
    ) -> Heard {
        match &mut self.down {
            Some((down, since)) if *down == request => {
                let since = *since;
                return self.on_down(codec, response, since, now);
            }
            _ => {}
        }
        match &self.post {
            Some(post) if post.request == Some(request) => {
                self.on_posted(codec, response, now, rng)
            }
            // Late: it counts as failed, and went again.
            _ => Heard::Nothing,
        }
    }

    /// The answer to a poll, or no stream.
    fn on_down(
        &mut self,
        codec: Codec,
        response: HttpResponse,
        since: MonoTime,
        now: MonoTime,
    ) -> Heard {
        self.down = None;
        let is_poll = self.kind == TransportKind::LongPoll;
        if response.status != 200 && is_poll && planted!(LostPollForgiven) && self.hello.poll > 1 {
            return Heard::Nothing;
        }
        if response.status != 200 || !is_poll {
            return match refusal(codec, &response) {
                // This kind is of no use here, or this session is over: another one is the answer.
                Some(error)
                    if !matches!(response.status, 404 | 405 | 408 | 409 | 410 | 413 | 415) =>
                {
                    Heard::Refused(error)
                }
                error => over(&response, error.as_ref()),
            };
        }
        if self.hello.session.is_empty() && is_empty(codec, &response.body) {
            // Whoever answers so has no session for us, and the next poll would have none to name.
            let detail = "the first answer says nothing".into();
            return over(&HttpResponse { detail, ..response }, None);
        }
        // Where something was said, more may wait.
        self.poll_at = match (is_empty(codec, &response.body), response.unheld) {
            _ if planted!(EmptyPollsSpin) => now,
            (false, _) => now,
            (true, true) => now + self.poll_pause,
            (true, false) => since + EMPTY_POLL_MIN,
        };
        Heard::Message(response.body)
    }

    fn on_posted(
        &mut self,
        codec: Codec,
        response: HttpResponse,
        now: MonoTime,
        rng: &mut Rng,
    ) -> Heard {
        if response.status == 200 {
            self.post = None;
            self.failures = 0;
            self.refused_once = false;
            self.backoff.reset();
            return Heard::Answers(response.body);
        }
        let error = refusal(codec, &response);
        match (response.status, error) {
            (401, Some(_)) if !std::mem::replace(&mut self.refused_once, true) => {
                if let Some(post) = &mut self.post {
                    post.request = None;
                    post.at = None;
                }
                Heard::Token
            }
            (400 | 401 | 403, Some(error)) => Heard::Refused(error),
            (404 | 405 | 409 | 410 | 413 | 415, error) => over(&response, error.as_ref()),
            (_, error) => self.fail(now, rng, error.as_ref(), &response),
        }
    }

    /// The POST goes again after a pause. The server's own word that it cannot take it just now shows that the
    /// way is open.
    fn fail(
        &mut self,
        now: MonoTime,
        rng: &mut Rng,
        error: Option<&ErrorFrame>,
        response: &HttpResponse,
    ) -> Heard {
        self.failures += u32::from(error.is_none());
        if self.failures >= FAILURES_MAX {
            return over(response, error);
        }
        let floor = floor(error, response);
        if let Some(post) = &mut self.post {
            post.request = None;
            post.at = Some(now + self.backoff.next_delay(floor, rng));
            if planted!(FailedPostForgotten) {
                self.post = None;
            }
        }
        Heard::Nothing
    }
}

fn next_id(last: &mut RequestId) -> RequestId {
    last.0 += 1;
    *last
}

fn is_empty(codec: Codec, body: &[u8]) -> bool {
    match codec.is_text() {
        true => body.len() <= 2,
        false => body.is_empty(),
    }
}

/// When to come again at the earliest.
fn floor(error: Option<&ErrorFrame>, response: &HttpResponse) -> Option<Duration> {
    let said = error.and_then(|error| error.retry_ms);
    let said = said.map(|ms| Duration::from_millis(ms.into()));
    said.max(response.retry_after)
        .map(|floor| floor.min(super::RETRY_AFTER_MAX))
}

fn over(response: &HttpResponse, error: Option<&ErrorFrame>) -> Heard {
    let said = match (error, response.status) {
        (Some(error), _) => error.detail.clone(),
        (None, _) if !response.detail.is_empty() => response.detail.clone(),
        (None, 0) => "no answer".into(),
        (None, status) => format!("HTTP {status}"),
    };
    let detail = wire::cut_detail(said);
    Heard::Over(Reason::Network { detail }, floor(error, response))
}

/// The one fatal error that the server says with every other status than 200. Proxies say something else.
fn refusal(codec: Codec, response: &HttpResponse) -> Option<ErrorFrame> {
    let bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
    let message = codec.into_protobuf(response.body.clone(), bytes_max).ok()?;
    match wire::read_in_place(&message).ok()?.pop()? {
        Received::Frame(frame) => match *frame {
            ServerKind::Error(error) if error.fatal => Some(ErrorFrame {
                retry_ms: floor(Some(&error), response)
                    .map(|floor| u32::try_from(floor.as_millis()).unwrap_or(u32::MAX)),
                ..error
            }),
            _ => None,
        },
        _ => None,
    }
}

/// What of a POST's response counts.
pub(crate) fn is_answer(frame: &ServerKind) -> bool {
    match frame {
        ServerKind::Ack(_)
        | ServerKind::Need(_)
        | ServerKind::Hold(_)
        | ServerKind::StaleEpoch(_) => true,
        ServerKind::Error(error) => error.fatal || error.channel.is_some(),
        _ => false,
    }
}
