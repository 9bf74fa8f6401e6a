//! Streams: they are read once, and saved whole or not at all.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use snap_backup::codec::crypto::sealed_object;
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::model::entry::Time;
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::model::records::GcRecord;
use snap_backup::ops::backup::{Backup, Options, Report, Stdin};
use snap_backup::ops::restore;
use snap_backup::repo::objects;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Control, Error, Result};

use crate::support::Random;
use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;

struct Stage {
    library: Library,
    storage: Arc<Hooked>,
    stop: Arc<AtomicBool>,
}

impl Stage {
    fn new() -> Self {
        let storage = Arc::new(Hooked::default());
        let library = Library::on(storage.clone(), None);
        Self { library, storage, stop: Arc::default() }
    }

    /// Saves the output of a command, which adds a line to a file each time it runs.
    fn save(&self, bytes: &[u8]) -> Result<Report> {
        self.library.write("src", &[("out", bytes)]);
        let (ran, out) = (self.library.path("ran"), self.library.path("src/out"));
        let script = format!("echo >> '{}'; cat '{}'", ran.display(), out.display());
        let command = ["sh", "-c", &script].map(Into::into).to_vec();
        let stdin = Some(Stdin { name: b"out".to_vec(), command: Some(command) });
        let options = Options { stdin, ..Options::default() };
        Backup::begin(options, None, &Control::default().with_cancel(&self.stop))?
            .run(&self.library.open(), &Control::default().with_cancel(&self.stop))
    }

    fn restored(&self, id: SnapshotId) -> Vec<u8> {
        let target = self.library.path("restored");
        let options =
            restore::Options { selector: id.hex(), target: target.clone(), ..restore::Options::default() };
        let summary = restore::run(&self.library.open(), &options, &Control::default()).unwrap();
        assert_eq!(summary.problems, []);
        fs::read(target.join("out")).unwrap()
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.library.path("ran")).unwrap().lines().count()
    }

    fn names(&self, area: ObjectKind) -> Vec<String> {
        self.storage.inner.list(area).unwrap().into_iter().map(|found| found.name).collect()
    }
}

/// Forgets all snapshots, and deletes every pack.
fn collect_all(storage: &impl Storage, suite: &CipherSuite) {
    let packs = storage.list(ObjectKind::Packs).unwrap();
    let condemned = packs.iter().map(|found| PackId::parse(&found.name).unwrap()).collect();
    for found in storage.list(ObjectKind::Snapshots).unwrap() {
        storage.remove(ObjectKind::Snapshots, &found.name).unwrap();
    }
    let (by, at) = (SnapshotId::new([7; 16]), Time::now());
    let record = GcRecord { by, at, condemned, roots: Vec::new(), purged: Vec::new() };
    objects::create(storage, suite, sealed_object::GC, ObjectKind::Gc, "0000000000000001", &record).unwrap();
    packs.iter().for_each(|found| storage.remove(ObjectKind::Packs, &found.name).unwrap());
    objects::create(storage, suite, sealed_object::GC_DONE, ObjectKind::Gc, "0000000000000001.done", &())
        .unwrap();
}

#[test]
fn stream_whose_parent_was_collected_is_saved_in_one_read() {
    let stage = Stage::new();
    stage.save(&Random::new(1).bytes(300_000)).unwrap();
    let suite = stage.library.open().suite().clone();
    stage.storage.before(Act::Create, ObjectKind::Sessions, move |storage, _| collect_all(storage, &suite));
    let bytes = Random::new(2).bytes(5_000_000);
    let summary = stage.save(&bytes).unwrap();
    assert!(stage.storage.is_spent(), "nothing was collected meanwhile");
    assert_eq!(stage.runs(), 2, "the second stream was read again");
    assert_eq!(stage.restored(summary.snapshot.unwrap()), bytes);
    assert_eq!(stage.library.errors(), Vec::<String>::new());
}

#[test]
fn an_interrupted_stream_leaves_no_snapshot_and_no_session() {
    let stage = Stage::new();
    let stop = Arc::clone(&stage.stop);
    stage.storage.before(Act::Create, ObjectKind::Packs, move |_, _| stop.store(true, Ordering::Relaxed));
    let outcome = stage.save(&Random::new(1).bytes(50_000_000));
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    assert!(stage.storage.is_spent(), "it was over before the interruption");
    assert_eq!(stage.names(ObjectKind::Snapshots), Vec::<String>::new());
    assert_eq!(stage.names(ObjectKind::Sessions), Vec::<String>::new());
}
