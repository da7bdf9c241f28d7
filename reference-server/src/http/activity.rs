//! Whether anything is under way on a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Requests of one connection whose responses are not over.
#[derive(Clone, Default)]
pub(super) struct Activity(Arc<Counted>);

#[derive(Default)]
struct Counted {
    open: AtomicUsize,
    /// One permit: the count has changed.
    changed: Notify,
}

impl Activity {
    /// Counts a request until the last byte of its response was taken, or nobody wants it any more.
    pub(super) fn during<E, F: Future<Output = Result<Response, E>>>(
        &self,
        response: F,
    ) -> impl Future<Output = Result<Response, E>> + use<E, F> {
        let open = Open::new(&self.0);
        async move {
            Ok(response
                .await?
                .map(|body| Body::new(Counting { body, _open: open })))
        }
    }

    /// Waits until nothing has been under way for so long.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let changed = self.0.changed.notified();
            match self.0.open.load(Ordering::Acquire) {
                0 => match timeout(limit, changed).await {
                    Ok(()) => {}
                    Err(_) => return,
                },
                _ => changed.await,
            }
        }
    }
}

struct Open(Arc<Counted>);

impl Open {
    fn new(counted: &Arc<Counted>) -> Self {
        counted.open.fetch_add(1, Ordering::AcqRel);
        counted.changed.notify_one();
        Self(Arc::clone(counted))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// A body that counts as under way.
struct Counting {
    body: Body,
    _open: Open,
}

impl hyper::body::Body for Counting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::HttpBody;
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_no_response_has_been_under_way_for_a_while() {
        let activity = Activity::default();
        let began = Instant::now();
        let response = activity.during(async { Ok::<_, ()>(Response::new(Body::from("x"))) });
        let mut idle = std::pin::pin!(activity.idle(LIMIT));
        assert!(timeout(20 * LIMIT, idle.as_mut()).await.is_err());
        // The response is there, its body is not over.
        let response = response.await.unwrap();
        assert_eq!(response.body().size_hint().exact(), Some(1));
        assert!(timeout(20 * LIMIT, idle.as_mut()).await.is_err());
        drop(response);
        idle.await;
        assert_eq!(began.elapsed(), 41 * LIMIT);
        activity.idle(LIMIT).await;
        assert_eq!(began.elapsed(), 42 * LIMIT);
    }
}
