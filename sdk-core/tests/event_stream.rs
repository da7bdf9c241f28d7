//! The core's reader of server-sent events against tests/fixtures/sse.

#[path = "../../tests/fixtures/sse.rs"]
mod sse;

use tidewire_core::event_stream::{EventStream, StreamEvent};

fn read(pieces: &[Vec<u8>], limit: usize) -> Vec<StreamEvent> {
    let mut stream = EventStream::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        let mut piece = &piece[..];
        while let Some(event) = stream.next(&mut piece).expect("within the limit") {
            events.push(event);
        }
        assert!(piece.is_empty());
    }
    events
}

#[test]
fn every_vector_is_read_alike_however_it_is_cut() {
    for vector in sse::vectors() {
        for pieces in vector.cuts() {
            let events = read(&pieces, 1 << 20);
            let found: Vec<_> = events
                .iter()
                .map(|event| (&*event.kind, String::from_utf8_lossy(&event.data)))
                .collect();
            let expected: Vec<_> = vector
                .events
                .iter()
                .map(|event| (&*event.kind, event.data.as_str().into()))
                .collect();
            assert_eq!(
                found,
                expected,
                "{} in {} pieces",
                vector.name,
                pieces.len()
            );
        }
    }
}

#[test]
fn what_is_not_utf8_comes_as_it_is() {
    let events = read(&[b"data: a\xc3\n\n".to_vec()], 100);
    assert_eq!(events[0].data, b"a\xc3");
}
