//! The driver loop: feed one input, do everything that the core asks for, sleep until the next.
//!
//! Commands of the application only do at once what cannot wait; their frames go out in a microtask,
//! so that many commands in one turn of the event loop share messages.
//!
//! Invariant: no `RefCell` is borrowed while JavaScript runs. Whatever JavaScript does from inside
//! a socket's method or from inside `flush` may call back in; such a call feeds its input, and the
//! turn that is under way picks up what follows from it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;
use js_sys::{Array, Function, Uint8Array};
use tidewire_core::time::{MonoTime, Now};
use tidewire_core::wire::CloseCode;
use tidewire_core::{
    ConnId, HttpResponse, Input, LinkClosed, LinkStage, OutboxReply, OutboxRequest, OutboxStore,
    Output, Probed, RequestId, Session,
};
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::timer::Timer;
use crate::transport::http::Streams;
use crate::transport::{Http, WebSocketLink, websocket};
use crate::{clock, convert};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = queueMicrotask)]
    fn queue_microtask(task: &JsValue);
}

/// Where the outbox stands. It may answer at once or later.
pub(crate) type Store = dyn OutboxStore<Box<dyn FnOnce(OutboxReply)>>;

/// How far a turn goes.
#[derive(Clone, Copy)]
enum Until {
    /// All is done, and the timer is set.
    Idle,
    /// Nothing is left but frames, which may still share a message.
    OnlyFrames,
}

/// One session and what it needs of the platform.
pub(crate) struct Driver {
    me: Weak<Self>,
    session: RefCell<Session>,
    store: Box<Store>,
    /// The present link, and during a move the next one.
    links: RefCell<Vec<WebSocketLink>>,
    streams: Streams,
    timer: Timer,
    deadline: Cell<Option<MonoTime>>,
    in_turn: Cell<bool>,
    /// A microtask is queued that sends what commands left unsent.
    frames_wait: Cell<bool>,
    url: String,
    /// `None`: the platform has none, and none is asked for.
    websocket: Option<Function>,
    http: Http,
    flush: Function,
}

