//! What sizes reveal: which files share a compressed block, and how precisely the size of a pack shows what
//! was added.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use snap_backup::Control;
use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::pack::padding::padded_len;
use snap_backup::codec::pack::{BlockRow, Table};
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::ops::backup::Backup;
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::{backup, forget, gc};
use snap_backup::progress::Event;
use snap_backup::repo::pack::packs;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{Listed, ObjectKind, Storage};

use crate::support::library::Library;
use crate::support::{Random, skipped};

const SECRET: &[u8] = b"the key of the safe is hidden below the third stone: 7261";

/// The chunks of one block, identified by their lengths, because every file has its own length.
type Block = BTreeSet<u32>;

struct Sizes {
    library: Library,
    storage: Arc<MemoryStorage>,
}

impl Sizes {
    fn new(password: Option<&str>) -> Self {
        let storage = Arc::new(MemoryStorage::default());
        Self { library: Library::on(storage.clone(), password), storage }
    }

    fn blocks(&self, kind: ChunkType) -> Vec<Block> {
        let tables = self.tables().into_iter().filter(|(_, table)| table.kind == kind);
        let block = |block: &BlockRow| block.chunks.iter().map(|(_, len)| *len).collect();
        tables.flat_map(|(_, table)| table.blocks.iter().map(block).collect::<Vec<Block>>()).collect()
    }

    fn packs(&self) -> Vec<u64> {
        self.storage.list(ObjectKind::Packs).unwrap().iter().map(|found| found.len).collect()
    }

    fn packs_of(&self, kind: ChunkType) -> Vec<u64> {
        self.tables().into_iter().filter(|(_, table)| table.kind == kind).map(|(len, _)| len).collect()
    }

    /// Returns lengths and tables of all packs.
    fn tables(&self) -> Vec<(u64, Table)> {
        let repo = self.library.open();
        let packs = self.storage.list(ObjectKind::Packs).unwrap();
        let table = |found: &Listed| {
            let id = PackId::parse(&found.name).unwrap();
            (found.len, packs::read_table(&*self.storage, repo.suite(), &id, found.len).unwrap())
        };
        packs.iter().map(table).collect()
    }

    /// Writes files of these lengths, one for each owner, and backs them up.
    fn save(&self, files: &[(&str, u32, usize)], options: backup::Options) {
        for (name, owner, len) in files {
            self.library.write("src", &[(name, &Random::new(*len as u64).bytes(*len))]);
            chown(self.library.path("src").join(name), Some(*owner), None).unwrap();
        }
        self.back_up(options);
        assert_eq!(self.library.errors(), [] as [String; 0]);
    }

    /// Backs up, and checks the restored snapshot. Returns how many blocks of files are deltas now.
    fn back_up(&self, options: backup::Options) -> usize {
        let summary = self.library.backup("src", options);
        self.library.assert_restores(summary.snapshot, "src");
        let tables = self.tables().into_iter().filter(|(_, table)| table.kind == ChunkType::Data);
        let delta = |block: &&BlockRow| block.codec == Codec::Delta;
        tables.map(|(_, table)| table.blocks.iter().filter(delta).count()).sum()
    }

    /// Forgets snapshots, and deletes all data that only they need.
    fn collect_without(&self, old: &[SnapshotId]) {
        let selectors = old.iter().map(|id| id.hex()).collect();
        forget::run(&self.library.open(), &forget::Options { selectors, ..forget::Options::default() })
            .unwrap();
        let options =
            gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
        gc::run(&self.library.open(), &options, &Control::default()).unwrap();
    }

    fn isolating(&self, dir: &str) -> backup::Options {
        backup::Options { isolate: vec![self.library.path(dir)], ..backup::Options::default() }
    }
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(&format!("{test} needs root, to make files of other owners"));
    }
    root
}

#[test]
fn packs_of_an_encrypted_repository_have_few_sizes() {
    for (password, padded) in [(Some("secret"), true), (None, false)] {
        let sizes = Sizes::new(password);
        for len in [1usize, 70_001, 300_007, 1_000_003] {
            let noise = Random::new(len as u64).bytes(len);
            sizes.library.write("src", &[("f", &noise)]);
            sizes.back_up(backup::Options::default());
        }
        let all = sizes.packs();
        assert!(all.len() >= 8, "{all:?}");
        assert_eq!(all.iter().all(|len| *len == padded_len(*len)), padded, "{all:?}");
        assert_eq!(sizes.library.errors(), [] as [String; 0]);
    }
}

