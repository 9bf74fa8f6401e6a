//! Random trees, targets, existing files, links and filters: a restore changes nothing outside the paths that
//! the snapshot owns below the target. Everything is compared before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::{Outcome, Random, Sandbox, chmod};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What must not change: type and mode, owner, time, bytes or link target.
type Seen = (u32, u32, u32, i64, Vec<u8>);

/// Returns a directory and everything below it, by relative path.
fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let all = walkdir::WalkDir::new(root).into_iter().map(|entry| {
        let entry = entry.unwrap();
        let found = fs::symlink_metadata(entry.path()).unwrap();
        let holds = match () {
            () if found.is_file() => fs::read(entry.path()).unwrap(),
            () if found.is_symlink() => {
                fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes()
            }
            () => Vec::new(),
        };
        let seen = (found.mode(), found.uid(), found.gid(), found.mtime(), holds);
        (entry.path().strip_prefix(root).unwrap().to_path_buf(), seen)
    });
    all.collect()
}

/// Fills a directory. Links also point to `others`.
fn grow(random: &mut Random, dir: &Path, depth: u64, others: &[PathBuf]) {
    for name in NAMES {
        let path = dir.join(name);
        match random.below(8 + depth) {
            0..=2 => {
                let len = usize::try_from(random.below(40)).unwrap();
                fs::write(&path, random.bytes(len)).unwrap();
            }
            3..=5 if depth < 4 => {
                fs::create_dir(&path).unwrap();
                grow(random, &path, depth + 1, others);
            }
            6 => match random.below(3) {
                0 => symlink(random.pick(others), &path).unwrap(),
                1 => symlink(random.pick(&NAMES), &path).unwrap(),
                _ => symlink(Path::new("..").join(random.pick(&NAMES)), &path).unwrap(),
            },
            7 => {
                let files =
                    fs::read_dir(dir).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_file());
                let files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
                if !files.is_empty() {
                    fs::hard_link(random.pick(&files), &path).unwrap();
                }
            }
            _ => {}
        }
    }
    if random.below(4) == 0 {
        chmod(dir, 0o750);
    }
    let past = UNIX_EPOCH + Duration::from_secs(1_000_000_000 + random.below(1000));
    fs::File::open(dir).unwrap().set_modified(past).unwrap();
}

/// Returns a path, possibly of something that does not exist.
fn some_path(random: &mut Random) -> String {
    let depth = 1 + random.below(3);
    (0..depth).map(|_| *random.pick(&NAMES)).collect::<Vec<_>>().join("/")
}

fn is_at_or_below(path: &Path, tops: &BTreeSet<PathBuf>) -> bool {
    path.ancestors().any(|above| tops.contains(above))
}

/// Returns where sources are below the target: by their stored paths, and by the targets of links above them
/// if these are beneath the target.
fn owned(target: &Path, stored: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut owned = stored.clone();
    let root = fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
    for source in stored {
        let mut real = root.clone();
        for name in source {
            real.push(name);
            if real.is_dir() {
                real = fs::canonicalize(&real).unwrap();
            }
        }
        if let Ok(beneath) = real.strip_prefix(&root) {
            owned.insert(beneath.to_path_buf());
        }
    }
    owned
}

fn in_home(sandbox: &Sandbox, args: &[String]) -> Outcome {
    let mut command = sandbox.bin();
    command.current_dir(sandbox.path("home")).args(["-r", "../repo"]).args(args);
    crate::support::finish(command, b"")
}

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

/// Backs up random sources. Every one must be in the snapshot or reported as a problem. Returns their stored
/// paths.
fn backed_up(random: &mut Random, sandbox: &Sandbox) -> Option<BTreeSet<PathBuf>> {
    let mut args = words(&["backup"]);
    let stored: BTreeSet<PathBuf> = match random.below(6) {
        0 => {
            args.push(".".to_owned());
            [PathBuf::new()].into()
        }
        1 => {
            let (name, source) = (some_path(random), some_path(random));
            args.extend([words(&["--as", &name]), words(&[&source])].concat());
            [PathBuf::from(name)].into()
        }
        _ => {
            let sources: BTreeSet<String> = (0..1 + random.below(3)).map(|_| some_path(random)).collect();
            args.extend(sources.iter().cloned());
            sources.into_iter().map(PathBuf::from).collect()
        }
    };
    let outcome = in_home(sandbox, &args).expect_one_of(&[0, 1, 3]);
    if outcome.code == 1 {
        return None;
    }
    let listed = in_home(sandbox, &words(&["ls", "-R", "latest", "--json"])).expect(0).text();
    for source in stored.iter().filter(|source| !source.as_os_str().is_empty()) {
        let name = source.to_str().unwrap();
        let is_in = listed.contains(&format!("\"{name}\"")) || listed.contains(&format!("/{name}\""));
        assert!(
            is_in || outcome.stderr.contains(name),
            "{args:?}: {name} is neither saved nor named: {}",
            outcome.all()
        );
    }
    Some(stored)
}

