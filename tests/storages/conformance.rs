//! The contract of all storages, in one list: each check gets an empty storage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use snap_backup::storage::local::LocalStorage;
use snap_backup::storage::memory::MemoryStorage;
#[cfg(feature = "cloud")]
use snap_backup::storage::object_store::CloudStorage;
#[cfg(feature = "cloud")]
use snap_backup::storage::object_store::ObjectStoreOptions;
#[cfg(feature = "cloud")]
use snap_backup::storage::object_store::url::ObjectStoreUrl;
use snap_backup::storage::rest::RestStorage;
use snap_backup::storage::rest::url::RestUrl as RestPlace;
use snap_backup::storage::retry::RetryPolicy;
use snap_backup::storage::sftp::SftpStorage;
use snap_backup::storage::sftp::url::SftpUrl as SftpPlace;
use snap_backup::storage::tls::Tls;
use snap_backup::storage::{CreateOutcome, ObjectKind, Storage};
use snap_backup::{Control, Error};

const LIMIT: u64 = 1 << 30;

type Check = fn(&dyn Storage);

const CONFORMANCE: [(&str, Check); 16] = [
    ("one winner", one_winner),
    ("existing untouched", existing_untouched),
    ("missing", missing),
    ("limit", limit),
    ("ranges", ranges),
    ("list", list),
    ("list only complete", list_only_complete),
    ("remove", remove),
    ("sizes", sizes),
    ("held", held),
    ("replace", replace),
    ("replace never mixes", replace_never_mixes),
    ("many", many),
    ("odd names", odd_names),
    ("removed while read", removed_while_read),
    ("bad names", bad_names),
];

#[test]
fn local_conforms() {
    for (name, check) in CONFORMANCE {
        println!("{name}");
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("deep/repo");
        check(&LocalStorage::new(&root));
        assert_eq!(temps(dir.path()), 0, "{name} left a temporary file");
    }
}

#[test]
fn memory_conforms() {
    for (name, check) in CONFORMANCE {
        println!("{name}");
        check(&MemoryStorage::default());
    }
}

/// A real server on two pipes, without a network.
#[test]
fn sftp_conforms() {
    let Some(server) = crate::support::sftp::server() else { return };
    for (name, check) in CONFORMANCE {
        println!("{name}");
        let dir = tempfile::tempdir().unwrap();
        let place = format!("sftp://nowhere{}/deep/repo", dir.path().display());
        check(&SftpStorage::new(SftpPlace::parse(&place).unwrap(), &server));
        assert_eq!(temps(dir.path()), 0, "{name} left a temporary file");
    }
}

/// The same through ssh itself.
#[test]
fn sftp_through_ssh_conforms() {
    let Some(server) = crate::support::sftp::Sshd::start() else { return };
    for (name, check) in CONFORMANCE {
        println!("{name}");
        let dir = tempfile::tempdir().unwrap();
        let place = format!("sftp://root@127.0.0.1:{}{}/deep/repo", server.port, dir.path().display());
        check(&SftpStorage::new(SftpPlace::parse(&place).unwrap(), server.command()));
        assert_eq!(temps(dir.path()), 0, "{name} left a temporary file");
    }
}

/// Servers that check whether a name is taken and then write: two concurrent writers may both succeed.
#[cfg(feature = "cloud")]
#[test]
fn s3_conforms_on_moto_and_s3s_except_for_races() {
    use crate::support::servers::Server;
    for server in [Server::moto(), Server::s3s()].into_iter().flatten() {
        for (number, (name, check)) in CONFORMANCE.into_iter().enumerate() {
            println!("{name}");
            if name != "one winner" {
                check(&cloud("s3", number, &server.variables()));
            }
        }
    }
}

/// A server that overwrites: no storage on it can have exactly one winner, and it has to report that.
#[cfg(feature = "cloud")]
#[test]
fn s3_conforms_on_rclone_except_for_exclusive_creation() {
    let Some(server) = crate::support::servers::Server::rclone_s3(true) else { return };
    conforms_on("s3", &server.variables(), Some("one winner"));
}

#[cfg(feature = "cloud")]
#[test]
fn az_conforms_on_azurite() {
    let Some(server) = crate::support::servers::Server::azurite() else { return };
    conforms_on("az", &server.azure_variables(), None);
}

