//! How objects are called on a server that knows five types and names of 64 hexadecimal digits. See docs/format.md,
//! "On REST servers".

use crate::storage::{Area, check_name};

/// What stands behind a name of 32 digits or fewer: no random id ends so.
const TAGS: [(Area, &str, &str); 10] = [
    (Area::Config, "", "snap-config"),
    (Area::Snapshots, "", "snap-snapshot"),
    (Area::Sessions, "", "snap-session"),
    (Area::Sessions, ".beat", "snap-beat"),
    (Area::Sessions, ".seen", "snap-seen"),
    (Area::Sessions, ".end", "snap-end"),
    (Area::Gc, "", "snap-gc"),
    (Area::Gc, ".done", "snap-gc-done"),
    (Area::Index, "", "snap-segment"),
    (Area::Quarantine, "", "snap-quarantine"),
];
/// What a name begins with that has another form; rest-server takes none of these.
const FREE: &str = "snap-";

/// The type that an area's objects have there. Append-only servers let locks be deleted, and nothing else.
pub(super) fn kind(area: Area) -> &'static str {
    match area {
        Area::Packs => "data",
        Area::Keys | Area::Config => "keys",
        Area::Snapshots | Area::Trash => "snapshots",
        Area::Sessions | Area::Damage => "locks",
        Area::Index | Area::Gc | Area::Quarantine | Area::Parity => "index",
    }
}

/// Areas whose names are ids of 64 digits, one of each type.
fn has_long_names(area: Area) -> bool {
    matches!(area, Area::Packs | Area::Keys | Area::Damage | Area::Parity)
}

/// What an object is called there.
pub(super) fn encode(area: Area, name: &str) -> String {
    if has_long_names(area) && is_hex(name, 64) {
        return name.to_owned();
    }
    // Beside sidecars, which have the whole name; half an id is enough for what nobody reads.
    let name = match name.get(..32) {
        Some(half) if area == Area::Quarantine && is_hex(name, 64) => half,
        _ => name,
    };
    if let Some((id, by)) = name.split_once('.').filter(|(id, by)| is_hex(id, 32) && is_hex(by, 32))
        && area == Area::Trash
    {
        return format!("{id}{by}");
    }
    for (of, end, tag) in TAGS {
        let Some(id) = name.strip_suffix(end).filter(|id| of == area && is_short(id)) else { continue };
        return format!("{id:0<32}{}{:02x}", spelt(tag), id.len());
    }
    let mut free = format!("{FREE}{}.", area.folder());
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'-' | b'.' => free.push(char::from(byte)),
            // What is one name to one server may be two to another.
            other => free.push_str(&format!("_{other:02x}")),
        }
    }
    free
}

/// The name in this area that is so called there; `None` for another area's, and for what is no object.
pub(super) fn decode(area: Area, called: &str) -> Option<String> {
    let name = match called.strip_prefix(FREE) {
        Some(free) => unescape(free.strip_prefix(area.folder())?.strip_prefix('.')?)?,
        None if is_hex(called, 64) => read(area, called)?,
        None => return None,
    };
    // Nobody else is called so.
    (check_name(area, &name).is_ok() && encode(area, &name) == called).then_some(name)
}

fn read(area: Area, called: &str) -> Option<String> {
    let (id, end) = called.split_at_checked(32)?;
    let (tag, len) = end.split_at_checked(30)?;
    if let Some((of, suffix, _)) = TAGS.iter().find(|(_, _, known)| spelt(known) == tag) {
        let id = id.get(..usize::from_str_radix(len, 16).ok()?)?;
        return (*of == area).then(|| format!("{id}{suffix}"));
    }
    match area {
        Area::Trash => Some(format!("{id}.{end}")),
        area if has_long_names(area) => Some(called.to_owned()),
        _ => None,
    }
}

/// A tag as 30 digits: its letters, and zeros behind them.
fn spelt(tag: &str) -> String {
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
    fn what_snap_writes_has_names_that_strict_servers_take_and_all_come_back() {
        let long = ID.repeat(2);
        for (area, name) in [
            (Area::Packs, long.clone()),
            (Area::Keys, long.clone()),
            (Area::Damage, long.clone()),
            (Area::Parity, long.clone()),
            (Area::Quarantine, ID.to_owned()),
            (Area::Trash, format!("{ID}.{ID}")),
            (Area::Snapshots, ID.to_owned()),
            (Area::Sessions, ID.to_owned()),
            (Area::Sessions, format!("{ID}.beat")),
            (Area::Sessions, format!("{ID}.seen")),
            (Area::Sessions, format!("{ID}.end")),
            (Area::Gc, "0000000000000010".to_owned()),
            (Area::Gc, "0000000000000010.done".to_owned()),
            (Area::Config, "10".to_owned()),
        ] {
            let called = encode(area, &name);
            assert!(is_hex(&called, 64), "{area:?} {name}: {called}");
            for other in Area::ALL {
                let wanted = (other == area).then_some(&name);
                // Those of other types are never met there.
                if kind(other) == kind(area) || other == area {
                    assert_eq!(decode(other, &called).as_ref(), wanted, "{name} in {other:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_set_aside_is_called_by_half_its_id() {
        let (pack, called) = (ID.repeat(2), encode(Area::Quarantine, ID));
        assert_eq!(encode(Area::Quarantine, &pack), called);
        assert_eq!(decode(Area::Quarantine, &called).as_deref(), Some(ID));
        assert_eq!(decode(Area::Parity, &called), None, "it is no sidecar");
    }

    #[test]
    fn any_other_name_comes_back_too_but_what_is_no_object_does_not() {
        for area in Area::ALL {
            for name in ["there", "a b", "x.y", "AB", "%2e", "ab\nc", "\u{e4}", "__", ID, "f.beat"] {
                assert_eq!(decode(area, &encode(area, name)).as_deref(), Some(name), "{area:?}");
            }
            for called in ["", "x", "snap-", "snap-packs", "snap-keys..x", "0123.rest-server-temp42"] {
                assert_eq!(decode(area, called), None, "{called}");
            }
        }
    }
}
