//! Broken connections to object stores, overloaded servers and lost responses: a proxy between snap and a
//! real server disturbs some requests.
#![cfg(feature = "cloud")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::proxy::{Fate, Proxy};
use crate::support::servers::{Server, s3_variables};
use crate::support::{Outcome, Random, Sandbox, finish};
use snap_backup::storage::object_store::url::ObjectStoreUrl;
use snap_backup::storage::object_store::{CloudStorage, ObjectStoreOptions};
use snap_backup::storage::rate_limit::RateLimits;
use snap_backup::storage::retry::RetryPolicy;
use snap_backup::storage::{CreateOutcome, ObjectKind, Storage};

/// A server, a proxy that disturbs requests to it, and a sandbox.
struct Line {
    proxy: Proxy,
    sandbox: Sandbox,
    _server: Server,
}

impl Line {
    fn new() -> Option<Self> {
        let server = Server::moto()?;
        let sandbox = Sandbox::bare();
        sandbox.write(&[("a", "hello"), ("d/b", "deep")]);
        fs::write(sandbox.path("src/big"), Random::new(1).bytes(3_000_000)).unwrap();
        Some(Self { proxy: Proxy::before(server.port()), sandbox, _server: server })
    }

    fn snap(&self, args: &[&str]) -> Outcome {
        let mut command = self.sandbox.bin();
        command.args(["-r", "s3://bucket/repo"]).args(args).envs(s3_variables(&self.proxy.url()));
        finish(command, b"")
    }

    fn store(&self, limits: RateLimits) -> CloudStorage {
        self.store_of(limits, Duration::from_millis(300), Duration::from_secs(4))
    }

    fn store_of(&self, limits: RateLimits, timeout: Duration, max_elapsed: Duration) -> CloudStorage {
        let retry_policy = RetryPolicy { timeout, max_elapsed, initial_backoff: Duration::from_millis(5) };
        let variables = s3_variables(&self.proxy.url());
        let options = ObjectStoreOptions {
            variables,
            limits: Arc::new(limits),
            retry_policy,
            ..ObjectStoreOptions::default()
        };
        CloudStorage::new(ObjectStoreUrl::parse("s3://bucket/repo").unwrap(), options).unwrap()
    }

    fn assert_whole(&self) {
        self.proxy.set(|_| Fate::Pass);
        self.snap(&["check", "-v", "--read-data"]).expect(0);
        let target = self.sandbox.new_target();
        self.snap(&["restore", "latest", "--target", target.to_str().unwrap()]).expect(0);
        crate::support::assert_same(&self.sandbox.src(), &target.join("src"));
    }
}

/// Disturbs every n-th request, with the next of these faults each time.
fn every(n: usize, ways: Vec<fn() -> Fate>) -> impl FnMut(&str) -> Fate + Send + 'static {
    let mut count = 0;
    move |_| {
        count += 1;
        if count % n == 0 { ways[count / n % ways.len()]() } else { Fate::Pass }
    }
}

#[test]
fn bad_connections_and_busy_servers_are_retried() {
    let Some(line) = Line::new() else { return };
    line.proxy.set(every(
        6,
        vec![
            || Fate::Reset,
            || Fate::Say("500 Internal Server Error", "InternalError"),
            || Fate::Lose,
            || Fate::Say("503 Slow Down", "SlowDown"),
            || Fate::Cut(10),
            || Fate::Say("429 Too Many Requests", ""),
        ],
    ));
    line.snap(&["init"]).expect(0);
    line.snap(&["backup", "src"]).expect(0);
    line.sandbox.write(&[("a", "changed")]);
    line.snap(&["backup", "src"]).expect(0);
    let target = line.sandbox.new_target();
    line.snap(&["restore", "latest", "--target", target.to_str().unwrap()]).expect(0);
    crate::support::assert_same(&line.sandbox.src(), &target.join("src"));
    line.snap(&["forget", "latest~1"]).expect(0);
    line.snap(&["gc", "--empty-trash", "--max-unused", "0"]).expect(0);
    line.proxy.set(|_| Fate::Pass);
    let snapshots = line.snap(&["snapshots", "--json"]).expect(0).json();
    assert_eq!(snapshots.as_array().unwrap().len(), 1, "one run made more than one snapshot");
    line.assert_whole();
}

