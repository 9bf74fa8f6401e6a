//! Reads what borg's mount does not show: ACLs, inode flags and names of owners. `borg debug dump-archive`
//! prints the items of an archive as JSON, one value per line, without their content.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::sync::Arc;

use snap_backup::codec::tar::acl;
use snap_backup::model::entry::attrs;
use snap_backup::ops::backup::states::{Facts, Supplement};

/// Prefix of a line that has a field of an item.
const FIELD: &[u8] = b"        \"";
/// Maximum length of a line that is kept. Only lines with xattrs and chunks are longer, and those are not
/// needed.
const LONGEST: usize = 1 << 20;

/// Interned names of owners.
#[derive(Default)]
pub(super) struct Names(HashMap<String, Arc<str>>);

impl Names {
    pub(super) fn get(&mut self, name: &str) -> Option<Arc<str>> {
        if name.is_empty() {
            return None;
        }
        if let Some(known) = self.0.get(name) {
            return Some(Arc::clone(known));
        }
        let shared: Arc<str> = Arc::from(name);
        self.0.insert(name.to_owned(), Arc::clone(&shared));
        Some(shared)
    }
}

/// Reads all items of a dump.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(mut dump: impl BufRead) -> io::Result<Supplement> {
    let (mut supplement, mut names) = (Supplement::default(), Names::default());
    let (mut path, mut facts, mut inside) = (None::<Vec<u8>>, Facts::default(), false);
    let mut line = Vec::new();
    loop {
        line.clear();
        if dump.read_until(b'\n', &mut line)? == 0 {
            return Ok(supplement);
        }
        let text = line.trim_ascii_end();
        inside |= text.starts_with(b"    \"_items\"");
        if !inside || text.len() > LONGEST {
            continue;
        }
        if matches!(text, b"    }" | b"    },") {
            let facts = std::mem::take(&mut facts);
            path.take().into_iter().for_each(|path| supplement.insert(&path, facts.clone()));
        } else if let Some((name, value)) = field(text) {
            match name {
                b"path" => path = string(value),
                b"user" => facts.user = text_of(value).and_then(|name| names.get(&name)),
                b"group" => facts.group = text_of(value).and_then(|name| names.get(&name)),
                b"acl_access" => facts.xattrs.extend(acl_of(value, b"system.posix_acl_access")),
                b"acl_default" => facts.xattrs.extend(acl_of(value, b"system.posix_acl_default")),
                b"bsdflags" => {
                    facts.attrs =
                        std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).map(flags)
                }
                _ => {}
            }
        }
    }
}

/// Splits a line into the name of an item's field and its value.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(FIELD)?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let (name, value) = rest.split_at_checked(end)?;
    let value = value.strip_prefix(b"\": ")?;
    Some((name, value.strip_suffix(b",").unwrap_or(value)))
}

/// Returns the bytes of a JSON string. Bytes that are not UTF-8 are encoded as lone surrogates, as in Python.
fn string(value: &[u8]) -> Option<Vec<u8>> {
    let mut rest = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut out = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (letter, after) = rest.split_first()?;
        rest = after;
        match letter {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => {
                let (unit, after) = unit(rest)?;
                rest = after;
                rest = push_unit(unit, rest, &mut out)?;
            }
            other => out.push(*other),
        }
    }
    Some(out)
}

/// Splits off four hexadecimal digits.
fn unit(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = rest.split_at_checked(4)?;
    Some((u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, after))
}

/// Appends the character that starts with the UTF-16 code unit `first`, reading its low surrogate if
/// necessary. Returns the rest.
fn push_unit<'a>(first: u32, rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    if (0xdc80..=0xdcff).contains(&first) {
        out.push(u8::try_from(first - 0xdc00).ok()?);
        return Some(rest);
    }
    let (code, rest) = match first {
        0xd800..=0xdbff => {
            let (second, rest) = unit(rest.strip_prefix(b"\\u")?)?;
            (0x10000 + ((first - 0xd800) << 10) + second.checked_sub(0xdc00)?, rest)
        }
        _ => (first, rest),
    };
    let letter = char::from_u32(code)?;
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

fn text_of(value: &[u8]) -> Option<String> {
    String::from_utf8(string(value)?).ok()
}

/// Converts an ACL. An access ACL without a mask is left out, because it equals the mode.
fn acl_of(value: &[u8], name: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = text_of(value)?;
    let is_access = name.ends_with(b"access");
    if is_access && !text.lines().any(|line| line.starts_with("mask:")) {
        return None;
    }
    // A numeric id follows each name. A name without one is unknown on that machine and cannot be converted.
    let bytes = acl::from_text(&text, &|_, _| None).ok()?;
    Some((name.to_vec(), bytes))
}

/// Converts BSD file flags, which borg stores, to those of Linux.
fn flags(bsd: u32) -> u32 {
    let pairs =
        [(0x01, attrs::NODUMP), (0x02, attrs::IMMUTABLE), (0x04, attrs::APPEND), (0x20, attrs::COMPRESSED)];
    pairs.into_iter().filter(|(bit, _)| bsd & bit != 0).fold(0, |all, (_, flag)| all | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r#"{
    "_name": "nas",
    "_meta":
    {
        "user": "not an item"
    },
    "_items": [
    {
        "acl_access": "user::rw-\nuser:bob:rw-:1234\ngroup::r--\nmask::rw-\nother::r--",
        "bsdflags": 3,
        "group": "users",
        "mode": 33188,
        "path": "home/not\udcffutf8 \ud83d\ude00\n\"x\"",
        "user": "alice",
        "xattrs": {
            "path": "an attribute"
        }
    },
    {
        "acl_access": "user::rwx\ngroup::r-x\nother::r-x",
        "path": "home",
        "user": "root"
    }
]
}
"#;

    #[test]
    fn items_have_acls_flags_and_owners() {
        let supplement = read(DUMP.as_bytes()).unwrap();
        let facts = supplement.get(b"home/not\xffutf8 \xf0\x9f\x98\x80\n\"x\"").unwrap();
        assert_eq!((facts.user.as_deref(), facts.group.as_deref()), (Some("alice"), Some("users")));
        assert_eq!(facts.attrs, Some(attrs::NODUMP | attrs::IMMUTABLE));
        let (name, bytes) = &facts.xattrs[0];
        assert_eq!(name, b"system.posix_acl_access");
        assert_eq!(
            acl::to_text(bytes).as_deref(),
            Some("user::rw-,user:1234:rw-,group::r--,mask::rw-,other::r--")
        );
        let dir = supplement.get(b"home").unwrap();
        assert!(dir.xattrs.is_empty(), "an ACL without a mask is what the mode says");
    }
}
