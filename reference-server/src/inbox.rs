//! The bounded way into one channel's task.
//!
//! A queue of its own rather than a `tokio` channel for two reasons: the task takes everything that
//! is ready under one lock, and "close if empty" is one step, so that no input can fall between a
//! channel that ends and its successor.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Mutex;

use tokio::sync::Notify;

/// Why an input was not taken; it comes back whole.
#[derive(Debug)]
pub(crate) enum Refused<T> {
    /// As many wait as may.
    Full(T),
    /// The channel's task has ended: look the channel up again.
    Closed(T),
}

pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    /// One permit: something is in.
    filled: Notify,
    /// Everybody who waits for room.
    room: Notify,
    limit: usize,
}

struct State<T> {
    inputs: VecDeque<T>,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                inputs: VecDeque::new(),
                closed: false,
            }),
            filled: Notify::new(),
            room: Notify::new(),
            limit,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn push(&self, input: T, limit: usize) -> Result<(), Refused<T>> {
        {
            let mut state = self.state();
            if state.closed {
                return Err(Refused::Closed(input));
            }
            if state.inputs.len() >= limit {
                return Err(Refused::Full(input));
            }
            state.inputs.push_back(input);
        }
        self.filled.notify_one();
        Ok(())
    }

    /// Takes an input if there is room.
    pub(crate) fn try_push(&self, input: T) -> Result<(), Refused<T>> {
        self.push(input, self.limit)
    }

    /// Takes an input of which each connection has at most one per channel, whether there is room or not.
    pub(crate) fn push_always(&self, input: T) -> Result<(), Refused<T>> {
        self.push(input, usize::MAX)
    }

    /// Waits for room. Gives the input back when the channel has ended.
    pub(crate) async fn push_waiting(&self, mut input: T) -> Result<(), T> {
        loop {
            // Registered before the attempt, so that room made in between is not missed.
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            match self.try_push(input) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(input)) => return Err(input),
                Err(Refused::Full(back)) => input = back,
            }
            room.await;
        }
    }

    /// Ends a wait in [`Inbox::take`] although nothing is in.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Everything that is in, once something is, or nothing after a [`Inbox::wake`].
    pub(crate) async fn take(&self, into: &mut VecDeque<T>) {
        if !self.try_take(into) {
            self.filled.notified().await;
            self.try_take(into);
        }
    }

    /// Everything that is in; tells whether there was anything.
    pub(crate) fn try_take(&self, into: &mut VecDeque<T>) -> bool {
        {
            let mut state = self.state();
            if state.inputs.is_empty() {
                return false;
            }
            match into.is_empty() {
                true => std::mem::swap(&mut state.inputs, into),
                false => into.append(&mut state.inputs),
            }
        }
        self.room.notify_waiters();
        true
    }

    /// Closes if nothing is in; tells whether it did.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut state = self.state();
        if state.inputs.is_empty() {
            state.closed = true;
        }
        state.closed
    }

    /// Closes and drops what is in: the task is gone.
    pub(crate) fn close(&self) {
        let dropped = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.inputs)
        };
        drop(dropped);
        self.room.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_inbox_gives_the_input_back_but_takes_what_must_go_in() {
        let inbox = Inbox::new(1);
        inbox.try_push(1).unwrap();
        assert!(matches!(inbox.try_push(2), Err(Refused::Full(2))));
        inbox.push_always(3).unwrap();
        let mut taken = VecDeque::new();
        assert!(inbox.try_take(&mut taken));
        assert_eq!(taken, [1, 3]);
    }

    #[test]
    fn it_closes_only_when_empty_and_then_takes_nothing() {
        let inbox = Inbox::new(1);
        inbox.try_push(1).unwrap();
        assert!(!inbox.close_if_empty());
        inbox.try_take(&mut VecDeque::new());
        assert!(inbox.close_if_empty());
        assert!(matches!(inbox.push_always(2), Err(Refused::Closed(2))));
    }

    #[tokio::test]
    async fn whoever_waits_for_room_gets_it() {
        let inbox = Inbox::new(1);
        inbox.try_push(1).unwrap();
        let mut taken = VecDeque::new();
        let (pushed, ()) = tokio::join!(inbox.push_waiting(2), async {
            inbox.take(&mut taken).await;
        });
        assert_eq!(pushed, Ok(()));
        assert!(inbox.try_take(&mut taken));
        assert_eq!(taken, [1, 2]);
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_input_back_when_the_channel_ends() {
        let inbox = Inbox::new(1);
        inbox.try_push(1).unwrap();
        let (pushed, ()) = tokio::join!(inbox.push_waiting(2), async { inbox.close() });
        assert_eq!(pushed, Err(2));
    }
}
