//! What snapshots, hosts and tags are called as directories.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::entry::Time;
use crate::model::manifest::Manifest;

/// Bytes of a name beside which what makes it unique has room.
const ROOM: usize = 200;

/// When a snapshot was begun, by this machine's clock, such that names sort by it and shells need no quotes; one that
/// was interrupted says so.
pub(super) fn of_snapshot(manifest: &Manifest, zone: &TimeZone) -> String {
    let Time { sec, .. } = manifest.started;
    let mut name = match Timestamp::from_second(sec) {
        Ok(at) => at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H-%M-%S").to_string(),
        // A time that no calendar has.
        Err(_) => format!("@{sec}"),
    };
    if manifest.partial {
        name.push_str("-partial");
    }
    name
}

/// A host or a tag: what no name may hold is written as in URLs, and what is too long is cut.
pub(super) fn of_label(label: &str) -> String {
    let mut name = String::new();
    for letter in label.chars() {
        match letter {
            '/' | '%' | '\0' => name.push_str(&format!("%{:02X}", u32::from(letter))),
            // `.` and `..` are taken, and names that begin so are hidden.
            '.' if name.is_empty() => name.push_str("%2E"),
            _ => name.push(letter),
        }
    }
    match name.char_indices().find(|(at, _)| *at >= ROOM) {
        Some((at, _)) => name.split_at(at).0.to_owned(),
        None if name.is_empty() => "%".to_owned(),
        None => name,
    }
}

/// A name that is not taken: as it is, else with more of what is its own.
pub(super) fn unique(name: String, own: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&name) {
        return name;
    }
    let short = format!("{name}-{}", own.get(..8).unwrap_or(own));
    if is_taken(&short) { format!("{name}-{own}") } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_names_that_a_directory_can_hold() {
        assert_eq!(of_label("web-1"), "web-1");
        assert_eq!(of_label("a/b"), "a%2Fb");
        assert_eq!(of_label(".."), "%2E.");
        assert_eq!(of_label(""), "%");
        assert_eq!(of_label("ü"), "ü");
        assert!(of_label(&"ü".repeat(1000)).len() <= 202);
    }

    #[test]
    fn names_are_unique() {
        let taken = |name: &str| matches!(name, "a" | "a-01234567");
        assert_eq!(unique("b".into(), "0123456789", taken), "b");
        assert_eq!(unique("a".into(), "9876543210", taken), "a-98765432");
        assert_eq!(unique("a".into(), "0123456789", taken), "a-0123456789");
    }
}
