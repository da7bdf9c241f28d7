//! Proofs of epochs: that the epoch which a store claims was announced to it by a node with one of our keys.
//!
//! 17 bytes: the first of SHA-256(key), which says what key it was, then the first 16 of
//! HMAC-SHA-256(key, channel ‖ 0 ‖ epoch as 8 bytes big-endian). A proof covers the epoch alone: every
//! reader of the channel has one, so it says nothing about a seq or a tag.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tidewire_core::planted;

use crate::epoch_key::EpochKey;

/// How long a proof is.
const PROOF_BYTES: usize = 17;

/// The block of SHA-256, to which HMAC pads its key.
const BLOCK_BYTES: usize = 64;

/// What goes out beside an epoch that is announced; nothing without a key.
#[must_use]
pub fn prove(keys: &[EpochKey], channel: &str, epoch: u64) -> Bytes {
    keys.first()
        .map(|key| Bytes::copy_from_slice(&proof(key, channel, epoch)))
        .unwrap_or_default()
}

/// Whether some node with one of these keys announced this epoch.
pub(super) fn is_proven(keys: &[EpochKey], channel: &str, epoch: u64, claimed: &[u8]) -> bool {
    let claimed: Result<[u8; PROOF_BYTES], _> = claimed.try_into();
    let Ok(claimed) = claimed else { return false };
    let keys = if planted!(KeyForgotten) { &[] } else { keys };
    // Not cut short: how long it takes says nothing about how much fits.
    keys.iter()
        .filter(|key| hint(key) == claimed[0])
        .any(|key| {
            let right = proof(key, channel, epoch);
            let differing = |sum, (a, b): (&u8, &u8)| sum | (a ^ b);
            right.iter().zip(&claimed).fold(0, differing) == 0
        })
}

fn proof(key: &EpochKey, channel: &str, epoch: u64) -> [u8; PROOF_BYTES] {
    let mac = hmac(
        key.as_bytes(),
        &[channel.as_bytes(), &[0], &epoch.to_be_bytes()],
    );
    let mut proof = [hint(key); PROOF_BYTES];
    proof[1..].copy_from_slice(&mac[..PROOF_BYTES - 1]);
    proof
}

fn hint(key: &EpochKey) -> u8 {
    Sha256::digest(key.as_bytes())[0]
}

/// HMAC-SHA-256 (RFC 2104) with a key that is not longer than a block.
fn hmac(key: &[u8; EpochKey::BYTES], parts: &[&[u8]]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK_BYTES];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
        block
    };
    let mut inner = Sha256::new().chain_update(padded(0x36));
    parts.iter().for_each(|part| inner.update(part));
    Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner.finalize())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "board:main";

    fn key(byte: u8) -> EpochKey {
        EpochKey::new([byte; 32])
    }

    /// RFC 4231, test case 1: its key of 20 bytes is the same as with zeros after it.
    #[test]
    fn the_hmac_is_the_one_of_the_rfc() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mac = hmac(&key, &[b"Hi ", b"There"]);
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn a_proof_is_good_for_its_key_channel_and_epoch_alone() {
        let keys = [key(1)];
        let proof = prove(&keys, CHANNEL, 7);
        assert!(is_proven(&keys, CHANNEL, 7, &proof));
        assert!(!is_proven(&keys, CHANNEL, 8, &proof));
        assert!(!is_proven(&keys, "board:other", 7, &proof));
        assert!(!is_proven(&[key(2)], CHANNEL, 7, &proof));
        assert!(!is_proven(&[], CHANNEL, 7, &proof));
    }

    #[test]
    fn short_long_and_damaged_proofs_are_none() {
        let keys = [key(1)];
        let proof = prove(&keys, CHANNEL, 7);
        assert!(!is_proven(&keys, CHANNEL, 7, &[]));
        assert!(!is_proven(&keys, CHANNEL, 7, &proof[..16]));
        assert!(!is_proven(&keys, CHANNEL, 7, &[&proof[..], &[0]].concat()));
        for at in 0..proof.len() {
            let mut damaged = proof.to_vec();
            damaged[at] ^= 1;
            assert!(!is_proven(&keys, CHANNEL, 7, &damaged), "byte {at}");
        }
    }

    #[test]
    fn a_key_that_was_first_verifies_where_another_one_signs_now() {
        let (old, new) = (key(1), key(2));
        let proof = prove(std::slice::from_ref(&old), CHANNEL, 7);
        assert!(is_proven(&[new.clone(), old.clone()], CHANNEL, 7, &proof));
        assert_ne!(prove(&[new, old], CHANNEL, 7), proof);
    }

    #[test]
    fn without_a_key_nothing_is_proven() {
        assert!(prove(&[], CHANNEL, 7).is_empty());
    }
}
