//! Archives: other programs extract what a restore gives.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::XattrFlags;

use crate::support::{Random, Sandbox, assert_same, chmod, compare_trees, finish, skipped};

const FORMATS: [&str; 3] = ["tar", "tar.gz", "tar.zst"];

/// Creates everything that any user can create.
fn torture(sandbox: &Sandbox) {
    sandbox.write(&[("a.txt", "hello"), ("empty", ""), ("empty dir/", ""), ("d/e/f", "deep")]);
    let src = sandbox.src();
    fs::write(src.join("big"), Random::new(1).bytes(3 << 20)).unwrap();
    fs::write(src.join(OsStr::from_bytes(b"caf\xe9\n")), "not UTF-8").unwrap();
    fs::write(src.join(OsStr::from_bytes(&[0xe9; 200])), "long and not UTF-8").unwrap();
    fs::write(src.join("n".repeat(255)), "a name as long as names may be").unwrap();
    let deep = src.join(["d".repeat(90), "e".repeat(60), "f".repeat(90)].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("in two fields"), "1").unwrap();
    let deeper = deep.join("g".repeat(250));
    fs::create_dir(&deeper).unwrap();
    fs::write(deeper.join("in a record"), "2").unwrap();
    symlink("nowhere/at all", src.join("dangling")).unwrap();
    symlink("x".repeat(300), src.join("far away")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\xfe"), src.join("no text")).unwrap();
    fs::hard_link(src.join("big"), src.join("d/the same as big")).unwrap();
    fs::hard_link(src.join("far away"), src.join("d/the same link")).unwrap();
    for (name, mode) in [("empty dir", 0o1777), ("d/e", 0o555), ("a.txt", 0o4750), ("empty", 0o600)] {
        chmod(&src.join(name), mode);
    }
    for (name, time) in [("a.txt", "@1.000000001"), ("empty", "@-1.5"), ("d/e/f", "@9999999999"), ("d", "@0")]
    {
        touch(&src.join(name), time);
    }
    let command = Command::new("mkfifo").arg(src.join("pipe")).status().unwrap();
    assert!(command.success());
}

fn touch(path: &Path, time: &str) {
    let status = Command::new("touch").args(["-h", "-d", time]).arg(path).status().unwrap();
    assert!(status.success(), "touch -d {time} {}", path.display());
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("NOT TESTED: there is no {program} here");
    }
    there
}

/// Extracts with GNU tar as root would, without any warning.
fn untar(archive: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    let unpack = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-xpf"];
    let output = Command::new("tar").args(unpack).arg(archive).arg("-C").arg(target).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains("implausibly old") && !line.contains("in the future"))
        .collect();
    assert!(output.status.success() && said.is_empty(), "{said:#?}");
}

fn export(sandbox: &Sandbox, selector: &str, name: &str, args: &[&str]) -> PathBuf {
    let path = sandbox.path(name);
    sandbox.ok(&[&["export", selector, "-o", path.to_str().unwrap()], args].concat());
    path
}

#[test]
fn gnu_tar_extracts_what_a_restore_gives_in_every_format() {
    if !has("tar") {
        return;
    }
    let sandbox = Sandbox::new();
    torture(&sandbox);
    sandbox.backup(&[]);
    for format in FORMATS {
        if format == "tar.zst" && !has("zstd") {
            continue;
        }
        let archive = export(&sandbox, "latest", &format!("a.{format}"), &[]);
        let target = sandbox.new_target();
        untar(&archive, &target);
        assert_same(&sandbox.src(), &target.join("src"));
    }
}

