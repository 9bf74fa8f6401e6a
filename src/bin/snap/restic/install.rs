//! `snap restic --install DIR`: creates a link named `restic`, through which the program accepts restic's
//! command line.

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use snap_backup::{Error, Result};

use crate::terminal::output;

/// Name of the link.
pub(super) const NAME: &str = "restic";

/// Creates the link.
///
/// # Errors
/// When something else has that name, or the link cannot be created.
pub(super) fn run(dir: &Path) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    let link = dir.join(NAME);
    match symlink(&program, &link) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            if std::fs::read_link(&link).is_ok_and(|there| there == program) {
                return output::print(&format!("{} exists already", link.display()));
            }
            let why = "a file of that name exists already: remove it, or give another directory";
            return Err(Error::Refused(format!("{}: {why}", link.display())));
        }
        done => done.map_err(Error::io("create the link", &link))?,
    }
    output::print(&format!("created {}, a link to {}", link.display(), program.display()))
}
