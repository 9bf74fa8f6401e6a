//! Webhooks, pings, mails and commands: what they receive, and that none of them can harm a backup.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{self, Receiver};

use serde_json::Value;

use super::{Daemon, REPO, command, ended, finish, let_pass, place, run};

/// A receiver that accepts requests and responds as configured.
struct Listener {
    port: u16,
    requests: Receiver<(String, String, String)>,
}

fn receive(answers: &[u16]) -> Listener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, requests) = mpsc::channel();
    let mut answers: VecDeque<u16> = answers.iter().copied().collect();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut first, mut len, mut kind) = (String::new(), 0, String::new());
            stream.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let lower = line.trim().to_ascii_lowercase();
                if lower.is_empty() {
                    break;
                }
                if let Some(value) = lower.strip_prefix("content-length:") {
                    len = value.trim().parse().unwrap();
                }
                if let Some(value) = lower.strip_prefix("content-type:") {
                    kind = value.trim().to_owned();
                }
            }
            let mut body = vec![0; len];
            stream.read_exact(&mut body).unwrap();
            // It is recorded before the client knows that the request is done.
            let first = first.trim().trim_end_matches(" HTTP/1.1").to_owned();
            if send.send((first, kind, String::from_utf8(body).unwrap())).is_err() {
                return;
            }
            let code = answers.pop_front().unwrap_or(200);
            let answer = format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            // A client that is gone has read enough.
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    Listener { port, requests }
}

impl Listener {
    fn all(&self) -> Vec<(String, String, String)> {
        self.requests.try_iter().collect()
    }

    fn lines(&self) -> Vec<String> {
        self.all().into_iter().map(|(line, ..)| line).collect()
    }
}

#[test]
fn receivers_get_exactly_the_documented_requests() {
    let (hook, ping) = (receive(&[]), receive(&[]));
    let sandbox = place(&format!(
        "{REPO}[sets.docs]\nsources = [\"docs\"]\nkind = \"full\"\nkeep.last = 1\n[sets.docs.notify]\n\
         webhook = \"http://127.0.0.1:{}/hook?key=token\"\nping = \"http://127.0.0.1:{}/uuid\"\n\
         command = \"echo $SNAP_EVENT $SNAP_SET $SNAP_JOB $SNAP_EXIT_CODE >> told\"\n\
         mail = [\"root\", \"me@example.org\"]\nsendmail = \"sendmail\"\n",
        hook.port, ping.port
    ));
    fs::write(sandbox.path("sendmail"), "#!/bin/sh\necho \"$@\" >> mails\ncat >> mails\n").unwrap();
    fs::set_permissions(sandbox.path("sendmail"), fs::Permissions::from_mode(0o755)).unwrap();
    let told = || fs::read_to_string(sandbox.path("told")).unwrap_or_default();

    // Success is only sent to the ping.
    run(&sandbox, &["backup", "--set", "docs"]).expect(0);
    assert_eq!(
        (ping.lines(), hook.lines()),
        (vec!["GET /uuid/start".to_owned(), "GET /uuid".to_owned()], vec![])
    );
    assert_eq!(told(), "");

    // Failure is sent to all receivers.
    fs::rename(sandbox.path("docs"), sandbox.path("away")).unwrap();
    run(&sandbox, &["backup", "--set", "docs"]).expect(1);
    let pings = ping.all();
    assert_eq!(pings[0].0, "GET /uuid/start");
    assert_eq!((pings[1].0.as_str(), pings[1].1.as_str()), ("POST /uuid/fail", "text/plain; charset=utf-8"));
    assert!(pings[1].2.contains("nothing was backed up") && pings.len() == 2, "{pings:?}");
    let posts = hook.all();
    assert_eq!(
        (posts.len(), posts[0].0.as_str(), posts[0].1.as_str()),
        (1, "POST /hook?key=token", "application/json")
    );
    let body: Value = serde_json::from_str(&posts[0].2).unwrap();
    let mut keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let documented = [
        "attempt",
        "error",
        "event",
        "exit_code",
        "host",
        "job",
        "kind",
        "program",
        "repository",
        "seconds",
        "set",
        "snapshot",
        "started",
        "status",
    ];
    assert_eq!(keys, documented);
    for (key, value) in [
        ("event", "failure"),
        ("set", "docs"),
        ("job", "backup"),
        ("kind", "full"),
        ("repository", "main"),
        ("status", "failure"),
    ] {
        assert_eq!(body[key], value, "{body}");
    }
    assert_eq!((&body["exit_code"], &body["snapshot"]), (&Value::from(1), &Value::Null));
    assert!(body["error"].as_str().unwrap().contains("nothing was backed up"));
    assert_eq!(told(), "failure docs backup 1\n");
    let mails = fs::read_to_string(sandbox.path("mails")).unwrap();
    assert!(
        mails.starts_with("-i -t\nTo: root, me@example.org\nSubject: [snap] failure: backup of docs on "),
        "{mails}"
    );
    assert!(
        mails.contains("\n\nevent:      failure\n") && mails.contains("nothing was backed up"),
        "{mails}"
    );

    // Recovery is sent once.
    fs::rename(sandbox.path("away"), sandbox.path("docs")).unwrap();
    for _ in 0..2 {
        run(&sandbox, &["backup", "--set", "docs"]).expect(0);
    }
    assert_eq!(ping.lines(), ["GET /uuid/start", "GET /uuid", "GET /uuid/start", "GET /uuid"]);
    let events: Vec<Value> = hook
        .all()
        .iter()
        .map(|(.., body)| serde_json::from_str::<Value>(body).unwrap()["event"].clone())
        .collect();
    assert_eq!(events, ["recovery"]);
    assert_eq!(told(), "failure docs backup 1\nrecovery docs backup 0\n");

    // A successful cleanup sends nothing about backups. A dry run sends nothing at all.
    run(&sandbox, &["cleanup", "--set", "docs"]).expect(0);
    run(&sandbox, &["backup", "--set", "docs", "-n"]).expect(0);
    assert_eq!((ping.lines(), hook.lines()), (vec![], vec![]));
    let shown = run(&sandbox, &["config", "test-notify"]).expect(0).text();
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert!(told().ends_with("test docs backup 0\n"));
    assert_eq!((ping.lines(), hook.lines().len()), (vec!["GET /uuid".to_owned()], 1));
    assert!(!shown.contains("token") && !shown.contains("uuid"), "{shown}");
}

