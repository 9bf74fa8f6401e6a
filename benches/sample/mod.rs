//! Bytes and trees for benchmarks, the same in every run.
#![allow(clippy::unwrap_used, dead_code)]

use std::fs;
use std::path::Path;

/// A pseudorandom number generator (xorshift64*).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Incompressible bytes.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut draw = Draw(1);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&draw.next().to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Random words from a vocabulary of 4096, common ones more often: compresses about as well as program text.
pub(crate) fn text(len: usize) -> Vec<u8> {
    written(len, &mut Draw(2))
}

fn written(len: usize, draw: &mut Draw) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        let number = draw.next();
        let word = (number & 0xFFF) >> (number >> 60);
        let letters = b"etaoinshrdlucmfw";
        for shift in [0, 4, 8] {
            out.push(letters[(word >> shift & 15) as usize]);
        }
        out.extend_from_slice(if number >> 40 & 7 == 0 { b";\n    " } else { b" " });
    }
    out.truncate(len);
    out
}

/// The number of files, and their bytes.
pub(crate) const FILES: u64 = 2000;

/// A tree of text files of up to 20 KB in 20 directories, and one large incompressible file. Returns its
/// bytes.
pub(crate) fn tree(root: &Path) -> u64 {
    let mut draw = Draw(3);
    let mut bytes = 0;
    for number in 1..FILES {
        let dir = root.join(format!("dir{:02}", number % 20));
        fs::create_dir_all(&dir).unwrap();
        let content = written((draw.next() % 20_000) as usize, &mut draw);
        bytes += content.len() as u64;
        fs::write(dir.join(format!("file{number}")), content).unwrap();
    }
    let large = noise(8 << 20);
    fs::write(root.join("large"), &large).unwrap();
    bytes + large.len() as u64
}
