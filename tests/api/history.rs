//! Queries over many snapshots at once: what they find, in which snapshots, and how little they read.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert, prop_assert_eq, proptest};
use snap_backup::codec::crypto::cipher;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::tree::dir::DirBuilder;
use snap_backup::model::entry::{Content, Entry, Kind};
use snap_backup::model::id::ChunkId;
use snap_backup::ops::{backup, du, find, history, ls, stats};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::repo::walk::multi_walk::{self, EntryVersion, Tree, Visitor};
use snap_backup::repo::walk::snapshot_set::SnapshotSet;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::util::bitset::BitSet;
use snap_backup::{Control, Error, Result};

use crate::support::Random;
use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;

struct Stage {
    library: Library,
    storage: Arc<Hooked>,
}

type Found = Vec<(String, Vec<usize>)>;

impl Stage {
    fn new() -> Self {
        let storage = Arc::new(Hooked::default());
        Self { library: Library::on(storage.clone(), None), storage }
    }

    fn backup(&self) {
        let options = backup::Options { allow_empty: true, ..backup::Options::default() };
        self.library.backup("src", options);
    }

    fn write(&self, tree: &[(&str, &[u8])]) {
        self.library.write("src", tree);
    }

    fn find(&self, options: &find::Options) -> Found {
        let mut all = Vec::new();
        let mut each = |found: &find::Match<'_>| {
            all.push((String::from_utf8(found.path.to_vec()).unwrap(), found.among.iter().collect()));
            Ok(())
        };
        let repo = self.library.open();
        let summary = find::run(&repo, options, &mut each, &Control::default()).unwrap();
        assert_eq!(summary.problems, []);
        assert_eq!(summary.matches, all.len() as u64);
        all
    }

    fn names(&self, patterns: &[&str]) -> Found {
        self.find(&find::Options { patterns: globs(patterns), ..find::Options::default() })
    }

    fn history(&self, path: &str) -> Result<history::Report> {
        let options = history::Options { path: path.into(), ..history::Options::default() };
        history::run(&self.library.open(), &options, &Control::default())
    }

    /// Counts the blocks of trees that are read while `work` runs.
    fn reads(&self, work: impl FnOnce()) -> usize {
        self.storage.calls();
        work();
        let calls = self.storage.calls();
        calls.iter().filter(|(act, area, _)| (*act, *area) == (Act::Read, ObjectKind::Packs)).count()
    }
}

fn globs(patterns: &[&str]) -> Vec<std::ffi::OsString> {
    patterns.iter().map(std::ffi::OsString::from).collect()
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|one| (*one).to_owned()).collect()
}

fn found(list: &[(&str, &[usize])]) -> Found {
    list.iter().map(|(path, among)| ((*path).to_owned(), among.to_vec())).collect()
}

#[test]
fn an_unchanged_file_is_found_once_with_all_its_snapshots() {
    let stage = Stage::new();
    stage.write(&[("a/same", b"same"), ("a/changes", b"1"), ("goes", b"x")]);
    stage.backup();
    stage.write(&[("a/changes", b"22")]);
    fs::remove_file(stage.library.path("src/goes")).unwrap();
    stage.backup();
    stage.write(&[("a/comes", b"new")]);
    stage.backup();
    assert_eq!(stage.names(&["same"]), found(&[("src/a/same", &[0, 1, 2])]));
    assert_eq!(stage.names(&["changes"]), found(&[("src/a/changes", &[0]), ("src/a/changes", &[1, 2])]));
    assert_eq!(stage.names(&["g*", "com*"]), found(&[("src/a/comes", &[2]), ("src/goes", &[0])]));
    assert_eq!(stage.names(&["nothing"]), []);
}

