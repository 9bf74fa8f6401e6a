//! Whatever is forgotten and collected, the rest restores exactly, and the space is freed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::proptest;

use snap_backup::Control;
use snap_backup::codec::chunk::compress::NO_COMPRESSION;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::{backup, forget, gc};
use snap_backup::repo::write::delta_writer::Delta;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::library::Library;
use crate::support::{Random, copy_tree};

/// What the tables and trees of a few more or fewer packs take.
const SLACK: u64 = 8192;

struct Place {
    library: Library,
    storage: Arc<MemoryStorage>,
}

impl Place {
    fn new() -> Self {
        let storage = Arc::new(MemoryStorage::default());
        Self { library: Library::on(storage.clone(), None), storage }
    }

    /// A new repository with the same keys, so that it cuts files in the same way.
    fn like(other: &Self) -> Self {
        let fresh = Self::new();
        let config = other.storage.get(ObjectKind::Config, "1").unwrap();
        fresh.storage.put(ObjectKind::Config, "1", config);
        fresh
    }

    fn backup(&self, delta: Delta) -> Option<SnapshotId> {
        let options = backup::Options { level: Some(NO_COMPRESSION), delta, ..backup::Options::default() };
        self.library.backup("src", options).snapshot
    }

    fn packs(&self) -> u64 {
        self.storage.list(ObjectKind::Packs).unwrap().iter().map(|found| found.len).sum()
    }

    /// One of a few files is written, grows, gets an insertion, or is deleted. Nothing is compressed, because
    /// the compressed size of similar chunks depends on which of them share a block.
    fn change(&self, (which, what, seed): (u8, u8, u8)) {
        let name = format!("d{}/f{}", which % 2, which % 5);
        let path = self.library.path("src").join(&name);
        let len = 1000 + 700 * usize::from(what);
        let fresh = || {
            Random::new(1 + u64::from(which % 10) * 65_536 + u64::from(what) * 256 + u64::from(seed % 4))
                .bytes(len)
        };
        let bytes = match (what % 4, fs::read(&path)) {
            (1, Ok(mut old)) => {
                old.extend(fresh());
                old
            }
            (2, Ok(mut old)) => {
                let at = old.len() / 2;
                old.splice(at..at, Random::new(u64::from(seed)).bytes(100));
                old
            }
            (3, Ok(_)) => return fs::remove_file(&path).unwrap(),
            _ => fresh(),
        };
        self.library.write("src", &[(&name, &bytes)]);
    }
}

/// Forgets some snapshots, runs gc, and compares with a repository that never had them and has no deltas. One
/// with deltas may take less: its deltas have other bases than those that were made next to the forgotten
/// data.
fn forget_and_compare(stories: &[Vec<(u8, u8, u8)>], forgotten: &[bool], delta: Delta) {
    let place = Place::new();
    place.library.write("src", &[("always", b"here")]);
    let mut made = Vec::new();
    for (number, story) in stories.iter().enumerate() {
        story.iter().for_each(|change| place.change(*change));
        if let Some(id) = place.backup(delta) {
            let copy = place.library.path(&format!("copy{number}"));
            copy_tree(&place.library.path("src"), &copy);
            made.push((id, copy, forgotten[number]));
        }
    }
    let selectors: Vec<String> = made.iter().filter(|one| one.2).map(|one| one.0.hex()).collect();
    let options = forget::Options { selectors, allow_remove_all: true, ..forget::Options::default() };
    forget::run(&place.library.open(), &options).unwrap();
    let options =
        gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
    gc::run(&place.library.open(), &options, &Control::default()).unwrap();

    let fresh = Place::like(&place);
    for (id, copy, _) in made.iter().filter(|one| !one.2) {
        let differences = place.library.differences(&place.library.open(), *id, "src", copy);
        assert_eq!(differences, Vec::<String>::new());
        let _ = fs::remove_dir_all(fresh.library.path("src"));
        copy_tree(copy, &fresh.library.path("src"));
        fresh.backup(Delta::Off);
    }
    assert_eq!(place.library.errors(), Vec::<String>::new());
    let (is, should) = (place.packs(), fresh.packs());
    assert!(is <= should + should / 100 + SLACK, "{is} bytes of packs, {should} in a fresh repository");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn forgetting_any_subset_frees_space_and_the_rest_restores(
        stories in vec(vec(any::<(u8, u8, u8)>(), 1..6), 1..7),
        forgotten in vec(any::<bool>(), 7),
        deltas in any::<bool>(),
    ) {
        forget_and_compare(&stories, &forgotten, if deltas { Delta::On } else { Delta::Off });
    }
}
