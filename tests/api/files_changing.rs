//! Files that change, shrink, disappear or cannot be read during a backup never result in an undetected
//! mixture.
//!
//! A change is made when the first chunks of a file arrive. Readers have a limited number of buffers, and the
//! file is much longer, so it is certainly still being read.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::library::Library;
use crate::support::torture::set_times;
use crate::support::{Random, Sandbox};
use snap_backup::Control;
use snap_backup::ops::backup::Backup;
use snap_backup::ops::{backup, restore};
use snap_backup::progress::{Event, Observer};
use snap_backup::storage::memory::MemoryStorage;

/// Longer than all buffers of the readers.
const LONG: usize = 48 << 20;

struct Story {
    library: Library,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Story {
    fn new() -> Self {
        let library = Library::on(Arc::new(MemoryStorage::default()), None);
        let (old, new) = (Random::new(1).bytes(LONG), Random::new(2).bytes(LONG));
        library.write("src", &[("a", b"before it"), ("long", &old), ("z", b"behind it")]);
        Self { library, old, new }
    }

    /// Backs up. `change` is called with the number of chunks that have arrived.
    fn back_up(&self, change: impl Fn(u64, &Path) + Sync) -> backup::Report {
        let long = self.library.path("src/long");
        let (far, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        let observer = |event: Event<'_>| {
            if let Event::Done { files: 0, bytes } = event
                && bytes > 10_000
            {
                far.fetch_add(bytes, Ordering::Relaxed);
                change(seen.fetch_add(1, Ordering::Relaxed), &long);
            }
        };
        let options = backup::Options {
            sources: vec![self.library.path("src")],
            store_as: Some(b"src".to_vec()),
            ..backup::Options::default()
        };
        Backup::begin(options, None, &Control::default())
            .unwrap()
            .run(&self.library.open(), &Control::new(&observer))
            .unwrap()
    }

    /// Returns the long file from the newest snapshot.
    fn restored(&self) -> (Vec<u8>, fs::Metadata) {
        let (bytes, metadata, _) = self.restored_with(&());
        (bytes, metadata)
    }

    fn restored_with(&self, observer: &dyn Observer) -> (Vec<u8>, fs::Metadata, restore::Report) {
        let target = tempfile::tempdir().unwrap();
        let options = restore::Options {
            selector: "latest".into(),
            target: target.path().to_path_buf(),
            ..restore::Options::default()
        };
        let summary = restore::run(&self.library.open(), &options, &Control::new(observer)).unwrap();
        assert_eq!(summary.problems, []);
        let path = target.path().join("src/long");
        assert_eq!(fs::read(target.path().join("src/z")).unwrap(), b"behind it");
        (fs::read(&path).unwrap(), fs::metadata(path).unwrap(), summary)
    }
}

#[test]
fn a_file_that_changes_once_is_read_again() {
    let story = Story::new();
    let summary = story.back_up(|number, long| {
        if number == 0 {
            // Never shorter, even for a moment: a reader whose buffers are full waits, and so sees the whole
            // change or nothing of it.
            let file = fs::File::options().write(true).open(long).unwrap();
            file.write_all_at(&story.new, 0).unwrap();
            set_times(long, 1_000_000_000, 0);
        }
    });
    assert_eq!((summary.problems.len(), summary.changing, summary.vanished), (0, 0, 0));
    assert!(summary.counts.bytes_read > LONG as u64, "{:?}", summary.counts);
    let (bytes, metadata) = story.restored();
    assert!(bytes == story.new, "a mixture");
    assert_eq!(metadata.mtime(), 1_000_000_000);
}

#[test]
fn changing_file_is_stored_marked_and_read_again_next_time() {
    let story = Story::new();
    let summary =
        story.back_up(|number, long| set_times(long, 1_000_000_000 + i64::try_from(number).unwrap(), 0));
    assert_eq!((summary.problems.len(), summary.changing), (0, 1));
    let told = Mutex::new(Vec::new());
    let (bytes, _, restored) = story.restored_with(&|event: Event<'_>| {
        if let Event::Warning(why) = event {
            told.lock().unwrap().push(why.to_owned());
        }
    });
    assert!(bytes == story.old);
    let told = told.into_inner().unwrap();
    assert_eq!((restored.changing, told.len()), (1, 1));
    assert!(told[0].contains("src/long"), "{told:?}");
    let again = story.back_up(|_, _| {});
    assert_eq!((again.changing, again.counts.files_changed), (0, 1), "the mark goes");
    assert!(again.counts.bytes_read >= LONG as u64);
}

#[test]
fn a_file_that_is_cut_while_it_is_read_is_stored_as_it_is_then() {
    let story = Story::new();
    let summary = story.back_up(|number, long| {
        if number == 0 {
            fs::File::options().write(true).open(long).unwrap().set_len(1000).unwrap();
        }
    });
    assert_eq!((summary.problems.len(), summary.changing), (0, 0));
    assert!(story.restored().0 == story.old[..1000]);
}

