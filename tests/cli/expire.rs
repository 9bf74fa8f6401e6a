//! Path rules in `cleanup` and `rewrite`.

use std::fs;

use serde_json::Value;

use crate::support::Sandbox;
use crate::support::dates::{days, redate};

/// Snapshots of 400, 40 and 10 days ago and of now. `old.iso` was last present 400 days ago.
fn aged() -> Sandbox {
    let sandbox = Sandbox::open();
    sandbox.write(&[("Downloads/a", "1"), ("Downloads/b", "22"), ("old.iso", "333"), ("keep", "4")]);
    for age in [400, 40, 10, 0] {
        let id = sandbox.backup(&["--allow-empty"]);
        redate(&sandbox.path("repo"), None, &id, days(-age));
        let _ = fs::remove_file(sandbox.src().join("old.iso"));
    }
    sandbox
}

const BOTH: [&str; 4] = ["--expire", "**/Downloads/**=30d", "--keep-deleted", "30d"];

fn paths(sandbox: &Sandbox, selector: &str) -> Vec<String> {
    let listed = sandbox.ok(&["ls", selector, "--recursive"]).text();
    listed.lines().filter_map(|line| line.strip_prefix("src/")).map(str::to_owned).collect()
}

fn line(text: &str, kind: &str) -> Value {
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["message_type"] == kind).unwrap_or_else(|| panic!("no {kind} in {text}"))
}

fn configured(sandbox: &Sandbox, keys: &str) -> String {
    let config = sandbox.path("snap.toml");
    let (repo, src) = (sandbox.path("repo"), sandbox.src());
    let text =
        format!("[sets.a]\nrepository = \"{}\"\nsources = [\"{}\"]\n{keys}\n", repo.display(), src.display());
    fs::write(&config, text).unwrap();
    config.to_str().unwrap().to_owned()
}

#[test]
fn rewrite_by_rules_reports_what_it_removes_and_runs_once() {
    let sandbox = aged();
    let args = [&["rewrite"], &BOTH[..]].concat();
    let names = sandbox.snapshot_names();
    let dry = sandbox.ok(&[&args[..], &["-n"]].concat()).text();
    for told in [
        "/src/Downloads: 2 paths in it, 2 files (3 B) from 2 snapshots: **/Downloads/** after 30d",
        "/src/old.iso: 1 file (3 B) from 1 snapshot: deleted more than 30d ago",
        "2 snapshots would be rewritten; nothing written",
    ] {
        assert!(dry.contains(told), "{told}: {dry}");
    }
    let planned = sandbox.ok(&[&args[..], &["-n", "--json"]].concat()).summary();
    assert_eq!(sandbox.snapshot_names(), names, "nothing is written");
    let done = sandbox.ok(&[&args[..], &["--json"]].concat()).summary();
    assert_eq!(planned["taken"], done["taken"]);
    let taken = &done["taken"][0];
    assert_eq!((&taken["reason"], &taken["after"]), (&"expire".into(), &"30d".into()));
    assert_eq!((&taken["files"], &taken["snapshots"]), (&2.into(), &2.into()));
    assert_eq!(done["rewritten"].as_array().unwrap().len(), 2);
    assert!(planned["rewritten"][0].get("new").is_none() && done["rewritten"][0]["new"].is_string());
    assert!(!planned.to_string().contains("null") && !done.to_string().contains("null"));
    assert_eq!(paths(&sandbox, "latest~3"), ["Downloads", "keep"]);
    assert_eq!(paths(&sandbox, "latest~1"), ["Downloads", "Downloads/a", "Downloads/b", "keep"]);
    let again = sandbox.ok(&args).text();
    assert!(again.contains("nothing to do in 2 snapshots that are old enough"), "{again}");
    let young = sandbox.ok(&["rewrite", "--expire", "x=5y"]).text();
    assert!(young.contains("no snapshot that they apply to is old enough"), "{young}");
    // All of them arrived just now.
    let young = sandbox.ok(&["rewrite", "--expire", "keep=30d", "--min-age", "14d", "-n"]).text();
    assert!(young.contains("no snapshot that they apply to is old enough"), "{young}");
    sandbox.snap(&["rewrite", "latest", "--exclude", "keep", "--min-age", "14d"]).expect(2);
    sandbox.assert_clean();
    sandbox.ok(&["undelete", done["rewritten"][0]["old"].as_str().unwrap()]);
    assert_eq!(sandbox.snapshot_names().len(), 5);
}

