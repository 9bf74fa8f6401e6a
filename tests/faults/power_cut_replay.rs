//! Power cuts at any moment: the file operations of the real program are recorded, and replayed on a model of
//! a disk that keeps any part of what was not synced. After every call, for many choices of what is kept, the
//! repository must contain everything that was acknowledged, and the next runs must need no help.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::support::disk::{Disk, Fate, Image, lay_out};
use crate::support::trace::Call;
use crate::support::verdict::Promises;
use crate::support::{Random, Sandbox, copy_tree, trace};

/// A run of the program on a repository, and the promises made before it.
struct Story {
    sandbox: Sandbox,
    promises: Promises,
    args: Vec<String>,
    /// How the promises change with the output of the run.
    then: fn(&mut Promises, &str),
}

/// Where images are written: in memory, if possible.
fn private_dir() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap()
}

fn write(sandbox: &Sandbox, files: &[(&str, u64)]) {
    for (name, seed) in files {
        let path = sandbox.src().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, Random::new(*seed).bytes(5000)).unwrap();
    }
}

/// Backs up the current `src`: its name, and a copy of the source.
fn kept(sandbox: &Sandbox, copy: &str) -> (String, PathBuf) {
    let id = sandbox.backup(&[]);
    let copy = sandbox.path(copy);
    copy_tree(&sandbox.src(), &copy);
    (id, copy)
}

/// Two snapshots that share a file.
fn story(args: &[&str], then: fn(&mut Promises, &str)) -> (Story, [String; 2]) {
    let sandbox = Sandbox::open();
    write(&sandbox, &[("a", 1), ("d/b", 2)]);
    let (first, of_first) = kept(&sandbox, "first");
    fs::remove_file(sandbox.src().join("d/b")).unwrap();
    write(&sandbox, &[("c", 3)]);
    let (second, of_second) = kept(&sandbox, "second");
    let promises = Promises {
        stand: [(first.clone(), of_first), (second.clone(), of_second)].into(),
        source: sandbox.src(),
        name: "src".to_owned(),
        ..Promises::default()
    };
    let args = args.iter().map(|arg| arg.replace("FIRST", &first)).collect();
    (Story { sandbox, promises, args, then }, [first, second])
}

impl Story {
    /// Replays the run, and checks every moment of it. Returns the number of moments, and of distinct disks.
    fn play(mut self) -> Option<(usize, usize)> {
        let repo = self.sandbox.path("repo");
        let mut disk = Disk::of(&repo);
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let command = self.sandbox.command(&args);
        let (outcome, calls) = trace::record(&command, &self.sandbox.path("log"))?;
        outcome.expect(0);
        let private_dir = private_dir();
        let (mut moments, mut seen) = (0, BTreeSet::new());
        let mut said = String::new();
        for (at, call) in calls.iter().enumerate() {
            if let Call::Say(words) = call {
                said += std::str::from_utf8(words).unwrap();
                (self.then)(&mut self.promises, &said);
            } else if !disk.apply(call) {
                continue;
            }
            moments += 1;
            for (what, image) in images(&disk, at as u64) {
                if seen.insert(print(&image, said.len())) {
                    let moment = format!("{args:?}, after call {at}, {}, {what}", call.words());
                    self.judge(&image, private_dir.path(), &said, &moment);
                }
            }
        }
        assert!(!said.is_empty(), "the run never said that it was done");
        Some((moments, seen.len()))
    }

    fn judge(&self, image: &Image, private_dir: &Path, said: &str, moment: &str) {
        let home = tempfile::tempdir_in(private_dir).unwrap();
        let repo = home.path().join("repo");
        lay_out(image, &repo);
        // No repository exists yet, and none was reported.
        if !repo.join("config/1").exists() && said.is_empty() && self.promises.stand.is_empty() {
            return;
        }
        let broken = self.promises.broken(&repo, private_dir);
        assert!(broken.is_empty(), "{moment}: {broken:#?}");
    }
}

