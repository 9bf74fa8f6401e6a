//! A sandbox for backups and restores, the real binary in a clean environment, and a strict comparison of
//! trees.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod cut;
pub mod dates;
pub mod disk;
pub mod far;
pub mod heard;
pub mod hooked;
pub mod library;
pub mod paced;
pub mod proxy;
pub mod rot;
pub mod scale;
pub mod servers;
pub mod sftp;
pub mod stage;
pub mod terminal;
pub mod torture;
pub mod trace;
pub mod verdict;
pub mod watchdog;
pub mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::Metadata;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use snap_backup::codec::crypto::kdf::KdfParams;
use watchdog::Watchdog;

/// No process of a test takes this long unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The password of all sandboxes' repositories.
pub const PASSWORD: &str = "try";

/// The lowest cost of a key slot: with the default, deriving keys took half the time of the suite.
pub const CHEAP_KDF: KdfParams = KdfParams { memory: 8 << 10, passes: 1, lanes: 1 };

/// `src/` to back up, `repo/`, `cache/` and `out/`, in a directory of its own.
pub struct Sandbox {
    dir: tempfile::TempDir,
    password: Option<String>,
    _watchdog: Watchdog,
}

/// The result of a run of the binary.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Sandbox {
    /// With an encrypted repository and an empty `src/`.
    pub fn new() -> Self {
        let sandbox = Self::bare();
        sandbox.ok(&["init"]);
        sandbox
    }

    /// With a repository that needs no password.
    pub fn open() -> Self {
        let sandbox = Self { password: None, ..Self::bare() };
        sandbox.ok(&["init", "--no-encryption"]);
        sandbox
    }

    /// With files.
    pub fn with_tree(tree: &[(&str, &str)]) -> Self {
        let sandbox = Self::new();
        sandbox.write(tree);
        sandbox
    }

    /// Without a repository.
    pub fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["src", "home", "out"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        // Shorter paths than the defaults.
        for (name, place) in [("cache", "home/.cache/snap"), ("state", "home/.local/state/snap")] {
            std::os::unix::fs::symlink(place, dir.path().join(name)).unwrap();
        }
        Self { dir, password: Some(PASSWORD.to_owned()), _watchdog: Watchdog::start() }
    }

    /// Uses another password from here on.
    pub fn set_password(&mut self, password: Option<&str>) {
        self.password = password.map(str::to_owned);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn src(&self) -> PathBuf {
        self.path("src")
    }

    /// Writes files below `src/`; a name that ends in a slash is a directory.
    pub fn write(&self, tree: &[(&str, &str)]) {
        for (name, text) in tree {
            let path = self.src().join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
    }

    /// The cache directory, which may be lost.
    pub fn cache(&self) -> PathBuf {
        self.path("home/.cache/snap")
    }

    /// The state directory, with this machine's records of repositories and runs.
    pub fn state(&self) -> PathBuf {
        self.path("home/.local/state/snap")
    }

    /// The binary, with only HOME, the password and low costs of key derivation in its environment, started
    /// next to `src/`.
    pub fn bin(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snap"));
        command.env_clear().current_dir(self.dir.path()).env("HOME", self.path("home"));
        command.envs([("SNAP_KDF_MEMORY", "8M"), ("SNAP_KDF_PASSES", "1")]);
        command.envs(faked_clock());
        // A file in the working directory is read only if it is named.
        let config = self.path("snap.toml");
        if config.exists() {
            command.env("SNAP_CONFIG", config);
        }
        if let Some(password) = &self.password {
            command.env("SNAP_PASSWORD", password);
        }
        command
    }

    /// The binary on this sandbox's repository.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bin();
        command.args(["-r", "repo"]).args(args);
        command
    }

    /// Runs to the end, whatever the result is.
    pub fn snap(&self, args: &[&str]) -> Outcome {
        finish(self.command(args), b"")
    }

    /// Runs; must succeed.
    pub fn ok(&self, args: &[&str]) -> Outcome {
        self.snap(args).expect(0)
    }

    /// Backs up `src`; must succeed. Returns the snapshot, if one was made.
    pub fn try_backup(&self, args: &[&str]) -> Option<String> {
        let before = self.snapshot_names();
        self.ok(&[&["backup"], args, &["src"]].concat());
        let made = self.snapshot_names().difference(&before).cloned().collect::<Vec<_>>();
        assert!(made.len() <= 1, "one run made {made:?}");
        made.first().cloned()
    }

    /// Backs up `src`; must succeed and make a snapshot.
    pub fn backup(&self, args: &[&str]) -> String {
        self.try_backup(args).unwrap_or_else(|| panic!("backup {args:?} made no snapshot"))
    }

    /// Restores into a new directory under `out/`, and returns it.
    pub fn restore(&self, selector: &str, args: &[&str]) -> PathBuf {
        let target = self.new_target();
        self.ok(&[&["restore", selector, "--target", target.to_str().unwrap()], args].concat());
        target
    }

    /// Returns an unused name under `out/`.
    pub fn new_target(&self) -> PathBuf {
        let taken = fs::read_dir(self.path("out")).unwrap().count();
        let target = self.path("out").join(taken.to_string());
        fs::create_dir(&target).unwrap();
        target
    }

    /// `selector` must restore to exactly the tree at `original`.
    pub fn assert_restores(&self, selector: &str, original: &Path) {
        let target = self.restore(selector, &[]);
        assert_same(original, &target.join("src"));
        fs::remove_dir_all(target.join("src")).unwrap();
    }

    pub fn assert_clean(&self) {
        self.ok(&["check", "--read-data"]);
    }

    /// Returns the names of the objects in `snapshots/`, without temporary files.
    pub fn snapshot_names(&self) -> BTreeSet<String> {
        let names = self.objects("snapshots").into_iter();
        let names = names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Returns the files of a folder of the repository, sorted.
    pub fn objects(&self, area: &str) -> Vec<PathBuf> {
        files_below(&self.path("repo").join(area))
    }

    /// Returns every file of the repository with its length.
    pub fn listing(&self) -> BTreeMap<PathBuf, u64> {
        let sized = |path: PathBuf| (path.clone(), fs::metadata(path).unwrap().len());
        self.objects("").into_iter().map(sized).collect()
    }

    /// Returns this machine's index cache of the repository.
    pub fn view(&self) -> PathBuf {
        let caches = fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap().path().join("view"));
        let views = caches.filter(|path| path.is_dir()).collect::<Vec<_>>();
        assert_eq!(views.len(), 1, "one repository, one view");
        views[0].clone()
    }
}

