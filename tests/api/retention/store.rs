//! Retention on a repository: what is kept restores, whatever was removed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::{prop_assert, proptest};
use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::forget::PolicyOptions;
use snap_backup::ops::forget::policy::{Count, Rule};
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::{backup, forget, gc};
use snap_backup::storage::ObjectKind;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::{Control, Error};

use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;
use crate::support::{Random, copy_tree};

fn back_up(library: &Library, kind: SnapshotKind) -> Option<SnapshotId> {
    library.backup("src", backup::Options { kind, ..backup::Options::default() }).snapshot
}

fn keep_last(library: &Library, number: u64, dry_run: bool) -> Vec<SnapshotId> {
    let rules = vec![Rule::Last(Count::UpTo(number))];
    let options = PolicyOptions { rules, dry_run, ..PolicyOptions::default() };
    let groups = forget::by_policy(&library.open(), &options).unwrap();
    let all = groups.iter().flat_map(|group| &group.decisions).filter(|one| !one.stays());
    all.map(|one| one.snapshot.id).collect()
}

fn collect(library: &Library, max_unused: MaxUnused) {
    let options = gc::Options { max_unused, empty_trash: true, ..gc::Options::default() };
    gc::run(&library.open(), &options, &Control::default()).unwrap();
}

#[test]
fn unkept_snapshots_go_to_the_trash_and_can_return() {
    let library = Library::on(Arc::new(MemoryStorage::default()), None);
    let mut made = Vec::new();
    for text in ["1", "2", "3", "4"] {
        library.write("src", &[("a", text.as_bytes())]);
        made.extend(back_up(&library, SnapshotKind::Incremental));
    }
    assert_eq!(keep_last(&library, 2, true), made[..2]);
    assert_eq!(library.snapshots(), made, "a dry run forgot something");
    assert_eq!(keep_last(&library, 2, false), made[..2]);
    assert_eq!(library.snapshots(), made[2..]);
    forget::undelete(&library.open(), &[made[0].hex()]).unwrap();
    assert_eq!(library.snapshots(), [made[0], made[2], made[3]]);
}

#[test]
fn no_rule_at_all_is_refused() {
    let library = Library::on(Arc::new(MemoryStorage::default()), None);
    library.write("src", &[("a", b"1")]);
    back_up(&library, SnapshotKind::Full);
    for rules in [vec![], vec![Rule::Last(Count::UpTo(0)), Rule::Full(Count::UpTo(0))]] {
        let options = PolicyOptions { rules, ..PolicyOptions::default() };
        let refused = forget::by_policy(&library.open(), &options);
        assert!(matches!(refused, Err(Error::Retention(_))), "{refused:?}");
    }
    assert_eq!(library.snapshots().len(), 1);
}

/// Two concurrent cleanups want the same.
#[test]
fn concurrent_forget_is_no_failure() {
    let storage = Arc::new(Hooked::default());
    let library = Arc::new(Library::on(storage.clone(), None));
    for text in ["1", "2", "3"] {
        library.write("src", &[("a", text.as_bytes())]);
        back_up(&library, SnapshotKind::Incremental);
    }
    let other = Arc::downgrade(&library);
    storage.before(Act::Create, ObjectKind::Trash, move |_, _| {
        // Several are removed at once, and one of them may already be in the trash.
        let going = keep_last(&other.upgrade().unwrap(), 1, false).len();
        assert!((1..=2).contains(&going), "{going}");
    });
    assert_eq!(keep_last(&library, 1, false).len(), 2);
    assert!(storage.is_spent());
    assert_eq!(library.snapshots().len(), 1);
    assert_eq!(library.errors(), Vec::<String>::new());
}

/// Makes some change to the source that depends on the numbers.
fn change(library: &Library, step: usize, random: &mut Random) {
    let name = format!("d{}/f{}", random.below(3), random.below(4));
    let len = usize::try_from(*random.pick(&[0, 10, 3_000, 90_000])).unwrap();
    match random.below(4) {
        0 => drop(fs::remove_file(library.path("src").join(name))),
        // Content that an older snapshot may have as well.
        1 => library.write("src", &[(&name, &Random::new(random.below(3)).bytes(90_000))]),
        _ => library.write("src", &[(&name, &random.bytes(len))]),
    }
    library.write("src", &[("step", step.to_string().as_bytes())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_rest_restores_after_any_forget_and_gc(
        seed in any::<u64>(),
        goes in vec(vec(any::<bool>(), 6), 1..3),
        unused in 0..3_u8,
    ) {
        let library = Library::on(Arc::new(MemoryStorage::default()), None);
        let mut random = Random::new(seed);
        let mut standing: Vec<(SnapshotId, PathBuf)> = Vec::new();
        let mut step = 0;
        for round in &goes {
            for _ in 0..4 {
                step += 1;
                change(&library, step, &mut random);
                let kinds = [SnapshotKind::Full, SnapshotKind::Incremental, SnapshotKind::Differential];
                let id = back_up(&library, *random.pick(&kinds)).unwrap();
                let copy = library.path(&format!("copy-{step}"));
                copy_tree(&library.path("src"), &copy);
                standing.push((id, copy));
            }
            let (gone, rest) = standing.into_iter().zip(round.iter().chain(std::iter::repeat(&false)))
                .partition::<Vec<_>, _>(|(_, goes)| **goes);
            standing = rest.into_iter().map(|(one, _)| one).collect();
            let selectors: Vec<String> = gone.iter().map(|((id, _), _)| id.hex()).collect();
            forget::run(&library.open(), &forget::Options { selectors, allow_remove_all: true, ..forget::Options::default() }).unwrap();
            let limit = [MaxUnused::Bytes(0), MaxUnused::Share(0.05), MaxUnused::Unlimited];
            collect(&library, limit[usize::from(unused)]);
            let repo = library.open();
            for (id, copy) in &standing {
                let differences = library.differences(&repo, *id, "src", copy);
                prop_assert!(differences.is_empty(), "{id}: {differences:#?}");
            }
        }
        prop_assert!(library.errors().is_empty());
    }
}
