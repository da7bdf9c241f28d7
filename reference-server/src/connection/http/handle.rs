//! What names a session over HTTP.

/// Where a session lives, and which one it is. Whoever has it still needs its principal's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// `welcome.home`: the node.
    pub home: u32,
    /// `welcome.session`.
    pub session: [u8; 16],
}

impl Handle {
    /// Reads `hello.session`: home, big-endian, and session.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (home, session) = bytes.split_first_chunk()?;
        Some(Self {
            home: u32::from_be_bytes(*home),
            session: session.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_has_twenty_bytes() {
        let bytes: Vec<u8> = (0..20).collect();
        let handle = Handle::read(&bytes).unwrap();
        assert_eq!(handle.home, 0x0001_0203);
        assert_eq!(handle.session[..], bytes[4..]);
        for len in [0, 4, 16, 19] {
            assert_eq!(Handle::read(&bytes[..len]), None);
        }
        assert_eq!(Handle::read(&[0; 21]), None);
    }
}
