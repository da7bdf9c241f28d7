//! The server's own rules for brokers, and a server that runs on this one.

use std::sync::Arc;

use broker_example::MapBroker;
use tidewire_server::broker::{Broker, conformance};

#[tokio::test]
async fn it_keeps_the_rules() {
    conformance::check(async || Arc::new(MapBroker::new(1)) as Arc<dyn Broker>).await;
}
