//! The sources of a backup: every named source is in the snapshot, or reported as missing.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::{Outcome, Sandbox, files_below, finish, skipped};

fn sandbox(tree: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::open();
    sandbox.write(tree);
    sandbox
}

/// Returns the paths in the newest snapshot.
fn saved(sandbox: &Sandbox) -> Vec<String> {
    sandbox.ok(&["ls", "-R", "latest"]).text().lines().map(str::to_owned).collect()
}

fn backup(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    sandbox.snap(&[&["backup", "--full"], args].concat())
}

#[test]
fn source_below_another_is_saved_despite_excludes() {
    let tree = [("build/o", "1"), ("build/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55")];
    let sandbox = sandbox(&tree);
    sandbox.write(&[(".gitignore", "build\n"), ("other/build/x", "2"), ("z", "3")]);
    for filter in [
        &["-e", "build"][..],
        &["-e", "/**/src/build"],
        &["--iexclude", "BUILD"],
        &["--exclude-caches"],
        &["--exclude-if-present", "o"],
        &["--gitignore"],
    ] {
        for sources in [["src", "src/build"], ["src/build", "src"]] {
            let outcome = backup(&sandbox, &[filter, &sources].concat()).expect(0);
            assert!(saved(&sandbox).contains(&"src/build/o".to_owned()), "{filter:?}: {}", outcome.all());
        }
    }
    backup(&sandbox, &["-e", "build", "src", "src/build"]).expect(0);
    assert!(!saved(&sandbox).contains(&"src/other/build/x".to_owned()));
    backup(&sandbox, &["--exclude-larger-than", "0", "src", "src/z"]).expect(0);
    assert!(
        saved(&sandbox).contains(&"src/z".to_owned()) && !saved(&sandbox).contains(&"src/build/o".to_owned())
    );
}

#[test]
fn a_directory_that_only_leads_to_a_source_holds_nothing_else() {
    let sandbox = sandbox(&[("a/x", "1"), ("a/b/y", "2"), ("a/b/c/z", "3"), ("a/b/c/d/w", "4")]);
    fs::write(sandbox.path("src/a/.nobackup"), "").unwrap();
    for filter in [&["-e", "/**/src/a"][..], &["--exclude-if-present", ".nobackup"]] {
        backup(&sandbox, &[filter, &["src", "src/a/b/c"]].concat()).expect(0);
        let wanted = ["src", "src/a", "src/a/b", "src/a/b/c", "src/a/b/c/d", "src/a/b/c/d/w", "src/a/b/c/z"];
        assert_eq!(saved(&sandbox), wanted, "{filter:?}");
    }
}

#[test]
fn a_source_that_is_not_there_is_named_also_below_another() {
    let sandbox = sandbox(&[("a/x", "1")]);
    for missing in ["src/gone", "src/a/gone", "src/gone/too", "elsewhere"] {
        let outcome = backup(&sandbox, &["src", missing]).expect(3);
        assert!(outcome.stderr.contains(missing), "{}", outcome.stderr);
        assert!(saved(&sandbox).contains(&"src/a/x".to_owned()));
    }
    sandbox.snap(&["backup", "gone", "gone/too"]).expect(1);
}

#[test]
fn a_source_on_a_file_system_below_another_one_is_saved() {
    let sandbox = sandbox(&[("home/hidden", "1"), ("root", "2")]);
    let mounted = Mounted::tmpfs(&sandbox.path("src/home"));
    let Some(_mounted) = mounted else { return skipped("this user may not mount a tmpfs") };
    sandbox.write(&[("home/me/doc", "precious"), ("home/other/doc", "no")]);
    backup(&sandbox, &["-x", "src"]).expect(0);
    assert_eq!(saved(&sandbox), ["src", "src/home", "src/root"]);
    backup(&sandbox, &["-x", "src", "src/home"]).expect(0);
    assert!(saved(&sandbox).contains(&"src/home/me/doc".to_owned()));
    backup(&sandbox, &["-x", "src", "src/home/me"]).expect(0);
    assert_eq!(saved(&sandbox), ["src", "src/home", "src/home/me", "src/home/me/doc", "src/root"]);
}