#[test]
fn a_search_is_by_kind_size_and_time_as_well() {
    let stage = Stage::new();
    stage.write(&[("small", b"1"), ("large", &[7; 5000])]);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
    fs::File::options().write(true).open(stage.library.path("src/small")).unwrap().set_modified(old).unwrap();
    std::os::unix::fs::symlink("small", stage.library.path("src/link")).unwrap();
    stage.backup();
    let paths =
        |options: find::Options| stage.find(&options).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let files = vec![find::EntryType::File];
    assert_eq!(paths(find::Options { types: files, ..find::Options::default() }), ["src/large", "src/small"]);
    let links = vec![find::EntryType::Symlink, find::EntryType::Dir];
    assert_eq!(paths(find::Options { types: links, ..find::Options::default() }), ["src", "src/link"]);
    // Adds and removes snapshots, so that the number differs.
    assert_eq!(paths(find::Options { larger: Some(4999), ..find::Options::default() }), ["src/large"]);
    assert!(paths(find::Options { larger: Some(5000), ..find::Options::default() }).is_empty());
    assert_eq!(paths(find::Options { smaller: Some(2), ..find::Options::default() }), ["src/small"]);
    assert!(paths(find::Options { smaller: Some(1), ..find::Options::default() }).is_empty());
    let at = |sec| Some(snap_backup::model::entry::Time { sec, nanos: 0 });
    assert_eq!(paths(find::Options { older: at(1001), ..find::Options::default() }), ["src/small"]);
    assert!(paths(find::Options { older: at(1000), ..find::Options::default() }).is_empty());
    let newer = paths(find::Options { newer: at(1001), ..find::Options::default() });
    assert_eq!(newer, ["src", "src/large", "src/link"]);
    let newer = paths(find::Options { newer: at(1000), ..find::Options::default() });
    assert_eq!(newer, ["src", "src/large", "src/link", "src/small"]);
}

