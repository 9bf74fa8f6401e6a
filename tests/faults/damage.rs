//! Every kind of damage to every kind of object is found and named, and nothing wrong is restored silently.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::dates::ahead;
use crate::support::{CHEAP_KDF, Random, Sandbox, chmod, files_below, finish};
use snap_backup::Control;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::tree::dir::DirPiece;
use snap_backup::model::entry::Kind;
use snap_backup::ops::backup::Backup;
use snap_backup::ops::{backup, restore};
use snap_backup::repo::index::Index;
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::read::chunk_reader::ChunkReader;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::repo::snapshots;
use snap_backup::storage::local::LocalStorage;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    FlipHead,
    FlipMiddle,
    FlipTail,
    ZeroSector,
    Truncate,
    Append,
    /// Replaced by another object of its kind, such as an older state of it.
    Replace,
    Swap,
    /// It exists under another name as well.
    Duplicate,
    Delete,
}

const HARMS: [Harm; 10] = [
    Harm::FlipHead,
    Harm::FlipMiddle,
    Harm::FlipTail,
    Harm::ZeroSector,
    Harm::Truncate,
    Harm::Append,
    Harm::Replace,
    Harm::Swap,
    Harm::Duplicate,
    Harm::Delete,
];

impl Harm {
    /// Returns whether the other object has changed as well.
    fn harms_both(self) -> bool {
        self == Self::Swap
    }
}

#[test]
fn damaged_data_pack_is_named_and_healed_never_restored() {
    for harm in HARMS {
        let sandbox = sandbox();
        let packs = by_size(&sandbox, "packs");
        let (victim, other) = (packs.last().unwrap(), packs.first().unwrap());
        apply(harm, victim, other);
        let report = sandbox.snap(&["check", "-v", "--read-data"]).expect(20).all();
        let named = if harm == Harm::Duplicate { another(&name(victim)) } else { name(victim) };
        // A pack that is gone has no name any more: what needed it does.
        assert!(harm == Harm::Delete || report.contains(&named), "{harm:?}: {report}");
        sandbox.snap(&["snapshots"]).expect(0);
        match harm {
            Harm::Swap => {}
            Harm::FlipHead | Harm::FlipTail | Harm::Duplicate => {
                sandbox.assert_restores("latest", &sandbox.src());
            }
            _ => assert_honest_restore(harm, &sandbox),
        }
        assert_heals(harm, &sandbox);
    }
}

#[test]
fn damaged_tree_pack_is_named_and_healed() {
    for harm in HARMS {
        let sandbox = sandbox();
        let packs = by_size(&sandbox, "packs");
        let (victim, other) = (packs.first().unwrap(), packs.last().unwrap());
        apply(harm, victim, other);
        let report = sandbox.snap(&["check", "-v", "--read-data"]).expect(20).all();
        let named = if harm == Harm::Duplicate { another(&name(victim)) } else { name(victim) };
        assert!(harm == Harm::Delete || report.contains(&named), "{harm:?}: {report}");
        sandbox.snap(&["snapshots"]).expect(0);
        assert_heals(harm, &sandbox);
    }
}

/// What the source still has is stored again by the next backup, and the damaged pack is moved to quarantine:
/// all snapshots are complete.
fn assert_heals(harm: Harm, sandbox: &Sandbox) {
    let before = sandbox.snapshot_names();
    sandbox.ok(&["backup", "src"]);
    sandbox.snap(&["repair", "packs"]).expect_one_of(&[0, 3]);
    let report = sandbox.snap(&["check", "-v", "--read-data"]);
    assert_eq!(report.code, 0, "{harm:?}: {}", report.all());
    for id in before {
        sandbox.assert_restores(&id, &sandbox.src());
    }
    sandbox.ok(&["gc"]);
    assert!(sandbox.objects("damage").is_empty(), "{harm:?}: nothing is missing");
}

