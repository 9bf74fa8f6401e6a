//! Finds the configuration file, and checks that it can be trusted: it contains commands that are run.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use snap_backup::sys::process::geteuid;
use snap_backup::sys::users;
use snap_backup::util::user_dirs::{self, UserDir};
use snap_backup::{Error, Result};

use crate::args::global::Global;

/// Name of the file.
pub(crate) const NAME: &str = "snap.toml";

/// Returns the file that was named, otherwise the first of the default paths that exists. A file in the
/// working directory is never read unless it is named: it may come from somebody else.
///
/// # Errors
/// The named file does not exist, or somebody else can change the file.
pub(crate) fn find(global: &Global) -> Result<Option<PathBuf>> {
    if let Some(named) = global.config() {
        named.metadata().map_err(Error::io("read the configuration", named))?;
        if users::is_root() {
            refuse_for_root(named, true)?;
        }
        return Ok(Some(named.to_path_buf()));
    }
    let Some(found) = default_paths().into_iter().find(|place| place.is_file()) else { return Ok(None) };
    refuse_strangers(&found)?;
    if users::is_root() {
        refuse_for_root(&found, false)?;
    }
    Ok(Some(found))
}

/// Returns the default paths, in order of precedence.
pub(crate) fn default_paths() -> Vec<PathBuf> {
    let user = user_dirs::named(UserDir::Config).map(|user| user.join(NAME));
    user.into_iter().chain([Path::new("/etc/snap").join(NAME)]).collect()
}

/// Returns a message if a file in the working directory was ignored. It is printed where a configuration is
/// missing.
pub(crate) fn ignored_file_message() -> Option<&'static str> {
    Path::new(NAME).is_file().then_some(
        "./snap.toml was not read, because a file in the working directory may be written by somebody else \
         and contain commands to run: `--config ./snap.toml` reads it",
    )
}

fn refuse_strangers(file: &Path) -> Result<()> {
    let meta = file.metadata().map_err(Error::io("read the configuration", file))?;
    let me = geteuid().as_raw();
    let why = match meta.uid() {
        owner if owner != me && owner != 0 => "belongs to another user",
        _ if meta.mode() & 0o002 != 0 => "is writable by everybody",
        _ => return Ok(()),
    };
    Err(refused(file, why, &format!("if you trust it, give it with --config {}", file.display())))
}

/// Refuses a file that others could change or replace, because root runs the commands in it.
fn refuse_for_root(file: &Path, is_named: bool) -> Result<()> {
    let read = |path: &Path| path.metadata().map_err(Error::io("read the configuration", file));
    let meta = read(file)?;
    if meta.mode() & 0o022 != 0 {
        let help = format!("`chmod go-w {}` fixes this", file.display());
        return Err(refused(file, "is writable by other users than its owner", &help));
    }
    let path = file.canonicalize().map_err(Error::io("read the configuration", file))?;
    for folder in path.ancestors().skip(1) {
        // The owner of a named file is trusted with its content, and may therefore also own the directories
        // above it.
        let owners: &[u32] = if is_named { &[0, meta.uid()] } else { &[0] };
        if let Some(why) = open_to_others(&read(folder)?, owners) {
            let help = format!("{} {why}: change its mode, or move the file", folder.display());
            return Err(refused(file, "can be replaced by another user", &help));
        }
    }
    Ok(())
}

/// Returns which other users, besides root and `owners`, could rename entries of a directory. In a sticky
/// directory only owners can.
fn open_to_others(folder: &Metadata, owners: &[u32]) -> Option<&'static str> {
    let is_sticky = folder.mode() & 0o1000 != 0;
    match folder.mode() {
        _ if !owners.contains(&folder.uid()) => Some("belongs to another user"),
        mode if mode & 0o002 != 0 && !is_sticky => Some("is writable by everybody"),
        mode if mode & 0o020 != 0 && folder.gid() != 0 && !is_sticky => Some("is writable by its group"),
        _ => None,
    }
}

fn refused(file: &Path, why: &str, help: &str) -> Error {
    Error::Refused(format!(
        "the configuration {} {why}, but it can contain commands to run: {help}",
        file.display()
    ))
}