#[test]
fn find_matches_content_under_any_name() {
    let stage = Stage::new();
    let bytes = Random::new(1).bytes(400_000);
    let mut other = bytes.clone();
    other[399_999] ^= 1;
    stage.write(&[("a", &bytes), ("b/copy", &bytes), ("other", &other), ("empty", b"")]);
    // A hole, as it may be stored, and the same bytes.
    let mut sparse = fs::File::create(stage.library.path("src/sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    std::io::Write::write_all(&mut sparse, b"begins").unwrap();
    drop(sparse);
    stage.backup();
    fs::rename(stage.library.path("src/a"), stage.library.path("src/moved")).unwrap();
    stage.backup();
    let like = |name: &str, bytes: &[u8]| {
        stage.library.write("elsewhere", &[(name, bytes)]);
        let content = Some(stage.library.path("elsewhere").join(name));
        stage.find(&find::Options { content, ..find::Options::default() })
    };
    let expected = found(&[("src/a", &[0]), ("src/b/copy", &[0, 1]), ("src/moved", &[1])]);
    assert_eq!(like("x", &bytes), expected);
    assert_eq!(like("empty", b""), found(&[("src/empty", &[0, 1])]));
    assert_eq!(like("y", &bytes[1..]), []);
    let mut full = vec![0; 1 << 20];
    full[..6].copy_from_slice(b"begins");
    assert_eq!(like("full", &full), found(&[("src/sparse", &[0, 1])]));
    full[(1 << 20) - 1] = 1;
    assert_eq!(like("fuller", &full), []);
}

#[test]
fn a_file_is_found_by_a_chunk_and_a_directory_by_its_tree() {
    let stage = Stage::new();
    // Enough parts for a part list.
    let mut long = fs::File::create_new({
        fs::create_dir_all(stage.library.path("src")).unwrap();
        stage.library.path("src/long")
    })
    .unwrap();
    for piece in 0..1500_u64 {
        use std::io::{Seek, Write};
        long.seek(std::io::SeekFrom::Start(piece * 16384)).unwrap();
        long.write_all(&Random::new(piece).bytes(4096)).unwrap();
    }
    drop(long);
    stage.write(&[("d/f", b"bytes")]);
    stage.backup();
    let repo = stage.library.open();
    let mut ids: BTreeMap<&str, ChunkId> = BTreeMap::new();
    ls::run(&repo, "latest", ls::Levels::All, &mut |path, entry| {
        match (&entry.kind, path) {
            (Kind::Dir { tree }, b"src/d") => ids.insert("dir", *tree),
            (Kind::File { content: Content::List(list), .. }, b"src/long") => ids.insert("list", *list),
            _ => None,
        };
        Ok(())
    })
    .unwrap();
    ids.insert("data", repo.hasher().id_of(ChunkType::Data, b"bytes"));
    ids.insert("part", repo.hasher().id_of(ChunkType::Data, &Random::new(700).bytes(4096)));
    let chunk = |text: String| stage.find(&find::Options { chunk: Some(text), ..find::Options::default() });
    assert_eq!(chunk(ids["data"].hex()), found(&[("src/d/f", &[0])]));
    assert_eq!(chunk(ids["data"].hex()[..12].to_uppercase()), found(&[("src/d/f", &[0])]));
    assert_eq!(chunk(ids["dir"].hex()), found(&[("src/d", &[0])]));
    assert_eq!(chunk(ids["list"].hex()), found(&[("src/long", &[0])]));
    assert_eq!(chunk(ids["part"].hex()), found(&[("src/long", &[0])]));
    for bad in ["", "abc", "xyzw", &"a".repeat(65)] {
        let options = find::Options { chunk: Some(bad.into()), ..find::Options::default() };
        let failed = find::run(&repo, &options, &mut |_| Ok(()), &Control::default());
        assert!(matches!(failed, Err(Error::Usage(_))), "{bad}");
    }
}

#[test]
fn a_history_has_each_version_once_and_says_where_it_ends() {
    let stage = Stage::new();
    for text in ["1", "22", "1", "1"] {
        stage.write(&[("d/f", text.as_bytes()), ("other", text.as_bytes())]);
        let when =
            std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 + text.len() as u64);
        let file = fs::File::options().write(true).open(stage.library.path("src/d/f")).unwrap();
        file.set_modified(when).unwrap();
        stage.backup();
    }
    let versions = |report: &history::Report| {
        let each = |version: &EntryVersion| (version.entry.size(), version.among.iter().collect::<Vec<_>>());
        report.versions.iter().map(each).collect::<Vec<_>>()
    };
    let report = stage.history("/src/d//f/").unwrap();
    assert_eq!(versions(&report), [(1, vec![0, 2, 3]), (2, vec![1])]);
    assert!(report.gone.is_empty());
    fs::remove_file(stage.library.path("src/d/f")).unwrap();
    stage.backup();
    stage.backup();
    let report = stage.history("src/d/f").unwrap();
    assert_eq!(versions(&report), [(1, vec![0, 2, 3]), (2, vec![1])]);
    assert_eq!(report.gone, [4]);
    // A directory is another version if anything in it is.
    assert_eq!(stage.history("src/d").unwrap().versions.len(), 5);
    assert!(matches!(stage.history("src/none"), Err(Error::NotFound { .. })));
    assert!(matches!(stage.history("src/../src"), Err(Error::Usage(_))));
}

#[test]
fn find_reports_damage_and_searches_other_snapshots() {
    let stage = Stage::new();
    stage.write(&[("d/f", b"1"), ("e/f", b"1")]);
    stage.backup();
    let before: BTreeSet<String> = names(&stage);
    stage.write(&[("d/f", b"22")]);
    stage.backup();
    let added: Vec<String> = names(&stage).difference(&before).cloned().collect();
    assert!(!added.is_empty());
    for pack in added {
        stage.storage.inner.remove(ObjectKind::Packs, &pack).unwrap();
    }
    let options = find::Options { patterns: globs(&["f"]), ..find::Options::default() };
    let mut all = Vec::new();
    let mut each = |found: &find::Match<'_>| {
        all.push((String::from_utf8(found.path.to_vec()).unwrap(), found.among.iter().collect()));
        Ok(())
    };
    let repo = stage.library.open();
    let summary = find::run(&repo, &options, &mut each, &Control::default()).unwrap();
    assert_eq!(summary.problems.len(), 1, "{:?}", summary.problems);
    assert_eq!(all, found(&[("src/d/f", &[0]), ("src/e/f", &[0])]));
    assert_eq!(stage.history("src/e/f").unwrap().problems.len(), 1);
}

fn names(stage: &Stage) -> BTreeSet<String> {
    stage.storage.inner.list(ObjectKind::Packs).unwrap().into_iter().map(|found| found.name).collect()
}