#[test]
fn a_damaged_snapshot_is_named_and_the_other_restores() {
    for harm in HARMS {
        let sandbox = sandbox();
        sandbox.write(&[("more", "more")]);
        let second = sandbox.backup(&[]);
        let objects = sandbox.objects("snapshots");
        let victim = objects.iter().find(|path| name(path) != second).unwrap();
        let other = objects.iter().find(|path| name(path) == second).unwrap();
        apply(harm, victim, other);
        let report = sandbox.snap(&["check", "-v", "--read-data"]);
        if harm == Harm::Duplicate {
            let report = report.expect(20).all();
            assert!(report.contains(&another(&name(victim))), "{harm:?}: {report}");
        } else if harm == Harm::Delete {
            // This machine's records and the next snapshot know it.
            let report = report.expect(0);
            assert!(report.stderr.contains(&name(victim)), "{harm:?}: {}", report.stderr);
            assert_eq!(report.warnings(), 2, "{harm:?}: {}", report.stderr);
        } else {
            let report = report.expect(20).all();
            assert!(report.contains(&name(victim)[..8]), "{harm:?}: {report}");
            assert!(!report.contains("is gone"), "{harm:?}: {report}");
        }
        assert_no_panic(&sandbox, &["snapshots"]);
        assert_no_panic(&sandbox, &["restore", &name(victim), "--target", "out/victim"]);
        if !harm.harms_both() {
            sandbox.assert_restores(&second, &sandbox.src());
            // Another damaged object must not stop the next backup.
            sandbox.write(&[("more", "and more")]);
            sandbox.backup(&[]);
        }
        if !matches!(harm, Harm::Swap | Harm::Delete | Harm::Duplicate) {
            // This machine has a copy of the manifest.
            sandbox.snap(&["repair", "snapshots"]).expect(0);
            sandbox.assert_clean();
        }
    }
}

#[test]
fn a_damaged_second_key_slot_is_named_and_the_first_still_opens() {
    for harm in HARMS {
        let sandbox = sandbox();
        let first = sandbox.objects("keys");
        let mut command = sandbox.command(&["key", "add"]);
        command.env("SNAP_NEW_PASSWORD", "second");
        finish(command, b"").expect(0);
        let keys = sandbox.objects("keys");
        let victim = keys.iter().find(|key| !first.contains(key)).unwrap();
        apply(harm, victim, &first[0]);
        let report = sandbox.snap(&["check", "-v", "--read-data"]);
        match harm {
            Harm::Duplicate => {
                // Anybody can create a file there. It opens nothing.
                let report = report.expect(0).stderr;
                assert!(report.contains(&another(&name(victim))), "{harm:?}: {report}");
            }
            Harm::Swap | Harm::Replace => _ = report.expect_one_of(&[12, 20]),
            _ => {
                let report = report.expect(20).all();
                assert!(report.contains(&name(victim)[..8]), "{harm:?}: {report}");
            }
        }
        if harm != Harm::Swap {
            sandbox.assert_restores("latest", &sandbox.src());
        }
        assert_no_panic(&sandbox, &["key", "list"]);
        assert_no_panic(&sandbox, &["snapshots"]);
    }
}

#[test]
fn a_damaged_only_key_slot_is_told_apart_from_success() {
    for harm in [Harm::FlipMiddle, Harm::Truncate, Harm::Delete] {
        let sandbox = sandbox();
        let victim = &sandbox.objects("keys")[0];
        apply(harm, victim, victim);
        sandbox.snap(&["check", "-v", "--read-data"]).expect_one_of(&[10, 12, 20]);
        assert_no_panic(&sandbox, &["snapshots"]);
        assert_no_panic(&sandbox, &["restore", "latest", "--target", "out/x"]);
    }
}

#[test]
fn a_damaged_configuration_is_named_and_opens_nothing() {
    for harm in HARMS {
        let sandbox = sandbox();
        let victim = &sandbox.objects("config")[0];
        apply(harm, victim, &sandbox.objects("snapshots")[0]);
        let report = sandbox.snap(&["check", "-v", "--read-data"]);
        if harm == Harm::Delete {
            report.expect_one_of(&[10, 12, 20]);
        } else {
            let report = report.expect(20).all();
            let named = if harm == Harm::Duplicate { "config/2" } else { "config/1" };
            assert!(report.contains(named), "{harm:?}: {report}");
        }
        assert_no_panic(&sandbox, &["snapshots"]);
        assert_no_panic(&sandbox, &["restore", "latest", "--target", "out/x"]);
    }
}

