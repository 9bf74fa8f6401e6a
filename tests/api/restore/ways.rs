//! Directories that only lead to restored files: they are not changed.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use super::is_root;
use crate::support::{Outcome, Sandbox, chmod};

fn put(root: &Path, names: &[&str]) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, *name).unwrap();
    }
}

/// A repository and `home/`, of which one path is backed up under the given name.
fn backed_up(files: &[&str], source: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    put(&sandbox.path("home"), files);
    in_home(&sandbox, &["backup", source]).expect(0);
    sandbox
}

fn in_home(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    let mut command = sandbox.bin();
    command.current_dir(sandbox.path("home")).args(["-r", "../repo"]).args(args);
    crate::support::finish(command, b"")
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    fs::read_to_string(sandbox.path("home").join(name)).unwrap_or_default()
}

#[test]
fn delete_keeps_what_is_next_to_the_path_of_a_source() {
    let sandbox = backed_up(&["a/documents/d"], "a/documents");
    put(&sandbox.path("home"), &["photos/p", "a/beside", "a/documents/new"]);
    for args in [&["-n"][..], &[]] {
        let outcome =
            in_home(&sandbox, &[&["restore", "latest", "-t", ".", "--delete", "--json"], args].concat());
        assert_eq!(outcome.expect(0).summary()["files_deleted"], 1, "{args:?}");
    }
    for name in ["photos/p", "a/beside", "a/documents/d"] {
        assert_eq!(read(&sandbox, name), name, "{name} went");
    }
    assert_eq!(read(&sandbox, "a/documents/new"), "", "the source itself is the snapshot's");
}

#[test]
fn delete_empties_the_root_only_where_it_is_a_source() {
    let sandbox = backed_up(&["a/b"], ".");
    put(&sandbox.path("home"), &["beside"]);
    in_home(&sandbox, &["restore", "latest", "-t", ".", "--delete"]).expect(0);
    assert_eq!((read(&sandbox, "beside"), read(&sandbox, "a/b")), (String::new(), "a/b".to_owned()));
    let way = backed_up(&["a/b/c"], "a/b");
    put(&way.path("home"), &["a/beside", "beside"]);
    in_home(&way, &["restore", "latest:a", "-t", "a", "--delete"]).expect(0);
    assert_eq!(read(&way, "a/beside"), "a/beside", "what PATH names only leads to a source");
}

#[test]
fn link_above_a_source_is_followed_beneath_the_target() {
    for absolute in [false, true] {
        let sandbox = Sandbox::new();
        let home = sandbox.path("home");
        put(&home, &["usr/lib/modules/m", "usr/lib/libc"]);
        symlink(if absolute { home.join("usr/lib") } else { "usr/lib".into() }, home.join("lib")).unwrap();
        in_home(&sandbox, &["backup", "lib/modules"]).expect(0);
        fs::remove_file(home.join("usr/lib/modules/m")).unwrap();
        put(&home, &["usr/lib/modules/new"]);
        let dry = in_home(&sandbox, &["restore", "latest", "-t", ".", "-n", "-v"]).expect(0);
        assert!(
            dry.text().contains("lib/modules/m") && !dry.text().contains("created lib\n"),
            "{}",
            dry.all()
        );
        in_home(&sandbox, &["restore", "latest", "-t", ".", "--delete", "--verify"]).expect(0);
        assert!(home.join("lib").is_symlink());
        assert_eq!(read(&sandbox, "usr/lib/modules/m"), "usr/lib/modules/m");
        assert_eq!(read(&sandbox, "usr/lib/libc"), "usr/lib/libc");
        assert!(!home.join("usr/lib/modules/new").exists(), "what is in the source and not in the snapshot");
    }
}

#[test]
fn directories_that_only_lead_to_an_include_follow_links() {
    let sandbox = Sandbox::new();
    put(&sandbox.path(""), &["data/users/me/doc", "data/users/me/other"]);
    symlink("data/users", sandbox.path("users")).unwrap();
    let (me, doc) = (sandbox.path("users/me"), sandbox.path("users/me/doc"));
    sandbox.ok(&["backup", me.to_str().unwrap()]);
    fs::remove_file(&doc).unwrap();
    sandbox.ok(&["restore", "latest", "--target", "/", "--include", doc.to_str().unwrap()]);
    assert!(sandbox.path("users").is_symlink() && doc.exists() && me.join("other").exists());
}

/// Entries in the place of such a directory that are neither replaced nor followed.
#[test]
fn links_out_of_the_target_are_refused_and_stay() {
    let cases: [(&str, fn(&Sandbox, &Path)); 4] = [
        ("outside", |sandbox, at| symlink(sandbox.path("outside"), at).unwrap()),
        ("relative", |_, at| symlink("../outside", at).unwrap()),
        ("dangling", |_, at| symlink("nothing", at).unwrap()),
        ("file", |_, at| fs::write(at, "mine").unwrap()),
    ];
    for (name, make) in cases {
        let sandbox = backed_up(&["a/b/c", "z"], "a/b");
        put(&sandbox.path("outside"), &["b/c", "b/other"]);
        let at = sandbox.path("home/a");
        fs::remove_dir_all(&at).unwrap();
        make(&sandbox, &at);
        let before = fs::symlink_metadata(&at).unwrap();
        for args in [&["-n"][..], &[], &["--delete"], &["--overwrite", "never"]] {
            let outcome = in_home(&sandbox, &[&["restore", "latest", "-t", "."], args].concat()).expect(3);
            assert!(outcome.stderr.contains("a: "), "{name} {args:?}: {}", outcome.stderr);
            let now = fs::symlink_metadata(&at).unwrap();
            assert_eq!(
                (now.ino(), now.mtime(), now.mode()),
                (before.ino(), before.mtime(), before.mode()),
                "{name}"
            );
        }
        assert_eq!(fs::read_to_string(sandbox.path("outside/b/c")).unwrap(), "b/c", "{name}");
    }
}