#[test]
fn lost_response_is_not_taken_for_another_writer() {
    let Some(line) = Line::new() else { return };
    let store = line.store(RateLimits::default());
    store.list(ObjectKind::Keys).unwrap();
    let lose_first_put = || {
        let mut lost = false;
        move |request: &str| {
            if request.starts_with("PUT") && !std::mem::replace(&mut lost, true) {
                Fate::Lose
            } else {
                Fate::Pass
            }
        }
    };
    line.proxy.set(lose_first_put());
    assert_eq!(store.create(ObjectKind::Keys, "k", &[b"mi", b"ne"]).unwrap(), CreateOutcome::New);
    // A name that another process has taken stays its own, even then.
    line.proxy.set(lose_first_put());
    assert_eq!(store.create(ObjectKind::Keys, "k", &[b"more"]).unwrap(), CreateOutcome::Exists);
    assert_eq!(store.read(ObjectKind::Keys, "k", 100).unwrap(), b"mine");
}

#[test]
fn truncated_response_is_read_again_never_accepted() {
    let Some(line) = Line::new() else { return };
    let store = line.store(RateLimits::default());
    let body = Random::new(2).bytes(300_000);
    store.create(ObjectKind::Packs, "aa", &[&body]).unwrap();
    for most in [0, 1, 70_000, 299_999] {
        let mut cuts = 2;
        line.proxy.set(move |_| {
            cuts -= 1;
            if cuts >= 0 { Fate::Cut(most) } else { Fate::Pass }
        });
        assert!(store.read(ObjectKind::Packs, "aa", 1 << 20).unwrap() == body, "{most}");
        let mut cuts = 1;
        line.proxy.set(move |_| {
            cuts -= 1;
            if cuts >= 0 { Fate::Cut(most / 2) } else { Fate::Pass }
        });
        let mut out = vec![0; 200_000];
        store.read_range(ObjectKind::Packs, "aa", 50_000, &mut out).unwrap();
        assert!(out == body[50_000..250_000], "{most}");
    }
    line.proxy.set(|_| Fate::Cut(100));
    let err = store.read(ObjectKind::Packs, "aa", 1 << 20).unwrap_err().chain();
    assert!(err.starts_with("cannot read s3://bucket/repo/packs/aa/aa: "), "{err}");
}

#[test]
fn a_listing_that_is_cut_short_or_refused_is_an_error() {
    let Some(line) = Line::new() else { return };
    let store = line.store(RateLimits::default());
    store.create(ObjectKind::Keys, "k", &[b"x"]).unwrap();
    line.proxy.set(|_| Fate::Cut(150));
    assert!(store.list(ObjectKind::Keys).is_err());
    for (status, code) in
        [("403 Forbidden", "AccessDenied"), ("404 Not Found", "NoSuchBucket"), ("404 Not Found", "")]
    {
        line.proxy.set(move |_| Fate::Say(status, code));
        assert!(store.list(ObjectKind::Keys).is_err(), "{status} {code}");
    }
}

#[test]
fn silent_server_is_retried_and_finally_given_up() {
    let Some(line) = Line::new() else { return };
    let store = line.store(RateLimits::default());
    store.create(ObjectKind::Keys, "k", &[b"mine"]).unwrap();
    let mut stalls = 2;
    line.proxy.set(move |_| {
        stalls -= 1;
        if stalls >= 0 { Fate::Stall(Duration::from_secs(2)) } else { Fate::Pass }
    });
    assert_eq!(store.read(ObjectKind::Keys, "k", 100).unwrap(), b"mine");
    line.proxy.seen();
    line.proxy.set(|_| Fate::Stall(Duration::from_secs(2)));
    let err = store.read(ObjectKind::Keys, "k", 100).unwrap_err().chain();
    assert!(err.contains("the server does not respond (tried for "), "{err}");
    assert!(line.proxy.seen().len() > 3);
}