#[test]
fn xattr_names_with_equals_and_percent_survive_archives() {
    if !has("tar") {
        return;
    }
    let sandbox = Sandbox::with_tree(&[("f", "1")]);
    let names = ["user.a=b", "user.p%25", "user.%3D", "user.plain"];
    let set = |name: &&str| rustix::fs::setxattr(sandbox.path("src/f"), *name, b"v", XattrFlags::empty());
    if !names.iter().all(|name| set(name).is_ok()) {
        return skipped("no extended attributes of users on this file system");
    }
    let names_of = |file: PathBuf| {
        let mut list = [0; 1024];
        let len = rustix::fs::listxattr(file, &mut list).unwrap();
        let mut found: Vec<String> = list[..len]
            .split(|byte| *byte == 0)
            .map(|name| String::from_utf8(name.to_vec()).unwrap())
            .filter(|name| name.starts_with("user."))
            .collect();
        found.sort();
        found
    };
    let wanted = names_of(sandbox.path("src/f"));
    assert_eq!(wanted.len(), names.len());
    sandbox.backup(&[]);
    let ours = export(&sandbox, "latest", "ours.tar", &[]);
    let unpacked = sandbox.new_target();
    untar(&ours, &unpacked);
    assert_eq!(names_of(unpacked.join("src/f")), wanted, "export, GNU tar");
    let theirs = sandbox.path("theirs.tar");
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--format=pax", "-cf"]).arg(&theirs).arg("src");
    assert!(tar.current_dir(sandbox.path("")).status().unwrap().success());
    for archive in [&ours, &theirs] {
        sandbox.ok(&["import", archive.to_str().unwrap()]);
        assert_eq!(
            names_of(sandbox.restore("latest", &[]).join("src/f")),
            wanted,
            "{} imported",
            archive.display()
        );
    }
}

#[test]
fn python_extracts_what_a_restore_gives() {
    if !has("python3") {
        return;
    }
    let sandbox = Sandbox::new();
    torture(&sandbox);
    sandbox.backup(&[]);
    let archive = export(&sandbox, "latest", "a.tar.gz", &[]);
    let target = sandbox.new_target();
    let script = "import sys, tarfile\nwith tarfile.open(sys.argv[1]) as t: t.extractall(sys.argv[2], numeric_owner=True)";
    let status = Command::new("python3").args(["-c", script]).arg(&archive).arg(&target).status().unwrap();
    assert!(status.success());
    // Python keeps times as floating-point numbers, sets no times on links, and hard-links to the target of a
    // link.
    let differences = compare_trees(&sandbox.src(), &target.join("src"));
    let real: Vec<&String> = differences
        .iter()
        .filter(|text| !text.contains(": mtime ") && !text.starts_with("far away: hard link"))
        .collect();
    assert!(real.is_empty(), "{real:#?}");
}

#[test]
fn devices_and_large_numbers_come_through() {
    if !has("tar") || !rustix_is_root() {
        eprintln!("NOT TESTED: devices need root");
        return;
    }
    let sandbox = Sandbox::with_tree(&[("owned", "by a large number")]);
    let src = sandbox.src();
    for (name, kind, major, minor) in [("null", "c", "1", "3"), ("disk", "b", "259", "300000")] {
        let status = Command::new("mknod").arg(src.join(name)).args([kind, major, minor]).status().unwrap();
        if !status.success() {
            eprintln!("NOT TESTED: no devices can be made here");
            return;
        }
    }
    std::os::unix::fs::chown(src.join("owned"), Some(4_000_000_000), Some(3_000_000_000)).unwrap();
    sandbox.backup(&[]);
    let archive = export(&sandbox, "latest", "a.tar", &[]);
    let target = sandbox.new_target();
    untar(&archive, &target);
    assert_same(&src, &target.join("src"));
    use std::os::unix::fs::MetadataExt;
    let device = |path: PathBuf| fs::symlink_metadata(path).unwrap().rdev();
    for name in ["null", "disk"] {
        assert_eq!(device(src.join(name)), device(target.join("src").join(name)));
    }
}

fn rustix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0)
}

#[test]
fn the_same_snapshot_gives_the_same_bytes() {
    let sandbox = Sandbox::new();
    torture(&sandbox);
    sandbox.backup(&[]);
    for format in FORMATS {
        let first = fs::read(export(&sandbox, "latest", &format!("1.{format}"), &[])).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let second = fs::read(export(&sandbox, "latest", &format!("2.{format}"), &[])).unwrap();
        assert!(first == second, "{format}");
        let piped = sandbox.ok(&["export", "latest", "--format", format]);
        assert!(first == piped.stdout, "{format} through standard output");
    }
}

