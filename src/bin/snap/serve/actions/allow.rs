//! What signed-in browsers may do beside reading.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use snap_backup::Result;
use snap_backup::fs::protected_dirs::Protected;

/// Waits for a run that was started; returns whether it was good, and what to say of it.
pub(crate) type Wait = Box<dyn FnOnce(&AtomicBool) -> (bool, String) + Send>;
/// Starts a verb for a set of the configuration as a process.
pub(crate) type RunOf = Box<dyn Fn(&str, &str) -> Result<Wait> + Send + Sync>;

/// What was allowed when the server was started; nothing by default.
#[derive(Default)]
pub(crate) struct Allow {
    /// Restores go to new directories in this one.
    pub(crate) restore: Option<PathBuf>,
    /// Directories that a restore must not write to.
    pub(crate) protected: Vec<Protected>,
    /// Starts a set's backup, check or drill.
    pub(crate) run: Option<RunOf>,
}
