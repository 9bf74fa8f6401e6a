//! Which directories are states, of which path, and from when.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{Outcome, Sandbox, finish};

/// Creates directories with one file each, and these mtimes in March 2026.
fn states(dirs: &[(&str, u32)]) -> Sandbox {
    let sandbox = Sandbox::open();
    for (number, (dir, day)) in dirs.iter().enumerate() {
        let path = sandbox.path(dir);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), number.to_string()).unwrap();
        touch(&sandbox, dir, &format!("2026-03-{day:02}T12:00:00Z"));
    }
    sandbox
}

fn touch(sandbox: &Sandbox, name: &str, time: &str) {
    assert!(Command::new("touch").args(["-d", time]).arg(sandbox.path(name)).status().unwrap().success());
}

/// Runs `import trees` in a time zone three hours before UTC.
fn import(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    let mut command = sandbox.command(&[&["import", "trees"], args].concat());
    command.env("TZ", "UTC+3");
    finish(command, b"")
}

/// Returns the times of a plan, each with the last component of the directory.
fn planned(sandbox: &Sandbox, args: &[&str]) -> Vec<String> {
    let outcome = import(sandbox, &[args, &["--as", "/x", "-n", "--json"]].concat()).expect(0);
    let text = outcome.text();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let states = lines.filter(|line| line["message_type"] == "state");
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    states
        .map(|state| {
            format!("{} {}", state["time"].as_str().unwrap(), name(state["directory"].as_str().unwrap()))
        })
        .collect()
}

/// Returns the message of a refusal.
fn refused(sandbox: &Sandbox, args: &[&str]) -> String {
    import(sandbox, &[args, &["-n"]].concat()).expect(2).stderr
}

#[test]
fn rsync_directory_names_give_the_time_not_their_mtimes() {
    let sandbox = states(&[("b/2026-03-02-0300", 9), ("b/20260301T030000Z", 10), ("b/old-2025-12-31", 11)]);
    symlink("2026-03-02-0300", sandbox.path("b/latest")).unwrap();
    fs::create_dir(sandbox.path("b/.tmp")).unwrap();
    fs::write(sandbox.path("b/log"), "").unwrap();
    let wanted = [
        "2025-12-31T03:00:00Z old-2025-12-31",
        "2026-03-01T03:00:00Z 20260301T030000Z",
        "2026-03-02T06:00:00Z 2026-03-02-0300",
    ];
    assert_eq!(planned(&sandbox, &["b", "--children"]), wanted);
    let named = ["b/2026-03-02-0300", "b/latest", "b/old-2025-12-31", "b/20260301T030000Z"];
    assert_eq!(planned(&sandbox, &named), wanted, "a link and what it leads to are one state");
    let by_mtime = planned(&sandbox, &["b", "--children", "--time-from", "mtime"]);
    assert_eq!(by_mtime[0], "2026-03-09T12:00:00Z 2026-03-02-0300");
    let done = import(&sandbox, &["b", "--children", "--as", "/x"]).expect(0);
    let listed = sandbox.ok(&["--json", "snapshots"]).json();
    let times: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["time"].as_str().unwrap()).collect();
    assert_eq!(times, wanted.map(|line| line.split(' ').next().unwrap()), "{}", done.all());
}

#[test]
fn other_names_are_read_by_a_pattern() {
    let sandbox = states(&[("b/state 2.3.2026", 9), ("b/state 1.3.2026", 10)]);
    let times = planned(&sandbox, &["b", "--children", "--time-pattern", "state %d.%m.%Y"]);
    assert_eq!(times, ["2026-03-01T03:00:00Z state 1.3.2026", "2026-03-02T03:00:00Z state 2.3.2026"]);
    let text = refused(&sandbox, &["b", "--children", "--as", "/x", "--time-pattern", "%Y"]);
    assert!(text.contains("does not match --time-pattern '%Y'"), "{text}");
}