#[test]
fn file_replaced_while_read_is_stored_all_new_or_all_old() {
    let story = Story::new();
    let other = story.library.path("other");
    fs::write(&other, &story.new).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o640)).unwrap();
    // The walk saw a file with two names. Its replacement is not one of them.
    fs::hard_link(story.library.path("src/long"), story.library.path("src/second")).unwrap();
    let summary = story.back_up(|number, long| {
        if number == 0 {
            fs::rename(&other, long).unwrap();
        }
    });
    assert_eq!((summary.problems.len(), summary.changing), (0, 0));
    let (bytes, metadata) = story.restored();
    assert!(bytes == story.new || bytes == story.old, "a mixture");
    // On a busy machine everything may have been read before the file was replaced.
    if bytes == story.new {
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o640, 1));
    }
}

#[test]
fn a_file_in_whose_place_a_link_was_put_is_named() {
    let story = Story::new();
    let summary = story.back_up(|number, long| {
        if number == 0 {
            fs::remove_file(long).unwrap();
            symlink("/etc/passwd", long).unwrap();
        }
    });
    assert_eq!((summary.problems.len(), summary.vanished), (1, 0));
    assert_eq!(summary.problems[0].path, b"src/long");
}

#[test]
fn files_gone_before_opening_are_counted() {
    let story = Story::new();
    let gone = story.library.path("src/z");
    let observer = |event: Event<'_>| {
        if matches!(event, Event::Working { path: b"src/z" }) {
            fs::remove_file(&gone).unwrap();
        }
    };
    let options = backup::Options {
        sources: vec![story.library.path("src")],
        store_as: Some(b"src".to_vec()),
        ..backup::Options::default()
    };
    let repo = story.library.open();
    let summary = Backup::begin(options, None, &Control::default())
        .unwrap()
        .run(&repo, &Control::new(&observer))
        .unwrap();
    assert_eq!((summary.problems.len(), summary.vanished, summary.counts.files_new), (0, 1, 2));
    assert_eq!(story.library.errors(), Vec::<String>::new());
}

#[test]
fn unreadable_files_are_named_and_the_rest_is_saved() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("secret", "2"), ("closed/in", "3"), ("z", "4")]);
    crate::support::chmod(&sandbox.src().join("secret"), 0o000);
    crate::support::chmod(&sandbox.src().join("closed"), 0o000);
    let mut command = sandbox.command(&["backup", "--json", "src"]);
    if rustix::process::geteuid().is_root() {
        // Root may read everything, so the backup runs as another user.
        let home = sandbox.src().parent().unwrap().to_path_buf();
        crate::support::chmod(&sandbox.src(), 0o755);
        for entry in walkdir::WalkDir::new(&home) {
            chown(entry.unwrap().path(), Some(65534), Some(65534)).unwrap();
        }
        command.uid(65534).gid(65534);
    }
    let outcome = crate::support::finish(command, b"").expect(3);
    for name in ["secret", "closed"] {
        assert!(outcome.stderr.contains(name), "{name} is not named:\n{}", outcome.stderr);
    }
    assert_eq!(outcome.summary()["files_new"], 2);
    crate::support::chmod(&sandbox.src().join("closed"), 0o700);
}

/// This file exists and can be opened, but reading it fails, because its first page is not mapped.
#[test]
fn an_error_of_the_disk_is_named_and_the_rest_is_saved() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let outcome = sandbox.snap(&["backup", "--json", "src", "/proc/self/mem"]).expect(3);
    assert!(outcome.stderr.contains("mem"), "{}", outcome.stderr);
    assert_eq!(outcome.summary()["files_new"], 1);
}

/// The system fails to read one file, to list one directory, to list the rest of another, or to open a file.
/// Everything that was listed of a directory is saved.
#[test]
fn any_failing_call_is_named_and_the_rest_is_saved() {
    let strace =
        |args: &[&str]| Command::new("strace").args(["-f", "-qq", "-o", "/dev/null"]).args(args).status();
    if !strace(&["true"]).is_ok_and(|status| status.success()) {
        return crate::support::skipped("errors of the disk: strace is not there or may not trace");
    }
    for (name, calls, when, entries) in [
        ("f", "read", "2+", 8),
        ("d", "getdents64", "1+", 8),
        ("d", "getdents64", "2+", 9),
        ("g", "openat,openat2", "1+", 8),
    ] {
        let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/in", "2"), ("e/in", "3"), ("g", "4"), ("z", "5")]);
        fs::write(sandbox.src().join("f"), Random::new(1).bytes(3 << 20)).unwrap();
        let path = sandbox.src().join(name);
        let snap = sandbox.command(&["backup", "--as", "src", sandbox.src().to_str().unwrap()]);
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(&path);
        traced.arg("-e").arg(format!("inject={calls}:error=EIO:when={when}")).arg(snap.get_program());
        traced.args(snap.get_args()).current_dir(snap.get_current_dir().unwrap()).env_clear();
        traced.envs(snap.get_envs().filter_map(|(name, value)| Some((name, value?))));
        traced.env("PATH", std::env::var_os("PATH").unwrap());
        let outcome = crate::support::finish(traced, b"").expect(3);
        let shown = format!("src/{name}: ");
        assert!(outcome.stderr.contains(&shown), "{shown} in {}", outcome.stderr);
        let listed = sandbox.ok(&["ls", "-R", "latest"]).text();
        assert_eq!(listed.lines().count(), entries, "{calls} {when}: {listed}");
        let target = sandbox.restore("latest", &[]);
        assert_eq!(fs::read(target.join("src/z")).unwrap(), b"5");
        assert!(!target.join("src").join(name).is_file(), "{calls}: half of it was stored");
    }
}
