//! `snap drill`: it really restores, rotates through the files, cleans up, and names damage.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use snap_backup::run_log::{RunLog, RunRecord};

use crate::support::{Outcome, Random, Sandbox, finish};

fn drill(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    let private_dir = sandbox.path("out");
    let outcome =
        sandbox.snap(&[&["drill", "--json", "--scratch", private_dir.to_str().unwrap()], args].concat());
    let left: Vec<_> = fs::read_dir(private_dir).unwrap().collect();
    assert!(left.is_empty(), "{left:?} left behind");
    outcome
}

fn last(sandbox: &Sandbox) -> RunRecord {
    RunLog::new(sandbox.state()).read().unwrap().runs.pop().unwrap()
}

/// Creates 20 files of 1000 bytes that are old enough not to be read again.
fn settled() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut random = Random::new(11);
    for number in 0..20 {
        let path = sandbox.src().join(format!("d{}/f{number}", number % 3));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, random.bytes(1000)).unwrap();
    }
    // Later changes of a file would then only be visible in its times.
    std::thread::sleep(Duration::from_millis(3100));
    sandbox
}

#[test]
fn drill_compares_a_sample_with_repository_and_source() {
    let sandbox = settled();
    sandbox.backup(&[]);
    let before = sandbox.listing();
    let outcome = drill(&sandbox, &["--files", "8"]).expect(0);
    let summary = outcome.summary();
    assert_eq!(
        (&summary["files"], &summary["bytes"], &summary["num_errors"]),
        (&8.into(), &8000.into(), &0.into())
    );
    assert_eq!(summary["files_compared_with_source"], 8, "{summary}");
    assert_eq!(sandbox.listing(), before, "a drill leaves the repository as it was");
    let record = last(&sandbox);
    assert!(record.is_good() && record.verb == "drill" && record.numbers.files == Some(8), "{record:?}");

    // The next drills continue where this one ended: after three drills of eight files, each of the twenty
    // files was tested.
    let first = record.cursor.unwrap();
    drill(&sandbox, &["--files", "8"]).expect(0);
    assert_ne!(last(&sandbox).cursor, Some(first));

    // Files that changed since are compared only with the stored chunks.
    fs::write(sandbox.src().join("d0/f0"), "another").unwrap();
    let summary = drill(&sandbox, &["--files", "100"]).expect(0).summary();
    assert_eq!(
        (&summary["files"], &summary["files_compared_with_source"]),
        (&20.into(), &19.into()),
        "{summary}"
    );
    let mut status = sandbox.bin();
    status.arg("status");
    let text = finish(status, b"").text();
    assert!(text.contains("20 files restored, 19 compared"), "{text}");
}

#[test]
fn damage_is_named_and_is_20() {
    let sandbox = settled();
    sandbox.backup(&[]);
    for pack in sandbox.objects("packs") {
        let mut bytes = fs::read(&pack).unwrap();
        // The data packs are the large ones. The tables at both ends stay intact.
        if bytes.len() > 15_000 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&pack, bytes).unwrap();
        }
    }
    let outcome = drill(&sandbox, &["--files", "100"]).expect(20);
    assert!(outcome.summary()["num_errors"].as_u64().unwrap() > 0);
    assert!(outcome.stderr.contains("src/d"), "{}", outcome.stderr);
    assert!(!last(&sandbox).is_good() && last(&sandbox).error.unwrap().contains("src/d"));
    let mut status = sandbox.bin();
    status.arg("status");
    finish(status, b"").expect(20);
}

