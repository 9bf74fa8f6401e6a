//! What a run costs, counted: store calls and bytes, never time.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use snap_backup::Result;
use snap_backup::ops::backup;
use snap_backup::store::memory::MemoryStorage;
use snap_backup::store::repository::Access;
use snap_backup::store::repository::InitOptions;
use snap_backup::store::repository::Repository;
use snap_backup::store::storage::Area;
use snap_backup::store::storage::Created;
use snap_backup::store::storage::Hold;
use snap_backup::store::storage::Listed;
use snap_backup::store::storage::Storage;

/// Counts what passes through.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStorage,
    reads: AtomicU64,
    tree_reads: AtomicU64,
    writes: AtomicU64,
}

impl Counting {
    fn take(&self) -> (u64, u64, u64) {
        (
            self.reads.swap(0, Ordering::Relaxed),
            self.tree_reads.swap(0, Ordering::Relaxed),
            self.writes.swap(0, Ordering::Relaxed),
        )
    }
}

impl Storage for Counting {
    fn location(&self) -> String {
        "counting".into()
    }
    fn list(&self, area: Area) -> Result<Vec<Listed>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.list(area)
    }
    fn read(&self, area: Area, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(area, name, limit)
    }
    fn read_range(&self, area: Area, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.tree_reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read_range(area, name, offset, out)
    }
    fn create(&self, area: Area, name: &str, parts: &[&[u8]]) -> Result<Created> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.create(area, name, parts)
    }
    fn create_held(&self, area: Area, name: &str, bytes: &[u8]) -> Result<Box<dyn Hold>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.create_held(area, name, bytes)
    }
    fn replace(&self, area: Area, name: &str, bytes: &[u8]) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.replace(area, name, bytes)
    }
    fn is_held(&self, area: Area, name: &str) -> Result<Option<bool>> {
        self.inner.is_held(area, name)
    }
    fn remove(&self, area: Area, name: &str) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.inner.remove(area, name)
    }
    fn sync(&self, area: Area) -> Result<()> {
        self.inner.sync(area)
    }
}

#[test]
fn an_unchanged_run_writes_nothing_reads_no_file_and_asks_little() {
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("src");
    for dir in 0..20 {
        let dir = source.join(format!("d{dir}"));
        fs::create_dir_all(&dir).unwrap();
        (0..20).for_each(|file| fs::write(dir.join(format!("f{file}")), format!("{dir:?} {file}")).unwrap());
    }
    // Younger files are read again on purpose.
    std::thread::sleep(Duration::from_millis(2500));
    let storage = Arc::new(Counting::default());
    let cache = Some(home.path().join("cache"));
    let options = backup::Options { sources: vec![source], ..backup::Options::default() };
    let stop = AtomicBool::new(false);
    let init =
        InitOptions { password: Some("p".to_owned().into()), cache: cache.clone(), ..InitOptions::default() };
    let first = Repository::init(storage.clone(), &init).unwrap();
    let made = backup::run(&first, &options, &(), &stop).unwrap();
    assert_eq!((made.counts.files_new, made.problems.len()), (400, 0));
    drop(first);

    storage.take();
    let access = Access { password: Some("p".to_owned().into()), cache };
    let repo = Repository::open(storage.clone(), &access).unwrap();
    let again = backup::run(&repo, &options, &(), &stop).unwrap();
    let (reads, tree_reads, writes) = storage.take();
    assert_eq!((again.counts.files_unchanged, again.counts.bytes_read), (400, 0));
    assert!(again.snapshot.is_none() && again.newest == made.snapshot);
    assert_eq!(writes, 0, "an unchanged run writes nothing");
    assert!(reads <= 10, "{reads} store calls");
    assert!(tree_reads <= 2, "{tree_reads} reads of tree blocks");
    assert_eq!(repo.warnings(), Vec::<String>::new());
}
