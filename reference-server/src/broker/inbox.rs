//! A node's inbox: what other nodes of the same broker ask of it. At least once, until it expires.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidewire_core::time::UnixTime;
use tokio::sync::Notify;

use crate::clock;
use crate::log::NodeId;

/// Letters in one inbox. Policy at the limit: a further one is [`Sent::Full`].
const LETTERS_MAX: usize = 1024;

/// Their bytes, with the same policy.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What tells letters apart: 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LetterId(pub [u8; 16]);

/// What one node asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Who gets it twice finds out by this.
    pub id: LetterId,
    /// Not delivered after that, by the broker's clock.
    pub expires: UnixTime,
    /// What it says.
    pub body: Bytes,
}

/// What became of a letter at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is delivered, once or more often, if the node reads before it expires.
    Kept,
    /// No node has an inbox of this name.
    NobodyThere,
    /// Too much waits for that node.
    Full,
}

/// The reading end of a node's inbox. Dropped, the broker keeps what is there until it expires.
pub trait Inbox: Send {
    /// The next letter; `None` once the inbox was opened anew, or its broker is closed. Cancel-safe: one that was
    /// not handed over comes the next time.
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Letter>> + Send + '_>>;

    /// A letter was handled. Those that were handed over and not handled come again once the inbox is opened anew.
    fn done(&mut self, id: LetterId);
}

/// The inboxes of nodes that live in one process: each is kept while it is read, or has letters that are good.
#[derive(Debug, Default)]
pub struct Inboxes(Mutex<HashMap<NodeId, Arc<Shelf>>>);

/// One inbox.
#[derive(Debug, Default)]
struct Shelf {
    letters: Mutex<Letters>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Letters {
    waiting: VecDeque<Letter>,
    /// Handed over, and not handled yet.
    taken: VecDeque<Letter>,
    /// Of both.
    bytes: usize,
    /// Which opening of the inbox reads: an older one gets nothing any more.
    opened: u64,
    is_read: bool,
}

impl Inboxes {
    fn shelves(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<Shelf>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a node's inbox, for the first time or anew: whoever read it before reads no more.
    #[must_use]
    pub fn open(&self, node: NodeId) -> Box<dyn Inbox> {
        let mut shelves = self.shelves();
        let now = clock::unix();
        shelves.retain(|_, shelf| shelf.letters().is_needed(now));
        let shelf = Arc::clone(shelves.entry(node).or_default());
        let opened = shelf.letters().open();
        shelf.arrived.notify_waiters();
        Box::new(Reader { shelf, opened })
    }

    /// Puts a letter into a node's inbox.
    pub fn send(&self, node: NodeId, letter: Letter) -> Sent {
        let shelf = self.shelves().get(&node).cloned();
        let Some(shelf) = shelf else {
            return Sent::NobodyThere;
        };
        let sent = shelf.letters().keep(letter, clock::unix());
        shelf.arrived.notify_waiters();
        sent
    }

    /// Ends every reader. What is there is gone.
    pub fn close(&self) {
        for (_, shelf) in self.shelves().drain() {
            shelf.letters().opened += 1;
            shelf.arrived.notify_waiters();
        }
    }
}

impl Shelf {
    /// What is done under the lock does not panic half-way: a poisoned one guards something whole.
    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Letters {
    fn open(&mut self) -> u64 {
        // Oldest first, as they were.
        while let Some(letter) = self.taken.pop_back() {
            self.waiting.push_front(letter);
        }
        self.opened += 1;
        self.is_read = true;
        self.opened
    }

    fn is_needed(&mut self, now: UnixTime) -> bool {
        self.expire(now);
        self.is_read || !self.waiting.is_empty() || !self.taken.is_empty()
    }

    fn expire(&mut self, now: UnixTime) {
        let mut gone = 0;
        for letters in [&mut self.waiting, &mut self.taken] {
            letters.retain(|letter| {
                let is_good = letter.expires > now;
                gone += if is_good { 0 } else { letter.body.len() };
                is_good
            });
        }
        self.bytes -= gone;
    }

    fn is_full(&self, letter: &Letter) -> bool {
        self.waiting.len() + self.taken.len() >= LETTERS_MAX
            || self.bytes + letter.body.len() > BYTES_MAX
    }

    fn keep(&mut self, letter: Letter, now: UnixTime) -> Sent {
        if self.is_full(&letter) {
            self.expire(now);
        }
        if self.is_full(&letter) {
            return Sent::Full;
        }
        self.bytes += letter.body.len();
        self.waiting.push_back(letter);
        Sent::Kept
    }

    fn take(&mut self, now: UnixTime) -> Option<Letter> {
        self.expire(now);
        let letter = self.waiting.pop_front()?;
        self.taken.push_back(letter.clone());
        Some(letter)
    }

    fn finish(&mut self, id: LetterId) {
        if let Some(at) = self.taken.iter().position(|letter| letter.id == id)
            && let Some(letter) = self.taken.remove(at)
        {
            self.bytes -= letter.body.len();
        }
    }
}

/// Reads one inbox, until it is opened anew.
struct Reader {
    shelf: Arc<Shelf>,
    opened: u64,
}

impl Inbox for Reader {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Option<Letter>> + Send + '_>> {
        Box::pin(async {
            loop {
                let mut arrived = std::pin::pin!(self.shelf.arrived.notified());
                // From here on a letter, or another reader, is noticed.
                arrived.as_mut().enable();
                {
                    let mut letters = self.shelf.letters();
                    if letters.opened != self.opened {
                        return None;
                    }
                    if let Some(letter) = letters.take(clock::unix()) {
                        return Some(letter);
                    }
                }
                arrived.await;
            }
        })
    }

    fn done(&mut self, id: LetterId) {
        self.shelf.letters().finish(id);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut letters = self.shelf.letters();
        if letters.opened == self.opened {
            letters.is_read = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(n: u8, expires: UnixTime, bytes: usize) -> Letter {
        Letter {
            id: LetterId([n; 16]),
            expires,
            body: Bytes::from(vec![n; bytes]),
        }
    }

    #[test]
    fn an_inbox_is_bounded_in_letters_and_bytes_and_what_has_expired_makes_room() {
        let inboxes = Inboxes::default();
        let node = NodeId(1);
        let _inbox = inboxes.open(node);
        let (past, later) = (UnixTime(1), UnixTime(u64::MAX));
        for _ in 0..LETTERS_MAX {
            assert_eq!(inboxes.send(node, letter(1, past, 1)), Sent::Kept);
        }
        for _ in 0..2 {
            let half = letter(2, later, BYTES_MAX / 2);
            assert_eq!(inboxes.send(node, half), Sent::Kept);
        }
        assert_eq!(inboxes.send(node, letter(3, later, 1)), Sent::Full);
    }

    #[test]
    fn names_of_nodes_that_have_gone_are_not_kept() {
        let inboxes = Inboxes::default();
        for n in 0..1000 {
            drop(inboxes.open(NodeId(n)));
        }
        assert_eq!(inboxes.shelves().len(), 1);
        assert_eq!(
            inboxes.send(NodeId(5), letter(1, UnixTime(u64::MAX), 1)),
            Sent::NobodyThere
        );
    }
}