/// REST servers let several writers win; rclone's overwrites.
#[test]
fn rest_conforms_on_rclone_except_for_exclusive_creation() {
    for signed in [&[][..], &["--user", "me", "--pass", "it's"]] {
        let Some(server) = crate::support::servers::Server::rclone_rest(true, signed) else { return };
        for (number, (name, check)) in CONFORMANCE.into_iter().enumerate() {
            println!("{name}");
            let login = if signed.is_empty() { "" } else { "me:it's@" };
            let place = format!("rest:http://{login}127.0.0.1:{}/deep/{number}/", server.port());
            let place = RestPlace::parse(&place).unwrap();
            let store = RestStorage::new(place, Arc::default(), RetryPolicy::default(), &Tls::default());
            assert!(!store.location().contains("it's"));
            match name {
                "one winner" => assert!(store.weakness().unwrap().is_some()),
                _ => check(&store),
            }
        }
    }
}

#[cfg(feature = "cloud")]
#[allow(clippy::print_stdout, reason = "shown where it fails")]
fn conforms_on(scheme: &str, variables: &[(String, String)], lacks: Option<&str>) {
    for (number, (name, check)) in CONFORMANCE.into_iter().enumerate() {
        println!("{name}");
        let store = cloud(scheme, number, variables);
        if lacks == Some(name) {
            let said = store.weakness().unwrap().unwrap();
            assert!(said.contains("no create-if-absent"), "{said}");
            continue;
        }
        // While it overwrites, such a server also responds with the length of one version and bytes of
        // another, status 200: curl gets the same from rclone. Objects that are replaced are sealed, which
        // detects this.
        if lacks.is_some() && name == "replace never mixes" {
            continue;
        }
        check(&store);
        assert_eq!(store.weakness().unwrap().is_some(), lacks.is_some());
    }
    let store = cloud(scheme, CONFORMANCE.len(), variables);
    // Before anything else is written, as at the beginning of a session.
    assert_eq!(store.weakness().unwrap().is_some(), lacks.is_some());
    in_parts(&store);
}

/// Objects that are too large for one request.
#[cfg(feature = "cloud")]
fn in_parts(store: &CloudStorage) {
    let halves = [vec![1u8; 65 << 20], vec![2u8; 65 << 20]];
    let parts = [halves[0].as_slice(), &halves[1]];
    assert_eq!(store.create(ObjectKind::Packs, "aa", &parts).unwrap(), CreateOutcome::New);
    assert_eq!(store.create(ObjectKind::Packs, "aa", &[b"x"]).unwrap(), CreateOutcome::Exists);
    assert_eq!(store.create(ObjectKind::Packs, "aa", &parts).unwrap(), CreateOutcome::Exists);
    assert!(store.read(ObjectKind::Packs, "aa", 130 << 20).unwrap() == halves.concat());
    store.remove(ObjectKind::Packs, "aa").unwrap();
    assert_eq!(store.create_owned(ObjectKind::Packs, "aa", halves.into()).unwrap(), CreateOutcome::New);
}

#[cfg(feature = "cloud")]
fn cloud(scheme: &str, number: usize, variables: &[(String, String)]) -> CloudStorage {
    let place = ObjectStoreUrl::parse(&format!("{scheme}://bucket/deep/{number}")).unwrap();
    CloudStorage::new(
        place,
        ObjectStoreOptions { variables: variables.to_vec(), ..ObjectStoreOptions::default() },
    )
    .unwrap()
}

fn temps(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let count = |entry: fs::DirEntry| {
        if entry.file_type().unwrap().is_dir() {
            temps(&entry.path())
        } else {
            usize::from(entry.file_name().to_str().unwrap().starts_with('.'))
        }
    };
    entries.map(count).sum()
}

fn names(store: &dyn Storage, area: ObjectKind) -> Vec<String> {
    store.list(area).unwrap().into_iter().map(|listed| listed.name).collect()
}