#[test]
fn damaged_damage_record_counts_by_its_name() {
    for harm in [Harm::FlipHead, Harm::FlipMiddle, Harm::FlipTail, Harm::Truncate, Harm::Append] {
        let sandbox = sandbox();
        let packs = by_size(&sandbox, "packs");
        let pack = packs.last().unwrap();
        apply(Harm::FlipMiddle, pack, pack);
        sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
        let records = sandbox.objects("damage");
        let record = records.iter().find(|path| name(path) == name(pack)).unwrap();
        apply(harm, record, record);
        let report = sandbox.snap(&["check", "-v"]).expect(20).all();
        assert!(report.contains(&format!("damage/{}", name(pack))), "{harm:?}: {report}");
        // The pack still counts as damaged: no new data refers to it.
        sandbox.ok(&["backup", "src"]);
        sandbox.snap(&["repair", "packs"]).expect(3);
        sandbox.ok(&["gc"]);
        assert!(sandbox.objects("damage").is_empty(), "{harm:?}: nothing is missing");
        sandbox.assert_clean();
        sandbox.assert_restores("latest", &sandbox.src());
    }
}

#[test]
fn damaged_trash_entry_is_named_and_restores_nothing() {
    for harm in [Harm::FlipHead, Harm::FlipMiddle, Harm::FlipTail, Harm::Truncate, Harm::Append, Harm::Swap] {
        let sandbox = sandbox();
        let first = sandbox.snapshot_names().into_iter().next().unwrap();
        sandbox.write(&[("more", "more")]);
        let second = sandbox.backup(&[]);
        sandbox.write(&[("more", "and more")]);
        sandbox.backup(&[]);
        sandbox.ok(&["forget", &first, &second]);
        let entries = sandbox.objects("trash");
        apply(harm, &entries[0], &entries[1]);
        let report = sandbox.snap(&["check", "-v"]).expect(20).all();
        assert!(report.contains(&name(&entries[0])), "{harm:?}: {report}");
        let id: String = name(&entries[0]).chars().take(8).collect();
        let told = sandbox.snap(&["undelete", &id]);
        assert_ne!(told.code, 0, "{harm:?}: {}", told.all());
        // Nobody knows which data it needs, so gc deletes nothing until it is purged.
        sandbox.snap(&["gc"]).expect(20);
        sandbox.ok(&["gc", "--empty-trash"]);
        sandbox.assert_clean();
        sandbox.assert_restores("latest", &sandbox.src());
    }
}

#[test]
fn damaged_gc_record_is_named_and_stops_runs_if_unfinished() {
    for harm in [Harm::FlipHead, Harm::FlipMiddle, Harm::FlipTail, Harm::Truncate, Harm::Append] {
        for ended in [true, false] {
            let sandbox = sandbox();
            let first = sandbox.snapshot_names().into_iter().next().unwrap();
            sandbox.write(&[("more", "more")]);
            sandbox.backup(&[]);
            sandbox.ok(&["forget", &first]);
            fs::write(sandbox.src().join("d/0"), "short").unwrap();
            sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
            let all = sandbox.objects("gc");
            let record = all.iter().find(|path| !name(path).contains('.')).unwrap();
            let done = all.iter().find(|path| name(path).ends_with(".done")).unwrap();
            apply(harm, record, record);
            if !ended {
                fs::remove_file(done).unwrap();
            }
            let report = sandbox.snap(&["check", "-v"]).expect(20).all();
            assert!(report.contains(&format!("gc/{}", name(record))), "{harm:?}: {report}");
            sandbox.snap(&["backup", "src"]).expect(if ended { 0 } else { 20 });
            sandbox.snap(&["snapshots"]).expect(0);
            sandbox.snap(&["repair", "gc"]).expect(0);
            sandbox.ok(&["backup", "src"]);
            sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
            sandbox.assert_clean();
        }
    }
}

#[test]
fn damaged_session_is_named_and_still_waited_for() {
    for harm in
        [Harm::FlipHead, Harm::FlipMiddle, Harm::FlipTail, Harm::Truncate, Harm::Append, Harm::Duplicate]
    {
        let sandbox = sandbox();
        // A session of another machine: whether it is dead cannot be known.
        let name_of = "0123456789abcdef0123456789abcdef";
        let session = sandbox.path("repo/sessions").join(name_of);
        fs::create_dir_all(session.parent().unwrap()).unwrap();
        fs::write(&session, fs::read(&sandbox.objects("snapshots")[0]).unwrap()).unwrap();
        apply(harm, &session, &session);
        let report = sandbox.snap(&["check", "-v"]).expect(20).all();
        assert!(report.contains(&format!("sessions/{name_of}")), "{harm:?}: {report}");
        sandbox.ok(&["backup", "--full", "src"]);
        sandbox.assert_restores("latest", &sandbox.src());
    }
}