#[test]
fn a_socket_is_left_out_with_a_warning_and_exit_0() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("src/socket")).unwrap();
    sandbox.backup(&[]);
    let outcome = sandbox.ok(&["export", "latest", "-o", "a.tar"]);
    assert!(outcome.stderr.contains("src/socket is a socket"), "{}", outcome.all());
    assert!(outcome.text().contains("1 socket was not exported"), "{}", outcome.all());
}

#[test]
fn a_part_is_exported_as_it_is_restored() {
    let sandbox = Sandbox::with_tree(&[("d/a", "1"), ("d/e/b", "2"), ("other", "3")]);
    sandbox.backup(&[]);
    for (selector, whole) in [("latest:src/d", "src/d"), ("latest:src/other", "src/other")] {
        let archive = export(&sandbox, selector, "a.tar", &["--force"]);
        let (tarred, restored) = (sandbox.new_target(), sandbox.restore(selector, &[]));
        untar(&archive, &tarred);
        let differences = compare_trees(&tarred, &restored);
        assert!(differences.iter().all(|text| text.starts_with(": mtime")), "{differences:#?}");
        assert!(sandbox.path(whole).exists());
    }
    sandbox.snap(&["export", "latest:src/nothing", "-o", "b.tar"]).expect(1);
    assert!(!sandbox.path("b.tar").exists());
}

#[test]
fn export_keeps_existing_files_and_shows_only_whole_ones() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    fs::write(sandbox.path("src/noise"), Random::new(3).bytes(1 << 20)).unwrap();
    sandbox.backup(&[]);
    fs::write(sandbox.path("a.tar"), "precious").unwrap();
    sandbox.snap(&["export", "latest", "-o", "a.tar"]).expect(2);
    assert_eq!(fs::read(sandbox.path("a.tar")).unwrap(), b"precious");
    sandbox.ok(&["export", "latest", "-o", "a.tar", "--force"]);
    assert!(fs::read(sandbox.path("a.tar")).unwrap().len() > 1 << 20);
    // A block of data is gone: the archive cannot be completed, and no file is left under its name.
    for pack in sandbox.objects("packs") {
        let mut bytes = fs::read(&pack).unwrap();
        if bytes.len() > 1 << 20 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            chmod(&pack, 0o600);
            fs::write(&pack, bytes).unwrap();
        }
    }
    let before = fs::read_dir(sandbox.path(".")).unwrap().count();
    let outcome = sandbox.snap(&["export", "latest", "-o", "b.tar"]).expect(20);
    // Which file it meets first depends on how they were stored.
    assert!(outcome.stderr.contains("src/"), "{}", outcome.stderr);
    assert_eq!(fs::read_dir(sandbox.path(".")).unwrap().count(), before, "something was left behind");
    sandbox.snap(&["cat", "latest:src/noise"]).expect(20);
}

#[test]
fn contradictory_options_exit_2() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    for args in [
        ["export", "latest", "-o", "a.zip"].as_slice(),
        &["export", "latest", "--format", "zip"],
        &["export", "latest", "--json"],
        &["export", "latest", "-o", "src"],
        &["export", "latest", "-o", "a.tar.gz", "--level", "13"],
        &["export", "latest", "-o", "a.tar.zst", "--level", "0"],
        &["export", "latest", "-o", "a.tar", "--delta", "--since", "latest"],
        &["export", "latest:src/a", "-o", "a.tar", "--since", "latest"],
    ] {
        sandbox.snap(args).expect(2);
    }
    assert!(!sandbox.path("a.tar").exists());
}

// Deltas.