#[test]
fn pattern_above_a_source_is_a_problem_and_it_is_saved() {
    let sandbox = sandbox(&[(".cache/work/doc", "1"), (".cache/work/.git/x", "2")]);
    for pattern in [".*", "/**/.cache", "src"] {
        let outcome = backup(&sandbox, &["-e", pattern, "src/.cache/work"]).expect(3);
        assert!(
            outcome.stderr.contains(pattern) && outcome.stderr.contains("src/.cache/work"),
            "{}",
            outcome.stderr
        );
        assert!(saved(&sandbox).contains(&"src/.cache/work/doc".to_owned()), "{pattern}");
    }
    backup(&sandbox, &["-e", ".*", "src/.cache/work"]).expect(3);
    assert!(!saved(&sandbox).contains(&"src/.cache/work/.git/x".to_owned()), "below it patterns hold");
}

#[test]
fn source_that_a_rule_matches_is_saved_with_a_warning() {
    let sandbox = sandbox(&[("a/.nobackup", ""), ("a/x", "1"), ("big", "12345")]);
    let outcome = backup(&sandbox, &["--exclude-if-present", ".nobackup", "src/a"]).expect(0);
    assert!(outcome.stderr.contains("src/a is saved, because it was given by name"), "{}", outcome.stderr);
    assert!(saved(&sandbox).contains(&"src/a/x".to_owned()));
    let outcome = backup(&sandbox, &["-e", "b*", "src/big"]).expect(0);
    assert!(outcome.stderr.contains("although the pattern 'b*' matches it"), "{}", outcome.stderr);
    backup(&sandbox, &["--exclude-larger-than", "2", "src/big"]).expect(0);
    assert!(saved(&sandbox).contains(&"src/big".to_owned()));
}

#[test]
fn source_excluded_entirely_is_a_problem_and_no_snapshot() {
    let sandbox = sandbox(&[("a/x", "1"), ("b/y", "2"), ("empty/", "")]);
    let outcome = backup(&sandbox, &["-e", "src/a/*", "src/a", "src/b"]).expect(3);
    assert!(outcome.stderr.contains("src/a: nothing of this source is saved"), "{}", outcome.stderr);
    let before = sandbox.snapshot_names();
    for args in [&["-e", "*", "src"][..], &["-e", "src/a/**", "src/a"], &["-e", "?*", "src/a", "src/b"]] {
        let outcome = backup(&sandbox, args).expect(1);
        assert!(outcome.stderr.contains("no snapshot was saved"), "{}", outcome.stderr);
        assert_eq!(sandbox.snapshot_names(), before, "{args:?}");
    }
    // All current content is excluded, but not everything that might be there.
    let outcome = backup(&sandbox, &["-e", "x", "src/a"]).expect(0);
    assert!(outcome.stderr.contains("src/a: nothing of this source is saved"), "{}", outcome.stderr);
    assert_eq!(saved(&sandbox), ["src", "src/a"]);
    backup(&sandbox, &["-e", "*", "--allow-empty", "src"]).expect(0);
    assert_eq!(saved(&sandbox), ["src"]);
    // A source that is empty anyway is saved as such.
    backup(&sandbox, &["-e", "*", "src/empty"]).expect(0);
    assert_eq!(saved(&sandbox), ["src", "src/empty"]);
}

#[test]
fn own_files_of_the_program_are_no_source() {
    let sandbox = sandbox(&[("doc", "1")]);
    for source in ["repo", "repo/", "repo/packs", "home/.local/state/snap", "home/.cache/snap"] {
        fs::create_dir_all(sandbox.path(source)).unwrap();
        let outcome = backup(&sandbox, &[source]).expect(1);
        assert!(outcome.stderr.contains(source.trim_end_matches('/')), "{}", outcome.stderr);
        backup(&sandbox, &["src", source]).expect(3);
    }
    let mut here = sandbox.bin();
    here.current_dir(sandbox.path("repo")).args(["-r", ".", "backup", "."]);
    finish(here, b"").expect(1);
}

