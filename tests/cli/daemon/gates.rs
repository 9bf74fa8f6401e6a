//! When a run may begin, how long it may take, and how much of the machine it may use.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{REPO, ended, let_pass, place, run};
use crate::support::{Outcome, Random, Sandbox, finish, skipped};

/// A set that saves `docs`, with further keys. Notifications go to the file `told`.
fn set(keys: &str) -> Sandbox {
    place(&format!(
        "{REPO}[sets.docs]\nsources = \"docs\"\nhooks.before = \"echo before >> log\"\nhooks.finally = \"echo finally >> log\"\n\
         hooks.on-failure = \"echo failure >> log\"\nnotify.command = \"echo $SNAP_EVENT >> told\"\n\
         notify.on = [\"failure\", \"problems\", \"alarm\", \"success\"]\n{keys}\n"
    ))
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    fs::read_to_string(sandbox.path(name)).unwrap_or_default()
}

/// Returns `HH:MM` so many hours from now.
fn hours(by: i64) -> String {
    (Timestamp::now() + SignedDuration::from_hours(by)).strftime("%H:%M").to_string()
}

fn of_status(sandbox: &Sandbox) -> Value {
    run(sandbox, &["status", "--json"]).json()["repositories"][0]["sets"][0].clone()
}

fn is_skipped(sandbox: &Sandbox, outcome: &Outcome, why: &str) {
    assert!(outcome.text().contains("skipped: ") && outcome.text().contains(why), "{}", outcome.all());
    assert_eq!((read(sandbox, "log"), read(sandbox, "told")), (String::new(), String::new()), "{why}");
    let last = ended(sandbox).pop().unwrap();
    assert_eq!((last.exit, last.snapshot.clone(), last.is_bad()), (Some(75), None, false), "{last:?}");
    let status = of_status(sandbox);
    assert!(status["failing"] == false && status["failure"].is_null(), "{status}");
    assert!(status["skipped"]["ending"] == "skipped", "{status}");
    assert!(status["skipped"]["error"].as_str().unwrap().contains(why), "{status}");
    assert!(run(sandbox, &["status"]).text().contains("skipped"));
}

#[test]
fn a_condition_that_fails_skips_a_run_and_that_is_no_failure() {
    let sandbox = set("hooks.condition = [\"true\", \"test -e go\"]");
    let outcome = run(&sandbox, &["backup"]).expect(75);
    is_skipped(&sandbox, &outcome, "condition 2 failed");
    let line = run(&sandbox, &["backup", "--json"]).expect(75).json();
    assert_eq!(line["message_type"], "skipped");
    run(&sandbox, &["backup", "-n"]).expect(2);

    // The schedule does not retry, and has not failed.
    run(&sandbox, &["schedule", "run"]).expect(0);
    let_pass(&sandbox, 200);
    let scheduled = run(&sandbox, &["schedule", "run"]).expect(0);
    assert!(scheduled.stderr.contains("docs/full: skipped"), "{}", scheduled.all());
    run(&sandbox, &["schedule", "run"]).expect(0);
    assert_eq!((read(&sandbox, "log"), read(&sandbox, "told")), (String::new(), String::new()));

    fs::write(sandbox.path("go"), "").unwrap();
    run(&sandbox, &["backup"]).expect(0);
    assert_eq!(
        (read(&sandbox, "log"), read(&sandbox, "told")),
        ("before\nfinally\n".into(), "success\n".into())
    );
    assert!(of_status(&sandbox).get("skipped").is_none());
}

#[test]
fn run_outside_its_window_is_skipped_scheduled_one_waits() {
    let closed = format!("{}-{}", hours(2), hours(3));
    let sandbox =
        set(&format!("window = \"{closed}\"\nschedule.full = \"0 1 * * *\"\nschedule.time-zone = \"UTC\""));
    let outcome = run(&sandbox, &["backup"]).expect(75);
    is_skipped(&sandbox, &outcome, &format!("it is outside of the window {closed}"));
    run(&sandbox, &["schedule", "run"]).expect(0);
    let_pass(&sandbox, 30);
    let waits = run(&sandbox, &["schedule", "run"]).expect(0);
    assert!(waits.stderr.contains("waiting for its window"), "{}", waits.all());
    assert_eq!(ended(&sandbox).len(), 1, "nothing was started");
    // A flag precedes the file, and needs no set.
    let open = format!("{}-{}", hours(-1), hours(2));
    run(&sandbox, &["backup", "--window", &open]).expect(0);
    run(&sandbox, &["-r", "main", "backup", "docs", "--window", &closed]).expect(75);
    for window in ["22:00", "22:00-22:00", "25:00-06:00"] {
        run(&sandbox, &["backup", "--window", window]).expect(2);
    }
}

