//! Reads a live file system: names in a directory and metadata of an entry. The only user of walkdir.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat, StatxFlags, StatxTimestamp};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;
use walkdir::WalkDir;

use crate::fs::long_path;
use crate::model::entry::{Content, Kind, Meta, Time, attrs};
use crate::model::id::ChunkId;

/// Walks below `root`, directories before their contents, without following links. Backups do not use this;
/// see [`crate::fs::walk`].
pub fn walk(root: &Path, one_file_system: bool) -> walkdir::IntoIter {
    WalkDir::new(root).follow_links(false).same_file_system(one_file_system).into_iter()
}

/// Size in bytes of the buffer for one `getdents` call: the same as in glibc.
const LISTED: usize = 32 << 10;

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
    Ok(retry_on_intr(|| rustix::fs::openat(&dir, name, LISTING, Mode::empty()))?)
}

const LISTING: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Returns the names in a directory, sorted by their bytes, and the error that ended the listing early.
/// `space` is a buffer that is reused.
pub fn names(dir: &OwnedFd, space: &mut Vec<u8>) -> (Vec<Vec<u8>>, Option<io::Error>) {
    space.clear();
    space.reserve(LISTED);
    let mut listing = RawDir::new(dir, space.spare_capacity_mut());
    until_error(|| {
        let name = |entry: rustix::fs::RawDirEntry<'_>| entry.file_name().to_bytes().to_vec();
        Some(listing.next()?.map(name).map_err(io::Error::from))
    })
}

/// Collects the names before the end or the first error, so that one bad block of a directory does not hide
/// the other names.
fn until_error(mut next: impl FnMut() -> Option<io::Result<Vec<u8>>>) -> (Vec<Vec<u8>>, Option<io::Error>) {
    let (mut names, mut failed) = (Vec::new(), None);
    loop {
        match next() {
            None => break,
            Some(Ok(name)) if name == b"." || name == b".." => {}
            Some(Ok(name)) => names.push(name),
            // A file system that fails once may fail forever.
            Some(Err(err)) => {
                failed = Some(err);
                break;
            }
        }
    }
    names.sort_unstable();
    (names, failed)
}

/// Metadata of an inode, as the kernel returns it.
#[derive(Debug, Clone, Copy)]
pub struct Inode {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner's numeric id.
    pub uid: u32,
    /// Group's numeric id.
    pub gid: u32,
    /// Size of a file in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// When the content last changed.
    pub mtime: Time,
    /// When the inode last changed.
    pub ctime: Time,
    /// Birth time, if known.
    pub born: Option<Time>,
    /// Inode flags that are recorded; see [`attrs`].
    pub attrs: u32,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
    /// Device and inode number.
    pub id: (u64, u64),
    /// Number of hard links.
    pub links: u32,
}

impl Inode {
    /// Returns whether it is a regular file.
    pub fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.mode).is_file()
    }

    /// Returns whether it is a directory.
    pub fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.mode).is_dir()
    }

    /// Returns device and inode number if it has several hard links.
    pub fn further_names(&self) -> Option<(u64, u64)> {
        (self.links > 1 && !self.is_dir()).then_some(self.id)
    }
}

/// Returns the metadata of an entry of a directory without following a link. This is one system call and
/// opens nothing.
///
/// # Errors
/// There is no such entry, or this user may not stat it.
pub fn look(dir: impl AsFd, name: impl Arg + Copy) -> io::Result<Inode> {
    ask(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

/// Returns the metadata of an open file.
///
/// # Errors
/// The system call fails.
pub fn look_open(file: impl AsFd) -> io::Result<Inode> {
    ask(file, "", AtFlags::EMPTY_PATH)
}

/// Returns the metadata of what a path leads to, following symbolic links.
///
/// # Errors
/// As [`look`].
pub fn follow(path: &Path) -> io::Result<Inode> {
    ask(CWD, path, AtFlags::empty())
}

fn ask(dir: impl AsFd, name: impl Arg + Copy, how: AtFlags) -> io::Result<Inode> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let found = match rustix::fs::statx(&dir, name, how, wanted) {
        // `statx` is missing before Linux 4.11 and blocked in some sandboxes.
        Err(Errno::NOSYS | Errno::PERM) => return Ok(without_birth(&rustix::fs::statat(&dir, name, how)?)),
        other => other?,
    };
    let instant = |at: StatxTimestamp| time(at.tv_sec, at.tv_nsec.into());
    let has_birth = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    Ok(Inode {
        mode: found.stx_mode.into(),
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        blocks: found.stx_blocks,
        mtime: instant(found.stx_mtime),
        ctime: instant(found.stx_ctime),
        born: has_birth.then(|| instant(found.stx_btime)),
        // `statx` attributes have the same numbers as the inode flags.
        attrs: found.stx_attributes.bits() as u32 & attrs::KNOWN,
        device: (found.stx_rdev_major, found.stx_rdev_minor),
        id: (rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
        links: found.stx_nlink,
    })
}

fn without_birth(found: &Stat) -> Inode {
    Inode {
        mode: found.st_mode,
        uid: found.st_uid,
        gid: found.st_gid,
        size: u64::try_from(found.st_size).unwrap_or(0),
        blocks: u64::try_from(found.st_blocks).unwrap_or(0),
        mtime: time(found.st_mtime, found.st_mtime_nsec as i64),
        ctime: time(found.st_ctime, found.st_ctime_nsec as i64),
        born: None,
        attrs: 0,
        device: (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev)),
        id: (found.st_dev, found.st_ino),
        links: u32::try_from(found.st_nlink).unwrap_or(u32::MAX),
    }
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
        let user = self.users.entry(uid).or_insert_with(|| {
            uzers::get_user_by_uid(uid).map(|user| Arc::from(user.name().to_string_lossy().as_ref()))
        });
        let group = self.groups.entry(gid).or_insert_with(|| {
            uzers::get_group_by_gid(gid).map(|group| Arc::from(group.name().to_string_lossy().as_ref()))
        });
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

/// Converts a time; invalid nanoseconds become 0.
pub fn time(sec: i64, nanos: i64) -> Time {
    Time { sec, nanos: u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000).unwrap_or(0) }
}

/// Returns the type of a directory's entry, without a file's content or a directory's tree.
///
/// # Errors
/// A symbolic link cannot be read, or the type is unknown.
pub fn kind(dir: impl AsFd, name: impl Arg, found: &Inode) -> io::Result<Kind> {
    let (major, minor) = found.device;
    Ok(match FileType::from_raw_mode(found.mode) {
        FileType::RegularFile => Kind::File { size: found.size, content: Content::Parts(Vec::new()) },
        FileType::Directory => Kind::Dir { tree: ChunkId::new([0; 32]) },
        FileType::Symlink => {
            Kind::Symlink { target: rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes() }
        }
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Unknown => return Err(io::Error::other("an unknown kind of file")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_listed_before_an_error_is_kept() {
        let mut listing = vec![Ok("b"), Ok("."), Ok("a"), Err(Errno::IO), Ok("c")].into_iter();
        let next = || Some(listing.next()?.map(|name| name.as_bytes().to_vec()).map_err(io::Error::from));
        let (names, failed) = until_error(next);
        assert_eq!(names, [b"a", b"b"]);
        assert_eq!(failed.and_then(|err| err.raw_os_error()), Some(Errno::IO.raw_os_error()));
    }
}
