//! Bits in the orders of the formats, and noise.

/// Bits with the first one lowest (deflate, lossless WebP).
#[derive(Default)]
pub struct Low {
    pub bytes: Vec<u8>,
    held: u64,
    n: u32,
}

impl Low {
    pub fn behind(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..Self::default() }
    }

    pub fn put(&mut self, value: u64, n: u32) {
        self.held |= value << self.n;
        self.n += n;
        while self.n >= 8 {
            self.bytes.push((self.held & 255) as u8);
            self.held >>= 8;
            self.n -= 8;
        }
    }

    pub fn end(mut self) -> Vec<u8> {
        if self.n > 0 {
            self.put(0, 8 - self.n);
        }
        self.bytes
    }
}

/// The arithmetic code of lossy WebP ([RFC 6386](https://www.rfc-editor.org/rfc/rfc6386), section 7.3).
pub struct Bools {
    bytes: Vec<u8>,
    range: u32,
    bottom: u32,
    left: i32,
}

impl Bools {
    pub fn new() -> Self {
        Self { bytes: Vec::new(), range: 255, bottom: 0, left: 24 }
    }

    /// A flag that is false with a probability of `odds` in 256.
    pub fn put(&mut self, flag: bool, odds: u8) {
        let split = 1 + (((self.range - 1) * u32::from(odds)) >> 8);
        if flag {
            let (sum, carries) = self.bottom.overflowing_add(split);
            self.bottom = sum;
            if carries {
                self.carry();
            }
            self.range -= split;
        } else {
            self.range = split;
        }
        while self.range < 128 {
            self.range <<= 1;
            if self.bottom & (1 << 31) != 0 {
                self.carry();
            }
            self.bottom <<= 1;
            self.left -= 1;
            if self.left == 0 {
                self.bytes.push((self.bottom >> 24) as u8);
                self.bottom &= (1 << 24) - 1;
                self.left = 8;
            }
        }
    }

    fn carry(&mut self) {
        for byte in self.bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    /// A number of `n` bits, the highest first.
    pub fn number(&mut self, value: u32, n: u32) {
        for at in (0..n).rev() {
            self.put(value >> at & 1 == 1, 128);
        }
    }

    pub fn end(mut self) -> Vec<u8> {
        self.number(0, 32);
        self.bytes
    }
}

/// Bytes that nothing compresses.
pub fn noise(n: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |()| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_n((), n).map(next).collect()
}
