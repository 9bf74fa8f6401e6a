//! Stores a repository in a custom storage backend: `cargo run --example custom_storage`.
//!
//! A storage holds named objects of a few kinds, and never changes one: a repository needs nothing else. This
//! one keeps them in a map, and counts reads. A backend for a service would send requests instead.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snap_backup::{
    BackupOptions, CheckOptions, Control, CreateOutcome, DecodeError, Error, InitOptions, Listed, ObjectKind,
    Repository, Result, Storage,
};

/// Objects by kind and name.
type Objects = BTreeMap<(ObjectKind, String), Vec<u8>>;

#[derive(Debug, Default)]
struct CountingStorage {
    objects: Mutex<Objects>,
    bytes_read: AtomicU64,
}

impl CountingStorage {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, kind: ObjectKind, name: &str) -> Result<Vec<u8>> {
        let found = self.objects().get(&(kind, name.to_owned())).cloned();
        let bytes = found.ok_or_else(|| Error::Missing { what: kind.path(name) })?;
        self.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl Storage for CountingStorage {
    fn location(&self) -> String {
        "counted memory".to_owned()
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let objects = self.objects();
        let listed = objects.iter().filter(|((of, _), _)| *of == kind);
        let listed = listed.map(|((_, name), bytes)| Listed {
            name: name.clone(),
            len: bytes.len() as u64,
            modified: None,
        });
        Ok(listed.collect())
    }

    fn read(&self, kind: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.get(kind, name)?;
        if bytes.len() as u64 > limit {
            return Err(Error::damaged(kind.path(name))(DecodeError::because("too long")));
        }
        Ok(bytes)
    }

    fn read_range(&self, kind: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        let bytes = self.get(kind, name)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = bytes.get(from..from.saturating_add(out.len()));
        let too_short = || Error::damaged(kind.path(name))(DecodeError::because("too short"));
        out.copy_from_slice(part.ok_or_else(too_short)?);
        Ok(())
    }

    // Here the lock makes it exclusive. A service needs a request that fails if the name is taken.
    fn create(&self, kind: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        let mut objects = self.objects();
        let key = (kind, name.to_owned());
        if objects.contains_key(&key) {
            return Ok(CreateOutcome::Exists);
        }
        objects.insert(key, parts.concat());
        Ok(CreateOutcome::New)
    }

    fn replace(&self, kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.objects().insert((kind, name.to_owned()), bytes.to_vec());
        Ok(())
    }

    // There are no locks: only heartbeats show whether a process is alive.
    fn is_held(&self, _: ObjectKind, _: &str) -> Result<Option<bool>> {
        Ok(None)
    }

    fn remove(&self, kind: ObjectKind, name: &str) -> Result<()> {
        self.objects().remove(&(kind, name.to_owned()));
        Ok(())
    }

    // Nothing outlives the process, so nothing has to be made durable.
    fn sync(&self, _: ObjectKind) -> Result<()> {
        Ok(())
    }
}

fn main() -> Result<()> {
    let dir = tempfile::tempdir().map_err(Error::io("create a directory below", std::env::temp_dir()))?;
    std::fs::write(dir.path().join("file"), "text").map_err(Error::io("write to", dir.path()))?;

    let storage = Arc::new(CountingStorage::default());
    let repo = Repository::init(storage.clone(), &InitOptions::default())?;
    repo.backup(&BackupOptions::of([dir.path()]), &Control::default())?;
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = repo.check(&options, &Control::default())?;
    println!(
        "{} errors; {} bytes were read",
        report.errors.len(),
        storage.bytes_read.load(Ordering::Relaxed)
    );
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
