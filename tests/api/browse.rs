//! Browsing snapshots: pages of a directory, paths, and any range of a file, for as long as a browser is
//! open.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::support::Random;
use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;
use snap_backup::Control;
use snap_backup::model::entry::{Content, Entry, Kind};
use snap_backup::ops::browse::{Browser, DirSize, DirSizes, Order, SizeLimits};
use snap_backup::ops::{backup, forget, gc, ls};
use snap_backup::repo::index::Index;
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::read::chunk_reader::ChunkReader;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::repo::snapshots::ReadBefore;
use snap_backup::repo::walk::dir_reader::DirReader;
use snap_backup::storage::ObjectKind;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::util::time_limit::TimeLimit;

fn library() -> Library {
    Library::on(Arc::new(MemoryStorage::default()), None)
}

fn names(entries: &[Entry]) -> Vec<Vec<u8>> {
    entries.iter().map(|entry| entry.name.clone()).collect()
}

fn content(entry: Option<Entry>) -> (u64, Content) {
    match entry.unwrap().kind {
        Kind::File { size, content } => (size, content),
        other => panic!("{other:?} is no file"),
    }
}

#[test]
fn pages_list_a_large_directory_and_find_names_in_few_pieces() {
    let library = library();
    fs::create_dir_all(library.path("src/many")).unwrap();
    for number in 0..6000 {
        // A piece has at most 256 KiB. The names are so long that no choice of boundaries gives fewer than
        // six pieces and their index.
        fs::write(library.path("src/many").join(format!("file {number:05} {:0>230}", 0)), b"").unwrap();
    }
    library.backup("src", backup::Options::default());
    let repo = library.open();
    let browser = Browser::open(&repo, &Control::default()).unwrap();
    let snapshot = browser.snapshots()[0].clone();
    let Kind::Dir { tree } = browser.entry(&snapshot, b"src/many").unwrap().unwrap().kind else { panic!() };

    let (mut paged, mut from) = (Vec::new(), Vec::new());
    loop {
        let page = browser.page(tree, &from, 700).unwrap();
        assert!(page.entries.len() <= 700);
        paged.extend(names(&page.entries));
        let Some(next) = page.next else { break };
        from = next;
    }
    let mut listed = Vec::new();
    ls::run(&repo, "latest:src/many", ls::Levels::One, &mut |_, entry| {
        listed.push(entry.name.clone());
        Ok(())
    })
    .unwrap();
    assert_eq!(paged, listed);

    let index =
        Index::load(&repo, RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap()).unwrap();
    let mut reader = ChunkReader::new(&repo, Arc::new(index)).unwrap();
    let mut all = DirReader::new(tree);
    while all.next(&mut reader).unwrap().is_some() {}
    for name in ["", "file 00000", "file 02999", "file 05999", "file 1", "z"] {
        let mut dir = DirReader::starting_at(tree, name.as_bytes());
        let found = dir.next(&mut reader).unwrap().map(|entry| entry.name);
        let wanted = listed.iter().find(|one| one.as_slice() >= name.as_bytes()).cloned();
        assert_eq!(found, wanted, "{name}");
        assert!(dir.pieces.len() <= 3 && all.pieces.len() > 6, "{:?} of {:?}", dir.pieces, all.pieces);
    }
    browser.close().unwrap();
}

#[test]
fn pages_by_size_and_time_list_a_whole_directory_in_order() {
    let library = library();
    let many = library.path("src/many");
    fs::create_dir_all(&many).unwrap();
    for number in 0..60_u64 {
        let path = many.join(format!("{number:02}"));
        if number % 10 == 0 {
            fs::create_dir(&path).unwrap();
        } else {
            // Many entries have the same size.
            fs::write(&path, vec![b'x'; (number * 7 % 9) as usize]).unwrap();
        }
        let modified = std::time::UNIX_EPOCH + Duration::new(1_000_000 - number * 31 % 17, number as u32 % 3);
        fs::File::open(&path).unwrap().set_modified(modified).unwrap();
    }
    library.backup("src", backup::Options::default());
    let repo = library.open();
    let browser = Browser::open(&repo, &Control::default()).unwrap();
    let snapshot = browser.snapshots()[0].clone();
    let Kind::Dir { tree } = browser.entry(&snapshot, b"src/many").unwrap().unwrap().kind else { panic!() };
    for order in [Order::Size, Order::Time] {
        let mut whole = browser.page(tree, b"", 100).unwrap().entries;
        match order {
            Order::Size => {
                whole.sort_by_key(|one| (!one.is_dir(), if one.is_dir() { 0 } else { u64::MAX - one.size() }))
            }
            Order::Time => whole.sort_by_key(|one| (!one.is_dir(), std::cmp::Reverse(one.meta.mtime))),
        }
        let (mut paged, mut from) = (Vec::new(), Vec::new());
        loop {
            let page = browser.sorted_page(tree, (order, &from), 7, &Control::default()).unwrap().unwrap();
            assert!(page.entries.len() == 7 || page.next.is_none());
            paged.extend(names(&page.entries));
            assert!(paged.len() <= whole.len(), "{order:?}: pages without end");
            let Some(next) = page.next else { break };
            from = next;
        }
        assert_eq!(paged, names(&whole), "{order:?}");
    }
    assert!(browser.sorted_page(tree, (Order::Size, b"none"), 7, &Control::default()).unwrap().is_none());
    let stopped = Control::default().with_cancel(&Arc::new(AtomicBool::new(true)));
    assert!(browser.sorted_page(tree, (Order::Time, b""), 7, &stopped).is_err());
}

