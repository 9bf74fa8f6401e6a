//! What a user sees: the real binary, a directory, and the tree that comes back.
#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use support::Outcome;
use support::PASSWORD;
use support::Random;
use support::Sandbox;
use support::assert_same;
use support::chmod;
use support::copy_tree;
use support::finish;

// The tree that comes back.

#[test]
fn a_tree_of_everything_comes_back_as_it_was() {
    let sandbox =
        Sandbox::with_tree(&[("a.txt", "hello"), ("empty", ""), ("empty dir/", ""), ("d/e/f", "deep")]);
    let src = sandbox.src();
    fs::write(src.join("big"), Random::new(1).bytes(3 << 20)).unwrap();
    fs::write(src.join(OsStr::from_bytes(b"caf\xe9\n")), "not UTF-8").unwrap();
    symlink("nowhere/at all", src.join("dangling")).unwrap();
    symlink("a.txt", src.join("to a")).unwrap();
    fs::hard_link(src.join("a.txt"), src.join("d/the same as a")).unwrap();
    fs::hard_link(src.join("big"), src.join("d/e/the same as big")).unwrap();
    fs::create_dir(src.join("many")).unwrap();
    for number in 0..5000 {
        fs::write(src.join(format!("many/{number}")), number.to_string()).unwrap();
    }
    for (name, mode) in [("empty dir", 0o1777), ("d/e", 0o555), ("a.txt", 0o4750), ("empty", 0o600)] {
        chmod(&src.join(name), mode);
    }
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &src);
    sandbox.assert_clean();
}

#[test]
fn an_unencrypted_repository_gives_the_tree_back_too() {
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "1"), ("d/b", "2")]);
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.assert_clean();
}

#[test]
fn a_deleted_file_stays_deleted() {
    let sandbox = Sandbox::with_tree(&[("stays", "1"), ("goes", "2")]);
    sandbox.backup(&[]);
    fs::remove_file(sandbox.path("src/goes")).unwrap();
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    assert!(sandbox.restore("latest~1", &[]).join("src/goes").exists());
}

#[test]
fn a_file_may_become_a_directory_and_a_file_again() {
    let sandbox = Sandbox::with_tree(&[("x", "a file")]);
    sandbox.backup(&[]);
    fs::remove_file(sandbox.path("src/x")).unwrap();
    sandbox.write(&[("x/inside", "in a directory")]);
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    fs::remove_dir_all(sandbox.path("src/x")).unwrap();
    sandbox.write(&[("x", "a file again")]);
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn a_renamed_directory_is_stored_once() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("src/old")).unwrap();
    fs::write(sandbox.path("src/old/big"), Random::new(2).bytes(1 << 20)).unwrap();
    sandbox.backup(&[]);
    let before = sandbox.listing().values().sum::<u64>();
    fs::rename(sandbox.path("src/old"), sandbox.path("src/new")).unwrap();
    sandbox.backup(&[]);
    sandbox.assert_restores("latest", &sandbox.src());
    let grown = sandbox.listing().values().sum::<u64>() - before;
    assert!(grown < 64 << 10, "a rename cost {grown} bytes");
}

#[test]
fn several_sources_come_back_side_by_side() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    copy_tree(&sandbox.src(), &sandbox.path("other"));
    sandbox.ok(&["backup", "src", "other"]);
    let target = sandbox.restore("latest", &[]);
    for name in ["src", "other"] {
        assert_same(&sandbox.path(name), &target.join(name));
    }
}

// Kinds.

#[test]
fn an_incremental_of_nothing_new_writes_nothing_and_says_so() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
    let id = sandbox.backup(&[]);
    let before = sandbox.listing();
    let outcome = sandbox.ok(&["backup", "src"]);
    assert_eq!(sandbox.listing(), before);
    let sentence = format!("nothing changed since snapshot {}: nothing written", &id[..8]);
    assert!(outcome.text().contains(&sentence), "{}", outcome.all());
}

#[test]
fn allow_empty_writes_a_snapshot_of_nothing_new() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    sandbox.backup(&["--allow-empty"]);
}

#[test]
fn a_first_incremental_or_differential_becomes_a_full_and_says_so() {
    for kind in ["--incremental", "--differential"] {
        let sandbox = Sandbox::with_tree(&[("a", "1")]);
        let outcome = sandbox.ok(&["backup", kind, "src"]);
        assert!(outcome.all().contains("becomes a full"), "{kind}: {}", outcome.all());
        assert_eq!(snapshots(&sandbox)[0]["kind"], "full", "{kind}");
    }
}

