//! Behaviour that callers of restic rely on.

use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use super::Door;
use crate::support::{Outcome, Sandbox, assert_same, finish, skipped};

fn door() -> Door {
    let door = Door::new();
    door.sandbox.write(&[("a.txt", "hello\n"), ("sub/b.txt", "b\n"), ("sub/deep/c", "c\n")]);
    door
}

fn with_password(door: &Door, password: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new(door.sandbox.path("bin/restic"));
    command.env_clear().current_dir(door.sandbox.path("")).env("HOME", door.sandbox.path("home"));
    command.env("RESTIC_REPOSITORY", "locked").env("RESTIC_PASSWORD", password).args(args);
    finish(command, b"")
}

fn numbers(summary: &Value, names: [&str; 6]) -> [u64; 6] {
    names.map(|name| summary[name].as_u64().unwrap())
}

const FATES: [&str; 6] =
    ["files_new", "files_changed", "files_unmodified", "dirs_new", "dirs_changed", "dirs_unmodified"];

#[test]
fn snap_restic_and_the_name_restic_answer_alike() {
    let door = Door::bare();
    let by_name = door.ok(&["version"]).text();
    let mut command = door.sandbox.bin();
    command.args(["restic", "version"]);
    assert_eq!(finish(command, b"").expect(0).text(), by_name);
    assert!(by_name.starts_with("restic 0.19.1 "), "{by_name}");
}

#[test]
fn install_makes_the_link_and_replaces_nothing() {
    let sandbox = Sandbox::bare();
    let install = || {
        let mut command = sandbox.bin();
        command.args(["restic", "--install", "out"]);
        finish(command, b"")
    };
    install().expect(0);
    let version = Command::new(sandbox.path("out/restic")).arg("version").output().unwrap();
    assert!(version.stdout.starts_with(b"restic 0.19.1"), "{version:?}");
    install().expect(0);
    std::fs::remove_file(sandbox.path("out/restic")).unwrap();
    std::fs::write(sandbox.path("out/restic"), "mine").unwrap();
    assert!(install().expect(1).stderr.contains("already"));
    assert_eq!(std::fs::read(sandbox.path("out/restic")).unwrap(), b"mine");
}

#[test]
fn ids_have_64_digits_on_the_way_out_and_are_cut_on_the_way_in() {
    let door = door();
    let made = door.ok(&["backup", "src", "--json"]).summary()["snapshot_id"].as_str().unwrap().to_owned();
    assert_eq!(made.len(), 64);
    assert_eq!(door.ids(), std::slice::from_ref(&made));
    for id in [&made, &made[..32], &made[..40], &made[..8], "latest"] {
        assert_eq!(door.ok(&["dump", id, "/src/a.txt"]).text(), "hello\n", "{id}");
        assert_eq!(door.ok(&["dump", &format!("{id}:src"), "a.txt"]).text(), "hello\n", "{id}");
    }
    let other = format!("{}{}", &made[..32], "1".repeat(32));
    door.run(&["dump", &other, "/src/a.txt"]).expect(1);
    // A time does not name a snapshot here.
    door.run(&["dump", "2126-01-01", "/src/a.txt"]).expect(1);
}

#[test]
fn restic_backup_saves_unchanged_unless_told_to_skip() {
    let door = door();
    let run = |args: &[&str]| door.ok(&[&["backup", "src", "--json"], args].concat()).summary();
    assert_eq!(numbers(&run(&[]), FATES), [3, 0, 0, 3, 0, 0]);
    assert_eq!(numbers(&run(&[]), FATES), [0, 0, 3, 0, 0, 3]);
    assert!(run(&["--skip-if-unchanged"]).get("snapshot_id").is_none());
    assert_eq!(door.ids().len(), 2);
}

#[test]
fn directories_are_new_changed_or_unmodified() {
    let door = door();
    let run =
        |args: &[&str]| numbers(&door.ok(&[&["backup", "src", "--json"], args].concat()).summary(), FATES);
    run(&[]);
    door.sandbox.write(&[("sub/b.txt", "other\n"), ("more/d", "d\n")]);
    assert_eq!(run(&[]), [1, 1, 2, 1, 2, 1]);
    // Nothing is compared then.
    assert_eq!(run(&["--force"]), [4, 0, 0, 4, 0, 0]);
    let listed = door.ok(&["snapshots", "--json"]).json();
    assert_eq!(numbers(&listed[1]["summary"], FATES), [1, 1, 2, 1, 2, 1]);
}