#[test]
fn any_range_of_a_file_is_its_bytes() {
    let library = library();
    // One file has more parts than an entry holds, with holes between data; the other has its parts in the
    // entry.
    let path = library.path("src/holes");
    library.write("src", &[("whole", &Random::new(1).bytes(700_000)), ("empty", b"")]);
    let file = fs::File::create(&path).unwrap();
    for run in 0..700 {
        file.write_all_at(&Random::new(run).bytes(4096), run * 16_384).unwrap();
    }
    file.set_len(700 * 16_384 + 5).unwrap();
    library.backup("src", backup::Options::default());
    let browser = Browser::open(&library.open(), &Control::default()).unwrap();
    let snapshot = &browser.snapshots()[0];
    let mut random = Random::new(9);
    for name in ["holes", "whole", "empty"] {
        let bytes = fs::read(library.path("src").join(name)).unwrap();
        let (size, content) = content(browser.entry(snapshot, format!("src/{name}").as_bytes()).unwrap());
        assert_eq!((size, matches!(content, Content::List(_))), (bytes.len() as u64, name == "holes"));
        let mut ranges = vec![0..size, 0..0, size..size, 0..size.min(1), size.saturating_sub(1)..size];
        for _ in 0..40 {
            let start = random.below(size + 1);
            ranges.push(start..start + random.below((size - start).min(50_000) + 1));
        }
        for range in ranges {
            let wanted = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
            assert!(browser.read(size, &content, range.clone()).unwrap() == wanted, "{name} {range:?}");
        }
        let beyond = browser.read(size, &content, 0..size + 1).unwrap_err();
        assert!(beyond.is_damage(), "{beyond}");
    }
}

