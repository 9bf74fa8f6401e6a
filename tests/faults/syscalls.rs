//! The real program, killed at every modifying system call, or with that call failing: what was acknowledged
//! stays, the exit code and the message are right, and the next runs need no help.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::trace::under_strace;
use crate::support::verdict::Promises;
use crate::support::{Outcome, Random, Sandbox, copy_tree, finish};

/// Calls that change a file or a folder, or make it durable.
const CHANGES: [&str; 9] =
    ["write", "pwrite64", "fsync", "mkdir", "rename", "renameat2", "unlink", "ftruncate", "fallocate"];

/// A repository and a run on it, both of which can be repeated as often as needed.
struct Scene {
    sandbox: Sandbox,
    promises: Promises,
    args: Vec<String>,
    shm: tempfile::TempDir,
}

/// How a run ended after the interference.
struct Ending {
    outcome: Outcome,
    /// The affected call, if there were so many.
    hit: Option<String>,
}

impl Scene {
    /// Two snapshots. The first is forgotten if `forgotten` is true.
    fn new(args: &[&str], forgotten: bool) -> Self {
        let sandbox = Sandbox::open();
        let mut stand = Vec::new();
        for (copy, files) in [("first", [("a", 1), ("d/b", 2)]), ("second", [("a", 1), ("c", 3)])] {
            let _ = fs::remove_dir_all(sandbox.src());
            write(&sandbox, &files);
            let id = sandbox.backup(&[]);
            copy_tree(&sandbox.src(), &sandbox.path(copy));
            stand.push((id, sandbox.path(copy)));
        }
        let first = stand.first().unwrap().clone();
        write(&sandbox, &[("e", 4)]);
        let mut promises = Promises {
            stand: stand.into_iter().collect(),
            source: sandbox.src(),
            name: "src".to_owned(),
            ..Promises::default()
        };
        if args.first() == Some(&"undelete") {
            // It may exist under another name for a moment.
            promises.source = first.1.clone();
        }
        if forgotten || args.contains(&"FIRST") {
            promises.stand.remove(&first.0);
            promises.may_stand.insert(first.0.clone(), first.1);
        }
        if forgotten {
            sandbox.ok(&["forget", &first.0]);
        }
        let args = args.iter().map(|arg| arg.replace("FIRST", &first.0)).collect();
        let shm = Path::new("/dev/shm");
        let shm = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
        Self { sandbox, promises, args, shm }
    }

    /// Runs on a copy of the repository and the cache, with interference at the n-th call of a kind. Returns
    /// where the copy is.
    fn run(&self, call: &str, what: &str, at: usize) -> Option<(Ending, PathBuf)> {
        let (repo, cache) = (self.shm.path().join("repo"), self.shm.path().join("cache"));
        for (from, to) in [(self.sandbox.path("repo"), &repo), (self.sandbox.cache(), &cache)] {
            let _ = fs::remove_dir_all(to);
            copy_tree(&from, to);
        }
        // The copy is older than what the previous run left there, which this machine would report.
        let _ = fs::remove_dir_all(self.sandbox.state().join("known"));
        let mut command = self.sandbox.bin();
        command.env("SNAP_CACHE_DIR", &cache).arg("-r").arg(&repo).args(&self.args);
        let log = self.shm.path().join("log");
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{what}:when={at}"));
        let options = ["-y", "-e", &trace, "-e", &inject, "-o", log.to_str().unwrap()];
        let outcome = finish(under_strace(&command, &options)?, b"");
        let log = fs::read_to_string(log).unwrap();
        // Each thread has its own n-th call.
        let injected = log.lines().filter(|line| line.contains("(INJECTED)")).collect::<Vec<_>>().join("; ");
        let last = log.lines().rev().find(|line| line.contains(call)).map(str::to_owned);
        let hit = if outcome.code == -1 { last } else { (!injected.is_empty()).then_some(injected) };
        Some((Ending { outcome, hit }, repo))
    }

    /// Tries each call of each kind, one after the other. Returns how many there were.
    fn each(&self, what: &str, mut judge: impl FnMut(&Ending, &Path, &str)) -> usize {
        let mut count = 0;
        for call in CHANGES {
            for at in 1.. {
                let Some((ending, repo)) = self.run(call, what, at) else { return usize::MAX };
                let Some(hit) = &ending.hit else {
                    assert_eq!(ending.outcome.code, 0, "{}", ending.outcome.all());
                    break;
                };
                count += 1;
                let story = format!("{:?}, {call} {at} {what}: {hit}\n{}", self.args, ending.outcome.all());
                assert!(!ending.outcome.stderr.contains("panicked"), "{story}");
                judge(&ending, &repo, &story);
                assert!(at < 2000, "no end of {call}");
            }
        }
        count
    }

