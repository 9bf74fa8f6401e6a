//! Repositories on object stores: real servers on this machine.
#![cfg(feature = "cloud")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;
use std::process::Stdio;

use support::Outcome;
use support::Random;
use support::Sandbox;
use support::finish;
use support::servers::Server;

/// A sandbox, and what leads to its repository.
struct Far {
    sandbox: Sandbox,
    url: String,
    variables: Vec<(String, String)>,
}

impl Far {
    fn new(server: &Server) -> Self {
        let sandbox = Sandbox::bare();
        sandbox.write(&[("a", "hello"), ("d/b", "deep")]);
        fs::write(sandbox.path("src/big"), Random::new(1).bytes(3_000_000)).unwrap();
        Self { sandbox, url: "s3://bucket/deep/repo".into(), variables: server.variables() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.bin();
        command.args(["-r", &self.url]).args(args).envs(self.variables.iter().cloned());
        command
    }

    fn snap(&self, args: &[&str]) -> Outcome {
        finish(self.command(args), b"")
    }

    fn assert_restores(&self) {
        let target = self.sandbox.new_target();
        self.snap(&["restore", "latest", "--target", target.to_str().unwrap()]).expect(0);
        support::assert_same(&self.sandbox.src(), &target.join("src"));
    }
}

#[test]
fn every_verb_works_on_an_object_store() {
    let Some(server) = Server::moto() else { return };
    let far = Far::new(&server);
    far.snap(&["snapshots"]).expect(10);
    far.snap(&["init"]).expect(0);
    far.snap(&["init"]).expect(1);
    far.snap(&["backup", "src"]).expect(0);
    far.sandbox.write(&[("a", "changed"), ("new", "file")]);
    far.snap(&["backup", "src"]).expect(0);
    assert!(far.snap(&["backup", "src"]).expect(0).text().contains("nothing changed"));
    far.snap(&["check", "--read-data"]).expect(0);
    assert_eq!(far.snap(&["cat", "latest~1:src/a"]).expect(0).text(), "hello");
    far.assert_restores();
    far.snap(&["tag", "latest", "--add", "kept"]).expect(0);
    far.snap(&["forget", "latest~1"]).expect(0);
    far.snap(&["undelete"]).expect(0);
    far.snap(&["gc", "--empty-trash", "--max-unused", "0"]).expect(0);
    far.snap(&["repair", "index"]).expect(0);
    far.snap(&["status"]).expect(0);
    far.snap(&["check", "--read-data"]).expect(0);
    far.assert_restores();
}

#[test]
fn two_machines_back_up_to_one_bucket_while_a_third_collects() {
    let Some(server) = Server::moto() else { return };
    let far = Far::new(&server);
    far.snap(&["init"]).expect(0);
    far.snap(&["backup", "src"]).expect(0);
    far.snap(&["forget", "latest", "--allow-remove-all"]).expect(0);
    let start = |name: &str, args: &[&str]| {
        let mut command = far.command(args);
        command.env("SNAP_CACHE_DIR", far.sandbox.path(&format!("cache-{name}")));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for round in 0..3 {
        fs::write(far.sandbox.path("src/big"), Random::new(10 + round).bytes(40_000_000)).unwrap();
        let children = [
            start("one", &["backup", "--host", "one", "src"]),
            start("two", &["backup", "--host", "two", "src"]),
            start("three", &["gc", "--empty-trash", "--max-unused", "0"]),
        ];
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    far.snap(&["check", "--read-data"]).expect(0);
    let snapshots = far.snap(&["snapshots", "--json"]).expect(0).json();
    assert_eq!(snapshots.as_array().unwrap().len(), 6);
    for snapshot in snapshots.as_array().unwrap() {
        let target = far.sandbox.new_target();
        let id = snapshot["id"].as_str().unwrap();
        far.snap(&["restore", id, "--target", target.to_str().unwrap()]).expect(0);
        fs::remove_dir_all(target).unwrap();
    }
    far.assert_restores();
}

#[test]
fn a_store_that_overwrites_is_named_and_swept_only_alone() {
    let Some(server) = Server::rclone_s3(false) else { return };
    let far = Far::new(&server);
    let made = far.snap(&["init"]).expect(0);
    assert!(made.stderr.contains("overwrites what should stand"), "{}", made.stderr);
    far.snap(&["backup", "src"]).expect(0);
    far.snap(&["forget", "latest", "--allow-remove-all"]).expect(0);
    // Somebody is at work, or was: nobody can know.
    let lingers = "/bucket/deep/repo/sessions/0123456789abcdef0123456789abcdef";
    server.request("PUT", lingers);
    let waits = far.snap(&["gc", "--empty-trash", "--max-unused", "0"]);
    assert!(
        waits.stderr.contains("nothing is deleted there while anybody else is at work"),
        "{}",
        waits.all()
    );
    server.request("DELETE", lingers);
    far.snap(&["gc", "--empty-trash", "--max-unused", "0"]).expect(0);
    let left = support::files_below(&server.folder().join("bucket/deep/repo/packs"));
    assert!(left.is_empty(), "{left:?}");
    far.snap(&["backup", "src"]).expect(0);
    far.snap(&["check", "--read-data"]).expect(0);
    far.assert_restores();
    // It is a repository as any: the disk of that machine reads it without the server.
    let mut there = far.sandbox.bin();
    there.arg("-r").arg(server.folder().join("bucket/deep/repo")).args(["check", "--read-data"]);
    finish(there, b"").expect(0);
}

#[test]
fn a_bucket_that_is_not_there_is_said() {
    let Some(server) = Server::moto() else { return };
    let mut far = Far::new(&server);
    far.url = "s3://nowhere/repo".into();
    for args in [&["snapshots"][..], &["backup", "src"]] {
        let said = far.snap(args).expect(10).stderr;
        assert!(said.contains("s3://nowhere/repo: there is no such bucket"), "{said}");
    }
    let said = far.snap(&["init"]).expect(1).stderr;
    assert!(
        said.contains("cannot make a repository at s3://nowhere/repo: there is no such bucket"),
        "{said}"
    );
}

#[test]
fn what_is_no_server_is_said_at_once_and_what_is_no_place_is_a_mistake() {
    let sandbox = Sandbox::bare();
    for (place, code, words) in [
        ("s3://bucket/repo", 1, "cannot reach s3://bucket/repo: "),
        ("s3:///repo", 2, "it names no bucket"),
        ("s3://b/../x", 2, "is no place for a repository"),
        ("az://c/x", 2, "cannot be reached"),
    ] {
        let mut command = sandbox.bin();
        command.args(["-r", place, "snapshots"]).envs(support::servers::s3_variables("http://127.0.0.1:1"));
        let said = finish(command, b"").expect(code).stderr;
        assert!(said.contains(words), "{said}");
    }
}