/// The walk finds exactly what can still be read of the parent's directory, which is not everything that the
/// parent has.
#[test]
fn partly_readable_parent_is_not_reused_whole() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("src");
    fs::create_dir(&source).unwrap();
    let path = |number: u64| source.join(format!("{number:05}"));
    (0..5000).for_each(|number| fs::write(path(number), "same").unwrap());
    let packs = home.path().join("repo/packs");
    let open = |password: &str| {
        let storage = Arc::new(LocalStorage::new(home.path().join("repo")));
        Repository::open(
            storage,
            &OpenOptions {
                password: Some(password.to_owned().into()),
                cache: None,
                ..OpenOptions::default()
            },
        )
        .unwrap()
    };
    let init =
        InitOptions { password: Some("p".to_owned().into()), kdf: CHEAP_KDF, ..InitOptions::default() };
    Repository::init(Arc::new(LocalStorage::new(home.path().join("repo"))), &init).unwrap();
    let backup = || {
        let options = backup::Options { sources: vec![source.clone()], ..backup::Options::default() };
        // Files written just now would be read again by the next backup.
        Backup::begin(options, None, &Control::default().with_clock(ahead))
            .unwrap()
            .run(&open("p"), &Control::default())
            .unwrap()
    };
    let root = |made: &backup::Report| {
        let repo = open("p");
        snapshots::load(&repo, &made.snapshot.unwrap().hex()).unwrap().unwrap().manifest.root
    };
    backup();
    let of_the_first = files_below(&packs);
    fs::write(path(0), "other").unwrap();
    let second = backup();
    let first_piece = {
        let repo = open("p");
        let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap();
        let mut reader = ChunkReader::new(&repo, Arc::new(Index::load(&repo, repo_state).unwrap())).unwrap();
        let mut tree = root(&second);
        loop {
            let piece = reader.get(ChunkType::Tree, &tree).unwrap();
            match DirPiece::decode(&piece).unwrap() {
                DirPiece::Index(kids) => break kids[0].entries,
                DirPiece::Leaf(entries) => match entries[0].kind {
                    Kind::Dir { tree: below } => tree = below,
                    _ => panic!("one piece is not enough"),
                },
            }
        }
    };
    let largest = of_the_first.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    chmod(largest, 0o600);
    fs::remove_file(largest).unwrap();
    (first_piece..5000).for_each(|number| fs::remove_file(path(number)).unwrap());
    let third = backup();
    assert_ne!(root(&third), root(&second));
    let out = home.path().join("out");
    let options = restore::Options {
        selector: third.snapshot.unwrap().hex(),
        target: out.clone(),
        ..restore::Options::default()
    };
    let restored = restore::run(&open("p"), &options, &Control::default()).unwrap();
    assert_eq!((restored.files, restored.problems.len()), (first_piece, 0));
}

/// One snapshot of a few files of all sizes, some of them large.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_tree(&[("a", "hello"), ("d/b", "deep")]);
    let mut random = Random::new(7);
    for number in 0..8 {
        fs::write(sandbox.src().join(format!("d/{number}")), random.bytes(500_000)).unwrap();
    }
    sandbox.backup(&[]);
    sandbox
}

/// A restore that cannot be complete reports it, names what is missing, and writes nothing wrong.
fn assert_honest_restore(harm: Harm, sandbox: &Sandbox) {
    let target = sandbox.new_target();
    let outcome = sandbox.snap(&["restore", "latest", "--target", target.to_str().unwrap()]);
    let outcome = outcome.expect_one_of(&[1, 3, 20]);
    assert!(outcome.stderr.contains("src/"), "{harm:?} names no file: {}", outcome.stderr);
    for restored in files_below(&target) {
        let name = restored.strip_prefix(&target).unwrap();
        let same = fs::read(&restored).unwrap() == fs::read(sandbox.path("").join(name)).unwrap();
        assert!(same, "{harm:?}: {} was restored wrong", name.display());
    }
}

