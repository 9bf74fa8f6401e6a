//! The FUSE interface: each request of the kernel becomes a call of [`Mount`]. The only user of fuser.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use snap_backup::model::entry::Time;
use snap_backup::ops::mount::{FsError, FsResult, InodeAttributes, InodeType, Mount};

/// Cache lifetime in the kernel for the content of a snapshot, which never changes.
const IMMUTABLE_TTL: Duration = Duration::from_secs(24 * 3600);
/// Cache lifetime in the kernel for the list of snapshots, which may change at any time.
const LIST_TTL: Duration = Duration::from_secs(1);
/// Block size in bytes for `statfs`, and the preferred size of reads.
const BLOCK: u32 = 4096;
/// Maximum size of a write. The kernel never writes, because the mount is read-only.
const MAX_WRITE_BYTES: u32 = 128 << 10;
/// `ioctl` numbers for reading inode flags, for 64-bit and 32-bit programs.
const GET_FLAGS: [u32; 2] = [0x8008_6601, 0x8004_6601];
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Adapter of a [`Mount`] to fuser's trait.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) mount: Arc<Mount>,
    /// Whether to check modes and ACLs, because other users have access.
    pub(super) permissions: bool,
}

impl Filesystem for Kernel {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel without one of these features works without it.
        let _ = config.set_max_write(MAX_WRITE_BYTES);
        for wanted in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ] {
            let _ = config.add_capabilities(wanted);
        }
        if self.permissions {
            let _ = config.add_capabilities(InitFlags::FUSE_POSIX_ACL);
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.mount.lookup(parent.0, name.as_bytes()) {
            Ok(found) => reply.entry(&ttl(&found), &attr(&found), Generation(0)),
            Err(err) => reply.error(errno(err)),
        }
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        self.mount.forget(ino.0, times);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.mount.attributes(ino.0) {
            Ok(found) => reply.attr(&ttl(&found), &attr(&found)),
            Err(err) => reply.error(errno(err)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.mount.readlink(ino.0) {
            Ok(target) => reply.data(&target),
            Err(err) => reply.error(errno(err)),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply_open(self.mount.open_file(ino.0), FopenFlags::FOPEN_KEEP_CACHE, reply);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.mount.read(fh.0, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(err) => reply.error(errno(err)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.mount.release(fh.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let handle = self.mount.open_dir(ino.0);
        let flags = match handle {
            Ok(handle) if self.mount.lasts(handle) => {
                FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR
            }
            _ => FopenFlags::empty(),
        };
        reply_open(handle, flags, reply);
    }

    fn readdir(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.mount.list(fh.0, offset, false, &mut |one| {
            !reply.add(INodeNo(one.ino), one.next, kind(one.kind), OsStr::from_bytes(one.name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(err) => reply.error(errno(err)),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.mount.list(fh.0, offset, true, &mut |one| {
            let name = OsStr::from_bytes(one.name);
            let (ttl, attr) = match &one.attributes {
                Some(found) => (ttl(found), attr(found)),
                None => (Duration::ZERO, dot_attr(one.ino)),
            };
            !reply.add(INodeNo(one.ino), one.next, name, &ttl, &attr, Generation(0))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(err) => reply.error(errno(err)),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.mount.release(fh.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.mount.stored() {
            Ok(bytes) => {
                reply.statfs(bytes.div_ceil(u64::from(BLOCK)), 0, 0, 0, 0, BLOCK, 255, BLOCK);
            }
            Err(err) => reply.error(errno(err)),
        }
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        reply_xattr(self.mount.xattr(ino.0, name.as_bytes()), size, reply);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self
            .mount
            .xattr_names(ino.0)
            .map(|names| names.into_iter().flat_map(|name| name.into_iter().chain([0])).collect());
        reply_xattr(names, size, reply);
    }

    fn ioctl(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        cmd: u32,
        _: &[u8],
        out_size: u32,
        reply: ReplyIoctl,
    ) {
        if !GET_FLAGS.contains(&cmd) {
            return reply.error(Errno::ENOTTY);
        }
        match self.mount.flags(ino.0) {
            Ok(flags) => {
                let bytes = u64::from(flags).to_ne_bytes();
                reply.ioctl(0, bytes.get(..out_size as usize).unwrap_or(&bytes));
            }
            Err(err) => reply.error(errno(err)),
        }
    }

    fn lseek(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let found = match (u64::try_from(offset), whence) {
            (Ok(from), SEEK_DATA) => self.mount.seek(fh.0, from, true),
            (Ok(from), SEEK_HOLE) => self.mount.seek(fh.0, from, false),
            (Err(_), _) => Err(FsError::Beyond),
            _ => Err(FsError::Invalid),
        };
        match found.and_then(|at| i64::try_from(at).map_err(|_| FsError::Beyond)) {
            Ok(at) => reply.offset(at),
            Err(err) => reply.error(errno(err)),
        }
    }
}

fn reply_open(handle: FsResult<u64>, flags: FopenFlags, reply: ReplyOpen) {
    match handle {
        Ok(handle) => reply.opened(FileHandle(handle), flags),
        Err(err) => reply.error(errno(err)),
    }
}

/// Replies with the value, or with its size if the caller's buffer has length 0.
fn reply_xattr(value: FsResult<Vec<u8>>, room: u32, reply: ReplyXattr) {
    match value {
        Ok(bytes) if room == 0 => reply.size(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        Ok(bytes) if bytes.len() > room as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
        Err(err) => reply.error(errno(err)),
    }
}

fn errno(err: FsError) -> Errno {
    match err {
        FsError::NoEntry => Errno::ENOENT,
        FsError::NotDir => Errno::ENOTDIR,
        FsError::IsDir => Errno::EISDIR,
        FsError::Invalid => Errno::EINVAL,
        FsError::NoData => Errno::NO_XATTR,
        FsError::Beyond => Errno::ENXIO,
        FsError::Stale => Errno::ESTALE,
        FsError::Io => Errno::EIO,
    }
}

fn ttl(found: &InodeAttributes) -> Duration {
    if found.lasts { IMMUTABLE_TTL } else { LIST_TTL }
}

fn attr(found: &InodeAttributes) -> FileAttr {
    let mtime = time(found.mtime);
    FileAttr {
        ino: INodeNo(found.ino),
        size: found.size,
        blocks: found.blocks,
        atime: mtime,
        mtime,
        ctime: time(found.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(found.kind),
        // The permission bits, which always fit.
        perm: u16::try_from(found.mode & 0o7777).unwrap_or(0),
        nlink: found.links,
        uid: found.uid,
        gid: found.gid,
        rdev: device(found.device),
        blksize: BLOCK,
        flags: 0,
    }
}

/// Returns attributes for `.` and `..`, of which the kernel uses only number and type.
fn dot_attr(ino: u64) -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: FileType::Directory,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn kind(kind: InodeType) -> FileType {
    match kind {
        InodeType::File => FileType::RegularFile,
        InodeType::Dir => FileType::Directory,
        InodeType::Symlink => FileType::Symlink,
        InodeType::Fifo => FileType::NamedPipe,
        InodeType::Socket => FileType::Socket,
        InodeType::CharDevice => FileType::CharDevice,
        InodeType::BlockDevice => FileType::BlockDevice,
    }
}

/// Converts a time. One that `SystemTime` cannot represent becomes 1970.
fn time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.sec.unsigned_abs());
    let second = if time.sec < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };
    let exact = second.and_then(|second| second.checked_add(Duration::from_nanos(time.nanos.into())));
    exact.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Encodes a device number as the kernel expects it from FUSE (`new_decode_dev` in its `kdev_t.h`): 8 bits
/// of the minor number, then 12 bits of the major, then 12 more of the minor.
fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let before = time(Time { sec: -2, nanos: 750_000_000 });
        assert_eq!(SystemTime::UNIX_EPOCH.duration_since(before).unwrap(), Duration::from_millis(1250));
        assert_eq!(time(Time { sec: i64::MAX, nanos: 999_999_999 }), {
            let most =
                SystemTime::UNIX_EPOCH.checked_add(Duration::new(i64::MAX.unsigned_abs(), 999_999_999));
            most.unwrap_or(SystemTime::UNIX_EPOCH)
        });
    }

    #[test]
    fn devices_have_both_their_numbers() {
        assert_eq!(device((1, 3)), 0x103);
        assert_eq!(device((0xabc, 0x1_2345)), 0x123a_bc45);
    }
}