#[test]
fn link_with_a_trailing_slash_means_its_target() {
    let sandbox = sandbox(&[("data/doc", "precious")]);
    symlink("src/data", sandbox.path("current")).unwrap();
    for source in ["current/", "current/.", "./current//"] {
        let outcome = backup(&sandbox, &[source]).expect(0);
        assert_eq!(saved(&sandbox), ["current", "current/doc"], "{source}");
        assert_eq!(outcome.warnings(), 0, "{}", outcome.stderr);
    }
    let target = sandbox.restore("latest", &[]);
    assert_eq!(fs::read_to_string(target.join("current/doc")).unwrap(), "precious");
    let outcome = backup(&sandbox, &["current"]).expect(0);
    assert!(outcome.stderr.contains("current is a symbolic link"), "{}", outcome.stderr);
    assert_eq!(saved(&sandbox), ["current"]);
    // Two names of one directory, and a link to a saved one.
    backup(&sandbox, &["current", "current/"]).expect(0);
    assert_eq!(saved(&sandbox), ["current", "current/doc"]);
    symlink("data", sandbox.path("src/inner")).unwrap();
    let outcome = backup(&sandbox, &["src/data", "src/inner"]).expect(0);
    assert_eq!(outcome.warnings(), 0, "{}", outcome.stderr);
    // Also below another source. Something that is not a directory contains nothing.
    symlink("../outside", sandbox.path("src/out")).unwrap();
    fs::create_dir(sandbox.path("outside")).unwrap();
    fs::write(sandbox.path("outside/x"), "1").unwrap();
    backup(&sandbox, &["src", "src/out/"]).expect(0);
    assert!(saved(&sandbox).contains(&"src/out/x".to_owned()));
    fs::write(sandbox.path("file"), "1").unwrap();
    symlink("file", sandbox.path("to-file")).unwrap();
    backup(&sandbox, &["src", "to-file/"]).expect(3);
}

#[test]
fn dot_dot_is_resolved_as_by_the_system() {
    let sandbox = sandbox(&[]);
    for (file, text) in [("real/dir/k", "right"), ("dir/k", "wrong")] {
        fs::create_dir_all(sandbox.path(file).parent().unwrap()).unwrap();
        fs::write(sandbox.path(file), text).unwrap();
    }
    symlink("real/dir", sandbox.path("link")).unwrap();
    backup(&sandbox, &["link/../dir/k"]).expect(0);
    let file = saved(&sandbox).pop().unwrap();
    assert_eq!(sandbox.ok(&["cat", &format!("latest:{file}")]).text(), "right");
    let by_path = sandbox.ok(&["snapshots", "--json", "--path", "link/../dir/k"]);
    assert_eq!(by_path.json().as_array().unwrap().len(), 1);
}

#[test]
fn deleted_working_directory_affects_no_absolute_path() {
    let sandbox = sandbox(&[("a", "1")]);
    let (repo, src) = (sandbox.path("repo"), sandbox.src());
    let run = |args: &[&OsStr]| {
        let gone = sandbox.path("gone");
        fs::create_dir(&gone).unwrap();
        let snap = sandbox.bin();
        let mut shell = Command::new("sh");
        shell.args(["-c", "rmdir ../gone && exec \"$@\"", "sh"]).arg(snap.get_program()).arg("-r").arg(&repo);
        shell.args(args).current_dir(&gone).env_clear();
        shell.envs(snap.get_envs().filter_map(|(name, value)| Some((name, value?))));
        finish(shell, b"")
    };
    let (backup, diff, src) = (OsStr::new("backup"), OsStr::new("diff"), src.as_os_str());
    run(&[backup, src]).expect(0);
    run(&[diff, OsStr::new("latest"), src]).expect_one_of(&[0, 3]);
    let outcome = run(&[backup, OsStr::new("src")]).expect_one_of(&[1, 2]);
    assert!(outcome.stderr.contains("current directory"), "{}", outcome.stderr);
}

#[test]
fn source_stored_under_another_name_is_known_by_it() {
    let sandbox = sandbox(&[]);
    let mut parents = Vec::new();
    for day in ["mon", "tue", "wed"] {
        fs::create_dir(sandbox.path(day)).unwrap();
        fs::write(sandbox.path(day).join("f"), day).unwrap();
        parents.push(sandbox.ok(&["backup", "--json", "--as", "/home", day]).summary()["parent"].clone());
    }
    assert!(parents[0].is_null() && parents[1].is_string() && parents[2].is_string(), "{parents:?}");
    sandbox.ok(&["forget", "--keep-last", "1"]);
    let left = sandbox.ok(&["snapshots", "--json", "--path", "/home"]).json();
    assert_eq!(left.as_array().unwrap().len(), 1);
    // The stored path also anchors patterns.
    sandbox.ok(&["backup", "--as", "/home", "-e", "/home/g", "tue"]);
    fs::write(sandbox.path("tue/g"), "g").unwrap();
    sandbox.ok(&["backup", "--as", "/home", "-e", "/home/g", "tue"]);
    assert_eq!(saved(&sandbox), ["home", "home/f"]);
}

