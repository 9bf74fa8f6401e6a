//! Pages whose commands need only the local disk.

use std::fs;
use std::os::unix::fs::symlink;

use snap_backup::model::entry::Time;
use snap_backup::run_log::{Ending, RunRecord};

use super::{REPOSITORY, block, shape, transcribe};
use crate::guide::run_script;
use crate::status::{age_records, run_log};
use crate::support::dates::redate;
use crate::support::{PASSWORD, Sandbox, finish};

/// A sandbox that backs up its `home/me/src`, as in the pages.
fn of_me(tree: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("home/me")).unwrap();
    fs::remove_dir(sandbox.src()).unwrap();
    fs::create_dir(sandbox.path("home/me/src")).unwrap();
    symlink("home/me/src", sandbox.src()).unwrap();
    sandbox.write(tree);
    sandbox
}

fn back_up(sandbox: &Sandbox, args: &[&str]) -> String {
    let before = sandbox.snapshot_names();
    let source = sandbox.path("home/me/src");
    sandbox.ok(&[&["backup", source.to_str().unwrap(), "--host", "vm"], args].concat());
    sandbox.snapshot_names().difference(&before).next().unwrap().clone()
}

/// Returns the directory that replaces `/home` of a page.
fn home(sandbox: &Sandbox) -> String {
    sandbox.path("home").to_str().unwrap().to_owned()
}

#[test]
fn the_delta_of_archives_is_unpacked_as_it_stands() {
    let sandbox = Sandbox::new();
    let script = format!(
        "{REPOSITORY}\nmkdir -p src/gone DIR\necho 1 > src/a\necho 2 > src/gone/b\nsnap backup src\ncp -a src DIR/\n\
         rm -r src/gone\necho 3 > src/a\necho 4 > src/new\nsnap backup src\n\
         snap export latest --delta -o delta.tar.gz\n{}diff -r src DIR/src\n",
        block("archives.md", 0)
    );
    run_script(&sandbox.path("home"), &script);
}

#[test]
fn copies_are_made_as_shown() {
    let sandbox = of_me(&[("a", "1")]);
    back_up(&sandbox, &[]);
    sandbox.write(&[("b", "2")]);
    back_up(&sandbox, &[]);
    let disk = sandbox.path("disk");
    fs::create_dir(&disk).unwrap();
    transcribe(&sandbox, REPOSITORY, &block("copies.md", 0), &[("/mnt/disk", disk.to_str().unwrap())]);
}

#[test]
fn a_name_is_found_as_shown() {
    let large = "x".repeat(105_000);
    let sandbox = of_me(&[("lib.rs", &large)]);
    back_up(&sandbox, &["--as", "src"]);
    back_up(&sandbox, &["--as", "src", "--allow-empty"]);
    sandbox.write(&[("lib.rs", &(large + "more"))]);
    back_up(&sandbox, &["--as", "src"]);
    transcribe(&sandbox, REPOSITORY, &block("history.md", 0), &[]);
}

/// A Sunday and a Tuesday of one month, at least five days ago.
fn sunday() -> i64 {
    let today = Time::now().sec / 86_400;
    // The first day of 1970 was a Thursday.
    let last = (today - 5) - (today - 5 + 4) % 7;
    let month = |day: i64| {
        let date = std::process::Command::new("date")
            .args(["-u", "-d", &format!("@{}", day * 86_400), "+%m"])
            .output();
        date.unwrap().stdout
    };
    let sunday = [last, last - 7].into_iter().find(|day| month(*day) == month(*day + 2)).unwrap();
    sunday * 86_400
}

#[test]
fn forget_prints_as_documented() {
    let sandbox = of_me(&[("a", "1")]);
    let sunday = sunday();
    let at = |day: i64, hour: i64, minute: i64| Time {
        sec: sunday + day * 86_400 + hour * 3600 + minute * 60,
        ..Time::now()
    };
    for (kind, text, time) in [
        ("--full", "1", at(0, 19, 58)),
        ("--incremental", "2", at(2, 10, 58)),
        ("--incremental", "3", at(2, 19, 0)),
    ] {
        sandbox.write(&[("a", text)]);
        let id = back_up(&sandbox, &[kind]);
        redate(&sandbox.path("repo"), Some(PASSWORD), &id, time);
    }
    transcribe(&sandbox, REPOSITORY, &block("retention.md", 0), &[("/home", &home(&sandbox))]);
}