#[test]
fn the_lines_of_a_backup_are_those_that_callers_parse() {
    let door = door();
    door.ok(&["backup", "src"]);
    door.sandbox.write(&[("a.txt", "changed\n")]);
    let text = door.ok(&["backup", "src"]).text();
    for line in [
        r"(?m)^using parent snapshot [0-9a-f]{8}$",
        r"(?m)^Files: +(\d+) new, +(\d+) changed, +(\d+) unmodified$",
        r"(?m)^Dirs: +(\d+) new, +(\d+) changed, +(\d+) unmodified$",
        r"(?m)^Added to the repository: (\d+(\.\d+)?) (B|KiB) +\((\d+(\.\d+)?) (B|KiB) +stored\)$",
        r"(?m)^processed (\d+) files, (\d+(\.\d+)?) (B|KiB) in (\d+):(\d\d)$",
        r"(?m)^snapshot [0-9a-f]{8} saved$",
    ] {
        assert!(Regex::new(line).unwrap().is_match(&text), "{line}: {text}");
    }
}

#[test]
fn message_type_comes_first_and_nothing_in_snapshots_is_null() {
    let door = door();
    for args in [
        &["backup", "src", "--json"][..],
        &["restore", "latest", "--target", "out/x", "--json"],
        &["tag", "--add", "x", "latest", "--json"],
        &["check", "--json"],
        &["version", "--json"],
    ] {
        let text = door.ok(args).text();
        assert!(
            !text.is_empty() && text.lines().all(|line| line.starts_with("{\"message_type\":")),
            "{text}"
        );
    }
    let text = door.ok(&["snapshots", "--json"]).text();
    assert!(!text.contains("null"), "{text}");
}

#[test]
fn exit_codes_are_those_of_restic() {
    let door = door();
    with_password(&door, "right", &["snapshots"]).expect(10);
    with_password(&door, "right", &["init"]).expect(0);
    with_password(&door, "right", &["backup", "src"]).expect(0);
    assert!(
        with_password(&door, "wrong", &["snapshots"])
            .expect(12)
            .stderr
            .contains("wrong password or no key found")
    );
    with_password(&door, "", &["snapshots"]).expect(1);
    let told = with_password(&door, "wrong", &["snapshots", "--json"]).expect(12).stderr;
    let told: Value = serde_json::from_str(told.trim()).unwrap();
    assert_eq!((&told["message_type"], &told["code"]), (&"exit_error".into(), &12.into()));
    let incomplete = with_password(&door, "right", &["backup", "src", "nothere", "--json"]).expect(3);
    assert!(incomplete.summary()["snapshot_id"].is_string());
}

#[test]
fn unsupported_features_are_refused_by_name() {
    let door = door();
    door.ok(&["backup", "src"]);
    for (args, name) in [
        (&["mount", "out", "--path-template", "x"][..], "--path-template"),
        (&["self-update"], "self-update"),
        (&["cat", "masterkey"], "masterkey"),
        (&["backup", "src", "--time", "2020-01-01"], "--time"),
        (&["snapshots", "--insecure-tls"], "--insecure-tls"),
        (&["-r", "b2:bucket:x", "snapshots"], "b2"),
    ] {
        let told = door.run(args).expect(1).stderr;
        assert!(told.contains(name), "{args:?}: {told}");
    }
}