impl Outcome {
    /// Must have ended with this code.
    pub fn expect(self, code: i32) -> Self {
        self.expect_one_of(&[code])
    }

    /// Must have ended with one of these codes.
    pub fn expect_one_of(self, codes: &[i32]) -> Self {
        assert!(codes.contains(&self.code), "wanted exit {codes:?}, got {}\n{}", self.code, self.all());
        assert!(!self.stderr.contains("panicked"), "a panic reached the user:\n{}", self.stderr);
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns both streams.
    pub fn all(&self) -> String {
        format!("{}{}", self.text(), self.stderr)
    }

    /// Parses the output as one JSON value.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// Returns the summary from the lines of JSON.
    pub fn summary(&self) -> serde_json::Value {
        let text = self.text();
        let parse = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let summary = text.lines().map(parse).find(|value| value["message_type"] == "summary");
        summary.unwrap_or_else(|| panic!("no summary in {text}"))
    }

    pub fn warnings(&self) -> usize {
        self.stderr.lines().filter(|line| line.to_lowercase().contains("warning")).count()
    }
}

/// What fakes the clock of these tests (`faketime cargo test`) also fakes that of the program.
fn faked_clock() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let is_faked = std::env::var_os("FAKETIME").is_some();
    let of_clock = |name: &str| name == "LD_PRELOAD" || name == "TZ" || name.contains("FAKE");
    std::env::vars_os().filter(|(name, _)| is_faked && name.to_str().is_some_and(of_clock)).collect()
}

