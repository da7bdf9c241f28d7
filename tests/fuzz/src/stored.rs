//! What the disk broker stores: what decodes is encoded to what decodes to the same.

use bytes::Bytes;
use tidewire_server::log::StoredSnapshot;
use tidewire_server::log::codec::{decode_entry, decode_parts, encode_entry};

use crate::script::Script;

/// The first byte chooses between an entry and a snapshot.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    if script.flag() {
        entry(script.rest());
    } else {
        snapshot(script.rest());
    }
}

fn entry(stored: &[u8]) {
    match decode_entry(stored) {
        Ok(entry) => assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Any bytes as one part or two of a snapshot.
fn snapshot(stored: &[u8]) {
    let halves = stored.chunks(1 + stored.len() / 2);
    let halves = halves.map(Bytes::copy_from_slice).collect();
    for parts in [vec![Bytes::copy_from_slice(stored)], halves] {
        match decode_parts(&parts) {
            Ok(snapshot) => {
                let again = StoredSnapshot::encode(snapshot.clone(), 64);
                assert_eq!(again.read(), Ok(snapshot));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
