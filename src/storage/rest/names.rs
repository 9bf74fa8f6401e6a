//! Maps object names to those of a server that knows five types and names of 64 hexadecimal digits. See
//! docs/format.md, "On REST servers".

use crate::storage::{ObjectKind, check_name};

/// Suffixes for names of at most 32 digits; no random id ends like this.
const TAGS: [(ObjectKind, &str, &str); 14] = [
    (ObjectKind::Config, "", "snap-config"),
    (ObjectKind::Snapshots, "", "snap-snapshot"),
    (ObjectKind::Sessions, "", "snap-session"),
    (ObjectKind::Sessions, ".beat", "snap-beat"),
    (ObjectKind::Sessions, ".seen", "snap-seen"),
    (ObjectKind::Sessions, ".end", "snap-end"),
    (ObjectKind::Gc, "", "snap-gc"),
    (ObjectKind::Gc, ".done", "snap-gc-done"),
    (ObjectKind::Index, "", "snap-segment"),
    (ObjectKind::Quarantine, "", "snap-quarantine"),
    (ObjectKind::Quarantine, ".parity", "snap-q-parity"),
    (ObjectKind::Quarantine, ".copy", "snap-q-copy"),
    (ObjectKind::Quarantine, ".copy.parity", "snap-q-copy-par"),
    (ObjectKind::Audit, "", "snap-audit"),
];
/// Prefix of names in any other form; rest-server rejects these.
const FREE: &str = "snap-";

/// Returns the server's type for an object kind. Append-only servers allow deleting locks, and nothing else.
pub(super) fn kind(area: ObjectKind) -> &'static str {
    match area {
        ObjectKind::Packs => "data",
        ObjectKind::Keys | ObjectKind::Config => "keys",
        ObjectKind::Snapshots | ObjectKind::Trash => "snapshots",
        ObjectKind::Sessions | ObjectKind::Damage => "locks",
        ObjectKind::Index
        | ObjectKind::Gc
        | ObjectKind::Quarantine
        | ObjectKind::Parity
        | ObjectKind::Audit => "index",
    }
}

/// Returns whether an object kind has ids of 64 digits as names; at most one kind per type does.
fn has_long_names(area: ObjectKind) -> bool {
    matches!(area, ObjectKind::Packs | ObjectKind::Keys | ObjectKind::Damage | ObjectKind::Parity)
}

/// Returns an object's name on the server.
pub(super) fn encode(area: ObjectKind, name: &str) -> String {
    if has_long_names(area) && is_hex(name, 64) {
        return name.to_owned();
    }
    let short = if area == ObjectKind::Quarantine { shorten(name) } else { None };
    let name = short.as_deref().unwrap_or(name);
    if let Some((id, by)) = name.split_once('.').filter(|(id, by)| is_hex(id, 32) && is_hex(by, 32))
        && area == ObjectKind::Trash
    {
        return format!("{id}{by}");
    }
    for (of, end, tag) in TAGS {
        let Some(id) = name.strip_suffix(end).filter(|id| of == area && is_short(id)) else { continue };
        return format!("{id:0<32}{}{:02x}", encode_tag(tag), id.len());
    }
    let mut free = format!("{FREE}{}.", area.folder());
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'-' | b'.' => free.push(char::from(byte)),
            // Case is escaped, because some servers ignore it.
            other => free.push_str(&format!("_{other:02x}")),
        }
    }
    free
}

/// Shortens the name of a pack in quarantine, or of its sidecar, since the full name is taken by sidecars.
/// Half an id is enough for objects that are never read. A further copy has its number in the last digits.
fn shorten(name: &str) -> Option<String> {
    let (id, rest) = name.split_at_checked(64).filter(|(id, _)| is_hex(id, 64))?;
    let (copy, parity) = match rest.strip_suffix(".parity") {
        Some(copy) => (copy, ".parity"),
        None => (rest, ""),
    };
    if copy.is_empty() {
        return Some(format!("{}{parity}", id.get(..32)?));
    }
    let number: u16 = copy.strip_prefix('.')?.parse().ok()?;
    Some(format!("{}{number:04x}.copy{parity}", id.get(..28)?))
}

