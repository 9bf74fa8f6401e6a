//! Past states through the library: the basis of the subcommands of `import`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use snap_backup::model::entry::Time;
use snap_backup::ops::backup::states::{Each, Options, PastState, Report, StateSource};
use snap_backup::ops::backup::{self, states};
use snap_backup::progress::Event;
use snap_backup::repo::snapshots;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::{Control, Error, Result};

use crate::support::compare_trees;
use crate::support::library::Library;

fn library() -> Library {
    Library::on(Arc::new(MemoryStorage::default()), None)
}

fn state(library: &Library, name: &str, day: i64) -> PastState {
    PastState {
        sources: vec![StateSource { place: library.path(name), stored: b"/data".to_vec() }],
        time: Time { sec: 1_700_000_000 + day * 86_400, nanos: 7 },
        host: "old".to_owned(),
        user: Some("somebody".to_owned()),
        tags: vec!["moved".to_owned()],
        description: Some("as it was".to_owned()),
        origin: None,
    }
}

fn import(library: &Library, states: Vec<PastState>, each: &mut dyn Each) -> Result<Report> {
    let repo = library.open();
    let planned = states::plan(&repo, states)?;
    states::run(&repo, &planned, &Options::default(), &Control::default(), each)
}

/// Changes a file in place once the first state is saved.
struct Append(PathBuf);

impl Each for Append {
    fn after(&mut self, _: &PastState, _: &backup::Report) -> Result<()> {
        let file = fs::OpenOptions::new().append(true).open(&self.0);
        file.and_then(|mut file| file.write_all(b" and more")).map_err(Error::io("write", &self.0))
    }
}

#[test]
fn a_linked_file_that_changes_between_two_states_is_read_again() {
    let library = library();
    library.write("a", &[("file", b"some text")]);
    fs::create_dir(library.path("b")).unwrap();
    fs::hard_link(library.path("a/file"), library.path("b/other")).unwrap();
    let states = vec![state(&library, "a", 1), state(&library, "b", 2)];
    let summary = import(&library, states, &mut Append(library.path("a/file"))).unwrap();
    assert_eq!((summary.made.len(), summary.counts.bytes_read), (2, 9 + 18));
    // The hook runs after the second state, too.
    fs::OpenOptions::new().write(true).open(library.path("b/other")).unwrap().set_len(18).unwrap();
    let differences = library.differences(&library.open(), summary.made[1], "data", &library.path("b"));
    assert!(differences.iter().all(|line| line.contains("mtime")), "{differences:?}");
}

#[test]
fn a_snapshot_of_the_past_records_what_it_is_told() {
    let library = library();
    library.write("a", &[("file", b"text")]);
    let wanted = state(&library, "a", 1);
    let summary = import(&library, vec![wanted.clone()], &mut ()).unwrap();
    let made = snapshots::list(&library.open()).unwrap().pop().unwrap();
    let manifest = made.manifest;
    assert_eq!((made.id, manifest.started, manifest.ended), (summary.made[0], wanted.time, wanted.time));
    assert_eq!((manifest.host.as_str(), manifest.user.as_str()), ("old", "somebody"));
    assert_eq!(
        (manifest.tags.clone(), manifest.description()),
        (vec!["moved".to_owned()], Some("as it was"))
    );
    assert_eq!((manifest.sources[0].as_slice(), manifest.origin()), (b"/data".as_slice(), None));
    assert_eq!(library.errors(), Vec::<String>::new());
}

#[test]
fn state_with_an_origin_is_identified_by_it() {
    let library = library();
    library.write("a", &[("file", b"text")]);
    let named = |origin: &str, day: i64| {
        let origin = Some(origin.to_owned());
        vec![PastState { origin, ..state(&library, "a", day) }]
    };
    assert_eq!(import(&library, named("other 1", 1), &mut ()).unwrap().made.len(), 1);
    let again = import(&library, named("other 1", 2), &mut ()).unwrap();
    assert_eq!((again.made.len(), again.there), (0, 1), "whatever its time is now");
    let second = import(&library, named("other 2", 1), &mut ()).unwrap();
    assert_eq!(second.made.len(), 1, "two of one time may be two");
}

#[test]
fn each_source_of_a_state_has_its_own_path() {
    let library = library();
    library.write("mount", &[("home/me/notes", b"text"), ("etc/hosts", b"hosts"), ("other", b"left out")]);
    let at = |stored: &str| StateSource {
        place: library.path("mount").join(stored.trim_start_matches('/')),
        stored: stored.as_bytes().to_vec(),
    };
    let both = PastState { sources: vec![at("/home/me"), at("/etc")], ..state(&library, "mount", 1) };
    let summary = import(&library, vec![both], &mut ()).unwrap();
    assert_eq!(summary.problems, []);
    for name in ["home/me", "etc"] {
        let target = library.path("mount").join(name);
        let differences = library.differences(&library.open(), summary.made[0], name, &target);
        assert!(differences.is_empty(), "{differences:?}");
    }
    let whole = PastState {
        sources: vec![StateSource { place: library.path("mount"), stored: b"/".to_vec() }],
        ..state(&library, "mount", 2)
    };
    let summary = import(&library, vec![whole], &mut ()).unwrap();
    let differences = library.differences(&library.open(), summary.made[0], "", &library.path("mount"));
    assert!(
        differences.iter().all(|line| line.starts_with(": ")),
        "a snapshot's root has no metadata: {differences:?}"
    );
}

#[test]
fn a_stopped_run_commits_no_half_of_a_state() {
    /// Signals that the second state is being read.
    struct Second<'a>(&'a AtomicBool);
    impl Each for Second<'_> {
        fn before(&mut self, state: &PastState) -> Result<()> {
            self.0.store(state.time.sec > 1_700_090_000, Ordering::Relaxed);
            Ok(())
        }
        fn after(&mut self, _: &PastState, _: &backup::Report) -> Result<()> {
            Ok(())
        }
    }
    let library = library();
    library.write("a", &[("file", b"text")]);
    library.write("b", &[("file", b"other text"), ("other", b"more")]);
    let states = vec![state(&library, "b", 2), state(&library, "a", 1)];
    let (repo, stop, second) = (library.open(), Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let planned = states::plan(&repo, states.clone()).unwrap();
    // One file of it is stored when the run is stopped.
    let watch = |event: Event<'_>| {
        if matches!(event, Event::Item { .. }) && second.load(Ordering::Relaxed) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let result = states::run(
        &repo,
        &planned,
        &Options::default(),
        &Control::new(&watch).with_cancel(&stop),
        &mut Second(&second),
    );
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    let listed = snapshots::list(&library.open()).unwrap();
    assert_eq!(listed.iter().map(|one| one.manifest.partial).collect::<Vec<_>>(), [false]);
    let rest = import(&library, states, &mut ()).unwrap();
    assert_eq!((rest.made.len(), rest.there), (1, 1));
    let restored = library.differences(&library.open(), rest.made[0], "data", &library.path("b"));
    assert!(restored.is_empty(), "{restored:?}");
    assert!(!compare_trees(&library.path("a"), &library.path("b")).is_empty());
}
