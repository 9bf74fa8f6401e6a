//! A mount shows what a restore writes, while others write, forget and run gc.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Random, Sandbox, torture};
use rustix::fs::IFlags;
use rustix::process::{Pid, Signal};
use snap_backup::Control;
use snap_backup::ops::mount::{FsError, Mount, Options, TOP};
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::storage::local::LocalStorage;

/// Nothing takes longer than this on any machine.
const LONG: Duration = Duration::from_secs(60);

/// A mount in the foreground.
struct Mounted {
    child: Child,
    at: PathBuf,
    log: PathBuf,
}

impl Mounted {
    /// Returns `None`, with a message, if this machine or user cannot mount.
    fn new(sandbox: &Sandbox, args: &[&str]) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let at = sandbox.path("mnt");
        fs::create_dir_all(&at).unwrap();
        let log = sandbox.path("mount.log");
        let mut command = sandbox.command(&[&["mount", "-f", "mnt"], args].concat());
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("mounted at "), "{line}{}", fs::read_to_string(&log).unwrap());
        Some(Self { child, at, log })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Returns its peak memory in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits for its end, which must be successful.
    fn ended(mut self) -> String {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // After a failed test it is still running.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub(crate) fn can_mount() -> bool {
    let able = File::options().read(true).write(true).open("/dev/fuse").is_ok();
    if !able || !rustix::process::geteuid().is_root() {
        crate::support::skipped("mounting needs root and /dev/fuse");
        return false;
    }
    true
}

fn names(dir: &Path) -> BTreeSet<OsString> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// Polls until the condition holds: snapshots are listed at most once a second.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "after {LONG:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn sessions(sandbox: &Sandbox) -> usize {
    sandbox.objects("sessions").len()
}

/// Sets a flag when it is dropped.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Removes flags that would prevent removing the sandbox.
struct Unlock(PathBuf);

impl Drop for Unlock {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(&self.0).output();
    }
}

#[test]
fn a_mount_shows_what_a_restore_writes() {
    if !torture::can_torture("a_mount_shows_what_a_restore_writes") || !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let _unlock = Unlock(sandbox.path(""));
    fs::remove_dir(sandbox.src()).unwrap();
    torture::torture(&sandbox.src());
    sandbox.backup(&[]);
    let restored = sandbox.restore("latest", &[]).join("src");
    let mounted = Mounted::new(&sandbox, &[]).unwrap();
    let shown = mounted.path("latest/src");
    let differences = torture::differences_but_flags(&restored, &shown);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    for path in crate::support::files_below(&restored) {
        let same = shown.join(path.strip_prefix(&restored).unwrap());
        assert_eq!(flags(&path), flags(&same), "{}", same.display());
    }
    // And the reverse: there is nothing more.
    let differences = torture::differences_but_flags(&shown, &restored);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let links = |root: &Path| -> Vec<u64> {
        let files = crate::support::files_below(root);
        files.iter().map(|path| fs::symlink_metadata(path).unwrap().nlink()).collect()
    };
    assert_eq!(links(&restored), links(&shown));
    assert!(fs::write(shown.join("new"), "x").is_err());
    mounted.signal(Signal::TERM);
    assert_eq!(mounted.ended(), "");
    assert_eq!(sessions(&sandbox), 0);
}

/// Inode flags that are restored.
fn flags(path: &Path) -> IFlags {
    let kept = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP | IFlags::COMPRESSED;
    rustix::fs::ioctl_getflags(File::open(path).unwrap()).unwrap() & kept
}

/// A large file with holes, a directory with many files, and a short file.
fn large(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut random = Random::new(7);
    fs::write(sandbox.src().join("large"), random.bytes(40 << 20)).unwrap();
    let text: String = (0..400_000).map(|number| format!("{number} is a line\n")).collect();
    sandbox.write(&[("text", &text), ("short", "short")]);
    let (head, tail) = (random.bytes(300_000), random.bytes(5000));
    torture::sparse(&sandbox.src().join("sparse"), 64 << 20, &[(0, &head), (40 << 20, &tail)]);
    for number in 0..300 {
        sandbox.write(&[(&format!("small/{}/{number}", number % 7), &format!("file {number}"))]);
    }
    crate::support::files_below(&sandbox.src())
}

