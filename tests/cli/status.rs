//! `snap status`, on which monitors rely: it must neither hide a problem nor invent one.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::Value;
use snap_backup::model::entry::Time;
use snap_backup::run_log::{Ending, RunLog, RunRecord};

use crate::support::dates::{days, redate};
use crate::support::{Outcome, PASSWORD, Sandbox, finish};

pub(crate) fn run_log(sandbox: &Sandbox) -> RunLog {
    RunLog::new(sandbox.state())
}

/// Makes everything in this machine's records so many hours older. Its snapshot may have got another name by
/// that.
pub(crate) fn age_records(sandbox: &Sandbox, hours: i64, snapshot: Option<&String>) {
    let runs = run_log(sandbox).read().unwrap().runs;
    fs::remove_file(run_log(sandbox).file()).unwrap();
    for mut run in runs {
        run.start.sec -= hours * 3600;
        run.snapshot = snapshot.cloned().or(run.snapshot);
        run.end = run.end.map(|end| Time { sec: end.sec - hours * 3600, ..end });
        run_log(sandbox).append(&run).unwrap();
    }
}

fn status(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    let mut command = sandbox.bin();
    command.args(["status", "--json"]).args(args);
    finish(command, b"")
}

fn sets(answer: &Value) -> &Vec<Value> {
    answer["repositories"][0]["sets"].as_array().unwrap()
}

fn text(sandbox: &Sandbox) -> String {
    let mut command = sandbox.bin();
    command.arg("status");
    finish(command, b"").text()
}

#[test]
fn a_set_that_is_too_old_is_23_with_the_key_and_without() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    let made = sandbox.backup(&[]);
    status(&sandbox, &["--max-age", "1h"]).expect(0);
    let made = redate(&sandbox.path("repo"), Some(PASSWORD), &made, days(-2));
    age_records(&sandbox, 48, Some(&made));
    status(&sandbox, &[]).expect(0);
    status(&sandbox, &["--max-age", "3d"]).expect(0);
    let answer = status(&sandbox, &["--max-age", "47h"]).expect(23).json();
    let set = &sets(&answer)[0];
    assert!(set["overdue"] == true && set["failing"] == false && answer["overdue"] == true, "{answer}");
    assert!((172_700..=173_400).contains(&set["age"].as_u64().unwrap()), "{answer}");
    assert_eq!(set["good"][0]["snapshot_id"], made);
    sandbox.set_password(None);
    let blind = status(&sandbox, &["--max-age", "47h"]).expect(23).json();
    assert_eq!(
        (&sets(&blind)[0]["age"].is_u64(), &blind["repositories"][0]["manifests_read"]),
        (&true, &Value::Bool(false))
    );
    assert!(text(&sandbox).contains("no password"));

    // A run that finds no changes counts like one that saves something.
    sandbox.set_password(Some(PASSWORD));
    sandbox.ok(&["backup", "src"]);
    for password in [Some(PASSWORD), None] {
        sandbox.set_password(password);
        let answer = status(&sandbox, &["--max-age", "1h"]).expect(0).json();
        let good = &sets(&answer)[0]["good"];
        assert_eq!(
            (&good[0]["kind"], &good[0]["unchanged"]),
            (&"incremental".into(), &Value::Bool(true)),
            "{answer}"
        );
        assert_eq!(good[1]["kind"], "full", "{answer}");
    }
}

#[test]
fn only_existing_snapshots_count_as_good() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    let full = sandbox.backup(&[]);
    sandbox.write(&[("a", "22")]);
    let second = sandbox.backup(&[]);
    fs::remove_file(sandbox.path("repo/snapshots").join(&second)).unwrap();
    for password in [Some(PASSWORD), None] {
        sandbox.set_password(password);
        let answer = status(&sandbox, &[]).json();
        let good = sets(&answer)[0]["good"].as_array().unwrap();
        assert_eq!(good.iter().map(|one| &one["snapshot_id"]).collect::<Vec<_>>(), [&full], "{answer}");
    }
    // A name that a fence has is not a snapshot.
    sandbox.set_password(Some(PASSWORD));
    sandbox.ok(&["repair", "known"]);
    let third = sandbox.backup(&[]);
    let fence = fs::read(sandbox.path("repo/snapshots").join(&third)).unwrap();
    fs::write(
        sandbox.path("repo/snapshots").join(&third),
        [b"junk that is no header".as_slice(), &fence[..9]].concat(),
    )
    .unwrap();
    sandbox.set_password(None);
    assert_eq!(sets(&status(&sandbox, &[]).json())[0]["good"].as_array().unwrap().len(), 1);
}

