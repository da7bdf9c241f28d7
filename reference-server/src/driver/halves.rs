//! The two halves of a connection's task: one that listens, and one that writes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Which half was done first.
pub(super) enum First<L, W> {
    Listening(L),
    Writing(W),
}

/// The listening half's own waker. Patches wake the task for the writing half all the time, and looking
/// at an idle socket costs more than writing a small patch.
struct Listener {
    woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Listener {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

/// Runs both until one is done. The writing half is polled with every wake of the task, the listening one
/// only when it was woken itself: so a wake that the former took from the latter is not lost for long, and
/// what they share (a socket's way out) may wake either.
pub(super) async fn first<L: Future, W: Future>(
    mut listening: Pin<&mut L>,
    mut writing: Pin<&mut W>,
) -> First<L::Output, W::Output> {
    let listener = Arc::new(Listener {
        woken: AtomicBool::new(true),
        task: Mutex::default(),
    });
    let waker = Waker::from(Arc::clone(&listener));
    let mut known: Option<Waker> = None;
    poll_fn(move |cx| {
        if !known
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            known = Some(cx.waker().clone());
            let mut task = listener.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.clone_from(&known);
        }
        if listener.woken.swap(false, Ordering::AcqRel)
            && let Poll::Ready(done) = listening.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return Poll::Ready(First::Listening(done));
        }
        writing.as_mut().poll(cx).map(First::Writing)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn the_listening_half_is_polled_only_when_it_was_woken() {
        let (heard, filled) = (Notify::new(), Notify::new());
        let polls = Cell::new(0);
        let written = Cell::new(0);
        let listening = pin!(async {
            let mut notified = pin!(heard.notified());
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                notified.as_mut().poll(cx)
            })
            .await;
        });
        let writing = pin!(async {
            loop {
                filled.notified().await;
                written.set(written.get() + 1);
            }
        });
        let world = async {
            for n in 1..=5 {
                filled.notify_one();
                while written.get() < n {
                    tokio::task::yield_now().await;
                }
            }
            assert_eq!(polls.get(), 1);
            heard.notify_one();
        };
        let (first, ()) = tokio::join!(first::<_, _>(listening, writing), world);
        let First::<(), ()>::Listening(()) = first else {
            panic!("it was heard");
        };
        assert_eq!(polls.get(), 2);
    }
}
