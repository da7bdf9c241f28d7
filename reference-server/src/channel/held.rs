//! What a channel holds in memory, for whoever counts all of them together.

use super::Channel;

/// Bytes of contents, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries kept for resume.
    pub log: usize,
    /// Records, and what was encoded of them for those who come.
    pub document: usize,
    /// What is known of authors.
    pub table: usize,
    /// Pushes that wait.
    pub pushes: usize,
}

impl Channel {
    /// What it holds now. Looks at nothing twice: it is asked after every turn.
    #[must_use]
    pub fn held(&self) -> Held {
        let Some(fold) = &self.fold else {
            return Held {
                pushes: self.pushes.bytes(),
                ..Held::default()
            };
        };
        // A snapshot that is kept for the next one who comes says all records again.
        let copies = 1 + usize::from(self.encoded.is_some());
        Held {
            log: fold.ring.bytes(),
            document: fold.document_bytes * copies,
            table: fold.table.bytes(),
            pushes: self.pushes.bytes(),
        }
    }

    /// Whether pushes are told to come back later, since all channels together hold too much.
    pub const fn set_overloaded(&mut self, is_overloaded: bool) {
        self.is_overloaded = is_overloaded;
    }
}
