//! Reading a live tree: what the system says of an entry, and the sorted walk. The only user of walkdir.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use walkdir::WalkDir;

use crate::model::entry::Content;
use crate::model::entry::Kind;
use crate::model::entry::Meta;
use crate::model::entry::Time;
use crate::model::id::ChunkId;

/// Walks below `root`, directories before their contents, names in order of their bytes. Follows no links.
pub fn walk(root: &Path, one_file_system: bool) -> walkdir::IntoIter {
    WalkDir::new(root).follow_links(false).same_file_system(one_file_system).sort_by_file_name().into_iter()
}

/// Turns what the system says into what is stored; remembers names of users and groups.
#[derive(Debug, Default)]
pub struct Describer {
    users: HashMap<u32, Option<Arc<str>>>,
    groups: HashMap<u32, Option<Arc<str>>>,
}

impl Describer {
    /// Everything but kind, name and hard-link group.
    pub fn meta(&mut self, found: &Metadata) -> Meta {
        let (uid, gid) = (found.uid(), found.gid());
        let user = self.users.entry(uid).or_insert_with(|| {
            uzers::get_user_by_uid(uid).map(|user| Arc::from(user.name().to_string_lossy().as_ref()))
        });
        let group = self.groups.entry(gid).or_insert_with(|| {
            uzers::get_group_by_gid(gid).map(|group| Arc::from(group.name().to_string_lossy().as_ref()))
        });
        Meta {
            mode: found.mode() & 0o7777,
            uid,
            gid,
            user: user.clone(),
            group: group.clone(),
            mtime: time(found.mtime(), found.mtime_nsec()),
            ctime: time(found.ctime(), found.ctime_nsec()),
            ..Meta::default()
        }
    }
}

/// An instant as the system gives it.
pub fn time(sec: i64, nanos: i64) -> Time {
    Time { sec, nanos: u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000).unwrap_or(0) }
}

/// Kind of an entry, without a file's content or a directory's tree.
///
/// # Errors
/// When a link cannot be read, or the kind is one that nobody stores.
pub fn kind(path: &Path, found: &Metadata) -> std::io::Result<Kind> {
    let kind = found.file_type();
    let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
    Ok(if kind.is_file() {
        Kind::File { size: found.len(), content: Content::Parts(Vec::new()) }
    } else if kind.is_dir() {
        Kind::Dir { tree: ChunkId::new([0; 32]) }
    } else if kind.is_symlink() {
        Kind::Symlink { target: std::fs::read_link(path)?.as_os_str().as_bytes().to_vec() }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else if kind.is_char_device() {
        Kind::CharDevice { major, minor }
    } else if kind.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else {
        return Err(std::io::Error::other("an unknown kind of file"));
    })
}
