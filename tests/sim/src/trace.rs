//! Everything that happened in a run, as one hash; as text too when someone wants to read it.
//!
//! Invariant: the hash depends on nothing but the seed and the code. Printing never changes it.

use std::fmt::Write as _;

/// The record of one run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
    text: Option<String>,
}

impl Trace {
    /// `keep_text`: also keep a line per event, for `--replay`.
    #[must_use]
    pub fn new(keep_text: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            text: keep_text.then(String::new),
        }
    }

    /// Takes an event into the hash; `describe` is called only when text is kept.
    pub fn note(
        &mut self,
        now_ms: u64,
        kind: &str,
        ids: &[u64],
        payload: &[u8],
        describe: impl FnOnce() -> String,
    ) {
        self.events += 1;
        self.word(now_ms);
        self.bytes(kind.as_bytes());
        for &id in ids {
            self.word(id);
        }
        self.bytes(payload);
        if let Some(text) = &mut self.text {
            let (s, ms) = (now_ms / 1000, now_ms % 1000);
            let _ = writeln!(text, "{s:>5}.{ms:03}  {kind:<16} {}", describe());
        }
    }

    /// The hash of everything so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events were noted.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The lines so far, empty unless text is kept.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    const fn word(&mut self, word: u64) {
        self.hash = mix(self.hash, word);
    }
}

/// Folds a number into a hash; also how the hashes of several seeds become one.
#[must_use]
pub const fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(23)
        .wrapping_add(0x632b_e59b_d9b4_e019)
}
