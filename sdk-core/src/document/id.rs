//! A record's id as the key of a sorted map.
//!
//! Its first bytes stand beside the pointer: a search compares those, and goes to the heap, where each
//! look costs more than all comparisons together, only between ids that begin alike.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// An id that is owned. Ordered as its text is.
#[derive(Clone, Debug)]
pub(super) struct Id {
    head: Head,
    pub(super) text: Arc<str>,
}

/// The first 16 bytes, padded with zeros, as numbers that compare like them.
type Head = (u64, u64);

/// Ids, owned or not: what a map of [`Id`] is searched with.
pub(super) trait Key {
    fn head(&self) -> Head;
    fn text(&self) -> &str;
}

/// An id that is only looked for.
pub(super) struct Wanted<'a> {
    head: Head,
    text: &'a str,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let head = head(text);
        Self { head, text }
    }
}

impl From<&Wanted<'_>> for Id {
    fn from(wanted: &Wanted<'_>) -> Self {
        Self {
            head: wanted.head,
            text: wanted.text.into(),
        }
    }
}

fn head(text: &str) -> Head {
    let mut bytes = [0; 16];
    let length = text.len().min(16);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    let both = u128::from_be_bytes(bytes);
    ((both >> 64) as u64, both as u64)
}

impl Key for Id {
    fn head(&self) -> Head {
        self.head
    }

    fn text(&self) -> &str {
        &self.text
    }
}

impl Key for Wanted<'_> {
    fn head(&self) -> Head {
        self.head
    }

    fn text(&self) -> &str {
        self.text
    }
}

impl<'a> Borrow<dyn Key + 'a> for Id {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl Ord for dyn Key + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        // Equal heads say nothing of a zero at the end, or of what is longer.
        let by_head = self.head().cmp(&other.head());
        by_head.then_with(|| self.text().cmp(other.text()))
    }
}

impl PartialOrd for dyn Key + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for dyn Key + '_ {}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other): (&dyn Key, &dyn Key) = (self, other);
        one.cmp(other)
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Id {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_ordered_as_their_texts_are(
            a in "[a\u{0}é]{0,20}",
            b in "[a\u{0}é]{0,20}",
        ) {
            let id = |text: &str| Id::from(&Wanted::new(text));
            prop_assert_eq!(id(&a).cmp(&id(&b)), a.cmp(&b));
            prop_assert_eq!(id(&a) == id(&b), a == b);
        }
    }
}
