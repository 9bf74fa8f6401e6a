//! What keeps passwords, tokens and keys in this process.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// No memory of this process is written to disk when it crashes, and no other process of this user may read it. A program
/// that this one starts is dumped as its own settings say: only the soft limit is lowered, and `execve` resets the rest.
pub(crate) fn keep_out_of_core_dumps() {
    // A kernel that refuses leaves things as they were: no reason not to back up.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
