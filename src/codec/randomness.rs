//! Detects bytes that look random: encrypted data, and compressed data except for headers of known formats.

/// Maximum number of bytes that are examined.
const HEAD: usize = 1024;
/// Minimum number of bytes for a decision.
const MIN_HEAD: usize = 128;

/// Signatures of formats whose content looks random, each with its offset.
const SIGNATURES: &[(usize, &[u8])] = &[
    (0, b"PK\x03\x04"),
    (0, b"PK\x05\x06"),
    (0, b"\x1f\x8b"),
    (0, b"BZh"),
    (0, b"\xfd7zXZ\0"),
    (0, b"\x28\xb5\x2f\xfd"),
    (0, b"\x04\x22\x4d\x18"),
    (0, b"7z\xbc\xaf\x27\x1c"),
    (0, b"Rar!"),
    (0, b"\x5d\0\0"),
    (0, b"LZIP"),
    (0, b"MSCF"),
    (0, b"\x89PNG"),
    (0, b"\xff\xd8\xff"),
    (0, b"GIF8"),
    (0, b"RIFF"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"OggS"),
    (0, b"fLaC"),
    (0, b"ID3"),
    (0, b"\xff\xfb"),
    (0, b"\xff\xf1"),
    (0, b"\x47\x40"),
    (4, b"ftyp"),
    (0, b"\0\0\x01\xba"),
    (0, b"%PDF"),
    (0, b"wOF2"),
    (0, b"wOFF"),
    (0, b"\xd0\xcf\x11\xe0"),
    (0, b"\x03\xd9\xa2\x9a"),
    (0, b"age-encryption.org"),
    (0, b"LUKS\xba\xbe"),
    (0, b"SNAP"),
    (0, b"PACK"),
    (0, b"DIRC"),
    (0, b"OPVP"),
    (0, b"hsqs"),
];

/// Returns whether the beginning of a file looks random and has no known signature.
pub fn is_opaque(file: &[u8]) -> bool {
    let head = file.get(..HEAD).unwrap_or(file);
    if head.len() < MIN_HEAD || has_signature(head) {
        return false;
    }
    let mut counts = [0u64; 256];
    for byte in head {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    // The share of pairs of equal bytes is 1/256 if all values are equally likely, and far higher in text and
    // programs.
    let len = head.len() as f64;
    let equal: u64 = counts.iter().map(|count| count * count.saturating_sub(1)).sum();
    let (equal, pairs) = (equal as f64 / 2.0, len * (len - 1.0) / 2.0);
    let expected = pairs / 256.0;
    equal < expected + (expected * 0.06).max(4.0 * expected.sqrt())
}

fn has_signature(head: &[u8]) -> bool {
    let begins =
        |(at, signature): &(usize, &[u8])| head.get(*at..).is_some_and(|rest| rest.starts_with(signature));
    // A zlib stream, in which git stores its objects.
    let zlib = matches!(head, [0x78, second, ..] if (0x7800 + u16::from(*second)) % 31 == 0);
    zlib || SIGNATURES.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns bytes like those of a cipher.
    fn random(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn encrypted_bytes_of_any_length_look_random() {
        for len in [128, 200, 512, 1000, 4096, 100_000] {
            let seen = (0..200).filter(|seed| is_opaque(&random(len, *seed))).count();
            assert!(seen >= 195, "{seen} of 200 with {len} bytes");
        }
    }

    #[test]
    fn text_programs_and_known_formats_do_not() {
        let text = "It was the best of times, it was the worst of times. ".repeat(100);
        let json: String =
            (0..500).map(|at| format!("{{\"id\":{at},\"name\":\"n{}\"}}\n", at * 7919 % 1000)).collect();
        let base64: Vec<u8> = random(4096, 7).iter().map(|byte| b'A' + byte % 26).collect();
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let page: Vec<u8> = [b"SQLite format 3\0".to_vec(), vec![0; 2000], random(2000, 3)].concat();
        for (what, bytes) in [
            ("text", text.as_bytes()),
            ("json", json.as_bytes()),
            ("base64", &base64),
            ("program", &program),
            ("database", &page),
        ] {
            assert!(!is_opaque(bytes), "{what}");
        }
        for (at, signature) in SIGNATURES {
            let file = [vec![b'x'; *at], signature.to_vec(), random(4096, 11)].concat();
            assert!(!is_opaque(&file), "{signature:?}");
        }
        assert!(!is_opaque(&random(127, 1)), "too short to tell");
    }
}
