//! Size limits: `cleanup --keep-below` and the quota of a repository.

use std::collections::BTreeSet;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{Random, Sandbox};

/// Twelve snapshots, each with 200 KiB that no other one has.
fn filled() -> Sandbox {
    let sandbox = Sandbox::open();
    for run in 0..12 {
        fs::write(sandbox.src().join("file"), Random::new(run + 1).bytes(200 << 10)).unwrap();
        sandbox.ok(&["backup", "src"]);
    }
    sandbox
}

#[test]
fn keep_below_says_when_the_space_is_freed() {
    for (option, expected) in [
        (None, "; the space is freed when they are purged, after a day or with --empty-trash"),
        (Some("--empty-trash"), "; --empty-trash purges them now"),
    ] {
        let sandbox = filled();
        let args = ["cleanup", "--keep-below", "900K", "--keep-last", "11"];
        let text = sandbox.ok(&args.into_iter().chain(option).collect::<Vec<_>>()).text();
        assert!(text.lines().any(|line| line.ends_with(&format!("are kept{expected}"))), "{text}");
    }
}

/// Returns the JSON line about the size limit.
fn room(text: &str) -> Value {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.into_iter().find(|line| line["message_type"] == "room").unwrap()
}

fn bytes(sandbox: &Sandbox) -> u64 {
    sandbox.objects("packs").iter().map(|pack| fs::metadata(pack).unwrap().len()).sum()
}

