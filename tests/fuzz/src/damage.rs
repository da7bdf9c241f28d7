//! Inputs that nobody has tried yet, made from kept ones: what a fuzzer does, without the guidance of
//! coverage. The same source of randomness gives the same inputs.

use fastrand::Rng;

/// Longest input that is tried; the fuzzer's limit, too.
const BYTES_MAX: usize = 2048;

/// Numbers at which something changes, as one byte.
const EDGES: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\\'];

/// A copy of `input`, damaged in one to four places; `other` lends pieces of itself.
#[must_use]
pub fn damaged(input: &[u8], other: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..random.usize(1..=4) {
        damage(&mut bytes, other, random);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let at = random.usize(0..=bytes.len());
    match random.u8(0..6) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.u8(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = EDGES[random.usize(0..EDGES.len())];
            }
        }
        2 => bytes.truncate(at),
        3 => {
            let end = (at + random.usize(0..=8)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            let piece = piece(other, random).to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let piece = piece(other, random).to_vec();
            let end = (at + piece.len()).min(bytes.len());
            bytes.splice(at..end, piece);
        }
    }
}

/// Some 32 bytes of an input at most.
fn piece<'a>(of: &'a [u8], random: &mut Rng) -> &'a [u8] {
    let from = random.usize(0..=of.len());
    let to = (from + random.usize(0..=32)).min(of.len());
    &of[from..to]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_randomness_does_the_same_damage_and_no_input_grows_without_bound() {
        let (input, other) = (vec![7; BYTES_MAX], vec![9; 64]);
        let run = || {
            let mut random = Rng::with_seed(1);
            (0..500)
                .map(|_| damaged(&input, &other, &mut random))
                .collect::<Vec<_>>()
        };
        let tried = run();
        assert_eq!(tried, run());
        assert!(tried.iter().all(|bytes| bytes.len() <= BYTES_MAX));
        let changed = tried.iter().filter(|bytes| **bytes != input).count();
        assert!(changed > 400, "{changed} of 500 are damaged");
    }

    #[test]
    fn the_empty_input_can_be_damaged() {
        let mut random = Rng::with_seed(2);
        let tried = (0..200).map(|_| damaged(&[], &[], &mut random));
        assert!(tried.into_iter().all(|bytes| bytes.is_empty()));
    }
}
