//! Selecting snapshots: filters of `latest`, paths in selectors, lists in groups.

use std::process::Command;

use crate::support::{Outcome, Sandbox, finish};

/// Two sets: the newest snapshot is of `other`, one of host `laptop` is between.
fn two_sets() -> Sandbox {
    let sandbox = Sandbox::with_tree(&[("a", "one"), ("d/b", "two"), ("other/c", "three")]);
    sandbox.ok(&["backup", "src/a", "src/d", "--tag", "mine"]);
    sandbox.ok(&["backup", "src/a", "--host", "laptop"]);
    sandbox.ok(&["backup", "src/other"]);
    sandbox
}

fn refused(outcome: Outcome, words: &[&str]) {
    let outcome = outcome.expect(1);
    for word in words {
        assert!(outcome.stderr.contains(word), "{word} in {}", outcome.stderr);
    }
}

#[test]
fn latest_is_chosen_by_host_tag_and_path_in_every_verb() {
    let sandbox = two_sets();
    assert_eq!(sandbox.ok(&["ls", "-R", "latest", "--host", "laptop"]).text(), "src\nsrc/a\n");
    assert_eq!(sandbox.ok(&["ls", "-R", "latest", "--tag", "mine"]).text(), "src\nsrc/a\nsrc/d\nsrc/d/b\n");
    assert_eq!(sandbox.ok(&["cat", "latest:src/d/b", "--tag", "mine"]).text(), "two");
    let source = sandbox.src().join("other");
    let source = source.to_str().unwrap();
    assert_eq!(sandbox.ok(&["cat", "latest", "src/other/c", "--path", source]).text(), "three");
    // Both selectors use the same filters.
    sandbox.backup(&["--tag", "mine"]);
    let diff = sandbox.ok(&["diff", "latest~1", "latest", "--tag", "mine", "--no-metadata"]).text();
    assert!(diff.contains("+    src/other/c"), "{diff}");
    sandbox.ok(&["restore", "latest", "--host", "laptop", "--target", "out/laptop"]);
    assert!(sandbox.path("out/laptop/src/a").exists() && !sandbox.path("out/laptop/src/d").exists());
    sandbox.ok(&["export", "latest", "--host", "laptop", "-o", "a.tar"]);
    let names = Command::new("tar").arg("-tf").arg(sandbox.path("a.tar")).output().unwrap();
    assert!(!String::from_utf8(names.stdout).unwrap().contains("src/d"));
    let versions = sandbox.ok(&["history", "src/a", "-s", "latest", "--host", "laptop"]).text();
    assert!(versions.contains("1 snapshot"), "{versions}");
}

#[test]
fn latest_of_several_sets_names_the_chosen_one() {
    let sandbox = two_sets();
    let outcome = sandbox.ok(&["ls", "latest"]);
    assert!(outcome.stderr.contains("latest is the newest of 3 sets"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("src/other"), "{}", outcome.stderr);
    for quiet in [&["ls", "latest", "-q"][..], &["ls", "latest", "--host", "laptop"]] {
        assert_eq!(sandbox.ok(quiet).stderr, "");
    }
    let one = Sandbox::with_tree(&[("a", "1")]);
    one.backup(&[]);
    assert_eq!(one.ok(&["ls", "latest"]).stderr, "");
}

#[test]
fn filter_without_a_match_lists_existing_values() {
    let sandbox = two_sets();
    refused(
        sandbox.snap(&["ls", "latest", "--host", "labtop"]),
        &["there is no snapshot of host labtop", "laptop"],
    );
    refused(sandbox.snap(&["restore", "latest", "-t", "out", "--tag", "nope"]), &["tag 'nope'", "mine"]);
    refused(sandbox.snap(&["find", "*", "--path", "/nowhere"]), &["source /nowhere", "src/other"]);
    refused(sandbox.snap(&["cat", "latest:src/a", "--host", "laptop", "--tag", "mine"]), &["matches all of"]);
    let list = sandbox.ok(&["snapshots", "--host", "labtop"]);
    assert!(list.stderr.contains("warning: there is no snapshot of host labtop"), "{}", list.stderr);
    // In an empty repository the message names no value in particular.
    let empty = Sandbox::new();
    assert_eq!(empty.ok(&["snapshots", "--host", "x"]).stderr, "");
}

#[test]
fn id_outside_the_filters_is_refused() {
    let sandbox = two_sets();
    let list = super::snapshots(&sandbox);
    let id = list[0]["id"].as_str().unwrap();
    sandbox.ok(&["ls", id, "--tag", "mine"]);
    refused(sandbox.snap(&["ls", id, "--host", "laptop"]), &["the filters do not select that snapshot"]);
}

#[test]
fn ls_lists_all_of_a_snapshot_and_one_level_of_a_path() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/e/f", "2")]);
    sandbox.backup(&[]);
    let all = "src\nsrc/a\nsrc/d\nsrc/d/e\nsrc/d/e/f\n";
    for args in [&["ls", "latest"][..], &["ls", "-R", "latest"], &["ls", "-R", "latest", "/"]] {
        assert_eq!(sandbox.ok(args).text(), all, "{args:?}");
    }
    for args in [&["ls", "latest", "/"][..], &["ls", "latest:/"], &["ls", "latest:"]] {
        assert_eq!(sandbox.ok(args).text(), "src\n", "{args:?}");
    }
    assert_eq!(sandbox.ok(&["ls", "latest", "src"]).text(), "src/a\nsrc/d\n");
    assert_eq!(sandbox.ok(&["ls", "latest:src/d"]).text(), "src/d/e\n");
    assert_eq!(sandbox.ok(&["ls", "latest", "/src/a/"]).text(), "src/a\n");
    assert_eq!(sandbox.ok(&["ls", "-R", "latest", "src/d"]).text(), "src/d/e\nsrc/d/e/f\n");
    // restic's fields, and the header before them.
    let json = sandbox.ok(&["ls", "--json", "latest", "src"]).text();
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["message_type"], &lines[1]["path"]), (&"snapshot".into(), &"src/a".into()));
    assert!(
        ["name", "type", "mode", "permissions", "mtime", "uid"].iter().all(|key| lines[1].get(key).is_some())
    );
}