/// A block is not read once per snapshot that shares it. Where each snapshot has its own trees on every
/// level, each of its blocks is read once, although the walk returns to it in every directory.
#[test]
fn find_reads_each_shared_tree_block_once() {
    let stage = Stage::new();
    for dir in 0..30 {
        stage.write(&[(&format!("d{dir}/e/f/same"), &[dir]), (&format!("d{dir}/g/changes"), b"0")]);
    }
    stage.backup();
    let find = || assert!(!stage.names(&["same"]).is_empty());
    let history = || assert!(!stage.history("src/d7/g/changes").unwrap().versions.is_empty());
    let space = || assert!(!du(&stage, &du::Options::default()).is_empty());
    let one = (stage.reads(find), stage.reads(history), stage.reads(space));
    for step in 1..=60_u8 {
        for dir in [7, step % 30] {
            stage.write(&[(&format!("d{dir}/g/changes"), &[step])]);
        }
        stage.backup();
    }
    let many = (stage.reads(find), stage.reads(history), stage.reads(space));
    // One block for each further snapshot, and one more for the bases of deltas, which are stored separately.
    assert!(many.0 <= one.0 + 80, "find: {one:?} reads for one snapshot, {many:?} for sixty-one");
    assert!(many.1 <= one.1 + 80, "history: {one:?} reads for one snapshot, {many:?} for sixty-one");
    assert!(many.2 <= one.2 + 80, "du: {one:?} reads for one snapshot, {many:?} for sixty-one");
    assert!(one.0 > 0 && one.1 > 0 && one.2 > 0);
    assert_eq!(stage.history("src/d7/g/changes").unwrap().versions.len(), 61);
    assert_eq!(stage.names(&["same"]).len(), 30);
}

fn du(stage: &Stage, options: &du::Options) -> BTreeMap<String, du::DirTotals> {
    let report = du::run(&stage.library.open(), options, &Control::default()).unwrap();
    assert_eq!(report.missing, 0);
    let line = |line: du::DirUsage| (String::from_utf8(line.path).unwrap(), line.sums);
    report.lines.into_iter().map(line).collect()
}

fn near(bytes: u64, expected: u64) {
    assert!((expected..expected + 3000).contains(&bytes), "{bytes}, not {expected}");
}

#[test]
fn du_says_which_directory_fills_the_repository() {
    let stage = Stage::new();
    let bytes = |seed| Random::new(seed).bytes(100_000);
    stage.write(&[("same/a", &bytes(1)), ("same/b", &bytes(2)), ("grows/0", &bytes(3)), ("top", &bytes(4))]);
    stage.backup();
    for step in 1..4 {
        stage.write(&[(&format!("grows/deep/{step}"), &bytes(10 + step))]);
        stage.write(&[("grows/0", &bytes(100 + step))]);
        // The same bytes at another path are not new.
        stage.write(&[(&format!("zz/{step}"), &bytes(1))]);
        stage.backup();
    }
    let all = du(&stage, &du::Options { depth: 3, ..du::Options::default() });
    let keys: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(keys, ["", "src", "src/grows", "src/grows/deep", "src/same", "src/zz"]);
    assert_eq!((all[""].size, all[""].files), (1_000_000, 10));
    assert!(all[""].stored > all["src"].stored && all[""].size == all["src"].size);
    near(all["src/same"].stored, 200_000);
    near(all["src/grows"].stored, 700_000);
    near(all["src/grows"].grown, 600_000);
    near(all["src/grows/deep"].grown, 300_000);
    near(all["src/zz"].stored, 0);
    near(all["src/same"].grown, 0);
    assert_eq!((all["src/same"].size, all["src/zz"].size), (200_000, 300_000));
    assert_eq!((all["src/grows"].size, all["src/grows"].size_before), (400_000, 100_000));
    // With less depth the sums are the same.
    let flat = du(&stage, &du::Options { depth: 1, ..du::Options::default() });
    assert_eq!(flat.keys().collect::<Vec<_>>(), ["", "src"]);
    assert_eq!((flat[""], flat["src"]), (all[""], all["src"]));
    // Everything that is stored is attributed to some path.
    let packs = stats::run(&stage.library.open(), &stats::Options::default(), &Control::default());
    assert_eq!(all[""].stored, packs.unwrap().packs.needed);
}