#[test]
fn snapshot_from_the_future_does_not_count_as_good() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let made = sandbox.backup(&[]);
    fs::remove_dir_all(sandbox.state()).unwrap();
    redate(&sandbox.path("repo"), Some(PASSWORD), &made, days(400));
    let outcome = finish(sandbox.command(&["status", "--json", "--max-age", "1d"]), b"").expect(23);
    assert_eq!(sets(&outcome.json())[0]["good"].as_array().unwrap().len(), 0);
}

#[test]
fn mistyped_source_is_overdue_only_if_tried_again_later() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    assert_ne!(sandbox.snap(&["backup", "scr"]).code, 0);
    let answer = status(&sandbox, &["--max-age", "26h"]).expect(0).json();
    assert_eq!(sets(&answer).len(), 2, "{answer}");
    assert!(sets(&answer).iter().any(|set| set["failing"] == true), "{answer}");
    // A source that is tried again later is intended.
    age_records(&sandbox, 2, None);
    assert_ne!(sandbox.snap(&["backup", "scr"]).code, 0);
    status(&sandbox, &["--max-age", "26h"]).expect(23);
    // A source that was not tried for longer than a set's maximum age was given up.
    age_records(&sandbox, 30, None);
    sandbox.write(&[("a", "2")]);
    sandbox.backup(&[]);
    status(&sandbox, &["--max-age", "26h"]).expect(0);
}

#[test]
fn one_failure_is_overdue_if_nothing_was_ever_saved() {
    let sandbox = Sandbox::new();
    assert_ne!(sandbox.snap(&["backup", "scr"]).code, 0);
    status(&sandbox, &["--max-age", "26h"]).expect(23);
}

#[test]
fn a_refusal_and_an_interrupt_are_no_failures() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    sandbox.snap(&["forget", "latest"]).expect(22);
    for (ending, exit) in [(Ending::Interrupted, 130), (Ending::Failed, 22)] {
        let mut record =
            run_log(&sandbox).read().unwrap().runs.into_iter().find(|run| run.verb == "backup").unwrap();
        record.run.push('x');
        record.start.sec += 1;
        (record.ending, record.exit) = (Some(ending), Some(exit));
        run_log(&sandbox).append(&record).unwrap();
    }
    let answer = status(&sandbox, &[]).expect(0).json();
    assert!(sets(&answer)[0]["failing"] == false && sets(&answer)[0]["failure"].is_null(), "{answer}");
    let metrics = sandbox.path("metrics");
    sandbox.ok(&["status", "--prometheus", metrics.to_str().unwrap()]);
    let metrics = fs::read_to_string(metrics).unwrap();
    assert!(
        !metrics.contains("failing{")
            || !metrics.lines().any(|line| line.contains("failing{") && line.ends_with(" 1")),
        "{metrics}"
    );
}

#[test]
fn a_failure_shows_why_until_a_run_goes_well() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    sandbox.set_password(Some("wrong"));
    sandbox.snap(&["backup", "src"]).expect(12);
    let failing = status(&sandbox, &[]).expect(0);
    assert!(failing.stderr.contains("wrong password"), "{}", failing.stderr);
    let set = &sets(&failing.json())[0].clone();
    assert!(set["failing"] == true && set["failure"]["exit"] == 12, "{set}");
    assert!(text(&sandbox).contains("FAILED"));
    sandbox.set_password(Some(PASSWORD));
    sandbox.ok(&["backup", "src"]);
    assert_eq!(sets(&status(&sandbox, &[]).json())[0]["failing"], false);
    assert!(text(&sandbox).contains("succeeded since"));

    let mut lost =
        RunRecord::new("backup", fs::canonicalize(sandbox.path("repo")).unwrap().to_str().unwrap());
    lost.set_sources(&lost.host.clone(), &[sandbox.src().to_str().unwrap().as_bytes().to_vec()]);
    lost.process.ticks += 1;
    run_log(&sandbox).append(&lost).unwrap();
    let answer = status(&sandbox, &[]).json();
    assert_eq!(
        (&sets(&answer)[0]["failure"]["ending"], &sets(&answer)[0]["failing"]),
        (&"lost".into(), &true.into())
    );
    assert!(text(&sandbox).contains("it was killed"));
}