/// The states of a disk: nothing or all of what was not synced, all but one operation or only one, truncated
/// and zeroed bytes, and a few random choices.
fn images(disk: &Disk, seed: u64) -> Vec<(String, Image)> {
    let mut images = Vec::new();
    let mut add = |what: String, fate: &mut dyn FnMut(usize) -> Fate| {
        images.push((what, disk.after_power_cut(fate)));
    };
    add("nothing kept".into(), &mut |_| Fate::Lost);
    add("all kept".into(), &mut |_| Fate::Kept);
    // Recent operations matter most. What was unsynced for long is combined with each of them.
    let count = disk.unsynced();
    for one in 0..count {
        add(format!("all but {one} kept"), &mut |at| if at == one { Fate::Lost } else { Fate::Kept });
        add(format!("only {one} kept"), &mut |at| if at == one { Fate::Kept } else { Fate::Lost });
        add(format!("{one} torn"), &mut |at| if at == one { Fate::Torn } else { Fate::Kept });
        add(format!("{one} zeros"), &mut |at| if at == one { Fate::Zeros } else { Fate::Kept });
    }
    let mut random = Random::new(seed + 1);
    for lot in 0..if crate::support::is_long() { 100 } else { 4 } {
        add(format!("lot {lot}"), &mut |_| match random.below(6) {
            0 => Fate::Torn,
            1 => Fate::Zeros,
            2 | 3 => Fate::Lost,
            _ => Fate::Kept,
        });
    }
    images
}

fn print(image: &Image, spoken: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (image, spoken).hash(&mut hasher);
    hasher.finish()
}

/// Parses the short id of a snapshot that was reported as saved.
fn made(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("\nsnapshot ")?;
    rest.strip_suffix(" saved\n").map(str::to_owned)
}

/// Requires at least so many moments and disks, if there is strace.
fn assert_played(story: Story, moments: usize, disks: usize) {
    if let Some(played) = story.play() {
        println!("{played:?} moments and disks");
        assert!(played.0 >= moments && played.1 >= disks, "{played:?}");
    }
}

#[test]
fn a_power_cut_in_a_backup_loses_nothing_that_was_acknowledged() {
    let (story, _) = story(&["backup", "src"], |promises, said| {
        promises.made = made(said);
    });
    fs::remove_file(story.sandbox.src().join("a")).unwrap();
    write(&story.sandbox, &[("c", 4), ("e/f", 5)]);
    assert_played(story, 30, 60);
}

#[test]
fn a_power_cut_in_the_first_backup_leaves_a_repository_or_none() {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    write(&sandbox, &[("a", 1)]);
    let promises = Promises { source: sandbox.src(), name: "src".to_owned(), ..Promises::default() };
    let args = ["backup", "--init", "--no-encryption", "src"].map(str::to_owned).to_vec();
    let then = |promises: &mut Promises, said: &str| promises.made = made(said);
    fs::create_dir(sandbox.path("repo")).unwrap();
    assert_played(Story { sandbox, promises, args, then }, 30, 60);
}

#[test]
fn power_cut_in_a_forget_leaves_the_snapshot_in_one_place() {
    let (mut story, [first, _]) = story(&["forget", "FIRST"], |promises, _| {
        promises.may_stand.clear();
    });
    let of_first = story.promises.stand.remove(&first).unwrap();
    story.promises.may_stand.insert(first, of_first);
    assert_played(story, 15, 20);
}

#[test]
fn power_cut_in_gc_loses_nothing_needed() {
    let (mut story, [first, _]) = story(&["gc", "--empty-trash", "--max-unused", "0"], |_, _| {});
    story.sandbox.ok(&["forget", &first]);
    story.promises.stand.remove(&first);
    assert_played(story, 40, 60);
}

#[test]
fn a_power_cut_in_an_undelete_loses_nothing() {
    let (mut story, [first, _]) = story(&["undelete", "FIRST"], |promises, _| {
        promises.stand.append(&mut promises.may_stand);
    });
    story.sandbox.ok(&["forget", &first]);
    let of_first = story.promises.stand.remove(&first).unwrap();
    // For a moment it exists under the session's name as well.
    story.promises.source = of_first.clone();
    story.promises.may_stand.insert(first, of_first);
    assert_played(story, 15, 20);
}

/// Returns the names in `keys/` in the worst case: nothing that was not synced is kept.
#[test]
fn reported_password_change_survives_a_power_cut() {
    let sandbox = Sandbox::new();
    let old = sandbox.objects("keys").remove(0);
    fs::write(sandbox.path("next"), "another").unwrap();
    let mut disk = Disk::of(&sandbox.path("repo"));
    let command = sandbox.command(&["key", "passwd", "--new-password-file", "next"]);
    let Some((outcome, calls)) = trace::record(&command, &sandbox.path("log")) else { return };
    outcome.expect(0);
    let mut said = false;
    for call in &calls {
        said |= matches!(call, Call::Say(_));
        disk.apply(call);
        let image = disk.after_power_cut(&mut |_| Fate::Lost);
        let keys: Vec<&PathBuf> = image.keys().filter(|name| name.starts_with("keys/")).collect();
        assert!(!keys.is_empty(), "nobody gets in after {}", call.words());
        let stays = keys.iter().any(|name| old.ends_with(name));
        assert!(!said || !stays, "the old password came back after {}", call.words());
    }
    assert!(said);
}
