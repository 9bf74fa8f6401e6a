//! What is kept and what is forgotten.

use serde_json::Value;

use super::snapshots;
use crate::support::{Outcome, PASSWORD, Random, Sandbox};
use snap_backup::model::entry::Time;

use crate::support::dates::{days, expire, redate};

/// One snapshot for each age in days, oldest first, each with different content.
fn line(sandbox: &Sandbox, ages: &[i64], args: &[&str]) -> Vec<String> {
    let made = ages.iter().map(|age| {
        sandbox.write(&[("a", &format!("{age} {args:?}"))]);
        let id = sandbox.backup(args);
        redate(&sandbox.path("repo"), Some(PASSWORD), &id, days(-age))
    });
    made.collect()
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    snapshots(sandbox).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Returns the line about a snapshot.
fn said(outcome: &Outcome, id: &str) -> String {
    let text = outcome.text();
    let mut lines = text.lines().filter(|line| line.contains(&id[..8]) && !line.contains("replaced by"));
    let found =
        lines.next().or_else(|| text.lines().find(|line| line.contains(&format!("  {}  ", &id[..8]))));
    found.unwrap_or_else(|| panic!("nothing on {id} in {text}")).trim().to_owned()
}

/// Returns what the garbage collection of a cleanup deletes, or would delete, and the purged snapshots.
fn deleted(sandbox: &Sandbox, args: &[&str]) -> [u64; 3] {
    let summary = sandbox.ok(&[&["cleanup", "--keep-last", "1", "--json"], args].concat()).summary();
    ["packs_deleted", "bytes_deleted", "snapshots_purged"].map(|key| summary[key].as_u64().unwrap())
}

#[test]
fn cleanup_dry_run_counts_what_its_rules_would_forget() {
    let sandbox = Sandbox::new();
    for seed in 0..2 {
        std::fs::write(sandbox.src().join("data"), Random::new(seed).bytes(100_000)).unwrap();
        sandbox.backup(&["--allow-empty"]);
    }
    assert_eq!(deleted(&sandbox, &["-n"]), [0, 0, 0], "they stay in the trash for a day");
    let foreseen = deleted(&sandbox, &["-n", "--empty-trash"]);
    assert!(foreseen[1] > 100_000 && foreseen[2] == 1, "{foreseen:?}");
    assert_eq!(deleted(&sandbox, &["--empty-trash"]), foreseen);
}

#[test]
fn a_dry_run_says_why_each_stays_or_goes_and_writes_nothing() {
    let sandbox = Sandbox::new();
    let made = line(&sandbox, &[40, 30, 20, 10], &[]);
    let before = sandbox.listing();
    let outcome = sandbox.ok(&["forget", "--keep-within", "15d", "--keep-full", "1", "-n"]);
    assert_eq!(sandbox.listing(), before);
    let text = outcome.text();
    assert!(text.contains("host ") && text.contains(sandbox.src().to_str().unwrap()), "{text}");
    assert!(
        text.contains("keep 3 of 4") && text.contains("dry run: 1 snapshot would be forgotten"),
        "{text}"
    );
    for (id, starts, ends) in [
        (&made[0], "keep", "  full snapshot"),
        (&made[2], "keep", "within 15d"),
        (&made[3], "keep", "within 15d; newest of its host and sources"),
    ] {
        let said = said(&outcome, id);
        assert!(said.starts_with(starts) && said.ends_with(ends), "{said}");
    }
    let gone = text.lines().find(|line| line.trim().starts_with("forget")).unwrap();
    let why = format!("no rule keeps it; replaced by {} at ", &made[2][..8]);
    assert!(gone.contains(&made[1][..8]) && gone.contains(&why), "{gone}");
}

#[test]
fn unkept_snapshots_are_forgotten_and_can_be_undeleted() {
    let sandbox = Sandbox::new();
    let made = line(&sandbox, &[3, 2, 1], &[]);
    let outcome = sandbox.ok(&["forget", "--keep-last", "1"]);
    assert!(outcome.text().contains("2 snapshots forgotten"), "{}", outcome.all());
    assert_eq!(ids(&sandbox), made[2..]);
    sandbox.ok(&["undelete", &made[0][..8]]);
    assert_eq!(ids(&sandbox), [made[0].clone(), made[2].clone()]);
    let again = sandbox.ok(&["forget", "--keep-last", "unlimited"]);
    assert!(again.text().contains("nothing to forget"), "{}", again.all());
}

#[test]
fn forget_json_has_the_shape_of_restics() {
    let sandbox = Sandbox::new();
    let made = line(&sandbox, &[3, 2, 1], &["--tag", "x"]);
    let groups = sandbox.ok(&["forget", "--json", "--keep-last", "1", "--group-by", "host,tags"]).json();
    let group = &groups.as_array().unwrap()[0];
    assert_eq!(group["tags"], serde_json::json!(["x"]));
    assert_eq!((&group["paths"], group["host"].is_string()), (&Value::Null, true));
    let of = |what: &str| -> Vec<String> {
        let all = group[what].as_array().unwrap().iter();
        all.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((of("keep"), of("remove")), (made[2..].to_vec(), made[..2].to_vec()));
    let matches = &group["reasons"][0]["matches"];
    assert_eq!(matches, &serde_json::json!(["last snapshot", "newest of its host and sources"]));
    assert_eq!(group["replaced"][0]["by"], made[1].as_str());
}

#[test]
fn missing_rules_exit_22_and_nothing_is_forgotten() {
    let sandbox = Sandbox::new();
    line(&sandbox, &[3, 2], &[]);
    let before = sandbox.listing();
    for args in [&["forget"][..], &["forget", "--keep-last", "0"], &["forget", "--tag", "x", "--prune"]] {
        let outcome = sandbox.snap(args).expect(22);
        assert!(outcome.stderr.contains("no rule says what to keep"), "{}", outcome.all());
        assert_eq!(sandbox.listing(), before, "{args:?}");
    }
}

#[test]
fn names_and_rules_do_not_go_together() {
    let sandbox = Sandbox::new();
    for args in [
        &["forget", "latest", "--keep-last", "1"][..],
        &["forget", "latest", "--host", "x"],
        &["forget", "--keep-last", "1", "--allow-remove-all"],
        &["forget", "--keep-within", "7"],
        &["forget", "--keep-last", "-2"],
        &["forget", "--keep-last", "1", "--group-by", "hosts,kind"],
    ] {
        sandbox.snap(args).expect(2);
    }
}

#[test]
fn newest_of_a_set_is_forgotten_only_by_name_if_allowed() {
    let sandbox = Sandbox::new();
    let made = line(&sandbox, &[9], &[]);
    sandbox.ok(&["forget", "--keep-within", "1d"]);
    sandbox.ok(&["forget", "--keep-tag", "none"]);
    sandbox.snap(&["forget", &made[0]]).expect(22);
    assert_eq!(ids(&sandbox), made);
    sandbox.ok(&["forget", &made[0], "--allow-remove-all"]);
    assert_eq!(ids(&sandbox), Vec::<String>::new());
}

/// Neither forgetting by name nor by rules treats a snapshot from the future as the newest.
#[test]
fn a_snapshot_from_the_future_is_not_the_newest() {
    let sandbox = Sandbox::new();
    let made = line(&sandbox, &[5, 1, -400], &[]);
    let outcome = sandbox.ok(&["forget", "--keep-last", "1"]);
    assert!(
        said(&outcome, &made[2]).ends_with("dated in the future: no rule counts it"),
        "{}",
        outcome.all()
    );
    // It is listed first: `latest` and `~1` count from the end.
    assert_eq!(ids(&sandbox), [made[2].clone(), made[1].clone()]);
    sandbox.snap(&["forget", &made[1]]).expect(22);
    sandbox.ok(&["forget", &made[2]]);
    assert_eq!(ids(&sandbox), [made[1].clone()]);
}

#[test]
fn filters_narrow_what_may_go() {
    let sandbox = Sandbox::new();
    let tagged = line(&sandbox, &[6, 5], &["--tag", "x"]);
    let others = line(&sandbox, &[4, 3], &["--host", "other"]);
    sandbox.ok(&["forget", "--keep-last", "1", "--host", "other"]);
    assert_eq!(ids(&sandbox), [tagged.clone(), others[1..].to_vec()].concat());
    sandbox.ok(&["forget", "--keep-last", "1", "--tag", "y"]);
    sandbox.ok(&["forget", "--keep-last", "1", "--path", "elsewhere"]);
    assert_eq!(ids(&sandbox).len(), 3);
    sandbox.ok(&["forget", "--keep-last", "1", "--path", "src/", "--tag", "x"]);
    assert_eq!(ids(&sandbox), [tagged[1..].to_vec(), others[1..].to_vec()].concat());
}

#[test]
fn cleanup_forgets_and_frees_space() {
    let sandbox = Sandbox::new();
    let made = line(&sandbox, &[3, 2, 1], &[]);
    let packs = sandbox.objects("packs").len();
    let before = sandbox.listing();
    let dry = sandbox.ok(&["cleanup", "--keep-last", "1", "--dry-run"]);
    assert!(
        dry.text().contains(
            "of packs are used only by these snapshots and freed when they are purged, after a day"
        ),
        "{}",
        dry.all()
    );
    let dry = sandbox.ok(&["cleanup", "--keep-last", "1", "--empty-trash", "--dry-run"]);
    assert!(
        dry.text().contains("used only by these snapshots, which --empty-trash purges now"),
        "{}",
        dry.all()
    );
    assert_eq!(sandbox.listing(), before);
    let outcome = sandbox.ok(&["cleanup", "--keep-last", "1", "--empty-trash", "--max-unused", "0"]);
    assert!(
        outcome.text().contains("2 snapshots forgotten, 1 kept: --empty-trash purges them now\n"),
        "{}",
        outcome.all()
    );
    assert!(outcome.text().contains("2 snapshots purged for good"), "{}", outcome.all());
    assert!(sandbox.objects("packs").len() < packs);
    assert_eq!(ids(&sandbox), made[2..]);
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn cleanup_without_a_rule_shows_the_plan_and_is_22() {
    let sandbox = Sandbox::new();
    let made = line(&sandbox, &[3, 2, 1], &[]);
    sandbox.ok(&["forget", &made[0]]);
    let before = sandbox.listing();
    let outcome = sandbox.snap(&["cleanup", "--empty-trash", "--max-unused", "0"]).expect(22);
    assert_eq!(sandbox.listing(), before);
    let text = outcome.text();
    assert!(made[1..].iter().all(|id| text.contains(&id[..8])), "{text}");
    assert!(text.contains("dry run: would free"), "{text}");
    assert!(text.contains("no rule was given; replaced by") && !text.contains("keeps it"), "{text}");
    assert!(outcome.stderr.contains("no rule says what to keep"), "{}", outcome.stderr);

    let outcome = sandbox.snap(&["cleanup", "--json"]).expect(22);
    let groups: Value = serde_json::from_str(outcome.text().lines().next().unwrap()).unwrap();
    assert_eq!(groups[0]["keep"].as_array().unwrap().len(), 2, "{groups}");
    assert_eq!(groups[0]["remove"].as_array().unwrap().len(), 0, "{groups}");
}

#[test]
fn forget_and_prune_in_one() {
    let sandbox = Sandbox::new();
    line(&sandbox, &[3, 2, 1], &[]);
    let outcome = sandbox.ok(&["forget", "--keep-daily", "2", "--prune"]);
    assert!(outcome.text().contains("1 snapshot in the trash"), "{}", outcome.all());
}

#[test]
fn a_pinned_snapshot_outlives_every_rule() {
    let sandbox = Sandbox::with_tree(&[("f", "1")]);
    sandbox.backup(&[]);
    sandbox.write(&[("f", "22")]);
    sandbox.backup(&[]);
    let text = sandbox.ok(&["pin", "latest~1"]).text();
    assert!(text.contains("is now"), "{text}");
    let dry = sandbox.ok(&["forget", "--keep-last", "1", "-n"]).text();
    assert!(dry.contains("pinned"), "{dry}");
    sandbox.ok(&["cleanup", "--keep-last", "1"]);
    assert_eq!(sandbox.snapshot_names().len(), 2);
    assert!(sandbox.ok(&["snapshots"]).text().contains("full (pinned)"));
    sandbox.snap(&["forget", "latest~1"]).expect(22);
    sandbox.snap(&["rewrite", "latest~1", "--exclude", "f"]).expect(22);
    sandbox.ok(&["unpin", "latest~1"]);
    sandbox.ok(&["forget", "--keep-last", "1"]);
    assert_eq!(sandbox.snapshot_names().len(), 1);
    sandbox.snap(&["pin"]).expect(2);
    sandbox.snap(&["forget", "--keep-last", "1", "--force"]).expect(2);
}

#[test]
fn expired_snapshots_go_and_the_newest_stays() {
    let sandbox = Sandbox::with_tree(&[("f", "1")]);
    for text in ["1", "22", "333"] {
        sandbox.write(&[("f", text)]);
        let id = sandbox.backup(&["--expires", "30d", "--description", text]);
        if text != "22" {
            let at = Time { sec: 946_684_800, nanos: 0 };
            expire(&sandbox.path("repo"), Some(PASSWORD), &id, at);
        }
    }
    let list = super::snapshots(&sandbox);
    assert_eq!(list[2]["expires"], "2000-01-01T00:00:00Z");
    assert_eq!((&list[2]["description"], &list[2]["pinned"]), (&"333".into(), &false.into()));
    let dry = sandbox.ok(&["forget", "--expired", "-n"]).text();
    assert!(dry.contains("expired at") && dry.contains("not expired"), "{dry}");
    assert!(dry.contains("of packs are used only by these snapshots"), "{dry}");
    sandbox.ok(&["forget", "--expired"]);
    let left: Vec<_> = super::snapshots(&sandbox).iter().map(|one| one["description"].clone()).collect();
    assert_eq!(left, ["22", "333"]);
    let table = sandbox.ok(&["snapshots"]).text();
    assert!(table.contains("Description") && table.contains("expires 2000-01-01"), "{table}");
    sandbox.ok(&["rewrite", "--expires", "never", "latest"]);
    assert_eq!(super::snapshots(&sandbox)[1]["expires"], serde_json::Value::Null);
    sandbox.snap(&["forget"]).expect(22);
    sandbox.snap(&["backup", "--expires", "soon", "src"]).expect(2);
}

#[test]
fn tags_and_hosts_are_changed_by_rewriting() {
    let sandbox = Sandbox::with_tree(&[("f", "1"), ("g", "1")]);
    let old = sandbox.backup(&["--tag", "a,b"]);
    sandbox.ok(&["tag", "--add", "c", "--remove", "a", "latest"]);
    let now = super::snapshots(&sandbox);
    assert_eq!(now[0]["tags"], serde_json::json!(["b", "c"]));
    assert_eq!(now[0]["original"], old.as_str());
    sandbox.ok(&["tag", "--set", "", "--tag", "c"]);
    assert_eq!(super::snapshots(&sandbox)[0]["tags"], serde_json::json!([]));
    assert!(sandbox.ok(&["tag", "--set", ""]).text().contains("nothing to change in 1 snapshot"));
    let dry = sandbox.ok(&["rewrite", "-n", "--exclude", "g", "--new-host", "h"]).text();
    assert!(dry.contains("would be rewritten, without 1 file") && dry.contains("nothing written"), "{dry}");
    let done = sandbox.ok(&["rewrite", "--exclude", "g", "--new-host", "h", "--json"]).summary();
    assert_eq!(done["rewritten"][0]["files_dropped"], 1);
    assert_eq!(super::snapshots(&sandbox)[0]["hostname"], "h");
    assert_eq!(sandbox.ok(&["ls", "-R", "latest"]).text(), "src\nsrc/f\n");
    assert!(sandbox.ok(&["undelete"]).text().contains(&old[..8]));
    sandbox.assert_clean();
    sandbox.snap(&["rewrite", "latest"]).expect(2);
    sandbox.snap(&["tag", "latest"]).expect(2);
    sandbox.snap(&["rewrite", "latest", "--host", "h", "--exclude", "x"]).expect(2);
}

#[test]
fn cleanup_of_a_future_repository_has_nothing_to_do() {
    let sandbox = Sandbox::bare();
    let rules = ["cleanup", "--keep-last", "3"];
    assert!(sandbox.ok(&rules).text().starts_with("nothing to clean up: there is no repository at "));
    let line = sandbox.ok(&[&rules[..], &["--json"]].concat()).json();
    assert_eq!(line["message_type"], "nothing_to_do");
    // A snapshot that was forgotten before is a different case.
    sandbox.write(&[("a", "a")]);
    sandbox.ok(&["backup", "--init", "src"]);
    std::fs::remove_dir_all(sandbox.path("repo")).unwrap();
    let gone = sandbox.snap(&rules).expect(10);
    assert!(gone.stderr.contains("there is no repository at"), "{}", gone.stderr);
}
