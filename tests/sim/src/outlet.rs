//! The bounded queue from a node's channels to one connection, as the network half has it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidewire_server::channel::{Message, Outlet, OutletFull};

/// A queue that refuses what does not fit.
#[derive(Debug)]
pub struct Queue {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Bytes>,
    bytes: usize,
    bytes_most: usize,
    /// The smallest message that was refused since there was room.
    refused: Option<usize>,
    refusals: u64,
}

impl Queue {
    /// `bytes_max`: one message always fits into an empty queue, whatever its size.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
        }
    }

    /// Takes a message of the connection itself (welcome, pong, heartbeat, error), which has its own
    /// small allowance beside the bound.
    pub fn put(&self, message: &Bytes) {
        let mut state = self.state();
        state.bytes += message.len();
        state.messages.push_back(message.clone());
    }

    /// Takes out up to `bytes_max` bytes, at least one queued message; they travel as one message.
    pub fn take(&self, bytes_max: usize) -> Vec<Bytes> {
        let mut state = self.state();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = state.messages.front()
            && (taken.is_empty() || bytes + next.len() <= bytes_max)
        {
            bytes += next.len();
            taken.extend(state.messages.pop_front());
        }
        state.bytes -= bytes;
        taken
    }

    /// Whether anything waits in it, or for room in it.
    pub fn wants_out(&self) -> bool {
        let state = self.state();
        !state.messages.is_empty() || state.refused.is_some()
    }

    /// Whether a message was refused and there is room again; asking forgets it.
    pub fn has_room_again(&self) -> bool {
        let mut state = self.state();
        let again = state.refused.is_some_and(|bytes| {
            state.messages.is_empty() || state.bytes + bytes <= self.bytes_max
        });
        if again {
            state.refused = None;
        }
        again
    }

    /// How many messages were refused so far.
    pub fn refusals(&self) -> u64 {
        self.state().refusals
    }

    /// The most bytes it held, and the most it may hold.
    pub fn bytes_most(&self) -> (usize, usize) {
        (self.state().bytes_most, self.bytes_max)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Queue {
    fn try_send(&self, message: &Message) -> Result<(), OutletFull> {
        let message = message.proto();
        let mut state = self.state();
        if !state.messages.is_empty() && state.bytes + message.len() > self.bytes_max {
            let smallest = state
                .refused
                .map_or(message.len(), |known| known.min(message.len()));
            state.refused = Some(smallest);
            state.refusals += 1;
            return Err(OutletFull);
        }
        state.bytes += message.len();
        state.bytes_most = state.bytes_most.max(state.bytes);
        state.messages.push_back(message.clone());
        Ok(())
    }
}
