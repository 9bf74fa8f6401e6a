//! Real processes on one repository, all at once: writers, collectors, forgets and undeletes, restores, and a
//! writer that is stopped until it is considered dead. `SNAP_TEST_SECONDS` sets the duration.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use snap_backup::codec::crypto::sealed_object;
use snap_backup::repo::options::InitOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::storage::local::LocalStorage;

use crate::support::{Outcome, Random, Sandbox, finish};

/// Seconds after which a silent session counts as dead.
const STALE: u64 = 2;
const FILES: u64 = 8;
const FILE_LEN: usize = 30_000;
/// Seeds of file contents: few, so that all writers have much in common.
const SEEDS: u64 = 60;

/// The files: a name, and a seed of the content.
type Tree = BTreeMap<String, u64>;

#[derive(Default)]
struct Ledger {
    /// Acknowledged snapshots, and what each must restore to.
    stand: BTreeMap<String, (String, Tree)>,
    /// Snapshots that were, or may have been, reported as forgotten.
    forgotten: BTreeSet<String>,
    counts: BTreeMap<&'static str, u64>,
}

struct Crowd {
    sandbox: Sandbox,
    ledger: Mutex<Ledger>,
    over: AtomicBool,
}

impl Crowd {
    fn new() -> Self {
        let mut sandbox = Sandbox::bare();
        sandbox.set_password(None);
        let storage = Arc::new(LocalStorage::new(sandbox.path("repo")));
        Repository::init(
            storage,
            &InitOptions { stale_after: Duration::from_secs(STALE), ..InitOptions::default() },
        )
        .unwrap();
        Self { sandbox, ledger: Mutex::default(), over: AtomicBool::new(false) }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn count(&self, what: &'static str) {
        *self.ledger.lock().unwrap().counts.entry(what).or_default() += 1;
    }

    /// A process that is considered dead on a busy machine must report it. Returns whether it succeeded.
    fn settled(&self, outcome: &Outcome, what: &'static str, refused: &'static str, words: &str) -> bool {
        assert!(!outcome.stderr.contains("panicked"), "{what}: {}", outcome.all());
        let done = outcome.code == 0;
        assert!(done || outcome.stderr.contains(words), "{what}: exit {}: {}", outcome.code, outcome.all());
        self.count(if done { what } else { refused });
        done
    }

    /// Backs up a slightly changing source again and again.
    fn write(&self, who: u64) {
        let mut random = Random::new(100 + who);
        let name = format!("w{who}");
        let folder = self.sandbox.path(&name);
        fs::create_dir(&folder).unwrap();
        let mut tree = Tree::new();
        while self.goes_on() {
            for _ in 0..3 {
                let (file, seed) = (format!("f{}", random.below(FILES)), random.below(SEEDS));
                fs::write(folder.join(&file), content(seed)).unwrap();
                tree.insert(file, seed);
            }
            let outcome = self.sandbox.snap(&["backup", "--json", &name]);
            let words = "considered this run dead";
            if self.settled(&outcome, "backups", "backups that were taken for dead", words)
                && let Some(id) = outcome.summary()["snapshot_id"].as_str()
            {
                self.ledger.lock().unwrap().stand.insert(id.to_owned(), (name.clone(), tree.clone()));
            }
        }
    }

    fn collect(&self, empty_trash: bool) {
        let mut args = vec!["gc", "--max-unused", "0"];
        args.extend(empty_trash.then_some("--empty-trash"));
        while self.goes_on() {
            let outcome = self.sandbox.snap(&args);
            self.settled(
                &outcome,
                "collections",
                "collections that gave up",
                "garbage collections keep running",
            );
            // With time for forgotten snapshots to be undeleted.
            thread::sleep(Duration::from_millis(if empty_trash { 300 } else { 0 }));
        }
    }

    fn pick(&self, random: &mut Random) -> Option<(String, (String, Tree))> {
        let ledger = self.ledger.lock().unwrap();
        let ids: Vec<&String> = ledger.stand.keys().filter(|id| !ledger.forgotten.contains(*id)).collect();
        (!ids.is_empty()).then(|| {
            let id = (*random.pick(&ids)).clone();
            let what = ledger.stand[&id].clone();
            (id, what)
        })
    }

    /// Forgets snapshots, and undeletes every second one if it is not purged yet.
    fn forget(&self) {
        let mut random = Random::new(7);
        for round in 0.. {
            let Some((id, what)) = self.pick(&mut random).filter(|_| self.goes_on()) else {
                if !self.goes_on() {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            self.ledger.lock().unwrap().forgotten.insert(id.clone());
            self.sandbox.ok(&["forget", "--allow-remove-all", &id]);
            self.count("forgotten");
            if round % 2 == 0 {
                continue;
            }
            let outcome = self.sandbox.snap(&["undelete", "--json", &id]);
            assert!([0, 1].contains(&outcome.code), "undelete: exit {}: {}", outcome.code, outcome.all());
            if outcome.code == 0 {
                let back = outcome.json()["undeleted"][0].as_str().unwrap().to_owned();
                let mut ledger = self.ledger.lock().unwrap();
                ledger.forgotten.remove(&back);
                ledger.stand.insert(back, what);
                *ledger.counts.entry("brought back").or_default() += 1;
            }
        }
    }

    fn read(&self) {
        let mut random = Random::new(8);
        while self.goes_on() {
            let Some((id, (name, tree))) = self.pick(&mut random) else {
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            let target = tempfile::tempdir().unwrap();
            let outcome = self.sandbox.snap(&["restore", &id, "--target", target.path().to_str().unwrap()]);
            if outcome.code == 0 {
                assert_is(&target.path().join(name), &tree, &id);
                self.count("restores");
            } else {
                let gone = self.ledger.lock().unwrap().forgotten.contains(&id);
                assert!(gone, "restore {id}: exit {}: {}", outcome.code, outcome.all());
                self.count("restores of what was forgotten meanwhile");
            }
        }
    }

    /// A writer that has stored so many bytes is stopped until a fence exists, and continues. It is correct
    /// if it succeeded and everything exists, or reported that it was considered dead.
    fn sleep(&self, len: usize) {
        let bytes = Random::new(len as u64).bytes(len);
        let mut command = self.sandbox.command(&["backup", "--json", "--stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let (begin, rest) = bytes.split_at(len - 100_000);
        input.write_all(begin).unwrap();
        signal("-STOP", child.id());
        let (before, retry_policy) = (self.fences(), Instant::now());
        while self.fences().is_subset(&before) {
            assert!(retry_policy.elapsed() < Duration::from_secs(40), "nobody took the writer for dead");
            thread::sleep(Duration::from_millis(50));
        }
        // And a gc run after that.
        thread::sleep(Duration::from_millis(500));
        signal("-CONT", child.id());
        input.write_all(rest).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let outcome = Outcome { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr };
        let words = "considered this run dead";
        if self.settled(&outcome, "sleepers that committed", "sleepers that said what they lost", words) {
            let id = outcome.summary()["snapshot_id"].as_str().unwrap().to_owned();
            let restored = self.sandbox.restore(&id, &[]).join("stdin");
            assert!(fs::read(restored).unwrap() == bytes, "the sleeper lost something silently");
        }
    }

    fn fences(&self) -> BTreeSet<String> {
        let names = self.sandbox.snapshot_names().into_iter();
        let path = |name: &String| self.sandbox.path("repo/snapshots").join(name);
        names
            .filter(|name| fs::read(path(name)).is_ok_and(|is| is.starts_with(&sealed_object::FENCE)))
            .collect()
    }

    /// Everything that was acknowledged, and not forgotten, exists and is complete.
    fn judge(&self) {
        let last = self.sandbox.ok(&["gc", "--json", "--empty-trash", "--max-unused", "0"]).summary();
        assert_eq!(last["waiting_for"], serde_json::json!([]), "nobody is left");
        self.sandbox.assert_clean();
        let ledger = self.ledger.lock().unwrap();
        let kept = ledger.stand.iter().filter(|(id, _)| !ledger.forgotten.contains(*id));
        let mut compared = 0;
        for (id, (name, tree)) in kept {
            let target = self.sandbox.restore(id, &[]);
            assert_is(&target.join(name), tree, id);
            fs::remove_dir_all(target.join(name)).unwrap();
            compared += 1;
        }
        assert!(compared > 0);
        eprintln!("{:?}, {compared} snapshots compared", ledger.counts);
    }
}

fn content(seed: u64) -> Vec<u8> {
    Random::new(seed + 1).bytes(FILE_LEN)
}

fn assert_is(folder: &Path, tree: &Tree, id: &str) {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<BTreeSet<_>>(), tree.keys().cloned().collect(), "{id}");
    for (name, seed) in tree {
        assert!(fs::read(folder.join(name)).unwrap() == content(*seed), "{id}: {name} differs");
    }
}

fn signal(which: &str, pid: u32) {
    let mut command = Command::new("kill");
    command.args([which, &pid.to_string()]);
    assert_eq!(finish(command, b"").code, 0);
}

/// Ends the test, also for the others, when one participant fails.
struct Curtain<'a>(&'a AtomicBool);

impl Drop for Curtain<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn concurrent_processes_lose_nothing() {
    let seconds = std::env::var("SNAP_TEST_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let crowd = Crowd::new();
    thread::scope(|scope| {
        let crowd = &crowd;
        let mut parts: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
        parts.extend((0..4).map(|who| Box::new(move || crowd.write(who)) as Box<dyn FnOnce() + Send>));
        parts.push(Box::new(|| crowd.collect(true)));
        parts.push(Box::new(|| crowd.collect(false)));
        parts.push(Box::new(|| crowd.forget()));
        parts.push(Box::new(|| crowd.read()));
        for part in parts {
            scope.spawn(move || {
                let failing = Curtain(&crowd.over);
                part();
                std::mem::forget(failing);
            });
        }
        let _end = Curtain(&crowd.over);
        let began = Instant::now();
        // Less than a pack, and more than one: what the second has stored is collected while it sleeps.
        crowd.sleep(20_000_000);
        crowd.sleep(60_000_000);
        while crowd.goes_on() && began.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(50));
        }
    });
    crowd.judge();
}
