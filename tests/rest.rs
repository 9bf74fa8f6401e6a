//! Repositories behind servers of restic's REST protocol.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use support::Outcome;
use support::Random;
use support::Sandbox;
use support::finish;
use support::servers::Server;

struct Far {
    sandbox: Sandbox,
    server: Server,
}

impl Far {
    fn new(more: &[&str]) -> Option<Self> {
        let server = Server::rclone_rest(false, more)?;
        let sandbox = Sandbox::bare();
        sandbox.write(&[("a", "hello"), ("d/b", "deep")]);
        fs::write(sandbox.path("src/big"), Random::new(1).bytes(3_000_000)).unwrap();
        Some(Self { sandbox, server })
    }

    fn url(&self) -> String {
        format!("rest:{}/me/repo/", self.server.url())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.bin();
        command.args(["-r", &self.url()]).args(args);
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
fn every_verb_works_on_a_rest_server() {
    let Some(far) = Far::new(&[]) else { return };
    far.snap(&["snapshots"]).expect(10);
    far.snap(&["init"]).expect(0);
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
    // Stricter servers take no other names.
    for path in support::files_below(&far.server.folder()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", path.display());
    }
}

#[test]
fn an_append_only_server_takes_backups_and_lets_nothing_go() {
    let Some(far) = Far::new(&["--append-only"]) else { return };
    far.snap(&["init"]).expect(0);
    far.snap(&["backup", "src"]).expect(0);
    far.sandbox.write(&[("a", "changed")]);
    far.snap(&["backup", "src"]).expect(0);
    far.assert_restores();
    far.snap(&["check", "--read-data"]).expect(0);
    let sessions = || support::files_below(&far.server.folder().join("me/repo/locks"));
    assert!(sessions().is_empty(), "what has ended is gone: {:?}", sessions());
    let said = far.snap(&["forget", "latest~1"]).expect(1).stderr;
    assert!(said.contains("the server answered 403"), "{said}");
    assert_eq!(far.snap(&["snapshots", "--json"]).expect(0).json().as_array().unwrap().len(), 2);
    far.assert_restores();
}

#[test]
fn a_wrong_login_is_said_and_no_password_is_shown() {
    let Some(far) = Far::new(&["--user", "me", "--pass", "very secret"]) else { return };
    let said = far.snap(&["snapshots"]).expect(1).stderr;
    assert!(said.contains("401") && said.contains("SNAP_REST_USERNAME"), "{said}");
    let mut command = far.command(&["init"]);
    command.env("SNAP_REST_USERNAME", "me").env("SNAP_REST_PASSWORD", "very secret");
    finish(command, b"").expect(0);
    let mut command = far.sandbox.bin();
    let place = far.url().replace("://", "://me:very%20secret@");
    command.args(["-r", &place, "backup", "src", "-v"]);
    let shown = finish(command, b"").expect(0).all();
    assert!(!shown.contains("secret"), "{shown}");
    let records = support::files_below(&far.sandbox.path("state"));
    assert!(records.iter().all(|path| !String::from_utf8_lossy(&fs::read(path).unwrap()).contains("secret")));
    let mut command = far.sandbox.bin();
    command.args(["-r", "rest:ftp://me:very-secret@host/x", "snapshots"]);
    let said = finish(command, b"").expect(2).stderr;
    assert!(said.contains("is no place") && !said.contains("secret"), "{said}");
}
