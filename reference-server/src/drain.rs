//! A server that stops: every client is asked to leave, and in the end made to.

use std::time::Duration;

use tidewire_core::wire::Goaway;

use crate::app::App;
use crate::broker::Serving;
use crate::clock;
use crate::connection::Ending;
use tidewire_core::wire::ErrorCode;

/// How many connections are closed at a time when the grace is over, and the pause between: their
/// clients come back somewhere else, and not all at once.
const CLOSE_BATCH: usize = 256;
const CLOSE_PAUSE: Duration = Duration::from_millis(50);
/// After the last close, for sockets to finish.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn drain(app: &App, reason: &str) {
    let connections = &app.connections;
    let grace = app.config.drain_grace;
    let millis = |duration| u32::try_from(clock::millis(duration)).unwrap_or(u32::MAX);
    tracing::info!(clients = connections.open_count(), "draining");
    connections.start_draining(Goaway {
        by_ms: millis(grace),
        window_ms: millis(app.config.timeouts.goaway_window.min(grace)),
        reason: reason.into(),
        alone: app.serving.as_ref().is_none_or(Serving::leave),
    });
    let is_empty = async {
        let nobody_waits = async {
            connections.empty().await;
            app.sessions.nothing_forwarded().await;
        };
        tokio::select! {
            () = nobody_waits => {}
            never = app.sessions.end_abandoned() => match never {},
        }
    };
    if tokio::time::timeout(grace, is_empty).await.is_err() {
        let left = connections.all();
        tracing::info!(clients = left.len(), "the grace is over, closing");
        for batch in left.chunks(CLOSE_BATCH) {
            for peer in batch {
                peer.end(Ending::of(ErrorCode::GoingAway));
            }
            tokio::time::sleep(CLOSE_PAUSE).await;
        }
        // What does not finish by then breaks with the process.
        let _ = tokio::time::timeout(CLOSE_GRACE, connections.empty()).await;
    }
    tracing::info!("drained");
}
