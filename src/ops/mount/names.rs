//! Directory names of snapshots, hosts and tags.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::entry::Time;
use crate::model::manifest::Manifest;

/// Maximum bytes of a name without the suffix that makes it unique.
const ROOM: usize = 200;

/// Returns a snapshot's name: its start in the local time zone. Names sort by time and need no quotes in
/// shells. Partial snapshots are marked.
pub(super) fn of_snapshot(manifest: &Manifest, zone: &TimeZone) -> String {
    let Time { sec, .. } = manifest.started;
    let mut name = match Timestamp::from_second(sec) {
        Ok(at) => at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H-%M-%S").to_string(),
        // The time is outside of the calendar.
        Err(_) => format!("@{sec}"),
    };
    if manifest.partial {
        name.push_str("-partial");
    }
    name
}

/// Returns the name of a host or tag. Characters that names cannot hold are percent-encoded, and long names
/// are cut.
pub(super) fn of_label(label: &str) -> String {
    let mut name = String::new();
    for letter in label.chars() {
        match letter {
            '/' | '%' | '\0' => name.push_str(&format!("%{:02X}", u32::from(letter))),
            // `.` and `..` are reserved, and names with a leading dot are hidden.
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

/// Returns a name that is not taken, if necessary by appending part of the id `own`.
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
