//! Hooks: their variables, their timeout, and that no secret leaks through them.

use std::fs;

use super::{Daemon, REPO, command, ended, place, run, until};
use crate::support::finish;

#[test]
fn hooks_get_variables_and_time_out() {
    let sandbox = place(&format!(
        "{REPO}[sets.docs]\nsources = [\"docs\"]\n[sets.docs.hooks]\n\
         before = [\"echo before $SNAP_SET $SNAP_JOB $SNAP_KIND $SNAP_REPOSITORY $SNAP_STATUS >> log\", \"${{BEFORE:-true}}\"]\n\
         after = \"echo $SNAP_HOOK $SNAP_STATUS $SNAP_EXIT_CODE ${{#SNAP_SNAPSHOT}} >> log; ${{AFTER:-true}}\"\n\
         on-failure = \"echo $SNAP_HOOK $SNAP_STATUS $SNAP_EXIT_CODE: $SNAP_ERROR >> log; exit 9\"\n\
         finally = \"echo $SNAP_HOOK $SNAP_STATUS >> log; echo to stdout\"\ntimeout = \"1s\"\n"
    ));
    let log = || {
        let text = fs::read_to_string(sandbox.path("log")).unwrap_or_default();
        let _ = fs::remove_file(sandbox.path("log"));
        text
    };
    let call = |variables: &[(&str, &str)]| {
        let mut command = command(&sandbox, &["backup", "--set", "docs", "--full"]);
        command.envs(variables.iter().copied());
        finish(command, b"")
    };
    let outcome = call(&[]).expect(0);
    assert_eq!(log(), "before docs backup full main\nafter success 0 32\nfinally success\n");
    assert!(
        !outcome.text().contains("to stdout") && outcome.stderr.contains("to stdout"),
        "stdout is the answer's"
    );

    let outcome = call(&[("BEFORE", "sleep 1000")]).expect(1);
    assert!(
        outcome.stderr.contains("hook 2 of `before` of the set docs: it took longer than 1 s"),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.stderr.contains("sleep"), "a command may hold a secret: {}", outcome.stderr);
    let text = log();
    assert!(
        text.contains("on-failure failure 1: cannot run hook 2") && text.ends_with("finally failure\n"),
        "{text}"
    );
    assert!(!text.contains("after "), "{text}");
    assert_eq!(run(&sandbox, &["snapshots", "--json"]).expect(0).json().as_array().unwrap().len(), 1);

    let outcome = call(&[("AFTER", "false")]).expect(1);
    assert!(
        outcome.stderr.contains("`after`")
            && outcome.stderr.contains("warning: cannot run hook 1 of `on-failure`")
    );
    assert!(log().contains("after success 0"));
    assert_eq!(run(&sandbox, &["snapshots", "--json"]).expect(0).json().as_array().unwrap().len(), 2);
    // They run only for their own jobs, and not for dry runs.
    run(&sandbox, &["check", "--set", "docs"]).expect(0);
    run(&sandbox, &["backup", "-n"]).expect(0);
    assert_eq!(log(), "");
}

#[test]
fn secrets_are_in_no_argument_and_no_output() {
    let sandbox = place(&format!(
        "{REPO}[repositories.other]\nlocation = \"other\"\npassword-command = \"echo secret-of-the-command\"\ninit = true\n\
         [defaults.schedule]\nfull = \"* * * * * *\"\n[sets.docs]\nsources = \"docs\"\nrepository = \"main\"\n\
         hooks.before = \"cat /proc/$PPID/cmdline >> arguments\"\n\
         [sets.music]\nsources = \"music\"\nrepository = \"other\"\nhooks.before = \"cat /proc/$PPID/cmdline >> arguments\"\n\
         [sets.music.notify]\nwebhook = \"http://127.0.0.1:1/secret-of-the-hook\"\non = \"success\"\n"
    ));
    let mut command = command(&sandbox, &["daemon", "--password-command", "echo secret-of-the-flag"]);
    command.env("SNAP_KEY", "secret");
    let daemon = Daemon::start(command);
    until("both", || {
        let sets: std::collections::BTreeSet<_> =
            ended(&sandbox).into_iter().filter_map(|run| run.set).collect();
        sets.len() == 2
    });
    daemon.signal("-TERM");
    let (_, said) = daemon.end();
    assert!(ended(&sandbox).iter().all(|run| matches!(run.exit, Some(0 | 130))), "{said:#?}");
    let arguments = fs::read_to_string(sandbox.path("arguments")).unwrap();
    assert!(arguments.contains("backup\0--full\0--set\0docs"), "{arguments:?}");
    let records = fs::read_to_string(sandbox.path("state/runs.jsonl")).unwrap();
    for text in [arguments, said.join("\n"), records] {
        assert!(!text.contains("secret"), "{text}");
    }
}