#[test]
fn du_of_a_part_counts_growth_over_whole_snapshots() {
    let stage = Stage::new();
    let bytes = |seed| Random::new(seed).bytes(100_000);
    stage.write(&[("old/f", &bytes(1)), ("d/stays", &bytes(2))]);
    stage.backup();
    fs::rename(stage.library.path("src/old/f"), stage.library.path("src/d/moved")).unwrap();
    stage.write(&[("d/new", &bytes(3))]);
    stage.backup();
    let choice = |selector: &str| SnapshotQuery { selectors: owned(&[selector]), ..SnapshotQuery::default() };
    let one = du(&stage, &du::Options { choice: choice("latest:/src/d/"), ..du::Options::default() });
    near(one["src/d"].stored, 300_000);
    assert_eq!((one["src/d"].size, one["src/d"].files, one.len()), (300_000, 3, 1));
    let since = Some("latest~1".to_owned());
    let options =
        du::Options { choice: choice("latest:src/d"), since, unique: true, ..du::Options::default() };
    let grown = du(&stage, &options);
    assert_eq!(grown["src/d"].stored, one["src/d"].stored);
    // Content that was moved there existed before.
    near(grown["src/d"].grown, 100_000);
    near(grown["src/d"].unique, 100_000);
    assert_eq!(grown["src/d"].size_before, 100_000);
    let file = du(&stage, &du::Options { choice: choice("latest:src/d/new"), ..du::Options::default() });
    near(file["src/d/new"].stored, 100_000);
    assert_eq!(file["src/d/new"].size, 100_000);
    // From snapshots that lack it as well as from those that have it.
    let below = b"src/old".to_vec();
    let both = du(&stage, &du::Options { below, ..du::Options::default() });
    assert_eq!((both["src/old"].size, both["src/old"].size_before), (0, 100_000));
    let failed =
        |options: du::Options| du::run(&stage.library.open(), &options, &Control::default()).unwrap_err();
    let none = failed(du::Options { choice: choice("latest:none"), ..du::Options::default() });
    assert!(matches!(none, Error::NotFound { .. }));
    let selectors = owned(&["latest:src/d", "latest~1:src/old"]);
    let two = failed(du::Options {
        choice: SnapshotQuery { selectors, ..SnapshotQuery::default() },
        ..du::Options::default()
    });
    assert!(matches!(two, Error::Usage(_)));
}

#[test]
fn a_file_with_several_names_counts_once() {
    let stage = Stage::new();
    stage.write(&[("a/f", &[1; 5000])]);
    fs::create_dir(stage.library.path("src/b")).unwrap();
    fs::hard_link(stage.library.path("src/a/f"), stage.library.path("src/b/g")).unwrap();
    stage.backup();
    let all = du(&stage, &du::Options { depth: 2, ..du::Options::default() });
    assert_eq!((all[""].files, all[""].size, all["src/b"].files), (1, 5000, 0));
}

/// Records all events.
#[derive(Default)]
struct Notes {
    told: BTreeMap<Vec<u8>, Vec<EntryVersion>>,
    pieces: Vec<ChunkId>,
    order: Vec<Vec<u8>>,
    lost: usize,
}

impl Visitor for Notes {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        assert!(self.told.insert(path.to_vec(), versions.to_vec()).is_none(), "told twice");
        self.order.push(path.to_vec());
        Ok(true)
    }

    fn piece(&mut self, _: &[u8], id: &ChunkId, _: &BitSet) -> Result<()> {
        self.pieces.push(*id);
        Ok(())
    }

    fn lost(&mut self, _: &[u8], _: &BitSet, err: Error) -> Result<()> {
        assert!(err.is_damage());
        self.lost += 1;
        Ok(())
    }
}

/// Stores directories with entries of these names and sizes in one pack, and returns their roots.
fn store(repo: &Repository, dirs: &[Vec<(String, u64)>]) -> Vec<ChunkId> {
    let mut chunks = Vec::new();
    let roots = dirs.iter().map(|dir| {
        let mut builder = DirBuilder::default();
        let mut put = |bytes: &[u8]| {
            let id = repo.hasher().id_of(ChunkType::Tree, bytes);
            if chunks.iter().all(|(known, _)| *known != id) {
                chunks.push((id, bytes.to_vec()));
            }
            Ok(id)
        };
        for (name, size) in dir {
            let parts = match size {
                0 => Vec::new(),
                size => vec![snap_backup::model::entry::ContentPart::Hole { len: *size }],
            };
            let kind = Kind::File { size: *size, content: Content::Parts(parts) };
            builder.push(&entry(name, kind), repo.hasher(), &mut put).unwrap();
        }
        builder.finish(&mut put).unwrap()
    });
    let roots = roots.collect();
    write(repo, &chunks);
    roots
}

