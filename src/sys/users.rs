//! Users and groups of this machine.

use std::path::PathBuf;

use uzers::os::unix::UserExt;

/// Whether a user's files that are not documents belong below `Library`, as on macOS.
pub const HAS_LIBRARY: bool = cfg!(target_vendor = "apple");

/// Returns the name of a user.
pub fn user_name(uid: u32) -> Option<String> {
    uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned())
}

/// Returns the name of a group.
pub fn group_name(gid: u32) -> Option<String> {
    uzers::get_group_by_gid(gid).map(|group| group.name().to_string_lossy().into_owned())
}

/// Returns the id of a user.
pub fn user_id(name: &str) -> Option<u32> {
    uzers::get_user_by_name(name).map(|user| user.uid())
}

/// Returns the id of a group.
pub fn group_id(name: &str) -> Option<u32> {
    uzers::get_group_by_name(name).map(|group| group.gid())
}

/// Returns the home directory of a user, from the database of users.
pub fn home_of(uid: u32) -> Option<PathBuf> {
    uzers::get_user_by_uid(uid).map(|user| user.home_dir().to_path_buf())
}

/// Returns the id of the user that runs this process.
pub fn this_user() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Returns whether this process has the rights of root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
