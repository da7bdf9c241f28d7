//! What a request's body says.

use bytes::{Bytes, BytesMut};
use tidewire_core::wire::{ClientKind, Codec, ErrorCode, Hello, PROTOCOL_VERSION};

use super::{Handle, Refused, Replies};
use crate::connection::ConnectionConfig;

/// Which URL a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// `/v1/sse`
    Stream,
    /// `/v1/poll`
    Poll,
    /// `/v1/push`
    Push,
}

/// A request whose body keeps its door's rules. Nobody has looked at its token.
#[derive(Debug)]
pub enum HttpRequest {
    /// A new session, by a stream or by poll 1: the message is its first one.
    Open(Bytes),
    /// A further poll.
    Poll {
        /// Of which session.
        handle: Handle,
        /// Which one.
        number: u32,
        /// Who polls.
        hello: Hello,
        /// What it says beside; empty: nothing.
        message: Bytes,
    },
    /// Frames up.
    Post(Post),
}

/// What a POST to `/v1/push` carries.
#[derive(Debug)]
pub struct Post {
    /// The session that the frames are for.
    pub handle: Option<Handle>,
    /// Which POST of that session it is; 0: its client does not count.
    pub number: u32,
    /// Who sends it.
    pub hello: Hello,
    /// `hello` and its pushes, as one message.
    pub message: Bytes,
    /// The answers to them, which come in the response.
    pub replies: Replies,
    /// How many frames it has beside `hello`.
    pub frames: usize,
    /// What is for the session; empty: nothing.
    pub for_session: Bytes,
}

impl HttpRequest {
    /// Reads a body.
    pub fn read(
        door: Door,
        codec: Codec,
        body: Bytes,
        config: &ConnectionConfig,
    ) -> Result<Self, Refused> {
        let bytes_max = config.limits.frame_up_bytes as usize;
        let mut frames = codec
            .decode_client(body.clone(), bytes_max)
            .map_err(|error| Refused::new(error.code(), error.to_string()))?;
        let frames_max = config.frames_per_message_max;
        if frames.len() > frames_max {
            return Err(unexpected(format!(
                "a body of {} frames is over {frames_max}; send them as several",
                frames.len()
            )));
        }
        if !matches!(frames.first(), Some(ClientKind::Hello(_))) {
            return Err(unexpected("the first frame of a body must be hello"));
        }
        let rest = frames.split_off(1);
        let Some(ClientKind::Hello(hello)) = frames.pop() else {
            return Err(unexpected("the first frame of a body must be hello"));
        };
        if rest
            .iter()
            .any(|frame| matches!(frame, ClientKind::Hello(_)))
        {
            return Err(unexpected("hello came twice"));
        }
        check_hello(&hello, config)?;
        let handle = Handle::read(&hello.session);
        if handle.is_none() && !hello.session.is_empty() {
            return Err(unexpected(
                "hello.session is no handle: home and session, 20 bytes",
            ));
        }
        match (door, hello.poll, handle) {
            (Door::Stream, 0, None) | (Door::Poll, 1, None) => Ok(Self::Open(body)),
            (Door::Stream, ..) => Err(unexpected(
                "a stream opens a session: hello names no poll and no session",
            )),
            (Door::Poll, 0 | 1, _) => Err(unexpected(
                "hello.poll counts from 1; poll 1 opens a session and names none",
            )),
            (Door::Poll, _, None) => Err(unexpected(
                "a further poll names its session in hello.session",
            )),
            (Door::Poll, number, Some(handle)) => Ok(Self::Poll {
                handle,
                number,
                hello,
                message: encode(codec, rest),
            }),
            (Door::Push, 0, None) => read_post(codec, None, hello, rest),
            (Door::Push, _, None) => Err(unexpected(
                "hello.poll counts the POSTs of a session: name it in hello.session",
            )),
            (Door::Push, _, handle) => read_post(codec, handle, hello, rest),
        }
    }
}

fn read_post(
    codec: Codec,
    handle: Option<Handle>,
    hello: Hello,
    rest: Vec<ClientKind>,
) -> Result<HttpRequest, Refused> {
    let frames = rest.len();
    let is_push = |frame: &ClientKind| matches!(frame, ClientKind::Push(_));
    let (pushes, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_push);
    if handle.is_none() {
        if !others.is_empty() {
            return Err(unexpected(
                "all frames but push need a session: name it in hello.session",
            ));
        }
        // Whoever shares a browser with another user must not write in that one's name.
        if !pushes.is_empty() && hello.expect_author.is_empty() {
            return Err(unexpected(
                "a push without a session says in hello.expect_author whose it is; a hello alone is answered with it",
            ));
        }
    }
    let replies = Replies::new(pushes.iter().filter_map(|frame| match frame {
        ClientKind::Push(push) => Some(push),
        _ => None,
    }));
    let first = ClientKind::Hello(Hello {
        session: Bytes::new(),
        poll: 0,
        ..hello.clone()
    });
    Ok(HttpRequest::Post(Post {
        handle,
        number: hello.poll,
        hello,
        message: encode(codec, std::iter::once(first).chain(pushes)),
        replies,
        frames,
        for_session: encode(codec, others),
    }))
}