/// Returns whether the long versions of tests are requested: `SNAP_TEST_LONG` is set.
pub fn is_long() -> bool {
    std::env::var_os("SNAP_TEST_LONG").is_some()
}

/// Reports loudly that a test, or a part of it, was not run, and why.
#[allow(clippy::print_stderr, reason = "a test that does nothing must not look like one that passed")]
pub fn skipped(why: &str) {
    eprintln!("\n*** SKIPPED: {why} ***\n");
}

/// Runs a command with something on its standard input. One that never ends is killed, and fails the test.
pub fn finish(mut command: Command, input: &[u8]) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let output = with_patience(child.id(), || {
        // A program that refuses early closes its input, which is fine here.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    });
    let output = output.unwrap_or_else(|| panic!("{command:?} did not end"));
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits for the end of a process with `wait`. `None`: it had to be killed.
pub fn with_patience<T>(pid: u32, wait: impl FnOnce() -> T) -> Option<T> {
    let (over, is_over) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let hangs = is_over.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if hangs {
            let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
            assert!(killed.success(), "process {pid} can be killed");
        }
        hangs
    });
    let result = wait();
    drop(over);
    (!watch.join().unwrap()).then_some(result)
}

/// Copies a tree with everything that `compare_trees` compares.
pub fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns regular files at any depth, sorted; nothing if the folder does not exist.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let paths = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
    paths.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

pub fn assert_same(a: &Path, b: &Path) {
    let differences = compare_trees(a, b);
    let shown = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} and {} differ:\n{shown}", a.display(), b.display());
}

/// Returns every difference between two trees: names, types, bytes, modes, times, owners, link targets, hard
/// links.
pub fn compare_trees(a: &Path, b: &Path) -> Vec<String> {
    let (left, right) = (nodes(a), nodes(b));
    let mut differences = Vec::new();
    for name in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
        match (left.get(name), right.get(name)) {
            (Some(one), Some(other)) => compare_nodes(name, one, other, &mut differences),
            (Some(_), None) => differences.push(format!("{}: only on the left", name.display())),
            _ => differences.push(format!("{}: only on the right", name.display())),
        }
    }
    differences
}

struct Node {
    path: PathBuf,
    metadata: Metadata,
    /// Returns the first name of the file that this name is a hard link to.
    link: PathBuf,
}

fn nodes(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut first = HashMap::new();
    let mut nodes = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(root).unwrap().to_owned();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        let link = first.entry((metadata.dev(), metadata.ino())).or_insert(name.clone()).clone();
        nodes.insert(name, Node { path: entry.into_path(), metadata, link });
    }
    nodes
}

fn compare_nodes(name: &Path, a: &Node, b: &Node, differences: &mut Vec<String>) {
    let (left, right) = (&a.metadata, &b.metadata);
    let mut differ = |what: &str, one: String, other: String| {
        if one != other {
            differences.push(format!("{}: {what} {one} and {other}", name.display()));
        }
    };
    let time = |metadata: &Metadata| format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    differ("kind and mode", format!("{:o}", left.mode()), format!("{:o}", right.mode()));
    differ("owner", format!("{}:{}", left.uid(), left.gid()), format!("{}:{}", right.uid(), right.gid()));
    differ("mtime", time(left), time(right));
    differ("hard link", a.link.display().to_string(), b.link.display().to_string());
    if left.is_symlink() && right.is_symlink() {
        differ("target", target(&a.path), target(&b.path));
    }
    if left.is_file() && right.is_file() {
        differ("length", left.len().to_string(), right.len().to_string());
        if fs::read(&a.path).unwrap() != fs::read(&b.path).unwrap() {
            differences.push(format!("{}: bytes differ", name.display()));
        }
    }
}

fn target(path: &Path) -> String {
    format!("{:?}", fs::read_link(path).unwrap())
}

/// A small generator with one number as its state: the same seed gives the same sequence.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.take(len.div_ceil(8)).flatten().take(len).collect()
    }
}
