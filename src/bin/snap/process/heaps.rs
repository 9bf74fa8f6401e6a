//! Limits the memory of threads under glibc, which gives each thread its own heap and rarely returns freed
//! memory to the system.

use std::os::unix::process::CommandExt;
use std::process::Command;

use snap_backup::util::programs;

/// Settings of glibc's allocator, which are read when a program starts.
///
/// Two heaps for all threads halve the memory of `serve`. Allocations of 1 MiB or more are mapped
/// individually, and free memory of that size at the end of a heap is returned. By default both thresholds
/// grow up to 32 MiB as memory is freed, and decoded blocks then leave holes in the heaps. With less than 1
/// MiB, the state of a compressor would be mapped again for each file of an archive.
const SETTINGS: [(&str, &str); 3] =
    [(HEAPS, "2"), ("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// Restarts this program in the same process with [`SETTINGS`]. Used by long-running commands with many
/// threads, whose peaks occur at different times. Must be called before anything is read or locked. Returns
/// if the number of heaps is set already, or cannot be set.
pub(crate) fn share_heaps() {
    let own_allocator = cfg!(feature = "mimalloc") || !cfg!(target_env = "gnu");
    if own_allocator || std::env::var_os(HEAPS).is_some() {
        return;
    }
    let mut args = std::env::args_os();
    let (Some(name), Ok(mut own)) = (args.next(), programs::own()) else { return };
    own.arg0(name).args(args);
    for (variable, value) in SETTINGS {
        if std::env::var_os(variable).is_none() {
            own.env(variable, value);
        }
    }
    // Returns only on failure; then the program continues and uses more memory.
    let _ = own.exec();
}

/// Removes [`SETTINGS`] from the environment of a child process: a backup is faster with one heap per thread.
pub(crate) fn reset_heaps(command: &mut Command) {
    for (variable, value) in SETTINGS {
        if std::env::var_os(variable).is_some_and(|set| set == value) {
            command.env_remove(variable);
        }
    }
}