/// Any run at this location reports it, because its user may never look at a terminal.
#[test]
fn receivers_are_notified_of_a_changed_repository() {
    let hook = receive(&[]);
    let sandbox = place(&format!(
        "{REPO}[sets.docs]\nsources = [\"docs\"]\nkeep.last = 9\nnotify.webhook = \"http://127.0.0.1:{}/\"\n",
        hook.port
    ));
    let told = |event: &str, what: &str| {
        let bodies: Vec<Value> =
            hook.all().iter().map(|(.., body)| serde_json::from_str(body).unwrap()).collect();
        let [body] = bodies.as_slice() else { panic!("{bodies:?}") };
        assert_eq!(body["event"], event, "{body}");
        assert!(body["error"].as_str().unwrap().contains(what), "{body}");
    };
    run(&sandbox, &["backup", "--set", "docs"]).expect(0);
    assert_eq!(hook.all(), []);
    // Its newest snapshot was deleted.
    fs::rename(sandbox.path("store/snapshots"), sandbox.path("away")).unwrap();
    run(&sandbox, &["backup", "--set", "docs"]).expect(3);
    told("problems", "was made by this machine and is gone");
    run(&sandbox, &["cleanup", "--set", "docs"]).expect(20);
    told("failure", "was made by this machine and is gone");
    // The location is empty: `init = true` creates no repository there.
    fs::rename(sandbox.path("store"), sandbox.path("first")).unwrap();
    run(&sandbox, &["backup", "--set", "docs"]).expect(20);
    told("failure", "there is none now");
    // Another repository.
    let mut elsewhere = command(&sandbox, &["init", "-r", "main"]);
    elsewhere.env("SNAP_STATE_DIR", sandbox.path("another"));
    finish(elsewhere, b"").expect(0);
    run(&sandbox, &["backup", "--set", "docs"]).expect(20);
    told("failure", "this machine last found repository");
    run(&sandbox, &["repair", "known", "-r", "main"]).expect(0);
    run(&sandbox, &["backup", "--set", "docs"]).expect(0);
    assert_eq!(hook.all()[0].2.matches("\"recovery\"").count(), 1);
}