#[test]
fn keep_below_removes_only_what_is_needed_and_allowed() {
    let sandbox = filled();
    let line = 900 << 10;
    sandbox.ok(&["pin", "latest~5"]);
    sandbox.ok(&["tag", "--add", "release", "latest~7"]);
    let before = sandbox.snapshot_names();
    let args = ["cleanup", "--keep-below", "900K", "--keep-tag", "release", "--keep-last", "11", "--json"];
    let planned = room(&sandbox.ok(&[&args[..], &["-n"]].concat()).text());
    assert_eq!(sandbox.snapshot_names(), before, "nothing is written");
    let done = room(&sandbox.ok(&[&args[..], &["--empty-trash"]].concat()).text());
    // Not in order: the snapshots are seconds apart, so the order of two may differ when each is older.
    let forgotten =
        |told: &Value| -> BTreeSet<String> { serde_json::from_value(told["forgotten"].clone()).unwrap() };
    assert_eq!(forgotten(&planned), forgotten(&done));
    let stay: BTreeSet<String> = serde_json::from_value(planned["stay"].clone()).unwrap();
    assert_eq!(stay, sandbox.snapshot_names(), "what the plan keeps, stays");
    let after = |told: &Value| told["bytes_after"].as_u64().unwrap();
    assert!(after(&planned).abs_diff(after(&done)) < 1 << 10, "{planned} {done}");
    assert!(done["fits"] == true && after(&done) <= line, "{done}");
    let gone = done["forgotten"].as_array().unwrap().len();
    assert_eq!(sandbox.snapshot_names().len(), 11 - gone, "one by the rule, the rest for room");
    let listed = sandbox.ok(&["snapshots", "--json"]).json();
    let left = listed.as_array().unwrap();
    assert!(
        left.iter().any(|one| one["pinned"] == true) && left.iter().any(|one| one["tags"][0] == "release")
    );
    // Condemned packs are deleted by the gc runs that follow.
    (0..2).for_each(|_| drop(sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0%"])));
    assert!(bytes(&sandbox) <= line, "{} bytes", bytes(&sandbox));
    assert_eq!(room(&sandbox.ok(&args).text())["forgotten"].as_array().unwrap().len(), 0);
    sandbox.assert_clean();
}

#[test]
fn min_age_protects_from_rules_and_keep_below() {
    let sandbox = filled();
    let told = sandbox.snap(&["cleanup", "--keep-below", "900K", "--min-age", "14d"]).expect(3);
    assert!(told.stderr.contains("cannot fall below"), "{}", told.all());
    let kept = sandbox.ok(&["forget", "--keep-last", "1", "--min-age", "1h"]).text();
    assert!(kept.contains("younger than 1h"), "{kept}");
    let (repo, src) = (sandbox.path("repo"), sandbox.src());
    let config = sandbox.path("snap.toml");
    let set = |min_age: &str| {
        let text = format!(
            "[sets.a]\nrepository = \"{}\"\nsources = [\"{}\"]\nkeep.last = 2\n{min_age}\n",
            repo.display(),
            src.display()
        );
        fs::write(&config, text).unwrap();
        sandbox.snap(&["cleanup", "--config", config.to_str().unwrap()])
    };
    set("min-age = \"14d\"").expect(0);
    assert_eq!(sandbox.snapshot_names().len(), 12);
    // Forgetting by name is no rule.
    sandbox.ok(&["forget", "latest~3"]);
    set("").expect(0);
    assert_eq!(sandbox.snapshot_names().len(), 2);
    set("min-age = \"soon\"").expect(2);
}

#[test]
fn unreachable_limit_is_reported_and_removes_nothing() {
    let sandbox = filled();
    let told = sandbox.snap(&["cleanup", "--keep-below", "1K"]).expect(3);
    assert!(told.stderr.contains("cannot fall below"), "{}", told.all());
    assert_eq!(sandbox.snapshot_names().len(), 12, "what would not do is not done");
    sandbox.snap(&["cleanup", "--keep-below", "120%"]).expect(2);
    sandbox.snap(&["cleanup"]).expect(22);
}

/// Forty days: each day one more file, and one of the first ten is rewritten.
#[test]
fn growing_sets_keep_evenly_spread_snapshots() {
    let sandbox = Sandbox::open();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for day in 0..40_u64 {
        let state = sandbox.path("states").join((now - (39 - day) * 86_400).to_string());
        fs::create_dir_all(&state).unwrap();
        for file in 0..10 + day {
            let changed = if file < 10 { (day + 10 - file) / 10 } else { 0 };
            fs::write(state.join(file.to_string()), Random::new(1 + file * 100 + changed).bytes(8 << 10))
                .unwrap();
        }
    }
    sandbox.ok(&["import", "trees", "states", "--children", "--as", "/x", "--time-pattern", "%s"]);
    let oldest_first = |listed: &Value| -> Vec<jiff::Timestamp> {
        let times =
            listed.as_array().unwrap().iter().map(|one| one["time"].as_str().unwrap().parse().unwrap());
        let mut times: Vec<_> = times.collect();
        times.sort();
        times
    };
    assert_eq!(oldest_first(&sandbox.ok(&["snapshots", "--json"]).json()).len(), 40);
    let told = room(&sandbox.ok(&["cleanup", "--keep-below", "580K", "--json"]).text());
    assert!(told["fits"] == true && told["bytes_after"].as_u64().unwrap() <= 580 << 10, "{told}");
    let left = oldest_first(&sandbox.ok(&["snapshots", "--json"]).json());
    let age = |time: &jiff::Timestamp| (now as i64 - time.as_second()) as f64 / 86_400.0 + 1.0;
    let widest = left.windows(2).map(|pair| age(&pair[0]) / age(&pair[1])).fold(1.0, f64::max);
    // Chunk boundaries differ between repositories, and so does the number of snapshots that fit.
    assert!(left.len() >= 4 && widest <= 2.01, "{widest}: {left:?}");
}

#[test]
fn keep_below_of_a_set_takes_sizes_and_disk_percentages() {
    let sandbox = filled();
    let config = sandbox.path("snap.toml");
    let set = |line: &str| {
        let (repo, src) = (sandbox.path("repo"), sandbox.src());
        let text = format!(
            "[sets.a]\nrepository = \"{}\"\nsources = [\"{}\"]\nkeep-below = \"{line}\"\n",
            repo.display(),
            src.display()
        );
        fs::write(&config, text).unwrap();
        sandbox.snap(&["cleanup", "--config", config.to_str().unwrap(), "--json"])
    };
    assert_eq!(room(&set("100%").expect(0).text())["forgotten"].as_array().unwrap().len(), 0);
    assert_eq!(sandbox.snapshot_names().len(), 12);
    assert!(!room(&set("600K").expect(0).text())["forgotten"].as_array().unwrap().is_empty());
    set("much").expect(2);
}

#[test]
fn backup_at_the_quota_exits_21_with_a_partial_snapshot() {
    let sandbox = Sandbox::open();
    for file in 0..14 {
        fs::write(sandbox.src().join(format!("f{file:02}")), Random::new(file + 1).bytes(8 << 20)).unwrap();
    }
    assert!(sandbox.ok(&["config", "set", "quota", "40M"]).text().contains("21"));
    let met = sandbox.snap(&["backup", "src"]).expect(21);
    assert!(met.stderr.contains("quota of 41943040 bytes"), "{}", met.all());
    let listed = sandbox.ok(&["snapshots", "--json"]).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["partial"]), (1, &true.into()));
    assert!(bytes(&sandbox) < 112 << 20, "it ended early");
    sandbox.snap(&["backup", "src"]).expect(21);
    assert_eq!(sandbox.snapshot_names().len(), 1, "there is nothing to begin with");
    sandbox.snap(&["config", "set", "quota", "much"]).expect(2);
    sandbox.ok(&["config", "set", "quota", "none"]);
    sandbox.ok(&["backup", "src"]);
    sandbox.assert_clean();
}
