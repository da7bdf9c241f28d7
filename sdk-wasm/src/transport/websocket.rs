//! One WebSocket, of the browser or of a constructor that speaks its language.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use js_sys::{Array, ArrayBuffer, Function, Reflect, Uint8Array};
use tidewire_core::wire::{CloseCode, SUBPROTOCOL_PROTO};
use tidewire_core::{ConnId, Input, LinkClosed, LinkStage};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BinaryType, CloseEvent, Event, EventTarget, MessageEvent, WebSocket};

use crate::driver::Driver;

thread_local! {
    /// Outlives every socket: Node's `ws` throws an error that nobody listens to, even after `close`. A browser says
    /// nothing more in it; `ws` says what went wrong, right before the close that always follows.
    static ON_ERROR: Closure<dyn Fn(Event)> = Closure::new(|event: Event| {
        let message = Reflect::get(&event, &"message".into());
        let message = message.ok().and_then(|text| text.as_string());
        FAILED.replace(event.target().zip(message));
    });
    /// The socket that has failed last, and what it said.
    static FAILED: RefCell<Option<(EventTarget, String)>> = const { RefCell::new(None) };
}

/// A socket and its listeners. Dropping it takes the listeners off and closes the socket.
pub(crate) struct WebSocketLink {
    conn: ConnId,
    socket: WebSocket,
    _opened: Closure<dyn Fn()>,
    _message: Closure<dyn Fn(MessageEvent)>,
    _closed: Closure<dyn Fn(CloseEvent)>,
}

impl WebSocketLink {
    /// Starts to connect; `first` goes out as soon as it is up. Errors: what the constructor throws, for instance for a malformed URL.
    pub(crate) fn open(
        conn: ConnId,
        constructor: &Function,
        url: &str,
        first: Bytes,
        driver: &Weak<Driver>,
    ) -> Result<Self, JsValue> {
        let protocols = Array::of1(&SUBPROTOCOL_PROTO.into());
        let socket: WebSocket =
            Reflect::construct(constructor, &Array::of2(&url.into(), &protocols))?.unchecked_into();
        socket.set_binary_type(BinaryType::Arraybuffer);

        let stage = Rc::new(Cell::new(LinkStage::Dialling));
        let opened = {
            let (driver, socket) = (driver.clone(), socket.clone());
            let stage = Rc::clone(&stage);
            Closure::<dyn Fn()>::new(move || {
                stage.set(LinkStage::Opened);
                match (send(&socket, &first), driver.upgrade()) {
                    (Err(thrown), Some(driver)) => driver.send_failed(conn, &thrown),
                    _ => tell(&driver, Input::Opened { conn }),
                }
            })
        };
        let message = {
            let driver = driver.clone();
            let stage = Rc::clone(&stage);
            Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
                stage.set(LinkStage::Talking);
                let message = bytes_of(&event.data());
                tell(&driver, Input::Received { conn, message });
            })
        };
        let closed = {
            let driver = driver.clone();
            Closure::<dyn Fn(CloseEvent)>::new(move |event: CloseEvent| {
                if let Some(driver) = driver.upgrade() {
                    driver.closed(conn, link_closed(&event, stage.get()));
                }
            })
        };
        socket.set_onopen(Some(opened.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(closed.as_ref().unchecked_ref()));
        ON_ERROR.with(|failed| socket.set_onerror(Some(failed.as_ref().unchecked_ref())));
        Ok(Self {
            conn,
            socket,
            _opened: opened,
            _message: message,
            _closed: closed,
        })
    }

    /// Which link this is.
    pub(crate) const fn conn(&self) -> ConnId {
        self.conn
    }

    /// The socket itself, to use while nothing is borrowed.
    pub(crate) fn socket(&self) -> WebSocket {
        self.socket.clone()
    }
}

impl Drop for WebSocketLink {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
    }
}

/// Sends one message. Copies first: a view into the wasm's memory must not outlive the call.
pub(crate) fn send(socket: &WebSocket, message: &[u8]) -> Result<(), JsValue> {
    socket.send_with_js_u8_array(&Uint8Array::from(message))
}

/// Closes a socket. Browsers let a page send no code but 1000; others go without one, and the
/// error frame before it has said why.
pub(crate) fn close(socket: &WebSocket, code: CloseCode) {
    // It throws for a code out of range only.
    let _ = match code {
        CloseCode::Normal => socket.close_with_code(code as u16),
        _ => socket.close(),
    };
}

fn tell(driver: &Weak<Driver>, input: Input) {
    if let Some(driver) = driver.upgrade() {
        driver.run(|session, now| session.handle_input(now, input));
    }
}

fn bytes_of(data: &JsValue) -> Bytes {
    match data.dyn_ref::<ArrayBuffer>() {
        Some(buffer) => Uint8Array::new(buffer).to_vec().into(),
        // Text where binary was agreed. The core calls it malformed and ends the connection.
        None => data.as_string().unwrap_or_default().into(),
    }
}

fn link_closed(event: &CloseEvent, stage: LinkStage) -> LinkClosed {
    let code = event.code();
    let failed = FAILED
        .take()
        .filter(|(socket, _)| Some(socket) == event.target().as_ref());
    let reason = match (event.reason(), failed) {
        (reason, Some((_, why))) if reason.is_empty() => why,
        (reason, _) => reason,
    };
    LinkClosed {
        // 1005 and 1006 are the platform's words for "no close frame".
        code: (!matches!(code, 1005 | 1006)).then_some(code),
        stage,
        detail: match (reason.is_empty(), code) {
            (false, _) => reason,
            (true, 1006) => "the connection broke, or could not be opened".into(),
            (true, _) => "the server closed the connection".into(),
        },
        // A browser tells no page how a handshake was refused.
        ..LinkClosed::default()
    }
}