#[test]
fn many_readers_at_once_read_what_was_saved() {
    let sandbox = Sandbox::new();
    let files = large(&sandbox);
    sandbox.backup(&[]);
    let Some(mounted) = Mounted::new(&sandbox, &[]) else { return };
    let root = mounted.path("latest");
    let shown = |path: &Path| root.join(path.strip_prefix(sandbox.path("")).unwrap());
    // Another process reads sequentially meanwhile.
    let mut other = Command::new("diff");
    other.args(["-r", "src"]).arg(root.join("src")).current_dir(sandbox.path(""));
    let mut other = other.spawn().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (files, shown) = (&files, &shown);
            scope.spawn(move || {
                let mut random = Random::new(seed + 1);
                for _ in 0..60 {
                    let path = match random.below(3) {
                        0 => random.pick(files),
                        _ => files.iter().find(|path| path.ends_with("large")).unwrap(),
                    };
                    let original = File::open(path).unwrap();
                    let len = original.metadata().unwrap().len();
                    let (at, size) = (random.below(len + 1), random.below(300_000));
                    let read = |file: &File| {
                        let mut bytes = Vec::new();
                        let mut some = vec![0; usize::try_from(size.min(len - at)).unwrap()];
                        file.read_exact_at(&mut some, at).unwrap();
                        bytes.append(&mut some);
                        bytes
                    };
                    let found = File::open(shown(path)).unwrap();
                    assert!(read(&original) == read(&found), "{} from {at}", path.display());
                }
            });
        }
    });
    assert!(other.wait().unwrap().success(), "diff -r");
    assert!(mounted.peak() < 256 << 10, "{} KiB", mounted.peak());
    mounted.signal(Signal::INT);
    assert_eq!(mounted.ended(), "");
}

#[test]
fn snapshots_come_and_go_in_a_mount() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&["--host", "one", "--tag", "x/y"]);
    let Some(mounted) = Mounted::new(&sandbox, &[]) else { return };
    let all = mounted.path("snapshots");
    let first = names(&all);
    assert_eq!(first.len(), 1);
    assert_eq!(names(&mounted.path("hosts/one")).len(), 2, "itself and latest");
    assert_eq!(fs::read_to_string(mounted.path("tags/x%2Fy/latest/src/a")).unwrap(), "1");
    sandbox.write(&[("a", "22")]);
    let second = sandbox.backup(&["--host", "two", "--full"]);
    until("the new snapshot is shown", || names(&all).len() == 2);
    assert!(names(&all).is_superset(&first));
    assert_eq!(names(&mounted.path("hosts")).len(), 2);
    let latest = || fs::read_to_string(mounted.path("latest/src/a")).unwrap_or_default();
    until("latest is the new one", || latest() == "22");
    assert_eq!(fs::read_to_string(mounted.path("hosts/one/latest/src/a")).unwrap(), "1");
    sandbox.ok(&["forget", &second, "--allow-remove-all"]);
    until("the forgotten snapshot is gone", || names(&all) == first);
    until("latest is the old one", || latest() == "1");
    assert!(!names(&mounted.path("hosts")).contains(&OsString::from("two")));
    sandbox.ok(&["undelete", &second]);
    until("it is back", || names(&all).len() == 2);
}

#[test]
fn filters_choose_what_a_mount_shows() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    for host in ["one", "two"] {
        sandbox.backup(&["--host", host, "--full"]);
    }
    let Some(mounted) = Mounted::new(&sandbox, &["--host", "two"]) else { return };
    assert_eq!(names(&mounted.path("snapshots")).len(), 1);
    assert_eq!(names(&mounted.path("hosts")), BTreeSet::from(["two".into()]));
}

#[test]
fn snapshots_of_one_second_have_names_of_their_own() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let ids: BTreeSet<String> = (0..6).map(|_| sandbox.backup(&["--full"])).collect();
    let Some(mounted) = Mounted::new(&sandbox, &[]) else { return };
    assert_eq!(names(&mounted.path("snapshots")).len(), ids.len());
}

