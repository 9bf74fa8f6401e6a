//! A daemon that is stopped, killed, or asked to reload its configuration, and the status meanwhile.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use serde_json::Value;

use super::{Daemon, PATIENCE, REPO, command, ended, let_pass, place, run, until};
use crate::support::{Random, Sandbox, finish};

/// Returns what `snap status` prints for a set, and checks its exit code.
fn status(sandbox: &Sandbox, code: i32, set: &str) -> Value {
    let answer = run(sandbox, &["status", "--json"]).expect(code).json();
    let sets = answer["repositories"][0]["sets"].as_array().unwrap();
    sets.iter().find(|one| one["set"] == set).unwrap_or_else(|| panic!("no {set} in {answer}")).clone()
}

#[test]
fn a_daemon_runs_two_sets_and_a_failing_hook_stops_only_its_own() {
    let sandbox = place(&format!(
        "{REPO}[defaults]\nmax-age = \"1h\"\n[defaults.schedule]\nincremental = \"* * * * * *\"\nretries = 0\n[sets.docs]\nsources = \"docs\"\n\
         [sets.music]\nsources = \"music\"\nhooks.before = \"exit 7\"\nhooks.finally = \"echo over >> finally\"\n"
    ));
    for set in ["docs", "music"] {
        let never = status(&sandbox, 23, set);
        assert!(
            never["overdue"] == true && never["failing"] == false && never["good"][0].is_null(),
            "{never}"
        );
    }
    let daemon = Daemon::start(command(&sandbox, &["daemon"]));
    let of = |set: &str| {
        ended(&sandbox).into_iter().filter(|run| run.set.as_deref() == Some(set)).collect::<Vec<_>>()
    };
    until("runs of both sets", || of("docs").len() >= 2 && of("music").len() >= 2);
    // A monitor that asks during the run sees which set is saved and which is not.
    let (docs, music) = (status(&sandbox, 23, "docs"), status(&sandbox, 23, "music"));
    assert!(docs["overdue"] == false && docs["failing"] == false, "{docs}");
    assert!(docs["good"][0]["kind"] == "incremental" && docs["next_run"].is_string(), "{docs}");
    assert!(music["overdue"] == true && music["failing"] == true && music["age"].is_null(), "{music}");
    assert!(music["failure"]["error"].as_str().unwrap().contains("exit status: 7"), "{music}");
    daemon.signal("-TERM");
    let (code, _) = daemon.end();
    assert_eq!(code, Some(0), "a daemon that is told to stop has done nothing wrong");
    // The last ones may have been stopped.
    let whole = |set: &str| of(set).into_iter().filter(|run| run.exit != Some(130)).collect::<Vec<_>>();
    for run in whole("docs") {
        assert_eq!((run.exit, run.kind.as_deref()), (Some(0), Some("incremental")), "{run:?}");
        assert!(run.due.is_some());
    }
    assert!(whole("docs").iter().skip(1).all(|run| run.unchanged), "one snapshot, and then nothing changed");
    for run in whole("music") {
        assert_eq!(run.exit, Some(1));
        assert!(run.error.unwrap().contains("hook 1 of `before` of the set music: exit status: 7"));
        assert_eq!(run.snapshot, None);
    }
    let finally = fs::read_to_string(sandbox.path("finally")).unwrap();
    assert!(finally.lines().count() >= whole("music").len(), "{finally}");
    let mut dues: Vec<_> = of("docs").into_iter().map(|run| run.due).collect();
    dues.dedup();
    assert_eq!(dues.len(), of("docs").len(), "a time was run for twice");
    let list = run(&sandbox, &["snapshots", "--json"]).expect(0).json();
    // A stopped backup may have saved a partial snapshot.
    let complete = list.as_array().unwrap().iter().filter(|snapshot| snapshot["partial"] != true).count();
    assert_eq!(complete, 1, "{list}");
}

