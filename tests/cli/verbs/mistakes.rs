//! What a newcomer types: words of other programs, slips, and what must not be accepted in silence.

use std::fs;

use crate::support::Sandbox;
use crate::support::finish;

#[test]
fn words_of_other_programs_are_answered() {
    let sandbox = Sandbox::bare();
    for (args, wanted) in [
        (&["extract", "latest"][..], "snap restore"),
        (&["create", "src"], "snap backup PATH"),
        (&["info"], "snap snapshots"),
        (&["delete", "x"], "snap forget"),
        (&["verify"], "snap check"),
        (&["unlock"], "no lock outlives its process"),
        (&["umount", "x"], "fusermount3"),
        (&["version"], "snap --version"),
        (&["rebuild-index"], "snap repair index"),
        (&["backup", "--no-scan", "src"], "costs nothing"),
        (&["restore", "latest", "--to", "x"], "--target DIR"),
        (&["backup", "--exclude-from", "x", "src"], "--exclude-file FILE"),
    ] {
        let outcome = sandbox.snap(args).expect(2);
        assert!(outcome.stderr.contains(wanted), "{args:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("similar"), "{args:?}: {}", outcome.stderr);
    }
    // A slip is still clap's to guess.
    assert!(sandbox.snap(&["bakup"]).expect(2).stderr.contains("'backup'"));
}

#[test]
fn help_has_examples_topics_and_groups() {
    let sandbox = Sandbox::bare();
    let long = sandbox.ok(&["backup", "--help"]).text();
    for part in ["Examples:", "What to leave out:", "What the snapshot says of itself:", "Global options:"] {
        assert!(long.contains(part), "{part} in {long}");
    }
    assert!(!sandbox.ok(&["backup", "-h"]).text().contains("Examples:"));
    assert_eq!(sandbox.ok(&["help", "backup"]).text(), long);
    assert!(sandbox.ok(&["help", "repair", "packs"]).text().contains("snap repair packs 1a2b3c4d --dry-run"));
    let top = sandbox.ok(&["help"]).text();
    for part in ["Back up and restore:", "Make room:", "snap help environment", "Exit codes"] {
        assert!(top.contains(part), "{part} in {top}");
    }
    assert!(sandbox.ok(&["help", "environment"]).text().contains("SNAP_PASSWORD "));
    assert!(sandbox.ok(&["help", "patterns"]).text().contains("--iexclude"));
    assert!(sandbox.ok(&["help", "selectors"]).text().contains("latest~2"));
    let unknown = sandbox.snap(&["help", "extract"]).expect(2);
    assert!(unknown.stderr.contains("snap restore"), "{}", unknown.stderr);
    assert!(sandbox.snap(&["help", "frobnicate"]).expect(2).stderr.contains("topics are"));
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    for args in [
        &["backup", "src", "--as", "../x"][..],
        &["backup", "src", "--as", "x/../../y"],
        &["import", "--as", "../x", "a.tar"],
        &["backup", "src", "--expires", "2020-01-01"],
        &["backup", "src", "--expires", "0d"],
        &["forget", "--keep-daily", "-1"],
        &["cleanup", "--keep-last", "-1"],
    ] {
        sandbox.snap(args).expect(2);
    }
    assert_eq!(sandbox.snapshot_names().len(), 1);
    sandbox.ok(&["forget", "--keep-daily", "unlimited", "-n"]);
}

/// Without a terminal a prompt would be an error of its own.
#[test]
fn init_on_a_repository_asks_for_nothing() {
    let mut sandbox = Sandbox::new();
    sandbox.set_password(None);
    let outcome = sandbox.snap(&["init"]).expect(1);
    assert!(outcome.stderr.contains("there is one already"), "{}", outcome.stderr);
}

#[test]
fn a_repository_among_other_things_is_warned_of() {
    let sandbox = Sandbox::bare();
    fs::create_dir(sandbox.path("full")).unwrap();
    fs::write(sandbox.path("full/letter"), "x").unwrap();
    let run = |place: &str| {
        let mut command = sandbox.bin();
        command.args(["-r", place, "init"]);
        finish(command, b"").expect(0).stderr
    };
    let warned = run("full");
    assert!(warned.contains("holds 1 other thing (letter)"), "{warned}");
    fs::create_dir_all(sandbox.path("disk/lost+found")).unwrap();
    assert_eq!(run("disk"), "");
    assert_eq!(run("new"), "");
}

#[test]
fn copy_to_nowhere_says_init() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    for verb in ["copy", "sync"] {
        let outcome = sandbox.snap(&[verb, "--to", "nowhere"]);
        assert!(outcome.code != 0 && outcome.stderr.contains("--init"), "{verb}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("snap init"), "{verb}: {}", outcome.stderr);
    }
}

#[test]
fn forget_says_how_many_it_kept() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    for text in ["1", "2", "3"] {
        sandbox.write(&[("a", text)]);
        sandbox.backup(&[]);
    }
    let outcome = sandbox.ok(&["forget", "latest~1"]).text();
    assert!(outcome.contains("1 snapshot forgotten, 2 kept"), "{outcome}");
    let outcome = sandbox.ok(&["forget", "--keep-last", "1"]).text();
    assert!(outcome.contains("1 snapshot forgotten, 1 kept"), "{outcome}");
}
