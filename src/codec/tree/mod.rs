//! Stored trees: directories, part lists, and additional fields of entries.

pub mod chunk_ref;
pub mod dir;
pub(crate) mod entry_ext;
pub mod part_list;
pub mod split;
pub mod stored_xattrs;
