//! Server-sent events, cut anywhere, against a reader that sees the whole stream at once.

use tidewire_core::event_stream::{EventStream, StreamError, StreamEvent};
use tidewire_core::wire::Codec;

use crate::script::Script;

/// Two bytes choose the limit and how the rest is cut.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let limit = match script.byte() {
        0..128 => 1 << 20,
        small => usize::from(small - 128),
    };
    let mut cut = u32::from(script.byte());
    let bytes = script.rest();
    let mut stream = EventStream::new(limit);
    let mut events = Vec::new();
    let mut error = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        // 0: whole; 1 to 8: in pieces of that many bytes; else by chance.
        let size = match cut {
            0 => rest.len(),
            1..=8 => cut as usize,
            _ => {
                cut = cut.wrapping_mul(1_103_515_245).wrapping_add(12_345) | 16;
                (cut >> 16) as usize % 13
            }
        };
        let (mut piece, left) = rest.split_at(size.min(rest.len()));
        rest = left;
        loop {
            match stream.next(&mut piece) {
                Ok(Some(event)) => {
                    assert!(error.is_none(), "an event after the error");
                    events.push(event);
                }
                Ok(None) => {
                    assert!(piece.is_empty(), "a piece is read to its end");
                    break;
                }
                Err(found) => {
                    assert_eq!(found.code().name(), "frame_too_large");
                    error.get_or_insert(found);
                    break;
                }
            }
        }
        assert!(stream.held() <= limit);
    }
    let whole = whole(bytes);
    match error {
        None => assert_eq!(events, whole),
        // Up to what was too large, everything is as it should be.
        Some(StreamError::TooLarge { .. }) => assert!(whole.starts_with(&events)),
        Some(other) => panic!("{other}"),
    }
    for event in events {
        for codec in Codec::ALL {
            message(event.clone(), *codec);
        }
    }
}

/// What a server would write for a message reads as that message.
fn message(event: StreamEvent, codec: Codec) {
    let data = event.data.clone();
    let is_plain = codec == Codec::Json && event.kind == "message";
    match event.into_message(codec) {
        Ok(Some(message)) if is_plain => assert_eq!(message, data),
        Ok(Some(message)) => assert_eq!(encode(&message), data),
        Ok(None) => {}
        Err(error) => assert_eq!(error.code().name(), "malformed"),
    }
}

/// Base64 by the book.
fn encode(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at > three.len() { b'=' } else { digit });
        }
    }
    text
}

/// The grammar in the words of the standard: decode, part into lines, and look at one after the other.
fn whole(bytes: &[u8]) -> Vec<StreamEvent> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = vec![Vec::new()];
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'\r', b'\n', ..] => {
                lines.push(Vec::new());
                at += 1;
            }
            [b'\r' | b'\n', ..] => lines.push(Vec::new()),
            [byte, ..] => lines.last_mut().expect("one line at least").push(*byte),
            [] => {}
        }
        at += 1;
    }
    // What no line end follows is no line.
    lines.pop();
    let (mut events, mut kind, mut data) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for line in lines {
        if line.is_empty() {
            let named = std::mem::take(&mut kind);
            if let Some(data) = data.take() {
                let kind = match named.is_empty() {
                    true => "message".to_owned(),
                    false => String::from_utf8_lossy(&named).into_owned(),
                };
                events.push(StreamEvent { kind, data });
            }
            continue;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => match &mut data {
                None => data = Some(value.to_vec()),
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => kind = value.to_vec(),
            _ => {}
        }
    }
    events
}
