//! The mount point: checks that a directory can be mounted on, and unmounts it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{fs, io};

use snap_backup::sys::io::Errno;
use snap_backup::sys::users;
use snap_backup::sys::volume::{self, FUSE_DEVICE, UNMOUNT, Unmounted, is_mount_point};
use snap_backup::util::programs;
use snap_backup::{Error, Result};

/// The program that mounts and unmounts for users other than root.
const HELPER: &str = "fusermount3";

/// Checks a mount point and returns its absolute path.
pub(crate) fn check(given: &Path) -> Result<PathBuf> {
    let shown = given.display();
    let refuse = |why: &str| Err(Error::Usage(format!("cannot mount at {shown}: {why}")));
    // A path may resolve even if the file system mounted there is dead; only `stat` reveals that.
    let target = match fs::canonicalize(given).and_then(|target| Ok((target.metadata()?.is_dir(), target))) {
        Ok((true, target)) => target,
        Ok((false, _)) => return refuse("it is not a directory"),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            return refuse(&format!("there is no such directory (`mkdir {shown}` makes one)"));
        }
        Err(err) if is_dead(&err) => {
            return refuse(&format!(
                "it is a mount whose program has ended: unmount it first with `{HELPER} -u {shown}` or \
                 `umount {shown}`"
            ));
        }
        Err(err) => return Err(Error::io("mount at", given)(err)),
    };
    if is_mount_point(&target).map_err(Error::io("mount at", given))? {
        return refuse("another file system is mounted there already");
    }
    let mut entries = fs::read_dir(&target).map_err(Error::io("mount at", given))?;
    if entries.next().is_some() {
        return refuse("it is not empty");
    }
    check_fuse(given)?;
    Ok(target)
}

/// Returns whether the error means a mount whose process or server is gone.
fn is_dead(error: &io::Error) -> bool {
    let dead = [Errno::NOTCONN, Errno::CONNABORTED, Errno::STALE];
    Errno::from_io_error(error).is_some_and(|errno| dead.contains(&errno))
}

/// Checks that the system has FUSE and this user may use it.
fn check_fuse(given: &Path) -> Result<()> {
    let Some(device) = FUSE_DEVICE else { return Ok(()) };
    let opened = fs::OpenOptions::new().read(true).write(true).open(device);
    let why = match opened {
        Ok(_) => return Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            "there is no /dev/fuse: run `modprobe fuse` as root, or give the container that device"
        }
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => "this user may not open /dev/fuse",
        Err(err) => return Err(Error::io("open", device)(err)),
    };
    Err(Error::io("mount at", given)(io::Error::other(why)))
}

/// Explains why a mount failed although [`check`] succeeded.
pub(super) fn mount_error(target: &Path, err: io::Error) -> Error {
    let why = match err.kind() {
        io::ErrorKind::NotFound => format!(
            "{HELPER} is not installed, and only root can mount without it: it is in the package fuse3 of most systems"
        ),
        _ => {
            let text = err.to_string();
            text.trim().trim_start_matches(&format!("{HELPER}: ")).to_owned()
        }
    };
    Error::io("mount at", target)(io::Error::other(why))
}

/// Unmounts. If the mount is in use, detaches it at once; it is released after its last use.
pub(super) fn unmount(target: &Path) -> io::Result<()> {
    if volume::unmount(target)? == Unmounted::Done {
        return Ok(());
    }
    if UNMOUNT.first() != Some(&HELPER) {
        return Err(io::Error::other("this user may not unmount it"));
    }
    let helper = |options: &[&str]| {
        let mut command = programs::foreign(HELPER);
        command.args(options).arg("--").arg(target).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    if helper(&["-u", "-q"])?.success() || helper(&["-u", "-q", "-z"])?.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{HELPER} -u failed")))
}

/// Returns the command with which a user can unmount it.
pub(crate) fn how_to_unmount(target: &Path) -> String {
    let tool = if users::is_root() { "umount".to_owned() } else { UNMOUNT.join(" ") };
    format!("{tool} {}", target.display())
}
