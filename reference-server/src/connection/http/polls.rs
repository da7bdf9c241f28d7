//! The numbers of a session's polls.

use tidewire_core::planted;

/// Which poll may come, and whether one is held. Each number is answered once.
#[derive(Clone, Debug)]
pub struct Polls {
    /// `None`: there are no more.
    next: Option<u32>,
    is_held: bool,
}

/// A poll whose number is not the next one: a copy, an old one, or one of a client that has lost count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfTurn;

impl Polls {
    /// Poll 1 has opened the session and waits for its first message.
    #[must_use]
    pub const fn opened() -> Self {
        Self {
            next: Some(2),
            is_held: true,
        }
    }

    /// Whether a poll of this number would be taken.
    #[must_use]
    pub fn is_next(&self, number: u32) -> bool {
        self.next == Some(number)
    }

    /// A poll has come. `Ok(true)`: the one before it is held, and is answered without frames now.
    pub fn take(&mut self, number: u32) -> Result<bool, OutOfTurn> {
        if !self.is_next(number) && !planted!(PollNumbersIgnored) {
            return Err(OutOfTurn);
        }
        self.next = number.checked_add(1);
        Ok(std::mem::replace(&mut self.is_held, true))
    }

    /// The poll that is waited for, while none is held.
    #[must_use]
    pub const fn awaited(&self) -> Option<u32> {
        if self.is_held { None } else { self.next }
    }

    /// Whether a poll is held.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.is_held
    }

    /// The one that is held gets its answer. Says whether there is one.
    pub fn answer(&mut self) -> bool {
        std::mem::take(&mut self.is_held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_once_in_its_turn_and_is_answered_once() {
        let mut polls = Polls::opened();
        assert!(polls.answer());
        assert!(!polls.answer());
        for early_or_late in [0, 1, 3, u32::MAX] {
            assert_eq!(polls.take(early_or_late), Err(OutOfTurn));
        }
        assert!(!polls.is_held());
        assert_eq!(polls.awaited(), Some(2));
        assert_eq!(polls.take(2), Ok(false));
        assert_eq!(polls.awaited(), None);
        assert_eq!(polls.take(2), Err(OutOfTurn));
        assert_eq!(polls.take(4), Err(OutOfTurn));
        // A client that gave up waiting: the one before it ends.
        assert_eq!(polls.take(3), Ok(true));
        assert!(polls.answer());
        assert_eq!(polls.take(3), Err(OutOfTurn));
        assert_eq!(polls.take(4), Ok(false));
    }

    #[test]
    fn numbers_do_not_begin_again() {
        let mut polls = Polls {
            next: Some(u32::MAX),
            is_held: false,
        };
        assert_eq!(polls.take(u32::MAX), Ok(false));
        for number in [0, 1, 2, u32::MAX] {
            assert_eq!(polls.take(number), Err(OutOfTurn));
        }
    }
}