fn entry(name: &str, kind: Kind) -> Entry {
    Entry { name: name.as_bytes().to_vec(), kind, meta: snap_backup::model::entry::Meta::default() }
}

fn write(repo: &Repository, chunks: &[(ChunkId, Vec<u8>)]) {
    let mut sealer = snap_backup::codec::chunk::block::BlockSealer::new(repo.suite().clone(), 1).unwrap();
    let plain: Vec<u8> = chunks.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let listed = chunks.iter().map(|(id, bytes)| (*id, bytes.len() as u32)).collect();
    let block = sealer.seal(ChunkType::Tree, &plain, listed).unwrap();
    let session = cipher::new_id().unwrap();
    let kind = (ChunkType::Tree, session);
    let _ =
        snap_backup::repo::pack::packs::write(repo.storage(), repo.suite(), kind, vec![block], 0).unwrap();
}

fn walk(repo: &Repository, roots: &[ChunkId]) -> Notes {
    let mut past = SnapshotSet::open_query(repo, &(), &SnapshotQuery::default()).unwrap();
    let mut trees: Vec<Tree> = Vec::new();
    for (number, root) in roots.iter().enumerate() {
        match trees.iter_mut().find(|tree| tree.id == *root) {
            Some(tree) => _ = Arc::make_mut(&mut tree.among).insert(number),
            None => trees.push(Tree { id: *root, among: Arc::new([number].into_iter().collect()) }),
        }
    }
    let stop = AtomicBool::new(false);
    let mut bounds = past.bounds(&stop);
    bounds.budget =
        snap_backup::repo::walk::dir_reader::WalkLimits::of(&snap_backup::model::manifest::Counts {
            files_new: 1_000_000,
            ..Default::default()
        });
    let mut notes = Notes::default();
    multi_walk::walk(&mut past.reader, b"", trees, &mut notes, &mut bounds).unwrap();
    notes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Directories of one or more pieces, which share none, some or all of them.
    #[test]
    fn many_directories_are_walked_as_each_would_be(
        start in 0..6000_usize,
        edits in vec((any::<u16>(), 0..3_u8), 0..12),
        cuts in vec(any::<u16>(), 0..3),
    ) {
        let storage = Arc::new(Hooked::default());
        let library = Library::on(storage, None);
        let repo = library.open();
        let mut dir: BTreeMap<String, u64> =
            (0..start).map(|number| (format!("n{:05}", number * 7), number as u64)).collect();
        let mut dirs: Vec<Vec<(String, u64)>> = vec![dir.clone().into_iter().collect()];
        for (place, what) in edits {
            let name = format!("n{place:05}");
            match what {
                0 => { dir.insert(name, 1); }
                1 => dir.retain(|key, _| *key != name),
                _ => { dir.entry(name).and_modify(|size| *size += 1); }
            }
            dirs.push(dir.clone().into_iter().collect());
        }
        for cut in cuts {
            // The index may have another height.
            dir.split_off(&format!("n{cut:05}"));
            dirs.push(dir.clone().into_iter().collect());
        }
        let roots = store(&repo, &dirs);
        let notes = walk(&repo, &roots);
        prop_assert_eq!(notes.lost, 0);
        prop_assert!(notes.order.is_sorted());
        let mut expected: BTreeMap<Vec<u8>, BTreeMap<u64, Vec<usize>>> = BTreeMap::new();
        for (number, dir) in dirs.iter().enumerate() {
            for (name, size) in dir {
                let sizes = expected.entry(name.as_bytes().to_vec()).or_default();
                sizes.entry(*size).or_default().push(number);
            }
        }
        let told: BTreeMap<Vec<u8>, BTreeMap<u64, Vec<usize>>> = notes.told.into_iter().map(|(path, versions)| {
            let each = |version: &EntryVersion| (version.entry.size(), version.among.iter().collect());
            (path, versions.iter().map(each).collect())
        }).collect();
        prop_assert_eq!(told, expected);
        let distinct: BTreeSet<&ChunkId> = notes.pieces.iter().collect();
        // A piece that is on two levels of indexes of different heights may be read once for each.
        prop_assert!(notes.pieces.len() <= distinct.len() + distinct.len() / 4, "{} of {}", notes.pieces.len(), distinct.len());
    }
}

