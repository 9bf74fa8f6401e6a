//! `repair snapshots` while other processes move packs: data that seems lost may only have been moved.
#![allow(clippy::unwrap_used)]

use crate::support::hooked::Act;
use crate::support::stage::Stage;
use snap_backup::Control;
use snap_backup::ops::repair::snapshots;
use snap_backup::storage::{ObjectKind, Storage};

#[test]
fn a_snapshot_is_not_replaced_while_packs_are_moved_by_others() {
    let stage = Stage::new();
    let mut packs = Vec::new();
    for (source, seed) in [("lost", 1), ("other", 2)] {
        stage.write(source, &[seed]);
        stage.backup(source);
        let listed = stage.storage.inner.list(ObjectKind::Packs).unwrap();
        let largest =
            listed.into_iter().filter(|found| !packs.contains(&found.name)).max_by_key(|found| found.len);
        packs.push(largest.unwrap().name);
    }
    let before = stage.library.snapshots();
    let inner = &stage.storage.inner;
    let lost = inner.get(ObjectKind::Packs, &packs[0]).unwrap();
    inner.remove(ObjectKind::Packs, &packs[0]).unwrap();
    let repair = || {
        let options = snapshots::Options::default();
        snapshots::run(&stage.library.open(), &options, &Control::default())
    };
    // When the rest is written, a gc run has moved what the other snapshot needs, too.
    let other = packs[1].clone();
    stage.storage.before(Act::Create, ObjectKind::Packs, move |storage, _| {
        storage.remove(ObjectKind::Packs, &other).unwrap()
    });
    let refused = repair().unwrap_err().chain();
    assert!(stage.storage.is_spent() && refused.contains("another process moved packs"), "{refused}");
    assert_eq!(stage.library.snapshots(), before);
    assert_eq!(stage.names(ObjectKind::Trash), Vec::<String>::new());
    inner.put(ObjectKind::Packs, &packs[0], lost);
    stage.library.assert_restores(Some(before[0]), "lost");
}
