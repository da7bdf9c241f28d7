//! What the disk broker stores: what decodes is encoded to what decodes to the same.

use tidewire_server::log::codec::{decode_entry, decode_snapshot, encode_entry, encode_snapshot};

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

fn snapshot(stored: &[u8]) {
    match decode_snapshot(stored) {
        Ok(snapshot) => assert_eq!(decode_snapshot(&encode_snapshot(&snapshot)), Ok(snapshot)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