/// Such an index would give one directory the same name twice, or endlessly many names.
#[test]
fn index_piece_that_contradicts_its_parts_is_damage() {
    use serde_bytes::ByteBuf;
    use snap_backup::codec::tree::dir::DirChild;
    let storage = Arc::new(Hooked::default());
    let library = Library::on(storage, None);
    let repo = library.open();
    let leaf = |names: &[&str]| {
        let dir = names.iter().map(|name| ((*name).to_owned(), 0)).collect::<Vec<_>>();
        store(&repo, &[dir])[0]
    };
    let (ab, bc, cd) = (leaf(&["a", "b"]), leaf(&["b", "c"]), leaf(&["c", "d"]));
    let index = |kids: &[(&str, ChunkId, u64)]| {
        let kid = |(first, id, entries): &(&str, ChunkId, u64)| DirChild {
            first: ByteBuf::from(first.as_bytes()),
            id: *id,
            entries: *entries,
        };
        let kids: Vec<DirChild> = kids.iter().map(kid).collect();
        let bytes = [vec![2], postcard_of(&kids)].concat();
        let id = repo.hasher().id_of(ChunkType::Tree, &bytes);
        write(&repo, &[(id, bytes)]);
        id
    };
    let good = index(&[("a", ab, 2), ("c", cd, 2)]);
    assert_eq!((walk(&repo, &[good]).lost, walk(&repo, &[good]).order.len()), (0, 4));
    for bad in [
        index(&[("a", ab, 2), ("b", bc, 2)]),
        index(&[("a", ab, 3), ("c", cd, 2)]),
        index(&[("a", ab, 2), ("d", cd, 2)]),
    ] {
        let notes = walk(&repo, &[good, bad]);
        assert!(notes.lost > 0);
        let whole = notes.told.values().flatten().filter(|version| version.among.has(0)).count();
        assert_eq!(whole, 4, "the other tree is told of");
        for versions in notes.told.values() {
            assert!(
                versions.iter().filter(|version| version.among.has(1)).count() <= 1,
                "one name, two things"
            );
        }
    }
}

/// If each mention of a piece were read, this list would take 131 071 reads, and one of 60 levels would never
/// end.
#[test]
fn a_part_list_that_names_a_piece_many_times_is_read_once() {
    use snap_backup::repo::index::Index;
    use snap_backup::repo::read::chunk_reader::ChunkReader;
    use snap_backup::repo::sessions::session::RepoState;
    use snap_backup::repo::walk::dir_reader;
    let repo = Library::on(Arc::new(Hooked::default()), None).open();
    let store = |bytes: Vec<u8>| {
        let id = repo.hasher().id_of(ChunkType::Tree, &bytes);
        write(&repo, &[(id, bytes)]);
        id
    };
    // A leaf with a hole of one byte, and 16 levels of indexes that name the level below twice.
    let mut root = store(vec![3, 1, 1, 1]);
    for _ in 0..16 {
        let child = [root.as_bytes().as_slice(), &[1]].concat();
        root = store([[4, 2].as_slice(), &child, &child].concat());
    }
    let state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap();
    let mut reader = ChunkReader::new(&repo, Arc::new(Index::load(&repo, state).unwrap())).unwrap();
    assert_eq!(dir_reader::list_pieces(&mut reader, &Content::List(root)).unwrap().len(), 17);
}

/// Lists of children in postcard's encoding.
fn postcard_of(kids: &[snap_backup::codec::tree::dir::DirChild]) -> Vec<u8> {
    let mut bytes = vec![kids.len() as u8];
    for kid in kids {
        bytes.push(kid.first.len() as u8);
        bytes.extend_from_slice(&kid.first);
        bytes.extend_from_slice(kid.id.as_bytes());
        bytes.push(kid.entries as u8);
    }
    bytes
}