fn one_winner(store: &dyn Storage) {
    let barrier = Barrier::new(16);
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let barrier = &barrier;
        let start = |byte: u8| {
            scope.spawn(move || {
                barrier.wait();
                (byte, store.create(ObjectKind::Packs, "abcd", &[&[byte; 1000]]).unwrap())
            })
        };
        let threads: Vec<_> = (0..16).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let winners: Vec<_> = outcomes.iter().filter(|(_, created)| *created == CreateOutcome::New).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(store.read(ObjectKind::Packs, "abcd", LIMIT).unwrap(), [winners[0].0; 1000]);
}

fn existing_untouched(store: &dyn Storage) {
    assert_eq!(store.create(ObjectKind::Keys, "k", &[b"o", b"", b"ld"]).unwrap(), CreateOutcome::New);
    assert_eq!(store.create(ObjectKind::Keys, "k", &[b"new"]).unwrap(), CreateOutcome::Exists);
    assert!(store.create_held(ObjectKind::Keys, "k", b"new").is_err());
    assert_eq!(store.read(ObjectKind::Keys, "k", LIMIT).unwrap(), b"old");
}

fn missing(store: &dyn Storage) {
    for name in ["none", "other"] {
        for area in ObjectKind::ALL {
            assert!(store.read(area, name, LIMIT).unwrap_err().is_missing());
            assert!(store.read_range(area, name, 0, &mut [0]).unwrap_err().is_missing());
            assert_eq!(store.is_held(area, name).unwrap(), Some(false));
            assert!(store.list(area).unwrap().iter().all(|listed| listed.name == "there"));
            store.sync(area).unwrap();
            store.create(area, "there", &[]).unwrap();
            store.sync(area).unwrap();
        }
    }
}

fn limit(store: &dyn Storage) {
    store.create(ObjectKind::Index, "i", &[b"12345"]).unwrap();
    assert_eq!(store.read(ObjectKind::Index, "i", 5).unwrap(), b"12345");
    assert_eq!(store.read(ObjectKind::Index, "i", u64::MAX).unwrap(), b"12345");
    for limit in [0, 4] {
        let error = store.read(ObjectKind::Index, "i", limit).unwrap_err();
        assert!(matches!(error, Error::Damaged { what, .. } if what == "index/i"));
    }
}

fn ranges(store: &dyn Storage) {
    store.create(ObjectKind::Packs, "aa11", &[b"0123", b"456789"]).unwrap();
    let read = |offset, len| {
        let mut out = vec![0; len];
        store.read_range(ObjectKind::Packs, "aa11", offset, &mut out).map(|()| out)
    };
    assert_eq!(read(0, 10).unwrap(), b"0123456789");
    assert_eq!(read(3, 4).unwrap(), b"3456");
    assert_eq!(read(10, 0).unwrap(), b"");
    assert_eq!(read(99, 0).unwrap(), b"");
    for (offset, len) in [(9, 2), (10, 1), (99, 1), (0, 11), (i64::MAX as u64, 1), (u64::MAX, 1)] {
        let error = read(offset, len).unwrap_err();
        let said = error.chain();
        assert!(matches!(error, Error::Damaged { what, .. } if what == "packs/aa/aa11"), "{said}");
    }
}

fn list(store: &dyn Storage) {
    for name in ["cc1", "aa2", "bb3", "aa1"] {
        store.create(ObjectKind::Packs, name, &[name.as_bytes()]).unwrap();
        store.create(ObjectKind::Trash, name, &[b"four"]).unwrap();
    }
    assert_eq!(names(store, ObjectKind::Packs), ["aa1", "aa2", "bb3", "cc1"]);
    assert_eq!(names(store, ObjectKind::Trash), ["aa1", "aa2", "bb3", "cc1"]);
    assert!(store.list(ObjectKind::Packs).unwrap().iter().all(|listed| listed.len == 3));
    assert!(store.list(ObjectKind::Trash).unwrap().iter().all(|listed| listed.len == 4));
    assert!(store.list(ObjectKind::Snapshots).unwrap().is_empty());
}

