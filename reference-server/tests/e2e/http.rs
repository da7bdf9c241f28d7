//! A client that speaks raw frames over HTTP: a stream or polls down, POSTs up.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidewire_core::wire::{ClientKind, Codec, ErrorFrame, Hello, PROTOCOL_VERSION, ServerKind};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{DEADLINE, client_id};

pub(crate) const PROTO: &str = "application/vnd.tidewire.v1+proto";
pub(crate) const JSON: &str = "application/vnd.tidewire.v1+json";

/// How one client asks.
#[derive(Clone)]
pub(crate) struct Asker {
    address: String,
    pub(crate) codec: Codec,
    /// `Some`: HTTP/2, over one connection.
    two: Option<http2::SendRequest<Full<Bytes>>>,
    pub(crate) hello: Hello,
}

impl Asker {
    /// Over HTTP/1.1, as a principal of `--dev-auth`.
    pub(crate) fn new(address: &str, codec: Codec, name: &str) -> Self {
        Self {
            address: address.into(),
            codec,
            two: None,
            hello: Hello {
                version: PROTOCOL_VERSION,
                token: format!("dev:{name}"),
                conn: 1,
                client: client_id(name),
                ..Hello::default()
            },
        }
    }

    /// Over HTTP/2, whose use the client just knows.
    pub(crate) async fn two(mut self) -> Self {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        self.two = Some(sender);
        self
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self.codec {
            Codec::Protobuf => PROTO,
            Codec::Json => JSON,
        }
    }

    /// One request, whatever it is.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Response<Incoming> {
        let answer = self.try_request(method, path, headers, body).await;
        answer.expect("it does not break")
    }

    /// The same; it may break.
    pub(crate) async fn try_request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let uri = match self.two {
            Some(_) => format!("http://{}{path}", self.address),
            None => path.to_owned(),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if self.two.is_none() {
            request = request.header("host", &self.address);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        let answer = async {
            match &self.two {
                Some(sender) => sender.clone().send_request(request).await,
                None => {
                    let stream = TcpStream::connect(&self.address).await.unwrap();
                    let (mut sender, connection) =
                        http1::handshake(TokioIo::new(stream)).await.unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await
                }
            }
        };
        timeout(DEADLINE, answer).await.expect("answered in time")
    }

    pub(crate) fn body(&self, hello: Hello, frames: &[ClientKind]) -> Bytes {
        let mut body = BytesMut::new();
        self.codec
            .encode_client(ClientKind::Hello(hello), &mut body);
        for frame in frames {
            self.codec.encode_client(frame.clone(), &mut body);
        }
        body.freeze()
    }

    /// Says `hello` and frames at a door, and does not get a whole answer.
    pub(crate) async fn breaks(
        &self,
        path: &str,
        edit: impl FnOnce(&mut Hello),
        frames: &[ClientKind],
    ) -> bool {
        let mut hello = self.hello.clone();
        edit(&mut hello);
        let body = self.body(hello, frames);
        let headers = [("content-type", self.kind())];
        match self.try_request(Method::POST, path, &headers, body).await {
            Ok(answer) => answer.into_body().collect().await.is_err(),
            Err(_) => true,
        }
    }

    /// Says `hello` and frames at a door.
    pub(crate) async fn say(
        &self,
        path: &str,
        edit: impl FnOnce(&mut Hello),
        frames: &[ClientKind],
    ) -> Response<Incoming> {
        let mut hello = self.hello.clone();
        edit(&mut hello);
        let body = self.body(hello, frames);
        let headers = [("content-type", self.kind())];
        self.request(Method::POST, path, &headers, body).await
    }

    /// The same, to the end; status and frames.
    pub(crate) async fn ask(
        &self,
        path: &str,
        edit: impl FnOnce(&mut Hello),
        frames: &[ClientKind],
    ) -> (u16, Vec<ServerKind>) {
        let answer = self.whole(self.say(path, edit, frames).await).await;
        (answer.0, answer.2)
    }

    pub(crate) async fn whole(
        &self,
        answer: Response<Incoming>,
    ) -> (u16, HeaderMap, Vec<ServerKind>) {
        let (parts, body) = answer.into_parts();
        let body = timeout(DEADLINE, body.collect()).await.expect("in time");
        let body = body.expect("whole").to_bytes();
        let frames = match body.is_empty() && self.codec.is_text() {
            true => Vec::new(),
            false => self.codec.decode_server(body, 16 << 20).unwrap(),
        };
        (parts.status.as_u16(), parts.headers, frames)
    }

    /// Opens a stream.
    pub(crate) async fn stream(&self, frames: &[ClientKind]) -> Events {
        let answer = self.say("/v1/sse", |_| {}, frames).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events::new(self.codec, answer.into_body())
    }

    /// Opens a stream and reads its welcome.
    pub(crate) async fn welcomed(&self, frames: &[ClientKind]) -> Session {
        let mut events = self.stream(frames).await;
        let ServerKind::Welcome(welcome) = events.next().await else {
            panic!("a welcome comes first");
        };
        let mut asker = self.clone();
        asker.hello.session = handle(welcome.home, &welcome.session);
        asker.hello.expect_author = welcome.author;
        Session { events, asker }
    }

    /// POSTs frames that must not be refused; what was answered.
    pub(crate) async fn post(&self, frames: &[ClientKind]) -> Vec<ServerKind> {
        let (status, answers) = self.ask("/v1/push", |_| {}, frames).await;
        assert_eq!(status, 200, "{answers:?}");
        answers
    }
}

