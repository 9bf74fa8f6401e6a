//! Reads a live file system: names in a directory and metadata of an entry. The only user of walkdir.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use walkdir::WalkDir;

use crate::model::entry::{Content, Kind, Meta};
use crate::model::id::ChunkId;
use crate::sys::fs::{FileType, Mode, OFlags, file_type, openat, readlinkat};
pub use crate::sys::inode::{Inode, follow, stat, stat_open};
use crate::sys::io::retry_on_intr;
use crate::sys::path::Arg;
use crate::sys::{self, long_path, users};

/// Walks below `root`, directories before their contents, without following links. Backups do not use this;
/// see [`crate::fs::walk`].
pub fn walk(root: &Path, one_file_system: bool) -> walkdir::IntoIter {
    WalkDir::new(root).follow_links(false).same_file_system(one_file_system).into_iter()
}

/// Opens a directory for listing and for `stat` calls relative to it. Symbolic links are not followed.
///
/// # Errors
/// There is no such directory, or this user may not read it.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    long_path::open(path, LISTING)
}

/// Like [`open_dir`], relative to another directory.
///
/// # Errors
/// As [`open_dir`].
pub fn open_dir_in(dir: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| openat(&dir, name, LISTING, Mode::empty()))?)
}

const LISTING: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Returns the names in a directory, sorted by their bytes, and the error that ended the listing early.
/// `space` is a buffer that is reused.
pub fn names(dir: &OwnedFd, space: &mut Vec<u8>) -> (Vec<Vec<u8>>, Option<io::Error>) {
    let (names, failed) = sys::fs::names(dir, space);
    (names, failed.map(io::Error::from))
}

/// Converts inode metadata to the stored form. Caches names of users and groups.
#[derive(Debug, Default)]
pub struct MetadataReader {
    users: HashMap<u32, Option<Arc<str>>>,
    groups: HashMap<u32, Option<Arc<str>>>,
    /// Owners of the previous entry: most entries have the same.
    last: Option<Owners>,
}

#[derive(Debug, Clone)]
struct Owners {
    uid: u32,
    gid: u32,
    user: Option<Arc<str>>,
    group: Option<Arc<str>>,
}

impl MetadataReader {
    fn owners(&mut self, uid: u32, gid: u32) -> Owners {
        if let Some(last) = self.last.as_ref().filter(|last| (last.uid, last.gid) == (uid, gid)) {
            return last.clone();
        }
        let user = self.users.entry(uid).or_insert_with(|| users::user_name(uid).map(Arc::from));
        let group = self.groups.entry(gid).or_insert_with(|| users::group_name(gid).map(Arc::from));
        let found = Owners { uid, gid, user: user.clone(), group: group.clone() };
        self.last.insert(found).clone()
    }

    /// Returns all metadata except type, name and hard link group.
    pub fn meta(&mut self, found: &Inode) -> Meta {
        let Owners { uid, gid, user, group } = self.owners(found.uid, found.gid);
        Meta {
            mode: found.mode & 0o7777,
            uid,
            gid,
            user,
            group,
            mtime: found.mtime,
            ctime: found.ctime,
            born: found.born,
            attrs: found.attrs,
            ..Meta::default()
        }
    }
}

/// Returns the type of a directory's entry, without a file's content or a directory's tree.
///
/// # Errors
/// A symbolic link cannot be read, or the type is unknown.
pub fn kind(dir: impl AsFd, name: impl Arg, found: &Inode) -> io::Result<Kind> {
    let (major, minor) = found.device;
    Ok(match file_type(found.mode) {
        FileType::RegularFile => Kind::File { size: found.size, content: Content::Parts(Vec::new()) },
        FileType::Directory => Kind::Dir { tree: ChunkId::new([0; 32]) },
        FileType::Symlink => Kind::Symlink { target: readlinkat(dir, name, Vec::new())?.into_bytes() },
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Unknown => return Err(io::Error::other("its file type is unknown")),
    })
}