#[test]
fn daemon_stopped_during_a_backup_continues_it() {
    let sandbox = place(&format!(
        "{REPO}[sets.big]\nsources = \"big\"\nmax-age = \"1h\"\nschedule = {{ full = \"* * * * * *\", retries = 0 }}\n"
    ));
    fs::create_dir(sandbox.path("big")).unwrap();
    let mut random = Random::new(7);
    for number in 0..24 {
        fs::write(sandbox.path(&format!("big/{number:02}")), random.bytes(16 << 20)).unwrap();
    }
    let packs = || {
        crate::support::files_below(&sandbox.path("store"))
            .iter()
            .filter(|file| file.to_string_lossy().contains("/packs/"))
            .count()
    };
    let daemon = Daemon::start(command(&sandbox, &["daemon"]));
    until("a pack", || packs() > 0);
    let at_work = status(&sandbox, 23, "big");
    assert!(at_work["failing"] == false && at_work["running"].is_object(), "{at_work}");
    daemon.signal("-TERM");
    let (code, said) = daemon.end();
    assert_eq!(code, Some(0), "{said:#?}");
    let first = ended(&sandbox);
    assert_eq!(first.iter().map(|run| run.exit).collect::<Vec<_>>(), [Some(130)], "{first:?}");
    assert!(packs() > 0);
    let stopped = status(&sandbox, 23, "big");
    // Being stopped is no failure, but the status shows that nothing was saved yet.
    assert!(stopped["failing"] == false && stopped["failure"].is_null(), "{stopped}");
    assert!(stopped["running"].is_null() && stopped["state"] == "late", "{stopped}");
    assert_eq!(stopped["good"], Value::Array(vec![]));

    // Only jobs that were interrupted may start now: the scheduled times are far away.
    let file = fs::read_to_string(sandbox.path("snap.toml")).unwrap().replace("* * * * * *", "0 0 1 1 *");
    fs::write(sandbox.path("snap.toml"), file).unwrap();
    let daemon = Daemon::start(command(&sandbox, &["daemon"]));
    daemon.wait_for("big/full: done");
    daemon.signal("-TERM");
    assert_eq!(daemon.end().0, Some(0));
    let runs = ended(&sandbox);
    assert_eq!(runs.iter().map(|run| run.exit).collect::<Vec<_>>(), [Some(130), Some(0)], "once, not again");
    assert_eq!(runs[1].due, runs[0].due, "it is still the run for the same time");
    let resumed = status(&sandbox, 0, "big");
    assert!(resumed["failing"] == false && resumed["overdue"] == false, "{resumed}");
    assert_eq!(resumed["good"][0]["kind"], "full");
    assert!(resumed["failure"].is_null(), "{resumed}");
    let stored = runs[1].numbers.bytes_stored.unwrap();
    assert!(stored < 24 << 24, "what was stored before the stop was stored again: {stored}");
    run(&sandbox, &["check", "--read-data"]).expect(0);
    let target = sandbox.path("out/x");
    run(&sandbox, &["restore", "latest", "--target", target.to_str().unwrap()]).expect(0);
    crate::support::assert_same(
        &sandbox.path("big"),
        &target.join(sandbox.path("big").strip_prefix("/").unwrap()),
    );
}

#[test]
fn job_ends_with_its_daemon_and_the_next_repeats_it() {
    let sandbox = place(&format!(
        "{REPO}[sets.docs]\nsources = \"docs\"\nhooks.before = \"echo $$ > hook; test -e go || sleep 1000\"\n\
         schedule = {{ full = \"* * * * * *\", retries = 0 }}\n"
    ));
    let daemon = Daemon::start(command(&sandbox, &["daemon"]));
    until("the hook", || fs::read_to_string(sandbox.path("hook")).is_ok_and(|text| text.ends_with('\n')));
    daemon.signal("-KILL");
    assert_eq!(daemon.end().0, None);
    until("the end of its job", || ended(&sandbox).len() == 1);
    assert_eq!(ended(&sandbox)[0].exit, Some(130));
    let hook = fs::read_to_string(sandbox.path("hook")).unwrap();
    until("the end of its hook", || !Path::new("/proc").join(hook.trim()).exists());
    fs::write(sandbox.path("go"), "").unwrap();
    let file = fs::read_to_string(sandbox.path("snap.toml")).unwrap().replace("* * * * * *", "0 0 1 1 *");
    fs::write(sandbox.path("snap.toml"), file).unwrap();
    run(&sandbox, &["schedule", "run"]).expect(0);
    let codes: Vec<_> = ended(&sandbox).iter().map(|run| run.exit).collect();
    assert_eq!(codes, [Some(130), Some(0)]);
    run(&sandbox, &["schedule", "run"]).expect(0);
    assert_eq!(ended(&sandbox).len(), 2, "it was owed once");
}