/// Read by Python's reader of ZIP archives: names as in the tar archive, the bytes of each name of a file,
/// and links as links.
#[test]
fn a_directory_is_dumped_as_a_zip_archive() {
    let door = door();
    let src = door.sandbox.src();
    std::fs::hard_link(src.join("a.txt"), src.join("linked")).unwrap();
    std::os::unix::fs::symlink("sub/b.txt", src.join("to")).unwrap();
    let sparse = std::fs::File::create(src.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"in it", 2 << 20).unwrap();
    door.ok(&["backup", "src"]);
    std::fs::write(door.sandbox.path("x.tar"), door.ok(&["dump", "latest", "/"]).stdout).unwrap();
    let zip = door.ok(&["dump", "latest", "/", "--archive", "zip"]).stdout;
    std::fs::write(door.sandbox.path("x.zip"), &zip).unwrap();
    assert!(zip.len() < 100 << 10, "it is compressed: {}", zip.len());
    let members = |args: &[&str]| {
        let archive = door.ok(&[&["dump"], args].concat()).stdout;
        let mut command = Command::new("tar");
        command.arg("-t").current_dir(door.sandbox.path(""));
        finish(command, &archive).text()
    };
    assert_eq!(members(&["latest", "/src/sub"]), "src/sub/b.txt\nsrc/sub/deep/\nsrc/sub/deep/c\n");
    assert_eq!(members(&["latest:/src", "/sub"]), "sub/b.txt\nsub/deep/\nsub/deep/c\n");
    door.ok(&["dump", "latest", "/", "--archive", "zip", "--target", "whole.zip"]);
    assert_eq!(std::fs::read(door.sandbox.path("whole.zip")).unwrap(), zip);
    let script = r#"
import tarfile, zipfile
tar, zip = tarfile.open("x.tar"), zipfile.ZipFile("x.zip")
assert zip.testzip() is None
names = {one.name + ("/" if one.isdir() else "") for one in tar}
assert names == set(zip.namelist()), (names, zip.namelist())
for one in tar:
    info = zip.getinfo(one.name + ("/" if one.isdir() else ""))
    if one.issym():
        assert zip.read(info).decode() == one.linkname and info.external_attr >> 28 == 0o12, info
    elif not one.isdir():
        assert zip.read(info) == tar.extractfile(one).read(), info
    if not one.issym():
        assert info.external_attr >> 16 & 0o777 == one.mode, (info, one.mode)
"#;
    let mut python = Command::new("python3");
    python.arg("-c").arg(script).current_dir(door.sandbox.path(""));
    match python.status() {
        Err(_) => crate::support::skipped("ZIP archives: there is no python3 to read them"),
        Ok(_) => assert!(finish(python, b"").code == 0),
    }
}

#[test]
fn pruning_says_the_stages_that_programs_look_for() {
    let door = door();
    door.ok(&["backup", "src"]);
    let told = door.ok(&["prune"]).text();
    for line in
        ["finding data that is still in use for 1 snapshots", "collecting packs for deletion and repacking"]
    {
        assert!(told.contains(line), "{told}");
    }
    assert_eq!(door.ok(&["prune", "-q"]).text(), "");
}

#[test]
fn copies_come_from_another_repository_and_are_not_made_twice() {
    let door = door();
    door.ok(&["backup", "src"]);
    let from = ["--from-repo", "repo", "--from-insecure-no-password"];
    let to = |args: &[&str]| door.ok(&[&["-r", "second"], args, &from[..]].concat());
    to(&["init", "--copy-chunker-params"]);
    let saved = to(&["copy"]).text();
    assert!(saved.contains("saved, copied from source snapshot"), "{saved}");
    assert!(!to(&["copy"]).text().contains("saved"));
    assert_eq!(door.ok(&["-r", "second", "dump", "latest", "/src/a.txt"]).text(), "hello\n");
}

#[test]
fn restic_rewrite_keeps_the_old_snapshot_without_forget() {
    let door = door();
    door.ok(&["backup", "src"]);
    let old = door.ids();
    door.ok(&["rewrite", "--exclude", "a.txt", "latest"]);
    let all = door.ok(&["snapshots", "--json"]).json();
    let tagged = |one: &&Value| one["tags"] == serde_json::json!(["rewrite"]);
    let new = all.as_array().unwrap().iter().find(tagged).unwrap();
    assert_eq!((all.as_array().unwrap().len(), new["original"].as_str()), (2, Some(old[0].as_str())));
    assert_eq!(door.ok(&["dump", &old[0], "/src/a.txt"]).text(), "hello\n");
    door.run(&["dump", new["id"].as_str().unwrap(), "/src/a.txt"]).expect(1);
    door.ok(&["rewrite", "--exclude", "sub", "--forget", &old[0]]);
    assert!(!door.ids().contains(&old[0]));
}