#[test]
fn nothing_on_standard_input_is_an_error_unless_it_is_allowed() {
    let sandbox = sandbox(&[]);
    let outcome = finish(sandbox.command(&["backup", "--stdin"]), b"").expect(1);
    assert!(outcome.stderr.contains("standard input was empty"), "{}", outcome.stderr);
    let outcome = sandbox.snap(&["backup", "--stdin-from-command", "--", "true"]).expect(1);
    assert!(outcome.stderr.contains("true printed nothing"), "{}", outcome.stderr);
    assert!(sandbox.snapshot_names().is_empty());
    finish(sandbox.command(&["backup", "--stdin", "--allow-empty"]), b"").expect(0);
    assert_eq!(saved(&sandbox), ["stdin"]);
}

#[test]
fn a_dry_run_says_whether_anything_changed() {
    let sandbox = sandbox(&[("a", "1")]);
    let dry = |args: &[&str]| sandbox.ok(&[&["backup", "-n", "src"], args].concat()).text();
    assert!(dry(&[]).contains("a snapshot would be saved"));
    sandbox.backup(&[]);
    assert!(dry(&[]).contains("nothing changed") && dry(&[]).contains("no snapshot would be saved"));
    assert!(dry(&["--allow-empty"]).contains("; a snapshot would be saved"));
    let unchanged =
        |sandbox: &Sandbox| sandbox.ok(&["backup", "-n", "--json", "src"]).summary()["unchanged"].clone();
    assert_eq!(unchanged(&sandbox), true);
    sandbox.write(&[("a", "22"), ("b", "3")]);
    assert!(dry(&[]).contains("nothing written; a snapshot would be saved"), "{}", dry(&[]));
    assert_eq!(unchanged(&sandbox), false);
}

