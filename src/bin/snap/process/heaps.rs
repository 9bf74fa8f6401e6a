//! Memory of threads under glibc, which gives each thread a heap of its own and hardly ever returns what one
//! had at its peak.

use std::os::unix::process::CommandExt;
use std::process::Command;

use snap_backup::util::programs;

/// Variables of glibc, which it reads when a program starts.
///
/// Two heaps for all threads: `serve` takes half of the memory then. Allocations from 1 MiB on are no part of
/// a heap, and so much free memory at its end is returned; by default both limits grow up to 32 MiB with what
/// is freed, and decoded blocks then leave holes in the heaps. Under 1 MiB, the state of a compressor would be
/// mapped anew for each file of an archive.
const SETTINGS: [(&str, &str); 3] =
    [(HEAPS, "2"), ("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// Starts this program again, in the same process, with [`SETTINGS`]. For programs that run for long with many
/// threads, whose peaks are at different times. To be called before anything is read or locked. Returns if
/// the number of heaps is set already, or cannot be.
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
    // Only returns if it failed: then the program goes on with more memory.
    let _ = own.exec();
}

/// Takes [`SETTINGS`] from a program that this one starts: a backup is quicker with a heap for each thread.
pub(crate) fn usual_heaps(command: &mut Command) {
    for (variable, value) in SETTINGS {
        if std::env::var_os(variable).is_some_and(|set| set == value) {
            command.env_remove(variable);
        }
    }
}
