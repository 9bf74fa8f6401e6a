//! Bit rot of the sources for a user: `backup --full`, `backup --reread`, `heal`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use snap_backup::model::entry::{Entry, Time};

use crate::support::rot::{flip, settle};
use crate::support::{Sandbox, chmod, finish, skipped};

/// Backed-up files of an unencrypted repository, some of which have rotted since.
fn rotten(files: &[&str], rotten: &[&str]) -> Sandbox {
    rotten_with(files, rotten, &mut |_, _| {})
}

fn rotten_with(files: &[&str], rotten: &[&str], change: &mut dyn FnMut(&str, &mut Entry)) -> Sandbox {
    let sandbox = Sandbox::open();
    for file in files {
        sandbox.write(&[(file, &format!("the good content of {file}\n").repeat(200))]);
        chmod(&sandbox.src().join(file), 0o640);
    }
    sandbox.ok(&["backup", "src"]);
    rotten.iter().for_each(|file| flip(&sandbox.src().join(file)));
    settle(&sandbox, change);
    sandbox
}

fn good(file: &str) -> Vec<u8> {
    format!("the good content of {file}\n").repeat(200).into_bytes()
}

/// Returns the names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn full_backup_finds_bit_rot_and_heal_restores_the_bytes() {
    let sandbox = rotten(&["a", "dir/photo", "dir/other"], &["dir/photo"]);
    let photo = sandbox.src().join("dir/photo");
    let bad = fs::read(&photo).unwrap();
    let mtime = fs::metadata(&photo).unwrap().modified().unwrap();
    sandbox.ok(&["heal"]);
    sandbox.ok(&["backup", "src"]);
    let dry = sandbox.snap(&["backup", "src", "--full", "-n"]).expect(0);
    assert!(dry.stderr.contains("would raise an alarm: silent corruption"), "{}", dry.all());

    let met = sandbox.snap(&["backup", "src", "--full", "--json"]).expect(24);
    assert!(met.stderr.contains("silent corruption: src/dir/photo has different bytes"), "{}", met.all());
    let summary = met.summary();
    assert_eq!((&summary["files_corrupt"], &summary["corrupt"][0]), (&1.into(), &"src/dir/photo".into()));
    let listed = sandbox.ok(&["ls", "latest", "--json", "--recursive"]).text();
    let marked: Vec<&str> = listed.lines().filter(|line| line.contains("corrupt_since")).collect();
    assert!(marked.len() == 1 && marked[0].contains("src/dir/photo"), "{listed}");
    assert!(sandbox.snap(&["alarm"]).expect(24).text().contains("silent corruption"));
    assert!(sandbox.snap(&["status", "--alarms"]).expect(24).text().contains("silent corruption"));

    // Both versions are kept whatever the rules say. Later backups keep the mark and find nothing new.
    let kept = sandbox.ok(&["forget", "--keep-last", "1"]).text();
    assert!(kept.contains("held by the alarm") && kept.contains("nothing to forget"), "{kept}");
    sandbox.ok(&["backup", "src"]);
    sandbox.ok(&["backup", "src", "--full"]);
    assert!(sandbox.ok(&["ls", "latest", "--json", "--recursive"]).text().contains("corrupt_since"));

    let list = sandbox.snap(&["heal"]).expect(24).text();
    assert!(list.contains(photo.to_str().unwrap()) && list.contains("has a good version"), "{list}");
    let refused = sandbox.snap(&["heal", "src/dir/photo"]).expect(2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.all());
    sandbox.ok(&["heal", "--dry-run", "src/dir/photo"]);
    assert_eq!(fs::read(&photo).unwrap(), bad);
    sandbox.snap(&["heal", "--yes", "src/a"]).expect(1);

    sandbox.ok(&["heal", "--yes", photo.to_str().unwrap()]);
    let found = fs::metadata(&photo).unwrap();
    assert_eq!(fs::read(&photo).unwrap(), good("dir/photo"));
    assert_eq!((found.modified().unwrap(), found.permissions().mode() & 0o7777), (mtime, 0o640));
    let beside = names(&sandbox.src().join("dir"));
    assert!(beside.len() == 3 && beside[2].starts_with("photo.corrupt-2"), "{beside:?}");
    assert_eq!(fs::read(sandbox.src().join("dir").join(&beside[2])).unwrap(), bad);

    assert!(sandbox.ok(&["heal"]).text().contains("snap alarm clear"));
    let again = sandbox.snap(&["heal", "--yes", "src/dir/photo"]).expect(1);
    assert!(again.stderr.contains("content is good already"), "{}", again.all());
    sandbox.ok(&["alarm", "clear"]);
    assert!(sandbox.ok(&["heal"]).text().contains("no files with bit rot"));
    sandbox.ok(&["backup", "src", "--full"]);
    assert!(!sandbox.ok(&["ls", "latest", "--json", "--recursive"]).text().contains("corrupt_since"));
}

