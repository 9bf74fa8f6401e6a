//! A repository on another machine: a real OpenSSH server on two pipes, broken connections, and hosts without
//! a server.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::support::far::Far;
use crate::support::sftp::Sshd;
use crate::support::{Random, finish, skipped};

/// A sandbox, and a server on two pipes in place of ssh.
fn far() -> Option<Far> {
    let ssh = crate::support::sftp::server()?;
    Some(Far::new(|sandbox| {
        let variables = [("SNAP_SSH_COMMAND", ssh.as_str()), ("PATH", "/usr/bin:/bin")];
        let url = format!("sftp://me@nowhere{}", sandbox.path("far/repo").display());
        (url, variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
    }))
}

/// A sandbox, and ssh itself.
fn behind(server: &Sshd) -> Far {
    Far::new(|sandbox| {
        let variables = [("SNAP_SSH_COMMAND", server.command()), ("PATH", "/usr/bin:/bin".to_owned())];
        let url = format!("sftp://root@127.0.0.1:{}{}", server.port, sandbox.path("far/repo").display());
        (url, variables.map(|(name, value)| (name.to_owned(), value)).to_vec())
    })
}

/// The script that replaces ssh.
fn ssh(far: &mut Far) -> &mut String {
    &mut far.variables[0].1
}

/// Writes a script there.
fn script(far: &mut Far, text: &str) {
    let path = far.sandbox.path("ssh");
    let server = std::mem::take(ssh(far));
    fs::write(&path, format!("#!/bin/sh\nserver() {{ {server}; }}\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().clone_into(ssh(far));
}

#[test]
fn every_verb_works_on_another_machine() {
    let Some(far) = far() else { return };
    far.bears_every_verb(&["--parity", "20%"]);
    // It is an ordinary repository: it can be read from the disk of that machine without SFTP.
    let mut there = far.sandbox.bin();
    there.args(["-r", "far/repo", "check", "--read-data"]);
    finish(there, b"").expect(0);
    let mode = fs::metadata(far.sandbox.path("far/repo/config/1")).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else may read it");
}

#[test]
fn copies_go_to_another_machine_and_come_from_there() {
    let Some(far) = far() else { return };
    far.bears_copies();
}

#[test]
fn two_machines_back_up_while_a_third_collects() {
    let Some(far) = far() else { return };
    far.bears_two_machines_while_a_third_collects(2_000_000);
}

#[test]
fn broken_connection_is_reopened_and_the_run_continues() {
    let Some(mut far) = far() else { return };
    far.snap(&["init"]).expect(0);
    // Each of the first three connections carries some requests and then breaks; the fourth stays.
    script(
        &mut far,
        "n=$(cat lines 2>/dev/null || echo 0); echo $((n + 1)) > lines\n\
         case $n in 0) part=700 ;; 1) part=500000 ;; 2) part=2000000 ;; *) server; exit ;; esac\n\
         stdbuf -o0 head -c $part | server",
    );
    far.snap(&["backup", "src"]).expect(0);
    let lines: u32 = fs::read_to_string(far.sandbox.path("lines")).unwrap().trim().parse().unwrap();
    assert!(lines >= 4, "only {lines} lines were made");
    far.snap(&["check", "-v", "--read-data"]).expect(0);
    far.snap(&["restore", "latest", "--target", "out/x"]).expect(0);
    crate::support::assert_same(&far.sandbox.src(), &far.sandbox.path("out/x/src"));
    let names = crate::support::files_below(&far.sandbox.path("far/repo/snapshots"));
    let whole = names.iter().filter(|path| !path.to_string_lossy().contains("/.tmp-"));
    assert_eq!(whole.count(), 1, "one run made more than one snapshot: {names:?}");
}

#[test]
fn unknown_server_is_reported_at_once() {
    let Some(mut far) = far() else { return };
    let server = ssh(&mut far).clone();
    for (command, words) in [
        ("sh -c 'exit 255'", "ssh exited with code 255"),
        ("sh -c 'echo Welcome to this machine'", "the response is not from an SFTP server"),
        ("/nowhere/ssh", "ssh exited with code 127"),
    ] {
        command.clone_into(ssh(&mut far));
        let outcome = far.snap(&["snapshots"]).expect(1);
        assert!(
            outcome.stderr.contains(words) && outcome.stderr.contains("sftp://me@nowhere"),
            "{}",
            outcome.stderr
        );
    }
    *ssh(&mut far) = server;
    far.snap(&["snapshots"]).expect(10);
    for place in ["sftp://host", "sftp://-oProxyCommand=x/a", "sftp://me:secret@host/a", "ftp://host/a"] {
        let mut command = far.sandbox.bin();
        command.args(["-r", place, "snapshots"]);
        let outcome = finish(command, b"").expect(2);
        let words =
            if place.starts_with("sftp") { "is not a repository location" } else { "ftp: is not supported" };
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
}

#[test]
fn full_remote_disk_is_21_and_denied_folders_are_named() {
    let Some(far) = far() else { return };
    let folder = far.sandbox.path("far");
    fs::create_dir(&folder).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&folder).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skipped("only root can mount a small disk");
    }
    far.snap(&["init"]).expect(0);
    let outcome = far.snap(&["backup", "src"]);
    let status = Command::new("umount").arg("-l").arg(&folder).status().unwrap();
    assert!(status.success());
    let outcome = outcome.expect(21);
    assert!(outcome.stderr.contains("/packs/"), "{}", outcome.stderr);
}

/// An interrupt from the keyboard goes to all processes of the terminal, and the connection is needed to save
/// what has been read.
#[test]
fn interrupt_saves_a_part_over_an_interrupted_connection() {
    let Some(mut far) = far() else { return };
    far.snap(&["init"]).expect(0);
    script(&mut far, "touch begun; server");
    for number in 0..40 {
        fs::write(far.sandbox.path(&format!("src/{number}")), Random::new(number).bytes(2_000_000)).unwrap();
    }
    fs::remove_file(far.sandbox.path("begun")).ok();
    let mut command = far.command(&["backup", "src"]);
    let child = command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let packs = far.sandbox.path("far/repo/packs");
    let begun = std::time::Instant::now();
    while crate::support::files_below(&packs).is_empty() && begun.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // It may have been done before it was interrupted.
    assert!(matches!(output.status.code(), Some(0 | 130)), "{said}");
    assert_eq!(far.snap(&["snapshots", "--json"]).expect(0).json().as_array().unwrap().len(), 1, "{said}");
    far.snap(&["check", "-v", "--read-data"]).expect(0);
}

/// Each request has the latency of a distant server.
#[test]
fn an_unchanged_backup_makes_few_requests() {
    let Some(mut far) = far() else { return };
    // More recent files are read again on purpose.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    far.snap(&["init"]).expect(0);
    far.snap(&["backup", "src"]).expect(0);
    let server = ssh(&mut far).clone();
    script(&mut far, "tee requests | server");
    far.snap(&["backup", "src"]).expect(0);
    let kinds = requests(&fs::read(far.sandbox.path("requests")).unwrap());
    assert!(kinds.len() <= 60, "{} requests: {kinds:?}", kinds.len());
    assert!(!kinds.contains(&6), "something was written");
    *ssh(&mut far) = server;
}

/// The types of the packets that were sent to a server.
fn requests(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        kinds.push(rest[0]);
        bytes = &rest[u32::from_be_bytes(*len) as usize..];
    }
    kinds
}

/// Keys, ports and encryption are ssh's own.
#[test]
fn a_repository_behind_ssh_itself_is_written_and_read() {
    let Some(server) = Sshd::start() else { return };
    let mut far = behind(&server);
    far.snap(&["backup", "--init", "src"]).expect(0);
    far.snap(&["check", "-v", "--read-data"]).expect(0);
    far.assert_restores();
    let nobody = server.command().replace("/user ", "/host ");
    *ssh(&mut far) = nobody;
    let refused = far.snap(&["snapshots"]).expect(1);
    assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
}

/// What docs/remote.md puts into `authorized_keys`.
#[test]
fn an_account_that_may_remove_nothing_takes_backups() {
    let words =
        "restrict,command=\"internal-sftp -P remove,rmdir,symlink,hardlink,setstat,fsetstat,lsetstat\"";
    let (Some(server), Some(free)) = (Sshd::with(words), crate::support::sftp::server()) else { return };
    let mut far = behind(&server);
    far.snap(&["init"]).expect(0);
    far.snap(&["backup", "src"]).expect(0);
    far.sandbox.write(&[("a", "changed")]);
    far.snap(&["backup", "src"]).expect(0);
    far.snap(&["check", "-v", "--read-data"]).expect(0);
    far.assert_restores();
    far.snap(&["forget", "latest~1"]).expect(1);
    let manifests = crate::support::files_below(&far.sandbox.path("far/repo/snapshots"));
    assert_eq!(manifests.len(), 2, "{manifests:?}");
    // A client that may remove cleans up, and no leftovers make it wait.
    *ssh(&mut far) = free;
    let collected = far.snap(&["gc", "--empty-trash", "--max-unused", "0"]).expect(0).all();
    assert!(!collected.contains("later"), "{collected}");
    let mut sessions = crate::support::files_below(&far.sandbox.path("far/repo/sessions"));
    // Temporary files count as leftovers after two days.
    sessions.retain(|path| !path.to_string_lossy().contains("/.tmp-"));
    assert!(sessions.is_empty(), "{sessions:?}");
    far.assert_restores();
}
