//! Stored trees: directories, lists of parts, and what entries hold besides.

pub mod dir;
pub(crate) mod entry_ext;
pub mod part_list;
pub mod split;
pub mod stored_xattrs;
