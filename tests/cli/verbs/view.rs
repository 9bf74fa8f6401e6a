//! The local index cache can be deleted at any time.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use crate::support::trace::under_strace;
use crate::support::{Outcome, Random, Sandbox, copy_tree, files_below, finish};

#[test]
fn broken_index_cache_changes_no_result() {
    for harm in [remove, garble, cut] {
        let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
        fs::write(sandbox.path("src/big"), Random::new(6).bytes(1 << 20)).unwrap();
        sandbox.backup(&[]);
        let packs = sandbox.objects("packs").len();
        harm(&sandbox);
        assert_unharmed(sandbox.ok(&["backup", "--full", "src"]));
        assert_eq!(sandbox.objects("packs").len(), packs, "known data was stored again");
        harm(&sandbox);
        sandbox.write(&[("a", "changed")]);
        assert_unharmed(sandbox.ok(&["backup", "src"]));
        harm(&sandbox);
        assert_unharmed(sandbox.ok(&["check", "--read-data"]));
        sandbox.assert_restores("latest", &sandbox.src());
    }
}

#[test]
fn cache_that_cannot_be_created_changes_no_result() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    fs::remove_dir_all(sandbox.cache()).unwrap();
    fs::write(sandbox.cache(), "not a directory").unwrap();
    assert_unharmed(sandbox.ok(&["backup", "src"]));
    sandbox.assert_restores("latest", &sandbox.src());
}

fn assert_unharmed(outcome: Outcome) {
    let outcome = outcome.expect(0);
    assert!(outcome.warnings() <= 1, "{}", outcome.stderr);
}

fn remove(sandbox: &Sandbox) {
    fs::remove_dir_all(sandbox.view()).unwrap();
}

fn garble(sandbox: &Sandbox) {
    for file in files_below(&sandbox.view()) {
        let len = fs::metadata(&file).unwrap().len();
        fs::write(&file, Random::new(len).bytes(usize::try_from(len.min(1 << 20)).unwrap())).unwrap();
    }
}

fn cut(sandbox: &Sandbox) {
    for file in files_below(&sandbox.view()) {
        let len = fs::metadata(&file).unwrap().len();
        fs::File::options().write(true).open(&file).unwrap().set_len(len / 2).unwrap();
    }
}

#[test]
fn index_cache_in_use_by_another_changes_no_result() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
    sandbox.backup(&[]);
    let view = sled::open(sandbox.view()).unwrap();
    let packs = sandbox.objects("packs").len();
    assert_no_warning(&sandbox.ok(&["backup", "--full", "src"]));
    assert_eq!(sandbox.objects("packs").len(), packs, "known data was stored again");
    sandbox.write(&[("a", "changed")]);
    assert_no_warning(&sandbox.ok(&["backup", "src"]));
    assert_no_warning(&sandbox.ok(&["check", "--read-data"]));
    drop(view);
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn index_cache_of_another_repository_changes_no_result() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let other = Sandbox::with_tree(&[("b", "2")]);
    other.backup(&[]);
    let view = sandbox.view();
    fs::remove_dir_all(&view).unwrap();
    copy_tree(&other.view(), &view);
    assert_one_warning(&sandbox.ok(&["backup", "--full", "src"]));
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.assert_clean();
}

#[test]
fn concurrent_slow_reader_causes_no_warning() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    fs::write(sandbox.path("src/big"), Random::new(6).bytes(8 << 20)).unwrap();
    sandbox.backup(&[]);
    let mut slow = sandbox.command(&["cat", "latest:src/big"]);
    let mut slow = slow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    // It has begun, and waits for a reader.
    slow.stdout.as_mut().unwrap().read_exact(&mut [0; 1000]).unwrap();
    for args in [&["ls", "latest"][..], &["backup", "src"], &["check"], &["repair", "index"]] {
        assert_no_warning(&sandbox.ok(args));
    }
    slow.kill().unwrap();
    slow.wait().unwrap();
}

#[test]
fn default_cache_below_home_is_private_and_works() {
    let calls = |given: bool| {
        let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2"), ("e/f/c", "3")]);
        let command = |args: &[&str]| {
            let mut command = sandbox.command(args);
            if given {
                command.env("SNAP_CACHE_DIR", sandbox.path("given"));
            }
            command
        };
        finish(command(&["backup", "src"]), b"").expect(0);
        if !given {
            let mode = fs::metadata(sandbox.cache()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            assert!(sandbox.cache().join("CACHEDIR.TAG").is_file() && sandbox.view().is_dir());
        }
        let log = sandbox.path("log");
        let options = ["-e", "trace=openat,openat2,readlink", "-o", log.to_str().unwrap()];
        finish(under_strace(&command(&["backup", "src"]), &options)?, b"").expect(0);
        let log = fs::read_to_string(log).unwrap();
        Some(log.lines().filter(|line| line.contains("/packs/") || line.contains("/snapshots")).count())
    };
    let (Some(given), Some(by_default)) = (calls(true), calls(false)) else { return };
    assert!(given > 0 && by_default <= given, "{by_default} calls by default, {given} with a cache given");
}

fn assert_no_warning(outcome: &Outcome) {
    assert_eq!(outcome.warnings(), 0, "{}", outcome.stderr);
}

fn assert_one_warning(outcome: &Outcome) {
    assert_eq!(outcome.warnings(), 1, "{}", outcome.stderr);
}