#[test]
fn a_differential_back_at_the_full_is_still_a_new_state() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    copy_tree(&sandbox.src(), &sandbox.path("kept"));
    sandbox.backup(&["--full"]);
    sandbox.write(&[("a", "another")]);
    sandbox.backup(&["--differential"]);
    fs::remove_dir_all(sandbox.src()).unwrap();
    copy_tree(&sandbox.path("kept"), &sandbox.src());
    sandbox.backup(&["--differential"]);
    sandbox.assert_restores("latest", &sandbox.src());
    assert_eq!(sandbox.try_backup(&["--differential"]), None);
}

#[test]
fn a_full_always_writes_a_snapshot_and_no_data_twice() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("b", "2")]);
    sandbox.backup(&["--full"]);
    let packs = sandbox.objects("packs");
    sandbox.backup(&["--full"]);
    assert_eq!(sandbox.objects("packs"), packs);
    sandbox.assert_restores("latest~1", &sandbox.src());
}

#[test]
fn a_full_sees_what_no_timestamp_tells() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    let kept = fs::metadata(sandbox.path("src/a")).unwrap().modified().unwrap();
    sandbox.backup(&[]);
    sandbox.write(&[("a", "two")]);
    let file = fs::File::options().write(true).open(sandbox.path("src/a")).unwrap();
    file.set_modified(kept).unwrap();
    sandbox.backup(&["--full"]);
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn a_dry_run_writes_nothing() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let before = sandbox.listing();
    sandbox.ok(&["backup", "--dry-run", "src"]);
    assert_eq!(sandbox.listing(), before);
}

// Answers.

#[test]
fn the_json_summary_counts_files() {
    let sandbox = Sandbox::with_tree(&[("a", "123"), ("b", "45")]);
    let summary = sandbox.ok(&["backup", "--json", "src"]).summary();
    assert_eq!(summary["files_new"], 2, "{summary}");
    assert_eq!(summary["total_bytes_processed"], 5, "{summary}");
    let id = summary["snapshot_id"].as_str().unwrap();
    assert!(sandbox.snapshot_names().contains(id), "{id}");
}

#[test]
fn snapshots_as_json_are_one_array() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let first = sandbox.backup(&["--tag", "one"]);
    sandbox.write(&[("a", "22")]);
    let second = sandbox.backup(&[]);
    let list = snapshots(&sandbox);
    assert_eq!(list.iter().map(|one| one["id"].as_str().unwrap()).collect::<Vec<_>>(), [&first, &second]);
    assert_eq!(list[0]["short_id"], first[..8]);
    assert_eq!(list[0]["tags"][0], "one");
}

#[test]
fn ls_lists_and_cat_prints() {
    let sandbox = Sandbox::with_tree(&[("a", "hello"), ("d/b", "deep")]);
    sandbox.backup(&[]);
    let names = sandbox.ok(&["ls", "latest"]).text();
    assert_eq!(names.lines().collect::<Vec<_>>(), ["src", "src/a", "src/d", "src/d/b"]);
    assert_eq!(sandbox.ok(&["cat", "latest:src/d/b"]).stdout, b"deep");
    assert_ne!(sandbox.snap(&["cat", "latest:src/none"]).code, 0);
    assert_ne!(sandbox.snap(&["cat", "latest:src/d"]).code, 0);
}

#[test]
fn cat_gives_a_large_file_byte_for_byte() {
    let sandbox = Sandbox::new();
    let bytes = Random::new(3).bytes(2 << 20);
    fs::write(sandbox.path("src/big"), &bytes).unwrap();
    sandbox.backup(&[]);
    assert!(sandbox.ok(&["cat", "latest:src/big"]).stdout == bytes);
}

#[test]
fn ls_as_json_keeps_names_that_are_not_text() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.src().join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    sandbox.backup(&[]);
    let text = sandbox.ok(&["ls", "--json", "latest"]).text();
    let mut nodes = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let node = nodes.next_back().unwrap();
    assert_eq!(node["path_b64"], "c3JjL2NhZuk=", "{node}");
}

#[test]
fn every_selector_names_the_snapshot_it_should() {
    let sandbox = Sandbox::with_tree(&[("a", "first")]);
    let first = sandbox.backup(&[]);
    sandbox.write(&[("a", "second")]);
    let second = sandbox.backup(&[]);
    let cat = |selector: &str| sandbox.ok(&["cat", &format!("{selector}:src/a")]).text();
    let started = snapshots(&sandbox)[0]["time"].as_str().unwrap().to_owned();
    for selector in ["latest~1", &first, &first[..8], &started] {
        assert_eq!(cat(selector), "first", "{selector}");
    }
    for selector in ["latest", "latest~0", &second[..8], "2199-01-01", "2199-01-01T00:00:00Z"] {
        assert_eq!(cat(selector), "second", "{selector}");
    }
    for selector in ["latest~2", "0000000000000000", "2001-01-01", "nonsense", "latest~x", ""] {
        let outcome = sandbox.snap(&["ls", selector]);
        assert!([1, 2].contains(&outcome.code), "{selector}: {outcome:?}");
    }
}

