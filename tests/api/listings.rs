//! The number of listings of snapshots: a selector is resolved among those already listed.

use std::sync::Arc;

use snap_backup::Control;
use snap_backup::ops::ls::{self, Levels};
use snap_backup::ops::{copy, diff, du, export, forget, restore, stats};
use snap_backup::repo::options::InitOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::storage::ObjectKind;
use snap_backup::storage::memory::MemoryStorage;

use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;

#[test]
fn snapshots_are_listed_once_however_many_are_named() {
    let storage = Arc::new(Hooked::default());
    let library = Library::on(storage.clone(), None);
    let ids: Vec<String> = ["one", "two", "three"]
        .iter()
        .map(|text| {
            library.write("src", &[("file", text.as_bytes())]);
            library.backup("src", Default::default()).snapshot.unwrap().hex()
        })
        .collect();
    let repo = library.open();
    let control = Control::default();
    let once = |verb: &str, run: &dyn Fn()| {
        storage.calls();
        run();
        let is_listing =
            |call: &&(Act, ObjectKind, String)| (call.0, call.1) == (Act::List, ObjectKind::Snapshots);
        assert_eq!(storage.calls().iter().filter(is_listing).count(), 1, "listings of {verb}");
    };
    let choice = SnapshotQuery { selectors: ids.clone(), ..SnapshotQuery::default() };
    once("forget", &|| {
        let (selectors, allow_remove_all, dry_run) = (ids.clone(), true, true);
        let options = forget::Options { selectors, allow_remove_all, dry_run, ..Default::default() };
        assert_eq!(forget::run(&repo, &options).unwrap().len(), 3);
    });
    once("du", &|| {
        let since = Some(ids[0].clone());
        let options = du::Options { choice: choice.clone(), since, ..Default::default() };
        assert_eq!(du::run(&repo, &options, &control).unwrap().snapshots, 3);
    });
    once("stats", &|| {
        let options = stats::Options { choice: choice.clone(), ..Default::default() };
        stats::run(&repo, &options, &control).unwrap();
    });
    once("copy", &|| {
        let to = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default()).unwrap();
        let options = copy::Options { choice: choice.clone(), dry_run: true, ..Default::default() };
        assert_eq!(copy::run(&repo, &to, &options, &control).unwrap().copied.len(), 3);
    });
    once("diff", &|| {
        let (before, after) = (ids[0].clone().into(), ids[1].clone().into());
        let options = diff::Options { before, after, ..Default::default() };
        let summary = diff::run(&repo, &options, &mut |_| Ok(()), &control).unwrap();
        assert_eq!(summary.content, 1);
    });
    once("export", &|| {
        let (selector, since) = (ids[1].clone().into(), Some(ids[0].clone()));
        let options = export::Options { selector, since, ..Default::default() };
        export::run(&repo, &options, &mut Vec::new(), &control).unwrap();
    });
    once("ls", &|| {
        let selected = ls::select(&repo, &ids[2]).unwrap();
        assert_eq!(selected.snapshot().id.hex(), ids[2]);
        selected.list(Levels::All, &mut |_, _| Ok(())).unwrap();
    });
    once("restore", &|| {
        let (selector, target) = (ids[2].clone(), library.path("out"));
        let options = restore::Options { selector, target, ..Default::default() };
        restore::run(&repo, &options, &control).unwrap();
    });
}
