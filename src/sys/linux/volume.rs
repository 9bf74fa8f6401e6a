//! File systems, by the numbers that `statfs` returns and by `/proc/self/mountinfo`.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use rustix::fs::{AtFlags, CWD, StatFs, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::sys::fs::{major, minor};
use crate::sys::volume::Unmounted;

/// Types of file systems whose clients cache listings, or whose locks are not visible to all clients.
const NETWORK: [(u64, &str); 16] = [
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb"),
    (0x517b, "smb"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x564c, "ncp"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x7461_636f, "ocfs2"),
    (0x0116_1970, "gfs2"),
    (0x786f_4256, "vboxsf"),
    (0xa501_fcf5, "vxfs"),
];
/// FUSE file systems; most are clients of a network service.
const FUSE: u64 = 0x6573_5546;
const BTRFS: u64 = 0x9123_683e;
/// FAT, exFAT, NTFS (old and new driver), HFS+, and SMB shares.
const FOLDING: [u64; 7] = [0x4d44, 0x2011_bab0, 0x5346_544e, 0x7366_746e, 0x482b, 0xff53_4d42, 0xfe53_4d42];

pub(crate) const FUSE_DEVICE: Option<&str> = Some("/dev/fuse");
pub(crate) const UNMOUNT: &[&str] = &["fusermount3", "-u"];

pub(crate) fn network_kind(path: &Path) -> io::Result<Option<String>> {
    let number = number(&rustix::fs::statfs(path)?);
    if number != FUSE {
        return Ok(named(number, None));
    }
    let device = fs::metadata(path)?.dev();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(named(number, kind_of_device(&mounts, &format!("{}:{}", major(device), minor(device)))))
}

pub(crate) fn is_of_a_folding_kind(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| FOLDING.contains(&number(&found)))
}

/// Names are bytes.
pub(crate) fn composed(name: &str) -> String {
    name.to_owned()
}

pub(crate) fn is_btrfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| number(&found) == BTRFS)
}

/// Returns the type number. The field is signed on some architectures, and has 32 bits on others.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
fn number(found: &StatFs) -> u64 {
    found.f_type as u64 & 0xffff_ffff
}

/// Returns the name for a type number and a FUSE subtype; `None` for a local file system.
fn named(number: u64, fuse: Option<&str>) -> Option<String> {
    if number == FUSE {
        // FUSE on a local block device: ntfs-3g, exfat.
        return Some(fuse.unwrap_or("fuse").to_owned()).filter(|name| name != "fuseblk");
    }
    NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned())
}

/// Returns the type of a device's mount from the mount table: the field after the dash.
fn kind_of_device<'a>(mounts: &'a str, device: &str) -> Option<&'a str> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(device))?;
    line.split_once(" - ")?.1.split(' ').next()
}

pub(crate) fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let found = rustix::fs::statx(CWD, dir, AtFlags::empty(), StatxFlags::empty())?;
    if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    // Before kernel 5.8: a mount point is on another device than its parent.
    let parent = dir.parent().unwrap_or(dir);
    Ok(dir.metadata()?.dev() != parent.metadata()?.dev())
}

pub(crate) fn unmount(dir: &Path) -> io::Result<Unmounted> {
    match rustix::mount::unmount(dir, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(Unmounted::Done),
        Err(Errno::BUSY) => {
            rustix::mount::unmount(dir, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
            Ok(Unmounted::Done)
        }
        // Somebody else has unmounted it already.
        Err(Errno::INVAL | Errno::NOENT) => Ok(Unmounted::Done),
        Err(_) => Ok(Unmounted::NotAllowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_recognized() {
        let mounts = "36 35 98:0 / /mnt rw - ext4 /dev/sda rw\n\
                      40 35 0:52 / /far rw,nosuid shared:1 - fuse.sshfs me@far:/ rw\n\
                      41 35 0:53 / /stick rw - fuseblk /dev/sdb1 rw\n";
        let fuse = |device| named(FUSE, kind_of_device(mounts, device));
        assert_eq!(fuse("0:52").as_deref(), Some("fuse.sshfs"));
        assert_eq!(fuse("0:53"), None);
        assert_eq!(
            fuse("0:99").as_deref(),
            Some("fuse"),
            "FUSE of an unknown kind counts as a network file system"
        );
        for (number, name) in [(0x6969, "nfs"), (0xff53_4d42, "cifs"), (0x0102_1997, "9p")] {
            assert_eq!(named(number, None).as_deref(), Some(name));
        }
        // ext4, tmpfs, xfs, btrfs, zfs, overlay.
        for number in [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0x794c_7630] {
            assert_eq!(named(number, None), None);
        }
        assert_eq!(network_kind(Path::new("/")).ok(), Some(None));
    }
}
