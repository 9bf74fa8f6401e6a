//! Archives written by other programs, and by `export`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::process::Command;

use super::{has, run};
use crate::support::{Random, Sandbox, chmod, compare_trees, finish};

fn torture(sandbox: &Sandbox) {
    sandbox.write(&[
        ("a.txt", "hello"),
        ("empty", ""),
        ("empty dir/", ""),
        ("d/e/f", "deep"),
        ("d-e", "sorts between"),
    ]);
    let src = sandbox.src();
    fs::write(src.join("big"), Random::new(1).bytes(3 << 20)).unwrap();
    fs::write(src.join(OsStr::from_bytes(b"caf\xe9\n")), "not UTF-8").unwrap();
    let deep = src.join(["d".repeat(90), "e".repeat(60), "f".repeat(200)].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("long"), "1").unwrap();
    symlink("nowhere/at all", src.join("dangling")).unwrap();
    symlink("x".repeat(300), src.join("far away")).unwrap();
    fs::hard_link(src.join("big"), src.join("d/the same as big")).unwrap();
    for (name, mode) in [("empty dir", 0o1777), ("d/e", 0o555), ("a.txt", 0o4750)] {
        chmod(&src.join(name), mode);
    }
    assert!(Command::new("mkfifo").arg(src.join("pipe")).status().unwrap().success());
    assert!(
        Command::new("touch").args(["-d", "@1.000000001"]).arg(src.join("a.txt")).status().unwrap().success()
    );
}

#[test]
fn what_export_writes_import_reads_in_every_format() {
    let sandbox = Sandbox::new();
    torture(&sandbox);
    let original = format!("{}:src", sandbox.backup(&[]));
    for format in ["tar", "tar.gz", "tar.zst"] {
        let name = format!("a.{format}");
        sandbox.ok(&["export", &original, "-o", &name]);
        sandbox.ok(&["import", &name, "--as", "src"]);
        // The directory itself is not in an archive of its content.
        let differences = compare_trees(&sandbox.src(), &sandbox.restore("latest", &[]).join("src"));
        assert!(differences.iter().all(|text| text.starts_with(": mtime")), "{format}: {differences:#?}");
        let archive = fs::read(sandbox.path(&name)).unwrap();
        assert_eq!(finish(sandbox.command(&["import", "-"]), &archive).code, 0);
        let again = sandbox.ok(&["export", "latest", "--format", format]);
        assert!(again.stdout == archive, "{format}: an archive of an imported archive is another one");
    }
    sandbox.assert_clean();
}

#[test]
fn archives_of_gnu_tar_are_read_in_all_its_formats() {
    if !has("tar") {
        return;
    }
    let sandbox = Sandbox::new();
    torture(&sandbox);
    for format in ["gnu", "oldgnu", "pax"] {
        run("tar", &["-cf", "a.tar", "--format", format, "src"], &sandbox.path("."));
        sandbox.ok(&["import", "a.tar"]);
        let restored = sandbox.restore("latest", &[]);
        let differences = compare_trees(&sandbox.src(), &restored.join("src"));
        // Only pax keeps fractions of seconds.
        let real: Vec<_> =
            differences.iter().filter(|text| format == "pax" || !text.contains(": mtime")).collect();
        assert!(real.is_empty(), "{format}: {real:#?}");
    }
}

