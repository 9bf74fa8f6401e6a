//! Hard links: the group decides, whichever names are selected and however far apart they are.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{craft, restore};
use crate::support::Sandbox;

#[test]
fn hard_links_stay_one_file_without_their_first_name() {
    let sandbox = Sandbox::with_tree(&[("a", "same"), ("d/", "")]);
    for name in ["d/b", "d/c"] {
        fs::hard_link(sandbox.src().join("a"), sandbox.src().join(name)).unwrap();
    }
    sandbox.backup(&[]);
    for (selector, args, names) in [
        ("latest", &["--exclude", "/src/a"][..], ["src/d/b", "src/d/c"]),
        ("latest:src/d", &[], ["b", "c"]),
        ("latest", &["--include", "c", "--include", "a"], ["src/a", "src/d/c"]),
    ] {
        let target = sandbox.restore(selector, args);
        let [one, other] = names.map(|name| fs::metadata(target.join(name)).unwrap());
        assert_eq!((one.ino(), one.nlink()), (other.ino(), 2), "{selector} {args:?}");
        assert_eq!(fs::read(target.join(names[1])).unwrap(), b"same");
    }
}

#[test]
fn names_of_a_file_can_be_in_different_windows() {
    let sandbox = Sandbox::open();
    craft::snapshot(&craft::open(&sandbox), craft::counts(100_002, 0, 10), |craft| {
        let same = craft.data(b"same");
        let mut all = vec![craft::file("a", &[same])];
        all.extend((0..100_000).map(|number| craft::file(&format!("f{number:06}"), &[])));
        all.push(craft::file("z", &[same]));
        for at in [0, 100_001] {
            all[at].meta.link = 7;
        }
        craft.dir(&all)
    });
    let target = sandbox.new_target();
    restore(&sandbox, &target, &[]).expect(0);
    let [one, other] = ["a", "z"].map(|name| fs::metadata(target.join(name)).unwrap());
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 100_002);
}

#[test]
fn no_name_is_linked_to_a_file_that_was_not_restored() {
    let sandbox = Sandbox::open();
    craft::snapshot(&craft::open(&sandbox), craft::counts(2, 0, 8), |craft| {
        let mut lost = craft::file("a", &[craft.data(b"good")]);
        let mut other = craft::file("b", &[craft.data(b"good")]);
        for one in [&mut lost, &mut other] {
            one.meta.link = 7;
            // A chunk that does not exist.
            if let snap_backup::model::entry::Kind::File { content, .. } = &mut one.kind {
                let id = snap_backup::model::id::ChunkId::new([9; 32]);
                let part = snap_backup::model::entry::ContentPart::Chunk { id, len: 4 };
                *content = snap_backup::model::entry::Content::Parts(vec![part]);
            }
        }
        craft.dir(&[lost, other])
    });
    let target = sandbox.new_target();
    fs::write(target.join("a"), "evil").unwrap();
    let outcome = restore(&sandbox, &target, &[]).expect(20);
    assert!(
        outcome.stderr.contains("b: ") && outcome.stderr.contains("hard link of a"),
        "{}",
        outcome.stderr
    );
    assert!(!target.join("b").exists(), "it is a name of what is at `a` now");
    assert_eq!(fs::read(target.join("a")).unwrap(), b"evil", "what was there is left");
}

#[test]
fn link_group_entries_that_differ_become_separate_files() {
    let sandbox = Sandbox::open();
    craft::snapshot(&craft::open(&sandbox), craft::counts(3, 0, 12), |craft| {
        let mut all = [("a", "one!"), ("b", "two!"), ("c", "one!")]
            .map(|(name, bytes)| craft::file(name, &[craft.data(bytes.as_bytes())]));
        all.iter_mut().for_each(|one| one.meta.link = 7);
        craft.dir(&all)
    });
    let target = sandbox.new_target();
    let outcome = restore(&sandbox, &target, &[]).expect(0);
    assert!(outcome.stderr.contains("b is stored as a hard link of a"), "{}", outcome.stderr);
    let found = ["a", "b", "c"].map(|name| fs::read_to_string(target.join(name)).unwrap());
    assert_eq!(found, ["one!", "two!", "one!"]);
    let [a, c] = ["a", "c"].map(|name| fs::metadata(target.join(name)).unwrap());
    assert_eq!((a.ino(), a.nlink()), (c.ino(), 2));
}
