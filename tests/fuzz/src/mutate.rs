//! Changes to a file, or to any text that a stranger writes.

use fastrand::Rng;

/// The most changes of one input.
const MAX_CHANGES: usize = 6;

/// The most bytes that one change inserts, removes or copies.
const MAX_PIECE_BYTES: usize = 64;

/// Headers, which decide most, are within the first bytes: half of the changes fall there.
const HEAD_BYTES: usize = 128;

/// Values at which lengths and dimensions change their meaning.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    7,
    0x7F,
    0xFF,
    12_000,
    12_001,
    0x7FFF,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    u64::MAX,
];

/// One of the seeds, changed.
pub fn change(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    // The smaller of two: small files are inspected faster, and most code needs no large ones.
    let (a, b) = (pick(rng, seeds), pick(rng, seeds));
    let mut file = if a.len() < b.len() { a } else { b }.to_vec();
    for _ in 0..rng.usize(1..=MAX_CHANGES) {
        match rng.u8(0..8) {
            0 | 1 => flip_bit(rng, &mut file),
            2 => set_byte(rng, &mut file),
            3 | 4 => set_number(rng, &mut file),
            5 => insert(rng, &mut file),
            6 => remove(rng, &mut file),
            _ if rng.bool() => file.truncate(at(rng, &file)),
            _ => {
                let other = pick(rng, seeds);
                splice(rng, &mut file, other);
            }
        }
    }
    // With a wrong checksum, nothing behind the first chunk of a PNG would ever be reached.
    if rng.u8(0..8) > 0 {
        mend_png(&mut file);
    }
    file
}

fn pick<'a>(rng: &mut Rng, seeds: &'a [Vec<u8>]) -> &'a [u8] {
    rng.choice(seeds).map_or(&[], Vec::as_slice)
}

/// A position in the file, its end included.
fn at(rng: &mut Rng, file: &[u8]) -> usize {
    let end = if rng.bool() { file.len().min(HEAD_BYTES) } else { file.len() };
    rng.usize(0..=end)
}

fn flip_bit(rng: &mut Rng, file: &mut [u8]) {
    if let Some(byte) = file.get_mut(at(rng, file)) {
        *byte ^= 1 << rng.u8(0..8);
    }
}

fn set_byte(rng: &mut Rng, file: &mut [u8]) {
    if let Some(byte) = file.get_mut(at(rng, file)) {
        *byte = rng.u8(..);
    }
}

/// Writes a number of one to eight bytes, in either order, over what may be a length or an offset.
fn set_number(rng: &mut Rng, file: &mut [u8]) {
    let start = at(rng, file);
    let left = (file.len() - start) as u64;
    let near_end = [left, left.saturating_sub(1), left + 1, file.len() as u64, start as u64];
    let number = match rng.u8(0..3) {
        0 => near_end[rng.usize(0..near_end.len())],
        1 => rng.u64(0..=file.len() as u64),
        _ => EDGES[rng.usize(0..EDGES.len())],
    };
    let width = 1 << rng.u8(0..4);
    let bytes = if rng.bool() {
        number.to_le_bytes()[..width].to_vec()
    } else {
        number.to_be_bytes()[8 - width..].to_vec()
    };
    for (old, new) in file[start..].iter_mut().zip(bytes) {
        *old = new;
    }
}

/// Inserts random bytes, or a copy of what is there.
fn insert(rng: &mut Rng, file: &mut Vec<u8>) {
    let start = at(rng, file);
    let piece: Vec<u8> = if rng.bool() {
        let from = at(rng, file);
        let end = file.len().min(from + rng.usize(1..=MAX_PIECE_BYTES));
        file[from..end].to_vec()
    } else {
        (0..rng.usize(1..=MAX_PIECE_BYTES)).map(|_| rng.u8(..)).collect()
    };
    file.splice(start..start, piece);
}

fn remove(rng: &mut Rng, file: &mut Vec<u8>) {
    let start = at(rng, file);
    let end = file.len().min(start + rng.usize(1..=MAX_PIECE_BYTES));
    file.drain(start..end);
}

/// Goes on with the end of another file.
fn splice(rng: &mut Rng, file: &mut Vec<u8>, other: &[u8]) {
    file.truncate(at(rng, file));
    file.extend(&other[at(rng, other)..]);
}

/// Writes right checksums into a PNG, as far as its chunks can be followed.
pub fn mend_png(file: &mut [u8]) {
    if !file.starts_with(b"\x89PNG\r\n\x1a\n") {
        return;
    }
    let mut start = 8;
    while let Some(len) = file.get(start..start + 4) {
        let len = u32::from_be_bytes([len[0], len[1], len[2], len[3]]) as usize;
        let end = start + 8 + len;
        if file.len() < end + 4 {
            return;
        }
        let crc = crc32fast::hash(&file[start + 4..end]);
        file[end..end + 4].copy_from_slice(&crc.to_be_bytes());
        start = end + 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds() -> Vec<Vec<u8>> {
        let fixtures = crate::root().join("tests/fixtures/images");
        ["03-gray-16-bit.png", "13-animated.webp"]
            .map(|file| std::fs::read(fixtures.join(file)).unwrap())
            .to_vec()
    }

    #[test]
    fn a_seed_repeats_its_inputs() {
        let inputs = |seed| {
            let mut rng = Rng::with_seed(seed);
            [(); 50].map(|()| change(&mut rng, &seeds()))
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn files_of_any_length_can_be_changed() {
        let mut rng = Rng::with_seed(7);
        for len in 0..40 {
            for _ in 0..200 {
                change(&mut rng, &[vec![0; len], vec![1; len]]);
            }
        }
    }
}
