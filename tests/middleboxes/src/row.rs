//! The rows: a box, and what each transport meets behind it.

/// What a transport meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Frames come and go.
    Works,
    /// It is answered with an HTTP status that is not success.
    Refused(u16),
    /// Nothing comes, and nothing ends.
    Silent,
    /// It begins, and ends before there is anything to use.
    Breaks,
}

/// What makes the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx with a file of the repository.
    Nginx(&'static str),
    /// The same, entered by the port of plain HTTP although it serves TLS.
    NginxPlain(&'static str),
    /// HAProxy with a file of the repository.
    Haproxy(&'static str),
    /// Lets WebSockets open, and nothing through them.
    Swallows,
    /// Answers a WebSocket's request with a reset.
    Resets,
    /// Ends every connection behind so many bytes from the server.
    Truncates(u64),
}

/// One box.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Names it in tests and documents.
    pub name: &'static str,
    /// What makes it.
    pub kind: Kind,
    /// What WebSocket, stream and polls meet.
    pub websocket: Fate,
    /// See [`Row::websocket`].
    pub sse: Fate,
    /// See [`Row::websocket`].
    pub poll: Fate,
}

const W: Fate = Fate::Works;

const fn row(name: &'static str, kind: Kind, fates: [Fate; 3]) -> Row {
    Row {
        name,
        kind,
        websocket: fates[0],
        sse: fates[1],
        poll: fates[2],
    }
}

const GOOD_NGINX: &str = "deploy/nginx/tidewire.conf";
const GOOD_HAPROXY: &str = "deploy/haproxy/haproxy.cfg";

/// Inside of the first event: behind the response's head and the padding.
const INSIDE_OF_AN_EVENT: u64 = 2500;

/// Every box.
pub static ROWS: [Row; 15] = [
    row(
        "nginx as documented, TLS ended there",
        Kind::Nginx(GOOD_NGINX),
        [W, W, W],
    ),
    row(
        "HAProxy as documented, two servers without stickiness",
        Kind::Haproxy(GOOD_HAPROXY),
        [W, W, W],
    ),
    row(
        "nginx with nothing but `proxy_pass`: Upgrade stripped",
        Kind::Nginx("tests/middleboxes/configs/nginx/defaults.conf"),
        [Fate::Refused(400), W, W],
    ),
    row(
        "HAProxy that refuses Upgrade",
        Kind::Haproxy("tests/middleboxes/configs/haproxy/upgrade-refused.cfg"),
        [Fate::Refused(403), W, W],
    ),
    row(
        "nginx that collects streams whatever the server says",
        Kind::Nginx("tests/middleboxes/configs/nginx/buffered.conf"),
        [Fate::Refused(400), Fate::Silent, W],
    ),
    row(
        "nginx that compresses everything",
        Kind::Nginx("tests/middleboxes/configs/nginx/gzip.conf"),
        [W, W, W],
    ),
    row(
        "nginx that cuts what is idle for 3 s",
        Kind::Nginx("tests/middleboxes/configs/nginx/idle-cut.conf"),
        [W, W, W],
    ),
    row(
        "HAProxy that cuts what is idle for 3 s",
        Kind::Haproxy("tests/middleboxes/configs/haproxy/idle-cut.cfg"),
        [W, W, W],
    ),
    row(
        "nginx that passes on a Host without its port",
        Kind::Nginx("tests/middleboxes/configs/nginx/host-without-port.conf"),
        [W, W, W],
    ),
    row(
        "WebSockets open and swallow every frame",
        Kind::Swallows,
        [Fate::Silent, W, W],
    ),
    row("WebSockets are reset", Kind::Resets, [Fate::Breaks, W, W]),
    row(
        "responses end inside of an event",
        Kind::Truncates(INSIDE_OF_AN_EVENT),
        [W, Fate::Breaks, W],
    ),
    row(
        "nginx that is asked too often",
        Kind::Nginx("tests/middleboxes/configs/nginx/rate-limited.conf"),
        [W, W, Fate::Refused(429)],
    ),
    row(
        "captive portal",
        Kind::Nginx("tests/middleboxes/configs/nginx/portal.conf"),
        [Fate::Refused(302); 3],
    ),
    row(
        "http where https is served",
        Kind::NginxPlain(GOOD_NGINX),
        [Fate::Refused(301); 3],
    ),
];

impl Row {
    /// The row of a name.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn named(name: &str) -> &'static Self {
        let found = ROWS.iter().find(|row| row.name == name);
        found.unwrap_or_else(|| panic!("no row is called {name:?}"))
    }

    /// How many servers stand behind it.
    #[must_use]
    pub fn servers(&self) -> usize {
        match self.kind {
            Kind::Haproxy(GOOD_HAPROXY) => 2,
            _ => 1,
        }
    }

    /// What a client ends up on that tries WebSocket, SSE and long-poll in this order, by the name of shapes and metrics;
    /// `None` where there is nothing to end up on.
    #[must_use]
    pub fn first_that_works(&self) -> Option<&'static str> {
        let all = [
            ("websocket", self.websocket),
            ("sse", self.sse),
            ("long-poll", self.poll),
        ];
        all.iter()
            .find(|(_, fate)| *fate == W)
            .map(|(name, _)| *name)
    }
}

/// The rows as docs/transports.md shows them.
#[must_use]
pub fn table() -> String {
    let mut text = String::from(
        "| between client and server | WebSocket | SSE | long-poll |\n|---|---|---|---|\n",
    );
    for row in &ROWS {
        let fates = [row.websocket, row.sse, row.poll].map(|fate| match fate {
            W => "works".to_owned(),
            Fate::Refused(status) => format!("answered {status}"),
            Fate::Silent => "silent".to_owned(),
            Fate::Breaks => "breaks off".to_owned(),
        });
        text.push_str(&format!("| {} | {} |\n", row.name, fates.join(" | ")));
    }
    text
}