#[test]
fn the_root_of_rsnapshot_is_known_by_its_names() {
    let dirs = [("rs/daily.0/h/home", 5), ("rs/daily.0", 5), ("rs/daily.1", 4), ("rs/weekly.0", 1)];
    let sandbox = states(&dirs);
    fs::create_dir_all(sandbox.path("rs/.sync")).unwrap();
    fs::create_dir_all(sandbox.path("rs/_delete.123")).unwrap();
    let at =
        ["2026-03-01T12:00:00Z weekly.0", "2026-03-04T12:00:00Z daily.1", "2026-03-05T12:00:00Z daily.0"];
    assert_eq!(planned(&sandbox, &["rs"]), at);
    let outcome = import(&sandbox, &["rs", "--subdir", "h/home", "--as", "/home", "--json"]).expect(0);
    assert_eq!(outcome.summary()["imported"], 1);
    assert!(outcome.stderr.contains("daily.1/h/home: this state is not imported"), "{}", outcome.stderr);
    assert_eq!(sandbox.ok(&["cat", "latest:home/file"]).text(), "0");
    let listed = sandbox.ok(&["--json", "snapshots"]).json();
    assert_eq!(
        (&listed[0]["time"], &listed[0]["paths"][0]),
        (&"2026-03-05T12:00:00Z".into(), &"/home".into())
    );
    assert!(refused(&sandbox, &["rs", "--as", "/x", "--subdir", "none"]).contains("there is no directory"));
    assert!(refused(&sandbox, &["rs", "--as", "/x", "--subdir", "../x"]).contains("without .."));
    let text = refused(&sandbox, &["rs/daily.0/h", "--as", "/x"]);
    assert!(text.contains("--subdir h"), "{text}");
    touch(&sandbox, "rs/daily.1", "2026-03-06T12:00:00Z");
    let text = refused(&sandbox, &["rs", "--as", "/x"]);
    assert!(text.contains("daily.1 has a newer mtime than daily.0"), "{text}");
}

#[test]
fn snapshots_of_snapper_and_zfs_are_known_with_what_they_are_of() {
    let sandbox = states(&[
        ("v/home/.snapshots/9/snapshot", 9),
        ("v/home/.snapshots/10/snapshot", 8),
        ("tank/.zfs/snapshot/auto-2026-03-01_0300", 9),
    ]);
    for (number, day) in [(9, 1), (10, 2)] {
        let info = format!("<snapshot><num>{number}</num><date>2026-03-0{day} 01:00:00</date></snapshot>");
        fs::write(sandbox.path(&format!("v/home/.snapshots/{number}/info.xml")), info).unwrap();
    }
    import(&sandbox, &["v/home/.snapshots"]).expect(0);
    import(&sandbox, &["tank/.zfs/snapshot"]).expect(0);
    let listed = sandbox.ok(&["--json", "snapshots"]).json();
    let listed: Vec<_> =
        listed.as_array().unwrap().iter().map(|one| (&one["time"], &one["paths"][0])).collect();
    let (home, tank) = (sandbox.path("v/home"), sandbox.path("tank"));
    let canonical = |path: std::path::PathBuf| path.canonicalize().unwrap().to_str().unwrap().to_owned();
    let (home, tank) = (canonical(home), canonical(tank));
    assert_eq!(
        listed,
        [
            (&"2026-03-01T01:00:00Z".into(), &home.clone().into()),
            (&"2026-03-01T06:00:00Z".into(), &tank.into()),
            (&"2026-03-02T01:00:00Z".into(), &home.into()),
        ]
    );
    let one = planned(&sandbox, &["v/home/.snapshots/9/snapshot"]);
    assert_eq!(one, ["2026-03-01T01:00:00Z snapshot"]);
}

#[test]
fn in_snapshots_of_a_file_system_the_ctime_must_be_equal_too() {
    let sandbox = states(&[("s/.snapshots/1/snapshot", 1), ("s/.snapshots/2/snapshot", 2)]);
    for number in [1, 2] {
        let info = format!("<date>2026-03-0{number} 01:00:00</date>");
        fs::write(sandbox.path(&format!("s/.snapshots/{number}/info.xml")), info).unwrap();
        // Longer than a tick of the file system's clock: the ctimes must differ.
        std::thread::sleep(std::time::Duration::from_millis(20));
        touch(&sandbox, &format!("s/.snapshots/{number}/snapshot/file"), "@1000");
    }
    let summary = import(&sandbox, &["s/.snapshots", "--json"]).expect(0).summary();
    assert_eq!(summary["bytes_read"], 2, "these are no snapshots, so the ctimes differ: both files are read");
    assert_eq!(
        sandbox
            .ok(&["cat", &format!("latest:{}/s/file", sandbox.path("").canonicalize().unwrap().display())])
            .text(),
        "1"
    );
}

