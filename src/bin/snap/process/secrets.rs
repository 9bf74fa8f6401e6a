//! Keeps passwords, tokens and keys within this process.

use snap_backup::sys::process::hide_memory;

/// Disables core dumps, and prevents other processes of this user from reading this one's memory. Child
/// processes are not affected beyond the soft limit on core dumps, because `execve` resets the rest.
pub(crate) fn keep_out_of_core_dumps() {
    hide_memory();
}
