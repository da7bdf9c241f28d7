//! Whether this server may still take something in, as its budget of memory says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewire_core::time::MonoTime;

use crate::budget::{Account, Budget, Kind};
use crate::clock::Clock;
use crate::config::Config;
use crate::connections::Connections;
use crate::machine_memory;
use crate::telemetry::Metrics;

/// Send queues are looked at so often. To count each message of each client would cost more than its way
/// through the queue.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The budget, and what is counted when somebody asks.
pub(crate) struct Pressure {
    budget: Budget,
    connections: Arc<Connections>,
    clock: Clock,
    queues: Mutex<Queues>,
}

struct Queues {
    looked: Option<MonoTime>,
    account: Account,
}

/// The budget that a configuration gives.
pub(crate) fn budget(config: &Config) -> Budget {
    let bytes_max = match config.memory_bytes_max {
        0 => machine_memory::half(),
        bytes => bytes,
    };
    Budget::new(bytes_max, config.backpressure_threshold)
}

impl Pressure {
    pub(crate) fn new(budget: Budget, connections: Arc<Connections>, clock: Clock) -> Arc<Self> {
        let queues = Queues {
            looked: None,
            account: budget.account(),
        };
        Arc::new(Self {
            budget,
            connections,
            clock,
            queues: Mutex::new(queues),
        })
    }

    pub(crate) fn account(&self) -> Account {
        self.budget.account()
    }

    /// Whether nobody new is taken in.
    pub(crate) fn is_high(&self) -> bool {
        self.look();
        self.budget.is_pressed()
    }

    /// Whether pushes have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.look();
        self.budget.is_full()
    }

    fn look(&self) {
        // Whoever finds somebody looking need not wait for what that one sees.
        let Ok(mut queues) = self.queues.try_lock() else {
            return;
        };
        let now = self.clock.mono();
        if queues
            .looked
            .is_none_or(|looked| now >= looked + LOOK_AGAIN)
        {
            queues.looked = Some(now);
            let bytes = self.connections.queued_bytes();
            queues.account.set(Kind::Queue, bytes);
        }
    }

    /// What operators see of it.
    pub(crate) fn report(&self, metrics: &Metrics) {
        self.look();
        metrics.set_memory(&self.budget);
    }
}