#[test]
fn link_in_place_of_a_source_is_followed_one_inside_is_not() {
    let sandbox = backed_up(&["documents/d", "documents/sub/e"], "documents");
    let home = sandbox.path("home");
    fs::create_dir_all(home.join("data")).unwrap();
    fs::rename(home.join("documents"), home.join("data/documents")).unwrap();
    symlink("data/documents", home.join("documents")).unwrap();
    fs::write(home.join("data/documents/d"), "changed").unwrap();
    in_home(&sandbox, &["restore", "latest", "-t", ".", "--delete"]).expect(0);
    assert!(home.join("documents").is_symlink());
    assert_eq!(read(&sandbox, "data/documents/d"), "documents/d");
    // The owner of the source may have created a link inside it to reach the directory of somebody else.
    fs::remove_dir_all(home.join("documents/sub")).unwrap();
    put(&home, &["other/e"]);
    symlink("../../other", home.join("data/documents/sub")).unwrap();
    for args in [&["-n"][..], &[], &["--delete"]] {
        let outcome = in_home(&sandbox, &[&["restore", "latest", "-t", "."], args].concat()).expect(3);
        assert!(outcome.stderr.contains("documents/sub"), "{}", outcome.stderr);
        assert!(home.join("documents/sub").is_symlink());
        assert_eq!(read(&sandbox, "other/e"), "other/e");
    }
    let kept = in_home(&sandbox, &["restore", "latest", "-t", ".", "--overwrite", "never"]);
    kept.expect(0);
}

#[test]
fn link_to_other_content_of_the_snapshot_is_not_followed() {
    let sandbox = Sandbox::new();
    let home = sandbox.path("home");
    put(&home, &["lib/x/f", "usr/x/f", "usr/y/f"]);
    in_home(&sandbox, &["backup", "lib/x", "usr"]).expect(0);
    fs::remove_dir_all(home.join("lib")).unwrap();
    symlink("usr", home.join("lib")).unwrap();
    for args in [&["-n"][..], &[]] {
        in_home(&sandbox, &[&["restore", "latest", "-t", "."], args].concat()).expect(3);
        assert_eq!(read(&sandbox, "usr/x/f"), "usr/x/f", "two directories were made one");
    }
}

#[test]
fn directories_above_a_source_keep_mode_owner_and_times() {
    let sandbox = backed_up(&["a/b/c"], "a/b");
    // A backup and an import that create the directories above their content.
    in_home(&sandbox, &["backup", "--as", "a/made/up", "a/b"]).expect(0);
    in_home(&sandbox, &["export", "latest~1", "-o", "../x.tar"]).expect(0);
    in_home(&sandbox, &["import", "--as", "a/deep", "../x.tar"]).expect(0);
    let home = sandbox.path("home");
    let is_root = is_root("give directories to somebody else");
    for selector in ["latest~2", "latest~1", "latest"] {
        let target = sandbox.new_target();
        let way = target.join("a");
        fs::create_dir(&way).unwrap();
        if is_root {
            std::os::unix::fs::chown(&way, Some(65534), Some(65534)).unwrap();
        }
        for dir in [&way, &target] {
            let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            fs::File::open(dir).unwrap().set_modified(old).unwrap();
        }
        chmod(&way, 0o700);
        let look = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.mode(), found.uid(), found.gid(), found.mtime(), found.mtime_nsec())
        };
        let before = (look(&way), look(&target));
        for args in [&[][..], &["--delete"], &["--overwrite", "never"], &["--include", "c"]] {
            sandbox.ok(&[&["restore", selector, "-t", target.to_str().unwrap()], args].concat());
            assert_eq!((look(&way), look(&target)), before, "{selector} {args:?}");
        }
        assert!(walkdir::WalkDir::new(&way).into_iter().flatten().any(|entry| entry.file_name() == "c"));
    }
    assert!(home.exists());
}

#[test]
fn acl_above_a_source_stays() {
    let sandbox = backed_up(&["a/b/c"], "a/b");
    let target = sandbox.new_target();
    fs::create_dir(target.join("a")).unwrap();
    let acl = |args: &[&str]| Command::new(args[0]).args(&args[1..]).arg(target.join("a")).output();
    if !acl(&["setfacl", "-m", "u:65534:rwx"]).is_ok_and(|done| done.status.success()) {
        return crate::support::skipped("no setfacl, or a file system without ACLs");
    }
    let before = acl(&["getfacl", "-n"]).unwrap().stdout;
    sandbox.ok(&["restore", "latest", "-t", target.to_str().unwrap(), "--delete"]);
    assert_eq!(acl(&["getfacl", "-n"]).unwrap().stdout, before);
}