fn round(seed: u64) {
    let mut random = Random::new(seed);
    let sandbox = Sandbox::open();
    let (home, world) = (sandbox.path("home"), sandbox.path("world"));
    let (outside, target) = (world.join("outside"), world.join("around/target"));
    for dir in [&home, &outside, &target] {
        fs::create_dir_all(dir).unwrap();
    }
    let others = [outside.clone(), outside.join("a"), target.join("b"), PathBuf::from(".."), world.clone()];
    grow(&mut random, &home, 0, &others);
    let Some(stored) = backed_up(&mut random, &sandbox) else { return };
    grow(&mut random, &outside, 0, &others);
    match random.below(4) {
        0 => fs::remove_dir(&target).unwrap(),
        _ => grow(&mut random, &target, 0, &others),
    }
    let filters: Vec<(bool, String)> =
        (0..random.below(3)).map(|_| (random.below(2) == 0, some_path(&mut random))).collect();
    let mut args = words(&["restore", "latest", "-t", target.to_str().unwrap(), "--overwrite"]);
    args.push((*random.pick(&["always", "always", "if-changed", "if-newer", "never"])).to_owned());
    for (includes, path) in &filters {
        args.push(if *includes { "--include" } else { "--exclude" }.to_owned());
        args.push(format!("/{path}"));
    }
    args.extend((random.below(2) == 0).then(|| "--delete".to_owned()));
    let owned = owned(&target, &stored);
    let before = look(&world);
    let dry = in_home(&sandbox, &[args.clone(), words(&["-n"])].concat()).expect_one_of(&[0, 1, 3]);
    assert_eq!(look(&world), before, "seed {seed}: {args:?} -n changed something");
    let outcome = in_home(&sandbox, &args).expect_one_of(&[0, 1, 3]);
    assert_eq!(
        outcome.code,
        dry.code,
        "seed {seed}: {args:?}: -n said\n{}and then\n{}",
        dry.all(),
        outcome.all()
    );
    let after = look(&world);
    let (includes, excludes): (Vec<_>, Vec<_>) = filters.iter().partition(|(includes, _)| *includes);
    let tops = |filters: &[&(bool, String)]| {
        filters.iter().map(|(_, path)| PathBuf::from(path)).collect::<BTreeSet<_>>()
    };
    let (includes, excludes) = (tops(&includes), tops(&excludes));
    // Filters match stored paths. If a link points elsewhere, existing files there have another path.
    let is_selected = |path: &Path| {
        !is_at_or_below(path, &excludes) && (includes.is_empty() || is_at_or_below(path, &includes))
    };
    let direct = owned == stored;
    for path in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let below = path.strip_prefix("around/target").ok();
        let is_owned =
            below.is_some_and(|path| is_at_or_below(path, &owned) && (!direct || is_selected(path)));
        let is_root = below.is_some_and(|path| path.as_os_str().is_empty()) && stored.contains(Path::new(""));
        // A directory that leads to restored files may have been created.
        let led = || {
            let below_it = |top: &PathBuf| below.is_some_and(|path| top.starts_with(path));
            owned.iter().chain(&includes).any(below_it)
                || below.is_some_and(|path| is_at_or_below(path, &owned))
        };
        let is_new_way = !before.contains_key(path)
            && after.get(path).is_some_and(|seen| seen.0 & 0o170_000 == 0o040_000)
            && led();
        // The parent of the target gets it as a new entry.
        let is_parent = path == Path::new("around") && !before.contains_key(Path::new("around/target"));
        if is_owned || is_root || is_new_way || is_parent {
            continue;
        }
        assert_eq!(
            before.get(path),
            after.get(path),
            "seed {seed}: {args:?} of {stored:?} changed {}\n{}",
            path.display(),
            outcome.all()
        );
    }
}

#[test]
fn nothing_changes_outside_what_the_snapshot_owns() {
    let rounds = if crate::support::is_long() { 2000 } else { 60 };
    for seed in 1..=rounds {
        round(seed);
    }
}
