//! How two entries of one name differ.

use crate::model::entry::{Entry, Kind, Meta, attrs, flags};

/// The kinds of entries, as people tell them apart.
fn rank(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 0,
        Kind::Dir { .. } => 1,
        Kind::Symlink { .. } => 2,
        Kind::Fifo => 3,
        Kind::Socket => 4,
        Kind::CharDevice { .. } => 5,
        Kind::BlockDevice { .. } => 6,
    }
}

/// Whether both are files, both directories, and so on.
pub fn same_type(a: &Entry, b: &Entry) -> bool {
    rank(&a.kind) == rank(&b.kind)
}

/// Whether two entries of the same type have the same content: a file's bytes, a link's target, a device's
/// numbers. What is in a directory is its entries' business.
pub fn same_content(a: &Entry, b: &Entry) -> bool {
    a.is_dir() && b.is_dir() || a.kind == b.kind
}

/// Which metadata differ, of what restoring would show. Hard links are left to those who see both trees.
pub fn metadata(a: &Meta, b: &Meta) -> Vec<&'static str> {
    let known = |a: &Option<std::sync::Arc<str>>, b: &Option<_>| a.is_some() && a == b;
    let passage = (a.flags | b.flags) & flags::PASSAGE != 0;
    let differences = [
        ("mode", a.mode != b.mode),
        // The same name is the same owner, whatever number it has on which machine.
        ("user", a.uid != b.uid && !known(&a.user, &b.user)),
        ("group", a.gid != b.gid && !known(&a.group, &b.group)),
        ("mtime", a.mtime != b.mtime && !passage),
        ("xattrs", a.xattrs != b.xattrs),
        ("flags", a.attrs & attrs::KNOWN != b.attrs & attrs::KNOWN),
    ];
    differences.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
