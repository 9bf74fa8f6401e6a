//! File systems, by their names in `statfs`.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::MntFlags;
use rustix::fs::StatFs;

use crate::sys::volume::Unmounted;

/// `MNT_LOCAL` of both systems.
const LOCAL: u64 = 0x1000;
/// By default: APFS and HFS+ can also be formatted so that `a` and `A` differ.
const FOLDING: [&str; 7] = ["apfs", "hfs", "msdos", "msdosfs", "exfat", "ntfs", "smbfs"];

pub(crate) const FUSE_DEVICE: Option<&str> = None;
pub(crate) const UNMOUNT: &[&str] = &["umount"];

#[allow(clippy::unnecessary_cast)]
pub(crate) fn network_kind(path: &Path) -> io::Result<Option<String>> {
    let found = rustix::fs::statfs(path)?;
    Ok((found.f_flags as u64 & LOCAL == 0).then(|| kind(&found)))
}

pub(crate) fn is_of_a_folding_kind(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| FOLDING.contains(&kind(&found).as_str()))
}

#[cfg(target_vendor = "apple")]
pub(crate) fn composed(name: &str) -> String {
    unicode_normalization::UnicodeNormalization::nfc(name).collect()
}

#[cfg(not(target_vendor = "apple"))]
pub(crate) fn composed(name: &str) -> String {
    name.to_owned()
}

pub(crate) fn is_btrfs(_: &Path) -> bool {
    false
}

#[allow(clippy::cast_sign_loss)]
fn kind(found: &StatFs) -> String {
    let bytes: Vec<u8> =
        found.f_fstypename.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let parent = dir.parent().unwrap_or(dir);
    Ok(dir.metadata()?.dev() != parent.metadata()?.dev())
}

/// Neither system can detach a file system that is in use.
pub(crate) fn unmount(dir: &Path) -> io::Result<Unmounted> {
    use nix::errno::Errno;
    match nix::mount::unmount(dir, MntFlags::empty()) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(Unmounted::Done),
        Err(Errno::EBUSY) => Err(Errno::EBUSY.into()),
        Err(_) => Ok(Unmounted::NotAllowed),
    }
}
