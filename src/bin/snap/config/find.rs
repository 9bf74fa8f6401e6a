//! Where the file is.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use snap_backup::{Error, Result};

use crate::args::Global;

/// What it is called.
pub(crate) const NAME: &str = "snap.toml";

/// The file that is named, else the first that there is of `./snap.toml`, the user's and the machine's.
///
/// # Errors
/// When one that is named is not there, or one that is found could have been put there by somebody else: it names commands
/// that are run.
pub(crate) fn find(global: &Global) -> Result<Option<PathBuf>> {
    if let Some(named) = global.config() {
        named.metadata().map_err(Error::io("read the configuration", named))?;
        return Ok(Some(named.to_path_buf()));
    }
    let Some(found) = places().into_iter().find(|place| place.is_file()) else { return Ok(None) };
    ours(&found)?;
    Ok(Some(found))
}

/// Where it is looked for, the first first.
pub(crate) fn places() -> Vec<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let mut places = vec![PathBuf::from(NAME)];
    places.extend(user.map(|user| user.join("snap").join(NAME)));
    places.push(Path::new("/etc/snap").join(NAME));
    places
}

fn ours(file: &Path) -> Result<()> {
    let meta = file.metadata().map_err(Error::io("read the configuration", file))?;
    let me = rustix::process::geteuid().as_raw();
    let why = match meta.uid() {
        owner if owner != me && owner != 0 => "belongs to somebody else",
        _ if meta.mode() & 0o002 != 0 => "may be changed by everybody",
        _ => return Ok(()),
    };
    let file = file.display();
    Err(Error::Refused(format!(
        "the configuration {file} {why}, and it names commands to run: if you trust it, name it with --config {file}"
    )))
}