/// Writes other bytes with the same size and times, which only a comparison can detect.
#[test]
fn silently_corrupted_source_is_detected() {
    let sandbox = Sandbox::new();
    let device = sandbox.path("disk");
    let Some(mounted) = loop_mounted(&device, &sandbox.path("mnt")) else {
        crate::support::skipped("no ext4 on a loop device here: rot under a file system is not tried");
        return;
    };
    let file = sandbox.path("mnt/file");
    fs::write(&file, b"needle that stands on the disk ".repeat(200)).unwrap();
    mounted.sync();
    std::thread::sleep(Duration::from_millis(3100));
    sandbox.ok(&["backup", "mnt"]);
    assert_eq!(drill(&sandbox, &[]).expect(0).summary()["files_compared_with_source"], 1);
    let mounted = mounted.change(|disk| {
        let at = disk.windows(6).position(|bytes| bytes == b"needle").unwrap();
        disk[at] = b'N';
    });
    let outcome = drill(&sandbox, &[]).expect(20);
    assert!(
        outcome.stderr.contains("mnt/file: the source has the same size and times"),
        "{}",
        outcome.stderr
    );

    // A backup that reads the file again detects it, too, and the good bytes can be restored.
    assert_eq!(fs::read(&file).unwrap()[0], b'N');
    sandbox.ok(&["backup", "mnt"]);
    let found = sandbox.snap(&["backup", "mnt", "--reread", "100%"]).expect(24);
    assert!(found.stderr.contains("silent corruption: mnt/file has different bytes"), "{}", found.stderr);
    sandbox.ok(&["heal", "--yes", "mnt/file"]);
    assert_eq!(fs::read(&file).unwrap()[0], b'n');
    drop(mounted);
}

#[test]
fn drill_that_tests_nothing_fails() {
    let sandbox = Sandbox::with_tree(&[("large", "0123456789")]);
    drill(&sandbox, &[]).expect(1);
    sandbox.backup(&[]);
    let outcome = drill(&sandbox, &["--bytes", "5"]).expect(1);
    assert!(outcome.stderr.contains("--bytes"), "{}", outcome.stderr);
    assert!(!last(&sandbox).is_good());
    let outcome = drill(&sandbox, &["--time", "0s"]).expect(1);
    assert!(outcome.stderr.contains("--time"), "{}", outcome.stderr);
    drill(&sandbox, &["latest"]).expect(0);
    drill(&sandbox, &["--tag", "none"]).expect(1);
}

/// The exit status of the command decides the result of the drill.
#[test]
fn a_command_in_the_restored_tree_decides_how_the_drill_ends() {
    let sandbox = Sandbox::with_tree(&[("a", "one\n"), ("sub/b", "two\n")]);
    drill(&sandbox, &["--run", "true"]).expect(1);
    sandbox.backup(&[]);
    let check = "test \"$PWD\" = \"$SNAP_DRILL_DIR\" && test -z \"$SNAP_PASSWORD\" && cat src/a src/sub/b && \
        echo $SNAP_SNAPSHOT && echo complaint >&2 && echo all is well";
    let good = drill(&sandbox, &["--run", check]).expect(0);
    for line in ["one", "two", "complaint", sandbox.snapshot_names().first().unwrap()] {
        assert!(good.stderr.lines().any(|found| found == line), "{line}: {}", good.stderr);
    }
    let summary = good.summary();
    let run = &summary["runs"][0];
    assert_eq!((&run["succeeded"], &run["said"]), (&true.into(), &"all is well".into()), "{summary}");
    assert_eq!(summary["files"], 2);
    assert!(sandbox.ok(&["status"]).text().contains("the command said: all is well"));

    let bad = drill(&sandbox, &["--run", "echo no such table; exit 3"]).expect(25);
    assert_eq!(bad.summary()["runs"][0]["succeeded"], false);
    for text in ["exit status: 3", "no such table"] {
        assert!(last(&sandbox).error.unwrap().contains(text), "{}", bad.stderr);
    }
    assert!(!last(&sandbox).is_good());
    let slow = drill(&sandbox, &["--run", "sleep 60", "--run-timeout", "1s"]).expect(25);
    assert!(slow.stderr.contains("longer than 1 s"), "{}", slow.stderr);
    // Processes that the command leaves running are stopped, and do not delay the drill.
    drill(&sandbox, &["--run", "sleep 600 & echo started"]).expect(0);

    drill(&sandbox, &["--run", "test ! -e src/a && cat src/sub/b", "--include", "src/sub"]).expect(0);
    drill(&sandbox, &["--run", "true", "--include", "nothing"]).expect(3);
    for wrong in [&["--include", "src/sub"][..], &["--run-timeout", "1s"], &["--run", ""]] {
        drill(&sandbox, wrong).expect(2);
    }
    let (repo, src) = (sandbox.path("repo"), sandbox.src());
    let set = format!("[sets.a]\nrepository = '{}'\nsources = ['{}']\n", repo.display(), src.display());
    fs::write(
        sandbox.path("snap.toml"),
        format!("{set}drill = {{ run = 'ls missing', run-timeout = '1m' }}\n"),
    )
    .unwrap();
    drill(&sandbox, &["--set", "a"]).expect(25);
    drill(&sandbox, &["--set", "a", "--run", "true"]).expect(0);
}

