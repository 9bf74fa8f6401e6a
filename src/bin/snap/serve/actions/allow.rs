//! Permissions of signed-in browsers beyond reading.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use snap_backup::Result;
use snap_backup::fs::protected_dirs::Protected;

/// Waits for the end of a started run. Returns whether it succeeded, and a message.
pub(crate) type Wait = Box<dyn FnOnce(&AtomicBool) -> (bool, String) + Send>;
/// Starts a verb for a set of the configuration as a process.
pub(crate) type RunOf = Box<dyn Fn(&str, &str) -> Result<Wait> + Send + Sync>;

/// What the server was started with; nothing is allowed by default.
#[derive(Default)]
pub(crate) struct Allow {
    /// Directory in which restores create new directories.
    pub(crate) restore: Option<PathBuf>,
    /// Directories that a restore must not write to.
    pub(crate) protected: Vec<Protected>,
    /// Starts the backup, check or drill of a set.
    pub(crate) run: Option<RunOf>,
}
