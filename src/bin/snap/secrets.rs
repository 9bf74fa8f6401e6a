//! What keeps passwords, tokens and keys in this process.

use std::process::Command;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Variables that hold a password of a repository. No command of the user's finds them: hooks and receivers of
/// notifications write their environment to logs, and pass it on.
const VARIABLES: [&str; 4] = ["SNAP_PASSWORD", "SNAP_NEW_PASSWORD", "SNAP_TO_PASSWORD", "SNAP_REST_PASSWORD"];

/// No memory of this process is written to disk when it crashes, and no other process of this user may read it. A program
/// that this one starts is dumped as its own settings say: only the soft limit is lowered, and `execve` resets the rest.
pub(crate) fn keep_out_of_core_dumps() {
    // A kernel that refuses leaves things as they were: no reason not to back up.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Takes passwords out of the environment of a command.
pub(crate) fn withhold(command: &mut Command) {
    for name in VARIABLES {
        command.env_remove(name);
    }
}