/// What a connection would refuse too; a request can be told at once.
fn check_hello(hello: &Hello, config: &ConnectionConfig) -> Result<(), Refused> {
    if hello.version != PROTOCOL_VERSION {
        let detail = format!(
            "version {} is not spoken here, {PROTOCOL_VERSION} is",
            hello.version
        );
        return Err(Refused::new(ErrorCode::UnsupportedVersion, detail));
    }
    if hello.token.len() > config.token_bytes_max {
        let bytes_max = config.token_bytes_max;
        let bytes = hello.token.len();
        return Err(unexpected(format!(
            "a token of {bytes} bytes is over {bytes_max}"
        )));
    }
    if hello.client.len() != 16 {
        let bytes = hello.client.len();
        return Err(unexpected(format!(
            "hello.client has {bytes} bytes, not 16"
        )));
    }
    Ok(())
}

fn encode(codec: Codec, frames: impl IntoIterator<Item = ClientKind>) -> Bytes {
    let mut message = BytesMut::new();
    for frame in frames {
        codec.encode_client(frame, &mut message);
    }
    message.freeze()
}

fn unexpected(detail: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::UnexpectedFrame, detail)
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::{Ping, Push, Subscribe};

    use super::*;

    const CODECS: [Codec; 2] = [Codec::Protobuf, Codec::Json];

    fn hello() -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            token: "dev:ana".into(),
            client: Bytes::from_static(&[7; 16]),
            ..Hello::default()
        }
    }

    fn in_session() -> Hello {
        Hello {
            session: Bytes::from_static(&[1; 20]),
            ..hello()
        }
    }

    fn ping() -> ClientKind {
        ClientKind::Ping(Ping { t: 1 })
    }

    fn push() -> ClientKind {
        ClientKind::Push(Push::default())
    }

    fn read(door: Door, codec: Codec, frames: Vec<ClientKind>) -> Result<HttpRequest, Refused> {
        let config = ConnectionConfig::default();
        HttpRequest::read(door, codec, encode(codec, frames), &config)
    }

    #[test]
    fn bodies_that_break_their_doors_rules_are_refused() {
        let hello_with = |edit: fn(&mut Hello)| {
            let mut hello = hello();
            edit(&mut hello);
            ClientKind::Hello(hello)
        };
        let plain = || ClientKind::Hello(hello());
        let inside = || ClientKind::Hello(in_session());
        for codec in CODECS {
            for (door, frames) in [
                (Door::Stream, vec![]),
                (Door::Stream, vec![ping(), plain()]),
                (Door::Stream, vec![plain(), plain()]),
                (Door::Stream, vec![inside()]),
                (Door::Stream, vec![hello_with(|h| h.poll = 1)]),
                (Door::Stream, vec![hello_with(|h| h.version = 2)]),
                (Door::Stream, vec![hello_with(|h| h.client = Bytes::new())]),
                (
                    Door::Stream,
                    vec![hello_with(|h| h.token = "x".repeat(20_000))],
                ),
                (Door::Poll, vec![plain()]),
                (Door::Poll, vec![inside()]),
                (Door::Poll, vec![hello_with(|h| h.poll = 2)]),
                (
                    Door::Poll,
                    vec![hello_with(|h| h.session = Bytes::from_static(&[1; 16]))],
                ),
                // Without a session there is nothing to count.
                (Door::Push, vec![hello_with(|h| h.poll = 2)]),
                (Door::Push, vec![plain(), ping()]),
                (Door::Push, vec![plain(), push()]),
            ] {
                let refused = read(door, codec, frames.clone()).unwrap_err();
                assert_eq!(refused.status, 400, "{door:?} {frames:?}");
            }
        }
    }

    #[test]
    fn a_body_is_taken_apart_by_who_answers_what() {
        let subscribe = || ClientKind::Subscribe(Subscribe::default());
        for codec in CODECS {
            let opening = vec![ClientKind::Hello(hello()), subscribe()];
            let body = encode(codec, opening.clone());
            match read(Door::Stream, codec, opening).unwrap() {
                HttpRequest::Open(message) => assert_eq!(message, body),
                other => panic!("{other:?}"),
            }
            let poll = Hello {
                poll: 5,
                ..in_session()
            };
            match read(Door::Poll, codec, vec![ClientKind::Hello(poll), ping()]).unwrap() {
                HttpRequest::Poll {
                    number: 5, message, ..
                } => assert_eq!(codec.decode_client(message, 1000).unwrap(), [ping()]),
                other => panic!("{other:?}"),
            }
            let mixed = vec![ClientKind::Hello(in_session()), push(), ping(), push()];
            match read(Door::Push, codec, mixed).unwrap() {
                HttpRequest::Post(post) => {
                    assert_eq!(post.frames, 3);
                    assert!(!post.replies.is_done());
                    let own = codec.decode_client(post.message, 10_000).unwrap();
                    assert_eq!(own, [ClientKind::Hello(hello()), push(), push()]);
                    let others = codec.decode_client(post.for_session, 1000).unwrap();
                    assert_eq!(others, [ping()]);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_body_beyond_its_limits_is_refused() {
        let config = ConnectionConfig::default();
        let large = Bytes::from(vec![0; config.limits.frame_up_bytes as usize + 1]);
        let refused = HttpRequest::read(Door::Push, Codec::Protobuf, large, &config).unwrap_err();
        assert_eq!(refused.status, 413);
        let many = vec![ping(); config.frames_per_message_max + 1];
        let refused = read(Door::Push, Codec::Protobuf, many).unwrap_err();
        assert_eq!(
            (refused.status, refused.code),
            (400, ErrorCode::UnexpectedFrame)
        );
        let none = HttpRequest::read(Door::Push, Codec::Json, "{".into(), &config).unwrap_err();
        assert_eq!((none.status, none.code), (400, ErrorCode::Malformed));
    }
}