#[test]
fn expired_credentials_and_lost_buckets_end_a_run_cleanly() {
    let Some(line) = Line::new() else { return };
    line.snap(&["init"]).expect(0);
    for (status, code, exit, words) in [
        ("403 Forbidden", "ExpiredToken", 1, "the credentials have expired"),
        ("404 Not Found", "NoSuchBucket", 10, "the bucket does not exist"),
        ("403 Forbidden", "AccessDenied", 1, "AccessDenied: said so"),
    ] {
        fs::write(line.sandbox.path("src/big"), Random::new(u64::from(code.len() as u8)).bytes(3_000_000))
            .unwrap();
        let gone = Arc::new(Mutex::new(false));
        line.proxy.set(move |request| {
            let mut gone = gone.lock().unwrap();
            *gone |= request.starts_with("PUT /bucket/repo/packs/");
            if *gone { Fate::Say(status, code) } else { Fate::Pass }
        });
        let before = Instant::now();
        let said = line.snap(&["backup", "src"]).expect(exit).stderr;
        assert!(said.contains(words), "{said}");
        assert!(before.elapsed() < Duration::from_secs(60), "what does not pass was tried again");
        line.proxy.set(|_| Fate::Pass);
        line.snap(&["check", "-v", "--read-data"]).expect(0);
        line.snap(&["backup", "src"]).expect(0);
        line.assert_whole();
    }
    let snapshots = line.snap(&["snapshots", "--json"]).expect(0).json();
    assert_eq!(snapshots.as_array().unwrap().len(), 3, "one for each run that went through");
}

/// What a policy allows that knows put, get and list.
#[test]
fn backup_without_delete_permission_blocks_no_gc() {
    let Some(line) = Line::new() else { return };
    let forbid = || {
        line.proxy.set(|request| {
            if request.starts_with("DELETE") {
                Fate::Say("403 Forbidden", "AccessDenied")
            } else {
                Fate::Pass
            }
        });
    };
    forbid();
    line.snap(&["init"]).expect(0);
    line.snap(&["backup", "src"]).expect(0);
    line.sandbox.write(&[("a", "changed")]);
    line.snap(&["backup", "src"]).expect(0);
    line.snap(&["check", "-v", "--read-data"]).expect(0);
    let target = line.sandbox.new_target();
    line.snap(&["restore", "latest", "--target", target.to_str().unwrap()]).expect(0);
    line.snap(&["tag", "latest", "--add", "kept"]).expect_one_of(&[0, 1]);
    let said = line.snap(&["forget", "latest~1"]).expect(1).stderr;
    assert!(said.contains("AccessDenied"), "{said}");
    // A client that may delete runs gc at once, loses nothing, and cleans up.
    line.proxy.set(|_| Fate::Pass);
    let collected = line.snap(&["gc", "--empty-trash", "--max-unused", "0"]).expect(0).all();
    assert!(!collected.contains("later"), "{collected}");
    let left = line.store(RateLimits::default()).list(ObjectKind::Sessions).unwrap();
    assert!(left.is_empty(), "{left:?}");
    let snapshots = line.snap(&["snapshots", "--json"]).expect(0).json();
    assert!(snapshots.as_array().unwrap().len() >= 2, "{snapshots}");
    line.assert_whole();
}

#[test]
fn limits_apply_to_uploads_and_downloads() {
    let Some(line) = Line::new() else { return };
    let (limited, free) =
        (line.store(RateLimits::new(Some(1 << 20), Some(2 << 20))), line.store(RateLimits::default()));
    let body = Random::new(3).bytes(1 << 20);
    free.list(ObjectKind::Packs).unwrap();
    let begun = Instant::now();
    limited.create(ObjectKind::Packs, "aa", &[&body]).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(880), "sent in {:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(limited.read(ObjectKind::Packs, "aa", 1 << 20).unwrap() == body);
    assert!(begun.elapsed() >= Duration::from_millis(380), "received in {:?}", begun.elapsed());
}

