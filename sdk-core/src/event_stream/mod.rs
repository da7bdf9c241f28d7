//! Server-sent events: bytes, cut anywhere, become events.
//!
//! The grammar is that of the WHATWG's HTML standard, "Server-sent events". `id` and `retry` are read as the fields
//! that they are, and mean nothing here: cursors say where a stream goes on, the core says when.
//!
//! For transports whose platform has no such reader; a driver that has one need not use this. It takes what is not UTF-8
//! as it is, where a browser would put U+FFFD, so that a codec can refuse it instead of showing it to people.

mod base64;
mod line;

use bytes::Bytes;

use crate::wire::{Codec, ErrorCode};

/// One event: what stood between two blank lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// Its type; `message` if it named none.
    pub kind: String,
    /// Its data lines, with line feeds between them.
    pub data: Vec<u8>,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// An event, or a line, is longer than what was agreed on.
    #[error("an event or a line is longer than {limit} bytes; open another stream")]
    TooLarge {
        /// How long it may be.
        limit: usize,
    },
    /// An event's data is no message.
    #[error("an event holds no message: its data is not base64; open another stream")]
    NotBase64,
}

impl StreamError {
    /// The code that applications see.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::NotBase64 => ErrorCode::Malformed,
        }
    }
}

/// Reads a stream. What it keeps between two calls is a part of one event, and never more than the limit.
#[derive(Debug)]
pub struct EventStream {
    limit: usize,
    /// The part of a line that has come.
    line: Vec<u8>,
    /// A BOM may stand before the first one.
    is_first_line: bool,
    /// The line feed of a CRLF may follow.
    is_after_cr: bool,
    kind: Vec<u8>,
    /// Each data line with a line feed behind it.
    data: Vec<u8>,
}

impl EventStream {
    /// A stream from its beginning. Type, data and the line that is being read take at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            is_first_line: true,
            is_after_cr: false,
            kind: Vec::new(),
            data: Vec::new(),
        }
    }

    /// A stream whose events hold messages of at most `bytes` bytes.
    #[must_use]
    pub const fn for_messages(bytes: usize) -> Self {
        // As base64, with its line's beginning and end, and a type.
        Self::new(bytes.div_ceil(3).saturating_mul(4).saturating_add(64))
    }

    /// Reads on to the end of the next event, and takes what it has read away from `input`. Without an event all of
    /// `input` has been read.
    ///
    /// # Errors
    ///
    /// An event that is too large. No further event comes then.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<StreamEvent>, StreamError> {
        while let Some(&first) = input.first() {
            if std::mem::take(&mut self.is_after_cr) && first == b'\n' {
                *input = &input[1..];
                continue;
            }
            let end = input.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let part = &input[..end.unwrap_or(input.len())];
            if self.held() + part.len() > self.limit {
                return Err(self.give_up());
            }
            let Some(end) = end else {
                self.line.extend_from_slice(part);
                *input = &[];
                return Ok(None);
            };
            self.is_after_cr = input[end] == b'\r';
            *input = &input[end + 1..];
            let event = if self.line.is_empty() {
                self.take(part)
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.take(&line)
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// How many bytes are kept.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.line.len() + self.kind.len() + self.data.len()
    }

    fn give_up(&mut self) -> StreamError {
        let limit = self.limit;
        *self = Self::new(0);
        StreamError::TooLarge { limit }
    }

    /// Takes a line; a blank one ends an event.
    fn take(&mut self, mut line: &[u8]) -> Option<StreamEvent> {
        if std::mem::take(&mut self.is_first_line) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end();
        }
        match line::field(line) {
            (b"data", value) => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            (b"event", value) => self.kind = value.to_vec(),
            // Comments, `id`, `retry`, and what a later version may have.
            _ => {}
        }
        None
    }

    fn end(&mut self) -> Option<StreamEvent> {
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        // Without a data line it is none; the last line feed is none of the data's.
        data.pop()?;
        let kind = match kind.is_empty() {
            true => "message".into(),
            false => String::from_utf8_lossy(&kind).into_owned(),
        };
        Some(StreamEvent { kind, data })
    }
}

