//! Failures under a running server: an unplugged disk, and damage in the middle of a download.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::Serving;
use crate::support::rot::flip;
use crate::support::{Random, Sandbox};

/// An unplugged disk gives an empty listing, which is not a repository without snapshots.
#[test]
fn unplugged_repository_is_not_shown_as_empty() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    assert!(serving.page("/snapshots").contains(&id[..8]));
    let (repo, away) = (sandbox.path("repo"), sandbox.path("away"));
    fs::rename(&repo, &away).unwrap();
    // The mount point may exist or not.
    for is_left in [false, true] {
        if is_left {
            fs::create_dir(&repo).unwrap();
        }
        for path in ["/".to_owned(), "/snapshots".into(), format!("/s/{id}"), format!("/zip/{id}")] {
            let answer = serving.get(&path);
            assert!(
                answer.status == 503 && answer.text().contains("is its disk connected?"),
                "{}",
                answer.text()
            );
        }
    }
    assert_eq!(
        serving.get("/").header("refresh"),
        Some("60;url=/?auto=on"),
        "the overview comes back by itself"
    );
    assert_eq!(fs::read_dir(&repo).unwrap().count(), 0, "nothing is written in its place");
    fs::remove_dir(&repo).unwrap();
    fs::rename(&away, &repo).unwrap();
    assert!(serving.page("/snapshots").contains(&id[..8]));
}

/// An unpacking program, and a browser, must see that something is missing.
#[test]
fn damaged_archive_download_is_aborted() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("z", "2")]);
    fs::write(sandbox.src().join("long"), Random::new(1).bytes(3_000_000)).unwrap();
    let id = sandbox.backup(&[]);
    let packs = sandbox.objects("packs");
    flip(packs.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap());
    let serving = Serving::start(&sandbox, &[]);
    for kind in ["zip", "tar"] {
        let mut stream = TcpStream::connect(&serving.address).unwrap();
        let request = format!(
            "GET /{kind}/{id}/src HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n",
            serving.key
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // The connection may be reset.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{kind}");
        assert!(!answer.ends_with(b"0\r\n\r\n"), "{kind}: the last piece of a whole body");
        let has_directory = answer.windows(4).any(|four| four == b"PK\x05\x06");
        assert!(!has_directory, "{kind}: the end of an archive");
    }
}
