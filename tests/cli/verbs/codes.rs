//! Exit codes.

use crate::support::{Sandbox, assert_same, finish};

#[test]
fn no_repository_is_10() {
    let sandbox = Sandbox::bare();
    sandbox.snap(&["snapshots"]).expect(10);
    sandbox.snap(&["backup", "src"]).expect(10);
}

#[test]
fn a_wrong_password_is_12_and_so_is_none() {
    let mut sandbox = Sandbox::new();
    sandbox.set_password(Some("wrong"));
    sandbox.snap(&["snapshots"]).expect(12);
    sandbox.set_password(None);
    sandbox.snap(&["snapshots"]).expect(12);
}

#[test]
fn invalid_usage_exits_2() {
    let sandbox = Sandbox::new();
    for args in [
        &["frobnicate"][..],
        &["backup"],
        &["restore", "latest"],
        &["backup", "--full", "--differential", "src"],
    ] {
        sandbox.snap(args).expect(2);
    }
    finish(
        {
            let mut bare = sandbox.bin();
            bare.arg("snapshots");
            bare
        },
        b"",
    )
    .expect(2);
}

#[test]
fn a_source_that_is_not_there_is_3_and_the_rest_is_saved() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let outcome = sandbox.snap(&["backup", "src", "missing"]).expect(3);
    assert!(outcome.stderr.contains("missing"), "{}", outcome.stderr);
    assert_same(&sandbox.src(), &sandbox.restore("latest", &[]).join("src"));
}

#[test]
fn nothing_to_read_at_all_is_1_and_makes_no_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.snap(&["backup", "missing"]).expect(1);
    assert!(sandbox.snapshot_names().is_empty());
}

#[test]
fn options_work_before_and_after_the_command() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    for args in [["-r", "repo", "--json", "snapshots"], ["snapshots", "--json", "-r", "repo"]] {
        let mut command = sandbox.bin();
        command.args(args);
        assert_eq!(finish(command, b"").expect(0).json().as_array().unwrap().len(), 1, "{args:?}");
    }
}

#[test]
fn backup_makes_the_repository_when_asked() {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("a", "1")]);
    sandbox.ok(&["backup", "--init", "src"]);
    sandbox.assert_restores("latest", &sandbox.src());
    assert_eq!(sandbox.try_backup(&["--init"]), None);
    assert_ne!(sandbox.snap(&["init"]).code, 0);
}
