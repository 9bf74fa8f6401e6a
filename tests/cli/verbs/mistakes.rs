//! Mistakes of new users: names from other programs, typos, and what must not be accepted silently.

use std::fs;

use crate::support::{Sandbox, finish};

#[test]
fn names_of_other_programs_are_answered() {
    let sandbox = Sandbox::bare();
    for (args, wanted) in [
        (&["extract", "latest"][..], "snap restore"),
        (&["create", "src"], "snap backup PATH"),
        (&["info"], "snap snapshots"),
        (&["delete", "x"], "snap forget"),
        (&["verify"], "snap check"),
        (&["unlock"], "no lock outlives its process"),
        (&["umount", "x"], "fusermount3"),
        (&["version"], "snap --version"),
        (&["rebuild-index"], "snap repair index"),
        (&["backup", "--no-scan", "src"], "costs nothing"),
        (&["restore", "latest", "--to", "x"], "--target DIR"),
        (&["backup", "--exclude-from", "x", "src"], "--exclude-file FILE"),
    ] {
        let outcome = sandbox.snap(args).expect(2);
        assert!(outcome.stderr.contains(wanted), "{args:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("similar"), "{args:?}: {}", outcome.stderr);
    }
    // clap still suggests corrections of typos.
    assert!(sandbox.snap(&["bakup"]).expect(2).stderr.contains("'backup'"));
}

#[test]
fn help_has_examples_topics_and_groups() {
    let sandbox = Sandbox::bare();
    let long = sandbox.ok(&["backup", "--help"]).text();
    for part in ["Examples:", "Excludes:", "Snapshot attributes:", "Global options:"] {
        assert!(long.contains(part), "{part} in {long}");
    }
    assert!(!sandbox.ok(&["backup", "-h"]).text().contains("Examples:"));
    assert_eq!(sandbox.ok(&["help", "backup"]).text(), long);
    assert!(sandbox.ok(&["help", "repair", "packs"]).text().contains("snap repair packs 1a2b3c4d --dry-run"));
    let top = sandbox.ok(&["help"]).text();
    for part in
        ["Back up and restore:", "Remove and protect snapshots:", "snap help environment", "Exit codes"]
    {
        assert!(top.contains(part), "{part} in {top}");
    }
    assert!(sandbox.ok(&["help", "environment"]).text().contains("SNAP_PASSWORD "));
    assert!(sandbox.ok(&["help", "patterns"]).text().contains("--iexclude"));
    assert!(sandbox.ok(&["help", "selectors"]).text().contains("latest~2"));
    let unknown = sandbox.snap(&["help", "extract"]).expect(2);
    assert!(unknown.stderr.contains("snap restore"), "{}", unknown.stderr);
    assert!(sandbox.snap(&["help", "frobnicate"]).expect(2).stderr.contains("topics are"));
}

#[test]
fn values_that_make_no_sense_are_refused() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    for args in [
        &["backup", "src", "--as", "../x"][..],
        &["backup", "src", "--as", "x/../../y"],
        &["backup", "src", "--as", ""],
        &["backup", "src", "--host", ""],
        &["import", "--as", "../x", "a.tar"],
        &["import", "--as", "", "a.tar"],
        &["import", "--host", " ", "a.tar"],
        &["rewrite", "latest", "--new-host", ""],
        &["backup", "src", "--expires", "2020-01-01"],
        &["backup", "src", "--expires", "0d"],
        &["forget", "--keep-daily", "-1"],
        &["cleanup", "--keep-last", "-1"],
    ] {
        sandbox.snap(args).expect(2);
    }
    assert_eq!(sandbox.snapshot_names().len(), 1);
    sandbox.ok(&["forget", "--keep-daily", "unlimited", "-n"]);
}

/// Without a terminal a prompt would be an error of its own.
#[test]
fn init_on_a_repository_asks_for_nothing() {
    let mut sandbox = Sandbox::new();
    sandbox.set_password(None);
    let outcome = sandbox.snap(&["init"]).expect(1);
    assert!(outcome.stderr.contains("one exists already"), "{}", outcome.stderr);
}

#[test]
fn a_repository_among_other_things_is_warned_of() {
    let sandbox = Sandbox::bare();
    fs::create_dir(sandbox.path("full")).unwrap();
    fs::write(sandbox.path("full/letter"), "x").unwrap();
    let run = |place: &str| {
        let mut command = sandbox.bin();
        command.args(["-r", place, "init"]);
        finish(command, b"").expect(0).stderr
    };
    let warned = run("full");
    assert!(warned.contains("contains 1 other entry (letter)"), "{warned}");
    fs::create_dir_all(sandbox.path("disk/lost+found")).unwrap();
    assert_eq!(run("disk"), "");
    assert_eq!(run("new"), "");
}