impl StreamEvent {
    /// The message that the server put into it (docs/protocol/http.md, "The stream"); `None` for an event of a type that
    /// this version does not know, which is to be skipped.
    ///
    /// # Errors
    ///
    /// Data that is not what its type says.
    pub fn into_message(self, codec: Codec) -> Result<Option<Bytes>, StreamError> {
        let message = match &*self.kind {
            "message" if codec.is_text() => Some(self.data),
            "message" | "b64" => base64::decode(&self.data),
            _ => return Ok(None),
        };
        let message = message.ok_or(StreamError::NotBase64)?;
        Ok(Some(message.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stream: &mut EventStream, mut input: &[u8]) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        while let Some(event) = stream.next(&mut input).unwrap() {
            events.push(event);
        }
        assert!(input.is_empty());
        events
    }

    #[test]
    fn an_event_is_there_with_its_blank_line_and_not_before() {
        let mut stream = EventStream::new(100);
        assert_eq!(all(&mut stream, b"event: b64\ndata: a\nda"), []);
        assert_eq!(all(&mut stream, b"ta: b\r"), []);
        // A CR ends a line by itself: nobody waits for what may follow it.
        let [event] = &all(&mut stream, b"\r")[..] else {
            panic!("one event")
        };
        assert_eq!((&*event.kind, &event.data[..]), ("b64", &b"a\nb"[..]));
        let [next] = &all(&mut stream, b"\ndata\n\n")[..] else {
            panic!("one event")
        };
        assert_eq!((&*next.kind, &next.data[..]), ("message", &b""[..]));
    }

    #[test]
    fn two_events_in_one_piece_come_one_by_one() {
        let mut stream = EventStream::new(100);
        let mut input = &b"data:1\n\ndata:2\n\nda"[..];
        assert_eq!(stream.next(&mut input).unwrap().unwrap().data, b"1");
        assert_eq!(input, b"data:2\n\nda");
        assert_eq!(stream.next(&mut input).unwrap().unwrap().data, b"2");
        assert_eq!(stream.next(&mut input), Ok(None));
        assert_eq!((input, stream.held()), (&b""[..], 2));
    }

    #[test]
    fn what_is_too_long_is_an_error_however_it_comes() {
        let ten = 10 * 1024 * 1024;
        let data = [b"data: ".to_vec(), vec![b'x'; ten], b"\n\n".to_vec()].concat();
        let lines = b"data: 0123456789\n".repeat(ten / 16);
        let endless = vec![b':'; ten];
        let named = [b"event: ".to_vec(), vec![b'x'; ten]].concat();
        for input in [data, lines, endless, named] {
            for size in [ten * 2, 65_536, 1000] {
                let mut stream = EventStream::for_messages(1 << 20);
                let mut error = None;
                for mut chunk in input.chunks(size) {
                    match stream.next(&mut chunk) {
                        Ok(event) => assert_eq!(event, None),
                        Err(found) => {
                            error = Some(found);
                            break;
                        }
                    }
                    assert!(stream.held() <= (1 << 20) * 4 / 3 + 68);
                }
                let error = error.expect("it is too long");
                assert_eq!(error.code().name(), "frame_too_large");
                assert_eq!(stream.held(), 0);
                // Nothing comes any more, whatever is read on.
                assert_ne!(stream.next(&mut &b"\ndata: 1\n\n"[..]).ok(), Some(None));
            }
        }
    }

    #[test]
    fn comments_that_end_never_add_up() {
        let mut stream = EventStream::new(64);
        for _ in 0..1000 {
            assert_eq!(all(&mut stream, b": still here\nid: 7\nretry: 9\n"), []);
        }
        assert_eq!(stream.held(), 0);
    }

    #[test]
    fn the_largest_message_fits_and_one_byte_more_need_not() {
        for bytes in [0_usize, 1, 2, 3, 1000, 1 << 20] {
            let text = "A".repeat(bytes.div_ceil(3) * 4);
            let event = format!("event: b64\ndata: {text}\n\n");
            let mut stream = EventStream::for_messages(bytes);
            assert_eq!(all(&mut stream, event.as_bytes()).len(), 1, "{bytes}");
        }
    }

    #[test]
    fn messages_come_out_as_the_server_put_them_in() {
        let event = |kind: &str, data: &[u8]| StreamEvent {
            kind: kind.into(),
            data: data.to_vec(),
        };
        let read = |codec, kind, data| event(kind, data).into_message(codec);
        let bytes = |message: &'static [u8]| Ok(Some(Bytes::from_static(message)));
        assert_eq!(read(Codec::Protobuf, "message", b""), bytes(b""));
        assert_eq!(
            read(Codec::Protobuf, "message", b"AP8="),
            bytes(b"\x00\xff")
        );
        assert_eq!(read(Codec::Json, "message", b" [\n]"), bytes(b" [\n]"));
        assert_eq!(read(Codec::Json, "b64", b"Ww1d"), bytes(b"[\r]"));
        assert_eq!(read(Codec::Json, "later", b"x"), Ok(None));
        let error = read(Codec::Protobuf, "message", b"<html>").unwrap_err();
        assert_eq!(error.code(), ErrorCode::Malformed);
    }
}