#[test]
fn timed_out_backup_saves_a_part_and_the_next_continues() {
    let sandbox = set("limit-read = \"512K\"\nmax-duration = \"1s\"");
    for file in 0..8 {
        fs::write(sandbox.path(&format!("docs/f{file}")), Random::new(file + 1).bytes(256 << 10)).unwrap();
    }
    let cut = run(&sandbox, &["backup"]).expect(26);
    assert!(cut.text().contains("partial: time limit reached"), "{}", cut.all());
    assert_eq!((read(&sandbox, "log"), read(&sandbox, "told")), ("before\nfinally\n".into(), String::new()));
    let last = ended(&sandbox).pop().unwrap();
    assert_eq!((last.exit, last.is_bad(), last.is_good()), (Some(26), false, false), "{last:?}");
    assert!(last.numbers.bytes_read.unwrap() < 2 << 20, "the limit holds: {last:?}");
    assert_eq!(of_status(&sandbox)["skipped"]["ending"], "time_up");
    let next =
        run(&sandbox, &["backup", "--limit-read", "0", "--json", "--max-duration", "1h"]).expect(0).text();
    let summary: Value = serde_json::from_str(next.lines().last().unwrap()).unwrap();
    assert!(summary["partial"] == false && summary["total_files_processed"] == 9, "{summary}");
    for args in [["--max-duration", "0s"], ["--max-duration", "soon"], ["--limit-read", "fast"]] {
        run(&sandbox, &[&["backup"], &args[..]].concat()).expect(2);
    }
}

#[test]
fn run_has_the_niceness_and_threads_of_its_set() {
    let sandbox =
        set("nice = 7\nio-idle = true\nthreads = 1\nhooks.after = \"nice > nice; ionice > ionice\"");
    run(&sandbox, &["backup"]).expect(0);
    let before: i32 = read(&sandbox, "nice").trim().parse().unwrap();
    assert!(before >= 7, "{before}");
    match read(&sandbox, "ionice").as_str() {
        "" => skipped("there is no ionice"),
        class => assert_eq!(class.trim(), "idle"),
    }
    run(&sandbox, &["backup", "--full", "--nice", "9"]).expect(0);
    assert!(read(&sandbox, "nice").trim().parse::<i32>().unwrap() >= 9);

    // Compression threads begin with the first data and stay to the end. A thread sets its name a moment
    // after it was started, and another may end between being listed and being read.
    let sealers = |threads: &str| {
        let names = format!(
            "head -c 9000000 /dev/zero; for i in $(seq 200); do \
             test $(cat /proc/$PPID/task/*/comm 2>&1 | grep -cx seal) -ge {threads} && break; sleep 0.05; done; \
             echo; cat /proc/$PPID/task/*/comm || true"
        );
        run(
            &sandbox,
            &["-r", "main", "backup", "--threads", threads, "--stdin-from-command", "--", "sh", "-c", &names],
        )
        .expect(0);
        let names = run(&sandbox, &["-r", "main", "cat", "latest:stdin"]).expect(0).text();
        names.lines().filter(|name| *name == "seal").count()
    };
    assert_eq!((sealers("1"), sealers("5")), (1, 5));
    for args in [["--threads", "0"], ["--threads", "many"], ["--nice", "20"], ["--nice", "-5"]] {
        run(&sandbox, &[&["backup"], &args[..]].concat()).expect(2);
    }
    // A source that does not exist gives a warning.
    let mut alone = sandbox.bin();
    alone.env("PATH", "/nowhere").args(["-r", "main", "--io-idle", "snapshots"]);
    let outcome = finish(alone, b"").expect(0);
    assert!(outcome.stderr.contains("--io-idle"), "{}", outcome.all());
}