/// Full packs are not padded: that would cost a percent of the whole repository.
#[test]
fn full_packs_are_not_padded() {
    let sizes = Sizes::new(Some("secret"));
    sizes.library.write("src", &[("f", &Random::new(1).bytes(40 << 20))]);
    sizes.library.backup("src", backup::Options::default());
    let (full, others): (Vec<u64>, Vec<u64>) = sizes.packs().into_iter().partition(|len| *len >= 32 << 20);
    assert_eq!(full.len(), 1);
    assert!(full[0] < 35 << 20 && full[0] != padded_len(full[0]), "{full:?}");
    assert!(others.iter().all(|len| *len == padded_len(*len)), "{others:?}");
}

#[test]
fn files_of_different_owners_share_no_encrypted_block() {
    if !is_root("files of different owners") {
        return;
    }
    let files = [("a", 1000, 1001), ("b", 1001, 1002), ("c", 1000, 1003), ("d", 0, 1004), ("e", 1001, 1005)];
    let apart = [Block::from([1001, 1003]), Block::from([1002, 1005]), Block::from([1004])];
    for (password, wanted) in [(Some("secret"), &apart[..]), (None, &[Block::from_iter(1001..1006)])] {
        let sizes = Sizes::new(password);
        sizes.save(&files, backup::Options::default());
        let mut blocks = sizes.blocks(ChunkType::Data);
        blocks.sort();
        assert_eq!(blocks, wanted);
        // Changed files become deltas, in blocks of their own.
        let changed = files.map(|(name, owner, len)| (name, owner, len + 100));
        for (name, owner, len) in changed {
            let before = Random::new((len - 100) as u64).bytes(len - 100);
            sizes.library.write("src", &[(name, &[before, vec![b'x'; 100]].concat())]);
            chown(sizes.library.path("src").join(name), Some(owner), None).unwrap();
        }
        sizes.back_up(backup::Options::default());
        let mixed = |block: &Block| {
            let owners: BTreeSet<u32> =
                changed.iter().filter(|file| block.contains(&(file.2 as u32))).map(|file| file.1).collect();
            owners.len() > 1
        };
        assert_eq!(sizes.blocks(ChunkType::Data).iter().any(mixed), password.is_none());
    }
}

#[test]
fn gc_puts_files_of_different_owners_in_separate_blocks() {
    if !is_root("files of different owners") {
        return;
    }
    let files =
        [("a", 1000, 1001), ("b", 1001, 1002), ("c", 1000, 1003), ("d", 1001, 1004), ("e", 1000, 1005)];
    let apart = [Block::from([1003, 1005]), Block::from([1004])];
    for (password, wanted) in [(Some("secret"), &apart[..]), (None, &[Block::from_iter(1003..1006)])] {
        let sizes = Sizes::new(password);
        sizes.save(&files, backup::Options::default());
        let old = sizes.library.snapshots();
        for name in ["a", "b"] {
            fs::remove_file(sizes.library.path("src").join(name)).unwrap();
        }
        sizes.back_up(backup::Options::default());
        sizes.collect_without(&old);
        let mut blocks = sizes.blocks(ChunkType::Data);
        blocks.sort();
        assert_eq!(blocks, wanted);
        assert_eq!(sizes.library.errors(), [] as [String; 0]);
    }
}

#[test]
fn names_in_directories_of_different_owners_share_no_block() {
    if !is_root("directories of different owners") {
        return;
    }
    for (password, shared) in [(Some("secret"), false), (None, true)] {
        let sizes = Sizes::new(password);
        for (dir, owner, name) in [("src/a", 1000, "x"), ("src/b", 1001, "a longer name")] {
            sizes.library.write(dir, &[(name, b"1")]);
            chown(sizes.library.path(dir), Some(owner), None).unwrap();
        }
        sizes.back_up(backup::Options::default());
        let blocks = sizes.blocks(ChunkType::Tree);
        // The root and the directories above the source belong to the user who runs this.
        assert_eq!(blocks.len(), if shared { 1 } else { 3 }, "{blocks:?}");
    }
}

