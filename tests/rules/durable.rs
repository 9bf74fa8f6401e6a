//! What a gc run and a forget have removed stays removed after a power cut, in the order that the rules need.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use snap_backup::storage::{ObjectKind, Storage};

use crate::support::hooked::Act;
use crate::support::stage::Stage;

/// C5: once a gc run has ended, its record no longer applies. If a trash entry returned then, it could be
/// undeleted without its packs; if a pack returned, it could be used, and be gone after the next power cut.
#[test]
fn gc_removals_are_durable_before_it_ends() {
    let stage = Stage::new();
    stage.write("src", &[1, 2]);
    let id = stage.backup("src");
    stage.forget(id);
    // The record itself.
    stage.storage.before(Act::Create, ObjectKind::Gc, |_, _| ());
    let weak = Arc::downgrade(&stage);
    stage.storage.before(Act::Create, ObjectKind::Gc, move |_, name| {
        assert!(name.ends_with(".done"), "{name}");
        let unsynced = weak.upgrade().unwrap().storage.unsynced();
        let matters = |area: &ObjectKind| matches!(area, ObjectKind::Trash | ObjectKind::Packs);
        let left: Vec<_> = unsynced.iter().filter(|(area, _)| matters(area)).collect();
        assert!(left.is_empty(), "may come back: {left:?}");
    });
    assert!(stage.gc().packs_deleted > 0);
    assert!(stage.storage.is_spent());
    stage.storage.cut_power();
    assert_eq!((stage.names(ObjectKind::Trash), stage.bytes()), (vec![], 0));
}

/// If an entry returned that a forget had withdrawn because the snapshot was purged meanwhile, it would need
/// deleted data.
#[test]
fn withdrawn_trash_entry_does_not_return() {
    let stage = Stage::new();
    stage.write("src", &[1]);
    let id = stage.backup("src");
    stage.storage.before(Act::Create, ObjectKind::Trash, move |storage, _| {
        storage.remove(ObjectKind::Snapshots, &id.hex()).unwrap();
    });
    stage.forget(id);
    assert!(stage.storage.is_spent());
    stage.storage.cut_power();
    assert_eq!(stage.names(ObjectKind::Trash), Vec::<String>::new());
}
