//! A sorted map from text: collections by name, records by id.
//!
//! Keys stand in pages, each sorted, and the first bytes of a key beside its pointer. A search looks at few
//! lines of memory, and goes to the heap only between long keys that begin alike. Against the standard
//! library's B-tree it is a fraction of the code in the browser's module.

use std::cmp::Ordering;
use std::sync::Arc;

/// A full page is halved. Larger ones make searches faster and insertions slower.
const PAGE_MAX: usize = 128;

/// Values by text, sorted, each text once.
#[derive(Clone, Debug)]
pub(crate) struct TextMap<V> {
    keys: Keys,
    /// As the keys stand.
    pages: Vec<Vec<V>>,
}

/// The half of the map that is the same code for all values.
#[derive(Clone, Debug, Default)]
struct Keys {
    /// No key of a page lies below its start, and none of the pages before it above; the first page's says
    /// nothing. They stand together, so that the search for a page stays in the cache.
    starts: Vec<Key>,
    /// None is empty.
    pages: Vec<Vec<Key>>,
}

#[derive(Clone, Debug)]
struct Key {
    head: Head,
    text: Arc<str>,
}

/// The first bytes of a text, padded with zeros, as numbers that compare like them.
#[derive(Clone, Copy, Debug)]
struct Head(u64, u64);

const HEAD_BYTES: usize = 16;

/// What stands under a key, which may be new.
pub(crate) struct Entry<'a, V> {
    pub(crate) value: &'a mut V,
    pub(crate) is_new: bool,
}

/// Where a key is, or would have to be.
#[derive(Clone, Copy)]
struct Place {
    page: usize,
    at: usize,
    found: bool,
}

/// What had to be done to the pages for a new key.
#[derive(Clone, Copy)]
enum Room {
    /// Nothing.
    Was,
    /// A page was put there, with what stood in the one before it from that many keys on.
    Made { page: usize, kept: usize },
}

impl<V> Default for TextMap<V> {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            pages: Vec::new(),
        }
    }
}

impl<V: PartialEq> PartialEq for TextMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for TextMap<V> {}

impl<V> TextMap<V> {
    pub(crate) fn get(&self, text: &str) -> Option<&V> {
        let Place { page, at, found } = self.keys.place(text, Head::of(text));
        found.then(|| &self.pages[page][at])
    }

    pub(crate) fn get_mut(&mut self, text: &str) -> Option<&mut V> {
        let Place { page, at, found } = self.keys.place(text, Head::of(text));
        found.then(|| &mut self.pages[page][at])
    }

    /// What stands under a key; what `V` begins with, if nothing did.
    pub(crate) fn entry(&mut self, text: &str) -> Entry<'_, V>
    where
        V: Default,
    {
        let head = Head::of(text);
        let mut place = self.keys.place(text, head);
        if !place.found {
            if let Room::Made { page, kept } = self.keys.insert(&mut place, text, head) {
                let before = page.checked_sub(1).map(|before| &mut self.pages[before]);
                let moved = before.map_or_else(Vec::new, |before| before.split_off(kept));
                self.pages.insert(page, moved);
            }
            self.pages[place.page].insert(place.at, V::default());
        }
        Entry {
            value: &mut self.pages[place.page][place.at],
            is_new: !place.found,
        }
    }

    /// Tells whether it was there.
    pub(crate) fn remove(&mut self, text: &str) -> bool {
        let Place { page, at, found } = self.keys.place(text, Head::of(text));
        if found {
            self.keys.remove(page, at);
            self.pages[page].remove(at);
            if self.pages[page].is_empty() {
                self.pages.remove(page);
            }
        }
        found
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.iter().map(Vec::len).sum()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// From a key on, or where it would have to be.
    pub(crate) fn iter_from(&self, text: &str) -> impl Iterator<Item = (&Arc<str>, &V)> {
        let Place { page, at, .. } = self.keys.place(text, Head::of(text));
        let keys = self.keys.pages.iter().skip(page).flatten().skip(at);
        let values = self.pages.iter().skip(page).flatten().skip(at);
        keys.map(|key| &key.text).zip(values)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        let keys = self.keys.pages.iter().flatten().map(|key| &key.text);
        keys.zip(self.pages.iter().flatten())
    }
}

impl Keys {
    fn place(&self, text: &str, head: Head) -> Place {
        let starts = &self.starts[..];
        let mut behind = starts.partition_point(|start| start.head.number() <= head.number());
        if behind > 0 && starts[behind - 1].order(text, head).is_gt() {
            // Pages may begin with the same head.
            behind = starts.partition_point(|start| start.order(text, head).is_le());
        }
        let page = behind.saturating_sub(1);
        let keys = self.pages.get(page).map_or(&[][..], |keys| keys);
        let at = keys.partition_point(|key| key.head.number() < head.number());
        let found = match keys.get(at).map(|key| key.order(text, head)) {
            Some(Ordering::Equal) => Ok(at),
            Some(Ordering::Greater) | None => Err(at),
            Some(Ordering::Less) => keys.binary_search_by(|key| key.order(text, head)),
        };
        let (Ok(at) | Err(at)) = found;
        Place {
            page,
            at,
            found: found.is_ok(),
        }
    }

