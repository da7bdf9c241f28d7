//! A spawned server and a client that speaks raw frames.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tidewire_core::document::{Document, put_op};
use tidewire_core::wire::{
    Change, ChangeKind, ClientKind, Codec, Cursor, ErrorFrame, Field, Hello, Item,
    PROTOCOL_VERSION, Push, Record, ServerKind, Subscribe,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longer than anything here may take, also on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Looks until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "this did not happen: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The server.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewire-server");

/// The program without any setting from this environment.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = command_by(PROGRAM);
    command.args(args);
    command
}

/// Another program, which starts it.
pub(crate) fn command_by(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEWIRE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().expect("the program starts")
}

/// A running server; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) lines: Vec<String>,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts a server with `--dev-auth` on a free port, and the admin door on another.
    pub(crate) fn start(args: &[&str]) -> Self {
        let base = [
            "--dev-auth",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ];
        Self::spawn(command(&[&base[..], args].concat()))
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("piped");
        let into = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = into.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut program = Self {
            child,
            lines: Vec::new(),
            log,
        };
        let mut out = BufReader::new(program.child.stdout.take().expect("piped"));
        loop {
            let mut line = String::new();
            let read = out.read_line(&mut line).unwrap();
            assert!(read > 0, "ended before it was ready: {}", program.log());
            program.lines.push(line.trim_end().into());
            if line.starts_with("admin ") {
                break;
            }
        }
        // Whatever else it prints is kept from blocking it.
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        program
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log says something: its lines come over a pipe.
    pub(crate) async fn logged(&self, text: &str) {
        until(text, async || self.log().contains(text).then_some(())).await;
    }

    /// `127.0.0.1:PORT` of a door: `listening` or `admin`.
    fn address(&self, door: &str) -> String {
        let prefix = format!("{door} http://");
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix(&prefix))
            .expect("printed")
            .into()
    }

    pub(crate) fn public(&self) -> String {
        self.address("listening")
    }

    pub(crate) fn admin(&self) -> String {
        self.address("admin")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the program to end by itself.
    pub(crate) async fn exit_code(&mut self) -> i32 {
        let ended = async || self.child.try_wait().unwrap();
        let status = until("the program ends", ended).await;
        status.code().expect("not killed")
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        let mut client = Client::connect(&self.public(), None)
            .await
            .expect("upgraded");
        client.send([hello(name)]).await;
        let welcome = client.next().await;
        assert!(matches!(welcome, ServerKind::Welcome(_)), "{welcome:?}");
        client
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- server log ---\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One raw connection.
pub(crate) struct Client {
    codec: Codec,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    frames: std::collections::VecDeque<ServerKind>,
}

impl Client {
    /// Upgrades; `Err` is the HTTP status and body of a refusal.
    pub(crate) async fn connect(
        address: &str,
        origin: Option<&str>,
    ) -> Result<Self, (u16, String)> {
        Self::connect_with(address, origin, Some(Codec::Protobuf.subprotocol())).await
    }

    /// What was agreed.
    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Upgrades and says hello.
    pub(crate) async fn welcomed(address: &str, codec: Codec, name: &str) -> Self {
        let connected = Self::connect_with(address, None, Some(codec.subprotocol())).await;
        let mut client = connected.expect("it is let in");
        client.send([hello(name)]).await;
        assert!(matches!(client.next().await, ServerKind::Welcome(_)));
        client
    }

    pub(crate) async fn connect_with(
        address: &str,
        origin: Option<&str>,
        subprotocol: Option<&str>,
    ) -> Result<Self, (u16, String)> {
        let subprotocol = subprotocol.map(|name| ("sec-websocket-protocol", name));
        let origin = origin.map(|origin| ("origin", origin));
        let headers: Vec<_> = subprotocol.into_iter().chain(origin).collect();
        Self::connect_by(address, &headers).await
    }

    /// Upgrades with one more header.
    pub(crate) async fn connect_through(
        address: &str,
        header: (&'static str, &str),
    ) -> Result<Self, (u16, String)> {
        let subprotocol = Codec::Protobuf.subprotocol();
        Self::connect_by(address, &[("sec-websocket-protocol", subprotocol), header]).await
    }

    async fn connect_by(
        address: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, String)> {
        let mut request = format!("ws://{address}/v1/ws")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().append(*name, value);
        }
        let config = WebSocketConfig::default();
        match tokio_tungstenite::connect_async_with_config(request, Some(config), true).await {
            Ok((socket, response)) => {
                let chosen = response.headers().get("Sec-WebSocket-Protocol").unwrap();
                let codec = Codec::ALL
                    .iter()
                    .find(|codec| codec.subprotocol() == chosen);
                Ok(Self {
                    codec: *codec.expect("a codec that was offered"),
                    socket,
                    frames: Default::default(),
                })
            }
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((
                    response.status().as_u16(),
                    String::from_utf8_lossy(&body).into(),
                ))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, frames: impl IntoIterator<Item = ClientKind>) {
        let mut message = BytesMut::new();
        for frame in frames {
            self.codec.encode_client(frame, &mut message);
        }
        let message = match self.codec.is_text() {
            true => Message::text(String::from_utf8(message.to_vec()).unwrap()),
            false => Message::Binary(message.freeze()),
        };
        self.send_raw(message).await;
    }

    /// The frames of a message; `None` if it carries none. The wrong kind of message is a failure.
    fn decode(&self, message: Message) -> Option<Vec<ServerKind>> {
        let bytes = match message {
            Message::Text(text) if self.codec.is_text() => text.into(),
            Message::Binary(bytes) if !self.codec.is_text() => bytes,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
            other => panic!("{:?} was agreed, not {other:?}", self.codec),
        };
        Some(self.codec.decode_server(bytes, 16 << 20).unwrap())
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        // A server that has already refused may have closed; what it said is read afterwards.
        let _ = tokio::time::timeout(DEADLINE, self.socket.send(message)).await;
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> ServerKind {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            match self.message().await {
                None | Some(Message::Close(_)) => panic!("a frame was expected, not the end"),
                Some(message) => self.frames.extend(self.decode(message).unwrap_or_default()),
            }
        }
    }

    /// The next frame that `wanted` takes; others are skipped.
    pub(crate) async fn find<T>(&mut self, wanted: impl Fn(ServerKind) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    async fn message(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(DEADLINE, self.socket.next());
        match next.await.expect("the server says something in time") {
            Some(Ok(message)) => Some(message),
            Some(Err(_)) | None => None,
        }
    }

    /// Reads to the end; the fatal error, if one came, and the close code, if there was one.
    pub(crate) async fn end(&mut self) -> (Option<ErrorFrame>, Option<u16>) {
        let mut fatal = None;
        let mut note = |frame| {
            if let ServerKind::Error(error) = frame
                && error.fatal
            {
                fatal = Some(error);
            }
        };
        self.frames.drain(..).for_each(&mut note);
        loop {
            match self.message().await {
                Some(Message::Close(frame)) => {
                    return (fatal, frame.map(|frame| frame.code.into()));
                }
                Some(message) => {
                    let frames = self.decode(message).unwrap_or_default();
                    frames.into_iter().for_each(&mut note);
                }
                None => return (fatal, None),
            }
        }
    }

    pub(crate) async fn close(mut self) {
        let _ = self.socket.close(None).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Subscribes without having anything and reads up to the end of the snapshot.
    pub(crate) async fn subscribe(&mut self, channel: &str) -> Snapshot {
        self.send([subscribe(channel, None)]).await;
        self.snapshot(channel).await
    }

    /// Subscribes without having anything and folds what comes, up to `seq`.
    pub(crate) async fn document(&mut self, channel: &str, seq: u64) -> Document {
        let start = self.subscribe(channel).await;
        let mut document = Document::default();
        for record in start.records {
            document.apply(&put_op(record));
        }
        let mut at = start.cursor.seq;
        while at < seq {
            if let ServerKind::Patch(patch) = self.next().await {
                assert_eq!(patch.from, at);
                at = patch.to;
                for op in &patch.ops {
                    document.apply(op);
                }
            }
        }
        document
    }

    pub(crate) async fn snapshot(&mut self, wanted: &str) -> Snapshot {
        let begin = self
            .find(|frame| match frame {
                ServerKind::SnapshotBegin(begin) if begin.channel == wanted => Some(begin),
                ServerKind::Error(error) => panic!("{error:?}"),
                _ => None,
            })
            .await;
        let mut records = Vec::new();
        loop {
            match self.next().await {
                ServerKind::SnapshotPart(part) => records.extend(part.records),
                ServerKind::SnapshotEnd(end) => {
                    assert_eq!(end.records, records.len() as u64);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        Snapshot {
            cursor: begin.cursor.unwrap(),
            last: begin.known.unwrap().last,
            records,
        }
    }
}

pub(crate) struct Snapshot {
    pub(crate) cursor: Cursor,
    pub(crate) last: u64,
    pub(crate) records: Vec<Record>,
}

/// The client id of a name: the same one after a reconnect.
pub(crate) fn client_id(name: &str) -> Bytes {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Bytes::copy_from_slice(&id)
}

pub(crate) fn hello(name: &str) -> ClientKind {
    ClientKind::Hello(Hello {
        version: PROTOCOL_VERSION,
        token: format!("dev:{name}"),
        conn: 1,
        client: client_id(name),
        max_frame: 0,
        ..Hello::default()
    })
}

pub(crate) fn subscribe(channel: &str, have: Option<Cursor>) -> ClientKind {
    ClientKind::Subscribe(Subscribe {
        channel: channel.into(),
        have,
        max_epoch: have.map_or(0, |cursor| cursor.epoch),
        ..Subscribe::default()
    })
}

pub(crate) fn card(id: &str, title: &str) -> Record {
    Record {
        collection: "cards".into(),
        id: id.into(),
        fields: vec![Field {
            name: "title".into(),
            value: format!("{title:?}").into(),
            ..Field::default()
        }],
        ..Record::default()
    }
}

pub(crate) fn put(record: Record) -> Item {
    Item {
        changes: vec![Change {
            kind: Some(ChangeKind::Put(record)),
        }],
        ..Item::default()
    }
}

pub(crate) fn push(channel: &str, epoch: u64, first_n: u64, items: Vec<Item>) -> ClientKind {
    ClientKind::Push(Push {
        channel: channel.into(),
        epoch,
        first_n,
        low: first_n,
        items,
    })
}

/// What is answered to a text that is sent as it is: status, and everything.
pub(crate) async fn exchange(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    // Whoever is hung up on may find the connection reset.
    let _ = tokio::time::timeout(DEADLINE, read)
        .await
        .expect("answered");
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or(0), answer)
}

/// A handshake that is refused: status, and everything that was answered.
pub(crate) async fn upgrade(address: &str) -> (u16, String) {
    let request = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: tidewire.v1.proto\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let head = async {
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, head)
        .await
        .expect("answered");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or(0), answer)
}

/// One HTTP request; status and body.
pub(crate) async fn http(address: &str, method: &str, path: &str, headers: &str) -> (u16, String) {
    http_with_body(address, method, path, headers, "").await
}

/// The same with a body, whose length `headers` must say.
pub(crate) async fn http_with_body(
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(DEADLINE, read)
        .await
        .expect("answered")
        .unwrap();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.into())
}

/// Pushes 10 kB at a time until the answer is no ack but a `hold`; its code, and how many were acked before.
pub(crate) async fn push_until_held(client: &mut Client, room: &str, epoch: u64) -> (u32, u64) {
    for n in 1..2000 {
        let large = card(&n.to_string(), &"x".repeat(10_000));
        client.send([push(room, epoch, n, vec![put(large)])]).await;
        let answer = client
            .find(|frame| match frame {
                ServerKind::Ack(_) => Some(None),
                ServerKind::Hold(hold) => {
                    assert!(hold.retry_ms > 0);
                    Some(Some(hold.code))
                }
                _ => None,
            })
            .await;
        if let Some(code) = answer {
            return (code, n - 1);
        }
    }
    panic!("nothing was ever held");
}
