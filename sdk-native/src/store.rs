//! The outbox's store: asked under the session's lock, answering at once or later.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidewire_core::{OutboxReply, OutboxRequest, OutboxStore};
use tokio::sync::Notify;

/// What takes an answer. It never waits for the session's lock: it may be called under it.
pub(crate) type Answer = Box<dyn FnOnce(OutboxReply) + Send>;

/// Any store.
pub(crate) type AnyStore = dyn OutboxStore<Answer> + Send;

/// A store and what it has answered.
pub(crate) struct Store {
    store: Box<AnyStore>,
    /// Bounded by what the core asks for: an answer to each request.
    answers: Arc<Mutex<VecDeque<OutboxReply>>>,
    /// It is being asked: who asks looks for answers right after that.
    asking: Arc<AtomicBool>,
    wake: Arc<Notify>,
}

impl Store {
    /// `wake` makes the driver look for answers.
    pub(crate) fn new(store: Box<AnyStore>, wake: Arc<Notify>) -> Self {
        Self {
            store,
            answers: Arc::default(),
            asking: Arc::default(),
            wake,
        }
    }

    pub(crate) fn ask(&self, request: OutboxRequest) {
        let (answers, wake) = (self.answers.clone(), self.wake.clone());
        let asking = self.asking.clone();
        let done = move |reply| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push_back(reply);
            if !asking.load(Ordering::Acquire) {
                wake.notify_one();
            }
        };
        self.asking.store(true, Ordering::Release);
        self.store.request(request, Box::new(done));
        self.asking.store(false, Ordering::Release);
    }

    /// The next answer that has come.
    pub(crate) fn answer(&self) -> Option<OutboxReply> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tidewire_core::conformance::cases;
    use tidewire_core::{ClientId, MemoryOutbox};

    use super::*;

    #[test]
    fn the_store_in_memory_keeps_all_rules_as_this_driver_asks_it() {
        for case in cases() {
            let outbox = RefCell::new(MemoryOutbox::new(ClientId([7; 16])));
            let store = Store::new(Box::new(outbox), Arc::new(Notify::new()));
            store.ask(OutboxRequest::Open { principal: None });
            assert!(matches!(store.answer(), Some(OutboxReply::Opened(_))));
            for step in case.steps {
                store.ask(step.request.clone());
                let reply = store.answer().expect("it answers at once");
                step.check(&reply)
                    .unwrap_or_else(|wrong| panic!("{}: {wrong}", case.name));
                assert_eq!(store.answer(), None, "one answer to each request");
            }
        }
    }

    /// Answers when it is told to.
    #[derive(Default)]
    struct Later(Arc<Mutex<Vec<(OutboxRequest, Answer)>>>);

    impl OutboxStore<Answer> for Later {
        fn request(&self, request: OutboxRequest, done: Answer) {
            self.0.lock().expect("nobody panics").push((request, done));
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_later_wakes_the_driver() {
        let later = Later::default();
        let (asked, wake) = (later.0.clone(), Arc::new(Notify::new()));
        let store = Store::new(Box::new(later), wake.clone());
        store.ask(OutboxRequest::Open { principal: None });
        assert_eq!(store.answer(), None);
        let (request, done) = asked.lock().expect("nobody panics").remove(0);
        done(MemoryOutbox::new(ClientId([7; 16])).handle(request));
        wake.notified().await;
        assert!(matches!(store.answer(), Some(OutboxReply::Opened(_))));
    }
}