impl Driver {
    pub(crate) fn new(
        session: Session,
        store: Box<Store>,
        url: String,
        websocket: Option<Function>,
        http: Http,
        flush: Function,
    ) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            me: me.clone(),
            session: RefCell::new(session),
            store,
            links: RefCell::default(),
            streams: Streams::default(),
            timer: Timer::default(),
            deadline: Cell::new(None),
            in_turn: Cell::new(false),
            frames_wait: Cell::new(false),
            url,
            websocket,
            http,
            flush,
        })
    }

    /// Reads from the session.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Session) -> T) -> T {
        read(&self.session.borrow())
    }

    /// Does to the session what has no consequences for now.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Session) -> T) -> T {
        act(&mut self.session.borrow_mut())
    }

    /// Gives a command of the application to the session. What it wants sent goes out at the end of the
    /// present turn of the event loop.
    pub(crate) fn command<T>(&self, command: impl FnOnce(&mut Session, Now) -> T) -> T {
        let result = command(&mut self.session.borrow_mut(), clock::now());
        self.turn(Until::OnlyFrames);
        if !self.frames_wait.replace(true) {
            let me = self.me.clone();
            queue_microtask(&Closure::once_into_js(move || {
                if let Some(driver) = me.upgrade() {
                    driver.frames_wait.set(false);
                    driver.turn(Until::Idle);
                }
            }));
        }
        result
    }

    /// Feeds an input to the session, then does all that follows from it.
    pub(crate) fn run<T>(&self, command: impl FnOnce(&mut Session, Now) -> T) -> T {
        let result = command(&mut self.session.borrow_mut(), clock::now());
        self.turn(Until::Idle);
        result
    }

    /// A message could not be sent.
    pub(crate) fn send_failed(&self, conn: ConnId, thrown: &JsValue) {
        let reason = LinkClosed {
            stage: LinkStage::Opened,
            detail: message_of(thrown),
            ..LinkClosed::default()
        };
        self.run(|session, now| session.handle_input(now, Input::SendFailed { conn, reason }));
    }

    /// A link is gone.
    pub(crate) fn closed(&self, conn: ConnId, reason: LinkClosed) {
        drop(self.take_link(conn));
        self.streams.close(conn);
        self.run(|session, now| session.handle_input(now, Input::Closed { conn, reason }));
    }

    /// A stream brought bytes.
    pub(crate) fn chunk(&self, conn: ConnId, mut bytes: &[u8]) {
        if self.streams.open(conn) {
            self.run(|session, now| session.handle_input(now, Input::Opened { conn }));
        }
        loop {
            match self.streams.next(conn, &mut bytes) {
                Ok(Some(event)) => {
                    let input = Input::Event { conn, event };
                    self.run(|session, now| session.handle_input(now, input));
                }
                Ok(None) => return,
                Err(error) => {
                    self.http.close(conn.0 as f64);
                    let reason = LinkClosed {
                        stage: LinkStage::Talking,
                        detail: error.to_string(),
                        ..LinkClosed::default()
                    };
                    return self.closed(conn, reason);
                }
            }
        }
    }

    /// A request was answered, or not.
    pub(crate) fn responded(&self, conn: ConnId, request: RequestId, response: HttpResponse) {
        let input = Input::Response {
            conn,
            request,
            response,
        };
        self.run(|session, now| session.handle_input(now, input));
    }

    /// A probe was answered, or not.
    pub(crate) fn probed(&self, probe: u64, found: Probed) {
        self.run(|session, now| session.handle_input(now, Input::Probed { probe, found }));
    }

    fn turn(&self, until: Until) {
        if self.in_turn.replace(true) {
            return;
        }
        let events = Array::new();
        loop {
            // A statement of its own, so that the borrow ends here.
            let output = match until {
                Until::Idle => self.session.borrow_mut().poll_output(),
                Until::OnlyFrames => {
                    let ready = self.session.borrow_mut().poll_ready();
                    let Some(ready) = ready else { break };
                    ready
                }
            };
            match output {
                Output::Open { conn, first } => self.open(conn, first),
                Output::Request {
                    conn,
                    request,
                    door,
                    body,
                    last,
                } => {
                    // A copy: a view into the wasm's memory must not outlive the call.
                    let body = Uint8Array::from(&body[..]);
                    let (conn, request) = (conn.0 as f64, request.0 as f64);
                    self.http.request(conn, request, door.path(), body, last);
                }
                Output::Abort { request, .. } => self.http.abort(request.0 as f64),
                Output::Probe { probe } => self.http.probe(probe as f64),
                Output::Send { conn, message } => self.send(conn, &message),
                Output::Close { conn, code } => self.close(conn, code),
                Output::Outbox(request) => self.ask_store(request),
                Output::FetchToken => {
                    events.push(&convert::token_wanted());
                }
                Output::Event(event) => {
                    if let Some(event) = convert::event(event) {
                        events.push(&event);
                    }
                }
                Output::Wait(deadline) => {
                    self.sleep_until(deadline);
                    break;
                }
            }
        }
        self.in_turn.set(false);
        if events.length() > 0
            && let Err(thrown) = self.flush.call1(&JsValue::UNDEFINED, &events)
        {
            // The facade guards every callback of the application, so this is a fault of its own.
            wasm_bindgen::throw_val(thrown);
        }
    }

    fn open(&self, conn: ConnId, first: Bytes) {
        let Some(constructor) = &self.websocket else {
            return;
        };
        match WebSocketLink::open(conn, constructor, &self.url, first, &self.me) {
            Ok(link) => self.links.borrow_mut().push(link),
            Err(thrown) => self.closed(
                conn,
                LinkClosed {
                    detail: message_of(&thrown),
                    ..LinkClosed::default()
                },
            ),
        }
    }

    fn send(&self, conn: ConnId, message: &Bytes) {
        let socket = self
            .links
            .borrow()
            .iter()
            .find(|link| link.conn() == conn)
            .map(WebSocketLink::socket);
        if let Some(socket) = socket
            && let Err(thrown) = websocket::send(&socket, message)
        {
            self.send_failed(conn, &thrown);
        }
    }

    fn close(&self, conn: ConnId, code: CloseCode) {
        if let Some(link) = self.take_link(conn) {
            let socket = link.socket();
            drop(link);
            websocket::close(&socket, code);
            return;
        }
        self.streams.close(conn);
        self.http.close(conn.0 as f64);
    }

    /// Within this turn, or in one of its own, as soon as the store answers.
    fn ask_store(&self, request: OutboxRequest) {
        let me = self.me.clone();
        let done = move |reply| {
            if let Some(driver) = me.upgrade() {
                driver.run(|session, now| session.handle_input(now, Input::Outbox(reply)));
            }
        };
        self.store.request(request, Box::new(done));
    }

    fn take_link(&self, conn: ConnId) -> Option<WebSocketLink> {
        let mut links = self.links.borrow_mut();
        let at = links.iter().position(|link| link.conn() == conn)?;
        Some(links.swap_remove(at))
    }

    fn sleep_until(&self, deadline: Option<MonoTime>) {
        self.deadline.set(deadline);
        let me = self.me.clone();
        self.timer.set(deadline, move || {
            if let Some(driver) = me.upgrade() {
                driver.ring();
            }
        });
    }

    fn ring(&self) {
        self.timer.rang();
        match self.deadline.get() {
            Some(deadline) if clock::now().mono < deadline => self.sleep_until(Some(deadline)),
            Some(_) => self.run(|session, now| session.handle_input(now, Input::Timeout)),
            None => {}
        }
    }
}

/// What a thrown value says.
fn message_of(thrown: &JsValue) -> String {
    js_sys::Reflect::get(thrown, &"message".into())
        .ok()
        .and_then(|message| message.as_string())
        .unwrap_or_else(|| "the socket refused".into())
}