    fn assert_kept(&self, repo: &Path, story: &str) {
        let broken = self.promises.broken(repo, self.shm.path());
        assert!(broken.is_empty(), "{story}: {broken:#?}");
    }
}

fn write(sandbox: &Sandbox, files: &[(&str, u64)]) {
    for (name, seed) in files {
        let path = sandbox.src().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, Random::new(*seed).bytes(5000)).unwrap();
    }
}

/// A run, whether it needs a forgotten snapshot, and how many calls it makes at least.
const RUNS: [(&[&str], bool, usize); 4] = [
    (&["backup", "src"], false, 30),
    (&["gc", "--empty-trash", "--max-unused", "0"], true, 40),
    (&["forget", "FIRST"], false, 10),
    (&["undelete", "FIRST"], true, 10),
];

#[test]
fn a_run_killed_at_any_call_loses_nothing_and_needs_no_help() {
    for (args, forgotten, least) in RUNS {
        let scene = Scene::new(args, forgotten);
        let count = scene.each("signal=KILL", |ending, repo, story| {
            assert_eq!(ending.outcome.code, -1, "{story}");
            scene.assert_kept(repo, story);
        });
        println!("{args:?}: killed at {count} calls");
        assert!(count >= least, "{args:?} makes only {count} calls");
    }
}

/// The call may concern something optional: the cache, a heartbeat, the reserve.
#[test]
fn failed_call_is_reported_or_was_not_needed() {
    let kinds: &[(&str, i32, &str)] = &[
        ("EIO", 1, "Input/output error"),
        ("ENOSPC", 21, "No space left on device"),
        ("EDQUOT", 21, "quota exceeded"),
    ];
    for (number, (args, forgotten, least)) in RUNS.into_iter().enumerate() {
        let scene = Scene::new(args, forgotten);
        for (error, code, words) in kinds {
            // In short runs each error is tried on some of them.
            let tried = match *error {
                "EIO" => true,
                "ENOSPC" => number <= 1,
                _ => number == 0,
            };
            if !tried && !crate::support::is_long() {
                continue;
            }
            let (mut said, mut unharmed) = (0, 0);
            let count = scene.each(&format!("error={error}"), |ending, repo, story| {
                let hit = ending.hit.as_deref().unwrap();
                let outcome = &ending.outcome;
                if outcome.code == 0 {
                    unharmed += 1;
                    // Every sync in a repository must succeed. Without space, a gc run releases its reserve
                    // and continues.
                    let may_go_on = !hit.contains("fsync(") || hit.contains("/cache/") || args[0] == "gc";
                    assert!(may_go_on, "{story}");
                } else {
                    said += 1;
                    assert_eq!(outcome.code, *code, "{story}");
                    // Unless that was the call that failed.
                    let told = outcome.stderr.contains(words) && outcome.stderr.contains("cannot ");
                    assert!(told || hit.contains("write(2<"), "{story}");
                }
                scene.assert_kept(repo, story);
            });
            println!("{args:?}: {error} at {count} calls, {said} said so, {unharmed} went on");
            // Without space, all commands except backup release the reserve and try once more.
            let speaks = said > 5 || *error != "EIO" && args.first() != Some(&"backup");
            assert!(count >= least && speaks, "{args:?}: {error} at {count} calls, {said} said so");
        }
    }
}

/// Calls that the system interrupts are retried.
#[test]
fn a_call_that_is_interrupted_is_made_again() {
    let scene = Scene::new(&["backup", "src"], false);
    for call in ["openat", "read", "pread64", "write", "fsync"] {
        for at in [1, 2, 3, 5, 8, 13, 21, 34, 55] {
            let Some((ending, repo)) = scene.run(call, "error=EINTR", at) else { return };
            let Some(hit) = &ending.hit else { break };
            // The loader's own calls come first, before the program. A folder of the source is read by other
            // libraries, and reported as unread.
            if hit.contains("/src") && hit.contains("O_DIRECTORY") {
                continue;
            }
            if hit.contains(".so") || hit.contains("/etc/ld") || hit.contains("/lib") {
                continue;
            }
            let story = format!("{call} {at}: {hit}\n{}", ending.outcome.all());
            assert_eq!(ending.outcome.code, 0, "{story}");
            scene.assert_kept(&repo, &story);
        }
    }
}
