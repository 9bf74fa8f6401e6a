//! Memory of threads under glibc, which gives each thread a heap of its own and hardly ever returns what one
//! had at its peak.

use std::os::unix::process::CommandExt;

use snap_backup::util::programs;

/// Variable of glibc: the number of heaps, read when a program starts.
const HEAPS: &str = "MALLOC_ARENA_MAX";

/// Starts this program again, in the same process, with two heaps for all its threads. For programs that run
/// for long with many threads, whose peaks are at different times: `serve` takes half of the memory then. To
/// be called before anything is read or locked. Returns if that is so already, or cannot be done.
pub(crate) fn share_heaps() {
    let own_allocator = cfg!(feature = "mimalloc") || !cfg!(target_env = "gnu");
    if own_allocator || std::env::var_os(HEAPS).is_some() {
        return;
    }
    let mut args = std::env::args_os();
    let (Some(name), Ok(mut own)) = (args.next(), programs::own()) else { return };
    // Only returns if it failed: then the program goes on with more memory.
    let _ = own.arg0(name).args(args).env(HEAPS, "2").exec();
}
