//! The daemon with real processes: a schedule in seconds, hooks, receivers on loopback, and stops during a
//! job.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod gates;
mod hooks;
mod install;
mod jobs;
mod receivers;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::support::{Outcome, Sandbox, finish};
use serde_json::Value;
use snap_backup::run_log::{RunLog, RunRecord};

/// Nothing takes this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory with `snap.toml`, a password file and two trees.
fn place(file: &str) -> Sandbox {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    for (name, text) in
        [("snap.toml", file), ("password", "secret-of-the-file"), ("docs/a", "one"), ("music/song", "la")]
    {
        let path = sandbox.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::set_permissions(sandbox.path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    sandbox
}

fn command(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.bin();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("TZ", "UTC").args(args);
    command
}

fn run(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    finish(command(sandbox, args), b"")
}

const REPO: &str = "[repositories.main]\nlocation = \"store\"\npassword-file = \"password\"\ninit = true\n";

/// Returns the records of completed runs, the oldest first.
fn ended(sandbox: &Sandbox) -> Vec<RunRecord> {
    let runs = RunLog::new(sandbox.state()).read().unwrap().runs;
    runs.into_iter().filter(|run| run.end.is_some()).collect()
}

/// Makes the records look as if nothing had run for so many hours.
fn let_pass(sandbox: &Sandbox, hours: i64) {
    let mut files = fs::read_dir(sandbox.state()).unwrap().map(|entry| entry.unwrap().path());
    let memory = files.find(|path| path.extension().is_some_and(|end| end == "json")).unwrap();
    let mut content: Value = serde_json::from_slice(&fs::read(&memory).unwrap()).unwrap();
    for state in content["jobs"].as_object_mut().unwrap().values_mut() {
        let handled: jiff::Timestamp = state["handled"].as_str().unwrap().parse().unwrap();
        state["handled"] = (handled - jiff::SignedDuration::from_hours(hours)).to_string().into();
    }
    fs::write(&memory, content.to_string()).unwrap();
}

/// Polls until the condition holds.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A daemon and its output.
struct Daemon {
    child: Child,
    said: Receiver<String>,
}

impl Daemon {
    fn start(mut command: Command) -> Self {
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let (send, said) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || lines.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, said }
    }

    /// Returns all lines up to one that contains this.
    fn wait_for(&self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {part} in {lines:#?}"));
            lines.push(line);
            if lines.last().unwrap().contains(part) {
                return lines;
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Returns the exit code, and the remaining output.
    fn end(mut self) -> (Option<i32>, Vec<String>) {
        let code = self.child.wait().unwrap().code();
        (code, self.said.iter().collect())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
