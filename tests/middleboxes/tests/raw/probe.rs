//! One transport behind one box: does a change go up, and its patch come down?

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidewire_core::event_stream::EventStream;
use tidewire_core::wire::{
    Change, ChangeKind, ClientKind, Codec, Field, Hello, Item, PROTOCOL_VERSION, Push, Record,
    ServerKind, Subscribe, Welcome,
};
use tidewire_middleboxes::{FIRST_DATA, Fate};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::http::{Asker, handle};
use crate::support::client_id;

pub(crate) const CODEC: Codec = Codec::Protobuf;
const CHANNEL: &str = "board:main";
const NAME: &str = "ana";

/// What a probe waits for.
type Probed<T> = Result<T, Fate>;

async fn within<T>(future: impl Future<Output = Probed<T>>) -> Probed<T> {
    within_time(FIRST_DATA, future).await
}

async fn within_time<T>(time: Duration, future: impl Future<Output = Probed<T>>) -> Probed<T> {
    timeout(time, future).await.unwrap_or(Err(Fate::Silent))
}

/// Where nothing was to break off, the test's output says what did.
fn broke(how: impl std::fmt::Debug) -> Fate {
    println!("it broke off: {how:?}");
    Fate::Breaks
}

pub(crate) async fn websocket(address: &str) -> Fate {
    let probed = async {
        let mut link = within(WebSocket::open(address)).await?;
        link.send([hello(), subscribe()]).await?;
        let epoch = within(link.find(epoch)).await?;
        link.send([push(epoch)]).await?;
        within(link.find(patch)).await
    };
    probed.await.err().unwrap_or(Fate::Works)
}

pub(crate) async fn sse(address: &str) -> Fate {
    let probed = async {
        let mut stream = within(Stream::open(address, &[subscribe()], &[])).await?;
        let welcome = within(stream.find(welcome)).await?;
        let epoch = within(stream.find(epoch)).await?;
        let asker = as_session(address, &welcome);
        let answers = within(ask(&asker, "/v1/push", 0, &[push(epoch)])).await?;
        assert!(
            answers.iter().any(|it| matches!(it, ServerKind::Ack(_))),
            "{answers:?}"
        );
        within(stream.find(patch)).await
    };
    probed.await.err().unwrap_or(Fate::Works)
}

pub(crate) async fn poll(address: &str) -> Fate {
    let probed = async {
        let mut polls = Polls::open(address, &[subscribe()]).await?;
        let epoch = within(polls.find(epoch)).await?;
        within(ask(&polls.asker, "/v1/push", 0, &[push(epoch)])).await?;
        within(polls.find(patch)).await
    };
    probed.await.err().unwrap_or(Fate::Works)
}

pub(crate) fn hello() -> ClientKind {
    ClientKind::Hello(Hello {
        version: PROTOCOL_VERSION,
        token: format!("dev:{NAME}"),
        conn: 1,
        client: client_id(NAME),
        ..Hello::default()
    })
}

pub(crate) fn subscribe() -> ClientKind {
    ClientKind::Subscribe(Subscribe {
        channel: CHANNEL.into(),
        ..Subscribe::default()
    })
}

/// The first change of this client.
pub(crate) fn push(epoch: u64) -> ClientKind {
    numbered_push(epoch, 1)
}

pub(crate) fn numbered_push(epoch: u64, n: u64) -> ClientKind {
    let field = Field {
        name: "title".into(),
        value: Bytes::from_static(b"\"Milk\""),
        ..Field::default()
    };
    let put = Record {
        collection: "cards".into(),
        id: format!("c{n}"),
        fields: vec![field],
        ..Record::default()
    };
    ClientKind::Push(Push {
        channel: CHANNEL.into(),
        epoch,
        first_n: n,
        low: n,
        items: vec![Item {
            changes: vec![Change {
                kind: Some(ChangeKind::Put(put)),
            }],
            ..Item::default()
        }],
    })
}

pub(crate) fn welcome(frame: ServerKind) -> Option<Welcome> {
    match frame {
        ServerKind::Welcome(welcome) => Some(welcome),
        _ => None,
    }
}

pub(crate) fn epoch(frame: ServerKind) -> Option<u64> {
    match frame {
        ServerKind::SnapshotBegin(begin) => Some(begin.cursor?.epoch),
        _ => None,
    }
}

pub(crate) fn patch(frame: ServerKind) -> Option<u64> {
    match frame {
        ServerKind::Patch(patch) => Some(patch.to),
        _ => None,
    }
}

/// One POST to its end; a status other than 200 is a refusal.
pub(crate) async fn ask(
    asker: &Asker,
    path: &str,
    poll: u32,
    frames: &[ClientKind],
) -> Probed<Vec<ServerKind>> {
    let mut hello = asker.hello.clone();
    hello.poll = poll;
    let body = asker.body(hello, frames);
    let kind = [("content-type", asker.kind())];
    let answer = asker
        .try_request(hyper::Method::POST, path, &kind, body)
        .await;
    let answer = answer.map_err(broke)?;
    let status = answer.status().as_u16();
    if status != 200 {
        let said = answer.into_body().collect().await;
        let said = said.map(|said| said.to_bytes());
        println!("{path} was answered {status}: {said:?}");
        return Err(Fate::Refused(status));
    }
    let body = answer.into_body().collect().await.map_err(broke)?;
    Ok(CODEC
        .decode_server(body.to_bytes(), 16 << 20)
        .expect("a message of ours"))
}