/// Names can attack a reader of mail in the same way as a terminal.
#[test]
fn no_control_character_of_a_name_reaches_a_mail_or_a_ping() {
    let ping = receive(&[]);
    let sandbox = place(&format!(
        "{REPO}[sets.docs]\nsources = [\"no\\u001b[31m\\u202esuch\\u0085\\u0007\"]\n[sets.docs.notify]\n\
         ping = \"http://127.0.0.1:{}/\"\nmail = [\"root\"]\nsendmail = \"sendmail\"\n",
        ping.port
    ));
    fs::write(sandbox.path("sendmail"), "#!/bin/sh\ncat >> mails\n").unwrap();
    fs::set_permissions(sandbox.path("sendmail"), fs::Permissions::from_mode(0o755)).unwrap();
    run(&sandbox, &["backup", "--set", "docs"]).expect(1);
    let mail = fs::read_to_string(sandbox.path("mails")).unwrap();
    let pinged = ping.all().pop().unwrap().2;
    for text in [mail, pinged] {
        assert!(text.contains("such"), "{text}");
        let raw = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(raw), "{text:?}");
    }
}

#[test]
fn failing_receiver_fails_no_run() {
    // One that accepts connections and never responds, one that responds with 500, one that does not exist.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let angry = receive(&[500; 9]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (port, why) in [(silent.local_addr().unwrap().port(), "in time"), (angry.port, "500"), (gone, "")] {
        let sandbox = place(&format!(
            "{REPO}[sets.docs]\nsources = [\"docs\"]\n[sets.docs.notify]\nwebhook = \"http://127.0.0.1:{port}/token\"\n\
             ping = \"http://127.0.0.1:{port}/token\"\ntimeout = \"1s\"\non = \"success\"\n\
             command = \"exit 3\"\nmail = \"root\"\nsendmail = \"/nonexistent/sendmail\"\n"
        ));
        let outcome = run(&sandbox, &["backup"]).expect(0);
        assert!(outcome.text().contains("saved"), "{}", outcome.text());
        for receiver in ["webhook", "ping", "command", "mail"] {
            let line = format!("docs: the notification by {receiver} failed: ");
            assert!(outcome.stderr.contains(&line), "{receiver}: {}", outcome.stderr);
        }
        assert!(outcome.stderr.contains(why) && !outcome.stderr.contains("token"), "{}", outcome.stderr);
        run(&sandbox, &["config", "test-notify"]).expect(1);
    }
}

#[test]
fn retried_failure_is_notified_when_it_is_final() {
    let hook = receive(&[]);
    let sandbox = place(&format!(
        "{REPO}[sets.docs]\nsources = \"docs\"\nhooks.before = \"echo $SNAP_ATTEMPT of $SNAP_ATTEMPTS >> log; exit 1\"\n\
         notify.webhook = \"http://127.0.0.1:{}/\"\n\
         schedule = {{ full = \"0 0 1 1 *\", retries = 2, retry-wait = \"0s\" }}\n",
        hook.port
    ));
    run(&sandbox, &["schedule", "run"]).expect(0);
    let_pass(&sandbox, 400 * 24);
    let daemon = Daemon::start(command(&sandbox, &["daemon"]));
    let said: Vec<String> = (0..3).flat_map(|_| daemon.wait_for("docs/full: exit code 1")).collect();
    daemon.signal("-TERM");
    drop(daemon.end());
    let again = said.iter().filter(|line| line.contains("; next attempt at ")).count();
    assert_eq!(again, 2, "{said:#?}");
    assert_eq!(fs::read_to_string(sandbox.path("log")).unwrap(), "1 of 3\n2 of 3\n3 of 3\n");
    assert_eq!(hook.all().len(), 1);
    assert_eq!(ended(&sandbox).len(), 3);
}
