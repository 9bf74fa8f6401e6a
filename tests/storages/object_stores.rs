//! Repositories on object stores, with real servers on this machine.
#![cfg(feature = "cloud")]
#![allow(clippy::unwrap_used)]

use crate::support::far::Far;
use crate::support::servers::Server;
use crate::support::{Sandbox, finish};

fn far(server: &Server) -> Far {
    Far::new(|_| ("s3://bucket/deep/repo".into(), server.variables()))
}

#[test]
fn every_verb_works_on_an_object_store() {
    let Some(server) = Server::moto() else { return };
    far(&server).bears_every_verb(&["--parity", "20%"]);
}

#[test]
fn copies_go_to_an_object_store_and_come_from_there() {
    let Some(server) = Server::moto() else { return };
    far(&server).bears_copies();
}

#[test]
fn two_machines_back_up_to_one_bucket_while_a_third_collects() {
    let Some(server) = Server::moto() else { return };
    far(&server).bears_two_machines_while_a_third_collects(40_000_000);
}

#[test]
fn a_server_may_stand_in_the_location() {
    let Some(server) = Server::moto() else { return };
    let keys = server.variables().into_iter().filter(|(name, _)| name != "AWS_ENDPOINT_URL").collect();
    let far = Far::new(|_| (format!("s3:{}/bucket/deep/repo", server.url()), keys));
    far.snap(&["init"]).expect(0);
    far.snap(&["backup", "src"]).expect(0);
    far.assert_restores();
    // It precedes the variable, and programs that call restic write it in this way.
    let mut command = far.command(&["check"]);
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    finish(command, b"").expect(0);
    let mut restic = far.sandbox.bin();
    restic.args(["restic", "-r", &far.url, "snapshots"]).envs(far.variables.clone());
    restic.env("RESTIC_PASSWORD", crate::support::PASSWORD);
    finish(restic, b"").expect(0);
}

#[test]
fn overwriting_storage_is_reported_and_swept_only_alone() {
    let Some(server) = Server::rclone_s3(false) else { return };
    let far = far(&server);
    let made = far.snap(&["init"]).expect(0);
    assert!(made.stderr.contains("overwrites existing objects"), "{}", made.stderr);
    far.snap(&["backup", "src"]).expect(0);
    far.snap(&["forget", "latest", "--allow-remove-all"]).expect(0);
    // A session is or was running; which of both cannot be known.
    let lingers = "/bucket/deep/repo/sessions/0123456789abcdef0123456789abcdef";
    server.request("PUT", lingers);
    let waits = far.snap(&["gc", "--empty-trash", "--max-unused", "0"]);
    assert!(
        waits.stderr.contains("garbage collections delete nothing there while other processes use it"),
        "{}",
        waits.all()
    );
    server.request("DELETE", lingers);
    far.snap(&["gc", "--empty-trash", "--max-unused", "0"]).expect(0);
    let left = crate::support::files_below(&server.folder().join("bucket/deep/repo/packs"));
    assert!(left.is_empty(), "{left:?}");
    far.snap(&["backup", "src"]).expect(0);
    far.snap(&["check", "-v", "--read-data"]).expect(0);
    far.assert_restores();
    // It is an ordinary repository: it can be read from the disk of that machine without the server.
    let mut there = far.sandbox.bin();
    there.arg("-r").arg(server.folder().join("bucket/deep/repo")).args(["check", "--read-data"]);
    finish(there, b"").expect(0);
}

#[test]
fn missing_bucket_is_reported() {
    let Some(server) = Server::moto() else { return };
    let mut far = far(&server);
    far.url = "s3://nowhere/repo".into();
    for args in [&["snapshots"][..], &["backup", "src"]] {
        let said = far.snap(args).expect(10).stderr;
        assert!(said.contains("s3://nowhere/repo: the bucket does not exist"), "{said}");
    }
    let said = far.snap(&["init"]).expect(1).stderr;
    assert!(
        said.contains("cannot create a repository at s3://nowhere/repo: the bucket does not exist"),
        "{said}"
    );
}

#[test]
fn unknown_server_fails_at_once_and_a_bad_url_is_an_error() {
    let sandbox = Sandbox::bare();
    for (place, code, words) in [
        ("s3://bucket/repo", 1, "cannot reach s3://bucket/repo: "),
        ("s3:///repo", 2, "the bucket is missing"),
        ("s3://b/../x", 2, "is not a repository location"),
        ("az://c/x", 2, "cannot reach az://c/x"),
    ] {
        let mut command = sandbox.bin();
        command
            .args(["-r", place, "snapshots"])
            .envs(crate::support::servers::s3_variables("http://127.0.0.1:1"));
        let said = finish(command, b"").expect(code).stderr;
        assert!(said.contains(words), "{said}");
    }
}