fn assert_no_panic(sandbox: &Sandbox, args: &[&str]) {
    let outcome = sandbox.snap(args);
    assert!(!outcome.stderr.contains("panicked"), "{args:?}: {}", outcome.stderr);
    assert_ne!(outcome.code, -1, "{args:?} was killed");
}

fn apply(harm: Harm, victim: &Path, other: &Path) {
    let bytes = fs::read(victim).unwrap();
    let spare = victim.with_extension("spare");
    for path in [victim, other] {
        chmod(path, 0o600);
    }
    let flip = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        fs::write(victim, bytes).unwrap();
    };
    match harm {
        Harm::FlipHead => flip(9.min(bytes.len() - 1)),
        Harm::FlipMiddle => flip(bytes.len() / 2),
        Harm::FlipTail => flip(bytes.len() - 1),
        Harm::ZeroSector => {
            let mut zeroed = bytes.clone();
            let from = bytes.len() / 2 / 512 * 512;
            let end = bytes.len().min(from + 512);
            zeroed[from..end].fill(0);
            fs::write(victim, zeroed).unwrap();
        }
        Harm::Truncate => fs::write(victim, &bytes[..bytes.len() / 2]).unwrap(),
        Harm::Append => fs::write(victim, [bytes.as_slice(), b"more"].concat()).unwrap(),
        Harm::Replace => _ = fs::copy(other, victim).unwrap(),
        Harm::Duplicate => _ = fs::copy(victim, victim.with_file_name(another(&name(victim)))).unwrap(),
        Harm::Swap => {
            fs::rename(victim, &spare).unwrap();
            fs::rename(other, victim).unwrap();
            fs::rename(&spare, other).unwrap();
        }
        Harm::Delete => fs::remove_file(victim).unwrap(),
    }
}

/// Returns an unused name of the same form.
fn another(name: &str) -> String {
    let last = if name.ends_with('0') { '1' } else { '0' };
    match name.parse::<u32>() {
        Ok(number) => (number + 1).to_string(),
        Err(_) => format!("{}{last}", &name[..name.len() - 1]),
    }
}

fn by_size(sandbox: &Sandbox, area: &str) -> Vec<PathBuf> {
    let mut objects = sandbox.objects(area);
    objects.sort_by_key(|path| fs::metadata(path).unwrap().len());
    assert!(objects.len() > 1, "too few objects in {area}");
    objects
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn objects_removed_by_others_are_missed_own_removals_not() {
    let sandbox = sandbox();
    let first = sandbox.snapshot_names().into_iter().next().unwrap();
    sandbox.write(&[("more", "more")]);
    let second = sandbox.backup(&[]);
    sandbox.write(&[("more", "again")]);
    sandbox.backup(&[]);
    sandbox.ok(&["forget", &first]);
    fs::remove_file(sandbox.path("repo/snapshots").join(&second)).unwrap();
    // Neither a backup nor a gc run in between makes this machine forget it.
    sandbox.write(&[("more", "last")]);
    sandbox.backup(&[]);
    sandbox.ok(&["gc"]);
    let report = sandbox.ok(&["check"]);
    assert!(report.stderr.contains(&second) && !report.stderr.contains(&first), "{}", report.stderr);
    // This machine's records report it once. The snapshot that was made after it reports it each time.
    let again = sandbox.ok(&["check"]);
    assert_eq!(again.warnings(), 1, "{}", again.stderr);
    assert!(
        again.stderr.contains("no audit record") && again.stderr.contains(&second[..8]),
        "{}",
        again.stderr
    );
    sandbox.ok(&["repair", "known"]);
    assert_eq!(sandbox.ok(&["check"]).warnings(), 0);
}

#[test]
fn missing_newest_configuration_is_detected() {
    let sandbox = sandbox();
    let file = sandbox.path("repo/config/2");
    fs::copy(sandbox.path("repo/config/1"), &file).unwrap();
    // It was not a generation of its own, but it existed.
    sandbox.snap(&["check", "-v"]).expect(20);
    fs::remove_file(&file).unwrap();
    let report = sandbox.ok(&["check"]);
    assert!(report.stderr.contains("config/2"), "{}", report.stderr);
}
