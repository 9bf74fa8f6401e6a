//! Packs and sidecars of a newer format are not treated as damaged, moved or deleted.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use snap_backup::codec::crypto::hash::sha256;

use crate::support::{Sandbox, chmod};

/// Offset of the version from the start of a preamble, a header or a trailer of 64 bytes.
const VERSION: usize = 6;

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    chmod(path, 0o600);
    fs::write(path, bytes).unwrap();
}

/// Adds a pack as a newer program may write it.
fn put_newer_pack(sandbox: &Sandbox) -> PathBuf {
    let mut bytes = fs::read(sandbox.objects("packs").pop().unwrap()).unwrap();
    let tail = bytes.len() - 64;
    (bytes[VERSION], bytes[tail + VERSION]) = (2, 2);
    let name: String = sha256(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let path = sandbox.path("repo/packs").join(&name[..2]).join(&name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn pack_of_a_newer_format_is_left_alone() {
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "hello")]);
    sandbox.ok(&["backup", "src"]);
    let pack = put_newer_pack(&sandbox);
    let before = sandbox.listing();
    let name = pack.file_name().unwrap().to_str().unwrap();
    for args in [
        &["backup", "src"][..],
        &["restore", "latest", "--target", "out"],
        &["check"],
        &["check", "--read-data"],
        &["gc"],
        &["repair", "packs"],
        &["repair", "packs", name],
        &["repair", "index"],
    ] {
        let outcome = sandbox.snap(args);
        assert_eq!(outcome.code, 1, "{args:?}: {}", outcome.all());
        assert!(outcome.stderr.contains("needs a newer snap"), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("use a newer snap"), "{args:?}: {}", outcome.stderr);
    }
    let packs = |listing: std::collections::BTreeMap<PathBuf, u64>| {
        listing.into_iter().filter(|(path, _)| path.to_string_lossy().contains("packs/")).collect::<Vec<_>>()
    };
    assert_eq!(packs(sandbox.listing()), packs(before));
    assert_eq!(sandbox.objects("quarantine").len(), 0);
}

#[test]
fn a_version_that_is_wrong_at_one_end_of_a_pack_is_damage() {
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "hello")]);
    sandbox.ok(&["backup", "src"]);
    let pack = sandbox.objects("packs").pop().unwrap();
    change(&pack, |bytes| bytes[VERSION] = 2);
    sandbox.ok(&["restore", "latest", "--target", "out"]);
    let checked = sandbox.snap(&["check", "--tables", "-v"]).expect(20);
    assert!(checked.all().contains("has a newer format than that at its end"), "{}", checked.all());
    sandbox.snap(&["repair", "packs", pack.file_name().unwrap().to_str().unwrap()]).expect(0);
    assert!(!pack.exists(), "what it holds is in another pack now");
    sandbox.ok(&["check", "--read-data"]);
}

#[test]
fn a_sidecar_of_a_newer_format_is_neither_replaced_nor_deleted() {
    let sandbox = Sandbox::bare();
    sandbox.ok(&["init", "--parity", "20"]);
    sandbox.write(&[("a", "hello")]);
    sandbox.ok(&["backup", "src"]);
    let sidecar = sandbox.objects("parity").pop().unwrap();
    change(&sidecar, |bytes| {
        let tail = bytes.len() - 64;
        (bytes[VERSION], bytes[tail + VERSION]) = (2, 2);
    });
    let newer = fs::read(&sidecar).unwrap();
    for args in [&["check", "--read-data"][..], &["repair", "parity"]] {
        let outcome = sandbox.snap(args).expect(1);
        assert!(outcome.stderr.contains("needs a newer snap"), "{args:?}: {}", outcome.stderr);
    }
    sandbox.ok(&["restore", "latest", "--target", "out"]);
    // Without its pack it is garbage, but not for this program to delete.
    let name = sidecar.file_name().unwrap().to_str().unwrap();
    let pack = sandbox.path("repo/packs").join(&name[..2]).join(name);
    fs::rename(&pack, sandbox.path("pack")).unwrap();
    let collected = sandbox.snap(&["gc"]);
    assert_eq!(fs::read(&sidecar).unwrap(), newer, "{}", collected.all());
    let repaired = sandbox.snap(&["repair", "parity"]);
    assert_eq!(fs::read(&sidecar).unwrap(), newer, "{}", repaired.all());
    assert!(repaired.stderr.contains("needs a newer snap, and is kept"), "{}", repaired.all());
    // A wrong version at one end only is damage, and is repaired.
    fs::rename(sandbox.path("pack"), &pack).unwrap();
    change(&sidecar, |bytes| bytes[VERSION] = 1);
    sandbox.ok(&["repair", "parity"]);
    assert_ne!(fs::read(&sidecar).unwrap(), newer);
    sandbox.ok(&["check", "--read-data"]);
}