#[test]
fn holes_of_gnu_tar_are_read_in_all_its_versions() {
    if !has("tar") {
        return;
    }
    let sandbox = Sandbox::new();
    let file = fs::File::create(sandbox.path("src/holes")).unwrap();
    for at in [1 << 20, 3 << 20, 9 << 20] {
        file.write_all_at(&Random::new(at).bytes(5000), at).unwrap();
    }
    file.set_len(20 << 20).unwrap();
    let many = fs::File::create(sandbox.path("src/many")).unwrap();
    for nth in 0..60 {
        many.write_all_at(b"data", nth * (64 << 10)).unwrap();
    }
    for args in [
        ["--format=gnu", "-S"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ] {
        run("tar", &[&["-cSf", "a.tar"], args.as_slice(), &["src"]].concat(), &sandbox.path("."));
        sandbox.ok(&["import", "a.tar"]);
        let restored = sandbox.restore("latest", &[]);
        for name in ["holes", "many"] {
            let same = fs::read(sandbox.src().join(name)).unwrap()
                == fs::read(restored.join("src").join(name)).unwrap();
            assert!(same, "{args:?}: {name}");
        }
        // The holes survive an export, too.
        sandbox.ok(&["export", "latest", "-o", "b.tar", "--force"]);
        assert!(fs::metadata(sandbox.path("b.tar")).unwrap().len() < 1 << 20, "{args:?}: holes were filled");
        let target = sandbox.new_target();
        run("tar", &["-xf", "b.tar", "-C", target.to_str().unwrap()], &sandbox.path("."));
        let same = |name: &str| {
            fs::read(sandbox.src().join(name)).unwrap() == fs::read(target.join("src").join(name)).unwrap()
        };
        assert!(same("holes") && same("many"), "{args:?}");
    }
}

#[test]
fn archives_of_python_are_read_in_all_its_formats() {
    if !has("python3") {
        return;
    }
    let sandbox = Sandbox::new();
    torture(&sandbox);
    for format in ["PAX", "GNU", "USTAR"] {
        if format == "USTAR" {
            // Names that it cannot represent.
            fs::remove_dir_all(sandbox.src().join("d".repeat(90))).unwrap();
            fs::remove_file(sandbox.src().join("far away")).unwrap();
        }
        let script = format!(
            "import tarfile\nwith tarfile.open('a.tgz', 'w:gz', format=tarfile.{format}_FORMAT) as t: t.add('src')"
        );
        run("python3", &["-c", &script], &sandbox.path("."));
        sandbox.ok(&["import", "a.tgz"]);
        let restored = sandbox.restore("latest", &[]);
        let differences = compare_trees(&sandbox.src(), &restored.join("src"));
        let real: Vec<_> = differences.iter().filter(|text| !text.contains(": mtime")).collect();
        assert!(real.is_empty(), "{format}: {real:#?}");
    }
}

#[test]
fn an_archive_twice_adds_nothing_and_a_dry_run_writes_nothing() {
    let sandbox = Sandbox::new();
    torture(&sandbox);
    run("tar", &["-cf", "a.tar", "--format", "pax", "src"], &sandbox.path("."));
    let before = sandbox.listing();
    let dry = sandbox.ok(&["import", "a.tar", "-n", "--json"]).summary();
    assert_eq!(sandbox.listing(), before, "a dry run wrote");
    assert!(sandbox.ok(&["import", "a.tar", "-n"]).text().contains("a snapshot would be saved"));
    let first = sandbox.ok(&["import", "a.tar", "--json"]).summary();
    for number in ["data_added", "files_new", "dirs_total", "others_total", "total_bytes_processed"] {
        assert_eq!(dry[number], first[number], "{number}");
    }
    assert!(dry["data_added"].as_u64().unwrap() > 3 << 20 && dry["snapshot_id"].is_null());
    let second = sandbox.ok(&["import", "a.tar", "--json"]).summary();
    assert_eq!(second["data_added"], 0);
    // Nor does a backup of the same files.
    let backup = sandbox.ok(&["backup", "src", "--json"]).summary();
    assert!(backup["data_added"].as_u64().unwrap() < 100_000, "{backup}");
}

#[test]
fn attributes_of_an_import_can_be_given() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    run("tar", &["-cf", "a.tar", "-C", "src", "."], &sandbox.path("."));
    sandbox.ok(&[
        "import",
        "a.tar",
        "--host",
        "elsewhere",
        "--tag",
        "old,tar",
        "--time",
        "2020-02-02T02:02:02Z",
        "--as",
        "/srv/./data",
    ]);
    let all = sandbox.ok(&["--json", "snapshots"]).json();
    let one = &all[0];
    assert_eq!((&one["hostname"], &one["kind"]), (&"elsewhere".into(), &"full".into()));
    assert_eq!(one["tags"], serde_json::json!(["old", "tar"]));
    assert_eq!(one["time"], "2020-02-02T02:02:02Z");
    let path = fs::canonicalize(sandbox.path("a.tar")).unwrap();
    assert_eq!(one["paths"], serde_json::json!([path.to_str().unwrap()]));
    assert_eq!(sandbox.ok(&["cat", "latest:srv/data/a"]).text(), "1");
    for wrong in [["--as", "../x"], ["--time", "yesterday"]] {
        sandbox.snap(&[&["import", "a.tar"], &wrong[..]].concat()).expect(2);
    }
    sandbox.snap(&["import"]).expect(2);
    sandbox.snap(&["import", "nowhere.tar"]).expect(1);
}

#[test]
fn gzip_of_several_members_and_zeros_behind_it_is_one_archive() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    run(
        "sh",
        &["-c", "tar -c src | split -b 3000 --filter='gzip >>a.tgz'; head -c 5000 /dev/zero >>a.tgz"],
        &sandbox.path("."),
    );
    sandbox.ok(&["import", "a.tgz"]);
    assert_eq!(sandbox.ok(&["cat", "latest:src/a"]).text(), "1");
}

#[test]
fn acl_with_unknown_users_is_dropped_and_reported() {
    let sandbox = Sandbox::open();
    let known = super::records("SCHILY.acl.access=user::rw-,user:root:r--,group::r--,mask::r--,other::---");
    let unknown = super::records(
        "SCHILY.acl.access=user::rw-,user:nobody-knows-me:r--,group::r--,mask::r--,other::---",
    );
    let oversized =
        super::records(&format!("SCHILY.xattr.user.large={} SCHILY.xattr.user.small=1", "x".repeat(70_000)));
    let mut bytes = super::pax(&known, b"known", b"00000000000");
    bytes.extend_from_slice(&super::pax(&unknown, b"unknown", b"00000000000"));
    bytes.extend_from_slice(&super::pax(&oversized, b"oversized", b"00000000000"));
    bytes.extend_from_slice(&[0; 1024]);
    let outcome = finish(sandbox.command(&["import", "-"]), &bytes).expect(3);
    assert!(
        outcome.stderr.contains("unknown: imported without its ACL")
            && outcome.stderr.contains("nobody-knows-me")
    );
    assert!(
        outcome.stderr.contains("oversized: imported without its extended attribute user.large"),
        "{}",
        outcome.stderr
    );
    let text =
        String::from_utf8_lossy(&sandbox.ok(&["export", "latest", "--format", "tar"]).stdout).into_owned();
    assert_eq!(text.matches("SCHILY.acl.access=user::rw-,user:0:r--").count(), 1);
    assert_eq!(text.matches("SCHILY.xattr.user.small=1").count(), 1);
}