fn list_only_complete(store: &dyn Storage) {
    let body = vec![7; 1 << 16];
    std::thread::scope(|scope| {
        let write =
            |number: usize| store.create(ObjectKind::Packs, &format!("{number:04x}"), &[&body, &body]);
        let writer = scope.spawn(move || {
            (0..64).for_each(|number| assert_eq!(write(number * 997).unwrap(), CreateOutcome::New))
        });
        while !writer.is_finished() {
            assert!(store.list(ObjectKind::Packs).unwrap().iter().all(|listed| listed.len == 1 << 17));
        }
    });
    assert_eq!(store.list(ObjectKind::Packs).unwrap().len(), 64);
}

fn remove(store: &dyn Storage) {
    store.remove(ObjectKind::Gc, "1").unwrap();
    store.create(ObjectKind::Gc, "1", &[b"x"]).unwrap();
    store.remove(ObjectKind::Gc, "1").unwrap();
    store.remove(ObjectKind::Gc, "1").unwrap();
    store.sync(ObjectKind::Gc).unwrap();
    assert!(store.list(ObjectKind::Gc).unwrap().is_empty());
    assert_eq!(store.create(ObjectKind::Gc, "1", &[b"y"]).unwrap(), CreateOutcome::New);
}

fn sizes(store: &dyn Storage) {
    let large: Vec<u8> = (0..8_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    store.create(ObjectKind::Packs, "empty", &[]).unwrap();
    let whole = vec![3; 64 << 20];
    store.create(ObjectKind::Packs, "whole", &[&whole]).unwrap();
    assert!(store.read(ObjectKind::Packs, "whole", 64 << 20).unwrap() == whole);
    store.create(ObjectKind::Packs, "large", &[&large]).unwrap();
    assert_eq!(store.read(ObjectKind::Packs, "empty", 0).unwrap(), b"");
    assert!(store.read(ObjectKind::Packs, "large", 8 << 20).unwrap() == large);
    assert!(store.read(ObjectKind::Packs, "large", (8 << 20) - 1).unwrap_err().is_damage());
}

fn held(store: &dyn Storage) {
    let hold = store.create_held(ObjectKind::Sessions, "s", b"me").unwrap();
    // A storage without locks cannot know.
    let held = store.is_held(ObjectKind::Sessions, "s").unwrap();
    assert!(held != Some(false));
    assert_eq!(store.is_held(ObjectKind::Sessions, "s").unwrap(), held);
    assert_eq!(store.read(ObjectKind::Sessions, "s", LIMIT).unwrap(), b"me");
    assert!(store.create_held(ObjectKind::Sessions, "s", b"you").is_err());
    assert_eq!(store.is_held(ObjectKind::Sessions, "s").unwrap(), held);
    drop(hold);
    // A process that another test starts at this moment also has the lock, until it executes its program.
    let is_free = |_| {
        let free = store.is_held(ObjectKind::Sessions, "s").unwrap() == held.map(|_| false);
        free || {
            std::thread::sleep(Duration::from_millis(20));
            false
        }
    };
    assert!((0..100).any(is_free));
    assert_eq!(names(store, ObjectKind::Sessions), ["s"]);
    let _hold = store.create_held(ObjectKind::Sessions, "t", b"me").unwrap();
    store.remove(ObjectKind::Sessions, "t").unwrap();
    assert_eq!(store.is_held(ObjectKind::Sessions, "t").unwrap(), Some(false));
}

fn replace(store: &dyn Storage) {
    for bytes in [&b"first"[..], b"", b"third, longer"] {
        store.replace(ObjectKind::Sessions, "s.beat", bytes).unwrap();
        assert_eq!(store.read(ObjectKind::Sessions, "s.beat", LIMIT).unwrap(), bytes);
    }
    assert_eq!(names(store, ObjectKind::Sessions), ["s.beat"]);
}

/// A reader sees one or the other, complete.
fn replace_never_mixes(store: &dyn Storage) {
    let bodies = [vec![1u8; 3000], vec![2u8; 70_000]];
    store.replace(ObjectKind::Sessions, "s.beat", &bodies[0]).unwrap();
    std::thread::scope(|scope| {
        let bodies = &bodies;
        let writer = scope.spawn(move || {
            (0..200)
                .for_each(|turn| store.replace(ObjectKind::Sessions, "s.beat", &bodies[turn % 2]).unwrap());
        });
        while !writer.is_finished() {
            assert!(bodies.contains(&store.read(ObjectKind::Sessions, "s.beat", LIMIT).unwrap()));
            assert_eq!(names(store, ObjectKind::Sessions), ["s.beat"]);
        }
    });
}

fn many(store: &dyn Storage) {
    let name = |number: u32| format!("{:08x}", number.wrapping_mul(2_654_435_761));
    for number in 0..2500 {
        assert_eq!(store.create(ObjectKind::Packs, &name(number), &[]).unwrap(), CreateOutcome::New);
    }
    let mut wanted: Vec<String> = (0..2500).map(name).collect();
    wanted.sort();
    assert!(names(store, ObjectKind::Packs) == wanted);
    (0..2500).step_by(2).for_each(|number| store.remove(ObjectKind::Packs, &name(number)).unwrap());
    assert_eq!(store.list(ObjectKind::Packs).unwrap().len(), 1250);
}

fn odd_names(store: &dyn Storage) {
    let odd = [
        "a b",
        "x.y.z",
        "~",
        "-rf",
        "ab\nc",
        "\u{e4}\u{1f4be}",
        "con",
        "A",
        "a",
        "%2e",
        "q".repeat(200).as_str(),
    ]
    .map(str::to_owned);
    for name in &odd {
        assert_eq!(
            store.create(ObjectKind::Trash, name, &[name.as_bytes()]).unwrap(),
            CreateOutcome::New,
            "{name:?}"
        );
    }
    let mut sorted = odd.to_vec();
    sorted.sort();
    assert_eq!(names(store, ObjectKind::Trash), sorted);
    for name in &odd {
        assert_eq!(store.read(ObjectKind::Trash, name, LIMIT).unwrap(), name.as_bytes());
        store.remove(ObjectKind::Trash, name).unwrap();
    }
    assert!(store.list(ObjectKind::Trash).unwrap().is_empty());
}

/// A reader of an object that is being removed gets all of it, or that it is missing, never a part.
fn removed_while_read(store: &dyn Storage) {
    let body = vec![5; 1 << 20];
    std::thread::scope(|scope| {
        let body = &body;
        let turns = scope.spawn(move || {
            for _ in 0..60 {
                store.create(ObjectKind::Packs, "aa", &[body]).unwrap();
                store.remove(ObjectKind::Packs, "aa").unwrap();
            }
        });
        while !turns.is_finished() {
            match store.read(ObjectKind::Packs, "aa", LIMIT) {
                Ok(read) => assert!(read == *body, "{} bytes of it", read.len()),
                Err(err) => assert!(err.is_missing(), "{}", err.chain()),
            }
            assert!(store.list(ObjectKind::Packs).unwrap().iter().all(|found| found.len == 1 << 20));
        }
    });
}

fn bad_names(store: &dyn Storage) {
    for name in ["", ".", "..", ".tmp-1", "a/b", "/etc/passwd", "ab/../../x", "a\0b"] {
        for area in ObjectKind::ALL {
            assert!(store.create(area, name, &[b"x"]).unwrap_err().is_missing());
            assert!(store.create_held(area, name, b"x").unwrap_err().is_missing());
            assert!(store.replace(area, name, b"x").unwrap_err().is_missing());
            assert!(store.read(area, name, LIMIT).unwrap_err().is_missing());
            assert!(store.read_range(area, name, 0, &mut [0]).unwrap_err().is_missing());
            assert!(store.is_held(area, name).unwrap_err().is_missing());
            assert!(store.remove(area, name).unwrap_err().is_missing());
        }
    }
    assert!(store.create(ObjectKind::Packs, "a", &[]).unwrap_err().is_missing());
}

#[test]
fn gc_cleans_up_after_killed_writers() {
    let dir = tempfile::tempdir().unwrap();
    let storage = std::sync::Arc::new(LocalStorage::new(dir.path()));
    let options = snap_backup::repo::options::InitOptions::default();
    let repo = snap_backup::repo::repository::Repository::init(storage, &options).unwrap();
    let left = dir.path().join("config/.tmp-1-1-00000000");
    let file = fs::File::create(&left).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600)).unwrap();
    let options = snap_backup::ops::gc::Options::default();
    snap_backup::ops::gc::run(&repo, &options, &Control::default()).unwrap();
    assert!(!left.exists());
}