#[test]
fn snapshots_are_named_as_the_page_on_selectors_does() {
    let sandbox = Sandbox::new();
    let here = sandbox.path("").to_str().unwrap().trim_matches('/').to_owned();
    let set = "[repositories.main]\nlocation = \"~/../repo\"\n[sets.documents]\nrepository = \"main\"\nsources = [\"/home/me\", \"/etc/ssh\"]\n";
    let script = format!(
        "{REPOSITORY}\nmkdir -p /home/me/documents /etc/ssh .config/snap\necho host > /etc/ssh/config\n\
         echo 1 > /home/me/notes.txt\necho 1 > /home/me/documents/a\ncat > .config/snap/snap.toml <<'END'\n{set}END\n\
         snap backup\necho 2 > /home/me/documents/b\nsnap backup /home/me --host laptop\nsnap backup\n{}{}\
         test -e /tmp/laptop/home/me/notes.txt && test -e /tmp/ssh/config",
        block("selectors.md", 0),
        block("selectors.md", 1)
    );
    let script = script
        .replace("2026-11-24", "\"$(date +%F)\"")
        .replace("home/me", &format!("{here}/home/me"))
        .replace("etc/ssh", &format!("{here}/etc/ssh"))
        .replace("/tmp/laptop/", &format!("/{here}/out/laptop/"))
        .replace("/tmp/laptop", &format!("/{here}/out/laptop"))
        .replace("/tmp/ssh", &format!("/{here}/out/ssh"));
    let all = run_script(&sandbox.path("home"), &script);
    assert!(all.contains("documents/b"), "{all}");
}

#[test]
fn drill_and_status_print_as_documented() {
    let files: Vec<(String, String)> =
        (0..60).map(|number| (format!("{number}"), format!("text {number}"))).collect();
    let tree: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let sandbox = of_me(&tree);
    let home = home(&sandbox);
    let source = sandbox.path("home/me/src");
    let failing =
        ["backup", source.to_str().unwrap(), "--host", "vm", "--exclude-file", &format!("{home}/me/list")];
    sandbox.snap(&failing).expect(1);
    age_records(&sandbox, 23, None);
    let made = back_up(&sandbox, &["--full"]);
    sandbox.ok(&["check", "--read-data"]);
    let before = Time { sec: Time::now().sec - 56 * 3600, ..Time::now() };
    let made = redate(&sandbox.path("repo"), Some(PASSWORD), &made, before);
    age_records(&sandbox, 49, Some(&made));
    let run = run_log(&sandbox).read().unwrap().runs.pop().unwrap();
    let mut earlier = RunRecord::new("check", &run.repository);
    earlier.start.sec -= 86_400 * 9;
    (earlier.end, earlier.ending) = (Some(earlier.start), Some(Ending::Done));
    earlier.numbers.repository_bytes = Some(10);
    run_log(&sandbox).append(&earlier).unwrap();
    sandbox.ok(&["backup", source.to_str().unwrap(), "--host", "vm"]);
    age_records(&sandbox, 7, Some(&made));
    let repo = sandbox.path("repo");
    let places = [("/home", home.as_str()), ("/backup/repo", repo.to_str().unwrap())];
    transcribe(&sandbox, &format!("{REPOSITORY} HOSTNAME=vm"), &block("status.md", 0), &places);
    // Two snapshots, between which three files were deleted.
    for name in ["1", "2", "3"] {
        fs::remove_file(source.join(name)).unwrap();
    }
    back_up(&sandbox, &[]);
    let told = sandbox.ok(&["drill"]).text();
    let shown = block("status.md", 1);
    assert_eq!(
        told.lines().map(shape).collect::<Vec<_>>(),
        shown.lines().skip(1).map(shape).collect::<Vec<_>>()
    );
}

#[test]
fn lists_are_shown_without_a_pager_and_with_another() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let script = format!("{REPOSITORY}\n{}", block("terminal.md", 1));
    let all = run_script(&sandbox.path("home"), &script);
    assert!(all.contains("src\n") && all.contains("1 snapshot"), "{all}");
}

#[test]
fn the_configurations_of_the_pages_are_taken() {
    let sandbox = Sandbox::bare();
    for (page, number) in [
        ("configuration.md", 0),
        ("schedule.md", 0),
        ("schedule.md", 1),
        ("status.md", 2),
        ("retention.md", 1),
    ] {
        let added = block(page, number);
        let set = added.split([']', '.']).nth(1).unwrap();
        // A later block of a page shows a part of a set.
        let text = match added.contains("sources = ") {
            true => added.clone(),
            false if added.starts_with(&format!("[sets.{set}]")) => {
                added.replacen(']', "]\nsources = ['/home']", 1)
            }
            false => format!("[sets.{set}]\nsources = ['/home']\n{added}"),
        };
        fs::write(sandbox.path("snap.toml"), text).unwrap();
        let mut check = sandbox.bin();
        check.args(["config", "check"]).env("PING_KEY", "key");
        finish(check, b"").expect(0);
    }
}

#[test]
fn a_fleet_is_set_up_as_shown() {
    let sandbox = Sandbox::bare();
    let before = "export SNAP_REPO=$HOME/fleet SNAP_PASSWORD=full SNAP_KDF_MEMORY=8M SNAP_KDF_PASSES=1\n\
        for name in web1 db1 drills; do echo $name > $name.password; done\nmkdir src\necho 1 > src/a";
    let after = "snap --password-file web1.password backup src\n\
        snap --password-file drills.password restore latest --target out\ncmp src/a out/src/a";
    let script = format!("{before}\n{}\n{after}\n", block("clients.md", 0));
    run_script(&sandbox.path("home"), &script);
}
