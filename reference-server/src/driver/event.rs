//! Messages as server-sent events.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tidewire_core::wire::Codec;

/// Some proxies and browsers hold back the first bytes of a response up to about this.
const PADDING_BYTES: usize = 2048;

/// A comment that readers skip: whoever gets it knows that nobody holds the stream back.
pub(super) fn padding() -> Bytes {
    let mut line = vec![b' '; PADDING_BYTES];
    line[0] = b':';
    line[PADDING_BYTES - 2..].fill(b'\n');
    line.into()
}

/// One message as one event: Protobuf as base64, JSON as it is.
pub(super) fn event(codec: Codec, message: &[u8]) -> Bytes {
    let mut event = String::new();
    match std::str::from_utf8(message) {
        Ok(text) if codec.is_text() && !text.contains('\r') => {
            event.reserve(text.len() + 8);
            for line in text.split('\n') {
                event.push_str("data:");
                // Readers take one space away: it has to be one of ours.
                event.push(' ');
                event.push_str(line);
                event.push('\n');
            }
        }
        _ => {
            event.reserve(message.len().div_ceil(3) * 4 + 24);
            // A CR would end a line.
            if codec.is_text() {
                event.push_str("event: b64\n");
            }
            event.push_str("data: ");
            STANDARD.encode_string(message, &mut event);
            event.push('\n');
        }
    }
    event.push('\n');
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_event_whatever_its_bytes() {
        for (codec, message, expected) in [
            (Codec::Protobuf, &b""[..], "data: \n\n"),
            (Codec::Protobuf, b"\x00\xff", "data: AP8=\n\n"),
            (Codec::Protobuf, b"a\nb", "data: YQpi\n\n"),
            (Codec::Json, b"[]", "data: []\n\n"),
            (Codec::Json, b" [\n]", "data:  [\ndata: ]\n\n"),
            (Codec::Json, b"[\r]", "event: b64\ndata: Ww1d\n\n"),
        ] {
            assert_eq!(event(codec, message), expected, "{message:?}");
        }
    }

    #[test]
    fn the_padding_is_one_comment() {
        let padding = padding();
        assert_eq!(padding.len(), PADDING_BYTES);
        assert!(padding.starts_with(b":") && padding.ends_with(b"\n\n"));
        assert_eq!(padding.iter().filter(|byte| **byte == b'\n').count(), 2);
    }
}