#[test]
fn ambiguous_imports_are_refused_with_advice() {
    let sandbox = states(&[
        ("b/2026-03-01", 1),
        ("b/2026-03-02", 2),
        ("c/2026-03-01", 3),
        ("d/monday", 4),
        ("d/tuesday", 4),
    ]);
    fs::write(sandbox.path("file"), "").unwrap();
    fs::create_dir(sandbox.path("empty")).unwrap();
    let x = ["--as", "/x"];
    for (args, said) in [
        (&["b"][..], &["--children", "--time"][..]),
        (
            &["b/2026-03-01", "d/monday"],
            &["2026-03-01 has a date in its name", "d/monday has none", "--time-from mtime"],
        ),
        (&["b", "c", "--children"], &["have the same time", "c/2026-03-01"]),
        (&["d", "--children"], &["have the same time", "d/monday"]),
        (&["d", "--children", "--time-from", "name"], &["there is no date in its name", "--time-pattern"]),
        (&["b/2026-03-01", "b/2026-03-02", "--time", "2026-03-05"], &["--time gives the time of one state"]),
        (&["file"], &["is not a directory", "--children"]),
        (&["empty", "--children"], &["contains no directories"]),
        (&["b/2026-03-01", "--time", "soon"], &["soon is not a time"]),
        (&["b/2026-03-01", "--time", "2999-01-01"], &["dated in the future"]),
    ] {
        let text = refused(&sandbox, &[args, &x].concat());
        assert!(said.iter().all(|said| text.contains(said)), "{args:?}: {text}");
    }
    import(&sandbox, &["none", "--as", "/x"]).expect(1);
    let text = refused(&sandbox, &["b", "--children"]);
    assert!(text.contains("--as /home/me"), "{text}");
    assert!(sandbox.snapshot_names().is_empty());
    // Each of the options that the first refusal names.
    assert_eq!(planned(&sandbox, &["b", "--children"]).len(), 2);
    assert_eq!(planned(&sandbox, &["b", "--time", "2026-03-05T00:00:00Z"]), ["2026-03-05T00:00:00Z b"]);
    assert_eq!(planned(&sandbox, &["b", "--time-from", "mtime"]).len(), 1);
}

#[test]
fn import_plan_lists_existing_states_and_writes_nothing() {
    let sandbox = states(&[("b/2026-03-01", 1), ("b/2026-03-02", 2)]);
    import(&sandbox, &["b/2026-03-01", "--as", "/x", "--host", "web1"]).expect(0);
    let before = sandbox.listing();
    let plan = import(&sandbox, &["b", "--children", "--as", "x/", "--host", "web1", "-n"]).expect(0).text();
    assert!(plan.contains("2026-03-01 00:00:00") && plan.contains("exists already, as snapshot"), "{plan}");
    assert!(plan.contains("1 snapshot would be saved of /x on web1, 1 was there already"), "{plan}");
    assert_eq!(sandbox.listing(), before);
    let other = planned(&sandbox, &["b", "--children"]).len();
    assert_eq!(other, 2, "of another host nothing is there");
}

#[test]
fn archive_named_trees_and_options_before_it_are_parsed() {
    let sandbox = states(&[("2026-03-01", 1)]);
    let import = |args: &[&str]| sandbox.snap(&[&["import"], args].concat());
    fs::write(sandbox.path("trees"), [0; 1024]).unwrap();
    import(&["./trees", "-n"]).expect(0);
    let text = import(&["-n", "trees", "2026-03-01", "--as", "/x"]).expect(2).stderr;
    assert!(text.contains("come after `trees`"), "{text}");
    let text = import(&["2026-03-01"]).expect(2).stderr;
    assert!(text.contains("snap import trees"), "{text}");
    let new = |more: &[&str]| {
        let mut command = sandbox.bin();
        command.args(["-r", "new", "import", "trees", "2026-03-01", "--as", "/x"]).args(more);
        finish(command, b"")
    };
    new(&[]).expect(10);
    new(&["--init", "--no-encryption"]).expect(0);
}