#[test]
fn cleanup_applies_the_path_rules_of_a_set() {
    let sandbox = aged();
    sandbox.ok(&["pin", "latest~2"]);
    let keys = "expire = [{ path = [\"Downloads\", \"*.tmp\"], after = \"30d\" }]\nkeep-deleted = \"30d\"";
    let config = configured(&sandbox, keys);
    let cleanup =
        |more: &[&str]| sandbox.ok(&[&["cleanup", "--config", config.as_str()], more].concat()).text();
    let dry = cleanup(&["-n"]);
    assert!(dry.contains("was not changed: it is pinned"), "{dry}");
    assert!(dry.contains("/src/old.iso: 1 file (3 B) from 1 snapshot: deleted more than 30d ago"), "{dry}");
    let told = line(&cleanup(&["--json"]), "expired");
    assert_eq!(
        (told["held"][0]["reason"].as_str(), told["rewritten"].as_array().unwrap().len()),
        (Some("pinned"), 1)
    );
    assert_eq!(paths(&sandbox, "latest~3"), ["keep"]);
    assert_eq!(paths(&sandbox, "latest~2").len(), 4, "the pinned one keeps all");
    assert!(cleanup(&[]).contains("nothing to do"));
    let shown = sandbox.ok(&["config", "show", "--config", &config]).text();
    assert!(
        shown.contains("sets.a.expire = [{ path = [\"Downloads\", \"*.tmp\"], after = \"30d\" }]"),
        "{shown}"
    );
    sandbox.assert_clean();
}

#[test]
fn path_rules_combine_with_rules_and_keep_below() {
    let sandbox = aged();
    let args = [&["cleanup", "--keep-last", "2", "--keep-below", "100G", "--json"], &BOTH[..]].concat();
    let dry = sandbox.ok(&[&args[..], &["-n"]].concat()).text();
    assert_eq!(
        line(&dry, "expired")["rewritten"].as_array().unwrap().len(),
        0,
        "what rules let go needs no rewrite"
    );
    let done = sandbox.ok(&args).text();
    assert_eq!(line(&done, "expired")["unchanged"], 0);
    assert_eq!(line(&done, "room")["fits"], true);
    assert_eq!(sandbox.snapshot_names().len(), 2);

    // `--keep-below` takes rewritten snapshots into account.
    let sandbox = aged();
    let args = [&["cleanup", "--keep-below", "1K", "--json"], &BOTH[..]].concat();
    let done = sandbox.snap(&args).expect(3).text();
    assert_eq!(line(&done, "expired")["rewritten"].as_array().unwrap().len(), 2);
    assert_eq!(sandbox.snapshot_names().len(), 4);
    sandbox.assert_clean();
}

#[test]
fn invalid_path_rule_is_refused_and_no_rule_changes_nothing() {
    let sandbox = aged();
    for wrong in [
        &["rewrite", "--expire", "30d"][..],
        &["rewrite", "--expire", "*.iso=soon"],
        &["rewrite", "--expire", "=30d"],
        &["rewrite", "--expire", "!x=30d"],
        &["rewrite", "--expire", "[x=30d"],
        &["rewrite", "--keep-deleted", "1 year"],
        &["rewrite", "--expire", "x=30d", "--exclude", "y"],
        &["rewrite", "--keep-deleted", "1y", "--force"],
        &["forget", "--expire", "x=30d"],
    ] {
        sandbox.snap(wrong).expect(2);
    }
    for (keys, told) in [
        ("expire = [{ path = \"x\" }]", "`expire` needs a `path` and an `after`"),
        ("expire = [{ after = \"30d\" }]", "`expire` needs a `path` and an `after`"),
        ("expire = [\"x\"]", "must be a table"),
        ("expire = [{ path = \"[x\", after = \"30d\" }]", "bad pattern '[x'"),
        ("expire = [{ path = \"x\", after = \"30d\", keep = 1 }]", "unknown key `keep`"),
        ("keep-deleted = \"soon\"", "keep-deleted"),
    ] {
        let config = configured(&sandbox, keys);
        let outcome = sandbox.snap(&["config", "check", "--config", &config]);
        assert!(outcome.code == 2 && outcome.all().contains(told), "{keys}: {}", outcome.all());
    }
    let config = configured(&sandbox, "");
    sandbox.snap(&["cleanup", "--config", &config]).expect(22);
    assert_eq!(paths(&sandbox, "latest~3").len(), 5);
    let config = configured(&sandbox, "keep = { last = 9 }");
    let plain = sandbox.ok(&["cleanup", "--config", &config, "--json"]).text();
    assert!(!plain.contains("expired"), "{plain}");
}
