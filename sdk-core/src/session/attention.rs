//! Which channels something happened to, and which want to be woken when: so that an input costs by the
//! channels that it concerns, not by those that there are.
//!
//! Invariant: whoever changes a channel goes through [`Session::with_channel`], which notes it here.

use super::Session;
use crate::channel::load::Load;
use crate::channel::{Channel, ChannelId, Turn};
use crate::link::Link;
use crate::time::MonoTime;

use super::phase::Phase;

/// What is known of all channels together, and which of them are to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    /// Something happened to these since the last wait; each once.
    touched: Vec<ChannelId>,
    /// When channels want to be woken, sorted; each once, as [`Channel::wakes_at`] says.
    timers: Vec<(MonoTime, ChannelId)>,
    pub(super) load: Load,
    /// By how much the server's time was ahead of the monotonic clock when timers were set.
    server_ahead_ms: i64,
    /// How often a channel was looked at. For tests: idle channels must cost nothing.
    pub(super) visits: u64,
}

impl Attention {
    fn set_timer(&mut self, id: ChannelId, from: Option<MonoTime>, to: Option<MonoTime>) {
        if from == to {
            return;
        }
        if let Some(from) = from
            && let Ok(at) = self.timers.binary_search(&(from, id))
        {
            self.timers.remove(at);
        }
        if let Some(to) = to
            && let Err(at) = self.timers.binary_search(&(to, id))
        {
            self.timers.insert(at, (to, id));
        }
    }
}

impl Session {
    /// Does something to a channel.
    pub(super) fn with_channel<T>(
        &mut self,
        id: ChannelId,
        act: impl FnOnce(&mut Channel, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let (mut act, mut result) = (Some(act), None);
        self.visit(id, &mut |channel, turn| {
            result = act.take().map(|act| act(channel, turn));
        });
        result
    }

    /// Once for all of its dozens of callers: how a turn begins and ends would be copied to each of them.
    #[inline(never)]
    fn visit(&mut self, id: ChannelId, act: &mut dyn FnMut(&mut Channel, &mut Turn<'_>)) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        self.attention.visits += 1;
        if !std::mem::replace(&mut channel.is_touched, true) {
            self.attention.touched.push(id);
        }
        let before = channel.load();
        self.out.aim(channel.link());
        // During a move its link may be another one than the session's.
        let limits = match (&self.phase, channel.link()) {
            (Phase::Linked(links), Some(conn)) => links.get(conn).and_then(Link::welcomed),
            _ => None,
        };
        let mut turn = Turn {
            now: self.now.mono,
            server_now: self.server_clock.now(self.now),
            server_now_min: self.server_clock.at_least(self.now),
            config: &self.config,
            limits: limits.map_or(self.limits, |welcomed| welcomed.limits),
            author: &self.author,
            linked: channel.link().is_some(),
            rng: &mut self.rng,
            last_handle: &mut self.last_handle,
            out: &mut self.out,
        };
        act(channel, &mut turn);
        let after = channel.load();
        let load = &mut self.attention.load;
        load.rows = load.rows + after.rows - before.rows;
        load.bytes = load.bytes + after.bytes - before.bytes;
        load.unmoved = load.unmoved + after.unmoved - before.unmoved;
    }

    /// Does something to every channel: for what concerns all of them, as a link does.
    pub(super) fn each_channel(&mut self, mut act: impl FnMut(&mut Channel, &mut Turn<'_>)) {
        let ids: Vec<ChannelId> = self.channels.keys().copied().collect();
        for id in ids {
            self.with_channel(id, &mut act);
        }
    }

    /// Does something to every channel that something happened to.
    pub(super) fn each_touched(&mut self, mut act: impl FnMut(&mut Channel, &mut Turn<'_>)) {
        for at in 0..self.attention.touched.len() {
            self.with_channel(self.attention.touched[at], &mut act);
        }
    }

    /// Takes away what was let go and is done. Returns the names.
    pub(super) fn take_done(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        for at in (0..self.attention.touched.len()).rev() {
            let id = self.attention.touched[at];
            if let Some(channel) = self.channels.get(&id).filter(|channel| channel.is_done()) {
                let (load, wakes_at) = (channel.load(), channel.wakes_at);
                self.attention.load.unmoved -= load.unmoved;
                self.attention.set_timer(id, wakes_at, None);
                self.attention.touched.remove(at);
                names.push(channel.name.to_string());
                self.names.remove(&channel.name);
                self.channels.remove(&id);
            }
        }
        names
    }

    /// Channels whose time has come.
    pub(super) fn due_channels(&self) -> Vec<ChannelId> {
        let timers = self.attention.timers.iter();
        let due = timers.take_while(|(at, _)| *at <= self.now.mono);
        due.map(|&(_, id)| id).collect()
    }

    /// The next moment at which something is due for a channel. All that was noted is dealt with.
    pub(super) fn channel_deadline(&mut self) -> Option<MonoTime> {
        let (now, server_now) = (self.now.mono, self.server_clock.at_least(self.now));
        let ahead_ms = server_now.0.wrapping_sub(now.0).cast_signed();
        if std::mem::replace(&mut self.attention.server_ahead_ms, ahead_ms) != ahead_ms
            && self.attention.load.rows > 0
        {
            // Deadlines are in the server's time.
            self.each_channel(|_, _| ());
        }
        for id in std::mem::take(&mut self.attention.touched) {
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.is_touched = false;
                let to = channel.deadline(&self.config, now, server_now);
                let from = std::mem::replace(&mut channel.wakes_at, to);
                self.attention.set_timer(id, from, to);
            }
        }
        Some(self.attention.timers.first()?.0)
    }
}