/// A file that was changed since the backup that found it is kept, and so is the target of a symbolic link.
#[test]
fn heal_leaves_files_alone_that_changed_since() {
    let files = ["edited", "moded", "link", "dir/file", "linked"];
    let sandbox = rotten(&files, &files);
    sandbox.snap(&["backup", "src", "--reread", "100%"]).expect(24);
    let (src, outside) = (sandbox.src(), sandbox.path("outside"));
    fs::create_dir(&outside).unwrap();
    let set = |path: &Path, bytes: &[u8]| {
        let mtime = fs::metadata(path).unwrap().modified().unwrap();
        fs::write(path, bytes).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(mtime).unwrap();
    };
    set(&src.join("edited"), &fs::read(src.join("edited")).unwrap().to_ascii_uppercase());
    chmod(&src.join("moded"), 0o600);
    // The same bad bytes, outside of the source.
    fs::rename(src.join("dir/file"), outside.join("file")).unwrap();
    fs::remove_dir(src.join("dir")).unwrap();
    symlink(&outside, src.join("dir")).unwrap();
    fs::rename(src.join("link"), outside.join("link")).unwrap();
    symlink(outside.join("link"), src.join("link")).unwrap();
    fs::hard_link(src.join("linked"), src.join("other")).unwrap();

    let state = |dir: &Path| -> Vec<(String, Vec<u8>, u64)> {
        let of = |name: &String| {
            (
                fs::read(dir.join(name)).unwrap_or_default(),
                fs::symlink_metadata(dir.join(name)).unwrap().ino(),
            )
        };
        names(dir)
            .into_iter()
            .map(|name| {
                let (bytes, ino) = of(&name);
                (name, bytes, ino)
            })
            .collect()
    };
    let before = (state(&src), state(&outside));
    for (file, why) in [
        ("edited", "has changed since"),
        ("moded", "(mode)"),
        ("dir/file", "symbolic link"),
        ("link", "no longer a regular file"),
    ] {
        let refused = sandbox.snap(&["heal", "--yes", &format!("src/{file}")]).expect(1);
        assert!(refused.stderr.contains(why), "{file}: {}", refused.all());
    }
    assert_eq!((state(&src), state(&outside)), before);

    // A further name does not change the file. That name keeps the bad bytes.
    let healed = sandbox.ok(&["heal", "--yes", "src/linked"]);
    assert!(healed.stderr.contains("other hard links"), "{}", healed.all());
    assert_eq!(fs::read(src.join("linked")).unwrap(), good("linked"));
    assert_ne!(fs::read(src.join("other")).unwrap(), good("linked"));
}