#[test]
fn restic_restore_gives_back_what_was_saved() {
    let door = door();
    door.ok(&["backup", "src"]);
    door.ok(&["restore", "latest", "--target", "out/a", "--verify"]);
    assert_same(&door.sandbox.src(), &door.sandbox.path("out/a/src"));
    // A pattern without a match is no failure.
    door.ok(&["restore", "latest", "--target", "out/b", "--include", "nothere"]);
}

#[test]
fn a_directory_is_listed_with_itself_and_one_level() {
    let door = door();
    door.ok(&["backup", "src"]);
    let paths = |args: &[&str]| {
        let text = door.ok(&[&["ls", "latest", "--json"], args].concat()).text();
        let values = text.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
        let nodes: Vec<Value> = values.collect();
        assert!(nodes.iter().all(|node| node["struct_type"] == "node"));
        nodes.iter().map(|node| node["path"].as_str().unwrap().to_owned()).collect::<Vec<String>>()
    };
    assert_eq!(paths(&["/src/sub"]), ["/src/sub", "/src/sub/b.txt", "/src/sub/deep"]);
    assert_eq!(
        paths(&["--recursive", "/src/sub"]),
        ["/src/sub", "/src/sub/b.txt", "/src/sub/deep", "/src/sub/deep/c"]
    );
    assert_eq!(paths(&["/"]), ["/src"]);
    assert_eq!(paths(&[]).len(), 6);
}

#[test]
fn extended_attributes_are_chosen_by_name_and_others_left_alone() {
    let door = door();
    let file = |name: &str| door.sandbox.path(name).join("a.txt");
    let set = |path: &Path, name: &str, value: &str| {
        rustix::fs::setxattr(path, name, value.as_bytes(), rustix::fs::XattrFlags::empty()).is_ok()
    };
    if !set(&file("src"), "user.one", "saved") || !set(&file("src"), "user.two", "saved") {
        return skipped("this file system has no extended attributes: none are restored");
    }
    door.ok(&["backup", "src"]);
    let restored = |target: &str, args: &[&str]| {
        std::fs::create_dir(door.sandbox.path(target)).unwrap();
        std::fs::write(file(target), "hello\n").unwrap();
        set(&file(target), "user.one", "old");
        set(&file(target), "user.three", "old");
        let selector = format!("{}:/src", door.ids()[0]);
        door.ok(&[&["restore", &selector, "--target", target], args].concat());
        let value = |name: &str| {
            let mut value = [0; 9];
            let len = rustix::fs::getxattr(file(target), name, &mut value[..]).unwrap_or(0);
            String::from_utf8_lossy(&value[..len]).into_owned()
        };
        ["user.one", "user.two", "user.three"].map(value)
    };
    assert_eq!(restored("all", &[]), ["saved", "saved", ""]);
    assert_eq!(restored("some", &["--include-xattr", "user.t*"]), ["old", "saved", ""]);
    assert_eq!(restored("others", &["--exclude-xattr", "user.t*"]), ["saved", "", "old"]);
    assert_eq!(restored("none", &["--exclude-xattr", "*"]), ["old", "", "old"]);
    door.run(&["restore", "latest", "--target", "x", "--include-xattr", "a", "--exclude-xattr", "b"])
        .expect(1);
}

#[test]
fn a_flag_that_needs_a_value_takes_whatever_follows() {
    let door = door();
    door.ok(&["backup", "--exclude", "-x", "--tag=true", "--tag", "--odd", "--json=false", "src"]);
    let listed = door.ok(&["snapshots", "--json=true"]).json();
    let snapshot = &listed[0];
    assert_eq!(snapshot["tags"], serde_json::json!(["true", "--odd"]));
    // As k8up calls it.
    door.ok(&["forget", "--prune", "--keep-last", "1", "--keep-tag", "--host=ns"]);
    door.run(&["forget", "--keep-last", "-1"]).expect(1);
}