#[test]
fn missing_path_says_where_to_look() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    for args in [
        &["ls", "latest:nope/x"][..],
        &["cat", "latest", "nope/x"],
        &["restore", "latest:nope/x", "-t", "out/x"],
        &["export", "latest:nope/x", "-o", "x.tar"],
        &["diff", "latest:nope/x", "latest"],
    ] {
        refused(sandbox.snap(args), &["has no 'nope/x'", "snap ls", "snap find 'x'"]);
    }
    let outcome = sandbox.snap(&["cat", "latest:src"]).expect(2);
    assert!(outcome.stderr.contains("src is not a regular file"), "{}", outcome.stderr);
    refused(
        sandbox.snap(&["history", "src/b"]),
        &["none of the selected snapshots has 'src/b'", "snap find 'b'"],
    );
}

#[test]
fn snapshots_are_listed_by_name_in_groups_and_compact() {
    let sandbox = two_sets();
    let list = super::snapshots(&sandbox);
    let short = |at: usize| list[at]["short_id"].as_str().unwrap().to_owned();
    let named = sandbox.ok(&["snapshots", &short(1), "latest"]).text();
    assert!(named.contains(&short(1)) && named.contains(&short(2)) && !named.contains(&short(0)), "{named}");
    let groups = sandbox.ok(&["snapshots", "--group-by", "host"]).text();
    assert!(groups.contains("host laptop\n") && groups.contains("3 snapshots"), "{groups}");
    let newest = sandbox.ok(&["snapshots", "--group-by", "host", "--latest", "1", "--json"]).json();
    let newest = newest.as_array().unwrap();
    let of = |at: usize| newest[at]["snapshots"].as_array().unwrap().len();
    assert_eq!((newest.len(), of(0), of(1)), (2, 1, 1));
    assert!(newest.iter().any(|group| group["group_key"]["hostname"] == "laptop"), "{newest:?}");
    let compact = sandbox.ok(&["snapshots", "--compact"]).text();
    assert!(compact.starts_with("ID") && !compact.contains("Kind") && compact.contains("mine"), "{compact}");
}

#[test]
fn set_option_names_its_snapshots_and_repository() {
    let sandbox = two_sets();
    let config = "[repositories.main]\nlocation = \"repo\"\n[sets.mine]\nrepository = \"main\"\nsources = [\"src/a\", \"src/d\"]\n";
    std::fs::write(sandbox.path("snap.toml"), config).unwrap();
    let run = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.args(["--config", "snap.toml"]).args(args);
        finish(command, b"")
    };
    assert_eq!(run(&["cat", "latest", "src/d/b", "--set", "mine"]).expect(0).text(), "two");
    assert_eq!(
        run(&["ls", "-R", "latest", "--set", "mine"]).expect(0).text(),
        "src\nsrc/a\nsrc/d\nsrc/d/b\n"
    );
    assert!(run(&["snapshots", "--set", "mine"]).expect(0).text().contains("1 snapshot"));
    assert!(run(&["history", "src/a", "--set", "mine"]).expect(0).text().contains("in 1 snapshot"));
    assert!(run(&["ls", "latest", "--set", "min"]).expect(2).stderr.contains("mine"));
    run(&["ls", "latest", "--set", "mine", "--host", "x"]).expect(2);
}

#[test]
fn paths_in_snapshots_may_begin_with_a_dot_as_those_of_rsync() {
    let sandbox = Sandbox::with_tree(&[("a", "one"), ("d/b", "two")]);
    sandbox.backup(&[]);
    for selector in ["latest:./src/a", "latest:/./src//./a/"] {
        assert_eq!(sandbox.ok(&["cat", selector]).text(), "one", "{selector}");
    }
    assert_eq!(sandbox.ok(&["cat", "latest", "./src/d/b"]).text(), "two");
    assert_eq!(sandbox.ok(&["ls", "latest:./"]).text(), "src\n");
    sandbox.ok(&["restore", "latest:./src/d", "--target", "out/d"]);
    assert!(sandbox.path("out/d/b").is_file());
}
