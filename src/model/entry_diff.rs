//! Compares two entries of the same name.

use std::mem::discriminant;
use std::sync::Arc;

use crate::model::entry::{Entry, Meta, attrs, flags};

/// Returns whether both entries have the same type.
pub fn same_type(a: &Entry, b: &Entry) -> bool {
    discriminant(&a.kind) == discriminant(&b.kind)
}

/// Returns whether two entries of the same type have the same content: a file's bytes, a link's target or a
/// device's numbers. Directories always compare equal; their entries are compared one by one.
pub fn same_content(a: &Entry, b: &Entry) -> bool {
    a.is_dir() && b.is_dir() || a.kind == b.kind
}

/// Returns the names of the metadata fields that differ, among those that a restore would set. Hard links
/// are not compared: that needs both trees.
pub fn metadata(a: &Meta, b: &Meta) -> Vec<&'static str> {
    let same_name = |a: &Option<Arc<str>>, b: &Option<_>| a.is_some() && a == b;
    let ancestor_only = (a.flags | b.flags) & flags::ANCESTOR_ONLY != 0;
    let differences = [
        ("mode", a.mode != b.mode),
        // The same name counts as the same owner: its number may differ between machines.
        ("user", a.uid != b.uid && !same_name(&a.user, &b.user)),
        ("group", a.gid != b.gid && !same_name(&a.group, &b.group)),
        ("mtime", a.mtime != b.mtime && !ancestor_only),
        ("xattrs", a.xattrs != b.xattrs),
        ("flags", a.attrs & attrs::KNOWN != b.attrs & attrs::KNOWN),
    ];
    differences.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
