//! How the cost of commands grows: repositories of 1, 10 and 50 million chunks, made through the library, and
//! what each command takes on them. `cargo bench --bench scale -- DIR [MILLIONS...]`: DIR should be on a fast
//! disk or in memory, with 130 bytes for each chunk.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../tests/support/scale.rs"]
mod scale;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scale::Shape;
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::model::id::ChunkId;
use snap_backup::repo::index::Index;
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::storage::local::LocalStorage;

/// Files of the directory that is backed up in addition.
const FILES: usize = 200_000;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let Some(dir) = args.next().map(PathBuf::from) else {
        println!("usage: cargo bench --bench scale -- DIR [MILLIONS...]");
        return;
    };
    let rest: Vec<String> = args.collect();
    match rest.first().map(String::as_str) {
        Some("make") => make(&dir, rest[1].parse().unwrap()),
        Some("lookup") => lookup(&dir, rest[1].parse().unwrap()),
        _ => {
            let sizes = if rest.is_empty() { vec!["1".into(), "10".into(), "50".into()] } else { rest };
            sizes.iter().for_each(|millions| all(&dir, millions));
        }
    }
}

/// Measures one size. Each step is a process of its own, whose time and peak memory are printed.
fn all(dir: &Path, millions: &str) {
    let place = dir.join(format!("{millions}m"));
    let source = dir.join("files");
    if !source.exists() {
        (0..FILES).for_each(|file| {
            let below = source.join(format!("d{}", file / 1000));
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join(format!("f{file}")), file.to_string()).unwrap();
        });
    }
    let _ = fs::remove_dir_all(&place);
    println!("{millions} million chunks");
    let own = std::env::current_exe().unwrap();
    run("make it", Command::new(&own).arg(&place).args(["make", millions]));
    let snap = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snap"));
        command.env("SNAP_CACHE_DIR", place.join("cache")).env("SNAP_PASSWORD", "p");
        command.arg("-r").arg(place.join("repo")).args(args);
        command
    };
    let source = source.to_str().unwrap();
    run("first use of a cache", &mut snap(&["ls", "latest:d0000001000"]));
    run("open, list a directory", &mut snap(&["ls", "latest:d0000001000"]));
    run("list all files", &mut snap(&["ls", "latest"]));
    run("first backup of 200 000 files", &mut snap(&["backup", source]));
    run("unchanged backup of them", &mut snap(&["backup", source]));
    fs::write(format!("{source}/d0/f0"), "changed").unwrap();
    run("changed backup of them", &mut snap(&["backup", source]));
    run("100 000 known and new chunks", Command::new(&own).arg(&place).args(["lookup", millions]));
    run("check", &mut snap(&["check"]));
    run("forget", &mut snap(&["forget", "latest~1"]));
    // The packs are small because their chunks are. Merging them is not measured here.
    run("gc", &mut snap(&["gc", "--empty-trash", "--max-repack", "0"]));
    fs::remove_dir_all(&place).unwrap();
}

/// Runs a step, and samples its peak memory until it ends.
fn run(what: &str, command: &mut Command) {
    let clock = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = scale::peak_of(child.id()).unwrap_or_default().max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let seconds = clock.elapsed().as_secs_f64();
    println!("  {what:32} {seconds:8.2} s {:6} MB", peak / 1024);
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    if !status.success() {
        println!("  FAILED");
    }
    said.lines()
        .filter(|line| line.contains("us each") || !status.success())
        .for_each(|line| println!("    {line}"));
}

fn access(dir: &Path) -> OpenOptions {
    OpenOptions {
        password: Some("p".to_owned().into()),
        cache: Some(dir.join("cache")),
        ..OpenOptions::default()
    }
}

fn make(dir: &Path, millions: u64) {
    let storage = Arc::new(LocalStorage::new(dir.join("repo")));
    let OpenOptions { password, .. } = access(dir);
    let repo = Repository::init(storage, &InitOptions { password, ..InitOptions::default() }).unwrap();
    scale::make(&repo, Shape::of(millions * 1_000_000));
}

/// Known chunks in random order, then new ones.
fn lookup(dir: &Path, millions: u64) {
    let repo = Repository::open(Arc::new(LocalStorage::new(dir.join("repo"))), &access(dir)).unwrap();
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(())).unwrap();
    let index = Index::load(&repo, repo_state).unwrap();
    let known =
        (0..100_000u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (millions * 1_000_000));
    let time = |what: &str, ids: Vec<ChunkId>, there: bool| {
        let clock = Instant::now();
        let found = ids.iter().filter(|id| index.find(ChunkType::Data, id).unwrap().is_some()).count();
        assert_eq!(found, if there { ids.len() } else { 0 }, "{what}");
        eprintln!("{what}: {:.2} us each", clock.elapsed().as_secs_f64() * 1e6 / ids.len() as f64);
    };
    time("known, in no order", known.map(|number| scale::chunk_id(&repo, number)).collect(), true);
    time("known, in order", (0..100_000).map(|number| scale::chunk_id(&repo, number)).collect(), true);
    time("new", (1 << 40..(1 << 40) + 100_000).map(|number| scale::chunk_id(&repo, number)).collect(), false);
}
