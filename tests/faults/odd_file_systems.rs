//! File systems without exclusive renames and links, locks, or syncing of directories, simulated by calls
//! that fail.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use crate::support::trace::under_strace;
use crate::support::{Outcome, Sandbox, finish};

const WITHOUT_LINKS: [&str; 4] =
    ["-e", "inject=renameat2:error=EINVAL", "-e", "inject=link,linkat:error=EPERM"];
const WITHOUT_LOCKS: [&str; 2] = ["-e", "inject=flock:error=ENOLCK"];

/// Returns `None` without strace.
fn run(command: &Command, options: &[&str]) -> Option<Outcome> {
    let options =
        [&["-o", "/dev/null", "-e", "trace=renameat2,link,linkat,flock,fsync"][..], options].concat();
    Some(finish(under_strace(command, &options)?, b""))
}

fn story(options: &[&str], kind: &str) {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("a", "1"), ("d/b", "2")]);
    let snap = |args: &[&str]| run(&sandbox.command(args), options);
    let Some(made) = snap(&["init"]) else { return };
    let made = made.expect(0);
    let told: Vec<&str> = made.stderr.lines().filter(|line| line.contains("file system")).collect();
    assert!(matches!(told[..], [line] if line.contains(kind)), "init names the file system once: {told:?}");
    for text in ["1", "other"] {
        sandbox.write(&[("a", text)]);
        let backup = snap(&["backup", "src"]).unwrap().expect(0);
        let told = backup.stderr.lines().filter(|line| line.contains("file system")).count();
        assert_eq!(told, 1, "{}", backup.stderr);
    }
    snap(&["forget", "latest~1"]).unwrap().expect(0);
    snap(&["gc", "--empty-trash", "--max-unused", "0"]).unwrap().expect(0);
    snap(&["check", "-v", "--read-data"]).unwrap().expect(0);
    assert_eq!(sandbox.snapshot_names().len(), 1);
    // On other file systems, or once it supports more, nothing is different.
    sandbox.assert_restores("latest", &sandbox.src());
    assert_eq!(sandbox.objects("sessions"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_repository_needs_neither_exclusive_renames_nor_links() {
    story(&WITHOUT_LINKS, "neither exclusive renames nor hard links");
}

#[test]
fn a_repository_needs_no_file_locks() {
    story(&WITHOUT_LOCKS, "without file locks");
}

#[test]
fn unsyncable_directory_is_a_warning_a_file_is_an_error() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    sandbox.write(&[("a", "2")]);
    let folder = sandbox.path("repo/snapshots");
    let folder = folder.to_str().unwrap();
    let only = ["-P", folder, "-e", "inject=fsync:error=EINVAL"];
    let Some(outcome) = run(&sandbox.command(&["backup", "src"]), &only) else { return };
    let outcome = outcome.expect(0);
    assert_eq!(outcome.stderr.matches("cannot sync directories").count(), 1, "{}", outcome.stderr);
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.write(&[("a", "3")]);
    let real = ["-P", folder, "-e", "inject=fsync:error=EIO"];
    assert_ne!(run(&sandbox.command(&["backup", "src"]), &real).unwrap().code, 0, "a failure is no lack");
}
