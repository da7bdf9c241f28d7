//! The output queue, and the message that is being filled for each link.

use std::collections::VecDeque;

use bytes::BytesMut;
use fastrand::Rng;

use super::http::{Heard, Http};
use crate::io::{ConnId, Event, HttpResponse, Output, RequestId};
use crate::time::MonoTime;
use crate::wire::{ClientKind, CloseCode, Codec, EncodedPush, Welcome};

/// Collects outputs. All frames of one turn go out in as few messages as the frame limit allows.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    codec: Codec,
    queue: VecDeque<Output>,
    lanes: Vec<Lane>,
    /// The links over HTTP, welcomed or not.
    requests: Vec<Http>,
    last_request: RequestId,
    /// Where [`Self::frame`] puts its frames.
    aim: Option<ConnId>,
}

/// What is being filled for one welcomed link.
#[derive(Debug)]
struct Lane {
    conn: ConnId,
    message: BytesMut,
    message_bytes_max: usize,
}

impl Outbound {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            ..Self::default()
        }
    }

    #[inline(never)]
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// Opens a link over HTTP.
    pub(crate) fn open(&mut self, http: Http) {
        self.requests.push(http);
    }

    /// A link was welcomed: from now on frames can go to it.
    pub(crate) fn welcome(&mut self, conn: ConnId, welcome: &Welcome, message_bytes_max: usize) {
        if let Some(http) = self.http(conn) {
            http.on_welcome(welcome, message_bytes_max);
        }
        self.attach(conn, message_bytes_max);
    }

    fn attach(&mut self, conn: ConnId, message_bytes_max: usize) {
        self.lanes.push(Lane {
            conn,
            message: BytesMut::new(),
            message_bytes_max,
        });
    }

    /// From now on [`Self::frame`] means this link.
    pub(crate) const fn aim(&mut self, conn: Option<ConnId>) {
        self.aim = conn;
    }

    /// Appends a frame to the message of the link that was aimed at; dropped when there is none.
    pub(crate) fn frame(&mut self, kind: ClientKind) {
        if let Some(conn) = self.aim {
            self.frame_on(conn, kind);
        }
    }

    /// Appends a frame to the message of a link; dropped when it is not welcomed (any more).
    pub(crate) fn frame_on(&mut self, conn: ConnId, kind: ClientKind) {
        if self.lanes.iter().any(|lane| lane.conn == conn) {
            let mut next = BytesMut::new();
            self.codec.encode_client(kind, &mut next);
            self.add(conn, next);
        }
    }

    /// Appends a push to the message of the link that was aimed at.
    pub(crate) fn push_frame(&mut self, push: EncodedPush) {
        if let Some(conn) = self.aim {
            let mut next = BytesMut::new();
            self.codec.encode_push(push, &mut next);
            self.add(conn, next);
        }
    }

    #[inline(never)]
    fn add(&mut self, conn: ConnId, next: BytesMut) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.conn == conn) else {
            return;
        };
        if lane.message.len() + next.len() > lane.message_bytes_max {
            lane.flush(&mut self.queue, &mut self.requests);
        }
        if lane.message.is_empty() {
            lane.message = next;
        } else {
            self.codec.append(&next, &mut lane.message);
        }
    }

    /// Appends a frame to the message of each welcomed link.
    pub(crate) fn frame_on_all(&mut self, kind: ClientKind) {
        let mut next = BytesMut::new();
        self.codec.encode_client(kind, &mut next);
        for at in 0..self.lanes.len() {
            self.add(self.lanes[at].conn, BytesMut::from(&next[..]));
        }
    }

    /// Sends what was appended, then closes the link.
    pub(crate) fn close(&mut self, conn: ConnId, code: CloseCode) {
        if let Some(mut lane) = self.take(conn) {
            lane.flush(&mut self.queue, &mut self.requests);
        }
        if let Some(http) = self.take_http(conn) {
            http.close(self.codec, &mut self.last_request, &mut self.queue);
        }
        self.push(Output::Close { conn, code });
    }

    /// The link is gone by itself: so are the frames for it.
    pub(crate) fn detach(&mut self, conn: ConnId) {
        self.take(conn);
        if self.take_http(conn).is_some() {
            // Its other requests may still be under way.
            let code = CloseCode::GoingAway;
            self.push(Output::Close { conn, code });
        }
    }

    /// A request was answered.
    pub(crate) fn on_response(
        &mut self,
        conn: ConnId,
        request: RequestId,
        response: HttpResponse,
        now: MonoTime,
        rng: &mut Rng,
    ) -> Heard {
        let codec = self.codec;
        let http = self.http(conn);
        http.map_or(Heard::Nothing, |http| {
            http.on_response(codec, request, response, now, rng)
        })
    }

    /// Whether a heartbeat of this link is to be answered.
    pub(crate) fn wants_pong(&mut self, conn: ConnId) -> bool {
        self.http(conn).is_none_or(Http::wants_pong)
    }

    /// There is a new token.
    pub(crate) fn set_token(&mut self, conn: ConnId, token: &str, now: MonoTime) {
        if let Some(http) = self.http(conn) {
            http.set_token(token.to_owned(), now);
        }
    }

    /// The next moment at which something is due for requests.
    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        self.requests.iter().filter_map(Http::deadline).min()
    }

    /// What has become of links whose requests were not answered in time.
    pub(crate) fn check(&mut self, now: MonoTime, rng: &mut Rng) -> Vec<(ConnId, Heard)> {
        let queue = &mut self.queue;
        let links = self.requests.iter_mut();
        links
            .map(|http| (http.conn, http.check(now, rng, queue)))
            .collect()
    }

    fn http(&mut self, conn: ConnId) -> Option<&mut Http> {
        self.requests.iter_mut().find(|http| http.conn == conn)
    }

    fn take_http(&mut self, conn: ConnId) -> Option<Http> {
        let at = self.requests.iter().position(|http| http.conn == conn)?;
        Some(self.requests.remove(at))
    }

    /// Leaves the messages that are being filled as they are.
    pub(crate) fn poll_ready(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(crate) fn poll(&mut self, now: MonoTime) -> Option<Output> {
        if self.queue.is_empty() {
            for lane in &mut self.lanes {
                lane.flush(&mut self.queue, &mut self.requests);
            }
            for http in &mut self.requests {
                http.work(self.codec, now, &mut self.last_request, &mut self.queue);
            }
        }
        self.queue.pop_front()
    }

    fn take(&mut self, conn: ConnId) -> Option<Lane> {
        let at = self.lanes.iter().position(|lane| lane.conn == conn)?;
        Some(self.lanes.remove(at))
    }
}

