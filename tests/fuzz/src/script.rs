//! Bytes as a script: every choice of a structured target is read from its input.
//!
//! Invariant: a script that has ended answers zero, so every prefix of an input is an input too, and a
//! loop over [`Script::is_over`] ends.

/// Numbers at which something changes: zero, limits, the ends of types.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    63,
    64,
    255,
    256,
    65_535,
    1 << 32,
    (1 << 53) - 1 - (1 << 33),
    (1 << 53) - 2,
    (1 << 53) - 1,
    1 << 53,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// What is left of an input.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) const fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&first, rest)) => {
                self.rest = rest;
                first
            }
            None => 0,
        }
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, which is at most 256.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    /// A number: small ones and those at edges are likely, any is possible.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            255 => {
                let mut number = 0;
                for _ in 0..8 {
                    number = number << 8 | u64::from(self.byte());
                }
                number
            }
            edge @ 200..255 => EDGES[usize::from(edge) % EDGES.len()],
            small => u64::from(small),
        }
    }

    pub(crate) fn number32(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    /// At most `max` bytes.
    pub(crate) fn bytes(&mut self, max: usize) -> &'a [u8] {
        let len = self.below(max.min(255) + 1).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    /// Everything that is left.
    pub(crate) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    /// At most `max` bytes as text; what is no UTF-8 is replaced.
    pub(crate) fn text(&mut self, max: usize) -> String {
        String::from_utf8_lossy(self.bytes(max)).into_owned()
    }
}
