//! Converts entries to archive members.

use crate::codec::tar::{Node, TarMember};
use crate::error::Result;
use crate::model::entry::{Entry, Kind, Time, XattrValue, flags};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader;

/// Returns the archive member of an entry, as `node`. `started` dates entries without a time.
///
/// # Errors
/// When the value of an extended attribute is damaged.
pub(super) fn tar_member(
    entry: &Entry,
    path: &[u8],
    node: Node,
    started: Time,
    reader: &mut ChunkReader,
) -> Result<TarMember> {
    let meta = &entry.meta;
    let ancestor_only = meta.flags & flags::ANCESTOR_ONLY != 0;
    let name =
        |name: Option<&std::sync::Arc<str>>| name.map(|name| name.as_bytes().to_vec()).unwrap_or_default();
    // A further hard link has no metadata of its own.
    let mut xattrs = Vec::new();
    if !matches!(node, Node::HardLink(_)) {
        let whole = dir_reader::load_xattrs(reader, meta)?;
        let inline = whole.xattrs.iter().filter_map(|xattr| match &xattr.value {
            XattrValue::Inline(bytes) => Some((xattr.name.clone(), bytes.clone())),
            XattrValue::Content { .. } => None,
        });
        xattrs.extend(inline);
    }
    let flags = if matches!(node, Node::HardLink(_)) { 0 } else { meta.attrs };
    Ok(TarMember {
        path: path.to_vec(),
        node,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        user: name(meta.user.as_ref()),
        group: name(meta.group.as_ref()),
        mtime: if ancestor_only { started } else { meta.mtime },
        xattrs,
        acls: Vec::new(),
        flags,
        born: None,
    })
}

/// Returns what an entry becomes in an archive; `None` for a socket.
pub(super) fn node_of(kind: &Kind) -> Option<Node> {
    Some(match kind {
        Kind::File { .. } => Node::File,
        Kind::Dir { .. } => Node::Dir,
        Kind::Symlink { target } => Node::Symlink(target.clone()),
        Kind::Fifo => Node::Fifo,
        Kind::Socket => return None,
        Kind::CharDevice { major, minor } => Node::CharDevice { major: *major, minor: *minor },
        Kind::BlockDevice { major, minor } => Node::BlockDevice { major: *major, minor: *minor },
    })
}

/// Returns the member that lists removed paths.
pub(super) fn removed_list(path: &[u8], started: Time) -> TarMember {
    TarMember {
        path: path.to_vec(),
        node: Node::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: Vec::new(),
        group: Vec::new(),
        mtime: started,
        xattrs: Vec::new(),
        acls: Vec::new(),
        flags: 0,
        born: None,
    }
}