#[test]
fn isolated_files_share_no_block_and_no_base_with_others() {
    let sizes = Sizes::new(Some("secret"));
    let mine = rustix::process::getuid().as_raw();
    let files =
        [("mail/a-1", mine, 12_001), ("mail/b", mine, 12_002), ("c", mine, 12_003), ("d", mine, 12_004)];
    sizes.save(&files, sizes.isolating("src/mail"));
    let blocks = sizes.blocks(ChunkType::Data);
    for alone in [12_001, 12_002] {
        assert!(blocks.contains(&Block::from([alone])), "{blocks:?}");
    }
    // A message with a similar name and content does not become a delta against the other one.
    let like = [Random::new(12_001).bytes(12_001), b"and more".to_vec()].concat();
    sizes.library.write("src", &[("mail/a-2", &like)]);
    assert_eq!(sizes.back_up(sizes.isolating("src/mail")), 0);
    sizes.library.write("src", &[("e-1", &like), ("mail/a-1", &like)]);
    assert_eq!(sizes.back_up(sizes.isolating("src/mail")), 0, "stored as mail/a-2");
    // A changed one becomes a delta against itself.
    sizes.library.write("src", &[("mail/a-1", &[&like[..], b"!"].concat())]);
    assert_eq!(sizes.back_up(sizes.isolating("src/mail")), 1);
}

#[test]
fn isolated_file_shares_no_block_with_files_of_its_owner() {
    if !is_root("an isolated file after files of two owners") {
        return;
    }
    let sizes = Sizes::new(Some("secret"));
    // The owner's block is open, and that of another owner is the current one: the thread that reads the
    // isolated file has read one of the other owner before.
    let names: Vec<String> = (10..50).map(|number| format!("b{number}")).collect();
    let others = names.iter().zip(13_000..).map(|(name, len)| (name.as_str(), 1001, len));
    let mine = [("a", 1000, 12_001), ("mail/c", 1000, 12_003), ("z", 1000, 12_004)];
    sizes.save(&mine.into_iter().chain(others).collect::<Vec<_>>(), sizes.isolating("src/mail"));
    let blocks = sizes.blocks(ChunkType::Data);
    assert!(blocks.contains(&Block::from([12_003])), "{blocks:?}");
}

#[test]
fn an_isolated_directory_must_be_one_that_is_saved() {
    let sizes = Sizes::new(Some("secret"));
    sizes.library.write("src", &[("a", b"1")]);
    fs::create_dir(sizes.library.path("other")).unwrap();
    let why = |dir: PathBuf| {
        let options = backup::Options { isolate: vec![dir], ..backup::Options::default() };
        sizes.library.try_backup("src", options).unwrap_err().to_string()
    };
    assert!(why(sizes.library.path("other")).ends_with("it is not in any of the sources"));
    // A directory that no longer exists is no reason to save nothing.
    let warned = Mutex::new(Vec::new());
    let observer = |event: Event<'_>| {
        if let Event::Warning(text) = event {
            warned.lock().unwrap().push(text.to_owned());
        }
    };
    let options = backup::Options { sources: vec![sizes.library.path("src")], ..sizes.isolating("src/gone") };
    let begun = Backup::begin(options, None, &Control::default()).unwrap();
    assert!(begun.run(&sizes.library.open(), &Control::new(&observer)).unwrap().snapshot.is_some());
    assert!(
        warned.lock().unwrap()[0]
            .ends_with("No such file or directory (os error 2): no file is isolated there")
    );
}

/// Guesses of a secret in a file of somebody else: without separate blocks the right guess gives the smallest
/// backup.
#[test]
fn sizes_reveal_nothing_about_another_owners_secret() {
    if !is_root("guesses beside somebody else's secret") {
        return;
    }
    let sizes = |password: Option<&str>, owner: u32| -> Vec<u64> {
        let added = |guess: u32| {
            let sizes = Sizes::new(password);
            let guess = format!("a guess: the key of the safe is hidden below the third stone: {guess}");
            sizes.library.write("src", &[("secret", SECRET), ("guess", guess.as_bytes())]);
            chown(sizes.library.path("src/guess"), Some(owner), None).unwrap();
            sizes.library.backup("src", backup::Options::default());
            sizes.packs_of(ChunkType::Data).iter().sum()
        };
        (7259..7264).map(added).collect()
    };
    let apart = sizes(Some("secret"), 1000);
    assert!(apart.iter().all(|size| *size == apart[0]), "{apart:?}");
    // The attack works where nothing is isolated, so this test can fail.
    let together = sizes(None, 1000);
    let least = together.iter().min().unwrap();
    assert_eq!(together.iter().position(|size| size == least), Some(2), "{together:?}");
}