impl Lane {
    fn flush(&mut self, queue: &mut VecDeque<Output>, requests: &mut [Http]) {
        if self.message.is_empty() {
            return;
        }
        let (conn, message) = (self.conn, self.message.split().freeze());
        match requests.iter_mut().find(|http| http.conn == conn) {
            Some(http) => http.send(message),
            None => queue.push_back(Output::Send { conn, message }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ClientKind, Ping};

    fn pings(codec: Codec, out: &mut Outbound) -> Vec<(u64, usize)> {
        let mut sent = Vec::new();
        while let Some(Output::Send { conn, message }) = out.poll(MonoTime(0)) {
            sent.push((conn.0, codec.decode_client(message, 100).unwrap().len()));
        }
        sent
    }

    #[test]
    fn frames_share_a_message_up_to_the_limit() {
        for &codec in Codec::ALL {
            let mut out = Outbound::new(codec);
            let mut ping = BytesMut::new();
            codec.encode_client(ClientKind::Ping(Ping { t: 1 }), &mut ping);
            out.attach(ConnId(1), 2 * ping.len());
            for t in 1..=3 {
                out.frame_on(ConnId(1), ClientKind::Ping(Ping { t }));
            }
            assert_eq!(pings(codec, &mut out), [(1, 2), (1, 1)], "{codec:?}");
            out.attach(ConnId(2), 1);
            out.frame_on(ConnId(2), ClientKind::Ping(Ping { t: 4 }));
            assert_eq!(pings(codec, &mut out), [(2, 1)], "one goes alone");
        }
    }

    #[test]
    fn two_links_have_a_message_each_and_what_is_for_a_gone_one_is_dropped() {
        let mut out = Outbound::new(Codec::Protobuf);
        let ping = |t| ClientKind::Ping(Ping { t });
        out.attach(ConnId(1), 1_000);
        out.attach(ConnId(2), 1_000);
        out.aim(Some(ConnId(2)));
        out.frame(ping(1));
        out.frame_on(ConnId(1), ping(2));
        out.frame(ping(3));
        out.frame_on(ConnId(3), ping(4));
        assert_eq!(pings(Codec::Protobuf, &mut out), [(1, 1), (2, 2)]);
        out.frame(ping(5));
        out.detach(ConnId(2));
        out.frame(ping(6));
        out.frame_on(ConnId(1), ping(7));
        out.close(ConnId(1), CloseCode::Normal);
        assert_eq!(
            pings(Codec::Protobuf, &mut out),
            [(1, 1)],
            "before the close"
        );
    }
}
