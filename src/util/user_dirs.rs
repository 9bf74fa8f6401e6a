//! The user's cache and state directories (XDG Base Directory Specification).

use std::path::PathBuf;

/// Returns the user's directory `snap`: below the directory in the variable, else below `below` in the home
/// directory. Services often have no HOME; then the password database is used.
pub fn user_dir(variable: &str, below: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || {
        let user = uzers::get_user_by_uid(rustix::process::getuid().as_raw())?;
        Some(uzers::os::unix::UserExt::home_dir(&user).to_path_buf()).filter(|path| path.is_absolute())
    };
    let home = || absolute("HOME").or_else(home).map(|home| home.join(below));
    absolute(variable).or_else(home).map(|dir| dir.join("snap"))
}
