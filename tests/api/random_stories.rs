//! Random sequences of operations, compared with plain copies. Whatever happens to the source and to the
//! local cache, every snapshot restores to its state after every step. A failing sequence is shrunk to a
//! short one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::backup::Options;
use snap_backup::storage::memory::MemoryStorage;

use crate::support::library::Library;
use crate::support::{Random, chmod, compare_trees, copy_tree, files_below};

/// One step. An [`Index`] selects among the existing files or snapshots.
#[derive(Debug, Clone)]
enum Step {
    Create(Index, u32),
    Append(Index, u32),
    /// Writes other bytes of the same length, right after the previous step, possibly with the old mtime.
    EditInPlace(Index, bool),
    Rename(Index, Index),
    Remove(Index),
    RemoveFolder(Index),
    Chmod(Index, u32),
    MakeFolder(Index),
    HardLink(Index, Index),
    Symlink(Index),
    /// Replaces a file by a directory with a file, or the reverse.
    Turn(Index),
    LoseView,
    GarbleView,
    BackUp(SnapshotKind),
}

fn step() -> impl Strategy<Value = Step> {
    let any_index = any::<Index>;
    let len = || prop_oneof![Just(0_u32), 1..200_u32, 1000..20_000_u32, 100_000..400_000_u32];
    let kind = prop_oneof![
        Just(SnapshotKind::Full),
        Just(SnapshotKind::Incremental),
        Just(SnapshotKind::Incremental),
        Just(SnapshotKind::Differential)
    ];
    prop_oneof![
        3 => (any_index(), len()).prop_map(|(at, len)| Step::Create(at, len)),
        1 => (any_index(), len()).prop_map(|(at, len)| Step::Append(at, len)),
        4 => (any_index(), any::<bool>()).prop_map(|(at, back)| Step::EditInPlace(at, back)),
        1 => (any_index(), any_index()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => any_index().prop_map(Step::Remove),
        1 => any_index().prop_map(Step::RemoveFolder),
        1 => (any_index(), prop_oneof![Just(0o600), Just(0o644), Just(0o4755), Just(0o400)])
            .prop_map(|(at, mode)| Step::Chmod(at, mode)),
        1 => any_index().prop_map(Step::MakeFolder),
        1 => (any_index(), any_index()).prop_map(|(from, to)| Step::HardLink(from, to)),
        1 => any_index().prop_map(Step::Symlink),
        1 => any_index().prop_map(Step::Turn),
        1 => Just(Step::LoseView),
        1 => Just(Step::GarbleView),
        5 => kind.prop_map(Step::BackUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_restores_to_its_moment(
        encrypted in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..30),
    ) {
        let mut story = Story::new(encrypted);
        for step in &steps {
            story.take(step)?;
        }
        story.take(&Step::BackUp(SnapshotKind::Incremental))?;
        prop_assert_eq!(story.library.errors(), Vec::<String>::new());
    }
}

/// `SNAP_TEST_STORIES` sets a larger number.
fn cases() -> u32 {
    std::env::var("SNAP_TEST_STORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(24)
}

struct Story {
    library: Library,
    random: Random,
    /// A copy of the source at the time of each snapshot.
    copies: BTreeMap<SnapshotId, PathBuf>,
    newest: Option<PathBuf>,
    names: u64,
}

impl Story {
    fn new(encrypted: bool) -> Self {
        let library = Library::on(Arc::<MemoryStorage>::default(), encrypted.then_some("try"));
        fs::create_dir(library.path("src")).unwrap();
        Self { library, random: Random::new(1), copies: BTreeMap::new(), newest: None, names: 0 }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::BackUp(kind) => return self.back_up(*kind),
            Step::LoseView | Step::GarbleView => self.harm_the_view(matches!(step, Step::LoseView)),
            Step::Create(at, len) => {
                let bytes = self.bytes(*len);
                fs::write(self.fresh(at), bytes).unwrap();
            }
            Step::MakeFolder(at) => fs::create_dir(self.fresh(at)).unwrap(),
            Step::Symlink(at) => std::os::unix::fs::symlink("some/where", self.fresh(at)).unwrap(),
            Step::RemoveFolder(at) => {
                let folder = self.folder(at);
                if folder != self.library.path("src") {
                    fs::remove_dir_all(folder).unwrap();
                }
            }
            Step::Turn(at) => self.turn(at),
            Step::Append(at, _)
            | Step::EditInPlace(at, _)
            | Step::Rename(at, _)
            | Step::Remove(at)
            | Step::Chmod(at, _)
            | Step::HardLink(at, _) => {
                if let Some(file) = self.file(at) {
                    self.change(step, &file);
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, step: &Step, file: &Path) {
        match step {
            Step::Append(_, len) => {
                let mut bytes = fs::read(file).unwrap();
                bytes.extend(self.bytes(*len));
                fs::write(file, bytes).unwrap();
            }
            Step::EditInPlace(_, back) => {
                let before = fs::metadata(file).unwrap();
                let bytes = self.bytes(u32::try_from(before.len()).unwrap());
                fs::write(file, bytes).unwrap();
                if *back {
                    let open = fs::File::options().append(true).open(file).unwrap();
                    open.set_modified(before.modified().unwrap()).unwrap();
                }
            }
            Step::Rename(_, to) => fs::rename(file, self.fresh(to)).unwrap(),
            Step::Remove(_) => fs::remove_file(file).unwrap(),
            Step::Chmod(_, mode) => chmod(file, *mode),
            Step::HardLink(_, to) => fs::hard_link(file, self.fresh(to)).unwrap(),
            other => panic!("{other:?} changes no file"),
        }
    }

    /// Makes a snapshot unless nothing has changed, then checks every snapshot.
    fn back_up(&mut self, kind: SnapshotKind) -> Result<(), TestCaseError> {
        let src = self.library.path("src");
        match self.library.backup("src", Options { kind, ..Options::default() }).snapshot {
            Some(id) => {
                let copy = self.library.path(&format!("copy-{id}"));
                copy_tree(&src, &copy);
                self.copies.insert(id, copy.clone());
                self.newest = Some(copy);
            }
            None => {
                let differences = self.newest.as_ref().map(|newest| compare_trees(newest, &src));
                prop_assert_eq!(differences, Some(Vec::new()), "a change was taken for none");
            }
        }
        let repo = self.library.open();
        for (id, copy) in &self.copies {
            let differences = self.library.differences(&repo, *id, "src", copy);
            prop_assert!(differences.is_empty(), "{}: {differences:#?}", id.short());
        }
        Ok(())
    }

    fn file(&self, at: &Index) -> Option<PathBuf> {
        let files = files_below(&self.library.path("src"));
        if files.is_empty() { None } else { Some(at.get(&files).clone()) }
    }

    fn folder(&self, at: &Index) -> PathBuf {
        let all = walkdir::WalkDir::new(self.library.path("src")).sort_by_file_name().into_iter().flatten();
        let folders = all.filter(|entry| entry.file_type().is_dir()).map(|entry| entry.into_path());
        at.get(&folders.collect::<Vec<_>>()).clone()
    }

    /// Returns an unused name in an existing directory.
    fn fresh(&mut self, at: &Index) -> PathBuf {
        self.names += 1;
        self.folder(at).join(format!("n{}", self.names))
    }

    fn turn(&mut self, at: &Index) {
        let all = walkdir::WalkDir::new(self.library.path("src")).min_depth(1).sort_by_file_name();
        let all: Vec<_> = all.into_iter().flatten().collect();
        if all.is_empty() {
            return;
        }
        let chosen = at.get(&all);
        if chosen.file_type().is_dir() {
            fs::remove_dir_all(chosen.path()).unwrap();
            fs::write(chosen.path(), "was a folder").unwrap();
        } else {
            fs::remove_file(chosen.path()).unwrap();
            fs::create_dir(chosen.path()).unwrap();
            fs::write(chosen.path().join("inside"), "was a file").unwrap();
        }
    }

    fn bytes(&mut self, len: u32) -> Vec<u8> {
        self.random.bytes(usize::try_from(len).unwrap())
    }

    fn harm_the_view(&mut self, lose: bool) {
        let views = walkdir::WalkDir::new(self.library.cache()).into_iter().flatten();
        let views = views.filter(|entry| entry.file_name() == "view").map(|entry| entry.into_path());
        for view in views.collect::<Vec<_>>() {
            if lose {
                fs::remove_dir_all(view).unwrap();
                continue;
            }
            for file in files_below(&view) {
                fs::write(file, self.random.bytes(4096)).unwrap();
            }
        }
    }
}