#[test]
fn backup_that_heals_damage_reports_it() {
    let sandbox = sandbox(&[("a", &"some text ".repeat(1000))]);
    sandbox.backup(&[]);
    for pack in files_below(&sandbox.path("repo/packs")) {
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    let dry = sandbox.ok(&["backup", "-n", "src"]).text();
    assert!(dry.contains("would be stored again"), "{dry}");
    let outcome = sandbox.ok(&["backup", "src"]);
    assert!(
        outcome.text().contains("stored again") && !outcome.text().contains("nothing written"),
        "{}",
        outcome.all()
    );
}

#[test]
fn patterns_match_characters_and_names_that_are_not_utf8() {
    let sandbox =
        sandbox(&[("äpfel.txt", ""), ("ä.txt", ""), ("Öl", ""), ("éa", ""), ("日.txt", ""), ("z.txt", "")]);
    fs::write(sandbox.src().join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    let keeps = |pattern: &[u8]| {
        let mut command = sandbox.command(&["backup", "--full", "src", "-e"]);
        command.arg(OsStr::from_bytes(pattern));
        finish(command, b"").expect(0);
        sandbox.ok(&["ls", "-R", "latest"]).stdout
    };
    let has = |list: &[u8], name: &[u8]| list.split(|byte| *byte == b'\n').any(|line| line.ends_with(name));
    let list = keeps("[äö]*".as_bytes());
    assert!(has(&list, "Öl".as_bytes()) && has(&list, "éa".as_bytes()) && !has(&list, "ä.txt".as_bytes()));
    let list = keeps(b"?.txt");
    assert!(has(&list, "äpfel.txt".as_bytes()) && !has(&list, "日.txt".as_bytes()));
    let list = keeps(b"bad\xff");
    assert!(!has(&list, b"bad\xff") && has(&list, b"z.txt"));
    assert!(sandbox.ok(&["find", "-i", "öL"]).text().contains("src/Öl"));
}

#[test]
fn name_that_is_not_utf8_can_be_selected_everywhere() {
    let sandbox = sandbox(&[("d/x", "1")]);
    let name = OsStr::from_bytes(b"bad\xff");
    fs::create_dir(sandbox.path("src/d").join(name)).unwrap();
    fs::write(sandbox.path("src/d").join(name).join(name), "b").unwrap();
    sandbox.backup(&[]);
    let path = |path: &[u8]| OsStr::from_bytes(&[b"latest:src/d/", path].concat()).to_owned();
    let (dir, file) = (path(b"bad\xff"), path(b"bad\xff/bad\xff"));
    let run = |args: &[&OsStr]| {
        finish(
            {
                let mut snap = sandbox.command(&[]);
                snap.args(args);
                snap
            },
            b"",
        )
        .expect(0)
    };
    let word = OsStr::new;
    assert_eq!(run(&[word("cat"), &file]).stdout, b"b");
    assert!(run(&[word("ls"), &dir]).stdout.ends_with(b"bad\xff/bad\xff\n"));
    assert!(run(&[word("du"), &dir]).text().contains("bad"));
    run(&[word("diff"), &dir, &dir]);
    run(&[word("export"), &dir, word("-o"), word("bad.tar")]);
    run(&[word("restore"), &dir, word("-t"), word("out/one")]);
    assert_eq!(fs::read(sandbox.path("out/one").join(name)).unwrap(), b"b");
    run(&[word("restore"), word("latest"), word("-t"), word("out/two"), word("-i"), name]);
    assert_eq!(fs::read(sandbox.path("out/two/src/d").join(name).join(name)).unwrap(), b"b");
    run(&[word("find"), name]);
    run(&[word("rewrite"), word("latest"), word("-e"), name]);
    assert_eq!(saved(&sandbox), ["src", "src/d", "src/d/x"]);
}

#[test]
fn pattern_without_a_match_is_reported_if_verbose() {
    let sandbox = sandbox(&[("a.log", ""), ("b", "1")]);
    let args = ["-e", "*.log", "-e", "*.lgo", "src"];
    let outcome = backup(&sandbox, &[&args[..], &["-v"]].concat()).expect(0);
    assert!(outcome.stderr.contains("the pattern '*.lgo' matched nothing"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("'*.log'"), "{}", outcome.stderr);
    assert!(!backup(&sandbox, &args).expect(0).stderr.contains("matched nothing"));
    let summary = backup(&sandbox, &[&args[..], &["--json"]].concat()).expect(0).summary();
    assert_eq!(summary["patterns_unmatched"], serde_json::json!(["*.lgo"]));
}

/// Every command that takes patterns.
#[test]
fn reading_commands_report_patterns_without_a_match() {
    let sandbox = sandbox(&[("a.log", ""), ("b", "1"), ("old.log", "1")]);
    sandbox.backup(&[]);
    let cases: [&[&str]; 4] = [
        &["restore", "latest", "-t", "out", "-e", "*.log", "-e", "*.lgo"],
        &["find", "*.log", "*.lgo"],
        &["find", "--regex", r"\.log$", r"\.lgo$"],
        &["rewrite", "-n", "-e", "*.log", "-e", "*.lgo"],
    ];
    for args in cases {
        let outcome = sandbox.snap(&[args, &["-v"]].concat()).expect(0);
        assert!(outcome.stderr.contains("lgo") && outcome.stderr.contains("matched nothing"), "{args:?}");
        assert_eq!(outcome.stderr.matches("matched nothing").count(), 1, "{args:?}: {}", outcome.stderr);
        assert!(!sandbox.snap(args).expect(0).stderr.contains("matched nothing"), "{args:?}");
        let summary = sandbox.snap(&[args, &["--json"]].concat()).expect(0).summary();
        assert_eq!(summary["patterns_unmatched"].as_array().map(Vec::len), Some(1), "{args:?}");
    }
}

#[test]
fn pattern_through_a_link_matches_from_the_shells_directory() {
    let sandbox = sandbox(&[("build/o", "1"), ("c", "2")]);
    symlink(sandbox.path(""), sandbox.path("out/here")).unwrap();
    let shell = sandbox.path("out/here");
    let mut command = sandbox.command(&["backup", "src", "-e"]);
    command.arg(shell.join("src/build")).env("PWD", &shell);
    finish(command, b"").expect(0);
    assert_eq!(saved(&sandbox), ["src", "src/c"]);
}

#[test]
fn lists_of_sources_of_other_systems_are_read_or_refused() {
    let sandbox = sandbox(&[("a", "1"), ("b", "2")]);
    let list = sandbox.path("list");
    let run = |bytes: &[u8]| {
        fs::write(&list, bytes).unwrap();
        backup(&sandbox, &["--files-from", "list"])
    };
    run(b"\xef\xbb\xbfsrc/a\r\nsrc/b\r\n").expect(0);
    assert_eq!(saved(&sandbox), ["src", "src/a", "src/b"]);
    run(b"\xff\xfes\0r\0c\0").expect(2);
    // In a list from this system, a carriage return is a part of the name.
    fs::write(sandbox.src().join("odd\r"), "3").unwrap();
    run(b"src/a\nsrc/odd\r\n").expect(0);
    assert_eq!(saved(&sandbox).len(), 3);
}

/// A file system that is mounted for the lifetime of this value.
struct Mounted(OsString);

impl Mounted {
    fn tmpfs(dir: &Path) -> Option<Self> {
        let status = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(dir).output().ok()?.status;
        status.success().then(|| Self(dir.into()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