/// Removes what the list names, then extracts the rest, as the documentation shows.
fn apply(delta: &Path, target: &Path) {
    let list = Command::new("tar").arg("-xOf").arg(delta).arg(".snap-deleted").output().unwrap();
    assert!(list.status.success());
    let mut remove = Command::new("xargs");
    remove.args(["-0r", "rm", "-rf", "--"]).current_dir(target);
    assert_eq!(finish(remove, &list.stdout).code, 0);
    let extract = ["--exclude=.snap-deleted", "--numeric-owner", "-xpf"];
    let output = Command::new("tar").args(extract).arg(delta).arg("-C").arg(target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn members(archive: &Path) -> Vec<String> {
    let output = Command::new("tar").arg("-tf").arg(archive).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_delta_turns_the_parent_into_the_snapshot() {
    if !has("tar") {
        return;
    }
    let sandbox = Sandbox::with_tree(&[
        ("same", "1"),
        ("changed", "2"),
        ("gone", "3"),
        ("deep/er/in", "4"),
        ("deep/same", "5"),
        ("quiet/same", "6"),
        ("dir to file/x", "7"),
        ("file to dir", "8"),
        ("gone dir/a/b", "9"),
        ("linked", "10"),
        ("mode", "11"),
    ]);
    let src = sandbox.src();
    fs::hard_link(src.join("linked"), src.join("quiet/link")).unwrap();
    sandbox.backup(&[]);
    let target = sandbox.restore("latest", &[]);
    for name in ["gone", "gone dir", "dir to file", "file to dir"] {
        let path = src.join(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    sandbox.write(&[
        ("changed", "2!"),
        ("deep/er/in", "4!"),
        ("dir to file", "7!"),
        ("file to dir/y", "8!"),
        ("new/n", "12"),
    ]);
    fs::hard_link(src.join("linked"), src.join("new/link")).unwrap();
    chmod(&src.join("mode"), 0o600);
    sandbox.backup(&[]);
    let delta = export(&sandbox, "latest", "d.tar.gz", &["--delta"]);
    let held = members(&delta);
    assert_eq!(held[0], ".snap-deleted");
    for absent in ["src/same", "src/deep/same", "src/quiet/same"] {
        assert!(!held.iter().any(|name| name == absent), "{absent} did not change: {held:#?}");
    }
    assert!(held.iter().any(|name| name == "src/quiet/link"), "a link needs what it is linked to: {held:#?}");
    apply(&delta, &target);
    assert_same(&src, &target.join("src"));
    // The same through a name for the parent, and nothing between a snapshot and itself.
    let since = export(&sandbox, "latest", "s.tar.gz", &["--since", "latest~1"]);
    assert!(fs::read(&since).unwrap() == fs::read(&delta).unwrap());
    assert_eq!(members(&export(&sandbox, "latest", "n.tar", &["--since", "latest"])), [".snap-deleted"]);
    // Of a part.
    let part = export(&sandbox, "latest:src/deep", "p.tar", &["--delta"]);
    assert_eq!(members(&part), [".snap-deleted", "er/", "er/in"]);
}

#[test]
fn delta_export_of_a_full_has_all_and_needs_its_parent() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let first = sandbox.backup(&[]);
    let outcome = sandbox.ok(&["export", "latest", "--delta", "-o", "a.tar"]);
    assert!(outcome.stderr.contains("has no parent"), "{}", outcome.all());
    assert_eq!(members(&sandbox.path("a.tar")), [".snap-deleted", "src/", "src/a"]);
    sandbox.write(&[("a", "2")]);
    sandbox.backup(&[]);
    sandbox.ok(&["forget", &first]);
    let outcome = sandbox.snap(&["export", "latest", "--delta", "-o", "b.tar"]).expect(1);
    assert!(outcome.stderr.contains("--since"), "{}", outcome.stderr);
}

// Memory.

#[test]
fn a_large_export_takes_bounded_memory() {
    let sandbox = Sandbox::open();
    let mut random = Random::new(9);
    for name in 0..2 {
        fs::write(sandbox.src().join(name.to_string()), random.bytes(150 << 20)).unwrap();
    }
    sandbox.backup(&["--compression", "none"]);
    for args in [["--format", "tar"], ["--format", "tar.gz"], ["--format", "tar.zst"]] {
        let mut command =
            sandbox.command(&["export", "latest", "--level", if args[1] == "tar" { "0" } else { "1" }]);
        command.args(args).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let (mut bytes, mut peak) = (0, 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = std::io::Read::read(&mut out, &mut buffer).unwrap();
            bytes += read as u64;
            if let Ok(status) = fs::read_to_string(format!("/proc/{}/status", child.id()))
                && let Some(line) = status.lines().find(|line| line.starts_with("VmHWM"))
            {
                peak = line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
            }
            if read == 0 {
                break;
            }
        }
        assert!(child.wait().unwrap().success());
        assert!(bytes > 300 << 20, "{bytes}");
        assert!(peak > 0 && peak < 160 << 10, "{args:?}: {peak} KiB");
    }
}