#[test]
fn a_mount_that_is_read_from_is_unmounted_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let files = large(&sandbox);
    sandbox.backup(&[]);
    let Some(mounted) = Mounted::new(&sandbox, &[]) else { return };
    let (root, at) = (mounted.path("latest"), mounted.at.clone());
    let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        // Also if the test fails: the readers would never end.
        let end = Raised(&over);
        for seed in 0..4 {
            let (files, root, sandbox, begun, over) = (&files, &root, &sandbox, &begun, &over);
            scope.spawn(move || {
                let mut random = Random::new(seed + 1);
                while !over.load(Ordering::Relaxed) {
                    let path = random.pick(files);
                    let Ok(mut found) = File::open(root.join(path.strip_prefix(sandbox.path("")).unwrap()))
                    else {
                        continue;
                    };
                    let mut bytes = Vec::new();
                    // A process that has it open reads to its end, or gets an error. None reads other data.
                    if found.read_to_end(&mut bytes).is_ok() {
                        assert!(bytes == fs::read(path).unwrap(), "{}", path.display());
                        begun.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
        until("somebody reads", || begun.load(Ordering::Relaxed));
        mounted.signal(Signal::TERM);
        mounted.ended();
        drop(end);
    });
    assert_eq!(names(&at).len(), 0, "nothing is mounted there");
    assert_eq!(sessions(&sandbox), 0);
    sandbox.assert_clean();
}

#[test]
fn a_mount_in_the_background_says_how_to_end_it() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    if !can_mount() {
        return;
    }
    let at = sandbox.path("mnt");
    fs::create_dir(&at).unwrap();
    let mut command = sandbox.command(&["mount", "mnt", "--json", "--password-file", "password"]);
    fs::write(sandbox.path("password"), crate::support::PASSWORD).unwrap();
    crate::support::chmod(&sandbox.path("password"), 0o600);
    command.env_remove("SNAP_PASSWORD");
    let said = crate::support::finish(command, b"").expect(0).json();
    let pid = said["pid"].as_u64().unwrap();
    assert_eq!(said["target"], at.to_str().unwrap());
    // The password is not in what everybody may read.
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains(crate::support::PASSWORD));
    assert_eq!(fs::read_to_string(at.join("latest/src/a")).unwrap(), "1");
    let again = sandbox.snap(&["mount", "mnt"]).expect(2);
    assert!(again.stderr.contains("mounted there already"), "{}", again.stderr);
    rustix::mount::unmount(&at, rustix::mount::UnmountFlags::empty()).unwrap();
    until("the process has ended", || !Path::new(&format!("/proc/{pid}")).exists() || is_zombie(pid));
    assert_eq!(sessions(&sandbox), 0);
    assert_eq!(fs::read_to_string(sandbox.path("state/mount.log")).unwrap(), "");
}