#[test]
fn a_part_of_a_snapshot_restores_alone() {
    let sandbox = Sandbox::with_tree(&[("d/b", "1"), ("d/e/c.txt", "2"), ("f.txt", "3"), ("g", "4")]);
    sandbox.backup(&[]);
    let part = sandbox.restore("latest:src/d", &[]);
    let restored = support::files_below(&part);
    assert!(restored.iter().any(|path| path.ends_with("b")), "{restored:?}");
    assert_eq!(restored.len(), 2, "{restored:?}");

    let included = sandbox.restore("latest", &["--include", "*.txt"]);
    assert_eq!(support::files_below(&included).len(), 2);
    assert_eq!(fs::read(included.join("src/d/e/c.txt")).unwrap(), b"2");

    let excluded = sandbox.restore("latest", &["--exclude", "*.txt"]);
    assert_eq!(fs::read(excluded.join("src/g")).unwrap(), b"4");
    assert!(!excluded.join("src/f.txt").exists());
    assert!(!excluded.join("src/d/e/c.txt").exists());
}

#[test]
fn a_restore_over_an_older_state_ends_at_the_snapshot() {
    let sandbox = Sandbox::with_tree(&[("a", "new"), ("d/b", "x")]);
    sandbox.backup(&[]);
    let target = sandbox.restore("latest", &[]);
    fs::write(target.join("src/a"), "something longer").unwrap();
    fs::remove_file(target.join("src/d/b")).unwrap();
    sandbox.ok(&["restore", "latest", "--target", target.to_str().unwrap()]);
    assert_same(&sandbox.src(), &target.join("src"));
}

#[test]
fn excludes_keep_things_out() {
    let sandbox = Sandbox::with_tree(&[("a.log", "1"), ("a.txt", "2"), ("skip/x", "3"), ("keep/B.TMP", "4")]);
    sandbox.write(&[("cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55"), ("cache/x", "5")]);
    let excludes = ["--exclude", "*.log", "--exclude", "skip", "--iexclude", "*.tmp", "--exclude-caches"];
    sandbox.backup(&excludes);
    let restored = sandbox.restore("latest", &[]);
    for (name, there) in
        [("a.log", false), ("a.txt", true), ("skip", false), ("keep/B.TMP", false), ("cache/x", false)]
    {
        assert_eq!(restored.join("src").join(name).exists(), there, "{name}");
    }
}

// Exit codes.

#[test]
fn no_repository_is_10() {
    let sandbox = Sandbox::bare();
    sandbox.snap(&["snapshots"]).expect(10);
    sandbox.snap(&["backup", "src"]).expect(10);
}

#[test]
fn a_wrong_password_is_12_and_so_is_none() {
    let mut sandbox = Sandbox::new();
    sandbox.set_password(Some("wrong"));
    sandbox.snap(&["snapshots"]).expect(12);
    sandbox.set_password(None);
    sandbox.snap(&["snapshots"]).expect(12);
}

#[test]
fn nonsense_is_2() {
    let sandbox = Sandbox::new();
    for args in [
        &["frobnicate"][..],
        &["backup"],
        &["restore", "latest"],
        &["backup", "--full", "--differential", "src"],
    ] {
        sandbox.snap(args).expect(2);
    }
    finish(
        {
            let mut bare = sandbox.bin();
            bare.arg("snapshots");
            bare
        },
        b"",
    )
    .expect(2);
}

#[test]
fn a_source_that_is_not_there_is_3_and_the_rest_is_saved() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let outcome = sandbox.snap(&["backup", "src", "missing"]).expect(3);
    assert!(outcome.stderr.contains("missing"), "{}", outcome.stderr);
    assert_same(&sandbox.src(), &sandbox.restore("latest", &[]).join("src"));
}

#[test]
fn nothing_to_read_at_all_is_1_and_makes_no_snapshot() {
    let sandbox = Sandbox::new();
    sandbox.snap(&["backup", "missing"]).expect(1);
    assert!(sandbox.snapshot_names().is_empty());
}

#[test]
fn options_stand_before_and_after_the_verb() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    for args in [["-r", "repo", "--json", "snapshots"], ["snapshots", "--json", "-r", "repo"]] {
        let mut command = sandbox.bin();
        command.args(args);
        assert_eq!(finish(command, b"").expect(0).json().as_array().unwrap().len(), 1, "{args:?}");
    }
}

