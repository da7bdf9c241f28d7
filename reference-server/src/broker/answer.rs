//! What a broker gives at once: an answer, or the promise of one.

use std::pin::Pin;
use std::task::{Context, Poll};

/// An answer, there or on its way. A broker that knows it at once saves a turn of the runtime.
pub enum Answer<T> {
    /// It is there.
    Ready(T),
    /// It needs no driver of its own: dropping it does not undo what was asked.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Answer<T> {
    /// One that is on its way.
    pub fn later(answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }
}

/// Nothing in it is pinned but the box.
impl<T> Unpin for Answer<T> {}

impl<T: Send + 'static> Future for Answer<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // What was told is not told again.
        match std::mem::replace(&mut *self, Self::later(std::future::pending())) {
            Self::Ready(answer) => Poll::Ready(answer),
            Self::Later(mut later) => {
                let polled = later.as_mut().poll(context);
                if polled.is_pending() {
                    *self = Self::Later(later);
                }
                polled
            }
        }
    }
}
