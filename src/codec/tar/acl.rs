//! POSIX ACLs: conversion between the binary extended attribute of Linux and the text form in archives.

use crate::model::decode_error::DecodeError;

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The id in entries that have no owner.
const NOBODY: u32 = u32::MAX;

/// Converts an attribute's bytes to text with numeric owners; `None` if they are not what Linux writes.
pub fn to_text(bytes: &[u8]) -> Option<String> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    let (entries, left) = rest.as_chunks::<8>();
    if u32::from_le_bytes(*version) != VERSION || !left.is_empty() || entries.is_empty() {
        return None;
    }
    let mut parts = Vec::with_capacity(entries.len());
    for [a, b, c, d, e, f, g, h] in entries {
        let (tag, perm) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
        let id = u32::from_le_bytes([*e, *f, *g, *h]);
        let (word, who) = match tag {
            USER_OBJ => ("user", String::new()),
            USER => ("user", id.to_string()),
            GROUP_OBJ => ("group", String::new()),
            GROUP => ("group", id.to_string()),
            MASK => ("mask", String::new()),
            OTHER => ("other", String::new()),
            _ => return None,
        };
        let bit = |bit: u16, letter: char| if perm & bit != 0 { letter } else { '-' };
        parts.push(format!("{word}:{who}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x')));
    }
    Some(parts.join(","))
}

/// Converts text to an attribute's bytes. `id_of` resolves a user's (true) or group's name to a number.
///
/// # Errors
/// The text is not an ACL or names an unknown user or group.
pub fn from_text(text: &str, id_of: &dyn Fn(bool, &str) -> Option<u32>) -> Result<Vec<u8>, DecodeError> {
    let mut entries = Vec::new();
    let parts = text.split([',', '\n']).map(|part| part.split('#').next().unwrap_or_default().trim());
    for part in parts.filter(|part| !part.is_empty()) {
        entries.push(entry(part.strip_prefix("default:").unwrap_or(part), id_of)?);
    }
    entries.sort_unstable();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, perm) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&perm.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    Ok(bytes)
}

/// Parses one entry to (tag, id, permissions), which sort in the order that Linux requires.
fn entry(text: &str, id_of: &dyn Fn(bool, &str) -> Option<u32>) -> Result<(u16, u32, u16), DecodeError> {
    let wrong = || DecodeError::with(format!("an ACL has the invalid entry {text:?}"));
    let fields: Vec<&str> = text.split(':').map(str::trim).collect();
    let (word, who, perm, number) = match fields.as_slice() {
        // Some programs write `mask:rwx` and `other:rwx`.
        [word @ ("mask" | "m" | "other" | "o"), perm] => (*word, "", *perm, None),
        [word, who, perm] => (*word, *who, *perm, None),
        [word, who, perm, number, ..] => (*word, *who, *perm, Some(*number)),
        _ => return Err(wrong()),
    };
    let mut bits = 0;
    for letter in perm.chars() {
        bits |= match letter {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return Err(wrong()),
        };
    }
    let id = |user: bool| {
        let given = number.and_then(|number| number.parse().ok()).or_else(|| who.parse().ok());
        given.or_else(|| id_of(user, who)).ok_or_else(wrong)
    };
    Ok(match (word, who) {
        ("user" | "u", "") => (USER_OBJ, NOBODY, bits),
        ("user" | "u", _) => (USER, id(true)?, bits),
        ("group" | "g", "") => (GROUP_OBJ, NOBODY, bits),
        ("group" | "g", _) => (GROUP, id(false)?, bits),
        ("mask" | "m", _) => (MASK, NOBODY, bits),
        ("other" | "o", _) => (OTHER, NOBODY, bits),
        _ => return Err(wrong()),
    })
}

#[cfg(test)]
mod tests {
    use super::{from_text, to_text};

    #[test]
    fn text_and_bytes_are_converted_to_each_other() {
        let text = "user::rw-,user:1000:r--,group::r-x,group:5:---,mask::rwx,other::---";
        let bytes = from_text(text, &|_, _| None).unwrap();
        assert_eq!(bytes.len(), 4 + 6 * 8);
        assert_eq!(to_text(&bytes).as_deref(), Some(text));
    }

    #[test]
    fn other_programs_spellings_are_understood() {
        let text = "user::rwx\ngroup::r-x\nother::r--\nuser:lisa:rw-:502\ndefault:group:mail:r--\nmask:rwx";
        let bytes = from_text(text, &|user, name| (!user && name == "mail").then_some(8)).unwrap();
        let wanted = "user::rwx,user:502:rw-,group::r-x,group:8:r--,mask::rwx,other::r--";
        assert_eq!(to_text(&bytes).as_deref(), Some(wanted));
    }

    #[test]
    fn invalid_text_is_an_error() {
        for bad in ["user", "user:nobody-knows:rwx", "user::rwz", "king::rwx"] {
            assert!(from_text(bad, &|_, _| None).is_err(), "{bad}");
        }
        assert_eq!(to_text(&[1, 0, 0, 0]), None);
        assert_eq!(to_text(&[2, 0, 0, 0, 9]), None);
    }
}