    /// Puts a key where it was looked for; the place is where it stands then.
    fn insert(&mut self, place: &mut Place, text: &str, head: Head) -> Room {
        let key = Key {
            head,
            text: text.into(),
        };
        let count = self.pages.len();
        let room = match self.pages.get_mut(place.page) {
            Some(page) if page.len() < PAGE_MAX => Room::Was,
            Some(page) => {
                // Whoever appends in order leaves full pages behind.
                let appends = place.at == PAGE_MAX && place.page + 1 == count;
                let kept = if appends { PAGE_MAX } else { PAGE_MAX / 2 };
                let moved = page.split_off(kept);
                let page = place.page + 1;
                self.starts
                    .insert(page, moved.first().unwrap_or(&key).clone());
                self.pages.insert(page, moved);
                if place.at > kept || appends {
                    place.page = page;
                    place.at -= kept;
                }
                Room::Made { page, kept }
            }
            None => {
                self.starts.push(key.clone());
                self.pages.push(Vec::new());
                Room::Made { page: 0, kept: 0 }
            }
        };
        self.pages[place.page].insert(place.at, key);
        room
    }

    fn remove(&mut self, page: usize, at: usize) {
        self.pages[page].remove(at);
        if self.pages[page].is_empty() {
            self.pages.remove(page);
            self.starts.remove(page);
        }
    }
}

impl Head {
    fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        Self(word(bytes), word(bytes.get(8..).unwrap_or_default()))
    }

    const fn number(self) -> u128 {
        (self.0 as u128) << 64 | self.1 as u128
    }
}

/// The first 8 bytes, without a call to copy them.
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => (0..8).fold(0, |word, at| {
            word << 8 | u64::from(*bytes.get(at).unwrap_or(&0))
        }),
    }
}

impl Key {
    /// As texts are ordered.
    fn order(&self, text: &str, head: Head) -> Ordering {
        let by_head = self.head.number().cmp(&head.number());
        by_head.then_with(|| {
            if self.text.len().max(text.len()) <= HEAD_BYTES {
                // What is the same but for zeros at the end.
                self.text.len().cmp(&text.len())
            } else {
                (*self.text).cmp(text)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn check(map: &TextMap<u32>, known: &BTreeMap<String, u32>) -> Result<(), TestCaseError> {
        prop_assert_eq!(map.len(), known.len());
        prop_assert_eq!(map.is_empty(), known.is_empty());
        prop_assert!(
            map.iter()
                .map(|(k, v)| (&**k, v))
                .eq(known.iter().map(|(k, v)| (&**k, v)))
        );
        let lengths = || map.pages.iter().map(Vec::len);
        prop_assert!(lengths().all(|length| (1..=PAGE_MAX).contains(&length)));
        prop_assert!(lengths().eq(map.keys.pages.iter().map(Vec::len)));
        prop_assert_eq!(map.keys.starts.len(), map.pages.len());
        Ok(())
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            steps in prop::collection::vec(("[a\u{0}é]{0,20}", prop::option::of(any::<u32>())), 0..60),
        ) {
            let (mut map, mut known) = (TextMap::default(), BTreeMap::new());
            for (text, value) in steps {
                match value {
                    Some(value) => {
                        let entry = map.entry(&text);
                        prop_assert_eq!(entry.is_new, !known.contains_key(&text));
                        *entry.value = value;
                        known.insert(text.clone(), value);
                    }
                    None => {
                        prop_assert_eq!(map.remove(&text), known.remove(&text).is_some());
                    }
                }
                prop_assert_eq!(map.get(&text), known.get(&text));
                prop_assert_eq!(map.get_mut(&text), known.get_mut(&text));
                check(&map, &known)?;
            }
        }

        /// In runs up and down, so that pages are filled, halved and emptied at every end.
        #[test]
        fn it_is_a_map_of_many_pages(
            runs in prop::collection::vec((any::<bool>(), any::<bool>(), 0..1_000u32, 0..400u32), 1..12),
        ) {
            let (mut map, mut known) = (TextMap::default(), BTreeMap::new());
            for (put, up, from, count) in runs {
                for step in 0..count {
                    let number = if up { from + step } else { from + count - step };
                    let text = format!("{number:04}");
                    if put {
                        *map.entry(&text).value = number;
                        known.insert(text, number);
                    } else {
                        prop_assert_eq!(map.remove(&text), known.remove(&text).is_some());
                    }
                }
                check(&map, &known)?;
                prop_assert!(known.iter().all(|(text, value)| map.get(text) == Some(value)));
            }
        }
    }

    /// Once a page for each key: as slow as one vector, and larger.
    #[test]
    fn keys_in_falling_order_behind_a_full_page_share_pages() {
        let mut map = TextMap::<u32>::default();
        for number in (0..PAGE_MAX).chain((1_000..3_000).rev()) {
            map.entry(&format!("{number:04}"));
        }
        assert!(map.pages.len() < 2 * map.len() / (PAGE_MAX / 2));
    }
}
