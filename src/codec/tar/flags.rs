//! Inode flags by the names that `chflags` and archives use.

use crate::model::entry::attrs;

const NAMES: [(u32, &str, &[&str]); 4] = [
    (attrs::COMPRESSED, "compress", &["compressed", "ucompressed"]),
    (attrs::IMMUTABLE, "schg", &["schange", "simmutable"]),
    (attrs::APPEND, "sappnd", &["sappend"]),
    (attrs::NODUMP, "nodump", &[]),
];

/// Returns the names of the flags, comma-separated.
pub fn to_text(flags: u32) -> String {
    let names = NAMES.iter().filter(|(bit, ..)| flags & bit != 0).map(|(_, name, _)| *name);
    names.collect::<Vec<_>>().join(",")
}

/// Returns the flags for these names. Unknown names are ignored.
pub fn from_text(text: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(text);
    let words = text.split(',').map(str::trim);
    let bits = words.flat_map(|word| {
        NAMES
            .iter()
            .filter(move |(_, name, others)| *name == word || others.contains(&word))
            .map(|(bit, ..)| bit)
    });
    bits.fold(0, |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    use super::{from_text, to_text};
    use crate::model::entry::attrs;

    #[test]
    fn flag_names_roundtrip_and_unknown_ones_are_ignored() {
        for flags in 0..=0xff & attrs::KNOWN {
            assert_eq!(from_text(to_text(flags & attrs::KNOWN).as_bytes()), flags & attrs::KNOWN);
        }
        assert_eq!(from_text(b"uarch, simmutable"), attrs::IMMUTABLE);
    }
}
