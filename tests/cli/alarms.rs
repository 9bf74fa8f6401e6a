//! Backups that differ from earlier ones, with real files, and the output of the program.

use std::fs;

use crate::support::{Random, Sandbox};

const FILES: usize = 60;

/// A set with eight earlier runs, in each of which a file changed.
fn used() -> Sandbox {
    let sandbox = Sandbox::open();
    for at in 0..FILES {
        let text = format!("line {at} of a text that anybody can read\n").repeat(60);
        sandbox.write(&[(&format!("d{}/f{at}.txt", at % 5), &text)]);
    }
    for run in 0..8 {
        sandbox.write(&[("diary.txt", &"one more day\n".repeat(run + 1))]);
        sandbox.ok(&["backup", "src"]);
    }
    sandbox
}

/// Iterates over all files with their paths and names.
fn each(sandbox: &Sandbox, mut act: impl FnMut(&std::path::Path, usize)) {
    for at in 0..FILES {
        act(&sandbox.src().join(format!("d{}/f{at}.txt", at % 5)), at);
    }
}

fn random(seed: usize) -> Vec<u8> {
    Random::new(seed as u64 + 1).bytes(2600)
}

fn same_names(sandbox: &Sandbox) {
    each(sandbox, |path, at| fs::write(path, random(at)).unwrap());
}

fn new_ending(sandbox: &Sandbox) {
    each(sandbox, |path, at| {
        fs::write(path, random(at)).unwrap();
        fs::rename(path, path.with_extension("txt.locked")).unwrap();
    });
}

fn replaced(sandbox: &Sandbox) {
    each(sandbox, |path, at| {
        fs::remove_file(path).unwrap();
        fs::write(path.with_file_name(format!("x{}", at * 7919)), random(at)).unwrap();
    });
}

fn headers(sandbox: &Sandbox) {
    each(sandbox, |path, at| {
        let mut bytes = fs::read(path).unwrap();
        bytes[..1024].copy_from_slice(&random(at)[..1024]);
        fs::write(path, bytes).unwrap();
    });
}

#[test]
fn every_kind_of_attack_raises_an_alarm_in_its_run() {
    type Attack = fn(&Sandbox);
    let attacks: [(Attack, &str); 4] = [
        (same_names, "--incremental"),
        (new_ending, "--full"),
        (replaced, "--differential"),
        (headers, "--full"),
    ];
    for (attack, kind) in attacks {
        let sandbox = used();
        attack(&sandbox);
        let dry = sandbox.snap(&["backup", "src", kind, "-n"]).expect(0);
        assert!(dry.stderr.contains("would raise an alarm"), "{}", dry.all());
        let met = sandbox.snap(&["backup", "src", kind]).expect(24);
        assert!(met.stderr.contains("ALARM") && met.stderr.contains("look encrypted"), "{}", met.all());
        assert_eq!(sandbox.snapshot_names().len(), 9, "it is saved all the same");
    }
}

#[test]
fn alarm_protects_older_snapshots_until_settled() {
    let sandbox = used();
    sandbox.ok(&["alarm"]);
    new_ending(&sandbox);
    let met = sandbox.snap(&["backup", "src", "--json"]).expect(24).summary();
    let why = met["alarm"].as_str().unwrap();
    assert!(why.contains(".locked") && why.contains("60 of 61"), "{why}");

    let listed = sandbox.snap(&["alarm", "--json"]).expect(24).summary();
    assert_eq!(listed["alarms"][0]["reason"], why);
    assert_eq!(listed["alarms"][0]["state"], "open");
    let status = sandbox.snap(&["status", "--json"]).expect(24).json();
    assert_eq!(
        (&status["alarming"], &status["repositories"][0]["sets"][0]["state"]),
        (&true.into(), &"alarm".into())
    );
    let status = sandbox.snap(&["status", "--alarms"]).expect(24).text();
    assert!(status.contains("ALARM") && status.lines().count() == 2, "{status}");

    let kept = sandbox.ok(&["forget", "--keep-last", "1"]).text();
    assert!(
        kept.contains("held by the alarm") && kept.contains("nothing to forget: 9 snapshots kept"),
        "{kept}"
    );
    sandbox.snap(&["forget", "latest~3"]).expect(22);
    sandbox.ok(&["forget", "latest~3", "--force"]);

    let settled = sandbox.ok(&["alarm", "accept"]).text();
    assert!(settled.contains("accepted"), "{settled}");
    assert_eq!(sandbox.ok(&["alarm"]).text().trim(), "no alarms");
    assert!(sandbox.ok(&["alarm", "--all"]).text().contains("accepted"));
    assert!(sandbox.ok(&["audit"]).text().contains("alarm-accept"));
    sandbox.snap(&["alarm", "accept"]).expect(2);
    assert_eq!(sandbox.ok(&["status", "--alarms"]).text().trim(), "no alarms");
    sandbox.ok(&["forget", "--keep-last", "1"]);
    assert_eq!(sandbox.snapshot_names().len(), 1);
}

