//! The run log of this machine: it has every run, whatever its result, and never makes a backup fail.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::process::Stdio;

use snap_backup::model::entry::Time;
use snap_backup::run_log::{Ending, History, LIMIT, RunLog, RunRecord, RunState};

use crate::support::{Sandbox, finish};

fn history(sandbox: &Sandbox) -> History {
    RunLog::new(sandbox.state()).read().unwrap()
}

fn last(sandbox: &Sandbox) -> RunRecord {
    history(sandbox).runs.last().unwrap().clone()
}

#[test]
fn run_log_has_every_run_also_unchanged_ones() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("b", "22")]);
    let made = sandbox.backup(&[]);
    let first = last(&sandbox);
    assert_eq!(
        (first.verb.as_str(), first.state(), first.exit),
        ("backup", RunState::Ended(Ending::Done), Some(0))
    );
    assert_eq!((first.kind.as_deref(), first.made.as_deref()), (Some("incremental"), Some("full")));
    assert_eq!((first.snapshot.as_ref(), first.unchanged), (Some(&made), false));
    assert_eq!(first.repository, fs::canonicalize(sandbox.path("repo")).unwrap().to_str().unwrap());
    assert_eq!(first.sources[0].as_bytes(), sandbox.src().to_str().unwrap().as_bytes());
    assert_eq!((first.numbers.files, first.numbers.bytes), (Some(2), Some(3)));
    let packs = sandbox.objects("packs").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(first.numbers.repository_bytes, Some(packs));
    assert!(first.end.unwrap() >= first.start);

    sandbox.ok(&["backup", "src"]);
    let second = last(&sandbox);
    assert!(second.unchanged && second.is_good() && second.run != first.run, "{second:?}");
    assert_eq!((second.snapshot, second.set_id), (first.snapshot, first.set_id));
    assert_eq!(second.numbers.repository_bytes, Some(packs));

    sandbox.ok(&["check", "--read-data"]);
    let check = last(&sandbox);
    assert!(check.verb == "check" && check.read_data && check.is_good(), "{check:?}");
    sandbox.ok(&["cleanup", "--keep-last", "1"]);
    assert_eq!(last(&sandbox).verb, "cleanup");
    sandbox.ok(&["forget", "--keep-last", "1"]);
    assert_eq!((last(&sandbox).verb.as_str(), last(&sandbox).numbers.forgotten), ("forget", Some(0)));
    sandbox.ok(&["gc"]);
    assert_eq!((last(&sandbox).verb.as_str(), last(&sandbox).numbers.repository_bytes), ("gc", Some(packs)));
    let before = history(&sandbox).runs.len();
    sandbox.ok(&["backup", "-n", "src"]);
    sandbox.ok(&["gc", "-n"]);
    sandbox.ok(&["snapshots"]);
    assert_eq!(history(&sandbox).runs.len(), before, "what writes nothing is no run");
}

#[test]
fn failure_is_recorded_with_its_reason() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.set_password(Some("wrong"));
    sandbox.snap(&["backup", "src"]).expect(12);
    let run = last(&sandbox);
    assert_eq!((run.state(), run.exit), (RunState::Ended(Ending::Failed), Some(12)));
    assert!(run.error.as_ref().unwrap().contains("wrong password") && run.set_id.is_some(), "{run:?}");
    sandbox.set_password(Some(crate::support::PASSWORD));
    sandbox.snap(&["backup", "--exclude-file", "none", "src"]).expect(1);
    assert!(last(&sandbox).error.unwrap().contains("none"), "before the sources are known, too");
    sandbox.snap(&["backup", "src", "gone"]).expect(3);
    let run = last(&sandbox);
    assert_eq!((run.state(), run.is_good()), (RunState::Ended(Ending::Problems), true));
    assert!(run.error.unwrap().starts_with("gone: "));
}