pub(crate) fn as_session(address: &str, welcome: &Welcome) -> Asker {
    let mut asker = Asker::new(address, CODEC, NAME);
    asker.hello.session = handle(welcome.home, &welcome.session);
    asker.hello.expect_author = welcome.author.clone();
    asker
}

pub(crate) struct WebSocket(WebSocketStream<TcpStream>, Vec<ServerKind>);

impl WebSocket {
    pub(crate) async fn open(address: &str) -> Probed<Self> {
        Self::open_with(address, &[]).await
    }

    pub(crate) async fn open_with(address: &str, headers: &[(&'static str, &str)]) -> Probed<Self> {
        let stream = TcpStream::connect(address).await.map_err(broke)?;
        let mut request = format!("ws://{address}/v1/ws")
            .into_client_request()
            .expect("a URL");
        let offered = [("sec-websocket-protocol", CODEC.subprotocol())];
        for (name, value) in offered.iter().chain(headers) {
            let value = HeaderValue::from_str(value).expect("a value");
            request.headers_mut().insert(*name, value);
        }
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket, Vec::new())),
            Err(Error::Http(answer)) => Err(Fate::Refused(answer.status().as_u16())),
            Err(error) => Err(broke(error)),
        }
    }

    pub(crate) async fn send(
        &mut self,
        frames: impl IntoIterator<Item = ClientKind>,
    ) -> Probed<()> {
        let mut message = BytesMut::new();
        for frame in frames {
            CODEC.encode_client(frame, &mut message);
        }
        let sent = self.0.send(Message::Binary(message.freeze())).await;
        sent.map_err(broke)
    }

    pub(crate) async fn find<T>(&mut self, wanted: impl Fn(ServerKind) -> Option<T>) -> Probed<T> {
        loop {
            while !self.1.is_empty() {
                if let Some(found) = wanted(self.1.remove(0)) {
                    return Ok(found);
                }
            }
            match self.0.next().await {
                Some(Ok(Message::Binary(message))) => {
                    let frames = CODEC.decode_server(message, 16 << 20);
                    self.1.extend(frames.expect("a message of ours"));
                }
                end @ (Some(Ok(Message::Close(_)) | Err(_)) | None) => return Err(broke(end)),
                Some(Ok(_)) => {}
            }
        }
    }
}

/// A stream, read by the core's own reader of events.
pub(crate) struct Stream {
    pub(crate) headers: hyper::HeaderMap,
    body: Incoming,
    reader: EventStream,
    frames: Vec<ServerKind>,
}

impl Stream {
    pub(crate) async fn open(
        address: &str,
        frames: &[ClientKind],
        headers: &[(&'static str, &str)],
    ) -> Probed<Self> {
        let asker = Asker::new(address, CODEC, NAME);
        let body = asker.body(asker.hello.clone(), frames);
        let headers = [&[("content-type", asker.kind())], headers].concat();
        let answer = asker
            .try_request(hyper::Method::POST, "/v1/sse", &headers, body)
            .await;
        let answer = answer.map_err(broke)?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(Fate::Refused(status));
        }
        let (parts, body) = answer.into_parts();
        assert_eq!(parts.headers["content-type"], "text/event-stream");
        Ok(Self {
            headers: parts.headers,
            body,
            reader: EventStream::for_messages(1 << 20),
            frames: Vec::new(),
        })
    }

    /// The next bytes as they come.
    pub(crate) async fn bytes(&mut self) -> Probed<Bytes> {
        match self.body.frame().await {
            Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
            end @ (Some(Err(_)) | None) => Err(broke(end)),
        }
    }

    pub(crate) async fn find<T>(&mut self, wanted: impl Fn(ServerKind) -> Option<T>) -> Probed<T> {
        loop {
            while !self.frames.is_empty() {
                if let Some(found) = wanted(self.frames.remove(0)) {
                    return Ok(found);
                }
            }
            let bytes = self.bytes().await?;
            let mut bytes = &bytes[..];
            while let Some(event) = self.reader.next(&mut bytes).expect("short events") {
                let message = event.into_message(CODEC).expect("base64");
                let frames = CODEC.decode_server(message.expect("a type of ours"), 16 << 20);
                self.frames.extend(frames.expect("a message of ours"));
            }
        }
    }
}

pub(crate) struct Polls {
    pub(crate) asker: Asker,
    number: u32,
    frames: Vec<ServerKind>,
}

impl Polls {
    pub(crate) async fn open(address: &str, frames: &[ClientKind]) -> Probed<Self> {
        let asker = Asker::new(address, CODEC, NAME);
        let mut answers = within(ask(&asker, "/v1/poll", 1, frames)).await?;
        let welcome = welcome(answers.remove(0)).expect("a welcome comes first");
        Ok(Self {
            asker: as_session(address, &welcome),
            number: 1,
            frames: answers,
        })
    }

    pub(crate) async fn find<T>(&mut self, wanted: impl Fn(ServerKind) -> Option<T>) -> Probed<T> {
        loop {
            while !self.frames.is_empty() {
                if let Some(found) = wanted(self.frames.remove(0)) {
                    return Ok(found);
                }
            }
            self.number += 1;
            self.frames = ask(&self.asker, "/v1/poll", self.number, &[]).await?;
        }
    }
}