#[test]
fn daemon_reloads_the_configuration_and_keeps_a_valid_one() {
    let sandbox = place(&format!("{REPO}[sets.docs]\nsources = \"docs\"\nschedule.full = \"0 0 1 1 *\"\n"));
    let socket = UnixDatagram::bind(sandbox.path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut buffer = [0; 200];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    };
    let mut command = command(&sandbox, &["daemon"]);
    command.env("NOTIFY_SOCKET", sandbox.path("notify"));
    let daemon = Daemon::start(command);
    assert_eq!(heard(), "READY=1");
    let write = |text: &str| {
        fs::write(sandbox.path("snap.toml"), format!("{REPO}[sets.docs]\nsources = \"docs\"\n{text}"))
    };
    write("schedle.full = 1\n").unwrap();
    daemon.signal("-HUP");
    let said = daemon.wait_for("was not changed");
    assert!(said.last().unwrap().contains("did you mean `schedule`?"), "{said:#?}");
    assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(heard(), "READY=1");
    write("schedule.full = \"* * * * * *\"\n").unwrap();
    daemon.signal("-HUP");
    daemon.wait_for("docs/full: done");
    assert!(heard().starts_with("RELOADING=1"));
    assert_eq!(heard(), "READY=1");
    daemon.signal("-TERM");
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn only_one_process_runs_a_schedule() {
    let sandbox = place(&format!("{REPO}[sets.docs]\nsources = \"docs\"\nschedule.full = \"0 0 1 1 *\"\n"));
    let daemon = Daemon::start(command(&sandbox, &["daemon"]));
    daemon.wait_for("running the schedule");
    until("its memory", || sandbox.state().exists() && fs::read_dir(sandbox.state()).unwrap().count() >= 2);
    run(&sandbox, &["daemon"]).expect(2);
    assert!(run(&sandbox, &["schedule", "run"]).expect(0).text().contains("nothing done"));
}

/// With only the legacy script's variables, the jobs, times and calls are those of the old scheduler.
#[test]
fn legacy_variables_alone_give_the_legacy_schedule() {
    let sandbox = place("");
    fs::remove_file(sandbox.path("snap.toml")).unwrap();
    fs::rename(sandbox.path("docs"), sandbox.path("data")).unwrap();
    let old = |args: &[&str]| {
        let mut command = command(&sandbox, args);
        command.env("BACKUP_RETENTION_DAYS", "7").env("TZ", "Europe/Berlin");
        command
    };
    let shown = finish(old(&["schedule", "show", "--json", "-c", "3"]), b"").expect(0);
    let mut times: Vec<(String, String)> = Vec::new();
    for line in shown.text().lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let next: jiff::Timestamp = value["next"].as_str().unwrap().parse().unwrap();
        let local = next.to_zoned_datetime(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
        times.push((value["job"].as_str().unwrap().to_owned(), local.strftime("%a %H:%M").to_string()));
    }
    assert_eq!(times.len(), 9);
    for (job, time) in times {
        match job.as_str() {
            "full" => assert_eq!(time, "Sun 01:00"),
            "incremental" => assert!(time.ends_with(" 02:00") && !time.starts_with("Sun"), "{time}"),
            _ => assert_eq!((job.as_str(), time.as_str()), ("cleanup", "Mon 03:00")),
        }
    }
    // A week passes in which nothing runs. What is due follows from the saved state of the schedule.
    finish(old(&["schedule", "run"]), b"").expect(0);
    assert!(ended(&sandbox).is_empty(), "a schedule that begins has missed nothing");
    let_pass(&sandbox, 15 * 24);
    let daemon = Daemon::start(old(&["daemon"]));
    until("all three", || ended(&sandbox).len() >= 3);
    daemon.signal("-TERM");
    assert_eq!(daemon.end().0, Some(0));
    let mut runs: Vec<_> = ended(&sandbox).into_iter().map(|run| (run.verb, run.kind, run.exit)).collect();
    runs.sort();
    let backup = |kind: &str| ("backup".to_owned(), Some(kind.to_owned()), Some(0));
    assert_eq!(runs, [backup("full"), backup("incremental"), ("cleanup".to_owned(), None, Some(0))]);
    assert!(sandbox.path("backups/incremental/config").exists());
    let list = finish(old(&["snapshots", "--json"]), b"").expect(0).json();
    assert_eq!(
        list[0]["paths"],
        serde_json::json!(["data", "logs", "uploads"].map(|name| sandbox.path(name)))
    );
}
