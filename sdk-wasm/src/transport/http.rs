//! Links over HTTP: JavaScript does the requests (`npm/src/http.ts`), and what comes of a stream is read here.

use std::cell::RefCell;

use js_sys::Uint8Array;
use tidewire_core::ConnId;
use tidewire_core::event_stream::{EventStream, StreamError, StreamEvent};
use tidewire_core::wire::Limits;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    /// What does requests: `Http` of `npm/src/http.ts`.
    pub type Http;

    #[wasm_bindgen(method)]
    pub(crate) fn request(
        this: &Http,
        conn: f64,
        request: f64,
        path: &str,
        body: Uint8Array,
        last: bool,
    );

    #[wasm_bindgen(method)]
    pub(crate) fn abort(this: &Http, request: f64);

    #[wasm_bindgen(method)]
    pub(crate) fn close(this: &Http, conn: f64);

    #[wasm_bindgen(method)]
    pub(crate) fn probe(this: &Http, probe: f64);
}

/// The streams that are open.
#[derive(Default)]
pub(crate) struct Streams(RefCell<Vec<(ConnId, EventStream)>>);

impl Streams {
    /// Makes sure that a stream is known; `true`: this is its first byte.
    pub(crate) fn open(&self, conn: ConnId) -> bool {
        let mut streams = self.0.borrow_mut();
        let is_new = streams.iter().all(|(known, _)| *known != conn);
        if is_new {
            let bytes = Limits::DEFAULT.frame_down_bytes as usize;
            streams.push((conn, EventStream::for_messages(bytes)));
        }
        is_new
    }

    /// The next event of a stream, if it is still wanted.
    pub(crate) fn next(
        &self,
        conn: ConnId,
        input: &mut &[u8],
    ) -> Result<Option<StreamEvent>, StreamError> {
        let mut streams = self.0.borrow_mut();
        match streams.iter_mut().find(|(known, _)| *known == conn) {
            Some((_, stream)) => stream.next(input),
            None => Ok(None),
        }
    }

    pub(crate) fn close(&self, conn: ConnId) {
        self.0.borrow_mut().retain(|(known, _)| *known != conn);
    }
}