/// An unchanged file that is read again and has the same bytes changes nothing: nothing is stored.
#[test]
fn rereading_intact_files_leaves_the_repository_unchanged() {
    let sandbox = rotten(&["a", "b/c", "d"], &[]);
    let before = sandbox.listing();
    let summary = sandbox.ok(&["backup", "src", "--reread", "100%", "--json"]).summary();
    assert_eq!((&summary["files_reread"], &summary["unchanged"]), (&3.into(), &true.into()), "{summary}");
    assert_eq!(summary["bytes_reread"], summary["bytes_read"]);
    assert_eq!(sandbox.listing(), before);
    let none = sandbox.ok(&["backup", "src", "--json"]).summary();
    assert_eq!((&none["files_reread"], &none["bytes_read"]), (&serde_json::Value::Null, &0.into()), "{none}");
    for wrong in ["101%", "x", "-1%"] {
        sandbox.snap(&["backup", "src", &format!("--reread={wrong}")]).expect(2);
    }
    // Runs rotate: after two runs of one half each, every file was read once.
    let halves: u64 = (0..2)
        .map(|_| {
            sandbox.ok(&["backup", "src", "--reread", "50%", "--json"]).summary()["files_reread"]
                .as_u64()
                .unwrap()
        })
        .sum();
    assert_eq!(halves, 3);

    // In a set the key gives the share. Without it a schedule reads one percent.
    let set = |line: &str| {
        let (repo, src) = (sandbox.path("repo"), sandbox.src());
        let text =
            format!("[sets.a]\nrepository = '{}'\nsources = ['{}']\n{line}\n", repo.display(), src.display());
        fs::write(sandbox.path("snap.toml"), text).unwrap();
    };
    let run = |due: bool| {
        let mut command = sandbox.bin();
        command.args(["backup", "--set", "a", "--json"]);
        if due {
            command.env("SNAP_JOB_DUE", "2026-01-01T00:00:00Z");
        }
        crate::support::finish(command, b"").expect(0).summary()["files_reread"].clone()
    };
    set("");
    assert_eq!(run(false), serde_json::Value::Null);
    assert!(run(true).is_u64(), "a schedule reads a share again");
    set("reread = \"100%\"");
    assert_eq!(run(false), 3);
    set("reread = \"off\"");
    assert_eq!(run(true), serde_json::Value::Null);
    set("reread = \"some\"");
    let mut wrong = sandbox.bin();
    wrong.args(["backup", "--set", "a"]);
    crate::support::finish(wrong, b"").expect(2);
}

/// A disk that cannot read a file is not bit rot, and is never ignored.
#[test]
fn a_file_that_cannot_be_read_again_is_a_problem_and_no_rot() {
    let strace =
        |args: &[&str]| Command::new("strace").args(["-f", "-qq", "-o", "/dev/null"]).args(args).status();
    if !strace(&["true"]).is_ok_and(|status| status.success()) {
        return skipped("errors of the disk: strace is not there or may not trace");
    }
    let sandbox = rotten(&["a", "b"], &[]);
    let snap = sandbox.command(&["backup", "src", "--reread", "100%", "--json", "--allow-empty"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(sandbox.src().join("a"));
    traced.args(["-e", "inject=read,pread64,preadv,preadv2:error=EIO"]).arg(snap.get_program());
    traced.args(snap.get_args()).current_dir(snap.get_current_dir().unwrap()).env_clear();
    traced.envs(snap.get_envs().filter_map(|(name, value)| Some((name, value?))));
    traced.env("PATH", std::env::var_os("PATH").unwrap());
    let met = finish(traced, b"").expect(3);
    let summary = met.summary();
    assert!(met.all().contains("src/a") && met.all().contains("os error 5"), "{}", met.all());
    assert_eq!((&summary["files_reread"], summary.get("files_corrupt")), (&1.into(), None), "{summary}");
    assert_eq!(sandbox.snap(&["alarm"]).code, 0, "it gives no alarm");
    // The snapshot has the file as in the previous one.
    assert_eq!(sandbox.ok(&["cat", "latest:src/a"]).stdout, good("a"));
}

/// A different ctime or birth time means that somebody wrote to the file or replaced it: an ordinary change.
#[test]
fn bit_rot_requires_the_same_ctime_and_birth_time() {
    let files = ["born", "ctime", "rotten"];
    let long_ago = Time { sec: 1_000_000_000, nanos: 5 };
    let sandbox = rotten_with(&files, &files, &mut |path, entry| match path {
        "src/born" => entry.meta.born = Some(long_ago),
        "src/ctime" => entry.meta.ctime = long_ago,
        _ => {}
    });
    for how in [&["--reread", "100%", "--ignore-ctime", "-n"][..], &["--full"]] {
        let met = sandbox.snap(&[&["backup", "src", "--json"], how].concat());
        let summary = met.expect(if how.contains(&"-n") { 0 } else { 24 }).summary();
        assert_eq!((&summary["files_corrupt"], &summary["corrupt"][0]), (&1.into(), &"src/rotten".into()));
        let changed = if how.contains(&"-n") { &summary["files_changed"] } else { &summary["files_new"] };
        assert_eq!(changed, 3, "{summary}");
    }
}