#[test]
fn damage_that_a_check_found_is_20_until_one_finds_none() {
    let sandbox = Sandbox::with_tree(&[("a", "some text to be found damaged")]);
    sandbox.backup(&[]);
    sandbox.ok(&["check", "--read-data"]);
    let pack = sandbox.objects("packs").into_iter().next().unwrap();
    let whole = fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    status(&sandbox, &["--max-age", "1s"]).expect(20);
    assert!(text(&sandbox).contains("check    FAILED"), "{}", text(&sandbox));
    fs::write(&pack, &whole).unwrap();
    fs::remove_dir_all(sandbox.path("repo/damage")).unwrap();
    sandbox.ok(&["check", "--read-data"]);
    status(&sandbox, &[]).expect(0);
}

#[test]
fn unavailable_repository_is_shown_from_the_records() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    fs::rename(sandbox.path("repo"), sandbox.path("unplugged")).unwrap();
    let away = status(&sandbox, &["--max-age", "1h"]).expect(0).json();
    let repository = &away["repositories"][0];
    assert!(repository["trouble"].as_str().unwrap().contains("no repository"), "{away}");
    assert!(repository["bytes"].is_null() && sets(&away)[0]["good"][0]["kind"] == "full", "{away}");
    age_records(&sandbox, 2, None);
    status(&sandbox, &["--max-age", "1h"]).expect(23);
    // There are no records of this one: it was a typo.
    status(&sandbox, &["-r", "never"]).expect(10);
    fs::remove_dir_all(sandbox.state()).unwrap();
    status(&sandbox, &[]).expect(2);
}

#[test]
fn status_shows_other_machines_on_request_and_writes_nothing() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.ok(&["backup", "--host", "far", "src"]);
    sandbox.ok(&["backup", "src"]);
    fs::remove_dir_all(sandbox.state()).unwrap();
    let before = sandbox.listing();
    let hosts = |args: &[&str]| {
        let answer = finish(sandbox.command(&[&["status", "--json"], args].concat()), b"").expect(0).json();
        sets(&answer).iter().map(|set| set["hostname"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(hosts(&[]).len() == 1 && hosts(&[])[0] != "far");
    assert_eq!(hosts(&["--host", "far"]).len(), 2);
    assert_eq!(hosts(&["--all-hosts"]).len(), 2);
    assert_eq!(sandbox.listing(), before);
    assert!(!run_log(&sandbox).file().exists());
}

#[test]
fn status_names_configured_sets_also_those_never_saved() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("other/b", "2")]);
    fs::write(
        sandbox.path("snap.toml"),
        "repository = \"main\"\n[repositories.main]\nlocation = \"repo\"\n\
         [sets.files]\nsources = [\"src\"]\nmax-age = \"26h\"\n\
         [sets.rest]\nsources = [\"src/other\"]\n",
    )
    .unwrap();
    let run = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.args(args);
        finish(command, b"")
    };
    // A set without a name is not shown if some sets are named.
    sandbox.ok(&["backup", "src/a"]);
    let answer = run(&["status", "--json"]).expect(23).json();
    let names = |answer: &Value| sets(answer).iter().map(|set| set["set"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&answer), ["files", "rest"], "{answer}");
    assert!(sets(&answer)[0]["overdue"] == true && sets(&answer)[1]["overdue"] == false, "{answer}");
    run(&["backup", "--set", "files"]).expect(0);
    run(&["status"]).expect(0);
    let answer = run(&["status", "--json", "--max-age", "1h"]).expect(23).json();
    assert!(sets(&answer)[0]["overdue"] == false && sets(&answer)[1]["overdue"] == true, "{answer}");
    assert_eq!(sets(&answer)[0]["max_age"], 93_600, "the set's own limit stands");
    assert_eq!(sets(&run(&["status", "--json", "--all-hosts"]).expect(0).json()).len(), 3);
    let text = run(&["status"]).text();
    assert!(text.contains("set files: ") && text.contains("no good backup is known"), "{text}");
    // Without the key, too, because the records have the name of the set.
    let mut blind = sandbox.bin();
    blind.env_remove("SNAP_PASSWORD").args(["status", "--json", "-r", "main"]);
    let answer = finish(blind, b"").expect(0).json();
    assert_eq!(sets(&answer)[0]["good"][0]["kind"], "full", "{answer}");
}