/// Returns the object name for a server's name; `None` if it belongs to another kind, or is not an object's.
pub(super) fn decode(area: ObjectKind, called: &str) -> Option<String> {
    let name = match called.strip_prefix(FREE) {
        Some(free) => unescape(free.strip_prefix(area.folder())?.strip_prefix('.')?)?,
        None if is_hex(called, 64) => decode_digits(area, called)?,
        None => return None,
    };
    // Each object has exactly one name on the server.
    (check_name(area, &name).is_ok() && encode(area, &name) == called).then_some(name)
}

/// Decodes a server's name of 64 digits.
fn decode_digits(area: ObjectKind, called: &str) -> Option<String> {
    let (id, end) = called.split_at_checked(32)?;
    let (tag, len) = end.split_at_checked(30)?;
    if let Some((of, suffix, _)) = TAGS.iter().find(|(_, _, known)| encode_tag(known) == tag) {
        let id = id.get(..usize::from_str_radix(len, 16).ok()?)?;
        return (*of == area).then(|| format!("{id}{suffix}"));
    }
    match area {
        ObjectKind::Trash => Some(format!("{id}.{end}")),
        area if has_long_names(area) => Some(called.to_owned()),
        _ => None,
    }
}

/// Encodes a tag as 30 digits: its letters, then zeros.
fn encode_tag(tag: &str) -> String {
    let digits: String = tag.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0<30}")
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_short(id: &str) -> bool {
    !id.is_empty() && id.len() <= 32 && is_hex(id, id.len())
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'_' => {
                let two = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&two).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_accepted_by_strict_servers_and_roundtrip() {
        let long = ID.repeat(2);
        for (area, name) in [
            (ObjectKind::Packs, long.clone()),
            (ObjectKind::Keys, long.clone()),
            (ObjectKind::Damage, long.clone()),
            (ObjectKind::Parity, long.clone()),
            (ObjectKind::Quarantine, ID.to_owned()),
            (ObjectKind::Quarantine, format!("{ID}.parity")),
            (ObjectKind::Trash, format!("{ID}.{ID}")),
            (ObjectKind::Snapshots, ID.to_owned()),
            (ObjectKind::Sessions, ID.to_owned()),
            (ObjectKind::Sessions, format!("{ID}.beat")),
            (ObjectKind::Sessions, format!("{ID}.seen")),
            (ObjectKind::Sessions, format!("{ID}.end")),
            (ObjectKind::Gc, "0000000000000010".to_owned()),
            (ObjectKind::Gc, "0000000000000010.done".to_owned()),
            (ObjectKind::Config, "10".to_owned()),
            (ObjectKind::Audit, ID.to_owned()),
        ] {
            let called = encode(area, &name);
            assert!(is_hex(&called, 64), "{area:?} {name}: {called}");
            for other in ObjectKind::ALL {
                let wanted = (other == area).then_some(&name);
                // Objects of other server types are never listed together.
                if kind(other) == kind(area) || other == area {
                    assert_eq!(decode(other, &called).as_ref(), wanted, "{name} in {other:?}");
                }
            }
        }
    }

    #[test]
    fn quarantined_objects_are_named_by_half_their_id() {
        let (pack, called) = (ID.repeat(2), encode(ObjectKind::Quarantine, ID));
        assert_eq!(encode(ObjectKind::Quarantine, &pack), called);
        assert_eq!(decode(ObjectKind::Quarantine, &called).as_deref(), Some(ID));
        assert_eq!(decode(ObjectKind::Parity, &called), None, "it is no sidecar");
        let names = ["", ".parity", ".1", ".1.parity", ".999"].map(|end| format!("{pack}{end}"));
        let called = names.map(|name| encode(ObjectKind::Quarantine, &name));
        assert!(called.iter().all(|called| is_hex(called, 64)), "{called:?}");
        assert!((1..called.len()).all(|at| !called[..at].contains(&called[at])), "{called:?}");
    }

    #[test]
    fn object_names_roundtrip_and_others_are_ignored() {
        for area in ObjectKind::ALL {
            for name in ["there", "a b", "x.y", "AB", "%2e", "ab\nc", "\u{e4}", "__", ID, "f.beat"] {
                assert_eq!(decode(area, &encode(area, name)).as_deref(), Some(name), "{area:?}");
            }
            for called in ["", "x", "snap-", "snap-packs", "snap-keys..x", "0123.rest-server-temp42"] {
                assert_eq!(decode(area, called), None, "{called}");
            }
        }
    }
}
