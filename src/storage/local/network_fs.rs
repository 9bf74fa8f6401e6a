//! Detects network file systems, by the type numbers that statfs returns.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use crate::error::{Error, Result};
use crate::storage::local::LocalStorage;
use crate::storage::local::files::Temp;

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

impl LocalStorage {
    /// Returns the network file system that the directory is on, if any.
    /// It is determined once the directory exists.
    pub(super) fn network(&self) -> Result<Option<&str>> {
        if let Some(known) = self.network.get() {
            return Ok(known.as_deref());
        }
        match kind(&self.root) {
            Ok(kind) => Ok(self.network.get_or_init(|| kind).as_deref()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at the file system of", &self.root)(error)),
        }
    }

    /// Makes a network client refresh its cached listing, by changing the folder. Without write permission
    /// the cached listing has to do.
    pub(super) fn refresh(&self, folder: &Path) -> Result<()> {
        if self.network()?.is_some() && folder.is_dir() {
            drop(Temp::new(folder, self.modes()));
        }
        Ok(())
    }
}

/// Returns the network file system that a path is on; `None` on a local one.
fn kind(path: &Path) -> io::Result<Option<String>> {
    let number = rustix::fs::statfs(path)?.f_type as u64;
    if number & 0xffff_ffff != FUSE {
        return Ok(named(number, None));
    }
    let device = fs::metadata(path)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(named(number, kind_of_device(&mounts, &format!("{major}:{minor}"))))
}

/// Returns the name for a type number and a FUSE subtype; `None` for a local file system.
fn named(number: u64, fuse: Option<&str>) -> Option<String> {
    // The field is signed on some architectures, and has 32 bits on others.
    let number = number & 0xffff_ffff;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_told_from_what_is_not() {
        let mounts = "36 35 98:0 / /mnt rw - ext4 /dev/sda rw\n\
                      40 35 0:52 / /far rw,nosuid shared:1 - fuse.sshfs me@far:/ rw\n\
                      41 35 0:53 / /stick rw - fuseblk /dev/sdb1 rw\n";
        let fuse = |device| named(FUSE, kind_of_device(mounts, device));
        assert_eq!(fuse("0:52").as_deref(), Some("fuse.sshfs"));
        assert_eq!(fuse("0:53"), None);
        assert_eq!(fuse("0:99").as_deref(), Some("fuse"), "who does not say what it is is not trusted");
        for (number, name) in [(0x6969, "nfs"), (0xffff_ffff_ff53_4d42, "cifs"), (0x0102_1997, "9p")] {
            assert_eq!(named(number, None).as_deref(), Some(name));
        }
        // ext4, tmpfs, xfs, btrfs, zfs, overlay.
        for number in [0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x2fc1_2fc1, 0x794c_7630] {
            assert_eq!(named(number, None), None);
        }
        assert_eq!(kind(Path::new("/")).ok(), Some(None));
    }
}
