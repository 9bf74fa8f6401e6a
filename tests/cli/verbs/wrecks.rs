//! The local index cache in every broken state: each run gives the same results as without it, and at most
//! one warning.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::{Random, Sandbox, files_below, skipped};

/// Ways to damage the cache: a name, and a function.
type Wreck = (&'static str, fn(&Path));

const WRECKS: [Wreck; 12] = [
    ("gone", |view| fs::remove_dir_all(view).unwrap()),
    ("an empty folder", |view| {
        fs::remove_dir_all(view).unwrap();
        fs::create_dir(view).unwrap();
    }),
    ("empty files", |view| each(view, |file, _| fs::write(file, "").unwrap())),
    ("zeros", |view| each(view, |file, len| fs::write(file, vec![0; len.min(1 << 20)]).unwrap())),
    ("garbage", |view| {
        each(view, |file, len| fs::write(file, Random::new(9).bytes(len.min(1 << 20))).unwrap())
    }),
    ("garbage behind", |view| {
        each(view, |file, _| {
            let mut file = fs::File::options().append(true).open(file).unwrap();
            file.write_all(&Random::new(3).bytes(10_000)).unwrap();
        });
    }),
    ("a file", |view| {
        fs::remove_dir_all(view).unwrap();
        fs::write(view, "not a folder").unwrap();
    }),
    ("a link to nowhere", |view| {
        fs::remove_dir_all(view).unwrap();
        symlink("/nowhere/at/all", view).unwrap();
    }),
    ("folders for files", |view| {
        each(view, |file, _| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        });
    }),
    ("of another version", |view| {
        let db = sled::open(view).unwrap();
        let mut owner = db.get(b"repo").unwrap().unwrap().to_vec();
        *owner.last_mut().unwrap() = 200;
        db.insert(b"repo", owner).unwrap();
        db.flush().unwrap();
    }),
    // sled finds nothing wrong with these.
    ("values under each other's names", |view| {
        rewrite(view, |values| values.rotate_left(1));
    }),
    ("values with a bit turned", |view| {
        rewrite(view, |values| values.iter_mut().for_each(|value| turn_last_bit(value)));
    }),
];

/// Changes all values of a cache except the one that identifies its repository.
fn rewrite(view: &Path, change: impl Fn(&mut Vec<Vec<u8>>)) {
    let db = sled::open(view).unwrap();
    let rows: Vec<_> = db.iter().map(Result::unwrap).filter(|(key, _)| key != b"repo").collect();
    let mut values: Vec<Vec<u8>> = rows.iter().map(|(_, value)| value.to_vec()).collect();
    change(&mut values);
    rows.iter().zip(values).for_each(|((key, _), value)| drop(db.insert(key, value).unwrap()));
    db.flush().unwrap();
}

fn turn_last_bit(value: &mut [u8]) {
    if let Some(last) = value.last_mut() {
        *last ^= 1;
    }
}

fn each(view: &Path, harm: impl Fn(&Path, usize)) {
    for file in files_below(view) {
        let len = usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
        harm(&file, len);
    }
}

/// Some packs, and a cache that knows them.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "1"), ("d/b", "2")]);
    fs::write(sandbox.path("src/big"), Random::new(6).bytes(300_000)).unwrap();
    sandbox.backup(&[]);
    sandbox
}

/// Backups, a check and a restore, with the cache damaged before each.
fn assert_same_answers(name: &str, harm: impl Fn(&Sandbox)) {
    let sandbox = sandbox();
    let unharmed = |args: &[&str]| {
        let outcome = sandbox.ok(args);
        assert!(outcome.warnings() <= 1, "{name}: {}", outcome.stderr);
    };
    let packs = sandbox.objects("packs").len();
    harm(&sandbox);
    unharmed(&["backup", "--full", "src"]);
    assert_eq!(sandbox.objects("packs").len(), packs, "{name}: known data was stored again");
    harm(&sandbox);
    sandbox.write(&[("a", "changed")]);
    unharmed(&["backup", "src"]);
    harm(&sandbox);
    unharmed(&["check", "--read-data"]);
    harm(&sandbox);
    unharmed(&["gc", "--empty-trash", "--max-unused", "0"]);
    harm(&sandbox);
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.assert_clean();
}

/// The path of the cache, whether or not it exists.
fn view(sandbox: &Sandbox) -> std::path::PathBuf {
    let caches = fs::read_dir(sandbox.cache()).unwrap().map(|entry| entry.unwrap().path());
    let mut caches = caches.filter(|path| !path.ends_with("known") && path.is_dir());
    caches.find(|path| path.join("objects").exists()).unwrap().join("view")
}

#[test]
fn index_cache_in_any_broken_state_changes_no_result() {
    for (name, harm) in WRECKS {
        assert_same_answers(name, |sandbox| {
            let view = view(sandbox);
            if view.is_dir() {
                harm(&view);
            }
        });
    }
}

#[test]
fn index_cache_cut_at_any_point_changes_no_result() {
    for part in 0..if crate::support::is_long() { 50 } else { 6 } {
        assert_same_answers(&format!("cut at {part}"), |sandbox| {
            let view = view(sandbox);
            if view.is_dir() {
                each(&view, |file, len| {
                    let file = fs::File::options().write(true).open(file).unwrap();
                    file.set_len((len * part / 50 + part) as u64).unwrap();
                });
            }
        });
    }
}

/// A separate disk for the cache, which is full or read-only.
#[test]
fn cache_that_cannot_be_written_changes_no_result() {
    for options in ["size=4k", "size=64k", "size=1m,ro"] {
        let sandbox = sandbox();
        let cache = sandbox.cache();
        let mut command = Command::new("mount");
        let mounted = command.args(["-t", "tmpfs", "-o", options, "snap-test"]).arg(&cache).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            return skipped("only root can mount the small disk for the cache");
        }
        let packs = sandbox.objects("packs").len();
        for args in [
            &["backup", "--full", "src"][..],
            &["backup", "src"],
            &["check", "--read-data"],
            &["gc", "--empty-trash", "--max-unused", "0"],
        ] {
            let outcome = sandbox.snap(args);
            assert!(outcome.code == 0 && outcome.warnings() <= 1, "{options} {args:?}: {}", outcome.all());
        }
        assert_eq!(sandbox.objects("packs").len(), packs, "{options}: known data was stored again");
        sandbox.assert_restores("latest", &sandbox.src());
        assert!(Command::new("umount").arg(&cache).status().unwrap().success());
    }
}
