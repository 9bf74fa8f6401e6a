//! Where data comes from and goes to.

use std::fs;
use std::process::Stdio;

use super::snapshots;
use crate::support::{Random, Sandbox, assert_same, files_below, finish};

#[test]
fn a_repository_inside_the_source_leaves_itself_out() {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("a", "1"), ("d/b", "2")]);
    let run = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.args(["-r", "src/d/repo"]).args(args);
        finish(command, b"").expect(0)
    };
    run(&["init"]);
    run(&["backup", "src"]);
    run(&["backup", "src"]);
    run(&["restore", "latest", "--target", "out/x"]);
    assert_eq!(fs::read(sandbox.path("out/x/src/d/b")).unwrap(), b"2");
    assert!(!sandbox.path("out/x/src/d/repo/config").exists());
}

#[test]
fn two_backups_at_once_both_succeed() {
    let sandbox = Sandbox::new();
    let mut random = Random::new(4);
    for name in ["src", "other"] {
        fs::create_dir_all(sandbox.path(name)).unwrap();
        for number in 0..40 {
            fs::write(sandbox.path(name).join(number.to_string()), random.bytes(100_000)).unwrap();
        }
    }
    let start = |name| {
        let mut command = sandbox.command(&["backup", name]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running = ["src", "other", "src"].map(start);
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    sandbox.assert_clean();
    for one in snapshots(&sandbox) {
        let name = if one["paths"][0].as_str().unwrap().ends_with("src") { "src" } else { "other" };
        let target = sandbox.restore(one["id"].as_str().unwrap(), &[]);
        assert_same(&sandbox.path(name), &target.join(name));
    }
}

#[test]
fn standard_input_becomes_a_file() {
    let sandbox = Sandbox::new();
    let bytes = Random::new(5).bytes(700_000);
    finish(sandbox.command(&["backup", "--stdin"]), &bytes).expect(0);
    assert!(sandbox.ok(&["cat", "latest:stdin"]).stdout == bytes);
    finish(sandbox.command(&["backup", "--stdin", "--stdin-filename", "dump.sql"]), b"select").expect(0);
    assert_eq!(sandbox.ok(&["cat", "latest:dump.sql"]).stdout, b"select");
}

#[test]
fn command_output_is_saved_only_if_it_succeeds() {
    let sandbox = Sandbox::new();
    let run = |script| {
        let mut command = sandbox.command(&["backup", "--stdin-from-command", "--", "/bin/sh", "-c", script]);
        command.env("PATH", "/usr/bin:/bin");
        finish(command, b"")
    };
    run("echo out").expect(0);
    assert_eq!(sandbox.ok(&["cat", "latest:stdin"]).stdout, b"out\n");
    let before = sandbox.snapshot_names();
    assert_ne!(run("echo half; exit 7").code, 0);
    assert_eq!(sandbox.snapshot_names(), before);
}

#[test]
fn sources_may_be_listed_in_a_file() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("b", "2"), ("c d", "3")]);
    fs::write(sandbox.path("list"), "src/a\n\nsrc/c d\n").unwrap();
    sandbox.ok(&["backup", "--files-from", "list"]);
    let restored = sandbox.restore("latest", &[]);
    assert_eq!(files_below(&restored).len(), 2);
    assert_eq!(fs::read(restored.join("src/c d")).unwrap(), b"3");
}

#[test]
fn urls_of_other_programs_create_no_directory() {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("a", "1")]);
    let before = fs::read_dir(sandbox.path("")).unwrap().count();
    for repo in [
        "me@nas:/backup",
        "nas:repo",
        "rclone:r:p",
        "b2:bucket:x",
        "swift:c:/p",
        "file:/srv/r",
        "x://y",
        "~/repo",
        "$HOME/repo",
        "\\\\nas\\share",
    ] {
        let run = |args: &[&str]| {
            let mut command = sandbox.bin();
            command.args(["-r", repo]).args(args).env("SNAP_PASSWORD", "x");
            finish(command, b"").expect(2)
        };
        let told = run(&["backup", "--init", "src"]).stderr;
        assert!(told.contains(&format!("./{repo}")), "{told}");
        run(&["init"]);
        run(&["snapshots"]);
    }
    let mut command = sandbox.bin();
    command.args(["-r", "file://nas/srv", "backup", "--init", "src"]).env("SNAP_PASSWORD", "x");
    assert!(finish(command, b"").expect(2).stderr.contains("sftp://HOST/PATH"));
    assert_eq!(fs::read_dir(sandbox.path("")).unwrap().count(), before);
    let mut command = sandbox.bin();
    command.args(["-r", "./nas:repo", "init"]).env("SNAP_PASSWORD", "x");
    finish(command, b"").expect(0);
    assert!(sandbox.path("nas:repo/config").is_dir());
}
