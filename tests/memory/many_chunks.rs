//! What grows with a repository and what does not: memory of commands, and bytes of a small change.
//! `benches/scale.rs` does the same for millions of chunks.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::support::scale::{self, Shape};
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::tree::dir::DirBuilder;
use snap_backup::codec::tree::part_list::ListBuilder;
use snap_backup::model::entry::{Content, ContentPart, Kind};
use snap_backup::model::id::ChunkId;
use snap_backup::model::records::SessionKind;
use snap_backup::ops::{check, gc, ls};
use snap_backup::repo::index::Index;
use snap_backup::repo::options::{IndexLimits, InitOptions, OpenOptions};
use snap_backup::repo::read::chunk_reader::ChunkReader;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::{RepoState, Session};
use snap_backup::repo::walk::dir_reader::DirReader;
use snap_backup::repo::walk::file_parts;
use snap_backup::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use snap_backup::storage::local::LocalStorage;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::{Control, Result};

/// Enough trees to fill the caches.
const FEW: u64 = 300_000;
const MANY: u64 = 1_200_000;
/// A twentieth of the real ones, because the repository is a small part of a large one.
const SMALL: IndexLimits = IndexLimits { rows: 20_000, tables: 1 << 20, bloom_after_lookups: 100 };
/// KiB that a step may take more for four times as many chunks: ten bytes per chunk, of which the Bloom
/// filter takes one and a half, and the first prefixes and the marks one. The rest are buffers that threads
/// of one run hold longer. Entries and tables in memory would take over fifty.
const MOST: u64 = (MANY - FEW) * 10 / 1024;

fn load(repo: &Repository) -> Index {
    Index::load(repo, RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap()).unwrap()
}

/// One step, in a process of its own.
#[test]
#[ignore = "part of another test"]
fn step() {
    let Ok(step) = std::env::var("SCALE_STEP") else { return };
    let dir = std::env::var("SCALE_DIR").unwrap();
    let access =
        OpenOptions { password: None, cache: Some(Path::new(&dir).join("cache")), ..OpenOptions::default() };
    let storage = Arc::new(LocalStorage::new(Path::new(&dir).join("repo")));
    let mut repo = Repository::open(storage, &access).unwrap();
    let all = IndexLimits { rows: usize::MAX, tables: usize::MAX, ..SMALL };
    repo.set_limits(if step == "all in memory" { all } else { SMALL });
    match step.as_str() {
        "ls" => {
            let mut entries = 0;
            let mut count = |_: &[u8], _: &_| {
                entries += 1;
                Ok(())
            };
            ls::run(&repo, "latest", ls::Levels::All, &mut count).unwrap();
            assert!(entries > FEW / 10);
        }
        "check" => {
            let report = check::run(&repo, &check::Options::default(), &Control::default()).unwrap();
            assert_eq!((report.errors.len(), report.chunks >= FEW), (0, true));
        }
        "gc" => {
            // The packs are small because their chunks are. They must not be merged here.
            let options = gc::Options { max_repack: Some(0), ..gc::Options::default() };
            let report = gc::run(&repo, &options, &Control::default()).unwrap();
            assert_eq!((report.packs_deleted, report.lost), (0, 0));
        }
        _ => {
            let index = load(&repo);
            for number in (0..FEW).step_by(7).chain(MANY..MANY + 10_000) {
                let found = index.find(ChunkType::Data, &scale::chunk_id(&repo, number)).unwrap();
                assert_eq!(found.is_some(), number < FEW);
            }
        }
    }
    println!("peak {}", scale::peak_of(std::process::id()).unwrap());
}

fn peak(dir: &Path, step: &str) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "many_chunks::step", "--ignored", "--nocapture"]);
    let output = command.env("SCALE_DIR", dir).env("SCALE_STEP", step).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{step}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().find_map(|line| line.strip_prefix("peak ")).unwrap().parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_number_of_chunks() {
    let _alone = crate::alone();
    let homes = [FEW, MANY].map(|chunks| {
        let home = tempfile::tempdir().unwrap();
        let storage = Arc::new(LocalStorage::new(home.path().join("repo")));
        let repo = Repository::init(storage, &InitOptions::default()).unwrap();
        scale::make(&repo, Shape { per_pack: 4000, packs: chunks / 4000, ..Shape::of(chunks) });
        home
    });
    let growth = |step| {
        let [few, many] = [&homes[0], &homes[1]].map(|home| peak(home.path(), step));
        many.saturating_sub(few)
    };
    for step in ["first use", "ls", "check", "look-ups", "gc"] {
        // A thread that has to wait for its processor holds a block or two longer than in the other run. What
        // grows with the number of chunks does so each time.
        let more = (0..4).map(|_| growth(step)).find(|more| *more < MOST);
        assert!(more.is_some(), "{step} takes over {MOST} KiB more for more chunks, four times in a row");
    }
    homes.iter().for_each(|home| std::fs::remove_dir_all(home.path().join("cache")).unwrap());
    let all = growth("all in memory");
    assert!(all > 3 * MOST, "with all rows in memory only {all} KiB more: this test would not notice");
}

