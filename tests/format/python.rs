//! `reader.py` was written from docs/format.md alone. It reads what snap writes, so the document is
//! sufficient to write a reader. It needs a python3 with three modules, as `.ci/run` installs it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use snap_backup::codec::crypto::hash::sha256;

use crate::fixtures::copy;
use crate::support::{Outcome, PASSWORD, Sandbox, finish, skipped};

fn under(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns whether there is a suitable Python.
fn has_python() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import zstandard, cryptography, argon2"]);
    let is_there = python.output().is_ok_and(|output| output.status.success());
    if !is_there {
        skipped(
            "no python3 with zstandard, cryptography and argon2-cffi: docs/format.md is not tried by a reader",
        );
    }
    is_there
}

/// Runs the reader on a repository.
fn reader(repo: &Path, password: Option<&str>, args: &[&str]) -> Outcome {
    let mut python = Command::new("python3");
    python.arg(under("tests/format/reader.py")).arg(repo).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    match password {
        Some(password) => python.env("SNAP_PASSWORD", password),
        None => python.env_remove("SNAP_PASSWORD"),
    };
    finish(python, b"")
}

/// The reader's listing of a snapshot, computed from a directory: type, mode, size, SHA-256 or target, path.
fn listing(root: &Path) -> String {
    let mut lines = String::new();
    list(root, "", &mut lines);
    lines
}

fn list(dir: &Path, above: &str, lines: &mut String) {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in names {
        let (path, stored) = (dir.join(&name), format!("{above}/{name}"));
        let found = path.symlink_metadata().unwrap();
        let (kind, size, says) = match found.file_type() {
            kind if kind.is_dir() => ("dir", 0, "-".to_owned()),
            kind if kind.is_file() => ("file", found.size(), hex(&sha256(&fs::read(&path).unwrap()))),
            kind if kind.is_symlink() => {
                ("symlink", 0, fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            }
            kind if kind.is_fifo() => ("fifo", 0, "-".to_owned()),
            kind => panic!("{}: {kind:?}", path.display()),
        };
        let mode = found.mode() & 0o7777;
        lines.push_str(&format!("{kind}\t{mode:04o}\t{size}\t{says}\t{stored}\n"));
        if found.is_dir() {
            list(&path, &stored, lines);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Incompressible bytes.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| (next() >> 32) as u8).collect()
}

#[test]
fn a_reader_made_from_the_text_reads_the_stored_repositories() {
    if !has_python() {
        return;
    }
    for (name, password) in [("open", None), ("encrypted", Some("golden")), ("clients", Some("golden"))] {
        let fixture = under("fixtures/format-1").join(name);
        let listed = reader(&fixture, password, &["ls"]).expect(0).text();
        let wanted = fs::read_to_string(fixture.with_extension("listing")).unwrap();
        assert_eq!(listed, wanted, "{name}");
        let mut sandbox = Sandbox::bare();
        copy(&fixture, &sandbox.path("repo"));
        sandbox.set_password(password);
        sandbox.ok(&["restore", "latest", "--target", "out"]);
        assert_eq!(listed, listing(&sandbox.path("out")), "{name}");
        reader(&fixture, password, &["check"]).expect(0);
    }
}

#[test]
fn python_reader_reads_every_feature_of_the_format() {
    if !has_python() {
        return;
    }
    let sandbox = Sandbox::bare();
    sandbox.ok(&["init", "--parity", "50"]);
    sandbox.write(&[("dir/small", "small\n"), ("empty/", "")]);
    let (noisy, holes) = (sandbox.src().join("noise"), sandbox.src().join("holes"));
    let mut bytes = noise(400_000);
    fs::write(&noisy, &bytes).unwrap();
    fs::hard_link(&noisy, sandbox.src().join("dir/hard")).unwrap();
    symlink("../noise", sandbox.src().join("dir/link")).unwrap();
    fs::write(&holes, vec![b'x'; 70_000]).unwrap();
    fs::File::options().write(true).open(&holes).unwrap().set_len(1 << 20).unwrap();
    fs::set_permissions(sandbox.src().join("dir"), fs::Permissions::from_mode(0o750)).unwrap();
    let attribute = rustix::fs::setxattr(&noisy, "user.try", b"hello", rustix::fs::XattrFlags::empty());
    let first = sandbox.try_backup(&[]).unwrap();
    // Two chunks differ slightly: they are stored as a delta.
    bytes[100] ^= 1;
    bytes[200_000] ^= 1;
    fs::write(&noisy, &bytes).unwrap();
    let second = sandbox.try_backup(&[]).unwrap();

    let repo = sandbox.path("repo");
    for id in [first, second] {
        let out = format!("out/{id}");
        sandbox.ok(&["restore", &id, "--target", &out]);
        let listed = reader(&repo, Some(PASSWORD), &["ls", &id]).expect(0).text();
        assert_eq!(listed, listing(&sandbox.path(&out)));
    }
    let checked = reader(&repo, Some(PASSWORD), &["check"]).expect(0).text();
    let mut kinds = vec!["deltas", "hard links", "holes", "sidecars", "entries"];
    kinds.extend(attribute.is_ok().then_some("extended attributes"));
    for kind in kinds {
        let count = checked.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(": "));
        assert!(count.is_some_and(|count| count != "0"), "no {kind}:\n{checked}");
    }
}

#[test]
fn python_reader_rejects_damaged_data() {
    if !has_python() {
        return;
    }
    let fixture = under("fixtures/format-1/open");
    let sandbox = Sandbox::bare();
    let repo = sandbox.path("repo");
    copy(&fixture, &repo);
    let pack = sandbox.objects("packs").pop().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let refused = reader(&repo, None, &["ls"]);
    assert_eq!((refused.code, refused.text().as_str()), (1, ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("the name is not the hash"), "{}", refused.stderr);
}
