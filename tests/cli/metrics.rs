//! `snap daemon --metrics`: a scraper gets what `snap status` writes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use crate::support::{Sandbox, finish};

struct Daemon {
    child: Child,
    address: String,
}

/// A daemon with one set whose times are far away, and a port chosen by the system.
fn daemon(sandbox: &Sandbox) -> Daemon {
    let config = "[repositories.main]\nlocation = \"repo\"\n[sets.files]\nrepository = \"main\"\n\
        sources = [\"src\"]\nmax-age = \"26h\"\nschedule = { full = \"0 0 29 2 *\", catch-up = false }\n";
    fs::write(sandbox.path("snap.toml"), config).unwrap();
    let mut command = sandbox.bin();
    let mut child = command.args(["daemon", "--metrics", "0"]).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut told = lines.filter_map(|line| Some(line.split_once("http://")?.1.split('/').next()?.to_owned()));
    let address = told.next().unwrap();
    // Its pipe must stay open as long as it may write to it.
    std::thread::spawn(move || told.for_each(drop));
    Daemon { child, address }
}

impl Daemon {
    /// Returns the response to these bytes.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // It may close before everything is sent.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        // It may close while there is still something to read for it.
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_scraper_gets_what_status_writes_and_nobody_anything_else() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let daemon = daemon(&sandbox);
    assert!(daemon.address.starts_with("127.0.0.1:"), "only this machine is answered: {}", daemon.address);
    let get = |path: &str| daemon.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let before = get("/metrics");
    let (head, body) = before.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("set=\"files\"} 1\n") && body.contains("snap_backup_overdue{"), "{body}");
    assert!(!body.contains(crate::support::PASSWORD));

    let run = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.args(args);
        finish(command, b"").expect(0)
    };
    run(&["backup"]);
    let after = get("/metrics");
    let file = sandbox.path("snap.prom");
    run(&["status", "--prometheus", file.to_str().unwrap()]);
    let written = fs::read_to_string(file).unwrap();
    let lines = |text: &str| {
        let steady = |line: &&str| !line.starts_with("snap_status_timestamp") && !line.contains("disk_free");
        text.lines().filter(steady).map(str::to_owned).collect::<Vec<_>>()
    };
    let body = after.split_once("\r\n\r\n").unwrap().1;
    // With the key, status knows the time in the manifest. The daemon needs no key for a scrape.
    let success = |line: &String| !line.starts_with("snap_backup_last_success");
    let same = |text: &str| lines(text).into_iter().filter(success).collect::<Vec<_>>();
    assert_eq!(same(body), same(&written));
    assert!(body.contains("kind=\"full\"} "), "{body}");

    // A web page whose own host name resolves to this address.
    let rebound = daemon.ask("GET /metrics HTTP/1.1\r\nHost: page.example\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 421 ") && !rebound.contains("snap_"), "{rebound}");
    assert!(get("/").starts_with("HTTP/1.1 404 "));
    assert!(daemon.ask("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    let head = daemon.ask("HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    // A client that sends too much is disconnected, and the next one gets a response.
    daemon.ask(&"x".repeat(100_000));
    assert!(get("/metrics").starts_with("HTTP/1.1 200 "));
}
