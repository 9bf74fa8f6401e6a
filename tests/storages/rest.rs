//! Repositories behind servers of restic's REST protocol.
#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::far::Far;
use crate::support::finish;
use crate::support::servers::Server;

fn far(server: &Server) -> Far {
    Far::new(|_| (format!("rest:{}/me/repo/", server.url()), Vec::new()))
}

#[test]
fn every_verb_works_on_a_rest_server() {
    let Some(server) = Server::rclone_rest(false, &[]) else { return };
    let far = far(&server);
    far.bears_every_verb(&[]);
    // Stricter servers accept no other names.
    for path in crate::support::files_below(&server.folder()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", path.display());
    }
}

#[test]
fn copies_go_to_a_rest_server_and_come_from_there() {
    let Some(server) = Server::rclone_rest(false, &[]) else { return };
    far(&server).bears_copies();
}

#[test]
fn every_verb_works_on_rest_server_with_parity_and_so_do_copies() {
    for init in [&[][..], &["--parity", "20%"]] {
        let Some(server) = Server::rest_server(&["--no-verify-upload"]) else { return };
        far(&server).bears_every_verb(init);
    }
    let Some(server) = Server::rest_server(&["--no-verify-upload"]) else { return };
    far(&server).bears_copies();
}

/// The server compares the data with a hash in the name: this is reported before anything is written.
#[test]
fn rest_server_that_verifies_uploads_is_refused_and_empty() {
    let Some(server) = Server::rest_server(&[]) else { return };
    let far = far(&server);
    let said = far.snap(&["init"]).expect(1).stderr;
    assert!(said.contains("--no-verify-upload"), "{said}");
    assert_eq!(crate::support::files_below(&server.folder()), [] as [std::path::PathBuf; 0]);
}

#[test]
fn parity_goes_to_a_rest_server_too() {
    let Some(server) = Server::rclone_rest(false, &[]) else { return };
    far(&server).bears_every_verb(&["--parity", "20%"]);
    assert!(!crate::support::files_below(&server.folder().join("me/repo/index")).is_empty());
}

#[test]
fn append_only_server_takes_backups_and_deletes_nothing() {
    let Some(server) = Server::rclone_rest(false, &["--append-only"]) else { return };
    let far = far(&server);
    far.snap(&["init"]).expect(0);
    far.snap(&["backup", "src"]).expect(0);
    far.sandbox.write(&[("a", "changed")]);
    far.snap(&["backup", "src"]).expect(0);
    far.assert_restores();
    far.snap(&["check", "-v", "--read-data"]).expect(0);
    let sessions = || crate::support::files_below(&server.folder().join("me/repo/locks"));
    assert!(sessions().is_empty(), "what has ended is gone: {:?}", sessions());
    let said = far.snap(&["forget", "latest~1"]).expect(1).stderr;
    assert!(said.contains("the server answered 403"), "{said}");
    assert_eq!(far.snap(&["snapshots", "--json"]).expect(0).json().as_array().unwrap().len(), 2);
    far.assert_restores();
}

#[test]
fn wrong_login_is_reported_without_the_password() {
    let Some(server) = Server::rclone_rest(false, &["--user", "me", "--pass", "very secret"]) else { return };
    let far = far(&server);
    let said = far.snap(&["snapshots"]).expect(1).stderr;
    assert!(said.contains("401") && said.contains("SNAP_REST_USERNAME"), "{said}");
    let mut command = far.command(&["init"]);
    command.env("SNAP_REST_USERNAME", "me").env("SNAP_REST_PASSWORD", "very secret");
    finish(command, b"").expect(0);
    let mut command = far.sandbox.bin();
    let place = far.url.replace("://", "://me:very%20secret@");
    command.args(["-r", &place, "backup", "src", "-v"]);
    let shown = finish(command, b"").expect(0).all();
    assert!(!shown.contains("secret"), "{shown}");
    let records = crate::support::files_below(&far.sandbox.state());
    assert!(records.iter().all(|path| !String::from_utf8_lossy(&fs::read(path).unwrap()).contains("secret")));
    let mut command = far.sandbox.bin();
    command.args(["-r", "rest:ftp://me:very-secret@host/x", "snapshots"]);
    let said = finish(command, b"").expect(2).stderr;
    assert!(said.contains("is not a repository location") && !said.contains("secret"), "{said}");
}