/// There may be no process left to wait for it.
fn is_zombie(pid: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[test]
fn unusable_mount_points_are_refused() {
    let mut sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    if !can_mount() {
        return;
    }
    for (target, why) in [("src", "not empty"), ("src/a", "not a directory"), ("none", "no such directory")] {
        let refused = sandbox.snap(&["mount", target]).expect(2);
        assert!(refused.stderr.contains(why), "{target}: {}", refused.stderr);
    }
    fs::create_dir(sandbox.path("mnt")).unwrap();
    sandbox.set_password(Some("wrong"));
    for args in [["mount", "mnt", "-f"].as_slice(), &["mount", "mnt"]] {
        sandbox.snap(args).expect(12);
    }
    assert_eq!(names(&sandbox.path("mnt")).len(), 0);
    assert_eq!(sessions(&sandbox), 0);
}

#[test]
fn a_dead_mount_is_to_be_unmounted_first() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let Some(mut mounted) = Mounted::new(&sandbox, &[]) else { return };
    mounted.child.kill().unwrap();
    mounted.child.wait().unwrap();
    let refused = sandbox.snap(&["mount", "mnt"]);
    rustix::mount::unmount(&mounted.at, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(refused.code == 2 && refused.stderr.contains("whose program has ended"), "{}", refused.all());
    assert!(refused.stderr.contains("unmount it first with"), "{}", refused.stderr);
}

/// A mount of a repository whose sessions send twelve heartbeats in so many seconds, not in an hour.
fn lively(stale_after: u64) -> Sandbox {
    let sandbox = Sandbox::bare();
    let options = InitOptions {
        password: Some(crate::support::PASSWORD.to_owned().into()),
        cache: Some(sandbox.cache()),
        stale_after: Duration::from_secs(stale_after),
        ..InitOptions::default()
    };
    Repository::init(Arc::new(LocalStorage::new(sandbox.path("repo"))), &options).unwrap();
    sandbox
}

#[test]
fn inodes_are_dropped_when_the_kernel_forgets_them() {
    let sandbox = Sandbox::new();
    let names: Vec<String> = (0..40).map(|number| format!("d{}/f{number}", number % 4)).collect();
    names.iter().for_each(|name| sandbox.write(&[(name, name)]));
    sandbox.backup(&[]);
    let access = OpenOptions {
        password: Some(crate::support::PASSWORD.to_owned().into()),
        cache: None,
        ..OpenOptions::default()
    };
    let repo = Repository::open(Arc::new(LocalStorage::new(sandbox.path("repo"))), &access).unwrap();
    let mount = Mount::open(&repo, Options::default(), &Control::default()).unwrap();
    let find = |path: &str| {
        let parts = path
            .split('/')
            .fold((TOP, TOP), |(_, above), name| (above, mount.lookup(above, name.as_bytes()).unwrap().ino));
        parts.1
    };
    let link = mount.readlink(find("latest")).unwrap();
    let root = format!("{}/src", String::from_utf8(link).unwrap());
    let inodes: Vec<u64> = names.iter().map(|name| find(&format!("{root}/{name}"))).collect();
    assert_eq!(inodes.iter().collect::<BTreeSet<_>>().len(), names.len(), "each has a number of its own");
    let all = mount.inodes();
    assert_eq!(mount.surplus(all), []);
    let surplus = mount.surplus(all - 25);
    assert_eq!(surplus.len(), 25);
    for (parent, name) in &surplus {
        let ino = mount.lookup(*parent, name).unwrap().ino;
        assert!(inodes.contains(&ino));
        // Once for this look-up, once for the first.
        mount.forget(ino, 2);
        assert_eq!(mount.attributes(ino), Err(FsError::Stale));
    }
    assert_eq!(mount.inodes(), all - 25);
    let again: Vec<u64> = names.iter().map(|name| find(&format!("{root}/{name}"))).collect();
    assert_eq!(again, inodes);
    mount.leave().unwrap();
    assert_eq!(sessions(&sandbox), 0);
}

/// Returns the heartbeat of the only session.
fn heartbeat_of(sandbox: &Sandbox) -> Vec<u8> {
    let all = sandbox.objects("sessions");
    let one = all.iter().find(|path| path.extension().is_some_and(|end| end == "beat"));
    one.and_then(|path| fs::read(path).ok()).unwrap_or_default()
}

/// Returns the packs that a gc run leaves.
fn packs(sandbox: &Sandbox) -> usize {
    sandbox.objects("packs").len()
}

#[test]
fn gc_waits_only_for_open_files_of_a_mount() {
    // Open files of a forgotten snapshot are kept for that long.
    let sandbox = lively(60);
    let bytes = Random::new(3).bytes(3 << 20);
    fs::write(sandbox.src().join("a"), &bytes).unwrap();
    let first = sandbox.backup(&["--full"]);
    fs::remove_file(sandbox.src().join("a")).unwrap();
    sandbox.write(&[("b", "2")]);
    sandbox.backup(&["--full"]);
    let Some(mounted) = Mounted::new(&sandbox, &[]) else { return };
    let all = mounted.path("snapshots");
    let find = || names(&all).into_iter().find(|name| all.join(name).join("src/a").exists()).unwrap();
    let open = File::open(all.join(find()).join("src/a")).unwrap();
    let before = packs(&sandbox);
    sandbox.ok(&["forget", &first]);
    until("it is shown no more", || names(&all).len() == 1);
    sandbox.ok(&["gc", "--empty-trash"]);
    for _ in 0..2 {
        let said = heartbeat_of(&sandbox);
        until("the session has looked at that gc run", || heartbeat_of(&sandbox) != said);
    }
    sandbox.ok(&["gc", "--empty-trash"]);
    assert_eq!(packs(&sandbox), before, "what is open is still there");
    let mut read = Vec::new();
    (&open).read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    drop(open);
    until("the gc run goes ahead", || {
        // Something is open, so the session declares what it reads now.
        names(&all);
        sandbox.ok(&["gc", "--empty-trash"]);
        packs(&sandbox) < before
    });
    assert_eq!(fs::read_to_string(mounted.path("latest/src/b")).unwrap(), "2");
    // And data that a gc run moves is read at its new place.
    mounted.signal(Signal::TERM);
    assert_eq!(mounted.ended(), "");
    sandbox.assert_clean();
}

#[test]
fn mount_reads_moved_data_at_its_new_place() {
    let sandbox = lively(36);
    let mut random = Random::new(5);
    let files: Vec<(String, Vec<u8>)> =
        (0..6).map(|number| (format!("f{number}"), random.bytes(200_000))).collect();
    for (name, bytes) in &files {
        fs::write(sandbox.src().join(name), bytes).unwrap();
    }
    let first = sandbox.backup(&["--full"]);
    for (name, _) in files.iter().skip(1) {
        fs::remove_file(sandbox.src().join(name)).unwrap();
    }
    sandbox.backup(&["--full"]);
    let Some(mounted) = Mounted::new(&sandbox, &[]) else { return };
    let path = mounted.path("latest/src/f0");
    let open = File::open(&path).unwrap();
    let part = |from: u64| {
        let mut some = vec![0; 1000];
        open.read_exact_at(&mut some, from).unwrap();
        some
    };
    assert!(part(0) == files[0].1[..1000]);
    let packs = sandbox.objects("packs").into_iter();
    let data = packs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    sandbox.ok(&["forget", &first]);
    until("the pack was written anew", || {
        names(&mounted.path("snapshots"));
        sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
        !data.exists()
    });
    assert!(fs::read(&path).unwrap() == files[0].1);
    assert!(part(150_000) == files[0].1[150_000..151_000]);
    assert_eq!(mounted.log(), "");
}

#[test]
fn damage_is_an_error_where_it_is_read_reported_once() {
    let sandbox = Sandbox::new();
    let mut random = Random::new(9);
    let (good, bad) = (random.bytes(400_000), random.bytes(400_000));
    fs::write(sandbox.src().join("good"), &good).unwrap();
    sandbox.backup(&[]);
    let before: BTreeSet<PathBuf> = sandbox.objects("packs").into_iter().collect();
    fs::write(sandbox.src().join("bad"), &bad).unwrap();
    sandbox.backup(&[]);
    let new = sandbox.objects("packs").into_iter().filter(|path| !before.contains(path));
    let data = new.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    crate::support::chmod(&data, 0o600);
    fs::write(&data, bytes).unwrap();
    let Some(mounted) = Mounted::new(&sandbox, &[]) else { return };
    let dir = mounted.path("latest/src");
    for _ in 0..3 {
        let failed = fs::read(dir.join("bad")).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
        assert!(fs::read(dir.join("good")).unwrap() == good);
    }
    assert_eq!(names(&dir), BTreeSet::from(["bad".into(), "good".into()]));
    mounted.signal(Signal::TERM);
    let log = mounted.ended();
    assert!(log.lines().count() >= 1 && log.lines().all(|line| line.contains("/src/bad: ")), "{log}");
    let lines: BTreeSet<&str> = log.lines().collect();
    assert_eq!(lines.len(), log.lines().count(), "each is told of once:\n{log}");
}
