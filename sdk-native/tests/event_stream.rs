//! The reader of server-sent events that native clients use, `eventsource-client`, against tests/fixtures/sse: where it
//! reads otherwise than the standard and our own reader says, it stands in a list.

#[path = "../../tests/fixtures/sse.rs"]
mod sse;

use bytes::Bytes;
use eventsource_client::{Client, ClientBuilder, Error, ReconnectOptions, SSE};
use futures_util::{StreamExt, stream};
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, Request, Response, ResponseFuture};

/// Between two blank lines are only fields that it does not know: the standard skips them.
const NO_EVENT: &str = "invalid event";
/// What is not UTF-8: the standard puts U+FFFD in its place.
const NO_TEXT: &str = "invalid line: malformed ";

/// The vectors at which it gives up, and what it says. It reads every other one as the standard has it. A server of ours
/// sends neither.
const DIFFERENCES: [(&str, &str); 19] = [
    (
        "bom: a BOM before a second event is part of the name",
        NO_EVENT,
    ),
    ("bom: the begin of a BOM is part of the name", NO_TEXT),
    ("bom: a BOM of UTF-16 is none", NO_TEXT),
    ("fields: unknown fields alone make no event", NO_EVENT),
    ("fields: HTML in place of events makes none", NO_EVENT),
    (
        "fields: HTTP headers in place of events make none",
        NO_EVENT,
    ),
    ("utf8: a lone continuation byte", NO_TEXT),
    ("utf8: a character that a line end cuts", NO_TEXT),
    ("utf8: a character of which one byte is there", NO_TEXT),
    ("utf8: three of four bytes are one replacement", NO_TEXT),
    ("utf8: an overlong slash", NO_TEXT),
    ("utf8: an overlong line feed is no line end", NO_TEXT),
    ("utf8: a surrogate", NO_TEXT),
    ("utf8: beyond the last code point", NO_TEXT),
    ("utf8: bytes that never occur", NO_TEXT),
    ("utf8: a type that is not UTF-8", NO_TEXT),
    ("utf8: a comment that is not UTF-8", NO_TEXT),
    ("utf8: a cut character right before a colon", NO_TEXT),
    ("utf8: Latin-1 is not guessed", NO_TEXT),
];

/// Answers every request with a stream that is there already.
#[derive(Clone)]
struct Answers(Vec<Vec<u8>>);

impl HttpTransport for Answers {
    fn request(&self, _: Request<Option<Bytes>>) -> ResponseFuture {
        let pieces = self.0.clone().into_iter().map(|piece| Ok(piece.into()));
        let body: ByteStream = Box::pin(stream::iter(pieces));
        Box::pin(async { Ok(Response::new(body)) })
    }
}

/// Type, data and id of each event; and the error, unless the stream just ended.
async fn read(pieces: Vec<Vec<u8>>) -> (Vec<(String, String, String)>, Option<String>) {
    let once = ReconnectOptions::reconnect(false).retry_initial(false);
    let client = ClientBuilder::for_url("http://localhost/")
        .expect("a good url")
        .reconnect(once.build())
        .redirect_limit(0)
        .build_with_transport(Answers(pieces));
    let mut events = Vec::new();
    let mut stream = client.stream();
    loop {
        match stream.next().await {
            Some(Ok(SSE::Event(event))) => {
                let id = event.id.unwrap_or_default();
                events.push((event.event_type, event.data, id));
            }
            Some(Ok(SSE::Connected(_) | SSE::Comment(_))) => {}
            None | Some(Err(Error::Eof | Error::UnexpectedEof)) => return (events, None),
            Some(Err(error)) => return (events, Some(error.to_string())),
        }
    }
}

#[tokio::test]
async fn it_reads_the_vectors_but_for_those_that_are_listed() {
    let mut found = Vec::new();
    for vector in sse::vectors() {
        let expected: Vec<_> = vector
            .events
            .iter()
            .map(|event| (event.kind.clone(), event.data.clone(), event.id.clone()))
            .collect();
        for pieces in vector.cuts() {
            let (events, error) = read(pieces).await;
            match error {
                None => assert_eq!(events, expected, "{}", vector.name),
                // Up to what it gave up at, everything is as it should be.
                Some(error) => {
                    assert!(expected.starts_with(&events), "{}", vector.name);
                    found.push((vector.name.clone(), error));
                }
            }
        }
    }
    found.dedup_by(|one, other| one.0 == other.0);
    let listed = DIFFERENCES.map(|(name, _)| name);
    let names: Vec<_> = found.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, listed, "{found:#?}");
    for ((name, says), (_, error)) in DIFFERENCES.iter().zip(&found) {
        assert!(error.starts_with(says), "{name}: {error}");
    }
}