/// Each request has the latency of a distant server.
#[test]
fn an_unchanged_backup_makes_few_requests() {
    let Some(line) = Line::new() else { return };
    for number in 0..300 {
        line.sandbox.write(&[(&format!("many/{number}/{number}"), "one of many")]);
    }
    // More recent files are read again on purpose.
    std::thread::sleep(Duration::from_millis(2500));
    line.snap(&["init"]).expect(0);
    line.snap(&["backup", "src"]).expect(0);
    line.proxy.seen();
    assert!(line.snap(&["backup", "src"]).expect(0).text().contains("nothing changed"));
    let seen = line.proxy.seen();
    println!("{} requests: {seen:#?}", seen.len());
    assert!(seen.len() <= 20, "{} requests: {seen:#?}", seen.len());
    assert!(seen.iter().all(|request| !request.starts_with("PUT")), "something was written: {seen:#?}");
}

/// Large packs are uploaded in parts, each of which is resent by itself.
#[test]
fn large_object_is_uploaded_in_parts_and_appears_whole() {
    let Some(line) = Line::new() else { return };
    let store = line.store_of(RateLimits::default(), Duration::from_secs(60), Duration::from_secs(120));
    let (half, other) = (Random::new(4).bytes(65 << 20), Random::new(5).bytes(65 << 20));
    // One part is lost on its way; of another the response is lost.
    let mut puts = 0;
    line.proxy.set(move |request| {
        puts += usize::from(request.starts_with("PUT"));
        match puts {
            2 if request.starts_with("PUT") => Fate::Reset,
            4 if request.starts_with("PUT") => Fate::Lose,
            _ => Fate::Pass,
        }
    });
    line.proxy.seen();
    assert_eq!(store.create(ObjectKind::Packs, "aa", &[&half, &other]).unwrap(), CreateOutcome::New);
    let parts = line.proxy.seen().iter().filter(|request| request.contains("partNumber")).count();
    assert_eq!(parts, 5 + 2, "130 MiB in parts of 32 MiB, two of them twice");
    assert!(store.read(ObjectKind::Packs, "aa", 130 << 20).unwrap() == [half.as_slice(), &other].concat());
    assert_eq!(store.create(ObjectKind::Packs, "aa", &[&other, &half]).unwrap(), CreateOutcome::Exists);
    // The object exists, although the response was lost, and its upload no longer does: S3 and Azure report
    // that in different ways.
    for (status, code) in [("404 Not Found", "NoSuchUpload"), ("400 Bad Request", "InvalidBlockList")] {
        let mut completed = 0;
        line.proxy.set(move |request| {
            completed += usize::from(request.starts_with("POST") && request.contains("uploadId"));
            match completed {
                0 => Fate::Pass,
                1 => Fate::Lose,
                _ if request.starts_with("POST") => Fate::Say(status, code),
                _ => Fate::Pass,
            }
        });
        assert_eq!(
            store.create(ObjectKind::Packs, "cc", &[&other, &half]).unwrap(),
            CreateOutcome::New,
            "{code}"
        );
        store.remove(ObjectKind::Packs, "cc").unwrap();
    }
    // Of one that never completed, neither reports that.
    line.proxy.set(|request| {
        if request.starts_with("POST") && request.contains("uploadId") {
            Fate::Say("404 Not Found", "NoSuchUpload")
        } else {
            Fate::Pass
        }
    });
    store.create(ObjectKind::Packs, "cc", &[&other, &half]).unwrap_err();
    // An upload that is given up leaves nothing, and removes what it has sent.
    line.proxy.set(|request| {
        if request.contains("partNumber=3") { Fate::Say("403 Forbidden", "AccessDenied") } else { Fate::Pass }
    });
    line.proxy.seen();
    store.create(ObjectKind::Packs, "bb", &[&half, &other]).unwrap_err();
    assert!(line.proxy.seen().iter().any(|request| request.starts_with("DELETE")));
    assert_eq!(store.list(ObjectKind::Packs).unwrap().len(), 1);
}