pub(crate) fn handle(home: u32, session: &[u8]) -> Bytes {
    [&home.to_be_bytes(), session].concat().into()
}

/// The one fatal error of a refusal.
pub(crate) fn fatal(frames: &[ServerKind]) -> ErrorFrame {
    match frames {
        [ServerKind::Error(error)] if error.fatal => error.clone(),
        other => panic!("one fatal error, not {other:?}"),
    }
}

/// A session over a stream.
pub(crate) struct Session {
    pub(crate) events: Events,
    pub(crate) asker: Asker,
}

/// A stream of events.
pub(crate) struct Events {
    codec: Codec,
    body: Incoming,
    text: Vec<u8>,
    /// Comments that came.
    pub(crate) comments: Vec<String>,
    frames: VecDeque<ServerKind>,
}

impl Events {
    fn new(codec: Codec, body: Incoming) -> Self {
        Self {
            codec,
            body,
            text: Vec::new(),
            comments: Vec::new(),
            frames: VecDeque::new(),
        }
    }

    /// The next frame; `None`: the stream has ended as it should, `Err`: it broke.
    pub(crate) async fn try_next(&mut self) -> Result<Option<ServerKind>, hyper::Error> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            if let Some(end) = self.text.windows(2).position(|end| end == b"\n\n") {
                let rest = self.text.split_off(end + 2);
                let event = std::mem::replace(&mut self.text, rest);
                self.take(std::str::from_utf8(&event).unwrap());
                continue;
            }
            let more = timeout(DEADLINE, self.body.frame()).await;
            match more.expect("the server says something in time") {
                Some(more) => self.text.extend(more?.into_data().unwrap()),
                None => {
                    assert!(self.text.is_empty(), "an event was cut short");
                    return Ok(None);
                }
            }
        }
    }

    pub(crate) async fn next(&mut self) -> ServerKind {
        let next = self.try_next().await.expect("it does not break");
        next.expect("a frame was expected, not the end")
    }

    pub(crate) async fn find<T>(&mut self, wanted: impl Fn(ServerKind) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    fn take(&mut self, event: &str) {
        let mut data = Vec::new();
        let mut kind = "message";
        for line in event.lines().filter(|line| !line.is_empty()) {
            match line.split_once(':').expect("field: value") {
                ("", comment) => self.comments.push(comment.into()),
                ("data", value) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                ("event", value) => kind = value.trim(),
                (other, _) => panic!("{other}?"),
            }
        }
        if data.is_empty() {
            return;
        }
        let data = data.join("\n");
        let message = match self.codec.is_text() && kind == "message" {
            true => data.into_bytes(),
            false => STANDARD.decode(data).unwrap(),
        };
        let frames = self.codec.decode_server(message.into(), 16 << 20).unwrap();
        self.frames.extend(frames);
    }
}

/// A session over polls.
pub(crate) struct Polls {
    pub(crate) asker: Asker,
    pub(crate) number: u32,
    frames: VecDeque<ServerKind>,
}

impl Polls {
    /// Opens one with poll 1, and reads its welcome.
    pub(crate) async fn open(asker: &Asker, frames: &[ClientKind]) -> Self {
        let (status, answers) = asker.ask("/v1/poll", |hello| hello.poll = 1, frames).await;
        assert_eq!(status, 200, "{answers:?}");
        let mut asker = asker.clone();
        let mut frames = VecDeque::from(answers);
        let Some(ServerKind::Welcome(welcome)) = frames.pop_front() else {
            panic!("a welcome comes first: {frames:?}");
        };
        asker.hello.session = handle(welcome.home, &welcome.session);
        asker.hello.expect_author = welcome.author;
        Self {
            asker,
            number: 1,
            frames,
        }
    }

    /// The next poll, held as long as it may be.
    pub(crate) async fn poll(&mut self, frames: &[ClientKind]) -> (u16, Vec<ServerKind>) {
        self.number += 1;
        let number = self.number;
        let poll = self
            .asker
            .ask("/v1/poll", |hello| hello.poll = number, frames);
        poll.await
    }

    pub(crate) async fn next(&mut self) -> ServerKind {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            let (status, frames) = self.poll(&[]).await;
            assert_eq!(status, 200, "{frames:?}");
            self.frames.extend(frames);
        }
    }

    pub(crate) async fn find<T>(&mut self, wanted: impl Fn(ServerKind) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }
}