#[test]
fn days_left_follow_from_growth_and_room() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    // The growth is not known yet.
    let answer = status(&sandbox, &[]).expect(0).json();
    assert!(answer["repositories"][0].get("seconds_until_full").is_none(), "{answer}");
    let run = run_log(&sandbox).read().unwrap().runs.pop().unwrap();
    let bytes = run.numbers.repository_bytes.unwrap();
    for day in 1..10_u64 {
        let mut earlier = RunRecord::new("gc", &run.repository);
        earlier.start.sec -= 86_400 * i64::try_from(day).unwrap();
        (earlier.end, earlier.ending) = (Some(earlier.start), Some(Ending::Done));
        earlier.numbers.repository_bytes = Some(bytes - 10 * day);
        run_log(&sandbox).append(&earlier).unwrap();
    }
    let answer = status(&sandbox, &[]).expect(0).json();
    let repository = &answer["repositories"][0];
    let (rate, left) =
        (repository["bytes_per_day"].as_f64().unwrap(), repository["days_left"].as_f64().unwrap());
    assert_eq!(repository["bytes"], bytes);
    assert!((9.9..10.1).contains(&rate), "{answer}");
    let free = repository["disk_free"].as_f64().unwrap();
    assert!((left - free / rate).abs() < 1e-6 * left, "{answer}");
    let seconds = repository["seconds_until_full"].as_f64().unwrap();
    assert!((seconds / 86_400.0 - left).abs() < 1e-6 * left, "{answer}");
    assert!(text(&sandbox).contains("grows 10 B a day") || text(&sandbox).contains("grows 9 B a day"));
    assert!(text(&sandbox).contains(" free, more than 100 years until full"));
    // The quota is reached long before, and that is known without a password as well.
    sandbox.ok(&["config", "set", "quota", &(bytes + 355).to_string()]);
    let mut blind = sandbox.command(&["status"]);
    blind.env_remove("SNAP_PASSWORD");
    for told in [text(&sandbox), finish(blind, b"").expect(0).text()] {
        assert!(told.contains("355 B of its quota left, about 5 weeks until the quota is reached"), "{told}");
    }
    let answer = status(&sandbox, &[]).expect(0).json();
    let repository = &answer["repositories"][0];
    assert_eq!(repository["quota"], bytes + 355);
    let days = repository["seconds_until_full"].as_f64().unwrap() / 86_400.0;
    assert!((34.0..37.0).contains(&days), "{answer}");
    sandbox.ok(&["config", "set", "quota", "none"]);
    // A backup reports it, too.
    sandbox.write(&[("b", "2")]);
    let told = sandbox.ok(&["backup", "src"]).text();
    assert!(
        told.contains("in the repository; ") && told.contains(" free, enough for more than 100 years\n"),
        "{told}"
    );
}

#[test]
fn metrics_are_whole_and_a_name_cannot_break_them() {
    let sandbox = Sandbox::bare();
    sandbox.ok(&["init"]);
    fs::create_dir(sandbox.path("a \"b\\")).unwrap();
    sandbox.ok(&["backup", "a \"b\\"]);
    let file = sandbox.path("out/snap.prom");
    fs::write(&file, "an older one").unwrap();
    status(&sandbox, &["--prometheus", file.to_str().unwrap(), "--max-age", "1h"]).expect(0);
    let text = fs::read_to_string(&file).unwrap();
    let names: Vec<_> = fs::read_dir(sandbox.path("out")).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is left beside it");
    assert!(text.contains("a \\\"b\\\\\",kind=\"full\"} "), "{text}");
    for metric in [
        "snap_backup_overdue{",
        "snap_backup_max_age_seconds{",
        "snap_repository_bytes{",
        "snap_status_timestamp",
    ] {
        assert!(text.contains(metric), "{metric} in {text}");
    }
    assert_format(&text);
    assert_documented(&text);
}

/// Each metric has its help and type before its values, and a value is a number.
fn assert_format(text: &str) {
    assert!(text.ends_with('\n'));
    let mut current = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["#", "HELP", name, ..] => (*name).clone_into(&mut current),
            ["#", "TYPE", name, "gauge"] => assert_eq!(current, *name),
            _ => {
                assert!(line.starts_with(&current), "{line} under {current}");
                line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            }
        }
    }
}

fn assert_documented(text: &str) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.md")).unwrap();
    for name in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let name = name.split(' ').next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/status.md does not know {name}");
    }
}