/// As root, inode flags protect files even from root. Otherwise a directory without write permission does.
#[test]
fn drill_removes_locked_files_and_leftovers_of_killed_drills() {
    let sandbox = Sandbox::with_tree(&[("locked/a", "1"), ("b", "2")]);
    crate::support::chmod(&sandbox.src().join("locked"), 0o500);
    let flagged = std::process::Command::new("chattr").arg("+i").arg(sandbox.src().join("b")).status();
    sandbox.backup(&[]);
    let _ = std::process::Command::new("chattr").arg("-i").arg(sandbox.src().join("b")).status();
    if !flagged.is_ok_and(|status| status.success()) {
        crate::support::skipped("no chattr +i here: only modes lock what is restored");
    }
    fs::create_dir_all(sandbox.path("out/.snap-scratch-1-2-3/0/src")).unwrap();
    let held = fs::File::open(sandbox.path("out/.snap-scratch-1-2-3")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let private_dir = sandbox.path("out");
    let run = || sandbox.ok(&["drill", "--scratch", private_dir.to_str().unwrap()]);
    let names =
        || fs::read_dir(&private_dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>();
    run();
    assert_eq!(names().len(), 1, "one that is in use stays, ours is gone: {:?}", names());
    drop(held);
    run();
    assert!(names().is_empty(), "{:?}", names());
    crate::support::chmod(&sandbox.src().join("locked"), 0o700);
}

/// A file system in a file.
struct Loop {
    image: PathBuf,
    place: PathBuf,
}

fn run(command: &[&str]) -> bool {
    let result = std::process::Command::new(command[0]).args(&command[1..]).output();
    result.is_ok_and(|output| output.status.success())
}

fn loop_mounted(image: &std::path::Path, place: &std::path::Path) -> Option<Loop> {
    fs::create_dir(place).unwrap();
    fs::write(image, vec![0; 8 << 20]).unwrap();
    let mounted = Loop { image: image.to_owned(), place: place.to_owned() };
    let made = run(&["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum", image.to_str().unwrap()]);
    (made && mounted.mount()).then_some(mounted)
}

impl Loop {
    fn mount(&self) -> bool {
        run(&["mount", "-o", "loop", self.image.to_str().unwrap(), self.place.to_str().unwrap()])
    }

    fn sync(&self) {
        assert!(run(&["sync", "-f", self.place.to_str().unwrap()]));
    }

    /// Changes the disk without the file system noticing.
    fn change(self, work: impl FnOnce(&mut Vec<u8>)) -> Self {
        assert!(run(&["umount", self.place.to_str().unwrap()]));
        let mut disk = fs::read(&self.image).unwrap();
        work(&mut disk);
        fs::write(&self.image, disk).unwrap();
        assert!(self.mount());
        self
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run(&["umount", self.place.to_str().unwrap()]);
    }
}