#[test]
fn copy_to_nowhere_says_init() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    for verb in ["copy", "sync"] {
        for more in [&[][..], &["--dry-run"]] {
            let outcome = sandbox.snap(&[&[verb, "--to", "nowhere"], more].concat()).expect(10);
            assert!(outcome.stderr.contains("--init"), "{verb}: {}", outcome.stderr);
            assert!(!outcome.stderr.contains("snap init"), "{verb}: {}", outcome.stderr);
        }
    }
    // A dry run creates no destination, and does not ask for the given flag.
    let outcome = sandbox.snap(&["copy", "--to", "nowhere", "--init", "-n"]).expect(2);
    assert!(outcome.stderr.contains("without it first"), "{}", outcome.stderr);
    assert!(!sandbox.path("nowhere").exists());
    sandbox.ok(&["sync", "--to", "nowhere", "--init", "-n"]);
    assert!(!sandbox.path("nowhere").exists());
}

#[test]
fn forget_says_how_many_it_kept() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    for text in ["1", "2", "3"] {
        sandbox.write(&[("a", text)]);
        sandbox.backup(&[]);
    }
    let outcome = sandbox.ok(&["forget", "latest~1"]).text();
    assert!(outcome.contains("1 snapshot forgotten, 2 kept"), "{outcome}");
    let outcome = sandbox.ok(&["forget", "--keep-last", "1"]).text();
    assert!(outcome.contains("1 snapshot forgotten, 1 kept"), "{outcome}");
}

/// Terms of decoders, type names and debug output are not for users.
const OF_LIBRARIES: [&str; 12] = [
    "varint",
    "authentication tag",
    "Dictionary",
    "Generic ",
    "(os error",
    "\\n",
    "Some(",
    "Err(",
    "invalid utf-8",
    "disallowed",
    "expected value",
    "EOF while",
];

/// Damage that `harm` does to the files of a kind.
fn harmed(area: &str, harm: fn(&mut Vec<u8>)) -> Sandbox {
    let sandbox = Sandbox::with_tree(&[("d/a", "one"), ("d/b", "two"), ("c", "three")]);
    sandbox.backup(&[]);
    for object in sandbox.objects(area) {
        let mut bytes = fs::read(&object).unwrap();
        harm(&mut bytes);
        fs::remove_file(&object).unwrap();
        fs::write(&object, bytes).unwrap();
    }
    sandbox
}

#[test]
fn damage_messages_name_no_libraries_and_no_objects() {
    let harms: [fn(&mut Vec<u8>); 5] = [
        Vec::clear,
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.iter_mut().for_each(|byte| *byte = 0xff),
        |bytes| bytes.iter_mut().skip(30).for_each(|byte| *byte ^= 0x55),
        |bytes| *bytes = b"hello\n".to_vec(),
    ];
    for area in ["config", "keys", "snapshots", "packs"] {
        for (number, harm) in harms.into_iter().enumerate() {
            let sandbox = harmed(area, harm);
            for args in [
                &["snapshots"][..],
                &["check"],
                &["check", "--read-data"],
                &["restore", "latest", "--target", "out/it"],
                &["ls", "latest"],
                &["backup", "src"],
            ] {
                let told = sandbox.snap(args).stderr;
                for word in OF_LIBRARIES {
                    assert!(!told.contains(word), "{area} {number} {args:?}: {word:?} in {told}");
                }
                let is_name = |word: &str| {
                    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
                    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
                };
                let named = told.split([' ', '/', '\n']).find(|word| is_name(word));
                assert!(area == "keys" || named.is_none(), "{area} {number} {args:?}: {named:?} in {told}");
                assert!(!told.contains("chunk "), "{area} {number} {args:?}: {told}");
            }
        }
    }
}

#[test]
fn check_summarizes_damage_and_affected_snapshots() {
    let sandbox = harmed("packs", Vec::clear);
    let packs = sandbox.objects("packs").len();
    let told = sandbox.snap(&["check", "--read-data"]).expect(20).stderr;
    assert!(told.contains(&format!("snap: error: damaged: {packs} packs\n")), "{told}");
    let snapshot = sandbox.snapshot_names().into_iter().next().unwrap();
    let snapshot = &snapshot[..8];
    assert!(told.contains(&format!("snap: error: snapshot {snapshot}: 1 entry affected: /\n")), "{told}");
    let named = sandbox.snap(&["check", "--read-data", "-v"]).expect(20).stderr;
    assert!(named.contains("packs/") && named.contains("is missing"), "{named}");
}