/// Stores what `build` produces. Returns its id and the bytes of the packs written.
fn store<T>(
    repo: &Repository,
    build: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<ChunkId>) -> Result<T>,
) -> (T, u64) {
    let (session, repo_state) = Session::open(repo, SessionKind::Writer).unwrap();
    let index = Arc::new(Index::load(repo, repo_state).unwrap());
    let stored = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let mut chunk_writer = ChunkWriter::start(
            scope,
            repo,
            session.id,
            index,
            CompressionPolicy { level: 3, harder: 0 },
            &stored,
        )
        .unwrap();
        let mut put = |bytes: &[u8]| {
            let id = repo.hasher().id_of(ChunkType::Tree, bytes);
            chunk_writer.put(0, ChunkType::Tree, id, bytes)?;
            Ok(id)
        };
        let built = build(&mut put).unwrap();
        (built, chunk_writer.finish(Ok(())).unwrap().1.bytes)
    })
}

fn in_memory() -> Repository {
    Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default()).unwrap()
}

#[test]
fn one_changed_entry_of_a_million_stores_little() {
    let _alone = crate::alone();
    const ENTRIES: u64 = 1_000_000;
    let repo = in_memory();
    let build = |changed: u64| {
        let repo = &repo;
        move |put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>| {
            let mut dir = DirBuilder::default();
            for number in 0..ENTRIES {
                let id = scale::chunk_id(repo, number + if number == changed { ENTRIES } else { 0 });
                let content = Content::Parts(vec![ContentPart::Chunk { id, len: 8 }]);
                let entry = scale::entry(format!("mail{number:09}"), Kind::File { size: 8, content });
                dir.push(&entry, repo.hasher(), put)?;
            }
            dir.finish(put)
        }
    };
    let (_, first) = store(&repo, build(ENTRIES));
    assert!(first > ENTRIES * 32, "{first} bytes hold a million ids");
    let (tree, bytes) = store(&repo, build(500_000));
    assert!(bytes < 200_000, "{bytes} bytes for one changed entry");
    let mut reader = ChunkReader::new(&repo, Arc::new(load(&repo))).unwrap();
    let mut dir = DirReader::new(tree);
    let mut entries = 0;
    while dir.next(&mut reader).unwrap().is_some() {
        entries += 1;
    }
    assert_eq!(entries, ENTRIES);
}

/// 200 GB in chunks of 64 KiB, with holes between them.
#[test]
fn one_changed_chunk_of_three_million_stores_little() {
    let _alone = crate::alone();
    const PARTS: u64 = 3_000_000;
    let repo = in_memory();
    let build = |changed: u64| {
        let repo = &repo;
        move |put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>| {
            let mut list = ListBuilder::default();
            for number in 0..PARTS {
                let id = scale::chunk_id(repo, number + if number == changed { PARTS } else { 0 });
                list.push(ContentPart::Chunk { id, len: 64 << 10 }, put)?;
                if number % 1000 == 0 {
                    list.push(ContentPart::Hole { len: 1 << 20 }, put)?;
                }
            }
            list.finish(put)
        }
    };
    store(&repo, build(PARTS));
    let (content, bytes) = store(&repo, build(1_000_000));
    assert!(bytes < 200_000, "{bytes} bytes for one changed chunk");
    let size = PARTS * (64 << 10) + PARTS / 1000 * (1 << 20);
    let mut reader = ChunkReader::new(&repo, Arc::new(load(&repo))).unwrap();
    let (mut parts, mut at) = (0, 0);
    file_parts::each_part(&mut reader, size, &content, &mut |part| {
        parts += u64::from(matches!(part, ContentPart::Chunk { .. }));
        at += part.len();
        Ok(())
    })
    .unwrap();
    assert_eq!((parts, at), (PARTS, size));
}