#[test]
fn killed_run_is_reported_as_lost() {
    let sandbox = Sandbox::new();
    let mut child =
        sandbox.command(&["backup", "--stdin"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"beginning").unwrap();
    while history(&sandbox).runs.is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(last(&sandbox).state(), RunState::Running);
    child.kill().unwrap();
    child.wait().unwrap();
    let run = last(&sandbox);
    assert_eq!((run.state(), run.is_bad(), run.end), (RunState::Lost, true, None));
    // Another process with the same number is not the same process.
    let mut imposter = run;
    imposter.process.pid = std::process::id();
    assert_eq!(imposter.state(), RunState::Lost);
}

#[test]
fn a_damaged_or_unusable_record_costs_history_only() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let file = sandbox.path("state/runs.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    // A line is truncated, as by a full disk or a power cut.
    fs::write(&file, [b"\0\0\xff junk\n", &text.as_bytes()[..text.len() - 40]].concat()).unwrap();
    sandbox.ok(&["backup", "src"]);
    let history = history(&sandbox);
    // The start record of the first run is intact, its end record is not. Both of the second are intact.
    assert_eq!((history.unreadable, history.runs.len()), (2, 2));
    assert!(history.runs[1].unchanged);

    fs::remove_dir_all(sandbox.state()).unwrap();
    fs::write(sandbox.state(), "in the way").unwrap();
    sandbox.write(&[("a", "22")]);
    let outcome = sandbox.ok(&["backup", "src"]);
    // The purpose of each of the two files in the state directory.
    assert_eq!(outcome.warnings(), 2, "{}", outcome.stderr);
    for lost in ["snap status", "may not be detected"] {
        assert!(outcome.stderr.contains(lost), "{}", outcome.stderr);
    }
    assert_eq!(sandbox.snapshot_names().len(), 2);
}

#[test]
fn local_state_is_left_out_of_a_backup_of_home() {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("a", "1"), (".cache/x", "2"), (".local/state/y", "3"), (".local/state/snap/", "")]);
    let run = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.env("HOME", sandbox.src()).args(["-r", "repo"]).args(args);
        finish(command, b"").expect(0)
    };
    run(&["init"]);
    run(&["backup", "src"]);
    assert!(sandbox.path("src/.local/state/snap/runs.jsonl").is_file());
    let again = run(&["backup", "src"]);
    assert!(again.text().contains("nothing changed"), "{}", again.all());
    let names = run(&["ls", "-R", "latest"]).text();
    assert!(
        names.contains("src/.cache/x") && names.contains("state/y") && !names.contains("runs"),
        "{names}"
    );
}

#[test]
fn many_processes_write_whole_lines_and_the_log_stays_short() {
    let dir = tempfile::tempdir().unwrap();
    let run_log = RunLog::new(dir.path());
    let record = |verb: &str, number: u64, ending: Ending| {
        let mut record = RunRecord::new(verb, &format!("/repo/{verb}"));
        record.start = Time { sec: 1_700_000_000 + i64::try_from(number).unwrap(), nanos: 0 };
        (record.end, record.ending) = (Some(record.start), Some(ending));
        record.set_error(&"x".repeat(1500));
        record
    };
    let old = record("check", 0, Ending::Damage);
    run_log.append(&old).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let run_log = run_log.clone();
            scope.spawn(move || {
                for number in 0..500 {
                    let mut begun = record("backup", 1 + number * 8 + thread, Ending::Done);
                    let ended = begun.clone();
                    (begun.end, begun.ending, begun.error) = (None, None, None);
                    run_log.append(&begun).unwrap();
                    run_log.append(&ended).unwrap();
                }
            });
        }
    });
    let history = run_log.read().unwrap();
    assert_eq!(history.unreadable, 0);
    assert!(fs::metadata(run_log.file()).unwrap().len() <= LIMIT + 4096);
    assert_eq!(history.runs[0], old, "the last bad check is older than all that was dropped");
    // The dropped lines are the first of each thread, and none between: no thread wrote to a file that had
    // lost its name.
    assert!(history.runs.len() > 500, "{}", history.runs.len());
    for thread in 0..8 {
        let own =
            history.runs.iter().filter(|run| run.verb == "backup").map(|run| run.start.sec - 1_700_000_001);
        let own: Vec<i64> = own.filter(|number| number % 8 == thread).map(|number| number / 8).collect();
        let newest: Vec<i64> = (500 - i64::try_from(own.len()).unwrap()..500).collect();
        assert_eq!(own, newest, "of thread {thread}");
    }
}
