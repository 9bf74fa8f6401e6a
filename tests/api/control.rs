//! `Control`: it cancels an operation, and its observer receives the warnings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use snap_backup::ops::backup::{self, Backup};
use snap_backup::{
    BackupOptions, CheckOptions, Control, ErrorKind, Event, ForgetOptions, GcOptions, InitOptions,
    MemoryStorage, ObjectKind, OpenOptions, Repository, Result, SnapshotFilter, Storage,
};

use crate::support::library::Library;

fn cancelled() -> Control<'static> {
    Control::default().with_cancel(&Arc::new(AtomicBool::new(true)))
}

#[test]
fn an_operation_that_is_cancelled_before_it_begins_does_nothing() {
    let storage = Arc::new(MemoryStorage::default());
    let library = Library::on(storage.clone(), None);
    library.write("src", &[("file", b"text")]);
    let (repo, control) = (library.open(), cancelled());
    let options = BackupOptions::of([library.path("src")]);
    let ends: [Result<()>; 5] = [
        repo.backup(&options, &control).map(drop),
        repo.check(&CheckOptions::default(), &control).map(drop),
        repo.gc(&GcOptions::default(), &control).map(drop),
        repo.forget(&ForgetOptions { selectors: vec!["latest".to_owned()], ..Default::default() }, &control)
            .map(drop),
        repo.snapshots(&SnapshotFilter::default(), &control).map(drop),
    ];
    for end in ends {
        assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::Interrupted));
    }
    assert!(storage.list(ObjectKind::Sessions).unwrap().is_empty());
    assert!(repo.backup(&options, &Control::default()).unwrap().snapshot.is_some());
}

#[test]
fn backup_is_cancelled_by_either_of_its_controls() {
    let library = Library::on(Arc::new(MemoryStorage::default()), None);
    library.write("src", &[("a", b"one"), ("b", b"two")]);
    let run = |begin: &Control<'_>, run: &Control<'_>| {
        let options = backup::Options { sources: vec![library.path("src")], ..Default::default() };
        Backup::begin(options, None, begin)?.run(&library.open(), run)
    };
    for (begin, end) in [(cancelled(), Control::default()), (Control::default(), cancelled())] {
        let ended = run(&begin, &end);
        let is_whole = ended.is_ok_and(|made| made.snapshot.is_some() && !made.partial);
        assert!(!is_whole, "a part was taken for the whole");
    }
    assert!(!run(&Control::default(), &Control::default()).unwrap().partial);
}

#[test]
fn warnings_of_an_operation_go_to_the_observer_of_its_control() {
    let storage = Arc::new(MemoryStorage::default());
    let library = Library::on(storage.clone(), None);
    library.write("src", &[("file", b"text")]);
    let made = library.backup("src", backup::Options::default());
    storage.put(ObjectKind::Snapshots, &made.snapshot.unwrap().hex(), b"no manifest".to_vec());
    let told = Mutex::new(Vec::new());
    let observer = |event: Event<'_>| {
        if let Event::Warning(text) = event {
            told.lock().unwrap().push(text.to_owned());
        }
    };
    let repo: Repository = library.open();
    let listed = repo.snapshots(&SnapshotFilter::default(), &Control::new(&observer)).unwrap();
    let told = told.into_inner().unwrap();
    assert!(listed.is_empty() && told.iter().any(|text| text.contains("is damaged")), "{told:?}");
    assert_eq!(library.warnings(), Vec::<String>::new());
}

#[test]
fn an_observer_that_is_shared_outlives_its_caller() {
    let seen = Arc::new(AtomicBool::new(false));
    let control = {
        let seen = Arc::clone(&seen);
        Control::shared(move |_: Event<'_>| seen.store(true, Ordering::Relaxed))
    };
    let also = control.clone();
    std::thread::scope(|scope| {
        scope.spawn(move || also.observer().notice(Event::Note("x")));
    });
    assert!(seen.load(Ordering::Relaxed) && !control.is_cancelled());
}

#[test]
fn warnings_of_opening_wait_for_the_first_observer() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let storage = Arc::new(MemoryStorage::default());
    let init = InitOptions { state: Some(state.clone()), ..InitOptions::default() };
    drop(Repository::init(storage.clone(), &init).unwrap());
    let known: Vec<_> = walkdir::WalkDir::new(&state).into_iter().map(Result::unwrap).collect();
    known.iter().filter(|one| one.file_type().is_file()).for_each(|one| {
        std::fs::write(one.path(), "no record").unwrap();
    });

    let options = OpenOptions { state: Some(state), ..OpenOptions::default() };
    let repo = Repository::open(storage, &options).unwrap();
    let heard = |repo: &Repository| {
        let heard = Mutex::new(Vec::new());
        let observer = |event: Event<'_>| {
            if let Event::Warning(text) = event {
                heard.lock().unwrap().push(text.to_owned());
            }
        };
        repo.snapshots(&SnapshotFilter::default(), &Control::new(&observer)).unwrap();
        heard.into_inner().unwrap()
    };
    let first = heard(&repo);
    assert!(first.iter().any(|text| text.contains("known")), "{first:?}");
    assert_eq!(heard(&repo), Vec::<String>::new());
}