/// No backup helps there.
#[test]
fn damaged_key_slot_is_reported_with_advice() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let mut command = sandbox.command(&["key", "add"]);
    command.env("SNAP_NEW_PASSWORD", "second");
    let before = sandbox.objects("keys");
    finish(command, b"").expect(0);
    let name = sandbox.objects("keys").into_iter().find(|name| !before.contains(name)).unwrap();
    let name = name.file_name().unwrap().to_str().unwrap().to_owned();
    fs::write(sandbox.path("repo/keys").join(&name), "what was a key slot").unwrap();
    let told = sandbox.snap(&["check"]).expect(20).stderr;
    assert!(told.contains("damaged: 1 key slot") && told.contains("snap key remove"), "{told}");
    assert!(!told.contains("back up again"), "{told}");
    sandbox.ok(&["key", "remove", &name]);
    sandbox.ok(&["check"]);
}

/// Anybody who can write to the repository's directory can create a file there. It opens nothing.
#[test]
fn foreign_file_among_key_slots_is_reported_but_no_damage() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let name = "ab".repeat(32);
    fs::write(sandbox.path("repo/keys").join(&name), "planted").unwrap();
    let told = sandbox.ok(&["check"]).stderr;
    assert!(told.contains(&name) && told.contains("snap key remove"), "{told}");
    sandbox.ok(&["key", "remove", &name]);
    assert_eq!(sandbox.ok(&["check"]).stderr, "");
}

#[test]
fn set_option_selects_snapshots_for_every_reading_command() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.write(&[("other/b", "2")]);
    let config = "[repositories.main]\nlocation = \"repo\"\n[sets.mine]\nrepository = \"main\"\nsources = [\"src\"]\n\
                  [sets.other]\nrepository = \"main\"\nsources = [\"src/other\"]\n";
    fs::write(sandbox.path("snap.toml"), config).unwrap();
    let run = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.args(args);
        finish(command, b"")
    };
    run(&["backup"]).expect(0);
    run(&["-r", "./copy", "init"]).expect(0);
    for (args, wanted) in [
        (&["find", "b", "--set", "other"][..], "1 match in 1 snapshot"),
        (&["du", "--set", "mine"], "1 snapshot"),
        (&["stats", "--set", "mine"], "freed:"),
        (&["copy", "--to", "./copy", "--set", "mine"], "1 snapshot"),
        (&["rewrite", "--set", "mine", "--exclude", "a", "-n"], "without 1 file"),
    ] {
        let outcome = run(args).expect(0);
        assert!(outcome.text().contains(wanted), "{args:?}: {}", outcome.all());
    }
    for verb in ["find x", "du", "stats", "copy --to ./copy", "rewrite -e x"] {
        let args: Vec<&str> = verb.split(' ').chain(["--set", "min"]).collect();
        assert!(run(&args).expect(2).stderr.contains("mine"), "{verb}");
    }
}

#[test]
fn unknown_host_is_reported_by_every_command() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.ok(&["backup", "src", "--host", "laptop"]);
    let status = sandbox.snap(&["status", "--host", "labtop"]).expect(1).stderr;
    assert!(status.contains("no backup of host labtop is known"), "{status}");
    for verb in ["find x", "stats", "du", "drill", "rewrite -e x", "ls latest", "restore latest -t out/it"] {
        let args: Vec<&str> = verb.split(' ').chain(["--host", "labtop"]).collect();
        let outcome = sandbox.snap(&args).expect(1);
        assert!(
            outcome.stderr.contains("host labtop") && outcome.stderr.contains("laptop"),
            "{verb}: {}",
            outcome.stderr
        );
    }
    for verb in ["snapshots", "forget --keep-last 1"] {
        let args: Vec<&str> = verb.split(' ').chain(["--host", "labtop"]).collect();
        let outcome = sandbox.snap(&args).expect(0);
        assert!(
            outcome.stderr.contains("host labtop") && outcome.stderr.contains("laptop"),
            "{verb}: {}",
            outcome.stderr
        );
    }
    sandbox.ok(&["status", "--host", "laptop"]);
}

#[test]
fn drill_that_tests_nothing_reports_no_success() {
    let sandbox = Sandbox::with_tree(&[("a", "some text")]);
    sandbox.backup(&[]);
    for option in ["--bytes", "--files"] {
        let refused = sandbox.snap(&["drill", option, "0"]).expect(2);
        assert!(refused.stderr.contains(option), "{}", refused.stderr);
    }
    let outcome = sandbox.snap(&["drill", "--bytes", "1"]).expect(1);
    assert!(outcome.stderr.contains("1 file is larger than --bytes, which is 1 B"), "{}", outcome.all());
    assert!(!outcome.all().contains("no errors were found"), "{}", outcome.all());
}