/// What was announced, or repaired after an alarm, raises none. Files that were moved, or only have another
/// owner or mode, are not lost.
#[test]
fn expected_changes_raise_no_alarm() {
    let sandbox = used();
    each(&sandbox, |path, _| crate::support::chmod(path, 0o600));
    sandbox.ok(&["backup", "src"]);
    fs::create_dir(sandbox.src().join("deeper")).unwrap();
    for dir in 0..5 {
        let name = format!("d{dir}");
        fs::rename(sandbox.src().join(&name), sandbox.src().join("deeper").join(&name)).unwrap();
    }
    sandbox.ok(&["backup", "src"]);
    for at in 0..FILES {
        fs::write(sandbox.src().join(format!("vault{at}")), random(at)).unwrap();
    }
    sandbox.ok(&["backup", "src"]);

    fs::remove_dir_all(sandbox.src().join("deeper")).unwrap();
    (0..FILES).for_each(|at| fs::remove_file(sandbox.src().join(format!("vault{at}"))).unwrap());
    assert!(sandbox.ok(&["backup", "src", "-n"]).stderr.contains("120 removed of 121"));
    sandbox.ok(&["backup", "src", "--expect-change"]);

    let sandbox = used();
    same_names(&sandbox);
    sandbox.snap(&["backup", "src"]).expect(24);
    sandbox.ok(&["alarm", "clear"]);
    assert!(sandbox.ok(&["audit"]).text().contains("alarm-clear"));
    each(&sandbox, |path, at| fs::write(path, format!("the text of {at} again\n").repeat(99)).unwrap());
    sandbox.ok(&["backup", "src"]);
    assert!(sandbox.ok(&["alarm", "--all"]).text().contains("cleared"));
}

#[test]
fn alarm_limits_are_per_set_and_receivers_are_notified() {
    let sandbox = used();
    let told = sandbox.path("told");
    let set = |lines: &str| {
        let text = format!(
            "[sets.a]\nrepository = \"{}\"\nsources = [\"{}\"]\n{lines}\n",
            sandbox.path("repo").display(),
            sandbox.src().display()
        );
        fs::write(sandbox.path("snap.toml"), text).unwrap();
    };
    let config = sandbox.path("snap.toml");
    let backup = || sandbox.snap(&["backup", "--config", config.to_str().unwrap(), "--set", "a"]);
    for file in 0..10 {
        fs::write(sandbox.src().join(format!("d0/f{}.txt", file * 5)), random(file)).unwrap();
    }
    set("alarm.encrypted = \"nonsense\"");
    backup().expect(2);
    set("alarm.enabled = false");
    backup().expect(0);
    for file in 0..10 {
        fs::write(sandbox.src().join(format!("d1/f{}.txt", file * 5 + 1)), random(file + 20)).unwrap();
    }
    set("alarm = { encrypted = \"90%\" }");
    backup().expect(0);
    for file in 0..10 {
        fs::write(sandbox.src().join(format!("d2/f{}.txt", file * 5 + 2)), random(file + 40)).unwrap();
    }
    set(&format!(
        "notify.command = 'echo \"$SNAP_EVENT $SNAP_STATUS $SNAP_EXIT_CODE\" >> {}'",
        told.display()
    ));
    backup().expect(24);
    assert_eq!(fs::read_to_string(&told).unwrap(), "alarm alarm 24\n");
}

/// The configured number of runs comes first. Runs of a program without alarms count as well.
#[test]
fn the_first_runs_give_no_alarm() {
    let sandbox = Sandbox::open();
    for run in 0..7 {
        for at in 0..FILES {
            fs::write(sandbox.src().join(format!("f{at}")), random(run * 100 + at)).unwrap();
        }
        sandbox.ok(&["backup", "src"]);
    }
}