#[test]
fn a_path_may_be_any_bytes() {
    let library = library();
    let odd = std::ffi::OsStr::from_bytes(b"a\xff:b");
    fs::create_dir_all(library.path("src").join(odd)).unwrap();
    fs::write(library.path("src").join(odd).join("in"), b"1").unwrap();
    library.backup("src", backup::Options::default());
    let repo = library.open();
    let mut seen = Vec::new();
    let selector = [b"latest:/src/".as_slice(), odd.as_bytes(), b"/"].concat();
    ls::run(&repo, &selector, ls::Levels::All, &mut |path, _| {
        seen.push(path.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, [b"src/a\xff:b/in".to_vec()]);
    let browser = Browser::open(&repo, &Control::default()).unwrap();
    let snapshot = &browser.snapshots()[0];
    assert!(browser.entry(snapshot, b"src/a\xff:b/in").unwrap().is_some());
    assert!(browser.entry(snapshot, b"src/a\xff:b/in/x").unwrap().is_none());
    assert!(browser.entry(snapshot, b"src/nothing").unwrap().is_none());
    assert!(browser.entry(snapshot, b"/").unwrap().unwrap().is_dir());
}

#[test]
fn browsed_file_is_followed_when_gc_moves_its_data() {
    let library = library();
    library.write("src", &[("kept", &Random::new(1).bytes(300_000))]);
    library.write("src", &[("gone", &Random::new(2).bytes(3_000_000))]);
    library.backup("src", backup::Options::default());
    fs::remove_file(library.path("src/gone")).unwrap();
    library.backup("src", backup::Options::default());
    let [first, second] = library.snapshots()[..] else { panic!("two were made") };
    let repo = library.open();
    forget::run(&repo, &forget::Options { selectors: vec![first.hex()], ..Default::default() }).unwrap();

    let browser = Browser::open(&repo, &Control::default()).unwrap();
    let bytes = fs::read(library.path("src/kept")).unwrap();
    let read = |browser: &Browser, range: std::ops::Range<u64>| {
        let snapshot = browser.snapshot(&second).unwrap();
        let (size, content) = content(browser.entry(snapshot, b"src/kept").unwrap());
        browser.read(size, &content, range).unwrap()
    };
    assert!(read(&browser, 0..100) == bytes[..100]);
    let options =
        gc::Options { empty_trash: true, max_unused: gc::MaxUnused::Share(0.0), ..gc::Options::default() };
    let collect = || gc::run(&library.open(), &options, &Control::default()).unwrap();
    let first = collect();
    assert!(first.packs_moved > 0 && first.packs_deleted == 0, "the browser has not seen it yet: {first:?}");
    browser.write_heartbeat().unwrap();
    assert!(collect().packs_deleted > 0, "it is not waited for any longer");
    assert!(read(&browser, 0..300_000) == bytes);
    browser.close().unwrap();
    assert_eq!(library.errors(), Vec::<String>::new());
}

#[test]
fn directory_sizes_are_counted_once_and_within_limits() {
    let library = library();
    for dir in ["a/one", "a/two", "b"] {
        fs::create_dir_all(library.path("src").join(dir)).unwrap();
        for number in 0..4 {
            fs::write(library.path("src").join(dir).join(format!("{number}")), vec![number; 10]).unwrap();
        }
    }
    library.backup("src", backup::Options::default());
    let browser = Browser::open(&library.open(), &Control::default()).unwrap();
    let snapshot = browser.snapshots()[0].clone();
    let Kind::Dir { tree } = browser.entry(&snapshot, b"src").unwrap().unwrap().kind else { panic!() };
    let sizes = DirSizes::default();
    let later = || TimeLimit::at(Instant::now() + Duration::from_secs(600));
    let count = |entries, time| {
        let mut limits = SizeLimits { entries, time };
        (browser.size_below(tree, &sizes, &mut limits).unwrap(), entries - limits.entries)
    };
    assert_eq!(count(100, TimeLimit::at(Instant::now())).0, DirSize { bytes: 0, is_complete: false });
    assert_eq!(count(0, later()).0, DirSize { bytes: 0, is_complete: false });
    // Each run reads a little more. A directory that was counted completely is not read again.
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(size, _): &(DirSize, u64)| !size.is_complete) {
        assert!(seen.len() < 10, "{seen:?}");
        seen.push(count(9, later()));
    }
    assert!(seen.len() > 1 && seen.iter().all(|(_, read)| *read <= 9), "{seen:?}");
    assert_eq!(seen.last().unwrap().0.bytes, 120);
    assert_eq!(count(0, later()), (DirSize { bytes: 120, is_complete: true }, 0));
}

/// Behaves like `snap serve`, whose sessions are short.
#[test]
fn one_session_after_the_other_reads_each_manifest_once() {
    let storage = Arc::new(Hooked::default());
    let library = Library::on(storage.clone(), None);
    let backup = |content: &[u8]| {
        library.write("src", &[("a", content)]);
        library.backup("src", backup::Options::default());
    };
    backup(b"one");
    backup(b"another");
    // There is no cache, because cached manifests would be used.
    let repo = Repository::open(storage.clone(), &OpenOptions::default()).unwrap();
    let mut before = ReadBefore::default();
    let mut open = || {
        storage.calls();
        let browser = Browser::open_again(&repo, &Control::default(), &mut before).unwrap();
        let calls = storage.calls();
        let read = calls.iter().filter(|(act, area, _)| (*act, *area) == (Act::Read, ObjectKind::Snapshots));
        (browser.snapshots().len(), read.count())
    };
    assert_eq!(open(), (2, 2));
    assert_eq!(open(), (2, 0));
    backup(b"a third");
    assert_eq!(open(), (3, 1));
    let id = library.snapshots()[0];
    let options = forget::Options { selectors: vec![id.hex()], ..forget::Options::default() };
    forget::run(&library.open(), &options).unwrap();
    assert_eq!(open(), (2, 0));
    // An object of another length is a different object.
    let name = library.snapshots()[0].hex();
    let cut = storage.inner.get(ObjectKind::Snapshots, &name).unwrap();
    storage.inner.put(ObjectKind::Snapshots, &name, cut[..cut.len() - 1].to_vec());
    assert_eq!(open(), (1, 1));
}
