//! A backup and a restore from end to end, as the command makes them: an encrypted repository on disk,
//! synced.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use snap_backup::Control;
use snap_backup::ops::backup::Backup;
use snap_backup::ops::{backup, check, restore};
use snap_backup::repo::options::InitOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::storage::local::LocalStorage;

mod sample;

/// An empty, open repository: deriving the key is not counted.
fn repository(at: &Path) -> Repository {
    let options = InitOptions { password: Some("bench".to_owned().into()), ..InitOptions::default() };
    Repository::init(Arc::new(LocalStorage::new(at)), &options).unwrap()
}

fn back_up(repo: &Repository, source: &Path) -> backup::Report {
    let options = backup::Options { sources: vec![source.to_path_buf()], ..backup::Options::default() };
    let summary =
        Backup::begin(options, None, &Control::default()).unwrap().run(repo, &Control::default()).unwrap();
    assert!(summary.problems.is_empty());
    summary
}

fn restore(repo: &Repository, target: PathBuf) {
    let options = restore::Options { selector: "latest".to_owned(), target, ..restore::Options::default() };
    let summary = restore::run(repo, &options, &Control::default()).unwrap();
    assert!(summary.problems.is_empty() && summary.files == sample::FILES);
}

fn whole(c: &mut Criterion) {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    let bytes = sample::tree(&source);
    // Files written within two seconds before a backup are read again by the next one.
    std::thread::sleep(Duration::from_millis(2100));
    let dir = || tempfile::tempdir_in(home.path()).unwrap();
    let mut group = c.benchmark_group("whole");
    group.throughput(Throughput::Bytes(bytes)).sample_size(10).measurement_time(Duration::from_secs(3));
    group.bench_function("first backup", |b| {
        let fresh = || {
            let dir = dir();
            (repository(&dir.path().join("repo")), dir)
        };
        b.iter_batched(fresh, |(repo, dir)| (back_up(&repo, &source), repo, dir), BatchSize::PerIteration)
    });
    let kept = dir();
    let repo = repository(&kept.path().join("repo"));
    assert!(back_up(&repo, &source).snapshot.is_some());
    group.bench_function("unchanged backup", |b| {
        b.iter(|| assert!(back_up(&repo, &source).snapshot.is_none()))
    });
    group.bench_function("check of all data", |b| {
        let options = check::Options { read_data: true, ..check::Options::default() };
        b.iter(|| assert!(check::run(&repo, &options, &Control::default()).unwrap().errors.is_empty()))
    });
    group.bench_function("restore", |b| {
        b.iter_batched(
            dir,
            |dir| {
                restore(&repo, dir.path().join("out"));
                dir
            },
            BatchSize::PerIteration,
        )
    });
    group.finish();
}

criterion_group!(benches, whole);
criterion_main!(benches);
