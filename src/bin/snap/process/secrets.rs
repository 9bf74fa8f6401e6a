//! Keeps passwords, tokens and keys within this process.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Disables core dumps, and prevents other processes of this user from reading this one's memory. Child
/// processes are not affected beyond the soft limit on core dumps, because `execve` resets the rest.
pub(crate) fn keep_out_of_core_dumps() {
    // If the kernel refuses, the backup continues without this protection.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