#[test]
fn backup_makes_the_repository_when_asked() {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("a", "1")]);
    sandbox.ok(&["backup", "--init", "src"]);
    sandbox.assert_restores("latest", &sandbox.src());
    assert_eq!(sandbox.try_backup(&["--init"]), None);
    assert_ne!(sandbox.snap(&["init"]).code, 0);
}

// Keys and trust.

#[test]
fn a_second_password_opens_until_it_is_removed() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let first = sandbox.objects("keys");
    fs::write(sandbox.path("new"), "second\n").unwrap();
    sandbox.ok(&["key", "add", "--new-password-file", "new"]);
    let both = sandbox.objects("keys");
    let added = both.iter().find(|key| !first.contains(key)).unwrap();
    let added = added.file_name().unwrap().to_str().unwrap();
    let list = sandbox.ok(&["key", "list", "--json"]).json();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");

    sandbox.set_password(Some("second"));
    sandbox.assert_restores("latest", &sandbox.src());
    assert_ne!(sandbox.snap(&["key", "remove", added]).code, 0, "the key in use must stay");
    sandbox.set_password(Some(PASSWORD));
    sandbox.ok(&["key", "remove", added]);
    assert_eq!(sandbox.objects("keys"), first);
    sandbox.set_password(Some("second"));
    sandbox.snap(&["snapshots"]).expect(12);
}

#[test]
fn a_changed_password_replaces_the_old_one() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let mut command = sandbox.command(&["key", "passwd"]);
    command.env("SNAP_NEW_PASSWORD", "changed");
    finish(command, b"").expect(0);
    sandbox.snap(&["snapshots"]).expect(12);
    sandbox.set_password(Some("changed"));
    sandbox.assert_restores("latest", &sandbox.src());
    assert_eq!(sandbox.objects("keys").len(), 1);
}

#[test]
fn a_password_may_come_from_a_file_or_a_command() {
    let mut sandbox = Sandbox::new();
    sandbox.set_password(None);
    fs::write(sandbox.path("password"), format!("{PASSWORD}\n")).unwrap();
    sandbox.ok(&["snapshots", "--password-file", "password"]);
    let mut command = sandbox.command(&["snapshots", "--password-command", "echo try"]);
    command.env("PATH", "/usr/bin:/bin");
    finish(command, b"").expect(0);
}

#[test]
fn an_unencrypted_stranger_in_an_encrypted_repository_s_place_is_refused() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let stranger = Sandbox::open();
    fs::remove_dir_all(sandbox.path("repo")).unwrap();
    copy_tree(&stranger.path("repo"), &sandbox.path("repo"));
    let before = sandbox.listing();
    for password in [Some(PASSWORD), None] {
        sandbox.set_password(password);
        assert_ne!(sandbox.snap(&["backup", "src"]).code, 0, "with {password:?}");
        assert_ne!(sandbox.snap(&["snapshots"]).code, 0, "with {password:?}");
    }
    assert_eq!(sandbox.listing(), before);
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let config = &sandbox.objects("config")[0];
    let mut bytes = fs::read(config).unwrap();
    bytes[6..8].copy_from_slice(&4711_u16.to_le_bytes());
    chmod(config, 0o600);
    fs::write(config, bytes).unwrap();
    for args in [&["snapshots"][..], &["backup", "src"]] {
        let outcome = sandbox.snap(args);
        assert_ne!(outcome.code, 0);
        assert!(outcome.stderr.contains("4711"), "{}", outcome.stderr);
    }
}

// Where things come from and go.

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
fn a_command_s_output_counts_only_if_it_succeeds() {
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
    assert_eq!(support::files_below(&restored).len(), 2);
    assert_eq!(fs::read(restored.join("src/c d")).unwrap(), b"3");
}

// The view in the cache is disposable.

#[test]
fn a_view_that_is_gone_garbled_or_cut_changes_no_answer() {
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
fn a_cache_that_cannot_be_made_changes_no_answer() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    fs::remove_dir_all(sandbox.path("cache")).unwrap();
    fs::write(sandbox.path("cache"), "not a directory").unwrap();
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
    for file in support::files_below(&sandbox.view()) {
        let len = fs::metadata(&file).unwrap().len();
        fs::write(&file, Random::new(len).bytes(usize::try_from(len.min(1 << 20)).unwrap())).unwrap();
    }
}

fn cut(sandbox: &Sandbox) {
    for file in support::files_below(&sandbox.view()) {
        let len = fs::metadata(&file).unwrap().len();
        fs::File::options().write(true).open(&file).unwrap().set_len(len / 2).unwrap();
    }
}

fn snapshots(sandbox: &Sandbox) -> Vec<serde_json::Value> {
    sandbox.ok(&["snapshots", "--json"]).json().as_array().unwrap().clone()
}
